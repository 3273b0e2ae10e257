"""What an observer knows: what is public, what its own views tell it, and what it has come to believe of others.

The only problem knowledge that inference may use is the observer's own local view and what everybody knows: ranges of
costs, offsets, and constraints that are known to all (who attends which event, say).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from agentsim.dcop.problem import Constraint, Cost
from agentsim.runtime.statements import CostIs, Rest, Statement
from agentsim.runtime.view import Setup
from privacy.vps.metrics import GAINS, expected_gain, loss_of_some
from privacy.vps.prior import Prior, Scale


class Changes(list["Belief"]):
    """Beliefs of one mind that changed since somebody last emptied this, each once.

    Args:
        waiting: where this list puts itself when it ceases to be empty, so that nobody has to look at all minds.
        whose: name of the mind.

    Attributes:
        ever: number of single changes, ever.
    """

    def __init__(self, waiting: list[Changes] | None = None, whose: str = "") -> None:
        super().__init__()
        self.ever = 0
        self.whose = whose
        self._waiting = waiting

    def append(self, belief: Belief) -> None:
        """Add a belief."""
        if not self and self._waiting is not None:
            self._waiting.append(self)
        super().append(belief)


class Belief:
    """What one observer believes of the private costs of one variable of another agent.

    Attributes:
        variable: the variable.
        agent: its owner, the subject.
        scale: the public range; levels run from 1 to u.
        low: by value, the least level that its cost can have. Length d.
        high: by value, the greatest. Length d.
        bounds: number of bounds by level, each of which says that *some* value has at most this level; for a rule that
            spreads them over all values alike (the ambiguity rule).
        least: the least level L of which *some* value's cost is known to be at most L, as a logical fact; u for none.
        settled: the loss when `settle` was last called.
    """

    __slots__ = (
        "_changed",
        "_clean",
        "_enough",
        "agent",
        "bounds",
        "high",
        "least",
        "low",
        "scale",
        "settled",
        "variable",
    )

    def __init__(self, variable: str, agent: str, size: int, scale: Scale, changed: Changes) -> None:
        self.variable, self.agent, self.scale = variable, agent, scale
        self.low = [1] * size
        self.high = [scale.levels] * size
        self.bounds: dict[int, int] = {}
        self.least = scale.levels
        self.settled = 0.0
        # So many bounds at one level that the chance of a value to be missed by all of them is beneath rounding.
        self._enough = math.ceil(-42.0 / math.log1p(-1.0 / size)) if size > 1 else 1
        self._changed = changed
        self._clean = True

    def cap(self, value: int, level: int) -> None:
        """Learn that a value's cost has at most this level; no such value (somebody lies) is passed over."""
        if 0 <= value < len(self.high) and level < self.high[value]:
            self.high[value] = max(level, self.low[value])
            self._touch()

    def lift(self, value: int, level: int) -> None:
        """Learn that a value's cost has at least this level."""
        if 0 <= value < len(self.low) and level > self.low[value]:
            self.low[value] = min(level, self.high[value])
            self._touch()

    def count(self, level: int) -> None:
        """Count one more bound of some value, nobody knows which, for the ambiguity rule; no more than can matter."""
        if level < self.scale.levels:
            count = self.bounds.get(level, 0)
            if count < self._enough:
                self.bounds[level] = count + 1
                self._touch()

    def some(self, level: int) -> None:
        """Learn that some value's cost has at most this level."""
        if level < self.least:
            self.least = level
            self._touch()

    def _touch(self) -> None:
        self._changed.ever += 1
        if self._clean:
            self._clean = False
            self._changed.append(self)

    def settle(self, metric: str) -> float:
        """Return the loss, keep it as `settled`, and note the next change anew."""
        self._clean = True
        self.settled = self.loss(metric)
        return self.settled

    def loss(self, metric: str) -> float:
        """Return the loss in the metric's unit, all values together."""
        u, d = self.scale.levels, len(self.high)
        if self.bounds:
            steps, gain = sorted(self.bounds.items()), GAINS[metric]
            if min(self.high) == u:
                return d * expected_gain(steps, d, u, u, gain)
            by_cap = {cap: expected_gain(steps, d, cap, u, gain) for cap in set(self.high)}
            return sum(by_cap[cap] for cap in self.high)
        left = [high - low + 1 for low, high in zip(self.low, self.high, strict=True)]
        above = [min(k, max(0, high - self.least)) for k, high in zip(left, self.high, strict=True)]
        return loss_of_some(metric, left, above, u)


