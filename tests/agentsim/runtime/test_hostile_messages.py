"""Messages from a malicious agent, and from an interceptor that alters them: every solver, every kind of lie.

Whatever is said, a run ends, and says how: `finished`, a deadlock, a limit, or an error that names the agent. It never
claims to be optimal, its log is whole and can be replayed, and what is malformed given the public part of the problem
is told as such, with sender, receiver and field.
"""

import itertools
import math
import random
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import agentsim
from agentsim import simulate
from agentsim.dcop.problem import Problem
from agentsim.errors import RunError
from agentsim.runtime import registry, watchdog
from agentsim.runtime.agent import Agent
from agentsim.runtime.dfs import Visited
from agentsim.runtime.failures import AgentFailure, ObserverFailure
from agentsim.runtime.messages import Abandon, Envelope, message
from agentsim.runtime.registry import find
from agentsim.runtime.router import Alter, Delay, InterceptorFailure
from agentsim.testing import random_problem

SOLVERS: Final = registry.names("solvers")
ENDS: Final = {"finished", "infeasible", "deadlock", "timeout", "error"}
OBSERVERS: Final = ([], ["vps"], ["disclosures", "consistent"], ["accounting"], ["smi"])


class Unpackable:
    """Something that no message can carry."""


class Odd(int):
    """A number that cannot be compared, hashed or pickled."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not comparable")

    def __reduce__(self) -> str:
        raise RuntimeError("not to be pickled")


@message("UNDECLARED")
class Undeclared(NamedTuple):
    """A message type of no solver."""

    value: int


JUNK: Final[list[Any]] = [
    *(None, True, False, 0, -1, 7, 10**6, 2**63 - 1, 2**63, 2**64, -(2**63), -(2**64)),
    *(1.5, math.nan, math.inf, -math.inf),
    *("", "x0", "nobody", "\x1b[31m", "\udcff", "a" * 10_000, b"", b"x" * 100, (), (0,), (1,) * 9, ((),), (None,)),
    *(("x0",), ("x0", "x0"), {}, {"x0": 0}, {"x0": 99}, {"x0": -1}, {"nobody": 0}, {"x0": "x"}, {1: 2}, [1], {1, 2}),
    *(Unpackable(), Odd(1), (Odd(1),), np.float64(1), np.int64(3), np.zeros(0), np.zeros(()), np.zeros(3)),
    *(np.zeros((3, 3)), np.zeros((1,) * 30), np.zeros(100_000), np.zeros(3, np.int8), np.zeros(3, complex)),
    *(np.zeros(3, object), np.array(["a"]), np.array([math.nan] * 3), np.full(2, math.inf), np.full(2, -(10**15))),
]  # fmt: skip


def twisted(rng: random.Random, value: Any) -> Any:
    """Return something like a value, or nothing like it."""
    if rng.random() < 0.4:
        return rng.choice(JUNK)
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return rng.choice([value + 1, value - 1, -value, -1, 10**9, 0, math.inf, -math.inf, 2**63 - 1])
    if isinstance(value, tuple):
        i = rng.randrange(len(value)) if value else 0
        changed = (*value[:i], twisted(rng, value[i]), *value[i + 1 :]) if value else (0,)
        return rng.choice([value + value, value[:-1], changed])
    if isinstance(value, Mapping):
        name = rng.choice([*value, "nobody", "x0", "x1"])
        return rng.choice(
            [{}, {**value, name: 99}, {**value, name: -1}, {**value, name: 0}, dict([*value.items()][1:])]
        )
    if isinstance(value, np.ndarray):
        return twisted_array(rng, value)
    return rng.choice(JUNK)


def twisted_array(rng: random.Random, table: NDArray[Any]) -> NDArray[Any]:
    changes: list[Callable[[], NDArray[Any]]] = [
        lambda: table[..., None],
        lambda: table.astype(np.float32),
        lambda: table.reshape(-1)[:-1],
        lambda: np.full(table.shape, math.inf),
        lambda: np.repeat(table, 2, axis=-1) if table.ndim else table,
    ]
    return rng.choice(changes)()


def lie(rng: random.Random, said: Any, kinds: tuple[type, ...], before: list[Any]) -> Any:
    """Return what a malicious agent says in place of a message."""
    kind, chance = type(said), rng.random()
    if chance < 0.1:
        return rng.choice([*JUNK, Undeclared(1), tuple(said)])
    if chance < 0.2:
        return tuple.__new__(kind, rng.choice([tuple(said)[:-1], (*said, 0)]))  # another number of fields
    if chance < 0.3:
        return rng.choice(before)  # stale, or of another type
    if chance < 0.35:
        other: Any = rng.choice(kinds)
        return tuple.__new__(other, [rng.choice(JUNK) for _ in other._fields])
    if not said:
        return said
    i = rng.randrange(len(said))
    return tuple.__new__(kind, [*said[:i], twisted(rng, said[i]), *said[i + 1 :]])


def altering(seed: str, solver: type[Agent], liar: str) -> Callable[[Envelope], Alter | None]:
    """Return an interceptor that has one node lie, now and then."""
    rng = random.Random(seed)
    rate, before = rng.choice([0.02, 0.1, 0.5, 1.0]), []

    def tampers(envelope: Envelope) -> Alter | None:
        if envelope.src != liar:
            return None
        before.append(envelope.message)
        return Alter(lie(rng, envelope.message, solver.all_messages(), before)) if rng.random() < rate else None

    return tampers


def short(solver: type[Agent]) -> dict[str, Any]:
    fields = getattr(solver.Params, "__dataclass_fields__", {})
    return {key: n for key, n in {"rounds": 5, "iterations": 3}.items() if key in fields}


def problem_of(seed: int) -> Problem:
    return random_problem(np.random.default_rng(seed), max_variables=4)


def attacked(name: str, seed: int) -> tuple[str, RunError | None]:
    """Run a solver with a liar about and check how it ended; return its status and what it complained of."""
    solver, problem = find("solvers", name), problem_of(seed % 50)
    rng = random.Random(seed)
    liar = rng.choice(list(problem.variables))
    failure: RunError | None = None
    try:
        result = simulate(
            problem, name, seed=seed, interceptors=[altering(f"{seed}{name}", solver, liar)], max_messages=5_000,
            timeout=60, observers=rng.choice(OBSERVERS), **short(solver),
        )  # fmt: skip
    except (AgentFailure, ObserverFailure, InterceptorFailure) as error:
        failure, result = error, error.result
    named = failure is None or any(word in str(failure) for word in (*problem.variables, "observer "))
    assert named, str(failure)
    assert result.status in ENDS, (name, seed, result.status)
    assert (failure is not None) == (result.status == "error")
    replayed = agentsim.replay(result.log)
    assert replayed.damaged is None
    return result.status, failure


@pytest.mark.parametrize("name", SOLVERS)
def test_a_liar_cannot_hang_a_run_nor_have_it_claim_an_optimum(name: str) -> None:
    for seed in range(4):
        attacked(name, seed)


# What is malformed is told at the door ----------------------------------------------------------------------------


def first(kind: str, **fields: Any) -> Callable[[Envelope], Alter | None]:
    """Return an interceptor that changes fields of messages of a type."""

    def tampers(envelope: Envelope) -> Alter | None:
        return Alter(envelope.message._replace(**fields)) if envelope.type == kind else None

    return tampers


TRIANGLE: Final = """
name: triangle
objective: min
domains: {d: {values: [0, 1, 2]}}
variables: {x: {domain: d}, y: {domain: d}, z: {domain: d}}
constraints:
  xy: {type: intention, function: 3 if x == y else x + y}
  yz: {type: intention, function: 2 if y == z else y}
  zx: {type: intention, function: 4 if x == z else z}
