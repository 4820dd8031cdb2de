"""A checkpoint with Model Garden's names is converted to a run; errors are one line.

tests/garden has the same with checkpoints of Model Garden's own code.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import spinenet_tf
from spinenet_tf.checkpoints.checkpoint import CheckpointError
from spinenet_tf.checkpoints.coco_classes import COCO_CLASSES, class_names_of
from spinenet_tf.checkpoints.names import variables_by_name
from spinenet_tf.checkpoints.origins import load_checkpoint
from spinenet_tf.training.from_checkpoint import convert_detector, parse_overrides
from spinenet_tf.training.run import Run, RunError

pytestmark = pytest.mark.usefixtures("tiny_model")
OPTIONS = {"max_level": 5}
CLASSES = 3


@pytest.fixture(scope="module")
def detector(tiny_row, settle):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(spinenet_tf.nets.family.VARIANTS, "tiny", tiny_row)
        return settle(spinenet_tf.detector("tiny", CLASSES, (64, 64, 3), activation="swish", **OPTIONS))


@pytest.fixture(scope="module")
def checkpoint(detector, as_garden, tmp_path_factory) -> Path:
    """Return a checkpoint of `detector` with the variable names of the second net in a trainer's process."""
    root = tf.train.Checkpoint(global_step=tf.Variable(7, name="global_step"), optimizer=tf.Module())
    root.optimizer.iterations = tf.Variable(7, name="SGD/iter")
    root.model = tf.Module()
    for index, (name, variable) in enumerate(variables_by_name(detector).items()):
        setattr(root.model, f"v{index}", tf.Variable(np.asarray(variable), name=as_garden(name)))
    return Path(root.write(str(tmp_path_factory.mktemp("garden") / "ckpt")))


def test_a_checkpoint_becomes_a_run(detector, checkpoint, tmp_path, images):
    convert_detector(checkpoint, tmp_path / "run", "tiny", overrides=OPTIONS)
    run = Run(tmp_path / "run")
    converted, config = run.load(), run.config
    assert config.class_names == ("background", "class 1", "class 2")
    assert config.model.overrides["activation"] == "swish"
    x = images(64, 64)
    got, expected = converted(x), detector(x)
    for piece, levels in expected.items():
        for level, value in levels.items():
            np.testing.assert_array_equal(got[piece][level], value)
    assert 0 not in converted.predict_on_batch(x)["classes"]


def test_the_command_line_converts_and_evaluates_by_class_name(checkpoint, tmp_path, succeed):
    from spinenet_tf.data.formats.digits import write_digits

    photos, annotations = write_digits(tmp_path / "data", 2, classes=1)
    (tmp_path / "names.txt").write_text("background\ndigit\nother\n")
    run = tmp_path / "run"
    succeed(
        *("convert", checkpoint, run, "max_level=5", "score_threshold=0.001", "--model", "tiny"),
        *("--class-names", tmp_path / "names.txt", "--image-size", 64, 64),
    )
    succeed("evaluate", run, "--annotations", annotations, "--images", photos, "--json", tmp_path / "numbers.json")
    assert '"digit"' in (tmp_path / "numbers.json").read_text()


def test_backbone_weights_alone(detector, checkpoint, tmp_path, succeed, capsys):
    path = tmp_path / "net.weights.h5"
    succeed("convert", checkpoint, path, "max_level=5", "--model", "tiny")
    assert "net.weights.h5: activation=swish." in capsys.readouterr().out
    net = spinenet_tf.backbone("tiny", (64, 64, 3), weights=path, activation="swish", **OPTIONS)
    for name, variable in variables_by_name(detector.backbone).items():
        np.testing.assert_array_equal(np.asarray(variables_by_name(net)[name]), np.asarray(variable))


def test_an_activation_that_is_given_is_taken(checkpoint, tmp_path):
    converted = convert_detector(checkpoint, tmp_path / "run", "tiny", overrides=OPTIONS | {"activation": "gelu"})
    assert converted.backbone.style.activation == "gelu"


def test_overrides_are_plain_values():
    pairs = ["max_level=5", "activation=swish", "aspect_ratios=[1.0, 2]"]
    assert parse_overrides(pairs) == {"max_level": 5, "activation": "swish", "aspect_ratios": [1.0, 2]}


def test_a_run_in_the_way_is_left_alone(checkpoint, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(RunError, match="exists"):
        convert_detector(checkpoint, tmp_path / "run", "tiny", overrides=OPTIONS)
    assert not list((tmp_path / "run").iterdir())


def test_a_converted_run_has_no_data_to_train_on(checkpoint, tmp_path):
    from spinenet_tf.training.config import ConfigError

    convert_detector(checkpoint, tmp_path / "run", "tiny", overrides=OPTIONS)
    with pytest.raises(ConfigError, match="has no data"):
        Run(tmp_path / "run").config.own_data()


def test_another_architecture_is_a_list_of_differences(checkpoint):
    wider = spinenet_tf.detector("tiny", CLASSES, (64, 64, 3), head_width=9, **OPTIONS)
    before = wider.get_weights()
    with pytest.raises(
        CheckpointError, match=r"boxes/kernel: \(3, 3, 8, 36\) in the checkpoint, \(3, 3, 9, 36\) in the model"
    ):
        load_checkpoint(wider, checkpoint)
    for old, new in zip(before, wider.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_coco_classes_are_numbered_by_category_id():
    names = class_names_of(91)
    assert len(COCO_CLASSES) == 80
    assert (names[0], names[1], names[12], names[90]) == ("background", "person", "class 12", "toothbrush")
