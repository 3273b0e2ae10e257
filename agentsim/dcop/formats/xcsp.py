"""XCSP 2.1 in FRODO's dialect: the reader.

Parsed by expat with entity declarations refused. Count attributes are checked, never trusted. A relation may serve
several constraints: one table is built per relation and domains, and shared. `agent` on a constraint makes that agent
its owner, the only one that can evaluate it; `PUBLIC` lets everybody. Under `maximize` the costs are utilities and
`-infinity` forbids.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from agentsim.dcop.formats.limits import MAX_AXES, MAX_DOMAIN_VALUES, MAX_ELEMENTS, MAX_XML_DEPTH
from agentsim.dcop.formats.tuples import Budget, cost_array, fill
from agentsim.dcop.problem import Constraint, Cost, Domain, KnownTo, Problem, Table, Value, Variable, as_table
from agentsim.errors import FormatError

PUBLIC: Final = "PUBLIC"
"""The `agent` of a constraint that everybody knows."""

_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,18}")
_DECIMAL: Final = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_INTERVAL: Final = re.compile(r"([-+]?[0-9]{1,18})\.\.([-+]?[0-9]{1,18})")
_SECTIONS: Final = {
    "agents": "agent",
    "domains": "domain",
    "variables": "variable",
    "relations": "relation",
    "constraints": "constraint",
}
_COUNTS: Final = {section: f"nb{section.capitalize()}" for section in _SECTIONS}


@dataclass(slots=True)
class _Element:
    tag: str
    attributes: dict[str, str]
    line: int
    text: list[str] = field(default_factory=list)
    children: list[_Element] = field(default_factory=list)


class _Refused(Exception):
    """Raised inside expat's handlers: (line, cause)."""


def _parse_xml(data: bytes, source: str) -> _Element:
    parser = expat.ParserCreate()
    parser.buffer_text = True
    stack: list[_Element] = []
    roots: list[_Element] = []
    n_elements = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal n_elements
        n_elements += 1
        line = parser.CurrentLineNumber
        if n_elements > MAX_ELEMENTS:
            raise _Refused(line, f"more than {MAX_ELEMENTS} elements")
        if len(stack) >= MAX_XML_DEPTH:
            raise _Refused(line, f"nested deeper than {MAX_XML_DEPTH} levels")
        element = _Element(tag, attributes, line)
        (stack[-1].children if stack else roots).append(element)
        stack.append(element)

    def end(tag: str) -> None:
        stack.pop()

    def characters(text: str) -> None:
        stack[-1].text.append(text)

    def refuse(*args: object) -> NoReturn:
        raise _Refused(parser.CurrentLineNumber, "entities and external document types are not allowed")

    def doctype(name: str, system_id: str | None, public_id: str | None, has_subset: int) -> None:
        if system_id or public_id or has_subset:
            refuse()

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = doctype
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    parser.UnparsedEntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except _Refused as error:
        line, cause = error.args
        raise FormatError(source, f"line {line}", cause) from None
    except expat.ExpatError as error:
        raise FormatError(source, f"line {error.lineno}", f"not XML: {expat.errors.messages[error.code]}") from None
    except (ValueError, LookupError) as error:  # an encoding that does not exist or does not fit
        raise FormatError(source, "", f"not XML: {error}") from None
    return roots[0]


@dataclass(slots=True)
class _Relation:
    """A relation's tuples, and the tables made of them so far, by the domains of a scope."""

    element: _Element
    arity: int
    columns: list[list[Value]]
    costs: NDArray[Any]
    default: Cost | None
    tables: dict[tuple[str, ...], Table] = field(default_factory=dict)


def read(data: bytes, source: str) -> Problem:
    """Read a problem."""
    return _Reader(_parse_xml(data, source), source).problem()


