"""What each test of a promise leaves for the table in docs/robustness.md: how many cases it tried."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def promise(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Return `promise(text, cases=COUNT)`, for a test to call after its cases passed.

    It adds a row to the table if `ROBUSTNESS_TABLE` names a file.
    """

    def kept(text: str, *, cases: int) -> None:
        if path := os.environ.get("ROBUSTNESS_TABLE"):
            with Path(path).open("a") as file:
                file.write(json.dumps({"promise": text, "cases": cases, "test": request.node.nodeid}) + "\n")

    return kept
