"""Shadows: a worked example, exact numbers of questions, soundness, completeness against all possible secrets."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

import pytest

from agentsim.dcop.shadow import Entry, Shadow

ZERO, INF = 0.0, math.inf
Values = tuple[int, ...]
Secret = dict[Entry, float]
"""Cost of every entry."""


def entries_of(sizes: Sequence[int]) -> list[Entry]:
    return [(place, value) for place, size in enumerate(sizes) for value in range(size)]


def hard_secrets(sizes: Sequence[int], closure: bool) -> Iterator[Secret]:
    """Every secret there is; with closure, those with exactly one value of cost 0 for each variable."""
    entries = entries_of(sizes)
    if closure:
        for truth in itertools.product(*map(range, sizes)):
            yield {(place, value): ZERO if truth[place] == value else INF for place, value in entries}
    else:
        for costs in itertools.product((ZERO, INF), repeat=len(entries)):
            yield dict(zip(entries, costs, strict=True))


def random_secret(rng: random.Random, sizes: Sequence[int], closure: bool) -> Secret:
    if closure:
        truth = [rng.randrange(size) for size in sizes]
        return {(p, v): ZERO if truth[p] == v else INF for p, v in entries_of(sizes)}
    chance = rng.random()
    return {entry: ZERO if rng.random() < chance else INF for entry in entries_of(sizes)}


def answer(secret: Secret, values: Values) -> float:
    return sum(secret[entry] for entry in enumerate(values))


def tell(shadow: Shadow, secret: Secret, values: Values) -> bool:
    """Ask the secret's owner."""
    return (shadow.finite if answer(secret, values) == 0 else shadow.infinite)(values)


def told(secret: Secret, asked: Iterable[Values], sizes: Sequence[int], k: int | None, closure: bool) -> Shadow:
    shadow = Shadow(sizes, k, closure)
    for values in asked:
        tell(shadow, secret, values)
    return shadow


@pytest.mark.parametrize(("k", "infinite"), [(None, [(2, 1)]), (4, [(2, 1)]), (3, [])])
def test_the_worked_example(k: int | None, infinite: list[Entry]) -> None:
    """Three secrets that are all 0 at value 0: with k = 3 an infinite answer of three unknown entries is forgotten."""
    shadow = Shadow((2, 2, 2), k)
    assert [shadow.infinite(values) for values in ((0, 0, 1), (1, 1, 1), (0, 1, 1))] == [False] * 3
    assert shadow.n_stored == (0 if k == 3 else 3)
    assert shadow.known == {}
    assert shadow.finite((0, 0, 0))
    zeros = {(0, 0): ZERO, (1, 0): ZERO, (2, 0): ZERO}
    assert shadow.known == zeros | dict.fromkeys(infinite, INF)
    assert shadow.infinite((1, 0, 0))
    assert shadow.known == zeros | dict.fromkeys([(0, 1), *infinite], INF)
    assert not shadow.complete
    assert shadow.contradictions == 0


def test_k_one_stores_nothing_but_concludes_from_single_entries() -> None:
    shadow = Shadow((2, 2), k=1)
    shadow.infinite((0, 1))
    assert shadow.n_stored == 0
    shadow.finite((0, 0))
    assert shadow.infinite((0, 1))
    assert shadow.known[1, 1] == INF


@pytest.mark.parametrize(("closure", "mean"), [(False, Fraction(36, 5)), (True, Fraction(9, 2))])
def test_mean_number_of_questions_in_random_order(closure: bool, mean: Fraction) -> None:
    """Learning the three two-valued secrets of a slave takes 7.20 of the eight questions, 4.50 with closure.

    What is known depends on the set of questions asked, not on their order (tested below). So the chance that more than
    n questions are needed is the share of sets of n questions that leave an entry unknown.
    """
    sizes = (2, 2, 2)
    tuples = list(itertools.product(*map(range, sizes)))
    for secret in hard_secrets(sizes, closure=True):
        expected = Fraction(0)
        for n in range(len(tuples) + 1):
            sets = list(itertools.combinations(tuples, n))
            n_open = sum(not told(secret, asked, sizes, None, closure).complete for asked in sets)
            expected += Fraction(n_open, len(sets))
        assert expected == mean


@pytest.mark.parametrize("closure", [False, True])
def test_never_marks_a_wrong_entry(closure: bool) -> None:
    rng = random.Random(20090421)
    for _ in range(2500):
        sizes = tuple(rng.randint(1, 4) for _ in range(rng.randint(1, 5)))
        secret = random_secret(rng, sizes, closure)
        shadow = Shadow(sizes, rng.choice([None, 1, 2, 3, 4, 5]), closure)
        for _ in range(rng.randint(1, 25)):
            values = tuple(rng.randrange(size) for size in sizes)
            expected = shadow.predict(values)
            assert expected is None or expected == answer(secret, values)
            before = shadow.known
            assert tell(shadow, secret, values) == (shadow.known != before)
            assert shadow.known.items() <= secret.items()
            assert before.items() <= shadow.known.items()
        assert shadow.complete == (len(shadow.known) == sum(sizes))
        assert shadow.contradictions == 0


def certain(sizes: Sequence[int], closure: bool, answers: dict[Values, float]) -> Secret:
    """What all secrets that agree with the answers have in common, by trying every secret."""
    agreeing = [s for s in hard_secrets(sizes, closure) if all(answer(s, v) == a for v, a in answers.items())]
    return {e: cost for e, cost in agreeing[0].items() if all(s[e] == cost for s in agreeing)}


