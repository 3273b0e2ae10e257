"""The command line given anything: every command and option, with values of its own kind and with hostile ones.

Whatever is given, a command ends with a documented status. Refused, it leaves one printable line on standard error,
nothing on standard output, and every file as it was. In-process, so that many examples are cheap.
"""

import dataclasses
import os
import shutil
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agentsim.runtime import registry
from scenarios.cli import COMMANDS, main

PROBLEM: Final = """
name: three
objective: min
domains: {d: {values: [0, 1, 2]}}
variables: {x: {domain: d}, y: {domain: d}, z: {domain: d}}
constraints:
  xy: {type: intention, function: 3 if x == y else x + y}
  yz: {type: intention, function: 2 if y == z else 0}
agents: [x, y, z]
"""
SPEC: Final = 'name = "small"\n[[problem]]\nfiles = ["three.yaml"]\n[[solver]]\nname = "dpop"\n'
STATUSES: Final = (0, 2, 3, 4)
"""What a command may end with when no agent, observer or adversary is at fault, and nobody interrupts it."""
SECONDS: Final = 60
MAX_LINE: Final = 2_000
VERBOSE: Final = "-v"

PATHS: Final = (
    *("three.yaml", "run.amlog", "spec.toml", "distribution.yaml", "folder", "queue", "link", "empty", "cut.amlog"),
    *("missing", "missing/missing.yaml", "three.yaml/x", "out.yaml", "out.wcsp", "out.amdcop", "out.xml", "out.html"),
    *("out.amlog", "out.amlog.zst", "../up.yaml", "/dev/null", "/dev/full", "/dev/zero", "/proc/self/mem", "/", "."),
    *("-", "~", "loop", "x" * 300 + ".yaml", "a\nb.yaml", "a\x1b[31m.yaml", "\udcff.yaml", "é.html", "folder/.."),
)
TEXTS: Final = (
    *("", " ", "x" * 10_000, "\x1b[2J", "a\nb", "\r", "\udcff", "\u202e", "[red]x[/red]", "{}", "%s"),
    *("=", "==", ":", ",", "+", "*", "|", "@", '"', '"x', "'", "\\", "-", "--", "--help", "-p", "<script>", "é", "١٢"),
    *("nan", "inf", "-inf", "1e999", "-1e999", "1e-999", "0", "-0", "-1", "1.5", "9" * 400, "9" * 5_000, "1_000"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "0x10", "true", "null", "None", "1e308"),
)
NETWORKS: Final = (
    *("unit", "constant:1", "constant:0", "constant:1e308", "uniform:1,10", "uniform:10,1", "uniform:nan,1"),
    *("exponential:1e-320", "lognormal:1,1", "lognormal:1e6,1e6", "priority:3", "priority:9999999999", "burst:0"),
    *("burst:1e-320", "unit+loss:.5", "unit+loss:2", "unit+loss:1+reliable", "unit+reliable+loss:.2", "unit+reorder"),
    *("unit+crash:x@1", "unit+crash:x@1-3+reliable", "unit+crash:x@3-1", "unit+crash:nobody@1", 'unit+crash:"x@1'),
    *("unit+slow:x*3", "unit+slow:x*nan", "unit+slow:x*1e308", "unit+hold:x>*@1-4", "unit+hold:*>*@0-inf"),
    *("unit+late:x>y*1*5", "unit+late:x>y@1*5", "unit+late:x>y@0*5", "unit+partition:x|y@1-5", "unit+partition:@1-2"),
    *("unit+unit", "+", "unit+", "unit" + "+reorder" * 2_000, "unit+duplicate:.5", "duplicate:.9+loss:.9"),
)
VIEWS: Final = ("all", "agent:x", "agent:nobody", "coalition:x+y", "coalition:x", "wire:x>y", "wire:x>x", "agent:", "")
PRIVACY: Final = ("off", "pricing=bits", "pricing=none", "policy=zero", "coalition=true", "off=1", "=", "coalition=")
SMALL: Final = ("1", "2", "3", "7", "0")
LIMITS: Final = {
    "solve": ("--timeout", "1", "--max-messages", "1000"),
    "explore": ("--runs", "2", "--workers", "0"),
    "audit": ("--runs", "8", "--workers", "0"),
    "sweep": ("--workers", "0"),
    "epsilon": ("--iterations", "2"),
    "reproduce": ("--instances", "1", "--workers", "0"),
    "kernel": ("--agents", "4", "--deliveries", "50", "--in-flight", "3"),
    "solvers": ("--agents", "3"),
}
"""Given after all that is drawn: the last one counts, and a command that does as it is told may take for ever."""
UNHURRIED: Final = ("explore",)
RUSH: Final = ("max_messages", "timeout")
SLOW: Final = ("reproduce", "demo")
"""Only their refusals are tried: what they do when they are taken at their word takes minutes."""


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, list(args), prog_name="agentsim")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with one of everything, and the process in it."""
    yield from staged(tmp_path_factory.mktemp("stage"))


def staged(root: Path) -> Iterator[Path]:
    """Fill a folder, go there, and come back."""
    place, before = root / "up" / "here", Path.cwd()
    place.mkdir(parents=True)
    os.chdir(place)
    try:
        Path("three.yaml").write_text(PROBLEM)
        Path("spec.toml").write_text(SPEC)
        Path("distribution.yaml").write_text("distribution: {x: [x], y: [y], z: [z]}\n")
        Path("empty").touch()
        Path("folder").mkdir()
        Path("folder/kept").write_text("kept")
        Path("link").symlink_to("three.yaml")
        Path("loop").symlink_to("loop")
        os.mkfifo("queue")
        assert invoke("solve", "three.yaml", "--algo", "dpop", "--log", "run.amlog").exit_code == 0
        Path("cut.amlog").write_bytes(Path("run.amlog").read_bytes()[:-9])
        yield root
    finally:
        os.chdir(before)


def contents(root: Path) -> dict[str, object]:
    """Return what every file holds and every link points at, by path."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = path.readlink()
        elif path.is_file():
            found[name] = path.read_bytes()
        else:
            found[name] = path.lstat().st_mode
    return found


