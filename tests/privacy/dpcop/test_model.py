"""The model of a DPCOP: the paper's example, the section of a file and its way back, and everything that is refused."""

import copy
import math
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import agentsim
from agentsim import Constraint, Domain, Problem, UserError, Variable
from agentsim.dcop.formats import dump_bytes, load_bytes
from agentsim.dcop.problem import Value
from agentsim.runtime.streams import generator
from agentsim.testing import random_problem
from privacy.dpcop import (
    AdditivePrices,
    Dpcop,
    KnownSecrets,
    MaxPrices,
    Price,
    Probabilities,
    Revelation,
    Secret,
    SetPrices,
    Stake,
    priced,
    private_scopes,
    private_tables,
    section,
)
from solvers.synchbb import SynchBB

MEETING = Path(__file__).parents[3] / "scenarios" / "problems" / "meeting_of_two.yaml"
DATES = Domain("dates", ("T1", "T2"))


def meeting(privacy: Any = None, objective: str = "min") -> Problem:
    """The paper's problem, with another section, and with costs negated where it maximises."""
    sign = 1 if objective == "min" else -1
    return Problem.build(
        [Variable("x1", DATES, "alice", sign * np.array([600, 800]))],
        [Constraint("phi_bob", ("x1",), sign * np.array([600, 300]), owner="bob")],
        agents=("alice", "bob", "carol"),
        objective=objective,  # type: ignore[arg-type]
        extras={} if privacy is None else {"privacy": privacy},
    )


def alices(**body: Any) -> dict[str, Any]:
    """A section in which alice has two secrets, and `body` else."""
    return {"agents": {"alice": {"secrets": [secret("T1"), secret("T2")], **body}}}


def secret(date: Any, **more: Any) -> dict[str, Any]:
    return {"entry": {"x1": date}, "price": 1, **more}


def known(peer: str, *secrets: str) -> KnownSecrets:
    return KnownSecrets({peer: frozenset(secrets)})


def of(problem: Problem) -> Dpcop:
    dpcop = Dpcop.of(problem)
    assert dpcop is not None
    return dpcop


def alice_stake(price: Price, **more: Any) -> Stake:
    return Stake((Secret("T1", "alice", {"x1": "T1"}), Secret("T2", "alice", {"x1": "T2"})), price, **more)


# --- the paper's example --------------------------------------------------------------------------------------------


def test_the_papers_example() -> None:
    problem = agentsim.load(MEETING)
    dpcop = of(problem)
    assert problem.agents == ("alice", "bob")
    assert {a: {s: t.tolist() for s, t in own.items()} for a, own in private_tables(problem).items()} == {
        "alice": {("x1",): [600, 800]},
        "bob": {("x1",): [600, 300]},
    }
    assert {agent: stake.reward for agent, stake in dpcop.stakes.items()} == {"alice": 200, "bob": 300}
    assert (dpcop.pricing, dpcop.resolved_policy, dpcop.coalition) == ("full", "zero", False)
    alice, bob = dpcop.stakes["alice"].price, dpcop.stakes["bob"].price
    assert [alice(known("bob", *s)) for s in ((), ("T1",), ("T2",), ("T1", "T2"))] == [0, 30, 50, 80]
    assert [bob(known("alice", *s)) for s in ((), ("T1",), ("T2",), ("T1", "T2"))] == [0, 40, 20, 60]
    assert dpcop.stakes["bob"].secrets[1] == Secret("T2", "bob", {"x1": "T2"})
    assert dpcop.stakes["bob"].secrets[1].scope == ("x1",)


def test_a_problem_without_a_section_is_no_dpcop() -> None:
    assert Dpcop.of(meeting()) is None
    assert of(meeting({})).stakes == {}


# --- private functions ----------------------------------------------------------------------------------------------


