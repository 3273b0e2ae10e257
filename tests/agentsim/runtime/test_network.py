"""Networks: how they are written, how long messages take, what goes wrong, and what `reliable` makes good."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim import Constraint, Domain, Problem, UserError, Variable, simulate
from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import message
from agentsim.runtime.network import (
    MAX_ATTEMPTS,
    Crash,
    Hold,
    Late,
    Network,
    Partition,
    quote,
    split_names,
    unquote,
)
from agentsim.runtime.result import Result
from agentsim.runtime.streams import Stream

AGENTS = ("a", "b", "c")


@message("TICK")
class Tick(NamedTuple):
    k: int


class Ticker(Agent):
    """The first node sends every other one message per unit of time; the others only listen."""

    messages = (Tick,)
    ticks = 20
    every = 1.0

    async def run(self) -> None:
        self.assign(0)
        if self.name == "a":
            for k in range(self.ticks):
                self.broadcast(Tick(k))
                await self.sleep(self.every)
            await self.sleep(1e6)  # until all has arrived


class AllTick(Ticker):
    """Everybody sends everybody."""

    async def run(self) -> None:
        self.assign(0)
        for k in range(self.ticks):
            self.broadcast(Tick(k))
            await self.sleep(self.every)
        await self.sleep(1e6)


def problem(names: str = "abc", owners: dict[str, str] | None = None) -> Problem:
    d = Domain("d", (0, 1))
    pairs = [(x, y) for i, x in enumerate(names) for y in names[i + 1 :]]
    return Problem.build(
        [Variable(n, d, (owners or {}).get(n, "")) for n in names],
        [Constraint(x + y, (x, y), [[0, 1], [1, 0]]) for x, y in pairs],
    )


def ticking(
    network: str, solver: type[Ticker] = Ticker, *, ticks: int = 20, every: float = 1.0, **options: Any
) -> Result:
    cls = type("Tick", (solver,), {"ticks": ticks, "every": every})
    return simulate(problem(**{k: options.pop(k) for k in ("names", "owners") if k in options}), cls,
                    network=network, **options)  # fmt: skip


def by_pair(result: Result) -> dict[tuple[str, str], list[Delivery]]:
    found: dict[tuple[str, str], list[Delivery]] = defaultdict(list)
    for delivery in result.log:
        found[delivery.src, delivery.dst].append(delivery)
    return found


def fates(result: Result, kind: str) -> list[Any]:
    return [r for r in result.log.records() if r[0] == "fate" and r[1] == kind]


# How they are written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "model"),
    [
        ("unit", ("constant", 1.0, 0.0)),
        ("constant:2.5", ("constant", 2.5, 0.0)),
        ("constant:0", ("constant", 0.0, 0.0)),
        ("uniform:1,10", ("uniform", 1.0, 10.0)),
        ("uniform:.5,.5", ("uniform", 0.5, 0.5)),
        ("exponential:3", ("exponential", 3.0, 0.0)),
        ("lognormal:-1,.5", ("lognormal", -1.0, 0.5)),
        (" unit ", ("constant", 1.0, 0.0)),
        ("priority:3", ("priority", 3.0, 10.0)),
        ("priority:1,1", ("priority", 1.0, 1.0)),
    ],
)
def test_latency_models(spec: str, model: tuple[str, float, float]) -> None:
    network = Network.parse(spec)
    assert (network.model, network.low, network.high) == model
    assert network.plain
    assert network.spec == spec


def test_every_modifier() -> None:
    network = Network.parse(
        "uniform:1,2+loss:.1+duplicate:0.2+reorder+reliable+slow:b*3+crash:a@4+crash:b@1-2.5+partition:a,b|c@0-7",
        AGENTS,
    )
    assert (network.loss, network.duplicate, network.reorder, network.reliable) == (0.1, 0.2, True, True)
    assert network.slow == {"b": 3.0}
    assert network.crashes == (Crash("a", 4.0, math.inf), Crash("b", 1.0, 2.5))
    assert network.partitions == (Partition(frozenset("ab"), frozenset("c"), 0.0, 7.0),)
    assert not network.plain


def test_holds_and_late_messages() -> None:
    network = Network.parse("burst:2.5+hold:a>*@1-3+hold:*>b@0-.5+late:a>b@2*9+late:a>b@3*0+late:b>a@2*9", AGENTS)
    assert (network.model, network.low) == ("burst", 2.5)
    assert network.holds == (Hold("a", None, 1.0, 3.0), Hold(None, "b", 0.0, 0.5))
    assert network.lates == (Late("a", "b", 2, 9.0), Late("a", "b", 3, 0.0), Late("b", "a", 2, 9.0))
    assert not network.plain
    assert Network.parse('unit+hold:"*">a@1-2', ("*", "a")).holds == (Hold("*", "a", 1.0, 2.0),)


@pytest.mark.parametrize(("spec", "plain"), [("priority:4", True), ("burst:2", False), ("unit+hold:a>b@0-1", False),
                                             ("unit+late:a>b@1*2", False)])  # fmt: skip
def test_only_what_is_the_same_at_all_times_is_plain(spec: str, plain: bool) -> None:
    network = Network.parse(spec, AGENTS)
    assert network.plain is plain
    assert network.constant is None


def test_what_is_not_named_does_not_go_wrong() -> None:
    network = Network.parse("unit")
    assert (network.loss, network.duplicate, network.reorder, network.reliable) == (0, 0, False, False)
    assert (network.slow, network.crashes, network.partitions, network.holds, network.lates) == ({}, (), (), (), ())


ODD_NAMES = ("a:b", "a,b", "a+b", "a|b", "a@b", "a*b", "a=b", "a-b", " a ", "ä", "a b")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_with_special_characters_are_quoted(name: str) -> None:
    agents = (*ODD_NAMES, "z")
    q = f'"{name}"'
    network = Network.parse(
        f"unit+crash:{q}@1-2+slow:{q}*2+partition:{q},z|{q}@3-4+loss:.5+hold:{q}>z@1-2+late:z>{q}@1*2", agents
    )
    assert network.holds == (Hold(name, "z", 1.0, 2.0),)
    assert network.lates == (Late("z", name, 1, 2.0),)
    assert network.crashes == (Crash(name, 1.0, 2.0),)
    assert network.slow == {name: 2.0}
    assert network.partitions[0].left == {name, "z"}
    assert network.loss == 0.5
    assert Network.parse(f"unit+slow:{quote(name)}*2", agents).slow == {name: 2.0}


NAMES = st.text(alphabet=st.sampled_from(':,+|@*=-> "ab') | st.characters(blacklist_characters='"'), min_size=1).filter(
    lambda name: '"' not in name
)


@given(names=st.lists(NAMES, min_size=1, max_size=4), separator=st.sampled_from(":,+|@*="))
def test_quoted_names_come_back(names: list[str], separator: str) -> None:
    text = separator.join(quote(n) for n in names)
    assert [unquote(part) for part in split_names(text, separator)] == names


ERRORS = [
    "",
    "warp",
    "unit:1",
    "constant",
    "constant:",
    "constant:x",
    "constant:-1",
    "constant:nan",
    "constant:inf",
    "constant:1,2",
    "uniform:1",
    "uniform:2,1",
    "uniform:1,2,3",
    "uniform:-1,1",
    "exponential:-1",
    "exponential:1,2",
    "lognormal:0",
    "lognormal:0,-1",
    "lognormal:1e9,1",
    "loss:.1",
    "unit+",
    "unit+warp",
    "unit+loss",
    "unit+loss:1.1",
    "unit+loss:-.1",
    "unit+loss:nan",
    "unit+duplicate:2",
    "unit+reorder:1",
    "unit+reliable:yes",
    "unit+crash:a",
    "unit+crash:nobody@1",
    "unit+crash:a@x",
    "unit+crash:a@-1",
    "unit+crash:a@2-1",
    "unit+crash:a@2-2",
    "unit+crash:a@1@2",
    "unit+slow:a",
    "unit+slow:nobody*2",
    "unit+slow:a*-1",
    "unit+slow:a*x",
    "unit+partition:a|b",
    "unit+partition:a@1-2",
    "unit+partition:a|nobody@1-2",
    "unit+partition:a|b|c@1-2",
    "unit+partition:|b@1-2",
    "priority",
    "priority:",
    "priority:0",
    "priority:1.5",
    "priority:13",
    "priority:3,.5",
    "priority:3,10,1",
    "priority:3,inf",
    "burst",
    "burst:0",
    "burst:-1",
    "burst:1,2",
    "burst:inf",
    "unit+hold:a>b",
    "unit+hold:a@1-2",
    "unit+hold:a>b@1",
    "unit+hold:a>b@2-1",
    "unit+hold:a>b>c@1-2",
    "unit+hold:a>nobody@1-2",
    "unit+hold:>b@1-2",
    "unit+late:a>b",
    "unit+late:a>b@1",
    "unit+late:a>b@0*2",
    "unit+late:a>b@1.5*2",
    "unit+late:a>b@1*-2",
    "unit+late:a>b@1*inf",
    "unit+late:*>b@1*2",
    "unit+late:a>b@1*2+late:a>b@1*3",
    'unit+crash:"a@1',
    "unit+crash:a\nb@1",
]


@pytest.mark.parametrize("spec", ERRORS)
def test_every_mistake_is_the_users_error_in_one_line(spec: str) -> None:
    with pytest.raises(UserError) as caught:
        Network.parse(spec, AGENTS)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    with pytest.raises(UserError):
        simulate(problem(), Ticker, network=spec)


def test_the_part_at_fault_is_named() -> None:
    with pytest.raises(UserError, match=r"loss:2.*out of range"):
        Network.parse("unit+reorder+loss:2")
    with pytest.raises(UserError, match="no agent is called 'nobody'"):
        Network.parse("unit+crash:nobody@1", AGENTS)
    with pytest.raises(UserError, match=r"known are .*partition.*reliable"):
        Network.parse("unit+lossy")


@given(spec=st.text(alphabet='unitconstlogrmaexpdyhb:,+|@*=>-"0123456789. ', max_size=30))
def test_anything_is_parsed_or_refused(spec: str) -> None:
    try:
        network = Network.parse(spec, AGENTS)
    except UserError:
        return
    assert network.mean >= 0


# How long messages take -----------------------------------------------------------------------------------------------


def latencies(spec: str, n: int = 4000, agent: str = "a") -> Any:
    network = Network.parse(spec, AGENTS)
    channel = network.channel(1, "x", "y", agent)
    return np.array([network.latency(channel) for _ in range(n)])


@settings(max_examples=30, deadline=None)
@given(low=st.floats(0, 1e6), width=st.floats(0, 1e6), seed=st.integers(0, 99))
def test_uniform_latencies_lie_within_their_bounds(low: float, width: float, seed: int) -> None:
    network = Network.parse(f"uniform:{low!r},{low + width!r}")
    channel = network.channel(seed, "x", "y", "a")
    assert all(low <= network.latency(channel) <= low + width for _ in range(40))


@pytest.mark.parametrize(
    ("spec", "mean", "deviation"),
    [
        ("unit", 1, 0),
        ("constant:3", 3, 0),
        ("uniform:1,10", 5.5, 9 / math.sqrt(12)),
        ("exponential:3", 3, 3),
        ("lognormal:0,.5", math.exp(0.125), math.exp(0.125) * math.sqrt(math.exp(0.25) - 1)),
        ("priority:2,1", 3.75, math.sqrt((1 + 16) / 2 * (7 / 3) - 3.75**2)),
    ],
)
def test_latencies_have_the_mean_and_spread_of_their_model(spec: str, mean: float, deviation: float) -> None:
    """Off by five standard errors once in 1.7 million, with a fixed seed."""
    sample = latencies(spec)
    assert Network.parse(spec).mean == pytest.approx(mean)
    assert abs(sample.mean() - mean) <= 5 * deviation / math.sqrt(len(sample)) + 1e-12
    assert sample.std() == pytest.approx(deviation, rel=0.15, abs=1e-12)
    assert sample.min() >= 0


def test_messages_in_a_run_take_as_long_as_the_network_says() -> None:
    for spec, low, high in (("unit", 1, 1), ("constant:2.5", 2.5, 2.5), ("uniform:1,1.5", 1, 1.5)):
        delays = [d.delivered_at - d.sent_at for d in ticking(spec, AllTick).log]
        assert low <= min(delays) <= max(delays) <= high + 1e-9


def test_constant_zero_takes_no_time_but_a_step() -> None:
    result = ticking("constant:0")
    assert {(d.delivered_at - d.sent_at, d.step) for d in result.log} == {(0.0, 1)}


def test_priority_keeps_a_level_for_as_many_messages_as_told() -> None:
    delays = latencies("priority:4,20", 20_000)
    levels = np.floor(np.log(delays) / np.log(4)).astype(int)
    assert (delays / 4.0**levels).max() < 2
    assert set(levels) == {0, 1, 2, 3}
    changes = np.count_nonzero(np.diff(levels))
    assert 0.85 < changes / (20_000 / 20 * 0.75) < 1.15  # one draw in four leaves the level as it is
    assert len(set(np.floor(np.log(latencies("priority:4,1e9", 500)) / np.log(4)))) == 1


def test_pairs_of_a_priority_network_have_levels_of_their_own() -> None:
    result = ticking("priority:5,1e9", AllTick, ticks=3, every=1e6)
    means = {pair: np.mean([d.delivered_at - d.sent_at for d in ds]) for pair, ds in by_pair(result).items()}
    assert len({int(math.log(mean, 4)) for mean in means.values()}) > 2


def test_a_burst_delivers_to_an_agent_what_came_since_the_last() -> None:
    result = ticking("burst:5", AllTick, ticks=30, every=0.7)
    phases = {}
    for (_, dst), deliveries in by_pair(result).items():
        for d in deliveries:
            assert 1 <= d.delivered_at - d.sent_at < 6
            phases.setdefault(dst, set()).add(round(d.delivered_at % 5, 6))
        assert len(deliveries) == 30
    assert all(len(found) == 1 for found in phases.values())  # whoever sends, all of it comes at once
    assert len(set().union(*phases.values())) == 3


def test_all_nodes_of_an_agent_have_one_phase() -> None:
    result = ticking("burst:5", AllTick, owners={"a": "A", "b": "B", "c": "B"}, ticks=3)
    assert len({d.delivered_at % 5 for d in result.log if d.src == "a"}) == 1


def test_bursts_are_exact_and_stay_within_reach_of_floats() -> None:
    network = Network.parse("burst:.001")
    channel = network.channel(1, "x", "y", "a", "b")
    for at in (0.0, 1e-9, 12.3456, 1e12, 1e18, 1e300):
        ((due, copy),), fates = network.transmit(channel, at, "a", "b")
        assert at + 1 <= due <= at + 1.01 or at > 1e12
        assert (copy, fates, due) == (0, (), max(due, at))


def test_what_is_held_arrives_at_the_end_of_the_window() -> None:
    result = ticking("unit+hold:a>b@5-9.5", AllTick)
    for pair, deliveries in by_pair(result).items():
        for d in deliveries:
            held = pair == ("a", "b") and 5 <= d.sent_at + 1 < 9.5
            assert d.delivered_at == (9.5 if held else d.sent_at + 1)
    assert len(by_pair(result)["a", "b"]) == 20
    assert not [r for r in result.log.records() if r[0] == "fate"]


@pytest.mark.parametrize(("who", "pairs"), [("a>*", {"ab", "ac"}), ("*>a", {"ba", "ca"}),
                                            ("*>*", {"ab", "ac", "ba", "bc", "ca", "cb"})])  # fmt: skip
def test_a_hold_may_be_of_all_that_an_agent_sends_or_gets(who: str, pairs: set[str]) -> None:
    held = {d.src + d.dst for d in ticking(f"unit+hold:{who}@3-7", AllTick).log if d.delivered_at - d.sent_at > 1}
    assert held == pairs


def test_held_again_where_windows_touch() -> None:
    result = ticking("unit+hold:a>b@8-12+hold:a>*@3-5+hold:a>b@5-8.5")
    assert [d.delivered_at for d in by_pair(result)["a", "b"]] == [1.0, 2.0, *[12.0] * 9, *map(float, range(12, 21))]


def test_a_late_message_takes_what_is_written_and_others_what_was_drawn() -> None:
    plain = ticking("uniform:1,2+reorder", AllTick, seed=4)
    late = ticking("uniform:1,2+reorder+late:a>b@3*7.5+late:a>b@5*0+slow:c*1", AllTick, seed=4)
    for pair, deliveries in by_pair(plain).items():
        other = {d.n: d.delivered_at for d in by_pair(late)[pair]}
        for k, d in enumerate(deliveries):
            number = k if pair != ("a", "b") else sorted(other).index(d.n) + 1
            expected = {3: d.sent_at + 7.5, 5: d.sent_at}.get(number) if pair == ("a", "b") else None
            assert other[d.n] == (d.delivered_at if expected is None else expected)


def test_a_late_message_holds_up_those_behind_it() -> None:
    result = ticking("unit+late:a>b@3*5")
    assert [d.delivered_at for d in by_pair(result)["a", "b"]] == [1.0, 2.0, *[7.0] * 5, *map(float, range(8, 21))]


def test_late_messages_are_counted_by_agents_not_by_nodes() -> None:
    """In the order in which they are routed: by time, then by the sender's place, then by its sends."""
    owners = {"a": "A", "b": "A", "c": "C"}
    result = ticking("unit+late:A>C@2*9+late:A>C@3*5", AllTick, owners=owners, ticks=3)
    took = {(d.src, d.sent_at): d.delivered_at - d.sent_at for d in result.log if d.dst == "c"}
    assert took == {("a", 0): 1, ("b", 0): 9, ("a", 1): 5, ("b", 1): 8, ("a", 2): 4, ("b", 2): 7}
    assert all(d.delivered_at - d.sent_at == 1 for d in result.log if d.dst != "c")


