"""Observers: what each view sees, when, how findings are called, and that watching changes nothing."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentsim import Constraint, Domain, ObserverFailure, Problem, UserError, Variable, replay, simulate
from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import message
from agentsim.runtime.network import quote
from agentsim.runtime.observer import Observer, ObserverView
from agentsim.runtime.result import Result
from agentsim.runtime.simulate import IdleAgent


@message("CHAT")
class Chat(NamedTuple):
    left: int


HISTORY: list[tuple[Any, ...]] = []
"""What happened in which order, as agents and observers tell it; a test clears it."""


class Chatter(Agent):
    """Everybody greets everybody and answers until the greeting is worn out."""

    messages = (Chat,)

    async def run(self) -> None:
        self.batches = 0
        for name in (*self.view.neighbours, *self.view.siblings):
            self.send(name, Chat(2))
        while self.batches < 6:
            for sender, chat in await self.drain():
                HISTORY.append(("agent", self.now, self.port.kernel.step, self.name))
                if chat.left:
                    self.send(sender, Chat(chat.left - 1))
            self.batches += 1
            self.assign(self.batches % 2)


class Witness(Observer):
    """Writes down every delivery it sees."""

    name = "witness"

    def start(self) -> None:
        self.seen: list[int] = []

    def observe(self, delivery: Delivery) -> None:
        self.seen.append(delivery.seq)

    def findings(self) -> Any:
        return self.seen


OWNERS = {"a1": "A", "b": "B", "a2": "A", "c": "C"}


def problem(owners: dict[str, str] | None = None) -> Problem:
    d = Domain("d", (0, 1))
    owners = owners or OWNERS
    pairs = [(x, y) for x in owners for y in owners if x < y]
    return Problem.build(
        [Variable(n, d, agent, unary=[0, k]) for k, (n, agent) in enumerate(owners.items())],
        [Constraint(f"{x}-{y}", (x, y), [[1, 0], [0, 2]]) for x, y in pairs],
    )


def watched(*observers: Any, solver: Any = Chatter, **options: Any) -> Result:
    return simulate(problem(), solver, observers=observers, **options)


# What each view sees --------------------------------------------------------------------------------------------------

VIEWS = {
    "all": lambda s, d: True,
    "agent:A": lambda s, d: "A" in (s, d),
    "agent:B": lambda s, d: "B" in (s, d),
    "coalition:A": lambda s, d: "A" in (s, d),
    "coalition:B+C": lambda s, d: bool({s, d} & {"B", "C"}),
    "coalition:A+B+C": lambda s, d: True,
    "wire:A>B": lambda s, d: (s, d) == ("A", "B"),
    "wire:B>A": lambda s, d: (s, d) == ("B", "A"),
}


@pytest.mark.parametrize("network", ["unit", "uniform:1,10+loss:.1+duplicate:.1", "constant:0"])
@pytest.mark.parametrize("view", VIEWS)
def test_each_view_sees_exactly_its_share(view: str, network: str) -> None:
    result = watched((Witness, {"view": view}), network=network)
    expected = [d.seq for d in result.log if VIEWS[view](OWNERS[d.src], OWNERS[d.dst])]
    assert result.findings == {"witness": expected}
    assert expected
    assert view in ("all", "coalition:A+B+C") or len(expected) < len(list(result.log))


def test_messages_between_nodes_of_one_agent_are_its_own_affair() -> None:
    views = ["agent:A", "agent:B", "coalition:B+C", "wire:A>B", "wire:B>A", "all"]
    result = watched(*((Witness, {"view": v, "as": v}) for v in views))
    local = {d.seq for d in result.log if OWNERS[d.src] == OWNERS[d.dst]}
    assert local
    for view in views:
        assert local & set(result.findings[view]) == (local if view in ("agent:A", "all") else set())


def test_an_observer_sees_deliveries_and_not_what_was_lost() -> None:
    result = watched(Witness, network="unit+loss:.3")
    assert result.transport["lost"]
    assert result.findings["witness"] == [d.seq for d in result.log]


def test_a_delivery_is_shown_as_it_is_logged() -> None:
    class Keeper(Witness):
        def observe(self, delivery: Delivery) -> None:
            kept.append(delivery)

    kept: list[Delivery] = []
    result = watched(Keeper, network="uniform:1,5")
    assert kept == list(result.log)
    assert {type(d.message) for d in kept} == {Chat}


@pytest.mark.parametrize(
    "spec",
    [
        "", "everything", "all:a", "agent", "agent:", "agent:Z", "agent:a1", "coalition:A+Z", "wire:A", "wire:A>B>C",
        "wire:A>Z", "agent:A+B", 'agent:"A',
    ],
)  # fmt: skip
def test_a_view_that_makes_no_sense_is_the_users_error(spec: str) -> None:
    with pytest.raises(UserError) as caught:
        watched((Witness, {"view": spec}))
    assert "\n" not in str(caught.value)


def test_views_name_agents_and_not_nodes() -> None:
    with pytest.raises(UserError, match="no agent is called 'a1'"):
        watched((Witness, {"view": "agent:a1"}))


ODD = ("a:b", "a,b", "a+b", "a>b", "a|b", "a@b", " a", "a=b", "a*b")


@pytest.mark.parametrize("name", ODD)
def test_names_with_special_characters_are_quoted(name: str) -> None:
    agents = (*ODD, "z")
    assert ObserverView.parse(f'agent:"{name}"', agents).agents == (name,)
    assert ObserverView.parse(f'coalition:z+"{name}"', agents).agents == ("z", name)
    assert ObserverView.parse(f'wire:"{name}">z', agents).wire == (name, "z")
    for spec in (f'agent:"{name}"', f'coalition:z+"{name}"', f'wire:"{name}">z', f'wire:z>"{name}"'):
        view = ObserverView.parse(spec, agents)
        assert ObserverView.parse(view.spec, agents) == view  # written in its normal form, it is the same view


@given(names=st.lists(st.text(min_size=1).filter(lambda n: '"' not in n), min_size=1, max_size=3, unique=True))
def test_a_coalition_of_any_names(names: list[str]) -> None:
    spec = "coalition:" + "+".join(map(quote, names))
    assert ObserverView.parse(spec, names).agents == tuple(names)


def test_a_name_in_quotes_works_in_a_run() -> None:
    owners = {"x": "a>b", "y": "c+d", "z": "e"}
    observers = [(Witness, {"view": v, "as": v}) for v in ('wire:"a>b">"c+d"', 'agent:"c+d"', 'coalition:"a>b"+e')]
    result = simulate(problem(owners), Chatter, observers=observers)
    pairs = {d.seq: (d.src, d.dst) for d in result.log}
    assert {pairs[s] for s in result.findings['wire:"a>b">"c+d"']} == {("x", "y")}
    assert all("y" in pairs[s] for s in result.findings['agent:"c+d"'])


# What an observer knows -----------------------------------------------------------------------------------------------


def test_an_observer_knows_its_own_views_and_the_public_parameters() -> None:
    class Knows(Witness):
        def findings(self) -> Any:
            c = self.context
            return [sorted(c.nodes), sorted(c.views), c.solver_name, c.view.spec, c.options.get("depth"), c.redacted]

    def told(view: str, nodes: list[str]) -> list[Any]:
        return [nodes, nodes, "synchbb", view, "3", False]

    for view, nodes in {
        "agent:A": ["a1", "a2"], "coalition:B+C": ["b", "c"], "wire:A>B": [], "all": ["a1", "a2", "b", "c"],
    }.items():  # fmt: skip
        result = watched((Knows, {"view": view, "depth": "3"}), solver="synchbb")
        assert result.findings["witness"] == told(view, nodes)


def test_statements_are_those_of_the_viewer() -> None:
    class Hears(Witness):
        def observe(self, delivery: Delivery) -> None:
            self.seen.extend(s.label for s in self.statements(delivery))  # type: ignore[misc]

    result = watched(
        *((Hears, {"view": v, "as": v}) for v in ("all", "agent:B", "wire:A>B")),
        solver="synchbb",
        network="uniform:1,2",
    )
    assert "prefix" in result.findings["all"]
    assert len(result.findings["agent:B"]) < len(result.findings["all"])
    assert watched(Hears).findings == {"witness": []}  # a solver without a reader


# When it sees it ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["unit", "uniform:1,3", "constant:0"])
def test_an_instant_is_shown_after_its_agents_and_before_time_moves(network: str) -> None:
    class Historian(Observer):
        def observe(self, delivery: Delivery) -> None:
            HISTORY.append(("observer", delivery.delivered_at, delivery.step, delivery.dst))

    HISTORY.clear()
    watched(Historian, network=network)
    history = list(HISTORY)
    assert history
    order = [(time, step, who == "observer") for who, time, step, _ in history]
    assert order == sorted(order)
    assert {o[2] for o in order} == {True, False}


def test_every_observer_sees_an_instant_in_the_logs_order_and_at_once() -> None:
    class Batches(Observer):
        async def run(self) -> None:
            self.batches: list[list[int]] = []
            while True:
                self.batches.append([d.seq for d in await self.deliveries()])

        def findings(self) -> Any:
            return self.batches

    result = watched((Batches, {"as": "one"}), (Batches, {"as": "two"}))
    instants: dict[Any, list[int]] = {}
    for d in result.log:
        instants.setdefault((d.delivered_at, d.step), []).append(d.seq)
    assert result.findings == {"one": list(instants.values()), "two": list(instants.values())}
    assert max(map(len, instants.values())) > 5


def test_an_observer_may_be_a_coroutine() -> None:
    """Straight-line style: wait for the first mail, then the second, then no more."""

    class Two(Observer):
        name = "two"

        async def run(self) -> None:
            first = await self.deliveries()
            second = await self.deliveries()
            self.result = [len(first), first[0].delivered_at, len(second), second[0].delivered_at]

        def findings(self) -> Any:
            return self.result

    result = watched(Two)
    assert result.findings == {"two": [14, 1.0, 14, 2.0]}  # 12 ordered pairs, and twice between a1 and a2
    assert replay(result.log, [Two], solver=Chatter).findings == result.findings


# What it found --------------------------------------------------------------------------------------------------------


def test_findings_are_called_by_name_and_a_second_of_one_name_is_numbered() -> None:
    class Unnamed(Witness):
        name = ""

    result = watched(Witness, Witness, (Witness, {"as": "mine"}), (Witness, {"view": "agent:B"}), Unnamed)
    assert list(result.findings) == ["witness", "witness#2", "mine", "witness#3", "Unnamed"]
    assert result.findings["witness"] == result.findings["witness#2"] == result.findings["mine"]
    assert result.findings["witness#3"] != result.findings["witness"]


def test_findings_are_in_the_log() -> None:
    result = watched(Witness, (Witness, {"view": "agent:B"}))
    found = {r[2]: list(r[3]) for r in result.log.records() if r[0] == "finding"}
    assert found == result.findings


def test_a_report_is_in_the_log_at_its_moment() -> None:
    class Reporter(Witness):
        def observe(self, delivery: Delivery) -> None:
            if delivery.seq in (1, 15):
                self.report({"seq": delivery.seq})

    result = watched(Reporter)
    records = list(result.log.records())
    reports = [(i, r) for i, r in enumerate(records) if r[0] == "finding" and r[3] and "seq" in r[3]]
    assert [r for _, r in reports] == [
        ("finding", 1.0, "witness", {"seq": 1}),
        ("finding", 2.0, "witness", {"seq": 15}),
    ]
    for at, _ in reports:
        before = [r for r in records[:at] if type(r[0]) is int]
        after = [r for r in records[at:] if type(r[0]) is int]
        assert before[-1][2] < after[0][2]  # after the last delivery of its instant, before the next one's


def test_findings_become_plain_data() -> None:
    import numpy as np

    class Plain(Witness):
        def findings(self) -> Any:
            return {"table": np.arange(3), "n": np.float64(0.5), 1: (1, 2), "inf": float("inf"), "nan": float("nan")}

    result = watched(Plain)
    assert result.findings["witness"] == {"table": [0, 1, 2], "n": 0.5, "1": [1, 2], "inf": "inf", "nan": None}


# Watching changes nothing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["synchbb", Chatter])
@pytest.mark.parametrize("network", ["unit", "uniform:1,10+loss:.2+reliable", "constant:0"])
@pytest.mark.parametrize("check_cost", [0.0, 0.5])
def test_an_observer_cannot_change_a_run(solver: Any, network: str, check_cost: float) -> None:
    class Busy(Witness):
        def observe(self, delivery: Delivery) -> None:
            super().observe(delivery)
            self.report(delivery.seq)
            self.statements(delivery)

    alone = simulate(problem(), solver, seed=3, network=network, check_cost=check_cost)
    seen = watched(Busy, (Busy, {"view": "agent:B"}), solver=solver, seed=3, network=network, check_cost=check_cost)

    def records(result: Result) -> list[Any]:
        return [r for r in result.log.records() if r[0] != "finding"]

    assert records(alone) == records(seen)
    headers = [dict(r.log.header or {}) for r in (alone, seen)]
    assert [h.pop("observers") for h in headers] == [[], ["witness", "witness#2"]]
    assert headers[0] == headers[1]
    assert (alone.nccc, alone.virtual_time, alone.assignment) == (seen.nccc, seen.virtual_time, seen.assignment)


def test_what_an_observer_sees_it_cannot_change() -> None:
    class Vandal(Witness):
        def observe(self, delivery: Delivery) -> None:
            delivery.message.left = 99

    with pytest.raises(ObserverFailure, match="AttributeError"):
        watched(Vandal)


# One that fails fails the run -----------------------------------------------------------------------------------------


class Fails(Witness):
    where: ClassVar[str] = ""

    def fail(self, where: str) -> None:
        if where == self.where:
            raise ZeroDivisionError("on purpose")

    def start(self) -> None:
        super().start()
        self.fail("start")

    def observe(self, delivery: Delivery) -> None:
        self.fail("observe")

    def findings(self) -> Any:
        self.fail("findings")
        return 0


@pytest.mark.parametrize("where", ["start", "observe", "findings"])
def test_an_observer_that_raises_fails_the_run_and_is_named(where: str) -> None:
    culprit = type("Culprit", (Fails,), {"where": where})
    with pytest.raises(ObserverFailure, match=r"observer mole: .*ZeroDivisionError: on purpose") as caught:
        watched(Witness, (culprit, {"as": "mole"}))
    assert caught.value.observer == "mole"
    assert caught.value.result.status == "error"
    assert caught.value.result.findings == {}


def test_the_run_stops_at_once_when_an_observer_raises() -> None:
    class Third(Witness):
        def observe(self, delivery: Delivery) -> None:
            if delivery.delivered_at == 2.0:
                raise ValueError("enough")

    with pytest.raises(ObserverFailure, match="enough at time 2") as caught:
        watched(Third)
    assert max(d.delivered_at for d in caught.value.result.log) == 2.0


def test_an_observer_may_await_only_deliveries() -> None:
    class Sleepy(Observer):
        name = "sleepy"

        async def run(self) -> None:
            await asyncio.sleep(0.001)

    with pytest.raises(ObserverFailure, match=r"observer sleepy: .*kernel's waits"):
        watched(Sleepy)


def test_an_observer_is_not_waited_for() -> None:
    """An observer whose coroutine has returned, or that never looks at its mail, does not hold up the run."""

    class Idle(Witness):
        async def run(self) -> None:
            self.start()

    assert watched(Idle).findings == {"witness": []}
    assert simulate(problem(), IdleAgent, observers=[Witness]).findings == {"witness": []}


@pytest.mark.parametrize("spec", ["nobody", "nobody:view=all", "disclosures:view", "disclosures:=3"])
def test_an_observer_by_a_name_that_makes_no_sense_is_the_users_error(spec: str) -> None:
    with pytest.raises(UserError) as caught:
        watched(spec)
    assert "\n" not in str(caught.value)


def test_an_observer_that_is_satisfied_is_fed_no_more() -> None:
    """It sees the rest of the instant at which it had enough, and its findings stand; others go on."""

    class Enough(Observer):
        def start(self) -> None:
            self.seen = 0

        def observe(self, delivery: Delivery) -> None:
            self.seen += 1
            self.satisfied = self.seen >= 3

        def findings(self) -> Any:
            return self.seen

    class All(Enough):
        def observe(self, delivery: Delivery) -> None:
            self.seen += 1

    alone = simulate(problem(), "synchbb", observers=[Enough])
    both = simulate(problem(), "synchbb", observers=[Enough, All])
    assert alone.findings["Enough"] == both.findings["Enough"] == 3
    assert both.findings["All"] == len(list(both.log)) > 3
    assert list(alone.log) == list(both.log)
    assert replay(alone.log, [Enough, All]).findings == both.findings
    assert replay(alone.log, [Enough], verify=True).verified is True


def test_a_display_watches_and_leaves_no_trace() -> None:
    """An observer that is not recorded hears everything, and log and result do not know of it."""
    heard: list[Any] = []
    tapped: list[Any] = []

    class Display(Observer):
        recorded = False

        def start(self) -> None:
            assert self._mailbox is not None
            self._mailbox.kernel.writer.tap = tapped.append

        def observe(self, delivery: Delivery) -> None:
            heard.append(delivery.seq)
            self.report("nobody reads this")

        def ended(self, outcome: Any) -> None:
            heard.append(outcome.assignment)

        def findings(self) -> Any:
            raise AssertionError("nobody asks for them")

    plain = simulate(problem(), "synchbb", observers=[Witness])
    shown = simulate(problem(), "synchbb", observers=[Display, Witness, Display])
    assert shown.log._source == plain.log._source
    assert shown.findings == plain.findings
    assert "Display" not in shown.findings
    deliveries = len(list(plain.log))
    assert len(heard) == 2 * (deliveries + 1)
    assert heard.count(deliveries) == 2
    assert dict(shown.log.header or {})["observers"] == ["witness"]
    kinds = [record[0] for record in plain.log.records() if type(record[0]) is str]
    assert [record[0] for record in tapped] == kinds
    assert set(kinds) >= {"assign", "finding", "result"}
