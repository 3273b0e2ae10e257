"""The problems and solvers of a sweep, with all their parameters resolved and checked.

Resolved, because a cell is known by what it is: writing out a default makes no new cell, and a package in which a
default has changed does.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from agentsim.dcop.formats import MAX_FILE_BYTES
from agentsim.errors import UserError
from agentsim.runtime import registry
from agentsim.runtime.setup import find_solver
from privacy.dpcop.model import Policy, Pricing
from scenarios.commands.privacy import OFF
from scenarios.generators import presets
from scenarios.sweeps.axes import grid
from scenarios.sweeps.document import fail, shown, text_of, under, unknown

PROBLEM_KEYS: Final = ("generator", "parameters", "files", "privacy")
SUFFIXES: Final = (".yaml", ".yml", ".xml", ".wcsp", ".cfn", ".amdcop")
PRESET: Final = "preset"


@dataclass(frozen=True, eq=False)
class ProblemChoice:
    """A kind of random problem, or a problem file.

    Args:
        generator: name of the generator; None for a file.
        given: parameters as the spec has them.
        preset: a published experiment's parameters, drawn from the seed, to which `given` is added; or None.
        file: the file, from the spec's folder, with forward slashes; None for a generator.
        digest: SHA-256 of its bytes.
        privacy: KEY=VALUE settings in place of those of the problem's privacy section, or "off".
        where: its place in the spec.
    """

    generator: str | None
    given: Mapping[str, Any]
    preset: str | None
    file: str | None
    digest: str | None
    privacy: tuple[str, ...]
    where: str
    _resolved: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells it from others."""
        parameters = self.parameters(0) if self.preset is None else dict(self.given)
        return (self.generator, self.file, self.digest, self.privacy, self.preset, _text(parameters))

    def parameters(self, seed: int) -> dict[str, Any]:
        """Return all parameters of the problem that a seed gives, and the preset's name if they come from one."""
        if self.generator is None:
            return {}
        if self._resolved and self.preset is None:
            return self._resolved
        given = dict(self.given)
        if self.preset is not None:
            given = asdict(presets.find(self.preset, self.generator).draw(seed)) | given
        generator = registry.find("generators", self.generator)
        found = _resolved(generator.Params, given, under(self.where, "parameters"), self.generator)
        if self.preset is not None:
            return {PRESET: self.preset, **found}
        self._resolved.update(found)
        return self._resolved


@dataclass(frozen=True)
class SolverChoice:
    """A solver with all its parameters."""

    name: str
    parameters: Mapping[str, Any]

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells it from others."""
        return (self.name, _text(self.parameters))


@dataclass(frozen=True)
class _Privacy:
    """What may stand in a problem's `privacy`; None leaves what its file says."""

    pricing: Pricing | None = None
    policy: Policy | None = None
    coalition: bool | None = None


def problems(
    where: str,
    base: Path,
    *,
    generator: object,
    files: object,
    parameters: object,
    privacy: object,
    lists: bool = True,
) -> list[ProblemChoice]:
    """Return the problems of one entry: names of generators with every combination of parameters, or files.

    Args:
        where: the entry's place.
        base: the spec's folder.
        generator: name or names of generators, or None.
        files: names or patterns of files, or None.
        parameters: the generator's, by name, or None.
        privacy: a table of settings, "off", or None.
        lists: whether lists are allowed.

    Raises:
        UserError: neither or both of generator and files, or anything in them is wrong.
    """
    if (generator is None) == (files is None):
        fail(where, "needs either generator or files" if lists else "needs either generator or file")
    settings = _privacy(privacy, under(where, "privacy"), lists)
    if files is not None:
        if parameters is not None:
            fail(under(where, "parameters"), "a file takes none")
        place = under(where, "files" if lists else "file")
        found = _files(files, place, base, lists)
        return [
            ProblemChoice(None, {}, None, name, digest, setting, where)
            for name, digest in found
            for setting in settings
        ]
    place = under(where, "generator")
    return [
        _generated(name, dict(given), setting, where)
        for name in _names(generator, place, "generators", lists)
        for given in grid(parameters, under(where, "parameters"), lists=lists)
        for setting in settings
    ]


def solvers(where: str, name: object, parameters: object, *, lists: bool = True) -> list[SolverChoice]:
    """Return the solvers of one entry with every combination of parameters; UserError if anything is wrong."""
    found = []
    for solver in _names(name, under(where, "name"), "solvers", lists):
        try:
            cls = find_solver(solver)[1]
        except UserError as error:
            fail(under(where, "name"), str(error))
        place = under(where, "parameters")
        found += [
            SolverChoice(solver, _resolved(cls.Params, given, place, solver))
            for given in grid(parameters, place, lists=lists)
        ]
    return found


