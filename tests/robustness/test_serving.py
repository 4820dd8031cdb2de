"""Test that a loaded model answers any input with numbers or an error message, and keeps working."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pngs import png

from spinenet_tf.export import TFLiteModel
from spinenet_tf.inference.loading import load
from spinenet_tf.inference.naming import flatten

SIDE = 64  # of the networks' input
NORMALIZED = np.random.default_rng(0).standard_normal((2, SIDE, SIDE, 3), "float32")
PIXELS = np.random.default_rng(1).integers(0, 256, (2, 50, 90, 3), np.uint8)


def spoilt(value: float) -> np.ndarray:
    images = NORMALIZED.copy()
    images[1, 3, 5, 2] = value
    return images


# Of each, whether an answer may come.
TENSORS = {
    "rank 1": (NORMALIZED[0, 0, 0], False),
    "rank 3": (NORMALIZED[0], False),
    "rank 5": (NORMALIZED[None], False),
    "half the height": (NORMALIZED[:, ::2], False),
    "one pixel more": (np.pad(NORMALIZED, ((0, 0), (0, 0), (0, 1), (0, 0))), False),
    "one channel": (NORMALIZED[..., :1], False),
    "four channels": (np.zeros((2, SIDE, SIDE, 4), "float32"), False),
    "channels first": (NORMALIZED.transpose(0, 3, 1, 2), False),
    "no image": (NORMALIZED[:0], False),
    "nothing at all": (np.zeros((0, 0, 0, 0), "float32"), False),
    "pixels": (NORMALIZED.astype("uint8"), False),
    "int64": (NORMALIZED.astype("int64"), False),
    "truth values": (NORMALIZED > 0, False),
    "complex numbers": (NORMALIZED.astype("complex64"), False),
    "strings": (np.array(["a", "b"]), False),
    "one NaN": (spoilt(np.nan), False),
    "all NaN": (np.full_like(NORMALIZED, np.nan), False),
    "infinity": (spoilt(np.inf), False),
    "minus infinity": (spoilt(-np.inf), False),
    "the largest float32": (spoilt(np.finfo("float32").max), False),
    "huge values": (NORMALIZED * np.float32(1e20), False),
    "large values": (NORMALIZED * np.float32(1e5), True),
    "the smallest float32": (np.full_like(NORMALIZED, np.finfo("float32").smallest_subnormal), True),
    "reversed rows": (NORMALIZED[:, ::-1], True),
    "Fortran's order": (np.asfortranarray(NORMALIZED), True),
    "float64": (NORMALIZED.astype("float64"), True),
}
# What Python takes and a tensor cannot be.
OBJECTS = {
    "None": (None, False),
    "rows of different lengths": ([[1.0], [1.0, 2.0]], False),
    "a list": (NORMALIZED.tolist(), True),
    "an object": (np.array([object()]), False),
}
IMAGES = {
    "rank 3": (PIXELS[0], False),
    "rank 5": (PIXELS[None], False),
    "gray": (PIXELS[..., :1], False),
    "four channels": (np.zeros((2, 8, 8, 4), np.uint8), False),
    "no image": (PIXELS[:0], False),
    "no rows": (PIXELS[:, :0], False),
    "no columns": (PIXELS[:, :, :0], False),
    "float32": (PIXELS.astype("float32"), False),
    "int64": (PIXELS.astype("int64"), False),
    "one pixel": (PIXELS[:, :1, :1], True),
    "one row": (PIXELS[:, :1], True),
    "one long column": (np.zeros((1, 20_000, 1, 3), np.uint8), True),
    "every second pixel backwards": (PIXELS[:, ::-2, ::-2], True),
}


def encode(image: np.ndarray, format: str, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).convert(mode).save(buffer, format)
    return buffer.getvalue()


def claiming_jpeg(side: int) -> bytes:
    """Return a JPEG whose header claims `side` x `side` pixels."""
    whole = encode(PIXELS[0], "JPEG")
    sizes = whole.index(b"\xff\xc0") + 5
    return whole[:sizes] + struct.pack(">HH", side, side) + whole[sizes + 4 :]


JPEG, PNG = encode(PIXELS[0], "JPEG"), encode(PIXELS[0], "PNG")
FILES = {
    "no file": ([], False),
    "an empty file": ([b""], False),
    "junk": ([b"junk" * 99], False),
    "one letter": ([b"\xff"], False),
    "a truncated JPEG": ([JPEG[: len(JPEG) // 2]], False),
    "a JPEG's header": ([JPEG[:100]], False),
    "a truncated PNG": ([PNG[: len(PNG) // 2]], False),
    "a PNG's first bytes": ([PNG[:20]], False),
    "a GIF": ([encode(PIXELS[0], "GIF")], False),
    "a BMP": ([encode(PIXELS[0], "BMP")], False),
    "one bad among good": ([JPEG, PNG[:-50], PNG], False),
    "a PNG of 2.5 billion pixels": ([png(50_000, 50_000)], False),
    "a PNG of the largest sides": ([png(2**32 - 1, 2**32 - 1)], False),
    "a PNG without pixels": ([png(0, 0)], False),
    "a JPEG of 4 billion pixels": ([claiming_jpeg(65_000)], False),
    "rank 2": ([[JPEG], [PNG]], False),
    "numbers": ([1, 2], False),
    "gray": ([encode(PIXELS[0], "JPEG", "L"), encode(PIXELS[0], "PNG", "L")], True),
    "CMYK": ([encode(PIXELS[0], "JPEG", "CMYK")], True),
    "a palette": ([encode(PIXELS[0], "PNG", "P")], True),
    "alpha": ([encode(PIXELS[0], "PNG", "RGBA")], True),
    "16 bits": ([encode(PIXELS[0], "PNG", "I;16")], True),
}


@pytest.fixture(scope="module")
def model(tiny_saved_model):
    """Return the SavedModel as loaded by plain TensorFlow."""
    return tf.saved_model.load(str(tiny_saved_model))


@pytest.fixture(scope="module")
def served(model) -> Callable[[str], Callable[[Any], Mapping[str, np.ndarray]]]:
    """Return the runner of one of the model's signatures."""

    def runner(name: str) -> Callable[[Any], Mapping[str, np.ndarray]]:
        def run(images):
            return {name: x.numpy() for name, x in model.signatures[name](images=tf.constant(images)).items()}

        return run

    return runner


