"""Logs kept from an earlier day: they replay, verify, and are written again byte for byte.

A log that no longer does tells that yesterday's results cannot be reproduced any more. If that is intended (the format,
a solver's messages or a random stream has changed on purpose), say so in the CHANGELOG, and make them anew with

    python tests/golden/test_golden.py
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentsim import Constraint, Domain, Problem, Variable, open_log, replay, simulate
from agentsim.record.log import LogWriter
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.observer import Observer
from agentsim.testing import brute_force

HERE = Path(__file__).parent


class Ears(Observer):
    """Keeps a running digest of what it sees, in floating point, and all statements."""

    name = "ears"

    def start(self) -> None:
        self.digest, self.said = 0.5, 0

    def observe(self, delivery: Delivery) -> None:
        self.digest = (self.digest * 1.25 + delivery.delivered_at / 7 + sum(delivery.payload)) % 1.0
        self.said += len(self.statements(delivery))
        if delivery.seq % 10 == 0:
            self.report([delivery.seq, self.digest])

    def findings(self) -> Any:
        return {"digest": self.digest, "said": self.said}


OBSERVERS: list[Any] = [(Ears, {"view": view, "as": view}) for view in ("all", "agent:cara", "wire:ann>bob")]


def meeting() -> Problem:
    """Three people, one with two variables; hard tuples, negative and unary costs, a ternary constraint, max."""
    hours = Domain("hours", ("9:00", "10:00", "11:00"))
    no = -math.inf
    return Problem.build(
        [
            Variable("ann1", hours, "ann", unary=[3, 0, -2]),
            Variable("ann2", hours, "ann", unary=[0, 1, 1]),
            Variable("bob", hours, unary=[1, 0, 2], cost_range=(0, 2)),
            Variable("cara", hours),
        ],
        [
            Constraint("differ", ("ann1", "ann2"), [[no, 0, 1], [0, no, 0], [1, 0, no]]),
            Constraint("meet", ("ann1", "bob"), [[4, 0, no], [0, 4, 0], [no, 0, 4]]),
            Constraint("all", ("ann2", "bob", "cara"), np.arange(27).reshape(3, 3, 3) % 7 - 3),
        ],
        name="meeting",
        objective="max",
    )  # fmt: skip


GOLDEN: dict[str, dict[str, Any]] = {
    # Integer costs and arithmetic alone (no logarithm of a platform's library): the same bytes on every machine.
    "unit": {"seed": 1, "network": "unit"},
    "lossy": {
        "seed": 2,
        "network": "uniform:1,4+loss:.15+duplicate:.1+reliable+slow:bob*2",
        "check_cost": 0.5,
        "carry": "best",
    },
}


def make(name: str, path: Path) -> None:
    simulate(meeting(), "synchbb", observers=OBSERVERS, log=path, **GOLDEN[name])


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_log_is_small_and_whole(name: str) -> None:
    path = HERE / f"{name}.amlog"
    assert path.stat().st_size < 10_000
    summary = open_log(path).summary()
    assert summary["whole"] is True
    assert summary["deliveries"] > 20
    assert summary["result"]["status"] == "optimal"
    assert summary["result"]["cost"] == brute_force(meeting())


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_log_verifies(name: str) -> None:
    outcome = replay(HERE / f"{name}.amlog", verify=True)
    assert outcome.first_difference is None
    assert outcome.verified is True
    assert outcome.complete is True


@pytest.mark.parametrize("name", GOLDEN)
def test_observers_find_in_a_golden_log_what_they_found_then(name: str) -> None:
    path = HERE / f"{name}.amlog"
    then = open_log(path).summary()["findings"]
    now = replay(path, OBSERVERS).findings
    assert json.dumps(now) == json.dumps(then)
    assert now["all"]["said"] > now["wire:ann>bob"]["said"] > 0
    assert now["agent:cara"]["said"] > 0


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_log_is_written_again_byte_for_byte(name: str, tmp_path: Path) -> None:
    """But for the version of this package, which the header tells."""
    golden = open_log(HERE / f"{name}.amlog")
    make(name, tmp_path / "now.amlog")
    now = open_log(tmp_path / "now.amlog")
    assert list(now.records()) == list(golden.records())
    assert golden.header is not None
    assert now.header is not None
    writer = LogWriter(None)
    writer.header({**now.header, "package": golden.header["package"]})
    for record in now.records():
        writer.add(record)
    writer.close()
    assert writer.source == (HERE / f"{name}.amlog").read_bytes()


if __name__ == "__main__":
    for golden_name in GOLDEN:
        make(golden_name, HERE / f"{golden_name}.amlog")
        print(open_log(HERE / f"{golden_name}.amlog").summary()["result"])
