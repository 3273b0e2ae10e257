"""Writing Markdown from docstrings and rows, and reading what a page shows: its Python and its command lines."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

_CODE_SPAN: Final = re.compile(r"(`+)(.+?)\1")
_BULLET: Final = re.compile(r"^([*-]|\(?\d+[.)]) ")
_SPECIAL: Final = re.compile(r"([\\*<>\[\]#~$^|_{}&])")
_FRESH: Final = re.compile(r"^[A-Z][a-z]+: ")


def escaped(text: str) -> str:
    """Return text in which nothing but code spans is markup."""
    shown, at = [], 0
    for span in _CODE_SPAN.finditer(text):
        shown += [_SPECIAL.sub(r"\\\1", text[at : span.start()]), span[0]]
        at = span.end()
    return "".join(shown) + _SPECIAL.sub(r"\\\1", text[at:])


def stressed(text: str) -> str:
    """Return text in which code spans and *stressed* words are markup."""
    return re.sub(r"\\\*(\w(?:[^*`\\]|\\[^*])*?)\\\*", r"*\1*", escaped(text))


def prose(doc: str | None) -> str:
    """Return a docstring as Markdown: paragraphs, bullet lists, and whatever is indented as it stands."""
    blocks: list[str] = []
    for block in _blocks(inspect.cleandoc(doc or "").split("\n")):
        if block[0].startswith(" "):
            blocks.append(code(inspect.cleandoc("\n" + "\n".join(block))))
        elif _BULLET.match(block[0]):
            blocks.append("\n".join(f"{mark} {stressed(words)}" for mark, words in _items(block)))
        else:
            words = " ".join(line.strip() for line in block)
            ended = ":" if words.endswith("::") else ""
            blocks.append(re.sub(r"^([+-])", r"\\\1", stressed(words.removesuffix("::"))) + ended)
    return "\n\n".join(blocks)


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield paragraphs, lists and indented blocks; an indented block goes on over blank lines."""
    block: list[str] = []
    blank = False
    for line in [*lines, ""]:
        if not line.strip():
            blank = True
            continue
        if block and not _goes_on(block, line, blank):
            yield block
            block = []
        block += [""] if blank and block else []
        block.append(line)
        blank = False
    if block:
        yield block


def _goes_on(block: Sequence[str], line: str, blank: bool) -> bool:
    """Tell whether a line belongs to the block, after a blank line or directly.

    Indented lines hang from the paragraph before, unless a blank line or a colon is between them.
    """
    indented = line.startswith(" ")
    if block[0].startswith(" "):
        return indented
    if blank:
        return False
    if _BULLET.match(block[0]):
        return indented or bool(_BULLET.match(line))
    if indented:
        return not block[-1].endswith(":")
    return not (_BULLET.match(line) or _FRESH.match(line) or block[-1].startswith(" "))


def _items(block: Iterable[str]) -> list[tuple[str, str]]:
    items: list[tuple[str, str]] = []
    for line in block:
        found = _BULLET.match(line)
        if found:
            mark = found[1] if found[1] in "*-" else f"{found[1].strip('().')}."
            items.append((mark, line[found.end() :]))
        else:
            items[-1] = (items[-1][0], f"{items[-1][1]} {line.strip()}")
    return items


def code(text: str, language: str = "text") -> str:
    """Return a fenced block, its fence longer than any in the text."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def span(text: object) -> str:
    """Return text as a code span that is safe within a table; a backslash before a bar cannot be written in one."""
    if "\\|" in str(text):
        return escaped(str(text))
    plain = str(text).replace("|", "\\|")
    ticks = "`" * (1 + max((len(run) for run in re.findall(r"`+", plain)), default=0))
    return f"{ticks}{plain}{ticks}" if ticks == "`" else f"{ticks} {plain} {ticks}"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> str:
    """Return a table. Cells are Markdown already, on one line each.

    Args:
        heads: of the columns.
        rows: of cells; None is an empty one.
        right: indices of columns that are numbers.
    """
    line = [" --: " if i in right else " --- " for i in range(len(heads))]
    body = [[" " if cell is None else " ".join(str(cell).split()) for cell in row] for row in rows]
    return "\n".join([f"| {' | '.join(heads)} |", f"|{'|'.join(line)}|", *(f"| {' | '.join(row)} |" for row in body)])


# What a page shows -------------------------------------------------------------------------------------------------


class Block(NamedTuple):
    """A fenced or indented block of a page: its language ("" where indented), its text, and its first line's number."""

    language: str
    text: str
    line: int


def shown(page: str) -> list[Block]:
    """Return the blocks of code that a page shows, fenced and indented."""
    found: list[Block] = []
    fence, language, first, lines = "", "", 0, list[str]()
    for number, line in enumerate(page.split("\n"), start=1):
        opening = re.match(r"^(`{3,}|~{3,})(.*)$", line)
        if fence:
            if opening and opening[1].startswith(fence) and not opening[2].strip():
                found.append(Block(language, "\n".join(lines) + "\n", first))
                fence = ""
            else:
                lines.append(line)
        elif opening:
            fence, language, first, lines = opening[1], opening[2].strip(), number + 1, []
        elif line.startswith("    ") and line.strip():
            if found and not found[-1].language and found[-1].line + found[-1].text.count("\n") == number:
                found[-1] = found[-1]._replace(text=f"{found[-1].text}{line[4:]}\n")
            else:
                found.append(Block("", f"{line[4:]}\n", number))
    return found


def commands(page: str) -> list[list[str]]:
    """Return the command lines that begin with `agentsim` in the blocks of a page, as words."""
    lines = [
        line.removeprefix("$ ")
        for block in shown(page)
        if block.language in ("", "sh", "console")
        for line in block.text.replace("\\\n", " ").split("\n")
    ]
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [shlex.split(part, comments=True)[1:] for part in parts if part.startswith("agentsim ")]
