"""The observer `dpcop`: totals add up, by whose eyes, in replay as live, and what it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import agentsim
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.errors import UserError
from agentsim.runtime.agent import Agent
from agentsim.runtime.gate import Gate
from agentsim.runtime.result import Result
from agentsim.runtime.view import Setup
from agentsim.testing import random_problem
from privacy.dpcop.model import Dpcop, Secret, Stake, priced
from privacy.dpcop.observer import DpcopCosts
from privacy.dpcop.prices import AdditivePrices
from privacy.dpcop.rational import RationalGate, rational
from solvers.adopt import Adopt
from solvers.dpop import Dpop
from solvers.dsa import Dsa
from solvers.leader import Leader
from solvers.mgm import Mgm
from solvers.n_leaders import NLeaders
from solvers.once import Once
from solvers.synchbb import SynchBB

BIT = Domain("bit", (0, 1))


def observed(problem: Problem, solver: type[Agent], *, seed: int = 0, **options: Any) -> tuple[Result, dict[str, Any]]:
    """Return a run's result and the findings of the observer with these options."""
    own = {key: options.pop(key) for key in ("view", "pricing", "coalition", "as") if key in options}
    result = agentsim.simulate(problem, solver, seed=seed, observers=[(DpcopCosts, own)], **options)
    return result, result.findings["dpcop"]


def random_dpcop(seed: int) -> Dpcop:
    """Return a random problem of which two agents own constraints over any variables."""
    rng = np.random.default_rng(seed)
    base = random_problem(rng, max_variables=4, max_cells=81)
    while not base.integral:
        base = random_problem(rng, max_variables=4, max_cells=81)
    names = list(base.variables)
    owned = []
    for k, owner in enumerate((base.agents[0], "guest", "guest")):
        scope = tuple(names[int(i)] for i in rng.choice(len(names), min(len(names), 1 + k % 2), replace=False))
        table = rng.integers(0, 4, tuple(base.variables[v].size for v in scope))
        owned.append(Constraint(f"p{k}", scope, table, owner=owner))
    return priced(
        Problem.build(
            base.variables.values(),
            [*base.constraints.values(), *owned],
            objective=base.objective,
            agents=[*base.agents, "guest"],
            constant=base.constant,
        ),
        seed=seed,
    )


def trio(constants: tuple[int, ...] = (1, 2, 3), objective: Any = "min", **stake: Any) -> Problem:
    """Return a problem of three agents: Ann has x, all have private costs of it, whose secrets are worth 10, 20, 40."""
    x = Variable("x", BIT, "ann", unary=[constants[0], 0], cost_range=(0, 3))
    private = [
        Constraint("b", ("x",), [constants[1], 0], owner="bob", cost_range=(0, 3)),
        Constraint("e", ("x",), [constants[2], 0], owner="eve", cost_range=(0, 3)),
    ]
    public = Constraint("c", ("x",), [0, 5], known_to="all")
    problem = Problem.build([x], [*private, public], objective=objective, agents=("ann", "bob", "eve"), constant=100)
    stakes = {}
    for agent, price in (("ann", 10), ("bob", 20), ("eve", 40)):
        secrets = tuple(Secret(f"{agent}{v}", agent, {"x": v}) for v in (0, 1))
        peers = [peer for peer in problem.agents if peer != agent]
        prices = {peer: dict.fromkeys([s.name for s in secrets], price) for peer in peers}
        stakes[agent] = Stake(secrets, AdditivePrices(prices), **stake)
    return Dpcop(problem, stakes).attached()


