"""The experiments on DPCOP: the worked example number by number, and Table 1 against enumeration of all preferences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from scenarios.executors import Serial
from scenarios.experiments import dpcop_example, dpcop_table1
from scenarios.experiments.base import Options, Outcome, reproduce
from scenarios.experiments.dpcop_example import COMPILED, DpcopExample
from scenarios.experiments.dpcop_table1 import (
    INSTANCES,
    LONG,
    LONG_INSTANCES,
    PAPER,
    DpcopTable1,
    Found,
    Kind,
    enumerated,
    expected,
    implied,
    published,
)
from scenarios.generators.stable_matching import StableMatching, StableMatchingParams
from scenarios.matchings import Mode, all_profiles, profile_of, weights

Row = dict[str, Any]
RUN = ("protocol", "leader", "order", "prune")

# The example -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def example() -> Outcome:
    return reproduce(DpcopExample(Options()), Serial())


def part(outcome: Outcome, name: str) -> list[Row]:
    return [row for row in outcome.rows if row["part"] == name]


@pytest.mark.parametrize(
    ("leader", "order", "prune", "asked", "solution", "alice", "bob", "objective"),
    [
        ("alice", "T1,T2", "P1", "T1 T2", "T2", 0, 60, 1160),
        ("alice", "T1,T2", "P2", "T1", "T1", 0, 40, 1240),
        ("alice", "T1,T2", "P3", "T1 T2", "T2", 0, 60, 1160),
        ("alice", "T2,T1", "P1", "T2 T1", "T2", 0, 60, 1160),
        ("alice", "T2,T1", "P2", "T2 T1", "T2", 0, 60, 1160),
        ("alice", "T2,T1", "P3", "T2 T1", "T2", 0, 60, 1160),
        ("bob", "T1,T2", "P1", "T1 T2", "T2", 80, 0, 1180),
        ("bob", "T1,T2", "P2", "T1 T2", "T2", 80, 0, 1180),
        ("bob", "T1,T2", "P3", "T1 T2", "T2", 80, 0, 1180),
        ("bob", "T2,T1", "P1", "T2 T1", "T2", 80, 0, 1180),
        ("bob", "T2,T1", "P2", "T2", "T2", 50, 0, 1150),
        ("bob", "T2,T1", "P3", "T2 T1", "T2", 80, 0, 1180),
    ],
)
def test_one_leader(
    example: Outcome,
    leader: str,
    order: str,
    prune: str,
    asked: str,
    solution: str,
    alice: int,
    bob: int,
    objective: int,
) -> None:
    [row] = [r for r in example.rows if tuple(r.get(k) for k in RUN) == ("leader", leader, order, prune)]
    assert (row["asked"], row["solution"], row["lost_alice"], row["lost_bob"]) == (asked, solution, alice, bob)
    assert row["objective"] == row["reference"] == objective
    assert row["cost"] == objective - alice - bob == {"T1": 1200, "T2": 1100}[solution]


def test_publishing_totals_tells_all(example: Outcome) -> None:
    rows = [row for row in part(example, "runs") if row["protocol"] == "n-leaders totals"]
    assert [(row["order"], row["asked"], row["lost_alice"], row["lost_bob"], row["objective"]) for row in rows] == [
        ("T1,T2", "T1 T2", 80, 60, 1240),
        ("T2,T1", "T2 T1", 80, 60, 1240),
    ]


def test_publishing_the_solution_alone_tells_what_was_asked(example: Outcome) -> None:
    pytest.importorskip("phe")
    rows = [row for row in part(example, "runs") if row["protocol"] == "n-leaders argmin"]
    assert [(row["order"], row["asked"], row["lost_alice"], row["lost_bob"], row["objective"]) for row in rows] == [
        ("T1,T2", "T1 T2", 50, 40, 1190),
        ("T2,T1", "T2 T1", 30, 20, 1150),
    ]
    assert not any("left out" in note for note in example.notes)


def test_without_phe_secure_comparisons_are_left_out(monkeypatch: pytest.MonkeyPatch, example: Outcome) -> None:
    monkeypatch.setattr(dpcop_example, "find_spec", lambda name: None)
    experiment = DpcopExample(Options())
    assert not [task for task in experiment.tasks() if dict(task.keys).get("protocol") == "n-leaders argmin"]
    assert len(experiment.tasks()) == len(example.rows) - 2
    rows = [row for row in example.rows if row.get("protocol") != "n-leaders argmin"]
    assert "n-leaders argmin, T1,T2, P1; n-leaders argmin, T2,T1, P1" in experiment.notes(rows)[-1]


def test_an_oracle_loses_nothing_and_others_lose_what_goes_to_the_root(example: Outcome) -> None:
    runs = {(row["protocol"], row["leader"]): row for row in part(example, "runs")}
    assert runs["oracle", ""]["objective"] == 1100
    for solver in COMPILED:
        for leader, lost in (("alice", (0, 60)), ("bob", (80, 0))):
            row = runs[solver, leader]
            assert (row["solution"], row["cost"], row["asked"], row["reference"]) == ("T2", 1100, None, None)
            both = (row["lost_alice"], row["lost_bob"])
            assert both == ((80, 60) if solver == "synchbb" else lost), solver
            assert row["objective"] == 1100 + sum(both)


def test_only_without_a_bound_on_costs_is_the_example_solved(example: Outcome) -> None:
    rows = part(example, "abandonment")
    assert len(rows) == 4 * 3
    for row in rows:
        if row["policy"] == "zero":
            assert (row["abandons"], row["solution"]) == (None, "T2")
        else:
            assert row["abandons"] == (row["leader"] or "alice"), "who would ask first leaves"
            assert (row["asked"], row["lost_alice"], row["lost_bob"], row["objective"]) == ("", 0, 0, None)
    assert any("only with W=zero" in note for note in example.notes)


def test_thresholds(example: Outcome) -> None:
    found = {(row["agent"], row["answer"]): (row["reward"], row["reference"]) for row in part(example, "thresholds")}
    assert found == {
        ("alice", "T1"): (631, 631),  # 600 and the 30 that T1 is worth; with 630 it leaves
        ("alice", "T2"): (651, None),
        ("bob", "T1"): (341, 341),
        ("bob", "T2"): (321, 321),
    }


def test_the_example_says_how_it_compares(example: Outcome) -> None:
    n = sum(row["reference"] is not None for row in part(example, "runs"))
    assert n >= 15
    assert example.notes[0] == f"{n} of {n} objectives are as found by hand"
    assert "is 1150" in example.notes[1]


def test_the_examples_figure_has_a_bar_for_each_part_of_each_run(example: Outcome) -> None:
    pytest.importorskip("matplotlib")
    figure = DpcopExample(Options()).figure(example.rows)
    assert figure is not None
    [axes] = figure.axes
    assert len(axes.patches) == 3 * len(part(example, "runs"))


# Table 1: what is expected -----------------------------------------------------------------------------------------


def literal(kind: Kind, mode: Mode, reading: str) -> float:
    """Return the mean number of questions, going through all tuples one by one for each true profile."""
    profiles = all_profiles(kind.m, kind.values)
    weight = weights(profiles, kind.values, mode)
    tuples = [(r, x) for r in range(len(profiles)) for x in range(weight.shape[1])]
    if reading == "matching outermost":
        tuples = [(r, x) for x in range(weight.shape[1]) for r in range(len(profiles))]
    total = 0
    for true in range(len(profiles)):
        best = math.inf
        for r, x in tuples:
            w = weight[r, x]
            if reading == "own secrets" and (profiles[r, 0, 0] != profiles[true, 0, 0]).any():
                continue
            if kind.form != "RPSX" and w == 0:
                total += 1
                if r == true:
                    break
            elif kind.form == "RPSX" and (w < best if reading == "strictly better" else w <= best):
                total += 1
                if r == true:
                    best = min(best, w)
    return total / len(profiles)


@pytest.mark.parametrize(
    ("mode", "reading", "means"),
    [
        ("both", "", (9.44, 25.00, 122.33)),
        ("both", "matching outermost", (9.06, 24.00, 117.01)),
        ("both", "strictly better", (9.44, 16.44, 86.74)),
        ("both", "own secrets", (4.94, 12.50, 40.78)),
        ("oneway", "", (9.44, 25.00, 132.07)),
        ("strong", "", (9.44, 25.00, 145.00)),
    ],
)
def test_readings_of_the_column_cycles(mode: Mode, reading: str, means: tuple[float, ...]) -> None:
    kinds = [Kind.of(row) for row in ("RPSM 4/2", "RPSX 4/2", "RPSX 4/3")]
    found = [literal(kind, mode, reading) for kind in kinds]
    assert found == pytest.approx(means, abs=0.006)
    assert dpcop_table1.__doc__ is not None
    for mean in means:
        assert f"{mean:.2f}" in dpcop_table1.__doc__
    if mode == "both" and not reading:
        assert [expected(kind)["cycles"].mean for kind in kinds] == pytest.approx(found)


def test_the_longest_row_is_expected_to_take_what_the_paper_says() -> None:
    moments = expected(Kind.of(LONG))
    assert moments["cycles"].mean == pytest.approx(962316.86, abs=0.01)
    assert moments["cost"].mean == 30 * 50
    assert moments["cost"].sd == math.sqrt(30 * 850), "prices alone vary: all 30 entries are learnt in every case"


@pytest.mark.parametrize("row", ["STM 4/2", "RPSM 4/2", "RPSX 4/2", "RPSX 4/3"])
def test_enumeration_and_runs_agree_on_each_instance(row: str) -> None:
    kind = Kind.of(row)
    questions, entries = enumerated(kind)
    for seed in range(4):
        params = StableMatchingParams(kind.form, kind.m, kind.values)  # type: ignore[arg-type]
        digits = profile_of(StableMatching.generate(params, seed)).reshape(-1).tolist()
        index = int(np.polyval(digits, kind.values))
        found = DpcopTable1.run_task(dpcop_table1.Task(row, (seed,)))[0]
        assert (found.cycles, found.known) == (questions[index], entries[index])
        assert found.messages == 3 * 2 * questions[index] + 4  # and the solution, to the nodes of other agents


# Table 1: the experiment -------------------------------------------------------------------------------------------


class Small(DpcopTable1):
    """The rows that take no time."""

    names: ClassVar[Sequence[str]] = ("STM 4/2", "RPSM 4/2", "RPSX 4/2", "RPSX 4/3")


@pytest.fixture(scope="module")
def table() -> Outcome:
    return reproduce(Small(Options(instances=20)), Serial())


def test_means_are_near_the_expectation(table: Outcome) -> None:
    assert [(row["row"], row["column"]) for row in table.rows] == [
        (name, column) for name in Small.names for column in ("cycles", "cost")
    ]
    for row in table.rows:
        assert row["n"] == 20
        assert row["paper"] == PAPER[row["row"]][row["column"]]
        assert abs(row["ours"] - row["exact"]) < 4 * row["exact_sd"] / math.sqrt(20)
        assert 0 < row["se"] < row["exact"]
        assert row["z"] == pytest.approx((row["paper"] - row["exact"]) * 5 / row["exact_sd"])
    costs = {row["row"]: row for row in table.rows if row["column"] == "cost"}
    assert costs["RPSX 4/2"]["exact"] == 6 * 50
    assert costs["RPSX 4/3"]["exact"] == 9 * 50
    assert costs["STM 4/2"]["exact"] == costs["RPSM 4/2"]["exact"] == 278.125
    assert [costs[name]["entries"] for name in ("RPSX 4/2", "RPSX 4/3")] == [6, 9]


def test_what_fits_and_what_does_not(table: Outcome) -> None:
    far = {(row["row"], row["column"]) for row in table.rows if abs(row["z"]) > 2}
    assert far == {("RPSX 4/2", "cycles")}
    assert any("RPSX 4/2 cycles +3.3" in note for note in table.notes)
    assert any("same distribution" in note for note in table.notes)
    assert not any("HP" in note or "--full" in note for note in table.notes), "these rows were not run"


def test_the_longest_row_runs_few_instances_unless_all_are_asked_for() -> None:
    def seeds(**options: Any) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for task in DpcopTable1(Options(**options)).tasks():
            assert task.row != LONG or len(task.seeds) == 1, "a worker each"
            found.setdefault(task.row, []).extend(task.seeds)
        return found

    default = seeds(seed=3)
    assert set(default) == set(PAPER)
    assert default.pop(LONG) == list(range(3, 3 + LONG_INSTANCES))
    assert all(some == list(range(3, 3 + INSTANCES)) for some in default.values())
    assert seeds(instances=1)[LONG] == [0]
    assert len(seeds(instances=4, full=True)[LONG]) == 4
    assert DpcopTable1(Options()).tasks()[0].row == LONG, "the longest first"


def test_the_rows_and_notes_of_the_longest_row() -> None:
    class Long(DpcopTable1):
        names = (LONG,)

    found = [
        [Found(9e5, 1400.0, 30, 9_000_000, 63_000_000, 150.0)],
        [Found(1e6, 1600.0, 30, 10_000_000, 7 * 10**7, 170)],
    ]
    experiment = Long(Options())
    cycles, cost = experiment.rows(found)
    assert (cycles["ours"], cycles["se"], cycles["wall_s"], cycles["paper_s"]) == (950_000, 50_000, 160, 5822)
    assert cycles["z"] == pytest.approx(0, abs=0.05)
    assert (cost["ours"], cost["exact"], cost["messages"]) == (1500, 1500, 9_500_000)
    [note] = [note for note in experiment.notes([cycles, cost]) if note.startswith(LONG)]
    assert "n = 2 (at most 2; all of them with --full); each took 160 s, 9.5e+06 messages" in note
    assert "66 MB" in note
    assert "the paper's took 5822 s" in note


def test_the_tables_figure(table: Outcome) -> None:
    pytest.importorskip("matplotlib")
    hp = DpcopTable1(Options()).rows([[] for _ in DpcopTable1(Options()).tasks()])[:2]
    figure = Small(Options()).figure([*hp, *table.rows])
    assert figure is not None
    assert [len(axes.get_xticks()) for axes in figure.axes] == [5, 5]
    assert [axes.get_ylabel() for axes in figure.axes] == ["questions", "price of lost secrets"]


# Table 1: the row HP -----------------------------------------------------------------------------------------------


def test_who_prefers_another_learns_that_it_is_not_wanted() -> None:
    everybody = [(side, i) for side in range(2) for i in range(2)]
    prefers_0, prefers_1 = [0], [1]
    happy = np.array([[prefers_0, prefers_1], [prefers_0, prefers_1]])
    assert [implied(happy, (0, 1), 2, viewer) for viewer in everybody] == [[], [], [], []]
    wants_b1 = np.array([[prefers_1, prefers_1], [prefers_0, prefers_1]])
    assert implied(wants_b1, (0, 1), 2, (0, 0)) == [(1, 1, 0, 1)], "b1 does not prefer a0 to a1"
    assert implied(wants_b1, (0, 1), 2, (0, 1)) == []
    # Who knows the order knows that the earlier matching is not stable: a1 and b1, who have each other, want that.
    assert implied(wants_b1, (0, 1), 2, (0, 0), [(1, 0)]) == [(0, 1, 0, 1), (1, 1, 0, 1)]
    with pytest.raises(ValueError, match="not stable"):
        implied(happy, (1, 0), 2, (0, 0))


def test_what_a_published_matching_is_expected_to_tell() -> None:
    moments = published(Kind.of("HP"))
    assert moments["secrets"].mean == 1.25
    assert moments["cost"].mean == 50 * 2 * 1.25 / 4  # a secret has two entries; a0 learns what any other does


def test_without_mpyc_the_row_hp_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hp(DpcopTable1):
        names = ("HP",)

    monkeypatch.setattr(dpcop_table1, "find_spec", lambda name: None)
    outcome = reproduce(Hp(Options(instances=2)), Serial())
    assert [(row["row"], row["column"], row["ours"], row["n"]) for row in outcome.rows] == [
        ("HP", "cycles", None, 0),
        ("HP", "cost", None, 0),
    ]
    assert any("agentsim[crypto]" in note for note in outcome.notes)


def test_the_row_hp() -> None:
    pytest.importorskip("mpyc")

    class Hp(DpcopTable1):
        names = ("HP",)

    outcome = reproduce(Hp(Options(instances=25)), Serial())
    cycles, cost = outcome.rows
    assert (cycles["ours"], cycles["paper"], cycles["n"]) == (None, 14, 0)
    assert (cost["paper"], cost["exact"], cost["n"]) == (3, 31.25, 25)
    assert abs(cost["ours"] - cost["exact"]) < 4 * cost["exact_sd"] / 5
    assert cost["entries_with_order"] >= cost["entries"] > 0
    assert cost["bytes"] > 0, "parties in processes of their own sent these"
    assert any("is not explained" in note for note in outcome.notes)
