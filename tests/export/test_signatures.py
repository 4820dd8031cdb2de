"""The flat signature: names, shapes, and models that cannot be exported."""

from __future__ import annotations

import random
from unittest.mock import Mock

import keras
import numpy as np
import pytest

import spinenet_tf
from spinenet_tf.export import signatures
from spinenet_tf.export.signatures import raw_function
from spinenet_tf.inference.keras_model import in_float32, task_of
from spinenet_tf.inference.naming import flatten, nest
from spinenet_tf.nets.calls import calls

LEVELS = ("P3", "P4", "P5", "P6", "P7")
SMALL = {"width": 0.25, "endpoint": 16}


def shapes(model: keras.Model, batch_size: int | None) -> dict[str, tuple[int | None, ...]]:
    specs = raw_function(model, batch_size).get_concrete_function().structured_outputs
    return {name: tuple(spec.shape) for name, spec in specs.items()}


def test_a_detector_has_two_named_maps_per_level(detector) -> None:
    sides = {"P3": (8, 16), "P4": (4, 8), "P5": (2, 4), "P6": (1, 2), "P7": (1, 1)}
    expected = {f"class_logits_{level}": (1, *sides[level], 9 * 3) for level in LEVELS}
    expected |= {f"box_deltas_{level}": (1, *sides[level], 9 * 4) for level in LEVELS}
    assert shapes(detector, batch_size=1) == expected


def test_a_classifier_has_logits_and_any_batch(classifier) -> None:
    assert shapes(classifier, batch_size=None) == {"logits": (None, 4)}


def test_a_backbone_has_its_levels() -> None:
    model = spinenet_tf.backbone("spinenet_49", (64, 64, 3), min_level=4, max_level=5, **SMALL)
    assert shapes(model, batch_size=2) == {"P4": (2, 4, 4, 16), "P5": (2, 2, 2, 16)}


@pytest.mark.parametrize(
    "outputs",
    [
        {"class_logits": {"P3": 1, "P4": 2}, "box_deltas": {"P3": 3, "P4": 4}},
        {"P3": 1, "P4": 2},
        np.zeros((1, 7)),
    ],
    ids=["detection", "backbone", "classification"],
)
def test_nest_undoes_flatten(outputs) -> None:
    assert nest(flatten(outputs)) is outputs or nest(flatten(outputs)) == outputs


def test_the_graph_has_no_variables(detector) -> None:
    assert not raw_function(detector, 1).get_concrete_function().graph.variables


def kinds(model: keras.Model, **options) -> set[str]:
    """Return the types of the operations in the exported graph."""
    graph = raw_function(model, 1, **options).get_concrete_function().graph
    return {operation.type for operation in graph.get_operations()}


def test_upsampling_is_written_as_asked_for_and_the_model_stays_as_it_was(detector, monkeypatch) -> None:
    """The model is unchanged even if the export fails halfway."""

    def state() -> tuple:
        return detector.get_config(), [id(output) for _, output, _ in calls(detector)], random.getstate()

    before, weights = state(), detector.get_weights()
    assert "DepthToSpace" in kinds(detector, upsampling="concat")
    monkeypatch.setattr(signatures, "freeze", Mock(side_effect=RuntimeError("half way")))
    with pytest.raises(RuntimeError, match="half way"):
        raw_function(detector, 1, upsampling="concat")
    monkeypatch.undo()
    assert "DepthToSpace" not in kinds(detector)
    assert state() == before
    for found, expected in zip(detector.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_model_of_unknown_size_is_refused_with_the_remedy() -> None:
    model = spinenet_tf.backbone("spinenet_49", (None, None, 3), **SMALL)
    with pytest.raises(ValueError, match=r"static input_shape=\(H, W, 3\).*Received: shape=\(None, None, 3\)"):
        raw_function(model, 1)


def test_a_model_in_half_precision_is_refused() -> None:
    model = spinenet_tf.backbone("spinenet_49", (64, 64, 3), dtype="mixed_bfloat16", **SMALL)
    with pytest.raises(ValueError, match=r"must compute in float32.*Received: \['bfloat16'\]"):
        raw_function(model, 1)
    assert in_float32(model).compute_dtype == "float32"


def test_a_batch_of_none_is_refused(detector) -> None:
    with pytest.raises(ValueError, match="Received: batch_size=0"):
        raw_function(detector, 0)


def test_foreign_models_are_refused() -> None:
    with pytest.raises(ValueError, match="Received: model=Sequential"):
        task_of(keras.Sequential())
