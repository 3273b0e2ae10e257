"""Stable matchings with arbitrary preferences: profiles, matchings, and how unstable each is.

Source: Doshi, Matsui, Silaghi, Yokoo, Zanker, "Distributed Private Constraint Optimization", section 4. Each of the
agents `a0`, ..., `a{m-1}` is matched with one of `b0`, ..., `b{m-1}`. For each two participants j < k of the other side
an agent has one preference: 0, it prefers j; with two values 1, it prefers k; with three values 1, it is indifferent,
and 2, it prefers k. Nothing makes the preferences of an agent transitive.

Conventions of all functions here, where n stands for the pairs j < k, n = m (m - 1) / 2:

* a *profile* is a whole-number array of shape (2, m, n): side (0 for a, 1 for b), participant, pair in the order of
  `pairs(m)`. Functions take arrays of profiles too, of shape (..., 2, m, n), and work on all of them at once.
* a *matching* is an array of shape (m,): the partner, on side 1, of each participant of side 0.
* *ranks* have shape (..., 2, m, m): side, participant, participant of the other side; a lower rank is liked better.

A pair (i, u) that is not matched, i of side 0 having v and u of side 1 having j, is *unstable* by one of three rules:

* `both`: i strictly prefers u to v, and u does not strictly prefer j to i; or the same with i and u exchanged;
* `oneway`: i strictly prefers u to v, and u does not strictly prefer j to i;
* `strong`: i strictly prefers u to v, and u strictly prefers i to j (the blocking pair of Gale and Shapley).

With two values nobody is ever indifferent, and the three are the same. A matching's weight is the number of its
unstable pairs; it is stable when that is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, permutations
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agentsim.dcop.problem import Problem

Mode: TypeAlias = Literal["both", "oneway", "strong"]
Profiles: TypeAlias = NDArray[np.integer]
Matchings: TypeAlias = NDArray[np.integer]
Flags: TypeAlias = NDArray[np.bool_]

MAX_PROFILES: Final = 1_000_000
"""The most profiles that are enumerated: m=3 with two values has 262144 of them."""


def agent_names(m: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the agents of side 0 and of side 1."""
    return tuple(f"a{i}" for i in range(m)), tuple(f"b{i}" for i in range(m))


def secret_name(agent: str, j: int, k: int) -> str:
    """Return the name of the variable that holds which of j and k, in either order, `agent` prefers."""
    return f"p_{agent}_{min(j, k)}_{max(j, k)}"


def pairs(m: int) -> list[tuple[int, int]]:
    """Return the pairs j < k of the other side, in the order of a profile's last axis."""
    return list(combinations(range(m), 2))


def profile_of(problem: Problem) -> Profiles:
    """Return the true preferences in a problem of the generator `stable-matching`, shape (2, m, n).

    Raises:
        ValueError: the problem is not one of these, or its private costs were left out.
    """
    m = len(problem.agents) // 2
    sides = agent_names(m)
    if problem.agents != sides[0] + sides[1]:
        raise ValueError(f"{problem.name} has no agents a0, b0 and so on: it is no stable matching problem")
    profile = np.zeros((2, m, len(pairs(m))), dtype=np.int8)
    for side, agents in enumerate(sides):
        for i, agent in enumerate(agents):
            for q, (j, k) in enumerate(pairs(m)):
                variable = problem.variables.get(secret_name(agent, j, k))
                costs = [] if variable is None or variable.unary is None else variable.unary.tolist()
                allowed = [value for value, cost in enumerate(costs) if math.isfinite(cost)]
                if len(allowed) != 1:
                    raise ValueError(f"{problem.name} does not say whether {agent} prefers {j} or {k}")
                profile[side, i, q] = allowed[0]
    return profile


def assignment_of(profile: Profiles, matching: Sequence[int] | Matchings) -> dict[str, int]:
    """Return the assignment of a generated problem's variables that stands for one profile and one matching."""
    m = len(matching)
    assignment = {
        secret_name(agent, j, k): int(profile[side, i, q])
        for side, agents in enumerate(agent_names(m))
        for i, agent in enumerate(agents)
        for q, (j, k) in enumerate(pairs(m))
    }
    return assignment | {f"x{i}": int(partner) for i, partner in enumerate(matching)}


# --- enumeration ----------------------------------------------------------------------------------------------------


def all_matchings(m: int) -> Matchings:
    """Return the m! matchings in lexicographic order, shape (m!, m)."""
    return np.array(list(permutations(range(m))), dtype=np.int8)


def all_profiles(m: int, values: int) -> Profiles:
    """Return every profile in lexicographic order, shape (values ** (2 m n), 2, m, n).

    Raises:
        ValueError: there are more than `MAX_PROFILES`.
    """
    n = 2 * m * len(pairs(m))
    if values**n > MAX_PROFILES:
        raise ValueError(f"m={m} with {values} values has {values}**{n} profiles, more than the {MAX_PROFILES} allowed")
    count = np.arange(values**n)
    profiles = np.empty((len(count), n), dtype=np.int8)
    for place in reversed(range(n)):
        count, profiles[:, place] = np.divmod(count, values)
    return profiles.reshape(len(profiles), 2, m, len(pairs(m)))


# --- preferences ----------------------------------------------------------------------------------------------------


