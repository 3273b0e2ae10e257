"""YAML as a graph of nodes: parsed by the C loader, never constructed, bounded in depth, size and aliases.

Half of a YAML load is building Python objects that a problem does not need. The reader therefore works on the nodes:
it takes text where it needs text and resolves a plain scalar to a number or a boolean only where that matters.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, Final, NoReturn, Protocol

import yaml

from agentsim.dcop.formats.limits import MAX_DEPTH, MAX_NODES
from agentsim.dcop.problem import Value
from agentsim.errors import FormatError

PLAIN: Final = "plain"
QUOTED: Final = "quoted"
_COLLECTION: Final = "collection"
_YAML: Final = "tag:yaml.org,2002:"
_TAGS: Final = {
    _YAML + "str": QUOTED,
    "!": QUOTED,
    _YAML + "int": PLAIN,
    _YAML + "float": PLAIN,
    _YAML + "bool": PLAIN,
    _YAML + "null": PLAIN,
    _YAML + "seq": _COLLECTION,
    _YAML + "map": _COLLECTION,
}
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FLOAT: Final = re.compile(r"[-+]?[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+")
_RESOLVER: Final = yaml.resolver.Resolver()
_CONSTRUCTOR: Final = yaml.constructor.SafeConstructor()

Node = yaml.nodes.Node
ScalarNode = yaml.nodes.ScalarNode
SequenceNode = yaml.nodes.SequenceNode
MappingNode = yaml.nodes.MappingNode


Plain = Value | None | list[Any] | dict[str, Any]


class _TooMuch(Exception):
    """The file is refused while it is being parsed."""


class _Bounded:
    """What the loaders ask about tags and descent, answered at once; counts nodes and depth on the way."""

    depth: int = 0
    n_nodes: int = 0

    def resolve(self, kind: type[Node], value: object, implicit: tuple[bool, bool]) -> str:
        if kind is ScalarNode:
            return PLAIN if implicit[0] else QUOTED
        return _COLLECTION

    def descend_resolver(self, parent: Node | None, index: object) -> None:
        self.depth += 1
        self.n_nodes += 1
        if self.depth > MAX_DEPTH:
            line = 0 if parent is None else parent.start_mark.line + 1
            raise _TooMuch(f"line {line}", f"nested deeper than {MAX_DEPTH} levels")
        if self.n_nodes > MAX_NODES:
            raise _TooMuch("", f"more than {MAX_NODES} values")

    def ascend_resolver(self) -> None:
        self.depth -= 1


class _Loader(Protocol):
    depth: int
    n_nodes: int

    def get_single_node(self) -> Node | None: ...


class _SlowLoader(_Bounded, yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser, yaml.composer.Composer):
    def __init__(self, stream: str) -> None:
        yaml.reader.Reader.__init__(self, stream)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        yaml.composer.Composer.__init__(self)


@cache
def _fast_loader() -> Callable[[str], _Loader]:
    class FastLoader(_Bounded, yaml.cyaml.CParser):  # type: ignore[name-defined,misc]  # the stubs leave it out
        pass

    return FastLoader


class Document:
    """One parsed YAML file; its methods read nodes and name the line where they cannot."""

    def __init__(self, text: str, source: str) -> None:
        self.source = source
        self.size = len(text)
        try:
            make = _fast_loader() if hasattr(yaml, "CSafeLoader") else _SlowLoader
            root = make(text).get_single_node()
        except _TooMuch as error:
            raise FormatError(source, *error.args) from None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = f"line {mark.line + 1}" if mark is not None else ""
            cause = " ".join(str(error.problem or error.context).split())
            raise FormatError(source, place, f"not YAML: {cause[:200]}") from None
        except yaml.reader.ReaderError as error:
            line = text.encode("utf-8", "replace").count(b"\n", 0, error.position) + 1
            cause = f"not YAML: the character U+{error.character:04X} is not allowed"
            raise FormatError(source, f"line {line}", cause) from None
        except yaml.YAMLError as error:
            raise FormatError(source, "", f"not YAML: {' '.join(str(error).split())[:200]}") from None
        except RecursionError:
            raise FormatError(source, "", "nested too deeply") from None
        if root is None:
            raise FormatError(source, "", "the file is empty")
        if "!" in text:
            self._check_tags(root)
        if "&" in text and "*" in text:
            self._check_aliases(root)
        self.root: Node = root

    def fail(self, node: Node, cause: str) -> NoReturn:
        """Raise FormatError at the line of `node`."""
        raise FormatError(self.source, f"line {node.start_mark.line + 1}", cause)

    def mapping(self, node: Node, what: str) -> dict[str, Node]:
        """Return a mapping's nodes by the text of their keys; an empty value counts as an empty mapping."""
        if not isinstance(node, MappingNode):
            if is_empty(node):
                return {}
            self.fail(node, f"{what}: must be a mapping")
        try:
            result: dict[str, Node] = {k.value: v for k, v in node.value}
        except TypeError:
            self.fail(node, f"{what}: a key is not a plain value")
        if len(result) != len(node.value) or "<<" in result:
            return self._merged(node, what)
        return result

    def _merged(self, node: MappingNode, what: str) -> dict[str, Node]:
        own: dict[str, Node] = {}
        inherited: dict[str, Node] = {}
        for key, value in node.value:
            if key.value == "<<" and key.tag == PLAIN:
                for parent in value.value if isinstance(value, SequenceNode) else [value]:
                    inherited = self.mapping(parent, what) | inherited
            elif key.value in own:
                self.fail(key, f"{what}: the key {shorten(key.value)} occurs twice")
            else:
                own[key.value] = value
        return inherited | own

    def sequence(self, node: Node, what: str) -> list[Node]:
        """Return the nodes of a list."""
        if not isinstance(node, SequenceNode):
            self.fail(node, f"{what}: must be a list")
        items: list[Node] = node.value
        return items

    def text(self, node: Node, what: str) -> str:
        """Return the text of a scalar, as it stands in the file."""
        if not isinstance(node, ScalarNode):
            self.fail(node, f"{what}: must be a single value")
        value: str = node.value
        return value

    def value(self, node: Node, what: str) -> Value:
        """Return a scalar as YAML types it: a number, a boolean or a string."""
        text = self.text(node, what)
        if node.tag != PLAIN:
            return text
        value = resolve_plain(text)
        if value is None:
            self.fail(node, f"{what}: has no value")
        return value

    def number(self, node: Node, what: str) -> int | float:
        """Return a scalar that is a number; `inf` and `-inf` are numbers, NaN is not."""
        value = number(self.text(node, what))
        if value is None:
            self.fail(node, f"{what}: {shorten(node.value)} is not a number")
        return value

    def plain(self, node: Node) -> Plain:
        """Return a node as plain data (dicts, lists, numbers, strings, booleans, None); keys become text."""
        if isinstance(node, ScalarNode):
            return resolve_plain(node.value) if node.tag == PLAIN else node.value
        if isinstance(node, SequenceNode):
            return [self.plain(item) for item in node.value]
        return {k: self.plain(v) for k, v in self.mapping(node, "mapping").items()}

    def _check_tags(self, root: Node) -> None:
        stack, seen = [root], set()
        while stack:
            node = stack.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if node.tag not in (PLAIN, QUOTED, _COLLECTION):
                known = _TAGS.get(node.tag)
                if known is None:
                    self.fail(node, f"the YAML tag {shorten(str(node.tag))} is not allowed")
                node.tag = known
            if isinstance(node, MappingNode):
                stack.extend(n for pair in node.value for n in pair)
            elif isinstance(node, SequenceNode):
                stack.extend(node.value)

    def _check_aliases(self, root: Node) -> None:
        """Refuse a graph that is cyclic, or much larger than the file once every alias is written out."""
        weight: dict[int, int] = {}
        stack: list[tuple[Node, bool]] = [(root, False)]
        open_nodes: set[int] = set()
        while stack:
            node, leaving = stack.pop()
            if isinstance(node, ScalarNode):
                weight[id(node)] = len(node.value) + 8
                continue
            if id(node) in weight:
                continue
            children: list[Node] = (
                [n for pair in node.value for n in pair] if isinstance(node, MappingNode) else node.value
            )
            if leaving:
                open_nodes.discard(id(node))
                weight[id(node)] = 8 + sum(weight[id(c)] for c in children)
            elif id(node) in open_nodes:
                self.fail(node, "an alias contains itself")
            else:
                open_nodes.add(id(node))
                stack.append((node, True))
                stack.extend((c, False) for c in children)
        if weight[id(root)] > 20 * self.size + 100_000:
            raise FormatError(self.source, "", "its aliases expand to much more than the file")


