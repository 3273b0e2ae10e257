"""Replay of logs that somebody forged or made up: they neither verify nor hang nor crash."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agentsim import (
    AgentSimError,
    UserError,
    replay,
    simulate,
)
from tests.agentsim.record.replaying import (
    DELIVERIES,
    Chatter,
    Liar,
    Record,
    Tally,
    a_run,
    chain,
    difference,
    records_of,
    relogged,
    within,
)

# A log is data from elsewhere -----------------------------------------------------------------------------------------


def test_a_log_whose_time_runs_backwards_is_damaged() -> None:
    result = a_run()
    records = records_of(result)
    at = DELIVERIES[3]
    records.insert(at + 1, ("wake", 0.5, 0))
    found = replay(relogged(result.log.header, records), verify=True)
    assert found.verified is False
    assert "time runs backwards" in (found.damaged or str(found.first_difference))


def test_a_delivery_to_nobody_is_found() -> None:
    """The sender is not run again, so that nothing but the receiver's name is wrong."""
    result = simulate(chain(), "synchbb", replace={"b": Liar}, network="uniform:1,3")
    records = records_of(result)
    at = next(i for i, r in enumerate(records) if type(r[0]) is int and r[4] == "b")
    records[at] = (*records[at][:5], "nobody", *records[at][6:])
    found = difference(result, records)
    assert (found["seq"], found["agent"]) == (records[at][0], "b")
    assert found["got"] == "knows no such agent"


def test_a_solver_that_is_not_installed_is_named() -> None:
    with pytest.raises(UserError, match="Chatter"):
        replay(relogged(simulate(chain(), Chatter).log.header, []))


HOSTILE_HEADER = {
    "seed": ["abc", None, [1]],
    "check_cost": ["x", float("nan"), -1.0, [0]],
    "realtime": ["x", {}],
    "replaced": [5, True],
    "params": [None, [1], {"unheard": 1}, {"carry": "all"}],
    "places": [None, 5, {}, {"tree": [1], "orders": None, "tells_place": True}, {"tree": None, "orders": [["a"]]}],
    "network": [None, 5, "warp", "unit+crash:zz@1"],
    "problem": [None, 5, {}, {"format": "agentsim-problem"}],
    "solver": [None, 5, "unheard"],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in HOSTILE_HEADER.items() for v in values])
def test_a_hostile_header_is_refused_or_does_not_verify(key: str, value: Any) -> None:
    result = a_run()
    header = {**(result.log.header or {}), key: value}
    verdict: bool | str | None
    try:
        verdict = replay(relogged(header, records_of(result)), verify=True).verified
    except AgentSimError as error:
        verdict = str(error)
    assert verdict is not True
    assert "\n" not in str(verdict)


@pytest.mark.parametrize("key", ["seed", "params", "places", "network", "problem", "solver", "nodes"])
def test_a_header_that_lacks_something_is_refused(key: str) -> None:
    result = a_run()
    header = {k: v for k, v in (result.log.header or {}).items() if k != key}
    with pytest.raises(AgentSimError):
        replay(relogged(header, records_of(result)), verify=True)


NAN = float("nan")
HOSTILE_RECORDS: list[Record] = [
    ("crash", 0.5, "unheard"),
    ("restart", 0.5, "unheard"),
    ("assign", 0.0, "unheard", 0),
    ("fate", "dropped", 0.0, "unheard", "a", "FWD", 1, 0, "loss", b"\x90"),
    ("fate", "unheard of", 0.0, "a", "b", "FWD", 1, 0, "loss", b"\x90"),
    (1, 0.0, 1.0, 0, "unheard", "a", "FWD", 1, 0, 0, b"\x93\x01\x01\x90"),
    (1, 0.0, 1.0, 0, "a", "unheard", "FWD", 1, 0, 0, b"\x93\x01\x01\x90"),
    (1, 0.0, 1.0, 0, "a", "b", "UNHEARD", 1, 0, 0, b"\x93\x01\x01\x90"),
    (1, 0.0, 1.0, 0, "a", "b", "FWD", 1, 0, 0, b"garbage"),
    ("crash", NAN, "a"),
    ("restart", NAN, "a"),
    ("wake", NAN, 0),
    ("assign", NAN, "a", 0),
    (1, NAN, NAN, 0, "a", "b", "BACK", 1, 0, 0, b"\x93\x01\x01\x90"),
]


def hostile(records: list[Record], *, verify: bool) -> bool | str | None:
    """Replay what somebody made up: whether it verifies, or the one line that refuses it."""
    observers: list[Any] = [(Tally, {"view": view}) for view in ("all", "agent:a", "coalition:a+b", "wire:a>b")]
    try:
        with within(5):
            return replay(relogged(a_run().log.header, records), observers, verify=verify).verified
    except AgentSimError as error:
        return str(error)


@pytest.mark.parametrize("verify", [True, False], ids=["verify", "observe"])
@pytest.mark.parametrize(
    "record", HOSTILE_RECORDS, ids=lambda r: f"{r[0]} {r[1]} {r[-1] if r[0] == 'fate' else r[2:7]}"
)
def test_a_hostile_record_neither_passes_nor_hangs_nor_crashes(record: Record, verify: bool) -> None:
    records = records_of(a_run())
    for at in (0, DELIVERIES[3]):
        assert hostile([*records[:at], record, *records[at:]], verify=verify) is not True


@pytest.mark.parametrize(
    "summary",
    [{}, {"assignment": 5, "status": "optimal"}, {"assignment": [1]}, {"status": [1]}, {"virtual_time": "late"}],
    ids=repr,
)
def test_a_hostile_result_neither_hangs_nor_crashes(summary: dict[str, Any]) -> None:
    *records, result = records_of(a_run())
    records.append(("result", {**result[1], **summary} if summary else {}))
    for verify in (True, False):
        hostile(records, verify=verify)


def forgeries() -> Iterator[tuple[str, bytes]]:
    result = a_run()
    for i in range(len(records_of(result)) - 1):
        yield (
            f"without record {i}",
            relogged(result.log.header, [r for k, r in enumerate(records_of(result)) if k != i]),
        )


def test_no_record_can_be_left_out() -> None:
    for what, data in forgeries():
        assert replay(data, verify=True).verified is False, what


# Forgeries beyond the deliveries --------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["cost", "messages", "bytes", "nccc"])
def test_a_forged_figure_of_the_result_does_not_verify(key: str) -> None:
    result = a_run()
    *records, (_, summary) = records_of(result)
    forged = [*records, ("result", {**summary, key: summary[key] + 1})]
    outcome = replay(relogged(result.log.header, forged), verify=True)
    assert outcome.verified is False
    assert outcome.first_difference is not None
    assert outcome.first_difference["expected"] == f"{key} {summary[key] + 1}"


@pytest.mark.parametrize("key", ["nodes", "offsets", "floors", "costs"])
def test_a_header_that_does_not_follow_from_its_problem_does_not_verify(key: str) -> None:
    result = a_run()
    assert result.log.header is not None
    forged: Any = {"offsets": {"unary": {"a": 7}, "constraints": {}}, "costs": "signed"}.get(key, {"a": "b"})
    outcome = replay(relogged({**result.log.header, key: forged}, records_of(result)), verify=True)
    assert outcome.verified is False


def test_a_timer_that_nobody_set_does_not_verify() -> None:
    result = a_run()
    records = records_of(result)
    last = max(i for i, r in enumerate(records) if type(r[0]) is int)
    records.insert(last + 1, ("wake", records[last][2], records[last][3]))
    assert replay(relogged(result.log.header, records), verify=True).verified is False
