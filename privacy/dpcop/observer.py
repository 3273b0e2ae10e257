"""What a run of a DPCOP costs in all: the solution, and the privacy that was lost on the way.

Source: Doshi, Matsui, Silaghi, Yokoo and Zanker, "Distributed Private Constraint Optimization", section 2. What is
minimised is the sum over agents of their costs and of the price of what they revealed, P_i(Pi_i); when maximising the
prices are subtracted. What is revealed is made by the run, so this is found by watching it: each peer's belief is what
follows from all its mail (see `privacy.dpcop.belief`), also from what third parties sent it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final

from agentsim.dcop.problem import Cost, Table
from agentsim.errors import UserError
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.observer import Observer, ObserverContext, Outcome
from agentsim.runtime.statements import Reader
from privacy.adversaries.learner import Ears
from privacy.dpcop.belief import Belief, PrivateCosts
from privacy.dpcop.model import private_tables
from privacy.dpcop.rational import Ledger, dpcop_of

OPTIONS: Final = ("view", "as", "pricing", "policy", "coalition", "dpcop")


ASSUMES: Final = (
    "each peer knows everything but the others' private costs, whose ranges are public, and concludes all that follows "
    "from what it was told"
)


class _Holder:
    """Those who hold one belief in common: an agent, a coalition, or all agents but one."""

    def __init__(self, agents: frozenset[str], about: frozenset[str], reader: Reader, belief: Belief) -> None:
        self.agents, self.about, self.belief = agents, about, belief
        self._ears = Ears(reader)
        self.complete = False

    def read(self, delivery: Delivery, own: bool) -> bool:
        """Read a delivery; tell whether anything is known better than before."""
        if self.complete:  # nothing is left to learn
            return False
        if not self.belief.hear(self._ears.hear(delivery, own)):
            return False
        self.complete = self.belief.complete
        return True


class DpcopCosts(Observer):
    """Cost, revelation, price of privacy and total of a run, by agent and in all, in the user's units.

    With the view `all` every agent learns on its own; with `coalition` all agents but the one concerned tell each other
    everything. Another view prices what these agents learn alone, `coalitions:K` what every K of them do.

    Options:
        pricing: "full", "bits" or "probability", in place of the problem's.
        coalition: true or false, likewise.
        policy: the bound that agents went by, likewise; it is shown and changes nothing.
        dpcop: from Python only: a `Dpcop` in place of the problem's privacy section.

    Findings:
        agents: by agent, `cost` (of its private functions; null without a solution), `revelation` (to each peer: the
            names of known secrets, or each secret's share from 0 to 1), `privacy_cost`, `total`, `reward`.
        cost, public_cost, privacy_cost, total: in all. `cost` has the public costs in it. When maximising, `total` is
            what is left of the quality.
        curve: [time, price of all that is revealed by then] at each change.
        abandoned: agent, node, time and reason, or null.
        pricing, policy, coalition: as they were.
        exact: whether all that was told of costs and best choices is accounted for; else peers may know more than is
            priced.
        unused: labels of what was told and is not analysed, or is a random choice: peers may know more by it too.
        contradicted: peers whom was told what cannot be true of costs within the public ranges.
        notes, assumes: what was taken as public, and what peers are thought to know.

    Raises:
        UserError: the problem has no privacy section, costs are not whole numbers or not in the log, or an option makes
            no sense.
    """

    name = "dpcop"

    def __init__(self, context: ObserverContext) -> None:
        super().__init__(context)
        for key in context.options:
            if key not in OPTIONS:
                raise UserError(f"observer {self.label}: no option {key}; it has {', '.join(OPTIONS)}")
        if context.redacted:
            raise UserError(f"observer {self.label}: private costs were left out of this log (--redact), it needs them")
        if context.view.wire is not None:
            raise UserError(f"observer {self.label}: a wire is nobody's, so nothing has a price for it")
        settings = {key: value for key, value in context.options.items() if key not in ("view", "as")}
        dpcop = dpcop_of(context.setup.original, settings)
        self._dpcop = dpcop
        self._costs = PrivateCosts(dpcop, context.setup)
        self._outcome: Outcome | None = None

    def start(self) -> None:
        """Give each peer a reader and a belief."""
        setup, dpcop = self.context.setup, self._dpcop
        everybody = tuple(setup.original.agents)
        self._owners = setup.nodes
        self._ledgers = {agent: Ledger(stake, dpcop.pricing) for agent, stake in dpcop.stakes.items()}
        self._holders: list[_Holder] = []
        self._analysed = self.context.reader_for(()) is not None
        groups: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        if self._analysed:
            if dpcop.coalition and self.context.view.spec == "all":
                groups = [(tuple(a for a in everybody if a != agent), (agent,)) for agent in self._ledgers]
            else:
                groups = [
                    (group, tuple(agent for agent in self._ledgers if agent not in group))
                    for _, group in self.context.view.viewers(everybody)
                ]
            self._holders = [self._holder(*group) for group in groups if group[0] and group[1]]
        self._mail: dict[str, list[_Holder]] = {agent: [] for agent in everybody}
        for holder in self._holders:
            for agent in holder.agents:
                self._mail[agent].append(holder)
        self._curve: list[tuple[float, float]] = []

    def _holder(self, agents: tuple[str, ...], about: tuple[str, ...]) -> _Holder:
        reader = self.context.reader_for(node for node, owner in self._owners.items() if owner in agents)
        assert reader is not None
        return _Holder(frozenset(agents), frozenset(about), reader, Belief(self._costs, agents))

    def observe(self, delivery: Delivery) -> None:
        """Let whoever sees one delivery read it, and price what is known now."""
        src, dst = self._owners[delivery.src], self._owners[delivery.dst]
        increment = 0.0
        for holder in dict.fromkeys((*self._mail[src], *self._mail[dst])):
            if holder.read(delivery, own=src in holder.agents):
                self.satisfied = all(h.complete for h in self._holders)
                beliefs = dict.fromkeys(holder.agents, holder.belief)
                for agent in holder.about:
                    increment += self._ledgers[agent].update(beliefs)
        if increment:
            if self._curve and self._curve[-1][0] == delivery.delivered_at:
                self._curve.pop()
            self._curve.append((delivery.delivered_at, self._price))

    @property
    def _price(self) -> float:
        return sum(ledger.price for ledger in self._ledgers.values())

    def ended(self, outcome: Outcome) -> None:
        """Take note of the solution; a run that was abandoned has none, whatever values were held."""
        self._outcome = outcome if outcome.abandoned is None else dataclasses.replace(outcome, assignment=None)

    def findings(self) -> dict[str, Any]:
        """Return what the run cost, see the class."""
        if not self._analysed:
            return {"solver_analysed": False, "note": f"{self.context.solver_name}: not analysed, it has no reader"}
        dpcop, problem = self._dpcop, self._dpcop.problem
        sign = 1 if problem.objective == "min" else -1
        solution = self._outcome.assignment if self._outcome is not None else None
        abandoned = self._outcome.abandoned if self._outcome is not None else None
        own = private_tables(problem)
        agents: dict[str, Any] = {}
        for agent in problem.agents:
            ledger = self._ledgers.get(agent)
            price = ledger.price if ledger is not None else 0.0
            cost = None if solution is None else _cost(own.get(agent, {}), solution)
            agents[agent] = {
                "cost": cost,
                "revelation": _shown(ledger) if ledger is not None else {},
                "privacy_cost": price,
                "total": None if cost is None else cost + sign * price,
                "reward": ledger.stake.reward if ledger is not None else math.inf,
            }
        whole = None if solution is None else problem.evaluate_indices(solution).cost
        private = [found["cost"] for found in agents.values()]
        finite = whole is not None and math.isfinite(whole)
        return {
            "solver_analysed": True,
            "agents": agents,
            "cost": whole,
            "public_cost": whole - sum(private) if finite else None,
            "privacy_cost": self._price,
            "total": None if whole is None else whole + sign * self._price,
            "curve": [list(point) for point in self._curve],
            "abandoned": None if abandoned is None else dataclasses.asdict(abandoned),
            "pricing": dpcop.pricing,
            "policy": dpcop.resolved_policy,
            "coalition": dpcop.coalition,
            "exact": all(holder.belief.exact for holder in self._holders),
            "unused": sorted(set().union(*(holder.belief.unused for holder in self._holders))),
            "contradicted": ["+".join(sorted(h.agents)) for h in self._holders if h.belief.contradicted],
            "notes": list(self._costs.notes),
            "assumes": ASSUMES,
        }


def _cost(tables: Mapping[tuple[str, ...], Table], solution: Mapping[str, int]) -> Cost:
    entries = [table[tuple(solution[v] for v in scope)].item() for scope, table in tables.items()]
    total = sum(entries)
    return int(total) if math.isfinite(total) and float(total).is_integer() else total


def _shown(ledger: Ledger) -> dict[str, Any]:
    """Return to each peer what is revealed: names, or shares of secrets that are not 0."""
    found: dict[str, Any] = {}
    for peer in ledger.revelation.peers:
        shares = {s.name: ledger.revelation.share(peer, s.name) for s in ledger.stake.secrets}
        told = {name: share for name, share in shares.items() if share}
        found[peer] = list(told) if ledger.pricing == "full" else told
    return found
