"""Beliefs about private costs, case by case: what is said, what is public, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import pytest

import agentsim
from agentsim.dcop.problem import Constraint, Cost, Domain, Problem, Variable
from agentsim.errors import UserError
from agentsim.runtime.statements import CostIs, Term, Unanalysed
from agentsim.runtime.view import Setup
from agentsim.testing import Truth
from privacy.dpcop.belief import Belief, PrivateCosts, revealed
from privacy.dpcop.model import Dpcop, Secret, Stake, priced
from privacy.dpcop.prices import AdditivePrices
from privacy.dpcop.revelation import Distributions, KnownSecrets, Probabilities
from solvers.dpop import Dpop
from solvers.leader import Leader
from solvers.mgm2 import Mgm2
from solvers.n_leaders import NLeaders
from solvers.synchbb import SynchBB
from tests.privacy.dpcop.believing import BIT, Possible, belief_of, check_truth, foreign, setup_of, small_problem

# Single cases ---------------------------------------------------------------------------------------------------------


def two_of_bob(
    high: Cost = 3, first: Sequence[float] = (1, 0), second: Sequence[float] = (1, 3), **build: Any
) -> Problem:
    """Return a problem in which Bob has private costs of two variables of Ann's."""
    variables = [Variable("x", BIT, "ann"), Variable("y", BIT, "ann")]
    constraints = [
        Constraint("bx", ("x",), first, owner="bob", cost_range=(0, high)),
        Constraint("by", ("y",), second, owner="bob", cost_range=(0, high)),
    ]
    return Problem.build(variables, constraints, agents=("ann", "bob"), **build)


def answer(setup: Setup, cost: Cost, **values: int) -> CostIs:
    """Return the statement of Bob's answer."""
    return CostIs("answer", ("cost",), (Term(("bob",), "share", values),), "==", cost)


def about(dpcop: Dpcop, **entry: int) -> Secret:
    return next(s for s in dpcop.stakes["bob"].secrets if dict(s.entry) == entry)


def test_a_sum_of_two_secrets() -> None:
    dpcop = priced(two_of_bob())
    setup = setup_of(dpcop.problem, Leader)
    belief = Belief(PrivateCosts(dpcop, setup), ("ann",))
    assert belief.distribution(about(dpcop, x=0)) == (0.25,) * 4
    assert belief.hear([answer(setup, 2, x=0, y=0)])  # 0+2, 1+1, 2+0
    assert belief.distribution(about(dpcop, x=0)) == pytest.approx((1 / 3, 1 / 3, 1 / 3, 0))
    assert belief.distribution(about(dpcop, y=0)) == pytest.approx((1 / 3, 1 / 3, 1 / 3, 0))
    assert belief.distribution(about(dpcop, x=1)) == (0.25,) * 4
    assert not belief.hear([answer(setup, 2, x=0, y=0)])
    assert belief.hear([answer(setup, 4, x=0, y=1)])  # the first is 1 at least, the second 2 at least
    assert belief.distribution(about(dpcop, x=0)) == (0, 0.5, 0.5, 0)
    assert belief.distribution(about(dpcop, y=0)) == (0.5, 0.5, 0, 0)
    assert belief.distribution(about(dpcop, y=1)) == (0, 0, 0.5, 0.5)
    assert [belief.true_level(about(dpcop, **e)) for e in ({"x": 0}, {"y": 0}, {"y": 1})] == [1, 1, 3]


