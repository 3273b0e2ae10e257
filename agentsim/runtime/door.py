"""The door: what a message may say, given what everybody knows of the problem; for runs with an adversary about.

A message type declares more of its fields than their Python types: that a number is a domain index of the sender's
(`Index`) or of the receiver's variable, that a map is a partial assignment (`Context`), that a tuple has an element
for each of another field's, that a table has an axis for each variable named there. An honest agent keeps to it, so
that only runs with replaced agents or interceptors are watched, and all others pay nothing. Without the door a lie
of this kind ends the run just as surely, but with an honest receiver's index error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from agentsim.dcop.problem import Problem
from agentsim.runtime.failures import malformed
from agentsim.runtime.messages import Beside, IndexOf, MessageError, MessageSpec, Over, Partial, spec_of
from agentsim.runtime.router import Entry

_Rule = Callable[[str, str, Any, Any], str | None]
"""What is wrong with a field: of sender, receiver, the field's value and the whole message."""


class Door:
    """Looks at what is delivered.

    Args:
        problem: what runs; names and domain sizes of its variables are all that is used of it.
        expected: the message types that an honest agent of this run may send.
    """

    def __init__(self, problem: Problem, expected: Iterable[type]) -> None:
        self._expected = {spec_of(cls) for cls in expected}
        self._sizes = {v.name: len(v.domain) for v in problem.variables.values()}
        self._rules: dict[MessageSpec, list[tuple[int, str, _Rule]]] = {}

    def check(self, batch: list[Entry]) -> None:
        """Look at what was delivered in one instant; AgentFailure naming sender, receiver and field."""
        for _, n, _, _, src, dst, spec, _, payload in batch:
            wrong = self._wrong(spec, src.name, dst.name, payload)
            if wrong is not None:
                raise malformed(src.name, spec.name, n, dst.name, wrong)

    def _wrong(self, spec: MessageSpec, src: str, dst: str, payload: bytes) -> MessageError | None:
        if spec not in self._expected:
            return MessageError(f"{spec.name} is not said in this run")
        rules = self._rules.get(spec)
        if rules is None:
            rules = self._rules[spec] = self._rules_of(spec)
        if not rules:
            return None
        message = spec.decode(payload)
        for i, field, rule in rules:
            if message[i] is None:
                continue
            wrong = rule(src, dst, message[i], message)
            if wrong is not None:
                return MessageError(wrong, field)
        return None

    def _rules_of(self, spec: MessageSpec) -> list[tuple[int, str, _Rule]]:
        hints = get_type_hints(spec.cls, include_extras=True)
        found = []
        for i, field in enumerate(spec.fields):
            for mark in _marks(hints[field]):
                rule = self._rule(mark, spec)
                if rule is not None:
                    found.append((i, field, rule))
        return found

    def _rule(self, mark: object, spec: MessageSpec) -> _Rule | None:
        if isinstance(mark, IndexOf):
            of_sender = mark.whose == "sender"
            return lambda src, dst, value, message: self._no_index(src if of_sender else dst, value)
        if isinstance(mark, Partial):
            return lambda src, dst, value, message: self._no_context(value)
        if isinstance(mark, Beside):
            at, other = spec.fields.index(mark.field), mark.field
            return lambda src, dst, value, message: _not_beside(value, message[at], other)
        if isinstance(mark, Over):
            at = spec.fields.index(mark.field)
            return lambda src, dst, value, message: self._not_over(value, message[at])
        return None

    def _no_index(self, name: str, value: int) -> str | None:
        size = self._sizes.get(name)
        if size is None or 0 <= value < size:  # an agent without variables has no domain
            return None
        return f"{value} is no index of the {size} values of {name}"

    def _no_context(self, values: Mapping[str, int]) -> str | None:
        for name, value in values.items():
            if name not in self._sizes:
                return f"there is no variable {name!r}"
            wrong = self._no_index(name, value)
            if wrong is not None:
                return wrong
        return None

    def _not_over(self, table: Any, axes: Sequence[str]) -> str | None:
        unknown = [name for name in axes if name not in self._sizes]
        if unknown:
            return f"there is no variable {unknown[0]!r}"
        shape = tuple(self._sizes[name] for name in axes)
        if len(set(axes)) < len(axes):
            return "a variable has two axes"
        return None if table.shape == shape else f"has shape {table.shape}, its axes {shape}"


def _not_beside(value: Sequence[Any], other: Sequence[Any], name: str) -> str | None:
    return None if len(value) == len(other) else f"{len(value)} elements for {len(other)} of {name}"


def _marks(annotation: Any) -> list[object]:
    """Return what is noted on an annotation, or on one of its alternatives."""
    marks: list[object] = []
    if get_origin(annotation) is Annotated:
        marks += get_args(annotation)[1:]
    elif get_origin(annotation) is not None and type(None) in get_args(annotation):
        for arg in get_args(annotation):
            marks += _marks(arg)
    return marks
