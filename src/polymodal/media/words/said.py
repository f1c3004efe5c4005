"""What was recognised in a clip, and how far it can be trusted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from polymodal.media.types import Word

DOUBT = 0.5
"""Mean probability of the words of a clip below which they are called doubtful. With tiny.en: of eleven GRID sentences
the lowest has 0.51; German read to a model that knows English only mostly stays below (`benchmarks/speech.py`)."""

FEWEST = 3
"""Words below which a mean says nothing."""

CERTAIN = 0.5
"""Probability of a language from which it is believed against the one that was asked for."""


@dataclass(frozen=True)
class Transcript:
    """What a recogniser made of a stretch of speech.

    Attributes:
        words: in their order, with times.
        sure: mean probability of the words, 0 to 1; None where the recogniser does not tell, or without words.
        language: code of the language that the recogniser detected; empty if it cannot.
        certain: probability of ``language``, 0 to 1.
        invented: whether words were thrown away because the recogniser repeated itself.
    """

    words: tuple[Word, ...] = ()
    sure: float | None = None
    language: str = ""
    certain: float = 0.0
    invented: bool = False


class Said:
    """Counts what the transcripts of a clip say of themselves; memory does not grow with the clip.

    Args:
        language: code of the language that was asked for; empty where it is detected.
        only: code of the one language that the recogniser knows; empty if there are several.
    """

    def __init__(self, language: str, only: str) -> None:
        self._language, self._only = language, only
        self._stretches = self._invented = self._words = self._judged = 0
        self._sure = 0.0
        self._languages: Counter[str] = Counter()

    def add(self, transcript: Transcript) -> None:
        """Count a stretch of speech."""
        self._stretches += 1
        self._invented += transcript.invented
        self._words += len(transcript.words)
        if transcript.sure is not None:
            self._judged += len(transcript.words)
            self._sure += transcript.sure * len(transcript.words)
        asked = self._language
        if transcript.language and (not asked or transcript.certain >= CERTAIN or transcript.language == asked):
            self._languages[transcript.language] += 1

    def notes(self, name: str) -> list[str]:
        """Return what a reader of the transcript must know, one sentence each.

        Args:
            name: of the clip.
        """
        silent = self._stretches and not self._words
        notes = [f"{name}: there is speech, but no word of it was recognised"] if silent else []
        if self._invented:
            notes.append(
                f"{name}: in {self._invented} of {self._stretches} stretches of speech the recogniser repeated itself; "
                "what it said there is left out"
            )
        return [*notes, *self._foreign(name), *self._doubtful(name)]

    def _foreign(self, name: str) -> list[str]:
        asked = self._language
        found = [f"{code} ({n} of {self._stretches} stretches)" for code, n in self._languages.most_common()]
        if asked and set(self._languages) - {asked}:
            return [f"{name}: the speech sounds like {', '.join(found)} and was transcribed as {asked}, as asked"]
        if not asked and set(self._languages) - {"en"}:
            return [f"{name}: the language was taken to be {', '.join(found)}; --language says which it is"]
        return []

    def _doubtful(self, name: str) -> list[str]:
        if self._judged < FEWEST or self._sure / self._judged >= DOUBT:
            return []
        why = f"the words are doubtful (mean probability {self._sure / self._judged:.2f})"
        if not self._only:
            return [f"{name}: {why}"]
        return [
            f"{name}: {why}: the recogniser knows {self._only} only; if another language is spoken, choose one that "
            "knows it, for example --asr-model small"
        ]
