"""What README and documentation show, runs; what is made from the code, says what the code does."""

from __future__ import annotations

import ast
import html
import inspect
import json
import re
import runpy
import shlex
import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

import agentsim
from agentsim import UserError, load, simulate
from agentsim.record import log as log_format
from agentsim.record.results_parts import COLUMNS
from agentsim.runtime import registry
from agentsim.runtime.network import Network
from agentsim.runtime.result import STATUSES
from scenarios.cli import main
from scenarios.documentation import catalogue, experiments, generate, keys, reference
from scenarios.documentation.__main__ import main as make
from scenarios.documentation.markdown import code, commands, escaped, prose, shown, span, table
from scenarios.documentation.pictures import MAX_PICTURE
from scenarios.generators import presets
from scenarios.sweeps.spec import parse_spec

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder to work in, from which the source tree's problems are seen as in the documentation."""
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios/problems").symlink_to(ROOT / "scenarios/problems")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def named(path: Path) -> str:
    return path.name


# What pages show -----------------------------------------------------------------------------------------------------


SHOWING = [page for page in PAGES if "```python\n" in page.read_text("utf-8")]


@pytest.mark.parametrize("page", SHOWING, ids=named)
def test_the_python_of_a_page_runs_as_one_program(page: Path, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    blocks = [block.text for block in shown(page.read_text("utf-8")) if block.language == "python"]
    for block in shown(page.read_text("utf-8")):
        if block.language == "toml" and (name := re.match(r"# (\w+\.toml)\n", block.text)):
            (here / name[1]).write_text(block.text, "utf-8")
    if page.name == "results.md":  # its examples read what its sweep leaves
        sweep = next(words for words in commands(page.read_text("utf-8")) if words[0] == "sweep")
        done = CliRunner().invoke(main, ["0" if word == "2" else word for word in sweep])
        assert done.exit_code == 0, done.output
    program = here / "program.py"
    program.write_text("\n".join(blocks), "utf-8")
    runpy.run_path(str(program))
    if page.name == "README.md":
        assert capfd.readouterr().out.startswith("optimal 44\n4\n")


def test_python_that_needs_a_cluster_can_be_parsed() -> None:
    from dask.distributed import SSHCluster

    blocks = [b for b in shown((ROOT / "docs/clusters.md").read_text("utf-8")) if b.language == "{code-block} python"]
    assert len(blocks) == 3
    ssh = next(b.text for b in blocks if "SSHCluster" in b.text)
    call = next(n for n in ast.walk(ast.parse(ssh)) if isinstance(n, ast.Call) and "SSHCluster" in ast.unparse(n.func))
    inspect.signature(SSHCluster).bind(*call.args, **{str(keyword.arg): None for keyword in call.keywords})
    for block in blocks:
        compile(block.text, "clusters.md", "exec")


LINES = [(page.name, line) for page in PAGES for line in commands(page.read_text("utf-8"))]


@pytest.mark.parametrize(("page", "words"), LINES, ids=[f"{page} {shlex.join(words)}"[:90] for page, words in LINES])
def test_a_command_that_is_shown_can_be_given(page: str, words: list[str]) -> None:
    """Every option exists and takes the value; every name that is registered is one; so are parameters."""
    if words == ["demo"] or words[-1] == "--help":
        assert words[0] in main.list_commands(click.Context(main))
        return
    command: click.Command | None = main
    context = click.Context(main, info_name="agentsim")
    while isinstance(command, click.Group):
        command, words = command.get_command(context, words[0]), words[1:]
        assert command is not None, "no such command"
    given = command.make_context(command.name, list(words), parent=context).params
    for key, kind in (
        ("algo", "solvers"),
        ("solver", "solvers"),
        ("experiment", "experiments"),
        ("kind", "generators"),
    ):
        name = given.get(key)
        if name is None or not name.islower() or command.name == "list":
            continue
        cls = registry.find(kind, name)
        parameters = dict(pair.split("=", 1) for pair in given.get("params", ()))
        if "preset" in parameters:
            presets.find(parameters.pop("preset"), name)
        registry.make_params(getattr(cls, "Params", None), parameters, name)
    observers = given.get("observe") or ()
    for observer in (observers,) if isinstance(observers, str) else observers:
        registry.find("observers", observer.partition(":")[0])
    if isinstance(given.get("network"), str):
        Network.parse(given["network"])


def test_there_are_commands_to_check() -> None:
    assert len(LINES) > 50
    assert {words[0] for _, words in LINES} >= {"solve", "sweep", "report", "reproduce", "replay", "generate", "demo"}


def test_specs_that_are_shown_are_specs(tmp_path: Path) -> None:
    found = 0
    for page in PAGES:
        for block in shown(page.read_text("utf-8")):
            if block.language == "toml" and "[[solver]]" in block.text:
                assert sum(map(len, parse_spec(block.text, page.name, tmp_path).blocks)) > 0
                found += 1
    assert found >= 2


def test_the_quick_start_goes_through(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/quickstart.md").read_text("utf-8")
    spec = next(block.text for block in shown(page) if block.language == "toml")
    (here / "sweep.toml").write_text(spec.replace("seeds = 8", "seeds = 1"), "utf-8")
    lines = [["0" if word == "2" else word for word in words] for words in commands(page)]
    assert [words[0] for words in lines] == [
        "generate", "solve", "inspect", "replay", "replay", "report", "sweep", "sweep", "report",
    ]  # fmt: skip
    for words in lines:
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, (words, done.output)
    assert (here / "run.html").stat().st_size > 10_000
    assert len(agentsim.load_results("results/random").run) == 4 * 3


def test_pictures_are_small_and_all_of_them_are_shown() -> None:
    pictures = {path.name: path.stat().st_size for path in (ROOT / "docs/pictures").iterdir()}
    assert all(size <= MAX_PICTURE for size in pictures.values())
    shown_there = {name for page in PAGES for name in re.findall(r"\(pictures/([\w.]+)\)", page.read_text("utf-8"))}
    assert shown_there == set(pictures)


def test_links_of_the_readme_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert all((ROOT / target).exists() for target in targets if "://" not in target)


def test_every_solver_of_the_readme_is_registered_and_the_other_way_round() -> None:
    first = re.findall(r"^\| (`[a-z0-9-]+`(?:, `[a-z0-9-]+`)*) \|", (ROOT / "README.md").read_text(), flags=re.M)
    table = [name.strip("`") for names in first for name in names.split(", ")]
    assert sorted(table) == registry.names("solvers")


# What is made from the code ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the generated pages by name, with the results that are in the tree."""
    docs = tmp_path_factory.mktemp("docs")
    (docs / "experiments").symlink_to(ROOT / "docs/experiments")
    made = generate(docs)
    return {path.relative_to(docs / "generated").as_posix(): path.read_text("utf-8") for path in made}


def test_everything_registered_has_its_page(pages: dict[str, str]) -> None:
    for kind in ("solvers", "experiments"):
        for name in registry.names(kind):
            assert f"({kind}/{name}.md)" in pages[f"{kind}.md"]
            assert f"# {name}\n" in pages[f"{kind}/{name}.md"]
    for kind in ("observers", "generators", "aggregators"):
        for name in registry.names(kind):
            assert f"`{name}`" in pages[f"{kind}.md"]


def test_the_status_table_is_that_of_the_classes(pages: dict[str, str]) -> None:
    for name in registry.names("solvers"):
        status = registry.find("solvers", name).status
        assert re.search(
            rf"^\| \[`{name}`\]\(solvers/{name}\.md\) \| .* \| {status} \|$", pages["solvers.md"], flags=re.M
        )
        assert f"\n: {catalogue.STATUSES[status]}" in pages["solvers.md"]


def test_parameters_stand_with_their_defaults(pages: dict[str, str]) -> None:
    assert "| `p` | `float` | `0.7` | probability of a move. |" in pages["solvers/dsa.md"]
    assert "| `carry` | `none`, `best` | `none` |" in pages["solvers/synchbb.md"]
    assert "| `str \\| None` | `none` |" in pages["solvers/adopt.md"]


def test_every_public_name_is_in_the_reference(pages: dict[str, str]) -> None:
    documented = set(re.findall(r"auto(?:class|function):: (\S+)", pages["api.md"]))
    assert {f"agentsim.{name}" for name in agentsim.__all__ if name != "__version__"} <= documented


def test_every_command_has_its_help(pages: dict[str, str]) -> None:
    for name in main.list_commands(click.Context(main)):
        assert f"## agentsim {name}\n\n```text\nUsage: agentsim {name}" in pages["commands.md"]
    assert "## agentsim bench kernel" in pages["commands.md"]
    assert all(f"| `{status}` |" in pages["commands.md"] for status in STATUSES)


def test_no_page_names_a_place_of_this_machine(pages: dict[str, str]) -> None:
    home = Path.home().as_posix()
    for name, text in [*pages.items(), *((p.name, p.read_text("utf-8")) for p in PAGES)]:
        for place in (str(ROOT), "/tmp/", "/work/", f"{home}/"):
            assert place not in text, f"{name} names {place}"


def test_pages_that_have_not_changed_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "pages", lambda: {"solvers": "# Solvers", "solvers/one": "# one"})
    first = generate(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in first}
    stale = tmp_path / "generated/solvers/gone.md"
    stale.write_text("gone", "utf-8")
    first[0].write_text("changed by hand", "utf-8")
    assert generate(tmp_path) == first
    assert not stale.exists()
    assert {p for p in first if p.stat().st_mtime_ns != before[p]} == {first[0]}
    assert "changed by hand" not in first[0].read_text("utf-8")


# Keys, columns, records ----------------------------------------------------------------------------------------------

CALLS = {
    "solve": "solve scenarios/problems/meetings.yaml --algo dpop --observe traffic --log run.amlog",
    "replay": "replay run.amlog --verify",
    "inspect": "inspect run.amlog",
    "list": "list solvers",
    "reproduce": "reproduce vps-examples --workers 0",
    "epsilon": "epsilon --sigma inf --gamma inf -q .1 --iterations 1",
    "audit": "audit once --runs 8",
    "explore": "explore scenarios/problems/meetings.yaml --algo dpop --runs 1",
    "bench kernel": "bench kernel --agents 5 --deliveries 500",
    "bench solvers": "bench solvers --agents 3",
    "sweep": "sweep small.toml -o swept --workers 0",
    "sweep --dry-run": "sweep small.toml --dry-run",
}


@pytest.mark.parametrize("command", keys.COMMANDS)
def test_the_keys_of_json_are_those_that_are_printed(command: str, here: Path) -> None:
    if "run.amlog" in CALLS[command] and command != "solve":
        simulate(load("scenarios/problems/meetings.yaml"), "dpop", log="run.amlog")
    (here / "small.toml").write_text(
        '[[problem]]\ngenerator = "ising"\nparameters = { row_count = 2, col_count = 2 }\n[[solver]]\nname = "dpop"\n'
    )
    done = CliRunner().invoke(main, [*CALLS[command].split(), "--json"])
    assert done.exit_code == 0, done.output
    assert list(json.loads(done.stdout)) == list(keys.COMMANDS[command])
    assert all(meaning.strip() for meaning in keys.COMMANDS[command].values())


def test_every_command_with_json_has_its_keys_told() -> None:
    told = {name for name, text in reference.helps() if "--json" in text and not name.endswith("bench")}
    assert told == {name.partition(" --")[0] for name in keys.COMMANDS}


def test_columns_are_those_of_the_tables() -> None:
    assert {name: tuple(meanings) for name, meanings in keys.TABLES.items()} == COLUMNS


def test_the_headers_keys_are_those_of_a_log() -> None:
    result = simulate(load(ROOT / "scenarios/problems/meetings.yaml"), "dpop")
    assert result.log.header is not None
    assert set(result.log.header) == set(keys.HEADER)


def test_records_are_as_long_as_the_format_says() -> None:
    fields = reference.record_fields()
    assert fields.keys() == log_format._SHAPES.keys()
    network = "uniform:1,3+loss:.3+duplicate:.2+reliable+crash:Eva@5-8"
    result = simulate(load(ROOT / "scenarios/problems/meetings.yaml"), "adopt", network=network, observers=["traffic"],
                      tree="messages", max_messages=2000)  # fmt: skip
    seen = set()
    for record in result.log.records():
        kind = "delivery" if isinstance(record[0], int) else record[0]
        seen.add(kind)
        assert len(record) == len(fields[kind])
    assert {"delivery", "fate", "assign", "finding", "crash", "restart", "place", "result"} <= seen


def test_a_record_that_the_docstring_forgets_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(log_format._SHAPES, "rumour", (str, int))
    with pytest.raises(ValueError, match="rumour"):
        reference.record_fields()
    monkeypatch.undo()
    monkeypatch.setitem(log_format._SHAPES, "wake", (str, int))
    with pytest.raises(ValueError, match="wake: 3 names for 2 fields"):
        reference.record_fields()


# Experiments ---------------------------------------------------------------------------------------------------------


def test_an_experiment_that_was_not_run_says_so_and_how(tmp_path: Path) -> None:
    page = experiments.pages(tmp_path / "none")["experiments/vps-gaps"]
    assert "Not run here" in page
    assert "```sh\nagentsim reproduce vps-gaps\n```" in page


def test_an_experiments_page_has_command_rows_notes_and_figure(tmp_path: Path) -> None:
    rows = [
        {"problem": f"<b>{i}|", "solver": "dpop", "adversary": "tight", "bits": i / 3, "se": None} for i in range(99)
    ]
    kept = {"experiment": "vps-gaps", "rows": rows, "notes": ["*all* of it", "<script>"], "version": "9.9"}
    kept["command"] = "agentsim reproduce vps-gaps --instances 3"
    (tmp_path / "vps-gaps.json").write_text(json.dumps(kept))
    (tmp_path / "vps-gaps.svg").write_text("<svg/>")
    page = experiments.pages(tmp_path)["experiments/vps-gaps"]
    assert "(version 9.9)" in page
    assert "agentsim reproduce vps-gaps --instances 3" in page
    assert f"](../../{tmp_path.name}/vps-gaps.svg)" in page
    assert "| problem | solver | adversary | bits |" in page  # columns without a value are left out
    assert "| \\<b\\>1\\| | dpop | tight | 0.3333 |" in page
    assert f"The first {experiments.MAX_ROWS} of 99 rows" in page
    assert "* \\<script\\>" in page


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("vps-gaps.json", "{", "not JSON"),
        ("vps-gaps.json", "[]", "not what agentsim reproduce writes"),
        ("vps-gaps.json", " " * (experiments.MAX_RESULT + 1), "larger than"),
        ("vps-gaps.svg", " " * (experiments.MAX_FIGURE + 1), "larger than"),
    ],
)
def test_results_that_are_none_are_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / "vps-gaps.json").write_text('{"rows": [], "notes": []}')
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=rf"{name}: .*{words}"):
        experiments.pages(tmp_path)


