"""Small detectors whose outputs are of order one, exported once for all tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import spinenet_tf
from spinenet_tf import ArchitectureSpec, BlockSpec, export
from spinenet_tf.export.litert.tflite_file import _write_outputs
from spinenet_tf.inference.metadata import read_metadata

SHAPE = (64, 128, 3)  # not square: a swap of the sides shows; the sides of all levels divide each other
CLASS_NAMES = ("cat", "dog", "größer Vogel")
# Each kind of block, and resampling up and down by one and two levels; `test_family.py` exports the published graphs.
GRAPH = ArchitectureSpec(
    "small",
    (2, 2),
    (
        BlockSpec(5, "residual", (0, 1)),
        BlockSpec(3, "bottleneck", (1, 2), is_output=True),
        BlockSpec(4, "bottleneck", (2, 3), is_output=True),
        BlockSpec(5, "bottleneck", (3, 4), is_output=True),
        BlockSpec(6, "bottleneck", (4, 5), is_output=True),
        BlockSpec(7, "residual", (5, 6), is_output=True),
    ),
    {2: 64, 3: 128, 4: 256, 5: 256, 6: 256, 7: 256},
)


def stir(model: keras.Model) -> keras.Model:
    """Set weights and BN statistics so that every output depends on every layer."""
    random = np.random.default_rng(0)
    ranges = {"gamma": (0.7, 1.3), "moving_variance": (0.5, 1.5), "beta": (-0.2, 0.2), "moving_mean": (-0.2, 0.2)}
    for weight in model.weights:
        if weight.name in ranges:
            weight.assign(random.uniform(*ranges[weight.name], weight.shape))
        elif "predictor" in weight.path:
            weight.assign(random.normal(0.0, 0.3, weight.shape))
    return model


@pytest.fixture(scope="session")
def stirred() -> Callable:
    """Return `stirred(model)`: see `stir`."""
    return stir


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Two normalized images of `SHAPE`."""
    return np.random.default_rng(1).standard_normal((2, *SHAPE), "float32")


@pytest.fixture(scope="session")
def detector() -> keras.Model:
    keras.utils.set_random_seed(0)  # the fixture that seeds each test comes later
    small = {"width": 0.25, "endpoint": 32, "head_width": 32, "head_depth": 2, "activation": "relu6"}
    return stir(spinenet_tf.detector(GRAPH, 3, SHAPE, **small, score_threshold=0.3, max_detections=20))


@pytest.fixture(scope="session")
def classifier() -> keras.Model:
    return stir(spinenet_tf.classifier(GRAPH, 4, SHAPE, width=0.25, endpoint=16))


@pytest.fixture(scope="session")
def exported(detector, images, tmp_path_factory):
    """Return a function from a quantization to its artifact, exported once, since the converter leaks memory."""
    folder, artifacts = tmp_path_factory.mktemp("exported"), {}

    def get(quantization: str) -> export.Artifact:
        if quantization not in artifacts:
            path = folder / f"{quantization}.tflite"
            artifacts[quantization] = export.tflite(
                detector, path, quantization, calibration=[images], class_names=CLASS_NAMES
            )
        return artifacts[quantization]

    return get


@pytest.fixture(scope="session")
def files_by_kind(exported, tmp_path_factory) -> dict[str, Path]:
    """Return a float file for each kind of outputs but raw, all from one conversion of the raw part."""
    folder, raw = tmp_path_factory.mktemp("outputs"), exported("none").path
    content = raw.read_bytes()
    metadata, model = read_metadata(raw), content[: content.index(b"PK\x03\x04")]
    specs = {name: tf.TensorSpec(x["shape"], name=name) for name, x in metadata.outputs.items()}
    files = {kind: folder / f"{kind}.tflite" for kind in metadata.known_head()[0].outputs[1:]}
    for kind, path in files.items():
        _write_outputs(path, kind, model, metadata, specs)
    return files


@pytest.fixture(scope="session")
def classifier_file(classifier, tmp_path_factory) -> Path:
    """Return the float file of `classifier`."""
    path = tmp_path_factory.mktemp("classifier") / "model.tflite"
    return export.tflite(classifier, path, class_names=list("abcd")).path
