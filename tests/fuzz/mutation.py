"""Changes that know the form of an input: tokens of a text, values within packed data.

Bytes changed at random seldom get past a parser. These changes give well-formed inputs with something hostile in them.
"""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgpack

Mutate = Callable[[bytes, random.Random, Sequence[str]], bytes]

_TOKEN: Final = re.compile(r"[A-Za-z_][\w-]*|[-+]?[0-9][0-9.eE+-]*|[ \t]+|\s|.", re.DOTALL)
WORDS: Final = (
    *("", "0", "-1", "1", "2", "3.5", "1e999", "-1e999", "nan", ".nan", "inf", "-inf", ".inf", "1e-320", "0x7f", "1_0"),
    *("9223372036854775807", "-9223372036854775809", "9007199254740993", "9" * 19, "9" * 400, "1e308", "1" + "0" * 60),
    *("0..999999999999", "[1 .. 999999999]", "true", "null", "~", "*", "&a", "<<", "x" * 300, "a.b", "__class__"),
    *("a/b", "../../x", "C:\\x", "a\\nb", "a\nb", "\0", "\x1b[31m", "\u202e", "\u2028", "\ufeff", "é", "\U0001f600"),
    *(
        "[",
        "]",
        "{",
        "}",
        "(",
        ")",
        "[" * 70,
        "{a: " * 70,
        "((((((((",
        "'",
        '"',
        "|",
        ">",
        "<",
        ":",
        ",",
        "#",
        "!",
        "%",
    ),
)
"""Words that readers stumble over, in any format."""


def nested(levels: int) -> list[Any]:
    """Return a list in a list in a list."""
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


VALUES: Final[tuple[Any, ...]] = (
    *(nested(58), nested(62), nested(400)),
    *(None, True, False, 0, -1, 1, 2, 3, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 0.0, -0.0, 0.5, 1e308),
    *(float("inf"), float("-inf"), float("nan"), 5e-324, "", "a", "x", "c", "agent", "min", "max", "result", "fate"),
    *(
        "\0",
        "a\nb",
        "\x1b[31m",
        "\u202e",
        "../x",
        "x" * 300,
        b"",
        b"\0",
        b"\xff" * 9,
        [],
        {},
        [[]],
        {"": None},
        [0] * 40,
    ),
    *({"a": 1}, {1: 2}, [None], ["x"], "wake", "dropped", "assign", msgpack.ExtType(1, b""), msgpack.ExtType(5, b"x")),
    *(msgpack.ExtType(1, b"\x92\xa3<i8\x91\x01" + b"\0" * 8), msgpack.ExtType(1, b"\x92\xa3<f8\x90" + b"\xff" * 8)),
    *(msgpack.ExtType(1, b"\x92\xa3<i8\x92\x00\xcf" + b"\xff" * 8), msgpack.Timestamp(1, 2), b"\xc1"),
)
"""Values that stand where others should."""


_WINDOW: Final = 160


def tokens(data: bytes, rng: random.Random, words: Sequence[str]) -> bytes:
    """Return a text with some tokens dropped, repeated, exchanged or replaced, near one another."""
    text = data.decode("utf-8", "replace")
    start = int(rng.random() * (len(text) + 1))
    start = max(0, start - _WINDOW // 2)
    found = _TOKEN.findall(text, start, start + _WINDOW)
    for _ in range(1 if rng.random() < 0.6 else 3):
        at = int(rng.random() * (len(found) + 1))
        match int(rng.random() * 7):
            case 0:
                del found[at : at + rng.choice((1, 1, 2, 5, 20))]
            case 1:
                found[at:at] = found[at : at + rng.choice((1, 2, 5, 20))] * rng.choice((1, 1, 1, 2, 60))
            case 2 if found:
                other = int(rng.random() * len(found))
                found[other : other + 1], at = found[at : at + 1], min(at, len(found) - 1)
            case 3 | 4:
                found[at : at + 1] = [rng.choice(words or WORDS)]
            case 5:
                found[at : at + 1] = [rng.choice(WORDS)]
            case _:  # something from elsewhere in the text
                other = int(rng.random() * (len(text) + 1))
                found[at:at] = [text[other : other + rng.choice((3, 9, 27, 81))]]
    return (text[:start] + "".join(found) + text[start + _WINDOW :]).encode("utf-8", "replace")


def _objects(data: bytes) -> list[Any]:
    unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=1 << 20)
    unpacker.feed(data)
    found: list[Any] = []
    with contextlib.suppress(Exception):
        found.extend(unpacker)  # what comes before the first that is none
    return found


