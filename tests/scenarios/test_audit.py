"""`agentsim audit`: games on real messages, their likelihoods against the runs, the command and its manners."""

import dataclasses
import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from agentsim import Agent, Constraint, Domain, Problem, RunError, UserError, Variable, save, simulate
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.mechanisms import Claim
from privacy.audit import Floats, audit
from scenarios.audits import game_of
from scenarios.audits.base import Choices, Forest, Game, Subject, conduct
from scenarios.audits.features import MOST_FEATURES, remember, to_statistics
from scenarios.audits.gibbs import IterationsGame, _World
from scenarios.audits.pairs import Difference
from scenarios.cli import main
from scenarios.executors import Serial
from solvers.dsa import Dsa
from solvers.p_gibbs import Choice, PGibbs, PGibbsParams

KEYS = {
    *("solver", "epsilon_lower", "claimed", "verdict", "cap", "delta", "confidence", "runs", "unit", "view"),
    *("chosen", "fields", "statistic", "guesses", "problems", "notes"),
}
PAPER = {"variant": "paper", "iterations": 8}


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["audit", *map(str, args)], prog_name="agentsim")


def found(*args: object) -> dict:
    result = run(*args, "--workers", 0, "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return json.loads(result.stdout)


def complaint(*args: object) -> str:
    result = run(*args, "--workers", 0)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


def scores(game: Game, runs: int) -> dict[str, tuple[Floats, Floats]]:
    return {s.name: (s.zero, s.one) for s in conduct(game, runs, Serial())}


def gibbs(**given: object) -> IterationsGame:
    made = game_of(Subject.of("p-gibbs", given), 0)
    assert isinstance(made, IterationsGame)
    return made


# P-Gibbs -----------------------------------------------------------------------------------------------------------


def test_paper_variant_is_refuted_by_the_best_response() -> None:
    shown = found("p-gibbs", "-p", "variant=paper", "-p", "iterations=8", "--runs", 200)
    assert set(shown) == KEYS
    assert shown["chosen"] == "VALUE.best"
    assert shown["verdict"] == "refuted"
    assert shown["claimed"] == pytest.approx(Subject.of("p-gibbs", PAPER).params.claimed_epsilon)
    assert shown["epsilon_lower"] == shown["cap"] == shown["fields"]["VALUE.best"] > 3
    assert shown["fields"]["VALUE.d+BACKTRACK.delta+BACKTRACK.best_delta"] < shown["claimed"]
    assert shown["fields"]["VALUE.t_star"] == shown["fields"]["BACKTRACK.t"] == 0
    assert (shown["view"], shown["unit"], shown["runs"], shown["delta"]) == ("agent:parent", "own", 200, 0.01)
    assert shown["guesses"]["VALUE.best"] == {"world": 0, "right": 100, "of": 100, "wrong": 0, "of_others": 100}
    assert "--seed" in shown["notes"][0]


def test_published_code_leaks_by_its_noise_too() -> None:
    shown = found("p-gibbs", "-p", "variant=code", "-p", "iterations=25", "--runs", 60, "--view", "coalition:A+B")[
        "fields"
    ]
    assert shown["BACKTRACK.clean"] == shown["VALUE.best"] > 1.5
    assert shown["VALUE.d+BACKTRACK.delta+BACKTRACK.best_delta"] == shown["VALUE.best"]  # one noise for both
    assert shown["VALUE.d+BACKTRACK.delta"] > 0.5


def test_hardened_variant_is_not_refuted_and_nearly_tight() -> None:
    shown = found("p-gibbs", "--runs", 500, "-p", "epsilon=2")
    assert (shown["claimed"], shown["verdict"], shown["view"]) == (2, "not refuted", "agent:child")
    assert 1.2 < shown["epsilon_lower"] <= 2
    assert list(shown["fields"]) == ["CHOICE.value"]


@pytest.mark.parametrize(("variant", "sigma"), [("paper", 3), ("code", 40)])
def test_likelihoods_are_those_of_the_runs(variant: str, sigma: float) -> None:
    """What the solver sends has the law that the game says: the ratio of likelihoods has mean 1 in the lesser world."""
    game = gibbs(variant=variant, iterations=3, q=0.6, gamma=1, sigma=sigma, clip=10)
    looked_at = 0
    for name, (zero, one) in scores(game, 300).items():
        if np.isfinite(zero).all() and np.isfinite(one).all():  # else some of it is in the clear
            looked_at += bool(zero.any())
            for ratios in (np.exp(zero), np.exp(-one)):
                error = ratios.std() / math.sqrt(len(ratios))
                assert ratios.mean() == pytest.approx(1, abs=4.5 * error + 1e-12), name
    assert looked_at == (6 if variant == "paper" else 5)


def test_likelihood_of_values_adds_up_to_one() -> None:
    params = PGibbsParams(variant="paper", q=0.3, gamma=0.5)
    world = _World([0.0, -2.0, -1.0], params)
    chains = np.array(list(product(range(3), repeat=3)))
    seen = {"VALUE.d": chains}
    assert np.exp(world.log_likelihood(seen, {"VALUE.d"})).sum() == pytest.approx(1)
    with np.errstate(divide="ignore"):
        first = np.log(np.eye(3)[0] * 0.7 + 0.3 * world.choice)
    assert world.log_likelihood({"VALUE.d": chains[:, :1]}, {"VALUE.d"}) == pytest.approx(first[chains[:, 0]])
    unseen = world.log_likelihood(seen, set())
    assert unseen == pytest.approx(0)


def test_limits_of_the_parameters() -> None:
    for given in ({"sigma": 0, "q": 0.9}, {"gamma": math.inf}, {"q": 0}, {"gamma": 1e-9}, {"q": 1, "variant": "code"}):
        shown = scores(gibbs(**{"iterations": 3, "variant": "paper", **given}), 10)
        assert np.isneginf(shown["VALUE.best"][0]).all()
        if given.get("gamma") == math.inf or given.get("q") == 0:
            assert not shown["VALUE.d"][0].any()
        if given.get("sigma") == 0:
            assert np.isneginf(shown["VALUE.d+BACKTRACK.delta"][0]).any()


def test_hardened_choice_has_the_law_of_the_game() -> None:
    for given in ({"epsilon": 3}, {"range": "0..30"}, {"epsilon": 1, "range": "5..5"}):
        game = game_of(Subject.of("p-gibbs", given), 3)
        assert isinstance(game, Choices)
        for world in (0, 1):
            law = game.law(world)
            told = np.concatenate([game.play(world, i, 50)["CHOICE.value"] for i in range(2)])
            ratio = math.log(game.law(1)[1] / game.law(0)[1])
            assert np.mean(np.isclose(told, ratio)) == pytest.approx(law[1] if ratio else 1, abs=0.24)
        assert abs(ratio) <= game.subject.params.claimed_epsilon
        if "5..5" in given.values():
            assert ratio == 0


def test_transcripts_of_another_algorithm_are_refused() -> None:
    game = gibbs(**PAPER)
    with pytest.raises(RunError, match="formulas"):
        game.scores([[]])
    hardened = game_of(Subject.of("p-gibbs", {}), 0)
    assert isinstance(hardened, Forest)
    twice = [Delivery(i, 0, 1, 0, "target.0", "below0.0", "CHOICE", i, 0, 0, b"", Choice(i)) for i in (0, 1)]
    with pytest.raises(RunError, match="formulas"):
        hardened.scores([twice])


# Once --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["agent", "edge", "entry"])
def test_once_is_not_refuted_in_the_unit_that_it_claims(unit: str) -> None:
    shown = found("once", "-p", f"unit={unit}", "-p", "epsilon=2", "--runs", 200)
    assert (shown["claimed"], shown["verdict"]) == (2, "not refuted")
    assert 0.5 < shown["epsilon_lower"] <= 2
    zero, one = np.array(shown["problems"]["worlds"])
    assert np.count_nonzero(zero != one) == (1 if unit == "entry" else 4)
    assert abs(zero - one).max() == np.ptp(shown["problems"]["range"])


def test_an_edge_is_not_an_entry() -> None:
    """What protects an entry does not protect a table: the game of one with the claim of the other is lost."""
    subject = Subject.of("once", {"unit": "entry", "epsilon": 1})
    wider = game_of(Subject.of("once", {"unit": "edge", "epsilon": 2}), 0)
    narrow = game_of(subject, 0)
    assert isinstance(wider, Choices)
    assert isinstance(narrow, Choices)

    def log_ratio(game: Choices) -> float:
        return max(abs(math.log(p / q)) for p, q in zip(game.law(1), game.law(0), strict=True))

    assert log_ratio(narrow) <= 1 < log_ratio(wider) <= 2


# Any solver on two problems ----------------------------------------------------------------------------------------


def three(change: int = 0, entries: int = 9, agent: str = "z") -> Problem:
    domain = Domain("d", (0, 1, 2))
    table = np.arange(9).reshape(3, 3) % 5
    changed = table.copy()
    changed.flat[:entries] += change
    variables = [Variable("x", domain), Variable("y", domain), Variable("z", domain, agent)]
    scopes = (("x", "y"), table), (("y", "z"), changed)
    return Problem.build(variables, [Constraint("".join(s), s, t, cost_range=(0, 20)) for s, t in scopes], name="three")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "a.yaml", tmp_path / "b.yaml"
    save(three(), paths[0])
    domain = Domain("d", (0, 1, 2))
    flipped = three(1)
    tables = [
        dataclasses.replace(c, table=c.table[::-1] if c.name == "yz" else c.table) for c in flipped.constraints.values()
    ]
    save(Problem.build([Variable(n, domain) for n in "xyz"], tables), paths[1])
    return paths


def test_a_solver_that_hides_nothing_is_found_out(files: tuple[Path, Path]) -> None:
    shown = found("dpop", "--problems", *files, "--runs", 40)
    assert shown["epsilon_lower"] == shown["cap"] > 1
    assert (shown["claimed"], shown["verdict"], shown["view"], shown["delta"]) == (None, None, "all", 0)
    assert shown["problems"]["tables_that_differ"] == ["yz"]
    assert shown["statistic"] == "learned histograms"
    assert {"UTIL.table", "VALUE", "all fields"} <= set(shown["fields"])
    blind = found("dpop", "--problems", *files, "--runs", 40, "--view", "agent:y")
    assert any("y, z knows" in note or "y knows" in note for note in blind["notes"])


def test_a_private_solver_is_not_refuted_on_given_problems(files: tuple[Path, Path]) -> None:
    shown = found("once", "--problems", *files, "--runs", 80, "--view", "coalition:x+z")
    assert (shown["claimed"], shown["verdict"]) == (1, "not refuted")
    assert shown["epsilon_lower"] <= 1


def test_a_solver_without_a_game_of_its_own_plays_a_small_one() -> None:
    shown = found("dsa", "-p", "rounds=5", "--runs", 48)
    assert shown["epsilon_lower"] > 0.5
    assert (shown["claimed"], shown["view"]) == (None, "coalition:parent+child")
    assert "nothing is claimed" in run("dsa", "-p", "rounds=3", "--runs", 16, "--workers", 0).stdout


class Coin(Dsa):
    """Claims to protect one entry; and does, as it looks at none."""

    @classmethod
    def claim(cls, setup: object) -> Claim:
        return Claim(0.5, 0.0, "entry")

    async def run(self) -> None:
        self.finish()
        self.assign(self.rng.integer(2))


def test_what_may_differ_follows_from_the_claim() -> None:
    game = game_of(Subject.of(Coin, {}), 0)
    assert game.about["entries_that_differ"] == 1
    assert game.claim == Claim(0.5, 0.0, "entry")
    with pytest.raises(UserError, match="no messages"):
        conduct(game, 10, Serial())


@pytest.mark.parametrize(
    ("unit", "entries", "speaks"), [("entry", 1, True), ("entry", 9, False), ("edge", 9, True), ("agent", 9, True)]
)
def test_claims_are_held_against_neighbours_only(unit: str, entries: int, speaks: bool) -> None:
    subject = Subject.of("once", {"unit": unit})
    game = game_of(subject, 0, "all", (three(), three(1, entries)))
    assert (game.claim is not None) == speaks
    assert any("claim" in note for note in game.notes) != speaks


def test_tables_of_several_agents_are_more_than_one_agent_uses() -> None:
    other = three(1)
    tables = [dataclasses.replace(c, table=c.table + 1) for c in other.constraints.values()]
    both = Problem.build(other.variables.values(), tables)
    setup = Subject.of("once", {}).setup(three())
    assert Difference.of(three(), both) == Difference(("xy", "yz"), 18)
    assert not Difference(("xy", "yz"), 18).within("own", setup)
    assert not Difference(("xy", "yz"), 18).within("edge", setup)
    assert Difference(("xy",), 9).within("own", setup)


def test_pairs_that_are_none_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    save(three(agent="w"), tmp_path / "c.yaml")
    assert "the same" in complaint("dsa", "--problems", files[0], files[0])
    assert "more than costs" in complaint("dsa", "--problems", files[0], tmp_path / "c.yaml")
    assert "no agent is called 'q'" in complaint("dsa", "--problems", *files, "--view", "agent:q")
    assert "nowhere.yaml" in complaint("dsa", "--problems", files[0], tmp_path / "nowhere.yaml")


# Features ----------------------------------------------------------------------------------------------------------


def test_features_are_what_was_sent() -> None:
    log = list(simulate(three(), "dpop").log)
    names, numbers = remember(log, None)
    by_name = dict(zip(names, numbers, strict=True))
    first = log[0]
    way = f"{first.src}>{first.dst}"
    assert by_name["UTIL", f"{way} count"] == 1
    assert by_name["UTIL", f"{way} time"] == first.delivered_at
    assert by_name["UTIL.table", f"{way} sum"] == first.message.table.sum()
    assert remember(log, None)[1].tolist() == numbers.tolist()
    assert remember(log, lambda d: False)[0] == ()
    assert remember(simulate(three(1), "dpop").log, None)[1].tolist() != numbers.tolist()


def test_features_of_runs_that_differ_in_length_are_put_side_by_side() -> None:
    short = ((("A.x", "first"),), np.array([1.0]))
    long = ((("A.x", "first"), ("B.y", "last")), np.array([2.0, 3.0]))
    tables = {s.name: s for s in to_statistics([short, long], [long])}
    assert set(tables) == {"A.x", "B.y", "all fields"}
    assert np.isnan(tables["B.y"].zero[0, 0])
    assert tables["all fields"].zero.shape == (2, 2)
    assert tables["B.y"].one.tolist() == [[3.0]]


def test_features_are_bounded() -> None:
    many = (Delivery(i, 0, 1, 0, f"a{i}", "b", "CHOICE", 1, 0, 0, b"", Choice(0)) for i in range(MOST_FEATURES))
    with pytest.raises(UserError, match="narrower view"):
        remember(many, None)


# Logs --------------------------------------------------------------------------------------------------------------


def write_logs(folder: Path, problem: Problem, runs: int, first: int = 0, solver: str | type[Agent] = "dsa") -> Path:
    folder.mkdir(exist_ok=True)
    for seed in range(first, first + runs):
        simulate(problem, solver, seed=seed, log=folder / f"{seed}.amlog", rounds=3)
    return folder


def test_logs_of_two_worlds(tmp_path: Path) -> None:
    a, b = write_logs(tmp_path / "a", three(), 16), write_logs(tmp_path / "b", three(1, 3), 20)
    shown = found("--logs", a, b)
    assert (shown["solver"], shown["runs"], shown["view"]) == ("dsa", 16, "all")
    assert shown["problems"]["logs"] == [16, 20]
    assert shown["problems"]["tables_that_differ"] == ["yz"]
    assert found("--logs", a, b, "--runs", 10, "--view", "agent:z")["problems"]["logs"] == [10, 10]


def test_logs_without_costs_are_held_against_no_claim(tmp_path: Path) -> None:
    for name, problem in (("a", three()), ("b", three(1))):
        (tmp_path / name).mkdir()
        for seed in range(8):
            simulate(problem, "once", seed=seed, randomness="seed", log=tmp_path / name / f"{seed}.amlog", redact=True)
    shown = found("--logs", tmp_path / "a", tmp_path / "b")
    assert shown["claimed"] is None
    assert "leave private costs out" in shown["notes"][0]


def test_bad_logs_are_refused_by_name(tmp_path: Path) -> None:
    a, b = write_logs(tmp_path / "a", three(), 8), write_logs(tmp_path / "b", three(1), 8)
    (tmp_path / "empty").mkdir()
    assert "0 logs" in complaint("--logs", a, tmp_path / "empty")
    assert "No such" in complaint("--logs", a, tmp_path / "none")
    assert "the same" in complaint("--logs", a, a)
    assert "no agent" in complaint("--logs", a, b, "--view", "agent:q")
    assert "goes with a solver" in complaint("--logs", a, b, "-p", "rounds=3")
    good = (b / "3.amlog").read_bytes()
    for damage, words in (
        (good[:40], "cut off within its header"),
        (good[:-20], "3.amlog: the log was cut off"),
        (good[:-20] + b"x" * 20, "3.amlog: damaged"),
        (b"nonsense", "3.amlog: not an agentsim log"),
        ((b / "4.amlog").read_bytes(), "have one seed"),
        ((a / "3.amlog").read_bytes(), "different problems"),
    ):
        (b / "3.amlog").write_bytes(damage)
        assert words in complaint("--logs", a, b)
    simulate(three(1), "dsa", seed=3, log=b / "3.amlog", rounds=4)
    assert "their params differ" in complaint("--logs", a, b)
    simulate(three(1), "dpop", seed=3, log=b / "3.amlog")
    assert "their solver differ" in complaint("--logs", a, b)


# The command -------------------------------------------------------------------------------------------------------


def test_people_see_a_table_and_a_verdict() -> None:
    shown = run("p-gibbs", "-p", "variant=paper", "-p", "iterations=4", "--runs", 40, "--workers", 0).stdout
    assert "VALUE.best" in shown
    assert "20 of 20" in shown
    assert "refuted." in shown
    assert "95% confidence" in " ".join(shown.split())


def test_same_seed_same_answer_whoever_works() -> None:
    one = found("once", "--runs", 100, "--seed", 5)
    assert found("once", "--runs", 100, "--seed", 5) == one != found("once", "--runs", 100, "--seed", 6)
    pooled = run("once", "--runs", 100, "--seed", 5, "--workers", 1, "--json")
    assert json.loads(pooled.stdout) == one


def test_another_delta_is_another_claim() -> None:
    stricter = found("p-gibbs", "-p", "variant=paper", "-p", "iterations=4", "--runs", 40, "--delta", 0)
    assert (stricter["verdict"], stricter["delta"]) == (None, 0)
    assert any("delta 0.01" in note for note in stricter["notes"])
    looser = found("p-gibbs", "-p", "variant=paper", "-p", "iterations=4", "--runs", 40, "--delta", 0.1)
    assert looser["verdict"] == "refuted"
    assert looser["epsilon_lower"] < stricter["epsilon_lower"]


def test_few_runs_say_that_they_are_few() -> None:
    shown = found("once", "-p", "epsilon=8", "--runs", 20)
    assert shown["cap"] < 8
    assert any("more --runs" in note for note in shown["notes"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give a solver"),
        (["dsa", "--logs", "a", "b"], "not both"),
        (["nobody"], "no solver is called"),
        (["p-gibbs", "-p", "sigma=-1"], "sigma"),
        (["p-gibbs", "-p", "order=x"], "-p order"),
        (["p-gibbs", "--view", "wire:a>b"], "--view"),
        (["p-gibbs", "--view", "agent:target"], "different neighbours"),
        (["p-gibbs", "--view", "agent:parent"], "parent hears nothing"),
        (["p-gibbs", "--view", "coalition:A+A"], "different neighbours"),
        (["p-gibbs", "--delta", "1"], "--delta"),
        (["p-gibbs", "--runs", "7"], "--runs"),
        (["dsa", "--view", "agent:nobody"], "no agent is called"),
    ],
)
def test_errors_take_one_line(arguments: list[str], words: str) -> None:
    assert words in complaint(*arguments)


class Broken(PGibbs):
    """Waits for what never comes."""

    async def run(self) -> None:
        await self.receive(Choice, sender="nobody")


def test_runs_that_do_not_end_are_no_runs() -> None:
    subject = dataclasses.replace(Subject.of(Broken, {}), name="p-gibbs")
    with pytest.raises(RunError, match="did not end"):
        conduct(game_of(subject, 0), 8, Serial())


def test_bound_of_the_command_is_that_of_the_game() -> None:
    statistics = conduct(game_of(Subject.of("once", {}), 1), 100, Serial())
    assert audit(statistics, 0).epsilon_lower == found("once", "--runs", 100, "--seed", 1)["epsilon_lower"]