def test_figures_are_kept_with_the_command_that_made_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def here(call: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
        done = CliRunner().invoke(main, [*call[3:], "--workers", "0"])
        return subprocess.CompletedProcess(call, done.exit_code)

    monkeypatch.setattr(experiments.subprocess, "run", here)
    done = CliRunner().invoke(make, ["figures", "vps-examples", "--docs", str(tmp_path)])
    assert done.exit_code == 0, done.output
    kept = json.loads((tmp_path / "experiments/vps-examples.json").read_text("utf-8"))
    assert kept["command"] == "agentsim reproduce vps-examples"
    assert kept["version"] == agentsim.__version__
    assert kept["rows"]
    assert CliRunner().invoke(make, ["figures", "nothing", "--docs", str(tmp_path)]).exception is not None


def test_a_figure_is_kept_without_what_only_takes_room(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"rows": [{"x": i} for i in range(99)], "notes": []}))
    (tmp_path / "a.svg").write_text('<svg>\n <metadata>\n x</metadata><path d="M 1.23456 -7.5" id="m0.12345"/></svg>')
    experiments.keep(tmp_path, "a", "agentsim reproduce a")
    assert (tmp_path / "a.svg").read_text() == '<svg><path d="M 1.23 -7.5" id="m0.12345"/></svg>'
    kept = json.loads((tmp_path / "a.json").read_text())
    assert (kept["total"], len(kept["rows"])) == (99, experiments.MAX_ROWS)


