"""The fused updates equal Keras's updates, and the optimizers can be saved and loaded."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from spinenet_tf.training.optimizers import SGD, Adam

PAIRS = [
    (Adam, keras.optimizers.Adam, {}),
    (Adam, keras.optimizers.Adam, {"amsgrad": True}),
    (Adam, keras.optimizers.Adam, {"weight_decay": 0.01, "use_ema": True, "global_clipnorm": 0.5}),
    (SGD, keras.optimizers.SGD, {}),
    (SGD, keras.optimizers.SGD, {"momentum": 0.9}),
    (SGD, keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True, "global_clipnorm": 0.5}),
]


def _trained(optimizer: keras.Optimizer) -> list[np.ndarray]:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(1)])
    model.compile(optimizer, "mse", jit_compile=False)
    rng = np.random.default_rng(0)
    model.fit(rng.normal(size=(64, 8)), rng.normal(size=(64, 1)), batch_size=8, verbose=0, shuffle=False)
    return model.get_weights()


@pytest.mark.parametrize(("ours", "theirs", "options"), PAIRS)
def test_equals_keras(ours, theirs, options):
    schedule = keras.optimizers.schedules.CosineDecay(0.05, 20)
    for mine, keras_own in zip(_trained(ours(schedule, **options)), _trained(theirs(schedule, **options)), strict=True):
        np.testing.assert_allclose(mine, keras_own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", [Adam(0.1, beta_1=0.5), SGD(0.1, momentum=0.7)])
def test_round_trips_through_its_config(optimizer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()