def test_a_late_message_under_reliable_is_late_however_often_it_is_sent() -> None:
    result = ticking("unit+late:a>b@2*500+reliable", ticks=3)
    assert [d.delivered_at for d in by_pair(result)["a", "b"]] == [1.0, 501.0, 501.0]
    assert result.transport["retransmitted"] > 3
    assert result.transport["given_up"] == 0


@pytest.mark.parametrize(
    "model", ["unit", "constant:2", "uniform:1,10", "exponential:2", "lognormal:0,1", "priority:3"]
)
def test_slow_multiplies_what_its_agent_sends_and_nothing_else(model: str) -> None:
    plain, slow = (latencies(model + extra) for extra in ("", "+slow:a*3"))
    assert slow == pytest.approx(3 * plain)
    assert latencies(f"{model}+slow:b*3").tolist() == plain.tolist()


def test_slow_in_a_run() -> None:
    result = ticking("unit+slow:a*3", AllTick)
    assert {d.delivered_at - d.sent_at for d in result.log if d.src == "a"} == {3.0}
    assert {d.delivered_at - d.sent_at for d in result.log if d.src != "a"} == {1.0}


# The order of messages ------------------------------------------------------------------------------------------------

MODELS = st.sampled_from(
    ["unit", "constant:0", "uniform:0,10", "uniform:1,10", "exponential:5", "lognormal:0,2", "priority:4,3", "burst:3"]
)


