"""Exploration: what is drawn, checked, shrunk, kept and told."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner, Result

from agentsim import Agent, Constraint, Domain, Problem, UserError, Variable, load, message, save, simulate
from agentsim.runtime import registry
from agentsim.runtime.network import Network
from agentsim.runtime.statements import CostIs, Nothing, Term, ValueIs
from agentsim.testing import brute_force, random_problem
from scenarios.cli import main
from scenarios.documentation import keys
from scenarios.exploration import FAMILIES, check_run, draw_network, explore, options_of, solvers_of
from scenarios.exploration.checks import DEAR, Case, optimum_of
from scenarios.exploration.failures import command_of, written
from scenarios.exploration.plans import BLOCK, Found, Plan, case_of, work
from scenarios.exploration.schedules import loses
from scenarios.exploration.shrinking import Shrinker, late_messages
from scenarios.exploration.tally import FILE, Tally, asked_of
from solvers.adopt import Adopt

ROOT = Path(__file__).parents[2]
BENCH = importlib.util.spec_from_file_location("bench_explore", ROOT / "tests/benchmarks/bench_explore.py")
assert BENCH is not None
bench = importlib.util.module_from_spec(BENCH)
BENCH.loader.exec_module(bench)

COMPLETE = solvers_of(["complete"])
BITS = Domain("bits", (0, 1))


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["explore", *map(str, args)], prog_name="agentsim")


def found(*args: object, status: int = 0) -> dict[str, Any]:
    result = run(*args, "--workers", 0, "--json")
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)


def complaint(*args: object) -> str:
    result = run(*args, "--workers", 0)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


def pair(costs: Any = ((1, 0), (2, 3))) -> Problem:
    return Problem.build([Variable("x1", BITS), Variable("x2", BITS)], [Constraint("c", ("x1", "x2"), np.array(costs))])


# What is drawn -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_networks_of_a_family_can_be_given_and_keep_messages(family: str) -> None:
    drawn = set()
    for i in range(60):
        rng = np.random.default_rng([i])
        agents = ["a 1", "b:2", "c", "d"][: 1 + i % 4]
        spec = FAMILIES[family][1](rng, agents)
        assert not loses(Network.parse(spec, agents)), spec
        drawn.add(spec)
    assert family == "unit" or len(drawn) > 10


def test_every_family_is_drawn_and_the_same_again() -> None:
    drawn = [draw_network(np.random.default_rng([i]), ["a", "b"]) for i in range(200)]
    assert {family for family, _ in drawn} == set(FAMILIES)
    assert drawn == [draw_network(np.random.default_rng([i]), ["a", "b"]) for i in range(200)]


def test_networks_that_lose_are_told_from_those_that_keep() -> None:
    for spec, lost in {
        "unit+loss:.1": True,
        "unit+duplicate:.1": True,
        "unit+crash:a@3-4": True,
        "unit+crash:a@3+reliable": True,
        "unit+crash:a@3-4+reliable": False,
        "unit+loss:.1+reorder+reliable": False,
        "uniform:1,2+slow:a*3": False,
    }.items():
        assert loses(Network.parse(spec, ["a"])) is lost, spec


def test_options_are_ones_that_the_solver_takes_and_vary() -> None:
    for name in registry.names("solvers"):
        cls = registry.find("solvers", name)
        turns = [options_of(cls, turn) for turn in range(60)]
        for options in turns:
            registry.make_params(cls.Params, options, name)
        if cls.complete:
            assert turns[0] == {}, name
            assert all(cls.is_exact(registry.make_params(cls.Params, options, name)) for options in turns), name
    assert {options_of(Adopt, turn).get("tree") for turn in range(20)} == {None, "messages"}


def test_runs_are_the_same_whoever_does_them() -> None:
    plan = Plan(("dpop", "adopt"), seed=5)
    problem, _ = plan.problem_of(1)
    whole = [(c.seed, c.network, c.params) for i in range(8, 16) for _, c in plan.cases(i, problem)]
    assert whole == [(c.seed, c.network, c.params) for i in range(8, 16) for _, c in plan.cases(i, problem)]
    first, again = work(plan, range(8, 11)), work(plan, range(8, 11))
    assert (first.outcomes, first.messages) == (again.outcomes, again.messages)
    _, case = case_of(plan, Found(9, 1, False, "optimum", ""))
    assert (case.solver, case.seed) == ("adopt", 5 + 9)


def test_the_optimum_is_that_of_brute_force() -> None:
    for i in range(60):
        problem = random_problem(np.random.default_rng([77, i]))
        assert optimum_of(problem) == pytest.approx(brute_force(problem), abs=1e-9)


def test_the_optimum_of_a_larger_problem_is_that_of_a_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenarios.exploration.checks.MAX_CELLS", 3)
    assert optimum_of(pair()) == 0
    assert optimum_of(pair([[math.inf, math.inf], [math.inf, math.inf]])) == math.inf


# What is checked -----------------------------------------------------------------------------------------------------


@message("HELLO")
class Hello(NamedTuple):
    """The receiver's value."""

    value: int


