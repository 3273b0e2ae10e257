"""Coverage-guided fuzzing of one reader: `python tests/fuzz/run.py READER [--runs N] [--seconds S] [--keep DIR]`.

Needs atheris (Linux). Findings are kept in DIR/READER, one input for each place that fails, and the search goes on;
what is worth keeping for good belongs in `regressions/READER/`, which the test suite replays without atheris. The exit
status is 1 when there were findings. `--corpus DIR` keeps the inputs that reached something new, for the next run to
begin with. It ends with one line of JSON: executions, seconds of CPU time, coverage at the start and at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import json
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import guides  # noqa: E402  # beside this file, and without imports of its own

_SMALLER: Final = {"MAX_FILE_CELLS": 400_000, "MAX_DOMAIN_VALUES": 30_000, "MAX_TABLE_CELLS": 100_000}
"""Bounds while fuzzing: the way to them is to take no time."""
_GROWTH: Final = 100 << 20
_RECENT: Final = 8
"""Memory is looked at after so many inputs; all of them are kept when it grew."""
_TICK_S: Final = 1.0
_KNOWN: Final = re.compile(r"^#(\d+)\s+(\w+)\s+cov: (\d+) ft: (\d+) corp: (\d+)", re.MULTILINE)


class TooSlow(BaseException):
    """Not caught by readers that take any exception for the input's fault."""


