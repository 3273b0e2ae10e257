"""What the keys of each command's `--json`, of a log's header and of a result's tables mean.

Each table has the keys in the order in which they come. Tests run the commands and compare: a key that is here and not
there, or there and not here, fails them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agentsim.record.replay import ReplayResult
from agentsim.runtime.result import AgentMetrics, Result
from scenarios.commands.listing import _arguments


def _said(cls: type, also: Mapping[str, str]) -> dict[str, str]:
    """Return the meanings that a class gives to its attributes, and others beside them."""
    return _arguments(cls.__doc__ or "") | dict(also)


_RUN: Final = _said(
    Result,
    {
        "seed": "of every random draw.",
        "solver": "its name.",
        "problem": "its name.",
        "startup_messages": "messages that found the tree (`tree=messages`), which the other figures leave out.",
        "startup_bytes": "bytes of their payloads.",
        "deadlock": "a sentence: who waited for what when the run ended so, or null.",
    },
)

SOLVE: Final = {
    key: _RUN[key]
    for key in (
        "status", "cost", "bound", "assignment", "violations", "messages", "bytes", "nccc", "checks", "virtual_time",
        "wall_time", "startup_time", "by_type", "startup_messages", "startup_bytes", "local_messages", "transport",
        "seed", "solver", "problem", "limit", "abandoned", "findings", "deadlock", "notes",
    )
}  # fmt: skip

_REPLAYED: Final = _said(ReplayResult, {})

REPLAY: Final = {
    key: _REPLAYED[key]
    for key in (
        "findings", "verified", "complete", "first_difference", "deliveries", "skipped", "damaged", "notes",
    )
}  # fmt: skip

INSPECT: Final = {
    "whole": "a result record closes the log, and nothing is damaged.",
    "damaged": "what is wrong with the file, or null.",
    "deliveries": "how many there are.",
    "by_type": "how many of each message type.",
    "fates": "how many messages were lost, repeated, altered and so on, by fate.",
    "header": "the header, the problem's tables left out; null where the log was cut within it.",
    "findings": "by observer, as they were found live.",
    "result": "the result record, or null.",
}

EPSILON: Final = {
    "paper": "epsilon as the paper's theorem gives it.",
    "pld": "what holds for one table's noisy differences by privacy loss distributions, if they alone were sent.",
    "rdp": "the same by Rényi differential privacy.",
    "edge": "for all that is said of one table: both of its ends use it.",
    "agent": "for everything that touches one agent: its own tables and its neighbours' uses of them.",
    "emitted": "for all that leaves an agent: infinite, and the reason says why.",
    "reason": "why.",
    "parts": "of what the figures above are made, and the paper's other figures.",
}

AUDIT: Final = {
    "solver": "what was audited.",
    "epsilon_lower": "epsilon is at least this, with the confidence given.",
    "claimed": "what the solver claims, or null.",
    "verdict": '"refuted", "not refuted", or null where nothing finite is claimed at this delta.',
    "cap": "the most that so many runs could have shown.",
    "delta": "of the bound.",
    "confidence": "of the bound.",
    "runs": "in each of the two worlds.",
    "unit": "what the claim protects.",
    "view": "whose eyes the guesser has.",
    "chosen": "what it looked at: half of the runs chose it, the other half tested it.",
    "fields": "the bound by what is looked at, each by itself.",
    "statistic": "how a world is guessed.",
    "guesses": "right and wrong guesses by what is looked at.",
    "problems": "the two worlds.",
    "notes": "sentences worth telling.",
}

_SWEEP: Final = {
    "name": "of the sweep.",
    "cells": "how many it has, each once.",
    "repeated": "how many more are written twice.",
    "done": "cells that are finished and did not fail, here and in earlier runs.",
    "failed": "cells that failed, here and in earlier runs.",
    "new": "cells that were still to do when the command began.",
    "gone": "cells in the folder that the spec no longer names.",
    "axes": "how many cells each value of each axis has.",
    "first": "the first cells, with all that they depend on.",
    "seconds": "how long the command took.",
    "statuses": "how many cells ended how.",
    "folder": "where the results are.",
    "notes": "sentences on parts that were damaged.",
}

SWEEP: Final = {k: _SWEEP[k] for k in ("name", "cells", "done", "failed", "new", "seconds", "statuses", "folder")}

DRY_RUN: Final = {
    k: _SWEEP[k] for k in ("name", "cells", "repeated", "done", "failed", "new", "gone", "axes", "first", "folder")
}

REPRODUCE: Final = {
    "experiment": "its name.",
    "rows": "the table: one object for each row.",
    "notes": "sentences: how ours compare with the paper's, and what differs from its set-up.",
}

BENCH_KERNEL: Final = {
    "deliveries_per_second": "of wall time, start and end left out.",
    "deliveries_per_cpu_second": "of processor time.",
    "agents": "in the ring.",
    "deliveries": "made.",
    "in_flight": "tokens that go round.",
    "network": "as written.",
    "observers": "attached.",
    "wall_time": "seconds of the run.",
    "startup_time": "seconds before it.",
}

BENCH_SOLVERS: Final = {
    "problem": "its name.",
    "agents": "nodes of the graph.",
    "network": "as written.",
    "rows": "one object for each solver.",
}

LIST: Final = {
    "solvers": "one object for each: name, summary, status, parameters; and what the kind has besides. The key is the "
    "kind that was asked for: solvers, observers, generators, aggregators, networks or experiments.",
}

EXPLORE: Final = {
    "runs": "of all solvers together, those of earlier calls with the same folder among them.",
    "failed": "how many failed a check.",
    "hung": "how many were stopped at a limit.",
    "told": "how many ended without an answer, and said so, on a network that loses messages.",
    "refused": "how many problems were refused.",
    "first_failure": "null, or an object: the command that repeats it, why, kind, hung, solver, problem (a file), "
    "network, seed, params, size, and as what it was found.",
    "solvers": "by solver: runs, and how many of them failed, hung, were told or refused.",
    "families": "the same by family of networks.",
    "checks": "how many of each were made.",
    "sampled": "checks that are made of every so many runs only.",
    "messages": "that all solvers sent.",
    "seconds": "how long it took, earlier calls included.",
    "cpu_seconds": "of processors.",
    "failures": "all that are told of: the first of each kind of each solver.",
    "asked": "what is explored.",
}

COMMANDS: Final[dict[str, Mapping[str, str]]] = {
    "solve": SOLVE,
    "replay": REPLAY,
    "inspect": INSPECT,
    "list": LIST,
    "sweep": SWEEP,
    "sweep --dry-run": DRY_RUN,
    "reproduce": REPRODUCE,
    "epsilon": EPSILON,
    "audit": AUDIT,
    "explore": EXPLORE,
    "bench kernel": BENCH_KERNEL,
    "bench solvers": BENCH_SOLVERS,
}
"""Meaning by key, by command."""

HEADER: Final = {
    "package": "version of agentsim that wrote the log.",
    "problem": "the problem, whole; in a redacted log without private costs.",
    "redacted": "whether private costs and what came from outside are left out.",
    "solver": "its name.",
    "params": "all of its parameters, resolved.",
    "seed": "of every random draw.",
    "network": "as written.",
    "check_cost": "virtual time that a constraint check takes.",
    "realtime": "real seconds for each unit of virtual time, or nil.",
    "places": "the tree or the orders, with each node's place.",
    "nodes": "owner by node.",
    "costs": '"nonnegative" (shifted by the offsets) or "signed".',
    "offsets": "what was added to each cost function, by unary cost and by constraint.",
    "offsets_from_tables": "those of the offsets that were read off private tables.",
    "floors": "declared least costs, by variable and constraint.",
    "observers": "those that were attached, by the names of their findings.",
    "replaced": "agents that an adversary stood in for.",
    "interceptors": "how many adversaries sat on the router.",
    "gates": "agents that decided before each message whether to go on.",
}
"""Meaning of the header's keys."""

