"""Count the images per second that feed a detector's training on one core, beside TF Model Garden's parser.

    python benchmarks/input_pipeline.py

Same JPEG files, same input size, flip and scale jitter, one core, uint8 files to float32 batches; the best of several
rounds by turns. Model Garden's parser also assigns targets to anchors, which here is a part of the training step: it is
measured with that and without. Without tf-models-official (extra `garden`) only our own rate is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.data.digits import read_digits
from spinenet_tf.data.pipeline import training_batches

SCALE = (0.5, 2.0)  # of protocols B and C
BATCH = 8


def main() -> None:
    """Print the rates and their ratios, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=640, help="of the network's input, px")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        dataset = read_digits(folder, "train", arguments.images, size=(480, 640))
        pipelines = {"ours": ours(dataset, arguments.size)}
        try:
            records = write_records(dataset, Path(folder) / "scenes.tfrecord")
            pipelines["garden, no targets"] = garden(records, arguments.size, targets=False)
            pipelines["garden"] = garden(records, arguments.size, targets=True)
        except ImportError as error:
            print(f"Model Garden is left out: {error}")
        rates = {name: 0.0 for name in pipelines}
        for _ in range(arguments.rounds):
            for name, batches in pipelines.items():
                rates[name] = max(rates[name], rate(batches, arguments.images // BATCH))
    ratios = {f"ours / {name}": round(rates["ours"] / value, 2) for name, value in rates.items() if name != "ours"}
    print(json.dumps({"images per second": {k: round(v, 1) for k, v in rates.items()}, **ratios}, indent=1))


def ours(dataset: DetectionDataset, size: int) -> Callable[[], tf.data.Dataset]:
    """Return what makes our own batches."""
    return lambda: training_batches(dataset, (size, size), BATCH, seed=0, scale=SCALE)


def garden(records: Path, size: int, targets: bool) -> Callable[[], tf.data.Dataset]:
    """Return what makes Model Garden's batches of the same images."""
    from official.vision.dataloaders import retinanet_input, tf_example_decoder

    decoder = tf_example_decoder.TfExampleDecoder()
    parser = retinanet_input.Parser(
        output_size=[size, size],
        min_level=3,
        max_level=7,
        num_scales=3,
        aspect_ratios=[0.5, 1.0, 2.0],
        anchor_size=3.0,
        aug_rand_hflip=True,
        aug_scale_min=SCALE[0],
        aug_scale_max=SCALE[1],
        dtype="float32",
    )
    options = {} if targets else {"anchor_labeler": _NoTargets()}

    def parse(record: tf.Tensor):
        return parser._parse_train_data(decoder.decode(record), **options)

    def batches() -> tf.data.Dataset:
        examples = tf.data.TFRecordDataset(str(records)).repeat().map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        return examples.batch(BATCH, drop_remainder=True).prefetch(tf.data.AUTOTUNE)

    return batches


class _NoTargets:
    """Stands in for the assignment of targets to anchors."""

    def label_anchors(self, anchor_boxes, boxes, classes, attributes):
        return {}, {}, {}, tf.zeros([]), tf.zeros([])


def write_records(dataset: DetectionDataset, path: Path) -> Path:
    """Write the images' bytes and boxes as Model Garden's decoder reads them."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in dataset:
            sides = (example.boxes / np.tile([example.height, example.width], 2)).T
            floats = dict(zip(("ymin", "xmin", "ymax", "xmax"), sides, strict=True))
            features = {f"image/object/bbox/{side}": _floats(values) for side, values in floats.items()}
            features |= {"image/object/area": _floats(example.area), "image/encoded": _bytes(example.path.read_bytes())}
            features |= {"image/object/class/label": _integers(example.classes + 1), "image/source_id": _bytes(b"1")}
            features |= {"image/height": _integers([example.height]), "image/width": _integers([example.width])}
            features["image/object/is_crowd"] = _integers(example.crowd.astype(int))
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return path


def _floats(values) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _integers(values) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def rate(batches: Callable[[], tf.data.Dataset], count: int) -> float:
    """Return images per second of `count` batches, after two that warm up."""
    stream = iter(batches())
    for _ in range(2):
        next(stream)
    start = time.perf_counter()
    for _ in range(count):
        next(stream)
    return count * BATCH / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
