"""SMI: what each viewer infers of the others' hard unary secrets from their answers, and what that costs them.

Source: Doshi, Matsui, Silaghi, Yokoo, Zanker, "Distributed Private Constraint Optimization", section 4, Algorithm 3.
The inference is `agentsim.dcop.shadow.Shadow`, one for each viewer and subject. The observer feeds it with statements
"the cost of one party is exactly this", whatever the solver: of all that the party's agent answers for
(rest="share"), with the values of all its secret variables, or of a single variable that has its private cost alone
(rest="none"). It reads no private cost; which variables have any is public.

Secrets are *hard* when every entry is 0 or infinite. An agent is left out, with the reason, where one of its private
cost functions has several variables or a declared range of finite costs other than 0 to 0. Where no range is declared
its secrets are taken to be hard until an answer is neither 0 nor infinite.

Transitive preferences: of three participants, who is preferred to one that is preferred to the third is preferred to
the third. With `transitive` this is applied by Floyd-Warshall to what is known, telling strict preference from
preference that may be indifference. It trusts the declaration `preferences` of the problem: by variable, the agent
and the two participants, [AGENT, J, K]; its first value says that J is preferred, its last one K, and the middle one of
three neither. Where every answer is for all secret variables together this adds nothing: before the first finite answer
no entry is known, as a rule, and then every 0 is. It matters to answers for single variables.

Performance: a viewer that knows every entry of every subject reads no more, which leaves one look-up for a delivery.
Counts of answers end there, too.

Deviation: the paper counts what a leader learns. Here everybody counts who is told anything; a viewer's own entries do
not. A secret is learnt, and its price due, when its entry is known, 0 or infinite alike; of a coalition each agent then
knows it. Costs of several parties (a published total, say) are not taken apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple

from agentsim.dcop.problem import Cost, Problem, Value
from agentsim.dcop.shadow import Entry, Shadow
from agentsim.errors import UserError
from agentsim.runtime import registry
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.observer import Observer, ObserverContext
from agentsim.runtime.statements import CostIs, Reader
from agentsim.runtime.view import Setup
from privacy.dpcop.model import Dpcop
from privacy.dpcop.revelation import KnownSecrets
from privacy.dpcop.stakes import Stake, private_scopes

Known = dict[tuple[str, Value], float]
"""What each known entry costs, by variable and value."""

NOT_HARD: Final = "an answer was neither 0 nor infinite: its secrets are not hard"


@dataclass(frozen=True)
class SmiOptions:
    """Options of the observer `smi`.

    Args:
        k: infinite answers with fewer unknown entries than this are stored; None: all.
        closure: whether exactly one value of each secret variable costs 0, and viewers know it.
        transitive: whether preferences are known to be transitive; the problem must declare `preferences`.
        view: all, agent:A, coalition:A+B, coalitions:K or wire:A>B.
    """

    k: int | None = None
    closure: bool = False
    transitive: bool = False
    view: str = "all"

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 1:
            raise ValueError(f"k={self.k}: must be at least 1")


class Preference(NamedTuple):
    """A secret variable that says which of two participants its agent prefers.

    Its first value stands for j, its last for k, and the middle one of three for indifference.

    Args:
        place: among the agent's secret variables.
        size: number of values, 2 or 3.
        j: one participant.
        k: the other.
    """

    place: int
    size: int
    j: int
    k: int


_WEAK: Final = 1
_STRICT: Final = 2


class Ranking:
    """Transitive preferences of one agent: what follows for one of them from others.

    Args:
        preferences: the agent's; participants are numbered from 0.
        closure: whether an infinite entry says that the preference is another one.
    """

    def __init__(self, preferences: Sequence[Preference], closure: bool) -> None:
        self._preferences, self._closure = preferences, closure
        self._n = 1 + max((max(p.j, p.k) for p in preferences), default=-1)

    def deduce(self, known: Mapping[Entry, float]) -> tuple[list[Entry], list[Entry]]:
        """Return the entries that must be 0 and those that must be infinite, known ones included."""
        over = self._direct(known)
        self._close(over)
        zero: list[Entry] = []
        infinite: list[Entry] = []
        for place, size, j, k in self._preferences:
            for_j, for_k = over[j][k], over[k][j]
            if for_j == _STRICT:
                zero.append((place, 0))
            elif for_k == _STRICT:
                zero.append((place, size - 1))
            elif size == 3 and for_j and for_k:
                zero.append((place, 1))
            elif self._closure and for_j:
                infinite.append((place, size - 1))
            elif self._closure and for_k:
                infinite.append((place, 0))
        return zero, infinite

    def _direct(self, known: Mapping[Entry, float]) -> list[list[int]]:
        """Return how far each participant is known to be preferred to each other, from single entries."""
        over = [[0] * self._n for _ in range(self._n)]
        for place, size, j, k in self._preferences:
            if known.get((place, 0)) == 0:
                over[j][k] = _STRICT
            elif known.get((place, size - 1)) == 0:
                over[k][j] = _STRICT
            elif size == 3 and known.get((place, 1)) == 0:
                over[j][k] = over[k][j] = _WEAK
            elif self._closure:
                if known.get((place, 0)) == math.inf:
                    over[k][j] = _WEAK
                if known.get((place, size - 1)) == math.inf:
                    over[j][k] = _WEAK
        return over

    def _close(self, over: list[list[int]]) -> None:
        """Floyd-Warshall: a chain of preferences is strict if one of its links is."""
        everybody = range(self._n)
        for b in everybody:
            for a in everybody:
                if first := over[a][b]:
                    for c in everybody:
                        if second := over[b][c]:
                            over[a][c] = max(over[a][c], first, second)


class Subject:
    """What one viewer knows of one agent's secrets.

    Args:
        variables: the secret variables.
        sizes: their numbers of values.
        shadow: to be filled.
        ranking: of its preferences, or None.

    Attributes:
        answers: number of answers read.
        hard: False once an answer showed that the secrets are not hard.
    """

    __slots__ = ("_place", "_ranking", "answers", "hard", "shadow", "sizes", "variables")

    def __init__(
        self, variables: tuple[str, ...], sizes: tuple[int, ...], shadow: Shadow, ranking: Ranking | None
    ) -> None:
        self.variables, self.sizes, self.shadow, self._ranking = variables, sizes, shadow, ranking
        self._place = {variable: place for place, variable in enumerate(variables)}
        self.answers = 0
        self.hard = True

    def is_open(self) -> bool:
        """Whether there is something left to be learnt."""
        return self.hard and not self.shadow.complete

    def learn_all(self, context: Mapping[str, int], finite: bool) -> None:
        """Take in an answer for all secret variables together; nothing where the context does not give all of them."""
        values = [context.get(variable, -1) for variable in self.variables]
        for value, size in zip(values, self.sizes, strict=True):
            if not 0 <= value < size:  # somebody may lie
                return
        self.answers += 1
        shadow = self.shadow
        if (shadow.finite if finite else shadow.infinite)(values):
            self._rank()

    def learn_one(self, variable: str, value: int, finite: bool) -> None:
        """Take in the private cost of one variable."""
        place = self._place.get(variable)
        if place is None or not 0 <= value < self.sizes[place]:
            return
        self.answers += 1
        entry = [(place, value)]
        if self.shadow.learn(entry, []) if finite else self.shadow.learn([], entry):
            self._rank()

    def _rank(self) -> None:
        """Apply transitivity, for as long as that tells anything new."""
        if self._ranking is not None:
            while not self.shadow.complete and self.shadow.learn(*self._ranking.deduce(self.shadow.known)):
                pass


class Viewer:
    """One viewer: whose eyes it has, its reader and its subjects.

    Args:
        name: of the viewer.
        agents: that share what they see; none for a wire.
        reader: the viewer's.
        subjects: by agent, the others with hard secrets.
    """

    def __init__(self, name: str, agents: Iterable[str], reader: Reader, subjects: dict[str, Subject]) -> None:
        self.name, self.agents, self.read, self.subjects = name, frozenset(agents), reader.read, subjects
        self.stateless = bool(getattr(reader, "stateless", False))
        self.n_open = sum(subject.is_open() for subject in subjects.values())
        """Number of subjects of whom something is left to be learnt."""


class Channel(NamedTuple):
    """Who reads deliveries from one node to another.

    Args:
        tells: viewers that send them and whose readers need to know; one's own words tell nothing.
        teaches: viewers that learn from them.
    """

    tells: tuple[Viewer, ...]
    teaches: tuple[Viewer, ...]


class Smi(Observer):
    """Entries of hard secrets that each viewer infers from answers, and the price of having revealed them."""

    name = "smi"
    default_view: ClassVar[str] = "all"
    Params: ClassVar[type[SmiOptions]] = SmiOptions

    def __init__(self, context: ObserverContext) -> None:
        super().__init__(context)
        given = {key: value for key, value in context.options.items() if key != "as"}
        self.options: SmiOptions = registry.make_params(SmiOptions, given, f"observer {self.label}")
        self._declared: dict[str, tuple[object, object]] = {}
        """By variable, the two participants between whom it decides."""
        if self.options.transitive:
            self._declared = _declared_preferences(context.setup, f"observer {self.label}")
        self._dpcop = Dpcop.of(context.setup.original)

    def start(self) -> None:
        """Give each viewer a reader, and a shadow of everybody else's secrets."""
        setup = self.context.setup
        self._setup, self._owners = setup, setup.nodes
        self._tolerance = setup.problem.tolerance
        self._channels: dict[tuple[str, str], Channel] = {}
        self._viewers: list[Viewer] = []
        secrets, self._not_applicable = _hard_secrets(setup, self._dpcop)
        for name, agents in self.context.view.viewers(setup.original.agents):
            reader = self.context.reader_for(node for node, owner in self._owners.items() if owner in agents)
            if reader is None:
                self._viewers.clear()
                return
            subjects = {a: self._subject(variables) for a, variables in secrets.items() if a not in agents}
            self._viewers.append(Viewer(name, agents, reader, subjects))

    def _subject(self, variables: tuple[str, ...]) -> Subject:
        sizes = tuple(self._setup.original.variables[v].size for v in variables)
        options = self.options
        return Subject(variables, sizes, Shadow(sizes, options.k, options.closure), self._ranking(variables, sizes))

    def _ranking(self, variables: Sequence[str], sizes: Sequence[int]) -> Ranking | None:
        numbers: dict[object, int] = {}
        preferences = []
        for place, (variable, size) in enumerate(zip(variables, sizes, strict=True)):
            pair = self._declared.get(variable)
            if pair is not None:
                j, k = (numbers.setdefault(participant, len(numbers)) for participant in pair)
                preferences.append(Preference(place, size, j, k))
        return Ranking(preferences, self.options.closure) if preferences else None

    def observe(self, delivery: Delivery) -> None:
        """Let everybody at its two ends who has something left to learn read one delivery."""
        channel = self._channels.get((delivery.src, delivery.dst))
        if channel is None:
            channel = self._channels[delivery.src, delivery.dst] = self._open(delivery.src, delivery.dst)
        for viewer in channel.tells:
            for _ in viewer.read(delivery):
                pass
        for viewer in channel.teaches:
            for statement in viewer.read(delivery):
                if type(statement) is CostIs and statement.relation in ("==", "<"):
                    self._learn(viewer, statement)

    def _open(self, src: str, dst: str) -> Channel:
        sender, receiver = self._owners[src], self._owners[dst]
        readers = [v for v in self._viewers if v.n_open]
        return Channel(
            tuple(v for v in readers if sender in v.agents and not v.stateless),
            # A wire is nobody's, and its feed is what goes over it.
            tuple(v for v in readers if sender not in v.agents and (receiver in v.agents or not v.agents)),
        )

    def _learn(self, viewer: Viewer, statement: CostIs) -> None:
        if len(statement.terms) != 1 or statement.noise is not None:
            return
        term = statement.terms[0]
        if len(term.parties) != 1 or term.coefficient != 1:
            return
        party = term.parties[0]
        subject = viewer.subjects.get(self._owners.get(party, ""))
        if subject is None or not subject.is_open():
            return
        alone = term.rest == "none" and party in term.context and not self._setup.evaluated_at.get(party, ())
        if not alone and term.rest != "share":
            return
        nothing_forbidden = statement.relation == "<"
        finite = nothing_forbidden or abs(statement.value - statement.offset) <= self._tolerance
        if not finite and statement.value < statement.forbidden:
            subject.hard = False
        elif alone:
            # Another agent's private costs on a variable run as those of a copy.
            subject.learn_one(self._setup.copies.get(party, party), term.context[party], finite)
        else:
            subject.learn_all(term.context, finite)
        if not subject.is_open():
            viewer.n_open -= 1
            self.satisfied = not any(v.n_open for v in self._viewers)
            if not viewer.n_open:
                self._channels.clear()  # to be opened again without this viewer

    def findings(self) -> dict[str, Any]:
        """Return what is known, by viewer and subject, and what it costs if the problem has prices."""
        if not self._viewers:
            return {"solver_analysed": False, "note": f"{self.context.solver_name}: not analysed, it has no reader"}
        viewers = {viewer.name: self._of_viewer(viewer) for viewer in self._viewers}
        found: dict[str, Any] = {
            "solver_analysed": True,
            "k": self.options.k,
            "closure": self.options.closure,
            "transitive": self.options.transitive,
            "not_applicable": self._not_applicable,
            "viewers": viewers,
            "n_known": sum(of["n_known"] for of in viewers.values()),
        }
        # Coalitions of several agents overlap: what they learn does not add up.
        if self._dpcop is not None and self.context.view.wire is None and self.context.view.coalitions == 1:
            found["price"] = self._price_of_all()
        return found

    def _of_viewer(self, viewer: Viewer) -> dict[str, Any]:
        subjects = {agent: self._of_subject(viewer, agent, subject) for agent, subject in viewer.subjects.items()}
        counts = ("n_known", "n_entries", "n_answers", "n_stored")
        of: dict[str, Any] = {"subjects": subjects}
        of |= {count: sum(about.get(count, 0) for about in subjects.values()) for count in counts}
        of["complete"] = all(subject.shadow.complete for subject in viewer.subjects.values())
        if self._dpcop is not None and viewer.agents:
            of["price"] = math.fsum(about.get("price", 0) for about in subjects.values())
        return of

    def _of_subject(self, viewer: Viewer, agent: str, subject: Subject) -> dict[str, Any]:
        if not subject.hard:
            return {"not_applicable": NOT_HARD}
        shadow = subject.shadow
        known = self._known(subject)
        about: dict[str, Any] = {
            "known": [[variable, value, "0" if cost == 0 else "inf"] for (variable, value), cost in known.items()],
            "n_known": len(known),
            "n_entries": sum(subject.sizes),
            "complete": shadow.complete,
            "n_answers": subject.answers,
            "n_stored": shadow.n_stored,
        }
        if shadow.contradictions:
            about["contradictions"] = shadow.contradictions
        stake = self._stake(agent)
        if stake is not None and viewer.agents:
            names = _learnt(stake, known)
            about["price"] = stake.price(KnownSecrets(dict.fromkeys(sorted(viewer.agents), names)))
        return about

    def _known(self, subject: Subject) -> Known:
        known: Known = {}
        for (place, index), cost in subject.shadow.known.items():
            variable = subject.variables[place]
            known[variable, self._setup.original.variables[variable].domain.values[index]] = cost
        return known

    def _stake(self, agent: str) -> Stake | None:
        return None if self._dpcop is None else self._dpcop.stakes.get(agent)

    def _price_of_all(self) -> float:
        """Return the sum over agents of the price of all that their peers have learnt, which need not be additive."""
        revealed: dict[str, dict[str, frozenset[str]]] = {}
        for viewer in self._viewers:
            for agent, subject in viewer.subjects.items():
                stake = self._stake(agent)
                if stake is not None and subject.hard:
                    names = _learnt(stake, self._known(subject))
                    revealed.setdefault(agent, {}).update(dict.fromkeys(sorted(viewer.agents), names))
        stakes = self._dpcop.stakes if self._dpcop is not None else {}
        return math.fsum(stakes[agent].price(KnownSecrets(known)) for agent, known in revealed.items())