agents: [x, y, z]
"""


@pytest.fixture(scope="module")
def triangle(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    path = tmp_path_factory.mktemp("triangle") / "triangle.yaml"
    path.write_text(TRIANGLE)
    return agentsim.load(path)


@pytest.mark.parametrize(
    ("solver", "kind", "fields", "says"),
    [
        *(
            (s, "VALUE", {"value": 3}, "field value: 3 is no index of the 3 values of ")
            for s in ("adopt", "dsa", "mgm")
        ),
        ("adopt-plus", "VALUE", {"value": -1}, "field value: -1 is no index"),
        ("bnb-adopt", "VALUE", {"value": 2**63 - 1}, "field value: 9223372036854775807 is no index"),
        ("pd-gibbs", "VALUE", {"value": 9}, "field value: 9 is no index"),
        ("p-gibbs", "CHOICE", {"value": 9}, "field value: 9 is no index"),
        ("sd-gibbs", "VALUE", {"best": 9}, "field best: 9 is no index"),
        ("brute-force", "VALUE", {"value": 5}, "field value: 5 is no index"),
        ("adopt", "COST", {"context": {"x": 3}}, "field context: 3 is no index of the 3 values of x"),
        ("adopt", "COST", {"context": {"\x1bnobody": 0}}, r"field context: there is no variable '\\x1bnobody'"),
        ("bnb-adopt", "COST", {"ids": (1,) * 7}, "field ids: 7 elements for "),
        ("bnb-adopt-plus", "COST", {"ids": ()}, "field ids: 0 elements for "),
        ("dpop", "VALUE", {"values": {"y": -2}}, "field values: -2 is no index"),
        ("dpop", "UTIL", {"axes": ("x", "x"), "table": np.zeros((3, 3))}, "field table: a variable has two axes"),
        ("dpop", "UTIL", {"axes": ("w",)}, "field table: there is no variable 'w'"),
        ("mb-dpop", "UTIL", {"table": np.zeros(7)}, "field table: has shape (7,)"),
    ],
)
def test_what_the_problem_does_not_have_is_malformed(
    solver: str, kind: str, fields: dict[str, Any], says: str, triangle: Problem
) -> None:
    with pytest.raises(AgentFailure) as caught:
        simulate(triangle, solver, interceptors=[first(kind, **fields)], **short(find("solvers", solver)))
    assert f"its {kind} (send " in str(caught.value)
    assert f"is malformed: {says}".replace("\\\\", "\\") in str(caught.value)
    assert caught.value.__cause__ is None  # and no traceback into an honest agent's arithmetic
    assert caught.value.result.status == "error"


@pytest.mark.parametrize("name", SOLVERS)
def test_the_door_lets_honest_messages_pass(name: str) -> None:
    def looks_on(envelope: Envelope) -> None:
        return None

    solver = find("solvers", name)
    for seed in range(3):
        problem = problem_of(seed)
        watched = simulate(problem, name, seed=seed, interceptors=[looks_on], **short(solver))
        alone = simulate(problem, name, seed=seed, **short(solver))
        assert watched.messages == alone.messages
        assert watched.cost == alone.cost or name == "once"  # whose randomness is from outside


def test_the_search_for_a_tree_is_no_business_of_a_run_that_has_one(triangle: Problem) -> None:
    def tampers(envelope: Envelope) -> Alter | None:
        return Alter(Visited()) if envelope.type == "COST" else None

    with pytest.raises(AgentFailure, match="malformed: VISITED is not said in this run"):
        simulate(triangle, "adopt", interceptors=[tampers], tree="computed")
    searched = simulate(triangle, "adopt", interceptors=[tampers], tree="messages", max_messages=1_000)
    assert searched.limit == "max_messages"  # those who search hear it once too often, which loss does as well


def test_nobody_abandons_a_run_in_which_nobody_may(triangle: Problem) -> None:
    with pytest.raises(AgentFailure, match="malformed: ABANDON is not said in this run"):
        simulate(triangle, "dsa", interceptors=[lambda envelope: Alter(Abandon())])


# What cannot travel -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (None, "a NoneType, is not a message type of the solver"),
        ("VALUE", "a str, is not a message type"),
        ((0, 1), "a tuple, is not a message type"),
        (Undeclared(1), "a Undeclared, is not a message type"),
    ],
)
def test_an_interceptor_makes_messages_of_the_solver_alone(made: Any, says: str, triangle: Problem) -> None:
    with pytest.raises(InterceptorFailure, match=says) as caught:
        simulate(triangle, "dsa", interceptors=[lambda envelope: Alter(made)])
    assert " VALUE to " in str(caught.value)
    assert caught.value.result.status == "error"


@pytest.mark.parametrize("value", [Unpackable(), 2**64, "\udcff", {1, 2}, np.int64(1), np.zeros(2, object), [[]] * 2])
def test_what_cannot_travel_or_is_not_declared_names_sender_receiver_and_field(value: Any, triangle: Problem) -> None:
    with pytest.raises((InterceptorFailure, AgentFailure)) as caught:
        simulate(triangle, "dsa", interceptors=[first("VALUE", value=value)])
    said = str(caught.value)
    assert "cannot travel" in said or "malformed: field value" in said
    assert caught.value.result.status == "error"


def test_a_second_interceptor_does_not_see_what_is_malformed(triangle: Problem) -> None:
    seen = []
    with pytest.raises(AgentFailure, match="malformed: field value: is a str"):
        simulate(triangle, "dsa", interceptors=[first("VALUE", value="x"), lambda envelope: seen.append(envelope)])
    assert not seen


@pytest.mark.parametrize("by", [math.nan, -1.0, math.inf, 1e308, "late", None])
def test_a_delay_that_is_none_is_told_and_an_endless_one_ends_the_run(by: Any, triangle: Problem) -> None:
    failure = ""
    try:
        result = simulate(triangle, "dpop", interceptors=[lambda envelope: Delay(by)], max_time=1e6)
    except InterceptorFailure as error:
        failure = str(error)
    if isinstance(by, (str, type(None))):
        assert "Delay" in failure
    else:
        assert result.status == ("finished" if not by > 0 else "deadlock" if by == math.inf else "timeout")


class Scribe(Agent):
    """Sends what it is told to, to whom it is told to."""

    says: tuple[tuple[str, Any], ...] = ()

    async def run(self) -> None:
        for to, what in self.says:
            self.send(to, what)


def scribe(solver: str, *says: tuple[str, Any]) -> type[Agent]:
    return type("Written", (Scribe,), {"says": says, "messages": find("solvers", solver).messages})


def test_mail_to_oneself_to_nobody_and_after_the_end(triangle: Problem) -> None:
    from solvers.dsa import Value

    for to in ("nobody", "", "\x1b[31m", None, 7, ["y"]):
        with pytest.raises(AgentFailure) as caught:
            simulate(triangle, "dsa", replace={"x": scribe("dsa", (to, Value(0, 0)))})  # type: ignore[arg-type]
        assert str(caught.value).startswith("agent x: "), to
        assert caught.value.result.status == "error"
    result = simulate(triangle, "dsa", replace={"x": scribe("dsa", ("x", Value(0, 0)))}, rounds=3)
    assert result.status == "deadlock"
    assert result.deadlock is not None
    assert set(result.deadlock.waiting) == {"y", "z"}


def test_an_agent_sends_what_only_it_understands(triangle: Problem) -> None:
    for what in (*JUNK, Undeclared(0)):
        with pytest.raises(AgentFailure, match="not a message type of its solver"):
            simulate(triangle, "dsa", replace={"x": scribe("dsa", ("y", what))})


def test_a_long_text_in_place_of_a_number_is_cut_in_the_complaint(triangle: Problem) -> None:
    with pytest.raises(AgentFailure) as caught:
        simulate(triangle, "dsa", interceptors=[first("VALUE", value="long " * 2_000_000)])
    assert len(str(caught.value)) < 1_000


# Floods -------------------------------------------------------------------------------------------------------------


def test_a_flood_is_stopped_where_memory_would_fill(triangle: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    from solvers.dsa import Value

    class Flood(Agent):
        messages = find("solvers", "dsa").messages

        async def run(self) -> None:
            for i in itertools.count():
                if i < 10_000:
                    self.send("y", Value(0, 0))

    monkeypatch.setattr(watchdog, "MAX_AT_ONCE", 5_000)
    result = simulate(triangle, "dsa", replace={"x": Flood}, timeout=600)
    assert (result.status, result.limit) == ("timeout", watchdog.FLOOD)
    assert any("agent x" in note for note in result.notes)
    assert agentsim.replay(result.log).damaged is None


def test_a_limit_of_deliveries_ends_a_flood_at_the_instant(triangle: Problem) -> None:
    from solvers.dsa import Value

    flood = scribe("dsa", *[("y", Value(0, 0))] * 20_000)
    result = simulate(triangle, "dsa", replace={"x": flood}, max_messages=100)
    assert (result.status, result.limit) == ("timeout", "max_messages")
