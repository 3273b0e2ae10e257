"""Disclosure statements: what a message says, in words that no algorithm owns.

A solver registers a *reader*. Given the deliveries that one viewer saw, in the log's order, and what is public, it
yields statements; it never sees a sender's state, so it cannot leak what the viewer could not know. The privacy
package turns statements into bounds, posteriors, prices and accounts, choosing by label, never by solver.

Each field of a payload is covered by a statement, by `Nothing(reason)` or by `Unanalysed(reason)`; `uncovered` tells
what is not. Values are in solver's units; a statement carries `offset`, the sum of the offsets of the cost functions
it speaks of, so that `cost = sense * (value - offset)` in the user's units.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from agentsim.runtime.delivery import Delivery
from agentsim.runtime.mechanisms import Mechanism
from agentsim.runtime.messages import Array, Cost
from agentsim.runtime.view import LocalView, Setup

Relation = Literal["<=", "==", ">=", "<"]
Rest = Literal["none", "subtree", "unknown", "local", "share"]


@dataclass(frozen=True, slots=True)
class Term:
    """The cost of `parties` under the partial assignment `context`, their other variables at their best.

    Args:
        parties: the nodes whose own cost functions are meant.
        rest: "none"; "subtree": also everything below the parties, unnamed; "unknown": also unnamed terms, each at
            least the floor; "local": not what the parties evaluate but every cost function, counted once, whose scope
            holds a variable of theirs; "share": what their agents answer for (`Setup.shares`).
        context: domain index by variable.
        coefficient: what the cost is multiplied with in the sum of terms.
    """

    parties: tuple[str, ...]
    rest: Rest
    context: Mapping[str, int]
    coefficient: float = 1.0


@dataclass(frozen=True, slots=True)
class Statement:
    """Base of all statements.

    Args:
        label: a neutral word for what kind of disclosure it is ("own-cost", "subtree-lower", "prefix", ...).
        fields: the payload fields it covers.
    """

    label: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CostIs(Statement):
    """The sum of `terms` is `relation` `value` (solver's units, `offset` included); `noise` as declared, or None.

    That it is "<" infinity says that nothing of it is forbidden.

    Args:
        others: variables that a term's context leaves open are at their "best", in each term by itself; or there are
            "some" values, the same wherever a term leaves a variable open, under which the sum is as stated.
        forbidden: what a forbidden tuple counts; infinity minus infinity is as stated in no case.
    """

    terms: tuple[Term, ...]
    relation: Relation
    value: Cost
    offset: Cost = 0
    noise: Any = None
    others: Literal["best", "some"] = "best"
    forbidden: Cost = math.inf


@dataclass(frozen=True, slots=True, eq=False)
class CostTable(Statement):
    """`CostIs` "==" for each cell: the cost of `parties` (and `rest`) by the values of `axes`, under `context`."""

    parties: tuple[str, ...]
    rest: Rest
    axes: tuple[str, ...]
    values: Array
    offset: Cost = 0
    context: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ValueIs(Statement):
    """A variable has a value, `when` = "now" or "final"."""

    variable: str
    value: int
    when: Literal["now", "final"]


@dataclass(frozen=True, slots=True)
class Best:
    """The law of a choice: a value of least cost; among ties the "lowest" index, or "any" of them.

    Where costs are not whole numbers two that are equal up to rounding may pass for either order.
    """

    ties: Literal["lowest", "any"] = "lowest"


@dataclass(frozen=True, slots=True)
class Softmax:
    """The law of a choice: a sample with probability proportional to exp of minus the cost.

    It excludes only values of infinite cost, and these only if neither `bounds` nor `kept_with` allows them.

    Args:
        bounds: interval that exponents are brought into, so that every value has a chance; None: minus the cost itself.
        kept_with: probability that the earlier value is kept instead, whatever it costs.
        coin_visible: whether the outcome shows if it was kept.
    """

    bounds: tuple[float, float] | None
    kept_with: float
    coin_visible: bool


@dataclass(frozen=True, slots=True)
class Exponential:
    """The law of a choice: the exponential mechanism with parameter eps. Every value has a chance: none is excluded."""

    eps: float


@dataclass(frozen=True, slots=True)
class Chosen(Statement):
    """A variable's value was chosen by `law`, its neighbours being at values of which the viewer knows `context`.

    So there are some values of the others under which it may have been chosen. The cost that the law speaks of is the
    variable's local cost: all cost functions whose scope holds it. `forbidden` is what a forbidden tuple counts in it;
    where all values cost at least that, any may have been chosen. `context` says nothing of the variable itself.
    """

    variable: str
    value: int
    context: Mapping[str, int]
    law: Best | Softmax | Exponential
    forbidden: Cost = math.inf


@dataclass(frozen=True, slots=True)
class Released(Statement):
    """An immutable mechanism event, for accountants: what stands between private costs and the fields.

    Args:
        mechanism: the event; fields that it covers and that no other statement reads are post-processing of it.
        sensitivity: of the number released, in solver's units; 0 for a choice.
        about: the node whose tables are used.
        draw: statements with equal `about`, `label` and `draw` speak of one and the same use.
        tables: cost functions used, by name (a private cost: its variable's), as far as the viewer knows them.
    """

    mechanism: Mechanism
    sensitivity: float
    about: str
    draw: int = 0
    tables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Proposed(Statement):
    """What is asked is the cost of `context`, an assignment of domain indices; that it is asked is not priced here."""

    context: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Nothing(Statement):
    """These fields say nothing about private costs, for the reason given as label."""


@dataclass(frozen=True, slots=True)
class Unanalysed(Statement):
    """These fields do carry private information that nobody has analysed yet; the label says what."""


@dataclass(frozen=True, eq=False)
class ReaderContext:
    """What a reader knows besides the deliveries: the viewer's own local views and what is public.

    Args:
        viewer: nodes whose mail the viewer sees; empty for a wire.
        views: the viewer's own local views, by node.
        offset_at: sum of the public offsets of the cost functions that a node evaluates, by node.
        domain_sizes: public number of values, by variable.
        order: the public total orders, one per component; empty where the solver has none.
        subtree: nodes at and below a node. Offsets of a subtree are public; its names are no disclosure of a message.
        roots: the roots of the tree's components.
        share_offsets: sum of the public offsets of the cost functions that a node's agent answers for, by node; empty
            for solvers whose agents know their neighbours alone.
        params: the solver's public parameters.
    """

    viewer: tuple[str, ...]
    views: Mapping[str, LocalView]
    offset_at: Mapping[str, Cost]
    domain_sizes: Mapping[str, int]
    order: tuple[tuple[str, ...], ...]
    subtree: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    roots: frozenset[str] = frozenset()
    share_offsets: Mapping[str, Cost] = field(default_factory=dict)
    params: Any = None
    _offsets: dict[tuple[tuple[str, ...], Rest], Cost] = field(default_factory=dict, init=False, repr=False)

    def offset(self, parties: Iterable[str], rest: Rest = "none") -> Cost:
        """Return the offsets contained in the cost of `parties` and `rest`.

        Args:
            parties: nodes; of different agents for rest="share".
            rest: "none", "subtree" or "share".
        """
        key = (tuple(parties), rest)
        found = self._offsets.get(key)
        if found is None and rest == "share":
            found = self._offsets[key] = sum(self.share_offsets[party] for party in key[0])
        elif found is None:
            names: set[str] = set()
            for party in key[0]:
                names.update(self.subtree[party] if rest == "subtree" else (party,))
            found = self._offsets[key] = sum(self.offset_at[name] for name in sorted(names))
        return found

    @classmethod
    def of(cls, setup: Setup, viewer: Iterable[str]) -> ReaderContext:
        """Return the context of a viewer that hosts the nodes `viewer`."""
        nodes = tuple(viewer)
        tree = setup.tree
        return cls(
            viewer=nodes,
            views={n: setup.view(n) for n in nodes},
            offset_at=setup.offsets_at,
            domain_sizes=setup.domain_sizes,
            order=setup.orders or (),
            subtree=_Subtrees(tree.subtree) if tree is not None else {},
            roots=frozenset(tree.roots) if tree is not None else frozenset(),
            share_offsets={n: setup.share_offset(n) for n in setup.nodes} if setup.knows == "everybody" else {},
            params=setup.params,
        )


class _Subtrees(dict[str, tuple[str, ...]]):
    """Subtrees worked out when asked for: a chain of n nodes has n*n/2 of them."""

    def __init__(self, subtree: Any) -> None:
        super().__init__()
        self._subtree = subtree

    def __missing__(self, node: str) -> tuple[str, ...]:
        self[node] = found = tuple(self._subtree(node))
        return found


class Reader(Protocol):
    """Draws statements from what one viewer saw.

    A reader whose statements follow from the delivery alone says so by a class attribute `stateless = True`. It need
    not be shown what its viewer sends, nor the same message twice.
    """

    def read(self, delivery: Delivery) -> Iterable[Statement]:
        """Return the statements that one delivery supports, given all earlier ones."""
        ...


def uncovered(delivery: Delivery, statements: Iterable[Statement]) -> tuple[str, ...]:
    """Return the payload fields that no statement covers."""
    covered = {f for s in statements for f in s.fields}
    return tuple(f for f in delivery.message._fields if f not in covered)
