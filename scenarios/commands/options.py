"""What several commands understand alike: seeds, KEY=VALUE options, folders to write to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
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


def writable_folder(name: str) -> Path:
    """Return the folder that -o names, made if need be; UserError if nothing can be written there."""
    folder = Path(name)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"-o {name}: it is a file, not a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"-o {name}: cannot make it: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"-o {name}: cannot write there")
    return folder
