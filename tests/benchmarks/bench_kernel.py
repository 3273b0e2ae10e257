"""How fast the kernel delivers, relative to a bare program: `python tests/benchmarks/table.py bench_kernel [--quick]`.

Kernel and `ceiling` take turns and the best of each counts, in CPU time, so that what else the machine does counts for
little. The ring is that of `agentsim bench kernel`: typed messages through the public API, logged to a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ceiling import ceiling
from table import Row

from scenarios.bench import kernel

UNIT = "deliveries/CPU s"


def best_of(rounds: int, what: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Return the highest figure of each, all of them measured in turns."""
    best = dict.fromkeys(what, 0.0)
    for _ in range(rounds):
        for name, measure in what.items():
            best[name] = max(best[name], measure())
    return best


def ring(**options: object) -> Callable[[], float]:
    """Return what measures our ring."""
    return lambda: float(kernel(**options)["deliveries_per_cpu_second"])  # type: ignore[arg-type]


def rows(quick: bool) -> Iterator[Row]:
    """Yield the figures: 100 agents, then 10,000."""
    few, many = (40_000, 60_000) if quick else (100_000, 300_000)
    best = best_of(
        3 if quick else 8,
        {
            "bare": lambda: ceiling(100, 50, few),
            "unit": ring(deliveries=few),
            "uniform": ring(deliveries=few, network="uniform:1,10"),
            "observed": ring(deliveries=few, observe=("decode",)),
        },
    )
    bare, unit = best["bare"], best["unit"]
    yield Row("ceiling, 100 agents, 50 in flight", bare, UNIT)
    yield Row("kernel, 100 agents, unit", unit, UNIT, ">= .75", unit / bare)
    yield Row("kernel, 100 agents, uniform:1,10", best["uniform"], UNIT, ">= .55", best["uniform"] / bare)
    yield Row(
        "kernel, observed by one that decodes (to unobserved)",
        best["observed"],
        UNIT,
        ">= .75",
        best["observed"] / unit,
    )
    best = best_of(
        1 if quick else 3,
        {
            "bare": lambda: ceiling(10_000, 5_000, many),
            "unit": ring(deliveries=many, agents=10_000, in_flight=5_000),
        },
    )
    yield Row("ceiling, 10,000 agents, 5,000 in flight", best["bare"], UNIT)
    yield Row("kernel, 10,000 agents, unit", best["unit"], UNIT, ">= .7", best["unit"] / best["bare"])
