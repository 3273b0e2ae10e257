"""Stable matchings: exact counts, tables against the definition in words, and what the generator draws."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from agentsim import Problem, Variable, load, save, simulate
from agentsim.errors import UserError
from agentsim.runtime import registry
from agentsim.testing import brute_force
from scenarios.generators.stable_matching import StableMatching, StableMatchingParams
from scenarios.matchings import (
    Mode,
    Profiles,
    all_matchings,
    all_profiles,
    are_stable,
    are_transitive,
    assignment_of,
    gale_shapley,
    n_tuples,
    pairs,
    profile_of,
    profiles_of,
    ranks_of,
    weights,
)
from solvers.brute_force import BruteForce

CHI2_5, CHI2_12, CHI2_100 = 25.745, 39.134, 161.319
"""What chi-square with 5, 12 and 100 degrees of freedom exceeds with probability 1e-4."""

MODES: tuple[Mode, ...] = ("both", "oneway", "strong")


def strictly(assignment: dict[str, int], values: int, who: str, j: int, k: int) -> bool:
    """Tell whether `who` strictly prefers j to k, in the paper's words."""
    if j < k:
        return assignment[f"p_{who}_{j}_{k}"] == 0
    return assignment[f"p_{who}_{k}_{j}"] == values - 1


def n_unstable(assignment: dict[str, int], m: int, values: int, mode: Mode) -> int:
    """Count the unstable pairs, one after the other."""
    count = 0
    for i, u in product(range(m), range(m)):
        v = assignment[f"x{i}"]
        (j,) = (k for k in range(m) if assignment[f"x{k}"] == u)
        if u == v:
            continue
        i_prefers_u = strictly(assignment, values, f"a{i}", u, v)
        i_prefers_v = strictly(assignment, values, f"a{i}", v, u)
        u_prefers_i = strictly(assignment, values, f"b{u}", i, j)
        u_prefers_j = strictly(assignment, values, f"b{u}", j, i)
        if mode == "strong":
            count += i_prefers_u and u_prefers_i
        elif mode == "oneway":
            count += i_prefers_u and not u_prefers_j
        else:
            count += (i_prefers_u and not u_prefers_j) or (u_prefers_i and not i_prefers_v)
    return count


def public_cost(problem: Problem, assignment: dict[str, int]) -> float:
    return sum(float(c.table[tuple(assignment[v] for v in c.scope)]) for c in problem.constraints.values())


def random_profiles(m: int, values: int, count: int, seed: int = 0) -> Profiles:
    return np.random.default_rng(seed).integers(values, size=(count, 2, m, len(pairs(m))))


def random_orders(m: int, count: int, seed: int = 0) -> Profiles:
    return np.argsort(np.random.default_rng(seed).random((count, 2, m, m)), axis=-1)


def chi_square(observed: Sequence[int]) -> float:
    expected = sum(observed) / len(observed)
    return sum((x - expected) ** 2 for x in observed) / expected


# --- counts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("m", "values", "mode", "stable", "by_number"),
    [
        (1, 2, "both", 1, [0, 1]),
        (2, 2, "both", 18, [0, 14, 2]),
        (2, 2, "oneway", 18, [0, 14, 2]),
        (2, 2, "strong", 18, [0, 14, 2]),
        (2, 3, "both", 72, [12, 66, 3]),
        (2, 3, "oneway", 98, [6, 52, 23]),
        (2, 3, "strong", 128, [0, 34, 47]),
        (3, 2, "both", 279_936, [33_636, 179_400, 46_788, 2320]),
    ],
)
def test_how_many_are_stable(m: int, values: int, mode: Mode, stable: int, by_number: list[int]) -> None:
    found = weights(all_profiles(m, values), values, mode)
    assert found.size == n_tuples(m, values)
    assert (found == 0).sum() == stable
    assert np.bincount((found == 0).sum(axis=-1)).tolist() == by_number
    if (m, values) == (3, 2):
        # Each of six pairs is unstable with probability 1/4, and one unstable pair is always enough.
        assert stable * 4**6 == found.size * 3**6
        assert np.bincount(found.min(axis=-1)).tolist() == [262_144 - 33_636, 33_636]


