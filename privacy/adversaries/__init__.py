"""Exact adversaries: all that can be inferred from statements together, and all that a transcript gives away."""

from privacy.adversaries.consistent import Consistent
from privacy.adversaries.transcript import Transcripts, transcripts

__all__ = ["Consistent", "Transcripts", "transcripts"]
