"""The page of results in a browser: it shows what was run, and does what its controls say."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("pyarrow")

from agentsim.record.results import Store
from agentsim.record.results_parts import Cell
from scenarios.reports import results as results_module
from scenarios.reports.results import results_page
from scenarios.reports.statistics import median
from scenarios.sweeps.recording import run_row

EVIL = '<script>document.title="hit"</script>"\'&<img src=x onerror=document.title="hit">'
LONG = "L" * 10_000
SVG = "{http://www.w3.org/2000/svg}"


def sweep(folder: Path, names: tuple[str, ...], sizes: tuple[Any, ...], evil: str = "", seeds: int = 8) -> None:
    """Write a sweep: the first solver is stopped at 1,000 messages, some runs of the last fail."""
    rng = random.Random(1)
    with Store(folder, {"kind": "sweep", "name": folder.name + evil, "spec": f"seeds = {seeds}\n{evil}"}) as store:
        for i, (name, size, seed) in enumerate((n, s, k) for n in names for s in sizes for k in range(seeds)):
            fails = name == names[-1] and seed == 0
            asked = rng.randrange(100, 3000) if name == names[0] else rng.randrange(10, 100)
            stopped = asked > 1000
            columns = {
                **{"problem": f"p{seed}{evil}", "generator": "made-up", "problem_seed": seed, "objective": "min"},
                **{"problem_parameters": json.dumps({"size": size}), "variables": 5, "constraints": 4, "agents": 5},
                **{"solver": name, "solver_parameters": json.dumps({"k": evil}), "network": "unit", "seed": seed},
                **{"observers": json.dumps([f"vps{evil}"]), "error": f"ValueError: {evil}" if fails else None},
                "status": f"error{evil}" if fails else "timeout" if stopped else "optimal",
            }
            if not fails:
                cost = math.inf if seed == 1 else float(10 + seed)
                columns |= {"cost": cost, "messages": min(asked, 1000), "bytes": 9 * asked, "nccc": 3 * asked}
                columns |= {"virtual_time": 9.0, "wall_time": 0.1, "limit": "max_messages" if stopped else None}
            found = (
                [] if fails else [(0, f"vps{evil}", "aggregate", a + evil, rng.random()) for a in ("average", "max")]
            )
            series = [] if fails else [(0, "cost", "", t, 30 - t - seed) for t in (1.0, 5.0)]
            series += [] if fails else [(0, f"vps{evil}.curve", f"a{evil}", t, t / 9) for t in (0.0, 4.0)]
            rows = {"run": [(0, *run_row(columns))], "leakage": found, "series": series}
            store.add(f"{i}{evil}", Cell("{}", "done", None, None, 0.1, rows))
        store.add("broken", Cell("{}", "failed", f"RuntimeError: {evil}", None, 0.1, {}))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("results")
    sweep(base / "plain", ("adopt", "dpop", "mgm"), (5, 10, 20))
    sweep(base / "hostile", (EVIL, LONG, "=1+1"), (EVIL, LONG, 3), EVIL + LONG, seeds=3)
    (base / "hostile.json").write_text(
        json.dumps({"experiment": EVIL, "rows": [{EVIL: LONG, "b": EVIL}], "notes": [EVIL]})
    )
    (base / "hostile.svg").write_text(
        "<svg xmlns='http://www.w3.org/2000/svg'><script>top.document.title='hit'</script></svg>"
    )
    with Store(base / "failed", {"kind": "sweep", "name": "failed"}) as store:
        store.add("k", Cell("{}", "failed", "boom", None, 0.1, {}))
    with Store(base / "one", {"kind": "experiment", "name": "one"}) as store:
        store.add("k", Cell("{}", "done", None, None, 0.1, {"run": [(0, *run_row({"status": "optimal"}))]}))
    made = {}
    for name, folder in {"plain": base / "plain", "all": base}.items():
        made[name] = base / f"{name}.html"
        made[name].write_text(results_page(folder), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results_module, "MOST_RUNS", 30)
        patch.setattr(results_module, "_LEAST_RUNS", 1)
        made["sampled"] = base / "sampled.html"
        made["sampled"].write_text(results_page(base / "plain"), encoding="utf-8")
    return made


@pytest.fixture
def show(browser: Any, pages: dict[str, Path]) -> Iterator[Callable[..., Any]]:
    """Open a page by name and return a function that runs a script in it; nothing may reach the console."""

    def opened(name: str, width: int = 1400, scheme: str = "light") -> Callable[..., Any]:
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get_log("browser")
        browser.get(pages[name].as_uri())
        browser.execute_async_script(READY)
        return browser.execute_script

    yield opened
    said = [entry["message"] for entry in browser.get_log("browser")]
    assert not said


READY = """
const done = arguments[arguments.length - 1];
const wait = () => (document.documentElement.dataset.state === "ready" ? done() : setTimeout(wait, 5));
wait();
"""
OPEN = f"document.querySelectorAll('[role=tab]')[arguments[0]].click(); {READY}"
LONGEST = """
const texts = document.querySelectorAll("svg text, button, td, .key, h1, h2, h3, label");
return Math.max(...[...texts].map((element) => element.textContent.length));
"""
SET = "const e = document.getElementById(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('change'));"
SAVED = """
const done = arguments[1];
const make = URL.createObjectURL;
URL.createObjectURL = (blob) => {
  blob.text().then((text) => done([name, text]));
  URL.createObjectURL = make;
  return make(blob);
};
let name = '';
const click = HTMLAnchorElement.prototype.click;
HTMLAnchorElement.prototype.click = function () { name = this.download; HTMLAnchorElement.prototype.click = click; };
document.querySelector(arguments[0]).click();
"""


def heads(run: Callable[..., Any]) -> list[str]:
    found: list[str] = run("return [...document.querySelectorAll('#groups th')].map((th) => th.textContent)")
    return found


def column(run: Callable[..., Any], head: str) -> list[str]:
    at = heads(run).index(head)
    script = "return [...document.querySelectorAll('#groups tbody tr')].map((tr) => tr.cells[arguments[0]].textContent)"
    found: list[str] = run(script, at)
    return found


def test_what_was_run_and_what_came_of_it(show: Callable[..., Any]):
    run = show("plain")
    text = run("return document.querySelector('.what').innerText")
    assert "73" in text  # cells, one of which failed
    assert all(word in text for word in ("plain", "optimal", "timeout", "3 error"))
    assert "seeds = 8" in run("return document.querySelector('.spec pre').textContent")
    assert run("return document.querySelector('details summary').textContent") == "Specification, as it was written"
    figures = run(
        "return [...document.querySelectorAll('figure')].map((f) => [f.id, f.querySelector('.picture svg') !== null])"
    )
    assert {name for name, drawn in figures if drawn} == {
        *("medians", "scatter", "endings", "by-messages", "by-bytes", "by-nccc", "curve-0", "curve-1", "leakage")
    }
    caption = run("return document.querySelector('#medians figcaption').textContent")
    stopped = [v for v in column(run, "messages") if v.startswith("≥")]
    assert "hit a limit; △: a lower bound" in caption
    assert "3 failed and are not in it" in caption
    assert stopped
    assert all(v.endswith("∞]") for v in stopped)
    assert run("return document.querySelectorAll('#medians [aria-label=dot] path').length") >= len(stopped)
    assert "infinite" in run(SET + "return document.querySelector('#scatter figcaption').textContent", "y", "cost")


def test_medians_are_those_of_python(show: Callable[..., Any]):
    run = show("plain")
    rng = random.Random(3)
    cases = []
    for n in (0, 1, 5, 6, 7, 20, 101, 1000):
        values = [rng.choice([rng.randrange(9), rng.random(), math.inf]) for _ in range(n)]
        cases.append((values, [rng.random() < 0.3 for _ in values]))
    plain = [[[v if math.isfinite(v) else "inf" for v in values], marks] for values, marks in cases]
    script = """return arguments[0].map(([values, marks]) => {
        const m = Results.median(values.map(Results.revived), marks);
        return [m.n, m.censored, m.value, m.at_least, m.low, m.high].map((v) => (v === Infinity ? 'inf' : v)); })"""
    wanted = []
    for values, marks in cases:
        found = median(values, marks)
        told = [found.n, found.censored, found.value, found.at_least, found.low, found.high]
        wanted.append(["inf" if v == math.inf else v for v in told])
    assert run(script, plain) == wanted


def test_controls_change_the_figures(show: Callable[..., Any]):
    run = show("plain")
    title = "return document.querySelector('#medians h3').textContent"
    svg = "return document.querySelector('#medians .picture').innerHTML"
    seen = {run(svg)}
    assert run(title) == "Medians: messages by size"
    for control, value in (
        *(
            ("y", "nccc"),
            ("y-scale", "linear"),
            ("x-scale", "log"),
            ("colour", ""),
            ("facet", "solver"),
            ("x", "solver"),
        ),
    ):
        run(SET, control, value)
        assert run(svg) not in seen, control
        seen.add(run(svg))
    assert run(title) == "Medians: NCCC by solver"
    run(SET, "x", "messages")  # a measure: single runs only
    assert "single runs show it" in run("return document.querySelector('#medians .picture').textContent")
    assert run("return document.querySelector('#scatter .picture svg') !== null")
    assert run("return document.querySelector('#medians .save').disabled")
    run(SET, "x", "problem.size")
    assert len(column(run, "solver")) == 9
    run("document.querySelector('#filters input[data-key=solver]').click()")
    assert {*column(run, "solver")} == {"dpop", "mgm"}
    assert "48 of 72 runs" in run("return document.querySelector('#filters summary').textContent")
    log = "const b = document.querySelector('[data-toggle=timeLog]'); b.click(); return b.getAttribute('aria-pressed')"
    assert run(log) == "true"


def test_tables_sort_and_are_saved(show: Callable[..., Any], browser: Any):
    run = show("plain")
    click = "[...document.querySelectorAll('#groups th button')][arguments[0]].click()"
    at = heads(run).index("bytes (B)")
    state = "return document.querySelectorAll('#groups th')[arguments[0]].getAttribute('aria-sort')"
    assert run(state, at) == "none"
    first = []
    for order in ("descending", "ascending"):
        run(click, at)
        assert run(state, at) == order
        first.append(column(run, "solver")[0])
    assert first == ["adopt", first[1]]
    assert first[1] != "adopt"
    # Heads are buttons, so the keyboard reaches them.
    run("document.querySelector('#groups th button').focus()")
    focused = browser.switch_to.active_element
    focused.send_keys("\ue007")
    assert run(state, 0) == "descending"
    name, text = browser.execute_async_script(SAVED, "#groups .tools button")
    assert name == "plain-medians.csv"
    rows = [*csv.DictReader(io.StringIO(text))]
    assert len(rows) == 9
    adopt = [row for row in rows if row["solver"] == "adopt"]
    assert all(float(row["messages: lower bounds"]) == float(row["timeout"]) for row in adopt)
    assert any(row["messages: at least"] == "true" and row["messages: high"] == "inf" for row in adopt)
    run("document.getElementById('runs').open = true; document.querySelector('#runs tr.pick').click()")
    facts = run("return document.getElementById('run').innerText")
    assert run("return document.getElementById('run').open")
    assert all(word in facts for word in ("problem parameters", '{"size": 5}', "python", "version", "cell", "seed"))


def test_figures_are_saved_as_svg_that_stand_alone(show: Callable[..., Any], browser: Any):
    run = show("plain", scheme="dark")
    for figure in run("return [...document.querySelectorAll('figure')].map((f) => f.id)"):
        name, text = browser.execute_async_script(SAVED, f"#{figure} .save")
        assert name.endswith(".svg")
        tree = ElementTree.fromstring(text.encode())
        assert tree.tag == f"{SVG}svg"
        assert tree.find(f"{SVG}rect").get("fill") == "white"
        assert "var(" not in text
        words = " ".join(tree.itertext())
        assert "plain:" in words
        assert "n = " in words or "runs" in words
        assert "rgb(0, 114, 178)" in text or figure == "endings"  # light, though the page is dark


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (1400, "dark"), (700, "light"), (700, "dark")])
def test_themes_and_widths(show: Callable[..., Any], browser: Any, width: int, scheme: str):
    run = show("all", width, scheme)
    assert run("return document.querySelectorAll('[role=tab]').length") == 4
    for tab in range(4):
        browser.execute_async_script(OPEN, tab)
        assert run("return document.documentElement.scrollWidth <= innerWidth")
    light = run("return getComputedStyle(document.body).backgroundColor")
    assert (light == "rgb(244, 245, 247)") == (scheme == "light")
    run("document.getElementById('theme').click()")
    assert run("return getComputedStyle(document.body).backgroundColor") == "rgb(244, 245, 247)"
    run("document.getElementById('theme').click()")
    assert run("return getComputedStyle(document.body).backgroundColor") == "rgb(16, 19, 23)"


def test_hostile_names_are_text(show: Callable[..., Any], browser: Any):
    run = show("all")
    tab = run(
        "return [...document.querySelectorAll('[role=tab]')].findIndex((t) => t.textContent.startsWith('hostile'))"
    )
    browser.execute_async_script(OPEN, tab)
    run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert run("return document.title.endsWith('results')")
    assert run("return document.querySelectorAll('main script, main img:not(.figure), main iframe').length") == 0
    assert run("return document.querySelector('img.figure').complete")
    assert EVIL[:20] in run("return document.querySelector('.what h2').textContent")
    assert run("return document.documentElement.scrollWidth <= innerWidth")
    assert run(LONGEST) < 400
    for control in ("x", "colour", "facet"):
        run(SET, control, "solver")
    run("document.querySelector('#runs tr.pick').click()")
    assert EVIL in run("return document.getElementById('run-facts').textContent")
    run("document.getElementById('run').close()")
    name, text = browser.execute_async_script(SAVED, "#medians .save")
    assert len(name) < 110
    assert name.replace("-", "").replace(".", "").isalnum()
    assert EVIL[:12] in " ".join(ElementTree.fromstring(text.encode()).itertext())
    name, text = browser.execute_async_script(SAVED, "#groups .tools button")
    assert "'=1+1" in text  # no formula for a spreadsheet
    assert run("return document.title.endsWith('results')")


def test_odd_folders_have_a_page(show: Callable[..., Any], browser: Any):
    run = show("all")
    names = run("return [...document.querySelectorAll('[role=tab]')].map((t) => t.textContent)")
    assert names[:2] == ["failed", "hostile" + names[1][7:]]
    assert "boom" in run("return document.querySelector('main').innerText")
    assert "No cell recorded a run" in run("return document.querySelector('main').innerText")
    # With the keyboard to the next tabs.
    run("document.querySelector('[role=tab]').focus()")
    for _ in range(2):
        browser.switch_to.active_element.send_keys("\ue014")
    selected = "return document.querySelector('[aria-selected=true]').textContent"
    assert run(selected) == "one"


def test_more_runs_than_the_page_holds(show: Callable[..., Any]):
    run = show("sampled")
    notes = run("return [...document.querySelectorAll('.note')].map((n) => n.textContent).join(' ')")
    assert "72 runs are more than the page holds" in notes
    assert column(run, "runs") == ["8"] * 9  # of all runs
    assert "sample" not in run("return document.querySelector('#medians figcaption').textContent")
    assert "from a sample of 72" in run("return document.querySelector('#scatter figcaption').textContent")
    run(SET, "colour", "")  # groups by size alone were not counted over all runs
    assert "from an even sample of 30 of 72" in run("return document.querySelector('#medians figcaption').textContent")
