"""Exploration: solvers under many schedules, every run checked, failures shrunk to the smallest that shows them."""

from __future__ import annotations

from scenarios.exploration.checks import Case, Verdict, check_run
from scenarios.exploration.engine import explore, solvers_of
from scenarios.exploration.options import options_of
from scenarios.exploration.schedules import FAMILIES, draw_network

__all__ = ["FAMILIES", "Case", "Verdict", "check_run", "draw_network", "explore", "options_of", "solvers_of"]
