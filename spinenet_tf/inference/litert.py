"""Run a .tflite file of this package on the CPU with LiteRT."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import keras
import numpy as np

from spinenet_tf._files import native_output
from spinenet_tf.inference.checks import check_images
from spinenet_tf.inference.metadata import read_metadata, with_slots
from spinenet_tf.inference.naming import DEFAULT, INPUT, nest
from spinenet_tf.inference.outputs import output_reader

SUFFIX = ".tflite"


class TFLiteModel:
    """A .tflite file of this package, run on the CPU with LiteRT.

    Threads may share it. The interpreter runs one image at a time on `num_threads` cores, guarded by a lock. To run
    several images at once, load the file once per thread.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file was not written by `tflite`, or it contains NMS for another number of detections.
    """

    def __init__(self, path: str | os.PathLike, num_threads: int | None = None, max_detections: int | None = None):
        """Load the file; `num_threads` defaults to the number of cores, `max_detections` to that of the model."""
        from ai_edge_litert.interpreter import Interpreter

        metadata = read_metadata(Path(path))
        self.metadata = metadata if max_detections is None else with_slots(metadata, max_detections)
        with native_output.hidden():  # LiteRT prints messages about its delegate
            interpreter = Interpreter(model_path=str(path), num_threads=num_threads or os.cpu_count())
            self._signature = interpreter.get_signature_runner(DEFAULT)
        self._turn = Lock()

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self.metadata.image_size

    @property
    def class_names(self) -> list[str]:
        """The class names by index."""
        return self.metadata.class_names

    def raw(self, images: np.ndarray) -> Any:
        """Return the outputs of calling the Keras model on normalized `images` `[B, H, W, 3]`, as NumPy arrays.

        Raises:
            ValueError: see `checks.check_images`; or the file has no raw outputs.
        """
        if self.metadata.output_kind != "raw":
            raise ValueError(f"The file has no raw outputs. Received: output_kind={self.metadata.output_kind!r}")
        outputs = [self._run(image) for image in self._single(images)]
        return nest({name: np.concatenate([output[name] for output in outputs]) for name in outputs[0]})

    def predict(self, images: np.ndarray) -> Any:
        """Return the same as the Keras model's `predict` on normalized `images` `[B, H, W, 3]`, for any output kind.

        For a detector: "boxes" `[B, M, 4]` yxyx in pixels of the input, "scores" `[B, M]`, "classes" `[B, M]` (-1 =
        padding) and "num_detections" `[B]`. For a file with uint8 input, images are rounded to pixels.

        Raises:
            ValueError: see `checks.check_images`.
        """
        if self.metadata.task != "detection":
            return self.raw(images)
        found = [self._read(self._run(image)) for image in self._single(images)]
        return {name: np.concatenate([keras.ops.convert_to_numpy(x[name]) for x in found]) for name in found[0]}

    def _single(self, images: np.ndarray) -> list[np.ndarray]:
        """Split a batch into the file's inputs, batches of one image."""
        images = check_images(images, self.image_size)
        if self.metadata.input["dtype"] == "uint8":
            from spinenet_tf.data.images import to_pixels

            images = to_pixels(images).astype(np.uint8)
        return [image[None] for image in images]

    def _run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Return copies of the outputs by name."""
        with self._turn:
            return self._signature(**{INPUT: image})

    @cached_property
    def _read(self) -> Callable:
        return output_reader(self.metadata)
