"""`agentsim sweep`: what it runs, keeps, goes on with, and says."""

import _thread
import json
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner, Result

from agentsim import Agent, Constraint, Domain, Problem, SolverRefusal, UserError, Variable
from agentsim.record import results_store
from agentsim.record.results import load_results
from agentsim.runtime import registry
from agentsim.runtime.messages import message
from scenarios.cli import main
from scenarios.sweeps.cells import FileChanged, Solved, cells, solve_cell
from scenarios.sweeps.overview import commands
from scenarios.sweeps.spec import parse_spec, read_spec

pytest.importorskip("pyarrow")

ROOT = Path(__file__).parents[2]
ENTRY = """
import sys
from agentsim.record import results_store
from scenarios.cli import main
sys.argv[0] = "agentsim"
results_store._LEAST_PAUSE_S = 0.1
main()
"""
SPEC = """
name = "small"
seeds = 3
networks = ["unit", "uniform:1,10"]
[[problem]]
generator = "random-dcop"
parameters = { agents = [3, 4] }
[[solver]]
name = ["dpop", "mgm"]
"""


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args], prog_name="agentsim")


def swept(*args: object) -> dict[str, Any]:
    result = run("sweep", *args, "--json")
    assert result.exit_code == 0, (result.stdout, result.stderr, result.exception)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def one_line(result: Result) -> str:
    assert result.exit_code == 2, (result.stdout, result.stderr)
    assert result.stdout == ""
    assert result.stderr.startswith("agentsim: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("agentsim: ").strip()


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SPEC, encoding="utf-8")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# Running, and going on ---------------------------------------------------------------------------------------------


