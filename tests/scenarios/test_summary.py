"""Medians and their intervals, what varies, and the summary of runs that the page of results shows."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pyarrow")

from agentsim.record.results_parts import arrow_table
from scenarios.reports.axes import axes_of, measures_of
from scenarios.reports.columns import MOST_NAMES, read_runs
from scenarios.reports.page import packed
from scenarios.reports.statistics import CONFIDENCE, median, rank
from scenarios.reports.summary import brief, summarise
from scenarios.sweeps.recording import run_row

# Medians -----------------------------------------------------------------------------------------------------------


def test_ranks_of_the_textbooks():
    # Tables of the sign test: n, and the rank of the lower end of the 95 % interval of a median.
    table = {1: 0, 5: 0, 6: 1, 8: 1, 9: 2, 10: 2, 12: 3, 15: 4, 20: 6, 25: 8, 30: 10, 50: 18, 100: 40}
    assert {n: rank(n) for n in table} == table
    assert rank(0) == 0
    assert rank(1_000_000) == 499_020  # 500,000 - 1.96 * 500: no term of the law underflowed


def test_the_rank_is_the_greatest_that_is_enough():
    for n in range(6, 120):
        law = [math.comb(n, i) / 2**n for i in range(n + 1)]
        k = rank(n)
        assert sum(law[k : n - k + 1]) >= CONFIDENCE > sum(law[k + 1 : n - k])


def _covers(n: int, limit: float, repetitions: int) -> int:
    rng = np.random.default_rng(n)
    truth = math.log(2)
    hits = 0
    for _ in range(repetitions):
        values = rng.exponential(size=n)
        found = median(np.minimum(values, limit), values > limit)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= truth <= found.high
    return hits


@pytest.mark.parametrize("n", [6, 11, 30])
def test_coverage(n: int):
    """Of 2,000 samples of a skewed law the share is within 4 standard errors: fails by chance once in 16,000 times."""
    k = rank(n)
    expected = sum(math.comb(n, i) for i in range(k, n - k + 1)) / 2**n
    assert expected >= CONFIDENCE
    error = math.sqrt(expected * (1 - expected) / 2000)
    assert abs(_covers(n, math.inf, 2000) / 2000 - expected) <= 4 * error


def test_coverage_where_a_limit_cuts():
    """A limit at the median itself leaves half of the values as bounds; the interval may only grow (4 se below)."""
    error = math.sqrt(0.05 * 0.95 / 1000)
    assert _covers(20, math.log(2), 1000) / 1000 >= CONFIDENCE - 4 * error
    assert _covers(20, 0.9, 1000) / 1000 >= CONFIDENCE - 4 * error


def test_censored_by_hand():
    # 1 2 3 and at least 9: whatever the last is, the median is 2.5.
    assert median([1, 2, 3, 9], [False, False, False, True]).value == 2.5
    assert not median([1, 2, 3, 9], [False, False, False, True]).at_least
    # 1, at least 2, 5: if the second is 7 the median is 5, not 2.
    found = median([1, 2, 5], [False, True, False])
    assert (found.n, found.censored, found.value, found.at_least) == (3, 1, 2, True)
    # All stopped at 10: at least 10, and nothing bounds it from above.
    found = median([10] * 8, [True] * 8)
    assert (found.value, found.at_least, found.low, found.high) == (10, True, 10, math.inf)
    # Of ten the second least and the second greatest: two bounds at the top leave no upper end, one leaves it.
    values = list(range(1, 11))
    assert (median(values).low, median(values).high, median(values).value) == (2, 9, 5.5)
    assert median(values, [v == 10 for v in values]).high == 9
    assert median(values, [v >= 9 for v in values]).high == math.inf
    # An early stop counts as infinite for the upper end, so 9 moves up to the place of 10.
    assert median(values, [v == 1 for v in values]).high == 10


def test_infinite_values_and_none():
    assert median([]).value is None
    assert (median([3]).value, median([3]).low, median([3]).high) == (3, None, None)
    assert median([1, math.inf, math.inf]).value == math.inf
    assert median([-math.inf, 3]).value == -math.inf
    assert median([-math.inf, math.inf]).value == -math.inf
    assert not median([1, math.inf, math.inf], [False, True, True]).at_least


numbers = st.integers(0, 20).map(float)


@given(st.lists(st.tuples(numbers, st.booleans(), numbers), min_size=1, max_size=15))
def test_bounds_hold_whatever_the_stopped_runs_would_have_come_to(rows: list[tuple[float, bool, float]]):
    found = median([v for v, _, _ in rows], [c for _, c, _ in rows])
    truth = median([v + more if c else v for v, c, more in rows])
    assert found.value is not None
    assert truth.value is not None
    assert truth.value >= found.value
    if not found.at_least:
        assert truth.value == found.value
    if found.low is not None and found.high is not None and truth.low is not None and truth.high is not None:
        assert found.low <= truth.low <= truth.high <= found.high


# Tables ------------------------------------------------------------------------------------------------------------


class Made:
    """A part made of rows: `runs` are columns of the table run by name."""

    def __init__(self, runs: list[dict[str, Any]], leakage: Any = (), series: Any = (), failed: Any = ()) -> None:
        cells = [row.get("cell", f"c{i}") for i, row in enumerate(runs)]
        plain = [{k: v for k, v in row.items() if k != "cell"} for row in runs]
        self.rows = {
            "run": [(cell, 0, *run_row(columns)) for cell, columns in zip(cells, plain, strict=True)],
            "cell": [(cell, "{}", "done", None, None, 0.1, "0.1.0") for cell in dict.fromkeys(cells)]
            + [(f"f{i}", "{}", "failed", error, None, 0.1, "0.1.0") for i, error in enumerate(failed)],
            "leakage": [(cell, 0, *rest) for cell, *rest in leakage],
            "series": [(cell, 0, *rest) for cell, *rest in series],
        }

    def read(self, table: str) -> Any:
        return arrow_table(table, [*zip(*self.rows[table], strict=True)])


def run(**columns: Any) -> dict[str, Any]:
    base = {
        "problem": "p",
        "generator": "g",
        "problem_parameters": "{}",
        "problem_seed": 0,
        "objective": "min",
        "variables": 5,
        "constraints": 4,
        "agents": 5,
        "solver": "adopt",
        "solver_parameters": "{}",
        "network": "unit",
        "observers": "[]",
        "seed": 0,
        "status": "optimal",
        "cost": 1.0,
        "messages": 10,
    }
    return base | columns


def columns_of(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {column["key"]: column for column in summary["columns"]}


def values_of(summary: dict[str, Any], key: str) -> list[Any]:
    column = columns_of(summary)[key]
    rows = summary["rows"][key]
    return [column["levels"][code] for code in rows] if "levels" in column else rows


SETTINGS = [("dpop", {"memory": 9}), ("dsa", {"p": 0.5}), ("dsa", {"p": 0.7})]


def sweep() -> list[dict[str, Any]]:
    return [
        run(
            problem_parameters=json.dumps({"size": size, "fixed": 1}),
            problem_seed=seed,
            seed=seed,
            solver=solver,
            solver_parameters=json.dumps(parameters),
            variables=size,
        )
        for size in (5, 10)
        for solver, parameters in SETTINGS
        for seed in range(3)
    ]


def test_axes_are_what_was_varied():
    runs = read_runs([Made(sweep())])
    axes = axes_of(runs)
    # dpop's memory is always 9, and goes with the solver; seeds repeat; `fixed` is fixed.
    assert [axis.key for axis in axes.all] == ["problem.size", "setting", "solver", "solver.p"]
    assert axes.grid == ["problem.size", "setting"]
    assert {*axes.all[1].column.levels} == {"dpop", "dsa p=0.5", "dsa p=0.7"}
    assert axes.defaults == {"x": "problem.size", "colour": "setting", "facet": ""}


def test_defaults_where_little_varies():
    assert axes_of(read_runs([Made([run()])])).defaults == {"x": "", "colour": "", "facet": ""}
    by_solver = [run(solver=name, seed=s) for name in ("a", "b") for s in range(2)]
    assert axes_of(read_runs([Made(by_solver)])).defaults == {"x": "solver", "colour": "solver", "facet": ""}
    by_network = [run(solver=s, network=n) for s in ("a", "b") for n in ("unit", "constant:2")]
    assert axes_of(read_runs([Made(by_network)])).defaults == {"x": "network", "colour": "solver", "facet": ""}
    one_solver = [run(network=n, observers=json.dumps([o])) for n in ("unit", "constant:2") for o in ("vps", "smi")]
    assert axes_of(read_runs([Made(one_solver)])).defaults == {"x": "network", "colour": "observers", "facet": ""}
    sized = [run(solver=s, network=n, agents=k) for s in "ab" for n in ("unit", "constant:2") for k in (3, 4)]
    assert axes_of(read_runs([Made(sized)])).defaults == {"x": "agents", "colour": "solver", "facet": "network"}


def test_gap_to_the_best_known_cost():
    rows = [
        run(problem_seed=1, cost=5.0, cell="a"),
        run(problem_seed=1, cost=8.0, cell="b"),
        run(problem_seed=1, cost=math.inf, cell="c"),
        run(problem_seed=2, cost=math.inf, cell="d"),
        run(problem_seed=3, cost=5.0, objective="max", cell="e"),
        run(problem_seed=3, cost=8.0, objective="max", cell="f"),
        run(problem_seed=3, cost=None, objective="max", status="error", cell="g"),
    ]
    summary = summarise([Made(rows[:4]), Made(rows[4:])])
    assert values_of(summary, "gap") == [0, 3, "inf", None, 3, 0, None]
    assert values_of(summary, "best") == [5, 5, 5, None, 8, 8, 8]
    assert values_of(summary, "cost") == [5, 8, "inf", "inf", 5, 8, None]


def test_findings_become_measures():
    leak = [
        ("c0", "vps", "aggregate", "average", 0.2),
        ("c1", "vps", "aggregate", "average", 0.3),
        ("c1", "vps", "aggregate", "risk", 0.4),
        ("c0", "vps", "loss", "anna", 0.1),
        ("c0", "vps", "loss", "bert", 0.3),
        ("c1", "vps", "loss", "cleo", 0.9),
        ("c0", "vps", "n", "", 5.0),
        ("c1", "vps", "n", "", 5.0),
        ("elsewhere", "vps", "n", "", 6.0),
        *(("c0", "vps", "matrix", f"{i}", float(i)) for i in range(MOST_NAMES + 1)),
    ]
    measures = {m.label: m for m in measures_of(read_runs([Made([run(), run()], leak)])) if m.finding}
    # n is the same in both runs, and risk and matrix have a value in one of them only.
    assert {*measures} == {"vps: average", "vps: loss mean", "vps: loss max"}
    assert measures["vps: average"].values.tolist() == [0.2, 0.3]
    assert measures["vps: loss mean"].values.tolist() == pytest.approx([0.2, 0.9])
    assert measures["vps: loss max"].values.tolist() == [0.3, 0.9]
    assert measures["vps: average"].grows


def test_what_never_differs_is_left_out_but_many_names_are_a_mean():
    leak = [(f"c{c}", "vps", "matrix", f"{i}", float(c * i)) for c in (1, 2) for i in range(MOST_NAMES + 1)]
    leak += [("c1", "vps", "aggregate", "risk", 0.1), ("c2", "vps", "aggregate", "risk", 0.2)]
    measures = {m.label: m for m in measures_of(read_runs([Made([run(), run(), run()], leak)])) if m.finding}
    assert {*measures} == {"vps: matrix mean", "vps: matrix max", "vps: risk"}
    assert measures["vps: matrix mean"].values.tolist()[1:] == [MOST_NAMES / 2, MOST_NAMES]
    assert math.isnan(measures["vps: matrix mean"].values[0])
    assert not measures["vps: risk"].grows  # it may fall when a loss rises, so a stopped run bounds nothing


def test_curves_are_steps_on_one_grid():
    series = [
        ("c0", "cost", "", 2.0, 9.0),
        ("c0", "cost", "", 4.0, math.inf),
        ("c1", "cost", "", 3.0, 7.0),
        ("c0", "vps.curve", "anna", 0.0, 0.0),
        ("c0", "vps.curve", "bert", 0.0, 0.0),
        ("c0", "vps.curve", "bert", 3.0, 0.5),
        ("elsewhere", "cost", "", 1.0, 1.0),
    ]
    rows = [run(), run(), run(status="timeout", cost=None), run(status="error", cost=None)]
    cost, leak = summarise([Made(rows, series=series)])["curves"]
    assert (cost["name"], cost["times"], cost["rows"]) == ("cost", [2, 3, 4], [0, 1, 2])
    # The run that was stopped without an assignment is in, the one that failed is not.
    assert cost["values"] == [[9, 9, "inf"], [None, 7, 7], [None, None, None]]
    assert (leak["name"], leak["times"], leak["values"]) == ("vps.curve", [0, 3], [[0, 0.25]])


def test_more_runs_than_the_page_holds():
    ends = ("optimal", "timeout")
    rows = [
        run(solver=name, seed=i, messages=i, status=ends[name == "b" and i % 4 == 0], cell=f"{name}{i}")
        for name, many in (("a", 3000), ("b", 1000))
        for i in range(many)
    ]
    summary = summarise([Made(rows[:1700]), Made(rows[1700:])], most=400)
    assert (summary["total"], summary["whole"]) == (4000, False)
    shown = values_of(summary, "solver")
    assert (len(shown), shown.count("a"), shown.count("b")) == (400, 300, 100)  # each by its share
    assert summary["statuses"] == {"optimal": 3750, "timeout": 250}
    groups = summary["groups"]
    assert groups["levels"] == {"solver": ["a", "b"]}
    assert groups["statuses"] == {"optimal": [3000, 750], "timeout": [0, 250]}
    found = groups["measures"]["messages"]
    assert (found["n"], found["value"][0], found["at_least"]) == ([3000, 1000], 1499.5, [False, True])
    low, high = rank(3000) - 1, 3000 - rank(3000)
    assert (found["low"][0], found["high"][0]) == (low, high)
    assert summarise([Made(rows)], most=400)["rows"] == summary["rows"]  # the sample does not depend on the parts
    assert len(packed(summary)) < 200_000


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [run()],
        [run(status="refused", cost=None, messages=None, error="no\nmore")] * 1,
        [{"status": None}],
        [run(cost=math.inf), run(cost=-math.inf, cell="x")],
        [run(problem_parameters="[1", solver_parameters="null", observers="{")],
        [run(problem_parameters='{"k": NaN}'), run(problem_parameters='{"k": [1]}', cell="x")],
    ],
    ids=["nothing", "one", "failed", "nulls", "infinite", "no JSON", "odd JSON"],
)
def test_odd_tables_give_a_summary(rows: list[dict[str, Any]]):
    summary = summarise([Made(rows)] if rows else [])
    assert summary["total"] == len(rows)
    packed(summary)  # no NaN, no infinity


def test_failures_are_counted_by_what_went_wrong():
    rows = [
        run(status="error", cost=None, messages=None, error="ValueError: boom", cell="a"),
        run(status="error", cost=None, messages=None, error="ValueError: boom", cell="b"),
        run(status="refused", cost=None, messages=None, error="too large", cell="c"),
        run(status="timeout", cell="d"),
    ]
    made = Made(rows, failed=["worker died"])
    summary = summarise([made])
    assert (summary["cells"], summary["failed_cells"]) == (5, 1)
    assert summary["failures"] == [
        {"status": "error", "error": "ValueError: boom", "count": 2, "cell": "a"},
        {"status": "refused", "error": "too large", "count": 1, "cell": "c"},
        {"status": "cell failed", "error": "worker died", "count": 1, "cell": "f0"},
    ]


def test_long_texts_are_cut_and_say_so():
    assert brief("x" * 10_000).endswith("… (10,000 characters)")
    summary = summarise([Made([run(solver="x" * 10_000), run(solver="y" * 10_000, cell="other")])])
    assert all(len(str(level)) < 600 for column in summary["columns"] for level in column.get("levels", ()))
