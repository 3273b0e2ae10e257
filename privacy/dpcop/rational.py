"""Rational agents: they pay for what they reveal, and leave when revealing costs more than solving brings.

Source: Doshi, Matsui, Silaghi, Yokoo and Zanker, "Distributed Private Constraint Optimization", section 2. Before each
message an agent compares what it has revealed so far (r) with what it will have revealed then (r*)::

    minimising    it abandons iff  P(r*) - P(r) + W >= U        W: a lower bound on the cost of the solution
    maximising    it abandons iff  W - (P(r*) - P(r)) <= 0      W: an upper bound on its quality

Equality abandons, and it is the increment that counts, not all that was lost so far. With an infinite reward U nobody
abandons, whatever is infinite besides. The paper leaves open whose cost W bounds:

    zero         W = 0: what the solution costs is left aside. The only one under which the paper's example is solved
    own_min      the least that the agent's own private costs can come to
    own_tuple    what they come to on the assignment that the message speaks of; where it speaks of none, own_min
    global_lb    own_min, and the public lower bounds of everybody else's costs and of public constraints; constraints
                 that several agents know count as public, as they do for beliefs

When maximising, W is the greatest quality in place of the least cost; `zero` then makes everybody abandon at once, so
there the default is `own_min`.

A gate knows what its agent knows: its own costs, what is public, and what it exchanged with each peer. What peers tell
each other it can only guess; with `coalition` it takes for granted that they tell each other everything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, Literal

from agentsim.dcop.problem import Problem
from agentsim.dcop.tables import NamedTable, join, minimised, restrict
from agentsim.errors import UserError
from agentsim.runtime.agent import Agent
from agentsim.runtime.gate import GateFactory
from agentsim.runtime.messages import Envelope
from agentsim.runtime.statements import Chosen, CostIs, Proposed, Statement, ValueIs
from agentsim.runtime.view import LocalView, Setup
from privacy.dpcop.belief import Belief, PrivateCosts, revealed
from privacy.dpcop.model import Dpcop, Policy, Pricing, Stake, private_tables
from privacy.dpcop.revelation import Revelation

MAX_CELLS: Final = 1_000_000
"""Beyond so many combinations of values an agent's least cost is bounded by the sum of its functions' least costs."""


class Ledger:
    """What one agent has revealed so far, and what that costs it.

    A peer that once knew something may have acted on it, so what is revealed never falls.

    Args:
        stake: the agent's secrets and prices.
        pricing: what is counted.
    """

    def __init__(self, stake: Stake, pricing: Pricing) -> None:
        self.stake, self.pricing = stake, pricing
        self.revelation: Revelation = revealed({}, (), pricing)
        self.price = float(stake.price(self.revelation))

    def update(self, beliefs: Mapping[str, Belief]) -> float:
        """Take over what peers believe now and return by how much that raises the price."""
        now = self.revelation.union(revealed(beliefs, self.stake.secrets, self.pricing))  # type: ignore[arg-type]  # both have this pricing's form
        if now == self.revelation:
            return 0.0
        before, price = self.price, float(self.stake.price(now))
        if math.isnan(price) or (price < before and not math.isclose(price, before, rel_tol=1e-9, abs_tol=1e-9)):
            raise UserError(f"privacy: a price fell from {before:g} to {price:g} when more was revealed")
        self.revelation, self.price = now, max(price, before)
        return price - before if price > before else 0.0


def abandons(minimising: bool, increment: float, bound: float, reward: float) -> bool:
    """Tell whether a rational agent abandons.

    Args:
        minimising: the problem's sense.
        increment: P(r*) - P(r), at least 0; may be infinite.
        bound: W, in the user's units; may be infinite.
        reward: U; not used when maximising.
    """
    if not minimising:
        return bound - increment <= 0 if math.isfinite(increment) else True
    return reward < math.inf and increment + bound >= reward


class SolutionBound:
    """W: what an agent expects the solution to cost at least (when maximising: to be worth at most), user's units.

    Args:
        dpcop: the problem.
        agent: whose bound.
        policy: see the module.
        setup: the run's setup.
    """

    def __init__(self, dpcop: Dpcop, agent: str, policy: Policy, setup: Setup) -> None:
        self._policy = policy
        self._setup = setup
        problem = dpcop.problem
        self._sense = setup.sense
        self._sizes = {v.name: v.size for v in problem.variables.values()}
        own = private_tables(problem).get(agent, {})
        self._own: list[NamedTable] = [(scope, self._sense * table) for scope, table in own.items()]
        self._variables = {v for scope in own for v in scope}
        self._nodes = {node for node, owner in setup.nodes.items() if owner == agent}
        least = 0.0 if policy == "zero" else self._least({})
        if policy == "global_lb":
            least += sum(_floors(PrivateCosts(dpcop, setup), problem, agent))
        self._constant = self._sense * least + 0.0  # never minus zero

    def of(self, statements: Iterable[Statement]) -> float:
        """Return W for a message that makes these statements."""
        if self._policy != "own_tuple":
            return self._constant
        told = list(statements)
        contexts = [{s.variable: s.value for s in told if isinstance(s, ValueIs)}, *map(self._context, told)]
        own = [context for given in contexts if (context := self._own_part(given))]
        return self._sense * min(map(self._least, own)) + 0.0 if own else self._constant

    def _least(self, context: Mapping[str, int]) -> float:
        tables = [restrict(table, context) for table in self._own]
        axes = {axis for scope, _ in tables for axis in scope}
        if math.prod(self._sizes[axis] for axis in axes) > MAX_CELLS:
            return float(sum(table.min() for _, table in tables))
        return float(join(minimised(tables, (), self._sizes), ()).item()) if tables else 0.0

    def _context(self, statement: Statement) -> Mapping[str, int]:
        """Return the assignment that a statement speaks of, values aside."""
        if isinstance(statement, CostIs):  # of several terms the first: the others are what it is held against
            return next((t.context for t in statement.terms if not self._nodes.isdisjoint(t.parties)), {})
        if isinstance(statement, Proposed):
            return statement.context
        if isinstance(statement, Chosen):
            return {**statement.context, statement.variable: statement.value}
        return {}

    def _own_part(self, context: Mapping[str, int]) -> dict[str, int]:
        """Return what an assignment gives to variables of the agent's private functions."""
        values = {self._setup.copies.get(name, name): value for name, value in context.items()}
        return {name: value for name, value in values.items() if name in self._variables}


