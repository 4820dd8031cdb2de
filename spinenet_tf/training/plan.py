"""Plan a training without starting it: its resolved config, number of steps and parameters, and its data."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.checking import Findings, check
from spinenet_tf.data.dataset import ClassificationDataset, DetectionDataset
from spinenet_tf.training.config import TrainConfig
from spinenet_tf.training.config_file import resolve
from spinenet_tf.training.datasets import read_datasets, with_classes_of
from spinenet_tf.training.recipe import check_task, count_steps, default_folder, prepare
from spinenet_tf.training.run import Run
from spinenet_tf.training.sources import in_folder


@dataclass(frozen=True)
class Plan:
    """What a training would do."""

    config: TrainConfig  # with all defaults and the class names
    folder: Path  # of the run
    steps_per_epoch: int
    steps: int  # in all epochs
    trainable_parameters: int
    parameters: int  # with BN statistics and frozen layers, without the optimizer's
    bad_images: int  # training images that are skipped, as far as their headers tell
    data: dict[str, Findings]  # statistics and problems of the data "train" and "val", as far as image headers tell


def plan(
    config: TrainConfig | Mapping[str, Any] | str | os.PathLike,
    run: str | os.PathLike | None = None,
    *,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
) -> Plan:
    """Check and prepare a training as `recipe.train` does with the same arguments, but write no file and train no step.

    The built-in digits are drawn in a temporary folder. Raises as `recipe.train` does.
    """
    resolved = resolve(config, overrides)
    folder = Path(run) if run is not None else default_folder(config)
    check_task(resolved)
    Run(folder).check(resume=resume, overwrite=overwrite)
    with TemporaryDirectory() as scratch:
        return _plan(resolved, folder, Path(scratch))


def _plan(config: TrainConfig, folder: Path, scratch: Path) -> Plan:
    data = config.task_data()
    sources = {key: in_folder(getattr(data, key), scratch) for key in ("train", "val")}
    elsewhere = config.model_copy(update={"data": data.model_copy(update=sources)})
    bad = BadImages(data.max_bad_images)
    training, validation = read_datasets(elsewhere, bad)
    config = with_classes_of(config, training)
    steps = count_steps(config, training)
    model = prepare(config, steps)
    return Plan(
        config=config,
        folder=folder,
        steps_per_epoch=steps,
        steps=steps * config.epochs,
        trainable_parameters=sum(math.prod(weight.shape) for weight in model.trainable_weights),
        parameters=model.count_params(),
        bad_images=len(bad),
        data={"train": _findings("data.train", training), "val": _findings("data.val", validation)},
    )


def _findings(title: str, dataset: DetectionDataset | ClassificationDataset) -> Findings:
    """Describe a data set, without the anchors of published heads: the config may have others."""
    found = check(dataset, decode=False)
    statistics = {name: value for name, value in found.statistics.items() if name != "anchors"}
    return replace(found, name=f"{title}: {found.name}", statistics=statistics)
