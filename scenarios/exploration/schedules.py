"""Schedules: networks drawn from families that make rare orders of events common, each one string for `--network`.

Every network here delivers all messages in the end, so that a complete solver has no excuse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Final

import numpy as np

from agentsim.runtime.network import Network, quote, split_names

Rng = np.random.Generator


def draw_network(rng: Rng, agents: Sequence[str]) -> tuple[str, str]:
    """Return a family and a network of it for a problem with these agents."""
    family = _NAMES[int(np.searchsorted(_CUMULATED, rng.random(), side="right"))]
    return family, FAMILIES[family][1](rng, agents)


def loses(network: Network) -> bool:
    """Tell whether a network may lose, repeat or overtake messages under the algorithm, which then owes no answer."""
    if any(crash.end == float("inf") for crash in network.crashes):
        return True
    faults = network.loss or network.duplicate or network.reorder or network.partitions or network.crashes
    return bool(faults) and not network.reliable


# Delays are some ten units at most: plain ADOPT repeats itself once a unit, and would do little else.


def _short(x: float) -> str:
    return f"{x:.3g}"


def _pick(rng: Rng, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _unit(rng: Rng, agents: Sequence[str]) -> str:
    return "unit"


def _delays(rng: Rng, agents: Sequence[str]) -> str:
    low = _pick(rng, ("0.01", "0.5", "1"))
    return _pick(
        rng,
        (
            f"uniform:{low},{_short(float(low) + 12 * rng.random())}",
            "uniform:1,10",
            f"exponential:{_short(0.3 + 4 * rng.random())}",
            f"lognormal:{_short(rng.random())},{_short(0.3 + rng.random())}",
        ),
    )


def _priority(rng: Rng, agents: Sequence[str]) -> str:
    return f"priority:{_pick(rng, ('2', '2', '3', '3', '4'))},{_pick(rng, ('1', '3', '10', '40'))}"


def _burst(rng: Rng, agents: Sequence[str]) -> str:
    return f"burst:{_short(1.5 + 12 * rng.random())}"


def _any_latency(rng: Rng, agents: Sequence[str]) -> str:
    return (_unit, _delays, _priority, _burst)[int(rng.integers(4))](rng, agents)


def _window(rng: Rng) -> str:
    start = 20 * rng.random() if rng.random() < 0.7 else 0.0
    return f"{_short(start)}-{_short(start + 2 + 30 * rng.random())}"


def _starved(rng: Rng, agents: Sequence[str]) -> str:
    """One agent or one channel goes without for a while, or all along is slow."""
    base, one = _any_latency(rng, agents), quote(_pick(rng, agents))
    pairs = [f"{quote(a)}>{quote(b)}" for a, b in permutations(agents, 2)]
    kind = int(rng.integers(4))
    if kind == 0:
        return f"{base}+slow:{one}*{_pick(rng, ('0.1', '3', '10'))}"
    if kind == 1 or not pairs:
        return f"{base}+hold:{_pick(rng, (f'*>{one}', f'{one}>*'))}@{_window(rng)}"
    held = [_pick(rng, pairs) for _ in range(int(rng.integers(1, 4)))]
    return base + "".join(f"+hold:{pair}@{_window(rng)}" for pair in held)


def _faults(rng: Rng, agents: Sequence[str]) -> str:
    """Loss, duplicates, disorder, a partition that heals, all mended by `reliable`."""
    parts = [_any_latency(rng, agents)]
    if rng.random() < 0.7:
        parts.append(f"loss:{_short(0.05 + 0.35 * rng.random())}")
    if rng.random() < 0.5:
        parts.append(f"duplicate:{_short(0.05 + 0.45 * rng.random())}")
    if rng.random() < 0.5:
        parts.append("reorder")
    if len(agents) > 1 and rng.random() < 0.2:
        cut, mixed = int(rng.integers(1, len(agents))), [quote(agents[i]) for i in rng.permutation(len(agents))]
        parts.append(f"partition:{','.join(mixed[:cut])}|{','.join(mixed[cut:])}@{_window(rng)}")
    return "+".join([*parts, "reliable"])


def _crashes(rng: Rng, agents: Sequence[str]) -> str:
    """An agent or two crash, restart, and have their state back, as `reliable` promises."""
    fallen = [quote(_pick(rng, agents)) for _ in range(int(rng.integers(1, 3)))]
    base = _any_latency(rng, agents) if rng.random() < 0.6 else _faults(rng, agents).removesuffix("+reliable")
    return "+".join([base, *(f"crash:{name}@{_window(rng)}" for name in fallen), "reliable"])


def _mixed(rng: Rng, agents: Sequence[str]) -> str:
    """Two ways of starving at once, or starving on a faulty network."""
    first = _starved(rng, agents) if rng.random() < 0.5 else _faults(rng, agents)
    return "+".join([first, *split_names(_starved(rng, agents), "+")[1:]])


FAMILIES: Final[Mapping[str, tuple[float, Callable[[Rng, Sequence[str]], str]]]] = {
    "unit": (0.04, _unit),
    "delays": (0.18, _delays),
    "priority": (0.22, _priority),
    "burst": (0.1, _burst),
    "starvation": (0.18, _starved),
    "mixed": (0.1, _mixed),
    "faults": (0.12, _faults),
    "crash": (0.06, _crashes),
}
"""By family: how often it is drawn, and what draws a network of it."""

_NAMES: Final = tuple(FAMILIES)
_CUMULATED: Final = np.cumsum([share for share, _ in FAMILIES.values()]) / sum(s for s, _ in FAMILIES.values())
