"""What a run of a DPCOP cost, as people see it: by agent its cost, what it revealed to whom, and what that cost it.

Also what the observer `smi` inferred, by viewer and subject.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console

MAX_AGENTS: Final = 40
MAX_NAMES: Final = 6


def is_priced(found: object) -> bool:
    """Tell whether findings are those of the observer `dpcop`."""
    return isinstance(found, Mapping) and {"agents", "privacy_cost", "total", "pricing"} <= set(found)


def show_prices(out: Console, found: Mapping[str, Any]) -> None:
    """Show cost, revelation, price and total by agent, and the sums."""
    from scenarios.screen import number, plain, table, text

    coalition = ", peers share what they learn" if found["coalition"] else ""
    out.print(text(f"pricing {found['pricing']}, policy {found['policy']}{coalition}"))
    agents = list(found["agents"].items())
    rows: list[list[object]] = [
        [
            plain(name),
            number(row["cost"]),
            number(row["privacy_cost"]),
            number(row["total"]),
            number(row["reward"]),
            _revealed(row["revelation"]),
        ]
        for name, row in agents[:MAX_AGENTS]
    ]
    if len(agents) > MAX_AGENTS:
        rows.append([f"... and {len(agents) - MAX_AGENTS} more", "", "", "", "", ""])
    if found["public_cost"]:
        rows.append(["public", number(found["public_cost"]), "", number(found["public_cost"]), "", ""])
    rows.append(["all", number(found["cost"]), number(found["privacy_cost"]), number(found["total"]), "", ""])
    out.print(table(("agent", "cost", "privacy", "total", "reward", "revealed"), rows))
    if not found["exact"]:
        out.print(text("note: not all that was told could be used: peers may know more than is priced", "yellow"))
    if found["unused"]:
        labels = "; ".join(map(plain, found["unused"]))
        out.print(text(f"note: not analysed, so peers may know more than is priced: {labels}", "yellow"))
    if found["contradicted"]:
        peers = _listed([plain(peer) for peer in found["contradicted"]])
        out.print(text(f"note: what {peers} heard cannot all be true, so what they know is not priced", "yellow"))
    for note in found["notes"]:
        out.print(text(f"note: {note}", "yellow"))


def is_inferred(found: object) -> bool:
    """Tell whether findings are those of the observer `smi`."""
    return isinstance(found, Mapping) and {"viewers", "closure", "not_applicable", "n_known"} <= set(found)


def show_inferred(out: Console, found: Mapping[str, Any]) -> None:
    """Show how many entries each viewer knows of each agent that answered it, and their price."""
    from scenarios.screen import number, plain, table, text

    about = [(v, a, row) for v, of in found["viewers"].items() for a, row in of["subjects"].items()]
    told = [(v, a, row) for v, a, row in about if row.get("n_answers")]
    rows: list[list[object]] = [
        [plain(v), plain(a), f"{row['n_known']} of {row['n_entries']}", row["n_answers"], number(row.get("price"))]
        for v, a, row in told[:MAX_AGENTS]
    ]
    if len(told) > MAX_AGENTS:
        rows.append([f"... and {len(told) - MAX_AGENTS} more", "", "", "", ""])
    rows.append(["all", "", found["n_known"], "", number(found.get("price"))])
    out.print(table(("viewer", "learns of", "entries", "answers", "price"), rows, left=2))
    reasons = {a: row["not_applicable"] for _, a, row in about if "not_applicable" in row}
    for agent, why in {**found["not_applicable"], **reasons}.items():
        out.print(text(f"note: {plain(agent)}: {why}", "yellow"))


def _revealed(revelation: Mapping[str, Any]) -> str:
    """Return to each peer what is revealed, a long list cut short."""
    from scenarios.screen import plain

    parts = []
    for peer, told in revelation.items():
        shares = told if isinstance(told, Mapping) else dict.fromkeys(told)
        shown = [plain(name) if share is None else f"{plain(name)} {share:.0%}" for name, share in shares.items()]
        parts.append(f"{plain(peer)}: {_listed(shown)}")
    return "; ".join(parts)


def _listed(names: Sequence[str]) -> str:
    """Return names on one line, a long list cut short."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
