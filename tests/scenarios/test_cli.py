"""The command line: JSON keys, exit statuses, one line for whatever a user gets wrong."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agentsim import open_log
from agentsim.runtime import registry
from scenarios.cli import COMMANDS, main
from scenarios.screen import plain

PROBLEM = """
name: three
objective: min
domains: {d: {values: [0, 1, 2]}}
variables:
  x: {domain: d}
  y: {domain: d}
  z: {domain: d}
constraints:
  xy: {type: intention, function: 3 if x == y else x + y}
  yz: {type: intention, function: 2 if y == z else 0}
agents: [x, y, z]
"""
OPTIMUM = 1
SOLVE_KEYS = {
    *("status", "cost", "bound", "assignment", "violations", "messages", "bytes", "nccc", "virtual_time"),
    *("wall_time", "by_type", "seed", "solver", "problem", "limit", "findings"),
}
HERE = Path(__file__).parent
ENTRY = "import sys; sys.argv[0] = 'agentsim'; from scenarios.cli import main; main()"


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args], prog_name="agentsim")


def command(*args: object) -> list[str]:
    return [sys.executable, "-c", ENTRY, *map(str, args)]


def process(*args: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*args), capture_output=True, text=True, timeout=120, env=env, check=False)


def one_line(result: Result | subprocess.CompletedProcess[str]) -> str:
    """Check that a command ended as it must when the user got something wrong, and return its line."""
    status = result.exit_code if isinstance(result, Result) else result.returncode
    assert status == 2, (result.stdout, result.stderr)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    path = tmp_path / "three.yaml"
    path.write_text(PROBLEM)
    return path


@pytest.fixture
def log(problem: Path, tmp_path: Path) -> Path:
    path = tmp_path / "run.amlog"
    result = run("solve", problem, "--algo", "synchbb", "--log", path, "--observe", "traffic")
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A log of several blocks."""
    folder = tmp_path_factory.mktemp("long")
    problem, path = folder / "m.yaml", folder / "long.amlog"
    assert run("generate", "meetings", "-p", "meetings=5", "-p", "slots=8", "-o", problem).exit_code == 0
    assert run("solve", problem, "--algo", "adopt", "--log", path).exit_code == 0
    assert path.stat().st_size > 3 * 16_384
    return path.read_bytes()


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


# solve -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algo", registry.names("solvers"))
def test_solve_prints_one_json_object_with_the_keys(problem: Path, algo: str) -> None:
    result = run("solve", problem, "--algo", algo, "--json", "--seed", 3)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert set(found) >= SOLVE_KEYS
    if registry.find("solvers", algo).complete:
        assert (found["status"], found["cost"], found["bound"]) == ("optimal", OPTIMUM, OPTIMUM)
    else:
        assert (found["status"], found["bound"]) == ("finished", None)
        assert found["cost"] >= OPTIMUM
    assert set(found["assignment"]) == {"x", "y", "z"}
    assert (found["violations"], found["seed"], found["solver"], found["problem"]) == (0, 3, algo, "three")
    assert result.stderr == ""


def test_solve_shows_people_what_they_need(problem: Path) -> None:
    result = run(
        "solve", problem, "--algo", "dpop", "--observe", "traffic", "--network", "uniform:1,3+loss:.2+reliable"
    )
    assert result.exit_code == 0
    for word in ("optimal", "cost", "UTIL", "x=", "Findings of traffic", "acknowledged", "seed 0"):
        assert word in result.stdout


def test_solve_numbers_observers_of_one_name(problem: Path) -> None:
    options = (
        "--observe",
        "traffic",
        "--observe",
        "traffic:view=agent:x",
        "--observe",
        "traffic:view=wire:x>y,as=wire",
    )
    found = json.loads(run("solve", problem, "--algo", "dpop", "--json", *options).stdout)["findings"]
    assert set(found) == {"traffic", "traffic#2", "wire"}


def test_infeasible_is_exit_0(tmp_path: Path) -> None:
    path = tmp_path / "no.yaml"
    path.write_text(PROBLEM.replace("3 if x == y else x + y", "float('inf')").replace("float('inf')", "10000 * x + 1"))
    wcsp = tmp_path / "no.wcsp"
    wcsp.write_text("no 2 2 1 5\n2 2\n2 0 1 5 0\n")
    found = json.loads(run("solve", wcsp, "--algo", "dpop", "--json").stdout)
    assert (found["status"], found["cost"]) == ("infeasible", "inf")
    assert run("solve", wcsp, "--algo", "adopt").exit_code == 0


