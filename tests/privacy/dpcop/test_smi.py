"""The observer `smi`: who infers which entries of whose hard secrets, from whatever solver, and at what price."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from agentsim import Agent, Constraint, Domain, Problem, UserError, Variable, message, replay, simulate
from agentsim.dcop.shadow import Entry, Shadow
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.statements import CostIs, Nothing, ReaderContext, Statement, Term
from privacy.dpcop.model import Dpcop, priced
from privacy.dpcop.prices import MaxPrices
from privacy.dpcop.smi import NOT_HARD, Preference, Ranking, Smi, Subject
from solvers.leader import Leader as OneLeader

INF = math.inf
TWO, THREE = Domain("two", (10, 20)), Domain("three", ("lo", "mid", "hi"))


@message("ASK")
class Ask(NamedTuple):
    variables: tuple[str, ...]
    values: tuple[int, ...]


@message("ANSWER")
class Answer(NamedTuple):
    cost: float


@message("END")
class End(NamedTuple):
    pass


class Leader(Agent):
    """The first agent asks each speaker for its share of each of `questions`, in turn.

    With `singly`, each node is asked for its own private cost instead.
    """

    messages = (Ask, Answer, End)
    knows = "everybody"
    questions: tuple[Mapping[str, int], ...] = ()
    singly = False

    async def run(self) -> None:
        if self.view.domain:
            self.assign(0)
        assert self.view.public is not None
        leader, *others = self.view.public.speakers.values()
        if self.singly:
            others = [node for node in self.view.public.sizes if node != leader]
        if self.name == leader:
            await self.lead(others)
        elif self.name in others:
            while isinstance(ask := await self.receive(Ask, End), Ask):
                self.send(self.sender, Answer(self.cost(dict(zip(ask.variables, ask.values, strict=True)))))

    async def lead(self, others: list[str]) -> None:
        for question in self.questions:
            for node in others:
                named = {v: value for v, value in question.items() if v == node} if self.singly else question
                if named:
                    self.send(node, Ask(tuple(named), tuple(named.values())))
                    await self.receive(Answer)
        for node in others:
            self.send(node, End())

    def cost(self, context: Mapping[str, int]) -> float:
        if self.singly:
            return float(self.view.unary[context[self.name]])
        return sum(float(f.table[tuple(context[v] for v in f.scope)]) for f in self.view.share)


class LeaderReader:
    """An answer is the sender's cost of what it was asked last."""

    reads = 0

    def __init__(self, context: ReaderContext) -> None:
        self._context = context
        self._asked: dict[str, Ask] = {}

    def read(self, delivery: Delivery) -> Iterator[Statement]:
        LeaderReader.reads += 1
        sent = delivery.message
        if isinstance(sent, Ask):
            self._asked[delivery.dst] = sent
            yield Nothing("what is asked", ("variables", "values"))
        elif isinstance(sent, Answer) and delivery.src in self._asked:
            asked = self._asked[delivery.src]
            context = dict(zip(asked.variables, asked.values, strict=True))
            rest: Any = "none" if Leader.singly else "share"
            term = Term((delivery.src,), rest, context)
            yield CostIs("answer", ("cost",), (term,), "==", sent.cost, self._context.offset((delivery.src,), rest))


Leader.reader = LeaderReader


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Leader, "questions", ())
    monkeypatch.setattr(Leader, "singly", False)
    monkeypatch.setattr(LeaderReader, "reads", 0)


def hard(n: int, truth: int | tuple[int, ...]) -> Any:
    """Return the costs of a hard secret: 0 on what is true, else infinity."""
    costs = np.full(n, INF)
    costs[list(truth) if isinstance(truth, tuple) else truth] = 0
    return costs


def couple(truths: Mapping[str, tuple[int, ...]], domain: Domain = TWO, **options: Any) -> Problem:
    """Return a problem whose agents have a variable for each of their truths: a0, a1, ..."""
    variables = [
        Variable(f"{agent}{i}", domain, agent, hard(len(domain), truth))
        for agent, own in truths.items()
        for i, truth in enumerate(own)
    ]
    return Problem.build(variables, **options)


