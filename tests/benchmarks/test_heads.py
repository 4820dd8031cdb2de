"""The comparison of heads: its runs, and its figures in the right rows of the page."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import heads
from spinenet_tf._files.ledger import Ledger

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "heads.md"
TRIALS = {unit.key: {"AP": unit.learning_rate, "mask_AP": -unit.learning_rate} for unit in heads.trials()}
RUN = {"title": "Mask R-CNN", "learning_rate": 0.1, "AP": 0.5, "mask_AP": 0.25}
FILES = {"none bytes": 4_000_000, "dynamic bytes": 1_000_000, "dynamic AP": 0.4, "dynamic mask_AP": 0.2}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_heads", ROOT / "docs" / "write_heads.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_task_and_the_data_of_a_run_fit_its_head(tmp_path) -> None:
    units = [*heads.trials(), *heads.runs(TRIALS)]
    configs = [unit.config(tmp_path) for unit in units]
    assert {config.task for config in configs} == {"detection", "instance segmentation"}
    assert len({(config.data.model_dump_json(), config.model.name, config.batch_size) for config in configs}) == 1
    assert len({unit.key for unit in units}) == len(units)


def test_the_learning_rate_is_the_best_of_the_trials_in_the_metric_of_the_task() -> None:
    rates = {unit.title: unit.learning_rate for unit in heads.runs(TRIALS)}
    assert (rates["RetinaNet"], rates["CenterNet, stride 4"], rates["Mask R-CNN"]) == (0.64, 0.64, 0.064)


def test_only_a_net_that_selects_detections_has_no_integer_file() -> None:
    assert {unit.title for unit in heads.runs(TRIALS) if "int8" not in unit.quantizations} == {"Mask R-CNN"}


def test_the_recorded_runs_are_those_of_the_benchmark() -> None:
    """A changed title or rate would train again what has been measured."""
    rows = Ledger(heads.RESULTS).rows()
    planned = {unit.key for unit in (*heads.trials(), *heads.runs(TRIALS | rows))}
    assert set(rows) - {heads.LATENCY} <= planned


def test_latencies_are_measured_again_with_all_files_if_one_is_missing(tmp_path, monkeypatch) -> None:
    ledger, chosen = Ledger(tmp_path / "heads.jsonl"), heads.quick_runs()
    files = {f"{unit.title}, {name}": [1.0, 2.0] for unit in chosen for name in unit.quantizations}
    monkeypatch.setattr(heads, "latencies", lambda *_: {heads.TIMES: files})
    ledger.add(heads.LATENCY, {heads.TIMES: {"RetinaNet, none": [3.0, 4.0]}})
    for _ in range(2):
        heads.measure_latency(ledger, chosen, tmp_path, 1)
    assert ledger.rows()[heads.LATENCY][heads.TIMES] == files
    assert len(ledger.path.read_text().splitlines()) == 2


def test_the_page_has_the_measured_figures(script, tmp_path) -> None:
    page = Path(shutil.copy(PAGE, tmp_path))
    script.write(heads.RESULTS, page)
    assert page.read_text() == PAGE.read_text(), "run docs/write_heads.py benchmarks/heads.jsonl docs/heads.md"
    assert {name for _, name, _ in script.BLOCK.findall(page.read_text())} == set(script.BLOCKS)
    assert set(script.HEADS) == {unit.title for unit in heads.runs(TRIALS)}
    assert set(script.TRIED) == {unit.title for unit in heads.trials()}


def test_a_head_has_a_row_for_each_file_and_says_what_is_missing(script) -> None:
    rows = {"trial": RUN | {"AP": 0.1}, "a": RUN | FILES, "b": RUN | FILES | {"AP": 0.6}}
    rows["latency"] = {"least and median ms": {"Mask R-CNN, none": [3.0, 9.0]}}
    table = script.heads(rows).splitlines()
    assert table[-2:] == [
        "| Mask R-CNN, P3 to P5 | float | 2 | 0.550 (0.500 to 0.600) | 0.250 (0.250 to 0.250) | 4.00 | 3.00 |",
        "| Mask R-CNN, P3 to P5 | dynamic range | 2 | 0.400 (0.400 to 0.400) | 0.200 (0.200 to 0.200) | 1.00 "
        "| not measured yet |",
    ]
    assert "| RetinaNet, P3 to P5 | not measured yet |  |  |  |  |  |" in table
    assert len({line.count("|") for line in table}) == 1


def test_trials_have_their_own_table(script) -> None:
    table = script.rates({"a": RUN, "b": RUN | FILES}).splitlines()
    assert table[-1] == "| Mask R-CNN | 0.1 | 0.500 | 0.250 |"
    assert table[-2] == "| CenterNet, stride 8 | not measured yet |  |  |"


def test_the_page_names_the_machine(script) -> None:
    found = {"processor": "a CPU", "platform": "Linux", "versions": {"keras": "3.15"}}
    assert "on a CPU (Linux; keras 3.15)" in script.machine({"latency": found})
