"""Decoding of one stream of a clip: damage is skipped and counted, and work is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from polymodal.media.clip.axis import STALL, Stamped
from polymodal.media.clip.content import SIDE, Content, View, open_container
from polymodal.media.clip.resample import hearable

if TYPE_CHECKING:
    from av.container import InputContainer

ERRORS = 16
"""Failures of the container in a row before reading stops."""

PACKET = 64
"""Bytes that a packet is counted as, at least, when work is bounded."""


class StreamReader:
    """Decodes the stream ``rank`` of a kind, beginning with the default one.

    Attributes:
        stream: PyAV's stream, None where there is none of that rank.
        first: its first piece that could be decoded, None where there is none.
        damaged: packets and frames that could not be decoded.
        damaged_at: time written on the first of them.
        stopped: why reading ended before the file did; empty otherwise.
    """

    def __init__(self, content: Content, kind: str, rank: int) -> None:
        self._view = View(content)
        self.damaged, self.stopped = 0, ""
        self.damaged_at: float | None = None
        self._container = open_container(content, self._view)
        candidates = _candidates(self._container, kind)
        self.duration = self._container.duration / 1e6 if self._container.duration else None
        self.stream: Any = candidates[rank] if rank < len(candidates) else None
        self.first: Stamped[Any] | None = None
        if self.stream is not None and _decodable(self.stream):
            self._prepare()
            self._decoded = self._decode()
            self.first = next(self._decoded, None)

    def _prepare(self) -> None:
        from av.stream import Discard

        for other in self._container.streams:
            other.discard = Discard.default if other is self.stream else Discard.all
        self.stream.codec_context.thread_count = 1
        self.stream.codec_context.options = {"max_pixels": str(SIDE * SIDE)}

    def pieces(self) -> Iterator[Stamped[Any]]:
        """Yield decoded frames in the order of decoding, once; unreadable ones are left out."""
        return chain([self.first] if self.first else [], self._decoded)

    def _decode(self) -> Iterator[Stamped[Any]]:
        from av import FFmpegError

        idle = 0
        for packet in self._packets():
            try:
                frames = self.stream.decode(packet)
            except (FFmpegError, ValueError):
                frames = []
                self.damage(packet)
            for frame in frames:
                if _usable(frame):
                    idle = 0
                    yield self._stamped(frame)
                else:
                    self.damage(frame)
            idle += 1
            if idle > STALL:
                self.stopped = f"{STALL} packets in a row held nothing that can be decoded"
                return

    def _packets(self) -> Iterator[Any]:
        """Yield packets and, at the end, None; go on after failures of the container."""
        from av import FFmpegError
        from av.error import ExitError

        failures, demuxer = 0, self._container.demux(self.stream)
        while failures <= ERRORS:
            try:
                packet = next(demuxer, None)
            except (FFmpegError, OSError, ValueError) as error:
                failures += 1 if not isinstance(error, ExitError) else ERRORS + 1  # that one is for want of time
                demuxer = self._container.demux(self.stream)
                reason = getattr(error, "strerror", None) or error
                continue
            except IndexError:  # PyAV 18.1, at the end, where streams have come up on the way
                break
            if packet is None:
                break
            failures = 0
            if not self._view.spend(max(packet.size, PACKET)):
                self.stopped = "its index leads to the same data again and again"
                break
            if packet.size:  # an empty one would tell the decoder that the stream is over
                yield packet
        else:
            self.stopped = f"the container is damaged ({reason})"
        yield None

    def _stamped(self, frame: Any) -> Stamped[Any]:
        written = frame.pts if frame.pts is not None else frame.dts
        time = None if written is None else float(written * self.stream.time_base)
        if self.stream.type == "audio":
            return Stamped(frame, time, frame.samples / frame.sample_rate)
        rate = self.stream.average_rate or self.stream.guessed_rate
        return Stamped(frame, time, float(1 / rate) if rate else 0.04)

    def damage(self, item: Any) -> None:
        """Count a packet or frame that cannot be used."""
        if not self.damaged and item is not None and item.pts is not None:
            self.damaged_at = float(item.pts * self.stream.time_base)
        self.damaged += 1

    def close(self) -> None:
        """Give back the memory of the decoder."""
        self._container.close()


def _candidates(container: InputContainer, kind: str) -> list[Any]:
    """Return the streams of a kind, the default one first; pictures of covers are no video."""
    from av.stream import Disposition

    still = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    streams = [s for s in container.streams if s.type == kind and not s.disposition & still]
    return sorted(streams, key=lambda s: not s.disposition & Disposition.default)


def _decodable(stream: Any) -> bool:
    """Whether there is a decoder, and frames are not too large to make even one."""
    context = stream.codec_context
    return context is not None and (stream.type == "audio" or max(context.width, context.height) <= SIDE)


def _usable(frame: Any) -> bool:
    if frame.is_corrupt:
        return False
    if hasattr(frame, "samples"):
        return frame.samples > 0 and hearable(frame)
    return max(frame.width, frame.height) <= SIDE
