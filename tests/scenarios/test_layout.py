"""Where nodes stand in a picture: inside of it, the same every time, near what they are linked to."""

import math

import pytest

from scenarios.reports.layout import REFINED, graph_layout, tree_layout


def inside(positions: list[list[float]]) -> bool:
    return all(0 <= x <= 1 and 0 <= y <= 1 for x, y in positions)


def test_graph_layout_puts_neighbours_near_and_components_apart() -> None:
    ring = [(i, (i + 1) % 12) for i in range(12)]
    star = [(12, i) for i in range(13, 20)]
    placed = graph_layout(21, [*ring, *star])
    assert placed == graph_layout(21, [*ring, *star])
    assert inside(placed)
    distance = {(i, j): math.dist(placed[i], placed[j]) for i in range(21) for j in range(i)}
    assert max(math.dist(placed[i], placed[j]) for i, j in ring) < math.dist(placed[0], placed[6]) / 2
    assert min(distance.values()) > 0.01
    rings = [placed[i] for i in range(12)]
    assert max(x for x, _ in rings) < min(x for x, _ in placed[12:]) or max(y for _, y in rings) < min(
        y for _, y in placed[12:]
    )


def test_graph_layout_of_little_and_of_much() -> None:
    assert graph_layout(0, []) == []
    assert graph_layout(1, []) == [[0.5, 0.5]]
    assert len({tuple(p) for p in graph_layout(2, [(0, 1)])}) == 2
    assert len({tuple(p) for p in graph_layout(4, [(0, 1, 2, 3), (1,)])}) == 4
    many = REFINED + 500
    placed = graph_layout(many, [(i, i // 2) for i in range(1, many)])
    assert len(placed) == many
    assert inside(placed)
    assert len(graph_layout(5000, [range(5000)])) == 5000


def test_tree_layout_is_tidy() -> None:
    placed = tree_layout([None, 0, 0, 1, 1, None, 5])
    xs, ys = zip(*placed, strict=True)
    assert inside(placed)
    assert ys[0] == ys[5] < ys[1] == ys[2] == ys[6] < ys[3] == ys[4]
    assert xs[3] < xs[1] < xs[4] < xs[2] < xs[5]
    assert xs[1] == pytest.approx((xs[3] + xs[4]) / 2, abs=1e-3)
    chain = tree_layout([None, *range(4999)])
    assert len({x for x, _ in chain}) == 1
    assert tree_layout([]) == []
