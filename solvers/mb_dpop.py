"""MB-DPOP: DPOP with bounded tables (Petcu and Faltings, IJCAI 2007).

Where the table over a separator would be too large, some of the separator's variables are *cut*: the child's table is
over the others alone, and the parent asks for one such table per assignment of the cut variables. Time and messages
grow by the product of the cut variables' domain sizes, memory does not. An agent whose separator fits joins the tables
of all the cut assignments of its children into one, and nobody above it sees the cut (the paper's cluster root).

    message                             from -> to         when
    UTIL({}, axes, table)               child -> parent    as in DPOP, where nothing is cut in the child's subtree
    LABEL(cut, sizes, axes, tables)     child -> parent    instead, elsewhere: its cut, and lower bounds
    GUESS(values)                       parent -> child    LABELs have reached the root: first values, by the bounds
    PRICE(cost)                         child -> parent    what the guess costs, from agents that sent LABEL
    KEEP()                              parent -> child    the guess costs what the bound says: it is optimal
    CONTEXT(values)                     parent -> child    asks for the table under these values of the cut
    UTIL(values, axes, table)           child -> parent    the answer
    VALUE(values)                       parent -> child    as in DPOP

Guarantees: complete, whatever the bound; without a cut the messages are DPOP's. Complexity, per edge: the product of
the domain sizes of the child's cut times two messages (and again what the VALUE phase asks for anew), tables of at most
`k` axes and `memory` bytes. Checks are counted as in DPOP.

Deviations. Before anything is enumerated, every agent sends lower bounds of its subtree's cost, made as DPOP's tables
are but in groups small enough (mini-buckets; Dechter and Rish 2003). Thereby the root has a lower bound, and all agents
a value, from the beginning, which is what a run stopped at a limit reports. An agent becomes cluster root as soon as
its separator fits, not only where the cut variables stand. Cut variables are those nearest to the root. One table is
kept per cut child, so the VALUE phase asks again for those it needs. `k` bounds the tables in messages; a cost function
of an agent's own may have more axes. Without `k` a table may take a 64th of `memory`, as each agent holds several and
one process holds all agents.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Annotated, Any, Final, NamedTuple

import numpy as np

from agentsim.dcop.problem import Cost, Table
from agentsim.dcop.tables import NamedTable, best_value, cells_read, join, project_min, restrict
from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Array, Context, Over, message
from agentsim.runtime.port import Port
from agentsim.runtime.setup import TreeParams
from agentsim.runtime.statements import (
    CostIs,
    CostTable,
    Nothing,
    ReaderContext,
    Relation,
    Statement,
    Term,
    Unanalysed,
    ValueIs,
)
from agentsim.runtime.view import LocalView

CELL_BYTES: Final = 8

LARGEST_MESSAGE: Final = 2**31 - 2**20
"""Most bytes of a table that a message can carry."""

SHARE: Final = 64
"""Without `k`, a table may take this part of `memory`."""

BOUND_CELLS: Final = 1 << 16
"""Most cells of a table of lower bounds."""


@message("UTIL")
class Util(NamedTuple):
    """The best cost of the sender's subtree under a context, by the other values of its separator."""

    context: Context
    axes: tuple[str, ...]
    table: Annotated[Array, Over("axes")]


@message("LABEL")
class Label(NamedTuple):
    """There is no whole table: the sender's cut, its separator's domain sizes, tables that add up to lower bounds."""

    cut: tuple[str, ...]
    sizes: Mapping[str, int]
    axes: tuple[tuple[str, ...], ...]
    tables: tuple[Array, ...]


@message("GUESS")
class Guess(NamedTuple):
    """First values of the receiver's separator."""

    values: Context


@message("PRICE")
class Price(NamedTuple):
    """What the sender's subtree costs under the guess."""

    cost: Cost


@message("KEEP")
class Keep(NamedTuple):
    """The guess is optimal."""


@message("CONTEXT")
class Assume(NamedTuple):
    """Asks for the receiver's table under these values of its cut."""

    values: Context


@message("VALUE")
class Value(NamedTuple):
    """The final values of the receiver's separator."""

    values: Context