def test_private_functions_over_the_same_variables_are_summed_in_the_problems_order() -> None:
    one, two = Domain("one", (0, 1)), Domain("two", ("a", "b", "c"))
    ab = np.arange(6).reshape(2, 3)
    problem = Problem.build(
        [Variable("x", one, "amy"), Variable("y", two, "ben", [1, 2, 3]), Variable("z", one, "ben")],
        [
            Constraint("c1", ("x", "y"), ab, owner="cid"),
            Constraint("c2", ("y", "x"), 10 * ab.T, owner="cid"),
            Constraint("shared", ("x", "y"), ab),
            Constraint("public", ("x",), [1, 2], known_to="all"),
            Constraint("inside", ("z", "y"), ab),
            Constraint("named", ("y",), [1, 1, 1], known_to=("amy",)),
        ],
    )
    tables = private_tables(problem)
    assert private_scopes(problem) == {agent: list(own) for agent, own in tables.items()}
    assert private_scopes(problem) == {"amy": [("y",)], "ben": [("y",), ("y", "z")], "cid": [("x", "y")]}
    assert tables["cid"]["x", "y"].tolist() == (11 * ab).tolist()
    assert tables["ben"]["y", "z"].tolist() == ab.T.tolist()


def test_an_entry_is_put_in_the_problems_order_with_the_domains_values() -> None:
    numbers = Domain("numbers", (1, 2))
    problem = Problem.build(
        [Variable("x", numbers, "amy"), Variable("y", Domain("flags", (True, False)), "ben")],
        [Constraint("c", ("y", "x"), [[1, 2], [3, 4]], owner="amy")],
    )
    entry: dict[str, Value] = {"y": False, "x": "2"}
    dpcop = Dpcop(problem, {"amy": Stake((Secret("s", "amy", entry),), AdditivePrices())})
    stored = dpcop.stakes["amy"].secrets[0]
    assert list(stored.entry.items()) == [("x", 2), ("y", False)]
    assert private_tables(problem)["amy"][stored.scope].shape == (2, 2)
    with pytest.raises(UserError, match=r"secrets\[0\]\.entry: y has no value '1'"):
        Dpcop(problem, {"amy": Stake((Secret("s", "amy", {"x": 1, "y": 1}),), AdditivePrices())})


# --- random prices --------------------------------------------------------------------------------------------------


def test_every_private_entry_gets_a_price() -> None:
    problem = random_problem(generator(3, "problem"))
    dpcop = priced(problem, seed=1, mean=20, coalition=True, pricing="bits")
    assert dpcop.coalition
    assert dpcop.pricing == "bits"
    for agent, tables in private_tables(problem).items():
        stake = dpcop.stakes[agent]
        assert len(stake.secrets) == sum(table.size for table in tables.values())
        assert isinstance(stake.price, AdditivePrices)
        assert stake.price.prices.keys() == set(problem.agents) - {agent}
        tables_by_peer = list(stake.price.prices.values())
        assert all(table == tables_by_peer[0] for table in tables_by_peer)
        assert all(0 <= price <= 40 and price == int(price) for price in tables_by_peer[0].values())


def test_random_prices_have_their_mean_and_their_own_streams() -> None:
    values = Domain("values", tuple(range(1_000)))
    wide = Problem.build([Variable(name, values, unary=np.zeros(1_000)) for name in ("a", "b", "c")])
    prices = list(drawn(priced(wide, seed=5), "a").values())
    assert (min(prices), max(prices)) == (0, 100)
    assert np.mean(prices) == pytest.approx(50, abs=4 * 29.2 / math.sqrt(1_000))
    assert drawn(priced(wide, seed=5, agents=["c"]), "c") == drawn(priced(wide, seed=5), "c")
    assert drawn(priced(wide, seed=5), "c") != drawn(priced(wide, seed=6), "c")
    assert [*priced(wide, agents=["c"]).stakes] == ["c"]


def drawn(dpcop: Dpcop, agent: str) -> dict[str, float]:
    price = dpcop.stakes[agent].price
    assert isinstance(price, AdditivePrices)
    return dict(next(iter(price.prices.values())))


