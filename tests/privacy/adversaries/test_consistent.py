"""The exact adversary `consistent` against enumeration, by hand, and where enumeration ends."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest

from agentsim import (
    Agent,
    Constraint,
    Domain,
    Problem,
    SolverRefusal,
    UserError,
    Variable,
    message,
    replay,
    simulate,
)
from agentsim.runtime.mechanisms import Pure
from agentsim.runtime.reading import make_reader
from agentsim.runtime.registry import find
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import (
    Best,
    Chosen,
    CostIs,
    CostTable,
    Exponential,
    Nothing,
    Released,
    Softmax,
    Statement,
    Term,
)
from agentsim.runtime.view import Setup
from agentsim.testing import Truth, random_problem, twin
from privacy.adversaries import sums
from privacy.adversaries.consistent import Consistent
from privacy.adversaries.facts import LeastCost
from privacy.adversaries.possible import Possible, clopper_pearson
from privacy.adversaries.profiles import Cells, loss
from privacy.vps.metrics import GAINS, full_loss
from privacy.vps.prior import make_prior

SOLVERS = ["adopt", "bnb-adopt", "dpop", "synchbb", "brute-force", "mb-dpop", "afb"]
INCOMPLETE = sorted(e.name for e in entry_points(group="agentsim.solvers") if not getattr(e.load(), "complete", False))


def found(problem: Problem, solver: Any, **options: Any) -> dict[str, Any]:
    return simulate(problem, solver, observers=[(Consistent, options)]).findings["consistent"]


def chain(agents: tuple[str, ...] = ("a", "b", "c"), u: int = 3) -> Problem:
    """Return x - y - z with unary costs from 1 to u, of which the actual ones are (1, 2), (2, 1), (2, 2)."""
    d = Domain("d", (0, 1))
    variables = [
        Variable(n, d, a, np.array(costs), cost_range=(1, u))
        for n, a, costs in zip("xyz", agents, ([1, 2], [2, 1], [2, 2]), strict=True)
    ]
    table = np.array([[2, 0], [0, 2]])
    tables = [Constraint("xy", ("x", "y"), table), Constraint("yz", ("y", "z"), table)]
    return Problem.build(variables, tables)


def tiny(rng: np.random.Generator, most: int = 400, forbid: float = 0.1) -> Problem:
    """Return a random problem of whole-number costs with at most so many profiles of private costs.

    Of the private costs a share of `forbid` is infinite.
    """
    while True:
        problem = random_problem(rng, max_variables=4)
        if problem.integral:
            break
    sense = 1 if problem.objective == "min" else -1
    low, profiles = int(rng.integers(-2, 3)), 1
    variables = []
    for v in problem.variables.values():
        u = int(rng.integers(2, 4))
        unary = None
        if profiles * u**v.size <= most:
            unary = low + rng.integers(0, u, v.size).astype(float)
            unary[rng.random(v.size) < forbid] = sense * math.inf
            profiles *= u**v.size
        declared = (low, low + u - 1) if rng.random() < 0.7 else None
        variables.append(dataclasses.replace(v, unary=unary, cost_range=None if unary is None else declared))
    return Problem.build(
        variables, problem.constraints.values(), objective=problem.objective, agents=problem.agents, constant=2
    )


# Against enumeration -------------------------------------------------------------------------------------------------


def profiles_of(setup: Setup, known: set[str], given: Any = None) -> Iterator[tuple[dict[str, Any], Setup]]:
    """Yield every profile of the others' private costs, and the setup of the problem that has it."""
    prior = make_prior(setup, given)
    problem = setup.problem
    names = [n for n in prior.scales if problem.variables[n].agent not in known]
    choices = []
    for name in names:
        scale, unary = prior.scales[name], problem.variables[name].unary
        levels = [setup.sense * scale.least(level) for level in range(1, scale.levels + 1)]
        choices.append(list(product(*(levels if np.isfinite(c) else [c] for c in unary))))
    offsets = (setup.unary_offsets, setup.constraint_offsets)
    for combination in product(*choices):
        profile = dict(zip(names, combination, strict=True))
        other = Problem.build(
            [
                dataclasses.replace(v, unary=np.array(profile[v.name])) if v.name in profile else v
                for v in problem.variables.values()
            ],
            problem.constraints.values(),
            objective=problem.objective,
            agents=problem.agents,
            constant=problem.constant,
        )
        yield profile, dataclasses.replace(setup, problem=other, published_offsets=offsets)


def heard(result: Any, solver: Any, setup: Setup, viewer: set[str]) -> list[Statement]:
    """Return the statements on costs and choices that a viewer draws from what others sent to it, each once."""
    nodes = tuple(n for n, agent in setup.nodes.items() if agent in viewer)
    reader = make_reader(solver, setup, nodes)
    assert reader is not None
    statements: dict[str, Statement] = {}
    for delivery in result.log:
        if delivery.src not in nodes and delivery.dst not in nodes:
            continue
        drawn = list(reader.read(delivery))
        if delivery.src not in nodes:
            statements.update((repr(s), s) for s in drawn if isinstance(s, (CostIs, CostTable, Chosen)))
    return list(statements.values())


