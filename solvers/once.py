"""Once: one pass, every table used once; private choices at the least price.

The agents of a component stand in a public order. Each waits for the values of its earlier neighbours, chooses its own
in private among the costs that these leave, and tells its later neighbours; nobody chooses twice. Each cost function is
read by one agent alone, the last of its scope, so the probability of all values together is a product in which each
table occurs in one factor: whatever protects one choice protects everything that is sent. There is nothing to compose.

    message            from -> to                  when
    VALUE(value, 0)    to each later neighbour     all earlier neighbours' values have come

What is protected, by `unit`, any tables being substituted for any others:

agent   (default) all tables that one agent uses. The k values of least cost are preferred: each is exp(eps0) times as
        likely as each other value. Ranks alone count, so that no range of costs is needed. k is public, from epsilon
        and the size D of the domain (normal scores); eps0 is epsilon where delta is 0.
edge    one table. Scores s add up how bad each value is by each table, from 0 to 1: whether its cost reaches .4 of the
        table's range, or, where b is large, a ramp from .15 to .65 of it. Permute and flip with b = epsilon / 2, since
        one table can move all scores by 1 either way. From epsilon 4 on ranks as above are better.
entry   one entry of one table. As edge with b = epsilon: one entry moves one score. From epsilon 2.7 on it is better
        to publish tables once with noise in every entry, and to search by these alone, see below.

Noisy tables (unit=entry, epsilon >= 2.7, rounds > 0). Each table's reader sorts its entries into k classes of the
range, puts each through k-ary randomised response and sends the others of the scope what comes of it. The rest uses the
noisy tables alone, so it costs nothing: in each round everybody chooses in turn by a Gibbs distribution, ever colder.

    message                               from -> to                       when
    TABLE(number, name, classes, step)    reader -> others of the scope    at the start
    VALUE(value, t)                       to each neighbour                earlier ones have told theirs of round t,
                                                                           later ones theirs of round t - 1

Public constraints (known to all) are used as they are: there is nothing to protect. A value that they make cost more
than the least, by more than declared ranges of private costs can make up for, is not chosen from; the private choice is
among those that are left. (Noisy tables, below, do not tell public ones apart.)

With delta > 0, eps0 is the greatest that (epsilon, delta) allows; and the exponential mechanism, of which more than
epsilon is then known in closed form, takes the place of permute and flip where that is worth it.

Mechanisms: k-subset randomised response (Wang et al. 2016; Ye and Barg 2018) on ranks; permute and flip (McKenna and
Sheldon, NeurIPS 2020); exponential mechanism as a bounded range (Durfee and Rogers, NeurIPS 2019; Dong, Durfee and
Rogers, ICML 2020). All are drawn exactly, from a key of the operating system's that goes into the log, except into a
redacted one.

Guarantees: those of `claim`. No quality is guaranteed; as epsilon grows, unit=agent becomes a greedy. Complexity: one
message for each edge of the primal graph; one check for each entry of the row that a table is read at, and for each
entry of a table whose range nobody declared, where one is needed.

What an agent protects is its own use. A table that it shares with a later neighbour is used by that one: all tables
that touch one agent, whoever uses them, change more factors than one, and `claim` says what that comes to. An agent of
several variables uses tables at each of them, and pays for each. K runs on the same tables cost K times as much.

An agent that was down and starts anew has forgotten whether it had chosen. It does not choose again: what its
neighbours were told stays true, and if they were told nothing, the run ends as after a lost message.

The smallest-last order keeps the greatest number of tables that one agent adds up as small as any order can.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.local_costs import LocalCosts
from agentsim.runtime.mechanisms import Claim, Mechanism, PerTable, Pure, Unit
from agentsim.runtime.messages import Array, Cost, Index, message
from agentsim.runtime.port import Port
from agentsim.runtime.setup import OrderParams
from agentsim.runtime.statements import Nothing, ReaderContext, Released, Statement, ValueIs
from agentsim.runtime.view import LocalView, Setup
from solvers.exact_sampling import ExactCoins, Randomness, draw_coins, randomised_response
from solvers.private_choice import LARGEST_EPSILON, Protected, Ranks, Row, Scores, choice_of, place_of, rounded_down
from solvers.sd_gibbs import pick

KINDS: Final = ((7.0, 10), (3.5, 5), (2.7, 3))
"""Classes of entries in noisy tables, from which epsilon on (measured); below the last, scores serve better."""

HOT, COLD = 2 / 3, 1 / 30
"""Temperature of the first and of the last round, over the greatest range of costs."""


@message("VALUE")
class Value(NamedTuple):
    """The sender's value: in the only round, 0, chosen once and for all."""

    value: Index
    t: int = 0