def test_random_prices_that_cannot_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="mean -1: must be a whole number from 0 up"):
        priced(meeting(), mean=-1)
    with pytest.raises(UserError, match=r"privacy\.agents\.zoe: unknown agent"):
        priced(meeting(), agents=["zoe"])
    monkeypatch.setattr("privacy.dpcop.model.MAX_SECRETS", 3)
    with pytest.raises(UserError, match=r"privacy\.agents: 4 private costs, more than the 3 secrets allowed"):
        priced(meeting())


def test_random_prices_take_rewards_and_what_is_possible() -> None:
    stake = priced(meeting(), reward=900, possible=(0, 1000)).stakes["bob"]
    assert (stake.reward, stake.possible) == (900, (0, 1000))


# --- there and back -------------------------------------------------------------------------------------------------

FULL = {
    "pricing": "bits",
    "coalition": True,
    "policy": "own_tuple",
    "agents": {
        "alice": {
            "reward": 2.5,
            "range": [0, 1000],
            "secrets": [
                {"name": "early", "entry": {"x1": "T1"}, "price": 30},
                {"name": "x1=T2", "entry": {"x1": "T2"}, "price": {"bob": 0.125}},
            ],
            "combine": "max",
        },
        "bob": {
            "secrets": [{"name": "T1", "entry": {"x1": "T1"}}, {"name": "T2", "entry": {"x1": "T2"}}],
            "combine": [
                {"peer": "alice", "secrets": ["T1"], "price": 3},
                {"peer": "alice", "secrets": ["T1", "T2"], "price": 100},
            ],
        },
    },
}


def test_a_section_comes_back_as_it_was() -> None:
    dpcop = of(meeting(FULL))
    assert dpcop.section() == FULL
    assert of(dpcop.attached()).section() == FULL
    assert dpcop.resolved_policy == "own_tuple"
    alice, bob = dpcop.stakes["alice"].price, dpcop.stakes["bob"].price
    assert isinstance(alice, MaxPrices)
    assert alice(KnownSecrets({"bob": frozenset({"early", "x1=T2"}), "carol": frozenset({"x1=T2"})})) == 30
    assert isinstance(bob, SetPrices)
    assert [bob(known("alice", *s)) for s in (("T2",), ("T1",), ("T1", "T2"))] == [0, 3, 100]


@pytest.mark.parametrize("suffix", [".yaml", ".amdcop"])
def test_a_section_survives_a_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"problem{suffix}"
    notes = agentsim.save(meeting(FULL), path)
    assert any("`privacy`" in note for note in notes) == (suffix == ".yaml")
    again = agentsim.load(path)
    if suffix == ".yaml":  # only agents that own or know something are declared to a reader
        assert again.agents == ("alice", "bob")
        again = replace(again, agents=("alice", "bob", "carol"))
    assert again.extras["privacy"] == FULL
    assert of(again).section() == FULL


@pytest.mark.parametrize("redact", [False, True])
def test_a_section_survives_a_log(tmp_path: Path, redact: bool) -> None:
    path = tmp_path / "run.amlog"
    agentsim.simulate(meeting(FULL), SynchBB, log=path, redact=redact)
    problem = agentsim.open_log(path).problem
    assert problem.extras["privacy"] == FULL
    assert of(problem).section() == FULL


