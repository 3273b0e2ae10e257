"""Checked expressions over whole domains at once, wherever numpy gives exactly Python's numbers.

Used by `agentsim.dcop.expressions`. Strings are only compared; whole numbers are followed with bounds, since int64
wraps and float64 rounds where Python does neither. Where Python's result might differ, `NotArrays` sends the caller
back to one tuple at a time.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agentsim.dcop.expression_tuples import COMPARE
from agentsim.dcop.problem import EXACT_LIMIT, Value

_MAX_STEPS: Final = 4000
"""Both branches of every `if` are followed: stop before that explodes."""

_MAX_STRING: Final = 64


class NotArrays(Exception):
    """Arrays would not give exactly Python's result here: evaluate tuple by tuple."""


@dataclass(slots=True)
class Array:
    """Values over broadcast axes, with bounds of the whole numbers that may be among them.

    Python computes whole numbers exactly and arrays do not: as long as `bounds` stay below 2**53, int64 and float64
    do too. Pure floats and strings have no bounds.
    """

    data: NDArray[Any]
    bounds: tuple[int, int] | None


def _exact(low: int, high: int) -> tuple[int, int]:
    if max(-low, high) >= EXACT_LIMIT:
        raise NotArrays
    return low, high


def constant(value: Value) -> Array:
    """Return one value as an array without axes."""
    return axis_array([value], [])


def axis_array(values: Sequence[Value], shape: Sequence[int]) -> Array:
    """Return the values of a domain as an array of this shape."""
    kinds = {type(v) for v in values}
    if kinds == {str}:
        texts = [v for v in values if isinstance(v, str)]
        if any("\0" in v for v in texts) or max(map(len, texts)) > _MAX_STRING:
            raise NotArrays  # numpy drops trailing zeros of strings, and gives each the room of the longest
        return Array(np.array(values).reshape(shape), None)
    if not kinds <= {int, float} and kinds != {bool}:
        raise NotArrays
    whole = [v for v in values if isinstance(v, int)]
    bounds = _exact(int(min(whole)), int(max(whole))) if whole else None
    return Array(np.array(values).reshape(shape), bounds)


def _number(a: Array) -> Array:
    if a.data.dtype.kind == "U":
        raise NotArrays
    return Array(a.data.astype(np.int64), a.bounds) if a.data.dtype.kind == "b" else a


def _truth(a: Array) -> NDArray[Any]:
    if a.data.dtype.kind == "b":
        return a.data
    result: NDArray[Any] = a.data != ("" if a.data.dtype.kind == "U" else 0)
    return result


def _choose(test: NDArray[Any], a: Array, b: Array) -> Array:
    if (a.data.dtype.kind == "U") != (b.data.dtype.kind == "U"):
        raise NotArrays
    ranges = [r for r in (a.bounds, b.bounds) if r is not None]
    bounds = (min(r[0] for r in ranges), max(r[1] for r in ranges)) if ranges else None
    return Array(np.where(test, a.data, b.data), bounds)


