"""Liars about costs: an agent that follows its solver to the letter, with cost functions that are not the true ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from agentsim.dcop.problem import Cost, Problem
from agentsim.errors import UserError
from agentsim.runtime.agent import Agent
from agentsim.runtime.port import Port
from agentsim.runtime.result import Result
from agentsim.runtime.simulate import AgentFactory
from agentsim.runtime.view import LocalConstraint, LocalView
from scenarios.adversaries.base import PATIENCE, Adversary, Options, Target, finite

_MOST: Final = 2.0**53


@dataclass(frozen=True)
class Liar(Adversary):
    """Lies about its costs: over- or understates them, hides or inverts them, and else keeps to the protocol.

    It works on what the agent is told of the problem, and so with every solver. A cost counts from the least that it
    can be, as declared or else in its own table: what is exaggerated is how much the agent minds, so that a problem and
    its maximising or shifted twin are lied about alike. What is forbidden stays so, and costs that all can evaluate are
    never lied about. Whole numbers stay whole: they are rounded.

    Args:
        lie: "scale", each cost is `factor` times as far from the least; "hide", all values cost the least; "invert",
            the least cost and the greatest change places, and so on.
        factor: for lie=scale; above 1 overstates, below understates, 1 is the truth. 0 to 1000000.
        about: "private", its private costs; "all", also the constraints that it knows.
        plausible: whether it stays within the declared ranges, so that nobody can tell.
    """

    name: ClassVar[str] = "liar"

    lie: Literal["scale", "hide", "invert"] = "scale"
    factor: float = 3.0
    about: Literal["private", "all"] = "private"
    plausible: bool = False

    def __post_init__(self) -> None:
        finite("factor", self.factor, 0, 1e6)

    def against(self, target: Target) -> Options:
        """Return a factory of agents that are told lies in place of the agent's costs."""
        make = doctored(target.solver, self.view)
        return {"replace": dict.fromkeys(target.agents, make), "max_messages": PATIENCE}

    def view(self, view: LocalView) -> LocalView:
        """Return a view with the lies in place of the true costs."""
        if self.lie == "scale" and self.factor == 1:
            return view
        return dataclasses.replace(
            view,
            unary=self.table(view.unary, view.unary_bounds, view.integral) if view.has_unary else view.unary,
            constraints=tuple(self._constraint(c, view.integral) for c in view.constraints),
            share=tuple(self._constraint(c, view.integral) for c in view.share),
        )

    def _constraint(self, constraint: LocalConstraint, integral: bool) -> LocalConstraint:
        private = constraint.unary or len(constraint.scope) == 1
        if constraint.public or not (private or self.about == "all"):
            return constraint
        return dataclasses.replace(constraint, table=self.table(constraint.table, constraint.bounds, integral))

    def table(self, costs: NDArray[Any], declared: tuple[Cost, Cost] | None, integral: bool) -> NDArray[Any]:
        """Return the lies about costs, an array of the same shape and type.

        Args:
            costs: the truth, infinite where forbidden.
            declared: the range that is public, if any.
            integral: whether all costs are whole numbers.
        """
        allowed = np.isfinite(costs)
        if not allowed.any():
            return costs
        told = costs[allowed].astype(np.float64)
        low, high = declared or (told.min().item(), told.max().item())
        if self.lie == "hide":
            told[:] = low
        elif self.lie == "invert":
            told = low + high - told
        else:
            told = low + self.factor * (told - low)
        if self.plausible and declared is not None:
            told = np.clip(told, low, high)
        if np.abs(told).max() > _MOST:
            raise UserError(f"adversary {self.name}: factor={self.factor:g} makes costs too large")
        lies = costs.copy()
        lies[allowed] = np.rint(told) if integral else told
        lies.flags.writeable = False
        return lies


def doctored(solver: type[Agent], change: Callable[[LocalView], LocalView]) -> AgentFactory:
    """Return a maker of agents that follow `solver` to the letter, with another local view than the true one."""

    def make(view: LocalView, port: Port, params: object) -> Agent:
        return solver(change(view), port, params)

    return make


def private_cost(problem: Problem, result: Result, agent: str) -> float:
    """Return what an assignment truly costs an agent by its private costs, in the user's units.

    Private are the costs of its own variables and the constraints that it owns.
    """
    at = problem.indices(result.assignment)
    own = [problem.variables[name] for name in problem.owned_by(agent)]
    owned = [c for c in problem.constraints.values() if c.owner == agent]
    total = sum(float(v.unary[at[v.name]]) for v in own if v.unary is not None)
    return total + sum(float(c.table[tuple(at[name] for name in c.scope)]) for c in owned)
