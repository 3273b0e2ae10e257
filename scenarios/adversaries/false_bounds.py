"""Liars about bounds: what an agent says of costs is altered on its way out, whatever it knows and computes itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, ClassVar, Final, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Envelope, pack
from agentsim.runtime.reading import make_reader
from agentsim.runtime.router import Alter
from agentsim.runtime.statements import Chosen, Nothing, Proposed, Reader, Statement, ValueIs
from scenarios.adversaries.base import PATIENCE, Adversary, Options, Target, finite

_MOST: Final = 2**53


@dataclass(frozen=True)
class FalseBounds(Adversary):
    """Multiplies the costs and bounds in what it sends: COST, UTIL, prefixes, gains, answers, budgets.

    Which fields these are is read off the messages' declarations (numbers that need not be whole, and arrays) and the
    statements that the receiver's reader draws from them: what says nothing of costs stays as it is. So it works with
    every solver, also with those of others. The factor applies to costs as they travel, which solvers may have shifted
    by public offsets. Whole numbers are rounded, infinity stays. The log keeps what each altered message was.

    Args:
        factor: what each amount is multiplied with, 0 to 1000000; above 1 overstates, below understates.
        bounds: "all" amounts; or those alone that the receiver takes as "lower" bounds, or as "upper" ones.
    """

    name: ClassVar[str] = "false-bounds"

    factor: float = 2.0
    bounds: Literal["all", "lower", "upper"] = "all"

    def __post_init__(self) -> None:
        finite("factor", self.factor, 0, 1e6)

    def against(self, target: Target) -> Options:
        """Return an interceptor on what the agent sends."""
        return {"interceptors": [Inflate(target, self)], "max_messages": PATIENCE}


class Inflate:
    """The interceptor: alters amounts in what one agent sends.

    Args:
        target: whose messages.
        how: the adversary's parameters.
    """

    def __init__(self, target: Target, how: FalseBounds) -> None:
        self._target, self._how = target, how
        self._nodes = target.nodes
        self._readers: dict[str, Reader | None] = {}

    def __call__(self, envelope: Envelope) -> Alter | None:
        """Return what arrives instead; None: let it pass."""
        if envelope.src in self._nodes:
            told = self._read(envelope.dst, envelope)
        else:
            if envelope.dst in self._nodes:
                self._read(envelope.src, envelope)  # what a reader makes of an answer depends on the question
            return None
        message = envelope.message
        amounts = amount_fields(type(message))  # type: ignore[arg-type]  # classes can be hashed, which mypy doubts
        fields = [f for f in amounts if told is None or self._lies_about(f, told)]
        altered = {f: scaled(getattr(message, f), self._how.factor) for f in fields}
        lie = message._replace(**altered)
        return None if pack(lie) == pack(message) else Alter(lie)

    def _read(self, peer: str, envelope: Envelope) -> list[Statement] | None:
        """Return what the owner of `peer` can conclude from a message, None without a reader."""
        setup = self._target.setup
        owner = setup.nodes[peer]
        if owner not in self._readers:
            nodes = [node for node, agent in setup.nodes.items() if agent == owner]
            self._readers[owner] = make_reader(self._target.solver, setup, nodes)
        reader = self._readers[owner]
        if reader is None:
            return None
        at, src, dst, kind, n, message = envelope
        return list(reader.read(Delivery(0, at, at, 0, src, dst, kind, n, 0, 0, pack(message), message)))

    def _lies_about(self, field: str, told: Iterable[Statement]) -> bool:
        labels = [
            s.label for s in told if field in s.fields and not isinstance(s, (Nothing, ValueIs, Chosen, Proposed))
        ]
        if self._how.bounds == "lower":
            return any(label.endswith("lower") for label in labels)
        if self._how.bounds == "upper":
            return any(label.endswith("upper") or label == "incumbent" for label in labels)
        return bool(labels) or not any(field in s.fields for s in told)


@cache
def amount_fields(message_type: type) -> tuple[str, ...]:
    """Return the fields of a message type that may hold costs, by their declared types: `Cost`, arrays, tuples."""
    hints = get_type_hints(message_type, include_extras=True)
    return tuple(f for f in message_type._fields if _is_amount(hints[f]))  # type: ignore[attr-defined]  # a NamedTuple


def _is_amount(annotation: Any) -> bool:  # noqa: ANN401  # whatever a type annotation may be
    origin = get_origin(annotation)
    if origin in (Union, UnionType, tuple, Annotated):
        return any(map(_is_amount, get_args(annotation)))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _is_amount(get_args(annotation)[1])
    return annotation is float or origin is np.ndarray


def scaled(value: Any, factor: float) -> Any:  # noqa: ANN401  # whatever a message's field may hold
    """Return an amount times `factor`, of the same type: numbers, arrays, and tuples and mappings of them.

    Whole numbers are rounded, and go no further than their type, or 2^53, allows.
    """
    if factor == 1 or isinstance(value, (bool, str, bytes)) or value is None:
        return value
    if isinstance(value, np.ndarray):
        return _scaled_array(value, factor)
    if isinstance(value, int):
        return max(-_MOST, min(_MOST, round(value * factor)))
    if isinstance(value, float):
        return value if np.isinf(value) else value * factor
    if isinstance(value, Mapping):
        return {key: scaled(entry, factor) for key, entry in value.items()}
    return tuple(scaled(entry, factor) for entry in value)


def _scaled_array(values: np.ndarray[Any, Any], factor: float) -> np.ndarray[Any, Any]:
    if values.dtype.kind == "f":
        scaled_values: np.ndarray[Any, Any] = np.multiply(values, factor, out=values.copy(), where=np.isfinite(values))
        return scaled_values
    if values.dtype.kind == "b":
        return values
    limits = np.iinfo(values.dtype)
    low, high = max(limits.min, -_MOST), min(limits.max, _MOST)
    return np.clip(np.rint(values * float(factor)), low, high).astype(values.dtype)