@pytest.mark.parametrize(
    ("options", "limit"), [(("--max-messages", 2), "max_messages"), (("--max-time", 3), "max_time")]
)
def test_limits_are_exit_3(problem: Path, options: tuple[object, ...], limit: str) -> None:
    result = run("solve", problem, "--algo", "synchbb", "--json", *options)
    found = json.loads(result.stdout)
    assert (result.exit_code, found["status"], found["limit"]) == (3, "timeout", limit)


def test_deadlock_is_exit_3_and_names_who_waits(problem: Path) -> None:
    result = run("solve", problem, "--algo", "dpop", "--json", "--network", "unit+loss:1")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["status"], found["cost"]) == (3, "deadlock", None)
    assert "waits for" in found["deadlock"]
    assert "waits for" in run("solve", problem, "--algo", "dpop", "--network", "unit+loss:1").stdout


WRONG = [
    (("{problem}",), "--algo"),
    ((), "PROBLEM"),
    (("{problem}", "--algo", "nope"), "nope"),
    (("{problem}", "--algo", "dpop", "--frobnicate"), "--frobnicate"),
    (("{problem}", "--algo", "dpop", "extra"), "extra"),
    (("{problem}", "--algo", "dpop", "--seed", "x"), "x"),
    (("{problem}", "--algo", "dpop", "--seed", "-1"), "-1"),
    (("{problem}", "--algo", "dpop", "--seed", str(2**64)), "range"),
    (("{problem}", "--algo", "dpop", "--timeout", "nan"), "timeout"),
    (("{problem}", "--algo", "dpop", "--timeout", "inf"), "timeout"),
    (("{problem}", "--algo", "dpop", "--max-messages", "0"), "max_messages"),
    (("{problem}", "--algo", "dpop", "--max-time", "-2"), "max_time"),
    (("{problem}", "--algo", "dpop", "--check-cost", "-2"), "check_cost"),
    (("{problem}", "--algo", "dpop", "-p", "memory"), "KEY=VALUE"),
    (("{problem}", "--algo", "dpop", "-p", "=3"), "KEY=VALUE"),
    (("{problem}", "--algo", "dpop", "-p", "memory=1", "-p", "memory=2"), "twice"),
    (("{problem}", "--algo", "dpop", "-p", "memory=lots"), "memory"),
    (("{problem}", "--algo", "dpop", "-p", "seed=1"), "seed"),
    (("{problem}", "--algo", "dpop", "-p", "problem=1"), "problem"),
    (("{problem}", "--algo", "dpop", "-p", "root=nobody"), "nobody"),
    (("{problem}", "--algo", "dpop", "-p", "memory=1"), "dpop"),
    (("{problem}", "--algo", "dpop", "--network", "warp:9"), "warp"),
    (("{problem}", "--algo", "dpop", "--network", "unit+crash:nobody@1"), "nobody"),
    (("{problem}", "--algo", "dpop", "--observe", "nope"), "nope"),
    (("{problem}", "--algo", "dpop", "--observe", "traffic:view=agent:nobody"), "nobody"),
    (("{problem}", "--algo", "dpop", "--observe", "traffic:view"), "KEY=VALUE"),
    (("{problem}", "--algo", "dpop", "--distribution", "{folder}/none.yaml"), "none.yaml"),
    (("{problem}", "--algo", "dpop", "--log", "{folder}/none/run.amlog"), "none"),
    (("{problem}", "--algo", "dpop", "--log", "{problem}"), "problem itself"),
    (("{folder}/none.yaml", "--algo", "dpop"), "none.yaml"),
    (("{folder}", "--algo", "dpop"), "unknown kind"),
    (("{folder}/bad.yaml", "--algo", "dpop"), "bad.yaml"),
    (("{folder}/bad\x1b[31m\n.yaml", "--algo", "dpop"), "\\x1b[31m"),
]


@pytest.mark.parametrize(
    ("options", "word"), WRONG, ids=lambda o: " ".join(map(plain, o)) if isinstance(o, tuple) else o
)
def test_what_a_user_gets_wrong_is_one_line_and_exit_2(
    problem: Path, tmp_path: Path, options: tuple[str, ...], word: str
) -> None:
    (tmp_path / "bad.yaml").write_text("domains: {d: {values: [0]}}\nvariables: {x: {domain: nope}}\n")
    given = [o.format(problem=problem, folder=tmp_path) for o in options]
    told = one_line(run("solve", *given, "--json"))
    assert word in told
    assert told.rstrip("\n").isprintable()
    assert told.startswith("agentsim: ")


