"""A page is one file that needs nothing else, runs nothing but its own scripts, and takes data for data."""

import base64
import hashlib
import html
import json
import re
import zlib
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agentsim import Constraint, Domain, Problem, UserError, Variable, simulate
from scenarios.reports.page import GENERATOR, address, packed, page, static, write_page
from scenarios.reports.replay import BODY, SCRIPTS, STYLES, replay_page, viewer_page
from scenarios.reports.trace import trace_of

HOSTILE = """</script><script>alert(1)</script>"'&<img src=x onerror=alert(2)><!--"""


class Parsed(HTMLParser):
    """The elements of a page: (name, attributes, text)."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None], str]] = []
        self.open = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), ""))
        self.open = True

    def handle_endtag(self, tag: str) -> None:
        self.open = False

    def handle_data(self, data: str) -> None:
        if self.open:
            tag, attributes, text = self.elements[-1]
            self.elements[-1] = (tag, attributes, text + data)

    def all(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attributes, text) for name, attributes, text in self.elements if name == tag]

    @property
    def scripts(self) -> list[str]:
        return [text for attributes, text in self.all("script") if "type" not in attributes]

    @property
    def data(self) -> dict[str, bytes]:
        return {
            str(attributes["id"]): zlib.decompress(base64.b64decode(text, validate=True))
            for attributes, text in self.all("script")
            if attributes.get("type") == "application/octet-stream"
        }

    @property
    def policy(self) -> dict[str, list[str]]:
        (content,) = [a["content"] for a, _ in self.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
        return {part.split()[0]: part.split()[1:] for part in str(content).split(";")}


def hostile_page() -> str:
    d = Domain("d", (HOSTILE, "x" * 10_000))
    names = (HOSTILE, "y" * 10_000, "\u202eright to left\x00\x1b[31m")
    problem = Problem.build(
        [Variable(n, d, f"{n}'s", unary=[1, 2]) for n in names],
        [Constraint(f"{a}{b}", (a, b), [[1, 0], [0, 1]]) for a, b in pairwise(names)],
        name=HOSTILE,
    )
    return replay_page(trace_of(simulate(problem, "dpop").log))


def test_only_its_own_scripts_may_run() -> None:
    text = page("t", ["let a = 1;\r\nlet b;", "f('é')"], ["p { color: red }"], {}, body="<p>hello</p>")
    parsed = Parsed(text)
    assert parsed.scripts == ["let a = 1;\nlet b;", "f('é')"]
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in parsed.scripts]
    assert parsed.policy == {
        "default-src": ["'none'"],
        "script-src": hashes,
        "style-src": ["'unsafe-inline'"],
        "img-src": ["data:", "blob:"],
        "connect-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    assert Parsed(page("t", [], [], {})).policy["script-src"] == ["'none'"]
    assert Parsed(viewer_page("t", {}, live=True)).policy["connect-src"] == ["'self'"]
    assert GENERATOR in text[:4096]


def test_data_comes_back_as_it_went_in() -> None:
    value = {"text": HOSTILE, "numbers": [1, 2.5, None], "wide": "ﬀ \U0001f600"}
    parsed = Parsed(page("t", [], [], {"head": packed(value), "core-0": bytes(range(256))}))
    assert json.loads(parsed.data["head"]) == value
    assert parsed.data["core-0"] == bytes(range(256))
    for bad in (float("inf"), float("nan")):
        with pytest.raises(ValueError, match="JSON"):
            packed([bad])


@pytest.mark.parametrize("text", ["a </SCRIPT> b", "a <!-- b", "a </style> b"])
def test_scripts_and_names_that_would_end_their_element_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="markup"):
        page("t", [text], [], {})
    with pytest.raises(ValueError, match="markup"):
        page("t", [], [text], {})
    with pytest.raises(ValueError, match="no name"):
        page("t", [], [], {text: b""})


def test_text_of_a_problem_is_never_markup() -> None:
    text = hostile_page()
    parsed = Parsed(text)
    markup = re.sub(r"(?s)<(script|style)[^>]*>.*?</\1>", "", text)
    assert "alert" not in html.unescape(markup).replace(parsed.all("title")[0][1], "")
    assert parsed.all("title")[0][1].startswith("</script><script>alert(1)")
    assert [s for s in parsed.scripts if "alert" in s] == []
    assert len(parsed.scripts) == len(SCRIPTS)
    assert parsed.all("img") == []
    head = json.loads(parsed.data["head"])
    assert head["nodes"][0]["name"] == head["name"] == HOSTILE
    assert head["nodes"][1]["name"] == "y" * 10_000


def test_the_viewer_is_whole_small_and_loads_nothing() -> None:
    text = viewer_page("t", {})
    assert len(text.encode()) < 2_000_000
    parsed = Parsed(text)
    assert parsed.scripts == [static(name) for name in SCRIPTS]
    for tag, attributes, _ in parsed.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base"), tag
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
    for name in (*SCRIPTS, *STYLES, BODY):
        own = static(name)
        allowed = r"https?://(www\.w3\.org/(1999|2000|XML)|d3js\.org)"
        strange = [url for url in re.findall(r"https?://[^\s\"'`)]+", own) if not re.match(allowed, url)]
        assert strange == [], name
        assert not re.search(r"@import|url\((?!data:)[^)#]", own), name
        if name not in ("d3.min.js",):
            assert not re.search(
                r"\beval\(|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write", own
            ), name


def test_a_trace_is_in_the_page_whole() -> None:
    trace = trace_of(simulate(Problem.build([Variable("a", Domain("d", (0, 1)), unary=[1, 2])], []), "adopt").log)
    parsed = Parsed(replay_page(trace))
    assert json.loads(parsed.data["head"]) == trace.head
    rebuilt: list[dict[str, Any]] = []
    for k in range(len(trace.increments)):
        core, details = json.loads(parsed.data[f"core-{k}"]), json.loads(parsed.data[f"details-{k}"])
        assert "details" not in core
        rebuilt.append({**core, "details": details})
    assert rebuilt == json.loads(json.dumps(trace.increments))
    assert len(parsed.data) == 1 + 2 * len(trace.increments)


# Files ---------------------------------------------------------------------------------------------------------


def test_pages_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a page.html"
    write_page(target, "one")
    write_page(target, "two é")
    assert target.read_text("utf-8") == "two é"
    link = tmp_path / "link.html"
    link.symlink_to(target)
    write_page(link, "three")
    assert (link.is_symlink(), target.read_text()) == (True, "three")
    with pytest.raises(UnicodeEncodeError):
        write_page(target, "\ud800")
    assert target.read_text() == "three"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a page.html", "link.html"]
    assert address(target) == f"file://{tmp_path}/a%20page.html"


def test_where_no_page_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        write_page(tmp_path / "no" / "page.html", "")
    with pytest.raises(UserError, match="it is not a file"):
        write_page(tmp_path, "")
    with pytest.raises(UserError, match="it is not a file"):
        write_page(Path("/dev/null"), "")
    with pytest.raises(UserError, match="cannot write the page: File name too long"):
        write_page(tmp_path / ("x" * 300), "")
