"""The compact form: exact round trips, redaction, and hostile input."""

from __future__ import annotations

import copy
import math
import time
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim.dcop.formats import decode_problem, dump_bytes, encode_problem, load, load_bytes, save
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.errors import UserError

DATA = Path(__file__).parent / "data"
VALUES = st.one_of(
    st.integers(-(2**40), 2**40),
    st.booleans(),
    st.text("aé'\" |{}", min_size=1, max_size=6),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
)
COSTS = st.one_of(
    st.integers(-(2**40), 2**40), st.just(math.inf), st.floats(-1e6, 1e6, allow_nan=False), st.sampled_from([0, 0.5])
)
NAMES = st.text("abcxyz_019 é-", min_size=1, max_size=8)


def float_key(value: Any) -> Any:
    """Tell 0 and 0.0 to be the same value, but not 0 and False, as domains do."""
    return (isinstance(value, bool), value)


@st.composite
def problems(draw: st.DrawFn, values: st.SearchStrategy[Any] = VALUES, names: Any = NAMES) -> Problem:
    """Small problems that use everything the model has."""
    sign = draw(st.sampled_from([1, -1]))

    def table(*sizes: int) -> Any:
        n = math.prod(sizes)
        return np.array(draw(st.lists(COSTS, min_size=n, max_size=n))).reshape(sizes) * sign

    domains = [
        Domain(
            f"d{i}",
            tuple(draw(st.lists(values, min_size=1, max_size=3, unique_by=(str, float_key)))),
            draw(st.sampled_from(["", "k"])),
        )
        for i in range(draw(st.integers(1, 2)))
    ]
    agents = ["a0", "a1", "a2"]
    variables = []
    for name in draw(st.lists(names, min_size=1, max_size=4, unique=True)):
        domain = draw(st.sampled_from(domains))
        variables.append(
            Variable(
                name,
                domain,
                draw(st.sampled_from([*agents, ""])),
                table(len(domain)) if draw(st.booleans()) else None,
                draw(st.one_of(st.none(), st.integers(0, len(domain) - 1))),
                draw(st.sampled_from([None, (-(10**13), 10**13), (-1e13 - 0.5, 2e13)])),
                draw(st.sampled_from(["", "copy"])),
            )
        )
    constraints = []
    for i in range(draw(st.integers(0, 3))):
        scope = draw(st.lists(st.sampled_from(variables), min_size=1, max_size=3, unique_by=lambda v: v.name))
        constraints.append(
            Constraint(
                f"c{i}",
                tuple(v.name for v in scope),
                table(*(v.size for v in scope)),
                draw(st.sampled_from([None, *agents])),
                draw(st.sampled_from(["scope", "all", ("a0", "a2")])),
                draw(st.sampled_from([None, (0, 3)])),
            )
        )
    objective: Any = "min" if sign > 0 else "max"
    constant = draw(st.sampled_from([0, 7, -2.5]))
    return Problem.build(
        variables,
        constraints,
        name="p",
        objective=objective,
        agents=agents,
        constant=constant,
        extras={"k": [1, {"a": 2.5}]},
    )


def assert_same(a: Problem, b: Problem) -> None:
    assert (a.name, a.objective, a.constant, a.agents, a.integral, a.tolerance) == (
        b.name,
        b.objective,
        b.constant,
        b.agents,
        b.integral,
        b.tolerance,
    )
    assert list(a.variables) == list(b.variables)
    assert list(a.constraints) == list(b.constraints)
    for v, w in zip(a.variables.values(), b.variables.values(), strict=True):
        assert (v.domain, v.agent, v.initial, v.cost_range, v.role) == (
            w.domain,
            w.agent,
            w.initial,
            w.cost_range,
            w.role,
        )
        assert [type(x) for x in v.domain.values] == [type(x) for x in w.domain.values]
        assert (v.unary is None) == (w.unary is None)
        if v.unary is not None and w.unary is not None:
            assert v.unary.dtype == w.unary.dtype
            assert v.unary.tobytes() == w.unary.tobytes()
    for c, d in zip(a.constraints.values(), b.constraints.values(), strict=True):
        assert (c.scope, c.owner, c.known_to, c.cost_range) == (d.scope, d.owner, d.known_to, d.cost_range)
        assert c.table.dtype == d.table.dtype
        assert c.table.tobytes() == d.table.tobytes()


@given(problem=problems())
@settings(max_examples=150, deadline=None)
def test_round_trip(problem: Problem) -> None:
    got = load_bytes(dump_bytes(problem))
    assert_same(problem, got)
    assert got.extras == problem.extras


WORDS = st.one_of(st.integers(-99, 99), st.text("abé '|", min_size=1, max_size=5), st.floats(-9, 9), st.booleans())