def enumerated(setup: Setup, viewer: set[str], statements: list[Statement], given: Any = None) -> tuple[int, list[Any]]:
    """Return the number of all profiles of the others, and those under which all statements are true."""
    count, left = 0, []
    for profile, other in profiles_of(setup, viewer, given):
        count += 1
        truth = Truth(other)
        if all(truth.holds(s) for s in statements):
            left.append(profile)
    return count, left


def entropy(counts: Any) -> float:
    shares = np.array(list(counts), float) / sum(counts)
    return float(-(shares * np.log2(shares)).sum())


def tally(items: Any) -> dict[Any, int]:
    counts: dict[Any, int] = {}
    for item in items:
        counts[item] = counts.get(item, 0) + 1
    return counts


def check_against_enumeration(
    problem: Problem,
    solver: Any,
    viewers: Mapping[str, set[str]],
    what: dict[str, Any],
    result: Any,
    metric: str,
    **params: Any,
) -> None:
    cls = find("solvers", solver) if isinstance(solver, str) else solver
    setup = prepare(problem, cls, str(solver), params)
    prior = make_prior(setup)
    owner = {name: problem.variables[name].agent for name in prior.scales}
    for name, viewer in viewers.items():
        count, left = enumerated(setup, viewer, heard(result, cls, setup, viewer))
        actual = {n: tuple(problem.variables[n].unary) for n in prior.scales if owner[n] not in viewer}
        assert actual in [{n: tuple(map(float, c)) for n, c in p.items()} for p in left], "the truth is excluded"
        assert what["method"][name] == "exact"
        assert what["joint"][name] == pytest.approx(math.log2(count) - math.log2(len(left)), abs=1e-9)
        assert what["left"][name] * count == what["profiles"][name] * len(left)
        assert set(what["matrix"][name]) == {owner[n] for n in actual}
        for subject, lost in what["matrix"][name].items():
            names = [n for n in actual if owner[n] == subject]
            before = after = expected = 0.0
            for n in names:
                u = prior.scales[n].levels
                for value, cost in enumerate(actual[n]):
                    if np.isfinite(cost):
                        counts = tally(p[n][value] for p in left)
                        chances = np.zeros(u)
                        chances[: len(counts)] = np.array(list(counts.values())) / len(left)
                        expected += loss(metric, np.full(u, 1 / u), chances)
                        before += math.log2(u)
            after = entropy(tally(tuple(p[n] for n in names) for p in left).values())
            assert lost == pytest.approx(expected, abs=1e-9)
            assert what["together"][name][subject] == pytest.approx(before - after, abs=1e-8)
            if metric == "entropy":
                assert lost <= what["together"][name][subject] + 1e-8
                assert what["together"][name][subject] <= what["joint"][name] + 1e-8
        points = what["curve"][name]
        assert points == sorted(points), "time passes and the loss never falls"
        assert all(bits > 0 for _, bits in points)
        assert (points[-1][1] if points else 0.0) == what["joint"][name]


@pytest.mark.parametrize("solver", SOLVERS)
def test_equals_enumeration(solver: str) -> None:
    informed = 0
    for seed in range(14):
        problem = tiny(np.random.default_rng([seed, SOLVERS.index(solver)]))
        metric = sorted(GAINS)[seed % 3]
        result = simulate(
            problem, solver, observers=[(Consistent, {"metric": metric})], network="uniform:1,4", seed=seed
        )
        what = result.findings["consistent"]
        viewers = {a: {a} for a in dict.fromkeys(v.agent for v in problem.variables.values())}
        check_against_enumeration(problem, solver, viewers, what, result, metric)
        informed += sum(bits > 0 for bits in what["joint"].values())
        assert replay(result.log, observers=[(Consistent, {"metric": metric})]).findings["consistent"] == what
    assert informed >= 5


@pytest.mark.parametrize("solver", INCOMPLETE)
def test_equals_enumeration_of_local_search_and_sampling(solver: str) -> None:
    """Differences of local costs, choices and what else solvers say that do not add up costs in a tree."""
    fields = getattr(find("solvers", solver).Params, "__dataclass_fields__", {})
    params = {k: v for k, v in {"rounds": 5, "iterations": 4, "randomness": "seed"}.items() if k in fields}
    for seed in range(5):
        problem = tiny(np.random.default_rng([seed, 61]), most=150)
        try:
            result = simulate(problem, solver, observers=[Consistent], network="uniform:1,4", seed=seed, **params)
        except SolverRefusal:
            continue
        viewers = {a: {a} for a in dict.fromkeys(v.agent for v in problem.variables.values())}
        check_against_enumeration(problem, solver, viewers, result.findings["consistent"], result, "entropy", **params)


