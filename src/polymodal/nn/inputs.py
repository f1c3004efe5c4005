"""From a batch to tensors: the front door of every method."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn

from polymodal.core import Batch, Modality, Schema, Stream
from polymodal.nn.sequence import Context, Pooling, SequenceEncoder
from polymodal.nn.text import HashedWords, TextEncoder, Tuning


class Inputs(nn.Module):
    """Gives every modality as a tensor stream: text becomes a sequence, the others pass through.

    Args:
        schema: what the batches hold.
        text_encoder: ``bow`` (hashed words, trained from scratch) or a name as in ``nn.text.load_transformer``.
        text_tuning: how a transformer trains, see ``nn.text.TextEncoder``.

    Attributes:
        modalities: the schema's modalities as they leave: kind ``sequence`` or ``vector``, with their width.
    """

    def __init__(self, schema: Schema, *, text_encoder: str = "bow", text_tuning: Tuning = "full") -> None:
        super().__init__()
        self.texts = nn.ModuleDict()
        self.modalities: dict[str, Modality] = {}
        for modality in schema.modalities:
            if modality.kind == "text":
                module = HashedWords() if text_encoder == "bow" else TextEncoder(text_encoder, tuning=text_tuning)
                self.texts[modality.name] = module
                modality = Modality(modality.name, "sequence", module.width)
            self.modalities[modality.name] = modality

    def forward(self, batch: Batch, *, raw: Collection[str] = ()) -> dict[str, Stream]:
        """Return modality name -> stream with a tensor, in schema order; those named in ``raw`` as they come."""
        encoded = self.texts.keys() - set(raw)
        return {n: self.texts[n](s) if n in encoded else s for n, s in batch.streams.items()}

    def transformer(self, name: str) -> TextEncoder | None:
        """Return the pre-trained encoder of modality ``name``, None where it has none."""
        found = dict(self.texts.items()).get(name)
        return found if isinstance(found, TextEncoder) else None


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
