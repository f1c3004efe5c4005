"""From a batch to tensors: the front door of every method."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor, nn

from polymodal.core import Batch, Modality, Schema, Stream
from polymodal.core.schema import ENCODED
from polymodal.nn.patches import PatchEncoder
from polymodal.nn.sequence import Context, Pooling, SequenceEncoder
from polymodal.nn.text import HashedWords, TextEncoder, Tuning


class Inputs(nn.Module):
    """Gives every modality as a tensor stream: raw ones pass through their encoder, the others through unchanged.

    Text becomes a sequence of words or tokens, an image one of patches, frames one of vectors.

    Args:
        schema: what the batches hold.
        text_encoder: ``bow`` (hashed words, trained from scratch) or a name as in ``nn.text.load_transformer``.
        text_tuning: how a transformer trains, see ``nn.text.TextEncoder``.

    Attributes:
        encoders: modality -> module that turns its stream into a sequence or vector of its ``width``.
        modalities: the schema's modalities as they leave: kind ``sequence`` or ``vector``, with their width.
    """

    def __init__(self, schema: Schema, *, text_encoder: str = "bow", text_tuning: Tuning = "full") -> None:
        super().__init__()
        self.encoders = nn.ModuleDict()
        self.modalities: dict[str, Modality] = {}
        for modality in schema.modalities:
            if modality.kind in ENCODED:
                module = _encoder(modality, text_encoder, text_tuning)
                self.encoders[modality.name] = module
                modality = Modality(modality.name, "sequence", module.width)
            self.modalities[modality.name] = modality
        self.register_load_state_dict_pre_hook(_rename)

    def forward(self, batch: Batch, *, raw: Collection[str] = ()) -> dict[str, Stream]:
        """Return modality name -> stream with a tensor, in schema order; those named in ``raw`` as they come."""
        encoded = self.encoders.keys() - set(raw)
        return {n: self.encoders[n](s) if n in encoded else s for n, s in batch.streams.items()}

    def transformer(self, name: str) -> TextEncoder | None:
        """Return the pre-trained encoder of modality ``name``, None where it has none."""
        found = dict(self.encoders.items()).get(name)
        return found if isinstance(found, TextEncoder) else None


def _encoder(modality: Modality, text_encoder: str, text_tuning: Tuning) -> HashedWords | TextEncoder | PatchEncoder:
    """Return the encoder of a raw modality: one branch per kind."""
    if modality.shape:
        return PatchEncoder(modality)
    return HashedWords() if text_encoder == "bow" else TextEncoder(text_encoder, tuning=text_tuning)


def _rename(module: nn.Module, weights: dict[str, Any], prefix: str, *_: Any) -> None:
    """Load runs from before an encoder was the modality's own: there, only texts had one."""
    for name in [n for n in weights if n.startswith(f"{prefix}texts.")]:
        weights[name.replace(f"{prefix}texts.", f"{prefix}encoders.", 1)] = weights.pop(name)


def as_sequence(stream: Stream) -> Stream:
    """Return a vector stream as a sequence of one step; a sequence stream as it is."""
    if stream.lengths is not None:
        return stream
    return Stream(stream.tensor.unsqueeze(1), stream.present.long(), stream.present)


class VectorEncoder(nn.Module):
    """Two-layer perceptron on a vector stream: ``(batch, width_in)`` -> ``(batch, width)``; zeros where absent."""

    def __init__(self, width_in: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width_in, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width), nn.ReLU()
        )

    def forward(self, stream: Stream) -> Tensor:
        """Return one vector per sample."""
        return self.layers(stream.tensor) * stream.present.unsqueeze(1)


def utterance_encoder(
    modality: Modality,
    width: int,
    *,
    context: Context = "lstm",
    layers: int = 1,
    pool: Pooling = "attention",
    kernel: int = 1,
    dropout: float = 0.0,
) -> SequenceEncoder | VectorEncoder:
    """Return the encoder that turns a tensor stream of ``modality`` into ``(batch, width)``; options as in
    ``SequenceEncoder``, of which a vector modality uses only ``dropout``."""
    if modality.kind == "vector":
        return VectorEncoder(modality.width, width, dropout)
    return SequenceEncoder(
        modality.width, width, context=context, layers=layers, pool=pool, kernel=kernel, dropout=dropout
    )
