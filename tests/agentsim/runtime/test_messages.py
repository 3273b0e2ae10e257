"""Messages: every declared kind of field goes there and back; what is not as declared is refused, naming the field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from agentsim import AgentFailure, Constraint, Domain, Problem, Variable, simulate
from agentsim.runtime.agent import Agent
from agentsim.runtime.messages import (
    MAX_ARRAY_CELLS,
    Array,
    Codec,
    Context,
    Cost,
    MaxCells,
    MessageError,
    message,
    pack,
    spec_of,
    unpack,
)


@message("ALL")
class All(NamedTuple):
    """A field of every kind."""

    whole: int
    cost: Cost
    real: float
    yes: bool
    text: str
    raw: bytes
    nothing: None
    maybe: int | None
    several: tuple[int, ...]
    pair: tuple[str, Cost]
    context: Context
    nested: tuple[tuple[str, Cost | None], ...]
    tables: Mapping[str, tuple[float, ...]]
    table: Array
    small: Annotated[Array, MaxCells(8)]


FIELDS = All._fields
INT64 = st.integers(-(1 << 63), (1 << 64) - 1)
COST = INT64 | st.floats(allow_nan=False)
DTYPES = ["<i8", "<f8", "<i4", "<f4", "<i2", "<u2", "|u1", "|i1", "|b1", "<u4", "<u8"]
SHAPES = st_np.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def arrays(shapes: Any = SHAPES) -> st.SearchStrategy[Any]:
    return st.sampled_from(DTYPES).flatmap(
        lambda code: st_np.arrays(code, shapes, elements={"allow_nan": False} if code[1] == "f" else None)
    )


ALLS = st.builds(
    All,
    INT64,
    COST,
    COST,
    st.booleans(),
    st.text(),
    st.binary(),
    st.none(),
    st.none() | INT64,
    st.lists(INT64, max_size=9).map(tuple),
    st.tuples(st.text(), COST),
    st.dictionaries(st.text(), INT64, max_size=9),
    st.lists(st.tuples(st.text(), st.none() | COST), max_size=9).map(tuple),
    st.dictionaries(st.text(), st.lists(COST, max_size=9).map(tuple), max_size=3),
    arrays(),
    arrays(st_np.array_shapes(max_dims=2, max_side=2)),
)

GOOD = All(
    1, 2.5, 3, True, "t", b"b", None, None, (1, 2), ("x", 1), {"x": 0}, (("x", None),), {"x": (1.0,)},
    np.arange(6).reshape(2, 3), np.zeros(8),
)  # fmt: skip


def there_and_back(value: Any) -> Any:
    return spec_of(type(value)).decode(pack(value))


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


# There and back -------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(sent=ALLS)
def test_every_kind_of_field_comes_back_as_it_went(sent: All) -> None:
    received = there_and_back(sent)
    assert type(received) is All
    assert same(sent, received)
    assert pack(sent) == pack(received)  # read and sent on, it is the same bytes


@pytest.mark.parametrize("code", DTYPES)
def test_arrays_of_every_type_travel(code: str) -> None:
    array = np.array([[0, 1, 2], [3, 4, 5]]).astype(code)
    received = there_and_back(GOOD._replace(table=array)).table
    assert received.dtype == np.dtype(code)
    assert received.tolist() == array.tolist()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12).reshape(3, 4).T,
        np.arange(12).reshape(3, 4)[::2, ::-1],
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(3, dtype=">i8"),
        np.arange(3, dtype=">f4"),
        np.array(7),
        np.zeros((0, 3)),
        np.array([math.inf, -math.inf]),
    ],
    ids=["transposed", "strided", "column-major", "big-endian", "big-endian floats", "scalar", "empty", "infinite"],
)
def test_arrays_of_any_layout_travel(array: Any) -> None:
    received = there_and_back(GOOD._replace(table=array)).table
    assert received.shape == array.shape
    assert received.tolist() == array.tolist()


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.array([1j]), np.array(["2020"], "M8[Y]")])
def test_arrays_of_other_things_do_not_travel(array: Any) -> None:
    with pytest.raises(TypeError, match="cannot travel"):
        pack(GOOD._replace(table=array))


@pytest.mark.parametrize("value", [np.int64(1), np.bool_(True), {1, 2}, object(), 1 << 64, 1j])
def test_what_msgpack_does_not_know_does_not_travel(value: Any) -> None:
    with pytest.raises((TypeError, OverflowError)):
        pack(GOOD._replace(whole=value))


def test_infinite_costs_travel() -> None:
    received = there_and_back(GOOD._replace(cost=math.inf, pair=("x", -math.inf)))
    assert (received.cost, received.pair) == (math.inf, ("x", -math.inf))


def test_a_received_mapping_can_be_sent_on() -> None:
    received = there_and_back(GOOD)
    assert there_and_back(GOOD._replace(context=received.context)).context == {"x": 0}


# What is received cannot be changed -----------------------------------------------------------------------------------


def test_a_received_array_is_read_only_and_not_a_copy() -> None:
    payload = pack(GOOD)
    table = spec_of(All).decode(payload).table
    assert not table.flags.writeable
    assert not table.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        table[0, 0] = 9
    with pytest.raises(ValueError, match="cannot set WRITEABLE"):
        table.flags.writeable = True


def test_a_received_message_is_immutable_throughout() -> None:
    received = there_and_back(GOOD)
    with pytest.raises(AttributeError):
        received.whole = 2
    with pytest.raises(TypeError):
        received.context["x"] = 1
    with pytest.raises(TypeError):
        received.tables["x"] = ()
    for value in (received.several, received.pair, received.nested, received.nested[0], received.tables["x"]):
        assert type(value) is tuple


def test_changing_what_was_sent_does_not_change_what_is_received() -> None:
    table, context = np.zeros(3), {"x": 0}
    payload = pack(GOOD._replace(table=table, context=context))
    table[0], context["x"] = 5, 5
    received = spec_of(All).decode(payload)
    assert received.table.tolist() == [0, 0, 0]
    assert received.context == {"x": 0}


# What is not as declared ----------------------------------------------------------------------------------------------

NAN = math.nan
WRONG: list[tuple[str, Any, str]] = [
    ("whole", 1.0, "float"),
    ("whole", True, "bool"),
    ("whole", None, "NoneType"),
    ("whole", "1", "str"),
    ("cost", "1", "str"),
    ("cost", False, "bool"),
    ("cost", NAN, "NaN"),
    ("real", NAN, "NaN"),
    ("real", None, "NoneType"),
    ("yes", 1, "int"),
    ("text", b"t", "bytes"),
    ("raw", "b", "str"),
    ("nothing", 0, "int"),
    ("maybe", 0.5, "float"),
    ("several", 1, "int"),
    ("several", (1, "2"), "str"),
    ("several", (*range(9), "2"), "str"),
    ("several", (1, (2,)), "tuple"),
    ("pair", ("x",), "1 elements, 2 declared"),
    ("pair", ("x", 1, 2), "3 elements, 2 declared"),
    ("pair", (1, 1), "int"),
    ("pair", ("x", NAN), "NaN"),
    ("context", (1,), "tuple"),
    ("context", {"x": 0.5}, "float"),
    ("context", {b"x": 1}, "key"),
    ("nested", (("x", NAN),), "NaN"),
    ("nested", (("x", 1), ("y",)), "elements"),
    ("nested", ("x",), "str"),
    ("tables", {"x": (1, NAN)}, "NaN"),
    ("tables", {"x": tuple([1.0] * 9 + [NAN])}, "NaN"),
    ("tables", {"x": 1}, "int"),
    ("table", (1, 2), "tuple"),
    ("table", np.array([1.0, NAN]), "NaN"),
    ("table", np.array([[math.inf, -math.inf], [NAN, 0]], "<f4"), "NaN"),
    ("small", np.array([NAN]), "NaN"),
    ("small", np.zeros(9), "array of 9 cells, at most 8 declared"),
    ("small", np.zeros((3, 3), "|b1"), "array of 9 cells, at most 8 declared"),
]


@pytest.mark.parametrize(("field", "value", "says"), WRONG, ids=lambda v: repr(v)[:40])
def test_what_is_not_as_declared_is_refused_naming_the_field(field: str, value: Any, says: str) -> None:
    payload = pack(GOOD._replace(**{field: value}))
    there_and_back(GOOD)  # a good message before it changes nothing, nor does one after it
    for _ in range(2):
        with pytest.raises(MessageError, match=says) as caught:
            spec_of(All).decode(payload)
        assert caught.value.field == field
        assert str(caught.value).startswith(f"field {field}: ")
    there_and_back(GOOD)


@settings(deadline=None, max_examples=80)
@given(sent=ALLS, field=st.sampled_from(["cost", "real", "pair", "table"]))
def test_nan_is_refused_wherever_it_hides(sent: All, field: str) -> None:
    bad: Any = {"pair": ("x", NAN), "table": np.array([*range(5), NAN, math.inf])}.get(field, NAN)
    with pytest.raises(MessageError, match="NaN") as caught:
        there_and_back(sent._replace(**{field: bad}))
    assert caught.value.field == field


def test_arrays_without_nan_are_let_through_where_their_sum_is_nan() -> None:
    table = np.array([math.inf, -math.inf, 1.0])
    assert there_and_back(GOOD._replace(table=table)).table.tolist() == table.tolist()


@pytest.mark.parametrize("values", [(), GOOD[:-1], (*GOOD, 1)], ids=["none", "one less", "one more"])
def test_another_number_of_fields_is_refused(values: tuple[Any, ...]) -> None:
    with pytest.raises(MessageError, match=f"{len(values)} fields, {len(FIELDS)} declared"):
        spec_of(All).decode(pack(values))


@message("ONE")
class One(NamedTuple):
    x: int


@message("TWO")
class Two(NamedTuple):
    x: int
    y: int


@message("THREE")
class Three(NamedTuple):
    x: int
    y: int
    z: Cost


@message("NONE")
class Empty(NamedTuple):
    pass


@pytest.mark.parametrize("good", [Empty(), One(1), Two(1, 2), Three(1, 2, 3)], ids=lambda m: type(m).__name__)
def test_messages_of_few_fields_are_checked_as_well(good: Any) -> None:
    """The usual case has a short cut; what does not fit it is still refused."""
    cls = type(good)
    for _ in range(2):
        assert there_and_back(good) == good
        for wrong in [(*good, 1), good[:-1] if good else (1,)]:
            with pytest.raises(MessageError, match=f"{len(wrong)} fields, {len(good)} declared"):
                spec_of(cls).decode(pack(wrong))
        for i, field in enumerate(cls._fields):
            with pytest.raises(MessageError) as caught:
                spec_of(cls).decode(pack([*good[:i], "1", *good[i + 1 :]]))
            assert caught.value.field == field
    assert there_and_back(Three(1, 2, 0.5)) == Three(1, 2, 0.5)
    with pytest.raises(MessageError, match="NaN"):
        there_and_back(Three(1, 2, NAN))


@pytest.mark.parametrize("value", [1, "x", None, {"whole": 1}, b"\x90"])
def test_what_is_no_array_of_fields_is_refused(value: Any) -> None:
    with pytest.raises(MessageError, match="not an array of fields"):
        spec_of(All).decode(pack(value))


def test_every_truncated_payload_is_refused() -> None:
    payload = pack(GOOD)
    for cut in range(len(payload)):
        with pytest.raises(MessageError):
            spec_of(All).decode(payload[:cut])


@given(tail=st.binary(min_size=1, max_size=5))
def test_trailing_bytes_are_refused(tail: bytes) -> None:
    with pytest.raises(MessageError, match="not a msgpack object"):
        spec_of(All).decode(pack(GOOD) + tail)


@settings(deadline=None, max_examples=200)
@given(at=st.integers(0, len(pack(GOOD)) - 1), byte=st.integers(0, 255))
def test_a_changed_byte_gives_a_message_as_declared_or_is_refused(at: int, byte: int) -> None:
    payload = bytearray(pack(GOOD))
    payload[at] = byte
    try:
        received = spec_of(All).decode(bytes(payload))
    except MessageError:
        return
    assert same(received, there_and_back(received))


@settings(max_examples=200)
@given(payload=st.binary(max_size=40))
def test_any_bytes_are_a_message_or_refused(payload: bytes) -> None:
    try:
        unpack(payload)
    except MessageError:
        return
    msgpack.unpackb(payload, use_list=False, strict_map_key=True, ext_hook=lambda code, data: None)


@pytest.mark.parametrize("code", [0, 2, 127, -1])
def test_an_unknown_extension_is_refused(code: int) -> None:
    with pytest.raises(MessageError):
        spec_of(One).decode(msgpack.packb([msgpack.ExtType(code % 128, b"\x00\x00\x00\x00")]))
    with pytest.raises(MessageError):
        spec_of(One).decode(b"\x91\xd6" + (code % 256).to_bytes() + b"\x00\x00\x00\x00")  # -1: a timestamp


def array_ext(header: Any, data: bytes) -> bytes:
    return bytes(msgpack.packb([msgpack.ExtType(1, msgpack.packb(header) + data)]))


@message("TABLE")
class Table(NamedTuple):
    table: Array


@pytest.mark.parametrize(
    "payload",
    [
        array_ext(["<i8", [2]], bytes(15)),
        array_ext(["<i8", [2]], bytes(17)),
        array_ext(["<i8", [-1]], b""),
        array_ext(["<i8", [-1, -1]], bytes(8)),
        array_ext(["<i8", [1.0]], bytes(8)),
        array_ext(["<i8", [True]], bytes(8)),
        array_ext(["<i8", 1], bytes(8)),
        array_ext(["<i8"], bytes(8)),
        array_ext(["|O", [1]], bytes(8)),
        array_ext(["<U2", [1]], bytes(8)),
        array_ext(["i8", [1]], bytes(8)),
        array_ext([["<i8"], [1]], bytes(8)),
        array_ext(["<i8", [1 << 40, 1 << 40]], b""),
        array_ext(["|u1", [MAX_ARRAY_CELLS + 1]], b""),
        array_ext(["<i8", [1] * 200], bytes(8)),
        array_ext(["<i8", [0, 1 << 62, 1 << 62]], b""),
        bytes(msgpack.packb([msgpack.ExtType(1, b"")])),
        bytes(msgpack.packb([msgpack.ExtType(1, b"\xc1")])),
    ],
)
def test_an_array_that_does_not_add_up_is_refused(payload: bytes) -> None:
    with pytest.raises(MessageError):
        spec_of(Table).decode(payload)


# Declaring ------------------------------------------------------------------------------------------------------------


def test_a_type_that_was_not_declared_is_told() -> None:
    class Undeclared(NamedTuple):
        x: int

    with pytest.raises(TypeError, match="Undeclared is not a message type"):
        spec_of(Undeclared)
    with pytest.raises(TypeError, match="Undeclared"):
        Codec((Undeclared,))


def test_two_types_of_one_name_are_refused() -> None:
    @message("ONE")
    class Another(NamedTuple):
        y: int

    with pytest.raises(TypeError, match="two message types are called ONE"):
        Codec((One, Another))


def test_a_codec_knows_its_types_by_name() -> None:
    codec = Codec((One, Two))
    assert codec.decode("TWO", pack((1, 2))) == Two(1, 2)
    with pytest.raises(MessageError, match="unknown message type 'THREE'"):
        codec.decode("THREE", pack((1, 2, 3)))


class Weird(NamedTuple):
    things: set[int]


def test_a_field_of_a_kind_that_cannot_travel_is_told_at_the_first_use() -> None:
    message("WEIRD")(Weird)
    with pytest.raises(TypeError, match="message fields cannot be"):
        spec_of(Weird).decode(pack(((),)))


# In a run: who is at fault --------------------------------------------------------------------------------------------


class Sends(Agent):
    """Node a sends its neighbour b whatever the test says."""

    messages = (All, One)
    what: Any = None
    to = "b"

    async def run(self) -> None:
        self.assign(0)
        if self.name == "a":
            self.send(self.to, self.what)
        else:
            await self.receive(All, One)


def run_of(value: Any, receiver: str = "b") -> None:
    d = Domain("d", (0, 1))
    problem = Problem.build([Variable("a", d), Variable("b", d)], [Constraint("c", ("a", "b"), [[0, 1], [1, 0]])])
    simulate(problem, type("Sender", (Sends,), {"what": value, "to": receiver}))


def test_a_good_message_arrives() -> None:
    run_of(GOOD)


@pytest.mark.parametrize(
    ("value", "receiver", "says"),
    [
        (GOOD._replace(cost=NAN), "b", ["a", "b", "ALL", "field cost", "NaN"]),
        (GOOD._replace(small=np.zeros(9)), "b", ["a", "b", "ALL", "field small", "9 cells"]),
        (GOOD._replace(text=5), "b", ["a", "b", "ALL", "field text", "int"]),
        (GOOD._replace(table=np.array([None])), "b", ["a", "b", "ALL", "object"]),
        (One(1 << 64), "b", ["a", "b", "ONE", "cannot travel"]),
        (Two(1, 2), "b", ["a", "b", "Two", "not a message type of its solver (ALL, ONE)"]),
        ((1, 2), "b", ["a", "b", "tuple", "not a message type"]),
        (One(1), "nobody", ["a", "ONE", "'nobody'", "does not exist"]),
    ],
)
def test_the_error_names_sender_receiver_and_field(value: Any, receiver: str, says: list[str]) -> None:
    with pytest.raises(AgentFailure) as caught:
        run_of(value, receiver)
    text = str(caught.value)
    assert text.startswith("agent a: ")
    assert [part for part in says if part not in text] == []
    assert caught.value.result.status == "error"
