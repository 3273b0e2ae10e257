"""Secure comparison: always right, and the chooser sees the result alone; n-leaders with publish=argmin."""

import math
import sys
from collections import Counter
from itertools import product

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim import Constraint, Domain, Problem, RunError, SolverRefusal, UserError, Variable, replay, simulate
from agentsim.runtime.streams import Stream
from agentsim.testing import brute_force, check_statements, random_problem
from solvers.n_leaders import NLeaders
from solvers.secure_comparison import Secret, Table, answer, decide, make_table, whole

phe = pytest.importorskip("phe")

TINY = 64
BITS = 40
TOP = (1 << BITS) - 1


def is_greater(x: int, y: int, bits: int, key_size: int = TINY) -> bool:
    secret, table = make_table(x, bits, key_size)
    return decide(secret, answer(y, bits, table))


def plain(secret: Secret, ciphertexts: tuple[bytes, ...]) -> list[int]:
    p, q = map(int.from_bytes, secret)
    private = phe.PaillierPrivateKey(phe.PaillierPublicKey(p * q), p, q)
    return [private.raw_decrypt(int.from_bytes(c)) for c in ciphertexts]


@pytest.mark.parametrize("bits", [1, 2, 3, 5])
def test_every_pair_of_small_numbers(bits: int) -> None:
    for x, y in product(range(1 << bits), repeat=2):
        assert is_greater(x, y, bits) == (x > y), (x, y)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, TOP), st.integers(0, TOP))
def test_any_numbers(x: int, y: int) -> None:
    assert is_greater(x, y, BITS) == (x > y)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, TOP), st.integers(-1, 1))
def test_neighbouring_numbers(x: int, step: int) -> None:
    y = min(max(x + step, 0), TOP)
    assert is_greater(x, y, BITS) == (x > y)


@pytest.mark.parametrize("x", [0, 1, TOP - 1, TOP])
@pytest.mark.parametrize("y", [0, 1, TOP - 1, TOP])
def test_bounds(x: int, y: int) -> None:
    assert is_greater(x, y, BITS, key_size=512) == (x > y)


def test_results_survive_the_wire() -> None:
    """An agent gets its randomness through `external`, which packs and unpacks the result."""
    secret, table = msgpack.unpackb(msgpack.packb(make_table(9, 8, TINY)), use_list=False)
    reply = msgpack.unpackb(msgpack.packb(answer(7, 8, Table(*table))), use_list=False)
    assert decide(Secret(*secret), reply) is True


@pytest.mark.parametrize(("x", "y"), [(0, 0), (0, 255), (255, 0), (170, 85), (85, 170), (200, 200)])
def test_sizes_depend_on_public_numbers_alone(x: int, y: int) -> None:
    secret, table = make_table(x, 8, 128)
    reply = answer(y, 8, table)
    assert (len(secret), len(table.modulus), len(table.entries), len(reply)) == (2, 16, 16, 8)
    assert {len(c) for c in (*table.entries, *reply)} == {32}
    assert len({*table.entries, *reply}) == 24  # no two encryptions are alike


def test_table_encrypts_the_bits_of_x() -> None:
    secret, table = make_table(0b1011, 4, TINY)
    assert plain(secret, table.entries) == [1, 0, 0, 1, 1, 0, 1, 0]