def test_the_three_forms_of_what_is_revealed() -> None:
    dpcop = priced(two_of_bob(second=(1, 0)))
    setup = setup_of(dpcop.problem, Leader)
    belief = Belief(PrivateCosts(dpcop, setup), ("ann",))
    secrets = dpcop.stakes["bob"].secrets
    belief.hear([answer(setup, 2, x=0, y=0)])
    assert revealed({"ann": belief}, secrets, "full") == KnownSecrets()
    chances = revealed({"ann": belief}, secrets, "probability")
    assert isinstance(chances, Probabilities)
    assert chances.share("ann", "x=0") == pytest.approx((1 / 3 - 1 / 4) / (1 - 1 / 4))
    assert chances.share("ann", "x=1") == 0
    bits = revealed({"ann": belief}, secrets, "bits")
    assert isinstance(bits, Distributions)
    assert bits.share("ann", "x=0") == pytest.approx(1 - math.log2(3) / 2)
    assert bits.share("ann", "x=1") == 0
    belief.hear([answer(setup, 0, x=1, y=1)])  # both are 0
    assert revealed({"ann": belief}, secrets, "full") == KnownSecrets({"ann": frozenset({"x=1", "y=1"})})
    belief.hear([answer(setup, 1, x=0, y=1)])
    for pricing in ("full", "bits", "probability"):
        everything = revealed({"ann": belief}, secrets, pricing)  # type: ignore[arg-type]  # a literal
        assert all(everything.share("ann", secret.name) == 1 for secret in secrets)


def test_a_belief_that_the_true_cost_is_unlikely_reveals_nothing_of_it() -> None:
    """Of 0+3, 1+2, 2+1 and 3+0 three have at least 1 for x=0; told that its sum with y=1 is 4, at least 1 is sure."""
    dpcop = priced(two_of_bob(first=(3, 0), second=(0, 0)))
    setup = setup_of(dpcop.problem, Leader)
    belief = Belief(PrivateCosts(dpcop, setup), ("ann",))
    statement = replace(answer(setup, 4, x=0, y=0), relation="<=")
    assert belief.hear([statement])
    secret = about(dpcop, x=0)
    assert belief.distribution(secret)[belief.true_level(secret)] == pytest.approx(2 / 13)  # 3+0 and 3+1
    assert revealed({"ann": belief}, [secret], "probability") == Probabilities()


def test_a_lie_that_fits_no_costs_is_noticed_and_counts_for_nothing() -> None:
    dpcop = priced(two_of_bob())
    setup = setup_of(dpcop.problem, Leader)
    belief = Belief(PrivateCosts(dpcop, setup), ("ann",))
    belief.hear([answer(setup, 7, x=0, y=0)])  # two costs of at most 3
    assert belief.contradicted
    assert not belief.hear([answer(setup, 2, x=0, y=0)])
    for pricing in ("full", "bits", "probability"):
        nothing = revealed({"ann": belief}, dpcop.stakes["bob"].secrets, pricing)  # type: ignore[arg-type]  # a literal
        assert nothing == revealed({}, (), pricing)  # type: ignore[arg-type]


@pytest.mark.parametrize("objective", ["min", "max"])
def test_hard_secrets(objective: Literal["min", "max"]) -> None:
    worst = math.inf if objective == "min" else -math.inf
    x, y = Variable("x", BIT, "ann"), Variable("y", BIT, "ann")
    tables = [Constraint("bx", ("x",), [worst, 0], owner="bob"), Constraint("by", ("y",), [worst, 0], owner="bob")]
    dpcop = priced(Problem.build([x, y], tables, objective=objective, agents=("ann", "bob")))
    setup = setup_of(dpcop.problem, Leader)
    costs = PrivateCosts(dpcop, setup)
    assert costs.notes == ()
    belief = Belief(costs, ("ann",))
    assert belief.distribution(about(dpcop, x=0)) == (0.5, 0.5)
    belief.hear([answer(setup, math.inf, x=0, y=0)])  # one of them, or both
    assert belief.distribution(about(dpcop, x=0)) == pytest.approx((1 / 3, 2 / 3))
    assert [belief.true_level(about(dpcop, x=value)) for value in (0, 1)] == [1, 0]
    belief.hear([answer(setup, 0, x=1, y=1)])
    assert belief.distribution(about(dpcop, x=1)) == (1, 0)
    belief.hear([answer(setup, math.inf, x=0, y=1)])  # y=1 costs nothing
    assert belief.distribution(about(dpcop, x=0)) == (0, 1)
    assert belief.distribution(about(dpcop, y=0)) == (0.5, 0.5)


