"""Test that wrong or malicious configs raise only ConfigError: every field, unknown keys, too much YAML."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from spinenet_tf.nets.style import Style
from spinenet_tf.training.config import ConfigError, TrainConfig
from spinenet_tf.training.config_file import make_config, read_config
from spinenet_tf.training.data_config import DataConfig, ImageDataConfig
from spinenet_tf.training.model_config import OPTIONS

DETECTION: dict[str, Any] = {
    "model": {"name": "spinenet_49", "image_size": [64, 96]},
    "data": {"train": {"annotations": "a.json", "images": "a"}, "val": {"digits": "d", "scenes": 5}},
    "batch_size": 4,
    "epochs": 3,
}
CLASSIFICATION: dict[str, Any] = DETECTION | {
    "task": "classification",
    "data": {"train": {"folder": "a"}, "val": {"digit_images": "d", "scenes": 5}},
}
SOURCES: tuple[dict[str, Any], ...] = (
    {"tfrecords": "t"},
    {"yolo": "y"},
    {"voc": "v"},
    {"tfds": "t", "split": "train"},
    {"annotations": "a", "images": "i"},
    {"digits": "d", "scenes": 1},
)
WRONG: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 31, 1.5, -0.0, 10**30, -(10**30)),
    *(float("inf"), float("-inf"), float("nan"), 1e-320, 1e308),
    *("", "x", "1", "nan", "\x00", "\U0001f600" * 10, "x" * 10_000, b"\xff"),
    *([], [None], [1, 2, 3], [[]], [0, 0], [2, 1], ["x", {}], {}, {"x": 1}, {1: 2}, {None: None}),
)


def parts(annotation: Any) -> Iterator[Any]:
    """Yield the pydantic models inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation) if get_origin(annotation) else ():
        yield from parts(argument)


