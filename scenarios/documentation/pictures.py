"""Screenshots for the quick start: the replay viewer and the report on a sweep, taken of its own commands by Chromium.

Needs selenium (among the development tools), Chromium and its driver. Pictures are small enough to be kept: WebP, at
most `MAX_PICTURE` bytes each.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from agentsim.errors import UserError
from scenarios.documentation.markdown import commands, shown

MAX_PICTURE: Final = 150_000
"""Bytes that a picture may have."""

SIZE: Final = (1400, 900)
_WAIT_S: Final = 20.0
_QUALITY: Final = 80

# Name of the picture, page, colours, script that brings the page to what is shown, script that tells when it is there.
_SHOTS: Final = (
    (
        "viewer",
        "run.html",
        "light",
        """
        const choice = document.querySelector("#agent-choice");
        choice.selectedIndex = 1;
        choice.dispatchEvent(new Event("change", {bubbles: true}));
        const scrub = document.querySelector("#scrub");
        scrub.value = Math.round(scrub.max * 0.4);
        scrub.dispatchEvent(new Event("input", {bubbles: true}));
        """,
        "return document.querySelector('#viewer').dataset.state === 'ready'",
    ),
    ("report", "random.html", "light", "", "return document.querySelectorAll('svg').length > 2"),
)


def pictures(docs: Path) -> list[Path]:
    """Run the quick start's commands, take the pictures of what they write, and return where they are.

    Raises:
        UserError: no Chromium or no driver, a command failed, or a picture is too large.
    """
    page = (docs / "quickstart.md").read_text("utf-8")
    spec = next(block.text for block in shown(page) if block.language == "toml")
    target = docs / "pictures"
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="agentsim-") as folder:
        here = Path(folder)
        (here / "sweep.toml").write_text(spec, "utf-8")
        for words in commands(page):
            _run(words, here)
        browser = _browser()
        try:
            return [_shot(browser, here, target, *shot) for shot in _SHOTS]
        finally:
            browser.quit()


def _run(words: Sequence[str], here: Path) -> None:
    call = [sys.executable, "-c", "from scenarios.cli import main; main()", *words]
    root = Path(__file__).parents[2]
    done = subprocess.run(call, cwd=here, env={"PYTHONPATH": str(root)}, stdout=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise UserError(f"agentsim {' '.join(words)} ended with exit status {done.returncode}")


def _browser() -> Any:  # noqa: ANN401  # selenium's driver
    from selenium import webdriver

    binary = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        raise UserError("pictures need Chromium and its driver; on Debian: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--window-size={SIZE[0]},{SIZE[1]}"):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


def _shot(
    browser: Any,  # noqa: ANN401  # selenium's driver
    here: Path,
    target: Path,
    name: str,
    page: str,
    colours: str,
    script: str,
    ready: str,
) -> Path:
    scheme = {"features": [{"name": "prefers-color-scheme", "value": colours}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    metrics = {"width": SIZE[0], "height": SIZE[1], "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get((here / page).as_uri())
    until = time.monotonic() + _WAIT_S
    while not browser.execute_script(ready):
        if time.monotonic() > until:
            raise UserError(f"{page} was not ready within {_WAIT_S:g} s")
        time.sleep(0.1)
    browser.execute_script(script)
    time.sleep(1.0)  # transitions
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "webp", "quality": _QUALITY})
    data = base64.b64decode(shot["data"])
    if len(data) > MAX_PICTURE:
        raise UserError(f"picture {name}: {len(data)} bytes, more than {MAX_PICTURE}")
    path = target / f"{name}.webp"
    path.write_bytes(data)
    return path
