"""Metadata says all that a program needs, and survives the trip."""

from __future__ import annotations

import json
import random
import zipfile
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from spinenet_tf.data.images import MEAN, STD
from spinenet_tf.export.description import describe, with_outputs
from spinenet_tf.heads import retinanet
from spinenet_tf.inference.metadata import read_metadata


def outputs(detector) -> dict:
    shapes = {"class_logits_P3": (1, 8, 16, 27), "box_deltas_P3": (1, 8, 16, 36)}
    return {name: SimpleNamespace(shape=shape, dtype="float32") for name, shape in shapes.items()}


def test_metadata_names_what_a_detector_needs(detector) -> None:
    metadata = describe(detector, outputs(detector), 1, "int8", ["a", "b", "c"])
    assert (metadata.task, metadata.model, metadata.quantization) == ("detection", "spinenet_49", "int8")
    assert metadata.input["shape"] == [1, 64, 128, 3]
    assert (tuple(metadata.input["mean"]), tuple(metadata.input["std"])) == (MEAN, STD)
    assert metadata.image_size == (64, 128)
    assert metadata.known_head() == (retinanet.ROW, detector.options)
    assert metadata.outputs["class_logits_P3"]["shape"] == [1, 8, 16, 27]
    assert "anchor * classes + class" in metadata.outputs["class_logits_P3"]["layout"]


def test_metadata_says_what_inputs_and_outputs_are(detector) -> None:
    metadata = describe(detector, outputs(detector), 1, inputs="uint8")
    given = metadata.input
    assert (metadata.output_kind, given["dtype"], given["normalization"][:4]) == ("raw", "uint8", "none")
    assert "[124, 116, 104]" in metadata.input["fit"]
    found = {"classes": SimpleNamespace(shape=(1, 20), dtype="int32")}
    decoded = with_outputs(metadata, "detections", found)
    assert (decoded.output_kind, decoded.input, decoded.options) == ("detections", metadata.input, metadata.options)
    assert decoded.outputs["classes"].items() >= {"shape": [1, 20], "dtype": "int32"}.items()


def test_a_tflite_file_carries_its_metadata_behind_the_model(detector, tmp_path) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(b"the model itself")
    metadata = describe(detector, outputs(detector), 1, class_names=["a", "größer", "c d"])
    metadata.append_to(file)
    assert read_metadata(file) == metadata
    assert file.read_bytes().startswith(b"the model itself")
    with zipfile.ZipFile(file) as archive:
        assert archive.read("labels.txt").decode().splitlines() == ["a", "größer", "c d"]


def test_equal_models_give_equal_bytes(detector, tmp_path) -> None:
    files = [tmp_path / "a.tflite", tmp_path / "b.tflite"]
    for file in files:
        file.write_bytes(b"model")
        describe(detector, outputs(detector), 1).append_to(file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_classes_without_names_are_numbered(detector) -> None:
    assert describe(detector, outputs(detector), 1).class_names == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("names", "message"), [(["a", "b"], "3 classes. Received: 2"), (["a", "b\nc", "d"], "one line")]
)
def test_names_that_do_not_fit_are_refused(detector, names, message) -> None:
    with pytest.raises(ValueError, match=message):
        describe(detector, outputs(detector), 1, class_names=names)


@pytest.mark.parametrize("content", [b"", b"no zip at all"])
def test_a_file_without_metadata_is_named(content, tmp_path) -> None:
    file = tmp_path / "foreign.tflite"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"foreign\.tflite carries no metadata"):
        read_metadata(file)


def test_a_zip_of_something_else_is_no_metadata(tmp_path) -> None:
    file = tmp_path / "foreign.tflite"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("labels.txt", "cat\n")
    with pytest.raises(ValueError, match="carries no metadata"):
        read_metadata(file)


def test_a_folder_without_metadata_and_a_missing_file_are_named(tmp_path) -> None:
    with pytest.raises(ValueError, match="carries no metadata"):
        read_metadata(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"absent\.tflite"):
        read_metadata(tmp_path / "absent.tflite")


def _with_metadata(file: Path, text: str) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", text)
    return file


@pytest.mark.parametrize("text", ["[]", "[1, 2]", "null", "3", '"metadata"', "true", "[" * 100_000, "{"])
def test_json_of_something_else_is_no_metadata(text: str, tmp_path: Path) -> None:
    file = _with_metadata(tmp_path / "foreign.tflite", text)
    with pytest.raises(ValueError, match=r"foreign\.tflite carries no metadata") as caught:
        read_metadata(file)
    assert len(str(caught.value)) < 300


