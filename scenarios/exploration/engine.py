"""Exploring: many runs of solvers under many schedules, each checked, the first failures shrunk, a tally kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from agentsim.dcop.problem import Problem
from agentsim.errors import UserError
from agentsim.runtime import registry
from agentsim.runtime.agent import Agent
from agentsim.runtime.network import Network
from agentsim.runtime.registry import make_params
from agentsim.runtime.setup import find_solver, prepare
from scenarios.executors import Executor, Serial
from scenarios.exploration.checks import MAX_MESSAGES, TIMEOUT_S
from scenarios.exploration.failures import tell
from scenarios.exploration.plans import Account, Found, Plan, work
from scenarios.exploration.shrinking import SECONDS
from scenarios.exploration.tally import MAX_KEPT, Tally, asked_of

MAX_FAILURES: Final = 50
"""After so many an exploration ends: what it is about is known by then."""

SAVE_S: Final = 1.0

Progress = Callable[[int, int, int], None]


def solvers_of(given: Sequence[str | type[Agent]]) -> tuple[str | type[Agent], ...]:
    """Return solvers once each, `complete` and `incomplete` standing for all of theirs; UserError if there is none."""
    found: list[str | type[Agent]] = []
    for solver in given:
        if solver in ("complete", "incomplete"):
            registered = registry.names("solvers")
            found += [n for n in registered if registry.find("solvers", n).complete == (solver == "complete")]
        else:
            find_solver(solver)
            found.append(solver)
    return tuple(dict.fromkeys(found))


def explore(
    problem: Problem | None,
    solvers: Sequence[str | type[Agent]],
    *,
    runs: int,
    seed: int = 0,
    networks: Sequence[str] = (),
    params: Mapping[str, Any] | None = None,
    max_variables: int = 5,
    max_domain: int = 3,
    max_messages: int = MAX_MESSAGES,
    timeout: float = TIMEOUT_S,
    executor: Executor | None = None,
    folder: Path | None = None,
    source: str | None = None,
    shrink: float = SECONDS,
    max_failures: int = MAX_FAILURES,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
    begun: Callable[[Tally], None] | None = None,
) -> Tally:
    """Run solvers under many schedules, check every run, and shrink the first failure of each kind.

    Args:
        problem: what to solve; None for random problems.
        solvers: names, `complete`, `incomplete`, or classes.
        runs: of each solver.
        seed: of every random draw.
        networks: to take in turn; none for those that are drawn.
        params: of all solvers.
        max_variables: of a random problem.
        max_domain: values of a variable of one.
        max_messages: deliveries after which a run counts as hung.
        timeout: wall seconds after which one does.
        executor: where to run; None for this process. Classes must then be such as a worker can import.
        folder: where the tally is kept and gone on from, and problems of failures are written; None keeps no tally and
            writes to the current folder.
        source: the file that the problem came from.
        shrink: seconds for each failure that is shrunk; 0 for none.
        max_failures: after so many no further run is begun.
        progress: told how many runs are done, of how many, and how many were bad.
        say: told of failures as they come.
        begun: given the tally at once, for those who show it after Ctrl-C too.

    Returns:
        The tally of all runs so far, those of earlier calls with the same folder among them.

    Raises:
        UserError: something given makes no sense, the folder is of another exploration, or cannot be written.
        SolverRefusal: a solver cannot do the problem that was given.
    """
    plan = Plan(
        solvers_of(solvers), problem, seed, tuple(networks), dict(params or {}), max_variables, max_domain,
        max_messages, timeout,
    )  # fmt: skip
    _check(plan)
    asked = asked_of(plan)
    tally = Tally(asked) if folder is None else Tally.read(folder, asked)
    if begun is not None:
        begun(tally)
    session = _Session(plan, tally, folder, source, shrink, say)
    left = tally.left(runs)
    total = tally.runs + sum(len(part) for part in left) * len(plan.solvers)
    if progress is not None:
        progress(tally.runs, total, tally.bad)
    try:
        if tally.bad < max_failures:
            for index, account in (executor or Serial()).map(partial(work, plan), left):
                session.add(left[index], account)
                if progress is not None:
                    progress(tally.runs, total, tally.bad)
                if tally.bad >= max_failures:
                    break
    finally:
        session.save()
    return tally


def _check(plan: Plan) -> None:
    """Refuse what makes no sense before anything is run."""
    if not plan.solvers:
        raise UserError("there is no solver to explore")
    for solver in plan.solvers:
        name, cls = find_solver(solver)
        make_params(cls.Params, plan.params, f"solver {name}")
        if plan.problem is not None:
            prepare(plan.problem, cls, name, plan.params)
    for network in plan.networks if plan.problem is not None else ():
        assert plan.problem is not None
        Network.parse(network, plan.problem.agents)
    assert plan.optimum is None or plan.problem is not None  # found now, once, and not in every worker


class _Session:
    """One call's share of an exploration: what it adds to the tally, and when that is written."""

    def __init__(
        self,
        plan: Plan,
        tally: Tally,
        folder: Path | None,
        source: str | None,
        shrink: float,
        say: Callable[[str], None] | None,
    ) -> None:
        self._plan, self._tally, self._folder, self._source = plan, tally, folder, source
        self._shrink, self._say = shrink, say
        self._before = tally.seconds
        self._began = self._saved = time.monotonic()
        self._told = {(failure["solver"], failure["kind"]) for failure in tally.failures if "kind" in failure}

    def add(self, runs: range, account: Account) -> None:
        """Take in an account, telling of what it found."""
        for found in account.found:
            self._add_failure(found)
        self._tally.add(runs, account)
        if account.found or time.monotonic() - self._saved > SAVE_S:
            self.save()

    def _add_failure(self, found: Found) -> None:
        if len(self._tally.failures) >= MAX_KEPT:
            return
        name = find_solver(self._plan.solvers[found.solver])[0]
        if (name, found.kind) in self._told:  # told already, and most likely of the same fault
            return
        self._told.add((name, found.kind))
        failure = tell(self._plan, found, self._folder or Path(), self._source, self._shrink, self._say)
        self._tally.failures.append(failure)
        if self._say is not None:
            self._say(f"{failure['why']}: {failure['command']}")

    def save(self) -> None:
        """Write the tally, if it is kept."""
        self._saved = time.monotonic()
        self._tally.seconds = self._before + self._saved - self._began
        if self._folder is not None:
            self._tally.write(self._folder)
