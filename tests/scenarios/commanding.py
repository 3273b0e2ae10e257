"""The command line, called in this process or as one of its own."""

import subprocess
import sys

from click.testing import CliRunner, Result

from scenarios.cli import main

PROBLEM = """
name: three
objective: min
domains: {d: {values: [0, 1, 2]}}
variables:
  x: {domain: d}
  y: {domain: d}
  z: {domain: d}
constraints:
  xy: {type: intention, function: 3 if x == y else x + y}
  yz: {type: intention, function: 2 if y == z else 0}
agents: [x, y, z]
"""
SOLVE_KEYS = {
    *("status", "cost", "bound", "assignment", "violations", "messages", "bytes", "nccc", "virtual_time"),
    *("wall_time", "by_type", "seed", "solver", "problem", "limit", "findings"),
}
ENTRY = "import sys; sys.argv[0] = 'agentsim'; from scenarios.cli import main; main()"


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args], prog_name="agentsim")


def command(*args: object) -> list[str]:
    return [sys.executable, "-c", ENTRY, *map(str, args)]


def process(*args: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*args), capture_output=True, text=True, timeout=120, env=env, check=False)


def one_line(result: Result | subprocess.CompletedProcess[str]) -> str:
    """Check that a command ended as it must when the user got something wrong, and return its line."""
    status = result.exit_code if isinstance(result, Result) else result.returncode
    assert status == 2, (result.stdout, result.stderr)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr
