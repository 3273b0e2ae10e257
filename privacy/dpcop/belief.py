"""Beliefs: what somebody can conclude about the private costs of others, and how much of a secret that gives away.

The rule is exact: of all private costs within the public ranges those are kept under which every disclosure statement
is true, all taken together (see `privacy.adversaries`). A private cost is known when all that are left agree on it. The
peer is thought to know everything but private costs: that is the worst case, as for the exact adversary.

A private function is a private cost of a variable, or a constraint that one agent alone can evaluate; several of one
agent over the same variables are one. What is possible of its entries beforehand is public:

* `hard`: an entry costs nothing or is forbidden, either being equally likely; also taken where no range but (0, 0) is
  declared and nothing else occurs;
* a range of whole numbers, all equally likely; which entries are forbidden is then known. Where none is declared it is
  what the cost function declares, or from the least to the greatest finite private cost of the problem.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from agentsim.dcop.problem import Cost, Table
from agentsim.errors import UserError
from agentsim.runtime.statements import Best, Chosen, Statement, Unanalysed
from agentsim.runtime.view import Setup
from privacy.adversaries.learner import Learner
from privacy.adversaries.possible import Possible
from privacy.adversaries.profiles import FORBIDDEN, Cells, Key
from privacy.adversaries.sums import Sums
from privacy.dpcop.model import Dpcop, Pricing, Secret
from privacy.dpcop.revelation import Distributions, KnownSecrets, Probabilities, Revelation

LIMIT: Final = 200_000
"""Most combinations of private costs gone through at once; statements that need more are put off."""

MAX_LEVELS: Final = 100_000
"""Most possible costs of one entry."""

_Key = tuple[str, frozenset[str]]


@dataclass(frozen=True, slots=True, eq=False)
class _Function:
    """A private function: in the run it is these cost functions, in the user's problem over `variables`."""

    agent: str
    name: str
    keys: tuple[Key, ...]
    variables: tuple[str, ...]
    table: Table  # user's units
    offset: Cost
    bounds: tuple[Cost, Cost] | None

    @property
    def forbidden(self) -> NDArray[np.bool_]:
        return ~np.isfinite(self.table)

    @property
    def looks_hard(self) -> bool:
        undeclared = self.bounds in (None, (0, 0))
        return undeclared and bool((self.table[~self.forbidden] == 0).all() and self.forbidden.any())


