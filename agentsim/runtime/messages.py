"""Declared message types and their wire form.

A message type is a `NamedTuple` with the decorator `message`, which gives it the paper's name::

    @message("VALUE")
    class Value(NamedTuple):
        value: int
        threshold: Cost

On the wire a message is the msgpack array of its fields; numpy arrays travel as an ext type (dtype, shape, raw
bytes) and are read without a copy. A received message is immutable throughout: arrays are read-only, sequences are
tuples, maps are read-only views. Field types are checked where a message is read, because that is where a damaged
or dishonest one does harm: wrong type, wrong arity, NaN or an array larger than declared is a `MessageError`
naming the field.

Field annotations: int, float or `Cost` (int or float, never NaN), bool, str, bytes, None, `X | Y`, `tuple[X, ...]`,
`tuple[X, Y]`, `Mapping[str, X]`, `Array` and `Annotated[Array, MaxCells(n)]`. `Index`, `Context`, `Beside` and `Over`
say more, which depends on the problem and is checked only in runs with an adversary about (`agentsim.runtime.door`).
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NamedTuple,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import msgpack
import numpy as np
from numpy.typing import NDArray

from agentsim.errors import RunError

Cost = int | float
Array = NDArray[Any]

MAX_ARRAY_CELLS: Final = 1 << 28
_ARRAY_EXT: Final = 1
_MAX_HEADS: Final = 1024
_MAX_KNOWN: Final = 4096
_MAX_KNOWN_SIZE: Final = 256
_DTYPES: Final = {t: np.dtype(t) for t in ("<i8", "<f8", "<i4", "<f4", "<i2", "<u2", "|u1", "|i1", "|b1", "<u4", "<u8")}


class MessageError(RunError):
    """A message cannot be sent or read. `field` is the field at fault, or ""."""

    def __init__(self, cause: str, field: str = "") -> None:
        super().__init__(f"field {field}: {cause}" if field else cause)
        self.cause, self.field = cause, field


@dataclass(frozen=True, slots=True)
class MaxCells:
    """In `Annotated[Array, MaxCells(n)]`: the array may hold at most n cells."""

    cells: int


@dataclass(frozen=True, slots=True)
class IndexOf:
    """In `Annotated[int, IndexOf("sender")]`: a domain index of the sender's variable, or of the receiver's."""

    whose: Literal["sender", "receiver"]


@dataclass(frozen=True, slots=True)
class Partial:
    """In `Annotated[Mapping[str, int], Partial()]`: a partial assignment, domain index by variable name."""


@dataclass(frozen=True, slots=True)
class Beside:
    """In `Annotated[tuple[X, ...], Beside(field)]`: one element for each of another field's."""

    field: str


@dataclass(frozen=True, slots=True)
class Over:
    """In `Annotated[Array, Over(field)]`: a table with an axis for each of the variables that another field names."""

    field: str


Index = Annotated[int, IndexOf("sender")]
"""Domain index of the sender's variable."""
Context = Annotated[Mapping[str, int], Partial()]
"""Domain index by variable name: a partial assignment as it travels."""


_heads: dict[bytes, tuple[np.dtype[Any], tuple[int, ...], int]] = {}
"""Heads of arrays that were read, packed: dtype, shape, bytes that follow."""
_head_lengths: list[int] = []


def encode_array(value: object) -> msgpack.ExtType:
    """Pack a numpy array as an ext type, numpy scalars being refused: msgpack's `default` hook."""
    if not isinstance(value, np.ndarray):
        if isinstance(value, types.MappingProxyType):
            return cast(msgpack.ExtType, dict(value))
        raise TypeError(f"a {type(value).__name__} cannot travel")
    array = value if value.dtype.isnative else value.astype(value.dtype.newbyteorder("="))
    return msgpack.ExtType(
        _ARRAY_EXT, b"".join((_array_head(array.dtype, array.shape), np.ascontiguousarray(array).data))
    )