@pytest.mark.parametrize("solver", ["adopt", "synchbb", "dpop"])
def test_a_coalition_equals_enumeration_and_knows_more(solver: str) -> None:
    for seed in range(6):
        problem = tiny(np.random.default_rng([seed, 77]))
        agents = list(dict.fromkeys(v.agent for v in problem.variables.values()))
        if len(agents) < 2:
            continue
        pair = agents[:2]
        views = {"all": "all", "pairs": "coalitions:2", "pair": f"coalition:{'+'.join(pair)}"}
        views |= {a: f"agent:{a}" for a in agents}
        if len(problem.agents) <= 2:
            del views["pairs"]
        result = simulate(problem, solver, observers=[(Consistent, {"view": v, "as": n}) for n, v in views.items()])
        together = result.findings["pair"]
        check_against_enumeration(problem, solver, {"+".join(pair): set(pair)}, together, result, "entropy")
        for agent in agents:
            for key in ("joint", "left", "matrix", "together", "curve"):
                assert result.findings[agent][key][agent] == result.findings["all"][key][agent]
        if "pairs" in views:
            assert result.findings["pairs"]["matrix"]["+".join(pair)] == together["matrix"]["+".join(pair)]
        # Of the others: one member's own costs may be what another one learns about.
        everything = result.findings["all"]["together"]
        for subject, bits in together["together"]["+".join(pair)].items():
            assert all(bits >= everything[a][subject] - 1e-8 for a in pair)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_twin_problem_loses_the_same(solver: str) -> None:
    for seed in range(4):
        problem = tiny(np.random.default_rng([seed, 5]))
        one, other = found(problem, solver), found(twin(problem), solver)
        for key in ("joint", "left", "profiles", "matrix", "together", "loss", "curve"):
            assert one[key] == other[key]


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_sound_rule_claims_more(solver: str) -> None:
    rules = [f"vps:rule={rule},as={name}" for name, rule in (("exact", "exact"), ("topology", "tight,topology=true"))]
    for seed in range(6):
        problem = tiny(np.random.default_rng([seed, 9]), most=2000)
        findings = simulate(problem, solver, observers=["consistent", *rules]).findings
        assert set(findings["consistent"]["method"].values()) == {"exact"}
        for rule in ("exact", "topology"):
            for viewer, row in findings[rule]["matrix"].items():
                for subject, bits in row.items():
                    assert bits <= findings["consistent"]["together"][viewer][subject] + 1e-9


# By hand -------------------------------------------------------------------------------------------------------------


def test_dpop_on_a_chain_by_hand() -> None:
    """Rooted at x, z's table tells y both of z's costs; y's, which has z's in it, tells x little of each."""
    result = simulate(chain(), "dpop", root="x", observers=[Consistent])
    what = result.findings["consistent"]
    assert what["prior"] == {"source": "declared", "range": [1, 3], "bins": None}
    assert what["contradicted"] == what["at_least"] == what["notes"] == []
    assert what["ignored"] == {}
    assert what["error"] == {"a": 0.0, "b": 0.0, "c": 0.0}
    assert what["joint"]["c"] == 0.0
    # min(c(0) + 2, c(1)) and min(c(0), c(1) + 2) of c = (2, 2): both 2, and from 1 to 3 nothing else has these.
    assert what["matrix"]["b"] == {"a": 0.0, "c": pytest.approx(2 * math.log2(3))}
    assert (what["left"]["b"], what["profiles"]["b"]) == (1, 9)
    assert what["curve"]["b"] == [[1.0, pytest.approx(2 * math.log2(3))]]
    # y = 0: the least of b(0) + 2 + c(..) with y's constraint to x, which x reads under each value of its own.
    assert 0 < what["joint"]["a"] < 4 * math.log2(3)
    assert what["matrix"]["a"]["b"] + what["matrix"]["a"]["c"] < what["joint"]["a"]


def test_a_wire_knows_no_costs() -> None:
    what = found(chain(), "dpop", view="wire:c>b")
    assert what["left"] == {"wire:c>b": 1}
    assert what["matrix"] == {"wire:c>b": {"a": 0.0, "b": 0.0, "c": pytest.approx(2 * math.log2(3))}}
    assert what["loss"] == {"a": 0.0, "b": 0.0, "c": pytest.approx(1.0)}


def test_example_4_of_the_paper_as_logic() -> None:
    """Some value costs at most 2, some 1, some 3: only the least bound says anything, and it says .5488 bits."""
    cells = Cells(("x",) * 4, (0, 1, 2, 3), (4,) * 4, None, {"x": np.arange(4)})
    some = LeastCost(np.ones(4, np.int64), np.arange(4)[:, None])
    possible = Possible(cells, 1000)
    assert [possible.learn([(1.0, some)], -math.inf, bound) for bound in (2, 1, 3, 1)] == [True, True, False, False]
    assert possible.bits == pytest.approx(8 - math.log2(4**4 - 3**4))
    assert possible.bits == pytest.approx(0.548789, abs=1e-6)
    assert (possible.left, possible.in_all) == (4**4 - 3**4, 4**4)