def _holder(value: Any, rng: random.Random) -> Any:
    """Return a list or map somewhere within a value."""
    while True:
        inner = [v for v in (value.values() if isinstance(value, dict) else value[:40]) if isinstance(v, (list, dict))]
        if not inner or rng.random() < 0.3:
            return value
        value = inner[int(rng.random() * len(inner))]


def _changed(value: Any, rng: random.Random) -> Any:
    match rng.randrange(5):
        case 0 if isinstance(value, int) and not isinstance(value, bool):
            return max(-(2**63), min(2**63 - 1, value + rng.choice((-1, 1, -256, 256, 2**40))))
        case 1 if isinstance(value, float):
            return value * rng.choice((-1.0, 2.0, 1e300, 0.0)) + rng.choice((0.0, 1.0))
        case 2 if isinstance(value, (str, bytes, list)):
            return value + value if len(value) < 500 else value[: len(value) // 2]
        case 3 if isinstance(value, bytes) and value:
            at = rng.randrange(len(value))
            return value[:at] + bytes((rng.randrange(256),)) + value[at + 1 :]
    return rng.choice(VALUES)


def packed(data: bytes, rng: random.Random, words: Sequence[str]) -> bytes:
    """Return packed objects with some values, keys or whole objects dropped, repeated, moved or replaced."""
    found = _objects(data)
    for _ in range(1 if rng.random() < 0.6 else 3):
        holder = _holder(found, rng)
        if not holder:
            if isinstance(holder, list):
                holder.append(rng.choice(VALUES))
            else:
                holder[rng.choice(words) if words else ""] = rng.choice(VALUES)
            continue
        if isinstance(holder, dict):
            key = rng.choice(list(holder))
            match rng.randrange(4):
                case 0:
                    del holder[key]
                case 1:
                    holder[rng.choice(words) if words else ""] = holder[key]
                case _:
                    holder[key] = _changed(holder[key], rng)
            continue
        at = rng.randrange(len(holder))
        match rng.randrange(6):
            case 0:
                del holder[at]
            case 1:
                other = _holder(found, rng)
                taken = rng.choice(list(other.values()) if isinstance(other, dict) else other) if other else None
                holder[at] = _copy(taken)
            case 2:
                holder.insert(at, _copy(holder[rng.randrange(len(holder))]))
            case _:
                holder[at] = _changed(holder[at], rng)
    return b"".join(map(_pack, found))


def _copy(value: Any) -> Any:
    return msgpack.unpackb(_pack(value), strict_map_key=False) if isinstance(value, (list, dict)) else value


_PACKER: Final = msgpack.Packer()
"""One for all: to make one costs ten times what packing does."""


def _pack(value: Any) -> bytes:
    try:
        return bytes(_PACKER.pack(value))
    except Exception:  # lone surrogates, and whole numbers that msgpack cannot hold
        _PACKER.reset()
        return b"\xc0"


def records(data: bytes, rng: random.Random, words: Sequence[str]) -> bytes:
    """Return records with a changed value, or framed otherwise; the first byte says how they are framed."""
    how = data[:1] or b"\0"
    if rng.randrange(20) == 0:
        how = bytes((rng.randrange(256),))
    return how + packed(data[1:], rng, words)


def either(data: bytes, rng: random.Random, words: Sequence[str]) -> bytes:
    """Return a changed text, or changed packed data where it begins as such."""
    return (packed if data[:1] >= b"\x80" else tokens)(data, rng, words)


def headed(data: bytes, rng: random.Random, words: Sequence[str]) -> bytes:
    """Return a message with a changed value; the first byte, which says what it is read as, mostly stays."""
    return records(data, rng, words)