def all_tuples(problem: Problem) -> tuple[dict[str, int], ...]:
    sizes = [range(v.size) for v in problem.variables.values()]
    return tuple(dict(zip(problem.variables, values, strict=True)) for values in itertools.product(*sizes))


def found(problem: Problem, questions: Any, **options: Any) -> dict[str, Any]:
    Leader.questions = tuple(questions)
    return simulate(problem, Leader, observers=[(Smi, options)]).findings["smi"]


def slave(values: tuple[int, ...]) -> dict[str, int]:
    return {"a0": 0, **{f"b{i}": value for i, value in enumerate(values)}}


def true_entries(problem: Problem, agent: str) -> list[list[Any]]:
    return [
        [v.name, value, "0" if v.unary[i] == 0 else "inf"]
        for v in problem.variables.values()
        if v.agent == agent and v.unary is not None
        for i, value in enumerate(v.domain.values)
    ]


def test_a_leader_that_asks_everything_knows_everything_and_nobody_else_anything() -> None:
    problem = couple({"a": (1, 0), "b": (0, 1), "c": (1,)})
    what = found(problem, all_tuples(problem))
    assert what["solver_analysed"] is True
    assert what["not_applicable"] == {}
    of_a = what["viewers"]["a"]
    assert of_a["complete"] is True
    assert (of_a["n_known"], of_a["n_entries"], of_a["n_stored"]) == (6, 6, 0)
    for agent, n in (("b", 4), ("c", 2)):
        about = of_a["subjects"][agent]
        assert about["known"] == true_entries(problem, agent)
        assert (about["n_known"], about["n_entries"], about["complete"]) == (n, n, True)
        assert "contradictions" not in about
    for other in ("b", "c"):
        assert what["viewers"][other]["n_known"] == what["viewers"][other]["n_answers"] == 0
        assert other not in what["viewers"][other]["subjects"]
    assert what["n_known"] == 6
    assert "price" not in what


@pytest.mark.parametrize(("k", "infinite"), [(None, [["b2", 20, "inf"]]), ("4", [["b2", 20, "inf"]]), (3, [])])
def test_the_worked_example(k: Any, infinite: list[Any]) -> None:
    """Three secrets that are all 0 at their first value; with k = 3 the three infinite answers are forgotten."""
    problem = couple({"a": (0,), "b": (0, 0, 0)})
    asked = [slave(values) for values in ((0, 0, 1), (1, 1, 1), (0, 1, 1), (0, 0, 0))]
    about = found(problem, asked, k=k)["viewers"]["a"]["subjects"]["b"]
    zeros = [["b0", 10, "0"], ["b1", 10, "0"], ["b2", 10, "0"]]
    assert sorted(about["known"]) == sorted(zeros + infinite)
    assert about["n_answers"] == 4
    assert about["complete"] is False
    again = found(problem, [*asked, slave((1, 0, 0))], k=k)["viewers"]["a"]["subjects"]["b"]
    assert sorted(again["known"]) == sorted([*zeros, *infinite, ["b0", 20, "inf"]])


def test_closure_needs_one_finite_answer() -> None:
    problem = couple({"a": (0,), "b": (2, 1)}, THREE)
    assert found(problem, [slave((2, 1))])["viewers"]["a"]["n_known"] == 2
    what = found(problem, [slave((2, 1))], closure="true")
    assert what["viewers"]["a"]["subjects"]["b"]["known"] == true_entries(problem, "b")


