"""Train a model from a config: read the data, build the model and the optimizer, and run `fit`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras

from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import ClassificationDataset, DetectionDataset
from spinenet_tf.nets.dtype import dtype_scope
from spinenet_tf.nets.resizable import size_problem
from spinenet_tf.tasks import TASKS
from spinenet_tf.training.callback_list import checked
from spinenet_tf.training.config import ConfigError, TrainConfig
from spinenet_tf.training.config_file import resolve
from spinenet_tf.training.datasets import read_datasets, with_classes_of
from spinenet_tf.training.distribution import scope, with_global_statistics
from spinenet_tf.training.finetuning import freeze, load_what_fits
from spinenet_tf.training.fitting import Course, fit
from spinenet_tf.training.measuring import CountBadImages, Evaluate, Pictures
from spinenet_tf.training.optimization import make_optimizer
from spinenet_tf.training.processes import first_ahead, joined, own_folder, share
from spinenet_tf.training.quantization import QuantizationAware
from spinenet_tf.training.run import Run, build_model

AnyDataset = DetectionDataset | ClassificationDataset


def train(
    config: TrainConfig | Mapping[str, Any] | str | os.PathLike,
    run: str | os.PathLike | None = None,
    callbacks: keras.callbacks.Callback | Sequence[keras.callbacks.Callback] | None = None,
    *,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
    verbose: str | int = "auto",
) -> Run:
    """Train a detector or a classifier as its config says, and return the run: `.load()`, `.log`, `.weights_path`.

        run = spinenet_tf.train("digits", "runs/digits", overrides={"epochs": 2})
        detector = run.load()

    The run's folder gets the resolved config, a log with one row per epoch, TensorBoard events, the best and last
    weights, and the state of the training. With `resume`, training continues from the last saved state and reaches the
    same final weights as without a stop.

    `callbacks` are called as in `fit`: `on_epoch_end` after the evaluation, with metrics such as `val_AP` in its logs,
    and before the log is written and the state is saved. docs/callbacks.md says what they see and what is restored.

    Args:
        config: the name of a config of the package, a YAML file, or its content as a mapping.
        run: the folder to write. Default: `runs/NAME`, by the name of the config.
        callbacks: one or several `keras.callbacks.Callback`.
        overrides: values of the config to change: a mapping such as `{"optimizer.learning_rate": 0.1}`, or texts
            `"key.subkey=value"` as on the command line.
        resume: continue this run after its last saved step.
        overwrite: replace an earlier run in the folder.
        verbose: Keras's progress: "auto" or 1 for a bar, 2 for one line per epoch, 0 for nothing.

    Raises:
        ConfigError: the config, the model or the class names are invalid, or the task does not support several devices.
        DataError: an annotation file or a validation image is invalid, the fraction of bad training images exceeds
            `data.max_bad_images`, or there are no images to train or to evaluate on.
        TypeError, ValueError: see `callback_list.checked`, or `run` is missing for a config without a name.
        RunError: the folder exists and neither `resume` nor `overwrite` is set, or see `Run.check`.
        StateError, Preempted, KeyboardInterrupt, RuntimeError: see `fitting.fit`.
    """
    resolved, own_callbacks = resolve(config, overrides), checked(callbacks)
    folder = Path(run) if run is not None else default_folder(config)
    check_task(resolved)
    options: dict[str, Any] = {"resume": resume, "overwrite": overwrite}
    Run(folder).check(**options)
    with joined(resolved), own_folder(folder, resume=resume) as own:
        _train(resolved, Run(own), own_callbacks, verbose=verbose, **options)
    return Run(folder)


def check_task(config: TrainConfig) -> None:
    """Check that the config's task supports its devices.

    Raises:
        ConfigError: it does not.
    """
    if config.distribution is not None and not TASKS[config.task].has_replicas:
        raise ConfigError(f"A classifier trains on one device only. Received: distribution={config.distribution}")


def default_folder(config: TrainConfig | Mapping[str, Any] | str | os.PathLike) -> Path:
    """Return `runs/NAME` for a config that is a name or a file.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(config, (TrainConfig, Mapping)):
        raise ValueError("A config without a name needs a folder: pass `run`.")
    return Path("runs") / Path(config).stem


def _train(config: TrainConfig, run: Run, callbacks: list[keras.callbacks.Callback], **options: Any) -> None:
    """Train as one process of possibly several; `options` are those of `fit`."""
    from spinenet_tf.data.input.pipeline import data_errors

    task, data = TASKS[config.task], config.task_data()
    with first_ahead():
        bad = BadImages(data.max_bad_images)
        training, validation = read_datasets(config, bad)
    config = with_classes_of(config, training)
    steps = count_steps(config, training)
    model = prepare(config, steps)
    batches = partial(task.training_batches, training, config.model.image_size, config.batch_size, config.seed)
    batches = partial(batches, bad=bad, share=share(), **data.options())
    measures = [CountBadImages(bad), *make_measures(run, config, validation)]
    course = Course(model, lambda step: batches(start_step=step), steps, measures, monitor=f"val_{task.monitor}")
    with data_errors():
        fit(course, run, config, callbacks, **options)


def count_steps(config: TrainConfig, training: AnyDataset) -> int:
    """Return the number of steps in an epoch."""
    return config.steps_per_epoch or max(1, len(training) // config.batch_size)


def prepare(config: TrainConfig, steps: int) -> Any:
    """Build and compile the model of a config for the start of training.

    This applies the config's seed, devices, precision, weights, frozen layers and quantization.

    Raises:
        ConfigError: as `make_optimizer`, `build_model`, `scope`, `freeze` and `load_what_fits` do.
        FileNotFoundError: the initial weights do not exist.
    """
    keras.utils.set_random_seed(config.seed)
    if config.deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    with scope(config):
        optimizer = make_optimizer(config.optimizer, config.batch_size, steps, config.epochs)  # may refuse
        with dtype_scope(config.precision):
            model = build_model(with_global_statistics(config))
        _warn_of_size(model)
        if config.weights is not None:
            load_what_fits(model, config.weights)
        freeze(model, config.freeze)
        model = QuantizationAware(model) if config.quantization else model
        options = config.data.loss_options() if config.data else {}
        TASKS[config.task].compile(model, optimizer, **options)
        model.build_optimizer()
    return model


def _warn_of_size(model: Any) -> None:
    """Warn if a net for phones has an image size that their GPUs and NPUs do not support."""
    is_for_phones, is_first = model.backbone.spec.is_separable, share()[0] == 0
    if is_for_phones and is_first and (problem := size_problem(model)):
        warnings.warn(f"The model can be exported for CPUs, but not for phone GPUs and NPUs. {problem}", stacklevel=2)


def make_measures(run: Run, config: TrainConfig, validation: AnyDataset) -> list[keras.callbacks.Callback]:
    """Return the callbacks that evaluate a model after an epoch and draw its predictions."""
    size, options = config.model.image_size, config.task_data().evaluation_options()
    evaluate = Evaluate(validation, size, config.evaluate_every, config.evaluation_batch_size, **options)
    return [evaluate, Pictures(validation, size, run.events_folder / "validation", config.log_images)]
