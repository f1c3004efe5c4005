"""A service that speaks OpenAI's chat completions, on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Service:
    """A service on this machine, and all that it was sent."""

    url: str
    reply: Callable[[dict[str, Any], int], tuple[int, bytes]]
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    location: str = ""
    drip: float = 0.0


def said(*texts: str) -> Callable[[dict[str, Any], int], tuple[int, bytes]]:
    """Say these in turn, over and over."""

    def reply(body: dict[str, Any], number: int) -> tuple[int, bytes]:
        message = {"message": {"content": texts[number % len(texts)]}}
        usage = {"prompt_tokens": 7, "completion_tokens": 2}
        return 200, json.dumps({"choices": [message], "usage": usage}).encode()

    return reply
