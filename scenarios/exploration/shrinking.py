"""From a run that fails to the smallest problem and the simplest schedule that still fail in the same way.

The order is: simplest parameters and network, then the problem, then the schedule once more. A network that has come
down to random delays alone is replaced by what it did: `unit` and the messages that were late, of which as many as
possible are then put on time again (delta debugging). Every step is kept only if the run still fails in the same way.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from agentsim.errors import RunError, UserError
from agentsim.record.reader import Log
from agentsim.runtime.network import quote, split_names
from agentsim.runtime.result import Result
from agentsim.runtime.setup import find_solver
from scenarios.exploration.checks import DEAR, Case, Verdict, attempt, judge
from scenarios.exploration.smaller import simpler_costs, smaller_problems

SECONDS: Final = 30.0
_SEEDS: Final = 8
"""Schedules tried of a network whose delays are drawn, before a step is given up."""
_BASES: Final = ("unit", "uniform:1,2", "priority:2,3", "uniform:1,10")
_HANG_MESSAGES: Final = 20_000
_HANG_S: Final = 3.0


@dataclass(frozen=True)
class Late:
    """A message that takes its time: the `n`-th, from 1, from one agent to another."""

    src: str
    dst: str
    n: int
    takes: float

    def __str__(self) -> str:
        takes = int(self.takes) if self.takes == int(self.takes) else self.takes
        return f"late:{quote(self.src)}>{quote(self.dst)}@{self.n}*{takes!r}"


class Shrinker:
    """Looks for smaller cases that fail as a given one does.

    Args:
        case: one that fails.
        kind: of its fault.
        seconds: when to stop looking.

    Attributes:
        best: the smallest that was found.
        tried: how many runs that took.
    """

    def __init__(self, case: Case, kind: str, seconds: float = SECONDS) -> None:
        self.best = case
        self.tried = 0
        self._kind = kind
        self._dear = frozenset((kind,)) & frozenset(DEAR)
        self._until = time.monotonic() + seconds
        self._limits: dict[str, Any] = {"max_messages": case.max_messages, "timeout": case.timeout}

    @property
    def late(self) -> bool:
        """Whether there is no time left."""
        return time.monotonic() >= self._until

    def fails(self, case: Case) -> bool:
        """Tell whether a case fails in the same way; one that makes no sense does not."""
        if self.late:
            return False
        self.tried += 1
        return verdict_of(replace(case, **self._limits), self._dear).kind == self._kind

    def take(self, case: Case, seeds: Iterable[int] | None = None) -> bool:
        """Make a case the best if it fails, with its own seed or another, and tell whether it does."""
        for seed in seeds if seeds is not None else self._seeds(case):
            candidate = replace(case, seed=seed)
            if self.fails(candidate):
                self.best = candidate
                return True
        return False

    def shrink(self) -> Case:
        """Return the smallest case that was found in time.

        Meanwhile a run has less time to its limits than the case allows: where those are what it fails by, every step
        would take as long, and where not, a step that hangs leads nowhere. What is found fails with its own limits.
        """
        whole, limits = self.best, self._limits
        few = _HANG_MESSAGES if self._kind == "hung" else 1000 + 10 * verdict_of(whole, frozenset()).messages
        self._limits = {"max_messages": min(few, whole.max_messages), "timeout": min(_HANG_S, whole.timeout)}
        if self.fails(whole):
            self._all_ways()
        self._until, self._limits = math.inf, limits
        return self.best if self.best is whole or self.fails(self.best) else whole

    def _all_ways(self) -> None:
        whole, now = self._until, time.monotonic()
        self._until = now + (whole - now) / 2  # steps are much faster once no delays are drawn
        self._settle()
        self._until = whole
        if self.best.network != "unit":
            self._to_late()
        self._settle()
        self._lowest_seed()

    def _settle(self) -> None:
        """Take simplifying steps until none leads on."""
        moved = True
        while moved and not self.late:
            moved = False
            for step in (self._simpler_params, self._simpler_network, self._fewer_late, self._smaller, self._cheaper):
                moved = step() or moved

    # Parameters and problem ---------------------------------------------------------------------------------------

    def _simpler_params(self) -> bool:
        moved = False
        for name in list(self.best.params):
            rest = {key: value for key, value in self.best.params.items() if key != name}
            moved = self.take(replace(self.best, params=rest)) or moved
        return moved

    def _smaller(self) -> bool:
        return self._first_of(smaller_problems)

    def _cheaper(self) -> bool:
        return self._first_of(simpler_costs)

    def _first_of(self, ways: Any) -> bool:  # noqa: ANN401  # of this module's two
        """Take the first problem that still fails, and begin again with that, to the end."""
        moved = False
        again = True
        while again and not self.late:
            again = False
            for problem in ways(self.best.problem):
                if self.take(replace(self.best, problem=problem)):
                    moved = again = True
                    break
        return moved

    # The schedule -------------------------------------------------------------------------------------------------

    def _seeds(self, case: Case) -> list[int]:
        """Return the seeds worth trying: only one where nothing is drawn."""
        drawn = _base(case.network) not in ("unit", "constant") or any(
            part.split(":")[0] in ("loss", "duplicate", "reorder") for part in split_names(case.network, "+")
        )
        if not drawn and find_solver(case.solver)[1].complete:
            return [case.seed]
        return list(dict.fromkeys([case.seed, *range(_SEEDS)]))

    def _simpler_network(self) -> bool:
        moved = False
        if self.best.network != "unit" and self.take(replace(self.best, network="unit")):
            return True
        base, *modifiers = split_names(self.best.network, "+")
        for modifier in list(modifiers):
            rest = [m for m in modifiers if m != modifier]
            if not modifier.startswith("late:") and self.take(replace(self.best, network="+".join([base, *rest]))):
                modifiers, moved = rest, True
        for other in _BASES:
            if other == base:
                break
            if self.take(replace(self.best, network="+".join([other, *modifiers]))):
                return True
        return moved

    def _lowest_seed(self) -> None:
        self.take(self.best, range(min(self.best.seed, 5 * _SEEDS)))

    def _to_late(self) -> None:
        """Write what the network did to each message as `unit` and late ones."""
        log = _log_of(self.best)
        if log is not None:
            network = "+".join(["unit", *map(str, late_messages(log))])
            self.take(replace(self.best, network=network), [self.best.seed])

    def _fewer_late(self) -> bool:
        """Put late messages on time in ever smaller groups, then have those that are left take a round time."""
        base, *modifiers = split_names(self.best.network, "+")
        if base != "unit" or not modifiers or not all(m.startswith("late:") for m in modifiers):
            return False
        before = self.best.network
        size = len(modifiers)
        while size and not self.late:
            at = 0
            while at < len(modifiers):
                rest = modifiers[:at] + modifiers[at + size :]
                if self.take(replace(self.best, network="+".join(["unit", *rest]))):
                    modifiers = rest
                else:
                    at += size
            size = min(size, len(modifiers)) // 2 if size > 1 else 0
        for i, modifier in enumerate(modifiers):
            head, _, takes = modifier.rpartition("*")
            for rounder in _rounder(float(takes)):
                changed = [*modifiers[:i], f"{head}*{rounder}", *modifiers[i + 1 :]]
                if self.take(replace(self.best, network="+".join(["unit", *changed]))):
                    modifiers = changed
                    break
        return self.best.network != before


def verdict_of(case: Case, dear: frozenset[str]) -> Verdict:
    """Return what comes of a case; one that makes no sense is refused."""
    try:
        return judge(case, attempt([case])[0], None, dear)
    except UserError as error:
        return Verdict("refused", "", str(error))


def late_messages(log: Log) -> list[Late]:
    """Return every message of a log that took another time than 1 from agent to agent, in the order of sending.

    What was still on its way at the end takes longer than the run.
    """
    header = log.header
    assert header is not None
    owner: dict[str, str] = dict(header["nodes"])
    index = {node: i for i, node in enumerate(owner)}
    sent: list[tuple[float, int, int, str, str, float]] = []
    numbered: dict[tuple[str, int], float] = {}
    left: list[tuple[str, str, int, float]] = []
    for record in log.records():
        if type(record[0]) is int:
            _, sent_at, delivered_at, _, src, dst, _, n, copy, _, _ = record
            numbered[src, n] = sent_at
            if not copy and owner[src] != owner[dst]:
                sent.append((sent_at, index[src], n, owner[src], owner[dst], delivered_at - sent_at))
        elif record[0] == "fate" and record[1] == "undelivered" and owner[record[3]] != owner[record[4]]:
            left.append((record[3], record[4], record[6], record[2]))
    for src, dst, n, end in left:  # sent no earlier than what that node had sent before
        since = max((at for (node, m), at in numbered.items() if node == src and m < n), default=0.0)
        sent.append((since, index[src], n, owner[src], owner[dst], math.ceil(end) + 1.0))
    counted: defaultdict[tuple[str, str], int] = defaultdict(int)
    found = []
    for _, _, _, a, b, takes in sorted(sent):
        counted[a, b] += 1
        if takes != 1:
            found.append(Late(a, b, counted[a, b], takes))
    return found


def _rounder(takes: float) -> Iterator[str]:
    """Yield simpler times, the simplest first."""
    for simple in (2, 3, 5, 9, math.ceil(takes), math.floor(takes)):
        if simple > 0 and simple != takes and not (takes == int(takes) and simple > takes):
            yield str(simple)


def _base(network: str) -> str:
    return split_names(network, "+")[0].partition(":")[0].strip()


def _log_of(case: Case) -> Log | None:
    got = attempt([case])[0]
    result = got.result if isinstance(got, RunError) else got
    return result.log if isinstance(result, Result) else None
