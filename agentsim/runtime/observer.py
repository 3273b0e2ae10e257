"""Observers: agent tasks that watch. What they may see is their view; what they conclude is their findings.

Writing one is a class with one method::

    class Counter(Observer):
        def start(self) -> None:
            self.seen = 0

        def observe(self, delivery: Delivery) -> None:
            self.seen += 1

        def findings(self) -> dict[str, Any]:
            return {"seen": self.seen}

An observer runs as the last phase of each instant, live and in replay alike: its feed *is* the log. It cannot change a
run, and one that raises fails the run.

Views: `agent:NAME` (that agent's inbox, outbox and local views), `coalition:A+B`, `wire:A>B`, `all`; and
`coalitions:K`, which has the eyes of all, for observers that tell coalitions of K agents apart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar, cast

from agentsim.errors import UserError
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.network import quote, split_names, unquote
from agentsim.runtime.port import Abandonment
from agentsim.runtime.reading import make_reader
from agentsim.runtime.statements import Reader, Statement
from agentsim.runtime.view import LocalView, Setup
from agentsim.runtime.waits import Drain

if TYPE_CHECKING:
    from agentsim.runtime.port import Mailbox


@dataclass(frozen=True)
class ObserverView:
    """Whose eyes an observer sees with.

    Args:
        spec: as written: `agent:NAME`, `coalition:A+B`, `coalitions:K`, `wire:A>B`, `all`.
        agents: the agents whose mail it sees; empty for `all` and `coalitions:K`.
        wire: (from, to) for a wire.
        coalitions: K; 1 for `all`, where every agent is on its own.
    """

    spec: str
    agents: tuple[str, ...] = ()
    wire: tuple[str, str] | None = None
    coalitions: int = 1

    @classmethod
    def parse(cls, spec: str, agents: Iterable[str]) -> ObserverView:
        """Parse a view; UserError on unknown forms and agents."""
        known = set(agents)
        kind, *rest = split_names(spec, ":")
        text = ":".join(rest)
        if kind == "all" and not rest:
            return cls("all")
        if kind == "coalitions":
            if not (text.isascii() and text.isdigit() and 1 <= int(text) < len(known)):
                raise UserError(f"view {spec!r}: coalitions:K needs a K from 1 to {max(1, len(known) - 1)}")
            return cls(f"coalitions:{int(text)}", coalitions=int(text))
        if kind == "agent":
            names = [unquote(text)]
        elif kind == "coalition":
            names = [unquote(n) for n in split_names(text, "+")]
        elif kind == "wire":
            names = [unquote(n) for n in split_names(text, ">")]
            if len(names) != 2:
                raise UserError(f"view {spec!r}: a wire is written wire:A>B")
        else:
            raise UserError(f"view {spec!r}: must be agent:NAME, coalition:A+B, coalitions:K, wire:A>B or all")
        for name in names:
            if name not in known:
                raise UserError(f"view {spec!r}: no agent is called {name!r}")
        if kind == "wire":
            return cls(f"wire:{quote(names[0])}>{quote(names[1])}", (), (names[0], names[1]))
        return cls(f"{kind}:{'+'.join(quote(n) for n in names)}", tuple(dict.fromkeys(names)))

    def viewers(self, agents: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
        """Return who looks through this view: (name, agents that share what they see) for each.

        Args:
            agents: those that are on their own with `all`, and of which every K form a coalition with `coalitions:K`.
        """
        if self.wire is not None:
            return [(self.spec, ())]
        groups = [self.agents] if self.agents else combinations(agents, self.coalitions)
        return [(group[0] if len(group) == 1 else "+".join(map(quote, group)), group) for group in groups]

    def sees(self, owners: Mapping[str, str]) -> Callable[[Delivery], bool] | None:
        """Return the test a delivery must pass, or None when all do. `owners`: agent by node."""
        if self.wire is not None:
            a, b = self.wire
            return lambda d: owners[d.src] == a and owners[d.dst] == b
        if not self.agents:
            return None
        nodes = frozenset(node for node, owner in owners.items() if owner in self.agents)
        return lambda d: d.src in nodes or d.dst in nodes


@dataclass(frozen=True, eq=False)
class ObserverContext:
    """What an observer is given besides its feed.

    Args:
        view: whose eyes it has.
        setup: public facts and, for `views`, the viewer's own; use the methods below rather than this.
        solver: the solver's class.
        solver_name: its name.
        options: the options given to the observer, as strings or Python values.
        redacted: whether the log it replays leaves private costs out.
    """

    view: ObserverView
    setup: Setup
    solver: type[Any]
    solver_name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    redacted: bool = False

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes of the viewer; every node for `all`, none for a wire."""
        if self.view.wire is not None:
            return ()
        owners = self.setup.nodes
        return tuple(n for n, owner in owners.items() if not self.view.agents or owner in self.view.agents)

    def owner(self, node: str) -> str:
        """Return the agent that owns a node."""
        return self.setup.nodes[node]

    @property
    def views(self) -> dict[str, LocalView]:
        """The viewer's own local views, by node."""
        return {n: self.setup.view(n) for n in self.nodes}

    def reader(self, agent: str | None = None) -> Reader | None:
        """Return a new disclosure reader for the viewer (or for one agent of it); None if the solver has none."""
        nodes = self.nodes if agent is None else tuple(n for n in self.nodes if self.setup.nodes[n] == agent)
        return self.reader_for(nodes)

    def reader_for(self, nodes: Iterable[str]) -> Reader | None:
        """Return a new disclosure reader for whoever hosts these nodes; None if the solver has none."""
        return make_reader(self.solver, self.setup, nodes)


