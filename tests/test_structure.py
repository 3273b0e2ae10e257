"""The rules of the house, read off the source: who imports whom, what no package calls, what is declared where."""

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "agentsim": {"agentsim"},
    "solvers": {"agentsim", "solvers"},
    "privacy": {"agentsim", "privacy"},
    "scenarios": {"agentsim", "solvers", "privacy", "scenarios"},
}
FILES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))

# What can run code out of data. A log, a problem file and a result are data from elsewhere.
RUNS_DATA = {"eval", "exec", "builtins.eval", "builtins.exec", "pickle", "cPickle", "dill", "cloudpickle", "marshal"}
RUNS_DATA |= {"shelve", "joblib", "yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load", "yaml.full_load_all"}

# An agent has its port: named random streams, virtual time, tasks that the kernel knows.
AROUND_THE_PORT = {"random", "secrets", "os.urandom", "uuid.uuid1", "uuid.uuid4", "threading", "multiprocessing"}
AROUND_THE_PORT |= {"time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter"}
AROUND_THE_PORT |= {"time.perf_counter_ns", "time.process_time", "time.sleep", "datetime.datetime.now"}
AROUND_THE_PORT |= {"numpy.random.default_rng", "numpy.random.seed"}
AROUND_THE_PORT |= {"asyncio.create_task", "asyncio.ensure_future", "asyncio.run", "asyncio.Queue"}

YAML_LOAD = {"yaml.load", "yaml.load_all"}
YAML_LOAD_ALLOWED: dict[str, str] = {
    # file: why safe_load will not do. The loader must be, or derive in that file from, yaml.CSafeLoader all the same.
}

PICKLE_ALLOWED = {
    "scenarios/executors/chunks.py": "tasks and results go between processes of ours, as multiprocessing does it",
}


class Finding(NamedTuple):
    """One broken rule."""

    line: int
    rule: str
    what: str


class Module:
    """A parsed file that can tell what its names stand for, wherever in it they were imported."""

    def __init__(self, source: str, package: str) -> None:
        self.tree = ast.parse(source)
        self.package = package
        self.imported: list[tuple[int, str]] = []
        self.stands_for: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self.imported.append((node.lineno, alias.name))
                    bound = alias.asname or alias.name.partition(".")[0]
                    self.stands_for[bound] = alias.name if alias.asname else bound
            elif isinstance(node, ast.ImportFrom):
                # A relative import cannot leave its top-level package.
                origin = f"{package}.{node.module or ''}".rstrip(".") if node.level else str(node.module)
                for alias in node.names:
                    self.imported.append((node.lineno, f"{origin}.{alias.name}"))
                    self.stands_for[alias.asname or alias.name] = f"{origin}.{alias.name}"
            elif isinstance(node, ast.Call) and self.dotted(node.func).endswith(("import_module", "__import__")):
                for argument in [*node.args[:1], *(k.value for k in node.keywords if k.arg == "name")]:
                    if isinstance(argument, ast.Constant):
                        self.imported.append((node.lineno, str(argument.value)))

    def dotted(self, node: ast.AST) -> str:
        """Return the full name of a chain of attributes, "" for anything else."""
        match node:
            case ast.Name(id=name):
                return self.stands_for.get(name, name)
            case ast.Attribute(value=value, attr=attr):
                owner = self.dotted(value)
                return f"{owner}.{attr}" if owner else ""
        return ""

    def used(self) -> Iterator[tuple[int, str]]:
        """Yield everything that is imported or named, with its line."""
        yield from self.imported
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name | ast.Attribute) and (name := self.dotted(node)):
                yield node.lineno, name

    def yaml_loads(self) -> Iterator[tuple[int, bool]]:
        """Yield the line of every yaml.load and whether its loader is a CSafeLoader."""
        safe = {"yaml.CSafeLoader"}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ClassDef) and safe & {self.dotted(base) for base in node.bases}:
                safe.add(node.name)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and self.dotted(node.func) in YAML_LOAD:
                loader = [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "Loader")]
                yield node.lineno, bool(loader) and self.dotted(loader[0]) in safe


def is_or_is_in(name: str, banned: set[str]) -> bool:
    """Tell whether a dotted name is one of `banned` or something in it."""
    parts = name.split(".")
    return any(".".join(parts[:n]) in banned for n in range(1, len(parts) + 1))


def findings(
    source: str, package: str, *, yaml_load_allowed: bool = False, pickle_allowed: bool = False
) -> set[Finding]:
    """Return the rules that a source text breaks as a module of `package`."""
    module = Module(source, package)
    found = set()
    if not ast.get_docstring(module.tree):
        found.add(Finding(1, "docstring", "the module has none"))
    for line, name in module.imported:
        if (top := name.partition(".")[0]) in {*MAY_IMPORT, "tests"} - MAY_IMPORT[package]:
            found.add(Finding(line, "direction", f"{package} imports {top}"))
    for line, name in module.used():
        if is_or_is_in(name, RUNS_DATA) and not (pickle_allowed and is_or_is_in(name, {"pickle"})):
            found.add(Finding(line, "runs data", name))
        if package == "solvers" and is_or_is_in(name, AROUND_THE_PORT):
            found.add(Finding(line, "around the port", name))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            found.add(Finding(node.value.lineno, "runs data", "allow_pickle"))
    for line, is_safe in module.yaml_loads():
        if not (is_safe and yaml_load_allowed):
            found.add(Finding(line, "runs data", "yaml.load"))
    return found


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_module_keeps_the_rules(path: Path) -> None:
    name = relative(path)
    found = findings(
        path.read_text("utf-8"),
        path.relative_to(ROOT).parts[0],
        yaml_load_allowed=name in YAML_LOAD_ALLOWED,
        pickle_allowed=name in PICKLE_ALLOWED,
    )
    assert not found, "\n".join(f"{name}:{f.line}: {f.rule}: {f.what}" for f in sorted(found))


