"""Compare the input pipeline on one core, from JPEG files to float32 training batches, with Model Garden's parser.

JPEG files, input size, flip and scale jitter are the same. Model Garden's parser also assigns targets to anchors, which
ours does in the training step, so it is measured with and without.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contender import HOME, Fresh, sides
from benchmarks.measuring import alternate
from benchmarks.results import Row, compare
from benchmarks.work import Part, Settings

SCALE = (0.5, 2.0)  # of protocols B and C
SIDE, BATCH, BATCHES, WARM_UPS = 640, 8, 4, 2
IMAGES = 32
GOAL = 1.3


def parts(quick: bool) -> list[Part]:
    """Return the only part."""
    return [Part("input pipeline/one core", one_core)]


def one_core(settings: Settings) -> Iterator[Row]:
    """Compare the time for an image; the processes alternate on one core."""
    HOME.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=HOME))
    try:
        with sides(partial(_their_turns, folder / "theirs"), partial(_our_turns, folder / "ours"), cores=1) as pair:
            turns = {name: pair["theirs"].turn(name) for name in ("with targets", "without targets")}
            times = alternate(turns | {"ours": pair["ours"].turn("ours")}, settings.effort)
    finally:
        shutil.rmtree(folder)
    images = {name: [seconds / (BATCHES * BATCH) for seconds in series] for name, series in times.items()}
    for name, goal in (("with targets", GOAL), ("without targets", None)):
        title = f"input pipeline/an image, JPEG to batch, theirs {name}"
        yield compare(title, f"@{SIDE}", images[name], images["ours"], goal=goal)


def _our_turns(folder: Path) -> Mapping[str, Fresh]:
    from spinenet_tf.data import Augment
    from spinenet_tf.data.input.pipeline import training_batches

    _use_one_thread()
    dataset = _scenes(folder)
    return {
        "ours": _drawing(lambda: training_batches(dataset, (SIDE, SIDE), BATCH, seed=0, augment=Augment(scale=SCALE)))
    }


def _their_turns(folder: Path) -> Mapping[str, Fresh]:
    _use_one_thread()
    records = write_records(_scenes(folder), folder / "scenes.tfrecord")
    kinds = {"with targets": True, "without targets": False}
    return {name: _drawing(garden_batches(records, targets)) for name, targets in kinds.items()}


def _use_one_thread() -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _scenes(folder: Path) -> Any:
    from spinenet_tf.data.formats.digits import digits

    folder.mkdir(parents=True)
    return digits(folder, "train", IMAGES, size=(480, 640))


def _drawing(batches: Callable[[], Any]) -> Fresh:
    """Return a turn that reads batches from a new stream, so that no old stream prefetches."""

    def make():
        stream = iter(batches())
        for _ in range(WARM_UPS):
            next(stream)
        return stream

    def run(stream) -> None:
        for _ in range(BATCHES):
            next(stream)

    return Fresh(make, run)


def garden_batches(records: Path, targets: bool) -> Callable[[], Any]:
    """Return a function that returns Model Garden's batches of the same images."""
    import tensorflow as tf
    from official.vision.dataloaders import retinanet_input, tf_example_decoder

    decoder = tf_example_decoder.TfExampleDecoder()
    parser = retinanet_input.Parser(
        output_size=[SIDE, SIDE],
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

    def parse(record):
        return parser._parse_train_data(decoder.decode(record), **options)

    def batches():
        examples = tf.data.TFRecordDataset(str(records)).repeat().map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        return examples.batch(BATCH, drop_remainder=True).prefetch(tf.data.AUTOTUNE)

    return batches


class _NoTargets:
    """Stand-in for target assignment that does nothing."""

    def label_anchors(self, anchor_boxes, boxes, classes, attributes):
        import tensorflow as tf

        return {}, {}, {}, tf.zeros([]), tf.zeros([])


def write_records(dataset: Any, path: Path) -> Path:
    """Write the images' bytes and boxes for Model Garden's decoder."""
    import tensorflow as tf

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


def _floats(values) -> Any:
    import tensorflow as tf

    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _integers(values) -> Any:
    import tensorflow as tf

    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _bytes(value: bytes) -> Any:
    import tensorflow as tf

    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