@message("TABLE")
class Table(NamedTuple):
    """A cost function of the sender's with noise: the class of each entry, and by how much costs grow with it."""

    number: int
    name: str
    classes: Array
    step: Cost


@dataclass(frozen=True)
class OnceParams(OrderParams):
    """Parameters of Once.

    Args:
        order: as in every solver on a total order; the default is the one with fewest earlier neighbours at most.
        epsilon: of the guarantee, 0 to 1000.
        delta: its failure probability, at least 0 and below 1.
        unit: what is protected: all tables that an agent uses, one table (edge), or one entry of one.
        randomness: "crypto", keyed by the operating system, or "seed", by the run's seed, for tests and replay.
        low: with `high` the public range of every cost function, in the user's units, for unit edge and entry; costs
            are clipped to it. None: the declared range, and where there is none that of the table. For an entry, and
            for an entry alone, the latter is not accounted for.
        high: see `low`.
        rounds: of the search by noisy tables; 0: an entry is protected as below epsilon 2.7.
    """

    order: str | None = "smallest-last"
    epsilon: float = 1.0
    delta: float = 0.0
    unit: Protected = "agent"
    randomness: Randomness = "crypto"
    low: float | None = None
    high: float | None = None
    rounds: int = 60

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= LARGEST_EPSILON:
            raise ValueError(f"epsilon={self.epsilon}: must be from 0 to {LARGEST_EPSILON:g}")
        if not 0 <= self.delta < 1:
            raise ValueError(f"delta={self.delta}: must be at least 0 and below 1")
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high: both or neither")
        if self.low is not None and self.high is not None and not -math.inf < self.low <= self.high < math.inf:
            raise ValueError(f"low={self.low}, high={self.high}: must be finite and in this order")
        if self.rounds < 0:
            raise ValueError(f"rounds={self.rounds}: must not be negative")

    @property
    def kinds(self) -> int:
        """Classes of entries in noisy tables; 0 where there are none."""
        if self.unit != "entry" or not self.rounds:
            return 0
        return next((kinds for least, kinds in KINDS if self.epsilon >= least), 0)

    def choice(self, domain: int, *, public: bool = False) -> Ranks | Scores:
        """Return how one of `domain` values, at least 2, is chosen; or of some, if `public` constraints leave less.

        How many are left differs from run to run; a delta of its own for each number would not add up: it is 0 then.
        """
        return choice_of(self.unit, self.epsilon, 0.0 if public else self.delta, domain)

    def event(self, domain: int, *, public: bool) -> Mechanism:
        """Return what accountants are told of a choice of one of `domain` values, or, if `public`, of some of them."""
        if domain == 1:
            return Pure(0.0)
        choice = self.choice(domain, public=public)
        return Pure(float(choice.epsilon)) if public and isinstance(choice, Ranks) else choice.event


