"""The modules whose coverage guides the search, by reader: known before any of them is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_MODEL: Final = ("agentsim.dcop.problem", "agentsim.dcop.formats.tuples")
_YAML: Final = ("agentsim.dcop.formats.pydcop_yaml", "agentsim.dcop.formats.yaml_nodes")
_LOGS: Final = ("agentsim.record.log", "agentsim.record.reader", "agentsim.runtime.messages")
_SWEEPS: Final = ("scenarios.sweeps", "agentsim.runtime.registry", "agentsim.runtime.network")
GUIDES: Final[Mapping[str, tuple[str, ...]]] = {
    "yaml": (*_MODEL, *_YAML, "agentsim.dcop.expression"),
    "expression": ("agentsim.dcop.expression",),
    "distribution": _YAML,
    "privacy": ("privacy.dpcop", "agentsim.dcop.formats.yaml_nodes"),
    "xml": (*_MODEL, "agentsim.dcop.formats.xcsp"),
    "wcsp": (*_MODEL, "agentsim.dcop.formats.wcsp"),
    "cfn": (*_MODEL, "agentsim.dcop.formats.cfn"),
    "amdcop": (*_MODEL, "agentsim.dcop.formats.amdcop"),
    "log": _LOGS,
    "records": _LOGS,
    "header": (
        *_MODEL,
        "agentsim.dcop.formats.amdcop",
        "agentsim.record.re",
        "agentsim.runtime.setup",
        "agentsim.dcop.pseudotree",
    ),
    "observe": ("agentsim.record", "privacy.disclosures"),
    "verify": ("agentsim.record",),
    "about": ("agentsim.record.results",),
    "part": ("agentsim.record.results",),
    "spec": _SWEEPS,
    "table": _SWEEPS,
    "network": ("agentsim.runtime.network",),
    "view": ("agentsim.runtime.observer", "agentsim.runtime.network"),
    "observer": ("agentsim.runtime.observer", "agentsim.runtime.network", "agentsim.runtime.simulate", "privacy"),
    "parameter": ("agentsim.runtime.registry", "scenarios.commands.options", "solvers"),
    "message": ("agentsim.runtime.messages",),
    "payload": ("agentsim.runtime.messages",),
}
"""The modules whose coverage guides the search, by reader: others run at full speed."""
