"""Secure stable matching: several parties find a matching with the fewest unstable pairs, and learn nothing else.

Setting: the cryptographic row of Table 1 of Doshi, Matsui, Silaghi, Yokoo, Zanker, "Distributed Private Constraint
Optimization". m agents a0, a1, ... are to be matched with m agents b0, b1, ... Each prefers, of any two of the other
side, one or the other; preferences need not be transitive. A pair (i, u) that is not matched is unstable if i prefers u
to its partner and u prefers i to its own.

The 2 m agents hand their preferences to the parties round-robin, agent a to party a mod n. Parties compute on Shamir
shares by the library MPyC (extra `crypto`):

1. Each party shares the bits p_a(j, k), "a prefers j to k", of its agents, for all j != k.
2. Bits are checked: b (1 - b) = 0, and p_a(j, k) + p_a(k, j) = 1. What should be 0 is added up with secret random
   coefficients and the sum is opened: 0 if all is well (or with probability 2^-40), else a uniform number, which says
   that somebody's input is wrong, not whose nor how. Then all ends.
3. For each of the m! matchings, an inner product of bits counts its unstable pairs: one round of multiplications.
4. The first matching of least count is found, in a random order that is public, by m! - 1 secure comparisons in
   ceil(log2 m!) layers. Its number, still shared, is opened. Counts are not opened, the least one included.

What is opened: the sum of step 2, the number of the matching, and numbers inside the comparisons that are masked up to
a statistical distance of 2^-40. What the matching says, it says with its order: no other one has fewer unstable pairs
and those before it in the order have more. If it is known to be stable, then of each pair that is not matched one did
not prefer the other. An order that nobody knows would say a little less.

Guarantees: a matching with the fewest unstable pairs; over all orders, each such matching as often as any other.
Threat model: parties are semi-honest (they do what the protocol says) and fewer than half of them put together what
they see: the threshold is t = (n - 1) // 2. So n is at least 3; n = 1 computes in this process, for tests, with nothing
hidden. Connections are neither encrypted nor authenticated: parties run on one machine and talk over 127.0.0.1.

Complexity: 2 m^2 (m - 1) shared bits, m! inner products and m! - 1 comparisons; m is at most 4.

Deviations: the paper says only that a technique of another paper was used, which goes through all matchings too; this
protocol is our own arrangement of standard parts.

    python -m solvers.secure_matching PROBLEM.yaml --parties 3

reads a problem of the generator `stable-matching` with values=2: variables `p_{agent}_{j}_{k}`, j < k, with a private
cost of 0 at the truth: 0 if the agent prefers j to k, else 1.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import json
import logging
import math
import re
import socket
import sys
import warnings
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, combinations, permutations
from numbers import Integral
from typing import Any, Final, NoReturn, TypedDict, TypeVar

from agentsim.dcop.problem import Problem
from agentsim.errors import AgentSimError, RunError, UserError
from agentsim.runtime.port import fresh_key
from agentsim.runtime.streams import Stream
from solvers.exact_sampling import ExactCoins

Preferences = Sequence[Sequence[Sequence[int]]]
"""By agent (a0, a1, ..., then b0, b1, ...) an m x m table: 1 at (j, k) if it prefers j to k. Diagonals do not count."""

MOST_PER_SIDE: Final = 4
"""The most agents on each side: m! matchings are compared."""

HOST: Final = "127.0.0.1"
_MODULE: Final = "solvers.secure_matching"
SECURITY: Final = 40
"""Masked numbers that are opened tell at most 2^-SECURITY, in statistical distance."""

_DIFFERENCE_BITS: Final = 6
"""Differences of two counts, at most m (m - 1) = 12 in size, are signed numbers of this many bits."""

_INVALID: Final = (
    "somebody's preferences are not valid: of any two of the other side, each agent must prefer exactly one"
)
_T = TypeVar("_T")
# MPyC has no types.
_Mpc = Any
_SecureType = Any


@dataclass(frozen=True, slots=True)
class SecureMatching:
    """What a secure computation gave, and what it took.

    Args:
        matching: of a0, a1, ..., the number of its partner.
        parties: how many took part.
        seconds: real time from when inputs were handed out until the last party had ended.
        bytes_sent: by all parties together, headers of MPyC's messages included.
    """

    matching: tuple[int, ...]
    parties: int
    seconds: float
    bytes_sent: int


def secure_matching(
    preferences: Preferences, parties: int = 3, seed: int = 0, time_limit: float = 60.0
) -> SecureMatching:
    """Find a matching with the fewest unstable pairs by a secure computation among processes on this machine.

    Each process is handed the preferences of its own agents alone, through its standard input. None outlives the call.

    Args:
        preferences: of all agents; truth is checked inside the computation, shape here.
        parties: how many processes, 3 to 2 m; or 1, in this process, where nothing is hidden.
        seed: of the public order, which settles who wins among equals.
        time_limit: seconds until the processes are ended.

    Raises:
        UserError: wrong shape, preferences that are not valid, m not in 2..4, or no MPyC.
        RunError: a process failed, or the time limit was reached.
    """
    m = _side(preferences)
    if parties != 1 and not 3 <= parties <= 2 * m:
        raise UserError(
            f"parties={parties}: must be 3 to {2 * m}, at most one for each agent (an honest majority hides inputs, "
            "and two have none), or 1, which hides nothing"
        )
    order = public_order(m, seed)
    if parties == 1:
        return _apart(lambda: _alone(m, order, preferences))

    def launch() -> SecureMatching:
        with asyncio.Runner() as runner:
            return runner.run(_launch(m, order, preferences, parties, time_limit))

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return launch()
    return _apart(launch)  # a notebook's loop runs already


def public_order(m: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Return all matchings of m and m in the order that `seed` gives, each order being equally likely."""
    matchings = list(permutations(range(m)))
    stream = Stream(seed, "secure-matching", "order")
    for last in range(len(matchings) - 1, 0, -1):
        other = stream.integer(last + 1)
        matchings[last], matchings[other] = matchings[other], matchings[last]
    return tuple(matchings)


