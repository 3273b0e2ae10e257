"""WCSP, toulbar2's plain text: reader and writer.

Numbers only: variables are called x0, x1, ... and values are 0, 1, ...; every variable is its own agent. A cost at or
above the upper bound is forbidden. Written costs must be whole and not negative, so others are scaled and shifted, and
the notes say by how much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Final, NoReturn

import numpy as np

from agentsim.dcop.formats.limits import MAX_AXES, MAX_DIGITS
from agentsim.dcop.formats.tuples import Budget, fill
from agentsim.dcop.problem import Constraint, Cost, Domain, Problem, Table, Variable
from agentsim.errors import FormatError, UserError, one_line

_MAX_TOTAL: Final = 2**53


def read(text: str, source: str) -> Problem:
    """Read a problem."""
    return _Reader(text, source).problem()


class _Reader:
    def __init__(self, text: str, source: str) -> None:
        self._text = text
        self._source = source
        self._words = text.split()
        self._at = 0
        self._budget = Budget()
        self._upper: int = 0

    def problem(self) -> Problem:
        if len(self._words) < 5:
            self._fail("the header needs a name, 3 counts and an upper bound")
        name = self._words[0]
        self._at = 1
        n_variables = self._count("number of variables")
        largest = self._count("largest domain size")
        n_functions = self._count("number of cost functions")
        self._upper = self._integer("upper bound")
        if self._upper <= 0:
            self._fail("the upper bound must be positive", back=1)
        if n_variables > len(self._words) - self._at:
            self._fail(f"{n_variables} variables are declared, but the file ends before their domain sizes")
        variables = self._variables(n_variables, largest)
        constant = 0
        constraints = []
        for i in range(n_functions):
            cost, constraint = self._function(f"c{i}", variables)
            constant += cost
            if constraint is not None:
                constraints.append(constraint)
        if self._at < len(self._words):
            self._fail(f"more follows the {n_functions} cost functions that are declared")
        return Problem.build(
            variables, constraints, name=name, constant=constant, extras={"wcsp_upper_bound": self._upper}
        )

    def _fail(self, cause: str, back: int = 0) -> NoReturn:
        target = max(self._at - back, 0)
        lines = self._text.split("\n")
        line = seen = 0
        while line < len(lines) and seen <= target:
            seen += len(lines[line].split())
            line += 1
        raise FormatError(self._source, f"line {line}", cause)

    def _integer(self, what: str) -> int:
        if self._at >= len(self._words):
            self._fail(f"the file ends before the {what}")
        word = self._words[self._at]
        digits = word[1:] if word[:1] in "+-" else word
        if not (digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS):
            self._fail(f"{what}: {word[:60]!r} is not a whole number of at most {MAX_DIGITS} digits")
        self._at += 1
        return int(word)

    def _count(self, what: str) -> int:
        count = self._integer(what)
        if count < 0:
            self._fail(f"the {what} is negative", back=1)
        return count

    def _variables(self, n_variables: int, largest: int) -> list[Variable]:
        domains: dict[int, Domain] = {}
        variables = []
        for i in range(n_variables):
            size = self._integer(f"domain size of variable {i}")
            if not 1 <= size <= largest:
                self._fail(f"the domain size {size} of variable {i} is not in 1..{largest}", back=1)
            if size not in domains:
                self._budget.values(f"variable {i}", size)
                domains[size] = Domain(f"d{size}", tuple(range(size)))
            variables.append(Variable(f"x{i}", domains[size]))
        return variables

    def _function(self, name: str, variables: list[Variable]) -> tuple[int, Constraint | None]:
        arity = self._integer("arity")
        if not 0 <= arity <= MAX_AXES:
            self._fail(f"cost function {name}: arity {arity} is not in 0..{MAX_AXES}", back=1)
        scope = [self._count("variable of a scope") for _ in range(arity)]
        for v in scope:
            if v >= len(variables):
                self._fail(f"cost function {name}: unknown variable {v}", back=1)
        if len(set(scope)) != arity:
            self._fail(f"cost function {name}: a variable occurs twice in its scope", back=1)
        default = self._integer("default cost")
        following = self._words[self._at] if self._at < len(self._words) else ""
        if default == -1 and following and not following.lstrip("-").isdigit():
            self._fail(f"cost function {name}: the global cost function {following[:60]!r} is not supported")
        n_tuples = self._integer("number of tuples")
        if n_tuples < 0:
            self._fail(f"cost function {name}: global cost functions are not supported", back=1)
        if arity == 0:
            return self._constant(name, default, n_tuples), None
        sizes = [variables[v].size for v in scope]
        return 0, Constraint(name, tuple(f"x{v}" for v in scope), self._table(name, sizes, default, n_tuples))

    def _constant(self, name: str, default: int, n_tuples: int) -> int:
        if n_tuples:
            self._fail(f"cost function {name}: a constant has no tuples", back=1)
        if default >= self._upper:
            self._fail(f"cost function {name}: the constant reaches the upper bound, so nothing is allowed", back=2)
        return default

    def _table(self, name: str, sizes: list[int], default: int, n_tuples: int) -> Table:
        arity, width = len(sizes), len(sizes) + 1
        if n_tuples * width > len(self._words) - self._at:
            self._fail(f"cost function {name}: {n_tuples} tuples are declared, but the file ends before them")
        cells = self._budget.cells(f"cost function {name}", sizes)
        words = self._words[self._at : self._at + n_tuples * width]
        try:
            rows = np.array(list(map(int, words)), dtype=np.int64).reshape(n_tuples, width)
        except (ValueError, OverflowError):
            for _ in words:
                self._integer(f"tuple of cost function {name}")
            raise
        self._at += len(words)
        index = np.zeros(n_tuples, dtype=np.intp)
        for axis, size in enumerate(sizes):
            column = rows[:, axis]
            bad = np.flatnonzero((column < 0) | (column >= size))
            if bad.size:
                value = int(column[bad[0]])
                self._fail(
                    f"cost function {name}: value {value} of a variable with {size} values",
                    back=len(words) - int(bad[0]) * width - axis,
                )
            index = index * size + column
        costs = rows[:, arity]
        forbidden = costs >= self._upper
        listed = np.where(forbidden, math.inf, costs) if bool(forbidden.any()) else costs
        rest: Cost = math.inf if default >= self._upper else default
        return fill(f"cost function {name}", cells, index, listed, rest).reshape(sizes)


# --- writing --------------------------------------------------------------------------------------------------------


def write(problem: Problem) -> tuple[Iterator[str], list[str]]:
    """Return the text in pieces, and sentences on what it does not say or says otherwise.

    Raises:
        UserError: the costs are too large to be written as whole numbers.
    """
    notes = _unsaid(problem)
    sign = -1 if problem.objective == "max" else 1
    if sign < 0:
        notes.append("WCSP only minimises: every cost has its sign changed.")
    factor, note = _factor(problem)
    notes += note
    position = {v: i for i, v in enumerate(problem.variables)}
    scopes = [[position[v.name]] for v in problem.variables.values() if v.unary is not None]
    scopes += [[position[v] for v in c.scope] for c in problem.constraints.values()]
    shift = 0
    upper = 1
    tables: list[Table] = []
    for _, table in problem.functions():
        scaled = _scale(table, sign, factor)
        allowed = scaled[np.isfinite(scaled)] if scaled.dtype.kind == "f" else scaled
        low = min(int(allowed.min()), 0) if allowed.size else 0
        shift += low
        upper += int(allowed.max()) - low if allowed.size else 0
        tables.append(scaled - low)
    constant = round(Fraction(problem.constant) * sign * factor) + shift
    if max(abs(constant), upper) >= _MAX_TOTAL:
        raise UserError("the costs are too large for WCSP's whole numbers")
    if shift:
        notes.append(f"Negative costs were shifted up, table by table, by {-shift} in all.")
    if constant < 0:
        notes.append(f"WCSP has no negative constant: the cost of every solution is {-constant} too high.")
    elif constant:
        upper += constant
    return _lines(problem, scopes, tables, max(constant, 0), upper), notes


def _unsaid(problem: Problem) -> list[str]:
    notes = []
    if any(v.name != f"x{i}" for i, v in enumerate(problem.variables.values())):
        notes.append("WCSP has no names: variables are written as their positions.")
    if any(v.domain.values != tuple(range(v.size)) for v in problem.variables.values()):
        notes.append("WCSP has no values: they are written as their positions in the domain.")
    checks: list[tuple[str, Callable[[Problem], bool]]] = [
        ("agents and which variables they own", lambda p: any(a not in p.variables for a in p.agents)),
        ("initial values", lambda p: any(v.initial is not None for v in p.variables.values())),
        (
            "who owns a constraint or knows it",
            lambda p: any(c.owner is not None or c.known_to != "scope" for c in p.constraints.values()),
        ),
        (
            "declared ranges of costs",
            lambda p: (
                any(v.cost_range is not None for v in p.variables.values())
                or any(c.cost_range is not None for c in p.constraints.values())
            ),
        ),
        ("names of constraints", lambda p: any(n != f"c{i}" for i, n in enumerate(p.constraints))),
    ]
    lost = [what for what, is_lost in checks if is_lost(problem)]
    lost += [f"the key {k}" for k in problem.extras if k != "wcsp_upper_bound"]
    if lost:
        notes.append(f"WCSP does not say: {', '.join(lost)}.")
    return notes


def _factor(problem: Problem) -> tuple[int, list[str]]:
    """Return the power of ten that makes the costs whole, or the largest that their sum leaves room for."""
    if problem.integral:
        return 1, []
    digits = 0
    total = abs(float(problem.constant)) + 1.0
    distinct: set[float] = {float(problem.constant)}
    for _, table in problem.functions():
        finite = np.unique(table[np.isfinite(table)]) if table.dtype.kind == "f" else np.unique(table)
        if finite.size:
            total += 2 * float(np.abs(finite).max())
            distinct.update(finite.tolist())
    for cost in distinct:
        digits = max(digits, _decimals(cost))
    room = max(int(math.log10(_MAX_TOTAL / total)) - 1, 0) if total < _MAX_TOTAL else 0
    if digits <= room:
        return 10**digits, [f"WCSP costs are whole numbers: every cost is multiplied by {10**digits}, which is exact."]
    return 10**room, [
        f"WCSP costs are whole numbers: every cost is multiplied by {10**room} and rounded, "
        f"which moves each by at most {0.5 / 10**room:g}."
    ]


def _decimals(cost: float) -> int:
    text = repr(cost).lower()
    mantissa, _, exponent = text.partition("e")
    return max(len(mantissa.partition(".")[2].rstrip("0")) - int(exponent or 0), 0)


def _scale(table: Table, sign: int, factor: int) -> Table:
    if table.dtype.kind == "i":
        if table.size and max(abs(int(table.max())), abs(int(table.min()))) * factor >= _MAX_TOTAL:
            raise UserError("the costs are too large for WCSP's whole numbers")
        return table * (sign * factor)
    scaled: Table = np.rint(table * float(factor)) * sign + 0.0
    return scaled


def _lines(problem: Problem, scopes: list[list[int]], tables: list[Table], constant: int, upper: int) -> Iterator[str]:
    sizes = [v.size for v in problem.variables.values()]
    name = one_line("_".join(problem.name.split())) or "problem"
    n_functions = len(tables) + (constant > 0)
    yield f"{name} {len(sizes)} {max(sizes, default=0)} {n_functions} {upper}\n"
    yield " ".join(map(str, sizes)) + "\n"
    if constant > 0:
        yield f"0 {constant} 0\n"
    for scope, table in zip(scopes, tables, strict=True):
        flat = np.minimum(table, upper).astype(np.int64).ravel()
        values, counts = np.unique(flat, return_counts=True)
        default = int(values[np.argmax(counts)])
        listed = np.flatnonzero(flat != default)
        yield f"{len(scope)} {' '.join(map(str, scope))} {default} {len(listed)}\n"
        rows = [axis.tolist() for axis in np.unravel_index(listed, table.shape)]
        for row in zip(*rows, flat[listed].tolist(), strict=True):
            yield " ".join(map(str, row)) + "\n"
