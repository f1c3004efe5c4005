"""Receiving a body: what takes too long, what cannot be stored, a form in pieces of any size."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request
from starlette.requests import ClientDisconnect

from polymodal.serve import arrival, upload
from polymodal.serve.arrival import Arrival
from polymodal.serve.messages import Task
from polymodal.serve.refusal import Refusal
from polymodal.serve.settings import Settings

FORM = (
    b'--x\r\nContent-Disposition: form-data; name="clip"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    b"one\r\n--two\r\n\r\n--x\r\n"
    b'content-disposition: form-data; name="utterances"\r\n\r\nclip\r\n--x--\r\n'
)


def received(
    folder: Path,
    pieces: Sequence[bytes],
    then: Callable[[], Awaitable[dict[str, Any]]] | None = None,
    **settings: float,
) -> Task:
    """Return what ``receive`` makes of a form that comes in ``pieces``, the last of which ends it unless ``then``."""
    waiting = list(pieces)

    async def next_message() -> dict[str, Any]:
        if not waiting and then:
            return await then()
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting or then)}

    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    request = Request({"type": "http", "method": "POST", "headers": headers}, next_message)
    limits = Settings("fake", **settings)  # type: ignore[arg-type]
    return asyncio.run(upload.receive(request, folder, limits, Arrival(limits)))


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_form_may_come_in_pieces_of_any_size(tmp_path: Path, size: int) -> None:
    task = received(tmp_path, [FORM[i : i + size] for i in range(0, len(FORM), size)])
    assert task.clip is not None
    assert task.clip.read_bytes() == b"one\r\n--two\r\n"
    assert (task.name, task.utterances, task.transcript) == ("a.wav", "clip", None)


def test_a_large_clip_is_stored_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * 40_000
    head = FORM[: FORM.index(b"\r\n\r\n") + 4]
    pieces = [head, *(content[i : i + 65_536] for i in range(0, len(content), 65_536)), b"\r\n--x--\r\n"]
    task = received(tmp_path, pieces)
    assert task.clip is not None
    assert task.clip.read_bytes() == content


def test_an_upload_that_stalls_is_given_up(tmp_path: Path) -> None:
    async def nothing() -> dict[str, Any]:
        await asyncio.sleep(60)
        raise AssertionError

    with pytest.raises(Refusal, match="no byte of the upload came") as caught:
        received(tmp_path, [FORM[:50]], nothing, stall=0.05)
    assert caught.value.status == 408


def test_an_upload_that_drips_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "PATIENCE", 0.05)
    sent = 0

    async def byte() -> dict[str, Any]:
        nonlocal sent
        sent += 1
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"z", "more_body": True}

    with pytest.raises(Refusal, match="less than 16 KiB per second") as caught:
        received(tmp_path, [FORM[:50]], byte)
    assert caught.value.status == 408
    assert sent < 100


async def _first_piece_and_what_follows(then: Callable[[Arrival], Awaitable[dict[str, Any]]]) -> tuple[bytes, bool]:
    """Return the first KiB of a body and whether it is slow by then; ``then`` is asked for the rest."""
    coming, first = Arrival(Settings("fake")), True

    async def next_message() -> dict[str, Any]:
        nonlocal first
        if not first:
            return await then(coming)
        first = False
        return {"type": "http.request", "body": b"z" * 1024, "more_body": True}

    pieces = coming.pieces(Request({"type": "http", "method": "POST", "headers": []}, next_message), 10_000)
    content, slow = await anext(pieces), coming.slow
    async for piece in pieces:
        content += piece
    return content, slow


def test_one_that_gives_way_ends_at_once_with_the_reason() -> None:
    async def wait(coming: Arrival) -> dict[str, Any]:
        await asyncio.sleep(0.15)
        assert coming.slow  # a KiB in more than a sixteenth of a second
        asyncio.get_running_loop().call_later(0.01, coming.give_way)
        await asyncio.sleep(60)
        raise AssertionError

    with pytest.raises(Refusal, match="came with less than 16 KiB per second while others waited") as caught:
        asyncio.run(_first_piece_and_what_follows(wait))
    assert caught.value.status == 408


def test_an_upload_that_is_fast_is_not_slow() -> None:
    async def end(_: Arrival) -> dict[str, Any]:
        return {"type": "http.request", "body": b"z", "more_body": False}

    assert asyncio.run(_first_piece_and_what_follows(end)) == (b"z" * 1024 + b"z", False)


def test_a_client_that_leaves_is_no_defect(tmp_path: Path) -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnect):
        received(tmp_path, [FORM[:120]], gone)


def test_a_disk_that_takes_nothing_asks_to_come_back(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="cannot be stored now") as caught:
        received(tmp_path / "missing", [FORM])
    assert caught.value.status == 503
    assert caught.value.headers["Retry-After"] == "60"


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("w.srt", "transcript.srt"),
        ("W.TextGrid", "transcript.TextGrid"),
        ("a/../b.s/rt", "transcript"),
        ("..", "transcript"),
    ],
)
def test_letters_of_the_suffix_are_all_of_a_name_that_gets_on_disk(tmp_path: Path, name: str, stored: str) -> None:
    part = f'--x\r\nContent-Disposition: form-data; name="transcript"; filename="{name}"\r\n\r\nhello\r\n'.encode()
    task = received(tmp_path, [part + FORM])
    assert task.transcript == tmp_path / stored
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip", stored, "utterances"]
