"""The mutants of a Python source: every small change that a test ought to notice, found in its syntax tree.

| operator   | change                                                                              |
|------------|-------------------------------------------------------------------------------------|
| comparison | `<` and `<=`, `>` and `>=`, `==` and `!=`, `is` and `is not`, `in` and `not in`     |
| arithmetic | `+` and `-`, `*` and `/`, `//` to `/`, `%` and `**` to `*`, bit operations; `-x` to `x` |
| boolean    | `and` and `or`; `not x` to `x`                                                      |
| constant   | a number one more, one less; `True` and `False`                                     |
| default    | the same in a default argument                                                      |
| condition  | the negated test of `if`, `while`, a conditional expression, a comprehension        |
| statement  | no call, no `raise`, no `x += 1`, no assignment to an attribute or an item          |
| return     | `return x` to `return None`                                                         |
| extremum   | `min` and `max`, `any` and `all`                                                    |
| jump       | `break` and `continue`                                                              |
| slice      | a slice without its lower, or upper, bound                                          |

Left alone is what says nothing to a program's user: docstrings and all other strings, type hints, decorators, the
heads of classes, `if TYPE_CHECKING`, logging.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

Lines = tuple[int, int]  # first and last

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
EXTREMA = {"min": "max", "max": "min", "any": "all", "all": "any"}
LOGGING = {"debug", "info", "warning", "error", "exception", "critical"}
SAID_BY_COMPARISON = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one file: the `number`-th of those that `mutants` finds in it."""

    path: str
    number: int
    line: int
    column: int
    operator: str
    before: str
    after: str
    lines: Lines  # of the changed expression
    statement: Lines  # of the statement around it; of a compound one its head
    scope: Lines | None  # of the function, or the class, around it
    names: tuple[str, ...]  # that the statement assigns to, at module level


@dataclass(frozen=True, slots=True)
class _Around:
    """What surrounds a node."""

    statement: Lines = (1, 1)
    scope: Lines | None = None
    names: tuple[str, ...] = ()
    default: bool = False
    module: bool = True


@dataclass(frozen=True, slots=True)
class _Site:
    node: ast.AST
    after: ast.AST
    operator: str
    around: _Around
    put: Callable[[ast.AST], None]


def mutants(source: str, path: str) -> list[Mutant]:
    """Return every mutant of a source text, in the order of its syntax tree."""
    found = []
    for number, site in enumerate(_sites(ast.parse(source))):
        node = site.node
        assert isinstance(node, ast.expr | ast.stmt)
        found.append(
            Mutant(
                path,
                number,
                node.lineno,
                node.col_offset,
                site.operator,
                _text(node),
                _text(site.after),
                (node.lineno, _last_line(node)),
                site.around.statement,
                site.around.scope,
                site.around.names,
            )
        )
    return found


def mutated(source: str, number: int) -> ast.Module:
    """Return the source's syntax tree with its `number`-th mutant in place."""
    tree = ast.parse(source)
    for at, site in enumerate(_sites(tree)):
        if at == number:
            site.put(ast.fix_missing_locations(ast.copy_location(site.after, site.node)))
            return tree
    raise IndexError(f"there is no mutant {number}")


def _sites(tree: ast.Module) -> Iterator[_Site]:
    yield from _inside(tree, _Around())


def _visit(node: ast.AST, around: _Around, put: Callable[[ast.AST], None]) -> Iterator[_Site]:
    if isinstance(node, ast.stmt):
        around = replace(around, statement=(node.lineno, _head_end(node)))
        if around.module and around.scope is None:
            around = replace(around, names=tuple(_assigned(node)))
    for operator, after in _changes(node, around):
        yield _Site(node, after, operator, around, put)
    yield from _inside(node, around)


def _inside(node: ast.AST, around: _Around) -> Iterator[_Site]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        is_class = isinstance(node, ast.ClassDef)
        around = replace(around, scope=(node.lineno, _last_line(node)), module=around.module and is_class, names=())
    for field, child in ast.iter_fields(node):
        if _says_nothing(node, field, around):
            continue
        inner = replace(around, default=True) if field in ("defaults", "kw_defaults") else around
        if isinstance(child, list):
            for index, element in enumerate(child):
                if isinstance(element, ast.AST):
                    yield from _visit(element, inner, _putter(child, index))
        elif isinstance(child, ast.AST):
            yield from _visit(child, inner, _setter(node, field))


def _putter(elements: list[ast.AST], index: int) -> Callable[[ast.AST], None]:
    return lambda after: elements.__setitem__(index, after)


def _setter(node: ast.AST, field: str) -> Callable[[ast.AST], None]:
    return lambda after: setattr(node, field, after)


