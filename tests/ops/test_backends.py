"""The compiled detection functions are the same on the other Keras backends, where this file runs itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from spinenet_tf.heads.retinanet import RetinaNetOptions, retinanet_loss
from spinenet_tf.ops.anchors import AnchorSpec, anchors, concatenate
from spinenet_tf.ops.assignment import assign
from spinenet_tf.ops.boxes import pick
from spinenet_tf.ops.center_losses import point_losses
from spinenet_tf.ops.decoding import detections
from spinenet_tf.ops.heatmaps import center_detections, center_targets
from spinenet_tf.ops.losses import focal_loss
from spinenet_tf.ops.proposals import propose
from spinenet_tf.ops.rcnn_losses import box_loss, class_loss, mask_loss, rpn_box_loss, rpn_score_loss
from spinenet_tf.ops.roi_align import multilevel_roi_align
from spinenet_tf.ops.roi_sampling import RoiTargets, sample_anchors, sample_masks, sample_rois

OPTIONS = RetinaNetOptions()
HEIGHT, WIDTH = 96, 75
HUGE = (256, 150_381, 91)  # logits of 256 images of 896 px: 3.5e9 of them, and an int32 ends at 2.1e9


def inputs() -> list[np.ndarray]:
    """Return boxes and classes of two images, one of which is half padding, and raw outputs of a net."""
    rng = np.random.default_rng(0)
    corner, sides = rng.uniform(0, 40, (2, 6, 2)), rng.uniform(12, 50, (2, 6, 2))
    boxes, classes = np.concatenate([corner, corner + sides], axis=-1), rng.integers(0, 3, (2, 6))
    boxes[1, 3:], classes[1, 3:] = -1, -1
    count = concatenate(anchors(HEIGHT, WIDTH, AnchorSpec())).shape[0]
    logits, deltas = rng.normal(-3, 1.5, (2, count, 3)), rng.normal(0, 0.2, (2, count, 4))
    types = ["float32", "int32", "float32", "float32"]
    return [x.astype(t) for x, t in zip([boxes, classes, logits, deltas], types, strict=True)]


def everything(boxes: Any, classes: Any, logits: Any, deltas: Any) -> dict[str, Any]:
    levels = concatenate(anchors(HEIGHT, WIDTH, AnchorSpec()))
    assignment = assign(levels, boxes, classes)
    return {
        "anchors": levels,
        **assignment._asdict(),
        **retinanet_loss(logits, deltas, levels, assignment, OPTIONS),
        **detections(logits, deltas, levels, HEIGHT, WIDTH, **OPTIONS.pool()),
        **of_centers(boxes, classes, logits, deltas),
        **of_regions(boxes, classes, logits, deltas),
    }


def of_centers(boxes: Any, classes: Any, logits: Any, deltas: Any) -> dict[str, Any]:
    """Return the losses and detections of center maps, made of the first values, of 12 x 10 cells of 8 px."""
    rows, columns = 12, 10
    heatmap, values = (keras.ops.reshape(x[:, : rows * columns], (2, rows, columns, -1)) for x in (logits, deltas))
    maps = (heatmap, 20 * values[..., :2], values[..., 2:])
    targets = center_targets(boxes, classes, rows, columns, 3, 8, 0.7, "published")
    found = center_detections(*maps, HEIGHT, WIDTH, 8, score_threshold=0.0, max_detections=100)
    return {
        **targets._asdict(),
        **point_losses(*maps, targets, 2.0, 4.0, 0.1, 1.0),
        **{f"center {name}": value for name, value in found.items()},
    }


def of_regions(boxes: Any, classes: Any, logits: Any, deltas: Any) -> dict[str, Any]:
    """Return what Mask R-CNN computes without its net; all anchors and ROIs are sampled, because backends differ."""
    spec, logits, deltas = AnchorSpec(max_level=4, num_scales=1), logits[:, :150], deltas[:, :450]  # of 150 cells
    maps = {
        values: {
            "P3": keras.ops.reshape(x[:, : 4 * x.shape[1] // 5], (2, 12, 10, 3 * values)),
            "P4": keras.ops.reshape(x[:, 4 * x.shape[1] // 5 :], (2, 6, 5, 3 * values)),
        }
        for values, x in ((1, logits), (4, deltas))
    }
    levels, everything = anchors(HEIGHT, WIDTH, spec), {"samples": 1000, "positive_share": 1.0, "seed": 0}
    limits = {"level_top_k": 60, "iou_threshold": 0.5, "count": 40}
    proposals = propose(maps[1], maps[4], levels, HEIGHT, WIDTH, **limits)
    classes = keras.ops.where(classes < 0, -1, classes + 1)
    rpn = sample_anchors(levels, boxes, classes, positive_iou=0.5, negative_iou=0.3, **everything)
    rois = sample_rois(proposals, boxes, classes, positive_iou=0.2, **everything)
    crops = multilevel_roi_align(maps[4], proposals, 3)
    masks = keras.ops.sigmoid(keras.ops.reshape(logits[:, :128], (2, 6, 8, 8)))
    row = keras.ops.where(classes > 0, keras.ops.arange(6, dtype="int32"), -1)
    own = RoiTargets(proposals[:, :6], boxes, keras.ops.maximum(classes, 0), row)
    crop = sample_masks(own, masks, samples=4, size=4)
    return {
        **{"proposals": proposals, "crops": crops, "labels": rpn.labels, "mask targets": crop.masks},
        "matches": keras.ops.sort(rois.index, axis=1),
        "RPN score loss": rpn_score_loss(maps[1], rpn.labels, 256.0),
        "RPN box loss": rpn_box_loss(maps[4], rpn, 0.1),
        "class loss": class_loss(keras.ops.reshape(logits[:, :8], (2, 6, 4)), own.classes),
        "box loss": box_loss(keras.ops.reshape(deltas[:, :24], (2, 6, 16)), boxes / 99, own.classes, 1.0),
        "mask loss": mask_loss(keras.ops.reshape(deltas[:, :16], (2, 4, 4, 4)), crop.masks, crop.classes),
    }


def compiled() -> dict[str, np.ndarray]:
    """Return the results of the compiled function; PyTorch computes step by step."""
    if keras.backend.backend() == "jax":
        import jax

        results = jax.jit(everything)(*inputs())
    elif keras.backend.backend() == "torch":
        results = everything(*map(keras.ops.convert_to_tensor, inputs()))
    else:
        import tensorflow as tf

        results = tf.function(everything)(*map(tf.constant, inputs()))
    return {name: keras.ops.convert_to_numpy(value) for name, value in results.items()}


def focal_slopes(logits: Any, classes: Any) -> Any:
    """Return the gradient of the focal loss, which has the same index operations as the loss and one more."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(lambda x: keras.ops.sum(focal_loss(x, classes, 0.25, 1.5)))(logits)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = focal_loss(logits, classes, 0.25, 1.5)
    return tape.gradient(loss, logits)