Tie = tuple[str, str]
"""A variable that must have the same value, and the node that evaluates the equality."""


class Public:
    """What everybody knows, shared by all observers of a run.

    Args:
        setup: the run's setup.
        prior: the ranges of private costs.
    """

    def __init__(self, setup: Setup, prior: Prior) -> None:
        self.setup, self.prior = setup, prior
        problem = setup.problem
        self.owner = {v.name: v.agent for v in problem.variables.values()}
        self.size = {v.name: v.size for v in problem.variables.values()}
        self._floors: dict[object, tuple[Cost, Cost]] = {}
        self._answer_for: dict[tuple[str, ...], set[str]] = {}  # by variables: agents whose shares were told of them
        self.reach = sum(max(abs(s.low), abs(s.high), s.high - s.low) for s in prior.scales.values())
        """No difference between two sums of private costs is greater."""
        self.equalities: dict[str, tuple[str, str]] = {}
        """Constraints that demand equal values, at a price above `reach`: a cost that tells anything keeps to them."""
        for c in problem.constraints.values():
            if self._is_equality(c):
                self.equalities[c.name] = (c.scope[0], c.scope[1])
        self.evaluator = {c.name: node for node, at in setup.evaluated_at.items() for c in at}
        """Node by constraint: in whose cost it is."""
        public = [n for n in self.equalities if problem.constraints[n].known_to == "all"]
        self.ties = self.link(public)
        """By variable, those that a publicly known equality ties to it, each with the evaluator."""
        self.private_ties: dict[str, list[str]] = {}
        """Names of equalities that not everybody knows, by variable."""
        for name, edge in self.equalities.items():
            if problem.constraints[name].known_to != "all":
                for variable in edge:
                    self.private_ties.setdefault(variable, []).append(name)

    def link(self, equalities: Iterable[str]) -> dict[str, tuple[Tie, ...]]:
        """Return what the named equalities tie together: by variable, (other variable, evaluator)."""
        ties: dict[str, dict[Tie, None]] = {}
        for name in equalities:
            a, b = self.equalities[name]
            ties.setdefault(a, {})[b, self.evaluator[name]] = None
            ties.setdefault(b, {})[a, self.evaluator[name]] = None
        return {variable: tuple(others) for variable, others in ties.items()}

    @cached_property
    def groups(self) -> dict[str, str]:
        """One variable of those that public equalities tie to it, by variable that has any."""
        group: dict[str, str] = {}
        for start in self.ties:
            if start in group:
                continue
            group[start], border = start, [start]
            while border:
                for other, _ in self.ties[border.pop()]:
                    if other not in group:
                        group[other] = start
                        border.append(other)
        return group

    def _is_equality(self, c: Constraint) -> bool:
        if c.arity != 2 or c.table.shape[0] != c.table.shape[1] or c.table.shape[0] < 2:
            return False
        costs = self.setup.sense * c.table
        agree = np.eye(len(costs), dtype=bool)
        return bool(np.isfinite(costs[agree]).any() and (costs[~agree] > self.reach).all())

    @cached_property
    def floor_of(self) -> dict[str, Cost]:
        """Least cost by constraint that may be assumed, at most 0: as declared, or as its offset tells.

        Solvers of signed costs shift nothing. There, that no constraint without a declared range costs less than the
        least entry of all of them is taken as public, as it is for private costs.
        """
        setup = self.setup
        constraints = setup.problem.constraints.values()
        if setup.costs == "nonnegative":
            return {c.name: -setup.constraint_offsets.get(c.name, 0) for c in constraints}
        undeclared: Cost = 0
        for c in constraints:
            if c.cost_range is None:
                costs = setup.sense * c.table
                finite = costs[np.isfinite(costs)] if costs.dtype.kind == "f" else costs
                undeclared = min(undeclared, finite.min().item() if finite.size else 0)
        undeclared = int(undeclared) if setup.problem.integral else undeclared
        floors: dict[str, Cost] = {}
        for c in constraints:
            low, high = (undeclared, -undeclared) if c.cost_range is None else c.cost_range
            floors[c.name] = min(0, low if setup.sense > 0 or c.cost_range is None else -high)
        return floors

    @property
    def notes(self) -> tuple[str, ...]:
        """What was taken as public of constraints, in sentences."""
        bare = [c.name for c in self.setup.problem.constraints.values() if c.cost_range is None]
        if not bare or self.setup.costs == "nonnegative":
            return ()
        floor = self.floor_of[bare[0]]
        least = "negative" if floor == 0 else f"less than {floor:g}"
        if self.setup.sense < 0:
            least = "positive" if floor == 0 else f"more than {-floor:g}"
        return (
            f"no range of costs is declared for {len(bare)} constraints: that none of their costs is {least} is taken "
            "as public",
        )

    def private_floor(self, variable: str) -> Cost:
        """Return the least private cost of a variable; 0 where it has none."""
        scale = self.prior.scales.get(variable)
        return 0 if scale is None else scale.low

    def spelled_out(self, statement: Statement) -> Statement | None:
        """Return a statement about agents' shares as one about their variables, any other as it is.

        None if the agents have no variables: what they answer for is then no private cost of anything.
        """
        if not isinstance(statement, CostIs) or all(t.rest != "share" for t in statement.terms):
            return statement
        owners, terms = self.setup.nodes, []
        for term in statement.terms:
            if term.rest == "share":
                agents = {owners[party] for party in term.parties}
                variables = tuple(v for v in self.size if owners[v] in agents)
                if not variables:
                    return None
                self._answer_for.setdefault(variables, set()).update(agents)
                term = replace(term, parties=variables)
            terms.append(term)
        return replace(statement, terms=tuple(terms))

    def nodes(self, parties: Sequence[str], rest: Rest) -> tuple[str, ...]:
        """Return the nodes whose cost functions are meant: the parties and what is below them, or may be meant."""
        if rest == "none":
            return tuple(parties)
        if rest == "subtree" and self.setup.tree is not None:
            return tuple(dict.fromkeys(n for p in parties for n in self.setup.tree.subtree(p)))
        return tuple(self.owner)

    def floors(self, parties: tuple[str, ...], rest: Rest) -> tuple[Cost, Cost]:
        """Return the least that a cost of `parties` and `rest` can be, in minimising user units.

        Returns:
            With the parties' private floors as they are (each of them costs at least that much), and with none above 0.
            Of unnamed parts only what is negative counts: nobody knows how many there are.
        """
        key = (parties, rest, frozenset(self._answer_for[parties]) if rest == "share" else None)
        found = self._floors.get(key)
        if found is None:
            nodes = parties if rest == "share" else self.nodes(parties, rest)
            named = set(parties)
            if rest == "share":
                agents = sorted(self._answer_for[parties])
                base = sum(self.floor_of[f.name] for a in agents for f in self.setup.shares[a] if not f.unary)
            else:
                base = sum(self.floor_of[c.name] for n in nodes for c in self.setup.evaluated_at[n])
            base += sum(min(0, self.private_floor(n)) for n in nodes if n not in named)
            floors = [self.private_floor(p) for p in parties]
            found = self._floors[key] = (base + sum(floors), base + sum(min(0, f) for f in floors))
        return found


