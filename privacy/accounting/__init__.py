"""Accounting of differential privacy: what the randomised releases of a run add up to.

Accountants take mechanism events (`agentsim.runtime.mechanisms`) and refuse those they do not know:

* `paper`: the formula behind the published numbers of P-Gibbs;
* `pure`: the sum of log-ratios, at delta = 0;
* `rdp`: Renyi divergences;
* `pld`: privacy loss distributions, the tightest; needs the extra `dp`;
* `compose`: the least of all that hold.

The observer `accounting` adds up a whole run.
"""

from privacy.accounting.closed import (
    gaussian_delta,
    gaussian_epsilon,
    pure_epsilon,
    range_delta,
    range_epsilon,
    subset_delta,
    subset_response_epsilon,
)
from privacy.accounting.composition import compose, pure
from privacy.accounting.losses import pld
from privacy.accounting.published import PaperEpsilon, paper
from privacy.accounting.renyi import rdp, zcdp_epsilon

__all__ = [
    "PaperEpsilon",
    "compose",
    "gaussian_delta",
    "gaussian_epsilon",
    "paper",
    "pld",
    "pure",
    "pure_epsilon",
    "range_delta",
    "range_epsilon",
    "rdp",
    "subset_delta",
    "subset_response_epsilon",
    "zcdp_epsilon",
]
