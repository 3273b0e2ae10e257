"""Whether statements hold: `agentsim.testing.Truth` against going through all assignments, and by hand."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest

from agentsim import Agent, Constraint, Domain, Problem, Variable
from agentsim.dcop.problem import Cost
from agentsim.runtime.mechanisms import Clear, Pure
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import (
    Best,
    Chosen,
    CostIs,
    CostTable,
    Exponential,
    Nothing,
    Released,
    Rest,
    Softmax,
    Statement,
    Term,
    Unanalysed,
    ValueIs,
)
from agentsim.runtime.view import Setup
from agentsim.testing import Truth, holds, random_problem


class Tree(Agent):
    """A solver with a tree and costs that are shifted."""

    place = "tree"
    costs = "nonnegative"


class Plain(Agent):
    """A solver without a place for anybody."""


# By going through all assignments ------------------------------------------------------------------------------------


class Plodder:
    """The truth again, function by function, each time over all assignments of the problem."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self.problem = setup, setup.problem
        self.slack = 0 if self.problem.integral else 1e-8
        self.unary: dict[str, list[Cost]] = {}
        for v in self.problem.variables.values():
            costs = [0] * v.size if v.unary is None else v.unary.tolist()
            offset = setup.unary_offsets.get(v.name, 0) if v.unary is not None else 0
            self.unary[v.name] = [setup.sense * c + offset for c in costs]

    def everything(self) -> Iterator[dict[str, int]]:
        names = list(self.problem.variables)
        for values in product(*(range(v.size) for v in self.problem.variables.values())):
            yield dict(zip(names, values, strict=True))

    def evaluator(self, c: Constraint) -> str:
        """The deepest of its scope, or without a tree the last of the problem's order."""
        tree, names = self.setup.tree, list(self.problem.variables)
        return max(c.scope, key=tree.depth_of if tree is not None else names.index)

    def cost(self, term: Term | CostTable, values: Mapping[str, int], forbidden: Cost) -> Cost:
        nodes = set(term.parties)
        if term.rest == "subtree":
            tree = self.setup.tree
            assert tree is not None
            for name in self.problem.variables:
                above, at = {name}, name
                while (at := tree[at].parent) is not None:
                    above.add(at)
                if above & set(term.parties):
                    nodes.add(name)
        total: Cost = 0
        for name in nodes:
            cost = self.unary[name][values[name]]
            total += forbidden if cost == math.inf else cost
        for c in self.problem.constraints.values():
            if nodes & set(c.scope) if term.rest == "local" else self.evaluator(c) in nodes:
                cost = self.setup.sense * c.table[tuple(values[n] for n in c.scope)].item()
                total += forbidden if cost == math.inf else cost + self.setup.constraint_offsets.get(c.name, 0)
        return total

    def sums(self, said: CostIs) -> list[float]:
        if said.others == "some":
            return [
                sum(t.coefficient * self.cost(t, {**values, **t.context}, said.forbidden) for t in said.terms)
                for values in self.everything()
            ]
        return [
            sum(
                t.coefficient * min(self.cost(t, {**v, **t.context}, said.forbidden) for v in self.everything())
                for t in said.terms
            )
        ]

    def holds(self, said: Statement) -> bool:
        if isinstance(said, CostIs):
            sums, slack = self.sums(said), self.slack
            if said.relation == "<=":
                return any(s <= said.value + slack for s in sums)
            if said.relation == ">=":
                return any(s >= said.value - slack for s in sums)
            return any(s == said.value or abs(s - said.value) <= slack for s in sums)
        if isinstance(said, CostTable):
            for cell in product(*map(range, said.values.shape)):
                fixed = {**said.context, **dict(zip(said.axes, cell, strict=True))}
                cost = min(self.cost(said, {**v, **fixed}, math.inf) for v in self.everything())
                if cost != said.values[cell] and not abs(cost - said.values[cell]) <= self.slack:
                    return False
            return True
        assert isinstance(said, Chosen)
        local, d = Term((said.variable,), "local", {}), self.problem.variables[said.variable].size
        for values in self.everything():
            values.update(said.context)
            costs = [self.cost(local, {**values, said.variable: i}, said.forbidden) for i in range(d)]
            if min(costs) >= said.forbidden - self.slack or self.may_choose(said, costs):
                return True
        return False

    def may_choose(self, said: Chosen, costs: list[Cost]) -> bool:
        law, own = said.law, costs[said.value]
        if isinstance(law, Best):
            lower = costs[: said.value] if law.ties == "lowest" else []
            return own <= min(costs) + self.slack and all(cost > own - self.slack for cost in lower)
        if isinstance(law, Softmax) and law.bounds is None and law.kept_with == 0:
            return own < math.inf
        return True


