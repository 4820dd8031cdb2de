"""Outline masks by one polygon, for formats that have neither several polygons per object nor run lengths."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from spinenet_tf.data.masks import Mask, PolygonMask

Loop = list[tuple[int, int]]  # corners of pixels, x and y, in order


def outline(mask: Mask) -> np.ndarray | None:
    """Return one polygon `[2 * P]` float64 (x, y, x, y ... in pixels) inside the image, or None for an empty mask.

    A single polygon is returned as it is. Other masks are outlined exactly along the sides of their pixels; several
    parts, and holes, are joined by lines that run there and back, so that they enclose nothing.
    """
    if isinstance(mask, PolygonMask) and len(mask.polygons) == 1 and _is_inside(mask):
        return mask.polygons[0]
    loops = _loops(mask.decode())
    if not loops:
        return None
    joined = loops[0]
    for loop in loops[1:]:
        joined = _joined(joined, loop)
    return np.array(joined, np.float64).ravel()


def _is_inside(mask: PolygonMask) -> bool:
    top, left, bottom, right = mask.outline
    return min(top, left) >= 0 and bottom <= mask.height and right <= mask.width


def _loops(pixels: np.ndarray) -> list[Loop]:
    """Return the loops around the parts and holes of `[H, W]` bool."""
    following, loops = _sides(pixels), []
    while following:
        start = next(iter(following))
        loop = [start]
        while len(loop) == 1 or loop[-1] != start:
            step = following[loop[-1]].pop()
            if not following[loop[-1]]:
                del following[loop[-1]]
            if len(loop) > 1 and _is_straight(loop[-2], loop[-1], step):
                loop.pop()
            loop.append(step)
        loops.append(loop[:-1])
    return loops


def _sides(pixels: np.ndarray) -> dict[tuple[int, int], Loop]:
    """Return the sides between object and background: corner -> the next corners, with the object to the right."""
    wide = np.pad(pixels, 1)
    inner, following = wide[1:-1, 1:-1], defaultdict(list)
    # The neighbor, and the first and second corner of the side towards it, as y and x.
    for neighbor, first, second in (
        (wide[:-2, 1:-1], (0, 0), (0, 1)),
        (wide[1:-1, 2:], (0, 1), (1, 1)),
        (wide[2:, 1:-1], (1, 1), (1, 0)),
        (wide[1:-1, :-2], (1, 0), (0, 0)),
    ):
        for y, x in np.argwhere(inner & ~neighbor).tolist():
            following[x + first[1], y + first[0]].append((x + second[1], y + second[0]))
    return following


def _is_straight(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> bool:
    return a[0] == b[0] == c[0] or a[1] == b[1] == c[1]


def _joined(loop: Loop, other: Loop) -> Loop:
    """Insert another loop after the nearest corner, and return to that corner."""
    distances = np.abs(np.array(loop)[:, None] - np.array(other)[None]).sum(axis=-1)
    at, start = np.unravel_index(distances.argmin(), distances.shape)
    return [*loop[: at + 1], *other[start:], *other[: start + 1], *loop[at:]]
