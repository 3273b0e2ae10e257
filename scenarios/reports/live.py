"""The replay viewer while the run goes on: a page on this machine, fed by a display among the observers.

The server listens on the loopback address alone, under an address that holds a random token; whoever does not know it
learns nothing, not even from a page elsewhere that the same browser shows (the Host header is checked, too). It
answers GET, and nothing can be changed through it::

    /TOKEN/                 the viewer's page
    /TOKEN/head             the trace's head, as by now
    /TOKEN/trace?after=K    {"increments": [...], "next": K', "ended": bool}: increments from number K on
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Final, Self
from urllib.parse import parse_qs, urlsplit

from agentsim.errors import UserError
from agentsim.runtime.observer import Observer, ObserverContext
from agentsim.runtime.simulate import ObserverLike
from scenarios.reports.replay import viewer_page
from scenarios.reports.trace import Tracer

HOST: Final = "127.0.0.1"
_MOST_INCREMENTS: Final = 8
"""In one answer: a page that comes late gets the rest with its next questions."""
_LOOK_S: Final = 0.05
"""How often the server looks whether it is to end."""
_PATIENCE_S: Final = 20.0
"""How long a page waits for a run that has not begun."""


class LivePage:
    """Serves the page of one run. A context manager: the server ends with it.

    Attributes:
        address: where the page is, token included; known once the context is entered.

    Raises:
        UserError: when it is entered: there is no port to listen on.
    """

    def __init__(self) -> None:
        self._token = secrets.token_urlsafe(24)
        self._began = threading.Event()
        self._tracer: Tracer | None = None
        self._asked_at = time.monotonic()

    def observer(self, observe: str | None = None) -> ObserverLike:
        """Return the display to attach to the run; `observe` is whose leakage to show, `vps` with options."""
        options: dict[str, Any] = {} if observe is None else {"observe": observe}
        return _attached(self), options

    def __enter__(self) -> Self:
        try:
            self._server = _Server(self)
        except OSError as error:
            raise UserError(f"--live: cannot listen on {HOST}: {error.strerror}") from None
        self.address = f"http://{HOST}:{self._server.server_port}/{self._token}/"
        threading.Thread(target=self._server.serve_forever, args=(_LOOK_S,), name="agentsim live", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._began.set()  # nobody need wait any longer
        self._server.shutdown()
        self._server.server_close()

    def linger(self, seconds: float) -> None:
        """Return when nobody has asked for so many seconds: after a run, when pages have all there is."""
        since = time.monotonic()
        while (left := max(since, self._asked_at) + seconds - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))

    def shows(self, tracer: Tracer) -> None:
        """Say where the trace is from now on."""
        self._tracer = tracer
        self._began.set()

    # Answers, each from a thread of its own ----------------------------------------------------------------------

    def answer(self, target: str, host: str) -> tuple[HTTPStatus, str, bytes]:
        """Return status, media type and content for a request."""
        self._asked_at = time.monotonic()
        port = self._server.server_port
        if host not in (f"{HOST}:{port}", f"localhost:{port}"):
            return _plain(HTTPStatus.FORBIDDEN, "ask for 127.0.0.1")
        url = urlsplit(target)
        _, _, rest = url.path.partition("/")
        token, slash, what = rest.partition("/")
        if not hmac.compare_digest(token.encode(), self._token.encode()) or not slash:
            return _plain(HTTPStatus.NOT_FOUND, "nothing here")
        if what == "":
            return HTTPStatus.OK, "text/html; charset=utf-8", viewer_page("agentsim: live", {}, live=True).encode()
        if what not in ("head", "trace"):
            return _plain(HTTPStatus.NOT_FOUND, "nothing here")
        self._began.wait(_PATIENCE_S)
        tracer = self._tracer
        if tracer is None:
            return _plain(HTTPStatus.SERVICE_UNAVAILABLE, "the run has not begun")
        if what == "head":
            return _json(tracer.head_now())
        after = parse_qs(url.query).get("after", ["0"])[-1]
        if not (after.isascii() and after.isdigit() and len(after) < 10):
            return _plain(HTTPStatus.BAD_REQUEST, "after must be a number")
        over = tracer.over  # before looking: what comes in between is for the next question
        tracer.cut()
        found = tracer.increments[int(after) : int(after) + _MOST_INCREMENTS]
        following = min(int(after), len(tracer.increments)) + len(found)
        ended = over and following >= len(tracer.increments)
        return _json({"increments": found, "next": following, "ended": ended})


def _attached(page: LivePage) -> type[Observer]:
    """Return a tracer's class whose one instance tells the page of itself."""

    class LiveTracer(Tracer):
        def __init__(self, context: ObserverContext) -> None:
            super().__init__(context)
            self._page = page

        def start(self) -> None:
            super().start()
            self._page.shows(self)

    return LiveTracer


def _plain(status: HTTPStatus, words: str) -> tuple[HTTPStatus, str, bytes]:
    return status, "text/plain; charset=utf-8", f"{words}\n".encode()


def _json(value: Mapping[str, Any]) -> tuple[HTTPStatus, str, bytes]:
    content = json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")
    return HTTPStatus.OK, "application/json", content


class _Server(ThreadingHTTPServer):
    """A thread for each connection, none of which keeps the process alive."""

    daemon_threads = True

    def __init__(self, page: LivePage) -> None:
        self.page = page
        super().__init__((HOST, 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  # http.server's signature
        """Say nothing: a page that was closed in the middle of an answer is no event."""


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD; http.server answers everything else with 501."""

    server: _Server
    timeout: ClassVar[float] = 30.0  # a connection that says nothing is closed
    server_version = "agentsim"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with content."""
        self._answer(with_content=True)

    def do_HEAD(self) -> None:
        """Answer without it."""
        self._answer(with_content=False)

    def _answer(self, *, with_content: bool) -> None:
        status, media, content = self.server.page.answer(self.path, self.headers.get("Host", ""))
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.end_headers()
        if with_content:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: ANN401  # http.server's signature
        """Say nothing: standard error is the run's."""
