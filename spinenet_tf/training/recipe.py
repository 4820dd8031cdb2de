"""Carries out a config: data, optimizer, `fit`, and everything that is written on the way."""

from __future__ import annotations

from pathlib import Path

import keras

from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.retinanet import RetinaNet
from spinenet_tf.training.callbacks import CocoEvaluation, JsonLog, SaveBest
from spinenet_tf.training.config import ConfigError, OptimizerConfig, TrainConfig
from spinenet_tf.training.optimizers import SGD, Adam
from spinenet_tf.training.run import Run, build_detector
from spinenet_tf.training.schedule import Warmup, step_decay

PUBLISHED_BATCH = 256  # learning rates are given for it


def train(config: TrainConfig, folder: str | Path, *, resume: bool = False, overwrite: bool = False) -> RetinaNet:
    """Train a detector and write its run to `folder`: resolved config, log, TensorBoard events, best and last weights.

    With `resume`, training goes on after the last whole epoch as if it had not stopped: weights, optimizer and data.

    Raises:
        ConfigError: the model or the class names are not valid.
        DataError: an annotation file or an image is at fault, or there is nothing to evaluate on.
        RunError: see `Run.check` and `Run.resume`; nothing is written then.
        RuntimeError: the loss is not finite; the run keeps the weights of the last whole epoch.
    """
    from spinenet_tf.data.pipeline import data_errors, training_batches

    run = Run(folder)
    run.check(resume=resume, overwrite=overwrite)
    keras.utils.set_random_seed(config.seed)
    training, validation = _read_data(config)
    config = config.model_copy(update={"class_names": training.class_names})
    detector = build_detector(config)
    steps = config.steps_per_epoch or max(1, len(training) // config.batch_size)
    detector.compile(make_optimizer(config.optimizer, config.batch_size, steps, config.epochs))
    done = run.resume(detector, config) if resume else 0
    data = config.own_data()
    options = (config.seed, data.flip, data.scale, data.max_boxes, data.cache)
    more = {"colours": data.colours(), "mosaics": data.mosaic, "start_step": done}
    batches = training_batches(training, config.model.image_size, config.batch_size, *options, **more)
    if resume:
        run.rewind_log(done // steps)
    else:
        run.create(config, overwrite=overwrite)
    with data_errors():
        detector.fit(
            batches,
            epochs=config.epochs,
            initial_epoch=done // steps,
            steps_per_epoch=steps,
            callbacks=make_callbacks(run, config, validation),
        )
    return detector


def make_optimizer(config: OptimizerConfig, batch_size: int, steps: int, epochs: int) -> keras.Optimizer:
    """Make the optimizer; learning rates are for a batch of 256 and scale linearly with the batch (Goyal 2017)."""
    batch_scale = batch_size / PUBLISHED_BATCH
    rate, total = config.learning_rate * batch_scale, steps * epochs
    warmup = min(config.warmup_steps, total // 2)
    if config.schedule == "cosine":
        after = keras.optimizers.schedules.CosineDecay(rate, total)
    else:
        after = step_decay(rate, total, tuple(steps * last for last in config.decay_epochs))
    schedule = Warmup(config.warmup_from * batch_scale, warmup, after)
    shared = {"global_clipnorm": config.clip_global_norm, "use_ema": config.ema is not None}
    if config.ema is not None:
        shared["ema_momentum"] = config.ema
    if config.name == "adam":
        return Adam(schedule, **shared)
    return SGD(schedule, config.momentum, **shared)


def make_callbacks(run: Run, config: TrainConfig, validation: DetectionDataset) -> list[keras.callbacks.Callback]:
    """List what happens beside the steps; what comes later in the list sees the logs of what came before."""
    measured = [
        CocoEvaluation(validation, config.model.image_size, config.evaluation_batch_size, config.evaluate_every),
        SaveBest(run.weights_path, run.read_log()),
        JsonLog(run.log_path),
        keras.callbacks.TensorBoard(run.events_folder, write_graph=False),
    ]
    if config.optimizer.ema is not None:
        # What is measured are the averaged weights, what is resumed from the trained ones: they are swapped back.
        swaps = (keras.callbacks.SwapEMAWeights(swap_on_epoch=True) for _ in range(2))
        measured = [next(swaps), *measured, next(swaps)]
    return [
        keras.callbacks.TerminateOnNaN(raise_error=True),
        *measured,
        keras.callbacks.ModelCheckpoint(run.last_weights_path, save_weights_only=True),
    ]


def _read_data(config: TrainConfig) -> tuple[DetectionDataset, DetectionDataset]:
    """Return training and validation data that fit each other, the config and their image files."""
    from spinenet_tf.data.pipeline import check_images

    data = config.own_data()
    training, validation = data.train.read("train"), data.val.read("val")
    names = training.class_names
    if names != validation.class_names:
        raise ConfigError(f"The classes of data.train and data.val differ. Received: {names}, {validation.class_names}")
    if config.class_names not in (None, names):
        raise ConfigError(f"class_names differ from the data's, {names}. Received: {config.class_names}")
    if not any(example.trainable.any() for example in validation):
        raise DataError(f"{validation.name}: there are no objects to evaluate on.")
    check_images(training)
    check_images(validation)
    return training, validation
