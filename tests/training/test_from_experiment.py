"""Test the errors of the translation of experiments; tests/garden translates those of TF Model Garden itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from spinenet_tf.training.config import ConfigError
from spinenet_tf.training.experiment import Experiment
from spinenet_tf.training.from_experiment import convert_experiment, translate


def experiment() -> dict:
    """Return a small complete experiment."""
    data = {"input_path": "coco/train*", "global_batch_size": 64, "cache": False}
    parser = {"aug_rand_hflip": True, "aug_scale_min": 0.5, "aug_scale_max": 2.0, "max_num_instances": 100}
    nms = {"pre_nms_score_threshold": 0.05, "nms_iou_threshold": 0.5, "max_num_detections": 100, "pre_nms_top_k": 5000}
    loss = {"focal_loss_alpha": 0.25, "focal_loss_gamma": 1.5, "huber_loss_delta": 0.1, "box_loss_weight": 50}
    net = {"model_id": "49S", "min_level": 3, "max_level": 7, "stochastic_depth_drop_rate": 0.0}
    return {
        "task": {
            "model": {
                "input_size": [640, 640, 3],
                "backbone": {"type": "spinenet", "spinenet": net},
                "norm_activation": {
                    "activation": "swish",
                    "norm_momentum": 0.99,
                    "norm_epsilon": 0.001,
                    "use_sync_bn": True,
                },
                "head": {"num_convs": 4, "num_filters": 128},
                "anchor": {"num_scales": 3, "aspect_ratios": [0.5, 1.0, 2.0], "anchor_size": 3},
                "detection_generator": nms,
            },
            "losses": loss | {"l2_weight_decay": 4e-5},
            "train_data": data | {"parser": parser},
            "validation_data": data | {"input_path": "coco/val*"},
        },
        "trainer": {
            "train_steps": 2000,
            "validation_interval": 200,
            "checkpoint_interval": 200,
            "optimizer_config": {
                "optimizer": {"type": "sgd", "sgd": {"momentum": 0.9}},
                "learning_rate": {
                    "type": "stepwise",
                    "stepwise": {"boundaries": [1500, 1800], "values": [0.08, 0.008, 0.0008]},
                },
            },
        },
    }


def changed(key: str, value: object, values: dict | None = None) -> Experiment:
    """Return an experiment with a dotted key set; `...` removes the key."""
    values = part = values or experiment()
    *parents, last = key.split(".")
    for parent in parents:
        part = part.setdefault(parent, {})
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return Experiment(values)


def test_rates_are_for_a_batch_of_256_and_epochs_divide_all_boundaries() -> None:
    values = translate(Experiment(experiment())).values
    assert (values["steps_per_epoch"], values["epochs"], values["evaluate_every"]) == (100, 20, 2)
    assert values["optimizer"] == {
        "clip_global_norm": None,
        "name": "sgd",
        "momentum": 0.9,
        "learning_rate": pytest.approx(0.32),
        "schedule": "step",
        "decay_epochs": [5, 2],
        "warmup_steps": 0,
    }
    assert values["model"]["name"] == "spinenet_49s"


def mask_rcnn() -> dict:
    """Return a small complete experiment with Mask R-CNN."""
    values = experiment()
    model, convs = values["task"]["model"], {"num_convs": 1, "num_filters": 16, "use_separable_conv": False}
    del model["head"]
    model |= {
        "include_mask": True,
        "rpn_head": convs,
        "detection_head": convs | {"num_fcs": 1, "fc_dims": 32},
        "mask_head": dict(convs),
        "roi_generator": {
            "pre_nms_top_k": 20, "num_proposals": 10, "nms_iou_threshold": 0.7,
            "test_pre_nms_top_k": 20, "test_num_proposals": 10, "test_nms_iou_threshold": 0.7,
        },
        "roi_sampler": {
            "num_sampled_rois": 16, "foreground_fraction": 0.25, "mix_gt_boxes": True,
            "foreground_iou_threshold": 0.5, "background_iou_high_threshold": 0.5,
        },
        "mask_sampler": {"num_sampled_masks": 4},
    }  # fmt: skip
    values["task"]["losses"] |= {"rpn_huber_loss_delta": 0.1, "frcnn_huber_loss_delta": 1.0}
    values["task"]["train_data"]["parser"] |= {
        "rpn_match_threshold": 0.7, "rpn_unmatched_threshold": 0.3, "rpn_batch_size_per_im": 256, "rpn_fg_fraction": 0.5
    }  # fmt: skip
    return values


def test_a_mask_rcnn_experiment_trains_masks() -> None:
    values = translate(Experiment(mask_rcnn())).values
    assert values["task"] == "instance segmentation"
    head = values["model"]["head"]
    assert (head["kind"], head["tower"], head["rpn_normalizer"]) == ("mask_rcnn", "full", "model_garden")


SAMPLER = "task.model.roi_sampler"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("task.model.include_mask", False, "task.model.include_mask must be True for the head mask_rcnn"),
        (f"{SAMPLER}.cascade_iou_thresholds", [0.6], f"{SAMPLER}.cascade_iou_thresholds must be None"),
        (f"{SAMPLER}.background_iou_high_threshold", 0.4, "background_iou_high_threshold must be equal. Received: 0.5"),
        ("task.model.mask_head.use_separable_conv", True, "task.model.mask_head.use_separable_conv must be False"),
        ("task.model.mask_head.use_separable_conv", [True], r"Received: \[True\]"),
        ("task.model.mask_sampler.num_sampled_masks", ..., "has no task.model.mask_sampler.num_sampled_masks"),
    ],
)
def test_other_forms_of_mask_rcnn_are_refused_by_their_keys(key, value, message) -> None:
    with pytest.raises(ConfigError, match=message):
        translate(changed(key, value, mask_rcnn()))


@pytest.mark.parametrize(
    ("key", "value"), [(f"{SAMPLER}.mix_gt_boxes", False), ("task.model.detection_generator.apply_nms", False)]
)
def test_a_value_of_false_where_this_package_does_true_may_change_the_result(key, value) -> None:
    assert translate(changed(key, value, mask_rcnn())).changes[key] is value


SCHEDULE = "trainer.optimizer_config"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("task.model.head.num_convs", ..., "has no task.model.head.num_convs. A complete experiment is needed"),
        ("task.model.backbone.type", "resnet", "task.model.backbone.type must be one of"),
        ("task.model.backbone.spinenet.model_id", "50", "spinenet_50"),
        ("task.model.norm_activation.activation", "mish", "activation"),
        ("task.train_data.input_path", ["a", "b"], "task.train_data.input_path must be one path"),
        ("trainer.train_steps", 2001, "must be multiples of an epoch of at least 10 steps"),
        (f"{SCHEDULE}.optimizer.type", "lamb", "optimizer.type must be sgd or adam"),
        (f"{SCHEDULE}.learning_rate.type", "exponential", "learning_rate.type must be stepwise or cosine"),
        (f"{SCHEDULE}.learning_rate.stepwise.values", [0.1, 0.05, 0.01], "must fall by a factor of ten"),
        (f"{SCHEDULE}.warmup", {"type": "polynomial"}, "warmup.type must be linear"),
    ],
)
def test_what_cannot_be_translated_is_refused_by_its_key(key, value, message) -> None:
    with pytest.raises(ConfigError, match=message):
        translate(changed(key, value))


@pytest.mark.parametrize("content", ["", "- a", "trainer: {}", "task: ["])
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match="is not an experiment of TF Model Garden"):
        Experiment.read(path)


def test_an_existing_config_is_kept(tmp_path: Path) -> None:
    source, target = tmp_path / "params.yaml", tmp_path / "ours.yaml"
    source.write_text(yaml.safe_dump(experiment()))
    convert_experiment(source, target)
    with pytest.raises(FileExistsError, match="--overwrite"):
        convert_experiment(source, target)
    convert_experiment(source, target, ["epochs=3"], overwrite=True)
    assert yaml.safe_load(target.read_text())["epochs"] == 3


def test_overrides_may_replace_what_is_translated(tmp_path: Path) -> None:
    assert translate(Experiment(experiment()), ["batch_size=8"]).values["batch_size"] == 8
