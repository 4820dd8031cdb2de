"""Config files: find one by name, merge it with its bases, apply `key=value` overrides; errors are one line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from spinenet_tf._files.document import DEEPEST, DocumentError, Scalar, parse_yaml, plain, read_yaml
from spinenet_tf.training.config import ConfigError, TrainConfig

_SHOWN = 20  # errors that a message lists
_LONGEST_CHAIN = 8  # configs, each the base of the previous one
_PACKAGE = "spinenet_tf.configs"
Schema = TypeVar("Schema", bound=BaseModel)


def find_config(name: str, package: str = _PACKAGE) -> Path:
    """Return the path of a config, given as a path or as the name of a config in a package.

    Raises:
        ConfigError: `name` is neither; the message lists the configs in the package.
    """
    entries = [entry for entry in files(package).iterdir() if entry.name.endswith(".yaml")]
    shipped = {entry.name.removesuffix(".yaml"): entry for entry in entries}
    if name in shipped and not _is_file(Path(name)):
        return Path(str(shipped[name]))
    if not _is_file(Path(name)):
        raise ConfigError(f"There is no config {name}. The package has: {', '.join(sorted(shipped))}.")
    return Path(name)


Overrides = Mapping[str, Any] | Sequence[str]


def resolve(config: TrainConfig | Mapping[str, Any] | str | os.PathLike, overrides: Overrides = ()) -> TrainConfig:
    """Return the config that a user passed: the name of one of the package, a YAML file, or its content.

    Raises:
        ConfigError: as `find_config` and `read_config` do.
    """
    if isinstance(config, (str, os.PathLike)):
        return read_config(find_config(os.fspath(config)), overrides)
    if isinstance(config, TrainConfig):
        config = config.model_dump(mode="json")
    values = _copied(config)
    apply_overrides(values, overrides)
    return make_config(values, "config")


def read_config(path: str | Path, overrides: Overrides = ()) -> TrainConfig:
    """Read a config file and apply overrides: `{"key.subkey": value}`, or texts `key.subkey=value` with YAML values.

    A config may name another config by `base: OTHER.yaml`, relative to its folder, and list only the differences:
    mappings are merged key by key, any other value replaces that of the base.

    Raises:
        ConfigError: there is no such file, it is not YAML, a key is unknown or missing, a value is out of range, or an
            override has no `=`.
    """
    path = Path(path)
    values = read_values(path)
    apply_overrides(values, overrides)
    return make_config(values, path)


def make_config(values: dict[str, Any], source: object) -> TrainConfig:
    """Return the training config with these values; raises as `validated` does."""
    return validated(TrainConfig, values, source)


def validated(schema: type[Schema], values: dict[str, Any], source: object, context: Any = None) -> Schema:
    """Return the config of any schema with these values; `source` names their origin in errors.

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type or is out of range. The message lists
            all errors.
    """
    try:
        return schema.model_validate(values, context=context)
    except ValidationError as error:
        faults = [_fault(fault) for fault in error.errors(include_url=False)]
        more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        raise ConfigError(f"{source}: {'; '.join(faults[:_SHOWN] + more)}") from error


def read_values(path: Path, readers: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return a file's values merged over those of its base; `readers` are the files that have it as a base."""
    if len(readers) == _LONGEST_CHAIN or any(_is_same(path, reader) for reader in readers):
        raise ConfigError(
            f"{path} is its own base, or too many bases follow each other: {', '.join(map(str, readers))}."
        )
    if not _is_file(path):
        raise ConfigError(f"There is no config {path}." + (f" It is the base of {readers[-1]}." if readers else ""))
    try:
        values = read_yaml(path)
    except DocumentError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is not a config: it has no keys.")
    return with_base(values, path.parent, (*readers, path))


def with_base(values: dict[str, Any], folder: Path, readers: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return values merged over those of their `base`, a file relative to `folder`, if they have one."""
    values = dict(values)
    base = values.pop("base", None)
    if plain(base) is None:
        return values
    text = base.text if isinstance(base, Scalar) else str(base)
    return _joined(read_values(folder / Path(text).expanduser(), readers), values)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # not a valid file name
        return False


def _is_same(path: Path, other: Path) -> bool:
    return _is_file(path) and path.samefile(other)


def _joined(base: Any, values: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(values, dict)):
        return values
    return base | {key: _joined(base.get(key), value) for key, value in values.items()}


def _fault(fault: Any) -> str:
    """Return the key of an invalid value and the reason."""
    place = ".".join(str(part) for part in fault["loc"] if not str(part).startswith("("))
    message = " ".join(fault["msg"].removeprefix("Value error, ").split())[:1000]  # it may repeat the value
    return f"{place}: {message}" if place else message


def apply_override(values: Any, override: str) -> None:
    """Set one `key.subkey=value` in nested `values`; the value is YAML.

    Raises:
        ConfigError: there is no `=`, a parent of the key is not a mapping, or the value is not YAML.
    """
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"An override is key=value. Received: {override!r}")
    try:
        value = _as_typed(parse_yaml(text), text.strip())
    except DocumentError as error:
        raise ConfigError(f"The value of {key} is not YAML. Received: {override[:80]!r}") from error
    _set(values, key, value)


def apply_overrides(values: dict[str, Any], overrides: Overrides) -> None:
    """Set keys in nested `values`; raises as `apply_override` does."""
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            _set(values, key, _copied(value))
        return
    for override in [overrides] if isinstance(overrides, str) else overrides:
        apply_override(values, override)


def _set(values: Any, key: str, value: Any) -> None:
    """Set `key.subkey` in nested `values`."""
    *parents, last = key.split(".")
    if len(parents) >= DEEPEST:
        raise ConfigError(f"A key has at most {DEEPEST} levels. Received: {key[:40]!r}")
    for parent in parents:
        values = values.setdefault(parent, {}) if isinstance(values, dict) else None
    if not isinstance(values, dict):
        received = f"{key}={plain(value)!r}"[:80]
        raise ConfigError(f"{key} cannot be set: a parent of it is not a mapping. Received: {received}")
    values[last] = value


def _copied(value: Any) -> Any:
    """Return a copy with every mapping as a dictionary, so that overrides do not change the user's."""
    return {key: _copied(part) for key, part in value.items()} if isinstance(value, Mapping) else value


def _as_typed(value: Any, text: str) -> Any:
    """Keep the text of a value that is not a mapping, a list or quoted: a file name may contain ` #`."""
    if isinstance(value, (dict, list)) or text[:1] in ("'", '"', "!", "&", "|", ">"):
        return value
    return Scalar(plain(value), text)