class Mind:
    """One observer: an agent, or agents that share what they know.

    Args:
        name: of the observer.
        agents: whose eyes it has; nobody's for a wire.
        nodes: their variables.
        public: what everybody knows.
        changed: where beliefs that change put themselves; whoever looks at them empties it.
    """

    def __init__(
        self,
        name: str,
        agents: Iterable[str],
        nodes: Iterable[str],
        public: Public,
        changed: Changes | None = None,
    ) -> None:
        self.name, self.public = name, public
        self.agents = frozenset(agents)
        self.nodes = tuple(nodes)
        self.beliefs: dict[str, Belief] = {}
        self.changed = Changes() if changed is None else changed
        self._paths: dict[object, str | None] = {}

    def belief(self, variable: str) -> Belief | None:
        """Return what is believed of a variable's private costs; None if it has none, or they are the observer's."""
        found = self.beliefs.get(variable)
        if found is None:
            scale = self.public.prior.scales.get(variable)
            if scale is None or self.public.owner[variable] in self.agents:
                return None
            agent = self.public.owner[variable]
            found = Belief(variable, agent, self.public.size[variable], scale, self.changed)
            self.beliefs[variable] = found
        return found

    @cached_property
    def ties(self) -> Mapping[str, tuple[Tie, ...]]:
        """By variable, those that must have the same value, as public and own constraints say."""
        own = self._own_ties
        return _Union(self.public.ties, self.public.link(own)) if own else self.public.ties

    @cached_property
    def _own_ties(self) -> list[str]:
        """Names of equalities on own variables that an own agent knows, but not everybody."""
        public = self.public
        problem = public.setup.problem
        names = dict.fromkeys(name for node in self.nodes for name in public.private_ties.get(node, ()))
        return [n for n in names if not self.agents.isdisjoint(problem.known_to(problem.constraints[n]))]

    def is_tied(self, variable: str) -> bool:
        """Tell whether known equalities tie a variable to one of the observer's own."""
        return self.public.groups.get(variable, variable) in self._tied_groups

    @cached_property
    def _tied_groups(self) -> frozenset[str]:
        ends = [*self.nodes, *(variable for name in self._own_ties for variable in self.public.equalities[name])]
        return frozenset(self.public.groups.get(variable, variable) for variable in ends)

    def slot(self, party: str, parties: tuple[str, ...], context: Mapping[str, int]) -> int | None:
        """Return the value that `party` has in a cost of `parties` under `context`; None if that cannot be told.

        It is told by name, or by known equalities that count towards that cost: those that a party evaluates.
        """
        value = context.get(party)
        if value is None:
            for other, evaluator in self.ties.get(party, ()):
                if evaluator in parties and other in context:
                    value = context[other]
                    break
            else:
                if len(parties) == 1:
                    return None
                key = (party, parties, tuple(context))
                if key not in self._paths:
                    self._paths[key] = self._path(party, parties, context)
                end = self._paths[key]
                if end is None:
                    return None
                value = context[end]
        return value if 0 <= value < self.public.size[party] else None  # somebody may lie

    def _path(self, party: str, parties: tuple[str, ...], context: Mapping[str, int]) -> str | None:
        among = frozenset(parties)
        reached, border = {party}, [party]
        while border:
            for other, evaluator in self.ties.get(border.pop(), ()):
                if evaluator not in among or other in reached:
                    continue
                if other in context:
                    return other
                if other in among:
                    reached.add(other)
                    border.append(other)
        return None

    def tied_axes(self, party: str, parties: tuple[str, ...], axes: Iterable[str]) -> list[str]:
        """Return the axes of a table of `parties` whose value is `party`'s value, too."""
        ties = {other for other, evaluator in self.ties.get(party, ()) if evaluator in parties}
        return [axis for axis in axes if axis in ties]


class _Union(Mapping[str, tuple[Tie, ...]]):
    """Public ties and an observer's own, without a copy of the public ones for each observer."""

    def __init__(self, public: Mapping[str, tuple[Tie, ...]], own: Mapping[str, tuple[Tie, ...]]) -> None:
        self._public, self._own = public, own

    def __getitem__(self, name: str) -> tuple[Tie, ...]:
        own, public = self._own.get(name), self._public.get(name)
        if own is None or public is None:
            both = own if public is None else public
            if both is None:
                raise KeyError(name)
            return both
        return tuple(dict.fromkeys((*own, *public)))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._own, *self._public)))

    def __len__(self) -> int:
        return len(dict.fromkeys((*self._own, *self._public)))
