"""Losses on the terminal: bars, courses, the matrix, and a table that updates while a run goes on."""

import os
import pty
import subprocess
import sys
import threading
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from agentsim import save, simulate
from scenarios.generators.dimes import Dimes, DimesParams
from scenarios.generators.random_dcop import RandomDcop, RandomDcopParams
from scenarios.losses import BAR, SPARK_CELLS, _bar, _spark, is_losses, losses_table, show_losses


def shown(found: dict[str, object]) -> str:
    out = Console(file=StringIO(), width=110, markup=False, highlight=False)
    show_losses(out, found)
    assert isinstance(out.file, StringIO)
    return out.file.getvalue()


def test_a_full_bar_is_all_of_the_width_and_an_empty_one_nothing() -> None:
    assert _bar(1.0, True) == "█" * BAR
    assert _bar(0.0, True) == ""
    assert _bar(0.5, False) == "#" * (BAR // 2)
    assert len(_bar(0.03, True)) == 1


def test_a_course_rises_where_the_curve_does() -> None:
    course = _spark([[0.0, 0.0], [5.0, 0.1], [10.0, 0.2]], 10.0)
    assert len(course) == SPARK_CELLS
    assert course[0] == " "
    assert course[-1] == "█"
    assert sorted(course) == sorted(course, key=lambda c: ord(c))
    assert _spark([[0.0, 0.0]], 10.0) == ""


def test_what_vps_found_is_shown_most_exposed_first() -> None:
    found = simulate(Dimes.generate(DimesParams(u=4), 1), "dpop", observers=["vps"]).findings["vps"]
    assert is_losses(found)
    text = shown(found)
    rows = [line.split()[0] for line in text.splitlines() if line.startswith(" a") and line.split()[0] in found["loss"]]
    losses = [found["loss"][agent] for agent in rows[:7]]
    assert losses == sorted(found["loss"].values(), reverse=True)
    assert found["loss"][rows[0]] == max(found["loss"].values())
    assert f"{found['aggregate']['risk']:.4f}" in text
    assert "costs from 1 to 4 (declared)" in text
    assert "bits that the observer in the column learnt" in text


def test_many_agents_are_cut_short() -> None:
    loss = {f"a{i}": i / 100 for i in range(100)}
    table = losses_table(loss, {"max": 0.99})
    assert table.row_count == 32  # thirty, "and 70 more", one aggregate


def test_a_solver_that_is_not_analysed_is_said_to_be_so() -> None:
    found = {
        "solver_analysed": False,
        "loss": {"a": None},
        "matrix": {},
        "aggregate": {"max": None},
        "curve": {},
        "rule": "paper",
        "metric": "entropy",
        "prior": {"source": "declared", "range": [1, 2]},
        "notes": ["mine: not analysed"],
    }
    assert "not analysed" in shown(found)


@pytest.mark.slow
def test_the_table_updates_while_a_run_goes_on(tmp_path: Path) -> None:
    problem = RandomDcop.generate(RandomDcopParams(agents=12, d=5, u=30), 3)
    save(problem, tmp_path / "p.yaml")
    primary, secondary = pty.openpty()
    heard: list[bytes] = []

    def drain() -> None:
        try:
            while data := os.read(primary, 4096):
                heard.append(data)
        except OSError:
            pass

    reader = threading.Thread(target=drain)
    reader.start()
    command = "from scenarios.cli import main; main()"
    arguments = ["solve", "p.yaml", "--algo", "adopt", "--observe", "vps", "--timeout", "3"]
    subprocess.run(
        [sys.executable, "-c", command, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=secondary,
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"},
        timeout=60,
        check=False,
    )
    os.close(secondary)
    reader.join()
    os.close(primary)
    text = b"".join(heard).decode()
    assert text.count("privacy lost") >= 2
    assert "deliveries, virtual time" in text
