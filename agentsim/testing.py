"""Helpers for tests, ours and our users': random problems, brute force, and whether a statement holds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from agentsim.dcop.problem import Constraint, Cost, Domain, Problem, Variable
from agentsim.dcop.tables import NamedTable, join, minimised, restrict
from agentsim.runtime.agent import Agent
from agentsim.runtime.mechanisms import Mechanism
from agentsim.runtime.observer import ObserverView
from agentsim.runtime.reading import make_reader
from agentsim.runtime.result import Result
from agentsim.runtime.setup import find_solver, prepare
from agentsim.runtime.statements import (
    Best,
    Chosen,
    CostIs,
    CostTable,
    Exponential,
    Nothing,
    Proposed,
    Relation,
    Released,
    Rest,
    Softmax,
    Statement,
    Term,
    Unanalysed,
    ValueIs,
    uncovered,
)
from agentsim.runtime.view import Setup

ROUNDING = 1e-9
"""Relative error allowed to figures of whole-number problems that are not whole themselves, such as means."""


def brute_force(problem: Problem) -> Cost:
    """Return the optimum in the user's units by trying every assignment; infinite when infeasible."""
    best: Cost | None = None
    for indices in problem.assignments():
        cost = problem.evaluate_indices(indices).cost
        if best is None or problem.better(cost, best):
            best = cost
    assert best is not None, "a problem has at least one assignment"
    return best


def random_problem(
    rng: np.random.Generator,
    *,
    max_variables: int = 6,
    max_domain: int = 3,
    max_cells: int = 1000,
) -> Problem:
    """Return a random problem of the kinds that break solvers.

    Binary and ternary constraints, unary costs, hard tuples, infeasible corners, negative costs, ties, forests,
    isolated variables, several variables per agent, agents without variables, minimising and maximising, with
    fractional costs now and then.
    """
    n = int(rng.integers(1, max_variables + 1))
    sizes = [int(rng.integers(1, max_domain + 1)) for _ in range(n)]
    while math.prod(sizes) > max_cells:
        sizes[int(np.argmax(sizes))] -= 1
    kind = rng.random(6)
    low, high = ((-5, 6), (0, 2), (0, 10), (0, 1))[int(rng.integers(4))]
    hard = float(rng.choice([0.0, 0.0, 0.1, 0.3, 0.6]))
    objective: Literal["min", "max"] = "min" if kind[0] < 0.7 else "max"
    worst = math.inf if objective == "min" else -math.inf
    fractional = kind[1] < 0.15

    def table(shape: tuple[int, ...], forbid: float) -> Any:
        costs = rng.integers(low, high + 1, shape).astype(float)
        if fractional:
            costs += rng.random(shape).round(3)
        costs[rng.random(shape) < forbid] = worst
        return costs

    domains = {size: Domain(f"d{size}", tuple(range(size))) for size in set(sizes)}
    shared = kind[2] < 0.25
    agents = [f"a{int(rng.integers(n))}" if shared else "" for _ in range(n)]
    variables = [
        Variable(
            f"x{i}",
            domains[sizes[i]],
            agents[i],
            unary=table((sizes[i],), hard / 3) if rng.random() < 0.5 else None,
        )
        for i in range(n)
    ]
    constraints: list[tuple[int, ...]] = []
    density = float(rng.choice([0.3, 0.6, 1.0]))
    for i in range(n):
        for j in range(i):
            if rng.random() < density:
                scope = (i, j) if rng.random() < 0.5 else (j, i)
                constraints.append(scope)
    if n >= 3 and kind[3] < 0.4:
        extra = int(rng.integers(1, 3))
        constraints += [tuple(int(i) for i in rng.choice(n, 3, replace=False)) for _ in range(extra)]
    built = [
        Constraint(f"c{k}", tuple(f"x{i}" for i in scope), table(tuple(sizes[i] for i in scope), hard))
        for k, scope in enumerate(constraints)
    ]
    idle = ("idle",) if kind[4] < 0.1 else ()
    return Problem.build(variables, built, objective=objective, agents=idle, constant=int(rng.integers(-3, 4)))


