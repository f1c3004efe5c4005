"""The bytes of a clip, opened so that a hostile file can reach nothing but itself."""

from __future__ import annotations

import io
import os
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from polymodal.core import DataError, OptionError
from polymodal.core.limits import TooMuchError, out_of_memory
from polymodal.core.text import printable
from polymodal.media.clip.declared import check_declared
from polymodal.media.types import Source

if TYPE_CHECKING:
    from av.container import InputContainer

FORMATS = (
    "aac,ac3,aiff,amr,asf,au,avi,caf,dv,eac3,flac,flv,ivf,m4v,matroska,mov,mp3,mpeg,mpegts,mpegvideo,mxf,nut,ogg,w64,"
    "wav,webm,wv"
)
"""Containers that are read. Playlists, device and network formats are left out: they name other files and hosts."""

SIDE = 8192
"""Largest width or height of a frame, in pixels."""

STREAMS = 16
"""Most streams of a clip: tables are made for each before it is known which ones are wanted."""

PATIENCE = 60.0
"""Seconds that opening, or reading one packet, may take."""


class Content:
    """A clip's bytes, shared by several readers.

    Attributes:
        name: what messages call the clip.
        size: bytes.

    Raises:
        DataError: there is nothing to read.
    """

    def __init__(self, source: Source, name: str | None = None) -> None:
        if isinstance(source, str | Path):
            self.name = printable(name or Path(source).name)
            self._stream: BinaryIO = _open_file(Path(source))
        elif isinstance(source, bytes):
            self.name, self._stream = printable(name or "clip"), io.BytesIO(source)
        else:
            self.name, self._stream = printable(name or _stream_name(source)), source
            if not source.seekable():
                raise DataError(f"{self.name} is a stream that cannot be rewound; read it into bytes first")
        self._own = not hasattr(source, "read")
        self.size = self._stream.seek(0, os.SEEK_END)
        if not self.size:
            self.close()
            raise DataError(f"{self.name} is empty (0 bytes); record or download it again")

    def read(self, position: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``position`` on."""
        self._stream.seek(position)
        return self._stream.read(count)

    def close(self) -> None:
        """Close the file; a stream given by the caller stays open."""
        if self._own:
            self._stream.close()


class View:
    """A position of its own in a Content, in the form that PyAV wants.

    Reading ends early once many times the clip's size has been read: no file, however damaged, is read for ever.
    """

    def __init__(self, content: Content) -> None:
        self._content, self._position = content, 0
        self._left = 8 * content.size + (64 << 20)

    def read(self, count: int) -> bytes:
        """Return up to ``count`` bytes."""
        data = self._content.read(self._position, count)
        self._position += len(data)
        return data if self.spend(len(data)) else b""

    def spend(self, work: int) -> bool:
        """Take ``work`` bytes from what may be spent on this clip, and return whether that was there."""
        self._left -= work
        return self._left >= 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; a position before the first byte is the first byte."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._content.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position


def open_container(content: Content, view: View) -> InputContainer:
    """Open a clip through its bytes.

    FFmpeg gets neither a file name nor a protocol, may read the containers of FORMATS only, and is refused whenever a
    clip asks for another file or address.

    Raises:
        DataError: it is no clip that can be read here, or promises more than it can hold.
        OptionError: PyAV is missing.
    """
    try:
        import av
    except ImportError:
        raise OptionError("reading clips needs PyAV; run: pip install 'polymodal[media]'") from None
    check_declared(content)
    try:
        return av.open(
            view,
            "r",
            options={"max_pixels": str(SIDE * SIDE), "threads": "1"},
            container_options={"format_whitelist": FORMATS, "protocol_whitelist": "none", "max_streams": str(STREAMS)},
            metadata_errors="ignore",
            timeout=PATIENCE,
            io_open=_refuse,
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        if out_of_memory(error):  # what FFmpeg says, too, of a stream beyond the last that it may make
            raise TooMuchError(
                f"{content.name} has more than {STREAMS} streams, or tables that do not fit into memory; keep one "
                "picture and one sound track"
            ) from None
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{content.name} cannot be read as audio or video ({reason}); check that it is a whole mp4, mkv, webm, "
            "mov, mpg, avi, wav, flac, mp3 or ogg file, not a playlist or a link"
        ) from None


def _refuse(url: str, flags: int, options: dict[str, str]) -> BinaryIO:
    raise PermissionError(f"a clip must not open {url}")


def _stream_name(source: BinaryIO) -> str:
    name = getattr(source, "name", None)
    return Path(name).name if isinstance(name, str) else "clip"


def _open_file(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder; name a clip in it, or use `polymodal extract` for all of them")
        if path.exists() and not path.is_file():
            raise DataError(f"{path} is no regular file; copy the clip into one first")
        return path.open("rb")
    except FileNotFoundError:
        raise DataError(f"there is no file {path}{_similar(path)}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot open {path}: {reason}; check its name and permissions") from None


def _similar(path: Path) -> str:
    try:
        names = [p.name for p in path.parent.iterdir() if p.is_file()]
    except OSError:
        return "; its folder does not exist or cannot be listed"
    close = get_close_matches(path.name, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; check the name (its folder holds {len(names)} files)"
