"""The model: a problem, and what lost privacy costs each of its agents.

Doshi, Matsui, Silaghi, Yokoo and Zanker, "Distributed Private Constraint Optimization", Definition 2: (A, X, D, C, P,
U) is our `Problem`, whose constraints have owners, with a `Stake` for each agent that has something to lose. Which
entries of its private functions an agent holds for secrets is part of the stake; the others cost nothing to reveal.

A stake travels with its problem as the section `privacy` of a file, which `privacy.dpcop.section` describes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NoReturn, get_args

import numpy as np

from agentsim.dcop.formats.yaml_nodes import shorten
from agentsim.dcop.problem import Cost, Problem
from agentsim.errors import UserError
from agentsim.runtime.streams import Stream
from privacy.dpcop import section
from privacy.dpcop.prices import AdditivePrices, MaxPrices, SetPrices, check_monotone
from privacy.dpcop.stakes import (
    MAX_SECRETS,
    Entries,
    Secret,
    Stake,
    entry_name,
    possible_fault,
    private_scopes,
    private_tables,
)

__all__ = ["Dpcop", "Policy", "Pricing", "Secret", "Stake", "priced", "private_scopes", "private_tables"]

Pricing = Literal["full", "bits", "probability"]
Policy = Literal["zero", "own_min", "own_tuple", "global_lb"]

_PRICINGS: Final = get_args(Pricing)
_POLICIES: Final = get_args(Policy)


@dataclass(frozen=True, eq=False)
class Dpcop:
    """A distributed private constraint optimisation problem.

    The entries of secrets are put into the problem's order of variables, with the very values of their domains.

    Args:
        problem: in its uncompiled form: constraints are with their owners.
        stakes: by agent; an agent without one has nothing to lose and an infinite reward.
        pricing: what an observer prices: whole secrets (the paper's benchmarks), bits, or probabilities.
        policy: how a rational agent bounds the cost (quality) of the solution it expects: 0, the least of its own
            private costs, its own cost of the tuple at hand, or a bound on everybody's cost. The paper leaves it open.
            None: `zero` when the problem minimises, `own_min` when it maximises.
        coalition: whether peers share what they learn.

    Raises:
        UserError: one line that names the place as in the section of a file.
    """

    problem: Problem
    stakes: Mapping[str, Stake]
    pricing: Pricing = "full"
    policy: Policy | None = None
    coalition: bool = False

    def __post_init__(self) -> None:
        if self.pricing not in _PRICINGS:
            _fail("privacy.pricing", f"{shorten(str(self.pricing))} is not one of {', '.join(_PRICINGS)}")
        if self.policy is not None and self.policy not in _POLICIES:
            _fail("privacy.policy", f"{shorten(str(self.policy))} is not one of {', '.join(_POLICIES)}")
        if not isinstance(self.coalition, bool):
            _fail("privacy.coalition", "must be true or false")
        if sum(len(stake.secrets) for stake in self.stakes.values()) > MAX_SECRETS:
            _fail("privacy.agents", f"more than {MAX_SECRETS} secrets")
        agents = frozenset(self.problem.agents)
        entries = Entries(self.problem)
        stakes = {}
        for agent, stake in self.stakes.items():
            place = section.under("privacy.agents", agent)
            if agent not in agents:
                _fail(place, "unknown agent")
            stakes[agent] = replace(stake, secrets=_read_secrets(agent, stake, entries, place))
            self._check_price(agent, stake, agents, place)
            self._check_reward(stake, f"{place}.reward")
        self._check_possible()
        object.__setattr__(self, "stakes", stakes)

    def _check_price(self, agent: str, stake: Stake, agents: frozenset[str], place: str) -> None:
        names = [secret.name for secret in stake.secrets]
        known = frozenset(names)
        tables: Mapping[str, Iterable[str]]
        match stake.price:
            case AdditivePrices(prices) | MaxPrices(prices):
                tables = prices
            case SetPrices(sets):
                tables = {peer: frozenset().union(*table) for peer, table in sets.items()}
            case _:
                peers = [peer for peer in self.problem.agents if peer != agent]
                try:
                    check_monotone(stake.price, peers, names, in_part=self.pricing != "full")
                except ValueError as error:
                    _fail(place, str(error))
                return
        for peer, priced_names in tables.items():
            if fault := section.peer_fault(agents, agent, peer):
                _fail(place, f"a price for {shorten(peer)}: {fault}")
            for name in priced_names:
                if name not in known:
                    _fail(place, f"a price for the unknown secret {shorten(name)}")

    def _check_reward(self, stake: Stake, place: str) -> None:
        if math.isnan(stake.reward):
            _fail(place, "is not a number")
        if stake.reward < 0:
            _fail(place, f"{stake.reward} is negative")
        if stake.reward != math.inf and self.problem.objective == "max":
            _fail(place, "a problem that maximises has no rewards: its quality is what agents gain")

    def _check_possible(self) -> None:
        if all(stake.possible is None for stake in self.stakes.values()):
            return
        tables = private_tables(self.problem)
        for agent, stake in self.stakes.items():
            if fault := possible_fault(self.problem, tables.get(agent, {}), stake.possible):
                _fail(f"{section.under('privacy.agents', agent)}.range", fault)

    @classmethod
    def of(cls, problem: Problem) -> Dpcop | None:
        """Return the model that a problem's section `privacy` describes, or None where there is no such section.

        Raises:
            UserError: one line that names the place inside the section.
        """
        data = problem.extras.get("privacy")
        if data is None:
            return None
        stakes, settings = section.read(problem, data)
        return cls(problem, stakes, **settings)

    @property
    def resolved_policy(self) -> Policy:
        """The policy, the default one where none is given."""
        if self.policy is not None:
            return self.policy
        return "zero" if self.problem.objective == "min" else "own_min"

    def section(self) -> dict[str, Any]:
        """Return the section `privacy` of a file; UserError where a price is a Python function."""
        settings: dict[str, Any] = {"pricing": self.pricing, "coalition": self.coalition}
        if self.policy is not None:
            settings["policy"] = self.policy
        return section.write(self.problem, self.stakes, settings)

    def attached(self) -> Problem:
        """Return the problem with this model as its section `privacy`; UserError as `section`."""
        return replace(self.problem, extras={**self.problem.extras, "privacy": self.section()})


def priced(
    problem: Problem,
    *,
    seed: int = 0,
    mean: int = 50,
    reward: float = math.inf,
    agents: Sequence[str] | None = None,
    possible: tuple[Cost, Cost] | Literal["hard"] | None = None,
    **settings: Any,  # noqa: ANN401  # the fields of Dpcop
) -> Dpcop:
    """Return the model in which every private entry is a secret with a random price, the same for every peer.

    Args:
        problem: any.
        seed: prices of one agent come from a stream of its own.
        mean: prices are whole numbers, uniform on 0..2 * mean.
        reward: of every agent.
        agents: who has secrets; by default everybody that has private functions.
        possible: see `Stake`, the same for every agent.
        settings: pricing, policy and coalition of the model.

    Raises:
        UserError: more than `MAX_SECRETS` private entries, or what `Dpcop` refuses.
        ValueError: a negative mean.
    """
    if mean < 0:
        raise ValueError(f"mean {mean}: must be a whole number from 0 up")
    tables = private_tables(problem)
    chosen = tuple(tables) if agents is None else tuple(agents)
    n_secrets = sum(table.size for agent in chosen for table in tables.get(agent, {}).values())
    if n_secrets > MAX_SECRETS:
        _fail("privacy.agents", f"{n_secrets} private costs, more than the {MAX_SECRETS} secrets allowed")
    stakes = {}
    for agent in chosen:
        stream = Stream(seed, "price", agent)
        secrets = []
        for scope, table in tables.get(agent, {}).items():
            domains = [problem.variables[name].domain.values for name in scope]
            for cell in np.ndindex(table.shape):
                entry = {name: domain[i] for name, domain, i in zip(scope, domains, cell, strict=True)}
                secrets.append(Secret(entry_name(entry), agent, entry))
        prices = {secret.name: stream.integer(2 * mean + 1) for secret in secrets}
        peers = [peer for peer in problem.agents if peer != agent]
        stakes[agent] = Stake(tuple(secrets), AdditivePrices(dict.fromkeys(peers, prices)), reward, possible)
    return Dpcop(problem, stakes, **settings)


def _read_secrets(agent: str, stake: Stake, entries: Entries, place: str) -> tuple[Secret, ...]:
    """Return an agent's secrets with their entries in order, refusing what names no entry of its own, or one twice."""
    names: dict[str, int] = {}
    cells: dict[frozenset[Any], int] = {}
    secrets = []
    for i, secret in enumerate(stake.secrets):
        at = f"{place}.secrets[{i}]"
        if secret.agent != agent:
            _fail(at, f"a secret of {shorten(secret.agent)}")
        try:
            entry = entries.read(agent, secret.entry)
        except ValueError as error:
            _fail(f"{at}.entry", str(error))
        if not secret.name:
            _fail(at, "has no name")
        if names.setdefault(secret.name, i) != i:
            _fail(at, f"the name {shorten(secret.name)} is that of secrets[{names[secret.name]}] too")
        cell = frozenset(entry.items())
        if cells.setdefault(cell, i) != i:
            _fail(f"{at}.entry", f"is that of secrets[{cells[cell]}] too")
        secrets.append(replace(secret, entry=entry))
    return tuple(secrets)


def _fail(place: str, cause: str) -> NoReturn:
    raise UserError(f"{place}: {cause}")