def same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    return found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in expected)


def assert_goes_on(run: Callable[[Any], Mapping], cases: Mapping[str, tuple[Any, bool]], good: Any, error: type) -> int:
    """Pass each case to the model, followed by a good one; return the number of cases."""
    expected = run(good)
    for name, (given, answers) in cases.items():
        if answers:
            assert all(np.isfinite(x).all() for x in flatten(run(given)).values()), name
        else:
            with pytest.raises(error, match="Received:" if error is ValueError else None):
                run(given)
        assert same(flatten(run(good)), flatten(expected)), f"after {name}"
    return len(cases)


@pytest.mark.parametrize("signature", ["serve", "raw", "serving_default"])
def test_a_saved_model_takes_tensors_of_any_kind(signature, served, promise) -> None:
    cases = {name: case for name, case in TENSORS.items() if name != "float64"}
    cases["float64"] = (NORMALIZED.astype("float64"), False)
    tried = assert_goes_on(served(signature), cases, NORMALIZED, tf.errors.InvalidArgumentError)
    promise("Serving: a SavedModel returns finite numbers or an error, and continues to work", cases=tried)


def test_a_saved_model_takes_images_of_any_kind(served, promise) -> None:
    tried = assert_goes_on(served("serve_image"), IMAGES, PIXELS, tf.errors.InvalidArgumentError)
    promise("Serving: a SavedModel returns finite numbers or an error, and continues to work", cases=tried)


def test_a_saved_model_takes_files_of_any_kind(served, promise) -> None:
    run = served("serve_bytes")
    tried = assert_goes_on(
        lambda files: run(files or tf.constant([], tf.string)), FILES, [JPEG, PNG], tf.errors.InvalidArgumentError
    )
    promise("Serving: a SavedModel returns finite numbers or an error, and continues to work", cases=tried)