_PAIRWISE: Final[dict[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    k: v for k, v in COMPARE.items() if k not in (ast.In, ast.NotIn)
}


class Interpreter:
    """Evaluate a checked body over arrays; raise `NotArrays` wherever Python's own result might differ."""

    __slots__ = ("_env", "_steps")

    def __init__(self, env: dict[str, Array]) -> None:
        self._env = env
        self._steps = 0

    def run(self, body: Sequence[ast.stmt]) -> Array:
        """Return what the body returns, over all axes of the variables it reads."""
        return self._run(list(body), self._env)

    def _run(self, body: list[ast.stmt], env: dict[str, Array]) -> Array:
        for i, statement in enumerate(body):
            match statement:
                case ast.Return(value=ast.expr() as value):
                    return self._eval(value, env)
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    env = env | {name: self._eval(value, env)}
                case ast.AugAssign(target=ast.Name(id=name) as target, op=op, value=value):
                    read = ast.Name(id=target.id, ctx=ast.Load())
                    env = env | {name: self._eval(ast.BinOp(left=read, op=op, right=value), env)}
                case ast.If(test=test, body=yes, orelse=no):
                    rest = body[i + 1 :]
                    condition = _truth(self._eval(test, env))
                    return _choose(condition, self._run(yes + rest, env), self._run(no + rest, env))
        raise NotArrays

    def _eval(self, node: ast.expr, env: dict[str, Array]) -> Array:
        self._steps += 1
        if self._steps > _MAX_STEPS:
            raise NotArrays
        match node:
            case ast.Constant(value=bool() | int() | float() | str() as literal):
                return constant(literal)
            case ast.Name(id=name) if name in env:
                return env[name]
            case ast.BinOp(left=left, op=op, right=right):
                return self._arithmetic(op, _number(self._eval(left, env)), _number(self._eval(right, env)))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return Array(~_truth(self._eval(operand, env)), (0, 1))
            case ast.UnaryOp(op=sign, operand=operand):
                a = _number(self._eval(operand, env))
                if isinstance(sign, ast.UAdd):
                    return a
                return Array(-a.data, None if a.bounds is None else (-a.bounds[1], -a.bounds[0]))
            case ast.BoolOp(op=op, values=values):
                result = self._eval(values[-1], env)
                for value in reversed(values[:-1]):
                    a = self._eval(value, env)
                    result = _choose(_truth(a), *((a, result) if isinstance(op, ast.Or) else (result, a)))
                return result
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                return self._compare(left, ops, comparators, env)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return _choose(_truth(self._eval(test, env)), self._eval(body, env), self._eval(orelse, env))
            case ast.Call(func=ast.Name(id=name), args=args):
                return self._call(name, args, env)
        raise NotArrays

    def _arithmetic(self, op: ast.operator, a: Array, b: Array) -> Array:
        ranges = None if a.bounds is None or b.bounds is None else (*a.bounds, *b.bounds)
        match op:
            case ast.Add():
                bounds = ranges and _exact(ranges[0] + ranges[2], ranges[1] + ranges[3])
                return Array(a.data + b.data, bounds or None)
            case ast.Sub():
                bounds = ranges and _exact(ranges[0] - ranges[3], ranges[1] - ranges[2])
                return Array(a.data - b.data, bounds or None)
            case ast.Mult():
                if ranges is None:
                    return Array(a.data * b.data, None)
                corners = [x * y for x in ranges[:2] for y in ranges[2:]]
                return Array(a.data * b.data, _exact(min(corners), max(corners)))
            case ast.Div() if not bool((b.data == 0).any()):
                return Array(a.data / b.data, None)
            case ast.FloorDiv() | ast.Mod() if a.data.dtype.kind == b.data.dtype.kind == "i" and ranges:
                if bool((b.data == 0).any()):
                    raise NotArrays
                if isinstance(op, ast.FloorDiv):
                    largest = max(abs(ranges[0]), abs(ranges[1]), 1)
                    return Array(a.data // b.data, (-largest, largest))
                largest = max(abs(ranges[2]), abs(ranges[3]))
                return Array(a.data % b.data, (-largest, largest))
            case ast.Pow() if a.data.dtype.kind == b.data.dtype.kind == "i" and ranges:
                if ranges[2] != ranges[3] or not 0 <= ranges[2] <= 16:
                    raise NotArrays
                largest = max(abs(ranges[0]), abs(ranges[1]), 1) ** ranges[2]
                return Array(a.data ** ranges[2], _exact(-largest, largest))
        raise NotArrays

    def _compare(
        self, left: ast.expr, ops: Sequence[ast.cmpop], comparators: Sequence[ast.expr], env: dict[str, Array]
    ) -> Array:
        result: NDArray[Any] = np.array(True)
        a = self._eval(left, env)
        for op, comparator in zip(ops, comparators, strict=True):
            if isinstance(op, ast.In | ast.NotIn):
                if len(ops) > 1 or not isinstance(comparator, ast.Tuple | ast.List):
                    raise NotArrays
                found: NDArray[Any] = np.array(False)
                for element in comparator.elts:
                    found = found | self._pair(ast.Eq, a, self._eval(element, env))
                return Array(~found if isinstance(op, ast.NotIn) else found, (0, 1))
            b = self._eval(comparator, env)
            result = result & self._pair(type(op), a, b)
            a = b
        return Array(result, (0, 1))

    @staticmethod
    def _pair(op: type[ast.cmpop], a: Array, b: Array) -> NDArray[Any]:
        if (a.data.dtype.kind == "U") != (b.data.dtype.kind == "U"):
            if op is ast.Eq:
                return np.array(False)
            if op is ast.NotEq:
                return np.array(True)
            raise NotArrays
        result: NDArray[Any] = _PAIRWISE[op](a.data, b.data)
        return result

    def _call(self, name: str, args: Sequence[ast.expr], env: dict[str, Array]) -> Array:
        if name in ("min", "max") and len(args) > 1:
            best = _number(self._eval(args[0], env))
            for arg in args[1:]:
                rival = _number(self._eval(arg, env))
                # As Python does it, so that NaN and equal values come out the same.
                better = rival.data < best.data if name == "min" else rival.data > best.data
                best = _choose(better, rival, best)
            return best
        if name == "sum" and len(args) == 1 and isinstance(args[0], ast.Tuple | ast.List):
            total = constant(0)
            for element in args[0].elts:
                total = self._arithmetic(ast.Add(), total, _number(self._eval(element, env)))
            return total
        if name not in ("abs", "round", "int", "float", "bool") or len(args) != 1:
            raise NotArrays
        a = self._eval(args[0], env)
        if name == "bool":
            return Array(_truth(a), (0, 1))
        a = _number(a)
        if name == "abs":
            largest = None if a.bounds is None else max(-a.bounds[0], a.bounds[1])
            return Array(abs(a.data), None if largest is None else (0, largest))
        if name == "float":
            return Array(a.data.astype(np.float64), None)
        if a.data.dtype.kind == "i":
            return a
        whole = np.rint(a.data) if name == "round" else np.trunc(a.data)
        if not bool(np.isfinite(whole).all()):
            raise NotArrays
        bounds = _exact(int(whole.min()), int(whole.max()))
        return Array(whole.astype(np.int64), bounds)
