"""Make tests quiet and repeatable on the backend in `KERAS_BACKEND`, and share models and files."""

from __future__ import annotations

import gc
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import hypothesis
import numpy as np
import pytest

# Set before any test module imports TensorFlow or matplotlib, which read them only once.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
# By default Python looks for garbage each 700 new objects, and a model with its graphs has millions.
gc.set_threshold(50_000, 20, 20)

# No deadline, because the first call of a tf.function traces it.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")


def pytest_collection_finish() -> None:
    """Keep what was imported out of the search for garbage, since it lives until the end."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _tensorflow_seed() -> None:
    """Seed TensorFlow once."""
    import tensorflow as tf

    tf.random.set_seed(0)


@pytest.fixture(autouse=True)
def _seed(request: pytest.FixtureRequest) -> None:
    """Seed Python, NumPy and Keras, so that a test draws the same numbers alone and in the suite.

    TensorFlow would also forget its compiled functions, and each test would compile again what all share.
    """
    import keras

    if request.node.get_closest_marker("unseeded"):
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tensorflow.random.set_seed", lambda seed: None)
        keras.utils.set_random_seed(0)


@pytest.fixture(scope="module")
def eagerly() -> Iterator[None]:
    """Run TensorFlow's functions eagerly: for a few steps, tracing graphs takes ten times as long."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def images() -> Callable:
    """Return `images(height, width, batch=2)`: noise `[batch, height, width, 3]` float32."""

    def draw(height: int, width: int, batch: int = 2) -> np.ndarray:
        return np.random.default_rng(7).normal(size=(batch, height, width, 3)).astype("float32")

    return draw


@pytest.fixture(scope="session")
def randomize() -> Callable:
    """Return `randomize(model)`, which sets weights like those after training.

    Initial weights would hide faults: every BN is the identity, predictors are nearly zero, and some ReLUs are dead.
    """
    ranges = {"gamma": (0.5, 1.5), "moving_variance": (0.5, 1.5)}

    def draw(model, seed: int = 0):
        rng = np.random.default_rng(seed)
        for weight in model.weights:
            if weight.name in ranges:
                value = rng.uniform(*ranges[weight.name], weight.shape)
            elif len(weight.shape) == 1 and "seed" not in weight.name:
                value = rng.normal(0.0, 0.1, weight.shape)
            elif len(weight.shape) > 1:
                fan_in = math.prod(weight.shape[:-1] if weight.shape[-1] > 1 else weight.shape[:2])
                value = rng.normal(0.0, math.sqrt(2.0 / fan_in), weight.shape)
            else:
                continue
            weight.assign(value)
        return model

    return draw


@pytest.fixture(scope="session")
def tiny_spec():
    """Return a custom graph that builds in half a second: stem 0, 1; blocks 2 to 7; outputs P3 to P5.

    No node reads node 2, so the rule for unused blocks adds it to node 5.
    """
    from spinenet_tf import ArchitectureSpec, BlockSpec

    blocks = (
        BlockSpec(3, "bottleneck", (0, 1)),
        BlockSpec(5, "residual", (0, 1)),
        BlockSpec(4, "bottleneck", (1, 3)),
        BlockSpec(3, "bottleneck", (1, 4), is_output=True),
        BlockSpec(4, "residual", (3, 5), is_output=True),
        BlockSpec(5, "bottleneck", (4, 6), is_output=True),
    )
    return ArchitectureSpec("tiny", (2, 2), blocks, {2: 4, 3: 4, 4: 8, 5: 8})


@pytest.fixture(scope="session")
def three_blocks():
    """Return a graph with half the layers of `tiny_spec`, for tests that are not about graphs; outputs P3 to P5.

    It has blocks of two kinds, and resamples up and down.
    """
    from spinenet_tf import ArchitectureSpec, BlockSpec

    blocks = (
        BlockSpec(5, "residual", (0, 1), is_output=True),
        BlockSpec(3, "bottleneck", (1, 2), is_output=True),
        BlockSpec(4, "residual", (2, 3), is_output=True),
    )
    return ArchitectureSpec("three_blocks", (2, 2), blocks, {2: 4, 3: 4, 4: 8, 5: 8})


