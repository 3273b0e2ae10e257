"""`--adversary`: adversaries of a run as one writes them, and what is shown of them afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from agentsim.dcop.problem import Problem
    from agentsim.runtime.result import Result
    from scenarios.adversaries import Attack


def staged(
    specs: Sequence[str], problem: Problem, algo: str, given: Mapping[str, Any], options: dict[str, Any]
) -> tuple[list[Attack], list[Any]]:
    """Return the attacks, and the observers that they bring; add all else that they need to `options`.

    Args:
        specs: `NAME[:agent=A,KEY=VALUE,...]`.
        problem: what is solved.
        algo: the solver.
        given: its parameters.
        options: of `simulate`. A limit of deliveries that the user gave stays.

    Raises:
        UserError: a spec makes no sense, or two adversaries would stand in for one agent.
    """
    if not specs:
        return [], []
    from scenarios.adversaries import Attack, combine

    attacks = [Attack.parse(spec, problem) for spec in specs]
    needed = combine(*(attack.options(problem, algo, **given) for attack in attacks))
    observers = needed.pop("observers", [])
    patience = needed.pop("max_messages", None)
    options.update(needed)
    if options.get("max_messages") is None:
        options["max_messages"] = patience
    return attacks, observers


def show_attacks(out: Console, attacks: Sequence[Attack], result: Result) -> None:
    """Say who attacked, and compare what passive adversaries learnt with what each of their agents learnt alone."""
    from scenarios.screen import number, plain, table, text

    for attack in attacks:
        told = attack.told(result.findings)
        given = ", ".join(f"{key}={plain(value)}" for key, value in told["parameters"].items())
        out.print(text(f"adversary {told['name']}, {plain(told['agent'])}" + (f": {given}" if given else "")))
        learned = told.get("learned")
        if learned:
            heads = ("of", "together", *(f"{plain(a)} alone" for a in attack.agents), "beyond the best alone")
            lines = [
                (
                    plain(row["subject"]),
                    number(row["together"]),
                    *(number(row["alone"][a]) if a in row["alone"] else "" for a in attack.agents),
                    number(row["beyond"]),
                )
                for row in learned
            ]
            out.print(table(heads, lines, "bits learnt of private costs"))
        elif learned is not None:
            out.print(text("nothing to compare: what was said contradicts itself, or is not analysed", "yellow"))
