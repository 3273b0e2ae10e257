"""Settings for every test."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# In CI the same examples every time, so that a change fails for what it changes; elsewhere new ones are looked for.
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True, max_examples=30)
settings.register_profile("search", deadline=None, print_blob=True, max_examples=30)
settings.load_profile("ci" if os.environ.get("CI") else "search")

# What several files of tests share compares things too: a failure shows what they were, as in the tests themselves.
pytest.register_assert_rewrite(
    "tests.agentsim.record.replaying",
    "tests.privacy.adversaries.enumerating",
    "tests.privacy.dpcop.believing",
    "tests.privacy.vps_watching",
    "tests.scenarios.commanding",
)

# Programs, which find each other in their own folder; --doctest-modules would import them from elsewhere.
collect_ignore_glob = ["benchmarks/*", "fuzz/[!t]*.py", "mutation/[!t]*.py"]