def _generated(name: str, given: dict[str, Any], privacy: tuple[str, ...], where: str) -> ProblemChoice:
    place = under(where, "parameters")
    preset = given.pop(PRESET, None)
    if preset is not None:
        known = [p.name for p in presets.PRESETS.values() if p.generator == name]
        if preset not in known:
            unknown(under(place, PRESET), str(preset), known, f"no preset of {name} is called {shown(preset)}")
    try:
        cls = registry.find("generators", name).Params
    except UserError as error:
        fail(under(where, "generator"), str(error))
    _check_keys(cls, given, place, name, PRESET)
    choice = ProblemChoice(name, given, preset, None, None, privacy, where)
    choice.parameters(0)  # now, before anything runs
    return choice


def _names(given: object, where: str, group: str, lists: bool) -> list[str]:
    if given is None:
        fail(where, "is missing")
    if isinstance(given, list) and not lists:
        fail(where, "must be one name here")
    names = [text_of(name, where) for name in (given if isinstance(given, list) else [given])]
    if not names:
        fail(where, "is empty")
    for name in names:
        if name not in registry.names(group):
            unknown(where, name, registry.names(group), f"no {group.removesuffix('s')} is called {shown(name)}")
    return names


def _check_keys(cls: type[Any] | None, given: Mapping[str, Any], where: str, owner: str, *more: str) -> None:
    known = [*(field.name for field in fields(cls)), *more] if cls is not None else list(more)
    for key in given:
        if key not in known:
            unknown(under(where, key), key, known, "unknown" if known else f"unknown, {owner} takes no parameters")


def _resolved(cls: type[Any] | None, given: Mapping[str, Any], where: str, owner: str) -> dict[str, Any]:
    """Return all parameters, those that are not given by their defaults; UserError naming what is wrong."""
    _check_keys(cls, given, where, owner)
    made = registry.make_params(cls, given, where)
    return asdict(made) if made is not None else {}


def _privacy(value: object, where: str, lists: bool) -> list[tuple[str, ...]]:
    """Return the settings of `agentsim solve --privacy`, every combination."""
    if value is None:
        return [()]
    if isinstance(value, str):
        if value != OFF:
            fail(where, f'must be "{OFF}" or a table of settings, not {shown(value)}')
        return [(OFF,)]
    found = []
    for given in grid(value, where, lists=lists):
        settings = _resolved(_Privacy, given, where, "privacy")
        found.append(tuple(f"{k}={str(v).lower()}" for k, v in sorted(settings.items()) if v is not None))
    return found


def _files(given: object, where: str, base: Path, lists: bool) -> list[tuple[str, str]]:
    """Return the files of names and patterns, each once, in the order of the list, with their digests."""
    if isinstance(given, list) and not lists:
        fail(where, "must be one file here")
    patterns = given if isinstance(given, list) else [given]
    if not patterns:
        fail(where, "is empty")
    found: dict[str, str] = {}
    for i, pattern in enumerate(patterns, start=1):
        place = f"{where}[{i}]" if isinstance(given, list) else where
        for name in _matching(text_of(pattern, place), place, base, lists):
            if name not in found:
                found[name] = _digest(base, name, place)
    return list(found.items())


def _matching(pattern: str, where: str, base: Path, patterns: bool) -> list[str]:
    if "\0" in pattern:
        fail(where, "not a file name")
    if os.path.lexists(base / pattern):  # a name may hold what would be a pattern
        return [Path(pattern).as_posix()]
    if not patterns or not glob.has_magic(pattern):
        fail(where, f"no file is called {shown(pattern)}, seen from the spec's folder")
    names = sorted(glob.glob(pattern, root_dir=base, recursive=True))
    names = [Path(name).as_posix() for name in names if not os.path.isdir(base / name)]
    if not names:
        fail(where, f"no file matches {shown(pattern)}, seen from the spec's folder")
    return names


def _digest(base: Path, name: str, where: str) -> str:
    if Path(name).suffix.lower() not in SUFFIXES:
        fail(where, f"{shown(name)}: unknown kind of problem file (known: {', '.join(SUFFIXES)})")
    try:
        return digest(base / name)
    except OSError as error:
        fail(where, f"{shown(name)}: cannot be read ({error.strerror or error})")
    except UserError as error:
        fail(where, f"{shown(name)}: {error}")


def digest(path: Path) -> str:
    """Return the SHA-256 of a problem file's bytes; OSError, or UserError if it is no regular file or too large."""
    info = os.stat(path)
    if not stat.S_ISREG(info.st_mode):
        raise UserError("not a regular file")
    if info.st_size > MAX_FILE_BYTES:
        raise UserError(f"{info.st_size} bytes, more than the {MAX_FILE_BYTES} allowed")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(parameters: Mapping[str, Any]) -> str:
    return json.dumps(parameters, sort_keys=True, default=str)