# Markdown ------------------------------------------------------------------------------------------------------------


def rendered(page: str) -> str:
    from markdown_it import MarkdownIt

    return MarkdownIt().enable("table").render(page)


PLAIN = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="`"), min_size=1)


@given(PLAIN)
@example("**bold** _em_ <script>alert(1)</script> [a](b) {x}`")
def test_text_that_is_escaped_is_shown_as_it_is(text: str) -> None:
    text = text.replace("`", "'")
    page = rendered(f"x {escaped(text)}")
    assert html.unescape(re.sub(r"</?p>", "", page)).strip() == f"x {text}"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
@example("``|`")
@example("a\\|b")
def test_a_code_span_in_a_table_is_one_cell(text: str) -> None:
    page = rendered(table(("a", "b"), [(span(text), "end")]))
    cells = re.findall(r"<td>(.*?)</td>", page, flags=re.S)
    assert len(cells) == 2
    assert html.unescape(re.sub(r"</?code>", "", cells[0])).strip() == text


def test_code_with_fences_in_it_keeps_them() -> None:
    text = "a\n```\nb\n````"
    assert shown(f"{code(text, 'sh')}\n")[0].text == f"{text}\n"


def test_docstrings_become_markdown() -> None:
    doc = """First line, *stressed*, a * b, x_1.

    Words before::

        kept   as it stands
          <here>

        and on

    * one, which
      goes on
    * two
    A word: fresh paragraph, wrapped
        hanging on.
    Next.
    """
    assert prose(doc) == (
        "First line, *stressed*, a \\* b, x\\_1.\n\nWords before:\n\n"
        "```text\nkept   as it stands\n  <here>\n\nand on\n```\n\n"
        "* one, which goes on\n* two\n\nA word: fresh paragraph, wrapped hanging on.\n\nNext."
    )


def test_what_a_page_shows_is_read_from_fences_and_indented_blocks() -> None:
    page = (
        "# x\n\n    agentsim list solvers   # all\n    agentsim demo\n\n"
        "```sh\n$ agentsim solve P \\\n  --algo dpop && ls\n```\n"
    )
    assert commands(page) == [["list", "solvers"], ["demo"], ["solve", "P", "--algo", "dpop"]]
    assert [(block.language, block.line) for block in shown(page)] == [("", 3), ("sh", 7)]
