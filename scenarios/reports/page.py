"""One HTML file that needs nothing else: libraries, looks and data are inside, and a browser is told to load no more.

Scripts run only if their hash is in the page's content security policy, so that nothing that comes with the data can
run, whatever it holds; and nothing of the data is ever markup: it is compressed bytes in base64. Text is escaped.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final

from agentsim.errors import UserError, one_line

GENERATOR: Final = '<meta name="generator" content="agentsim">'
"""By this line, within the first kilobytes, a page of ours is known."""
_LEVEL: Final = 6


def static(name: str) -> str:
    """Return the text of a file that comes with the pages."""
    return (files("scenarios") / "reports" / "static" / name).read_text(encoding="utf-8")


def packed(value: object) -> bytes:
    """Return plain JSON as bytes, for the data of a page; ValueError for NaN and infinity, which JSON lacks."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def page(
    title: str,
    scripts: Sequence[str],
    styles: Sequence[str],
    data: Mapping[str, bytes],
    *,
    body: str = "",
    connects: bool = False,
) -> str:
    """Return a self-contained HTML document.

    Args:
        title: any text.
        scripts: JavaScript, run in this order after everything else is there.
        styles: CSS.
        data: by name, bytes that the scripts unpack: element with that id, its text decoded from base64, then
            `DecompressionStream("deflate")`.
        body: markup that comes with the program; never anything from elsewhere.
        connects: whether scripts may ask the server that the page came from.

    Raises:
        ValueError: a script or style would end its own element, or a name of data is no plain name.
    """
    for text in (*scripts, *styles):
        if any(word in text.lower() for word in ("</script", "</style", "<!--")):
            raise ValueError("a script or style holds markup that would end it")
    for name in data:
        if not name.replace("-", "").isalnum():
            raise ValueError(f"{name!r} is no name for data")
    scripts = [text.replace("\r\n", "\n").replace("\r", "\n") for text in scripts]  # as the browser reads them
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in scripts) or "'none'"
    server = "'self'" if connects else "'none'"
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        f"connect-src {server}; base-uri 'none'; form-action 'none'"
    )
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        GENERATOR,
        f"<title>{html.escape(one_line(title))}</title>",
        *(f"<style>{text}</style>" for text in styles),
        "</head>",
        "<body>",
        body,
        *(
            f'<script type="application/octet-stream" id="{name}">{_encoded(content)}</script>'
            for name, content in data.items()
        ),
        *(f"<script>{text}</script>" for text in scripts),
        "</body>",
        "</html>",
        "",
    ]
    return "\n".join(parts)


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def _encoded(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, _LEVEL)).decode("ascii")


# Files ---------------------------------------------------------------------------------------------------------


def check_target(target: Path) -> None:
    """Raise UserError if a page cannot be written there: better before the work than after it."""
    if not os.path.isdir(target.parent):  # which, unlike Path's, is False for names that are too long as well
        raise UserError(f"{target}: cannot write the page: there is no folder {target.parent}")
    if os.path.exists(target) and not os.path.isfile(target):
        raise UserError(f"{target}: cannot write the page: it is not a file")


def write_page(target: Path, content: str) -> None:
    """Write a page whole or not at all; UserError if it cannot be written."""
    check_target(target)
    real = Path(os.path.realpath(target))  # what a link points at is replaced, not the link
    beside = real.with_name(f".{real.name[:100]}.{os.getpid()}.tmp")
    try:
        try:
            with open(beside, "x", encoding="utf-8") as file:
                file.write(content)
            os.replace(beside, real)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
    except OSError as error:
        raise UserError(f"{target}: cannot write the page: {error.strerror}") from None


def address(path: Path) -> str:
    """Return a file's address, as terminals and browsers take it."""
    return path.resolve().as_uri()
