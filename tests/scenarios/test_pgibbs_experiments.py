"""The experiments on P-Gibbs, made small: what they must find at any size, and that they draw and write."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")
from agentsim.runtime import registry
from privacy.converse import least_cost, least_mean
from scenarios.commands.reproduce import draw, write
from scenarios.executors import Serial
from scenarios.experiments import pgibbs_assignments, pgibbs_leak, private_frontier
from scenarios.experiments.base import Experiment, Options, Outcome, reproduce
from scenarios.experiments.pgibbs import Measured, cell, qualities


def find(name: str, **options: Any) -> Experiment:
    experiment: Experiment = registry.find("experiments", name)(Options(**options))
    return experiment


class Nobody(Serial):
    """Runs nothing."""

    def map(self, function: Any, tasks: Sequence[Any], *, died: Any = None) -> Iterator[tuple[int, Any]]:
        assert not tasks
        return iter(())


def outcome(experiment: Experiment, folder: Path) -> Outcome:
    """Run it here, and write everything that the command would write."""
    found = reproduce(experiment, Serial(), folder=folder / experiment.name)
    assert reproduce(experiment, Nobody(), folder=folder / experiment.name) == found, "every result was kept"
    write(folder / experiment.name, found.to_json())
    draw(folder / experiment.name, experiment, found)
    assert (folder / f"{experiment.name}.csv").read_text().count("\n") == len(found.rows) + 1
    assert (folder / f"{experiment.name}.txt").read_text().splitlines() == found.notes
    return found


def test_the_five_published_epsilons(tmp_path: Path) -> None:
    pytest.importorskip("dp_accounting")
    rows = outcome(find("pgibbs-epsilon"), tmp_path).rows
    for row in rows:
        assert row["ours"] == pytest.approx(float(row["published"]), rel=2e-3)
        assert row["emitted"] == math.inf
        assert row["pld"] <= row["rdp"]
        assert row["pld"] <= row["edge"] <= row["agent"]
    assert [row["published"] for row in rows if row["agent"] > row["ours"]], (
        "one agent's epsilon is not its neighbours'"
    )
    assert (tmp_path / "pgibbs-epsilon.svg").stat().st_size > 1000
    assert (tmp_path / "pgibbs-epsilon.png").read_bytes().startswith(b"\x89PNG")


def test_figure_2_turns_up_for_tau_5_only(tmp_path: Path) -> None:
    rows = outcome(find("pgibbs-figure2"), tmp_path).rows

    def curve(name: str) -> list[float]:
        return [row["epsilon"] for row in rows if row["parameter"] == name]

    assert cell(rows, "epsilon", parameter="tau = 5", order=1) == pytest.approx(4.626, abs=1e-3)
    assert cell(rows, "epsilon", parameter="tau = 5", order=100) == pytest.approx(1.945, abs=1e-3)
    assert cell(rows, "epsilon", parameter="tau = 50", order=50) == pytest.approx(0.097, abs=1e-3)
    assert curve("tau = 25") == sorted(curve("tau = 25"), reverse=True)
    assert curve("tau = 5") != sorted(curve("tau = 5"), reverse=True)


def test_x1_recovers_the_table_of_x2_and_x3(tmp_path: Path) -> None:
    rows = outcome(find("pgibbs-leak"), tmp_path).rows
    several = str(pgibbs_leak.RUNS)
    for solver in ("sd-gibbs", "p-gibbs code"):
        for row in rows:
            if row["solver"] == solver and row["runs"] == several:
                assert row["estimate"] == pytest.approx(row["true"], abs=1e-6)
                assert row["se"] == 0
    for row in rows:
        assert row["low"] <= row["true"] <= row["high"], "best responses never exclude the truth"
        if row["solver"] == "p-gibbs hardened":
            assert row["estimate"] is None
            assert (row["low"], row["high"]) == (-math.inf, math.inf)
        if row["solver"] == "p-gibbs paper" and row["estimate"] is not None:
            assert row["se"] > 100
            assert abs(row["estimate"] - row["true"]) < 5 * row["se"]  # 18 estimates: fails once in 10^5 seeds
    assert cell(rows, "estimate", solver="sd-gibbs", runs="1", entry="F23(1,1)") == 2


def test_quality_in_both_senses_and_with_negative_costs() -> None:
    def measured(mean: float, objective: str) -> Measured:
        return Measured((mean,), -10.0, -50.0, objective)

    ising = qualities([measured(-20.0, "min")], [measured(-40.0, "min")])
    assert ising["SQ"] == 2.0, "as printed: above 1 although it is worse"
    assert ising["NQ"] == pytest.approx(1 / 3)
    meetings = qualities([measured(0.0, "max")], [measured(50.0, "max")])
    assert meetings["NQ"] == pytest.approx(0.5), "from the worst one"
    assert meetings["CoV"] is None, "of one instance"


def test_figure_3_on_ising(tmp_path: Path) -> None:
    experiment = find("pgibbs-figure3", instances=2)
    experiment.default_runs = 1  # type: ignore[attr-defined]
    experiment.benchmarks = {"Ising": "pgibbs-ising"}  # type: ignore[attr-defined]
    found = outcome(experiment, tmp_path)
    assert len(found.rows) == 15
    assert {row["n"] for row in found.rows} == {2}
    # Noise a fiftieth as large, and ten times the budget, cannot both be worse than the paper's P-Gibbs-infinity.
    assert cell(found.rows, "NQ", variant="code", epsilon="9.55") > cell(
        found.rows, "NQ", variant="paper", epsilon="0.046"
    )
    assert (tmp_path / "pgibbs-figure3.svg").exists()


def test_figure_4_has_its_four_sweeps() -> None:
    experiment = find("pgibbs-figure4", instances=12)
    tasks = experiment.tasks()
    sweeps = {(t.benchmark, dict(t.arm.keys).get("sweep")) for t in tasks} - {(t.benchmark, None) for t in tasks}
    assert {sweep for _, sweep in sweeps} == {"sigma", "gamma", "q", "agents"}
    assert {t.seed for t in tasks if "agents" in t.benchmark} == set(range(10)), "ten instances of each band"
    assert {t.seed for t in tasks if t.benchmark == "Ising"} == set(range(12))


def test_assignment_distance_and_proximity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgibbs_assignments, "EPSILONS", ("0.662",))
    for name in ("pgibbs-table5", "pgibbs-proximity", "pgibbs-figure5"):
        experiment: Any = find(name)
        if name != "pgibbs-figure5":
            experiment.benchmarks = {"colouring": "dpop-coloring"}  # a small one
        experiment.runs = 3
        if name == "pgibbs-figure5":
            monkeypatch.setattr(pgibbs_assignments, "EPSILONS", ("0.662", "9.55"))
        rows = outcome(experiment, tmp_path).rows
        if name == "pgibbs-table5":
            for row in rows:
                assert 0 <= row["ours"] <= row["most"] <= 1
        elif name == "pgibbs-proximity":
            assert cell(rows, "share", variant="sd-gibbs") == 1
        else:
            for key in rows[0].keys() - {"value"}:
                assert math.fsum(row[key] for row in rows) == pytest.approx(1)


def test_the_frontier_stays_below_the_converse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_frontier, "EPSILONS", (1.0,))
    monkeypatch.setattr(private_frontier, "SETTINGS", {})
    monkeypatch.setattr(private_frontier, "BASELINE_RUNS", 1)
    experiment = find("private-frontier", instances=1)
    found = outcome(experiment, tmp_path)
    for unit in ("agent", "edge", "entry"):
        row = next(r for r in found.rows if r["solver"] == f"once, {unit}")
        # The cap is on a mean over problems; one may pass it by luck, but not by much.
        assert row["SQ"] < row["cap"] + 0.1
    own = next(r for r in found.rows if r["solver"] == "once, agent")
    assert own["own"] == pytest.approx(1.0)
    assert own["edge"] <= own["own"] <= own["agent"]
    assert cell(found.rows, "NQ", solver="random") == pytest.approx(0)
    assert cell(found.rows, "NQ", solver="sd-gibbs") == pytest.approx(1)
    assert cell(found.rows, "SQ", solver="converse, edge") > cell(found.rows, "SQ", solver="converse, own")


def test_the_converse() -> None:
    known = {0.25: 4.189, 0.662: 3.681, 1.0: 3.278, 1.31: 2.932}
    for epsilon, mean in known.items():
        assert least_mean(epsilon, 0, 9) == pytest.approx(mean, abs=6e-4)
    assert least_mean(0.0, 0, 9) == pytest.approx(4.5)
    assert least_mean(1000.0, 0, 9) == pytest.approx(0, abs=1e-9)
    assert least_mean(1.0, 3, 3) == 3
    # A sum of tables that are protected together gains less than they would apart.
    assert least_mean(1.0, 0, 9, tables=7) > 7 * least_mean(1.0, 0, 9)
    assert least_cost(1.0, 0, 9, [(1, 10.0), (0, 1.0)]) == pytest.approx(10 * least_mean(1.0, 0, 9))
    for wrong in ((-1.0, 0, 9, 1), (1.0, 9, 0, 1), (1.0, 0, 9, 0)):
        with pytest.raises(ValueError, match="makes no sense"):
            least_mean(*wrong)


def test_the_converse_is_what_the_best_private_choice_attains() -> None:
    """Of two outcomes of a table the cheaper can be had exp(epsilon) times as often, and no more."""
    for epsilon in (0.1, 1.0, 3.0):
        p = math.exp(epsilon) / (1 + math.exp(epsilon))
        assert least_mean(epsilon, 0, 1) == pytest.approx(1 - p)