def random_context(rng: np.random.Generator, problem: Problem, without: str = "") -> dict[str, int]:
    names = [n for n in problem.variables if n != without and rng.random() < 0.5]
    return {n: int(rng.integers(problem.variables[n].size)) for n in names}


def random_statement(rng: np.random.Generator, plodder: Plodder) -> Statement:
    """Return a statement of a kind that speaks of costs, as often true as not."""
    problem, names = plodder.problem, list(plodder.problem.variables)
    forbidden: Cost = math.inf if rng.random() < 0.5 else 50
    kind = rng.random()
    if kind < 0.4:
        variable = str(rng.choice(names))
        laws = (Best(), Best("any"), Softmax(None, 0.0, True), Softmax((0, 9), 0.0, True), Softmax(None, 0.5, True))
        value = int(rng.integers(problem.variables[variable].size))
        law = laws[int(rng.integers(5))]
        return Chosen("chosen", (), variable, value, random_context(rng, problem, variable), law, forbidden)
    rests: tuple[Rest, ...] = ("none", "local") if plodder.setup.tree is None else ("none", "local", "subtree")

    def parties() -> tuple[str, ...]:
        count = int(rng.integers(1, min(2, len(names)) + 1))
        return tuple(str(n) for n in rng.choice(names, count, replace=False))

    if kind < 0.5:
        axes = tuple(str(n) for n in rng.choice(names, min(2, len(names)), replace=False))
        context = {n: v for n, v in random_context(rng, problem).items() if n not in axes}
        shape = tuple(problem.variables[n].size for n in axes)
        table = CostTable(
            "table", (), parties(), rests[int(rng.integers(len(rests)))], axes, np.zeros(shape), 0, context
        )
        for cell in product(*map(range, shape)):
            fixed = {**context, **dict(zip(axes, cell, strict=True))}
            table.values[cell] = min(plodder.cost(table, {**v, **fixed}, math.inf) for v in plodder.everything())
        if rng.random() < 0.5:
            table.values[tuple(int(rng.integers(n)) for n in shape)] -= 1
        return table
    terms = tuple(
        Term(
            parties(),
            rests[int(rng.integers(len(rests)))],
            random_context(rng, problem),
            float(rng.choice([1, 1, -1, 2, 0.5])),
        )
        for _ in range(int(rng.integers(1, 4)))
    )
    said = CostIs("sum", (), terms, "==", 0, 0, None, "some" if rng.random() < 0.5 else "best", forbidden)
    sums = [s for s in plodder.sums(said) if not math.isnan(s)] or [0.0]
    near = sums[int(rng.integers(len(sums)))] + float(rng.choice([0, 0, 1, -1, 40]))
    return dataclasses.replace(said, value=near, relation=("<=", "==", ">=")[int(rng.integers(3))])


@pytest.mark.parametrize("solver", [Tree, Plain])
def test_equals_going_through_all_assignments(solver: type[Agent]) -> None:
    told: dict[tuple[str, str], int] = {}
    for seed in range(60):
        rng = np.random.default_rng([seed, 2])
        problem = random_problem(rng, max_variables=4, max_cells=36)
        setup = prepare(problem, solver, "plain", {})
        truth, plodder = Truth(setup), Plodder(setup)
        for _ in range(25):
            said = random_statement(rng, plodder)
            expected = plodder.holds(said)
            assert truth.holds(said) == expected, (seed, said)
            what = type(said).__name__ + str(getattr(said, "others", getattr(said, "law", "")))
            told[what, str(expected)] = told.get((what, str(expected)), 0) + 1
    kinds = {what for what, _ in told}
    sure = {f"Chosen{Softmax((0, 9), 0.0, True)}", f"Chosen{Softmax(None, 0.5, True)}"}  # may be any value
    assert len(kinds) == 8
    assert {kind for kind in kinds if (kind, "False") not in told} == sure
    assert all(told[kind, "True"] >= 10 for kind in kinds)


