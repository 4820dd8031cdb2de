"""The metadata has all that a program needs to run an artifact."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from spinenet_tf.data.images import MEAN, STD
from spinenet_tf.export.description import describe, with_outputs
from spinenet_tf.heads import retinanet


def outputs() -> dict:
    shapes = {"class_logits_P3": (1, 8, 16, 27), "box_deltas_P3": (1, 8, 16, 36)}
    return {name: SimpleNamespace(shape=shape, dtype="float32") for name, shape in shapes.items()}


def test_metadata_names_what_a_detector_needs(detector) -> None:
    metadata = describe(detector, outputs(), 1, "int8", ["a", "b", "c"])
    assert (metadata.task, metadata.model, metadata.quantization) == ("detection", "spinenet_49", "int8")
    assert metadata.input["shape"] == [1, 64, 128, 3]
    assert (tuple(metadata.input["mean"]), tuple(metadata.input["std"])) == (MEAN, STD)
    assert metadata.image_size == (64, 128)
    assert metadata.known_head() == (retinanet.ROW, detector.options)
    assert metadata.outputs["class_logits_P3"]["shape"] == [1, 8, 16, 27]
    assert "anchor * classes + class" in metadata.outputs["class_logits_P3"]["layout"]


def test_metadata_says_what_inputs_and_outputs_are(detector) -> None:
    metadata = describe(detector, outputs(), 1, inputs="uint8")
    given = metadata.input
    assert (metadata.output_kind, given["dtype"], given["normalization"][:4]) == ("raw", "uint8", "none")
    assert "[124, 116, 104]" in metadata.input["fit"]
    found = {"classes": SimpleNamespace(shape=(1, 20), dtype="int32")}
    decoded = with_outputs(metadata, "detections", found)
    assert (decoded.output_kind, decoded.input, decoded.options) == ("detections", metadata.input, metadata.options)
    assert decoded.outputs["classes"].items() >= {"shape": [1, 20], "dtype": "int32"}.items()


def test_classes_without_names_are_numbered(detector) -> None:
    assert describe(detector, outputs(), 1).class_names == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("names", "message"), [(["a", "b"], "3 classes. Received: 2"), (["a", "b\nc", "d"], "one line")]
)
def test_names_that_do_not_fit_are_refused(detector, names, message) -> None:
    with pytest.raises(ValueError, match=message):
        describe(detector, outputs(), 1, class_names=names)
