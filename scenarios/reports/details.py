"""What a click on a delivery shows: its decoded payload, and what it says to its receiver.

Payloads come from logs, and logs from anywhere: whatever is in one, few entries of it are shown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import MessageError, unpack
from agentsim.runtime.observer import ObserverContext
from agentsim.runtime.statements import Reader
from scenarios.reports.words import Words, short

MOST_ENTRIES: Final = 64
"""Entries of one array, list or map that are shown."""
_MOST_LEAVES: Final = 160
_MOST_DEPTH: Final = 6
_MOST_TEXT: Final = 500
_EXACT: Final = 2**53
_MOST_KEPT: Final = 50_000
_MOST_KEPT_BYTES: Final = 4096
_SMALL: Final = 500
MOST_CHARACTERS: Final = 100_000_000
"""Of all payloads on one page; what comes later is left out. A compressed log may hold any number of large ones."""
_LEFT_OUT: Final = {"…": "left out: the payloads before this one fill the page"}

Detail = list[Any]
"""[payload by field, [sentence, ...]]."""


class Details:
    """Describes deliveries, each kind of payload once.

    Args:
        context: as an observer has it.
    """

    def __init__(self, context: ObserverContext) -> None:
        self._context = context
        self._words = Words(context.setup)
        self._owner = context.setup.nodes
        self._nodes: dict[str, list[str]] = {}
        for node, agent in self._owner.items():
            self._nodes.setdefault(agent, []).append(node)
        self._readers: dict[str, Reader | None] = {}
        self._payloads: dict[tuple[str, bytes], tuple[dict[str, Any], int]] = {}
        self._room = MOST_CHARACTERS
        self._said: dict[tuple[str, str, str, bytes], list[str]] = {}

    def of(self, delivery: Delivery) -> Detail:
        """Return payload and sentences of one delivery, given all earlier ones."""
        return [self._payload(delivery), self._sentences(delivery)]

    def hear(self, delivery: Delivery) -> None:
        """Let readers that need to know earlier messages hear one that is not shown."""
        for agent in dict.fromkeys((self._owner[delivery.src], self._owner[delivery.dst])):
            reader = self._reader(agent)
            if reader is not None and not getattr(reader, "stateless", False):
                for _ in reader.read(delivery):
                    pass

    def _reader(self, agent: str) -> Reader | None:
        if agent not in self._readers:
            self._readers[agent] = self._context.reader_for(self._nodes[agent])
        return self._readers[agent]

    def _sentences(self, delivery: Delivery) -> list[str]:
        sender, receiver = self._owner[delivery.src], self._owner[delivery.dst]
        reader = self._reader(receiver)
        if reader is None:
            return []
        if getattr(reader, "stateless", False):
            if sender == receiver:
                return []  # one's own words tell nothing
            key = (delivery.src, delivery.dst, delivery.type, delivery.payload)
            said = self._said.get(key)
            if said is None:
                said = self._words.all(list(reader.read(delivery)))
                if len(self._said) >= _MOST_KEPT:
                    self._said.clear()
                if len(delivery.payload) <= _MOST_KEPT_BYTES:
                    self._said[key] = said
            return said
        statements = list(reader.read(delivery))
        if sender == receiver:
            return []
        own = self._reader(sender)
        if own is not None:
            for _ in own.read(delivery):
                pass
        return self._words.all(statements)

    def _payload(self, delivery: Delivery) -> dict[str, Any]:
        if self._room <= 0:
            return _LEFT_OUT
        key = (delivery.type, delivery.payload)
        found = self._payloads.get(key)
        if found is None:
            shown = payload_of(delivery)
            # What is small needs no counting: there are but so many deliveries.
            size = len(json.dumps(shown)) if len(delivery.payload) > _SMALL else 0
            found = shown, size
            if len(self._payloads) >= _MOST_KEPT:
                self._payloads.clear()
            if len(delivery.payload) <= _MOST_KEPT_BYTES:
                self._payloads[key] = found
        self._room -= found[1]
        return found[0]


def payload_of(delivery: Delivery) -> dict[str, Any]:
    """Return a payload by field as plain JSON; undecoded where the solver is not known."""
    plain = Plain()
    message = delivery.message
    if message is not None:
        return {name: plain.of(value) for name, value in zip(message._fields, message, strict=True)}
    try:
        values = unpack(delivery.payload)
    except MessageError:
        return {"undecoded": plain.of(delivery.payload)}
    if not isinstance(values, tuple):
        values = (values,)
    return {f"field {i}": plain.of(value) for i, value in enumerate(values[:MOST_ENTRIES], 1)}


class Plain:
    """Turns one decoded payload into plain JSON of limited size."""

    def __init__(self) -> None:
        self._left = _MOST_LEAVES

    def of(self, value: object, depth: int = 0) -> Any:  # noqa: ANN401  # plain JSON
        """Return a value as plain JSON: whatever is too long as its size and its first entries."""
        self._left -= 1
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return value if abs(value) < _EXACT else short(value, _MOST_TEXT)
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, str):
            return short(value, _MOST_TEXT)
        if isinstance(value, bytes):
            return {"bytes": len(value), "first": value[:MOST_ENTRIES].hex()}
        if self._left <= 0 or depth >= _MOST_DEPTH:
            return "…"
        if isinstance(value, np.ndarray):
            first = value.reshape(-1)[:MOST_ENTRIES].tolist()
            shape = [int(n) for n in value.shape]
            return {"shape": shape, "dtype": str(value.dtype), "first": [self.of(v, depth) for v in first]}
        most = max(1, min(MOST_ENTRIES, self._left))
        if isinstance(value, Mapping):
            shown = {short(k): self.of(v, depth + 1) for k, v in list(value.items())[:most]}
            if len(value) > most:
                shown["…"] = f"{len(value) - most} more"
            return shown
        if isinstance(value, (tuple, list)):
            entries = [self.of(v, depth + 1) for v in value[:most]]
            return entries if len(value) <= most else [*entries, f"… {len(value) - most} more"]
        return short(value, _MOST_TEXT)