def indexing(function: Callable[[Any, Any], Any], batch: int | None) -> list[bool]:
    """Return for each gather and scatter whether its indices reach all of `HUGE` logits, without allocating them."""
    shape = (batch, *HUGE[1:])
    return (_jax_indexing if keras.backend.backend() == "jax" else _tf_indexing)(function, shape)


def _tf_indexing(function: Callable[[Any, Any], Any], shape: tuple[int | None, ...]) -> list[bool]:
    """TensorFlow's kernels count elements in the type of the indices."""
    import tensorflow as tf

    specs = tf.TensorSpec(shape, tf.float32), tf.TensorSpec(shape[:2], tf.int32)
    graph = tf.function(function).get_concrete_function(*specs).graph
    found = [op for op in graph.get_operations() if op.type.startswith(("Gather", "TensorScatter"))]
    return [op.inputs[1].dtype == tf.int64 for op in found if op.inputs[0].dtype == tf.float32]


def _jax_indexing(function: Callable[[Any, Any], Any], shape: tuple[int, ...]) -> list[bool]:
    """JAX has an index for each dimension; XLA multiplies them in a type that is wide enough."""
    import jax

    def operands(jaxpr: Any) -> list[tuple[int, ...]]:
        inner = [x.jaxpr for eqn in jaxpr.eqns for x in eqn.params.values() if hasattr(x, "jaxpr")]
        own = [eqn.invars[0].aval for eqn in jaxpr.eqns if eqn.primitive.name in ("gather", "scatter")]
        return [x.shape for x in own if x.dtype == "float32"] + [shape for each in inner for shape in operands(each)]

    specs = jax.ShapeDtypeStruct(shape, "float32"), jax.ShapeDtypeStruct(shape[:2], "int32")
    return [max(operand) < 2**31 for operand in operands(jax.make_jaxpr(function)(*specs).jaxpr)]


def huge_indexing(batch: int | None = HUGE[0]) -> dict[str, list[bool]]:
    return {"focal_loss": indexing(focal_slopes, batch), "pick": indexing(pick, batch)}


@pytest.mark.parametrize("batch", [HUGE[0], None])
def test_indices_reach_as_far_as_a_huge_batch(batch: int | None) -> None:
    if batch is None and keras.backend.backend() == "jax":
        pytest.skip("JAX knows its shapes")
    assert huge_indexing(batch) == {"focal_loss": [True] * 3, "pick": [True]}


def on(backend: str, folder: Path) -> dict[str, np.ndarray]:
    """Return the results of this file on another backend."""
    torch = Path(__file__).parents[2] / ".venv-torch" / "bin" / "python"
    if backend == "torch" and not torch.exists() and not os.environ.get("CI"):
        pytest.skip("There is no .venv-torch: make test-torch")
    command = [torch if backend == "torch" else sys.executable, __file__, folder / "results.npz"]
    subprocess.run(command, env={**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}, check=True)
    with np.load(folder / "results.npz") as results:
        return dict(results)


@pytest.fixture(scope="module", params=["jax", pytest.param("torch", marks=pytest.mark.torch)])
def theirs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Return the results of another backend; on JAX, those of TensorFlow."""
    other = request.param if keras.backend.backend() == "tensorflow" else "tensorflow"
    return on(other, tmp_path_factory.mktemp("backends"))


@pytest.mark.slow
def test_indices_reach_as_far_on_the_other_backend(theirs: dict[str, np.ndarray]) -> None:
    if "indexing of pick" not in theirs:
        pytest.skip("PyTorch counts in int64")
    for name, count in {"focal_loss": 3, "pick": 1}.items():
        assert theirs[f"indexing of {name}"].tolist() == [True] * count


@pytest.mark.slow
def test_both_backends_agree(theirs: dict[str, np.ndarray]) -> None:
    ours = compiled()
    assert ours["positive"].any()
    assert ours["proposals"].any(axis=-1).sum() > 20
    assert (ours["matches"] >= 0).sum() > 15
    assert ours["mask targets"].any()
    assert min(ours["num_detections"].min(), ours["center num_detections"].min()) > 5
    for name, value in ours.items():
        np.testing.assert_allclose(theirs[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


if __name__ == "__main__":
    counted = {} if keras.backend.backend() == "torch" else huge_indexing()
    reach = {f"indexing of {name}": each for name, each in counted.items()}
    np.savez(sys.argv[1], **compiled(), **reach)
