"""What a run leaves: its rows, all of them, whatever becomes of it."""

import json
import math
from typing import Any

import numpy as np
import pytest

import agentsim
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.errors import SolverRefusal, UserError
from agentsim.record.results_parts import COLUMNS
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.failures import AgentFailure, ObserverFailure
from agentsim.runtime.observer import Observer
from scenarios.sweeps.curves import as_curve, thinned
from scenarios.sweeps.recording import MOST_LEAVES, MOST_POINTS, Origin, leaves, recording, run_row, simulate


def random_problem(seed: int, *, n: int = 6, hard: bool = False, real: bool = False) -> Problem:
    rng = np.random.default_rng(seed)
    objective = "max" if seed % 2 else "min"
    worst = math.inf if objective == "min" else -math.inf
    variables = [
        Variable(f"x{i}", Domain(f"d{i}", tuple(range(2 + i % 2))), unary=rng.integers(-4, 9, 2 + i % 2))
        for i in range(n)
    ]
    constraints = []
    for i in range(n):
        scope = [(i + k) % n for k in range(2 + (i == 0))]
        table = rng.integers(-5, 9, [2 + j % 2 for j in scope]) + (0.25 if real else 0.0)
        if hard and i % 2:
            table[(0,) * len(scope)] = worst
        constraints.append(Constraint(f"c{i}", tuple(f"x{j}" for j in scope), table))
    return Problem.build(variables, constraints, objective=objective, constant=3)


def columns(rows: dict[str, list[tuple[Any, ...]]], at: int = 0) -> dict[str, Any]:
    return dict(zip(COLUMNS["run"][1:], rows["run"][at], strict=True))


class Reports(Observer):
    """Finds a bit of everything."""

    name = "reports"

    def observe(self, delivery: Delivery) -> None:
        pass

    def findings(self) -> Any:
        return {
            "loss": {"x0": 0.5, "x1": None, "x2": math.nan, "x3": math.inf},
            "matrix": {"x0": {"x1": 2}},
            "flag": True,
            "word": "12",
            "pair": [1, (2.5,)],
            "curve": {"x0": [[0.0, 1.0], [1.0, math.inf], [2.0, None]], "x1": [], "x2": [["bad", 1]]},
            "notes": [1],
            "number": 10**12,
        }


class TestRun:
    def test_all_columns(self) -> None:
        problem = random_problem(2)
        origin = Origin("ring", None, {"n": 6, "wide": math.inf}, 12)
        with recording() as recorder:
            result = simulate(problem, "adopt", origin=origin, seed=3, network="uniform:1,4", order="degree")
        row = columns(recorder.rows)
        assert set(recorder.rows) == {"run", "agent", "leakage", "series"}
        assert row["version"] == agentsim.__version__
        assert row["python"].startswith("3.")
        assert (row["generator"], row["file"], row["problem_seed"]) == ("ring", None, 12)
        assert json.loads(row["problem_parameters"]) == {"n": 6, "wide": "inf"}
        assert (row["objective"], row["variables"], row["constraints"], row["agents"]) == ("min", 6, 6, 6)
        assert json.loads(row["solver_parameters"])["order"] == "degree"
        assert json.loads(row["solver_parameters"])["tree"] == "computed"
        assert (row["solver"], row["network"], row["seed"], row["observers"]) == ("adopt", "uniform:1,4", 3, "[]")
        same = ("status", "cost", "bound", "violations", "messages", "bytes", "local_messages", "nccc", "checks")
        same += ("virtual_time", "wall_time", "startup_time", "limit")
        assert {key: row[key] for key in same} == {key: getattr(result, key) for key in same}
        assert (row["run"], row["error"]) == (0, None)
        assert recorder.rows["agent"] == [
            (0, name, a.messages, a.bytes, a.local_messages, a.checks, a.nccc) for name, a in result.agents.items()
        ]
        assert recorder.rows["series"][-1][1:3] == ("cost", "")

    def test_runs_are_counted_and_only_within(self) -> None:
        problem = random_problem(1, n=3)
        with recording() as recorder:
            simulate(problem, "dpop")
            simulate(problem, "dpop", seed=9)
        simulate(problem, "dpop")
        assert [row[0] for row in recorder.rows["run"]] == [0, 1]
        assert columns(recorder.rows, 1)["seed"] == 9
        with recording(keeps=False) as recorder:
            simulate(problem, "dpop")
        assert recorder.rows["run"] == []

    def test_findings(self) -> None:
        with recording() as recorder:
            simulate(random_problem(0), "dpop", observers=[Reports, (Reports, {"as": "again", "x": [1]})])
        assert [row[1:] for row in recorder.rows["leakage"] if row[1] == "reports"] == [
            ("reports", "loss", "x0", 0.5),
            ("reports", "loss", "x3", math.inf),
            ("reports", "matrix", "x0 > x1", 2.0),
            ("reports", "pair", "0", 1.0),
            ("reports", "pair", "1 > 0", 2.5),
            ("reports", "number", "", 1e12),
        ]
        assert [row[1:] for row in recorder.rows["series"] if row[1] == "again.curve"] == [
            ("again.curve", "x0", 0.0, 1.0),
            ("again.curve", "x0", 1.0, math.inf),
        ]
        assert json.loads(columns(recorder.rows)["observers"]) == ["reports", "reports:as=again,x=list"]

    def test_a_refusal_is_a_row(self) -> None:
        with recording() as recorder:
            for solver, options in (("mgm", {"rounds": "many"}), ("none-such", {}), ("dpop", {"memory": 16})):
                with pytest.raises(UserError):
                    simulate(random_problem(0), solver, **options)
        rows = [columns(recorder.rows, i) for i in range(3)]
        assert {row["status"] for row in rows} == {"refused"}
        assert [row["solver"] for row in rows] == ["mgm", "none-such", "dpop"]
        assert json.loads(rows[0]["solver_parameters"]) == {"rounds": "many"}
        assert "no solver is called 'none-such'" in rows[1]["error"]
        assert rows[2]["error"].startswith(SolverRefusal.__name__)
        assert rows[2]["cost"] is rows[2]["messages"] is None
        assert rows[2]["wall_time"] >= 0

    def test_a_failing_observer_leaves_what_there_is(self) -> None:
        class Fails(Observer):
            def observe(self, delivery: Delivery) -> None:
                raise ValueError("two\nlines")

        with recording() as recorder, pytest.raises(ObserverFailure):
            simulate(random_problem(0), "adopt", observers=[Fails])
        row = columns(recorder.rows)
        assert row["status"] == "error"
        assert "two lines" in row["error"]
        assert row["messages"] > 0
        assert len(recorder.rows["agent"]) == 6

    def test_a_failing_agent(self) -> None:
        from agentsim import Agent

        class Fails(Agent):
            async def run(self) -> None:
                raise ValueError("no")

        with recording() as recorder, pytest.raises(AgentFailure):
            simulate(random_problem(0), Fails)
        assert columns(recorder.rows)["solver"] == "Fails"
        assert columns(recorder.rows)["status"] == "error"

    def test_an_interrupted_run_does_not_pass_for_a_whole_one(self) -> None:
        def interrupt(kernel: Any) -> None:
            kernel.stop_request = "interrupted"

        problem = random_problem(0)
        with recording() as recorder, pytest.raises(KeyboardInterrupt):
            simulate(problem, "dsa", rounds=10**9, monitor=interrupt)
        assert recorder.rows["run"] == []

    def test_a_row_that_stands_for_a_run(self) -> None:
        row = dict(zip(COLUMNS["run"][2:], run_row({"status": "died", "solver": "dpop"}), strict=True))
        assert row["version"] == agentsim.__version__
        assert {k for k, v in row.items() if v is not None} == {"version", "python", "status", "solver"}

    def test_a_seed_too_large_to_keep(self) -> None:
        with pytest.raises(ValueError, match="64 bits"):
            Origin(seed=2**63)


