"""The distributed DFS: how agents find their places in a pseudo-tree by messages alone.

Cheung 1983; Hamadi, Bessiere and Quinqueton 1998; Petcu's thesis 2007. Neighbours exchange scores, each component
elects its root, and then one token walks depth first: what it meets a second time is an ancestor.

    message             from -> to              when
    SCORE(..)           i -> all neighbours     at once
    LEAD(..)            i -> neighbours         a wave of a candidate for root, and its echo
    VISITED(), COUNT(n) i -> neighbour, back    order=mcn alone: at i's visit, to neighbours not visited before
    CHILD(root, depth)  i -> open neighbour     i is visited and this neighbour is preferred: "be my child"
    PSEUDO(depth)       visited -> i            answer: "I am your ancestor"
    DONE(separator)     child -> parent         the child's whole subtree has its places

For m edges: 2m SCORE; 2m CHILD, PSEUDO and DONE together; m VISITED and m COUNT; LEAD depends on the network, at least
2m. The election is flooding with echo: a candidate's wave overruns every lesser one and dies at every greater one, so
the greatest alone is echoed by all its neighbours. Only nodes preferred to all of their neighbours are candidates.

Depth rides on CHILD and PSEUDO, separators on DONE, so no message more is needed. The tree is that of
`pseudotree.build_tree` with the same parameters. A node can send its parent DONE and then what the algorithm says while
others still search: whoever reads mail here takes the DFS's own messages and leaves all others in the mailbox.

Deviations: the election also runs in the component of a given `root` (it wins), because the agents of the other
components cannot know that `root` is not among them. Loss and reordering need the network's `reliable`; duplicates
are ignored, but a late one stays in the mailbox.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from agentsim.dcop.ordering import HEURISTICS
from agentsim.dcop.pseudotree import TreePlace
from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import message
from agentsim.runtime.statements import Nothing, Statement


@message("SCORE")
class Score(NamedTuple):
    """What the sender's preference as root or child depends on; `number` is its place in the problem's order."""

    degree: int
    number: int


@message("LEAD")
class Lead(NamedTuple):
    """A candidate for root."""

    name: str
    degree: int
    size: int
    number: int


@message("VISITED")
class Visited(NamedTuple):
    """The sender has been visited; asks for the receiver's number of visited neighbours."""


@message("COUNT")
class Count(NamedTuple):
    """How many of the sender's neighbours have been visited, by what it has heard."""

    visited: int


@message("CHILD")
class Child(NamedTuple):
    """The token: be my child, unless you have a place already."""

    root: str
    depth: int


@message("PSEUDO")
class Pseudo(NamedTuple):
    """The token comes back: the sender is an ancestor of the receiver, at this depth."""

    depth: int


@message("DONE")
class Done(NamedTuple):
    """The token comes back: the sender is a child of the receiver. Depth by name of its separator."""

    separator: Mapping[str, int]


DFS_MESSAGES: Final = (Score, Lead, Visited, Count, Child, Pseudo, Done)
"""What a tree solver's codec needs besides its own messages with `tree=messages`."""


async def find_place(agent: Agent, number: int) -> TreePlace:
    """Find an agent's place in the pseudo-tree of its component, together with all agents of the component.

    Args:
        agent: its view tells neighbours and domain sizes; `params.root` and `params.order` steer the choices.
        number: the place of its variable in the problem's order, which breaks ties.
    """
    return await _Search(agent, number).run()


def read_dfs(delivery: Delivery) -> Iterator[Statement]:
    """Yield the statement that covers a message of the DFS: it tells topology, never a cost."""
    if delivery.message:
        yield Nothing("topology: degrees, who is whose ancestor, and how deep", delivery.message._fields)


class Preferences:
    """The public rule by which roots and children are chosen: the least key is preferred.

    Args:
        root: the variable that goes before all others in the election, if any.
        order: a heuristic, names to prefer, or None for the heuristic `degree`.
    """

    def __init__(self, root: str | None, order: str | None) -> None:
        self.root = root
        self.heuristic = order if order in HEURISTICS else "degree"
        names = [] if order is None or order in HEURISTICS else [part.strip() for part in order.split(",")]
        self._named = {name: place for place, name in enumerate(name for name in names if name)}

    def as_child(self, candidate: Lead) -> tuple[Any, ...]:
        """Return the key of a candidate among open neighbours."""
        name, degree, size, number = candidate
        score: tuple[Any, ...] = (-degree,)
        if self.heuristic == "min-domain":
            score = (size, -degree)
        elif self.heuristic == "max-domain":
            score = (-size, -degree)
        elif self.heuristic == "lexical":
            score = (name,)
        elif self.heuristic == "random":
            score = (hashlib.blake2b(f"0 {name}".encode(), digest_size=16).digest(),)
        return (self._named.get(name, len(self._named)), *score, number)

    def as_root(self, candidate: Lead) -> tuple[Any, ...]:
        """Return the key of a candidate in the election."""
        return (candidate.name != self.root, *self.as_child(candidate))


