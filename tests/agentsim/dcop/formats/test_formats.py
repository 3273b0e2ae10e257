"""`load` and `save` as a whole, and the problem files that others wrote."""

from __future__ import annotations

import os
import sys
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentsim.dcop import formats
from agentsim.dcop.formats import load, save
from agentsim.dcop.problem import Problem
from agentsim.errors import FormatError, UserError

DATA = Path(__file__).parent / "data"
INSTANCES = os.environ.get("AGENTSIM_INSTANCES")
needs_instances = pytest.mark.skipif(INSTANCES is None, reason="AGENTSIM_INSTANCES is not set")


def test_bad_paths(tmp_path: Path) -> None:
    for path, cause in [
        (tmp_path / "missing.yaml", "cannot be read (No such file"),
        (tmp_path / "problem.txt", "unknown kind of problem file '.txt'"),
        (tmp_path / "problem", "unknown kind"),
        (tmp_path / "a\0b.yaml", "not a file name"),
    ]:
        with pytest.raises(UserError) as caught:
            load(path)
        assert cause in str(caught.value)
        assert "\n" not in str(caught.value)
    (tmp_path / "dir.yaml").mkdir()
    with pytest.raises(UserError, match="not a regular file"):
        load(tmp_path / "dir.yaml")
    with pytest.raises(UserError, match="only a pyDCOP file"):
        load(DATA / "tiny.xml", distribution=DATA / "features.yaml")
    with pytest.raises(UserError, match="seed -1"):
        load(DATA / "features.yaml", seed=-1)
    with pytest.raises(UserError, match=r"cannot write '.xml'"):
        save(load(DATA / "tiny.xml"), tmp_path / "out.xml")
    with pytest.raises(UserError, match="cannot be written"):
        save(load(DATA / "tiny.xml"), tmp_path / "no" / "out.yaml")


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(UserError, match="not a regular file"):
        load(tmp_path / "pipe.yaml")


def test_an_oversized_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as file:
        file.truncate(formats.MAX_FILE_BYTES + 1)
    with pytest.raises(UserError, match="more than the"):
        load(path)


@pytest.mark.parametrize("suffix", [".yaml", ".xml", ".wcsp", ".cfn", ".amdcop"])
@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"\0" * 1000, b"\n", b"{", b"<", bytes(range(256))])
def test_rubbish_is_refused(suffix: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["features.yaml", "tiny.xml", "small.wcsp", "small.cfn"])
def test_damaged_files_give_a_problem_or_one_error(name: str, tmp_path: Path) -> None:
    data = (DATA / name).read_bytes()
    rng = np.random.Generator(np.random.PCG64(5))
    path = tmp_path / name
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(len(damaged)))
            match int(rng.integers(3)):
                case 0:
                    damaged[at] = int(rng.integers(32, 127))
                case 1:
                    del damaged[at : at + int(rng.integers(1, 20))]
                case _:
                    damaged[at:at] = damaged[: int(rng.integers(20))]
        path.write_bytes(damaged)
        message = ""
        try:
            load(path)
        except UserError as error:
            message = str(error)
        assert "\n" not in message
        assert "cannot be read (" not in message, bytes(damaged)


@pytest.mark.parametrize("name", ["features.yaml", "tiny.xml", "small.wcsp", "small.cfn"])
@pytest.mark.parametrize("suffix", [".yaml", ".amdcop"])
def test_conversion_keeps_every_cost(name: str, suffix: str, tmp_path: Path) -> None:
    original = load(DATA / name)
    save(original, tmp_path / f"out{suffix}")
    got = load(tmp_path / f"out{suffix}")
    costs = [original.evaluate_indices(a) for a in original.assignments()]
    assert [got.evaluate_indices(a) for a in got.assignments()] == costs


# --- files that nobody here wrote -----------------------------------------------------------------------------------


def optimum(problem: Problem) -> float:
    """Return the best cost by eliminating variables, fewest neighbours first."""
    best = np.minimum if problem.objective == "min" else np.maximum
    factors: list[tuple[tuple[str, ...], Any]] = [((), np.array(float(problem.constant)))]
    factors += [((v.name,), v.unary.astype(float)) for v in problem.variables.values() if v.unary is not None]
    factors += [(c.scope, c.table.astype(float)) for c in problem.constraints.values()]
    left = set(problem.variables)

    def join(a: tuple[tuple[str, ...], Any], b: tuple[tuple[str, ...], Any]) -> tuple[tuple[str, ...], Any]:
        scope = tuple(dict.fromkeys((*a[0], *b[0])))
        return scope, expand(a, scope) + expand(b, scope)

    def expand(factor: tuple[tuple[str, ...], Any], scope: tuple[str, ...]) -> Any:
        order = sorted(range(len(factor[0])), key=lambda i: scope.index(factor[0][i]))
        table = np.transpose(factor[1], order)
        return table.reshape([problem.variables[v].size if v in factor[0] else 1 for v in scope])

    while left:
        chosen = min(sorted(left), key=lambda v: len({w for s, _ in factors if v in s for w in s}))
        left.remove(chosen)
        scope, table = reduce(
            join, [f for f in factors if chosen in f[0]], ((chosen,), np.zeros(problem.variables[chosen].size))
        )
        rest = best.reduce(table, axis=scope.index(chosen))
        factors = [f for f in factors if chosen not in f[0]] + [(tuple(v for v in scope if v != chosen), rest)]
    return float(sum(table for _, table in factors))


