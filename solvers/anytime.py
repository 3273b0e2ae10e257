"""Anytime best: which round had the cheapest joint assignment, found along a pseudo-tree.

Zivan, Okamoto and Peled, "Explorative anytime local search for distributed constraint optimization" (Artificial
Intelligence 212, 2014). An algorithm that goes through rounds may pass a good assignment and leave it again, and no
agent sees what a joint assignment costs. So each agent adds up, for every round, what its subtree cost; the root
compares rounds and tells everybody which was best, and everybody remembers its own value of that round.

    message                               from -> to         when
    UP(round, violations, cost, steady)   child -> parent    the sender's subtree has finished a round
    BEST(round, last)                     parent -> child    the root has found a better round, or the last is over

Each cost function is counted once: by the deepest agent of its scope, and private costs by their owner. Forbidden
tuples are counted apart from costs, so a round without any beats every round with some. Per round and component of n
agents n - 1 UP; n - 1 BEST for each improvement, and for the end. One check per cost function and round.

Deviations. The paper's agents keep their values of twice the tree's height of rounds, as many as are on their way when
all messages take equally long. Here messages may take any time, so an agent keeps its values of all rounds. UP also
says whether a subtree is `steady`, that is, whether its agents expect no further change: once all are, the run ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Cost, message
from agentsim.runtime.statements import CostIs, Nothing, ReaderContext, Statement, Term, Unanalysed


@message("UP")
class Up(NamedTuple):
    """What a round cost in the sender's subtree: forbidden tuples and the sum of finite costs (None: not collected)."""

    round: int
    violations: int | None
    cost: Cost | None
    steady: bool


@message("BEST")
class Best(NamedTuple):
    """The best round so far; `last` if the run ends with it."""

    round: int
    last: bool


class Anytime:
    """One agent's part in finding the best round. Rounds are numbered from 1.

    Args:
        agent: whose place in the tree is known. It hands over the UP and BEST that come, and stops when `over`.
        rounds: how many there will be.
        costs: whether costs are collected; without, the last round counts as the best.

    Attributes:
        scope: variables above whose values `record` needs.
        values: the agent's value in each round, from round 1.
        over: whether the run has ended; the agent has then taken its value of the best round.
        best: at the root: forbidden tuples, cost and number of the best round; None before there is one.
    """

    def __init__(self, agent: Agent, rounds: int, *, costs: bool = True) -> None:
        view, place = agent.view, agent.view.tree
        self._agent, self._rounds, self._costs = agent, rounds, costs
        self._parent, self._children = place.parent, place.children
        above = {agent.name, place.parent, *place.pseudo_parents}
        self._functions = [(c.scope, c.table) for c in view.constraints if above.issuperset(c.scope)]
        if view.has_unary:
            self._functions.append(((agent.name,), view.unary))
        names = dict.fromkeys(name for scope, _ in self._functions for name in scope if name != agent.name)
        self.scope = tuple(names)
        self.values: list[int] = []
        self.over = False
        self.best: tuple[int, Cost, int] | None = None
        self._told = 0  # the round of the last BEST
        self._parts: dict[int, dict[str, Up]] = {}  # by round, what oneself and the children have to say of it
        self._reported: set[int] = set()

    def record(self, value: int, context: Mapping[str, int], *, steady: bool = False) -> None:
        """Take note of the next round: own value, and values of `scope` at least."""
        self.values.append(value)
        violations, cost = self._own_cost({**context, self._agent.name: value}) if self._costs else (None, None)
        self._add(self._agent.name, Up(len(self.values), violations, cost, steady))

    def on_up(self, sender: str, up: Up) -> None:
        """Take a child's report."""
        if up.round not in self._reported:
            self._add(sender, up)

    def on_best(self, best: Best) -> None:
        """Take the root's decision, unless it is old, and pass it on."""
        if best.last or best.round > self._told:
            self._tell(best)

    def _own_cost(self, values: Mapping[str, int]) -> tuple[int, Cost]:
        self._agent.check(len(self._functions))
        violations, total = 0, 0.0
        for scope, table in self._functions:
            cost = table.item(tuple([values[name] for name in scope]))
            if cost == math.inf:
                violations += 1
            else:
                total += cost
        return violations, int(total) if self._agent.view.integral else total

    def _add(self, who: str, up: Up) -> None:
        parts = self._parts.setdefault(up.round, {})
        parts[who] = up
        if len(parts) <= len(self._children):
            return
        del self._parts[up.round]
        self._reported.add(up.round)
        # In a fixed order, so that sums of fractions do not depend on who reports first.
        ordered = [parts[name] for name in (self._agent.name, *self._children)]
        steady = all(part.steady for part in ordered)
        violations = cost = None
        if self._costs:
            violations = sum(part.violations or 0 for part in ordered)
            cost = sum(part.cost or 0 for part in ordered)
        total = Up(up.round, violations, cost, steady)
        if self._parent is not None:
            self._agent.send(self._parent, total)
        elif not self.over:
            self._judge(total)

    def _judge(self, total: Up) -> None:
        """At the root: is this round the best so far, and is it the last?"""
        rank = (total.violations or 0, total.cost or 0, total.round)
        improved = self.best is None or (rank < self.best if self._costs else total.round > self.best[2])
        if improved:
            self.best = rank
        assert self.best is not None
        last = total.steady or len(self._reported) == self._rounds
        if last or (improved and self._costs):
            self._tell(Best(self.best[2], last))

    def _tell(self, best: Best) -> None:
        self._told = best.round
        self._agent.assign(self.values[best.round - 1])
        for child in self._children:
            self._agent.send(child, best)
        self.over = best.last