def put_back(root: Path, before: dict[str, object]) -> None:
    """Undo what a command has done to the files."""
    for name in sorted(contents(root).keys() - before.keys(), reverse=True):
        path = root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    for name, content in before.items():
        if isinstance(content, bytes):
            (root / name).write_bytes(content)


# What is given ---------------------------------------------------------------------------------------------------


def commands() -> dict[tuple[str, ...], click.Command]:
    """Return every command, those of groups among them, by the words that call it."""
    context = click.Context(main)
    found: dict[tuple[str, ...], click.Command] = {}
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= {(name, inner): c for inner, c in command.commands.items()}
        else:
            found[name,] = command
    return found


@cache
def keys(group: str, name: str) -> tuple[str, ...]:
    """Return the names of the parameters of what is registered under a name, or of all that is in the group."""
    known = registry.names(group)
    found = {"seed", "problem"}
    for each in [name] if name in known else known:
        params = getattr(registry.find(group, each), "Params", None)
        if params is not None:
            found |= {f.name for f in dataclasses.fields(params)}
    return tuple(sorted(found))


HOSTILE: Final = st.one_of(
    st.sampled_from(TEXTS),
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(PATHS),
)
VALUES: Final = (*SMALL, ".5", "1e-3", "x", "y", "x,y,z", "z,y,x", "true", "false", "degree", "mcn", "messages", "inf")


def written(names: tuple[str, ...], values: tuple[str, ...]) -> st.SearchStrategy[str]:
    """KEY=VALUE."""
    return st.tuples(st.sampled_from(names), st.sampled_from(values)).map("=".join)