@pytest.fixture(scope="session")
def settle(randomize) -> Callable:
    """Return `settle(model)`, which sets random weights, and each BN's statistics to those of its input.

    Training converges to such statistics; here they are of other crops of `checkpoints.photograph`. Models of 256 px
    also have its padding. Gates differ between images, as in trained networks.
    """
    from spinenet_tf._fast.normalization import BatchNorm
    from spinenet_tf.checkpoints.photograph import crops

    def run(model):
        randomize(model)
        for weight in model.weights:
            if weight.path.endswith("se_excite/kernel"):
                weight.assign(weight * 3.0)
        net = getattr(model, "backbone", model)
        norms = [layer for layer in net.layers if isinstance(layer, BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 0.0
        net(crops(8, net.input_shape[1], seed=5), training=True)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        return model

    return run


@pytest.fixture(scope="session")
def as_garden() -> Callable[[str], str]:
    """Return a function that renames variables as Model Garden does: `conv2d:3` to `conv2d_103`, BN to synchronized."""

    def rename(canonical: str) -> str:
        numbered = re.sub(r"(\w+):(\d+)", lambda found: f"{found[1]}_{100 + int(found[2])}", canonical)
        return re.sub(r"(^|/)norm_", r"\1sync_batch_normalization_", numbered)

    return rename


@pytest.fixture(scope="session")
def as_mobile() -> Callable:
    """Return `as_mobile(spec)`: the graph as a mobile network, with depthwise convs and MBConv blocks."""

    def change(spec):
        blocks = tuple(replace(block, kind="mbconv") for block in spec.blocks)
        parts = {"stem_conv": "mobile", "stem_block": "mbconv", "resampling": "depthwise"}
        return replace(spec, name="mobile", stem=(1, 2), blocks=blocks, widths=dict.fromkeys(range(6), 4), **parts)

    return change


@pytest.fixture(scope="session")
def tiny_mobile_spec(tiny_spec, as_mobile):
    """Return the graph of `tiny_spec` as a mobile network."""
    return as_mobile(tiny_spec)


@pytest.fixture(scope="session")
def tiny_backbone(tiny_spec, randomize):
    """Return the backbone of `tiny_spec` at 64 px with random weights. It is shared: do not change it."""
    from spinenet_tf import backbone

    return randomize(backbone(tiny_spec, (64, 64, 3), max_level=5, endpoint=8))


@pytest.fixture(scope="session")
def summary_rows():
    """Return the rows of `summarize()` by model name, computed once for all models."""
    from spinenet_tf.cli.family_costs import summarize

    return {row["name"]: row for row in summarize()}


@pytest.fixture(scope="session")
def tiny_row(three_blocks):
    """Return a row of the model table for `three_blocks`."""
    from spinenet_tf.nets.family import Variant

    heads = {"retinanet": {"head_depth": 1, "head_width": 8}}
    return Variant(three_blocks, 64, {"endpoint": 8}, heads)


@pytest.fixture
def tiny_model(monkeypatch, tiny_row) -> str:
    """Add `tiny_row` to the model table for one test, and return its name, which configs and runs can use."""
    from spinenet_tf.nets.family import VARIANTS

    monkeypatch.setitem(VARIANTS, "tiny", tiny_row)
    return "tiny"


@pytest.fixture(scope="session")
def least_row():
    """Return a row for a net of one block, for tests of the training loop: most of their time goes into building it."""
    from spinenet_tf import ArchitectureSpec, BlockSpec
    from spinenet_tf.nets.family import Variant

    blocks = (BlockSpec(3, "residual", (0, 1), is_output=True),)
    heads = {"retinanet": {"head_depth": 1, "head_width": 8}}
    return Variant(ArchitectureSpec("one_block", (2, 2), blocks, {2: 4, 3: 4}), 64, {"endpoint": 8}, heads)


@pytest.fixture
def least_model(monkeypatch, least_row) -> None:
    """Let "tiny" be `least_row` for one test. It outputs P3 alone: configs need the override `max_level: 3`."""
    from spinenet_tf.nets.family import VARIANTS

    monkeypatch.setitem(VARIANTS, "tiny", least_row)


@pytest.fixture(scope="session")
def write_config() -> Callable:
    """Return `write_config(folder)`, which writes a config that trains "tiny" on digits for two epochs of two steps."""

    def write(folder: Path) -> Path:
        import yaml

        digits = str(folder / "data")
        config = {
            # Initial weights score 0.01, and tests need detections.
            "model": {
                "name": "tiny",
                "image_size": [64, 64],
                "overrides": {"max_level": 5, "activation": "relu6", "score_threshold": 0.001},
            },
            "data": {
                "train": {"digits": digits, "scenes": 8, "classes": 1},
                "val": {"digits": digits, "scenes": 4, "classes": 1},
            },
            "optimizer": {
                "name": "adam",
                "learning_rate": 0.0064,
                "decay_epochs": [],
                "warmup_steps": 1,
                "warmup_from": 0.0067,
            },
            "batch_size": 4,
            "epochs": 2,
        }
        path = folder / "tiny.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    return write


@pytest.fixture(scope="session")
def succeed(tiny_row) -> Callable:
    """Return `succeed(*arguments)`, which runs the command line with the model "tiny" and expects exit code 0."""

    def run(*arguments: object) -> None:
        from spinenet_tf import cli
        from spinenet_tf.nets.family import VARIANTS

        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(VARIANTS, "tiny", tiny_row)
            patch.setattr(sys, "argv", ["spinenet-tf", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                cli.main()
        assert not ended.value.code

    return run


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory, succeed, write_config) -> Path:
    """Return the folder of a run, trained once. It is read-only; tests that load it need `tiny_model`."""
    folder = tmp_path_factory.mktemp("tiny")
    succeed("train", write_config(folder), "--run", folder / "run")
    return folder / "run"


@pytest.fixture(scope="session")
def tiny_tflite(tmp_path_factory, succeed, tiny_run) -> Path:
    """Return the int8 file of `tiny_run`, exported once; it is read-only."""
    path = tmp_path_factory.mktemp("tflite") / "tiny.tflite"
    succeed("export", tiny_run, "--format", "tflite", "--quantization", "int8", "--output", path)
    return path


@pytest.fixture(scope="session")
def tiny_saved_model(tmp_path_factory, succeed, tiny_run) -> Path:
    """Return the SavedModel of `tiny_run`, exported once; it is read-only."""
    path = tmp_path_factory.mktemp("saved") / "tiny"
    succeed("export", tiny_run, "--format", "saved_model", "--output", path)
    return path


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory, succeed, tiny_run) -> Path:
    """Return the ONNX file of `tiny_run`, exported once; it is read-only."""
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    succeed("export", tiny_run, "--format", "onnx", "--output", path)
    return path


@pytest.fixture(scope="session")
def foreign(tmp_path_factory) -> dict[str, Path]:
    """Return a TFLite file and a SavedModel of other origin, which return the mean color of an image."""
    import tensorflow as tf

    from spinenet_tf.inference.artifacts import SAVED_MODEL, TFLITE

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 16, 3], tf.uint8, name="picture")])
    def mean(picture):
        return {"color": tf.reduce_mean(tf.cast(picture, tf.float32), [1, 2])}

    folder = tmp_path_factory.mktemp("foreign")
    module = tf.Module()
    module.mean = mean
    tf.saved_model.save(module, str(folder / "saved"), signatures=mean)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    (folder / "mean.tflite").write_bytes(converter.convert())
    return {SAVED_MODEL: folder / "saved", TFLITE: folder / "mean.tflite"}


@pytest.fixture(scope="session")
def jax_process(tmp_path_factory) -> dict[str, str]:
    """Return the environment variables of processes on JAX that compile each function once, without optimizations."""
    return {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("jax")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


@pytest.fixture
def python_ctrl_c() -> Iterator[None]:
    """Handle Ctrl-C as Python does, because a shell ignores it for tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def contents() -> Callable:
    """Return `contents(folder)`, which returns the bytes of every file by its path, to check that nothing changed."""

    def read(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return read
