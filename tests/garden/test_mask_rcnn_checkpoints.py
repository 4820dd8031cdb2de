"""Checkpoints of Model Garden's Mask R-CNN convert to our weights and back, without loss, and detect the same."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import spinenet_tf
from spinenet_tf.checkpoints import garden_model
from spinenet_tf.checkpoints.names import variables_by_name
from spinenet_tf.checkpoints.origins import load_checkpoint
from spinenet_tf.training.from_checkpoint import convert_detector, convert_run
from spinenet_tf.training.run import Run

SIDE, CLASSES = 128, 5
NAMES = ("background", "cat", "dog", "cow", "sheep")
WIDTHS = {"rpn_width": 8, "box_width": 8, "fc_width": 16, "mask_width": 8, "width": 0.1, "endpoint": 16}
OPTIONS = WIDTHS | {"proposals": 50, "max_detections": 10}


def build(**options):
    return spinenet_tf.detector(
        "spinenet_49s", CLASSES, (SIDE, SIDE, 3), "mask_rcnn", background=True, **OPTIONS | options
    )


def weights(model) -> dict[str, np.ndarray]:
    return {name: np.asarray(variable) for name, variable in variables_by_name(model).items()}


def assert_same(got: dict, expected: dict) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)


@pytest.fixture(scope="module")
def ours(randomize):
    return randomize(build(rpn_depth=2, fc_depth=2))


@pytest.fixture(scope="module")
def theirs(ours):
    return garden_model.build(ours)


@pytest.fixture(scope="module", autouse=True)
def _build_once(theirs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(garden_model, "build", lambda model: theirs)
        yield


@pytest.fixture(scope="module")
def checkpoint(ours, tmp_path_factory):
    path = tmp_path_factory.mktemp("mask_rcnn") / "ckpt"
    garden_model.write_checkpoint(ours, path)
    return path


def test_all_variables_have_a_name(ours):
    assert len(weights(ours)) == len(ours.variables) - 1  # the last is the state of the generator of random numbers


def test_there_and_back_is_bit_identical(ours, checkpoint):
    again = build(rpn_depth=2, fc_depth=2)
    load_checkpoint(again, checkpoint)
    assert_same(weights(again), weights(ours))


def test_model_gardens_own_code_restores_what_we_write(ours, theirs, checkpoint):
    for variable in theirs.variables:
        variable.assign(tf.zeros_like(variable))
    assert set(theirs.checkpoint_items) == {"backbone", "rpn_head", "detection_head", "mask_head"}
    status = tf.train.Checkpoint(**theirs.checkpoint_items).read(str(checkpoint))
    status.expect_partial().assert_existing_objects_matched()
    got = {name: np.asarray(v) for name, v in garden_model.canonical_variables(theirs.variables).items()}
    assert_same(got, weights(ours))


def test_a_checkpoint_becomes_a_run_and_a_run_a_checkpoint(ours, checkpoint, tmp_path):
    given = {"activation": "relu", "rpn_depth": 2, "fc_depth": 2}
    sizes = {"image_size": (SIDE, SIDE), "class_names": NAMES}
    convert_detector(checkpoint, tmp_path / "run", "spinenet_49s", overrides=OPTIONS | given, **sizes)
    run = Run(tmp_path / "run")
    assert (run.config.task, run.config.class_names) == ("instance segmentation", NAMES)
    assert_same(weights(run.load()), weights(ours))
    convert_run(tmp_path / "run", tmp_path / "again")
    again = build(rpn_depth=2, fc_depth=2)
    load_checkpoint(again, tmp_path / "again")
    assert_same(weights(again), weights(ours))


def test_a_backbone_is_read_from_it(ours, checkpoint):
    net = spinenet_tf.backbone("spinenet_49s", (SIDE, SIDE, 3), width=0.1, endpoint=16)
    load_checkpoint(net, checkpoint)
    assert_same(weights(net), weights(ours.backbone))


def test_separable_convs_are_refused(ours, theirs):
    separable = build(tower="separable")
    with pytest.raises(ValueError, match=r"separable too, and ours are not\. Received: "):
        garden_model._mask_rcnn(separable, (SIDE, SIDE))
