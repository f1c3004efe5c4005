"""Weights of faster-whisper: in a folder, in the hub's cache, or downloaded once."""

from __future__ import annotations

import json
import os
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from polymodal.core import OptionError

REPOSITORY = "Systran/faster-whisper-base"
"""74 million parameters, 99 languages; 145 MB."""

NEEDED = ("model.bin", "config.json", "tokenizer.json")
PATIENCE = 5.0
"""Seconds without an answer after which the hub counts as out of reach."""


def find_weights(assets: str | Path | None = None) -> Path | str:
    """Return the folder of a Whisper model in CTranslate2's format, or why there is none.

    Looked for in this order: ``$POLYMODAL_WHISPER``; ``assets`` and ``$POLYMODAL_ASSETS`` and the folders in them; the
    hub's cache; the hub, asked once per process.

    Raises:
        OptionError: ``$POLYMODAL_WHISPER`` is no such folder.
    """
    named = os.environ.get("POLYMODAL_WHISPER")
    if named:
        missing = [n for n in NEEDED if not (Path(named) / n).is_file()]
        if missing:
            raise OptionError(
                f"$POLYMODAL_WHISPER is {named}, which has no {missing[0]}; name a folder with {', '.join(NEEDED)} "
                "(ct2-transformers-converter makes one), or unset it"
            )
        return Path(named)
    for place in (assets, os.environ.get("POLYMODAL_ASSETS")):
        for model in sorted([*Path(place).glob("model.bin"), *Path(place).glob("*/model.bin")] if place else []):
            if all((model.parent / n).is_file() for n in NEEDED):
                return model.parent
    found = _from_hub()
    if isinstance(found, Path):
        return found
    return f"faster-whisper has no weights ({found}; name a folder with {', '.join(NEEDED)} in $POLYMODAL_WHISPER)"


@cache
def _from_hub() -> Path | str:
    """Return the model's folder in the hub's cache, filled if need be, or why that failed."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    patterns = [*NEEDED, "preprocessor_config.json", "vocabulary.*"]
    # The hub's client has had several HTTP libraries; this is the base of all errors of the one it has now.
    failures: tuple[Any, ...] = (OSError, HTTPException, ValueError, HfHubHTTPError.__bases__[0])
    try:
        return _complete(snapshot_download(REPOSITORY, allow_patterns=patterns, local_files_only=True))
    except OSError:
        if constants.HF_HUB_OFFLINE:
            return f"{REPOSITORY} is not in the cache and HF_HUB_OFFLINE is set"
    try:
        # Asked for by hand, because the client waits much longer for a hub that does not answer.
        with urlopen(f"{constants.ENDPOINT}/api/models/{REPOSITORY}", timeout=PATIENCE) as answer:
            commit = str(json.load(answer)["sha"])
        return _complete(snapshot_download(REPOSITORY, revision=commit, allow_patterns=patterns))
    except (*failures, KeyError) as error:
        return f"{REPOSITORY} cannot be had from {constants.ENDPOINT}: {' '.join(str(error).split())[:200]}"


def _complete(folder: str) -> Path:
    missing = [n for n in NEEDED if not (Path(folder) / n).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} has no {missing[0]}")
    return Path(folder)
