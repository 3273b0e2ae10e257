"""Gates: asked before anything leaves, told what the receiver could conclude, and able to end the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Literal

import pytest

from agentsim import AgentFailure, Constraint, Domain, Envelope, Problem, UserError, Variable, replay, simulate
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import pack
from agentsim.runtime.observer import Observer
from agentsim.runtime.result import Result
from agentsim.runtime.statements import CostIs, Statement
from agentsim.runtime.view import LocalView
from solvers.synchbb import Back, Fwd, SynchBB, Terminate

Verdict = Literal["send", "abandon"]


class Guard:
    """Writes down all that it is asked, and lets `limit` messages out."""

    def __init__(self, limit: float = float("inf"), refuse: Callable[[Envelope], bool] = lambda e: False) -> None:
        self.limit, self.refuse = limit, refuse
        self.asked: list[tuple[Mapping[str, LocalView], Envelope, list[Statement]]] = []

    def before_send(self, views: Mapping[str, LocalView], envelope: Envelope, statements: list[Statement]) -> Verdict:
        self.asked.append((views, envelope, statements))
        return "abandon" if len(self.asked) > self.limit or self.refuse(envelope) else "send"


def problem(owners: Mapping[str, str] | None = None) -> Problem:
    d = Domain("d", (0, 1, 2))
    owners = owners or {"a": "a", "b": "b", "c": "c"}
    names = list(owners)
    return Problem.build(
        [Variable(n, d, agent, unary=[2, 0, 1]) for n, agent in owners.items()],
        [Constraint(x + y, (x, y), [[1, 2, 0]] * 3) for x, y in pairwise(names)],
    )


def gated(gates: Mapping[str, Guard], solver: Any = SynchBB, owners: Mapping[str, str] | None = None,
          **options: Any) -> Result:  # fmt: skip
    return simulate(problem(owners), solver, gates=gates, order="a,b,c", **options)


def sent_by(result: Result, agent: str) -> list[tuple[Any, ...]]:
    return [(d.sent_at, d.src, d.dst, d.type, d.n, d.message) for d in result.log if d.src == agent]


def test_a_gate_sees_every_message_of_its_agent_and_no_others() -> None:
    guard = Guard()
    result = gated({"b": guard}, network="uniform:1,3")
    assert result.status == "optimal"
    assert [tuple(e) for _, e, _ in guard.asked] == sent_by(result, "b")
    assert {type(e.message) for _, e, _ in guard.asked} == {Fwd, Back, Terminate}


def test_a_gate_that_lets_all_pass_changes_nothing() -> None:
    free, guarded = simulate(problem(), SynchBB, order="a,b,c"), gated({"a": Guard(), "b": Guard(), "c": Guard()})
    assert list(free.log) == list(guarded.log)
    assert (guarded.log.header or {})["gates"] == ["a", "b", "c"]
    assert (free.cost, free.nccc, free.messages, free.bytes) == (
        guarded.cost, guarded.nccc, guarded.messages, guarded.bytes,
    )  # fmt: skip


def test_a_gate_is_asked_before_the_message_leaves() -> None:
    """When it is asked, nothing of this message has been logged, counted or delivered."""
    at_asking: list[int] = []

    class Watcher(Observer):
        def observe(self, delivery: Delivery) -> None:
            if delivery.src == "b":
                at_asking.append(-delivery.n)

    def note(envelope: Envelope) -> bool:
        at_asking.append(envelope.n)
        return False

    gated({"b": Guard(refuse=note)}, observers=[Watcher])
    for n in {abs(k) for k in at_asking}:
        assert at_asking.index(n) < at_asking.index(-n)


@pytest.mark.parametrize("limit", range(6))
def test_abandoning_ends_the_run_and_the_message_is_nowhere(limit: int) -> None:
    guard = Guard(limit)
    result = gated({"b": guard})
    refused = guard.asked[-1][1]
    assert len(guard.asked) == limit + 1
    assert result.status == "abandoned"
    assert result.agents["b"].messages == limit + 2
    assert [d.type for d in result.log if d.src == "b"][limit:] == ["ABANDON", "ABANDON"]
    assert "ABANDON" not in [d.type for d in result.log if d.src == "b"][:limit]
    records = list(result.log.records())
    assert not any(d.payload == pack(refused.message) and d.dst == refused.dst and d.n > limit for d in result.log)
    assert next(r for r in records if r[0] == "abandon")[1:3] == (refused.sent_at, "b")
    assert records[-1][0] == "result"
    assert records[-1][1]["status"] == "abandoned"


@pytest.mark.parametrize("network", ["unit", "exponential:3", "unit+loss:0.3", "constant:0"])
def test_everybody_is_told_and_then_it_is_over(network: str) -> None:
    """Who has been told sends no more; where the message is lost the run ends when nothing moves any more."""
    result = gated({"b": Guard(1)}, network=network, seed=7)
    assert result.status == "abandoned"
    assert result.abandoned is not None
    assert (result.abandoned.agent, result.abandoned.node) == ("b", "b")
    told = {d.dst: d.delivered_at for d in result.log if d.type == "ABANDON"}
    assert told.keys() == {"a", "c"} or "loss" in network
    assert not any(d.src in told and d.sent_at > told[d.src] for d in result.log)
    assert replay(result.log, verify=True, solver=SynchBB).verified is True


def test_two_may_abandon_at_one_moment() -> None:
    result = gated({"a": Guard(1), "c": Guard(0), "b": Guard(1)})
    records = [r for r in result.log.records() if r[0] == "abandon"]
    assert len(records) >= 1
    assert replay(result.log, verify=True, solver=SynchBB).verified is True


def test_gates_may_be_made_of_the_setup() -> None:
    def make(setup: Any, solver: Any) -> dict[str, Guard]:
        assert solver is SynchBB
        return {agent: Guard(0) for agent in setup.problem.agents}

    result = simulate(problem(), SynchBB, gates=make, order="a,b,c")
    assert result.status == "abandoned"
    assert (result.log.header or {})["gates"] == ["a", "b", "c"]


def test_the_reason_a_gate_gives_is_told() -> None:
    class Reasoned(Guard):
        def before_send(self, *args: Any) -> Any:
            return ("abandon", "too dear")

    result = gated({"b": Reasoned()})
    assert result.abandoned is not None
    assert result.abandoned.reason.endswith("too dear")
    assert result.to_json()["abandoned"]["agent"] == "b"


def test_abandoning_is_told_with_agent_message_and_receiver() -> None:
    result = gated({"b": Guard(0)})
    note = next(n for n in result.notes if "abandoned" in n)
    assert "b abandoned at time" in note
    assert "to c" in note
    assert "FWD" in note


def test_abandoning_cannot_be_caught_by_the_agent() -> None:
    class Stubborn(SynchBB):
        def advance(self) -> None:
            try:
                super().advance()
            except Exception:
                self.finish()

    assert gated({"b": Guard(1)}, Stubborn).status == "abandoned"


def test_an_abandoned_run_returns_the_best_joint_assignment_it_held() -> None:
    late = gated({"a": Guard(refuse=lambda e: e.type == "TERM")})
    assert late.status == "abandoned"
    assert late.cost == simulate(problem(), SynchBB).cost  # all had taken their best value by then
    early = gated({"a": Guard(0)})
    assert (early.cost, early.assignment) == (None, {})


def test_an_abandoned_run_verifies() -> None:
    for limit in range(5):
        assert replay(gated({"b": Guard(limit)}).log, verify=True, solver=SynchBB).verified is True


def test_what_the_gate_is_told_is_what_the_receiver_concludes() -> None:
    """Here b talks to a and c; to each it is told what that one's own reader draws from the message."""
    guard = Guard()
    result = gated({"b": guard}, network="uniform:1,3")

    class Hears(Observer):
        def start(self) -> None:
            self.said: list[Any] = []

        def observe(self, delivery: Delivery) -> None:
            statements = self.statements(delivery)
            if delivery.src == "b":
                self.said.append([delivery.n, list(map(repr, statements))])

        def findings(self) -> Any:
            return self.said

    for receiver in "ac":
        told = [[e.n, list(map(repr, s))] for _, e, s in guard.asked if e.dst == receiver]
        seen = replay(result.log, [(Hears, {"view": f"agent:{receiver}", "as": "x"})], solver=SynchBB).findings["x"]
        assert told == seen
        assert any(said for _, said in told)


