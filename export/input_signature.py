"""Read the argument `input_signature` of `keras.Model.export`."""

from __future__ import annotations

from typing import Any

import keras

from spinenet_tf.inference.naming import INPUT


def batch_size_in(
    signature: Any, image_shape: tuple[int, int, int], default: int | None, dtype: str = "float32"
) -> int | None:
    """Return the batch size of an input signature, which may fix nothing else; None means any, as in Keras.

    The signature is one `keras.InputSpec`, `tf.TensorSpec`, `KerasTensor` or tensor, or a structure that holds one. As
    in Keras, the batch of the last two is not read: it is any. Without a signature, return `default`.

    Raises:
        ValueError: it is not the signature of images `[batch, *image_shape]` of this dtype, named "images".
    """
    if signature is None:
        return default
    specs = keras.tree.flatten(signature)
    shape, given, name = _read(specs[0]) if len(specs) == 1 else ((), None, None)
    if len(shape) != 4 or tuple(shape[1:]) != image_shape or given != dtype or name not in (None, INPUT):
        wanted = f"keras.InputSpec(shape=(batch, {', '.join(map(str, image_shape))}), dtype='{dtype}', name='{INPUT}')"
        raise ValueError(f"The input of this model is {wanted}. Received: input_signature={signature!r:.200}")
    return shape[0]


def _read(spec: Any) -> tuple[tuple[int | None, ...], str | None, str | None]:
    """Return the shape, dtype and name of a spec; no shape if it is not a spec."""
    is_symbolic = isinstance(spec, keras.KerasTensor)
    try:
        shape, dtype = tuple(spec.shape), spec.dtype and keras.backend.standardize_dtype(spec.dtype)
    except (AttributeError, TypeError, ValueError):  # another object, an unknown rank or no dtype
        return (), None, None
    if is_symbolic or keras.ops.is_tensor(spec):
        shape = (None, *shape[1:])
    name = getattr(spec, "name", None) or ""
    return shape, dtype, None if not name or (is_symbolic and name.startswith("keras_tensor")) else name