# Totals ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", [Leader, NLeaders, SynchBB, Dpop, Adopt, Mgm, Dsa, Once])
def test_totals_add_up(solver: type[Agent]) -> None:
    objectives = set()
    for seed in range(8):
        dpcop = random_dpcop(seed)
        result, found = observed(dpcop.attached(), solver, seed=seed, max_messages=400)
        sign = 1 if dpcop.problem.objective == "min" else -1
        objectives.add(sign)
        price = found["privacy_cost"]
        assert found["cost"] == as_text(result.cost)
        assert price == sum(agent["privacy_cost"] for agent in found["agents"].values())
        assert price == (found["curve"][-1][1] if found["curve"] else 0)
        assert [point[1] for point in found["curve"]] == sorted(point[1] for point in found["curve"])
        assert list(found["agents"]) == list(dpcop.problem.agents)
        assert found["contradicted"] == []
        for name, agent in found["agents"].items():
            prices = dpcop.stakes[name].price if name in dpcop.stakes else AdditivePrices()
            assert isinstance(prices, AdditivePrices)
            paid = sum(prices.prices[peer][s] for peer, told in agent["revelation"].items() for s in told)
            assert agent["privacy_cost"] == paid
            assert name not in agent["revelation"]
            if isinstance(agent["cost"], int):
                assert agent["total"] == agent["cost"] + sign * paid
        if isinstance(found["cost"], int):
            assert found["total"] == found["cost"] + sign * price
            assert found["cost"] == found["public_cost"] + sum(agent["cost"] for agent in found["agents"].values())
            assert found["public_cost"] == public_cost(dpcop, result.assignment)
        else:
            assert found["public_cost"] is None
    assert objectives == {1, -1}


def as_text(cost: float | None) -> object:
    return cost if cost is None or math.isfinite(cost) else ("inf" if cost > 0 else "-inf")


def public_cost(dpcop: Dpcop, assignment: Mapping[str, Any]) -> float:
    """Return what is no agent's alone."""
    problem, values = dpcop.problem, dpcop.problem.indices(assignment)
    shared = [c for c in problem.constraints.values() if len(problem.known_to(c)) > 1]
    return problem.constant + sum(c.table[tuple(values[v] for v in c.scope)].item() for c in shared)


def test_a_run_by_hand() -> None:
    """x=1 costs 5 in public and nothing else, x=0 costs 6 in private: Ann asks about both, and nobody learns more."""
    result, found = observed(trio(), Leader)
    assert (result.assignment, result.cost) == ({"x": 1}, 105)
    assert found["agents"] == {
        "ann": {"cost": 0, "revelation": {}, "privacy_cost": 0, "total": 0, "reward": "inf"},
        "bob": {"cost": 0, "revelation": {"ann": ["bob0", "bob1"]}, "privacy_cost": 40, "total": 40, "reward": "inf"},
        "eve": {"cost": 0, "revelation": {"ann": ["eve0", "eve1"]}, "privacy_cost": 80, "total": 80, "reward": "inf"},
    }
    assert (found["cost"], found["public_cost"], found["privacy_cost"], found["total"]) == (105, 105, 120, 225)
    assert found["curve"] == [[2, 60], [4, 120]]
    assert (found["pricing"], found["policy"], found["coalition"]) == ("full", "zero", False)
    assert (found["notes"], found["exact"], found["abandoned"]) == ([], True, None)
    assert len(found["unused"]) == 2
    assert all("be" in label for label in found["unused"])  # what is asked may be better than the best; none beats that
    assert "public" in found["assumes"]


def test_when_maximising_prices_are_subtracted() -> None:
    result, found = observed(trio((1, 2, 3), "max"), Leader)
    assert (result.assignment, result.cost) == ({"x": 0}, 106)
    assert (found["public_cost"], found["policy"]) == (100, "own_min")
    assert [agent["cost"] for agent in found["agents"].values()] == [1, 2, 3]
    assert [agent["total"] for agent in found["agents"].values()] == [1, 2 - 40, 3 - 80]
    assert found["total"] == 106 - 120


def test_secrets_that_were_not_asked_for_are_not_revealed() -> None:
    """Ann's own cost of x=0 is 9 when x=1 costs 5 in all."""
    problem = trio()
    x = replace(problem.variables["x"], unary=np.array([9, 0]), cost_range=(0, 9))
    result, found = observed(replace(problem, variables={"x": x}), Leader, direction="descending")
    assert result.cost == 105
    assert found["agents"]["bob"]["revelation"] == {"ann": ["bob1"]}
    assert found["privacy_cost"] == 60


def test_an_infeasible_problem() -> None:
    problem = trio()
    b = replace(problem.constraints["b"], table=np.array([math.inf, math.inf]), cost_range=None)
    result, found = observed(replace(problem, constraints={**problem.constraints, "b": b}), Leader)
    assert result.status == "infeasible"
    assert (found["cost"], found["total"], found["public_cost"]) == ("inf", "inf", None)
    assert found["agents"]["bob"]["cost"] == "inf"
    assert found["agents"]["eve"]["cost"] == 3
    assert found["agents"]["bob"]["revelation"] == {"ann": ["bob0", "bob1"]}  # hard secrets are learnt too