def test_never_marks_a_wrong_entry() -> None:
    rng = random.Random(5)
    for _ in range(60):
        closure = rng.random() < 0.5
        variables = []
        for agent, i in itertools.product("abc", range(2)):
            domain = rng.choice([TWO, THREE])
            n = 1 if closure else rng.randint(0, len(domain))
            costs = hard(len(domain), tuple(rng.sample(range(len(domain)), n)))
            variables.append(Variable(f"{agent}{i}", domain, agent, costs))
        problem = Problem.build(variables)
        asked = rng.sample(all_tuples(problem), 12)
        what = found(problem, asked, k=rng.choice([None, 1, 2, 3]), closure=closure)
        known = 0
        for of in what["viewers"].values():
            for agent, about in of["subjects"].items():
                assert all(entry in true_entries(problem, agent) for entry in about["known"])
                known += about["n_known"]
        assert known == what["n_known"]


def test_maximising_and_shifted_costs_are_read_alike() -> None:
    """Forbidden is minus infinity there; a solver's costs are shifted by what is public."""
    problem = couple({"a": (0,), "b": (0, 1)})
    flipped = [replace(v, unary=-v.unary) for v in problem.variables.values() if v.unary is not None]
    upside_down = Problem.build(flipped, objective="max")
    assert found(upside_down, all_tuples(problem)) == found(problem, all_tuples(problem))


def test_single_costs_of_single_variables_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Leader, "singly", True)
    problem = couple({"a": (0,), "b": (1, 1, 0)})
    about = found(problem, [{"b0": 0, "b2": 0}, {"b2": 1}])["viewers"]["a"]["subjects"]["b"]
    assert about["known"] == [["b0", 10, "inf"], ["b2", 10, "0"], ["b2", 20, "inf"]]
    assert about["n_answers"] == 3


@pytest.mark.parametrize("owned", [False, True])
def test_solvers_that_know_nothing_of_leaders(owned: bool) -> None:
    """The first agent of SynchBB's order sends its successor each value that is not forbidden, at a cost of 0.

    The owner of a private cost need not own the variable: it runs as that of a copy.
    """
    equal = Constraint("eq", ("x", "y"), np.array([[0, 1], [1, 0]]), known_to="all")
    variables = [Variable("x", TWO, "a", hard(2, 1)), Variable("y", TWO, "b", hard(2, 0))]
    constraints = [equal]
    order = "x,y"
    if owned:
        variables[0] = Variable("x", TWO, "a")
        constraints.append(Constraint("own", ("x",), hard(2, 1), owner="c"))
        order = "x@c,x,y"
    problem = Problem.build(variables, constraints)
    what = simulate(problem, "synchbb", order=order, observers=[Smi]).findings["smi"]
    if not owned:
        assert what["viewers"]["b"]["subjects"]["a"]["known"] == [["x", 20, "0"]]
        assert what["viewers"]["a"]["n_known"] == 0
    else:
        assert what["viewers"]["a"]["subjects"]["c"]["known"] == [["x", 20, "0"]]
        assert "a" not in what["viewers"]["b"]["subjects"]  # it has no private cost


def test_our_own_leader() -> None:
    """It asks for what is not already worse, and what comes of it is true; with lie=1 it asks for everything."""
    problem = couple({"a": (0,), "b": (1, 0), "c": (1,)})
    what = simulate(problem, OneLeader, observers=[Smi]).findings["smi"]
    of_a = what["viewers"]["a"]
    assert what["n_known"] > of_a["n_known"] > 2  # the others learn what the solution says: that nobody forbids it
    for viewer in what["viewers"].values():
        for agent, about in viewer["subjects"].items():
            assert all(entry in true_entries(problem, agent) for entry in about["known"])
            assert not about.get("contradictions")
    everything = simulate(problem, OneLeader, lie=1, observers=[Smi]).findings["smi"]
    assert everything["viewers"]["a"]["complete"] is True