class PrivateCosts:
    """The private functions of a run and what is possible of them beforehand.

    Args:
        dpcop: secrets, and public ranges by agent.
        setup: the run's setup.

    Attributes:
        functions: by agent and variables.
        notes: sentences about what was taken as public.

    Raises:
        UserError: costs are not whole numbers, too large, or outside of their declared range, or there are too many
            possible ones.
    """

    def __init__(self, dpcop: Dpcop, setup: Setup) -> None:
        self.setup = setup
        problem = setup.problem
        if not problem.integral:
            raise UserError(
                "privacy: costs must be whole numbers, so that what a peer may think possible can be counted"
            )
        self._possible = {agent: stake.possible for agent, stake in dpcop.stakes.items()}
        self.functions: dict[_Key, _Function] = {}
        for agent, name, own, scope, table, bounds, offset in _private(setup):
            original = tuple(setup.copies.get(v, v) for v in scope)
            key = (agent, frozenset(original))
            old = self.functions.get(key)
            if old is None:
                self.functions[key] = _Function(agent, name, (own,), original, table, offset, bounds)
                continue
            aligned = np.transpose(table, [original.index(v) for v in old.variables])
            both = (
                (old.bounds[0] + bounds[0], old.bounds[1] + bounds[1])
                if old.bounds is not None and bounds is not None
                else None
            )
            self.functions[key] = _Function(
                agent, old.name, (*old.keys, own), old.variables, old.table + aligned, old.offset + offset, both
            )
        self._observed = _finite_range(f.table for f in self.functions.values())
        self._check_ranges()
        assumed = [f for f in self.functions.values() if self._is_assumed(f)]
        self.notes: tuple[str, ...] = ()
        if assumed:
            low, high = self._observed
            self.notes = (
                f"no range of costs is declared for {len(assumed)} of {len(self.functions)} private functions: that "
                f"they lie between {low:g} and {high:g}, the least and the greatest of all, is taken as public",
            )

    def _check_ranges(self) -> None:
        """Refuse true costs that nobody thinks possible, and sums that a forbidden entry does not outweigh."""
        most = sum(np.abs(table[np.isfinite(table)]).max(initial=0) for _, table in self.setup.problem.functions())
        for function in self.functions.values():
            possible = self.range_of(function)
            if possible == "hard":
                continue
            count = _levels(possible, 1)[1]
            if count > MAX_LEVELS:
                raise UserError(
                    f"privacy: {count} possible costs of {function.name}, more than {MAX_LEVELS}: narrow its range"
                )
            low, high = _finite_range([function.table])
            if not function.forbidden.all() and not possible[0] <= low <= high <= possible[1]:
                raise UserError(
                    f"privacy: the costs of {function.name} lie between {low:g} and {high:g}, outside of their "
                    f"declared range from {possible[0]:g} to {possible[1]:g}"
                )
            most += max(map(abs, possible))
        if 4 * most >= FORBIDDEN and any(self.range_of(f) == "hard" for f in self.functions.values()):
            raise UserError("privacy: costs are too large to be told from infinite ones: scale them down")

    def _is_assumed(self, function: _Function) -> bool:
        return self._possible.get(function.agent) is None and function.bounds is None and not function.looks_hard

    def range_of(self, function: _Function) -> tuple[Cost, Cost] | Literal["hard"]:
        """Return what is possible of a private function's entries, in the user's units."""
        declared = self._possible.get(function.agent)
        if declared is not None:
            return declared
        if function.looks_hard:
            return "hard"
        return function.bounds or self._observed

    def cells(self, known: Iterable[str]) -> Cells:
        """Return the unknown costs of everybody but the agents `known`."""
        own, sense = frozenset(known), self.setup.sense
        variable: list[str] = []
        value: list[int] = []
        levels: list[int] = []
        weights: list[int] = []
        at: dict[Key, NDArray[np.intp]] = {}
        floors: dict[Key, Cost] = {}
        one: dict[Key, Key] = {}
        for function in self.functions.values():
            if function.agent in own:
                continue
            possible = self.range_of(function)
            unknown = np.ones(function.table.shape, bool) if possible == "hard" else ~function.forbidden
            cells = np.full(function.table.shape, -1, np.intp)
            cells[unknown] = np.arange(len(variable), len(variable) + int(unknown.sum()))
            low, count = (0, 2) if possible == "hard" else _levels(possible, sense)
            n = int(unknown.sum())
            variable += [function.variables[0]] * n
            value += np.flatnonzero(unknown).tolist()
            levels += [count] * n
            weights += [FORBIDDEN if possible == "hard" else 1] * n
            for own_key in function.keys:
                at[own_key] = self._along(own_key, function, cells)
                floors[own_key] = low + function.offset
                one[own_key] = function.keys[0]
        weigh = np.array(weights, np.int64) if FORBIDDEN in weights else None
        return Cells(tuple(variable), tuple(value), tuple(levels), None, at, floors, weigh, one)

    def _along(self, key: Key, function: _Function, cells: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the cells in the order of axes of one of the function's cost functions."""
        if isinstance(key, str):
            return cells
        scope = [self.setup.copies.get(v, v) for v in self.setup.problem.constraints[key[0]].scope]
        return np.transpose(cells, [function.variables.index(v) for v in scope])

    def place_of(self, secret: Secret) -> tuple[_Function, tuple[int, ...]]:
        """Return the private function that a secret is an entry of, and the entry's index in its table."""
        function = self.functions[secret.agent, frozenset(secret.entry)]
        domains = {v: self.setup.original.variables[v].domain for v in function.variables}
        return function, tuple(domains[v].index(secret.entry[v]) for v in function.variables)


_Private = tuple[str, str, Key, tuple[str, ...], Table, tuple[Cost, Cost] | None, Cost]


def _private(setup: Setup) -> Iterator[_Private]:
    """Yield each private cost function: agent, name, key, scope, table in user's units, declared range, offset."""
    problem = setup.problem
    for v in problem.variables.values():
        if v.unary is not None:
            yield v.agent, v.name, v.name, (v.name,), v.unary, v.cost_range, setup.unary_offsets.get(v.name, 0)
    for c in problem.constraints.values():
        who = problem.known_to(c)
        if len(who) == 1 and len(problem.agents) > 1:
            offset = setup.constraint_offsets.get(c.name, 0)
            yield who[0], c.name, (c.name,), c.scope, c.table, c.cost_range, offset


def _finite_range(tables: Iterable[Table]) -> tuple[Cost, Cost]:
    low, high = math.inf, -math.inf
    for table in tables:
        finite = table[np.isfinite(table)]
        if finite.size:
            low, high = min(low, finite.min().item()), max(high, finite.max().item())
    return (int(low), int(high)) if low <= high else (0, 0)


def _levels(possible: tuple[Cost, Cost], sense: int) -> tuple[int, int]:
    """Return the least cost, minimising, and the number of costs of a range in user's units."""
    low, high = math.ceil(possible[0]), math.floor(possible[1])
    return (low if sense > 0 else -high), high - low + 1


class Belief:
    """What somebody thinks possible of all private costs but their own.

    Args:
        costs: the private functions.
        holders: the agents who hold it; they know their own costs, and share what they are told.

    Attributes:
        unused: labels of what was told and is not analysed, or is a random choice: it may say more of private costs.
    """

    def __init__(self, costs: PrivateCosts, holders: Iterable[str]) -> None:
        self._costs = costs
        self._cells = costs.cells(holders)
        self._learner = Learner(Sums(costs.setup, self._cells), Possible(self._cells, LIMIT))
        self.unused: set[str] = set()

    def hear(self, statements: Iterable[Statement]) -> bool:
        """Learn from statements; tell whether anything is known better than before."""
        told = list(statements)
        for s in told:
            if isinstance(s, Unanalysed) or (isinstance(s, Chosen) and not isinstance(s.law, Best)):
                self.unused.add(s.label)
        return self._learner.hear(told)

    @property
    def exact(self) -> bool:
        """Whether all that was told of costs and best choices is accounted for; else the peer may know more."""
        return self._learner.possible.exact and not self._learner.ignored

    @property
    def complete(self) -> bool:
        """Whether every private cost is known."""
        return self._learner.possible.settled

    @property
    def contradicted(self) -> bool:
        """Whether what was told cannot all be true of costs within the public ranges."""
        return self._learner.possible.contradicted

    def distribution(self, secret: Secret) -> tuple[float, ...]:
        """Return the probability of each possible cost of a secret, in ascending order of (minimised) costs.

        An entry that is known to be forbidden beforehand has one possible cost.
        """
        function, index = self._costs.place_of(secret)
        cell = int(self._cells.at[function.keys[0]][index])
        return (1.0,) if cell < 0 else tuple(self._learner.possible.posterior(cell).tolist())

    def true_level(self, secret: Secret) -> int:
        """Return the place of the true cost in `distribution`."""
        function, index = self._costs.place_of(secret)
        cost = function.table[index].item()
        possible = self._costs.range_of(function)
        if possible == "hard":
            return int(not math.isfinite(cost))
        if not math.isfinite(cost):
            return 0
        sense = self._costs.setup.sense
        return int(sense * cost) - _levels(possible, sense)[0]


def revealed(beliefs: Mapping[str, Belief], secrets: Iterable[Secret], pricing: Pricing) -> Revelation:
    """Return what an agent's peers have learnt of its secrets, in the form that its pricing needs.

    Args:
        beliefs: by peer; one that is contradicted counts for nothing, since no costs fit what that peer was told.
        secrets: the agent's.
        pricing: "full": the secrets that are known (`KnownSecrets`); "bits": what is believed of each
            (`Distributions`); "probability": how much likelier than beforehand the peer thinks the true cost, as a
            share of what there was to gain, at least 0 (`Probabilities`).
    """
    sound = [(peer, belief) for peer, belief in beliefs.items() if not belief.contradicted]
    told = [(peer, s, belief.distribution(s)) for s in secrets for peer, belief in sound]
    if pricing == "full":
        known: dict[str, set[str]] = {}
        for peer, s, chances in told:
            if len(chances) > 1 and max(chances) == 1.0:
                known.setdefault(peer, set()).add(s.name)
        return KnownSecrets({peer: frozenset(names) for peer, names in known.items()})
    if pricing == "bits":
        return Distributions({(peer, s.name): chances for peer, s, chances in told if len(chances) > 1})
    gains: dict[tuple[str, str], float] = {}
    for peer, s, chances in told:
        if len(chances) > 1:
            before = 1 / len(chances)
            gains[peer, s.name] = min(1.0, max(0.0, (chances[beliefs[peer].true_level(s)] - before) / (1 - before)))
    return Probabilities(gains)