def test_a_fact_put_off_bounds_no_cost_that_is_not_in_it() -> None:
    """Either the level of cell 0 is at most 1 or that of cell 1 is 0; where a value is forbidden there is no cell."""
    at = {name: np.array([k]) for k, name in enumerate("xyz")}
    cells = Cells(("x", "y", "z"), (0, 0, 0), (4,) * 3, None, at)
    some = LeastCost(np.array([1, 2]), np.array([[-1, 0], [-1, 1]]))
    possible = Possible(cells, 4)
    assert not possible.learn([(1.0, some)], -math.inf, 2)
    assert not possible.exact
    assert all((possible.posterior(cell) == 0.25).all() for cell in range(3))


def test_nobody_private_and_nobody_else() -> None:
    d = Domain("d", (0, 1))
    bare = Problem.build([Variable("x", d), Variable("y", d)], [Constraint("c", ("x", "y"), np.eye(2))])
    what = found(bare, "dpop")
    assert what["joint"] == {"x": 0.0, "y": 0.0}
    assert what["matrix"] == {"x": {}, "y": {}}
    assert what["loss"] == {"x": None, "y": None}
    alone = found(chain(("a", "a", "a")), "synchbb")
    assert alone["joint"] == {"a": 0.0}
    assert alone["loss"] == {"a": None}


def test_only_agents_with_a_variable_look_and_the_idle_one_learns_nothing() -> None:
    problem = chain()
    idle = Problem.build(problem.variables.values(), problem.constraints.values(), agents=("idle",))
    assert set(found(idle, "dpop")["joint"]) == {"a", "b", "c"}
    assert found(idle, "dpop", view="agent:idle")["joint"] == {"idle": 0.0}


def test_losses_are_shares_of_the_full_loss() -> None:
    for metric in GAINS:
        what = found(chain(), "brute-force", metric=metric)
        full = full_loss(metric, 2, 3)
        rows = what["matrix"]
        for agent, p in what["loss"].items():
            seen = [row[agent] for row in rows.values() if agent in row]
            assert len(seen) == 2
            assert p == pytest.approx(sum(seen) / 2 / full)
            assert 0 <= p <= 1


# Statements of every kind --------------------------------------------------------------------------------------------


@message("HELLO")
class Hello(NamedTuple):
    value: int


class Told(Agent):
    """A solver that says nothing of costs; its reader reads what the test wants."""

    messages = (Hello,)
    place = "tree"
    costs = "nonnegative"

    async def run(self) -> None:
        self.assign(0)
        self.broadcast(Hello(1))
        await self.gather(Hello)


def telling(*statements: Statement) -> type[Agent]:
    class Reader:
        def __init__(self, context: Any) -> None:
            pass

        def read(self, delivery: Any) -> tuple[Statement, ...]:
            return statements

    return type("Telling", (Told,), {"reader": Reader})


def term(variable: str, context: dict[str, int], coefficient: float = 1.0, rest: Any = "none") -> Term:
    return Term((variable,), rest, context, coefficient)


def test_sums_of_several_terms_equal_enumeration() -> None:
    problem = chain()
    setup = prepare(problem, Told, "told", {})
    truth = Truth(setup)
    rng = np.random.default_rng(3)
    for _ in range(12):
        terms = []
        for _ in range(int(rng.integers(1, 4))):
            node = str(rng.choice(list("xyz")))
            context = {str(n): int(rng.integers(2)) for n in rng.choice(list("xyz"), int(rng.integers(3)), False)}
            rest = "subtree" if rng.random() < 0.3 else "none"
            terms.append(term(node, context, float(rng.choice([-1, 1, 2, 0.5])), rest))
        value = sum(t.coefficient * truth._cost(t.parties, t.rest, t.context) for t in terms)
        relation: Any = ("<=", "==", ">=")[int(rng.integers(3))]
        said = CostIs("sum", ("value",), tuple(terms), relation, value + {"<=": 0.5, "==": 0, ">=": -0.5}[relation])
        solver = telling(said, said)
        result = simulate(problem, solver, observers=[Consistent])
        what = result.findings["consistent"]
        for viewer in what["joint"]:
            count, left = enumerated(setup, {viewer}, [said])
            assert what["joint"][viewer] == pytest.approx(math.log2(count / len(left)), abs=1e-9)