COSTS_NOT_COLLECTED: Final = Nothing("costs are not collected", ("violations", "cost"))


class AnytimeReader:
    """What a viewer of UP and BEST can conclude.

    UP: the sender's subtree costs exactly this at the values of a round, of which the viewer knows those that it was
    told, by the algorithm's own messages. The others are whatever they were.

    Args:
        context: of the viewer.
        costs: whether costs are collected.
        penalty: what a forbidden tuple is taken to count, where there are some.
        steady: what covers the field `steady`.
    """

    def __init__(self, context: ReaderContext, costs: bool, penalty: Cost, steady: Statement) -> None:
        self._context, self._costs, self._penalty = context, costs, penalty
        self._round = Nothing("number of the round", ("round",))
        self._steady = steady
        self._last = Nothing("whether it is the end", ("last",))
        self._best = Unanalysed("in which round the joint cost was best", ("round",))
        self._values: dict[int, dict[str, int]] = {}
        self._scopes: dict[str, frozenset[str]] = {}

    def heard(self, variable: str, k: int, value: int) -> None:
        """Take note that the viewer was told, or told somebody, a variable's value in round k."""
        self._values.setdefault(k, {})[variable] = value

    def values(self, k: int) -> Mapping[str, int]:
        """Return the values of round k that the viewer has heard of, by variable."""
        return self._values.get(k, {})

    def read(self, delivery: Delivery) -> Iterator[Statement]:
        """Return the statements that one UP or BEST supports."""
        content = delivery.message
        if isinstance(content, Best):
            yield self._best
            yield self._last
            return
        yield self._round
        yield self._steady
        if content.cost is None:
            yield COSTS_NOT_COLLECTED
            return
        known = dict(self.values(content.round))
        sender = (delivery.src,)
        yield CostIs(
            "subtree-cost",
            ("violations", "cost"),
            (Term(sender, "subtree", known),),
            "==",
            content.cost + (self._penalty * content.violations if content.violations else 0),
            self._context.offset(sender, "subtree"),
            others="best" if self._touched(delivery.src, delivery.dst) <= known.keys() else "some",
            forbidden=self._penalty if content.violations else math.inf,
        )

    def _touched(self, sender: str, parent: str) -> frozenset[str]:
        """Return all variables that matter to a subtree's cost, and as many others as the viewer cannot exclude."""
        found = self._scopes.get(sender)
        if found is None:
            subtree, views = self._context.subtree[sender], self._context.views
            if views.keys() >= set(subtree):
                found = frozenset(name for node in subtree for name in (node, *views[node].neighbours))
            elif parent in views and views[parent].place is not None:
                found = frozenset((*subtree, *views[parent].tree.child_separators[sender]))
            else:
                found = frozenset(self._context.domain_sizes)
            self._scopes[sender] = found
        return found