def test_an_agent_without_a_stake() -> None:
    problem = trio()
    dpcop = Dpcop.of(problem)
    assert dpcop is not None
    only = replace(dpcop, stakes={"bob": dpcop.stakes["bob"]}).attached()
    _, found = observed(only, Leader)
    assert found["agents"]["eve"] == {"cost": 0, "revelation": {}, "privacy_cost": 0, "total": 0, "reward": "inf"}
    assert found["privacy_cost"] == 40


# Runs that were abandoned or cut --------------------------------------------------------------------------------------


def test_an_abandoned_run_has_no_cost() -> None:
    """Eve leaves when Ann asks her again; the first answers are paid for."""
    problem = trio(reward=1000.0)
    dpcop = Dpcop.of(problem)
    assert dpcop is not None
    stakes = {**dpcop.stakes, "eve": replace(dpcop.stakes["eve"], reward=41.0, price=AdditivePrices(
        {"ann": {"eve0": 40, "eve1": 41}}))}  # fmt: skip
    result, found = observed(replace(dpcop, stakes=stakes).attached(), Leader, gates=rational())
    assert result.status == "abandoned"
    assert (result.cost, found["cost"], found["total"], found["public_cost"]) == (None,) * 4
    assert all(agent["cost"] is None and agent["total"] is None for agent in found["agents"].values())
    assert found["abandoned"] == result.to_json()["abandoned"]
    assert found["abandoned"]["agent"] == "eve"
    assert found["agents"]["eve"]["revelation"] == {"ann": ["eve0"]}
    assert found["agents"]["eve"]["reward"] == 41


def test_a_log_that_was_cut_has_prices_and_no_cost(tmp_path: Path) -> None:
    path = tmp_path / "run.amlog"
    _, whole = observed(trio(), Leader, log=path)
    path.write_bytes(path.read_bytes()[:-400])
    cut = agentsim.replay(path, observers=[DpcopCosts], solver=Leader)
    assert not cut.complete
    found = cut.findings["dpcop"]
    assert found["cost"] is None
    assert 0 <= found["privacy_cost"] <= whole["privacy_cost"]


# By whose eyes --------------------------------------------------------------------------------------------------------