@lru_cache(maxsize=1024)
def _array_head(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    if dtype.str not in _DTYPES:
        raise TypeError(f"an array of {dtype} cannot travel")
    return cast(bytes, msgpack.packb((dtype.str, shape)))


def decode_array(code: int, data: bytes) -> Array:
    """Read what `encode_array` packed: msgpack's `ext_hook`. MessageError if it does not add up."""
    if code != _ARRAY_EXT:
        raise MessageError(f"unknown ext type {code}")
    for length in _head_lengths:  # few kinds of arrays occur in a run
        known = _heads.get(data[:length])
        if known is not None and len(data) - length == known[2]:
            return np.frombuffer(data, dtype=known[0], offset=length).reshape(known[1])
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(data), 1), use_list=False)
    unpacker.feed(data[:4096])
    try:
        dtype_code, shape = unpacker.unpack()
        dtype = _DTYPES[dtype_code]
        cells = 1
        for size in shape:
            if type(size) is not int or size < 0:
                raise ValueError
            cells *= size
    except Exception:
        raise MessageError("damaged array header") from None
    start = unpacker.tell()
    if cells > MAX_ARRAY_CELLS or len(data) - start != cells * dtype.itemsize:
        raise MessageError(f"array of shape {shape} with {len(data) - start} bytes")
    if len(_heads) < _MAX_HEADS:
        _heads[data[:start]] = (dtype, shape, cells * dtype.itemsize)
        if start not in _head_lengths:
            _head_lengths.append(start)
    return np.frombuffer(data, dtype=dtype, offset=start).reshape(shape)


_packer = msgpack.Packer(use_bin_type=True, default=encode_array)
pack: Callable[[object], bytes] = _packer.pack
"""Encode one object; the packer is reused because making one costs more than using it."""


_unpackb = partial(
    msgpack.unpackb, use_list=False, object_hook=types.MappingProxyType, ext_hook=decode_array, strict_map_key=True
)


def unpack(payload: bytes) -> Any:
    """Decode one object to immutable values; MessageError if the bytes are not exactly one msgpack object."""
    try:
        return _unpackb(payload)
    except MessageError:
        raise
    except Exception as error:
        raise MessageError(f"not a msgpack object ({type(error).__name__})") from None


_Check = Callable[[Any], str | None]
"""Returns what is wrong with a value, or None."""


def _nan_check(value: float) -> str | None:
    return "is NaN" if value != value else None


def _array_check(max_cells: int) -> _Check:
    def check(value: Array) -> str | None:
        if value.size > max_cells:
            return f"array of {value.size} cells, at most {max_cells} declared"
        if value.dtype.kind == "f" and value.size and math.isnan(float(value.min())):  # a minimum of NaN is NaN
            return "holds NaN"
        return None

    return check


