"""Translate the experiments that TF Model Garden writes, and compare the results with Model Garden itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.core import exp_factory
from official.modeling import hyperparams, optimization
from official.vision.configs import backbones, image_classification  # noqa: F401  (registers the experiments)
from official.vision.modeling import factory

from spinenet_tf.training.config import ConfigError
from spinenet_tf.training.config_file import make_config, read_config
from spinenet_tf.training.experiment import Experiment
from spinenet_tf.training.from_experiment import convert_experiment, translate
from spinenet_tf.training.optimization import make_optimizer
from spinenet_tf.training.run import build_model

FOLDERS = ["data.train.folder=imagenet/train", "data.val.folder=imagenet/val"]


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Return `write(experiment)`, which writes it as TF Model Garden does to its model folder."""

    def write(experiment) -> Path:
        hyperparams.save_params_dict_to_yaml(experiment, str(tmp_path / "params.yaml"))
        return tmp_path / "params.yaml"

    return write


def classification():
    """Return the ImageNet experiment with a SpineNet backbone, and a cosine as in the paper."""
    experiment = exp_factory.get_exp_config("resnet_imagenet")
    experiment.task.model.backbone = backbones.Backbone(
        type="spinenet", spinenet=backbones.SpineNet(model_id="96", stochastic_depth_drop_rate=0.2)
    )
    steps = experiment.trainer.train_steps
    experiment.trainer.optimizer_config.learning_rate = optimization.LrConfig(
        type="cosine", cosine=optimization.lr_cfg.CosineLrConfig(initial_learning_rate=1.6, decay_steps=steps)
    )
    return experiment


def rates(config, steps: np.ndarray) -> list[float]:
    """Return the learning rates of a config of this package at these steps."""
    optimizer = make_optimizer(config.optimizer, config.batch_size, config.steps_per_epoch, config.epochs)
    schedule = optimizer._learning_rate
    return [float(schedule(step)) for step in steps]


def garden_rates(experiment, steps: np.ndarray) -> list[float]:
    made = optimization.OptimizerFactory(experiment.trainer.optimizer_config).build_learning_rate()
    return [float(made(tf.constant(step))) for step in steps]


@pytest.mark.parametrize("name", ["retinanet_spinenet_coco", "retinanet_mobile_coco"])
def test_detection_experiments_keep_model_and_schedule(written, tmp_path, name) -> None:
    experiment = exp_factory.get_exp_config(name)
    found = convert_experiment(written(experiment), tmp_path / "ours.yaml")
    config = read_config(tmp_path / "ours.yaml")
    assert config.batch_size * config.steps_per_epoch * config.epochs == 256 * experiment.trainer.train_steps
    steps = np.linspace(0, experiment.trainer.train_steps - 1, 41).astype(int)
    np.testing.assert_allclose(rates(config, steps), garden_rates(experiment, steps), rtol=1e-5)
    theirs = experiment.task.model
    assert config.model.image_size == tuple(theirs.input_size[:2])
    assert config.model.overrides["l2"] == experiment.task.losses.l2_weight_decay
    assert config.model.head["head_width"] == theirs.head.num_filters
    assert config.data.scale == (0.1, 2.0)
    assert config.data.flip
    assert found.changes == {}


def test_a_translated_detector_has_the_parameters_of_model_garden(written) -> None:
    experiment = exp_factory.get_exp_config("retinanet_mobile_coco")
    experiment.task.model.input_size = [128, 128, 3]
    config = make_config(
        translate(Experiment.read(written(experiment))).values | {"class_names": [f"class {i}" for i in range(91)]}, ""
    )
    theirs = factory.build_retinanet(tf_keras.layers.InputSpec(shape=[None, 128, 128, 3]), experiment.task.model)
    theirs(tf.zeros([1, 128, 128, 3]), training=True)
    assert build_model(config).count_params() == sum(np.prod(variable.shape) for variable in theirs.variables)


def test_a_classification_experiment_keeps_its_schedule(written, tmp_path) -> None:
    experiment = classification()
    convert_experiment(written(experiment), tmp_path / "ours.yaml", FOLDERS)
    config = read_config(tmp_path / "ours.yaml")
    assert (config.task, config.model.name) == ("classification", "spinenet_96")
    total, warm = experiment.trainer.train_steps, config.optimizer.warmup_steps
    steps = np.linspace(warm, total - 1, 21).astype(int)
    np.testing.assert_allclose(rates(config, steps), garden_rates(experiment, steps), rtol=1e-4)
    assert config.data.center == experiment.task.validation_data.center_crop_fraction


def test_keys_without_a_counterpart_are_listed_with_their_values(written) -> None:
    experiment = exp_factory.get_exp_config("retinanet_spinenet_coco")
    experiment.task.losses.loss_weight = 2.0
    experiment.task.model.detection_generator.soft_nms_sigma = 0.5
    experiment.task.init_checkpoint = "gs://some/ckpt-1"
    found = translate(Experiment.read(written(experiment)))
    assert found.changes == {
        "task.losses.loss_weight": 2.0,
        "task.model.detection_generator.soft_nms_sigma": 0.5,
        "task.init_checkpoint": "gs://some/ckpt-1",
        "task.init_checkpoint_modules": "all",
    }
    assert "#   task.losses.loss_weight: 2.0" in found.to_yaml("params.yaml").splitlines()
    assert {"runtime.enable_xla", "trainer.steps_per_loop"} <= found.others.keys()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("retinanet_resnetfpn_coco", "task.model.backbone.type must be one of"),
        ("maskrcnn_spinenet_coco", "is a Mask R-CNN experiment"),
    ],
)
def test_other_models_are_refused(written, name, message) -> None:
    with pytest.raises(ConfigError, match=message):
        translate(Experiment.read(written(exp_factory.get_exp_config(name))))


def test_a_classifier_needs_folders(written) -> None:
    with pytest.raises(ConfigError, match=r"add data\.train\.folder=PATH data\.val\.folder=PATH"):
        translate(Experiment.read(written(classification())))