def preferences_of(problem: Problem) -> Preferences:
    """Return the preferences in a stable-matching problem; UserError if it is none or they have three values."""
    found: dict[tuple[str, int], dict[tuple[int, int], int]] = {}
    for variable in problem.variables.values():
        match = re.fullmatch(r"p_([ab])(\d+)_(\d+)_(\d+)", variable.name)
        if match is None:
            continue
        if variable.size != 2:
            raise UserError(f"variable {variable.name} has {variable.size} values: preferences must have 2")
        truths = [] if variable.unary is None else [v for v in range(2) if not math.isinf(variable.unary[v])]
        if len(truths) != 1:
            raise UserError(f"variable {variable.name}: its private costs must forbid all values but the true one")
        side, agent, j, k = match[1], *(int(digits) for digits in match.groups()[1:])
        found.setdefault((side, agent), {}).update({(j, k): 1 - truths[0], (k, j): truths[0]})
    m = len(found) // 2
    agents = [(side, agent) for side in "ab" for agent in range(m)]
    if m < 2 or sorted(found) != agents or any(set(found[a]) != set(permutations(range(m), 2)) for a in agents):
        raise UserError("no stable-matching problem: needs variables p_{agent}_{j}_{k}, j < k, of a0, ... and b0, ...")
    return [[[found[a].get((j, k), 0) for k in range(m)] for j in range(m)] for a in agents]


def _side(preferences: Preferences) -> int:
    """Return m, having looked at the shape."""
    m = len(preferences) // 2
    if not 2 <= m <= MOST_PER_SIDE:
        raise UserError(f"all m! matchings are compared: m must be 2 to {MOST_PER_SIDE} agents on each side, not {m}")
    rows = [row for table in preferences for row in table]
    shape = {len(preferences), *map(len, preferences), *map(len, rows)}
    if shape != {2 * m, m} or len(rows) != 2 * m * m:
        raise UserError(f"preferences of {2 * m} agents must be {2 * m} tables of {m} rows of {m}")
    if not all(isinstance(bit, Integral) for row in rows for bit in row):
        raise UserError("preferences must be whole numbers: 1 at (j, k) if the agent prefers j to k, else 0")
    return m


# The computation -----------------------------------------------------------------------------------------------


