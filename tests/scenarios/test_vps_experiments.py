"""The experiments on privacy loss: what they claim of themselves, and that few instances give the right rows."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from scenarios.cli import main
from scenarios.executors import executor
from scenarios.experiments.base import Experiment, Options, Outcome, reproduce
from scenarios.experiments.vps_examples import VpsExamples
from scenarios.experiments.vps_gaps import ADVERSARIES, SOLVERS, VpsGaps
from scenarios.experiments.vps_table1 import VpsTable1
from scenarios.experiments.vps_table2 import VpsTable2
from scenarios.experiments.vps_tables import AGGREGATORS, LABELS, Losses, VpsTable, compare


def run(experiment: Experiment, workers: int) -> Outcome:
    with executor(workers) as pool:
        return reproduce(experiment, pool)


@pytest.mark.parametrize("table", [VpsTable1, VpsTable2])
def test_there_is_a_cell_for_every_number_of_the_paper(table: type[VpsTable]) -> None:
    cells = table(Options(instances=7)).cells()
    assert {(c.solver, c.where) for c in cells} == set(table.paper)
    assert all(c.rules[0] == "paper" for c in cells)
    tasks = table(Options(instances=7, seed=3)).tasks()
    assert len(tasks) == 2 * len(cells)
    assert sorted({s for t in tasks for s in t.seeds}) == list(range(3, 10))


def test_a_full_run_adds_the_exact_rule_and_the_other_density() -> None:
    cells = VpsTable1(Options(full=True)).cells()
    assert {c.generator["reading"] for c in cells} == {"exact", "extra"}
    assert all("exact" in c.rules for c in cells)


@pytest.mark.slow
def test_table_2_on_a_few_instances() -> None:
    outcome = run(VpsTable2(Options(instances=3)), 2)
    rows = {(r["solver"], r["shape"], r["aggregator"], r["rule"]): r for r in outcome.rows}
    assert len(rows) == len(outcome.rows) == 3 * 20
    assert all(r["n"] == 3 for r in outcome.rows)
    star = [rows[solver, "S", "average", "paper"]["ours"] for solver in ("dpop", "adopt", "bnb-adopt")]
    assert star[0] == star[1] == star[2] > 0  # the paper's own observation
    # A loss is a multiple of 1/24: four slots of one bit, six observers.
    for row in outcome.rows:
        if row["aggregator"] == "max":
            assert row["ours"] * 3 * 24 == pytest.approx(round(row["ours"] * 3 * 24), abs=1e-9)
    first = rows["dpop", "Q", "average", "paper,table=first"]["ours"]
    assert first <= rows["dpop", "Q", "average", "paper"]["ours"]
    assert any("standard errors" in note for note in outcome.notes)


@pytest.mark.slow
def test_table_1_on_an_instance_keeps_the_order_of_the_solvers() -> None:
    outcome = run(VpsTable1(Options(instances=1)), 2)
    mean = {(r["solver"], r["b"]): r["ours"] for r in reversed(outcome.rows) if r["aggregator"] == "average"}
    for b in (2, 3, 4, 5):
        assert mean["adopt", b] > mean["synchbb", b] >= 0
        assert mean["bnb-adopt", b] > mean["dpop", b] >= 0
    assert {r["aggregator"] for r in outcome.rows} == set(AGGREGATORS)


def test_results_do_not_depend_on_the_executor() -> None:
    class Small(VpsTable2):
        def cells(self):  # type: ignore[no-untyped-def]
            return super().cells()[-2:]

    def rows(workers: int) -> str:
        return json.dumps(run(Small(Options(instances=6)), workers).rows)

    assert rows(0) == rows(2)


def test_the_comparison_with_the_paper() -> None:
    found = compare([0.1, 0.2, 0.3], 0.25)
    assert found["ours"] == pytest.approx(0.2)
    assert found["se"] == pytest.approx(0.1 / math.sqrt(3))
    assert found["z"] == pytest.approx(0.05 / math.sqrt(0.01 * (1 / 3 + 1 / 10)))
    assert compare([0.1, 0.1], 0.1)["z"] is None


def test_the_examples_give_the_papers_numbers() -> None:
    rows = {(r["example"], r["what"]): r for r in run(VpsExamples(Options()), 0).rows}
    for row in rows.values():
        if isinstance(row["paper"], float):
            assert row["ours"] == pytest.approx(row["paper"], abs=5e-4)
        elif row["paper"] is not None:
            assert row["ours"] == row["paper"]
    assert rows["Example 3", "what p2 gains"]["ours"] == pytest.approx(1 / 12)
    assert rows["Example 4", "expected loss in bits, closed form"]["ours"] == pytest.approx(2.983459, abs=1e-6)
    assert rows["Example 4", "what follows logically, in bits"]["ours"] == pytest.approx(0.548789, abs=1e-6)


def test_the_examples_on_the_command_line(tmp_path: Path) -> None:
    shown = CliRunner().invoke(main, ["reproduce", "vps-examples", "--workers", "0"])
    assert shown.exit_code == 0, shown.output
    assert "2.983459" in shown.stdout
    found = CliRunner().invoke(main, ["reproduce", "vps-examples", "--workers", "0", "--json", "-o", str(tmp_path)])
    assert set(json.loads(found.stdout)) == {"experiment", "rows", "notes"}
    assert json.loads((tmp_path / "vps-examples.json").read_text()) == json.loads(found.stdout)


# Figures -----------------------------------------------------------------------------------------------------------


def made_up(table: VpsTable) -> list[dict[str, Any]]:
    """Return the rows of a table whose losses grow with the rule and from instance to instance."""
    many = range(table.options.instances or 2)

    def losses(rules: int) -> Losses:
        return [[[0.03 + 0.001 * r + 0.01 * i] * len(AGGREGATORS) for r in range(rules)] for i in many]

    return table.rows([losses(len(cell.rules)) for cell in table.cells()])


def curves(axes: Any, label: str) -> Any:  # matplotlib's containers and lines
    return dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))[label]


@pytest.mark.parametrize(("table", "scale"), [(VpsTable1, "symlog"), (VpsTable2, "linear")])
def test_the_tables_figure_has_the_papers_numbers_beside_ours(table: type[VpsTable], scale: str) -> None:
    pytest.importorskip("matplotlib")
    experiment = table(Options(instances=4))
    figure = experiment.figure(made_up(experiment))
    assert figure is not None
    assert len(figure.axes) == len(AGGREGATORS)
    kinds = [str(kind) for _, kind in table.paper]
    assert [tick.get_text() for tick in figure.axes[-1].get_xticklabels()] == kinds
    assert [text.get_text() for text in figure.axes[0].texts] == [
        LABELS[s] for s in dict.fromkeys(s for s, _ in table.paper)
    ]
    for a, axes in enumerate(figure.axes):
        assert axes.get_yscale() == scale
        paper = curves(axes, "paper")
        assert list(paper.get_ydata()) == [numbers[a] for numbers in table.paper.values()]
        ours, _, [bars] = curves(axes, "ours \u00b1 standard error")
        assert list(ours.get_ydata()) == pytest.approx([0.045] * len(kinds))
        assert all(x < y for x, y in zip(paper.get_xdata(), ours.get_xdata(), strict=True))
        error = compare([0.03, 0.04, 0.05, 0.06], 0)["se"]
        assert [(high - low) / 2 for (_, low), (_, high) in bars.get_segments()] == pytest.approx([error] * len(kinds))
        first, _, _ = curves(axes, "ours, table=first")
        assert list(first.get_ydata()) == pytest.approx([0.046] * 4)


def test_a_number_of_the_paper_leaves_its_band_where_z_passes_two() -> None:
    pytest.importorskip("matplotlib")
    experiment = VpsTable2(Options(instances=4))
    rows = made_up(experiment)
    figure = experiment.figure(rows)
    assert figure is not None
    first = [row for row in rows if row["aggregator"] == "average" and row["rule"] == "paper"]
    for row, bar in zip(first, figure.axes[0].patches, strict=True):
        low = bar.get_y()
        assert (low <= row["paper"] <= low + bar.get_height()) == (abs(row["z"]) <= 2)
    assert {abs(row["z"]) <= 2 for row in first} == {True, False}


def test_a_figure_of_one_instance_has_no_band_and_a_full_one_tells_densities_apart() -> None:
    pytest.importorskip("matplotlib")
    experiment = VpsTable1(Options(instances=1, full=True))
    figure = experiment.figure(made_up(experiment))
    assert figure is not None
    assert not figure.axes[0].patches
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert len(labels) == len(set(labels))
    assert {"ours, exact, density exact", "ours, paper, density extra", "ours, table=first, density extra"} <= set(
        labels
    )


def test_the_figure_of_gaps_has_the_bits_of_every_adversary() -> None:
    pytest.importorskip("matplotlib")
    experiment = VpsGaps(Options(instances=2))
    bits = {name: [0.5 * k, 0.5 * k + 0.25] for k, name in enumerate(ADVERSARIES)}
    rows = experiment.rows([(bits, 4.0) for _ in experiment.tasks()])
    figure = experiment.figure(rows)
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == list(dict.fromkeys(row["problem"] for row in rows))
    for axes in figure.axes:
        assert [tick.get_text() for tick in axes.get_xticklabels()] == list(SOLVERS)
        for name, (low, high) in bits.items():
            assert [bar.get_height() for bar in curves(axes, name)] == pytest.approx([(low + high) / 2] * len(SOLVERS))
    nothing = experiment.rows([({name: [0.0] for name in ADVERSARIES}, 4.0) for _ in experiment.tasks()])
    assert experiment.figure(nothing) is not None


def test_the_figure_of_the_examples_has_every_number_of_the_paper_and_its_last_example_adds_up() -> None:
    pytest.importorskip("matplotlib")
    experiment = VpsExamples(Options())
    rows = run(experiment, 0).rows
    figure = experiment.figure(rows)
    assert figure is not None
    above, below = figure.axes
    numbers = [row for row in rows if isinstance(row["paper"], float)]
    assert list(curves(above, "paper").get_xdata()) == [row["paper"] for row in numbers]
    assert list(curves(above, "ours").get_xdata()) == [row["ours"] for row in numbers]
    assert len(above.get_yticklabels()) == len(numbers) == 11
    assert sum(bar.get_width() for bar in below.patches) == pytest.approx(1)
    area = sum(bar.get_width() * bar.get_height() for bar in below.patches)
    assert area == pytest.approx(2.983459, abs=1e-6)