# By hand -------------------------------------------------------------------------------------------------------------


def star(objective: Any = "min") -> Setup:
    """Return x between y and z; costs of x: 1, 0; y must not have x's value; with z it costs 4 to have x's."""
    sign = 1 if objective == "min" else -1
    d = Domain("d", (0, 1))
    variables = [
        Variable("x", d, unary=sign * np.array([1, 0])),
        Variable("y", d, unary=sign * np.array([7, 7])),
        Variable("z", d),
    ]
    constraints = [
        Constraint("xy", ("x", "y"), sign * np.array([[math.inf, 0], [0, math.inf]])),
        Constraint("zx", ("z", "x"), sign * np.array([[4, 0], [0, 4]])),
    ]
    problem = Problem.build(variables, constraints, objective=objective, agents=("idle",))
    return prepare(problem, Plain, "plain", {})


def local(context: Mapping[str, int], coefficient: float = 1.0, party: str = "x") -> Term:
    return Term((party,), "local", context, coefficient)


def difference(value: float, **more: Any) -> CostIs:
    """What x = 0 costs more than x = 1: 1 for itself, -4 or 4 with z, +-inf with y."""
    context = {n: more.pop(n) for n in "yz" if n in more}
    terms = local({"x": 0, **context}), local({"x": 1, **context}, -1)
    return CostIs("gain", (), terms, more.pop("relation", "=="), value, **more)


@pytest.mark.parametrize("objective", ["min", "max"])
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        # Local: x's own costs and all constraints on x once, not y's own costs.
        (CostIs("local", (), (local({"x": 0, "y": 1, "z": 0}),), "==", 5), True),
        (CostIs("local", (), (local({"x": 0, "y": 1, "z": 0}),), "==", 12), False),
        (CostIs("local", (), (local({"x": 0, "y": 1}),), "==", 1), True),
        (CostIs("local", (), (Term(("x", "z"), "local", {"x": 0, "y": 1, "z": 0}),), "==", 5), True),
        (CostIs("local", (), (Term(("x", "z"), "local", {"x": 0, "y": 1, "z": 0}),), "==", 9), False),
        (CostIs("local", (), (local({"x": 0, "y": 0}),), ">=", math.inf), True),
        (CostIs("local", (), (local({"x": 0, "y": 0, "z": 1}),), "==", 101, forbidden=100), True),
        (CostIs("local", (), (local({"x": 0, "y": 0, "z": 1}),), "==", 100, forbidden=100), False),
        # Best: each term by itself, so y and z suit both.
        (difference(1), True),
        (difference(-3), False),
        # Some: y and z at one value for both.
        (difference(1, others="some", forbidden=100), False),
        (difference(1 + 4 - 100, others="some", forbidden=100), True),
        (difference(1 - 4 + 100, others="some", forbidden=100), True),
        (difference(1 - 4 + 100, z=0, others="some", forbidden=100), False),
        (difference(100, relation=">=", z=0, others="some", forbidden=100), True),
        (difference(100, relation=">=", y=1, others="some", forbidden=100), False),
        (difference(-90, relation="<=", y=1, others="some", forbidden=100), True),
        (difference(-90, relation="<=", y=0, others="some", forbidden=100), False),
        (difference(math.inf, others="some"), True),
        (difference(math.inf, y=1, others="some"), False),
        # Choices: with y = 1 only x = 0 is allowed; if it is open, each may have been best.
        (Chosen("best", (), "x", 0, {"y": 1}, Best()), True),
        (Chosen("best", (), "x", 1, {"y": 1}, Best()), False),
        (Chosen("best", (), "x", 1, {"z": 1}, Best()), True),
        (Chosen("best", (), "x", 1, {"y": 1}, Softmax(None, 0.0, True)), False),
        (Chosen("best", (), "x", 1, {"y": 1}, Softmax(None, 0.25, True)), True),
        (Chosen("best", (), "x", 1, {"y": 1}, Softmax((0, 5), 0.0, True)), True),
        (Chosen("best", (), "x", 1, {"y": 1}, Softmax(None, 0.0, True), forbidden=100), True),
        (Chosen("best", (), "x", 1, {"y": 1}, Exponential(1.0)), True),
        (Chosen("best", (), "x", 1, {"y": 1, "z": 1}, Best(), forbidden=1), True),  # 1 and 5: as if all were forbidden
        (Chosen("best", (), "x", 1, {"y": 1, "z": 1}, Best(), forbidden=1.5), False),
        # Ties: z costs nothing itself.
        (Chosen("best", (), "y", 0, {}, Best()), True),
        (Chosen("best", (), "z", 1, {}, Best()), True),
        (Chosen("best", (), "z", 1, {"x": 1}, Best()), False),
    ],
)
def test_costs_and_choices_by_hand(objective: str, said: Statement, expected: bool) -> None:
    assert holds(said, star(objective)) is expected


