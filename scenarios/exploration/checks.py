"""One run of a solver and all that is checked of it.

Of every run: that it ends by itself, its status, cost, bound and violations against the optimum, its cost against its
assignment, and the solver's own invariants. What costs as much as further runs is asked of some:

    replay       its log, verified: the agents run again on their mail and emit what was logged
    repeat       a second run leaves the same records, though observers watch it
    observers    they find the same live and in a replay of the log
    exclusions   what they infer by rules that are sound excludes no true cost
    statements   every disclosure statement of every viewer is true, and every field is covered
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np

from agentsim import replay, run
from agentsim.dcop.problem import Cost, Problem
from agentsim.dcop.tables import NamedTable, aligned
from agentsim.errors import RunError, SolverRefusal, UserError
from agentsim.runtime.agent import Agent
from agentsim.runtime.failures import AgentFailure
from agentsim.runtime.loop import run_apart
from agentsim.runtime.network import Network
from agentsim.runtime.registry import make_params
from agentsim.runtime.result import Result
from agentsim.runtime.setup import find_solver
from agentsim.testing import check_statements
from privacy.vps import Vps, exclusions
from scenarios.exploration.guard import Guarded
from scenarios.exploration.options import checked
from scenarios.exploration.schedules import loses

MAX_MESSAGES: Final = 300_000
TIMEOUT_S: Final = 60.0
MAX_CELLS: Final = 4_000_000
"""Most assignments that are looked at one by one for the optimum."""

DEAR: Final[Mapping[str, int]] = {"replay": 16, "repeat": 64, "observers": 64, "exclusions": 64, "statements": 64}
"""Of how many runs one is asked for each of the dear checks."""

RULES: Final = ("paper", "exact", "tight")

Outcome = Literal["right", "told", "refused", "failed", "hung"]
"""Told: it ended without an answer on a network that loses messages, and said so."""


@dataclass(frozen=True, eq=False)
class Case:
    """A run that can be done again: what is solved, how, and on which schedule.

    Args:
        problem: what to solve.
        solver: a registered name, or a class.
        seed: of the run.
        network: as for `--network`.
        params: of the solver, but that it asserts its invariants.
        max_messages: deliveries after which it counts as hung.
        timeout: wall seconds after which it does.
    """

    problem: Problem
    solver: str | type[Agent]
    seed: int = 0
    network: str = "unit"
    params: Mapping[str, Any] = field(default_factory=dict)
    max_messages: int = MAX_MESSAGES
    timeout: float = TIMEOUT_S


@dataclass(frozen=True)
class Verdict:
    """What came of a run.

    Args:
        outcome: how it went.
        kind: which check found fault ("optimum", "replay" ...), or "hung" or "error: TYPE"; "" if none did.
        why: what is wrong, in a sentence.
        checks: which were made.
        messages: that the solver sent.
    """

    outcome: Outcome
    kind: str = ""
    why: str = ""
    checks: tuple[str, ...] = ()
    messages: int = 0

    @property
    def bad(self) -> bool:
        """Whether it failed or hung."""
        return self.outcome in ("failed", "hung")


class Fault(Exception):
    """A check has found something.

    Args:
        kind: the check.
        why: what it is, in a sentence.
    """

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind, self.why = kind, why


def check_run(
    problem: Problem,
    solver: str | type[Agent],
    *,
    seed: int = 0,
    network: str = "unit",
    params: Mapping[str, Any] | None = None,
    optimum: Cost | None = None,
    dear: Iterable[str] = tuple(DEAR),
    max_messages: int = MAX_MESSAGES,
    timeout: float = TIMEOUT_S,
) -> Verdict:
    """Run a solver once and check all that can be asked of the run.

    Args:
        problem: what to solve.
        solver: a registered name, or a class.
        seed: of the run.
        network: as for `simulate`.
        params: of the solver.
        optimum: of the problem, in the user's units, if it is known; infinite when infeasible.
        dear: which of the dear checks to make, names in `DEAR`; all by default.
        max_messages: deliveries after which it counts as hung.
        timeout: wall seconds after which it does.

    Raises:
        UserError: a parameter or the network makes no sense.
    """
    case = Case(problem, solver, seed, network, dict(params or {}), max_messages, timeout)
    return judge(case, attempt([case])[0], optimum, frozenset(dear))


def attempt(cases: Sequence[Case]) -> list[Result | Exception]:
    """Run cases one after the other, in one event loop: to set one up takes as long as a small run.

    Returns:
        For each its result, or the exception that ended it.

    Raises:
        UserError: a parameter or the network makes no sense.
        KeyboardInterrupt: Ctrl-C, which a run takes for itself.
    """

    async def one_by_one() -> list[Result | Exception]:
        return [await _attempt(case) for case in cases]

    return run_apart(one_by_one)


async def _attempt(case: Case, observers: Sequence[Any] = ()) -> Result | Exception:
    _, cls = find_solver(case.solver)
    options = {**checked(cls), **case.params}
    guarded = Guarded(case.timeout)
    try:
        with guarded:
            result = await run(
                case.problem, case.solver, seed=case.seed, network=case.network, observers=observers,
                max_messages=case.max_messages, **options,
            )  # fmt: skip
    except SolverRefusal as error:
        return error
    except UserError:
        raise
    except Exception as error:  # whatever it is, the run ended by it, which is for `judge` to judge
        return error
    if result.status == "interrupted" and not guarded.fired:
        raise KeyboardInterrupt
    return result


def judge(case: Case, got: Result | Exception, optimum: Cost | None, dear: frozenset[str]) -> Verdict:
    """Check a run.

    Args:
        case: what was run.
        got: what came of it.
        optimum: of the problem; None to find it here.
        dear: which dear checks to make.
    """
    _, cls = find_solver(case.solver)
    lossy = loses(Network.parse(case.network, case.problem.agents))
    made: list[str] = []
    try:
        if isinstance(got, Exception):
            return _of_error(got, cls, lossy)
        exact = cls.is_exact(make_params(cls.Params, case.params, str(case.solver)))
        if got.limit == "interrupted" or (got.limit is not None and got.limit != "deadlock" and not lossy):
            return Verdict("hung", "hung", f"still running after {_spent(case, got)}", (), got.messages)
        if exact and optimum is None:
            optimum = optimum_of(case.problem)
        made.append("ending")
        if not _check_ending(got, lossy, exact):
            return Verdict("told", "", f"{got.status}: {got.deadlock or got.limit}", ("ending",), got.messages)
        made.append("cost")
        _check_cost(case.problem, got)
        made.append("optimum" if exact else "bound")
        _check_optimum(case.problem, got, optimum, exact)
        if "invariants" in checked(cls):
            made.append("invariants")
        _check_dearly(case, cls, got, dear, made)
    except Fault as fault:
        return Verdict("failed", fault.kind, fault.why, tuple(made), _messages(got))
    return Verdict("right", "", "", tuple(made), _messages(got))


def optimum_of(problem: Problem) -> Cost:
    """Return the optimum in the user's units, infinite when infeasible: the best cell of all tables' sum.

    Raises:
        UserError: there are more than `MAX_CELLS` assignments, and DPOP cannot solve it either.
    """
    axes = tuple(problem.variables)
    shape = tuple(v.size for v in problem.variables.values())
    if math.prod(shape) > MAX_CELLS:
        return _optimum_by_dpop(problem)
    tables: list[NamedTable] = [((v.name,), v.unary) for v in problem.variables.values() if v.unary is not None]
    tables += [(c.scope, c.table) for c in problem.constraints.values()]
    total = np.full(shape, float(problem.constant))
    for scope, table in tables:
        total += aligned((scope, table), axes)
    best = float(total.min() if problem.objective == "min" else total.max())
    return int(best) if problem.integral and math.isfinite(best) else best


def _optimum_by_dpop(problem: Problem) -> Cost:
    found = attempt([Case(problem, "dpop", timeout=math.inf, max_messages=10**9)])[0]
    if isinstance(found, Exception):
        raise UserError(f"the optimum is needed, and is out of reach: {found}") from None
    if found.status == "infeasible":
        return math.inf if problem.objective == "min" else -math.inf
    assert found.cost is not None
    return found.cost


# What is checked of every run -----------------------------------------------------------------------------------------


def _messages(got: Result | Exception) -> int:
    return got.messages if isinstance(got, Result) else 0


def _spent(case: Case, got: Result) -> str:
    return f"{case.max_messages:,} deliveries" if got.limit == "max_messages" else f"{case.timeout:g} s"


def _of_error(error: Exception, cls: type[Agent], lossy: bool) -> Verdict:
    if isinstance(error, SolverRefusal):
        return Verdict("refused", "", str(error))
    cause = error.__cause__ or error
    messages = _messages(error.result) if isinstance(error, RunError) and error.result is not None else 0
    if isinstance(cause, AssertionError) and checked(cls):
        return Verdict("failed", "invariants", str(error), (), messages)
    if lossy and isinstance(error, AgentFailure):
        return Verdict("told", "", str(error), ("ending",), messages)
    return Verdict("failed", f"error: {type(cause).__name__}", str(error) or repr(error), (), messages)


def _check_ending(got: Result, lossy: bool, exact: bool) -> bool:
    """Tell whether it ended with an answer; a network that keeps messages is no excuse for anything else."""
    if got.status in (("optimal", "infeasible") if exact else ("finished", "infeasible")):
        return True
    if lossy and got.status in ("deadlock", "timeout"):
        return False
    kind = "deadlock" if got.status == "deadlock" else "ending"
    raise Fault(kind, f"ended as {got.status}{f': {got.deadlock}' if got.deadlock else ''}")


def _same(one: Cost, other: Cost, problem: Problem) -> bool:
    return one == other or abs(one - other) <= max(problem.tolerance, 1e-9)


def _check_cost(problem: Problem, got: Result) -> None:
    if got.status == "infeasible" and not got.assignment:
        return
    if got.assignment.keys() != problem.variables.keys():
        missing = [name for name in problem.variables if name not in got.assignment]
        raise Fault("cost", f"no value for {', '.join(missing[:5])}")
    true = problem.evaluate(got.assignment)
    if got.cost is None or not _same(true.cost, got.cost, problem):
        raise Fault("cost", f"says {got.cost} of an assignment that costs {true.cost}")
    if got.violations != true.violations:
        raise Fault("cost", f"says {got.violations} hard constraints are violated, which {true.violations} are")


def _check_optimum(problem: Problem, got: Result, optimum: Cost | None, exact: bool) -> None:
    if not exact:
        worse = got.bound is not None and optimum is not None and problem.better(optimum, got.bound)
        if worse and optimum is not None and got.bound is not None and not _same(optimum, got.bound, problem):
            raise Fault("bound", f"proves a bound of {got.bound} where the optimum is {optimum}")
        return
    assert optimum is not None
    if math.isinf(optimum):
        if got.status != "infeasible":
            raise Fault("optimum", f"{got.status} at {got.cost} where nothing is feasible")
        return
    if got.status != "optimal":
        raise Fault("optimum", f"{got.status} where the optimum is {optimum}")
    if got.cost is None or not _same(got.cost, optimum, problem):
        raise Fault("optimum", f"optimal at {got.cost} where the optimum is {optimum}")
    if got.bound is None or not _same(got.bound, optimum, problem):
        raise Fault("bound", f"optimal with a bound of {got.bound} where the optimum is {optimum}")
    if got.violations:
        raise Fault("optimum", f"optimal with {got.violations} hard constraints violated")


# What is checked of some ----------------------------------------------------------------------------------------------


def _check_dearly(case: Case, cls: type[Agent], got: Result, dear: frozenset[str], made: list[str]) -> None:
    if "replay" in dear:
        made.append("replay")
        replayed = replay(got.log, verify=True, solver=cls)
        if not replayed.verified or not replayed.complete:
            raise Fault("replay", f"its log is not verified: {replayed.first_difference}")
    if "statements" in dear and cls.reader is not None:
        made.append("statements")
        try:
            check_statements(case.problem, got, case.solver, **case.params)
        except AssertionError as error:
            raise Fault("statements", str(error)) from None
    if not dear.isdisjoint(("repeat", "observers", "exclusions")):
        _check_watched(case, cls, got, dear, made)


def _check_watched(case: Case, cls: type[Agent], got: Result, dear: frozenset[str], made: list[str]) -> None:
    """Run again with observers: the records are the same but for what they find, which is the same in a replay."""
    kept: list[Vps] = []

    class Kept(Vps):
        def start(self) -> None:
            kept.append(self)
            super().start()

    observers = [(Kept, {"rule": rule, "as": rule}) for rule in RULES]

    async def watched() -> Result | Exception:
        return await _attempt(case, observers)

    again = run_apart(watched)
    if isinstance(again, Exception):
        raise Fault("repeat", f"a second run, with observers, ended with {type(again).__name__}: {again}")
    if "repeat" in dear:
        made.append("repeat")
        before, after = (
            [record for record in result.log.records() if record[0] != "finding"] for result in (got, again)
        )
        if before != after:
            i = next(i for i in range(max(len(before), len(after))) if before[i : i + 1] != after[i : i + 1])
            raise Fault("repeat", f"a second run, with observers, differs at record {i} of its log")
    if "exclusions" in dear:
        made.append("exclusions")
        wrong = [f"rule {vps.label}: {what}" for vps in kept for what in exclusions(vps)]
        if wrong:
            raise Fault("exclusions", f"what was inferred excludes the truth: {wrong[0]}")
    if "observers" in dear:
        made.append("observers")
        replayed = replay(again.log, observers, solver=cls)
        different = [name for name, found in again.findings.items() if replayed.findings.get(name, found) != found]
        if different or len(replayed.findings) < len(observers):
            raise Fault("observers", f"{', '.join(different)} found something else in a replay than live")
