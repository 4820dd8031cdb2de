"""Configs: those of the package are valid, errors are one line, and YAML is the same after writing and reading."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from spinenet_tf.training.config import ConfigError
from spinenet_tf.training.config_file import find_config, make_config, read_config
from spinenet_tf.training.sources import CocoSource, DigitsSource, TfdsSource, TfrecordSource, VocSource, YoloSource

SHIPPED = sorted(entry.name for entry in files("spinenet_tf.configs").iterdir() if entry.name.endswith(".yaml"))
SMALLEST = """
model: {name: spinenet_49, image_size: [64, 96]}
data:
  train: {annotations: a.json, images: a}
  val: {digits: d, scenes: 5}
batch_size: 4
epochs: 3
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(SMALLEST)
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_config_is_valid_and_is_found_by_its_name(name: str) -> None:
    config = read_config(find_config(name.removesuffix(".yaml")))
    assert config.class_names is None, "told by the data"


def test_defaults_are_filled_in_and_sources_are_told_apart(path: Path) -> None:
    config = read_config(path)
    assert config.model.image_size == (64, 96)
    assert config.data.train == CocoSource(annotations=Path("a.json"), images=Path("a"))
    assert config.data.val == DigitsSource(digits=Path("d"), scenes=5, classes=10, seed=0)
    assert (config.optimizer.name, config.optimizer.learning_rate) == ("sgd", 0.28)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("{tfrecords: t, categories: c.json}", TfrecordSource(tfrecords=Path("t"), categories=Path("c.json"))),
        ("{yolo: data.yaml}", YoloSource(yolo=Path("data.yaml"))),
        ("{voc: VOC2012, split: train}", VocSource(voc=Path("VOC2012"), split="train")),
        ("{tfds: coco/2017, split: 'train[:10%]'}", TfdsSource(tfds="coco/2017", split="train[:10%]")),
    ],
)
def test_a_source_of_each_format_survives_its_yaml(path: Path, text: str, source: object) -> None:
    config = read_config(path, [f"data.train={text}"])
    assert config.data.train == source
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert read_config(path) == config


def test_a_config_survives_its_yaml(path: Path) -> None:
    overrides = ["model.overrides={activation: relu6, aspect_ratios: [1.0, 2.0]}", "class_names=[cat, 'no: 7']"]
    config = read_config(path, overrides)
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert read_config(path) == config


def test_the_crop_of_an_earlier_version_is_read(path: Path) -> None:
    config = read_config(find_config("digits-classification"), ["data.center=0.8"])
    path.write_text(config.to_yaml().replace("center", "centre"), encoding="utf-8")  # codespell:ignore
    assert read_config(path) == config


def test_overrides_are_yaml_and_the_last_one_counts(path: Path) -> None:
    overrides = ["epochs=7", "epochs=8", "optimizer.name=adam", "optimizer.clip_global_norm=null"]
    config = read_config(path, [*overrides, "data.scale=[1, 1.5]"])
    assert (config.epochs, config.optimizer.name, config.optimizer.clip_global_norm) == (8, "adam", None)
    assert config.data.scale == (1.0, 1.5)


@pytest.mark.parametrize(
    "text", ["2024-01-15", "2024-13-45", "007", "1_000", "yes", "12:30", "1e3", "photos #1", "null"]
)
def test_a_path_is_what_was_typed(path: Path, text: str) -> None:
    assert read_config(path, [f"data.train.images={text}"]).data.train.images == Path(text)
    assert read_config(path, [f"data.train={{annotations: a, images: '{text}'}}"]).data.train.images == Path(text)
    path.write_text(SMALLEST.replace("images: a}", f"images: {text.replace(' #', '#')}}}"))
    config = read_config(path)
    assert config.data.train.images == Path(text.replace(" #", "#"))
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert read_config(path) == config


def test_class_names_are_what_was_typed(path: Path) -> None:
    names = ("yes", "no", "007", "null", "1.50", "2024-01-15", "~", "on")
    listed = f"class_names: [{', '.join(names)}]"
    assert read_config(path, [listed.replace(": ", "=", 1)]).class_names == names
    path.write_text(f"{SMALLEST}{listed}\n")
    config = read_config(path)
    assert config.class_names == names
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert read_config(path) == config


def test_where_no_text_is_meant_yaml_tells(path: Path) -> None:
    overrides = ["weights=null", "early_stopping=~", "data.flip=no", "epochs=1_0", "model.overrides.sync_bn=on"]
    config = read_config(path, [*overrides, "distribution=null", "optimizer.learning_rate=1e-3  # small"])
    assert (config.weights, config.early_stopping, config.data.flip, config.epochs) == (None, None, False, 10)
    assert (config.model.overrides["sync_bn"], config.distribution, config.optimizer.learning_rate) == (
        True,
        None,
        1e-3,
    )


def test_a_key_is_what_was_typed(path: Path) -> None:
    path.write_text(f"{SMALLEST}on: 3\n")
    with pytest.raises(ConfigError, match="Unknown key 'on'"):
        read_config(path)


