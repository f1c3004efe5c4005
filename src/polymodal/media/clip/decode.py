"""A clip as one stream of frames and samples, whatever container and codec it is in."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Self

from polymodal.core import DataError, OptionError
from polymodal.media.clip.axis import STALL, Axis
from polymodal.media.clip.content import SIDE, Content
from polymodal.media.clip.picture import Painter, Picker
from polymodal.media.clip.resample import SLACK, Line, mono
from polymodal.media.clip.stream import StreamReader
from polymodal.media.types import ClipInfo, Frame, Samples, Source

CHOICES = 4
"""Streams of a kind that are tried before the kind counts as absent."""

BEARABLE = {"audio": SLACK, "video": 0.5}
"""Seconds without sound or picture that are not worth a note."""

DAY = 86_400.0
"""Seconds of declared length that are believed."""

NOT = f"damaged, of an unknown kind, or frames of more than {SIDE} pixels a side"


class Media:
    """A clip that can be read once, from its beginning to its end, in flat memory.

    Everything FFmpeg decodes is read through PyAV, from a local file, bytes or a seekable stream; a clip that asks for
    other files or for the network is refused. The default stream of each kind is taken, or the first one that can be
    decoded; the picture of a cover is no video. Time 0 is the first presentation time of the streams taken.

    Args:
        source: file, content or seekable binary stream (which the caller closes).
        name: what messages call the clip; the file's name by default.

    Attributes:
        info: what the container says; has_video and has_audio are true where a first piece could in fact be decoded.
        notes: sentences on what is wrong with the clip; complete when ``pieces`` is exhausted.

    Raises:
        DataError: missing, empty, not a clip, forbidden content, or nothing in it can be decoded.
        OptionError: PyAV is missing.
    """

    def __init__(self, source: Source, *, name: str | None = None) -> None:
        self.notes: list[str] = []
        self._read = False
        self._content = Content(source, name)
        self._readers: dict[str, StreamReader] = {}
        try:
            for kind in ("video", "audio"):
                self._find(kind)
            if not self._readers:
                whose = f"{self._content.name} has neither audio nor video"
                raise DataError(f"{whose} that can be decoded ({NOT}); record or convert it again")
        except BaseException:
            self.close()
            raise
        self._axes = self._lay_axes()
        self.info = self._describe()

    def _find(self, kind: str) -> None:
        """Keep a reader of the first stream of a kind that gives a piece."""
        for rank in range(CHOICES):
            reader = StreamReader(self._content, kind, rank)
            if reader.first is not None:
                self._readers[kind] = reader
                return
            reader.close()
            if reader.stream is None:
                break
        if rank:
            whose = f"the {kind} of {self._content.name}"
            self.notes.append(f"{whose} cannot be decoded ({NOT}): it counts as absent")

    def _lay_axes(self) -> dict[str, Axis]:
        firsts = [r.first.time for r in self._readers.values() if r.first and r.first.time is not None]
        declared = self._duration() or 0.0
        self._origin = min(firsts, default=0.0)
        return {kind: Axis(self._origin, declared, BEARABLE[kind]) for kind in self._readers}

    def _duration(self) -> float | None:
        declared = next((r.duration for r in self._readers.values()), None)
        return declared if declared is not None and 0 < declared <= DAY else None

    def _describe(self) -> ClipInfo:
        video, audio = self._readers.get("video"), self._readers.get("audio")
        fps = width = height = rate = None
        if video and video.first:
            stream = video.stream
            fps = float(stream.average_rate or stream.guessed_rate or 0)
            width, height = Painter(stream.sample_aspect_ratio, SIDE).shown(video.first.piece)
        if audio and audio.first:
            rate = audio.first.piece.sample_rate
        return ClipInfo(self._content.name, self._duration(), fps, width, height, rate)

    def pieces(
        self, *, audio: bool = True, video: bool = True, fps: float | None = 25.0, max_side: int = 960
    ) -> Iterator[Frame | Samples]:
        """Return all frames and samples in the order of their times; may be called once.

        - Samples are mono, at RATE, one gapless line: what is missing between two pieces is silence, what overlaps is
          taken once, values that are no numbers are 0. They begin where the sound begins.
        - Frames are upright and have square pixels (where the container declares others, the width is scaled: a face
          must not be squeezed), are never repeated, and at most ``fps`` pass per second; None passes all.
        - Frames with a side above ``max_side`` are scaled down in the step that makes them RGB. For 1920x1080 this
          costs what plain conversion costs, and every later step handles a quarter of the pixels; a face of a fifth of
          the width still has 192 pixels, what face models look at.
        - Damaged packets are left out and counted in ``notes``; reading goes on behind them.

        Raises:
            OptionError: ``fps`` or ``max_side`` is not positive.
        """
        if (fps is not None and not fps > 0) or max_side < 1:
            raise OptionError(f"fps and max_side must be positive, got {fps} and {max_side}")
        if self._read:
            raise RuntimeError("a Media is read once; open the clip again")
        self._read = True
        kinds = [kind for kind, wanted in (("video", video), ("audio", audio)) if wanted and kind in self._readers]
        return self._merged(kinds, fps, max_side)

    def _merged(self, kinds: list[str], fps: float | None, max_side: int) -> Iterator[Frame | Samples]:
        # Each kind has its own reader, so that order by time needs no buffer, however the container lays out its data.
        lines = [self._frames(fps, max_side) if kind == "video" else self._samples() for kind in kinds]
        yield from heapq.merge(*lines, key=lambda piece: piece.time)
        for kind in kinds:
            self._tell(kind)
        self._compare(kinds)

    def _frames(self, fps: float | None, max_side: int) -> Iterator[Frame | Samples]:
        from av import FFmpegError

        reader, picker = self._readers["video"], Picker(fps)
        painter = Painter(reader.stream.sample_aspect_ratio, max_side)
        for time, frame in self._axes["video"].placed(reader.pieces()):
            if picker.passes(time):
                try:
                    yield Frame(time, painter.paint(frame))
                except FFmpegError:
                    reader.damage(frame)

    def _samples(self) -> Iterator[Frame | Samples]:
        line = Line()
        for time, frame in self._axes["audio"].placed(self._readers["audio"].pieces()):
            yield from line.push(mono(frame), frame.sample_rate, time)
        yield from line.finish()

    def _tell(self, kind: str) -> None:
        """Note what was wrong with a stream."""
        reader, axis, whose = self._readers[kind], self._axes[kind], f"the {kind} of {self._content.name}"
        if reader.damaged:
            at = reader.damaged_at
            where = "" if at is None else f", the first at {max(0.0, at - self._origin):.1f} s"
            self.notes.append(f"{reader.damaged} damaged pieces of {whose} were left out{where}")
        if axis.missing:
            self.notes.append(f"{axis.missing:.2f} s of {whose} are missing, the first at {axis.missing_at:.1f} s")
        if axis.jumps:
            self.notes.append(f"the times written in {whose} are wrong in {axis.jumps} places: read on as continuous")
        stopped = f"{STALL} pieces in a row bring nothing new" if axis.stalled else reader.stopped
        if stopped:
            self.notes.append(f"reading {whose} stopped at {axis.end:.1f} s: {stopped}")

    def _compare(self, kinds: list[str]) -> None:
        """Note what the container promises and does not hold."""
        readers = [self._readers[kind] for kind in kinds]
        known = [float(r.stream.duration * r.stream.time_base) for r in readers if r.stream.duration]
        promised = max(known, default=0.0) or (self._duration() or 0.0 if len(kinds) == len(self._readers) else 0.0)
        got = max((self._axes[kind].end for kind in kinds), default=0.0)
        if promised - got > 0.5 + 0.02 * promised:
            self.notes.append(
                f"{self._content.name} promises {promised:.1f} s but only {got:.1f} s could be read: it may be cut off"
            )

    def close(self) -> None:
        """Give back files and decoders."""
        for reader in self._readers.values():
            reader.close()
        self._content.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
