"""Models that no package carries: found on this machine, else downloaded once; always checked."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from polymodal.core import DataError
from polymodal.data.encode import cache_folder
from polymodal.data.progress import progress_bar

PATIENCE = 5.0
"""Seconds without an answer after which a download is given up."""

BLOCK = 1 << 16


@dataclass(frozen=True)
class Asset:
    """A file that must be exactly this one.

    Attributes:
        name: file name in folders and in the cache.
        title: what people call it, for messages.
        url: where it can be had.
        size: bytes.
        sha256: of its content.
    """

    name: str
    title: str
    url: str
    size: int
    sha256: str


FACE_MODEL = Asset(
    "face_landmarker.task",
    "the face model",
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
    3_758_596,
    "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
)

_failed: dict[Asset, str] = {}
"""Why a download failed: said again at once, so that ten thousand clips do not each wait for the network."""


def find_face_model(assets: str | Path | None = None) -> Path:
    """Return the file of MediaPipe's face landmarker; see ``find_asset``."""
    return find_asset(FACE_MODEL, assets)


def find_asset(asset: Asset, assets: str | Path | None = None) -> Path:
    """Return the file of ``asset``.

    Looked for in ``assets``, in ``$POLYMODAL_ASSETS`` and in the cache; else downloaded into the cache, once.

    Args:
        assets: the file itself, or a folder that may hold it under its own name.

    Raises:
        DataError: ``assets`` does not exist, a file found there is not the right one, or it cannot be had at all.
    """
    for place, told_by in ((assets, "--assets"), (os.environ.get("POLYMODAL_ASSETS"), "POLYMODAL_ASSETS")):
        found = _given(asset, Path(place), told_by) if place else None
        if found is not None:
            return found
    kept = cache_folder() / "assets" / asset.name
    if not (kept.is_file() and sha256_of(kept) == asset.sha256):  # a damaged copy in the cache is ours to replace
        _download_once(asset, kept)
    return kept


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}; check the path and its permissions") from None


def _given(asset: Asset, place: Path, told_by: str) -> Path | None:
    """Return the asset at a place that the user named; None where a folder does not hold it."""
    if not place.exists():
        raise DataError(f"{told_by} names {place}, which does not exist; give {asset.name} or the folder that holds it")
    file = place / asset.name if place.is_dir() else place
    if not file.is_file():
        return None
    digest = sha256_of(file)
    if digest != asset.sha256:
        raise DataError(
            f"{file} is not {asset.title} that polymodal uses: its SHA-256 begins with {digest[:12]}, expected "
            f"{asset.sha256[:12]}; get it from {asset.url}"
        )
    return file


def _download_once(asset: Asset, target: Path) -> None:
    """Fetch ``asset`` to ``target``; DataError at once where it has failed before in this process."""
    if asset not in _failed:
        try:
            _download(asset, target)
            return
        except (OSError, HTTPException) as error:
            _failed[asset] = str(getattr(error, "reason", error)) or type(error).__name__
    raise DataError(
        f"{asset.title} {asset.name} is not on this machine and cannot be downloaded ({_failed[asset]}); get it from "
        f"{asset.url} and name its folder with --assets FOLDER or POLYMODAL_ASSETS"
    )


def _download(asset: Asset, target: Path) -> None:
    """Fetch ``asset`` to ``target``, which appears whole and right or not at all; OSError otherwise."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".partial-")
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as out, urlopen(asset.url, timeout=PATIENCE) as answer, progress_bar() as bar:
            task = bar.add_task(f"downloading {asset.title}, bytes", total=asset.size)
            # A page that asks for a login may be of any length; what is too long is wrong already.
            while out.tell() <= asset.size and (block := answer.read(BLOCK)):
                out.write(block)
                bar.advance(task, len(block))
        size = partial.stat().st_size
        if sha256_of(partial) != asset.sha256:
            raise OSError(f"{size} bytes came that are not the file of {asset.size} bytes expected")
        partial.chmod(0o644)  # mkstemp keeps others out
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
