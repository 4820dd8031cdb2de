"""A whole search with real trainings, and what is made of its results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import synthetic
import yaml

import spinenet_tf
from spinenet_tf.search import searching
from spinenet_tf.search.comparison import compare, contestants
from spinenet_tf.search.correlation import correlate, correlated, longer
from spinenet_tf.search.outcomes import count_outcomes
from spinenet_tf.search.report import importances, write_search_report
from spinenet_tf.search.results import best_of, graph_of, write_best
from spinenet_tf.search.worker import work
from spinenet_tf.training.config import ConfigError


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Return the folder, the config and the study of a search whose trainings are a formula."""
    folder, searched = tmp_path_factory.mktemp("scored"), synthetic.config(trials=8)
    (folder / searching.CONFIG).write_text(searched.to_yaml())
    _, study, where = synthetic.new_study(folder, searched)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spinenet_tf.search.trial_function.count_costs", lambda proxy, spec: spinenet_tf_costs(spec))
        work(searched, where, folder / "trainings", train=synthetic.score)
        study.enqueue_trial(study.trials[0].params)
        work(synthetic.config(trials=9), where, folder / "trainings", train=synthetic.score)
    return folder, searched, study


def spinenet_tf_costs(spec):
    from spinenet_tf.search.proxy import Costs

    return Costs(1000, 10_000_000 + int(spec.name[-4:], 16))


def test_the_page_has_the_course_the_counts_the_front_and_drawings(scored):
    folder, searched, study = scored
    text = write_search_report(folder, searched, study).read_text()
    for heading in (
        "The best graphs",
        "Course",
        "Pareto front",
        "Trials",
        "Important decisions",
        "The worst graphs, drawn",
    ):
        assert f"<h2>{heading}</h2>" in text, heading
    assert text.count("data:image/svg+xml") == 5
    assert f"trial {best_of(study, 1)[0].number}: AP {best_of(study, 1)[0].value:.4f}" in text
    assert '<th scope="row">repeated</th><td>1</td>' in text
    assert '<th scope="row">trained</th><td>9</td>' in text
    assert '<th scope="row">rejected draws</th>' in text
    assert '<th scope="row">best/1.yaml</th>' in text


def test_importances_are_shares_of_the_decisions(scored):
    found = importances(scored[2])
    assert set(found) == set(scored[1].search_space().parameters())
    assert sum(found.values()) == pytest.approx(1)


def test_there_are_no_importances_of_equal_values(tmp_path, without_costs):
    searched = synthetic.config(trials=2)
    _, study, where = synthetic.new_study(tmp_path, searched)
    work(searched, where, tmp_path, train=lambda *arguments, **options: 0.5)
    assert importances(study) == {}


def test_the_best_graphs_are_written_in_order_and_older_files_are_removed(scored, tmp_path):
    _, searched, study = scored
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "9.yaml").write_text("old")
    paths = write_best(tmp_path, searched, study)
    assert sorted((tmp_path / "best").iterdir()) == paths
    for path, trial in zip(paths, best_of(study, 5), strict=True):
        assert spinenet_tf.ArchitectureSpec.load(path) == graph_of(searched, trial)


def long_score(proxy, spec, folder: Path, *, seed: int, callbacks=()) -> float:
    assert proxy.epochs == 6
    return synthetic.score(proxy, spec, folder, seed=seed) / 2


def test_the_order_after_a_longer_training_is_correlated_with_the_order_of_the_proxy(scored):
    folder, searched, study = scored
    found = correlate(folder, searched, study, 5, 3, train=long_score)
    assert (found.graphs, found.times, found.kendall, found.spearman) == (5, 3, pytest.approx(1), pytest.approx(1))
    again = correlate(folder, searched, study, 5, 3, train=lambda *arguments, **options: pytest.fail("trained again"))
    assert again == found
    assert "Rank correlation of the two AP: Kendall 1.00" in write_search_report(folder, searched, study).read_text()
    with pytest.raises(ValueError, match=r"must be 3 to 9\. Received: 10"):
        correlate(folder, searched, study, 10, 3)


def test_correlations_equal_those_worked_out_by_hand():
    rows = [{"times": 2, "short": short, "long": long} for short, long in ((1, 1), (2, 3), (3, 2), (4, 4))]
    found = correlated(rows)
    assert (found.kendall, found.spearman) == (pytest.approx(4 / 6), pytest.approx(0.8))


