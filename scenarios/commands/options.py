"""What several commands understand alike: seeds, and KEY=VALUE options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from agentsim.errors import UserError

_MAX_SEED: Final = 2**63 - 1

SEED = click.IntRange(0, _MAX_SEED)


def parse_pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """Return KEY=VALUE options as a map; UserError on malformed or repeated ones."""
    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UserError(f"{option} {text}: write it as KEY=VALUE")
        if key in found:
            raise UserError(f"{option} {key}: given twice")
        found[key] = value.strip()
    return found