def twin(problem: Problem) -> Problem:
    """Return the same problem with the other objective and all costs negated: its optimum is the negative."""

    def negated(table: Any) -> Any:
        return -1 * table

    return Problem.build(
        [
            replace(v, unary=None if v.unary is None else negated(v.unary), cost_range=_flip(v.cost_range))
            for v in problem.variables.values()
        ],
        [replace(c, table=negated(c.table), cost_range=_flip(c.cost_range)) for c in problem.constraints.values()],
        name=problem.name,
        objective="max" if problem.objective == "min" else "min",
        agents=problem.agents,
        constant=-problem.constant,
    )


def _flip(bounds: tuple[Cost, Cost] | None) -> tuple[Cost, Cost] | None:
    return None if bounds is None else (-bounds[1], -bounds[0])


# Statements ----------------------------------------------------------------------------------------------------


class Truth:
    """The true costs against which statements are held, in solver's units.

    Args:
        setup: the run's setup; says which node evaluates which cost function.
        final: the run's final assignment as domain indices, for statements on final values.
    """

    def __init__(self, setup: Setup, final: Mapping[str, int] | None = None) -> None:
        self._setup = setup
        self._final = final
        self._sizes = setup.domain_sizes
        self._functions: dict[tuple[tuple[str, ...], Rest, Cost], list[NamedTable]] = {}
        self._costs: dict[tuple[object, ...], Cost] = {}
        self._rows: dict[tuple[object, ...], NDArray[Any]] = {}

    def holds(self, statement: Statement, now: Mapping[str, int] | None = None) -> bool:
        """Tell whether a statement is true; one that makes no sense (names, indices, figures) is not.

        Of a cost with noise, of a mechanism and of a random choice only that can be told, and of the latter also
        that the value was possible.

        Args:
            statement: of any kind.
            now: current values, for statements on those.

        Raises:
            TypeError: the statement is of no kind that is known here.
        """
        if isinstance(statement, (Nothing, Unanalysed)):
            return True
        if isinstance(statement, Proposed):
            return self._sensible(statement.context)
        if isinstance(statement, CostIs):
            return self._cost_is(statement)
        if isinstance(statement, CostTable):
            return self._cost_table(statement)
        if isinstance(statement, ValueIs):
            if not self._sensible({statement.variable: statement.value}):
                return False
            known = self._final if statement.when == "final" else now
            return known is None or known.get(statement.variable, statement.value) == statement.value
        if isinstance(statement, Chosen):
            return self._chosen(statement)
        if isinstance(statement, Released):
            known_tables = {*self._setup.problem.variables, *self._setup.problem.constraints}
            return (
                isinstance(statement.mechanism, Mechanism)
                and statement.sensitivity >= 0
                and statement.about in self._setup.nodes
                and known_tables.issuperset(statement.tables)
            )
        raise TypeError(f"no truth is known for {type(statement).__name__}")

    def _sensible(self, values: Mapping[str, int]) -> bool:
        return all(0 <= value < self._sizes.get(name, 0) for name, value in values.items())

    def _meant(self, term: Term | CostTable) -> bool:
        """Tell whether it is clear which cost functions are meant, and under which values."""
        return (
            bool(term.parties)
            and all(party in (self._setup.nodes if term.rest == "share" else self._sizes) for party in term.parties)
            and term.rest in get_args(Rest)
            and (term.rest != "subtree" or self._setup.tree is not None)
            and self._sensible(term.context)
        )

    def _tolerance(self, forbidden: Cost, *figures: Cost) -> float:
        """Return what two equal sums may differ by: nothing where all figures are whole numbers."""
        problem = self._setup.problem
        finite = [abs(f) for f in (*figures, forbidden) if math.isfinite(f)]
        if problem.integral:
            return 0.0 if all(float(f).is_integer() for f in finite) else ROUNDING * max(1.0, *finite)
        return 10 * problem.tolerance + 1e-14 * max(finite, default=0.0)

    def _cost_is(self, statement: CostIs) -> bool:
        terms, value, forbidden = statement.terms, statement.value, statement.forbidden
        if (
            not terms
            or not all(self._meant(term) and math.isfinite(term.coefficient) for term in terms)
            or statement.relation not in get_args(Relation)
            or statement.others not in ("best", "some")
            or math.isnan(value)
        ):
            return False
        if statement.noise is not None:
            return True
        if statement.others == "some":
            totals = self._possible_sums(terms, forbidden)
        else:
            costs = (t.coefficient * self._cost(t.parties, t.rest, t.context, forbidden) for t in terms)
            totals = np.array([sum(costs)])
        tolerance = self._tolerance(forbidden, value, *(t.coefficient for t in terms))
        if statement.relation == "<":
            return bool((totals < value).any())
        if statement.relation == "<=":
            return bool((totals <= value + tolerance).any())
        if statement.relation == ">=":
            return bool((totals >= value - tolerance).any())
        return bool(_equal(totals, value, tolerance).any())

    def _cost_table(self, statement: CostTable) -> bool:
        axes, said = statement.axes, statement.values
        if not self._meant(statement) or any(name not in self._sizes or name in statement.context for name in axes):
            return False
        if said.shape != tuple(self._sizes[name] for name in axes) or len(set(axes)) != len(axes):
            return False
        tables = [restrict(t, statement.context) for t in self._evaluated(statement.parties, statement.rest, math.inf)]
        tolerance = self._tolerance(math.inf, *said[np.isfinite(said)].ravel().tolist())
        return bool(_equal(join(minimised(tables, axes, self._sizes), axes, self._sizes), said, tolerance).all())

    def _chosen(self, statement: Chosen) -> bool:
        variable, value, law, forbidden = statement.variable, statement.value, statement.law, statement.forbidden
        if variable in statement.context or not self._sensible({**statement.context, variable: value}):
            return False
        costs = self._possible_rows(variable, statement.context, forbidden)
        chosen, least = costs[:, value], costs.min(axis=1)
        tolerance = self._tolerance(forbidden)
        if isinstance(law, Best):
            possible = chosen <= least + tolerance
            if law.ties == "lowest":  # an equal cost of a lower value may be rounding, where costs are not whole
                possible &= (costs[:, :value] > chosen[:, None] - tolerance).all(axis=1)
        elif isinstance(law, Softmax):
            possible = (chosen < math.inf) | (law.bounds is not None) | (law.kept_with > 0)
        else:
            return isinstance(law, Exponential)
        return bool((possible | (least >= forbidden - tolerance)).any())

    # Costs.

    def _evaluated(self, parties: tuple[str, ...], rest: Rest, forbidden: Cost) -> list[NamedTable]:
        """Return the cost functions that are meant, a forbidden tuple counting `forbidden`."""
        key = (parties, rest, forbidden)
        if key not in self._functions:
            tables = [(f.scope, f.table) for f in self._setup.functions_of(parties, rest)]
            if forbidden < math.inf:
                tables = [(axes, np.where(np.isinf(table), forbidden, table)) for axes, table in tables]
            self._functions[key] = tables
        return self._functions[key]

    def _cost(
        self, parties: tuple[str, ...], rest: Rest, context: Mapping[str, int], forbidden: Cost = math.inf
    ) -> Cost:
        """Return the least cost of what is meant, over all variables that `context` leaves open."""
        tables = self._evaluated(parties, rest, forbidden)
        scope = dict.fromkeys(name for axes, _ in tables for name in axes)
        key = (parties, rest, forbidden, *(context.get(name) for name in scope))
        if key not in self._costs:
            restricted = [restrict(table, context) for table in tables]
            self._costs[key] = join(minimised(restricted, (), self._sizes), ()).item()
        return self._costs[key]

    def _possible_sums(self, terms: Sequence[Term], forbidden: Cost) -> NDArray[Any]:
        """Return every value that the sum of the terms takes as the variables left open vary."""
        with np.errstate(invalid="ignore"):  # infinity minus infinity is no number, and in no relation to any
            tables = []
            for term in terms:
                for table in self._evaluated(term.parties, term.rest, forbidden):
                    axes, costs = restrict(table, term.context)
                    tables.append((axes, term.coefficient * costs))
            sums = np.zeros(1)
            for axes, group in _connected(tables):
                sums = np.unique(np.add.outer(sums, np.unique(join(group, axes, self._sizes))))
            return sums

    def _possible_rows(self, variable: str, context: Mapping[str, int], forbidden: Cost) -> NDArray[Any]:
        """Return every row of local costs by value that a variable has as the others left open vary. Shape (n, d)."""
        tables = self._evaluated((variable,), "local", forbidden)
        key = (variable, forbidden, *(context.get(name) for axes, _ in tables for name in axes))
        if key not in self._rows:
            rows = np.zeros((1, self._sizes[variable]))
            for axes, group in _connected((restrict(table, context) for table in tables), beside=variable):
                costs = join(group, (*axes, variable), self._sizes).reshape(-1, self._sizes[variable])
                rows = (rows[:, None, :] + costs[None, :, :]).reshape(-1, self._sizes[variable])
                rows = np.unique(rows, axis=0) if len(rows) > 1 else rows
            self._rows[key] = rows
        return self._rows[key]


