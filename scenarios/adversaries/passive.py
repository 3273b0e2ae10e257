"""Passive adversaries: who listens on a wire, and agents that share what they learn; against each of them alone.

They attach observers and change nothing. `Passive.learned` then compares, subject by subject, what was learnt together
with what the best of the single agents learnt of the same subject, by the same observer in the same run. Only subjects
outside count: a member of a coalition has nothing to learn of itself, and what each member learnt of the other members
is no gain of the coalition.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from agentsim.dcop.problem import Problem
from agentsim.errors import UserError
from agentsim.runtime import registry
from agentsim.runtime.network import quote
from scenarios.adversaries.base import Adversary, Options, Target


@dataclass(frozen=True)
class Passive(Adversary):
    """Base of adversaries that only watch.

    Args:
        observer: "vps" (by `rule`) or "consistent" (the exact one, for small problems with whole costs).
        rule: of `vps`.
    """

    kind: ClassVar[str] = "passive"

    observer: Literal["vps", "consistent"] = "vps"
    rule: str = "tight"

    @abstractmethod
    def view(self, agents: Sequence[str]) -> str:
        """Return whose eyes it has, as views are written."""

    def against(self, target: Target) -> Options:
        """Return the observers: its own, and one for each of the agents alone."""
        views = {self.label(target.agents): self.view(target.agents)}
        views |= {self.label(target.agents, agent): f"agent:{quote(agent)}" for agent in target.agents}
        cls = registry.find("observers", self.observer)
        more = {"rule": self.rule} if self.observer == "vps" else {}
        return {"observers": [(cls, {**more, "view": view, "as": label}) for label, view in views.items()]}

    def label(self, agents: Sequence[str], single: str = "") -> str:
        """Return under which name the findings appear: of all together, or of a single one of the agents."""
        together = f"{self.name} {self.written(agents)}"
        return f"{together}: {quote(single)}" if single else together

    def learned(self, findings: Mapping[str, Any], agents: Sequence[str]) -> list[dict[str, Any]]:
        """Return, for each subject, what was learnt of its private costs, in bits.

        Args:
            findings: of a run with these observers, or of its replay.
            agents: as given to `attack`.

        Returns:
            Maps of `subject`; `together`; `alone`, by single agent other than the subject; and `beyond`, `together`
            less the greatest of `alone`. Where what was said cannot all be true (somebody lies), or nothing is known of
            what the solver discloses, there is no comparison, and the list is empty.
        """
        found = [findings.get(self.label(agents, single)) for single in ("", *agents)]
        rows = [self._bits(one) for one in found]
        together, singles = rows[0], dict(zip(agents, rows[1:], strict=True))
        if together is None or any(row is None for row in singles.values()):
            return []
        learnt = []
        for subject, bits in together.items():
            alone = {agent: row.get(subject, 0.0) for agent, row in singles.items() if row and agent != subject}
            if alone:
                beyond = bits - max(alone.values())
                learnt.append({"subject": subject, "together": bits, "alone": alone, "beyond": beyond})
        return learnt

    @staticmethod
    def _bits(found: Mapping[str, Any] | None) -> Mapping[str, float] | None:
        """Return what the only viewer of an observer's findings learnt, by subject; None if that is not known."""
        matrix = (found or {}).get("matrix")
        if not matrix or (found or {}).get("contradicted"):
            return None
        row: Mapping[str, float] = next(iter(matrix.values()))
        return row


@dataclass(frozen=True)
class Eavesdropper(Passive):
    """Listens on the wire from one agent to another, written A>B; knows no private costs of its own.

    What it learns is compared with what the sender knows of others and the receiver of all but itself. The receiver
    hears the same and knows its own costs and mail besides, so that of the sender nobody on a wire learns more.
    """

    name: ClassVar[str] = "eavesdropper"
    joint: ClassVar[str] = ">"

    def view(self, agents: Sequence[str]) -> str:
        """Return the wire."""
        return "wire:" + ">".join(map(quote, agents))

    def agents_of(self, problem: Problem, given: str | Sequence[str] | None) -> tuple[str, ...]:
        """Return sender and receiver."""
        agents = super().agents_of(problem, given)
        if len(agents) != 2 or agents[0] == agents[1]:
            raise UserError(f"adversary {self.name}: listens on a wire between two agents, written A>B")
        return agents

    def by_default(self, problem: Problem) -> tuple[str, ...]:
        """Return the first two agents that share a constraint, else the first two."""
        return _partners(problem)


@dataclass(frozen=True)
class Coalition(Passive):
    """Agents that put together what each of them knows and is told, written A+B; they keep to the protocol."""

    name: ClassVar[str] = "coalition"
    joint: ClassVar[str] = "+"

    def view(self, agents: Sequence[str]) -> str:
        """Return the coalition."""
        return "coalition:" + "+".join(map(quote, agents))

    def agents_of(self, problem: Problem, given: str | Sequence[str] | None) -> tuple[str, ...]:
        """Return the members."""
        agents = super().agents_of(problem, given)
        if len(set(agents)) < max(2, len(agents)):
            raise UserError(f"adversary {self.name}: needs two agents or more, each once, written A+B")
        return agents

    def by_default(self, problem: Problem) -> tuple[str, ...]:
        """Return the first two agents that share a constraint, else the first two."""
        return _partners(problem)


def _partners(problem: Problem) -> tuple[str, ...]:
    for c in problem.constraints.values():
        agents = tuple(dict.fromkeys(problem.variables[name].agent for name in c.scope))
        if len(agents) > 1:
            return agents[:2]
    return tuple(problem.agents[:2])
