"""Mutation testing on a sample: `python tests/mutation/run.py agentsim/dcop --mutants 500 --seed 1 --jobs 2 -o DIR`.

Draws mutants of a package at random (see operators.py), runs for each the package's own tests that touch the changed
line, the quickest first, and tells how many are killed: the share of small faults that the tests notice, with its 95 %
interval. A test that takes far too long kills a mutant as well. A mutant in a line that no test touches survives.

The files stay as they are: mutants live in memory only. DIR gets `coverage.json` (which test touches which line, kept
until the test or the package changes), `mutants.jsonl` (one line per finished mutant, the last one of a mutant
counts) and `survivors.txt`. What is finished is not run again, so that Ctrl-C loses nothing; `--retry` runs the
survivors again, with the tests as they are now.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import math
import os
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for pytest, which imports each file alone

import server
from operators import Mutant, mutants
from server import ROOT, Outcome, Test, Trial

PACKAGES = {
    "agentsim/dcop": ("tests/agentsim/dcop",),
    "agentsim/record": ("tests/agentsim/record", "tests/agentsim/test_html.py", "tests/golden"),
    "agentsim/runtime": ("tests/agentsim/runtime", "tests/agentsim/test_determinism.py"),
    "privacy": ("tests/privacy",),
    "solvers": ("tests/solvers",),
}
FOUND = ("killed", "timeout")
UNCOVERED = Outcome("uncovered")


# What touches what ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Touched:
    """Which tests touch which line, and which lines run at import."""

    tests: dict[str, Test]
    by_line: dict[str, dict[int, set[str]]]  # file, line, names of tests
    imported: dict[str, set[int]]

    def trial(self, mutant: Mutant, killers: Counter[str], budget: float) -> Trial | None:
        """Return the tests that may kill a mutant, or None if no test touches its line."""
        names, reload = self._touching(mutant)
        if not names:
            return None
        # What has killed mutants of the same file is likely to do it again.
        by_promise = {name: (self.tests[name].cpu + 0.01) / (1 + killers[name]) for name in names}
        chosen, spent = [], 0.0
        for test in (self.tests[name] for name in sorted(names, key=lambda name: (by_promise[name], name))):
            if not chosen or spent + test.cpu <= budget:
                chosen.append(test)
                spent += test.cpu
        return Trial(mutant.path, mutant.number, tuple(chosen), reload, budget, len(names) - len(chosen))

    def _touching(self, mutant: Mutant) -> tuple[set[str], bool]:
        by_line, imported = self.by_line.get(mutant.path, {}), self.imported.get(mutant.path, set())

        def within(lines: tuple[int, int]) -> set[str]:
            return set().union(*(by_line.get(line, ()) for line in range(lines[0], lines[1] + 1)))

        span = range(mutant.statement[0], mutant.statement[1] + 1)
        reload = any(line in imported for line in span)
        if names := within(mutant.lines) or within(mutant.statement):
            return names, reload
        if not reload:
            return set(), False
        # It runs at import only: those tests count that touch what is around it or uses it.
        if mutant.scope:
            names = within(mutant.scope)
        elif mutant.names:
            tree = ast.parse((ROOT / mutant.path).read_text(encoding="utf-8"))
            uses = (n.lineno for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id in mutant.names)
            names = set().union(*(by_line.get(line, ()) for line in uses))
        if not names and not mutant.scope:
            names = set().union(*by_line.values())
        return names or set(self.tests), True  # of a class without methods nothing runs when it is used


def _digest(folder: str) -> str:
    return _digest_of(sorted((ROOT / folder).rglob("*.py")))


def _digest_of(files: list[Path]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()[:16]


def measure(package: str, out: Path, slots: list[Slot]) -> Touched:
    """Run every test once, alone; what is known already, of a test file and a package that are the same, is kept."""
    kept_in = out / "coverage.json"
    kept: dict[str, Any] = json.loads(kept_in.read_text()) if kept_in.exists() else {}
    source = _digest(package)
    if kept.get("source") != source:
        kept = {"source": source, "files": {}}
    names = slots[0].collected()
    by_file: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_file[name.partition("::")[0]].append(name)
    digests = {file: _digest_of([ROOT / file]) for file in by_file}
    known = kept["files"]
    for file in [*known]:
        if digests.get(file) != known[file]["digest"]:
            del known[file]
    todo = [(file, by_file[file]) for file in by_file if file not in known]
    if todo or "imported" not in kept:
        kept["imported"] = slots[0].ask(("imports",))
    for file, result in _dealt(slots, todo):
        known[file] = {"digest": digests[file], "tests": result}
        kept_in.write_text(json.dumps(kept))
        _say(f"{len(known)} of {len(by_file)} files of tests measured")
    tests, by_line = {}, defaultdict(lambda: defaultdict(set))
    for file in known.values():
        for name, result in file["tests"].items():
            if result is None:
                print(f"not used, for it fails or is too slow without a mutant: {name}")
                continue
            tests[name] = Test(name, result[0])
            for path, lines in result[1].items():
                for line in lines:
                    by_line[path][line].add(name)
    return Touched(tests, by_line, {path: set(lines) for path, lines in kept["imported"].items()})


# Processes ------------------------------------------------------------------------------------------------------------


class Slot:
    """A process that tries one mutant at a time; it has a server, which has collected, and imports nothing itself."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.pid, self.pipe = server.fork(self._work)

    def _work(self, pipe: Connection) -> None:
        os.setpgid(0, 0)  # Ctrl-C is for the parent
        paths = [str(ROOT / path) for path in PACKAGES[self.package]]
        _, ready = server.fork(lambda theirs: server.serve(paths, self.package, theirs))
        names = ready.recv()
        while True:
            try:
                request = pipe.recv()
            except EOFError:
                return
            match request:
                case ("names",):
                    pipe.send(names)
                case ("imports",):
                    pipe.send(server.lines_of_import(paths, self.package))
                case Trial(reload=True):
                    pipe.send(server.try_reloaded(request))
                case _:
                    ready.send(request)
                    answer = ready.recv()
                    if answer is None and isinstance(request, Trial):
                        answer = server.try_reloaded(request)
                    pipe.send(answer)

    def ask(self, request: Any) -> Any:
        """Return the answer to one request."""
        self.pipe.send(request)
        answer = self.pipe.recv()
        if isinstance(answer, tuple) and answer[:1] == ("error",):
            raise RuntimeError(answer[1])
        return answer

    def collected(self) -> list[str]:
        """Return the names of the tests."""
        if (names := self.ask(("names",))) is None:
            sys.exit(f"the tests of {self.package} cannot be collected")
        return list(names)

    def close(self) -> None:
        """End the process, and with it what it started."""
        self.pipe.close()
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