def random_claim(rng: np.random.Generator, setup: Setup) -> Statement:
    """Return a true statement of a kind that local search and sampling make."""
    truth, names = Truth(setup), list(setup.problem.variables)
    sizes = setup.domain_sizes
    forbidden = (math.inf, 1, 4, 1e6)[int(rng.integers(4))]

    def context(without: str = "") -> dict[str, int]:
        return {n: int(rng.integers(sizes[n])) for n in names if n != without and rng.random() < 0.6}

    while True:
        if rng.random() < 0.4:
            variable = str(rng.choice(names))
            law = Best() if rng.random() < 0.5 else Best("any")
            value = int(rng.integers(sizes[variable]))
            said: Statement = Chosen("chosen", ("value",), variable, value, context(variable), law, forbidden)
        else:
            terms = []
            for _ in range(int(rng.integers(1, 4))):
                parties = tuple(str(n) for n in rng.choice(names, int(rng.integers(1, 3)) % len(names) + 1, False))
                rest: Any = ("local", "local", "none", "subtree")[int(rng.integers(4))]
                terms.append(Term(parties, rest, context(), float(rng.choice([-1, 1, 1, 2, 0.5, 1 / 3]))))
            if rng.random() < 0.5:  # the same under another value, as local search has it
                changed = {**terms[0].context, terms[0].parties[0]: int(rng.integers(sizes[terms[0].parties[0]]))}
                terms = [terms[0], dataclasses.replace(terms[0], context=changed, coefficient=-terms[0].coefficient)]
            others: Any = "some" if rng.random() < 0.5 else "best"
            if others == "some":
                values = truth._possible_sums(terms, forbidden)
                value = float(rng.choice(values))
            else:
                value = sum(t.coefficient * truth._cost(t.parties, t.rest, t.context, forbidden) for t in terms)
            relation: Any = ("<=", "==", ">=")[int(rng.integers(3))]
            value += {"<=": 0.5, "==": 0, ">=": -0.5}[relation] * int(rng.integers(2))
            if not math.isfinite(value):
                continue
            said = CostIs("sum", ("value",), tuple(terms), relation, value, 0, None, others, forbidden)
        if truth.holds(said):
            return said


def test_claims_of_every_kind_equal_enumeration() -> None:
    """One statement by itself, and several together: no more and no fewer profiles are left than fit them."""
    informed: dict[str, int] = {}
    for seed in range(100):
        rng = np.random.default_rng([seed, 41])
        problem = tiny(rng, most=81, forbid=(0.1, 0.5)[seed % 2])
        setup = prepare(problem, Told, "told", {})
        said = [random_claim(rng, setup) for _ in range(1 if seed % 3 else 4)]
        solver = telling(*said)
        result = simulate(problem, solver, observers=[Consistent])
        what = result.findings["consistent"]
        viewers = {a: {a} for a in dict.fromkeys(v.agent for v in problem.variables.values())}
        check_against_enumeration(problem, solver, viewers, what, result, "entropy")
        assert what["ignored"] == {}
        if max(what["joint"].values()) > 0:
            for s in said:
                kind = type(s).__name__ + str(getattr(s, "others", ""))
                informed[kind] = informed.get(kind, 0) + 1
    assert min(informed[kind] for kind in ("Chosen", "CostIssome", "CostIsbest")) >= 12


def test_a_local_cost_by_hand() -> None:
    """Costs of y between 1 and 3, actually 2 and 1. With x = 0 and z = 0 it costs 4 more to be 0."""
    one = Term(("y",), "local", {"x": 0, "y": 0, "z": 0}), Term(("y",), "local", {"x": 0, "y": 1, "z": 0}, -1.0)
    gain = CostIs("gain", (), one, "==", 5)
    what = found(chain(), telling(gain), view="agent:a")
    assert what["left"] == {"a": 2}  # y's costs differ by 1: (2, 1) or (3, 2)
    assert what["joint"]["a"] == pytest.approx(math.log2(9 / 2))
    # z's value is not told: 4 more, or as much with z = 1.
    one = Term(("y",), "local", {"x": 0, "y": 0}), Term(("y",), "local", {"x": 0, "y": 1}, -1.0)
    some = CostIs("gain", (), one, "==", 1, others="some")
    assert found(chain(), telling(some), view="agent:a")["left"] == {"a": 2}
    # Under either value of z: as costly or 4 more; 4 more than costs that differ by at most 2.
    assert found(chain(), telling(dataclasses.replace(some, relation=">=")), view="agent:a")["joint"] == {"a": 0.0}
    best = dataclasses.replace(some, others="best", value=1 + 0 - 0)
    assert found(chain(), telling(best), view="agent:a")["left"] == {"a": 2}


def test_some_values_may_be_forbidden_ones() -> None:
    """With x at 1 y must not be 0, and its cost then exceeds everything: that says nothing of y's private costs."""
    d = Domain("d", (0, 1))
    y = Variable("y", d, unary=[1, 1], cost_range=(1, 3))
    problem = Problem.build([Variable("x", d), y], [Constraint("c", ("x", "y"), [[0, 0], [math.inf, 0]])])
    for relation, coefficient in ((">=", 1.0), ("<=", -1.0)):
        for context, left in (({"y": 0}, None), ({"x": 0, "y": 0}, 2)):
            terms = (Term(("y",), "local", context, coefficient),)
            said = CostIs("some", (), terms, relation, coefficient * 2, others="some")  # true of some x, if any
            what = found(problem, telling(said), view="agent:x")
            assert what["left"]["x"] == (1 if left is None else left)
            assert (what["joint"]["x"] > 0) == (left is not None)


