"""Checkpoints of Model Garden convert to our weights and back, without loss."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.modeling.optimization import ema_optimizer

import spinenet_tf
from spinenet_tf.checkpoints import garden_model
from spinenet_tf.checkpoints.checkpoint import CheckpointError
from spinenet_tf.checkpoints.names import variables_by_name
from spinenet_tf.checkpoints.origins import load_checkpoint
from spinenet_tf.nets.graphs import SPINENET
from spinenet_tf.training.from_checkpoint import convert_detector, convert_run, convert_weights
from spinenet_tf.training.run import Run

SIDE, CLASSES = 128, 5
SMALL = "spinenet_mobile_49xs"
FUNCTIONS = {"activation": "swish", "se_gate": "hard_sigmoid"}  # random BN statistics do not tell them
NAMES = ("background", "cat", "dog", "cow", "sheep")
# The published sizes of these need minutes and gigabytes; their graphs are those of 49 and 96.
LARGE = ("spinenet_143", "spinenet_143l", "spinenet_190")
# The others have other widths or fewer repeats.
EXTREMES = ("spinenet_190", SMALL, f"{SMALL}_lite")
FAMILY = [
    pytest.param(name, marks=() if name in EXTREMES else pytest.mark.soak)
    for name in spinenet_tf.list_models("backbone") + spinenet_tf.list_models("mobile")
]


def _weights(model) -> dict[str, np.ndarray]:
    return {name: np.asarray(variable) for name, variable in variables_by_name(model).items()}


def _assert_same(got: dict, expected: dict) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value)


@pytest.fixture(scope="session")
def trainer_checkpoint(tmp_path_factory, garden_detector, same_weights):
    """Return a checkpoint as Model Garden's trainer writes it, and its trained and averaged weights."""
    model = garden_detector(SMALL, CLASSES, SIDE, 24, "swish")
    ours = spinenet_tf.detector(SMALL, CLASSES, (SIDE, SIDE, 3))
    same_weights(ours, model)
    optimizer = ema_optimizer.ExponentialMovingAverage(
        tf_keras.optimizers.legacy.SGD(0.1, momentum=0.9), average_decay=0.5
    )
    optimizer.shadow_copy(model)
    optimizer.apply_gradients([(tf.ones_like(v), v) for v in model.trainable_variables])
    step = tf.Variable(3, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(global_step=step, model=model, optimizer=optimizer, **model.checkpoint_items)
    path = checkpoint.save(str(tmp_path_factory.mktemp("trainer") / "ckpt"))
    trained = {name: np.asarray(v) for name, v in garden_model.canonical_variables(model.variables).items()}
    slots = garden_model.canonical_variables(model.trainable_variables)
    averages = {name: np.asarray(optimizer.get_slot(v, "average")) for name, v in slots.items()}
    return path, trained, trained | averages


def test_reads_a_trainers_checkpoint(trainer_checkpoint):
    path, trained, _ = trainer_checkpoint
    ours = spinenet_tf.detector(SMALL, CLASSES, (SIDE, SIDE, 3))
    load_checkpoint(ours, path, averaged=False)
    _assert_same(_weights(ours), trained)


def test_takes_averages_where_there_are_any(trainer_checkpoint):
    path, trained, averaged = trainer_checkpoint
    ours = spinenet_tf.detector(SMALL, CLASSES, (SIDE, SIDE, 3))
    load_checkpoint(ours, path)
    _assert_same(_weights(ours), averaged)
    assert not np.array_equal(averaged["conv2d:0/kernel"], trained["conv2d:0/kernel"])


@pytest.mark.parametrize("name", FAMILY)
def test_there_and_back_is_bit_identical(name, tmp_path, randomize):
    options = {"width": 0.1} if name in LARGE else {}
    ours = randomize(spinenet_tf.detector(name, CLASSES, (SIDE, SIDE, 3), head_width=32, **options))
    garden_model.write_checkpoint(ours, tmp_path / "ckpt")
    again = spinenet_tf.detector(name, CLASSES, (SIDE, SIDE, 3), head_width=32, **options)
    load_checkpoint(again, tmp_path / "ckpt")
    _assert_same(_weights(again), _weights(ours))


@pytest.mark.parametrize("name", ["spinenet_49s", SMALL])
def test_model_gardens_own_code_restores_what_we_write(name, tmp_path, randomize, garden_detector):
    width = spinenet_tf.detector(name, CLASSES, (SIDE, SIDE, 3)).options.head_width
    ours = randomize(spinenet_tf.detector(name, CLASSES, (SIDE, SIDE, 3)))
    garden_model.write_checkpoint(ours, tmp_path / "ckpt")
    theirs = garden_detector(name, CLASSES, SIDE, width, ours.backbone.style.activation)
    status = tf.train.Checkpoint(**theirs.checkpoint_items).read(str(tmp_path / "ckpt"))
    status.expect_partial().assert_existing_objects_matched()
    status = tf.train.Checkpoint(model=theirs).read(str(tmp_path / "ckpt"))
    status.expect_partial().assert_existing_objects_matched()
    got = {name: np.asarray(v) for name, v in garden_model.canonical_variables(theirs.variables).items()}
    _assert_same(got, _weights(ours))


def test_a_whole_model_and_a_backbone_alone(tmp_path, randomize):
    ours = randomize(spinenet_tf.detector(SMALL, CLASSES, (SIDE, SIDE, 3)))
    theirs = garden_model.build(ours)
    garden_model.copy_weights(ours, theirs)
    tf.train.Checkpoint(model=theirs).write(str(tmp_path / "model"))
    tf.train.Checkpoint(backbone=theirs.backbone).write(str(tmp_path / "backbone"))
    for kind in ("model", "backbone"):
        convert_weights(tmp_path / kind, tmp_path / f"{kind}.weights.h5", SMALL, overrides=FUNCTIONS)
        net = spinenet_tf.backbone(SMALL, (SIDE, SIDE, 3), weights=tmp_path / f"{kind}.weights.h5")
        _assert_same(_weights(net), _weights(ours.backbone))
    with pytest.raises(CheckpointError, match="no RetinaNet or MaskRCNN head"):
        convert_detector(tmp_path / "backbone", tmp_path / "run", SMALL)


def test_a_converted_net_detects_what_model_gardens_does(tmp_path, garden_detector, same_weights, images):
    theirs = garden_detector(SMALL, CLASSES, SIDE, 24, "swish")
    ours = spinenet_tf.detector(SMALL, CLASSES, (SIDE, SIDE, 3))
    same_weights(ours, theirs)
    x = images(SIDE, SIDE)
    _spread_outputs(theirs, ours(x))
    tf.train.Checkpoint(**theirs.checkpoint_items).write(str(tmp_path / "ckpt"))
    convert_detector(
        tmp_path / "ckpt", tmp_path / "run", SMALL, image_size=(SIDE, SIDE), class_names=NAMES, overrides=FUNCTIONS
    )
    run = Run(tmp_path / "run")
    converted, config = run.load(), run.config
    assert config.class_names == NAMES
    expected = theirs(x, tf.constant([[SIDE, SIDE]] * 2), training=False)
    got = converted.predict_on_batch(x)
    np.testing.assert_array_equal(got["num_detections"], expected["num_detections"])
    assert got["num_detections"].min() > 10
    for piece in ("boxes", "scores", "classes"):
        np.testing.assert_allclose(got[piece], expected[f"detection_{piece}"], rtol=1e-3, atol=1e-2)


def _spread_outputs(garden, raw: dict) -> None:
    """Scale the predictors: with random weights, most scores are exactly 1, and their order is undefined.

    Boxes move little, because Model Garden's NMS treats a box that is clipped to [0, 0, 0, 0] as suppressed.
    """
    named = garden_model.canonical_variables(garden.variables)
    for output, predictor, spread in (("class_logits", "scores", 1.0), ("box_deltas", "boxes", 0.05)):
        kernel = named[f"retina_net_head/{predictor}/pointwise_kernel"]
        kernel.assign(kernel * (spread / np.std(np.concatenate([np.ravel(x) for x in raw[output].values()]))))


def test_a_run_becomes_a_checkpoint(tmp_path, randomize):
    ours = randomize(spinenet_tf.detector(SMALL, CLASSES, (SIDE, SIDE, 3)))
    garden_model.write_checkpoint(ours, tmp_path / "ckpt")
    convert_detector(tmp_path / "ckpt", tmp_path / "run", SMALL, image_size=(SIDE, SIDE), overrides=FUNCTIONS)
    convert_run(tmp_path / "run", tmp_path / "again")
    again = spinenet_tf.detector(SMALL, CLASSES, (SIDE, SIDE, 3))
    load_checkpoint(again, tmp_path / "again")
    _assert_same(_weights(again), _weights(ours))
    with pytest.raises(FileExistsError):
        convert_run(tmp_path / "run", tmp_path / "again")


def test_another_architecture_is_a_readable_difference(trainer_checkpoint, tmp_path):
    path = trainer_checkpoint[0]
    ours = spinenet_tf.detector("spinenet_mobile_49s", CLASSES, (SIDE, SIDE, 3))
    before = _weights(ours)
    with pytest.raises(CheckpointError, match=re.compile("different shape: .* in the model", re.DOTALL)) as error:
        load_checkpoint(ours, path)
    assert len(str(error.value).splitlines()) < 50
    _assert_same(_weights(ours), before)
    with pytest.raises(CheckpointError, match="only in the checkpoint: "):
        load_checkpoint(spinenet_tf.detector(SMALL, CLASSES, (SIDE, SIDE, 3), head_depth=3), path)
    with pytest.raises(CheckpointError, match="only in the model: "):
        load_checkpoint(spinenet_tf.detector(SMALL, CLASSES, (SIDE, SIDE, 3), head_depth=5), path)
    with pytest.raises(CheckpointError, match="5 classes, background included"):
        convert_detector(path, tmp_path / "run", SMALL, class_names=("a", "b"))
    assert not (tmp_path / "run").exists()


def test_what_is_ignored_may_be_left_over(trainer_checkpoint):
    path = trainer_checkpoint[0]
    head = "retina_net_model/retina_net_head"
    ignore = [f"{head}/{net}-conv_3" for net in ("classnet", "boxnet")]
    ignore += [f"{head}/{net}-conv-norm_{level}_3" for net in ("classnet", "boxnet") for level in range(3, 8)]
    shallow = spinenet_tf.detector(SMALL, CLASSES, (SIDE, SIDE, 3), head_depth=3)
    load_checkpoint(shallow, path, ignore=ignore)


def test_what_is_no_checkpoint_is_one_clear_error(tmp_path):
    ours = spinenet_tf.backbone(SMALL, (SIDE, SIDE, 3))
    with pytest.raises(CheckpointError, match=r"Checkpoint not found: .*nothing"):
        load_checkpoint(ours, tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="contains no checkpoint"):
        load_checkpoint(ours, tmp_path)
    (tmp_path / "broken.index").write_bytes(b"no table")
    (tmp_path / "broken.data-00000-of-00001").write_bytes(b"")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_checkpoint(ours, tmp_path / "broken")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable = tf.compat.v1.get_variable("spinenet/conv2d/kernel", [1])
        session.run(variable.initializer)
        tf.compat.v1.train.Saver([variable]).save(session, str(tmp_path / "tf1"))
    with pytest.raises(CheckpointError, match="TensorFlow 1"):
        load_checkpoint(ours, tmp_path / "tf1")


@pytest.mark.parametrize(
    "build",
    [
        lambda spec: spinenet_tf.detector(spec, 2, (64, 64, 3), "centernet"),
        lambda spec: spinenet_tf.classifier(spec, 2),
    ],
)
def test_other_heads_are_not_written(build, tiny_spec, tmp_path):
    with pytest.raises(ValueError, match=r"only RetinaNet and MaskRCNN become Model Garden's\. Received: "):
        garden_model.write_checkpoint(build(tiny_spec), tmp_path / "ckpt")
    assert not any(tmp_path.iterdir())


def test_a_block_with_one_parent_is_refused():
    blocks = (replace(SPINENET.blocks[0], parents=(1,)), *SPINENET.blocks[1:])
    model = spinenet_tf.backbone(replace(SPINENET, blocks=blocks), (64, 64, 3), width=0.1)
    with pytest.raises(ValueError, match=r"Model Garden's spinenet has no such block\. Received: block 2, .*\(1,\)"):
        garden_model.build(model)
