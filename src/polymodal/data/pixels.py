"""Images and frames on their way into a column: uint8 arrays as they are, PNG and JPEG decoded, the rest refused."""

from __future__ import annotations

import os
import struct
from io import BytesIO
from typing import Any

import numpy as np

from polymodal.core import DataError, Modality
from polymodal.data.ragged import Array

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Channels -> what Pillow calls such an image."""


def at_rest(modality: Modality) -> tuple[tuple[int, ...], type]:
    """Return shape and type of one step of a modality's column: uint8 (channels, height, width) or float32 (width,)."""
    return (modality.shape, np.uint8) if modality.shape else ((modality.width,), np.float32)


def pixel_row(row: Any, modality: Modality, sample: str) -> Array:
    """Return ``row`` as a row of a column, uint8 ``(time, channels, height, width)``; an image is one step.

    Args:
        row: an image, a sequence of images or an array of frames, or None (absent). An image is a uint8 array
            ``(channels, height, width)``, or a PNG or JPEG: its bytes or path.

    Raises:
        DataError: another shape or type, or a file that cannot be decoded; names the sample and the remedy.
    """
    what = f"sample {sample!r}: {modality.name}"
    if row is None or (modality.kind == "frames" and not len(row)):
        return np.zeros((0, *modality.shape), np.uint8)
    if modality.kind == "image":
        return _image(row, modality, what)[None]
    if isinstance(row, (list, tuple)):
        return np.stack([_image(image, modality, f"{what}, frame {i}") for i, image in enumerate(row)])
    return _checked(row, modality, what, lead=("time",))


def _image(image: Any, modality: Modality, what: str) -> Array:
    if isinstance(image, (bytes, str, os.PathLike)):
        return _decode(image, modality, what)
    return _checked(image, modality, what)


def _checked(raw: Any, modality: Modality, what: str, lead: tuple[str, ...] = ()) -> Array:
    """Return ``raw`` as an array if it is uint8 of the modality's shape behind the axes ``lead``."""
    try:
        values = np.asarray(raw)
    except ValueError:
        raise DataError(f"{what} is a list of arrays of several shapes; give one uint8 array") from None
    wanted = f"({', '.join([*lead, *map(str, modality.shape)])})"
    if values.ndim != len(lead) + 3 or values.shape[len(lead) :] != modality.shape:
        remedy = _reshaping(values.shape[len(lead) :], modality.shape, len(lead))
        raise DataError(f"{what} has shape {values.shape}, expected {wanted}; {remedy}")
    if values.dtype != np.uint8:
        raise DataError(f"{what} has type {values.dtype}, expected uint8 from 0 to 255; {_rescaling(values)}")
    return values


def _reshaping(found: tuple[int, ...], wanted: tuple[int, ...], lead: int) -> str:
    """Return what to do with an array of shape ``found`` behind ``lead`` axes."""
    channels, height, width = wanted
    first, last = (0, 2) if not lead else (1, 3)
    if len(found) == 3 and found[2] in (channels, 1, 3, 4) and found[0] not in (channels, 1, 3, 4):
        axes = (*range(lead), last, first, first + 1)
        return f"channels come first: give it as array.transpose{axes}"
    if len(found) == 2 and channels == 1:
        return f"give it an axis of channels: array[{':, ' * lead}None]"
    if len(found) == 3 and found[0] != channels:
        return f"turn it into {channels} channels, or declare shape={found}"
    if len(found) == 3:
        return f"images of one column share one size: resize it to {height} x {width}"
    return f"give {'one such array per clip' if lead else 'one image per sample, or declare frames'}"


def _rescaling(values: Array) -> str:
    """Return what makes uint8 of ``values``."""
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        return "give whole numbers without NaN"
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind in "fb" and low >= 0 and high <= 1:
        return "give it as (255 * array).round().astype('uint8')"
    if low >= 0 and high <= 255:
        return "give it as array.round().astype('uint8')"
    return f"its values lie between {low:g} and {high:g}: scale them to 0 to 255, then .round().astype('uint8')"


def _decode(source: bytes | str | os.PathLike[str], modality: Modality, what: str) -> Array:
    """Return the PNG or JPEG ``source`` as uint8 of the modality's shape, upright."""
    from PIL import Image, ImageOps

    channels, height, width = modality.shape
    name = what if isinstance(source, bytes) else f"{what} ({os.fspath(source)})"
    if channels not in _MODES:
        raise DataError(f"{name} is a picture, but its modality has {channels} channels; give arrays instead")
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=("PNG", "JPEG")) as picture:
            if sorted(picture.size) != sorted((width, height)):  # before a huge one is decoded
                found = (channels, picture.height, picture.width)
                raise DataError(f"{name} is {picture.height} x {picture.width}; {_reshaping(found, modality.shape, 0)}")
            if picture.mode.startswith(("I", "F")):
                raise DataError(f"{name} has more than 8 bits a channel; save it with 8")
            upright = ImageOps.exif_transpose(picture).convert(_MODES[channels])
            return _checked(np.asarray(upright).reshape(*upright.size[::-1], -1).transpose(2, 0, 1), modality, name)
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error).split(" <")[0]
        raise DataError(f"{name} cannot be read as PNG or JPEG ({reason}); mend it, or give None for absent") from None
