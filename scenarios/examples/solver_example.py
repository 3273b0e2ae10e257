"""Round robin: a worked example of a solver. One token goes round, and its holder takes the value that suits it best.

The agents of a component stand in a ring. Everybody begins at the first value of its domain. Whoever holds the token
reads all values from it, moves to a value of least local cost under them (staying where it is if that is one), writes
its own down and passes the token on. When it has gone round without a move, nobody alone can do better.

    message                  from -> to          when
    TOKEN(values, content)   k -> next in ring   k has chosen; or everybody is content, and the end goes round

`content` counts agents, back from the sender, whose values are best under those of the token. It is the size of the
ring when the search is over, and goes on from there until everybody has been told.

Guarantees: the cost never rises, since only one agent moves at a time; the result is a local optimum. Incomplete.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from agentsim import Agent, Delivery, OrderParams, UserError, load, message, simulate
from agentsim.runtime.local_costs import PENALTY, LocalCosts, refuse_unknown_costs
from agentsim.runtime.messages import Context
from agentsim.runtime.port import Port
from agentsim.runtime.statements import Best, Chosen, ReaderContext, Statement, ValueIs
from agentsim.runtime.view import LocalView, Setup


@message("TOKEN")
class Token(NamedTuple):
    """The values of all who have held it, and how many of the last ones are content with theirs."""

    values: Context
    content: int


class RoundRobin(Agent):
    """One variable's agent."""

    messages = (Token,)
    Params = OrderParams
    place = "order"

    def __init__(self, view: LocalView, port: Port, params: OrderParams) -> None:
        super().__init__(view, port, params)
        self.local = LocalCosts(view)
        self.value = 0

    @classmethod
    def refuse(cls, setup: Setup) -> None:
        """Refuse constraints that an agent of their scope may not know."""
        refuse_unknown_costs(setup, "round robin")

    def start(self) -> None:
        """Take the first value; the first of the ring begins."""
        self.assign(self.value)
        if self.view.order.predecessor is None:
            self.hold(Token({}, 0))

    def on_token(self, sender: str, token: Token) -> None:
        """Take the token."""
        self.hold(token)

    def hold(self, token: Token) -> None:
        """Choose, unless the search is over, and pass the token on, unless everybody has been told."""
        place, content = self.view.order, token.content + 1
        if token.content < place.size:
            best = self.best(token.values)
            if best != self.value:
                self.value, content = best, 1
                self.assign(best)
        if content < 2 * place.size - 1:
            following = place.successor or place.component  # after the last comes the first
            self.send(following, Token({**token.values, self.name: self.value}, content))
        if content >= place.size:
            self.finish()

    def best(self, values: Mapping[str, int]) -> int:
        """Return the present value if it costs least under `values`, else the first that does."""
        self.check(self.local.checks)
        costs = self.local.by_value({name: values.get(name, 0) for name in self.view.neighbours}).tolist()
        least = min(costs)
        return self.value if costs[self.value] <= least + self.local.tolerance else costs.index(least)


class RoundRobinReader:
    """What the token tells: everybody's value, and of the content ones that it was a best one under the others'."""

    stateless = True  # what a delivery says follows from it alone

    def __init__(self, context: ReaderContext) -> None:
        self._ring_of = {name: ring for ring in context.order for name in ring}

    def read(self, delivery: Delivery) -> Iterator[Statement]:
        """Return the statements that one delivery supports."""
        token, ring = delivery.message, self._ring_of[delivery.src]
        for name, value in token.values.items():
            yield ValueIs("value", ("values",), name, value, "now")
        values = {name: token.values.get(name, 0) for name in ring}
        for back in range(min(token.content, len(ring))):
            name = ring[ring.index(delivery.src) - back]
            others = {other: value for other, value in values.items() if other != name}
            yield Chosen("best-response", ("values", "content"), name, values[name], others, Best("any"), PENALTY)


RoundRobin.reader = RoundRobinReader


def main(arguments: list[str]) -> int:
    """Solve a problem and say what came of it, and what each agent could learn."""
    if len(arguments) != 1:
        print("usage: python -m scenarios.examples.solver_example PROBLEM", file=sys.stderr)
        return 2
    try:
        result = simulate(load(arguments[0]), RoundRobin, observers=["disclosures"])
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{result.status}, cost {result.cost}, {result.messages} messages, {result.nccc} checks")
    for agent, told in result.findings["disclosures"]["statements"].items():
        print(f"{agent} was told: {', '.join(f'{n} x {label}' for label, n in told.items()) or 'nothing'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