@st.composite
def models(draw: st.DrawFn) -> Dpcop:
    problem = random_problem(generator(draw(st.integers(0, 500)), "problem"), max_variables=4)
    settings: dict[str, Any] = {
        "pricing": draw(st.sampled_from(["full", "bits", "probability"])),
        "policy": draw(st.sampled_from([None, "zero", "own_min", "own_tuple", "global_lb"])),
        "coalition": draw(st.booleans()),
    }
    drawn = priced(problem, seed=draw(st.integers(0, 9)), mean=draw(st.integers(0, 9)), **settings)
    numbers = st.integers(0, 9) | st.floats(0, 9)
    for agent, stake in drawn.stakes.items():
        names, peers = [s.name for s in stake.secrets], [p for p in problem.agents if p != agent]
        table = st.dictionaries(st.sampled_from(names), numbers, max_size=3)
        by_peer = st.dictionaries(st.sampled_from(peers), table) if peers else st.just({})
        sets = st.dictionaries(st.frozensets(st.sampled_from(names), min_size=1, max_size=1), numbers, max_size=3)
        by_set = st.dictionaries(st.sampled_from(peers), sets) if peers else st.just({})
        price = draw(st.one_of(by_peer.map(AdditivePrices), by_peer.map(MaxPrices), by_set.map(SetPrices)))
        reward = draw(st.just(math.inf) | numbers) if problem.objective == "min" else math.inf
        drawn = replace(drawn, stakes={**drawn.stakes, agent: replace(stake, price=price, reward=reward)})
    return drawn


@settings(max_examples=40)
@given(models())
def test_any_model_survives_the_packed_form(dpcop: Dpcop) -> None:
    again = of(load_bytes(dump_bytes(dpcop.attached())))
    assert again.section() == dpcop.section()
    for agent, stake in dpcop.stakes.items():
        assert again.stakes[agent].secrets == stake.secrets
        everything = KnownSecrets({p: frozenset(s.name for s in stake.secrets) for p in dpcop.problem.agents})
        assert again.stakes[agent].price(everything) == pytest.approx(stake.price(everything))
        assert again.stakes[agent].reward == stake.reward


@pytest.mark.parametrize(
    ("text", "price"), [("30", 30), ("1e3", 1000), ("0.5", 0.5), ('"7"', 7), ("{bob: 2}", 2), ("1_000", 1000)]
)
def test_ways_to_write_a_number_in_a_file(tmp_path: Path, text: str, price: float) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(MEETING.read_text().replace("price: {bob: 30}", f"price: {text}"))
    assert of(agentsim.load(file)).stakes["alice"].price(known("bob", "T1")) == price


@pytest.mark.parametrize(("text", "reward"), [(".inf", math.inf), ("inf", math.inf), ("0", 0), ("1e3", 1000)])
def test_ways_to_write_a_reward_in_a_file(tmp_path: Path, text: str, reward: float) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(MEETING.read_text().replace("reward: 200", f"reward: {text}"))
    assert of(agentsim.load(file)).stakes["alice"].reward == reward


NUMBERS = """
domains: {slots: {values: [1, 2]}}
variables: {x1: {domain: slots, cost_function: 3 * x1}}
constraints:
  mine: {type: extensional, variables: x1, owner: "2", values: {5: 1, 6: 2}}
distribution_hints: {must_host: {1: [x1]}}
privacy:
  agents:
    1:
      secrets: [{name: 1, entry: {x1: 1}}, {entry: {x1: "2"}}]
      combine: [{peer: 2, secrets: [1, x1=2], price: 9}]
    2:
      secrets: [{entry: {x1: 2}, price: {1: 40}}]
"""