def test_transitive_profiles_have_a_stable_matching() -> None:
    profiles = all_profiles(3, 2)
    orders = profiles[are_transitive(profiles, 2)]
    stable = are_stable(orders, 2)
    assert len(orders) == 6**6
    assert np.bincount(stable.sum(axis=-1)).tolist() == [0, 34_080, 11_484, 1092]
    column = {tuple(x): k for k, x in enumerate(all_matchings(3).tolist())}
    chosen = [column[gale_shapley(ranks)] for ranks in ranks_of(orders, 2)]
    assert stable[np.arange(len(orders)), chosen].all()


@pytest.mark.parametrize("m", [1, 2, 4, 5])
def test_deferred_acceptance_is_best_for_its_proposers(m: int) -> None:
    for ranks in random_orders(m, 30):
        profile = profiles_of(ranks, 2)
        stable = all_matchings(m)[are_stable(profile, 2)]
        best = stable[np.argmin([sum(ranks[0][range(m), x]) for x in stable])]
        assert tuple(best) == gale_shapley(ranks)
        for i in range(m):
            assert ranks[0][i, best[i]] == min(ranks[0][i, x[i]] for x in stable)


def test_a_cycle_of_preferences_may_leave_nothing_stable() -> None:
    # The example of the paper's section 4: 0 over 1, 1 over 2, and not 0 over 2.
    cycle = np.array([[[0, 1, 0]] * 3] * 2)
    assert not are_transitive(cycle, 2)
    assert are_transitive(np.array([[[0, 0, 0]] * 3] * 2), 2)
    indifferent_between_two = np.array([[[1, 0, 1]] * 3] * 2)  # 0 like 1, 0 over 2, but 1 like 2
    assert not are_transitive(indifferent_between_two, 3)
    assert are_transitive(np.array([[[1, 0, 0]] * 3] * 2), 3)
    found = [are_stable(profile, 2).any() for profile in random_profiles(3, 2, 200)]
    assert set(found) == {True, False}


def test_ranks_and_profiles_say_the_same() -> None:
    ranks = np.random.default_rng(1).integers(3, size=(50, 2, 4, 4))
    profiles = profiles_of(ranks, 3)
    assert are_transitive(profiles, 3).all()
    again = ranks_of(profiles, 3)
    for j, k in pairs(4):
        assert (np.sign(again[..., j] - again[..., k]) == np.sign(ranks[..., j] - ranks[..., k])).all()
    assert (profiles_of(random_orders(4, 9), 2) * 2 == profiles_of(random_orders(4, 9), 3)).all()


# --- the problem's tables --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", ["RPSX", "RPSM", "STM"])
@pytest.mark.parametrize("values", [2, 3])
def test_tables_are_the_definition_for_two(form: str, values: int, mode: Mode) -> None:
    problem = StableMatching.generate(StableMatchingParams(form, 2, values, mode), seed=3)
    profiles = all_profiles(2, values)
    found = weights(profiles, values, mode)
    for profile, row in zip(profiles, found, strict=True):
        for matching, weight in zip(all_matchings(2), row, strict=True):
            assignment = assignment_of(profile, matching)
            assert n_unstable(assignment, 2, values, mode) == weight
            cost = weight if form == "RPSX" or weight == 0 else math.inf
            assert public_cost(problem, assignment) == cost
            true = (profile == profile_of(problem)).all()
            assert problem.evaluate(assignment).cost == (cost if true else math.inf)
        for partner in range(2):  # both have the same one
            assert public_cost(problem, assignment_of(profile, [partner, partner])) == math.inf


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("values", [2, 3])
@pytest.mark.parametrize("m", [3, 4])
def test_tables_are_the_definition_for_more(m: int, values: int, mode: Mode) -> None:
    soft = StableMatching.generate(StableMatchingParams("RPSX", m, values, mode))
    hard = StableMatching.generate(StableMatchingParams("RPSM", m, values, mode))
    assert len(soft.constraints) == m * (m - 1) // 2 + (m * (m - 1)) ** 2
    profiles = random_profiles(m, values, 40)
    found = weights(profiles, values, mode)
    for n, profile in enumerate(profiles):
        k = n % len(all_matchings(m))
        assignment = assignment_of(profile, all_matchings(m)[k])
        weight = n_unstable(assignment, m, values, mode)
        assert (found[n, k], public_cost(soft, assignment)) == (weight, weight)
        assert public_cost(hard, assignment) == (math.inf if weight else 0)
        assert weights(profile, values, mode, all_matchings(m)[k : k + 1]).tolist() == [weight]
        assert public_cost(soft, assignment | {"x0": assignment["x1"]}) == math.inf


