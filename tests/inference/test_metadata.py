"""Metadata is the same after writing and reading, and errors name the damaged key."""

from __future__ import annotations

import json
import random
import zipfile
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from spinenet_tf.export.description import describe
from spinenet_tf.inference.metadata import Metadata, read_metadata


@pytest.fixture(scope="module")
def metadata(detector) -> Metadata:
    shapes = {"class_logits_P3": (1, 8, 16, 27), "box_deltas_P3": (1, 8, 16, 36)}
    outputs = {name: SimpleNamespace(shape=shape, dtype="float32") for name, shape in shapes.items()}
    return describe(detector, outputs, 1, class_names=["a", "größer", "c d"])


def test_a_tflite_file_carries_its_metadata_behind_the_model(metadata, tmp_path) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(b"the model itself")
    metadata.append_to(file)
    assert read_metadata(file) == metadata
    assert file.read_bytes().startswith(b"the model itself")
    with zipfile.ZipFile(file) as archive:
        assert archive.read("labels.txt").decode().splitlines() == ["a", "größer", "c d"]


def test_category_ids_are_optional_and_class_numbers_where_there_is_a_background(metadata, tmp_path) -> None:
    fields = asdict(metadata)
    assert fields.pop("category_ids") is None  # earlier versions had no such key
    cases = {"plain": (False, None), "background": (True, [0, 1, 2])}
    for name, (background, expected) in cases.items():
        given = fields | {"options": fields["options"] | {"background": background}}
        file = _with_metadata(tmp_path / f"{name}.tflite", json.dumps(given))
        assert read_metadata(file).category_ids == expected
    known = replace(metadata, category_ids=[3, 2**40, 1])
    assert read_metadata(_with_metadata(tmp_path / "known.tflite", json.dumps(asdict(known)))) == known


def test_labels_of_the_custom_operations_classes_have_no_background(metadata, tmp_path) -> None:
    options = metadata.options | {"background": True}
    for kind, labels in (("raw", ["a", "größer", "c d"]), ("postprocess", ["größer", "c d"])):
        replace(metadata, options=options, output_kind=kind).write(tmp_path, kind)
        assert (tmp_path / f"{kind}.labels.txt").read_text(encoding="utf-8").splitlines() == labels


def test_equal_models_give_equal_bytes(metadata, tmp_path) -> None:
    files = [tmp_path / "a.tflite", tmp_path / "b.tflite"]
    for file in files:
        file.write_bytes(b"model")
        metadata.append_to(file)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("content", [b"", b"no zip at all"])
def test_a_file_without_metadata_is_named(content, tmp_path) -> None:
    file = tmp_path / "foreign.tflite"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"foreign\.tflite has no metadata"):
        read_metadata(file)


def test_a_zip_of_something_else_is_no_metadata(tmp_path) -> None:
    file = tmp_path / "foreign.tflite"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("labels.txt", "cat\n")
    with pytest.raises(ValueError, match="has no metadata"):
        read_metadata(file)


def test_a_folder_without_metadata_and_a_missing_file_are_named(tmp_path) -> None:
    with pytest.raises(ValueError, match="has no metadata"):
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
    with pytest.raises(ValueError, match=r"foreign\.tflite has no metadata") as caught:
        read_metadata(file)
    assert len(str(caught.value)) < 300


BROKEN = {
    "task": [None, 3, "segmentation"],
    "model": [None, ["spinenet_49"]],
    "output_kind": ["boxes", None],
    "class_names": [None, "abc", [1, 2], {"0": "cat"}],
    "float_layers": [None, "all"],
    "category_ids": [[1, 2], [1, 2, 2], [1, 2, "c"], "123", 3],
    "outputs": [[], {"boxes": 1}],
    "input": [None, [], {}, {"shape": [1, 64, 128, 3]}, {"shape": [1, 64, 128, 3], "dtype": "uint8", "fit": "tile"}],
    "head": [None, 3, "retinanett", "classifier"],
    "options": [None, [], {"sizes": 3}, {"anchor_size": "large"}, {"aspect_ratios": 3}, {"num_scales": 0}],
}
BROKEN_BEFORE = {
    "anchors": [None, [], {"sizes": 3}, {"size": "large"}, {"aspect_ratios": 3}, {"num_scales": 0}],
    "decoding": [None, "fast", {"iou": 0.5}, {"max_detections": "many"}],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BROKEN.items() for value in values])
def test_damaged_metadata_are_named_by_their_key(metadata, tmp_path: Path, key: str, value: object) -> None:
    fields = asdict(metadata) | {key: value}
    file = _with_metadata(tmp_path / "model.tflite", json.dumps(fields))
    with pytest.raises(ValueError, match=rf"model\.tflite has damaged metadata: .*{key}") as caught:
        read_metadata(file)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BROKEN_BEFORE.items() for value in values])
def test_damaged_metadata_of_format_2_are_named_by_their_key(metadata, tmp_path: Path, key: str, value: object) -> None:
    fields = asdict(metadata) | {"format": 2}
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
def test_damaged_shapes_are_named(metadata, tmp_path: Path, shape: object) -> None:
    fields = asdict(metadata)
    fields["input"]["shape"] = shape
    file = _with_metadata(tmp_path / "model.tflite", json.dumps(fields))
    with pytest.raises(ValueError, match=r"has damaged metadata: input\.shape"):
        read_metadata(file)


@pytest.mark.parametrize("missing", ["task", "model", "input", "outputs", "class_names"])
def test_missing_keys_are_named(metadata, tmp_path: Path, missing: str) -> None:
    fields = asdict(metadata)
    del fields[missing]
    with pytest.raises(ValueError, match=f"has damaged metadata: {missing}"):
        read_metadata(_with_metadata(tmp_path / "model.tflite", json.dumps(fields)))


def test_keys_that_later_versions_add_are_passed_over(metadata, tmp_path: Path) -> None:
    text = json.dumps(asdict(metadata) | {"license": "MIT"})
    assert read_metadata(_with_metadata(tmp_path / "model.tflite", text)) == metadata


def test_a_damaged_zip_is_named(metadata, tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", json.dumps(asdict(metadata)))
    whole = file.read_bytes()
    rng = random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(whole))] = rng.randrange(256)
        file.write_bytes(damaged)
        with suppress(ValueError):
            read_metadata(file)


def test_metadata_of_format_3_are_read(metadata, tmp_path: Path) -> None:
    # A classifier's file has a center.
    metadata = replace(metadata, output_kind="decoded", input=metadata.input | {"center": 0.8})
    given = {key: value for key, value in metadata.input.items() if key != "center"}
    given["centre"] = 0.8  # codespell:ignore
    fields = asdict(metadata) | {"format": 3, "form": "decoded", "input": given}
    del fields["output_kind"]
    assert read_metadata(_with_metadata(tmp_path / "model.tflite", json.dumps(fields))) == metadata


def test_metadata_of_format_4_say_in_words_how_an_image_is_resized(metadata, tmp_path: Path) -> None:
    given = metadata.input | {"fit": "resized to fit with its aspect ratio, at the top left"}
    fields = asdict(metadata) | {"format": 4, "input": given}
    assert read_metadata(_with_metadata(tmp_path / "model.tflite", json.dumps(fields))) == metadata


def test_another_version_is_refused(tmp_path) -> None:
    file = tmp_path / "model.tflite"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"format": 6}))
    with pytest.raises(ValueError, match=r"unsupported format.*Received: format=6"):
        read_metadata(file)
