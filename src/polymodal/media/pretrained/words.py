"""States of networks that read, of what was said."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np

from polymodal.data.encode import transformer_encoder
from polymodal.data.ragged import Array
from polymodal.media.pretrained.checkpoint import Checkpoint, Named
from polymodal.media.pretrained.network import CODE


class Reader:
    """Token states of a text encoder of transformers, as ``data.encode`` makes them.

    Args:
        named: its name.
        found: its files.

    Options in the name: ``layers`` and ``max_tokens``, see ``data.encode.transformer_encoder``.

    Raises:
        OptionError: files that cannot be loaded, or a network that does not read.
    """

    def __init__(self, named: Named, found: Checkpoint) -> None:
        query = "&".join(f"{name}={value}" for name, value in named.options.items())
        self.datasets = found.datasets
        encoder = transformer_encoder(f"{found.folder}?{query}" if query else str(found.folder))
        self.width, self._encode = encoder.width, encoder.encode
        self.read("warm")  # what cannot be loaded is told now, not with the first clip
        self.version = (
            f"hf:{named.place}@{found.revision}, transformers {version('transformers')}, polymodal pretrained {CODE}"
        )

    def read(self, text: str) -> Array:
        """Return the states of ``text``, (tokens, width) float32."""
        return np.asarray(self._encode([text])[0], np.float32)
