"""Test that malicious or damaged weights files cannot read or run anything, and leave the model unchanged."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

import spinenet_tf
from spinenet_tf.nets import weights
from spinenet_tf.nets.base import SpineNetModel
from spinenet_tf.nets.weights import ArchitectureError, DamagedWeightsError
from spinenet_tf.training.config import ConfigError
from spinenet_tf.training.finetuning import load_what_fits

DAMAGED, EDITED = 200, 40  # files
HOSTILE = "Weights: links, external data, plug-ins, wrong types and shapes are refused before reading"


class SmallModel(SpineNetModel):
    """A model that loads fast, through the same code as a detector."""

    def architecture(self) -> dict[str, Any]:
        return {"model": "small", "graph": {"blocks": [{"level": 3}]}}


def small_model(seed: int) -> SmallModel:
    keras.utils.set_random_seed(seed)
    x = keras.Input((4,))
    y = keras.layers.BatchNormalization(name="norm")(keras.layers.Dense(8, name="first")(x))
    model = SmallModel(x, keras.layers.Dense(2, name="last")(keras.layers.Dropout(0.5)(y)))
    model.compile(keras.optimizers.Adam(), "mse", metrics=["mae"])
    model.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)  # the optimizer and the metrics have values of their own
    return model


@pytest.fixture(scope="module")
def model() -> SmallModel:
    return small_model(seed=1)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("saved") / "small.weights.h5"
    small_model(seed=2).save_weights(path)
    return path.read_bytes()


def values(model: keras.Model) -> list[bytes]:
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    return [keras.ops.convert_to_numpy(variable).tobytes() for variable in variables]


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip some bytes, overwrite a range, truncate, or remove a range."""
    damaged, (start, end) = bytearray(content), sorted(rng.integers(0, len(content), 2))
    kind = rng.integers(4)
    if kind == 0:
        for place in rng.integers(0, len(content), rng.integers(1, 20)):
            damaged[place] ^= rng.integers(1, 256)
    elif kind == 1:
        damaged[start : start + 64] = rng.bytes(min(64, len(content) - start))
    else:
        del damaged[start : end if kind == 2 else None]
    return bytes(damaged)


def outcome(model: SmallModel, path: Path, before: list[bytes]) -> str | None:
    """Load a file; return the error message, and check that the model is unchanged."""
    try:
        model.load_weights(path)
    except ValueError as error:
        assert values(model) == before
        return str(error)
    return None


def test_a_damaged_file_is_refused_and_leaves_the_model_as_it_was(model, saved: bytes, tmp_path: Path, promise) -> None:
    path, rng, before = tmp_path / "damaged.weights.h5", np.random.default_rng(0), values(model)
    for _ in range(DAMAGED):
        path.write_bytes(content := damage(saved, rng))
        message = outcome(model, path, before)
        assert message or content == saved
        assert not message or str(path) in message
    promise("Weights: a damaged file is refused, and weights, optimizer and metrics stay unchanged", cases=DAMAGED)


def first(file: h5py.File) -> h5py.Group:
    return file["layers/dense/vars"]


def replaced(make: Callable[[h5py.Group], None], place: str = "layers/dense/vars") -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        del file[place]["0"]
        make(file[place])

    return edit


def state(make: Callable[[h5py.Group], None]) -> Callable[[h5py.File], None]:
    """Replace the optimizer's first array."""
    return replaced(make, "optimizer/vars")


def with_external_storage(group: h5py.Group) -> None:
    group.create_dataset("0", (4, 8), "float32", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def virtual(group: h5py.Group) -> None:
    layout = h5py.VirtualLayout((4, 8), "float32")
    layout[...] = h5py.VirtualSource("/tmp/other.h5", "x", (4, 8))
    group.create_virtual_dataset("0", layout)


def by_plug_in(group: h5py.Group) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((4, 8))
    plist.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))  # zstd, of a plug-in that may not be there
    h5py.h5d.create(group.id, b"0", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((4, 8)), plist)


def a_link(link: Any) -> Callable[[h5py.Group], None]:
    return lambda group: group.__setitem__("0", link)


def data(*arguments: Any, **options: Any) -> Callable[[h5py.Group], None]:
    return lambda group: group.create_dataset("0", *arguments, **options)


def owned_by(value: Any) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__("spinenet_tf_optimizer", value)


