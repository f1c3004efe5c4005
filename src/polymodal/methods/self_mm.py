"""Self-MM: labels of single modalities, made from the label of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema, Stream, derive_seed, nearest
from polymodal.methods.base import Method, View, fraction, positive
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.inputs import Inputs, VectorEncoder
from polymodal.nn.sequence import masked_mean
from polymodal.nn.subnet import FinalState
from polymodal.nn.text import Tuning

EPSILON = 1e-8

TextPool = Literal["first", "mean"]


def relative_position(features: Tensor, centres: Tensor) -> Tensor:
    """Return ``(D_n - D_p) / (D_p + eps)``, above 0 for features nearer to the positive centre than to the negative.

    Args:
        features: ``(batch, width)``.
        centres: ``(2, targets, width)``, of the samples with a label above the neutral point and of those below it.

    Returns:
        ``(batch, targets)``, above -1.
    """
    to_positive, to_negative = ((features[:, None] - centre).norm(dim=2) for centre in centres)
    return (to_negative - to_positive) / (to_positive + EPSILON)


def generate_label(label: Tensor, position: Tensor, fused_position: Tensor, limit: Tensor) -> Tensor:
    """Return the mean of ``y a_s / a_m`` and ``y + a_s - a_m``, clamped to ``limit`` on either side of 0.

    Where ``a_m`` is 0 and the ratio says nothing, the difference alone.

    Args:
        label: y, the label of the whole, relative to the neutral point.
        position: a_s, the relative position of one modality.
        fused_position: a_m, that of the fusion.
        limit: largest magnitude of a label.
    """
    difference = label + position - fused_position
    usable = fused_position.abs() > EPSILON
    ratio = torch.where(usable, label * position / torch.where(usable, fused_position, 1.0), difference)
    return ((ratio + difference) / 2).clamp(-limit, limit)


def momentum(old: Tensor, new: Tensor, visit: Tensor) -> Tensor:
    """Return ``(n - 1) / (n + 1) old + 2 / (n + 1) new`` at visit ``n`` of a sample; labels settle as n grows."""
    return ((visit - 1) * old + 2 * new) / (visit + 1)


class SampleMemory(nn.Module):
    """What training remembers of every sample: features and labels of each stream, and how often it was seen.

    Stream 0 is the fusion, then come the modalities. Labels are relative to the neutral point of their target.

    Buffers:
        keys: ``(samples,)`` long, sorted; hashes of the samples' ids.
        features: ``(samples, sum of widths)``, of the last visit.
        labels: ``(samples, streams, targets)``; those of stream 0 never change.
        visits: ``(samples, streams)`` long, visits at which the stream was present.
        middle, limit: ``(targets,)``, neutral point and largest distance from it.
    """

    keys: Tensor
    features: Tensor
    labels: Tensor
    visits: Tensor
    middle: Tensor
    limit: Tensor

    def __init__(self, widths: Sequence[int], targets: int) -> None:
        super().__init__()
        self.widths = list(widths)
        streams = len(self.widths)
        buffers = {
            "keys": torch.zeros(0, dtype=torch.long),
            "features": torch.zeros(0, sum(self.widths)),
            "labels": torch.zeros(0, streams, targets),
            "visits": torch.zeros(0, streams, dtype=torch.long),
            "middle": torch.zeros(targets),
            "limit": torch.full((targets,), torch.inf),
        }
        for name, start in buffers.items():
            # Training samples and their labels are not for those the weights are given to, who only predict.
            self.register_buffer(name, start, persistent=False)

    def fill(self, ids: Sequence[str], labels: Tensor, ranges: Sequence[tuple[float, float] | None]) -> None:
        """Make room for the samples ``ids`` with ``labels`` (samples, targets), the same for every stream."""
        device = self.keys.device
        found = zip(labels.amin(0).tolist(), labels.amax(0).tolist(), strict=True)
        pairs = [given or seen for given, seen in zip(ranges, found, strict=True)]
        bounds = torch.tensor(pairs, dtype=torch.float32, device=device)  # a range may be written in whole numbers
        self.middle, self.limit = bounds.mean(1), (bounds[:, 1] - bounds[:, 0]) / 2
        self.keys, order = _hashes(ids, device).sort()
        streams = len(self.widths)
        relative = labels.to(device)[order] - self.middle
        self.labels = relative[:, None].repeat(1, streams, 1)
        self.features = torch.zeros(len(ids), sum(self.widths), device=device)
        self.visits = torch.zeros(len(ids), streams, dtype=torch.long, device=device)

    def find(self, ids: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return which of ``ids`` are known, (batch,) bool, and the rows of those, (known,) long."""
        wanted = _hashes(ids, self.keys.device)
        known = torch.isin(wanted, self.keys)
        return known, torch.searchsorted(self.keys, wanted[known])

    def centres(self) -> list[tuple[Tensor, Tensor]]:
        """Return per stream the means (2, targets, width) of positive and negative samples seen so far, by the stream's
        own labels, and whether there are both, (targets,) bool."""
        found = []
        for i, features in enumerate(self.features.split(self.widths, dim=1)):
            seen = self.visits[:, i, None] > 0
            sides = torch.stack([(self.labels[:, i] > 0) & seen, (self.labels[:, i] < 0) & seen])
            counts = sides.sum(1)  # (2, targets)
            # Half precision would blur the centres, and with them every label.
            with torch.autocast(features.device.type, enabled=False):
                sums = sides.transpose(1, 2).to(features.dtype) @ features
            found.append((sums / counts.clamp(min=1).unsqueeze(2), (counts > 0).all(0)))
        return found

    def update(self, rows: Tensor, features: list[Tensor], present: Tensor) -> None:
        """Relabel the samples ``rows`` (known,) by the centres that the batch before left, then store their features.

        Args:
            rows: as ``find`` returns them.
            features: per stream ``(known, width)``.
            present: ``(known, streams)`` bool; labels and features of an absent stream stay.
        """
        centres, usable = zip(*self.centres(), strict=True)
        place = torch.stack([relative_position(x, c) for x, c in zip(features, centres, strict=True)], dim=1)
        old, visits = self.labels[rows], self.visits[rows] + present
        new = generate_label(old[:, :1], place[:, 1:], place[:, :1], self.limit)
        new = torch.cat([old[:, :1], momentum(old[:, 1:], new, visits[:, 1:, None])], dim=1)
        # A class without a sample has no centre, and a sample seen for the first time no position to compare with.
        change = (present & (visits > 1))[:, :, None] & torch.stack(usable) & usable[0]
        self.labels[rows] = torch.where(change, new, old)
        columns = present.repeat_interleave(torch.tensor(self.widths, device=rows.device), dim=1)
        self.features[rows] = torch.where(columns, torch.cat(features, dim=1), self.features[rows])
        self.visits[rows] = visits


