"""Documentation made from the code: pages that Sphinx takes in beside those that people write.

What can drift is not written by hand: solvers and their status, parameters and defaults, networks, options of commands,
keys of JSON, columns of tables, the log's records, experiments with their figures. `docs/conf.py` calls `generate`
before every build; the pages are not kept.

    python -m scenarios.documentation pages          # docs/generated
    python -m scenarios.documentation figures        # docs/experiments: all of them, or those that are named
    python -m scenarios.documentation pictures       # docs/pictures: screenshots, by Chromium
"""

from __future__ import annotations

from pathlib import Path

_NOTICE = "<!-- Made from the code by scenarios/documentation; changes here are lost. -->"


def generate(docs: Path) -> list[Path]:
    """Write the generated pages to `docs`/generated and return them; what is there and is no longer made is removed.

    A page that has not changed is left alone, so that Sphinx builds only what has.
    """
    from scenarios.documentation import catalogue, experiments, reference

    folder = docs / "generated"
    pages = {**catalogue.pages(), **reference.pages(), **experiments.pages(docs / "experiments")}
    written = []
    for name, text in sorted(pages.items()):
        path = folder / f"{name}.md"
        page = f"{_NOTICE}\n\n{text}\n"
        if not path.is_file() or path.read_text("utf-8") != page:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(page, "utf-8")
        written.append(path)
    for path in set(folder.rglob("*.md")).difference(written):
        path.unlink()
    return written