class _Search:
    """One node's part in the search."""

    def __init__(self, agent: Agent, number: int) -> None:
        view = agent.view
        self.agent = agent
        self.preferences = Preferences(agent.params.root, agent.params.order)
        self.me = Lead(view.name, len(view.neighbours), view.size, number)
        self.neighbours: dict[str, Lead] = {}
        self.visited: dict[str, None] = {}  # neighbours whose VISITED came
        self.open: list[str] = []  # neighbours that the token has not been sent to or come from, the best last
        self.place_of: dict[str, int] = {}  # depth of the parent and of pseudo-parents
        self.pseudo_children: set[str] = set()
        self.child_separators: dict[str, dict[str, int]] = {}

    async def run(self) -> TreePlace:
        await self.exchange_scores()
        token = await self.elect()
        parent = None if token is None else self.agent.sender
        root, depth = (self.me.name, 0) if token is None else (token.root, token.depth + 1)
        if parent is not None:
            self.place_of[parent] = depth - 1
        await self.sort_open()
        self.open = [name for name in self.open if name != parent]
        while self.open:
            await self.explore(self.open.pop(), root, depth)
        separator = self.place_of.copy()
        for below in self.child_separators.values():
            separator.update(below)
        separator.pop(self.me.name, None)
        if parent is not None:
            self.agent.send(parent, Done(_by_depth(separator)))
        return TreePlace(
            component=root,
            parent=parent,
            children=tuple(self.child_separators),
            pseudo_parents=tuple(name for name in _by_depth(self.place_of) if name != parent),
            pseudo_children=tuple(name for name in self.neighbours if name in self.pseudo_children),
            depth=depth,
            separator=tuple(_by_depth(separator)),
            child_separators={name: tuple(_by_depth(below)) for name, below in self.child_separators.items()},
        )

    async def exchange_scores(self) -> None:
        """Learn what every neighbour's preference depends on."""
        view = self.agent.view
        self.agent.broadcast(Score(self.me.degree, self.me.number))
        for name in view.neighbours:
            degree, number = await self.agent.receive(Score, sender=name)
            self.neighbours[name] = Lead(name, degree, view.domain_sizes[name], number)

    async def elect(self) -> Child | None:
        """Take part in the election until the token comes; None means that this node won and has the token."""
        agent, key = self.agent, self.preferences.as_root
        best: Lead | None = None
        joined_through: str | None = None
        heard: set[str] = set()
        if all(key(self.me) < key(other) for other in self.neighbours.values()):
            best = self.me
            agent.broadcast(best)
        while True:
            if best is self.me and len(heard) == len(self.neighbours):
                return None
            news: Any = await agent.receive(Lead, Child, Visited)
            sender = agent.sender
            if isinstance(news, Child):
                return news
            if isinstance(news, Visited):
                self.answer(sender)
                continue
            if best is None or key(news) < key(best):
                best, joined_through, heard = news, sender, set()
                for name in self.neighbours:
                    if name != sender:
                        agent.send(name, news)
            elif news != best:
                continue  # a lesser wave dies here: this node's own wave overruns it
            if sender not in heard:
                heard.add(sender)
                if len(heard) == len(self.neighbours) and joined_through is not None:
                    agent.send(joined_through, best)

    def answer(self, sender: str) -> None:
        """Note that a neighbour has been visited and tell it how many have."""
        self.visited[sender] = None
        self.agent.send(sender, Count(len(self.visited)))

    async def sort_open(self) -> None:
        """Sort the neighbours by preference. One sort will do, as no counts of open neighbours change later."""
        counts = dict.fromkeys(self.neighbours, 0)
        if self.preferences.heuristic == "mcn":
            asked = [name for name in self.neighbours if name not in self.visited]
            for name in asked:
                self.agent.send(name, Visited())
            for name in asked:
                counts[name] = (await self.agent.receive(Count, sender=name)).visited
        key = self.preferences.as_child
        self.open = sorted(self.neighbours, key=lambda n: (-counts[n], key(self.neighbours[n])), reverse=True)

    async def explore(self, neighbour: str, root: str, depth: int) -> None:
        """Send the token to a neighbour and wait until it comes back from there, turning away descendants."""
        agent = self.agent
        agent.send(neighbour, Child(root, depth))
        while True:
            news: Any = await agent.receive(Child, Pseudo, Done, Visited)
            sender = agent.sender
            if isinstance(news, Visited):
                self.answer(sender)
            elif isinstance(news, Child):
                if sender in self.open:
                    self.open.remove(sender)
                    self.pseudo_children.add(sender)
                    agent.send(sender, Pseudo(depth))
            elif sender == neighbour:  # anything else is a duplicate
                if isinstance(news, Pseudo):
                    self.place_of[neighbour] = news.depth
                else:
                    self.child_separators[neighbour] = dict(news.separator)
                return


def _by_depth(depth: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(depth.items(), key=lambda item: item[1]))
