"""DLF: what a modality shares, what is its own, and language as the place where the latter meets."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema, Stream, nearest
from polymodal.methods.base import Method, divides, fraction, per_modality, positive
from polymodal.nn.attention import CrossModalStack
from polymodal.nn.axis import resample
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.inputs import Inputs, as_sequence
from polymodal.nn.masking import masked_error, masked_mean, mean_where
from polymodal.nn.subnet import final_state

STEPS = 46
"""Steps to which a shared sequence is brought before its alignment: the paper's 50 less those a kernel of 5 takes."""

MARGIN = 0.15
"""Least difference of cosines in the triplet loss per unit of label difference, on CMU-MOSI's scale from -3 to 3."""


class DLF(Method):
    """Disentangled-Language-Focused sentiment analysis (Wang et al., AAAI 2025, arXiv 2412.12225).

    1. A convolution takes every modality m to steps H_m; a transformer of its own makes S_m of them and one for all
       modalities C_m. A decoder rebuilds H_m from both, and S_m must come out again of what it rebuilt.
    2. The language-focused attractor: language steps attend to those of each other modality in S (never the reverse).
       The last steps are the specific vectors; the last steps of transformers over C_m are together the shared one.
    3. Each vector predicts by itself, in training; all of them, through sigmoids, predict the result together.

    Loss: task + own heads (language ``focus_weight``-fold) + shared head + ``refine`` * (reconstruction + cycle +
    ``separate`` * (orthogonality + triplet)), each summed over modalities, the triplet over all pairs of them.

    Departures: padding is never seen and the last true step is read (the code does neither); shared sequences are
    brought to 46 steps before the linear map that the triplet loss compares, where the code needs inputs of one length;
    a sequence shorter than the kernel is padded to it, a vector has kernel 1; any number of modalities and the three
    tasks. Reconstructed: no dropout in a transformer's layers but on attention weights; labels in the triplet loss are
    scaled to [-3, 3]; two classes are 1 apart, two sets of labels as many as they differ in; of several targets the
    first one counts. Absent modalities are left out of the refinement and seen as zeros elsewhere; without language
    only the shared vector says anything. Not shown here: that this attraction beats one between all pairs. On planted
    data a linear probe still finds the modality in C_m, more often than by chance, if less than in S_m.

    Args:
        schema: what the batches hold.
        width: features of every step after the convolution.
        heads: attention heads; must divide ``width``.
        layers: of every transformer; those after the attraction have one more.
        kernel: steps seen by the convolution.
        focus: the modality that attends to the others; null for ``text``, else the first one of kind text, else the
            first one.
        focus_weight: weight of the loss of its own head.
        refine: weight of reconstruction, cycle and ``separate``.
        separate: weight, within ``refine``, of orthogonality and triplet.
        cosine_width: features per cosine of orthogonality; null for ``width`` (the code's MOSEI setting has 10).
        focus_dropout: on the features of ``focus``.
        attention_dropout: on attention weights, for all modalities or by name; an attraction uses that of the modality
            attended to, the common encoder and the transformers after an attraction that of ``focus``.
        embed_dropout: on the input of each transformer.
        output_dropout: in the residual perceptrons before the heads.

    Output: ``fused``, ``shared`` (batch, modalities * width) and per modality n its specific vector ``h_<n>``; in
    training also ``aligned_<n>``, which the triplet loss compares, and the other terms of each sample (batch,).
    """

    family = "attention"
    paper = "Wang et al., DLF: Disentangled-Language-Focused Multimodal Sentiment Analysis, AAAI 2025, arXiv:2412.12225"

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 50,
        heads: int = 10,
        layers: int = 2,
        kernel: int = 5,
        focus: str | None = None,
        focus_weight: float = 3.0,
        refine: float = 0.1,
        separate: float = 0.1,
        cosine_width: int | None = None,
        focus_dropout: float = 0.5,
        attention_dropout: float | dict[str, float] = 0.2,
        embed_dropout: float = 0.2,
        output_dropout: float = 0.5,
    ) -> None:
        super().__init__(schema)
        positive(width=width, heads=heads, layers=layers, kernel=kernel, cosine_width=cosine_width or width)
        fraction(focus_dropout=focus_dropout, embed_dropout=embed_dropout, output_dropout=output_dropout)
        if min(focus_weight, refine, separate) < 0:
            raise OptionError(
                f"focus_weight, refine and separate must not be negative, got {focus_weight}, {refine} and {separate}"
            )
        divides(width, heads=heads, cosine_width=cosine_width or width)
        names = schema.names
        if focus is not None and focus not in names:
            raise OptionError(f"focus names {focus!r}{nearest(focus, names)}")
        self.focus = focus or schema.anchor
        self.focus_weight, self.refine, self.separate = focus_weight, refine, separate
        self.cosine_width = cosine_width or width
        self.inputs = Inputs(schema)
        self.focus_drop = nn.Dropout(focus_dropout)
        self.convolutions = nn.ModuleDict(
            {
                n: nn.Conv1d(m.width, width, 1 if m.kind == "vector" else kernel, bias=False)
                for n, m in self.inputs.modalities.items()
            }
        )
        dropouts = per_modality("attention_dropout", attention_dropout, names, fraction)
        self._transformers(width, heads, layers, dropouts, embed_dropout)
        self.decoders = nn.ModuleDict({n: nn.Linear(2 * width, width, bias=False) for n in names})
        self.aligners = nn.ModuleDict({n: nn.Linear(STEPS * width, width) for n in names})
        self._readers(schema, width, output_dropout)

    def _transformers(
        self, width: int, heads: int, layers: int, dropouts: dict[str, float], embed_dropout: float
    ) -> None:
        def stack(name: str, layers: int = layers) -> CrossModalStack:
            dropout = dropouts[name]
            return CrossModalStack(width, heads, layers, attention_dropout=dropout, embed_dropout=embed_dropout)

        self.specific = nn.ModuleDict({n: stack(n) for n in dropouts})
        self.common = stack(self.focus)
        self.gatherers = nn.ModuleDict({n: stack(n) for n in dropouts})
        self.attractors = nn.ModuleDict({n: stack(n) for n in dropouts})
        self.memories = nn.ModuleDict({n: stack(self.focus, layers + 1) for n in dropouts if n != self.focus})

    def _readers(self, schema: Schema, width: int, dropout: float) -> None:
        names, total = schema.names, width * len(schema.names)
        self.residuals = nn.ModuleDict({n: _Residual(width, dropout) for n in names})
        self.own_heads = nn.ModuleDict({n: Heads(schema, width) for n in names})
        self.gates = nn.ModuleDict({n: nn.Linear(width, width) for n in names})
        self.shared_residual, self.shared_heads = _Residual(total, dropout), Heads(schema, total)
        self.shared_gate = nn.Linear(total, total)
        self.residual, self.heads = _Residual(2 * total, dropout), Heads(schema, 2 * total)

    def forward(self, batch: Batch) -> Output:
        """Return predictions, the fused and shared vectors and one per modality."""
        low = {n: self.convolve(n, s) for n, s in self.inputs(batch).items()}
        own = {n: replace(s, values=self.specific[n](s)) for n, s in low.items()}
        common = {n: replace(s, values=self.common(s)) for n, s in low.items()}
        vectors = {n: self.residuals[n](self.attracted(n, own)) for n in own}
        shared = torch.cat([final_state(self.gatherers[n](s), _lengths(s)) for n, s in common.items()], dim=1)
        gated = [torch.sigmoid(self.gates[n](v)) for n, v in vectors.items()]
        fused = self.residual(torch.cat([*gated, torch.sigmoid(self.shared_gate(shared))], dim=1))
        found = {f"h_{n}": v for n, v in vectors.items()} | {"shared": shared, "fused": fused}
        if self.training:
            for n in low:
                found |= self.refinement(n, low[n], own[n], common[n])
        return Output(self.heads(fused), found)

    def convolve(self, name: str, stream: Stream) -> Stream:
        """Return the steps H of a modality ``(batch, time - kernel + 1, width)``, zero at padding."""
        stream = as_sequence(stream)
        convolution = self.convolutions[name]
        assert isinstance(convolution, nn.Conv1d)
        lost = convolution.kernel_size[0] - 1
        x = self.focus_drop(stream.tensor) if name == self.focus else stream.tensor
        x = F.pad(x, (0, 0, 0, max(0, lost + 1 - x.shape[1])))
        lengths = (_lengths(stream) - lost).clamp(min=1) * (_lengths(stream) > 0)
        low = Stream(convolution(x.transpose(1, 2)).transpose(1, 2), lengths, stream.present)
        return replace(low, values=low.tensor * low.mask.unsqueeze(-1))

    def attracted(self, name: str, own: dict[str, Stream]) -> Tensor:
        """Return what the focus's last step knows after attending to modality ``name``; zeros where it is absent."""
        target = own[self.focus]
        if name == self.focus:
            return final_state(self.attractors[name](target), _lengths(target))
        crossed = replace(target, values=self.attractors[name](target, own[name]))
        return final_state(self.memories[name](crossed), _lengths(target))

    def refinement(self, name: str, low: Stream, own: Stream, common: Stream) -> dict[str, Tensor]:
        """Return the terms that shape the split of one modality, each ``(batch,)``, and its vector for the triplet."""
        mask = low.mask
        decoded = self.decoders[name](torch.cat([own.tensor, common.tensor], dim=2)) * mask.unsqueeze(-1)
        again = self.specific[name](replace(low, values=decoded))
        steps = torch.full_like(_lengths(common), STEPS)
        return {
            f"reconstruction_{name}": masked_error(decoded, low.tensor, mask),
            f"cycle_{name}": masked_error(again, own.tensor, mask),
            f"orthogonality_{name}": overlap(own.tensor, common.tensor, mask, self.cosine_width),
            f"aligned_{name}": self.aligners[name](resample(common, steps, STEPS).flatten(1)),
        }

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms and, in training, ``own_<n>``, ``shared``, ``reconstruction``, ``cycle``,
        ``orthogonality`` and ``triplet``, weighted."""
        losses = task_losses(self.schema, batch, output)
        if not self.training:
            return losses
        found = output.representations
        losses["shared"] = self.head_loss(batch, self.shared_heads(self.shared_residual(found["shared"])))
        for n, heads in self.own_heads.items():
            weight = self.focus_weight if n == self.focus else 1.0
            losses[f"own_{n}"] = weight * self.head_loss(batch, heads(found[f"h_{n}"]))
        slight = self.refine * self.separate
        for term, weight in (("reconstruction", self.refine), ("cycle", self.refine), ("orthogonality", slight)):
            means = [mean_where(found[f"{term}_{n}"], s.present) for n, s in batch.streams.items()]
            losses[term] = weight * torch.stack(means).sum()
        target = self.schema.joint_targets[0]
        distance = target.spec.distance(batch.targets[target.name]).repeat(len(batch.streams), len(batch.streams))
        vectors = torch.cat([found[f"aligned_{n}"] for n in batch.streams])
        judged = torch.cat([s.present & batch.labelled(target.name) for s in batch.streams.values()])
        losses["triplet"] = slight * margin_triplet(vectors, distance, judged)
        return losses

    def head_loss(self, batch: Batch, predictions: dict[str, Tensor]) -> Tensor:
        """Return the task loss of an auxiliary head."""
        return torch.stack(list(task_losses(self.schema, batch, Output(predictions)).values())).sum()


class _Residual(nn.Module):
    """``x + W_2 dropout(relu(W_1 x))``."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def overlap(own: Tensor, common: Tensor, mask: Tensor, width: int) -> Tensor:
    """Return ``(batch,)``: mean over true steps of max(0, cosine) between ``own`` and ``common``, cut to ``width``."""
    a, b = (x.unflatten(-1, (-1, width)) for x in (own, common))
    return masked_mean(F.cosine_similarity(a, b, dim=-1).relu(), mask).mean(-1)


