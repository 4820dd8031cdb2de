"""The public names: every tool sees them, each is imported at first use, and none hides a file."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
# The folders of the packages that import their public names at first use.
LAZY = {
    "spinenet_tf": "spinenet_tf",
    "spinenet_tf.data": "spinenet_tf/data",
    "spinenet_tf.export": "export",
    "spinenet_tf.search": "spinenet_tf/search",
}


@pytest.fixture(params=LAZY)
def package(request: pytest.FixtureRequest) -> ModuleType:
    return import_module(request.param)


def test_lazy_packages_are_listed_here() -> None:
    inits = [path for room in ("spinenet_tf", "export") for path in (ROOT / room).rglob("__init__.py")]
    found = {path.parent.relative_to(ROOT).as_posix() for path in inits if "lazy_names(" in path.read_text()}
    assert found == set(LAZY.values())


def test_the_three_lists_of_a_package_agree(package: ModuleType) -> None:
    """`__all__` is for readers and `import *`, `_HOMES` for Python, and the imports for type checkers and editors."""
    (block,) = (
        node
        for node in ast.parse(Path(package.__file__).read_text()).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    assert all(isinstance(node, ast.ImportFrom) for node in block.body)
    homes = {alias.name: node.module for node in block.body for alias in node.names}
    for name, home in package._HOMES.items():
        full = f"{package.__name__}{home}" if home.startswith(".") else home
        assert homes[name] == (package.__name__ if home == f".{name}" else full), name
    assert list(package._HOMES) == package.__all__ == sorted(homes)


def test_every_name_resolves_and_is_completed(package: ModuleType) -> None:
    for name in package.__all__:
        assert getattr(package, name).__name__.rpartition(".")[2] == name
        assert getattr(package, name).__doc__, name
    public = [name for name in dir(package) if not name.startswith("_")]
    assert public == package.__all__
    assert {"__all__", "__doc__", "__name__"} <= set(dir(package))


def test_a_misspelled_name_raises_an_error_with_the_module_and_the_name(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'teh_name'") as caught:
        _ = package.teh_name
    assert (caught.value.name, caught.value.obj) == ("teh_name", package)  # Python suggests a similar name


def in_a_fresh_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_modules_are_attributes_without_an_import_of_their_own() -> None:
    code = "import spinenet_tf as sn; print(sn.data.read.__name__, sn.export.web.__name__, sn.export.__name__)"
    assert in_a_fresh_process(code).split() == ["read", "web", "spinenet_tf.export"]


def test_a_star_import_gives_the_public_names() -> None:
    code = (
        "import json; before = {*dir(), 'before'}; from spinenet_tf import *; print(json.dumps([*{*dir()} - before]))"
    )
    assert sorted(json.loads(in_a_fresh_process(code))) == import_module("spinenet_tf").__all__


def public_names(folder: Path) -> dict[str, object]:
    """Return the names that a package's `__init__` defines or imports, other than modules."""
    parts = folder.relative_to(ROOT).parts
    package = import_module(".".join(parts if parts[0] == "spinenet_tf" else ("spinenet_tf", *parts)))
    values = {name: getattr(package, name) for name in dir(package) if not name.startswith("_")}
    return {name: value for name, value in values.items() if not isinstance(value, ModuleType)}


def test_no_public_name_is_that_of_a_file_or_folder_of_its_package() -> None:
    """Otherwise an import of the file, or of the folder as a namespace package, replaces the function."""
    folders = [
        path.parent for room in ("spinenet_tf", "export", "configs") for path in (ROOT / room).rglob("__init__.py")
    ]
    assert len(folders) > 15
    for folder in folders:
        files = {path.name.partition(".")[0] for path in folder.iterdir()}
        assert not files & set(public_names(folder)), folder