def test_what_the_receiver_sent_before_is_taken_into_account() -> None:
    """a knows what it sent to b, so b's answer tells it the cost of the agents behind."""
    guard = Guard()
    gated({"b": guard})
    back = [s for _, e, s in guard.asked if e.type == "BACK" and e.message.version > 0]
    assert any(isinstance(s, CostIs) and s.label == "improved-suffix" for said in back for s in said)


def test_a_gate_without_a_reader_is_told_nothing() -> None:
    class Unread(SynchBB):
        reader = None

    guard = Guard()
    assert gated({"b": guard}, Unread).status == "optimal"
    assert guard.asked
    assert all(said == [] for _, _, said in guard.asked)


def test_a_gate_sees_its_agents_own_local_views() -> None:
    guard = Guard()
    gated({"B": guard}, owners={"a": "A", "b": "B", "c": "B"})
    views = guard.asked[0][0]
    assert set(views) == {"b", "c"}
    assert {v.agent for v in views.values()} == {"B"}
    assert views["b"].unary.tolist() == [2, 0, 1]


def test_messages_between_nodes_of_one_agent_pass_without_being_asked_about() -> None:
    guard = Guard()
    result = gated({"B": guard}, owners={"a": "A", "b": "B", "c": "B"})
    assert result.local_messages > 0
    assert {(e.src, e.dst) for _, e, _ in guard.asked} == {("b", "a")}


def test_a_gate_sees_the_message_as_it_will_arrive() -> None:
    """Decoded from its bytes: it cannot be changed at the door."""
    guard = Guard()
    result = gated({"a": guard})
    assert [e.message for _, e, _ in guard.asked] == [d.message for d in result.log if d.src == "a"]
    with pytest.raises(AttributeError):
        guard.asked[0][1].message.cost = 0


class Odd(Guard):
    def before_send(self, *args: Any) -> Any:
        return "perhaps"


class Broken(Guard):
    def before_send(self, *args: Any) -> Any:
        raise ZeroDivisionError("on purpose")


def test_a_gate_that_says_something_else_or_raises_fails_the_run() -> None:
    with pytest.raises(AgentFailure, match="gate of b returned 'perhaps'"):
        gated({"b": Odd()})
    with pytest.raises(AgentFailure, match="agent b: ZeroDivisionError: on purpose"):
        gated({"b": Broken()})


def test_a_gate_for_nobody_is_the_users_error() -> None:
    with pytest.raises(UserError, match="no agent is called 'nobody'"):
        gated({"nobody": Guard()})


def test_two_gates_each_guard_their_own() -> None:
    one, other = Guard(), Guard(2)
    result = gated({"a": one, "c": other})
    assert result.status == "abandoned"
    assert {e.src for _, e, _ in one.asked} == {"a"}
    assert {e.src for _, e, _ in other.asked} == {"c"}
    assert "c abandoned" in " ".join(result.notes)