def prefers(preference: Profiles, values: int, j: int, k: int) -> Flags:
    """Tell where a preference between j and k, in either order, says that j is strictly preferred to k."""
    return np.asarray(preference == (0 if j < k else values - 1))


def strict_preferences(profiles: Profiles, values: int) -> Flags:
    """Return who strictly prefers whom, shape (..., 2, m, m, m): side, participant, preferred, other."""
    m = profiles.shape[-2]
    strict = np.zeros((*profiles.shape[:-1], m, m), dtype=bool)
    for q, (j, k) in enumerate(pairs(m)):
        strict[..., j, k] = prefers(profiles[..., q], values, j, k)
        strict[..., k, j] = prefers(profiles[..., q], values, k, j)
    return strict


def ranks_of(profiles: Profiles, values: int) -> Profiles:
    """Return how many each participant strictly prefers to each of the other side, shape (..., 2, m, m).

    These are ranks only where preferences are transitive.
    """
    return np.asarray(strict_preferences(profiles, values).sum(axis=-2))


def profiles_of(ranks: Profiles, values: int) -> Profiles:
    """Return the profiles of preferences that go by ranks, shape (..., 2, m, n).

    Equal ranks are indifference; with two values, which cannot say so, the later of two equals is preferred.
    """
    every = pairs(ranks.shape[-1])
    profiles = np.empty((*ranks.shape[:-1], len(every)), dtype=np.int8)
    for q, (j, k) in enumerate(every):
        profiles[..., q] = np.minimum(1 + np.sign(ranks[..., j] - ranks[..., k]), values - 1)
    return profiles


def are_transitive(profiles: Profiles, values: int) -> Flags:
    """Tell which profiles consist of strict (two values) or weak orders (three values) alone, shape (...)."""
    # What goes by ranks is an order, and the preferences of an order go by its ranks.
    same = profiles == profiles_of(ranks_of(profiles, values), values)
    return np.asarray(same.all(axis=(-3, -2, -1)))


# --- stability ------------------------------------------------------------------------------------------------------


def is_unstable(mode: Mode, i_wants: Flags, i_stays: Flags, u_wants: Flags, u_stays: Flags) -> Flags:
    """Tell whether an unmatched pair (i, u) is unstable; arrays are broadcast.

    Args:
        mode: one of the three rules.
        i_wants: i strictly prefers u to its partner.
        i_stays: i strictly prefers its partner to u.
        u_wants: u strictly prefers i to its partner.
        u_stays: u strictly prefers its partner to i.
    """
    if mode == "strong":
        return i_wants & u_wants
    one_way = i_wants & ~u_stays
    return one_way if mode == "oneway" else one_way | (u_wants & ~i_stays)


def weights(profiles: Profiles, values: int, mode: Mode = "both", matchings: Matchings | None = None) -> Profiles:
    """Return the number of unstable pairs of each matching under each profile, shape (..., matchings).

    Args:
        profiles: shape (..., 2, m, n).
        values: values of a preference, 2 or 3.
        mode: which pairs are unstable.
        matchings: shape (matchings, m); by default `all_matchings(m)`.

    Complexity: O(m^2) for each profile and matching.
    """
    m = profiles.shape[-2]
    strict = strict_preferences(profiles, values)
    a, b = strict[..., 0, :, :, :], strict[..., 1, :, :, :]
    columns = []
    for matching in all_matchings(m) if matchings is None else matchings:
        i, u = np.nonzero(np.arange(m) != matching[:, None])  # the pairs that are not matched
        v, j = matching[i], np.argsort(matching)[u]  # whom i and u have instead
        unstable = is_unstable(mode, a[..., i, u, v], a[..., i, v, u], b[..., u, i, j], b[..., u, j, i])
        columns.append(unstable.sum(axis=-1))
    return np.stack(columns, axis=-1)


def are_stable(profiles: Profiles, values: int, mode: Mode = "both", matchings: Matchings | None = None) -> Flags:
    """Tell which matchings are stable under which profiles; arguments and shape as in `weights`."""
    return np.asarray(weights(profiles, values, mode, matchings) == 0)


def gale_shapley(ranks: Profiles) -> tuple[int, ...]:
    """Return the stable matching that is best for every participant of side 0, by deferred acceptance.

    Args:
        ranks: strict orders, shape (2, m, m); lower is better.

    Complexity: at most m^2 proposals.

    Raises:
        ValueError: somebody ranks two the same.
    """
    m = ranks.shape[-1]
    if any(len(set(row)) < m for row in ranks.reshape(-1, m).tolist()):
        raise ValueError("deferred acceptance needs strict orders, and somebody ranks two the same")
    left = np.argsort(ranks[0], axis=-1)[:, ::-1].tolist()  # to whom each has not proposed yet, the best last
    rank: list[list[int]] = ranks[1].tolist()
    suitor: dict[int, int] = {}
    free = list(range(m))
    while free:
        i = free.pop()
        u = left[i].pop()
        held = suitor.get(u)
        if held is not None and rank[u][held] < rank[u][i]:
            free.append(i)
            continue
        if held is not None:
            free.append(held)
        suitor[u] = i
    partner = {i: u for u, i in suitor.items()}
    return tuple(partner[i] for i in range(m))


def n_tuples(m: int, values: int) -> int:
    """Return the number of assignments that satisfy the hard public constraints: profiles times matchings."""
    return int(values ** (2 * m * len(pairs(m)))) * math.factorial(m)
