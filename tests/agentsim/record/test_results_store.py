"""Writing a folder of results: what it is about, who may write, and when parts come."""

import json
import math
import os
import threading
from pathlib import Path

import pytest

from agentsim.errors import UserError
from agentsim.record import results_store
from agentsim.record.results import Store, load_results
from agentsim.record.results_parts import OTHERS, Cell, write_part

pytest.importorskip("pyarrow")

ABOUT = {"kind": "sweep", "name": "toy"}


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def cell(i: int) -> Cell:
    """A cell with six rows."""
    rows = {table: [] for table in OTHERS} | {"agent": [(0, f"a{k}", 1, 2, 3, 4, 5) for k in range(6)]}
    return Cell(json.dumps(i), "done", None, None, 0.5, rows)


def keys(folder: Path) -> list[str]:
    return load_results(folder).table("cell").column("cell").to_pylist()


class TestFolder:
    def test_what_is_no_folder_of_results(self, tmp_path: Path) -> None:
        for make, words in (
            (lambda f: None, "is not a folder of results"),
            (lambda f: f.mkdir(), "is not a folder of results"),
            (lambda f: (f / "about.json").write_text("[1]"), "is not about a folder of results"),
            (lambda f: (f / "about.json").write_text("[" * 10**5), "is not about a folder of results"),
            (lambda f: (f / "about.json").write_text('{"format": "agentsim results"}'), "another version"),
        ):
            make(tmp_path / "there")
            with pytest.raises(UserError, match=words) as caught:
                load_results(tmp_path / "there")
            assert "\n" not in str(caught.value)

    def test_folders_of_something_else_are_left_alone(self, tmp_path: Path) -> None:
        Store(tmp_path / "mine", ABOUT).close()
        with pytest.raises(UserError, match="holds results of sweep 'toy', not of experiment 'toy'"):
            Store(tmp_path / "mine", {"kind": "experiment", "name": "toy"})
        (tmp_path / "other" / "run").mkdir(parents=True)
        (tmp_path / "other" / "run" / "part-00001.parquet").touch()
        with pytest.raises(UserError, match="has 'run' in it"):
            Store(tmp_path / "other", ABOUT)
        assert (tmp_path / "other" / "run" / "part-00001.parquet").exists()
        (tmp_path / "file").touch()
        with pytest.raises(UserError, match="cannot write there"):
            Store(tmp_path / "file", ABOUT)

    def test_what_is_run_may_be_told_anew(self, tmp_path: Path) -> None:
        with Store(tmp_path, {**ABOUT, "spec": {"limit": math.inf}}):
            pass
        assert load_results(tmp_path).about["spec"] == {"limit": "inf"}
        about = json.loads((tmp_path / "about.json").read_text())
        (tmp_path / "about.json").write_text(json.dumps({**about, "version": "0.0.1"}))
        with Store(tmp_path, {**ABOUT, "spec": "new"}):
            pass
        assert load_results(tmp_path).about["spec"] == "new"
        assert load_results(tmp_path).about["version"] == "0.0.1"

    def test_one_writer_at_a_time(self, tmp_path: Path) -> None:
        with Store(tmp_path, ABOUT), pytest.raises(UserError, match=f"process {os.getpid()} is writing there"):
            Store(tmp_path, ABOUT)
        with pytest.raises(UserError, match="not of sweep 'x'"):
            Store(tmp_path, {**ABOUT, "name": "x"})
        Store(tmp_path, ABOUT).close()  # neither keeps the lock

    def test_tables_that_are_elsewhere_are_left_alone(self, tmp_path: Path) -> None:
        mine = tmp_path / "mine"
        with Store(mine, ABOUT) as store:
            store.add("a", cell(1))
        Store(tmp_path / "given", ABOUT).close()
        (tmp_path / "given" / "run").rmdir()
        (tmp_path / "given" / "run").symlink_to(mine / "run")
        with pytest.raises(UserError, match="run: is a link to somewhere else"):
            Store(tmp_path / "given", ABOUT)
        assert list((mine / "run").iterdir()), "a part without cells would have been cleared away"
        Store(mine, ABOUT).close()

    def test_a_file_system_without_locks(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import fcntl

        def flock(*_: object) -> None:
            raise OSError(37, "No locks available")

        monkeypatch.setattr(fcntl, "flock", flock)
        with Store(tmp_path, ABOUT) as store:
            store.add("a", cell(1))
        assert "cannot be locked" in store.notes[0]
        assert keys(tmp_path) == ["a"]


class TestWriting:
    def test_a_part_comes_by_itself(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(results_store, "_LEAST_PAUSE_S", 0.01)
        written = _told_of_writing(monkeypatch)
        with Store(tmp_path, ABOUT) as store:
            store.add("a", cell(1))
            assert written.wait(10)
            assert keys(tmp_path) == ["a"]

    def test_a_part_comes_when_many_rows_wait(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(results_store, "_LEAST_PAUSE_S", 1000.0)
        monkeypatch.setattr(results_store, "_MOST_WAITING", 10)
        written = _told_of_writing(monkeypatch)
        with Store(tmp_path, ABOUT) as store:
            store.add("a", cell(1))
            store.add("b", cell(2))  # six rows each
            assert written.wait(10)
            assert keys(tmp_path) == ["a", "b"]

    def test_a_full_disk_is_told_and_tried_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        store = Store(tmp_path, ABOUT)
        store.add("a", cell(1))
        with monkeypatch.context() as patch:
            patch.setattr(results_store, "write_part", full)
            with pytest.raises(UserError, match=f"^{tmp_path}: cannot write there: No space left"):
                store.flush()
            with pytest.raises(UserError, match=f"^{tmp_path}: cannot write there: No space left"):
                store.add("b", cell(2))
        store.close()
        assert keys(tmp_path) == ["a"]
        with pytest.raises(ValueError, match="closed"):
            store.add("c", cell(3))
        with pytest.raises(ValueError, match="closed"):
            store.flush()

    def test_what_is_too_large_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(results_store, "MOST_TEXT", 2_000)
        with Store(tmp_path, ABOUT) as store:
            with pytest.raises(ValueError, match="more than 2000 characters"):
                store.add("a", Cell("1", "done", None, "x" * 2_000, 0.0, {}))
            store.add("b", cell(2))
        assert keys(tmp_path) == ["b"]


def _told_of_writing(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    written = threading.Event()

    def write(*args: object) -> None:
        write_part(*args)
        written.set()

    monkeypatch.setattr(results_store, "write_part", write)
    return written
