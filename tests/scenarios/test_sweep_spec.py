"""The specification of a sweep: what it multiplies, what it refuses and with which words."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentsim.errors import UserError
from scenarios.sweeps.cells import Cells, SolveTask, cells, check_first, run_seed
from scenarios.sweeps.document import MAX_SPEC_BYTES
from scenarios.sweeps.overview import axes as counted
from scenarios.sweeps.plain import key_of
from scenarios.sweeps.spec import Spec, parse_spec, read_spec

PROBLEMS = Path(__file__).parents[2] / "scenarios" / "problems"
GRID = """
[[problem]]
generator = "random-dcop"
parameters = { agents = [3, 4], p = [0.2, 0.5, 0.8] }
[[solver]]
name = ["dpop", "mgm"]
"""


def parsed(text: str, base: Path = Path()) -> Spec:
    return parse_spec(text, "S.toml", base)


def tasks(text: str, base: Path = Path()) -> list[SolveTask]:
    return cells(parsed(text, base)).tasks


def refused(text: str, base: Path = Path()) -> str:
    def whole() -> None:
        spec = parsed(text, base)
        check_first(spec)
        cells(spec)

    with pytest.raises(UserError) as caught:
        whole()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What is multiplied ------------------------------------------------------------------------------------------------


def test_a_grid_multiplies_and_keeps_cells_of_one_problem_together() -> None:
    found = tasks(f'seeds = 2\nruns = 3\nnetworks = ["unit", "uniform:1,10"]\nobservers = [["vps"], []]\n{GRID}')
    assert len(found) == 2 * 3 * 2 * 2 * 3 * 2 * 2
    problems = [json.dumps([t.problem_parameters, t.problem_seed]) for t in found]
    assert len(set(problems)) == 1 + sum(a != b for a, b in pairwise(problems)) == 12
    assert {(t.network, t.observers) for t in found} == {
        (network, observers) for network in ("unit", "uniform:1,10") for observers in (("vps",), ())
    }
    assert len({key_of("x", t) for t in found}) == len(found)


def test_parameters_are_resolved_so_that_defaults_make_no_cell_of_their_own() -> None:
    short = tasks('[[problem]]\ngenerator = "dimes"\n[[solver]]\nname = "adopt"')
    long = tasks(
        '[[problem]]\ngenerator = "dimes"\nparameters = { u = 2, conflict = "inf" }\n'
        '[[solver]]\nname = "adopt"\nparameters = { cycle = 1, invariants = false }'
    )
    assert [key_of("x", t) for t in short] == [key_of("x", t) for t in long]
    assert short[0].problem_parameters["conflict"] == float("inf")
    assert type(short[0].parameters["cycle"]) is float


def test_a_list_in_a_list_is_one_value() -> None:
    found = tasks(
        '[[problem]]\ngenerator = "random-dcop"\n[[solver]]\nname = "dpop"\n'
        'parameters = { order = [["x0", "x1"], "degree"] }'
    )
    assert [t.parameters["order"] for t in found] == ["x0,x1", "degree"]


def test_grid_list_and_table_add_up_and_leave_out_what_the_rest_has(tmp_path: Path) -> None:
    (tmp_path / "cells.csv").write_text(
        "generator,problem.agents,solver,solver.cycle,network,observers,seed,timeout\n"
        "random-dcop,5,adopt,2,constant:2,vps:rule=tight; disclosures,4,7.5\n"
        "dimes,,,,,none,,\n"
        "\n"
        ",,leader,,,,,\n",
        encoding="utf-8",
    )
    text = f"""
        seeds = 2
        networks = ["unit", "reliable"]
        table = "cells.csv"
        {GRID}
        [limits]
        max-messages = 100
        [[cell]]
        problem = {{ generator = "dimes", parameters = {{ people = 3 }} }}
        solver = {{ name = "adopt", parameters = {{ cycle = 2 }} }}
        network = "unit"
        seed = 9
        run = 4
        limits = {{ timeout = 5 }}
        check-cost = 0.5
    """.replace('"reliable"', '"unit+reliable"')
    found = tasks(text, tmp_path)
    grid, cell, first, second, third = 6 * 2 * 2 * 2, 1, 2 // 2, 2 * 2 * 2, 6 * 2 * 2
    assert len(found) == grid + cell + first + second + third
    (written,) = [t for t in found if t.run == 4]
    assert (written.problem_parameters["people"], written.parameters["cycle"]) == (3, 2.0)
    assert (written.problem_seed, written.seed) == (9, run_seed(9, 4))
    assert (written.timeout, written.max_messages, written.check_cost) == (5.0, 100, 0.5)
    (row,) = [t for t in found if t.network == "constant:2"]
    assert row.observers == ("vps:rule=tight", "disclosures")
    assert (row.problem_seed, row.seed, row.timeout, row.max_messages) == (4, 4, 7.5, 100)
    assert (row.problem_parameters["agents"], row.parameters["cycle"]) == (5, 2.0)
    dimes = [t for t in found if t.generator == "dimes" and t.run == 0]
    assert {(t.solver, t.network, t.seed) for t in dimes} == {
        (s, n, i) for s in ("dpop", "mgm") for n in ("unit", "unit+reliable") for i in (0, 1)
    }
    assert sum(t.solver == "leader" for t in found) == third


def test_what_is_written_twice_is_run_once() -> None:
    spec = parsed(f'seeds = [1, 2, 1]\nnetworks = ["unit", " unit"]\n{GRID}[[cell]]\nsolver = "dpop"\nseed = 2')
    found = cells(spec)
    assert isinstance(found, Cells)
    assert len(found.tasks) == 6 * 2 * 2
    assert found.repeated == 6 * 2 * 6 + 6 * 2 - 24
    assert len({key_of("x", t) for t in found.tasks}) == 24


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3", [0, 1, 2]), ('"5..7"', [5, 6, 7]), ("[4, 1]", [4, 1]), ('"0 .. 0"', [0])],
)
def test_seeds(text: str, expected: list[int]) -> None:
    found = tasks(f'seeds = {text}\n[[problem]]\ngenerator = "dimes"\n[[solver]]\nname = "dpop"')
    assert [t.seed for t in found] == [t.problem_seed for t in found] == expected


def test_seeds_of_further_runs_are_others_and_always_the_same() -> None:
    assert [run_seed(3, 0), run_seed(4, 0)] == [3, 4]
    drawn = [run_seed(seed, run) for seed in range(20) for run in range(1, 20)]
    assert len(set(drawn)) == len(drawn)
    assert all(0 <= seed < 2**53 for seed in drawn)
    assert run_seed(0, 1) == 4280345198039028  # what is kept for years depends on it


def test_a_preset_draws_parameters_from_each_seed() -> None:
    from scenarios.generators.presets import find

    found = tasks(
        'seeds = 3\n[[problem]]\ngenerator = "graph-coloring"\n'
        'parameters = { preset = "pgibbs-coloring", cost_max = 5 }\n[[solver]]\nname = "dsa"'
    )
    assert [t.problem_parameters["variables_count"] for t in found] == [
        find("pgibbs-coloring").draw(seed).variables_count
        for seed in range(3)  # type: ignore[union-attr]
    ]
    assert {(t.problem_parameters["cost_max"], t.problem_parameters["preset"]) for t in found} == {
        (5, "pgibbs-coloring")
    }


def test_files_are_seen_from_the_spec_and_known_by_their_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "instances"
    folder.mkdir()
    for name in ("b.yaml", "a.yaml", "[x].yaml"):
        shutil.copy(PROBLEMS / "meetings.yaml", folder / name)
    text = '[[problem]]\nfiles = ["instances/[x].yaml", "instances/*.yaml"]\n[[solver]]\nname = "dpop"'
    spec = tmp_path / "sweep.toml"
    spec.write_text(text, encoding="utf-8")
    found = cells(read_spec(spec)).tasks
    assert [t.file for t in found] == [f"instances/{name}.yaml" for name in ("[x]", "a", "b")]
    assert found[0].digest == hashlib.sha256((PROBLEMS / "meetings.yaml").read_bytes()).hexdigest()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(folder, moved)
    shutil.move(spec, moved)
    assert cells(read_spec(moved / "sweep.toml")).tasks == found
    with (moved / "instances" / "a.yaml").open("a", encoding="utf-8") as file:
        file.write("# another problem\n")
    changed = cells(read_spec(moved / "sweep.toml")).tasks
    assert [a == b for a, b in zip(found, changed, strict=True)] == [True, False, True]


def test_privacy_settings_are_an_axis() -> None:
    text = (
        '[[problem]]\nfiles = "meeting_of_two.yaml"\nprivacy = { policy = ["zero", "own_min"], coalition = true }\n'
        '[[problem]]\nfiles = "meeting_of_two.yaml"\nprivacy = "off"\n[[solver]]\nname = "leader"'
    )
    assert [t.privacy for t in tasks(text, PROBLEMS)] == [
        ("coalition=true", "policy=zero"),
        ("coalition=true", "policy=own_min"),
        ("off",),
    ]


def test_cells_are_the_same_in_every_process(tmp_path: Path) -> None:
    spec = tmp_path / "s.toml"
    spec.write_text(f"seeds = 2\nruns = 2\n{GRID}", encoding="utf-8")
    script = (
        "import sys; from scenarios.sweeps.spec import read_spec; from scenarios.sweeps.cells import cells;"
        "from scenarios.sweeps.plain import key_of;"
        "print(*[key_of('s', t) for t in cells(read_spec(sys.argv[1])).tasks])"
    )
    env = {**os.environ, "PYTHONHASHSEED": "12345"}
    other = subprocess.run(
        [sys.executable, "-c", script, spec], capture_output=True, text=True, check=True, env=env, timeout=60
    )
    assert other.stdout.split() == [key_of("s", t) for t in cells(read_spec(spec)).tasks]


def test_cells_by_axis() -> None:
    found = counted(tasks(f'seeds = 2\nnetworks = ["unit", "constant:2"]\n{GRID}[[cell]]\nsolver = "adopt"\nseed = 5'))
    assert found == {
        "problem": {"random-dcop": 60},
        "random-dcop.agents": {"3": 30, "4": 30},
        "random-dcop.p": {"0.2": 20, "0.5": 20, "0.8": 20},
        "solver": {"dpop": 24, "mgm": 24, "adopt": 12},
        "network": {"unit": 30, "constant:2": 30},
        "observers": {"none": 60},
        "seed": {"0": 24, "1": 24, "5": 12},
    }


# What is refused ---------------------------------------------------------------------------------------------------

PROBLEM = '[[problem]]\ngenerator = "random-dcop"\n'
SOLVER = '[[solver]]\nname = "dpop"\n'
BOTH = PROBLEM + SOLVER


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = [", "S.toml: not TOML: "),
        ("a = " + "[" * 5000, "S.toml: not TOML: nested too deeply"),
        ("a = " + "1" * 5000, "S.toml: not TOML: "),
        ("", "S.toml: names nothing to run"),
        ("seed = 3\n" + BOTH, "S.toml: seed: unknown; did you mean seeds?"),
        ("seeds = 0\n" + BOTH, "S.toml: seeds: 0 must be from 1"),
        ("seeds = -1\n" + BOTH, "S.toml: seeds: -1 must be from 1"),
        ("seeds = true\n" + BOTH, "S.toml: seeds: must be a whole number, not True"),
        ("seeds = 1.5\n" + BOTH, "S.toml: seeds: must be a whole number, not 1.5"),
        ('seeds = "9..5"\n' + BOTH, "S.toml: seeds: '9..5' is empty"),
        ('seeds = "many"\n' + BOTH, "S.toml: seeds: 'many' must be a count,"),
        ("seeds = []\n" + BOTH, "S.toml: seeds: is empty"),
        ("seeds = [9223372036854775808]\n" + BOTH, "S.toml: seeds: 9223372036854775808 must be from 0"),
        ("name = ''\n" + BOTH, "S.toml: name: is empty"),
        ("name = 3\n" + BOTH, "S.toml: name: must be text, not 3"),
        ('name = "a\\u001b[31m"\n' + BOTH, "S.toml: name: has characters that cannot be shown"),
        ("networks = []\n" + BOTH, "S.toml: networks: is empty"),
        ('networks = ["unit", "uniform:1"]\n' + BOTH, "S.toml: networks[2]: uniform:1: must start with"),
        ('networks = "unit+crash:a1@x"\n' + BOTH, "S.toml: networks: crash:a1@x: 'x' is not a number"),
        ('networks = "unit+crash:Eva@2"\n' + BOTH, "S.toml: networks: crash:Eva@2: no agent is called 'Eva'"),
        ('observers = ["vsp"]\n' + BOTH, "S.toml: observers[1]: no observer is called 'vsp'; did you mean vps?"),
        (
            'observers = ["vps:rule"]\n' + BOTH,
            "S.toml: observers[1]: observer vps:rule: option 'rule' is not KEY=VALUE",
        ),
        ('observers = ["vps:rule=x"]\n' + BOTH, "S.toml: observers: observer vps: no rule is called 'x'"),
        ('observers = [["vps"], ["vps:view=agent:Eva"]]\n' + BOTH, "S.toml: observers[2]: view 'agent:Eva': no agent"),
        ("observers = [[3]]\n" + BOTH, "S.toml: observers[1][1]: must be text, not 3"),
        ('check-cost = "x"\n' + BOTH, "S.toml: check-cost: must be a number that is not negative, not 'x'"),
        (BOTH + "[limits]\ntime-out = 3", "S.toml: limits.time-out: unknown; did you mean timeout?"),
        (BOTH + "[limits]\ntimeout = -3", "S.toml: limits.timeout: must be a number that is not negative, not -3"),
        (BOTH + "[limits]\ntimeout = inf", "S.toml: limits.timeout: must be a number that is not negative, not inf"),
        (BOTH + "[limits]\nmax-messages = 0", "S.toml: limits.max-messages: 0 must be from 1"),
        ("limits = 3\n" + BOTH, "S.toml: limits: must be a table, not 3"),
        ("problem = 3\n" + SOLVER, "S.toml: problem: must be tables, each written under [[problem]]"),
        (PROBLEM, "S.toml: problem: is not used: there is no [[solver]]"),
        (SOLVER, "S.toml: solver: is not used: there is no [[problem]]"),
        (SOLVER + "[[cell]]\nseed = 3", "S.toml: cell[1]: has no problem, and there is no [[problem]] to take"),
        (PROBLEM + "[[cell]]\nseed = 3", "S.toml: cell[1]: has no solver, and there is no [[solver]] to take"),
        ("[[problem]]\n" + SOLVER, "S.toml: problem[1]: needs either generator or files"),
        (PROBLEM + 'files = "x.yaml"\n' + SOLVER, "S.toml: problem[1]: needs either generator or files"),
        (
            '[[problem]]\ngenerator = "random-dco"\n' + SOLVER,
            "S.toml: problem[1].generator: no generator is called 'random-dco'; did you mean random-dcop?",
        ),
        (
            PROBLEM + "parameters = { agent = 3 }\n" + SOLVER,
            "S.toml: problem[1].parameters.agent: unknown; did you mean",
        ),
        (
            PROBLEM + "parameters = { agents = [3, 0] }\n" + SOLVER,
            "S.toml: problem[1].parameters: agents=0 must be from 1 to 1000",
        ),
        (
            PROBLEM + 'parameters = { agents = "x" }\n' + SOLVER,
            "S.toml: problem[1].parameters: agents='x' is not a whole number",
        ),
        (PROBLEM + "parameters = { agents = [] }\n" + SOLVER, "S.toml: problem[1].parameters.agents: is empty"),
        (
            PROBLEM + "parameters = { agents = 2020-01-01 }\n" + SOLVER,
            "S.toml: problem[1].parameters.agents: must be text, a number, true or false, not 2020-01-01",
        ),
        (
            PROBLEM + "parameters = { agents = { a = 1 } }\n" + SOLVER,
            "S.toml: problem[1].parameters.agents: must be text,",
        ),
        (PROBLEM + "parameters = 3\n" + SOLVER, "S.toml: problem[1].parameters: must be a table, not 3"),
        (PROBLEM + "size = 3\n" + SOLVER, "S.toml: problem[1].size: unknown; there are"),
        (PROBLEM + "seeds = 3\n" + SOLVER, "S.toml: problem[1].seeds: belongs at the top of the file"),
        (
            PROBLEM + 'parameters = { preset = "pgibbs-ising" }\n' + SOLVER,
            "S.toml: problem[1].parameters.preset: no preset of random-dcop is called 'pgibbs-ising'; there are none",
        ),
        (
            '[[problem]]\ngenerator = "ising"\nparameters = { preset = "pgibbs-isin" }\n' + SOLVER,
            "S.toml: problem[1].parameters.preset: no preset of ising is called 'pgibbs-isin'; did you mean pgibbs-is",
        ),
        (PROBLEM + 'privacy = "on"\n' + SOLVER, 'S.toml: problem[1].privacy: must be "off" or a table of settings'),
        (
            PROBLEM + 'privacy = { policy = "none" }\n' + SOLVER,
            "S.toml: problem[1].privacy: policy='none' must be one of zero, own_min",
        ),
        (
            PROBLEM + "privacy = { price = 3 }\n" + SOLVER,
            "S.toml: problem[1].privacy.price: unknown; did you mean pric",
        ),
        (
            BOTH + '[[solver]]\nname = "adpot"',
            "S.toml: solver[2].name: no solver is called 'adpot'; did you mean adopt?",
        ),
        (BOTH + "[[solver]]\nparameters = {}", "S.toml: solver[2].name: is missing"),
        (
            BOTH + '[[solver]]\nname = "mb-dpop"\nparameters = { kk = 1 }',
            "S.toml: solver[2].parameters.kk: unknown; did you mean k?",
        ),
        (
            BOTH + '[[solver]]\nname = ["mb-dpop", "adopt"]\nparameters = { k = [1, 2] }',
            "S.toml: solver[2].parameters.k: unknown; there are cycle, error_bound, invariants, order, root, tree",
        ),
        (
            BOTH + '[[solver]]\nname = "dsa"\nparameters = { variant = "Z" }',
            "S.toml: solver[2].parameters: variant='Z'",
        ),
        ('[[problem]]\nfiles = "x.yaml"\n' + SOLVER, "S.toml: problem[1].files: no file is called 'x.yaml'"),
        ('[[problem]]\nfiles = ["*.nothing"]\n' + SOLVER, "S.toml: problem[1].files[1]: no file matches '*.nothing'"),
        ('[[problem]]\nfiles = "a.txt"\n' + SOLVER, "S.toml: problem[1].files: 'a.txt': unknown kind of problem file"),
        (
            '[[problem]]\nfiles = "folder.yaml"\n' + SOLVER,
            "S.toml: problem[1].files: 'folder.yaml': not a regular file",
        ),
        ('[[problem]]\nfiles = "a\\u0000b"\n' + SOLVER, "S.toml: problem[1].files: not a file name"),
        ("[[problem]]\nfiles = []\n" + SOLVER, "S.toml: problem[1].files: is empty"),
        (
            '[[problem]]\nfiles = "a.txt"\nparameters = {}\n' + SOLVER,
            "S.toml: problem[1].parameters: a file takes none",
        ),
        (
            BOTH + '[[cell]]\ntable = "x"',
            "S.toml: cell[1].table: belongs at the top of the file, before the first [table]",
        ),
        (BOTH + "[[cell]]\nsolver = 3", "S.toml: cell[1].solver: must be a table, not 3"),
        (BOTH + '[[cell]]\nsolver = { name = ["dpop", "dsa"] }', "S.toml: cell[1].solver.name: must be one name here"),
        (
            BOTH + '[[cell]]\nsolver = { name = "mb-dpop", parameters = { k = [1] } }',
            "S.toml: cell[1].solver.parameters.k: must be one value here",
        ),
        (BOTH + "[[cell]]\nproblem = {}", "S.toml: cell[1].problem: needs either generator or file"),
        (BOTH + '[[cell]]\nproblem = { file = ["a"] }', "S.toml: cell[1].problem.file: must be one file here"),
        (BOTH + '[[cell]]\nproblem = { file = "*" }', "S.toml: cell[1].problem.file: no file is called '*'"),
        (BOTH + '[[cell]]\nnetwork = ["unit"]', "S.toml: cell[1].network: must be one text here"),
        (BOTH + "[[cell]]\nseed = [1]", "S.toml: cell[1].seed: must be a whole number, not [1]"),
        ('table = "none.csv"\n' + BOTH, "none.csv: cannot be read (No such file or directory)"),
        ("table = [3]\n" + BOTH, "S.toml: table[1]: must be text, not 3"),
        ("seeds = 1000000\nruns = 3\n" + BOTH, "S.toml: asks for 3,000,000 cells, more than 2,000,000"),
        ("seeds = 9223372036854775807\n" + BOTH, "S.toml: asks for 9,223,372,036,854,775,807 cells"),
        (
            PROBLEM + f"parameters = {{ b = {list(range(1, 2000))}, u = {list(range(1, 2000))} }}\n" + SOLVER,
            "S.toml: problem[1].parameters: 3,996,001 combinations, more than 2,000,000",
        ),
        ('"\\u001b[31m" = 3\n' + BOTH, "S.toml: '\\x1b[31m': unknown"),
    ],
)
def test_one_line_names_file_place_and_cause(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    (tmp_path / "folder.yaml").mkdir()
    said = refused(text, tmp_path)
    assert said.removeprefix(f"{tmp_path}{os.sep}").startswith(words), said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "c.csv: is empty"),
        ("solver\n", "c.csv: has no rows"),
        ("solver,solver\ndpop,dpop\n", "c.csv line 1: column 'solver' is there twice"),
        ("solvr\ndpop\n", "c.csv line 1: unknown column 'solvr'; did you mean solver?"),
        ("solver.\ndpop\n", "c.csv line 1: unknown column 'solver.'"),
        ("solver,seed\ndpop,1\ndpop\n", "c.csv line 3: 1 fields, but the header has 2"),
        ("solver,seed\ndpop,1,2\n", "c.csv line 2: 3 fields, but the header has 2"),
        ('solver\n"dpop\n', "c.csv line 2: not CSV: "),
        ("solver\ndpopp\n", "c.csv line 2: solver.name: no solver is called 'dpopp'; did you mean dpop?"),
        ("solver,solver.k\nmb-dpop,1\nmb-dpop,x\n", "c.csv line 3: solver.parameters: k='x' is not a whole number"),
        ("solver,solver.kk\nmb-dpop,1\n", "c.csv line 2: solver.parameters.kk: unknown; did you mean k?"),
        ("solver.k\n1\n", "c.csv line 2: has parameters but no solver: 'k'"),
        ("seed\n-1\n", "c.csv line 2: seed: must be a whole number, not '-1'"),
        ("seed\n1.0\n", "c.csv line 2: seed: must be a whole number, not '1.0'"),
        ("generator,file\ndimes,x\n", "c.csv line 2: problem: needs either generator or file"),
        ("problem.people\n3\n", "c.csv line 2: problem: needs either generator or file"),
        ("file\nx.yaml\n", "c.csv line 2: problem.file: no file is called 'x.yaml'"),
        (
            "generator,problem.peeple\ndimes,3\n",
            "c.csv line 2: problem.parameters.peeple: unknown; did you mean people?",
        ),
        ("generator,privacy,privacy.policy\ndimes,off,zero\n", "c.csv line 2: has both privacy and privacy.KEY"),
        ("network\nunit+x\n", "c.csv line 2: network: x: unknown modifier"),
        ('observers\n"vps;vsp"\n', "c.csv line 2: observers[2]: no observer is called 'vsp'; did you mean vps?"),
        ('observers\n"vps:view=""a"\n', 'c.csv line 2: observers: vps:view="a: a double quote is'),
        ("check-cost\nnan\n", "c.csv line 2: check-cost: must be a number"),
    ],
)
def test_a_bad_table_names_its_line(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(text, encoding="utf-8")
    said = refused(f'table = "c.csv"\n{BOTH}', tmp_path)
    assert said.removeprefix(f"{tmp_path}{os.sep}").startswith(words), said


def test_files_that_are_none(tmp_path: Path) -> None:
    spec = tmp_path / "s.toml"
    for data, words in ((b"\xff", "line 1: not UTF-8"), (b"#" * (MAX_SPEC_BYTES + 1), "more than the")):
        spec.write_bytes(data)
        with pytest.raises(UserError, match=words):
            read_spec(spec)
    with pytest.raises(UserError, match="not a regular file"):
        read_spec(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        read_spec(tmp_path / "none.toml")
    with pytest.raises(UserError, match="not a file name"):
        read_spec("a\0b")


def test_networks_and_observers_are_checked_with_a_problem_that_has_the_agents() -> None:
    text = 'networks = "unit+crash:a1@3-5"\nobservers = "vps:view=agent:a2"\n' + BOTH
    check_first(parsed(text))


def test_a_problem_that_cannot_be_made_stops_nothing() -> None:
    """Its cells will say so, each for itself."""
    text = f"""
        observers = "vps:view=agent:nobody"
        [[problem]]
        generator = "meetings"
        parameters = {{ form = "pydcop", slots_count = 1000, max_length_event = 1, events_count = 50 }}
        {SOLVER}
    """
    check_first(parsed(text))


JSON = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.text(max_size=8), st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)


@given(
    key=st.sampled_from(
        ["seeds", "runs", "networks", "observers", "limits", "check-cost", "name", "problem", "solver"]
    ),
    value=JSON,
)
def test_whatever_stands_there_is_taken_or_refused_with_one_line(key: str, value: Any) -> None:
    given_keys = {"problem": [{"generator": "dimes"}], "solver": [{"name": "dpop"}], key: value}
    said = ""
    tomllib.loads(_toml(given_keys))  # the test itself is sound
    try:
        parse_spec(_toml(given_keys), "S.toml", Path())
    except UserError as error:
        said = str(error)
    assert not said or said.startswith("S.toml: ")
    assert "\n" not in said


def _toml(data: Any) -> str:
    """Return plain data as TOML, tables written in line."""
    return "\n".join(f"{_inline(key)} = {_inline(value)}" for key, value in data.items())


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_inline(k)} = {_inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
