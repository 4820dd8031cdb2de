"""The same models give the same results on JAX and PyTorch, in another process, as on TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import child
import keras
import numpy as np
import pytest

from spinenet_tf import ArchitectureSpec, backbone, classifier, detector
from spinenet_tf.heads.table import find_head
from spinenet_tf.inference.naming import flatten
from spinenet_tf.training.optimizers import SGD, Adam
from spinenet_tf.training.quantization import QuantizationAware

pytestmark = pytest.mark.slow

RATE = 1e-3
LATER = 0.05  # tolerance after the first step, for batch statistics of two small images
SMALL: dict[str, Any] = {"max_level": 5, "endpoint": 8}
NARROW: dict[str, Any] = {"width": 0.25, "endpoint": 8}
TRUTH = {
    "boxes": np.array([[[4, 4, 30, 30], [20, 10, 60, 50]], [[8, 16, 40, 48], [-1, -1, -1, -1]]], "float32"),
    "classes": np.array([[0, 2], [1, -1]], "int32"),
}
MASKS = {"masks": np.random.default_rng(0).random((2, 2, 28, 28), "float32")}
LABELS = {"labels": np.array([2, 0], "int32")}
WEIGHTS = {"weights": np.array([1.0, 0.25], "float32")}


@dataclass(frozen=True)
class Row:
    """A model, what the other backend computes with it, and how close the results must be."""

    build: Callable[[ArchitectureSpec], keras.Model]  # from `three_blocks`, as a mobile network for "mobile"
    piece: str
    size: tuple[int, int] = (64, 64)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    tolerance: float = 1e-4
    backends: tuple[str, ...] = ("jax", "torch")


def small(spec: ArchitectureSpec, head: str, **options: Any) -> keras.Model:
    return detector(spec, 3, (64, 64, 3), head, **SMALL, **options)


def retinanet(spec: ArchitectureSpec, **options: Any) -> keras.Model:
    return small(spec, "retinanet", head_depth=1, head_width=8, **options)


def centernet(spec: ArchitectureSpec) -> keras.Model:
    return small(spec, "centernet", head_width=8)


def mask_rcnn(spec: ArchitectureSpec) -> keras.Model:
    """Return a detector that trains on all anchors, all of which are proposals: each backend draws its own samples."""
    everything = {"level_proposals_training": 300, "proposals_training": 300, "proposal_iou_threshold": 1.0}
    everything |= {"rpn_samples": 300, "rpn_positive_share": 1.0, "roi_positive_share": 1.0, "max_detections": 5}
    everything |= {"roi_samples": 600, "mask_samples": 600}
    return small(spec, "mask_rcnn", **dict(find_head("mask_rcnn").smallest) | everything)


def compiled(model: keras.Model, optimizer: keras.Optimizer | None = None) -> keras.Model:
    optimizer = optimizer or keras.optimizers.SGD(RATE, momentum=0.9)
    if hasattr(model, "compile_for_labels"):
        model.compile_for_labels(optimizer, label_smoothing=0.1)
    else:
        model.compile(optimizer)
    model.build_optimizer()  # as in Keras, a file of a model without the optimizer's variables loads with a warning
    return model


ROWS = {
    "backbone": Row(lambda spec: backbone(spec, (100, 75, 3), **SMALL), "predict", (100, 75)),
    "mobile": Row(lambda spec: backbone(spec, (100, 75, 3), **SMALL), "predict", (100, 75), backends=("jax",)),
    "resnet_18": Row(
        lambda _: backbone("resnet_18", (100, 75, 3), **NARROW), "predict", (100, 75), backends=("torch",)
    ),
    # Raw outputs differ by 1e-5; the exponential of box sides makes it ten times as much.
    "real": Row(
        lambda _: detector("spinenet_mobile_49", 20, (128, 128, 3)),
        "predict",
        (128, 128),
        tolerance=3e-4,
        backends=("torch",),
    ),
    "retinanet": Row(lambda spec: retinanet(spec), "predict"),
    "centernet": Row(lambda spec: centernet(spec), "predict"),
    "mask_rcnn": Row(lambda spec: mask_rcnn(spec), "predict", backends=("torch",)),
    "classifier": Row(lambda spec: classifier(spec, 3, (64, 64, 3), **SMALL), "predict"),
    "fit retinanet": Row(lambda spec: compiled(retinanet(spec)), "fit", arrays=TRUTH | WEIGHTS),
    "fit giou": Row(
        lambda spec: compiled(retinanet(spec, box_loss="giou", box_weight=2.0, l2=1e-3), SGD(RATE, momentum=0.9)),
        "fit",
        arrays=TRUTH | WEIGHTS,
        backends=("torch",),
    ),
    "fit centernet": Row(lambda spec: compiled(centernet(spec)), "fit", arrays=TRUTH | WEIGHTS),
    "fit mask_rcnn": Row(lambda spec: compiled(mask_rcnn(spec)), "fit", arrays=TRUTH | MASKS | WEIGHTS),
    "fit classifier": Row(
        lambda spec: compiled(classifier(spec, 3, (64, 64, 3), **SMALL)), "fit", arrays=LABELS | WEIGHTS
    ),
    # A sum in another order may round to the next quantization step.
    "fit quantized": Row(
        lambda spec: compiled(QuantizationAware(retinanet(spec))), "fit", arrays=TRUTH | WEIGHTS, tolerance=2e-2
    ),
    "refuse": Row(lambda spec: compiled(retinanet(spec)), "refuse", arrays=TRUTH),
    "export": Row(lambda spec: retinanet(spec), "export"),
    "resume": Row(lambda spec: retinanet(spec), "resume", arrays=TRUTH | WEIGHTS, backends=("torch",)),
    "load data": Row(
        lambda spec: compiled(retinanet(spec), Adam(1e-3)), "load_data", arrays=TRUTH | WEIGHTS, backends=("torch",)
    ),
}


@pytest.fixture(scope="session")
def ours(backend, three_blocks, as_mobile, randomize, images) -> dict[str, tuple[str, keras.Model, dict[str, Any]]]:
    """Return the models and the arrays of the backend's rows."""
    rows = {name: row for name, row in ROWS.items() if backend in row.backends}
    specs = {"mobile": as_mobile(three_blocks)}
    made = {name: row.build(specs.get(name, three_blocks)) for name, row in rows.items()}
    # Training starts from initial weights: gradients of random ones are so large that tiny differences grow with each
    # step, tenfold and more.
    for name in made.keys() & named("predict"):
        muted(randomize(made[name]))
    return {name: (row.piece, made[name], {"images": images(*row.size)} | row.arrays) for name, row in rows.items()}


