"""Named random streams: every draw comes from one seed and a name, so adding an agent shifts nobody else's draws."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

_WORDS = struct.Struct("<8Q")
_UNIT = 2.0**-53
_T = TypeVar("_T")


def _digest(name: tuple[str, ...], seed: int) -> bytes:
    text = "\x1f".join((str(seed), *name))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).digest()


def generator(seed: int, *name: str) -> np.random.Generator:
    """Return a numpy generator for the stream called `name` under `seed`, for drawing whole arrays.

    Two names give independent streams; the same seed and name give the same stream on every machine.
    """
    return np.random.Generator(np.random.PCG64(int.from_bytes(_digest(name, seed), "little")))


class Stream:
    """A lazily keyed source of uniform numbers: keyed BLAKE2b over a counter, eight numbers a block.

    A numpy generator costs 50 us to make and 2 kB to keep, and a run may have one stream for each pair of nodes; this
    one costs next to nothing until its first draw, and gives the same numbers on every machine.
    """

    __slots__ = ("_block", "_count", "_key", "_name", "_seed")

    def __init__(self, seed: int, *name: str) -> None:
        self._seed, self._name = seed, name
        self._key = b""
        self._count = 0
        self._block: list[float] = []

    def random(self) -> float:
        """Return a uniform number in [0, 1)."""
        if not self._block:
            self._block = self.block()
        return self._block.pop()

    def block(self) -> list[float]:
        """Return the next eight uniform numbers that `random` has not begun to give out."""
        if not self._key:
            self._key = _digest(self._name, self._seed)
        words = _WORDS.unpack(hashlib.blake2b(self._count.to_bytes(8, "little"), key=self._key).digest())
        self._count += 1
        return [(w >> 11) * _UNIT for w in words]

    def uniform(self, low: float, high: float) -> float:
        """Return a uniform number in [low, high)."""
        return low + (high - low) * self.random()

    def exponential(self, mean: float) -> float:
        """Return an exponential number with the given mean."""
        return -mean * math.log1p(-self.random())

    def normal(self) -> float:
        """Return a standard normal number (Box-Muller: two uniform draws each, nothing kept back)."""
        radius = math.sqrt(-2.0 * math.log1p(-self.random()))
        return radius * math.cos(2.0 * math.pi * self.random())

    def integer(self, n: int) -> int:
        """Return a whole number in 0..n-1; ValueError unless n >= 1."""
        if n < 1:
            raise ValueError(f"integer({n}): n must be at least 1")
        return min(int(self.random() * n), n - 1)

    def choice(self, items: Sequence[_T]) -> _T:
        """Return one of `items`, each equally likely."""
        return items[self.integer(len(items))]
