"""Measure `spinenet-tf predict` on many images: images per second against what the cores can do, and memory.

    python -m benchmarks.prediction runs/demo/model-int8.tflite runs/prediction --images 20000

The folder gets one photograph under many names. CPU seconds of decoding, resizing and the model (with NMS) are measured
alone, one image after the other. Their sum, divided by the number of cores, is the least time per image. Memory is that
of the process, and its growth is the slope over the second half of the images. No other program should be running. Each
run adds a line to `prediction.jsonl` next to this file.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.phones import machine
from spinenet_tf._files.ledger import Ledger
from spinenet_tf.data.fitting import preprocess_many
from spinenet_tf.inference.images import as_pixels
from spinenet_tf.inference.loading import load
from spinenet_tf.inference.many_images import load_workers
from spinenet_tf.inference.predicting import predict_sources
from spinenet_tf.inference.sources import find_sources

RESULTS = Path(__file__).with_suffix(".jsonl")
SIZE = (480, 640)  # of the photograph
ALONE = 200  # images that each part is measured on
EVERY = 100  # images between two readings of the memory


def main() -> None:
    """Measure, print the numbers, and add them to the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path, help="a new folder for the images and results")
    parser.add_argument("--images", type=int, default=20000)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    photos = write_photos(arguments.folder / "photos", arguments.images)
    parts = parts_alone(arguments.model, photos.with_suffix(".jpg"))
    found = parts | run_all(arguments.model, photos, arguments.folder / "found")
    cores = len(os.sched_getaffinity(0))
    found |= {"cores": cores, "share of the cores": found["images per second"] * sum(parts.values()) / 1000 / cores}
    print(found)
    Ledger(arguments.results).add(f"{arguments.model.name}, {arguments.images} images", machine() | found)


def write_photos(folder: Path, count: int) -> Path:
    """Write one picture under `count` names, in subfolders of 1,000."""
    folder.mkdir(parents=True)
    picture = folder.with_suffix(".jpg")
    smooth = np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8)
    Image.fromarray(smooth).resize(SIZE[::-1], Image.Resampling.BICUBIC).save(picture, quality=90)
    for number in range(count):
        path = folder / f"{number // 1000:03}" / f"{number:06}.jpg"
        path.parent.mkdir(exist_ok=True)
        os.link(picture, path)
    return folder


def parts_alone(model: Path, picture: Path) -> dict[str, float]:
    """Return the CPU milliseconds per image of each part."""
    predictor, pixels = load(model, threads=1), as_pixels(picture)
    resize = partial(preprocess_many, [pixels], *predictor.image_size, predictor.stretch)
    fitted, _ = resize()
    return {
        "decode ms": cpu_ms(lambda: as_pixels(picture)),
        "resize ms": cpu_ms(resize),
        "model ms": cpu_ms(lambda: predictor.predict(fitted)),
    }


def cpu_ms(call: Callable[[], Any]) -> float:
    """Return the mean CPU milliseconds of a call, of all threads, after a few calls."""
    for _ in range(5):
        call()
    start = time.process_time()
    for _ in range(ALONE):
        call()
    return 1000 * (time.process_time() - start) / ALONE


def run_all(model: Path, photos: Path, output: Path) -> dict[str, float]:
    """Run the model on all images, and return images per second and the memory."""
    workers, memory = load_workers(model), []

    def track(items: Iterable, total: int, title: str) -> Iterator:
        for number, item in enumerate(items):
            yield item
            if number % EVERY == 0:
                memory.append(resident_megabytes())

    sources = find_sources([next(photos.iterdir())])
    predict_sources(workers, sources, output, track=track)  # the first calls build graphs
    shutil.rmtree(output)
    memory.clear()
    summary = predict_sources(workers, find_sources([photos]), output, track=track)
    later = memory[len(memory) // 2 :]
    slope = float(np.polyfit(np.arange(len(later)) * EVERY, later, 1)[0]) if len(later) > 1 else 0.0
    return {
        "images": summary.images,
        "images per second": summary.images / summary.seconds,
        "MB at the end": memory[-1],
        "MB per 1,000 images": 1000 * slope,
    }


def resident_megabytes() -> float:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
