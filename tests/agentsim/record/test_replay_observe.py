"""Replay to observers: they find what they found live, also in a redacted log as far as that goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentsim import (
    AgentSimError,
    Constraint,
    Domain,
    Problem,
    UserError,
    Variable,
    replay,
    simulate,
)
from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.observer import Observer
from tests.agentsim.record.replaying import Abandons, Chatter, Sleeper, Tally, chain, shared_owners, verified


class Moments(Observer):
    """A straight-line observer: how its mail came in batches, summed up in floating point; reports as it goes."""

    name = "moments"

    async def run(self) -> None:
        self.batches: list[Any] = []
        self.sum = 0.1
        self.statements_seen = 0
        while True:
            batch = await self.deliveries()
            for delivery in batch:
                self.sum = (self.sum * 1.1 + delivery.delivered_at / 3) % 1.0
                self.statements_seen += len(self.statements(delivery))
            self.batches.append([len(batch), batch[0].delivered_at, batch[0].step])
            self.report({"sum": self.sum, "batches": len(self.batches)})

    def findings(self) -> Any:
        return {"batches": self.batches, "sum": self.sum, "reports": self._reports, "said": self.statements_seen}


VIEWS = ["all", "agent:A", "agent:C", "coalition:A+C", "wire:A>B", "wire:B>A"]


@pytest.mark.parametrize(("solver", "network"), [
    ("synchbb", "unit"),
    ("synchbb", "uniform:1,10"),
    ("synchbb", "constant:0"),
    (Chatter, "unit"),
    (Chatter, "exponential:2+loss:.1+duplicate:.2"),
    (Chatter, "constant:0"),
    (Sleeper, "unit+crash:B@3-6"),
])  # fmt: skip
@pytest.mark.parametrize("check_cost", [0.0, 0.7])
def test_observe_finds_what_was_found_live(solver: str | type[Agent], network: str, check_cost: float) -> None:
    observers: list[Any] = [
        (cls, {"view": view, "as": f"{cls.name}:{view}"}) for view in VIEWS for cls in (Tally, Moments)
    ]
    live = simulate(shared_owners(), solver, seed=4, network=network, check_cost=check_cost, observers=observers)
    assert all(live.findings[f"tally:{view}"] for view in VIEWS)
    outcome = replay(live.log, observers, solver=None if isinstance(solver, str) else solver)
    assert outcome.verified is None
    assert outcome.complete is True
    assert outcome.findings == live.findings
    assert json.dumps(outcome.findings) == json.dumps(live.findings)  # to the last bit


def test_observers_of_today_see_the_run_of_yesterday(tmp_path: Path) -> None:
    """Whoever watched live, or nobody: the feed is the log."""
    path = tmp_path / "run.amlog"
    simulate(shared_owners(), "synchbb", seed=4, log=path)
    watched = simulate(shared_owners(), "synchbb", seed=4, observers=[Tally, Moments])
    assert replay(path, [Tally, Moments]).findings == watched.findings


def test_observe_and_verify_go_together() -> None:
    live = simulate(shared_owners(), "synchbb", seed=4, observers=[Tally])
    outcome = replay(live.log, [Tally], verify=True)
    assert outcome.verified is True
    assert outcome.findings == live.findings


@pytest.mark.parametrize("sends", range(5))
def test_observe_finds_what_was_found_live_when_an_agent_abandoned(sends: int) -> None:
    """What was delivered in the last instant is in the log, so observers have seen it, live too."""
    live = simulate(shared_owners(), Chatter, seed=4, gates={"B": Abandons(sends)}, observers=[Tally])
    assert live.status == "abandoned"
    outcome = replay(live.log, [Tally], verify=True, solver=Chatter)
    assert outcome.findings == live.findings
    assert outcome.first_difference is None


@pytest.mark.parametrize("limit", [{"max_messages": 7}, {"max_time": 3.0}])
def test_observe_finds_what_was_found_live_when_the_run_was_stopped(limit: dict[str, Any]) -> None:
    live = simulate(shared_owners(), Chatter, seed=4, observers=[Tally, Moments], **limit)
    assert live.status == "timeout"
    assert replay(live.log, [Tally, Moments], solver=Chatter).findings == live.findings


def test_an_observer_that_fails_in_replay_fails_the_replay() -> None:
    class Broken(Tally):
        def observe(self, delivery: Delivery) -> None:
            raise KeyError("oops")

    with pytest.raises(AgentSimError, match="oops"):
        replay(simulate(chain(), "synchbb").log, [Broken])


# Redacted logs --------------------------------------------------------------------------------------------------------


def test_a_redacted_log_cannot_be_verified_and_says_why() -> None:
    result = simulate(chain(), "synchbb", redact=True)
    with pytest.raises(UserError, match="redact") as caught:
        verified(result)
    assert "\n" not in str(caught.value)


def test_a_redacted_log_can_be_observed_and_observers_are_told() -> None:
    class Told(Tally):
        def findings(self) -> Any:
            return [self.context.redacted, self.seen]

    live = simulate(chain(), "synchbb", redact=True, observers=[Told])
    assert live.findings["tally"][0] is False
    outcome = replay(live.log, [Told])
    assert outcome.findings["tally"] == [True, live.findings["tally"][1]]


class Statements(Observer):
    name = "statements"
    default_view = "agent:b"

    def start(self) -> None:
        self.said: list[str] = []

    def observe(self, delivery: Delivery) -> None:
        self.said.extend(map(repr, self.statements(delivery)))

    def findings(self) -> Any:
        return self.said


@pytest.mark.parametrize("ranges", [True, False], ids=["declared", "read off"])
def test_statements_from_a_redacted_log_carry_the_offsets_of_the_run(ranges: bool) -> None:
    """Offsets are public and in the header; they cannot be worked out from costs that are not there."""
    d = Domain("d", (0, 1, 2))
    bounds = (-9, 9) if ranges else None
    problem = Problem.build(
        [Variable(n, d, unary=[-4, 0, -1], cost_range=bounds) for n in "abc"],
        [
            Constraint("ab", ("a", "b"), [[1, -2, 0]] * 3, cost_range=bounds),
            Constraint("bc", ("b", "c"), [[0, -3, 1]] * 3, cost_range=bounds),
        ],
    )
    live = simulate(problem, "synchbb", redact=True, observers=[Statements])
    assert any("offset=" in s and "offset=0" not in s for s in live.findings["statements"])
    assert replay(live.log, [Statements]).findings == live.findings
