"""Problem files that nobody here wrote, with the optima that their collection proves (its README)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentsim import FormatError, SolverRefusal, load, simulate

HOME = os.environ.get("AGENTSIM_INSTANCES")
pytestmark = [pytest.mark.instances, pytest.mark.skipif(HOME is None, reason="AGENTSIM_INSTANCES is not set")]

OPTIMA = {
    "pydcop/gc_v5_d3.yaml": 16,
    "pydcop/gc_v8_d5.yaml": 20,
    "pydcop/gc_v8_d3_int.yaml": 1000,
    "pydcop/gc_v12_d8_p30.yaml": 16,
    "pydcop/gc_grid100_d3_hard.yaml": 0,
    "pydcop/ising_2x5.yaml": -12.062525448706376,
    "pydcop/ising_3x4.yaml": -49.014756464134166,
    "pydcop/ms_tiny.yaml": 3,
    "pydcop/ms_v15_s20.yaml": 579,
    "pydcop/ms_v25_s20.yaml": 1547,
    "frodo/tiny.xml": 1,
    "frodo/gc01_n05_d40_k3.xml": 0,
    "frodo/gc04_n12_d30_k3.xml": 0,
    "frodo/md01_n06_k3_d60_t50.xml": 1,
    "frodo/md03_n08_k4_d70_t70.xml": 4,
    "frodo/gh01_n06_d50_k3_hard.xml": 0,
    "frodo/gh03_n08_d90_k3_hard.xml": None,
    "frodo/ms01_PEAV_a4_m2_p2_s4.xml": 18,
    "frodo/ms03_PEAV_a5_m3_p3_s6.xml": 23,
    "frodo/ms05_EAV_a6_m5_p2_s5.xml": 27,
    "frodo/rn01_n06_e08_a6_amp20.xml": 88,
    "frodo/rn04_n10_e15_a4_amp20_multivar.xml": 156,
    "frodo/rn06_n08_e12_a8_hard20.xml": 94,
    "frodo/rn07_n08_e12_a8_max.xml": -147,
    "frodo/rn08_n08_e12_a8_mixsign.xml": -86,
    "wcsp/example.wcsp": 27,
    "wcsp/4queens.wcsp": 0,
    "wcsp/zebra.wcsp": 0,
    "wcsp/GEOM40_6.wcsp": 0,
    "wcsp/404.wcsp": 114,
    "wcsp/mendel.cfn": 1,
}
"""None: infeasible."""

# Up to 8 variables: also by search.
SMALL = [
    "pydcop/gc_v5_d3.yaml",
    "pydcop/gc_v8_d5.yaml",
    "pydcop/gc_v8_d3_int.yaml",
    "pydcop/ms_tiny.yaml",
    "frodo/tiny.xml",
    "frodo/gc01_n05_d40_k3.xml",
    "frodo/md01_n06_k3_d60_t50.xml",
    "frodo/md03_n08_k4_d70_t70.xml",
    "frodo/gh01_n06_d50_k3_hard.xml",
    "frodo/gh03_n08_d90_k3_hard.xml",
    "frodo/ms01_PEAV_a4_m2_p2_s4.xml",
    "frodo/ms05_EAV_a6_m5_p2_s5.xml",
    "frodo/rn01_n06_e08_a6_amp20.xml",
    "frodo/rn06_n08_e12_a8_hard20.xml",
    "frodo/rn07_n08_e12_a8_max.xml",
    "frodo/rn08_n08_e12_a8_mixsign.xml",
    "wcsp/4queens.wcsp",
    "wcsp/mendel.cfn",
]


def check(file: str, solver: str) -> None:
    result = simulate(load(Path(str(HOME)) / file), solver, timeout=300)
    optimum = OPTIMA[file]
    if optimum is None:
        assert result.status == "infeasible"
    else:
        assert result.status == "optimal", result.limit
        assert result.cost == pytest.approx(optimum, abs=1e-6)


@pytest.mark.parametrize("file", OPTIMA)
def test_dpop_proves_the_optimum(file: str) -> None:
    check(file, "dpop")


@pytest.mark.parametrize("solver", ["synchbb", "adopt", "adopt-plus", "bnb-adopt", "bnb-adopt-plus", "brute-force"])
@pytest.mark.parametrize("file", SMALL)
def test_search_proves_the_optimum_of_small_files(file: str, solver: str) -> None:
    check(file, solver)


@pytest.mark.parametrize("file", ["wcsp/CELAR6-SUB0.wcsp", "wcsp/505.wcsp", "pydcop/gc_v100_d25.yaml"])
def test_dpop_refuses_what_is_too_wide_and_says_how_large_it_would_be(file: str) -> None:
    with pytest.raises(SolverRefusal, match=r"cells, .* bytes, more than .*mb-dpop"):
        simulate(load(Path(str(HOME)) / file), "dpop")


def test_mb_dpop_reaches_its_limit_with_a_bound_and_an_assignment() -> None:
    problem = load(Path(str(HOME)) / "wcsp/CELAR6-SUB0.wcsp")
    result = simulate(problem, "mb-dpop", max_messages=200)
    assert (result.status, result.limit) == ("timeout", "max_messages")
    assert result.bound is not None
    assert result.cost is not None
    assert 0 < result.bound <= 159 <= result.cost


def test_every_other_file_loads_or_is_refused_for_its_reason() -> None:
    refused = []
    for path in sorted(Path(str(HOME)).glob("*/*")):
        try:
            load(path)
        except FormatError as error:
            refused.append((path.name, error.cause))
    assert [name for name, _ in refused] == ["graph_coloring1_func.yaml"]
    assert "code" in refused[0][1]