def test_a_sweep_keeps_a_row_for_each_cell_and_runs_none_twice(spec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = swept(spec, "-o", out, "--workers", 0)
    assert found | {"seconds": 0} == {
        "name": "small",
        "cells": 24,
        "done": 24,
        "failed": 0,
        "new": 24,
        "seconds": 0,
        "statuses": {"optimal": 12, "finished": 12},
        "folder": str(out),
    }
    results = load_results(out)
    frame = results.run
    assert len(frame) == 24
    assert frame.cell.nunique() == 24
    assert set(frame.columns) >= {"problem.agents", "solver.rounds"}
    assert sorted(frame.seed.unique()) == sorted(frame.problem_seed.unique()) == [0, 1, 2]
    assert results.about["kind"] == "sweep"
    assert results.about["spec"] == SPEC
    assert results.about["axes"]["network"] == {"unit": 12, "uniform:1,10": 12}
    before = contents(out)
    again = swept(spec, "-o", out, "--workers", 0)
    assert (again["new"], again["done"]) == (0, 24)
    assert again["statuses"] == found["statuses"]
    assert {k: v for k, v in contents(out).items() if k != ".lock"} == {k: v for k, v in before.items() if k != ".lock"}


def test_a_cell_is_what_generate_and_solve_repeat(spec: Path, tmp_path: Path) -> None:
    text = SPEC.replace("seeds = 3", 'seeds = [2]\nruns = 2\nobservers = ["vps:rule=tight"]')
    text = text.replace("[[problem]]", "[limits]\nmax-messages = 40\n[[problem]]", 1)
    task = cells(parse_spec(text, "s.toml", tmp_path)).tasks[-1]
    assert (task.run, task.network, task.solver) == (1, "uniform:1,10", "mgm")
    solved = solve_cell(task)
    generate, solve = (shlex.split(line)[1:] for line in commands(task))
    problem = str(tmp_path / "problem.amdcop")
    assert run(*(problem if word == "problem.amdcop" else word for word in generate)).exit_code == 0
    result = run(*(problem if word == "problem.amdcop" else word for word in solve), "--json")
    found = json.loads(result.stdout)
    assert solved == Solved(found["status"], found["messages"])
    assert found["limit"] == "max_messages"


def test_a_dry_run_counts_and_touches_nothing(spec: Path, tmp_path: Path) -> None:
    shown = run("sweep", spec, "--dry-run")
    assert shown.exit_code == 0
    assert "small: 24 cells" in shown.stdout
    assert "agentsim generate random-dcop" in shown.stdout
    plan = swept(spec, "--dry-run")
    assert {key: plan[key] for key in ("cells", "done", "failed", "new", "gone", "repeated", "folder")} == {
        "cells": 24,
        "done": 0,
        "failed": 0,
        "new": 24,
        "gone": 0,
        "repeated": 0,
        "folder": None,
    }
    assert plan["axes"]["random-dcop.agents"] == {"3": 12, "4": 12}
    assert plan["axes"]["seed"] == {"0": 8, "1": 8, "2": 8}
    assert [cell["problem_seed"] for cell in plan["first"]] == [0, 0, 0]
    out = tmp_path / "out"
    swept(spec, "--dry-run", "-o", out)
    assert not out.exists()
    swept(spec, "-o", out, "--workers", 0)
    before = contents(out)
    spec.write_text(SPEC.replace("seeds = 3", "seeds = [1, 2, 3, 4]").replace('"mgm"', '"dsa"'), encoding="utf-8")
    plan = swept(spec, "--dry-run", "-o", out)
    assert {key: plan[key] for key in ("cells", "done", "failed", "new", "gone")} == {
        "cells": 32,
        "done": 8,
        "failed": 0,
        "new": 24,
        "gone": 16,
    }
    said = run("sweep", spec, "--dry-run", "-o", out).stdout
    assert f"small: 32 cells, 8 done, 24 new, and {out} holds 16 that the spec no longer names" in said.splitlines()
    assert contents(out) == before


def test_a_changed_spec_runs_what_is_new(spec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    swept(spec, "-o", out, "--workers", 0)
    spec.write_text(SPEC.replace("seeds = 3", "seeds = 4"), encoding="utf-8")
    result = run("sweep", spec, "-o", out, "--workers", 0)
    assert result.stderr == "agentsim: small: 32 cells, 24 done, 8 new\n"
    assert "8 cells run in " in result.stdout
    assert f"next: agentsim report {out} -o {out}.html" in result.stdout
    results = load_results(out)
    assert len(results.run) == 32
    assert "seeds = 4" in results.about["spec"]


def test_a_folder_of_something_else_is_left_alone(spec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    swept(spec, "-o", out, "--workers", 0)
    before = contents(out)
    spec.write_text(SPEC.replace('"small"', '"other"'), encoding="utf-8")
    for more in ((), ("--dry-run",)):
        said = one_line(run("sweep", spec, "-o", out, "--workers", 0, *more))
        assert said == f"{out}: holds results of sweep 'small', not of sweep 'other'; use another folder"
    (out / "about.json").write_text("{}", encoding="utf-8")
    assert "is not about a folder of results" in one_line(run("sweep", spec, "-o", out))
    assert {k: v for k, v in contents(out).items() if k != "about.json"} == {
        k: v for k, v in before.items() if k != "about.json"
    }
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    assert str(file) in one_line(run("sweep", spec, "-o", file))


def test_what_a_user_gets_wrong_is_one_line(spec: Path, tmp_path: Path) -> None:
    assert "-o DIR" in one_line(run("sweep", spec))
    spec.write_text(SPEC.replace('"mgm"', '"mgn"'), encoding="utf-8")
    said = one_line(run("sweep", spec, "-o", tmp_path / "out"))
    assert said == f"{spec}: solver[1].name: no solver is called 'mgn'; did you mean mgm?"
    assert not (tmp_path / "out").exists()


# Failures are rows -------------------------------------------------------------------------------------------------


@message("Tick")
class Tick(NamedTuple):
    """Says nothing."""


class Endless(Agent):
    """Its agents never stop talking."""

    messages = (Tick,)

    async def run(self) -> None:
        while True:
            self.send(self.view.neighbours[0], Tick())
            await self.receive(Tick)


class Refusing(Agent):
    """Refuses every problem."""

    @classmethod
    def refuse(cls, setup: Any) -> None:
        raise SolverRefusal("not today")


class Falling(Agent):
    """Falls over."""

    async def run(self) -> None:
        raise RuntimeError("fell over")


class Picky:
    """A generator that cannot do seed 1."""

    Params = None

    @staticmethod
    def generate(params: object, seed: int) -> Problem:
        if seed == 1:
            raise RuntimeError("I do not like 1")
        domain = Domain("d", (0, 1))
        variables = [Variable(name, domain, unary=np.array([seed, 3])) for name in "xy"]
        return Problem.build(variables, [Constraint("c", ("x", "y"), np.array([[1, 0], [0, 1]]))])


@pytest.fixture
def misfits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register solvers and a generator of this file."""
    found = {
        "solvers": {"endless": Endless, "refusing": Refusing, "falling": Falling},
        "generators": {"picky": Picky},
    }
    real_find, real_names = registry.find, registry.names
    monkeypatch.setattr(registry, "find", lambda group, name: found.get(group, {}).get(name) or real_find(group, name))
    monkeypatch.setattr(registry, "names", lambda group: sorted([*real_names(group), *found.get(group, {})]))


@pytest.mark.usefixtures("misfits")
def test_failures_are_rows_and_the_others_go_on(tmp_path: Path) -> None:
    spec = tmp_path / "misfits.toml"
    text = """
        seeds = 3
        [limits]
        max-messages = 50
        [[problem]]
        generator = "picky"
        [[solver]]
        name = ["dpop", "endless", "refusing", "falling"]
    """
    spec.write_text(text, encoding="utf-8")
    out = tmp_path / "out"
    found = swept(spec, "-o", out, "--workers", 0)
    assert (found["cells"], found["done"], found["failed"], found["new"]) == (12, 6, 6, 12)
    assert found["statuses"] == {"failed": 6, "optimal": 2, "timeout": 2, "refused": 2}
    results = load_results(out)
    frame = results.run
    assert len(frame) == frame.cell.nunique() == 12
    by = {(row.solver, row.problem_seed): row for row in frame.itertuples()}
    assert {by["dpop", s].status for s in (0, 2)} == {"optimal"}
    assert {(by["endless", s].status, by["endless", s].limit) for s in (0, 2)} == {("timeout", "max_messages")}
    assert {(by["refusing", s].status, by["refusing", s].error) for s in (0, 2)} == {
        ("refused", "SolverRefusal: not today")
    }
    assert {by["falling", s].status for s in (0, 2)} == {"error"}
    assert "fell over" in by["falling", 0].error
    for solver in ("dpop", "endless", "refusing", "falling"):
        row = by[solver, 1]
        assert (row.status, row.error, row.generator) == ("error", "RuntimeError: I do not like 1", "picky")
    failed = results.cell[results.cell.status == "failed"]
    assert len(failed) == 6
    assert all(text.startswith("Traceback") for text in failed.traceback)

    shown = run("sweep", spec, "-o", out, "--workers", 0)
    assert "12 cells, 6 done, 6 failed (kept as they are: --retry-failed runs them again), 0 new" in shown.stderr
    assert "4 failed: RuntimeError: I do not like 1" in shown.stdout
    assert "the first cell of the first cause, by itself:\n  agentsim generate" in shown.stdout
    assert 'raise RuntimeError("I do not like 1")' in shown.stdout
    assert f"all tracebacks: agentsim.load_results({str(out)!r}).cell.traceback" in shown.stdout
    assert "nothing was left to do" in shown.stdout
    again = swept(spec, "-o", out, "--workers", 0, "--retry-failed")
    assert (again["new"], again["failed"]) == (6, 6)
    assert len(load_results(out).run) == 12


@pytest.mark.usefixtures("misfits")
def test_failures_that_are_gone_are_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tmp_path / "misfits.toml"
    text = '[[problem]]\ngenerator = "picky"\n[[solver]]\nname = "dpop"\n'
    spec.write_text(f"seeds = 2\n{text}", encoding="utf-8")
    out = tmp_path / "out"
    assert swept(spec, "-o", out, "--workers", 0)["failed"] == 1
    real = Picky.generate
    monkeypatch.setattr(Picky, "generate", staticmethod(lambda params, seed: real(params, 7)))
    assert swept(spec, "-o", out, "--workers", 0)["failed"] == 1
    found = swept(spec, "-o", out, "--workers", 0, "--retry-failed")
    assert (found["new"], found["failed"], found["statuses"]) == (1, 0, {"optimal": 2})
    assert list(load_results(out).run.status) == ["optimal", "optimal"]


def test_a_file_of_no_sense_fails_in_its_cells_alone(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("domains: 3", encoding="utf-8")
    shutil.copy(ROOT / "scenarios" / "problems" / "meetings.yaml", tmp_path)
    spec = tmp_path / "files.toml"
    spec.write_text('[[problem]]\nfiles = "*.yaml"\n[[solver]]\nname = "dpop"\n', encoding="utf-8")
    found = swept(spec, "-o", tmp_path / "out", "--workers", 0)
    assert found["statuses"] == {"failed": 1, "optimal": 1}
    frame = load_results(tmp_path / "out").run.set_index("file")
    assert frame.status["bad.yaml"] == "refused"
    assert "bad.yaml" in frame.error["bad.yaml"]
    assert frame.cost["meetings.yaml"] == 44


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    shutil.copy(ROOT / "scenarios" / "problems" / "meetings.yaml", file)
    text = '[[problem]]\nfiles = "m.yaml"\n[[solver]]\nname = "dpop"\n'
    (task,) = cells(parse_spec(text, "s.toml", tmp_path)).tasks
    file.write_text("name: other", encoding="utf-8")
    with pytest.raises(FileChanged, match="has changed since the sweep began"):
        solve_cell(task, str(tmp_path))
    file.unlink()
    with pytest.raises(FileNotFoundError):
        solve_cell(task, str(tmp_path))


def test_problems_with_a_privacy_section_run_as_solve_runs_them(tmp_path: Path) -> None:
    problem = ROOT / "scenarios" / "problems" / "meeting_of_two.yaml"
    text = f"""
        [[problem]]
        files = {json.dumps(str(problem))}
        privacy = {{ policy = ["zero", "own_min"] }}
        [[problem]]
        files = {json.dumps(str(problem))}
        privacy = "off"
        [[solver]]
        name = "leader"
    """
    zero, least, off = cells(parse_spec(text, "s.toml", tmp_path)).tasks
    solved = [solve_cell(task).status for task in (zero, least, off)]
    for task, status in zip((zero, least, off), solved, strict=True):
        (line,) = commands(task)
        assert json.loads(run(*shlex.split(line)[1:], "--json").stdout)["status"] == status
    assert solved[1] == "abandoned"
    assert solved[0] != "abandoned"
    with pytest.raises(UserError, match="has no privacy section"):
        solve_cell(replace(zero, generator="dimes", file=None, digest=None))


def test_the_shipped_example_is_sound() -> None:
    spec = read_spec(ROOT / "scenarios" / "sweep_example.toml")
    assert len(cells(spec).tasks) == 240
    assert (spec.name, len(spec.blocks)) == ("scaling", 1)


# Ctrl-C ------------------------------------------------------------------------------------------------------------


LONG = """
    name = "long"
    seeds = 12
    [[problem]]
    generator = "random-dcop"
    parameters = { agents = 4 }
    [[solver]]
    name = "adopt"
    [[cell]]                       # about half a minute, last: its seed is another problem
    solver = "dsa"
    seed = 1000
    problem = { generator = "random-dcop", parameters = { agents = 30 } }
"""
ENDLESS = LONG.replace('solver = "dsa"', 'solver = { name = "dsa", parameters = { rounds = 100000 } }')


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interruption_loses_nothing(workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, out = tmp_path / "long.toml", tmp_path / "out"
    spec.write_text(ENDLESS)
    if workers:  # in a process of its own, which a batch system ends
        command = [sys.executable, "-c", ENTRY, "sweep", str(spec), "-o", str(out), "--workers", str(workers)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for_a_part(out)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
        status = process.returncode
    else:
        monkeypatch.setattr(results_store, "_LEAST_PAUSE_S", 0.1)
        ctrl_c = threading.Thread(target=lambda: (wait_for_a_part(out), _thread.interrupt_main()))
        ctrl_c.start()
        result = run("sweep", spec, "-o", out, "--workers", 0)
        ctrl_c.join()
        stderr, status = result.stderr, result.exit_code
    assert status == (143 if workers else 130), stderr
    kept = load_results(out).run
    assert len(kept) == kept.cell.nunique() >= 1
    assert f"interrupted: {len(kept)} of 13 cells are kept in {out}; the same command goes on" in stderr
    assert "Traceback" not in stderr

    spec.write_text(LONG.replace('solver = "dsa"', 'solver = "dsa"\nlimits = { max-messages = 10 }'))
    found = swept(spec, "-o", out, "--workers", 0)
    assert (found["cells"], found["new"], found["failed"]) == (13, 13 - len(kept), 0)
    frame = load_results(out).run
    assert len(frame) == frame.cell.nunique() == 13
    first = frame[frame.cell.isin(kept.cell)].set_index("cell")
    assert (first.wall_time == kept.set_index("cell").wall_time).all()  # not run again


def wait_for_a_part(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not list(folder.glob("cell/part-*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.02)
