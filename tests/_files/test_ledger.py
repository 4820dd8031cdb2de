"""A ledger keeps a line per finished unit, whatever happens to the processes that write it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spinenet_tf._files.ledger import Ledger


def test_a_finished_unit_is_not_measured_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "results" / "phones.jsonl")
    ledger.once("files, net", lambda: {"bytes": 1})
    ledger.once("files, net", lambda: pytest.fail("measured again"))
    ledger.once("digits, net", lambda: {"AP": 0.5})
    assert list(ledger.rows().values()) == [{"unit": "files, net", "bytes": 1}, {"unit": "digits, net", "AP": 0.5}]
    assert len(ledger.path.read_text().splitlines()) == 2
    assert json.loads(ledger.path.read_text().splitlines()[0])["bytes"] == 1


@pytest.mark.parametrize("torn", ["{", '{"unit": "b", "AP": 0.5}'])
def test_an_incomplete_last_line_does_not_count_and_is_replaced(torn: str, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "results.jsonl")
    ledger.add("a", {"AP": 0.1})
    with ledger.path.open("a") as file:
        file.write(torn)
    assert list(ledger.rows()) == ["a"]
    ledger.once("b", lambda: {"AP": 0.2})
    assert ledger.path.read_text() == '{"unit": "a", "AP": 0.1}\n{"unit": "b", "AP": 0.2}\n'


def test_several_writers_lose_no_line(tmp_path: Path) -> None:
    """Each thread opens the file itself, as a process does, and so waits for the lock of the others."""
    path = tmp_path / "results.jsonl"

    def add(name: str) -> None:
        for number in range(30):
            Ledger(path).add(f"{name}{number}", {"text": "x" * 500})

    with ThreadPoolExecutor() as threads:
        assert list(threads.map(add, "abc")) == [None] * 3
    assert len(Ledger(path).rows()) == 90