def test_a_longer_training_has_as_many_evaluations_and_a_stretched_schedule():
    proxy = synthetic.config(proxy=synthetic.PROXY | {"optimizer": {"decay_epochs": [1]}}).proxy
    found = longer(proxy, 3)
    assert (found.epochs, found.evaluate_every, found.optimizer.decay_epochs) == (6, 3, (3,))


def test_the_best_graph_is_compared_with_a_named_one_at_equal_multiply_adds(scored):
    folder, searched, study = scored
    graph = graph_of(searched, best_of(study, 1)[0])
    found = contestants([graph], "spinenet_49", searched.proxy)
    assert [one.name for one in found[:2]] == [graph.name, "spinenet_49"]
    assert found[2].multiply_adds == pytest.approx(found[0].multiply_adds, rel=0.05)
    groups = compare(folder, found, 2, train=synthetic.score)
    assert [len(group.aps) for group in groups] == [2, 2, 2]
    assert groups[0].mean == pytest.approx(best_of(study, 1)[0].value, abs=1e-4)
    assert compare(folder, found, 2, train=lambda *arguments, **options: pytest.fail("trained again")) == groups
    assert "<h2>Comparison</h2>" in write_search_report(folder, searched, study).read_text()


@pytest.fixture(scope="module")
def real(tmp_path_factory, succeed) -> Path:
    """Return the folder of a search by the command line, with two trainings of two steps at 64 px."""
    folder = tmp_path_factory.mktemp("real")
    proxy = {key: value for key, value in synthetic.PROXY.items() if key != "class_names"} | {"steps_per_epoch": 1}
    digits = {"digits": str(folder / "data"), "scenes": 4, "classes": 1, "size": [64, 64]}
    config = {
        "space": "r23_sp30",
        "sampler": "random",
        "proxy": proxy | {"data": {"train": digits, "val": digits}},
        "objective": {"kind": "product", "costs": [{"kind": "multiply_adds", "reference": "r23_sp30"}]},
        "trials": 2,
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    succeed("search", folder / "mine.yaml", "--run", folder / "run", "--storage", f"sqlite:///{folder}/study.db")
    return folder


@pytest.mark.slow
def test_a_search_ends_with_trials_graphs_and_a_page(real):
    config, study = searching.load_search(real / "run", f"sqlite:///{real}/study.db")
    assert count_outcomes(study.trials)["trained"] == 2
    rows = [json.loads(line) for line in (real / "run" / "trials.jsonl").read_text().splitlines()]
    assert [row["outcome"] for row in rows] == ["trained", "trained"]
    assert all(0 <= row["AP"] <= 1 and row["proxy"]["multiply_adds"] > 0 for row in rows)
    assert all(row["costs"]["multiply_adds"]["target"] > 0 and row["seconds"] > 0 for row in rows)
    assert (real / "run" / "index.html").is_file()
    assert not list((real / "run" / "trainings").iterdir())
    assert config.trials == 2


@pytest.mark.slow
def test_a_graph_that_was_found_trains_and_exports(real, succeed):
    graph = real / "run" / "best" / "1.yaml"
    assert spinenet_tf.backbone(spinenet_tf.ArchitectureSpec.load(graph), (64, 64, 3)).built
    config = yaml.safe_load((real / "mine.yaml").read_text())["proxy"]
    config["model"]["graph"] = str(graph)
    (real / "train.yaml").write_text(yaml.safe_dump(config))
    succeed("train", real / "train.yaml", "--run", real / "trained")
    succeed("export", real / "trained", "--format", "tflite", "--output", real / "found.tflite")
    assert (real / "found.tflite").is_file()


def test_a_finished_search_is_compared_and_correlated_on_the_command_line(scored, succeed, capsys):
    """The trainings were done before, by a formula; the commands only read them."""
    folder, searched, study = scored
    graph = graph_of(searched, best_of(study, 1)[0])
    compare(folder, contestants([graph], "r23_sp30", searched.proxy), 2, train=synthetic.score)
    correlate(folder, searched, study, 4, 3, train=long_score)
    succeed("search-compare", folder, "--with", "r23_sp30", "--seeds", 2)
    succeed("search-correlate", folder, "--graphs", 4, "--times", 3)
    assert "trained 3 times as long: Kendall 1.00" in capsys.readouterr().out


def test_a_folder_that_is_no_search_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is not the folder of a search"):
        searching.load_search(tmp_path)
