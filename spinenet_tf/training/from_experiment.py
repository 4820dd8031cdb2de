"""Translate experiments of TF Model Garden with SpineNet backbones to training configs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from spinenet_tf._files.document import plain
from spinenet_tf._files.writing import write_whole
from spinenet_tf.heads.head import Head
from spinenet_tf.heads.table import HEADS
from spinenet_tf.training.config import ConfigError
from spinenet_tf.training.config_file import apply_override, make_config
from spinenet_tf.training.experiment import Experiment
from spinenet_tf.training.experiment_optimizer import optimization_of

BACKBONES = ("spinenet", "spinenet_mobile")
PRECISIONS = {None: "float32", "": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
_MODEL = "task.model"
_DETECTOR = {  # keys of detectors with the values that mean what this package does anyway
    f"{_MODEL}.decoder.type": ("identity",),
    f"{_MODEL}.detection_generator.apply_nms": (True,),
    f"{_MODEL}.detection_generator.nms_version": ("v2",),
    "task.losses.loss_weight": (1.0,),
}


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
    head = _head_of(experiment)
    batch = experiment.take("task.train_data.global_batch_size")
    values = {
        "task": head.task if head else "classification",
        "model": _model(experiment, head),
        "data": _detection_data(experiment) if head else _classification_data(experiment),
        **optimization_of(experiment, batch),
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


def _head_of(experiment: Experiment) -> Head | None:
    """Return the head of a detector, the one with most keys in the experiment; None for a classifier."""
    found = {row.name: sum(map(experiment.has, row.experiment.names)) for row in HEADS.values()}
    return HEADS[max(found, key=found.__getitem__)] if any(found.values()) else None


def _model(experiment: Experiment, head: Head | None) -> dict[str, Any]:
    kind = experiment.take(f"{_MODEL}.backbone.type")
    if kind not in BACKBONES:
        raise ConfigError(f"{_MODEL}.backbone.type must be one of {BACKBONES}. Received: {kind!r}")
    height, width, _ = experiment.take(f"{_MODEL}.input_size")
    backbone = f"{_MODEL}.backbone.{kind}"
    return {
        "name": f"{kind}_{experiment.take(f'{backbone}.model_id')}".lower(),
        "image_size": [height, width],
        "overrides": _style(experiment, backbone),
        **({"head": _head(experiment, head, is_mobile=kind == "spinenet_mobile")} if head else {}),
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


def _head(experiment: Experiment, head: Head, is_mobile: bool) -> dict[str, Any]:
    """Return the head of a detector and its options."""
    keys = head.experiment
    for key, value in keys.needed.items():
        if (found := experiment.maybe(key, value)) != value:
            raise ConfigError(f"{key} must be {value!r} for the head {head.name}. Received: {found!r:.100}")
    for key, valid in {**_DETECTOR, **keys.same, **dict.fromkeys(keys.separable, (is_mobile,))}.items():
        experiment.equals(key, *valid)
    options = {option: _option(experiment, keys.of(option)) for option in keys.options}
    return {"kind": head.name, **options, **keys.fixed}


def _option(experiment: Experiment, keys: tuple[str, ...]) -> Any:
    """Return the value of an option, which all its keys must agree on."""
    found = [experiment.take(key) for key in keys]
    if any(value != found[0] for value in found):
        raise ConfigError(f"{', '.join(keys)} must be equal. Received: {', '.join(map(repr, found))}")
    return found[0]


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


def _precision(experiment: Experiment) -> str:
    given = experiment.maybe("runtime.mixed_precision_dtype")
    return PRECISIONS.get(given, given)