MODELS = r"\| \(4, 8\)"
FILES: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "external storage": (replaced(with_external_storage), "layers/dense/vars/0 is stored in another file"),
    "virtual": (replaced(virtual), "layers/dense/vars/0 is stored in another file"),
    "external link": (replaced(a_link(h5py.ExternalLink("/tmp/other.h5", "/x"))), "layers/dense/vars/0 is a link"),
    "soft link": (replaced(a_link(h5py.SoftLink("/layers/dense_1/vars/0"))), "layers/dense/vars/0 is a link"),
    "link of a group": (lambda file: file.__setitem__("more", h5py.ExternalLink("o.h5", "/")), "more is a link"),
    "group in itself": (lambda file: file["layers"].__setitem__("again", file["layers"]), "has two names"),
    "two names": (lambda file: file.__setitem__("more", first(file)["0"]), "has two names"),
    "plug-in": (replaced(by_plug_in), "is compressed by a plug-in"),
    "text": (replaced(data(data="text")), "is not an array of numbers"),
    "references": (replaced(data((4, 8), h5py.ref_dtype)), "is not an array of numbers"),
    "ragged": (replaced(data((4, 8), h5py.vlen_dtype("int32"))), "is not an array of numbers"),
    "compound": (replaced(data((4, 8), [("a", "f4"), ("b", "f4")])), "is not an array of numbers"),
    "empty": (replaced(data(data=h5py.Empty("f4"))), "is not an array of numbers"),
    "a type": (replaced(lambda group: group.__setitem__("0", np.dtype("f4"))), "is not an array of numbers"),
    "huge": (
        replaced(data((1 << 40, 1 << 10), "f4", chunks=(1, 8))),
        r"\(1099511627776, 1024\) " + MODELS,
    ),
    "reshaped": (replaced(data(data=np.zeros((8, 4), "f4"))), r"first/0 +\| \(8, 4\) +\| \(4, 8\)"),
    "transposed pair": (replaced(data(data=np.zeros((8,), "f4"))), r"first/0 +\| \(8,\) +\| \(4, 8\)"),
    "a group": (replaced(lambda group: group.create_group("0")), r"first/0 +\| absent +" + MODELS),
    "missing": (replaced(lambda group: None), r"first/0 +\| absent +" + MODELS),
    "more": (lambda file: file.create_dataset("more", data=[1.0]), r"more +\| \(1,\) +\| absent"),
    "metrics": (
        lambda file: file.create_dataset("_metrics/vars/0", data=[1.0]),
        r"_metrics/vars/0 +\| \(1,\)",
    ),
    "renamed": (
        lambda file: file.move("layers/dense/vars/0", "layers/dense/vars/7"),
        r"first/0 +\| absent +" + MODELS,
    ),
    "renamed layer": (lambda file: file.move("layers/dense", "layers/lambda"), r"first/0 +\| absent +" + MODELS),
    "no numbers": (lambda file: file.__delitem__("layers"), r"first/0 +\| absent +" + MODELS),
    "optimizer: a link": (state(a_link(h5py.SoftLink("/optimizer/vars/1"))), "optimizer/vars/0 is a link"),
    "optimizer: outside": (state(with_external_storage), "optimizer/vars/0 is stored in another file"),
    "optimizer: text": (state(data(data="text")), "is not an array of numbers"),
    "optimizer: missing": (state(lambda group: None), r"iteration +\| absent +\| \(\)"),
    "optimizer: huge": (state(data((1 << 40, 1 << 10), "f4", chunks=(1, 8))), r"\(1099511627776, 1024\) \| \(\)"),
    "optimizer: more": (lambda file: file.create_dataset("optimizer/vars/99", data=[1.0]), r"\(1,\) +\| absent"),
    "optimizer: none": (lambda file: file.__delitem__("optimizer"), r"iteration +\| absent +\| \(\)"),
    "optimizer: not said whose": (owned_by(3), "spinenet_tf_optimizer is not text"),
}
ARCHITECTURES = {
    "list": "[]",
    "number": "3",
    "not JSON": "{",
    "deep": "[" * 60_000,
    "nested": '{"a":' * 900 + "1" + "}" * 900,
    "bytes": np.bytes_(b"\xff\xfe"),
    "array": [1, 2, 3],
    "none": h5py.Empty("S10"),
    "other": '{"model": "other"}',
}


def edited(content: bytes, path: Path, edit: Callable[[h5py.File], Any]) -> Path:
    """Write a file that was modified and sealed again."""
    path.write_bytes(content[: -weights._SEAL_SIZE])
    with h5py.File(path, "a") as file:
        edit(file)
    path.write_bytes(path.read_bytes() + weights.seal(path.read_bytes()))
    return path


@pytest.mark.parametrize("kind", FILES)
def test_what_is_not_the_models_own_numbers_is_refused(model, saved, tmp_path: Path, kind: str, promise) -> None:
    edit, reason = FILES[kind]
    path, before = edited(saved, tmp_path / "hostile.weights.h5", edit), values(model)
    message = outcome(model, path, before)
    assert message
    assert re.search(reason, message), message
    promise(HOSTILE, cases=1)


