"""The exact adversary `consistent`: by hand, by sampling where there are too many profiles, and what it refuses."""

import math
from typing import Any

import numpy as np
import pytest

from agentsim import (
    Constraint,
    Domain,
    Problem,
    UserError,
    Variable,
    replay,
    simulate,
)
from privacy.adversaries.consistent import Consistent
from privacy.adversaries.facts import LeastCost
from privacy.adversaries.possible import Possible, clopper_pearson
from privacy.adversaries.profiles import Cells
from privacy.vps.metrics import GAINS, full_loss
from tests.privacy.adversaries.enumerating import chain, found, wide

# By hand -------------------------------------------------------------------------------------------------------------


def test_dpop_on_a_chain_by_hand() -> None:
    """Rooted at x, z's table tells y both of z's costs; y's, which has z's in it, tells x little of each."""
    result = simulate(chain(), "dpop", root="x", observers=[Consistent])
    what = result.findings["consistent"]
    assert what["prior"] == {"source": "declared", "range": [1, 3], "bins": None}
    assert what["contradicted"] == what["at_least"] == what["notes"] == []
    assert what["ignored"] == {}
    assert what["error"] == {"a": 0.0, "b": 0.0, "c": 0.0}
    assert what["joint"]["c"] == 0.0
    # min(c(0) + 2, c(1)) and min(c(0), c(1) + 2) of c = (2, 2): both 2, and from 1 to 3 nothing else has these.
    assert what["matrix"]["b"] == {"a": 0.0, "c": pytest.approx(2 * math.log2(3))}
    assert (what["left"]["b"], what["profiles"]["b"]) == (1, 9)
    assert what["curve"]["b"] == [[1.0, pytest.approx(2 * math.log2(3))]]
    # y = 0: the least of b(0) + 2 + c(..) with y's constraint to x, which x reads under each value of its own.
    assert 0 < what["joint"]["a"] < 4 * math.log2(3)
    assert what["matrix"]["a"]["b"] + what["matrix"]["a"]["c"] < what["joint"]["a"]


def test_a_wire_knows_no_costs() -> None:
    what = found(chain(), "dpop", view="wire:c>b")
    assert what["left"] == {"wire:c>b": 1}
    assert what["matrix"] == {"wire:c>b": {"a": 0.0, "b": 0.0, "c": pytest.approx(2 * math.log2(3))}}
    assert what["loss"] == {"a": 0.0, "b": 0.0, "c": pytest.approx(1.0)}


def test_example_4_of_the_paper_as_logic() -> None:
    """Some value costs at most 2, some 1, some 3: only the least bound says anything, and it says .5488 bits."""
    cells = Cells(("x",) * 4, (0, 1, 2, 3), (4,) * 4, None, {"x": np.arange(4)})
    some = LeastCost(np.ones(4, np.int64), np.arange(4)[:, None])
    possible = Possible(cells, 1000)
    assert [possible.learn([(1.0, some)], -math.inf, bound) for bound in (2, 1, 3, 1)] == [True, True, False, False]
    assert possible.bits == pytest.approx(8 - math.log2(4**4 - 3**4))
    assert possible.bits == pytest.approx(0.548789, abs=1e-6)
    assert (possible.left, possible.in_all) == (4**4 - 3**4, 4**4)


def test_a_fact_put_off_bounds_no_cost_that_is_not_in_it() -> None:
    """Either the level of cell 0 is at most 1 or that of cell 1 is 0; where a value is forbidden there is no cell."""
    at = {name: np.array([k]) for k, name in enumerate("xyz")}
    cells = Cells(("x", "y", "z"), (0, 0, 0), (4,) * 3, None, at)
    some = LeastCost(np.array([1, 2]), np.array([[-1, 0], [-1, 1]]))
    possible = Possible(cells, 4)
    assert not possible.learn([(1.0, some)], -math.inf, 2)
    assert not possible.exact
    assert all((possible.posterior(cell) == 0.25).all() for cell in range(3))


def test_nobody_private_and_nobody_else() -> None:
    d = Domain("d", (0, 1))
    bare = Problem.build([Variable("x", d), Variable("y", d)], [Constraint("c", ("x", "y"), np.eye(2))])
    what = found(bare, "dpop")
    assert what["joint"] == {"x": 0.0, "y": 0.0}
    assert what["matrix"] == {"x": {}, "y": {}}
    assert what["loss"] == {"x": None, "y": None}
    alone = found(chain(("a", "a", "a")), "synchbb")
    assert alone["joint"] == {"a": 0.0}
    assert alone["loss"] == {"a": None}


def test_only_agents_with_a_variable_look_and_the_idle_one_learns_nothing() -> None:
    problem = chain()
    idle = Problem.build(problem.variables.values(), problem.constraints.values(), agents=("idle",))
    assert set(found(idle, "dpop")["joint"]) == {"a", "b", "c"}
    assert found(idle, "dpop", view="agent:idle")["joint"] == {"idle": 0.0}


def test_losses_are_shares_of_the_full_loss() -> None:
    for metric in GAINS:
        what = found(chain(), "brute-force", metric=metric)
        full = full_loss(metric, 2, 3)
        rows = what["matrix"]
        for agent, p in what["loss"].items():
            seen = [row[agent] for row in rows.values() if agent in row]
            assert len(seen) == 2
            assert p == pytest.approx(sum(seen) / 2 / full)
            assert 0 <= p <= 1


# Too many profiles ---------------------------------------------------------------------------------------------------


