"""MISA: what modalities share and what is each one's own, in separate subspaces."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Output, Schema, Stream
from polymodal.methods.base import Seamed, divides, fraction, positive
from polymodal.nn.discrepancy import moment_discrepancy
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.inputs import Inputs
from polymodal.nn.masking import masked_mean, mean_rows
from polymodal.nn.sequence import BiRecurrent


def overlap(x: Tensor, y: Tensor, rows: Tensor) -> Tensor:
    """Mean square of ``X^T Y``, the soft orthogonality of two representations of the same samples (MISA, eq. 8).

    Columns are centred over the batch, then each row divided by its length, through which no gradient flows. The mean
    over the width x width entries (as in the released code) replaces the paper's sum.

    Args:
        x: ``(batch, width)``.
        y: ``(batch, width)``.
        rows: ``(batch,)`` bool, samples that have both.
    """
    with torch.autocast(x.device.type, enabled=False):
        return (_unit_rows(x.float(), rows).T @ _unit_rows(y.float(), rows)).square().mean()


def _unit_rows(x: Tensor, rows: Tensor) -> Tensor:
    x = (x - mean_rows(x, rows)) * rows[:, None]
    return x / (x.detach().norm(dim=1, keepdim=True) + 1e-6)


class MISA(Seamed):
    """Modality-Invariant and -Specific Representations (Hazarika et al., ACM Multimedia 2020, arXiv 2005.03547).

    One vector per modality goes through an encoder that all modalities share and one of its own; the two are made
    alike across modalities and unlike within one. The two vectors of every modality are fused as tokens of a sequence
    by one self-attention layer. Loss: task (mean squared error for a regression) + ``alpha`` * similarity (mean over
    pairs of modalities) + ``beta`` * difference (sum over pairs of spaces) + ``gamma`` * reconstruction (mean over
    modalities). Text is the mean of its token states; other sequences go through two bidirectional LSTMs.

    Departures from the released code and MMSA's: every stream is read to its own end (theirs cuts audio and video to
    the number of text tokens); the discrepancy has a gradient where two batches coincide; no idle modules. The
    adversarial variant, a discriminator in place of central moments, is left out. Any number of modalities; a single
    one has no similarity term, and vectors need no LSTM. An absent modality has no token and takes part in no loss.

    Args:
        schema: what the batches hold.
        width: features of every representation and token.
        heads: attention heads of the fusion; must divide ``width``.
        feedforward: units of the fusion's feed-forward layer.
        hidden: units of each LSTM and direction; null for as many as the modality has features.
        alpha: weight of the similarity; 0 leaves it out.
        beta: weight of the difference; 0 leaves it out.
        gamma: weight of the reconstruction; 0 leaves it out, with its decoders.
        dropout: between the two layers after the fusion.

    Output: ``fused``; per modality n the vector ``u_<n>``, and its ``private_<n>`` and ``shared_<n>`` parts, all
    (batch, width), zero where the modality is absent.
    """

    family = "attention"
    paper = (
        "Hazarika et al., MISA: Modality-Invariant and -Specific Representations for Multimodal Sentiment Analysis, "
        "ACM Multimedia 2020, arXiv:2005.03547"
    )

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 128,
        heads: int = 2,
        feedforward: int = 2048,
        hidden: int | None = None,
        alpha: float = 1.0,
        beta: float = 0.3,
        gamma: float = 1.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(schema)
        positive(width=width, heads=heads, feedforward=feedforward, hidden=1 if hidden is None else hidden)
        fraction(dropout=dropout)
        divides(width, heads=heads)
        if min(alpha, beta, gamma) < 0:
            raise OptionError(f"alpha, beta and gamma must not be negative, got {alpha}, {beta} and {gamma}")
        self.alpha, self.beta, self.gamma = alpha, beta, gamma
        self.inputs = Inputs(schema)
        texts = schema.language
        modalities, names = self.inputs.modalities, schema.names
        utterances = {n: _Utterance(m, hidden, n in texts) for n, m in modalities.items()}
        self.utterances = nn.ModuleDict(utterances)
        self.projections = nn.ModuleDict({n: _projection(e.width, width) for n, e in utterances.items()})
        self.private = nn.ModuleDict({n: nn.Linear(width, width) for n in names})
        self.shared = nn.Linear(width, width)
        self.decoders = nn.ModuleDict({n: nn.Linear(width, width) for n in names if gamma})
        self.attention = nn.TransformerEncoderLayer(width, heads, feedforward, 0.1, batch_first=True)
        self.mix = nn.Sequential(nn.Linear(2 * len(names) * width, len(names) * width), nn.Dropout(dropout), nn.ReLU())
        self.heads = Heads(schema, len(names) * width)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return u per modality."""
        streams = self.inputs(batch).items()
        return {n: self.projections[n](self.utterances[n](s)) * s.present[:, None] for n, s in streams}

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return predictions and every representation named above."""
        here = dict(zip(vectors, present.unsqueeze(2).unbind(1), strict=True))
        private = {n: torch.sigmoid(self.private[n](x)) * here[n] for n, x in vectors.items()}
        shared = {n: torch.sigmoid(self.shared(x)) * here[n] for n, x in vectors.items()}
        tokens = torch.stack([*private.values(), *shared.values()], dim=1)  # (batch, 2 * modalities, width)
        fused = self.mix(self._attend(tokens, present.repeat(1, 2)).flatten(1))
        named = {f"u_{n}": x for n, x in vectors.items()}
        named |= {f"private_{n}": x for n, x in private.items()} | {f"shared_{n}": x for n, x in shared.items()}
        return Output(self.heads(fused), {"fused": fused, **named})

    def _attend(self, tokens: Tensor, there: Tensor) -> Tensor:
        hidden = ~there
        # A sample without any modality would make the softmax NaN: it looks at its first token, which is then zeroed.
        hidden[:, 0] &= there.any(1)
        return self.attention(tokens, src_key_padding_mask=hidden) * there[:, :, None]

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms and, in training, ``similarity``, ``difference`` and ``reconstruction``, weighted."""
        losses = task_losses(self.schema, batch, output, squared=True)
        if not self.training:
            return losses
        if self.alpha and len(batch.streams) > 1:
            losses["similarity"] = self.alpha * self.similarity_loss(batch, output)
        if self.beta:
            losses["difference"] = self.beta * self.difference_loss(batch, output)
        if self.gamma:
            losses["reconstruction"] = self.gamma * self.reconstruction_loss(batch, output)
        return losses

    def similarity_loss(self, batch: Batch, output: Output) -> Tensor:
        """Return the discrepancy of the shared vectors' distributions, mean over pairs of modalities."""
        shared = {n: output.representations[f"shared_{n}"].float() for n in batch.streams}
        pairs = combinations(batch.streams.items(), 2)
        terms = [moment_discrepancy(shared[a], shared[b], s.present, t.present) for (a, s), (b, t) in pairs]
        return torch.stack(terms).mean()

    def difference_loss(self, batch: Batch, output: Output) -> Tensor:
        """Return the overlap of private with shared, and of private with private, summed over modalities and pairs."""
        found, here = output.representations, {n: s.present for n, s in batch.streams.items()}
        terms = [overlap(found[f"private_{n}"], found[f"shared_{n}"], here[n]) for n in here]
        for a, b in combinations(here, 2):
            terms.append(overlap(found[f"private_{a}"], found[f"private_{b}"], here[a] & here[b]))
        return torch.stack(terms).sum()

    def reconstruction_loss(self, batch: Batch, output: Output) -> Tensor:
        """Return the mean squared error of every modality's vector, decoded from the sum of its two parts."""
        found, terms = output.representations, []
        for name, stream in batch.streams.items():
            decoded = self.decoders[name](found[f"private_{name}"] + found[f"shared_{name}"])
            error = (decoded.float() - found[f"u_{name}"].float()).square()
            terms.append(mean_rows(error, stream.present).mean())
        return torch.stack(terms).mean()


class _Utterance(nn.Module):
    """A tensor stream -> ``(batch, width)``: the mean of text, a vector as it is, else the final states of two
    bidirectional LSTMs with a layer normalisation between them."""

    def __init__(self, modality: Modality, hidden: int | None, text: bool) -> None:
        super().__init__()
        self.ordered = modality.kind == "sequence" and not text
        self.width = modality.width
        if self.ordered:
            hidden = hidden or modality.width
            self.lower = BiRecurrent("lstm", modality.width, hidden, layers=1, dropout=0.0)
            self.norm = nn.LayerNorm(2 * hidden)
            self.upper = BiRecurrent("lstm", 2 * hidden, hidden, layers=1, dropout=0.0)
            self.width = 4 * hidden

    def forward(self, stream: Stream) -> Tensor:
        if stream.lengths is None:
            return stream.tensor
        if not self.ordered:
            return masked_mean(stream.tensor, stream.mask)
        states, low = self.lower(stream.tensor, stream.lengths)
        _, high = self.upper(self.norm(states), stream.lengths)
        return torch.cat([low, high], dim=1)


def _projection(width_in: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width_in, width), nn.ReLU(), nn.LayerNorm(width))