def muted(model: keras.Model) -> keras.Model:
    """Make a head's outputs small: scores that round to 1 are equal, and each backend sorts equals in its own way."""
    for weight in model.weights:
        if "_predictor/" in weight.path and len(weight.shape) > 1:
            weight.assign(0.1 * weight)
    return model


@pytest.fixture(scope="session")
def theirs(backend, elsewhere, ours) -> Path:
    """Return the folder with the results of the other backend."""
    return elsewhere(backend, ours)


@pytest.fixture
def result(backend, theirs) -> Callable[[str], dict[str, np.ndarray]]:
    """Return `result(name)`, which returns what the other backend computed for a row."""

    def read(name: str) -> dict[str, np.ndarray]:
        if backend not in ROWS[name].backends:
            pytest.skip(f"not on {backend}")
        error = theirs / name / "error.txt"
        assert not error.exists(), error.read_text()
        with np.load(theirs / name / "results.npz") as arrays:
            return dict(arrays)

    return read


def named(piece: str) -> list[str]:
    return [name for name, row in ROWS.items() if row.piece == piece]


def assert_close(found: dict[str, np.ndarray], expected: dict[str, Any], tolerance: float) -> None:
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        value = np.asarray(value)
        np.testing.assert_allclose(found[name], value, atol=tolerance * max(np.abs(value).max(), 1e-3), err_msg=name)