@given(problem=problems(WORDS, st.text("abc_1", min_size=1, max_size=4)))
@settings(max_examples=150, deadline=None)
def test_yaml_says_the_same(problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    notes = save(problem, path)
    if any("read back" in n for n in notes):
        return
    got = load(path)
    for v, w in zip(problem.variables.values(), got.variables.values(), strict=True):
        assert v.domain.values == w.domain.values
        assert (v.agent, v.initial, v.cost_range, v.role) == (w.agent, w.initial, w.cost_range, w.role)
        assert (v.unary is None) == (w.unary is None)
        assert v.unary is None or (v.unary == w.unary).all()
    assert list(got.constraints) == list(problem.constraints)
    for c, d in zip(problem.constraints.values(), got.constraints.values(), strict=True):
        assert (c.scope, c.owner, c.known_to, c.cost_range) == (d.scope, d.owner, d.known_to, d.cost_range)
        assert (c.table == d.table).all()
    assert (got.objective, got.constant) == (problem.objective, problem.constant)


def test_files_written_once_are_read_for_ever() -> None:
    packed = valid()
    assert (packed["format"], packed["version"]) == ("agentsim-problem", 1)
    for other in ({"version": 2}, {"version": 0}, {"format": "agentsim"}):
        with pytest.raises(UserError):
            decode_problem({**packed, **other})


def test_a_table_that_many_share_is_stored_once() -> None:
    tiny = load(DATA / "tiny.xml")
    packed = encode_problem(tiny)
    assert len(packed["tables"]) < len(tiny.constraints) + 3
    got = decode_problem(packed)
    assert got.constraints["c1"].table is got.constraints["c7"].table


@pytest.mark.parametrize(
    ("costs", "dtype"),
    [
        ([-128, 127], "<i1"),
        ([-129, 0], "<i2"),
        ([0, 128], "<i2"),
        ([-(2**15), 2**15 - 1], "<i2"),
        ([0, 2**15], "<i4"),
        ([-(2**31), 2**31 - 1], "<i4"),
        ([-(2**31) - 1, 0], "<i8"),
        ([0.5, math.inf], "<f4"),
        ([0.1, math.inf], "<f8"),
        ([2**24 + 1, math.inf], "<f8"),
    ],
)
def test_tables_are_stored_in_the_smallest_exact_type(costs: list[float], dtype: str) -> None:
    packed = encode_problem(Problem.build([Variable("x", Domain("d", (0, 1)), unary=np.array(costs))]))
    assert [table["dtype"].replace("|", "<") for table in packed["tables"]] == [dtype]
    unary = decode_problem(packed).variables["x"].unary
    assert unary is not None
    assert unary.tolist() == costs


@pytest.mark.parametrize("kind", ["variable", "constraint"])
def test_a_name_that_occurs_twice_is_refused(kind: str) -> None:
    packed = valid()
    packed[f"{kind}s"].append(packed[f"{kind}s"][0])
    with pytest.raises(UserError, match=f"a {kind} is defined twice"):
        decode_problem(packed)


def test_redaction_leaves_no_private_cost() -> None:
    secret, public = np.array([[123457, 123458]] * 2), np.array([[1, 2], [3, 4]])
    variables = [Variable(n, Domain("d", (0, 1)), unary=np.array([123459, 123460])) for n in "xy"]
    constraints = [Constraint("s", ("x", "y"), secret), Constraint("o", ("x", "y"), secret, owner="x")]
    constraints.append(Constraint("p", ("x", "y"), public, known_to="all"))
    problem = Problem.build(variables, constraints, extras={"privacy": {"epsilon": 1}, "secret": 123461})
    data = dump_bytes(problem, redact=True)
    for number in range(123457, 123462):
        for packed in (number.to_bytes(4, "little"), number.to_bytes(4, "big"), str(number).encode()):
            assert packed not in data
    got = load_bytes(data)
    assert got.extras == {"privacy": {"epsilon": 1}, "redacted": True}
    assert got.constraints["p"].table.tolist() == public.tolist()
    assert not got.constraints["s"].table.any()
    assert got.constraints["o"].owner == "x"
    assert all(v.unary is not None and v.unary.tolist() == [0, 0] for v in got.variables.values())
    # Once redacted, always redacted.
    assert load_bytes(dump_bytes(got)).extras["redacted"] is True


# --- hostile input --------------------------------------------------------------------------------------------------


def valid() -> dict[str, Any]:
    return copy.deepcopy(encode_problem(load(DATA / "tiny.xml")))


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += paths(item, (*at, key))
    return found


@pytest.mark.parametrize("junk", [None, -1, 2**62, "junk", b"junk", [], {}, math.nan, [[]], True, 10**6], ids=repr)
def test_junk_anywhere_gives_a_problem_or_one_error(junk: object) -> None:
    original = valid()
    for path in paths(original):
        if path[0] == "extras" and len(path) > 1:
            continue
        packed = copy.deepcopy(original)
        target: Any = packed
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = junk
        message = ""
        try:
            decode_problem(packed)
        except UserError as error:
            message = str(error)
        assert "\n" not in message
        assert len(message) < 500


def test_every_truncation_is_refused() -> None:
    data = dump_bytes(load(DATA / "tiny.xml"))
    for length in range(0, len(data), 3):
        with pytest.raises(UserError):
            load_bytes(data[:length], "p.amdcop")


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=1000)
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(UserError):
        load_bytes(data)


HOSTILE = {
    "array of 4 billion": b"\xdd\xff\xff\xff\xff",
    "map of 4 billion": b"\xdf\xff\xff\xff\xff",
    "string of 4 GB": b"\xdb\xff\xff\xff\xff",
    "deep": b"\x91" * 1_000_000 + b"\xc0",
    "extension": b"\xc7\x00\x01",
    "timestamp": b"\xd6\xff\x00\x00\x00\x00",
    "not UTF-8": b"\xa2\xff\xff",
    "unhashable key": b"\x81\x90\xc0",
    "trailing": msgpack.packb({}) + b"\x00",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_msgpack(data: bytes) -> None:
    started = time.process_time()
    with pytest.raises(UserError):
        load_bytes(data)
    assert time.process_time() - started < 1.0


def test_huge_shapes_cost_nothing() -> None:
    for shape in ([10**6, 10**6], [2] * 33, [10**6] * 30, [0], [-1, -8]):
        packed = valid()
        packed["tables"][0]["shape"] = shape
        with pytest.raises(UserError):
            decode_problem(packed)
    packed = valid()
    packed["redacted"] = True
    packed["domains"] = [[name, list(range(100_000)), ""] for name in "de"]
    for row in packed["variables"]:
        row[3] = None
    with pytest.raises(UserError, match="cells"):
        decode_problem(packed)
