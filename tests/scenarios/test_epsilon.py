"""`agentsim epsilon`: its keys, its numbers and its manners."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from typing import Any

import pytest
from click.testing import CliRunner, Result

from scenarios.cli import main

KEYS = {"paper", "pld", "rdp", "edge", "agent", "emitted", "reason", "parts"}
PARTS = {
    *("per_iteration", "eps_s", "eps_n", "table4", "eq12_printed", "basic_composition"),
    *("own_model", "own_model_1_over_gamma", "value_delta", "best_c", "best_tau"),
}


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["epsilon", *map(str, args)], prog_name="agentsim")


def found(*args: object) -> dict[str, Any]:
    result = run(*args, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def setting(sigma: object, gamma: object, q: object) -> tuple[object, ...]:
    return ("--sigma", sigma, "--gamma", gamma, "-q", q)


needs_dp = pytest.mark.skipif(find_spec("dp_accounting") is None, reason="needs the extra dp")


PLD = {
    # own model with 2/gamma, with 1/gamma, value and difference, with the best difference at c, at tau; at delta 1e-2
    0.0461: (0.0, 0.0, 0.0, 0.0, 0.0),
    0.662: (0.065, 0.0231, 0.1682, 0.2714, 0.5037),
    1.31: (0.1896, 0.0833, 0.2743, 0.3598, 0.5705),
    4.10: (0.7183, 0.3302, 0.9555, 1.2321, 1.9298),
    9.56: (1.9568, 0.7769, 2.0977, 2.4894, 3.5409),
}


@needs_dp
@pytest.mark.parametrize(
    ("sigma", "gamma", "q", "paper", "pld", "rdp"),
    [
        (1000, "inf", 0.1, 0.0461, 0, 0.0226),
        (25, 20, 0.1, 0.662, 0.5037, 1.0205),
        (25, 20, 0.2, 1.31, 0.5705, 1.1272),
        (10, 8, 0.2, 4.10, 1.9298, 3.0691),
        (7, 4, 0.2, 9.56, 3.5409, 5.1372),
    ],
)
def test_the_papers_settings(sigma: float, gamma: object, q: float, paper: float, pld: float, rdp: float) -> None:
    what = found(*setting(sigma, gamma, q))
    assert set(what) == KEYS
    assert set(what["parts"]) == PARTS
    assert set(what["parts"]["per_iteration"]) == {"c_s", "c_n"}
    assert float(f"{what['paper']:.3g}") == paper
    assert what["pld"] == what["parts"]["best_tau"] == pytest.approx(pld, rel=0.02)
    assert what["rdp"] == pytest.approx(rdp, rel=0.02)
    columns = ("own_model", "own_model_1_over_gamma", "value_delta", "best_c", "best_tau")
    assert [what["parts"][c] for c in columns] == pytest.approx(PLD[paper], rel=0.02)
    assert what["pld"] <= what["edge"] <= what["agent"]
    assert what["emitted"] == "inf"
    assert "best response" in what["reason"]
    parts = what["parts"]
    assert parts["own_model_1_over_gamma"] <= parts["own_model"] <= what["paper"]
    assert parts["value_delta"] <= parts["best_c"] <= parts["best_tau"] <= what["rdp"]
    assert what["paper"] == pytest.approx(parts["eps_s"] + parts["eps_n"])
    assert parts["eq12_printed"][0] <= parts["eq12_printed"][1]


@needs_dp
def test_options_reach_the_accountants() -> None:
    base = found(*setting(10, 8, 0.2))
    other = found(*setting(10, 8, 0.2), "--tau", 4, "--degree", 1)
    assert other["pld"] == base["pld"]  # noise and clipping scale together
    assert other["agent"] == pytest.approx(base["edge"], rel=1e-6)
    longer = found(*setting(10, 8, 0.2), "--iterations", 100, "--degree", 0)
    assert longer["pld"] == longer["agent"] == pytest.approx(base["edge"], rel=1e-6)
    smaller = found(*setting(10, 8, 0.2), "--delta", "1e-5", "--order", 50)
    assert smaller["pld"] > base["pld"]
    assert smaller["parts"]["per_iteration"]["c_n"] < base["parts"]["per_iteration"]["c_n"]


@needs_dp
def test_without_noise_and_without_choice() -> None:
    bare = found(*setting(0, 20, 0.1))
    assert {bare[key] for key in ("paper", "pld", "rdp", "edge", "agent")} == {"inf"}
    assert found(*setting(25, 0, 0.1))["pld"] == "inf"
    silent = found(*setting("inf", 20, 0.1))
    assert silent["parts"]["eps_n"] == 0
    assert silent["pld"] == silent["parts"]["value_delta"] > 0
    nothing = found(*setting("inf", "inf", 1))
    assert (nothing["paper"], nothing["pld"], nothing["rdp"], nothing["emitted"]) == (0, 0, 0, "inf")


@needs_dp
def test_people_get_a_table_with_a_sentence_for_each_number() -> None:
    result = run(*setting(25, 20, 0.1))
    assert result.exit_code == 0
    for word in ("0.662", "0.5038", "inf", "noise 1250", "paper", "edge", "4 neighbours", "best response", "Table 4"):
        assert word in result.stdout, result.stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--sigma", 25, "--gamma", 20), "-q"),
        (setting(-1, 20, 0.1), "--sigma"),
        (setting("nan", 20, 0.1), "--sigma"),
        (setting(25, "-inf", 0.1), "--gamma"),
        (setting(25, "much", 0.1), "much"),
        (setting(25, 20, 1.1), "-q"),
        (setting(25, 20, "nan"), "-q"),
        ((*setting(25, 20, 0.1), "--delta", 0), "--delta"),
        ((*setting(25, 20, 0.1), "--delta", 1), "--delta"),
        ((*setting(25, 20, 0.1), "--iterations", 0), "--iterations"),
        ((*setting(25, 20, 0.1), "--tau", 0), "--tau"),
        ((*setting(25, 20, 0.1), "--tau", "inf"), "--tau"),
        ((*setting(25, 20, 0.1), "--order", 1), "--order"),
        ((*setting(25, 20, 0.1), "--degree", -1), "--degree"),
    ],
)
def test_what_makes_no_sense_is_one_line(args: tuple[object, ...], words: str) -> None:
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr


def test_without_the_extra_dp_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    result = run(*setting(25, 20, 0.1), "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert "agentsim[dp]" in result.stderr
