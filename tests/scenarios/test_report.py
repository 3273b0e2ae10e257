"""`agentsim report` of a log: a page, or one line that says why there is none."""

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agentsim import simulate
from scenarios.cli import main
from scenarios.demo import shipped_problem


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("logs") / "run.amlog"
    simulate(shipped_problem(), "dpop", seed=1, network="uniform:1,10", log=path)
    return path


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["report", *map(str, args)], prog_name="agentsim")


def refused(*args: object) -> str:
    """Check that the command ended as it must when the user got something wrong, and return its line."""
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("agentsim: ")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def item(page: Path, name: str) -> Any:
    found = re.search(rf'<script type="application/octet-stream" id="{name}">([^<]*)</script>', page.read_text("utf-8"))
    assert found is not None
    return json.loads(zlib.decompress(base64.b64decode(found[1])))


def test_a_page_is_written_and_its_address_told(log: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = run(log, "-o", page)
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"{page.stat().st_size:,} bytes" in result.stdout
    assert page.as_uri() in result.stdout
    head = item(page, "head")
    assert (head["solver"], head["leak"]["rule"], head["window"]["total"]) == ("dpop", "tight", 18)
    again = tmp_path / "again.html"
    assert run(log, "-o", again).exit_code == 0
    assert again.read_bytes() == page.read_bytes()  # nothing of clock, path or process is in it


def test_options_choose_rule_and_window(log: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = run(log, "-o", page, "--observe", "vps:rule=exact,metric=guess", "--from", 5, "--most", 4)
    assert result.exit_code == 0
    head = item(page, "head")
    assert (head["leak"]["rule"], head["leak"]["metric"]) == ("exact", "guess")
    assert head["window"] == {"from": 5, "to": 8, "total": 18}
    assert len(item(page, "details-0")) == 4


def test_what_is_wrong_is_one_line(log: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert "is the log itself" in refused(log, "-o", log)
    link = tmp_path / "link.amlog"
    link.symlink_to(log)
    assert "is the log itself" in refused(log, "-o", link)
    assert "Missing option '-o'" in refused(log)
    assert "No such file" in refused(tmp_path / "no.amlog", "-o", page)
    text = tmp_path / "text.amlog"
    text.write_text("nothing of the kind")
    assert "not an agentsim log" in refused(text, "-o", page)
    assert "there is no folder" in refused(log, "-o", tmp_path / "no" / "page.html")
    assert "it is not a file" in refused(log, "-o", tmp_path)
    assert "that of vps" in refused(log, "-o", page, "--observe", "traffic")
    assert "there is none from 19 on" in refused(log, "-o", page, "--from", 19)
    assert "--most" in refused(log, "-o", page, "--most", 0)
    assert "are for logs" in refused(tmp_path, "-o", page, "--from", 1)
    cut = tmp_path / "cut.amlog"
    cut.write_bytes(log.read_bytes()[:100])
    assert "cut off within its header" in refused(cut, "-o", page)
    assert not page.exists()
    assert log.read_bytes()[:5] == b"AMLOG"


def test_a_log_that_was_cut_is_shown_as_far_as_it_goes(log: Path, tmp_path: Path) -> None:
    cut, page = tmp_path / "cut.amlog", tmp_path / "page.html"
    cut.write_bytes(log.read_bytes()[:-30])
    assert run(cut, "-o", page).exit_code == 0
    assert any("was cut off" in note for note in item(page, "head")["notes"])
