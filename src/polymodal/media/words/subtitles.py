"""SubRip (.srt) and WebVTT (.vtt, www.w3.org/TR/webvtt1) subtitles."""

from __future__ import annotations

import re
from html import unescape

from polymodal.core import DataError
from polymodal.media.types import Segment, Word
from polymodal.media.words.turns import checked, evenly

TIME = r"(?:\d{1,4}:)?\d{1,2}:\d{1,2}(?:[.,]\d{1,6})?"
CUE = re.compile(rf"\s*({TIME})\s*-->\s*({TIME})(?:\s.*)?")
INLINE = re.compile(rf"<({TIME})>")
VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s+([^<>]*)>")
MARKUP = re.compile(r"</?[A-Za-z][^<>]*>|</>|\{\\[^{}]*\}|\{/?[biuBIU]\}")


def read_subtitles(text: str, name: str, *, vtt: bool) -> list[Segment]:
    """Return the cues that have text, in the order of the file.

    Tags and {\\an8} are dropped, entities resolved. The first voice tag of a WebVTT cue is its speaker; inline times
    give its words, which share the time from one to the next.

    Raises:
        DataError: a line that is none of what may stand there; names the line.
    """
    lines = text.split("\n")
    at = _after_block(lines, 0) if vtt else 0
    if vtt and not re.match(r"WEBVTT(\s|$)", lines[0]):
        raise DataError(f"{name}, line 1: expected WEBVTT, found {lines[0][:60]!r}; is it SubRip? Then call it .srt")
    segments = []
    while at < len(lines):
        if not lines[at].strip():
            at += 1
        elif vtt and re.match(r"(NOTE|STYLE|REGION)(\s|$)", lines[at]):
            at = _after_block(lines, at)
        else:
            at = _skip_identifier(lines, at, vtt)
            start, end = _times(lines[at] if at < len(lines) else "", f"{name}, line {at + 1}")
            body, after = _body(lines, at + 1)
            segment = _segment(body, start, end, f"{name}, line {at + 1}")
            segments += [segment] if segment.text else []
            at = after
    return segments


def _after_block(lines: list[str], at: int) -> int:
    while at < len(lines) and lines[at].strip():
        at += 1
    return at


def _skip_identifier(lines: list[str], at: int, vtt: bool) -> int:
    """Return the line that must have the cue's times; in SubRip only a number may stand before it."""
    return at if "-->" in lines[at] or not (vtt or lines[at].strip().isdigit()) else at + 1


def _times(line: str, where: str) -> tuple[float, float]:
    match = CUE.fullmatch(line)
    if not match:
        raise DataError(f"{where}: expected times such as 00:00:01,000 --> 00:00:02,500, found {line.strip()[:60]!r}")
    return checked(where, _seconds(match[1]), _seconds(match[2]))


def _seconds(time: str) -> float:
    *hours, minutes, seconds = time.replace(",", ".").split(":")
    return 3600 * int(hours[0] if hours else 0) + 60 * int(minutes) + float(seconds)


def _body(lines: list[str], at: int) -> tuple[str, int]:
    """Return a cue's text, and the line after it; an empty line may be missing between two cues."""
    after = at
    while after < len(lines) and lines[after].strip() and "-->" not in lines[after]:
        after += 1
    if after < len(lines) and "-->" in lines[after] and after > at and lines[after - 1].strip().isdigit():
        after -= 1
    return "\n".join(lines[at:after]), after


def _segment(body: str, start: float, end: float, where: str) -> Segment:
    voice = VOICE.search(body)
    parts = INLINE.split(body)
    edges = [start, *(_seconds(t) for t in parts[1::2]), end]
    words: list[Word] = []
    if len(parts) > 1:
        for part, first, last in zip(parts[::2], edges, edges[1:], strict=False):
            words += evenly(_plain(part).split(), *checked(where, first, last))
    speaker = _plain(voice[1]) if voice else ""
    return Segment(start, end, _plain("".join(parts[::2])), tuple(words), speaker)


def _plain(text: str) -> str:
    return " ".join(unescape(MARKUP.sub("", text)).split())
