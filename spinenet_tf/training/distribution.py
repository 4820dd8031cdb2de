"""Training on many devices: what a config's `distribution` stands for."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from spinenet_tf.training.config import ConfigError, TrainConfig


def scope(config: TrainConfig) -> AbstractContextManager[object]:
    """Return the context in which a model is to be built and compiled, so that it trains on the config's devices.

    "mirrored" is `tf.distribute.MirroredStrategy`: each device of this machine holds the model, and computes on its
    part of the batch. "data_parallel" needs no context of its own within `processes.joined`.

    Raises:
        ConfigError: the backend, the batch or an option does not go with it.
    """
    if config.distribution != "mirrored":
        return nullcontext()
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ConfigError("distribution: mirrored needs the TensorFlow backend: set KERAS_BACKEND=tensorflow.")
    if config.optimizer.accumulate > 1:
        raise ConfigError("distribution: mirrored does not go with optimizer.accumulate, which Keras does not support.")
    import tensorflow as tf

    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    strategy = tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices(kind)])
    if config.batch_size % strategy.num_replicas_in_sync:
        raise ConfigError(
            f"batch_size is divided among {strategy.num_replicas_in_sync} devices. Received: {config.batch_size}"
        )
    return strategy.scope()


def with_global_statistics(config: TrainConfig) -> TrainConfig:
    """Let BN normalize by the statistics of the whole batch, as it does on JAX, unless the config says otherwise."""
    if config.distribution != "mirrored":
        return config
    overrides = {"sync_bn": True} | config.model.overrides
    return config.model_copy(update={"model": config.model.model_copy(update={"overrides": overrides})})