@pytest.mark.parametrize("name", named("predict"))
def test_the_same_outputs(name, ours, theirs, result) -> None:
    found = result(name)
    _, model, arrays = ours[name]
    assert_close(found, child.predict(model, **arrays), ROWS[name].tolerance)
    back = keras.saving.load_model(theirs / name / "back.keras")
    assert back.get_config() == model.get_config()
    for found, weight in zip(back.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, weight)


@pytest.mark.parametrize("name", named("fit"))
def test_the_same_training(name, ours, theirs, result) -> None:
    found = result(name)
    _, model, arrays = ours[name]
    start, expected = flat(model), child.fit(model, **arrays)
    assert expected["loss"][-1] < expected["loss"][0] or name == "fit classifier", "it learns"
    assert_close(*(first_step(losses) for losses in (found, expected)), ROWS[name].tolerance)
    assert_close(*(without_top1(losses) for losses in (found, expected)), LATER)
    step = flat(model) - start
    model.load_weights(theirs / name / "back.weights.h5")
    moved = flat(model) - start
    if name != "fit classifier":  # BN of one pixel of two images: noise of 1e-7 turns the step on TensorFlow alone, too
        assert np.linalg.norm(moved - step) < 0.2 * np.linalg.norm(step), "the same way"
    assert int(model.optimizer.iterations) == child.EPOCHS, "the optimizer's state is loaded, too"


def first_step(losses: dict[str, Any]) -> dict[str, Any]:
    return {name: np.ravel(values)[:1] for name, values in losses.items() if not name.startswith("evaluated")}


def without_top1(losses: dict[str, Any]) -> dict[str, Any]:
    """Leave out the accuracy on two images, which one logit decides."""
    return {name: values for name, values in losses.items() if not name.endswith("top1")}


def flat(model: keras.Model) -> np.ndarray:
    return np.concatenate([np.ravel(keras.ops.convert_to_numpy(weight)) for weight in model.trainable_weights])


def test_invalid_ground_truth_is_refused(result) -> None:
    told = ("Received: class 4", "Received: box [30.0, 30.0, 4.0, 4.0]", "boxes all in 0..1, for 64 x 64 px")
    found = result("refuse")
    assert len(found["errors"]) == 2 * len(told), "arrays and generators"
    assert all(message.endswith(told[index // 2]) for index, message in enumerate(found["errors"].tolist()))
    assert found["moved"] == 0, "before anything is learned"


def test_a_backend_exports_its_own_format_and_refuses_the_others(backend, ours, result) -> None:
    found = result("export")
    needed = ["tensorflow"] * 4 + (["torch"] if backend == "jax" else [])
    messages = found.pop("errors").tolist()
    assert all(f"needs Keras's {name} backend" in each for name, each in zip(needed, messages, strict=True))
    _, model, arrays = ours["export"]
    assert_close(found, flatten(model(arrays["images"][:1], training=False)) if backend == "torch" else {}, 1e-4)


def test_training_continues_from_a_backup(result) -> None:
    found = result("resume")
    np.testing.assert_allclose(found["resumed"], found["at once"], rtol=1e-5, atol=1e-6)


def test_a_data_loader_is_checked_and_learned_from(result) -> None:
    found = result("load data")
    assert found["loss"][-1] < found["loss"][0]
    assert str(found["error"]).endswith("Received: class 4")


def test_weights_of_another_backend_are_exported(ours, theirs, result, tmp_path) -> None:
    from spinenet_tf.export import saved_model

    result("fit retinanet")
    _, model, _ = ours["retinanet"]
    model.load_weights(theirs / "fit retinanet" / "back.weights.h5")
    assert saved_model(model, tmp_path / "saved").difference["max"] < 1e-4
