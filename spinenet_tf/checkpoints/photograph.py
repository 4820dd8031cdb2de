"""Crops of a photograph to run nets on, from a file in matplotlib."""

from __future__ import annotations

import numpy as np

from spinenet_tf.ops.pixels import MEAN, STD

NAME = "grace_hopper.jpg"  # in matplotlib's sample data


def crops(count: int, side: int, seed: int = 0) -> np.ndarray:
    """Return normalized square crops of the photograph, `[count, side, side, 3]` float32; every other is mirrored."""
    from matplotlib.cbook import get_sample_data
    from PIL import Image, ImageOps

    random, found = np.random.default_rng(seed), []
    with Image.open(get_sample_data(NAME, asfileobj=False)) as photograph:
        for index in range(count):
            cut = int(random.uniform(0.4, 1.0) * min(photograph.size))
            left, top = (int(random.integers(length - cut, endpoint=True)) for length in photograph.size)
            box = left, top, left + cut, top + cut
            crop = photograph.resize((side, side), Image.Resampling.BILINEAR, box=box)
            found.append(np.asarray(ImageOps.mirror(crop) if index % 2 else crop))
    return ((np.stack(found) / 255 - MEAN) / STD).astype(np.float32)