async def _compute(
    mpc: _Mpc, m: int, order: Sequence[tuple[int, ...]], own: Mapping[int, Sequence[int]]
) -> tuple[int, ...] | None:
    """Take part in the computation; return the matching, or None if somebody's input is not valid.

    Args:
        mpc: MPyC's runtime, started.
        m: agents on each side.
        order: the matchings in the public order.
        own: by number of the agents of this party, their bits at all (j, k) with j != k, in lexicographic order.
    """
    secret = mpc.SecInt(_DIFFERENCE_BITS)
    pairs = list(permutations(range(m), 2))
    prefers: dict[tuple[int, int, int], Any] = {}
    for agent in range(2 * m):
        bits = [secret(bit) for bit in own[agent]] if agent in own else [secret(None)] * len(pairs)
        shares = mpc.input(bits, senders=agent % len(mpc.parties))
        prefers.update({(agent, j, k): share for (j, k), share in zip(pairs, shares, strict=True)})
    if not await _valid(mpc, secret, m, prefers):
        return None
    unstable = []
    for matching in order:
        free = [(i, u) for i in range(m) for u in range(m) if matching[i] != u]
        of_first = [prefers[i, u, matching[i]] for i, u in free]
        of_second = [prefers[m + u, i, matching.index(u)] for i, u in free]
        unstable.append(mpc.in_prod(of_first, of_second))
    number, _ = mpc.argmin(unstable)  # the first one among equals
    return order[int(await mpc.output(number))]


async def _valid(mpc: _Mpc, secret: _SecureType, m: int, prefers: Mapping[tuple[int, int, int], Any]) -> bool:
    """Tell whether all inputs are bits and, of each (j, k) and (k, j), exactly one is 1; open one number for it."""
    bits = list(prefers.values())
    zeros = mpc.vector_sub(bits, mpc.schur_prod(bits, bits))
    for agent in range(2 * m):
        zeros += [prefers[agent, j, k] + prefers[agent, k, j] - 1 for j, k in combinations(range(m), 2)]
    # Drawn after the inputs are fixed: a sum over all parties, uniform if one of them draws as it should.
    coins = ExactCoins.from_key(await fresh_key())
    drawn = mpc.input([secret(coins.below(secret.field.order)) for _ in zeros])
    coefficients = [mpc.sum(list(column)) for column in zip(*drawn, strict=True)]
    return int(await mpc.output(mpc.in_prod(coefficients, zeros))) == 0


def _runtime(arguments: Sequence[str]) -> _Mpc:
    """Import MPyC and return its runtime; UserError if it is not installed.

    MPyC makes its one runtime when it is imported: it reads the command line, adds a handler to the root logger and
    takes the thread's event loop for its own. So this is to be called in a thread without one, and puts back the rest.
    """
    argv, handlers = sys.argv, logging.root.handlers[:]
    sys.argv = [argv[0], "--no-log", "--no-uvloop", "--sec-param", str(SECURITY), *arguments]
    fresh = "mpyc.runtime" not in sys.modules
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it still uses a name that numpy gave up
            from mpyc.runtime import mpc
    except ImportError:
        raise UserError("secure matching needs MPyC: pip install 'agentsim[crypto]'") from None
    finally:
        sys.argv, logging.root.handlers[:] = argv, handlers
    if fresh:
        atexit.register(mpc._loop.close)
    return mpc


def _apart(work: Callable[[], _T]) -> _T:
    """Return what `work` returns, in a thread that has no event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def _alone(m: int, order: Sequence[tuple[int, ...]], preferences: Preferences) -> SecureMatching:
    """Compute as the only party."""
    mpc = _runtime(())
    began = mpc._loop.time()
    matching = mpc.run(_compute(mpc, m, order, dict(enumerate(map(_bits, preferences)))))
    if matching is None:
        raise UserError(_INVALID)
    return SecureMatching(matching, 1, mpc._loop.time() - began, 0)


def _bits(table: Sequence[Sequence[int]]) -> list[int]:
    """Return the entries of one agent's table off the diagonal."""
    return [int(table[j][k]) for j, k in permutations(range(len(table)), 2)]


# Processes -----------------------------------------------------------------------------------------------------


class _Answer(TypedDict):
    """What a party says at its end: what was opened, None if some input is not valid."""

    matching: Sequence[int] | None
    bytes_sent: int


