"""Options of the inference rules, and rules of one's own, right and wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

from agentsim import Problem, UserError, simulate
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.statements import (
    CostIs,
    Statement,
)
from privacy.vps import Exact, Paper, Rule, Tight, Vps, exclusions
from tests.privacy.vps_watching import DIMES, INF, RANDOM, SYNCHBB, THREE, Watch, event, highs, own, tell, watch

# Options -------------------------------------------------------------------------------------------------------


def test_prefixes_are_used_where_events_tie_and_else_on_demand() -> None:
    """By default the paper reads DOWN among attendees, and only UP on other problems; `prefix` says otherwise."""
    order = "x0,x1,x2,x3"
    tied = {p: watch(SYNCHBB, "synchbb", "paper", p and {"prefix": p}, order=order) for p in (None, "use", "ignore")}
    assert highs(tied[None], "a1", "x0") == highs(tied["use"], "a1", "x0") == [2, 1]
    assert highs(tied["ignore"], "a1", "x0") == [4, 4]
    assert highs(tied["ignore"], "a2", "x3") == [4, 1]
    general = RANDOM.generate(RANDOM.Params(agents=4, u=6, d=3, b=2), 2)
    plain, use, ignore = (
        watch(general, "synchbb", "paper", p and {"prefix": p}, order=order) for p in (None, "use", "ignore")
    )
    assert highs(plain, "a1", "x0") == highs(ignore, "a1", "x0") == [6, 6, 6]
    assert plain.findings()["matrix"] == ignore.findings()["matrix"]
    assert highs(use, "a1", "x0")[0] == general.variables["x0"].unary[0]


def test_findings_name_the_rule_with_its_options() -> None:
    def named(rule: Any, **options: Any) -> str:
        return str(watch(THREE, "dpop", rule, options).findings()["rule"])

    assert named("paper") == "paper"
    assert named("paper", repeats="all") == "paper"
    assert named("paper", repeats="distinct", table="first") == "paper,repeats=distinct,table=first"
    assert named("exact") == "exact"
    assert named("tight", topology="true") == "tight,topology=true"
    assert named(Exact) == "exact"
    assert named(Tight, topology=True) == "tight,topology=true"


@pytest.mark.parametrize("solver", ["adopt", "bnb-adopt-plus", "dpop"])
@pytest.mark.parametrize(
    ("rule", "options"),
    [(Paper, {}), (Paper, {"repeats": "distinct"}), (Exact, {}), (Tight, {}), (Tight, {"topology": True})],
)
def test_what_is_remembered_of_a_message_saves_time_and_changes_nothing(
    rule: type[Rule], options: dict[str, Any], solver: str
) -> None:
    """Search algorithms repeat themselves; a message that comes again need not be read again, but could be."""

    class Rereading(rule):  # type: ignore[misc, valid-type]
        rereads = "always"

    observers = [(Vps, {"rule": rule, **options}), (Vps, {"rule": Rereading, **options})]
    for seed in range(3):
        if seed % 2:
            problem = RANDOM.generate(RANDOM.Params(agents=4, d=3, u=4, shape="Q"), seed)
        else:
            problem = DIMES.generate(DIMES.Params(people=4, d=3, u=4, shape="CTQ"[seed]), seed)
        result = simulate(problem, solver, observers=observers, network="uniform:1,5", seed=seed)
        first, again = result.findings.values()
        assert {**first, "rule": ""} == {**again, "rule": ""}


def test_which_rules_claim_to_be_sound() -> None:
    assert (Paper.sound, Exact.sound, Tight.sound, Rule.sound) == (False, True, True, False)
    assert watch(THREE, "dpop", "paper").findings()["sound"] is False
    assert watch(THREE, "dpop", "tight").findings()["sound"] is True


# Rules of one's own, right and wrong ---------------------------------------------------------------------------


@dataclass(frozen=True)
class CountingOptions:
    """Options of the rule below.

    Args:
        weight: levels to take off per message.
    """

    weight: int = 1


class Counting(Rule):
    """A user's rule: each message from somebody lowers what his or her values can cost by a level. It is nonsense."""

    Params = CountingOptions

    def learn(self, statements: Sequence[Statement], delivery: Delivery) -> Sequence[Any]:
        belief = self.mind.belief(delivery.src)
        if belief is not None:
            for value in range(len(belief.high)):
                belief.cap(value, max(1, belief.high[value] - self.params.weight))
        return ()


def test_a_rule_of_ones_own_is_a_class() -> None:
    watched = watch(THREE, "dpop", Counting, root="x0")
    found = watched.findings()
    assert found["rule"] == "counting"
    assert found["sound"] is False
    assert highs(watched, "a0", "x1") == [3, 3, 3]
    assert found["matrix"]["a0"]["a1"] == pytest.approx(3 * math.log2(4 / 3))
    heavy = watch(THREE, "dpop", Counting, {"weight": "2"}, root="x0")
    assert heavy.findings()["rule"] == "counting,weight=2"
    assert highs(heavy, "a0", "x1") == [2, 2, 2]
    assert exclusions(heavy) == [
        "a0 on x1: value 1 has level 3, not 1..2",
        "a0 on x1: value 2 has level 4, not 1..2",
        "a0 on x2: value 0 has level 4, not 1..2",
        "a0 on x2: value 1 has level 4, not 1..2",
        "a0 on x2: value 2 has level 4, not 1..2",
    ]


def test_a_rule_of_ones_own_refuses_unknown_options() -> None:
    with pytest.raises(UserError, match="rule counting has no parameter 'wait'; it has weight"):
        watch(THREE, "dpop", Counting, {"wait": 1})