class HelloReader:
    """Takes HELLO for what it is."""

    def __init__(self, context: Any) -> None: ...

    def read(self, delivery: Any) -> Any:
        yield ValueIs("value", ("value",), delivery.dst, delivery.message.value, "final")


class Honest(Agent):
    """Of two variables the first chooses for both; the others of this file are wrong in one way each."""

    messages = (Hello,)
    complete = True
    place = "order"
    reader = HelloReader

    async def run(self) -> None:
        if self.view.order.index:
            self.assign((await self.receive(Hello)).value)
            return
        mine, other = self.choose(self.view.constraints[0].table)
        self.assign(mine)
        self.send("x2", Hello(other))

    def choose(self, table: Any) -> tuple[int, int]:
        return divmod(int(np.argmin(table)), 2)


class Worst(Honest):
    def choose(self, table: Any) -> tuple[int, int]:
        return divmod(int(np.argmax(table)), 2)


class Raises(Honest):
    def choose(self, table: Any) -> tuple[int, int]:
        raise LookupError("nothing there")


class Waits(Honest):
    async def run(self) -> None:
        await super().run()
        if self.view.order.index:
            await self.receive(Hello)


class Runs(Honest):
    async def run(self) -> None:
        await super().run()
        while True:
            await self.sleep(1)


class Loops(Honest):
    async def run(self) -> None:
        while True:
            pass


class Forgets(Honest):
    """Every other run of the process is another."""

    times: ClassVar[int] = 0

    def choose(self, table: Any) -> tuple[int, int]:
        Forgets.times += 1
        if Forgets.times % 2:
            self.bound(lower=-1, upper=None)
        return super().choose(table)


class Lies(Honest):
    class Liar(HelloReader):
        def read(self, delivery: Any) -> Any:
            yield ValueIs("value", ("value",), delivery.dst, 1 - delivery.message.value, "final")

    reader = Liar


class Maligns(Honest):
    """Its reader says that a private cost of 9 is at most 0."""

    class Slanderer(HelloReader):
        def read(self, delivery: Any) -> Any:
            yield CostIs("own-cost", ("value",), (Term(("x1",), "none", {"x2": 0}),), "<=", 0)

    reader = Slanderer


class Changes(Honest):
    """Its reader tells each reader of it something else."""

    class Fickle(HelloReader):
        times: ClassVar[int] = 0

        def __init__(self, context: Any) -> None:
            type(self).times += 1
            self.bad = type(self).times > 6  # of three observers with two viewers each, live

        def read(self, delivery: Any) -> Any:
            if self.bad:
                yield CostIs("own-cost", ("value",), (Term(("x1",), "none", {}),), "<=", 1)
            else:
                yield Nothing("nothing", ("value",))

    reader = Fickle


@dataclass(frozen=True)
class Checked:
    """Parameters of one with invariants."""

    invariants: bool = False


class Asserts(Honest):
    Params = Checked

    def choose(self, table: Any) -> tuple[int, int]:
        assert not self.params.invariants, "it does not hold"
        return super().choose(table)


def with_private(costs: Any) -> Problem:
    whole = pair()
    first = dataclasses.replace(whole.variables["x1"], unary=np.array(costs), cost_range=(0, 9))
    return Problem.build([first, whole.variables["x2"]], whole.constraints.values())


@pytest.mark.parametrize(
    ("solver", "kind", "why"),
    [
        (Worst, "optimum", "optimal at 3 where the optimum is 0"),
        (Raises, "error: LookupError", "agent x1: LookupError: nothing there"),
        (Waits, "deadlock", "x2 waits for HELLO"),
        (Runs, "hung", "still running after 0.3 s"),
        (Loops, "hung", "still running after 0.3 s"),
        (Forgets, "repeat", "differs at record"),
        (Lies, "statements", "not true"),
        (Maligns, "exclusions", "x2 on x1: no value has level 1 or less"),
        (Changes, "observers", "found something else in a replay"),
        (Asserts, "invariants", "it does not hold"),
    ],
)
def test_each_check_finds_its_fault(solver: type[Agent], kind: str, why: str) -> None:
    problem = with_private([9, 9]) if solver in (Maligns, Changes) else pair()
    dear = {kind} & set(DEAR)
    verdict = check_run(problem, solver, timeout=0.3, dear=dear)
    assert (verdict.kind, verdict.bad) == (kind, True)
    assert verdict.outcome == ("hung" if kind == "hung" else "failed")
    assert why in verdict.why


