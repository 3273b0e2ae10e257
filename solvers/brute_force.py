"""Brute force: one agent collects every cost table and tries all assignments.

The most revealing protocol there is, as a yardstick for what others disclose and as an oracle for their results. The
agents of a component stand in an order; the first is the leader.

    message                from -> to        when
    COSTS(axes, tables)    k -> leader       at once; one table for each cost function that k evaluates
    VALUE(value)           leader -> k       all assignments tried

Guarantees: complete. Complexity: 2(n-1) messages per component of n variables. The leader tries the product of all
domain sizes, at most MOST_ASSIGNMENTS of them, and does one check for each cost function of each assignment. Memory is
that of the tables and of a block of assignments.

Deviations: there is no paper. Ties go to the lowest domain indices, variables compared by name. Where there is no
solution all the same values are taken, and the leader's bound is infinite.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Final, NamedTuple

import numpy as np

from agentsim.dcop.problem import Cost
from agentsim.dcop.pseudotree import cells_text
from agentsim.dcop.tables import NamedTable, join, restrict
from agentsim.errors import SolverRefusal
from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Array, IndexOf, message
from agentsim.runtime.setup import OrderParams
from agentsim.runtime.statements import CostTable, Nothing, ReaderContext, Statement, Unanalysed, ValueIs
from agentsim.runtime.view import Setup

MOST_ASSIGNMENTS: Final = 10**8
"""The most assignments of one component that are tried."""

BLOCK_CELLS: Final = 1 << 17
"""The most assignments whose costs are held at once."""

READER_CELLS: Final = 1 << 20
"""The reader adds the tables of one agent up to this size."""


@message("COSTS")
class Costs(NamedTuple):
    """All cost functions that the sender evaluates: the names of each table's axes, and the tables."""

    axes: tuple[tuple[str, ...], ...]
    tables: tuple[Array, ...]


@message("VALUE")
class Value(NamedTuple):
    """The receiver's value in the best assignment."""

    value: Annotated[int, IndexOf("receiver")]


@dataclass(frozen=True)
class BruteForceParams(OrderParams):
    """Parameters of brute force: `root` or the first of `order` leads its component."""


class BruteForce(Agent):
    """Agent k of the order; the first one leads."""

    messages = (Costs, Value)
    Params = BruteForceParams
    place = "order"
    costs = "signed"
    complete = True
    status = "verified"

    params: BruteForceParams

    @classmethod
    def refuse(cls, setup: Setup) -> None:
        """Refuse a component with too many assignments."""
        for order in setup.orders or ():
            assignments = math.prod(setup.problem.variables[name].size for name in order)
            if assignments > MOST_ASSIGNMENTS:
                raise SolverRefusal(
                    f"the {len(order)} variables connected with {order[0]} have {cells_text(assignments)} assignments, "
                    f"more than the {MOST_ASSIGNMENTS} that brute-force tries: dpop could do it"
                )

    async def run(self) -> None:
        """Send everything to the leader and take the value it gives."""
        place = self.view.order
        if place.predecessor is None:
            await self.lead(place.size)
            return
        tables = self.own_tables()
        self.send(place.component, Costs(tuple(axes for axes, _ in tables), tuple(table for _, table in tables)))
        self.assign((await self.receive(Value, sender=place.component)).value)

    def own_tables(self) -> list[NamedTable]:
        """Return the cost functions that this agent evaluates: its private costs, and what it is the last of."""
        view = self.view
        earlier = {self.name, *view.order.before}
        tables: list[NamedTable] = [((self.name,), view.unary)] if view.has_unary else []
        tables.extend((c.scope, c.table) for c in view.constraints if earlier.issuperset(c.scope))
        return tables

    async def lead(self, size: int) -> None:
        """Collect the tables of the component's other agents, try all assignments, and tell everybody its value."""
        tables = {self.name: self.own_tables()}
        while len(tables) < size:
            costs = await self.receive(Costs)
            tables[self.sender] = list(zip(costs.axes, costs.tables, strict=True))
        functions = [function for name in sorted(tables) for function in tables[name]]
        sizes = {self.name: self.view.size}
        for axes, table in functions:
            sizes.update(zip(axes, table.shape, strict=True))
        sizes = {name: sizes[name] for name in sorted(tables)}
        self.check(math.prod(sizes.values()) * len(functions))
        best, optimum = least(functions, sizes)
        self.bound(lower=optimum, upper=optimum)
        for name, value in best.items():
            if name == self.name:
                self.assign(value)
            else:
                self.send(name, Value(value))


def least(functions: Sequence[NamedTable], sizes: Mapping[str, int]) -> tuple[dict[str, int], Cost]:
    """Return the first assignment of least cost, in lexicographic order, and its cost.

    Args:
        functions: to be added; their axes are among the variables.
        sizes: domain sizes by variable, in the order of the assignment.
    """
    names = list(sizes)
    split, block = len(names), 1  # variables from `split` on vary within a block
    while split and block * sizes[names[split - 1]] <= BLOCK_CELLS:
        split -= 1
        block *= sizes[names[split]]
    outer, inner = names[:split], names[split:]
    within = [function for function in functions if set(inner).issuperset(function[0])]
    across = [function for function in functions if not set(inner).issuperset(function[0])]
    base = (tuple(inner), join(within, inner, sizes))
    best, optimum = dict.fromkeys(names, 0), math.inf
    for fixed in product(*(range(sizes[name]) for name in outer)):
        values = dict(zip(outer, fixed, strict=True))
        costs = join([base, *(restrict(function, values) for function in across)], inner, sizes)
        index = int(costs.argmin())
        cost = costs.flat[index].item()
        if cost < optimum:
            optimum = cost
            where = np.unravel_index(index, costs.shape)
            best = {**values, **{name: int(i) for name, i in zip(inner, where, strict=True)}}
    return best, optimum


class BruteForceReader:
    """What a viewer of brute force can conclude: everything the sender of COSTS knew, and everybody's value."""

    stateless = True

    def __init__(self, context: ReaderContext) -> None:
        self._context = context

    def read(self, delivery: Delivery) -> Iterator[Statement]:
        """Return the statements that one delivery supports."""
        content = delivery.message
        if isinstance(content, Value):
            yield ValueIs("decision", ("value",), delivery.dst, content.value, "final")
            return
        fields = ("axes", "tables")
        axes = tuple(dict.fromkeys(name for own in content.axes for name in own))
        if not axes:
            yield Nothing("evaluates no cost function", fields)
        elif math.prod(self._context.domain_sizes[name] for name in axes) > READER_CELLS:
            yield Unanalysed("the sender's own costs, in tables too many to add up here", fields)
        else:
            parties = (delivery.src,)
            total = join(list(zip(content.axes, content.tables, strict=True)), axes)
            yield CostTable("own-table", fields, parties, "none", axes, total, self._context.offset(parties))


BruteForce.reader = BruteForceReader
