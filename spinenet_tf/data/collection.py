"""The base class of data sets: a sequence of examples that can be divided and drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, cast, overload

import numpy as np

from spinenet_tf._files.messages import some_of

if TYPE_CHECKING:
    from PIL.Image import Image

AnyExample = TypeVar("AnyExample")


class Collection(Generic[AnyExample]):
    """The images of a data set, one example each. Subclasses are dataclasses with these fields."""

    tasks: ClassVar[tuple[str, ...]]  # of the models that learn from such data, the most frequent first
    name: str
    class_names: tuple[str, ...]
    examples: tuple[AnyExample, ...]

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[AnyExample]:
        return iter(self.examples)

    @overload
    def __getitem__(self, index: int) -> AnyExample: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> AnyExample | Self:
        """Return an example, or for a slice the data set of these images."""
        return self._of(self.examples[index]) if isinstance(index, slice) else self.examples[index]

    def take(self, indices: Iterable[int]) -> Self:
        """Return the data set reduced to the images at these indices; `dataset[:8]` has the first eight."""
        return self._of(self.examples[index] for index in indices)

    def split(self, fraction: float = 0.2, seed: int = 0) -> tuple[Self, Self]:
        """Divide the images at random into two data sets: for training, and `fraction` of them for validation.

        Both keep the order of the images. Similar images, such as the frames of a video, may end up in both parts.

        Raises:
            ValueError: a part would have no images.
        """
        count = round(fraction * len(self))
        if not 0 < count < len(self):
            raise ValueError(f"Both parts need images. Received: {fraction=} of {len(self)} images")
        order = np.random.default_rng(seed).permutation(len(self))
        return self.take(sorted(order[count:])), self.take(sorted(order[:count]))

    def with_classes(self, names: Sequence[str]) -> Self:
        """Return the data set with its classes numbered as in `names`, some of which it may lack.

        Two data sets may number the same classes differently: use `validation.with_classes(training.class_names)`.

        Raises:
            DataError: the data set has objects or images of a class that is not in `names`.
        """
        from spinenet_tf.data.classes import with_classes

        return with_classes(cast(Any, self), names)

    def draw(self, index: int) -> Image:
        """Return a picture of one image with its boxes, or with its class; a notebook shows it.

        Raises:
            DataError: the image is bad.
        """
        from spinenet_tf.data.sheet import draw_example

        return draw_example(self, index)

    def sheet(self, count: int = 12, columns: int = 4, seed: int = 0) -> Image:
        """Return a picture of `count` random images, each as `draw` returns it, in the data set's order.

        Raises:
            DataError: the data set has no images, or one of them is bad.
            ValueError: `count` or `columns` is less than 1.
        """
        from spinenet_tf.data.sheet import draw_sheet

        return draw_sheet(self, count, columns, seed)

    def __repr__(self) -> str:
        classes = some_of(self.class_names, show=repr)
        return f"<{type(self).__name__} {self.name!r}: {self._counts()}, {len(self.class_names)} classes: {classes}>"

    def _counts(self) -> str:
        return f"{len(self)} images"

    def _of(self, examples: Iterable[AnyExample]) -> Self:
        return replace(cast(Any, self), examples=tuple(examples))  # a dataclass, as every subclass is