def test_views() -> None:
    problem = couple({"a": (1,), "b": (0, 1), "c": (1,)})
    asked = all_tuples(problem)[:9]
    everything = found(problem, asked)["viewers"]
    assert found(problem, asked, view="agent:a")["viewers"] == {"a": everything["a"]}
    coalition = found(problem, asked, view="coalition:a+b")["viewers"]
    assert coalition["a+b"]["subjects"] == {"c": everything["a"]["subjects"]["c"]}
    assert found(problem, asked, view="coalition:b+c")["viewers"]["b+c"]["n_known"] == 0
    pairs = found(problem, asked, view="coalitions:2")["viewers"]
    assert set(pairs) == {"a+b", "a+c", "b+c"}
    assert pairs["a+b"] == coalition["a+b"]
    # Who sees the answers alone does not know what they answer.
    assert found(problem, asked, view="wire:b>a")["viewers"]["wire:b>a"]["n_known"] == 0


@pytest.mark.parametrize("redact", [False, True])
def test_a_log_tells_the_same_without_private_costs(redact: bool, tmp_path: Path) -> None:
    problem = priced(couple({"a": (1,), "b": (0, 1), "c": (1,)})).attached()
    Leader.questions = all_tuples(problem)[:9]
    path = tmp_path / "run.amlog"
    live = simulate(problem, Leader, observers=[Smi], log=path, redact=redact).findings["smi"]
    assert replay(path, [Smi], solver=Leader).findings["smi"] == live
    assert live["price"] > 0


def test_who_knows_everything_reads_no_more() -> None:
    problem = couple({"a": (0,), "b": (0,)})
    enough = [slave((0,)), slave((1,))]
    found(problem, enough, view="agent:a")
    reads = LeaderReader.reads
    what = found(problem, [*enough, *([slave((0,))] * 50)], view="agent:a")
    assert LeaderReader.reads - reads == reads == 4
    assert what["viewers"]["a"]["n_answers"] == 2
    # One subject that is not known yet keeps a viewer reading of all.
    other = couple({"a": (0,), "b": (0,), "c": (0,)})
    what = found(other, [{"a0": 0, "b0": 0, "c0": 1}, {"a0": 0, "b0": 1, "c0": 1}, {"a0": 0, "b0": 1, "c0": 0}])
    assert what["viewers"]["a"]["complete"] is True
    assert what["viewers"]["a"]["subjects"]["b"]["n_answers"] == 2


def test_a_solver_without_reader_is_not_analysed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Leader, "reader", None)
    what = found(couple({"a": (0,), "b": (0,)}), [slave((0,))])
    assert what["solver_analysed"] is False
    assert "not analysed" in what["note"]
    assert "viewers" not in what


def test_secrets_that_are_not_hard_are_reported() -> None:
    variables = [
        Variable("a0", TWO, "a", hard(2, 0)),
        Variable("b0", TWO, "b", hard(2, 0)),
        Variable("c0", TWO, "c", np.array([0, 3]), cost_range=(0, 9)),
        Variable("d0", TWO, "d", np.array([0, 3])),
        Variable("e0", TWO, "e"),
    ]
    joint = Constraint("j", ("a0", "b0"), np.zeros((2, 2)), owner="b")
    problem = Problem.build(variables, [joint])
    what = found(problem, all_tuples(problem))
    assert set(what["not_applicable"]) == {"b", "c"}
    assert "several variables: a0, b0" in what["not_applicable"]["b"]
    assert "from 0 to 9" in what["not_applicable"]["c"]
    of_a = what["viewers"]["a"]
    assert of_a["subjects"] == {"d": {"not_applicable": NOT_HARD}}
    assert of_a["complete"] is False
    assert of_a["n_known"] == 0
    # Nobody who saw no such answer can tell.
    assert what["viewers"]["b"]["subjects"]["d"]["n_known"] == 0


def test_a_range_declared_for_prices_says_that_secrets_are_not_hard() -> None:
    declared = priced(couple({"a": (0,), "b": (0,)}), possible="hard").attached()
    assert found(declared, [])["not_applicable"] == {}
    soft = Problem.build([Variable("a0", TWO, "a", hard(2, 0)), Variable("b0", TWO, "b", np.array([0, 3]))])
    declared = priced(soft, agents=["b"], possible=(0, 5)).attached()
    assert "from 0 to 5" in found(declared, all_tuples(soft))["not_applicable"]["b"]


