"""The cells of a sweep: what each one solves, as plain data, and the function that solves it.

A cell is known by its task, which has all that decides its result: the problem's generator with all parameters and the
seed, or its file with a digest; the solver with all parameters; network, observers, seed and limits. A file has its
name as seen from the spec's folder, so that both can be moved together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from agentsim.dcop.formats import load
from agentsim.dcop.problem import Problem
from agentsim.errors import AgentSimError, UserError
from agentsim.runtime import registry
from agentsim.runtime.network import Network
from agentsim.runtime.result import jsonable
from agentsim.runtime.setup import find_solver, prepare
from agentsim.runtime.simulate import make_observers
from agentsim.runtime.streams import Stream
from scenarios.commands.privacy import rational_run
from scenarios.sweeps.axes import Watch
from scenarios.sweeps.choices import PRESET, ProblemChoice, SolverChoice, digest
from scenarios.sweeps.document import Placed, fail
from scenarios.sweeps.recording import Origin, simulate
from scenarios.sweeps.spec import Block, Spec

T = TypeVar("T", int, ProblemChoice, SolverChoice, Placed, Watch)

_SEEDS: Final = 2**53  # JSON's numbers go so far in every language
_CACHED: Final = 4


@dataclass(frozen=True, slots=True)
class SolveTask:
    """What one cell solves.

    Args:
        generator: of the random problem; None for a file.
        file: the problem file, from the spec's folder; None for a generator.
        digest: SHA-256 of the file's bytes.
        problem_parameters: all parameters of the generator, and `preset` if they come from one.
        problem_seed: of the random problem, or of the noise that a file asks for.
        privacy: KEY=VALUE settings in place of those of the problem's privacy section, or "off".
        solver: its name.
        parameters: all parameters of the solver.
        network: as `agentsim solve --network` takes it.
        observers: as `--observe` takes them.
        run: number of the run of this problem, from 0.
        seed: of the run.
        timeout: wall seconds, or None.
        max_messages: deliveries, or None.
        max_time: virtual time, or None.
        check_cost: virtual time of a constraint check.
    """

    generator: str | None
    file: str | None
    digest: str | None
    problem_parameters: dict[str, Any]
    problem_seed: int
    privacy: tuple[str, ...]
    solver: str
    parameters: dict[str, Any]
    network: str
    observers: tuple[str, ...]
    run: int
    seed: int
    timeout: float | None
    max_messages: int | None
    max_time: float | None
    check_cost: float


class Solved(NamedTuple):
    """What is kept of a cell beside its rows: the run's status, or "refused"; messages, where it ran."""

    status: str
    messages: int | None


class FileChanged(AgentSimError):
    """A problem file is not what it was when the sweep began."""


@dataclass(frozen=True)
class Cells:
    """All cells of a sweep, those of one problem next to each other.

    Args:
        tasks: each once.
        repeated: how many more were asked for that are one of these.
    """

    tasks: list[SolveTask]
    repeated: int


def run_seed(seed: int, run: int) -> int:
    """Return the seed of a run: the problem's for run 0, for others one drawn from the stream ("sweep", "run", run)."""
    return seed if run == 0 else Stream(seed, "sweep", "run", str(run)).integer(_SEEDS)


def cells(spec: Spec) -> Cells:
    """Return the cells of a spec: in its order, but those of one problem together.

    Raises:
        UserError: parameters that a preset draws from a seed do not go with those given beside it.
    """
    asked = sum(map(len, spec.blocks))
    if len(spec.blocks) == 1:
        tasks = [task for _, _, task in _tasks(spec.blocks[0])]
        return Cells(tasks, asked - len(tasks))
    groups: dict[tuple[object, ...], dict[tuple[object, ...], SolveTask]] = {}
    for block in spec.blocks:
        for problem, rest, task in _tasks(block):
            groups.setdefault(problem, {}).setdefault(rest, task)
    tasks = [task for group in groups.values() for task in group.values()]
    return Cells(tasks, asked - len(tasks))


def solve_cell(task: SolveTask, base: str = ".") -> Solved:
    """Solve one cell; inside a cell of `run_cells` its rows are recorded.

    Args:
        task: what to solve.
        base: the folder from which problem files are seen.

    Raises:
        UserError: there is no such problem: a file of no sense, or parameters that the generator cannot do.
        FileChanged, OSError: the file is not, or no longer, what it was.
        RunError, and whatever an agent, an observer or a generator raises.
    """
    problem = _problem(task.generator, task.file, task.digest, _text(task.problem_parameters), task.problem_seed, base)
    source = task.file or f"generator {task.generator}"
    problem, gates, observers = rational_run(problem, source, task.privacy, task.observers)
    try:
        result = simulate(
            problem,
            task.solver,
            origin=Origin(task.generator, task.file, task.problem_parameters, task.problem_seed),
            seed=task.seed,
            network=task.network,
            observers=observers,
            gates=gates,
            log=False,
            timeout=task.timeout,
            max_messages=task.max_messages,
            max_time=task.max_time,
            check_cost=task.check_cost,
            **task.parameters,
        )
    except UserError:  # the row says why
        return Solved("refused", None)
    return Solved(result.status, result.messages)