@pytest.mark.parametrize("order", ["P", "x"])
@pytest.mark.parametrize("form", ["RPSX", "RPSM"])
def test_the_optimum_is_the_least_weight(form: str, order: str) -> None:
    seen = set()
    for seed in range(12):
        problem = StableMatching.generate(StableMatchingParams(form, 2, 3, "both", order=order), seed)
        profile = profile_of(problem)
        found = weights(profile, 3)
        least = float(found.min()) if form == "RPSX" or found.min() == 0 else math.inf
        assert brute_force(problem) == least
        result = simulate(problem, BruteForce)
        assert result.status == ("infeasible" if math.isinf(least) else "optimal")
        if result.status == "optimal":
            chosen = np.array([[result.assignment["x0"], result.assignment["x1"]]])
            assert weights(profile, 3, "both", chosen).tolist() == [least]
        seen.add(least)
    assert seen == ({0, 1} if form == "RPSX" else {0, math.inf})  # 12 of 81 profiles have no stable matching


# --- what is drawn --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [2, 3])
@pytest.mark.parametrize("m", [2, 3, 5])
def test_transitive_instances_have_a_stable_matching(m: int, values: int) -> None:
    for seed in range(15):
        profile = profile_of(StableMatching.generate(StableMatchingParams("STM", m, values, price="none"), seed))
        assert are_transitive(profile, values)
        assert are_stable(profile, values, "strong").any()
        if values == 2:
            assert are_stable(profile, 2, "both", np.array([gale_shapley(ranks_of(profile, 2))])).all()


def test_with_ties_there_may_be_no_stable_matching() -> None:
    for mode in ("both", "oneway"):
        problems = [StableMatching.generate(StableMatchingParams("STM", 2, 3, mode), seed) for seed in range(40)]
        exists = [bool(are_stable(profile_of(problem), 3, mode).any()) for problem in problems]
        assert set(exists) == {True, False}
        assert brute_force(problems[exists.index(False)]) == math.inf


def test_preferences_are_uniform() -> None:
    drawn: dict[tuple[str, int], Counter[tuple[int, ...]]] = {}
    for form, values in product(("STM", "RPSX"), (2, 3)):
        count = drawn[form, values] = Counter()
        for seed in range(120):
            profile = profile_of(StableMatching.generate(StableMatchingParams(form, 3, values, price="none"), seed))
            count.update(tuple(row) for row in profile.reshape(-1, 3).tolist())
    assert len(drawn["STM", 2]) == 6
    assert chi_square(list(drawn["STM", 2].values())) < CHI2_5
    assert len(drawn["STM", 3]) == 13  # weak orders of three
    assert chi_square(list(drawn["STM", 3].values())) < CHI2_12
    assert len(drawn["RPSX", 2]) == 8
    assert chi_square(list(drawn["RPSX", 2].values())) < CHI2_12
    assert len(drawn["RPSX", 3]) == 27
    first = Counter(row[0] for row in drawn["RPSX", 3].elements())
    assert chi_square([first[v] for v in range(3)]) < CHI2_5


def test_what_a_seed_fixes() -> None:
    base = StableMatchingParams("RPSX", 3, 3)
    reference = StableMatching.generate(base, 7)
    assert (profile_of(reference) == profile_of(StableMatching.generate(base, 7))).all()
    assert (profile_of(reference) != profile_of(StableMatching.generate(base, 8))).any()
    for change in ({"form": "RPSM"}, {"mode": "strong"}, {"order": "x"}):
        other = StableMatching.generate(replace(base, **change), 7)
        assert (profile_of(other) == profile_of(reference)).all()
        assert other.extras == reference.extras
        assert other.name != reference.name
    constant = StableMatching.generate(replace(base, price="constant"), 7)
    assert (profile_of(constant) == profile_of(reference)).all()
    transitive = StableMatching.generate(replace(base, form="STM"), 7).extras
    assert transitive["privacy"] == reference.extras["privacy"]
    assert transitive["preferences"]["p_a1_0_2"] == ["a1", "b0", "b2"]
    assert transitive["preferences"]["p_b0_1_2"] == ["b0", "a1", "a2"]
    assert "preferences" not in reference.extras


