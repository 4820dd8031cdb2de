"""Translate experiments of TF Model Garden with SpineNet backbones to training configs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from spinenet_tf._files.document import plain
from spinenet_tf._files.writing import write_whole
from spinenet_tf.heads.table import HEADS
from spinenet_tf.training.config import ConfigError
from spinenet_tf.training.config_file import apply_override, make_config
from spinenet_tf.training.experiment import Experiment
from spinenet_tf.training.optimization import PUBLISHED_BATCH

BACKBONES = ("spinenet", "spinenet_mobile")
PRECISIONS = {None: "float32", "": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
SHORTEST = 10  # steps of an epoch
_MODEL, _OPTIMIZER = "task.model", "trainer.optimizer_config"


@dataclass(frozen=True)
class Translation:
    """A training config and the keys of the experiment that it does not express."""

    values: dict[str, Any]  # the config, as in a YAML file
    changes: dict[str, Any]  # dotted key -> value: without a counterpart here, and may change the result
    others: dict[str, Any]  # without a counterpart here, and unset or only about how TF Model Garden runs

    def to_yaml(self, source: object) -> str:
        """Return the config as YAML, with the keys that have no counterpart as comments."""
        titles = {
            "Keys without a counterpart that may change the result:": self.changes,
            "Keys without a counterpart that are unset, or only about how TF Model Garden runs:": self.others,
        }
        lines = [f"Translated from {Path(str(source)).name} of TF Model Garden."]
        for title, keys in titles.items():
            lines += ["", title, *(f"  {key}: {value!r:.100}" for key, value in keys.items())] if keys else []
        comment = "".join(f"# {' '.join(line.splitlines())}".rstrip() + "\n" for line in lines)
        return comment + yaml.safe_dump(self.values, sort_keys=False)


def convert_experiment(
    source: Path, target: Path, overrides: Sequence[str] = (), overwrite: bool = False
) -> Translation:
    """Translate an experiment's `params.yaml`, and write the config to `target`.

    `overrides` are `key=value` pairs of the written config. A classifier needs `data.train.folder` and
    `data.val.folder`, because this package reads image folders for classification, not TFRecord files.

    Raises:
        ConfigError: `source` is not a complete experiment with a SpineNet backbone, or it has a value that cannot be
            translated; the message names the key.
        FileExistsError: `target` exists and `overwrite` is False.
    """
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists: use --overwrite to replace it.")
    translation = translate(Experiment.read(source), overrides)
    write_whole(target, translation.to_yaml(source))
    return translation


def translate(experiment: Experiment, overrides: Sequence[str] = ()) -> Translation:
    """Translate an experiment; raises as `convert_experiment` does."""
    if experiment.has(f"{_MODEL}.detection_head"):
        raise ConfigError(f"{experiment.source} is a Mask R-CNN experiment, which this package does not train.")
    is_detector = experiment.has(f"{_MODEL}.head")
    batch = experiment.take("task.train_data.global_batch_size")
    values = {
        "task": "detection" if is_detector else "classification",
        "model": _model(experiment, is_detector),
        "data": _detection_data(experiment) if is_detector else _classification_data(experiment),
        **_optimization(experiment, batch),
        "batch_size": batch,
        "evaluation_batch_size": experiment.take("task.validation_data.global_batch_size"),
        "checkpoint_every": experiment.take("trainer.checkpoint_interval"),
        "precision": _precision(experiment),
    }
    if not experiment.values.get("task.init_checkpoint"):
        experiment.maybe("task.init_checkpoint_modules")
    if experiment.maybe("task.freeze_backbone"):
        values["freeze"] = ["backbone"]
    if (seed := experiment.maybe("task.train_data.seed")) is not None:
        values["seed"] = seed
    for override in overrides:
        apply_override(values, override)
    values = plain(values)
    if missing := [f"data.{part}.folder=PATH" for part in ("train", "val") if not values["data"][part]]:
        raise ConfigError(f"Classification reads image folders, not TFRecord files: add {' '.join(missing)}")
    make_config(values, experiment.source)
    return Translation(values, *experiment.left())


def _model(experiment: Experiment, is_detector: bool) -> dict[str, Any]:
    kind = experiment.take(f"{_MODEL}.backbone.type")
    if kind not in BACKBONES:
        raise ConfigError(f"{_MODEL}.backbone.type must be one of {BACKBONES}. Received: {kind!r}")
    height, width, _ = experiment.take(f"{_MODEL}.input_size")
    backbone = f"{_MODEL}.backbone.{kind}"
    return {
        "name": f"{kind}_{experiment.take(f'{backbone}.model_id')}".lower(),
        "image_size": [height, width],
        "overrides": _style(experiment, backbone),
        **({"head": _head(experiment, is_mobile=kind == "spinenet_mobile")} if is_detector else {}),
    }


def _style(experiment: Experiment, backbone: str) -> dict[str, Any]:
    norm = f"{_MODEL}.norm_activation"
    style = {
        "min_level": experiment.take(f"{backbone}.min_level"),
        "max_level": experiment.take(f"{backbone}.max_level"),
        "stochastic_depth": experiment.take(f"{backbone}.stochastic_depth_drop_rate") or 0.0,
        "activation": experiment.take(f"{norm}.activation"),
        "norm_momentum": experiment.take(f"{norm}.norm_momentum"),
        "norm_epsilon": experiment.take(f"{norm}.norm_epsilon"),
        "sync_bn": experiment.take(f"{norm}.use_sync_bn"),
        "l2": experiment.take("task.losses.l2_weight_decay"),
    }
    if experiment.has(f"{backbone}.se_ratio"):
        style["se_ratio"] = experiment.take(f"{backbone}.se_ratio") or 0.0
        experiment.equals(f"{backbone}.expand_ratio", 6)
    for level in ("min_level", "max_level"):
        experiment.equals(f"{_MODEL}.{level}", style[level])
    return style


def _head(experiment: Experiment, is_mobile: bool) -> dict[str, Any]:
    """Return the head of a detector: the one whose keys the experiment has."""
    same = {
        "model.decoder.type": ("identity",),
        "model.head.use_separable_conv": (is_mobile,),
        "model.head.share_level_convs": (True, None),
        "model.detection_generator.apply_nms": (True,),
        "model.detection_generator.decode_boxes": (True,),
        "model.detection_generator.nms_version": ("v2",),
        "losses.loss_weight": (1.0,),
        "max_num_eval_detections": (100,),
    }
    for key, valid in same.items():
        experiment.equals(f"task.{key}", *valid)
    known = [row for row in HEADS.values() if row.garden_keys]
    row = max(known, key=lambda row: sum(map(experiment.has, row.garden_keys.values())))
    return {"kind": row.name} | {option: experiment.take(key) for option, key in row.garden_keys.items()}


def _detection_data(experiment: Experiment) -> dict[str, Any]:
    parser = "task.train_data.parser"
    same = {
        "match_threshold": (0.5,),
        "unmatched_threshold": (0.5,),
        "skip_crowd_during_training": (True,),
        "num_channels": (3,),
        "pad": (True,),
        "keep_aspect_ratio": (True,),
    }
    for key, valid in same.items():
        experiment.equals(f"{parser}.{key}", *valid)
    categories = experiment.maybe("task.annotation_file")
    return {
        "train": _source(experiment, "task.train_data", categories),
        "val": _source(experiment, "task.validation_data", categories),
        "flip": experiment.take(f"{parser}.aug_rand_hflip"),
        "scale": [experiment.take(f"{parser}.aug_scale_{end}") for end in ("min", "max")],
        "max_boxes": experiment.take(f"{parser}.max_num_instances"),
        "cache": experiment.take("task.train_data.cache"),
    }


def _source(experiment: Experiment, part: str, categories: str | None) -> dict[str, Any]:
    """Return the source of a part of the data: TFRecord files, or a data set of TFDS."""
    if name := experiment.maybe(f"{part}.tfds_name"):
        source = {"tfds": name, "split": experiment.take(f"{part}.tfds_split")}
        folder = experiment.maybe(f"{part}.tfds_data_dir")
        return source | ({"data_dir": folder} if folder else {})
    path = experiment.take(f"{part}.input_path")
    if not isinstance(path, str) or not path or "," in path:
        raise ConfigError(f"{part}.input_path must be one path or pattern. Received: {path!r:.100}")
    return {"tfrecords": path} | ({"categories": categories} if categories else {})


def _classification_data(experiment: Experiment) -> dict[str, Any]:
    part = "task.train_data"
    experiment.equals(f"{part}.aug_crop", True)
    experiment.equals(f"{part}.decode_jpeg_only", True)
    experiment.equals(f"{part}.tf_resize_method", "bilinear")
    experiment.equals("task.losses.one_hot", True, False)
    experiment.equals("task.losses.loss_weight", 1.0)
    return {
        "train": {},
        "val": {},
        "flip": experiment.take(f"{part}.aug_rand_hflip"),
        "area": list(experiment.take(f"{part}.crop_area_range")),
        "center": experiment.take("task.validation_data.center_crop_fraction"),
        "label_smoothing": experiment.take("task.losses.label_smoothing"),
        "cache": experiment.take(f"{part}.cache"),
    }


def _optimization(experiment: Experiment, batch: int) -> dict[str, Any]:
    """Return the optimizer, the epochs and the evaluation interval; learning rates refer to a batch of 256."""
    scale, total = PUBLISHED_BATCH / batch, experiment.take("trainer.train_steps")
    interval = experiment.take("trainer.validation_interval")
    schedule, boundaries = _schedule(experiment, scale, total)
    steps = math.gcd(total, interval, *boundaries)
    if steps < SHORTEST:
        raise ConfigError(
            "trainer.train_steps, trainer.validation_interval and the boundaries of the learning rate must be "
            f"multiples of an epoch of at least {SHORTEST} steps. Received: {total}, {interval}, {boundaries}"
        )
    if schedule["schedule"] == "step":
        schedule["decay_epochs"] = [(total - boundary) // steps for boundary in boundaries]
    return {
        "optimizer": _optimizer(experiment) | schedule | _warmup(experiment, scale),
        "epochs": total // steps,
        "steps_per_epoch": steps,
        "evaluate_every": interval // steps,
    }


def _optimizer(experiment: Experiment) -> dict[str, Any]:
    kind = experiment.take(f"{_OPTIMIZER}.optimizer.type")
    own = f"{_OPTIMIZER}.optimizer.{kind}"
    found = {"clip_global_norm": experiment.maybe(f"{own}.global_clipnorm")}
    if kind == "sgd":
        found |= {"name": "sgd", "momentum": experiment.take(f"{own}.momentum")}
    elif kind == "adam":
        found |= {"name": "adam"}
        for key, default in {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}.items():
            experiment.equals(f"{own}.{key}", default)
    else:
        raise ConfigError(f"{_OPTIMIZER}.optimizer.type must be sgd or adam. Received: {kind!r}")
    if (decay := experiment.maybe(f"{_OPTIMIZER}.ema.average_decay")) is not None:
        found["ema"] = decay
    return found


def _schedule(experiment: Experiment, scale: float, total: int) -> tuple[dict[str, Any], list[int]]:
    """Return the learning rate's fields, and the steps at which it drops."""
    kind = experiment.take(f"{_OPTIMIZER}.learning_rate.type")
    own = f"{_OPTIMIZER}.learning_rate.{kind}"
    if kind == "stepwise":
        rates, boundaries = experiment.take(f"{own}.values"), experiment.take(f"{own}.boundaries")
        if not all(math.isclose(rate, rates[0] * 0.1**index, rel_tol=1e-6) for index, rate in enumerate(rates)):
            raise ConfigError(f"{own}.values must fall by a factor of ten at each boundary. Received: {rates}")
        return {"learning_rate": rates[0] * scale, "schedule": "step"}, boundaries
    if kind == "cosine":
        steps, rate = experiment.take(f"{own}.decay_steps"), experiment.take(f"{own}.initial_learning_rate")
        if steps != total:
            raise ConfigError(f"{own}.decay_steps must equal trainer.train_steps={total}. Received: {steps}")
        return {"learning_rate": rate * scale, "schedule": "cosine"}, []
    raise ConfigError(f"{_OPTIMIZER}.learning_rate.type must be stepwise or cosine. Received: {kind!r}")


def _warmup(experiment: Experiment, scale: float) -> dict[str, Any]:
    kind = experiment.maybe(f"{_OPTIMIZER}.warmup.type")
    if kind is None:
        return {"warmup_steps": 0}
    if kind != "linear":
        raise ConfigError(f"{_OPTIMIZER}.warmup.type must be linear. Received: {kind!r}")
    steps, start = (experiment.take(f"{_OPTIMIZER}.warmup.linear.warmup_{key}") for key in ("steps", "learning_rate"))
    return {"warmup_steps": steps, "warmup_from": start * scale}


def _precision(experiment: Experiment) -> str:
    given = experiment.maybe("runtime.mixed_precision_dtype")
    return PRECISIONS.get(given, given)
