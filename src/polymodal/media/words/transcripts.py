"""Transcripts that the user has: subtitles, TextGrids, the output of recognisers and aligners, plain text."""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from polymodal.core import DataError
from polymodal.core.files import check_regular
from polymodal.core.text import clean
from polymodal.media.types import Segment, Word
from polymodal.media.words.subtitles import read_subtitles
from polymodal.media.words.textgrid import SILENCES, read_textgrid
from polymodal.media.words.turns import checked, filled, grouped

GRID_RATE = 25_000
"""Units per second in GRID's .align files."""


def read_transcript(path: str | Path) -> list[Segment]:
    """Return the segments of a transcript, sorted by start; [] where nothing is said.

    ====================  =========================================================================================
    ``.srt``, ``.vtt``    subtitles; WebVTT's voice tags give speakers, its inline times words
    ``.TextGrid``         Praat, long or short; tiers of phrases, of words, or both
    ``.json``             of Whisper and WhisperX ({"segments": [...]}), a list of segments, or words only
    ``.align``            GRID's words, in 1/25000 s
    ``.txt``              what is said, without times: one segment from 0 to infinity, which is the whole clip
    ====================  =========================================================================================

    UTF-8, UTF-16 with its mark, else Latin-1. Segments may overlap, as people do. Words without segments are grouped
    at pauses longer than 0.6 s. Words that have no times among words that have share the time between them.

    Raises:
        DataError: a file that cannot be read, of another kind, or malformed (says where and what was expected); times
            that run backwards.
    """
    path = Path(path)
    readers: dict[str, Callable[[str, str], list[Segment]]] = {
        ".srt": lambda text, name: read_subtitles(text, name, vtt=False),
        ".vtt": lambda text, name: read_subtitles(text, name, vtt=True),
        ".textgrid": read_textgrid,
        ".json": _read_json,
        ".align": _read_align,
        ".txt": _read_plain,
    }
    read = readers.get(path.suffix.lower())
    if read is None:
        raise DataError(f"{path} is no transcript that can be read; give one of {', '.join(readers)}")
    text = _load(path)
    return sorted(read(text, str(path)) if text.strip() else [], key=lambda s: (s.start, s.end))


def _load(path: Path) -> str:
    check_regular(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"the transcript {path} cannot be read: {error.strerror or error}") from error
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    if "\0" in text:
        raise DataError(f"the transcript {path} is not text; save it as UTF-8")
    return clean(text.replace("\r\n", "\n").replace("\r", "\n"))


def _read_plain(text: str, name: str) -> list[Segment]:
    return [Segment(0.0, math.inf, " ".join(text.split()))]


def _read_align(text: str, name: str) -> list[Segment]:
    words = []
    for number, line in enumerate(text.split("\n"), 1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 3 or not all(part.isdecimal() and len(part) < 16 for part in parts[:2]):
            found = repr(line[:60])
            raise DataError(f"{name}, line {number}: expected start, end (in 1/25000 s) and a word, found {found}")
        start, end = checked(f"{name}, line {number}", int(parts[0]) / GRID_RATE, int(parts[1]) / GRID_RATE)
        if parts[2] not in SILENCES:
            words.append(Word(parts[2], start, end))
    return grouped(words)


def _read_json(text: str, name: str) -> list[Segment]:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{name}, line {error.lineno}: expected JSON, found an error: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is not JSON that can be read: {error}") from error
    if isinstance(data, dict):
        data = next((data[k] for k in ("segments", "word_segments", "words") if k in data), data)
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise DataError(f'{name}: expected {{"segments": [{{"start", "end", "text"}}, ...]}} or such a list')
    if data and all("word" in item for item in data):
        return _json_words(data, name)
    return [s for i, item in enumerate(data, 1) if (s := _json_segment(item, f"{name}, segment {i}")).text]


def _json_words(items: Sequence[dict[str, Any]], name: str) -> list[Segment]:
    """Group words by speaker, then at pauses."""
    words = [(_speaker(item), _json_word(item, f"{name}, word {i}")) for i, item in enumerate(items, 1)]
    segments = []
    for speaker in dict.fromkeys(s for s, _ in words):
        said = [w for s, w in words if s == speaker and w]
        times = [t for w in said if isinstance(w, Word) for t in (w.start, w.end)]
        if said and not times:
            raise DataError(f"{name}: no word has a start and an end; give at least segments with times")
        segments += grouped(filled(said, min(times, default=0.0), max(times, default=0.0)), speaker)
    return segments


def _json_segment(item: dict[str, Any], where: str) -> Segment:
    start, end = checked(where, _number(item, "start", where), _number(item, "end", where))
    listed = item.get("words") or []
    if not isinstance(listed, list) or not all(isinstance(w, dict) for w in listed):
        raise DataError(f'{where}: expected "words" to be a list of {{"word", "start", "end"}}')
    words = [w for i, word in enumerate(listed, 1) if (w := _json_word(word, f"{where}, word {i}"))]
    text = _string(item, "text", where) if "text" in item else _joined(words)
    return Segment(start, end, text, filled(words, start, end), _speaker(item))


def _json_word(item: dict[str, Any], where: str) -> Word | str:
    """Return a word; only its text where it has no times."""
    text = _string(item, "word" if "word" in item else "text", where)
    if not text or item.get("start") is None or item.get("end") is None:
        return text
    return Word(text, *checked(where, _number(item, "start", where), _number(item, "end", where)))


def _joined(words: Iterable[Word | str]) -> str:
    return " ".join(w if isinstance(w, str) else w.text for w in words)


def _speaker(item: dict[str, Any]) -> str:
    return clean(str(item.get("speaker") or ""))


def _string(item: dict[str, Any], key: str, where: str) -> str:
    value = item.get(key)
    if not isinstance(value, str):
        raise DataError(f"{where}: expected a string {key!r}, found {repr(value)[:60]}")
    return " ".join(clean(value).split())


def _number(item: dict[str, Any], key: str, where: str) -> float:
    value = item.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e9:
        raise DataError(f"{where}: expected seconds as {key!r}, found {str(value)[:60]}")
    return float(value)