class TestLeaves:
    def test_the_deepest_are_left_out_and_counted(self) -> None:
        found = {"deep": {str(i): {"x": i} for i in range(MOST_LEAVES)}, "loss": {"a": 0.5}, "flat": 7}
        rows = leaves(found)
        assert len(rows) == MOST_LEAVES + 1
        assert ("loss", "a", 0.5) in rows
        assert ("flat", "", 7.0) in rows
        assert rows[-1] == ("left out", "", 2.0)

    def test_of_any_shape(self) -> None:
        assert leaves(3) == [("", "", 3.0)]
        assert leaves(None) == leaves("x") == leaves([]) == []
        assert leaves(10**400) == [("", "", math.inf)]
        assert leaves({1: [2, 3]}) == [("1", "0", 2.0), ("1", "1", 3.0)]
        deep: Any = 1
        for _ in range(5_000):
            deep = [deep]
        assert leaves(deep) == []


class TestCurves:
    def test_what_is_no_curve(self) -> None:
        assert as_curve([[0, 1], (1, "inf"), [2, math.nan]]) == [(0.0, 1.0), (1.0, math.inf)]
        for given in (None, 3, [], "x", [1, 2], [[1, 2], [3]], [[1, 2, 3]], {"a": 1}, [["x", 1]], [[10**400, 1]]):
            assert as_curve(given) == []

    def test_thinning_keeps_ends_and_extremes(self) -> None:
        rng = np.random.default_rng(4)
        points = [(float(t), float(v)) for t, v in enumerate(rng.normal(size=12_345))]
        points[7_000] = (7_000.0, math.inf)
        points[300] = (300.0, -99.0)
        thin = thinned(points, 500)
        assert 400 < len(thin) <= 500
        assert thin == sorted(thin)
        assert set(thin) <= set(points)
        assert {points[0], points[-1], points[7_000], points[300]} <= set(thin)
        assert thinned(points[:500], 500) == points[:500]
        assert len(thinned(points[:501], 500)) <= 500


def test_a_long_curve_of_an_observer_is_thinned_to_its_ends_and_extremes() -> None:
    class Long(Observer):
        def findings(self) -> Any:
            return {"curve": {"x0": [[t, 1.0 if t == 1234 else 0.0] for t in range(3000)]}}

    with recording(True) as recorder:
        simulate(random_problem(0), "dpop", observers=[Long])
    points = [(at, value) for *_, series, _, at, value in recorder.rows["series"] if series == "Long.curve"]
    assert 3 <= len(points) <= MOST_POINTS
    assert (points[0], points[-1]) == ((0.0, 0.0), (2999.0, 0.0))
    assert (1234.0, 1.0) in points