def test_a_choice_by_hand() -> None:
    """y may be 0 at the same price as 1 where x and z differ; else the private costs must make up for 4."""
    told = {"x": 0, "z": 1}
    for law, left in ((Best(), {0: 6, 1: 3}), (Best("any"), {0: 6, 1: 6})):
        what = {v: found(chain(), telling(Chosen("c", (), "y", v, told, law)), view="agent:a") for v in (0, 1)}
        assert what[1]["left"]["a"] == left[1]
        assert what[0]["left"]["a"] == left[0]
    alike = found(chain(), telling(Chosen("c", (), "y", 0, {"x": 0, "z": 0}, Best())), view="agent:c")
    assert alike["contradicted"] == ["c"]  # it would cost 4 more, and private costs differ by 2 at most
    for law in (Softmax(None, 0.0, True), Exponential(1.0)):
        what = found(chain(), telling(Chosen("c", (), "y", 0, told, law), Released("r", (), Pure(1), 1, "y")))
        assert set(what["joint"].values()) == {0.0}
        assert what["ignored"] == {}


def test_choices_that_have_to_wait_are_sampled() -> None:
    said = [Chosen("c", (), f"x{i}", v, {}, Best()) for i, v in ((2, 0), (3, 1))]
    gain = (Term(("x2",), "local", {"x1": 0, "x2": 0}), Term(("x3",), "local", {"x1": 0, "x3": 0}, -1.0))
    problem = wide(4)
    truth = Truth(prepare(problem, Told, "told", {}))
    said += [CostIs("g", (), gain, "<=", float(truth._possible_sums(gain, math.inf)[0]), others="some")]
    said = [s for s in said if truth.holds(s)]
    exact = found(problem, telling(*said), view="agent:x4")
    assert exact["joint"]["x4"] > 0
    sampled = found(problem, telling(*said), view="agent:x4", limit=4, samples=20_000)
    assert sampled["method"] == {"x4": "monte carlo"}
    low, high = sampled["interval"]["x4"]
    assert low <= exact["joint"]["x4"] <= high


def test_where_only_constraints_cost_nothing_is_lost_and_it_is_said() -> None:
    d = Domain("colours", (0, 1, 2))
    edges = [Constraint(f"e{i}", (f"v{i}", f"v{(i + 1) % 3}"), np.eye(3, dtype=int)) for i in range(3)]
    bare = Problem.build([Variable(f"v{i}", d) for i in range(3)], edges)
    gain = Term(("v1",), "local", {"v1": 0}), Term(("v1",), "local", {"v1": 1}, -1.0)
    what = found(
        bare, telling(CostIs("g", (), gain, "==", 1, others="some"), Chosen("c", (), "v1", 1, {}, Best("any")))
    )
    assert what["joint"] == {"v0": 0.0, "v1": 0.0, "v2": 0.0}
    assert what["loss"] == {"v0": None, "v1": None, "v2": None}
    assert any("nothing to lose" in note for note in what["notes"])
    likes = [dataclasses.replace(v, unary=np.array([1, 1, 1]), cost_range=(0, 1)) for v in bare.variables.values()]
    what = found(Problem.build(likes, edges), telling(Chosen("c", (), "v1", 2, {"v0": 1}, Best())), view="agent:v0")
    # With v2 on 0, v1's costs a, b, c for 0, 1, 2 must be such that a + 1 > c and b + 1 > c: c = 0, or all of them 1.
    assert (what["left"], what["profiles"]) == ({"v0": 5}, {"v0": 8})


def test_what_is_not_used_is_counted_and_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = CostIs("noisy", (), (term("x", {"x": 0}),), "==", 1, noise="laplace")
    unnamed = CostIs("unnamed", (), (term("x", {"x": 0}, rest="unknown"),), "==", 1)
    endless = CostIs("endless", (), (term("x", {"x": 0}),), "<=", math.inf)
    what = found(chain(), telling(noisy, unnamed, endless, Nothing("greeting", ("value",))), view="agent:b")
    assert what["joint"] == {"b": 0.0}
    assert what["ignored"] == {"b": 4}  # two of two neighbours
    large = [
        CostIs("own", (), (term("z", {}),), "==", 2),
        CostIs("some", (), (term("z", {}, rest="local"),), "==", 2, others="some"),
        Chosen("best", (), "z", 1, {}, Best()),
    ]
    for said, constants in zip(large, (("MAX_ROWS", "MAX_CELLS"), *[("MAX_ROWS", "MAX_SOME")] * 2), strict=True):
        assert found(chain(), telling(said), view="agent:b")["joint"]["b"] > 0
        for constant in constants:
            with monkeypatch.context() as patch:
                patch.setattr(sums, constant, 1)
                what = found(chain(), telling(said), view="agent:b")
            assert what["joint"] == {"b": 0.0}
            assert what["ignored"] == {"b": 2}


