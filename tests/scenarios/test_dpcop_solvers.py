"""Experiment `dpcop-solvers`: totals, ranks, the sweep of rewards against runs with rational agents, and its words."""

import io
import math
import re
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from agentsim import simulate
from agentsim.runtime import registry
from privacy.dpcop.model import priced
from privacy.dpcop.rational import rational
from scenarios.executors import Serial
from scenarios.experiments import dpcop_solvers
from scenarios.experiments.base import Options, Outcome, reproduce
from scenarios.experiments.dpcop_meter import POLICIES, PRICINGS, Peak, Peaks, first_to_abandon, meter
from scenarios.experiments.dpcop_solvers import KINDS, DpcopSolvers, Found, Kind, Task, _by_price
from scenarios.generators.dimes import Dimes
from scenarios.generators.stable_matching import StableMatching

DIMES, TWO_EVENTS, RPSX = KINDS[:3]
SOLVERS = ("synchbb", "dpop", "leader", "mgm", "once", "no-such-solver")
COMPLETE = ("synchbb", "dpop", "leader")


class Tiny(DpcopSolvers):
    def kinds(self) -> Sequence[Kind]:
        return DIMES, RPSX

    def solvers(self) -> Sequence[str]:
        return SOLVERS


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    with Serial() as executor:
        return reproduce(Tiny(Options(instances=2)), executor)


def pick(outcome: Outcome, **keys: object) -> list[dict[str, Any]]:
    return [row for row in outcome.rows if all(row.get(key) == value for key, value in keys.items())]


def test_all_solvers_run_by_default() -> None:
    tasks = DpcopSolvers(Options(instances=1)).tasks()
    assert {task.solver for task in tasks} == set(registry.names("solvers"))
    assert len(DpcopSolvers(Options(full=True)).tasks()) > 2 * len(DpcopSolvers(Options()).tasks())


def test_there_is_a_row_for_each_of_the_parts_keys(outcome: Outcome) -> None:
    keys = {(row["problem"], row["solver"], row["pricing"]) for row in pick(outcome, part="total")}
    assert keys == {(k, s, p) for k in ("DiMES", "RPSX 4/2") for s in SOLVERS for p in PRICINGS}
    assert len(pick(outcome, part="total")) == len(keys)
    assert len(pick(outcome, part="needed")) == len(keys) * len(POLICIES)
    assert len(pick(outcome, part="solved")) == len(keys) * len(POLICIES) * len(dpcop_solvers.REWARDS)


def test_totals_are_cost_and_privacy(outcome: Outcome) -> None:
    for row in pick(outcome, part="total"):
        if row["total"] is not None:
            assert row["total"] == pytest.approx(row["cost"] + row["privacy_cost"])
            assert row["n"] == 2
    costs = {row["cost"] for row in pick(outcome, part="total", problem="DiMES") if row["solver"] in COMPLETE}
    assert len(costs) == 1, "all complete solvers find the same cost"


def test_ranks_follow_totals(outcome: Outcome) -> None:
    for problem in ("DiMES", "RPSX 4/2"):
        for pricing in PRICINGS:
            rows = pick(outcome, part="total", problem=problem, pricing=pricing)
            ranked = sorted((row for row in rows if row["rank"] is not None), key=lambda row: row["rank"])
            assert [row["rank"] for row in ranked] == list(range(1, len(ranked) + 1))
            assert [row["total"] for row in ranked] == sorted(row["total"] for row in ranked)
            assert [row["cheapest"] for row in ranked].count("yes") == 1
            best = ranked[0]
            for row in ranked:
                assert row["behind"] == pytest.approx(row["total"] - best["total"])
            assert all(row["solved"] < 1 for row in rows if row["rank"] is None)


def test_who_does_not_solve_or_begin_keeps_its_row(outcome: Outcome) -> None:
    (row,) = pick(outcome, part="total", problem="RPSX 4/2", solver="no-such-solver", pricing="full")
    assert row["status"] == "refused 2"
    assert "no-such-solver" in row["refusal"]
    assert (row["total"], row["rank"], row["solved"]) == (None, None, 0)
    assert any(note.startswith("no-such-solver did not begin") for note in outcome.notes)
    (row,) = pick(outcome, part="total", problem="RPSX 4/2", solver="once", pricing="full")
    assert (row["status"], row["total"], row["rank"]) == ("finished 2", None, None), "it violates hard constraints"
    assert row["privacy_all"] == 0


def test_a_run_that_hits_the_limit_is_not_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpcop_solvers, "MAX_MESSAGES", 3)
    found = DpcopSolvers.run_task(Task(RPSX, "synchbb", 0))
    assert found.status == "timeout"
    assert not found.solved


def test_nobody_abandons_with_an_infinite_reward_and_everybody_with_none(outcome: Outcome) -> None:
    for row in pick(outcome, part="solved", reward=math.inf):
        assert row["abandoned"] == 0
        assert row["solved"] == (1 if row["solver"] in COMPLETE else row["solved"])
        assert row["first"] == ""
    for row in pick(outcome, part="solved", reward=0.0):
        assert row["solved"] == 0
        if row["n"]:
            assert row["abandoned"] == 1
            assert row["first"]


def test_a_greater_reward_never_loses_anybody(outcome: Outcome) -> None:
    for problem in ("DiMES", "RPSX 4/2"):
        for solver in SOLVERS:
            for pricing in PRICINGS:
                for policy in POLICIES:
                    keys = {"problem": problem, "solver": solver, "pricing": pricing, "policy": policy}
                    rows = pick(outcome, part="solved", **keys)
                    assert [row["reward"] for row in rows] == list(dpcop_solvers.REWARDS)
                    shares = [row["solved"] for row in rows]
                    assert shares == sorted(shares)
                    (needed,) = pick(outcome, part="needed", **keys)
                    for row in rows if needed["n"] else ():
                        nobody_left = row["reward"] == math.inf or row["reward"] > needed["needed_most"]
                        assert (row["abandoned"] == 0) == nobody_left


