"""An example observer, complete in ten lines: who talks to whom, and how much.

Run it: `python -m scenarios.observe_traffic PROBLEM [SOLVER]`, or attach it: `agentsim solve ... --observe traffic`.
"""

from __future__ import annotations

import sys
from collections import Counter

from agentsim import Delivery, Observer, UserError, load, simulate
from scenarios.status import USER_ERROR


class Traffic(Observer):
    """Who talks to whom, and how much: messages and bytes between each two agents."""

    name = "traffic"

    def start(self) -> None:
        """Begin with nothing."""
        self.messages: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def observe(self, delivery: Delivery) -> None:
        """Count one delivery, unless it stays within one agent."""
        src, dst = self.context.owner(delivery.src), self.context.owner(delivery.dst)
        if src != dst:
            self.messages[f"{src} > {dst}"] += 1
            self.bytes[f"{src} > {dst}"] += len(delivery.payload)

    def findings(self) -> dict[str, dict[str, int]]:
        """Return messages and bytes by pair, the busiest first."""
        return {pair: {"messages": n, "bytes": self.bytes[pair]} for pair, n in self.messages.most_common()}


def main(arguments: list[str]) -> int:
    """Solve a problem and print who talked to whom."""
    if not 1 <= len(arguments) <= 2:
        print("usage: python -m scenarios.observe_traffic PROBLEM [SOLVER]", file=sys.stderr)
        return USER_ERROR
    try:
        result = simulate(load(arguments[0]), arguments[1] if len(arguments) > 1 else "dpop", observers=[Traffic])
    except UserError as error:
        print(error, file=sys.stderr)
        return USER_ERROR
    print(f"{result.solver}: {result.status}, cost {result.cost}, {result.messages} messages")
    for pair, count in result.findings["traffic"].items():
        print(f"{pair:<24} {count['messages']:>6} messages {count['bytes']:>9} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
