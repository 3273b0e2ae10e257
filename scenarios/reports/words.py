"""Disclosure statements in plain words, in the user's units: "Ana: own cost is at most 7 if m1_Ana = 3".

A statement counts in solver's units, which minimise and may be shifted. Here the shift is taken off again, values are
called by their names, and a problem that maximises speaks of utility.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agentsim.dcop.problem import Cost, Value
from agentsim.runtime.mechanisms import (
    BoundedRange,
    Clear,
    Gaussian,
    Mechanism,
    PerTable,
    Pure,
    Repeated,
    SampledChoice,
    SampledGaussian,
    SubsetResponse,
    VisibleChoice,
)
from agentsim.runtime.statements import (
    Best,
    Chosen,
    CostIs,
    CostTable,
    Exponential,
    Nothing,
    Proposed,
    Released,
    Softmax,
    Statement,
    Term,
    Unanalysed,
    ValueIs,
)
from agentsim.runtime.view import Setup

MOST_CHARACTERS: Final = 240
"""A sentence is cut after so many."""
MOST_SENTENCES: Final = 8
_MOST_NAME: Final = 60
_MOST_CELLS: Final = 12
_MOST_CONTEXT: Final = 6

_RELATIONS: Final = {"<=": "is at most", ">=": "is at least", "==": "is", "<": "is less than"}
_MIRRORED: Final = {"<=": "is at least", ">=": "is at most", "==": "is", "<": "is more than"}


def short(text: object, most: int = _MOST_NAME) -> str:
    """Return text of at most so many characters."""
    words = str(text)
    return words if len(words) <= most else words[: most - 1] + "…"


def number(value: float) -> str:
    """Return a number as people write it: whole ones without a point, others with six digits."""
    if not math.isfinite(value):
        return "inf" if value > 0 else "-inf"
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return str(int(value))
    return f"{value:.6g}"


class Words:
    """Puts the statements of one run into words.

    Args:
        setup: the run's; names, owners, domains, sense.
    """

    def __init__(self, setup: Setup) -> None:
        self._sense = setup.sense
        self._cost = "cost" if setup.sense > 0 else "utility"
        self._relations = _RELATIONS if setup.sense > 0 else _MIRRORED
        hosted: dict[str, int] = {}
        for agent in setup.nodes.values():
            hosted[agent] = hosted.get(agent, 0) + 1
        self._who = {node: short(agent if hosted[agent] == 1 else node) for node, agent in setup.nodes.items()}
        self._agent = {node: short(agent) for node, agent in setup.nodes.items()}
        self._domains: dict[str, tuple[Value, ...]] = {
            v.name: v.domain.values for v in setup.problem.variables.values()
        }

    def all(self, statements: Sequence[Statement]) -> list[str]:
        """Return a sentence for each statement, no two alike, the last of too many saying how many there are more."""
        found = list(dict.fromkeys(short(self.sentence(s), MOST_CHARACTERS) for s in statements))
        if len(found) > MOST_SENTENCES:
            found[MOST_SENTENCES - 1 :] = [f"… and {len(found) - MOST_SENTENCES + 1} more"]
        return found

    def sentence(self, statement: Statement) -> str:
        """Return one statement as a sentence; TypeError for a kind of statement that is not known here."""
        if isinstance(statement, CostIs):
            return self._cost_is(statement)
        if isinstance(statement, CostTable):
            return self._cost_table(statement)
        if isinstance(statement, ValueIs):
            final = " in the end" if statement.when == "final" else ""
            return f"{self._equal(statement.variable, statement.value)}{final}"
        if isinstance(statement, Chosen):
            return self._chosen(statement)
        if isinstance(statement, Released):
            return self._released(statement)
        if isinstance(statement, Proposed):
            return f"asks what it costs if {self._context(statement.context)}"
        if isinstance(statement, Nothing):
            return f"says nothing of costs ({statement.label}: {_fields(statement)})"
        if isinstance(statement, Unanalysed):
            return f"not analysed: {statement.label} ({_fields(statement)})"
        raise TypeError(f"no words for a {type(statement).__name__}")

    # Costs -----------------------------------------------------------------------------------------------------

    def _cost_is(self, s: CostIs) -> str:
        some = " for some values of the rest" if s.others == "some" else ""
        noise = ", with noise" if s.noise is not None else ""
        verdict = self._verdict(s)
        if len(s.terms) == 1 and s.terms[0].coefficient == 1:
            term = s.terms[0]
            return f"{self._subject(term)} {verdict}{noise}{self._if(term.context)}{some}"
        shared = _common([t.context for t in s.terms])
        parts = ""
        for term in s.terms:
            sign = " - " if term.coefficient < 0 else " + " if parts else ""
            size = abs(term.coefficient)
            factor = "" if size == 1 else f"{number(size)} x "
            own = {n: v for n, v in term.context.items() if n not in shared}
            parts += f"{sign}{factor}[{self._subject(term)}{self._if(own)}]"
        return f"{parts.strip()} {verdict}{noise}{self._if(shared)}{some}"

    def _verdict(self, s: CostIs) -> str:
        if s.value == math.inf:
            return {"<": "is not forbidden", "<=": "may be anything"}.get(s.relation, "is forbidden")
        if s.value == s.forbidden and s.relation in ("==", ">="):
            return "is forbidden"
        return f"{self._relations[s.relation]} {number(self._user(s.value, s.offset))}"

    def _user(self, value: Cost, offset: Cost) -> Cost:
        return self._sense * (value - offset)

    def _subject(self, term: Term) -> str:
        return self._whose(term.parties, term.rest)

    def _whose(self, parties: Sequence[str], rest: str) -> str:
        if rest == "share":
            who = list(dict.fromkeys(self._agent.get(p, short(p)) for p in parties))
        else:
            who = [self._who.get(p, short(p)) for p in parties]
        names = _listed(who)
        own = "own" if len(who) == 1 else "joint"
        return {
            "none": f"{names}: {own} {self._cost}",
            "subtree": f"{names}: {self._cost} with everything below",
            "unknown": f"{names}: {self._cost} together with others not named",
            "local": f"{names}: local {self._cost}",
            "share": f"{names}: {self._cost} of what {'it answers' if len(who) == 1 else 'they answer'} for",
        }[rest]

    def _cost_table(self, s: CostTable) -> str:
        cells = s.values.reshape(-1)
        shown = [self._cell(c, s.offset) for c in cells[:_MOST_CELLS].tolist()]
        if cells.size > _MOST_CELLS:
            shown.append("…")
        if s.axes:
            sizes = " x ".join(map(str, s.values.shape))
            axes = _listed([short(a) for a in s.axes])
            where = f" for each of {sizes} values of {axes}"
        else:
            where = ""
        return f"{self._whose(s.parties, s.rest)}{where}{self._if(s.context)}: {', '.join(shown)}"

    def _cell(self, value: Cost, offset: Cost) -> str:
        return "forbidden" if value == math.inf else number(self._user(value, offset))

    # Choices ---------------------------------------------------------------------------------------------------

    def _chosen(self, s: Chosen) -> str:
        law = {
            Best: f"least {self._cost}" if self._sense > 0 else f"most {self._cost}",
            Softmax: "a random choice that prefers what is good",
            Exponential: "the exponential mechanism",
        }[type(s.law)]
        return f"{self._equal(s.variable, s.value)} was chosen by {law}{self._if(s.context)}"

    def _released(self, s: Released) -> str:
        what = f"{self._who.get(s.about, short(s.about))}: released through {_mechanism(s.mechanism)}"
        sensitivity = f", sensitivity {number(s.sensitivity)}" if s.sensitivity else ""
        tables = f", on {_listed([short(t) for t in s.tables])}" if s.tables else ""
        return f"{what}{sensitivity}{tables} ({s.label})"

    # Values ----------------------------------------------------------------------------------------------------

    def value(self, variable: str, index: int) -> str:
        """Return the name of a value; its number where there is no such value (somebody may lie)."""
        domain = self._domains.get(variable, ())
        return short(domain[index]) if 0 <= index < len(domain) else f"value number {index}"

    def _equal(self, variable: str, index: int) -> str:
        return f"{short(variable)} = {self.value(variable, index)}"

    def _if(self, context: Mapping[str, int]) -> str:
        return f" if {self._context(context)}" if context else ""

    def _context(self, context: Mapping[str, int]) -> str:
        shown = [self._equal(name, index) for name, index in list(context.items())[:_MOST_CONTEXT]]
        if len(context) > _MOST_CONTEXT:
            shown.append(f"{len(context) - _MOST_CONTEXT} more")
        return _listed(shown) or "nothing is fixed"


def _common(contexts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Return what all contexts agree on."""
    first, *others = contexts or ({},)
    return {name: value for name, value in first.items() if all(c.get(name) == value for c in others)}


