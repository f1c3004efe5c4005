"""Small clips for tests, written with PyAV: a known picture and tone, and an event seen and heard at a known time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

CODECS: dict[str, tuple[str | None, str]] = {
    ".mp4": ("libx264", "aac"),
    ".mov": ("libx264", "aac"),
    ".mkv": ("libx264", "aac"),
    ".webm": ("libvpx", "libopus"),
    ".avi": ("mpeg4", "libmp3lame"),
    ".mpg": ("mpeg1video", "mp2"),
    ".ts": ("libx264", "aac"),
    ".wav": (None, "pcm_s16le"),
    ".flac": (None, "flac"),
    ".mp3": (None, "libmp3lame"),
    ".ogg": (None, "libopus"),
}
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
EVENT = 0.02
"""Seconds that the click of an event lasts."""


def write_clip(
    path: Path,
    *,
    video: str | None = "default",
    audio: str | None = "default",
    size: tuple[int, int] = (96, 64),
    fps: int = 25,
    seconds: float = 1.0,
    times: Sequence[float] | None = None,
    rate: int = 48_000,
    channels: int = 1,
    tone: float = 440.0,
    event: float | None = None,
    rotation: int = 0,
    aspect: Fraction | None = None,
    video_offset: float = 0.0,
    audio_offset: float = 0.0,
    samples: np.ndarray | None = None,
    images: Sequence[np.ndarray] | None = None,
) -> Path:
    """Write a clip whose container is that of ``path``'s suffix, and return its path.

    Args:
        video, audio: encoder; ``default`` is the usual one of the container, None leaves the stream out.
        size: width and height in pixels, before rotation.
        times: presentation times of the frames (variable frame rate) instead of ``fps`` frames per second.
        rate, channels, tone: samples per second, channels, frequency of the sine (amplitude 0.5) in every channel.
        event: time at which the picture is white for one frame and the sound clicks; silent otherwise.
        rotation: degrees that a player turns the picture counter-clockwise.
        aspect: width of a pixel by its height.
        video_offset, audio_offset: when the streams start; a whole number of frames for video.
        samples: (channels, n) float32 to write instead of the tone.
        images: (height, width, 3) uint8 to write instead of the pattern; they decide the size.
    """
    usual = CODECS[path.suffix]
    video, audio = (usual[i] if c == "default" else c for i, c in enumerate((video, audio)))
    if samples is None:
        samples = sound(seconds, rate, channels, tone, None if event is None else event - audio_offset)
    with av.open(str(path), "w") as container:
        packets = []
        if video:
            size = size if images is None else (images[0].shape[1], images[0].shape[0])
            stream = _video_stream(container, video, size, fps, times is not None, aspect)
            stream.set_display_rotation(rotation)
            count = round(seconds * fps) if images is None else len(images)
            at = times if times is not None else [video_offset + i / fps for i in range(count)]
            packets.append(_encode_video(stream, at, event, images))
        if audio:
            stream = container.add_stream(audio, rate=rate, layout=LAYOUTS[channels])
            packets.append(_encode_audio(stream, samples, rate, LAYOUTS[channels], audio_offset))
        for _, packet in heapq.merge(*packets, key=lambda item: item[0]):
            container.mux(packet)
    return path


def sound(seconds: float, rate: int, channels: int, tone: float, event: float | None) -> np.ndarray:
    """Return (channels, n) float32: a sine, or silence with a click at ``event``."""
    at = np.arange(round(seconds * rate)) / rate
    if event is None:
        wave = 0.5 * np.sin(2 * np.pi * tone * at)
    else:
        wave = np.where((at >= event) & (at < event + EVENT), 0.8 * np.sin(2 * np.pi * 2000 * at), 0.0)
    return np.tile(wave, (channels, 1)).astype(np.float32)


def picture(time: float, size: tuple[int, int], *, flash: bool = False) -> np.ndarray:
    """Return (height, width, 3): red top left quarter, and below a green bar that moves right; white for a flash."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2, 0] = 255
    left = int(time * width) % max(1, width - width // 8)
    image[height // 2 :, left : left + width // 8 + 1, 1] = 200
    return np.full_like(image, 255) if flash else image


def _video_stream(
    container: Any, codec: str, size: tuple[int, int], fps: int, variable: bool, aspect: Fraction | None
) -> Any:
    stream = container.add_stream(codec, rate=fps)
    stream.width, stream.height = size
    stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    stream.codec_context.time_base = Fraction(1, 1000) if variable else Fraction(1, fps)
    stream.codec_context.gop_size = 10
    if aspect:
        stream.codec_context.sample_aspect_ratio = aspect
    if codec.startswith("libx26"):
        quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        stream.options = {"preset": "ultrafast", "crf": "15", **quiet}
    elif codec.startswith("libvpx"):
        stream.options = {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "1M"}
    else:
        stream.codec_context.bit_rate = 2_000_000
    return stream


def _encode_video(
    stream: Any, times: Sequence[float], event: float | None, images: Sequence[np.ndarray] | None
) -> Iterator[tuple[float, Any]]:
    size, base, last = (stream.width, stream.height), stream.codec_context.time_base, 0.0
    for i, time in enumerate(times):
        until = times[i + 1] if i + 1 < len(times) else time + 1.0
        flash = event is not None and time <= event + 1e-6 < until
        image = picture(time, size, flash=flash) if images is None else images[i]
        frame = av.VideoFrame.from_ndarray(image, "rgb24")
        frame.pts, frame.time_base, last = round(time / base), base, time
        for packet in stream.encode(frame):
            yield time, packet
    for packet in stream.encode(None):
        yield last, packet


def _encode_audio(
    stream: Any, samples: np.ndarray, rate: int, layout: str, offset: float
) -> Iterator[tuple[float, Any]]:
    if not stream.codec_context.is_open:
        stream.codec_context.open()
    size = stream.codec_context.frame_size or 1024
    convert = av.AudioResampler(format=stream.format, layout=layout, rate=rate, frame_size=size)
    time, done = offset, 0
    for first in range(0, samples.shape[1], size):
        part = samples[:, first : first + size].T.reshape(1, -1)  # interleaved: PyAV 18.1 cannot keep 8 channels apart
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), "flt", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
        for ready in [*convert.resample(frame), *(convert.resample(None) if first + size >= samples.shape[1] else [])]:
            ready.pts, ready.time_base = round(offset * rate) + done, Fraction(1, rate)
            time, done = offset + done / rate, done + ready.samples
            for packet in stream.encode(ready):
                yield time, packet
    for packet in stream.encode(None):
        yield time, packet