class Once(Agent):
    """Agent k of the order."""

    messages = (Value, Table)
    Params = OnceParams
    place = "order"
    carries = ("accounting",)

    params: OnceParams

    def __init__(self, view: LocalView, port: Port, params: OnceParams) -> None:
        super().__init__(view, port, params)
        before = set(view.order.before)
        self.earlier = tuple(name for name in view.neighbours if name in before)
        self.later = tuple(name for name in view.neighbours if name not in before)
        self.own = tuple(c for c in view.constraints if before.issuperset(v for v in c.scope if v != view.name))
        self.public = tuple(c for c in self.own if c.public)
        private = [c.bounds for c in self.own if not c.public] + [view.unary_bounds] * view.has_unary
        self.reach = math.inf if None in private else math.fsum(b[1] - b[0] for b in private if b is not None)
        """Most that private costs can differ by between two values."""
        self.protects = bool(private)
        self.heard: dict[tuple[str, int], int] = {}  # value by neighbour and round

    @classmethod
    def claim(cls, setup: Setup) -> Claim:
        """Return what the run guarantees: `unit` agent is an agent's own use of its tables."""
        return claim_of(setup)

    async def run(self) -> None:
        """Hear, choose, tell."""
        if self.now > 0:  # it was down: see the module's docstring
            return
        if self.params.kinds:
            await self.search(await self.exchange())
            return
        values = await self.told(self.earlier, 0)
        value = self.choose(await draw_coins(self, self.params.randomness), values)
        self.assign(value)
        for name in self.later:
            self.send(name, Value(value))

    async def told(self, names: Iterable[str], t: int) -> dict[str, int]:
        """Wait for the values that neighbours have in round t; the first that each says counts."""
        while not all((name, t) in self.heard for name in names):
            told = await self.receive(Value)
            self.heard.setdefault((self.sender, told.t), told.value)
        return {name: self.heard[name, t] for name in names}

    # One choice --------------------------------------------------------------------------------------------------

    def choose(self, coins: ExactCoins, values: Mapping[str, int]) -> int:
        """Return a value, chosen among the costs that the earlier neighbours' values leave."""
        left = self.left_by_public(values)
        choice = self.choice_among(len(left))
        return left[coins.below(len(left)) if choice is None else choice.draw(coins, self.rows(choice, values, left))]

    def law(self, values: Mapping[str, int]) -> list[float]:
        """Return the probability of each value under `choose`, for tests and audits. Length d."""
        left = self.left_by_public(values)
        choice = self.choice_among(len(left))
        chances = [1 / len(left)] * len(left) if choice is None else choice.law(self.rows(choice, values, left))
        law = [0.0] * self.view.size
        for value, chance in zip(left, chances, strict=True):
            law[value] = chance
        return law

    def choice_among(self, size: int) -> Ranks | Scores | None:
        """Return how one of so many values is chosen; None where nothing private decides."""
        if size == 1 or not self.protects:
            return None
        return self.params.choice(size, public=bool(self.public))

    def left_by_public(self, values: Mapping[str, int]) -> list[int]:
        """Return the values that public constraints leave to choose from, in order."""
        if not self.public:
            return list(range(self.view.size))
        self.check(self.view.size * len(self.public))
        costs = np.array([self.at(c.table, c.scope, values) for c in self.public], dtype=float)
        forbidden = np.isinf(costs)
        fewest = forbidden.sum(axis=0) == forbidden.sum(axis=0).min()
        cost = np.where(forbidden, 0.0, costs).sum(axis=0)
        left: list[int] = np.flatnonzero(
            fewest & (cost <= cost[fewest].min() + self.reach + self.view.tolerance)
        ).tolist()
        return left

    def at(self, table: Array, scope: tuple[str, ...], values: Mapping[str, int]) -> Array:
        """Return a table's costs by own value."""
        costs: Array = table[tuple(slice(None) if name == self.name else values[name] for name in scope)]
        return costs

    def rows(self, choice: Ranks | Scores, values: Mapping[str, int], left: list[int]) -> list[Row]:
        """Read every own table, once, at the earlier neighbours' values."""
        tables = [(c.table, c.scope, c.bounds) for c in self.own]
        if self.view.has_unary:
            tables.append((self.view.unary, (self.name,), self.view.unary_bounds))
        rows = []
        for table, scope, declared in tables:
            costs = self.at(table, scope, values)
            self.check(self.view.size)
            ends = self.range_of(table, declared) if isinstance(choice, Scores) else (0, 0)
            rows.append(Row(costs[left], *ends))
        return rows

    def range_of(self, table: Array, declared: tuple[Cost, Cost] | None) -> tuple[Cost, Cost]:
        """Return the range of costs that scores and classes are made with, in solver's units."""
        if self.params.low is not None and self.params.high is not None:
            low, high = sorted(self.view.sense * end for end in (self.params.low, self.params.high))
            return low, high
        if declared is not None:
            return declared
        self.check(table.size)
        finite = table[np.isfinite(table)]
        return (finite.min().item(), finite.max().item()) if finite.size else (0, 0)

    # Noisy tables ------------------------------------------------------------------------------------------------

    async def exchange(self) -> LocalView:
        """Publish own tables with noise, hear the others, and return a view that has nothing else."""
        coins = await draw_coins(self, self.params.randomness)
        noisy: dict[str, Array] = {}
        for number, c in enumerate(self.own):
            classes, step = self.noisy(coins, c.table, c.bounds)
            noisy[c.name] = step * classes
            for name in c.scope:
                if name != self.name:
                    self.send(name, Table(number, c.name, classes, step))
        unary = self.view.unary
        if self.view.has_unary:
            classes, step = self.noisy(coins, unary, self.view.unary_bounds)
            unary = step * classes
        while not all(c.name in noisy for c in self.view.constraints):
            table = await self.receive(Table)
            noisy.setdefault(table.name, table.step * table.classes)
        constraints = tuple(replace(c, table=noisy[c.name]) for c in self.view.constraints)
        return replace(self.view, unary=unary, constraints=constraints)

    def noisy(self, coins: ExactCoins, table: Array, declared: tuple[Cost, Cost] | None) -> tuple[Array, float]:
        """Return the class of each entry after randomised response, and how much costs grow from class to class."""
        kinds = self.params.kinds
        low, high = self.range_of(table, declared)
        self.check(table.size)
        classes = np.minimum(np.floor(place_of(table, low, high) * kinds), kinds - 1).astype(np.uint8)
        drawn = randomised_response(coins, classes.ravel().tolist(), kinds, rounded_down(self.params.epsilon))
        return np.array(drawn, dtype=np.uint8).reshape(table.shape), (high - low) / kinds

    async def search(self, view: LocalView) -> None:
        """Choose by a Gibbs distribution that cools down, in every round after all earlier neighbours."""
        costs = LocalCosts(view)
        widest = max([1e-9, *(np.ptp(c.table).item() for c in view.constraints), np.ptp(view.unary).item()])
        values = dict.fromkeys(view.neighbours, 0)
        rounds = self.params.rounds
        for t in range(rounds):
            values.update(await self.told(self.earlier, t))
            if t:
                values.update(await self.told(self.later, t - 1))
            cost = costs.by_value(values)
            self.check(costs.checks)
            temperature = widest * HOT * (COLD / HOT) ** (t / max(1, rounds - 1))
            value = pick(self.rng.random(), np.exp((cost.min() - cost) / temperature))
            self.assign(value)
            self.broadcast(Value(value, t))