def test_the_home_folder_is_found_in_all_paths(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(path.parent))
    sources = ["{annotations: ~/x, images: ~/x}", "{digits: ~/x, scenes: 1}", "{tfrecords: ~/x, categories: ~/x}"]
    sources += ["{yolo: ~/x}", "{voc: ~/x}", "{tfds: coco, split: train, data_dir: ~/x}"]
    for text in sources:
        source = read_config(path, [f"data.train={text}"]).data.train
        paths = [value for value in dict(source).values() if isinstance(value, Path)]
        assert set(paths) == {path.parent / "x"}
    assert read_config(path, ["weights=~/runs/a"]).weights == path.parent / "runs/a"
    images = "data={train: {folder: ~/x}, val: {digit_images: ~/x, scenes: 1}}"
    data = read_config(path, ["task=classification", images]).data
    assert (data.train.folder, data.val.digit_images) == (path.parent / "x", path.parent / "x")
    derived = path.with_name("derived.yaml")
    derived.write_text("base: ~/mine.yaml\n")
    assert read_config(derived) == read_config(path)


def test_a_name_that_is_nobodys_home_is_a_files(path: Path) -> None:
    assert read_config(path, ["weights=~backup-of-mine/a"]).weights == Path("~backup-of-mine/a")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epoch=3", r"mine.yaml: Unknown key 'epoch'. Did you mean 'epochs'\? Valid: task, model, data, "),
        ("zzz=3", r"mine.yaml: Unknown key 'zzz'. Valid: task, model, data, "),
        ("data.val.scnes=3", r"mine.yaml: data.val: Unknown key 'scnes'. Did you mean 'scenes'\?"),
        ("data.train.image=3", r"mine.yaml: data.train: Unknown key 'image'. Did you mean 'images'\?"),
        ("data.train={annotations: b}", r"mine.yaml: data.train.images: Field required$"),
        ("data.train=3", r"mine.yaml: data.train: "),
        ("model.name=spinenet", r"mine.yaml: model.name: Unknown model 'spinenet'.* Valid: spinenet_49s, "),
        ("model.image_size=[64,31]", r"mine.yaml: model.image_size.1: .* greater than or equal to 32$"),
        ("data.scale=[2,1]", r"mine.yaml: data: scale must be \(smallest, largest\). Received: scale=\(2.0, 1.0\)$"),
        ("optimizer.learning_rate=.inf", r"mine.yaml: optimizer.learning_rate: .* finite number$"),
        ("batch_size=0", r"mine.yaml: batch_size: "),
        ("precision=float16", r"mine.yaml: precision: .*'mixed_float16'$"),
        ("quantization=int8", r"mine.yaml: quantization fine-tunes a trained detector in float32: set `weights`"),
        ("optimizer.accumulate=0", r"mine.yaml: optimizer.accumulate: .* greater than or equal to 1$"),
        ("early_stoping=3", r"mine.yaml: Unknown key 'early_stoping'. Did you mean 'early_stopping'\?"),
        ("epochs", r"An override is key=value. Received: 'epochs'$"),
        ("epochs.x=1", r"epochs.x cannot be set: a parent of it is not a mapping. Received: epochs.x=1$"),
        ("epochs=[1", r"The value of epochs is not YAML. Received: 'epochs=\[1'$"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        read_config(path, [override])
    assert "\n" not in str(error.value)


def test_all_faults_are_named_at_once(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"batch_size: .*; epochs: "):
        read_config(path, ["batch_size=0", "epochs=0"])


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "has no keys"), (b"- 1", "has no keys"), (b"a: [", "is not YAML"), (b"\xff\xfe\x00", "is not YAML")],
)
def test_a_file_that_is_no_config_is_refused(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"mine.yaml .*{message}") as error:
        read_config(path, ["epochs=1"])
    assert "\n" not in str(error.value)


def test_a_file_goes_before_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config("digits").name == "digits.yaml"
    Path("digits").write_text(SMALLEST)
    assert find_config("digits") == Path("digits")


def test_a_name_that_is_nothing_is_answered_by_what_is_shipped() -> None:
    with pytest.raises(ConfigError, match=r"There is no config digit\. The package has: .*digits") as error:
        find_config("digit")
    assert all(name.removesuffix(".yaml") in str(error.value) for name in SHIPPED)
    with pytest.raises(ConfigError, match=r"There is no config nowhere\.yaml\.$"):
        read_config("nowhere.yaml")


def test_a_config_lists_where_it_differs_from_its_base(path: Path) -> None:
    derived = path.with_name("derived.yaml")
    derived.write_text("base: mine.yaml\nmodel: {overrides: {l2: 0.1}}\ndata: {scale: [0.5, 2.0]}\nepochs: 9\n")
    last = path.with_name("last.yaml")
    last.write_text("base: derived.yaml\nmodel: {image_size: [32, 32], overrides: {activation: swish}}\n")
    config, whole = read_config(last, ["epochs=10"]), read_config(path)
    assert config.model.overrides == {"l2": 0.1, "activation": "swish"}
    assert (config.model.image_size, config.data.scale, config.epochs) == ((32, 32), (0.5, 2.0), 10)
    assert (config.data.train, config.batch_size) == (whole.data.train, whole.batch_size)


