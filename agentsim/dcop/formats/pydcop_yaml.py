"""pyDCOP's YAML: the reader. Nothing in a file is executed; `source:` is refused.

A variable belongs to the agent that `distribution_hints.must_host` names for it, else to the one a distribution file
names, else to an agent of its own name. Agents of the file that then own nothing take no part; they are kept, like
every key that is not understood, for writing the file back. Noise is drawn from a stream keyed by seed and variable
name, so that one more variable does not shift another's draw.

Ours, ignored by pyDCOP: top level `cost_range`, `constant` and `privacy`; `cost_range` and `role` on a variable;
`owner`, `known_to` and `cost_range` on a constraint.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, Final, Literal

import numpy as np

from agentsim.dcop.expressions import parse
from agentsim.dcop.formats.limits import MAX_DOMAIN_VALUES
from agentsim.dcop.formats.tuples import Budget, cost_array, fill
from agentsim.dcop.formats.yaml_nodes import (
    Document,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    is_empty,
    number,
    shorten,
)
from agentsim.dcop.problem import Constraint, Cost, Domain, KnownTo, Problem, Table, Value, Variable, as_table
from agentsim.errors import FormatError

_RANGE: Final = re.compile(r"\s*\[?\s*([-+]?\d{1,18})\s*\.\.\s*([-+]?\d{1,18})\s*\]?\s*")
_TOKEN: Final = re.compile(r"'([^']*)'|\"([^\"]*)\"|([^\s|'\"][^\s|]*)|(\|)|(\S)")
_MAX_CACHED_CELLS: Final = 2_000_000


def read(text: str, source: str, seed: int = 0, distribution: tuple[str, str] | None = None) -> Problem:
    """Read a problem; `distribution` is the text and the name of a separate distribution file."""
    return _Reader(Document(text, source), seed).problem(distribution)


def noise(seed: int, variable: str, level: float, size: int) -> Table:
    """Draw the noise of one variable, uniform in [0, level): same seed and name, same draw."""
    key = hashlib.sha256(b"noise\0" + variable.encode()).digest()
    stream = np.random.SeedSequence(seed, spawn_key=np.frombuffer(key[:16], dtype="<u4").tolist())
    drawn: Table = np.random.Generator(np.random.PCG64(stream)).uniform(0.0, level, size)
    return drawn


class _DomainReader:
    """Domain values, and the words that stand for them in the strings of extensional constraints."""

    def __init__(self, doc: Document, budget: Budget) -> None:
        self._doc = doc
        self._budget = budget

    def read(self, name: str, node: Node) -> tuple[Domain, dict[str, int], dict[str, Any]]:
        """Return the domain, the index of each word, and the keys that are not understood."""
        doc, what = self._doc, f"domain {name}"
        keys = doc.mapping(node, what)
        if "values" not in keys:
            doc.fail(node, f"{what}: has no values")
        values, texts = self._values(keys["values"], what)
        kind = doc.text(keys["type"], what) if "type" in keys else ""
        domain = Domain(name, tuple(values), kind)
        words = {str(v): i for i, v in enumerate(values)}
        for i, text in enumerate(texts):
            words.setdefault(text, i)
        return domain, words, {k: doc.plain(v) for k, v in keys.items() if k not in ("values", "type")}

    def _values(self, node: Node, what: str) -> tuple[list[Value], list[str]]:
        doc = self._doc
        if isinstance(node, ScalarNode):
            return self._interval(node, what), []
        nodes = doc.sequence(node, what)
        if len(nodes) == 1 and isinstance(nodes[0], ScalarNode) and ".." in nodes[0].value:
            return self._interval(nodes[0], what), []
        self._budget.values(what, len(nodes))
        values = [doc.value(n, what) for n in nodes]
        if any(isinstance(v, float) and not math.isfinite(v) for v in values):
            doc.fail(node, f"{what}: a value is not finite")
        if all(isinstance(v, str) for v in values):
            numbers = [number(str(v)) if re.fullmatch(r"\s*[-+]?\d{1,18}\s*", str(v)) else None for v in values]
            if all(isinstance(n, int) for n in numbers):
                values = [n for n in numbers if n is not None]
        return values, [n.value for n in nodes]

    def _interval(self, node: Node, what: str) -> list[Value]:
        text = self._doc.text(node, what)
        found = _RANGE.fullmatch(text)
        if found is None:
            self._doc.fail(node, f"{what}: {shorten(text)} is neither a list nor a range [1 .. 10]")
        low, high = int(found[1]), int(found[2])
        if high < low or high - low >= MAX_DOMAIN_VALUES:
            self._doc.fail(
                node, f"{what}: the range {shorten(text)} is empty or has more than {MAX_DOMAIN_VALUES} values"
            )
        self._budget.values(what, high - low + 1)
        return list(range(low, high + 1))


class _Reader:
    def __init__(self, doc: Document, seed: int) -> None:
        self._doc = doc
        self._seed = seed
        self._budget = Budget()
        self._top = doc.mapping(doc.root, "the file")
        self._extras: dict[str, Any] = {}
        self._domains: dict[str, Domain] = {}
        self._words: dict[str, dict[str, int]] = {}
        self._places: dict[str, dict[Value, int]] = {}
        self._signature: dict[str, int] = {}
        self._signatures: dict[tuple[str, ...], int] = {}
        self._tuple_index: dict[tuple[int, ...], dict[str, int]] = {}
        self._cached_cells = 0
        self._domain_of: dict[str, Domain] = {}
        self._frozen: dict[str, Value] = {}
        self._owner: dict[str, str] = {}
        self._unary: dict[str, Table] = {}
        self._constant: Cost = 0
        self._constraint_names: Mapping[str, Node] = {}

    def problem(self, distribution: tuple[str, str] | None) -> Problem:
        doc, top = self._doc, self._top
        objective = self._objective()
        if "variables" not in top:
            doc.fail(doc.root, "has no variables")
        self._read_domains()
        nodes = doc.mapping(top["variables"], "variables")
        fields = {name: doc.mapping(node, f"variable {name}") for name, node in nodes.items()}
        for name, keys in fields.items():
            self._domain_of[name] = self._domain(name, keys, nodes[name])
        self._read_externals()
        if "constraints" in top:
            self._constraint_names = doc.mapping(top["constraints"], "constraints")
        self._place(distribution)
        if "constant" in top:
            self._constant = doc.number(top["constant"], "constant")
        for name, keys in fields.items():
            self._read_unary(name, keys)
        constraints = [c for n, node in self._constraint_names.items() if (c := self._constraint(n, node)) is not None]
        common = doc_range(doc, top["cost_range"], "cost_range") if "cost_range" in top else None
        variables = [self._variable(name, keys, common) for name, keys in fields.items()]
        name = doc.text(top["name"], "name") if "name" in top else "problem"
        self._keep("", top, _TOP)
        return Problem.build(
            variables,
            constraints,
            name=name,
            objective=objective,
            constant=self._constant,
            extras=self._extras,
        )

    def _objective(self) -> Literal["min", "max"]:
        if "objective" not in self._top:
            return "min"
        text = self._doc.text(self._top["objective"], "objective")
        if text == "min":
            return "min"
        if text == "max":
            return "max"
        self._doc.fail(self._top["objective"], f"objective {shorten(text)}: must be min or max")

    def _keep(self, section: str, keys: Mapping[str, Node], known: frozenset[str], name: str = "") -> None:
        if keys.keys() <= known:
            return
        kept = {k: self._doc.plain(v) for k, v in keys.items() if k not in known}
        if section:
            self._extras.setdefault(section, {})[name] = kept
        else:
            self._extras.update(kept)

    # --- domains, variables, owners ---------------------------------------------------------------------------------

    def _read_domains(self) -> None:
        if "domains" not in self._top:
            self._doc.fail(self._doc.root, "has no domains")
        reader = _DomainReader(self._doc, self._budget)
        for name, node in self._doc.mapping(self._top["domains"], "domains").items():
            domain, words, rest = reader.read(name, node)
            self._domains[name] = domain
            self._words[name] = words
            canonical = tuple(str(v) for v in domain.values)
            self._signature[name] = self._signatures.setdefault(canonical, len(self._signatures))
            if rest:
                self._extras.setdefault("domains", {})[name] = rest

    def _domain(self, name: str, keys: Mapping[str, Node], node: Node) -> Domain:
        if "domain" not in keys:
            self._doc.fail(node, f"variable {name}: has no domain")
        domain = self._doc.text(keys["domain"], f"variable {name}")
        if domain not in self._domains:
            self._doc.fail(keys["domain"], f"variable {name}: unknown domain {shorten(domain)}")
        return self._domains[domain]

    def _read_externals(self) -> None:
        """External variables stand still: each is frozen at its initial value."""
        if "external_variables" not in self._top:
            return
        nodes = self._doc.mapping(self._top["external_variables"], "external_variables")
        for name, node in nodes.items():
            keys = self._doc.mapping(node, f"external variable {name}")
            if name in self._domain_of:
                self._doc.fail(node, f"external variable {name}: is a variable too")
            domain = self._domain(name, keys, node)
            if "initial_value" not in keys:
                self._doc.fail(node, f"external variable {name}: has no initial value to freeze it at")
            index = self._index(keys["initial_value"], domain, f"external variable {name}")
            self._frozen[name] = domain.values[index]
            self._domain_of[name] = domain

    def _index(self, node: Node, domain: Domain, what: str) -> int:
        text = self._doc.text(node, what)
        index = self._words[domain.name].get(text)
        if index is None:
            value = self._doc.value(node, what)
            if domain.name not in self._places:
                values = enumerate(domain.values)
                self._places[domain.name] = {v: i for i, v in values if type(v) is not bool}
            index = self._places[domain.name].get(value)
            if index is None:
                self._doc.fail(node, f"{what}: {shorten(text)} is not in domain {domain.name}")
        return index

    def _place(self, distribution: tuple[str, str] | None) -> None:
        doc, top = self._doc, self._top
        agents = self._declared_agents()
        if "distribution_hints" in top:
            hints = doc.mapping(top["distribution_hints"], "distribution_hints")
            if "must_host" in hints:
                self._host(doc, hints["must_host"], "must_host", agents)
        placed = set(self._owner)
        if "distribution" in top:
            self._host(doc, top["distribution"], "distribution", agents, placed)
        if distribution is not None:
            other = Document(*distribution)
            keys = other.mapping(other.root, "the distribution file")
            if "distribution" not in keys:
                other.fail(other.root, "has no `distribution`")
            self._host(other, keys["distribution"], "distribution", agents, placed)
        owners = set(self._owner.values())
        for name in self._domain_of:
            if name not in self._owner and name not in self._frozen and name in owners:
                raise FormatError(
                    doc.source,
                    f"variable {name}",
                    "nothing places it, and an agent of its name hosts other variables",
                )

    def _declared_agents(self) -> set[str]:
        if "agents" not in self._top:
            return set()
        node = self._top["agents"]
        if isinstance(node, SequenceNode):
            names = [self._doc.text(n, "agents") for n in node.value]
            if len(set(names)) != len(names):
                self._doc.fail(node, "agents: an agent is declared twice")
            return set(names)
        return set(self._doc.mapping(node, "agents"))

    def _host(
        self, doc: Document, node: Node, what: str, agents: set[str], already: set[str] | frozenset[str] = frozenset()
    ) -> None:
        for agent, hosted in doc.mapping(node, what).items():
            if agents and agent not in agents:
                doc.fail(node, f"{what}: unknown agent {shorten(agent)}")
            if is_empty(hosted):
                continue
            for item in doc.sequence(hosted, what) if isinstance(hosted, SequenceNode) else [hosted]:
                name = doc.text(item, what)
                if name not in self._domain_of:
                    if name not in self._constraint_names:
                        doc.fail(item, f"{what}: unknown variable {shorten(name)}")
                elif name not in already and self._owner.setdefault(name, agent) != agent:
                    doc.fail(item, f"{what}: {name} is hosted by both {self._owner[name]} and {agent}")

    def _read_unary(self, name: str, keys: Mapping[str, Node]) -> None:
        if "cost_function" not in keys:
            return
        what = f"variable {name}"
        node = keys["cost_function"]
        domain = self._domain_of[name]
        self._budget.cells(what, [len(domain)])
        costs = self._tabulate(self._doc.text(node, what), (name,), node, what)
        if "noise_level" in keys:
            level = self._doc.number(keys["noise_level"], what)
            if not 0 <= level < math.inf:
                self._doc.fail(keys["noise_level"], f"{what}: the noise level must be finite and not negative")
            if level > 0:
                costs = costs + noise(self._seed, name, float(level), len(domain))
        self._unary[name] = costs

    def _variable(self, name: str, keys: Mapping[str, Node], common: tuple[Cost, Cost] | None) -> Variable:
        doc, what = self._doc, f"variable {name}"
        domain = self._domain_of[name]
        initial = None
        if "initial_value" in keys and not is_empty(keys["initial_value"]):
            initial = self._index(keys["initial_value"], domain, what)
        bounds = doc_range(doc, keys["cost_range"], what) if "cost_range" in keys else common
        unary = self._unary.get(name)
        if unary is not None and bounds is not None:
            finite = unary[np.isfinite(unary)]
            if finite.size and (finite.min() < bounds[0] or finite.max() > bounds[1]):
                raise FormatError(doc.source, what, f"a unary cost is outside its declared cost_range {list(bounds)}")
        role = doc.text(keys["role"], what) if "role" in keys else ""
        if not keys.keys() <= _VARIABLE:
            self._keep("variables", keys, _VARIABLE, name)
        return Variable(name, domain, self._owner.get(name, name), unary, initial, bounds, role)

    # --- constraints ------------------------------------------------------------------------------------------------

    def _constraint(self, name: str, node: Node) -> Constraint | None:
        doc, what = self._doc, f"constraint {name}"
        keys = doc.mapping(node, what)
        kind = doc.text(keys["type"], what) if "type" in keys else ""
        if kind == "extensional":
            scope, table = self._extensional(keys, node, what)
        elif kind in ("intention", "intentional"):
            scope, table = self._intentional(keys, node, what)
        else:
            doc.fail(keys.get("type", node), f"{what}: type {shorten(kind)} must be intention or extensional")
        if not keys.keys() <= _CONSTRAINT:
            self._keep("constraints", keys, _CONSTRAINT, name)
        if self._frozen and any(v in self._frozen for v in scope):
            at = tuple(self._domain_of[v].index(self._frozen[v]) if v in self._frozen else slice(None) for v in scope)
            table = table[at]
            scope = tuple(v for v in scope if v not in self._frozen)
        if not scope:
            self._add_constant(table.item(), node, what)
            return None
        owner, known_to, bounds = None, _SCOPE, None
        if keys.keys() & _OURS:
            owner, known_to, bounds = self._ours(keys, what)
        if len(scope) == 1 and owner in (None, self._owner.get(scope[0], scope[0])) and known_to == "scope":
            costs = as_table(table, what)
            old = self._unary.get(scope[0])
            self._unary[scope[0]] = costs if old is None else old + costs
            return None
        return Constraint(name, scope, table, owner, known_to, bounds)

    def _add_constant(self, cost: Cost, node: Node, what: str) -> None:
        if not math.isfinite(cost):
            self._doc.fail(node, f"{what}: is forbidden whatever the variables are")
        self._constant += cost

    def _ours(self, keys: Mapping[str, Node], what: str) -> tuple[str | None, KnownTo, tuple[Cost, Cost] | None]:
        doc = self._doc
        owner = doc.text(keys["owner"], what) if "owner" in keys else None
        known_to: KnownTo = "scope"
        if "known_to" in keys:
            node = keys["known_to"]
            if isinstance(node, SequenceNode):
                known_to = tuple(doc.text(n, what) for n in node.value)
            elif doc.text(node, what) == "all":
                known_to = "all"
            elif node.value != "scope":
                doc.fail(node, f"{what}: known_to must be scope, all or a list of agents")
        return owner, known_to, doc_range(doc, keys["cost_range"], what) if "cost_range" in keys else None

    def _intentional(self, keys: Mapping[str, Node], node: Node, what: str) -> tuple[tuple[str, ...], Table]:
        doc = self._doc
        if "source" in keys:
            doc.fail(keys["source"], f"{what}: `source` names a Python file, which is code and is not run")
        if "function" not in keys:
            doc.fail(node, f"{what}: has no function")
        frozen: dict[str, Value] = {}
        if "partial" in keys:
            for name, value in doc.mapping(keys["partial"], what).items():
                domain = self._domain_of.get(name)
                frozen[name] = (
                    doc.value(value, what) if domain is None else domain.values[self._index(value, domain, what)]
                )
        at = keys["function"]
        return self._names_and_table(doc.text(at, what), at, what, frozen)

    def _names_and_table(
        self, text: str, node: Node, what: str, frozen: Mapping[str, Value]
    ) -> tuple[tuple[str, ...], Table]:
        doc = self._doc
        place = f"line {node.start_mark.line + 1}: {what}"
        expression = parse(text, doc.source, place)
        frozen = self._frozen | dict(frozen)
        scope = tuple(n for n in expression.names if n not in frozen)
        for name in scope:
            if name not in self._domain_of:
                raise FormatError(doc.source, place, f"unknown variable {shorten(name)}")
        domains = [self._domain_of[n].values for n in scope]
        self._budget.cells(what, [len(d) for d in domains])
        return scope, expression.tabulate(scope, domains, frozen, self._budget.work)

    def _tabulate(self, text: str, scope: tuple[str, ...], node: Node, what: str) -> Table:
        """Tabulate an expression over exactly these variables, whether it reads them or not."""
        place = f"line {node.start_mark.line + 1}: {what}"
        expression = parse(text, self._doc.source, place)
        domains = [self._domain_of[n].values for n in scope]
        return expression.tabulate(scope, domains, self._frozen, self._budget.work)

    def _extensional(self, keys: Mapping[str, Node], node: Node, what: str) -> tuple[tuple[str, ...], Table]:
        doc = self._doc
        if "variables" not in keys or ("values" not in keys and "default" not in keys):
            doc.fail(node, f"{what}: needs variables and values")
        at = keys["variables"]
        names = [doc.text(n, what) for n in at.value] if isinstance(at, SequenceNode) else doc.text(at, what).split()
        scope = tuple(names)
        for name in scope:
            if name not in self._domain_of:
                doc.fail(at, f"{what}: unknown variable {shorten(name)}")
        if not scope or len(set(scope)) != len(scope):
            doc.fail(at, f"{what}: its variables must be distinct, and one at least")
        domains = [self._domain_of[n] for n in scope]
        sizes = [len(d) for d in domains]
        cells = self._budget.cells(what, sizes)
        default = None
        if "default" in keys and not is_empty(keys["default"]):
            default = doc.number(keys["default"], what)
        costs: list[Cost] = []
        texts: list[str] = []
        values = keys.get("values")
        if values is not None and not is_empty(values):
            if not isinstance(values, MappingNode):
                doc.fail(values, f"{what}: values must map a cost to its tuples")
            for key, value in values.value:
                costs.append(doc.number(key, what))
                texts.append(value.value if type(value) is ScalarNode else doc.text(value, what))
            if len({k.value for k, _ in values.value}) != len(costs):
                doc.mapping(values, what)
        index, counts = self._tuples(texts, domains, cells, values or node, what)
        listed = np.repeat(cost_array(costs), counts)
        table = fill(f"line {node.start_mark.line + 1}: {what}", cells, index, listed, default)
        return scope, table.reshape(sizes)

    def _tuples(
        self, texts: Sequence[str], domains: Sequence[Domain], cells: int, node: Node, what: str
    ) -> tuple[Any, list[int]]:
        """Return the flat cell of every listed tuple, and how many tuples each text lists."""
        if not texts:
            return np.array([], dtype=np.intp), []
        known = self._known_tuples(domains, cells, texts)
        if known is not None:
            words = " | ".join(texts).split(" | ")
            try:
                found = [known[w] for w in words]
            except KeyError:
                pass  # other white space, quotes, or an unknown value: look closely
            else:
                return np.array(found, dtype=np.intp), [t.count("|") + 1 for t in texts]
        lookups = [self._words[d.name] for d in domains]
        sizes = [len(d) for d in domains]
        cellwise: list[int] = []
        counts: list[int] = []
        for (_, at), text in zip(node.value, texts, strict=True):
            before = len(cellwise)
            cellwise.extend(self._words_to_cells(text, lookups, sizes, at, what))
            counts.append(len(cellwise) - before)
        return np.array(cellwise, dtype=np.intp), counts

    def _known_tuples(self, domains: Sequence[Domain], cells: int, texts: Sequence[str]) -> dict[str, int] | None:
        """Return the cell of each tuple's text: one look-up a tuple, where the table is small enough to be worth it."""
        key = tuple([self._signature[d.name] for d in domains])
        known = self._tuple_index.get(key)
        if known is None:
            n_listed = sum(t.count("|") + 1 for t in texts)
            if cells > 4 * n_listed or self._cached_cells + cells > _MAX_CACHED_CELLS:
                return None
            words = [[str(v) for v in d.values] for d in domains]
            if any(not w or set(w) & _SPECIAL for column in words for w in column):
                return None
            known = dict(zip(map(" ".join, product(*words)), range(cells), strict=True))
            self._tuple_index[key] = known
            self._cached_cells += cells
        return known

    def _words_to_cells(
        self, text: str, lookups: Sequence[Mapping[str, int]], sizes: Sequence[int], node: Node, what: str
    ) -> list[int]:
        if not text.strip():
            return []
        cells = []
        cell = position = 0
        arity = len(lookups)
        for single, double, bare, bar, stray in [*_TOKEN.findall(text), ("", "", "", "|", "")]:
            if bar:
                if position != arity:
                    self._doc.fail(node, f"{what}: a tuple of {position} values for {arity} variables")
                cells.append(cell)
                cell = position = 0
                continue
            word = single or double or bare or stray
            if position >= arity:
                self._doc.fail(node, f"{what}: a tuple of more than {arity} values for {arity} variables")
            index = lookups[position].get(word)
            if index is None:
                self._doc.fail(node, f"{what}: value {shorten(word)} is not in the variable's domain")
            cell = cell * sizes[position] + index
            position += 1
        return cells


def doc_range(doc: Document, node: Node, what: str) -> tuple[Cost, Cost]:
    """Return a pair [least, greatest] of finite numbers."""
    pair = [doc.number(n, what) for n in doc.sequence(node, what)]
    if len(pair) != 2 or not pair[0] <= pair[1] or not all(map(math.isfinite, pair)):
        doc.fail(node, f"{what}: cost_range must be two finite numbers [least, greatest]")
    return pair[0], pair[1]


_SCOPE: Final[KnownTo] = "scope"
_SPECIAL: Final = frozenset(" \t\r\n|'\"")
_TOP: Final = frozenset(
    ("name", "objective", "domains", "variables", "constraints", "cost_range", "constant", "distribution")
)
_VARIABLE: Final = frozenset(("domain", "initial_value", "cost_function", "noise_level", "cost_range", "role"))
_CONSTRAINT: Final = frozenset(
    ("type", "variables", "values", "default", "function", "partial", "owner", "known_to", "cost_range")
)
_OURS: Final = frozenset(("owner", "known_to", "cost_range"))
