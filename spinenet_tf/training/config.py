"""The schema of a training config: YAML in, defaults filled in, unknown keys refused."""

from __future__ import annotations

import difflib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.family import variant

Side = Annotated[int, Field(ge=32)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class ConfigError(ValueError):
    """A fault in a config, told in one line per field."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _name_the_nearest(cls, values: Any) -> Any:
        """Refuse unknown keys before pydantic does, which would not say what was meant."""
        for key in set(values) - set(cls.model_fields) if isinstance(values, dict) else ():
            near = difflib.get_close_matches(str(key), cls.model_fields, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"Unknown key {key!r}.{hint} Valid are: {', '.join(cls.model_fields)}")
        return values


class CocoSource(_Strict):
    """A COCO JSON file and the folder of its images."""

    annotations: Path
    images: Path

    def read(self, split: str) -> DetectionDataset:
        """Read the data set; `split` is told by the files themselves."""
        from spinenet_tf.data.coco import read_coco

        return read_coco(self.annotations, self.images)


class DigitsSource(_Strict):
    """The embedded data set: handwritten digits on photographs, written to `folder` where it is not there yet."""

    digits: Path
    scenes: Count
    classes: Literal[1, 10] = 10
    seed: int = 0
    size: tuple[Count, Count] = (128, 160)  # of a scene in px, about

    def read(self, split: Literal["train", "val"]) -> DetectionDataset:
        """Write the scenes if needed, and read them as COCO files."""
        from spinenet_tf.data.digits import read_digits

        return read_digits(self.digits, split, self.scenes, self.classes, self.seed, self.size)


def _kind_of_source(source: Any) -> str:
    is_digits = "digits" in source if isinstance(source, dict) else isinstance(source, DigitsSource)
    return "(digits)" if is_digits else "(coco)"


# Told apart by a key, since trying both would report the faults of both.
Source = Annotated[
    Annotated[CocoSource, Tag("(coco)")] | Annotated[DigitsSource, Tag("(digits)")], Discriminator(_kind_of_source)
]


class ModelConfig(_Strict):
    """A detector by the factory's names."""

    name: str
    image_size: tuple[Side, Side]  # height, width in px
    overrides: dict[str, Any] = {}

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        variant(name)
        return name


class DataConfig(_Strict):
    """Where images come from, and how they are varied in training."""

    train: Source
    val: Source
    flip: bool = True
    scale: tuple[Positive, Positive] = (0.8, 1.2)  # jitter, relative to the fitted size
    max_boxes: Count = 100
    cache: bool = False  # keep the decoded images in memory


class OptimizerConfig(_Strict):
    """The optimizer and its schedule; steps and epochs as counted by the run."""

    name: Literal["sgd", "adam"] = "sgd"
    learning_rate: Positive = 0.28  # at a batch of 256; scaled linearly to the batch
    momentum: float = Field(default=0.9, ge=0, lt=1)  # of sgd
    schedule: Literal["step", "cosine"] = "step"
    decay_epochs: tuple[Count, ...] = (30, 10)  # of "step": x 0.1 for so many last epochs, then again
    warmup_steps: int = Field(default=2000, ge=0)
    warmup_from: float = Field(default=0.0067, ge=0)  # first learning rate, also at a batch of 256
    clip_global_norm: Positive | None = 10.0
    ema: float | None = Field(default=None, gt=0, lt=1)  # momentum of the averaged weights
    accumulate: Count = 1  # batches whose gradients make one update, which the schedule counts


class TrainConfig(_Strict):
    """One training run."""

    model: ModelConfig
    data: DataConfig | None = None  # a converted run has none
    optimizer: OptimizerConfig = OptimizerConfig()
    batch_size: Count
    epochs: Count
    weights: Path | None = None  # to start from: a run, or a .weights.h5 file; also of other classes
    freeze: tuple[str, ...] = ()  # patterns of layers' names that are not trained; "backbone" is all of it
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    steps_per_epoch: Count | None = None  # default: as many batches as the images fill
    evaluate_every: Count = 1  # epochs
    evaluation_batch_size: Count = 8
    early_stopping: Count | None = None  # evaluations in a row without a new best
    checkpoint_every: Count = 1000  # steps; and at the end of each epoch
    log_images: int = Field(default=4, ge=0)  # shown in TensorBoard, ground truth beside detections
    distribution: Literal["mirrored"] | None = None  # all devices of this machine; see docs/distributed.md
    deterministic: bool = False  # on a GPU: the same numbers in every run, by slower kernels
    seed: int = 0
    class_names: tuple[str, ...] | None = None  # filled in from the data

    @model_validator(mode="after")
    def _check_scale(self) -> TrainConfig:
        if self.data and self.data.scale[0] > self.data.scale[1]:
            raise ValueError(f"data.scale is (smallest, largest). Received: {self.data.scale}")
        return self

    def own_data(self) -> DataConfig:
        """Return where the images of the run come from.

        Raises:
            ConfigError: it has none.
        """
        if self.data is None:
            raise ConfigError("The config has no data: give it data.train and data.val.")
        return self.data

    def to_yaml(self) -> str:
        """Return the resolved config as YAML that `read_config` reads."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def find_config(name: str) -> Path:
    """Return the path of a config: a YAML file, or the name of one that is shipped with the package.

    Raises:
        ConfigError: it is neither; the message lists what is shipped.
    """
    shipped = {entry.name.removesuffix(".yaml"): entry for entry in files("spinenet_tf.configs").iterdir()}
    if name in shipped and not Path(name).is_file():
        return Path(str(shipped[name]))
    if not Path(name).is_file():
        names = sorted(name for name, entry in shipped.items() if entry.name.endswith(".yaml"))
        raise ConfigError(f"There is no config {name}. Shipped are: {', '.join(names)}.")
    return Path(name)


def read_config(path: str | Path, overrides: list[str] | None = None) -> TrainConfig:
    """Read a config file and apply `key.subkey=value` overrides, whose values are YAML.

    Raises:
        ConfigError: no such file, not YAML, an unknown or missing key, a value out of range, an override without `=`.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"There is no config {path}.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is not a config: it holds no keys.")
    for override in overrides or []:
        apply_override(values, override)
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {'; '.join(map(_fault, error.errors()))}") from error


def _fault(fault: Any) -> str:
    """Return where a value is wrong, and why, in the config's own terms."""
    place = ".".join(str(part) for part in fault["loc"] if not str(part).startswith("("))
    message = fault["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def apply_override(values: Any, override: str) -> None:
    """Set one `key.subkey=value` in nested `values`; the value is YAML.

    Raises:
        ConfigError: there is no `=`, the key leads nowhere, or the value is not YAML.
    """
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"An override has the form key=value. Received: {override!r}")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {}) if isinstance(values, dict) else None
    if not isinstance(values, dict):
        raise ConfigError(f"{key} does not lead to a value. Received: {override!r}")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"The value of {key} is not YAML. Received: {override!r}") from error
