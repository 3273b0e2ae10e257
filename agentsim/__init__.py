"""agentsim: asyncio multi-agent simulation of distributed constraint optimisation and its privacy.

The names below load on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentsim.dcop.formats import load, save
    from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
    from agentsim.errors import AgentSimError, FormatError, ProblemError, RunError, SolverRefusal, UserError
    from agentsim.record.reader import open_log
    from agentsim.record.replay import replay
    from agentsim.record.results import load_results
    from agentsim.runtime.agent import Agent
    from agentsim.runtime.delivery import Delivery
    from agentsim.runtime.failures import AgentFailure, ObserverFailure
    from agentsim.runtime.messages import Envelope, message
    from agentsim.runtime.observer import Observer
    from agentsim.runtime.result import Result
    from agentsim.runtime.router import Alter, Delay, Drop
    from agentsim.runtime.setup import OrderParams, TreeParams
    from agentsim.runtime.simulate import run, simulate

__version__ = "0.1.0"

_HOME = {
    "agentsim.dcop.formats": ("load", "save"),
    "agentsim.dcop.problem": ("Constraint", "Domain", "Problem", "Variable"),
    "agentsim.errors": ("AgentSimError", "FormatError", "ProblemError", "RunError", "SolverRefusal", "UserError"),
    "agentsim.record.reader": ("open_log",),
    "agentsim.record.replay": ("replay",),
    "agentsim.record.results": ("load_results",),
    "agentsim.runtime.agent": ("Agent",),
    "agentsim.runtime.delivery": ("Delivery",),
    "agentsim.runtime.failures": ("AgentFailure", "ObserverFailure"),
    "agentsim.runtime.messages": ("Envelope", "message"),
    "agentsim.runtime.observer": ("Observer",),
    "agentsim.runtime.result": ("Result",),
    "agentsim.runtime.router": ("Alter", "Delay", "Drop"),
    "agentsim.runtime.setup": ("OrderParams", "TreeParams"),
    "agentsim.runtime.simulate": ("run", "simulate"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'agentsim' has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "Agent",
    "AgentFailure",
    "AgentSimError",
    "Alter",
    "Constraint",
    "Delay",
    "Delivery",
    "Domain",
    "Drop",
    "Envelope",
    "FormatError",
    "Observer",
    "ObserverFailure",
    "OrderParams",
    "Problem",
    "ProblemError",
    "Result",
    "RunError",
    "SolverRefusal",
    "TreeParams",
    "UserError",
    "Variable",
    "__version__",
    "load",
    "load_results",
    "message",
    "open_log",
    "replay",
    "run",
    "save",
    "simulate",
]
