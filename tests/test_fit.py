"""`fit` accepts Keras's positional arguments, and shuffles the same kinds of data as Keras."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import pytest

from spinenet_tf.nets.base import SpineNetModel

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="looks into eager steps")
COUNT = 32
NUMBERS = np.arange(COUNT, dtype="float32")[:, None]


class Recording(SpineNetModel):
    """A model that records the order of its examples."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        self.came.extend(keras.tree.flatten(keras.tree.map_structure(lambda value: float(value[0, 0]), x)))
        return keras.ops.sum(y_pred)


@pytest.fixture
def model() -> Recording:
    return recording(keras.Input((1,)))


def recording(inputs) -> Recording:
    given = keras.tree.flatten(inputs)[0]
    model = Recording(inputs, keras.layers.Dense(1)(given))
    model.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
    model.came = []
    return model


def in_order() -> list[float]:
    return NUMBERS[:, 0].tolist()


def test_arguments_may_be_positional_as_in_keras(model) -> None:
    history = model.fit(NUMBERS, NUMBERS, 1, 2, 0, None, 0.0, None, False)
    assert history.epoch == [0, 1]
    assert model.came == in_order() * 2
    with pytest.raises(TypeError):
        model.fit(NUMBERS, NUMBERS, 1, 2, 0, None, 0.0, None, False, shuffle=True)


@pytest.mark.parametrize("kind", ["array", "tensor", "dictionary", "list"])
def test_arrays_are_shuffled_in_all_containers(kind: str) -> None:
    import tensorflow as tf

    held = {"array": NUMBERS, "tensor": tf.constant(NUMBERS), "dictionary": {"x": NUMBERS}, "list": [NUMBERS]}[kind]
    model = recording(keras.tree.map_structure(lambda _: keras.Input((1,), name="x"), held))
    model.fit(held, NUMBERS, batch_size=1, verbose=0)
    assert model.came != in_order()
    assert sorted(model.came) == in_order()
    model.came = []
    model.fit(held, NUMBERS, batch_size=1, verbose=0, shuffle=False)
    assert model.came == in_order()


class Batches(keras.utils.PyDataset):
    def __init__(self, count: int | None):
        super().__init__()
        self.count = count

    @property
    def num_batches(self) -> int | None:
        return self.count

    def __getitem__(self, index: int):
        return NUMBERS[index % COUNT][None], NUMBERS[index % COUNT][None]


def test_data_that_keras_can_shuffle_are_shuffled(model) -> None:
    model.fit(Batches(COUNT), verbose=0)
    assert model.came != in_order()
    assert sorted(model.came) == in_order()


def generator() -> Iterator:
    for number in NUMBERS:
        yield number[None], number[None]


@pytest.mark.parametrize("kind", ["tf.data", "generator", "endless"])
def test_streams_keep_their_order_without_a_warning(model, kind: str) -> None:
    import tensorflow as tf

    made = {
        "tf.data": lambda: tf.data.Dataset.from_tensor_slices((NUMBERS, NUMBERS)).batch(1),
        "generator": generator,
        "endless": lambda: Batches(None),
    }
    model.fit(made[kind](), steps_per_epoch=COUNT, verbose=0)
    assert model.came == in_order()
