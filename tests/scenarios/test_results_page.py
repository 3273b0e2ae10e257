"""The page of a folder of results: what goes into it, from sound and from odd folders."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

from agentsim.errors import UserError
from agentsim.record.results import Store
from agentsim.record.results_parts import Cell
from scenarios.reports.results import results_page
from scenarios.sweeps.recording import run_row

EVIL = "</script><script>alert(1)</script>\"'&"


def fill(folder: Path, runs: int = 4, about: dict[str, Any] | None = None, *, parts: int = 1) -> None:
    with Store(folder, {"kind": "sweep", "name": folder.name, **(about or {})}) as store:
        for i in range(runs):
            columns = {"solver": "ab"[i % 2], "status": "optimal", "cost": 1.0, "messages": i, "seed": i}
            store.add(f"{folder.name}{i}", Cell("{}", "done", None, None, 0.1, {"run": [(0, *run_row(columns))]}))
            if i % max(1, runs // parts) == 0:
                store.flush()


def data_of(html: str) -> dict[str, Any]:
    items = re.findall(r'<script type="application/octet-stream" id="([^"]*)">([^<]*)</script>', html)
    return {name: json.loads(zlib.decompress(base64.b64decode(text))) for name, text in items}


def outcome(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({"experiment": path.stem, "rows": [{"n": 1}], "notes": ["a note"]} | changes))


def test_a_sweep(tmp_path: Path):
    folder = tmp_path / "mine"
    fill(folder, about={"spec": f'name = "{EVIL}"', "source": "mine.toml", "cells": 9})
    html = results_page(folder)
    data = data_of(html)
    assert data["index"] == {"title": "mine", "sections": [{"name": "mine", "kind": "sweep"}], "notes": []}
    section = data["section-0"]
    assert section["spec"] == f'name = "{EVIL}"'
    assert (section["about"]["cells"], section["about"]["source"]) == (9, "mine.toml")
    assert section["runs"]["statuses"] == {"optimal": 4}
    assert (section["experiment"], section["figure"], section["notes"]) == (None, None, [])
    assert len(html) < 2_000_000
    assert "alert(1)" not in html
    assert not re.search(r'(?:src|href)="(?!data:)', html)


def test_an_experiment_with_rows_and_figure_beside_it(tmp_path: Path):
    fill(tmp_path / "table", about={"kind": "experiment", "options": {"instances": 3, "full": False, "seed": 0}})
    rows = [{"a": 1, "b": "inf", "c": [1, {"d": 2}], "e": None, "f": EVIL}, "no row", {"g": "x" * 5000}]
    outcome(tmp_path / "table.json", rows=rows, notes=[EVIL, 7])
    (tmp_path / "table.svg").write_text(f"<svg xmlns='http://www.w3.org/2000/svg'>{EVIL}</svg>")
    for folder in (tmp_path / "table", tmp_path):
        html = results_page(folder)
        section = data_of(html)["section-0"]
        first, last = section["experiment"]["rows"]
        assert first == {"a": 1, "b": "inf", "c": '[1, {"d": 2}]', "e": None, "f": EVIL}
        assert last["g"].endswith("(5,000 characters)")
        assert section["experiment"]["notes"] == [EVIL, "7"]
        assert section["runs"]["total"] == 4
        kind, _, content = section["figure"].partition(",")
        assert kind == "data:image/svg+xml;base64"  # an image: nothing in it runs
        assert EVIL in base64.b64decode(content).decode()
        assert "alert(1)" not in html


def test_several_side_by_side(tmp_path: Path):
    for name in ("b", "a"):
        fill(tmp_path / name, about={"kind": "experiment"})
    outcome(tmp_path / "c.json")
    outcome(tmp_path / "a.json")
    (tmp_path / "not-results.json").write_text("[]")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "link.json").symlink_to(tmp_path / "a.json")  # leads out of the folder, for all we know
    (tmp_path / "empty").mkdir()
    data = data_of(results_page(tmp_path))
    assert [section["name"] for section in data["index"]["sections"]] == ["a", "b", "c"]
    assert data["index"]["title"] == f"{tmp_path.name}: 3 results"
    assert data["section-0"]["experiment"]["rows"] == [{"n": 1}]
    assert (data["section-1"]["experiment"], data["section-1"]["runs"]["total"]) == (None, 4)
    assert (data["section-2"]["runs"], data["section-2"]["experiment"]["rows"]) == (None, [{"n": 1}])


def test_nothing_run_yet(tmp_path: Path):
    fill(tmp_path / "mine", runs=0)
    assert data_of(results_page(tmp_path / "mine"))["section-0"]["runs"]["total"] == 0


def test_only_failures(tmp_path: Path):
    folder = tmp_path / "mine"
    with Store(folder, {"kind": "sweep", "name": "mine"}) as store:
        store.add("k", Cell("{}", "failed", f"ValueError: {EVIL}", "trace", 0.1, {}))
    runs = data_of(results_page(folder))["section-0"]["runs"]
    assert (runs["cells"], runs["failed_cells"], runs["total"]) == (1, 1, 0)
    assert runs["failures"] == [{"status": "cell failed", "error": f"ValueError: {EVIL}", "count": 1, "cell": "k"}]


def test_a_damaged_part_is_named_and_the_others_are_shown(tmp_path: Path):
    folder = tmp_path / "mine"
    fill(folder, parts=4)
    damaged = folder / "run" / "part-00001.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    section = data_of(results_page(folder))["section-0"]
    assert section["runs"]["total"] == 3
    assert any("part-00001" in note for note in section["notes"])


def test_a_failed_cell_that_was_run_again_counts_once(tmp_path: Path):
    folder = tmp_path / "mine"
    failing = run_row({"solver": "a", "status": "error", "error": "boom"})
    sound = run_row({"solver": "a", "status": "optimal", "cost": 1.0})
    with Store(folder, {"kind": "sweep", "name": "mine"}) as store:
        store.add("k", Cell("{}", "failed", "boom", None, 0.1, {"run": [(0, *failing)]}))
        store.flush()
        store.add("k", Cell("{}", "done", None, None, 0.1, {"run": [(0, *sound)]}))
    runs = data_of(results_page(folder))["section-0"]["runs"]
    assert (runs["statuses"], runs["failed_cells"], runs["failures"]) == ({"optimal": 1}, 0, [])


def test_no_results(tmp_path: Path):
    with pytest.raises(UserError, match="holds no results"):
        results_page(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        results_page(tmp_path / "nowhere")
    (tmp_path / "about.json").write_text("{}")
    with pytest.raises(UserError, match="not about a folder of results"):
        results_page(tmp_path)
