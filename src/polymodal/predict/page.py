"""One self-contained page with a clip above its timeline."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from polymodal.predict.files import write_whole
from polymodal.predict.timeline import Timeline
from polymodal.report.templates import read_template

INLINE = 8 << 20
"""Bytes of the largest clip that a page holds."""

STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True)
class _Media:
    """What the page plays: ``tag`` is video or audio, ``address`` a data address or a relative one."""

    tag: str
    address: str
    embedded: bool


def write_page(timeline: Timeline, clip: str | Path | None, path: str | Path) -> Path:
    """Write an HTML page that plays ``clip`` above its timeline; it asks no other host for anything.

    A clip of up to 8 MiB that browsers play becomes part of the page, a larger one is looked for where it lies now,
    seen from the page. Of a clip that browsers do not play (MPEG-1, AVI, MKV), the page holds a small WebM copy. Where
    that is not possible either the page says so and shows the timeline alone.

    Args:
        timeline: what ``Predictor.predict`` returned.
        clip: the file; None for a page without it.
        path: of the page.

    Returns:
        ``path``.

    Raises:
        DataError: the clip cannot be read, or the page not be written.
    """
    return write_view(timeline.to_dict(), clip, path)


def write_view(data: dict[str, Any], clip: str | Path | None, path: str | Path, *, title: str = "timeline") -> Path:
    """Write the page of ``write_page`` from plain data, as ``timeline.js`` takes it.

    Args:
        title: what the page is, for the title of its window.

    Raises:
        DataError: as ``write_page``.
    """
    path = Path(path)
    media, note = (None, "") if clip is None else _media(Path(clip), path)
    return write_whole(path, _render(data, media, note, title).encode())


def _media(clip: Path, page: Path) -> tuple[_Media | None, str]:
    """Return what the page plays and what it says about that."""
    from polymodal.predict.playable import SIDE, media_type, small_copy

    kind = media_type(clip)
    if kind is None:
        copy = small_copy(clip, INLINE)
        if copy is None:
            return None, f"Browsers do not play {clip.name}, and it is too long for a copy within this page."
        note = f"Browsers do not play {clip.name}: this is a copy of at most {SIDE} pixels a side."
        return _embed("video/webm", copy), note
    if clip.stat().st_size <= INLINE:
        return _embed(kind, clip.read_bytes()), ""
    address = quote(Path(os.path.relpath(clip, page.parent)).as_posix())
    return _Media(_tag(kind), address, False), f"The clip is not part of this page; keep it at {address}."


def _embed(kind: str, content: bytes) -> _Media:
    return _Media(_tag(kind), f"data:{kind};base64,{base64.b64encode(content).decode()}", True)


def _tag(kind: str) -> str:
    return kind.partition("/")[0]


def _render(data: dict[str, Any], media: _Media | None, note: str, title: str) -> str:
    from markupsafe import Markup

    style = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in ("page.css", "timeline.css"))
    script = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in ("timeline.js", "page.js"))
    return read_template("polymodal.predict").render(
        clip=data["clip"],
        title=title,
        media=media,
        note=note,
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        # "<" could end the element that holds the data.
        timeline=Markup(json.dumps(data, allow_nan=False).replace("<", "\\u003c")),
    )


def _policy(style: str, script: str) -> str:
    """Allow this page's own style and script, and clips; nothing else, whatever the timeline holds."""
    allowed = {"style-src": style, "script-src": script}
    own = (f"{what} 'sha256-{_digest(text)}'" for what, text in allowed.items())
    return "; ".join(["default-src 'none'", *own, "media-src 'self' data: file:"])


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
