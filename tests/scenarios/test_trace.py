"""The trace behind the replay page: what it says of a run is what the run's observers and its log say."""

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agentsim import Agent, Constraint, Domain, Problem, UserError, Variable, replay, simulate
from agentsim.record.log import BLOCK_SIZE
from agentsim.record.reader import Log
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import message, pack
from agentsim.runtime.result import Result
from privacy.vps import Vps
from scenarios.demo import shipped_problem
from scenarios.generators.dimes import Dimes, DimesParams
from scenarios.reports.leakage import SOME, Thinned
from scenarios.reports.page import packed
from scenarios.reports.trace import INCREMENT, Trace, Tracer, trace_of
from solvers.adopt import Adopt
from solvers.dpop import Dpop

UNEVEN = "uniform:1,10"


@pytest.fixture(scope="module")
def adopted() -> Result:
    return simulate(shipped_problem(), "adopt", seed=1, network=UNEVEN)


@pytest.fixture(scope="module")
def traced(adopted: Result) -> Trace:
    return trace_of(adopted.log)


def events(trace: Trace, kind: str) -> list[list[Any]]:
    return [event for increment in trace.increments for event in increment[kind]]


def column(trace: Trace, name: str) -> list[Any]:
    return [entry for increment in trace.increments for entry in increment["deliveries"][name]]


def details(trace: Trace) -> list[tuple[dict[str, Any], list[str]]]:
    return [(payload, said) for increment in trace.increments for payload, said in increment["details"]]


def state(trace: Trace, seq: int) -> dict[str, Any]:
    """What the page shows after `seq` deliveries, aggregates apart, which are up to date at the end of instants."""
    found: dict[str, Any] = {}
    for kind, key in (("values", slice(2, 3)), ("losses", slice(1, 2)), ("beliefs", slice(1, 4))):
        found[kind] = {tuple(e[key]): e[key.stop :] for e in events(trace, kind) if e[0] <= seq}
    return found


def plain_problem(**unary: list[float]) -> Problem:
    """A chain a - b - c of three values."""
    d = Domain("d", ("low", "middle", "high"))
    names = ("a", "b", "c")
    table = [[0, 3, 1], [2, 0, 4], [1, 5, 0]]
    return Problem.build(
        [Variable(n, d, unary=unary.get(n)) for n in names],
        [Constraint(x + y, (x, y), table) for x, y in pairwise(names)],
        name="chain",
    )


PRIVATE: Mapping[str, list[float]] = {"a": [2, 0, 1], "b": [1, 1, 5], "c": [0, 3, 2]}


# Against what observers find ------------------------------------------------------------------------------------


def test_deliveries_are_those_of_the_log(adopted: Result, traced: Trace) -> None:
    log = list(adopted.log)
    nodes, types = [n["name"] for n in traced.head["nodes"]], traced.head["types"]
    assert [nodes[i] for i in column(traced, "src")] == [d.src for d in log]
    assert [nodes[i] for i in column(traced, "dst")] == [d.dst for d in log]
    assert [types[i] for i in column(traced, "type")] == [d.type for d in log]
    for name, field in (("sent", "sent_at"), ("at", "delivered_at"), ("step", "step"), ("n", "n"), ("copy", "copy")):
        assert column(traced, name) == [getattr(d, field) for d in log]
    assert column(traced, "bytes") == [len(d.payload) for d in log]
    assert column(traced, "stamp") == [d.stamp for d in log]
    assert [i["deliveries"]["seq0"] for i in traced.increments] == [1, INCREMENT + 1]
    assert all(len(i["details"]) <= INCREMENT for i in traced.increments)
    fields = traced.head["fields"]
    assert all(list(payload) == fields[d.type] for (payload, _), d in zip(details(traced), log, strict=True))
    values = [[t, nodes.index(node), v] for t, node, v in adopted.values]
    assert [e[1:] for e in events(traced, "values")] == values
    assert traced.increments[-1]["result"]["cost"] == adopted.cost