def test_among_ties_the_lowest_or_any() -> None:
    d = Domain("d", (0, 1, 2))
    problem = Problem.build([Variable("x", d, unary=[1, 0, 0]), Variable("y", d)], [])
    setup = prepare(problem, Plain, "plain", {})
    lowest = [v for v in range(3) if holds(Chosen("best", (), "x", v, {}, Best()), setup)]
    assert lowest == [1]
    assert [v for v in range(3) if holds(Chosen("best", (), "x", v, {}, Best("any")), setup)] == [1, 2]
    assert [v for v in range(3) if holds(Chosen("best", (), "y", v, {}, Best()), setup)] == [0]


def test_costs_that_are_not_whole_may_be_rounded() -> None:
    d = Domain("d", (0, 1))
    problem = Problem.build([Variable("x", d, unary=[0.1 + 0.2, 0.3])], [])
    setup = prepare(problem, Plain, "plain", {})
    assert holds(CostIs("local", (), (local({"x": 0}),), "==", 0.3), setup)
    assert not holds(CostIs("local", (), (local({"x": 0}),), "==", 0.3001), setup)
    # 0.1 + 0.2 is a little more than 0.3: each may have come out as the least.
    assert holds(Chosen("best", (), "x", 0, {}, Best()), setup)
    assert holds(Chosen("best", (), "x", 1, {}, Best()), setup)


def test_means_of_whole_costs_may_be_rounded_but_whole_figures_not() -> None:
    thirds = tuple(local({"x": 0, "y": 1, "z": 0}, 1 / 3) for _ in range(3))
    assert holds(CostIs("mean", (), thirds, "==", 5), star())
    assert holds(CostIs("mean", (), (thirds[0],), "==", 5 / 3), star())
    assert not holds(CostIs("mean", (), (thirds[0],), "==", 1.66667), star())
    assert not holds(CostIs("mean", (), (local({"x": 0, "y": 1, "z": 0}),), "==", 5 + 1e-6), star())


def test_many_neighbours_are_no_trouble() -> None:
    """A star of 300 leaves: every combination of theirs gives one of few sums."""
    d = Domain("d", (0, 1))
    leaves = [Variable(f"y{i}", d) for i in range(300)]
    edges = [Constraint(f"c{i}", ("x", f"y{i}"), np.eye(2, dtype=int)) for i in range(300)]
    setup = prepare(Problem.build([Variable("x", d, unary=[0, 5]), *leaves], edges), Plain, "plain", {})
    terms = local({"x": 0}), local({"x": 1}, -1)
    for value, possible in ((295, True), (-305, True), (296, False), (297, False), (-307, False)):
        said = CostIs("gain", (), terms, "==", value, others="some")
        assert holds(said, setup) is (possible and value % 2 == 1)
    assert holds(Chosen("best", (), "x", 1, {}, Best()), setup)
    assert not holds(Chosen("best", (), "x", 1, {f"y{i}": i % 2 for i in range(300)}, Best()), setup)


