"""The schema of a training config: it fills in defaults and rejects unknown keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Field, model_validator

from spinenet_tf._files.document import plain
from spinenet_tf.heads.table import TASKS, find_head
from spinenet_tf.training.data_config import Data, DataConfig, ImageDataConfig
from spinenet_tf.training.model_config import ModelConfig, resolved_model
from spinenet_tf.training.schema import Below1, Count, Natural, NotNegative, Positive, Seed, Strict, UserPath


class ConfigError(ValueError):
    """An invalid config; the message lists each invalid field."""


class OptimizerConfig(Strict):
    """The optimizer and its learning-rate schedule; a step of the schedule is one update."""

    name: Literal["sgd", "adam"] = "sgd"
    learning_rate: Positive = 0.28  # at a batch of 256; scaled linearly to the batch
    momentum: Below1 = 0.9  # of sgd
    schedule: Literal["step", "cosine"] = "step"
    decay_epochs: tuple[Count, ...] | None = None  # of "step": epochs before the end at which the rate drops x 0.1
    warmup_steps: Natural | None = None  # default: 1/20 of the run, at most 2000
    warmup_from: NotNegative | None = None  # initial learning rate at a batch of 256; default: learning_rate / 42
    clip_global_norm: Positive | None = 10.0
    ema: Annotated[Positive, Field(lt=1)] | None = None  # momentum of the moving averages of the weights
    accumulate: Count = 1  # batches whose gradients are summed for one update


_SOURCES = "Classification reads {folder: PATH} or {digit_images: PATH, scenes: COUNT}; detection reads the others."
AnyData = TypeVar("AnyData", DataConfig, ImageDataConfig)


class TrainConfig(Strict):
    """One training run."""

    task: Literal["detection", "instance segmentation", "classification"] = "detection"
    model: ModelConfig
    data: Data | None = None  # None in a run that was converted from a checkpoint
    optimizer: OptimizerConfig = OptimizerConfig()
    batch_size: Count
    epochs: Count
    weights: UserPath | None = None  # initial weights: a run or a .weights.h5 file; its classes may differ
    freeze: tuple[str, ...] = ()  # name patterns of layers not to train; "backbone" freezes the whole backbone
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    quantization: Literal["int8"] | None = None  # train the weights for an int8 export: see docs/phones.md
    steps_per_epoch: Count | None = None  # default: the number of full batches in the data
    evaluate_every: Count = 1  # epochs
    evaluation_batch_size: Count = 8
    early_stopping: Count | None = None  # stop after so many evaluations in a row without a new best
    checkpoint_every: Count = 1000  # steps; the state is also saved after epochs: see docs/distributed.md
    log_images: Natural = 4  # images in TensorBoard, with ground truth next to detections
    distribution: Literal["mirrored", "data_parallel"] | None = None  # multi-device training: see docs/distributed.md
    deterministic: bool = False  # on a GPU: use slower kernels that give the same numbers in every run
    seed: Seed = 0
    class_names: tuple[str, ...] | None = None  # filled in from the data
    category_ids: tuple[int, ...] | None = None  # of the classes in COCO files; filled in from the data

    @model_validator(mode="before")
    @classmethod
    def _resolve_the_model(cls, values: Any) -> Any:
        """Resolve the head and a registered graph before pydantic validates `model`, which does not know the task."""
        if not isinstance(values, dict) or not isinstance(values.get("model"), dict):
            return values
        task = plain(values.get("task", "detection"))
        return values | {"model": resolved_model(values["model"], task)} if task in TASKS else values

    @model_validator(mode="after")
    def _check_head(self) -> TrainConfig:
        if (found := find_head(self.model.head["kind"])).task != self.task:
            raise ValueError(f"model.head.kind={found.name} is for task {found.task}. Received: task={self.task}")
        return self

    @model_validator(mode="after")
    def _check_data(self) -> TrainConfig:
        if self.quantization and (self.weights is None or self.task != "detection" or self.precision != "float32"):
            raise ValueError(
                "quantization fine-tunes a trained detector in float32: set `weights`. "
                f"Received: weights={self.weights}, task={self.task}, precision={self.precision}"
            )
        if self.data and (self.task == "classification") != isinstance(self.data, ImageDataConfig):
            raise ValueError(f"The data does not fit the task. Received: task={self.task}. {_SOURCES}")
        return self

    def own_data(self) -> DataConfig:
        """Return the data config of a detector.

        Raises:
            ConfigError: there is no data, or the task is not detection.
        """
        return self._data_of(DataConfig)

    def own_images(self) -> ImageDataConfig:
        """Return the data config of a classifier; raises as `own_data` does."""
        return self._data_of(ImageDataConfig)

    def task_data(self) -> DataConfig | ImageDataConfig:
        """Return the data config for any task.

        Raises:
            ConfigError: there is no data.
        """
        if self.data is None:
            raise ConfigError("The config has no data: set data.train and data.val.")
        return self.data

    def _data_of(self, kind: type[AnyData]) -> AnyData:
        data = self.task_data()
        if not isinstance(data, kind):
            raise ConfigError(f"This needs other data than that of task {self.task}.")
        return data

    def to_yaml(self) -> str:
        """Return the resolved config as YAML that `read_config` reads."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
