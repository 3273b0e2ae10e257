"""The `privacy` section of a problem file: read into stakes, and written from them.

    privacy:
      pricing: full                    # full (default) | bits | probability: what an observer prices
      policy: zero                     # zero | own_min | own_tuple | global_lb: how agents bound what is to come
      coalition: false                 # do peers share what they learn?
      agents:
        alice:
          reward: 200                  # of a solution; default .inf
          range: [0, 1000]             # public bounds of each private cost of alice, or `hard`: 0 or forbidden
          secrets:
          - {name: early, entry: {x1: T1}, price: 30}          # to every peer
          - {entry: {x1: T2}, price: {bob: 50}}                # by peer, others 0; name: x1=T2
          combine: sum                 # sum (default) | max | a list of sets, which replaces the prices of secrets:
          # [{peer: bob, secrets: [early, x1=T2], price: 100}]

It is data from elsewhere: types are checked, sizes bounded, and what is wrong is named by its place in the section.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from agentsim.dcop.formats.yaml_nodes import number, shorten
from agentsim.dcop.problem import Cost, Problem, Value
from agentsim.errors import UserError
from privacy.dpcop.prices import MAX_PRICE, AdditivePrices, MaxPrices, SetPrices, price_fault
from privacy.dpcop.stakes import MAX_SECRETS, Secret, Stake, entry_name

MAX_PRICES: Final = 5_000_000
"""The most prices of one agent, where they differ by peer: one for each peer and secret."""
MAX_SETS: Final = 1_000
"""The most sets that one agent may list for one peer."""
MAX_SET_SIZE: Final = 1_000
"""The most secrets of one listed set."""

_TOP: Final = ("pricing", "policy", "coalition", "agents")
_AGENT: Final = ("reward", "range", "secrets", "combine")
_SECRET: Final = ("name", "entry", "price")
_SET: Final = ("peer", "secrets", "price")


def peer_fault(agents: frozenset[str], agent: str, peer: str) -> str:
    """Return why `peer` cannot learn a secret of `agent`, or ""."""
    if peer == agent:
        return "nobody hides a secret from itself"
    return "" if peer in agents else "unknown agent"


def under(place: str, key: str) -> str:
    """Return the place of `key` under `place`, on one line and not much longer, whatever the key is."""
    return f"{place}.{key if len(key) <= 60 and key.isprintable() else shorten(key)}"


def read(problem: Problem, data: object) -> tuple[dict[str, Stake], dict[str, Any]]:
    """Return the stakes of a section, and its settings (pricing, policy, coalition) as far as it has them.

    Structure, numbers and names of agents and secrets are checked here, the rest by `Dpcop`.

    Raises:
        UserError: one line that names the place.
    """
    return _Reader(problem).section(data)


class _Reader:
    def __init__(self, problem: Problem) -> None:
        self._agents = frozenset(problem.agents)
        self._all_agents = problem.agents
        self._n_secrets = 0

    def section(self, data: object) -> tuple[dict[str, Stake], dict[str, Any]]:
        top = _mapping(data, "privacy", _TOP)
        stakes: dict[str, Stake] = {}
        for agent, body in _mapping(top.get("agents", {}), "privacy.agents").items():
            place = under("privacy.agents", agent)
            if agent not in self._agents:
                _fail(place, "unknown agent")
            stakes[agent] = self._stake(agent, body, place)
        return stakes, {key: top[key] for key in ("pricing", "policy", "coalition") if top.get(key) is not None}

    def _stake(self, agent: str, data: object, place: str) -> Stake:
        body = _mapping(data, place, _AGENT)
        reward: float = math.inf
        if "reward" in body:
            reward = _number(body["reward"], f"{place}.reward")
        possible = _range(body["range"], f"{place}.range") if "range" in body else None
        rows = _list(body.get("secrets", []), f"{place}.secrets")
        self._n_secrets += len(rows)
        if self._n_secrets > MAX_SECRETS:
            _fail(f"{place}.secrets", f"more than {MAX_SECRETS} secrets")
        combine = body.get("combine", "sum")
        secrets, fixed, by_peer = self._secrets(agent, rows, f"{place}.secrets", priced=not isinstance(combine, list))
        if isinstance(combine, list):
            names = frozenset(secret.name for secret in secrets)
            return Stake(secrets, self._sets(agent, combine, names, f"{place}.combine"), reward, possible)
        if combine not in ("sum", "max"):
            _fail(f"{place}.combine", f"{shorten(str(combine))} is not sum, max or a list of sets")
        prices = self._by_peer(agent, fixed, by_peer, place)
        return Stake(secrets, (AdditivePrices if combine == "sum" else MaxPrices)(prices), reward, possible)

    def _secrets(
        self, agent: str, rows: list[Any], place: str, *, priced: bool
    ) -> tuple[tuple[Secret, ...], dict[str, Cost], dict[str, dict[str, Cost]]]:
        """Return secrets, the prices for all peers by secret, and the prices for some by peer and secret."""
        secrets = []
        fixed: dict[str, Cost] = {}
        by_peer: dict[str, dict[str, Cost]] = {}
        for i, row in enumerate(rows):
            at = f"{place}[{i}]"
            body = _mapping(row, at, _SECRET)
            if "entry" not in body:
                _fail(at, "has no entry")
            entry: dict[str, Value] = {}
            for variable, value in _mapping(body["entry"], f"{at}.entry").items():
                if not isinstance(value, bool | int | float | str):
                    _fail(under(f"{at}.entry", variable), "is not a value")
                entry[variable] = value
            name = _text(body["name"], f"{at}.name") if "name" in body else entry_name(entry)
            secrets.append(Secret(name, agent, entry))
            if "price" not in body:
                if priced:
                    _fail(at, "has no price")
            elif isinstance(body["price"], dict):
                for peer, price in _mapping(body["price"], f"{at}.price").items():
                    where = under(f"{at}.price", peer)
                    self._check_peer(agent, peer, where)
                    by_peer.setdefault(peer, {})[name] = _price(price, where)
            else:
                fixed[name] = _price(body["price"], f"{at}.price")
        return tuple(secrets), fixed, by_peer

    def _check_peer(self, agent: str, peer: str, place: str) -> None:
        if fault := peer_fault(self._agents, agent, peer):
            _fail(place, fault)

    def _by_peer(
        self, agent: str, fixed: dict[str, Cost], by_peer: dict[str, dict[str, Cost]], place: str
    ) -> dict[str, dict[str, Cost]]:
        """Return prices by peer and secret; peers without a price of their own share one table."""
        if len(by_peer) * len(fixed) > MAX_PRICES:
            _fail(f"{place}.secrets", f"more than {MAX_PRICES} prices")
        peers = [peer for peer in self._all_agents if peer != agent]
        return {peer: fixed | by_peer[peer] if peer in by_peer else fixed for peer in peers}

    def _sets(self, agent: str, rows: list[Any], names: frozenset[str], place: str) -> SetPrices:
        tables: dict[str, dict[frozenset[str], Cost]] = {}
        for i, row in enumerate(rows):
            at = f"{place}[{i}]"
            body = _mapping(row, at, _SET)
            for key in _SET:
                if key not in body:
                    _fail(at, f"has no {key}")
            peer = _text(body["peer"], f"{at}.peer")
            self._check_peer(agent, peer, f"{at}.peer")
            listed = [_text(name, f"{at}.secrets") for name in _list(body["secrets"], f"{at}.secrets")]
            secrets = frozenset(listed)
            for name in listed:
                if name not in names:
                    _fail(f"{at}.secrets", f"unknown secret {shorten(name)}")
            if not secrets or len(secrets) != len(listed) or len(secrets) > MAX_SET_SIZE:
                _fail(f"{at}.secrets", f"must name from 1 to {MAX_SET_SIZE} secrets, each once")
            table = tables.setdefault(peer, {})
            if secrets in table:
                _fail(f"{at}.secrets", f"this set is priced for {peer} already")
            table[secrets] = _price(body["price"], f"{at}.price")
            if len(table) > MAX_SETS:
                _fail(place, f"more than {MAX_SETS} sets for {peer}")
        try:
            return SetPrices(tables)
        except ValueError as error:
            _fail(place, str(error))


def write(problem: Problem, stakes: Mapping[str, Stake], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section as plain maps, lists, numbers and strings.

    Raises:
        UserError: a price is a Python function, which cannot be written.
    """
    agents: dict[str, Any] = {}
    for agent, stake in stakes.items():
        body: dict[str, Any] = {}
        if stake.reward != math.inf:
            body["reward"] = stake.reward
        if stake.possible is not None:
            body["range"] = "hard" if stake.possible == "hard" else list(stake.possible)
        body["secrets"] = [{"name": s.name, "entry": dict(s.entry)} for s in stake.secrets]
        match stake.price:
            case AdditivePrices(prices) | MaxPrices(prices):
                peers = [peer for peer in problem.agents if peer != agent]
                for row in body["secrets"]:
                    row["price"] = _written_price(row["name"], prices, peers)
                body["combine"] = "sum" if isinstance(stake.price, AdditivePrices) else "max"
            case SetPrices(tables):
                body["combine"] = [
                    {"peer": peer, "secrets": [s.name for s in stake.secrets if s.name in secrets], "price": price}
                    for peer, table in tables.items()
                    for secrets, price in table.items()
                ]
            case _:
                _fail(under("privacy.agents", agent), "its price is a Python function and cannot be written")
        agents[agent] = body
    return {**settings, "agents": agents}


