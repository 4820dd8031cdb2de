"""`make lint` removes only its own files."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_lint_removes_only_its_own_folder() -> None:
    """The folder `build` also has tables, logs and results of other targets."""
    plan = subprocess.run(
        ["make", "--dry-run", "--assume-old=.venv/installed-lint", "lint"], cwd=ROOT, capture_output=True, text=True
    )
    removed = re.findall(r"\brm\s+-\S+\s+([^&;\n]+)", plan.stdout)
    assert [path.strip() for path in removed] == ["build/lint"]
    assert "mypy" in plan.stdout
    assert not re.search(r"build/(?!lint)", plan.stdout), "nothing is written elsewhere in build"
