"""Sweeps: many cells over an executor, finished once, kept and resumed."""