@pytest.mark.parametrize("method", ["predict", "raw"])
def test_a_tflite_file_takes_arrays_of_any_kind(method, tiny_tflite, promise) -> None:
    run = getattr(TFLiteModel(tiny_tflite), method)
    tried = assert_goes_on(run, TENSORS | OBJECTS, NORMALIZED, ValueError)
    promise("Serving: a TFLite file returns finite numbers or an error, and continues to work", cases=tried)


@pytest.mark.parametrize("kind", ["run", "tflite", "saved_model"])
def test_a_predictor_takes_anything(kind, tiny_run, tiny_tflite, tiny_saved_model, tiny_model, promise) -> None:
    predictor = load({"run": tiny_run, "tflite": tiny_tflite, "saved_model": tiny_saved_model}[kind])
    tried = assert_goes_on(predictor.predict, TENSORS | OBJECTS, NORMALIZED, ValueError)

    def detect(image: Any) -> dict[str, np.ndarray]:
        found = predictor(image)
        return {"boxes": found.boxes, "scores": found.scores, "classes": found.classes}

    # It takes one image, not a batch.
    singles = {name: (given[0] if len(given) else given, answers) for name, (given, answers) in IMAGES.items()}
    singles |= {"rank 3": (PIXELS, False), "None": (None, False), "a list": (PIXELS[0].tolist(), False)}
    tried += assert_goes_on(detect, singles, PIXELS[0], ValueError)
    promise("Serving: a predictor returns finite numbers or an error, and continues to work", cases=tried)


def test_a_bomb_costs_no_memory(tiny_saved_model, promise) -> None:
    """In a separate process with plain TensorFlow, memory for a claimed size is never allocated."""
    script = """
import resource, sys
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
files = [bytes.fromhex(line) for line in sys.stdin.read().split()]
model.signatures["serve_bytes"](images=tf.constant(files[:1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for bomb in files[1:]:
    try:
        model.signatures["serve_bytes"](images=tf.constant([bomb]))
    except tf.errors.InvalidArgumentError as error:
        assert "An image must have 1 to 64,000,000 pixels" in str(error), error
    else:
        sys.exit("it was decoded")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    files = [
        JPEG,
        png(8_001, 8_001),
        png(50_000, 50_000),
        claiming_jpeg(8_001),
        claiming_jpeg(65_500),
    ]
    lines = "\n".join(file.hex() for file in files)
    arguments = [sys.executable, "-c", script, str(tiny_saved_model)]
    done = subprocess.run(arguments, input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 100, "MB"
    promise("Serving: a file that claims too many pixels is refused before it is decoded", cases=len(files) - 1)


@pytest.mark.parametrize("kind", ["serve", "serve_image", "serve_bytes", "tflite", "run"])
def test_sixteen_threads_get_the_answers_of_one(kind, served, tiny_run, tiny_tflite, tiny_model, promise) -> None:
    """This includes concurrent first calls of a predictor, which trigger lazy initialization."""
    random, threads, calls = np.random.default_rng(2), 16, 8
    if kind in ("serve", "tflite", "run"):
        given = list(random.standard_normal((threads, 1, SIDE, SIDE, 3), "float32"))
    else:
        given = list(random.integers(0, 256, (threads, 1, 40, 70, 3), np.uint8))
    if kind == "serve_bytes":
        given = [[encode(image[0], "PNG")] for image in given]
    paths = {"run": tiny_run, "tflite": tiny_tflite}
    run, alone = (load(paths[kind]).predict if kind in paths else served(kind) for _ in range(2))
    together = threading.Barrier(threads)

    def call(images: Any) -> list[Mapping[str, Any]]:
        together.wait(60)
        return [run(images) for _ in range(calls)]

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(call, given))
    for images, answers in zip(given, found, strict=True):
        expected = alone(images)
        assert all(same(answer, expected) for answer in answers)
    assert not all(same(found[0][0], answers[0]) for answers in found[1:]), "each thread had an image of its own"
    promise("Serving: 16 threads get the same answers as a single thread", cases=threads * calls)
