"""Multi-device training in one process: the config's `distribution: mirrored`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from spinenet_tf.training.config import ConfigError, TrainConfig


def scope(config: TrainConfig) -> AbstractContextManager[object]:
    """Return the context in which to build and compile a model, so that it trains on the config's devices.

    "mirrored" is `tf.distribute.MirroredStrategy`: each device of this machine holds a copy of the model and computes
    on its share of the batch. "data_parallel" needs no context: `processes.joined` sets it up.

    Raises:
        ConfigError: the distribution does not support the backend, the batch size or an option.
    """
    if config.distribution != "mirrored":
        return nullcontext()
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ConfigError("distribution: mirrored needs the TensorFlow backend: set KERAS_BACKEND=tensorflow.")
    if config.optimizer.accumulate > 1:
        raise ConfigError("distribution: mirrored does not support optimizer.accumulate, since Keras does not.")
    import tensorflow as tf

    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    strategy = tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices(kind)])
    if config.batch_size % strategy.num_replicas_in_sync:
        raise ConfigError(
            f"batch_size must be a multiple of the {strategy.num_replicas_in_sync} devices. "
            f"Received: batch_size={config.batch_size}"
        )
    return strategy.scope()


def with_global_statistics(config: TrainConfig) -> TrainConfig:
    """Return the config with synchronized BN statistics, as on JAX, unless the config sets `sync_bn`."""
    if config.distribution != "mirrored":
        return config
    overrides = {"sync_bn": True} | config.model.overrides
    return config.model_copy(update={"model": config.model.model_copy(update={"overrides": overrides})})