@pytest.mark.parametrize("spec", ["vps:rule=tight", "vps:rule=paper,metric=guess,tau=.05,aggregators=average+risk"])
def test_losses_end_where_vps_ends(adopted: Result, spec: str) -> None:
    trace = trace_of(adopted.log, spec)
    found = replay(adopted.log, observers=[spec]).findings["vps"]
    agents = trace.head["agents"]
    last = {agents[agent]: p for _, agent, p in events(trace, "losses")}
    expected = {agent: p for agent, p in found["loss"].items() if p is not None}
    assert set(trace.head["leak"]["subjects"]) == {agents.index(a) for a in expected}
    assert {a: last.get(a, 0.0) for a in expected} == pytest.approx(expected, abs=1e-6)
    assert max(last.values()) > 0
    assert trace.head["leak"]["aggregators"] == list(found["aggregate"])
    assert events(trace, "aggregates")[-1][1] == pytest.approx(list(found["aggregate"].values()), abs=1e-6)
    assert trace.head["leak"]["rule"] == found["rule"]
    assert trace.head["notes"] == [f"leakage: {note}" for note in found["notes"]]


def test_losses_and_beliefs_move_at_the_very_delivery_that_teaches(adopted: Result, traced: Trace) -> None:
    """Replayed up to any delivery, `vps` says what the trace says there."""
    moved = sorted({seq for seq, *_ in events(traced, "losses")})
    agents, nodes = traced.head["agents"], [n["name"] for n in traced.head["nodes"]]
    stops = {seq for at in (moved[0], moved[len(moved) // 2], moved[-1]) for seq in (at - 1, at)}
    vps = _observer(adopted, "vps:rule=tight")
    for d in adopted.log:
        vps.observe(d)
        if d.seq not in stops:
            continue
        shown = state(traced, d.seq)
        losses = {agents.index(a): p for a, p in vps.losses().items() if p}
        assert {agent: p for (agent,), (p,) in shown["losses"].items()} == pytest.approx(losses, abs=1e-6)
        believed: dict[tuple[int, int, int], list[int]] = {}
        for viewer in vps.viewers:
            for belief in viewer.mind.beliefs.values():
                ranges = [*zip(belief.low, belief.high, strict=True), (1, belief.least)]
                for i, (low, high) in enumerate(ranges):
                    if (low, high) != (1, belief.scale.levels):
                        value = i if i < len(belief.low) else SOME
                        believed[agents.index(viewer.mind.name), nodes.index(belief.variable), value] = [low, high]
        assert shown["beliefs"] == believed


def _observer(result: Result, spec: str) -> Vps:
    from agentsim.record.replay import setup_of
    from agentsim.runtime.simulate import make_observers

    header, solver = result.log.header, result.log.solver
    assert header is not None
    assert solver is not None
    setup = setup_of(result.log, solver, header)
    found = make_observers([spec], setup, solver, str(header["solver"]), redacted=False)[0]
    assert isinstance(found, Vps)
    found.start()
    return found


def test_what_dpop_says_is_told_and_believed() -> None:
    problem = plain_problem(**PRIVATE)
    trace = trace_of(simulate(problem, "dpop", order="a,b,c").log, "vps:rule=tight")
    assert details(trace)[0][1] == ["c: cost with everything below for each of 3 values of b: 0, 2, 1"]
    assert [p["node"] for p in trace.head["places"] if p["parent"] is None] == [0]
    assert [p["parent"] for p in trace.head["places"]] == [None, 0, 1]
    assert events(trace, "beliefs")
    for _, viewer, node, value, low, high in events(trace, "beliefs"):
        assert viewer != trace.head["nodes"][node]["agent"]
        scale = trace.head["nodes"][node]["scale"]
        cost = PRIVATE[trace.head["nodes"][node]["name"]][value] if value != SOME else None
        levels = range(low, high + 1)
        assert cost is None or number_in(scale["labels"], cost) in levels


def number_in(labels: list[str], cost: float) -> int:
    return labels.index(f"{cost:g}") + 1


# Windows -------------------------------------------------------------------------------------------------------


def test_a_window_begins_with_the_state_there(adopted: Result, traced: Trace) -> None:
    first, most = 3000, 1500
    part = trace_of(adopted.log, first=first, most=most)
    assert part.head["window"] == {"from": first, "to": first + most - 1, "total": len(list(adopted.log))}
    assert "--from SEQ" in part.head["notes"][-1]
    assert column(part, "n") == column(traced, "n")[first - 1 : first - 1 + most]
    assert details(part) == details(traced)[first - 1 : first - 1 + most]
    assert part.increments[0]["deliveries"]["seq0"] == first
    for seq in (first - 1, first, first + 77, first + most - 1):
        assert state(part, seq) == state(traced, seq)
    end = len(list(adopted.log))
    assert state(part, end)["losses"] == state(traced, end)["losses"]
    assert events(part, "aggregates")[-1][1] == events(traced, "aggregates")[-1][1]
    assert {seq for seq, *_ in events(part, "values")} <= set(range(first - 1, first + most))
    assert "result" in part.increments[-1]
    assert [e[0] for e in events(part, "losses")] == sorted(e[0] for e in events(part, "losses"))


def test_a_window_that_does_not_exist_is_refused(adopted: Result) -> None:
    for first, most in ((0, 5), (1, 0), (10**6, 5)):
        with pytest.raises(UserError, match=r"at least 1|there is none from"):
            trace_of(adopted.log, first=first, most=most)


def test_readers_that_remember_hear_what_comes_before_the_window() -> None:
    result = simulate(shipped_problem(), "synchbb", seed=1, max_messages=600)
    whole, part = trace_of(result.log), trace_of(result.log, first=200, most=300)
    assert details(part) == details(whole)[199:499]
    assert any("joint cost is" in s for _, said in details(part) for s in said)


def test_thinning_keeps_the_last_of_each_stretch() -> None:
    thinned = Thinned(100)
    for seq in range(1, 10_001):
        thinned.add(seq % 3, seq, seq / 2)
    taken = thinned.take()
    assert len(taken) <= 100
    assert [seq for seq, *_ in taken] == sorted(seq for seq, *_ in taken)
    assert {subject: seq for seq, subject, _ in taken} == {0: 9999, 1: 10_000, 2: 9998}
    assert all(value == seq / 2 for seq, _, value in taken)
    assert thinned.take() == []


# Live ----------------------------------------------------------------------------------------------------------


class Kept(Tracer):
    """A tracer that the test gets hold of, cut now and then as a server would."""

    last: "Kept"

    def start(self) -> None:
        super().start()
        Kept.last = self

    def observe(self, delivery: Delivery) -> None:
        super().observe(delivery)
        if self.seen % 100 == 0:
            self.cut()


@pytest.mark.parametrize(
    ("solver", "network"),
    [("adopt", "uniform:1,10+crash:Ana@10-15+loss:.05+reliable"), ("synchbb", "unit"), ("dsa", "unit+duplicate:.2")],
)
def test_live_and_from_the_log_it_is_the_same(solver: str, network: str) -> None:
    problem = shipped_problem()
    options = {"seed": 1, "network": network, "max_messages": 1000}
    result = simulate(problem, solver, observers=[Kept], **options)
    without = simulate(problem, solver, **options)
    assert result.log._source == without.log._source  # a display leaves no trace
    live, later = Kept.last, trace_of(result.log)
    assert live.over
    assert {**live.head, "live": False} == later.head
    both = (Trace(live.head, live.increments), later)
    assert len(live.increments) > len(later.increments)
    for kind in ("values", "losses", "aggregates", "beliefs", "fates", "marks", "details"):
        assert events(both[0], kind) == events(both[1], kind), kind
    for name in ("sent", "at", "src", "dst", "type", "stamp"):
        assert column(both[0], name) == column(both[1], name), name
    starts = [i["deliveries"]["seq0"] for i in live.increments]
    sizes = [len(i["details"]) for i in live.increments]
    assert starts == [1 + sum(sizes[:k]) for k in range(len(sizes))]
    if "crash" in network:
        assert [m[2] for m in events(later, "marks") if "Ana" in m[2]] == ["Ana crashes", "Ana restarts"]
        assert {"acknowledged", "retransmitted"} <= {f[2] for f in events(later, "fates")}
    if "duplicate" in network:
        assert max(column(later, "copy")) > 0


# What is missing -----------------------------------------------------------------------------------------------


@message("HELLO")
class Hello(NamedTuple):
    words: str


class Greeter(Agent):
    """Says hello; nobody knows what that tells."""

    name = "greeter"
    messages = (Hello,)

    async def run(self) -> None:
        self.assign(0)
        for other in self.view.neighbours:
            self.send(other, Hello("hello"))
        await self.sleep(2)


def test_a_solver_without_reader() -> None:
    trace = trace_of(simulate(plain_problem(**PRIVATE), Greeter).log)
    assert trace.head["leak"] is None
    assert trace.head["leak_note"] == "greeter has no reader here: nothing is known of what it leaks"
    assert details(trace) == [({"words": "hello"}, [])] * 4
    assert len(events(trace, "values")) == 3
    assert trace.head["places"] is None
    assert trace.head["layout"]["tree"] is None


def test_a_solver_that_is_not_installed() -> None:
    log = simulate(plain_problem(**PRIVATE), Greeter).log
    trace = trace_of(Log(log._source))
    assert "solver greeter is not installed here" in trace.head["notes"][0]
    assert trace.head["leak"] is None
    assert details(trace) == [({"field 1": "hello"}, [])] * 4
    assert trace.head["types"][column(trace, "type")[0]] == "HELLO"
    assert trace.head["fields"]["HELLO"] == ["field 1"]
    assert [n["name"] for n in trace.head["nodes"]] == ["a", "b", "c"]


def test_a_redacted_log() -> None:
    log = simulate(plain_problem(**PRIVATE), "dpop", redact=True).log
    trace = trace_of(log)
    assert trace.head["leak"] is None
    assert "needs private costs" in trace.head["leak_note"]
    assert "private costs were left out of this log (--redact)" in trace.head["notes"]
    assert details(trace)[0][1]  # a message says what it says
    with pytest.raises(UserError, match="needs private costs"):
        trace_of(log, "vps:rule=exact")


def test_a_problem_without_private_costs() -> None:
    trace = trace_of(simulate(plain_problem(), "adopt").log)
    assert trace.head["leak"] is None
    assert "no agent has private costs" in trace.head["leak_note"]
    assert all(n["scale"] is None for n in trace.head["nodes"])
    assert events(trace, "losses") == []


def test_only_vps_measures_leakage() -> None:
    log = simulate(plain_problem(**PRIVATE), "dpop").log
    with pytest.raises(UserError, match="that of vps"):
        trace_of(log, "traffic")
    with pytest.raises(UserError, match="no rule is called 'nonsense'"):
        trace_of(log, "vps:rule=nonsense")


def test_logs_that_are_cut_or_damaged(adopted: Result, traced: Trace, tmp_path: Path) -> None:
    whole = adopted.log._source
    assert isinstance(whole, bytes)
    assert len(whole) > 10 * BLOCK_SIZE
    cut = trace_of(whole[: len(whole) // 2])
    assert "was cut off: shown as far as it goes" in " ".join(cut.head["notes"])
    seen = cut.head["window"]["total"]
    assert 1000 < seen < 4937
    assert column(cut, "n") == column(traced, "n")[:seen]
    assert "result" not in cut.increments[-1]
    half = len(whole) // 2
    damaged = trace_of(whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :])
    assert any("damaged at byte" in note for note in damaged.head["notes"])
    assert 1000 < damaged.head["window"]["total"] < 4937
    with pytest.raises(UserError, match="cut off within its header"):
        trace_of(whole[:30])
    with pytest.raises(UserError, match="damaged at byte"):
        trace_of(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    with pytest.raises(UserError, match="not an agentsim log"):
        trace_of(b"<html>")
    missing = tmp_path / "no.amlog"
    with pytest.raises(UserError, match="No such file"):
        trace_of(missing)


def test_logs_that_tell_of_strangers_or_leave_deliveries_out(adopted: Result) -> None:
    for change, cause in (
        (lambda r: (r[0], *r[1:4], "nobody", *r[5:]), "not in the problem"),
        (lambda r: (r[0] + 1, *r[1:]), "delivery 10 is missing"),
    ):
        log = Log(adopted.log._source)
        records = log.records()

        def altered(records: Any = records, change: Any = change) -> Iterator[Any]:
            for record in records:
                yield change(record) if record[0] == 10 else record

        log.records = altered  # type: ignore[method-assign]
        trace = trace_of(log)
        assert any(cause in note for note in trace.head["notes"])
        assert trace.head["window"]["total"] == 9


def rewritten(result: Result, change: Callable[[Any], Any] = lambda record: record, **header: Any) -> Log:
    """A log as somebody may have written it by hand: entries of its header, and records, are others."""
    log = Log(result.log._source)
    assert log.header is not None
    log._header = {**log.header, **header}
    records = [change(record) for record in log.records()]
    log.records = lambda: iter(records)  # type: ignore[method-assign]
    return log


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.fixture(scope="module")
def simple() -> Result:
    return simulate(plain_problem(**PRIVATE), "adopt", network="unit+loss:.2+reliable")


@pytest.mark.parametrize("value", [nested(900), [1, 2], {"a": 1}, float("nan"), float("inf"), 2**64 - 1, b"\xff", None])
@pytest.mark.parametrize("key", ["seed", "network", "package", "params", "error_bound", "root", "replaced", "solver"])
def test_whatever_a_header_holds_there_is_a_page(simple: Result, key: str, value: Any) -> None:
    inside = key in ("error_bound", "root")
    trace = trace_of(rewritten(simple, **{"params": {key: value}} if inside else {key: value}))
    assert "window" in json.loads(packed(trace.head))
    assert len(details(trace)) > 5


def test_a_seed_is_shown_to_the_last_digit(simple: Result) -> None:
    assert trace_of(rewritten(simple, seed=2**63 - 1)).head["seed"] == str(2**63 - 1)
    assert trace_of(simple.log).head["seed"] == 0


def test_deliveries_out_of_time_end_a_trace(simple: Result) -> None:
    def at(sent: float, arrived: float) -> Callable[[Any], Any]:
        return lambda r: (r[0], sent, arrived, *r[3:]) if r[0] == 4 else r

    for sent, arrived in ((-1e300, 5), (1, 1e300), (1, -1), (3, 2)):
        trace = trace_of(rewritten(simple, at(sent, arrived)))
        assert any("delivery 4 is out of time" in note for note in trace.head["notes"])
        assert trace.head["window"]["total"] == 3
    assert events(trace_of(simple.log), "fates")
    late = trace_of(rewritten(simple, lambda r: (*r[:2], 1e300, *r[3:]) if r[0] == "fate" else r))
    assert events(late, "fates") == []


def test_nothing_is_heard_after_the_result(simple: Result) -> None:
    log = rewritten(simple)
    first, *others = log.records()
    *others, result = others
    log.records = lambda: iter([first, result, *others])  # type: ignore[method-assign]
    trace = trace_of(log)
    assert any("goes on after the result" in note for note in trace.head["notes"])
    assert trace.head["window"]["total"] == len(details(trace)) <= 1


def test_a_page_holds_so_many_types_and_characters(simple: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenarios.reports.trace._MOST_TYPES", 5)
    monkeypatch.setattr("scenarios.reports.details.MOST_CHARACTERS", 3000)
    greeting = pack("hello" * 200)

    def change(record: Any) -> Any:
        return record if type(record[0]) is str else (*record[:6], f"T{record[0]}", *record[7:-1], greeting)

    trace = trace_of(rewritten(simple, change, solver="unknown"))
    assert (len(trace.head["types"]), trace.head["types"][-1]) == (6, "…")
    assert set(column(trace, "type")[5:]) == {5}
    shown = [list(payload) for payload, _ in details(trace)]
    assert shown[0] == ["field 1"]
    assert shown[-1] == ["…"]


def test_whom_nobody_watches_has_no_loss() -> None:
    """A single agent loses nothing, which is not the same as a loss of 0."""
    d = Domain("d", (0, 1))
    problem = Problem.build(
        [Variable(n, d, "alone", unary=[0, 3]) for n in "xy"], [Constraint("c", ("x", "y"), [[1, 0], [0, 2]])]
    )
    trace = trace_of(simulate(problem, "dpop").log)
    assert trace.head["leak"] is None
    assert "another could learn" in trace.head["leak_note"]
    assert len(details(trace)) == 2


def test_a_reader_that_fails_ends_the_analysis_and_not_the_trace(
    adopted: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Adopt.reader
    assert reader is not None

    class Failing:
        stateless = True

        def __init__(self, context: Any) -> None:
            self._inner = reader(context)

        def read(self, delivery: Delivery) -> Any:
            if delivery.seq >= 2000:
                raise KeyError("what no agent sends")
            return self._inner.read(delivery)

    monkeypatch.setattr(Adopt, "reader", Failing)
    trace = trace_of(adopted.log)
    assert trace.head["window"]["total"] == len(details(trace)) == 4937
    notes = " ".join(trace.head["notes"])
    assert "leakage is known up to delivery" in notes
    assert "what messages disclose is told up to delivery" in notes
    assert "KeyError" in notes
    assert all(seq < 4937 for seq, *_ in events(trace, "losses"))


def test_agents_without_variables_and_replaced_ones() -> None:
    problem = plain_problem(**PRIVATE)
    idle = Problem.build(problem.variables.values(), problem.constraints.values(), agents=("onlooker",))

    class Silent(Dpop):
        async def run(self) -> None:
            self.assign(0)

    result = simulate(idle, "dpop", replace={"c": Silent})
    trace = trace_of(result.log)
    assert trace.head["agents"] == ["onlooker", "a", "b", "c"]
    assert trace.head["nodes"][3] == {"name": "onlooker", "agent": 0, "domain": [], "scale": None}
    assert "replaced by agents of another kind: c" in trace.head["notes"]
    assert len(trace.head["layout"]["graph"]) == len(trace.head["layout"]["tree"]) == 4
    assert trace.increments[-1]["result"]["status"] == result.status


def shared_problem() -> Problem:
    """Two agents with costs of their own on one variable of a third."""
    d = Domain("d", (0, 1))
    return Problem.build(
        [Variable("x", d, "host"), Variable("y", d, "guest")],
        [
            Constraint("of guest", ("x",), [1, 4], owner="guest", cost_range=(0, 5)),
            Constraint("of other", ("x", "y"), [[1, 4], [0, 3]], owner="guest"),
        ],
    )


def test_compiled_copies_and_leaders_that_need_none() -> None:
    compiled = trace_of(simulate(shared_problem(), "dpop").log)
    assert [n["name"] for n in compiled.head["nodes"]] == ["x", "y", "x@guest"]
    ties = [e["name"] for e in compiled.head["edges"] if e["tie"]]
    assert ties == ["x==x@guest"]
    leaders = trace_of(simulate(shared_problem(), "leader").log)
    assert [n["name"] for n in leaders.head["nodes"]] == ["x", "y"]
    assert not any(e["tie"] for e in leaders.head["edges"])
    assert any("asks what it costs" in s for _, said in details(leaders) for s in said)
    assert sum(p["parent"] is None for p in leaders.head["places"] or [{"parent": None}]) == 1


def test_a_run_that_is_abandoned_and_one_that_loses_messages() -> None:
    class Shy:
        def before_send(self, views: Any, envelope: Any, statements: Any) -> Any:
            return "abandon" if envelope.n > 2 else "send"

    trace = trace_of(simulate(plain_problem(**PRIVATE), "synchbb", order="a,b,c", gates={"b": Shy()}).log)
    assert any(text.startswith("b abandons") for _, _, text in events(trace, "marks"))
    assert trace.increments[-1]["result"]["status"] == "abandoned"
    assert "ABANDON" in trace.head["types"]
    lost = trace_of(simulate(plain_problem(**PRIVATE), "synchbb", order="a,b,c", network="unit+loss:1").log)
    assert len(details(lost)) == 0
    nodes, types = lost.head["nodes"], lost.head["types"]
    _, _, kind, src, dst, what, _, reason = events(lost, "fates")[0]
    assert (kind, nodes[src]["name"], nodes[dst]["name"], types[what], reason) == ("dropped", "a", "b", "FWD", "loss")


def test_bounds_are_marks_in_the_users_units() -> None:
    d = Domain("d", (0, 1))
    problem = Problem.build(
        [Variable("a", d, unary=[-3, 2]), Variable("b", d, unary=[7, 1])],
        [Constraint("c", ("a", "b"), [[5, -1], [0, 2]])],
        objective="max",
        constant=10,
    )
    result = simulate(problem, "dpop")
    marks = [text for _, _, text in events(trace_of(result.log), "marks")]
    assert marks == [f"best utility: {result.cost}"]


def test_an_order_is_a_chain_and_public_equalities_are_ties() -> None:
    problem = Dimes.generate(DimesParams(people=4, shape="T", u=3), 0)
    trace = trace_of(simulate(problem, "synchbb").log)
    places = trace.head["places"]
    orders = {p["component"] for p in places}
    for order in orders:
        chain = [p for p in places if p["component"] == order]
        assert [p["depth"] for p in chain] == list(range(len(chain)))
        assert [p["parent"] for p in chain] == [None, *(p["node"] for p in chain[:-1])]
    assert len({x for x, _ in trace.head["layout"]["tree"]}) == len(orders)
    assert {e["tie"] for e in trace.head["edges"] if e["name"].startswith("same_")} == {True}
    assert not any(e["tie"] for e in trace.head["edges"] if e["name"].startswith("differ_"))
