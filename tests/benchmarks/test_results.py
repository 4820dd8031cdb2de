"""New rows are merged with earlier ones, and a failure keeps the earlier rows."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks import plots
from benchmarks.__main__ import _carry_out
from benchmarks.peak import Peak
from benchmarks.results import Results, compare, markdown
from benchmarks.work import Part, Settings


@pytest.fixture
def row():
    return compare("inference/SavedModel", "net @64", [0.3, 0.2, 0.4], [0.1, 0.2, 0.3], goal=1.15)


def test_the_ratio_is_that_of_the_medians(row):
    assert (row.theirs, row.ours, row.unit, row.ratio, row.rounds) == (300.0, 200.0, "ms", 1.5, 3)
    assert row.met
    assert not replace(row, goal=1.6).met
    assert replace(row, goal=None).met is None
    assert compare("training/peak memory", "net", [2e9], [1e9], unit="MB").theirs == 2000


def test_each_row_has_the_machine_that_it_was_measured_on(tmp_path, row):
    path = tmp_path / "results.json"
    for machine, models in (({"cores": 2}, ["a", "b"]), ({"cores": 4}, ["b"])):
        results = Results(path)
        results.measure_on(machine)
        for model in models:
            results.add(replace(row, model=model))
    assert [(x.model, x.machine) for x in Results(path).rows] == [("a", 1), ("b", 2)]
    page = path.with_suffix(".md").read_text()
    assert "Machine 1: cores: 2.\n\nMachine 2: cores: 4." in page
    results.add(replace(row, model="a"))
    assert (results.machines, {x.machine for x in results.rows}) == ([{"cores": 4}], {1}), "the first has no rows"


def test_a_new_row_replaces_only_the_same_comparison(tmp_path, row):
    path = tmp_path / "results.json"
    Results(path).add(row)
    Results(path).add(replace(row, model="another"))
    Results(path).add(replace(row, against="pycocotools"))
    Results(path).add(replace(row, ours=100.0, ratio=3.0))
    assert [(x.model, x.against, x.ratio) for x in Results(path).rows] == [
        ("net @64", "TF Model Garden", 3.0),
        ("another", "TF Model Garden", 1.5),
        ("net @64", "pycocotools", 1.5),
    ]
    content = json.loads(path.read_text())["rows"][0]
    assert content | {"work": "inference/SavedModel", "theirs": 300.0, "goal": 1.15, "met": True} == content
    assert sorted(x.name for x in tmp_path.iterdir()) == ["results.json", "results.md"]


def test_a_failed_part_keeps_its_rows_and_is_listed(tmp_path, row, capsys):
    results = Results(tmp_path / "results.json")

    def fails(settings):
        yield row
        raise RuntimeError("out of memory")

    part = Part("inference/net", fails)
    assert not _carry_out(part, Settings(), results, 0, [part])
    again = Results(tmp_path / "results.json")
    assert [x.key for x in again.rows] == [row.key]
    assert again.failures == {"inference/net": "RuntimeError: out of memory"}
    assert "out of memory" in (tmp_path / "results.md").read_text()
    assert _carry_out(Part("inference/net", lambda settings: iter([row])), Settings(), again, 0, [part])
    assert not Results(tmp_path / "results.json").failures
    assert "1.50" in capsys.readouterr().out


def test_the_page_has_a_table_for_each_group_and_lists_missed_goals(tmp_path, row):
    results = Results(tmp_path / "results.json")
    results.rows = [row, replace(row, work="training/step", goal=9.0)]
    page = markdown(results)
    assert page.count("## ") == 2
    assert "1 of 2 goals" in page
    assert "- training/step, net @64" in page
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in tables}) == 1


def test_limits_are_fractions_of_the_measured_rate():
    settings = Settings(peaks=[Peak("float32", 1, rate=1e9, engine="x")])
    found = settings.limit("float32", 5e8, {"theirs": [1.0], "ours": [0.625]}, threads=1)
    assert found == {"peak": "float32 x1", "theirs": 0.5, "ours": 0.8}
    assert settings.limit("int8", 5e8, {"theirs": [1.0], "ours": [1.0]}, threads=1) == {}


def test_a_series_is_plotted(tmp_path, row):
    rows = [replace(row, work=f"scaling/batch, {what}", x=float(x)) for x in (1, 2) for what in ("time", "peak memory")]
    assert [path.name for path in plots.draw([row, *rows], tmp_path)] == ["scaling-batch.png"]
    assert 2000 < (tmp_path / "scaling-batch.png").stat().st_size < 200_000