def test_forbidden_tuples_may_count_whole_numbers_only() -> None:
    d = Domain("d", (0, 1))
    x = Variable("x", d, unary=[1, math.inf], cost_range=(1, 3))
    problem = Problem.build([x, Variable("y", d)], [Constraint("c", ("x", "y"), np.eye(2, dtype=int))])
    for forbidden, ignored in ((7, {}), (7.5, {"y": 1}), (2.0**51, {"y": 1})):
        gap = (term("x", {"x": 0, "y": 0}, rest="local"), term("x", {"x": 1, "y": 0}, -1.0, rest="local"))
        said = CostIs("gain", (), gap, "==", 2 - forbidden, others="some", forbidden=forbidden)
        what = found(problem, telling(said), view="agent:y")
        assert what["ignored"] == ignored
        assert what["joint"]["y"] == pytest.approx(math.log2(3) if forbidden == 7 else 0)


def test_what_cannot_all_be_true_is_called_contradicted() -> None:
    said = [CostIs("own", (), (term("z", {"z": 0}),), "==", value) for value in (3, 4)]
    what = found(chain(), telling(*said, *said))
    assert what["contradicted"] == ["a", "b", "c"]  # c knows by itself that it costs neither
    assert what["joint"] == what["error"] == {"a": None, "b": None, "c": None}
    assert what["matrix"] == what["left"] == what["curve"] == {}
    assert what["loss"] == {"a": None, "b": None, "c": None}


def test_a_solver_without_reader_is_not_analysed() -> None:
    what = found(chain(), Told)
    assert what["solver_analysed"] is False
    assert "not analysed" in what["note"]
    assert "joint" not in what


# Priors that are not uniform -----------------------------------------------------------------------------------------


def test_weights_equal_enumeration() -> None:
    rng = np.random.default_rng(8)
    for solver in ("dpop", "adopt", "synchbb"):
        problem = chain()
        weights = {n: rng.dirichlet(np.ones(3), 2) for n in "xz"}
        weights["x"][0] = (0.25, 0.75, 0.0)
        cls = find("solvers", solver)
        setup = prepare(problem, cls, solver, {})
        result = simulate(problem, solver, observers=[(Consistent, {"weights": weights})])
        what = result.findings["consistent"]

        def chance(profile: Mapping[str, Any], weights: Mapping[str, Any] = weights) -> float:
            chances = [
                weights[n][value, int(cost) - 1] if n in weights else 1 / 3
                for n, costs in profile.items()
                for value, cost in enumerate(costs)
            ]
            return math.prod(chances)

        for viewer in "abc":
            _, left = enumerated(setup, {viewer}, heard(result, cls, setup, {viewer}))
            mass = sum(map(chance, left))
            assert what["joint"][viewer] == pytest.approx(-math.log2(mass), abs=1e-9)
            for subject, lost in what["matrix"][viewer].items():
                name = dict(zip("abc", "xyz", strict=True))[subject]
                expected = 0.0
                for value in range(2):
                    before = weights[name][value] if name in weights else np.full(3, 1 / 3)
                    after = np.zeros(3)
                    for p in left:
                        after[int(p[name][value]) - 1] += chance(p) / mass
                    expected += loss("entropy", before, after)
                assert lost == pytest.approx(expected, abs=1e-9)


def test_uniform_weights_are_no_weights() -> None:
    weights = {n: np.full((2, 3), 1 / 3) for n in "xyz"}
    for metric in GAINS:
        one, other = found(chain(), "dpop", metric=metric), found(chain(), "dpop", metric=metric, weights=weights)
        assert one["left"] == other["left"]
        for key in ("joint", "loss"):
            assert other[key] == pytest.approx(one[key])


# Too many profiles ---------------------------------------------------------------------------------------------------


def wide(seed: int) -> Problem:
    """Return a tree of five with costs 0..3: thousands of combinations in one message, too few to be hard to count."""
    rng = np.random.default_rng(seed)
    d = Domain("d", (0, 1))
    variables = [Variable(f"x{i}", d, unary=rng.integers(0, 4, 2), cost_range=(0, 3)) for i in range(5)]
    edges = [(0, 1), (1, 2), (1, 3), (0, 4)]
    tables = [Constraint(f"c{i}{j}", (f"x{i}", f"x{j}"), rng.integers(0, 4, (2, 2))) for i, j in edges]
    return Problem.build(variables, tables)