@settings(max_examples=40, deadline=None)
@given(
    model=MODELS,
    extras=st.sets(
        st.sampled_from(
            ["loss:.2", "duplicate:.3", "slow:b*4", "partition:a|b@3-6", "hold:a>*@2-9", "late:b>c@3*20", "reliable"]
        )
    ),
    seed=st.integers(0, 999),
    every=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_each_pair_is_first_in_first_out(model: str, extras: set[str], seed: int, every: float) -> None:
    network = "+".join([model, *sorted(extras)])
    result = ticking(network, AllTick, ticks=12, every=every, seed=seed)
    assert result.status == "finished"
    for deliveries in by_pair(result).values():
        assert all(a.n < b.n or (a.n == b.n and a.copy < b.copy) for a, b in pairwise(deliveries))
        assert all(d.delivered_at >= d.sent_at for d in deliveries)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999))
def test_there_is_no_order_across_pairs(seed: int) -> None:
    """A message sent later to another may well arrive earlier."""
    seen = [d.n for d in ticking("uniform:1,10", ticks=30, seed=seed).log]
    assert seen != sorted(seen)


def test_reorder_lets_messages_overtake_each_other() -> None:
    result = ticking("uniform:1,10+reorder", ticks=50)
    overtakes = [a.n > b.n for deliveries in by_pair(result).values() for a, b in pairwise(deliveries)]
    assert any(overtakes)
    assert result.messages == len(list(result.log)) == 100
    # The same latencies in order: nothing but the promise is dropped.
    ordered = ticking("uniform:1,10", ticks=50)
    by_n = {(d.src, d.dst, d.n): d.delivered_at for d in result.log}
    assert all(by_n[d.src, d.dst, d.n] <= d.delivered_at for d in ordered.log)
    assert any(by_n[d.src, d.dst, d.n] == d.delivered_at for d in ordered.log)


