"""Whisper in this process."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from polymodal.core import DataError, OptionError
from polymodal.data.ragged import Array
from polymodal.media.types import RATE, Word
from polymodal.media.words.said import Transcript
from polymodal.media.words.transcribe import audible, check_language
from polymodal.media.words.weights import Weights

REPEATED = 2.4
"""Length of a text over its length compressed, above which it is one phrase over and over; Whisper's own limit."""

PER_SECOND, MANY_PER_SECOND = 12, 30
"""Tokens that a second of speech may have, in English and in languages whose letters are several tokens: a recogniser
that repeats itself would go on to the end of its memory."""

WINDOW, AFTER = 20.0, 5.0
"""Seconds that a model of one language reads at least, and of silence after a stretch: half the work of Whisper's own
30, and no more words wrong (``benchmarks/speech.py``)."""

FRAMES = 100
"""A second, as Whisper's encoder reads it."""

MOST = 220
"""Tokens that fit into the model's memory."""


class FasterWhisper:
    """Whisper (Radford et al., ICML 2023, arXiv 2212.04356) as run by CTranslate2; on one CPU thread, 8-bit integers.

    Greedy, without fallback to sampling and without memory of what was said before, so that the same sound gives the
    same words. Models for many languages detect the language of each stretch of speech; one that was asked for is
    used, and what was detected is told all the same.

    Args:
        model: a ``faster_whisper.WhisperModel``.
        weights: what the model is called, for ``version``.
        language: code of what is spoken; empty: detected.

    Raises:
        OptionError: a language that the model does not know.
    """

    name = "faster-whisper"

    def __init__(self, model: Any, weights: str, language: str = "") -> None:
        known = tuple(model.supported_languages)
        check_language(language, known, weights)
        self._model, self._language = model, language
        self.only = known[0] if len(known) == 1 else ""
        window = f", {WINDOW:g} s" if self.only else ""
        self.version = f"faster-whisper {version('faster-whisper')} ({weights}{window})"

    @classmethod
    def load(cls, weights: Weights, language: str = "", device: str = "cpu") -> FasterWhisper:
        """Load a CTranslate2 model.

        Raises:
            OptionError: it cannot be read, the device cannot be used, or the language is unknown to it.
        """
        from faster_whisper import WhisperModel

        kind = "int8" if device == "cpu" else "default"

        class Windowed(WhisperModel):
            """Reads the first ``frames`` of what it is given, which is padded to 30 s."""

            frames = round(30 * FRAMES)

            def encode(self, features: Array) -> Any:
                return super().encode(np.ascontiguousarray(features[..., : self.frames]))

        try:
            model = Windowed(str(weights.folder), device=device, compute_type=kind, cpu_threads=1)
        except (RuntimeError, ValueError, OSError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            remedy = "replace it" if device == "cpu" else "try --asr-device cpu"
            place = weights.folder
            raise OptionError(
                f"the Whisper model in {place} cannot be read ({reason}); {remedy}, or choose another with --asr-model"
            ) from error
        # Mostly zeros. Sums of a sparse matrix are the same on any number of threads, those of BLAS are not.
        model.feature_extractor.mel_filters = csr_array(model.feature_extractor.mel_filters)
        return cls(model, weights.name, language)

    def transcribe(self, samples: Array, start: float) -> Transcript:
        """See ``Transcriber``."""
        values = audible(samples)
        if values is None:
            return Transcript()
        length = len(values) / RATE
        most = min(MOST, 16 + round(length * (PER_SECOND if self.only else MANY_PER_SECOND)))
        try:
            segments, language, certain = self._hear(values, most)
        except (RuntimeError, ValueError, MemoryError) as error:
            raise DataError(
                f"speech at {start:.1f} s cannot be transcribed: {error or type(error).__name__}"
            ) from error
        ended = sum(len(s.tokens) for s in segments) < most - 2  # two may be times that are not told
        kept = [s for s in segments if ended and s.compression_ratio <= REPEATED]
        words = [w for s in kept for w in s.words or () if w.word.strip()]
        return Transcript(
            tuple(
                Word(w.word.strip(), start + float(min(w.start, length)), start + float(min(w.end, length)))
                for w in words
            ),
            sure=float(np.mean([w.probability for w in words])) if words else None,
            language=language,
            certain=certain,
            invented=len(kept) < len(segments),
        )

    def _hear(self, values: Array, most: int) -> tuple[list[Any], str, float]:
        """Return segments, and the language detected with its probability; no language where only one is known."""
        model, language, certain = self._model, self._language, 0.0
        if self.only:
            model.frames = round(FRAMES * min(30.0, max(WINDOW, len(values) / RATE + AFTER)))
        else:
            language, certain, _ = model.detect_language(values)
        found, _ = model.transcribe(
            values,
            language=self._language or language or self.only,
            beam_size=1,
            temperature=0.0,
            word_timestamps=True,
            condition_on_previous_text=False,
            max_new_tokens=2 * most,  # CTranslate2 stops at half of it, less the prompt
        )
        return list(found), "" if self.only else language, certain
