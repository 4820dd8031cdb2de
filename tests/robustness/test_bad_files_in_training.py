"""Test that training skips bad images up to a limit, and reaches the same weights when interrupted."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from dataclasses import replace
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import yaml
from PIL import Image

from spinenet_tf.data.augmentation import Augment
from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.data.formats.coco import read_coco
from spinenet_tf.data.formats.digits import write_digits
from spinenet_tf.data.formats.yolo import read_yolo
from spinenet_tf.data.input.pipeline import check_images, data_errors, evaluation_batches, training_batches
from spinenet_tf.data.problems import Problems
from spinenet_tf.heads.classifier import Classifier
from spinenet_tf.heads.retinanet import RetinaNet
from spinenet_tf.training import recipe
from spinenet_tf.training.clock import Clock
from spinenet_tf.training.config_file import read_config
from spinenet_tf.training.preemption import Preempted
from spinenet_tf.training.run import Run

SIZE = (32, 32)
SCENES = 12


def truncate(path: Path) -> None:
    """Damage a file after its header, which shows only when it is decoded."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    """Damage a file's header, which shows before training begins."""
    path.write_bytes(b"")


def resize(path: Path) -> None:
    """Replace a file by an image with another size than in the annotations."""
    Image.new("RGB", (33, 44)).save(path)


DAMAGES = (truncate, empty, resize, Path.unlink)


@pytest.fixture
def folder(tmp_path: Path, digits_once: Path) -> Path:
    """Return a folder with `annotations.json` and `images`, which tests may modify."""
    return Path(shutil.copytree(digits_once, tmp_path / "scenes"))


@pytest.fixture(scope="session")
def digits_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images, _ = write_digits(tmp_path_factory.mktemp("digits"), SCENES, classes=1)
    return images.parent


def files(folder: Path) -> list[Path]:
    return sorted((folder / "images").iterdir())


def read(folder: Path, **options) -> DetectionDataset:
    return read_coco(folder / "annotations.json", folder / "images", **options)


def stream(dataset: DetectionDataset, count: int, bad: BadImages | None, **options) -> list:
    batches = training_batches(dataset, SIZE, 2, seed=3, bad=bad, **options)
    with data_errors():
        return list(batches.take(count).as_numpy_iterator())


@pytest.mark.parametrize(("mosaic", "cache"), [(0.0, True), (0.5, False)])
def test_what_takes_a_bad_images_place_depends_on_the_step_alone(folder, promise, mosaic, cache, caplog) -> None:
    truncate(files(folder)[4])
    truncate(files(folder)[5])
    dataset, options = read(folder), {"augment": Augment(mosaic=mosaic), "cache": cache}
    whole = stream(dataset, 12, BadImages(0.5), **options)
    assert [record.getMessage().split(": ")[0] for record in caplog.records] == [
        "Bad image 1, skipped in training",
        "Bad image 2, skipped in training",
    ]
    assert all(str(file) in caplog.text for file in files(folder)[4:6])
    rest = stream(dataset, 7, BadImages(0.5), start_step=5, **options)
    for expected, got in zip(whole[5:], rest, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, expected, got)
    promise("Training: the replacement of a bad image depends only on the step", cases=len(rest))


