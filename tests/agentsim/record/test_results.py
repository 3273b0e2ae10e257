"""The store of results: what is written is read back, whatever happens in between."""

import json
import math
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from agentsim.record import results_parts
from agentsim.record.results import Store, load_results
from agentsim.record.results_parts import (
    COLUMNS,
    OTHERS,
    TABLES,
    Cell,
    Damaged,
    part_numbers,
    part_path,
    read_part,
    write_part,
)

pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")
pq = pytest.importorskip("pyarrow.parquet")

ABOUT = {"kind": "sweep", "name": "toy"}


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here pulls the plug, and forcing ten files to disk for each part takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def run_row(**columns: object) -> tuple[object, ...]:
    row = {"run": 0, "version": "1", "solver": "adopt", "status": "optimal", **columns}
    return tuple(row.get(name) for name in COLUMNS["run"][1:])


def cell(i: int, status: str = "done", **columns: object) -> Cell:
    rows = {
        "run": [run_row(seed=i, cost=float(i), **columns)],
        "agent": [(0, "a", 1, 2, 3, 4, 5), (0, "b", 5, 4, 3, 2, 1)],
        "leakage": [(0, "vps", "loss", "a", i / 7)],
        "series": [(0, "cost", "", 0.0, math.inf), (0, "cost", "", 1.5, float(i))],
    }
    error = None if status == "done" else "ValueError: no"
    return Cell(json.dumps([i]), status, error, json.dumps({"i": i}), 0.5, rows)


def filled(folder: Path, *groups: Sequence[int]) -> Path:
    """A folder of results with a part for each group of cells."""
    with Store(folder, ABOUT) as store:
        for group in groups:
            for i in group:
                store.add(f"key{i}", cell(i))
            store.flush()
    return folder


def keys(folder: Path) -> list[str]:
    return load_results(folder).table("cell").column("cell").to_pylist()


