"""What the exact adversary `consistent` makes of statements of every kind."""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
import pytest

from agentsim import (
    Agent,
    Constraint,
    Domain,
    Problem,
    Variable,
    message,
    simulate,
)
from agentsim.runtime.mechanisms import Pure
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import (
    Best,
    Chosen,
    CostIs,
    Exponential,
    Nothing,
    Released,
    Softmax,
    Statement,
    Term,
)
from agentsim.runtime.view import Setup
from agentsim.testing import Truth
from privacy.adversaries import sums
from privacy.adversaries.consistent import Consistent
from tests.privacy.adversaries.enumerating import (
    chain,
    check_against_enumeration,
    enumerated,
    found,
    tiny,
    wide,
)

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
