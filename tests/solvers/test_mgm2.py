"""MGM-2: offers and answers, moves of pairs, split local costs. See test_mgm.py and test_dsa.py for the rest."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest

from agentsim import Constraint, Domain, Problem, Result, Variable, simulate
from agentsim.errors import UserError
from agentsim.runtime.failures import AgentFailure
from agentsim.runtime.local_costs import LocalCosts
from agentsim.runtime.messages import Envelope
from agentsim.runtime.router import Alter
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import Chosen, CostIs, ReaderContext, Statement, Term, Unanalysed
from agentsim.testing import Truth, random_problem
from solvers.mgm import Mgm
from solvers.mgm2 import READ_CELLS, Mgm2, Mgm2Reader, Offer

NETWORKS = ["unit", "uniform:1,10", "exponential:3", "unit+duplicate:.3", "uniform:1,10+duplicate:.3+reorder"]
TOGETHER = [[1, 2], [2, 0]]
"""At (0, 0) nobody gains alone; both together gain 1."""


def problem_of(names: str, constraints: dict[str, Any], size: int = 2, **unary: list[float]) -> Problem:
    """Return a problem whose variables all begin at their first value."""
    domain = Domain("d", tuple(range(size)))
    return Problem.build(
        [Variable(n, domain, unary=np.array(unary[n]) if n in unary else None, initial=0) for n in names],
        [Constraint(scope, tuple(scope), np.asarray(table)) for scope, table in constraints.items()],
    )


def sent(result: Result, kind: str) -> list[Any]:
    """Return what was sent of a type, once each, in the order of rounds and senders."""
    found = {(d.src, d.n): d for d in result.log if d.type == kind}
    return sorted(found.values(), key=lambda d: (d.message.round, d.src, d.n))


# Pairs ------------------------------------------------------------------------------------------------------------


def test_what_only_two_can_mend_is_mended() -> None:
    """Were the partner not left out of the comparison of gains, no pair would ever move."""
    problem = problem_of("xy", {"xy": TOGETHER})
    for seed in range(10):
        assert simulate(problem, Mgm, seed=seed).cost == 1
        result = simulate(problem, Mgm2, seed=seed)
        assert (result.cost, result.assignment) == (0, {"x": 1, "y": 1})
        assert [d.message.go for d in sent(result, "GO")] == [True, True], "one move of a pair, and then none"


def test_of_pairs_that_gain_the_same_one_moves() -> None:
    """A ring of four where the pairs xy and zw gain 2 each, if the other does not move, and all four together lose."""
    mixed = [[0, 0], [0, 9]]
    problem = problem_of("wxyz", {"xy": [[3, 9], [9, 1]], "zw": [[3, 9], [9, 1]], "yz": mixed, "wx": mixed})
    moved: Counter[tuple[str, ...]] = Counter()
    both = 0
    for seed in range(40):
        result = simulate(problem, Mgm2, seed=seed, network=NETWORKS[seed % 5])
        assert result.cost == 4
        moved[tuple(sorted(name for name, value in result.assignment.items() if value))] += 1
        gains: defaultdict[int, list[int]] = defaultdict(list)
        for d in sent(result, "GAIN"):
            gains[d.message.round].append(d.message.gain)
        for k, agreed in gains.items():
            if agreed == [2] * 8:  # by four agents, to two neighbours each
                both += 1
                goes = {d.src for d in sent(result, "GO") if d.message.round == k and d.message.go}
                assert goes == {"w", "z"}, "w has the lowest number"
    assert both > 0
    assert moved[("x", "y")] + moved[("w", "z")] == 40
    assert moved[("x", "y")] > 0


def test_a_pair_yields_to_a_neighbour_that_gains_more() -> None:
    """x and y could gain 1 together; z alone gains 5, and spoils nothing for them. Only y hears of it: x must wait."""
    problem = problem_of("xyz", {"xy": TOGETHER, "yz": [[0, 0], [0, 0]]}, z=[5, 0])
    yielded = 0
    for seed in range(20):
        result = simulate(problem, Mgm2, seed=seed)
        assert result.cost == 0
        goes = {d.src: d.message.go for d in sent(result, "GO") if d.message.round == 0}
        if goes.keys() == {"x", "y"}:
            yielded += 1
            assert goes == {"x": True, "y": False}
            values = {d.src: d.message.value for d in sent(result, "VALUE") if d.message.round == 1}
            assert values == {"x": 0, "y": 0, "z": 1}
    assert yielded > 0


def test_what_was_tried_in_vain_is_tried_again_when_a_neighbour_has_moved() -> None:
    """x and y have nothing to gain until z moves, as it does in the first round."""
    problem = problem_of("xyz", {"zxy": [np.zeros((2, 2)), TOGETHER]}, z=[3, 0])
    in_vain = 0
    for seed in range(40):
        result = simulate(problem, Mgm2, seed=seed)
        assert result.cost == 0
        first = [{d.src, d.dst} for d in sent(result, "ANSWER") if (d.message.round, d.message.answer) == (0, "reject")]
        in_vain += first == [{"x", "y"}]
    assert in_vain > 0


def test_shared_costs_count_once() -> None:
    """Both agents' gains are added up, without what they share twice: one constraint alone, and one with z."""
    table = np.arange(8).reshape(2, 2, 2)[::-1, ::-1, ::-1]
    problem = problem_of("xyz", {"xy": [[4, 6], [6, 1]], "xyz": table, "yz": [[0, 1], [2, 2]]}, x=[0, 2], y=[1, 0])
    indices = dict.fromkeys("xyz", 0)
    deals = 0
    for seed in range(30):
        for d in sent(simulate(problem, Mgm2, seed=seed, rounds=1), "ANSWER"):
            if d.message.answer == "accept":
                deals += 1
                after = {**indices, **dict(zip((d.dst, d.src), d.message.values, strict=True))}
                cost = [problem.evaluate_indices(values).cost for values in (indices, after)]
                assert d.message.gain == cost[0] - cost[1] > 0
    assert deals > 5