class TestRoundTrip:
    def test_everything_comes_back(self, tmp_path: Path) -> None:
        found = load_results(filled(tmp_path, [0, 1], [2]))
        assert found.about == {
            **ABOUT,
            "format": "agentsim results",
            "format_version": 1,
            "version": found.about["version"],
        }
        assert found.notes == []
        assert {name: table.num_rows for name, table in found.tables.items()} == {
            "cell": 3, "run": 3, "agent": 6, "leakage": 3, "series": 6,
        }  # fmt: skip
        assert found.cell.task.tolist() == ["[0]", "[1]", "[2]"]
        assert found.agent[found.agent.cell == "key1"].values.tolist() == [
            ["key1", 0, "a", 1, 2, 3, 4, 5],
            ["key1", 0, "b", 5, 4, 3, 2, 1],
        ]
        assert found.leakage.value.tolist() == [0, 1 / 7, 2 / 7]
        assert found.series.value.tolist() == [math.inf, 0, math.inf, 1, math.inf, 2]

    def test_parameters_become_columns(self, tmp_path: Path) -> None:
        with Store(tmp_path, ABOUT) as store:
            store.add("a", cell(1, problem_parameters='{"n": 3, "kind": "ring"}', solver_parameters='{"p": 0.7}'))
            store.add("b", cell(2, solver_parameters='{"p": [1, {}]}', problem_parameters="not JSON"))
            store.add("c", cell(3, solver_parameters="[1]", problem_seed=2**62 + 1))
        run = load_results(tmp_path).run
        assert run["problem.n"].tolist()[0] == 3
        assert run["problem.kind"].tolist()[0] == "ring"
        assert run["solver.p"].tolist()[:2] == [0.7, "[1, {}]"]
        assert run["problem_seed"].tolist() == [pd.NA, pd.NA, 2**62 + 1]

    def test_infinite_costs_survive_and_nan_is_null(self, tmp_path: Path) -> None:
        with Store(tmp_path, ABOUT) as store:
            for i, cost in enumerate((math.inf, -math.inf, math.nan, None, 3.0)):
                store.add(str(i), _with_cost(i, cost))
        assert load_results(tmp_path).table("run").column("cost").to_pylist() == [math.inf, -math.inf, None, None, 3.0]

    def test_text_that_is_no_utf8(self, tmp_path: Path) -> None:
        with Store(tmp_path, ABOUT) as store:
            store.add("a", cell(1, problem="half \ud800 pair"))
            store.add("b", cell(2, problem="ü"))
        assert load_results(tmp_path).table("run").column("problem").to_pylist() == ["half \\ud800 pair", "ü"]

    def test_other_readers(self, tmp_path: Path) -> None:
        duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
        with Store(tmp_path, ABOUT) as store:
            store.add("empty", Cell("0", "done", None, None, 0.0, {}))
            store.flush()
            for i in range(3):
                store.add(f"key{i}", cell(i))
            store.flush()
            store.add("key3", _with_cost(3, math.inf))
            (tmp_path / "run" / ".part-00009.parquet.new").write_bytes(b"half of it")
            for table, expected in {"run": 4, "agent": 6, "leakage": 3, "series": 6, "cell": 5}.items():
                store.flush()
                frame = pd.read_parquet(tmp_path / table)
                assert len(frame) == expected
                assert tuple(frame.columns) == COLUMNS[table]
                lazy = polars.read_parquet(tmp_path / table / "*.parquet")
                assert lazy.shape == (expected, len(COLUMNS[table]))
                counted = duckdb.sql(f"select count(*), count(distinct cell) from '{tmp_path}/{table}/*.parquet'")
                assert counted.fetchall() == [(expected, {"cell": 5, "run": 4}.get(table, 3))]
        costs = duckdb.sql(f"select cost from '{tmp_path}/run/*.parquet' order by cost").fetchall()
        assert costs == [(0.0,), (1.0,), (2.0,), (math.inf,)]

    def test_parts_of_a_table_have_one_schema(self, tmp_path: Path) -> None:
        with Store(tmp_path, ABOUT) as store:
            store.add("empty", Cell("0", "done", None, None, 0.0, {}))
            store.flush()
            store.add("nulls", Cell("1", "done", None, None, 0.0, {"run": [(0,) + (None,) * 30]}))
            store.flush()
            store.add("full", cell(1))
        for table in TABLES:
            schemas = [pq.read_schema(part_path(tmp_path, table, k)).remove_metadata() for k in (1, 2, 3)]
            assert schemas[0] == schemas[1] == schemas[2] == results_parts.schema(table)

    def test_shown_in_a_notebook(self, tmp_path: Path) -> None:
        with Store(tmp_path, {**ABOUT, "name": "<b>toy"}) as store:
            store.add("a", cell(1, solver="<script>", limit="timeout"))
            store.add("b", cell(2))
            store.add("c", cell(3, "failed"))
        shown = load_results(tmp_path)._repr_html_()
        assert "<b>toy" not in shown
        assert "<script>" not in shown
        assert "&lt;script&gt;" in shown
        assert "optimal" in shown
        assert "&lt;b&gt;toy" in shown
        assert repr(load_results(tmp_path)) == "<Results of sweep '<b>toy': 3 cells, 3 runs>"


def _with_cost(i: int, cost: float | None) -> Cell:
    made = cell(i)
    return Cell(made.task, made.status, None, None, 0.0, {"run": [run_row(cost=cost)]})