def test_values() -> None:
    truth = Truth(star(), {"x": 0, "y": 1})
    assert truth.holds(ValueIs("value", (), "x", 0, "final"))
    assert not truth.holds(ValueIs("value", (), "x", 1, "final"))
    assert truth.holds(ValueIs("value", (), "z", 1, "final"))  # not known
    assert truth.holds(ValueIs("value", (), "x", 1, "now"))  # not known
    assert not truth.holds(ValueIs("value", (), "x", 1, "now"), {"x": 0})
    assert not truth.holds(ValueIs("value", (), "x", 2, "now"))


def test_releases() -> None:
    setup = star()
    assert holds(Released("noisy", (), Pure(1.0), 2.0, "x", 3, ("x", "xy")), setup)
    assert holds(Released("clear", (), Clear("a table"), 0, "idle"), setup)
    assert not holds(Released("noisy", (), Pure(1.0), 2.0, "nobody"), setup)
    assert not holds(Released("noisy", (), Pure(1.0), 2.0, "x", 0, ("yz",)), setup)
    assert not holds(Released("noisy", (), Pure(1.0), -1.0, "x"), setup)
    assert not holds(Released("noisy", (), Pure(1.0), math.nan, "x"), setup)
    no_mechanism: Any = "laplace"
    assert not holds(Released("noisy", (), no_mechanism, 1.0, "x"), setup)


def test_of_noise_only_that_it_makes_sense() -> None:
    setup = star()
    assert holds(CostIs("noisy", (), (local({"x": 0}),), "==", -3, noise=Pure(1.0)), setup)
    assert not holds(CostIs("noisy", (), (local({"x": 2}),), "==", -3, noise=Pure(1.0)), setup)
    assert not holds(CostIs("noisy", (), (local({"x": 0}, party="nobody"),), "==", -3, noise=Pure(1.0)), setup)


def test_what_says_nothing_holds_and_what_is_unknown_has_no_truth() -> None:
    assert holds(Nothing("greeting", ("hello",)), star())
    assert holds(Unanalysed("threshold", ("hello",)), star())
    with pytest.raises(TypeError, match="no truth is known for Statement"):
        holds(Statement("said", ()), star())


@pytest.mark.parametrize(
    "said",
    [
        CostIs("sum", (), (), "==", 0),
        CostIs("sum", (), (Term((), "none", {}),), "==", 0),
        CostIs("sum", (), (local({}, party="idle"),), "==", 0),
        CostIs("sum", (), (local({"w": 0}),), "==", 0),
        CostIs("sum", (), (local({"y": -1}),), "<=", 99),
        CostIs("sum", (), (local({"y": 2}),), "<=", 99),
        CostIs("sum", (), (local({}, math.inf),), ">=", 0),
        CostIs("sum", (), (local({}),), "<=", math.nan),
        CostIs("sum", (), (Term(("x",), "subtree", {}),), ">=", 0),  # there is no tree
        dataclasses.replace(difference(1), others="worst"),  # type: ignore[arg-type]
        dataclasses.replace(difference(1), relation="<"),  # type: ignore[arg-type]
        CostIs("sum", (), (Term(("x",), "everything", {}),), ">=", 0),  # type: ignore[arg-type]
        CostTable("table", (), ("z",), "none", ("z",), np.zeros(3)),
        CostTable("table", (), ("z",), "none", ("z", "z"), np.zeros((2, 2))),
        CostTable("table", (), ("z",), "none", ("w",), np.zeros(2)),
        CostTable("table", (), ("z",), "none", ("z",), np.zeros(2), 0, {"z": 0}),
        Chosen("best", (), "w", 0, {}, Best()),
        Chosen("best", (), "x", 2, {}, Best()),
        Chosen("best", (), "x", 2, {}, Exponential(1.0)),
        Chosen("best", (), "x", 0, {"y": 2}, Best("any")),
        Chosen("best", (), "x", 0, {"x": 0}, Best("any")),
        Chosen("best", (), "x", 0, {}, None),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_does_not_hold(said: Statement) -> None:
    assert not holds(said, star())