# Offers and answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
def test_each_real_offer_has_one_answer_and_each_partner_one_go(network: str) -> None:
    offers = deals = 0
    for seed in range(12):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, Mgm2, seed=seed, network=network, rounds=8)
        graph = problem.primal_graph()
        told = sent(result, "OFFER")
        real = [d for d in told if d.message.gains is not None]
        answers = sent(result, "ANSWER")
        assert Counter((d.message.round, d.src, d.dst) for d in real) == Counter(
            (d.message.round, d.dst, d.src) for d in answers
        )
        assert max(Counter((d.message.round, d.src) for d in real).values(), default=0) <= 1, "one offer an agent"
        rounds = Counter((d.message.round, d.src) for d in told)
        assert all(n == len(graph[src]) for (_, src), n in rounds.items()), "the others get an empty one"
        offerers = {(d.message.round, d.src) for d in real}
        accepted = [d for d in answers if d.message.answer == "accept"]
        assert not offerers.intersection((d.message.round, d.src) for d in accepted), "who offers accepts nothing"
        partners = Counter((d.message.round, n) for d in accepted for n in (d.src, d.dst))
        assert set(partners.values()) <= {1}
        assert partners == Counter((d.message.round, d.src) for d in sent(result, "GO"))
        offers, deals = offers + len(real), deals + len(accepted)
    assert offers > 60
    assert deals > 6


