"""A page for each experiment: what it is, how it was run, its rows, its notes and its figure; and how these are made.

`figures` runs `agentsim reproduce` and keeps NAME.json (the rows, the notes, and the command that made them) and
NAME.svg in a folder that is part of the documentation. A page says so where there is none.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from agentsim.errors import UserError
from agentsim.runtime import registry
from scenarios.commands.listing import registered
from scenarios.documentation.markdown import code, escaped, prose, span, table
from scenarios.experiments.base import Experiment

MAX_FIGURE: Final = 500_000
"""Bytes that a figure in the documentation may have."""

MAX_ROWS: Final = 40
MAX_RESULT: Final = 2_000_000

OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "private-frontier": ("--instances", "5"),
    "vps-table1": ("--instances", "20"),
}
"""Options of `agentsim reproduce` for experiments that take long with their own defaults."""


def pages(results: Path) -> dict[str, str]:
    """Return the pages by name; `results` is the folder of NAME.json and NAME.svg."""
    rows = registered("experiments")
    lines, found = [], {}
    for row in rows:
        name = row["name"]
        kept = _kept(results / f"{name}.json")
        found[f"experiments/{name}"] = _page(name, kept, results)
        state = "not run here" if kept is None else f"{_total(kept)} rows"
        lines.append((f"[`{name}`](experiments/{name}.md)", escaped(row["summary"]), state))
    toctree = "\n".join(f"experiments/{row['name']}" for row in rows)
    found["experiments"] = "\n\n".join(
        [
            "# Experiments",
            "Tables and figures of papers, run again: `agentsim reproduce NAME -o DIR` writes rows (JSON, CSV), notes "
            "and a figure (SVG, PNG), and goes on where it was interrupted.",
            table(("experiment", "what", "here"), lines),
            f"```{{toctree}}\n:hidden:\n\n{toctree}\n```",
        ]
    )
    return found


def _kept(path: Path) -> dict[str, Any] | None:
    """Return what `figures` kept of an experiment, or None."""
    if not path.is_file():
        return None
    if path.stat().st_size > MAX_RESULT:
        raise UserError(f"{path}: larger than {MAX_RESULT} bytes")
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(found.get(key), list) for key in ("rows", "notes")):
        raise UserError(f"{path}: not what agentsim reproduce writes")
    return found


def _page(name: str, kept: Mapping[str, Any] | None, results: Path) -> str:
    experiment: type[Experiment] = registry.find("experiments", name)
    parts = [f"# {name}", prose(sys.modules[experiment.__module__].__doc__)]
    if kept is None:
        parts += ["## Result", f"Not run here. This command runs it:\n\n{code(f'agentsim reproduce {name}', 'sh')}"]
        return "\n\n".join(parts)
    if "command" in kept:
        made = f"Made by this command (version {kept.get('version')}):"
    else:
        made = "The command that made this was not written down; this one makes it anew:"
    parts += ["## Result", f"{made}\n\n{code(str(kept.get('command', f'agentsim reproduce {name}')), 'sh')}"]
    figure = results / f"{name}.svg"
    if figure.is_file():
        if figure.stat().st_size > MAX_FIGURE:
            raise UserError(f"{figure}: larger than {MAX_FIGURE} bytes")
        parts.append(f"![{name}: the figure of its rows](../../{results.name}/{figure.name})")
    rows: list[Mapping[str, Any]] = kept["rows"]
    columns = [c for c in experiment.columns if any(row.get(c) is not None for row in rows)]
    numbers = [i for i, c in enumerate(columns) if i >= experiment.key_columns]
    shown = ([_cell(row.get(c)) for c in columns] for row in rows[:MAX_ROWS])
    parts.append(table([escaped(c.replace("_", " ")) for c in columns], shown, numbers))
    if _total(kept) > MAX_ROWS:
        parts.append(f"The first {MAX_ROWS} of {_total(kept)} rows; `-o DIR` writes all of them.")
    if kept["notes"]:
        parts += ["## Notes", "\n".join(f"* {escaped(str(note))}" for note in kept["notes"])]
    return "\n\n".join(parts)


def _total(kept: Mapping[str, Any]) -> int:
    return int(kept.get("total", len(kept["rows"])))


def _cell(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 or not math.isfinite(value) else f"{value:.3e}"
    return escaped(str(value)) if isinstance(value, (str, int)) else span(json.dumps(value))


def figures(names: Iterable[str], results: Path) -> None:
    """Run experiments and keep their rows, notes and figure in `results`.

    Raises:
        UserError: there is no such experiment, or it failed.
    """
    results.mkdir(parents=True, exist_ok=True)
    for name in names:
        registry.find("experiments", name)
        words = ["reproduce", name, *OPTIONS.get(name, ())]
        call = [sys.executable, "-c", "from scenarios.cli import main; main()", *words, "-o", str(results)]
        done = subprocess.run(call, check=False)
        if done.returncode != 0:
            raise UserError(f"agentsim {' '.join(words)} ended with exit status {done.returncode}")
        keep(results, name, " ".join(["agentsim", *words]))


def keep(results: Path, name: str, command: str) -> None:
    """Add to NAME.json the command that made it; leave out rows that are not shown, and what only takes room."""
    from agentsim import __version__

    path = results / f"{name}.json"
    found = {"command": command, "version": __version__, **json.loads(path.read_text("utf-8"))}
    found |= {"total": len(found["rows"]), "rows": found["rows"][:MAX_ROWS]}
    path.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", "utf-8")
    figure = results / f"{name}.svg"
    if figure.is_file():
        figure.write_text(_smaller(figure.read_text("utf-8")), "utf-8")


def _smaller(svg: str) -> str:
    """Return a figure with coordinates to a hundredth of a point and without its metadata."""
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.S)
    return re.sub(r"(?<![\w.#])(-?\d+\.\d\d)\d+", r"\1", svg)