def margin_triplet(vectors: Tensor, distance: Tensor, mask: Tensor, margin: float = MARGIN) -> Tensor:
    """Cosine triplet loss whose margin grows with the difference of labels (DLF, and DMD before it).

    The mean over anchors i of the mean over j of equal and k of different label of
    ``max(0, margin * distance_ik - cos_ij + cos_ik)``. Needs memory for number^3 values.

    Args:
        vectors: ``(number, width)``.
        distance: ``(number, number)`` between labels; 0 for equal ones.
        mask: ``(number,)`` bool; vectors where it is False take no part.
        margin: per unit of distance.

    Returns:
        Scalar, 0 where no anchor has both an equal and a different label.
    """
    vectors = vectors.float()
    cosine = F.cosine_similarity(vectors.unsqueeze(1), vectors.unsqueeze(0), dim=-1)
    pairs = mask.unsqueeze(1) & mask & ~torch.eye(len(mask), dtype=torch.bool, device=mask.device)
    equal, different = pairs & (distance == 0), pairs & (distance > 0)
    triples = equal.unsqueeze(2) & different.unsqueeze(1)  # (anchor, equal, different)
    hinge = ((margin * distance + cosine).unsqueeze(1) - cosine.unsqueeze(2)).relu()
    count = triples.sum((1, 2))
    anchors = hinge.where(triples, hinge.new_zeros(())).sum((1, 2)) / count.clamp(min=1)
    return mean_where(anchors, count > 0)


def _lengths(stream: Stream) -> Tensor:
    assert stream.lengths is not None
    return stream.lengths