class _Reader:
    def __init__(self, root: _Element, source: str) -> None:
        self._source = source
        self._root = root
        self._budget = Budget()
        self._maximize = False
        self._relations: dict[str, _Relation] = {}

    def problem(self) -> Problem:
        if self._root.tag != "instance":
            self._fail(self._root, f"the root element is <{self._root.tag}>, not <instance>")
        sections = self._sections()
        extras: dict[str, Any] = {}
        name = "problem"
        if "presentation" in sections:
            presentation = sections["presentation"]
            name = presentation.attributes.get("name", name)
            self._maximize = self._boolean(presentation, "maximize")
            stats = {c.attributes.get("name", ""): "".join(c.text) for c in presentation.children if c.tag == "stats"}
            if stats:
                extras["stats"] = stats
        for required in ("domains", "variables"):
            if required not in sections:
                self._fail(self._root, f"has no <{required}>")
        agents = self._named(sections, "agents")
        domains = {n: self._domain(n, e) for n, e in self._named(sections, "domains").items()}
        variables = {n: self._variable(n, e, domains, agents) for n, e in self._named(sections, "variables").items()}
        self._relations = {n: self._relation(n, e) for n, e in self._named(sections, "relations").items()}
        constraints = [
            self._constraint(n, e, variables, agents) for n, e in self._named(sections, "constraints").items()
        ]
        return Problem.build(
            variables.values(),
            constraints,
            name=name,
            objective="max" if self._maximize else "min",
            agents=tuple(agents),
            extras=extras,
        )

    # --- structure --------------------------------------------------------------------------------------------------

    def _fail(self, element: _Element, cause: str) -> NoReturn:
        name = element.attributes.get("name")
        what = f"<{element.tag}>" if name is None else f"{element.tag} {name[:60]}"
        raise FormatError(self._source, f"line {element.line}: {what}", cause)

    def _sections(self) -> dict[str, _Element]:
        sections: dict[str, _Element] = {}
        for child in self._root.children:
            if child.tag in sections:
                self._fail(child, "occurs twice")
            if child.tag in ("predicates", "functions"):
                self._fail(child, "intensional relations are not supported: list the tuples")
            if child.tag not in _SECTIONS and child.tag != "presentation":
                self._fail(child, "unknown element")
            sections[child.tag] = child
        return sections

    def _named(self, sections: Mapping[str, _Element], section: str) -> dict[str, _Element]:
        if section not in sections:
            return {}
        parent = sections[section]
        result: dict[str, _Element] = {}
        for child in parent.children:
            if child.tag != _SECTIONS[section]:
                self._fail(child, f"does not belong in <{section}>")
            name = self._attribute(child, "name")
            if name in result:
                self._fail(child, "defined twice")
            result[name] = child
        self._check_count(parent, _COUNTS[section], len(result))
        return result

    def _attribute(self, element: _Element, key: str) -> str:
        value = element.attributes.get(key, "").strip()
        if not value:
            self._fail(element, f"has no {key}")
        return value

    def _boolean(self, element: _Element, key: str) -> bool:
        text = element.attributes.get(key, "false").strip().lower()
        if text not in ("true", "false"):
            self._fail(element, f"{key} must be true or false, not {text[:60]!r}")
        return text == "true"

    def _check_count(self, element: _Element, key: str, found: int) -> None:
        text = element.attributes.get(key)
        if text is not None and (_INTEGER.fullmatch(text.strip()) is None or int(text) != found):
            self._fail(element, f"{key} is {text[:60]!r}, but there are {found}")

    # --- domains and variables --------------------------------------------------------------------------------------

    def _domain(self, name: str, element: _Element) -> Domain:
        values: list[Value] = []
        for word in "".join(element.text).split():
            interval = _INTERVAL.fullmatch(word)
            if interval is None:
                self._budget.values(f"domain {name}", 1)
                values.append(self._value(word, element))
                continue
            low, high = int(interval[1]), int(interval[2])
            if high < low or high - low >= MAX_DOMAIN_VALUES:
                self._fail(element, f"the interval {word} is empty or has more than {MAX_DOMAIN_VALUES} values")
            self._budget.values(f"domain {name}", high - low + 1)
            values.extend(range(low, high + 1))
        self._check_count(element, "nbValues", len(values))
        return Domain(name, tuple(values))

    def _value(self, word: str, element: _Element) -> Value:
        if _INTEGER.fullmatch(word):
            return int(word)
        if _DECIMAL.fullmatch(word) and math.isfinite(float(word)):
            return float(word)
        self._fail(element, f"{word[:60]!r} is not a number")

    def _variable(
        self, name: str, element: _Element, domains: Mapping[str, Domain], agents: Mapping[str, _Element]
    ) -> Variable:
        if element.attributes.get("type", "").strip() == "random":
            self._fail(element, "is a random variable, which no agent controls: not supported")
        domain = self._attribute(element, "domain")
        if domain not in domains:
            self._fail(element, f"unknown domain {domain[:60]!r}")
        agent = element.attributes.get("agent", "").strip()
        if agent and agents and agent not in agents:
            self._fail(element, f"unknown agent {agent[:60]!r}")
        if not agent and name in agents:
            self._fail(element, "belongs to no agent, and an agent of its name exists")
        return Variable(name, domains[domain], agent)

    # --- relations and constraints ----------------------------------------------------------------------------------

    def _relation(self, name: str, element: _Element) -> _Relation:
        arity = self._arity(element)
        semantics = element.attributes.get("semantics", "soft").strip()
        forbidden = -math.inf if self._maximize else math.inf
        cost: Cost | None = None
        if semantics == "soft":
            text = element.attributes.get("defaultCost")
            default = None if text is None else self._cost(text, element)
        elif semantics == "supports":
            cost, default = 0, forbidden
        elif semantics == "conflicts":
            cost, default = forbidden, 0
        else:
            self._fail(element, f"semantics {semantics[:60]!r} is not supported")
        text = "".join(element.text)
        costs: list[Cost] = []
        words: list[str] = []
        for segment in text.split("|") if text.strip() else ():
            head, colon, rest = segment.rpartition(":")
            if colon:
                if semantics != "soft":
                    self._fail(element, f"a cost in a relation of semantics {semantics}")
                cost = self._cost(head, element)
            if cost is None:
                self._fail(element, "the first tuple has no cost")
            tuple_words = rest.split()
            if len(tuple_words) != arity:
                self._fail(element, f"a tuple of {len(tuple_words)} values for arity {arity}")
            costs.append(cost)
            words.extend(tuple_words)
        self._check_count(element, "nbTuples", len(costs))
        known = {w: self._value(w, element) for w in set(words)}
        columns = [[known[w] for w in words[k::arity]] for k in range(arity)]
        return _Relation(element, arity, columns, cost_array(costs), default)

    def _arity(self, element: _Element) -> int:
        text = self._attribute(element, "arity")
        if _INTEGER.fullmatch(text) is None or not 1 <= int(text) <= MAX_AXES:
            self._fail(element, f"arity {text[:60]!r} is not a number from 1 to {MAX_AXES}")
        return int(text)

    def _cost(self, text: str, element: _Element) -> Cost:
        word = text.strip()
        if _INTEGER.fullmatch(word):
            return int(word)
        if word in ("infinity", "+infinity"):
            return math.inf
        if word == "-infinity":
            return -math.inf
        if _DECIMAL.fullmatch(word) and math.isfinite(float(word)):
            return float(word)
        self._fail(element, f"the cost {word[:60]!r} is not a number")

    def _constraint(
        self, name: str, element: _Element, variables: Mapping[str, Variable], agents: Mapping[str, _Element]
    ) -> Constraint:
        reference = self._attribute(element, "reference")
        if reference.startswith("global:"):
            self._fail(element, f"the global constraint {reference[:60]!r} is not supported: list its tuples")
        relation = self._relations.get(reference)
        if relation is None:
            self._fail(element, f"unknown relation {reference[:60]!r}")
        scope = self._attribute(element, "scope").split()
        for variable in scope:
            if variable not in variables:
                self._fail(element, f"unknown variable {variable[:60]!r}")
        if len(set(scope)) != len(scope):
            self._fail(element, "a variable occurs twice in its scope")
        if len(scope) != relation.arity:
            self._fail(element, f"{len(scope)} variables for relation {reference} of arity {relation.arity}")
        self._check_count(element, "arity", len(scope))
        agent = element.attributes.get("agent", "").strip()
        owner: str | None = None
        known_to: KnownTo = "scope"
        if agent == PUBLIC:
            known_to = "all"
        elif agent:
            if agent not in agents:
                self._fail(element, f"unknown agent {agent[:60]!r}")
            owner = agent
        table = self._table(relation, [variables[v].domain for v in scope], element)
        return Constraint(name, tuple(scope), table, owner, known_to)

    def _table(self, relation: _Relation, domains: Sequence[Domain], element: _Element) -> Table:
        key = tuple(d.name for d in domains)
        sizes = [len(d) for d in domains]
        cells = self._budget.cells(f"constraint {element.attributes.get('name')}", sizes)
        if key in relation.tables:
            return relation.tables[key]
        self._budget.cells(f"constraint {element.attributes.get('name')}", [len(relation.costs)])
        flat = np.zeros(len(relation.costs), dtype=np.intp)
        inside = np.ones(len(relation.costs), dtype=np.bool_)
        for domain, column in zip(domains, relation.columns, strict=True):
            place = {value: i for i, value in enumerate(domain.values)}
            index = np.array([place.get(value, -1) for value in column], dtype=np.intp)
            inside &= index >= 0
            flat = flat * len(domain) + index
        # FRODO's own generator lists tuples that the scope's domains cannot take: they say nothing.
        where = f"line {relation.element.line}: relation {relation.element.attributes['name']}"
        table = fill(where, cells, flat[inside], relation.costs[inside], relation.default)
        relation.tables[key] = as_table(table.reshape(sizes), where)
        return relation.tables[key]
