"""The base class of models of images: arguments of `fit`, `evaluate` and `predict` are checked first."""

from __future__ import annotations

import inspect
from typing import Any

import keras

from spinenet_tf.nets.image_checks import ImageCheck, ImageRangeError
from spinenet_tf.nets.streams import in_one_line
from spinenet_tf.ops.pixels import unnormalize


class ImageModel(keras.Model):
    """A Keras model of images, which refuses normalized images if it takes pixels, and pixels if it does not."""

    include_preprocessing = False  # whether the model takes pixels in 0..255 and normalizes them itself

    def fit(self, *args, **kwargs):
        """Train with the arguments of `keras.Model.fit`.

        Raises:
            ImageRangeError: see `image_checks.ImageCheck`.
        """
        call = inspect.signature(super().fit).bind(*args, **kwargs)
        with in_one_line(ImageRangeError):
            self._before_fit(call.arguments)
            return super().fit(*call.args, **call.kwargs)

    def _before_fit(self, given: dict[str, Any]) -> None:
        """Prepare for `fit`, and change its arguments `given` in place."""
        if _comes_in_order(given.get("x")):
            given.setdefault("shuffle", False)  # Keras's default of True only causes a warning here
        self._before_evaluate(given)
        held_out = given.get("validation_data")
        if isinstance(held_out, (tuple, list)):
            self._before_evaluate(dict(zip(("x", "y", "sample_weight"), held_out, strict=False)))
        elif held_out is not None:
            row = {"x": held_out}
            self._before_evaluate(row)
            given["validation_data"] = row["x"]

    def evaluate(self, *args, **kwargs):
        """Evaluate with the arguments of `keras.Model.evaluate`. Raises the errors of `fit`."""
        call = inspect.signature(super().evaluate).bind(*args, **kwargs)
        with in_one_line(ImageRangeError):
            if "_use_cached_eval_dataset" not in kwargs:  # the validation data of `fit` are already checked
                self._before_evaluate(call.arguments)
            return super().evaluate(*call.args, **call.kwargs)

    def _before_evaluate(self, given: dict[str, Any]) -> None:
        """Check the arguments `x`, `y` and `sample_weight` of `fit` or `evaluate`, and wrap `x` in place."""
        given["x"] = ImageCheck(self.include_preprocessing).watch(given.get("x"))

    def predict(self, x, *args, **kwargs):
        """Predict with the arguments of `keras.Model.predict`.

        Raises:
            ImageRangeError: see `image_checks.ImageCheck`.
        """
        with in_one_line(ImageRangeError):
            return super().predict(ImageCheck(self.include_preprocessing).watch(x), *args, **kwargs)

    def train_on_batch(self, x, *args, **kwargs):
        """Train on one batch, as in Keras. Raises the errors of `fit`."""
        ImageCheck(self.include_preprocessing)(x)
        return super().train_on_batch(x, *args, **kwargs)

    def test_on_batch(self, x, *args, **kwargs):
        """Evaluate on one batch, as in Keras. Raises the errors of `fit`."""
        ImageCheck(self.include_preprocessing)(x)
        return super().test_on_batch(x, *args, **kwargs)

    def predict_on_batch(self, x):
        """Predict one batch. Keras repeats it for each device of a `tf.distribute.MirroredStrategy`; this undoes it.

        Raises:
            ImageRangeError: see `image_checks.ImageCheck`.
        """
        ImageCheck(self.include_preprocessing)(x)
        size = len(keras.tree.flatten(x)[0])
        return keras.tree.map_structure(lambda found: found[:size], super().predict_on_batch(x))

    def predict_normalized(self, images):
        """Predict one batch of normalized images `[B, H, W, 3]`, also if the model takes pixels."""
        return self.predict_on_batch(unnormalize(images) if self.include_preprocessing else images)


def _comes_in_order(data: Any) -> bool:
    """Return whether Keras cannot shuffle `data`: it shuffles only arrays and a `PyDataset` of known length."""
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches is None
    return not all(hasattr(leaf, "shape") for leaf in keras.tree.flatten(data))
