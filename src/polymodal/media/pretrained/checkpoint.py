"""Networks of transformers by name: a folder, or a repository of the hub at one commit."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import Any

from polymodal.core import OptionError
from polymodal.core.options import split_source
from polymodal.media.extraction import PRETRAINED
from polymodal.media.words.weights import reach

DIGEST = 24
"""Hexadecimal digits that tell one content of a folder from another."""

_COMMIT = re.compile("[0-9a-f]{40}")
_SMALL = ("*.json", "*.txt", "*.model", "README.md")
_WEIGHTS = (".safetensors", ".bin")


@dataclass(frozen=True)
class Named:
    """A name as it is written: ``hf:PLACE@REVISION?option=value``.

    Attributes:
        place: ``owner/name`` on the hub, or a folder.
        revision: commit, branch or tag; of a folder the digest of its files; empty: what is there.
        options: as text.
    """

    place: str
    revision: str
    options: dict[str, str]

    @classmethod
    def read(cls, spec: str) -> Named:
        """Read ``spec``; OptionError for options that are not ``name=value``."""
        name, options = split_source(spec.removeprefix(PRETRAINED))
        place, at, revision = name.rpartition("@")
        return cls(name, "", options) if not at or Path(name).exists() else cls(place, revision, options)

    def at(self, revision: str) -> str:
        """Return the name with this revision."""
        query = "&".join(f"{name}={value}" for name, value in self.options.items())
        return f"{PRETRAINED}{self.place}@{revision}" + (f"?{query}" if query else "")


@dataclass(frozen=True)
class Checkpoint:
    """The files of a network.

    Attributes:
        folder: where they are.
        revision: commit on the hub, or digest of the folder's files.
        datasets: what its card says that it was trained on.
    """

    folder: Path
    revision: str
    datasets: tuple[str, ...]


def find_checkpoint(named: Named) -> Checkpoint:
    """Return the files of a network, downloaded once if need be.

    A commit in the hub's cache is taken from there without asking the hub.

    Raises:
        OptionError: no such folder, repository or revision, files that have changed, or no network.
    """
    folder = Path(named.place)
    if folder.is_dir():
        return _local(folder, named.revision)
    if folder.is_absolute() or named.place.startswith((".", "~")) or named.place.count("/") != 1:
        raise OptionError(f"there is no folder {named.place}; name one that holds a network, or hf:OWNER/NAME")
    found = _from_hub(named.place, named.revision)
    return Checkpoint(found, found.name, datasets_of(found))


def _local(folder: Path, revision: str) -> Checkpoint:
    if not (folder / "config.json").is_file():
        raise OptionError(f"{folder} has no config.json; name a folder that save_pretrained of transformers wrote")
    digest = digest_of(folder)
    if revision and digest != revision:
        raise OptionError(
            f"the files in {folder} are not those that were used before (now {digest}, then {revision}); bring those "
            "back, or extract and train anew"
        )
    return Checkpoint(folder, digest, datasets_of(folder))


def digest_of(folder: Path) -> str:
    """Return what changes with any file of a network, its card apart."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in (*_WEIGHTS, ".json", ".txt", ".model"):
            with file.open("rb") as opened:
                digest.update(file.name.encode() + hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:DIGEST]


def datasets_of(folder: Path) -> tuple[str, ...]:
    """Return the data sets that the card (``README.md``) in ``folder`` names; none where it names none."""
    from huggingface_hub.repocard import metadata_load

    card = folder / "README.md"
    try:
        named = (metadata_load(card) or {}).get("datasets") if card.is_file() else None
    except (OSError, ValueError):  # a card that is damaged says nothing
        return ()
    named = [named] if isinstance(named, str) else named
    return tuple(map(str, named)) if isinstance(named, list) else ()


@cache
def _from_hub(place: str, revision: str) -> Path:
    """Return the folder of one commit in the hub's cache, filled if need be; asked once per process."""
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if _COMMIT.fullmatch(revision) and (kept := _kept(place, revision)):
        return kept
    failures: tuple[Any, ...] = (OSError, HTTPException, HfHubHTTPError.__bases__[0])
    try:
        if constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE is set")
        reach(constants.ENDPOINT)
        about = HfApi().model_info(place, revision=revision or None)
        names = [file.rfilename for file in about.siblings or ()]
        weights = next((end for end in _WEIGHTS if any(n.endswith(end) and "/" not in n for n in names)), "")
        return Path(snapshot_download(place, revision=about.sha, allow_patterns=[*_SMALL, f"*{weights}"]))
    except RevisionNotFoundError:
        raise OptionError(f"{place} has no revision {revision!r}; name a commit, branch or tag of it") from None
    except RepositoryNotFoundError:
        raise OptionError(
            f"the hub has no network {place}, or it is private or wants its terms accepted; check the name, or log in "
            "with: hf auth login"
        ) from None
    except HFValidationError as error:
        raise OptionError(f"{place!r} cannot be a name on the hub: {' '.join(str(error).split())[:200]}") from None
    except failures as error:
        if kept := _kept(place, revision or "main"):
            return kept
        reason = " ".join(str(error).split())[:200]
        raise OptionError(
            f"{place}{f'@{revision}' if revision else ''} is not in the hub's cache and cannot be had from "
            f"{constants.ENDPOINT} ({reason}); connect once, or name a folder"
        ) from None


def _kept(place: str, revision: str) -> Path | None:
    """Return the folder of a revision in the hub's cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(place, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
