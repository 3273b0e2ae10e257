"""Revelations: the paper's examples, what each form refuses, and how they join and compare."""

import copy
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.dpcop.revelation import Distributions, KnownSecrets, Probabilities, Revelation

PEERS = ("alice", "bob")
SECRETS = ("s1", "s2", "s3")

pairs = st.tuples(st.sampled_from(PEERS), st.sampled_from(SECRETS))
known_secrets = st.dictionaries(st.sampled_from(PEERS), st.frozensets(st.sampled_from(SECRETS))).map(KnownSecrets)
probabilities = st.dictionaries(pairs, st.floats(0, 1)).map(Probabilities)
weights = st.lists(st.integers(0, 9), min_size=3, max_size=3).filter(any)
distributions = st.dictionaries(pairs, weights.map(lambda w: tuple(x / sum(w) for x in w))).map(Distributions)
two_alike = st.one_of(*(st.tuples(form, form) for form in (known_secrets, probabilities, distributions)))

# The paper's examples: what Alice (A) and Bob (B) learn of Carol's secrets, in each of the three forms.
CAROL_BOOLEAN = Probabilities({("A", "S1"): 0.9, ("A", "S2"): 0.3, ("B", "S1"): 0.3, ("B", "S2"): 0.9})
CAROL_VALUED = Distributions(
    {("A", "S1"): (0.2, 0.7, 0.1), ("A", "S2"): (0.2, 0.8), ("B", "S1"): (0.4, 0.2, 0.4), ("B", "S2"): (0.4, 0.6)}
)
CAROL_KNOWN = KnownSecrets({"A": frozenset({"S1"}), "B": frozenset({"S1", "S2"})})


def test_the_papers_probabilities() -> None:
    assert CAROL_BOOLEAN.peers == ("A", "B")
    assert CAROL_BOOLEAN.share("A", "S1") == 0.9
    assert CAROL_BOOLEAN.share("B", "S1") == 0.3
    assert CAROL_BOOLEAN.share("B", "S3") == 0


def test_the_papers_distributions() -> None:
    entropy = -(0.2 * math.log2(0.2) + 0.7 * math.log2(0.7) + 0.1 * math.log2(0.1))
    assert CAROL_VALUED.share("A", "S1") == pytest.approx(1 - entropy / math.log2(3))
    assert CAROL_VALUED.share("A", "S1") > CAROL_VALUED.share("B", "S1") > 0
    assert CAROL_VALUED.peers == ("A", "B")


def test_the_papers_known_secrets() -> None:
    assert [CAROL_KNOWN.share(*pair) for pair in (("A", "S1"), ("A", "S2"), ("B", "S2"), ("C", "S1"))] == [1, 0, 1, 0]
    assert CAROL_KNOWN.peers == ("A", "B")


@pytest.mark.parametrize(
    ("law", "share"), [((1.0,), 1.0), ((0.0, 1.0), 1.0), ((0.5, 0.5), 0.0), ((0.25,) * 4, 0.0), ((0.5, 0.5, 0, 0), 0.5)]
)
def test_a_distributions_share_is_how_far_it_is_from_uniform(law: tuple[float, ...], share: float) -> None:
    assert Distributions({("A", "S"): law}).share("A", "S") == pytest.approx(share, abs=1e-15)


def test_a_uniform_belief_reveals_nothing_to_anybody() -> None:
    assert Distributions({("A", "S"): (0.5, 0.5)}).peers == ()


def test_nothing_revealed_is_left_out() -> None:
    assert KnownSecrets({"A": frozenset()}) == KnownSecrets()
    assert Probabilities({("A", "S1"): 0.0}) == Probabilities()


@pytest.mark.parametrize("chance", [-0.1, 1.1, math.nan, math.inf])
def test_a_number_that_is_no_probability_is_refused(chance: float) -> None:
    with pytest.raises(ValueError, match=r"what bob learnt of s1 is .*, not a number from 0 to 1"):
        Probabilities({("bob", "s1"): chance})


