"""What is said, word by word with times: faster-whisper where its weights can be had, else pocketsphinx."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np

from polymodal.core import OptionError, nearest
from polymodal.data.ragged import Array
from polymodal.media.types import RATE, Word

REMEDY = "pip install 'polymodal[media]'"
QUIET = 1e-4
"""Amplitude (-80 dB) that counts as silence: recognisers invent words for digital silence."""

STEP = RATE // 10
"""Samples given to pocketsphinx at once; it holds Python's lock while it works on them."""

FRAMES = 100
"""Frames of pocketsphinx per second."""


class Transcriber(Protocol):
    """Recognises speech.

    Attributes:
        name: as in ``Extraction.text``.
        version: of the recogniser and its model.
    """

    name: str
    version: str

    def transcribe(self, samples: Array, start: float) -> tuple[Word, ...]:
        """Return the words in ``samples`` (n,) at RATE, the first of which is heard at ``start``; () for silence.

        The result depends on nothing heard before, and may be asked for from any thread.
        """
        ...


def find_transcriber(choice: str, *, assets: str | Path | None = None) -> tuple[Transcriber | None, str]:
    """Return a recogniser, or None, and a sentence about the choice.

    Args:
        choice: ``auto`` (faster-whisper, else pocketsphinx, else None), ``faster-whisper``, ``pocketsphinx``,
            ``given`` or ``none`` (None).
        assets: folder in which weights of faster-whisper are looked for.

    Raises:
        OptionError: an unknown choice; one asked for by name that cannot be had; weights that cannot be read.
    """
    if choice in ("given", "none"):
        return None, "text is taken from given transcripts only" if choice == "given" else "text is left out"
    makers: dict[str, Callable[[], Transcriber | str]] = {
        FasterWhisper.name: partial(_find_whisper, assets),
        PocketSphinx.name: _find_sphinx,
    }
    if choice != "auto" and choice not in makers:
        raise OptionError(f"there is no text {choice!r}{nearest(choice, ('auto', *makers, 'given', 'none'))}")
    missing: list[str] = []
    for name in makers if choice == "auto" else (choice,):
        found = makers[name]()
        if not isinstance(found, str):
            instead = f" because {'; '.join(missing)}" if missing else ""
            return found, f"speech is transcribed by {found.version}{instead}"
        missing.append(found)
    if choice != "auto":
        raise OptionError(f"{missing[0]}; or choose text=auto, given or none")
    return None, f"text is taken from given transcripts only, because {'; '.join(missing)}"


def _find_whisper(assets: str | Path | None) -> Transcriber | str:
    """Return the recogniser, or why it cannot be had."""
    if find_spec("faster_whisper") is None:
        return f"faster-whisper is not installed ({REMEDY})"
    from polymodal.media.words.weights import find_weights

    folder = find_weights(assets)
    return folder if isinstance(folder, str) else FasterWhisper.load(folder)


def _find_sphinx() -> Transcriber | str:
    """Return the recogniser, or why it cannot be had."""
    return PocketSphinx() if find_spec("pocketsphinx") else f"pocketsphinx is not installed ({REMEDY})"


def _audible(samples: Array) -> Array | None:
    """Return the samples as float32 in [-1, 1]; None where there is nothing to hear."""
    values = np.clip(np.nan_to_num(np.asarray(samples, np.float32), nan=0.0), -1, 1)
    return values if len(values) >= RATE // 10 and np.abs(values).max() > QUIET else None


class FasterWhisper:
    """Whisper (Radford et al., ICML 2023, arXiv 2212.04356) as run by CTranslate2, on one CPU thread in 8-bit integers.

    Greedy, without fallback to sampling and without memory of what was said before, so that the same sound gives the
    same words. Models for many languages detect the language of each stretch of speech.

    Args:
        model: a ``faster_whisper.WhisperModel``.
        weights: what the model is called, for ``version``.
    """

    name = "faster-whisper"

    def __init__(self, model: Any, weights: str) -> None:
        self._model = model
        self.version = f"faster-whisper {version('faster-whisper')} ({weights})"

    @classmethod
    def load(cls, folder: Path) -> FasterWhisper:
        """Load a CTranslate2 model; OptionError if it cannot be read."""
        from faster_whisper import WhisperModel

        try:
            model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)
        except (RuntimeError, ValueError, OSError) as error:
            raise OptionError(
                f"the Whisper model in {folder} cannot be read ({str(error).splitlines()[0]}); replace it, or choose "
                "text=pocketsphinx"
            ) from error
        return cls(model, _weights_name(folder))

    def transcribe(self, samples: Array, start: float) -> tuple[Word, ...]:
        """See ``Transcriber``."""
        values = _audible(samples)
        if values is None:
            return ()
        segments, _ = self._model.transcribe(
            values, beam_size=1, temperature=0.0, word_timestamps=True, condition_on_previous_text=False
        )
        words = [w for s in segments for w in s.words or () if w.word.strip()]
        length = len(values) / RATE
        return tuple(Word(w.word.strip(), start + min(w.start, length), start + min(w.end, length)) for w in words)


def _weights_name(folder: Path) -> str:
    """Return the folder's name; of a snapshot in the hub's cache (models--OWNER--NAME/snapshots/COMMIT), both."""
    if folder.parent.name != "snapshots":
        return folder.name
    return f"{folder.parents[1].name.removeprefix('models--').replace('--', '/')} {folder.name[:8]}"


class PocketSphinx:
    """PocketSphinx 5 (Huggins-Daines et al., ICASSP 2006) with the US English model of its package.

    Its first pass only: on the eleven GRID clips, the second pass and the search of the lattice took half as long
    again and made as many errors.
    """

    name = "pocketsphinx"

    def __init__(self) -> None:
        from pocketsphinx import Decoder

        self.version = f"pocketsphinx {version('pocketsphinx')} (en-us)"
        # Scoring all states costs nothing here, and leaves no Gaussians behind that the next call would start from.
        self._decoder = Decoder(loglevel="FATAL", fwdflat=False, bestpath=False, compallsen=True, frate=FRAMES)
        self._lock = Lock()

    def transcribe(self, samples: Array, start: float) -> tuple[Word, ...]:
        """See ``Transcriber``."""
        values = _audible(samples)
        if values is None:
            return ()
        data = (values * 32767).astype("<i2")
        with self._lock:
            self._normalize(data)
            self._decoder.start_utt()
            for first in range(0, len(data), STEP):
                self._decoder.process_raw(data[first : first + STEP].tobytes())
            self._decoder.end_utt()
            found = [(s.word, s.start_frame, s.end_frame + 1) for s in self._decoder.seg() or ()]
        return tuple(
            Word(re.sub(r"\(\d+\)$", "", word), start + first / FRAMES, start + last / FRAMES)
            for word, first, last in found
            if word[0] not in "<[+"  # <s>, <sil>, [NOISE], ++UH++
        )

    def _normalize(self, data: Array) -> None:
        """Forget what was heard before, and set the cepstral mean to that of the whole of ``data``.

        The decoder does so by itself when it gets everything in one call; other threads would wait all that time.
        """
        decoder = self._decoder
        decoder.reinit_feat()
        decoder.start_utt()
        decoder.process_raw(data.tobytes(), no_search=True, full_utt=True)
        mean = decoder.get_cmn(False)
        # Frames that wait are searched at the end, whatever no_search says; a new full utterance takes their place.
        decoder.process_raw(bytes(2 * STEP), no_search=True, full_utt=True)
        decoder.end_utt()
        decoder.reinit_feat()
        decoder.set_cmn(mean)