def provenance(task: SolveTask) -> dict[str, Any]:
    """Return the columns of the table `run` that a task alone can fill: for a cell that failed before it ran."""
    return {
        "generator": task.generator,
        "file": task.file,
        "problem_parameters": _text(task.problem_parameters),
        "problem_seed": task.problem_seed,
        "solver": task.solver,
        "solver_parameters": _text(task.parameters),
        "network": task.network,
        "observers": json.dumps(task.observers),
        "seed": task.seed,
    }


def check_first(spec: Spec) -> None:
    """Check what needs a problem, with the first of each block: networks and observers, which may name its agents.

    A problem that cannot be made or a solver that refuses it says nothing here: its cells will.

    Raises:
        UserError: a network, or observers with every solver that takes the problem, are none for it.
    """
    checked: set[object] = set()
    for block in spec.blocks:
        fresh: list[Placed | Watch] = [n for n in block.networks if n.text not in checked]
        fresh += [w for w in block.watches if w.specs and w.specs not in checked]
        if not fresh or not len(block):
            continue
        checked.update(_identity(choice) for choice in fresh)
        first = next(_tasks(block))[2]
        try:
            problem = _problem(
                first.generator, first.file, first.digest, _text(first.problem_parameters), first.problem_seed,
                str(spec.base),
            )  # fmt: skip
        except Exception:  # whatever a generator raises: its cells fail, and say so
            continue
        for choice in fresh:
            if isinstance(choice, Placed):
                try:
                    Network.parse(choice.text, problem.agents)
                except UserError as error:
                    fail(choice.where, str(error).removeprefix("network "))
            else:
                _check_watch(choice, problem, block.solvers)


def _check_watch(watch: Watch, problem: Problem, solvers: Iterable[SolverChoice]) -> None:
    wrong: UserError | None = None
    for solver in solvers:
        name, cls = find_solver(solver.name)
        try:
            setup = prepare(problem, cls, name, solver.parameters)
        except UserError:
            continue
        try:
            make_observers(watch.specs, setup, cls, name, redacted=False)
        except UserError as error:
            wrong = error
        else:
            return
    if wrong is not None:
        fail(watch.where, str(wrong))


@lru_cache(maxsize=_CACHED)
def _problem(
    generator: str | None, file: str | None, expected: str | None, parameters: str, seed: int, base: str
) -> Problem:
    """Return a cell's problem. Cells of one problem are next to each other, so few need be kept."""
    if file is not None:
        path = Path(base, file)
        if digest(path) != expected:
            raise FileChanged(f"{file}: has changed since the sweep began; begin it again")
        return load(path, seed=seed)
    assert generator is not None
    given = {key: value for key, value in json.loads(parameters).items() if key != PRESET}
    kind = registry.find("generators", generator)
    try:
        problem: Problem = kind.generate(registry.make_params(kind.Params, given, f"generator {generator}"), seed)
    except ValueError as error:
        raise UserError(f"generator {generator}: {error}") from error
    return problem


def _text(parameters: Mapping[str, Any]) -> str:
    return json.dumps(jsonable(parameters))


def _tasks(block: Block) -> Iterator[tuple[tuple[object, ...], tuple[object, ...], SolveTask]]:
    """Yield what tells the problem from others, what tells the cell from others with this problem, and the task."""
    solvers = [(solver.identity, dict(solver.parameters), solver.name) for solver in _each(block.solvers)]
    others = list(product(_each(block.networks), _each(block.watches), _each(block.runs)))
    limits = block.limits
    for problem, seed in product(_each(block.problems), _each(block.seeds)):
        identity = (problem.identity, seed)
        made = problem.parameters(seed)
        seeds = {run: run_seed(seed, run) for run in block.runs}
        for (solver, parameters, name), (network, watch, run) in product(solvers, others):
            rest = (solver, network.text, watch.specs, run, limits, block.check_cost)
            yield (
                identity,
                rest,
                SolveTask(
                    problem.generator, problem.file, problem.digest, made, seed, problem.privacy, name, parameters,
                    network.text, watch.specs, run, seeds[run], limits.timeout, limits.max_messages, limits.max_time,
                    block.check_cost,
                ),
            )  # fmt: skip


def _each(choices: Sequence[T]) -> Sequence[T]:
    """Return the choices without those that are there already."""
    if isinstance(choices, range):
        return choices
    return list({_identity(choice): choice for choice in reversed(choices)}.values())[::-1]


def _identity(choice: int | ProblemChoice | SolverChoice | Placed | Watch) -> object:
    match choice:
        case Placed():
            return choice.text
        case Watch():
            return choice.specs
        case ProblemChoice() | SolverChoice():
            return choice.identity
    return choice