# What goes wrong ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [0.05, 0.3, 0.9])
def test_losses_come_at_their_rate(loss: float) -> None:
    """Off by five standard deviations once in 1.7 million, with a fixed seed."""
    n = 2000
    result = ticking(f"unit+loss:{loss}", ticks=n // 2)
    lost = result.transport["lost"]
    assert abs(lost - n * loss) < 5 * math.sqrt(n * loss * (1 - loss))
    assert len(list(result.log)) == n - lost
    assert result.messages == n  # what the algorithm sent
    dropped = fates(result, "dropped")
    assert len(dropped) == lost
    assert {f[8] for f in dropped} == {"loss"}
    assert all(f[9] is not None for f in dropped)  # the payload is in the log


@pytest.mark.parametrize("duplicate", [0.1, 0.5])
def test_duplicates_come_at_their_rate_and_are_numbered(duplicate: float) -> None:
    n = 2000
    result = ticking(f"unit+duplicate:{duplicate}", ticks=n // 2)
    twice = result.transport["duplicated"]
    assert abs(twice - n * duplicate) < 5 * math.sqrt(n * duplicate * (1 - duplicate))
    copies = Counter(d.copy for d in result.log)
    assert copies == {0: n, 1: twice}
    assert result.messages == n
    assert len(fates(result, "duplicated")) == twice


def test_loss_of_everything_and_of_nothing() -> None:
    assert list(ticking("unit+loss:1").log) == []
    assert len(list(ticking("unit+loss:0").log)) == 40


def test_a_partition_cuts_both_ways_and_heals() -> None:
    result = ticking("unit+partition:a|b@5-10", AllTick)
    for (src, dst), deliveries in by_pair(result).items():
        sent = [d.sent_at for d in deliveries]
        cut = {src, dst} == {"a", "b"}
        assert sent == [float(t) for t in range(20) if not (cut and 5 <= t < 10)]
    assert {f[8] for f in fates(result, "dropped")} == {"partition"}
    assert result.transport["lost"] == 10


def test_agents_that_a_partition_does_not_name_stay_connected_to_all() -> None:
    result = ticking("unit+partition:a|b@0-100", AllTick)
    assert set(by_pair(result)) == {("a", "c"), ("c", "a"), ("b", "c"), ("c", "b")}


def test_members_of_one_side_of_a_partition_stay_connected() -> None:
    result = ticking("unit+partition:a,b|c@0-100", AllTick)
    assert set(by_pair(result)) == {("a", "b"), ("b", "a")}


def test_a_crash_loses_what_is_on_its_way_to_it_and_ends_its_agent() -> None:
    result = ticking("unit+crash:b@5", AllTick, ticks=10)
    pairs = by_pair(result)
    assert max(d.delivered_at for d in pairs["a", "b"]) == 4.0
    assert max(d.sent_at for d in pairs["b", "a"]) == 4.0
    assert len(pairs["a", "c"]) == 10
    assert [r for r in result.log.records() if r[0] in ("crash", "restart")] == [("crash", 5.0, "b")]
    lost = [f for f in fates(result, "dropped") if f[8] == "crash"]
    assert {f[4] for f in lost} == {"b"}
    assert len(lost) == 12  # six each from a and c


def test_a_restarted_agent_begins_anew_from_its_local_view() -> None:
    result = ticking("unit+crash:b@5-8", AllTick, ticks=10)
    assert [r for r in result.log.records() if r[0] in ("crash", "restart")] == [
        ("crash", 5.0, "b"),
        ("restart", 8.0, "b"),
    ]
    sent = [(d.sent_at, d.message.k) for d in by_pair(result)["b", "a"]]
    assert sent == [(float(t), t) for t in range(5)] + [(8.0 + k, k) for k in range(10)]
    received = [d.delivered_at for d in by_pair(result)["a", "b"]]
    assert [t for t in received if 5 <= t < 8] == []
    assert max(received) == 10.0


def test_an_agent_crashes_with_all_of_its_nodes() -> None:
    result = ticking("unit+crash:B@5", AllTick, owners={"a": "A", "b": "B", "c": "B"}, ticks=10)
    assert max(d.sent_at for d in result.log if d.src in "bc") == 4.0
    assert max(d.delivered_at for d in result.log if d.dst in "bc") == 4.0


def test_messages_between_nodes_of_one_agent_are_not_on_the_network() -> None:
    result = ticking("uniform:2,3+loss:1", AllTick, owners={"a": "A", "b": "A", "c": "C"}, ticks=10)
    assert set(by_pair(result)) == {("a", "b"), ("b", "a")}
    assert result.local_messages == 20
    assert result.messages == 40  # a, b -> c and back, all of them lost
    assert {d.delivered_at - d.sent_at for d in result.log} == {2.0}


# What `reliable` makes good -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [
    "uniform:1,10+loss:.4+duplicate:.3+reorder+reliable",
    "unit+loss:.4+reliable",
    "exponential:3+duplicate:.9+reliable",
    "lognormal:0,1+reorder+reliable",
    "unit+partition:a|b,c@3-50+reliable",
    "unit+partition:a|b@3-1e5+loss:.4+reliable",
    "priority:4+loss:.4+duplicate:.3+reliable",
    "burst:4+loss:.4+reorder+hold:a>*@3-90+late:b>c@2*300+reliable",
])  # fmt: skip
@pytest.mark.parametrize("seed", range(3))
def test_reliable_delivers_each_message_exactly_once_and_in_order(network: str, seed: int) -> None:
    result = ticking(network, AllTick, ticks=40, every=0.5, seed=seed)
    pairs = by_pair(result)
    assert len(pairs) == 6
    for deliveries in pairs.values():
        assert [d.message.k for d in deliveries] == list(range(40))
        assert {d.copy for d in deliveries} == {0}
        times = [d.delivered_at for d in deliveries]
        assert times == sorted(times)
    assert result.transport["given_up"] == 0