def specs(names: tuple[str, ...], options: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Names with options, as observers and adversaries are written."""
    options_of = st.lists(written(options, (*VIEWS, *VALUES, "a" * 999)), max_size=2).map(",".join)
    return st.tuples(st.sampled_from(names), options_of).map(lambda t: ":".join(t) if t[1] else t[0])


def adversaries() -> tuple[str, ...]:
    from scenarios.commands.listing import adversaries as rows

    return tuple(str(row["name"]) for row in rows())


@cache
def kinds() -> dict[str, st.SearchStrategy[str]]:
    """Return what an option takes, by its name."""
    solvers, problems = tuple(registry.names("solvers")), st.sampled_from(("three.yaml", "link"))
    logs = st.sampled_from(("run.amlog", "cut.amlog"))
    return {
        "algo": st.sampled_from(solvers),
        "algos": st.sampled_from(solvers),
        "solver": st.sampled_from(("p-gibbs", "once", "dpop", "dsa")),
        "problem": problems,
        "problems": problems,
        "network": st.sampled_from(NETWORKS),
        "networks": st.sampled_from(NETWORKS),
        "observe": specs(tuple(registry.names("observers")), ("view", "as", "rule", "of", "aggregate")),
        "adversary": specs(adversaries(), ("agent", "view", "delay", "share", "wire", "members", "by")),
        "privacy": st.sampled_from(PRIVACY),
        "view": st.sampled_from(VIEWS),
        "kind": st.sampled_from((*registry.names("generators"), "solvers", "networks")),
        "spec": st.just("spec.toml"),
        "source": st.one_of(problems, logs),
        "target": st.sampled_from(("out.yaml", "out.wcsp", "out.amdcop", "three.yaml")),
        "logs": logs,
        "distribution": st.just("distribution.yaml"),
    }


def values_of(words: tuple[str, ...], parameter: click.Parameter, name: str) -> st.SearchStrategy[str]:
    """Return good values of one option or argument; of commands like `name` for parameters of that."""
    assert parameter.name is not None
    if parameter.name == "params":
        return written(keys("generators" if words[0] == "generate" else "solvers", name), VALUES)
    if parameter.name == "log" and words[0] != "solve":
        return st.sampled_from(("run.amlog", "cut.amlog"))
    if isinstance(parameter.type, (click.types.IntParamType, click.types.FloatParamType)) or words[0] == "epsilon":
        return st.sampled_from(SMALL)
    return kinds().get(parameter.name, st.sampled_from(PATHS))


@st.composite
def lines(draw: st.DrawFn, names: tuple[tuple[str, ...], ...] | None = None) -> list[str]:
    """One command line: a command, arguments, some options, one or two of them hostile, and what keeps it short."""
    known = commands()
    words = draw(st.sampled_from(names if names is not None else tuple(known)))
    parameters = known[words].params
    chosen: list[tuple[click.Parameter, int]] = []
    for parameter in parameters:
        if parameter.name in ("live", "scheduler", "full", "help") or (
            words[0] in UNHURRIED and parameter.name in RUSH
        ):
            continue  # a server, a cluster, hours; what hangs for want of time is shrunk for long
        if parameter.required or draw(st.integers(0, 4)) == 0:
            chosen.append((parameter, draw(st.integers(1, 2)) if parameter.multiple else 1))  # type: ignore[attr-defined]
    slots = [(i, j) for i, (p, times) in enumerate(chosen) if not getattr(p, "is_flag", False) for j in range(times)]
    wild = set(draw(st.lists(st.sampled_from(slots), max_size=2))) if slots else set()
    args: list[str] = []
    name = ""
    for i, (parameter, times) in enumerate(chosen):
        for j in range(times):
            if isinstance(parameter, click.Option):
                args.append(parameter.opts[0])
                if parameter.is_flag:
                    continue
            good = values_of(words, parameter, name)
            kind = hostile(parameter, name) if (i, j) in wild else good
            args += [draw(kind) for _ in range(max(parameter.nargs, 1))]
            if parameter.name in ("algo", "algos", "solver", "kind"):
                name = args[-1]
    if words[0] in SLOW:
        args.append("--nonsense")
    return [*words, *args, *LIMITS.get(words[-1], ())]


def hostile(parameter: click.Parameter, name: str) -> st.SearchStrategy[str]:
    """Return what nobody should give; of pairs also a known key with a value of that kind."""
    if parameter.name != "params":
        return HOSTILE
    names = (*keys("solvers", name), *keys("generators", name))
    return st.one_of(HOSTILE, st.tuples(st.sampled_from(names), HOSTILE).map("=".join))


# What must hold --------------------------------------------------------------------------------------------------


def check(args: list[str], root: Path) -> Result:
    """Run a command line and check how it ended; the files are then as they were."""
    before = contents(root)

    def too_long(*_: object) -> None:
        raise AssertionError(f"takes more than {SECONDS} s: {args}")

    previous = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        result = invoke(*args)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    after = contents(root)
    put_back(root, before)
    told = (args, result.exit_code, result.stdout[-500:], result.stderr[-3000:])
    assert result.exception is None or isinstance(result.exception, SystemExit), (told, result.exc_info)
    blamed = "--adversary" in args and result.exit_code == 1 and "agentsim: agent " in result.stderr
    assert result.exit_code in STATUSES or blamed, told
    for line in (*result.stdout.splitlines(), *result.stderr.splitlines()):
        assert line.isprintable(), told
    if result.exit_code == 2:
        assert result.stdout == "", told
        line = result.stderr.splitlines()[-1]
        assert line.startswith("agentsim: "), told
        assert len(line) < MAX_LINE, told
        assert result.stderr.count("\n") == 1 or VERBOSE in args, told
        assert after == before, (told, [n for n in {**before, **after} if before.get(n) != after.get(n)])
    elif not blamed:
        assert "Traceback" not in result.stderr, told
    return result


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(args=lines(tuple(c for c in commands() if c != ("epsilon",))))
@example(args=["report", "x" * 300, "-o", "out.html"])  # a name too long for a file
@example(args=["report", "three.yaml", "-o", "out.html", "--most", "9" * 5_000])  # a complaint nobody would read
@example(args=["explore", "three.yaml", "--algo", "dpop", "-o", "x" * 300, "--runs", "1"])
@example(args=["solve", "three.yaml", "--algo", "dpop", "--log", "queue", "--timeout", "1"])
@example(args=["epsilon", "--sigma", "nan", "--gamma", "1e999", "-q", "-1"])  # all of it would take seconds each
def test_any_command_line_ends_as_documented(args: list[str], stage: Path) -> None:
    check(args, stage)