class Session:
    """What libFuzzer calls: one input after the other, and changes to them."""

    def __init__(self, reader: str, keep: Path) -> None:
        import corpus
        import mutation
        import readers

        self.start = corpus.STARTS[reader]
        self._attempt, self._read = readers.attempt, readers.READERS[reader]
        self._most_ticks = int(readers.MAX_SECONDS / _TICK_S)
        self._words = (*self.start.words, *mutation.WORDS) if self.start.mutate is mutation.tokens else self.start.words
        self._keep = keep / reader
        self._seen: set[str] = set()
        self._count = self._ticked = self._ticks = 0
        self._peak = 0
        self._recent: deque[bytes] = deque(maxlen=_RECENT)

    def begin(self) -> None:
        """Have everything imported and made that is made once, before time and memory are looked at."""
        for seed in self.start.seeds()[:20]:
            self._attempt(self._read, seed)
        self._peak = _peak()

    def tick(self, *_: object) -> None:
        """Count the seconds of CPU time that one input takes."""
        self._ticks = self._ticks + 1 if self._ticked == self._count else 0
        self._ticked = self._count
        if self._ticks > self._most_ticks:
            self._ticks = 0
            raise TooSlow

    def one(self, data: bytes) -> None:
        """Try an input; keep it if it is a finding of a new kind."""
        self._count += 1
        try:
            self._attempt(self._read, data)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._found(data, error)
        self._recent.append(data)
        if self._count % _RECENT == 0:
            peak = _peak()
            if peak - self._peak > _GROWTH:
                for one in self._recent:
                    self._found(one, MemoryError(f"grew by {(peak - self._peak) >> 20} MiB at {len(self._seen)}"))
            self._peak = max(peak, self._peak)

    def mutate(self, data: bytes, size: int, seed: int) -> bytes:
        """Return a changed input."""
        import atheris  # which exchanges its `Mutate` when fuzzing begins

        if seed % 3:
            changed = self.start.mutate(data, random.Random(seed), self._words)
            if changed != data:
                return changed[:size]
        return bytes(atheris.Mutate(data, size))

    def _found(self, data: bytes, error: BaseException) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [f for f in frames if "/site-packages/" not in f.filename and "/tests/fuzz/" not in f.filename]
        at = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
        kind = f"{type(error).__name__} {at}" if at else f"{type(error).__name__} {str(error)[:40]}"
        if kind in self._seen:
            return
        self._seen.add(kind)
        self._keep.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(data).hexdigest()[:12]
        (self._keep / name).write_bytes(data)
        words = " ".join(str(error).split())[:200]
        print(f"FINDING {self._keep / name}: {kind}: {words}", file=sys.stderr, flush=True)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _inside(asked: argparse.Namespace) -> None:
    """Fuzz in this process, which libFuzzer ends when it is done."""
    import atheris

    guiding, packages = guides.GUIDES[asked.reader], ("agentsim", "privacy", "scenarios", "solvers")
    others = [name for package in packages for name in _modules(package) if not name.startswith(guiding)]
    with atheris.instrument_imports(include=packages, exclude=others):  # it takes whole packages, less what is excluded
        import readers  # noqa: F401  # and all that it reads with
    from agentsim.dcop import expressions, problem
    from agentsim.dcop.formats import pydcop_yaml, tuples, xcsp

    for module in (expressions, problem, pydcop_yaml, tuples, xcsp):
        for name, value in _SMALLER.items():
            if hasattr(module, name):
                setattr(module, name, value)
    _run_in_one_loop()
    session = Session(asked.reader, asked.keep)
    corpus_folder = Path(asked.inside)
    for seed in [*session.start.seeds(), *_regressions(asked.reader)]:
        (corpus_folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    words = corpus_folder.parent / f"{corpus_folder.name}.words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in session.start.words if word))
    options = [f"-runs={asked.runs}", f"-seed={asked.seed}", f"-max_len={session.start.length}", "-reload=0"]
    options += ["-timeout=300", "-rss_limit_mb=6000", f"-artifact_prefix={corpus_folder.parent}/"]
    options += [f"-max_total_time={asked.seconds}"]
    if words.stat().st_size:
        options.append(f"-dict={words}")
    warnings.simplefilter("error")  # a warning is a second line, and names places in our source
    atheris.Setup([sys.argv[0], str(corpus_folder), *options], session.one, custom_mutator=session.mutate)
    session.begin()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    signal.signal(signal.SIGPROF, session.tick)
    signal.setitimer(signal.ITIMER_PROF, _TICK_S, _TICK_S)
    atheris.Fuzz()


def _run_in_one_loop() -> None:
    """Replay in one event loop for all: to make one takes a third of the time of replaying a small log."""
    from agentsim.record import replay, verify

    loop = asyncio.SelectorEventLoop()
    for module in (replay, verify):
        setattr(module, "run_apart", lambda start: loop.run_until_complete(start()))  # noqa: B010  # mypy: not exported


def _modules(package: str) -> Iterator[str]:
    for path in (HERE.parent.parent / package).rglob("*.py"):
        parts = path.relative_to(HERE.parent.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _regressions(reader: str) -> list[bytes]:
    folder = HERE / "regressions" / reader
    return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []


def _escaped(word: str) -> str:
    return "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\x{b:02x}" for b in word.encode())


def main() -> int:
    """Fuzz one reader; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("reader", choices=guides.GUIDES)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=0, help="of wall time; 0 is no limit")
    parser.add_argument("--keep", type=Path, default=Path("findings"), help="where findings go")
    parser.add_argument("--corpus", type=Path, help="where inputs that reach something new are kept")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        _inside(asked)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        corpus_folder = (asked.corpus or Path(temporary)) / asked.reader
        corpus_folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, *sys.argv, "--inside", str(corpus_folder)],
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        return _followed(child, asked.reader, began)


def _followed(child: subprocess.Popen[str], reader: str, began: float) -> int:
    """Show what libFuzzer says that is of use; return the exit status."""
    coverage: list[tuple[int, int]] = []
    executions = findings = 0
    last: list[str] = []
    assert child.stderr is not None
    for line in child.stderr:
        last = [*last[-30:], line]
        if known := _KNOWN.match(line):
            executions = max(executions, int(known[1]))
            if known[2] == "pulse":
                print(line, end="", file=sys.stderr, flush=True)
            if known[2] == "INITED" or coverage:
                coverage.append((int(known[3]), int(known[5])))
        elif line.startswith("FINDING "):
            findings += 1
            print(line, end="", flush=True)
        elif done := re.match(r"Done (\d+) runs", line):
            executions = int(done[1])
    status = child.wait()
    if status:
        print("".join(last), end="")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = {
        "reader": reader,
        "executions": executions,
        "findings": findings,
        "cpu_s": round(used.ru_utime + used.ru_stime),
        "wall_s": round(time.monotonic() - began),
        "coverage": [c for c, _ in (*coverage[:1], *coverage[-1:])],
        "corpus": [n for _, n in (*coverage[:1], *coverage[-1:])],
        "peak_mib": used.ru_maxrss >> 10,
    }
    print(json.dumps(told), flush=True)
    return 1 if findings or status else 0


if __name__ == "__main__":
    sys.exit(main())
