"""Collect the number of cases of each robustness test for the table in docs/robustness.md."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def kept_promises() -> Iterator[list[dict[str, Any]]]:
    """Collect the table rows, and write them at the end, when no test limits file sizes."""
    rows: list[dict[str, Any]] = []
    yield rows
    if path := os.environ.get("ROBUSTNESS_TABLE"):
        with Path(path).open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def promise(request: pytest.FixtureRequest, kept_promises: list[dict[str, Any]]) -> Callable[..., None]:
    """Return `promise(text, cases=COUNT)`, which a test calls after all cases passed.

    It adds a row to the table if `ROBUSTNESS_TABLE` names a file.
    """

    def kept(text: str, *, cases: int) -> None:
        kept_promises.append({"promise": text, "cases": cases, "test": request.node.nodeid})

    return kept
