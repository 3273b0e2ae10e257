"""Leakage as it grows, delivery by delivery: who has lost how much, what it adds up to, who believes what of whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agentsim.runtime.delivery import Delivery
from privacy.vps.knowledge import Belief
from privacy.vps.observer import Vps
from scenarios.reports.head import step_of

_POINTS_PER_AGENT: Final = 2000
_POINTS: Final = 200_000
_DIGITS: Final = 6

SOME: Final = -1
"""Instead of a value's index: some value of the variable, nobody knows which, has such a cost."""

Events = list[list[Any]]


class Thinned:
    """Points by subject, of which only the last in each stretch of deliveries is kept; stretches grow as needed.

    Args:
        most: points in all.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._points: dict[int, list[list[Any]]] = {}
        self._count = 0
        self.stretch = 1
        """Deliveries of which one point is kept."""

    def add(self, subject: int, seq: int, value: object) -> None:
        """Add a point, later than all others of its subject."""
        points = self._points.setdefault(subject, [])
        if points and points[-1][0] // self.stretch == seq // self.stretch:
            points[-1] = [seq, value]
            return
        points.append([seq, value])
        self._count += 1
        if self._count > self._most:
            self._thin()

    def _thin(self) -> None:
        self.stretch *= 2
        self._count = 0
        for subject, points in self._points.items():
            by_stretch = {point[0] // self.stretch: point for point in points}
            self._points[subject] = list(by_stretch.values())
            self._count += len(by_stretch)

    def take(self) -> list[tuple[int, int, Any]]:
        """Return (seq, subject, value) in order, and begin anew with the same stretch."""
        found = sorted(
            ((seq, subject, value) for subject, points in self._points.items() for seq, value in points),
            key=lambda point: point[:2],
        )
        self._points, self._count = {}, 0
        return found


class Leakage:
    """What the observer `vps` says after each delivery, as events.

    Args:
        vps: not yet started.
        agents: number by agent.
        nodes: number by node.
    """

    def __init__(self, vps: Vps, agents: Mapping[str, int], nodes: Mapping[str, int]) -> None:
        self._vps, self._agents, self._nodes = vps, agents, nodes
        vps.start()
        self.analysed = vps.analysed
        self.losses: Events = []
        self.aggregates: Events = []
        self.beliefs: Events = []
        if not self.analysed:
            return
        self._lost: dict[str, float | None] = vps.losses()
        self.subjects = tuple(agent for agent in vps.subjects if self._lost[agent] is not None)
        """Those of whom somebody could learn something."""
        self._last_aggregates: list[float | None] = []
        self._instant: tuple[float, int] | None = None
        self._moved = True
        self._stretch = -1
        self._seen: dict[tuple[str, str], list[list[int]]] = {}
        """By observer and variable, the lowest and highest levels as last told, by value; SOME comes last."""
        self._viewers = self._whose_beliefs()
        self._telling = False
        self._thin_losses = Thinned(min(_POINTS, _POINTS_PER_AGENT * max(1, len(self.subjects))))
        self._thin_aggregates = Thinned(_POINTS_PER_AGENT)

    def _whose_beliefs(self) -> dict[str, list[int]]:
        """Return by observer the agents that believe what it does: several for one coalition, none for a wire.

        Where an agent is in several coalitions it would believe one thing in one and another in the next: none then.
        """
        alone = all(len(v.mind.agents) == 1 for v in self._vps.viewers)
        return {
            v.mind.name: sorted(self._agents[a] for a in v.mind.agents)
            for v in self._vps.viewers
            if alone or len(self._vps.viewers) == 1
        }

    def head(self) -> dict[str, Any]:
        """Return what the page's head says of it."""
        vps = self._vps
        return {
            "rule": vps.rule,
            "metric": vps.metric,
            "unit": "bits" if vps.metric == "entropy" else vps.metric,
            "view": vps.context.view.spec,
            "aggregators": list(vps.aggregators),
            "subjects": [self._agents[a] for a in self.subjects],
        }

    def notes(self) -> list[str]:
        """Return what goes with the figures, in sentences."""
        return [f"leakage: {note}" for note in self._vps.notes()]

    def observe(self, delivery: Delivery, seq: int, inside: bool) -> None:
        """Learn from one delivery; events are told one by one inside of the window, and thinned outside."""
        instant = (delivery.delivered_at, delivery.step)
        if instant != self._instant:
            stretch = seq // self._thin_aggregates.stretch  # outside of the window one point of each will do
            if self._moved and self._instant is not None and (self._telling or stretch != self._stretch):
                self._aggregate(seq - 1, self._telling)
                self._stretch = stretch
            self._instant = instant
        if inside and not self._telling:
            if self._moved:
                self._aggregate(seq - 1, False)
            self._begin(seq - 1)
        self._telling = inside
        self._vps.observe(delivery)
        changed = self._vps.settle()
        if not changed:
            return
        for agent in dict.fromkeys(belief.agent for _, belief in changed):
            if agent in self._lost and self._lost[agent] is not None:
                self._lose(agent, self._vps.loss_of(agent), seq, inside)
        if inside:
            for whose, belief in changed:
                self._believe(whose, belief, seq)

    def _lose(self, agent: str, p: float, seq: int, inside: bool) -> None:
        p = round(p, _DIGITS)
        if p == self._lost[agent]:
            return
        self._lost[agent] = p
        self._moved = True
        if inside:
            self.losses.append([seq, self._agents[agent], p])
        else:
            self._thin_losses.add(self._agents[agent], seq, p)

    def _aggregate(self, seq: int, inside: bool) -> None:
        """Add losses up, at the end of an instant in which one of them changed."""
        self._moved = False
        found = [None if v is None else round(v, _DIGITS) for v in self._vps.aggregate(self._lost).values()]
        if found == self._last_aggregates:
            return
        self._last_aggregates = found
        if inside:
            self.aggregates.append([seq, found])
        else:
            self._thin_aggregates.add(0, seq, found)

    def _begin(self, seq: int) -> None:
        """Tell all that is believed when the window opens."""
        self._drain_thinned()
        for viewer in self._vps.viewers:
            for belief in viewer.mind.beliefs.values():
                self._believe(viewer.mind.name, belief, seq)

    def _believe(self, whose: str, belief: Belief, seq: int) -> None:
        viewers = self._viewers.get(whose)
        if not viewers:
            return
        key = (whose, belief.variable)
        u = belief.scale.levels
        seen = self._seen.get(key)
        if seen is None:
            values = len(belief.low) + 1
            seen = self._seen[key] = [[1] * values, [u] * values]
        now = [[*belief.low, 1], [*belief.high, min([belief.least, *belief.bounds])]]
        if now == seen:
            return
        node = self._nodes[belief.variable]
        for i, levels in enumerate(zip(*now, strict=True)):
            if levels != (seen[0][i], seen[1][i]):
                value = i if i < len(belief.low) else SOME
                told = [step_of(level, u) for level in levels]
                self.beliefs += [[seq, viewer, node, value, *told] for viewer in viewers]
        self._seen[key] = now

    def _drain_thinned(self) -> None:
        self.losses += [[seq, agent, p] for seq, agent, p in self._thin_losses.take()]
        self.aggregates += [[seq, found] for seq, _, found in self._thin_aggregates.take()]

    def take(self) -> tuple[Events, Events, Events]:
        """Return losses, aggregates and beliefs since the last call."""
        self._drain_thinned()
        taken = self.losses, self.aggregates, self.beliefs
        self.losses, self.aggregates, self.beliefs = [], [], []
        return taken

    def finish(self, seq: int) -> None:
        """Bring all up to date at the end: losses are added up anew, without the rounding of many small steps."""
        for agent, p in self._vps.losses().items():
            if p is not None and self._lost.get(agent) is not None:
                self._lose(agent, p, seq, self._telling)
        if self._moved:
            self._aggregate(seq, self._telling)