class _FieldType:
    """What one annotation allows: for each Python type, nothing further to check, or a check."""

    def __init__(self, annotation: Any) -> None:
        self.checks: dict[type, _Check | None] = {}
        self._add(annotation)

    def _add(self, annotation: Any) -> None:
        origin, args = get_origin(annotation), get_args(annotation)
        if origin is Annotated and get_origin(args[0]) is not np.ndarray:
            self._add(args[0])
        elif origin is Annotated:
            limit = next((a.cells for a in args[1:] if isinstance(a, MaxCells)), MAX_ARRAY_CELLS)
            self.checks[np.ndarray] = _array_check(limit)
        elif origin in (Union, types.UnionType):
            for arg in args:
                self._add(arg)
        elif origin is np.ndarray:
            self.checks[np.ndarray] = _array_check(MAX_ARRAY_CELLS)
        elif origin is tuple:
            self.checks[tuple] = self._tuple_check(args)
        elif origin is not None and issubclass(origin, Mapping):
            self.checks[types.MappingProxyType] = self._mapping_check(args[1])
        elif annotation is float:
            self.checks[float] = _nan_check
            self.checks.setdefault(int, None)
        elif annotation in (int, bool, str, bytes, type(None)) or annotation is None:
            self.checks[type(None) if annotation is None else annotation] = None
        else:
            raise TypeError(f"message fields cannot be {annotation!r}")

    @staticmethod
    def _tuple_check(args: tuple[Any, ...]) -> _Check:
        if len(args) == 2 and args[1] is Ellipsis:
            element = _FieldType(args[0])
            simple = frozenset(t for t, check in element.checks.items() if check is None)

            def check_all(values: tuple[Any, ...]) -> str | None:
                if len(values) < 6:  # for a few elements a loop beats a set
                    for value in values:
                        if type(value) not in simple:
                            break
                    else:
                        return None
                elif simple.issuperset(map(type, values)):
                    return None
                return next((wrong for v in values if (wrong := element.wrong(v))), None)

            return check_all
        elements = [_FieldType(a) for a in args]

        def check_each(values: tuple[Any, ...]) -> str | None:
            if len(values) != len(elements):
                return f"{len(values)} elements, {len(elements)} declared"
            return next((wrong for e, v in zip(elements, values, strict=True) if (wrong := e.wrong(v))), None)

        return check_each

    @staticmethod
    def _mapping_check(value_annotation: Any) -> _Check:
        element = _FieldType(value_annotation)
        simple = frozenset(t for t, check in element.checks.items() if check is None)

        def check(values: Mapping[Any, Any]) -> str | None:
            if not {str}.issuperset(map(type, values)):
                return "a key is not a string"
            if simple.issuperset(map(type, values.values())):
                return None
            return next((wrong for v in values.values() if (wrong := element.wrong(v))), None)

        return check

    def wrong(self, value: Any) -> str | None:
        """Return what is wrong with `value`, or None."""
        kind = type(value)
        if kind not in self.checks:
            allowed = " or ".join(sorted(t.__name__ for t in self.checks))
            return f"is a {kind.__name__}, must be {allowed}"
        check = self.checks[kind]
        return None if check is None else check(value)


_new = tuple.__new__


def _same_types(values: tuple[Any, ...], expected: list[type]) -> bool:
    return [*map(type, values)] == expected


# The same spelt out for few fields, which takes a third of the time.
_SAME_TYPES: Final[dict[int, Callable[[tuple[Any, ...], list[type]], bool]]] = {
    1: lambda v, t: len(v) == len(t) == 1 and type(v[0]) is t[0],
    2: lambda v, t: len(v) == len(t) == 2 and type(v[0]) is t[0] and type(v[1]) is t[1],
    3: lambda v, t: len(v) == len(t) == 3 and type(v[0]) is t[0] and type(v[1]) is t[1] and type(v[2]) is t[2],
}