@pytest.mark.parametrize("sizes", [(2,), (2, 2), (3, 2), (2, 2, 2), (1, 3, 2)])
def test_knows_exactly_what_is_certain(sizes: Values) -> None:
    rng = random.Random(sum(sizes))
    tuples = list(itertools.product(*map(range, sizes)))
    for _ in range(60):
        secret = random_secret(rng, sizes, closure=False)
        asked = rng.sample(tuples, rng.randint(0, len(tuples)))
        expected = certain(sizes, False, {values: answer(secret, values) for values in asked})
        assert told(secret, asked, sizes, None, closure=False).known == expected


def test_closure_passes_on_single_entries_and_does_not_reason_by_cases() -> None:
    answers = {(0, 0): INF, (0, 1): INF}
    shadow = Shadow((2, 2), closure=True)
    for values in answers:
        shadow.infinite(values)
    assert certain((2, 2), True, answers) == {(0, 0): INF, (0, 1): ZERO}
    assert shadow.known == {}
    # A known entry is passed on as far as it goes: not 0, so 1, so not 2 of the other.
    shadow = Shadow((2, 3), closure=True)
    shadow.infinite((1, 2))
    assert shadow.learn([], [(0, 0)])
    assert shadow.known == {(0, 0): INF, (0, 1): ZERO, (1, 2): INF}
    assert shadow.learn([], [(1, 0)])
    assert shadow.complete


@pytest.mark.parametrize("closure", [False, True])
def test_the_order_of_answers_does_not_matter_where_all_are_stored(closure: bool) -> None:
    rng = random.Random(7)
    for _ in range(300):
        sizes = tuple(rng.randint(1, 3) for _ in range(rng.randint(1, 4)))
        secret = random_secret(rng, sizes, closure)
        tuples = list(itertools.product(*map(range, sizes)))
        asked = rng.sample(tuples, rng.randint(1, min(len(tuples), 12)))
        first = told(secret, asked, sizes, None, closure).known
        for _ in range(5):
            rng.shuffle(asked)
            assert told(secret, asked, sizes, None, closure).known == first


@pytest.mark.parametrize("closure", [False, True])
def test_a_greater_k_never_knows_less(closure: bool) -> None:
    rng = random.Random(11)
    for _ in range(400):
        sizes = tuple(rng.randint(1, 3) for _ in range(rng.randint(1, 4)))
        secret = random_secret(rng, sizes, closure)
        shadows = [Shadow(sizes, k, closure) for k in (1, 2, 3, 4, None)]
        for _ in range(20):
            values = tuple(rng.randrange(size) for size in sizes)
            for shadow in shadows:
                tell(shadow, secret, values)
            for smaller, greater in itertools.pairwise(shadows):
                assert smaller.known.items() <= greater.known.items()


def test_k_makes_a_difference() -> None:
    """With four variables, an infinite answer of four unknown entries is worth something to k = 5 alone."""
    known = []
    for k in (4, 5):
        shadow = Shadow((2, 2, 2, 2), k)
        shadow.infinite((0, 0, 0, 1))
        shadow.finite((0, 0, 0, 0))
        known.append(len(shadow.known))
    assert known == [4, 5]


def test_predicts_by_what_is_known() -> None:
    shadow = Shadow((2, 2))
    assert shadow.predict((0, 0)) is None
    shadow.finite((0, 0))
    assert shadow.predict((0, 0)) == ZERO
    assert shadow.predict((0, 1)) is None
    shadow.infinite((0, 1))
    assert shadow.predict((1, 1)) == INF
    assert shadow.predict((1, 0)) is None
    shadow.infinite((1, 0))
    assert shadow.complete
    assert not shadow.finite((0, 0))
    assert not shadow.infinite((1, 1))


def test_an_agent_without_secrets_and_a_variable_with_one_value() -> None:
    nothing = Shadow(())
    assert nothing.complete
    assert nothing.predict(()) == ZERO
    assert not nothing.finite(())
    assert not Shadow((1,)).complete
    assert Shadow((1,), closure=True).known == {(0, 0): ZERO}


def test_equal_sets_are_stored_once() -> None:
    shadow = Shadow((2, 2, 2))
    for values in ((0, 0, 0), (0, 0, 0), (1, 0, 0)):
        shadow.infinite(values)
    assert shadow.n_stored == 2
    shadow.learn([(0, 0), (0, 1)], [])
    assert shadow.n_stored == 1


def test_contradictions_are_counted_and_passed_over() -> None:
    shadow = Shadow((2, 2))
    shadow.finite((0, 0))
    assert not shadow.infinite((0, 0))
    shadow.infinite((0, 1))
    assert not shadow.finite((1, 1))
    assert shadow.contradictions == 2
    assert not shadow.learn([(1, 1)], [(0, 0)])
    assert shadow.contradictions == 4
    assert shadow.known == {(0, 0): ZERO, (1, 0): ZERO, (1, 1): INF}
    # A stored set of which all entries turn out to be 0.
    shadow = Shadow((2, 2))
    shadow.infinite((0, 0))
    shadow.finite((0, 0))
    assert shadow.contradictions == 1
    assert shadow.known == {(0, 0): ZERO, (1, 0): ZERO}


@pytest.mark.parametrize("k", [0, -1])
def test_refuses_a_k_that_is_no_arity(k: int) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        Shadow((2,), k)


def test_an_answer_of_the_wrong_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        Shadow((2, 2)).finite((0,))
