"""The command line of DPCOP: rational agents, the bill, one line for whatever is wrong in a privacy section."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from agentsim import load
from tests.scenarios.commanding import run

pytestmark = pytest.mark.usefixtures("no_stray_files")

MEETING = Path(__file__).parents[2] / "scenarios" / "problems" / "meeting_of_two.yaml"
WITHOUT = MEETING.parent / "meetings.yaml"
TEXT = MEETING.read_text()
PROBLEM, _, SECTION = TEXT.partition("privacy:")
T1_OF_ALICE = "{name: T1, entry: {x1: T1}, price: {bob: 30}}"
ALICE, BOB = "privacy.agents.alice", "privacy.agents.bob"


def solved(*args: object, status: int = 0) -> dict[str, Any]:
    """Solve with --json and return the object that is printed, nothing being said on standard error."""
    result = run("solve", *args, "--json")
    assert (result.exit_code, result.stderr) == (status, "")
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def refused(*args: object) -> str:
    """Check that a command ended as it must when the user got something wrong, and return its line."""
    result = run(*args)
    assert result.exit_code == 2, (result.stdout, result.stderr)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("agentsim: ")
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.removesuffix("\n").isprintable()
    return result.stderr


def file(folder: Path, text: str, name: str = "p.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


# A file with a privacy section -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algo", "privacy"), [("leader", (0, 60)), ("n-leaders", (80, 60)), ("dpop", (0, 60)), ("synchbb", (80, 60))]
)
def test_the_bill_comes_unasked(algo: str, privacy: tuple[int, int]) -> None:
    found = solved(MEETING, "--algo", algo)
    bill = found["findings"]["dpcop"]
    assert set(found["findings"]) == {"dpcop"}
    assert (found["status"], found["cost"], found["abandoned"]) == ("optimal", 1100, None)
    assert (bill["agents"]["alice"]["cost"], bill["agents"]["bob"]["cost"]) == (800, 300)
    assert (bill["agents"]["alice"]["privacy_cost"], bill["agents"]["bob"]["privacy_cost"]) == privacy
    assert (bill["cost"], bill["privacy_cost"], bill["total"]) == (1100, sum(privacy), 1100 + sum(privacy))
    assert (bill["pricing"], bill["policy"], bill["coalition"]) == ("full", "zero", False)
    assert bill["agents"]["bob"]["revelation"] == {"alice": ["T1", "T2"]}


def test_people_see_the_bill_as_a_table() -> None:
    shown = run("solve", MEETING, "--algo", "leader").stdout
    lines = [line.split() for line in shown.splitlines()]
    assert "Findings of dpcop" in shown
    assert "pricing full, policy zero" in shown
    assert ["agent", "cost", "privacy", "total", "reward", "revealed"] in lines
    assert ["alice", "800", "0", "800", "200"] in lines
    assert ["bob", "300", "60", "360", "300", "alice:", "T1,", "T2"] in lines
    assert ["all", "1,100", "60", "1,160"] in lines
    assert "is taken as public" in shown
    assert "that no tuple is better" in shown  # what is not priced is said


def test_people_see_shares_where_secrets_are_priced_in_part(tmp_path: Path) -> None:
    text = TEXT.replace("policy: zero", "pricing: bits\n  coalition: true").replace("reward: 300", "range: [300, 1323]")
    shown = run("solve", file(tmp_path, text), "--algo", "once", "-p", "randomness=seed")
    assert shown.exit_code == 0, shown.stderr
    assert "pricing bits, policy zero, peers share what they learn" in shown.stdout
    shown = run("solve", file(tmp_path, text), "--algo", "leader", "-p", "leader=alice")
    assert "alice: T1 100%, T2 100%" in shown.stdout


def test_a_file_without_a_section_has_no_bill() -> None:
    assert solved(WITHOUT, "--algo", "dpop")["findings"] == {}
    assert solved(WITHOUT, "--algo", "dpop", "--privacy", "off")["findings"] == {}


@pytest.mark.parametrize("empty", ["", "privacy:\n", "privacy: null\n"])
def test_a_section_of_nothing_is_none(tmp_path: Path, empty: str) -> None:
    path = file(tmp_path, PROBLEM + empty)
    assert solved(path, "--algo", "leader")["findings"] == {}
    assert "has no privacy section, which --privacy needs" in refused(
        "solve", path, "--algo", "leader", "--privacy", "pricing=bits"
    )
    assert "has no privacy section" in refused("solve", path, "--algo", "leader", "--observe", "dpcop")


@pytest.mark.parametrize("empty", ["privacy: {}\n", "privacy: {agents: {}}\n", "privacy: {agents: {bob: {}}}\n"])
def test_where_nobody_has_a_secret_nothing_is_paid(tmp_path: Path, empty: str) -> None:
    bill = solved(file(tmp_path, PROBLEM + empty), "--algo", "leader")["findings"]["dpcop"]
    assert (bill["cost"], bill["privacy_cost"], bill["total"]) == (1100, 0, 1100)
    assert {agent["reward"] for agent in bill["agents"].values()} == {"inf"}


def test_an_agent_alone_has_nobody_to_hide_from(tmp_path: Path) -> None:
    text = """
