"""Shadow: what answers to asked tuples tell of one agent's hard unary secrets.

Source: Doshi, Matsui, Silaghi, Yokoo, Zanker, "Distributed Private Constraint Optimization", Algorithm 3 (SMI).
Each entry of the secrets, a value of one of the agent's secret variables, costs 0 or is infinite; an answer is the sum
over one value of each variable.

- Finite answer: all its entries are 0, for good, and leave the stored sets.
- Infinite answer: at least one of its entries is infinite. That is already known, or the entries still unknown are
  stored as a set, if there are fewer than `k` of them.
- A stored set of one entry makes that infinite; a set with an infinite entry says nothing more and goes.

With `closure`, which the paper does not have, exactly one value of each variable costs 0: a known 0 makes the other
values infinite, and the last one that is not infinite costs 0.

Guarantees:
    Sound: an entry is marked only where every secret that agrees with the answers has it so.
    Complete for k=None without closure. Let Z be the entries of all finite answers. If every other entry were
    infinite, all answers would be as given, so no entry outside Z is certain to be 0. Take an entry e outside Z, and
    let e be 0 and all others outside Z infinite: this fails an infinite answer S only if S - Z = {e}. So e is certain
    to be infinite exactly if some infinite answer leaves e alone, which is when it is marked. Sets that were dropped
    for an infinite entry i take nothing away: i is never in Z, so such a set could single out none but i. Hence what
    is known in the end does not depend on the order of the answers.
    Monotone in k: a greater k never knows less. With no more entries unknown and a higher limit, every set that the
    smaller k stores is stored, too, or its conclusion is known.
    Not complete with closure: of two variables with two values, the infinite answers (0, 0) and (0, 1) rule out the
    first variable's 0, by cases. Only single entries are passed on here. What it draws for k=None does not depend on
    the order there, either.
Complexity: an answer costs O(variables); one that tells something new also goes through the stored sets, at most once
    per entry. Stored sets are distinct, so there are no more than tuples.
Deviation: an answer that contradicts earlier ones is counted and passed over. In the paper nobody lies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

Entry = tuple[int, int]
"""Place of a variable among the agent's secret variables, and the index of a value in its domain."""


class Shadow:
    """What is known of one agent's unary secrets, each entry of which costs 0 or is infinite.

    Args:
        sizes: number of values of each secret variable.
        k: an infinite answer is stored only if fewer than `k` of its entries are unknown, or just one; None: always.
        closure: whether exactly one value of each variable costs 0, and everybody knows that.

    Attributes:
        complete: whether every entry is known. Answers then change nothing and are not even checked.
        contradictions: number of answers that no secret agrees with, given the earlier ones.

    Raises:
        ValueError: for a `k` less than 1.
    """

    __slots__ = ("_all", "_bits", "_infinite", "_k", "_stored", "_variables", "_zero", "complete", "contradictions")

    def __init__(self, sizes: Sequence[int], k: int | None = None, closure: bool = False) -> None:
        if k is not None and k < 1:
            raise ValueError(f"k = {k}: must be at least 1")
        # An entry is a bit, a set of entries a whole number: sets are intersected in one step.
        self._bits: list[list[int]] = []
        first = 0
        for size in sizes:
            self._bits.append([1 << bit for bit in range(first, first + size)])
            first += size
        self._all = (1 << first) - 1
        self._k = first + 1 if k is None else k
        self._variables = [sum(bits) for bits in self._bits] if closure else []
        self._zero = 0
        self._infinite = 0
        self._stored: dict[int, None] = {}
        self.contradictions = 0
        self._settle()

    def finite(self, values: Sequence[int]) -> bool:
        """Take in a finite answer; return whether an entry became known.

        Args:
            values: the domain index of each secret variable, in the order of `sizes`.
        """
        if self.complete:
            return False
        answer = self._mask(values)
        if answer & self._infinite:
            self.contradictions += 1
            return False
        if not answer & ~self._zero:
            return False
        self._zero |= answer
        self._settle()
        return True

    def infinite(self, values: Sequence[int]) -> bool:
        """Take in an infinite answer; return whether an entry became known.

        Args:
            values: the domain index of each secret variable, in the order of `sizes`.
        """
        if self.complete:
            return False
        answer = self._mask(values)
        if answer & self._infinite:
            return False
        unknown = answer & ~self._zero
        if unknown in self._stored:
            return False
        if not unknown:
            self.contradictions += 1
            return False
        n_unknown = unknown.bit_count()
        if n_unknown == 1:
            self._infinite |= unknown
            self._settle()
            return True
        if n_unknown < self._k:
            self._stored[unknown] = None
        return False

    def learn(self, zero: Iterable[Entry], infinite: Iterable[Entry]) -> bool:
        """Take in entries that are known from elsewhere; return whether that was new.

        What contradicts is counted and passed over, entry by entry.
        """
        before = self._zero, self._infinite
        for place, value in zero:
            self._mark(self._bits[place][value], 0)
        for place, value in infinite:
            self._mark(0, self._bits[place][value])
        if (self._zero, self._infinite) == before:
            return False
        self._settle()
        return True

    def predict(self, values: Sequence[int]) -> float | None:
        """Return what the answer must be: infinity, 0.0, or None where what is known leaves both."""
        answer = self._mask(values)
        if answer & self._infinite:
            return math.inf
        return None if answer & ~self._zero else 0.0

    @property
    def known(self) -> Mapping[Entry, float]:
        """What each known entry costs, 0.0 or infinity, in the order of entries."""
        return {
            (place, value): 0.0 if bit & self._zero else math.inf
            for place, bits in enumerate(self._bits)
            for value, bit in enumerate(bits)
            if bit & (self._zero | self._infinite)
        }

    @property
    def n_stored(self) -> int:
        """Number of infinite answers, less what is known of them, that are not yet resolved."""
        return len(self._stored)

    def _mask(self, values: Sequence[int]) -> int:
        mask = 0
        for bits, value in zip(self._bits, values, strict=True):
            mask |= bits[value]
        return mask

    def _mark(self, zero: int, infinite: int) -> None:
        """Mark entries of a set as 0 or as infinite, unless they are known to be the opposite."""
        if zero & self._infinite or infinite & self._zero:
            self.contradictions += 1
        self._zero |= zero & ~self._infinite
        self._infinite |= infinite & ~self._zero

    def _settle(self) -> None:
        """Draw all conclusions: to the fixpoint of stored sets and, with closure, of variables."""
        while self._revisit() or self._close():
            pass
        self.complete = self._zero | self._infinite == self._all
        if self.complete:
            self._stored.clear()

    def _revisit(self) -> bool:
        """Take what is known out of the stored sets; return whether an entry became infinite."""
        if not self._stored:
            return False
        open_sets: dict[int, None] = {}
        before = self._infinite
        for stored in self._stored:
            unknown = stored & ~self._zero
            if stored & self._infinite:
                continue
            if not unknown:
                self.contradictions += 1
            elif unknown.bit_count() == 1:
                self._infinite |= unknown
            else:
                open_sets[unknown] = None
        self._stored = open_sets
        return self._infinite != before

    def _close(self) -> bool:
        """Apply that exactly one value of each variable costs 0; return whether an entry became known."""
        before = self._zero, self._infinite
        for entries in self._variables:
            unknown = entries & ~(self._zero | self._infinite)
            if entries & self._zero:
                self._infinite |= unknown
            elif unknown.bit_count() == 1:
                self._zero |= unknown
        return (self._zero, self._infinite) != before
