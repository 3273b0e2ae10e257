"""The observer `accounting`: the differential privacy of a whole run, from what its messages are said to be made of.

A solver's reader says of each message which mechanism stands between tables and fields (`Released`). Each use of a
node's tables is counted once, however many receive what comes of it, and composed by unit:

* own: all uses by one node;
* edge: all uses of one cost function, whichever node makes them: both ends of a constraint may;
* agent: all uses of any cost function that touches one agent's variables, its neighbours' uses among them;
* entry: as edge, for a single entry of the cost function; only where a mechanism tells the difference.

Where a solver names the cost functions behind its releases, one that names none uses none. Where it names none at all,
or the viewer need not know them, a use is taken to be of all that touch its node.

A unit's epsilon is that of the worst of its kind. What a message discloses under no mechanism is listed as `outside`,
and there is no finite epsilon then: a function of the tables in the clear tells some of them apart with certainty.
Fields that nobody has analysed count as such, and so does a solver without a reader.

The final assignment is seen by whoever reads the result: with the view `all`, uses behind it count that no message
speaks of (`Claim.final`), such as the choice of an agent that has nobody to tell. Not in this account: what a message
discloses by being sent at all, or by when, which is in no statement.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from agentsim.errors import UserError
from agentsim.runtime import registry
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.mechanisms import Claim, Clear, Mechanism, PerTable, Repeated
from agentsim.runtime.observer import Observer, ObserverContext
from agentsim.runtime.statements import (
    Best,
    Chosen,
    CostIs,
    CostTable,
    Released,
    Statement,
    Unanalysed,
    ValueIs,
    uncovered,
)
from privacy.accounting import composition, losses, renyi
from privacy.accounting.uses import Uses, count, reveals, unwrapped

DELTA: Final = 1e-5
"""Where neither the options nor the solver's claim give one."""

_TELLING: Final = (Chosen, CostIs, CostTable, ValueIs, Unanalysed)
"""Statements that disclose something; of several about one field the first of these is told."""


@dataclass(frozen=True)
class AccountingOptions:
    """Options of the observer `accounting`.

    Args:
        delta: failure probability; none: the claim's, or 1e-5 where nothing is claimed.
        accountant: pure, rdp, pld, or best: the least that holds of all that are there.
        view: all, or whose mail counts: agent:A, coalition:A+B or wire:A>B.
    """

    delta: float | None = None
    accountant: Literal["best", "pure", "rdp", "pld"] = "best"
    view: str = "all"

    def __post_init__(self) -> None:
        if self.delta is not None and not 0 <= self.delta < 1:
            raise ValueError(f"delta={self.delta}: must be at least 0 and below 1")


