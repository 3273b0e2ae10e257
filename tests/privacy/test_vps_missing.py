"""The observer `vps` where something is missing: readers, sense in its options, private costs in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agentsim import Agent, UserError, load, message
from agentsim.runtime import registry
from agentsim.runtime.delivery import Delivery
from privacy.vps import Rule, Vps
from tests.privacy.vps_findings import dimes, found

# What is not there ---------------------------------------------------------------------------------------------


@message("HELLO")
class Hello(NamedTuple):
    value: int


class Unread(Agent):
    """A user's solver that declares no reader: everybody tells his neighbours his whole private cost."""

    messages = (Hello,)

    async def run(self) -> None:
        self.assign(0)
        self.broadcast(Hello(int(self.view.unary[0])))
        await self.gather(Hello)


@pytest.mark.parametrize("options", [{}, {"rule": "tight"}, {"view": "agent:a0"}, {"view": "coalitions:2"}], ids=str)
def test_a_solver_without_a_reader_is_not_analysed(options: dict[str, Any]) -> None:
    """Which is not the same as losing nothing."""
    findings = found(dimes(), Unread, options)
    assert findings["solver_analysed"] is False
    assert findings.keys() >= {"loss", "matrix", "aggregate", "prior", "rule", "curve", "notes"}
    assert findings["loss"] == dict.fromkeys(f"a{i}" for i in range(5))
    assert set(findings["aggregate"].values()) == {None}
    assert findings["matrix"] == {}
    (note,) = findings["notes"]
    assert "Unread" in note
    assert "not analysed" in note


class Silent:
    """A reader that leaves all fields out."""

    def read(self, delivery: Delivery) -> list[Any]:
        return []


class HalfRead(Unread):
    """A solver whose reader forgot a field."""

    reader = staticmethod(lambda context: Silent())


def test_fields_that_no_reader_speaks_of_are_named() -> None:
    findings = found(dimes(), HalfRead)
    assert findings["solver_analysed"] is True
    assert "not analysed, so not counted as loss: field value (HELLO)" in findings["notes"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ("rule=clever", "no rule is called 'clever'; there are paper, exact, tight"),
        ("metric=surprise", "metric='surprise' must be one of entropy, proportional, guess"),
        ("aggregators=mode", "no aggregator is called 'mode'"),
        ("tau=high", "tau='high' is not a number"),
        ("empty=nan", "empty='nan' is not a number"),
        ("tau=2", "tau=2.0 must be from 0 to 1"),
        ("colour=red", "rule paper has no parameter 'colour'; it has prefix, repeats, table"),
        ("repeats=some", "repeats='some' must be one of all, distinct"),
        ("table=last", "table='last' must be one of diagonal, first, max"),
        ("prefix=maybe", "prefix='maybe' must be one of use, ignore"),
        ("rule=exact,repeats=all", "rule exact takes no parameter 'repeats'"),
        ("rule=tight,topology=perhaps", "topology='perhaps' must be true or false"),
        ("rule=tight,table=max", "rule tight has no parameter 'table'; it has topology"),
        ("prior=5", "prior=5: write it as LO..HI"),
        ("prior=low..high", "write it as LO..HI"),
        ("prior=6..1", "prior=6..1: must be two finite numbers, the lower one first"),
        ("prior=1..inf", "must be two finite numbers"),
        ("prior=nan..3", "must be two finite numbers"),
        ("prior=0..1e12", "possible costs are too many to tell apart: give bins="),
        ("bins=0", "bins=0: must be from 1"),
        ("bins=-3", "bins=-3: must be from 1"),
        ("bins=few", "bins='few' is not a whole number"),
        ("bins=2.5", "bins='2.5' is not a whole number"),
        ("bins=inf", "bins='inf' is not a whole number"),
        ("view=everybody", "must be agent:NAME, coalition:A"),
        ("view=agent:nobody", "no agent is called 'nobody'"),
        ("view=coalitions:5", "coalitions:K needs a K from 1 to 4"),
        ("view=coalitions:0", "coalitions:K needs a K from 1 to 4"),
    ],
)
def test_what_the_user_got_wrong_is_said_in_a_sentence(options: str, match: str) -> None:
    with pytest.raises(UserError, match=match):
        found(dimes(), "dpop", options)


def test_what_is_not_a_rule_is_refused() -> None:
    with pytest.raises(UserError, match="no rule is called"):
        found(dimes(), "dpop", {"rule": Vps})
    assert issubclass(registry.find("observers", "vps"), Vps)
    with pytest.raises(NotImplementedError):
        Rule(None, None).learn((), None)  # type: ignore[arg-type]  # the base does nothing


def test_more_coalitions_than_anybody_can_wait_for_are_refused() -> None:
    """30 agents in fives are 142,506 coalitions."""
    with pytest.raises(UserError, match="142506 coalitions of 5"):
        found(dimes(people=30), "dpop", "view=coalitions:5")


# Files that nobody here wrote ----------------------------------------------------------------------------------


HOME = os.environ.get("AGENTSIM_INSTANCES")
needs_instances = pytest.mark.skipif(HOME is None, reason="AGENTSIM_INSTANCES is not set")

RANGES: dict[str, tuple[list[float] | None, int | None]] = {
    "frodo/rn04_n10_e15_a4_amp20_multivar.xml": ([0, 19], None),
    "frodo/rn01_n06_e08_a6_amp20.xml": ([3, 19], None),
    "frodo/rn07_n08_e12_a8_max.xml": ([-19, -2], None),
    "frodo/ms01_PEAV_a4_m2_p2_s4.xml": ([2, 10], None),
    "frodo/ms03_PEAV_a5_m3_p3_s6.xml": ([0, 10], None),
    "frodo/ms05_EAV_a6_m5_p2_s5.xml": ([0, 10], None),
    "frodo/gc04_n12_d30_k3.xml": (None, None),
    "pydcop/gc_v5_d3.yaml": (None, None),
    "pydcop/gc_v8_d5.yaml": (None, None),
    "pydcop/graph_coloring_tuto.yaml": (None, None),
    "pydcop/graph_coloring1.yaml": ([-0.1, 0.1], 10),
    "pydcop/ms_tiny.yaml": ([-9, 8], None),
}
"""Range of the private costs and classes, by file; None: nothing is private in it."""


LARGE = ("rn04", "ms03", "gc04")
"""Files with more than 8 variables: too large for a search of a second."""


@pytest.mark.instances
@needs_instances
@pytest.mark.parametrize(
    ("file", "solver"),
    [(f, s) for f in RANGES for s in ("dpop", "bnb-adopt-plus", "synchbb") if s == "dpop" or f[6:10] not in LARGE],
)
def test_plain_vps_runs_on_files_and_says_what_it_took_as_public(file: str, solver: str) -> None:
    findings = found(load(Path(str(HOME)) / file), solver)
    expected, bins = RANGES[file]
    losses = findings["loss"]
    if expected is None:
        assert findings["prior"]["source"] == "nothing is private"
        assert set(losses.values()) == {None}
        assert set(findings["aggregate"].values()) == {None}
        assert any("no private costs" in note for note in findings["notes"])
    else:
        assert findings["prior"]["source"] == "observed"
        assert findings["prior"]["range"] == pytest.approx(expected)
        assert findings["prior"]["bins"] == bins
        assert any("no range of private costs is declared" in note for note in findings["notes"])
        assert any(p is not None for p in losses.values())
        assert all(p is None or 0 <= p <= 1 for p in losses.values())
        assert findings["aggregate"]["average"] is not None
