"""Measured figures of phones stand in the right rows of the page."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGE, RESULTS = ROOT / "docs" / "phones.md", ROOT / "benchmarks" / "phones.jsonl"
MACHINE = {"unit": "machine", "processor": "a CPU", "cores": 2, "platform": "Linux", "versions": {"keras": "3.15"}}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_phones", ROOT / "docs" / "write_phones.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def file(quantization: str, one: float, two: float, **more: object) -> dict:
    """Return a row of a file with these medians; its minima are 1 ms."""
    counts = {"arena_bytes": 2_000_000, "moved_bytes": 3_000_000, "operations": 9, "partitions": 1, "outside": {}}
    counts["multiply_adds"] = 1_000_400_000
    times = {"ms": {"1": [1.0, one], "2": [1.0, two]}}
    return {"quantization": quantization, "bytes": 1_000_000} | counts | times | more


def test_the_page_has_the_measured_figures(script, tmp_path) -> None:
    page = Path(shutil.copy(PAGE, tmp_path))
    script.write(RESULTS, page)
    assert page.read_text() == PAGE.read_text(), "run docs/write_phones.py benchmarks/phones.jsonl docs/phones.md"
    assert {name for _, name, _ in script.BLOCK.findall(page.read_text())} == set(script.BLOCKS)


def test_a_row_per_file_has_its_medians_and_what_xnnpack_leaves(script) -> None:
    found = [file("none", 20.04, 11.0), file("int16x8", 900.0, 901.0, partitions=0, outside={"CONV_2D": 7, "ADD": 2})]
    table = script.files({"files, net": {"name": "net", "side": 384, "files": found}}).splitlines()
    assert table[2:] == [
        "| `net` | 384 | float | 1.00 | 2.00 | 3.00 | 9 | 1 | 20.0 | 11.0 |",
        "| `net` | 384 | int16x8 | 1.00 | 2.00 | 3.00 | 9 | 0, 9 outside | 900.0 | 901.0 |",
    ]
    assert len({line.count("|") for line in table}) == 1


def test_the_loss_is_that_of_int8(script) -> None:
    row = {"name": "net", "AP": 0.634, "int8 AP": 0.6283}
    assert script.digits({"digits, net": row}).splitlines()[2:] == ["| `net` | 0.634 | 0.628 | 0.006 |"]


def test_the_faster_of_two_detectors_is_named_for_each_number_of_threads(script) -> None:
    ours = file("int8", 8.0, 7.0, name="spinenet_mobile_49")
    text = script.rival({"rival": {"files": [file("none", 9.0, 5.0, name="YOLOv8n"), ours]}})
    assert "| `spinenet_mobile_49` | LiteRT, int8 | 1.00 | 1,000 | 1 | 8.0 | 7.0 | 28.6 at 384 px |\n| YOLOv8n" in text
    assert "- 1 thread: the YOLOv8n takes 9.0 ms. Faster: `spinenet_mobile_49` in int8. Slower: none.\n" in text
    assert "- 2 threads: the YOLOv8n takes 5.0 ms. Faster: none. Slower: `spinenet_mobile_49` in int8.\n" in text


def test_the_date_is_that_of_the_units(script) -> None:
    rows = {"machine": MACHINE, "a": {"date": "2026-11-30"}, "b": {"date": "2026-12-01"}}
    assert script.machine(rows).startswith(
        "Measured on 2026-11-30 to 2026-12-01 on 2 cores of a CPU (Linux; keras 3.15)"
    )
    assert all(block({}) == script.MISSING for block in script.BLOCKS.values())