def _hashes(ids: Sequence[str], device: torch.device) -> Tensor:
    return torch.tensor([derive_seed(i) for i in ids], dtype=torch.long, device=device)


class Branch(nn.Module):
    """Three linear maps: ``(batch, width_in)`` -> the first one's features ``(batch, width)``, and predictions."""

    def __init__(self, schema: Schema, width_in: int, width: int, dropout: float) -> None:
        super().__init__()
        self.lower = nn.Sequential(nn.Dropout(dropout), nn.Linear(width_in, width), nn.ReLU())
        self.upper = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        self.heads = Heads(schema, width)

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the features and the predictions by target."""
        features = self.lower(x)
        return features, self.heads(self.upper(features))


class SelfMM(Method):
    """Self-supervised Multi-task Multimodal sentiment analysis network (Yu et al., AAAI 2021, arXiv 2102.04830).

    Every modality has a prediction of its own beside that of the fusion. Its label is generated without parameters:
    from where the modality's features lie between the centres of positive and negative samples, compared with where
    the fused features lie. The error of modality s weighs ``tanh(|y_s - y|)``: it learns what is specific to it.

    A memory keeps features and labels of every training sample; it is no part of the weights. It is filled in the first
    epoch; from a sample's second visit on, each visit moves its labels (``momentum``), after the loss has used them.

    Departures from MMSA's code: scales are read relative to their middle (of the training labels where the range is
    unknown), so that positive and negative mean something on any of them; a visit of the sample takes the place of the
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
        text_encoder: encoder of raw text: ``bow``, ``minilm``, a folder or a hub name.
        text_tuning: how a transformer text encoder trains: ``full`` or ``lora``.

    Output: ``fused`` (batch, fused); per modality n its features ``n`` (batch, width) and its own predictions ``y_<n>``
    (batch, targets), zero where it is absent.
    """

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
        text_encoder: str = "bow",
        text_tuning: Tuning = "full",
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
        self.inputs = Inputs(schema, text_encoder=text_encoder, text_tuning=text_tuning)
        texts = {m.name for m in schema.modalities if m.kind == "text" or m.name == "text"}
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
        self.memory = SampleMemory(sizes, len(schema.joint_targets))

    def forward(self, batch: Batch) -> Output:
        """Return predictions for ``batch`` and the representations named above."""
        vectors = {n: self._encode(n, stream) for n, stream in self.inputs(batch).items()}
        fused, predictions = self.fusion(torch.cat(list(vectors.values()), dim=1))
        named = {"fused": fused}
        for name, vector in vectors.items():
            features, own = self.branches[name](vector)
            here = batch[name].present[:, None]
            named[name] = features * here
            named[f"y_{name}"] = torch.stack(list(own.values()), dim=1) * here
        return Output(predictions, named)

    def _encode(self, name: str, stream: Stream) -> Tensor:
        if name in self.encoders:
            return self.encoders[name](stream)
        if stream.lengths is None:
            return stream.tensor
        return stream.tensor[:, 0] if self.text_pool == "first" else masked_mean(stream.tensor, stream.mask)

    def prepare(self, view: View) -> None:
        """Make room for every training sample with labels."""
        ids: list[str] = []
        labels = []
        for batch in (b.select(self._judged(b)) for b in view.train()):
            ids += batch.ids
            labels.append(self._labels(batch))
        self.memory.fill(ids, torch.cat(labels), [t.range for t in self.schema.joint_targets])

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms and, in training, ``unimodal_<n>`` for every modality, of samples with all labels;
        moves the memory on."""
        losses = task_losses(self.schema, batch, output)
        if not self.training:
            return losses
        judged = self._judged(batch)
        found, memory = {n: x[judged] for n, x in output.representations.items()}, self.memory
        batch = batch.select(judged)
        label = self._labels(batch) - memory.middle
        known, rows = memory.find(batch.ids)
        own = label[:, None].repeat(1, 1 + len(batch.streams), 1)  # (batch, streams, targets)
        own[known] = memory.labels[rows]
        for i, (name, stream) in enumerate(batch.streams.items(), start=1):
            weight = torch.tanh((own[:, i] - label).abs()) * stream.present[:, None]
            error = (found[f"y_{name}"].float() - memory.middle - own[:, i]).abs()
            losses[f"unimodal_{name}"] = (weight * error).sum() / max(1, error.numel())
        features = [found[n].detach().float()[known] for n in ("fused", *batch.streams)]
        present = torch.cat([batch.present.any(1, keepdim=True), batch.present], dim=1)
        memory.update(rows, features, present[known])
        return losses

    def _judged(self, batch: Batch) -> Tensor:
        """Return which samples have a label for every target, ``(batch,)`` bool."""
        return torch.stack([batch.labelled(t.name) for t in self.schema.joint_targets]).all(0)

    def _labels(self, batch: Batch) -> Tensor:
        return torch.stack([batch.targets[t.name] for t in self.schema.joint_targets], dim=1)
