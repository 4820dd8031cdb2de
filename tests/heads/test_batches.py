"""Every kind of data that Keras takes is checked when it is drawn, and arrives unchanged."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest

from spinenet_tf.heads.batches import BatchCheck, checked
from spinenet_tf.heads.checked import CheckedModel
from spinenet_tf.heads.ground_truth import GroundTruthError
from spinenet_tf.nets.streams import in_one_line

COUNT = 6
BOX, SPLINTER = [2.0, 2.0, 20.0, 20.0], [0.0, 0.0, 0.5, 1.0]


def batch(number: int, **change: Any) -> tuple:
    """Return a batch of two images of the value `number`, with boxes, classes and weights to check."""
    images = np.full((2, 32, 32, 3), number, "float32")
    boxes = np.tile(np.float32(change.get("box", BOX)), (2, 1, 1))
    classes = np.array([[0], [change.get("label", 1)]], "int32")
    weight = change.get("weight")
    return (images, {"boxes": boxes, "classes": classes}) + (() if weight is None else (weight,))


class Seeing(CheckedModel):
    """A model that records the batches that it is trained on."""

    num_classes = 3

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        self.seen.append(int(keras.ops.convert_to_numpy(x)[0, 0, 0, 0]))
        return keras.ops.mean(y_pred)


@pytest.fixture
def model() -> Seeing:
    if keras.backend.backend() != "tensorflow":
        pytest.skip("looks into eager steps")
    images = keras.Input((32, 32, 3))
    model = Seeing(images, keras.layers.Dense(1)(images))
    model.seen = []
    model.compile("sgd", run_eagerly=True)
    return model


def generator(batches: list[tuple]) -> Iterator:
    yield from batches


class Batches(keras.utils.PyDataset):
    def __init__(self, batches: list[tuple], **options: Any):
        super().__init__(**options)
        self.batches = batches

    @property
    def num_batches(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple:
        return self.batches[index]


def tf_data(batches: list[tuple]) -> Any:
    import tensorflow as tf

    joined = keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *batches)
    return tf.data.Dataset.from_tensor_slices(joined).batch(2)


KINDS: dict[str, Callable[[list[tuple]], Any]] = {
    "generator": generator,
    "PyDataset": Batches,
    "PyDataset with workers": lambda batches: Batches(batches, workers=2),
    "tf.data": tf_data,
}


@pytest.mark.parametrize("kind", KINDS)
def test_batches_arrive_in_order_and_none_is_lost(model, kind: str) -> None:
    data = KINDS[kind]([batch(number) for number in range(COUNT)])
    model.fit(data, epochs=2, steps_per_epoch=3, shuffle=False, verbose=0)
    assert model.seen == list(range(COUNT))


@pytest.mark.parametrize("kind", ["PyDataset", "tf.data"])
def test_held_out_data_are_checked_as_they_are_drawn_too(model, kind: str) -> None:
    good, bad = ([batch(number, label=number) for number in range(first, first + 3)] for first in (0, 1))
    model.fit(*good[0], validation_data=KINDS[kind](good), verbose=0)
    model.evaluate(KINDS[kind](good), verbose=0)
    assert model.seen == [0, *range(3), *range(3)]
    for act in (
        lambda: model.fit(*good[0], validation_data=KINDS[kind](bad), verbose=0),
        lambda: model.fit(*good[0], validation_data=batch(0, label=3), verbose=0),
        lambda: model.evaluate(KINDS[kind](bad), verbose=0),
    ):
        with pytest.raises(GroundTruthError, match=r"Received: class 3$"):
            act()


FAULTS = {
    "class": ({"label": 3}, "Received: class 3"),
    "corners": ({"box": [9, 2, 3, 20]}, "Received: box [9.0, 2.0, 3.0, 20.0]"),
    "weight": ({"weight": np.array([1.0, -2.0], "float32")}, "Received: sample_weight=-2.0"),
    "weights": (
        {"weight": {"boxes": np.array([1.0, 0.5]), "classes": np.array([1.0, 0.25])}},
        "Received: sample_weight=0.5 and 0.25",
    ),
}


@pytest.mark.parametrize("place", [0, 3])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_at_fault_is_refused_before_it_is_learned_from(model, kind: str, fault: str, place: int) -> None:
    change, told = FAULTS[fault]
    fine = {"weight": keras.tree.map_structure(np.ones_like, change["weight"])} if "weight" in change else {}
    batches = [batch(number, **fine) for number in range(COUNT)]
    batches[place] = batch(place, **change)
    with pytest.raises(GroundTruthError) as error:
        model.fit(KINDS[kind](batches), shuffle=False, verbose=0)
    assert str(error.value).endswith(told)
    assert "\n" not in str(error.value)
    assert model.seen == list(range(place))


@pytest.mark.parametrize("kind", KINDS)
def test_a_splinter_of_a_box_is_refused_in_the_first_batch_alone(model, kind: str) -> None:
    batches = [batch(number, box=SPLINTER if number == 2 else BOX) for number in range(COUNT)]
    model.fit(KINDS[kind](batches), steps_per_epoch=COUNT, shuffle=False, verbose=0)
    assert model.seen == list(range(COUNT))
    with pytest.raises(GroundTruthError, match=r"boxes all in 0\.\.1, for 32 x 32 px"):
        model.fit(KINDS[kind](batches[2:]), shuffle=False, verbose=0)
    assert model.seen == list(range(COUNT))


def test_a_data_set_of_something_else_is_refused_before_a_batch_is_drawn() -> None:
    import tensorflow as tf

    drawn: list[int] = []
    data = tf.data.Dataset.range(3).map(lambda x: tf.numpy_function(lambda y: drawn.append(1) or y, [x], tf.int64))
    with pytest.raises(GroundTruthError, match="Received: targets of type NoneType"):
        checked(data, 3)
    assert not drawn


def test_a_data_set_stays_as_long_as_it_is() -> None:
    import tensorflow as tf

    data = tf_data([batch(0)] * 3)
    for each in (data, data.repeat(), data.filter(lambda *_: True)):
        assert checked(each, 3).cardinality() == each.cardinality()
        assert checked(each, 3).element_spec == each.element_spec
    assert tf.data.experimental.cardinality(checked(data.repeat(), 3)) == tf.data.INFINITE_CARDINALITY


def test_arrays_and_unknown_data_are_left_to_others() -> None:
    images, data = np.zeros((2, 32, 32, 3)), object()
    assert checked(images, 3) is images
    assert checked(data, 3) is data


def test_the_batches_of_a_data_loader_are_checked_where_they_are_made(monkeypatch) -> None:
    """Uses a fake DataLoader, because PyTorch is not a dependency."""

    class DataLoader:
        def __init__(self, batches: list[tuple], collate_fn: Callable):
            self.batches, self.collate_fn = batches, collate_fn

        def __iter__(self) -> Iterator:
            return map(self.collate_fn, self.batches)

    module = ModuleType("torch.utils.data")
    module.DataLoader = DataLoader
    monkeypatch.setitem(sys.modules, "torch.utils.data", module)
    loader = DataLoader([batch(0), batch(1, label=3)], collate_fn=tuple)
    drawn = iter(checked(loader, 3))
    assert next(drawn)[0][0, 0, 0, 0] == 0
    with pytest.raises(GroundTruthError, match="Received: class 3"):
        next(drawn)
    assert loader.collate_fn is tuple, "the user's is left alone"
    assert pickle.loads(pickle.dumps(checked(loader, 3).collate_fn))(batch(0)), "for its processes"


def test_epochs_are_told_to_the_data_behind() -> None:
    told: list[str] = []

    class Told(Batches):
        def on_epoch_begin(self) -> None:
            told.append("begin")

        def on_epoch_end(self) -> None:
            told.append("end")

    data = checked(Told([batch(0)], workers=3, max_queue_size=5), 3)
    assert (data.workers, data.use_multiprocessing, data.max_queue_size) == (3, False, 5)
    data.on_epoch_begin()
    data.on_epoch_end()
    assert told == ["begin", "end"]


@pytest.mark.parametrize(
    "text", ["py_function: x.GroundTruthError: A line.\nTraceback: ...", "GroundTruthError: A line."]
)
def test_an_error_of_a_thread_becomes_one_line(text: str) -> None:
    with pytest.raises(GroundTruthError, match=r"^A line\.$"), in_one_line(GroundTruthError):
        raise RuntimeError(text)
    with pytest.raises(RuntimeError, match=r"^other$"), in_one_line(GroundTruthError):
        raise RuntimeError("other")


def test_threads_may_share_a_check() -> None:
    each, errors = BatchCheck(3), []

    def many() -> None:
        try:
            for number in range(50):
                each(batch(number))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
