"""How much is disclosed to whom: a count of the statements that each viewer's deliveries support.

This is the coarsest of all privacy measures, and the first to look at: it says what *kind* of thing is disclosed about
whom, not how much it narrows down. A solver without a reader is `not analysed`, never taken to disclose nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from agentsim.runtime.delivery import Delivery
from agentsim.runtime.observer import Observer
from agentsim.runtime.statements import (
    Chosen,
    CostIs,
    CostTable,
    Nothing,
    Reader,
    Statement,
    Unanalysed,
    ValueIs,
    uncovered,
)


class _Viewer:
    """One viewer: what it sees, its reader, and what it was told so far."""

    def __init__(self, name: str, agents: frozenset[str], reader: Reader | None) -> None:
        self.name, self.agents, self.reader = name, agents, reader
        self.labels: Counter[str] = Counter()
        self.subjects: Counter[str] = Counter()
        self.unanalysed: Counter[str] = Counter()
        self.values: set[tuple[str, int]] = set()


class Disclosures(Observer):
    """Statements that each agent can draw from its mail, counted by kind and by whom they are about.

    With the view `all` every agent is a viewer of its own, with a reader of its own; an agent sees what it sends and
    receives, and what it sends tells it nothing. A coalition is one viewer, and so is a wire, which knows no costs.
    With `coalitions:K` every K agents are one.
    """

    name = "disclosures"

    def start(self) -> None:
        """Give each viewer a reader."""
        context = self.context
        self._owners = context.setup.nodes
        self._viewers: list[_Viewer] = []
        self._by_agent: dict[str, list[_Viewer]] = {}
        for name, agents in context.view.viewers(tuple(dict.fromkeys(self._owners.values()))):
            reader = context.reader_for(node for node, owner in self._owners.items() if owner in agents)
            viewer = _Viewer(name, frozenset(agents), reader)
            self._viewers.append(viewer)
            for agent in agents:
                self._by_agent.setdefault(agent, []).append(viewer)
        self._unread: Counter[str] = Counter()
        self._analysed = all(v.reader is not None for v in self._viewers)

    def observe(self, delivery: Delivery) -> None:
        """Let the viewers at its two ends read one delivery."""
        if not self._analysed:
            return
        src, dst = self._owners[delivery.src], self._owners[delivery.dst]
        # A wire is nobody's, and its feed is what goes over it.
        seen_by = (*self._by_agent.get(src, ()), *self._by_agent.get(dst, ())) if self._by_agent else self._viewers
        for viewer in dict.fromkeys(seen_by):
            assert viewer.reader is not None
            statements = list(viewer.reader.read(delivery))
            if src in viewer.agents:
                continue  # its own words: the reader needs to know them, but they tell it nothing
            for field in uncovered(delivery, statements):
                self._unread[f"{delivery.type}.{field}"] += 1
            for statement in statements:
                self._count(viewer, statement)

    def _count(self, viewer: _Viewer, statement: Statement) -> None:
        if isinstance(statement, Nothing):
            return
        if isinstance(statement, Unanalysed):
            viewer.unanalysed[statement.label] += 1
            return
        others = {self._owners.get(name, name) for name in _subjects(statement)} - viewer.agents
        if not others:
            return
        viewer.labels[statement.label] += 1
        viewer.subjects.update(others)
        if isinstance(statement, (ValueIs, Chosen)):
            viewer.values.add((statement.variable, statement.value))

    def findings(self) -> dict[str, Any]:
        """Return the counts, by viewer and then by label (`statements`) or agent concerned (`subjects`)."""
        if not self._analysed:
            return {"solver_analysed": False, "note": f"{self.context.solver_name}: not analysed, it has no reader"}
        return {
            "solver_analysed": True,
            "statements": {v.name: dict(sorted(v.labels.items())) for v in self._viewers},
            "subjects": {v.name: dict(sorted(v.subjects.items())) for v in self._viewers},
            "values_revealed": {v.name: len(v.values) for v in self._viewers},
            "unanalysed": {v.name: dict(sorted(v.unanalysed.items())) for v in self._viewers if v.unanalysed},
            "unread_fields": dict(sorted(self._unread.items())),
        }


def _subjects(statement: Statement) -> Iterable[str]:
    """Return the nodes that a statement names."""
    if isinstance(statement, CostIs):
        return [party for term in statement.terms for party in term.parties]
    if isinstance(statement, CostTable):
        return statement.parties
    if isinstance(statement, (ValueIs, Chosen)):
        return (statement.variable,)
    about = getattr(statement, "about", "")
    return (about,) if about else ()
