"""Who recognises speech: faster-whisper with the model of a package or one of the user's, or pocketsphinx."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from polymodal.core import OptionError, nearest
from polymodal.data.ragged import Array
from polymodal.media.types import RATE
from polymodal.media.words.said import Transcript

QUIET = 1e-4
"""Amplitude (-80 dB) that counts as silence: recognisers invent words for digital silence."""

CHOICES = ("auto", "faster-whisper", "pocketsphinx", "given", "none")
DEVICES = ("cpu", "cuda", "auto")


class Transcriber(Protocol):
    """Recognises speech.

    Attributes:
        name: as in ``Extraction.text``.
        version: of the recogniser and its model.
        only: code of the one language that it knows; empty if there are several.
    """

    name: str
    version: str
    only: str

    def transcribe(self, samples: Array, start: float) -> Transcript:
        """Return what is said in ``samples`` (n,) at RATE, the first of which is heard at ``start``; empty for silence.

        The result depends on nothing heard before, and may be asked for from any thread.

        Raises:
            DataError: the recogniser failed.
        """
        ...


@dataclass(frozen=True)
class Wanted:
    """The recogniser that is wanted.

    Args:
        choice: as ``Extraction.text``.
        model: as ``Extraction.asr_model``.
        language: as ``Extraction.language``.
        device: ``cpu``, ``cuda`` or ``auto``, of faster-whisper.
        assets: folder in which a model is looked for.
        apart: whether faster-whisper works in a process of its own.
    """

    choice: str = "auto"
    model: str = "auto"
    language: str = "auto"
    device: str = "cpu"
    assets: str | Path | None = None
    apart: bool = False


def find_transcriber(wanted: Wanted) -> tuple[Transcriber | None, str]:
    """Return a recogniser, or None, and a sentence about the choice.

    Raises:
        OptionError: an unknown choice or device; what was asked for by name and cannot be had; a model that cannot be
            read; a language that it does not know.
    """
    choice = wanted.choice
    if choice in ("given", "none"):
        return None, "text is taken from given transcripts only" if choice == "given" else "text is left out"
    if choice not in CHOICES:
        raise OptionError(f"there is no text {choice!r}{nearest(choice, CHOICES)}")
    if wanted.device not in DEVICES:
        raise OptionError(f"there is no device {wanted.device!r}{nearest(wanted.device, DEVICES)}")
    found = _find_sphinx(wanted.language) if choice == "pocketsphinx" else _find_whisper(wanted)
    if not isinstance(found, str):
        return found, f"speech is transcribed by {found.version}"
    if choice != "auto" or wanted.model != "auto":
        raise OptionError(f"{found}; without it, give transcripts")
    return None, f"text is taken from given transcripts only, because {found}"


def _find_whisper(wanted: Wanted) -> Transcriber | str:
    """Return the recogniser, or why it cannot be had."""
    if find_spec("faster_whisper") is None:
        return "faster-whisper is not installed (pip install 'polymodal[media]')"
    from polymodal.media.words.weights import find_weights

    weights = find_weights(wanted.model, wanted.assets)
    if isinstance(weights, str):
        return weights
    language = "" if wanted.language == "auto" else wanted.language
    if wanted.apart:
        from polymodal.media.words.apart import Apart

        return Apart(weights, language, wanted.device)
    from polymodal.media.words.whisper import FasterWhisper

    return FasterWhisper.load(weights, language, wanted.device)


def _find_sphinx(language: str) -> Transcriber | str:
    """Return the recogniser, or why it cannot be had; OptionError for a language that it does not know."""
    if find_spec("pocketsphinx") is None:
        return "pocketsphinx is not installed (pip install 'polymodal[sphinx]')"
    from polymodal.media.words.sphinx import PocketSphinx

    check_language(language, (PocketSphinx.only,), PocketSphinx.name)
    return PocketSphinx()


def check_language(language: str, known: tuple[str, ...], model: str) -> None:
    """Raise OptionError unless ``language`` is one of ``known``, or is to be detected (``auto`` or empty)."""
    if language in ("", "auto", *known):
        return
    if len(known) == 1:
        raise OptionError(
            f"{model} knows {known[0]} only, not {language!r}; choose a model for many languages, for example "
            "--asr-model small"
        )
    raise OptionError(f"{model} knows no language {language!r}{nearest(language, known)}")


def audible(samples: Array) -> Array | None:
    """Return the samples as float32 in [-1, 1]; None where there is nothing to hear."""
    values = np.clip(np.nan_to_num(np.asarray(samples, np.float32), nan=0.0), -1, 1)
    return values if len(values) >= RATE // 10 and np.abs(values).max() > QUIET else None
