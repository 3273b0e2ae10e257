"""Cost expressions of problem files, tabulated without ever running them as code.

The text is parsed to a syntax tree, every node is checked against a whitelist, and the tree is *interpreted*: over
whole domains at once with numpy where that gives exactly Python's numbers, else one tuple at a time through closures.
Nothing reaches `eval`, `exec` or `compile`; names reach only the variables a caller passes in.

Allowed: numbers, strings, booleans; arithmetic, comparisons, `in`, `and or not`, `a if c else b`; tuples and lists,
indexed by position; the functions in `FUNCTIONS`; and bodies of assignments, `if/elif/else` and `return`.
Length, depth, number of nodes, size of whole numbers and strings, and nodes times tuples are bounded.
"""

from __future__ import annotations

import ast
import math
import re
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np

from agentsim.dcop.expression_arrays import Interpreter, NotArrays, axis_array, constant
from agentsim.dcop.expression_tuples import (
    BINARY,
    COMPARE,
    FUNCTIONS,
    MAX_STRING,
    UNARY,
    Code,
    Env,
    Fault,
    bounded,
    compile_body,
)
from agentsim.dcop.problem import EXACT_LIMIT, MAX_TABLE_CELLS, Table, Value
from agentsim.errors import FormatError

MAX_LENGTH: Final = 8192
"""Characters of one expression."""
MAX_NODES: Final = 1000
MAX_DEPTH: Final = 100
MAX_ARRAY_WORK: Final = 500_000_000
"""Nodes times tuples that one expression may cost when it is evaluated over whole domains."""
MAX_TUPLE_WORK: Final = 10_000_000
"""Nodes times tuples that one expression may cost when it is evaluated tuple by tuple."""
TUPLE_WORK: Final = 100
"""How much longer a node takes tuple by tuple than over whole domains."""
_CHUNK_CELLS: Final = 1 << 18


