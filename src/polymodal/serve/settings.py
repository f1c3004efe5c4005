"""What a service allows."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from polymodal.core import OptionError
from polymodal.core.limits import Limits
from polymodal.core.options import Count, Natural, NotNegative, Positive, settle

MIB = 2**20


@dataclass(frozen=True)
class Settings:
    """Limits of a service and who may use it.

    Args:
        name: of the run, as clients see it.
        host: address that the service listens on; other machines reach all but loopback ones.
        workers: predictions at the same time, each in a process of its own.
        max_upload: largest upload in MiB.
        max_seconds: longest clip in seconds.
        queue: uploads that may wait for a worker; one more is refused with 429.
        time_limit: seconds from the end of the upload to the answer.
        token: what clients must send as ``Authorization: Bearer TOKEN``; None lets everybody in.
        memory: MiB that a worker may take beyond what it holds once loaded; 0 for any.
        max_rows: rows of features in a request.
        max_text: characters of a row, or of a segment of a transcript.
        max_segments: segments of a transcript.
        max_words: words of a transcript.
        connections: that are open at the same time; one more closes the one that has been without a request
            for longest, or is refused with 503 where all have one.
        max_header: KiB of a request's header.
        header_time: seconds in which a whole header must have come.
        stall: seconds without a byte, in either direction, after which a client is given up.
        upload_time: seconds in which an upload must be over.
        min_rate: KiB per second that an upload must have on average, once ten seconds have gone; 0 for any.
        log_rate: lines of a kind that are logged in a minute.
        replies: whether clips get replies in the place of predictions; the page is another one then.

    Raises:
        OptionError: a limit that allows nothing, or no token on an address that other machines reach.
    """

    name: str
    host: str = "127.0.0.1"
    workers: Count = 1
    max_upload: Positive = 200.0
    max_seconds: Positive = 600.0
    queue: Natural = 8
    time_limit: Positive = 120.0
    token: str | None = None
    memory: Natural = 3072
    max_rows: Count = 1000
    max_text: Count = 20_000
    max_segments: Count = 2000
    max_words: Count = 20_000
    connections: Count = 256
    max_header: Positive = 16.0
    header_time: Positive = 10.0
    stall: Positive = 30.0
    upload_time: Positive = 600.0
    min_rate: NotNegative = 16.0
    log_rate: Count = 10
    replies: bool = False

    def __post_init__(self) -> None:
        settle("service", self)
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token.strip()):
            raise OptionError("the token must be printable ASCII and not empty; try: openssl rand -hex 24")
        if self.token is None and not self.loopback:
            raise OptionError(
                f"other machines can reach {self.host}: set a token with --token or $POLYMODAL_TOKEN, "
                "or leave out --host"
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches the service."""
        return is_loopback(self.host)

    @property
    def max_bytes(self) -> int:
        """Largest body of a request."""
        return int(self.max_upload * MIB)

    @property
    def max_header_bytes(self) -> int:
        """Largest header of a request."""
        return int(self.max_header * 1024)

    @property
    def stated(self) -> dict[str, float]:
        """All limits as clients see them: names say the unit, 0 means what it does in the arguments."""
        return {
            "upload_bytes": self.max_bytes,
            "clip_seconds": self.max_seconds,
            "answer_seconds": self.time_limit,
            "clips_at_once": self.workers,
            "clips_waiting": self.queue,
            "worker_memory_bytes": self.memory * MIB,
            "rows": self.max_rows,
            "text_characters": self.max_text,
            "transcript_segments": self.max_segments,
            "transcript_words": self.max_words,
            "connections": self.connections,
            "header_bytes": self.max_header_bytes,
            "header_seconds": self.header_time,
            "stall_seconds": self.stall,
            "upload_seconds": self.upload_time,
            "upload_bytes_per_second": self.min_rate * 1024,
            "log_lines_per_minute": self.log_rate,
        }

    @property
    def limits(self) -> Limits:
        """The most that is taken of rows and transcripts."""
        return Limits(self.max_rows, self.max_text, self.max_segments, self.max_words)

    @property
    def places(self) -> int:
        """Predictions that may run or wait."""
        return self.workers + self.queue


def is_loopback(host: str) -> bool:
    """Whether ``host`` is a name or address of this machine alone."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
