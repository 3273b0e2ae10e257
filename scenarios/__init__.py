"""Generators, experiments, the command line, runnable examples."""
