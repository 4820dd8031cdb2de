"""Center heatmaps equal NumPy loops: targets per object, peaks per cell."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from spinenet_tf.ops.heatmaps import center_detections, center_targets, gaussian_radius, peaks

STRIDE, ROWS, COLUMNS, CLASSES = 8, 12, 10, 3


def scene(seed: int, batch: int = 2, count: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes and classes, some of which are padding with arbitrary coordinates."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, [ROWS * STRIDE - 30, COLUMNS * STRIDE - 30], (batch, count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(2, 60, (batch, count, 2))], axis=-1).astype("float32")
    classes = rng.integers(0, CLASSES, (batch, count)).astype("int32")
    boxes[:, -2:], classes[:, -2:] = [[-1, -1, -1, -1], [5, 5, np.nan, 9]], -1
    return boxes, classes


def targets(boxes: Any, classes: Any, radius: str = "published") -> dict[str, np.ndarray]:
    found = center_targets(boxes, classes, ROWS, COLUMNS, CLASSES, STRIDE, 0.7, radius)
    return {name: ops.convert_to_numpy(value) for name, value in found._asdict().items()}


def published_radius(height: float, width: float, overlap: float) -> float:
    """Return the smallest of the three cases, as in the authors' code."""
    total, area = height + width, height * width
    cases = [
        (1.0, total, area * (1 - overlap) / (1 + overlap)),
        (4.0, 2 * total, (1 - overlap) * area),
        (4 * overlap, -2 * overlap * total, (overlap - 1) * area),
    ]
    return min((b + np.sqrt(b**2 - 4 * a * c)) / 2 for a, b, c in cases)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


@pytest.mark.parametrize("overlap", [0.3, 0.7, 0.9])
def test_the_published_radius_is_that_of_the_authors_code(overlap: float) -> None:
    sizes = np.random.default_rng(0).uniform(0.1, 150, (200, 2)).astype("float32")
    expected = [published_radius(*size, overlap) for size in sizes.astype("float64")]
    np.testing.assert_allclose(gaussian_radius(sizes, overlap, "published"), expected, rtol=1e-5)


@pytest.mark.parametrize("overlap", [0.3, 0.7, 0.9])
def test_the_exact_radius_keeps_the_overlap_and_no_larger_one_does(overlap: float) -> None:
    sizes = np.random.default_rng(0).uniform(1, 100, (50, 2))
    radii = ops.convert_to_numpy(gaussian_radius(sizes.astype("float32"), overlap, "exact"))
    for (height, width), radius in zip(sizes, radii, strict=True):
        box = np.array([0, 0, height, width])
        signs = [np.array(s) for s in itertools.product([-1, 1], repeat=2)]

        def worst(r: float, box: np.ndarray = box, signs: list = signs) -> float:
            return min(iou(box, box + r * np.concatenate([[a, a], [b, b]])) for a, b in signs)

        assert worst(radius * 0.999) > overlap > worst(radius * 1.001)


def test_the_known_radii() -> None:
    sizes = np.array([[4, 4], [10, 10], [32, 32], [100, 20], [0, 0]], "float32")
    np.testing.assert_allclose(gaussian_radius(sizes, 0.7, "published"), [1.093, 2.733, 8.746, 9.467, 0], atol=6e-4)
    np.testing.assert_allclose(gaussian_radius(sizes, 0.7, "exact"), [0.327, 0.817, 2.613, 2.614, 0], atol=6e-4)
    with pytest.raises(ValueError, match=r"`radius` must be one of .* Received: radius='wrong'"):
        gaussian_radius(sizes, 0.7, "wrong")