@pytest.mark.parametrize(("right", "chosen"), [(3, "z"), (2, "y"), (1, "y")])
def test_the_best_offer_is_accepted_and_of_equal_ones_the_first(right: int, chosen: str) -> None:
    """With y, x could gain 2, with z as much as `right`."""
    problem = problem_of("xyz", {"xy": [[2, 9], [2, 0]], "xz": [[right, 9], [right, 0]]})
    both = 0
    for seed in range(40):
        result = simulate(problem, Mgm2, seed=seed, rounds=1)
        answers = {d.dst: d.message for d in sent(result, "ANSWER") if d.src == "x"}
        if answers.keys() == {"y", "z"} and answers["y"].answer != answers["z"].answer:
            both += 1
            assert answers[chosen].answer == "accept"
            assert answers["z" if chosen == "y" else "y"].answer == "busy"
            assert answers[chosen].gain == max(2, right)
    assert both > 0


def test_an_offer_in_vain_is_not_repeated_before_anything_changes() -> None:
    """A star of five, at its optimum from the beginning: the centre has something to try until all four are tried."""
    names = "abcde"
    problem = problem_of(names, {f"a{n}": [[0, 1], [1, 0]] for n in names[1:]})
    for seed in range(10):
        tried: set[frozenset[str]] = set()
        result = simulate(problem, Mgm2, seed=seed)
        answers = {(d.message.round, d.dst): d.message.answer for d in sent(result, "ANSWER")}
        for d in sent(result, "OFFER"):
            if d.message.gains is not None and answers[d.message.round, d.src] == "reject":
                pair = frozenset((d.src, d.dst))
                assert pair not in tried or d.src != "a" or len(tried) == 4
                tried.add(pair)
        assert len(tried) == 4, "all pairs are tried before the end"


def test_without_offers_it_is_mgm() -> None:
    for seed in range(15):
        problem = random_problem(np.random.default_rng(seed))
        alone = simulate(problem, Mgm2, seed=seed, q=0, rounds=10)
        assert alone.by_type.keys() <= {"VALUE", "OFFER", "GAIN"}
        mgm = simulate(problem, Mgm, seed=seed, detect=False, rounds=10)
        told = [[(d.src, d.dst, *d.message) for d in sent(result, "VALUE")] for result in (alone, mgm)]
        assert told[0] == told[1]
        assert alone.assignment == mgm.assignment


@pytest.mark.parametrize("q", [0.0, 1.0])
def test_where_nothing_can_be_tried_the_rounds_decide(q: float) -> None:
    result = simulate(problem_of("xy", {"xy": TOGETHER}), Mgm2, q=q, rounds=12)
    assert {d.message.round for d in sent(result, "VALUE")} == set(range(12))
    assert result.cost == 1


def test_checks_of_one_round_by_hand() -> None:
    """Two variables of 3 and 2 values, x with a private cost. Who offers reads all, who considers what it has alone."""
    x, y = Domain("x", (0, 1, 2)), Domain("y", (0, 1))
    problem = Problem.build(
        [Variable("x", x, unary=np.array([0, 3, 3])), Variable("y", y)],
        [Constraint("xy", ("x", "y"), np.zeros((3, 2)))],
    )
    seen = set()
    for seed in range(20):
        result = simulate(problem, Mgm2, seed=seed, rounds=1, initial="first")
        offerers = tuple(d.src for d in sent(result, "OFFER") if d.message.gains is not None)
        alone = (3 + 3) + 2
        table = {"x": 3 + 6, "y": 6}
        considered = {"x": 6, "y": 3 + 6}  # by who offers: a table of six, and what the other has alone
        expected = alone + sum(table[n] for n in offerers) + (considered[offerers[0]] if len(offerers) == 1 else 0)
        assert result.checks == expected
        seen.add(offerers)
    assert len(seen) == 4


def test_parameters_must_make_sense() -> None:
    for bad in (-0.5, 1.5):
        with pytest.raises(UserError, match="q="):
            simulate(problem_of("xy", {"xy": TOGETHER}), Mgm2, q=bad)


def test_an_offer_of_another_shape_is_refused_by_its_receiver() -> None:
    def spoil(envelope: Envelope) -> Alter | None:
        if envelope.type == "OFFER" and envelope.message.gains is not None:
            return Alter(Offer(envelope.message.round, envelope.message.number, np.ones((3, 2))))
        return None

    with pytest.raises(AgentFailure, match=r"OFFER has shape \(3, 2\), not that of the two domains"):
        simulate(problem_of("xy", {"xy": TOGETHER}), Mgm2, interceptors=[spoil])


