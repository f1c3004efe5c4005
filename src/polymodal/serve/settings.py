"""What a service allows."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from polymodal.core import OptionError
from polymodal.core.options import Count, Natural, Positive, settle

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
    def places(self) -> int:
        """Predictions that may run or wait."""
        return self.workers + self.queue


def is_loopback(host: str) -> bool:
    """Whether ``host`` is a name or address of this machine alone."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
