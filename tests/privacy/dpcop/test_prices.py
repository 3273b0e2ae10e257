"""Prices: the paper's example, extension to shares, monotony on all forms of revelation, and what is caught."""

import math
import pickle
from collections.abc import Callable, Mapping
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.dpcop.prices import MAX_PRICE, AdditivePrices, MaxPrices, Price, SetPrices, check_monotone
from privacy.dpcop.revelation import Distributions, KnownSecrets, Probabilities, Revelation

PEERS = ("alice", "bob")
SECRETS = ("s1", "s2", "s3")

pairs = st.tuples(st.sampled_from(PEERS), st.sampled_from(SECRETS))
known_secrets = st.dictionaries(st.sampled_from(PEERS), st.frozensets(st.sampled_from(SECRETS))).map(KnownSecrets)
probabilities = st.dictionaries(pairs, st.floats(0, 1)).map(Probabilities)
weights = st.lists(st.integers(0, 9), min_size=3, max_size=3).filter(any)
distributions = st.dictionaries(pairs, weights.map(lambda w: tuple(x / sum(w) for x in w))).map(Distributions)
two_alike = st.one_of(*(st.tuples(form, form) for form in (known_secrets, probabilities, distributions)))

numbers = st.integers(0, 100) | st.floats(0, 100)
tables = st.dictionaries(st.sampled_from(PEERS), st.dictionaries(st.sampled_from(SECRETS), numbers))
subsets = st.frozensets(st.sampled_from(SECRETS), min_size=1)


def raised(table: Mapping[frozenset[str], float]) -> dict[frozenset[str], float]:
    """Raise the price of each set to that of its dearest part."""
    return {s: max(price for part, price in table.items() if part <= s) for s in table}


set_tables = st.dictionaries(st.sampled_from(PEERS), st.dictionaries(subsets, numbers).map(raised))
prices = st.one_of(tables.map(AdditivePrices), tables.map(MaxPrices), set_tables.map(SetPrices))


def known(peer: str, *secrets: str) -> KnownSecrets:
    return KnownSecrets({peer: frozenset(secrets)})


def test_the_papers_prices_add_up() -> None:
    alice = AdditivePrices({"bob": {"T1": 30, "T2": 50}})
    bob = AdditivePrices({"alice": {"T1": 40, "T2": 20}})
    assert [alice(known("bob", *s)) for s in ((), ("T1",), ("T2",), ("T1", "T2"))] == [0, 30, 50, 80]
    assert [bob(known("alice", *s)) for s in ((), ("T1",), ("T2",), ("T1", "T2"))] == [0, 40, 20, 60]
    assert alice(known("carol", "T1")) == 0
    assert alice(known("bob", "T3")) == 0


def test_shares_of_a_secret_cost_their_share() -> None:
    price = AdditivePrices({"a": {"s": 10}, "b": {"s": 4, "t": 100}})
    assert price(Probabilities({("a", "s"): 0.5, ("b", "s"): 0.25, ("b", "t"): 0.01})) == pytest.approx(7)
    assert price(Distributions({("a", "s"): (0.5, 0.5, 0, 0)})) == pytest.approx(5)


def test_the_dearest_secret_counts_for_each_peer() -> None:
    price = MaxPrices({"a": {"s": 10, "t": 7}, "b": {"s": 4}})
    assert price(KnownSecrets({"a": frozenset("st"), "b": frozenset("s")})) == 14
    assert price(Probabilities({("a", "s"): 0.5, ("a", "t"): 1})) == 7


def test_a_set_costs_its_dearest_listed_part() -> None:
    price = SetPrices({"bob": {frozenset({"s1"}): 10, frozenset({"s2", "s3"}): 25, frozenset({"s1", "s2", "s3"}): 100}})
    costs = {("s1",): 10, ("s2",): 0, ("s1", "s2"): 10, ("s2", "s3"): 25, ("s1", "s2", "s3"): 100}
    for secrets, cost in costs.items():
        assert price(known("bob", *secrets)) == cost
        assert price(known("carol", *secrets)) == 0


def lovasz(f: Callable[[frozenset[str]], float], shares: Mapping[str, float]) -> float:
    """Extend a set function, written as the definition says: by falling share."""
    order = sorted(shares, key=shares.__getitem__, reverse=True)
    steps = [*(shares[s] for s in order), 0.0]
    return math.fsum((a - b) * f(frozenset(order[: k + 1])) for k, (a, b) in enumerate(pairwise(steps)))


