"""Carries out a config: data, optimizer, `fit`, and everything that is written on the way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import keras

from spinenet_tf._files.messages import some_of
from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.classes import Dataset, with_classes
from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.heads.detector import DetectionModel
from spinenet_tf.nets.base import SpineNetModel
from spinenet_tf.training.callbacks import CocoEvaluation, CountBadImages, DetectionImages
from spinenet_tf.training.config import ConfigError, TrainConfig
from spinenet_tf.training.distribution import scope, with_global_statistics
from spinenet_tf.training.finetuning import freeze, load_what_fits
from spinenet_tf.training.fitting import Course, fit
from spinenet_tf.training.optimization import make_optimizer
from spinenet_tf.training.processes import first_ahead, joined, own_folder, share
from spinenet_tf.training.quantization import QuantizationAware
from spinenet_tf.training.run import Run, build_detector

Model = TypeVar("Model", bound=SpineNetModel)


def train(config: TrainConfig, folder: str | Path, *, resume: bool = False, overwrite: bool = False) -> DetectionModel:
    """Train a detector and write its run to `folder`: resolved config, log, TensorBoard events, weights, states.

    With `resume`, training goes on after the last state that was saved, as if it had not stopped: the final weights are
    the same. Those of the detector that is returned are the averages, where they are kept.

    Raises:
        ConfigError: the model or the class names are not valid.
        DataError: an annotation file or an image to evaluate on is at fault, more of the images to train on than
            `data.max_bad_images` are, or there is nothing to train or to evaluate on.
        RunError, StateError, Preempted, RuntimeError: see `fitting.fit`.
    """
    Run(folder).check(resume=resume, overwrite=overwrite)
    with joined(config), own_folder(Path(folder), resume=resume) as own:
        return _train(config, Run(own), resume=resume, overwrite=overwrite)


def _train(config: TrainConfig, run: Run, *, resume: bool, overwrite: bool) -> DetectionModel:
    """Do as `train`, in one of the processes."""
    from spinenet_tf.data.input.pipeline import data_errors, training_batches

    with first_ahead():
        bad = BadImages(config.own_data().max_bad_images)
        training, validation = _read_data(config, bad)
    config = config.model_copy(update={"class_names": training.class_names})
    steps = config.steps_per_epoch or max(1, len(training) // config.batch_size)
    detector = prepare(config, build_detector, steps)
    batches = partial(training_batches, training, config.model.image_size, config.batch_size, config.seed, bad=bad)
    batches = partial(batches, share=share(), **config.own_data().options())
    measures = [CountBadImages(bad), *make_measures(run, config, validation)]
    course = Course(detector, lambda step: batches(start_step=step), steps, measures, monitor="val_AP")
    with data_errors():
        fit(course, run, config, resume=resume, overwrite=overwrite)
    return detector.detector if isinstance(detector, QuantizationAware) else detector


def prepare(config: TrainConfig, build: Callable[[TrainConfig], Model], steps: int) -> Model:
    """Build and compile the model of a config as its training begins.

    Seed, devices, precision, weights, frozen layers and quantization are as the config says.

    Raises:
        ConfigError: as `make_optimizer`, `build`, `scope`, `freeze` and `load_what_fits` do.
        FileNotFoundError: there are no weights to start from.
    """
    keras.utils.set_random_seed(config.seed)
    if config.deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    with scope(config):
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(config.precision)
        try:
            optimizer = make_optimizer(config.optimizer, config.batch_size, steps, config.epochs)  # may refuse
            model = build(with_global_statistics(config))
        finally:
            keras.config.set_dtype_policy(before)
        if config.weights is not None:
            load_what_fits(model, config.weights, config.class_names)
        freeze(model, config.freeze)
        model = QuantizationAware(model) if config.quantization else model
        model.compile(optimizer)
        model.build_optimizer()
    return model


def make_measures(run: Run, config: TrainConfig, validation: DetectionDataset) -> list[keras.callbacks.Callback]:
    """List what measures a detector at the end of an epoch."""
    size, slots = config.model.image_size, config.model.head["max_detections"]
    evaluation = CocoEvaluation(validation, size, config.evaluation_batch_size, config.evaluate_every, slots)
    return [evaluation, DetectionImages(validation, size, run.events_folder / "validation", config.log_images)]


def _read_data(config: TrainConfig, bad: BadImages) -> tuple[DetectionDataset, DetectionDataset]:
    """Return training and validation data that fit each other, the config and their image files.

    Of the training data, bad images are noted, of the others they are errors.
    """
    from spinenet_tf.data.input.pipeline import check_images, check_trainable

    data = config.own_data()
    training, validation = data.read("train", bad), data.read("val")
    check_trainable(training)
    training, validation = match_classes(config, training, validation)
    if not any(example.trainable.any() for example in validation):
        raise DataError(f"{validation.name}: there are no objects to evaluate on.")
    check_images(training, bad)
    check_images(validation)
    return training, validation


def match_classes(config: TrainConfig, training: Dataset, validation: Dataset) -> tuple[Dataset, Dataset]:
    """Number the classes of both as `class_names` do, by default as in the training data; names tell which is which.

    The validation data may lack some.

    Raises:
        ConfigError: the training data lack one of `class_names`, a name is there twice, or there are objects of other
            classes.
    """
    names, known = config.class_names, training.class_names
    if names is None:
        names = known
    if len(set(names)) < len(names):
        raise ConfigError(f"class_names: a name is there twice. Received: {some_of(names, form=repr)}")
    if lacking := [name for name in names if name not in set(known)]:
        raise ConfigError(
            f"class_names: the training data lack some of them, and have {some_of(known, form=repr)}. "
            f"Received: {some_of(lacking, form=repr)}"
        )
    parts = []
    for key, part in (("train", training), ("val", validation)):
        try:
            parts.append(with_classes(part, names))
        except DataError as error:
            raise ConfigError(f"data.{key}: {error}") from None
    return parts[0], parts[1]