def claim_of(setup: Setup) -> Claim:
    """Return the guarantee of a run, what is left out of it, and what all tables that touch one agent come to."""
    params: OnceParams = setup.params
    problem, nodes = setup.problem, setup.nodes
    used: dict[str, list[tuple[str, ...]]] = {}  # by node: the scopes of the tables that it uses
    read = {name: [c for c in own if params.kinds or not c.public] for name, own in setup.evaluated_at.items()}
    public = {name for name, own in setup.evaluated_at.items() if any(c.public for c in own)}
    for name, v in problem.variables.items():
        scopes = [c.scope for c in read[name]] + [(name,)] * (v.unary is not None)
        if scopes and (v.size > 1 or params.kinds):
            used[name] = scopes
    uses = max(Counter(nodes[name] for name in used).values(), default=1) if params.unit == "agent" else 1
    outside, notes = list[str](), list[str]()
    if uses > 1:
        notes.append(f"an agent chooses for up to {uses} variables, {params.epsilon:g} for each")
    if params.randomness == "seed":
        notes.append("draws can be repeated by whoever knows the run's seed: for tests and replay only")
    if params.unit == "entry" and params.low is None:
        undeclared = sum(c.cost_range is None for c in problem.constraints.values())
        undeclared += sum(v.unary is not None and v.cost_range is None for v in problem.variables.values())
        if undeclared:
            outside.append(f"ranges of {undeclared} cost functions, taken from their tables: give low and high")
    touching = dict.fromkeys(problem.agents, 0.0)  # pure epsilon of all tables that touch an agent, whoever uses them
    for name, scopes in used.items():
        for agent in {nodes[v] for scope in scopes for v in scope}:
            touched = [scope for scope in scopes if any(nodes[v] == agent for v in scope)]
            if params.kinds:
                touching[agent] += params.epsilon * sum(math.prod(setup.domain_sizes[v] for v in s) for s in touched)
            else:
                touching[agent] += params.choice(setup.domain_sizes[name], public=name in public).group(len(touched))
    whole = max(touching.values(), default=0.0)
    if whole > uses * params.epsilon:
        notes.append(f"tables that others use: all that touch one agent come to epsilon {whole:g} at delta 0")
    unit: Unit = "own" if params.unit == "agent" else params.unit
    final = [
        Released(
            "private-choice", (), params.event(setup.domain_sizes[name], public=name in public), 0.0, name, 0, tables
        )
        for name in (() if params.kinds else used)  # values follow from noisy tables
        for tables in [(*([name] if problem.variables[name].unary is not None else []), *(c.name for c in read[name]))]
    ]
    return Claim(uses * params.epsilon, uses * params.delta, unit, tuple(outside), tuple(notes), tuple(final))


