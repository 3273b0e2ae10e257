"""Names from hostile files in everything that is shown or written: terminal, JSON, logs, HTML, SVG, files' names.

One problem whose every name (of the problem, agents, variables, domains, values, constraints) tries to break out of
where it is put goes through all commands. Nothing unprintable reaches the terminal, no tag reaches a page, no file is
written outside the folder that was given, and what is written is read again as it was.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from click.testing import CliRunner, Result

import agentsim
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from scenarios.cli import main

EVIL: Final = (
    "\x1b[31mred\x1b]0;title\x07",
    "a\nb\r\nc\td\x0b\x0c\x85\u2028",
    "../../escaped",
    "/etc/passwd",
    "</script><script id=evil>evil()</script>",
    '"><img src=x onerror=evil() id=evil>',
    "'><svg id=evil onload=evil()>",
    "<!--</title></style></textarea><b id=evil>",
    "]]><evil/>",
    "[red]x[/red][/]",
    "\u202egnp.exe\u202c\u200f\u2066",
    "x" * 10_000,
    "..",
    "${jndi} {{7*7}} {0} %s %n `id` $(id) & | ; ,=:+*@",
    "=cmd()|'x'!A1",
    "\x00\x7f\x9b",
    "\U000e0001\ufeff\ufffe",
    "-rf --help",
    "null",
    "1e999",
)
HARMLESS: Final = tuple(f"n{i}" for i in range(len(EVIL)))


def problem_of(names: tuple[str, ...]) -> Problem:
    """Return a chain of variables, with a name from `names` wherever there is one."""
    count = len(names)
    variables = [
        Variable(
            name,
            Domain(names[-1 - i], (name, names[(i + 1) % count], "plain"), kind=names[4]),
            agent=names[(i + 3) % count],
            unary=np.array([1, 0, 2]),
        )
        for i, name in enumerate(names)
    ]
    table = np.array([[3, 1, 2], [0, 2, 4], [1, 1, 5]])
    constraints = [Constraint(names[(i + 7) % count], names[i : i + 2], table) for i in range(count - 1)]
    return Problem.build(variables, constraints, name=names[4])


class Tags(HTMLParser):
    """The tags and the attributes' names of a page, and all of its text that is no script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.ids: set[str | None] = set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        self.ids |= {value for name, value in attrs if name == "id"}


def check_page(page: str) -> None:
    """Check that a page has no tag and no handler of a name's making, and nothing unprintable."""
    found = Tags(page)
    assert "evil" not in found.tags
    assert "evil" not in found.ids
    assert not {"onerror", "onload"} & found.attributes
    assert not {c for c in page if not c.isprintable() and c not in "\n\t\xad\u200b"}  # ours: where lines may break


def check_text(text: str) -> None:
    """Check that a terminal shows lines and nothing else."""
    assert not {c for c in text if not c.isprintable() and c != "\n"}
    text.encode()