def test_the_interval_of_sampling_holds_the_exact_loss() -> None:
    cases = covered = near = 0
    for seed in range(9):
        for solver in ("dpop", "adopt", "synchbb"):
            problem = wide(seed)
            exact = found(problem, solver)
            assert set(exact["method"].values()) == {"exact"}
            options = {"limit": 40, "samples": 1500, "seed": seed}
            result = simulate(problem, solver, observers=[(Consistent, options)])
            sampled = result.findings["consistent"]
            assert replay(result.log, observers=[(Consistent, options)]).findings["consistent"] == sampled
            for viewer, method in sampled["method"].items():
                if method == "exact":
                    assert sampled["joint"][viewer] == pytest.approx(exact["joint"][viewer])
                    continue
                assert viewer not in sampled["curve"]
                assert viewer not in sampled["together"]
                low, high = sampled["interval"][viewer]
                cases += 1
                covered += low - 1e-9 <= exact["joint"][viewer] <= (math.inf if high is None else high + 1e-9)
                if viewer in sampled["at_least"]:
                    assert high is None
                    assert sampled["error"][viewer] is None
                    assert sampled["joint"][viewer] == low
                    continue
                assert low <= sampled["joint"][viewer] <= high
                off = abs(sampled["joint"][viewer] - exact["joint"][viewer])
                near += off <= 4 * sampled["error"][viewer] + 1e-9
    assert cases >= 40
    assert covered / cases >= 0.95
    assert near / cases >= 0.8


def test_sampling_finds_the_exact_marginals() -> None:
    exact, sampled = found(wide(1), "adopt"), found(wide(1), "adopt", limit=40, samples=200_000)
    viewers = [v for v, method in sampled["method"].items() if method == "monte carlo" and v not in sampled["at_least"]]
    assert viewers
    for viewer in viewers:
        assert sampled["joint"][viewer] == pytest.approx(exact["joint"][viewer], abs=5 * sampled["error"][viewer])
        for subject, lost in sampled["matrix"][viewer].items():
            assert lost == pytest.approx(exact["matrix"][viewer][subject], abs=0.05)


def test_sampling_with_weights_finds_the_exact_loss() -> None:
    weights = {f"x{i}": np.tile([0.1, 0.2, 0.3, 0.4], (2, 1)) for i in range(5)}
    exact = found(wide(1), "adopt", weights=weights)
    sampled = found(wide(1), "adopt", weights=weights, limit=40, samples=100_000)
    viewers = [v for v, method in sampled["method"].items() if method == "monte carlo" and v not in sampled["at_least"]]
    assert viewers
    for viewer in viewers:
        assert sampled["joint"][viewer] == pytest.approx(exact["joint"][viewer], abs=5 * sampled["error"][viewer])


def test_without_any_sample_that_fits_the_loss_is_a_lower_bound() -> None:
    exact, sampled = found(wide(2), "dpop"), found(wide(2), "dpop", limit=4, samples=1)
    assert sampled["at_least"]
    for viewer in sampled["at_least"]:
        assert sampled["method"][viewer] == "monte carlo"
        assert sampled["joint"][viewer] <= exact["joint"][viewer]


def test_a_stream_of_ones_own_per_seed_and_viewer() -> None:
    one, again, other = (found(wide(1), "adopt", limit=40, samples=2000, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one["joint"] != other["joint"]


def test_clopper_and_pearson() -> None:
    assert clopper_pearson(5, 10) == pytest.approx((0.187086, 0.812914), abs=1e-6)
    assert clopper_pearson(0, 10) == pytest.approx((0.0, 1 - 0.025**0.1))
    assert clopper_pearson(10, 10) == pytest.approx((0.025**0.1, 1.0))
    low, high = clopper_pearson(7, 100_000)
    assert (low, high) == pytest.approx((2.8144e-5, 14.4223e-5), rel=1e-3)


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"metric": "bits"}, "metric=bits"),
        ({"limit": 0}, "limit=0"),
        ({"limit": "many"}, "limit=many"),
        ({"samples": -1}, "samples=-1"),
        ({"seed": -1}, "seed=-1"),
        ({"bins": 3}, "no option bins"),
        ({"prior": "1..1"}, "true private costs of x, y, z"),
        ({"prior": "1..2.5"}, "whole numbers"),
        ({"prior": "1..100", "limit": 50}, "100 possible costs"),
        ({"weights": "x"}, "from Python"),
        ({"weights": {"w": [[1.0]]}}, "no variable w"),
        ({"weights": {"x": [[0.5, 0.5]]}}, "shape"),
        ({"weights": {"x": [[0.5, 0.5, 0.5], [1, 0, 0]]}}, "rows of sum 1"),
        ({"weights": {"x": [[1.5, -0.5, 0], [1, 0, 0]]}}, "probabilities"),
        ({"weights": {"x": [[0, 0.5, 0.5], [0, 0.5, 0.5]]}}, "true private costs of x"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        found(chain(), "dpop", **options)


def test_fractional_costs_are_refused() -> None:
    d = Domain("d", (0, 1))
    with pytest.raises(UserError, match="whole numbers"):
        found(Problem.build([Variable("x", d, unary=np.array([0.5, 1]))]), "dpop")


def test_a_log_without_private_costs_is_refused() -> None:
    result = simulate(chain(), "dpop", redact=True)
    with pytest.raises(UserError, match="left out of this log"):
        replay(result.log, observers=["consistent"])


def test_an_observer_by_name() -> None:
    result = simulate(chain(), "dpop", observers=["consistent:metric=guess,limit=1000,as=exact"])
    assert result.findings["exact"]["metric"] == "guess"
    assert result.findings["exact"]["prior"]["source"] == "declared"
