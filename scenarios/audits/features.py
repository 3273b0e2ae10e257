"""What a guesser remembers of a run whose law nobody knows: numbers to learn from.

Of each field of each message type, for every pair of sender and receiver: its first and last value, the sum of all, and
a digest of the whole sequence; of each type, how many messages came and when the last one did. What these tell apart is
a lower bound of what can be told apart.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from agentsim.errors import UserError
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import pack
from privacy.audit import Floats, Statistic

ALL: Final = "all fields"

MOST_FEATURES: Final = 4000
"""Of one run. The features of all runs are kept at once."""

_DIGEST_SIZE: Final = 6  # as many bytes as a float can hold

Names = tuple[tuple[str, str], ...]
"""The message field that each feature is of, and what of it."""

Seen = tuple[Names, Floats]
"""The features of one run: names and numbers."""


class _Sequence:
    """The values that one field took, on the way from one node to another."""

    __slots__ = ("_digest", "first", "last", "total")

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=_DIGEST_SIZE)
        self.first = self.last = math.nan
        self.total = 0.0

    def add(self, value: object) -> None:
        """Take note of the next value."""
        packed = pack(value)
        self._digest.update(packed)
        self.last = float(value) if isinstance(value, (int, float)) else _number(hashlib.blake2b(packed).digest())
        if math.isnan(self.first):
            self.first = self.last
        self.total += sum(_numbers(value))

    @property
    def features(self) -> dict[str, float]:
        """What is remembered, by name."""
        return {"first": self.first, "last": self.last, "sum": self.total, "all": _number(self._digest.digest())}


def _number(digest: bytes) -> float:
    return float(int.from_bytes(digest[:_DIGEST_SIZE], "little"))


def _numbers(value: object) -> Iterator[float]:
    """Yield all numbers in a field's value."""
    if isinstance(value, (int, float)):
        yield float(value)
    elif isinstance(value, np.ndarray):
        yield float(value.sum())
    elif isinstance(value, (Mapping, tuple)):
        for element in value.values() if isinstance(value, Mapping) else value:
            yield from _numbers(element)


def remember(deliveries: Iterable[Delivery], sees: Callable[[Delivery], bool] | None) -> Seen:
    """Return the features of a run.

    Args:
        deliveries: of the run.
        sees: which of them the guesser sees; None for all.

    Raises:
        UserError: there are more than `MOST_FEATURES`.
    """
    tallies: dict[tuple[str, str], list[float]] = {}
    sequences: dict[tuple[str, str], _Sequence] = {}
    for delivery in deliveries:
        if sees is not None and not sees(delivery):
            continue
        way = f"{delivery.src}>{delivery.dst}"
        tally = tallies.setdefault((delivery.type, way), [0.0, 0.0])
        tally[0] += 1
        tally[1] = delivery.delivered_at
        for field, value in zip(delivery.message._fields, delivery.message, strict=True):
            key = (f"{delivery.type}.{field}", way)
            sequence = sequences.get(key)
            if sequence is None:
                sequence = sequences[key] = _Sequence()
                if 4 * len(sequences) + 2 * len(tallies) > MOST_FEATURES:
                    raise UserError(f"more than {MOST_FEATURES} things to remember of a run: choose a narrower view")
            sequence.add(value)
    found: dict[tuple[str, str], float] = {}
    for (kind, way), (count, at) in tallies.items():
        found |= {(kind, f"{way} count"): count, (kind, f"{way} time"): at}
    for (field, way), sequence in sequences.items():
        found |= {(field, f"{way} {name}"): x for name, x in sequence.features.items()}
    return tuple(found), np.array(list(found.values()), dtype=float)


def share_names(runs: Iterable[Seen]) -> list[Seen]:
    """Return the runs with equal names being one object, which takes less room, also on its way between processes."""
    known: dict[Names, Names] = {}
    return [(known.setdefault(names, names), numbers) for names, numbers in runs]


def to_statistics(zero: Sequence[Seen], one: Sequence[Seen]) -> list[Statistic]:
    """Return the features of all runs as tables: one for each field, and one of all; UserError if nothing was seen."""
    columns: dict[tuple[str, str], int] = {}
    for names in dict.fromkeys(names for names, _ in (*zero, *one)):
        for name in names:
            columns.setdefault(name, len(columns))
    if not columns:
        raise UserError("this view sees no messages")
    tables = []
    places: dict[Names, list[int]] = {}
    for world in (zero, one):
        table = np.full((len(world), len(columns)), np.nan)
        for row, (names, numbers) in zip(table, world, strict=True):
            if names not in places:
                places[names] = [columns[name] for name in names]
            row[places[names]] = numbers
        tables.append(table)
    fields = sorted({field for field, _ in columns})
    found = []
    for field in fields:
        own = [column for (of, _), column in columns.items() if of == field]
        found.append(Statistic(field, tables[0][:, own], tables[1][:, own]))
    return found if len(found) == 1 else [*found, Statistic(ALL, tables[0], tables[1])]
