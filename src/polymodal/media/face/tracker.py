"""The face of a clip, frame by frame: MediaPipe's face landmarker, for one person who is kept."""

from __future__ import annotations

import importlib.metadata
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from polymodal.core import DataError, OptionError
from polymodal.data.ragged import Array
from polymodal.media.assets import sha256_of
from polymodal.media.face.crops import cut_face, places
from polymodal.media.face.features import NAMES, describe, outline
from polymodal.media.face.quiet import without_lines
from polymodal.media.face.subject import Box, Subject
from polymodal.media.types import Frame

CODE = 1
"""To be raised with every change here that changes a feature."""

MOST = 4
"""Faces that a look finds at most."""

LONGEST_STEP = 0.2
"""Seconds that a frame counts for at most: in a clip of one frame per second nobody is lost between two frames."""

NOISE = re.compile(rb"[WI]\d{4} |WARNING: Logging before InitGoogle|INFO: Created TensorFlow Lite")


@dataclass(frozen=True)
class FaceReading:
    """What was found in a frame.

    Attributes:
        time: of the frame.
        values: (width,) float32, see ``features.NAMES``, zeros where no face was tracked; None where not asked for.
        crop: ``crops.SHAPE`` uint8; None where no face was tracked, and where not asked for.
        tracked: whether the subject was in sight.
        others: how many other faces the last look saw.
    """

    time: float
    values: Array | None
    crop: Array | None
    tracked: bool
    others: int


def version(model: Path) -> str:
    """Return what features depend on: MediaPipe, the model's content, our code; OptionError without MediaPipe."""
    try:
        mediapipe = importlib.metadata.version("mediapipe")
    except importlib.metadata.PackageNotFoundError:
        raise OptionError(_MISSING) from None
    return f"mediapipe {mediapipe}, face_landmarker {sha256_of(model)[:8]}, polymodal face {CODE}"