def _floors(costs: PrivateCosts, problem: Problem, agent: str) -> Iterable[float]:
    """Yield public lower bounds (minimised) of all cost functions but an agent's private ones."""
    sense = costs.setup.sense
    for function in costs.functions.values():
        if function.agent != agent:
            possible = costs.range_of(function)
            yield 0.0 if possible == "hard" else float(possible[0] if sense > 0 else -possible[1])
    for c in problem.constraints.values():
        if len(problem.known_to(c)) > 1:
            yield float((sense * c.table).min())
    yield float(sense * problem.constant)


class RationalGate:
    """The gate of one rational agent.

    Args:
        agent: its name.
        ledger: what it revealed and what that costs.
        bound: W.
        beliefs: by peer, what that one believes, as far as the agent can tell; peers of a coalition have one in common.
        owners: agent by node.
        minimising: the problem's sense.
    """

    def __init__(
        self,
        agent: str,
        ledger: Ledger,
        bound: SolutionBound,
        beliefs: Mapping[str, Belief],
        owners: Mapping[str, str],
        minimising: bool,
    ) -> None:
        self.agent, self.ledger = agent, ledger
        self._bound, self._beliefs, self._owners, self._minimising = bound, beliefs, owners, minimising

    def before_send(
        self, views: Mapping[str, LocalView], envelope: Envelope, statements: list[Statement]
    ) -> Literal["send"] | tuple[Literal["abandon"], str]:
        """Price what the receiver will know, and abandon if that is too much."""
        peer = self._owners[envelope.dst]
        increment, belief = 0.0, self._beliefs[peer]
        if belief.hear(statements):
            increment = self.ledger.update({p: b for p, b in self._beliefs.items() if b is belief})
        bound, reward = self._bound.of(statements), self.ledger.stake.reward
        if not abandons(self._minimising, increment, bound, reward):
            return "send"
        if self._minimising:
            why = f"{increment:g} more for privacy and a cost of at least {bound:g} reach the reward of {reward:g}"
        else:
            why = f"{increment:g} more for privacy reach the quality of at most {bound:g} that a solution can have"
        return "abandon", why


def dpcop_of(problem: Problem, settings: Mapping[str, Any]) -> Dpcop:
    """Return the DPCOP of a problem with some of its settings replaced.

    Args:
        problem: with a privacy section.
        settings: pricing, policy, coalition; as text too ("true"). Also dpcop, which takes the place of the section.

    Raises:
        UserError: there is no such section, no such setting, or a setting makes no sense.
    """
    given = dict(settings)
    dpcop = given.pop("dpcop", None) or Dpcop.of(problem)
    if dpcop is None:
        raise UserError(f"problem {problem.name}: has no privacy section, so nothing has a price")
    if not isinstance(dpcop, Dpcop):
        raise UserError("privacy: dpcop must be a Dpcop, given from Python")
    if dpcop.problem is not problem:
        dpcop = replace(dpcop, problem=problem)
    for key in given:
        if key not in ("pricing", "policy", "coalition"):
            raise UserError(f"privacy: no setting {key}; there are pricing, policy and coalition")
    if isinstance(given.get("coalition"), str):
        if given["coalition"] not in ("true", "false"):
            raise UserError(f"privacy.coalition: {given['coalition']!r} must be true or false")
        given["coalition"] = given["coalition"] == "true"
    return replace(dpcop, **given) if given else dpcop


def rational(**settings: object) -> GateFactory:
    """Return what makes every agent of a DPCOP rational: `simulate(problem, solver, gates=rational())`.

    Agents that can never abandon (an infinite reward) get no gate.

    Args:
        **settings: pricing, policy, coalition in place of those in the problem; dpcop, a `Dpcop` in place of the
            problem's privacy section (prices that no file can hold, for instance).

    Raises:
        UserError: when the run begins: the problem has no privacy section, or the solver has no reader, so that what
            its messages reveal cannot be priced.
    """

    def make(setup: Setup, solver: type[Agent]) -> dict[str, RationalGate]:
        dpcop = dpcop_of(setup.original, settings)
        minimising = setup.sense > 0
        who = [agent for agent, stake in dpcop.stakes.items() if not minimising or stake.reward < math.inf]
        if who and solver.reader is None:
            raise UserError(f"solver {solver.__name__} has no reader: what its messages reveal cannot be priced")
        costs = PrivateCosts(dpcop, setup)
        gates = {}
        for agent in who:
            peers = [other for other in setup.original.agents if other != agent]
            shared = Belief(costs, peers) if dpcop.coalition else None
            beliefs = {peer: shared or Belief(costs, (peer,)) for peer in peers}
            bound = SolutionBound(dpcop, agent, dpcop.resolved_policy, setup)
            ledger = Ledger(dpcop.stakes[agent], dpcop.pricing)
            gates[agent] = RationalGate(agent, ledger, bound, beliefs, setup.nodes, minimising)
        return gates

    return make
