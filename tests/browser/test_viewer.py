"""The replay viewer in a real browser: playing, scrubbing, choosing, searching, hostile names, and what it may load."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import agentsim
from scenarios.reports.replay import replay_page
from scenarios.reports.trace import trace_of

keys = pytest.importorskip("selenium.webdriver.common.keys", reason="needs selenium (the dev tools)")
actions = pytest.importorskip("selenium.webdriver.common.action_chains")

PROBLEM = "scenarios/problems/meeting_of_two.yaml"
SCRIPT = "<script>window.hacked = 1</script>"
NAMES = [
    SCRIPT,
    "\"><img src=x onerror='window.hacked = 2'>",
    "n" * 10_000,
    "tab\tnull\0bell\x07\n\u202eevil\u2066",
    "${window.hacked = 3}'`\\",
    "-1",
]


class Page:
    """The viewer in the browser."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def run(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)

    def open(self, page: Path | str, width: int = 1400, height: int = 900) -> Page:
        self.resize(width, height)
        self.browser.get_log("browser")
        self.browser.get(page if isinstance(page, str) else page.as_uri())
        self.until("return document.documentElement.dataset.ready === 'true'")
        return self

    def resize(self, width: int, height: int) -> None:
        sizes = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sizes)

    def until(self, script: str, *arguments: Any) -> Any:
        """Wait until a script returns something true, at most a quarter of a minute."""
        end = time.monotonic() + 15
        while not (found := self.run(script, *arguments)):
            assert time.monotonic() < end, f"never came true: {script}"
            time.sleep(0.01)
        return found

    def settle(self) -> None:
        """Wait for what the last action changed to be drawn."""
        self.browser.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 90)))"
        )

    def click(self, element: str) -> None:
        self.browser.find_element("css selector", element).click()

    def press(self, *pressed: str) -> None:
        chain = actions.ActionChains(self.browser)
        for key in pressed:
            chain.send_keys(key)
        chain.perform()

    def text(self, element: str) -> str:
        return str(self.run("return document.querySelector(arguments[0]).textContent", element))

    @property
    def cursor(self) -> int:
        self.settle()
        return int(self.run("return document.getElementById('viewer').dataset.cursor"))

    def point(self, element: str, x: float, y: float, click: bool = True) -> None:
        """Move to, and click, a point of an element, from its left upper corner."""
        found = self.browser.find_element("css selector", element)
        size = found.size
        chain = actions.ActionChains(self.browser)
        chain.move_to_element_with_offset(found, round(x - size["width"] / 2), round(y - size["height"] / 2))
        (chain.click() if click else chain).perform()

    def complaints(self) -> list[str]:
        return [f"{entry['level']}: {entry['message']}" for entry in self.browser.get_log("browser")]


@pytest.fixture
def viewer(browser: Any) -> Iterator[Page]:
    """The browser; afterwards the console must be empty, and nothing may have been loaded from anywhere."""
    page = Page(browser)
    yield page
    assert page.complaints() == []
    loaded = page.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [name for name in loaded if not name.startswith("http://127.0.0.1:")] == []
    assert page.run("return window.hacked") is None


@pytest.fixture(scope="module")
def small(trace_page: Callable[..., Path]) -> Path:
    return trace_page(12, 600, text="treasure", notes=["the log was cut off"])


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, agentsim.Result]:
    """A run of ADOPT as `agentsim report` shows it."""
    folder = tmp_path_factory.mktemp("real")
    problem = agentsim.load(PROBLEM)
    result = agentsim.simulate(problem, "adopt", seed=1, network="uniform:1,10", log=folder / "run.amlog")
    (folder / "run.html").write_text(replay_page(trace_of(folder / "run.amlog")), encoding="utf-8")
    return folder / "run.html", result


def test_says_what_ran_and_how_it_ended(viewer: Page, small: Path) -> None:
    viewer.open(small)
    assert viewer.text("#run-name") == "made-up"
    facts = viewer.text("#run-facts")
    assert "solveradopt" in facts
    assert "networkuniform:1,10" in facts
    assert "statusoptimal" in facts
    assert "cost44" in facts
    assert viewer.text("#notes") == "the log was cut off"
    viewer.click("#tab-run")
    assert "NCCC10,200" in viewer.text("#pane-run")
    assert "agent1 restarts" in viewer.text("#marks")