def _listed(names: Sequence[str]) -> str:
    if len(names) > _MOST_CONTEXT + 1:
        names = [*names[:_MOST_CONTEXT], f"{len(names) - _MOST_CONTEXT} more"]
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _fields(statement: Statement) -> str:
    return ", ".join(statement.fields) or "no field"


def _mechanism(m: Mechanism) -> str:
    """Return what stands between costs and a message, in words; a mechanism of somebody's own by its name."""
    words: dict[type[Mechanism], Any] = {
        Pure: lambda m: f"a mechanism of epsilon {number(m.epsilon)}",
        BoundedRange: lambda m: f"a mechanism of bounded range {number(m.alpha)}",
        SubsetResponse: lambda m: (
            f"a random answer that prefers {m.size} of {m.domain} values, epsilon {number(m.epsilon)}"
        ),
        Gaussian: lambda m: f"normal noise of {number(m.multiplier)} x sensitivity",
        VisibleChoice: lambda m: f"a random choice made with probability {number(m.q)}, log-ratio {number(m.bound)}",
        SampledChoice: lambda m: f"a random choice made with probability {number(m.q)}, log-ratio {number(m.bound)}",
        SampledGaussian: lambda m: (
            f"normal noise of {number(m.multiplier)} x sensitivity, drawn with probability {number(m.q)}"
        ),
        PerTable: lambda m: f"{_mechanism(m.table)} for each table",
        Clear: lambda m: f"no mechanism at all ({m.reason})",
        Repeated: lambda m: f"{_mechanism(m.mechanism)}, {m.times} times",
    }
    say = words.get(type(m))
    return say(m) if say is not None else f"the mechanism {type(m).__name__}"