@pytest.mark.parametrize("seed", range(3))
def test_targets_are_those_of_a_loop_over_objects(seed: int) -> None:
    boxes, classes = scene(seed)
    found = targets(boxes, classes)
    heatmap = np.zeros((2, ROWS, COLUMNS, CLASSES))
    y, x = np.mgrid[:ROWS, :COLUMNS]
    for image, row in zip(*np.nonzero(classes >= 0), strict=True):
        y1, x1, y2, x2 = boxes[image, row].astype("float64") / STRIDE
        center, size = np.array([y1 + y2, x1 + x2]) / 2, np.array([y2 - y1, x2 - x1])
        cy, cx = np.floor(center).astype(int)
        if not (cy < ROWS and cx < COLUMNS):
            assert not found["is_object"][image, row]
            continue
        sigma = (2 * np.floor(published_radius(*size, 0.7)) + 1) / 6
        splat = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * sigma**2))
        channel = heatmap[image, :, :, classes[image, row]]
        np.maximum(channel, splat, out=channel)
        assert found["is_object"][image, row]
        assert found["cells"][image, row] == cy * COLUMNS + cx
        np.testing.assert_allclose(found["sizes"][image, row], size, rtol=1e-5)
        np.testing.assert_allclose(found["offsets"][image, row], center - [cy, cx], atol=1e-5)
    np.testing.assert_allclose(found["heatmap"], heatmap, atol=1e-6)
    assert not found["is_object"][:, -2:].any()
    assert (found["cells"] < ROWS * COLUMNS).all()


