"""The accountant `paper`: the epsilon that Damle, Triastcyn, Faltings and Gujar publish for P-Gibbs, sections 5.2-5.3.

The five numbers of their experiments come out with the moment of the choice (Eq. 9, with 2/gamma) at order 99, that of
the noise at order 100, and a term -ln(delta) / order for each (Eq. 10 twice). Three things in the text do not give
them: Eq. 12 as printed has a greater exponent than the sampled Gaussian of the accountant that the authors use
(Triastcyn and Faltings 2020); Table 4 has the term in ln(delta) once; and the choice at order 100 gives .661, not
.662. With gamma = inf the choice has no part, and by the same token without noise the noise has none.

What these numbers are worth is another matter. Two guarantees at delta each hold together at 2 delta. The choice's
coin shows in what is sent, so that it does not hide the choice (Theorem 1's moments are exceeded by what an agent
emits); the second noisy number of each iteration is not counted; and the log-ratio of the choice is at most 1/gamma.
`agentsim epsilon` puts beside them what holds of the messages, their best responses left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from agentsim.runtime.mechanisms import SampledChoice, SampledGaussian, moments_epsilon
from privacy.accounting.uses import check_delta


@dataclass(frozen=True, slots=True)
class PaperEpsilon:
    """What the paper's formulas give.

    Args:
        epsilon: the published number: eps_s + eps_n.
        eps_s: the choices' part, by Eq. 10.
        eps_n: the noise's part, by Eq. 10.
        c_s: moment of one choice at order - 1 (Eq. 9).
        c_n: moment of one noisy number at order, of a sampled Gaussian.
        table4: both moments at order and one ln(delta), as Table 4 has it.
        eq12_printed: the same with Eq. 12 as printed, with one ln(delta) and with two.
        basic_composition: the iterations times the pure part of one (Table 4: 2/gamma); infinite where noisy numbers
            are released, which no pure epsilon bounds.
    """

    epsilon: float
    eps_s: float
    eps_n: float
    c_s: float
    c_n: float
    table4: float
    eq12_printed: tuple[float, float]
    basic_composition: float


def paper(
    sigma: float, gamma: float, q: float, iterations: int = 50, delta: float = 1e-2, order: int = 100
) -> PaperEpsilon:
    """Return the paper's epsilon and its parts.

    Args:
        sigma: noise multiplier; the standard deviation is sigma times the sensitivity. Infinite: no numbers are sent.
        gamma: temperature of the soft-max; infinite: choices are uniform.
        q: probability that an agent is drawn in an iteration.
        iterations: T.
        delta: failure probability, of each part.
        order: lambda, of the noise; the choice has one less.

    Raises:
        ValueError: an argument is out of range.
    """
    check_delta(delta)
    if iterations < 1 or order < 2:
        raise ValueError(f"iterations={iterations}, order={order}: must be at least 1 and 2")
    choice, noise = SampledChoice(2 / gamma if gamma else math.inf, q), SampledGaussian(sigma, q)
    parts: list[tuple[SampledChoice | SampledGaussian, int]] = [(choice, order - 1), (noise, order)]
    sent = choice.bound > 0, sigma < math.inf
    eps_s, eps_n = (e if any_ else 0.0 for e, any_ in zip(moments_epsilon(parts, iterations, delta), sent, strict=True))
    choices = iterations * choice.moment(order) / order
    printed = choices + iterations * printed_moment(order, q, sigma) / order
    one_log = -math.log(delta) / order
    return PaperEpsilon(
        epsilon=eps_s + eps_n,
        eps_s=eps_s,
        eps_n=eps_n,
        c_s=choice.moment(order - 1),
        c_n=noise.moment(order),
        table4=choices + iterations * noise.moment(order) / order + any(sent) * one_log,
        eq12_printed=(printed + any(sent) * one_log, printed + sum(sent) * one_log),
        basic_composition=math.inf if sent[1] else iterations * choice.bound,
    )


def printed_moment(order: int, q: float, sigma: float) -> float:
    """Return the moment ln E[exp(k (order + 1) / (2 sigma^2))], k binomial(order + 1, q), as Eq. 12 is printed."""
    return SampledChoice((order + 1) / (2 * sigma**2) if sigma > 1e-150 else math.inf, q).moment(order)
