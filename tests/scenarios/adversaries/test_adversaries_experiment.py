"""The experiment `adversaries`: what is compared with what, and what its rows and notes say."""

from __future__ import annotations

import math

import pytest

from scenarios.experiments.adversaries import ARMS, HONEST, Adversaries, Found, Task, partner, sign_test
from scenarios.experiments.base import Options
from scenarios.generators.random_dcop import RandomDcop, RandomDcopParams


def test_the_sign_test_is_exact() -> None:
    assert sign_test([]) == sign_test([0.0, 0.0]) == 1
    assert sign_test([1.0] * 6) == sign_test([-2.0, *[-1.0] * 5, 0.0]) == 2 / 64
    assert sign_test([1, 1, 1, 1, -1]) == pytest.approx(2 * (1 + 5) / 32)
    assert sign_test([1, -1]) == 1


def test_who_is_a_partner_shares_a_constraint() -> None:
    problem = RandomDcop.generate(RandomDcopParams(agents=4, p=0), 0)
    assert [partner(problem, agent) for agent in problem.agents] == ["a1", "a0", "a1", "a2"]


def test_an_attacked_run_is_measured_beside_the_honest_one() -> None:
    honest, lying, listening = (
        Adversaries.run_task(Task("dpop", arm, 0)) for arm in (HONEST, "liar, hides", "coalition")
    )
    assert (honest.status, lying.status, listening.status) == ("optimal", "finished", "optimal")
    assert (honest.false, listening.false) == (0, 0), "rule tight is sound where nobody lies"
    assert lying.cost is not None
    assert honest.cost is not None
    assert lying.cost >= honest.cost, "true costs, not those that were claimed"
    assert (listening.cost, listening.own, listening.messages) == (honest.cost, honest.own, honest.messages)
    assert (
        set(listening.to)
        == set(listening.alone)
        == set(honest.to) - {next(iter(honest.to.keys() - listening.to.keys()))}
    )
    assert all(listening.to[a] >= listening.alone[a] - 1e-9 for a in listening.to)
    for found in (honest, lying, listening):
        assert all(0 <= p <= 1 + 1e-9 for p in (*found.to.values(), *found.of.values()))


class Few(Adversaries):
    def solvers(self) -> list[str]:
        return ["one", "two", "three"]


def test_rows_are_paired_differences_and_ends_are_told() -> None:
    experiment = Few(Options(instances=8))
    results = []
    for task in experiment.tasks():
        if task.solver == "three":
            results.append(Found("refused", error="three takes no such problem"))
        elif task.arm == "liar, overstates":
            gain = 2.0 if task.solver == "one" else 0.0
            results.append(Found("finished", 20.0 + task.seed, 5.0 - gain, 12, {"b": 0.5}, {}, {"b": 0.25}, 0.5))
        elif task.arm == "false bounds":
            results.append(Found("error", error="agent x1: AssertionError"))
        elif task.arm == "replayer":
            results.append(Found("deadlock" if task.seed else "finished", None if task.seed else 19.0, 5.0, 3))
        else:
            results.append(Found("optimal", 18.0 + task.seed, 5.0, 6, {"b": 0.25}, {}, {"b": 0.25}))
    rows = experiment.rows(results)
    assert [row["adversary"] for row in rows[: len(ARMS)]] == list(ARMS)
    cell = {(row["solver"], row["adversary"]): row for row in rows}
    lie = cell["one", "liar, overstates"]
    assert (lie["own_diff"], lie["others_diff"], lie["cost_diff"], lie["n"]) == (-2, 4, 2, 8)
    assert (lie["own_diff_low"], lie["own_diff_high"], lie["own_diff_p"]) == (-2, -2, 2 / 256)
    assert (lie["to_diff"], lie["of_diff"], lie["of_diff_p"]) == (0.25, 0, 1)
    assert (lie["messages_ratio"], lie["false"], lie["ended"]) == (2, 0.5, 1)
    assert cell["all", "liar, overstates"]["own_diff"] == -1, "each instance's mean over the solvers"
    error = cell["two", "false bounds"]
    assert (error["ended"], error["statuses"], error["error"], error["n"]) == (
        0,
        "error 8",
        "agent x1: AssertionError",
        0,
    )
    assert cell["two", "replayer"]["statuses"] == "deadlock 7, finished 1"
    assert cell["two", "replayer"]["n"] == 1
    notes = experiment.notes(rows)
    assert "three did not begin: three takes no such problem" in notes
    told = next(note for note in notes if note.startswith("liar, overstates: pays"))
    assert "pays the adversary with all (-1), one (-2)" in told
    assert "costs the others with all (+3), one (+4), two (+2)" in told
    assert any("false bounds: fewer runs end" in note and "two (error 8)" in note for note in notes)
    pytest.importorskip("matplotlib")
    figure = experiment.figure(rows)
    assert figure is not None
    assert len([axes for axes in figure.axes if axes.get_title()]) == 6


def test_what_has_no_difference_says_so() -> None:
    experiment = Few(Options(instances=2))
    rows = experiment.rows([Found("optimal", 1.0, 1.0, 1) for _ in experiment.tasks()])
    assert not any(math.isnan(value) for row in rows for value in row.values() if isinstance(value, float))
    assert "delayer: no difference that the instances can tell from chance" in experiment.notes(rows)
