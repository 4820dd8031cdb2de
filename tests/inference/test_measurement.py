"""Test that models of any kind are measured on data sets of any kind, with classes matched by name."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from random_scenes import by_pycocotools_from_files

from spinenet_tf import classifier, detector
from spinenet_tf.data.dataset import ClassificationDataset, ClassificationExample, DetectionDataset, Example
from spinenet_tf.evaluation.metrics import METRICS
from spinenet_tf.inference.loading import load
from spinenet_tf.inference.measurement import evaluate
from spinenet_tf.inference.predictor import Predictor
from spinenet_tf.training.run import Run


class Picture:
    """An image file that does not exist."""

    name = "pets.png"

    def read_bytes(self) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (64, 64)).save(file, "PNG")
        return file.getvalue()


def shown(*labels: int) -> tuple[Predictor, DetectionDataset]:
    """Return a predictor that detects both boxes with the classes `labels`, and an image with a cat and a dog."""
    boxes = np.array([[0, 0, 32, 32], [32, 32, 64, 64]], np.float32)
    rows = (boxes, np.array([0, 1], np.int32), np.zeros(2, bool), np.full(2, 1024.0))
    dataset = DetectionDataset("pets", ("cat", "dog"), (17, 18), (Example(1, Picture(), 64, 64, *rows),))
    found = {"boxes": boxes, "scores": np.array([0.9, 0.8]), "classes": np.array(labels)}
    found = {name: values[None] for name, values in found.items()} | {"num_detections": np.array([2])}
    return Predictor(lambda images: found, (64, 64), ("dog", "cow", "cat"), 100), dataset


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        ((2, 0), None, {"cat": 1.0, "dog": 1.0}),
        ((2, 1), None, {"cat": 1.0, "dog": 0.0}),
        ((2, 1), ["cat"], {"cat": 1.0}),
        ((2, 1), ["dog", "cat"], {"dog": 0.0, "cat": 1.0}),
        ((1, 0), ["cow", "dog"], {"cow": math.nan, "dog": 1.0}),
    ],
)
def test_a_detector_is_measured_on_the_classes_that_one_names(labels, classes, expected: dict[str, float]) -> None:
    found = evaluate(*shown(*labels), classes=classes)
    assert found.per_class == pytest.approx(expected, nan_ok=True)
    defined = [value for value in expected.values() if not math.isnan(value)]
    assert pytest.approx(sum(defined) / len(defined)) == found.AP


def test_the_data_may_lack_classes_or_have_others_without_objects() -> None:
    model, dataset = shown(2, 0)
    dataset = replace(dataset, class_names=("cat", "dog", "horse"), category_ids=(1, 2, 3))
    found = evaluate(model, dataset)
    assert found.per_class == pytest.approx({"cat": 1.0, "dog": 1.0, "horse": math.nan}, nan_ok=True)


def test_saved_detections_have_the_ids_of_the_data_and_no_class_that_it_lacks(tmp_path: Path) -> None:
    evaluate(*shown(2, 1)).save_detections(tmp_path / "found.json")
    row = {"image_id": 1, "category_id": 17, "bbox": [0, 0, 32, 32], "score": 0.9}
    assert json.loads((tmp_path / "found.json").read_text()) == [row]


def validation_file(run: Path) -> Path:
    return next(run.parent.glob("data/digits1-val-*/annotations.json"))


def test_run_keras_model_and_predictor_score_the_same_on_data_and_on_their_path(tiny_run: Path, tiny_model) -> None:
    file, run = validation_file(tiny_run), Run(tiny_run)
    model, data = run.load(), run.config.own_data().read("val")
    found = [evaluate(tiny_run), evaluate(str(tiny_run), file), evaluate(model, data), evaluate(load(tiny_run), data)]
    assert [one.to_dict() for one in found[1:]] == [found[0].to_dict()] * 3
    assert (found[0].model, found[2].model) == (str(tiny_run), model.name)
    assert found[0].dataset.class_names == ("digit",)


def test_a_model_is_measured_by_name_after_fit_and_after_it_is_loaded(tiny_run: Path, tiny_model, tmp_path) -> None:
    data = Run(tiny_run).config.own_data().read("val")
    model = detector(tiny_model, 1, (64, 64, 3), max_level=5, score_threshold=0.001)
    with pytest.raises(ValueError, match=r"have no names"):
        evaluate(model, data)
    model.compile(keras.optimizers.SGD(1e-3), run_eagerly=True)
    model.fit(data.batches((64, 64), 4), verbose=0)
    model.save(tmp_path / "model.keras")
    found = evaluate(model, data)
    assert list(found.per_class) == ["digit"]
    assert len(found.detections[0]["scores"]) > 0
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert (loaded.class_names, loaded.category_ids) == (("digit",), data.category_ids)
    assert evaluate(loaded, data).to_log() == pytest.approx(found.to_log(), abs=1e-6)
    other = replace(data, class_names=("number",))
    with pytest.raises(ValueError, match=r"does not have the classes 'number', only 'digit'\. Choose classes with"):
        evaluate(loaded, other)


def test_pycocotools_finds_the_same_metrics_in_the_file_of_the_command(
    tiny_run: Path, tiny_model, succeed, tmp_path: Path
) -> None:
    results, numbers = tmp_path / "found.json", tmp_path / "ap.json"
    succeed("evaluate", tiny_run, "--detections", results, "--json", numbers)
    theirs = by_pycocotools_from_files(validation_file(tiny_run), results)
    ours = json.loads(numbers.read_text())
    expected = [math.nan if value < 0 else value for value in theirs]
    given = [math.nan if ours[name] is None else ours[name] for name in METRICS]
    np.testing.assert_allclose(given, expected, atol=1e-9)
    assert len(json.loads(results.read_text())) > 10


def test_a_report_is_written_from_the_result(tmp_path: Path) -> None:
    page = evaluate(*shown(2, 0)).report(tmp_path / "report")
    assert page == tmp_path / "report" / "index.html"
    assert "Evaluation of model on pets" in page.read_text(encoding="utf-8")


def images_of(folder: Path, labels: Iterable[int]) -> ClassificationDataset:
    """Return images whose color is the class, of two classes."""
    examples = []
    for number, label in enumerate(labels):
        Image.new("RGB", (64, 64), (255 * label,) * 3).save(folder / f"{number}.png")
        examples.append(ClassificationExample(folder / f"{number}.png", label))
    return ClassificationDataset("colors", ("black", "white"), tuple(examples))


def brightness(images: np.ndarray) -> np.ndarray:
    """Return logits for the classes white and black."""
    mean = images.mean(axis=(1, 2, 3))
    return np.stack([mean, -mean], axis=1)


def test_a_classifier_is_measured_by_accuracy(tmp_path: Path) -> None:
    model = Predictor(brightness, (32, 32), ("white", "black"), task="classification", batch_size=2)
    found = evaluate(model, images_of(tmp_path, [0, 1, 1]))
    assert (found.top1, found.images, found.per_class) == (1.0, 3, {"black": 1.0, "white": 1.0})
    assert evaluate(model, images_of(tmp_path, [0, 1, 1]), classes=["black"]).images == 1


def test_a_keras_classifier_needs_names(three_blocks, tmp_path: Path) -> None:
    model, data = classifier(three_blocks, 2, (32, 32, 3), max_level=5, endpoint=8), images_of(tmp_path, [0, 1])
    with pytest.raises(ValueError, match=r"have no names: assign model\.class_names, or build it with"):
        evaluate(model, data)
    model.class_names = ["white", "black"]
    logits = model.predict_on_batch(np.stack([np.full((32, 32, 3), value, "float32") for value in (-2.0, 2.0)]))
    assert logits.shape == (2, 2)
    assert evaluate(model, data).images == 2


def test_nothing_is_printed_unless_progress_is_asked_for(capsys) -> None:
    model, dataset = shown(2, 0)
    evaluate(model, dataset)
    assert capsys.readouterr() == ("", "")
    evaluate(model, dataset, verbose=1)
    assert "1/1" in capsys.readouterr().out
    calls: list[tuple[int, str]] = []

    def track(items: Iterable, total: int, title: str) -> Iterable:
        calls.append((total, title))
        return items

    assert evaluate(model, dataset, verbose=track).AP == 1.0
    assert calls == [(1, "Detecting")]


PETS = shown(2, 0)
COLORS = ClassificationDataset("colors", ("black",), ())
CLASSIFIER = Predictor(brightness, (32, 32), ("white", "black"), task="classification")


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ((PETS[0],), {}, r"pass a data set\. Received: dataset=None"),
        ((CLASSIFIER, PETS[1]), {}, r"pets is for detection and instance segmentation\. Received: a model"),
        ((PETS[0], COLORS), {}, r"colors is for classification\. Received: a model for detection"),
        (PETS, {"classes": ["horse"]}, r"The model does not have these classes, only .* Received: 'horse'"),
        (PETS, {"max_detections": 101}, r"detects up to 100 objects per image\. Received: max_detections=101"),
        (PETS, {"max_detections": 10}, r"must be larger than 10"),
        ((CLASSIFIER, COLORS), {"max_detections": 50}, r"A classifier has no detections\. Received: max_detections=50"),
        ((PETS[0], replace(PETS[1], class_names=("cat", "ox"))), {}, "does not have the classes 'ox', only"),
    ],
)
def test_what_does_not_fit_is_refused(given: tuple, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(*given, **options)


def test_a_path_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no model .*nowhere"):
        evaluate(tmp_path / "nowhere")
