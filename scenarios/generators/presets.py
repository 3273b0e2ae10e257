"""Presets: the problems of published experiments, drawn from a seed; what the paper prints, and how we read it.

Source: Damle, Triastcyn, Faltings and Gujar, on P-Gibbs, a differentially private DCOP algorithm: section 6.1.1 (the
benchmarks), 6.2.2 (the sizes of figure 4), 6.3.2 (table 5) and appendices A (DPOP), B (Max-Sum) and C (proximity). Its
problems come from pyDCOP's generators with parameters drawn at random, and not all of these are stated:

- Ising: strengths are "sampled from U[beta, beta]", which would be a constant; the generator and its source have
  U[-beta, beta]. A grid of 10 variables (footnote 3) has sides 2 and 5, so that agents with "four nearest neighbors"
  cannot mean two sides of three or more: every grid with sides of two or more is as likely as any other.
- Colouring: the probability of an edge is not stated (here .2; quality depends much on it), nor is the kind of graph
  (here random, connected as pyDCOP makes it). Costs are "a random integer taken from (0, 10)": pyDCOP draws 0..9.
- Meetings: the numbers of events, of resources and of resources for each event are not stated. "Agents and variables"
  are one number, so every variable is an agent, as in pyDCOP's runs unless told otherwise. With m variables there are
  m / 2 events of 1 to 3 resources, rounded up, and as many resources. "The number of slots, i.e., the domain" is
  pyDCOP's number of slots: a variable has that many values, one less for each slot of the event beyond the first, and
  one more for an event that does not take place. "(0, 100)" makes the greatest value of a slot 99.

A seed gives all presets of a generator the same underlying random numbers, so that presets with the same parameters
have the same problems.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from agentsim.dcop.problem import Problem
from agentsim.errors import UserError
from agentsim.runtime import registry
from agentsim.runtime.streams import Stream
from scenarios.generators.graph_coloring import GraphColoringParams
from scenarios.generators.ising import IsingParams
from scenarios.generators.meetings import MeetingsParams

Params: TypeAlias = IsingParams | GraphColoringParams | MeetingsParams


class _Drawn:
    """Random numbers for the parameters of one problem, each by name, so that one more shifts no other."""

    def __init__(self, generator: str, seed: int) -> None:
        self._generator, self._seed = generator, seed

    def stream(self, name: str) -> Stream:
        return Stream(self._seed, "preset", self._generator, name)

    def whole(self, name: str, low: int, high: int) -> int:
        """Return a whole number from low to high, uniformly."""
        return low + self.stream(name).integer(high - low + 1)

    def between(self, name: str, low: float, high: float) -> float:
        """Return a number in [low, high), uniformly."""
        return self.stream(name).uniform(low, high)


_Make: TypeAlias = Callable[[_Drawn], Params]


@dataclass(frozen=True)
class Preset:
    """Parameters of a published experiment's problems.

    Args:
        name: unique among presets.
        generator: name of the generator that takes the parameters.
        summary: what it is for, in one line.
        paper: what the paper prints.
        ours: how we read it, where that leaves something open.
        make: takes random numbers to the parameters of one problem; `draw` supplies them.
        instances: problems that the experiment has.
        runs: runs of a randomised solver on each problem.
    """

    name: str
    generator: str
    summary: str
    paper: str
    ours: str
    make: _Make
    instances: int
    runs: int

    def draw(self, seed: int) -> Params:
        """Return the parameters of the problem that `seed` gives."""
        return self.make(_Drawn(self.generator, seed))


def find(name: str, generator: str | None = None) -> Preset:
    """Return the preset called `name`; UserError if there is none, or if it is not for `generator`."""
    preset = PRESETS.get(name)
    if preset is None:
        known = [p.name for p in PRESETS.values() if generator in (None, p.generator)]
        of = f" of {generator}" if generator else ""
        raise UserError(f"no preset{of} is called {name!r}; there are {', '.join(known) or 'none'}")
    if generator not in (None, preset.generator):
        raise UserError(f"preset {name} is one of the generator {preset.generator}, not of {generator}")
    return preset


def instance(preset: str, seed: int) -> Problem:
    """Return the problem of a preset that `seed` gives: its parameters and its costs; UserError for an unknown name."""
    found = find(preset)
    problem: Problem = registry.find("generators", found.generator).generate(found.draw(seed), seed)
    return problem


def _ising(low: int, high: int) -> _Make:
    """Make grids of low to high variables."""
    grids = [(r, c) for r in range(2, high + 1) for c in range(r, high // r + 1) if low <= r * c]

    def make(drawn: _Drawn) -> IsingParams:
        rows, columns = drawn.stream("grid").choice(grids)
        return IsingParams(rows, columns, drawn.between("bin_range", 1, 10), drawn.between("un_range", 0.05, 0.9))

    return make


def _coloring(variables: tuple[int, int], colors: tuple[int, int], costs: tuple[int, int] = (0, 9)) -> _Make:
    """Make colouring with random costs; numbers of variables and colours are from ranges, ends included."""

    def make(drawn: _Drawn) -> GraphColoringParams:
        return GraphColoringParams(
            variables_count=drawn.whole("variables_count", *variables),
            colors_count=drawn.whole("colors_count", *colors),
            p_edge=EDGE_PROBABILITY,
            soft=True,
            cost_min=costs[0],
            cost_max=costs[1],
        )

    return make


def _meetings(variables: tuple[int, int], slots: tuple[int, int]) -> _Make:
    """Make meetings; numbers of variables and slots are from ranges, ends included."""

    def make(drawn: _Drawn) -> MeetingsParams:
        count = drawn.whole("variables_count", *variables)
        half = math.ceil(count / 2)
        resources = max(2, half)  # two variables are one event's
        return MeetingsParams(
            form="pydcop",
            slots_count=drawn.whole("slots_count", *slots),
            events_count=half,
            resources_count=resources,
            max_resources_event=min(3, resources),
            max_length_event=5,
            max_resource_value=99,
            variables_count=count,
            hosts="variable",
        )

    return make


def _short_meetings(slots: int, resources: int) -> _Make:
    """Make meetings of one slot with 30 variables and a penalty of 10 * slots * resources."""
    params = MeetingsParams(
        form="pydcop",
        slots_count=slots,
        events_count=15,
        resources_count=resources,
        max_resources_event=3,
        max_length_event=1,
        max_resource_value=10,
        variables_count=30,
        hosts="variable",
    )
    return lambda drawn: params


EDGE_PROBABILITY: Final = 0.2
"""Of a random graph, wherever the paper is silent."""

_ISING_COSTS: Final = (
    "pairs from U[beta, beta] with beta in [1, 10), unary costs from U[-rho, rho] with rho in [0.05, 0.9)"
)
_ISING_READ: Final = (
    "U[-beta, beta], one beta and one rho for each problem, uniform; every torus with sides of two or more and so many "
    "variables is equally likely"
)
_COLORING_COSTS: Final = "each constraint a random integer from (0, 10)"
_GRAPH: Final = f"G(n, p) with p = {EDGE_PROBABILITY}, which is unstated, drawn anew until it is connected"
_COLORING_READ: Final = f"costs 0..9 for each pair of colours, as pyDCOP draws them; {_GRAPH}"
_MEETINGS_COSTS: Final = "each constraint a random integer from (0, 100), a meeting takes [1, 5] slots, maximised"
_MEETINGS_READ: Final = (
    "every variable an agent; m / 2 events of 1 to 3 resources and m / 2 resources (rounded up), which is unstated; "
    "values of slots up to 99; a domain has one value more for 'does not take place' and less for long events"
)
_BANDS: Final = ((10, 30), (30, 50), (50, 70), (70, 90), (90, 110))


def _presets() -> list[Preset]:
    presets = [
        Preset(
            "pgibbs-ising",
            "ising",
            "P-Gibbs, section 6: Ising grids of 10 to 19 agents",
            f"20 problems, 10 runs each (20 in section 6.2.2); agents in [10, 20); {_ISING_COSTS}",
            f"10 runs; {_ISING_READ}",
            _ising(10, 19),
            instances=20,
            runs=10,
        ),
        Preset(
            "pgibbs-coloring",
            "graph-coloring",
            "P-Gibbs, section 6: random costs, 30 to 99 agents, 10 to 19 colours",
            f"20 problems, 10 runs each (20 in section 6.2.2); agents in [30, 100), |D| in [10, 20); {_COLORING_COSTS}",
            f"10 runs; {_COLORING_READ}",
            _coloring((30, 99), (10, 19)),
            instances=20,
            runs=10,
        ),
        Preset(
            "pgibbs-meetings",
            "meetings",
            "P-Gibbs, section 6: meetings of 1 to 74 agents in 30 to 99 slots",
            "20 problems, 10 runs each (20 in section 6.2.2); agents and variables in [1, 75), slots in [30, 100); "
            f"{_MEETINGS_COSTS}",
            f"10 runs; {_MEETINGS_READ}",
            _meetings((1, 74), (30, 99)),
            instances=20,
            runs=10,
        ),
    ]
    for low, high in _BANDS:
        band = f"{low}-{high}"
        presets += [
            Preset(
                f"pgibbs-coloring-{band}",
                "graph-coloring",
                f"P-Gibbs, figure 4: colouring with {low} to {high - 1} agents",
                f"10 problems for m in {band}; otherwise as pgibbs-coloring",
                f"m from {low} to {high - 1}, so that bands do not overlap; otherwise as pgibbs-coloring",
                _coloring((low, high - 1), (10, 19)),
                instances=10,
                runs=10,
            ),
            Preset(
                f"pgibbs-meetings-{band}",
                "meetings",
                f"P-Gibbs, figure 4: meetings of {low} to {high - 1} agents",
                f"10 problems for m in {band}; otherwise as pgibbs-meetings",
                f"m from {low} to {high - 1}, so that bands do not overlap; otherwise as pgibbs-meetings",
                _meetings((low, high - 1), (30, 99)),
                instances=10,
                runs=10,
            ),
        ]
    for name, where, runs, slots, resources in (
        ("table5", "P-Gibbs, table 5", 40, 10, 10),
        ("proximity", "P-Gibbs, appendix C", 20, 20, 5),
    ):
        presets += [
            Preset(
                f"{name}-coloring",
                "graph-coloring",
                f"{where}: one colouring problem, 30 agents, 10 colours",
                f"30 agents, |D| = 10, each constraint between (0, 10]; {runs} runs",
                f"costs 1..10; {_GRAPH}",
                _coloring((30, 30), (10, 10), (1, 10)),
                instances=1,
                runs=runs,
            ),
            Preset(
                f"{name}-meetings",
                "meetings",
                f"{where}: one meetings problem, 30 agents, {slots} slots",
                f"30 agents, |D| = {slots} (10 in table 5, 20 in appendix C), each constraint between [-1000, 10] "
                f"without 0; {runs} runs",
                f"pyDCOP's penalty is value * slots * resources, so {slots} slots, {resources} resources and values of "
                "up to 10 make it 1000; meetings of one slot; a resource has three events or more on average, so that "
                "few utilities pass 10; zeros stay, and 'does not take place' is one value more",
                _short_meetings(slots, resources),
                instances=1,
                runs=runs,
            ),
        ]
    presets += [
        Preset(
            "dpop-ising",
            "ising",
            "P-Gibbs, appendix A (against DPOP): Ising grids of 5 to 8 agents",
            f"5 problems; agents in [5, 8]; {_ISING_COSTS} (ends included)",
            f"grids 2 x 3 and 2 x 4; {_ISING_READ}",
            _ising(5, 8),
            instances=5,
            runs=10,
        ),
        Preset(
            "dpop-coloring",
            "graph-coloring",
            "P-Gibbs, appendix A (against DPOP): colouring with 8 to 12 agents",
            f"5 problems; agents in [8, 12], |D| in [10, 20]; {_COLORING_COSTS}",
            _COLORING_READ,
            _coloring((8, 12), (10, 20)),
            instances=5,
            runs=10,
        ),
        Preset(
            "dpop-meetings",
            "meetings",
            "P-Gibbs, appendix A (against DPOP): meetings of 15 to 20 agents",
            f"5 problems; agents and variables in [15, 20], slots in [20, 30]; {_MEETINGS_COSTS}",
            _MEETINGS_READ,
            _meetings((15, 20), (20, 30)),
            instances=5,
            runs=10,
        ),
        Preset(
            "timeout-ising",
            "ising",
            "P-Gibbs, footnote 3: an Ising grid on which pyDCOP's DPOP ran for a day",
            "DPOP timed out after 24 hours on an Ising problem with 10 variables",
            f"the torus 2 x 5; {_ISING_READ}",
            _ising(10, 10),
            instances=1,
            runs=1,
        ),
        Preset(
            "timeout-coloring",
            "graph-coloring",
            "P-Gibbs, footnote 3: colouring on which pyDCOP's DPOP ran for a day",
            "DPOP timed out after 24 hours on colouring with 12 variables and |D| = 8",
            _COLORING_READ,
            _coloring((12, 12), (8, 8)),
            instances=1,
            runs=1,
        ),
        Preset(
            "timeout-meetings",
            "meetings",
            "P-Gibbs, footnote 3: meetings on which pyDCOP's DPOP ran for a day",
            "DPOP timed out after 24 hours on meetings with 25 variables and |D| = 20 (footnote 3) or 30 (appendix A)",
            f"|D| = 20, for 30 give slots_count=30; {_MEETINGS_READ}",
            _meetings((25, 25), (20, 20)),
            instances=1,
            runs=1,
        ),
        Preset(
            "maxsum-ising",
            "ising",
            "P-Gibbs, appendix B (against Max-Sum): Ising grids of 10 to 20 agents",
            f"5 problems; agents in [10, 20]; {_ISING_COSTS} (ends included)",
            _ISING_READ,
            _ising(10, 20),
            instances=5,
            runs=10,
        ),
        Preset(
            "maxsum-coloring",
            "graph-coloring",
            "P-Gibbs, appendix B (against Max-Sum): colouring with 50 to 100 agents",
            f"5 problems; agents in [50, 100], |D| in [10, 20); {_COLORING_COSTS}",
            _COLORING_READ,
            _coloring((50, 100), (10, 19)),
            instances=5,
            runs=10,
        ),
        Preset(
            "runtime-coloring",
            "graph-coloring",
            "P-Gibbs, appendix B (run time): colouring with 100 agents, 25 colours",
            "50 iterations take about 300 s on a random colouring problem with 100 agents and |D| = 25",
            _COLORING_READ,
            _coloring((100, 100), (25, 25)),
            instances=1,
            runs=1,
        ),
        Preset(
            "runtime-meetings",
            "meetings",
            "P-Gibbs, appendix B (run time): meetings of 100 agents in 25 slots",
            "50 iterations take about 25 s on a random meetings problem with 100 agents and |D| = 25",
            _MEETINGS_READ,
            _meetings((100, 100), (25, 25)),
            instances=1,
            runs=1,
        ),
        Preset(
            "frontier-coloring",
            "graph-coloring",
            "how good a private solver can be: the problems of pgibbs-coloring",
            "not a paper's: costs iid uniform on 0..9, minimised, G(n, .2), 30 to 99 agents, 10 to 19 colours",
            "connected graphs: the very problems of pgibbs-coloring, seed by seed, so that results can be compared",
            _coloring((30, 99), (10, 19)),
            instances=20,
            runs=3,
        ),
    ]
    return presets


PRESETS: Final[Mapping[str, Preset]] = MappingProxyType({preset.name: preset for preset in _presets()})
"""Every preset by name."""
