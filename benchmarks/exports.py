"""Export and cache the files of both sides, from the same weights and calibrated on the same images.

The SavedModels and TFLite files of both sides return the same raw outputs of each level, before decoding. Model
Garden's own `export_tflite_lib` writes its TFLite files from a SavedModel of that subgraph, because its exporter of
detectors adds decoding, which would be additional work.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.contender import HOME, OURS, THEIRS, Contender, contest
from benchmarks.nets import Net, build_ours, build_theirs, raw_call, with_weights
from spinenet_tf._files.writing import staged, write_whole

CALIBRATION_IMAGES = 4  # ranges affect accuracy, not speed
SAVED_MODEL, FLOAT, INTEGER = "saved_model", "fp32.tflite", "int8.tflite"
ALL = (SAVED_MODEL, FLOAT, INTEGER)
_SOURCES = ("spinenet_tf/**/*.py", "export/**/*.py", "benchmarks/nets.py", "benchmarks/exports.py")


def folder_of(net: Net, side: str) -> Path:
    """Return the folder of a network's files, of "ours" or "theirs", for the current sources."""
    return HOME / _digest() / f"{net.name}-{net.side}{'-backbone' if net.backbone else ''}-{side}"


def export(net: Net, names: Iterable[str] = ALL) -> dict[str, Path]:
    """Write the missing files of both sides, in parallel, and return the two folders.

    Raises:
        ContenderError: an export failed.
    """
    nets = {"theirs": net.counterpart, "ours": net}
    folders = {side: folder_of(nets[side], side) for side in nets}
    missing = {side: [name for name in names if not (folders[side] / name).exists()] for side in nets}
    writers = {"theirs": (_turns_of_theirs, THEIRS), "ours": (_turns_of_ours, OURS)}
    starts = {
        side: lambda side=side: Contender(
            writers[side][0], nets[side], folders[side], missing[side], libraries=writers[side][1]
        )
        for side in nets
        if missing[side]
    }
    with contest(**starts):  # `prepare` exports
        pass
    return folders


def _turns_of_ours(net: Net, folder: Path, names: Iterable[str]) -> Mapping[str, Callable]:
    import spinenet_tf.export

    model = with_weights(build_ours(net))
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name == SAVED_MODEL:
            spinenet_tf.export.saved_model(model, folder / name, batch_size=1)
        elif name == FLOAT:
            spinenet_tf.export.tflite(model, folder / name)
        else:
            batches = ([image] for image in calibration_images(net))
            spinenet_tf.export.tflite(model, folder / name, quantization="int8", calibration=batches)
    return {}


def _turns_of_theirs(net: Net, folder: Path, names: Iterable[str]) -> Mapping[str, Callable]:
    from official.vision.serving.export_tflite_lib import convert_tflite_model

    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / SAVED_MODEL).exists():
        _write_their_saved_model(with_weights(build_theirs(net)), net, folder / SAVED_MODEL)
    for name in (name for name in names if name != SAVED_MODEL):
        kind, task = (None, None) if name == FLOAT else ("int8", _calibration_task(net))
        params = SimpleNamespace(task=_Anything())
        content = convert_tflite_model(
            str(folder / SAVED_MODEL), quant_type=kind, params=params, task=task, calibration_steps=CALIBRATION_IMAGES
        )
        write_whole(folder / name, content)
    return {}


def _write_their_saved_model(model: Any, net: Net, path: Path) -> None:
    import tensorflow as tf

    call = raw_call(model)
    module = tf.Module()
    module.weights = list(model.variables)  # otherwise Keras 2 would trace and save every layer again
    module.serve = tf.function(
        lambda images: call(images), input_signature=[tf.TensorSpec((1, net.side, net.side, 3), tf.float32, "images")]
    )
    with staged(path) as part:
        tf.saved_model.save(module, str(part), signatures={"serving_default": module.serve})


class _Anything(SimpleNamespace):
    """Stand-in for the parts of Model Garden's config that its converter only passes to its task."""

    def __init__(self):
        super().__init__(train_data=SimpleNamespace(), as_dict=dict)


def _calibration_task(net: Net) -> Any:
    """Return a task that passes our calibration images to Model Garden's converter instead of its training set."""
    import tensorflow as tf

    images = np.stack(list(calibration_images(net)))
    batches = tf.data.Dataset.from_tensor_slices((images[:, None], images[:, 0, 0, 0]))
    return SimpleNamespace(build_inputs=lambda params: batches)


def calibration_images(net: Net) -> Iterator[np.ndarray]:
    """Yield scenes with digits, preprocessed as for evaluation: `[side, side, 3]`."""
    from spinenet_tf.data.formats.digits import digits
    from spinenet_tf.data.input.pipeline import evaluation_batches

    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        dataset = digits(folder, "train", CALIBRATION_IMAGES, size=(480, 640))
        for images, _ in evaluation_batches(dataset, (net.side, net.side), CALIBRATION_IMAGES).as_numpy_iterator():
            yield from images


def load_saved_model(folder: Path, images: np.ndarray) -> Callable[[], dict[str, Any]]:
    """Return a function that calls a SavedModel of either side on images and returns its flat outputs."""
    import tensorflow as tf

    model = tf.saved_model.load(str(folder / SAVED_MODEL))
    signature = model.signatures["raw" if "raw" in model.signatures else "serving_default"]
    name, given = next(iter(signature.structured_input_signature[1])), tf.constant(images)

    def call():
        outputs = model.signatures and signature(**{name: given})  # the model owns the weights, so keep a reference
        return {key: value.numpy() for key, value in outputs.items()}

    return call


def load_tflite(path: Path, images: np.ndarray, threads: int) -> Callable[[], list[np.ndarray]]:
    """Return a function that calls a TFLite file of either side on images and returns its outputs."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    targets = [output["index"] for output in interpreter.get_output_details()]

    def call():
        interpreter.set_tensor(source, images)
        interpreter.invoke()
        return [interpreter.get_tensor(target) for target in targets]

    return call


def _digest() -> str:
    found = hashlib.sha256()
    for pattern in _SOURCES:
        for path in sorted(Path().glob(pattern)):
            found.update(path.read_bytes())
    return found.hexdigest()[:16]