@given(st.dictionaries(subsets, numbers).map(raised), st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_set_prices_are_the_lovasz_extension(table: dict[frozenset[str], float], chances: list[float]) -> None:
    def f(secrets: frozenset[str]) -> float:
        return max((price for part, price in table.items() if part <= secrets), default=0)

    shares = dict(zip(SECRETS, chances, strict=True))
    revelation = Probabilities({("bob", s): x for s, x in shares.items()})
    assert SetPrices({"bob": table})(revelation) == pytest.approx(lovasz(f, shares), abs=1e-9)
    for k in range(4):
        for secrets in combinations(SECRETS, k):
            assert SetPrices({"bob": table})(known("bob", *secrets)) == pytest.approx(f(frozenset(secrets)))


@given(prices, two_alike)
def test_more_revealed_never_costs_less(price: Price, both: tuple[KnownSecrets, KnownSecrets]) -> None:
    one, other = both
    assert 0 <= price(one) <= price(one.union(other)) >= price(other)
    if one <= other:
        assert price(one) <= price(other)


@given(prices)
def test_our_prices_pass_the_check(price: Price) -> None:
    assert price(KnownSecrets()) == price(Probabilities()) == price(Distributions()) == 0
    check_monotone(price, PEERS, SECRETS[:2], in_part=True)


@given(prices)
def test_prices_are_values(price: Price) -> None:
    assert pickle.loads(pickle.dumps(price)) == price


@pytest.mark.parametrize(
    ("value", "cause"),
    [(-3, "-3 is negative"), (math.nan, "'nan' is not a number"), (math.inf, "inf is more than the greatest price")],
)
@pytest.mark.parametrize("kind", [AdditivePrices, MaxPrices])
def test_a_price_must_be_a_finite_number_from_0_up(
    kind: type[AdditivePrices | MaxPrices], value: float, cause: str
) -> None:
    with pytest.raises(ValueError, match=f"the price of s1 for bob: {cause}"):
        kind({"bob": {"s1": value}})
    with pytest.raises(ValueError, match=rf"for bob, the price of \{{s1\}}: {cause}"):
        SetPrices({"bob": {frozenset({"s1"}): value}})


def test_a_price_may_be_as_great_as_numbers_are_exact() -> None:
    assert AdditivePrices({"bob": {"s1": MAX_PRICE}})(known("bob", "s1")) == 2**53


def test_listed_sets_must_not_become_cheaper_as_they_grow() -> None:
    with pytest.raises(ValueError, match=r"for bob, \{s1, s2\} costs 5, less than its part \{s2\} at 6"):
        SetPrices({"bob": {frozenset({"s1", "s2"}): 5, frozenset({"s2"}): 6, frozenset({"s3"}): 9}})


def test_nothing_cannot_be_listed() -> None:
    with pytest.raises(ValueError, match="for bob, the set of no secrets has a price"):
        SetPrices({"bob": {frozenset(): 0}})


def parity(revelation: Revelation) -> float:
    """Cost 1 while an odd number of secrets is known: it falls whenever another is told."""
    return sum(revelation.share(p, s) for p in PEERS for s in (*SECRETS, *map(str, range(50)))) % 2


@pytest.mark.parametrize("secrets", [SECRETS, tuple(map(str, range(50)))], ids=["all sets", "random chains"])
def test_a_price_that_falls_is_caught(secrets: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"the price falls from 1\.0 for \(.*\) to 0\.0 for \(.*\)"):
        check_monotone(parity, PEERS, secrets)


def test_a_fall_names_both_revelations() -> None:
    def odd_pair(revelation: Revelation) -> float:
        one, two = revelation.share("bob", "s1"), revelation.share("bob", "s2")
        return 10 * one * (1 - two)

    with pytest.raises(ValueError, match=r"falls from 10\.0 for \(bob: \{s1\}\) to 0\.0 for \(bob: \{s1, s2\}\)"):
        check_monotone(odd_pair, ["bob"], ["s1", "s2"])


def test_a_price_that_falls_between_whole_secrets_is_caught_when_asked_for() -> None:
    def half_is_worst(revelation: Revelation) -> float:
        share = revelation.share("bob", "s1")
        return share if share in (0, 1) else 5.0

    check_monotone(half_is_worst, ["bob"], ["s1"])
    with pytest.raises(ValueError, match=r"falls from 5\.0 for \(bob: s1 .*\) to 1\.0 for \(bob: s1 1\)"):
        check_monotone(half_is_worst, ["bob"], ["s1"], in_part=True)


@pytest.mark.parametrize(
    ("price", "cause"),
    [
        (lambda r: 1.0, r"the price of revealing nothing is 1\.0, not 0"),
        (lambda r: -r.share("bob", "s1"), r"the price of \(bob: \{s1\}\) is -1\.0, not a finite number from 0 up"),
        (lambda r: math.nan, r"the price of \(nothing\) is nan"),
        (lambda r: math.inf if r.peers else 0.0, r"the price of \(bob: \{s1\}\) is inf"),
    ],
)
def test_a_price_that_is_no_price_is_caught(price: Price, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        check_monotone(price, ["bob"], ["s1"])


def test_the_check_of_many_secrets_tries_few_revelations() -> None:
    tried = []

    def count(revelation: Revelation) -> float:
        tried.append(revelation)
        return 0.0

    check_monotone(count, ["bob"], [str(k) for k in range(20_000)])
    assert 8 <= len(tried) <= 200
    assert tried[-1].share("bob", "19999") == 1


def test_rounding_in_a_sum_is_no_fall() -> None:
    def rounded(revelation: Revelation) -> float:
        one, two, free = (revelation.share("bob", s) for s in SECRETS)
        return 0.3 if one and two and free else 0.1 * one + 0.2 * two

    assert rounded(known("bob", "s1", "s2")) > rounded(known("bob", *SECRETS))
    check_monotone(rounded, ["bob"], SECRETS)
