"""One connection of a client: how many there may be, how long a header may take and be, how long nobody may read."""

from __future__ import annotations

import asyncio
import json
import resource
from functools import partial
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from polymodal.serve.settings import Settings

LINGER = 5.0
"""Seconds for which a connection stays that sends a body nobody reads: who is refused should see why."""

BACKLOG = 32
"""Connections that are taken in one go, before any of them can be refused."""

RESERVE = 4 * BACKLOG
"""File descriptors for all that is no connection: workers, uploads, a backlog being refused."""


class Connection(H11Protocol):
    """As uvicorn's, but no client holds it for ever: neither by silence, nor by a header without an end, nor by not
    reading what it asked for; and where all are taken, one that asks for nothing gives way to a new one."""

    def __init__(self, settings: Settings, most: int, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._settings, self._most = settings, most
        self._since = 0.0
        self._header: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a header; what is one too many takes the place of the one that waits longest, or is refused."""
        super().connection_made(transport)
        self._since = self.loop.time()
        if len(self.connections) > self._most and not self._displace():
            self._refuse(503, f"there are {self._most} connections already", "try again later", "Retry-After: 10\r\n")
        else:
            self._await_header()

    def data_received(self, data: bytes) -> None:
        """Count the time that a header takes, from its first byte on."""
        super().data_received(data)
        if self.conn.our_state is not h11.DONE:  # the body that nobody read has ended: the connection is as any other
            self._linger = _cancelled(self._linger)
        if self.conn.their_state is not h11.IDLE:
            self._header = _cancelled(self._header)
        elif self.transport.is_closing():
            return
        elif self._header is None and self.conn.trailing_data[0]:
            self._await_header()
        elif self.timeout_keep_alive_task is None:  # uvicorn forgets it where a body ends after its answer
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._header, self._stall, self._linger = map(_cancelled, (self._header, self._stall, self._linger))
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Close soon where a body goes on that nobody reads."""
        super().on_response_complete()
        self._since = self.loop.time()
        if self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE:
            self._linger = self.loop.call_later(LINGER, self.transport.close)

    def pause_writing(self) -> None:
        """Give up a client that does not read."""
        super().pause_writing()
        self._stall = self._stall or self.loop.call_later(self._settings.stall, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on."""
        self._stall = _cancelled(self._stall)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Say which limit a header breaks, where it is that."""
        held, _ = self.conn.trailing_data
        if len(held) > self._settings.max_header_bytes:
            self._refuse(431, f"the header is larger than {self._settings.max_header:g} KiB", "send less of it")
        else:
            self._refuse(400, "this is no HTTP request", "see /openapi.json for what there is")

    def _displace(self) -> bool:
        """Close the connection that has been without a request for the longest time; return whether there was one.

        The newest is the last to go: silence, however much of it, costs those who ask at once no place.
        """
        others = (c for c in self.connections if isinstance(c, Connection) and c is not self)
        longest = min((c for c in others if c._asks_nothing), key=lambda c: c._since, default=None)
        if longest is None:
            return False
        if longest.cycle is None:
            longest._refuse(503, f"there are {self._most} connections already", "send a header at once")
        else:  # answered before: what comes now would be taken for the answer to the next request
            longest.transport.close()
        return True

    @property
    def _asks_nothing(self) -> bool:
        return (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing()

    def _await_header(self) -> None:
        seconds = self._settings.header_time
        late = partial(self._refuse, 408, f"no whole header came within {seconds:g} s", "send it at once")
        self._header = self.loop.call_later(seconds, late)

    def _refuse(self, status: int, sentence: str, remedy: str, header: str = "") -> None:
        """Answer without having understood a request, and close."""
        body = json.dumps({"error": sentence, "remedy": remedy}).encode()
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n{header}"
        self.transport.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        self.transport.close()


def connections_of(settings: Settings) -> partial[Connection]:
    """Return what makes a connection, after asking the system for as many file descriptors as they need.

    Where it gives fewer, fewer connections are taken: one that cannot be accepted cannot be refused either.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.connections + RESERVE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        wanted = soft
    return partial(Connection, settings, max(1, wanted - RESERVE))


def _cancelled(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """Return no timer in the place of one that is not wanted any more."""
    if timer is not None:
        timer.cancel()
    return None
