"""Collect the facts of a model card from a run: its config, log and exported files, and a measurement."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from spinenet_tf.data.dataset import ClassificationDataset, DetectionDataset
from spinenet_tf.export.check.verify import Artifact
from spinenet_tf.inference.artifacts import bytes_of, engine_of
from spinenet_tf.inference.engines import metadata_of
from spinenet_tf.inference.measurement import evaluate
from spinenet_tf.inference.metadata import Metadata
from spinenet_tf.tasks import TASKS
from spinenet_tf.training.config import TrainConfig
from spinenet_tf.training.run import Run

PACKAGES = ("spinenet_tf", "keras", "tensorflow")


@dataclass(frozen=True)
class Measured:
    """The accuracy of a run's best weights in Keras, measured for the card."""

    metrics: dict[str, float]  # "AP", "AP50", ... or "top1", "top5"
    dataset: str
    is_own: bool  # whether it is the run's validation data
    images: int
    date: str
    versions: dict[str, str]


@dataclass(frozen=True)
class ModelFile:
    """An exported file or folder."""

    path: Path
    engine: str  # of `inference.artifacts`
    size: int  # bytes
    metadata: Metadata
    accuracy: float | None  # "AP" or "top1" as `spinenet_tf.load` runs it; None: not measured

    @property
    def batch_size(self) -> int:
        """The number of images of a call; 1 if it may be any."""
        return self.metadata.input["shape"][0] or 1


@dataclass(frozen=True)
class Facts:
    """All that a card says about a run; None and empty lists mean unknown."""

    name: str
    license: str
    config: TrainConfig
    log: list[dict[str, Any]]
    files: list[ModelFile]
    measured: Measured | None
    benchmark: Mapping[str, Any] | None  # the JSON of `spinenet-tf benchmark`

    @property
    def monitor(self) -> str:
        """The metric that selects the best weights, as `Task.monitor`."""
        return TASKS[self.config.task].monitor

    @property
    def best(self) -> dict[str, Any] | None:
        """The log's row of the best weights, None if the log has no evaluation."""
        rows = [row for row in self.log if f"val_{self.monitor}" in row]
        return max(rows, key=lambda row: row[f"val_{self.monitor}"], default=None)

    @property
    def metrics(self) -> dict[str, float]:
        """The accuracy as measured for the card, otherwise that of the log; empty if there is neither."""
        if self.measured:
            return self.measured.metrics
        return {name[4:]: value for name, value in (self.best or {}).items() if name.startswith("val_")}


def collect(
    run: Run,
    files: Sequence[Path],
    license: str,
    data: DetectionDataset | ClassificationDataset | None = None,
    benchmark: Path | None = None,
    artifact: Artifact | None = None,
) -> Facts:
    """Measure a run's best weights on `data`, by default its own validation data, and return the facts of its card.

    A run without data is not measured.
    """
    numbers = None if benchmark is None else _read_benchmark(benchmark)
    known = _accuracies(numbers, artifact)
    found = [describe_file(path, known.get(path.name)) for path in files]
    config = run.config
    measured = _measure(run, config, data) if data is not None or config.data is not None else None
    return Facts(run.folder.resolve().name, license, config, run.log, found, measured, numbers)


def exported_files(run: Run) -> list[Path]:
    """Return the exported files and folders in a run's folder."""
    return [path for path in sorted(run.folder.iterdir()) if engine_of(path) and metadata_of(path)]


def _measure(run: Run, config: TrainConfig, data: DetectionDataset | ClassificationDataset | None) -> Measured:
    images = config.task_data().read("val") if data is None else data
    name = _source_name(config) if data is None else data.name
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    versions = {package: version(package) for package in PACKAGES}
    return Measured(evaluate(run.folder, images).to_log(), name, data is None, len(images), today, versions)


def _source_name(config: TrainConfig) -> str:
    """Return a name of the run's validation data: its format, or the last part of its path."""
    if config.data is None:
        return ""
    kind, value = next(iter(config.data.val.model_dump(mode="json").items()))
    return {"digits": "digits", "digit_images": "digit images"}.get(kind) or Path(value).name


def _accuracies(benchmark: Mapping[str, Any] | None, artifact: Artifact | None) -> dict[str, float]:
    """Return the measured accuracies of exported files by name."""
    rows = benchmark["measurements"] if benchmark else []
    found = {Path(row["model"]).name: row["ap"] for row in rows if row.get("ap") is not None}
    measured = artifact and (artifact.ap or artifact.top1)
    if artifact and measured:
        found[artifact.path.name] = measured.get("stretched", measured["exported"])
    return found


def describe_file(path: Path, accuracy: float | None = None) -> ModelFile:
    """Return the facts of an exported file.

    Raises:
        ValueError: it has no metadata of this package.
    """
    metadata = metadata_of(path)
    if metadata is None:
        raise ValueError(f"A card describes exported files with metadata. Received: {path}")
    return ModelFile(path, engine_of(path) or "", bytes_of(path), metadata, accuracy)


def _read_benchmark(path: Path) -> Mapping[str, Any]:
    """Read the JSON file of `spinenet-tf benchmark`.

    Raises:
        ValueError: it is another file.
    """
    try:
        found = json.loads(path.read_bytes())
        if {"measurements", "machine"} <= found.keys():
            return found
    except (OSError, ValueError, AttributeError):
        pass
    raise ValueError(f"The benchmark must be a file that `spinenet-tf benchmark --json` wrote. Received: {path}")
