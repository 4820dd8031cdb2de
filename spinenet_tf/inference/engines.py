"""One interface to all engines, for benchmarks: Keras, SavedModel, LiteRT, ONNX Runtime and OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf._files import native_output
from spinenet_tf._files.size import size_of
from spinenet_tf.heads.detector import DetectionModel
from spinenet_tf.inference.artifacts import ONNX, OPENVINO, SAVED_MODEL, TFLITE, bytes_of, open_artifact
from spinenet_tf.inference.interpreter import open_interpreter
from spinenet_tf.inference.keras_model import check_backend, image_shape
from spinenet_tf.inference.metadata import Metadata, read_metadata
from spinenet_tf.inference.naming import DEFAULT
from spinenet_tf.inference.onnxfile import open_session
from spinenet_tf.inference.openvinofile import compile_network
from spinenet_tf.inference.savedmodel import open_saved_model, signature_runner
from spinenet_tf.training.run import Run

KERAS, FUNCTION = "Keras predict", "Keras tf.function"
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
        return size_of(Run(self.path).weights_path) if self.engine in (KERAS, FUNCTION) else bytes_of(self.path)


@dataclass(frozen=True)
class Runner:
    """A loaded model; `example` returns an input for `call`."""

    call: Callable[[np.ndarray], Any]
    shape: tuple[int, ...]  # of the input: [images per call, H, W, 3] for a model of this package
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


def load(setup: Setup, raw: bool = False, detector: DetectionModel | None = None) -> Runner:
    """Load a model that returns detections, or with `raw`, the network's outputs without decoding.

    `raw` has no effect on an artifact without metadata of this package. `detector` is the run's detector if it is
    loaded already.

    Raises:
        RunError: the folder is not a run with weights.
        ImportError: the package that runs the format is not installed.
        ValueError: the artifact does not load, or its input is no image of fixed size; or Keras does not run on
            TensorFlow.
    """
    if setup.engine in (KERAS, FUNCTION):
        return _load_keras(setup, raw, Run(setup.path).load_detector() if detector is None else detector)
    metadata = metadata_of(setup.path)
    with native_output.hidden():
        runner = _load_other(setup) if metadata is None else _load_own(setup, metadata, raw)
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


def _load_own(setup: Setup, metadata: Metadata, raw: bool) -> Runner:
    model, detects = open_artifact(setup.path, setup.threads, raw=raw), metadata.detects and not raw
    shape = (model.batch_size or 1, *model.image_size, 3)
    return Runner(model.predict if detects else model.raw, shape, "float32", detects)


def _load_other(setup: Setup) -> Runner:
    """Load an artifact without metadata of this package."""
    others = {SAVED_MODEL: _other_saved_model, TFLITE: _other_tflite, ONNX: _other_onnx, OPENVINO: _other_openvino}
    return others[setup.engine](setup)


def _other_saved_model(setup: Setup) -> Runner:
    model = open_saved_model(setup.path)
    if DEFAULT not in model.signatures:
        raise ValueError(f"{setup.path} has no signature {DEFAULT!r}. Received: {sorted(model.signatures)}")
    signature = model.signatures[DEFAULT]
    specs = signature.structured_input_signature[1]
    key = _only(setup.path, list(specs))
    shape = _image_shape(setup.path, specs[key].shape.as_list() if specs[key].shape.rank else [])
    dtype = _image_type(setup.path, specs[key].dtype.name)
    detects = "num_detections" in signature.structured_outputs
    return Runner(signature_runner(model, DEFAULT, key), shape, dtype, detects)


def _other_tflite(setup: Setup) -> Runner:
    interpreter = open_interpreter(setup.path, num_threads=setup.threads)
    source = _only(setup.path, interpreter.get_input_details())
    targets = [output["index"] for output in interpreter.get_output_details()]

    def call(images):
        interpreter.set_tensor(source["index"], images)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in targets]

    shape = _image_shape(setup.path, source["shape_signature"].tolist() or source["shape"].tolist())
    return Runner(call, shape, _image_type(setup.path, np.dtype(source["dtype"]).name), detects=False)


def _other_onnx(setup: Setup) -> Runner:
    session = open_session(setup.path, setup.threads)
    source = _only(setup.path, session.get_inputs())
    shape = _image_shape(setup.path, [side if isinstance(side, int) else None for side in source.shape])
    dtype = _image_type(setup.path, _ONNX_TYPES.get(source.type, source.type))
    return Runner(lambda images: session.run(None, {source.name: images}), shape, dtype, detects=False)


def _other_openvino(setup: Setup) -> Runner:
    network = compile_network(setup.path, setup.threads)
    source = _only(setup.path, network.inputs)
    shape = _image_shape(setup.path, [side.get_length() if side.is_static else None for side in source.partial_shape])
    dtype = _image_type(setup.path, np.dtype(source.element_type.to_dtype()).name)
    return Runner(lambda images: list(network([images]).values()), shape, dtype, detects=False)


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


def _image_shape(path: Path, sides: Sequence[int | None]) -> tuple[int, ...]:
    """Return the shape of the input, with batch size 1 if it is dynamic."""
    shape = [side if side and side > 0 else None for side in sides]
    if len(shape) == 4 and None not in shape[1:]:
        return tuple(side or 1 for side in shape)
    raise ValueError(f"The input of {path} is not an image of fixed size. Received: shape={list(sides)}")


def _image_type(path: Path, dtype: str) -> str:
    if dtype not in ("float32", "float16", "uint8", "int8"):
        raise ValueError(f"The input of {path} must be float32, float16, uint8 or int8. Received: dtype={dtype}")
    return dtype


def _to_numpy(outputs: Any) -> Any:
    """Return the outputs as NumPy arrays, which waits until they are computed."""
    import tensorflow as tf

    return tf.nest.map_structure(lambda x: x.numpy(), outputs)
