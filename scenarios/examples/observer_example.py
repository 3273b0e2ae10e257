"""A worked example of an observer: when an agent is first told something of another, by which message, and how often.

It asks of each delivery what it *discloses*, in words that no solver owns, so it works with every solver that has a
reader. Run it: `python -m scenarios.examples.observer_example PROBLEM [SOLVER [VIEWER]]`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from agentsim import Delivery, Observer, UserError, load, simulate
from agentsim.runtime.statements import Chosen, CostIs, CostTable, Statement, ValueIs


class FirstWord(Observer):
    """When its viewer was first told something of each agent, and how many statements it has been told since."""

    name = "first-word"
    default_view = "all"

    def start(self) -> None:
        """Begin before the first delivery."""
        self.told: dict[str, dict[str, Any]] = {}

    def observe(self, delivery: Delivery) -> None:
        """Note whom the delivery tells something about."""
        statements = self.statements(delivery)  # readers hear the viewer's own words too: they give others their sense
        if self.context.owner(delivery.src) in self.context.view.agents:
            return
        for statement in statements:
            for agent in sorted({self.context.owner(node) for node in subjects(statement)}):
                if agent not in self.told:
                    self.told[agent] = {"time": delivery.delivered_at, "message": delivery.type, "statements": 0}
                    self.report({"first word of": agent})  # goes into the log at once, with the virtual time
                self.told[agent]["statements"] += 1

    def findings(self) -> dict[str, Any]:
        """Return, by agent, when something was first told of it, in which message, and how many statements in all."""
        return self.told

    def live(self) -> dict[str, Any]:
        """Return what to show while the run goes on."""
        return {"agents told of": len(self.told)}


def subjects(statement: Statement) -> Iterable[str]:
    """Return the nodes that a statement says something of."""
    match statement:
        case CostIs():
            return (node for term in statement.terms for node in term.parties)
        case CostTable():
            return statement.parties
        case ValueIs() | Chosen():
            return (statement.variable,)
    return ()


def main(arguments: list[str]) -> int:
    """Solve a problem and print who was first told of when."""
    if not 1 <= len(arguments) <= 3:
        print("usage: python -m scenarios.examples.observer_example PROBLEM [SOLVER [VIEWER]]", file=sys.stderr)
        return 2
    solver = arguments[1] if len(arguments) > 1 else "adopt"
    view = f"agent:{arguments[2]}" if len(arguments) > 2 else "all"
    try:
        result = simulate(load(arguments[0]), solver, observers=[(FirstWord, {"view": view})])
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for agent, first in result.findings["first-word"].items():
        print(f"{agent}: at {first['time']:g} by {first['message']}, {first['statements']} statements in all")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
