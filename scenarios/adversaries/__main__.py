"""What an adversary brings itself and costs the others.

Run it: `python -m scenarios.adversaries PROBLEM [ADVERSARY] [SOLVER]`, the adversary as one writes it for
`agentsim solve --adversary` (by default `liar`), the solver by default `dpop`. It solves the problem twice, with
everybody honest and with the adversary, and prints what each run costs everybody and the adversary itself, by their
true costs.
"""

from __future__ import annotations

import sys

from agentsim import Problem, Result, RunError, UserError, load, simulate
from scenarios.adversaries import Attack, private_cost
from scenarios.status import USER_ERROR


def main(arguments: list[str]) -> int:
    """Compare an honest run with one under attack."""
    if not 1 <= len(arguments) <= 3:
        print("usage: python -m scenarios.adversaries PROBLEM [ADVERSARY] [SOLVER]", file=sys.stderr)
        return USER_ERROR
    try:
        problem = load(arguments[0])
        attack = Attack.parse(arguments[1] if len(arguments) > 1 else "liar", problem)
        solver = arguments[2] if len(arguments) > 2 else "dpop"
        lines = [f"honest    {_told(problem, simulate(problem, solver), attack)}"]
        try:
            attacked = simulate(problem, solver, **attack.options(problem, solver))
        except RunError as error:
            lines.append(f"attacked  error: {error}")
        else:
            lines.append(f"attacked  {_told(problem, attacked, attack)}")
    except UserError as error:
        print(error, file=sys.stderr)
        return USER_ERROR
    print("\n".join(lines))
    return 0


def _told(problem: Problem, result: Result, attack: Attack) -> str:
    if not result.assignment:
        return f"{result.status}, no assignment"
    own = sum(private_cost(problem, result, agent) for agent in attack.agents)
    return f"{result.status}, all {result.cost}, of this {attack.adversary.written(attack.agents)} {own:g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
