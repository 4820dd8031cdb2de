"""A file with any outputs detects the same as Keras."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from spinenet_tf import export
from spinenet_tf.export.description import describe
from spinenet_tf.export.litert.appended import _detect, append_outputs
from spinenet_tf.export.litert.targets import TARGETS, check_graph
from spinenet_tf.inference.inspection import inspect
from spinenet_tf.inference.interpreter import open_interpreter
from spinenet_tf.inference.metadata import read_metadata
from spinenet_tf.ops.anchors import anchors, concatenate
from spinenet_tf.ops.boxes import decode
from spinenet_tf.ops.decoding import Candidates, greedy_nms


def same(found, expected) -> None:
    assert expected["num_detections"].min() > 0
    assert set(found) == set(expected)
    for name, x in expected.items():
        assert found[name].dtype == x.dtype
        np.testing.assert_allclose(found[name], x, atol=1e-3)


@pytest.mark.parametrize("kind", ["decoded", "detections"])
def test_predictions_equal_keras(detector, images, files_by_kind, kind) -> None:
    same(export.TFLiteModel(files_by_kind[kind]).predict(images), detector.predict(images, verbose=0))


@pytest.mark.parametrize("slots", [3, 40])
def test_what_is_decoded_here_gives_as_many_detections_as_one_asks_for(
    detector, images, exported, files_by_kind, slots: int
) -> None:
    files = [exported("none").path, files_by_kind["decoded"]]
    raw, decoded = (export.TFLiteModel(file, max_detections=slots).predict(images) for file in files)
    expected = detector.predict(images, verbose=0)  # 20 slots, all of which are full
    assert (expected["num_detections"] == 20).all()
    for name, x in expected.items():
        np.testing.assert_allclose(raw[name], decoded[name], atol=1e-3)
        if name != "num_detections":
            assert raw[name].shape[1] == slots
            np.testing.assert_allclose(raw[name][:, :20], x[:, :slots], atol=1e-3)


def test_a_file_with_nms_gives_what_it_gives(files_by_kind) -> None:
    for kind in ("detections", "postprocess"):
        with pytest.raises(ValueError, match=r"fixed limit of 20 detections per image.*Received: max_detections=40$"):
            export.TFLiteModel(files_by_kind[kind], max_detections=40)
        assert export.TFLiteModel(files_by_kind[kind], max_detections=20).metadata.options["max_detections"] == 20


def test_the_custom_operation_does_one_nms_for_all_classes(detector, images, files_by_kind) -> None:
    logits, deltas = detector.flatten(detector(images[:1], training=False))
    height, width = images.shape[1:3]
    boxes = decode(deltas, concatenate(anchors(height, width, detector.anchor_spec)))[0]
    scores, classes = tf.reduce_max(tf.sigmoid(logits), -1)[0], tf.argmax(logits, -1, tf.int32)[0]
    spec = detector.options
    kept = tf.image.non_max_suppression(boxes, scores, 20, spec.iou_threshold, spec.score_threshold)
    found = export.TFLiteModel(files_by_kind["postprocess"]).predict(images[:1])
    count = found["num_detections"].item()
    assert count == len(kept) > 5
    for name, x in (
        ("scores", scores),
        ("classes", classes),
        ("boxes", tf.clip_by_value(boxes, 0, [height, width] * 2)),
    ):
        np.testing.assert_allclose(found[name][0, :count], tf.gather(x, kept), atol=1e-3)
        assert (found[name][0, count:] == (-1 if name == "classes" else 0)).all()


def test_outputs_are_named_in_their_order_and_described(files_by_kind) -> None:
    shapes = {"boxes": [1, 20, 4], "classes": [1, 20], "scores": [1, 20], "num_detections": [1]}
    for kind in ("detections", "postprocess"):
        assert {name: x["shape"] for name, x in inspect(files_by_kind[kind]).outputs.items()} == shapes
        assert list(inspect(files_by_kind[kind]).outputs) == list(shapes)
    assert inspect(files_by_kind["decoded"]).outputs["scores"]["shape"] == [1, 1539, 3]
    for kind, path in files_by_kind.items():
        metadata = read_metadata(path)
        assert metadata.output_kind == kind
        assert {name: (x["shape"], x["dtype"]) for name, x in metadata.outputs.items()} == {
            name: (x["shape"], x["dtype"]) for name, x in inspect(path).outputs.items()
        }


def test_operations_are_tflites_own(files_by_kind) -> None:
    for kind, path in files_by_kind.items():
        custom = {"TFLite_Detection_PostProcess"} if kind == "postprocess" else set()
        assert {name for name in inspect(path).ops if not name.isupper()} - {"NON_MAX_SUPPRESSION_V5"} == custom
        check_graph(path, TARGETS["cpu"], kind)


def test_a_target_refuses_what_it_does_not_run(exported, files_by_kind) -> None:
    check_graph(exported("none").path, TARGETS["gpu"], "raw")
    with pytest.raises(export.ExportError, match=r"does not support the operations \[.*'TOPK_V2'"):
        check_graph(files_by_kind["detections"], TARGETS["gpu"], "raw")
    with pytest.raises(export.ExportError, match=r"does not support the operations \['BROADCAST_TO'"):
        check_graph(files_by_kind["detections"], TARGETS["cpu"], "raw")


def test_files_without_raw_outputs_say_so(images, files_by_kind) -> None:
    with pytest.raises(ValueError, match="Received: output_kind='detections'"):
        export.TFLiteModel(files_by_kind["detections"]).raw(images)


def test_the_custom_operation_knows_no_boxes_that_end_in_a_pixel(detector) -> None:
    metadata = describe(detector, {}, 1)
    metadata.options["plus_one"] = True
    with pytest.raises(ValueError, match="Received: plus_one=True"):
        append_outputs("postprocess", metadata)(
            class_logits_P3=np.zeros((1, 8, 16, 27)), box_deltas_P3=np.zeros((1, 8, 16, 36))
        )


def test_boxes_without_an_area_are_each_found_once(detector, tmp_path) -> None:
    """LiteRT's NMS alone returns the first of them again in all further slots."""
    boxes = np.float32([[0, 0, 9, 9], [0, 0, 5, 0], [1, 1, 9, 9], [3, 3, 3, 8], [0, 0, 5, 0], [2, 2, 2, 2]])
    scores, classes = np.linspace(0.9, 0.4, 6, dtype=np.float32), tf.constant([[0, 1, 0, 1, 1, 0]])
    metadata = describe(detector, {}, 1)

    def decode(raw, options, image_size, nms):
        return {"kept": nms(Candidates(raw["boxes"], raw["scores"], classes), iou_threshold=0.5, max_detections=8)}

    @tf.function(input_signature=[tf.TensorSpec((1, 6, 4)), tf.TensorSpec((1, 6))])
    def run(boxes, scores):
        return _detect({"boxes": boxes, "scores": scores}, SimpleNamespace(decode=decode), None, metadata)

    tf.saved_model.save(tf.Module(), str(tmp_path / "saved"), signatures={"run": run})
    (tmp_path / "nms.tflite").write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved")).convert())
    signature = open_interpreter(tmp_path / "nms.tflite").get_signature_runner("run")
    found = signature(boxes=boxes[None], scores=scores[None])
    assert found["kept"].tolist() == [[0, 1, 3, 4, 5, -1, -1, -1]]
    expected = greedy_nms(Candidates(tf.constant(boxes[None]), tf.constant(scores[None]), classes), 0.5, 8)
    assert found["kept"].tolist() == np.asarray(expected).tolist()