def _dealt(slots: list[Slot], requests: list[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """Have the slots answer requests, each given with a name; yield names and answers as they come.

    A request may be a function, which makes it when its turn comes, or returns None if there is nothing to ask.
    """
    waiting = iter(requests)
    working: dict[Connection, Any] = {}

    def give(slot: Slot) -> None:
        for name, request in waiting:
            asked = request() if callable(request) else request
            if asked is not None:
                slot.pipe.send(asked)
                working[slot.pipe] = name, slot
                return

    for slot in slots:
        give(slot)
    while working:
        for pipe in wait([*working]):
            name, slot = working.pop(pipe)  # type: ignore[call-overload]
            answer = slot.pipe.recv()
            if isinstance(answer, tuple) and answer[:1] == ("error",):
                raise RuntimeError(answer[1])
            give(slot)
            yield name, answer


# The sample -----------------------------------------------------------------------------------------------------------


def sample(package: str, size: int, seed: int) -> list[Mutant]:
    """Draw mutants of a package, in random order: those that are done first are a sample too."""
    found = []
    for file in sorted((ROOT / package).rglob("*.py")):
        found += mutants(file.read_text(encoding="utf-8"), str(file.relative_to(ROOT)))
    return random.Random(seed).sample(found, min(size, len(found)))


def interval(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % interval of a share, after Wilson."""
    if not n:
        return 0.0, 1.0
    share, spread = hits / n, z * math.sqrt(hits * (n - hits) / n + z * z / 4) / n
    middle, scale = share + z * z / (2 * n), 1 + z * z / n
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


class Results:
    """The finished mutants, in a file of one line each."""

    def __init__(self, file: Path, head: dict[str, Any]) -> None:
        self.file = file
        self.first: dict[tuple[str, int], str] = {}
        self.last: dict[tuple[str, int], dict[str, Any]] = {}
        if not file.exists():
            file.write_text(json.dumps(head) + "\n")
        lines = file.read_text().splitlines()
        if json.loads(lines[0]) != head:
            sys.exit(f"{file}: of another sample, or the package has changed since; give another directory")
        for line in lines[1:]:
            try:
                self._take(json.loads(line))
            except json.JSONDecodeError:  # cut short
                continue

    def _take(self, result: dict[str, Any]) -> None:
        key = result["file"], result["number"]
        self.first.setdefault(key, result["outcome"])
        self.last[key] = result

    def add(self, mutant: Mutant, outcome: Outcome, left_out: int = 0) -> None:
        """Write what became of a mutant."""
        result = {"file": mutant.path, "line": mutant.line, "column": mutant.column, "number": mutant.number}
        result |= {"operator": mutant.operator, "before": mutant.before, "after": mutant.after, "outcome": outcome.what}
        result |= {"test": outcome.test, "how": outcome.how, "tests": outcome.tests, "left_out": left_out}
        result["cpu_s"] = round(outcome.cpu, 2)
        self._take(result)
        with self.file.open("a") as out:
            out.write(json.dumps(result) + "\n")

    def killers(self, path: str) -> Counter[str]:
        """Count by test the mutants of a file that it has killed."""
        return Counter(r["test"] for r in self.last.values() if r["file"] == path and r["outcome"] == "killed")

    def told(self, outcomes: Counter[str]) -> str:
        """Return a tally as one line."""
        n, found = outcomes.total(), sum(outcomes[what] for what in FOUND)
        low, high = interval(found, n)
        counts = ", ".join(f"{outcomes[what]} {what}" for what in ("killed", "timeout", "survived", "uncovered"))
        return f"{n} mutants: {counts}; {found / max(n, 1):.1%} found (95 % interval {low:.1%} to {high:.1%})"

    def survivors(self) -> Iterator[str]:
        """Yield one line per survivor."""
        for (path, _), r in sorted(self.last.items()):
            if r["outcome"] not in FOUND:
                what = f"{r['operator']}: {r['before']}  =>  {r['after']}"
                tests = f"{r['tests']} tests" + (f", {r['left_out']} left out" if r.get("left_out") else "")
                yield f"{path}:{r['line']}:{r['column']}: {what}  [{r['outcome']}, {tests}]"


def main() -> None:
    """Read the command line, try what is not tried, tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("package", choices=PACKAGES)
    parser.add_argument("--mutants", type=int, default=500, help="how many (500)")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (1)")
    parser.add_argument("--jobs", type=int, default=1, help="at a time (1)")
    parser.add_argument("--budget", type=float, default=20.0, help="CPU seconds of tests per mutant (20)")
    parser.add_argument(
        "--retry", action="store_true", help="run the survivors again, with a larger budget for instance"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="directory of the results")
    asked = parser.parse_args()

    out: Path = asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    os.environ["CI"] = "1"  # the same examples for every mutant
    for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(threads, "1")  # a child of a process with threads may stand still
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(out / "hypothesis")
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    server.import_once()
    sys.pycache_prefix = str(out / "pycache")

    head = {"package": asked.package, "mutants": asked.mutants, "seed": asked.seed, "source": _digest(asked.package)}
    results = Results(out / "mutants.jsonl", head)
    drawn = sample(asked.package, asked.mutants, asked.seed)
    over = {key for key, r in results.last.items() if r["outcome"] in FOUND or not asked.retry}
    todo = [mutant for mutant in drawn if (mutant.path, mutant.number) not in over]
    slots = [Slot(asked.package) for _ in range(asked.jobs if todo else 0)]
    try:
        if todo:
            _try(todo, results, measure(asked.package, out, slots), slots, asked.budget)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on")
    finally:
        for slot in slots:
            slot.close()
    now = Counter(r["outcome"] for r in results.last.values())
    (out / "survivors.txt").write_text("".join(f"{line}\n" for line in results.survivors()))
    if (first := Counter(results.first.values())) != now:
        print(f"\nat first {results.told(first)}")
    print(f"\n{asked.package}: {results.told(now)}")


def _try(todo: list[Mutant], results: Results, touched: Touched, slots: list[Slot], budget: float) -> None:
    left_out: dict[Mutant, int] = {}

    def made(mutant: Mutant) -> Trial | None:
        """Return what to ask for a mutant. One that nothing touches is done at its turn: what is done is a sample."""
        trial = touched.trial(mutant, results.killers(mutant.path), budget)
        if trial is None:
            results.add(mutant, UNCOVERED)
        else:
            left_out[mutant] = trial.left_out
        return trial

    for mutant, outcome in _dealt(slots, [(mutant, partial(made, mutant)) for mutant in todo]):
        results.add(mutant, outcome, left_out[mutant])
        _say(results.told(Counter(r["outcome"] for r in results.last.values())))


def _say(text: str) -> None:
    print(f"\r{text}\x1b[K" if sys.stderr.isatty() else f"{text}\n", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
