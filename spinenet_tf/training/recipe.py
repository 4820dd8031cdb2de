"""Train a model from a config: read the data, build the model and the optimizer, and run `fit`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import keras

from spinenet_tf._files.messages import some_of
from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.classes import Dataset, with_classes
from spinenet_tf.data.dataset import ClassificationDataset, DataError, DetectionDataset
from spinenet_tf.nets.base import SpineNetModel
from spinenet_tf.nets.dtype import dtype_scope
from spinenet_tf.tasks import TASKS
from spinenet_tf.training.callbacks import CountBadImages, Evaluation, Pictures
from spinenet_tf.training.config import ConfigError, TrainConfig
from spinenet_tf.training.distribution import scope, with_global_statistics
from spinenet_tf.training.finetuning import freeze, load_what_fits
from spinenet_tf.training.fitting import Course, fit
from spinenet_tf.training.optimization import make_optimizer
from spinenet_tf.training.processes import first_ahead, joined, own_folder, share
from spinenet_tf.training.quantization import QuantizationAware
from spinenet_tf.training.run import Run, build_model

Model = TypeVar("Model", bound=SpineNetModel)
AnyDataset = DetectionDataset | ClassificationDataset


def train(config: TrainConfig, folder: str | Path, *, resume: bool = False, overwrite: bool = False) -> Any:
    """Train a model and write its run to `folder`: resolved config, log, TensorBoard events, weights, states.

    With `resume`, training continues from the last saved state and reaches the same final weights as without a stop.
    The returned model has the averaged weights if the config averages them.

    Raises:
        ConfigError: the model or the class names are invalid, or the task does not support several devices.
        DataError: an annotation file or a validation image is invalid, the fraction of bad training images exceeds
            `data.max_bad_images`, or there are no images to train or to evaluate on.
        RunError, StateError, Preempted, RuntimeError: see `fitting.fit`.
    """
    if config.distribution is not None and not TASKS[config.task].has_replicas:
        raise ConfigError(f"A classifier trains on one device only. Received: distribution={config.distribution}")
    Run(folder).check(resume=resume, overwrite=overwrite)
    with joined(config), own_folder(Path(folder), resume=resume) as own:
        return _train(config, Run(own), resume=resume, overwrite=overwrite)


def _train(config: TrainConfig, run: Run, *, resume: bool, overwrite: bool) -> Any:
    """Train as one process of possibly several."""
    from spinenet_tf.data.input.pipeline import data_errors

    task, data = TASKS[config.task], config.task_data()
    with first_ahead():
        bad = BadImages(data.max_bad_images)
        training, validation = _read_data(config, bad)
    config = with_classes_of(config, training)
    steps = config.steps_per_epoch or max(1, len(training) // config.batch_size)
    model = prepare(config, build_model, steps)
    batches = partial(task.training_batches, training, config.model.image_size, config.batch_size, config.seed)
    batches = partial(batches, bad=bad, share=share(), **data.options())
    measures = [CountBadImages(bad), *make_measures(run, config, validation)]
    course = Course(model, lambda step: batches(start_step=step), steps, measures, monitor=f"val_{task.monitor}")
    with data_errors():
        fit(course, run, config, resume=resume, overwrite=overwrite)
    return model.detector if isinstance(model, QuantizationAware) else model


def prepare(config: TrainConfig, build: Callable[[TrainConfig], Model], steps: int) -> Model:
    """Build and compile the model of a config for the start of training.

    This applies the config's seed, devices, precision, weights, frozen layers and quantization.

    Raises:
        ConfigError: as `make_optimizer`, `build`, `scope`, `freeze` and `load_what_fits` do.
        FileNotFoundError: the initial weights do not exist.
    """
    keras.utils.set_random_seed(config.seed)
    if config.deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    with scope(config):
        optimizer = make_optimizer(config.optimizer, config.batch_size, steps, config.epochs)  # may refuse
        with dtype_scope(config.precision):
            model = build(with_global_statistics(config))
        if config.weights is not None:
            load_what_fits(model, config.weights)
        freeze(model, config.freeze)
        model = QuantizationAware(model) if config.quantization else model
        options = config.data.loss_options() if config.data else {}
        TASKS[config.task].compile(model, optimizer, **options)
        model.build_optimizer()
    return model


def make_measures(run: Run, config: TrainConfig, validation: AnyDataset) -> list[keras.callbacks.Callback]:
    """Return the callbacks that evaluate a model after an epoch and draw its predictions."""
    known = (TASKS[config.task], validation, config.model.image_size)
    options = config.task_data().evaluation_options()
    evaluation = Evaluation(*known, config.evaluation_batch_size, config.evaluate_every, **options)
    return [evaluation, Pictures(*known, run.events_folder / "validation", config.log_images)]


def _read_data(config: TrainConfig, bad: BadImages) -> tuple[Any, Any]:
    """Return training and validation data, checked against each other, the config and the image files.

    Bad training images are recorded in `bad`; bad validation images are errors.
    """
    data: Any = config.task_data()  # both data sets have the same type, which annotations cannot express
    training, validation = match_classes(config, data.read("train", bad), data.read("val"))
    TASKS[config.task].check_data(training, validation, bad, config.model.head.get("max_detections"))
    return training, validation


def with_classes_of(config: TrainConfig, training: AnyDataset) -> TrainConfig:
    """Return the config with the class names and category ids of the training data.

    Raises:
        ConfigError: the config has other category ids.
    """
    ids = training.category_ids if isinstance(training, DetectionDataset) else None
    if config.category_ids not in (None, ids):
        has = "none" if ids is None else some_of(ids)
        raise ConfigError(
            f"category_ids must be those of the training data: {has}. Received: {some_of(config.category_ids)}"
        )
    return config.model_copy(update={"class_names": training.class_names, "category_ids": ids})


def match_classes(config: TrainConfig, training: Dataset, validation: Dataset) -> tuple[Dataset, Dataset]:
    """Renumber the classes of both data sets in the order of `class_names`, by default that of the training data.

    Classes match by name. The validation data may lack some classes.

    Raises:
        ConfigError: the training data lacks one of `class_names`, a name occurs twice, or an object has another class.
    """
    names, known = config.class_names, training.class_names
    if names is None:
        names = known
    if len(set(names)) < len(names):
        raise ConfigError(f"class_names: a name occurs twice. Received: {some_of(names, show=repr)}")
    if lacking := [name for name in names if name not in set(known)]:
        raise ConfigError(
            f"class_names: the training data lacks some of them; it has {some_of(known, show=repr)}. "
            f"Received: {some_of(lacking, show=repr)}"
        )
    parts = []
    for key, part in (("train", training), ("val", validation)):
        try:
            parts.append(with_classes(part, names))
        except DataError as error:
            raise ConfigError(f"data.{key}: {error}") from None
    return parts[0], parts[1]
