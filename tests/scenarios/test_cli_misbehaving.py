"""The command line with agents and observers that misbehave, and under signals and broken pipes."""

import json
import os
import pty
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from agentsim import open_log
from tests.scenarios.commanding import SOLVE_KEYS, command, process

pytestmark = pytest.mark.usefixtures("no_stray_files")

HERE = Path(__file__).parent


@pytest.fixture
def plugin(tmp_path: Path) -> dict[str, str]:
    """An environment in which another package has registered agents and an observer that misbehave."""
    folder = tmp_path / "site"
    info = folder / "misbehaving-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "misbehaving.py").write_text((HERE / "misbehaving.txt").read_text())
    solvers = ["Raises", "Sleeps", "Swallows", "Loops", "Clings", "Garbage", "Silent", "Forever", "Compiled", "Unready"]
    lines = ["[agentsim.solvers]", *(f"{s.lower()} = misbehaving:{s}" for s in solvers)]
    lines += ["[agentsim.observers]", "trips = misbehaving:Trips", "gone = misbehaving:Gone"]
    (info / "entry_points.txt").write_text("\n".join(lines))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehaving\nVersion: 1.0\n")
    return {**os.environ, "PYTHONPATH": str(folder)}


# Agents and observers that misbehave -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algo", "words"),
    [
        ("raises", ("agent x", "ZeroDivisionError", "Traceback")),
        ("sleeps", ("agent x",)),
        ("garbage", ("agent x",)),
        ("unready", ("RuntimeError", "not today")),
    ],
)
def test_an_agents_exception_is_exit_1_with_its_name(
    problem: Path, plugin: dict[str, str], algo: str, words: tuple[str, ...]
) -> None:
    result = process("solve", problem, "--algo", algo, "--json", env=plugin)
    assert result.returncode == 1, result.stderr
    found = json.loads(result.stdout)
    assert found["status"] == "error"
    assert set(found) >= SOLVE_KEYS
    for word in words:
        assert word in result.stderr
    assert "Traceback" not in result.stdout


def test_an_observers_exception_is_exit_1(problem: Path, log: Path, plugin: dict[str, str]) -> None:
    for args in (("solve", problem, "--algo", "dpop"), ("replay", log)):
        result = process(*args, "--observe", "trips", "--json", env=plugin)
        assert result.returncode == 1, result.stderr
        assert "observer trips" in json.loads(result.stdout)["error"]
        assert "KeyError" in result.stderr


@pytest.mark.parametrize(("algo", "status"), [("swallows", "deadlock"), ("loops", "timeout")])
def test_an_agent_that_does_not_end_is_stopped(problem: Path, plugin: dict[str, str], algo: str, status: str) -> None:
    result = process("solve", problem, "--algo", algo, "--timeout", 0.3, "--json", env=plugin)
    assert (result.returncode, json.loads(result.stdout)["status"]) == (3, status), result.stderr


@pytest.mark.slow
def test_an_agent_that_swallows_everything_ends_with_the_process(
    problem: Path, tmp_path: Path, plugin: dict[str, str]
) -> None:
    log = tmp_path / "clings.amlog"
    result = process("solve", problem, "--algo", "clings", "--timeout", 0.3, "--log", log, "--json", env=plugin)
    assert (result.returncode, json.loads(result.stdout)["status"]) == (3, "timeout")
    assert "agent x never gave control back" in result.stderr
    assert open_log(log).header is not None


@pytest.mark.slow
def test_an_agent_stuck_in_compiled_code_ends_with_the_process(problem: Path, plugin: dict[str, str]) -> None:
    result = process("solve", problem, "--algo", "compiled", "--timeout", 0.3, "--json", env=plugin)
    assert result.returncode != 0
    assert "misbehaving.py" in result.stderr


def test_silence_is_a_deadlock(problem: Path, plugin: dict[str, str]) -> None:
    result = process("solve", problem, "--algo", "silent", "--json", env=plugin)
    assert (result.returncode, json.loads(result.stdout)["status"]) == (3, "deadlock")


def test_list_tells_what_cannot_be_loaded(plugin: dict[str, str]) -> None:
    result = process("list", "observers", "--json", env=plugin)
    rows = {row["name"]: row["status"] for row in json.loads(result.stdout)["observers"]}
    assert rows["gone"] == "broken"
    assert rows["traffic"] != "broken"


# Signals and pipes -------------------------------------------------------------------------------------------------


def test_ctrl_c_leaves_a_whole_log_and_prints_the_best(problem: Path, tmp_path: Path, plugin: dict[str, str]) -> None:
    log = tmp_path / "interrupted.amlog"
    args = command("solve", problem, "--algo", "forever", "--log", log, "--json")
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=plugin) as running:
        until = time.monotonic() + 60
        while not (log.exists() and log.stat().st_size > 50_000) and time.monotonic() < until:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    found = json.loads(out)
    assert (running.returncode, found["status"], found["limit"]) == (130, "interrupted", "interrupted"), err
    assert found["cost"] is not None
    assert json.loads(process("inspect", log, "--json", env=plugin).stdout)["whole"] is True
    assert process("replay", log, "--verify", env=plugin).returncode == 0


def test_a_broken_pipe_is_quiet(problem: Path) -> None:
    for args in (("list", "solvers"), ("solve", problem, "--algo", "dpop", "--json")):
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as pipe:
            done = subprocess.run(
                command(*args), stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=120, check=False
            )
        assert done.stderr == ""
        assert done.returncode == 141


def test_progress_is_shown_on_a_terminal_only(problem: Path, plugin: dict[str, str]) -> None:
    args = command("solve", problem, "--algo", "forever", "--timeout", 1.5, "--json")
    primary, secondary = pty.openpty()
    shown: list[bytes] = []

    def drain() -> None:
        try:
            while data := os.read(primary, 4096):
                shown.append(data)
        except OSError:  # the other side is closed
            pass

    reader = threading.Thread(target=drain)
    reader.start()
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=secondary, timeout=120, env=plugin, check=False)
    os.close(secondary)
    reader.join()
    os.close(primary)
    assert json.loads(done.stdout)["status"] == "timeout"
    assert b"deliveries, virtual time" in b"".join(shown)
    piped = process("solve", problem, "--algo", "forever", "--timeout", 1.0, "--json", env=plugin)
    assert piped.stderr == ""