def test_the_problem_survives_a_log_of_its_own_name(problem: Path) -> None:
    run("solve", problem, "--algo", "dpop", "--log", problem)
    assert problem.read_text() == PROBLEM


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_is_one_line(problem: Path) -> None:
    assert "cannot write the log" in one_line(process("solve", problem, "--algo", "dpop", "--log", "/dev/full"))


def test_control_characters_of_a_file_stay_off_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text(PROBLEM.replace("name: three", 'name: "a\\e[31mred\\a"').replace("  z:", '  "z\\e[2J":'))
    text = path.read_text().replace("y == z", "y == 0").replace("agents: [x, y, z]", "agents: [x, y, z]")
    path.write_text(text.replace("  yz: {type: intention, function: 2 if y == 0 else 0}\n", ""))
    for options in ((), ("--json",)):
        result = run("solve", path, "--algo", "dpop", *options)
        assert result.exit_code == 0, result.stderr
        assert all(c.isprintable() or c == "\n" for c in result.stdout)
    assert "\\x1b[2J=" in run("solve", path, "--algo", "dpop").stdout


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


# replay and inspect ------------------------------------------------------------------------------------------------


def test_replay_finds_what_was_found_live(problem: Path, log: Path) -> None:
    live = json.loads(run("solve", problem, "--algo", "synchbb", "--observe", "traffic", "--json").stdout)["findings"]
    result = run("replay", log, "--observe", "traffic", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["findings"], found["verified"]) == (0, live, None)
    assert found["complete"] is True
    assert "Findings of traffic" in run("replay", log, "--observe", "traffic").stdout


def test_verify_is_exit_0(log: Path) -> None:
    result = run("replay", log, "--verify", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["verified"], found["complete"], found["first_difference"]) == (0, True, True, None)
    assert "verified" in run("replay", log, "--verify").stdout


def tampered(data: bytes) -> bytes:
    """Return a log one of whose costs is another, with all checksums right."""
    import struct
    import zlib

    import msgpack

    out, at, done = bytearray(data[:8]), 8, False
    while at < len(data):
        magic, kind, length, _ = struct.unpack_from("<4scII", data, at)
        content = data[at + 17 : at + 17 + length]
        if kind == b"R" and not done:
            records = []
            unpacker = msgpack.Unpacker(use_list=True)
            unpacker.feed(content)
            for record in unpacker:
                if not done and isinstance(record[0], int) and record[6] == "FWD" and record[0] > 3:
                    fields = msgpack.unpackb(record[10])
                    fields[1] += 1
                    record[10], done = msgpack.packb(fields), True
                records.append(msgpack.packb(record))
            content = b"".join(records)
        head = struct.pack("<4scII", magic, kind, len(content), zlib.crc32(content))
        out += head + struct.pack("<I", zlib.crc32(head)) + content
        at += 17 + length
    assert done
    return bytes(out)


def test_verify_of_a_tampered_payload_is_exit_4_and_names_the_record(log: Path, tmp_path: Path) -> None:
    other = tmp_path / "tampered.amlog"
    other.write_bytes(tampered(log.read_bytes()))
    result = run("replay", other, "--verify", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["verified"]) == (4, False)
    assert found["first_difference"]["seq"] > 3
    assert "differs at record" in result.stderr
    assert run("replay", other).exit_code == 0