def test_a_base_that_is_not_there_or_leads_back_is_named(path: Path) -> None:
    path.write_text("base: other.yaml\n" + SMALLEST)
    with pytest.raises(ConfigError, match=r"no config .*other\.yaml\. It is the base of .*mine\.yaml"):
        read_config(path)
    path.with_name("other.yaml").write_text("base: mine.yaml\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml is its own base, or .*other\.yaml"):
        read_config(path)


def test_published_recipes_are_what_the_paper_says() -> None:
    """Protocols A, B and C differ in epochs, jitter and regularization; their base has the rest."""
    recipes = {name: read_config(find_config(f"spinenet-49-640-{name}")) for name in "abc"}
    assert [config.epochs for config in recipes.values()] == [250, 350, 500]
    assert [config.data.scale for config in recipes.values()] == [(0.8, 1.2), (0.5, 2.0), (0.5, 2.0)]
    assert [config.model.overrides["activation"] for config in recipes.values()] == ["relu", "relu", "swish"]
    assert [config.model.overrides.get("stochastic_depth", 0) for config in recipes.values()] == [0, 0, 0.2]
    for config in recipes.values():
        assert (config.optimizer.learning_rate, config.batch_size, config.model.overrides["l2"]) == (0.28, 256, 4e-5)
        assert (config.data.color_jitter, config.data.rand_augment, config.data.mosaic) == (0, 0, 0)
    imagenet = read_config(find_config("imagenet-spinenet-143-regularized"))
    assert (imagenet.model.name, imagenet.data.label_smoothing, imagenet.optimizer.schedule) == (
        "spinenet_143",
        0.1,
        "cosine",
    )
    assert imagenet.optimizer.learning_rate * imagenet.batch_size / 256 == pytest.approx(1.6)


def test_a_graph_of_ones_own_is_kept_in_the_config(tiny_spec, tmp_path) -> None:
    from spinenet_tf.training.run import build_model

    tiny_spec.save(tmp_path / "graph.yaml")
    model = {"name": "spinenet_49s", "image_size": [64, 64], "graph": str(tmp_path / "graph.yaml")}
    small = {"overrides": {"endpoint": 8}, "head": {"kind": "retinanet", "head_depth": 1, "head_width": 8}}
    config = make_config({"model": model | small, "batch_size": 1, "epochs": 1, "class_names": ["a"]}, "a test")
    (tmp_path / "graph.yaml").unlink()
    path = tmp_path / "resolved.yaml"
    path.write_text(config.to_yaml())
    assert read_config(path) == config
    net = build_model(read_config(path)).backbone
    assert (net.spec, net.style.width, net.name) == (tiny_spec, 0.65, "tiny")


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        ("absent.yaml", "Graph file not found: absent.yaml"),
        (3, "Received: graph="),
        ({"name": "x", "blcks": []}, "Did you mean 'blocks'?"),
        ({"name": "x", "stem": [2], "blocks": []}, "`stem` must have two or more levels"),
    ],
)
def test_a_graph_that_cannot_be_built_is_told(graph, told) -> None:
    model = {"name": "spinenet_49", "image_size": [64, 64], "graph": graph}
    with pytest.raises(ConfigError, match=r"model\.graph: ") as error:
        make_config({"model": model, "batch_size": 1, "epochs": 1}, "a test")
    assert told in str(error.value)


def test_a_head_is_said_in_the_config_and_flat_options_still_are() -> None:
    model = {"name": "spinenet_190", "image_size": [64, 64]}

    def read(**part) -> dict:
        return make_config({"model": model | part, "batch_size": 1, "epochs": 1}, "a test").model.model_dump()

    said = read(head={"kind": "retinanet", "score_threshold": 0.2}, overrides={"max_level": 6})
    assert said == read(overrides={"score_threshold": 0.2, "max_level": 6})
    assert said["overrides"] == {"max_level": 6}
    assert (said["head"]["head_depth"], said["head"]["head_width"], said["head"]["anchor_size"]) == (7, 512, 4.0)
    for part, told in (
        ({"head": {"kind": "retinanett"}}, "model.head: Unknown head 'retinanett'. Did you mean 'retinanet'?"),
        ({"head": {"head_dept": 3}}, "model.head: Unknown option 'head_dept'. Did you mean 'head_depth'?"),
        ({"overrides": {"head_dept": 3}}, "model.overrides: Unknown override 'head_dept'. Did you mean 'head_depth'?"),
        ({"head": {"kind": "classifier"}}, "model.head.kind=classifier is for task classification"),
        (
            {"head": {"score_threshold": 2}},
            "model.head: score_threshold must be a number at least 0 and at most 1. ",
        ),
        (
            {"head": {"score_threshold": 0.1}, "overrides": {"score_threshold": 0.2}},
            "model.overrides: Head options are set in `head`, not in `overrides`. Received: score_threshold",
        ),
        ({"hea": {}}, "model: Unknown key 'hea'. Did you mean 'head'?"),
    ):
        with pytest.raises(ConfigError) as error:
            read(**part)
        assert told in str(error.value)