name: alone
objective: min
domains: {d: {values: [0, 1, 2]}}
variables: {x: {domain: d, cost_function: x + 1}}
constraints: {}
agents: [solo]
distribution_hints: {must_host: {solo: [x]}}
privacy: {policy: own_min, agents: {solo: {reward: 0, secrets: [{entry: {x: 0}, price: 3}]}}}
"""
    for algo in ("leader", "n-leaders", "dpop"):
        found = solved(file(tmp_path, text), "--algo", algo)
        bill = found["findings"]["dpcop"]
        assert (found["status"], bill["cost"], bill["privacy_cost"], bill["total"]) == ("optimal", 1, 0, 1)


def test_what_it_is_worth_to_maximise_loses_the_price_of_privacy(tmp_path: Path) -> None:
    text = """
name: gain
objective: max
domains: {d: {values: [0, 1]}}
variables: {x: {domain: d, cost_function: 10 + x}, y: {domain: d, cost_function: 9 - 2 * y}}
constraints: {same: {type: intention, function: 3 if x == y else 0, known_to: all}}
agents: [a, b]
distribution_hints: {must_host: {a: [x], b: [y]}}
privacy: {agents: {b: {range: [0, 20], secrets: [{entry: {y: 0}, price: 7}]}}}
"""
    path = file(tmp_path, text)
    found = solved(path, "--algo", "leader")
    bill = found["findings"]["dpcop"]
    assert (found["status"], bill["cost"], bill["public_cost"]) == ("optimal", 22, 3)
    assert (bill["policy"], bill["privacy_cost"], bill["total"]) == ("own_min", 7, 15)
    abandoned = solved(path, "--algo", "leader", "--privacy", "policy=zero")["abandoned"]
    assert (abandoned["agent"], abandoned["time"]) == ("b", 1)
    text = text.replace("range: [0, 20]", "reward: 5")
    assert f"{path}: privacy.agents.b.reward: a problem that maximises" in refused(
        "solve", file(tmp_path, text), "--algo", "leader"
    )


def test_names_may_be_anything(tmp_path: Path) -> None:
    text = """