def revelations(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {agent: about["revelation"] for agent, about in found["agents"].items() if about["revelation"]}


def test_views() -> None:
    """Ann asks and is answered by both; she publishes the total, which tells each of them the sum of the others."""
    bob, eve = ["bob0", "bob1"], ["eve0", "eve1"]
    run = {"leader": "ann", "publish": "totals"}
    # The solution's total is 0 beyond what is public, so that all costs of x=1 are 0.
    everybody = {
        "ann": {"bob": ["ann1"], "eve": ["ann1"]},
        "bob": {"ann": bob, "eve": ["bob1"]},
        "eve": {"ann": eve, "bob": ["eve1"]},
    }
    assert revelations(observed(trio(), Leader, view="all", **run)[1]) == everybody
    to_ann = {"bob": {"ann": bob}, "eve": {"ann": eve}}
    assert revelations(observed(trio(), Leader, view="agent:ann", **run)[1]) == to_ann
    to_bob = {"ann": {"bob": ["ann1"]}, "eve": {"bob": ["eve1"]}}
    assert revelations(observed(trio(), Leader, view="agent:bob", **run)[1]) == to_bob
    together = {"eve": {"ann": eve, "bob": eve}}
    assert revelations(observed(trio(), Leader, view="coalition:ann+bob", **run)[1]) == together
    pairs = {
        "ann": {"bob": ["ann1"], "eve": ["ann1"]},
        "bob": {"ann": bob, "eve": bob},
        "eve": {"ann": eve, "bob": eve},
    }
    found = observed(trio(), Leader, view="coalitions:2", **run)[1]
    assert revelations(found) == pairs
    assert found["privacy_cost"] == 2 * 10 + 4 * 20 + 4 * 40
    all_but_one = observed(trio(), Leader, coalition=True, **run)[1]
    assert revelations(all_but_one) == pairs
    assert all_but_one["coalition"] is True


def test_coalitions_subtract_what_their_members_cost() -> None:
    """Dpop in a chain: Ann is told the sum of Bob's and Eve's costs; with Bob's help it is Eve's."""
    x = Variable("x", BIT, "ann")
    y = Variable("y", BIT, "bob", unary=[1, 2], cost_range=(0, 3))
    z = Variable("z", BIT, "eve", unary=[2, 1], cost_range=(0, 3))
    same = [[0, math.inf], [math.inf, 0]]
    problem = Problem.build(
        [x, y, z],
        [Constraint("xy", ("x", "y"), same), Constraint("yz", ("y", "z"), same)],
    )
    dpcop = priced(problem)
    run: dict[str, Any] = {"root": "x", "order": "x,y,z"}
    assert revelations(observed(dpcop.attached(), Dpop, view="agent:ann", **run)[1]) == {}
    with_bob = revelations(observed(dpcop.attached(), Dpop, view="coalition:ann+bob", **run)[1])
    assert with_bob == {"eve": {"ann": ["z=0", "z=1"], "bob": ["z=0", "z=1"]}}
    with_eve = revelations(observed(dpcop.attached(), Dpop, view="coalition:ann+eve", **run)[1])
    assert with_eve == {"bob": {"ann": ["y=0", "y=1"], "eve": ["y=0", "y=1"]}}
    alone = revelations(observed(dpcop.attached(), Dpop, **run)[1])
    assert alone == {"eve": {"bob": ["z=0", "z=1"]}}
    assert revelations(observed(dpcop.attached(), Dpop, coalition="true", **run)[1]) == {**with_bob, **with_eve}


def test_in_part() -> None:
    """Ann is told the sum of two costs of Bob's from 0 to 3 each, which is 2."""
    variables = [Variable(v, Domain("one", (0,)), "ann") for v in "xy"]
    private = [Constraint(v, (v,), [1], owner="bob", cost_range=(0, 3)) for v in "xy"]
    problem = Problem.build(variables, [*private], agents=("ann", "bob"))
    secrets = tuple(Secret(v, "bob", {v: 0}) for v in "xy")
    priced_so = Dpcop(problem, {"bob": Stake(secrets, AdditivePrices({"ann": {"x": 10, "y": 30}}))}).attached()
    for pricing, share in (("full", 0), ("bits", 1 - math.log2(3) / 2), ("probability", 1 / 9)):
        found = observed(priced_so, Leader, pricing=pricing)[1]
        assert found["pricing"] == pricing
        assert found["privacy_cost"] == pytest.approx(40 * share)
        told = {"ann": {"x": pytest.approx(share), "y": pytest.approx(share)}} if share else {}
        assert found["agents"]["bob"]["revelation"] == told


def with_gates(problem: Problem, solver: type[Agent], **run: Any) -> tuple[dict[str, Any], dict[str, RationalGate]]:
    """Return the observer's findings, and the gates as they were in the end."""
    gates: dict[str, RationalGate] = {}

    def make(setup: Setup, cls: type[Agent]) -> Mapping[str, Gate]:
        made = rational()(setup, cls)
        gates.update({agent: gate for agent, gate in made.items() if isinstance(gate, RationalGate)})
        return made

    result, found = observed(problem, solver, gates=make, **run)
    assert result.abandoned is None
    return found, gates


@pytest.mark.parametrize("solver", [Leader, NLeaders, SynchBB, Dpop])
def test_the_observer_sees_no_less_than_gates_do(solver: type[Agent]) -> None:
    gates_in_all = 0
    for seed in range(8):
        dpcop = random_dpcop(seed)
        if dpcop.problem.objective == "max":
            continue
        stakes = {agent: replace(stake, reward=10**9) for agent, stake in dpcop.stakes.items()}
        found, gates = with_gates(replace(dpcop, stakes=stakes, policy="zero").attached(), solver, seed=seed)
        gates_in_all += len(gates)
        for agent, gate in gates.items():
            about = found["agents"][agent]
            assert gate.ledger.price <= about["privacy_cost"]
            for peer in gate.ledger.revelation.peers:
                for secret in gate.ledger.stake.secrets:
                    if gate.ledger.revelation.share(peer, secret.name):
                        assert secret.name in about["revelation"][peer]
    assert gates_in_all > 10


def test_what_third_parties_tell_is_seen_by_the_observer_alone() -> None:
    """Eve leads, has no costs of note, and publishes the total: that tells Ann what Bob's answer was."""
    problem = trio((0, 2, 0), reward=10.0**9)
    e = replace(problem.constraints["e"], table=np.array([0, 0]), cost_range=(0, 0))
    x = replace(problem.variables["x"], cost_range=(0, 0), unary=np.array([0, 0]))
    problem = replace(problem, variables={"x": x}, constraints={**problem.constraints, "e": e})
    found, gates = with_gates(problem, Leader, leader="eve", publish="totals")
    assert found["agents"]["bob"]["revelation"] == {"ann": ["bob0"], "eve": ["bob0"]}
    assert gates["bob"].ledger.revelation.peers == ("eve",)
    assert gates["bob"].ledger.price == 20


# Replay, and what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", [Leader, NLeaders, Dpop, Adopt, Mgm])
def test_replay_finds_the_same(solver: type[Agent], tmp_path: Path) -> None:
    views: list[Any] = [
        (DpcopCosts, {"as": "a"}),
        (DpcopCosts, {"as": "b", "pricing": "bits", "coalition": True}),
        (DpcopCosts, {"as": "c", "view": "coalition:ann+eve", "pricing": "probability"}),
    ]
    for reward in (1e6, 30.0):
        path = tmp_path / f"{reward}.amlog"
        options: dict[str, Any] = {"network": "uniform:1,10", "gates": rational(), "log": path}
        live = agentsim.simulate(trio(reward=reward), solver, observers=views, seed=3, **options)
        again = agentsim.replay(path, observers=views, solver=solver)
        assert again.findings == live.findings
        assert json.loads(json.dumps(live.to_json()))["findings"] == live.findings


def test_a_redacted_log_has_nothing_to_price(tmp_path: Path) -> None:
    path = tmp_path / "run.amlog"
    found = observed(trio(), Leader, log=path, redact=True)[1]  # live it is with those who know
    assert found["privacy_cost"] == 120
    with pytest.raises(UserError, match=r"observer dpcop: private costs were left out of this log \(--redact\)"):
        agentsim.replay(path, observers=[DpcopCosts], solver=Leader)


def test_a_solver_without_a_reader_is_not_analysed() -> None:
    class Silent(Leader):
        reader = None

    _, found = observed(trio(), Silent)
    assert found == {"solver_analysed": False, "note": "Silent: not analysed, it has no reader"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colour": "red"}, "observer dpcop: no option colour; it has view, as, pricing"),
        ({"pricing": "gold"}, "privacy.pricing"),
        ({"coalition": "maybe"}, "privacy.coalition: 'maybe' must be true or false"),
        ({"view": "wire:ann>bob"}, "observer dpcop: a wire is nobody's, so nothing has a price for it"),
        ({"view": "agent:carol"}, "no agent is called 'carol'"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        agentsim.simulate(trio(), Leader, observers=[(DpcopCosts, options)])


def test_problems_that_have_no_price() -> None:
    with pytest.raises(UserError, match="has no privacy section, so nothing has a price"):
        observed(replace(trio(), extras={}), Leader)
    fractions = priced(Problem.build([Variable("x", BIT, "ann", unary=[0.5, 1]), Variable("y", BIT, "bob")]))
    with pytest.raises(UserError, match="costs must be whole numbers"):
        observed(fractions.attached(), Leader)


def test_it_goes_by_another_name() -> None:
    result = agentsim.simulate(trio(), Leader, observers=[(DpcopCosts, {"as": "bill"})])
    assert list(result.findings) == ["bill"]


def test_a_run_that_was_abandoned_has_no_solution_to_bill() -> None:
    """Values that were held together until then are no agreement; what was revealed by then stays paid for."""
    section = Dpcop.of(agentsim.load(Path(__file__).parents[3] / "scenarios" / "problems" / "meeting_of_two.yaml"))
    assert section is not None
    found = []
    for reward in range(21, 61):
        stakes = {agent: replace(stake, reward=reward) for agent, stake in section.stakes.items()}
        problem = replace(section, stakes=stakes).attached()
        for solver in (Adopt, SynchBB):
            result = agentsim.simulate(problem, solver, gates=rational(), observers=[DpcopCosts])
            if result.status == "abandoned" and result.cost is not None:
                found.append(result.findings["dpcop"])
    assert found, "no run held values when it was abandoned"
    assert all((bill["cost"], bill["total"], bill["public_cost"]) == (None, None, None) for bill in found)
    assert any(bill["privacy_cost"] > 0 for bill in found)
