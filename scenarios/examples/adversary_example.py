"""A worked example of active adversaries, one in an agent's place and one on the wire, against the example solver.

`stubborn` never gives up its own favourite value, and says that it is content. `Hush` sits on one wire and writes into
every token that all others are content, so that the search ends before it should. A run with adversaries about is
`finished` at best, never `optimal`; its log names the replaced agent and keeps what each altered message was.

Run it: `python -m scenarios.examples.adversary_example PROBLEM [AGENT]`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from agentsim import Alter, Envelope, Problem, Result, UserError, load, simulate
from scenarios.examples.solver_example import RoundRobin, Token


class Stubborn(RoundRobin):
    """An agent that keeps to the protocol but for one thing: it takes no notice of anybody else."""

    def best(self, values: Mapping[str, int]) -> int:
        """Return the value of least private cost."""
        return int(self.view.unary.argmin())


class Hush:
    """An interceptor on all that one node sends: every token says that whoever held it, but for the next, is content.

    Args:
        victim: the node whose messages are altered.
    """

    def __init__(self, victim: str) -> None:
        self.victim = victim

    def __call__(self, envelope: Envelope) -> Alter | None:
        """Return what arrives instead; None: let it pass."""
        told = envelope.message
        if envelope.src != self.victim or not isinstance(told, Token) or told.content >= len(told.values) - 1:
            return None
        return Alter(told._replace(content=len(told.values) - 1))


def attacks(problem: Problem, agent: str) -> dict[str, Result]:
    """Return three runs: all honest, `agent` stubborn, and what its last variable sends altered."""
    victim = problem.owned_by(agent)[-1]
    return {
        "honest": simulate(problem, RoundRobin),
        "stubborn": simulate(problem, RoundRobin, replace={agent: Stubborn}),
        "hushed": simulate(problem, RoundRobin, interceptors=[Hush(victim)]),
    }


def main(arguments: list[str]) -> int:
    """Print what each attack brings."""
    if not 1 <= len(arguments) <= 2:
        print("usage: python -m scenarios.examples.adversary_example PROBLEM [AGENT]", file=sys.stderr)
        return 2
    try:
        problem = load(arguments[0])
        runs = attacks(problem, arguments[1] if len(arguments) > 1 else problem.agents[0])
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for name, result in runs.items():
        print(f"{name:<9} {result.status}, cost {result.cost}, {result.messages} messages")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
