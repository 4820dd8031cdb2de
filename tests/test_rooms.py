"""Check the package's folders for what import-linter, which checks their order, cannot see."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
ORDER, TERMINAL = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
ROOMS = ORDER["layers"]
PLACES = ("spinenet_tf", "export", "configs")
# `_lazy` imports public names, which `TYPE_CHECKING` imports repeat for import-linter; `__init__` registers classes.
BY_STRING = {"spinenet_tf/__init__.py", "spinenet_tf/_lazy.py"}


def test_the_package_has_only_the_listed_folders_and_modules() -> None:
    found = {path.name.removesuffix(".py") for path in (ROOT / "spinenet_tf").iterdir() if path.name != "__pycache__"}
    assert found == {"__init__", "py.typed", *ROOMS} - {"configs", "export"}


def test_only_the_command_line_may_import_terminal_libraries() -> None:
    assert TERMINAL["source_modules"] == [f"spinenet_tf.{room}" for room in ROOMS if room != "cli"]
    assert TERMINAL["forbidden_modules"] == ["rich", "typer"]


def test_every_package_is_installed() -> None:
    folders = [path.parent.relative_to(ROOT).parts for room in PLACES for path in (ROOT / room).rglob("__init__.py")]
    packages = {".".join(parts if parts[0] == "spinenet_tf" else ("spinenet_tf", *parts)) for parts in folders}
    listed = (ROOT / "setup.cfg").read_text().split("packages =\n")[1].split("\n#")[0].split()
    assert sorted(listed) == sorted(packages)


def test_no_own_module_is_imported_by_a_string() -> None:
    """import-linter reads only import statements, so it misses modules that are imported by a string."""
    found = set()
    for path in (path for room in PLACES for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
                named = node.args[0]
                if not isinstance(named, ast.Constant) or named.value.startswith("spinenet_tf"):
                    found.add(path.relative_to(ROOT).as_posix())
    assert found == BY_STRING