def _connected(tables: Iterable[NamedTable], beside: str = "") -> list[tuple[tuple[str, ...], list[NamedTable]]]:
    """Return groups of tables that have no variable in common, `beside` aside, each with the variables it has."""
    groups: list[tuple[tuple[str, ...], list[NamedTable]]] = []
    for table in tables:
        names, own = dict.fromkeys(name for name in table[0] if name != beside), [table]
        apart = []
        for axes, group in groups:
            if names.keys().isdisjoint(axes) and (names or axes):  # what has no other variable is one group
                apart.append((axes, group))
            else:
                names.update(dict.fromkeys(axes))
                own = group + own
        groups = [*apart, (tuple(names), own)]
    return groups


def _equal(one: Any, other: Any, tolerance: float) -> NDArray[np.bool_]:
    """Tell where two arrays of costs are equal, infinite ones included."""
    with np.errstate(invalid="ignore"):
        return np.asarray((one == other) | (np.abs(np.subtract(one, other)) <= tolerance))


def holds(statement: Statement, setup: Setup) -> bool:
    """Tell whether a disclosure statement is true of the problem it was drawn from."""
    return Truth(setup).holds(statement)


def check_statements(problem: Problem, result: Result, solver: str | type[Agent], **params: object) -> Counter[str]:
    """Check all that a solver's reader says of a run: of every agent's mail, and to a viewer who sees everything.

    Args:
        problem: what was solved.
        result: of the run, with its whole log.
        solver: a registered name or a class.
        **params: the solver's parameters in that run.

    Returns:
        The number of statements by label.

    Raises:
        AssertionError: a statement is not true, a payload's field is not covered by any, or there is no reader.
    """
    name, cls = find_solver(solver)
    setup = prepare(problem, cls, name, params)
    final = setup.problem.indices(result.assignment) if result.assignment and not setup.copies else None
    truth = Truth(setup, final)
    deliveries = list(result.log)
    said: Counter[str] = Counter()
    for agent in (None, *setup.problem.agents):
        sees = ObserverView("", () if agent is None else (agent,)).sees(setup.nodes)
        reader = make_reader(cls, setup, [node for node, owner in setup.nodes.items() if agent in (None, owner)])
        assert reader is not None, f"{name} has no reader"
        for delivery in deliveries:
            if sees is not None and not sees(delivery):
                continue
            statements = list(reader.read(delivery))
            missed = uncovered(delivery, statements)
            assert not missed, f"{name}: fields {missed} are not covered, viewer {agent or 'of all'}: {delivery}"
            for statement in statements:
                assert truth.holds(statement), f"{name}: not true, viewer {agent or 'of all'}: {statement}, {delivery}"
            said.update(statement.label for statement in statements)
    return said
