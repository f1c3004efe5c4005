"""A clip as a dialogue of one utterance: what is said in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from polymodal.core import DataError, OptionError
from polymodal.media.extraction import Recogniser
from polymodal.media.types import Samples
from polymodal.media.words.said import DOUBT, FEWEST, Said
from polymodal.media.words.transcribe import Transcriber, Wanted, find_transcriber
from polymodal.reply.dialogue import Conversation, Line, Profile, Turn

ENGLISH = "en"

LONGEST = 600.0
"""Seconds of sound that are listened to: an utterance, not an evening."""


def listen(
    clip: Path,
    recogniser: Recogniser,
    assets: str | Path | None = None,
    *,
    name: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> Conversation:
    """Return what is said in ``clip``, as what a speaker says to a listener.

    Args:
        name: what sentences call the clip; default the name of its file.
        progress: called with the seconds that have been listened to; may raise to break off.

    Raises:
        DataError: the clip cannot be read, has no sound, or nobody speaks in it.
        OptionError: no speech recognition is installed.
    """
    transcriber, sentence = find_transcriber(
        Wanted("auto", recogniser.model or "auto", recogniser.language or "auto", recogniser.device, assets)
    )
    if transcriber is None:
        raise OptionError(f"{sentence}; a dialogue (JSON) needs no recogniser")
    name = name or clip.name
    words, sure, languages, notes = _transcribed(
        clip, name, transcriber, recogniser.language or "", progress or (lambda _: None)
    )
    doubtful = not words or (len(sure) >= FEWEST and float(np.mean(sure)) < DOUBT)
    if foreign := sorted(languages - {ENGLISH, ""}):
        doubtful = True
        notes.append(f"{name}: {', '.join(foreign)} is spoken; words that name feelings, bank and voices are English")
    stem = re.sub(r"\W+", "-", clip.stem).strip("-") or "clip"
    turn = Turn(0, "", (Line("speaker", " ".join(words)),), clip=clip, doubtful=doubtful)
    return Conversation(stem, Profile("speaker"), Profile("listener"), (turn,), notes=[sentence, *notes])


def _transcribed(
    clip: Path, name: str, transcriber: Transcriber, language: str, progress: Callable[[float], None]
) -> tuple[list[str], list[float], set[str], list[str]]:
    """Return words, for each how sure the recogniser was, the languages that were heard, and notes."""
    from polymodal.media.clip.decode import Media
    from polymodal.media.sound.speech import SpeechActivity

    with Media(clip, name=name) as media:
        if not media.info.has_audio:
            raise DataError(_because(f"{name} has no sound; give a clip in which somebody speaks", media.notes))
        pieces = [p for p in media.pieces(video=False) if isinstance(p, Samples) and p.time < LONGEST]
    heard = Samples(
        pieces[0].time if pieces else 0.0, np.concatenate([np.zeros(0, np.float32), *(p.values for p in pieces)])
    )
    activity = SpeechActivity()
    stretches = [*activity.push(heard), *activity.finish()]
    if not stretches:
        raise DataError(_because(f"nobody speaks in {name}; give a clip in which somebody does", media.notes))
    said = Said(language, transcriber.only)
    words: list[str] = []
    sure: list[float] = []
    languages = {language} if language else set()
    for stretch in stretches:
        found = transcriber.transcribe(heard.cut(stretch.start, stretch.end).values, stretch.start)
        said.add(found)
        languages |= {found.language} if not language else set()
        words += [word.text for word in found.words]
        sure += [found.sure] * len(found.words) if found.sure is not None else []
        progress(stretch.end)
    progress(heard.end)
    return words, sure, languages, [*media.notes, *said.notes(name)]


def _because(sentence: str, notes: list[str]) -> str:
    """Return what is wrong with what was heard of a clip, and with the clip itself where it is damaged."""
    return f"{sentence} ({'; '.join(notes)})" if notes else sentence