def test_reliable_over_a_faultless_network_is_that_network() -> None:
    plain, reliable = ticking("uniform:1,10", AllTick), ticking("constant:2+reliable", AllTick)
    assert {d.delivered_at - d.sent_at for d in reliable.log} == {2.0}
    assert reliable.transport == {
        "lost": 0, "duplicated": 0, "retransmitted": 0, "acknowledged": 120, "given_up": 0, "altered": 0,
    }  # fmt: skip
    assert plain.transport["acknowledged"] == 0


def test_what_a_partition_held_up_arrives_after_it_has_healed() -> None:
    result = ticking("unit+partition:a|b@5-30+reliable", ticks=20)
    held = [d for d in by_pair(result)["a", "b"] if d.sent_at >= 5]
    assert len(held) == 15
    assert all(d.delivered_at >= 31 for d in held)
    assert all(d.delivered_at == d.sent_at + 1 for d in by_pair(result)["a", "c"])


class Waits(Ticker):
    """a sends one message and everybody waits for one."""

    async def run(self) -> None:
        self.assign(0)
        if self.name == "a":
            self.send("b", Tick(0))
        await self.receive(Tick)


def test_reliable_gives_up_after_so_many_attempts_and_says_so() -> None:
    result = simulate(problem(), Waits, network="unit+loss:1+reliable")
    assert result.status == "deadlock"
    assert result.transport == {
        "lost": MAX_ATTEMPTS,
        "duplicated": 0,
        "retransmitted": MAX_ATTEMPTS - 1,
        "acknowledged": 0,
        "given_up": 1,
        "altered": 0,
    }
    assert result.deadlock is not None
    assert result.deadlock.waiting == {"a": "TICK", "b": "TICK", "c": "TICK"}
    assert [lost[1:5] for lost in result.deadlock.lost] == [("a", "b", "TICK", 1)]
    text = str(result.deadlock)
    assert "a's message 1 (TICK) to b was lost" in text
    assert f"{MAX_ATTEMPTS} attempts" in text
    assert len(fates(result, "given up")) == 1
    assert fates(result, "given up")[0][9] is not None