def test_the_next_image_comes_with_its_own_boxes(folder) -> None:
    truncate(files(folder)[4])
    dataset = read(folder)
    got = stream(dataset, SCENES // 2, BadImages(0.5), augment=Augment(flip=False, scale=(1.0, 1.0)))
    others = replace(dataset, examples=dataset.examples[:4] + dataset.examples[5:])
    truth = list(evaluation_batches(others, SIZE, 1).as_numpy_iterator())
    for images, targets in got:
        for image, boxes, classes in zip(images, targets["boxes"], targets["classes"], strict=True):
            (known,) = [t for i, t in truth if np.abs(i[0] - image).max() < 1e-4]
            count = (classes >= 0).sum()
            np.testing.assert_allclose(boxes[:count], known["boxes"][0, :count], atol=1e-3)
            assert count == (known["classes"][0] >= 0).sum()


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_past_the_budget_training_stops_with_the_list(folder, promise, damage) -> None:
    """A quarter of twelve images may be bad: three, but not four."""

    def count_bad() -> int:
        bad = BadImages(0.25)
        dataset = read(folder, problems=Problems(bad_images=bad))
        check_images(dataset, bad)
        stream(dataset, SCENES, bad)
        return len(bad)

    *three, fourth = files(folder)[:4]
    for file in three:
        damage(file)
    assert count_bad() == 3
    damage(fourth)
    listed = r"4 of 12 images are bad, more than max_bad_images=0\.25 allows: .*1\.jpg.*2\.jpg.*3\.jpg.*4\.jpg"
    with pytest.raises(DataError, match=listed) as caught:
        count_bad()
    assert "\n" not in str(caught.value)
    promise("Training: more bad images than allowed stop it, and the first ten are named", cases=2)


def test_evaluation_leaves_out_nothing(folder, promise) -> None:
    for damage in DAMAGES:
        file = files(folder)[-1]
        before = file.read_bytes()
        damage(file)
        with pytest.raises(DataError, match=file.name), data_errors():
            list(evaluation_batches(read(folder), SIZE, 4))
        file.write_bytes(before)
    promise("Evaluation: a bad image raises an error with its path", cases=len(DAMAGES))


def test_readers_that_open_images_leave_bad_ones_to_the_budget(tmp_path, folder, promise) -> None:
    """YOLO labels have no image sizes, so the reader opens the images."""
    shutil.move(folder / "images", tmp_path / "yolo" / "images")
    (tmp_path / "yolo" / "labels").mkdir()
    chosen = files(tmp_path / "yolo")
    for file in chosen:
        (tmp_path / "yolo" / "labels" / file.with_suffix(".txt").name).write_text("0 0.5 0.5 0.5 0.5\n")
    empty(chosen[2])
    with pytest.raises(DataError, match=chosen[2].name):
        read_yolo(tmp_path / "yolo")
    bad = BadImages(0.1)
    dataset = read_yolo(tmp_path / "yolo", problems=Problems(bad_images=bad))
    check_images(dataset, bad)
    assert (len(dataset), len(bad)) == (SCENES - 1, 1)
    empty(chosen[7])
    with pytest.raises(DataError, match="2 of 12 images are bad"):
        check_images(dataset, bad)
    promise("Training: a bad image is skipped also if the reader opens it", cases=3)


@pytest.fixture
def config_of(tmp_path, folder, least_model, write_config):
    """Return `config_of(**data)`: a config that trains on `folder` for an epoch of three steps."""

    def config(**data):
        values = yaml.safe_load(write_config(tmp_path).read_text())
        source = {"annotations": str(folder / "annotations.json"), "images": str(folder / "images")}
        values["data"] |= {"train": source, **data}
        values |= {"batch_size": 2, "epochs": 1, "steps_per_epoch": 3, "checkpoint_every": 1, "log_images": 0}
        values["model"]["image_size"] = [32, 32]
        values["model"]["overrides"]["max_level"] = 3
        path = tmp_path / "damaged.yaml"
        path.write_text(yaml.safe_dump(values))
        return read_config(path)

    return config


def test_a_run_with_bad_files_resumes_to_the_same_weights(tmp_path, folder, config_of, monkeypatch, caplog, promise):
    monkeypatch.setattr(RetinaNet, "compile", partialmethod(RetinaNet.compile, run_eagerly=True))
    for damage, file in zip(DAMAGES, files(folder)[::3], strict=True):
        damage(file)
    config = config_of(max_bad_images=0.4)
    whole, stopped = Run(tmp_path / "whole"), Run(tmp_path / "stopped")
    recipe.train(config, whole.folder)
    named = [record.getMessage() for record in caplog.records if "skipped in training" in record.getMessage()]
    assert len(named) == len(DAMAGES)
    assert whole.log[-1]["bad_images"] == len(DAMAGES)

    def on_batch(self, batch, logs=None, end=Clock.on_train_batch_end):
        end(self, batch, logs)
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Clock, "on_train_batch_end", on_batch)
        with pytest.raises(Preempted):
            recipe.train(config, stopped.folder)
    recipe.train(config, stopped.folder, resume=True)
    resumed, expected = (run.load(run.last_weights_path).get_weights() for run in (stopped, whole))
    for mine, other in zip(resumed, expected, strict=True):
        np.testing.assert_array_equal(mine, other)
    promise("Training: with skipped bad images, --resume reaches the same weights", cases=1)


def test_by_default_one_bad_image_in_a_hundred_is_left_out(tmp_path, folder, config_of, promise) -> None:
    config = config_of()
    assert (config.own_data().max_bad_images, config.own_data().max_pixels) == (0.01, 64_000_000)
    empty(files(folder)[0])
    with pytest.raises(DataError, match=r"1 of 12 images are bad, more than max_bad_images=0\.01 allows: .*1\.jpg"):
        recipe.train(config, tmp_path / "run")
    bad = BadImages(0.01)
    bad.count_among(f"{number}.jpg" for number in range(199))
    bad.add("1.jpg", DataError("1.jpg: bad"))
    with pytest.raises(DataError, match="2 of 199 images are bad"):
        bad.add("2.jpg", DataError("2.jpg: bad"))
    promise("Training: more bad images than allowed stop it, and the first ten are named", cases=2)


def test_the_cap_on_pixels_is_a_field_of_the_config(tmp_path, folder, config_of, promise) -> None:
    smallest = min(example.height * example.width for example in read(folder))
    with pytest.raises(DataError, match="too many pixels"):
        recipe.train(config_of(max_pixels=smallest - 1), tmp_path / "run")
    for value in (0, 89_478_486):
        with pytest.raises(ValueError, match="max_pixels"):
            config_of(max_pixels=value)
    promise("Images: the limit on pixels is configurable", cases=3)


def test_a_classifier_trains_without_bad_images(tmp_path, caplog, promise, least_model, monkeypatch) -> None:
    monkeypatch.setattr(Classifier, "compile", partialmethod(Classifier.compile, run_eagerly=True))
    rng = np.random.default_rng(0)
    for number in range(20):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    truncate(tmp_path / "images" / "a" / "4.png")
    source = {"folder": str(tmp_path / "images")}
    values = {
        "task": "classification",
        "model": {"name": "tiny", "image_size": [32, 32], "overrides": {"max_level": 3}},
        "data": {"train": source, "val": {"folder": str(tmp_path / "val")}, "max_bad_images": 0.05},
        "batch_size": 10,
        "steps_per_epoch": 2,
        "epochs": 1,
    }
    shutil.copytree(tmp_path / "images" / "b", tmp_path / "val" / "b")
    shutil.copytree(tmp_path / "images" / "b", tmp_path / "val" / "a")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    recipe.train(read_config(path), tmp_path / "run")
    assert "Bad image 1, skipped in training" in caplog.text
    empty(tmp_path / "images" / "a" / "6.png")
    with pytest.raises(DataError, match=r"2 of 20 images are bad, .*4\.png.*6\.png"):
        recipe.train(read_config(path), tmp_path / "other")
    promise("Training: more bad images than allowed stop it, and the first ten are named", cases=1)


@pytest.fixture(autouse=True)
def _warnings_are_seen(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