name: odd
objective: min
domains: {"d:1": {values: ["a,b", "c:d", "e=f", "[x]"]}}
variables: {"x:1": {domain: "d:1"}, "y, 2": {domain: "d:1"}, "q'uote\\"": {domain: "d:1"}}
constraints:
  "c:1": {type: extensional, variables: ["x:1"], owner: "ag:1", default: 3, values: {1: "a,b"}}
  "c, 2": {type: extensional, variables: ["y, 2"], owner: "b, 2", default: 2, values: {7: "a,b"}}
agents: ["ag:1", "b, 2", "+c'3\\"[x]\\e[31m"]
distribution_hints:
  must_host: {"ag:1": ["x:1"], "b, 2": ["y, 2"], "+c'3\\"[x]\\e[31m": ["q'uote\\""]}
privacy:
  agents:
    "ag:1": {secrets: [{name: "s:1, 'x' [red]\\e[2J", entry: {"x:1": "a,b"}, price: {"b, 2": 3}}]}
    "b, 2": {secrets: [{entry: {"y, 2": "[x]"}, price: {"ag:1": 5}}]}
"""
    path = file(tmp_path, text)
    bill = solved(path, "--algo", "leader", "-p", "leader=b, 2")["findings"]["dpcop"]
    assert bill["agents"]["ag:1"]["revelation"] == {"b, 2": ["s:1, 'x' [red]\x1b[2J"]}
    assert (bill["cost"], bill["privacy_cost"]) == (3, 3)
    shown = run("solve", path, "--algo", "n-leaders")
    assert shown.exit_code == 0, shown.stderr
    assert all(c.isprintable() or c == "\n" for c in shown.stdout)
    assert "\\x1b[2J" in shown.stdout


# --privacy ---------------------------------------------------------------------------------------------------------


def test_settings_replace_those_of_the_file() -> None:
    settings = ("--privacy", "pricing=probability", "--privacy", "policy=global_lb", "--privacy", "coalition=true")
    bill = solved(MEETING, "--algo", "dpop", *settings)["findings"]["dpcop"]
    assert (bill["pricing"], bill["policy"], bill["coalition"]) == ("probability", "global_lb", True)
    assert MEETING.read_text() == TEXT


def test_settings_hold_for_an_observer_that_is_asked_for() -> None:
    asked = ("--observe", "dpcop:as=bill", "--observe", "dpcop:pricing=probability,as=other")
    found = solved(MEETING, "--algo", "leader", "--privacy", "pricing=bits", *asked)["findings"]
    assert {label: bill["pricing"] for label, bill in found.items()} == {"bill": "bits", "other": "probability"}


def test_off_makes_nobody_rational() -> None:
    options = ("--algo", "leader", "--privacy", "off")
    assert solved(MEETING, *options)["findings"] == {}
    assert solved(MEETING, *options, "--observe", "dpcop")["findings"]["dpcop"]["total"] == 1160


def test_off_solves_what_cannot_be_priced(tmp_path: Path) -> None:
    fractions = file(tmp_path, TEXT.replace("600: T1, 800: T2", "600.5: T1, 800: T2"))
    assert f"{fractions}: privacy: costs must be whole numbers" in refused("solve", fractions, "--algo", "leader")
    assert solved(fractions, "--algo", "leader", "--privacy", "off")["cost"] == 1100


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("pricing=free",), "--privacy pricing: 'free' is not one of full, bits, probability"),
        (("policy=none",), "--privacy policy: 'none' is not one of zero, own_min, own_tuple, global_lb"),
        (("policy=",), "--privacy policy: '' is not one of"),
        (("coalition=yes",), "--privacy coalition: 'yes' must be true or false"),
        (("colour=red",), "no setting colour; there are pricing, policy and coalition"),
        (("dpcop=x",), "from Python"),
        (("pricing",), "KEY=VALUE"),
        (("=bits",), "KEY=VALUE"),
        (("OFF",), "KEY=VALUE"),
        (("pricing=bits", "pricing=bits"), "--privacy pricing: given twice"),
        (("off", "pricing=bits"), "--privacy off: stands alone"),
        (("off", "off"), "--privacy off: stands alone"),
        (("policy=\x1b[31m\n",), "\\x1b[31m"),
    ],
)
def test_wrong_settings_are_one_line(given: tuple[str, ...], words: str) -> None:
    told = refused("solve", MEETING, "--algo", "leader", *(part for text in given for part in ("--privacy", text)))
    assert words in told
    assert str(MEETING) not in told  # nothing is wrong with the file


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("dpcop:pricing=free", "'free'"),
        ("dpcop:coalition=maybe", "'maybe'"),
        ("dpcop:priing=full", "no option priing"),
        ("dpcop:view=agent:carl", "carl"),
        ("dpcop:view=wire:alice>bob", "a wire is nobody's"),
        ("smi:k=0", "k=0"),
        ("smi:k=many", "k"),
        ("smi:transitive=true", "preferences"),
        ("smi:view=agent:carl", "carl"),
    ],
)
def test_wrong_options_of_observers_are_one_line(spec: str, words: str) -> None:
    assert words in refused("solve", MEETING, "--algo", "leader", "--observe", spec)


# Abandoned runs ----------------------------------------------------------------------------------------------------


def test_abandoned_is_exit_0_and_says_who_when_and_why() -> None:
    found = solved(MEETING, "--algo", "leader", "--privacy", "policy=own_min")
    assert (found["status"], found["cost"], found["assignment"]) == ("abandoned", None, {})
    who = found["abandoned"]
    assert set(who) == {"agent", "node", "time", "reason"}
    assert (who["agent"], who["node"], who["time"]) == ("alice", "x1", 0)
    assert "a cost of at least 600 reach the reward of 200" in who["reason"]
    bill = found["findings"]["dpcop"]
    assert (bill["abandoned"], bill["cost"], bill["total"], bill["privacy_cost"]) == (who, None, None, 0)


def test_what_was_revealed_before_somebody_left_is_on_the_bill(tmp_path: Path) -> None:
    # Bob's first answer costs him 40, his second one 20 more: with a reward of 40 he leaves at once, with 41 never,
    # and where the second one is dearer, having paid for the first.
    for reward, price, revealed in ((40, 20, []), (41, 20, ["T1", "T2"]), (41, 50, ["T1"])):
        text = TEXT.replace("reward: 300", f"reward: {reward}").replace("{alice: 20}", f"{{alice: {price}}}")
        found = solved(file(tmp_path, text), "--algo", "leader")
        assert found["status"] == ("optimal" if len(revealed) == 2 else "abandoned")
        assert found["findings"]["dpcop"]["agents"]["bob"]["revelation"] == ({"alice": revealed} if revealed else {})


def test_people_read_who_abandoned() -> None:
    result = run("solve", MEETING, "--algo", "dpop", "--privacy", "pricing=bits", "--privacy", "policy=own_min")
    told = " ".join(result.stdout.split())
    assert result.exit_code == 0
    assert "status abandoned" in told
    assert "bob abandoned at time 0" in told
    assert "60 more for privacy and a cost of at least 300 reach the reward of 300" in told


@pytest.mark.parametrize("limit", [("--max-messages", 3), ("--max-time", 2)])
def test_a_limit_leaves_a_bill_for_what_was_revealed_by_then(limit: tuple[object, ...]) -> None:
    found = solved(MEETING, "--algo", "leader", *limit, status=3)
    bill = found["findings"]["dpcop"]
    assert (found["status"], bill["cost"], bill["total"]) == ("timeout", None, None)
    assert (bill["privacy_cost"], bill["agents"]["bob"]["revelation"]) == (40, {"alice": ["T1"]})


@pytest.mark.parametrize("reward", ["1" + "0" * 30, "18446744073709551616", "1e300", ".inf"])
def test_a_reward_may_be_as_great_as_you_like(tmp_path: Path, reward: str) -> None:
    path, log = file(tmp_path, TEXT.replace("reward: 200", f"reward: {reward}")), tmp_path / "run.amlog"
    found = solved(path, "--algo", "leader", "--log", log)["findings"]
    assert float(found["dpcop"]["agents"]["alice"]["reward"]) == float(reward.strip("."))
    assert json.loads(run("replay", log, "--observe", "dpcop", "--json").stdout)["findings"] == found


# What is wrong in a file -------------------------------------------------------------------------------------------


def edited(old: str, new: str) -> str:
    assert old in SECTION
    return "privacy:" + SECTION.replace(old, new, 1)


WRONG = {
    "negative price": (edited("bob: 30", "bob: -30"), f"{ALICE}.secrets[0].price.bob: -30 is negative"),
    "price nan": (edited("bob: 30", "bob: .nan"), f"{ALICE}.secrets[0].price.bob: 'nan' is not a number"),
    "infinite price": (edited("bob: 30", "bob: .inf"), f"{ALICE}.secrets[0].price.bob: inf is more than"),
    "huge price": (edited("bob: 30", "bob: 1e300"), f"{ALICE}.secrets[0].price.bob: 1e+300 is more than"),
    "price of 5,000 digits": (edited("bob: 30", "bob: " + "9" * 5000), f"{ALICE}.secrets[0].price.bob: "),
    "price a truth": (edited("{bob: 30}", "true"), f"{ALICE}.secrets[0].price: "),
    "price a list": (edited("{bob: 30}", "[1, 2]"), f"{ALICE}.secrets[0].price: "),
    "price nothing": (edited("{bob: 30}", "null"), f"{ALICE}.secrets[0].price: "),
    "price a date": (edited("{bob: 30}", "2001-01-01"), f"{ALICE}.secrets[0].price: "),
    "no price": (edited(", price: {bob: 30}", ""), f"{ALICE}.secrets[0]: has no price"),
    "unknown peer": (edited("{bob: 30}", "{carl: 30}"), f"{ALICE}.secrets[0].price.carl: unknown agent"),
    "peer oneself": (edited("{bob: 30}", "{alice: 30}"), f"{ALICE}.secrets[0].price.alice: nobody hides"),
    "unknown variable": (edited("{x1: T1}", "{x9: T1}"), f"{ALICE}.secrets[0].entry: unknown variable 'x9'"),
    "unknown value": (edited("{x1: T1}", "{x1: T9}"), f"{ALICE}.secrets[0].entry: x1 has no value 'T9'"),
    "entry of nothing": (edited("{x1: T1}", "{}"), f"{ALICE}.secrets[0].entry: names no variable"),
    "entry a list": (edited("{x1: T1}", "[x1]"), f"{ALICE}.secrets[0].entry: must be a map"),
    "value a list": (edited("{x1: T1}", "{x1: [T1]}"), f"{ALICE}.secrets[0].entry.x1: is not a value"),
    "no entry": (edited("entry: {x1: T1}, ", ""), f"{ALICE}.secrets[0]: has no entry"),
    "unknown agent": (edited("    bob:\n", "    carl:\n"), "privacy.agents.carl: unknown agent"),
    "agent a number": ("privacy: {agents: {1: {}}}", "privacy.agents.1: unknown agent"),
    "one name twice": (edited("name: T2", "name: T1"), f"{ALICE}.secrets[1]: the name 'T1' is that of secrets[0]"),
    "one entry twice": (edited("{x1: T2}", "{x1: T1}"), f"{ALICE}.secrets[1].entry: is that of secrets[0]"),
    "name a list": (edited("name: T1", "name: [T1]"), f"{ALICE}.secrets[0].name: is not a name"),
    "unknown policy": (edited("zero", "naught"), "privacy.policy: 'naught' is not one of zero, own_min"),
    "policy a list": (edited("zero", "[zero]"), "privacy.policy: "),
    "unknown pricing": (edited("policy: zero", "pricing: free"), "privacy.pricing: 'free' is not one of full"),
    "coalition a text": (edited("policy: zero", "coalition: 'true'"), "privacy.coalition: must be true or false"),
    "unknown key": (edited("policy: zero", "polcy: zero"), "privacy: unknown key 'polcy' (known: pricing"),
    "unknown key of an agent": (edited("reward: 200", "rewrd: 2"), f"{ALICE}: unknown key 'rewrd' (known: reward"),
    "unknown key of a secret": (edited("{name: T1,", "{worth: 3, name: T1,"), f"{ALICE}.secrets[0]: unknown key"),
    "negative reward": (edited("reward: 200", "reward: -1"), f"{ALICE}.reward: -1 is negative"),
    "reward of 5,000 digits": (edited("reward: 200", "reward: " + "9" * 5000), f"{ALICE}.reward: "),
    "reward nan": (edited("reward: 200", "reward: .nan"), f"{ALICE}.reward: 'nan' is not a number"),
    "reward a truth": (edited("reward: 200", "reward: yes"), f"{ALICE}.reward: "),
    "range of one": (edited("reward: 200", "range: [1]"), f"{ALICE}.range: must be two finite numbers"),
    "range infinite": (edited("reward: 200", "range: [0, .inf]"), f"{ALICE}.range: must be two finite numbers"),
    "range nan": (edited("reward: 200", "range: [0, .nan]"), f"{ALICE}.range[1]: 'nan' is not a number"),
    "range empty": (edited("reward: 200", "range: [9, 0]"), f"{ALICE}.range: [9, 0] is empty"),
    "range too narrow": (
        edited("reward: 200", "range: [601, 1000]"),
        f"{ALICE}.range: the cost of x1=T1 is 600, outside the declared [601, 1000]",
    ),
    "range hard": (edited("reward: 200", "range: hard"), f"{ALICE}.range: the cost of x1=T1 is 600, neither 0 nor"),
    "range a map": (edited("reward: 200", "range: {a: 1}"), f"{ALICE}.range: must be two finite numbers"),
    "combine a word": (edited("reward: 200", "combine: product"), f"{ALICE}.combine: 'product' is not sum, max or"),
    "sets whose prices fall": (
        edited(
            "reward: 200",
            "combine: [{peer: bob, secrets: [T1], price: 10}, {peer: bob, secrets: [T2, T1], price: 9}]",
        ),
        f"{ALICE}.combine: for bob, {{T1, T2}} costs 9, less than its part {{T1}} at 10",
    ),
    "set of an unknown secret": (
        edited("reward: 200", "combine: [{peer: bob, secrets: [T3], price: 1}]"),
        f"{ALICE}.combine[0].secrets: unknown secret 'T3'",
    ),
    "set for an unknown peer": (
        edited("reward: 200", "combine: [{peer: carl, secrets: [T1], price: 1}]"),
        f"{ALICE}.combine[0].peer: unknown agent",
    ),
    "set of nothing": (
        edited("reward: 200", "combine: [{peer: bob, secrets: [], price: 1}]"),
        f"{ALICE}.combine[0].secrets: must name from 1 to",
    ),
    "set without a price": (
        edited("reward: 200", "combine: [{peer: bob, secrets: [T1]}]"),
        f"{ALICE}.combine[0]: has no price",
    ),
    "set a number": (edited("reward: 200", "combine: [3]"), f"{ALICE}.combine[0]: must be a map"),
    "section a list": ("privacy: [1, 2]", "privacy: must be a map"),
    "section a text": ("privacy: yes please", "privacy: must be a map"),
    "section a number": ("privacy: 3", "privacy: must be a map"),
    "agents a list": ("privacy: {agents: [alice]}", "privacy.agents: must be a map"),
    "agent nothing": ("privacy: {agents: {bob: }}", f"{BOB}: must be a map"),
    "secrets a map": ("privacy: {agents: {bob: {secrets: {a: 1}}}}", f"{BOB}.secrets: must be a list"),
    "secret a number": ("privacy: {agents: {bob: {secrets: [1]}}}", f"{BOB}.secrets[0]: must be a map"),
    "evil key": ('privacy: {"a\\nb\\e[31m": 1}', "privacy: unknown key 'a\\nb\\x1b[31m'"),
    "evil agent": ('privacy: {agents: {"a\\nb\\e[31m": {}}}', "privacy.agents.'a\\nb\\x1b[31m': unknown agent"),
    "long agent": ("privacy: {agents: {%s: {}}}" % ("z" * 900), "zzz...': unknown agent"),
    "deep": ("privacy: " + "{a: " * 200 + "1" + "}" * 200, "nested deeper"),
    "deeper": ("privacy: " + "[" * 3000 + "]" * 3000, "nested deeper"),
    "endless": ("privacy: &a {agents: *a}", "contains itself"),
    "python": ("privacy: !!python/object/apply:os.system [ls]", "not allowed"),
    "key twice": (edited("policy: zero", "policy: zero\n  policy: zero"), "'policy' occurs twice"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_section_is_one_line_that_names_the_file_and_the_place(tmp_path: Path, what: str) -> None:
    section, words = WRONG[what]
    path, out = file(tmp_path, PROBLEM + section + "\n"), tmp_path / "out.yaml"
    told = refused("solve", path, "--algo", "leader", "--json")
    assert told.startswith(f"agentsim: {path}: ")
    assert words in told
    assert len(told) < len(str(path)) + 200
    assert refused("convert", path, out) == told
    assert not out.exists()
    if "privacy" in words:  # the file could be read: to do without prices does not excuse nonsense
        assert refused("solve", path, "--algo", "leader", "--privacy", "off") == told


def test_an_entry_that_the_agent_has_no_cost_on_is_no_secret(tmp_path: Path) -> None:
    problem = """
objective: min
domains: {d: {values: [0, 1]}}
variables: {x: {domain: d, cost_function: x}, y: {domain: d}}
constraints: {c: {type: intention, function: x * y}, own: {type: intention, function: x + 2 * y, owner: a}}
agents: [a, b]
distribution_hints: {must_host: {a: [x], b: [y]}}
"""
    for agent, entry, variables in (
        ("a", "{y: 0}", "y"),  # nobody's
        ("b", "{x: 0}", "x"),  # somebody else's
        ("b", "{y: 0, x: 1}", "x, y"),  # a constraint that both of them know, and one of somebody else
    ):
        section = f"privacy: {{agents: {{{agent}: {{secrets: [{{entry: {entry}, price: 1}}]}}}}}}\n"
        path = file(tmp_path, problem + section)
        cause = f"privacy.agents.{agent}.secrets[0].entry: {agent} has no private cost on exactly {variables}"
        for command in (("solve", path, "--algo", "leader"), ("convert", path, tmp_path / "out.yaml")):
            assert refused(*command) == f"agentsim: {path}: {cause}\n"
    path = file(tmp_path, problem + "privacy: {agents: {a: {secrets: [{entry: {y: 0, x: 0}, price: 1}]}}}\n")
    assert solved(path, "--algo", "leader", "-p", "leader=b")["findings"]["dpcop"]["privacy_cost"] == 1


def test_more_secrets_than_allowed_are_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privacy.dpcop.section.MAX_SECRETS", 3)
    assert f"{BOB}.secrets: more than 3 secrets" in refused("solve", MEETING, "--algo", "leader")


# Logs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        ("--algo", "leader"),
        ("--algo", "dpop", "--privacy", "pricing=bits", "--privacy", "policy=own_min"),
        ("--algo", "adopt", "--privacy", "pricing=probability", "--privacy", "coalition=true"),
        ("--algo", "n-leaders", "--network", "uniform:1,9", "--seed", 3),
    ],
    ids=lambda given: " ".join(map(str, given)),
)
def test_a_log_gives_the_same_findings_and_can_be_verified(tmp_path: Path, given: tuple[object, ...]) -> None:
    log = tmp_path / "run.amlog"
    found = solved(MEETING, *given, "--log", log, "--observe", "smi")["findings"]
    assert set(found) == {"dpcop", "smi"}
    result = run("replay", log, "--verify", "--observe", "dpcop", "--observe", "smi", "--json")
    again = json.loads(result.stdout)
    assert (result.exit_code, again["verified"], again["findings"]) == (0, True, found)
    assert json.loads(run("inspect", log, "--json").stdout)["findings"] == found
    shown = run("replay", log, "--observe", "dpcop")
    assert shown.exit_code == 0
    assert f"pricing {found['dpcop']['pricing']}, policy {found['dpcop']['policy']}" in shown.stdout


def test_a_redacted_log_has_secrets_and_prices_and_no_costs(tmp_path: Path) -> None:
    problem, log = tmp_path / "match.yaml", tmp_path / "run.amlog"
    assert run("generate", "stable-matching", "-o", problem).exit_code == 0
    live = solved(problem, "--algo", "leader", "--log", log, "--redact", "--observe", "smi")["findings"]
    result = run("replay", log, "--observe", "smi", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["findings"]["smi"] == live["smi"]
    assert live["smi"]["price"] > 0
    assert "private costs were left out of this log" in refused("replay", log, "--observe", "dpcop")
    assert "private costs were left out of this log" in refused("replay", log, "--verify")


def test_a_log_of_a_run_without_prices_can_be_priced_later(tmp_path: Path) -> None:
    log = tmp_path / "run.amlog"
    solved(MEETING, "--algo", "leader", "--privacy", "off", "--log", log)
    replayed = json.loads(run("replay", log, "--observe", "dpcop:pricing=bits", "--json").stdout)
    assert replayed["findings"]["dpcop"]["total"] == 1160
    assert replayed["findings"]["dpcop"]["pricing"] == "bits"


# Generated problems, other formats, lists, the experiment ----------------------------------------------------------


@pytest.mark.parametrize("values", [2, 3])
@pytest.mark.parametrize("form", ["STM", "RPSM", "RPSX"])
def test_stable_matchings_are_generated_and_solved(tmp_path: Path, form: str, values: int) -> None:
    path = tmp_path / "match.yaml"
    made = run("generate", "stable-matching", "-p", f"form={form}", "-p", f"values={values}", "--seed", 3, "-o", path)
    assert made.exit_code == 0, made.stderr
    assert "pyDCOP ignores `privacy`" in made.stdout
    found = solved(path, "--algo", "leader", "--observe", "smi")
    bill, smi = found["findings"]["dpcop"], found["findings"]["smi"]
    prices = {
        agent: sum(secret["price"] for secret in stake["secrets"])
        for agent, stake in load(path).extras["privacy"]["agents"].items()
    }
    assert found["status"] in (("optimal",) if form == "RPSX" else ("optimal", "infeasible"))
    told = len(prices) - 1 if found["status"] == "optimal" else 0  # the others learn what the leader does not forbid
    assert bill["agents"]["a0"]["privacy_cost"] <= told * prices["a0"]
    assert 0 < bill["privacy_cost"] <= (len(prices) - 1) * sum(prices.values())
    assert smi["price"] <= bill["privacy_cost"]  # SMI concludes no more than follows
    shown = run("solve", path, "--algo", "leader", "--observe", "smi")
    assert "Findings of smi" in shown.stdout


@pytest.mark.parametrize(
    "given", ["form=XYZ", "m=1", "m=9", "values=4", "mode=weak", "price=free", "order=y", "size=4", "m=two"]
)
def test_wrong_stable_matchings_are_one_line(tmp_path: Path, given: str) -> None:
    out = tmp_path / "out.yaml"
    assert given.partition("=")[0] in refused("generate", "stable-matching", "-p", given, "-o", out)
    assert not out.exists()


def test_without_prices_there_is_no_section(tmp_path: Path) -> None:
    path = tmp_path / "match.yaml"
    assert run("generate", "stable-matching", "-p", "price=none", "-o", path).exit_code == 0
    assert solved(path, "--algo", "leader")["findings"] == {}


@pytest.mark.parametrize("suffix", [".yaml", ".amdcop"])
def test_a_converted_file_keeps_its_section(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    assert run("convert", MEETING, out).exit_code == 0
    assert load(out).extras["privacy"] == load(MEETING).extras["privacy"]
    assert solved(out, "--algo", "leader")["findings"] == solved(MEETING, "--algo", "leader")["findings"]


def test_the_experiment_on_the_papers_example(tmp_path: Path) -> None:
    result = run("reproduce", "dpcop-example", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = json.loads(result.stdout)["rows"]
    priced = [row for row in rows if row.get("reference") is not None and "objective" in row]
    assert len(priced) >= 17
    assert all(row["objective"] == row["reference"] for row in priced)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("generators", {"stable-matching"}),
        ("observers", {"dpcop", "smi"}),
        ("solvers", {"leader", "n-leaders"}),
        ("experiments", {"dpcop-example", "dpcop-table1", "dpcop-solvers"}),
    ],
)
def test_lists_show_what_there_is(kind: str, names: set[str]) -> None:
    rows = {row["name"]: row for row in json.loads(run("list", kind, "--json").stdout)[kind]}
    assert names <= set(rows)
    assert all(rows[name]["summary"] and rows[name]["status"] in ("verified", "tested") for name in names)
    shown = run("list", kind)
    assert shown.exit_code == 0
    assert all(name in shown.stdout for name in names)


def test_help_tells_of_privacy() -> None:
    shown = " ".join(run("solve", "--help").stdout.split())
    assert "--privacy KEY=VALUE" in shown
    assert all(word in shown for word in ("pricing=full|bits|probability", "policy=zero|", "coalition=", "off"))


def test_the_section_of_the_documentation_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "prices.md").read_text()
    (section,) = re.findall(r"```yaml\n(privacy:.*?)```", page, flags=re.S)
    bill = solved(file(tmp_path, PROBLEM + section), "--algo", "leader", "-p", "leader=bob")["findings"]["dpcop"]
    assert (bill["agents"]["alice"]["privacy_cost"], bill["total"]) == (80, 1180)


def test_a_redacted_run_has_no_bill_unless_it_is_asked_for(tmp_path: Path) -> None:
    """What agents' costs come to is private; who wants it in the log has to say so."""
    found = solved(MEETING, "--algo", "leader", "--redact", "--log", tmp_path / "run.amlog")
    assert (found["status"], found["findings"]) == ("optimal", {})
    asked = solved(MEETING, "--algo", "leader", "--redact", "--observe", "dpcop")
    assert asked["findings"]["dpcop"]["total"] == 1160


def test_people_see_what_smi_inferred_as_a_table(tmp_path: Path) -> None:
    path = tmp_path / "match.yaml"
    assert run("generate", "stable-matching", "-o", path).exit_code == 0
    shown = run("solve", path, "--algo", "leader", "--observe", "smi").stdout
    lines = [line.split() for line in shown.splitlines()]
    assert ["viewer", "learns", "of", "entries", "answers", "price"] in lines
    assert any(line[:5] == ["a0", "b1", "2", "of", "2"] for line in lines)
