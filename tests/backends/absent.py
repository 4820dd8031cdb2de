"""Make a package look as if it were not installed."""

from __future__ import annotations

import sys
from typing import Any


class _Without:
    """An import finder that finds what another one does, except for a package."""

    def __init__(self, finder: Any, package: str):
        self._finder, self._package = finder, package

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return None if name.partition(".")[0] == self._package else self._finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)


def hide(package: str) -> None:
    """Let every later import of the package in this process fail."""
    sys.meta_path[:] = [_Without(finder, package) for finder in sys.meta_path]
