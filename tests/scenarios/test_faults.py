"""The experiment `faults`: what it calls survived, told and lost, and that nothing is lost."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest

from agentsim import UserError, load, simulate
from agentsim.runtime.agent import Agent
from agentsim.runtime.network import Network
from agentsim.testing import brute_force
from scenarios.experiments import faults
from scenarios.experiments.base import Options
from scenarios.experiments.faults import ALL, NETWORK_FAULTS, PROCESS_FAULTS, SURVIVED, TOLD, Faults, Task

ROOT = Path(__file__).parents[2]
MEETING = ROOT / "scenarios/problems/meeting_of_two.yaml"


@pytest.mark.parametrize("fault", NETWORK_FAULTS)
def test_nothing_is_lost_and_under_reliable_all_survive(fault: str) -> None:
    reliable = len(fault) % 3 != 0
    ends = faults.network_ends(Task(fault, reliable, 1))
    assert set(ends) == set(faults.complete_solvers())
    good = {SURVIVED} if reliable and fault != "crash for good" else {SURVIVED, *TOLD}
    assert set(ends.values()) <= good


@pytest.mark.parametrize("fault", ["kill -9", "Ctrl-C"])
def test_a_log_that_is_cut_is_told(fault: str) -> None:
    assert faults.process_ends(Task(fault, False, 3)) == {"adopt": "told"}


@pytest.mark.parametrize("fault", NETWORK_FAULTS)
def test_networks_are_drawn_from_the_task_alone(fault: str) -> None:
    specs = set()
    for seed in range(8):
        problem, spec = faults.drawn(Task(fault, True, seed))
        assert faults.drawn(Task(fault, True, seed))[1] == spec
        bare = faults.drawn(Task(fault, False, seed))[1]
        assert spec == f"{bare}+reliable"
        assert not Network.parse(bare, problem.agents).plain or bare.startswith("priority")
        specs.add(spec)
    assert len(specs) > 1 or fault in ("burst", "priority")


def test_rows_count_ends_together_and_by_solver() -> None:
    experiment = Faults(Options(instances=1))
    tasks = experiment.tasks()
    ends = {"adopt": SURVIVED, "dpop": "wrong optimum", "afb": "deadlock"}
    results = [{"adopt": "told"} if task.fault in PROCESS_FAULTS else ends for task in tasks]
    rows = experiment.rows(results)
    totals = [row for row in rows if row["solver"] == ALL]
    assert len(totals) == len(PROCESS_FAULTS) + 2 * len(NETWORK_FAULTS)
    assert rows[: len(totals)] == totals
    row = next(row for row in totals if row["fault"] == "reorder" and row["network"] == "reliable")
    assert row == {
        "fault": "reorder", "network": "reliable", "solver": "all", "runs": 3, "survived": 1, "told": 1, "lost": 1,
        "ends": "1 deadlock, 1 survived, 1 wrong optimum",
    }  # fmt: skip
    single = next(r for r in rows if (r["fault"], r["network"], r["solver"]) == ("reorder", "bare", "dpop"))
    assert (single["runs"], single["survived"], single["told"], single["lost"]) == (1, 0, 0, 1)
    notes = experiment.notes(rows)
    assert re.match(r"98 runs, 30 lost$", notes[0])
    assert notes[1].endswith("14 of 42 survived")
    assert experiment.figure(rows) is not None


def test_full_does_more() -> None:
    assert len(Faults(Options(full=True)).tasks()) > 10 * len(Faults(Options()).tasks())


class Liar(Agent):
    """Claims an optimum, or that there is none, without looking."""

    complete = True
    claims: Any = 0

    async def run(self) -> None:
        if self.claims is None:
            self.bound(lower=float("inf"))
        elif self.claims == "raise":
            raise ValueError("no")
        elif self.claims == "sleep":
            while True:
                await self.sleep(1.0)
        self.assign(self.claims or 0)


@pytest.mark.parametrize(("claims", "end"), [(0, "wrong optimum"), (None, "wrongly infeasible"), ("raise", "error"),
                                             ("sleep", "hung")])  # fmt: skip
def test_what_is_wrong_is_called_so(claims: Any, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = load(MEETING)
    best = brute_force(problem)
    liar = type("Liar", (Liar,), {"claims": claims})
    assert simulate(problem, "dpop").cost == best
    monkeypatch.setattr(faults, "HUNG_S", 0.2)
    assert faults.end_of(problem, liar, "unit", 0, best, verifies=False) == end  # type: ignore[arg-type]  # a class


def test_a_log_that_says_otherwise_is_lost(tmp_path: Path) -> None:
    problem = load(MEETING)
    whole, other, cut = (tmp_path / name for name in ("whole.amlog", "other.amlog", "cut.amlog"))
    simulate(problem, "adopt", log=whole)
    simulate(problem, "adopt", log=other, seed=5, network="uniform:1,9")
    assert faults._left(whole, whole) == "told"
    cut.write_bytes(other.read_bytes()[:-40])
    assert faults._left(cut, other) == "told"
    data = bytearray(other.read_bytes())
    data[-30] ^= 1
    cut.write_bytes(data)
    assert faults._left(cut, other) == "LogDamaged"
    cut.write_bytes(b"AM")
    assert faults._left(cut, other) == "NotALog"


def test_a_disk_that_claims_an_optimum_for_a_log_it_has_not_is_lost(tmp_path: Path) -> None:
    problem = load(MEETING)
    log = tmp_path / "run.amlog"
    assert faults._unwritable(problem, log, 10**9, 28, {}) == "optimal with a log that is not whole"
    with pytest.raises(UserError):
        faults._unwritable(problem, log, 3, 28, {})


def test_a_process_that_did_not_even_begin_is_lost(tmp_path: Path) -> None:
    log = tmp_path / "run.amlog"
    assert faults._signalled(MEETING, log, 10**9, signal.SIGKILL, {"algo": "nobody"}) == "exit 2"