def places(part: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every field of the schema, including all parts of unions."""
    for name, field in part.model_fields.items():
        yield (*path, name)
        for inner in parts(field.annotation):
            yield from places(inner, (*path, name))


def put(values: Any, path: tuple[str, ...], value: Any) -> Any:
    """Return nested values with one value replaced."""
    if not path:
        return value
    inner = values.get(path[0], {}) if isinstance(values, dict) else {}
    return {**(values if isinstance(values, dict) else {}), path[0]: put(inner, path[1:], value)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


def fault(path: Path, values: Any) -> str | None:
    """Read a config; return the error message, or None if it is valid."""
    path.write_text(values if isinstance(values, str) else yaml.dump(values), encoding="utf-8")
    return message_of(lambda: read_config(path))


def message_of(read: Callable[[], TrainConfig]) -> str | None:
    """Return the one-line message of a rejected config; a valid one must survive writing and reading."""
    try:
        config = read()
    except ConfigError as error:
        message = str(error)
    else:
        assert make_config(config.model_dump(mode="json"), "again") == config
        return None
    assert "\n" not in message
    assert len(message) < 5_000
    return message


def everywhere() -> list[tuple[dict[str, Any], tuple[str, ...]]]:
    found = set(places(TrainConfig)) | {("model", "head", name) for name in ("kind", *OPTIONS)}
    # Earlier versions had the options of the head among the overrides.
    found |= {("model", "overrides", name) for name in Style.names() + OPTIONS}
    cases = [(DETECTION, place) for place in found] + [(CLASSIFICATION, place) for place in found if "data" in place]
    of_source = {place for place in found if place[:2] == ("data", "train") and len(place) == 3}
    for source, place in itertools.product(SOURCES, of_source):
        if place[2] in source:
            cases.append((put(DETECTION, ("data", "train"), source), place))
    return sorted(cases, key=str)


def test_the_walk_sees_the_whole_schema() -> None:
    found = set(places(TrainConfig))
    assert {("seed",), ("optimizer", "ema"), ("data", "mosaic"), ("data", "center"), ("data", "val", "tfds")} <= found
    assert not set(Style.names()) & set(OPTIONS)  # both are arguments of the factory
    of_data = {name for part in (DataConfig, ImageDataConfig) for name in part.model_fields}
    assert of_data <= {place[1] for place in found if len(place) > 1}


def test_of_a_wrong_value_in_any_field_only_a_config_error_comes(promise) -> None:
    cases = list(itertools.product(everywhere(), WRONG))
    messages = [
        message_of(partial(make_config, put(base, place, value), "mine.yaml")) for (base, place), value in cases
    ]
    assert sum(message is not None for message in messages) > len(cases) // 2
    promise("Configs: a wrong value in any field raises a one-line ConfigError", cases=len(cases))


@pytest.mark.parametrize("base", [DETECTION, CLASSIFICATION])
def test_the_command_line_is_under_the_same_rules(path: Path, base: dict[str, Any], promise) -> None:
    texts = ("", "-1", "1e400", ".nan", "[", "{a: *b}", "!!python/name:os.system", "[" * 99, "'\\0'", "&a [*a]", "true")
    found = sorted({place for values, place in everywhere() if values is base})
    cases = list(itertools.product(found, texts))
    path.write_text(yaml.safe_dump(base))
    for place, text in cases:
        message_of(partial(read_config, path, [f"{'.'.join(place)}={text}"]))
    promise("Configs: overrides on the command line follow the same rules", cases=len(cases))


def test_an_unknown_key_anywhere_is_refused_with_the_nearest_name(path: Path, promise) -> None:
    found = [(base, place) for base, place in everywhere() if len(place[-1]) > 3]
    tried = 0
    for base, place in found:
        siblings = {other[-1] for other in places(TrainConfig) if other[:-1] == place[:-1]}
        misspelled = place[-1] + place[-1][-1]
        is_part = isinstance(at(base, place[:-1]), dict) and "Unknown" not in (fault(path, put(base, place, [])) or "")
        if misspelled in siblings or not is_part:
            continue
        message = fault(path, put(base, (*place[:-1], misspelled), 1))
        assert message
        assert f"Unknown {'override' if 'overrides' in place[:-1] else 'key'} {misspelled!r}. Did you mean" in message
        tried += 1
    assert tried > 80
    promise("Configs: an unknown key is refused with the nearest valid name", cases=tried)


def at(values: Any, path: tuple[str, ...]) -> Any:
    """Return the value of a config at a path; an optional part that is missing is empty."""
    for name in path:
        missing = {} if name in ("overrides", "optimizer") else None
        values = values.get(name, missing) if isinstance(values, dict) else None
    return values


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in itertools.pairwise("abcdefghi")
)
HOSTILE = {
    "billion laughs": LAUGHS,
    "merged laughs": "a: &a {x: 1}\n"
    + "".join(f"{name}: &{name} {{<<: [{', '.join([f'*{b}'] * 9)}]}}\n" for b, name in itertools.pairwise("abcdefghi")),
    "itself": "a: &a [*a]",
    "itself, merged": "&a {<<: *a, b: 1}",
    "deep lists": "[" * 50_000,
    "deep mappings": "{a: " * 50_000,
    "deep blocks": "".join(f"{' ' * depth}a:\n" for depth in range(800)),
    "deep dashes": "- " * 20_000 + "x",
    "long": "x: " + "y" * 2_000_000,
    "many": "[" + "1," * 400_000 + "1]",
    "twice": yaml.safe_dump(DETECTION) + "epochs: 5\n",
    "twice inside": "model: {name: spinenet_49, name: spinenet_96}",
    "object": "!!python/object/apply:os.system ['touch /tmp/executed']",
    "module": "!!python/module:os",
    "name": "epochs: !!python/name:os.system",
    "tuple": "epochs: !!python/tuple [1]",
    "custom tag": "epochs: !secret x",
    "huge number": "epochs: " + "9" * 10_000,
    "false date": "epochs: 2001-99-99",
    "false bool": "epochs: !!bool x",
    "false int": "epochs: !!int x",
    "false time": "epochs: !!timestamp x",
    "false bytes": "epochs: !!binary x",
    "false set": "epochs: !!set x",
    "list as key": "? [1]\n: 2",
    "two documents": "a: 1\n---\nb: 2",
    "no anchor": "a: *b",
    "control": "a: \x07",
    "tab": "a:\n\t- b",
    "percent": "%YAML 9.9\n---\na: 1",
    "binary": "\x00\x01\x02",
    "null base": "base: ''",
    "base of its own": "base: mine.yaml",
    "base around": "base: ../{folder}/mine.yaml",
    "long base": "base: " + "x" * 2_000,
    "base with zero": 'base: "\\0"',
    "base of a list": "base: [mine.yaml]",
    "device as base": "base: /dev/zero",
    "folder as base": "base: .",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_yaml_is_refused_soon(path: Path, kind: str, promise) -> None:
    start = time.process_time()
    assert fault(path, HOSTILE[kind].replace("{folder}", path.parent.name))
    assert time.process_time() - start < 30
    assert not Path("/tmp/executed").exists()
    promise(
        "Configs: malicious YAML is refused: objects, deep nesting, exponential aliases, duplicate keys",
        cases=1,
    )


def test_bytes_that_are_no_text_are_refused(path: Path) -> None:
    path.write_bytes(b"\xff\xfea: 1")
    with pytest.raises(ConfigError, match=r"mine\.yaml is not YAML"):
        read_config(path)


def test_aliases_that_stay_small_are_fine(path: Path) -> None:
    text = yaml.safe_dump(DETECTION).replace("image_size:", "image_size: &size").replace("epochs", "seed: 1\nepochs")
    path.write_text(text + "class_names: &names [cat, dog]\n")
    assert read_config(path).class_names == ("cat", "dog")


def test_a_key_of_an_override_is_not_too_deep(path: Path) -> None:
    path.write_text(yaml.safe_dump(DETECTION))
    with pytest.raises(ConfigError, match=r"at most 32 levels"):
        read_config(path, ["model.overrides." + "a." * 10_000 + "a=1"])
