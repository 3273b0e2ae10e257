"""Disks that are full or fail, and processes that are killed, while a log is written."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentsim import Problem, UserError, load, replay, simulate
from agentsim.record.log import LogReader, LogUnwritable
from scenarios.experiments.faults import failing_disk

ROOT = Path(__file__).parents[3]
MEETINGS = ROOT / "scenarios/problems/meetings.yaml"
RUN: dict[str, Any] = {"network": "uniform:1,5"}


@pytest.fixture(scope="module")
def problem() -> Problem:
    return load(MEETINGS)


@pytest.fixture(scope="module")
def whole(problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "run.amlog"
    simulate(problem, "adopt", log=path, **RUN)
    return path


def check_left(log: Path, whole: Path) -> int:
    """Assert that what is left of a log is how the whole one begins; return how many records that is."""
    reader = LogReader(log)
    found = list(reader.records())
    assert found == list(LogReader(whole).records())[: len(found)]
    assert not reader.whole
    return len(found)


@pytest.mark.parametrize(("code", "compress"), [(errno.ENOSPC, False), (errno.EIO, True)])
def test_a_disk_that_fails_ends_the_run_with_the_best_so_far(
    code: int, compress: bool, problem: Problem, whole: Path, tmp_path: Path
) -> None:
    """Wherever it fails: within a block, between two, while the run goes on or when all is to be written at its end."""
    log = tmp_path / "run.amlog"
    simulate(problem, "adopt", log=log, compress=compress, **RUN)
    size, kept = log.stat().st_size, []
    for tenths in (2, 5, 9):
        with failing_disk(size * tenths // 10, code), pytest.raises(LogUnwritable) as caught:
            simulate(problem, "adopt", log=log, compress=compress, **RUN)
        assert str(caught.value) == f"{log}: cannot write the log: {os.strerror(code)}"
        result = caught.value.result
        assert (result.status, result.cost) == ("error", 44)
        kept.append(check_left(log, whole))
    assert kept == sorted(kept)
    assert kept[-1] > 0


def test_the_last_byte_may_be_the_one_that_does_not_fit(problem: Problem, whole: Path, tmp_path: Path) -> None:
    size = whole.stat().st_size
    for room in (size - 1, size - 300):
        with failing_disk(room, errno.ENOSPC), pytest.raises(LogUnwritable):
            simulate(problem, "adopt", log=tmp_path / "run.amlog", **RUN)
    with failing_disk(size, errno.ENOSPC):
        assert simulate(problem, "adopt", log=tmp_path / "run.amlog", **RUN).status == "optimal"
    assert replay(tmp_path / "run.amlog", verify=True).verified


@pytest.mark.parametrize("room", [0, 5, 700])
def test_a_disk_without_room_for_the_header_is_told_before_the_run(room: int, problem: Problem, tmp_path: Path) -> None:
    with (
        failing_disk(room, errno.ENOSPC),
        pytest.raises(UserError, match=r"run\.amlog: cannot write the log: No space"),
    ):
        simulate(problem, "adopt", log=tmp_path / "run.amlog", **RUN)


def test_observers_fail_before_the_log_does_and_both_are_no_hang(problem: Problem, tmp_path: Path) -> None:
    from agentsim import Observer, ObserverFailure

    class Fails(Observer):
        name = "fails"

        def observe(self, delivery: Any) -> None:
            if delivery.seq == 100:
                raise ValueError("enough")

    with failing_disk(8000, errno.EIO), pytest.raises(ObserverFailure) as caught:
        simulate(problem, "adopt", log=tmp_path / "run.amlog", observers=[Fails], **RUN)
    assert caught.value.result.status == "error"


@pytest.mark.parametrize("name", ["/dev/null", "/dev/full", "pipe", "."])
def test_what_cannot_be_read_again_is_no_place_for_a_log(name: str, problem: Problem, tmp_path: Path) -> None:
    """Nor would opening a pipe that nobody reads ever end."""
    path = tmp_path / name
    if name == "pipe":
        os.mkfifo(path)
    if not path.exists():
        pytest.skip("there is no such device")
    with pytest.raises(UserError) as caught:
        simulate(problem, "dpop", log=path)
    assert str(caught.value) == f"{path}: cannot write the log: it is not a regular file"


def solve(log: Path, room: int) -> subprocess.CompletedProcess[str]:
    """Run the command in a process whose files cannot grow beyond `room` bytes."""
    program = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))\n"
        "from scenarios.cli import main; main()"
    )
    words = [sys.executable, "-c", program, "solve", str(MEETINGS), "--algo", "adopt", "--log", str(log), "--json"]
    return subprocess.run(
        [*words, "--network", RUN["network"]], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_command_says_in_one_line_what_happened_and_shows_the_best_so_far(whole: Path, tmp_path: Path) -> None:
    pytest.importorskip("resource")
    log = tmp_path / "run.amlog"
    done = solve(log, 60_000)
    assert done.returncode == 1
    assert done.stderr == f"agentsim: {log}: cannot write the log: File too large\n"
    shown = json.loads(done.stdout)
    assert (shown["status"], shown["cost"]) == ("error", 44)
    assert shown["error"] in done.stderr
    assert check_left(log, whole) > 0
    early = solve(log, 1_000)
    assert (early.returncode, early.stdout) == (2, "")
    assert early.stderr == f"agentsim: {log}: cannot write the log: File too large\n"
