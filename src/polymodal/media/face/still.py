"""The landmarks of faces in a single picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from polymodal.core import DataError
from polymodal.data.ragged import Array
from polymodal.media.face.quiet import without_lines
from polymodal.media.face.tracker import MOST, NOISE, load_mediapipe


def landmarks_of(image: Array, model: Path) -> list[Array]:
    """Return the landmarks of each face in a picture, the largest face first.

    Args:
        image: (height, width, 3) uint8 RGB.
        model: the model bundle, see ``assets.find_face_model``.

    Returns:
        Arrays (478, 2) float64: x and y of MediaPipe's mesh in pixels.

    Raises:
        DataError: ``model`` is no face landmarker.
        OptionError: MediaPipe is not installed or cannot be loaded.
    """
    mediapipe = load_mediapipe()
    tasks = mediapipe.tasks
    options = tasks.vision.FaceLandmarkerOptions(
        base_options=tasks.BaseOptions(model_asset_path=str(model)),
        running_mode=tasks.vision.RunningMode.IMAGE,
        num_faces=MOST,
    )
    picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))
    try:
        with without_lines(NOISE), tasks.vision.FaceLandmarker.create_from_options(options) as landmarker:
            found = landmarker.detect(picture).face_landmarks
    except (OSError, RuntimeError, ValueError):
        raise DataError(
            f"{model} is no model of MediaPipe's face landmarker; remove it, or name the right folder with --assets"
        ) from None
    height, width = image.shape[:2]
    faces: list[Array] = [np.array([(p.x * width, p.y * height) for p in face]) for face in found]
    return sorted(faces, key=lambda face: -float(np.ptp(face[:, 0]) * np.ptp(face[:, 1])))
