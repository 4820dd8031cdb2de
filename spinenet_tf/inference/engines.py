"""One interface to all engines: Keras, SavedModel, LiteRT and ONNX Runtime."""

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
from spinenet_tf.inference.keras_model import check_backend, image_shape
from spinenet_tf.inference.litert import SUFFIX, TFLiteModel
from spinenet_tf.inference.metadata import Metadata, read_metadata
from spinenet_tf.inference.naming import DEFAULT
from spinenet_tf.training.run import Run

RAW = "raw"  # the signature of a SavedModel without decoding
KERAS, FUNCTION = "Keras predict", "Keras tf.function"
SAVED_MODEL, TFLITE, ONNX = "SavedModel", "TFLite", "ONNX Runtime"
_ONNX_TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8"}


@dataclass(frozen=True)
class Setup:
    """A way to run a model: engine, file and threads, as plain values that another process can use."""

    engine: str  # one of the names above
    path: Path  # the artifact; for Keras, the run's folder
    threads: int | None  # None: TensorFlow chooses, once per process
    title: str  # display name of the model

    @property
    def file_bytes(self) -> int:
        """The size on disk of the artifact or of the run's weights."""
        return size_of(Run(self.path).weights_path if self.engine in (KERAS, FUNCTION) else self.path)


@dataclass(frozen=True)
class Runner:
    """A loaded model; `example` returns an input for `call`."""

    call: Callable[[np.ndarray], Any]
    shape: tuple[int, ...]  # [1, H, W, 3] for a model of this package
    dtype: str
    detects: bool  # whether it returns detections, not raw outputs

    def example(self) -> np.ndarray:
        """Return noise as input: normalized for float dtypes, pixels for integer dtypes."""
        random, kind = np.random.default_rng(0), np.dtype(self.dtype)
        if kind.kind == "f":
            return random.standard_normal(self.shape, "float32").astype(kind)
        limits = np.iinfo(kind)
        return random.integers(limits.min, limits.max, self.shape, kind, endpoint=True)

    def on_example(self) -> Callable[[], Any]:
        """Return a function without arguments that runs the model on the example."""
        return partial(self.call, self.example())


def engine_of(path: Path) -> str | None:
    """Return the engine that runs a file or folder; None if it is not an artifact."""
    if (path / "saved_model.pb").is_file():
        return SAVED_MODEL
    return {SUFFIX: TFLITE, ".onnx": ONNX}.get(path.suffix) if path.is_file() else None


def has_onnx_runtime() -> bool:
    """Return whether the package `onnxruntime` is installed."""
    return find_spec("onnxruntime") is not None


def load(setup: Setup, raw: bool = False, detector: DetectionModel | None = None) -> Runner:
    """Load a model that returns detections, or with `raw`, the network's outputs without decoding.

    `raw` has no effect on an artifact without metadata of this package. `detector` is the run's detector if it is
    loaded already.

    Raises:
        RunError: the folder is not a run with weights.
        ValueError: the artifact does not load, or its input is not one image of fixed size; Keras does not run on
            TensorFlow; or a package is missing.
    """
    if setup.engine in (KERAS, FUNCTION):
        return _load_keras(setup, raw, Run(setup.path).load()[0] if detector is None else detector)
    loader = {SAVED_MODEL: _load_saved_model, TFLITE: _load_tflite, ONNX: _load_onnx}[setup.engine]
    with native_output.hidden():
        runner = loader(setup, raw)
        try:
            runner.on_example()()  # LiteRT prints messages about its delegate when it first runs
        except Exception as error:  # errors of ONNX Runtime and TensorFlow have no common base class
            raise ValueError(f"{setup.path} fails on an image of its own size: {error}") from error
    return runner


def _load_keras(setup: Setup, raw: bool, detector: DetectionModel) -> Runner:
    check_backend()
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
        raise ValueError(f"TensorFlow cannot load {setup.path} as a SavedModel: {error}") from error
    name = RAW if raw and RAW in model.signatures else DEFAULT
    if name not in model.signatures:
        raise ValueError(f"{setup.path} has no signature {name!r}. Received: {sorted(model.signatures)}")
    signature = model.signatures[name]
    specs = signature.structured_input_signature[1]
    key = _only(setup.path, list(specs))
    sides = specs[key].shape.as_list() if specs[key].shape.rank else []
    shape = _image_shape(setup.path, sides, metadata_of(setup.path))

    def call(images):
        # Look up the signature in the model, to keep it alive: it owns the weights, and a signature does not.
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
        raise ValueError(f"ONNX files need onnxruntime (pip install onnxruntime). Received: {setup.path}")
    onnxruntime = import_module("onnxruntime")  # an extra, which may be missing when types are checked
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = setup.threads or 0
    try:
        session = onnxruntime.InferenceSession(str(setup.path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base class of their own
        raise ValueError(f"ONNX Runtime cannot load {setup.path}: {error}") from error
    source = _only(setup.path, session.get_inputs())
    shape = _image_shape(setup.path, [side if isinstance(side, int) else None for side in source.shape])
    dtype = _image_type(setup.path, _ONNX_TYPES.get(source.type, source.type))
    return Runner(lambda images: session.run(None, {source.name: images}), shape, dtype, detects=False)


def metadata_of(path: Path) -> Metadata | None:
    """Return the metadata of an artifact, or None if it has none of this package."""
    try:
        return read_metadata(path)
    except ValueError:
        return None


def _only(path: Path, inputs: Sequence) -> Any:
    if len(inputs) != 1:
        raise ValueError(f"A model must have one input. Received: {path} with {len(inputs)} inputs")
    return inputs[0]


def _image_shape(path: Path, sides: Sequence[int | None], metadata: Metadata | None = None) -> tuple[int, ...]:
    """Return the shape of the input, with batch size 1 if dynamic, and the metadata's image size if dynamic."""
    known = (1, *metadata.image_size, 3) if metadata else (1, None, None, None)
    if len(sides) == 4:
        shape = [given if given and given > 0 else other for given, other in zip(sides, known, strict=True)]
        if None not in shape:
            return tuple(side for side in shape if side)
    raise ValueError(f"The input of {path} is not an image of fixed size. Received: shape={list(sides)}")


def _image_type(path: Path, dtype: str) -> str:
    if dtype not in ("float32", "float16", "uint8", "int8"):
        raise ValueError(f"The input of {path} must be float32, float16, uint8 or int8. Received: dtype={dtype}")
    return dtype


def _to_numpy(outputs: Any) -> Any:
    """Return the outputs as NumPy arrays, which waits until they are computed."""
    import tensorflow as tf

    return tf.nest.map_structure(lambda x: x.numpy(), outputs)
