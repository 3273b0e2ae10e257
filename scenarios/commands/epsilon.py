"""`agentsim epsilon`: what P-Gibbs with given parameters is said to guarantee, and what accountants find."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from agentsim.runtime.mechanisms import Mechanism

GRID: Final = 1e-4
"""The loss of each use is moved up to the next multiple of it, dp-accounting's default: at most .005 for 50 uses."""

IN_CLEAR: Final = (
    "each iteration's best response is sent in the clear: it is a function of the costs, and two cost functions with "
    "different best responses are told apart with certainty"
)


class _Number(click.ParamType[float]):
    """A number in an interval; `inf` too, if that is allowed."""

    name = "number"

    def __init__(self, low: float, high: float, *, ends: bool = True) -> None:
        self._low, self._high, self._ends = low, high, ends

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401  # click's signature
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        inside = self._low <= number <= self._high if self._ends else self._low < number < self._high
        if not inside:
            ends = "" if self._ends else ", both excluded"
            self.fail(f"{value} is not a number from {self._low:g} to {self._high:g}{ends}", param, ctx)
        return number


@click.command()
@click.option("--sigma", required=True, type=_Number(0, math.inf), metavar="S|inf", help="Noise over sensitivity.")
@click.option("--gamma", required=True, type=_Number(0, math.inf), metavar="G|inf", help="Temperature of the soft-max.")
@click.option("-q", "q", required=True, type=_Number(0, 1), metavar="Q", help="Probability of drawing a new value.")
@click.option("--iterations", type=click.IntRange(1, 100_000), default=50, show_default=True, metavar="T")
@click.option("--delta", type=_Number(0, 1, ends=False), default=1e-2, show_default=True, metavar="D")
@click.option("--tau", type=_Number(0, math.inf, ends=False), default=50.0, show_default=True, metavar="TAU",
              help="Sensitivity, twice the clipping constant.")  # fmt: skip
@click.option("--order", type=click.IntRange(2, 10_000), default=100, show_default=True, metavar="L",
              help="Order of the moments in the paper's formula.")  # fmt: skip
@click.option("--degree", type=click.IntRange(0, 100_000), default=4, show_default=True, metavar="K",
              help="Neighbours of an agent.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def epsilon(
    sigma: float, gamma: float, q: float, iterations: int, delta: float, tau: float, order: int, degree: int,
    as_json: bool,
) -> int:  # fmt: skip
    """Account for P-Gibbs: the published epsilon, and what holds for the messages.

    The noise has standard deviation S * TAU. With S = inf no numbers are sent, with G = inf choices are uniform.
    """
    from scenarios.screen import Progress, console, print_json, table, text

    with Progress("composing"):
        found = account(sigma, gamma, q, iterations=iterations, delta=delta, order=order, degree=degree)
    if as_json:
        print_json(found)
        return 0
    out = console()
    out.print(
        text(
            f"P-Gibbs with sigma {sigma:g} (noise {sigma * tau:g} on utilities clipped to +-{tau / 2:g}), "
            f"gamma {gamma:g}, q {q:g}, {iterations} iterations; epsilon at delta {delta:g}"
        )
    )
    out.print(table(("", "epsilon", "what it is"), _lines(found, order, degree), left=3))
    return 0


def account(
    sigma: float, gamma: float, q: float, *, iterations: int, delta: float, order: int, degree: int
) -> dict[str, Any]:
    """Return what the command prints as JSON.

    The sensitivity tau is no argument: clipping is to half of it and the noise is a multiple of it, so that it cancels.
    """
    from agentsim.runtime.mechanisms import Gaussian, Repeated, SampledChoice, SampledGaussian, VisibleChoice
    from privacy.accounting import paper, pld, rdp

    published = paper(sigma, gamma, q, iterations, delta, order)
    bound = 1 / gamma if gamma else math.inf
    value_delta = Repeated(VisibleChoice(bound, q, sigma), iterations)
    best_c = Repeated(Gaussian(2 * sigma), iterations)
    best_tau = Repeated(Gaussian(sigma), iterations)
    emitted = (value_delta, best_tau)

    def times(n: int) -> list[Mechanism]:
        return [Repeated(event, n) for event in emitted]

    def own_model(ratio: float) -> float:
        return pld([Repeated(SampledChoice(ratio, q), iterations), Repeated(SampledGaussian(sigma, q), iterations)],
                   delta, GRID)  # fmt: skip

    holds = pld(emitted, delta, GRID)
    return {
        "paper": published.epsilon,
        "pld": holds,
        "rdp": rdp(emitted, delta),
        "edge": pld(times(2), delta, GRID),
        "agent": pld(times(1 + degree), delta, GRID),
        "emitted": math.inf,
        "reason": IN_CLEAR,
        "parts": {
            "per_iteration": {"c_s": published.c_s, "c_n": published.c_n},
            "eps_s": published.eps_s,
            "eps_n": published.eps_n,
            "table4": published.table4,
            "eq12_printed": list(published.eq12_printed),
            "basic_composition": published.basic_composition,
            "own_model": own_model(2 * bound),
            "own_model_1_over_gamma": own_model(bound),
            "value_delta": pld([value_delta], delta, GRID),
            "best_c": pld([value_delta, best_c], delta, GRID),
            "best_tau": holds,
        },
    }


def _lines(found: dict[str, Any], order: int, degree: int) -> list[tuple[str, str, str]]:
    """Return the rows of the table for people: name, epsilon, a sentence."""
    from scenarios.screen import number

    parts = found["parts"]
    one_log, two_logs = parts["eq12_printed"]
    each = parts["per_iteration"]
    rows = [
        ("paper", found["paper"],
         f"The published formula: moment of the choice at order {order - 1}, of the noise at order {order}, a term in "
         "ln(delta) for each."),
        ("  choices", parts["eps_s"], f"Its part for choices; the moment of one is {each['c_s']:.5g}."),
        ("  noise", parts["eps_n"], f"Its part for noisy numbers; the moment of one is {each['c_n']:.5g}."),
        ("  table 4", parts["table4"],
         "Both at the same order with one term in ln(delta), as the paper's Table 4 has it."),
        ("  eq. 12", one_log,
         f"The same with Eq. 12 as it is printed; with two terms in ln(delta) {number(two_logs)}."),
        ("  basic", parts["basic_composition"],
         "No accountant: an iteration's pure epsilon as often as there are iterations; noisy numbers have none."),
        ("own model", parts["own_model"],
         "Loss distributions of the paper's own model, coin hidden and one noisy number: what its formula bounds."),
        ("  1/gamma", parts["own_model_1_over_gamma"], "The same with the log-ratio that a choice really has."),
        ("value", parts["value_delta"],
         "Loss distributions of what is sent: the coin shows in the value, and the noisy difference goes with it."),
        ("  best, c", parts["best_c"],
         "And the noisy best difference of every iteration, whose sensitivity is half of tau: it is never negative."),
        ("pld", found["pld"],
         "The same at sensitivity tau. It holds for all that one agent sends but its best responses."),
        ("rdp", found["rdp"], "The same by Renyi divergences, which are less tight."),
        ("edge", found["edge"], "pld for one constraint, which both of its agents use."),
        ("agent", found["agent"], f"pld for all constraints of an agent with {degree} neighbours, which use them too."),
        ("emitted", found["emitted"], f"For the messages as they are: {found['reason']}."),
    ]  # fmt: skip
    return [(name, number(value), meaning) for name, value, meaning in rows]
