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


@pytest.mark.parametrize("name", ["retinanet_spinenet_coco", "retinanet_mobile_coco", "maskrcnn_spinenet_coco"])
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
    parser = experiment.task.train_data.parser
    assert config.data.scale == (parser.aug_scale_min, parser.aug_scale_max)
    assert config.data.flip
    assert found.changes == {}


def test_a_translated_retinanet_has_the_parameters_of_model_garden(written) -> None:
    experiment = exp_factory.get_exp_config("retinanet_mobile_coco")
    experiment.task.model.input_size = [128, 128, 3]
    config = make_config(translate(Experiment.read(written(experiment))).values | names(91), "")
    theirs = factory.build_retinanet(tf_keras.layers.InputSpec(shape=[None, 128, 128, 3]), experiment.task.model)
    theirs(tf.zeros([1, 128, 128, 3]), training=True)
    assert build_model(config).count_params() == parameters(theirs)


def names(count: int) -> dict[str, list[str]]:
    return {"class_names": [f"class {i}" for i in range(count)]}


def parameters(net: tf_keras.Model) -> int:
    return sum(np.prod(variable.shape) for variable in net.variables)


def mask_rcnn():
    """Return the Mask R-CNN experiment with a small backbone and narrow heads, each of another depth and width."""
    experiment = exp_factory.get_exp_config("maskrcnn_spinenet_coco")
    model = experiment.task.model
    model.input_size = [128, 128, 3]
    model.anchor.num_scales = 2
    for k, head in enumerate((model.rpn_head, model.detection_head, model.mask_head)):
        head.num_convs, head.num_filters = k + 1, 8 * (k + 2)
    model.detection_head.num_fcs, model.detection_head.fc_dims = 2, 40
    model.backbone.spinenet.model_id = "49S"
    return experiment


def test_a_translated_mask_rcnn_has_the_parameters_of_model_garden(written) -> None:
    experiment = mask_rcnn()
    found = translate(Experiment.read(written(experiment)))
    assert found.changes == {}
    config = make_config(found.values | names(90), "")  # Model Garden also counts the background
    spec, size = tf_keras.layers.InputSpec(shape=[1, 128, 128, 3]), tf.constant([[128, 128]])
    theirs = factory.build_maskrcnn(spec, experiment.task.model)
    theirs(tf.zeros([1, 128, 128, 3]), image_shape=size, training=False)
    assert build_model(config).count_params() == parameters(theirs)


def test_the_options_of_mask_rcnn_are_those_of_model_garden(written) -> None:
    experiment = mask_rcnn()
    model, parser = experiment.task.model, experiment.task.train_data.parser
    model.roi_generator.pre_nms_top_k, model.roi_generator.test_pre_nms_top_k = 11, 12
    model.roi_generator.num_proposals, model.roi_generator.test_num_proposals = 13, 14
    model.roi_sampler.num_sampled_rois, model.mask_sampler.num_sampled_masks = 15, 16
    model.roi_sampler.foreground_fraction, parser.rpn_fg_fraction, parser.rpn_batch_size_per_im = 0.3, 0.4, 17
    model.detection_generator.nms_iou_threshold, experiment.task.losses.frcnn_huber_loss_delta = 0.6, 2.0
    head = translate(Experiment.read(written(experiment))).values["model"]["head"]
    expected = {
        "level_proposals_training": 11, "level_proposals": 12, "proposals_training": 13, "proposals": 14,
        "roi_samples": 15, "mask_samples": 16, "roi_positive_share": 0.3, "rpn_positive_share": 0.4, "rpn_samples": 17,
        "iou_threshold": 0.6, "box_huber_delta": 2.0, "rpn_normalizer": "model_garden",
    }  # fmt: skip
    assert {name: head[name] for name in expected} == expected


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
    experiment.task.model.head.share_level_convs = False
    experiment.task.init_checkpoint = "gs://some/ckpt-1"
    found = translate(Experiment.read(written(experiment)))
    assert found.changes == {
        "task.losses.loss_weight": 2.0,
        "task.model.detection_generator.soft_nms_sigma": 0.5,
        "task.model.head.share_level_convs": False,
        "task.init_checkpoint": "gs://some/ckpt-1",
        "task.init_checkpoint_modules": "all",
    }
    assert "#   task.losses.loss_weight: 2.0" in found.to_yaml("params.yaml").splitlines()
    assert {"runtime.enable_xla", "trainer.steps_per_loop"} <= found.others.keys()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("retinanet_resnetfpn_coco", "task.model.backbone.type must be one of"),
        ("cascadercnn_spinenet_coco", "roi_sampler.cascade_iou_thresholds must be None for the head mask_rcnn"),
        ("fasterrcnn_resnetfpn_coco", "task.model.backbone.type must be one of"),
    ],
)
def test_other_models_are_refused(written, name, message) -> None:
    with pytest.raises(ConfigError, match=message):
        translate(Experiment.read(written(exp_factory.get_exp_config(name))))


def test_a_classifier_needs_folders(written) -> None:
    with pytest.raises(ConfigError, match=r"add data\.train\.folder=PATH data\.val\.folder=PATH"):
        translate(Experiment.read(written(classification())))
