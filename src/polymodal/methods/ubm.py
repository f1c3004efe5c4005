"""Uncertainty-aware Baseline Model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema
from polymodal.methods.base import Seamed, View, fraction, positive
from polymodal.nn.bins import OrderedBins
from polymodal.nn.heads import task_losses
from polymodal.nn.inputs import Inputs, utterance_encoder
from polymodal.nn.sequence import Context, Pooling


class Ubm(Seamed):
    """UBM, the small model of U-ACS (Han et al., 2025, arXiv 2509.04459): a number is a distribution over ordered bins,
    whose entropy says how sure the model is.

    One encoder per modality, concatenation, a perceptron, then a softmax over bins with evenly spread centres; the
    number is the mean of the centres. Probabilities are handed out as the representation ``<target>/bins``. Classes get
    a plain softmax. ``polymodal fit u-acs`` puts a larger model behind it.

    The paper's tables could not be read. Reconstructed here: the backbone; labels shared between the two nearest
    centres; the loss, soft cross entropy + regression * absolute error, which is divided by ``regression`` so that the
    task's own loss stands in the log as it is everywhere. The temperature of the bins belongs to the cascade that fits
    it: it changes how sure an answer is, not the answer.

    Args:
        schema: what the batches hold.
        bins: of a number; 7 are the whole numbers of CMU-MOSI, 11 the labels of CH-SIMS.
        regression: weight of the absolute error beside the cross entropy.
        width: features of each modality's vector and of the fused vector; even for recurrent contexts.
        context: network over the steps of a sequence: bidirectional ``lstm`` or ``gru``, ``transformer``, ``none``.
        layers: its layers.
        pool: how its states become one vector: ``last``, ``mean``, ``attention``.
        dropout: after the input map, between layers and around the perceptron.
    """

    family = "baseline"
    paper = "UBM of U-ACS, Han et al., 2025, arXiv:2509.04459"

    def __init__(
        self,
        schema: Schema,
        *,
        bins: int = 7,
        regression: float = 0.5,
        width: int = 64,
        context: Context = "lstm",
        layers: int = 1,
        pool: Pooling = "attention",
        dropout: float = 0.2,
    ) -> None:
        super().__init__(schema)
        positive(regression=regression, width=width, layers=layers)
        if bins < 2:
            raise OptionError(f"bins must be 2 or more, got {bins}")
        fraction(dropout=dropout)
        self.regression = regression
        self.inputs = Inputs(schema)
        self.encoders = nn.ModuleDict()
        for name, modality in self.inputs.modalities.items():
            self.encoders[name] = utterance_encoder(
                modality, width, context=context, layers=layers, pool=pool, dropout=dropout
            )
        self.mix = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(width * len(self.encoders), width), nn.ReLU(), nn.Dropout(dropout)
        )
        self.heads = nn.ModuleList(
            OrderedBins(t, width, bins) if t.spec.answer == "number" else nn.Linear(width, t.spec.width)
            for t in schema.joint_targets
        )

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return one vector per modality."""
        return {name: self.encoders[name](stream) for name, stream in self.inputs(batch).items()}

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return predictions, one vector per modality, the fused one, and ``<target>/bins`` of every number."""
        fused = self.mix(torch.cat(list(vectors.values()), dim=1))
        predictions: dict[str, Tensor] = {}
        shown = {**vectors, "fused": fused}
        for target, head in zip(self.schema.joint_targets, self.heads, strict=True):
            answer = head(fused)
            if isinstance(head, OrderedBins):
                shown[f"{target.name}/bins"] = answer
                answer = head.expected(answer)
            else:
                answer = target.spec.prediction(answer)
            predictions[target.name] = answer
        return Output(predictions, shown)

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task's loss and, for numbers, the cross entropy of the bins over ``regression``."""
        losses = task_losses(self.schema, batch, output)
        binned = [head for head in self.heads if isinstance(head, OrderedBins)]
        for head in binned:
            name = head.target.name
            loss = head.cross_entropy(output.representations[f"{name}/bins"], batch.targets[name])
            losses[f"bins/{name}"] = loss / (self.regression * len(self.heads))
        return losses

    def prepare(self, view: View) -> None:
        """Spread the bins of numbers without a range by the training labels."""
        free = [h for h in self.heads if isinstance(h, OrderedBins) and h.target.range is None]
        if free:
            labels = [batch.targets for batch in view.train()]
            for head in free:
                head.span(torch.cat([found[head.target.name] for found in labels]))