def test_without_reliable_the_deadlock_report_names_the_lost_message() -> None:
    result = simulate(problem(), Waits, network="unit+loss:1")
    assert result.status == "deadlock"
    assert "b waits for TICK" in str(result.deadlock)
    assert "a's message 1 (TICK) to b was lost at time 1 (loss)" in str(result.deadlock)


@pytest.mark.parametrize("network", ["unit", "uniform:1,9", "unit+loss:.4+duplicate:.3+reliable", "unit+loss:.5"])
def test_what_the_algorithm_sends_is_counted_once_whatever_the_network_does(network: str) -> None:
    """Acknowledgements, retransmissions and copies are no messages of the algorithm."""
    plain, result = ticking("unit", AllTick), ticking(network, AllTick)
    assert (result.messages, result.bytes) == (plain.messages, plain.bytes) == (120, 240)
    assert result.by_type == plain.by_type
    assert {n: (m.messages, m.bytes) for n, m in result.agents.items()} == dict.fromkeys("abc", (40, 80))


def test_transport_counts_are_the_fates_in_the_log() -> None:
    result = ticking("uniform:1,3+loss:.3+duplicate:.2+reliable+partition:a|b@2-4", AllTick)
    counted = Counter(r[1] for r in result.log.records() if r[0] == "fate")
    assert result.transport["lost"] == counted["packet lost"] + counted["dropped"] > 0
    assert result.transport["retransmitted"] == counted["retransmitted"] > 0
    assert result.transport["acknowledged"] == counted["acknowledged"] > 0


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 9999), loss=st.sampled_from([0.1, 0.3]), carry=st.sampled_from(["none", "best"]))
def test_a_solver_survives_a_bad_network_unchanged_under_reliable(seed: int, loss: float, carry: str) -> None:
    from agentsim.testing import brute_force, random_problem

    hard = random_problem(np.random.default_rng(seed), max_variables=4)
    network = f"uniform:1,5+loss:{loss}+duplicate:.2+reorder+reliable"
    result = simulate(hard, "synchbb", seed=seed, network=network, carry=carry)
    assert result.cost is not None or result.status == "infeasible"
    assert result.cost in (None, pytest.approx(brute_force(hard)))