@dataclass(frozen=True)
class Outcome:
    """How a run ended, for observers that price it.

    Args:
        assignment: domain index by variable of the problem as it was given; None without a complete assignment.
        abandoned: who abandoned it, or None.
    """

    assignment: Mapping[str, int] | None
    abandoned: Abandonment | None


class Observer:
    """Base of every observer: override `observe`, and `start` and `findings` as needed.

    Class attributes: `name`, what it is called in `--observe` and in findings; `default_view`; `recorded`, whether the
    log and the result know of it. One that is not recorded is a display: it has no findings, and the run's log is the
    same, byte for byte, as without it.
    """

    name: ClassVar[str] = ""
    default_view: ClassVar[str] = "all"
    recorded: ClassVar[bool] = True

    satisfied = False
    """Set it to True when no further delivery can change the findings: there will be none, which saves time."""

    def __init__(self, context: ObserverContext) -> None:
        self.context = context
        self.label = str(context.options.get("as") or self.name or type(self).__name__)
        """The name under which its findings appear."""
        self._reader: Reader | None = None
        self._reader_made = False
        self._mailbox: Mailbox | None = None
        self._reports: list[tuple[float, Any]] = []

    def start(self) -> None:
        """Prepare, before the first delivery."""

    def observe(self, delivery: Delivery) -> None:
        """Look at one delivery, in the log's order."""

    def ended(self, outcome: Outcome) -> None:
        """Hear how the run ended, once, before `findings`; not called where a log was cut before its result."""

    def findings(self) -> Any:
        """Return what was found: plain data (maps, lists, numbers, strings). Called once, at the end."""
        return {}

    def live(self) -> Mapping[str, Any]:
        """Return what to show of it while the run goes on; called from another thread a few times a second."""
        return {}

    async def run(self) -> None:
        """Feed every delivery to `observe`; override for a coroutine of your own (await `self.deliveries()`)."""
        self.start()
        while not self.satisfied:
            for delivery in await self.deliveries():
                self.observe(delivery)

    def deliveries(self) -> Awaitable[list[Delivery]]:
        """Wait for deliveries and take all of them, at least one."""
        assert self._mailbox is not None
        return cast(Awaitable[list[Delivery]], Drain(self._mailbox))

    def statements(self, delivery: Delivery) -> list[Statement]:
        """Return what the delivery discloses to this observer, by the solver's reader; [] if it has none."""
        if not self._reader_made:
            self._reader, self._reader_made = self.context.reader(), True
        return list(self._reader.read(delivery)) if self._reader is not None else []

    def report(self, finding: Any) -> None:
        """Put a finding into the log now, with the virtual time."""
        if not self.recorded:
            return
        assert self._mailbox is not None
        self._reports.append((self._mailbox.now, finding))
        self._mailbox.kernel.writer.add(("finding", self._mailbox.now, self.label, finding))
