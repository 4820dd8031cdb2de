"""Read the training and validation data of a config, and match their classes."""

from __future__ import annotations

from typing import Any

from spinenet_tf._files.messages import some_of
from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.classes import Dataset, with_classes
from spinenet_tf.data.dataset import ClassificationDataset, DataError, DetectionDataset
from spinenet_tf.tasks import TASKS
from spinenet_tf.training.config import ConfigError, TrainConfig


def read_datasets(config: TrainConfig, bad: BadImages) -> tuple[Any, Any]:
    """Return training and validation data, checked against each other, the config and the image files.

    Bad training images are recorded in `bad`; bad validation images are errors.
    """
    data: Any = config.task_data()  # both data sets have the same type, which annotations cannot express
    training, validation = match_classes(config, data.read("train", bad), data.read("val"))
    TASKS[config.task].check_data(training, validation, bad, config.model.head.get("max_detections"))
    return training, validation


def with_classes_of(config: TrainConfig, training: DetectionDataset | ClassificationDataset) -> TrainConfig:
    """Return the config with the class names and category ids of the training data.

    Raises:
        ConfigError: the config has other category ids.
    """
    ids = training.category_ids if isinstance(training, DetectionDataset) else None
    if config.category_ids not in (None, ids):
        has = "none" if ids is None else some_of(ids)
        raise ConfigError(
            f"category_ids must be those of the training data: {has}. Received: {some_of(config.category_ids)}"
        )
    return config.model_copy(update={"class_names": training.class_names, "category_ids": ids})


def match_classes(config: TrainConfig, training: Dataset, validation: Dataset) -> tuple[Dataset, Dataset]:
    """Renumber the classes of both data sets in the order of `class_names`, by default that of the training data.

    Classes match by name. The validation data may lack some classes.

    Raises:
        ConfigError: the training data lacks one of `class_names`, a name occurs twice, or an object has another class.
    """
    names, known = config.class_names, training.class_names
    if names is None:
        names = known
    if len(set(names)) < len(names):
        raise ConfigError(f"class_names: a name occurs twice. Received: {some_of(names, show=repr)}")
    if lacking := [name for name in names if name not in set(known)]:
        raise ConfigError(
            f"class_names: the training data lacks some of them; it has {some_of(known, show=repr)}. "
            f"Received: {some_of(lacking, show=repr)}"
        )
    parts = []
    for key, part in (("train", training), ("val", validation)):
        try:
            parts.append(with_classes(part, names))
        except DataError as error:
            raise ConfigError(f"data.{key}: {error}") from None
    return parts[0], parts[1]
