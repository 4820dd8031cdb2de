"""Run a .tflite file of this package on the CPU with LiteRT."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock

import numpy as np

from spinenet_tf.inference.exported_model import ExportedModel
from spinenet_tf.inference.interpreter import open_interpreter
from spinenet_tf.inference.metadata import read_metadata, with_slots
from spinenet_tf.inference.naming import DEFAULT, INPUT

SUFFIX = ".tflite"


class TFLiteModel(ExportedModel):
    """A .tflite file of this package, run on the CPU with LiteRT.

    Threads may share it. The interpreter runs one batch at a time on `num_threads` cores, guarded by a lock. To run
    several batches at once, load the file once per thread.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file was not written by `tflite`, or it contains NMS for another number of detections.
    """

    def __init__(self, path: str | os.PathLike, num_threads: int | None = None, max_detections: int | None = None):
        """Load the file; `num_threads` defaults to the number of cores, `max_detections` to that of the model."""
        metadata = with_slots(read_metadata(Path(path)), max_detections)
        interpreter = open_interpreter(path, num_threads=num_threads or os.cpu_count())
        signature, turn = interpreter.get_signature_runner(DEFAULT), Lock()

        def run(images: np.ndarray) -> dict[str, np.ndarray]:
            with turn:
                return signature(**{INPUT: images})  # copies of the outputs

        super().__init__(metadata, run)