@dataclass(frozen=True)
class MbDpopParams(TreeParams):
    """Parameters of MB-DPOP.

    Args:
        k: most axes of a table in a message; by default as many as fit.
        memory: most bytes that one table may take.
    """

    k: int | None = None
    memory: int = 2 << 30

    def __post_init__(self) -> None:
        if self.memory < CELL_BYTES:
            raise ValueError(f"memory={self.memory}: must be at least {CELL_BYTES} bytes")
        if self.k is not None and self.k < 1:
            raise ValueError(f"k={self.k}: must be at least 1")

    @property
    def most_cells(self) -> int:
        """Most cells of a table."""
        allowed = self.memory if self.k is not None else self.memory // SHARE
        return max(1, min(allowed, LARGEST_MESSAGE) // CELL_BYTES)


@dataclass(slots=True)
class Branch:
    """What an agent knows of a child.

    Args:
        pending: it sent LABEL, so its tables must be asked for.
        cut: variables that its tables are conditioned on.
        bounds: tables that add up to lower bounds; until the guess.
        context: of the table at hand.
        table: the table at hand, if any.
    """

    pending: bool
    cut: tuple[str, ...] = ()
    bounds: list[NamedTable] = field(default_factory=list)
    context: Context = field(default_factory=dict)
    table: NamedTable | None = None


class MbDpop(Agent):
    """One variable of the pseudo-tree."""

    messages = (Util, Label, Guess, Price, Keep, Assume, Value)
    Params = MbDpopParams
    place = "tree"
    tree_choice = "smallest-table"
    costs = "signed"
    complete = True
    status = "verified"

    params: MbDpopParams

    def __init__(self, view: LocalView, port: Port, params: MbDpopParams) -> None:
        super().__init__(view, port, params)
        self.separator: tuple[str, ...] = ()
        self.sizes = dict(view.domain_sizes)  # of the separator's variables, its own and its neighbours'
        self.own: list[NamedTable] = []
        self.branches: dict[str, Branch] = {}
        self.guessed: dict[str, int] = {}  # the separator's first values and the own one

    async def run(self) -> None:
        """LABEL phase up; then guess, enumerate and decide as the parent says."""
        place = self.view.tree
        self.separator = place.separator
        ancestors = {self.name, place.parent, *place.pseudo_parents}
        if self.view.has_unary:
            self.own.append(((self.name,), self.view.unary))
        self.own.extend((c.scope, c.table) for c in self.view.constraints if ancestors.issuperset(c.scope))
        for child in place.children:
            self.branches[child] = await self.meet(child)
        if place.parent is None:
            await self.lead()
            return
        self.send(place.parent, await self.report())
        while True:
            order: Any = await self.receive(Guess, Assume, Value, Keep, sender=place.parent)
            if isinstance(order, Guess):
                if self.guessed:
                    continue  # a duplicate
                self.guess(order.values)
                if self.pending:
                    self.send(place.parent, Price(await self.price()))
            elif isinstance(order, Assume):
                axes, table = await self.util(order.values)
                self.send(place.parent, Util(order.values, axes, table))
            elif isinstance(order, Value):
                row = await self.row(order.values)
                self.settle({**order.values, self.name: int(row.argmin())})
                return
            else:
                self.keep()
                return

    @property
    def pending(self) -> bool:
        """Whether this agent could not send one whole table at once."""
        return any(branch.pending for branch in self.branches.values()) or not self.fits(self.separator)

    @property
    def cut_below(self) -> set[str]:
        """Variables that the children's tables are conditioned on."""
        return {name for branch in self.branches.values() for name in branch.cut}

    def fits(self, axes: Sequence[str], most: int | None = None) -> bool:
        """Tell whether a table over `axes` may be made, of at most `most` cells if given."""
        k, cells = self.params.k, self.params.most_cells if most is None else min(most, self.params.most_cells)
        return (k is None or len(axes) <= k) and math.prod(self.sizes[name] for name in axes) <= cells

    # Up: tables where they are small enough, labels and lower bounds elsewhere ---------------------------------

    async def meet(self, child: str) -> Branch:
        """Wait for what a child says of itself."""
        news: Any = await self.receive(Util, Label, sender=child)
        if isinstance(news, Label):
            self.sizes.update(news.sizes)
            return Branch(True, news.cut, list(zip(news.axes, news.tables, strict=True)))
        self.sizes.update(zip(news.axes, news.table.shape, strict=True))
        return Branch(False, table=(news.axes, news.table))

    async def report(self) -> Util | Label:
        """Return what this agent says of itself: its whole table, or its label."""
        if not self.pending:
            return Util({}, *await self.util({}))
        bounds = self.lower_bounds()
        sizes = {name: self.sizes[name] for name in self.separator}
        return Label(self.cut(), sizes, tuple(axes for axes, _ in bounds), tuple(table for _, table in bounds))

    def cut(self) -> tuple[str, ...]:
        """Choose the variables to condition on: what is cut below, then the highest, until the others' table fits."""
        if self.fits(self.separator):
            return ()
        below = self.cut_below
        chosen = {name for name in self.separator if name in below}
        for name in self.separator:
            if self.fits([other for other in self.separator if other not in chosen]):
                break
            chosen.add(name)
        return tuple(name for name in self.separator if name in chosen)

    def known_tables(self) -> list[NamedTable]:
        """Return own costs with the children's tables, lower bounds where there is no table."""
        tables = self.own.copy()
        for branch in self.branches.values():
            tables.extend(branch.bounds if branch.table is None else [branch.table])
        return tables

    def lower_bounds(self) -> list[NamedTable]:
        """Return small tables without the own variable that add up to at most the cost of the subtree."""
        tables = self.known_tables()
        self.check(cells_read(tables))
        groups: list[tuple[list[NamedTable], tuple[str, ...]]] = []
        for table in sorted(tables, key=lambda table: -table[1].ndim):
            if self.name not in table[0]:
                continue
            small = self.shrunk(table)
            for i, (group, axes) in enumerate(groups):
                union = tuple(dict.fromkeys((*axes, *(name for name in small[0] if name != self.name))))
                if self.fits(union, BOUND_CELLS):
                    groups[i] = ([*group, small], union)
                    break
            else:
                groups.append(([small], tuple(name for name in small[0] if name != self.name)))
        found = [table for table in tables if self.name not in table[0]]
        found.extend((axes, project_min(group, self.name, axes, sizes=self.sizes)) for group, axes in groups)
        found.sort(key=lambda table: -table[1].ndim)
        kept: list[NamedTable] = []
        for low in found:
            for i, wide in enumerate(kept):
                if set(wide[0]).issuperset(low[0]):
                    kept[i] = (wide[0], join([wide, low], wide[0]))
                    break
            else:
                kept.append(low)
        return kept

    def shrunk(self, table: NamedTable) -> NamedTable:
        """Return a table minimised over its first axes until the others fit; the own variable stays."""
        axes, array = table
        while not self.fits(left := [name for name in axes if name != self.name], BOUND_CELLS):
            axes, array = tuple(name for name in axes if name != left[0]), array.min(axis=axes.index(left[0]))
        return axes, array

    # Down: a first guess, and its price -------------------------------------------------------------------------

    def guess(self, context: Context) -> None:
        """Take the value that looks best under `context`, and pass it on with the context."""
        deciding = [table for table in self.known_tables() if self.name in table[0]]
        self.check(self.view.size * len(deciding))
        value, _ = best_value(deciding, self.name, context, sizes=self.sizes)
        self.assign(value)
        self.guessed = {**context, self.name: value}
        for branch in self.branches.values():
            branch.bounds = []
        self.send_down(Guess, self.guessed)

    async def price(self) -> Cost:
        """Return what the own subtree costs under the guess."""
        tables = self.own + [branch.table for branch in self.branches.values() if branch.table is not None]
        self.check(len(tables))
        cost: Cost = join([restrict(table, self.guessed) for table in tables], ()).item()
        for child, branch in self.branches.items():
            if branch.pending:
                cost += (await self.receive(Price, sender=child)).cost
        return cost

    # The enumeration -------------------------------------------------------------------------------------------

    async def util(self, context: Context) -> NamedTable:
        """Return the best cost of the own subtree under `context`, by the other values of the separator."""
        below = self.cut_below
        free = [name for name in (*self.separator, self.name) if name in below and name not in context]
        axes = tuple(name for name in self.separator if name not in context)
        whole: Table | None = None
        for values in product(*(range(self.sizes[name]) for name in free)):
            here = {**context, **dict(zip(free, values, strict=True))}
            left = tuple(name for name in axes if name not in here)
            tables = await self.tables_under(here)
            if self.name in here:
                part = join(tables, left, sizes=self.sizes)
            else:
                part = project_min(tables, self.name, left, sizes=self.sizes)
            if not free:
                return axes, part
            if whole is None:
                whole = np.empty([self.sizes[name] for name in axes], part.dtype)
            where: Any = (*(here.get(name, slice(None)) for name in axes), ...)
            if here.get(self.name, 0):  # own values change fastest: the first one overwrites, the others compete
                np.minimum(whole[where], part, out=whole[where])
            else:
                whole[where] = part
        assert whole is not None, "a domain has a value"
        return axes, whole

    async def row(self, context: Context) -> Table:
        """Return the cost of the own subtree by own value, all values of the separator being given."""
        if self.name not in self.cut_below:
            return join(await self.tables_under(context), (self.name,), sizes=self.sizes)
        costs = [
            join(await self.tables_under({**context, self.name: value}), ()).item() for value in range(self.view.size)
        ]
        return np.array(costs)

    async def tables_under(self, context: Context) -> list[NamedTable]:
        """Return own and children's tables under `context`, asking for those that are not at hand."""
        asked = {}
        for child, branch in self.branches.items():
            wanted = {name: context[name] for name in branch.cut}
            if branch.pending and (branch.table is None or branch.context != wanted):
                asked[child] = wanted
                branch.table = None
                self.send(child, Assume(wanted))
        for child, wanted in asked.items():
            util = await self.receive(Util, sender=child)
            while util.context != wanted:  # a duplicate of an earlier answer
                util = await self.receive(Util, sender=child)
            self.branches[child].context, self.branches[child].table = wanted, (util.axes, util.table)
        tables = [restrict(table, context) for table in self.known_tables()]
        self.check(cells_read(tables))
        return tables

    # The root, and the decision --------------------------------------------------------------------------------

    async def lead(self) -> None:
        """Lead the component: prove the guess or find the optimum."""
        if self.pending:
            known = self.known_tables()
            self.check(cells_read(known))
            lower = self.number(join(known, (self.name,), sizes=self.sizes).min())
            self.bound(lower=lower)
            self.guess({})
            upper = await self.price()
            self.bound(upper=upper)
            if upper <= lower + self.view.tolerance:
                self.keep()
                return
        row = await self.row({})
        optimum = self.number(row.min())
        self.bound(lower=optimum, upper=optimum)
        self.settle({self.name: int(row.argmin())})

    def number(self, cost: float) -> Cost:
        """Return a cost as int where all costs are whole numbers."""
        return int(cost) if self.view.integral and math.isfinite(cost) else float(cost)

    def settle(self, values: Mapping[str, int]) -> None:
        """Take the final value in `values` and tell the children theirs."""
        self.assign(values[self.name])
        self.send_down(Value, values)

    def keep(self) -> None:
        """Stay with the guess and tell the children to."""
        for child in self.branches:
            self.send(child, Keep())

    def send_down(self, kind: type[Guess | Value], values: Mapping[str, int]) -> None:
        """Send each child the values of its separator."""
        for child, separator in self.view.tree.child_separators.items():
            self.send(child, kind({name: values[name] for name in separator}))


class MbDpopReader:
    """What a viewer of MB-DPOP can conclude.

    UTIL says what the sender's subtree costs, under a context or without; LABEL bounds that from below, PRICE from
    above; VALUE, and GUESS confirmed by KEEP, say who takes which value.
    """

    def __init__(self, context: ReaderContext) -> None:
        self._context = context
        self._guesses: dict[str, Context] = {}  # by the receiver of a GUESS

    def read(self, delivery: Delivery) -> Iterator[Statement]:
        """Return the statements that one delivery supports."""
        content = delivery.message
        if isinstance(content, Util):
            yield from self._util(delivery.src, content)
        elif isinstance(content, Label):
            yield Nothing("topology and public domain sizes", ("cut", "sizes"))
            least = sum(table.min().item() for table in content.tables)
            yield self._bound("subtree-lower", ("axes", "tables"), delivery.src, {}, ">=", least)
            yield Unanalysed("lower bounds of the subtree's cost by context, beyond the least of all", ("tables",))
        elif isinstance(content, Price):
            guess = self._guesses.get(delivery.src, {})
            yield self._bound("subtree-upper", ("cost",), delivery.src, guess, "<=", content.cost)
        elif isinstance(content, Guess):
            self._guesses[delivery.dst] = content.values
            for name, value in content.values.items():
                yield ValueIs("guess", ("values",), name, value, "now")
        elif isinstance(content, Keep):
            for name, value in self._guesses.get(delivery.dst, {}).items():
                yield ValueIs("decision", (), name, value, "final")
        elif isinstance(content, Assume):
            yield Nothing("contexts are asked for one after the other, whatever the costs", ("values",))
        else:
            for name, value in content.values.items():
                yield ValueIs("decision", ("values",), name, value, "final")

    def _util(self, sender: str, util: Util) -> Iterator[Statement]:
        fields = ("context", "axes", "table")
        offset = self._context.offset((sender,), "subtree")
        yield CostTable(
            "subtree-table", fields, (sender,), "subtree", util.axes, util.table, offset, context=util.context
        )

    def _bound(
        self, label: str, fields: tuple[str, ...], sender: str, context: Context, relation: Relation, cost: Cost
    ) -> CostIs:
        terms = (Term((sender,), "subtree", context),)
        return CostIs(label, fields, terms, relation, cost, self._context.offset((sender,), "subtree"))


MbDpop.reader = MbDpopReader
