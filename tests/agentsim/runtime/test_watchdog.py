"""Runs that share an event loop: a time limit ends its own run and no other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from agentsim import Domain, Problem, Variable, run
from agentsim.runtime.agent import Agent
from agentsim.runtime.result import Result


def problem(names: str = "x") -> Problem:
    return Problem.build([Variable(name, Domain("d", (0, 1))) for name in names], [])


def agent(what: Callable[[Agent], Any]) -> type[Agent]:
    class One(Agent):
        async def run(self) -> None:
            self.assign(1)
            await self.sleep(1.0)
            await what(self)

    return One


def test_a_time_limit_leaves_an_agent_of_another_run_alone() -> None:
    async def looks_at_the_clock(one: Agent) -> None:
        began = time.monotonic()
        while time.monotonic() < began + 1.8:
            pass

    async def waits_outside(one: Agent) -> None:
        if one.name == "x":  # y goes on last, and time stands still until x has its answer
            await one.external("answer", lambda: asyncio.sleep(60.0))

    async def both() -> tuple[Result, Result]:
        limited = asyncio.create_task(run(problem("xy"), agent(waits_outside), timeout=0.05))
        await asyncio.sleep(0.01)
        return await asyncio.gather(limited, run(problem(), agent(looks_at_the_clock)))

    limited, other = asyncio.run(both())
    assert (limited.status, limited.limit, limited.notes) == ("timeout", "timeout", ())
    assert (other.status, other.notes) == ("finished", ())


def test_a_time_limit_ends_its_own_agent_in_whichever_run_it_loops() -> None:
    async def loops(one: Agent) -> None:
        while True:
            pass

    async def sleeps(one: Agent) -> None:
        await one.sleep(5.0)

    async def both() -> tuple[Result, Result]:
        return await asyncio.gather(run(problem(), agent(sleeps)), run(problem(), agent(loops), timeout=0.05))

    other, limited = asyncio.run(both())
    assert other.status == "finished"
    assert limited.status == "timeout"
    assert limited.notes == ("agent x never gave control back at time 1",)