def _written_price(name: str, prices: Mapping[str, Mapping[str, Cost]], peers: list[str]) -> Cost | dict[str, Cost]:
    """Return one number where all peers cost the same, else the numbers by peer that are not 0."""
    by_peer = {peer: prices[peer].get(name, 0) if peer in prices else 0 for peer in peers}
    if len(set(by_peer.values())) <= 1:
        return next(iter(by_peer.values()), 0)
    return {peer: price for peer, price in by_peer.items() if price}


def _fail(place: str, cause: str) -> NoReturn:
    raise UserError(f"{place}: {cause}")


def _mapping(value: object, place: str, known: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a map with text keys, of which none is unknown if the known ones are given."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        _fail(place, "must be a map")
    for key in value:
        if known and key not in known:
            _fail(place, f"unknown key {shorten(key)} (known: {', '.join(known)})")
    return value


def _list(value: object, place: str) -> list[Any]:
    if not isinstance(value, list):
        _fail(place, "must be a list")
    return value


def _text(value: object, place: str) -> str:
    """Return a name; YAML reads one that is made of digits as a number."""
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        _fail(place, "is not a name")
    return str(value)


def _number(value: object, place: str) -> Cost:
    """Return a number; YAML reads some ways of writing one, such as 1e3 and inf, as text.

    Whole numbers too large to be exact become floats, which a log can hold whatever their size.
    """
    found = number(value) if isinstance(value, str) else value
    if isinstance(found, bool) or not isinstance(found, int | float):
        _fail(place, f"{shorten(str(value))} is not a number")
    if isinstance(found, int) and abs(found) <= MAX_PRICE:
        return found
    try:
        found = found if isinstance(found, float) else float(found)
    except OverflowError:
        _fail(place, "is too large")
    if math.isnan(found):
        _fail(place, f"{shorten(str(value))} is not a number")
    return found


def _price(value: object, place: str) -> Cost:
    price = _number(value, place)
    if fault := price_fault(price):
        _fail(place, fault)
    return price


def _range(value: object, place: str) -> Any:  # noqa: ANN401  # checked by `Dpcop`, wherever it comes from
    if isinstance(value, list):
        return tuple(_number(bound, f"{place}[{i}]") for i, bound in enumerate(value))
    return value