def test_by_own_tuple_no_reward_keeps_who_is_asked_for_what_its_secrets_forbid(outcome: Outcome) -> None:
    keys = {"part": "needed", "problem": "RPSX 4/2", "pricing": "full"}
    (row,) = pick(outcome, **keys, solver="leader", policy="own_tuple")
    assert (row["needed_most"], row["last"], row["message"]) == (math.inf, "asked", "ANSWER")
    (row,) = pick(outcome, **keys, solver="leader", policy="own_min")
    assert row["needed_most"] < math.inf
    assert any("W = own_tuple" in note and "no finite one" in note for note in outcome.notes)


# The sweep against real runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["synchbb", "adopt", "dpop", "leader", "mgm", "sd-gibbs"])
@pytest.mark.parametrize("kind", [TWO_EVENTS, RPSX], ids=lambda kind: kind.name)
def test_a_metered_run_foretells_every_rational_one(kind: Kind, solver: str) -> None:
    generator: Any = Dimes if kind is TWO_EVENTS else StableMatching
    bare = generator.generate(generator.Params(**dict(kind.params)), 3)
    peaks: Peaks = {}
    problem = priced(bare, seed=3, mean=kind.price).attached()
    simulate(problem, solver, seed=3, log=False, gates=meter(peaks))
    for pricing, policy in (("full", "own_min"), ("bits", "zero"), ("probability", "own_tuple"), ("full", "global_lb")):
        own = peaks[pricing, policy]  # type: ignore[index]  # the pairs above are pricings and policies
        finite = [peak.reward for peak in own if peak.reward < math.inf] or [1e6]
        for reward in {finite[-1], finite[len(finite) // 2] + 1e-6, finite[-1] + 1e-6}:
            rewarded = priced(bare, seed=3, mean=kind.price, reward=reward).attached()
            gates = rational(policy=policy, pricing=pricing)
            result = simulate(rewarded, solver, seed=3, log=False, gates=gates)
            first = first_to_abandon(own, reward)
            assert (result.status == "abandoned") == (first is not None)
            if first is not None:
                assert result.abandoned is not None
                assert (result.abandoned.agent, result.abandoned.time) == (first.agent, first.time)


def test_equality_abandons_and_an_infinite_reward_never() -> None:
    peaks = [Peak(2.0, 1.0, "a", "root", "ASK", 0.0), Peak(0.0, math.inf, "b", "leaf", "TELL", 4.0)]
    assert first_to_abandon(peaks, 3.0) is peaks[0]
    assert first_to_abandon(peaks, 3.5) is peaks[1]
    assert first_to_abandon(peaks, math.inf) is None
    assert first_to_abandon([], 0.0) is None


# Prices, words and pictures ----------------------------------------------------------------------------------------


def line(solver: str, cost: float, privacy: float, rank: int | None) -> dict[str, Any]:
    keys = {"problem": "p", "pricing": "full", "n": 1}
    return {**keys, "solver": solver, "cost": cost, "privacy_cost": privacy, "rank": rank}


def test_who_is_cheapest_by_price_is_the_lower_envelope() -> None:
    totals = [
        line("optimal", 10, 8, 1), line("dominated", 11, 9, 2), line("never", 13, 5, 3), line("fair", 12, 4, 4),
        line("silent", 20, 0, 5), line("violates", 0, 0, None),
    ]  # fmt: skip
    found = [(row["solver"], row["price_from"], row["price_to"]) for row in _by_price(totals)]
    assert found == [("optimal", 0, 0.5), ("fair", 0.5, 2), ("silent", 2, math.inf)]
    assert [row["solver"] for row in _by_price([line("b", 1, 2, 1), line("a", 1, 1, 2)])] == ["a"], "equal at price 0"
    assert _by_price([line("violates", 0, 0, None)]) == []


def test_what_is_not_accounted_for_makes_a_lower_bound(outcome: Outcome) -> None:
    exact = {row["solver"] for row in pick(outcome, part="total", problem="RPSX 4/2") if not row["lower_bound"]}
    assert "dpop" in exact
    assert {"leader", "mgm"}.isdisjoint(exact)
    assert any("lower bound for" in note and "leader" in note and "dpop" not in note for note in outcome.notes)
    assert any(re.search(r"cheapest is \w+, [0-9.]+ [+] at least [0-9.]+;", note) for note in outcome.notes)


def test_one_instance_has_no_standard_errors_and_no_solution_no_mean() -> None:
    experiment = Tiny(Options(instances=1))
    rows = experiment.rows([Found("timeout") for _ in experiment.tasks()])
    assert all(row["rank"] is None and row["total"] is None for row in rows if row["part"] == "total")
    assert any("no solver solved every instance" in note for note in experiment.notes(rows))
    assert any("stopped after" in note for note in experiment.notes(rows))


def test_tables_and_figure_show_every_problem(outcome: Outcome) -> None:
    experiment = Tiny(Options(instances=2))
    console = Console(width=200, record=True, file=io.StringIO())
    experiment.show(console, outcome.rows)
    text = console.export_text()
    for words in (
        "DiMES: cost and privacy",
        "RPSX 4/2: reward above which nobody abandons",
        "synchbb",
        "asked, ANSWER",
    ):
        assert words in text
    pytest.importorskip("matplotlib")
    figure = experiment.figure(outcome.rows)
    assert figure is not None
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:4] == ["DiMES: full", "DiMES: bits", "DiMES: probability", "DiMES: W policies, price full"]
    assert len(titles) == 8
