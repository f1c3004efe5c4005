"""Bodies of requests, streamed to disk."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from polymodal.core import nearest
from polymodal.serve.arrival import Arrival, check_declared
from polymodal.serve.messages import Task
from polymodal.serve.refusal import Refusal
from polymodal.serve.settings import MIB, Settings

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

JSON_BYTES = 32 * MIB
"""Largest JSON body: numbers take many times their text in memory."""

SMALL = MIB
"""Largest transcript, in bytes."""

BLOCK = MIB
"""Bytes collected before a thread writes them to disk."""

FIELDS = ("clip", "transcript", "utterances")
EXAMPLE = "curl -F clip=@clip.mp4 .../predict"


async def receive(request: Request, folder: Path, settings: Settings, arrival: Arrival) -> Task:
    """Write the body of ``request``, which comes as ``arrival``, into ``folder`` and return what it asks for.

    Raises:
        Refusal: too large, too slow, not a form with a clip nor JSON, no room on disk.
        ClientDisconnect: the client has gone.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    form = kind == b"multipart/form-data"
    if not form and kind != b"application/json":
        raise Refusal(415, "the body must be a form with a file called clip, or JSON", EXAMPLE)
    limit = settings.max_bytes if form else min(settings.max_bytes, JSON_BYTES)
    check_declared(request, limit)
    body = arrival.pieces(request, limit)
    try:
        if not form:
            rows = folder / "rows.json"
            with rows.open("wb") as file:
                async for block in _blocks(body):
                    await asyncio.to_thread(file.write, block)
            return Task(settings.name, "the JSON body", rows=rows, most=settings.max_rows)
        return await _read_form(body, options.get(b"boundary", b""), folder, settings)
    except OSError as error:
        raise Refusal(
            503, f"the upload cannot be stored now ({error.strerror})", "try again later", {"Retry-After": "60"}
        ) from error


async def _blocks(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the body in pieces that are worth a thread."""
    block = bytearray()
    async for chunk in body:
        block += chunk
        if len(block) >= BLOCK:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


async def _read_form(body: AsyncIterator[bytes], boundary: bytes, folder: Path, settings: Settings) -> Task:
    form = _Form(folder)
    try:
        parser = MultipartParser(boundary, form.callbacks)
        async for block in _blocks(body):
            await asyncio.to_thread(parser.write, block)
    except FormParserError as error:
        raise Refusal(422, f"the form cannot be read ({error})", EXAMPLE) from None
    finally:
        form.close()
    if not form.complete:
        raise Refusal(422, "the form ends before its end", "send it again")
    if "clip" not in form.found:
        raise Refusal(422, "the form has no file called clip", EXAMPLE)
    utterances = form.found.get("utterances")
    return Task(
        settings.name,
        form.name,
        clip=form.found["clip"],
        transcript=form.found.get("transcript"),
        utterances=utterances.read_text(errors="replace").strip() or None if utterances else None,
        longest=settings.max_seconds,
    )


class _Form:
    """Writes each field of a form to a file whose name we choose.

    Attributes:
        found: field -> file.
        name: what the client calls the clip.
        complete: whether the end of the form came.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.found: dict[str, Path] = {}
        self.name = "clip"
        self.complete = False
        self._header, self._value, self._disposition = b"", b"", b""
        self._file: BinaryIO | None = None
        self._room = 0
        self.callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._open,
            "on_part_data": self._write,
            "on_part_end": self.close,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._header = self._value = self._disposition = b""

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _open(self) -> None:
        _, options = parse_options_header(self._disposition)
        field = options.get(b"name", b"").decode(errors="replace")
        file = clean_name(options.get(b"filename", b"").decode(errors="replace"))
        if field not in FIELDS:
            raise Refusal(422, f"the form has a field {clean_name(field)!r}{nearest(field, FIELDS)}", EXAMPLE)
        if field in self.found:
            raise Refusal(422, f"the form has {field} twice", "send one clip per request")
        stored = field
        if field == "clip":
            self.name = file
        elif field == "transcript":
            # Readers of transcripts know formats by suffix: letters of it are all of a client's name that gets on disk.
            stored += found[0] if (found := re.search(r"\.[A-Za-z]{1,10}$", file)) else ""
        self.found[field] = self._folder / stored
        self._file = self.found[field].open("wb")
        self._room = SMALL if field != "clip" else 0

    def _write(self, data: bytes, start: int, end: int) -> None:
        assert self._file is not None
        self._file.write(data[start:end])
        if self._room and self._file.tell() > self._room:
            raise Refusal(413, f"a transcript or text field is larger than {SMALL // MIB} MiB", "send less of it")

    def _end(self) -> None:
        self.complete = True

    def close(self) -> None:
        """Close the file of the current field."""
        if self._file is not None:
            self._file.close()
            self._file = None


def clean_name(name: str) -> str:
    """Return the last part of a client's file name, without what cannot be shown; ``clip`` where nothing is left."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(c for c in last if c.isprintable()).strip(". ")[:100] or "clip"
