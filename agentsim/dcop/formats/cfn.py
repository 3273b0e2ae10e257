"""CFN, toulbar2's relaxed JSON: the reader.

Keys may go without quotes, commas may trail, comments may stand anywhere, `functions` may hold objects without names,
and the last brace may be missing, as in toulbar2's own example. `mustbe: "<UB"` minimises and forbids entries of UB
and more; `">LB"` maximises, and forbids entries of LB and less where LB is negative. Every variable is its own agent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from agentsim.dcop.formats.limits import MAX_CFN_DEPTH, MAX_TOKENS
from agentsim.dcop.formats.tuples import Budget, cost_array, fill
from agentsim.dcop.problem import Constraint, Cost, Domain, Problem, Table, Value, Variable
from agentsim.errors import FormatError

_TOKEN: Final = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|\#[^\n]*)
    |(?P<comment>/\*)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<mark>[{}\[\]:,])
    |(?P<word>[^\s{}\[\]:,"'\#]+)""",
    re.VERBOSE | re.DOTALL,
)
_NUMBER: Final = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_NUMBERS: Final = re.compile(r"[-+0-9.eE,\s]+(?=\])")
Json = str | int | float | list[Any]
_PLAIN_NUMBER: Final = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?")


def read(text: str, source: str) -> Problem:
    """Read a problem."""
    return _Reader(_Json(text, source)).problem()


class _Json:
    """A bounded recursive-descent parser of relaxed JSON. Objects become lists of (key or None, value)."""

    def __init__(self, text: str, source: str) -> None:
        self._text = text
        self.source = source
        self._at = 0
        self._n_tokens = 0

    def fail(self, cause: str, at: int | None = None) -> NoReturn:
        offset = self._at if at is None else at
        line = self._text.count("\n", 0, min(offset, len(self._text))) + 1
        raise FormatError(self.source, f"line {line}", cause)

    def parse(self) -> Json:
        kind, word = self._next()
        if (kind, word) != ("mark", "{"):
            self.fail("must start with {")
        value = self._object(1)
        kind, _ = self._next()
        if kind:
            self.fail("something follows the closing }")
        return value

    def _next(self) -> tuple[str, str]:
        while self._at < len(self._text):
            found = _TOKEN.match(self._text, self._at)
            if found is None:
                self.fail(f"unexpected {self._text[self._at : self._at + 20]!r}")
            self._at = found.end()
            kind = found.lastgroup or ""
            if kind == "comment":  # a pattern for all of it would look again and again for an end that is not there
                end = self._text.find("*/", self._at)
                if end < 0:
                    self.fail("a comment is not closed")
                self._at = end + 2
            elif kind != "skip":
                self._n_tokens += 1
                if self._n_tokens > MAX_TOKENS:
                    self.fail(f"more than {MAX_TOKENS} tokens")
                return kind, found[0]
        return "", ""

    def _value(self, kind: str, word: str, depth: int) -> Json:
        if depth > MAX_CFN_DEPTH:
            self.fail(f"nested deeper than {MAX_CFN_DEPTH} levels")
        if word == "{" and kind == "mark":
            return self._object(depth + 1)
        if word == "[" and kind == "mark":
            return self._list(depth + 1)
        if kind == "string":
            return re.sub(r"\\(.)", r"\1", word[1:-1])
        if kind == "word":
            return _Word(word)
        self.fail(f"expected a value, found {word!r}" if word else "the file ends too early")

    def _object(self, depth: int) -> list[tuple[str | None, Any]]:
        items: list[tuple[str | None, Any]] = []
        kind, word = self._next()
        while (kind, word) != ("mark", "}"):
            if not kind and depth == 1 and items:
                break  # toulbar2's own files leave out the last brace
            if (kind, word) == ("mark", ","):
                kind, word = self._next()
                continue
            value = self._value(kind, word, depth)
            kind, word = self._next()
            key = None
            if (kind, word) == ("mark", ":"):
                if not isinstance(value, str):
                    self.fail("a key must be a string or a word")
                key = str(value)
                value = self._value(*self._next(), depth)
                kind, word = self._next()
            items.append((key, value))
        return items

    def _list(self, depth: int) -> list[Any]:
        run = _NUMBERS.match(self._text, self._at)
        if run is not None and (numbers := self._plain_numbers(run[0])) is not None:
            self._at = run.end() + 1
            return numbers
        items: list[Any] = []
        kind, word = self._next()
        while (kind, word) != ("mark", "]"):
            if (kind, word) != ("mark", ","):
                items.append(self._value(kind, word, depth))
            kind, word = self._next()
        return items

    @staticmethod
    def _plain_numbers(text: str) -> list[Any] | None:
        """Return a list of numbers in one go, or None when it needs a closer look."""
        words = [w for w in text.replace(",", " ").split() if w]
        known = {w: (float(w) if "." in w else int(w)) for w in set(words) if _PLAIN_NUMBER.fullmatch(w)}
        return [known[w] for w in words] if len(known) == len(set(words)) else None


