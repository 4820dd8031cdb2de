"""From a model's small masks to metrics, pictures and files in pixels of the images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from masked_model import SLOTS, predictor_of
from PIL import Image
from pycocotools.mask import decode

from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.data.formats.digits import digits
from spinenet_tf.inference.measurement import evaluate
from spinenet_tf.inference.predicting import predict_sources
from spinenet_tf.inference.predictor import Predictor
from spinenet_tf.inference.sources import find_sources
from spinenet_tf.tasks import TASKS

SIZE = (96, 128)
TASK = TASKS["instance segmentation"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> DetectionDataset:
    return digits(tmp_path_factory.mktemp("digits"), "val", scenes=3, classes=1)


@pytest.fixture
def predictor(scenes) -> Predictor:
    options = {"class_names": scenes.class_names, "max_detections": SLOTS, "task": "instance segmentation"}
    return Predictor(predictor_of(scenes, SIZE), SIZE, batch_size=2, **options)


def without_masks(dataset: DetectionDataset) -> DetectionDataset:
    return replace(dataset, examples=tuple(replace(example, masks=None) for example in dataset))


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return (first & second).sum() / (first | second).sum()


def test_boxes_and_masks_are_measured_in_pixels_of_the_images(scenes, predictor) -> None:
    found = evaluate(predictor, scenes)
    assert pytest.approx(1.0) == found.AP
    assert 0.7 < found.mask_AP < 1.0, "28 x 28 pixels are not exact"
    assert pytest.approx(1.0) == found.masks.AP50
    assert {*found.to_log()} >= {"AP", "mask_AP", "mask_AP75"}


def test_the_masks_of_a_prediction_are_where_the_objects_are(scenes, predictor) -> None:
    for example, found in zip(scenes, predictor([str(example.path) for example in scenes]), strict=True):
        assert found.masks.shape == (len(example.boxes), example.height, example.width)
        assert found.masks.dtype == bool
        for mask, true in zip(found.masks, example.masks, strict=True):
            assert iou(mask, true.decode()) > 0.75


def test_a_mask_is_pasted_before_its_box_is_clipped(predictor) -> None:
    """A box that exceeds the image shows the part of its mask that is inside, not the whole mask, squeezed."""
    half = np.zeros((1, 1, 28, 28), np.float32)
    half[..., 14:] = 1
    found = {"boxes": [[[0, 64, 96, 192]]], "scores": [[0.9]], "classes": [[0]], "num_detections": [1], "masks": half}
    predict = replace(predictor, predict=lambda _: {name: np.asarray(x) for name, x in found.items()})
    (one,) = predict([np.zeros((*SIZE, 3), np.uint8)])
    np.testing.assert_array_equal(one.boxes, [[0, 64, 96, 128]])
    assert one.masks.sum() == 0, "the right half of the mask lies outside"


def test_predict_writes_pictures_and_masks(scenes, predictor, tmp_path: Path) -> None:
    files = find_sources([example.path for example in scenes])
    predict_sources([predictor], files, tmp_path / "found", threshold=0.3)
    lines = (tmp_path / "found/detections.jsonl").read_text().splitlines()
    found = {row["image"]: row for row in map(json.loads, lines)}
    for example in scenes:
        rows = found[example.path.name]["detections"]
        for row, true in zip(rows, example.masks, strict=True):
            assert iou(decode(row["mask"]).astype(bool), true.decode()) > 0.75
        picture = np.asarray(Image.open(tmp_path / f"found/{example.path.name}.png"))
        assert (picture.shape[0] // example.height) * example.height == picture.shape[0]


def test_coco_results_have_the_masks(scenes, predictor, tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text(json.dumps(scenes.coco(masks=False)))
    files = find_sources([example.path for example in scenes])
    predict_sources([predictor], files, tmp_path / "found", annotations=tmp_path / "truth.json")
    rows = json.loads((tmp_path / "found/coco_results.json").read_text())
    true = [mask.decode() for example in scenes for mask in example.masks]
    for row, mask in zip(rows, true, strict=True):
        assert iou(decode(row["segmentation"]).astype(bool), mask) > 0.75


def test_ground_truth_and_predictions_are_drawn_with_masks(scenes) -> None:
    pictures = list(TASK.draw(predictor_of(scenes, SIZE), scenes, SIZE, 2))
    boxes = list(TASKS["detection"].draw(predictor_of(scenes, SIZE), scenes, SIZE, 2))
    assert len(pictures) == len(boxes) == 4
    for number, (masked, plain) in enumerate(zip(pictures, boxes, strict=True)):
        example = scenes[number // 2]
        zoom = masked.shape[0] // example.height
        inside = np.kron(np.any([mask.decode() for mask in example.masks], axis=0), np.ones((zoom, zoom), bool))
        changed = (masked != plain).any(axis=-1)
        assert changed[inside].mean() > 0.5, "not below boxes and labels"
        assert changed[~inside].mean() < 0.1


@pytest.mark.parametrize("part", [0, 1])
def test_data_without_masks_are_refused_before_training(scenes, part: int) -> None:
    parts = [scenes, scenes]
    TASK.check_data(*parts, BadImages(0.0), SLOTS)
    parts[part] = without_masks(scenes)
    with pytest.raises(DataError, match=r"annotations: .* masks"):
        TASK.check_data(*parts, BadImages(0.0), SLOTS)
    TASKS["detection"].check_data(*parts, BadImages(0.0), SLOTS)


def test_data_without_masks_are_refused_before_the_model_runs(scenes, predictor) -> None:
    def fail(_: np.ndarray) -> None:
        raise AssertionError("the model ran")

    with pytest.raises(DataError, match="the data set has boxes but no masks, which instance segmentation needs"):
        evaluate(replace(predictor, predict=fail), without_masks(scenes))
