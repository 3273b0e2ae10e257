"""A program without framework, which our kernel is compared with: the ceiling of what such a kernel can reach.

It does the least that asynchronous agents, msgpack and an ordered log can cost: a ring of agents, a task for each, that
pass tokens; each hop packs a message, pushes it on a heap by due time, pops it, appends it to a file, unpacks it
at the receiver and wakes the receiver's task.
"""

from __future__ import annotations

import asyncio
import heapq
import tempfile
import time
from collections import deque
from typing import Any

import msgpack


def ceiling(agents: int, tokens: int, deliveries: int) -> float:
    """Return deliveries per CPU second of a bare token ring: a task per agent, a heap, msgpack, a log."""
    pack = msgpack.Packer(use_bin_type=True).pack
    inboxes: list[deque[bytes]] = [deque() for _ in range(agents)]
    parked: list[asyncio.Future[None] | None] = [None] * agents
    due: list[tuple[float, int, int, int, bytes]] = []
    clock, sent, busy = 0.0, 0, 0
    turn: asyncio.Future[None]

    def post(src: int, message: tuple[Any, ...]) -> None:
        nonlocal sent
        sent += 1
        heapq.heappush(due, (clock + 1.0, sent, src, (src + 1) % agents, pack(message)))

    async def agent(me: int) -> None:
        nonlocal busy
        inbox = inboxes[me]
        while True:
            while inbox:
                kind, value, context = msgpack.unpackb(inbox.popleft())
                post(me, (kind, value + 1, context))
            busy -= 1
            if not busy and not turn.done():
                turn.set_result(None)
            parked[me] = wake = loop.create_future()
            await wake

    async def ring() -> float:
        nonlocal loop, turn, busy, clock
        loop = asyncio.get_running_loop()
        turn, busy = loop.create_future(), agents
        tasks = [loop.create_task(agent(i)) for i in range(agents)]
        await turn
        for k in range(tokens):
            post(k % agents, ("TOKEN", 0, (1, 2, 3)))
        done = 0
        with tempfile.TemporaryFile(buffering=1 << 20) as log:
            began = time.process_time()
            while done < deliveries:
                clock, turn = due[0][0], loop.create_future()
                while due and due[0][0] == clock:
                    when, n, src, dst, payload = heapq.heappop(due)
                    log.write(pack((n, when - 1.0, when, src, dst, 0, payload)))
                    inboxes[dst].append(payload)
                    wake, parked[dst] = parked[dst], None
                    if wake is not None:
                        wake.set_result(None)
                        busy += 1
                    done += 1
                await turn
            took = time.process_time() - began
        for task in tasks:
            task.cancel()
        return done / took

    loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]  # set once it runs
    turn = None  # type: ignore[assignment]  # likewise
    return asyncio.run(ring())
