"""Self-MM: labels of single modalities, made from the label of the whole."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema, Stream, nearest
from polymodal.methods.base import Seamed, View, fraction, positive
from polymodal.nn.heads import task_losses
from polymodal.nn.inputs import Inputs, VectorEncoder, as_sequence
from polymodal.nn.own_labels import Branch, OwnLabels
from polymodal.nn.sequence import TextPool, pool_steps
from polymodal.nn.subnet import FinalState


class SelfMM(Seamed):
    """Self-supervised Multi-task Multimodal sentiment analysis network (Yu et al., AAAI 2021, arXiv 2102.04830).

    Every modality has a prediction of its own beside that of the fusion. Its label is generated without parameters:
    from where the modality's features lie between the centres of positive and negative samples, compared with where
    the fused features lie. The error of modality s weighs ``tanh(|y_s - y|)``: it learns what is specific to it.

    A memory keeps features and labels of every training sample; it is no part of the weights. It is filled in the first
    epoch; from a sample's second visit on, each visit moves its labels (``momentum``), after the loss has used them.

    Departures from MMSA's code: scales are read relative to their middle (of the training labels where the range is
    unknown) and in units in which they reach 1 at least and 3 at most, as the field's scales do, for on others
    every weight would be 1, or 0; a visit of the sample takes the place of the
    epoch, as an absent modality is not seen in every one; a class without a sample leaves labels as they are (MMSA:
    NaN), and so does a modality's absence; no ratio to a fused position of 0 is taken. All modalities' encoders have
    the rate of the rest. Training in several processes, the memory follows the samples of the first one.

    Args:
        schema: what the batches hold.
        width: features of each modality's encoder and own branch.
        widths: modality -> the same, where they differ.
        fused: features of the fusion.
        dropout: before the branch of each modality.
        fused_dropout: before the fusion.
        text_pool: how token states become a vector: their ``mean``, or the ``first`` as in the paper, for a transformer
            with a [CLS] token.

    Output: ``fused`` (batch, fused); per modality n its features ``n`` (batch, width) and its own predictions ``y_<n>``
    (batch, targets), zero where it is absent.
    """

    family = "labels"
    paper = (
        "Yu et al., Learning Modality-Specific Representations with Self-Supervised Multi-Task Learning for Multimodal "
        "Sentiment Analysis, AAAI 2021, arXiv:2102.04830"
    )
    tasks = frozenset({"regression"})

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 32,
        widths: dict[str, int] = {},  # noqa: B006 (never changed)
        fused: int = 128,
        dropout: float = 0.1,
        fused_dropout: float = 0.0,
        text_pool: TextPool = "mean",
    ) -> None:
        super().__init__(schema)
        positive(width=width, fused=fused, **{f"width of {n}": w for n, w in widths.items()})
        fraction(dropout=dropout, fused_dropout=fused_dropout)
        if text_pool not in get_args(TextPool):
            raise OptionError(f"text_pool must be one of {', '.join(get_args(TextPool))}, got {text_pool!r}")
        for name in widths:
            if name not in schema.names:
                raise OptionError(f"widths names {name!r}{nearest(name, schema.names)}")
        self.text_pool = text_pool
        self.inputs = Inputs(schema)
        texts = schema.language
        self.encoders = nn.ModuleDict()
        self.branches = nn.ModuleDict()
        joined, sizes = 0, [fused]
        for name, modality in self.inputs.modalities.items():
            size = widths.get(name, width)
            if name not in texts:
                vector = modality.kind == "vector"
                self.encoders[name] = (
                    VectorEncoder(modality.width, size) if vector else FinalState(modality.width, size, size, 0.0)
                )
            given = modality.width if name in texts else size
            self.branches[name] = Branch(schema, given, size, dropout)
            joined += given
            sizes.append(size)
        self.fusion = Branch(schema, joined, fused, fused_dropout)
        self.memory = OwnLabels(schema, sizes)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return one vector per modality."""
        return {n: self._encode(n, stream) for n, stream in self.inputs(batch).items()}

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return predictions and the representations named above."""
        fused, predictions = self.fusion(torch.cat(list(vectors.values()), dim=1))
        named = {"fused": fused}
        for (name, vector), here in zip(vectors.items(), present.unsqueeze(2).unbind(1), strict=True):
            features, own = self.branches[name](vector)
            named[name] = features * here
            named[f"y_{name}"] = torch.stack(list(own.values()), dim=1) * here
        return Output(predictions, named)

    def _encode(self, name: str, stream: Stream) -> Tensor:
        if name in self.encoders:
            return self.encoders[name](stream)
        stream = as_sequence(stream)
        return pool_steps(stream.tensor, stream.mask, self.text_pool)

    def prepare(self, view: View) -> None:
        """Make room for every training sample with labels."""
        self.memory.fill(view.train())

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms and, in training, ``unimodal_<n>`` for every modality, of samples with all labels;
        moves the memory on."""
        losses = task_losses(self.schema, batch, output)
        return losses | self.memory.losses(batch, output.representations) if self.training else losses
