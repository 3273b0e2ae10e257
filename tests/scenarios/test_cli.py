"""The command line: JSON keys, exit statuses, one line for whatever a user gets wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agentsim.runtime import registry
from scenarios.cli import COMMANDS
from scenarios.screen import plain
from tests.scenarios.commanding import ENTRY, PROBLEM, SOLVE_KEYS, one_line, process, run

pytestmark = pytest.mark.usefixtures("no_stray_files")

OPTIMUM = 1


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
