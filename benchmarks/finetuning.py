"""Compare fine-tuning with training from scratch for the same number of steps.

    python benchmarks/finetuning.py

A detector trained on the digits 0 to 4 is fine-tuned to all ten, and another one is trained from scratch. The output is
JSON with the COCO AP of both on validation scenes, for all digits and for the new ones (5 to 9).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

import spinenet_tf
from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.data.formats.digits import digits
from spinenet_tf.training.recipe import train

SCENES = {"train": 2000, "val": 200}
KNOWN = 5  # classes of the first run
EPOCHS = 4  # with an evaluation after the last


def main() -> None:
    """Train three times and print the AP of the last two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=800, help="steps on five digits")
    parser.add_argument("--steps", type=int, default=400, help="steps on all ten, fine-tuned and from scratch")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenes = {split: digits(folder / "data", split, count) for split, count in SCENES.items()}
        five = [f"data.{split}={five_digits(data, folder / f'{split}.json')}" for split, data in scenes.items()]
        ten = [f"data.{split}={{digits: {folder / 'data'}, scenes: {count}}}" for split, count in SCENES.items()]
        carry_out(five, arguments.first, folder / "five")
        tries = {"from scratch": [], "fine-tuned": [f"weights={folder / 'five'}"]}
        found = {
            title: measure(carry_out([*ten, *options], arguments.steps, folder / title), scenes["val"])
            for title, options in tries.items()
        }
    print(json.dumps({"steps on five digits": arguments.first, "steps on ten": arguments.steps, **found}, indent=1))


def five_digits(dataset: DetectionDataset, path: Path) -> str:
    """Write annotations without the unknown digits, which become background, and return the data source."""
    content = dataset.coco()
    content["categories"] = content["categories"][:KNOWN]
    known = {category["id"] for category in content["categories"]}
    content["annotations"] = [entry for entry in content["annotations"] if entry["category_id"] in known]
    path.write_text(json.dumps(content))
    return f"{{annotations: {path}, images: {dataset.examples[0].path.parent}}}"


def carry_out(data: list[str], steps: int, folder: Path):
    """Train the config `digits` on other data for a number of steps, and return the detector."""
    length = [f"epochs={EPOCHS}", f"steps_per_epoch={steps // EPOCHS}", f"evaluate_every={EPOCHS}"]
    size = ["model.image_size=[128, 128]", "optimizer.warmup_steps=100", "log_images=0"]
    run = train("digits", folder, overrides=[*data, *length, *size])
    return run.load(run.last_weights_path)


def measure(detector, dataset: DetectionDataset) -> dict[str, float]:
    """Return COCO AP of all classes, and of the classes that are new to the first detector."""
    numbers = spinenet_tf.evaluate(detector, dataset)
    new = list(numbers.per_class.values())[KNOWN:]
    return {"AP": round(numbers.AP, 3), "AP50": round(numbers.AP50, 3), "AP of 5 to 9": round(float(np.mean(new)), 3)}


if __name__ == "__main__":
    main()