def test_exclusions_tell_of_bounds_that_no_value_keeps() -> None:
    class TooCheap(Rule):
        def learn(self, statements: Sequence[Statement], delivery: Delivery) -> Sequence[Any]:
            belief = self.mind.belief(delivery.src)
            if belief is not None:
                belief.some(1)
            return ()

    assert exclusions(watch(THREE, "dpop", TooCheap, root="x0")) == [
        "a0 on x1: no value has level 1 or less",
        "a0 on x2: no value has level 1 or less",
    ]


def excluded(rule: type[Rule], solver: str, seeds: Iterable[int], observer: type[Watch] = Watch) -> int:
    """Return in how many one-event runs a rule excludes the truth."""
    wrong = 0
    for seed in seeds:
        problem = DIMES.generate(DIMES.Params(people=4, d=3, u=4, shape="CTQ"[seed % 3]), seed)
        simulate(problem, solver, seed=seed, network="uniform:1,5", observers=[(observer, {"rule": rule})])
        wrong += bool(exclusions(Watch.runs.pop()))
    return wrong


class OwnSlot(Exact):
    """WRONG: a cost without a context is given to the slot that its receiver has just now."""

    slot_now: ClassVar[dict[str, int]] = {}

    def learn(self, statements: Sequence[Statement], delivery: Delivery) -> Sequence[Any]:
        for s in statements:
            if isinstance(s, CostIs) and s.label == "own-cost":
                context = {delivery.dst: self.slot_now.get(delivery.dst, 0)}
                belief = self.mind.belief(delivery.src)
                if belief is not None and delivery.dst not in s.terms[0].context and s.value < INF:
                    belief.cap(context[delivery.dst], belief.scale.at_most(s.value - s.offset))
        return super().learn(statements, delivery)


def test_an_empty_context_given_to_the_own_slot_is_unsound() -> None:
    """At start ADOPT's context is empty: the cost is that of the sender's cheapest slot, not of the receiver's."""
    said = ("x1", "x0", own("x1", {}, 2))
    assert exclusions(tell(THREE, said, rule="exact")) == []
    assert highs(tell(THREE, said, rule="exact"), "a0", "x1") == [4, 4, 4]
    assert exclusions(tell(THREE, said, rule="tight")) == []
    assert exclusions(tell(THREE, said, rule="paper")) == []
    at_another = tell(event([[1, 1, 1], [4, 3, 2]], "C"), said, rule=OwnSlot)
    assert exclusions(at_another) == ["a0 on x1: value 0 has level 4, not 1..2"]


class CurrentSlot(Exact):
    """WRONG: a cost is given to the slot that its receiver has when it comes, not to that of its context."""

    def learn(self, statements: Sequence[Statement], delivery: Delivery) -> Sequence[Any]:
        now = Current.slots.get(delivery.dst)
        for s in statements:
            belief = self.mind.belief(delivery.src)
            if isinstance(s, CostIs) and s.label == "own-cost" and belief is not None and now is not None:
                belief.cap(now, belief.scale.at_most(s.value - s.offset))
        return ()


class Current(Watch):
    """Notes the values that agents have told others."""

    slots: ClassVar[dict[str, int]] = {}

    def start(self) -> None:
        super().start()
        self.slots.clear()

    def observe(self, delivery: Delivery) -> None:
        if delivery.type == "VALUE":
            self.slots[delivery.src] = delivery.message.value
        super().observe(delivery)


@pytest.mark.parametrize("solver", ["adopt", "bnb-adopt"])
def test_the_receivers_current_slot_instead_of_the_contexts_is_unsound(solver: str) -> None:
    assert excluded(CurrentSlot, solver, range(12), Current) > 0
    assert excluded(Exact, solver, range(12)) == 0


class Unimproved(Exact):
    """WRONG: those behind are taken to cost B - P_k also where the bound came back as it was."""

    def learn(self, statements: Sequence[Statement], delivery: Delivery) -> Sequence[Any]:
        for s in statements:
            if isinstance(s, CostIs) and s.label == "prefix":
                self.prefix, self.cost = s.terms[0], s.value
            elif isinstance(s, CostIs) and s.label == "incumbent" and delivery.type == "BACK":
                if not hasattr(self, "prefix"):
                    continue
                (slot,) = set(self.prefix.context.values())  # it is one event
                mine = self.mind.nodes[0]
                private = self.mind.public.setup.problem.variables[mine].unary
                assert private is not None
                behind = [n for n in s.terms[0].parties if n not in (*self.prefix.parties, mine)]
                left = s.value - self.cost - private[slot].item() - (len(behind) - 1)
                for name in behind:
                    belief = self.mind.belief(name)
                    assert belief is not None
                    belief.cap(slot, belief.scale.at_most(left))
        return super().learn(statements, delivery)


def test_a_bound_that_did_not_improve_is_no_cost() -> None:
    assert excluded(Unimproved, "synchbb", range(12)) > 0
    assert excluded(Exact, "synchbb", range(12)) == 0
    assert excluded(Paper, "synchbb", range(12)) == 0


def test_shifting_declared_costs_shifts_the_prior_and_nothing_else() -> None:
    """In the user's units a prior of 5..8 is 1..4 four higher; the range of levels that remains is the same."""
    problem = event([[1, 3], [2, 1], [4, 3]], "S")
    shifted = Problem.build(
        [
            replace(v, unary=None if v.unary is None else v.unary + 4, cost_range=(5, 8))
            for v in problem.variables.values()
        ],
        problem.constraints.values(),
    )
    low, high = watch(problem, "dpop", "paper", root="x0"), watch(shifted, "dpop", "paper", root="x0")
    assert [c + 4 for c in highs(low, "a0", "x1")] == highs(high, "a0", "x1") == [6, 5]
    assert low.findings()["matrix"] == high.findings()["matrix"]
    assert high.findings()["prior"]["range"] == [5, 8]
