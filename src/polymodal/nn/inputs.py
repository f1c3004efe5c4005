"""From a batch to tensors: the front door of every method."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from torch import Tensor, nn

from polymodal.core import Batch, Modality, Schema, Stream
from polymodal.core.schema import ENCODED
from polymodal.nn.patches import PatchEncoder, PictureEncoder
from polymodal.nn.pictures import PictureTransformer
from polymodal.nn.renamed import load_renamed
from polymodal.nn.sequence import Context, Pooling, SequenceEncoder
from polymodal.nn.text import HashedWords, TextEncoder


class Inputs(nn.Module):
    """Gives every modality as a tensor stream: raw ones pass through their encoder, the others through unchanged.

    The encoder of a modality is what the schema says (``Modality.encoder`` and ``tuning``). Raw text: hashed words
    trained from scratch (``bow``, the default) or a transformer (a name as in ``nn.text.load_transformer``). Pixels: a
    small Mixer (``patches``, the default) or a vision transformer (``nn.pictures``); both make an image a sequence of
    patches and frames a sequence of vectors.

    Attributes:
        encoders: modality -> module that turns its stream into a sequence or vector of its ``width``.
        modalities: the schema's modalities as they leave: kind ``sequence`` or ``vector``, with their width.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict()
        self.modalities: dict[str, Modality] = {}
        for modality in schema.modalities:
            if modality.kind in ENCODED:
                module = _encoder(modality)
                self.encoders[modality.name] = module
                modality = Modality(modality.name, "sequence", module.width)
            self.modalities[modality.name] = modality
        load_renamed(self, "texts.", "encoders.")

    def forward(self, batch: Batch, *, raw: Collection[str] = ()) -> dict[str, Stream]:
        """Return modality name -> stream with a tensor, in schema order; those named in ``raw`` as they come."""
        encoded = self.encoders.keys() - set(raw)
        return {n: self.encoders[n](s) if n in encoded else s for n, s in batch.streams.items()}

    def transformer(self, name: str) -> TextEncoder | None:
        """Return the pre-trained encoder of modality ``name``, None where it has none."""
        found = dict(self.encoders.items()).get(name)
        return found if isinstance(found, TextEncoder) else None


def _encoder(modality: Modality) -> HashedWords | TextEncoder | PictureEncoder:
    """Return the encoder of a raw modality: one branch per kind."""
    name = modality.encoder or ENCODED[modality.kind]
    if modality.shape:
        return PatchEncoder(modality) if name == "patches" else PictureTransformer(modality)
    return HashedWords() if name == "bow" else TextEncoder(name, tuning=modality.tuning)


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


class Projected(nn.Module):
    """An utterance encoder, then a map of its vector: a tensor stream -> ``(batch, width)``, zero where absent.

    Args:
        utterance: as from ``utterance_encoder``.
        output: the map.
        dropout: of the features that enter.
    """

    def __init__(self, utterance: SequenceEncoder | VectorEncoder, output: nn.Module, dropout: float = 0.0) -> None:
        super().__init__()
        self.drop, self.utterance, self.output = nn.Dropout(dropout), utterance, output

    def features(self, stream: Stream) -> Tensor:
        """Return what enters the map."""
        return self.utterance(replace(stream, values=self.drop(stream.tensor)))

    def forward(self, stream: Stream) -> Tensor:
        """Return one vector per sample."""
        return self.output(self.features(stream)) * stream.present[:, None]


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


def vector_encoders(
    modalities: Mapping[str, Modality], texts: Collection[str], width: int, *, layers: int, dropout: float
) -> nn.ModuleDict:
    """Return modality -> ``Projected`` encoder: convolution, transformer, mean over steps, linear map.

    Args:
        modalities: as in ``Inputs.modalities``.
        texts: modalities whose states bring their context along: they have no convolution and no transformer.
        width: features of each vector.
        layers: of the transformers.
        dropout: inside the encoders.
    """
    encoders = nn.ModuleDict()
    for name, modality in modalities.items():
        depth = 0 if name in texts else layers
        context: Context = "transformer" if depth else "none"
        utterance = utterance_encoder(
            modality, width, context=context, layers=depth, pool="mean", kernel=3 if depth else 1, dropout=dropout
        )
        encoders[name] = Projected(utterance, nn.Linear(width, width))
    return encoders
