"""The experiments on privacy loss: what they claim of themselves, and that few instances give the right rows."""

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from scenarios.cli import main
from scenarios.executors import executor
from scenarios.experiments.base import Experiment, Options, Outcome, reproduce
from scenarios.experiments.vps_examples import VpsExamples
from scenarios.experiments.vps_table1 import VpsTable1
from scenarios.experiments.vps_table2 import VpsTable2
from scenarios.experiments.vps_tables import AGGREGATORS, VpsTable, compare


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
