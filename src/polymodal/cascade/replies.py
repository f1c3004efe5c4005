"""What a chat completion says, and where replies that were paid for are kept."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.cascade.endpoint import Silent
from polymodal.core import RunError
from polymodal.train.checkpoint import write_json

TOP = 20
"""Alternatives of each token that are asked for."""


def completion(raw: dict[str, Any]) -> dict[str, Any]:
    """Return ``text``, ``entropy`` and ``usage`` of a completion; Silent where it is none."""
    try:
        choice = raw["choices"][0]
        text = choice["message"]["content"]
        if not isinstance(text, str):
            raise TypeError
    except (KeyError, IndexError, TypeError):
        raise Silent("the reply is no chat completion") from None
    usage = raw.get("usage")
    counted = usage if isinstance(usage, dict) else {}
    counts = {n: counted.get(n) for n in ("prompt_tokens", "completion_tokens")}
    return {
        "text": text,
        "entropy": _token_entropy(choice),
        "usage": {n: count for n, count in counts.items() if isinstance(count, int)},
    }


def _token_entropy(choice: dict[str, Any]) -> float:
    """Return the mean entropy of the tokens of a reply over their alternatives, each divided by the highest possible;
    what the alternatives leave over counts as one more. 1 where the service says nothing of probabilities."""
    try:
        found = []
        for token in choice["logprobs"]["content"]:
            shares = np.exp([float(other["logprob"]) for other in token["top_logprobs"]])
            shares = np.append(shares, max(0.0, 1 - shares.sum()))
            shares = shares[shares > 0] / shares.sum()
            found.append(-(shares * np.log(shares)).sum() / math.log(TOP + 1))
        return float(np.clip(np.mean(found), 0, 1)) if found else 1.0
    except (KeyError, TypeError, ValueError):
        return 1.0


def keep(file: Path, reply: dict[str, Any]) -> None:
    """Keep a reply that was paid for; RunError where the disk does not take it."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make {file.parent}: {error.strerror}; set POLYMODAL_CACHE to another folder") from None
    write_json(file, reply)