def test_what_is_forbidden_is_public_unless_secrets_are_hard() -> None:
    dpcop = priced(two_of_bob(first=(math.inf, 2)))
    setup = setup_of(dpcop.problem, Leader)
    belief = Belief(PrivateCosts(dpcop, setup), ("ann",))
    assert belief.distribution(about(dpcop, x=0)) == (1.0,)
    assert belief.true_level(about(dpcop, x=0)) == 0
    assert revealed({"ann": belief}, dpcop.stakes["bob"].secrets, "full") == KnownSecrets()
    assert not belief.hear([answer(setup, math.inf, x=0, y=0)])


def test_whether_zeros_and_infinities_are_hard_is_for_the_declared_range_to_say() -> None:
    """A range of costs that are not 0 makes an entry that is 0 a cost like others, and the forbidden one public."""
    for bounds, size in (((0, 3), 4), ((0, 0), 2), (None, 2)):
        table = Constraint("bx", ("x",), [0, math.inf], owner="bob", cost_range=bounds)
        dpcop = priced(Problem.build([Variable("x", BIT, "ann")], [table]))
        belief = Belief(PrivateCosts(dpcop, setup_of(dpcop.problem, Leader)), ("ann",))
        assert len(belief.distribution(about(dpcop, x=0))) == size


def test_two_functions_of_one_agent_over_the_same_variables_are_one_secret() -> None:
    """Their sum is what is secret: ranges add up, and all solvers speak of both at once."""
    x, y = Variable("x", BIT, "ann"), Variable("y", Domain("three", (0, 1, 2)), "ann")
    tables = [
        Constraint("one", ("x", "y"), [[0, 1, 2], [2, 2, 0]], owner="bob", cost_range=(0, 2)),
        Constraint("two", ("y", "x"), [[1, 0], [0, 1], [1, math.inf]], owner="bob", cost_range=(0, 1)),
    ]
    problem = Problem.build([x, y], tables)
    dpcop = priced(problem)
    assert len(dpcop.stakes["bob"].secrets) == 6
    for solver in (Leader, Dpop, SynchBB):
        setup = setup_of(problem, solver)
        belief = Belief(PrivateCosts(dpcop, setup), ("ann",))
        levels = [[belief.true_level(about(dpcop, x=a, y=b)) for b in range(3)] for a in range(2)]
        assert levels == [[1, 1, 3], [2, 3, 0]]
        assert len(belief.distribution(about(dpcop, x=0, y=0))) == 4
        assert len(belief.distribution(about(dpcop, x=1, y=2))) == 1
        check_truth(dpcop, solver, 0)


def test_which_part_of_a_secret_is_forbidden_matters_where_forbidden_tuples_count_a_number() -> None:
    """MGM-2's offers count 1,000,000 for each forbidden cost function, and Bob has two over the same variables."""
    x, y = Variable("x", Domain("one", (0,)), "ann"), Variable("y", BIT, "bob")
    tables = [
        Constraint("one", ("y", "x"), [[3], [-math.inf]], owner="bob"),
        Constraint("two", ("x", "y"), [[3, 1]], owner="bob"),
        Constraint("public", ("x", "y"), [[9, 8]]),
    ]
    problem = Problem.build([x, y], tables, objective="max")
    dpcop = priced(problem)
    setup = setup_of(problem, Mgm2)
    belief = Belief(PrivateCosts(dpcop, setup), ("ann",))
    terms = (
        Term(("y",), "local", {"x": 0, "x@bob": 0, "y": 0}),
        Term(("y",), "local", {"x": 0, "x@bob": 0, "y": 1}, -1.0),
    )
    gain = -9 - 3 - 3 - (-8 + 1_000_000 - 1)
    statement = CostIs("gain", ("gain",), terms, "==", gain, others="some", forbidden=1_000_000)
    assert Truth(setup).holds(statement)
    belief.hear([statement])
    assert not belief.contradicted
    for value in (0, 1):
        secret = about(dpcop, x=0, y=value)
        assert belief.distribution(secret)[belief.true_level(secret)] > 0


