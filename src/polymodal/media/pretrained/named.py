"""From names in an extraction to networks, each at one revision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from polymodal.media.extraction import PRETRAINED, STREAMS, WHISPER, Extraction
from polymodal.media.pretrained.checkpoint import Named, find_checkpoint


def is_network(features: str) -> bool:
    """Whether a network makes these features."""
    return features.startswith(PRETRAINED) or features.partition("?")[0] == WHISPER


def pinned(extraction: Extraction) -> Extraction:
    """Return ``extraction`` with the revision of every network of transformers that it names.

    Raises:
        OptionError: one that cannot be had, see ``find_checkpoint``.
    """
    audio, vision = (",".join(map(_at, getattr(extraction, name).split(","))) for name in STREAMS)
    return replace(extraction, audio=audio, vision=vision, reader=_at(extraction.reader))


def _at(features: str) -> str:
    if not features.startswith(PRETRAINED):
        return features
    named = Named.read(features)
    return named.at(find_checkpoint(named).revision)


def local_networks(options: Mapping[str, Any]) -> list[str]:
    """Return the folders that the options of an extraction name as networks."""
    parts = [part for name in (*STREAMS, "reader") for part in str(options.get(name, "")).split(",")]
    places = [Named.read(part).place for part in parts if part.startswith(PRETRAINED)]
    return [place for place in places if Path(place).is_absolute()]


def open_network(features: str, modality: str) -> Any:
    """Return the ``Whisper`` or ``Speech`` (``audio``), ``Sight`` (``vision``) or ``Reader`` (``text``) of this name.

    Raises:
        OptionError: it cannot be had, or is of another kind.
    """
    if modality == "audio":
        from polymodal.media.pretrained.speech import Speech, Whisper

        if not features.startswith(PRETRAINED):
            return Whisper.named(features)
        kind: Any = Speech
    elif modality == "vision":
        from polymodal.media.pretrained.sight import Sight as kind
    else:
        from polymodal.media.pretrained.words import Reader as kind
    named = Named.read(features)
    return kind(named, find_checkpoint(named))
