"""Our compact form: a problem as one msgpack map, in a file (`.amdcop`) or in the header of a log.

Tables are raw little-endian bytes of the smallest integer type that holds them, each stored once. Decoding trusts
nothing: every size is checked before anything of that size exists. With `redact=True` private costs are left out:
there are zeros in place of unary costs, and of tables of constraints that not everybody knows. Which variables have
private costs is not hidden.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import msgpack
import numpy as np

from agentsim.dcop.formats.limits import MAX_AXES, MAX_DEPTH, MAX_DOMAIN_VALUES, MAX_ITEMS, too_deep
from agentsim.dcop.formats.tuples import Budget
from agentsim.dcop.problem import Constraint, Cost, Domain, KnownTo, Problem, Table, Value, Variable, as_table
from agentsim.errors import FormatError, ProblemError

FORMAT: Final = "agentsim-problem"
VERSION: Final = 1
_DTYPES: Final = ("<i1", "<i2", "<i4", "<i8", "<f4", "<f8")

Packed = dict[str, Any]


def dump_bytes(problem: Problem, *, redact: bool = False) -> bytes:
    """Return the compact form as bytes."""
    data: bytes = msgpack.packb(encode_problem(problem, redact=redact), use_bin_type=True)
    return data


def load_bytes(data: bytes, source: str = "problem") -> Problem:
    """Read the compact form; FormatError on anything else."""
    try:
        packed = msgpack.unpackb(data, raw=False, max_array_len=MAX_ITEMS, max_map_len=MAX_ITEMS, max_ext_len=0)
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise FormatError(source, "", f"not msgpack ({str(error)[:100] or type(error).__name__})") from None
    try:
        return decode_problem(packed)
    except ProblemError as error:
        raise FormatError(source, "", str(error)) from None


# --- encoding -------------------------------------------------------------------------------------------------------


def encode_problem(problem: Problem, *, redact: bool = False) -> Packed:
    """Return the problem as maps, lists, numbers, strings and bytes that msgpack can pack.

    With `redact`, private costs are left out, and everything in `extras` but the keys `privacy` and `preferences`.
    """
    redact = redact or bool(problem.extras.get("redacted"))
    tables = _Tables()
    domains: dict[int, int] = {}
    packed_domains: list[Any] = []
    variables: list[Any] = []
    for v in problem.variables.values():
        if id(v.domain) not in domains:
            domains[id(v.domain)] = len(packed_domains)
            packed_domains.append([v.domain.name, list(v.domain.values), v.domain.kind])
        unary = None if v.unary is None else tables.add(_zeros([v.size]) if redact else v.unary)
        variables.append([v.name, domains[id(v.domain)], v.agent, unary, v.initial, _pair(v.cost_range), v.role])
    constraints: list[Any] = []
    for c in problem.constraints.values():
        table = None if redact and c.known_to != "all" else tables.add(c.table)
        known_to = c.known_to if isinstance(c.known_to, str) else list(c.known_to)
        constraints.append([c.name, list(c.scope), table, c.owner, known_to, _pair(c.cost_range)])
    extras = dict(problem.extras)
    if redact:
        extras = {k: v for k, v in extras.items() if k in ("privacy", "preferences")}
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": problem.name,
        "objective": problem.objective,
        "constant": problem.constant,
        "agents": list(problem.agents),
        "domains": packed_domains,
        "variables": variables,
        "constraints": constraints,
        "tables": tables.packed,
        "extras": extras,
        "redacted": redact,
    }


def _pair(bounds: tuple[Cost, Cost] | None) -> list[Cost] | None:
    return None if bounds is None else list(bounds)


class _Tables:
    """Tables by content, so that a relation which many constraints share is stored once."""

    def __init__(self) -> None:
        self.packed: list[Packed] = []
        self._by_content: dict[tuple[str, tuple[int, ...], bytes], int] = {}

    def add(self, table: Table) -> int:
        small = _shrink(table)
        key = (small.dtype.str, small.shape, small.tobytes())
        if key not in self._by_content:
            self._by_content[key] = len(self.packed)
            self.packed.append({"dtype": _code(small.dtype), "shape": list(small.shape), "data": key[2]})
        return self._by_content[key]


def _code(dtype: np.dtype[Any]) -> str:
    return dtype.newbyteorder("<").str.replace("|", "<")


def _shrink(table: Table) -> Table:
    """Return the table in the smallest little-endian type that holds exactly its numbers."""
    if table.dtype.kind == "i":
        low, high = int(table.min()), int(table.max())
        for n_bytes in (1, 2, 4):
            limit = 1 << (8 * n_bytes - 1)
            if -limit <= low and high < limit:
                return table.astype(f"<i{n_bytes}")
        return table.astype("<i8")
    with np.errstate(over="ignore"):
        single = table.astype("<f4")
    return single if bool((single == table).all()) else table.astype("<f8")


# --- decoding -------------------------------------------------------------------------------------------------------


def decode_problem(packed: object) -> Problem:
    """Return the problem that `encode_problem` packed; ProblemError on anything else, before it costs memory."""
    top = _map(packed, "the problem")
    if top.get("format") != FORMAT:
        raise ProblemError(f"not a packed problem (format {str(top.get('format'))[:40]!r})")
    if top.get("version") != VERSION:
        raise ProblemError(f"packed problem of version {str(top.get('version'))[:40]}, this reads version {VERSION}")
    redacted = _get(top, "redacted", bool)
    budget = Budget()
    tables = [_table(t, f"table {i}", budget) for i, t in enumerate(_get(top, "tables", list))]
    domains = [_domain(d, budget) for d in _get(top, "domains", list)]
    used = Budget()
    variables = [_variable(v, domains, tables, used) for v in _get(top, "variables", list)]
    sizes = {v.name: v.size for v in variables}
    constraints = [_constraint(c, sizes, tables, redacted, used) for c in _get(top, "constraints", list)]
    objective = _get(top, "objective", str)
    if objective not in ("min", "max"):
        raise ProblemError(f"objective {objective[:40]!r}: must be min or max")
    extras = dict(_map(_get(top, "extras", dict), "extras"))
    if too_deep(extras):
        raise ProblemError(f"extras: nested deeper than {MAX_DEPTH} levels")
    if redacted:
        extras["redacted"] = True
    by_name = {v.name: v for v in variables}
    if len(by_name) != len(variables):
        raise ProblemError("a variable is defined twice")
    kept = {c.name: c for c in constraints}
    if len(kept) != len(constraints):
        raise ProblemError("a constraint is defined twice")
    agents = tuple(_string(a, "agents") for a in _get(top, "agents", list))
    # Not `Problem.build`: what was kept apart as a constraint stays one.
    return Problem(
        _get(top, "name", str), objective, by_name, kept, agents, _cost(top.get("constant"), "constant"), extras
    )


def _map(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
        raise ProblemError(f"{where}: not a map with text keys")
    return value


def _get(top: Mapping[str, Any], key: str, kind: type) -> Any:  # noqa: ANN401  # checked against `kind`
    if not isinstance(top.get(key), kind):
        raise ProblemError(f"{key}: missing, or not of type {kind.__name__}")
    return top[key]


def _row(value: object, length: int, where: str) -> list[Any]:
    if not isinstance(value, list) or len(value) != length:
        raise ProblemError(f"{where}: not a list of {length} fields")
    return value


def _string(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise ProblemError(f"{where}: not a string")
    return value


def _cost(value: object, where: str) -> Cost:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ProblemError(f"{where}: not a finite number")
    return value


def _index(value: object, length: int, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < length:
        raise ProblemError(f"{where}: {str(value)[:40]} is not in 0..{length - 1}")
    return value


def _table(value: object, where: str, budget: Budget) -> Table:
    packed = _map(value, where)
    dtype = _get(packed, "dtype", str)
    if dtype not in _DTYPES:
        raise ProblemError(f"{where}: dtype {dtype[:20]!r} is not one of {', '.join(_DTYPES)}")
    shape = _get(packed, "shape", list)
    if not 1 <= len(shape) <= MAX_AXES:
        raise ProblemError(f"{where}: {len(shape)} axes, allowed are 1 to {MAX_AXES}")
    sizes = [_index(s, MAX_DOMAIN_VALUES + 1, where) for s in shape]
    data = _get(packed, "data", bytes)
    n_bytes = budget.cells(where, sizes) * int(dtype[2])
    if n_bytes != len(data):
        raise ProblemError(f"{where}: {len(data)} bytes for a table of {n_bytes}")
    with np.errstate(invalid="ignore"):  # some NaNs make numpy warn when they are widened, before they are refused
        return as_table(np.frombuffer(data, dtype=dtype).reshape(sizes), where)


def _zeros(sizes: list[int]) -> Table:
    table: Table = np.zeros(sizes, dtype=np.int64)
    table.flags.writeable = False
    return table


def _domain(value: object, budget: Budget) -> Domain:
    name, values, kind = _row(value, 3, "a domain")
    where = f"domain {_string(name, 'a domain')}"
    if not isinstance(values, list):
        raise ProblemError(f"{where}: its values are not a list")
    budget.values(where, len(values))
    for v in values:
        if not isinstance(v, bool | int | float | str) or (isinstance(v, float) and not math.isfinite(v)):
            raise ProblemError(f"{where}: {str(v)[:40]!r} is not a value")
    checked: tuple[Value, ...] = tuple(values)
    return Domain(name, checked, _string(kind, where))


def _range(value: object, where: str) -> tuple[Cost, Cost] | None:
    if value is None:
        return None
    low, high = (_cost(x, where) for x in _row(value, 2, where))
    if low > high:
        raise ProblemError(f"{where}: cost_range [{low}, {high}] is empty")
    return low, high


def _variable(value: object, domains: list[Domain], tables: list[Table], used: Budget) -> Variable:
    name, domain, agent, unary, initial, bounds, role = _row(value, 7, "a variable")
    where = f"variable {_string(name, 'a variable')}"
    own = domains[_index(domain, len(domains), f"{where}: domain")]
    costs: Table | None = None
    if unary is not None:
        used.cells(where, [len(own)])  # a table that many share is read once for each
        costs = tables[_index(unary, len(tables), f"{where}: table")]
    return Variable(
        name,
        own,
        _string(agent, where),
        costs,
        None if initial is None else _index(initial, len(own), f"{where}: initial value"),
        _range(bounds, where),
        _string(role, where),
    )


def _constraint(
    value: object, sizes: Mapping[str, int], tables: list[Table], redacted: bool, used: Budget
) -> Constraint:
    name, scope, table, owner, known_to, bounds = _row(value, 6, "a constraint")
    where = f"constraint {_string(name, 'a constraint')}"
    if not isinstance(scope, list) or len(scope) > MAX_AXES:
        raise ProblemError(f"{where}: its scope is not a list of at most {MAX_AXES} names")
    for v in scope:
        if _string(v, where) not in sizes:
            raise ProblemError(f"{where}: unknown variable {v[:40]}")
    shape = [sizes[v] for v in scope]
    used.cells(where, shape)
    if table is not None:
        costs = tables[_index(table, len(tables), f"{where}: table")]
    elif redacted:
        costs = _zeros(shape)
    else:
        raise ProblemError(f"{where}: has no table")
    knows: KnownTo
    if isinstance(known_to, list):
        knows = tuple(_string(a, where) for a in known_to)
    elif known_to in ("scope", "all"):
        knows = "all" if known_to == "all" else "scope"
    else:
        raise ProblemError(f"{where}: known_to is neither scope, all nor a list of agents")
    return Constraint(
        name, tuple(scope), costs, None if owner is None else _string(owner, where), knows, _range(bounds, where)
    )