class TestTwice:
    def test_a_failure_gives_way_to_what_came_later(self, tmp_path: Path) -> None:
        with Store(tmp_path, ABOUT) as store:
            store.add("a", cell(1, "failed"))
            store.add("b", cell(2, "failed"))
            store.add("c", cell(3))
        with Store(tmp_path, ABOUT) as store:
            assert {key: kept.status for key, kept in store.done.items()} == {"a": "failed", "b": "failed", "c": "done"}
            store.add("a", cell(10))
            store.add("b", cell(20, "failed"))
        found = load_results(tmp_path)
        assert found.notes == []
        assert sorted(zip(found.cell.cell, found.cell.task, found.cell.status, strict=True)) == [
            ("a", "[10]", "done"),
            ("b", "[20]", "failed"),
            ("c", "[3]", "done"),
        ]
        assert sorted(zip(found.run.cell, found.run.seed, strict=True)) == [("a", 10), ("b", 20), ("c", 3)]
        with Store(tmp_path, ABOUT) as store:
            assert (store.done["a"].status, store.done["a"].result) == ("done", '{"i": 10}')

    def test_of_two_that_are_done_the_first_counts_and_it_is_said(self, tmp_path: Path) -> None:
        filled(tmp_path, [1, 2])
        write_part(tmp_path, 2, [("key1", cell(10)), ("key3", cell(3))], "9")
        found = load_results(tmp_path)
        assert found.notes == ["part 2 has 1 cells that an earlier part has: the earlier ones count"]
        assert found.run.seed.tolist() == [1, 2, 3]
        assert len(found.agent) == 6

    def test_a_done_cell_is_not_taken_again(self, tmp_path: Path) -> None:
        with Store(tmp_path, ABOUT) as store:
            store.add("a", cell(1))
            with pytest.raises(ValueError, match="done already"):
                store.add("a", cell(1))


class Killed(BaseException):
    """Stands for kill -9: nothing of ours runs after it."""


