"""Stable matchings whose preferences are secret, as a distributed private constraint optimisation problem.

Source: Doshi, Matsui, Silaghi, Yokoo, Zanker, "Distributed Private Constraint Optimization", section 4 and Algorithm 2.
Agents `a0`, ..., `a{m-1}` are to be matched with `b0`, ..., `b{m-1}`. The preferences of each are variables of its own,
tied to the truth by hard costs that it alone knows; what makes a matching stable is public. `scenarios.matchings` says
what the values of a preference mean and which pairs are unstable.

The three forms of Table 1: STM, transitive preferences, hard stability; RPSM, preferences as in rock, paper, scissors,
hard stability; RPSX, the same with soft stability, each unstable pair costing 1. A pair (i, u) is unstable in only one
constraint for each (v, j) that i and u can have instead, and a matching gives them one (v, j): it is counted once.

The paper leaves open, and here:

* The sentence on stability, as printed, has u and v exchanged against its scope (x_i, x_j, P^i_uv, P^u_ij): it would
  need the preference of v, which is not in that scope. It is read as: if i has v, j has u, and i prefers u to v, then u
  prefers j to i (`oneway`), and the like with i and u exchanged (`both`). `strong` is the blocking pair of textbooks.
* Participants are numbered from 0 to m-1 on each side; the paper's A_{2m-j} and 0 <= j < k <= m do not fit 2m agents.
* That nobody is matched twice is a hard constraint for each two x_i, x_j, as it stays hard when stability is soft.
* Preferences of STM are uniform over strict orders, with three values over weak orders. There always is a stable
  matching for strict orders, and in mode `strong`; with ties, the other modes may have none, and be infeasible.
* Prices are not printed. A mean of 50 explains the column Cost, which says nothing about their shape: `uniform` draws
  independent whole numbers from 0 to 100, one for all peers; `constant` takes 50.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any, ClassVar, Final, Literal

import numpy as np

from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.runtime.streams import Stream
from scenarios.generators.bounds import require_between, require_one_of
from scenarios.matchings import (
    Mode,
    Profiles,
    agent_names,
    is_unstable,
    pairs,
    prefers,
    profiles_of,
    secret_name,
)

_MEAN_PRICE: Final = 50


@dataclass(frozen=True)
class StableMatchingParams:
    """Parameters of the stable-matching generator; ValueError if one is out of range.

    Args:
        form: "STM", transitive preferences and hard stability; "RPSM", arbitrary preferences and hard stability; or
            "RPSX", arbitrary preferences and soft stability.
        m: participants on each side, 2 to 8; Table 1 calls 2 m the size. One on each side would have no secrets.
        values: values of a preference: 2, or 3 with indifference.
        mode: which unmatched pairs are unstable: "both", "oneway" or "strong".
        price: what a lost secret costs: "uniform", 0 to 100; "constant", 50; or "none", the problem has no prices.
        order: which variables come first: "P", the preferences, or "x", the matching. A leader that goes through all
            assignments changes the first variable last.
    """

    form: Literal["STM", "RPSM", "RPSX"] = "RPSX"
    m: int = 2
    values: int = 2
    mode: Mode = "both"
    price: Literal["uniform", "constant", "none"] = "uniform"
    order: Literal["P", "x"] = "P"

    def __post_init__(self) -> None:
        require_one_of(self, "form", ("STM", "RPSM", "RPSX"))
        require_between(self, ("m", 2, 8), ("values", 2, 3))
        require_one_of(self, "mode", ("both", "oneway", "strong"))
        require_one_of(self, "price", ("uniform", "constant", "none"))
        require_one_of(self, "order", ("P", "x"))


class StableMatching:
    """Stable matching with secret, priced preferences: strict or weak orders, or as in rock, paper, scissors.

    Variables `p_{agent}_{j}_{k}`, j < k, one for each preference of each agent, and `x{i}` of agent `a{i}`, whose value
    is the number of its partner. Constraints `differ_{i}_{j}`, i < j, and `stable_{i}_{u}_{j}_{v}`: that the pair of
    `a{i}` and `b{u}` is not unstable when `a{j}` has `b{u}` and `a{i}` has `b{v}`; all agents know all of them. The
    section `privacy` prices each value of each preference; rewards are infinite. With transitive preferences the
    section `preferences` says which participants each secret variable compares: {variable: [agent, j, k]}.

    A seed gives the same preferences for RPSM and RPSX, for every mode, price and order, and the same prices for every
    form, mode and order.
    """

    Params: ClassVar[type[StableMatchingParams]] = StableMatchingParams

    @staticmethod
    def generate(params: StableMatchingParams, seed: int = 0) -> Problem:
        """Return the problem that `seed` gives."""
        sides = agent_names(params.m)
        agents = sides[0] + sides[1]
        secrets = dict(zip(agents, _preferences(params, seed).reshape(len(agents), -1).tolist(), strict=True))
        preferences = list(_secret_variables(params, secrets))
        partners = Domain("partners", tuple(range(params.m)))
        matching = [Variable(f"x{i}", partners, agent) for i, agent in enumerate(sides[0])]
        title = (
            f"stable_matching_{params.form}_m{params.m}_v{params.values}_{params.mode}_{params.price}_{params.order}_"
            f"seed{seed}"
        )
        extras: dict[str, Any] = {} if params.price == "none" else {"privacy": _privacy(params, agents, seed)}
        if params.form == "STM":
            extras["preferences"] = {
                secret_name(agent, j, k): [agent, others[j], others[k]]
                for own, others in (sides, sides[::-1])
                for agent in own
                for j, k in pairs(params.m)
            }
        return Problem.build(
            preferences + matching if params.order == "P" else matching + preferences,
            [*_one_to_one(params.m), *_stability(params)],
            name=title,
            agents=agents,
            extras=extras,
        )


def _secret_variables(params: StableMatchingParams, secrets: dict[str, list[int]]) -> Iterator[Variable]:
    domain = Domain("preference", tuple(range(params.values)))
    for agent, truth in secrets.items():
        for (j, k), true in zip(pairs(params.m), truth, strict=True):
            costs = np.where(np.arange(params.values) == true, 0.0, math.inf)
            yield Variable(secret_name(agent, j, k), domain, agent, costs, cost_range=(0, 0))


def _one_to_one(m: int) -> Iterator[Constraint]:
    table = np.where(np.eye(m, dtype=bool), math.inf, 0.0)
    for i, j in combinations(range(m), 2):
        yield Constraint(f"differ_{i}_{j}", (f"x{i}", f"x{j}"), table, known_to="all", cost_range=(0, 0))


def _stability(params: StableMatchingParams) -> Iterator[Constraint]:
    m, values = params.m, params.values
    weight, finite = (1, (0, 1)) if params.form == "RPSX" else (math.inf, (0, 0))
    of_i, of_u = np.arange(values)[:, None], np.arange(values)[None, :]  # the last two axes: P of i, P of u
    first, second = agent_names(m)
    for i, j in permutations(range(m), 2):
        for u, v in permutations(range(m), 2):
            unstable = is_unstable(
                params.mode,
                prefers(of_i, values, u, v),
                prefers(of_i, values, v, u),
                prefers(of_u, values, i, j),
                prefers(of_u, values, j, i),
            )
            table = np.zeros((m, m, values, values))
            table[v, u] = np.where(unstable, weight, 0)
            scope = (f"x{i}", f"x{j}", secret_name(first[i], u, v), secret_name(second[u], i, j))
            yield Constraint(f"stable_{i}_{u}_{j}_{v}", scope, table, known_to="all", cost_range=finite)


def _preferences(params: StableMatchingParams, seed: int) -> Profiles:
    """Return the true preferences, shape (2, m, pairs)."""
    m, n = params.m, len(pairs(params.m))
    names = [agent for side in agent_names(m) for agent in side]
    if params.form == "STM":
        ranks = [_draw_ranks(m, params.values, Stream(seed, "stable-matching", "order", name)) for name in names]
        return profiles_of(np.array(ranks).reshape(2, m, m), params.values)
    streams = [Stream(seed, "stable-matching", "preferences", name) for name in names]
    draws = [[stream.integer(params.values) for _ in range(n)] for stream in streams]
    return np.array(draws, dtype=np.int8).reshape(2, m, n)


def _draw_ranks(m: int, values: int, stream: Stream) -> list[int]:
    """Return ranks from an order that is uniform over the strict orders, with three values over the weak ones."""
    # The weak orders of n: k of them come first, in any of C(n, k) ways, and the rest is weakly ordered.
    counts = [1]
    for n in range(1, m + 1):
        counts.append(sum(math.comb(n, k) * counts[n - k] for k in range(1, n + 1)))
    ranks = [0] * m
    left = list(range(m))
    while left:
        rank, n, tied = m - len(left), len(left), 1
        if values == 3:
            draw = stream.integer(counts[n])
            while (draw := draw - math.comb(n, tied) * counts[n - tied]) >= 0:
                tied += 1
        for _ in range(tied):
            ranks[left.pop(stream.integer(len(left)))] = rank
    return ranks


def _privacy(params: StableMatchingParams, agents: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Return the section that prices every value of every preference, for all peers alike."""
    section = {}
    for agent in agents:
        stream = Stream(seed, "stable-matching", "prices", agent)
        prices = [
            {
                "entry": {secret_name(agent, j, k): value},
                "price": _MEAN_PRICE if params.price == "constant" else stream.integer(2 * _MEAN_PRICE + 1),
            }
            for j, k in pairs(params.m)
            for value in range(params.values)
        ]
        section[agent] = {"reward": math.inf, "range": "hard", "secrets": prices}
    return {"agents": section}