BROKEN = {
    "task": [None, 3, "segmentation"],
    "model": [None, ["spinenet_49"]],
    "output_kind": ["boxes", None],
    "class_names": [None, "abc", [1, 2], {"0": "cat"}],
    "float_layers": [None, "all"],
    "outputs": [[], {"boxes": 1}],
    "input": [None, [], {}, {"shape": [1, 64, 128, 3]}],
    "head": [None, 3, "retinanett", "classifier"],
    "options": [None, [], {"sizes": 3}, {"anchor_size": "large"}, {"aspect_ratios": 3}, {"num_scales": 0}],
}
BROKEN_BEFORE = {
    "anchors": [None, [], {"sizes": 3}, {"size": "large"}, {"aspect_ratios": 3}, {"num_scales": 0}],
    "decoding": [None, "fast", {"iou": 0.5}, {"max_detections": "many"}],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BROKEN.items() for value in values])
def test_damaged_metadata_are_named_by_their_key(detector, tmp_path: Path, key: str, value: object) -> None:
    fields = asdict(describe(detector, outputs(detector), 1)) | {key: value}
    file = _with_metadata(tmp_path / "model.tflite", json.dumps(fields))
    with pytest.raises(ValueError, match=rf"model\.tflite has damaged metadata: .*{key}") as caught:
        read_metadata(file)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BROKEN_BEFORE.items() for value in values])
def test_damaged_metadata_of_format_2_are_named_by_their_key(detector, tmp_path: Path, key: str, value: object) -> None:
    fields = asdict(describe(detector, outputs(detector), 1)) | {"format": 2}
    before = {"anchors": {"min_level": 3, "num_scales": 2, "order": "row"}, "decoding": {"max_detections": 7}}
    told = fields | before
    assert read_metadata(_with_metadata(tmp_path / "model.tflite", json.dumps(told))).options == {
        "num_scales": 2,
        "max_detections": 7,
    }
    file = tmp_path / "damaged.tflite"
    with pytest.raises(ValueError, match=rf"damaged\.tflite has damaged metadata: {key}"):
        read_metadata(_with_metadata(file, json.dumps(told | {key: value})))


@pytest.mark.parametrize("shape", [None, [], [1, 64, 128], [1, 64, 128, 3, 1], [1, 64, "128", 3], [1, 0, 128, 3], 7])
def test_damaged_shapes_are_named(detector, tmp_path: Path, shape: object) -> None:
    fields = asdict(describe(detector, outputs(detector), 1))
    fields["input"]["shape"] = shape
    file = _with_metadata(tmp_path / "model.tflite", json.dumps(fields))
    with pytest.raises(ValueError, match=r"has damaged metadata: input\.shape"):
        read_metadata(file)


@pytest.mark.parametrize("missing", ["task", "model", "input", "outputs", "class_names"])
def test_missing_keys_are_named(detector, tmp_path: Path, missing: str) -> None:
    fields = asdict(describe(detector, outputs(detector), 1))
    del fields[missing]
    with pytest.raises(ValueError, match=f"has damaged metadata: {missing}"):
        read_metadata(_with_metadata(tmp_path / "model.tflite", json.dumps(fields)))


def test_keys_that_later_versions_add_are_passed_over(detector, tmp_path: Path) -> None:
    metadata = describe(detector, outputs(detector), 1)
    text = json.dumps(asdict(metadata) | {"license": "MIT"})
    assert read_metadata(_with_metadata(tmp_path / "model.tflite", text)) == metadata


def test_a_damaged_zip_is_named(detector, tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", json.dumps(asdict(describe(detector, outputs(detector), 1))))
    whole = file.read_bytes()
    rng = random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(whole))] = rng.randrange(256)
        file.write_bytes(damaged)
        with suppress(ValueError):
            read_metadata(file)


def test_metadata_of_format_3_are_read(detector, tmp_path: Path) -> None:
    metadata = replace(describe(detector, outputs(detector), 1), output_kind="decoded")
    metadata.input["center"] = 0.8  # as a classifier's file has it
    given = {key: value for key, value in metadata.input.items() if key != "center"}
    given["centre"] = 0.8  # codespell:ignore
    fields = asdict(metadata) | {"format": 3, "form": "decoded", "input": given}
    del fields["output_kind"]
    assert read_metadata(_with_metadata(tmp_path / "model.tflite", json.dumps(fields))) == metadata


def test_another_version_is_refused(tmp_path) -> None:
    file = tmp_path / "model.tflite"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"format": 5}))
    with pytest.raises(ValueError, match=r"another version.*Received: 5"):
        read_metadata(file)
