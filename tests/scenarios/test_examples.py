"""The runnable examples that the README shows."""

import subprocess
import sys
from pathlib import Path

import pytest

from agentsim import load, replay, save, simulate
from scenarios import observe_traffic
from scenarios.adversaries import __main__ as adversaries
from scenarios.generators.meetings import Meetings, MeetingsParams

EXAMPLES = ["scenarios.observe_traffic", "scenarios.adversaries"]


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    path = tmp_path / "meetings.yaml"
    save(Meetings.generate(MeetingsParams(agents=6, meetings=5, slots=8), 2), path)
    return path


@pytest.mark.parametrize("solver", ["dpop", "synchbb", "adopt", "bnb-adopt-plus"])
def test_traffic_counts_what_is_sent(problem: Path, solver: str) -> None:
    result = simulate(load(problem), solver, observers=[observe_traffic.Traffic])
    found = result.findings["traffic"]
    assert sum(f["messages"] for f in found.values()) == result.messages
    assert sum(f["bytes"] for f in found.values()) == result.bytes
    assert result.local_messages
    assert all(a != b for a, b in (pair.split(" > ") for pair in found))
    assert replay(result.log, observers=["traffic"]).findings["traffic"] == found


def test_traffic_from_one_agents_eyes(problem: Path) -> None:
    found = simulate(load(problem), "dpop", observers=["traffic:view=agent:Ben"]).findings["traffic"]
    assert found
    assert all("Ben" in pair for pair in found)


@pytest.mark.parametrize("module", EXAMPLES)
def test_runs_as_a_program(problem: Path, module: str) -> None:
    def run(*args: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", module, *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    done = run(problem)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) >= 2
    for wrong in ((), (problem.parent / "none.yaml",), (problem, "a", "b", "c")):
        done = run(*wrong)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("module", [observe_traffic, adversaries])
def test_main_in_this_process(problem: Path, module: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert module.main([str(problem)]) == 0
    assert capsys.readouterr().out
    assert module.main([str(problem), "nobody"]) == 2
