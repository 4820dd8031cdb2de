"""The training loop around Keras's `fit`, for any task: resuming, saving, logging and early stopping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import keras

from spinenet_tf.nets.base import SpineNetModel
from spinenet_tf.training.averages import WeightAverages
from spinenet_tf.training.callbacks import AtEpochEnd, EarlyStopping, JsonLog, SaveBest, SaveLast, SaveState
from spinenet_tf.training.clock import Clock
from spinenet_tf.training.config import TrainConfig
from spinenet_tf.training.preemption import Preemption, Stop
from spinenet_tf.training.processes import share
from spinenet_tf.training.run import Run
from spinenet_tf.training.state import TrainingState


@dataclass(frozen=True)
class Course:
    """A compiled model, its training batches and its metrics."""

    model: SpineNetModel
    batches: Callable[[int], Any]  # step -> endless stream of batches from that step on, the same in every process
    steps: int  # in an epoch
    measures: Sequence[keras.callbacks.Callback]  # add metrics to the logs after each epoch, of the averaged weights
    monitor: str  # the metric, higher is better, that decides on the best weights and on early stopping


def fit(course: Course, run: Run, config: TrainConfig, *, resume: bool = False, overwrite: bool = False) -> None:
    """Train a model for the config's epochs, or resume its training; the model ends up with the averaged weights.

    The run's folder gets the config, the log, TensorBoard events, the best and last weights, and states to resume from.

    Raises:
        RunError: see `Run.create` and `Run.check_config`.
        StateError: see `TrainingState.restore`.
        Preempted: SIGTERM arrived; the state was saved.
        KeyboardInterrupt: Ctrl-C was pressed; the state was saved, unless it was pressed twice.
        RuntimeError: the loss or a weight is not finite; the run keeps the earlier states.
    """
    model, clock, preemption = course.model, Clock(course.steps), Preemption()
    momentum, accumulate = config.optimizer.ema, config.optimizer.accumulate
    averages = WeightAverages(model, momentum, clock, accumulate) if momentum is not None else None
    state = TrainingState(run.states_folder, model, clock, averages.variables if averages else [])
    if resume:
        run.check_config(config)
        state.restore()
    first = course.batches(clock.step)  # before anything is written: this checks the data
    if resume:
        run.keep_config(config)
        run.rewind(clock.epoch)
    else:
        run.create(config, overwrite=overwrite)
    early = EarlyStopping(course.monitor, config.early_stopping, run.read_log())
    best = SaveBest(run.weights_path, run.read_log(), course.monitor)
    last = SaveLast(run.last_weights_path)
    with_averages = averages.in_model if averages else nullcontext
    measured = AtEpochEnd([*course.measures, best, last], config.epochs, with_averages, preemption.interrupting)
    board = keras.callbacks.TensorBoard(run.events_folder, write_graph=False)
    callbacks = [clock, *([averages] if averages else []), measured, JsonLog(run.log_path, clock), board, early]
    callbacks.append(SaveState(state, config.checkpoint_every, preemption))
    try:
        with preemption.noted():
            if not early.is_due():
                _fit(course, first, clock, config.epochs, callbacks)
    except Stop as stop:
        saved = state.save()
        place = f"after step {clock.step}. Continue with --resume."
        raise stop.after(place if share()[0] else f"{place} The state is {saved}") from None
    if averages:
        averages.put_into_model()


def _fit(course: Course, first: Any, clock: Clock, epochs: int, callbacks: list[keras.callbacks.Callback]) -> None:
    """Finish a partly done epoch, then train the remaining epochs."""
    model, epoch, batches = course.model, clock.epoch, first
    model.stop_training = False
    if clock.batch:
        left = course.steps - clock.batch
        if left:
            model.fit(first, steps_per_epoch=left, initial_epoch=epoch, epochs=epoch + 1, callbacks=callbacks)
        else:
            _end_epoch(model, epoch, callbacks)
        epoch += 1
        batches = course.batches(epoch * course.steps)
    if epoch < epochs and not model.stop_training:
        model.fit(batches, steps_per_epoch=course.steps, initial_epoch=epoch, epochs=epochs, callbacks=callbacks)


def _end_epoch(model: keras.Model, epoch: int, callbacks: list[keras.callbacks.Callback]) -> None:
    """Call the callbacks as `fit` does after the last step of an epoch."""
    together = keras.callbacks.CallbackList(callbacks, model=model, epochs=epoch + 1)
    together.on_train_begin()
    together.on_epoch_begin(epoch)
    together.on_epoch_end(epoch, model.get_metrics_result())
    together.on_train_end()
