"""Presets: what they draw is within what the paper prints, and the command line knows them."""

import json
import math
from collections import Counter
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agentsim import load, simulate
from agentsim.dcop.ordering import components
from agentsim.errors import UserError
from agentsim.runtime import registry
from scenarios.cli import main
from scenarios.generators.graph_coloring import GraphColoringParams
from scenarios.generators.ising import IsingParams
from scenarios.generators.meetings import MeetingsParams
from scenarios.generators.presets import PRESETS, find, instance

SEEDS = range(200)

ISING = {"pgibbs-ising": (10, 19), "dpop-ising": (5, 8), "timeout-ising": (10, 10), "maxsum-ising": (10, 20)}
"""Numbers of variables."""

COLORING = {
    "pgibbs-coloring": ((30, 99), (10, 19)),
    "pgibbs-coloring-10-30": ((10, 29), (10, 19)),
    "pgibbs-coloring-30-50": ((30, 49), (10, 19)),
    "pgibbs-coloring-50-70": ((50, 69), (10, 19)),
    "pgibbs-coloring-70-90": ((70, 89), (10, 19)),
    "pgibbs-coloring-90-110": ((90, 109), (10, 19)),
    "table5-coloring": ((30, 30), (10, 10)),
    "proximity-coloring": ((30, 30), (10, 10)),
    "dpop-coloring": ((8, 12), (10, 20)),
    "timeout-coloring": ((12, 12), (8, 8)),
    "maxsum-coloring": ((50, 100), (10, 19)),
    "runtime-coloring": ((100, 100), (25, 25)),
    "frontier-coloring": ((30, 99), (10, 19)),
}
"""Numbers of variables and of colours."""

MEETINGS = {
    "pgibbs-meetings": ((1, 74), (30, 99)),
    "pgibbs-meetings-10-30": ((10, 29), (30, 99)),
    "pgibbs-meetings-30-50": ((30, 49), (30, 99)),
    "pgibbs-meetings-50-70": ((50, 69), (30, 99)),
    "pgibbs-meetings-70-90": ((70, 89), (30, 99)),
    "pgibbs-meetings-90-110": ((90, 109), (30, 99)),
    "table5-meetings": ((30, 30), (10, 10)),
    "proximity-meetings": ((30, 30), (20, 20)),
    "dpop-meetings": ((15, 20), (20, 30)),
    "timeout-meetings": ((25, 25), (20, 20)),
    "runtime-meetings": ((100, 100), (25, 25)),
}
"""Numbers of variables and of slots."""


def test_every_preset_is_tested_and_says_what_it_is() -> None:
    assert set(PRESETS) == {*ISING, *COLORING, *MEETINGS}
    for name, preset in PRESETS.items():
        assert preset.name == name
        assert preset.generator in registry.names("generators")
        assert all(getattr(preset, field) for field in ("summary", "paper", "ours"))
        assert preset.instances >= 1
        assert preset.runs >= 1
        assert isinstance(preset.draw(0), registry.find("generators", preset.generator).Params)


@pytest.mark.parametrize("name", ISING)
def test_ising(name: str) -> None:
    low, high = ISING[name]
    drawn = [PRESETS[name].draw(seed) for seed in SEEDS]
    for given in drawn:
        assert isinstance(given, IsingParams)
        assert low <= given.row_count * given.col_count <= high
        assert 2 <= given.row_count <= given.col_count
        assert 1 <= given.bin_range < 10
        assert 0.05 <= given.un_range < 0.9
    expected = {n for n in range(low, high + 1) if any(n % side == 0 for side in range(2, math.isqrt(n) + 1))}
    assert {given.row_count * given.col_count for given in drawn} == expected  # primes have no grid
    assert min(given.bin_range for given in drawn) < 1.5
    assert max(given.bin_range for given in drawn) > 9.5


@pytest.mark.parametrize("name", COLORING)
def test_coloring(name: str) -> None:
    variables, colors = COLORING[name]
    drawn = [PRESETS[name].draw(seed) for seed in SEEDS]
    costs = (1, 10) if name in ("table5-coloring", "proximity-coloring") else (0, 9)
    for given in drawn:
        assert isinstance(given, GraphColoringParams)
        assert (given.graph, given.p_edge, given.soft, given.allow_subgraph) == ("random", 0.2, True, False)
        assert (given.cost_min, given.cost_max) == costs
    check_uniform([given.variables_count for given in drawn], *variables)
    check_uniform([given.colors_count for given in drawn], *colors)


