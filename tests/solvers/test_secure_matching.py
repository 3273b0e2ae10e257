"""Secure matching: the opened matching has the fewest unstable pairs, first in the public order; bad input is told."""

import logging
import math
import os
import sys
from collections import Counter
from itertools import permutations, product
from pathlib import Path

import pytest

from agentsim import Domain, Problem, Variable
from agentsim.errors import RunError, UserError
from agentsim.runtime.streams import Stream
from solvers import secure_matching as module
from solvers.secure_matching import main, preferences_of, public_order, secure_matching

pytest.importorskip("mpyc")

Tables = list[list[list[int]]]


def tables(m: int, upper: list[int]) -> Tables:
    """Build preferences from the bits at j < k of one agent after the other."""
    bits = iter(upper)
    made = [[[0] * m for _ in range(m)] for _ in range(2 * m)]
    for table in made:
        for j in range(m):
            for k in range(j + 1, m):
                table[j][k] = next(bits)
                table[k][j] = 1 - table[j][k]
    return made


def random_tables(m: int, seed: int) -> Tables:
    stream = Stream(seed, "test")
    return tables(m, [stream.integer(2) for _ in range(m * m * (m - 1))])


def unstable_pairs(preferences: Tables, matching: tuple[int, ...]) -> int:
    m = len(matching)
    partner = {u: i for i, u in enumerate(matching)}
    return sum(
        bool(preferences[i][u][matching[i]] and preferences[m + u][i][partner[u]])
        for i, u in product(range(m), repeat=2)
        if matching[i] != u
    )