def test_answers_without_sense_are_passed_over() -> None:
    subject = Subject(("x", "y"), (2, 2), Shadow((2, 2)), None)
    for context in ({"x": 0}, {"x": 0, "y": 2}, {"x": -1, "y": 0}):
        subject.learn_all(context, True)
    subject.learn_one("z", 0, True)
    subject.learn_one("x", 2, True)
    assert subject.answers == 0
    assert subject.shadow.known == {}
    subject.learn_all({"x": 0, "y": 0, "z": 5}, True)
    assert subject.answers == 1
    assert len(subject.shadow.known) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": 0}, "must be at least 1"),
        ({"k": "two"}, "not a whole number"),
        ({"closure": "maybe"}, "true or false"),
        ({"deep": 1}, "no parameter 'deep'"),
        ({"transitive": "on"}, "needs the problem to declare"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        found(couple({"a": (0,), "b": (0,)}), [], **options)
    assert "\n" not in str(caught.value)


def ballots(truth: tuple[int, ...], values: int = 2, **preferences: Any) -> Problem:
    """Return a leader and a slave with preferences between 0 and 1, 0 and 2, and 1 and 2."""
    declared = {f"b{i}": ["b", j, k] for i, (j, k) in enumerate(itertools.combinations(range(3), 2))}
    problem = couple({"a": (0,), "b": truth}, TWO if values == 2 else THREE)
    return replace(problem, extras={"preferences": declared | preferences})


def test_transitivity_recovers_a_secret_that_nobody_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Leader, "singly", True)
    problem = ballots((0, 0, 0))
    asked = [{"b0": 0}, {"b2": 0}]  # 0 is preferred to 1, and 1 to 2
    direct = [["b0", 10, "0"], ["b2", 10, "0"]]
    assert found(problem, asked)["viewers"]["a"]["subjects"]["b"]["known"] == direct
    about = found(problem, asked, transitive="on")["viewers"]["a"]["subjects"]["b"]
    assert about["known"] == [["b0", 10, "0"], ["b1", 10, "0"], ["b2", 10, "0"]]
    about = found(problem, asked, transitive=True, closure=True)["viewers"]["a"]["subjects"]["b"]
    assert about["known"] == true_entries(problem, "b")


@pytest.mark.parametrize("row", [["a", 0, 1], ["b", 0, 0], ["b", 0], "b01", [0, 1, "b"], ["b", 0.5, 1], 7], ids=str)
def test_preferences_that_make_no_sense(row: Any) -> None:
    with pytest.raises(UserError, match="preferences: b0 must"):
        found(ballots((0, 0, 0), b0=row), [], transitive=True)


def test_preferences_of_unknown_variables_and_of_too_many_values() -> None:
    with pytest.raises(UserError, match="no variable is called 'z'"):
        found(ballots((0, 0, 0), z=["b", 0, 1]), [], transitive=True)
    four = Problem.build([Variable("a0", Domain("four", (0, 1, 2, 3)), "a", hard(4, 0))])
    four = replace(four, extras={"preferences": {"a0": ["a", 0, 1]}})
    with pytest.raises(UserError, match="a0 has 4 values"):
        found(four, [], transitive=True)


