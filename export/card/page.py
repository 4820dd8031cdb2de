"""Write the page of a model card: front matter for model hubs, then the sections."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from spinenet_tf._files.writing import write_whole
from spinenet_tf.data.dataset import ClassificationDataset, DetectionDataset
from spinenet_tf.export.card.facts import Facts, collect, exported_files
from spinenet_tf.export.card.sections import METRICS, SECTIONS
from spinenet_tf.export.check.verify import Artifact
from spinenet_tf.inference.artifacts import ONNX, OPENVINO, SAVED_MODEL, TFLITE
from spinenet_tf.training.run import Run, RunError

NAME = "README.md"
LIBRARY = "spinenet_tf"
UNKNOWN = "unknown"
_PIPELINES = {
    "detection": "object-detection",
    "instance segmentation": "image-segmentation",
    "classification": "image-classification",
}
_METRICS = {"detection": "mAP", "instance segmentation": "mAP", "classification": "accuracy"}
_TAGS = {TFLITE: "tflite", SAVED_MODEL: "tensorflow", ONNX: "onnx", OPENVINO: "openvino"}
_MARK = f"library_name: {LIBRARY}"


def model_card(
    run: str | os.PathLike,
    license: str = UNKNOWN,
    files: Iterable[str | os.PathLike] | None = None,
    data: DetectionDataset | ClassificationDataset | None = None,
    benchmark: str | os.PathLike | None = None,
    artifact: Artifact | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a README.md in the model card format of Hugging Face next to a run's exported files; return its path.

    The card is made from the run's config and log, the metadata of `files`, by default those in the run's folder, and
    accuracy, measured now on `data`, by default the run's validation data. It says what is unknown, and names files
    without their folders. `license` is an identifier such as "apache-2.0". `benchmark` is a JSON file of `spinenet-tf
    benchmark`, whose latencies and AP of these files the card repeats, as it does the accuracy of `artifact`, the
    result of an export.

    Raises:
        RunError: `run` is not a run with weights, or has no exported files.
        ValueError: the license is not an identifier, a file has no metadata, the files are in several folders, the
            benchmark is another file, or the data has a class that the model does not know.
        FileExistsError: there is a README.md, and `overwrite` is False or it is not a card of this package.
    """
    chosen = exported_files(Run(run)) if files is None else [Path(file) for file in files]
    if not chosen:
        raise RunError(f"{run} has no exported files: export it first.")
    if len({file.parent for file in chosen}) > 1:
        raise ValueError(f"The files of a card must be in one folder. Received: {', '.join(map(str, chosen))}")
    path = check_card(chosen[0].parent, license, overwrite=overwrite)
    given = None if benchmark is None else Path(benchmark)
    write_whole(path, _page(collect(Run(run), chosen, license, data, given, artifact)), overwrite=overwrite)
    return path


def check_card(folder: Path, license: str, *, overwrite: bool) -> Path:
    """Return the path of the card in a folder, after checking that it can be written.

    Raises:
        ValueError: the license is not an identifier.
        FileExistsError: there is a README.md, and `overwrite` is False or it is not a card of this package.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", license):
        raise ValueError(f"A license is an identifier such as apache-2.0 or cc-by-4.0. Received: license={license!r}")
    path = folder / NAME
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists. Pass overwrite=True (--overwrite) to replace it.")
    if path.exists() and _MARK not in path.read_text(encoding="utf-8", errors="replace").splitlines():
        raise FileExistsError(f"{path} is not a model card of spinenet_tf, so it is never replaced.")
    return path


def _page(facts: Facts) -> str:
    header = yaml.safe_dump(_front_matter(facts), sort_keys=False, allow_unicode=True, width=120)
    sections = ("\n".join(section(facts)).strip() for section in SECTIONS)
    return f"---\n{header}---\n\n" + "\n\n".join(sections) + "\n"


def _front_matter(facts: Facts) -> dict[str, Any]:
    task = facts.config.task
    pipeline, formats = _PIPELINES[task], dict.fromkeys(_TAGS[file.engine] for file in facts.files)
    fields: dict[str, Any] = {"license": facts.license, "library_name": LIBRARY, "pipeline_tag": pipeline}
    fields["tags"] = [pipeline, "spinenet", "keras", *formats]
    if facts.metrics:
        fields |= {"metrics": [_METRICS[task]], "model-index": [_index(facts, pipeline)]}
    return fields


def _index(facts: Facts, pipeline: str) -> dict[str, Any]:
    """Return the results in the form that hubs show."""
    name = facts.measured.dataset if facts.measured else "validation data of the training"
    dataset = {"name": name, "type": re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")}
    value = round(facts.metrics[facts.monitor], 4)
    metric = {"type": _METRICS[facts.config.task], "name": METRICS[facts.monitor], "value": value}
    task = {"type": pipeline, "name": pipeline.replace("-", " ").capitalize()}
    return {"name": facts.name, "results": [{"task": task, "dataset": dataset, "metrics": [metric]}]}
