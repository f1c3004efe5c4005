"""What ``reply.py`` measures of speech and videos: pitch, and whether lips and sound are in step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def at_16k(speech: Any) -> np.ndarray:
    """Return the samples of speech at 16 kHz."""
    from fractions import Fraction

    from scipy.signal import resample_poly

    ratio = Fraction(16_000, speech.rate)
    return np.asarray(resample_poly(speech.samples, ratio.numerator, ratio.denominator), np.float32)


def height(speech: Any) -> float:
    """Return the median pitch by autocorrelation, Hz."""
    size, found = int(0.04 * speech.rate), []
    for at in range(0, len(speech.samples) - size, size):
        part = speech.samples[at : at + size] - speech.samples[at : at + size].mean()
        alike = np.correlate(part, part, "full")[size - 1 :]
        low, high = int(speech.rate / 300), int(speech.rate / 60)
        best = low + int(alike[low:high].argmax())
        if alike[0] > 0.5 and alike[best] > 0.6 * alike[0]:
            found.append(speech.rate / best)
    return float(np.median(found)) if found else float("nan")


def step(video: Path, wav: Path, sounds: list[Any], model: Path) -> dict[str, float]:
    """Return by how many milliseconds sound and lips of a video are late (negative: early).

    ``sound``: of the video's sound against the recording. ``lips``: of the gap between the lips, found again by the
    face landmarker in the video's frames, against the way that sounds ask for. ``both``: lips against the loudness of
    the video's own sound, for which nothing is known but the video.
    """
    from polymodal.media.clip.decode import Media
    from polymodal.media.face.still import landmarks_of
    from polymodal.media.types import Frame
    from polymodal.reply.face.sounds import LEAD, OPEN, mouth_track
    from polymodal.reply.voice.speech import Sound, Speech, read_wav

    with Media(video) as media:
        pieces = list(media.pieces(fps=None))
    heard = np.concatenate([p.values for p in pieces if not isinstance(p, Frame)])
    samples, rate = read_wav(wav)
    spoken = at_16k(Speech(samples, rate, ()))
    size = min(len(heard), len(spoken))
    alike = np.correlate(heard[:size], spoken[1600 : size - 1600], "valid")
    times, gaps = [], []
    for piece in pieces:
        if isinstance(piece, Frame) and (faces := landmarks_of(piece.image, model)):
            times.append(piece.time)
            gaps.append(np.linalg.norm(faces[0][13] - faces[0][14]) / np.linalg.norm(faces[0][33] - faces[0][263]))
    at = np.arange(0.2, times[-1] - 0.2, 0.005)
    gap = np.interp(at, np.array(times) + 0.02, gaps)  # a frame is seen for 40 ms
    asked = mouth_track([Sound(*s) for s in sounds], at - LEAD)[:, OPEN]  # when the sounds are, not the mouth
    loud = np.convolve(np.abs(heard), np.hanning(1280) / 640, "same")
    loud = np.interp(at, np.arange(len(loud)) / 16_000, loud)
    return {
        "sound": (int(alike.argmax()) - 1600) / 16,
        "lips": _late(gap, asked),
        "both": _late(gap, loud),
        "alike": float(np.corrcoef(gap, asked)[0, 1]),
    }


def _late(signal: np.ndarray, other: np.ndarray) -> float:
    """Return by how many milliseconds ``signal`` (steps of 5) follows ``other``."""
    shifts = range(-40, 41)
    kept = slice(40, len(signal) - 40)
    alike = [np.corrcoef(np.roll(signal, -shift)[kept], other[kept])[0, 1] for shift in shifts]
    return 5.0 * shifts[int(np.argmax(alike))]
