"""What the parameters of generators must keep to, and the sentences for those that do not."""

from __future__ import annotations

from typing import Final

from agentsim.dcop.problem import MAX_TABLE_CELLS

MAX_CONSTRAINTS: Final = 200_000
"""The most constraints that a generator makes."""


def require_between(params: object, *bounds: tuple[str, float, float]) -> None:
    """Raise ValueError at the first (name, least, greatest) of `bounds` that the attribute `name` is not within."""
    for name, low, high in bounds:
        if not low <= getattr(params, name) <= high:  # nor is NaN
            raise ValueError(f"{name}={getattr(params, name)} must be from {low} to {high}")


def require_room(constraints: int, costs: int) -> None:
    """Raise ValueError if a problem would have too many constraints, or too many costs in their tables."""
    for what, count, most in (("constraints", constraints, MAX_CONSTRAINTS), ("costs", costs, MAX_TABLE_CELLS)):
        if count > most:
            raise ValueError(f"the problem would have more than {most} {what}")


def require_one_of(params: object, name: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless the attribute `name` is one of `allowed`."""
    if getattr(params, name) not in allowed:
        raise ValueError(f"{name}={getattr(params, name)!r} must be one of {', '.join(allowed)}")
