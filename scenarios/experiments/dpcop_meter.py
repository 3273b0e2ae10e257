"""Which reward keeps every agent of a DPCOP in a run: gates that never abandon, and note what would have made them.

Source: the rule of abandonment of Doshi, Matsui, Silaghi, Yokoo and Zanker, "Distributed Private Constraint
Optimization", section 2: before a message an agent abandons if P(r*) - P(r) + W >= U. See `privacy.dpcop.rational`.

Neither P nor W depends on the reward U, gates draw no random numbers, and before somebody abandons a gate changes
nothing. So the run with the reward U, if all agents have the same, is this one up to the first message, in the order
of sending, for which P(r*) - P(r) + W reaches U: one run tells of all rewards, under all policies and pricings. A
message that reaches no more than an earlier one is the first for no reward; the rest are *peaks*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

from agentsim.errors import UserError
from agentsim.runtime.agent import Agent
from agentsim.runtime.gate import GateFactory
from agentsim.runtime.messages import Envelope
from agentsim.runtime.statements import Statement
from agentsim.runtime.view import LocalView, Setup
from privacy.dpcop.belief import Belief, PrivateCosts
from privacy.dpcop.model import Policy, Pricing
from privacy.dpcop.rational import Ledger, SolutionBound, abandons, dpcop_of

PRICINGS: Final[tuple[Pricing, ...]] = get_args(Pricing)
POLICIES: Final[tuple[Policy, ...]] = get_args(Policy)


class Peak(NamedTuple):
    """A message that asks for a greater reward than any before.

    Args:
        increment: P(r*) - P(r), what its sender loses with it.
        bound: W.
        agent: its sender.
        role: of the sending node, see `roles`.
        message: its type.
        time: virtual time of sending.
    """

    increment: float
    bound: float
    agent: str
    role: str
    message: str
    time: float

    @property
    def reward(self) -> float:
        """The greatest reward with which its sender abandons; a greater one keeps it. May be infinite."""
        return self.increment + self.bound


Peaks: TypeAlias = dict[tuple[Pricing, Policy], list[Peak]]
"""Peaks by pricing and policy, in the order of sending."""


def first_to_abandon(peaks: Sequence[Peak], reward: float) -> Peak | None:
    """Return the message before which a run with this reward is abandoned, or None where it is not."""
    return next((peak for peak in peaks if abandons(True, peak.increment, peak.bound, reward)), None)


def meter(peaks: Peaks) -> GateFactory:
    """Return what gives every agent that has secrets a gate that fills `peaks`: `simulate(..., gates=meter(peaks))`.

    The problem minimises, and agents do not take for granted that their peers tell each other everything. Rewards in
    the problem are not looked at.

    Raises:
        UserError: when the run begins: no privacy section, a problem that maximises, or a solver without a reader.
    """

    def make(setup: Setup, solver: type[Agent]) -> dict[str, _Meter]:
        dpcop = dpcop_of(setup.original, {})
        if setup.sense < 0:
            raise UserError(f"problem {setup.original.name}: maximises, so there are no rewards")
        if solver.reader is None:
            raise UserError(f"solver {solver.__name__} has no reader: what its messages reveal cannot be priced")
        costs = PrivateCosts(dpcop, setup)
        names = roles(setup)
        peaks.update({(pricing, policy): [] for pricing in PRICINGS for policy in POLICIES})
        return {
            agent: _Meter(
                {pricing: Ledger(stake, pricing) for pricing in PRICINGS},
                {policy: SolutionBound(dpcop, agent, policy, setup) for policy in POLICIES},
                {peer: Belief(costs, (peer,)) for peer in setup.original.agents if peer != agent},
                setup.nodes,
                names,
                peaks,
            )
            for agent, stake in dpcop.stakes.items()
        }

    return make


class _Meter:
    """The gate of one agent."""

    def __init__(
        self,
        ledgers: Mapping[Pricing, Ledger],
        bounds: Mapping[Policy, SolutionBound],
        beliefs: Mapping[str, Belief],
        owners: Mapping[str, str],
        names: Mapping[str, str],
        peaks: Peaks,
    ) -> None:
        self._ledgers, self._bounds, self._beliefs = ledgers, bounds, beliefs
        self._owners, self._roles, self._peaks = owners, names, peaks

    def before_send(
        self, views: Mapping[str, LocalView], envelope: Envelope, statements: list[Statement]
    ) -> Literal["send"]:
        """Note what the message costs and let it go."""
        increments = dict.fromkeys(self._ledgers, 0.0)
        if self._beliefs[self._owners[envelope.dst]].hear(statements):
            increments = {pricing: ledger.update(self._beliefs) for pricing, ledger in self._ledgers.items()}
        src = envelope.src
        for policy, bound in self._bounds.items():
            w = bound.of(statements)
            for pricing, increment in increments.items():
                peaks = self._peaks[pricing, policy]
                if not peaks or increment + w > peaks[-1].reward:
                    who = (self._owners[src], self._roles[src], envelope.type, envelope.sent_at)
                    peaks.append(Peak(increment, w, *who))
        return "send"


def roles(setup: Setup) -> dict[str, str]:
    """Return what each node is to the solver.

    "root", "inner" or "leaf" of a tree; "first", "middle" or "last" of an order; "alone" where a tree or order has but
    one node; "leader" or "asked"; "agent" where all are alike.
    """
    one_leader = hasattr(setup.params, "leader")
    found = {}
    for node, owner in setup.nodes.items():
        role = "agent"
        if setup.tree is not None and node in setup.tree:
            place = setup.tree.place(node, separators=False)
            role = _place(place.parent is None, not place.children, ("root", "inner", "leaf"))
        elif node in setup.order_places:
            at = setup.order_places[node]
            role = _place(at.predecessor is None, at.successor is None, ("first", "middle", "last"))
        elif one_leader:
            role = "leader" if owner == (setup.params.leader or setup.original.agents[0]) else "asked"
        found[node] = role
    return found


def _place(starts: bool, ends: bool, names: tuple[str, str, str]) -> str:
    if starts and ends:
        return "alone"
    return names[0] if starts else names[2] if ends else names[1]