# Draws ----------------------------------------------------------------------------------------------------------------


def test_delays_faults_and_agents_draw_from_streams_of_their_own() -> None:
    """Or the slow messages would be the lost ones."""
    network = Network.parse("uniform:0,1")
    channels = [network.channel(1, "x", "y", "a"), network.channel(1, "y", "x", "a"), network.channel(2, "x", "y", "a")]
    streams = [s for c in channels for s in (c.latency, c.faults)] + [Stream(1, "agent", "x")]
    assert len({s.random() for s in streams}) == len(streams)


def test_latencies_of_a_pair_depend_on_nothing_but_seed_and_names() -> None:
    """A fault does not shift a delay, nor a delay a fault: each has a stream of its own."""
    plain = ticking("uniform:1,10+reorder", AllTick, seed=3)
    lossy = ticking("uniform:1,10+reorder+loss:.3", AllTick, seed=3)
    due = {(d.src, d.dst, d.n): d.delivered_at for d in plain.log}
    assert all(due[d.src, d.dst, d.n] == d.delivered_at for d in lossy.log)
    constant = ticking("unit+loss:.3", AllTick, seed=3)
    assert {tuple(f[3:7]) for f in fates(lossy, "dropped")} == {tuple(f[3:7]) for f in fates(constant, "dropped")}
