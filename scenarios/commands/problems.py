"""`agentsim convert` and `agentsim generate`: problem files."""

from __future__ import annotations

import click

from agentsim.errors import UserError
from scenarios.commands.options import SEED, parse_pairs


@click.command()
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
@click.option("--distribution", metavar="FILE", help="pyDCOP file that says which agent owns which variable.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the noise that a file may ask for.")
def convert(source: str, target: str, distribution: str | None, seed: int) -> int:
    """Read the problem IN and write it as OUT; the suffixes tell the formats.

    Reads .yaml, .xml, .wcsp, .cfn and .amdcop; writes .yaml, .wcsp and .amdcop.
    """
    from agentsim import load
    from scenarios.commands.privacy import check_section
    from scenarios.screen import Progress

    with Progress(f"converting {source}"):
        problem = load(source, seed=seed, distribution=distribution)
        check_section(problem, source)
        _write(problem, target)
    return 0


@click.command()
@click.argument("kind")
@click.option(
    "-p",
    "params",
    multiple=True,
    metavar="KEY=VALUE",
    help="Parameter of the generator (repeat for more), or preset=NAME for a published experiment's.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of every random draw.")
@click.option("-o", "--output", required=True, metavar="FILE", help="File to write: .yaml, .wcsp or .amdcop.")
def generate(kind: str, params: tuple[str, ...], seed: int, output: str) -> int:
    """Make a random problem of KIND; `agentsim list generators` shows them with their parameters and presets.

    A preset draws parameters from the seed; parameters given beside it replace its own.
    """
    from dataclasses import asdict

    from agentsim.runtime import registry
    from scenarios.generators import presets
    from scenarios.screen import Progress

    given = parse_pairs(params, "-p")
    generator = registry.find("generators", kind)
    if "preset" in given:
        given = asdict(presets.find(str(given.pop("preset")), kind).draw(seed)) | given
    resolved = registry.make_params(generator.Params, given, f"generator {kind}")
    with Progress(f"making {kind}"):
        try:
            problem = generator.generate(resolved, seed)
        except ValueError as error:
            raise UserError(f"generator {kind}: {error}") from None
        _write(problem, output)
    return 0


def _write(problem: object, target: str) -> None:
    from agentsim import Problem, save
    from scenarios.screen import console, plain, text

    assert isinstance(problem, Problem)
    notes = save(problem, target)
    out = console()
    out.print(
        text(
            f"{target}: {plain(problem.name)}, {len(problem.variables)} variables, {len(problem.constraints)} "
            f"constraints, {len(problem.agents)} agents, {problem.objective}imise"
        )
    )
    for note in notes:
        out.print(text(f"note: {note}", "dim"))
