"""The game on runs that were logged: a folder of logs for each world."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final

from agentsim import open_log
from agentsim.errors import UserError
from agentsim.record.log import LogDamaged
from agentsim.record.reader import Log
from agentsim.runtime.mechanisms import Claim
from agentsim.runtime.messages import pack
from agentsim.runtime.observer import ObserverView
from privacy.audit import FEWEST_RUNS, Statistic
from scenarios.audits.base import LEARNED, Game, Subject, Task
from scenarios.audits.features import Seen, remember, share_names, to_statistics
from scenarios.audits.pairs import Difference, claim_about

_ENDINGS: Final = (".amlog", ".amlog.zst")

_COMMON: Final = (
    "solver",
    "params",
    "network",
    "check_cost",
    "realtime",
    "replaced",
    "interceptors",
    "gates",
    "package",
)
"""What of their headers all logs must agree in."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a log must have in common with the others of its world, or must not.

    Args:
        path: of the log.
        common: entries of its header that must be the same in all logs, as text.
        problem: a digest of the problem, the same in all logs of a world.
        seed: another one in each log of a world, where draws follow from it.
    """

    path: str
    common: Mapping[str, str]
    problem: bytes
    seed: object


@dataclass(frozen=True)
class Logs(Game):
    """Logged runs of two worlds.

    Args:
        folders: as given.
        paths: the logs in each, by name.
        spec: whose eyes the guesser has.
    """

    folders: tuple[str, str]
    paths: tuple[tuple[str, ...], tuple[str, ...]]
    spec: str

    statistic: ClassVar[str] = LEARNED
    batch: ClassVar[int] = 10

    @classmethod
    def of(cls, folders: tuple[str, str], view: str | None = None, most: int | None = None) -> Logs:
        """Return the game.

        Args:
            folders: of the two worlds.
            view: whose eyes the guesser has; None for all.
            most: how many logs of each world to read, the first ones by name; None for all.

        Raises:
            UserError: a folder is none, or has too few logs.
        """
        found = []
        for folder in folders:
            try:
                paths = sorted(str(path) for path in Path(folder).iterdir() if path.name.endswith(_ENDINGS))[:most]
            except OSError as error:
                raise UserError(f"{folder}: {error.strerror}") from None
            if len(paths) < FEWEST_RUNS:
                raise UserError(f"{folder}: {len(paths)} logs (*.amlog), at least {FEWEST_RUNS} are needed")
            found.append(tuple(paths))
        return cls(folders, (found[0], found[1]), view or "all")

    def tasks(self, runs: int) -> list[Task]:
        """Return what is to be read, however many that are."""
        sizes = [len(paths) for paths in self.paths]
        return [
            Task(self, world, at // self.batch, min(self.batch, sizes[world] - at))
            for at in range(0, max(sizes), self.batch)
            for world in (0, 1)
            if at < sizes[world]
        ]

    @cached_property
    def subject(self) -> Subject:
        """The solver that was run, with its parameters; UserError if it is not known here."""
        log = open_log(self.paths[0][0])
        header = _header(log)
        params = header.get("params")
        if not isinstance(params, dict):
            raise UserError(f"{log.name}: its header has no parameters")
        return Subject.of(str(header.get("solver")), params)

    @cached_property
    def _claim(self) -> tuple[Claim | None, tuple[str, ...], Mapping[str, Any]]:
        """What is claimed for the first logs' problems, notes about that, and how the problems differ."""
        logs = [open_log(paths[0]) for paths in self.paths]
        if any(_header(log).get("redacted") for log in logs):
            return None, ("the logs leave private costs out, so that no claim can be held against them",), {}
        a, b = (log.problem for log in logs)
        difference, setup = Difference.of(a, b), self.subject.setup(a)
        return (*claim_about(difference, setup, self.subject.solver.claim(setup)), difference.to_json())

    @property
    def solver(self) -> str:
        """Name of what is audited."""
        return self.subject.name

    @property
    def claim(self) -> Claim | None:
        """What the solver claims, if that speaks of the two problems."""
        return self._claim[0]

    @property
    def view(self) -> str:
        """Whose eyes the guesser has."""
        return self.spec

    @property
    def about(self) -> Mapping[str, Any]:
        """Which worlds these are."""
        return {"worlds": list(self.folders), "logs": [len(paths) for paths in self.paths], **self._claim[2]}

    @property
    def notes(self) -> tuple[str, ...]:
        """What users should know."""
        return self._claim[1]

    def play(self, world: int, number: int, runs: int) -> tuple[list[_Facts], list[Seen]]:
        """Return the facts and the features of so many logs."""
        first = number * self.batch
        read = [_read(path, self.spec) for path in self.paths[world][first : first + runs]]
        return [facts for facts, _ in read], share_names(seen for _, seen in read)

    def statistics(self, zero: Sequence[Any], one: Sequence[Any]) -> list[Statistic]:
        """Return the tables of features; UserError if the logs are not independent runs of one solver in two worlds."""
        worlds = [[facts for batch, _ in world for facts in batch] for world in (zero, one)]
        first = worlds[0][0]
        for facts in (facts for world in worlds for facts in world):
            for key in _COMMON:
                if facts.common[key] != first.common[key]:
                    raise UserError(f"{first.path} and {facts.path} are not runs of one kind: their {key} differ")
        for world in worlds:
            seeds: dict[object, str] = {}
            for facts in world:
                if facts.problem != world[0].problem:
                    raise UserError(f"{world[0].path} and {facts.path} are runs on different problems, in one folder")
                if facts.seed is not None and facts.seed in seeds:
                    raise UserError(f"{seeds[facts.seed]} and {facts.path} have one seed: they are the same run, twice")
                seeds[facts.seed] = facts.path
        return to_statistics([run for _, batch in zero for run in batch], [run for _, batch in one for run in batch])


def _header(log: Log) -> Mapping[str, Any]:
    try:
        header = log.header
    except LogDamaged as error:
        raise UserError(str(error)) from None
    if header is None:
        raise UserError(f"{log.name}: the log was cut off within its header")
    return header


def _read(path: str, view: str) -> tuple[_Facts, Seen]:
    """Return the facts and the features of a log; UserError if it is none, not whole, or of an unknown solver."""
    log = open_log(path)
    header = _header(log)
    if log.solver is None:
        raise UserError(f"{path}: its solver {header.get('solver')} is not known here")
    nodes = header.get("nodes")
    if not isinstance(nodes, dict) or not all(isinstance(owner, str) for owner in nodes.values()):
        raise UserError(f"{path}: its header has no nodes")
    sees = ObserverView.parse(view, nodes.values()).sees(nodes)
    try:
        seen = remember(log, sees)
    except LogDamaged as error:
        raise UserError(str(error)) from None
    except KeyError as error:
        raise UserError(f"{path}: a message of {error}, which its header does not know") from None
    if not log.whole:
        raise UserError(f"{path}: the log was cut off")
    params = header.get("params")
    by_seed = not isinstance(params, dict) or params.get("randomness") != "crypto"
    common = {key: repr(header.get(key)) for key in _COMMON}
    digest = hashlib.blake2b(pack(header.get("problem"))).digest()
    return _Facts(path, common, digest, header.get("seed") if by_seed else None), seen
