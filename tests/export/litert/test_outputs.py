"""Whatever form a file's outputs have, it detects what Keras detects."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from spinenet_tf import export
from spinenet_tf.export.description import describe
from spinenet_tf.export.litert.model import _with_form, _write
from spinenet_tf.export.litert.outputs import append_form
from spinenet_tf.export.litert.targets import TARGETS, check_graph
from spinenet_tf.inference.inspection import inspect
from spinenet_tf.inference.metadata import read_metadata
from spinenet_tf.ops.anchors import anchors, concatenate
from spinenet_tf.ops.boxes import decode

FORMS = ("decoded", "detections", "postprocess")


@pytest.fixture(scope="module")
def formed(detector, exported, images, tmp_path_factory):
    """Return the files of each form, made of one conversion of the raw part."""
    folder, raw = tmp_path_factory.mktemp("forms"), exported("none").path
    content = raw.read_bytes()
    metadata, model = read_metadata(raw), content[: content.index(b"PK\x03\x04")]
    specs = {name: tf.TensorSpec(x["shape"], name=name) for name, x in metadata.outputs.items()}
    for form in FORMS:
        _write(folder / f"{form}.tflite", *_with_form(form, model, metadata, specs))
    return {form: folder / f"{form}.tflite" for form in FORMS}


def same(found, expected) -> None:
    assert expected["num_detections"].min() > 0
    assert set(found) == set(expected)
    for name, x in expected.items():
        assert found[name].dtype == x.dtype
        np.testing.assert_allclose(found[name], x, atol=1e-3)


@pytest.mark.parametrize("form", ["decoded", "detections"])
def test_predictions_equal_keras(detector, images, formed, form) -> None:
    same(export.TFLiteModel(formed[form]).predict(images), detector.predict(images, verbose=0))


@pytest.mark.parametrize("slots", [3, 40])
def test_what_is_decoded_here_gives_as_many_detections_as_one_asks_for(
    detector, images, exported, formed, slots: int
) -> None:
    files = [exported("none").path, formed["decoded"]]
    raw, decoded = (export.TFLiteModel(file, max_detections=slots).predict(images) for file in files)
    expected = detector.predict(images, verbose=0)  # 20 slots, all of which are full
    assert (expected["num_detections"] == 20).all()
    for name, x in expected.items():
        np.testing.assert_allclose(raw[name], decoded[name], atol=1e-3)
        if name != "num_detections":
            assert raw[name].shape[1] == slots
            np.testing.assert_allclose(raw[name][:, :20], x[:, :slots], atol=1e-3)


def test_a_file_with_nms_gives_what_it_gives(formed) -> None:
    for form in ("detections", "postprocess"):
        with pytest.raises(ValueError, match=r"gives up to 20 detections of an image.*Received: max_detections=40$"):
            export.TFLiteModel(formed[form], max_detections=40)
        assert export.TFLiteModel(formed[form], max_detections=20).metadata.options["max_detections"] == 20


def test_the_custom_operation_does_one_nms_for_all_classes(detector, images, formed) -> None:
    logits, deltas = detector.flatten(detector(images[:1], training=False))
    height, width = images.shape[1:3]
    boxes = decode(deltas, concatenate(anchors(height, width, detector.anchor_spec)))[0]
    scores, classes = tf.reduce_max(tf.sigmoid(logits), -1)[0], tf.argmax(logits, -1, tf.int32)[0]
    spec = detector.options
    kept = tf.image.non_max_suppression(boxes, scores, 20, spec.iou_threshold, spec.score_threshold)
    found = export.TFLiteModel(formed["postprocess"]).predict(images[:1])
    count = found["num_detections"].item()
    assert count == len(kept) > 5
    for name, x in (
        ("scores", scores),
        ("classes", classes),
        ("boxes", tf.clip_by_value(boxes, 0, [height, width] * 2)),
    ):
        np.testing.assert_allclose(found[name][0, :count], tf.gather(x, kept), atol=1e-3)
        assert (found[name][0, count:] == (-1 if name == "classes" else 0)).all()


def test_outputs_are_named_in_their_order_and_described(formed) -> None:
    shapes = {"boxes": [1, 20, 4], "classes": [1, 20], "scores": [1, 20], "num_detections": [1]}
    for form in ("detections", "postprocess"):
        assert {name: x["shape"] for name, x in inspect(formed[form]).outputs.items()} == shapes
        assert list(inspect(formed[form]).outputs) == list(shapes)
    assert inspect(formed["decoded"]).outputs["scores"]["shape"] == [1, 1539, 3]
    for form, path in formed.items():
        metadata = read_metadata(path)
        assert metadata.form == form
        assert {name: (x["shape"], x["dtype"]) for name, x in metadata.outputs.items()} == {
            name: (x["shape"], x["dtype"]) for name, x in inspect(path).outputs.items()
        }


def test_operations_are_tflites_own(formed) -> None:
    for form, path in formed.items():
        custom = {"TFLite_Detection_PostProcess"} if form == "postprocess" else set()
        assert {name for name in inspect(path).ops if not name.isupper()} - {"NON_MAX_SUPPRESSION_V5"} == custom
        check_graph(path, TARGETS["cpu"], form)


def test_a_target_refuses_what_it_does_not_run(exported, formed) -> None:
    check_graph(exported("none").path, TARGETS["gpu"], "raw")
    with pytest.raises(export.ExportError, match=r"does not run the operations \[.*'TOPK_V2'"):
        check_graph(formed["detections"], TARGETS["gpu"], "raw")
    with pytest.raises(export.ExportError, match=r"does not run the operations \['BROADCAST_TO'"):
        check_graph(formed["detections"], TARGETS["cpu"], "raw")


def test_files_without_raw_outputs_say_so(images, formed) -> None:
    with pytest.raises(ValueError, match="Received: form='detections'"):
        export.TFLiteModel(formed["detections"]).raw(images)


def test_the_custom_operation_knows_no_boxes_that_end_in_a_pixel(detector) -> None:
    metadata = describe(detector, {}, 1)
    metadata.options["plus_one"] = True
    with pytest.raises(ValueError, match="Received: plus_one=True"):
        append_form("postprocess", metadata)(
            class_logits_P3=np.zeros((1, 8, 16, 27)), box_deltas_P3=np.zeros((1, 8, 16, 36))
        )
