"""One POST to a service that speaks OpenAI's chat completions: bounded in time, size and repetitions."""

from __future__ import annotations

import http.client
import json
import math
import time
import urllib.error
import urllib.request
from typing import Any

LARGEST = 2**22
"""Bytes of a reply that are read."""

PAUSES = (0.5, 2.0, 8.0)
"""Seconds before each repetition; the last one counts for all further ones."""

_PASSING = {408, 409, 425, 429, 500, 502, 503, 504}
"""HTTP states that may be over a moment later."""


class Refused(Exception):
    """The service will answer no question like this one: a wrong key, model or address."""


class Silent(Exception):
    """No usable reply came in time."""


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nowhere: the key is for the address that was given."""

    def redirect_request(self, *arguments: Any) -> None:
        """Refuse."""


def post(
    url: str, key: str, body: dict[str, Any], *, timeout: float, retries: int, until: float = math.inf
) -> dict[str, Any]:
    """Return the JSON object that ``url`` replies to ``body``.

    Args:
        key: sent as a bearer token; empty for none.
        timeout: seconds that one attempt may take, from connecting to the last byte.
        retries: further attempts where the first failed in a way that may pass.
        until: ``time.monotonic()`` at which whoever asks must have an answer: no attempt lasts longer.

    Raises:
        Refused: the service says no.
        Silent: no attempt brought a JSON object.
    """
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    why = "no time is left"
    for attempt in range(retries + 1):
        pause = PAUSES[min(attempt, len(PAUSES)) - 1] if attempt else 0.0
        left = until - time.monotonic() - pause
        if left <= 0:
            break
        time.sleep(pause)
        try:
            reply = json.loads(_read(request, min(timeout, left)))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in _PASSING:
                raise Refused(f"HTTP {error.code} {error.reason}") from None
            why = f"HTTP {error.code} {error.reason}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = str(getattr(error, "reason", "") or error) or type(error).__name__
        else:
            if isinstance(reply, dict):
                return reply
            why = "the reply is no JSON object"
    raise Silent(why)


def _read(request: urllib.request.Request, timeout: float) -> bytes:
    """Return the body of the reply; TimeoutError where it is not whole in time, ValueError where it has no end."""
    ends = time.monotonic() + timeout
    with urllib.request.build_opener(_Stay).open(request, timeout=timeout) as response:
        parts, size = [], 0
        # The socket's own limit is for each packet: a reply that drips would go on for ever.
        while part := response.read1(65536):
            parts.append(part)
            size += len(part)
            if time.monotonic() > ends:
                raise TimeoutError(f"no whole reply within {timeout:g} s")
            if size > LARGEST:
                raise ValueError("the reply is too long")
    return b"".join(parts)
