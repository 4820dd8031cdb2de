"""The figures of docs/search.md are those of the committed JSON lines."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"
MEASURED = DOCS.parent / "benchmarks" / "search"
pytestmark = pytest.mark.unseeded


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_search", DOCS / "write_search.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(script, tmp_path):
    page = Path(shutil.copy(DOCS / "search.md", tmp_path))
    script.write(MEASURED, page, tmp_path)
    assert page.read_text() == (DOCS / "search.md").read_text(), "run docs/write_search.py"
    for drawing in tmp_path.glob("*.svg"):
        assert drawing.read_bytes() == (DOCS / "images" / drawing.name).read_bytes(), "run docs/write_search.py"


def test_a_search_is_summed_up(script, tmp_path):
    proxy = {"parameters": 1000, "multiply_adds": 2_000_000}
    trials = [
        {"unit": f"trial {number}", "outcome": "trained", "values": [ap], "AP": ap, "proxy": proxy, "seconds": 60}
        for number, ap in enumerate([*[0.1, 0.2] * 10, 0.3, 0.5])
    ]
    trials[21]["costs"] = {"int8_latency": {"value": 4.5, "target": 5.0}}
    trials.append({"unit": "trial 22", "outcome": "repeated"})
    comparison = [{"graph": name, "seed": 0, "multiply_adds": 10**6, "AP": ap} for name, ap in (("a", 0.5), ("b", 0.4))]
    correlation = [{"times": 3, "short": ap, "long": ap} for ap in (0.1, 0.2, 0.5)]
    for name, rows in (("trials", trials), ("comparison", comparison), ("correlation", correlation)):
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = script.result(tmp_path, "mine", tmp_path)
    assert "23 trials: 22 trained, 1 repeated. A training took 60 s (median)." in text
    assert "| first 20, random | 20 | 0.100 | 0.150 | 0.200 |" in text
    assert "| those after them | 2 | 0.300 | 0.400 | 0.500 |" in text
    assert "trial 21: AP 0.500, 2.0 M multiply-adds, int8_latency 0.90 of the limit." in text
    assert "| `a` | 1.0 | 1 | 0.500 | 0.500 | 0.500 |" in text
    assert "Kendall 1.00" in text
    assert (tmp_path / "search-mine.svg").is_file()