_AGENT: Final = _said(
    AgentMetrics,
    {
        "messages": "that it sent over the network.",
        "bytes": "of their payloads.",
        "local_messages": "between nodes of its own.",
        "checks": "its constraint checks.",
        "nccc": "its clock of non-concurrent constraint checks at the end.",
    },
)

_CELL: Final = "key of the cell: a hash of the name and of all that the cell depends on."
_NUMBER: Final = "number of the run within the cell, from 0."

TABLES: Final[dict[str, Mapping[str, str]]] = {
    "cell": {
        "cell": _CELL,
        "task": "all that the cell depends on, as JSON.",
        "status": '"done" or "failed".',
        "error": "why it failed, in one line; null where it did not.",
        "result": "what it returned, as JSON; of a failed cell its traceback.",
        "seconds": "how long it took.",
        "version": "of agentsim, that wrote it.",
    },
    "run": {
        "cell": _CELL,
        "run": _NUMBER,
        "version": "of agentsim.",
        "python": "version of Python.",
        "problem": "its name.",
        "generator": "that made it, or null.",
        "file": "that it was read from, or null.",
        "problem_parameters": "all of the generator's parameters, as JSON; the frame has a column `problem.KEY` each.",
        "problem_seed": "that the problem was made with, or null.",
        "objective": '"min" or "max".',
        "variables": "how many.",
        "constraints": "how many.",
        "agents": "how many.",
        "solver": "its name.",
        "solver_parameters": "all of them, resolved, as JSON; the frame has a column `solver.KEY` each.",
        "network": "as written.",
        "observers": "as written, a list as JSON.",
        "seed": "of the run.",
        "status": 'of the run (`optimal`, `timeout`, ...); or "refused" by the solver, "error" for an exception, '
        '"died" where the worker process was killed three times.',
        **{
            key: _RUN[key]
            for key in (
                "cost", "bound", "violations", "messages", "bytes", "local_messages", "nccc", "checks",
                "virtual_time", "wall_time", "startup_time", "limit",
            )
        },
        "error": "why it failed, in one line, or null.",
    },
    "agent": {"cell": _CELL, "run": _NUMBER, "agent": "its name.", **{
        key: _AGENT[key] for key in ("messages", "bytes", "local_messages", "checks", "nccc")
    }},
    "leakage": {
        "cell": _CELL,
        "run": _NUMBER,
        "observer": "the name under which its findings appear.",
        "quantity": 'outermost key of the number in the findings ("loss", "aggregate", "matrix", ...).',
        "name": "the keys below it, with ` > ` between them: an agent, say, or an aggregator.",
        "value": "the number.",
    },
    "series": {
        "cell": _CELL,
        "run": _NUMBER,
        "series": '"cost", or the observer and its curve ("vps.curve").',
        "name": "whose: an agent's, or nothing.",
        "time": "virtual.",
        "value": "at that time.",
    },
}  # fmt: skip
"""Meaning of the columns of the tables of results, by table."""