def test_all_four_packages_are_walked() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(MAY_IMPORT)
    assert all((ROOT / package / "py.typed").is_file() for package in MAY_IMPORT)


def test_every_exception_is_still_needed() -> None:
    for name in YAML_LOAD_ALLOWED:
        module = Module((ROOT / name).read_text("utf-8"), name.partition("/")[0])
        assert list(module.yaml_loads()), f"{name} no longer calls yaml.load"
    for name in PICKLE_ALLOWED:
        module = Module((ROOT / name).read_text("utf-8"), name.partition("/")[0])
        assert any(is_or_is_in(used, {"pickle"}) for _, used in module.used()), f"{name} no longer pickles"


SINNER = """
import random as dice, yaml, numpy as np
from time import time as wall
from typing import TYPE_CHECKING
from .friend import helper
from yaml import Loader, load

if TYPE_CHECKING:
    from scenarios.cli import main

class Fast(yaml.CSafeLoader): ...

async def step(self):
    from privacy import vps
    import importlib, asyncio, pickle
    importlib.import_module("scenarios.sweep")
    asyncio.create_task(dice.choice([wall]))
    eval("1"); yaml.load("", Loader=Fast); load("", Loader)
    np.load("x", allow_pickle=True)
    return np.random.default_rng(self.rng.integers(3)), re.compile(""), self.model.eval()
"""


def told(source: str, package: str, **options: bool) -> list[tuple[str, str]]:
    return sorted({(f.rule, f.what) for f in findings(source, package, **options)})


def test_checker_bites() -> None:
    everywhere = [("docstring", "the module has none")]
    runs_data = [("runs data", what) for what in ("allow_pickle", "eval", "pickle", "yaml.load")]
    assert told(SINNER, "solvers") == [
        ("around the port", "asyncio.create_task"),
        ("around the port", "numpy.random.default_rng"),
        ("around the port", "random"),
        ("around the port", "random.choice"),
        ("around the port", "time.time"),
        ("direction", "solvers imports privacy"),
        ("direction", "solvers imports scenarios"),
        *everywhere,
        *runs_data,
    ]
    assert told(SINNER, "scenarios") == [*everywhere, *runs_data]
    assert told(SINNER, "privacy") == [("direction", "privacy imports scenarios"), *everywhere, *runs_data]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_checker_knows_every_wrong_direction(package: str) -> None:
    for other in [*MAY_IMPORT, "tests"]:
        expected = [] if other in MAY_IMPORT[package] else [("direction", f"{package} imports {other}")]
        for text in (f"import {other}.x", f"from {other} import x", f"def f():\n    from {other}.x import y"):
            assert told(f'"""Doc."""\n{text}', package) == expected
    assert told(f'"""Doc."""\nfrom ..{package} import agentsim_like, scenarios', package) == []


def test_checker_tells_safe_yaml_from_unsafe() -> None:
    text = '"""Doc."""\nimport yaml\nclass Strict(yaml.CSafeLoader): ...\n'
    assert told(text + "yaml.load(t, Strict)", "agentsim", yaml_load_allowed=True) == []
    assert told(text + "yaml.load(t, Loader=yaml.CSafeLoader)", "agentsim", yaml_load_allowed=True) == []
    for call in ("yaml.load(t, Strict)", "yaml.load(t, yaml.Loader)", "yaml.load(t)", "yaml.unsafe_load(t)"):
        allowed = "Strict" not in call
        assert told(text + call, "agentsim", yaml_load_allowed=allowed), call


def project() -> dict[str, dict[str, object]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def declared_names() -> list[EntryPoint]:
    groups = {"scripts": project()["scripts"], **project()["entry-points"]}
    return [EntryPoint(name, value, group) for group, entries in groups.items() for name, value in entries.items()]


@pytest.mark.parametrize("entry", declared_names(), ids=lambda entry: f"{entry.group}:{entry.name}")
def test_entry_point_leads_somewhere(entry: EntryPoint) -> None:
    assert callable(entry.load())


def pinned(lock: str) -> set[str]:
    return set(re.findall(r"^([\w.-]+)==\S+", (ROOT / "requirements" / lock).read_text("utf-8"), flags=re.M))


def named(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w.-]+", r)[0].lower().replace("_", "-") for r in requirements}


def test_locks_pin_what_is_declared() -> None:
    core = named(project()["dependencies"])
    extras = {name for extra in project()["optional-dependencies"].values() for name in named(extra)}
    assert core <= pinned("core.txt") <= pinned("all.txt")
    assert extras <= pinned("all.txt")
    assert pinned("build.txt") <= pinned("all.txt")


@pytest.mark.parametrize("lock", ["core.txt", "all.txt", "build.txt"])
def test_lock_names_no_place(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text("utf-8")
    assert not re.findall(r"://|^-|^\s+-(?!-hash=)|(?<![\w=])/\w", text, flags=re.M)


def test_test_folders_are_not_packages() -> None:
    """A tests/solvers/__init__.py would make pytest import tests as parts of the package `solvers`."""
    assert not list((ROOT / "tests").rglob("__init__.py"))
