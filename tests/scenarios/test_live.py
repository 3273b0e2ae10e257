"""`solve --live`: the page of a run that goes on says what its log will say, to whoever has the address."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from agentsim import Problem, simulate
from scenarios.cli import main
from scenarios.commands import solve as solve_command
from scenarios.demo import shipped_problem
from scenarios.reports.live import LivePage
from scenarios.reports.trace import trace_of

NETWORK = "uniform:1,10+loss:.1+reliable"
EVENTS = ("values", "losses", "aggregates", "beliefs", "fates", "marks")


def ask(page: LivePage, what: str = "", *, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    url = urlsplit(page.address)
    assert url.hostname is not None
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    try:
        connection.request(method, what if what.startswith("/") else url.path + what, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def follow(page: LivePage, found: list[dict[str, Any]]) -> None:
    """Ask like a page does, until the run has ended."""
    after, ended = 0, False
    while not ended:
        status, content, _ = ask(page, f"trace?after={after}")
        assert status == 200
        answer = json.loads(content)
        found += answer["increments"]
        after, ended = answer["next"], answer["ended"]


def joined(increments: list[dict[str, Any]]) -> dict[str, Any]:
    """Put increments together, however they were cut."""
    whole: dict[str, Any] = {"details": [], **{name: [] for name in EVENTS}}
    columns: dict[str, list[Any]] = {}
    expected = None
    for increment in increments:
        deliveries = dict(increment["deliveries"])
        first = deliveries.pop("seq0")
        if increment["details"]:
            assert expected in (None, first), "no delivery is missing or doubled between increments"
            expected = first + len(increment["details"])
        for name, values in deliveries.items():
            columns.setdefault(name, []).extend(values)
        for name in ("details", *EVENTS):
            whole[name] += increment[name]
        whole |= {"result": increment["result"]} if "result" in increment else {}
    return {**whole, "deliveries": columns}


@pytest.fixture(scope="module")
def problem() -> Problem:
    return shipped_problem()


@pytest.fixture
def page() -> Iterator[LivePage]:
    with LivePage() as page:
        yield page


def test_what_is_served_while_a_run_goes_on_is_what_its_log_says(
    problem: Problem, page: LivePage, tmp_path: Path
) -> None:
    """Two pages ask at their own pace, one of them only when all is over; the log is as without them."""
    found: list[dict[str, Any]] = []
    asking = threading.Thread(target=follow, args=(page, found))
    asking.start()
    options: dict[str, Any] = {"seed": 3, "network": NETWORK, "max_messages": 4500}
    live = tmp_path / "live.amlog"
    simulate(problem, "adopt", log=live, observers=["vps", page.observer()], **options)
    asking.join(60)
    late: list[dict[str, Any]] = []
    follow(page, late)
    plain = tmp_path / "plain.amlog"
    simulate(problem, "adopt", log=plain, observers=["vps"], **options)
    assert live.read_bytes() == plain.read_bytes()

    trace = trace_of(plain)
    expected = joined(trace.increments)
    assert len(expected["details"]) > 4096
    assert expected["losses"]
    assert expected["fates"]
    for increments in (found, late):
        seen = json.loads(json.dumps(joined(increments)))
        assert seen == json.loads(json.dumps(expected))
    head = json.loads(ask(page, "head")[1])
    assert head.pop("live") is True
    offline = json.loads(json.dumps(trace.head))
    assert offline.pop("live") is False
    assert head == offline


def test_only_who_has_the_address_is_answered_and_nothing_can_be_changed(problem: Problem, page: LivePage) -> None:
    simulate(problem, "dpop", observers=[page.observer()])
    url = urlsplit(page.address)
    assert url.hostname == "127.0.0.1"
    assert len(url.path) > 24
    status, content, headers = ask(page)
    assert status == 200
    assert headers["Content-Type"].startswith("text/html")
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert b"connect-src 'self'" in content
    assert "Access-Control-Allow-Origin" not in headers
    for what in ("/", "/head", "/trace?after=0", url.path[:-2] + "/", url.path[:-1] + "x/head", url.path.rstrip("/")):
        assert ask(page, what)[0] == 404, what
    for what in ("other", "../", "head/", "static/viewer.js"):
        assert ask(page, what)[0] == 404, what
    for host in ("example.org", f"example.org:{url.port}", "127.0.0.1", f"127.0.0.1.example.org:{url.port}"):
        assert ask(page, "head", Host=host)[0] == 403, host
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        assert ask(page, method=method)[0] == 501, method
    status, content, headers = ask(page, "head", method="HEAD")
    assert (status, content) == (200, b"")
    assert int(headers["Content-Length"]) > 100


@pytest.mark.parametrize("after", ["-1", "x", "", "1e3", "٣", "9" * 12])
def test_a_question_that_makes_no_sense_is_refused(problem: Problem, page: LivePage, after: str) -> None:
    from urllib.parse import quote

    simulate(problem, "dpop", observers=[page.observer()])
    expected = 200 if after == "" else 400  # parse_qs leaves an empty value out: from the first one on
    assert ask(page, f"trace?after={quote(after)}")[0] == expected


def test_a_page_that_knows_more_than_there_is_gets_nothing(problem: Problem, page: LivePage) -> None:
    simulate(problem, "dpop", observers=[page.observer()])
    answer = json.loads(ask(page, "trace?after=1000")[1])
    assert answer["increments"] == []
    assert answer["ended"] is True


def test_the_server_is_gone_with_its_context() -> None:
    with LivePage() as page, LivePage() as other:
        assert ask(page)[0] == 200
        assert urlsplit(page.address).path != urlsplit(other.address).path
    with pytest.raises(ConnectionError):
        ask(page)


def test_the_command_says_where_shows_whose_leakage_was_asked_for_and_prints_as_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    heads: list[dict[str, Any]] = []

    def look(page: LivePage, seconds: float) -> None:
        assert seconds > 0
        heads.append(json.loads(ask(page, "head")[1]))

    monkeypatch.setattr(LivePage, "linger", look)
    source = Path(solve_command.__file__).parents[1] / "problems" / "meetings.yaml"
    arguments = ["solve", str(source), "--algo", "dpop", "--observe", "vps:rule=exact", "--json"]
    plain = CliRunner().invoke(main, arguments)
    shown = CliRunner().invoke(main, [*arguments, "--live"])
    assert plain.exit_code == shown.exit_code == 0
    assert shown.stderr.startswith("live: http://127.0.0.1:")
    assert heads[0]["leak"]["rule"] == "exact"
    a, b = json.loads(plain.stdout), json.loads(shown.stdout)
    for answer in (a, b):
        del answer["wall_time"], answer["startup_time"]
    assert a == b


def test_it_lingers_while_somebody_asks(page: LivePage) -> None:
    """No time is measured: the page is asked from within, and the last word comes after the last question."""
    asked: list[int] = []
    stop = threading.Event()

    def visitor() -> None:
        for _ in range(5):
            asked.append(ask(page)[0])
            stop.wait(0.05)

    visiting = threading.Thread(target=visitor)
    visiting.start()
    page.linger(0.5)
    assert len(asked) == 5
    visiting.join()
