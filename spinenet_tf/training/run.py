"""The folder of a run: the files that training writes, and loading a trained model from it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from spinenet_tf._files.document import flat
from spinenet_tf._files.messages import some_of
from spinenet_tf._files.writing import made, remove_leftovers, staged, write_whole
from spinenet_tf.nets.base import SpineNetModel
from spinenet_tf.tasks import TASKS
from spinenet_tf.training.config import ConfigError, TrainConfig
from spinenet_tf.training.config_file import read_config

# These keys change neither the trained weights nor the training data.
MAY_CHANGE = ("evaluate_every", "evaluation_batch_size", "early_stopping", "checkpoint_every", "log_images")
_FILLED_IN = ("category_ids",)  # from the data; runs of earlier versions lack it


class RunError(ValueError):
    """A run's folder that must not be overwritten, or that lacks something."""


class Run:
    """The folder of one training: its resolved config, log, weights, and the states that it resumes from.

    `train` returns it, and `Run("runs/digits")` opens an earlier one. Creating the object reads and checks nothing.

    Attributes:
        folder, config_path, log_path, events_folder (TensorBoard), states_folder: the paths of the run.
        weights_path: the weights with the best validation metric, AP for a detector, top-1 accuracy for a classifier.
        last_weights_path: the weights after the last epoch. While a training runs, they may be some epochs old, and
            after a stop within an epoch, they are those at the stop: see docs/distributed.md.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self.config_path = self.folder / "config.yaml"
        self.weights_path = self.folder / "best.weights.h5"
        self.last_weights_path = self.folder / "last.weights.h5"
        self.states_folder = self.folder / "states"
        self.log_path = self.folder / "log.jsonl"
        self.events_folder = self.folder / "events"

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def config(self) -> TrainConfig:
        """The resolved config, with all defaults and the class names.

        Raises:
            RunError: this is not a run folder.
        """
        return read_config(self._own_config())

    @property
    def log(self) -> list[dict[str, Any]]:
        """The rows of the log, one per finished epoch, such as `{"epoch": 1, "loss": ..., "val_AP": ...}`.

        It is empty before the end of the first epoch.
        """
        if not self.log_path.exists():
            return []
        lines = self.log_path.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]  # the last line may be incomplete

    def load(self, weights: str | os.PathLike | None = None, *, task: str | None = None) -> Any:
        """Build the run's Keras model in float32, with its best weights or those of the file `weights`.

        `run.load(run.last_weights_path)` is the model as it was after the last epoch.

        Raises:
            RunError: this is not a run folder, or it has no weights yet.
            ConfigError: the run is not of `task`, if given: "detection" or "classification".
            ArchitectureError, DamagedWeightsError: see `SpineNetModel.load_weights`.
        """
        config, path = self.config, self.weights_path if weights is None else Path(weights)
        if not path.is_file():
            raise RunError(f"{self.folder} has no weights yet: {path.name} is missing.")
        model = build_model(config, task)
        model.load_weights(path)
        return model

    def load_detector(self) -> Any:
        """Build the run's detector, with or without masks, as `load` does.

        Raises:
            ConfigError: the run is not one of a detector; otherwise as `load` does.
        """
        if not TASKS[self.config.task].has_boxes:
            raise ConfigError(f"The run must be one of a detector. Received: task={self.config.task}")
        return self.load()

    def check(self, *, resume: bool = False, overwrite: bool = False) -> None:
        """Check that a training may write here, before it starts; change nothing.

        Raises:
            RunError: the folder exists and neither `resume` nor `overwrite` is set, both are set, there is no run to
                resume, or the folder to overwrite is not the folder of a run.
        """
        if resume and overwrite:
            raise RunError("--resume and --overwrite cannot be combined.")
        if resume:
            read_config(self._own_config())
        elif self.folder.exists() and not overwrite:
            raise RunError(f"{self.folder} exists. Pass --resume to continue, or --overwrite to start over.")
        elif self.folder.exists() and not self._is_ours():
            raise RunError(f"{self.folder} is not a run folder, so it is not overwritten.")

    def create(self, config: TrainConfig, *, overwrite: bool = False, model: SpineNetModel | None = None) -> None:
        """Create the folder with the resolved config and `model`'s weights; with `overwrite`, replace an earlier run.

        Raises:
            RunError: as `check` does.
            WriteError: the disk is full or read only, or the user may not write here; an earlier run is unchanged.
        """
        self.check(overwrite=overwrite)
        stage = staged(self.folder, overwrite=overwrite, replaces=lambda _: self._is_ours())
        with made(self.folder.parent), stage as folder:
            folder.mkdir()
            (folder / self.config_path.name).write_text(config.to_yaml(), encoding="utf-8")
            if model is not None:
                model.save_weights(folder / self.weights_path.name, include_optimizer=False)

    def check_config(self, config: TrainConfig) -> None:
        """Check that a training with `config` may resume this run: only keys in `MAY_CHANGE` may differ.

        Raises:
            RunError: this is not a run folder, or the run was started with a different config.
        """
        there, here = (flat(one.model_dump(mode="json")) for one in (self.config, config))
        may_change = MAY_CHANGE + _FILLED_IN
        keys = [key for key in {**there, **here} if there.get(key) != here.get(key) and key not in may_change]
        if keys:
            shown = some_of(f"{key}={_short(here.get(key))} (was {_short(there.get(key))})" for key in keys)
            raise RunError(
                f"{self.folder} was started with another config: see its {self.config_path.name}. Only "
                f"{', '.join(MAY_CHANGE)} may change. Received: {shown}"
            )

    def keep_config(self, config: TrainConfig) -> None:
        """Store the config of a resumed training if it differs."""
        if self.config != config:
            write_whole(self.config_path, config.to_yaml())

    def rewind(self, epochs: int) -> None:
        """Cut the log to the first `epochs` epochs, those whose state was saved, and remove partly written files."""
        rows = [row for row in self.log if row["epoch"] <= epochs]
        write_whole(self.log_path, "".join(json.dumps(row) + "\n" for row in rows))
        for folder in (self.folder, self.states_folder):
            remove_leftovers(folder)

    def _own_config(self) -> Path:
        if not self.config_path.is_file():
            raise RunError(f"{self.folder} is not a run folder: it has no config.yaml.")
        return self.config_path

    def _is_ours(self) -> bool:
        """Return whether the folder may be removed: it is empty or a training wrote it."""
        try:
            found = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else None
            return found is not None and (not found or (self._has_traces(found) and bool(self.config)))
        except ValueError:
            return False

    def _has_traces(self, names: set[str]) -> bool:
        """Return whether the files look like a run: a config alone, or with other files of a run.

        A config among the user's own files may be a copy.
        """
        written = (self.weights_path, self.last_weights_path, self.states_folder, self.log_path, self.events_folder)
        return names == {self.config_path.name} or not names.isdisjoint(path.name for path in written)


def build_model(config: TrainConfig, task: str | None = None) -> Any:
    """Build the model that a config describes, with fresh weights; it must be of `task`, if given.

    Raises:
        ConfigError: the model's name, an override or the image size is invalid, or the config has no class names or
            another task.
    """
    if task not in (None, config.task):
        raise ConfigError(f"The config or run must be of task {task}. Received: task={config.task}")
    if not config.class_names:
        raise ConfigError("The config has no class_names: training fills them in from the data.")
    try:
        model, shape = config.model, (*config.model.image_size, 3)
        options = {"head": model.head["kind"]} | model.options() | model.overrides
        net = TASKS[config.task].build(model.net(), len(config.class_names), shape, **options)
        net.class_names = config.class_names
        if config.category_ids:
            net.category_ids = config.category_ids
        return net
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model: {error}") from error


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