def _learnt(stake: Stake, known: Known) -> frozenset[str]:
    """Return the names of the secrets whose entry is known."""
    return frozenset(s.name for s in stake.secrets if len(s.entry) == 1 and next(iter(s.entry.items())) in known)


def _hard_secrets(setup: Setup, dpcop: Dpcop | None) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Return the secret variables of each agent whose secrets may be hard, and why those of others are not.

    From what is public alone: scopes and declared ranges. Agents without private costs are in neither.
    """
    problem = setup.original
    secrets: dict[str, tuple[str, ...]] = {}
    reasons: dict[str, str] = {}
    scopes = setup.public_part.scopes if setup.knows == "everybody" else private_scopes(problem)
    for agent, own in scopes.items():
        variables = tuple(dict.fromkeys(name for scope in own for name in scope))
        joint = next((scope for scope in own if len(scope) > 1), None)
        soft = _declared_soft(problem, agent, variables, dpcop)
        if joint is not None:
            reasons[agent] = f"it has a private cost function of several variables: {', '.join(joint)}"
        elif soft is not None:
            reasons[agent] = f"its private costs are declared to be from {soft[0]:g} to {soft[1]:g}, not 0 or infinite"
        elif variables:
            secrets[agent] = variables
    return secrets, reasons


def _declared_soft(
    problem: Problem, agent: str, variables: Iterable[str], dpcop: Dpcop | None
) -> tuple[Cost, Cost] | None:
    """Return a declared range of an agent's private costs that allows others than 0; None if there is none."""
    stake = None if dpcop is None else dpcop.stakes.get(agent)
    if stake is not None and isinstance(stake.possible, tuple):
        return stake.possible
    own = (problem.variables[name] for name in variables)
    return next((v.cost_range for v in own if v.agent == agent and v.cost_range not in (None, (0, 0))), None)


def _declared_preferences(setup: Setup, owner: str) -> dict[str, tuple[object, object]]:
    """Return the two participants by preference variable, from the problem's `preferences`; UserError without any."""
    problem = setup.original
    declared = problem.extras.get("preferences")
    if not isinstance(declared, Mapping):
        raise UserError(f"{owner}: transitive=on needs the problem to declare `preferences`, VARIABLE: [AGENT, J, K]")
    found: dict[str, tuple[object, object]] = {}
    for name, row in declared.items():
        variable = problem.variables.get(name)
        if variable is None:
            raise UserError(f"{owner}: preferences: no variable is called {name!r}")
        if not isinstance(row, (list, tuple)) or len(row) != 3 or not all(isinstance(x, (str, int)) for x in row):
            raise UserError(f"{owner}: preferences: {name} must be [AGENT, J, K]")
        agent, j, k = row
        if agent != variable.agent or j == k:
            raise UserError(f"{owner}: preferences: {name} must name its agent {variable.agent} and two participants")
        if variable.size not in (2, 3):
            raise UserError(f"{owner}: preferences: {name} has {variable.size} values, a preference has 2 or 3")
        found[name] = (j, k)
    return found