class MessageSpec:
    """A message type's wire name, fields and checks.

    Args:
        name: the type's name on the wire and in logs, the paper's capitals.
        cls: the NamedTuple class.
    """

    def __init__(self, name: str, cls: type[tuple[Any, ...]]) -> None:
        self.name = name
        self.cls = cls
        self.fields: tuple[str, ...] = cast(Any, cls)._fields
        self._field_types: list[_FieldType] | None = None
        # By the types of a message's values: the checks left to do. Few combinations occur in a run.
        self._plans: dict[tuple[type, ...], tuple[tuple[int, _Check], ...]] = {}
        self.known: dict[bytes, Any] = {}
        """Messages that were read lately, by payload; the kernel looks here before it calls `decode`."""
        self._last_types: list[type] = []
        self._same_types = _SAME_TYPES.get(len(self.fields), _same_types)
        self._last_plan: tuple[tuple[int, _Check], ...] = ()

    def decode(self, payload: bytes) -> Any:
        """Return the message in `payload`; MessageError if it does not fit the declaration.

        Messages are immutable, so equal payloads may share one: search algorithms repeat themselves a great deal.
        """
        known = self.known.get(payload)
        if known is not None:
            return known
        try:
            values = _unpackb(payload)
        except Exception:
            values = unpack(payload)  # which says what is wrong
        # Messages of one type mostly have values of the same types as the one before.
        if type(values) is not tuple or not self._same_types(values, self._last_types):
            self._choose_plan(values)
        for i, check in self._last_plan:
            wrong = check(values[i])
            if wrong is not None:
                raise MessageError(wrong, self.fields[i])
        message = _new(self.cls, values)
        if len(payload) <= _MAX_KNOWN_SIZE:
            if len(self.known) >= _MAX_KNOWN:  # begin anew: what is sent to many comes again at once
                self.known.clear()
            self.known[payload] = message
        return message

    def _choose_plan(self, values: Any) -> None:
        if type(values) is not tuple:
            raise MessageError(f"a {type(values).__name__}, not an array of fields")
        types_of = tuple(map(type, values))
        plan = self._plans.get(types_of)
        if plan is None:
            plan = self._plan(values)
        self._last_types, self._last_plan = list(types_of), plan

    def _plan(self, values: tuple[Any, ...]) -> tuple[tuple[int, _Check], ...]:
        if len(values) != len(self.fields):
            raise MessageError(f"{len(values)} fields, {len(self.fields)} declared")
        if self._field_types is None:
            hints = get_type_hints(self.cls, include_extras=True)
            self._field_types = [_FieldType(hints[f]) for f in self.fields]
        plan = []
        for i, (allowed, value) in enumerate(zip(self._field_types, values, strict=True)):
            if type(value) not in allowed.checks:
                raise MessageError(allowed.wrong(value) or "", self.fields[i])
            check = allowed.checks[type(value)]
            if check is not None:
                plan.append((i, check))
        self._plans[tuple(map(type, values))] = tuple(plan)
        return self._plans[tuple(map(type, values))]


_SPECS: dict[type, MessageSpec] = {}
_T = TypeVar("_T", bound=type[tuple[Any, ...]])


def message(name: str) -> Callable[[_T], _T]:
    """Declare a NamedTuple class as a message type called `name` on the wire."""

    def declare(cls: _T) -> _T:
        _SPECS[cls] = MessageSpec(name, cls)
        return cls

    return declare


def spec_of(cls: type) -> MessageSpec:
    """Return the spec of a declared message type; TypeError if it was not declared with `message`."""
    spec = _SPECS.get(cls)
    if spec is None:
        raise TypeError(f"{cls.__name__} is not a message type: declare it with @message(NAME)")
    return spec


@message("ABANDON")
class Abandon(NamedTuple):
    """The sender's agent has left the search, which is over: what the kernel tells every other agent."""


class Codec:
    """The message types of one solver, by wire name.

    Args:
        message_types: classes declared with `message`.

    Raises:
        TypeError: two types share a name, or a class was not declared.
    """

    def __init__(self, message_types: tuple[type, ...]) -> None:
        self.by_name: dict[str, MessageSpec] = {}
        for cls in message_types:
            spec = spec_of(cls)
            if spec.name in self.by_name:
                raise TypeError(f"two message types are called {spec.name}")
            self.by_name[spec.name] = spec

    def decode(self, name: str, payload: bytes) -> Any:
        """Return the message of type `name` in `payload`; MessageError if unknown or malformed."""
        spec = self.by_name.get(name)
        if spec is None:
            raise MessageError(f"unknown message type {name!r}")
        return spec.decode(payload)


class Envelope(NamedTuple):
    """A message on its way, as gates and interceptors see it.

    Args:
        sent_at: virtual time of sending.
        src: node that sent it (a variable's name, or an agent's that has none).
        dst: node it goes to.
        type: the message type's name.
        n: the sender's send number, from 1.
        message: the message itself.
    """

    sent_at: float
    src: str
    dst: str
    type: str
    n: int
    message: Any
