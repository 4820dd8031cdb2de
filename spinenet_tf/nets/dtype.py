"""The dtype policy that a model is built with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import keras

# As in Keras: the name of a policy, a `DTypePolicy` or `DTypePolicyMap`, the config of one, or None for the global one.
Dtype: TypeAlias = str | keras.DTypePolicy | Mapping[str, Any] | None


@contextmanager
def dtype_scope(dtype: Dtype) -> Iterator[None]:
    """Build all layers in the block with a dtype policy, except those that are given another one.

    Raises:
        ValueError: Keras does not know the policy, or its layers would not compute with floating-point numbers.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(_policy(dtype))
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _policy(dtype: Dtype) -> keras.DTypePolicy:
    policy = keras.dtype_policies.get(dtype)
    if policy.quantization_mode is not None or "float" not in policy.compute_dtype:
        raise ValueError(f"`dtype` must be a policy of floating-point numbers. Received: dtype={policy.name!r}")
    if isinstance(policy, keras.dtype_policies.DTypePolicyMap):
        # A copy, because Keras adds layers to a map. Its default must be explicit: no default means the global policy,
        # which is this map itself while the model is built.
        return keras.dtype_policies.DTypePolicyMap(policy.default_policy.name, dict(policy))
    return policy
