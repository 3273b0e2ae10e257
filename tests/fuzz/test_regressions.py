"""What fuzzing found stays found: every kept input goes through its reader again, and a few new ones with it."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import corpus  # noqa: E402  # beside this file, where the fuzzer finds them too
import guides  # noqa: E402
import mutation  # noqa: E402
import readers  # noqa: E402

SLOW = {"part"}


def kept() -> Iterator[tuple[str, Path]]:
    for folder in sorted((HERE / "regressions").iterdir()):
        for path in sorted(folder.iterdir()):
            yield folder.name, path


@pytest.mark.parametrize(("reader", "path"), [pytest.param(r, p, id=f"{r}-{p.name}") for r, p in kept()])
def test_kept_input_is_taken_or_refused_in_one_line(reader: str, path: Path) -> None:
    readers.attempt(readers.READERS[reader], path.read_bytes())


@pytest.mark.parametrize("reader", sorted(set(readers.READERS) - SLOW))
def test_changed_inputs_are_taken_or_refused_in_one_line(reader: str) -> None:
    start, rng = corpus.STARTS[reader], random.Random(reader)
    seeds = start.seeds()
    for _ in range(20):
        changed = start.mutate(rng.choice(seeds), rng, (*start.words, *mutation.WORDS))
        readers.attempt(readers.READERS[reader], changed[: start.length])


@pytest.mark.parametrize("reader", sorted(readers.READERS))
def test_fuzzing_begins_with_inputs_that_are_read(reader: str) -> None:
    seeds = corpus.STARTS[reader].seeds()
    assert any(readers.attempt(readers.READERS[reader], seed) == "" for seed in seeds[:60])


def test_every_reader_can_be_fuzzed() -> None:
    assert set(readers.READERS) == set(corpus.STARTS) == set(guides.GUIDES)


def test_seam_tells_what_is_no_complaint() -> None:
    def refuses(text: str) -> readers.Read:
        def read(data: bytes) -> None:
            error = readers.UserError()
            error.args = (text,)
            raise error

        return read

    assert readers.attempt(refuses("input: line 1: not YAML"), b"") == "input: line 1: not YAML"
    for text in ("", "two\nlines", "\x1b[31m", "x" * 5000):
        with pytest.raises(readers.Finding, match="one printable line"):
            readers.attempt(refuses(text), b"")
    with pytest.raises(KeyError):
        readers.attempt({}.__getitem__, b"")