def test_steps_and_jumps_by_buttons_and_keys(viewer: Page, small: Path) -> None:
    viewer.open(small)
    assert viewer.cursor == 0
    viewer.click("#step-forward")
    viewer.click("#step-forward")
    assert viewer.cursor == 2
    viewer.click("#step-back")
    assert viewer.cursor == 1
    viewer.click("#to-end")
    assert viewer.cursor == 600
    viewer.click("#to-start")
    assert viewer.cursor == 0
    viewer.run("document.activeElement.blur()")
    viewer.press(keys.Keys.ARROW_RIGHT, keys.Keys.ARROW_RIGHT, keys.Keys.ARROW_RIGHT, keys.Keys.ARROW_LEFT)
    assert viewer.cursor == 2
    viewer.press(keys.Keys.END)
    assert viewer.cursor == 600
    viewer.press(keys.Keys.HOME)
    assert viewer.cursor == 0
    viewer.press("/")
    assert viewer.run("return document.activeElement.id") == "find-text"
    viewer.press(keys.Keys.HOME, "n", " ")
    assert viewer.cursor == 0  # typed, not pressed
    assert viewer.run("return document.getElementById('find-text').value") == "n "


def test_plays_and_pauses(viewer: Page, small: Path) -> None:
    viewer.open(small)
    viewer.run("document.getElementById('speed').value = '300'")
    viewer.click("#play")
    assert viewer.run("return document.getElementById('play').getAttribute('aria-label')") == "Pause"
    viewer.until("return Viewer.app.cursor > 20")
    viewer.press(keys.Keys.SPACE)  # the button has the focus
    viewer.settle()
    there = viewer.cursor
    assert there > 20
    assert viewer.cursor == there
    viewer.run("document.activeElement.blur(); document.getElementById('speed').value = '5000'")
    viewer.press(keys.Keys.SPACE)
    viewer.until("return Viewer.app.cursor === 600 && !Viewer.app.playing")
    assert viewer.run("return document.getElementById('play').getAttribute('aria-label')") == "Play"


