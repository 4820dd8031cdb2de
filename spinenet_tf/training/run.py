"""The folder of a run: what training writes there, and how a trained detector comes back from it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from spinenet_tf import models
from spinenet_tf.retinanet import RetinaNet
from spinenet_tf.training.config import ConfigError, TrainConfig, read_config


class RunError(ValueError):
    """A run folder that is in the way, or that does not hold what is asked of it."""


class Run:
    """The paths inside a run's folder."""

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self.config_path = self.folder / "config.yaml"
        self.weights_path = self.folder / "best.weights.h5"
        self.last_weights_path = self.folder / "last.weights.h5"
        self.log_path = self.folder / "log.jsonl"
        self.events_folder = self.folder / "events"
        self.backup_folder = self.folder / "backup"

    def create(self, config: TrainConfig, *, resume: bool = False, overwrite: bool = False) -> None:
        """Make the folder and write the resolved config into it.

        Raises:
            RunError: the folder exists and neither `resume` nor `overwrite` is given, or it cannot be resumed with this config.
        """
        if resume:
            return self._check_resumable(config)
        if self.folder.exists():
            if not overwrite:
                raise RunError(f"{self.folder} exists. Pass --resume to go on, or --overwrite to start anew.")
            self._remove()
        self.folder.mkdir(parents=True)
        part = self.config_path.with_suffix(".part")
        part.write_text(config.to_yaml())
        os.replace(part, self.config_path)

    def config(self) -> TrainConfig:
        """Read the resolved config.

        Raises:
            RunError: this is not a run folder.
        """
        if not self.config_path.is_file():
            raise RunError(f"{self.folder} is not a run folder: it has no config.yaml.")
        return read_config(self.config_path)

    def load(self, weights: Path | None = None) -> tuple[RetinaNet, TrainConfig]:
        """Build the run's detector with its best weights, or those of another file.

        Raises:
            RunError: this is not a run folder, or it has no weights yet.
        """
        config = self.config()
        path = weights or self.weights_path
        if not path.is_file():
            raise RunError(f"{self.folder} has no weights yet: there is no {path.name}.")
        detector = build_detector(config)
        detector.load_weights(path)
        return detector, config

    def _check_resumable(self, config: TrainConfig) -> None:
        if self.config() != config:
            raise RunError(f"{self.folder} was started with another config: see {self.config_path.name} there.")

    def _remove(self) -> None:
        """Remove an earlier run; a folder that is something else is not touched."""
        if any(self.folder.iterdir()) and not self.config_path.is_file():
            raise RunError(f"{self.folder} is not a run folder, it is not overwritten.")
        shutil.rmtree(self.folder)


def build_detector(config: TrainConfig) -> RetinaNet:
    """Build the detector that a config describes, with fresh weights.

    Raises:
        ConfigError: the model's name, an override or the image size is not valid, or the config has no class names.
    """
    if not config.class_names:
        raise ConfigError("The config has no class_names: train fills them in from the data.")
    try:
        shape = (*config.model.image_size, 3)
        return models.detector(config.model.name, len(config.class_names), shape, **config.model.overrides)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model: {error}") from error
