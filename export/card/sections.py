"""Write the sections of a model card in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from spinenet_tf._files.messages import some_of
from spinenet_tf.export.card.code import with_package, without_package
from spinenet_tf.export.card.facts import Facts, ModelFile
from spinenet_tf.tasks import TASKS
from spinenet_tf.training.data_config import DataConfig

METRICS = {
    "AP": "COCO AP (mean over IoU 0.50 to 0.95)",
    "AP50": "AP at IoU 0.50",
    "AP75": "AP at IoU 0.75",
    "APs": "AP of objects under 32 x 32 px in the image",
    "APm": "AP of objects from 32 x 32 to 96 x 96 px",
    "APl": "AP of larger objects",
    "AR100": "recall of the best 100 detections per image",
    "mask_AP": "COCO AP of masks (mean over IoU 0.50 to 0.95)",
    "mask_AP50": "AP of masks at IoU 0.50",
    "mask_AP75": "AP of masks at IoU 0.75",
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
}
SHOWN_CLASSES = 100
_DOES = {
    "detection": "An object detector",
    "instance segmentation": "An object detector with masks",
    "classification": "An image classifier",
}
RAW = "raw maps"
SELECTED = "detections of any score"


def title(facts: Facts) -> Iterator[str]:
    """Yield the title and what the model does in one sentence."""
    model, names = facts.config.model, facts.config.class_names or ()
    height, width = model.image_size
    yield f"# {plain_text(facts.name)}"
    yield ""
    classes = "1 class" if len(names) == 1 else f"{len(names)} classes"
    net = f"a `{model.name}` backbone" + (" with its own graph" if model.graph else "")
    does, detects = _DOES[facts.config.task], TASKS[facts.config.task].has_boxes
    head = f" and a {model.head['kind']} head" if detects else ""
    yield f"{does} for {classes}, with {net}{head}, for images of {width} x {height} px, made with spinenet_tf."


def classes(facts: Facts) -> Iterator[str]:
    """Yield the class names in the order of their numbers."""
    names = facts.config.class_names or ()
    yield "## What it detects" if TASKS[facts.config.task].has_boxes else "## What it recognizes"
    yield ""
    shown = ", ".join(code_text(name) for name in names[:SHOWN_CLASSES])
    more = len(names) - SHOWN_CLASSES
    yield shown + (f" and {more} more, which the labels file lists." if more > 0 else ".")


def data(facts: Facts) -> Iterator[str]:
    """Yield the sources of the data and its augmentation."""
    yield "## Data"
    yield ""
    given = facts.config.data
    if given is None:
        yield "Unknown: the run has no data, because it was converted from a checkpoint."
        return
    for name, source in (("Training", given.train), ("Validation", given.val)):
        yield f"- {name}: {_source(source.model_dump(mode='json', exclude_none=True))}"
    used = ["mirrored images"] if given.flip else []
    if isinstance(given, DataConfig):
        used += [f"scale {given.scale[0]:g} to {given.scale[1]:g}"]
        used += [f"mosaics ({given.mosaic:.0%} of the inputs)"] if given.mosaic else []
    else:
        used += [f"random crops of {given.area[0]:.0%} to {given.area[1]:.0%} of the image"]
    used += [f"color jitter {given.color_jitter:g}"] if given.color_jitter else []
    used += [f"RandAugment with {given.rand_augment} operations"] if given.rand_augment else []
    yield f"- Augmentation: {', '.join(used) or 'none'}."
    yield ""
    yield "The origin and the license of the images are unknown to the program that wrote this card."


def training(facts: Facts) -> Iterator[str]:
    """Yield the length and the settings of the training."""
    config, optimizer = facts.config, facts.config.optimizer
    yield "## Training"
    yield ""
    if not facts.log:
        yield "Unknown: the run has no log of a training."
        return
    last = facts.log[-1]
    yield f"- {last['epoch']} of {config.epochs} epochs, {last['step']} steps of {config.batch_size} images."
    if facts.best:
        best = f"which has the best {facts.monitor} on the validation data"
        yield f"- The weights are those of epoch {facts.best['epoch']}, {best}."
    start = f"the weights {code_text(Path(config.weights).name)}" if config.weights else "random weights"
    yield f"- It started from {start}."
    rate = f"learning rate {optimizer.learning_rate:g} (at a batch of 256), {optimizer.schedule} schedule"
    average = f", moving averages of the weights ({optimizer.ema:g})" if optimizer.ema else ""
    yield f"- Optimizer: {optimizer.name}, {rate}{average}."
    yield f"- Precision {config.precision}, seed {config.seed}."
    if config.freeze:
        yield f"- Layers that were not trained: {', '.join(map(code_text, config.freeze))}."
    if config.quantization:
        yield f"- Quantization-aware training for {config.quantization}."


def accuracy(facts: Facts) -> Iterator[str]:
    """Yield the table of the metrics, and where they come from."""
    yield "## Accuracy"
    yield ""
    if not facts.metrics:
        yield "Not measured."
        return
    yield "| metric | value |"
    yield "|---|---|"
    for name, label in METRICS.items():
        if name in facts.metrics:
            yield f"| {label} | {facts.metrics[name]:.3f} |"
    yield ""
    if facts.measured:
        found = facts.measured
        with_versions = ", ".join(f"{name} {number}" for name, number in found.versions.items())
        where = f"on the {found.images} images of {code_text(found.dataset)}"
        yield f"Measured in Keras {where} on {found.date}, with {with_versions}."
    else:
        yield "From the log of the training, which records no date and no versions."
    if facts.best and (facts.measured is None or facts.measured.is_own):
        yield "These images also selected the epoch, so the accuracy on new images may be lower."


def files(facts: Facts) -> Iterator[str]:
    """Yield the table of the exported files."""
    yield "## Files"
    yield ""
    yield f"| file | MB | numbers | input | outputs | {facts.monitor} |"
    yield "|---|---|---|---|---|---|"
    for file in facts.files:
        given, height, width = file.metadata.input, *file.metadata.image_size
        images = "" if file.batch_size == 1 else f", {file.batch_size} images per call"
        is_exact = file.metadata.quantization == "none"
        numbers = "float32" if is_exact else file.metadata.quantization
        same = "as in Keras" if is_exact and not file.metadata.stretch else "not measured"
        score = same if file.accuracy is None else f"{file.accuracy:.3f}"
        size = f"{file.size / 1e6:.2f}"
        cells = (
            code_text(file.path.name),
            size,
            numbers,
            f"{given['dtype']}, {width} x {height}{images}",
            _outputs(file),
            score,
        )
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "Each file was compared with Keras when it was written. Its metadata describe the input and every output."
    if any(file.metadata.stretch for file in facts.files):
        yield f"The {facts.monitor} of files for MediaPipe is with images resized as MediaPipe does it."
    if any(_outputs(file) == RAW for file in facts.files):
        yield "Raw maps have to be decoded, as `spinenet_tf.load` does with the options in the metadata."


def latency(facts: Facts) -> Iterator[str]:
    """Yield the latencies of the exported files, if they were measured."""
    yield "## Latency"
    yield ""
    names = {file.path.name for file in facts.files}
    found = facts.benchmark or {"measurements": []}
    rows = [row for row in found["measurements"] if Path(row["model"]).name in names]
    if not rows:
        yield "Not measured."
        return
    yield "| file | engine | threads | images per call | ms per call, median | 90 % under |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        runs = (code_text(Path(row["model"]).name), row["engine"], row["threads"] or "automatic")
        cells = (*runs, row["input_shape"][0], row["median_ms"], row["p90_ms"])
        yield f"| {' | '.join(map(str, cells))} |"
    yield ""
    yield f"Measured on {_machine(found['machine'])}. Other hardware needs its own measurement."


def usage(facts: Facts) -> Iterator[str]:
    """Yield code that runs each exported file."""
    yield "## How to run"
    yield ""
    yield "With spinenet_tf:"
    yield from _code(with_package(facts.files[0]))
    alike: dict[tuple[str, str, bool], list[ModelFile]] = {}
    for file in facts.files:
        alike.setdefault((file.engine, file.metadata.input["dtype"], file.metadata.stretch), []).append(file)
    for group in alike.values():
        yield f"Without spinenet_tf, {' or '.join(code_text(file.path.name) for file in group)}:"
        yield from _code(without_package(group[0]))


def limits(facts: Facts) -> Iterator[str]:
    """Yield what follows from the facts about the intended use."""
    height, width = facts.config.model.image_size
    yield "## Intended use and limits"
    yield ""
    yield "The intended use was not stated. These limits follow from how the model was made:"
    yield ""
    others = "misses objects of other classes, or gives them one of these"
    every = "gives every image one of these"
    yield f"- It knows the classes above only: it {others if facts.config.task == 'detection' else every}."
    yield f"- It sees images at {width} x {height} px, so details that vanish at this size are lost."
    yield "- It was measured on no other data than that named above; results on other images are unknown."


def license(facts: Facts) -> Iterator[str]:
    """Yield the license that the user stated."""
    yield "## License"
    yield ""
    stated = f"{facts.license}, as stated by the person who exported the model."
    yield "Unknown: none was stated." if facts.license == "unknown" else stated


SECTIONS = (title, classes, data, training, accuracy, files, latency, usage, limits, license)


def code_text(text: str) -> str:
    """Return text as code in Markdown; it may be of any origin."""
    return "`" + re.sub(r"[`|\s]+", " ", str(text)).strip() + "`"


def plain_text(text: str) -> str:
    """Return text without the characters that Markdown and HTML interpret."""
    return re.sub(r"[`|<>\[\]*#\s]+", " ", text).strip()


def _source(source: Mapping[str, Any]) -> str:
    """Describe a source by its settings; only the last part of a path, which may name a user."""
    return code_text(some_of(f"{key}: {_short(value)}" for key, value in source.items())) + "."


def _short(value: Any) -> str:
    return Path(value).name if isinstance(value, str) else str(value)


def _outputs(file: ModelFile) -> str:
    if file.engine == "SavedModel" and file.metadata.detects:
        return f"signatures for detections and for {_raw(file)}"
    raw = _raw(file) if file.metadata.detects else "logits"
    return raw if file.metadata.output_kind == "raw" else file.metadata.output_kind


def _raw(file: ModelFile) -> str:
    return SELECTED if file.metadata.known_head()[0].selects else RAW


def _machine(machine: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return f"{machine['platform']} with {machine['cores']} cores ({', '.join(machine['devices'])}), {versions}"


def _code(lines: str) -> Iterable[str]:
    return ["", "```python", *lines.splitlines(), "```", ""]