def test_names_that_look_like_numbers(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(NUMBERS)
    dpcop = of(agentsim.load(tmp_path / "p.yaml"))
    assert [(s.name, dict(s.entry)) for s in dpcop.stakes["1"].secrets] == [("1", {"x1": 1}), ("x1=2", {"x1": 2})]
    assert dpcop.stakes["1"].price(known("2", "1", "x1=2")) == 9
    assert dpcop.stakes["2"].price(known("1", "x1=2")) == 40


def test_names_and_prices_by_peer_left_out() -> None:
    dpcop = of(meeting({"agents": {"alice": {"secrets": [secret("T1", price={"bob": 5}), secret("T2")]}}}))
    price = dpcop.stakes["alice"].price
    assert [price(known(peer, "x1=T1", "x1=T2")) for peer in ("bob", "carol")] == [6, 1]
    assert dpcop.section()["agents"]["alice"]["secrets"][0]["price"] == {"bob": 5}


def test_listed_sets_replace_the_secrets_own_prices() -> None:
    sets = [{"peer": "bob", "secrets": ["x1=T2"], "price": 7}]
    price = of(meeting(alices(combine=sets))).stakes["alice"].price
    assert price(known("bob", "x1=T1", "x1=T2")) == 7


def test_a_function_cannot_be_written() -> None:
    dpcop = Dpcop(meeting(), {"alice": alice_stake(lambda r: float(len(r.peers)))})
    for write in (dpcop.section, dpcop.attached):
        with pytest.raises(UserError) as caught:
            write()
        assert str(caught.value) == "privacy.agents.alice: its price is a Python function and cannot be written"


def test_values_can_be_copied_and_pickled() -> None:
    for value in (Secret("s", "alice", {"x1": "T1"}), AdditivePrices({"bob": {"s": 1}})):
        assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == value
    assert len({Secret("s", "a", {"x": 1}), Secret("s", "a", {"x": 1}), Secret("s", "a", {"x": 2})}) == 2


# --- what is refused ------------------------------------------------------------------------------------------------

A = "privacy.agents.alice"
BAD_SECTIONS: list[tuple[Any, str]] = [
    ([], "privacy: must be a map"),
    ({1: 2}, "privacy: must be a map"),
    ({"prices": 1}, "privacy: unknown key 'prices' (known: pricing, policy, coalition, agents)"),
    ({"pricing": "half"}, "privacy.pricing: 'half' is not one of full, bits, probability"),
    ({"pricing": ["full"]}, "privacy.pricing: \"['full']\" is not one of full, bits, probability"),
    ({"policy": "own"}, "privacy.policy: 'own' is not one of zero, own_min, own_tuple, global_lb"),
    ({"coalition": 1}, "privacy.coalition: must be true or false"),
    ({"agents": None}, "privacy.agents: must be a map"),
    ({"agents": {"zoe": {}}}, "privacy.agents.zoe: unknown agent"),
    ({"agents": {"alice": 3}}, f"{A}: must be a map"),
    (alices(rewards=3), f"{A}: unknown key 'rewards' (known: reward, range, secrets, combine)"),
    (alices(reward=-1), f"{A}.reward: -1 is negative"),
    (alices(reward=math.nan), f"{A}.reward: 'nan' is not a number"),
    (alices(reward="much"), f"{A}.reward: 'much' is not a number"),
    (alices(reward=True), f"{A}.reward: 'True' is not a number"),
    (alices(range=[5, 2]), f"{A}.range: [5, 2] is empty"),
    (alices(range=[0]), f"{A}.range: must be two finite numbers [least, greatest], or hard"),
    (alices(range=[0, math.inf]), f"{A}.range: must be two finite numbers [least, greatest], or hard"),
    (alices(range="soft"), f"{A}.range: must be two finite numbers [least, greatest], or hard"),
    (alices(range=[0, "much"]), f"{A}.range[1]: 'much' is not a number"),
    (alices(range=[0, 700]), f"{A}.range: the cost of x1=T2 is 800, outside the declared [0, 700]"),
    (alices(range="hard"), f"{A}.range: the cost of x1=T1 is 600, neither 0 nor forbidden"),
    (alices(secrets={}), f"{A}.secrets: must be a list"),
    (alices(secrets=[3]), f"{A}.secrets[0]: must be a map"),
    (alices(secrets=[{"price": 1}]), f"{A}.secrets[0]: has no entry"),
    (alices(secrets=[{"entry": {"x1": "T1"}}]), f"{A}.secrets[0]: has no price"),
    (alices(secrets=[secret("T1", cost=1)]), f"{A}.secrets[0]: unknown key 'cost' (known: name, entry, price)"),
    (alices(secrets=[secret("T1", name="")]), f"{A}.secrets[0].name: is not a name"),
    (alices(secrets=[secret("T1", name=[])]), f"{A}.secrets[0].name: is not a name"),
    (alices(secrets=[secret("T1", entry=[])]), f"{A}.secrets[0].entry: must be a map"),
    (
        alices(secrets=[secret("T1", entry={})]),
        f"{A}.secrets[0].entry: names no variable",
    ),
    (alices(secrets=[secret([])]), f"{A}.secrets[0].entry.x1: is not a value"),
    (alices(secrets=[secret(None)]), f"{A}.secrets[0].entry.x1: is not a value"),
    (alices(secrets=[secret("T3")]), f"{A}.secrets[0].entry: x1 has no value 'T3'"),
    (alices(secrets=[secret("T1", entry={"y": "T1"})]), f"{A}.secrets[0].entry: unknown variable 'y'"),
    (alices(secrets=[secret("T1"), secret("T1", name="again")]), f"{A}.secrets[1].entry: is that of secrets[0] too"),
    (
        alices(secrets=[secret("T1", name="s"), secret("T2", name="s")]),
        f"{A}.secrets[1]: the name 's' is that of secrets[0] too",
    ),
    (alices(secrets=[secret("T1"), secret("T2", price={"bob": -3})]), f"{A}.secrets[1].price.bob: -3 is negative"),
    (alices(secrets=[secret("T1", price=math.nan)]), f"{A}.secrets[0].price: 'nan' is not a number"),
    (alices(secrets=[secret("T1", price=True)]), f"{A}.secrets[0].price: 'True' is not a number"),
    (alices(secrets=[secret("T1", price=[1])]), f"{A}.secrets[0].price: '[1]' is not a number"),
    (
        alices(secrets=[secret("T1", price=math.inf)]),
        f"{A}.secrets[0].price: inf is more than the greatest price allowed, 9007199254740992",
    ),
    (alices(secrets=[secret("T1", price={"zoe": 1})]), f"{A}.secrets[0].price.zoe: unknown agent"),
    (
        alices(secrets=[secret("T1", price={"alice": 1})]),
        f"{A}.secrets[0].price.alice: nobody hides a secret from itself",
    ),
    (
        {"agents": {"carol": {"secrets": [secret("T1")]}}},
        "privacy.agents.carol.secrets[0].entry: carol has no private cost on exactly x1",
    ),
    (alices(combine="min"), f"{A}.combine: 'min' is not sum, max or a list of sets"),
    (alices(combine=[1]), f"{A}.combine[0]: must be a map"),
    (alices(combine=[{"peer": "bob", "price": 1}]), f"{A}.combine[0]: has no secrets"),
    (alices(combine=[{"peer": "zoe", "secrets": ["x1=T1"], "price": 1}]), f"{A}.combine[0].peer: unknown agent"),
    (alices(combine=[{"peer": [], "secrets": ["x1=T1"], "price": 1}]), f"{A}.combine[0].peer: is not a name"),
    (alices(combine=[{"peer": "bob", "secrets": ["T9"], "price": 1}]), f"{A}.combine[0].secrets: unknown secret 'T9'"),
    (
        alices(combine=[{"peer": "bob", "secrets": [], "price": 1}]),
        f"{A}.combine[0].secrets: must name from 1 to 1000 secrets, each once",
    ),
    (
        alices(combine=[{"peer": "bob", "secrets": ["x1=T1", "x1=T1"], "price": 1}]),
        f"{A}.combine[0].secrets: must name from 1 to 1000 secrets, each once",
    ),
    (
        alices(combine=2 * [{"peer": "bob", "secrets": ["x1=T1"], "price": 1}]),
        f"{A}.combine[1].secrets: this set is priced for bob already",
    ),
    (
        alices(combine=[{"peer": "bob", "secrets": ["x1=T1"], "price": -1}]),
        f"{A}.combine[0].price: -1 is negative",
    ),
    (
        alices(
            combine=[
                {"peer": "bob", "secrets": ["x1=T1"], "price": 5},
                {"peer": "bob", "secrets": ["x1=T1", "x1=T2"], "price": 4},
            ]
        ),
        f"{A}.combine: for bob, {{x1=T1, x1=T2}} costs 4, less than its part {{x1=T1}} at 5",
    ),
]


@pytest.mark.parametrize(("data", "message"), BAD_SECTIONS, ids=[message for _, message in BAD_SECTIONS])
def test_a_bad_section_is_refused_in_one_line(data: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        Dpcop.of(meeting(data))
    assert str(caught.value) == message


def test_rewards_are_for_minimising() -> None:
    with pytest.raises(UserError, match=r"alice\.reward: a problem that maximises has no rewards"):
        Dpcop.of(meeting(alices(reward=5), "max"))
    dpcop = of(meeting(alices(range=[-800, 0]), "max"))
    assert dpcop.resolved_policy == "own_min"
    assert dpcop.stakes["alice"].reward == math.inf


def test_hard_secrets_are_0_or_forbidden() -> None:
    for objective, worst in (("min", math.inf), ("max", -math.inf)):
        problem = meeting({"agents": {"alice": {"range": "hard", "secrets": [secret("T1")]}}}, objective)
        with pytest.raises(UserError, match="neither 0 nor forbidden"):
            Dpcop.of(problem)
        hard = Variable("x1", DATES, "alice", [0, worst])
        assert of(replace(problem, variables={"x1": hard})).stakes["alice"].possible == "hard"
    ranged = {"privacy": alices(range=[-5, 0])}
    wrong = replace(problem, variables={"x1": Variable("x1", DATES, "alice", [-9, worst])}, extras=ranged)
    with pytest.raises(UserError, match=r"the cost of x1=T1 is -9.0, outside the declared \[-5, 0\]"):
        Dpcop.of(wrong)
    assert Dpcop.of(replace(problem, variables={"x1": hard}, extras=ranged)) is not None


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(section, "MAX_PRICES", 1)
    with pytest.raises(UserError, match=r"alice\.secrets: more than 1 prices"):
        Dpcop.of(meeting(alices(secrets=[secret("T1", price={"bob": 1, "carol": 1}), secret("T2")])))
    monkeypatch.setattr(section, "MAX_SETS", 1)
    rows = [{"peer": "bob", "secrets": [name], "price": 1} for name in ("x1=T1", "x1=T2")]
    with pytest.raises(UserError, match=r"alice\.combine: more than 1 sets for bob"):
        Dpcop.of(meeting(alices(combine=rows)))
    monkeypatch.setattr(section, "MAX_SECRETS", 1)
    with pytest.raises(UserError, match=r"alice\.secrets: more than 1 secrets"):
        Dpcop.of(meeting(alices()))
    monkeypatch.setattr("privacy.dpcop.model.MAX_SECRETS", 1)
    with pytest.raises(UserError, match=r"privacy\.agents: more than 1 secrets"):
        Dpcop(meeting(), {"alice": alice_stake(AdditivePrices())})


def test_many_secrets_on_a_large_domain_are_read_in_time_that_grows_with_them() -> None:
    values = Domain("values", tuple(range(20_000)))
    problem = Problem.build([Variable("x", values, "amy", np.zeros(20_000))], agents=["amy", "ben"])
    rows = [{"entry": {"x": k}, "price": k} for k in range(20_000)]
    dpcop = of(replace(problem, extras={"privacy": {"agents": {"amy": {"secrets": rows}}}}))
    assert dpcop.stakes["amy"].price(known("ben", "x=19999", "x=1")) == 20_000


def falling(revelation: Revelation) -> float:
    return 5 * revelation.share("bob", "T1") * (1 - revelation.share("bob", "T2"))


def half(revelation: Revelation) -> float:
    share = revelation.share("bob", "T1")
    return share if share in (0, 1) else 5.0


@pytest.mark.parametrize(
    ("stake", "message"),
    [
        (
            alice_stake(falling),
            f"{A}: the price falls from 5.0 for (bob: {{T1}}) to 0.0 for (bob: {{T1, T2}})",
        ),
        (alice_stake(lambda r: 1.0), f"{A}: the price of revealing nothing is 1.0, not 0"),
        (alice_stake(AdditivePrices({"zoe": {"T1": 1}})), f"{A}: a price for 'zoe': unknown agent"),
        (alice_stake(MaxPrices({"alice": {}})), f"{A}: a price for 'alice': nobody hides a secret from itself"),
        (alice_stake(AdditivePrices({"bob": {"T9": 1}})), f"{A}: a price for the unknown secret 'T9'"),
        (alice_stake(SetPrices({"bob": {frozenset({"T9"}): 1}})), f"{A}: a price for the unknown secret 'T9'"),
        (alice_stake(AdditivePrices(), reward=math.nan), f"{A}.reward: is not a number"),
        (alice_stake(AdditivePrices(), reward=-math.inf), f"{A}.reward: -inf is negative"),
        (
            alice_stake(AdditivePrices(), possible=(math.nan, 1)),
            f"{A}.range: must be two finite numbers [least, greatest], or hard",
        ),
        (Stake((Secret("T1", "bob", {"x1": "T1"}),), AdditivePrices()), f"{A}.secrets[0]: a secret of 'bob'"),
        (Stake((Secret("", "alice", {"x1": "T1"}),), AdditivePrices()), f"{A}.secrets[0]: has no name"),
    ],
)
def test_a_bad_stake_is_refused_in_one_line(stake: Stake, message: str) -> None:
    with pytest.raises(UserError) as caught:
        Dpcop(meeting(), {"alice": stake})
    assert str(caught.value) == message


def test_a_function_is_tried_on_secrets_known_in_part_where_those_are_priced() -> None:
    Dpcop(meeting(), {"alice": alice_stake(half)})
    with pytest.raises(UserError, match="the price falls from 5"):
        Dpcop(meeting(), {"alice": alice_stake(half)}, pricing="probability")
    linear = Dpcop(meeting(), {"alice": alice_stake(lambda r: r.share("bob", "T1"))}, pricing="probability")
    assert linear.stakes["alice"].price(Probabilities({("bob", "T1"): 0.5})) == 0.5


def test_hostile_yaml_is_refused(tmp_path: Path) -> None:
    bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"
    for k in range(3, 20):
        bomb += f"l{k}: &l{k} [*{'c' if k == 3 else f'l{k - 1}'}, *{'c' if k == 3 else f'l{k - 1}'}]\n"
    file = tmp_path / "p.yaml"
    file.write_text(bomb + MEETING.read_text().replace("policy: zero", "policy: *l19"))
    with pytest.raises(UserError, match="its aliases expand to much more than the file"):
        agentsim.load(file)
    file.write_text(MEETING.read_text().replace("policy: zero", "policy: " + "[" * 100 + "]" * 100))
    with pytest.raises(UserError, match="nested deeper than 60 levels"):
        agentsim.load(file)


def test_a_message_stays_one_short_line() -> None:
    for long in ("x" * 10_000, "two\nlines"):
        for data in hostile_texts(long):
            with pytest.raises(UserError) as caught:
                Dpcop.of(meeting(data))
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 250


def hostile_texts(long: str) -> list[Any]:
    """Sections with a text where it is wrong."""
    return [
        alices(**{long: 1}),
        alices(combine=long),
        {"agents": {long: {}}},
        {"policy": long},
        alices(secrets=[secret(long)]),
        alices(secrets=[secret("T1", entry={long: 1})]),
        alices(secrets=[secret("T1", entry={long: []})]),
        alices(secrets=[secret("T1", price={long: 1})]),
        alices(secrets=[secret("T1", price=long)]),
        alices(combine=[{"peer": "bob", "secrets": [long], "price": 1}]),
    ]
