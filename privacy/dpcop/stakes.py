"""What an agent has to lose: its private cost functions, the entries of them that are secret, and what they are worth.

Doshi, Matsui, Silaghi, Yokoo and Zanker, "Distributed Private Constraint Optimization", Definition 2. A *private
function* of an agent is the unary cost of a variable of its own, or a constraint that nobody else can evaluate. Private
functions over the same variables are told apart by nobody but their agent, so they count as one: their sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, Self

import numpy as np

from agentsim.dcop.formats.yaml_nodes import shorten
from agentsim.dcop.problem import Cost, Domain, Problem, Table, Value
from privacy.dpcop.prices import Price

MAX_SECRETS: Final = 1_000_000
"""The most secrets of all agents together."""

Scope = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Secret:
    """One entry of an agent's private costs: what exactly these variables cost it at these values.

    Args:
        name: unique among the agent's secrets.
        agent: whose secret it is.
        entry: value by variable.
    """

    name: str
    agent: str
    entry: Mapping[str, Value]

    def __post_init__(self) -> None:
        object.__setattr__(self, "entry", MappingProxyType(dict(self.entry)))

    def __hash__(self) -> int:
        return hash((self.name, self.agent, frozenset(self.entry.items())))

    def __reduce__(self) -> tuple[type[Self], tuple[str, str, dict[str, Value]]]:
        return type(self), (self.name, self.agent, dict(self.entry))

    @property
    def scope(self) -> Scope:
        """The variables of the entry, within a `Dpcop` in the problem's order."""
        return tuple(self.entry)


@dataclass(frozen=True, slots=True, eq=False)
class Stake:
    """What one agent may lose and gain.

    Args:
        secrets: its secrets.
        price: what a revelation of them costs it, in the problem's units of cost.
        reward: what a solution is worth to it, from 0 up; infinite: it never abandons.
        possible: what its peers think possible of each of its private costs: a range (least, greatest), "hard" for 0
            or forbidden, or None when nothing is declared.
    """

    secrets: tuple[Secret, ...]
    price: Price
    reward: float = math.inf
    possible: tuple[Cost, Cost] | Literal["hard"] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "secrets", tuple(self.secrets))


def entry_name(entry: Mapping[str, Value]) -> str:
    """Return the name of a secret that is given none: "x=1,y=2"."""
    return ",".join(f"{variable}={value}" for variable, value in entry.items())


def private_tables(problem: Problem) -> dict[str, dict[Scope, Table]]:
    """Return the private costs of every agent that has some, in the user's units, in the problem's order of agents.

    Returns:
        By agent, then by scope, a table of one axis per variable. Scopes are in the problem's order of variables.
    """
    tables: dict[str, dict[Scope, Table]] = {agent: {} for agent in problem.agents}
    position = {name: i for i, name in enumerate(problem.variables)}
    for agent, scope, table in _private_functions(problem):
        ordered = tuple(sorted(scope, key=position.__getitem__))
        turned = table.transpose([scope.index(name) for name in ordered])
        known = tables[agent].get(ordered)
        tables[agent][ordered] = turned if known is None else known + turned
    return {agent: own for agent, own in tables.items() if own}


def private_scopes(problem: Problem) -> dict[str, list[Scope]]:
    """Return what `private_tables` has tables for, without adding any up."""
    scopes: dict[str, dict[Scope, None]] = {agent: {} for agent in problem.agents}
    position = {name: i for i, name in enumerate(problem.variables)}
    for agent, scope, _ in _private_functions(problem):
        scopes[agent][tuple(sorted(scope, key=position.__getitem__))] = None
    return {agent: list(own) for agent, own in scopes.items() if own}


def _private_functions(problem: Problem) -> Iterator[tuple[str, Scope, Table]]:
    """Yield (agent, scope, table): unary costs by variable, then constraints that one agent alone can evaluate."""
    for v in problem.variables.values():
        if v.unary is not None:
            yield v.agent, (v.name,), v.unary
    for c in problem.constraints.values():
        knowers = problem.known_to(c)
        if len(knowers) == 1:
            yield knowers[0], c.scope, c.table


class Entries:
    """Reads the entries of secrets against a problem's private functions, in constant time a variable."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._scopes = {agent: frozenset(scopes) for agent, scopes in private_scopes(problem).items()}
        self._position = {name: i for i, name in enumerate(problem.variables)}
        self._values: dict[int, dict[object, Value]] = {}

    def read(self, agent: str, entry: Mapping[str, Value]) -> dict[str, Value]:
        """Return `entry` in the problem's order of variables, with the values of their domains.

        A value that the domain lacks stands for the one that is written like it.

        Raises:
            ValueError: no variable, an unknown variable or value, or variables that no private function of `agent` is
                over.
        """
        if not entry:
            raise ValueError("names no variable")
        for name in entry:
            if name not in self._position:
                raise ValueError(f"unknown variable {shorten(str(name))}")
        ordered = sorted(entry, key=self._position.__getitem__)
        values = {name: self._value(name, entry[name]) for name in ordered}
        if tuple(ordered) not in self._scopes.get(agent, frozenset()):
            raise ValueError(f"{agent} has no private cost on exactly {', '.join(ordered)}")
        return values

    def _value(self, variable: str, value: Value) -> Value:
        domain = self._problem.variables[variable].domain
        known = self._values.get(id(domain))
        if known is None:
            known = self._values[id(domain)] = _readings(domain)
        found = known.get((isinstance(value, bool), value), known.get(str(value)))
        if found is None:
            raise ValueError(f"{variable} has no value {shorten(str(value))}")
        return found


def _readings(domain: Domain) -> dict[object, Value]:
    """Return each value of a domain by (is a boolean, value) and, after that, by its text."""
    return {str(v): v for v in reversed(domain.values)} | {(isinstance(v, bool), v): v for v in domain.values}


def possible_fault(problem: Problem, own: Mapping[Scope, Table], possible: object) -> str:
    """Return what is wrong with a declaration of what is possible, as a sentence, or "" when nothing is.

    Args:
        problem: where costs are in the user's units.
        own: the agent's private tables.
        possible: see `Stake`.
    """
    if possible is None:
        return ""
    if possible == "hard":
        worst = math.inf if problem.objective == "min" else -math.inf
        return _first_fault(problem, own, lambda t: (t != 0) & (t != worst), "neither 0 nor forbidden")
    if not (isinstance(possible, tuple) and len(possible) == 2 and all(map(_is_finite, possible))):
        return "must be two finite numbers [least, greatest], or hard"
    low, high = possible
    if low > high:
        return f"[{low}, {high}] is empty"
    slack = problem.tolerance
    return _first_fault(  # which entries are forbidden is known
        problem,
        own,
        lambda t: np.isfinite(t) & ((t < low - slack) | (t > high + slack)),
        f"outside the declared [{low}, {high}]",
    )


def _is_finite(bound: object) -> bool:
    return isinstance(bound, int | float) and not isinstance(bound, bool) and math.isfinite(bound)


def _first_fault(problem: Problem, own: Mapping[Scope, Table], wrong: Callable[[Table], Table], cause: str) -> str:
    """Name the first cell of a private table that `wrong` marks; a redacted problem has none of its true costs."""
    if problem.extras.get("redacted"):
        return ""
    for scope, table in own.items():
        marked = np.argwhere(wrong(table))
        if len(marked):
            cell = tuple(marked[0].tolist())
            entry = problem.values(dict(zip(scope, cell, strict=True)))
            return f"the cost of {entry_name(entry)} is {table[cell].item()}, {cause}"
    return ""