async def _launch(
    m: int, order: Sequence[tuple[int, ...]], preferences: Preferences, parties: int, time_limit: float
) -> SecureMatching:
    """Start the parties, hand each its inputs, and collect what they say."""
    clock = asyncio.get_running_loop().time
    command = (sys.executable, "-m", _MODULE, "--party")
    processes: list[Process] = []
    try:
        async with asyncio.timeout(time_limit):
            while len(processes) < parties:
                processes.append(await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE))
            ports = [await _port(process) for process in processes]
            began = clock()
            tasks = []
            for number, process in enumerate(processes):
                own = {agent: _bits(preferences[agent]) for agent in range(number, 2 * m, parties)}
                task = {"number": number, "ports": ports, "limit": time_limit, "order": order, "own": own}
                tasks.append(_answer(process, json.dumps(task).encode()))
            answers = await asyncio.gather(*tasks)
            seconds = clock() - began
    except TimeoutError:
        raise RunError(f"the {parties} parties did not end within {time_limit:g} seconds") from None
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
        for process in processes:
            await process.wait()
    matching = answers[0]["matching"]
    if any(answer["matching"] != matching for answer in answers):
        raise RunError("the parties opened different matchings")
    if matching is None:
        raise UserError(_INVALID)
    return SecureMatching(tuple(matching), parties, seconds, sum(answer["bytes_sent"] for answer in answers))


async def _port(process: Process) -> int:
    """Return the port on which a party that has just started listens."""
    assert process.stdout is not None
    line = await process.stdout.readline()
    return int(line) if line else await _failed(process)


async def _answer(process: Process, task: bytes) -> _Answer:
    """Give a party its task and return what it says at its end; RunError if it fails."""
    answer, errors = await process.communicate(task)
    if process.returncode != 0:
        await _failed(process, errors)
    said: _Answer = json.loads(answer)
    return said


async def _failed(process: Process, errors: bytes | None = None) -> NoReturn:
    """Raise what a party that failed said last."""
    if errors is None:
        _, errors = await process.communicate()
    last = errors.decode(errors="replace").strip().rpartition("\n")[2]
    raise RunError(f"a party ended with exit status {process.returncode}: {last or 'it said nothing'}")


def _be_party() -> None:
    """Be one of several parties: say where it listens, take a task, take part, and say what was opened."""
    with socket.create_server((HOST, 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        task = json.load(sys.stdin)
        others = chain.from_iterable(("-P", f"{HOST}:{port}") for port in task["ports"])
        mpc = _apart(lambda: _runtime((*others, "--index", str(task["number"]))))
        mpc._loop.create_server = _on(listener, mpc._loop.create_server)
        order = [tuple(matching) for matching in task["order"]]
        own = {int(agent): bits for agent, bits in task["own"].items()}
        # The launcher sees to the time; a party whose launcher was killed sees to it by itself.
        answer = mpc.run(asyncio.wait_for(_take_part(mpc, len(order[0]), order, own), task["limit"]))
    print(json.dumps(answer), flush=True)


def _on(listener: socket.socket, create_server: Callable[..., Any]) -> Callable[..., Any]:
    """Return what MPyC calls to listen for others; by itself it would listen on all interfaces."""

    def create(factory: Callable[[], asyncio.Protocol], **_: object) -> object:
        return create_server(factory, sock=listener)

    return create


async def _take_part(mpc: _Mpc, m: int, order: Sequence[tuple[int, ...]], own: Mapping[int, Sequence[int]]) -> _Answer:
    await mpc.start()
    matching = await _compute(mpc, m, order, own)
    sent = sum(peer.protocol.nbytes_sent for peer in mpc.parties if peer.pid != mpc.pid)
    await mpc.shutdown()
    return {"matching": matching, "bytes_sent": sent}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m solvers.secure_matching", description="secure stable matching")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("problem", nargs="?", help="a stable-matching problem whose preferences have two values")
    what.add_argument("--party", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--parties", type=int, default=3, help="how many processes (default 3)")
    parser.add_argument("--seed", type=int, default=0, help="of the public order (default 0)")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds (default 60)")
    options = parser.parse_args(arguments)
    if options.party:
        _be_party()
        return 0
    import agentsim  # parties need not wait for it

    try:
        problem = agentsim.load(options.problem)
        found = secure_matching(preferences_of(problem), options.parties, options.seed, options.time_limit)
    except AgentSimError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    print(" ".join(f"a{i}-b{u}" for i, u in enumerate(found.matching)))
    print(f"{found.parties} parties, {found.seconds:.2f} s, {found.bytes_sent} bytes sent")
    return 0


if __name__ == "__main__":
    sys.exit(main())
