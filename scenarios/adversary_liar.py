"""An example active adversary, complete in ten lines: an agent that claims to mind everything more than it does.

Run it: `python -m scenarios.adversary_liar PROBLEM [AGENT] [SOLVER]`. It solves the problem twice, once with the agent
honest and once with it lying, and prints what the lie brought the liar and cost the others.
"""

from __future__ import annotations

import dataclasses
import sys

from agentsim import Agent, Problem, Result, UserError, load, simulate
from agentsim.runtime.port import Port
from agentsim.runtime.setup import find_solver
from agentsim.runtime.simulate import AgentFactory
from agentsim.runtime.view import LocalView


def overcharger(solver: type[Agent], factor: int = 10) -> AgentFactory:
    """Return a maker of agents that follow `solver` to the letter, with private costs `factor` times the true ones."""

    def make(view: LocalView, port: Port, params: object) -> Agent:
        return solver(dataclasses.replace(view, unary=view.unary * factor), port, params)

    return make


def private_cost(problem: Problem, result: Result, agent: str) -> float:
    """Return what an assignment truly costs an agent."""
    at = problem.indices(result.assignment)
    own = [problem.variables[name] for name in problem.owned_by(agent)]
    return float(sum(v.unary[at[v.name]] for v in own if v.unary is not None))


def main(arguments: list[str]) -> int:
    """Compare an honest run with one in which an agent lies."""
    if not 1 <= len(arguments) <= 3:
        print("usage: python -m scenarios.adversary_liar PROBLEM [AGENT] [SOLVER]", file=sys.stderr)
        return 2
    try:
        problem = load(arguments[0])
        liar = arguments[1] if len(arguments) > 1 else problem.agents[0]
        name, solver = find_solver(arguments[2] if len(arguments) > 2 else "dpop")
        honest = simulate(problem, name)
        lying = simulate(problem, name, replace={liar: overcharger(solver)})
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for label, result in (("honest", honest), ("lying", lying)):
        if not result.assignment:
            print(f"{label:<7} {result.status}, no assignment")
            continue
        print(f"{label:<7} all {result.cost}, of this {liar} {private_cost(problem, result, liar):g}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
