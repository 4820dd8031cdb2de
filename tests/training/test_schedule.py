"""The learning rates of the schedules."""

from __future__ import annotations

from importlib.resources import files

import keras
import numpy as np
import pytest
from keras.optimizers.schedules import CosineDecay

from spinenet_tf.training.config import ConfigError, OptimizerConfig
from spinenet_tf.training.config_file import find_config, read_config
from spinenet_tf.training.optimization import make_optimizer
from spinenet_tf.training.schedule import PerUpdate, Warmup, step_decay


def rates(schedule, steps: int) -> np.ndarray:
    return np.array([float(schedule(step)) for step in range(steps)])


def test_warmup_rises_linearly_and_meets_what_follows() -> None:
    after = rates(CosineDecay(0.8, 20), 20)
    np.testing.assert_allclose(after, 0.4 * (1.0 + np.cos(np.pi * np.arange(20) / 20)), rtol=1e-5)
    progress = np.minimum(np.arange(20) / 5, 1.0)
    expected = np.where(progress < 1.0, 0.1 + (after - 0.1) * progress, after)
    np.testing.assert_allclose(rates(Warmup(0.1, 5, CosineDecay(0.8, 20)), 20), expected, rtol=1e-5)


def test_no_warmup_is_what_follows() -> None:
    np.testing.assert_array_equal(rates(Warmup(0.1, 0, CosineDecay(0.8, 20)), 20), rates(CosineDecay(0.8, 20), 20))


def test_steps_divide_by_ten_at_their_distance_from_the_end() -> None:
    expected = np.repeat([0.5, 0.05, 0.005], [71, 20, 9])  # Keras's boundary is the last step at the old rate
    np.testing.assert_allclose(rates(step_decay(0.5, 100, (30, 10)), 100), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "after", [CosineDecay(0.8, 20), step_decay(0.8, 20, (6, 2)), PerUpdate(4, CosineDecay(0.8, 5))]
)
def test_a_schedule_survives_keras_serialization(after) -> None:
    schedule = Warmup(0.1, 5, after)
    config = keras.saving.serialize_keras_object(schedule)
    copy = keras.saving.deserialize_keras_object(config)
    np.testing.assert_array_equal(rates(copy, 20), rates(schedule, 20))
    optimizer = keras.optimizers.SGD(schedule)
    assert isinstance(keras.optimizers.SGD.from_config(optimizer.get_config())._learning_rate, Warmup)


def test_rates_are_for_a_batch_of_256_and_scale_with_the_batch() -> None:
    config = OptimizerConfig(learning_rate=0.32, warmup_steps=2, warmup_from=0.16, decay_epochs=(3, 1))
    optimizer = make_optimizer(config, batch_size=64, steps=10, epochs=10)
    assert (optimizer.momentum, optimizer.global_clipnorm, optimizer.use_ema) == (0.9, 10.0, False)
    schedule = rates(optimizer._learning_rate, 100)
    np.testing.assert_allclose(schedule[:3], [0.04, 0.06, 0.08], rtol=1e-5)
    np.testing.assert_allclose(schedule[[69, 75, 95]], [0.08, 0.008, 0.0008], rtol=1e-5)


def test_warmup_takes_half_of_a_short_run_at_most() -> None:
    config = OptimizerConfig(schedule="cosine", warmup_steps=2000)
    assert make_optimizer(config, 256, steps=5, epochs=2)._learning_rate.steps == 5


