"""`agentsim bench`: how fast the kernel and the solvers are on this machine."""

from __future__ import annotations

import click

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
_NETWORK = click.option("--network", default="unit", show_default=True, metavar="SPEC", help="Latency and faults.")


@click.group()
def bench() -> None:
    """Measure the kernel or the solvers on this machine."""


@bench.command()
@click.option("--agents", type=click.IntRange(3, 1_000_000), default=100, show_default=True, help="Agents in the ring.")
@click.option("--deliveries", type=click.IntRange(1), default=300_000, show_default=True, help="Deliveries to make.")
@click.option("--in-flight", type=click.IntRange(1), default=50, show_default=True, help="Tokens that go round.")
@_NETWORK
@click.option("--observe", multiple=True, metavar="NAME", help="Attach an observer; `decode` reads every message.")
@_JSON
def kernel(agents: int, deliveries: int, in_flight: int, network: str, observe: tuple[str, ...], as_json: bool) -> None:
    """Pass tokens round a ring of agents, logged to a file, and count deliveries per second."""
    from scenarios.bench import kernel as measure
    from scenarios.screen import Progress, console, number, pairs, print_json

    with Progress(f"{agents:,} agents, {deliveries:,} deliveries"):
        found = measure(agents, deliveries, in_flight, network, observe)
    if as_json:
        print_json(found)
        return
    console().print(pairs((key.replace("_", " "), number(value)) for key, value in found.items()))


@bench.command()
@click.option("--agents", type=click.IntRange(2, 14), default=9, show_default=True, help="Nodes of the graph.")
@_NETWORK
@_JSON
def solvers(agents: int, network: str, as_json: bool) -> None:
    """Colour one graph with each complete solver, but those that ask for every cost there is."""
    from scenarios.bench import solvers as measure
    from scenarios.screen import Progress, console, print_json, table

    with Progress("colouring"):
        found = measure(agents, network)
    if as_json:
        print_json(found)
        return
    columns = [key.replace("_", " ") for key in found["rows"][0]]
    console().print(table(columns, [list(row.values()) for row in found["rows"]], found["problem"], left=2))