def _nothing_said(work: int) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression; build it with `parse`.

    Args:
        text: as it stands in the file.
        names: the names it reads, in the order of their first use.
        n_nodes: size of the syntax tree, for bounding work.
        source: file name for error messages.
        place: where in the file, for error messages.
        body: the checked statements; an expression is one `return`.
    """

    text: str
    names: tuple[str, ...]
    n_nodes: int
    source: str
    place: str
    body: tuple[ast.stmt, ...]

    def evaluate(self, values: Mapping[str, Value]) -> Value:
        """Evaluate for one value per name; FormatError when that has no numeric or string result."""
        return self._run(compile_body(self.body), dict(values))

    def tabulate(
        self,
        scope: Sequence[str],
        domains: Sequence[Sequence[Value]],
        frozen: Mapping[str, Value] | None = None,
        spend: Callable[[int], bool] = _nothing_said,
    ) -> Table:
        """Tabulate over the product of `domains`, one axis per name of `scope`.

        Names outside the scope take their value from `frozen`. Before work is done `spend` is asked whether there is
        so much left, in nodes times tuples, `TUPLE_WORK` times that tuple by tuple. The result is int64 or float64;
        FormatError when a cost is not a number, when an operation fails for some tuple, or when the work passes the
        bounds.
        """
        fixed = dict(frozen or {})
        known = {*scope, *fixed}
        for name in self.names:
            if name not in known:
                raise self._error(f"unknown name {name}")
        sizes = [len(d) for d in domains]
        cells = math.prod(sizes)
        if cells > MAX_TABLE_CELLS:
            raise self._error(f"{cells} tuples, more than the {MAX_TABLE_CELLS} allowed")
        try:
            if cells * self.n_nodes <= MAX_ARRAY_WORK:
                self._spend(spend, cells * self.n_nodes)
                return self._tabulate_arrays(scope, domains, fixed)
        except NotArrays:
            pass
        if cells * self.n_nodes > MAX_TUPLE_WORK:
            raise self._error(f"too much work: {cells} tuples of an expression of {self.n_nodes} nodes")
        self._spend(spend, TUPLE_WORK * cells * self.n_nodes)
        return self._tabulate_tuples(scope, domains, fixed).reshape(sizes)

    def _spend(self, spend: Callable[[int], bool], work: int) -> None:
        if not spend(work):
            raise self._error("the expressions of the file take too much work together")

    def _tabulate_arrays(self, scope: Sequence[str], domains: Sequence[Sequence[Value]], frozen: Env) -> Table:
        sizes = [len(d) for d in domains]
        # Chunks bound what the temporaries of a deep expression can hold at once.
        lead = 0
        while math.prod(sizes[lead:]) > _CHUNK_CELLS:
            lead += 1
        fixed = {name: constant(value) for name, value in frozen.items()}
        inner = len(sizes) - lead
        for axis, (name, values) in enumerate(zip(scope[lead:], domains[lead:], strict=True)):
            shape = [1] * inner
            shape[axis] = len(values)
            fixed[name] = axis_array(values, shape)
        chunks = []
        with np.errstate(all="ignore"):
            for prefix in product(*domains[:lead]):
                env = fixed | {name: constant(value) for name, value in zip(scope, prefix, strict=False)}
                data = Interpreter(env).run(self.body).data
                if data.dtype.kind not in "bif":
                    raise self._error("a cost is not a number")
                chunks.append(np.broadcast_to(data, sizes[lead:]))
        table: Table = np.array(chunks[0]) if lead == 0 else np.array(chunks).reshape(sizes)
        if table.dtype.kind == "f" and bool(np.isnan(table).any()):
            raise self._error("a cost is NaN")
        return table.astype(np.int64) if table.dtype.kind == "b" else table

    def _tabulate_tuples(self, scope: Sequence[str], domains: Sequence[Sequence[Value]], frozen: Env) -> Table:
        code = compile_body(self.body)
        env = dict(frozen)
        costs = []
        for values in product(*domains):
            env.update(zip(scope, values, strict=True))
            cost = self._run(code, env)
            if not isinstance(cost, int | float):
                raise self._error(f"a cost is not a number: {cost!r}")
            if math.isnan(cost):
                raise self._error("a cost is NaN")
            if isinstance(cost, int) and abs(cost) >= EXACT_LIMIT:
                raise self._error("a whole-number cost passes 2**53")
            costs.append(cost)
        table: Table = np.array(costs)
        return table if table.dtype.kind in "if" else table.astype(np.int64)

    def _run(self, code: Code, env: Env) -> Value:
        try:
            result = code(dict(env))
        except Fault as fault:
            raise self._error(str(fault)) from None
        except ZeroDivisionError:
            raise self._error("division by zero") from None
        except (TypeError, ValueError, OverflowError, IndexError, RecursionError) as error:
            raise self._error(str(error).splitlines()[0][:200] if str(error) else type(error).__name__) from None
        if not isinstance(result, int | float | str):
            raise self._error("the result is not a number")
        return result

    def _error(self, cause: str) -> FormatError:
        text = " ".join(self.text.split())
        shown = text if len(text) <= 80 else text[:77] + "..."
        return FormatError(self.source, self.place, f"expression {shown!r}: {cause}")


def parse(text: str, source: str = "expression", place: str = "") -> Expression:
    """Parse and check an expression, or a body with `return`; FormatError when it is not allowed.

    No part of the text is executed, and the work is bounded by its length, which is bounded by `MAX_LENGTH`.
    """
    short = " ".join(text[:200].split())
    shown = short if len(short) <= 60 else short[:57] + "..."
    try:
        if len(text) > MAX_LENGTH:
            raise Fault(f"{len(text)} characters, more than the {MAX_LENGTH} allowed")
        body = _statements(text)
        n_nodes, names = _check(body)
    except Fault as fault:
        raise FormatError(source, place, f"expression {shown!r}: {fault}") from None
    return Expression(text, names, n_nodes, source, place, tuple(body))


_ALLOWED: Final = (
    ast.Constant,
    ast.Name,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.IfExp,
    ast.Call,
    ast.Tuple,
    ast.List,
    ast.Subscript,
    ast.Return,
    ast.Assign,
    ast.AugAssign,
    ast.If,
    ast.Expr,
    ast.Pass,
)
_SILENT: Final = (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop)
_NAMES_OF_NODES: Final[dict[type[ast.AST], str]] = {
    ast.Attribute: "attribute access (a.b)",
    ast.Lambda: "lambda",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.JoinedStr: "an f-string",
    ast.NamedExpr: "assignment inside an expression",
    ast.Import: "import",
    ast.ImportFrom: "import",
    ast.For: "a loop",
    ast.While: "a loop",
    ast.FunctionDef: "def",
    ast.Slice: "a slice",
}


def _statements(text: str) -> list[ast.stmt]:
    is_body = re.search(r"\breturn\b", text) is not None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if is_body:
                return ast.parse(textwrap.dedent(text).strip()).body
            # Parentheses let an expression run over several lines, as YAML block text does.
            expression = ast.parse(f"({text}\n)", mode="eval").body
    except (SyntaxError, ValueError) as error:
        cause = error.msg if isinstance(error, SyntaxError) else str(error)
        raise Fault(f"not an expression ({cause})") from None
    except (RecursionError, MemoryError):
        # The parser's own stack ran out; there is no shortage of memory.
        raise Fault("nested too deeply") from None
    return [ast.Return(value=expression)]


def _check(body: Sequence[ast.stmt]) -> tuple[int, tuple[str, ...]]:
    """Check every node; return how many there are, and the names that are read, by first use."""
    stack: list[tuple[ast.AST, int]] = [(statement, 1) for statement in body]
    n_nodes = 0
    read: dict[str, tuple[int, int]] = {}
    assigned: set[str] = set()
    while stack:
        node, depth = stack.pop()
        n_nodes += 1
        if n_nodes > MAX_NODES:
            raise Fault(f"more than the {MAX_NODES} nodes allowed")
        if depth > MAX_DEPTH:
            raise Fault("nested too deeply")
        if type(node) is ast.Name:
            if isinstance(node.ctx, ast.Store):
                assigned.add(node.id)
            at = (node.lineno, node.col_offset)
            read[node.id] = min(at, read.get(node.id, at))
            continue
        if not isinstance(node, _ALLOWED):
            raise Fault(f"{_NAMES_OF_NODES.get(type(node), type(node).__name__)} is not allowed")
        _check_node(node)
        if isinstance(node, ast.Call):  # the name of a function is no variable
            stack.extend([(child, depth + 1) for child in node.args])
            continue
        for name in node._fields:
            child = getattr(node, name, None)
            if isinstance(child, list):
                stack.extend([(c, depth + 1) for c in child if not isinstance(c, _SILENT)])
            elif isinstance(child, ast.AST) and not isinstance(child, _SILENT):
                stack.append((child, depth + 1))
    free = set(read)
    if assigned:
        free = set()
        _follow(body, frozenset(), free)
    return n_nodes, tuple(sorted(free, key=lambda name: read[name]))


def _follow(body: Sequence[ast.stmt], known: frozenset[str], free: set[str]) -> frozenset[str] | None:
    """Add to `free` the names that some path reads before it assigns them.

    Returns the names that every path assigns, or None when every path returns.
    """
    for statement in body:
        if isinstance(statement, ast.If):
            free.update(_reads(statement.test) - known)
            yes, no = _follow(statement.body, known, free), _follow(statement.orelse, known, free)
            if yes is None and no is None:
                return None
            known = (yes & no) if yes is not None and no is not None else yes or no or known
        elif isinstance(statement, ast.Assign | ast.AugAssign | ast.Return) and statement.value is not None:
            free.update(_reads(statement.value) - known)
            if isinstance(statement, ast.Return):
                return None
            target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
            if isinstance(statement, ast.AugAssign):
                free.update(_reads(target) - known)
            known |= _reads(target)
    return known


def _reads(node: ast.expr) -> set[str]:
    functions = {id(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)}
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and id(n) not in functions}


def _check_node(node: ast.AST) -> None:
    if isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, str):
            if len(value) > MAX_STRING:
                raise Fault("a string is too long")
        elif isinstance(value, int | float):
            bounded(value)
        else:
            raise Fault(f"the constant {value!r} is not allowed")
    elif isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
            called = f"function {node.func.id}" if isinstance(node.func, ast.Name) else "calling this"
            raise Fault(f"{called} is not allowed (allowed: {', '.join(sorted(FUNCTIONS))})")
        if node.keywords:
            raise Fault("named arguments are not allowed")
    elif isinstance(node, ast.BinOp):
        if type(node.op) not in BINARY:
            raise Fault(f"operator {type(node.op).__name__} is not allowed")
    elif isinstance(node, ast.UnaryOp):
        if type(node.op) not in UNARY:
            raise Fault(f"operator {type(node.op).__name__} is not allowed")
    elif isinstance(node, ast.Compare):
        for op in node.ops:
            if type(op) not in COMPARE:
                raise Fault(f"comparison {type(op).__name__} is not allowed")
    elif isinstance(node, ast.Assign):
        if len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name):
            raise Fault("only a plain name can be assigned to")
    elif isinstance(node, ast.AugAssign):
        if not isinstance(node.target, ast.Name) or type(node.op) not in BINARY:
            raise Fault("only a plain name can be assigned to")
    elif isinstance(node, ast.Expr):
        if not (isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)):
            raise Fault("a statement without effect is not allowed")
    elif isinstance(node, ast.Return) and node.value is None:
        raise Fault("return without a value")
