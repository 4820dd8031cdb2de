"""Start from another net's weights, and freeze some layers."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from spinenet_tf import backbone, classifier, detector
from spinenet_tf.training.config import ConfigError
from spinenet_tf.training.finetuning import copy_what_fits, freeze, load_what_fits

HEAD = {"max_level": 5, "endpoint": 8, "head_depth": 1, "head_width": 8}


@pytest.fixture(scope="module")
def make(three_blocks, randomize):
    """Return `make(classes, seed)`, which returns a detector with random weights, one per number of classes."""
    build = cache(lambda classes: detector(three_blocks, classes, (64, 64, 3), **HEAD))
    return lambda classes, seed=0: randomize(build(classes), seed)


def values(model) -> dict[str, np.ndarray]:
    return {weight.path: np.array(weight.value) for weight in model.weights}


def by_class(model, classes: int) -> np.ndarray:
    """Return the class predictor's kernel `[3, 3, width, anchors, classes]`."""
    kernel = values(model)["class_predictor/kernel"]
    return kernel.reshape(*kernel.shape[:-1], -1, classes)


def test_classes_are_taken_by_name_and_the_others_stay_fresh(make) -> None:
    donor, model = make(3, seed=1), make(4, seed=2)
    before = by_class(model, 4)
    assert copy_what_fits(donor, model, ("cat", "dog", "cow"), ("dog", "emu", "cat", "ant")) == []
    after = by_class(model, 4)
    np.testing.assert_array_equal(after[..., [2, 0]], by_class(donor, 3)[..., [0, 1]])
    np.testing.assert_array_equal(after[..., [1, 3]], before[..., [1, 3]])
    bias = values(model)["class_predictor/bias"].reshape(-1, 4)
    np.testing.assert_array_equal(bias[:, 0], values(donor)["class_predictor/bias"].reshape(-1, 3)[:, 1])


def test_a_heatmap_has_classes_too(three_blocks, randomize) -> None:
    options = {"head": "centernet", "max_level": 5, "endpoint": 8, "head_width": 8}
    donor, model = (randomize(detector(three_blocks, n, (64, 64, 3), **options), seed=n) for n in (2, 3))
    before, theirs = values(model), values(donor)
    assert copy_what_fits(donor, model, ("cat", "dog"), ("emu", "dog", "cat")) == []
    after = values(model)
    for path in ("heatmap_predictor/kernel", "heatmap_predictor/bias"):
        np.testing.assert_array_equal(after[path][..., [2, 1]], theirs[path])
        np.testing.assert_array_equal(after[path][..., 0], before[path][..., 0])
    np.testing.assert_array_equal(after["sizes_predictor/kernel"], theirs["sizes_predictor/kernel"])


def test_all_else_is_taken_whole(make) -> None:
    donor, model = make(3, seed=1), make(4, seed=2)
    fresh = copy_what_fits(donor, model, None, ("a", "b", "c", "d"))
    assert fresh == ["class_predictor/kernel", "class_predictor/bias"]
    theirs = values(donor)
    for path, value in values(model).items():
        assert path in fresh or np.array_equal(value, theirs[path]), path


def test_other_classes_of_the_same_number_begin_afresh(make) -> None:
    donor, model = make(2), make(2)
    fresh = copy_what_fits(donor, model, ("cat", "dog"), ("emu", "ant"))
    assert fresh == ["class_predictor/kernel", "class_predictor/bias"]


@pytest.mark.parametrize("kind", ["detector", "classifier"])
def test_a_file_says_what_it_holds(tmp_path: Path, three_blocks, make, randomize, kind: str, caplog) -> None:
    builders = {
        "detector": lambda: make(3, seed=1),
        "classifier": lambda: randomize(classifier(three_blocks, 7, (64, 64, 3), max_level=5, endpoint=8), 1),
    }
    donor, model = builders[kind](), make(4, seed=2)
    donor.save_weights(tmp_path / "donor.weights.h5")
    fresh = load_what_fits(model, tmp_path / "donor.weights.h5")
    theirs, ours = values(donor), values(model)
    assert all(np.array_equal(ours[path], theirs[path]) for path in values(model.backbone))
    heads = [path for path in ours if path not in values(model.backbone)]
    expected = {"detector": ["class_predictor/kernel", "class_predictor/bias"]}.get(kind, heads)
    assert fresh == expected
    assert f"Loaded {len(ours) - len(fresh)} of {len(ours)} weights from" in caplog.text


def test_what_would_compute_something_else_is_said_or_refused(tmp_path: Path, three_blocks, make, caplog) -> None:
    other = detector(three_blocks, 4, (64, 64, 3), activation="swish", **HEAD)
    other.save_weights(tmp_path / "swish.weights.h5")
    load_what_fits(make(4), tmp_path / "swish.weights.h5")
    assert "The architectures differ: backbone.activation: swish in the file, relu in the model" in caplog.text

    stranger = backbone("spinenet_mobile_49xs", (64, 64, 3), width=0.25, max_level=5, endpoint=8)
    stranger.save_weights(tmp_path / "stranger.weights.h5")
    with pytest.raises(ConfigError, match=r"stranger\.weights\.h5 has another graph, spinenet_mobile"):
        load_what_fits(make(4), tmp_path / "stranger.weights.h5")
    with pytest.raises(FileNotFoundError, match="Weights file not found"):
        load_what_fits(make(4), tmp_path / "nowhere.weights.h5")


def test_frozen_layers_stay_as_they_are_and_their_statistics_too(three_blocks, images) -> None:
    model = detector(three_blocks, 2, (64, 64, 3), **HEAD)
    with pytest.raises(ConfigError, match="freeze: no layer or variable matches 'blok'"):
        freeze(model, ["blok"])
    freeze(model, ["backbone", "box_conv0/*"])
    model.compile("sgd", run_eagerly=True)
    before = values(model)
    boxes = np.array([[[4, 4, 30, 30]], [[8, 16, 40, 48]]], "float32")
    model.fit(images(64, 64), {"boxes": boxes, "classes": np.array([[0], [1]], "int32")}, verbose=0)
    moved = {path for path, value in values(model).items() if not np.array_equal(value, before[path])}
    frozen = {*values(model.backbone), "box_conv0/kernel", "box_conv0/bias"}
    assert not moved & frozen
    assert {"class_conv0/kernel", "class_conv0_P3_bn/moving_mean", "class_predictor/bias"} <= moved
    with pytest.raises(ConfigError, match="freeze: nothing is left to train"):
        freeze(model, ["*"])
