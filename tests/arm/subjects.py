"""The files that are run on ARM64, exported once: the demo's detector in every form, and the mobile nets in int8."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
from emulation import PROCESSORS

import spinenet_tf
from spinenet_tf import export
from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.data.input.pipeline import evaluation_batches
from spinenet_tf.export.litert import tflite_file
from spinenet_tf.export.litert.targets import TARGETS
from spinenet_tf.export.litert.tflite_file import QUANTIZATIONS
from spinenet_tf.heads.table import find_head
from spinenet_tf.training.config_file import find_config, read_config

CONFIG = read_config(find_config("demo")).model
SIZE = CONFIG.image_size
TRAINED_ON, STEPS = 8, 80  # scenes, batches of 4: the shortest training that detects some digits
MOBILE = [name for name in spinenet_tf.list_models() if "mobile" in name]
# The table has all nets, and all files on all processors; CI the smallest and largest net, and mostly int8 files.
FOR_TABLE = "ARM_TABLE" in os.environ


@dataclass(frozen=True)
class Subject:
    """A file that is exported in one way."""

    model: str
    target: str
    quantization: str
    outputs: str

    def __str__(self) -> str:
        return f"{self.model}-{self.target}-{self.quantization}-{self.outputs}"

    @property
    def inputs(self) -> str:
        """The type of the images: the target's default, but pixels for the int8 file of NPUs, else that of GPUs."""
        return "uint8" if (self.target, self.quantization) == ("npu", "int8") else TARGETS[self.target].inputs[0]

    def write(self, model: keras.Model, folder: Path, calibration: list[np.ndarray]) -> Path:
        """Export the model, calibrated on batches of images."""
        options = {"target": self.target, "inputs": self.inputs, "outputs": self.outputs, "class_names": ["digit"]}
        return export.tflite(model, folder / f"{self}.tflite", self.quantization, calibration, **options).path


REFUSED = {("gpu", "int16x8"), ("mediapipe", "int16x8")}
DEMO = [
    Subject("demo", name, quantization, outputs)
    for name, target in TARGETS.items()
    for quantization in QUANTIZATIONS
    for outputs in target.outputs
    if outputs in find_head(CONFIG.head["kind"]).outputs and (name, quantization) not in REFUSED
]
NETS = [Subject(name, "cpu", "int8", "raw") for name in (MOBILE if FOR_TABLE else (MOBILE[0], MOBILE[-1]))]


def subjects_on(processor: str | None) -> list[Subject]:
    """Return the files that run on a processor; None is this machine."""
    everything = processor in (None, PROCESSORS[0]) or FOR_TABLE
    return [subject for subject in (*DEMO, *NETS) if everything or subject.quantization == "int8"]


def demo_detector(scenes: DetectionDataset) -> keras.Model:
    """Return the detector of the config `demo`, trained on a few of the scenes."""
    keras.utils.set_random_seed(0)  # the fixture that seeds each test comes later
    options = CONFIG.overrides | {"norm_momentum": 0.9} | CONFIG.options()
    model = spinenet_tf.detector(CONFIG.net(), 1, (*SIZE, 3), CONFIG.head["kind"], **options)
    rate = keras.optimizers.schedules.CosineDecay(8e-3, STEPS)
    model.compile(keras.optimizers.Adam(rate, global_clipnorm=10.0))
    images, targets = next(evaluation_batches(scenes, SIZE, batch_size=TRAINED_ON).as_numpy_iterator())
    objects = {name: targets[name] for name in ("boxes", "classes")}
    model.fit(images, objects, batch_size=4, epochs=STEPS * 4 // TRAINED_ON, verbose=0)
    return model


@contextmanager
def converted_once() -> Iterator[None]:
    """Within the block, convert a network once for all files that differ only in what follows it, to save a minute."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("raw_function", "convert"):
            patch.setattr(tflite_file, name, _remembered(getattr(tflite_file, name)))
        yield


def _remembered(function: Callable) -> Callable:
    """Return the function with a memory for its results; it tells lists by their identity."""
    known = {}

    def call(*arguments, **options):
        key = (*(x if isinstance(x, Hashable) else id(x) for x in arguments), *options.items())
        if key not in known:
            known[key] = function(*arguments, **options)
        return known[key]

    return call
