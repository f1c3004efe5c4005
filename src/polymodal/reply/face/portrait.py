"""A portrait: a picture cut around its face, and the face's landmarks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from polymodal.core import DataError
from polymodal.data.ragged import Array
from polymodal.reply.face.drawn import drawn_face

SIDE = 512
"""Pixels of the cut picture, each way."""

MARGIN = 0.5
"""Share of the face's box that is added on every side."""

SMALLEST = 48
"""Pixels that a face must be wide."""

MESH = 468
"""Landmarks of the mesh; the ten behind them are the irises."""


@dataclass(frozen=True)
class Portrait:
    """A face to be moved.

    Attributes:
        image: (SIDE, SIDE, 3) uint8 RGB.
        points: (MESH, 2) float64 landmarks in pixels.
        name: what results call it.
        digest: of the picture that it is from.
        person: whether it may show a person, whose consent is needed.
    """

    image: Array
    points: Array
    name: str
    digest: str
    person: bool


def read_portrait(file: Path, model: Path) -> Portrait:
    """Return the largest face of a picture.

    Raises:
        DataError: the file is no picture, shows no face, or one that is too small.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            image = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    except OSError as error:
        raise DataError(f"{file} is no picture that can be read ({error}); give a JPEG or PNG") from None
    except Image.DecompressionBombError:
        raise DataError(f"{file} has too many pixels; give a smaller picture") from None
    return cut_portrait(image, model, file.name)


def cut_portrait(image: Array, model: Path, name: str, *, person: bool = True) -> Portrait:
    """Return the largest face of ``image`` (height, width, 3) uint8; DataError as ``read_portrait``."""
    from PIL import Image

    from polymodal.media.face.still import landmarks_of

    faces = landmarks_of(image, model)
    if not faces:
        raise DataError(f"{name} shows no face; give a portrait from the front, well lit")
    points = faces[0][:MESH]
    low, high = points.min(0), points.max(0)
    if high[0] - low[0] < SMALLEST:
        raise DataError(f"the face in {name} is {high[0] - low[0]:.0f} pixels wide; give one of {SMALLEST} or more")
    half = (0.5 + MARGIN) * float((high - low).max())
    middle = (low + high) / 2
    # Within the picture, where that leaves the face whole; elsewhere its edges are repeated.
    side = max(min(round(2 * half), *image.shape[:2]), round(1.2 * float((high - low).max())))
    room = np.maximum(np.array(image.shape[1::-1]) - side, 0)
    left, top = np.clip(np.round(middle - side / 2), 0, room).astype(int)
    picture = Image.fromarray(_spread(image, left, top, side)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    digest = hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()[:16]
    return Portrait(np.asarray(picture), (points - (left, top)) * (SIDE / side), name, digest, person)


def drawn_portrait(model: Path) -> Portrait:
    """Return the drawn face."""
    return cut_portrait(drawn_face(), model, "drawn face", person=False)


def _spread(image: Array, left: int, top: int, side: int) -> Array:
    """Return a square of ``image``; what lies outside repeats its edge."""
    rows = np.clip(np.arange(top, top + side), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, image.shape[1] - 1)
    cut: Array = image[rows][:, columns]
    return cut