class _Word(str):
    """A word without quotes: a number, or a name."""

    __slots__ = ()


class _Reader:
    def __init__(self, json: _Json) -> None:
        self._json = json
        self._budget = Budget()
        self._top = self._object(json.parse(), "the file")
        self._sign = 1
        self._bound: Cost = math.inf

    def problem(self) -> Problem:
        if "functions" not in self._top:
            self._fail("", "has no functions (is it cut off?)")
        header = self._object(self._top.get("problem", []), "problem")
        name = header.get("name", "problem")
        self._read_bound(header.get("mustbe"))
        variables = self._variables()
        by_name = {v.name: v for v in variables}
        constraints = []
        constant: Cost = 0
        tables: dict[str, tuple[list[int], Table]] = {}
        for i, (given, value) in enumerate(self._items("functions")):
            label = given or f"c{i}"
            where = f"function {label}"
            scope, table = self._function(self._object(value, where), variables, by_name, where, tables)
            tables[label] = (list(table.shape), table)
            if scope:
                constraints.append(Constraint(label, tuple(v.name for v in scope), table))
            elif not math.isfinite(table.item()):
                self._fail(where, "the constant is forbidden, so nothing is allowed")
            else:
                constant += table.item()
        extras = {"cfn_mustbe": str(header["mustbe"])} if "mustbe" in header else {}
        return Problem.build(
            variables,
            constraints,
            name=str(name),
            objective="min" if self._sign > 0 else "max",
            constant=constant,
            extras=extras,
        )

    def _fail(self, where: str, cause: str) -> NoReturn:
        raise FormatError(self._json.source, where, cause)

    def _object(self, value: Json, where: str) -> dict[str, Any]:
        if not isinstance(value, list) or not all(isinstance(i, tuple) and i[0] is not None for i in value):
            self._fail(where, "must be an object with keys")
        result = dict(value)
        if len(result) != len(value):
            self._fail(where, "a key occurs twice")
        return result

    def _items(self, section: str) -> list[tuple[str | None, Any]]:
        value = self._top.get(section, [])
        if not isinstance(value, list):
            self._fail(section, "must be an object or a list")
        return [i if isinstance(i, tuple) else (None, i) for i in value]

    def _number(self, value: Json, where: str) -> Cost:
        if isinstance(value, str):
            word = value.strip()
            if re.fullmatch(r"[-+]?[0-9]{1,18}", word):
                return int(word)
            if word.lower().lstrip("+") in ("inf", "infinity", "-inf", "-infinity"):
                return float(word)
            if len(word) <= 400 and _NUMBER.fullmatch(word) and math.isfinite(float(word)):
                return float(word)
            self._fail(where, f"{word[:60]!r} is not a number")
        if isinstance(value, int | float):
            return value
        self._fail(where, "a list stands where a number should")

    def _read_bound(self, text: Json | None) -> None:
        if text is None:
            return
        if not isinstance(text, str) or text[:1] not in ("<", ">"):
            self._fail("problem", 'mustbe must be "<bound" or ">bound"')
        self._bound = self._number(text[1:].lstrip("="), "problem: mustbe")
        if text[0] == ">":
            self._sign = -1

    def _variables(self) -> list[Variable]:
        variables: list[Variable] = []
        domains: dict[int, Domain] = {}
        for i, (given, value) in enumerate(self._items("variables")):
            name = given or f"x{i}"
            where = f"variable {name}"
            if isinstance(value, list):
                self._budget.values(where, len(value))
                if any(isinstance(v, list | tuple) for v in value):
                    self._fail(where, "a value is a list")
                domain = Domain(f"d_{name}", tuple(self._domain_value(v) for v in value))
            else:
                size = self._number(value, where)
                if not isinstance(size, int) or size < 1:
                    self._fail(where, f"its size {value} is not a positive whole number")
                if size not in domains:
                    self._budget.values(where, size)
                    domains[size] = Domain(f"d{size}", tuple(range(size)))
                domain = domains[size]
            variables.append(Variable(name, domain))
        if not variables:
            self._fail("variables", "there are none")
        return variables

    @staticmethod
    def _domain_value(value: Json) -> Value:
        if isinstance(value, _Word) and re.fullmatch(r"[-+]?[0-9]{1,18}", value):
            return int(value)
        return str(value) if isinstance(value, str) else value if isinstance(value, int | float) else str(value)

    def _function(
        self,
        keys: Mapping[str, Any],
        variables: Sequence[Variable],
        by_name: Mapping[str, Variable],
        where: str,
        tables: Mapping[str, tuple[list[int], Table]],
    ) -> tuple[list[Variable], Table]:
        if "type" in keys:
            self._fail(where, f"the global cost function {str(keys['type'])[:60]!r} is not supported")
        if "scope" not in keys or not isinstance(keys["scope"], list):
            self._fail(where, "has no scope")
        scope = [self._variable(item, variables, by_name, where) for item in keys["scope"]]
        sizes = [v.size for v in scope]
        cells = self._budget.cells(where, sizes)
        costs = keys.get("costs", [])
        if isinstance(costs, str) and not isinstance(costs, _Word):
            if costs not in tables or tables[costs][0] != sizes:
                self._fail(where, f"its costs refer to {costs[:60]!r}, which is no earlier function of the same shape")
            return scope, tables[costs][1]
        flat = self._flatten(costs, where)
        if "defaultcost" in keys:
            default = self._forbid(np.array([self._number(keys["defaultcost"], where)])).item()
            width = len(scope) + 1
            if len(flat) % width:
                self._fail(where, f"{len(flat)} entries are no whole number of tuples of {width}")
            index = np.zeros(len(flat) // width, dtype=np.intp)
            for axis, variable in enumerate(scope):
                index = index * variable.size + self._column(flat[axis::width], variable, where)
            listed = self._forbid(cost_array([self._number(c, where) for c in flat[len(scope) :: width]]))
            return scope, fill(where, cells, index, listed, default).reshape(sizes)
        if len(flat) != cells:
            self._fail(where, f"{len(flat)} costs for {cells} tuples, and no defaultcost")
        return scope, self._forbid(cost_array([self._number(c, where) for c in flat])).reshape(sizes)

    def _variable(
        self,
        item: Json,
        variables: Sequence[Variable],
        by_name: Mapping[str, Variable],
        where: str,
    ) -> Variable:
        if isinstance(item, str) and item in by_name:
            return by_name[item]
        if isinstance(item, list | tuple):
            self._fail(where, "its scope must be a flat list")
        word = str(item)
        if isinstance(item, _Word | int) and re.fullmatch(r"[0-9]{1,9}", word):
            position = int(word)
            if position < len(variables):
                return variables[position]
        self._fail(where, f"unknown variable {str(item)[:60]!r}")

    def _flatten(self, costs: Json, where: str) -> list[Any]:
        if not isinstance(costs, list):
            return [costs]
        if any(isinstance(c, tuple) for c in costs):
            self._fail(where, "its costs must be a list")
        if not any(isinstance(c, list) for c in costs):
            return costs
        return [leaf for c in costs for leaf in self._flatten(c, where)]

    def _column(self, words: Sequence[Any], variable: Variable, where: str) -> NDArray[np.intp]:
        place: dict[Value, int] = {value: i for i, value in enumerate(variable.domain.values)}
        column = []
        for word in words:
            index = place.get(word) if isinstance(word, str) else None
            if index is None:
                number = self._number(word, where) if not isinstance(word, str) or isinstance(word, _Word) else None
                index = number if isinstance(number, int) else -1
            if not 0 <= index < variable.size:
                self._fail(where, f"{str(word)[:60]!r} is no value of {variable.name}")
            column.append(index)
        return np.array(column, dtype=np.intp)

    def _forbid(self, costs: NDArray[Any]) -> NDArray[Any]:
        if self._sign > 0:
            forbidden = costs >= self._bound
            return np.where(forbidden, math.inf, costs) if bool(forbidden.any()) else costs
        forbidden = (costs <= self._bound) if self._bound < 0 else np.isneginf(costs)
        return np.where(forbidden, -math.inf, costs) if bool(forbidden.any()) else costs
