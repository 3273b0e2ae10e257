"""What is explored: run i of a seed, for each solver, and the account of a block of runs.

Runs of one block share a problem, so that it is drawn and its optimum is found once, for all solvers and schedules.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np

from agentsim.dcop.problem import Cost, Problem
from agentsim.runtime.agent import Agent
from agentsim.runtime.setup import find_solver
from agentsim.testing import random_problem
from scenarios.exploration.checks import DEAR, MAX_MESSAGES, TIMEOUT_S, Case, attempt, judge, optimum_of
from scenarios.exploration.options import options_of
from scenarios.exploration.schedules import draw_network

BLOCK: Final = 8
GIVEN: Final = "given"
"""The family of networks that were asked for by name."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What is explored.

    Run 0 of each solver has its own defaults; later ones vary its parameters, those apart that are given.

    Args:
        solvers: names, or classes.
        problem: to be solved; None for random ones.
        seed: of every random draw; run i itself has the seed `seed + i`.
        networks: taken in turn; none for random ones.
        params: of all solvers.
        max_variables: of a random problem.
        max_domain: values of a variable of one.
        max_messages: deliveries after which a run counts as hung.
        timeout: wall seconds after which one does.
    """

    solvers: tuple[str | type[Agent], ...]
    problem: Problem | None = None
    seed: int = 0
    networks: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    max_variables: int = 5
    max_domain: int = 3
    max_messages: int = MAX_MESSAGES
    timeout: float = TIMEOUT_S

    @cached_property
    def optimum(self) -> Cost | None:
        """The optimum of the problem that is given, if any solver is to be held against it."""
        if self.problem is None or not any(find_solver(solver)[1].complete for solver in self.solvers):
            return None
        return optimum_of(self.problem)

    def problem_of(self, block: int) -> tuple[Problem, Cost | None]:
        """Return the problem of a block of runs, and its optimum."""
        if self.problem is not None:
            return self.problem, self.optimum
        rng = np.random.default_rng([self.seed, block])
        drawn = random_problem(rng, max_variables=self.max_variables, max_domain=self.max_domain)
        return drawn, optimum_of(drawn)

    def cases(self, i: int, problem: Problem) -> Iterator[tuple[str, Case]]:
        """Yield the family of its network, and the case, of run i of each solver."""
        rng = np.random.default_rng([self.seed, i, 1])
        turn = int(rng.integers(1, 2**31)) if i else 0
        if self.networks:
            family, network = GIVEN, self.networks[i % len(self.networks)]
        else:
            family, network = draw_network(rng, problem.agents)
        for solver in self.solvers:
            options = {**options_of(find_solver(solver)[1], turn), **self.params}
            seed = (self.seed + i) % 2**63
            yield family, Case(problem, solver, seed, network, options, self.max_messages, self.timeout)


@dataclass(frozen=True)
class Found:
    """A run that failed or hung.

    Args:
        i: number of the run.
        solver: its place among the plan's solvers.
        hung: whether it did.
        kind: of the fault, see `Verdict`.
        why: what is wrong.
    """

    i: int
    solver: int
    hung: bool
    kind: str
    why: str


@dataclass
class Account:
    """What came of some runs.

    Args:
        outcomes: how many, by (solver's name, family, outcome).
        checks: how many of each were made.
        messages: that solvers sent.
        seconds: of a processor.
        found: what failed or hung.
    """

    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    seconds: float = 0.0
    found: list[Found] = field(default_factory=list)


def work(plan: Plan, runs: range) -> Account:
    """Do these runs of each solver, all of one block, and check them."""
    began = time.process_time()
    account = Account()
    problem, optimum = plan.problem_of(runs.start // BLOCK)
    for i in runs:
        drawn = list(plan.cases(i, problem))
        dear = frozenset(name for name, every in DEAR.items() if i % every == 0)
        results = attempt([case for _, case in drawn])
        for k, ((family, case), got) in enumerate(zip(drawn, results, strict=True)):
            verdict = judge(case, got, optimum, dear)
            account.outcomes[find_solver(case.solver)[0], family, verdict.outcome] += 1
            account.checks.update(verdict.checks)
            account.messages += verdict.messages
            if verdict.bad:
                account.found.append(Found(i, k, verdict.outcome == "hung", verdict.kind, verdict.why))
    account.seconds = time.process_time() - began
    return account


def case_of(plan: Plan, found: Found) -> tuple[str, Case]:
    """Return the family of its network, and the case, of a run that failed."""
    problem, _ = plan.problem_of(found.i // BLOCK)
    return list(plan.cases(found.i, problem))[found.solver]
