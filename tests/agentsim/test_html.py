"""What a notebook shows: the facts are there, names from elsewhere stay text, and nothing grows without bound."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim import Constraint, Domain, Problem, Variable, load, open_log, replay, simulate
from agentsim.record import display, html, pictures
from agentsim.record.log import LogWriter
from agentsim.record.reader import Log
from agentsim.record.replay import ReplayResult
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.observer import Observer
from agentsim.testing import random_problem

ROOT = Path(__file__).resolve().parents[2]
MOST = 200_000
HOSTILE = "</p><script>alert(1)</script><img src=x onerror='a()'>\"&\u202e\x00\x1b[31m" + "N" * 10_000
TAGS = {"div", "style", "p", "b", "span", "table", "thead", "tbody", "tr", "th", "td", "br", "details", "summary"}
TAGS |= {"svg", "path", "g", "title", "text", "circle"}
ATTRIBUTES = {"class", "style", "open", "xmlns", "width", "height", "viewbox", "role", "aria-label", "d", "fill"}
ATTRIBUTES |= {"stroke", "stroke-width", "stroke-linecap", "stroke-dasharray", "opacity", "x", "y", "text-anchor"}
ATTRIBUTES |= {"font-size", "cx", "cy", "r"}


class Page(HTMLParser):
    """A card taken apart: only our own markup, every element closed."""

    def __init__(self, source: str | None) -> None:
        super().__init__()
        assert source is not None
        self.open: list[str] = []
        self.words: list[str] = []
        self.cells: list[list[str]] = []
        self.elements: dict[str, int] = {}
        self.feed(source)
        self.close()
        assert not self.open
        assert len(source.encode("utf-8")) < MOST
        self.text = "\n".join(self.words)
        assert self.text.replace("\n", "").isprintable()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        assert {name for name, _ in attrs} <= ATTRIBUTES
        self.elements[tag] = self.elements.get(tag, 0) + 1
        if tag != "br":
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)
            if self.open[-1:] in (["td"], ["th"]):
                self.cells[-1][-1] += data

    def row(self, name: str) -> list[str]:
        return next(cells[1:] for cells in self.cells if cells[0] == name)


def chain(n: int = 3, name: str = "chain", **options: Any) -> Problem:
    d = Domain("d", ("red", "green", "blue"))
    names = [f"x{i}" for i in range(n)]
    same = [[5, 0, 0], [0, 5, 0], [0, 0, 5]]
    return Problem.build(
        [Variable(v, d, unary=[2, 0, 1]) for v in names],
        [Constraint(f"c{i}", (names[i], names[i + 1]), same) for i in range(n - 1)],
        name=name,
        **options,
    )


class Told(Observer):
    name = "told"
    answer: Any = None

    def findings(self) -> Any:
        return self.answer


# Pieces --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (0, "0"),
        (1234567, "1,234,567"),
        (True, "True"),
        (2.0, "2"),
        (0.12345678, "0.1235"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        ("inf", "inf"),
        (1e300, "1e+300"),
        (10**30, "100000000000000000000000… (31 characters)"),
    ],
)
def test_numbers(value: object, shown: str) -> None:
    assert html.number(value) == shown


def test_a_number_of_thousands_of_digits_is_named() -> None:
    assert html.number(10**5000).startswith("(int too large")


def test_text_is_escaped_cut_and_printable() -> None:
    assert html.text("a<b>&\"'") == "a&lt;b&gt;&amp;&quot;&#x27;"
    assert html.text("x" * 100, 10) == "xxxxxxxxxx… (100 characters)"
    assert html.text("a\n\u202eb\x1b") == "a\\n\\u202eb\\x1b"
    assert html.text(html.Html("<b>")) == "<b>"
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert "too large" in html.text(nested)


def test_tables_say_what_they_leave_out() -> None:
    page = Page(html.table(["name", "n"], ((f"r{i}", i) for i in range(1000)), most=3))
    assert page.cells == [["name", "n"], ["r0", "0"], ["r1", "1"], ["r2", "2"]]
    assert "… and 997 more" in page.text
    assert "… and 60 more" in Page(html.pairs((i, i) for i in range(100))).text


def test_card_leaves_out_what_does_not_fit() -> None:
    big, small = html.Html("x" * 60), html.paragraph("small")
    page = Page(html.card(html.text("t"), [big, big, small], most=100))
    assert page.text.count("x" * 60) == 1
    assert "small" in page.text
    assert "parts too large to be shown here: 1" in page.text


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
plain = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


@given(plain)
@settings(max_examples=60)
def test_any_findings_are_shown(found: object) -> None:
    Page(html.card(html.text("t"), [html.findings(found, pictures.steps)]))


def test_findings_as_tables_and_folded_maps() -> None:
    found = {
        "unit": "bits",
        "notes": ["one", "two"],
        "loss": {"Ana": 0.25, "Ben": 0.0},
        "matrix": {"Ana": {"Ben": 1.5}, "Ben": {"Ana": 2}},
        "deep": {"a": {"b": {"c": {"d": 1, "e": {}}}}},
        "curve": {"Ana": [[0, 0.0], [5, 0.25]], "Ben": [[0, 0.0]]},
    }
    page = Page(html.findings(found, pictures.steps))
    assert page.row("notes") == ["onetwo"]
    assert page.row("Ana") == ["0.25"]
    assert ["", "Ben", "Ana"] in page.cells
    assert ["Ana", "1.5", ""] in page.cells
    assert (page.elements["svg"], page.elements["details"]) == (1, 7)


def test_findings_that_are_lists_say_how_long_they_are() -> None:
    found = {"none": [], "all": [f"line {i}" for i in range(40)], "many": [f"line {i}" for i in range(45)]}
    page = Page(html.findings(found, pictures.steps))
    assert page.row("none") == ["nothing"]
    assert page.row("all")[0].endswith("line 38line 39")
    assert page.row("many")[0].endswith("line 38line 39… and 5 more")


def test_findings_wide_and_deep_are_bounded() -> None:
    wide: Any = "leaf" * 200
    for _ in range(5):
        wide = {f"key {i}": wide for i in range(60)}
    assert len(html.findings(wide, pictures.steps)) < 2 * html._FINDINGS_ROOM
    deep: Any = 1
    for _ in range(900):
        deep = {"x": deep, "y": 1}
    assert "1" in Page(html.findings(deep, pictures.steps)).text


# Pictures ------------------------------------------------------------------------------------------------------


def path_of(picture: str) -> str:
    return picture.rpartition('<path d="')[2].partition('"')[0]


def test_a_curve_steps_and_marks_infinity() -> None:
    picture = pictures.steps({"cost": [(0.0, math.inf), (5.0, 10), (10.0, 4)]}, end=20)
    assert path_of(picture) == "M64.0 8.0H176.0V24.0H288.0V110.0H512.0"
    assert sorted(Page(picture).words) == ["0", "10", "4", "inf", "time 20"]


@pytest.mark.parametrize(
    "points", [[], [(0.0, 1.0)], [(0.0, math.nan), (4.0, math.inf)], [(math.inf, 1.0)], [(3.0, 1), (3.0, 2)]]
)
def test_a_curve_of_nothing_says_so(points: list[pictures.Point]) -> None:
    assert "no change over time" in pictures.steps({"cost": points})


def test_curves_are_bounded_in_points_and_number() -> None:
    rng = np.random.default_rng(1)
    many = [(float(i), float(v)) for i, v in enumerate(rng.random(50_000))]
    assert len(pictures.steps({"cost": many})) < 60_000
    page = Page(pictures.steps({f"a{i}": [(0.0, 0.0), (1.0, float(i))] for i in range(20)}))
    assert "not drawn: 12 curves" in page.text
    assert "a19" in page.text
    assert "a11" not in page.text


def test_the_widest_ranges_do_not_overflow() -> None:
    most = 1.7e308
    picture = pictures.steps({"cost": [(-most, -most), (most, most)]})
    assert path_of(picture) == "M64.0 110.0H512.0V8.0H512.0"
    sent = [Delivery(1, -most, most, 0, "a", "b", "T", 1, 0, 0, b"", None)]
    assert "M130.0 14L748.0 32" in pictures.space_time(sent)


def test_deliveries_without_time_are_drawn_in_their_order() -> None:
    sent = [Delivery(i, 0.0, 0.0, i, "a", "b", "T", i, 0, 0, b"", None) for i in (1, 2)]
    picture = pictures.space_time(sent, ["b", "c", "a"])
    assert "M130.0 32L439.0 14" in picture
    assert "M439.0 32L748.0 14" in picture
    assert "time" not in Page(picture).text


def test_deliveries_are_drawn_within_the_frame_and_long_names_cut() -> None:
    sent = [Delivery(i, i, 3 * i, 0, "a" * 90, f"b{i}", "T", 1, 0, 0, b"", None) for i in range(1, 9)]
    picture = pictures.space_time(sent)
    width, height = (float(picture.partition(f' {side}="')[2].partition('"')[0]) for side in ("width", "height"))
    ends = re.findall(r"[ML]([\d.]+) ([\d.]+)", picture)
    assert len(ends) > 20
    assert all(130 <= float(x) < width and 0 < float(y) < height for x, y in ends)
    names = [
        (float(x), words) for x, words in re.findall(r'<text x="([\d.]+)"[^>]*text-anchor="end"[^>]*>(.*?)</t', picture)
    ]
    assert all(x < 130 or "time" in words for x, words in names)
    assert max(x for x, _ in names) < width
    cut = next(word for word in Page(picture).words if word.endswith("…") and word.startswith("a"))
    assert set(cut[:-1]) == {"a"}
    assert len(cut) < 30


def test_deliveries_of_many_nodes_are_bounded() -> None:
    sent = [Delivery(i, i, i + 1, 0, f"s{i}", f"r{i}", f"T{i}", 1, 0, 0, b"", None) for i in range(200)]
    page = Page(pictures.space_time(sent))
    assert "not drawn: 185 deliveries, of further nodes" in page.text


def test_a_small_graph_names_its_variables() -> None:
    most = pictures._LABELLED
    for n in (5, most, most + 1):
        words = {f"x{i}" for i in range(n)} & set(re.findall(r">(x\d+)</text>", pictures.graph(chain(n))))
        assert len(words) == (n if n <= most else 0)


def test_a_graph_is_bounded_and_the_same_each_time() -> None:
    assert pictures.graph(chain(5)) == pictures.graph(chain(5))
    assert "not drawn: 50 variables" in Page(pictures.graph(chain(250))).text
    d = Domain("d", (0,))
    names = [f"x{i}" for i in range(80)]
    clique = [Constraint(f"{a} {b}", (a, b), [[0]]) for i, a in enumerate(names) for b in names[:i]]
    page = Page(Problem.build([Variable(n, d) for n in names], clique)._repr_html_())
    assert "not drawn: 1,160 edges" in page.text


@pytest.mark.parametrize("ground", ["#ffffff", "#111111"])
def test_colours_are_seen_on_light_and_dark(ground: str) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot((0.2126, 0.7152, 0.0722), linear))

    for colour in pictures.COLOURS:
        low, high = sorted((luminance(colour), luminance(ground)))
        assert (high + 0.05) / (low + 0.05) >= 3


# Problems, results, logs, replays ------------------------------------------------------------------------------


def test_a_problem_shows_its_size_graph_and_private_costs() -> None:
    page = Page(load(ROOT / "scenarios/problems/meetings.yaml")._repr_html_())
    assert "10 variables of 6 agents, 10 constraints" in page.text
    assert page.row("objective") == ["minimise"]
    assert page.row("constraints") == ["10 of arity 2"]
    assert page.row("m1_Eva") == ["Eva", "5", "5", "3", "4", "0", "9", "8", "4"]
    assert page.elements["circle"] == 10


def test_a_problem_shows_who_knows_its_constraints_and_a_part_of_wide_domains() -> None:
    wide = Domain("wide", tuple(range(50)))
    names = ["a", "b", "c", "d"]
    known: list[Any] = ["scope", "all", ("c", "d"), ("a",), "all", "all"]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[:i]]
    constraints = [
        Constraint(f"c{i}", pair, np.zeros((50, 50)), known_to=who)
        for i, (pair, who) in enumerate(zip(pairs, known, strict=True))
    ]
    problem = Problem.build([Variable(n, wide, unary=range(100, 150)) for n in names], constraints, constant=7)
    page = Page(problem._repr_html_())
    assert page.row("public constraints") == ["3"]
    assert page.row("known to named agents only") == ["2"]
    assert page.row("constant cost") == ["7"]
    assert page.row("values of a variable") == ["50"]
    assert "the first 12 of 50 values of wide" in page.text
    assert page.row("d") == ["d", *(str(cost) for cost in range(100, 112))]
    assert "known to named agents only" not in Page(chain()._repr_html_()).text


def test_a_result_shows_what_came_out_and_what_it_took() -> None:
    result = simulate(chain(), "synchbb", seed=3, observers=["traffic"])
    page = Page(result._repr_html_())
    assert "synchbb on chain: " in page.text
    assert "optimal" in page.words
    assert ", cost 1" in page.words
    assert page.row("messages") == [f"{result.messages} ({result.bytes} bytes)"]
    assert page.row("seed") == ["3"]
    assert page.row("FWD")[0] == str(result.by_type["FWD"].count)
    assert page.row("x1") == [str(result.assignment["x1"])]
    assert "findings of traffic" in page.text
    assert "bound" not in page.text


def test_a_run_that_went_wrong_says_why() -> None:
    stopped = Page(simulate(chain(8), "adopt", max_messages=40)._repr_html_())
    assert "timeout" in stopped.words
    assert stopped.row("ended by") == ["max_messages"]
    lost = Page(simulate(chain(), "synchbb", network="unit+loss:1")._repr_html_())
    assert "deadlock: x" in lost.text
    assert lost.row("network") == ["1 lost"]


def test_a_bound_is_shown_where_it_is_not_the_cost() -> None:
    stopped = simulate(chain(8), "adopt", max_messages=40)
    assert stopped.bound not in (None, stopped.cost)
    assert Page(stopped._repr_html_()).row("bound") == [str(stopped.bound)]


def test_cost_over_time_is_drawn_of_a_bounded_part(monkeypatch: pytest.MonkeyPatch) -> None:
    result = simulate(chain(6), "dsa", seed=1, rounds=20)
    assert len(result.cost_over_time()) > 2
    whole = Page(result._repr_html_())
    assert "cost of the joint assignment over time" in whole.text
    assert "changes of value" not in whole.text
    monkeypatch.setattr(display, "MOST_CHANGES", 8)
    assert f"the first 8 of {len(result.values)} changes of value" in Page(result._repr_html_()).text


def test_a_log_shows_what_became_of_messages() -> None:
    result = simulate(chain(), "adopt", seed=1, network="unit+loss:.3+duplicate:.3", max_messages=200)
    fates = result.log.summary()["fates"]
    page = Page(result.log._repr_html_())
    assert fates
    for fate, count in fates.items():
        assert page.row(fate) == [str(count)]


def test_a_log_shows_its_header_counts_and_first_deliveries(tmp_path: Path) -> None:
    path = tmp_path / "run.amlog"
    result = simulate(chain(), "synchbb", seed=5, network="uniform:1,3", log=path, observers=["traffic"])
    page = Page(open_log(path)._repr_html_())
    assert "whole" in page.words
    assert page.row("ended") == ["optimal, cost 1"]
    assert page.row("network") == ["uniform:1,3"]
    assert page.row("all") == [str(sum(open_log(path).summary()["by_type"].values()))]
    assert "findings of traffic" in page.text
    assert str(tmp_path) not in page.text
    assert Page(result.log._repr_html_()).text == page.text

    data = path.read_bytes()
    path.write_bytes(data[:-30])
    assert {"cut", "log of synchbb on chain: "} <= set(Page(open_log(path)._repr_html_()).words)
    path.write_bytes(data[:40])
    assert "cut off within its header" in Page(open_log(path)._repr_html_()).text
    path.write_bytes(data[:-5] + b"?" + data[-4:])
    assert "block content fails its checksum" in Page(open_log(path)._repr_html_()).text
    path.write_bytes(data[:30] + b"?" + data[31:])
    assert "damaged" in Page(open_log(path)._repr_html_()).words


def test_showing_a_log_reads_a_bounded_part_and_leaves_the_reader_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.amlog"
    simulate(chain(5), "adopt", log=path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 20_000_000_000)  # sparse; reading on would find nothing but damage
    monkeypatch.setattr(display, "MOST_RECORDS", 30)
    log = open_log(path)
    deliveries = iter(log)
    next(deliveries)
    before = log.whole, log.cut_off
    page = Page(log._repr_html_())
    assert "read in part" in page.words
    assert f"only the first 30 records of this log of {path.stat().st_size:,} bytes were read" in page.text
    assert (log.whole, log.cut_off) == before
    assert next(deliveries).seq == 2
    path.unlink()
    assert log._repr_html_() is None


def test_a_log_of_large_payloads_is_read_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "MOST_LOG_BYTES", 100)
    assert "read in part" in Page(simulate(chain(4), "dpop").log._repr_html_()).words


def test_a_log_whose_header_makes_no_sense_is_shown_all_the_same() -> None:
    writer = LogWriter()
    strange: Any = {"a": [HOSTILE] * 100}
    keys = ("problem", "solver", "params", "seed", "network", "observers", "replaced", "gates", "nodes", "package")
    writer.header({key: strange for key in keys} | {"interceptors": HOSTILE, "params": {HOSTILE: strange}})
    writer.add(("finding", 0.0, HOSTILE, {HOSTILE: {HOSTILE: HOSTILE}}))
    for i in range(300):
        writer.add((i + 1, 0.0, float(i), 0, f"{i}{HOSTILE}", HOSTILE, f"{i % 50}{HOSTILE}", 1, 0, 0, b"?"))
    writer.add(("result", {"status": HOSTILE, "cost": [HOSTILE]}))
    writer.close()
    source = writer.source
    assert isinstance(source, bytes)
    page = Page(Log(source)._repr_html_())
    assert "its first 200 deliveries" in page.text
    assert "(10,0" in page.text


def test_hostile_names_stay_text_everywhere() -> None:
    names = [f"{i}{HOSTILE}" for i in range(3)]
    d = Domain(HOSTILE, (HOSTILE, "b", 2.5, True))
    problem = Problem.build(
        [Variable(v, d, agent=HOSTILE + v, unary=[1, math.inf, 0, 3]) for v in names],
        [Constraint(HOSTILE, tuple(names), np.zeros((4, 4, 4)))],
        name=HOSTILE,
    )
    observer = type("Hostile", (Told,), {"name": HOSTILE, "answer": {HOSTILE: {HOSTILE: [HOSTILE]}}})
    result = simulate(problem, "dsa", rounds=3, observers=[observer])
    for shown in (problem, result, result.log, replay(result.log, [observer], verify=True)):
        page = Page(shown._repr_html_())
        assert "<script>alert(1)</script>" in page.text
        assert f"({len(HOSTILE):,} characters)" in page.text


def test_everything_random_is_shown() -> None:
    rng = np.random.default_rng(11)
    for seed in range(15):
        problem = random_problem(rng)
        result = simulate(problem, "mgm", seed=seed, network="uniform:0,3")
        for shown in (problem, result, result.log):
            Page(shown._repr_html_())


def test_a_problem_of_nothing_is_shown() -> None:
    page = Page(Problem.build([], name="empty", constant=3, objective="max")._repr_html_())
    assert "no variables" in page.text
    assert page.row("objective") == ["maximise"]


def test_a_replay_says_whether_it_verified(tmp_path: Path) -> None:
    path = tmp_path / "run.amlog"
    simulate(chain(), "synchbb", log=path)
    page = Page(replay(path, ["traffic"], verify=True)._repr_html_())
    assert "verified" in page.words
    assert "findings of traffic" in page.text
    assert "observed" in Page(replay(path)._repr_html_()).words
    path.write_bytes(path.read_bytes()[:-10])
    assert "not complete" in Page(replay(path)._repr_html_()).text
    differs = ReplayResult({}, False, True, {"seq": 7, "agent": "x1", "expected": "FWD(1)", "got": "FWD(2)"}, 6)
    page = Page(differs._repr_html_())
    assert "not verified" in page.words
    assert page.row("expected") == ["FWD(1)"]


def test_a_replay_of_a_damaged_log_says_so(tmp_path: Path) -> None:
    path = tmp_path / "run.amlog"
    simulate(chain(), "synchbb", log=path)
    data = path.read_bytes()
    path.write_bytes(data[:-5] + b"?" + data[-4:])
    found = replay(path)
    page = Page(found._repr_html_())
    assert found.damaged is not None
    assert "damaged" in page.words
    assert found.damaged in page.text
