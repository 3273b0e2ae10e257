"""Games on two problems that differ in private costs alone: any solver, any view; what tells them apart is learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from agentsim.dcop.problem import Constraint, Problem, Table, Variable
from agentsim.errors import UserError
from agentsim.runtime.mechanisms import Claim
from agentsim.runtime.observer import ObserverView
from agentsim.runtime.view import Setup
from privacy.audit import Statistic
from scenarios.audits.base import BINARY, GAIN, LEARNED, TARGET, Game, Subject, run_seed
from scenarios.audits.features import Seen, remember, share_names, to_statistics


@dataclass(frozen=True, slots=True)
class Difference:
    """How two problems differ.

    Args:
        tables: cost functions that differ, by name; a private cost by its variable's.
        entries: how many of their entries do.
    """

    tables: tuple[str, ...]
    entries: int

    @classmethod
    def of(cls, a: Problem, b: Problem) -> Difference:
        """Return the difference; UserError if they are the same, or differ in what is public."""
        if _public_part(a) != _public_part(b):
            raise UserError(
                "the two problems differ in more than costs: agents, variables, domains, scopes and declared ranges "
                "are public, and nothing promises to hide them"
            )
        pairs = zip(_tables(a), _tables(b), strict=True)
        entries = {name: int(np.count_nonzero(x != y)) for (name, x), (_, y) in pairs}
        if not any(entries.values()):
            raise UserError("the two problems are the same: there is nothing to tell apart")
        return cls(tuple(name for name, n in entries.items() if n), sum(entries.values()))

    def within(self, unit: str, setup: Setup) -> bool:
        """Tell whether a guarantee of this unit speaks of two problems that differ so."""
        if unit == "entry":
            return self.entries == 1
        if unit == "edge":
            return len(self.tables) == 1
        changed = set(self.tables)
        using = (node for node, used in setup.evaluated_at.items() if changed & {node, *(c.name for c in used)})
        return len({setup.nodes[node] for node in using}) == 1

    def to_json(self) -> dict[str, Any]:
        """Return what of it users are told."""
        return {"tables_that_differ": list(self.tables), "entries_that_differ": self.entries}


def _public_part(problem: Problem) -> tuple[Any, ...]:
    """Return everything about a problem but its costs."""
    variables = [
        (v.name, v.domain.values, v.agent, v.unary is not None, v.initial, v.cost_range)
        for v in problem.variables.values()
    ]
    constraints = [(c.name, c.scope, c.owner, c.known_to, c.cost_range) for c in problem.constraints.values()]
    return problem.objective, problem.constant, problem.agents, variables, constraints


def _tables(problem: Problem) -> Iterator[tuple[str, Table]]:
    for v in problem.variables.values():
        if v.unary is not None:
            yield v.name, v.unary
    for c in problem.constraints.values():
        yield c.name, c.table


def claim_about(difference: Difference, setup: Setup, claim: Claim | None) -> tuple[Claim | None, tuple[str, ...]]:
    """Return a solver's claim if it speaks of problems that differ so, and what users should know about that."""
    if claim is None or difference.within(claim.unit, setup):
        return claim, ()
    what = {"own": "the tables that one agent uses", "agent": "the tables that one agent uses"}.get(claim.unit)
    return None, (
        f"the solver's claim is about {what or f'one {claim.unit}'}: the problems differ in more than that "
        f"({len(difference.tables)} cost functions, {difference.entries} entries)",
    )


@dataclass(frozen=True)
class Pair(Game):
    """A solver on two problems, one run after the other.

    Args:
        subject: what is audited.
        seed: of every random draw.
        eyes: whose eyes the guesser has.
        problems: the two worlds.
    """

    subject: Subject
    seed: int
    eyes: ObserverView
    problems: tuple[Problem, Problem]

    statistic: ClassVar[str] = LEARNED
    batch: ClassVar[int] = 10

    @classmethod
    def of(cls, subject: Subject, seed: int, view: str, problems: tuple[Problem, Problem]) -> Pair:
        """Return the game; UserError if the view is none, the problems no pair, or the solver cannot do them."""
        made = cls(subject, seed, ObserverView.parse(view, problems[0].agents), problems)
        _ = made.difference, made.setup  # which may refuse
        return made

    @cached_property
    def difference(self) -> Difference:
        """How the problems differ."""
        return Difference.of(*self.problems)

    @cached_property
    def setup(self) -> Setup:
        """The solver's setup on the first of them."""
        return self.subject.setup(self.problems[0])

    @property
    def solver(self) -> str:
        """Name of what is audited."""
        return self.subject.name

    @property
    def claim(self) -> Claim | None:
        """What the solver claims, if that speaks of these problems."""
        return claim_about(self.difference, self.setup, self.subject.solver.claim(self.setup))[0]

    @property
    def view(self) -> str:
        """Whose eyes the guesser has."""
        return self.eyes.spec

    @property
    def about(self) -> Mapping[str, Any]:
        """Which worlds these are."""
        return {"worlds": [p.name for p in self.problems], **self.difference.to_json()}

    @property
    def notes(self) -> tuple[str, ...]:
        """What users should know."""
        notes = self.subject.notes + claim_about(self.difference, self.setup, self.subject.solver.claim(self.setup))[1]
        knowing = sorted(self._know_the_difference.intersection(self.eyes.agents))
        return (*notes, f"{', '.join(knowing)} knows in which world it is without a message") if knowing else notes

    @property
    def _know_the_difference(self) -> set[str]:
        """Who may evaluate some table that differs."""
        problem, changed = self.problems[0], self.difference.tables
        owners = {v.agent for v in problem.variables.values() if v.name in changed}
        return owners.union(*(problem.known_to(c) for c in problem.constraints.values() if c.name in changed))

    def play(self, world: int, number: int, runs: int) -> list[Seen]:
        """Return the features of so many runs."""
        sees = self.eyes.sees(self.setup.nodes)
        first = number * self.batch
        seeds = [run_seed(self.seed, world, i) for i in range(first, first + runs)]
        return share_names(remember(self.subject.run(self.problems[world], seed).log, sees) for seed in seeds)

    def statistics(self, zero: Sequence[Any], one: Sequence[Any]) -> list[Statistic]:
        """Return the tables of features."""
        return to_statistics([run for batch in zero for run in batch], [run for batch in one for run in batch])


def small_pair(subject: Subject, seed: int, view: str | None) -> Pair:
    """Return a game of three honest agents in a row, for a solver of which nothing is known.

    The target stands between a parent and a child, which look. What it alone knows, the utility of its values to
    itself, differs: by one entry if that is what the solver protects, else altogether.
    """

    def world(*utilities: float) -> Problem:
        variables = [Variable(name, BINARY) for name in ("parent", "child")]
        variables.insert(1, Variable(TARGET, BINARY, unary=np.array(utilities), cost_range=(0, GAIN)))
        equal = np.array([[GAIN / 2, 0], [0, GAIN / 2]])
        scopes = (("parent", TARGET), (TARGET, "child"))
        ties = [Constraint(" ".join(scope), scope, equal, cost_range=(0, GAIN)) for scope in scopes]
        return Problem.build(variables, ties, name="audit", objective="max")

    claim = subject.solver.claim(subject.setup(world(0, 0)))
    if claim is not None and claim.unit == "entry":
        problems = world(0, 0), world(GAIN, 0)
    else:
        problems = world(0, GAIN), world(GAIN, 0)
    return Pair.of(subject, seed, view or "coalition:parent+child", problems)