def _says_nothing(node: ast.AST, field: str, around: _Around) -> bool:
    """Say whether a part of a node is left alone."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return field in ("decorator_list", "returns", "type_params")
        case ast.ClassDef():
            return field != "body"
        case ast.arg() | ast.AnnAssign():
            return field == "annotation"
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return field != "orelse"
        case ast.Assign(value=ast.BinOp(op=ast.BitOr())) if around.module:
            return True  # the alias of a type
        case ast.Call(func=ast.Name(id="cast" | "TypeVar" | "NewType")):
            return field != "args"
        case ast.Expr(value=ast.Call() as call):
            return _is_logging(call)
    return False


def _changes(node: ast.AST, around: _Around) -> Iterator[tuple[str, ast.AST]]:
    """Yield what the node may become: the operator's name and the other node."""
    match node:
        case ast.Compare():
            for at, op in enumerate(node.ops):
                if other := COMPARISONS.get(type(op)):
                    after = copy.deepcopy(node)
                    after.ops[at] = other()
                    yield "comparison", after
        case ast.BinOp() | ast.AugAssign() if type(node.op) in ARITHMETIC and not _on_text(node):
            after = copy.deepcopy(node)
            after.op = ARITHMETIC[type(node.op)]()
            yield "arithmetic", after
        case ast.UnaryOp(op=ast.USub()):
            yield "arithmetic", copy.deepcopy(node.operand)
        case ast.UnaryOp(op=ast.Not()):
            yield "boolean", copy.deepcopy(node.operand)
        case ast.BoolOp():
            after = copy.deepcopy(node)
            after.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield "boolean", after
        case ast.Constant():
            for value in _other_values(node.value):
                yield "default" if around.default else "constant", ast.Constant(value)
        case ast.Call(func=ast.Name(id=name)) if name in EXTREMA:
            after = copy.deepcopy(node)
            after.func = ast.copy_location(ast.Name(EXTREMA[name], ast.Load()), node.func)
            yield "extremum", after
        case ast.Break():
            yield "jump", ast.Continue()
        case ast.Continue():
            yield "jump", ast.Break()
        case ast.Slice():
            for bound in ("lower", "upper"):
                if getattr(node, bound) is not None:
                    after = copy.deepcopy(node)
                    setattr(after, bound, None)
                    yield "slice", after
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield "return", ast.Return(ast.copy_location(ast.Constant(None), value))
    if isinstance(node, ast.stmt) and _is_removable(node):
        yield "statement", ast.Pass()
    for condition, after in _negated(node):
        if not _is_negated_elsewhere(condition):
            yield "condition", after


def _negated(node: ast.AST) -> Iterator[tuple[ast.expr, ast.AST]]:
    """Yield the node's conditions, and the node with each of them negated."""
    if isinstance(node, ast.If | ast.While | ast.IfExp) and not _is_type_checking(node.test):
        shallow = copy.copy(node)
        shallow.test = _not(node.test)
        yield node.test, shallow
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        for i, generator in enumerate(node.generators):
            for j, condition in enumerate(generator.ifs):
                after = copy.deepcopy(node)
                after.generators[i].ifs[j] = _not(condition)
                yield condition, after


def _not(condition: ast.expr) -> ast.expr:
    return ast.copy_location(ast.UnaryOp(ast.Not(), copy.deepcopy(condition)), condition)


def _is_negated_elsewhere(condition: ast.expr) -> bool:
    """Say whether another operator negates the condition too."""
    match condition:
        case ast.Compare(ops=[op]):
            return isinstance(op, SAID_BY_COMPARISON)
        case ast.UnaryOp(op=ast.Not()) | ast.Constant(value=bool()):
            return True
    return False


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _other_values(value: object) -> Iterator[int | float | bool]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float) and (isinstance(value, int) or value + 1 != value):
        yield value + 1
        yield value - 1


def _on_text(node: ast.BinOp | ast.AugAssign) -> bool:
    """Say whether a `+` or a `%` joins or formats text."""
    sides = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.value]
    return any(isinstance(side, ast.JoinedStr) or isinstance(getattr(side, "value", None), str) for side in sides)


def _is_removable(node: ast.stmt) -> bool:
    match node:
        case ast.Expr(value=ast.Call() as call):
            return not _is_logging(call)
        case ast.Expr(value=ast.Await() | ast.Yield() | ast.YieldFrom()):
            return True
        case ast.Assign():
            return all(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets)
        case ast.AnnAssign(value=ast.expr()):
            return isinstance(node.target, ast.Attribute | ast.Subscript)
    return isinstance(node, ast.AugAssign | ast.Raise | ast.Delete)


def _is_logging(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(value=ast.Name(id="log" | "logger" | "logging" | "_log"), attr=attr):
            return attr in LOGGING
    return False


def _assigned(node: ast.stmt) -> Iterator[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    for target in targets:
        if isinstance(target, ast.Name):
            yield target.id


def _last_line(node: ast.expr | ast.stmt) -> int:
    return node.end_lineno or node.lineno


def _head_end(node: ast.stmt) -> int:
    """Return the last line of a statement, or of the head of one that has a body."""
    body = getattr(node, "body", None) or getattr(node, "cases", None)
    if not body:
        return _last_line(node)
    first = body[0].pattern if isinstance(body[0], ast.match_case) else body[0]
    return max(node.lineno, int(first.lineno) - 1)


def _text(node: ast.AST) -> str:
    """Return the node as one line of at most 100 characters."""
    if isinstance(node, ast.If | ast.While):
        word = "if" if isinstance(node, ast.If) else "while"
        text = f"{word} {ast.unparse(node.test)}:"
    else:
        text = ast.unparse(ast.fix_missing_locations(copy.deepcopy(node)))
    text = " ".join(text.split())
    return text if len(text) <= 100 else text[:97] + "..."