def test_a_heatmap_is_1_at_the_centers_alone() -> None:
    boxes, classes = scene(5)
    found = targets(boxes, classes)
    at_one = np.argwhere(found["heatmap"] == 1)
    image, row = np.nonzero(found["is_object"])
    cells = found["cells"][image, row]
    centers = {*zip(image, cells // COLUMNS, cells % COLUMNS, classes[image, row], strict=True)}
    assert {tuple(place) for place in at_one} == centers


def test_the_exact_radius_makes_narrower_gaussians() -> None:
    box, label = np.float32([[[10, 10, 80, 70]]]), np.int32([[1]])
    published, exact = (targets(box, label, radius=radius)["heatmap"] for radius in ("published", "exact"))
    assert (exact <= published).all()
    assert exact.sum() < 0.5 * published.sum()


@pytest.mark.parametrize(
    "box", [[8, 8, 8, 40], [8, 8, 40, 8], [-40, 8, 20, 40], [90, 8, 102, 40], [8, 70, 40, 90], [50, 40, 40, 60]]
)
def test_what_is_no_object(box: list[float]) -> None:
    """Boxes without area, and boxes with centers outside of the map of 96 x 80 px, are not objects."""
    found = targets(np.float32([[box]]), np.int32([[0]]))
    assert not found["is_object"].any()
    assert not found["heatmap"].any()
    assert not found["cells"].any()


def test_no_row_at_all_is_no_object() -> None:
    found = targets(np.zeros((2, 0, 4), "float32"), np.zeros((2, 0), "int32"))
    assert found["heatmap"].shape == (2, ROWS, COLUMNS, CLASSES)
    assert not found["heatmap"].any()
    assert found["is_object"].shape == (2, 0)


def test_a_permuted_ground_truth_gives_the_same_heatmap() -> None:
    boxes, classes = scene(1)
    order = np.random.default_rng(0).permutation(boxes.shape[1])
    permuted = targets(boxes[:, order], classes[:, order])["heatmap"]
    np.testing.assert_allclose(targets(boxes, classes)["heatmap"], permuted, atol=1e-6)


def neighbors(row: int, column: int, rows: int, columns: int) -> list[tuple[int, int]]:
    cells = itertools.product(range(row - 1, row + 2), range(column - 1, column + 2))
    return [(y, x) for y, x in cells if (y, x) != (row, column) and 0 <= y < rows and 0 <= x < columns]


def peaks_by_loops(heatmap: np.ndarray) -> np.ndarray:
    """Return the peaks of one channel `[H, W]`."""
    rows, columns = heatmap.shape
    cells = list(itertools.product(range(rows), range(columns)))
    tops = {cell for cell in cells if all(heatmap[cell] >= heatmap[n] for n in neighbors(*cell, rows, columns))}
    found = np.zeros(heatmap.shape, bool)
    for cell in tops:
        found[cell] = not any(n in tops and n < cell for n in neighbors(*cell, rows, columns))
    return found


@pytest.mark.parametrize("levels", [2, 4, 16, 1000])
def test_peaks_are_those_of_loops_over_cells_on_plateaus_too(levels: int) -> None:
    heatmap = np.random.default_rng(levels).integers(-levels, levels, (2, 9, 13, 4)).astype("float32")
    found = ops.convert_to_numpy(peaks(heatmap))
    for image, channel in itertools.product(range(2), range(4)):
        np.testing.assert_array_equal(found[image, :, :, channel], peaks_by_loops(heatmap[image, :, :, channel]))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int8"])
def test_two_equal_neighbors_are_one_peak_in_any_type(dtype: str) -> None:
    heatmap = np.full((1, 8, 8, 2), -50.0, "float32")
    heatmap[0, 2, 2:4, 0] = 20  # side by side
    heatmap[0, 5, 5, 0] = heatmap[0, 6, 4, 0] = 10  # corner to corner, the second to the left
    heatmap[0, 3:6, 3:6, 1] = 7  # a square
    found = np.argwhere(ops.convert_to_numpy(peaks(ops.cast(heatmap, dtype))))
    flat = [[0, 0, 0, 0], [0, 0, 0, 1]]  # the background is one plateau more
    assert [list(p) for p in found if list(p) not in flat] == [[0, 2, 2, 0], [0, 3, 3, 1], [0, 5, 5, 0]]


def test_of_every_top_plateau_one_cell_at_least_stays() -> None:
    heatmap = np.random.default_rng(3).integers(0, 3, (20, 6, 6, 1)).astype("float32")
    assert ops.convert_to_numpy(peaks(heatmap)).any(axis=(1, 2, 3)).all()


def outputs(seed: int, batch: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = (batch, ROWS, COLUMNS)
    heatmap, sizes = rng.normal(-2, 2, (*shape, CLASSES)), rng.normal(3, 2, (*shape, 2))
    return [x.astype("float32") for x in (heatmap, sizes, rng.uniform(0, 1, (*shape, 2)))]


def detected(raw: list[Any], threshold: float = 0.0, limit: int = 100) -> dict[str, np.ndarray]:
    found = center_detections(*raw, ROWS * STRIDE - 3, COLUMNS * STRIDE - 5, STRIDE, threshold, limit)
    return {name: ops.convert_to_numpy(value) for name, value in found.items()}


@pytest.mark.parametrize(("threshold", "limit"), [(0.0, 100), (0.3, 100), (0.0, 5), (0.0, 500)])
def test_detections_are_the_best_peaks(threshold: float, limit: int) -> None:
    heatmap, sizes, offsets = outputs(0)
    found = detected([heatmap, sizes, offsets], threshold, limit)
    expected = []
    for channel in range(CLASSES):
        for y, x in np.argwhere(peaks_by_loops(heatmap[0, :, :, channel])):
            score = 1 / (1 + np.exp(-heatmap[0, y, x, channel]))
            center, half = np.array([y, x]) + offsets[0, y, x], np.maximum(sizes[0, y, x], 0) / 2
            limits = [ROWS * STRIDE - 3, COLUMNS * STRIDE - 5] * 2
            box = np.clip(STRIDE * np.concatenate([center - half, center + half]), 0, limits)
            expected.append((score, channel, box))
    expected = [entry for entry in sorted(expected, key=lambda entry: -entry[0]) if entry[0] > threshold][:limit]
    count = found["num_detections"][0]
    assert count == len(expected) >= min(limit, 10)
    assert found["boxes"].shape == (1, limit, 4)
    scores, classes, boxes = zip(*expected, strict=True)
    np.testing.assert_allclose(found["scores"][0, :count], scores, rtol=1e-5)
    np.testing.assert_array_equal(found["classes"][0, :count], classes)
    np.testing.assert_allclose(found["boxes"][0, :count], boxes, atol=1e-4)
    assert (found["classes"][0, count:] == -1).all()
    assert not found["scores"][0, count:].any()
    assert not found["boxes"][0, count:].any()


def test_detections_have_the_keys_and_types_of_the_anchors_decoding() -> None:
    from spinenet_tf.ops.decoding import detections

    anchors, nothing = np.zeros((4, 4), "float32"), np.zeros((1, 4, 4), "float32")
    options = {"score_threshold": 0.0, "max_detections": 100}
    expected = detections(nothing, nothing, anchors, 64, 64, **options, iou_threshold=0.5, pre_nms_top_k=100)
    found = center_detections(*outputs(0), 96, 80, STRIDE, **options)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape


def test_targets_as_outputs_give_the_ground_truth_back() -> None:
    boxes = np.float32([[[8, 8, 50, 40], [60, 30, 90, 75], [20, 50, 30, 70], [0, 0, 0, 0]]])
    classes = np.int32([[0, 2, 1, -1]])
    known = targets(boxes, classes)
    sizes, offsets = np.zeros((2, 1, ROWS * COLUMNS, 2), "float32")
    sizes[0, known["cells"][0, :3]], offsets[0, known["cells"][0, :3]] = known["sizes"][0, :3], known["offsets"][0, :3]
    with np.errstate(divide="ignore"):
        logits = np.log(known["heatmap"]) - np.log1p(-np.minimum(known["heatmap"], 0.9999))
    raw = [logits, *(x.reshape(1, ROWS, COLUMNS, 2) for x in (sizes, offsets))]
    found = detected(raw, threshold=0.9)
    assert found["num_detections"][0] == 3
    order = np.argsort(found["classes"][0, :3])
    np.testing.assert_allclose(found["boxes"][0, :3][order], boxes[0, [0, 2, 1]], atol=1e-4)


def test_a_batch_is_decoded_as_its_images_are() -> None:
    raw = outputs(5, batch=3)
    batched = detected(raw)
    for i in range(3):
        for name, alone in detected([x[i : i + 1] for x in raw]).items():
            np.testing.assert_allclose(batched[name][i], alone[0], rtol=1e-6, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow has dynamic shapes")
def test_unknown_shapes_change_nothing() -> None:
    import tensorflow as tf

    shapes = [(None, None, None, CLASSES), (None, None, None, 2), (None, None, None, 2)]
    decode = tf.function(lambda *raw: center_detections(*raw, 93, 75, STRIDE, 0.0, 100)).get_concrete_function(
        *map(tf.TensorSpec, shapes)
    )
    raw = outputs(0, batch=2)
    for name, value in decode(*map(tf.constant, raw)).items():
        np.testing.assert_allclose(value, detected(raw)[name], atol=1e-4)

    def assign(boxes: Any, classes: Any, rows: Any, columns: Any) -> Any:
        return center_targets(boxes, classes, rows, columns, CLASSES, STRIDE, 0.7, "published")

    size = tf.TensorSpec([], "int32")
    specs = [tf.TensorSpec((None, None, 4)), tf.TensorSpec((None, None), "int32"), size, size]
    boxes, classes = scene(0)
    dynamic = tf.function(assign).get_concrete_function(*specs)(
        *map(tf.constant, (boxes, classes)), tf.constant(ROWS), tf.constant(COLUMNS)
    )
    for name, value in targets(boxes, classes).items():
        np.testing.assert_allclose(getattr(dynamic, name), value, atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TFLite comes from TensorFlow")
def test_tflite_decodes_by_operations_of_its_own() -> None:
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    def decode(heatmap: Any, sizes: Any, offsets: Any) -> Any:
        size = (ROWS * STRIDE, COLUMNS * STRIDE)
        return center_detections(heatmap, sizes, offsets, *size, STRIDE, score_threshold=0.0, max_detections=100)

    module, names = tf.Module(), ("heatmap", "sizes", "offsets")
    raw = dict(zip(names, outputs(2), strict=True))
    raw["heatmap"] = np.round(raw["heatmap"])  # plateaus, as 8 bits make them
    module.decode = tf.function(decode)
    traced = module.decode.get_concrete_function(*(tf.TensorSpec(raw[name].shape, name=name) for name in names))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], module)
    interpreter = Interpreter(model_content=converter.convert())  # refuses what is not built in
    found = interpreter.get_signature_runner()(**raw)
    for name, expected in decode(**raw).items():
        np.testing.assert_allclose(found[name], expected, atol=1e-5, err_msg=name)
