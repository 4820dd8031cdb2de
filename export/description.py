"""Create the metadata of an artifact: its input, its outputs and their layouts, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras

from spinenet_tf.data.dataset import CENTER
from spinenet_tf.heads.classes import checked_names
from spinenet_tf.inference.keras_model import backbone_of, head_of, image_shape, task_of
from spinenet_tf.inference.metadata import CROP, LETTERBOX, STRETCH, Metadata
from spinenet_tf.inference.naming import INPUT
from spinenet_tf.ops.pixels import MEAN, STD

_LAYOUTS = {
    "decoded": {
        "boxes": "[batch, place, (top, left, bottom, right)] in pixels of the input, clipped to it, before NMS",
        "scores": "[batch, place, class]",
    },
    "detections": {
        "boxes": "[batch, slot, (top, left, bottom, right)] in pixels of the input, best first",
        "scores": "[batch, slot]",
        "classes": "[batch, slot], -1 in slots that are not used",
        "num_detections": "[batch], slots that are used",
        "masks": "[batch, slot, row, column], the object's share of each cell of its box, in 0..1",
    },
    "postprocess": {
        "boxes": "[batch, slot, (top, left, bottom, right)] relative to the input's sides, one NMS for all classes",
        "scores": "[batch, slot]",
        "classes": "[batch, slot], without the background, if there is one",
        "num_detections": "[batch], slots that are used",
    },
    "probabilities": {"probabilities": "[batch, class], their sum is 1"},
}
_FEATURES = "[batch, row, column, channel]"


def describe(
    model: keras.Model,
    outputs: Mapping[str, Any],
    batch_size: int | None,
    quantization: str = "none",
    class_names: Sequence[str] | None = None,
    inputs: str = "float32",
    float_layers: Sequence[str] = (),
    center: float | None = None,
    stretch: bool = False,
) -> Metadata:
    """Return the metadata of a model whose signature has the raw `outputs`, objects with a shape and a dtype.

    `inputs` is "float32" for normalized images or "uint8" for pixels. `class_names` are by default those of the model;
    classes without names are named by number.
    `float_layers` are the layers that a quantized file keeps in float; `center` is the side of a classifier's central
    crop, if it is not the default. With `stretch`, the file's images are resized by `data.fitting.stretched`.

    Raises:
        ValueError: see `names_for`; or a name has a line break.
    """
    task, head = task_of(model), head_of(model)
    return Metadata(
        task=task,
        model=backbone_of(model).name,
        quantization=quantization,
        input=_input((batch_size, *image_shape(model)), inputs) | _fit(task, inputs, center, stretch),
        outputs=_outputs(head.layouts if head else {}, outputs),
        class_names=_names_or_numbers(model, class_names),
        category_ids=_list(getattr(model, "category_ids", None)),
        head=head.name if head else None,
        graph=backbone_of(model).spec.get_config(),
        options=model.options.plain() if head else {},
        float_layers=list(float_layers),
    )


def with_outputs(metadata: Metadata, kind: str, outputs: Mapping[str, Any]) -> Metadata:
    """Return the metadata of the same model with the decoded `outputs` that `litert.appended` adds."""
    return replace(metadata, output_kind=kind, outputs=_outputs(_LAYOUTS[kind], outputs))


def _input(shape: tuple[int | None, ...], dtype: str) -> dict[str, Any]:
    return {
        "name": INPUT,
        "shape": list(shape),
        "dtype": dtype,
        "layout": "[batch, row, column, channel]",
        "color": "RGB",
        "mean": list(MEAN),
        "std": list(STD),
        "normalization": "none, the file normalizes" if dtype == "uint8" else "(pixel / 255 - mean) / std",
    }


def _fit(task: str, dtype: str, center: float | None, stretch: bool) -> dict[str, Any]:
    """Return how an image becomes the input: as one word, and in words."""
    stretched = "to the input's size, bilinearly, row i at i * image height / input height, and columns likewise"
    if task == "classification":
        crop = "central crop with the input's aspect ratio and `center` times the largest such size, resized"
        fit, how = (STRETCH, f"{crop} {stretched}") if stretch else (CROP, f"{crop} bilinearly")
        return {"fit": fit, "resize": how, "center": CENTER if center is None else center}
    if stretch:
        return {"fit": STRETCH, "resize": f"resized without its aspect ratio {stretched}"}
    padding = f"the mean color, {[round(255 * x) for x in MEAN]}" if dtype == "uint8" else "zeros after normalization"
    how = f"resized to fit with its aspect ratio, at the top left; the bottom and right are padded with {padding}"
    return {"fit": LETTERBOX, "resize": how}


def _outputs(layouts: Mapping[str, str], outputs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "shape": list(x.shape),
            "dtype": keras.backend.standardize_dtype(x.dtype),
            "layout": layouts.get(name) or layouts.get(name.rpartition("_")[0], _FEATURES),
        }
        for name, x in sorted(outputs.items())
    }


def names_for(model: keras.Model, given: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the class names of an artifact: those `given`, otherwise the model's; None if both have none.

    Names other than the model's rename its classes.

    Raises:
        ValueError: the number of names is not the number of classes, a name is empty or occurs twice, or the model has
            a given name for another class.
    """
    own = getattr(model, "class_names", None)
    if not given:
        return own
    names = checked_names(given, getattr(model, "num_classes", 0))
    for number, name in enumerate(names):
        if own and name in own and own[number] != name:
            received = f"{name!r} for class {number}"
            raise ValueError(f"The model calls class {own.index(name)} {name!r}. Received in class_names: {received}")
    return names


def _names_or_numbers(model: keras.Model, given: Sequence[str] | None) -> list[str]:
    names = names_for(model, given) or [str(label) for label in range(getattr(model, "num_classes", 0))]
    broken = [name for name in names if len(name.splitlines()) != 1]
    if broken:
        raise ValueError(f"A class name must be one line of text. Received: {broken[0]!r}")
    return list(names)


def _list(values: Sequence[int] | None) -> list[int] | None:
    return None if values is None else list(values)
