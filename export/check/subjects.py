"""The subject of a benchmark: a run with its exports, or a single artifact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from spinenet_tf._files.progress import Track
from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.export.check.verify import average_precision
from spinenet_tf.export.from_run import default_path, export_model
from spinenet_tf.inference.artifacts import SAVED_MODEL, engine_of, is_installed
from spinenet_tf.inference.engines import FUNCTION, KERAS, Runner, Setup, load, metadata_of
from spinenet_tf.training.run import Run


class Subject:
    """A run's folder (Keras and the exports in it), or a SavedModel, a .tflite, .onnx or .xml file.

    Raises:
        FileNotFoundError: `path` does not exist.
        RunError: it is a folder, but not a run with weights.
        ValueError: it is another file.
    """

    def __init__(self, path: Path):
        if not path.exists():
            raise FileNotFoundError(f"There is no model {path}.")
        self.path = path
        self._run = None
        if engine_of(path) is None:
            if not path.is_dir():
                kinds = "a run, a SavedModel, or a .tflite, .onnx or .xml file"
                raise ValueError(f"A model to measure must be {kinds}. Received: {path}")
            run = Run(path)
            self._run = (run.load_detector(), run.config)

    def setups(
        self, threads: Sequence[int], raw: bool, quantizations: Sequence[str], folder: Path, track: Track
    ) -> list[Setup]:
        """Return all setups: TensorFlow once, with its own choice of threads, the other engines for each of `threads`.

        Keras's `predict` always decodes, so the `raw` setups do not include it. A run without exports, or any run with
        `quantizations`, is exported to the new `folder`.
        """
        titles = self._artifacts(quantizations, folder, track)
        engines = [FUNCTION] if raw else [KERAS, FUNCTION]
        setups = [Setup(engine, self.path, None, str(self.path)) for engine in engines if self._run]
        for path, title in titles.items():
            engine = engine_of(path) or ""
            counts = [None] if engine == SAVED_MODEL else threads
            setups += [Setup(engine, path, count, title) for count in counts]
        return setups

    def load(self, setup: Setup, raw: bool = False) -> Runner:
        """Load the model of a setup: see `engines.load`; all Keras setups share one detector."""
        return load(setup, raw, self._run[0] if self._run else None)

    def data(self) -> DetectionDataset | None:
        """Return a run's own validation data; None for an artifact.

        Raises:
            ConfigError: the run has no data.
        """
        return self._run[1].own_data().read("val") if self._run else None

    def average_precision(self, setup: Setup, dataset: DetectionDataset) -> float | None:
        """Return COCO AP in a setup; None if the model does not detect, or has no class names.

        It is None for data without objects, too.

        Raises:
            ValueError: the data set has a class that the model does not know.
        """
        runner = self.load(setup)
        names = self._class_names(setup)
        batch_size, height, width, _ = runner.shape
        if not runner.detects or not names:
            return None
        precision = average_precision(
            runner.call, dataset, (height, width), names, batch_size, stretch=self._stretches(setup)
        )
        return None if math.isnan(precision) else precision

    def _class_names(self, setup: Setup) -> Sequence[str]:
        if self._run:
            return self._run[0].class_names or ()
        metadata = metadata_of(setup.path)
        return metadata.class_names if metadata else ()

    def _stretches(self, setup: Setup) -> bool:
        metadata = None if setup.engine in (KERAS, FUNCTION) else metadata_of(setup.path)
        return metadata is not None and metadata.stretch

    def _artifacts(self, quantizations: Sequence[str], folder: Path, track: Track) -> dict[Path, str]:
        """Return the paths of the artifacts and their titles."""
        if self._run is None:
            return {self.path: str(self.path)}
        there = {path: engine for path in sorted(self.path.iterdir()) if (engine := engine_of(path))}
        if there and not quantizations:
            return {path: str(path) for path, engine in there.items() if is_installed(engine)}
        folder.mkdir()
        exports = [("saved_model", "none"), *(("tflite", quantization) for quantization in quantizations or ["none"])]
        fresh = [
            export_model(*self._run, default_path(folder, *kind), *kind).path
            for kind in track(exports, len(exports), f"Exporting {self.path.name}")
        ]
        return {path: f"{self.path}: {path.name}, fresh" for path in fresh}
