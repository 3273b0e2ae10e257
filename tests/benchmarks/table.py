"""What a benchmark's figures are: rows, each with a target, shown beside those kept from an earlier run.

Every benchmark here has `rows(quick)`, which yields a `Row` for each figure. Run one with
`python tests/benchmarks/table.py bench_adopt [--quick]`, all of them with `make bench`.

A figure that depends on the machine carries a ratio to something bare that was measured in the same run, in turns.
Where a row has a ratio, its target and the comparison with what was kept go by the ratio, which a busy or slower
machine does not change much.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

_TARGET = re.compile(r"(<=|>=) (-?[\d,]*\.?\d+)")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Args:
        name: what was measured; names are unique among all benchmarks, kept figures are found by them.
        value: the figure.
        unit: what it is counted in, as "deliveries/CPU s", "s", "MiB".
        target: `>= X` or `<= X` (a bound of the ratio where there is one, else of the value), or "" for none.
        ratio: the figure relative to what was measured beside it, or None where the value itself is to be compared.
    """

    name: str
    value: float
    unit: str
    target: str = ""
    ratio: float | None = None

    @property
    def figure(self) -> float:
        """What the target and comparisons go by: the ratio, or the value where there is none."""
        return self.value if self.ratio is None else self.ratio

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if not self.target:
            return None
        found = _TARGET.fullmatch(self.target)
        if found is None:
            raise ValueError(f"{self.name}: a target is `>= X` or `<= X`, not {self.target!r}")
        limit = float(found[2].replace(",", ""))
        return self.figure >= limit if found[1] == ">=" else self.figure <= limit


def number(value: float) -> str:
    """Return a figure as a reader wants it: three digits, thousands apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"


def change(row: Row, kept: Row | None) -> str:
    """Return how a figure differs from the kept one, as "+3.1%"; "new" if there is none, "" if it cannot be told."""
    if kept is None:
        return "new"
    return f"{row.figure / kept.figure - 1:+.1%}" if kept.figure else ""


def show(rows: Iterable[Row], kept: Mapping[str, Row] | None = None, title: str = "") -> Iterator[Row]:
    """Print rows as they come, with the kept figures if there are any, and pass them on."""
    print(f"{title:<60}{'figure':>12} {'unit':<18}{'ratio':>7}  {'target':<11}{'':<8}{'kept':>11}{'change':>8}")
    for row in rows:
        before = None if kept is None else kept.get(row.name)
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        met = {None: "", True: "met", False: "NOT MET"}[row.met]
        line = f"{row.name:<60}{number(row.value):>12} {row.unit:<18}{ratio:>7}  {row.target:<11}{met:<8}"
        if kept is not None:
            line += f"{'' if before is None else number(before.figure):>11}{change(row, before):>8}"
        print(line.rstrip(), flush=True)
        yield row


def as_json(row: Row) -> dict[str, Any]:
    """Return a row as an object of JSON."""
    return asdict(row)


def from_json(given: Mapping[str, Any]) -> Row:
    """Return the row that `as_json` made an object of."""
    return Row(**given)


def main(arguments: list[str]) -> int:
    """Run one benchmark: its module's name, then `--quick` and `--json` (a line of JSON for each row)."""
    names = [a for a in arguments if not a.startswith("--")]
    if len(names) != 1 or set(arguments) - {names[0], "--quick", "--json"}:
        print("usage: table.py BENCHMARK [--quick] [--json]", file=sys.stderr)
        return 2
    rows: Callable[[bool], Iterable[Row]] = importlib.import_module(names[0]).rows
    found = rows("--quick" in arguments)
    if "--json" in arguments:
        for row in found:
            print(json.dumps(as_json(row)), flush=True)
    else:
        for _ in show(found):
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
