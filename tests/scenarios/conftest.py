"""Files that commands are tried on, and a folder that they leave as it was (`usefixtures("no_stray_files")`)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.commanding import PROBLEM, run


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


@pytest.fixture
def no_stray_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands write where they are told and nowhere else."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield
    assert list(folder.iterdir()) == []
