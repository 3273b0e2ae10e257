"""The observer `vps`: what each agent has learnt of the others' private costs, live, and what that adds up to.

Valuation of possible states (Maheswaran et al. 2006; Lee, Mak and Shi, sections II.C and IV). For observer j and
subject i, with the loss of every private cost of i by the chosen metric::

    p_i = sum over observers j != i of loss_ij / ((n - 1) * full_i)          0: nothing, 1: everybody knows everything

full_i is the loss if all of i's private costs were known, summed over i's variables; n counts the agents that own a
variable, and those that learn nothing stay in the denominator. With another view than `all` the mean is over the
observers there are: one for `agent:A`, one for `coalition:A+B`, all coalitions without i for `coalitions:K`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from agentsim.errors import UserError
from agentsim.runtime import registry
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.observer import Observer, ObserverContext
from agentsim.runtime.statements import Reader, Unanalysed, uncovered
from privacy.aggregators import parse_aggregators
from privacy.vps.knowledge import Belief, Changes, Mind, Public
from privacy.vps.metrics import Metric, full_loss
from privacy.vps.prior import make_prior
from privacy.vps.rules import BUILT_IN, Counted, Rule

MAX_COALITIONS: Final = 5000
MAX_PAIRS: Final = 40_000
"""Beyond so many pairs of observer and subject the matrix leaves out those without loss."""
MAX_POINTS: Final = 2000
"""A curve with more points is thinned to every other one."""
MAX_REMEMBERED: Final = 50_000
MAX_REMEMBERED_BYTES: Final = 2048


Memory = dict[tuple[str, bytes], tuple[Sequence[Counted], int]]
"""By type and payload of a message: what was counted, and the number of changes of beliefs before it was read."""


class Viewer:
    """One observer of a run: its mind, its rule and its reader.

    Attributes:
        stateless: whether its reader can do without what the observer itself sends.
        remembers: whether a message that comes again may need no reading.
        rereads: whether it does after any belief has changed.
    """

    __slots__ = ("mind", "read", "remembers", "rereads", "rule", "stateless")

    def __init__(self, mind: Mind, rule: Rule, reader: Reader) -> None:
        self.mind, self.rule = mind, rule
        self.read = reader.read
        self.stateless = bool(getattr(reader, "stateless", False))
        self.remembers = self.stateless and rule.rereads != "always"
        self.rereads = rule.rereads == "after change"


class Channel(NamedTuple):
    """What deliveries from one node to another are to observers.

    Args:
        tells: whoever sends them: a reader may need to know, but nothing is learnt from one's own words.
        teaches: whoever learns from them, with what was learnt from each message so far, if that can be used again.
    """

    tells: tuple[Viewer, ...]
    teaches: tuple[tuple[Viewer, Memory | None], ...]


@dataclasses.dataclass(frozen=True)
class VpsOptions:
    """Options of the observer `vps`; those of its rule are given beside them.

    Args:
        rule: paper, exact, tight, or one registered under `agentsim.rules`; from Python also a subclass of `Rule`.
        metric: what a loss is measured in.
        prior: LO..HI, the public range of all private costs; by default as declared, else their least and greatest.
        bins: classes that a range is cut into; by default none for whole numbers, else 10.
        aggregators: names joined by +; from Python also a mapping of names to functions.
        tau: threshold of those aggregators that have one.
        empty: what those say that would be the mean of nothing.
        view: all, agent:A, coalition:A+B, coalitions:K or wire:A>B.
    """

    rule: str = "paper"
    metric: Metric = "entropy"
    prior: str | None = None
    bins: int | None = None
    aggregators: str = "average+max+risk"
    tau: float | None = None
    empty: float | None = None
    view: str = "all"


class Vps(Observer):
    """Privacy loss of every agent: what each observer's mail tells of the others' private costs, and its aggregates."""

    name = "vps"
    default_view: ClassVar[str] = "all"
    Params: ClassVar[type[VpsOptions]] = VpsOptions

    def __init__(self, context: ObserverContext) -> None:
        super().__init__(context)
        names = {field.name for field in dataclasses.fields(VpsOptions)}
        given = {key: value for key, value in context.options.items() if key != "as"}
        words = {key: value for key, value in given.items() if key in names and isinstance(value, (str, int, float))}
        options = registry.make_params(VpsOptions, words, f"observer {self.label}")
        self.metric: str = options.metric
        self.rule_name, self.rule_class = _rule(given.get("rule", options.rule), self.label)
        own = {key: value for key, value in given.items() if key not in names}
        self.rule_params = registry.make_params(
            self.rule_class.Params, own, f"observer {self.label}, rule {self.rule_name}"
        )
        self.aggregators = parse_aggregators(
            given.get("aggregators", options.aggregators), tau=options.tau, empty=options.empty
        )
        if context.redacted:
            raise UserError(f"observer {self.label}: needs private costs, which this log leaves out (--redact)")
        self.prior = make_prior(context.setup, given.get("prior"), options.bins)
        self.public = Public(context.setup, self.prior)
        size = context.view.coalitions
        count = math.comb(len(set(self.public.owner.values())), size)
        if size > 1 and count > MAX_COALITIONS:
            raise UserError(f"observer {self.label}: {count} coalitions of {size}, more than {MAX_COALITIONS}")

    @property
    def rule(self) -> str:
        """The rule and those of its options that are not as by default, as one writes them."""
        if self.rule_params is None:
            return self.rule_name
        fields = {f.name: f.default for f in dataclasses.fields(self.rule_params)}
        given = {
            n: getattr(self.rule_params, n) for n, default in fields.items() if getattr(self.rule_params, n) != default
        }
        return ",".join([self.rule_name, *(f"{n}={_plain(v)}" for n, v in given.items())])

    def start(self) -> None:
        """Give each observer a mind, a rule and a reader."""
        owners = self.context.setup.nodes
        variables = self.public.owner
        nodes: dict[str, list[str]] = {}
        for variable, agent in variables.items():
            nodes.setdefault(agent, []).append(variable)
        self.agents = tuple(nodes)
        """Agents that own a variable."""
        self._owner = owners
        hosted: dict[str, list[str]] = {}
        for node, agent in owners.items():
            hosted.setdefault(agent, []).append(node)
        self.viewers: list[Viewer] = []
        self._waiting: list[Changes] = []
        self._eyes: dict[str, list[Viewer]] = {node: [] for node in owners}
        """By node, those who see its mail."""
        self._channels: dict[tuple[str, str], Channel] = {}
        self._remembered = 0
        self._time = 0.0
        self._analysed = True
        watched = dict.fromkeys(self.agents, 0)
        for name, group in self.context.view.viewers(self.agents):
            own = [node for agent in group for node in hosted.get(agent, ())]
            reader = self.context.reader_for(own)
            if reader is None:
                self._analysed = False  # nobody hears anything
                return
            mind = Mind(name, group, [n for n in own if n in variables], self.public, Changes(self._waiting, name))
            viewer = Viewer(mind, self.rule_class(mind, self.rule_params), reader)
            self.viewers.append(viewer)
            for node in own or owners:  # a wire has no nodes, its feed is what goes over it
                self._eyes[node].append(viewer)
            for agent in group:
                if agent in watched:
                    watched[agent] -= 1
        self._full = {agent: self._full_loss(names) for agent, names in nodes.items()}
        self.subjects = tuple(agent for agent in self.agents if self._full[agent] > 0)
        """Agents with private costs, of which something can be learnt."""
        self._watchers = {agent: len(self.viewers) + watched[agent] for agent in self.subjects}
        self._sums = dict.fromkeys(self.subjects, 0.0)
        self._curves: dict[str, list[list[float]]] = {agent: [[0.0, 0.0]] for agent in self.subjects}
        self._strides = dict.fromkeys(self.subjects, (1, 0))  # of curves: changes to a point, and since the last point
        self._missed: dict[str, None] = {}
        self._unused: set[str] = set()
        self._kinds: set[tuple[object, ...]] = set()
        """Kinds of messages that were looked through for what nobody has analysed."""

    def _full_loss(self, variables: Iterable[str]) -> float:
        scales = self.prior.scales
        return sum(
            full_loss(self.metric, self.public.size[v], scales[v].levels)
            for v in variables
            if v in scales and scales[v].levels > 1
        )

    def observe(self, delivery: Delivery) -> None:
        """Let everybody who received it, and nobody else, learn from one delivery."""
        _, _, now, _, src, dst, kind, _, _, _, payload, _ = delivery
        if now != self._time:
            if self._waiting:
                self.settle()
            self._time = now
        channel = self._channels.get((src, dst))
        if channel is None:
            channel = self._channels[src, dst] = self._open(src, dst)
        for viewer in channel.tells:
            for _ in viewer.read(delivery):
                pass
        for viewer, memory in channel.teaches:
            if memory is None:
                self._learn(viewer, delivery)
                continue
            before = memory.get((kind, payload))
            if before is None or (viewer.rereads and before[1] != viewer.mind.changed.ever):
                changes = viewer.mind.changed.ever
                counted = self._learn(viewer, delivery)
                if len(payload) <= MAX_REMEMBERED_BYTES:
                    self._remember(memory, (kind, payload), (counted, changes))
            else:
                for belief, level in before[0]:
                    belief.count(level)

    def _open(self, src: str, dst: str) -> Channel:
        sender = self._owner[src]
        return Channel(
            tuple(v for v in self._eyes[src] if sender in v.mind.agents and not v.stateless),
            tuple((v, {} if v.remembers else None) for v in self._eyes[dst] if sender not in v.mind.agents),
        )

    def _remember(self, memory: Memory, key: tuple[str, bytes], learnt: tuple[Sequence[Counted], int]) -> None:
        """Keep what was learnt from a message: search algorithms repeat small ones again and again."""
        self._remembered += 1
        if self._remembered > MAX_REMEMBERED:
            for channel in self._channels.values():
                for _, full in channel.teaches:
                    if full is not None:
                        full.clear()
            self._remembered = 1
        memory[key] = learnt

    def _learn(self, viewer: Viewer, delivery: Delivery) -> Sequence[Counted]:
        spelled_out = viewer.mind.public.spelled_out
        told = list(viewer.read(delivery))
        statements = [s for one in told if (s := spelled_out(one)) is not None]
        kinds = (delivery.type, *[(s.label, s.fields) for s in statements])
        if kinds not in self._kinds:
            self._kinds.add(kinds)
            self._missed.update(
                (f"{statement.label} ({delivery.type})", None)
                for statement in statements
                if type(statement) is Unanalysed
            )
            self._missed.update((f"field {name} ({delivery.type})", None) for name in uncovered(delivery, told))
            self._unused.update(f"{s.label} ({delivery.type})" for s in statements if not viewer.rule.uses(s))
        return viewer.rule.learn(statements, delivery)

    @property
    def analysed(self) -> bool:
        """Whether the solver has a reader; without one nothing is known of what it leaks. Told after `start`."""
        return self._analysed

    def settle(self) -> list[tuple[str, Belief]]:
        """Bring losses and curves up to date with what was learnt by now.

        Returns:
            (observer's name, belief) for each belief that changed since this was last called, for displays.
        """
        changed: list[tuple[str, Belief]] = []
        moved: dict[str, None] = {}
        for changes in self._waiting:
            for belief in changes:
                changed.append((changes.whose, belief))
                before, after = belief.settled, belief.settle(self.metric)
                if after != before and belief.agent in self._sums:
                    self._sums[belief.agent] += after - before
                    moved[belief.agent] = None
            changes.clear()
        self._waiting.clear()
        for agent in moved:
            self._plot(agent, self.loss_of(agent))
        return changed

    def loss_of(self, agent: str) -> float:
        """Return p of one subject, as of when `settle` was last called, up to rounding."""
        return self._share(agent, self._sums[agent])

    def _share(self, agent: str, loss: float) -> float:
        watchers = self._watchers[agent]
        return min(1.0, loss / (watchers * self._full[agent])) if watchers else 0.0

    def _plot(self, agent: str, p: float) -> None:
        curve, p = self._curves[agent], round(p, 12)
        if curve[-1][0] == self._time:
            curve[-1][1] = p
        elif curve[-1][1] != p:
            stride, since = self._strides[agent]
            if since + 1 < stride and len(curve) > 1:  # thinned before: the last point moves on
                curve[-1] = [self._time, p]
                self._strides[agent] = stride, since + 1
                return
            curve.append([self._time, p])
            self._strides[agent] = stride, 0
            if len(curve) > MAX_POINTS:
                curve[1:-1] = curve[2:-1:2]
                self._strides[agent] = 2 * stride, 0

    def loss_by_subject(self, viewer: Viewer) -> dict[str, float]:
        """Return what one observer has learnt of each subject, in the metric's unit."""
        found: dict[str, float] = {}
        for belief in viewer.mind.beliefs.values():
            found[belief.agent] = found.get(belief.agent, 0.0) + belief.settled
        return found

    def losses(self) -> dict[str, float | None]:
        """Return p_i by agent as of now; None for agents without private costs, and for those nobody watches."""
        self.settle()
        sums = dict.fromkeys(self.subjects, 0.0)
        for viewer in self.viewers:
            for agent, loss in self.loss_by_subject(viewer).items():
                if agent in sums:
                    sums[agent] += loss
        return {a: self._share(a, sums[a]) if a in sums and self._watchers[a] else None for a in self.agents}

    def aggregate(self, losses: Mapping[str, float | None]) -> dict[str, float | None]:
        """Return each aggregator's verdict on the losses that are not None; None where there are none."""
        values = [p for p in losses.values() if p is not None]
        return {name: aggregator(values) if values else None for name, aggregator in self.aggregators.items()}

    def live(self) -> dict[str, Any]:
        """Return what is known by now, for a display: loss and aggregate."""
        if not self._analysed:
            return {}
        losses = {a: self.loss_of(a) if a in self._sums else None for a in self.agents}
        return {"loss": losses, "aggregate": self.aggregate(losses)}

    def findings(self) -> dict[str, Any]:
        """Return loss, matrix, aggregate, prior, rule, curve and what goes with them."""
        described = {
            "rule": self.rule,
            "sound": self.rule_class.sound,
            "metric": self.metric,
            "unit": "bits" if self.metric == "entropy" else self.metric,
            "n": len(self.agents),
            "prior": self.prior.describe(),
        }
        if not self._analysed:
            note = f"{self.context.solver_name}: not analysed, it has no reader; nothing is known of what it leaks"
            none = dict.fromkeys(self.agents)
            return {
                "solver_analysed": False,
                "loss": none,
                "matrix": {},
                "aggregate": dict.fromkeys(self.aggregators),
                **described,
                "curve": {},
                "notes": [note],
            }
        losses, notes = self.losses(), self.notes()
        matrix, sparse = self._matrix()
        if sparse:
            notes.append("the matrix leaves out pairs without loss")
        return {
            "solver_analysed": True,
            "loss": losses,
            "matrix": matrix,
            "aggregate": self.aggregate(losses),
            **described,
            "curve": {agent: [*curve] for agent, curve in self._curves.items()},
            "notes": notes,
        }

    def notes(self) -> list[str]:
        """Return what was assumed and what was left out by now, in sentences."""
        notes = [*self.prior.notes, *self.public.notes]
        private = {self.public.owner[v] for v in self.prior.scales}
        notes += _about("no private costs, so no loss, and left out of aggregation", set(self.agents) - private)
        notes += _about("only one cost is possible beforehand, so nothing can be learnt", private - set(self.subjects))
        notes += _about("nobody watches, so no loss", {a for a in self.subjects if not self._watchers[a]})
        if self._missed:
            notes.append(f"not analysed, so not counted as loss: {', '.join(sorted(self._missed))}")
        if self._unused:
            unused = ", ".join(sorted(self._unused))
            notes.append(f"not used by rule {self.rule_name}, so not counted as loss: {unused}")
        return notes

    def _matrix(self) -> tuple[dict[str, dict[str, float]], bool]:
        sparse = len(self.viewers) * len(self.subjects) > MAX_PAIRS
        matrix: dict[str, dict[str, float]] = {}
        for viewer in self.viewers:
            known = self.loss_by_subject(viewer)
            row = {
                agent: known.get(agent, 0.0)
                for agent in (known if sparse else self.subjects)
                if agent not in viewer.mind.agents and agent in self._sums
            }
            if row or not sparse:
                matrix[viewer.mind.name] = row
        return matrix, sparse


def _rule(given: object, label: str) -> tuple[str, type[Rule]]:
    if isinstance(given, type) and issubclass(given, Rule):
        return given.__name__.lower(), given
    name = str(given)
    if name in BUILT_IN:
        return name, BUILT_IN[name]
    known = [*BUILT_IN, *registry.names("rules")]
    if name not in known:
        raise UserError(f"observer {label}: no rule is called {name!r}; there are {', '.join(known)}")
    found = registry.find("rules", name)
    if not (isinstance(found, type) and issubclass(found, Rule)):
        raise UserError(f"observer {label}: rule {name} is not a subclass of Rule")
    return name, found


def _about(what: str, agents: set[str]) -> list[str]:
    shown = ", ".join(sorted(agents)[:10]) + (", ..." if len(agents) > 10 else "")
    return [f"{what}: {shown}"] if agents else []


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def exclusions(observer: Vps) -> list[str]:
    """Return, in sentences, where beliefs exclude the true costs: none for a sound rule and a prior that is true.

    For tests of rules, yours too. Infinite costs lie above every range.
    """
    setup = observer.context.setup
    wrong: list[str] = []
    for viewer in observer.viewers:
        for belief in viewer.mind.beliefs.values():
            table, scale = setup.problem.variables[belief.variable].unary, belief.scale
            assert table is not None
            costs = (setup.sense * table).tolist()
            levels = [math.inf if cost == math.inf else scale.level(cost) for cost in costs]
            where = f"{viewer.mind.name} on {belief.variable}"
            for value, (level, low, high) in enumerate(zip(levels, belief.low, belief.high, strict=True)):
                top = math.inf if high == scale.levels else high
                if not low <= level <= top:
                    wrong.append(f"{where}: value {value} has level {level}, not {low}..{high}")
            least = min([belief.least, *belief.bounds])
            if least < min(scale.levels, *levels):
                wrong.append(f"{where}: no value has level {least} or less")
    return wrong