def test_every_moment_shows_the_state_that_the_events_make(viewer: Page, real: tuple[Path, agentsim.Result]) -> None:
    page, _ = real
    viewer.open(page)
    trace = trace_of(page.with_suffix(".amlog"))
    total = sum(len(increment["deliveries"]["at"]) for increment in trace.increments)
    for cursor in (0, 1, total // 3, total - 1, total):
        viewer.run(
            "const s = document.getElementById('scrub'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))",
            cursor,
        )
        viewer.settle()
        values: dict[int, int] = {}
        losses = dict.fromkeys(trace.head["leak"]["subjects"], 0.0)
        for increment in trace.increments:
            values |= {node: value for seq, _, node, value in increment["values"] if seq <= cursor}
            losses |= {agent: p for seq, agent, p in increment["losses"] if seq <= cursor}
        shown = viewer.run(
            "return [...document.querySelectorAll('.node')].map((n) => "
            "[n.querySelector('.node-value').textContent, n.dataset.leak === '' ? null : Number(n.dataset.leak)])"
        )
        nodes = trace.head["nodes"]
        assert [text for text, _ in shown] == [
            node["domain"][values[i]] if i in values else "" for i, node in enumerate(nodes)
        ]
        assert [leak for _, leak in shown] == [losses.get(node["agent"]) for node in nodes]


def test_a_chosen_agent_shows_values_mailbox_and_beliefs(viewer: Page, small: Path) -> None:
    viewer.open(small)
    viewer.run("Viewer.app.seek(400)")
    viewer.click('.node[data-agent="5"] circle')
    viewer.settle()
    assert viewer.text("#agent-name") == "agent5"
    assert viewer.run("return document.getElementById('agent-choice').value") == "5"
    expected = viewer.run(
        "const t = Viewer.app.trace, found = []; for (let i = 0; i < 400; i++) "
        "if (t.dst.data[i] === 5) found.push(String(i)); return found.reverse()"
    )
    assert viewer.text("#mailbox-count") == f"{len(expected)} received"
    rows = viewer.run("return [...document.querySelectorAll('#mailbox .row')].map((row) => row.dataset.delivery)")
    assert 5 < len(rows) <= len(expected)
    assert rows == expected[: len(rows)]
    # What is believed of x5 is what was last said of it, and only what others than it believe.
    table = viewer.run(
        "return [...document.querySelectorAll('#beliefs-about tbody tr')].map((row) => "
        "[Number(row.dataset.viewer), [...row.querySelectorAll('td')].map((cell) => cell.firstChild.textContent)])"
    )
    beliefs = viewer.run(
        "return [...Viewer.app.trace.beliefs].filter(([key]) => key.endsWith(' 5')).map(([key, values]) => "
        "[Number(key.split(' ')[0]), [0, 1, 2, 3].map((v) => values.get(v)?.at(400) ?? null)])"
    )
    in_words = {
        viewer_: ["?" if b is None or b == [1, 10] else _levels(b) for b in bounds] for viewer_, bounds in beliefs
    }
    assert dict(table) == in_words
    assert len(in_words) > 1
    # What it believes itself is of others.
    own = viewer.run(
        "return [...document.querySelectorAll('#beliefs-of tbody tr')].map("
        "(row) => `${row.dataset.viewer} ${row.dataset.node}`)"
    )
    assert sorted(own) == sorted(
        viewer.run("return [...Viewer.app.trace.beliefs.keys()].filter((k) => k.startsWith('5 '))")
    )
    assert own


def test_a_belief_about_some_value_is_told_as_such(viewer: Page, trace_page: Callable[..., Path]) -> None:
    viewer.open(trace_page(4, 40))
    viewer.run(
        "const none = []; Viewer.app.trace.add({ deliveries: { seq0: 41, sent: none, at: none, step: none, src: none, "
        "dst: none, type: none, n: none, copy: none, bytes: none, stamp: none }, values: none, losses: none, "
        "aggregates: none, fates: none, marks: none, beliefs: [[3, 1, 0, -1, 1, 4], [9, 1, 0, -1, 1, 2]] }, null);"
        "Viewer.app.grown(); Viewer.app.chooseAgent(0)"
    )
    told = {2: "?", 5: "≤ 3", 20: "≤ 1"}
    for at, expected in told.items():
        viewer.run("Viewer.app.seek(arguments[0])", at)
        viewer.settle()
        cell = 'return document.querySelector(\'#beliefs-about tr[data-viewer="1"] td[data-value="-1"]\').textContent'
        assert viewer.run(cell) == expected
    assert viewer.run("return document.querySelector('#beliefs-about tr').children[1].textContent") == "some"


def _levels(belief: list[int]) -> str:
    low, high = (level - 1 for level in belief)
    return str(low) if low == high else f"{low}–{high}"


def test_a_chosen_delivery_shows_its_payload_and_what_it_tells(viewer: Page, small: Path) -> None:
    viewer.open(small)
    i = viewer.run(
        "const t = Viewer.app.trace; for (let i = 200; ; i++) if (t.type.data[i] === 1) {"
        "Viewer.app.axis.show(t.at.data[i] - 20, t.at.data[i] + 3); return i; }"
    )
    viewer.settle()
    x, y = viewer.run(
        "const lanes = Viewer.app.parts[1], t = Viewer.app.trace, i = arguments[0];"
        "return [Viewer.app.axis.px(t.at.data[i]) - 0.5, lanes.lane(t.agentOf(t.dst.data[i]))]",
        i,
    )
    viewer.point("#lanes", x, y, click=False)
    viewer.until("return !document.getElementById('tooltip').hidden")
    assert f"delivery {i + 1}," in viewer.text("#tooltip")
    viewer.point("#lanes", x, y)
    viewer.until("return document.getElementById('payload')?.dataset.of === String(arguments[0])", i)
    assert viewer.cursor == i + 1
    assert viewer.text("#delivery-type") == "COST"
    assert viewer.text("#delivery-number") == str(i + 1)
    payload = viewer.text("#payload")
    assert "upper: “inf”" in payload
    assert "int64 array 10 × 10" in payload
    assert "and 36 more" in payload
    assert "the own cost of x" in viewer.text("#said")
    channel = viewer.run("return [-1, 1].map((way) => Viewer.app.trace.alongChannel(arguments[0], way))", i)
    ends = viewer.run("const t = Viewer.app.trace; return [t.src.data[arguments[0]], t.dst.data[arguments[0]]]", i)
    viewer.click("#channel-next")
    viewer.settle()
    assert viewer.text("#delivery-number") == str(channel[1] + 1)
    assert channel[0] < i < channel[1]
    for other in channel:
        assert viewer.run(
            "const t = Viewer.app.trace; return [t.src.data[arguments[0]], t.dst.data[arguments[0]]]", other
        ) == (ends if other >= 0 else [None, None])


def test_finds_by_agent_type_and_text(viewer: Page, small: Path) -> None:
    viewer.open(small)
    viewer.click("#tab-find")
    count = "const t = Viewer.app.trace; let n = 0; for (let i = 0; i < t.count; i++) if ({}) n++; return n"
    viewer.run("const s = document.getElementById('find-type'); s.value = 1; s.dispatchEvent(new Event('change'))")
    wanted = viewer.run(count.format("t.type.data[i] === 1"))
    viewer.until("return document.getElementById('find-count').dataset.count === String(arguments[0])", wanted)
    viewer.run("const s = document.getElementById('find-agent'); s.value = 3; s.dispatchEvent(new Event('change'))")
    wanted = viewer.run(count.format("t.type.data[i] === 1 && (t.src.data[i] === 3 || t.dst.data[i] === 3)"))
    viewer.until("return document.getElementById('find-count').dataset.count === String(arguments[0])", wanted)
    assert wanted > 5
    viewer.run("for (const id of ['find-type', 'find-agent']) document.getElementById(id).value = -1")
    viewer.browser.find_element("id", "find-text").send_keys("Treasure", keys.Keys.ENTER)
    viewer.until("const s = document.getElementById('find-count').dataset; return s.done === 'true' && s.count < 61")
    matches = viewer.run("return Viewer.app.matches")
    assert matches
    assert all((i + 1) % 10 == 0 for i in matches)
    viewer.click("#find-next")
    assert viewer.cursor == matches[0] + 1
    viewer.click("#find-next")
    assert viewer.cursor == matches[1] + 1
    viewer.click("#find-previous")
    viewer.click("#find-previous")
    assert viewer.cursor == matches[-1] + 1  # around the start
    assert viewer.run("return document.querySelector('#find-results .chosen').dataset.delivery") == str(matches[-1])
    viewer.browser.find_element("id", "find-text").send_keys("no such text", keys.Keys.ENTER)
    viewer.until("return document.getElementById('find-count').dataset.count === '0'")


def test_switches_to_the_tree_and_zooms(viewer: Page, small: Path) -> None:
    viewer.open(small)
    before = viewer.run("return document.querySelectorAll('.edge').length")
    viewer.click("#show-tree")
    viewer.until("return document.getElementById('graph').dataset.shape === 'tree'")
    assert viewer.run("return document.querySelectorAll('.edge.tree').length") == 11
    assert viewer.run("return document.querySelectorAll('.edge.pseudo').length") == 2
    viewer.click("#show-graph")
    viewer.until("return document.querySelectorAll('.edge').length === arguments[0]", before)
    whole = viewer.run("return Viewer.app.axis.view")
    viewer.click("#zoom-in")
    viewer.press("+")
    narrow = viewer.run("return Viewer.app.axis.view")
    assert narrow[1] - narrow[0] == pytest.approx((whole[1] - whole[0]) / 4)
    viewer.click("#zoom-fit")
    assert viewer.run("return Viewer.app.axis.view") == pytest.approx(whole)
    viewer.click("#axis-order")
    viewer.settle()
    assert viewer.run("return Viewer.app.axis.extent()") == [0, 600]
    viewer.point("#lanes", viewer.run("return Viewer.app.axis.px(150)"), 12)  # on the ruler
    assert abs(viewer.cursor - 150) <= 1


def test_themes_change_every_colour(viewer: Page, small: Path) -> None:
    viewer.open(small)

    def brightness() -> list[float]:
        viewer.settle()
        return viewer.run(
            "return ['background', 'text'].map((t) => d3.lab(Viewer.app.palette.token(t)).l)"
            ".concat([d3.lab(getComputedStyle(document.body).backgroundColor).l])"
        )

    viewer.click("#theme")
    assert viewer.text("#theme") == "Dark"
    background, text, body = brightness()
    assert background == body < 15
    assert text > 85
    viewer.click("#theme")
    assert viewer.text("#theme") == "Light"
    background, text, body = brightness()
    assert background == body > 90
    assert text < 20
    viewer.click("#theme")
    assert viewer.text("#theme") == "Auto"


@pytest.mark.parametrize("width", [1400, 700])
def test_hostile_names_are_text_and_break_nothing(viewer: Page, trace_page: Callable[..., Path], width: int) -> None:
    page = trace_page(
        NAMES,
        80,
        text=SCRIPT,
        name=SCRIPT * 30,
        notes=[SCRIPT],
        network="x" * 10_000,
        types=[SCRIPT, "COST" * 3000, "T\0", "__proto__"],
    )
    viewer.open(page, width)
    viewer.run("Viewer.app.seek(60); Viewer.app.chooseAgent(0)")
    viewer.settle()
    assert viewer.text("#agent-name") == SCRIPT
    assert viewer.text("#notes") == SCRIPT
    for agent in range(len(NAMES)):
        viewer.run("Viewer.app.chooseAgent(arguments[0])", agent)
        viewer.settle()
        name = viewer.text("#agent-name")
        assert 1 <= len(name) <= 200
        assert "\u202e" not in name
        assert "\0" not in name
        assert "\n" not in name
    for i in (9, 19, 40):
        viewer.run("Viewer.app.chooseDelivery(arguments[0])", i)
        viewer.until("return document.getElementById('payload').dataset.of === String(arguments[0])", i)
    viewer.run("Viewer.app.openTab('run')")
    viewer.run("document.getElementById('find-text').value = 'hacked'; Viewer.app.finder.open()")
    viewer.press(keys.Keys.ENTER)
    viewer.until("return document.getElementById('find-count').dataset.done === 'true'")
    for tab in ("agent", "delivery", "find", "run"):
        viewer.run("Viewer.app.openTab(arguments[0])", tab)
        viewer.settle()
        across, room = viewer.run("const root = document.documentElement; return [root.scrollWidth, innerWidth]")
        assert across <= room == width
        assert viewer.run("return document.querySelectorAll('img, #viewer script, iframe').length") == 0


def test_a_hundred_thousand_deliveries(viewer: Page, trace_page: Callable[..., Path]) -> None:
    viewer.open(trace_page(30, 4096, times=25))
    assert viewer.run("return document.getElementById('lanes').dataset.drawing") == "density"
    opened = viewer.run("return performance.getEntriesByName('agentsim-ready')[0].startTime")
    viewer.run("Viewer.app.chooseAgent(7)")
    viewer.settle()
    work = viewer.browser.execute_async_script(
        "const done = arguments[0], s = document.getElementById('scrub'); let k = 0; Viewer.app.frames.length = 0;"
        "const next = () => { if (k++ === 80) { done(Viewer.app.frames); return; }"
        "s.value = k * 1250; s.dispatchEvent(new Event('input')); requestAnimationFrame(next); }; next();"
    )
    print(
        f"opened in {opened:.0f} ms; a scrubbed frame: median {sorted(work)[len(work) // 2]:.1f}, worst {max(work):.1f}"
    )
    assert viewer.cursor == 100_000
    assert viewer.run("return Viewer.app.trace.count") == 25 * 4096
    assert viewer.run("return Viewer.app.trace.timeAt(50_000) === Viewer.app.trace.at.data[49_999]")
    viewer.run("Viewer.app.axis.show(1000, 1100)")
    viewer.settle()
    assert viewer.run("return document.getElementById('lanes').dataset.drawing") == "lines"
    assert viewer.run("return Viewer.app.trace.details.open.size") == 0  # nothing unpacked that nobody asked for
    viewer.run("Viewer.app.chooseDelivery(77_777)")
    viewer.until("return document.getElementById('payload')?.dataset.of === '77777'")


@pytest.mark.parametrize("deliveries", [0, 1])
def test_almost_nothing_to_show(viewer: Page, trace_page: Callable[..., Path], deliveries: int) -> None:
    viewer.open(trace_page(2, deliveries, places=None, leak=None, leak_note="no reader here"))
    viewer.press(keys.Keys.END, keys.Keys.ARROW_RIGHT, "+", "-", "0")
    assert viewer.cursor == deliveries
    viewer.run("Viewer.app.chooseAgent(1)")
    viewer.settle()
    assert "not analysed" in viewer.text("#agent-loss")
    assert viewer.text("#leak-note") == "no reader here"
    assert not viewer.browser.find_element("id", "show-tree").is_enabled()


def test_a_part_of_a_log_says_so_and_shows_nothing_of_what_comes_later(
    viewer: Page, tmp_path: Path, real: tuple[Path, agentsim.Result]
) -> None:
    log, page = real[0].with_name("run.amlog"), tmp_path / "part.html"
    page.write_text(replay_page(trace_of(log, first=4, most=3)), encoding="utf-8")
    viewer.open(page)
    assert viewer.text("#clock-delivery") == "before 4 of 6"
    assert viewer.run("return Viewer.app.trace.partial()") is True
    viewer.run("Viewer.app.trace.add({ losses: [[6, 0, 0.25], [7, 0, 0.75]], aggregates: [[7, [0.5, 0.75]]] }, null)")
    assert viewer.run("return Viewer.app.trace.losses[0].values.at(-1)") == 0.25
    assert viewer.run("return Viewer.app.trace.maxLoss") < 0.75


def test_what_a_network_would_do_after_the_run_does_not_stretch_the_picture(viewer: Page, small: Path) -> None:
    viewer.open(small)
    end = viewer.run("return Viewer.app.trace.lastTime")
    fates = [[600, 9 * end, "retransmitted", 0, 1, 0, 1, ""], [600, end + 1, "dropped", 0, 1, 0, 2, "loss"]]
    viewer.run("Viewer.app.trace.add({ fates: arguments[0] }, null); Viewer.app.grown()", fates)
    assert viewer.run("return Viewer.app.axis.extent()")[1] == end + 1
    assert viewer.run("return Viewer.number(-1e300)") == "−1.000e+300"


# A run that goes on --------------------------------------------------------------------------------------------


def test_a_live_page_grows_and_follows_the_end(viewer: Page, serving: Callable[[], Any]) -> None:
    with serving() as server:
        viewer.open(f"http://127.0.0.1:{server.server_port}/token/")
        assert viewer.text("#live-state") == "live"
        assert viewer.cursor == 0
        server.given = 1
        viewer.until("return Viewer.app.cursor === 4096")
        viewer.click("#step-back")
        assert viewer.run("return document.getElementById('follow').getAttribute('aria-pressed')") == "false"
        server.given = 2
        viewer.until("return Viewer.app.trace.count === 8192")
        assert viewer.cursor == 4095
        viewer.run("Viewer.app.trace.head.window.to = 8192")
        viewer.until("return document.getElementById('live-state').textContent.includes('the first 8,192')")
        viewer.click("#follow")
        assert viewer.cursor == 8192
        viewer.run("Viewer.app.chooseDelivery(8000)")
        viewer.until("return document.getElementById('payload')?.dataset.of === '8000'")
        server.given, server.ended = 3, True
        viewer.until("return document.getElementById('live-state').dataset.live === 'ended'")
        viewer.settle()
        assert viewer.run("return Viewer.app.trace.count") == 9000
        assert "statusoptimal" in viewer.text("#run-facts")


def test_a_live_page_says_when_its_server_is_gone(viewer: Page, serving: Callable[[], Any]) -> None:
    with serving() as server:
        viewer.open(f"http://127.0.0.1:{server.server_port}/token/")
    viewer.until("return document.getElementById('live-state').dataset.live === 'lost'")
    assert viewer.text("#live-state") == "connection lost, trying again"
    # The browser itself reports the failed request; the page does not.
    assert all("ERR_CONNECTION_REFUSED" in complaint for complaint in viewer.complaints())


# The page as users get it --------------------------------------------------------------------------------------


def test_the_real_page_from_a_real_run(viewer: Page, real: tuple[Path, agentsim.Result]) -> None:
    page, result = real
    viewer.open(page)
    assert f"status{result.status}" in viewer.text("#run-facts")
    viewer.click("#to-end")
    values = viewer.run(
        "return Object.fromEntries(Viewer.app.trace.head.nodes.map((node, i) => "
        "[node.name, document.querySelectorAll('.node-value')[i].textContent]))"
    )
    # A variable that two agents care about has a node for each.
    assert values.items() >= {name: str(value) for name, value in result.assignment.items()}.items()
    said = viewer.run(
        "return Promise.all(d3.range(Viewer.app.trace.count).map((i) => Viewer.app.trace.details.of(i)))"
        ".then((all) => all.map(([payload, said]) => said).flat())"
    )
    assert any("at most" in sentence for sentence in said)
    viewer.click("#show-tree")
    viewer.settle()
    viewer.run("Viewer.app.chooseAgent(0)")
    viewer.settle()
    assert viewer.text("#agent-name") in {variable.agent for variable in agentsim.load(PROBLEM).variables.values()}


def test_the_program_without_data_is_small(trace_page: Callable[..., Path]) -> None:
    assert trace_page(1, 0).stat().st_size < 500_000