def invoke(*args: object, status: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in args], prog_name="agentsim")
    assert result.exit_code == status, (args, result.stdout[-500:], result.stderr[-3000:])
    check_text(result.stdout)
    check_text(result.stderr)
    return result


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the hostile problem in two formats and a log of it; nothing else may appear beside it."""
    root = tmp_path_factory.mktemp("names")
    folder, before = root / "a" / "b" / "c", Path.cwd()
    folder.mkdir(parents=True)
    os.chdir(folder)
    try:
        agentsim.save(problem_of(EVIL), "evil.amdcop")
        invoke("solve", "evil.amdcop", "--algo", "dpop", "--log", "run.amlog", "--observe", "vps")
        yield folder
        assert [p for p in root.rglob("*") if folder not in (p, *p.parents) and p not in folder.parents] == []
    finally:
        os.chdir(before)


@pytest.mark.parametrize("algo", ["dpop", "adopt", "p-gibbs"])
@pytest.mark.parametrize("how", [(), ("--json",), ("-v", "--observe", "traffic", "--observe", "disclosures")])
def test_solving_shows_names_as_text(algo: str, how: tuple[str, ...], place: Path) -> None:
    limits = ("--max-messages", "300") if algo == "adopt" else ()
    shown = invoke("solve", "evil.amdcop", "--algo", algo, *how, *limits, status=3 if limits else 0).stdout
    if "--json" in how and not limits:
        assert set(json.loads(shown)["assignment"]) == set(EVIL)


@pytest.mark.parametrize(
    "args",
    [
        ("inspect", "run.amlog"),
        ("inspect", "run.amlog", "--json"),
        ("replay", "run.amlog", "--observe", "traffic", "--observe", "vps"),
        ("replay", "run.amlog", "--verify", "--json"),
        ("explore", "evil.amdcop", "--algo", "dpop", "--runs", "2", "--workers", "0", "-o", "explored"),
        ("solve", "evil.amdcop", "--algo", "dpop", "--adversary", "eavesdropper"),
    ],
)
def test_other_commands_show_names_as_text(args: tuple[str, ...], place: Path) -> None:
    invoke(*args)


@pytest.mark.parametrize("name", EVIL, ids=HARMLESS)
def test_complaints_show_names_as_text(name: str, place: Path) -> None:
    quoted = '"' + name.replace('"', "'") + '"'
    for args in (
        ("solve", "evil.amdcop", "--algo", name or "x"),
        ("solve", "evil.amdcop", "--algo", "dpop", "-p", f"root={name}!"),
        ("solve", "evil.amdcop", "--algo", "dpop", "--network", f"unit+crash:{quoted}@x"),
        ("solve", "evil.amdcop", "--algo", "dpop", "--observe", f"traffic:view={name}"),
        ("solve", f"{name}.yaml".replace("\0", ""), "--algo", "dpop"),
        ("sweep", f"{name}.toml".replace("\0", ""), "--dry-run"),
    ):
        assert invoke(*args, status=2).stderr.count("\n") == 1


def test_files_are_read_again_as_they_were(place: Path) -> None:
    quotable = tuple(name for name in EVIL if not {"\n", "\x00", "'"} & set(name))
    assert "one line" not in invoke("convert", "evil.amdcop", "evil.yaml", status=2).stderr  # values with line breaks
    agentsim.save(problem_of(quotable), "evil.yaml")
    invoke("convert", "evil.amdcop", "evil.wcsp")
    for source, target, names in (("amdcop", "amdcop", EVIL), ("yaml", "amdcop", quotable), ("yaml", "yaml", quotable)):
        invoke("convert", f"evil.{source}", f"again.{target}")
        before, after = problem_of(names), agentsim.load(f"again.{target}")
        assert list(after.constraints) == list(before.constraints)
        assert after.name == before.name
        assert [(v.name, v.agent, v.domain.values) for v in after.variables.values()] == [
            (v.name, v.agent, v.domain.values) for v in before.variables.values()
        ]
    logged = agentsim.open_log("run.amlog").header
    assert logged is not None
    assert list(logged["nodes"]) == list(EVIL)


@pytest.mark.parametrize("suffix", ["yaml", "amdcop"])
def test_what_cannot_be_written_leaves_a_file_as_it_was(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"kept.{suffix}"
    path.write_text("kept")
    for names in (("a", "b", "c", "\ud800", "e"), ("a", "b", "c\n'\"", "d", "e")):
        if suffix == "yaml" or "\ud800" in names:
            with pytest.raises(agentsim.UserError):
                agentsim.save(problem_of(names), path)
    assert path.read_text() == "kept"
    pipe = tmp_path / f"pipe.{suffix}"
    os.mkfifo(pipe)
    with pytest.raises(agentsim.UserError, match="it is a pipe"):
        agentsim.save(problem_of(HARMLESS), pipe)


def test_pages_hold_names_as_text(place: Path) -> None:
    invoke("report", "run.amlog", "-o", "run.html")
    check_page(Path("run.html").read_text())


def test_notebooks_show_names_as_text(place: Path) -> None:
    problem = agentsim.load("evil.amdcop")
    result = agentsim.simulate(problem, "dpop", observers=["vps", "disclosures"])
    for shown in (problem, result, result.log, agentsim.open_log("run.amlog"), agentsim.replay("run.amlog")):
        page = shown._repr_html_()
        assert page
        check_page(page)


def test_a_sweep_over_hostile_names_stays_in_its_folder(place: Path) -> None:
    hostile = [name for name in EVIL if "\0" not in name and len(name) < 200]
    lines = [
        f"name = {json.dumps(EVIL[4])}",
        "[[problem]]",
        'files = ["evil.amdcop"]',
        "[[solver]]",
        'name = "dpop"',
        f"parameters = {{ root = {json.dumps(hostile[:4])} }}",
    ]
    Path("spec.toml").write_text("\n".join(lines))
    invoke("sweep", "spec.toml", "-o", "swept", "--workers", "0")
    invoke("report", "swept", "-o", "swept.html")
    check_page(Path("swept.html").read_text())
    check_page(agentsim.load_results("swept")._repr_html_())
