"""A few bytes that promise millions of samples, or dozens of streams."""

from __future__ import annotations

import resource
import struct
import time
from io import BytesIO
from typing import Any

import av
import numpy as np
import pytest

from polymodal.core.limits import TooMuchError
from polymodal.media.clip.content import STREAMS
from polymodal.media.clip.decode import Media


def mp4(tracks: int = 1, **options: str) -> bytes:
    """Return an MP4 with one tiny picture in each track."""
    out = BytesIO()
    with av.open(out, "w", "mp4", options=options) as container:
        streams = [container.add_stream("mpeg4", rate=10) for _ in range(tracks)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for stream in streams:
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), "rgb24")
            frame.pts = 0
            container.mux([*stream.encode(frame), *stream.encode(None)])
    return out.getvalue()


def promising(data: bytes, box: bytes, *numbers: int) -> bytes:
    """Return ``data`` with ``numbers`` behind version and flags of each box of a kind."""
    changed, at = bytearray(data), 0
    while (at := changed.find(box, at + 1)) > 0:
        struct.pack_into(f">{len(numbers)}I", changed, at + 8, *numbers)
    return bytes(changed)


def bomb(data: bytes, count: int = 89_000_000) -> bytes:
    """Return ``data`` with tables that promise ``count`` samples of a byte per track."""
    data = promising(data, b"stsz", 1, count)
    return promising(promising(data, b"stts", 1, count, 1), b"stsc", 1, 1, count, 1)


def refused(content: bytes) -> str:
    """Return the sentence; little time and memory may have gone into it."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(TooMuchError) as caught:
        Media(content, name="a.mp4")
    assert time.monotonic() - began < 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    return str(caught.value)


@pytest.mark.parametrize("tracks", [1, 12])
def test_samples_that_its_bytes_cannot_hold(tracks: int) -> None:
    assert "a.mp4 declares 89,000,000 samples or more in" in refused(bomb(mp4(tracks)))


def test_in_fragments_too() -> None:
    whole = mp4(movflags="frag_keyframe+empty_moov")
    Media(whole).close()
    assert b"trun" in whole
    assert "declares" in refused(promising(whole, b"trun", 89_000_000))


def test_a_table_with_a_large_size_field() -> None:
    data = bomb(mp4())
    at = data.find(b"stsz") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    large = struct.pack(">I4sQ", 1, b"stsz", size + 8)
    assert "declares" in refused(data[:at] + large + data[at + 8 :])


def test_too_many_streams() -> None:
    Media(mp4(STREAMS)).close()
    assert f"a.mp4 has more than {STREAMS} streams" in refused(mp4(STREAMS + 1))


@pytest.mark.parametrize("tail", [b"", b"\0\0\0\1moov", b"\0\0\0\0moov" * 3, bytes(64)])
def test_what_follows_a_clip_is_no_matter(tail: bytes) -> None:
    info: Any = Media(mp4() + tail).info
    assert info.has_video
