"""Carries out a config: data, optimizer, `fit`, and everything that is written on the way."""

from __future__ import annotations

from pathlib import Path

import keras

from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.retinanet import RetinaNet
from spinenet_tf.training.callbacks import CocoEvaluation, JsonLog, SaveBest
from spinenet_tf.training.config import ConfigError, OptimizerConfig, TrainConfig
from spinenet_tf.training.run import Run, build_detector
from spinenet_tf.training.schedule import Warmup, step_decay

PUBLISHED_BATCH = 256  # learning rates are given for it


def train(config: TrainConfig, folder: str | Path, *, resume: bool = False, overwrite: bool = False) -> RetinaNet:
    """Train a detector and write its run to `folder`: resolved config, log, TensorBoard events, best and last weights.

    With `resume`, training goes on after the last whole epoch, optimizer included.

    Raises:
        ConfigError: the model or the class names are not valid.
        DataError: an annotation file or an image is at fault.
        RunError: the folder exists and neither `resume` nor `overwrite` is given.
    """
    from spinenet_tf.data.pipeline import check_images, data_errors, training_batches

    keras.utils.set_random_seed(config.seed)
    data, image_size = config.data, config.model.image_size
    training, validation = data.train.read("train"), data.val.read("val")
    config = config.model_copy(update={"class_names": _class_names(config, training, validation)})
    check_images(training)
    check_images(validation)
    detector = build_detector(config)
    steps = config.steps_per_epoch or max(1, len(training) // config.batch_size)
    detector.compile(make_optimizer(config.optimizer, config.batch_size, steps, config.epochs))
    batches = training_batches(
        training, image_size, config.batch_size, config.seed, data.flip, data.scale, data.max_boxes, data.cache
    )
    run = Run(folder)
    run.create(config, resume=resume, overwrite=overwrite)
    with data_errors():
        callbacks = make_callbacks(run, config, validation)
        detector.fit(batches, epochs=config.epochs, steps_per_epoch=steps, callbacks=callbacks)
    detector.save_weights(run.last_weights_path)
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
        return keras.optimizers.Adam(schedule, **shared)
    return keras.optimizers.SGD(schedule, config.momentum, **shared)


def make_callbacks(run: Run, config: TrainConfig, validation: DetectionDataset) -> list[keras.callbacks.Callback]:
    """List what happens beside the steps; what comes later in the list sees the logs of what came before."""
    evaluation = CocoEvaluation(
        validation, config.model.image_size, config.evaluation_batch_size, config.evaluate_every
    )
    callbacks = [
        evaluation,
        SaveBest(run.weights_path, run.log_path),
        JsonLog(run.log_path),
        keras.callbacks.TensorBoard(run.events_folder, write_graph=False),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.BackupAndRestore(run.backup_folder, double_checkpoint=True, delete_checkpoint=False),
    ]
    if config.optimizer.ema is not None:
        callbacks.insert(0, keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
    return callbacks


def _class_names(config: TrainConfig, training: DetectionDataset, validation: DetectionDataset) -> tuple[str, ...]:
    if training.class_names != validation.class_names:
        raise ConfigError(
            f"The classes of data.train and data.val differ. Received: {training.class_names}, {validation.class_names}"
        )
    if config.class_names not in (None, training.class_names):
        raise ConfigError(f"class_names differ from the data's, {training.class_names}. Received: {config.class_names}")
    return training.class_names
