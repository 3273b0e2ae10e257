"""A library of adversaries, each usable with every solver: in one line of Python, and as `agentsim solve --adversary`.

`ADVERSARIES` has them by name; `scenarios.adversaries.base` says what one is.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from agentsim.dcop.problem import Problem
from agentsim.errors import UserError
from agentsim.runtime.agent import Agent
from agentsim.runtime.network import split_names
from agentsim.runtime.registry import make_params
from scenarios.adversaries.base import PATIENCE, Adversary, Options, combine, parameters
from scenarios.adversaries.false_bounds import FalseBounds
from scenarios.adversaries.free_rider import FreeRider
from scenarios.adversaries.liar import Liar, private_cost
from scenarios.adversaries.passive import Coalition, Eavesdropper, Passive
from scenarios.adversaries.wire import Delayer, Replayer

ADVERSARIES: Final = MappingProxyType(
    {cls.name: cls for cls in (Liar, FalseBounds, FreeRider, Delayer, Replayer, Eavesdropper, Coalition)}
)
"""All adversaries by name, the active ones first."""


def make(name: str, **params: object) -> Adversary:
    """Return the adversary of this name; UserError if there is none, or a parameter is unknown or out of range."""
    cls = ADVERSARIES.get(name)
    if cls is None:
        raise UserError(f"no adversary is called {name!r}; there are {', '.join(ADVERSARIES)}")
    adversary: Adversary = make_params(cls, params, f"adversary {name}")
    return adversary


@dataclass(frozen=True)
class Attack:
    """An adversary and whom it is pointed at, as written on the command line.

    Args:
        adversary: with its parameters.
        agents: one, or those of a coalition or wire.
    """

    adversary: Adversary
    agents: tuple[str, ...]

    @classmethod
    def parse(cls, spec: str, problem: Problem) -> Attack:
        """Parse `NAME[:agent=A,KEY=VALUE,...]`; UserError if it makes no sense. A name of several agents is `A+B`."""
        name, *rest = split_names(spec, ":")
        text = ":".join(rest)
        given: dict[str, str] = {}
        for part in split_names(text, ",") if text else []:
            key, equals, value = (word.strip() for word in part.partition("="))
            if not equals or not key:
                raise UserError(f"adversary {spec}: {part!r} is not KEY=VALUE")
            if key in given:
                raise UserError(f"adversary {spec}: {key} is given twice")
            given[key] = value
        agent = given.pop("agent", None)
        adversary = make(name.strip(), **given)
        return cls(adversary, adversary.agents_of(problem, agent))

    def options(self, problem: Problem, solver: str | type[Agent], **params: object) -> Options:
        """Return what to give `simulate`, as `Adversary.attack` does."""
        return self.adversary.attack(problem, solver, self.agents, **params)

    def told(self, findings: Any) -> dict[str, Any]:  # noqa: ANN401  # findings of a run, by observer
        """Return what there is to tell of it after a run: name, agents, parameters, and what a passive one learnt."""
        adversary = self.adversary
        told: dict[str, Any] = {"name": adversary.name, "agent": adversary.written(self.agents)}
        told["parameters"] = parameters(adversary)
        if isinstance(adversary, Passive):
            told["learned"] = adversary.learned(findings, self.agents)
        return told


__all__ = [
    "ADVERSARIES",
    "PATIENCE",
    "Adversary",
    "Attack",
    "Coalition",
    "Delayer",
    "Eavesdropper",
    "FalseBounds",
    "FreeRider",
    "Liar",
    "Options",
    "Passive",
    "Replayer",
    "combine",
    "make",
    "private_cost",
]