def test_a_run_without_fault_is_checked_for_everything() -> None:
    verdict = check_run(pair(), Honest)
    assert (verdict.outcome, verdict.why, verdict.messages) == ("right", "", 1)
    assert set(verdict.checks) == {"ending", "cost", "optimum", *DEAR}
    assert check_run(pair(), Honest, dear=()).checks == ("ending", "cost", "optimum")
    assert set(check_run(pair(), "adopt").checks) == {"ending", "cost", "optimum", "invariants", *DEAR}


def test_a_log_that_is_not_what_agents_do_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(100))
    monkeypatch.setattr(Honest, "choose", lambda self, table: (0, 1) if next(times) == 0 else (0, 0))
    verdict = check_run(pair(), Honest, dear=["replay"])
    assert (verdict.kind, verdict.outcome) == ("replay", "failed")


def test_a_wrong_optimum_that_is_given_is_believed() -> None:
    assert check_run(pair(), "dpop", optimum=1, dear=()).why == "optimal at 0 where the optimum is 1"
    assert check_run(pair(), "dpop", optimum=math.inf, dear=()).why == "optimal at 0 where nothing is feasible"


def test_without_an_optimum_to_prove_an_incomplete_solver_is_checked_all_the_same() -> None:
    assert set(check_run(pair(), "dsa", params={"rounds": 3}).checks) == {"ending", "cost", "bound", *DEAR}
    inexact = check_run(pair(), "adopt", params={"error_bound": 2}, dear=())
    assert inexact.checks == ("ending", "cost", "bound", "invariants")


def test_an_end_without_answer_is_told_where_messages_are_lost() -> None:
    for spec in ("unit+loss:1", "unit+crash:x2@0"):
        verdict = check_run(pair(), "dpop", network=spec)
        assert (verdict.outcome, verdict.bad) == ("told", False)
        assert verdict.why.startswith("deadlock: x")


def test_what_a_solver_refuses_is_no_failure(tmp_path: Path) -> None:
    verdict = check_run(pair(), "dpop", params={"memory": 8})
    assert (verdict.outcome, verdict.bad) == ("refused", False)
    save(pair(), tmp_path / "pair.yaml")
    assert "more than memory=8" in complaint(tmp_path / "pair.yaml", "--algo", "dpop", "-p", "memory=8")


