"""Settings for the tests of the record."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.agentsim.record.replaying import within


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    """A test that never ends, as over a log that somebody made up, fails, and the others run."""
    with within(90):
        yield