class OnceReader:
    """What a viewer of Once can conclude: who took which value for good, and what stands before the tables."""

    stateless = True

    def __init__(self, context: ReaderContext) -> None:
        self._params: OnceParams = context.params
        self._sizes = context.domain_sizes
        self._public: set[str] = set()  # nodes that read public constraints, as far as they are known
        place = {name: i for order in context.order for i, name in enumerate(order)}
        tables: dict[str, dict[str, None]] = {}  # by node: the names of those that it uses, as far as they are known
        for name, view in context.views.items():
            for c in view.constraints:
                reader = max(c.scope, key=place.__getitem__)
                if c.public and not self._params.kinds:
                    self._public.add(reader)
                else:
                    tables.setdefault(reader, {})[c.name] = None
            if view.has_unary:
                tables.setdefault(name, {})[name] = None
        self._tables = {name: tuple(known) for name, known in tables.items()}

    def read(self, delivery: Delivery) -> Iterator[Statement]:
        """Return the statements that one delivery supports."""
        src, content = delivery.src, delivery.message
        epsilon, size = self._params.epsilon, self._sizes[src]
        if isinstance(content, Table):
            yield Nothing("who has which tables of which range is public", ("number", "name", "step"))
            event: Mechanism = PerTable(Pure(epsilon * content.classes.size), Pure(epsilon))
            yield Released("noisy-table", ("classes",), event, 0.0, src, content.number, (content.name,))
            return
        last = not self._params.kinds or content.t == self._params.rounds - 1
        yield Nothing("number of the round", ("t",))
        yield ValueIs("decision", ("value",), src, content.value, "final" if last else "now")
        if self._params.kinds:  # chosen by noisy tables, of which one is not sent: that of the private costs
            event = PerTable(Pure(epsilon * size), Pure(epsilon))
            yield Released("noisy-private-costs", ("value",), event, 0.0, src, tables=(src,))
        else:
            event = self._params.event(size, public=src in self._public)
            yield Released("private-choice", ("value",), event, 0.0, src, tables=self._tables.get(src, ()))


Once.reader = OnceReader
