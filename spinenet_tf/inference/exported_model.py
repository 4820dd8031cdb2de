"""Run an exported model of any format on normalized images, whatever its batch size, input and outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import keras
import numpy as np

from spinenet_tf.inference.checks import check_images
from spinenet_tf.inference.metadata import Metadata
from spinenet_tf.inference.naming import nest
from spinenet_tf.inference.outputs import output_reader
from spinenet_tf.ops.pixels import as_input


class ExportedModel:
    """An exported model: its metadata, and `run`, its engine's function from one batch to the outputs by name.

    Threads may share it.
    """

    def __init__(self, metadata: Metadata, run: Callable[[np.ndarray], Mapping[str, np.ndarray]]):
        self.metadata, self._run = metadata, run

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self.metadata.image_size

    @property
    def class_names(self) -> list[str]:
        """The class names by index."""
        return self.metadata.class_names

    @property
    def batch_size(self) -> int | None:
        """The number of images that the engine runs at once; None: any."""
        return self.metadata.input["shape"][0]

    def raw(self, images: np.ndarray) -> Any:
        """Return the outputs of calling the Keras model on normalized `images` `[B, H, W, 3]`, as NumPy arrays.

        Raises:
            ValueError: see `checks.check_images`; or the model has no raw outputs.
        """
        if self.metadata.output_kind != "raw":
            raise ValueError(f"The file has no raw outputs. Received: output_kind={self.metadata.output_kind!r}")
        return nest(_joined(self._outputs(images)))

    def predict(self, images: np.ndarray) -> Any:
        """Return the same as the Keras model's `predict` on normalized `images` `[B, H, W, 3]`, for any output kind.

        For a detector: "boxes" `[B, M, 4]` yxyx in pixels of the input, "scores" `[B, M]`, "classes" `[B, M]` (-1 =
        padding) and "num_detections" `[B]`; for a net with masks also "masks" `[B, M, R, R]` in 0..1. For a file with
        uint8 input, images are rounded to pixels.

        Raises:
            ValueError: see `checks.check_images`.
        """
        found = _joined(self._outputs(images, self._read))
        return found if self.metadata.detects else nest(found)

    def _outputs(
        self, images: np.ndarray, read: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield the outputs of each batch of the engine's size, converted by `read`, without those of padding."""
        images = self._input(images)
        size = self.batch_size or len(images)
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            padded = np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)])
            found = read(self._run(padded))
            yield {name: keras.ops.convert_to_numpy(x)[: len(batch)] for name, x in found.items()}

    def _input(self, images: np.ndarray) -> np.ndarray:
        return as_input(check_images(images, self.image_size), self.metadata.input["dtype"])

    @cached_property
    def _read(self) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
        return output_reader(self.metadata)


def _joined(parts: Iterator[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    found = list(parts)
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}
