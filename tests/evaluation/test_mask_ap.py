"""Metrics of masks equal pycocotools', also by size of object and with crowds, and need masks on both sides."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from masked_scenes import masked_detections, with_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from random_scenes import random_dataset

from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.data.formats.coco import read_coco
from spinenet_tf.data.masks import PolygonMask
from spinenet_tf.evaluation.average_precision import evaluate
from spinenet_tf.evaluation.metrics import METRICS


def by_pycocotools(truth: dict, rows: list[dict]) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(rows), "segm")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


def saved_masks(path: Path) -> list[dict]:
    """Return saved detections without boxes, from which pycocotools would take their areas."""
    return [{key: x for key, x in row.items() if key != "bbox"} for row in json.loads(path.read_text())]


@pytest.fixture(scope="module")
def scenes() -> tuple[DetectionDataset, list[dict]]:
    rng = np.random.default_rng(0)
    dataset = with_masks(rng, random_dataset(rng))
    return dataset, masked_detections(rng, dataset)


@pytest.mark.parametrize("seed", range(3))
def test_the_twelve_metrics_of_masks_are_those_of_pycocotools(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    dataset = with_masks(rng, random_dataset(rng))
    found = evaluate(dataset, masked_detections(rng, dataset), masks=True)
    found.save_detections(tmp_path / "results.json")
    expected = by_pycocotools(dataset.coco(), saved_masks(tmp_path / "results.json"))
    stats = np.where(expected.stats < 0, np.nan, expected.stats)
    np.testing.assert_allclose(list(found.masks.numbers().values()), stats, atol=1e-6)
    assert 0.05 < found.mask_AP < 0.95
    precision = expected.eval["precision"][:, :, :, 0, -1]
    np.testing.assert_allclose(found.masks.precision, np.where(precision < 0, np.nan, precision), atol=1e-6)


def test_a_file_that_is_read_scores_as_pycocotools_scores_the_file_itself(scenes: tuple, tmp_path: Path) -> None:
    """pycocotools rasterizes the polygons of the file and decodes its uncompressed run lengths itself."""
    dataset, detections = scenes
    truth = dataset.coco(masks=False)
    masks = [mask for example in dataset for mask in example.masks]
    for annotation, mask in zip(truth["annotations"], masks, strict=True):
        runs = {"size": [mask.height, mask.width], "counts": mask.runs().tolist()}
        is_polygon = isinstance(mask, PolygonMask)
        annotation["segmentation"] = [points.tolist() for points in mask.polygons] if is_polygon else runs
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    for image in truth["images"]:
        (tmp_path / image["file_name"]).touch()
    read = read_coco(tmp_path / "truth.json", tmp_path)
    found = evaluate(read, detections, masks=True)
    found.save_detections(tmp_path / "results.json")
    expected = by_pycocotools(truth, saved_masks(tmp_path / "results.json")).stats
    numbers = list(found.masks.numbers().values())
    np.testing.assert_allclose(numbers, np.where(expected < 0, np.nan, expected), atol=1e-6)


def test_masks_do_not_change_the_metrics_of_boxes(scenes: tuple) -> None:
    dataset, detections = scenes
    found, boxes = evaluate(dataset, detections, masks=True), evaluate(dataset, detections)
    assert found.numbers() == boxes.numbers()
    assert found.mask_AP != found.AP


def test_the_true_masks_score_one() -> None:
    rng = np.random.default_rng(1)
    dataset = with_masks(rng, random_dataset(rng))
    perfect = [
        {"image_id": e.image_id, "boxes": e.boxes, "scores": np.ones(len(e.boxes)), "classes": e.classes}
        | {"masks": e.masks}
        for e in dataset
    ]
    assert evaluate(dataset, perfect, masks=True).mask_AP == pytest.approx(1.0)


def test_no_detections_at_all_score_zero(scenes: tuple) -> None:
    found = evaluate(scenes[0], [], masks=True)
    assert (found.AP, found.mask_AP, found.masks.AR100) == (0, 0, 0)


def test_the_log_and_the_json_name_the_metrics_of_masks_as_model_garden_does(scenes: tuple) -> None:
    found = evaluate(*scenes, masks=True)
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    masks = [f"mask_{name}" for name in METRICS]
    assert list(values) == [*METRICS, "per_class", *masks, "mask_per_class"]
    assert values["mask_AP"] == found.mask_AP == found.to_log()["mask_AP"]
    assert values["mask_per_class"]["d"] is None
    more = evaluate(*scenes, max_detections=200, masks=True).to_dict()
    assert "mask_AP@200" in more


def test_an_evaluation_of_boxes_has_no_mask_ap(scenes: tuple) -> None:
    found = evaluate(*scenes)
    assert not any(name.startswith("mask") for name in [*found.to_dict(), *found.to_log()])
    with pytest.raises(AttributeError, match="has no mask AP, because its model has no masks"):
        _ = found.mask_AP


def test_padding_rows_change_nothing(scenes: tuple) -> None:
    dataset, detections = scenes
    padded = [
        {
            "image_id": item["image_id"],
            "boxes": np.pad(item["boxes"], ((0, 2), (0, 0))),
            "scores": np.pad(item["scores"], (0, 2)),
            "classes": np.pad(item["classes"], (0, 2), constant_values=-1),
            "masks": [*item["masks"], item["masks"][0], item["masks"][0]],
        }
        for item in detections
    ]
    assert evaluate(dataset, padded, masks=True).to_dict() == evaluate(dataset, detections, masks=True).to_dict()


def test_a_data_set_without_masks_is_refused(scenes: tuple) -> None:
    dataset, detections = scenes
    without = replace(dataset, examples=tuple(replace(example, masks=None) for example in dataset))
    with pytest.raises(DataError, match="random: the data set has boxes but no masks, which instance segmentation"):
        evaluate(without, detections, masks=True)


def test_an_object_without_its_mask_is_refused(scenes: tuple) -> None:
    dataset, detections = scenes
    few = replace(dataset[3], masks=(None, *dataset[3].masks[1:]))
    lacking = replace(dataset, examples=(*dataset.examples[:3], few, *dataset.examples[4:]))
    with pytest.raises(DataError, match=r"image 97, where 1 of 3 objects have no mask"):
        evaluate(lacking, detections, masks=True)


def test_detections_without_masks_are_refused(scenes: tuple) -> None:
    dataset, detections = scenes
    boxes = [{key: value for key, value in item.items() if key != "masks"} for item in detections]
    with pytest.raises(ValueError, match=r"Mask AP needs detections with masks\. Received: \d+ detections without"):
        evaluate(dataset, boxes, masks=True)
    few = [detections[0] | {"masks": detections[0]["masks"][1:]}]
    with pytest.raises(ValueError, match=r"differ in length\. Received: 6 boxes, 6 scores, 6 classes, 5 masks"):
        evaluate(dataset, few, masks=True)