def orders(n: int, values: int) -> Iterator[dict[tuple[int, int], int]]:
    """Yield every order of n participants (weak ones with three values), as the value of each preference."""
    seen = set()
    for rank in itertools.product(range(n), repeat=n):
        if values == 2 and len(set(rank)) < n:
            continue
        sign = {(j, k): (rank[j] > rank[k]) - (rank[j] < rank[k]) for j, k in itertools.combinations(range(n), 2)}
        if tuple(sign.values()) not in seen:
            seen.add(tuple(sign.values()))
            yield {pair: (s + 1) // (1 if values == 3 else 2) for pair, s in sign.items()}


@pytest.mark.parametrize(("n", "values", "count"), [(3, 2, 6), (4, 2, 24), (3, 3, 13), (4, 3, 75)])
def test_transitivity_against_all_orders(n: int, values: int, count: int) -> None:
    """What is deduced holds in every order that agrees with what is known; of the 0s known alone, all that does."""
    every = list(orders(n, values))
    assert len(every) == count
    pairs = list(itertools.combinations(range(n), 2))
    ranking = Ranking([Preference(place, values, j, k) for place, (j, k) in enumerate(pairs)], closure=False)
    closing = Ranking([Preference(place, values, j, k) for place, (j, k) in enumerate(pairs)], closure=True)
    rng = random.Random(n * values)
    for _ in range(60):
        truth = rng.choice(every)
        told = rng.sample(range(len(pairs)), rng.randint(0, len(pairs)))
        known: dict[Entry, float] = {(place, truth[pairs[place]]): 0.0 for place in told}
        agreeing = [o for o in every if all(o[pairs[place]] == truth[pairs[place]] for place in told)]
        certain = {
            (place, agreeing[0][pair])
            for place, pair in enumerate(pairs)
            if len({order[pair] for order in agreeing}) == 1
        }
        zero, infinite = ranking.deduce(known)
        assert set(zero) == certain
        assert infinite == []
        # With closure also from what a preference is known not to be.
        for place in set(range(len(pairs))) - set(told):
            wrong = [value for value in range(values) if value != truth[pairs[place]]]
            known[place, rng.choice(wrong)] = INF
        shadow = Shadow([values] * len(pairs), closure=True)
        shadow.learn([e for e, cost in known.items() if cost == 0], [e for e, cost in known.items() if cost == INF])
        while shadow.learn(*closing.deduce(shadow.known)):
            pass
        assert shadow.contradictions == 0
        assert all((truth[pairs[place]] == value) == (cost == 0) for (place, value), cost in shadow.known.items())


def test_the_price_of_what_was_learnt() -> None:
    dpcop = priced(couple({"a": (0,), "b": (0, 1), "c": (1,)}), seed=3)
    problem = dpcop.attached()
    price = {
        (agent, *next(iter(s.entry.items()))): stake.price.prices["a"][s.name]  # type: ignore[attr-defined]
        for agent, stake in dpcop.stakes.items()
        if agent != "a"
        for s in stake.secrets
    }
    assert len(price) == 6
    assert len(set(price.values())) > 3
    for asked in (all_tuples(problem)[:6], all_tuples(problem)):
        what = found(problem, asked)
        of_a = what["viewers"]["a"]
        due = 0.0
        for agent, about in of_a["subjects"].items():
            assert about["price"] == sum(price[agent, variable, value] for variable, value, _ in about["known"])
            due += about["price"]
        assert of_a["price"] == what["price"] == due > 0
        assert what["viewers"]["b"]["price"] == 0
    assert what["price"] == sum(price.values())


def test_prices_that_do_not_add_up() -> None:
    """The dearest secret alone counts; that is asked of the agent's price, not summed here."""
    plain = priced(couple({"a": (0,), "b": (0, 1)}))
    prices = {"a": {secret.name: 10.0 + i for i, secret in enumerate(plain.stakes["b"].secrets)}}
    stake = replace(plain.stakes["b"], price=MaxPrices(prices))
    problem = Dpcop(plain.problem, {"b": stake}).attached()
    what = found(problem, all_tuples(problem))
    assert what["viewers"]["a"]["n_known"] == 4
    assert what["price"] == what["viewers"]["a"]["price"] == 13.0
    # What is learnt of an agent without a price costs nothing; coalitions overlap, wires are nobody.
    assert "price" not in what["viewers"]["b"]["subjects"]["a"]
    assert "price" not in found(problem, all_tuples(problem), view="wire:b>a")
    overlapping = couple({"a": (0,), "b": (0,), "c": (0,)})
    assert "price" not in found(priced(overlapping).attached(), all_tuples(overlapping), view="coalitions:2")
