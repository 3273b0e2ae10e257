"""Distributed private constraint optimisation: problems in which lost privacy has a price.

Doshi, Matsui, Silaghi, Yokoo and Zanker, "Distributed Private Constraint Optimization".
"""

from privacy.dpcop.model import Dpcop, Secret, Stake, priced, private_scopes, private_tables
from privacy.dpcop.prices import AdditivePrices, MaxPrices, Price, SetPrices, check_monotone
from privacy.dpcop.rational import rational
from privacy.dpcop.revelation import Distributions, KnownSecrets, Probabilities, Revelation

__all__ = [
    "AdditivePrices",
    "Distributions",
    "Dpcop",
    "KnownSecrets",
    "MaxPrices",
    "Price",
    "Probabilities",
    "Revelation",
    "Secret",
    "SetPrices",
    "Stake",
    "check_monotone",
    "priced",
    "private_scopes",
    "private_tables",
    "rational",
]
