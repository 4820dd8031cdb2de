"""LiteRT computes the same on ARM64 as on x86: integers to the last bit, and floats to rounding."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

import emulation
import numpy as np
import pytest
from emulation import PROCESSORS, features_of
from subjects import subjects_on

from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.evaluation.average_precision import evaluate
from spinenet_tf.evaluation.detections import detect_in_dataset
from spinenet_tf.inference.exported_model import ExportedModel
from spinenet_tf.inference.metadata import Metadata, read_metadata

# The largest allowed difference by quantization, relative to the largest value of an output. "dynamic" rounds
# activations to 8 bits by ranges of each image: on x86, outputs differ by 1e-2 if only the last bit of the images does.
FLOAT = 1e-5
BOUNDS = {"none": FLOAT, "fp16": FLOAT, "dynamic": 0.05, "int8": 0.0, "int16x8": 0.0}
CASES = [(processor, subject) for processor in PROCESSORS for subject in subjects_on(processor)]


def test_both_builds_have_the_same_version() -> None:
    """Else run `rm -r .venv-arm`: .venv has another LiteRT than when .venv-arm was made."""
    assert emulation.litert_version() == version("ai-edge-litert")


def test_the_processors_have_different_kernels() -> None:
    first, small, large = map(features_of, PROCESSORS)
    assert "asimddp" in first - small
    assert {"i8mm", "bf16"} <= large - first
    assert "sme" not in large


@pytest.mark.parametrize(("processor", "subject"), CASES, ids=str)
def test_outputs_are_those_of_this_machine(outputs, record, processor, subject) -> None:
    found, expected = (outputs[machine][str(subject)] for machine in (processor, None))
    assert found.keys() == expected.keys()
    largest = max(difference(x, y) for x, y in comparable(found, expected, subject.quantization))
    record(processor, subject, largest)
    decoding = 0.0 if subject.outputs == "raw" else FLOAT  # it is always in float
    assert largest <= max(BOUNDS[subject.quantization], decoding)


def comparable(
    found: dict[str, np.ndarray], expected: dict[str, np.ndarray], quantization: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the pairs of outputs to compare, without the slots behind the detections, which may have any values."""
    detections = [int(x["num_detections"][0]) for x in (found, expected) if "num_detections" in x]
    for name in expected:
        if not detections or name == "num_detections":
            yield found[name], expected[name]
        elif quantization != "dynamic" or name == "scores":  # its detections with close scores may change places
            yield found[name][:, : min(detections)], expected[name][:, : min(detections)]


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference, relative to the largest value; NaN if a value is not finite."""
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    return float(np.abs(found - expected).max(initial=0.0) / (np.abs(expected).max(initial=0.0) or 1.0))


@pytest.mark.parametrize("processor", PROCESSORS)
def test_ap_is_that_of_this_machine(outputs, files, scenes, processor) -> None:
    metadata = read_metadata(files["scenes"][0])
    found, expected = (average_precision(metadata, outputs[machine]["scenes"], scenes) for machine in (processor, None))
    assert found == expected > 0.05


def average_precision(metadata: Metadata, outputs: dict[str, np.ndarray], scenes: DetectionDataset) -> float:
    """Return the COCO AP of outputs that were computed before, for the scenes in their order."""
    rows = iter(range(len(scenes)))

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        row = next(rows)
        return {name: values[row : row + 1] for name, values in outputs.items()}

    predict = ExportedModel(metadata, run).predict
    return evaluate(scenes, detect_in_dataset(predict, scenes, metadata.image_size)).AP
