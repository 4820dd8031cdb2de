"""The schema of a training config: YAML in, defaults filled in, unknown keys refused."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Discriminator, Field, Tag, ValidationError, ValidationInfo, field_validator, model_validator

from spinenet_tf._files.document import DEEPEST, DocumentError, Scalar, parse_yaml, plain, read_yaml
from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import MAX_PIXELS, PILLOW_MAX_PIXELS, ClassificationDataset, DetectionDataset
from spinenet_tf.data.input.colors import Colors
from spinenet_tf.data.problems import Problems
from spinenet_tf.heads.table import TASKS, find_head
from spinenet_tf.nets.family import Published, Variant, variant
from spinenet_tf.nets.specs import ArchitectureSpec
from spinenet_tf.training.overrides import checked_overrides, read_graph, resolved_head, resolved_model
from spinenet_tf.training.schema import (
    Below1,
    Count,
    Fraction,
    Natural,
    NotNegative,
    Positive,
    PositiveFraction,
    Seed,
    Side,
    Strict,
    UserPath,
)
from spinenet_tf.training.sources import ImageSource, Source

_SHOWN = 20  # faults that an error lists
_LONGEST_CHAIN = 8  # configs, each the base of the one before


class ConfigError(ValueError):
    """A fault in a config, told in one line per field."""


class ModelConfig(Strict):
    """A model by the factory's names: a detector or a classifier, as the task is."""

    name: str
    image_size: tuple[Side, Side]  # height, width in px
    graph: dict[str, Any] | None = None  # in place of the net's own: a YAML file, which is read here, or what it holds
    head: dict[str, Any] = Field(default_factory=dict)  # its name as `kind`, by default the published one; its options
    overrides: dict[str, Any] = Field(default_factory=dict)  # settings of the backbone: see `nets.style.Style`

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        variant(name)
        return name

    @field_validator("graph", mode="before")
    @classmethod
    def _check_graph(cls, graph: Any) -> Any:
        return None if graph is None else read_graph(graph)

    @field_validator("overrides")
    @classmethod
    def _check_overrides(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        return checked_overrides(overrides)

    @field_validator("head")
    @classmethod
    def _check_head(cls, head: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        return resolved_head(info.data["name"], head) if "name" in info.data else head

    def net(self) -> str | Variant:
        """Return the net as the factory takes it: its name, or its row with the graph that is given."""
        if self.graph is None:
            return self.name
        return replace(variant(self.name), graph=ArchitectureSpec.from_config(self.graph), published=Published())

    def options(self) -> dict[str, Any]:
        """Return the options of the head."""
        return {name: value for name, value in self.head.items() if name != "kind"}


class _Variation(Strict):
    """How images are varied in training, whatever the task."""

    flip: bool = True
    color_jitter: Fraction = 0.0  # of brightness, contrast, saturation and hue
    rand_augment: Natural = 0  # operations of RandAugment per image, those that change colors
    magnitude: Fraction = 0.5  # of these operations
    cache: bool = False  # keep the decoded images in memory
    max_pixels: int = Field(default=MAX_PIXELS, ge=1, le=PILLOW_MAX_PIXELS)  # of an image: larger ones are bad
    max_bad_images: float = Field(default=0.01, ge=0, lt=1)  # fraction that training leaves out before it stops

    def colors(self) -> Colors:
        """Return how colors vary."""
        return Colors(self.color_jitter, self.rand_augment, self.magnitude)

    def options(self) -> dict[str, Any]:
        """Return the arguments of `training_batches` that are set here."""
        return {"flip": self.flip, "cache": self.cache, "colors": self.colors()}

    def evaluation_options(self) -> dict[str, Any]:
        """Return the arguments of `evaluation_batches` that are set here."""
        return {}

    def loss_options(self) -> dict[str, Any]:
        """Return what is set here of the loss."""
        return {}


class DataConfig(_Variation):
    """Where the images of a detector come from, and how they are varied in training."""

    train: Source
    val: Source
    scale: tuple[Positive, Positive] = (0.8, 1.2)  # jitter, relative to the fitted size
    mosaic: Fraction = 0.0  # fraction of inputs that are made of four images
    max_boxes: Count = 100

    def read(self, split: Literal["train", "val"], bad: BadImages | None = None) -> DetectionDataset:
        """Read the data set of a split, without its bad images if there is a place to note them."""
        return getattr(self, split).read(split, Problems(max_pixels=self.max_pixels, bad_images=bad))

    def options(self) -> dict[str, Any]:
        return super().options() | {"scale": self.scale, "mosaics": self.mosaic, "max_boxes": self.max_boxes}


class ImageDataConfig(_Variation):
    """Where the images of a classifier come from, and how they and their labels are varied in training."""

    train: ImageSource
    val: ImageSource
    area: tuple[PositiveFraction, PositiveFraction] = (0.08, 1.0)  # of the random crop, as a fraction of the image
    center: PositiveFraction = 0.875  # side of the central crop in evaluation, as a fraction of the largest that fits
    label_smoothing: Below1 = 0.0

    @model_validator(mode="before")
    @classmethod
    def _rename(cls, values: Any) -> Any:
        """Read a run of an earlier version, which spells `center` in British English."""
        if not isinstance(values, dict) or "center" in values:
            return values
        renamed = {"centre": "center"}  # codespell:ignore
        return {renamed.get(key, key): value for key, value in values.items()}

    def read(self, split: Literal["train", "val"], bad: BadImages | None = None) -> ClassificationDataset:
        """Read the data set of a split; whether an image is bad is seen later, since nothing describes it."""
        return replace(getattr(self, split).read(split), max_pixels=self.max_pixels)

    def options(self) -> dict[str, Any]:
        return super().options() | {"area": self.area}

    def evaluation_options(self) -> dict[str, Any]:
        return {"center": self.center}

    def loss_options(self) -> dict[str, Any]:
        return {"label_smoothing": self.label_smoothing}


def _task_of(data: Any) -> str:
    """Return the task that data are for: their sources have other keys."""
    if not isinstance(data, dict):
        return "(classification)" if isinstance(data, ImageDataConfig) else "(detection)"
    keys = {key for source in (data.get("train"), data.get("val")) if isinstance(source, dict) for key in source}
    return "(classification)" if keys & {"folder", "digit_images"} else "(detection)"


Data = Annotated[
    Annotated[DataConfig, Tag("(detection)")] | Annotated[ImageDataConfig, Tag("(classification)")],
    Discriminator(_task_of),
]


class OptimizerConfig(Strict):
    """The optimizer and its schedule; epochs as counted by the run, a step of the schedule is an update."""

    name: Literal["sgd", "adam"] = "sgd"
    learning_rate: Positive = 0.28  # at a batch of 256; scaled linearly to the batch
    momentum: Below1 = 0.9  # of sgd
    schedule: Literal["step", "cosine"] = "step"
    decay_epochs: tuple[Count, ...] | None = None  # of "step": x 0.1 for so many last epochs, then again; see schedule
    warmup_steps: Natural | None = None  # default: a twentieth of the run, at most 2000
    warmup_from: NotNegative | None = None  # first learning rate, also at a batch of 256; default: 1 / 42 of the other
    clip_global_norm: Positive | None = 10.0
    ema: Annotated[Positive, Field(lt=1)] | None = None  # momentum of the averaged weights
    accumulate: Count = 1  # batches whose gradients make one update, which the schedule counts


_SOURCES = "A classification reads {folder: PATH} or {digit_images: PATH, scenes: COUNT}, a detection the others."
AnyData = TypeVar("AnyData", DataConfig, ImageDataConfig)


class TrainConfig(Strict):
    """One training run."""

    task: Literal["detection", "classification"] = "detection"
    model: ModelConfig
    data: Data | None = None  # a converted run has none
    optimizer: OptimizerConfig = OptimizerConfig()
    batch_size: Count
    epochs: Count
    weights: UserPath | None = None  # to start from: a run, or a .weights.h5 file; also of other classes
    freeze: tuple[str, ...] = ()  # patterns of layers' names that are not trained; "backbone" is all of it
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    quantization: Literal["int8"] | None = None  # train the weights for an int8 export: see docs/phones.md
    steps_per_epoch: Count | None = None  # default: as many batches as the images fill
    evaluate_every: Count = 1  # epochs
    evaluation_batch_size: Count = 8
    early_stopping: Count | None = None  # evaluations in a row without a new best
    checkpoint_every: Count = 1000  # steps; and at the end of each epoch
    log_images: Natural = 4  # shown in TensorBoard, ground truth beside detections
    distribution: Literal["mirrored", "data_parallel"] | None = None  # many devices: see docs/distributed.md
    deterministic: bool = False  # on a GPU: the same numbers in every run, by slower kernels
    seed: Seed = 0
    class_names: tuple[str, ...] | None = None  # filled in from the data

    @model_validator(mode="before")
    @classmethod
    def _resolve_the_model(cls, values: Any) -> Any:
        """Choose the head by the task, and name a registered graph, before the part of the model is looked at alone."""
        if not isinstance(values, dict) or not isinstance(values.get("model"), dict):
            return values
        task = plain(values.get("task", "detection"))
        return values | {"model": resolved_model(values["model"], task)} if task in TASKS else values

    @model_validator(mode="after")
    def _check_head(self) -> TrainConfig:
        if (found := find_head(self.model.head["kind"])).task != self.task:
            raise ValueError(f"model.head.kind={found.name} is for the task {found.task}. Received: task={self.task}")
        return self

    @model_validator(mode="after")
    def _check_data(self) -> TrainConfig:
        if isinstance(self.data, DataConfig) and self.data.scale[0] > self.data.scale[1]:
            raise ValueError(f"data.scale is (smallest, largest). Received: {self.data.scale}")
        if isinstance(self.data, ImageDataConfig) and self.data.area[0] > self.data.area[1]:
            raise ValueError(f"data.area is (smallest, largest). Received: {self.data.area}")
        if self.quantization and (self.weights is None or self.task != "detection" or self.precision != "float32"):
            raise ValueError(
                "quantization fine-tunes a detector in float32: give weights. "
                f"Received: weights={self.weights}, task={self.task}, precision={self.precision}"
            )
        if self.data and (self.task == "classification") != isinstance(self.data, ImageDataConfig):
            raise ValueError(f"The data are not for this task. Received: task={self.task}. {_SOURCES}")
        return self

    def own_data(self) -> DataConfig:
        """Return where the images of a detector's run come from.

        Raises:
            ConfigError: it has none, or the task is another one.
        """
        return self._data_of(DataConfig)

    def own_images(self) -> ImageDataConfig:
        """Return where the images of a classifier's run come from; raises as `own_data` does."""
        return self._data_of(ImageDataConfig)

    def task_data(self) -> DataConfig | ImageDataConfig:
        """Return where the images of a run come from, whatever its task.

        Raises:
            ConfigError: it has none.
        """
        if self.data is None:
            raise ConfigError("The config has no data: give it data.train and data.val.")
        return self.data

    def _data_of(self, kind: type[AnyData]) -> AnyData:
        data = self.task_data()
        if not isinstance(data, kind):
            raise ConfigError(f"This is not possible with the data of a {self.task}.")
        return data

    def to_yaml(self) -> str:
        """Return the resolved config as YAML that `read_config` reads."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def find_config(name: str) -> Path:
    """Return the path of a config: a YAML file, or the name of one that is shipped with the package.

    Raises:
        ConfigError: it is neither; the message lists what is shipped.
    """
    shipped = {entry.name.removesuffix(".yaml"): entry for entry in files("spinenet_tf.configs").iterdir()}
    if name in shipped and not _is_file(Path(name)):
        return Path(str(shipped[name]))
    if not _is_file(Path(name)):
        names = sorted(name for name, entry in shipped.items() if entry.name.endswith(".yaml"))
        raise ConfigError(f"There is no config {name}. Shipped are: {', '.join(names)}.")
    return Path(name)


def read_config(path: str | Path, overrides: list[str] | None = None) -> TrainConfig:
    """Read a config file and apply `key.subkey=value` overrides, whose values are YAML, or text where text is meant.

    A config may name another one of its folder by `base: OTHER.yaml` and list only where it differs: mappings are
    joined key by key, any other value takes the place of the base's.

    Raises:
        ConfigError: no such file, not YAML, an unknown or missing key, a value out of range, an override without `=`.
    """
    path = Path(path)
    values = _read_values(path)
    for override in overrides or []:
        apply_override(values, override)
    return make_config(values, path)


def make_config(values: dict[str, Any], source: object) -> TrainConfig:
    """Return the config of these values.

    Raises:
        ConfigError: an unknown or missing key, or a value of the wrong type or out of range: all of them, and where
            they come from.
    """
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        faults = [_fault(fault) for fault in error.errors(include_url=False)]
        more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        raise ConfigError(f"{source}: {'; '.join(faults[:_SHOWN] + more)}") from error


def _read_values(path: Path, readers: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return a file's values over those of its base; `readers` are the files that led here."""
    if len(readers) == _LONGEST_CHAIN or any(_is_same(path, reader) for reader in readers):
        raise ConfigError(f"{path} is its own base, by way of {', '.join(map(str, readers))}.")
    if not _is_file(path):
        raise ConfigError(f"There is no config {path}." + (f" It is the base of {readers[-1]}." if readers else ""))
    try:
        values = read_yaml(path)
    except DocumentError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is not a config: it holds no keys.")
    base = values.pop("base", None)
    if plain(base) is None:
        return values
    text = base.text if isinstance(base, Scalar) else str(base)
    return _joined(_read_values(path.parent / Path(text).expanduser(), (*readers, path)), values)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _is_same(path: Path, other: Path) -> bool:
    return _is_file(path) and path.samefile(other)


def _joined(base: Any, values: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(values, dict)):
        return values
    return base | {key: _joined(base.get(key), value) for key, value in values.items()}


def _fault(fault: Any) -> str:
    """Return where a value is wrong, and why, in the config's own terms."""
    place = ".".join(str(part) for part in fault["loc"] if not str(part).startswith("("))
    message = " ".join(fault["msg"].removeprefix("Value error, ").split())[:1000]  # it may repeat the value
    return f"{place}: {message}" if place else message


def apply_override(values: Any, override: str) -> None:
    """Set one `key.subkey=value` in nested `values`; the value is YAML.

    Raises:
        ConfigError: there is no `=`, the key leads nowhere, or the value is not YAML.
    """
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"An override is key=value. Received: {override!r}")
    *parents, last = key.split(".")
    if len(parents) >= DEEPEST:
        raise ConfigError(f"A key is at most {DEEPEST} levels deep. Received: {override[:40]!r}")
    for parent in parents:
        values = values.setdefault(parent, {}) if isinstance(values, dict) else None
    if not isinstance(values, dict):
        raise ConfigError(f"{key} does not lead to a value. Received: {override!r}")
    try:
        values[last] = _as_typed(parse_yaml(text), text.strip())
    except DocumentError as error:
        raise ConfigError(f"The value of {key} is not YAML. Received: {override[:80]!r}") from error


def _as_typed(value: Any, text: str) -> Any:
    """Keep the text of a value that is neither a mapping, a list nor quoted: a name may hold ` #`."""
    if isinstance(value, (dict, list)) or text[:1] in ("'", '"', "!", "&", "|", ">"):
        return value
    return Scalar(plain(value), text)
