"""Prices of revelations: what it costs an agent that its peers have learnt this much of its secrets.

Doshi, Matsui, Silaghi, Yokoo and Zanker, "Distributed Private Constraint Optimization", Definition 2: P_i maps each
revelation of agent i's secrets to a cost that is not negative. It may be any such function for which nothing is free
and which never falls when more is revealed; `check_monotone` tests that. The paper prices revelations of whole
secrets. Ours are extended to revelations in part, given by `Revelation.share`, in the way each class describes.

Prices are finite, so that what one more revelation costs, the difference of two prices, is always a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from types import MappingProxyType
from typing import Final

import numpy as np

from agentsim.runtime.streams import generator
from privacy.dpcop.revelation import KnownSecrets, Probabilities, Revelation

_Tried = KnownSecrets | Probabilities

Price = Callable[[Revelation], float]
"""What a revelation of one agent's secrets costs that agent, in the problem's units of cost."""

MAX_PRICE: Final = 2**53
"""The greatest price of one secret or one set of secrets: whole numbers below it are exact."""

_EXHAUSTIVE: Final = 12
_MAX_CHAINS: Final = 32
_MAX_TRIED: Final = 4_096
_MAX_PAIRS: Final = 2_000_000
_SHARE_STEPS: Final = 8
_TOLERANCE: Final = 1e-9


def price_fault(price: object) -> str:
    """Return what is wrong with one price, as the end of a sentence, or "" when it is a number from 0 to MAX_PRICE."""
    if isinstance(price, bool) or not isinstance(price, int | float) or math.isnan(price):
        return f"{str(price)[:40]!r} is not a number"
    if price < 0:
        return f"{price} is negative"
    if price > MAX_PRICE:
        return f"{price} is more than the greatest price allowed, {MAX_PRICE}"
    return ""


@dataclass(frozen=True, slots=True)
class _EachSecret:
    """A price for each secret and peer.

    Args:
        prices: by peer, then by secret; what is missing is free.

    Raises:
        ValueError: a price is negative, too large or not a number.
    """

    prices: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "prices", _checked(self.prices))

    def __reduce__(self) -> tuple[type, tuple[object]]:
        return type(self), ({peer: dict(table) for peer, table in self.prices.items()},)


class AdditivePrices(_EachSecret):
    """Each secret has a price for each peer, and prices add up: the sum of share * price."""

    __slots__ = ()

    def __call__(self, revelation: Revelation) -> float:
        """Return what `revelation` costs."""
        return math.fsum(
            revelation.share(peer, secret) * price
            for peer, table in self.prices.items()
            for secret, price in table.items()
        )


class MaxPrices(_EachSecret):
    """The dearest secret alone counts: for each peer the greatest share * price, summed over peers."""

    __slots__ = ()

    def __call__(self, revelation: Revelation) -> float:
        """Return what `revelation` costs."""
        return math.fsum(
            max((revelation.share(peer, secret) * price for secret, price in table.items()), default=0.0)
            for peer, table in self.prices.items()
        )


@dataclass(frozen=True, slots=True)
class SetPrices:
    """Sets of secrets have prices for each peer: a peer that knows S costs the greatest price of a listed subset of S.

    Secrets known in part are priced by the Lovasz extension of that set function f: with the secrets of a peer by
    falling share s_1 >= s_2 >= ..., the sum of (s_k - s_(k+1)) f(first k). It agrees with f on whole secrets and never
    falls. For this f it is a sum over the listed prices p_1 < p_2 < ... too, of (p_j - p_(j-1)) times the greatest
    share that a listed set of price p_j or more has in common; it is computed so, which keeps it monotone in floating
    point as well. Peers add up.

    Args:
        tables: by peer, the price of each listed set.

    Raises:
        ValueError: a set is empty, a price is negative, too large or not a number, or is lower than that of a subset.
    """

    tables: Mapping[str, Mapping[frozenset[str], float]] = field(default_factory=dict)
    _levels: Mapping[str, tuple[tuple[float, tuple[frozenset[str], ...]], ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        tables: dict[str, Mapping[frozenset[str], float]] = {}
        for peer, table in self.tables.items():
            for secrets, price in table.items():
                if not secrets:
                    raise ValueError(f"for {peer}, the set of no secrets has a price")
                if fault := price_fault(price):
                    raise ValueError(f"for {peer}, the price of {_names(secrets)}: {fault}")
            _check_no_fall(peer, table)
            tables[peer] = MappingProxyType({frozenset(secrets): price for secrets, price in table.items()})
        object.__setattr__(self, "tables", MappingProxyType(tables))
        object.__setattr__(self, "_levels", {peer: tuple(_levels(table)) for peer, table in tables.items()})

    def __reduce__(self) -> tuple[type, tuple[object]]:
        return type(self), ({peer: dict(table) for peer, table in self.tables.items()},)

    def __call__(self, revelation: Revelation) -> float:
        """Return what `revelation` costs."""
        return math.fsum(part for peer in self.tables for part in self._parts(peer, revelation))

    def _parts(self, peer: str, revelation: Revelation) -> Iterator[float]:
        """Yield one term for each level of price, dearest first."""
        common = 0.0
        for step, sets in self._levels[peer]:
            for secrets in sets:
                common = max(common, min(revelation.share(peer, secret) for secret in secrets))
            yield step * common


def _checked(prices: Mapping[str, Mapping[str, float]]) -> Mapping[str, Mapping[str, float]]:
    """Return an unchangeable copy; peers that share one table go on sharing it, as they do where all pay the same."""
    tables: dict[int, Mapping[str, float]] = {}
    for peer, table in prices.items():
        if id(table) in tables:
            continue
        for secret, price in table.items():
            if fault := price_fault(price):
                raise ValueError(f"the price of {secret} for {peer}: {fault}")
        tables[id(table)] = MappingProxyType(dict(table))
    return MappingProxyType({peer: tables[id(table)] for peer, table in prices.items()})


def _check_no_fall(peer: str, table: Mapping[frozenset[str], float]) -> None:
    """Refuse a set that is cheaper than one of its subsets; quadratic in the number of sets."""
    bit = {secret: 1 << k for k, secret in enumerate(dict.fromkeys(s for secrets in table for s in sorted(secrets)))}
    masks = [(price, sum(bit[s] for s in secrets), secrets) for secrets, price in table.items()]
    masks.sort(key=lambda row: row[0])
    for k, (price, mask, secrets) in enumerate(masks):
        for dearer, part, subset in masks[k + 1 :]:
            if part & mask == part and dearer > price:
                raise ValueError(
                    f"for {peer}, {_names(secrets)} costs {price}, less than its part {_names(subset)} at {dearer}"
                )


def _levels(table: Mapping[frozenset[str], float]) -> Iterator[tuple[float, tuple[frozenset[str], ...]]]:
    """Yield (rise of the price over the next lower one, the sets of this price), dearest first."""
    by_price = sorted(table.items(), key=lambda item: (-item[1], sorted(item[0])))
    levels = [(price, tuple(s for s, _ in group)) for price, group in groupby(by_price, key=lambda item: item[1])]
    for (price, sets), (below, _) in pairwise([*levels, (0, ())]):
        yield price - below, sets


def check_monotone(
    price: Price, peers: Sequence[str], secrets: Sequence[str], *, in_part: bool = False, seed: int = 0
) -> None:
    """Refuse a price under which something is not right for a price.

    Nothing revealed costs 0, every price is a finite number that is not negative, and no price falls when more is
    revealed. Tried are all sets of (peer, secret) pairs where there are at most 2**12 of them, else sets that grow
    along random chains: there a fall may be missed.

    Args:
        price: the function.
        peers: whom the secrets may be revealed to.
        secrets: their names.
        in_part: try random chains of secrets known in part too, as `Probabilities`.
        seed: of the random chains.

    Raises:
        ValueError: names the revelation, or the two revelations between which the price falls.
    """
    pairs = [(peer, secret) for peer in peers for secret in secrets]
    # A revelation takes time in proportion to its pairs, so the more pairs there are, the fewer are tried.
    tried = max(8, min(_MAX_TRIED, _MAX_PAIRS // max(1, len(pairs))))
    chains = min(_MAX_CHAINS, tried // 8)
    _check_price(price, KnownSecrets(), nothing=True)
    if len(pairs) <= _EXHAUSTIVE:
        _check_all_sets(price, pairs)
    else:
        for chain in range(chains):
            _check_chain(price, _growing_sets(pairs, generator(seed, "sets", str(chain)), tried // chains))
    if in_part and pairs:
        _check_price(price, Probabilities(), nothing=True)
        for chain in range(chains):
            _check_chain(price, _growing_shares(pairs, generator(seed, "shares", str(chain))))


def _check_price(price: Price, revelation: _Tried, *, nothing: bool = False) -> float:
    got = price(revelation)
    if not 0 <= got < math.inf:
        raise ValueError(f"the price of {_words(revelation)} is {got}, not a finite number from 0 up")
    if nothing and got != 0:
        raise ValueError(f"the price of revealing nothing is {got}, not 0")
    return got


def _check_all_sets(price: Price, pairs: Sequence[tuple[str, str]]) -> None:
    n = len(pairs)
    prices = [_check_price(price, _known(pairs, mask)) for mask in range(1 << n)]
    for mask in range(1 << n):
        for k in range(n):
            more = mask | 1 << k
            if _falls(prices[mask], prices[more]):
                raise _fall(_known(pairs, mask), prices[mask], _known(pairs, more), prices[more])


def _known(pairs: Sequence[tuple[str, str]], mask: int) -> KnownSecrets:
    return _known_pairs(pair for k, pair in enumerate(pairs) if mask >> k & 1)


def _known_pairs(pairs: Iterable[tuple[str, str]]) -> KnownSecrets:
    known: dict[str, set[str]] = {}
    for peer, secret in pairs:
        known.setdefault(peer, set()).add(secret)
    return KnownSecrets({peer: frozenset(names) for peer, names in known.items()})


def _growing_sets(pairs: Sequence[tuple[str, str]], rng: np.random.Generator, steps: int) -> Iterator[KnownSecrets]:
    """Yield sets that grow to everything in a random order, one pair at a time while the steps suffice."""
    order = [pairs[k] for k in rng.permutation(len(pairs)).tolist()]
    sizes = rng.choice(len(pairs), size=min(len(pairs), steps), replace=False).tolist()
    for size in sorted(sizes):
        yield _known_pairs(order[:size])
    yield _known_pairs(order)


def _growing_shares(pairs: Sequence[tuple[str, str]], rng: np.random.Generator) -> Iterator[Probabilities]:
    """Yield shares that grow to everything; each step adds to some of them a random part of what is left."""
    shares = [0.0] * len(pairs)
    for _ in range(_SHARE_STEPS):
        for k in rng.permutation(len(pairs))[: 1 + len(pairs) // 4].tolist():
            shares[k] += (1 - shares[k]) * float(rng.random())
        yield Probabilities(dict(zip(pairs, shares, strict=True)))
    yield Probabilities(dict.fromkeys(pairs, 1.0))


def _check_chain(price: Price, chain: Iterator[_Tried]) -> None:
    last: tuple[_Tried, float] | None = None
    for revelation in chain:
        got = _check_price(price, revelation)
        if last is not None and _falls(last[1], got):
            raise _fall(*last, revelation, got)
        last = revelation, got


def _falls(before: float, after: float) -> bool:
    """Tell whether a price falls by more than a sum of floats may."""
    return after < before - _TOLERANCE * max(1.0, before)


def _fall(less: _Tried, before: float, more: _Tried, after: float) -> ValueError:
    return ValueError(f"the price falls from {before} for {_words(less)} to {after} for {_words(more)}")


def _words(revelation: _Tried) -> str:
    """Describe a revelation in at most a line."""
    match revelation:
        case KnownSecrets():
            parts = [f"{peer}: {_names(names)}" for peer, names in sorted(revelation.known.items())]
        case Probabilities():
            parts = [f"{peer}: {secret} {chance:.3g}" for (peer, secret), chance in sorted(revelation.chances.items())]
    text = "; ".join(parts) or "nothing"
    return "(" + (text if len(text) <= 200 else text[:197] + "...") + ")"


def _names(secrets: Iterable[str]) -> str:
    text = ", ".join(sorted(secrets))
    return "{" + (text if len(text) <= 100 else text[:97] + "...") + "}"
