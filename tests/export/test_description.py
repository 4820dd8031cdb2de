"""The metadata has all that a program needs to run an artifact."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from spinenet_tf.export.description import describe, with_outputs
from spinenet_tf.heads import retinanet
from spinenet_tf.ops.pixels import MEAN, STD


def outputs() -> dict:
    shapes = {"class_logits_P3": (1, 8, 16, 27), "box_deltas_P3": (1, 8, 16, 36)}
    return {name: SimpleNamespace(shape=shape, dtype="float32") for name, shape in shapes.items()}


def test_metadata_names_what_a_detector_needs(detector) -> None:
    metadata = describe(detector, outputs(), 1, "int8", ["a", "b", "c"])
    assert (metadata.task, metadata.model, metadata.quantization) == ("detection", "small", "int8")
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
    assert metadata.input["fit"] == "letterbox"
    assert "[124, 116, 104]" in metadata.input["resize"]
    found = {"classes": SimpleNamespace(shape=(1, 20), dtype="int32")}
    decoded = with_outputs(metadata, "detections", found)
    assert (decoded.output_kind, decoded.input, decoded.options) == ("detections", metadata.input, metadata.options)
    assert decoded.outputs["classes"].items() >= {"shape": [1, 20], "dtype": "int32"}.items()


def test_metadata_says_that_images_are_stretched(detector, classifier) -> None:
    stretched = describe(detector, {}, 1, inputs="uint8", stretch=True)
    assert (stretched.input["fit"], stretched.stretch) == ("stretch", True)
    crop = describe(classifier, {}, 1, center=0.8, stretch=True)
    assert (crop.stretch, crop.center) == (True, 0.8)
    assert describe(classifier, {}, 1).input["fit"] == "crop"


def test_classes_without_names_are_numbered(detector) -> None:
    metadata = describe(detector, outputs(), 1)
    assert (metadata.class_names, metadata.category_ids) == (["0", "1", "2"], None)


@pytest.fixture
def named(detector):
    """Return the shared detector with class names, which it has only in this test."""
    detector.class_names, detector.category_ids = ["cat", "dog", "cow"], [17, 18, 21]
    yield detector
    detector.class_names = detector.category_ids = None


def test_names_and_ids_are_those_of_the_model(named) -> None:
    metadata = describe(named, outputs(), 1)
    assert (metadata.class_names, metadata.category_ids) == (["cat", "dog", "cow"], [17, 18, 21])


def test_other_names_rename_the_classes_and_keep_their_ids(named) -> None:
    metadata = describe(named, outputs(), 1, class_names=["Katze", "dog", "Kuh"])
    assert (metadata.class_names, metadata.category_ids) == (["Katze", "dog", "Kuh"], [17, 18, 21])


def test_the_models_names_for_other_classes_are_refused(named) -> None:
    with pytest.raises(ValueError, match=r"The model calls class 1 'dog'\. Received in class_names: 'dog' for class 0"):
        describe(named, outputs(), 1, class_names=["dog", "cat", "cow"])


@pytest.mark.parametrize(
    ("names", "message"),
    [(["a", "b"], "Received: num_classes=3"), (["a", "b\nc", "d"], "one line"), (["a", "b", "a"], "twice")],
)
def test_names_that_do_not_fit_are_refused(detector, names, message) -> None:
    with pytest.raises(ValueError, match=message):
        describe(detector, outputs(), 1, class_names=names)
