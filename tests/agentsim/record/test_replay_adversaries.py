"""Replay of runs with adversaries and gates, and of what came from outside: taken from the log, not done again."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import pytest

from agentsim import (
    Alter,
    Delay,
    Drop,
    Envelope,
    replay,
    simulate,
)
from agentsim.runtime.result import Result
from tests.agentsim.record.replaying import (
    Abandons,
    Chat,
    Chatter,
    Liar,
    Sleeper,
    chain,
    difference,
    records_of,
    relogged,
    verified,
)


def test_a_replaced_agent_is_skipped_and_the_others_are_verified() -> None:
    result = simulate(chain(), "synchbb", replace={"b": Liar}, network="uniform:1,3")
    assert result.cost != simulate(chain(), "synchbb").cost or result.messages
    outcome = verified(result)
    assert outcome.verified is True
    assert outcome.complete is False
    assert outcome.skipped == ("b",)
    assert any("b" in note and "not run again" in note for note in outcome.notes)


def test_what_the_others_did_beside_a_replaced_agent_is_compared() -> None:
    result = simulate(chain(), "synchbb", replace={"b": Liar}, network="uniform:1,3")
    records = records_of(result)
    at = next(i for i, r in enumerate(records) if type(r[0]) is int and r[4] != "b" and r[7] > 1)
    records[at] = (*records[at][:9], records[at][9] + 1, records[at][10])
    found = difference(result, records)
    assert (found["seq"], found["agent"]) == (records[at][0], records[at][4])


def test_a_replaced_agents_own_sends_are_taken_from_the_log() -> None:
    result = simulate(chain(), Chatter, seed=1, replace={"b": Sleeper}, network="uniform:1,3+loss:.1+duplicate:.1")
    assert any(d.src == "b" for d in result.log)
    outcome = verified(result, Chatter)
    assert outcome.first_difference is None
    assert outcome.skipped == ("b",)


def dropper(envelope: Envelope) -> Drop | None:
    return Drop() if envelope.src == "a" and envelope.n % 4 == 0 else None


def delayer(envelope: Envelope) -> Delay | None:
    return Delay(3.5) if envelope.dst == "a" else None


def alterer(envelope: Envelope) -> Alter | None:
    return Alter(Chat(0, 0.5)) if envelope.n % 3 == 0 else None


@pytest.mark.parametrize("network", ["unit", "uniform:1,5", "unit+loss:.1+duplicate:.3", "unit+loss:.3+reliable"])
@pytest.mark.parametrize(
    "interceptors",
    [[dropper], [delayer], [alterer], [delayer, alterer, dropper]],
    ids=["drop", "delay", "alter", "all"],
)
def test_interceptors_are_not_run_again_and_the_agents_verify(interceptors: list[Any], network: str) -> None:
    for seed in range(5):
        result = simulate(chain(), Chatter, seed=seed, interceptors=interceptors, network=network)
        outcome = verified(result, Chatter)
        assert outcome.first_difference is None
        assert any("interceptors" in note for note in outcome.notes)


def test_what_an_interceptor_altered_is_in_the_log_and_compared() -> None:
    """The original is what the agent must have sent."""
    result = simulate(chain(), Chatter, seed=1, interceptors=[alterer])
    records = records_of(result)
    at = next(i for i, r in enumerate(records) if r[:2] == ("fate", "altered"))
    original = records[at]
    delivered = next(r for r in records if type(r[0]) is int and (r[4], r[7]) == (original[3], original[6]))
    assert delivered[10] != original[9]
    records[at] = (*original[:9], delivered[10])
    assert difference(result, records, Chatter)["agent"] == original[3]


def test_gates_are_not_run_again() -> None:
    result = simulate(chain(), "synchbb", gates={"b": Abandons(3)})
    assert result.status == "abandoned"
    assert verified(result).verified is True


# What came from outside -----------------------------------------------------------------------------------------------

CALLS = count()


class Asker(Chatter):
    """Waits for something real before it says it; what it gets is never the same twice."""

    async def run(self) -> None:
        self.start()
        for label in ("key", "key", "table"):
            self.talk(0)
            answer = await self.external(label, self.fetch)
            for name in self.view.neighbours:
                self.send(name, Chat(1, float(answer)))
        while not self.finished:
            for sender, chat in await self.drain():
                self.on_chat(sender, chat)
            self.decide()

    async def fetch(self) -> int:
        await asyncio.sleep(0)
        return next(CALLS)


def asked() -> tuple[Result, list[int]]:
    """A run in which all wait at once, and where the results stand in its log."""
    result = simulate(chain(), Asker, seed=4, network="uniform:1,3")
    at = [i for i, record in enumerate(records_of(result)) if record[0] == "external"]
    assert len(at) == 9
    return result, at


def test_what_came_from_outside_is_taken_from_the_log() -> None:
    result, _ = asked()
    before = next(CALLS)
    assert verified(result, Asker).verified is True
    assert next(CALLS) == before + 1, "nothing was asked again"


def test_results_from_outside_may_stand_in_any_order_between_two_deliveries() -> None:
    result, at = asked()
    records = records_of(result)
    assert at == [*range(at[0], at[0] + 9)], "all before the first delivery"
    for node in ("b", "c"):  # those of one agent keep their order
        mine = [i for i in at if records[i][2] == node]
        others = [i for i in at if records[i][2] != node]
        moved = [*records[: at[0]], *(records[i] for i in (*mine, *others)), *records[at[-1] + 1 :]]
        assert replay(relogged(result.log.header, moved), verify=True, solver=Asker).verified is True


@pytest.mark.parametrize("which", range(9))
def test_a_forged_result_from_outside_is_found(which: int) -> None:
    result, at = asked()
    records = records_of(result)
    kind, when, node, label, answer = records[at[which]]
    for forged in ([(kind, when, node, label, answer + 1)], [], [(kind, when, node, "other", answer)]):
        found = difference(result, [*records[: at[which]], *forged, *records[at[which] + 1 :]], Asker)
        assert found["agent"] == node
        if not forged or forged[0][3] == "other":
            assert f"no such external result, the agent waits for {label}" in found["got"]
