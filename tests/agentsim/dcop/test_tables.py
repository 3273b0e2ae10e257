from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentsim.dcop import tables
from agentsim.dcop.tables import NamedTable, aligned, best_value, cells_read, join, project_max, project_min, restrict

NAMES = "abcx"


@st.composite
def named_tables(draw: st.DrawFn, hard: float = math.inf) -> tuple[list[NamedTable], dict[str, int]]:
    sizes = {name: draw(st.integers(1, 4)) for name in NAMES}
    found: list[NamedTable] = []
    for _ in range(draw(st.integers(0, 5))):
        axes = tuple(draw(st.permutations(NAMES)))[: draw(st.integers(0, 4))]
        shape = [sizes[name] for name in axes]
        costs = st.integers(-9, 9) if draw(st.booleans()) else st.sampled_from([0.0, 1.0, 2.5, hard])
        cells = draw(st.lists(costs, min_size=math.prod(shape), max_size=math.prod(shape)))
        found.append((axes, np.array(cells).reshape(shape)))
    return found, sizes


def reference(found: list[NamedTable], sizes: dict[str, int], axes: tuple[str, ...]) -> np.ndarray:
    out = np.zeros([sizes[name] for name in axes])
    for where in product(*(range(sizes[name]) for name in axes)):
        at = dict(zip(axes, where, strict=True))
        out[where] = sum(float(table[tuple(at[name] for name in own)]) for own, table in found)
    return out


@pytest.fixture(params=[True, False], ids=["blocks", "small"], scope="module")
def _tiny_blocks(request: pytest.FixtureRequest) -> object:
    """Make tables of a few cells go through the code for large ones."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            patch.setattr(tables, "SMALL_CELLS", 0)
            patch.setattr(tables, "BLOCK_CELLS", 6)
        yield


@pytest.mark.usefixtures("_tiny_blocks")
@given(named_tables(), st.permutations(NAMES))
def test_join_is_the_sum(case: tuple[list[NamedTable], dict[str, int]], axes: list[str]) -> None:
    found, sizes = case
    out = join(found, tuple(axes), sizes)
    np.testing.assert_array_equal(out, reference(found, sizes, tuple(axes)))
    assert (out.dtype == np.int64) == all(table.dtype.kind == "i" for _, table in found)


@pytest.mark.usefixtures("_tiny_blocks")
@given(named_tables(), st.permutations("abc"))
def test_project_min_is_brute_force(case: tuple[list[NamedTable], dict[str, int]], axes: list[str]) -> None:
    found, sizes = case
    before = [table.copy() for _, table in found]
    out = project_min(found, "x", tuple(axes), sizes)
    np.testing.assert_array_equal(out, reference(found, sizes, (*axes, "x")).min(axis=-1))
    assert (out.dtype == np.int64) == all(table.dtype.kind == "i" for _, table in found)
    assert all(not np.shares_memory(out, table) for _, table in found)
    for (_, table), old in zip(found, before, strict=True):
        np.testing.assert_array_equal(table, old)


@pytest.mark.usefixtures("_tiny_blocks")
@given(named_tables(hard=-math.inf), st.permutations("abc"))
def test_project_max_is_brute_force(case: tuple[list[NamedTable], dict[str, int]], axes: list[str]) -> None:
    found, sizes = case
    out = project_max(found, "x", tuple(axes), sizes)
    np.testing.assert_array_equal(out, reference(found, sizes, (*axes, "x")).max(axis=-1))


@pytest.mark.usefixtures("_tiny_blocks")
@given(named_tables(), st.data(), st.booleans())
def test_best_value_is_the_lowest_best_index(
    case: tuple[list[NamedTable], dict[str, int]], data: st.DataObject, maximise: bool
) -> None:
    found, sizes = case
    at = {name: data.draw(st.integers(0, sizes[name] - 1)) for name in "abc"}
    row = reference(found, sizes, tuple(NAMES))[at["a"], at["b"], at["c"]]
    index, cost = best_value(found, "x", at, maximise=maximise, sizes=sizes)
    best = row.max() if maximise else row.min()
    assert (index, cost) == (int(np.flatnonzero(row == best)[0]), best)


@pytest.mark.usefixtures("_tiny_blocks")
@given(named_tables(), st.data())
def test_a_restricted_join_is_the_join_of_the_restricted(
    case: tuple[list[NamedTable], dict[str, int]], data: st.DataObject
) -> None:
    found, sizes = case
    at = {name: data.draw(st.integers(0, sizes[name] - 1)) for name in "bx"}
    out = join([restrict(table, at) for table in found], ("c", "a"), sizes)
    whole = restrict((tuple(NAMES), join(found, tuple(NAMES), sizes)), at)
    np.testing.assert_array_equal(out, aligned(whole, ("c", "a")))


def test_read_only_tables_may_be_used() -> None:
    table = np.arange(6).reshape(2, 3)
    table.flags.writeable = False
    for out in (project_min([(("a", "x"), table)], "x", ("a",)), project_min([(("a", "x"), table)], "a", ("x",))):
        out += 1
    assert table.max() == 5


def test_everything_eliminated_leaves_one_cell() -> None:
    out = project_min([(("x",), np.array([3, 1, 2]))], "x", ())
    assert (out.shape, out.item()) == ((), 1)


def test_checks_are_entries() -> None:
    assert cells_read([(("a", "x"), np.zeros((2, 3))), (("x",), np.zeros(3)), ((), np.zeros(()))]) == 10


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        ([(("z",), np.zeros(2))], "lack z"),
        ([(("a",), np.zeros(2)), (("a", "x"), np.zeros((3, 2)))], "tables of 2 and 3 values"),
        ([(("x",), np.zeros(2))], "axis a: no table has it"),
        ([(("a", "x"), np.zeros((2, 2))), (("z",), np.zeros(2))], "lack z"),
    ],
)
def test_tables_that_do_not_fit_are_refused(found: list[NamedTable], cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        project_min(found, "x", ("a",))


def test_a_table_with_another_axis_is_not_joined() -> None:
    with pytest.raises(ValueError, match=r"axes \('a', 'b'\) lack z"):
        join([(("a",), np.zeros(2)), (("z", "b"), np.zeros((1, 2)))], ("a", "b"), {"a": 2, "b": 2, "z": 1})


@pytest.mark.usefixtures("_tiny_blocks")
@pytest.mark.parametrize("outside", [(("a",), np.array([10, 20])), (("a",), np.array([0.5, 20]))], ids=["int", "float"])
def test_whole_costs_stay_whole(outside: NamedTable) -> None:
    got = project_min([(("x", "a"), np.array([[1, 2], [3, 0]])), outside], "x", ("a",))
    assert got.tolist() == [outside[1][0] + 1, outside[1][1]]
    assert got.dtype == outside[1].dtype


def test_wide_projection_makes_no_full_join() -> None:
    import tracemalloc

    rng = np.random.default_rng(0)
    d, axes = 6, tuple("abcdef")  # 46656 cells out, 280 thousand joined
    found = [(("x", *axes[:3]), rng.random([d] * 4)), ((*axes[3:], "x"), rng.random([d] * 4)), (("x",), rng.random(d))]
    want = join(found, (*axes, "x")).min(axis=-1)
    tracemalloc.start()
    try:
        got = project_min(found, "x", axes)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(got, want)
    assert peak < 3 * got.nbytes + 8 * 4 * 32_768
