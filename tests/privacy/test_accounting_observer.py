"""The observer `accounting`: what the releases of a run come to, and what is in the clear."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pytest

from agentsim import Agent, Constraint, Domain, ObserverFailure, Problem, UserError, Variable, message, replay, simulate
from agentsim.runtime import registry
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.mechanisms import (
    BoundedRange,
    Claim,
    Clear,
    Gaussian,
    Mechanism,
    PerTable,
    Pure,
    Repeated,
    SubsetResponse,
    VisibleChoice,
)
from agentsim.runtime.statements import (
    Best,
    Chosen,
    CostIs,
    CostTable,
    Nothing,
    Released,
    Statement,
    Term,
    Unanalysed,
    ValueIs,
)
from privacy import accounting
from privacy.accounting.observer import Accounting

INF = math.inf
ROUNDS = 3
Read = Callable[[Delivery], Iterable[Statement]]


@message("TELL")
class Tell(NamedTuple):
    t: int
    value: int


class Teller(Agent):
    """Everybody tells everybody something in every round."""

    messages = (Tell,)
    numbered = True
    name_of_reader = "toy"

    async def run(self) -> None:
        for t in range(ROUNDS):
            self.broadcast(Tell(t if self.numbered else 0, 1))
            await self.gather(Tell)
        self.assign(0)


def teller(read: Read, *, stateless: bool = True, claim: Claim | None = None, **attributes: Any) -> type[Agent]:
    """Return a solver whose reader says what `read` says."""

    class Reader:
        def __init__(self, context: Any) -> None:
            self.stateless = stateless

        def read(self, delivery: Delivery) -> Iterable[Statement]:
            return read(delivery)

    made: type[Agent] = type(
        "Told", (Teller,), {"reader": Reader, "claim": classmethod(lambda cls, setup: claim), **attributes}
    )
    return made


def releases(
    event: Mechanism, tables: dict[str, tuple[str, ...]] | None = None, fields: tuple[str, ...] = ("value",)
) -> Read:
    """Return a reader's words: each round's value comes of one use of the event."""

    def read(delivery: Delivery) -> Iterable[Statement]:
        content = delivery.message
        yield Nothing("number of the round", ("t",))
        used = (tables or {}).get(delivery.src, ())
        yield Released("choice", fields, event, 0, delivery.src, content.t, used)
        yield ValueIs("value", ("t", "value"), delivery.src, content.value, "now")

    return read


def problem(agents: str = "abc") -> Problem:
    """Return the chain x - y - z; x has private costs."""
    d = Domain("d", (0, 1))
    variables = [Variable(n, d, a, unary=[0, 1] if n == "x" else None) for n, a in zip("xyz", agents, strict=True)]
    table = np.array([[2, 0], [0, 2]])
    return Problem.build(variables, [Constraint("xy", ("x", "y"), table), Constraint("yz", ("y", "z"), table)])


def star(leaves: int) -> Problem:
    d = Domain("d", (0, 1))
    names = [f"l{i}" for i in range(leaves)]
    return Problem.build(
        [Variable(n, d) for n in ("hub", *names)],
        [Constraint(f"h{n}", ("hub", n), np.eye(2, dtype=int)) for n in names],
    )


def found(solver: Any, on: Problem | None = None, network: str = "unit", **options: Any) -> dict[str, Any]:
    result = simulate(on or problem(), solver, observers=[(Accounting, options)], network=network)
    findings: dict[str, Any] = result.findings["accounting"]
    return findings


OWN = {"x": ("x",), "y": ("xy",), "z": ("yz",)}
"""Each table used by one node."""
ALL = {"x": ("x", "xy"), "y": ("xy", "yz"), "z": ("yz",)}
"""Each table used by all whom it concerns."""


# What adds up to what -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["unit", "uniform:1,5", "unit+duplicate:.5+reorder"])
@pytest.mark.parametrize(
    ("tables", "own", "edge", "agent"),
    [
        (OWN, 1, 1, 2),  # y's xy, yz: its own use and z's
        (ALL, 1, 2, 3),  # xy is used by x and y, and y's tables by everybody
        (None, 1, 2, 3),  # nobody says which: the same is assumed
    ],
)
def test_uses_add_up_by_unit(
    tables: dict[str, tuple[str, ...]] | None, own: int, edge: int, agent: int, network: str
) -> None:
    """However many neighbours are told, a round is one use of each node."""
    found_by = found(teller(releases(Pure(0.1), tables)), network=network, delta=0)
    assert found_by["outside"] == []
    each = 0.1 * ROUNDS
    assert found_by["holds"] == pytest.approx({"own": own * each, "edge": edge * each, "agent": agent * each})
    assert found_by["uses"] == {"nodes": 3, "Pure": 3 * ROUNDS}


def test_a_node_that_names_no_table_uses_none_where_others_name_theirs() -> None:
    read = releases(Pure(0.1), {"y": ("xy",), "z": ("yz",)})
    assert found(teller(read), delta=0)["holds"]["agent"] == pytest.approx(2 * ROUNDS * 0.1)  # not x's


def test_the_variables_of_one_agent_are_protected_together() -> None:
    assert found(teller(releases(Pure(0.1), OWN)), problem("aab"), delta=0)["holds"]["agent"] == pytest.approx(
        3 * ROUNDS * 0.1
    )
    assert found(teller(releases(Pure(0.1), OWN)), problem("abb"), delta=0)["holds"]["agent"] == pytest.approx(
        2 * ROUNDS * 0.1
    )


def test_several_kinds_of_events_are_composed() -> None:
    event = Repeated(SubsetResponse(0.2, 2, 5), 2)

    def read(delivery: Delivery) -> Iterable[Statement]:
        yield from releases(event, ALL)(delivery)
        yield Released("second", ("value",), BoundedRange(0.3), 0, delivery.src, delivery.message.t, ("yz",))

    what = found(teller(read), delta=1e-3)
    own = [Repeated(event, ROUNDS), Repeated(BoundedRange(0.3), ROUNDS)]
    assert what["holds"]["own"] == pytest.approx(accounting.compose(own, 1e-3))
    edge = [Repeated(event, 2 * ROUNDS), Repeated(BoundedRange(0.3), 3 * ROUNDS)]
    assert what["holds"]["edge"] == pytest.approx(accounting.compose(edge, 1e-3))
    assert what["uses"] == {"nodes": 3, "BoundedRange": 3 * ROUNDS, "SubsetResponse": 6 * ROUNDS}


def test_what_p_gibbs_would_send_without_best_responses() -> None:
    """A hub with four neighbours: as the command line composes it for edges and agents."""
    on = star(4)

    def read(delivery: Delivery) -> Iterable[Statement]:
        t = delivery.message.t
        yield Nothing("number of the round", ("t",))
        yield Released("sample", ("value",), VisibleChoice(1 / 8, 0.2, 10), 50, delivery.src, t)
        yield Released("best", ("value",), Gaussian(10), 50, delivery.src, t)

    what = found(teller(read), on, delta=1e-2)

    def composed(times: int) -> float:
        uses = ROUNDS * times
        return accounting.compose([Repeated(VisibleChoice(1 / 8, 0.2, 10), uses), Repeated(Gaussian(10), uses)], 1e-2)

    expected = {"own": composed(1), "edge": composed(2), "agent": composed(5)}
    assert what["holds"] == pytest.approx(expected, rel=1e-9)
    assert 0 < what["holds"]["own"] < what["holds"]["edge"] < what["holds"]["agent"]


def test_a_mechanism_that_tells_one_table_from_several() -> None:
    event = PerTable(BoundedRange(0.2), BoundedRange(0.1))
    what = found(teller(releases(event, ALL)), delta=0)
    # y: xy and yz by itself (.4), xy by x and yz by z (.2 each)
    expected = {"own": 0.4, "edge": 0.4, "agent": 0.8, "entry": 0.2}
    assert what["holds"] == pytest.approx({unit: ROUNDS * e for unit, e in expected.items()})
    unknown = found(teller(releases(Repeated(event, 2))), delta=0)
    assert unknown["holds"] == pytest.approx({unit: 2 * ROUNDS * e for unit, e in expected.items()})


def test_no_messages_no_loss() -> None:
    d = Domain("d", (0, 1))
    alone = Problem.build([Variable("x", d, unary=[0, 1])], [])
    what = found(teller(releases(Pure(1))), alone)
    assert what["holds"] == {"own": 0, "edge": 0, "agent": 0}
    assert what["outside"] == []


# What is the same message --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["unit", "constant:0", "uniform:1,3"])
def test_equal_messages_of_later_rounds_are_shown_to_a_reader_that_counts(network: str) -> None:
    """No number in the message: a reader that follows the rounds by itself must see each of them."""

    def solver(stateless: bool) -> type[Agent]:
        seen: dict[tuple[str, str], int] = {}

        def read(delivery: Delivery) -> Iterable[Statement]:
            rounds = seen.get((delivery.src, delivery.dst), 0)
            seen[delivery.src, delivery.dst] = rounds + (delivery.copy == 0)
            yield Nothing("always 0", ("t",))
            yield Released("choice", ("value",), Pure(0.1), 0, delivery.src, rounds)

        return teller(read, stateless=stateless, numbered=False)

    pair = star(1)
    assert found(solver(stateless=False), pair, network, delta=0)["holds"]["own"] == pytest.approx(0.1 * ROUNDS)
    assert found(solver(stateless=True), pair, network, delta=0)["holds"]["own"] == pytest.approx(0.1)


@pytest.mark.parametrize("stateless", [True, False])
def test_a_broadcast_is_read_once(stateless: bool) -> None:
    read: list[str] = []

    def reading(delivery: Delivery) -> Iterable[Statement]:
        read.append(delivery.src)
        return releases(Pure(0.1))(delivery)

    found(teller(reading, stateless=stateless), star(5))
    assert read.count("hub") == ROUNDS


# What is outside ------------------------------------------------------------------------------------------------------


def _one(statement: Callable[[str, tuple[str, ...]], Statement]) -> Read:
    def read(delivery: Delivery) -> Iterable[Statement]:
        yield Nothing("number of the round", ("t",))
        yield statement(delivery.src, ("value",))

    return read


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (lambda s, f: Chosen("c", f, s, 0, {}, Best()), "TELL.value: chosen as best response, in the clear"),
        (lambda s, f: ValueIs("v", f, s, 0, "now"), "TELL.value: a value, in the clear"),
        (lambda s, f: CostIs("c", f, (Term((s,), "none", {}),), "==", 1), "TELL.value: a cost, in the clear"),
        (lambda s, f: CostTable("c", f, (s,), "none", (s,), np.zeros(2)), "TELL.value: costs by value, in the clear"),
        (lambda s, f: Unanalysed("something of its tables", f), "TELL.value: not analysed: something of its tables"),
        (lambda s, f: Nothing("nothing at all", ("t",)), "TELL.value: covered by no statement"),
        (lambda s, f: Released("c", f, Clear("without noise"), 1, s), "TELL.value: without noise"),
        (lambda s, f: Released("c", f, Repeated(Clear("bare"), 2), 1, s), "TELL.value: bare"),
        (lambda s, f: Released("c", f, Gaussian(0.0), 1, s), "TELL.value: Gaussian(multiplier=0.0) hides nothing"),
    ],
)
def test_what_no_mechanism_covers_is_told_and_infinite(
    statement: Callable[[str, tuple[str, ...]], Statement], words: str
) -> None:
    what = found(teller(_one(statement)), delta=1e-2)
    assert what["holds"] == {"own": "inf", "edge": "inf", "agent": "inf"}
    times = 3 if "hides nothing" in words or "bare" in words or "without noise" in words else 3 * ROUNDS
    assert what["outside"] == [f"{words} ({times} times)"]


def test_of_several_statements_about_one_field_one_is_told() -> None:
    def read(delivery: Delivery) -> Iterable[Statement]:
        yield ValueIs("value", ("t", "value"), delivery.src, 0, "now")
        yield Chosen("best", ("value",), delivery.src, 0, {}, Best())

    outside = found(teller(read))["outside"]
    assert outside == [f"TELL.value: chosen as best response, in the clear ({3 * ROUNDS} times)"]


def test_one_release_in_the_clear_is_enough() -> None:
    def read(delivery: Delivery) -> Iterable[Statement]:
        yield from releases(Pure(0.1))(delivery)
        if (delivery.src, delivery.message.t) == ("y", 1):
            yield Released("slip", ("value",), Clear("a slip"), 0, "y", 1)

    what = found(teller(read))
    assert what["outside"] == ["TELL.value: a slip (once)"]
    assert set(what["holds"].values()) == {"inf"}
    assert what["uses"]["Pure"] == 3 * ROUNDS


def test_a_solver_without_a_reader_is_not_analysed() -> None:
    what = found(Teller)
    assert what["claimed"] is None
    assert what["holds"] == {"own": "inf", "edge": "inf", "agent": "inf"}
    assert what["outside"] == ["not analysed: Teller has no reader"]


@pytest.mark.parametrize("solver", ["adopt", "dpop", "synchbb"])
def test_complete_search_has_no_finite_epsilon(solver: str) -> None:
    what = found(solver)
    assert (what["claimed"], what["unit"]) == (None, None)
    assert set(what["holds"].values()) == {"inf"}
    assert any("in the clear" in words for words in what["outside"])
    assert not any("covered by no statement" in words for words in what["outside"])


# Claims and options ---------------------------------------------------------------------------------------------------


def test_a_claim_stands_beside_what_holds() -> None:
    claim = Claim(0.25, 1e-3, "edge", ("the final assignment",))
    what = found(teller(releases(Pure(0.1), OWN), claim=claim))
    assert (what["claimed"], what["delta"], what["unit"]) == (0.25, 1e-3, "edge")
    assert what["outside"] == ["the final assignment"]
    assert what["holds"]["edge"] == accounting.compose([Repeated(Pure(0.1), ROUNDS)], 1e-3)  # a caveat, no release
    nothing = found(teller(releases(Pure(0.1)), claim=Claim(INF, 0.0, "own")))
    assert (nothing["claimed"], nothing["delta"]) == ("inf", 0)
    assert nothing["holds"]["own"] == pytest.approx(0.1 * ROUNDS)


def test_the_accountant_can_be_chosen() -> None:
    solver = teller(releases(BoundedRange(0.3), OWN))
    events = [Repeated(BoundedRange(0.3), ROUNDS)]
    expected = {
        "pure": accounting.pure(events),
        "rdp": accounting.rdp(events, 1e-2),
        "pld": accounting.pld(events, 1e-2),
        "best": accounting.compose(events, 1e-2),
    }
    for accountant, epsilon in expected.items():
        what = found(solver, delta="1e-2", accountant=accountant)
        assert what["holds"]["own"] == pytest.approx(epsilon)
        assert what["accountant"].startswith(accountant)
    assert min(expected.values()) == expected["best"] < expected["pure"]
    assert found(solver)["delta"] == 1e-5


def test_without_the_extra_dp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    solver = teller(releases(Gaussian(9), OWN))
    what = found(solver)
    assert what["accountant"] == "best of pure and rdp (pld needs agentsim[dp])"
    assert 0 < what["holds"]["own"] < what["holds"]["agent"] < INF
    with pytest.raises(UserError, match=r"install agentsim\[dp\]"):
        found(solver, accountant="pld")


@pytest.mark.parametrize(
    "options",
    [{"delta": "much"}, {"delta": 1.0}, {"delta": -0.1}, {"accountant": "abacus"}, {"sigma": 3},
     {"accountant": "pld", "delta": 0}, {"accountant": "rdp", "delta": 0.0}, {"view": "agent:nobody"}],
    ids=str,
)  # fmt: skip
def test_options_that_make_no_sense_are_the_users_error(options: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        found(teller(releases(Pure(0.1))), **options)
    assert "\n" not in str(caught.value)


def test_an_event_that_no_accountant_knows_fails_the_run() -> None:
    class Shuffled(Mechanism):
        pass

    with pytest.raises(ObserverFailure, match="no accountant knows the mechanism Shuffled"):
        found(teller(releases(Shuffled())))


def test_an_agent_accounts_for_what_it_sees() -> None:
    """z hears y alone, and what x does it does not know."""
    what = found(teller(releases(Pure(0.1), ALL)), view="agent:c", delta=0)
    assert what["uses"] == {"nodes": 2, "Pure": 2 * ROUNDS}
    assert what["holds"]["agent"] == pytest.approx(2 * ROUNDS * 0.1)


def test_it_is_found_by_name_and_replayed() -> None:
    result = simulate(problem(), "dpop", observers=["accounting:delta=.001", "accounting:as=mine,accountant=pure"])
    assert result.findings["accounting"]["delta"] == 0.001
    assert result.findings["mine"]["accountant"] == "pure"
    solver = teller(releases(VisibleChoice(0.2, 0.3), OWN))
    live = simulate(problem(), solver, observers=[Accounting], network="uniform:1,5")
    assert replay(live.log, [Accounting], solver=solver).findings == live.findings


@pytest.mark.parametrize("name", registry.names("solvers"))
def test_what_a_solver_claims_holds_unless_it_says_what_is_outside(name: str) -> None:
    what = found(name, star(3))
    if what["claimed"] is not None and all(isinstance(e, float) for e in what["holds"].values()):
        assert what["holds"][what["unit"]] <= what["claimed"] * (1 + 1e-9)
    elif what["claimed"] is not None:
        assert what["outside"]
    else:
        assert set(what["holds"].values()) == {"inf"}
