"""Compute with models on the backend in KERAS_BACKEND, as if TensorFlow were not installed: `child.py FOLDER`.

For each row of FOLDER/rows.json, a mapping from subfolders to functions of this file, the model in `net.keras` computes
on the arrays in `data.npz`. The subfolder gets `results.npz` and the model as `back.keras`, or else `error.txt`. Both
models also have files of their weights.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from absent import hide

EPOCHS = 3
FORMATS = {"tf_saved_model": "a", "litert": "a.tflite", "onnx": "a.onnx", "openvino": "a.xml", "torch": "a.pt2"}


if __name__ == "__main__":
    hide("tensorflow")

import keras  # noqa: E402
import numpy as np  # noqa: E402

import spinenet_tf  # noqa: E402, F401
from spinenet_tf.inference.naming import flatten  # noqa: E402

Arrays = dict[str, Any]


def predict(model: keras.Model, images: np.ndarray) -> Arrays:
    """Return the raw outputs and the predictions."""
    # Without a compiled function, JAX would compile each operation for itself.
    raw = flatten(keras.Model(model.inputs, model.output).predict(images, verbose=0))
    predicted = model.predict(images, verbose=0)
    found = predicted if isinstance(predicted, Mapping) else {"": predicted}
    arrays = {f"raw {name}": x for name, x in raw.items()}
    return arrays | {f"predicted {name}": x for name, x in found.items()}


def fit(model: keras.Model, images: np.ndarray, weights: np.ndarray, **truth: np.ndarray) -> Arrays:
    """Return the losses of each step, and of an evaluation afterwards; the model is compiled."""
    y = truth.get("labels", truth)
    given = {"sample_weight": weights, "batch_size": len(images), "verbose": 0}
    history = model.fit(images, y, epochs=EPOCHS, shuffle=False, **given).history
    evaluated = model.evaluate(images, y, return_dict=True, **given)
    return history | {f"evaluated {name}": value for name, value in evaluated.items()}


def refuse(model: keras.Model, images: np.ndarray, **truth: np.ndarray) -> Arrays:
    """Return the errors for invalid ground truth, as arrays and from a generator, and how far the weights moved."""
    before, errors = model.get_weights(), []
    faults = {"classes": truth["classes"] + 2}, {"boxes": truth["boxes"][..., ::-1]}, {"boxes": truth["boxes"] / 64}
    for fault in faults:
        batch = images, truth | fault
        for arguments in (batch, ((each for each in [batch]),)):
            try:
                model.fit(*arguments, verbose=0)
            except ValueError as error:
                errors.append(str(error))
    moved = max(np.abs(now - then).max() for now, then in zip(model.get_weights(), before, strict=True))
    return {"errors": errors, "moved": moved}


def load_data(model: keras.Model, images: np.ndarray, weights: np.ndarray, **truth: np.ndarray) -> Arrays:
    """Return what `fit` returns, from a PyTorch DataLoader in shuffled batches of one image, and an error."""
    from torch.utils.data import DataLoader

    def rows(truth: Mapping[str, np.ndarray]) -> list[tuple]:
        return [(images[i], {key: x[i] for key, x in truth.items()}, weights[i]) for i in range(len(images))]

    history = model.fit(DataLoader(rows(truth), batch_size=1, shuffle=True), epochs=EPOCHS, verbose=0).history
    try:
        model.fit(DataLoader(rows(truth | {"classes": truth["classes"] + 2}), batch_size=2), verbose=0)
    except ValueError as error:
        return history | {"error": str(error)}
    return history


def resume(model: keras.Model, images: np.ndarray, weights: np.ndarray, **truth: np.ndarray) -> Arrays:
    """Return the weights after `EPOCHS` epochs at once, and after half of them, a backup and the rest."""
    import tempfile

    def trained(epochs: int, *callbacks: keras.callbacks.Callback) -> np.ndarray:
        fresh = type(model).from_config(model.get_config())
        fresh.set_weights(model.get_weights())
        schedule = keras.optimizers.schedules.CosineDecay(0.01, EPOCHS)
        fresh.compile(keras.optimizers.SGD(schedule, momentum=0.9))
        fresh.fit(images, truth, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks))
        return np.concatenate([np.ravel(weight) for weight in fresh.get_weights()])

    with tempfile.TemporaryDirectory() as folder:
        backup = keras.callbacks.BackupAndRestore(folder, delete_checkpoint=False)
        trained(EPOCHS // 2, backup)
        return {"at once": trained(EPOCHS), "resumed": trained(EPOCHS, backup)}


def export(model: keras.Model, images: np.ndarray) -> Arrays:
    """Return the errors of the formats that this backend refuses, and on PyTorch the outputs of its program."""
    import tempfile

    errors = []
    with tempfile.TemporaryDirectory() as folder:
        for format, name in FORMATS.items():
            try:
                model.export(f"{folder}/{name}", format=format, verbose=False)
            except ValueError as error:
                errors.append(str(error))
        if keras.backend.backend() != "torch":
            return {"errors": errors}
        import torch

        program = torch.export.load(f"{folder}/{FORMATS['torch']}").module()
    found = program(keras.ops.convert_to_tensor(images[:1]))
    return {"errors": errors} | {name: keras.ops.convert_to_numpy(x) for name, x in found.items()}


def compute(folder: Path, piece: str) -> None:
    model = keras.saving.load_model(folder / "net.keras")
    model.load_weights(folder / "net.weights.h5")
    with np.load(folder / "data.npz") as data:
        results = globals()[piece](model, **data)
    model.save(folder / "back.keras")
    model.save_weights(folder / "back.weights.h5")
    np.savez(folder / "results.npz", **results)


def rows(folder: Path) -> Iterator[tuple[Path, str]]:
    for name, piece in json.loads((folder / "rows.json").read_text()).items():
        yield folder / name, piece


if __name__ == "__main__":
    for each, piece in rows(Path(sys.argv[1])):
        try:
            compute(each, piece)
        except Exception:
            (each / "error.txt").write_text(traceback.format_exc())
