"""What the README shows, runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_python_of_the_readme_runs_as_one_program(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    assert len(blocks) >= 4
    program = tmp_path / "readme.py"
    program.write_text("\n".join(blocks).replace("scenarios/problems", str(ROOT / "scenarios/problems")))
    done = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("optimal 44\n4\n")


def test_every_solver_of_the_readme_is_registered_and_the_other_way_round() -> None:
    from agentsim.runtime import registry

    first = re.findall(r"^\| (`[a-z0-9-]+`(?:, `[a-z0-9-]+`)*) \|", (ROOT / "README.md").read_text(), flags=re.M)
    table = [name.strip("`") for names in first for name in names.split(", ")]
    assert sorted(table) == registry.names("solvers")
