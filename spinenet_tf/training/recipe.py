"""Carries out a config: data, optimizer, `fit`, and everything that is written on the way."""

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

    With `resume`, training goes on after the last state that was saved, as if it had not stopped: the final weights are
    the same. Those of the model that is returned are the averages, where they are kept.

    Raises:
        ConfigError: the model or the class names are not valid, or the task is not trained on many devices.
        DataError: an annotation file or an image to evaluate on is at fault, more of the images to train on than
            `data.max_bad_images` are, or there is nothing to train or to evaluate on.
        RunError, StateError, Preempted, RuntimeError: see `fitting.fit`.
    """
    if config.distribution is not None and not TASKS[config.task].has_replicas:
        raise ConfigError(f"A classifier is trained on one device. Received: distribution={config.distribution}")
    Run(folder).check(resume=resume, overwrite=overwrite)
    with joined(config), own_folder(Path(folder), resume=resume) as own:
        return _train(config, Run(own), resume=resume, overwrite=overwrite)


def _train(config: TrainConfig, run: Run, *, resume: bool, overwrite: bool) -> Any:
    """Do as `train`, in one of the processes."""
    from spinenet_tf.data.input.pipeline import data_errors

    task, data = TASKS[config.task], config.task_data()
    with first_ahead():
        bad = BadImages(data.max_bad_images)
        training, validation = _read_data(config, bad)
    config = config.model_copy(update={"class_names": training.class_names})
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
        options = config.data.loss_options() if config.data else {}
        TASKS[config.task].compile(model, optimizer, **options)
        model.build_optimizer()
    return model


def make_measures(run: Run, config: TrainConfig, validation: AnyDataset) -> list[keras.callbacks.Callback]:
    """List what measures a model at the end of an epoch, and draws what it finds."""
    known = (TASKS[config.task], validation, config.model.image_size)
    options = config.task_data().evaluation_options()
    evaluation = Evaluation(*known, config.evaluation_batch_size, config.evaluate_every, **options)
    return [evaluation, Pictures(*known, run.events_folder / "validation", config.log_images)]


def _read_data(config: TrainConfig, bad: BadImages) -> tuple[Any, Any]:
    """Return training and validation data that fit each other, the config and their image files.

    Of the training data, bad images are noted, of the others they are errors.
    """
    data: Any = config.task_data()  # both data sets are of one kind, which the types do not say
    training, validation = match_classes(config, data.read("train", bad), data.read("val"))
    TASKS[config.task].check_data(training, validation, bad, config.model.head.get("max_detections"))
    return training, validation


def match_classes(config: TrainConfig, training: Dataset, validation: Dataset) -> tuple[Dataset, Dataset]:
    """Number the classes of both as `class_names` do, by default as in the training data; names tell which is which.

    The validation data may lack some.

    Raises:
        ConfigError: the training data lack one of `class_names`, a name occurs twice, or there are objects of other
            classes.
    """
    names, known = config.class_names, training.class_names
    if names is None:
        names = known
    if len(set(names)) < len(names):
        raise ConfigError(f"class_names: a name occurs twice. Received: {some_of(names, show=repr)}")
    if lacking := [name for name in names if name not in set(known)]:
        raise ConfigError(
            f"class_names: the training data lack some of them, and have {some_of(known, show=repr)}. "
            f"Received: {some_of(lacking, show=repr)}"
        )
    parts = []
    for key, part in (("train", training), ("val", validation)):
        try:
            parts.append(with_classes(part, names))
        except DataError as error:
            raise ConfigError(f"data.{key}: {error}") from None
    return parts[0], parts[1]