# Shrinking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", bench.BROKEN, ids=lambda cls: cls.__name__)
def test_a_broken_adopt_is_caught_and_what_is_told_repeats_it(
    cls: type[Adopt], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tally = explore(None, [cls], runs=200, max_failures=1, max_messages=3000, shrink=2)
    failure = tally.failures[0]
    assert failure["size"]["variables"] <= 3 < failure["found"]["size"]["variables"] + 2
    assert failure["command"].startswith(f"check_run(load('explore-{cls.__name__}-")
    again = eval(failure["command"], {"load": load, "check_run": check_run, cls.__name__: cls})
    assert (again.kind, again.why) == (failure["kind"], failure["why"])


class Impatient(Adopt):
    """WRONG: minds that an ancestor changes its value late."""

    def on_value(self, sender: str, message: Any) -> None:
        if self.now > 6 and self.context.get(sender) != message.value:
            raise LookupError("too late")
        super().on_value(sender, message)


def test_a_fault_of_the_schedule_comes_down_to_late_messages() -> None:
    table = np.array([[0, 3], [2, 1]])
    problem = Problem.build(
        [Variable(f"x{i}", BITS, unary=np.array([1, 0])) for i in range(3)],
        [Constraint(f"c{i}", (f"x{i}", f"x{i + 1}"), table) for i in range(2)],
    )
    for seed in range(60):
        case = Case(problem, Impatient, seed, "uniform:1,9", {"order": "lexical"})
        if check_run(problem, Impatient, seed=seed, network=case.network, params=case.params, dear=()).bad:
            break
    shrinker = Shrinker(case, "error: LookupError", 300)  # ends by itself, on a crowded machine too
    smallest = shrinker.shrink()
    assert 0 < shrinker.tried < 3000
    assert smallest.params == {}
    assert smallest.seed == 0
    assert len(smallest.problem.variables) <= 2
    assert re.fullmatch(r"unit(\+late:x\d>x\d@\d+\*\d+){1,2}", smallest.network), smallest.network


def test_late_messages_say_what_a_network_did() -> None:
    problem = random_problem(np.random.default_rng(12), max_variables=4)
    for solver in ("adopt", "synchbb", "bnb-adopt-plus"):
        one = simulate(problem, solver, seed=3, network="uniform:1,9")
        late = late_messages(one.log)
        assert late
        other = simulate(problem, solver, network="+".join(["unit", *map(str, late)]))
        seen = [[(d.src, d.dst, d.type, d.payload) for d in result.log] for result in (one, other)]
        assert seen[0] == seen[1]


def test_a_hang_is_shrunk_under_lower_limits_and_still_hangs() -> None:
    case = Case(pair(), Runs, 7, "uniform:1,9", {}, timeout=0.6)
    smallest = Shrinker(case, "hung", 4).shrink()
    assert (smallest.network, smallest.timeout) == ("unit", 0.6)


# The tally -----------------------------------------------------------------------------------------------------------


def test_a_tally_goes_on_where_it_was_and_more_runs_continue(tmp_path: Path) -> None:
    arguments = ("random", "--algo", "dpop", "--algo", "synchbb", "--seed", 3, "-o", tmp_path)
    first = found(*arguments, "--runs", 5)
    assert list(first) == list(keys.EXPLORE)
    assert (first["runs"], first["failed"], first["hung"], first["first_failure"]) == (10, 0, 0, None)
    assert {name: row["runs"] for name, row in first["solvers"].items()} == {"dpop": 5, "synchbb": 5}
    assert found(*arguments, "--runs", 5) == {**first, "seconds": pytest.approx(first["seconds"], abs=0.2)}
    more = found(*arguments, "--runs", 21)
    assert more["runs"] == 42
    whole = found(*arguments[:-2], "--runs", 21)
    assert {key: more[key] for key in ("families", "checks", "messages")} == {
        key: whole[key] for key in ("families", "checks", "messages")
    }
    assert not (tmp_path / f"{FILE}.new").exists()


def test_what_is_left_is_cut_at_blocks() -> None:
    tally = Tally({}, done=[[0, 3], [8, 16]])
    assert tally.left(20) == [range(3, 8), range(16, 20)]
    assert tally.left(2) == []
    assert Tally({}).left(17) == [range(8), range(8, 16), range(16, 17)]
    assert BLOCK == 8


def test_another_exploration_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    found("random", "--algo", "dpop", "--runs", 1, "-o", tmp_path)
    for change, words in (
        (("--seed", 1), "of seed 0 and not 1"),
        (("--algo", "mb-dpop"), "of solvers dpop and not dpop, mb-dpop"),
        (("--network", "unit"), "of networks none and not unit"),
        (("--variables", 3), "of problem random, at most 5 variables and 3 values and not"),
    ):
        assert words in complaint("random", "--algo", "dpop", "--runs", 1, "-o", tmp_path, *change)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is damaged"),
        ("[" * 100_000, "is damaged"),
        ("[]", "is no tally"),
        ('{"format": 2}', "is no tally"),
        ('{"format": 1, "done": [[5, 3]]}', "is no tally"),
    ],
)
def test_a_file_that_is_no_tally_is_told(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert words in complaint("random", "--algo", "dpop", "--runs", 1, "-o", tmp_path)


def test_a_tally_that_is_read_is_what_was_written(tmp_path: Path) -> None:
    plan = Plan(("dpop",), pair())
    tally = Tally(asked_of(plan))
    tally.add(range(3), work(plan, range(3)))
    tally.write(tmp_path)
    assert Tally.read(tmp_path, asked_of(plan)) == tally


# The command ---------------------------------------------------------------------------------------------------------


def test_users_mistakes_take_one_line(tmp_path: Path) -> None:
    save(pair(), tmp_path / "pair.yaml")
    (tmp_path / "file").touch()
    for arguments, words in (
        (("random", "--algo", "nothing"), "no solver is called 'nothing'"),
        (("random", "--algo", "dpop", "-p", "speed=1"), "has no parameter 'speed'"),
        (("random", "--algo", "dpop", "--network", "sideways"), "network sideways"),
        (("random", "--algo", "dpop", "--runs", "0"), "--runs"),
        ((tmp_path / "none.yaml", "--algo", "dpop"), "none.yaml"),
        ((tmp_path / "pair.yaml", "--algo", "dpop", "--network", "unit+slow:nobody*2"), "no agent is called 'nobody'"),
        ((tmp_path / "pair.yaml", "--algo", "dpop", "--values", "2"), "--values: is for random problems"),
        (("random", "--algo", "dpop", "-o", tmp_path / "file"), "is a file"),
    ):
        assert words in complaint(*arguments)


def test_people_see_a_table(tmp_path: Path) -> None:
    save(pair(), tmp_path / "pair.yaml")
    result = run(tmp_path / "pair.yaml", "--algo", "complete", "--runs", 2, "--workers", 0)
    assert result.exit_code == 0
    for word in (*COMPLETE, "network", "0 failed, 0 hung", f"{2 * len(COMPLETE)} runs"):
        assert str(word) in result.stdout


def test_workers_do_the_same_runs() -> None:
    here = found("random", "--algo", "synchbb", "--runs", 20)
    there = run("random", "--algo", "synchbb", "--runs", 20, "--workers", 1, "--json")
    there_found = json.loads(there.stdout)
    timed = ("seconds", "cpu_seconds")
    assert {k: v for k, v in here.items() if k not in timed} == {k: v for k, v in there_found.items() if k not in timed}


FAULTY = """
import sys
from solvers.dpop import Dpop
from scenarios.cli import main

whole = Dpop.run

async def run(self):
    await whole(self)
    if len(self.view.neighbours) > 1:
        self.assign(0)

Dpop.run = run
main(sys.argv[1:])
"""


def test_the_command_that_is_printed_fails_again_in_a_fresh_process(tmp_path: Path) -> None:
    """The registered solver is broken within the processes of this test alone."""

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", FAULTY, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    arguments = ("explore", "random", "--algo", "dpop", "--runs", "16", "--workers", "0", "--json")
    first = call(*arguments)
    assert first.returncode == 4, first.stderr
    failure = json.loads(first.stdout)["first_failure"]
    assert failure["why"] in first.stderr
    assert failure["size"]["variables"] == 3
    assert (failure["network"], failure["seed"], failure["params"]) == ("unit", 0, {})
    problem = failure["problem"]
    assert (tmp_path / problem).is_file()
    words = shlex.split(failure["command"])
    assert words == [
        "agentsim",
        "explore",
        problem,
        "--algo",
        "dpop",
        "--runs",
        "1",
        "--seed",
        "0",
        "--network",
        "unit",
    ]
    again = call(*words[1:], "--json")
    assert again.returncode == 4, again.stderr
    repeated = json.loads(again.stdout)
    assert (repeated["runs"], repeated["failed"]) == (1, 1)
    assert {k: repeated["first_failure"][k] for k in ("why", "kind", "command", "problem")} == {
        k: failure[k] for k in ("why", "kind", "command", "problem")
    }


def test_no_file_is_written_over(tmp_path: Path) -> None:
    case = Case(pair(), Worst)
    first, second = (written(case, "worst", "optimum", tmp_path) for _ in range(2))
    assert first.name != second.name
    assert first.name.startswith("explore-worst-")
    assert first.read_bytes() == second.read_bytes()
    assert check_run(load(second), Worst, dear=()).bad


def test_ctrl_c_keeps_the_tally_and_the_same_command_goes_on(tmp_path: Path) -> None:
    arguments = ["explore", "random", "--algo", "dpop", "--runs", "100000", "-o", "kept", "--json"]
    code = "import sys; from scenarios.cli import main; main(sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--workers", "0"], cwd=tmp_path, stdout=-1, stderr=-1, text=True
    ) as process:
        while not (tmp_path / "kept" / FILE).exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=100)
    assert process.returncode == 130, error
    assert re.search(r"interrupted: \d+ of 100,000 runs are kept in kept; the same command goes on", error)
    seen = json.loads(out)["runs"]
    assert 0 < seen < 100_000
    again = found("random", "--algo", "dpop", "--runs", seen + 8, "-o", tmp_path / "kept")
    assert again["runs"] == seen + 8


def test_a_command_is_quoted_for_the_shell() -> None:
    case = Case(pair(), "adopt", 3, "unit+late:x1>x2@2*9", {"tree": "messages"}, max_messages=77)
    command = command_of(case, "a b.yaml")
    assert command == (
        "agentsim explore 'a b.yaml' --algo adopt --runs 1 --seed 3 --network \"unit+late:x1>x2@2*9\" "
        "-p tree=messages --max-messages 77"
    )
    odd = Case(pair(), "adopt", 3, 'unit+slow:"a:b"*2')
    assert shlex.split(command_of(odd, "a.yaml"))[-1] == odd.network


def test_no_solver_is_no_exploration() -> None:
    with pytest.raises(UserError, match="no solver"):
        explore(pair(), [], runs=1)