# Local costs in two parts -----------------------------------------------------------------------------------------


def test_what_a_partner_shares_and_the_rest_are_the_local_costs() -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        problem = random_problem(rng)
        setup = prepare(problem, Mgm2, "mgm2", {})
        for name, variable in problem.variables.items():
            view = setup.view(name)
            local = LocalCosts(view, 1000)
            values = {n: int(rng.integers(view.domain_sizes[n])) for n in view.neighbours}
            assert local.checks == variable.size * (
                (variable.unary is not None) + sum(name in c.scope for c in problem.constraints.values())
            )
            assert local.least <= local.by_value(values).min() + 1e-9
            for partner in view.neighbours:
                apart, shared = local.apart(values, partner), local.shared(values, partner)
                assert shared.shape == (view.size, view.domain_sizes[partner])
                assert local.shared_functions[partner] == sum({name, partner} <= {*c.scope} for c in view.constraints)
                for theirs in range(view.domain_sizes[partner]):
                    expected = local.by_value({**values, partner: theirs})
                    assert apart + shared[:, theirs] == pytest.approx(expected, abs=1e-9)


def test_the_least_is_reached_where_every_function_is_at_its_own() -> None:
    """Of the private costs of a node together; of a constraint wherever its least entry stands."""
    problem = problem_of("xyz", {"xy": [[5, 3], [7, 4]], "xyz": np.arange(8).reshape(2, 2, 2) - 2}, x=[2, 1])
    local = LocalCosts(prepare(problem, Mgm2, "mgm2", {}).view("x"))
    assert local.least == 3 - 2 + 1
    assert local.entries == 4 + 8 + 2


def test_rounding_of_penalties_is_no_gain() -> None:
    inf = float("inf")
    half = problem_of("xy", {"xy": [[inf, 0.5], [0.25, 1]]})
    whole = problem_of("xy", {"xy": [[inf, 5], [2, 1]]})
    for problem, penalty, exact in ((half, 1e6, False), (whole, 1e6, True), (whole, 0.1, False)):
        view = prepare(problem, Mgm2, "mgm2", {}).view("x")
        assert (LocalCosts(view, penalty).tolerance == view.tolerance) == exact
    assert LocalCosts(prepare(half, Mgm2, "mgm2", {}).view("x"), 1e6).tolerance < 1e-8


# What messages say ------------------------------------------------------------------------------------------------


def read(
    problem: Problem, viewer: tuple[str, ...], *, seed: int = 0, **params: Any
) -> list[tuple[Any, list[Statement]]]:
    """Return each delivery that a viewer sees with what it concludes, held against the truth."""
    setup = prepare(problem, Mgm2, "mgm2", params)
    reader, truth = Mgm2Reader(ReaderContext.of(setup, viewer)), Truth(setup)
    found = []
    for d in simulate(problem, Mgm2, seed=seed, **params).log:
        if d.src in viewer or d.dst in viewer:
            found.append((d, list(reader.read(d))))
            assert all(truth.holds(s) for s in found[-1][1])
    return found


def test_an_offer_tells_its_receiver_differences_of_the_senders_costs() -> None:
    problem = problem_of("xyz", {"xy": TOGETHER, "yz": [[0, 3], [1, 1]]})
    base = Term(("y",), "local", {"x": 0, "y": 0})
    offers = 0
    for seed in range(10):
        for d, said in read(problem, ("x",), seed=seed, rounds=1):
            if (d.type, d.src) == ("OFFER", "y") and d.message.gains is not None:
                offers += 1
                assert d.message.gains.tolist() == [[0, -1], [-2, 0]]
                assert [s for s in said if isinstance(s, CostIs)] == [
                    CostIs("gain", ("gains",), (base, Term(("y",), "local", {"y": a, "x": b}, -1.0)), "==",
                           d.message.gains[a, b], 0, None, "some", 1e6)
                    for a in (0, 1) for b in (0, 1)
                ]  # fmt: skip
    assert offers > 0