def shorten(text: str) -> str:
    """Return `text` quoted, on one line, and at most 60 characters of it."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def is_empty(node: Node) -> bool:
    """Tell whether a node is a missing value (`key:` with nothing behind it, or null)."""
    return isinstance(node, ScalarNode) and node.tag == PLAIN and node.value in ("", "~", "null", "Null", "NULL")


@lru_cache(maxsize=1 << 15)
def _resolve_short(text: str) -> Value | None:
    if _INTEGER.fullmatch(text):
        return int(text)
    tag: str = _RESOLVER.resolve(ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]  # stubs lack it
    node = ScalarNode(tag, text)
    try:
        match tag.removeprefix(_YAML):
            case "int":
                value: int = _CONSTRUCTOR.construct_yaml_int(node)
                return value if abs(value) < 2**63 else text
            case "float":
                return float(_CONSTRUCTOR.construct_yaml_float(node))
            case "bool":
                return bool(_CONSTRUCTOR.construct_yaml_bool(node))
            case "null":
                return None
    except (ValueError, OverflowError):
        pass
    return text


def resolve_plain(text: str) -> Value | None:
    """Return what YAML 1.1 makes of a plain scalar; dates, huge numbers and the like stay text."""
    return _resolve_short(text) if len(text) <= 64 else text


@lru_cache(maxsize=1 << 15)
def _number_short(text: str) -> int | float | None:
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        value: Any = float(text)
    else:
        value = _resolve_short(text)
        if isinstance(value, str):
            word = value.strip().lower().lstrip("+")
            if re.fullmatch(r"[-+]?[0-9]{1,60}", value.strip()):
                value = int(value)
            elif word in ("inf", "infinity", "-inf", "-infinity") or _FLOAT.fullmatch(word):
                value = float(word)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def number(text: str) -> int | float | None:
    """Return the number a text stands for, a whole one as int; None when it is none, or NaN."""
    return _number_short(text) if len(text) <= 64 else None