def test_any_weight_may_be_missing_moved_or_of_another_shape(model, saved, tmp_path: Path, promise) -> None:
    path, rng, before = tmp_path / "hostile.weights.h5", np.random.default_rng(1), values(model)
    for _ in range(EDITED):

        def edit(file: h5py.File) -> None:
            places: list[str] = []
            file.visititems(lambda place, item: places.append(place) if isinstance(item, h5py.Dataset) else None)
            place, other = rng.choice(places, 2, replace=False)
            shape, kind = file[place].shape, rng.integers(4)
            if kind == 0:
                file.move(place, f"{place}{rng.integers(100)}")
            else:
                del file[place]
            if kind > 1:
                wrong = (*shape, *rng.integers(1, 1 << 30, kind))
                file.create_dataset(place, wrong, rng.choice(["f4", "f8", "i8", "u1"]), chunks=(1,) * len(wrong))
            if kind == 3:
                file.move(other, f"layers/lambda_{rng.integers(100)}/vars/0")

        assert outcome(model, edited(saved, path, edit), before)
    promise(HOSTILE, cases=EDITED)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_an_architecture_that_is_none_is_refused(model, saved, tmp_path: Path, kind: str, promise) -> None:
    def edit(file: h5py.File) -> None:
        del file.attrs[weights.FINGERPRINT]
        file.attrs[weights.FINGERPRINT] = ARCHITECTURES[kind]

    path = edited(saved, tmp_path / "hostile.weights.h5", edit)
    assert outcome(model, path, values(model))
    with pytest.raises(ValueError, match=r"hostile\.weights\.h5"):
        load_what_fits(model, path)
    promise(HOSTILE, cases=1)


def test_a_damaged_file_is_an_error_of_the_disk_for_which_keras_takes_the_file_before(model, tmp_path: Path) -> None:
    (tmp_path / "cut.weights.h5").write_bytes(b"cut")
    with pytest.raises(DamagedWeightsError) as error:
        model.load_weights(tmp_path / "cut.weights.h5")
    assert isinstance(error.value, OSError)
    assert isinstance(error.value, ValueError)


def test_an_architecture_that_cannot_be_built_is_a_mistake_in_the_config(model, saved, tmp_path: Path) -> None:
    path = edited(saved, tmp_path / "hostile.weights.h5", lambda file: None)
    with pytest.raises(ConfigError, match=r"weights: .* cannot be built"):
        load_what_fits(model, path)


def test_shapes_that_differ_are_a_table_of_layers(tiny_spec, tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_level": 5, "endpoint": 8}
    narrow = spinenet_tf.detector(tiny_spec, 2, (64, 64, 3), head_depth=1, head_width=8, **options)
    narrow.save_weights(tmp_path / "narrow.weights.h5")
    wide = spinenet_tf.detector(tiny_spec, 2, (64, 64, 3), head_depth=1, head_width=16, **options)
    with pytest.raises(ArchitectureError) as error:
        wide.load_weights(tmp_path / "narrow.weights.h5")
    lines = [" ".join(line.split()) for line in str(error.value).splitlines()[1:]]
    assert lines[0] == "options.head_width: 8 in the file, 16 in the model"
    assert lines[1] == "weight | in the file | in the model"
    assert "box_conv0_P3_bn/0 | (8,) | (16,)" in lines
    assert re.fullmatch(r"and \d+ more", lines[-1])


def test_a_hash_that_is_known_is_compared(model, saved: bytes, tmp_path: Path, promise) -> None:
    path, before = tmp_path / "small.weights.h5", values(model)
    path.write_bytes(saved)
    with pytest.raises(ValueError, match=r"expected file: its SHA-256 is [0-9a-f]{64}\. Received: sha256='00'"):
        model.load_weights(path, sha256="00")
    assert values(model) == before
    model.load_weights(path, sha256=hashlib.sha256(saved).hexdigest().upper())
    assert values(model) != before
    promise("Weights: a given hash is compared", cases=2)


def test_a_sealed_file_is_still_keras_own(model, saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "small.weights.h5"
    path.write_bytes(saved)
    plain = keras.Model(model.inputs, model.outputs)
    plain.compile(keras.optimizers.Adam(), "mse")
    plain.optimizer.build(plain.trainable_variables)
    plain.load_weights(path)
    model.load_weights(path)
    for theirs, ours in zip(plain.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(theirs.value, ours.value)
    with h5py.File(path) as file:
        assert json.loads(file.attrs[weights.FINGERPRINT])["model"] == "small"
        np.testing.assert_array_equal(file["layers/dense/vars/0"], model.get_layer("first").kernel)


def test_no_source_loads_what_can_run_code() -> None:
    root = Path(spinenet_tf.__file__).parent
    own = re.compile(r"\b(pickle|marshal|shelve|joblib|dill)\b|allow_pickle=True|load_model\(|unsafe_deserial|\beval\(")
    sources = [*root.rglob("*.py"), *(root.parent / "export").rglob("*.py")]
    assert [path.name for path in sources if own.search(path.read_text())] == []