def test_ranges_that_nobody_declared_are_noted() -> None:
    problem = two_of_bob()
    undeclared = [replace(c, cost_range=None) for c in problem.constraints.values()]
    dpcop = priced(Problem.build(problem.variables.values(), undeclared))
    costs = PrivateCosts(dpcop, setup_of(dpcop.problem, Leader))
    assert len(costs.notes) == 1
    assert "2 of 2" in costs.notes[0]
    assert "between 0 and 3" in costs.notes[0]
    assert Belief(costs, ("ann",)).distribution(about(dpcop, x=0)) == (0.25,) * 4
    one = Problem.build(problem.variables.values(), [undeclared[0], problem.constraints["by"]])
    assert "1 of 2" in PrivateCosts(priced(one), setup_of(one, Leader)).notes[0]
    assert PrivateCosts(priced(problem), setup_of(problem, Leader)).notes == ()


def test_the_range_of_a_stake_comes_first() -> None:
    dpcop = priced(two_of_bob(), possible=(-2, 7))
    costs = PrivateCosts(dpcop, setup_of(dpcop.problem, Leader))
    assert costs.notes == ()
    assert Belief(costs, ("ann",)).distribution(about(dpcop, x=0)) == (0.1,) * 10


def test_what_is_told_and_not_used_is_counted() -> None:
    dpcop = priced(two_of_bob())
    setup = setup_of(dpcop.problem, Leader)
    belief = Belief(PrivateCosts(dpcop, setup), ("ann",))
    belief.hear([Unanalysed("that it is better", ("values",))])
    assert belief.unused == {"that it is better"}
    assert belief.exact
    belief.hear([CostIs("answer", ("cost",), (Term(("bob",), "unknown", {"x": 0}),), "==", 2)])
    assert not belief.exact


def test_who_shares_what_it_knows_believes_no_less() -> None:
    """Each of the others alone, and all of them together."""
    for seed in range(300, 315):
        problem = small_problem(seed)
        dpcop = priced(problem)
        if len(problem.agents) < 3:
            continue
        result = agentsim.simulate(problem, NLeaders)
        setup = setup_of(problem, NLeaders)
        alone = belief_of(dpcop, setup, NLeaders, result.log, "b")
        together = belief_of(dpcop, setup, NLeaders, result.log, "b", "c")
        for secret in foreign(dpcop, "b", "c"):
            one, both = alone.distribution(secret), together.distribution(secret)
            assert all(more == 0 for more, less in zip(both, one, strict=True) if less == 0)


@pytest.mark.parametrize(
    ("problem", "possible", "message"),
    [
        (two_of_bob(first=(0.5, 1)), None, "costs must be whole numbers"),
        (two_of_bob(high=2), None, "the costs of by lie between 1 and 3, outside of their declared range from 0 to 2"),
        (two_of_bob(), (0, 10**6), "1000001 possible costs of bx, more than 100000: narrow its range"),
        (two_of_bob(high=10**12, first=(0, 10**12)), (0, 10**12), "possible costs of bx"),
    ],
)
def test_what_cannot_be_counted_is_refused(problem: Problem, possible: Possible, message: str) -> None:
    dpcop = priced(problem, possible=possible)
    with pytest.raises(UserError, match=message):
        Belief(PrivateCosts(dpcop, setup_of(problem, Leader)), ("ann",))


def test_costs_that_hide_what_is_infinite_are_refused() -> None:
    x, y = Variable("x", BIT, "ann"), Variable("y", BIT, "ann")
    dear = Constraint("dear", ("x", "y"), [[0, 10**13]] * 2, known_to="all")
    problem = Problem.build([x, y], [dear, Constraint("by", ("y",), [0, math.inf], owner="bob")])
    with pytest.raises(UserError, match="too large to be told from infinite ones"):
        PrivateCosts(priced(problem), setup_of(problem, Leader))


def test_secrets_without_a_stake_are_unknown_too() -> None:
    """Beliefs are about all private costs: those that cost nothing to reveal hide others behind them."""
    problem = two_of_bob()
    some = Stake((Secret("s", "bob", {"x": 0}),), AdditivePrices({"ann": {"s": 5}}))
    dpcop = Dpcop(problem, {"bob": some})
    setup = setup_of(problem, Leader)
    belief = Belief(PrivateCosts(dpcop, setup), ("ann",))
    belief.hear([answer(setup, 2, x=0, y=0)])
    assert belief.distribution(some.secrets[0]) == pytest.approx((1 / 3, 1 / 3, 1 / 3, 0))
