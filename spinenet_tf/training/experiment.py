"""Read an experiment of TF Model Garden key by key, and remember which keys were translated."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from spinenet_tf._files.document import DocumentError, flat, parse_yaml, plain
from spinenet_tf.training.config import ConfigError

# Keys that set how TF Model Garden runs, not what it trains.
_HARMLESS = (
    "runtime.*",
    "trainer.*",
    "task.evaluation.*",
    "task.export_config.*",
    "task.model.backbone.*.use_keras_upsampling_2d",
    "task.model.detection_generator.tflite_post_processing.*",
    "task.model.detection_generator.use_cpu_nms",
    "task.model.num_classes",
    "task.name",
    "task.per_category_metrics",
    "task.use_coco_metrics",
    "task.validation_data.parser.*",
    *(
        f"task.*_data.{key}"
        for key in (
            "apply_tf_data_service_before_batching",
            "autotune_algorithm",
            "block_length",
            "cycle_length",
            "decoder.*",
            "deterministic",
            "drop_remainder",
            "dtype",
            "file_type",
            "image_field_key",
            "is_training",
            "label_field_key",
            "num_examples",
            "prefetch_buffer_size",
            "randaug_magnitude",
            "sharding",
            "shuffle_buffer_size",
        )
    ),
)


class Experiment:
    """The values of an experiment by dotted key, such as `task.model.num_classes`.

    A key counts as translated once `take` or `equals` has accepted its value.
    """

    def __init__(self, values: Mapping[str, Any], source: object = "the experiment"):
        self.source, self.values = source, flat(values)
        self._translated, self._different = set[str](), set[str]()

    @classmethod
    def read(cls, path: Path) -> Experiment:
        """Read a YAML file.

        Raises:
            ConfigError: there is no such file, or it is not a YAML mapping.
        """
        try:
            # PyYAML's tag of tuples, which TF Model Garden writes, is unknown to safe loaders.
            values = plain(parse_yaml(path.read_text("utf-8").replace("!!python/tuple", "")))
        except (DocumentError, OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not an experiment of TF Model Garden: {error}") from error
        if not isinstance(values, dict) or not isinstance(values.get("task"), dict):
            raise ConfigError(f"{path} is not an experiment of TF Model Garden: it has no section task.")
        return cls(values, path)

    def has(self, key: str) -> bool:
        """Return whether there is a value of the key or of a key below it."""
        return any(name == key or name.startswith(f"{key}.") for name in self.values)

    def take(self, key: str) -> Any:
        """Return the value of a key that the translation needs.

        Raises:
            ConfigError: the key is missing.
        """
        if key not in self.values:
            raise ConfigError(
                f"{self.source} has no {key}. A complete experiment is needed: TF Model Garden writes it to its model "
                "folder as params.yaml."
            )
        self._translated.add(key)
        return self.values[key]

    def maybe(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or the default if the key is missing."""
        return self.take(key) if key in self.values else default

    def equals(self, key: str, *valid: Any) -> None:
        """Count the key as translated if its value is what this package does anyway, else as one that changes it."""
        (self._translated if self.values.get(key) in valid else self._different).add(key)

    def left(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the keys that were not translated: those that may change the result, and all others."""
        changes: dict[str, Any] = {}
        others: dict[str, Any] = {}
        for key, value in self.values.items():
            if key not in self._translated:
                harmless = not value or any(fnmatchcase(key, pattern) for pattern in _HARMLESS)
                (others if harmless and key not in self._different else changes)[key] = value
        return changes, others