class Accounting(Observer):
    """Differential privacy of a run: what is claimed, what holds for each unit, and what no mechanism covers."""

    name = "accounting"
    default_view: ClassVar[str] = "all"
    Params: ClassVar[type[AccountingOptions]] = AccountingOptions

    def __init__(self, context: ObserverContext) -> None:
        super().__init__(context)
        given = {key: value for key, value in context.options.items() if key != "as"}
        options = registry.make_params(AccountingOptions, given, f"observer {self.label}")
        self._claim: Claim | None = context.solver.claim(context.setup)
        claimed = DELTA if self._claim is None else self._claim.delta
        self._delta: float = claimed if options.delta is None else options.delta
        self._accountant: str = options.accountant
        if self._accountant in ("rdp", "pld") and self._delta == 0:
            raise UserError(f"observer {self.label}: accountant={self._accountant} needs a delta above 0")
        if self._accountant == "pld":
            losses.require()

    def start(self) -> None:
        """Make the reader, and see which cost functions touch whom."""
        reader = self.context.reader()
        self._read = reader.read if reader is not None else None
        self._stateless = bool(getattr(reader, "stateless", False))
        self._last: dict[tuple[str, str], tuple[bytes, float, set[str]]] = {}
        """By sender and type: payload and time of the last message, and who has received it."""
        self._counted: set[tuple[str, str, int]] = set()
        self._uses: dict[tuple[str, tuple[str, ...]], Counter[Mechanism]] = {}
        """By node and tables: how often which mechanism was used."""
        self._outside: Counter[str] = Counter()
        self._events: dict[int, tuple[Mechanism, int, bool, Mechanism]] = {}
        """By a mechanism's identity: event, times, whether it hides nothing; and the mechanism, so that it lives."""
        self._sentences: dict[object, str] = {}
        """What kinds of statements disclose, in words."""
        problem, owners = self.context.setup.problem, self.context.setup.nodes
        self._touching: dict[str, list[str]] = {node: [] for node in owners}
        """By node: the cost functions that touch its variable."""
        for v in problem.variables.values():
            if v.unary is not None:
                self._touching[v.name].append(v.name)
        for c in problem.constraints.values():
            for name in c.scope:
                self._touching[name].append(c.name)

    def observe(self, delivery: Delivery) -> None:
        """Count the uses behind one delivery, and what of it is in the clear."""
        if self._read is None or self._is_repeated(delivery):
            return
        statements = list(self._read(delivery))
        told: set[str] = set()
        for statement in statements:
            if isinstance(statement, Released):
                told.update(statement.fields)
                self._use(statement, delivery.type)
        telling = [s for s in statements if isinstance(s, _TELLING) and told.isdisjoint(s.fields)]
        if len(telling) > 1:
            telling.sort(key=lambda s: _TELLING.index(type(s)))
        for statement in telling:
            # What shares a field with a release or something told already follows from it, or says where it belongs.
            if told.isdisjoint(statement.fields):
                told.update(statement.fields)
                self._outside[self._sentence(delivery.type, statement)] += 1
        for field in uncovered(delivery, statements):
            self._outside[f"{delivery.type}.{field}: covered by no statement"] += 1

    def _is_repeated(self, delivery: Delivery) -> bool:
        """Tell whether a delivery is but another copy of its sender's last message of that type.

        A reader without memory says the same of equal messages. For others, equal messages are one only if they were
        sent at the same time to different nodes, or copied by the network.
        """
        _, sent_at, _, _, src, dst, kind, _, copy, _, payload, _ = delivery
        last = self._last.get((src, kind))
        if last is not None and last[0] == payload:
            if self._stateless or copy:
                return True
            if last[1] == sent_at and dst not in last[2]:
                last[2].add(dst)
                return True
        self._last[src, kind] = (payload, sent_at, {dst})
        return False

    def _sentence(self, kind: str, statement: Statement) -> str:
        """Return what a statement discloses in the clear; statements of one kind have one sentence."""
        law = statement.law if isinstance(statement, Chosen) else None
        key = (kind, statement.fields, type(statement), statement.label, type(law))
        found = self._sentences.get(key)
        if found is None:
            found = self._sentences[key] = f"{_place(kind, statement.fields)}: {_words(statement)}"
        return found

    def _use(self, released: Released, kind: str) -> None:
        key = (released.about, released.label, released.draw)
        if key in self._counted:
            return
        self._counted.add(key)
        found = self._events.get(id(released.mechanism))
        if found is None:
            event, times = unwrapped(released.mechanism)
            in_clear = not isinstance(event, PerTable) and reveals(event)
            found = self._events[id(released.mechanism)] = (event, times, in_clear, released.mechanism)
        event, times, in_clear, _ = found
        if in_clear:
            words = event.reason if isinstance(event, Clear) else f"{event} hides nothing"
            self._outside[f"{_place(kind, released.fields)}: {words}"] += 1
            return
        uses = self._uses.get((released.about, released.tables))
        if uses is None:
            uses = self._uses[released.about, released.tables] = Counter()
        uses[event] += times

    def findings(self) -> dict[str, Any]:
        """Return what is claimed and what holds: epsilon by unit, what is outside, notes, and how much was used."""
        claim = self._claim
        if claim is not None and not self.context.view.agents and self.context.view.wire is None:
            for released in claim.final:  # the assignment is what the run is for: somebody will see it
                self._use(released, "assignment")
        if self._read is not None:
            outside = [f"{words} ({'once' if n == 1 else f'{n} times'})" for words, n in self._outside.items()]
        else:
            outside = [f"not analysed: {self.context.solver_name} has no reader"]
        mechanisms = Counter[str]()
        for uses in self._uses.values():
            for event, times in uses.items():
                mechanisms[type(event).__name__] += times
        return {
            "claimed": None if claim is None else claim.epsilon,
            "delta": self._delta,
            "unit": None if claim is None else claim.unit,
            "holds": dict.fromkeys(("own", "edge", "agent"), math.inf) if outside else self._holds(),
            "outside": [*outside, *(() if claim is None else claim.outside)],
            "notes": [] if claim is None else list(claim.notes),
            "uses": {"nodes": len({node for node, _ in self._uses}), **dict(sorted(mechanisms.items()))},
            "accountant": self._accountants(),
        }

    def _accountants(self) -> str:
        if self._accountant != "best":
            return self._accountant
        return "best of pure, rdp and pld" if losses.available() else "best of pure and rdp (pld needs agentsim[dp])"

    def _holds(self) -> dict[str, float]:
        """Return the greatest epsilon by unit."""
        owners = self.context.setup.nodes
        touched_by: dict[str, set[str]] = {}
        for node, names in self._touching.items():
            for name in names:
                touched_by.setdefault(name, set()).add(owners[node])
        named = self.context.view.spec == "all" and any(tables for _, tables in self._uses)
        own: dict[str, list[Mechanism]] = {}
        edge: dict[str, list[Mechanism]] = {}
        agent: dict[str, list[Mechanism]] = {}
        entry: dict[str, list[Mechanism]] = {}
        for (node, said), uses in self._uses.items():
            tables = said if said or named else tuple(self._touching.get(node, ()))
            concerned = Counter(owner for name in tables for owner in touched_by.get(name, ()))
            for event, times in uses.items():
                own.setdefault(node, []).append(Repeated(_changed(event, max(1, len(tables))), times))
                for owner, several in concerned.items():
                    agent.setdefault(owner, []).append(Repeated(_changed(event, several), times))
                for name in tables:
                    edge.setdefault(name, []).append(Repeated(_changed(event, 1), times))
                    entry.setdefault(name, []).append(Repeated(_changed(event, 0), times))
        units = {"own": own, "edge": edge, "agent": agent}
        if any(isinstance(event, PerTable) for uses in self._uses.values() for event in uses):
            units["entry"] = entry
        return {unit: self._greatest(map(count, events.values())) for unit, events in units.items()}

    def _greatest(self, several: Iterable[Uses]) -> float:
        """Return the greatest epsilon of several compositions; no more of them are composed than need be."""
        largest: list[Uses] = []
        for uses in sorted(several, key=Counter.total, reverse=True):
            if not any(uses <= other for other in largest):
                largest.append(uses)
        greatest = 0.0
        # The tightest accountant is the slowest: where the others already give less, it is not asked.
        for bound, uses in sorted(((self._at_most(u), u) for u in largest), key=lambda pair: -pair[0]):
            if bound <= greatest:
                break
            greatest = max(greatest, self._epsilon(uses))
        return greatest

    def _at_most(self, uses: Uses) -> float:
        if self._accountant == "best" and self._delta > 0:
            return min(composition.total(uses), renyi.of_uses(uses, self._delta, improved=True))
        return math.inf

    def _epsilon(self, uses: Uses) -> float:
        match self._accountant:
            case "pure":
                return composition.total(uses)
            case "rdp":
                return renyi.of_uses(uses, self._delta, improved=False)
            case "pld":
                return losses.of_uses(uses, self._delta)
        return composition.of_uses(uses, self._delta)


def _changed(event: Mechanism, tables: int) -> Mechanism:
    """Return the event where so many of the tables it uses change, 0 for an entry of one."""
    if isinstance(event, PerTable):
        return event.of(tables) if tables else event.entry
    return event


def _place(kind: str, fields: tuple[str, ...]) -> str:
    return f"{kind}.{'+'.join(fields)}"


def _words(statement: Statement) -> str:
    """Say what is disclosed under no mechanism."""
    match statement:
        case Unanalysed(label):
            return f"not analysed: {label}"
        case Chosen(law=Best()):
            return "chosen as best response, in the clear"
        case Chosen():
            return "drawn by its costs, under no mechanism that is told"
        case CostTable():
            return "costs by value, in the clear"
        case CostIs():
            return "a cost, in the clear"
    return "a value, in the clear"
