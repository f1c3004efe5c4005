"""Clips that a browser plays: which ones do, and a small copy of those that do not."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.media.clip.content import Content, View, open_container
from polymodal.media.clip.decode import Media
from polymodal.media.types import RATE, Frame, Samples

if TYPE_CHECKING:
    from av.container import OutputContainer

_MP4 = {"h264", "av1", "vp9", "aac", "mp3", "opus", "flac"}
_WEBM = {"vp8", "vp9", "av1", "opus", "vorbis"}
# Beginning of FFmpeg's name of a container -> file endings, codecs that current browsers play in it, its MIME type
# without "video/" or "audio/".
_PLAYED = {
    "mov,mp4": ((".mp4", ".m4v", ".m4a", ".mov"), _MP4, "mp4"),
    "matroska,webm": ((".webm",), _WEBM, "webm"),
    "mp3": ((".mp3",), {"mp3"}, "mpeg"),
    "wav": ((".wav",), {"pcm_s16le", "pcm_u8"}, "wav"),
    "flac": ((".flac",), {"flac"}, "flac"),
    "ogg": ((".ogg", ".oga", ".opus"), {"opus", "vorbis"}, "ogg"),
}

SIDE, FPS, SOUND = 480, 15.0, 32_000
"""Longest side in pixels, frames per second at most, and bits per second of sound, of a copy."""
LEAST, MOST = 100_000, 600_000
"""Bits per second of a copy's picture: with fewer nothing can be seen, with more nothing is gained."""


def media_type(clip: Path) -> str | None:
    """Return the MIME type of a clip that browsers play, None for others.

    Raises:
        DataError: it cannot be read.
    """
    content = Content(clip)
    try:
        with open_container(content, View(content)) as container:
            name = container.format.name
            endings, codecs, kind = next((v for k, v in _PLAYED.items() if name.startswith(k)), ((), set(), ""))
            streams = [s for s in container.streams if s.type in ("video", "audio")]
            played = all(
                s.codec_context is not None and s.codec_context.codec.canonical_name in codecs for s in streams
            )
            # Ten bits per channel are for cinemas.
            played = played and all(s.codec_context.pix_fmt in ("yuv420p", "yuvj420p") for s in container.streams.video)
            if clip.suffix.lower() not in endings or not played:
                return None
            return f"{'video' if container.streams.video else 'audio'}/{kind}"
    finally:
        content.close()


def small_copy(clip: Path, most: int) -> bytes | None:
    """Return ``clip`` as WebM (VP8, Opus) of about ``most`` bytes or less; None where that leaves too little.

    Its time 0 is that of the clip's timeline.

    Raises:
        DataError: it cannot be read.
    """
    import av

    with Media(clip) as media:
        info = media.info
        bits = 6 * most / info.duration if info.duration else 0  # of 8: VP8 overshoots, and the container takes some
        picture = min(MOST, int(bits) - SOUND) if info.has_video else 0
        if (info.has_video and picture < LEAST) or bits < SOUND:
            return None
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="webm") as out:
            streams = _streams(out, media, picture)
            for piece in media.pieces(fps=FPS, max_side=SIDE):
                kind = "video" if isinstance(piece, Frame) else "audio"
                stream, frame = streams[kind], _frame(piece)
                if kind == "video" and (frame.width, frame.height) != (stream.width, stream.height):
                    frame = frame.reformat(stream.width, stream.height)
                out.mux(stream.encode(frame))
            for stream in streams.values():
                out.mux(stream.encode(None))
    copy = buffer.getvalue()
    return copy if len(copy) <= most else None


def _streams(out: OutputContainer, media: Media, bits: int) -> dict[str, Any]:
    streams: dict[str, Any] = {}
    if media.info.has_video:
        assert media.info.width is not None
        assert media.info.height is not None
        scale = min(1.0, SIDE / max(media.info.width, media.info.height))
        video = streams["video"] = out.add_stream("libvpx", rate=int(FPS), bit_rate=bits)
        video.width, video.height = (max(2, round(s * scale / 2) * 2) for s in (media.info.width, media.info.height))
        video.pix_fmt, video.time_base = "yuv420p", Fraction(1, 1000)
        video.codec_context.time_base = Fraction(1, 1000)
        video.codec_context.options = {"deadline": "realtime", "cpu-used": "8"}
    if media.info.has_audio:
        streams["audio"] = out.add_stream("libopus", rate=RATE, bit_rate=SOUND, layout="mono")
    return streams


def _frame(piece: Frame | Samples) -> Any:
    """Return a piece as PyAV's frame, with its time."""
    import av

    if isinstance(piece, Frame):
        frame: Any = av.VideoFrame.from_ndarray(piece.image, format="rgb24")
        frame.time_base, frame.pts = Fraction(1, 1000), round(piece.time * 1000)
        return frame
    frame = av.AudioFrame.from_ndarray(piece.values[None], format="flt", layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), round(piece.time * RATE)
    return frame