class FaceTracker:
    """Follows one face through one clip, the largest that persists (see ``Subject``).

    MediaPipe Face Landmarker (Google, 2023; BlazeFace, Face Mesh V2 and blendshapes networks) in video mode with one
    face: it then detects only where it has lost the face, and smooths landmarks over time, which it does not for
    several. Other faces are looked for every half second or second, and painted out wherever the subject has to be
    found again. The detector is made for short range: faces below a tenth of the picture's width may be missed.

    All computing is local, on one core. The MediaPipe package itself contacts play.googleapis.com, by its terms with
    figures of its use (version, system, calls, latencies), never with input; it has no switch for that, so block the
    host where nothing may leave.

    Args:
        model: the model bundle, see ``assets.find_face_model``.
        features: whether to describe faces.
        crops: whether to cut them out.

    Raises:
        DataError: ``model`` is no face landmarker.
        OptionError: MediaPipe is not installed or cannot be loaded.
    """

    names = NAMES
    width = len(NAMES)

    def __init__(self, model: Path, *, features: bool = True, crops: bool = False) -> None:
        self._model, self._features, self._crops = model, features, crops
        self._subject = Subject()
        self._last = math.nan
        self._clock, self._milliseconds = 0.0, 0
        self._mediapipe = load_mediapipe()
        self._one, self._all = self._landmarker(follow=True), self._landmarker(follow=False)

    @property
    def version(self) -> str:
        """What features depend on."""
        return version(self._model)

    def _landmarker(self, *, follow: bool) -> Any:
        tasks = self._mediapipe.tasks
        mode = tasks.vision.RunningMode
        options = tasks.vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_path=str(self._model)),
            running_mode=mode.VIDEO if follow else mode.IMAGE,
            num_faces=1 if follow else MOST,
            output_face_blendshapes=follow and self._features,
            output_facial_transformation_matrixes=follow and self._features,
        )
        try:
            with without_lines(NOISE):
                return tasks.vision.FaceLandmarker.create_from_options(options)
        except (OSError, RuntimeError, ValueError):
            raise DataError(
                f"{self._model} is no model of MediaPipe's face landmarker; remove it, or name the right folder with "
                "--assets"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the networks; no frame may follow."""
        self._one.close()
        self._all.close()

    def push(self, frame: Frame) -> FaceReading:
        """Return what is in the next frame. Times that do not ascend count as one millisecond later.

        Raises:
            DataError: the frame is not (height, width, 3) uint8, or has no time.
        """
        image = checked(frame)
        self._advance(frame.time)
        subject = self._subject
        picture = self._picture(image)
        if subject.due(self._clock):
            subject.look(self._clock, [outline(face) for face in self._all.detect(picture).face_landmarks])
        found = None
        if subject.box is not None:
            if not subject.held and subject.others:
                picture = self._picture(_painted(image, subject.others, subject.box))
            found = self._follow(picture, image)
        nothing = np.zeros(self.width, np.float32) if self._features else None
        values, crop = found or (nothing, None)
        return FaceReading(frame.time, values, crop, found is not None, len(subject.others))

    def _advance(self, time: float) -> None:
        """Move both clocks: MediaPipe's in ascending milliseconds, the subject's without gaps."""
        step = 0.0 if math.isnan(self._last) else time - self._last
        self._last = time
        self._clock += min(max(step, 0.001), LONGEST_STEP)
        self._milliseconds += max(1, round(1000 * min(step, 60.0)))

    def _picture(self, image: Array) -> Any:
        # MediaPipe copies the buffer as if rows followed each other: it sees a skewed picture, and no face, in a view
        # with longer strides, such as PyAV returns for widths that are no multiple of its alignment.
        data = np.ascontiguousarray(image)
        return self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=data)

    def _follow(self, picture: Any, image: Array) -> tuple[Array | None, Array | None] | None:
        """Return the features and the crop of the subject, as asked for; None where it is not in sight."""
        found = self._one.detect_for_video(picture, self._milliseconds)
        face = found.face_landmarks[0] if found.face_landmarks else None
        if not self._subject.follow(self._clock, outline(face) if face else None):
            return None
        size = (image.shape[1], image.shape[0])
        values = crop = None
        if self._features:
            values = describe(face, found.face_blendshapes[0], found.facial_transformation_matrixes[0], size)
        if self._crops:
            crop = cut_face(image, places(face, size)).transpose(2, 0, 1)
        return values, crop


_MISSING = "faces need MediaPipe; run `pip install 'polymodal[media]'`, or choose vision=none"


def load_mediapipe() -> Any:
    """Import MediaPipe."""
    try:
        import mediapipe
    except ModuleNotFoundError:
        raise OptionError(_MISSING) from None
    except (ImportError, OSError) as error:  # graphics libraries of the system that OpenCV links to
        raise OptionError(f"MediaPipe cannot be loaded: {error}; install that library, or choose vision=none") from None
    return mediapipe


def checked(frame: Frame) -> Array:
    """Return the picture of a frame; DataError where it is none."""
    image = frame.image
    if not math.isfinite(frame.time):
        raise DataError(f"a frame has the time {frame.time}; give it seconds, or leave it out")
    if not isinstance(image, np.ndarray):
        raise DataError(f"the frame at {frame.time} s is a {type(image).__name__}, expected a numpy array; convert it")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        found = f"{image.dtype} of shape {image.shape}"
        raise DataError(f"the frame at {frame.time} s is {found}, expected uint8 (height, width, 3) RGB; convert it")
    return image


def _painted(image: Array, hidden: tuple[Box, ...], shown: Box) -> Array:
    """Return a copy in which the faces ``hidden`` are black, except where they touch the surroundings of ``shown``."""
    copy = image.copy()
    for box in hidden:
        copy[_pixels(box.grown(0.1), image)] = 0
    kept = _pixels(shown.grown(0.25), image)  # what MediaPipe looks at around a face
    copy[kept] = image[kept]
    return copy


def _pixels(box: Box, image: Array) -> tuple[slice, slice]:
    height, width = image.shape[:2]
    rows = slice(max(0, int(box.top * height)), max(0, math.ceil(box.bottom * height)))
    return rows, slice(max(0, int(box.left * width)), max(0, math.ceil(box.right * width)))
