"""Checked expressions as closures: one tuple of values at a time, in Python's own arithmetic, with guards.

Used by `agentsim.dcop.expressions`, which checks a syntax tree before it comes here. What a checked tree can still do
wrong while it runs (a huge power, a string times a number, a division by zero) raises `Fault` or a plain error.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

MAX_BITS: Final = 256
"""Size of a whole number that may occur on the way to a cost."""
MAX_STRING: Final = 1000
"""Length of a string that may occur on the way to a cost."""

Result = int | float | str | bool | tuple[Any, ...]
Env = dict[str, Any]
Code = Callable[[Env], Any]


class Fault(Exception):
    """The expression, or one evaluation of it, is refused; the message is the cause."""


def bounded(value: int | float) -> int | float:
    """Return a number that is not too large to go on with."""
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise Fault(f"a whole number passes {MAX_BITS} bits")
    return value


def _number(value: Result) -> int | float:
    if not isinstance(value, int | float):
        raise Fault(f"{value!r} is not a number")
    return value


def _add(a: Result, b: Result) -> Result:
    if isinstance(a, str) and isinstance(b, str):
        if len(a) + len(b) > MAX_STRING:
            raise Fault("a string is too long")
        return a + b
    return bounded(_number(a) + _number(b))


def _power(a: Result, b: Result) -> Result:
    base, exponent = _number(a), _number(b)
    if isinstance(base, int) and isinstance(exponent, int) and abs(exponent) * max(base.bit_length(), 1) > MAX_BITS:
        raise Fault(f"a power passes {MAX_BITS} bits")
    result: complex = base**exponent
    if not isinstance(result, int | float):
        raise Fault("a power has no real result")
    return result


def _arithmetic(function: Callable[[Any, Any], Any]) -> Callable[[Result, Result], Result]:
    def apply(a: Result, b: Result) -> Result:
        return bounded(function(_number(a), _number(b)))

    return apply


def _round(value: Result, digits: Result | None = None) -> Result:
    if digits is None:
        return bounded(round(_number(value)))
    if not isinstance(digits, int) or abs(digits) > 30:
        raise Fault("round: at most 30 digits")
    return round(_number(value), digits)


def _extreme(function: Callable[..., Result]) -> Callable[..., Result]:
    def apply(*values: Result) -> Result:
        if len(values) == 1 and not isinstance(values[0], tuple):
            raise Fault("min and max need two values or a list")
        return function(*values)

    return apply


def _to_number(function: Callable[[Any], int | float]) -> Callable[[Result], Result]:
    def apply(value: Result) -> Result:
        if isinstance(value, str):
            if len(value) > 50:
                raise Fault("a number is too long")
            return bounded(function(value))
        return bounded(function(_number(value)))

    return apply


def _string(value: Result) -> str:
    if isinstance(value, tuple):
        raise Fault("str of a list is not allowed")
    return str(value)


def _sum(values: Result) -> Result:
    if not isinstance(values, tuple):
        raise Fault("sum needs a list")
    total: Result = 0
    for value in values:
        total = _add(total, value)
    return total


def _length(value: Result) -> int:
    if not isinstance(value, str | tuple):
        raise Fault("len needs a string or a list")
    return len(value)


def _item(values: Result, index: Result) -> Result:
    if not isinstance(values, str | tuple) or not isinstance(index, int):
        raise Fault("only a list or a string can be indexed, by a whole number")
    if not -len(values) <= index < len(values):
        raise Fault(f"index {index} out of range")
    item: Result = values[index]
    return item


FUNCTIONS: Final[Mapping[str, Callable[..., Result]]] = {
    "abs": lambda value: abs(_number(value)),
    "bool": bool,
    "float": _to_number(float),
    "int": _to_number(int),
    "len": _length,
    "max": _extreme(max),
    "min": _extreme(min),
    "pow": _power,
    "round": _round,
    "str": _string,
    "sum": _sum,
}
"""The functions an expression may call."""

BINARY: Final[Mapping[type[ast.operator], Callable[[Result, Result], Result]]] = {
    ast.Add: _add,
    ast.Sub: _arithmetic(operator.sub),
    ast.Mult: _arithmetic(operator.mul),
    ast.Div: _arithmetic(operator.truediv),
    ast.FloorDiv: _arithmetic(operator.floordiv),
    ast.Mod: _arithmetic(operator.mod),
    ast.Pow: _power,
    ast.BitAnd: _arithmetic(operator.and_),
    ast.BitOr: _arithmetic(operator.or_),
    ast.BitXor: _arithmetic(operator.xor),
}
UNARY: Final[Mapping[type[ast.unaryop], Callable[[Result], Result]]] = {
    ast.USub: lambda value: -_number(value),
    ast.UAdd: lambda value: +_number(value),
    ast.Not: operator.not_,
}
COMPARE: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


def _compile(node: ast.expr) -> Code:
    """Turn a checked expression into nested closures."""
    match node:
        case ast.Constant(value=value):
            return lambda env: value
        case ast.Name(id=name):
            return lambda env: _lookup(env, name)
        case ast.BinOp(left=left, op=op, right=right):
            binary, a, b = BINARY[type(op)], _compile(left), _compile(right)
            return lambda env: binary(a(env), b(env))
        case ast.UnaryOp(op=unary_op, operand=operand):
            unary, c = UNARY[type(unary_op)], _compile(operand)
            return lambda env: unary(c(env))
        case ast.BoolOp(op=op, values=values):
            return _compile_bool([_compile(v) for v in values], stop_at=isinstance(op, ast.Or))
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            tests = [(COMPARE[type(o)], _compile(c)) for o, c in zip(ops, comparators, strict=True)]
            return _compile_compare(_compile(left), tests)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            t, yes, no = _compile(test), _compile(body), _compile(orelse)
            return lambda env: yes(env) if t(env) else no(env)
        case ast.Call(func=ast.Name(id=name), args=args):
            function, codes = FUNCTIONS[name], [_compile(a) for a in args]
            return lambda env: function(*[c(env) for c in codes])
        case ast.Tuple(elts=elts) | ast.List(elts=elts):
            parts = [_compile(e) for e in elts]
            return lambda env: tuple([p(env) for p in parts])
        case ast.Subscript(value=container, slice=index):
            holder, at = _compile(container), _compile(index)
            return lambda env: _item(holder(env), at(env))
    raise AssertionError(type(node))  # `_check` lets nothing else through


def _lookup(env: Env, name: str) -> Result:
    try:
        value: Result = env[name]
    except KeyError:
        raise Fault(f"unknown name {name}") from None
    return value


def _compile_bool(codes: Sequence[Code], stop_at: bool) -> Code:
    def run(env: Env) -> Result:
        value: Result = stop_at
        for code in codes:
            value = code(env)
            if bool(value) is stop_at:
                break
        return value

    return run


def _compile_compare(first: Code, tests: Sequence[tuple[Callable[[Any, Any], Any], Code]]) -> Code:
    def run(env: Env) -> bool:
        left = first(env)
        for compare, code in tests:
            right = code(env)
            if not compare(left, right):
                return False
            left = right
        return True

    return run


def compile_body(body: Sequence[ast.stmt]) -> Code:
    """Turn checked statements into one function from values by name to the value returned."""
    steps = [_compile_statement(s) for s in body]

    def run(env: Env) -> Result:
        for step in steps:
            result = step(env)
            if result is not None:
                return cast("Result", result)
        raise Fault("it ends without a return")

    return run


def _compile_statement(statement: ast.stmt) -> Code:
    """Compile a statement to a function that returns None, or the result of the `return` that was reached."""
    match statement:
        case ast.Return(value=ast.expr() as value):
            return _compile(value)
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            code = _compile(value)
            return lambda env: env.update({name: code(env)})
        case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
            binary, change = BINARY[type(op)], _compile(value)
            return lambda env: env.update({name: binary(_lookup(env, name), change(env))})
        case ast.If(test=test, body=body, orelse=orelse):
            return _compile_if(_compile(test), [_compile_statement(s) for s in body], orelse)
    return lambda env: None


def _compile_if(test: Code, yes: Sequence[Code], orelse: Sequence[ast.stmt]) -> Code:
    no = [_compile_statement(s) for s in orelse]

    def run(env: Env) -> Result | None:
        for step in yes if test(env) else no:
            result = step(env)
            if result is not None:
                return cast("Result", result)
        return None

    return run
