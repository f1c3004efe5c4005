"""PocketSphinx as a recogniser; chosen by name only."""

from __future__ import annotations

import re
from importlib.metadata import version
from threading import Lock

from polymodal.data.ragged import Array
from polymodal.media.types import RATE, Word
from polymodal.media.words.said import Transcript
from polymodal.media.words.transcribe import audible

STEP = RATE // 10
"""Samples given to the decoder at once; it holds Python's lock while it works on them."""

FRAMES = 100
"""Frames of the decoder per second."""


class PocketSphinx:
    """PocketSphinx 5 (Huggins-Daines et al., ICASSP 2006) with the US English model of its package.

    Its first pass only: on the eleven GRID clips, the second pass and the search of the lattice took half as long
    again and made as many errors.
    """

    name = "pocketsphinx"
    only = "en"

    def __init__(self) -> None:
        from pocketsphinx import Decoder

        self.version = f"pocketsphinx {version('pocketsphinx')} (en-us)"
        # Scoring all states costs nothing here, and leaves no Gaussians behind that the next call would start from.
        self._decoder = Decoder(loglevel="FATAL", fwdflat=False, bestpath=False, compallsen=True, frate=FRAMES)
        self._lock = Lock()

    def transcribe(self, samples: Array, start: float) -> Transcript:
        """See ``Transcriber``."""
        values = audible(samples)
        if values is None:
            return Transcript()
        data = (values * 32767).astype("<i2")
        with self._lock:
            self._normalize(data)
            self._decoder.start_utt()
            for first in range(0, len(data), STEP):
                self._decoder.process_raw(data[first : first + STEP].tobytes())
            self._decoder.end_utt()
            found = [(s.word, s.start_frame, s.end_frame + 1) for s in self._decoder.seg() or ()]
        return Transcript(
            tuple(
                Word(re.sub(r"\(\d+\)$", "", word), start + first / FRAMES, start + last / FRAMES)
                for word, first, last in found
                if word[0] not in "<[+"  # <s>, <sil>, [NOISE], ++UH++
            )
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