@pytest.mark.parametrize("name", MEETINGS)
def test_meetings(name: str) -> None:
    variables, slots = MEETINGS[name]
    drawn = [PRESETS[name].draw(seed) for seed in SEEDS]
    for given in drawn:
        assert isinstance(given, MeetingsParams)
        assert (given.form, given.hosts) == ("pydcop", "variable")
        if name in ("table5-meetings", "proximity-meetings"):
            assert (given.penalty, given.max_resource_value, given.max_length_event) == (1000, 10, 1)
        else:
            assert (given.max_length_event, given.max_resource_value) == (5, 99)
    check_uniform([given.variables_count for given in drawn], *variables)
    check_uniform([given.slots_count for given in drawn], *slots)


def check_uniform(found: list[int], low: int, high: int) -> None:
    """Assert a range and a mean that a right generator misses with probability 1e-4; but the seeds are fixed."""
    assert low <= min(found) <= max(found) <= high
    error = (((high - low + 1) ** 2 - 1) / 12 / len(found)) ** 0.5
    assert abs(sum(found) / len(found) - (low + high) / 2) <= 3.891 * error


@pytest.mark.parametrize("name", PRESETS)
def test_instances(name: str) -> None:
    preset = PRESETS[name]
    given = preset.draw(3)
    problem, again = instance(name, 3), instance(name, 3)
    made = registry.find("generators", preset.generator).generate(given, 3)
    assert problem.name == again.name == made.name
    for key, c in problem.constraints.items():
        assert (c.table == again.constraints[key].table).all()
        low, high = c.cost_range
        assert low <= c.table.min() <= c.table.max() <= high
    assert len(problem.agents) == len(problem.variables)
    if not isinstance(given, IsingParams):
        assert len(problem.variables) == given.variables_count
    if isinstance(given, MeetingsParams):
        sizes = {v.size for v in problem.variables.values()}
        assert sizes <= {given.slots_count + 2 - length for length in range(1, given.max_length_event + 1)}
        assert problem.objective == "max"
    else:
        assert len(components(problem)) == 1
        assert problem.objective == "min"
    assert instance(name, 4).name != problem.name


def test_the_costs_of_table_5_are_as_printed() -> None:
    for name in ("table5-meetings", "proximity-meetings"):
        problem = instance(name, 0)
        entries = Counter(cost for c in problem.constraints.values() for cost in c.table.ravel().tolist())
        assert min(entries) == -1000
        assert max(entries) <= 20
        assert sum(n for cost, n in entries.items() if cost > 10) <= 0.02 * entries.total()
    for name in ("table5-coloring", "proximity-coloring"):
        problem = instance(name, 0)
        assert {int(cost) for c in problem.constraints.values() for cost in c.table.ravel()} == set(range(1, 11))


def test_the_frontiers_problems_are_those_of_pgibbs_coloring() -> None:
    for seed in range(3):
        ours, theirs = instance("frontier-coloring", seed), instance("pgibbs-coloring", seed)
        assert ours.name == theirs.name
        assert all((theirs.constraints[name].table == c.table).all() for name, c in ours.constraints.items())


@pytest.mark.parametrize("name", ["dpop-ising", "timeout-ising", "pgibbs-ising", "dpop-coloring", "dpop-meetings"])
def test_small_ones_are_solved(name: str) -> None:
    for seed in (0, 1):
        result = simulate(instance(name, seed), "dpop")
        assert result.status == "optimal"
        assert not result.notes


