"""The training loop around Keras's `fit`, for any task: resuming, saving, logging and early stopping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import keras

from spinenet_tf.nets.base import SpineNetModel
from spinenet_tf.training.averages import UpdateAverages, WeightAverages
from spinenet_tf.training.callback_list import Group, OneFit, StopTogether, UserCallbacks
from spinenet_tf.training.callbacks import EarlyStopping, JsonLog, SaveBest, SaveLast, SaveState
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


def fit(
    course: Course,
    run: Run,
    config: TrainConfig,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    resume: bool = False,
    overwrite: bool = False,
    verbose: str | int = "auto",
) -> None:
    """Train a model for the config's epochs, or resume its training; the model ends up with the averaged weights.

    The run's folder gets the config, the log, TensorBoard events, the best and last weights, and states to resume from.
    The user's `callbacks` are called after the evaluation, before the log is written and the state is saved.

    Raises:
        RunError: see `Run.create` and `Run.check_config`.
        StateError: see `TrainingState.restore`.
        Preempted: SIGTERM arrived; the state was saved.
        KeyboardInterrupt: Ctrl-C was pressed; the state was saved, unless it was pressed twice.
        RuntimeError: the loss or a weight is not finite; the run keeps the earlier states.
        Exception: a user's callback raised it; the state was saved.
    """
    clock, preemption = Clock(course.steps), Preemption()
    momentum = config.optimizer.ema
    averages = None if momentum is None else WeightAverages(course.model, momentum)
    state = TrainingState(run.states_folder, course.model, clock, averages.variables if averages else [])
    first = _begin(course, run, config, state, resume=resume, overwrite=overwrite)
    own = UserCallbacks(callbacks, averages.in_model if averages else nullcontext)
    early = EarlyStopping(course.monitor, config.early_stopping, run.log)
    parts = [*_parts(course, run, config, clock, averages, own, preemption), early]
    saving = SaveState(state, config.checkpoint_every, preemption)
    together, stopped = OneFit([*parts, saving], course.model, clock, config.epochs, verbose), None
    try:
        with preemption.noted():
            if not early.is_due():
                _fit(course, first, clock, config.epochs, together)
                saving.finish()
    except Stop as stop:
        saved = state.save()
        place = f"after step {clock.step}. Continue with --resume."
        stopped = stop.after(place if share()[0] else f"{place} The state is {saved}")
    except Exception as error:
        if own.failed:
            error.add_note(f"The state after step {clock.step} is {state.save()}. Continue with resume=True.")
        raise
    if averages:
        averages.put_into_model()
    together.end()
    if stopped:
        raise stopped


def _begin(
    course: Course, run: Run, config: TrainConfig, state: TrainingState, *, resume: bool, overwrite: bool
) -> Any:
    """Create the run's folder or restore the run's state, and return the batches from there on."""
    if resume:
        run.check_config(config)
        state.restore()
    first = course.batches(state.clock.step)  # before anything is written: this checks the data
    if resume:
        run.keep_config(config)
        run.rewind(state.clock.epoch)
    else:
        run.create(config, overwrite=overwrite)
    return first


def _parts(
    course: Course,
    run: Run,
    config: TrainConfig,
    clock: Clock,
    averages: WeightAverages | None,
    own: UserCallbacks,
    preemption: Preemption,
) -> list[keras.callbacks.Callback]:
    """Return the callbacks in order, without those that may end the training or save its state.

    The user's `own` ones see the metrics and the weights that were measured, and may add to the log.
    """
    best, last = SaveBest(run.weights_path, run.log, course.monitor), SaveLast(run.last_weights_path)
    with_averages = averages.in_model if averages else nullcontext
    measured = Group([*course.measures, best, last], with_averages, preemption.interrupting)
    stop = StopTogether(course.model, measured, course.monitor)
    board = keras.callbacks.TensorBoard(run.events_folder, write_graph=False)
    update = [UpdateAverages(averages, clock, config.optimizer.accumulate)] if averages else []
    return [*update, measured, own, stop, JsonLog(run.log_path, clock), board]


def _fit(course: Course, first: Any, clock: Clock, epochs: int, together: OneFit) -> None:
    """Finish a partly done epoch, then train the remaining epochs."""
    model, epoch, batches = course.model, clock.epoch, first
    model.stop_training = False
    if clock.batch:
        left = course.steps - clock.batch
        if left:
            model.fit(first, steps_per_epoch=left, initial_epoch=epoch, epochs=epoch + 1, callbacks=together)
        else:
            _end_epoch(model, epoch, together)
        epoch += 1
        batches = course.batches(epoch * course.steps)
    if epoch < epochs and not model.stop_training:
        model.fit(batches, steps_per_epoch=course.steps, initial_epoch=epoch, epochs=epochs, callbacks=together)


def _end_epoch(model: keras.Model, epoch: int, together: OneFit) -> None:
    """Call the callbacks as `fit` does after the last step of an epoch."""
    together.on_train_begin()
    together.on_epoch_begin(epoch)
    together.on_epoch_end(epoch, model.get_metrics_result())