# From the table that comes with the files; an independent exact solver proved each.
OPTIMA = {
    "pydcop/gc_v5_d3.yaml": 16,
    "pydcop/gc_v8_d5.yaml": 20,
    "pydcop/gc_v8_d3_int.yaml": 1000,
    "pydcop/gc_v12_d8_p30.yaml": 16,
    "pydcop/ising_2x5.yaml": -12.062525448706376,
    "pydcop/ising_3x4.yaml": -49.014756464134166,
    "pydcop/ms_tiny.yaml": 3,
    "pydcop/graph_coloring_tuto.yaml": 12,
    "pydcop/graph_coloring_tuto_max.yaml": 53,
    "frodo/tiny.xml": 1,
    "frodo/gc01_n05_d40_k3.xml": 0,
    "frodo/gc04_n12_d30_k3.xml": 0,
    "frodo/md01_n06_k3_d60_t50.xml": 1,
    "frodo/md03_n08_k4_d70_t70.xml": 4,
    "frodo/gh01_n06_d50_k3_hard.xml": 0,
    "frodo/gh03_n08_d90_k3_hard.xml": np.inf,
    "frodo/ms01_PEAV_a4_m2_p2_s4.xml": 18,
    "frodo/ms03_PEAV_a5_m3_p3_s6.xml": 23,
    "frodo/ms05_EAV_a6_m5_p2_s5.xml": 27,
    "frodo/rn01_n06_e08_a6_amp20.xml": 88,
    "frodo/rn04_n10_e15_a4_amp20_multivar.xml": 156,
    "frodo/rn06_n08_e12_a8_hard20.xml": 94,
    "frodo/rn07_n08_e12_a8_max.xml": -147,
    "frodo/rn08_n08_e12_a8_mixsign.xml": -86,
    "wcsp/4queens.wcsp": 0,
    "wcsp/zebra.wcsp": 0,
    "wcsp/GEOM40_6.wcsp": 0,
    "wcsp/mendel.cfn": 1,
}
REFUSED = {"graph_coloring1_func.yaml": "is code and is not run"}


@needs_instances
@pytest.mark.instances
@pytest.mark.parametrize("name", OPTIMA)
def test_proved_optima(name: str) -> None:
    assert INSTANCES is not None
    problem = load(Path(INSTANCES) / name)
    assert optimum(problem) == pytest.approx(OPTIMA[name], rel=1e-12)


@needs_instances
@pytest.mark.instances
@pytest.mark.parametrize("folder", ["pydcop", "frodo", "wcsp"])
def test_every_file_loads_or_is_refused_for_its_reason(folder: str) -> None:
    assert INSTANCES is not None
    n_files = 0
    for path in sorted((Path(INSTANCES) / folder).iterdir()):
        n_files += 1
        if path.name in REFUSED:
            with pytest.raises(FormatError, match=REFUSED[path.name]):
                load(path)
        else:
            assert load(path).variables
    assert n_files


@needs_instances
@pytest.mark.instances
@pytest.mark.parametrize("suffix", [".yaml", ".amdcop", ".wcsp"])
@pytest.mark.parametrize(
    "name", ["pydcop/gc_v12_d8_p30.yaml", "pydcop/ms_tiny.yaml", "frodo/rn08_n08_e12_a8_mixsign.xml", "frodo/tiny.xml"]
)
def test_conversion_keeps_the_optimum(name: str, suffix: str, tmp_path: Path) -> None:
    assert INSTANCES is not None
    original = load(Path(INSTANCES) / name)
    notes = save(original, tmp_path / f"out{suffix}")
    found = optimum(load(tmp_path / f"out{suffix}"))
    expected = optimum(original)
    if suffix == ".wcsp":
        expected = -expected if original.objective == "max" else expected
        expected += next((int(n.split(" is ")[1].split(" ")[0]) for n in notes if "too high" in n), 0)
    assert found == expected
