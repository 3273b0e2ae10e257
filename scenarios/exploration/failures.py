"""What is kept and told of a failure: its problem as a file, and the one command that repeats it."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentsim import load, save
from agentsim.dcop.formats import dump_bytes
from agentsim.errors import UserError
from agentsim.runtime.registry import names
from agentsim.runtime.setup import find_solver
from scenarios.exploration.checks import DEAR, MAX_MESSAGES, TIMEOUT_S, Case
from scenarios.exploration.plans import Found, Plan, case_of
from scenarios.exploration.shrinking import SECONDS, Shrinker, verdict_of


def tell(
    plan: Plan,
    found: Found,
    folder: Path,
    source: str | None,
    seconds: float = SECONDS,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Shrink a failure, write its problem and return what is told of it.

    Args:
        plan: what is explored.
        found: a run that failed or hung.
        folder: where the problem is written, under a name that is not taken.
        source: the file that the problem came from; None if it was drawn.
        seconds: for shrinking; 0 leaves the failure as it is.
        say: is told before it shrinks, which takes its time.

    Returns:
        `command`, `why`, `kind`, `solver`, `problem` (a file), `network`, `seed`, `params`, `hung`, the `size` of what
        is left, and as what it was `found`.

    Raises:
        UserError: the file cannot be written.
    """
    family, case = case_of(plan, found)
    name, _ = find_solver(case.solver)
    origin = {
        "run": found.i,
        "seed": case.seed,
        "family": family,
        "network": case.network,
        "params": {key: str(value) for key, value in case.params.items()},
        "why": found.why,
        "size": _size(case),
    }
    why, path = found.why, source
    if say is not None:
        say(f"{name}, run {found.i} over {case.network}: {found.why}")
    if seconds > 0:
        shrinker = Shrinker(case, found.kind, seconds)
        smallest = shrinker.shrink()
        origin["tried"] = shrinker.tried
        if smallest is not case:
            case, path = smallest, None
            why = verdict_of(case, frozenset((found.kind,)) & frozenset(DEAR)).why or why
    if path is None:
        path = os.fspath(written(case, name, found.kind, folder))
    return {
        "command": command_of(case, path),
        "why": why,
        "kind": found.kind,
        "hung": found.hung,
        "solver": name,
        "problem": path,
        "network": case.network,
        "seed": case.seed,
        "params": {key: str(value) for key, value in case.params.items()},
        "size": _size(case),
        "found": origin,
    }


def command_of(case: Case, path: str) -> str:
    """Return the command that repeats a case, whose problem is in a file; for a class that has no name, Python."""
    name, cls = find_solver(case.solver)
    limits: dict[str, float] = {}
    if case.max_messages != MAX_MESSAGES:
        limits["max_messages"] = case.max_messages
    if case.timeout != TIMEOUT_S:
        limits["timeout"] = case.timeout
    if name not in names("solvers") or find_solver(name)[1] is not cls:
        given = {"seed": case.seed, "network": case.network, "params": dict(case.params), **limits}
        arguments = ", ".join(f"{key}={value!r}" for key, value in given.items())
        return f"check_run(load({path!r}), {cls.__qualname__}, {arguments})"
    words = ["agentsim", "explore", path, "--algo", name, "--runs", "1", "--seed", str(case.seed)]
    words += ["--network", case.network]
    for key, value in case.params.items():
        words += ["-p", f"{key}={_word(value)}"]
    for key, value in limits.items():
        words += [f"--{key.replace('_', '-')}", str(value)]
    return " ".join(f'"{word}"' if word == case.network and _plain(word) else shlex.quote(word) for word in words)


def _plain(word: str) -> bool:
    """Tell whether double quotes are enough for a shell."""
    return not any(c in '"\\$`!' for c in word)


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _size(case: Case) -> dict[str, int]:
    problem = case.problem
    return {
        "variables": len(problem.variables),
        "constraints": len(problem.constraints),
        "values": max(v.size for v in problem.variables.values()),
        "agents": len(problem.agents),
    }


def written(case: Case, name: str, kind: str, folder: Path) -> Path:
    """Write the problem of a case and return the file; as YAML, unless what is read back from that does not fail."""
    digest = hashlib.sha256(dump_bytes(case.problem)).hexdigest()
    for suffix in (".yaml", ".amdcop"):
        path = _new_file(folder, f"explore-{name}-{digest}", len(digest) - 4, suffix, case)
        again = Case(load(path), case.solver, case.seed, case.network, case.params, case.max_messages, case.timeout)
        if suffix == ".amdcop" or verdict_of(again, frozenset((kind,)) & frozenset(DEAR)).kind == kind:
            return path
        path.unlink()
    raise AssertionError("unreachable")


def _new_file(folder: Path, name: str, spare: int, suffix: str, case: Case) -> Path:
    """Save under the shortest beginning of a name that is not taken."""
    for length in range(len(name) - spare, len(name) + 1, 2):
        path = folder / f"{name[:length]}{suffix}"
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
        save(case.problem, path)
        return path
    raise UserError(f"{folder}: holds too many files called {name[:-spare]}...")
