"""Replay with `verify`: it passes on what agents did and on nothing else, and tells how far a cut log goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from agentsim.testing import random_problem
from tests.agentsim.record.replaying import (
    DELIVERIES,
    Chatter,
    Sleeper,
    Tally,
    a_run,
    chain,
    difference,
    records_of,
    relogged,
    shared_owners,
    verified,
)

# Verify passes on every run -------------------------------------------------------------------------------------------

PLAIN = ["unit", "constant:2.5", "uniform:1,10", "exponential:3", "lognormal:0,1"]
RELIABLE = ["uniform:1,4+loss:.3+duplicate:.2+reorder+reliable", "unit+loss:.4+reliable", "unit+slow:{0}*3"]
FAULTY = [
    "unit+loss:.15",
    "exponential:2+duplicate:.3",
    "uniform:1,9+reorder",
    "uniform:1,3+loss:.2+duplicate:.2+reorder",
    "unit+crash:{0}@3",
    "unit+crash:{0}@3-6",
    "uniform:1,4+crash:{0}@2-7+crash:{1}@5-6",
    "uniform:1,4+reliable+crash:{0}@3-9",
    "unit+partition:{0}|{1}@1-4",
]
INSTANT = ["constant:0", "constant:0+reorder", "uniform:0,1"]


def network_for(text: str, problem: Problem, seed: int) -> str:
    agents = problem.agents
    return text.format(agents[seed % len(agents)], agents[(seed // 2) % len(agents)])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    network=st.sampled_from([*PLAIN, *RELIABLE, "constant:0"]),
    check_cost=st.sampled_from([0.0, 1.0, 0.3]),
    carry=st.sampled_from(["none", "best"]),
)
def test_verify_passes_on_synchbb(seed: int, network: str, check_cost: float, carry: str) -> None:
    problem = random_problem(np.random.default_rng(seed), max_variables=5)
    network = network_for(network, problem, seed)
    result = simulate(problem, "synchbb", seed=seed, network=network, check_cost=check_cost, carry=carry)
    assert result.status in ("optimal", "infeasible")
    outcome = verified(result)
    assert outcome.first_difference is None
    assert outcome.verified is True
    assert outcome.complete is True
    assert outcome.deliveries == sum(1 for _ in result.log)


@settings(max_examples=70, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    network=st.sampled_from([*PLAIN, *RELIABLE, *FAULTY, *INSTANT]),
    check_cost=st.sampled_from([0.0, 1.0, 0.3]),
)
def test_verify_passes_where_everybody_talks_at_once(seed: int, network: str, check_cost: float) -> None:
    problem = random_problem(np.random.default_rng(seed), max_variables=6)
    network = network_for(network, problem, seed)
    result = simulate(problem, Chatter, seed=seed, network=network, check_cost=check_cost)
    assert verified(result, Chatter).first_difference is None


@pytest.mark.parametrize("check_cost", [0.0, 1.0, 0.3])
@pytest.mark.parametrize("network", [*PLAIN, *RELIABLE, *FAULTY, *INSTANT])
def test_verify_passes_where_timers_open_instants(network: str, check_cost: float) -> None:
    """A message sent by a timer may be lost, or still be on its way at the end, without any delivery in between."""
    for seed in range(6):
        problem = random_problem(np.random.default_rng(seed), max_variables=5)
        spec = network_for(network, problem, seed)
        result = simulate(problem, Sleeper, seed=seed, network=spec, check_cost=check_cost)
        assert verified(result, Sleeper).first_difference is None, f"seed {seed}, {spec}"


@pytest.mark.parametrize("seed", range(12))
def test_verify_passes_where_a_crash_loses_one_of_many_at_the_same_moment(seed: int) -> None:
    """What is lost at its arrival stands in the log between two deliveries of one instant, which stays one instant."""
    between = 0
    for agent in "AB":
        result = simulate(shared_owners(), Chatter, seed=seed, network=f"unit+crash:{agent}@1")
        records = list(result.log.records())
        between += sum(
            r[0] == "fate" and type(a[0]) is int and type(b[0]) is int and a[2:4] == b[2:4]
            for a, r, b in zip(records, records[1:], records[2:], strict=False)
        )
        assert verified(result, Chatter).first_difference is None
    assert between  # the case at hand did come up


@pytest.mark.parametrize("network", ["unit+loss:1", "unit+loss:.5"])
def test_verify_passes_on_a_run_that_ended_in_a_deadlock(network: str) -> None:
    for seed in range(8):
        result = simulate(chain(), "synchbb", seed=seed, network=network)
        assert result.status == "deadlock"
        assert verified(result).verified is True


@pytest.mark.parametrize("limit", [{"max_messages": 5}, {"max_time": 4.5}, {"max_messages": 1}, {"max_time": 0}])
def test_verify_passes_on_a_run_that_was_stopped(limit: dict[str, Any]) -> None:
    result = simulate(chain(), "synchbb", network="uniform:1,2", **limit)
    assert result.status == "timeout"
    outcome = verified(result)
    assert outcome.first_difference is None
    assert outcome.complete is True


def test_verify_passes_on_an_empty_run() -> None:
    assert verified(simulate(Problem.build([]), "synchbb")).verified is True


def test_verify_passes_on_a_run_whose_agent_failed() -> None:
    class Fails(Chatter):
        def decide(self) -> None:
            super().decide()
            if self.name == "b" and self.batches == 3:
                raise ZeroDivisionError("on purpose")

    with pytest.raises(AgentSimError, match="on purpose") as caught:
        simulate(chain(), Fails)
    outcome = verified(caught.value.result, Fails)  # type: ignore[attr-defined]
    assert outcome.first_difference is None


def test_a_file_verifies_as_the_log_in_memory_does(tmp_path: Path) -> None:
    path = tmp_path / "run.amlog"
    simulate(chain(), "synchbb", seed=3, network="uniform:1,5", log=path)
    assert replay(path, verify=True).verified is True
    assert replay(str(path), verify=True).verified is True
    assert replay(path.read_bytes(), verify=True).verified is True
    json.dumps(replay(path, verify=True).to_json(), allow_nan=False)


def test_verify_works_inside_a_running_loop() -> None:

    async def notebook() -> bool | None:
        return verified(simulate(chain(), "synchbb")).verified

    assert asyncio.run(notebook()) is True


# Verify fails on anything else ----------------------------------------------------------------------------------------


def test_relogging_itself_changes_nothing() -> None:
    """The forgeries below fail because of what they change."""
    result = a_run()
    assert relogged(result.log.header, records_of(result)) == result.log._source
    assert replay(relogged(result.log.header, records_of(result)), verify=True).verified is True


@pytest.mark.parametrize("at", DELIVERIES)
def test_a_tampered_payload_is_found_at_its_record(at: int) -> None:
    result = a_run()
    records = records_of(result)
    record = records[at]
    payload = bytes((record[10][0],)) + bytes(reversed(record[10][1:]))
    flipped = record[10][:-1] + bytes((record[10][-1] ^ 1,)) if payload == record[10] else payload
    records[at] = (*record[:10], flipped)
    found = difference(result, records)
    assert found["seq"] == record[0]
    assert found["agent"] == record[4]  # its sender
    assert record[10][:8].hex(" ") in found["got"]  # both payloads
    assert flipped[:8].hex(" ") in found["expected"]


@pytest.mark.parametrize(
    ("field", "change"),
    [
        (1, lambda sent_at: sent_at + 0.25),
        (4, lambda src: "abc"["abc".index(src) - 1]),
        (5, lambda dst: "abc"["abc".index(dst) - 1]),
        (6, lambda kind: "BACK" if kind != "BACK" else "TERM"),
        (7, lambda n: n + 1),
        (9, lambda stamp: stamp + 1),
    ],
    ids=["sent_at", "src", "dst", "type", "n", "stamp"],
)
def test_every_other_thing_that_an_agent_emitted_is_compared(field: int, change: Callable[[Any], Any]) -> None:
    result = a_run()
    for at in DELIVERIES:
        records = records_of(result)
        record = records[at]
        records[at] = (*record[:field], change(record[field]), *record[field + 1 :])
        assert difference(result, records)["seq"] == record[0]


def test_another_type_of_message_with_the_same_payload_is_found() -> None:
    result = simulate(chain(), Chatter, seed=1)
    for at in [i for i, r in enumerate(records_of(result)) if type(r[0]) is int]:
        records = records_of(result)
        records[at] = (*records[at][:6], "WHISPER", *records[at][7:])
        found = difference(result, records, Chatter)
        assert (found["seq"], found["agent"]) == (records[at][0], records[at][4])


def test_deliveries_are_numbered_one_by_one() -> None:
    """`seq` counts deliveries: a gap or a repetition is a log that something was taken out of or put into."""
    result = a_run()
    records = records_of(result)
    at = DELIVERIES[4]
    records[at] = (99, *records[at][1:])
    difference(result, records)


def test_a_removed_delivery_is_found() -> None:
    result = a_run()
    for at in DELIVERIES:
        records = records_of(result)
        removed = records.pop(at)
        assert difference(result, records)["seq"] in range(removed[0] - 1, removed[0] + 2)


def test_a_repeated_delivery_is_found() -> None:
    result = a_run()
    for at in DELIVERIES:
        records = records_of(result)
        records.insert(at, records[at])
        assert difference(result, records)["seq"] == records[at][0]


def test_a_delivery_moved_before_another_is_found() -> None:
    result = a_run()
    records = records_of(result)
    first, second = DELIVERIES[2:4]
    records[first], records[second] = records[second], records[first]
    difference(result, records)


@pytest.mark.parametrize("kind", ["assign", "bound"])
def test_a_changed_added_or_removed_declaration_is_found(kind: str) -> None:
    """The agent that declared something else is named."""
    result = simulate(chain(), Chatter, seed=3)
    places = [i for i, r in enumerate(records_of(result)) if r[0] == kind]
    assert places
    for at in places:
        record = records_of(result)[at]
        for forged in ([(*record[:3], record[3] + 1, *record[4:])], [], [record, record]):
            records = records_of(result)
            records[at : at + 1] = forged
            found = difference(result, records, Chatter)
            assert found["agent"] in ("a", "b", "c")
            if forged and len(forged) == 1:
                assert found["agent"] == record[2]


def test_a_changed_final_value_is_found() -> None:
    result = a_run()
    records = records_of(result)
    assignment = dict(records[-1][1]["assignment"])
    assignment["b"] = (assignment["b"] + 1) % 3
    records[-1] = ("result", {**records[-1][1], "assignment": assignment})
    assert difference(result, records)["agent"] == "b"


@pytest.mark.parametrize("key", ["messages", "bytes", "nccc"])
def test_a_changed_count_in_the_result_is_found(key: str) -> None:
    result = a_run()
    records = records_of(result)
    records[-1] = ("result", {**records[-1][1], key: records[-1][1][key] + 1})
    assert key in difference(result, records)["expected"]


def test_a_removed_loss_is_found() -> None:
    """What an agent sent and nobody got must be in the log too, as lost or undelivered."""
    result = simulate(chain(), "synchbb", seed=1, network="unit+loss:1")
    records = [r for r in records_of(result) if r[0] != "fate"]
    assert len(records) < len(records_of(result))
    assert difference(result, records)["expected"] == "nothing"


def test_an_invented_message_is_found() -> None:
    result = a_run()
    records = records_of(result)
    last = records[DELIVERIES[-1]]
    records.insert(DELIVERIES[-1] + 1, (last[0] + 1, *last[1:7], last[7] + 1, *last[8:]))
    assert difference(result, records)["got"] == "sent nothing"


def test_another_seed_in_the_header_is_found() -> None:
    result = simulate(chain(), Chatter, seed=1)
    header = {**(result.log.header or {}), "seed": 2}
    outcome = replay(relogged(header, records_of(result)), verify=True, solver=Chatter)
    assert outcome.verified is False


def test_other_costs_in_the_header_are_found() -> None:
    result = a_run()
    other = simulate(
        Problem.build(
            [Variable(n, Domain("d", (0, 1, 2)), unary=[2, 0, 1]) for n in "abc"],
            [Constraint("ab", ("a", "b"), [[1, 2, 0]] * 3), Constraint("bc", ("b", "c"), [[7, 8, 9]] * 3)],
        ),
        "synchbb",
    )
    header = {**(result.log.header or {}), "problem": (other.log.header or {})["problem"]}
    assert replay(relogged(header, records_of(result)), verify=True).verified is False


def test_a_flipped_bit_fails_as_damage(tmp_path: Path) -> None:
    path = tmp_path / "run.amlog"
    simulate(chain(), "synchbb", log=path)
    whole = path.read_bytes()
    for at in range(8, len(whole), 7):
        data = bytearray(whole)
        data[at] ^= 4
        outcome = replay(bytes(data), verify=True)
        assert outcome.verified is False
        assert outcome.complete is False
        assert "damaged at byte" in (outcome.damaged or "")
        assert "damaged" in (outcome.first_difference or {})


# Cut logs -------------------------------------------------------------------------------------------------------------


@cache
def long_run() -> bytes:
    """A log of several blocks."""
    d = Domain("d", tuple(range(5)))
    rng = np.random.default_rng(0)
    problem = Problem.build(
        [Variable(f"x{i}", d) for i in range(6)],
        [Constraint(f"c{i}{j}", (f"x{i}", f"x{j}"), rng.integers(0, 9, (5, 5))) for i in range(6) for j in range(i)],
    )
    source = simulate(problem, "synchbb", seed=1, carry="best").log._source
    assert isinstance(source, bytes)
    return source


def test_a_cut_log_is_not_verified_but_tells_how_far_it_is() -> None:
    data = long_run()
    total = replay(data).deliveries
    seen = set()
    for cut in [*range(len(data) - 3, 2000, -len(data) // 5), len(data) - 1]:
        outcome = replay(data[:cut], verify=True)
        assert outcome.verified is False
        assert outcome.complete is False
        assert outcome.damaged is None
        assert 0 <= outcome.deliveries < total
        assert outcome.first_difference is not None
        assert str(outcome.deliveries) in outcome.first_difference["cut"]
        seen.add(outcome.deliveries)
    assert len(seen) > 2


def test_a_log_without_its_result_is_a_cut_log() -> None:
    result = a_run()
    outcome = replay(relogged(result.log.header, records_of(result)[:-1]), verify=True)
    assert outcome.verified is False
    assert "cut" in (outcome.first_difference or {})
    assert outcome.deliveries == result.messages


def test_a_tampered_record_in_a_cut_log_is_named() -> None:
    result = a_run()
    records = records_of(result)[: DELIVERIES[6] + 1]
    at = DELIVERIES[2]
    records[at] = (*records[at][:9], records[at][9] + 5, records[at][10])
    assert difference(result, records)["seq"] == records[at][0]


def test_a_log_cut_within_its_header_cannot_be_replayed() -> None:
    with pytest.raises(UserError, match="cut off within its header"):
        replay(long_run()[:200], verify=True)


def test_a_cut_log_can_be_observed_up_to_the_cut() -> None:
    data = long_run()
    whole = replay(data, [Tally]).findings["tally"]
    cut = replay(data[: len(data) // 2], [Tally])
    assert cut.complete is False
    assert cut.damaged is None
    assert cut.findings["tally"] == whole[: cut.deliveries]
    assert 0 < cut.deliveries < len(whole)
