"""Problem files: `load` reads every format, `save` writes three, `encode_problem` packs one into a log's header.

| suffix | format | |
|---|---|---|
| .yaml, .yml | pyDCOP's YAML | read, write |
| .xml | XCSP 2.1, FRODO's dialect | read |
| .wcsp | toulbar2's plain text | read, write |
| .cfn | toulbar2's relaxed JSON | read |
| .amdcop | our compact msgpack form | read, write |
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from agentsim.dcop.formats import cfn, pydcop_writer, pydcop_yaml, wcsp, xcsp
from agentsim.dcop.formats.amdcop import decode_problem, dump_bytes, encode_problem, load_bytes
from agentsim.dcop.formats.limits import MAX_FILE_BYTES, read_file
from agentsim.dcop.problem import Problem
from agentsim.errors import FormatError, ProblemError, UserError

__all__ = ["MAX_FILE_BYTES", "decode_problem", "dump_bytes", "encode_problem", "load", "load_bytes", "save"]

_READABLE: Final = ".yaml, .yml, .xml, .wcsp, .cfn, .amdcop"
_WRITABLE: Final = ".yaml, .yml, .wcsp, .amdcop"
_IN_MEMORY: Final = 64 << 20
"""Bytes of a file that are kept in memory until all of it is known to be writable; more go to a temporary file."""


def load(path: str | os.PathLike[str], seed: int = 0, distribution: str | os.PathLike[str] | None = None) -> Problem:
    """Read a problem file; its suffix tells the format.

    Args:
        path: the file.
        seed: for the noise that a pyDCOP file may ask for.
        distribution: a pyDCOP distribution file, which says which agent owns which variable.

    Raises:
        FormatError: the file is not what its suffix says, contradicts itself or asks for too much.
        UserError: the file cannot be read, or its suffix is unknown.
    """
    source = os.fspath(path)
    suffix = Path(source).suffix.lower()
    if isinstance(seed, bool) or seed < 0:
        raise UserError(f"seed {seed}: must be a whole number from 0 up")
    if distribution is not None and suffix not in (".yaml", ".yml"):
        raise UserError(f"{source}: only a pyDCOP file (.yaml, .yml) takes a separate distribution file")
    read = _reader(source, suffix, seed, distribution)
    data = read_file(source, MAX_FILE_BYTES)
    try:
        return read(data)
    except ProblemError as error:
        raise FormatError(source, "", " ".join(str(error).split())) from None
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError, MemoryError) as error:
        # Readers name what is wrong where they find it. This is the last resort for a file that got past them all.
        raise FormatError(source, "", f"cannot be read ({type(error).__name__})") from error


def _reader(
    source: str, suffix: str, seed: int, distribution: str | os.PathLike[str] | None
) -> Callable[[bytes], Problem]:
    match suffix:
        case ".yaml" | ".yml":
            other = None
            if distribution is not None:
                name = os.fspath(distribution)
                other = (_decode(read_file(name, MAX_FILE_BYTES), name), name)
            return lambda data: pydcop_yaml.read(_decode(data, source), source, seed, other)
        case ".xml":
            return lambda data: xcsp.read(data, source)
        case ".wcsp":
            return lambda data: wcsp.read(_decode(data, source), source)
        case ".cfn":
            return lambda data: cfn.read(_decode(data, source), source)
        case ".amdcop":
            return lambda data: load_bytes(data, source)
    raise UserError(f"{source}: unknown kind of problem file {suffix!r} (known: {_READABLE})")


def _decode(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError(source, f"line {line}", "not UTF-8 text") from None


def save(problem: Problem, path: str | os.PathLike[str]) -> list[str]:
    """Write a problem; the suffix tells the format. Return sentences on what the format does not say.

    Raises:
        UserError: the format cannot hold the problem, the file cannot be written, or the suffix is unknown.
    """
    target = os.fspath(path)
    suffix = Path(target).suffix.lower()
    pieces: Iterable[bytes]
    try:
        match suffix:
            case ".yaml" | ".yml":
                text, notes = pydcop_writer.write(problem)
                pieces = (piece.encode() for piece in text)
            case ".wcsp":
                text, notes = wcsp.write(problem)
                pieces = (piece.encode() for piece in text)
            case ".amdcop":
                pieces, notes = [dump_bytes(problem)], []
            case _:
                raise UserError(f"{target}: cannot write {suffix!r} (known: {_WRITABLE})")
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as whole:  # what is refused half-way leaves the file as it was
            whole.writelines(pieces)
            whole.seek(0)
            if Path(target).is_fifo():
                raise OSError(0, "it is a pipe, which may wait for ever")
            with open(target, "wb") as file:
                shutil.copyfileobj(whole, file)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror or error})") from None
    except UnicodeEncodeError:
        raise UserError(f"{target}: cannot be written (a name has half of a surrogate pair)") from None
    return notes
