"""Worked examples, each complete in one file: a solver, an observer, an adversary, a generator."""