def test_parameters_of_record() -> None:
    """They do not depend on the hash seed, the machine or the time; if they change, so does every experiment."""
    grid = PRESETS["pgibbs-ising"].draw(0)
    assert (grid.row_count, grid.col_count) == (3, 6)
    assert (grid.bin_range, grid.un_range) == pytest.approx((2.5466762605034603, 0.17712572569556884), rel=1e-12)
    coloring = PRESETS["pgibbs-coloring"].draw(0)
    assert (coloring.variables_count, coloring.colors_count) == (41, 19)
    meetings = PRESETS["pgibbs-meetings"].draw(0)
    assert (meetings.variables_count, meetings.slots_count) == (23, 41)
    assert (meetings.events_count, meetings.resources_count, meetings.max_resources_event) == (12, 12, 3)


def test_unknown_names() -> None:
    assert find("pgibbs-ising").generator == "ising"
    assert find("pgibbs-ising", "ising") is PRESETS["pgibbs-ising"]
    with pytest.raises(UserError, match="no preset is called 'nope'; there are pgibbs-ising, pgibbs-coloring"):
        find("nope")
    with pytest.raises(UserError, match="no preset of dimes is called 'nope'; there are none"):
        find("nope", "dimes")
    with pytest.raises(UserError, match="preset pgibbs-ising is one of the generator ising, not of meetings"):
        find("pgibbs-ising", "meetings")
    with pytest.raises(UserError, match="nope"):
        instance("nope", 0)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)), prog_name="agentsim")


@pytest.mark.parametrize(
    ("generator", "preset"),
    [("ising", "pgibbs-ising"), ("graph-coloring", "dpop-coloring"), ("meetings", "dpop-meetings")],
)
def test_generate(tmp_path: Path, generator: str, preset: str) -> None:
    path = tmp_path / "x.yaml"
    result = run("generate", generator, "-p", f"preset={preset}", "--seed", 3, "-o", path)
    assert result.exit_code == 0, result.stderr
    loaded, expected = load(path), instance(preset, 3)
    assert (loaded.name, list(loaded.variables)) == (expected.name, list(expected.variables))
    for name, c in expected.constraints.items():
        assert (loaded.constraints[name].table == c.table).all()
        assert loaded.constraints[name].cost_range == c.cost_range


def test_parameters_beside_a_preset_replace_its_own(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    result = run("generate", "ising", "-p", "preset=pgibbs-ising", "-p", "row_count=4", "-p", "col_count=5", "-o", path)
    assert result.exit_code == 0, result.stderr
    drawn = asdict(PRESETS["pgibbs-ising"].draw(0)) | {"row_count": 4, "col_count": 5}
    assert load(path).name == registry.find("generators", "ising").generate(IsingParams(**drawn), 0).name


@pytest.mark.parametrize(
    ("generator", "pairs", "sentence"),
    [
        ("meetings", ["preset=pgibbs-ising"], "preset pgibbs-ising is one of the generator ising, not of meetings"),
        ("ising", ["preset=nope"], "no preset of ising is called 'nope'; there are pgibbs-ising"),
        ("dimes", ["preset=nope"], "no preset of dimes is called 'nope'; there are none"),
        ("ising", ["preset=pgibbs-ising", "row_count=0"], "row_count=0 must be from 1 to 1000"),
        ("ising", ["preset=pgibbs-ising", "rows=3"], "generator ising has no parameter 'rows'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, generator: str, pairs: list[str], sentence: str) -> None:
    options = [word for pair in pairs for word in ("-p", pair)]
    result = run("generate", generator, *options, "-o", tmp_path / "x.yaml")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "x.yaml").exists()


def test_list_shows_them() -> None:
    rows = {row["name"]: row for row in json.loads(run("list", "generators", "--json").stdout)["generators"]}
    shown = [preset for row in rows.values() for preset in row["presets"]]
    assert {preset["name"] for preset in shown} == set(PRESETS)
    assert rows["dimes"]["presets"] == []
    for row in rows.values():
        for preset in row["presets"]:
            assert PRESETS[preset["name"]].generator == row["name"]
            assert set(preset) == {"name", "summary", "paper", "ours", "instances", "runs"}
    for cls in (IsingParams, GraphColoringParams, MeetingsParams):
        assert "preset" not in {field.name for field in fields(cls)}  # the command line takes that name
    text = " ".join(run("list", "generators").stdout.split())
    assert "ising -p preset=NAME, published experiments: pgibbs-ising, dpop-ising" in text
    assert "dimes -p preset" not in text
