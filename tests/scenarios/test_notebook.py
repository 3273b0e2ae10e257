"""The shipped notebook does what it tells, in a kernel of its own; `show` makes a frame of any log and any results."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from agentsim import Problem, UserError, load, open_log, simulate
from agentsim.record.results import load_results
from scenarios.reports.notebook import Shown, show
from scenarios.reports.replay import replay_page
from scenarios.reports.trace import trace_of

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
TOUR = SCENARIOS / "notebooks" / "tour.ipynb"


class Tour:
    """The notebook after all its cells ran, and the folder where they did."""

    def __init__(self, notebook: Any, folder: Path) -> None:
        self.code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        self.folder = folder

    def output(self, of: str, kind: str = "text/plain") -> str:
        """Return what came out of the cell whose last line begins so, its printed text if it returned nothing."""
        cell = next(cell for cell in self.code if cell.source.splitlines()[-1].startswith(of))
        shown = [o.data[kind] for o in cell.outputs if "data" in o and kind in o.data]
        return shown[0] if shown else "".join(o.text for o in cell.outputs if o.output_type == "stream")


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Tour:
    folder = tmp_path_factory.mktemp("tour")
    work = folder / "work"
    work.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(folder / name.lower()))
        patch.delenv("MPLBACKEND", raising=False)
        notebook = nbformat.read(TOUR, as_version=4)
        client = NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(work)}})
        client.create_kernel_manager()
        assert client.km.transport == "tcp"
        assert client.km.ip == "127.0.0.1"
        client.execute()
    return Tour(notebook, work)


def test_every_cell_ran_without_a_complaint(tour: Tour) -> None:
    assert all(cell.execution_count for cell in tour.code)
    for cell in tour.code:
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.text


def test_the_problem_and_the_result_show_themselves(tour: Tour) -> None:
    shown = tour.output("problem", "text/html")
    assert "6 variables of 6 agents, 7 constraints" in shown
    assert shown.count("<circle") == 6
    assert "<b>optimal</b>" in tour.output("result", "text/html")
    assert "findings of vps" in tour.output("result", "text/html")


def test_the_first_in_the_order_loses_most(tour: Tour) -> None:
    lines = tour.output("    print(").splitlines()
    names, losses = zip(*((line.split()[0], float(line.split()[1].rstrip("%"))) for line in lines), strict=True)
    header = open_log(tour.folder / "tour.amlog").header
    assert header is not None
    assert names[0] == header["places"]["orders"][0][0]
    assert losses[0] > 5 * losses[1]
    assert list(losses) == sorted(losses, reverse=True)


def test_the_observer_written_in_a_cell_counted(tour: Tour) -> None:
    counted = tour.output("agentsim.simulate(")
    assert len(re.findall(r"'\w+ > \w+': \d+", counted)) == 5


def test_runs_beside_each_other_reach_what_they_can(tour: Tour) -> None:
    runs = dict(re.findall(r"'([\w-]+)': (\('\w+', \d+\))", tour.output("{run.solver")))
    cost = int(re.findall(r"cost (\d+)", tour.output("result", "text/html"))[0])
    assert runs["adopt"] == f"('optimal', {cost})"
    assert all(int(re.findall(r"\d+", ended)[0]) >= cost for ended in runs.values())
    assert set(runs) == {"mgm", "dsa", "maxsum", "adopt"}


def test_the_figure_is_a_picture(tour: Tour) -> None:
    assert len(tour.output("plt.show()", "image/png")) > 10_000


def test_the_replay_verified_and_the_log_is_whole(tour: Tour) -> None:
    assert "<b>verified</b>" in tour.output("agentsim.replay(", "text/html")
    assert "<b>whole</b>" in tour.output("agentsim.open_log(", "text/html")


def test_the_sweep_has_all_its_cells(tour: Tour) -> None:
    assert len(load_results(tour.folder / "tour-sweep").run) == 2 * 3 * 3
    leaks = dict(re.findall(r"^(\S+) +([\d.]+)$", tour.output("leaked.merge("), flags=re.M))
    assert float(leaks["synchbb"]) > float(leaks["adopt"]) > 0
    assert set(leaks) == {"synchbb", "adopt", "dpop"}


def test_the_shipped_notebook_holds_no_outputs_and_no_places() -> None:
    text = TOUR.read_text("utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert len(text) < 20_000
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert not re.search(r"(?<![\w.])/\w|\\\\|[A-Z]:/", text)
    assert max(len(line) for cell in notebook.cells for line in cell.source.splitlines()) <= 120


# show ----------------------------------------------------------------------------------------------------------


class Frame(HTMLParser):
    """The attributes of the one element there must be."""

    def __init__(self, shown: Shown) -> None:
        super().__init__()
        self.elements: list[dict[str, str | None]] = []
        self.feed(shown._repr_html_())
        self.close()
        assert len(self.elements) == 1
        self.attributes = self.elements[0]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag == "iframe"
        self.elements.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        raise AssertionError(data)


@pytest.fixture
def problem() -> Problem:
    return load(SCENARIOS / "problems" / "meeting_of_two.yaml")


def test_show_frames_the_page_that_the_command_writes(problem: Problem, tmp_path: Path) -> None:
    path = tmp_path / "run.amlog"
    result = simulate(problem, "adopt", log=path)
    page = replay_page(trace_of(path))
    shown = show(result, height=500)
    assert shown.page == page
    frame = Frame(shown).attributes
    assert frame["srcdoc"] == page
    assert frame["sandbox"] == "allow-scripts allow-downloads"
    assert "height:500px" in str(frame["style"])
    assert show(path).page == show(str(path)).page == show(open_log(path)).page == page
    assert len(repr(shown)) < 100


def test_show_takes_a_part_of_a_log(problem: Problem) -> None:
    result = simulate(problem, "adopt")
    part = show(result, observe="vps:rule=paper", first=2, most=3).page
    assert part == replay_page(trace_of(result.log, "vps:rule=paper", 2, 3))


def test_hostile_names_stay_within_the_frame() -> None:
    from agentsim import Constraint, Domain, Variable

    hostile = '"></iframe><script>alert(1)</script>&quot;&amp;'
    domain = Domain("d", (0, 1))
    names = [f"{hostile}{i}" for i in range(2)]
    variables = [Variable(name, domain, unary=[0, 1]) for name in names]
    named = Problem.build(variables, [Constraint(hostile, tuple(names), [[0, 1], [1, 0]])], name=hostile)
    shown = show(simulate(named, "synchbb"))
    assert Frame(shown).attributes["srcdoc"] == shown.page


def test_show_of_results(tour: Tour) -> None:
    folder = tour.folder / "tour-sweep"
    shown = show(folder)
    assert Frame(shown).attributes["srcdoc"] == shown.page
    assert show(load_results(folder)).page == shown.page
    with pytest.raises(UserError, match="is a folder of results; observe, first and most are for logs"):
        show(folder, most=3)


def test_show_says_what_it_cannot_show(problem: Problem, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a Problem cannot be shown: give a log, a result, results or a path"):
        show(problem)
    with pytest.raises(UserError, match="height=0: must be a number of pixels"):
        show(tmp_path / "x.amlog", height=0)
    with pytest.raises(UserError, match=r"missing\.amlog: No such file"):
        show(tmp_path / "missing.amlog")
