"""DPOP: dynamic programming on a pseudo-tree (Petcu and Faltings, IJCAI 2005).

From the leaves up, each agent tells its parent the best cost of its whole subtree for every assignment of its
separator (the ancestors that the subtree is constrained with). From the root down, each agent then takes its best
value for the values that its separator has taken.

    message               from -> to         when
    UTIL(axes, table)     child -> parent    all children's UTIL have come; axes = the child's separator
    VALUE(values)         parent -> child    own value taken; values of the child's separator

Guarantees: complete. Complexity: 2(n-1) messages per component of n variables; the largest has the product of the
domain sizes of a separator as cells, and this is refused beforehand when it passes `memory`. One check for each entry
of an own cost function or received table, when joined, and for those of the row read in the VALUE phase.

Deviations. The join over separator and own variable is never held, only its projection is. No table of best values is
kept for the VALUE phase: the one row of own costs and received tables that it needs is read again. Ties go to the
lowest domain index. Where there is no solution all the same a value is taken, and the root's bound is infinite.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, NamedTuple

from agentsim.dcop.pseudotree import TreePlace, cells_text
from agentsim.dcop.tables import NamedTable, best_value, cells_read, project_min
from agentsim.errors import SolverRefusal
from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Array, Context, Over, message
from agentsim.runtime.setup import TreeParams
from agentsim.runtime.statements import CostTable, ReaderContext, Statement, ValueIs
from agentsim.runtime.view import Setup

CELL_BYTES: Final = 8

LARGEST_MESSAGE: Final = 2**31 - 2**20
"""Most bytes of a table that a message can carry."""


@message("UTIL")
class Util(NamedTuple):
    """The best cost of the sender's subtree, by the values of its separator."""

    axes: tuple[str, ...]
    table: Annotated[Array, Over("axes")]


@message("VALUE")
class Value(NamedTuple):
    """The final values of the receiver's separator."""

    values: Context


@dataclass(frozen=True)
class DpopParams(TreeParams):
    """Parameters of DPOP.

    Args:
        memory: most bytes that one table may take.
    """

    memory: int = 2 << 30

    def __post_init__(self) -> None:
        if self.memory < CELL_BYTES:
            raise ValueError(f"memory={self.memory}: must be at least {CELL_BYTES} bytes")


class Dpop(Agent):
    """One variable of the pseudo-tree."""

    messages = (Util, Value)
    Params = DpopParams
    place = "tree"
    tree_choice = "smallest-table"
    costs = "signed"
    complete = True
    status = "verified"

    params: DpopParams

    @classmethod
    def refuse(cls, setup: Setup) -> None:
        """Refuse a tree with a UTIL table larger than `memory`."""
        assert setup.tree is not None
        most = min(setup.params.memory, LARGEST_MESSAGE)
        if setup.tree.largest_table(setup.problem) * CELL_BYTES <= most:
            return
        sizes = {v.name: v.size for v in setup.problem.variables.values()}
        cells, name = max(
            ((math.prod(sizes[a] for a in place.separator), name) for name, place in setup.tree.items()),
            key=lambda candidate: candidate[0],
        )
        if cells * CELL_BYTES > most:
            beyond = cells * CELL_BYTES > setup.params.memory
            limit = f"memory={setup.params.memory}" if beyond else f"the {most} that a message can carry"
            raise SolverRefusal(
                f"{name}'s table over its separator of {len(setup.tree[name].separator)} variables would have "
                f"{cells_text(cells)} cells, {cells_text(cells * CELL_BYTES)} bytes, more than {limit}: "
                "mb-dpop could be tried, which bounds its tables"
            )

    async def run(self) -> None:
        """UTIL phase up, VALUE phase down."""
        place, sizes = self.view.tree, self.view.domain_sizes
        tables = own_tables(self, place)
        for child in place.children:
            util = await self.receive(Util, sender=child)
            if util.axes != place.child_separators[child]:
                raise ValueError(f"{child}'s UTIL is over {util.axes}, not over its separator")
            tables.append((util.axes, util.table))
        self.check(cells_read(tables))
        if place.parent is None:
            context: Context = {}
            value, optimum = best_value(tables, self.name, {}, sizes=sizes)
            self.bound(lower=optimum, upper=optimum)
        else:
            self.send(place.parent, Util(place.separator, project_min(tables, self.name, place.separator, sizes=sizes)))
            context = (await self.receive(Value, sender=place.parent)).values
            deciding = [table for table in tables if self.name in table[0]]
            self.check(self.view.size * len(deciding))
            value, _ = best_value(deciding, self.name, context, sizes=sizes)
        self.assign(value)
        known = {**context, self.name: value}
        for child, separator in place.child_separators.items():
            self.send(child, Value({name: known[name] for name in separator}))


def own_tables(agent: Agent, place: TreePlace) -> list[NamedTable]:
    """Return the cost functions that an agent evaluates: its private costs, and what it shares with ancestors alone."""
    view = agent.view
    ancestors = {view.name, place.parent, *place.pseudo_parents}
    tables: list[NamedTable] = [((view.name,), view.unary)] if view.has_unary else []
    tables.extend((c.scope, c.table) for c in view.constraints if ancestors.issuperset(c.scope))
    return tables


class DpopReader:
    """What a viewer of DPOP can conclude: UTIL says what the sender's subtree costs, VALUE who took which value."""

    stateless = True

    def __init__(self, context: ReaderContext) -> None:
        self._context = context

    def read(self, delivery: Delivery) -> Iterator[Statement]:
        """Return the statements that one delivery supports."""
        content = delivery.message
        if isinstance(content, Util):
            parties = (delivery.src,)
            offset = self._context.offset(parties, "subtree")
            yield CostTable("subtree-table", ("axes", "table"), parties, "subtree", content.axes, content.table, offset)
        else:
            for name, value in content.values.items():
                yield ValueIs("decision", ("values",), name, value, "final")


Dpop.reader = DpopReader
