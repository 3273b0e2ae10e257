"""pyDCOP's YAML: the writer.

Tables become extensional constraints, so that costs come back exactly. What pyDCOP has no word for is written under
keys of ours that it ignores and our reader understands; the notes say which.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, Final

import numpy as np
import yaml

from agentsim.dcop.problem import Constraint, Cost, Domain, Problem, Table, Value, Variable
from agentsim.errors import UserError

_DEFAULT_CELLS: Final = 64
"""Larger tables leave their most frequent cost to `default`."""
_SECTIONS: Final = frozenset(("domains", "variables", "constraints"))
_SKIPPED: Final = frozenset((*_SECTIONS, "agents", "distribution_hints", "external_variables", "redacted"))


def write(problem: Problem) -> tuple[Iterator[str], list[str]]:
    """Return the text in pieces, and sentences on what pyDCOP does not understand in it.

    Raises:
        UserError: a domain has two values that pyDCOP cannot tell apart.
    """
    words = {name: _words(v.domain) for name, v in problem.variables.items()}
    names = _domain_names(problem)
    notes = list(_notes(problem))
    return _pieces(problem, words, names), notes


def _words(domain: Domain) -> list[str]:
    """Return the word that stands for each value in the strings of extensional constraints."""
    words = []
    for value in domain.values:
        word = str(value)
        if not word or any(c.isspace() or c in "|'\"" for c in word):
            if ("'" in word and '"' in word) or "\n" in word or "\r" in word:
                raise UserError(f"domain {domain.name}: pyDCOP's format cannot quote the value {word[:60]!r}")
            word = f'"{word}"' if "'" in word else f"'{word}'"
        words.append(word)
    if len(set(words)) != len(words):
        raise UserError(f"domain {domain.name}: pyDCOP's format cannot tell two of its values apart")
    return words


def _domain_names(problem: Problem) -> dict[int, str]:
    """Name each distinct domain object, apart from others of the same name but other values."""
    names: dict[int, str] = {}
    taken: dict[str, Domain] = {}
    for v in problem.variables.values():
        if id(v.domain) in names:
            continue
        name = v.domain.name
        while name in taken and (taken[name].values, taken[name].kind) != (v.domain.values, v.domain.kind):
            name += "_"
        taken[name] = v.domain
        names[id(v.domain)] = name
    return names


def _notes(problem: Problem) -> Iterator[str]:
    if any(c.owner is not None or c.known_to != "scope" for c in problem.constraints.values()):
        yield "pyDCOP ignores `owner` and `known_to`: to it, a constraint is known to the owners of its variables."
    if problem.constant:
        yield f"pyDCOP ignores `constant`: its costs are {problem.constant} lower."
    ranges = [v.cost_range for v in problem.variables.values()] + [c.cost_range for c in problem.constraints.values()]
    if any(r is not None for r in ranges):
        yield "pyDCOP ignores `cost_range`, the declared range of costs."
    if any(v.role for v in problem.variables.values()):
        yield "pyDCOP ignores `role`, which marks copies of a variable."
    if any(v.unary is not None for v in problem.variables.values()):
        yield "Unary costs, with any noise drawn for them, are written as constraints of one variable."
    for domain in {id(v.domain): v.domain for v in problem.variables.values()}.values():
        if all(isinstance(x, str) for x in domain.values) and _reads_as_numbers(domain):
            yield f"Domain {domain.name}: its strings will be read back as whole numbers."
    if problem.extras.get("privacy") is not None:
        yield "pyDCOP ignores `privacy`, what lost privacy costs."
    if problem.extras.get("external_variables"):
        yield "External variables were frozen at their initial values and are left out."
    if problem.extras.get("redacted"):
        yield "The problem is redacted: the private costs are missing, and zero stands in their place."


def _reads_as_numbers(domain: Domain) -> bool:
    texts = [str(v).strip() for v in domain.values]
    if len(texts) == 1 and ".." in texts[0]:
        return True
    return all(t.lstrip("+-").isdigit() for t in texts)


def _pieces(problem: Problem, words: Mapping[str, list[str]], names: Mapping[int, str]) -> Iterator[str]:
    extras = problem.extras
    yield _dump({"name": problem.name, "objective": problem.objective})
    if "description" in extras:
        yield _dump({"description": extras["description"]})
    if problem.constant:
        yield _dump({"constant": problem.constant})
    yield _dump({"domains": _domains(problem, names)})
    kept = extras.get("variables", {})
    yield _dump({"variables": {v.name: _variable(v, names, kept) for v in problem.variables.values()}})
    yield "constraints:\n"
    for c in _all_constraints(problem):
        columns = [words[v] for v in c.scope]
        body = {c.name: _constraint(c, columns) | extras.get("constraints", {}).get(c.name, {})}
        yield "".join(f"  {line}\n" for line in _dump(body).rstrip("\n").split("\n"))
    if not problem.constraints and all(v.unary is None for v in problem.variables.values()):
        yield "  {}\n"
    agents, hints = _placement(problem)
    yield _dump({"agents": agents})
    if hints:
        yield _dump({"distribution_hints": hints})
    rest = {k: v for k, v in extras.items() if k not in _SKIPPED and k != "description"}
    if rest:
        yield _dump(rest)


def _dump(data: Mapping[str, Any]) -> str:
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    for readable in (True, False):
        text: str = yaml.dump(dict(data), Dumper=dumper, sort_keys=False, allow_unicode=readable, width=1 << 30)
        if text.replace("\n", "").isprintable():
            break  # else it is written again with escapes: some that cannot be seen are line ends to readers
    return text


def _domains(problem: Problem, names: Mapping[int, str]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for v in problem.variables.values():
        body: dict[str, Any] = {"values": [_plain(x) for x in v.domain.values]}
        if v.domain.kind:
            body["type"] = v.domain.kind
        name = names[id(v.domain)]
        result[name] = body | problem.extras.get("domains", {}).get(name, {})
    return result


def _plain(value: Value) -> Value:
    return value.item() if isinstance(value, np.generic) else value


def _variable(variable: Variable, names: Mapping[int, str], kept: Mapping[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"domain": names[id(variable.domain)]}
    if variable.initial is not None:
        body["initial_value"] = _plain(variable.domain.values[variable.initial])
    if variable.cost_range is not None:
        body["cost_range"] = list(variable.cost_range)
    if variable.role:
        body["role"] = variable.role
    rest: dict[str, Any] = kept.get(variable.name, {})
    return body | rest


def _all_constraints(problem: Problem) -> Iterator[Constraint]:
    for v in problem.variables.values():
        if v.unary is not None:
            name = f"cost_{v.name}"
            while name in problem.constraints:
                name += "_"
            yield Constraint(name, (v.name,), v.unary)
    yield from problem.constraints.values()


def _constraint(constraint: Constraint, columns: list[list[str]]) -> dict[str, Any]:
    body: dict[str, Any] = {"type": "extensional", "variables": list(constraint.scope)}
    if constraint.owner is not None:
        body["owner"] = constraint.owner
    elif constraint.known_to != "scope":
        body["known_to"] = constraint.known_to if constraint.known_to == "all" else list(constraint.known_to)
    if constraint.cost_range is not None:
        body["cost_range"] = list(constraint.cost_range)
    return body | _values(constraint.table, columns)


def _values(table: Table, columns: list[list[str]]) -> dict[str, Any]:
    flat = table.ravel()
    costs, inverse, counts = np.unique(flat, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    ends = np.cumsum(counts)
    default = int(np.argmax(counts)) if flat.size > _DEFAULT_CELLS and 2 * int(counts.max()) > flat.size else -1
    tuples = None if default >= 0 else [" ".join(t) for t in product(*columns)]
    values: dict[Cost, str] = {}
    body: dict[str, Any] = {}
    for k, cost in enumerate(costs.tolist()):
        number = int(cost) if math.isfinite(cost) and cost == int(cost) else cost
        if k == default:
            body["default"] = number
            continue
        cells = order[ends[k] - counts[k] : ends[k]]
        if tuples is not None:
            values[number] = " | ".join([tuples[i] for i in cells.tolist()])
        else:
            rows = zip(*(axis.tolist() for axis in np.unravel_index(cells, table.shape)), strict=True)
            values[number] = " | ".join([" ".join([c[i] for c, i in zip(columns, row, strict=True)]) for row in rows])
    return body | {"values": values}


def _placement(problem: Problem) -> tuple[dict[str, Any] | list[Any], dict[str, Any]]:
    """Return the agents and the hints that place every variable where it is."""
    hosted: dict[str, list[str]] = {}
    for v in problem.variables.values():
        hosted.setdefault(v.agent, []).append(v.name)
    must_host = {agent: names for agent, names in hosted.items() if names != [agent]}
    hints = dict(problem.extras.get("distribution_hints") or {})
    old = hints.pop("must_host", None)
    for agent, names in (old or {}).items() if isinstance(old, dict) else ():
        listed = names if isinstance(names, list) else [names]
        constraints = [str(n) for n in listed if n is not None and str(n) not in problem.variables]
        constraints = [n for n in constraints if n in problem.constraints]
        if constraints:
            must_host.setdefault(agent, []).extend(constraints)
    if must_host:
        hints = {"must_host": must_host} | hints
    declared = problem.extras.get("agents")
    if not declared:
        return {a: {} for a in problem.agents}, hints
    if isinstance(declared, list):
        return [*declared, *(a for a in must_host if a not in map(str, declared))], hints
    return dict(declared) | {a: {} for a in must_host if a not in declared}, hints
