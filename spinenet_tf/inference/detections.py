"""The detections in one image, and what can be made of them: pictures, COCO results, other tools' objects."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from spinenet_tf.data.masks import Mask
from spinenet_tf.evaluation.coco_results import result_rows
from spinenet_tf.evaluation.detections import detect_in_images

if TYPE_CHECKING:
    from spinenet_tf.inference.predictor import Predictor

THRESHOLD = 0.3  # lowest score that is drawn
_SHOWN = 5  # detections in `repr`


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """The `M` objects that a detector found in one image, those with the best scores first.

    `len` is `M`. An index, a slice or a mask `[M]`, as in NumPy, returns the chosen ones as `Detections`, such as
    `found[found.scores >= 0.5]`; iteration returns one after the other.
    """

    boxes: np.ndarray  # [M, 4] float32, yxyx in pixels of the image, inside it
    scores: np.ndarray  # [M] float32
    classes: np.ndarray  # [M] int32, 0..C-1
    image: np.ndarray  # [h, w, 3] uint8 RGB, upright
    class_names: tuple[str, ...]  # of the model, by class
    category_ids: tuple[int, ...] | None = None  # of the training set's COCO file, by class, if it is known
    encoded_masks: tuple[Mask, ...] | None = None  # [M] of the whole image, if the model predicts masks

    @property
    def masks(self) -> np.ndarray | None:
        """The masks `[M, h, w]` bool, or None if the model does not predict masks. Decoded at each access."""
        if self.encoded_masks is None:
            return None
        decoded = [mask.decode() for mask in self.encoded_masks]
        return np.stack(decoded) if decoded else np.zeros((0, *self.image.shape[:2]), bool)

    @property
    def names(self) -> list[str]:
        """The class name of each object."""
        return [self.class_names[label] for label in self.classes.tolist()]

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Any) -> Detections:
        rows = np.atleast_1d(np.arange(len(self))[index])
        columns = {name: getattr(self, name)[rows] for name in ("boxes", "scores", "classes")}
        masks = None if self.encoded_masks is None else tuple(self.encoded_masks[row] for row in rows)
        return replace(self, **columns, encoded_masks=masks)

    def __iter__(self) -> Iterator[Detections]:
        return (self[row] for row in range(len(self)))

    def __repr__(self) -> str:
        shown = [f"{name} {score:.2f}" for name, score in zip(self.names[:_SHOWN], self.scores, strict=False)]
        more = [f"and {len(self) - _SHOWN} more"] if len(self) > _SHOWN else []
        height, width = self.image.shape[:2]
        return f"Detections({', '.join([*shown, *more]) or 'none'} in {width} x {height} px)"

    def filter(self, threshold: float) -> Detections:
        """Return the detections with a score of at least `threshold`."""
        return self[self.scores >= threshold]

    def draw(self, threshold: float = THRESHOLD) -> Image.Image:
        """Return a copy of the image with the boxes, labels and masks of detections that score at least `threshold`.

        A small image is enlarged: see `drawing.boxes.draw_detections`.
        """
        from spinenet_tf.drawing.boxes import draw_detections

        found = (self.boxes, self.classes, self.scores)
        return Image.fromarray(draw_detections(self.image, *found, self.class_names, threshold, self.encoded_masks))

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """Return COCO results, which pycocotools reads: {"image_id", "category_id", "bbox", "score"} each.

        "category_id" is that of the training set, or class + 1 if the model does not know it; "bbox" is
        `[left, top, width, height]`. With masks, "segmentation" is a compressed RLE.

        Raises:
            ValueError: `image_id` is not an integer.
        """
        return result_rows(image_id, self.boxes, self.scores, self.classes, self.category_ids, self.encoded_masks)

    def to_supervision(self) -> Any:
        """Return `supervision.Detections`: xyxy, confidence, class_id, mask, and `data["class_name"]`.

        Raises:
            ImportError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError:
            raise ImportError("to_supervision needs supervision: pip install spinenet_tf[supervision]") from None
        return supervision.Detections(
            xyxy=self.boxes[:, [1, 0, 3, 2]],
            mask=self.masks,
            confidence=self.scores,
            class_id=self.classes.astype(int),
            data={"class_name": np.array(self.names, dtype=str)},
        )

    def _repr_png_(self) -> bytes:
        return png(self.draw())


def png(picture: Image.Image) -> bytes:
    """Return a picture as the bytes of a PNG file, which notebooks show."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def detect(model: Predictor, images: Sequence[np.ndarray]) -> list[Detections]:
    """Detect in RGB images `[h, w, 3]` uint8, all in one call of the model."""
    results = detect_in_images(model.predict, images, model.image_size, model.stretch)
    return [
        Detections(
            boxes=np.asarray(found["boxes"], np.float32),
            scores=np.asarray(found["scores"], np.float32),
            classes=np.asarray(found["classes"], np.int32),
            image=image,
            class_names=model.class_names,
            category_ids=model.category_ids,
            encoded_masks=tuple(found["masks"]) if "masks" in found else None,
        )
        for image, found in zip(images, results, strict=True)
    ]
