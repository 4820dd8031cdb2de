"""Detections are indexed as NumPy arrays, drawn, and converted for other tools."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.mask import decode

from spinenet_tf import Classification, Detections
from spinenet_tf.data.masks import RunLengthMask

IMAGE = np.full((60, 80, 3), 90, np.uint8)


def detections(**changes) -> Detections:
    values = {
        "boxes": np.float32([[10, 20, 30, 50], [5, 5, 25, 15], [0, 60, 60, 80]]),
        "scores": np.float32([0.9, 0.5, 0.2]),
        "classes": np.int32([1, 0, 1]),
        "image": IMAGE,
        "class_names": ("cat", "dog"),
    }
    return Detections(**values | changes)


MASKS = np.random.default_rng(0).random((3, 60, 80)) > 0.5
ENCODED = tuple(map(RunLengthMask.of, MASKS))
NONE = {"boxes": np.zeros((0, 4), "float32"), "scores": np.zeros(0, "float32"), "classes": np.zeros(0, "int32")}


@pytest.mark.parametrize(
    ("index", "rows"),
    [(0, [0]), (-1, [2]), (slice(1, None), [1, 2]), ([2, 0], [2, 0]), ([False, True, True], [1, 2]), ([], [])],
)
def test_an_index_chooses_rows_as_in_numpy(index, rows: list[int]) -> None:
    found, whole = detections(encoded_masks=ENCODED)[index], detections()
    assert len(found) == len(rows)
    for name in ("boxes", "scores", "classes"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name)[rows])
    np.testing.assert_array_equal(found.masks, MASKS[rows])
    assert found.image is IMAGE


def test_masks_are_none_if_the_model_predicts_none() -> None:
    assert detections().masks is None
    assert detections(**NONE, encoded_masks=()).masks.shape == (0, 60, 80)


def test_rows_that_are_not_there_are_refused() -> None:
    for index in (3, [0, 3], np.array([True, False])):
        with pytest.raises(IndexError):
            detections()[index]


def test_iteration_returns_one_object_after_the_other() -> None:
    assert [(one.names, float(one.scores[0])) for one in detections()] == [
        (["dog"], pytest.approx(0.9)),
        (["cat"], 0.5),
        (["dog"], pytest.approx(0.2)),
    ]


def test_a_threshold_filters_and_includes_itself() -> None:
    assert detections().filter(0.5).names == ["dog", "cat"]
    assert len(detections().filter(0.91)) == 0


def test_the_text_names_the_best() -> None:
    assert repr(detections()) == "Detections(dog 0.90, cat 0.50, dog 0.20 in 80 x 60 px)"
    assert repr(detections(**NONE)) == "Detections(none in 80 x 60 px)"
    many = detections()[[0] * 7]
    assert repr(many).startswith("Detections(dog 0.90, dog 0.90, dog 0.90, dog 0.90, dog 0.90, and 2 more in")


def test_a_picture_has_the_boxes_above_the_threshold() -> None:
    few, more = (np.asarray(detections().draw(threshold)) for threshold in (0.3, 0.1))
    assert few.shape == (360, 480, 3), "six times as large, so that labels can be read"
    differ = (few != more).any(axis=2)
    assert differ[:, 360:].any()
    assert not differ[:, :240].any()
    assert (detections().draw().mode, IMAGE.min(), IMAGE.max()) == ("RGB", 90, 90)


def test_a_picture_has_the_masks_above_the_threshold() -> None:
    half = np.zeros((3, 60, 80), bool)
    half[:, 30:] = True
    masked = detections(encoded_masks=tuple(map(RunLengthMask.of, half)))
    drawn, plain = (np.asarray(found[1:].draw(0.3)) for found in (masked, detections()))
    differ = (drawn != plain).any(axis=2)
    assert differ[186:].all(), "below row 30, six times as large"
    assert not differ[:174].any()


def test_a_notebook_shows_the_picture() -> None:
    classes = Classification(np.array([0.2, 0.8]), IMAGE, ("cat", "dog"))
    for result in (detections(), detections(**NONE), classes):
        with Image.open(io.BytesIO(result._repr_png_())) as picture:
            np.testing.assert_array_equal(np.asarray(picture), np.asarray(result.draw()))


def test_coco_results_have_the_ids_of_the_training_set_or_count_from_1() -> None:
    best = {"image_id": 7, "bbox": [20.0, 10.0, 30.0, 20.0], "score": pytest.approx(0.9)}
    assert detections().to_coco(7)[0] == best | {"category_id": 2}
    assert detections(category_ids=(17, 18)).to_coco(7)[0] == best | {"category_id": 18}
    assert detections(**NONE).to_coco(7) == []
    with pytest.raises(ValueError, match="image ids must be integers"):
        detections().to_coco("a.jpg")


def test_coco_results_have_masks_that_pycocotools_decodes() -> None:
    rows = json.loads(json.dumps(detections(encoded_masks=ENCODED).to_coco(7)))
    np.testing.assert_array_equal([decode(row["segmentation"]) for row in rows], MASKS)
    assert "segmentation" not in detections().to_coco(7)[0]


def test_pycocotools_reads_the_results(tmp_path: Path) -> None:
    truth = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": 60, "width": 80}],
        "annotations": [],
        "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps(detections(category_ids=(17, 18)).to_coco(7)))
    with contextlib.redirect_stdout(io.StringIO()):
        read = COCO(str(tmp_path / "truth.json")).loadRes(str(tmp_path / "results.json"))
    assert [row["category_id"] for row in read.loadAnns(read.getAnnIds([7]))] == [18, 17, 18]


@pytest.mark.parametrize("changes", [{}, {"encoded_masks": ENCODED}, NONE, NONE | {"encoded_masks": ()}])
def test_supervision_gets_the_same(changes) -> None:
    supervision = pytest.importorskip("supervision")
    ours = detections(**changes)
    theirs = ours.to_supervision()
    assert isinstance(theirs, supervision.Detections)
    assert len(theirs) == len(ours)
    np.testing.assert_array_equal(theirs.xyxy, ours.boxes[:, [1, 0, 3, 2]])
    np.testing.assert_array_equal(theirs.confidence, ours.scores)
    np.testing.assert_array_equal(theirs.class_id, ours.classes)
    assert theirs.data["class_name"].tolist() == ours.names
    if ours.masks is None:
        assert theirs.mask is None
    else:
        np.testing.assert_array_equal(theirs.mask, ours.masks)


def test_supervision_draws_and_merges_them() -> None:
    supervision = pytest.importorskip("supervision")
    theirs = detections().to_supervision()
    assert len(theirs[theirs.confidence > 0.3]) == 2
    assert len(supervision.Detections.merge([theirs, detections(**NONE).to_supervision()])) == 3
    masked = detections(encoded_masks=ENCODED).to_supervision()
    assert (supervision.MaskAnnotator().annotate(IMAGE.copy(), masked) != IMAGE).any()
    labeled = supervision.LabelAnnotator().annotate(IMAGE.copy(), theirs)
    assert (supervision.BoxAnnotator().annotate(labeled, theirs) != IMAGE).any()


def test_without_supervision_its_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "supervision", None)
    with pytest.raises(ImportError, match=r"pip install spinenet_tf\[supervision\]"):
        detections().to_supervision()
