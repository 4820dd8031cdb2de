"""Fixtures: the outputs of all files on this machine and on emulated processors, computed once."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import emulation
import numpy as np
import pytest
from emulation import PROCESSORS, Outputs
from subjects import DEMO, NETS, SIZE, Subject, converted_once, demo_detector, subjects_on

import spinenet_tf
from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.data.formats.digits import digits
from spinenet_tf.data.images import to_pixels
from spinenet_tf.data.input.pipeline import evaluation_batches

SCENES = 20
DETECTOR = Subject("demo", "cpu", "int8", "detections")  # the file whose AP is measured
_rows: list[dict] = []


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    if not (emulation.INSTALLED / "installed").exists() and not os.environ.get("CI"):
        pytest.skip("There is no .venv-arm: it needs Debian's apt-get (make test-arm)")


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> DetectionDataset:
    return digits(tmp_path_factory.mktemp("digits"), "train", scenes=SCENES, classes=1, size=(96, 128))


@pytest.fixture(scope="session")
def images(scenes) -> np.ndarray:
    """Return the normalized images of the scenes."""
    return next(evaluation_batches(scenes, SIZE, batch_size=SCENES).as_numpy_iterator())[0]


@pytest.fixture(scope="session")
def files(scenes, images, settle, tmp_path_factory) -> dict[str, tuple[Path, str]]:
    """Return the path of every file and the name of its images; the nets have random weights."""
    folder, calibration = tmp_path_factory.mktemp("files"), [images]
    with converted_once():
        detector = demo_detector(scenes)
        paths = {subject: subject.write(detector, folder, calibration) for subject in DEMO}
    for subject in NETS:
        model = settle(spinenet_tf.detector(subject.model, 1, (*SIZE, 3)))
        paths[subject] = subject.write(model, folder, calibration)
    return {
        "scenes": (paths[DETECTOR], "scenes"),
        **{str(subject): (path, subject.inputs) for subject, path in paths.items()},
    }


@pytest.fixture(scope="session")
def outputs(files, images) -> dict[str | None, Outputs]:
    """Return the outputs of the files by processor; None is this machine."""
    pixels = to_pixels(images[:1]).astype(np.uint8)
    given = {"float32": images[:1], "uint8": pixels, "scenes": images}

    def run(processor: str | None) -> Outputs:
        own = {key: files[key] for key in ("scenes", *map(str, subjects_on(processor)))}
        return emulation.run_here(own, given) if processor is None else emulation.run_on(processor, own, given)

    machines = (*PROCESSORS, None)
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(machines, pool.map(run, machines), strict=True))


@pytest.fixture
def record() -> Callable:
    """Return `record(processor, subject, difference)`, which keeps a difference for the summary and the table."""

    def add(processor: str, subject: Subject, difference: float) -> None:
        _rows.append({"processor": processor, **asdict(subject), "difference": difference})

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the largest differences, and write all of them to the file that `ARM_TABLE` names, if any."""
    if table := os.environ.get("ARM_TABLE"):
        Path(table).write_text(json.dumps(emulation.versions() | {"rows": _rows}))
    largest: dict[tuple[str, str], float] = defaultdict(float)
    for row in _rows:
        key = (row["processor"], row["quantization"])
        largest[key] = max(largest[key], row["difference"])
    if not _rows:
        return
    terminalreporter.section("largest differences to this machine, relative to the largest value of an output")
    for (processor, quantization), difference in sorted(largest.items()):
        terminalreporter.line(f"{processor:16} {quantization:8} {difference:.1e}")