def test_the_interval_of_sampling_holds_the_exact_loss() -> None:
    cases = covered = near = 0
    for seed in range(9):
        for solver in ("dpop", "adopt", "synchbb"):
            problem = wide(seed)
            exact = found(problem, solver)
            assert set(exact["method"].values()) == {"exact"}
            options = {"limit": 40, "samples": 1500, "seed": seed}
            result = simulate(problem, solver, observers=[(Consistent, options)])
            sampled = result.findings["consistent"]
            assert replay(result.log, observers=[(Consistent, options)]).findings["consistent"] == sampled
            for viewer, method in sampled["method"].items():
                if method == "exact":
                    assert sampled["joint"][viewer] == pytest.approx(exact["joint"][viewer])
                    continue
                assert viewer not in sampled["curve"]
                assert viewer not in sampled["together"]
                low, high = sampled["interval"][viewer]
                cases += 1
                covered += low - 1e-9 <= exact["joint"][viewer] <= (math.inf if high is None else high + 1e-9)
                if viewer in sampled["at_least"]:
                    assert high is None
                    assert sampled["error"][viewer] is None
                    assert sampled["joint"][viewer] == low
                    continue
                assert low <= sampled["joint"][viewer] <= high
                off = abs(sampled["joint"][viewer] - exact["joint"][viewer])
                near += off <= 4 * sampled["error"][viewer] + 1e-9
    assert cases >= 40
    assert covered / cases >= 0.95
    assert near / cases >= 0.8


def test_sampling_finds_the_exact_marginals() -> None:
    exact, sampled = found(wide(1), "adopt"), found(wide(1), "adopt", limit=40, samples=200_000)
    viewers = [v for v, method in sampled["method"].items() if method == "monte carlo" and v not in sampled["at_least"]]
    assert viewers
    for viewer in viewers:
        assert sampled["joint"][viewer] == pytest.approx(exact["joint"][viewer], abs=5 * sampled["error"][viewer])
        for subject, lost in sampled["matrix"][viewer].items():
            assert lost == pytest.approx(exact["matrix"][viewer][subject], abs=0.05)


def test_sampling_with_weights_finds_the_exact_loss() -> None:
    weights = {f"x{i}": np.tile([0.1, 0.2, 0.3, 0.4], (2, 1)) for i in range(5)}
    exact = found(wide(1), "adopt", weights=weights)
    sampled = found(wide(1), "adopt", weights=weights, limit=40, samples=100_000)
    viewers = [v for v, method in sampled["method"].items() if method == "monte carlo" and v not in sampled["at_least"]]
    assert viewers
    for viewer in viewers:
        assert sampled["joint"][viewer] == pytest.approx(exact["joint"][viewer], abs=5 * sampled["error"][viewer])


def test_without_any_sample_that_fits_the_loss_is_a_lower_bound() -> None:
    exact, sampled = found(wide(2), "dpop"), found(wide(2), "dpop", limit=4, samples=1)
    assert sampled["at_least"]
    for viewer in sampled["at_least"]:
        assert sampled["method"][viewer] == "monte carlo"
        assert sampled["joint"][viewer] <= exact["joint"][viewer]


def test_a_stream_of_ones_own_per_seed_and_viewer() -> None:
    one, again, other = (found(wide(1), "adopt", limit=40, samples=2000, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one["joint"] != other["joint"]


def test_clopper_and_pearson() -> None:
    assert clopper_pearson(5, 10) == pytest.approx((0.187086, 0.812914), abs=1e-6)
    assert clopper_pearson(0, 10) == pytest.approx((0.0, 1 - 0.025**0.1))
    assert clopper_pearson(10, 10) == pytest.approx((0.025**0.1, 1.0))
    low, high = clopper_pearson(7, 100_000)
    assert (low, high) == pytest.approx((2.8144e-5, 14.4223e-5), rel=1e-3)


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"metric": "bits"}, "metric=bits"),
        ({"limit": 0}, "limit=0"),
        ({"limit": "many"}, "limit=many"),
        ({"samples": -1}, "samples=-1"),
        ({"seed": -1}, "seed=-1"),
        ({"bins": 3}, "no option bins"),
        ({"prior": "1..1"}, "true private costs of x, y, z"),
        ({"prior": "1..2.5"}, "whole numbers"),
        ({"prior": "1..100", "limit": 50}, "100 possible costs"),
        ({"weights": "x"}, "from Python"),
        ({"weights": {"w": [[1.0]]}}, "no variable w"),
        ({"weights": {"x": [[0.5, 0.5]]}}, "shape"),
        ({"weights": {"x": [[0.5, 0.5, 0.5], [1, 0, 0]]}}, "rows of sum 1"),
        ({"weights": {"x": [[1.5, -0.5, 0], [1, 0, 0]]}}, "probabilities"),
        ({"weights": {"x": [[0, 0.5, 0.5], [0, 0.5, 0.5]]}}, "true private costs of x"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        found(chain(), "dpop", **options)


def test_fractional_costs_are_refused() -> None:
    d = Domain("d", (0, 1))
    with pytest.raises(UserError, match="whole numbers"):
        found(Problem.build([Variable("x", d, unary=np.array([0.5, 1]))]), "dpop")


def test_a_log_without_private_costs_is_refused() -> None:
    result = simulate(chain(), "dpop", redact=True)
    with pytest.raises(UserError, match="left out of this log"):
        replay(result.log, observers=["consistent"])


def test_an_observer_by_name() -> None:
    result = simulate(chain(), "dpop", observers=["consistent:metric=guess,limit=1000,as=exact"])
    assert result.findings["exact"]["metric"] == "guess"
    assert result.findings["exact"]["prior"]["source"] == "declared"
