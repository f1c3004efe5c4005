"""A planted face lands upright, its eyes at fixed places."""

from __future__ import annotations

import numpy as np
import pytest

from polymodal.data.ragged import Array
from polymodal.media.face.crops import PLACES, SIZE, cut_face

cv2 = pytest.importorskip("cv2")

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255))
"""Of the dots where a planted face has eyes, nose and mouth."""


def planted(degrees: float, scale: float, middle: tuple[float, float], size: tuple[int, int]) -> tuple[Array, Array]:
    """Return a picture (height, width, 3) of five dots on grey, a crop's face turned, scaled and moved, and where."""
    turn = scale * np.exp(1j * np.deg2rad(degrees))
    template = PLACES @ (1, 1j)
    where = turn * (template - template.mean()) + complex(*middle)
    image = np.full((*size[::-1], 3), 90, np.uint8)
    grid = np.arange(size[0]) + 1j * np.arange(size[1])[:, None]
    for point, colour in zip(where, COLOURS, strict=True):
        image[np.abs(grid - point) < 5 * scale] = colour
    return image, np.stack([where.real, where.imag], axis=1)


def dots(crop: Array) -> Array:
    """Return the middle of each dot, (5, 2)."""
    found = []
    for colour in COLOURS:
        rows, columns = np.nonzero((np.abs(crop.astype(int) - colour) < 60).all(axis=2))
        found.append((columns.mean(), rows.mean()))
    return np.array(found)


@pytest.mark.parametrize("degrees", [0, 30, -90, 180])
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7, 4.3])
def test_a_turned_and_scaled_face_lands_upright_with_its_eyes_at_fixed_places(degrees: float, scale: float) -> None:
    image, points = planted(degrees, scale, (331.4, 298.9), (640, 600))
    crop = cut_face(image, points)
    assert crop.shape == (SIZE, SIZE, 3)
    assert crop.dtype == np.uint8
    assert np.abs(dots(crop) - PLACES).max() < 0.6 / min(scale, 1)  # a dot is drawn in whole pixels


def test_a_face_at_the_size_and_place_of_a_crop_is_copied() -> None:
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    assert np.abs(cut_face(image, PLACES).astype(int) - image).max() <= 1
    moved = np.pad(image, ((20, 9), (7, 40), (0, 0)))
    assert np.abs(cut_face(moved, PLACES + np.array([7, 20])).astype(int) - image).max() <= 1


def test_a_large_face_is_averaged_so_that_a_fine_pattern_turns_grey() -> None:
    stripes = np.zeros((SIZE * 4, SIZE * 4, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = cut_face(stripes, 4 * PLACES)
    assert np.abs(crop[2:-2, 2:-2].astype(int) - 127).max() < 15


def test_what_reaches_beyond_the_picture_is_black() -> None:
    image, points = planted(0, 1.0, (5.0, 100.0), (200, 200))
    crop = cut_face(image, points)
    assert (crop[:, :20] == 0).all()
    assert (crop[50:60, 80:] > 0).any()