@pytest.mark.parametrize(
    ("chances", "cause"),
    [
        ({("bob", "s1"): (0.5, 0.4)}, r"what bob believes of s1 sums to 0\.9, not to 1"),
        ({("bob", "s1"): (1.5, -0.5)}, "what bob believes of s1 must be probabilities"),
        ({("bob", "s1"): (math.nan, 1.0)}, "what bob believes of s1 must be probabilities"),
        ({("bob", "s1"): ()}, "what bob believes of s1 must be probabilities from 0 to 1, one at least"),
        ({("bob", "s1"): (1.0,), ("amy", "s1"): (0.5, 0.5)}, "what amy believes of s1 has 2 values, but s1 has 1"),
    ],
)
def test_what_is_no_distribution_is_refused(chances: dict[tuple[str, str], tuple[float, ...]], cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        Distributions(chances)


def test_a_text_is_no_set_of_names() -> None:
    with pytest.raises(ValueError, match="what bob knows must be a set of names, not the text 'T1'"):
        KnownSecrets({"bob": "T1"})  # type: ignore[dict-item]  # the mistake under test


def test_distributions_over_different_values_do_not_join() -> None:
    two, three = Distributions({("a", "s"): (1.0, 0.0)}), Distributions({("b", "s"): (1.0, 0.0, 0.0)})
    with pytest.raises(ValueError, match="what b believes of s has 3 values, but s has 2"):
        two.union(three)


def test_different_forms_do_not_mix() -> None:
    with pytest.raises(TypeError, match="KnownSecrets cannot be compared with Probabilities"):
        KnownSecrets().union(Probabilities())  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(TypeError, match="Distributions cannot be compared with Probabilities"):
        Distributions() <= Probabilities()  # type: ignore[operator]  # noqa: B015  # the mistake under test


def test_the_union_of_distributions_is_the_more_certain_one() -> None:
    vague, sure = Distributions({("a", "s"): (0.4, 0.6)}), Distributions({("a", "s"): (0.9, 0.1)})
    assert vague.union(sure) == sure == sure.union(vague)
    assert vague <= sure
    assert not sure <= vague


@pytest.mark.parametrize("revelation", [CAROL_BOOLEAN, CAROL_VALUED, CAROL_KNOWN])
def test_a_revelation_is_a_value(revelation: Revelation) -> None:
    for other in (pickle.loads(pickle.dumps(revelation)), copy.deepcopy(revelation)):
        assert other == revelation
        assert hash(other) == hash(revelation)
    mapping = revelation.known if isinstance(revelation, KnownSecrets) else revelation.chances
    with pytest.raises(TypeError, match="does not support item assignment"):
        mapping["C"] = ()  # type: ignore[index]  # the mistake under test


def test_a_revelation_does_not_follow_the_mapping_it_was_made_from() -> None:
    chances = {("a", "s"): 0.5}
    revelation = Probabilities(chances)
    chances["a", "s"] = 1.0
    assert revelation.share("a", "s") == 0.5


@given(two_alike)
def test_a_union_is_an_upper_bound_whatever_the_order(both: tuple[KnownSecrets, KnownSecrets]) -> None:
    one, other = both
    union = one.union(other)
    assert union == other.union(one)
    assert one <= union
    assert other <= union
    assert set(union.peers) == {*one.peers, *other.peers}
    for peer in PEERS:
        for secret in SECRETS:
            assert union.share(peer, secret) == max(one.share(peer, secret), other.share(peer, secret))
            assert 0 <= union.share(peer, secret) <= 1


@given(two_alike)
def test_less_revealed_means_no_greater_share(both: tuple[KnownSecrets, KnownSecrets]) -> None:
    one, other = both
    shares = [one.share(p, s) <= other.share(p, s) for p in PEERS for s in SECRETS]
    assert (one <= other) == all(shares)
    assert one <= one
    assert one.union(one) == one