def test_names_owners_and_order() -> None:
    agents = ("a0", "a1", "b0", "b1")
    secrets = [f"p_{agent}_0_1" for agent in agents]
    for order, names in (("P", [*secrets, "x0", "x1"]), ("x", ["x0", "x1", *secrets])):
        problem = StableMatching.generate(StableMatchingParams(order=order), 1)
        assert (problem.objective, problem.agents, list(problem.variables)) == ("min", agents, names)
        for name, v in problem.variables.items():
            assert v.agent == (name.split("_")[1] if name[0] == "p" else f"a{name[1]}")
            if name[0] == "p":
                assert sorted(v.unary.tolist()) == [0, math.inf]
                assert v.cost_range == (0, 0)
            else:
                assert v.unary is None
        assert all(c.known_to == "all" for c in problem.constraints.values())
        assert problem.constraints["stable_1_0_0_1"].scope == ("x1", "x0", "p_a1_0_1", "p_b0_0_1")
        assert problem.constraints["stable_1_0_0_1"].cost_range == (0, 1)
        assert "seed1" in problem.name


def test_prices() -> None:
    drawn: Counter[int] = Counter()
    for seed in range(100):
        problem = StableMatching.generate(StableMatchingParams(m=3, values=3), seed)
        section = problem.extras["privacy"]["agents"]
        assert tuple(section) == problem.agents
        for agent, stakes in section.items():
            assert (stakes["reward"], stakes["range"]) == (math.inf, "hard")
            entries = [tuple(secret["entry"].items()) for secret in stakes["secrets"]]
            assert entries == [((name, value),) for name in problem.owned_by(agent)[:3] for value in range(3)]
            drawn.update(secret["price"] for secret in stakes["secrets"])
    assert sorted(drawn) == list(range(101))
    assert chi_square(list(drawn.values())) < CHI2_100
    assert abs(sum(drawn.elements()) / drawn.total() - 50) < 4 * 29.2 / math.sqrt(drawn.total())
    constant = StableMatching.generate(StableMatchingParams(price="constant"))
    section = constant.extras["privacy"]["agents"]
    assert {secret["price"] for stakes in section.values() for secret in stakes["secrets"]} == {50}
    assert not StableMatching.generate(StableMatchingParams(price="none")).extras


@pytest.mark.parametrize("suffix", ["yaml", "amdcop"])
@pytest.mark.parametrize("params", [StableMatchingParams("STM", 3, 3), StableMatchingParams(m=2)])
def test_files_keep_everything(params: StableMatchingParams, suffix: str, tmp_path: Path) -> None:
    problem = StableMatching.generate(params, 5)
    file = tmp_path / f"matching.{suffix}"
    save(problem, file)
    again = load(file)
    assert again.extras["privacy"] == problem.extras["privacy"]
    assert (again.agents, list(again.variables)) == (problem.agents, list(problem.variables))
    assert (profile_of(again) == profile_of(problem)).all()
    for name, c in problem.constraints.items():
        kept = again.constraints[name]
        assert (kept.scope, kept.known_to, kept.cost_range) == (c.scope, c.known_to, c.cost_range)
        assert (kept.table == c.table).all()


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"form": "SM"}, "must be one of STM, RPSM, RPSX"),
        ({"m": "1"}, "m=1 must be from 2 to 8"),
        ({"m": "9"}, "m=9 must be from 2 to 8"),
        ({"values": "4"}, "values=4 must be from 2 to 3"),
        ({"mode": "weak"}, "must be one of both, oneway, strong"),
        ({"price": "0"}, "must be one of uniform, constant, none"),
        ({"order": "p"}, "must be one of P, x"),
    ],
)
def test_bad_parameters(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        registry.make_params(StableMatchingParams, given, "generator stable-matching")
    typed = {key: int(text) if key in ("m", "values") else text for key, text in given.items()}
    with pytest.raises(ValueError, match=sentence):
        StableMatchingParams(**typed)


def test_what_cannot_be_done() -> None:
    with pytest.raises(ValueError, match=r"3\*\*18 profiles, more than the 1000000"):
        all_profiles(3, 3)
    with pytest.raises(ValueError, match="ranks two the same"):
        gale_shapley(np.zeros((2, 2, 2), dtype=int))
    problem = StableMatching.generate(StableMatchingParams())
    with pytest.raises(ValueError, match="no stable matching problem"):
        profile_of(Problem.build([Variable("x", problem.variables["x0"].domain)]))
    blank = {name: replace(v, unary=None) for name, v in problem.variables.items()}
    with pytest.raises(ValueError, match="does not say whether a0 prefers 0 or 1"):
        profile_of(replace(problem, variables=blank))
