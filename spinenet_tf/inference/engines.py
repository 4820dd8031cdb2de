"""Every engine behind one call: Keras, SavedModel, LiteRT and ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf._files import native_output
from spinenet_tf._files.size import size_of
from spinenet_tf.heads.detector import DetectionModel
from spinenet_tf.inference.interpreter import open_interpreter
from spinenet_tf.inference.keras_model import image_shape
from spinenet_tf.inference.litert import SUFFIX, TFLiteModel
from spinenet_tf.inference.metadata import Metadata, read_metadata
from spinenet_tf.inference.naming import DEFAULT
from spinenet_tf.training.run import Run

RAW = "raw"  # the signature of a SavedModel without decoding
KERAS, FUNCTION, SAVED_MODEL, TFLITE, ONNX = (
    "Keras predict",
    "Keras tf.function",
    "SavedModel",
    "TFLite",
    "ONNX Runtime",
)
_ONNX_TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8"}


@dataclass(frozen=True)
class Setup:
    """One way to run a model: an engine, a file, threads; plain values, so that another process can load it too."""

    engine: str  # one of the names above
    path: Path  # the artifact, or for Keras the folder of the run
    threads: int | None  # None: TensorFlow chooses, once for all models of a process
    title: str  # what people call the model

    @property
    def file_bytes(self) -> int:
        """What lies on disk: the artifact, or a run's weights."""
        return size_of(Run(self.path).weights_path if self.engine in (KERAS, FUNCTION) else self.path)


@dataclass(frozen=True)
class Runner:
    """A loaded model: `call` takes what `example` returns."""

    call: Callable[[np.ndarray], Any]
    shape: tuple[int, ...]  # [1, H, W, 3] for a model of this package
    dtype: str
    detects: bool  # whether it gives detections, not raw outputs

    def example(self) -> np.ndarray:
        """Return noise: normalized where it is float, as pixels where it is not."""
        random, kind = np.random.default_rng(0), np.dtype(self.dtype)
        if kind.kind == "f":
            return random.standard_normal(self.shape, "float32").astype(kind)
        limits = np.iinfo(kind)
        return random.integers(limits.min, limits.max, self.shape, kind, endpoint=True)

    def on_example(self) -> Callable[[], Any]:
        """Return the call with its example, to be made again and again."""
        return partial(self.call, self.example())


def engine_of(path: Path) -> str | None:
    """Tell what runs the file or folder; None for all but artifacts."""
    if (path / "saved_model.pb").is_file():
        return SAVED_MODEL
    return {SUFFIX: TFLITE, ".onnx": ONNX}.get(path.suffix) if path.is_file() else None


def has_onnx_runtime() -> bool:
    """Return whether the package `onnxruntime` is installed."""
    return find_spec("onnxruntime") is not None


def load(setup: Setup, raw: bool = False, detector: DetectionModel | None = None) -> Runner:
    """Load a model to detect, or with `raw` for the network's outputs alone, without decoding.

    What carries no metadata of this package does what it does in both cases. `detector` spares reading the run again.

    Raises:
        RunError: the folder is not a run with weights.
        ValueError: the artifact does not load, or takes something else than one image of one size; Keras runs on
            another backend than TensorFlow; or a package is missing.
    """
    if setup.engine in (KERAS, FUNCTION):
        return _load_keras(setup, raw, Run(setup.path).load()[0] if detector is None else detector)
    loader = {SAVED_MODEL: _load_saved_model, TFLITE: _load_tflite, ONNX: _load_onnx}[setup.engine]
    with native_output.hidden():
        runner = loader(setup, raw)
        try:
            runner.on_example()()  # LiteRT tells of its delegate only when it runs
        except Exception as error:  # ONNX Runtime's and TensorFlow's have no base of their own
            raise ValueError(f"{setup.path} fails on an image of its own size: {error}") from error
    return runner


def _load_keras(setup: Setup, raw: bool, detector: DetectionModel) -> Runner:
    import tensorflow as tf

    shape = (1, *image_shape(detector))
    if setup.engine == KERAS:
        return Runner(detector.predict_on_batch, shape, "float32", detects=True)

    @tf.function(autograph=False)
    def run(images):
        outputs = detector(images, training=False)
        return outputs if raw else detector.detect(images, outputs)

    return Runner(lambda images: _to_numpy(run(tf.constant(images))), shape, "float32", not raw)