def test_answers_speak_of_both() -> None:
    accepted = rejected = 0
    for table in (TOGETHER, [[0, 2], [2, 1]]):
        problem = problem_of("xy", {"xy": table})
        for d, said in read(problem, ("x",)):
            if d.type != "ANSWER":
                continue
            costs = [s for s in said if isinstance(s, CostIs)]
            base = Term(("x", "y") if d.dst == "x" else ("y", "x"), "local", {"x": 0, "y": 0})
            if d.message.answer == "accept":
                accepted += 1
                assert [(s.terms[0], s.relation, s.value, s.terms[1].context) for s in costs] == [
                    (base, "==", 1, {"x": 1, "y": 1})
                ]
            elif d.message.answer == "reject" and table != TOGETHER:
                rejected += 1
                assert [(s.relation, s.value, s.fields) for s in costs] == [("<=", 0, ("answer",))] * 4
                assert costs[0].terms[0] == base
            elif d.message.answer == "busy":
                assert any(isinstance(s, Unanalysed) and s.fields == ("answer",) for s in said)
    assert accepted == 1
    assert rejected > 0


def test_a_gain_is_read_as_the_senders_own_only_where_it_must_be() -> None:
    """To x, y's gain may be that of y and z; it is y's alone if y's OFFER to x was turned down."""
    problem = problem_of("xyz", {"xy": [[1, 1], [1, 1]], "yz": [[3, 2], [2, 1]]})
    setup = prepare(problem, Mgm2, "mgm2", {})
    kinds: Counter[str] = Counter()
    for seed in range(30):
        reader = Mgm2Reader(ReaderContext.of(setup, ("x",)))
        known = "nothing"
        for d in simulate(problem, Mgm2, seed=seed, rounds=2).log:
            if "x" not in (d.src, d.dst):
                continue
            said = list(reader.read(d))
            if d.message.round == 0 and d.type == "ANSWER":
                known = "a pair" if d.message.answer == "accept" else "alone" if d.dst == "y" else known
            elif d.message.round == 0 and d.type == "GAIN" and d.src == "y":
                (about,) = [s for s in said if "gain" in s.fields]
                if known == "a pair":
                    assert isinstance(about, CostIs)
                    assert sorted(about.terms[0].parties) == ["x", "y"]
                else:
                    whose = "gain under values that the viewer does not know"
                    unknown = "gain of the sender, alone or with a partner"
                    assert about == Unanalysed(whose if known == "alone" else unknown, ("gain",))
            elif d.message.round == 1 and d.type == "VALUE" and d.src == "y" and d.message.value:
                assert any(isinstance(s, Chosen) for s in said) == (known == "alone")
                kinds[known] += 1
    assert set(kinds) == {"nothing", "a pair", "alone"}


def test_large_tables_are_not_read_cell_by_cell() -> None:
    size = 9
    assert size * size > READ_CELLS
    problem = problem_of("xy", {"xy": np.arange(size * size).reshape(size, size)}, size=size)
    labels = {s.label for d, said in read(problem, ("x",)) for s in said if d.type in ("OFFER", "ANSWER")}
    assert {"gains by pairs of values", "whether another pair gains more, or this one nothing"} <= labels


def test_on_a_wire_nothing_is_known_of_the_other_side() -> None:
    problem = problem_of("xy", {"xy": TOGETHER})
    reader = Mgm2Reader(ReaderContext.of(prepare(problem, Mgm2, "mgm2", {}), ()))
    said = [s for d in simulate(problem, Mgm2).log if d.src == "x" for s in reader.read(d)]
    assert not any(isinstance(s, CostIs) for s in said)
    assert any(isinstance(s, Unanalysed) and "gains" in s.fields for s in said)
