"""The problem model: variables with finite domains, cost tables, owners.

A problem is a set of variables, each owned by an agent, and a set of cost functions over them. A cost function
of arity one that its variable's owner knows is a *unary cost* and is kept with the variable: unary costs are what
is private. Every other cost function is a `Constraint`, a dense table over domain indices.

Costs are numbers in the user's units. A forbidden tuple costs `+inf` when the problem minimises and `-inf` when it
maximises. Where every finite cost is a whole number the problem is `integral`: its tables are int64 when they forbid
nothing and float64 (which holds whole numbers below 2**53 exactly) when they do, all sums are exact and
`tolerance` is 0. Otherwise tables are float64 and comparisons use the one `tolerance`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations, product
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agentsim.errors import ProblemError

if TYPE_CHECKING:
    import networkx

Value = int | float | str | bool
Cost = int | float
Table = NDArray[Any]
Assignment = Mapping[str, Value]

MAX_TABLE_CELLS: Final = 20_000_000
"""The largest dense table a problem may hold, in cells."""

EXACT_LIMIT: Final = 2**53
"""Whole numbers below this are exact in float64."""


@dataclass(frozen=True, slots=True)
class Domain:
    """A finite ordered domain; a value is referred to by its index almost everywhere.

    Args:
        name: unique in the problem.
        values: distinct values, in order. Shape (d,), d >= 1.
        kind: free text kept from the file (`type` in pyDCOP's YAML).
    """

    name: str
    values: tuple[Value, ...]
    kind: str = ""

    def __post_init__(self) -> None:
        if not self.values:
            raise ProblemError(f"domain {self.name}: has no values")
        keys = {(isinstance(v, bool), v) for v in self.values}
        if len(keys) != len(self.values):
            raise ProblemError(f"domain {self.name}: a value occurs twice")

    def __len__(self) -> int:
        return len(self.values)

    def index(self, value: Value) -> int:
        """Return the index of `value`; ProblemError if the domain lacks it."""
        for i, v in enumerate(self.values):
            if v == value and isinstance(v, bool) == isinstance(value, bool):
                return i
        raise ProblemError(f"domain {self.name}: no value {value!r}")


@dataclass(frozen=True, slots=True, eq=False)
class Variable:
    """A variable, its owner and its private costs.

    Args:
        name: unique in the problem.
        domain: its values.
        agent: its owner; by default an agent of the variable's own name.
        unary: private cost by domain index, shape (d,), or None for no private cost.
        initial: index of the initial value a file gives, or None.
        cost_range: public bounds (least, greatest) of the finite unary costs, or None when undeclared.
        role: free text; "copy" marks a variable that `compile_owners` added.
    """

    name: str
    domain: Domain
    agent: str = ""
    unary: Table | None = None
    initial: int | None = None
    cost_range: tuple[Cost, Cost] | None = None
    role: str = ""

    def __post_init__(self) -> None:
        if not self.agent:
            object.__setattr__(self, "agent", self.name)
        if self.unary is not None:
            table = as_table(self.unary, f"variable {self.name}")
            if table.shape != (len(self.domain),):
                raise ProblemError(f"variable {self.name}: {table.size} unary costs for {len(self.domain)} values")
            object.__setattr__(self, "unary", table)

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.domain)


KnownTo = tuple[str, ...] | Literal["scope", "all"]


@dataclass(frozen=True, slots=True, eq=False)
class Constraint:
    """A cost function over two or more variables (or one that its variable's owner may not see).

    Args:
        name: unique in the problem.
        scope: names of distinct variables, in the order of the table's axes.
        table: cost by domain indices, one axis per variable of the scope.
        owner: the only agent that can evaluate it, or None: everybody in `known_to` can.
        known_to: "scope" (the owners of its variables), "all", or names of agents. With an owner: that owner.
        cost_range: public bounds (least, greatest) of its finite costs, or None when undeclared.
    """

    name: str
    scope: tuple[str, ...]
    table: Table
    owner: str | None = None
    known_to: KnownTo = "scope"
    cost_range: tuple[Cost, Cost] | None = None

    def __post_init__(self) -> None:
        if not self.scope:
            raise ProblemError(f"constraint {self.name}: empty scope")
        if len(set(self.scope)) != len(self.scope):
            raise ProblemError(f"constraint {self.name}: a variable occurs twice in its scope")
        if self.owner is not None:
            object.__setattr__(self, "known_to", (self.owner,))
        object.__setattr__(self, "table", as_table(self.table, f"constraint {self.name}"))
        if self.table.ndim != len(self.scope):
            raise ProblemError(f"constraint {self.name}: {self.table.ndim} axes for {len(self.scope)} variables")

    @property
    def arity(self) -> int:
        """Number of variables in the scope."""
        return len(self.scope)


def as_table(costs: ArrayLike, where: str) -> Table:
    """Return `costs` as a read-only contiguous int64 or float64 array; ProblemError on NaN or non-numbers.

    Whole-number floats become int64 unless the table holds an infinity.
    """
    try:
        table = np.asarray(costs)
    except ValueError as error:
        raise ProblemError(f"{where}: costs are not a table ({error})") from None
    if table.size > MAX_TABLE_CELLS:
        raise ProblemError(f"{where}: {table.size} cells, more than the {MAX_TABLE_CELLS} allowed")
    if table.dtype.kind in "bu":
        table = table.astype(np.int64)
    if table.dtype.kind == "i":
        table = table.astype(np.int64, copy=False)
    elif table.dtype.kind == "f":
        table = table.astype(np.float64, copy=False)
        low = float(table.min()) if table.size else 0.0
        high = float(table.max()) if table.size else 0.0
        if math.isnan(low) or math.isnan(high):
            raise ProblemError(f"{where}: a cost is NaN")
        if math.isfinite(low + high) and max(-low, high) < EXACT_LIMIT and bool((table == np.rint(table)).all()):
            table = table.astype(np.int64)
    else:
        raise ProblemError(f"{where}: costs are not numbers")
    table = np.ascontiguousarray(table)
    if table.flags.writeable:
        if table is costs:
            table = table.copy()
        table.flags.writeable = False
    return table


def _is_integral(table: Table) -> bool:
    if table.dtype.kind == "i":
        return True
    finite = table[np.isfinite(table)]
    return bool((finite == np.rint(finite)).all())


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an assignment costs.

    Args:
        cost: in the user's units; infinite when a hard constraint is violated.
        violations: number of constraints and unary costs that are infinite under it.
        soft: sum of the finite costs alone.
    """

    cost: Cost
    violations: int
    soft: Cost


@dataclass(frozen=True, eq=False)
class Problem:
    """A distributed constraint optimisation problem.

    Args:
        name: free text.
        objective: "min" or "max".
        variables: in order; names are unique.
        constraints: in order; names are unique.
        agents: every agent, also those that own nothing; owners, and whoever knows a constraint, are added.
        constant: added to every assignment's cost.
        extras: unknown parts of a file, kept for writing it back.

    Raises:
        ProblemError: a name is unknown or used twice, a table does not fit its domains, a cost is infinitely good.
    """

    name: str
    objective: Literal["min", "max"]
    variables: Mapping[str, Variable]
    constraints: Mapping[str, Constraint]
    agents: tuple[str, ...] = ()
    constant: Cost = 0
    extras: Mapping[str, Any] = field(default_factory=dict)
    integral: bool = field(init=False, default=True)
    tolerance: float = field(init=False, default=0.0)

    @classmethod
    def build(
        cls,
        variables: Iterable[Variable],
        constraints: Iterable[Constraint] = (),
        *,
        name: str = "problem",
        objective: Literal["min", "max"] = "min",
        agents: Sequence[str] = (),
        constant: Cost = 0,
        extras: Mapping[str, Any] | None = None,
    ) -> Problem:
        """Build a problem from lists, refusing names that occur twice.

        A constraint of arity one that its variable's owner alone may evaluate is added to that variable's unary cost.
        """
        by_name: dict[str, Variable] = {}
        for v in variables:
            if v.name in by_name:
                raise ProblemError(f"variable {v.name}: defined twice")
            by_name[v.name] = v
        kept: dict[str, Constraint] = {}
        seen: set[str] = set()
        for c in constraints:
            if c.name in seen:
                raise ProblemError(f"constraint {c.name}: defined twice")
            seen.add(c.name)
            variable = by_name.get(c.scope[0])
            if c.arity == 1 and variable is not None and c.known_to in ("scope", (variable.agent,)):
                if c.table.shape != (variable.size,):
                    raise ProblemError(f"constraint {c.name}: {c.table.size} costs for {variable.size} values")
                old = variable.unary
                both = c.table if old is None else old + c.table
                by_name[variable.name] = replace(variable, unary=both, cost_range=None)
            else:
                kept[c.name] = c
        return cls(name, objective, by_name, kept, tuple(agents), constant, dict(extras or {}))

    def __post_init__(self) -> None:
        if self.objective not in ("min", "max"):
            raise ProblemError(f"objective {self.objective!r}: must be min or max")
        if not math.isfinite(self.constant):
            raise ProblemError("the constant cost is not finite")
        owners = dict.fromkeys(self.agents)
        owners.update(dict.fromkeys(v.agent for v in self.variables.values()))
        for c in self.constraints.values():
            if not isinstance(c.known_to, str):
                owners.update(dict.fromkeys(c.known_to))
            unknown = [name for name in c.scope if name not in self.variables]
            if unknown:
                raise ProblemError(f"constraint {c.name}: unknown variable {unknown[0]}")
            expected = tuple(self.variables[name].size for name in c.scope)
            if c.table.shape != expected:
                raise ProblemError(f"constraint {c.name}: table of shape {c.table.shape}, domains need {expected}")
        object.__setattr__(self, "agents", tuple(owners))
        too_good = -math.inf if self.objective == "min" else math.inf
        integral, magnitude = self.constant == int(self.constant), abs(float(self.constant))
        for where, table in self.functions():
            if table.dtype.kind == "f":
                if table.size and bool((table == too_good).any()):
                    raise ProblemError(f"{where}: a cost is infinitely good")
                integral = integral and _is_integral(table)
            if table.size:
                finite = table[np.isfinite(table)] if table.dtype.kind == "f" else table
                if finite.size:
                    magnitude += max(abs(float(finite.max())), abs(float(finite.min())))
        if integral and magnitude >= EXACT_LIMIT:
            raise ProblemError("whole-number costs whose sum can pass 2**53: scale them down")
        object.__setattr__(self, "integral", integral)
        object.__setattr__(self, "tolerance", 0.0 if integral else 1e-12 * max(1.0, magnitude))

    def functions(self) -> Iterator[tuple[str, Table]]:
        """Yield (where, table) for every unary cost, then every constraint."""
        for v in self.variables.values():
            if v.unary is not None:
                yield f"variable {v.name}", v.unary
        for c in self.constraints.values():
            yield f"constraint {c.name}", c.table

    def known_to(self, constraint: Constraint) -> tuple[str, ...]:
        """Return the agents that can evaluate `constraint`, in the problem's order of agents."""
        if constraint.known_to == "all":
            return self.agents
        if constraint.known_to == "scope":
            names = {self.variables[v].agent for v in constraint.scope}
        else:
            names = set(constraint.known_to)
        return tuple(sorted(names, key=self._agent_position.__getitem__))

    @cached_property
    def _agent_position(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.agents)}

    def owned_by(self, agent: str) -> tuple[str, ...]:
        """Return the names of the variables of `agent`, in the problem's order."""
        return tuple(v.name for v in self.variables.values() if v.agent == agent)

    def primal_graph(self) -> dict[str, set[str]]:
        """Return neighbours by variable: two variables are adjacent when a constraint has both."""
        graph: dict[str, set[str]] = {v: set() for v in self.variables}
        for c in self.constraints.values():
            for a, b in combinations(c.scope, 2):
                graph[a].add(b)
                graph[b].add(a)
        return graph

    def to_networkx(self) -> networkx.Graph:
        """Return the constraint graph for networkx: a node per variable (agent, size), an edge per pair (names)."""
        import networkx

        graph = networkx.Graph(name=self.name)
        for v in self.variables.values():
            graph.add_node(v.name, agent=v.agent, size=v.size)
        for c in self.constraints.values():
            for a, b in combinations(c.scope, 2):
                names = graph.edges[a, b]["constraints"] if graph.has_edge(a, b) else ()
                graph.add_edge(a, b, constraints=(*names, c.name))
        return graph

    def indices(self, assignment: Assignment) -> dict[str, int]:
        """Return the domain index of each variable's value; ProblemError on an unknown variable or value."""
        for name in assignment:
            if name not in self.variables:
                raise ProblemError(f"assignment: unknown variable {name}")
        return {name: self.variables[name].domain.index(value) for name, value in assignment.items()}

    def values(self, indices: Mapping[str, int]) -> dict[str, Value]:
        """Return the value behind each domain index, in the problem's order of variables."""
        return {n: v.domain.values[indices[n]] for n, v in self.variables.items() if n in indices}

    def evaluate(self, assignment: Assignment) -> Evaluation:
        """Evaluate a complete assignment of values; ProblemError if a variable is missing."""
        return self.evaluate_indices(self.indices(assignment))

    def evaluate_indices(self, indices: Mapping[str, int]) -> Evaluation:
        """Evaluate a complete assignment of domain indices."""
        missing = [v for v in self.variables if v not in indices]
        if missing:
            raise ProblemError(f"assignment: no value for {', '.join(missing[:5])}")
        costs = [self.constant]
        costs += [v.unary[indices[v.name]].item() for v in self.variables.values() if v.unary is not None]
        costs += [c.table[tuple(indices[v] for v in c.scope)].item() for c in self.constraints.values()]
        finite = [x for x in costs if math.isfinite(x)]
        soft = sum(finite) if self.integral else math.fsum(finite)
        soft = int(soft) if self.integral else soft
        violations = len(costs) - len(finite)
        worst = math.inf if self.objective == "min" else -math.inf
        return Evaluation(worst if violations else soft, violations, soft)

    def better(self, a: Cost, b: Cost) -> bool:
        """Tell whether cost `a` is strictly better than `b`, in the user's units."""
        return a < b if self.objective == "min" else a > b

    def assignments(self) -> Iterator[dict[str, int]]:
        """Yield every complete assignment as domain indices, the last variable changing fastest."""
        names = list(self.variables)
        for combo in product(*(range(v.size) for v in self.variables.values())):
            yield dict(zip(names, combo, strict=True))

    def _repr_html_(self) -> str:
        from agentsim.record.display import problem_html

        return problem_html(self)


def check_table_size(where: str, sizes: Sequence[int]) -> None:
    """Refuse a table that the guard forbids, before anything of its size is allocated."""
    cells = math.prod(sizes)
    if cells > MAX_TABLE_CELLS:
        raise ProblemError(f"{where}: {cells} cells, more than the {MAX_TABLE_CELLS} allowed")