def _load_saved_model(setup: Setup, raw: bool) -> Runner:
    import tensorflow as tf

    try:
        model = tf.saved_model.load(str(setup.path))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ValueError(f"{setup.path} is not a SavedModel that TensorFlow loads: {error}") from error
    name = RAW if raw and RAW in model.signatures else DEFAULT
    if name not in model.signatures:
        raise ValueError(f"{setup.path} has no signature {name!r}. Received: {sorted(model.signatures)}")
    signature = model.signatures[name]
    specs = signature.structured_input_signature[1]
    key = _only(setup.path, list(specs))
    sides = specs[key].shape.as_list() if specs[key].shape.rank else []
    shape = _image_shape(setup.path, sides, metadata_of(setup.path))

    def call(images):
        # By way of the model: it owns the weights, and a signature does not keep it alive.
        return _to_numpy(model.signatures[name](**{key: tf.constant(images)}))

    detects = "num_detections" in signature.structured_outputs
    return Runner(call, shape, _image_type(setup.path, specs[key].dtype.name), detects)


def _load_tflite(setup: Setup, raw: bool) -> Runner:
    metadata = metadata_of(setup.path)
    if metadata is None:
        return _load_any_tflite(setup)
    model, detects = TFLiteModel(setup.path, setup.threads), metadata.task == "detection" and not raw
    return Runner(model.predict if detects else model.raw, (1, *model.image_size, 3), "float32", detects)


def _load_any_tflite(setup: Setup) -> Runner:
    interpreter = open_interpreter(setup.path, num_threads=setup.threads)
    source = _only(setup.path, interpreter.get_input_details())
    targets = [output["index"] for output in interpreter.get_output_details()]

    def call(images):
        interpreter.set_tensor(source["index"], images)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in targets]

    shape = _image_shape(setup.path, source["shape_signature"].tolist() or source["shape"].tolist())
    return Runner(call, shape, _image_type(setup.path, np.dtype(source["dtype"]).name), detects=False)


def _load_onnx(setup: Setup, raw: bool) -> Runner:
    if not has_onnx_runtime():
        raise ValueError(f"An ONNX file needs onnxruntime (pip install onnxruntime). Received: {setup.path}")
    onnxruntime = import_module("onnxruntime")  # an extra, which type checkers need not find
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = setup.threads or 0
    try:
        session = onnxruntime.InferenceSession(str(setup.path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base of their own
        raise ValueError(f"{setup.path} is not an ONNX file that ONNX Runtime runs: {error}") from error
    source = _only(setup.path, session.get_inputs())
    shape = _image_shape(setup.path, [side if isinstance(side, int) else None for side in source.shape])
    dtype = _image_type(setup.path, _ONNX_TYPES.get(source.type, source.type))
    return Runner(lambda images: session.run(None, {source.name: images}), shape, dtype, detects=False)


def metadata_of(path: Path) -> Metadata | None:
    """Return the metadata of an artifact, or None of one that comes from elsewhere."""
    try:
        return read_metadata(path)
    except ValueError:
        return None


def _only(path: Path, inputs: Sequence) -> Any:
    if len(inputs) != 1:
        raise ValueError(f"A benchmark feeds one image. Received: {path} with {len(inputs)} inputs")
    return inputs[0]


def _image_shape(path: Path, sides: Sequence[int | None], metadata: Metadata | None = None) -> tuple[int, ...]:
    """Return the shape of one image; a batch of any size is 1, and the image's size may be in the metadata."""
    known = (1, *metadata.image_size, 3) if metadata else (1, None, None, None)
    if len(sides) == 4:
        shape = [given if given and given > 0 else other for given, other in zip(sides, known, strict=True)]
        if None not in shape:
            return tuple(side for side in shape if side)
    raise ValueError(f"{path} does not take images of one size. Received: shape={list(sides)}")


def _image_type(path: Path, dtype: str) -> str:
    if dtype not in ("float32", "float16", "uint8", "int8"):
        raise ValueError(f"{path} does not take images of floats or bytes. Received: dtype={dtype}")
    return dtype


def _to_numpy(outputs: Any) -> Any:
    """Wait for the outputs, as their reader would have to."""
    import tensorflow as tf

    return tf.nest.map_structure(lambda x: x.numpy(), outputs)
