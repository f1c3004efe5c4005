"""A body on its way in: how large it may be, how fast it must come, and when it gives way to another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import Request

from polymodal.serve.refusal import Refusal
from polymodal.serve.settings import MIB, Settings

PATIENCE = 10.0
"""Seconds after which an upload must have its least rate."""


class Arrival:
    """One body, from its header on.

    Args:
        settings: limits of time and rate.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._began, self._total = time.monotonic(), 0
        self._waiting: asyncio.Timeout | None = None
        self._gave_way = False

    @property
    def slow(self) -> bool:
        """Whether it has been slower than it must be in the end, and has not given way yet."""
        return not self._gave_way and self._behind

    @property
    def _behind(self) -> bool:
        return self._total < self._settings.min_rate * 1024 * (time.monotonic() - self._began)

    def give_way(self) -> None:
        """End it soon, with a refusal."""
        self._gave_way = True
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def pieces(self, request: Request, limit: int) -> AsyncIterator[bytes]:
        """Yield the body of ``request`` as it comes, at least as fast as it must, at most ``limit`` bytes.

        Raises:
            Refusal: too large, too slow, or it had to give way.
            ClientDisconnect: the client has gone.
        """
        stream, until = request.stream(), self._began + self._settings.upload_time
        rate = f"came with less than {self._settings.min_rate:g} KiB per second"
        while True:
            if self._gave_way:
                raise _too_slow(f"{rate} while others waited")
            left = until - time.monotonic()
            try:
                async with asyncio.timeout(min(self._settings.stall, left)) as self._waiting:
                    chunk = await anext(stream, None)
            except TimeoutError:
                if self._gave_way:
                    continue
                if left <= self._settings.stall:
                    raise _too_slow(f"was not over within {self._settings.upload_time:g} s") from None
                sentence = f"no byte of the upload came for {self._settings.stall:g} seconds"
                raise Refusal(408, sentence, "send it again") from None
            finally:
                self._waiting = None
            if chunk is None:
                return
            self._total += len(chunk)
            if self._total > limit:
                raise _too_large(limit)
            if time.monotonic() - self._began > PATIENCE and self._behind:
                raise _too_slow(rate)
            yield chunk


def check_declared(request: Request, limit: int) -> None:
    """Refuse a body that declares more than ``limit`` bytes before any of it is read."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> Refusal:
    return Refusal(413, f"the upload is larger than the {limit / MIB:g} MiB that are taken", "cut or compress the clip")


def _too_slow(how: str) -> Refusal:
    return Refusal(408, f"the upload {how}", "send a smaller clip, or from a faster place")