def updates(config: OptimizerConfig, batch_size: int, steps: int, epochs: int) -> np.ndarray:
    """Return the learning rates of a real training: how much each update lowers a weight whose gradient is 1."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.compile(make_optimizer(config, batch_size, steps, epochs), loss=lambda truth, found: keras.ops.mean(found))
    weights = [0.0]
    note = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: weights.append(model.get_weights()[0].item())
    )
    ones = np.ones((steps * epochs, 1), "float32")
    model.fit(ones, ones, batch_size=1, verbose=0, shuffle=False, callbacks=[note])
    return -np.diff(weights[:: config.accumulate])


@pytest.mark.parametrize("schedule", ["step", "cosine"])
def test_accumulated_gradients_are_applied_at_the_rates_of_a_run_with_the_whole_batch(schedule: str) -> None:
    options = {"learning_rate": 0.32, "momentum": 0.0, "schedule": schedule, "clip_global_norm": None}
    whole = OptimizerConfig(warmup_steps=4, warmup_from=0.16, decay_epochs=(3, 1), **options)
    parts = whole.model_copy(update={"accumulate": 4})
    expected, found = updates(whole, 256, steps=5, epochs=5), updates(parts, 64, steps=20, epochs=5)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    after = np.where(np.arange(25) <= 10, 0.32, np.where(np.arange(25) <= 20, 0.032, 0.0032))
    after = after if schedule == "step" else 0.16 * (1 + np.cos(np.pi * np.arange(25) / 25))
    rising = 0.16 + (after - 0.16) * np.arange(25) / 4
    np.testing.assert_allclose(found, np.where(np.arange(25) < 4, rising, after), rtol=1e-3, atol=1e-5)


def test_the_rate_that_an_accumulating_optimizer_tells_is_that_of_its_update() -> None:
    config = OptimizerConfig(schedule="cosine", learning_rate=0.32, warmup_steps=0, accumulate=4)
    optimizer = make_optimizer(config, 64, steps=100, epochs=1)
    optimizer.build([keras.Variable([0.0])])
    for batches, rate in ((0, 0.32), (3, 0.32), (52, 0.16 * (1 + np.cos(np.pi * 13 / 25)))):
        optimizer._iterations.assign(batches)
        assert float(optimizer.learning_rate) == pytest.approx(rate, rel=1e-5)


def test_a_run_without_a_single_update_is_refused() -> None:
    config = OptimizerConfig(accumulate=8)
    with pytest.raises(ConfigError, match=r"needs 8 batches for one update, but the run has 6. Received: accumulate=8"):
        make_optimizer(config, 4, steps=3, epochs=2)


@pytest.mark.parametrize(("steps", "epochs"), [(10, 1), (100, 12), (462, 90), (462, 350)])
def test_the_default_schedule_fits_a_run_of_any_length(steps: int, epochs: int) -> None:
    schedule = rates_at(OptimizerConfig(), steps, epochs)
    total = steps * epochs
    warmup = min(2000, round(total / 20))
    tenth, thirtieth = round(total / 10), round(total / 30)
    expected = [0.28] * (total - tenth + 1) + [0.028] * (tenth - thirtieth) + [0.0028] * (thirtieth - 1)
    rising = 0.0067 + (0.28 - 0.0067) * np.arange(warmup) / max(1, warmup)
    np.testing.assert_allclose(schedule, [*rising, *expected[warmup:total]], rtol=1e-5)


def rates_at(config: OptimizerConfig, steps: int, epochs: int, batch_size: int = 256) -> np.ndarray:
    """Return the rates of all updates, computed together."""
    optimizer = make_optimizer(config, batch_size, steps, epochs)
    return np.asarray(optimizer._learning_rate(keras.ops.arange(steps * epochs)))


def test_the_default_warmup_begins_at_the_published_share_of_any_rate() -> None:
    schedule = rates_at(OptimizerConfig(learning_rate=0.0028, schedule="cosine"), 100, 10)
    np.testing.assert_allclose(schedule[0], 0.000067, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay_epochs": (30, 10)}, r"must be less than epochs; .* Received: decay_epochs=\(30, 10\), epochs=12"),
        ({"decay_epochs": (12,)}, r"must be less than epochs; .* Received: decay_epochs=\(12,\), epochs=12"),
        ({"decay_epochs": (4, 1), "warmup_steps": 81}, r"must be at most 80, .* Received: warmup_steps=81"),
        ({"warmup_steps": 2000}, r"must be at most 108, .* Received: warmup_steps=2000"),
    ],
)
def test_steps_that_do_not_fit_the_run_are_refused_when_it_starts(options: dict, message: str) -> None:
    config = OptimizerConfig(**options)
    with pytest.raises(ConfigError, match=message) as error:
        make_optimizer(config, 256, steps=10, epochs=12)
    assert "\n" not in str(error.value)
    make_optimizer(config.model_copy(update={"schedule": "cosine"}), 256, steps=10, epochs=12)


def test_steps_that_just_fit_are_taken_as_they_are() -> None:
    config = OptimizerConfig(decay_epochs=(4, 1), warmup_steps=80, warmup_from=0.0)
    schedule = rates_at(config, 10, 12)
    np.testing.assert_allclose(schedule[[0, 40, 80, 81, 110, 111]], [0, 0.14, 0.28, 0.028, 0.028, 0.0028], atol=1e-7)


def test_without_any_decay_epochs_the_rate_stays() -> None:
    config = OptimizerConfig(decay_epochs=(), warmup_steps=0)
    np.testing.assert_allclose(rates_at(config, 10, 12), np.full(120, 0.28), rtol=1e-6)


# Epochs, peak, and epochs from the first drop on.
MASKS = {
    "spinenet-49s-640-masks": (350, 0.28, 30),
    "spinenet-49-640-masks": (350, 0.32, 30),
    "spinenet-96-1024-masks": (500, 0.32, 25),
    "spinenet-143-1280-masks": (500, 0.32, 25),
    "spinenet-190-1536-masks": (400, 0.28, 30),
}


def published(name: str) -> np.ndarray:
    """Return the learning rates of a published recipe, from the numbers in the papers and TF Model Garden."""
    if name.startswith(("imagenet", "inaturalist")):
        steps = {"imagenet": 1_281_167, "inaturalist": 579_184}[name.split("-")[0]] // 4096
        step, warmup = np.arange(200 * steps), 5 * steps
        rate, start = 0.8 * (1 + np.cos(np.pi * step / len(step))), 0.0
    else:
        mobile, steps = name.startswith("spinenet-mobile"), 118_287 // 256
        epochs = 600 if mobile else {"a": 250, "b": 350, "c": 500}.get(name[-1])
        epochs, peak = (400, 0.3) if name == "spinenet-190-1280-c" else (epochs, 0.28)
        first, second = (25, 10) if name in ("spinenet-mobile-49s-384", "spinenet-mobile-49xs-256") else (30, 10)
        if name in MASKS:
            epochs, peak, first = MASKS[name]
        step, warmup, start = np.arange(epochs * steps), 2000, 0.0067
        # Keras's and TF Model Garden's boundary is the last step at the old rate.
        fallen = (step > (epochs - first) * steps) * 1 + (step > (epochs - second) * steps)
        rate = peak * 0.1**fallen
    return np.where(step < warmup, start + (rate - start) * step / warmup, rate)


PUBLISHED = sorted(
    entry.name.removesuffix(".yaml")
    for entry in files("spinenet_tf.configs").iterdir()
    if entry.name.startswith(("imagenet", "inaturalist", "r0", "r23", "r50", "spinenet"))
)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_recipe_follows_the_published_learning_rates(name: str) -> None:
    config, expected = read_config(find_config(name)), published(name)
    written = find_config(name).read_text()
    assert f"Cost: {len(expected):,} steps of {config.batch_size} images" in written
    found = rates_at(config.optimizer, len(expected) // config.epochs, config.epochs, config.batch_size)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert config.optimizer.warmup_steps is not None, "it does not depend on what the defaults are"
    assert config.optimizer.schedule == "cosine" or config.optimizer.decay_epochs is not None
