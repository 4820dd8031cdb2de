"""Shrink any config so that it trains in seconds: two steps of a narrow net on a few synthetic images."""

from __future__ import annotations

from pathlib import Path

from spinenet_tf.heads.table import find_head
from spinenet_tf.training.config import TrainConfig
from spinenet_tf.training.data_config import DataConfig, ImageDataConfig
from spinenet_tf.training.sources import DigitImagesSource, DigitsSource

SIZE = (64, 64)  # px
STEPS = 2
BATCH = 2

# The settings of a variant in the family's table: the graph stays, with the smallest cost.
NET = {"width": 0.125, "alpha": 0.5, "repeats": 1, "endpoint": 8}


def _scenes(config: TrainConfig, folder: Path) -> DataConfig:
    scenes = DigitsSource(digits=folder, scenes=BATCH * STEPS, size=SIZE)
    return config.own_data().model_copy(update={"train": scenes, "val": scenes})


def _digit_images(config: TrainConfig, folder: Path) -> ImageDataConfig:
    images = DigitImagesSource(digit_images=folder, scenes=8)  # enough for an image of each class
    return config.own_images().model_copy(update={"train": images, "val": images})


SMALL_DATA = {"detection": _scenes, "instance segmentation": _scenes, "classification": _digit_images}  # by task


def smoke(config: TrainConfig, folder: Path) -> TrainConfig:
    """Return the config at a size that trains in seconds, with digit images that are written to `folder`.

    The graph, activation, regularization, optimizer and augmentation stay; the schedule shrinks.

    Raises:
        ConfigError: the config has no data.
    """
    model, optimizer = config.model, config.optimizer
    small = {"overrides": model.overrides | NET, "head": model.head | dict(find_head(model.head["kind"]).smallest)}
    shrunk = {"decay_epochs": None, "warmup_steps": None, "accumulate": min(optimizer.accumulate, STEPS)}
    return config.model_copy(
        update={
            "model": model.model_copy(update={"image_size": SIZE} | small),
            "data": SMALL_DATA[config.task](config, folder),
            "weights": None,  # they belong to a wider net
            "quantization": None,  # it needs trained weights
            "optimizer": optimizer.model_copy(update=shrunk),
            "batch_size": BATCH,
            "evaluation_batch_size": BATCH * STEPS,
            "log_images": min(config.log_images, 1),
            "steps_per_epoch": STEPS,
            "epochs": 1,
        }
    )
