"""A browser for the tests of pages, and traces made up for them.

Without Chromium the tests are skipped and say so; with AGENTSIM_BROWSER=required they fail instead.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import pytest

from scenarios.reports.page import packed, page, static
from scenarios.reports.replay import BODY, SCRIPTS, STYLES

REQUIRED = os.environ.get("AGENTSIM_BROWSER") == "required"
INCREMENT = 4096


def _program(*names: str) -> str | None:
    return next((found for found in map(shutil.which, names) if found), None)


def _without(what: str) -> NoReturn:
    if REQUIRED:
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One headless Chromium for all tests."""
    try:
        from selenium import webdriver
    except ImportError:
        _without("needs selenium, which is one of the dev tools")
    chromium = _program("chromium", "chromium-browser", "google-chrome")
    driver = _program("chromedriver")
    if chromium is None or driver is None:
        _without("needs Chromium and its driver; on Debian: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--force-device-scale-factor=1",
        "--window-size=1400,900",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.page_load_strategy = "normal"
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    started.set_script_timeout(30)
    yield started
    started.quit()


# Traces made up -------------------------------------------------------------------------------------------------


def made_head(agents: list[str], seed: int, **changes: Any) -> dict[str, Any]:
    """Return the head of a trace: a ring of agents with chords, a tree over them, four values each."""
    rng = random.Random(seed)
    count = len(agents)
    edges = [(i, (i + 1) % count) for i in range(count if count > 2 else count - 1)]
    edges += [tuple(sorted(rng.sample(range(count), 2))) for _ in range(count // 2) if count > 2]
    edges = sorted(set(edges))
    parents = [None if i == 0 else (i - 1) // 2 for i in range(count)]
    depth = [0] * count
    for i in range(1, count):
        depth[i] = depth[parents[i]] + 1
    level_sizes = {d: depth.count(d) for d in depth}
    placed: dict[int, int] = {}
    tree = []
    for i in range(count):
        k = placed[depth[i]] = placed.get(depth[i], -1) + 1
        tree.append([(k + 0.5) / level_sizes[depth[i]], depth[i] / max(1, *depth)])
    head: dict[str, Any] = {
        "version": 1,
        "package": "0.1.0",
        "name": "made-up",
        "solver": "adopt",
        "params": {"root": agents[0], "tree": "computed"},
        "seed": seed,
        "network": "uniform:1,10",
        "objective": "min",
        "live": False,
        "agents": agents,
        "nodes": [
            {
                "name": f"x{i}",
                "agent": i,
                "domain": ["red", "green", "blue", "yellow"],
                "scale": {"levels": 10, "labels": [str(k) for k in range(10)]},
            }
            for i in range(count)
        ],
        "edges": [{"name": f"c{k}", "scope": list(scope), "tie": k % 9 == 8} for k, scope in enumerate(edges)],
        "places": [
            {"node": i, "parent": parents[i], "pseudo": [0] if i % 5 == 4 else [], "depth": depth[i], "component": 0}
            for i in range(count)
        ],
        "layout": {
            "graph": [
                [0.5 + 0.5 * math.cos(2 * math.pi * i / count), 0.5 + 0.5 * math.sin(2 * math.pi * i / count)]
                for i in range(count)
            ],
            "tree": tree,
        },
        "types": ["VALUE", "COST", "THRESHOLD", "TERMINATE"],
        "fields": {"VALUE": ["value"], "COST": ["context", "lower", "upper"], "THRESHOLD": ["value"], "TERMINATE": []},
        "leak": {
            "rule": "tight",
            "metric": "shannon",
            "unit": "bits",
            "aggregators": ["average", "max", "min"],
            "subjects": list(range(1, count)),
        },
        "leak_note": None,
        "window": {"from": 1, "to": 0, "total": None},
        "notes": [],
    }
    return head | changes


def made_trace(
    agents: int | list[str], deliveries: int, *, seed: int = 1, text: str = "", **changes: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return head and increments of a run that never happened.

    Args:
        agents: their number or names.
        deliveries: how many.
        seed: of all that is random.
        text: put into every tenth payload and sentence.
        changes: of the head.
    """
    names = agents if isinstance(agents, list) else [f"agent{i}" for i in range(agents)]
    head = made_head(names, seed, **changes)
    rng = random.Random(seed)
    count = len(head["agents"])
    pairs = [tuple(e["scope"][:2]) for e in head["edges"]]
    pairs += [(b, a) for a, b in pairs]
    raw = []
    now = 0.0
    for i in range(deliveries):
        now += rng.expovariate(count / 5)
        src, dst = rng.choice(pairs)
        raw.append((round(now + rng.uniform(1, 10), 3), round(now, 3), src, dst, rng.choice((0, 0, 0, 1, 1, 2)), i))
    raw.sort()
    head["window"] = {"from": 1, "to": deliveries, "total": deliveries}
    increments = []
    beliefs: dict[tuple[int, int, int], list[int]] = {}
    losses = [0.0] * count
    for start in range(0, max(1, deliveries), INCREMENT):
        part = raw[start : start + INCREMENT]
        increment: dict[str, Any] = {
            "deliveries": {
                "seq0": start + 1,
                "sent": [sent for _, sent, *_ in part],
                "at": [at for at, *_ in part],
                "step": [0] * len(part),
                "src": [src for _, _, src, *_ in part],
                "dst": [dst for _, _, _, dst, *_ in part],
                "type": [kind for *_, kind, _ in part],
                "n": [n for *_, n in part],
                "copy": [0] * len(part),
                "bytes": [12 + 7 * kind for *_, kind, _ in part],
                "stamp": [start + k for k in range(len(part))],
            },
            "details": [],
            "values": [],
            "losses": [],
            "aggregates": [],
            "beliefs": [],
            "fates": [],
            "marks": [[1, 0.0, "agent1 restarts"]] if start == 0 else [],
        }
        for k, (at, _, src, dst, kind, _) in enumerate(part):
            seq = start + k + 1
            more = f" {text}" if text and seq % 10 == 0 else ""
            payload: dict[str, Any] = {"value": rng.choice(["red", "green"]) + more}
            if kind == 1:
                payload = {
                    "context": {"x0": "red", "x1": ["blue", 3, None]},
                    "lower": 3,
                    "upper": "inf",
                    "table": {"shape": [10, 10], "dtype": "int64", "first": [*range(64)]},
                }
            said = [f"the own cost of x{src} is at most {seq % 9}{more}"] if kind == 1 else []
            increment["details"].append([payload, said])
            if kind == 0:
                increment["values"].append([seq, at, src, rng.randrange(4)])
            if kind == 1 and src:
                value = rng.randrange(4)
                bounds = beliefs.setdefault((dst, src, value), [1, 10])
                if bounds[0] < bounds[1]:
                    bounds[rng.randrange(2)] += 0
                    bounds[1] = max(bounds[0], bounds[1] - rng.randrange(3))
                    increment["beliefs"].append([seq, dst, src, value, *bounds])
            if seq % 50 == 0:
                agent = rng.randrange(1, count) if count > 1 else 0
                losses[agent] = min(1.0, losses[agent] + (1 - losses[agent]) * rng.uniform(0, 0.1))
                increment["losses"].append([seq, agent, round(losses[agent], 4)])
                known = losses[1:] or [0.0]
                increment["aggregates"].append([seq, [round(sum(known) / len(known), 4), max(known), min(known)]])
            if seq % 211 == 0:
                increment["fates"].append([seq, at, "dropped", src, dst, kind, seq, "lost by the network"])
        increments.append(increment)
    increments[-1]["result"] = {
        "status": "optimal",
        "cost": 44,
        "bound": 44,
        "virtual_time": raw[-1][0] if raw else 0,
        "messages": deliveries,
        "bytes": 20 * deliveries,
        "nccc": 17 * deliveries,
        "limit": None,
    }
    return head, increments


def repeated(increments: list[dict[str, Any]], times: int) -> list[dict[str, Any]]:
    """Return increments so many times over, one after the other in number and time: much faster than making them."""
    count = sum(len(increment["deliveries"]["at"]) for increment in increments)
    span = increments[-1]["deliveries"]["at"][-1] if count else 0.0
    found = []
    for k in range(times):
        for increment in increments:
            columns = increment["deliveries"]
            later = dict(increment)
            later["deliveries"] = columns | {
                "seq0": columns["seq0"] + k * count,
                "sent": [time + k * span for time in columns["sent"]],
                "at": [time + k * span for time in columns["at"]],
            }
            for events in ("losses", "aggregates", "beliefs"):
                later[events] = [[seq + k * count, *rest] for seq, *rest in increment[events]]
            for events in ("values", "fates", "marks"):
                later[events] = [[seq + k * count, at + k * span, *rest] for seq, at, *rest in increment[events]]
            found.append(later)
    return found


def made_page(head: dict[str, Any], increments: list[dict[str, Any]], connects: bool = False) -> str:
    """Return the viewer's page with a trace inside."""
    data = {"head": packed(head)}
    for k, increment in enumerate(increments):
        data[f"core-{k}"] = packed({name: part for name, part in increment.items() if name != "details"})
        data[f"details-{k}"] = packed(increment["details"])
    scripts = [*map(static, SCRIPTS)]
    styles = [*map(static, STYLES)]
    return page("a replay", scripts, styles, data, body=static(BODY), connects=connects)


@pytest.fixture(scope="session")
def trace_page(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes a page with a made-up trace: as `made_trace`, so many times over."""
    folder = tmp_path_factory.mktemp("pages")

    def write(*arguments: Any, times: int = 1, **options: Any) -> Path:
        head, increments = made_trace(*arguments, **options)
        target = folder / f"{len([*folder.iterdir()])}.html"
        target.write_text(made_page(head, repeated(increments, times)), encoding="utf-8")
        return target

    return write


# A run that goes on ------------------------------------------------------------------------------------------


class Served(ThreadingHTTPServer):
    """What `agentsim solve --live` does, with increments that the test hands out."""

    page: str
    head: dict[str, Any]
    increments: list[dict[str, Any]]
    ended = False
    given = 0


class _Answers(BaseHTTPRequestHandler):
    server: Served

    def do_GET(self) -> None:
        served = self.server
        if self.path == "/token/":
            self._answer(served.page.encode(), "text/html; charset=utf-8")
        elif self.path == "/token/head":
            self._answer(packed(served.head), "application/json")
        elif self.path.startswith("/token/trace?after="):
            after = int(self.path.partition("=")[2])
            given = served.given
            answer = {"increments": served.increments[after:given], "next": given}
            ended = served.ended and given == len(served.increments)
            self._answer(json.dumps({**answer, "ended": ended}).encode(), "application/json")
        else:
            self._answer(b"", "text/plain")

    def _answer(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def _serving(page: str, head: dict[str, Any], increments: list[dict[str, Any]]) -> Iterator[Served]:
    server = Served(("127.0.0.1", 0), _Answers)
    server.page, server.head, server.increments = page, head, increments
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="session")
def serving() -> Callable[[], Any]:
    """Return a function that serves, within a `with`, a page without data and three increments of a made-up run."""
    head, increments = made_trace(8, 9000, live=True)
    page = made_page({**head, "window": {"from": 1, "to": 0, "total": None}}, [], connects=True)
    return lambda: _serving(page, head, increments)
