"""Tasks and results as JSON text, and back.

Plain data is what `msgspec` knows: dataclasses, named tuples, tuples, lists, mappings, text, numbers, None, enums. Of
numpy, scalars and arrays become numbers and lists. Infinite numbers and NaN, which JSON does not know, survive as
`{"$float": "inf"}`.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, Final

from agentsim.errors import UserError

_FLOAT: Final = "$float"


def encode(value: object) -> str:
    """Return plain data as JSON text in ASCII; TypeError if it is not plain."""
    return _text(_builtins(value, None), False)


def canonical(value: object) -> str:
    """Return plain data as JSON text that is the same for the same data, whatever the order of keys."""
    return _text(_builtins(value, "deterministic"), True)


def decode(text: str, kind: Any = None) -> Any:  # noqa: ANN401  # whatever the caller's type is
    """Return what `encode` was given, as `kind`; without it, as lists, dicts, text and numbers.

    Raises:
        ValueError: the text is not what `encode` writes, or does not fit `kind`.
    """
    import msgspec

    try:
        value = json.loads(text, object_hook=_unmarked if '"$' in text else None)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value if kind is None else msgspec.convert(value, kind, str_keys=True)


def key_of(name: str, task: object) -> str:
    """Return the key of a cell: 32 hexadecimal digits that depend on the name and on the task alone.

    Tuples count as lists; 1, 1.0 and true are three tasks.
    """
    return hashlib.blake2b(canonical([name, task]).encode(), digest_size=16).hexdigest()


def _builtins(value: object, order: Any) -> object:  # noqa: ANN401  # a Literal of msgspec's
    try:
        import msgspec
    except ImportError:
        raise UserError("keeping results needs the package msgspec: install agentsim[sweep]") from None
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_numpy, order=order)


def _numpy(value: Any) -> object:  # noqa: ANN401  # anything that msgspec does not know
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not plain data")


def _text(value: object, ordered: bool) -> str:
    try:
        text = json.dumps(value, sort_keys=ordered, separators=(",", ":"), allow_nan=False)
    except ValueError:  # an infinite number, or NaN
        text = ""
    if not text or '"$' in text:
        text = json.dumps(_marked(value), sort_keys=ordered, separators=(",", ":"), allow_nan=False)
    return text


def _marked(value: Any) -> Any:  # noqa: ANN401  # JSON
    if isinstance(value, dict):
        return {f"${k}" if k.startswith("$") else k: _marked(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_marked(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: repr(value)}
    return value


def _unmarked(found: dict[str, Any]) -> Any:  # noqa: ANN401  # JSON
    if found.keys() == {_FLOAT} and found[_FLOAT] in ("inf", "-inf", "nan"):
        return float(found[_FLOAT])
    return {k[1:] if k.startswith("$") else k: v for k, v in found.items()}
