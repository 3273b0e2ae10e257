"""Settings for every test."""

from __future__ import annotations

import os

from hypothesis import settings

# In CI the same examples every time, so that a change fails for what it changes; elsewhere new ones are looked for.
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True, max_examples=50)
settings.register_profile("search", deadline=None, print_blob=True, max_examples=50)
settings.load_profile("ci" if os.environ.get("CI") else "search")