def test_a_damaged_log_is_exit_4_of_replay_and_told_by_inspect(long_log: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged.amlog"
    second = long_log.index(b"ABLKR", long_log.index(b"ABLKR") + 1)
    path.write_bytes(long_log[: second + 5] + bytes([long_log[second + 5] ^ 1]) + long_log[second + 6 :])
    for options in ((), ("--verify",)):
        result = run("replay", path, "--json", *options)
        assert result.exit_code == 4
        found = json.loads(result.stdout)
        assert "damaged" in found["damaged"]
        assert found["deliveries"] > 10
        assert "damaged" in result.stderr
        assert "deliveries" in result.stderr
    result = run("inspect", path, "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["whole"]) == (0, False)
    assert "damaged" in found["damaged"]
    assert "damaged" in run("inspect", path).stdout


def test_a_cut_log_is_read_as_far_as_it_goes(long_log: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.amlog"
    path.write_bytes(long_log[: len(long_log) * 2 // 3])
    replayed = run("replay", path, "--json", "--observe", "traffic")
    found = json.loads(replayed.stdout)
    assert (replayed.exit_code, found["complete"], found["verified"]) == (0, False, None)
    assert found["findings"]["traffic"]
    verified = run("replay", path, "--verify", "--json")
    assert (verified.exit_code, json.loads(verified.stdout)["verified"]) == (4, False)
    assert "deliveries were verified" in verified.stderr
    inspected = run("inspect", path, "--json")
    assert (inspected.exit_code, json.loads(inspected.stdout)["whole"]) == (0, False)
    assert json.loads(inspected.stdout)["header"] is not None
    assert "cut off" in run("inspect", path).stdout


def test_a_log_cut_within_its_header(long_log: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.amlog"
    for length in (8, 9, 60, 8 + 17 + 100):
        path.write_bytes(long_log[:length])
        inspected = run("inspect", path, "--json")
        assert inspected.exit_code == 0, inspected.stderr
        found = json.loads(inspected.stdout)
        assert (found["whole"], found["header"], found["deliveries"]) == (False, None, 0)
        assert run("inspect", path).exit_code == 0
        assert run("replay", path).exit_code == 0
        verified = run("replay", path, "--verify", "--json")
        assert (verified.exit_code, json.loads(verified.stdout)["verified"]) == (4, False)
        assert "no deliveries were verified" in verified.stderr


@pytest.mark.parametrize("at", [9, 14, 24, 60])
def test_a_header_that_is_damaged(long_log: bytes, tmp_path: Path, at: int) -> None:
    path = tmp_path / "damaged.amlog"
    path.write_bytes(long_log[:at] + bytes([long_log[at] ^ 16]) + long_log[at + 1 :])
    for options in ((), ("--verify",)):
        result = run("replay", path, "--json", *options)
        assert result.exit_code == 4
        assert "damaged" in json.loads(result.stdout)["damaged"]
        assert "no deliveries" in result.stderr
    inspected = run("inspect", path, "--json")
    assert (inspected.exit_code, json.loads(inspected.stdout)["header"]) == (0, None)


@pytest.mark.parametrize("content", [b"", b"AML", b"something else entirely", b"AMLOG\x00\x63\x00"])
def test_not_a_log_is_exit_2(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "not.amlog"
    path.write_bytes(content)
    for args in (("replay", path), ("replay", path, "--verify"), ("inspect", path), ("inspect", path, "--json")):
        assert "not.amlog" in one_line(run(*args))
    one_line(run("inspect", tmp_path / "none.amlog"))
    one_line(run("inspect", tmp_path))


def test_a_redacted_log_cannot_be_verified(problem: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.amlog"
    assert run("solve", problem, "--algo", "dpop", "--log", path, "--redact").exit_code == 0
    assert "--redact" in one_line(run("replay", path, "--verify"))
    assert json.loads(run("inspect", path, "--json").stdout)["header"]["redacted"] is True
    assert "redacted" in run("inspect", path).stdout


def test_inspect_tells_the_header_without_tables(log: Path) -> None:
    found = json.loads(run("inspect", log, "--json").stdout)
    assert {"whole", "deliveries", "by_type", "header", "findings"} <= set(found)
    assert found["whole"] is True
    assert found["deliveries"] == sum(found["by_type"].values()) > 0
    assert found["header"]["problem"] == {
        **{"name": "three", "objective": "min", "constant": 0},
        **{"variables": 3, "constraints": 2, "agents": 3, "domains": 1},
    }
    assert found["header"]["solver"] == "synchbb"
    assert found["findings"]["traffic"]


def test_an_observer_that_is_not_there_is_exit_2(log: Path) -> None:
    assert "nope" in one_line(run("replay", log, "--observe", "nope"))


# convert, generate, list, bench ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["yaml", "wcsp", "amdcop"])
def test_convert_keeps_the_optimum(problem: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out.{suffix}"
    result = run("convert", problem, out)
    assert result.exit_code == 0, result.stderr
    assert json.loads(run("solve", out, "--algo", "dpop", "--json").stdout)["cost"] == OPTIMUM


def test_convert_refuses_in_one_line(problem: Path, tmp_path: Path) -> None:
    assert ".xml" in one_line(run("convert", problem, tmp_path / "out.xml"))
    assert "none" in one_line(run("convert", problem, tmp_path / "none" / "out.yaml"))
    assert "none.yaml" in one_line(run("convert", tmp_path / "none.yaml", tmp_path / "out.yaml"))
    assert "OUT" in one_line(run("convert", problem))


def test_generate_refuses_in_one_line(tmp_path: Path) -> None:
    out = tmp_path / "out.yaml"
    assert "nope" in one_line(run("generate", "nope", "-o", out))
    assert "-o" in one_line(run("generate", "meetings"))
    assert "agents" in one_line(run("generate", "meetings", "-p", "agents=0", "-o", out))
    assert "size" in one_line(run("generate", "meetings", "-p", "size=1", "-o", out))
    assert "room" in one_line(run("generate", "meetings", "-p", "meetings=500", "-o", out))
    assert ".txt" in one_line(run("generate", "meetings", "-o", tmp_path / "out.txt"))
    assert not out.exists()


@pytest.mark.parametrize("kind", ["solvers", "observers", "generators", "aggregators", "networks", "experiments"])
def test_list(kind: str) -> None:
    result = run("list", kind, "--json")
    rows = json.loads(result.stdout)[kind]
    assert result.exit_code == 0
    assert run("list", kind).exit_code == 0
    if kind in ("solvers", "observers", "generators"):
        assert [row["name"] for row in rows] == registry.names(kind)
        for row in rows:
            assert row["summary"]
            assert row["status"] in ("verified", "tested", "experimental")
            assert all(p["meaning"] for p in row["parameters"]), row


def test_list_gives_parameters_with_defaults() -> None:
    rows = {r["name"]: r for r in json.loads(run("list", "solvers", "--json").stdout)["solvers"]}
    synchbb = {p["name"]: p["default"] for p in rows["synchbb"]["parameters"]}
    assert synchbb == {"root": None, "order": None, "carry": "none"}
    assert "nope" in one_line(run("list", "nope"))


def test_bench_kernel() -> None:
    result = run(
        "bench", "kernel", "--agents", 10, "--deliveries", 2000, "--in-flight", 5, "--json", "--observe", "decode"
    )
    found = json.loads(result.stdout)
    assert (found["agents"], found["in_flight"], found["network"]) == (10, 5, "unit")
    assert 2000 <= found["deliveries"] < 2010
    assert found["deliveries_per_second"] > 0
    assert run("bench", "kernel", "--deliveries", 500, "--network", "uniform:1,10").exit_code == 0
    one_line(run("bench", "kernel", "--agents", 2))
    one_line(run("bench", "kernel", "--network", "warp"))
    one_line(run("bench", "nothing"))


def test_bench_solvers() -> None:
    rows = json.loads(run("bench", "solvers", "--agents", 5, "--json").stdout)["rows"]
    assert len({row["cost"] for row in rows}) == 1
    assert {row["status"] for row in rows} == {"optimal"}
    assert run("bench", "solvers", "--agents", 4).exit_code == 0


# The group itself --------------------------------------------------------------------------------------------------


def test_help_offers_what_exists() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name, (_, summary) in COMMANDS.items():
        assert name in result.stdout
        assert summary in result.stdout
        assert run(name, "--help").exit_code == 0
    assert "No such command" in one_line(run("imagine"))


def test_version() -> None:
    from agentsim import __version__

    assert __version__ in run("--version").stdout


def modules_after(*args: object) -> set[str]:
    code = (
        "import sys\nfrom scenarios.cli import main\ntry:\n    main(sys.argv[1:])\nfinally:\n"
        "    print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def test_help_imports_next_to_nothing() -> None:
    loaded = modules_after("--help")
    assert not loaded & {
        "numpy",
        "networkx",
        "asyncio",
        "rich",
        "structlog",
        "yaml",
        "msgpack",
        "agentsim.runtime.kernel",
    }


def test_solve_imports_what_it_needs(problem: Path) -> None:
    loaded = modules_after("solve", problem, "--algo", "dpop", "--json")
    assert not loaded & {"networkx", "rich", "structlog", "pandas", "scipy", "numba", "solvers.adopt"}


@pytest.fixture(autouse=True)
def _no_stray_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands write where they are told and nowhere else."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield
    assert list(folder.iterdir()) == []


def test_verbose_tells_on_standard_error_what_the_run_did_and_leaves_the_json_alone(tmp_path: Path) -> None:
    problem = tmp_path / "p.yaml"
    problem.write_text(PROBLEM)
    done = subprocess.run(
        [sys.executable, "-c", ENTRY, "solve", str(problem), "--algo", "dpop", "-v", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert json.loads(done.stdout)["status"] == "optimal"
    assert "loaded" in done.stderr
    assert "status=optimal" in done.stderr
