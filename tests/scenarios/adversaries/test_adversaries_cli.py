"""Adversaries on the command line: `solve --adversary`, `list adversaries`, and the comparison as a program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agentsim import save
from scenarios.adversaries import ADVERSARIES
from scenarios.adversaries.__main__ import main as compare
from scenarios.cli import main
from scenarios.generators.random_dcop import RandomDcop, RandomDcopParams


@pytest.fixture
def problem(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    save(RandomDcop.generate(RandomDcopParams(agents=4, d=2, u=6, b=6), 1), path)
    return str(path)


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def solved(problem: str, *more: str, solver: str = "dpop") -> dict[str, Any]:
    done = run("solve", problem, "--algo", solver, "--json", *more)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_an_attacked_run_says_who_attacked(problem: str, tmp_path: Path) -> None:
    log = tmp_path / "run.amlog"
    spec = "liar:agent=a1,factor=4,about=all"
    found = solved(problem, "--adversary", spec, "--adversary", "delayer:agent=a2", "--log", str(log))
    assert found["status"] == "finished"
    assert found["adversaries"] == [
        {
            "name": "liar",
            "agent": "a1",
            "parameters": {"lie": "scale", "factor": 4.0, "about": "all", "plausible": False},
        },
        {"name": "delayer", "agent": "a2", "parameters": {"delay": 5.0, "what": "sends", "when": "always"}},
    ]
    header = json.loads(run("inspect", log, "--json").stdout)["header"]
    assert (header["replaced"], header["interceptors"]) == (["a1"], 1)
    assert json.loads(run("replay", log, "--verify", "--json").stdout)["verified"] is True
    assert "adversaries" not in solved(problem)


def test_who_listens_is_compared_with_each_alone(problem: str) -> None:
    found = solved(problem, "--adversary", "coalition:agent=a0+a2,rule=exact", solver="adopt")
    assert found["status"] == "optimal"
    (told,) = found["adversaries"]
    assert told["agent"] == "a0+a2"
    assert {row["subject"] for row in told["learned"]} == {"a1", "a3"}
    assert set(found["findings"]) == {"coalition a0+a2", "coalition a0+a2: a0", "coalition a0+a2: a2"}
    shown = run("solve", problem, "--algo", "adopt", "--adversary", "eavesdropper:agent=a1>a0").stdout
    assert "adversary eavesdropper, a1>a0" in shown
    assert "beyond the best alone" in shown


def test_a_limit_of_ones_own_stays(problem: str) -> None:
    done = run("solve", problem, "--algo", "adopt", "--adversary", "liar", "--max-messages", 3, "--json")
    assert (done.exit_code, json.loads(done.stdout)["limit"]) == (3, "max_messages")


def test_an_agent_that_is_driven_into_a_contradiction_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    for seed in range(40):
        save(RandomDcop.generate(RandomDcopParams(agents=4, d=3, u=9, b=9, p=1), seed), path)
        done = run("solve", path, "--algo", "synchbb", "--adversary", "replayer:agent=a2,share=1", "--json")
        if done.exit_code == 1:
            break
    found = json.loads(done.stdout)
    assert (found["status"], found["adversaries"][0]["name"]) == ("error", "replayer")
    assert "agent x" in found["error"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nobody", "no adversary is called 'nobody'"),
        ("liar:agent=zoe", "no agent is called 'zoe'"),
        ("liar:factor", "is not KEY=VALUE"),
        ("liar:factor=2,factor=3", "factor is given twice"),
        ("liar:factor=-1", "must be from 0"),
        ('liar:agent="a0', "a double quote is not closed"),
        ("coalition:agent=a0", "two agents or more"),
    ],
)
def test_what_is_wrong_takes_one_line(problem: str, spec: str, words: str) -> None:
    done = run("solve", problem, "--algo", "dpop", "--adversary", spec)
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_two_for_one_agent_are_one_too_many(problem: str) -> None:
    done = run("solve", problem, "--algo", "dpop", "--adversary", "liar", "--adversary", "free-rider")
    assert done.exit_code == 2
    assert "stand in for a0" in done.stderr


def test_list() -> None:
    rows = json.loads(run("list", "adversaries", "--json").stdout)["adversaries"]
    assert [row["name"] for row in rows] == list(ADVERSARIES)
    assert "free-rider" in run("list", "adversaries").stdout


def test_the_program_compares_with_the_honest_run(problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare([problem, "liar:agent=a1,factor=9", "adopt"]) == 0
    honest, attacked = capsys.readouterr().out.splitlines()
    assert honest.startswith("honest    optimal, all ")
    assert attacked.startswith("attacked  finished, all ")
    assert ", of this a1 " in attacked
    assert compare([problem, "nobody"]) == 2
