"""What an adversary is: parameters, and what `simulate` has to be given so that it takes part in a run.

An adversary is a value: a frozen dataclass of its parameters, checked when it is made. `attack` points it at an agent
of a problem under a solver and returns options of `agentsim.simulate`::

    simulate(problem, "dpop", **Liar(factor=3).attack(problem, "dpop", "Eva"))

An active one stands in for the agent (`replace`) or sits on the router (`interceptors`); both are in the log, and a run
that ends by itself is then `finished`, never `optimal`. A lie can send a solver round in circles, so that active ones
bring a limit of deliveries along: such a run ends as `timeout`. One that starves another agent ends as `deadlock`, one
that drives it into a contradiction as `error`, naming the agent. A passive one only watches (`observers`).

Interceptors remember what they saw: the options are for one run, and each further run takes an attack of its own.
"""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from agentsim.dcop.problem import Problem
from agentsim.errors import UserError
from agentsim.runtime.agent import Agent
from agentsim.runtime.network import quote, split_names, unquote
from agentsim.runtime.setup import find_solver, prepare
from agentsim.runtime.view import Setup

Options = dict[str, Any]
"""Keyword arguments of `agentsim.simulate`."""

PATIENCE: Final = 1_000_000
"""Deliveries after which a run with an active adversary is stopped, unless told otherwise."""


@dataclass(frozen=True)
class Target:
    """Whom an adversary is pointed at.

    Args:
        setup: the problem, made ready for the solver.
        solver: the solver's class.
        solver_name: its name.
        agents: the agents that are the adversary, or that it listens to.
    """

    setup: Setup
    solver: type[Agent]
    solver_name: str
    agents: tuple[str, ...]

    @property
    def agent(self) -> str:
        """The first of the agents; the only one, for most adversaries."""
        return self.agents[0]

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes of the agents."""
        return frozenset(node for node, owner in self.setup.nodes.items() if owner in self.agents)


@dataclass(frozen=True)
class Adversary(ABC):
    """Base of every adversary; its fields are the adversary's parameters.

    Class attributes: `name`, as in `ADVERSARIES`; `kind`, "active" or "passive"; `joint`, what stands between the names
    of several agents ("" for adversaries of one).
    """

    name: ClassVar[str]
    kind: ClassVar[str] = "active"
    joint: ClassVar[str] = ""

    def attack(
        self, problem: Problem, solver: str | type[Agent], agent: str | Sequence[str] | None = None, **params: object
    ) -> Options:
        """Return what to give `simulate` in one run of the solver on the problem.

        Args:
            problem: what is solved.
            solver: a registered name, or a subclass of `Agent`.
            agent: who it is; some take two or more, in a sequence or as one writes them ("A+B", "A>B"). By default the
                problem's first that will do.
            **params: the solver's own parameters, as `simulate` is given them.

        Raises:
            UserError: no such agent, or the solver refuses the problem.
        """
        name, cls = find_solver(solver)
        agents = self.agents_of(problem, agent)
        return self.against(Target(prepare(problem, cls, name, params), cls, name, agents))

    @abstractmethod
    def against(self, target: Target) -> Options:
        """Return the options of one run."""

    def agents_of(self, problem: Problem, given: str | Sequence[str] | None) -> tuple[str, ...]:
        """Return the agents that are meant; UserError if there is no such agent."""
        if given is None:
            return self.by_default(problem)
        if not isinstance(given, str):
            names = tuple(given)
        elif given in problem.agents:
            names = (given,)
        else:
            names = tuple(unquote(part) for part in (split_names(given, self.joint) if self.joint else [given]))
        for agent in names:
            if agent not in problem.agents:
                raise UserError(f"adversary {self.name}: no agent is called {agent!r}")
        if len(names) != 1 and not self.joint:
            raise UserError(f"adversary {self.name}: is one agent, not {len(names)}")
        return names

    def by_default(self, problem: Problem) -> tuple[str, ...]:
        """Return the agents that are meant where none are named: the first that owns a variable."""
        owners = [v.agent for v in problem.variables.values()]
        return (owners[0] if owners else problem.agents[0],)

    @classmethod
    def written(cls, agents: Iterable[str]) -> str:
        """Return agents as one writes them."""
        return cls.joint.join(map(quote, agents))

    @classmethod
    def summary(cls) -> str:
        """Return what it does, in a line."""
        return inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]


def combine(*attacks: Mapping[str, Any]) -> Options:
    """Return the options of several attacks in one run: everybody at once.

    Raises:
        UserError: two of them would stand in for one agent.
    """
    options: Options = {}
    for attack in attacks:
        for key, value in attack.items():
            if key not in options:
                options[key] = value
            elif key == "replace":
                twice = sorted(options[key].keys() & value.keys())
                if twice:
                    raise UserError(f"two adversaries stand in for {twice[0]}")
                options[key] = {**options[key], **value}
            elif key == "max_messages":
                options[key] = min(options[key], value)
            else:
                options[key] = [*options[key], *value]
    return options


def parameters(adversary: Adversary) -> dict[str, Any]:
    """Return an adversary's parameters by name."""
    return dataclasses.asdict(adversary)


def finite(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError unless a parameter is from low to high."""
    if not low <= value <= high:
        raise ValueError(f"{name}={value:g}: must be from {low:g} to {high:g}")