class TestKilledAnywhere:
    @pytest.fixture
    def steps(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
        """A list whose number counts down at each step of writing; at 0 the process is as good as dead."""
        left = [10**9]

        def step() -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

        real_replace, real_open = os.replace, Path.open

        def replace(a: Path, b: Path) -> None:
            step()
            real_replace(a, b)

        def fsync(handle: int) -> None:
            step()

        def torn_open(path: Path, mode: str = "r", **more: object) -> object:
            file = real_open(path, mode, **more)
            if mode != "wb":
                return file
            real_write = file.write

            class Torn:
                def __enter__(self) -> "Torn":
                    return self

                def __exit__(self, *_: object) -> None:
                    file.close()

                def write(self, data: memoryview) -> None:
                    half = len(data) // 2
                    real_write(data[:half])
                    file.flush()
                    step()
                    real_write(data[half:])

                def flush(self) -> None:
                    file.flush()

                def fileno(self) -> int:
                    return file.fileno()

            return Torn()

        monkeypatch.setattr(results_parts.os, "replace", replace)
        monkeypatch.setattr(results_parts.os, "fsync", fsync)
        monkeypatch.setattr(Path, "open", torn_open)
        yield left
        left[0] = 10**9

    def test_at_every_step_of_writing_a_part(self, tmp_path: Path, steps: list[int]) -> None:
        whole, taken = False, 0
        while not whole:
            folder = filled(tmp_path / str(taken), [0])
            steps[0] = taken
            try:
                write_part(folder, 2, [("key1", cell(1)), ("key2", cell(2))], "1")
                whole = True
            except Killed:
                pass
            finally:
                steps[0] = 10**9
            taken += 1
            there = keys(folder)  # a reader that comes before the next writer
            assert there in (["key0"], ["key0", "key1", "key2"])
            with Store(folder, ABOUT) as store:
                assert list(store.done) == there
                assert store.notes == []
                for i in {1, 2} - {int(key[3:]) for key in there}:
                    store.add(f"key{i}", cell(i))
            found = load_results(folder)
            assert found.notes == []
            assert found.table("run").column("seed").to_pylist() == [0, 1, 2]
            assert found.table("agent").num_rows == 6
            assert len({tuple(part_numbers(folder, table)) for table in TABLES}) == 1  # so other readers see no more
            assert not list(folder.glob("*/.part*"))
        assert taken > 20  # five files, each half written, forced to disk, renamed, and the name forced

    def test_what_a_killed_writer_left_is_told(self, tmp_path: Path) -> None:
        filled(tmp_path, [0])
        (tmp_path / "run" / "part-00002.parquet").write_bytes(b"x")
        (tmp_path / "agent" / ".part-00002.parquet.new").write_bytes(b"x")
        assert load_results(tmp_path).notes == ["half-written parts were left out: part-00002.parquet"]
        Store(tmp_path, ABOUT).close()
        assert load_results(tmp_path).notes == []
        assert not (tmp_path / "run" / "part-00002.parquet").exists()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _nonsense(path: Path) -> None:
    path.write_bytes(b"PAR1" + b"\xff" * 400 + b"PAR1")


def _gone(path: Path) -> None:
    path.unlink()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _another_part(path: Path) -> None:
    path.write_bytes(path.with_name("part-00001.parquet").read_bytes())


def _other_columns(path: Path) -> None:
    pq.write_table(pa.table({"cell": ["key2"]}), path)


def _unsigned(path: Path) -> None:
    pq.write_table(pq.read_table(path).replace_schema_metadata({"agentsim": "[]"}), path)


class TestDamage:
    @pytest.mark.parametrize(
        "harm",
        [_cut, _emptied, _nonsense, _gone, _pipe, _link, _folder, _another_part, _other_columns, _unsigned],
    )
    def test_it_is_named_and_only_its_cells_are_to_be_run_again(self, tmp_path: Path, harm) -> None:
        filled(tmp_path, [0, 1], [2], [3, 4], [5])
        harm(part_path(tmp_path, "cell", 2))
        harm(part_path(tmp_path, "run", 3))
        found = load_results(tmp_path)
        assert found.table("run").column("seed").to_pylist() == [0, 1, 5]
        if harm is _gone:  # then it never was a part
            assert len(found.notes) == 2
            assert found.notes[1] == "half-written parts were left out: part-00002.parquet"
        else:
            blamed = "run" if harm is _another_part else "cell"  # its runs do not go with these cells
            assert found.notes[0].startswith(f"{blamed}/part-00002.parquet: ")
        assert found.notes[harm is not _gone].startswith("run/part-00003.parquet: ")
        assert "\n" not in "".join(found.notes)
        with Store(tmp_path, ABOUT) as store:
            assert set(store.done) == {"key0", "key1", "key5"}
            assert len(store.notes) == 2 - (harm is _gone)
            for i in (2, 3, 4):
                store.add(f"key{i}", cell(i))
        assert part_numbers(tmp_path, "cell") == [1, 4, 5]
        found = load_results(tmp_path)
        assert sorted(found.table("run").column("seed").to_pylist()) == [0, 1, 2, 3, 4, 5]
        away = "part 3" if harm is _gone else "part 2, 3"
        assert found.notes == [f"damaged/ holds what was {away}, whose cells were to be run again"]
        assert len(list((tmp_path / "damaged").iterdir())) == (4 if harm is _gone else 10)

    @pytest.mark.parametrize("table", TABLES)
    def test_a_flipped_bit_is_found_or_changes_nothing(self, tmp_path: Path, table: str) -> None:
        filled(tmp_path, [0, 1])
        path = part_path(tmp_path, table, 1)
        sound, before = path.read_bytes(), read_part(tmp_path, 1)
        rng = random.Random(7)
        caught = 0
        for _ in range(25):
            data = bytearray(sound)
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(data)
            try:
                assert read_part(tmp_path, 1) == before
            except Damaged:
                caught += 1
        assert caught == 25 if table in OTHERS else caught > 10

    def test_a_part_with_a_cell_twice(self, tmp_path: Path) -> None:
        filled(tmp_path, [0])
        write_part(tmp_path, 2, [("key1", cell(1)), ("key1", cell(2))], "1")
        found = load_results(tmp_path)
        assert found.run.seed.tolist() == [0]
        assert "a cell twice" in found.notes[0]

    def test_claims_of_size_are_looked_at_before_reading(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        filled(tmp_path, [0], range(1, 60))
        monkeypatch.setattr(results_parts, "MOST_ROWS", 50)
        notes = load_results(tmp_path).notes
        assert len(notes) == 1
        assert "claims to hold more" in notes[0]

    def test_a_small_file_of_large_texts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(results_parts, "MOST_BYTES", 10**6)
        with Store(tmp_path, ABOUT) as store:
            long = "x" * 10_000
            store.add("a", Cell("1", "done", None, None, 0.0, {"run": [run_row(problem=long)] * 200}))
        assert part_path(tmp_path, "run", 1).stat().st_size < 50_000
        found = load_results(tmp_path)
        assert found.table("run").num_rows == 0
        assert "texts are larger" in found.notes[0]