def test_chooser_sees_the_result_alone() -> None:
    """One 0 if x > y, in any place; all else uniform, whatever y is.

    Counts are held against 6 standard deviations, 48 of them: fails by chance with probability below 1e-6.
    """
    secret, table = make_table(0b10110100, 8, TINY)
    modulus = int.from_bytes(table.modulus)
    for y, zeros in ((0b10110011, 1), (0, 1), (0b10110100, 0), (255, 0)):
        places: Counter[int] = Counter()
        classes: Counter[int] = Counter()
        for _ in range(1200):
            seen = plain(secret, answer(y, 8, table))
            assert seen.count(0) == zeros
            places.update(i for i, number in enumerate(seen) if number == 0)
            classes.update(number * 8 // modulus for number in seen if number)
        expected = 150 * (8 - zeros)
        assert all(abs(classes[c] - expected) < 6 * math.sqrt(expected) for c in range(8)), (y, classes)
        if zeros:  # each of 8 places about 150 times
            assert all(abs(places[i] - 150) < 6 * math.sqrt(150) for i in range(8)), (y, places)


def test_answers_are_encrypted_anew() -> None:
    """Two answers to one table have no ciphertext in common, nor one of the table."""
    _, table = make_table(5, 4, TINY)
    both = answer(1, 4, table) + answer(1, 4, table)
    assert len({*both, *table.entries}) == 16


@pytest.mark.parametrize(("total", "number"), [(0, 0), (7, 7), (7.0, 7), (2**8 - 2, 254), (math.inf, 255)])
def test_totals_become_whole_numbers(total: float, number: int) -> None:
    assert whole(total, 8) == number


@pytest.mark.parametrize("total", [0.5, -1, 255, 256.0, -math.inf, math.nan])
def test_totals_that_do_not_fit_are_refused(total: float) -> None:
    with pytest.raises(UserError, match=r"whole numbers from 0 to 2\^8 - 2 and infinity"):
        whole(total, 8)


def test_arguments_are_checked() -> None:
    _, table = make_table(1, 4, TINY)
    for work, words in (
        (lambda: make_table(16, 4, TINY), "does not fit into bits=4"),
        (lambda: make_table(-1, 4, TINY), "does not fit into bits=4"),
        (lambda: make_table(0, 0, TINY), "bits=0"),
        (lambda: make_table(0, 1025, TINY), "bits=1025"),
        (lambda: make_table(1, 4, 32), "key_size=32"),
        (lambda: make_table(1, 4, 129), "key_size=129"),
        (lambda: answer(16, 4, table), "does not fit into bits=4"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            work()
        assert "16" not in str(caught.value)  # the number is a secret


def test_what_does_not_belong_is_told() -> None:
    secret, table = make_table(1, 4, TINY)
    with pytest.raises(RunError, match="no table for a secure comparison of 5 bits: 8 entries"):
        answer(1, 5, table)
    for wrong in (b"", b"\xff" * 40, table.modulus):
        with pytest.raises(RunError, match="no ciphertext"):
            answer(1, 4, table._replace(entries=(wrong, *table.entries[1:])))
        with pytest.raises(RunError, match="no ciphertext"):
            decide(secret, (wrong,))


def test_missing_library_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phe", None)
    with pytest.raises(UserError, match=r"pip install 'agentsim\[crypto\]'"):
        make_table(1, 4, TINY)


# N-leaders with publish=argmin ---------------------------------------------------------------------------------


def shares_of_three(seed: int, n_values: int = 3) -> Problem:
    """Make three agents with two variables each, private costs and constraints that one of them knows."""
    stream = Stream(seed, "test")
    domain = Domain("d", tuple(range(n_values)))
    variables = [
        Variable(f"{agent}{i}", domain, agent, [stream.integer(7) for _ in range(n_values)])
        for agent in "abc"
        for i in range(2)
    ]
    constraints = []
    for one, other in (("a0", "b0"), ("b1", "c0"), ("c1", "a1")):
        table = [
            [math.inf if stream.integer(5) == 0 else stream.integer(9) for _ in domain.values] for _ in domain.values
        ]
        constraints.append(Constraint(f"{one}_{other}", (one, other), table, known_to=(one[0],)))
    return Problem.build(variables, constraints)


@pytest.mark.parametrize("partition", ["blocks", "turns"])
def test_knock_out_finds_what_totals_find(partition: str) -> None:
    for seed in range(4):
        problem = shares_of_three(seed, 2)
        totals = simulate(problem, NLeaders, partition=partition)
        argmin = simulate(problem, NLeaders, partition=partition, publish="argmin", key_size=TINY)
        assert argmin.status == totals.status
        assert (argmin.assignment, argmin.cost) == (totals.assignment, totals.cost)
        assert argmin.cost == brute_force(problem)


def test_knock_out_on_random_problems() -> None:
    """Several variables per agent, agents without any, either objective, negative costs, infeasible ones."""
    rng = np.random.default_rng(7)
    for _ in range(25):
        problem = random_problem(rng, max_variables=4, max_cells=40)
        if problem.integral:
            result = simulate(problem, NLeaders, publish="argmin", key_size=TINY, bits=12)
            assert result.cost == brute_force(problem)


def test_knock_out_tells_no_total() -> None:
    """A table, a reply and an outcome for each agent but the first; statements about them are all true."""
    problem = shares_of_three(1, 2)
    params = {"publish": "argmin", "key_size": TINY}
    result = simulate(problem, NLeaders, network="uniform:1,9+reorder", **params)
    mail = Counter(delivery.type for delivery in result.log)
    assert [mail[kind] for kind in ("BEST", "COMPARE", "REPLY", "OUTCOME")] == [0, 2, 2, 2]
    assert all(d.message.total is None for d in result.log if d.type == "SOLUTION")
    for delivery in result.log:
        if delivery.type == "COMPARE":
            assert (len(delivery.message.modulus), len(delivery.message.entries)) == (TINY // 8, 2 * BITS)
        elif delivery.type == "REPLY":
            assert len(delivery.message.entries) == BITS
    said = check_statements(problem, result, NLeaders, **params)
    assert said["answer"]
    # In each of 2 comparisons REPLY and OUTCOME tell the agent with the key, and who sees all; OUTCOME tells the other.
    assert said["who of the two has the lesser best total"] == 2 * 5
    assert said["encrypted, not to the viewer"] == 2


def test_of_equals_the_first_agent_wins() -> None:
    """All assignments cost the same: the first agent's first one is taken."""
    domain = Domain("d", (0, 1))
    problem = Problem.build([Variable(name, domain, name, [2, 2]) for name in "abcd"], [])
    result = simulate(problem, NLeaders, publish="argmin", key_size=TINY)
    assert (result.cost, set(result.assignment.values())) == (8, {0})
    assert [d.message.beaten for d in result.log if d.type == "OUTCOME"] == [False] * 3


@pytest.mark.parametrize("agents", [1, 3])
def test_knock_out_without_solution(agents: int) -> None:
    domain = Domain("d", (0, 1))
    variables = [Variable(f"x{i}", domain, f"x{i}", [math.inf, math.inf]) for i in range(agents)]
    result = simulate(Problem.build(variables, []), NLeaders, publish="argmin", key_size=TINY)
    assert result.status == "infeasible"


def test_knock_out_is_replayed_from_the_log() -> None:
    """What was drawn is in the log; in a redacted one it is not."""
    problem = shares_of_three(2, 2)
    runs = [simulate(problem, NLeaders, seed=5, publish="argmin", key_size=TINY) for _ in range(2)]
    tables = [[d.message for d in run.log if d.type == "COMPARE"] for run in runs]
    assert tables[0] != tables[1]
    assert [(d.type, d.src, d.dst, d.delivered_at) for d in runs[0].log] == [
        (d.type, d.src, d.dst, d.delivered_at) for d in runs[1].log
    ]
    for run in runs:
        replayed = replay(run.log, verify=True, solver=NLeaders)
        assert replayed.verified, replayed.first_difference


def test_knock_out_refuses_what_cannot_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    domain = Domain("d", (0, 1))
    halves = Problem.build([Variable(name, domain, name, [0.5, 1]) for name in "ab"], [])
    with pytest.raises(SolverRefusal, match="compares whole numbers"):
        simulate(halves, NLeaders, publish="argmin", key_size=TINY)
    great = Problem.build([Variable(name, domain, name, [4, math.inf]) for name in "ab"], [])
    with pytest.raises(SolverRefusal, match="may not fit into bits=3: give bits=4"):
        simulate(great, NLeaders, publish="argmin", key_size=TINY, bits=3)
    assert simulate(great, NLeaders, publish="argmin", key_size=TINY, bits=4).cost == 8
    for wrong in ({"bits": 0}, {"key_size": 63}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            simulate(great, NLeaders, publish="argmin", **wrong)
    monkeypatch.setitem(sys.modules, "phe", None)
    with pytest.raises(UserError, match=r"pip install 'agentsim\[crypto\]'"):
        simulate(great, NLeaders, publish="argmin")
