"""Valuation of possible states: what agents learn of each other's private costs, and how losses add up."""

from privacy.vps.metrics import mixture_loss
from privacy.vps.observer import Vps, exclusions
from privacy.vps.rules import Exact, Paper, Rule, Tight

__all__ = ["Exact", "Paper", "Rule", "Tight", "Vps", "exclusions", "mixture_loss"]
