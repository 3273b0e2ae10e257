"""`python -m scenarios.documentation`: make the documentation's pages, figures or pictures."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from agentsim.errors import UserError

DOCS = Path(__file__).parents[2] / "docs"

_FOLDER = click.option(
    "--docs", default=DOCS, show_default="docs of the source tree", metavar="DIR", type=click.Path(path_type=Path)
)


@click.group()
def main() -> None:
    """Make what the documentation consists of."""


@main.command()
@_FOLDER
def pages(docs: Path) -> None:
    """Write the generated pages."""
    from scenarios.documentation import generate

    click.echo(f"{len(generate(docs))} pages in {docs / 'generated'}")


@main.command()
@click.argument("names", nargs=-1)
@_FOLDER
def figures(names: tuple[str, ...], docs: Path) -> None:
    """Run the experiments NAMES, by default all, and keep rows, notes and figures for the documentation."""
    from agentsim.runtime import registry
    from scenarios.documentation import experiments

    experiments.figures(names or registry.names("experiments"), docs / "experiments")


@main.command()
@_FOLDER
def pictures(docs: Path) -> None:
    """Take the quick start's screenshots with Chromium."""
    from scenarios.documentation import pictures as taken

    for path in taken.pictures(docs):
        click.echo(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    try:
        main(standalone_mode=False)
    except (UserError, click.ClickException) as error:
        sys.exit(f"{error.format_message() if isinstance(error, click.ClickException) else error}")
