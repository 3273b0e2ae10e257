"""What a replay page is told before any delivery: who is there, how they are linked, where they stand, what was run.

A run is described from its setup, which a log's header gives. Where the solver is not installed here, or the header
does not fit it, problem and places are taken from the header alone: what was sent can then still be seen, undecoded.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import agentsim
from agentsim.dcop.compile_owners import compile_owners
from agentsim.dcop.ordering import components
from agentsim.dcop.problem import Constraint, Cost
from agentsim.errors import SolverRefusal, UserError
from agentsim.record.log import LogDamaged
from agentsim.record.reader import Log
from agentsim.record.replay import setup_of
from agentsim.runtime.agent import Agent
from agentsim.runtime.messages import Codec
from agentsim.runtime.setup import decode_places
from agentsim.runtime.view import Setup
from privacy.vps.prior import Scale
from scenarios.reports.details import Plain
from scenarios.reports.layout import graph_layout, tree_layout
from scenarios.reports.words import number, short

VERSION: Final = 1
MOST_LEVELS: Final = 400
"""A scale of more levels is shown in so many steps."""


@dataclass(frozen=True)
class Ran:
    """What was run.

    Args:
        setup: the run's.
        solver: the solver's class; the base of all where it is not known.
        name: the solver's name.
        header: seed, network and what else the page tells; as in a log's header.
        notes: sentences on what is missing.
    """

    setup: Setup
    solver: type[Agent]
    name: str
    header: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def redacted(self) -> bool:
        """Whether private costs were left out."""
        return bool(self.header.get("redacted"))


def ran_in(log: Log) -> Ran:
    """Return what a log says was run.

    Raises:
        UserError: the header is cut off, damaged, or describes no problem.
    """
    try:
        header = log.header
    except LogDamaged as error:
        raise UserError(str(error)) from None
    if header is None:
        raise UserError(f"{log.name}: the log was cut off within its header, there is nothing to show")
    name = str(header.get("solver"))
    cls = log.solver
    if cls is None:
        why = f"the solver {short(name)} is not installed here"
    else:
        try:
            return Ran(setup_of(log, cls, header), cls, name, header, _special(header))
        except (UserError, SolverRefusal) as error:
            why = f"the header does not fit the solver {short(name)} as it is here ({error})"
    note = f"{why}: messages are shown undecoded, and nothing is known of what they disclose"
    return Ran(_bare_setup(log, header), Agent, name, header, (note, *_special(header)))


def _special(header: Mapping[str, Any]) -> tuple[str, ...]:
    notes = []
    if header.get("redacted"):
        notes.append("private costs were left out of this log (--redact)")
    replaced = header.get("replaced")
    if isinstance(replaced, list) and replaced:
        notes.append(f"replaced by agents of another kind: {', '.join(short(a) for a in replaced[:10])}")
    if header.get("interceptors"):
        notes.append("interceptors may have dropped, delayed or altered messages")
    return tuple(notes)


def _bare_setup(log: Log, header: Mapping[str, Any]) -> Setup:
    """Return a setup made without the solver: names, domains, constraints and places are right, offsets are not."""
    problem = log.problem
    setup = Setup(problem, problem, {}, "signed")
    nodes = header.get("nodes")
    if isinstance(nodes, Mapping) and set(nodes) != set(setup.nodes):
        compiled, copies = compile_owners(problem)
        setup = Setup(compiled, problem, copies, "signed")
    try:
        return decode_places(setup, header["places"])
    except (KeyError, TypeError, UserError):
        return setup


def title_of(head: Mapping[str, Any]) -> str:
    """Return what the page is called."""
    return f"{short(head['name'] or 'a problem')}: replay of {short(head['solver'])}"


def make_head(ran: Ran, scales: Mapping[str, Scale], *, live: bool = False) -> dict[str, Any]:
    """Return the head of a trace; leakage, window and further notes are for the tracer to add.

    Args:
        ran: what was run.
        scales: by variable, the scale by which beliefs about its private costs speak; none where nobody asks.
        live: whether the run goes on.
    """
    setup = ran.setup
    header, problem = ran.header, setup.problem
    agents = list(dict.fromkeys((*setup.original.agents, *setup.nodes.values())))
    agent_number = {agent: i for i, agent in enumerate(agents)}
    number_of = {node: i for i, node in enumerate(setup.nodes)}
    scopes = [[number_of[v] for v in c.scope] for c in problem.constraints.values()]
    places = _places(setup, number_of)
    parents = None if places is None else {p["node"]: p["parent"] for p in places}
    codec = Codec(ran.solver.all_messages())
    return {
        "version": VERSION,
        "package": str(header.get("package", agentsim.__version__)),
        "name": problem.name,
        "solver": ran.name,
        "params": _params(header.get("params")),
        "seed": Plain().of(header.get("seed")),
        "network": str(header.get("network")),
        "objective": problem.objective,
        "live": live,
        "agents": agents,
        "nodes": [
            {
                "name": node,
                "agent": agent_number[agent],
                "domain": _domain(setup, node),
                "scale": _scale(scales[node], setup.sense) if node in scales else None,
            }
            for node, agent in setup.nodes.items()
        ],
        "edges": [
            {"name": c.name, "scope": scope, "tie": _is_tie(c)}
            for c, scope in zip(problem.constraints.values(), scopes, strict=True)
        ],
        "places": places,
        "layout": {
            "graph": graph_layout(len(number_of), scopes),
            "tree": None if parents is None else tree_layout([parents.get(i) for i in range(len(number_of))]),
        },
        "types": list(codec.by_name),
        "fields": {name: list(spec.fields) for name, spec in codec.by_name.items()},
        "leak": None,
        "leak_note": None,
        "window": {"from": 1, "to": 0, "total": None},
        "notes": list(ran.notes),
    }


def header_of(setup: Setup, seed: int, network: str) -> dict[str, Any]:
    """Return what the head needs of the header of a run that goes on."""
    params = dataclasses.asdict(setup.params) if setup.params is not None else {}
    return {"package": agentsim.__version__, "params": params, "seed": seed, "network": network}


def _params(given: object) -> dict[str, Any]:
    shown = Plain().of(given) if isinstance(given, Mapping) else {}
    return {name: short(value, 200) if isinstance(value, str) else value for name, value in shown.items()}


def _domain(setup: Setup, node: str) -> list[str]:
    variable = setup.problem.variables.get(node)
    if variable is None or variable.agent != setup.nodes[node]:
        return []  # the node of an agent without variables, which may be called like another's variable
    return [short(value, 200) for value in variable.domain.values]


def _is_tie(c: Constraint) -> bool:
    """Tell whether a constraint is public and demands that two variables have the same value."""
    if c.known_to != "all" or c.arity != 2 or c.table.shape[0] != c.table.shape[1] or c.table.shape[0] < 2:
        return False
    equal = c.table.diagonal().tolist()
    return all(map(math.isfinite, equal)) and int((abs(c.table) == math.inf).sum()) == c.table.size - len(equal)


def _places(setup: Setup, number_of: Mapping[str, int]) -> list[dict[str, Any]] | None:
    """Return the place of each variable in the tree, or in the order, which is a chain; None without either."""
    if setup.tree is not None:
        component: dict[str, int] = {}
        found = []
        for name in setup.tree:
            place = setup.tree.place(name, separators=False)
            found.append(
                {
                    "node": number_of[name],
                    "parent": None if place.parent is None else number_of[place.parent],
                    "pseudo": [number_of[p] for p in place.pseudo_parents],
                    "depth": place.depth,
                    "component": component.setdefault(place.component, len(component)),
                }
            )
        return found
    if setup.orders is not None:
        return [
            {
                "node": number_of[name],
                "parent": number_of[order[i - 1]] if i else None,
                "pseudo": [],
                "depth": i,
                "component": c,
            }
            for c, order in enumerate(setup.orders)
            for i, name in enumerate(order)
        ]
    return None


# Levels of private costs ---------------------------------------------------------------------------------------


def _scale(scale: Scale, sense: int) -> dict[str, Any]:
    shown = min(scale.levels, MOST_LEVELS)
    labels = []
    for i in range(1, shown + 1):
        # The levels that step i stands for: those that `step_of` takes to i.
        first = (i - 1) * scale.levels // shown + 1 if shown < scale.levels else i
        last = i * scale.levels // shown if shown < scale.levels else i
        ends = sorted((sense * scale.least(first), sense * scale.greatest(last)))
        labels.append(" to ".join(dict.fromkeys(map(number, ends))))
    return {"levels": shown, "labels": labels}


def step_of(level: int, levels: int) -> int:
    """Return the step (from 1) in which a level (from 1) of so many is shown."""
    return level if levels <= MOST_LEVELS else ((level * MOST_LEVELS) - 1) // levels + 1


class Bounds:
    """Puts declared bounds into words, in the user's units.

    Args:
        setup: the run's.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._offsets: dict[str, Cost] = {}
        groups = components(setup.problem)
        self._one = len(groups) == 1
        for members in groups:
            total = sum(setup.offset_at(name) for name in members)
            self._offsets.update(dict.fromkeys(members, total))

    def sentence(self, node: str, lower: Cost | None, upper: Cost | None) -> str:
        """Return what a node says of the least cost of its component, which is the problem where there is but one."""
        ends = [self._user(node, lower), self._user(node, upper)]
        low, high = ends if self._setup.sense > 0 else reversed(ends)
        what = "best cost" if self._setup.sense > 0 else "best utility"
        where = "" if self._one else f" of the component of {short(node)}"
        if low is not None and high is not None:
            said = number(low) if low == high else f"between {number(low)} and {number(high)}"
        elif low is not None:
            said = f"at least {number(low)}"
        else:
            said = "unknown" if high is None else f"at most {number(high)}"
        return f"{what}{where}: {said}"

    def _user(self, node: str, bound: Cost | None) -> Cost | None:
        if bound is None or math.isnan(bound):
            return None
        return self._setup.to_user(bound) if self._one else self._setup.to_user(bound, self._offsets.get(node, 0))
