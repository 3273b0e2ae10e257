"""The demo: it runs through anywhere, and what it claims is true."""

import os
import pty
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from agentsim import open_log, simulate
from scenarios import demo
from scenarios.cli import main
from scenarios.generators.meetings import Meetings, MeetingsParams
from scenarios.reports.page import page

ENTRY = "from scenarios.cli import main; main(['demo'])"


def test_the_shipped_problem_is_what_the_generator_makes() -> None:
    shipped = demo.shipped_problem()
    made = Meetings.generate(MeetingsParams(agents=6, meetings=5, slots=8), seed=2)
    assert shipped.name == made.name
    assert list(shipped.variables) == list(made.variables)
    assert 10 <= len(shipped.variables) <= 12
    assert max(len(shipped.owned_by(a)) for a in shipped.agents) > 1
    for name, v in made.variables.items():
        assert (shipped.variables[name].unary == v.unary).all()
        assert shipped.variables[name].cost_range == v.cost_range


def test_piped_from_elsewhere_within_a_minute(tmp_path: Path) -> None:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", ENTRY], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - started < 60
    for solver in demo.SOLVERS:
        assert f" {solver} " in done.stdout
    for word in ("synchbb", "NCCC", "traffic", "subtree-table", "byte for byte", "What next?"):
        assert word in done.stdout
    assert "FAIL" not in done.stdout
    assert "\x1b" not in done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == [demo.LOG, demo.PAGE]
    assert (tmp_path / demo.PAGE).as_uri() in done.stdout
    assert open_log(tmp_path / demo.LOG).summary()["whole"]
    written = (tmp_path / demo.PAGE).read_text("utf-8")
    assert written.startswith("<!DOCTYPE html>")
    assert 'id="details-0"' in written


def test_it_writes_where_it_may_and_over_nothing_of_anybody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert demo._folder() == here
    (here / demo.LOG).write_bytes(b"AMLOG\x00 of an earlier tour")
    (here / demo.PAGE).write_text(page("demo", [], [], {}))
    assert demo._folder() == here
    for mine in (b"dear diary", b""):
        (here / demo.PAGE).write_bytes(mine)
        elsewhere = demo._folder()
        assert elsewhere.parent == tmp_path
        assert elsewhere.is_dir()
        assert elsewhere != here
    (here / demo.PAGE).unlink()
    (here / demo.PAGE).symlink_to(tmp_path / "nowhere")
    assert demo._folder() != here
    here.joinpath(demo.PAGE).unlink()
    assert demo._folder() == here
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert demo._folder() != here


def test_on_a_terminal(tmp_path: Path) -> None:
    primary, secondary = pty.openpty()
    shown: list[bytes] = []

    def drain() -> None:
        try:
            while data := os.read(primary, 4096):
                shown.append(data)
        except OSError:
            pass

    reader = threading.Thread(target=drain)
    reader.start()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    subprocess.run(
        [sys.executable, "-c", ENTRY],
        stdout=secondary,
        stderr=secondary,
        cwd=tmp_path,
        env=env,
        timeout=120,
        check=True,
    )
    os.close(secondary)
    reader.join()
    os.close(primary)
    text = b"".join(shown).decode()
    assert "\x1b[" in text
    assert "What next?" in text


def test_what_it_tells_to_do_next_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = CliRunner().invoke(main, ["demo"]).stdout
    lines = [line.split()[1:] for line in out.partition("What next?")[2].splitlines() if "agentsim" in line]
    assert len(lines) >= 3
    for arguments in lines:
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output


def test_it_fails_when_solvers_disagree(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = demo.shipped_problem()
    good = simulate(problem, "dpop")
    worse = simulate(Meetings.generate(MeetingsParams(), 1), "dpop")
    assert good.cost != worse.cost
    from scenarios.screen import console

    with pytest.raises(demo.DemoFailed, match="disagree"):
        demo._compare(console(), [good, worse])
