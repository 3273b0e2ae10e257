"""Making a solver's disclosure reader for one viewer."""

from __future__ import annotations

from collections.abc import Iterable

from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.dfs import DFS_MESSAGES, read_dfs
from agentsim.runtime.messages import Abandon
from agentsim.runtime.statements import Reader, ReaderContext, Statement
from agentsim.runtime.view import Setup


def make_reader(solver: type[Agent], setup: Setup, viewer: Iterable[str]) -> Reader | None:
    """Return a new reader for a viewer that hosts the nodes `viewer`, or None where the solver has no reader.

    Messages of the distributed DFS, which every tree solver may send, and ABANDON are read here. That an agent abandons
    says something of its prices and rewards, which are no costs.
    """
    make = solver.__dict__.get("reader") or solver.reader
    if make is None:
        return None
    return _WithSystem(make(ReaderContext.of(setup, viewer)))


class _WithSystem:
    """A solver's reader, and that of the messages which are not the solver's."""

    def __init__(self, inner: Reader) -> None:
        self._inner = inner
        self.stateless = bool(getattr(inner, "stateless", False))

    def read(self, delivery: Delivery) -> Iterable[Statement]:
        """Return the statements that one delivery supports."""
        kind = type(delivery.message)
        if kind in DFS_MESSAGES:
            return read_dfs(delivery)
        if kind is Abandon:
            return ()
        return self._inner.read(delivery)
