"""The base class of models with a head: how they are saved, and checked against weights files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import keras

from spinenet_tf.heads.classes import (
    Classes,
    check_data,
    check_same,
    checked_ids,
    checked_names,
    classes_in,
    default_ids,
)
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.base import SpineNetModel
from spinenet_tf.nets.layer_config import arguments, freeze, layer_config
from spinenet_tf.nets.options import Options
from spinenet_tf.nets.weights import DamagedWeightsError


class HeadModel(SpineNetModel):
    """A backbone and a head of `num_classes`; `head` names its row in the table of heads.

    `class_names` and `category_ids` are in the model's config and in all files that it is saved to.
    """

    head: str
    options_type: ClassVar[type[Options]]

    def _equip(self, backbone: Backbone, num_classes: int, options: Options) -> None:
        """Store what training and prediction need besides the network."""
        self.backbone, self.num_classes, self.options = backbone, num_classes, options
        self.include_preprocessing = backbone.include_preprocessing
        self._classes = Classes(num_classes, category_ids=default_ids(options, num_classes))

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes in the order of their numbers, or None. Assign a list to name or rename them.

        Raises:
            ValueError: a name is empty or occurs twice, or there are not `num_classes` names.
        """
        return self._classes.names

    @class_names.setter
    def class_names(self, names: Sequence[str] | None) -> None:
        checked = None if names is None else checked_names(names, self.num_classes)
        self._use_classes(replace(self._classes, names=checked))

    @property
    def category_ids(self) -> tuple[int, ...] | None:
        """The ids of the classes in COCO files in the order of their numbers, or None: class + 1. Can be assigned.

        Raises:
            ValueError: an id is not an integer or occurs twice, or there are not `num_classes` ids.
        """
        return self._classes.category_ids

    @category_ids.setter
    def category_ids(self, ids: Sequence[int] | None) -> None:
        checked = None if ids is None else checked_ids(ids, self.num_classes)
        self._use_classes(replace(self._classes, category_ids=checked))

    def _use_classes(self, classes: Classes) -> None:
        self._classes = classes

    def _take_classes(self, names: Sequence[str], ids: Sequence[int] | None) -> None:
        """Name the classes; without `ids`, these do not change."""
        self.class_names = names
        if ids is not None:
            self.category_ids = ids

    def _before_fit(self, given: dict[str, Any]) -> None:
        data = given.get("x")
        super()._before_fit(given)  # may wrap the data
        self._learn_classes_of(data)

    def _learn_classes_of(self, data: Any) -> None:
        """Take the class names of the training data, and its category ids, if this model has none."""
        names, ids = getattr(data, "class_names", None), getattr(data, "category_ids", None)
        if not names or len(names) != self.num_classes:
            return
        if not self.class_names:
            self._take_classes(names, ids)
        elif self.category_ids is None:
            self.category_ids = ids

    def _before_evaluate(self, given: dict[str, Any]) -> None:
        self._check_classes_of(given.get("x"))
        super()._before_evaluate(given)

    def _check_classes_of(self, data: Any) -> None:
        """Check that batches with the attribute `class_names`, if they have it, number the classes as the model does.

        Raises:
            ClassNamesError: a class has another number.
        """
        names = getattr(data, "class_names", None)
        is_binary = self.num_classes == 1 and names and len(names) == 2  # one logit separates two classes
        if names and self.class_names and not is_binary:
            check_data(names, self.class_names)

    def _note(self) -> dict[str, Any]:
        return {"class_names": self.class_names, "category_ids": self.category_ids} if self.class_names else {}

    def _check_note(self, path: Path, note: dict[str, Any]) -> None:
        """Check that a file has the class names of this model, if both have names.

        Raises:
            ClassNamesError: a name differs.
            DamagedWeightsError: the names or ids in the file are invalid.
        """
        try:
            names = classes_in(note, self.num_classes).names
        except ValueError as error:
            raise DamagedWeightsError(f"{path} contains damaged class names: {error}") from None
        if names and self.class_names:
            check_same(path, names, self.class_names)

    def _take_note(self, note: dict[str, Any]) -> None:
        """Take the class names and category ids in a file if this model has none."""
        found = classes_in(note, self.num_classes)
        if found.names and not (self.class_names and self.category_ids):
            self._take_classes(found.names, found.category_ids)

    def get_config(self) -> dict[str, Any]:
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "num_classes": self.num_classes,
            "options": self.options.plain(),
            "class_names": self.class_names,
            "category_ids": self.category_ids,
        } | layer_config(self)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        given = cls.modern_config(arguments(config))
        backbone = keras.saving.deserialize_keras_object(given.pop("backbone"), custom_objects)
        names, ids = given.pop("class_names", None), given.pop("category_ids", None)
        model = cls(backbone, **given | {"options": cls.options_type.of(given["options"])})
        if names is not None:
            model._take_classes(names, ids)
        return freeze(model, config)

    def config_with(self, **arguments: Any) -> dict[str, Any]:
        own = {name: value for name, value in arguments.items() if name != "include_preprocessing"}
        config = super().config_with(**own)
        config["backbone"]["config"] = self.backbone.config_with(**arguments)
        return config

    @classmethod
    def modern_config(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Convert the config in a `.keras` file of this or an earlier version to the form of this version."""
        return config

    def architecture(self) -> dict[str, Any]:
        return {
            "backbone": self.backbone.architecture(),
            "head": self.head,
            "classes": self.num_classes,
            "options": self.options.of_weights(),
        }

    def _understood(self, architecture: dict[str, Any]) -> dict[str, Any]:
        from spinenet_tf.heads.table import modern_architecture

        return modern_architecture(architecture)


def check_classes(what: str, num_classes: int) -> None:
    """Check that a model has classes.

    Raises:
        ValueError: `num_classes` is not positive.
    """
    if num_classes < 1:
        raise ValueError(f"A {what} needs at least one class. Received: num_classes={num_classes}")


def check_levels(what: str, backbone: Backbone) -> None:
    """Check that a backbone has a level that the head can read, P3 or coarser.

    Raises:
        ValueError: all levels are finer than P3.
    """
    if backbone.max_level < 3:
        received = f"{backbone.name}, whose coarsest level is P{backbone.max_level}"
        raise ValueError(f"The {what} needs a level P3 or coarser. Received: {received}")