def best(preferences: Tables, seed: int) -> tuple[int, ...]:
    """Compute in clear: the first in the public order of those with the fewest unstable pairs."""
    return min(public_order(len(preferences) // 2, seed), key=lambda matching: unstable_pairs(preferences, matching))


@pytest.mark.parametrize("upper", list(product((0, 1), repeat=4)))
def test_every_profile_of_two_and_two(upper: tuple[int, ...]) -> None:
    preferences = tables(2, list(upper))
    for seed in range(4):
        assert secure_matching(preferences, parties=1, seed=seed).matching == best(preferences, seed)


@pytest.mark.parametrize(("m", "cases"), [(3, 60), (4, 12)])
def test_random_preferences(m: int, cases: int) -> None:
    """Independent bits: most of these preferences are not transitive for m=4, and some for m=3."""
    for seed in range(cases):
        preferences = random_tables(m, seed)
        matching = secure_matching(preferences, parties=1, seed=seed).matching
        assert matching == best(preferences, seed)
        least = min(unstable_pairs(preferences, other) for other in permutations(range(m)))
        assert unstable_pairs(preferences, matching) == least


def test_where_nothing_is_stable() -> None:
    """Rock, paper, scissors on both sides, found by trying: the fewest unstable pairs are more than none."""
    preferences = next(
        p
        for p in (random_tables(3, seed) for seed in range(1000))
        if all(unstable_pairs(p, matching) for matching in permutations(range(3)))
    )
    found = secure_matching(preferences, parties=1)
    assert found.matching == best(preferences, 0)
    assert (found.parties, found.bytes_sent) == (1, 0)


def test_orders_are_uniform() -> None:
    """So each of equals wins equally often: the first of them in the order does.

    4,800 orders: each matching is in each place 800 times, within 6 standard deviations, 36 counts: fails by chance
    with probability below 1e-7, were seeds not fixed.
    """
    places = Counter((place, matching) for s in range(4800) for place, matching in enumerate(public_order(3, s)))
    assert len(places) == 36
    assert all(abs(n - 800) < 6 * math.sqrt(800 * 5 / 6) for n in places.values())
    assert public_order(3, 5) == public_order(3, 5)


def test_equals_win_equally_often() -> None:
    """Two stable matchings, 200 orders: neither wins fewer than 58 times but with probability below 1e-8."""
    preferences = tables(2, [1, 0, 0, 1])
    assert [unstable_pairs(preferences, matching) for matching in ((0, 1), (1, 0))] == [0, 0]
    won = Counter(secure_matching(preferences, parties=1, seed=seed).matching for seed in range(200))
    assert min(won[0, 1], won[1, 0]) >= 58


@pytest.mark.parametrize(
    ("agent", "j", "k", "bit"), [(0, 0, 1, 2), (0, 1, 0, -1), (3, 0, 1, 7), (5, 2, 1, 1 << 45), (2, 1, 2, None)]
)
def test_bad_input_is_told_without_values(agent: int, j: int, k: int, bit: int | None) -> None:
    """A number that is no bit, or both or neither preferred (None: the other bit is turned around)."""
    preferences = random_tables(3, 3)
    preferences[agent][j][k] = 1 - preferences[agent][j][k] if bit is None else bit
    for _ in range(3):  # the check has random coefficients
        with pytest.raises(UserError, match="somebody's preferences are not valid") as caught:
            secure_matching(preferences, parties=1)
        assert not any(letter.isdigit() for letter in str(caught.value))


def test_fractions_of_bits_are_told() -> None:
    """A number b with b (1 - b) != 0 modulo the prime, though b and its counterpart add up to 1."""
    preferences = random_tables(2, 0)
    preferences[1][0][1], preferences[1][1][0] = 5, -4
    with pytest.raises(UserError, match="not valid"):
        secure_matching(preferences, parties=1)


def test_diagonals_do_not_count() -> None:
    preferences = random_tables(2, 4)
    preferences[0][0][0] = 9
    assert secure_matching(preferences, parties=1).matching == best(preferences, 0)


@pytest.mark.parametrize(
    ("preferences", "parties", "words"),
    [
        (random_tables(5, 0), 1, "2 to 4 agents on each side, not 5"),
        ([[[0]], [[0]]], 1, "2 to 4 agents on each side, not 1"),
        ([], 1, "not 0"),
        ([*random_tables(2, 0)[:3], [[0, 1]]], 1, "4 tables of 2 rows of 2"),
        ([*random_tables(2, 0), [[0, 1], [0, 0]]], 1, "4 tables of 2 rows of 2"),
        ([[[0, 0.5], [0.5, 0]]] * 4, 1, "must be whole numbers"),
        (random_tables(2, 0), 2, "parties=2: must be 3 to 4"),
        (random_tables(2, 0), 5, "parties=5: must be 3 to 4"),
        (random_tables(2, 0), 0, "parties=0"),
    ],
)
def test_shapes_are_checked(preferences: Tables, parties: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        secure_matching(preferences, parties)


def test_nothing_of_the_process_is_left_changed() -> None:
    """MPyC reads the command line, sets up logging and takes the event loop when it is imported."""
    argv, handlers = list(sys.argv), list(logging.root.handlers)
    secure_matching(random_tables(2, 1), parties=1)
    assert sys.argv == argv
    assert logging.root.handlers == handlers


async def test_works_where_a_loop_runs() -> None:
    assert secure_matching(random_tables(2, 2), parties=1).matching == best(random_tables(2, 2), 0)


def test_missing_library_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpyc.runtime", None)
    with pytest.raises(UserError, match=r"pip install 'agentsim\[crypto\]'"):
        secure_matching(random_tables(2, 0), parties=1)


# Processes -----------------------------------------------------------------------------------------------------


def children() -> set[str]:
    """The processes that this one started and has not waited for; other tests may have some."""
    found = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {pid for path in found for pid in path.read_text().split()}


def test_three_processes() -> None:
    before = children()
    preferences = random_tables(2, 5)
    found = secure_matching(preferences, parties=3, seed=1)
    assert found.matching == best(preferences, 1)
    assert found.parties == 3
    assert found.bytes_sent > 0
    assert children() <= before
    preferences[3][0][1] = 2
    with pytest.raises(UserError, match="somebody's preferences are not valid"):
        secure_matching(preferences, parties=3)


def test_time_limit_ends_all_processes() -> None:
    before = children()
    with pytest.raises(RunError, match="the 3 parties did not end within"):
        secure_matching(random_tables(2, 0), parties=3, time_limit=0.05)
    assert children() <= before


def test_party_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MODULE", "solvers.no_such_module")
    with pytest.raises(RunError, match=r"a party ended with exit status 1: .*no_such_module"):
        secure_matching(random_tables(2, 0), parties=3)


# Problems ------------------------------------------------------------------------------------------------------


def problem_of(preferences: Tables) -> Problem:
    """Build the secrets of a stable-matching problem, as the generator does."""
    m = len(preferences) // 2
    domain = Domain("preference", (0, 1))
    names = [f"{side}{agent}" for side in "ab" for agent in range(m)]
    secrets = [
        Variable(f"p_{name}_{j}_{k}", domain, name, [math.inf, 0] if table[k][j] else [0, math.inf])
        for name, table in zip(names, preferences, strict=True)
        for j in range(m)
        for k in range(j + 1, m)
    ]
    partners = Domain("partners", tuple(range(m)))
    return Problem.build([*secrets, *(Variable(f"x{i}", partners, f"a{i}") for i in range(m))], [])


@pytest.mark.parametrize("m", [2, 3, 4])
def test_preferences_are_read_from_a_problem(m: int) -> None:
    assert preferences_of(problem_of(random_tables(m, 6))) == random_tables(m, 6)


def test_other_problems_are_refused() -> None:
    two, three = Domain("d", (0, 1)), Domain("e", (0, 1, 2))
    for variables, words in (
        ([Variable("x", two, "a0")], "no stable-matching problem"),
        ([Variable("p_a0_0_1", two, "a0", [0, math.inf])], "no stable-matching problem"),
        ([Variable("p_a0_0_1", three, "a0", [0, math.inf, math.inf])], "3 values: preferences must have 2"),
        ([Variable("p_a0_0_1", two, "a0", [0, 1])], "must forbid all values but the true one"),
        ([Variable("p_a0_0_1", two, "a0")], "must forbid all values but the true one"),
    ):
        with pytest.raises(UserError, match=words):
            preferences_of(Problem.build(variables, []))


def test_command_line(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    agentsim = pytest.importorskip("agentsim")
    path = tmp_path / "matching.yaml"
    agentsim.save(problem_of(random_tables(2, 7)), path)
    assert main([str(path), "--parties", "1", "--seed", "2"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == " ".join(f"a{i}-b{u}" for i, u in enumerate(best(random_tables(2, 7), 2)))
    assert second.startswith("1 parties, ")
    assert main([str(path), "--parties", "2"]) == 2
    assert capsys.readouterr().err.startswith("error: parties=2")
