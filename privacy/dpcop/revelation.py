"""Revelations: what an agent's peers have learnt of its secrets, in the three forms of the paper.

Doshi, Matsui, Silaghi, Yokoo and Zanker, "Distributed Private Constraint Optimization", section 2: Definition 1 (a
probability for each peer and Boolean secret), its form for secrets of several values (a distribution for each peer
and secret), and the form of the paper's benchmarks (the set of secrets that each peer knows).

All three answer one question, `share`: how far a peer is on the way from what it could have guessed (0) to knowing
(1). Prices ask nothing else, so each of them takes all three forms. What is not mentioned is not revealed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Self, TypeVar

Pair = tuple[str, str]
"""A peer and the name of a secret."""

_SUM_TOLERANCE: Final = 1e-9
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class KnownSecrets:
    """The secrets that each peer knows in full: A -> PS(S).

    Args:
        known: names of secrets by peer. A peer that knows none is left out.
    """

    known: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given: Mapping[str, object] = self.known
        for peer, secrets in given.items():
            if isinstance(secrets, str):
                raise ValueError(f"what {peer} knows must be a set of names, not the text {secrets!r}")
        known = {peer: frozenset(secrets) for peer, secrets in self.known.items() if secrets}
        object.__setattr__(self, "known", MappingProxyType(known))

    def __hash__(self) -> int:
        return hash(frozenset(self.known.items()))

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, frozenset[str]]]]:
        return type(self), (dict(self.known),)

    @property
    def peers(self) -> tuple[str, ...]:
        """The peers to whom something is revealed, sorted."""
        return tuple(sorted(self.known))

    def share(self, peer: str, secret: str) -> float:
        """Return 1 when `peer` knows `secret`, else 0."""
        return 1.0 if secret in self.known.get(peer, ()) else 0.0

    def union(self, other: KnownSecrets) -> KnownSecrets:
        """Return what both reveal together; TypeError on a revelation of another form."""
        _same_form(self, other)
        nothing: frozenset[str] = frozenset()
        peers = dict.fromkeys((*self.known, *other.known))
        return KnownSecrets({p: self.known.get(p, nothing) | other.known.get(p, nothing) for p in peers})

    def __le__(self, other: KnownSecrets) -> bool:
        """Tell whether this reveals no more than `other`."""
        _same_form(self, other)
        return all(secrets <= other.known.get(peer, frozenset()) for peer, secrets in self.known.items())


@dataclass(frozen=True, slots=True)
class Probabilities:
    """How much each peer has learnt of each secret, as a number: A x S -> [0, 1].

    Args:
        chances: number by (peer, secret). A pair at 0 is left out.
    """

    chances: Mapping[Pair, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for (peer, secret), chance in self.chances.items():
            if not 0 <= chance <= 1:
                raise ValueError(f"what {peer} learnt of {secret} is {chance}, not a number from 0 to 1")
        chances = {pair: float(chance) for pair, chance in self.chances.items() if chance > 0}
        object.__setattr__(self, "chances", MappingProxyType(chances))

    def __hash__(self) -> int:
        return hash(frozenset(self.chances.items()))

    def __reduce__(self) -> tuple[type[Self], tuple[dict[Pair, float]]]:
        return type(self), (dict(self.chances),)

    @property
    def peers(self) -> tuple[str, ...]:
        """The peers to whom something is revealed, sorted."""
        return tuple(sorted({peer for peer, _ in self.chances}))

    def share(self, peer: str, secret: str) -> float:
        """Return the number given for `peer` and `secret`, 0 when there is none."""
        return self.chances.get((peer, secret), 0.0)

    def union(self, other: Probabilities) -> Probabilities:
        """Return the greater number of each pair; TypeError on a revelation of another form."""
        _same_form(self, other)
        return Probabilities(_join(self.chances, other.chances, max))

    def __le__(self, other: Probabilities) -> bool:
        """Tell whether this reveals no more than `other`."""
        _same_form(self, other)
        return all(chance <= other.chances.get(pair, 0.0) for pair, chance in self.chances.items())


@dataclass(frozen=True, slots=True)
class Distributions:
    """What each peer believes of each secret of several values: A x S -> (D -> [0, 1]).

    Args:
        chances: by (peer, secret), the probability of each possible value, in one order for all. They sum to 1.
    """

    chances: Mapping[Pair, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        chances: dict[Pair, tuple[float, ...]] = {}
        for (peer, secret), law in self.chances.items():
            where = f"what {peer} believes of {secret}"
            if not law or not all(0 <= chance <= 1 for chance in law):
                raise ValueError(f"{where} must be probabilities from 0 to 1, one at least")
            if abs(math.fsum(law) - 1) > _SUM_TOLERANCE:
                raise ValueError(f"{where} sums to {math.fsum(law)}, not to 1")
            if sizes.setdefault(secret, len(law)) != len(law):
                raise ValueError(f"{where} has {len(law)} values, but {secret} has {sizes[secret]}")
            chances[peer, secret] = tuple(map(float, law))
        object.__setattr__(self, "chances", MappingProxyType(chances))

    def __hash__(self) -> int:
        return hash(frozenset(self.chances.items()))

    def __reduce__(self) -> tuple[type[Self], tuple[dict[Pair, tuple[float, ...]]]]:
        return type(self), (dict(self.chances),)

    @property
    def peers(self) -> tuple[str, ...]:
        """The peers to whom something is revealed, sorted."""
        return tuple(sorted({peer for peer, secret in self.chances if self.share(peer, secret) > 0}))

    def share(self, peer: str, secret: str) -> float:
        """Return 1 - entropy / log2(number of values): 0 for a uniform belief, 1 for a certain one.

        A secret that has one possible value is known; one without a belief is not.
        """
        law = self.chances.get((peer, secret))
        return 0.0 if law is None else _certainty(law)

    def union(self, other: Distributions) -> Distributions:
        """Return the more certain belief of each pair; TypeError on a revelation of another form.

        Of two that are equally certain the greater tuple is kept, so that the order of the two does not matter.

        Raises:
            ValueError: a secret has another number of values in `other`.
        """
        _same_form(self, other)
        return Distributions(_join(self.chances, other.chances, _more_certain))

    def __le__(self, other: Distributions) -> bool:
        """Tell whether no belief here is more certain than it is in `other`."""
        _same_form(self, other)
        return all(self.share(*pair) <= other.share(*pair) for pair in self.chances)


Revelation = KnownSecrets | Probabilities | Distributions


def _same_form(one: Revelation, other: object) -> None:
    if type(other) is not type(one):
        raise TypeError(f"a revelation as {type(one).__name__} cannot be compared with {type(other).__name__}")


def _join(one: Mapping[Pair, _T], other: Mapping[Pair, _T], choose: Callable[[_T, _T], _T]) -> dict[Pair, _T]:
    """Return both mappings as one; `choose` settles what both have."""
    return {**one, **{pair: choose(one[pair], x) if pair in one else x for pair, x in other.items()}}


def _certainty(law: tuple[float, ...]) -> float:
    if len(law) == 1:
        return 1.0
    # The exact sum does not depend on the order of the values: a permuted belief is exactly as certain.
    entropy = math.fsum(-p * math.log2(p) for p in law if p > 0)
    return min(max(1.0 - entropy / math.log2(len(law)), 0.0), 1.0)


def _more_certain(one: tuple[float, ...], other: tuple[float, ...]) -> tuple[float, ...]:
    return max(one, other, key=lambda law: (_certainty(law), law))
