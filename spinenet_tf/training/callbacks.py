"""What happens beside the steps: evaluation, the JSON log."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras

from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.evaluation.coco import METRICS, evaluate
from spinenet_tf.evaluation.inference import detect_in_dataset


class CocoEvaluation(keras.callbacks.Callback):
    """Add COCO's numbers on a data set to the logs as `val_AP`, ... after every so many epochs, and after the last."""

    def __init__(self, dataset: DetectionDataset, image_size: tuple[int, int], batch_size: int, every: int):
        super().__init__()
        self.dataset, self.image_size, self.batch_size, self.every = dataset, image_size, batch_size, every

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if (epoch + 1) % self.every and epoch + 1 != self.params["epochs"]:
            return
        found = detect_in_dataset(self.model.predict_on_batch, self.dataset, self.image_size, self.batch_size)
        numbers = evaluate(self.dataset, found).to_dict()
        if logs is not None:
            logs.update({f"val_{name}": numbers[name] for name in METRICS if numbers[name] is not None})


class JsonLog(keras.callbacks.Callback):
    """Append one JSON line per epoch: the epoch from 1, the step, seconds since training began, and all of the logs."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        row: dict[str, Any] = {"epoch": epoch + 1, "step": int(self.model.optimizer.iterations)}
        row |= {"seconds": round(time.monotonic() - self.start, 1)}
        row |= {name: float(value) for name, value in (logs or {}).items()}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


class SaveBest(keras.callbacks.Callback):
    """Save the weights whenever `val_AP` is the highest so far, also of the log's `rows` where a run is resumed."""

    def __init__(self, path: Path, rows: Iterable[Mapping[str, Any]] = ()):
        super().__init__()
        self.path = path
        self.best = max((row["val_AP"] for row in rows if "val_AP" in row), default=-1.0)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        ap = (logs or {}).get("val_AP")
        if ap is not None and ap > self.best:
            self.best = ap
            self.model.save_weights(self.path)
