"""What is set up before a run: each node's local view, and what of it is public.

A solver sees costs in *solver's units*: it always minimises, and where it needs non-negative costs each cost function
is shifted by its offset. For a cost function f of a problem with sense s (+1 minimising, -1 maximising)::

    solver cost = s * f + offset(f),     offset(f) = max(0, -least possible s * f)   or 0 for solvers of signed costs

The least possible cost comes from the declared range where there is one; otherwise it is read off the private table,
which discloses something and is listed as such in the log's header (`offsets_from_tables`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from agentsim.dcop.ordering import OrderPlace
from agentsim.dcop.problem import Constraint, Cost, Problem, Table, Value
from agentsim.dcop.pseudotree import PseudoTree, TreePlace
from agentsim.errors import SolverRefusal


@dataclass(frozen=True, slots=True, eq=False)
class LocalConstraint:
    """A constraint as one node knows it.

    Args:
        name: the constraint's.
        scope: its variables.
        table: its costs, in solver's units.
        bounds: its declared range, in solver's units; None where none is declared.
        public: whether everybody knows its costs.
        unary: whether it is the private cost of the variable it is named like.
    """

    name: str
    scope: tuple[str, ...]
    table: Table
    bounds: tuple[Cost, Cost] | None = None
    public: bool = False
    unary: bool = False

    @property
    def key(self) -> str | tuple[str]:
        """What tells it from all others: a variable and a constraint may have one name."""
        return self.name if self.unary else (self.name,)


@dataclass(frozen=True, slots=True, eq=False)
class PublicPart:
    """What everybody knows of a problem: all but the agents' own cost functions. Costs are in solver's units.

    Args:
        sizes: number of values by variable, in the problem's order.
        constraints: those that every agent can evaluate.
        speakers: the node that speaks for each agent, in the problem's order of agents: its first.
        scopes: by agent, the scopes of the cost functions in its share.
    """

    sizes: Mapping[str, int]
    constraints: tuple[LocalConstraint, ...]
    speakers: Mapping[str, str]
    scopes: Mapping[str, tuple[tuple[str, ...], ...]]


@dataclass(frozen=True, slots=True, eq=False)
class LocalView:
    """All that one node is told. Costs are in solver's units, values are domain indices.

    Args:
        name: the node: its variable's name, or its agent's if that has no variable.
        number: its place in the problem's order of nodes.
        agent: the owner.
        domain: the variable's values; empty for an agent without variables.
        unary: private cost by value, shape (d,).
        has_unary: whether it has a private cost at all; `unary` is zero where not.
        unary_bounds: the declared, public range of the private cost; None where none is declared.
        sense: +1 when the problem minimises, -1 when it maximises.
        public: what everybody knows, for solvers whose agents know `everybody`; None for all others.
        share: the cost functions that its agent answers for; empty where `public` is None.
        constraints: those on its variable that its owner can evaluate.
        neighbours: names of variables that share a constraint with it, in the problem's order.
        domain_sizes: number of values of its own variable and of its neighbours.
        siblings: other nodes of the same owner.
        place: its place in the tree or order, or None (also with tree=messages, where it finds out by itself).
        initial: index of its initial value, if the problem gives one.
        integral: whether all costs are whole numbers.
        tolerance: for every comparison of costs; 0 when integral.
    """

    name: str
    number: int
    agent: str
    domain: tuple[Value, ...]
    unary: Table
    has_unary: bool
    constraints: tuple[LocalConstraint, ...]
    neighbours: tuple[str, ...]
    domain_sizes: Mapping[str, int]
    siblings: tuple[str, ...]
    place: TreePlace | OrderPlace | None
    initial: int | None
    integral: bool
    tolerance: float
    unary_bounds: tuple[Cost, Cost] | None = None
    sense: int = 1
    public: PublicPart | None = None
    share: tuple[LocalConstraint, ...] = ()

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.domain)

    @property
    def tree(self) -> TreePlace:
        """Its place in the tree; TypeError when it has none."""
        if not isinstance(self.place, TreePlace):
            raise TypeError(f"{self.name} has no place in a tree")
        return self.place

    @property
    def order(self) -> OrderPlace:
        """Its place in the total order; TypeError when it has none."""
        if not isinstance(self.place, OrderPlace):
            raise TypeError(f"{self.name} has no place in an order")
        return self.place

    @property
    def unary_costs(self) -> list[Cost]:
        """Private cost by value as Python numbers (int, or float where infinite or fractional)."""
        return costs_list(self.unary, self.integral)


def costs_list(table: Table, integral: bool) -> list[Any]:
    """Return a table as nested lists of Python numbers: whole numbers as int, infinity as math.inf."""
    if not integral or table.dtype.kind == "i":
        return table.tolist()  # type: ignore[no-any-return]  # numpy types tolist as Any

    def whole(entry: Any) -> Any:
        if isinstance(entry, list):
            return [whole(e) for e in entry]
        return int(entry) if math.isfinite(entry) else entry

    return [whole(e) for e in table.tolist()]


@dataclass(frozen=True, eq=False)
class Setup:
    """A problem made ready for one solver: offsets, places and views.

    Args:
        problem: what runs; owners compiled in, if that was needed.
        original: what the user gave.
        copies: copy variable -> original variable.
        costs: "nonnegative" or "signed".
        tree: the pseudo-tree, for solvers that have one.
        orders: one total order of variables per component, for solvers that have them.
        order_places: by variable, its place in the order of its component.
        tells_place: False when nodes find their place by messages.
        params: the solver's resolved parameters.
        knows: whom the solver's agents know.
        published_offsets: offsets by unary cost and by constraint, from the header of a log whose costs were left out.
    """

    problem: Problem
    original: Problem
    copies: Mapping[str, str]
    costs: Literal["nonnegative", "signed"]
    tree: PseudoTree | None = None
    orders: tuple[tuple[str, ...], ...] | None = None
    order_places: Mapping[str, OrderPlace] = field(default_factory=dict)
    tells_place: bool = True
    params: Any = None
    knows: Literal["neighbours", "everybody"] = "neighbours"
    published_offsets: tuple[Mapping[str, Cost], Mapping[str, Cost]] | None = None

    @property
    def sense(self) -> int:
        """+1 when the problem minimises, -1 when it maximises."""
        return 1 if self.problem.objective == "min" else -1

    @cached_property
    def nodes(self) -> dict[str, str]:
        """Owner by node, in the total order of nodes: variables, then agents without any."""
        nodes = {v.name: v.agent for v in self.problem.variables.values()}
        owners = set(nodes.values())
        for agent in self.problem.agents:
            if agent not in owners:
                name = agent
                while name in nodes:
                    name += "'"
                nodes[name] = agent
        return nodes

    @cached_property
    def _offsets(self) -> tuple[dict[str, Cost], dict[str, Cost], list[str]]:
        if self.published_offsets is not None:
            return dict(self.published_offsets[0]), dict(self.published_offsets[1]), []
        unary: dict[str, Cost] = {}
        constraints: dict[str, Cost] = {}
        from_tables: list[str] = []
        if self.costs == "nonnegative":
            for v in self.problem.variables.values():
                if v.unary is not None and (offset := self._offset(v.unary, v.cost_range)):
                    unary[v.name] = offset
                    if v.cost_range is None:
                        from_tables.append(v.name)
            for c in self.problem.constraints.values():
                if offset := self._offset(c.table, c.cost_range):
                    constraints[c.name] = offset
                    if c.cost_range is None:
                        from_tables.append(c.name)
        return unary, constraints, from_tables

    def _offset(self, table: Table, declared: tuple[Cost, Cost] | None) -> Cost:
        if declared is not None:
            least = declared[0] if self.sense > 0 else -declared[1]
        else:
            finite = table[np.isfinite(table)] if table.dtype.kind == "f" else table
            if not finite.size:
                return 0
            least = finite.min().item() if self.sense > 0 else -finite.max().item()
        if self.problem.integral:
            least = int(least)
        return max(0, -least)

    @property
    def unary_offsets(self) -> dict[str, Cost]:
        """Offset by variable of its unary cost, where not 0."""
        return self._offsets[0]

    @property
    def constraint_offsets(self) -> dict[str, Cost]:
        """Offset by constraint, where not 0."""
        return self._offsets[1]

    @property
    def offsets_from_tables(self) -> list[str]:
        """Cost functions whose offset had to be read off a private table: a disclosure in itself."""
        return self._offsets[2]

    @cached_property
    def total_offset(self) -> Cost:
        """Sum of all offsets."""
        return sum(self.unary_offsets.values()) + sum(self.constraint_offsets.values())

    def to_user(self, solver_cost: Cost, offset: Cost | None = None) -> Cost:
        """Return a cost in solver's units in the user's, given the offsets in it (all of them by default)."""
        total = self.total_offset if offset is None else offset
        cost = self.sense * (solver_cost - total) + (self.problem.constant if offset is None else 0)
        return int(cost) if self.problem.integral and math.isfinite(cost) else cost

    def solver_table(self, table: Table, offset: Cost) -> Table:
        """Return a table in solver's units."""
        if self.sense > 0 and not offset:
            return table
        shifted = self.sense * table + offset
        shifted.flags.writeable = False
        return shifted

    def unary_table(self, variable: str) -> Table:
        """Return a variable's private costs in solver's units; zeros where it has none. Shape (d,)."""
        v = self.problem.variables[variable]
        if v.unary is None:
            return np.zeros(v.size, dtype=np.int64)
        return self.solver_table(v.unary, self.unary_offsets.get(variable, 0))

    @cached_property
    def _solver_constraints(self) -> dict[str, LocalConstraint]:
        return {
            c.name: LocalConstraint(
                c.name,
                c.scope,
                self.solver_table(c.table, self.constraint_offsets.get(c.name, 0)),
                self._solver_range(c.cost_range, self.constraint_offsets.get(c.name, 0)),
                c.known_to == "all",
            )
            for c in self.problem.constraints.values()
        }

    def _solver_range(self, declared: tuple[Cost, Cost] | None, offset: Cost) -> tuple[Cost, Cost] | None:
        if declared is None:
            return None
        low, high = declared if self.sense > 0 else (-declared[1], -declared[0])
        return low + offset, high + offset

    @cached_property
    def _known(self) -> dict[str, list[Constraint]]:
        known: dict[str, list[Constraint]] = {name: [] for name in self.problem.variables}
        for c in self.problem.constraints.values():
            who = self.problem.known_to(c)
            for v in c.scope:
                if self.problem.variables[v].agent in who:
                    known[v].append(c)
        return known

    @cached_property
    def _graph(self) -> dict[str, set[str]]:
        return self.problem.primal_graph()

    @cached_property
    def _position(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.problem.variables)}

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.nodes)}

    @cached_property
    def _owned(self) -> dict[str, list[str]]:
        owned: dict[str, list[str]] = {}
        for node, agent in self.nodes.items():
            owned.setdefault(agent, []).append(node)
        return owned

    def view(self, node: str) -> LocalView:
        """Return the local view of a node."""
        agent = self.nodes[node]
        number = self._numbers[node]
        variable = self.problem.variables.get(node)
        siblings = tuple(n for n in self._owned[agent] if n != node)
        if variable is None or variable.agent != agent:
            nothing = np.zeros(0, dtype=np.int64)
            return LocalView(
                node, number, agent, (), nothing, False, (), (), {}, siblings, None, None, self.problem.integral,
                self.problem.tolerance, None, self.sense, *self._knowledge(agent),
            )  # fmt: skip
        neighbours = tuple(sorted(self._graph[node], key=self._position.__getitem__))
        place: TreePlace | OrderPlace | None = None
        if self.tells_place:
            if self.tree is not None:
                place = self.tree[node]
            elif self.orders is not None:
                place = self.order_places[node]
        return LocalView(
            name=node,
            number=number,
            agent=agent,
            domain=variable.domain.values,
            unary=self.unary_table(node),
            has_unary=variable.unary is not None,
            constraints=tuple(self._solver_constraints[c.name] for c in self._known[node]),
            neighbours=neighbours,
            domain_sizes={v: self.problem.variables[v].size for v in (node, *neighbours)},
            siblings=siblings,
            place=place,
            initial=variable.initial,
            integral=self.problem.integral,
            tolerance=self.problem.tolerance,
            unary_bounds=self._solver_range(variable.cost_range, self.unary_offsets.get(node, 0)),
            sense=self.sense,
            public=self._knowledge(agent)[0],
            share=self._knowledge(agent)[1],
        )

    def _knowledge(self, agent: str) -> tuple[PublicPart | None, tuple[LocalConstraint, ...]]:
        return (self.public_part, self.shares[agent]) if self.knows == "everybody" else (None, ())

    # Who answers for which cost function, where agents answer for all that they alone can evaluate.

    @cached_property
    def shares(self) -> dict[str, tuple[LocalConstraint, ...]]:
        """The cost functions that each agent answers for: private costs, and constraints that not everybody knows.

        A private cost is named like its variable. Of several agents that know a constraint the first answers for it.
        """
        shares: dict[str, list[LocalConstraint]] = {agent: [] for agent in self.problem.agents}
        for v in self.problem.variables.values():
            if v.unary is not None:
                offset = self.unary_offsets.get(v.name, 0)
                bounds = self._solver_range(v.cost_range, offset)
                shares[v.agent].append(LocalConstraint(v.name, (v.name,), self.unary_table(v.name), bounds, unary=True))
        for c in self.problem.constraints.values():
            agent = self._answers_for(c)
            if agent is not None:
                shares[agent].append(self._solver_constraints[c.name])
        return {agent: tuple(own) for agent, own in shares.items()}

    def _answers_for(self, constraint: Constraint) -> str | None:
        """Return the agent that answers for a constraint, None if everybody can evaluate it."""
        who = self.problem.known_to(constraint)
        return who[0] if len(who) < len(self.problem.agents) else None

    @cached_property
    def public_part(self) -> PublicPart:
        """What everybody knows."""
        problem = self.problem
        return PublicPart(
            self.domain_sizes,
            tuple(
                self._solver_constraints[c.name] for c in problem.constraints.values() if self._answers_for(c) is None
            ),
            {agent: self._owned[agent][0] for agent in problem.agents},
            {agent: tuple(f.scope for f in own) for agent, own in self.shares.items()},
        )

    def share_offset(self, node: str) -> Cost:
        """Return the sum of the offsets of the cost functions in the share of a node's agent."""
        agent, problem = self.nodes[node], self.problem
        own = sum(self.unary_offsets.get(name, 0) for name in problem.owned_by(agent))
        constraints = (problem.constraints[name] for name in self.constraint_offsets)
        return own + sum(self.constraint_offsets[c.name] for c in constraints if self._answers_for(c) == agent)

    # What cost functions a node evaluates: what "own cost" means in a disclosure statement.

    @cached_property
    def evaluated_at(self) -> dict[str, tuple[LocalConstraint, ...]]:
        """Constraints by the node that evaluates them: the deepest in the tree, or the last in the order."""
        depth: Mapping[str, int]
        if self.tree is not None:
            depth = {name: self.tree.depth_of(name) for name in self.tree}
        elif self.orders is not None:
            depth = {name: i for order in self.orders for i, name in enumerate(order)}
        else:
            depth = self._position
        at: dict[str, list[LocalConstraint]] = {name: [] for name in self.problem.variables}
        for c in self._solver_constraints.values():
            at[max(c.scope, key=depth.__getitem__)].append(c)
        return {name: tuple(own) for name, own in at.items()}

    def functions_of(self, parties: Iterable[str], rest: str) -> list[LocalConstraint]:
        """Return the cost functions that the term of a statement means, a private cost under its variable's name.

        Args:
            parties: nodes.
            rest: as in `Term`: "none", "subtree" (on a tree), "local" or "share".
        """
        nodes = dict.fromkeys(parties)
        if rest == "share":
            return [f for agent in dict.fromkeys(self.nodes[node] for node in nodes) for f in self.shares[agent]]
        if rest == "subtree":
            assert self.tree is not None
            nodes.update(dict.fromkeys(n for party in tuple(nodes) for n in self.tree.subtree(party)))
        found = [LocalConstraint(node, (node,), self.unary_table(node), unary=True) for node in nodes]
        for at, constraints in self.evaluated_at.items():
            found += [
                c for c in constraints if (not nodes.keys().isdisjoint(c.scope) if rest == "local" else at in nodes)
            ]
        return found

    def check_evaluators(self) -> None:
        """Raise SolverRefusal if a constraint would be evaluated at a node whose owner may not know it."""
        for node, own in self.evaluated_at.items():
            known = {c.name for c in self._known[node]}
            for constraint in own:
                if constraint.name not in known:
                    raise SolverRefusal(
                        f"constraint {constraint.name} is not known to all agents of its scope, but "
                        f" {node}'s agent {self.nodes[node]} would have to evaluate it: give the constraint an owner"
                    )

    def functions_at(self, node: str) -> tuple[str, ...]:
        """Return the names of the cost functions that a node evaluates; a private cost has its variable's."""
        own = tuple(c.name for c in self.evaluated_at[node])
        return own if self.problem.variables[node].unary is None else (node, *own)

    @cached_property
    def offsets_at(self) -> Mapping[str, Cost]:
        """Sum of the offsets of the cost functions that a node evaluates, by variable."""
        return {name: self.offset_at(name) for name in self.problem.variables}

    @cached_property
    def domain_sizes(self) -> Mapping[str, int]:
        """Number of values by variable."""
        return {v.name: v.size for v in self.problem.variables.values()}

    def offset_at(self, node: str) -> Cost:
        """Return the sum of the offsets of the cost functions that a node evaluates."""
        own = self.evaluated_at[node]
        return self.unary_offsets.get(node, 0) + sum(self.constraint_offsets.get(c.name, 0) for c in own)
