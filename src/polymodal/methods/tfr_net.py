"""TFR-Net: training with steps dropped at random, which the network must also rebuild."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import permutations
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema, Stream, derive_seed
from polymodal.methods.base import Method, divides, fraction, per_modality, positive
from polymodal.nn.attention import CrossModalStack
from polymodal.nn.discrepancy import moment_discrepancy
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.inputs import Inputs, as_sequence
from polymodal.nn.masking import masked_max
from polymodal.nn.sequence import BiRecurrent
from polymodal.nn.subnet import PresentNorm
from polymodal.nn.text import TextEncoder

Masks = Literal["static", "fresh"]

MOMENT_WEIGHT = 5.0
"""Of the central moment discrepancy beside the smooth L1 error, before both are divided by their number."""


class TFRNet(Method):
    """Transformer-based Feature Reconstruction Network (Yuan, Li, Xu & Yu, ACM Multimedia 2021).

    Training drops steps of every sequence at random. Every modality is encoded by attention over itself and over each
    other one, ``H`` (batch, time, modalities * width). From ``H`` a generator rebuilds the features of dropped steps;
    a gated recurrent network (C-GATE) pools it, and a perceptron reads the pooled vectors.

    Loss: task + per modality ``weights`` * [smooth L1 + 5 * discrepancy of three moments] over dropped positions.

    Departures:

    - no causal masks, no attention to padding, max pooling over true steps, nothing between samples of a batch (the
      released generator attends over the batch);
    - the generator attends over time and so takes any length; with ``steps`` it attends over channels as its sizes in
      the released code suggest, and rebuilds the first ``steps`` only;
    - steps are dropped in training only; damage in validation and test is the evaluation's (protocol ``drop``);
    - the rebuilt target is fixed unless ``fixed_targets`` is off: the released code also moves BERT towards its guess;
    - rebuilding starts with the first epoch, not the second; gradients are zeroed at every step;
    - vectors have no steps: they are never dropped. Any number of modalities, absent ones add nothing.

    Transformers get [UNK] for dropped tokens, never for the first and last; other features, hashed words among them,
    become zeros.

    Args:
        schema: what the batches hold.
        width: features per step of each encoder.
        heads: attention heads; must divide ``width``.
        layers: layers of every transformer.
        kernel: steps seen by the input convolution, for all modalities or by name.
        pooled: features of each pooled vector, for all modalities or by name.
        hidden: units of the perceptron.
        rate: probability that a step is dropped in training; 0 trains on complete data without generators.
        masks: ``static``: a sample loses the same steps in every epoch and run (the paper's); ``fresh``: drawn anew.
        weights: of rebuilding, for all modalities or by name; 0 leaves the generator out, not the damage.
        steps: modality -> length at which its generator attends over channels; empty for attention over time.
        fixed_targets: no gradient from rebuilding into the encoder of the complete text.
        attention_dropout: on attention weights, for all modalities or by the name of the source.
        dropout: everywhere else.

    Output: ``fused``; one pooled vector per modality; in training also ``rebuilt_<name>`` and ``complete_<name>``
    (batch, time, features) and ``dropped_<name>`` (batch, time) bool.
    """

    family = "missing and noisy input"
    paper = (
        "Yuan et al., Transformer-based Feature Reconstruction Network for Robust Multimodal Sentiment Analysis, "
        "ACM Multimedia 2021, doi:10.1145/3474085.3475585"
    )
    drops = True

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 30,
        heads: int = 6,
        layers: int = 3,
        kernel: int | dict[str, int] = 3,
        pooled: int | dict[str, int] = 32,
        hidden: int = 128,
        rate: float = 0.2,
        masks: Masks = "static",
        weights: float | dict[str, float] = 1.0,
        steps: dict[str, int] = {},  # noqa: B006 (never changed)
        fixed_targets: bool = True,
        attention_dropout: float | dict[str, float] = 0.1,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(schema)
        positive(width=width, heads=heads, layers=layers, hidden=hidden)
        fraction(rate=rate, dropout=dropout)
        divides(width, heads=heads)
        if masks not in get_args(Masks):
            raise OptionError(f"masks must be 'static' or 'fresh', got {masks!r}")
        names, mixed = schema.names, width * len(schema.names)
        kernels = per_modality("kernel", kernel, names, positive)
        sizes = per_modality("pooled", pooled, names, positive)
        self.weights = per_modality("weights", weights, names)
        dropouts = per_modality("attention_dropout", attention_dropout, names, fraction)
        if min(self.weights.values()) < 0:
            raise OptionError(f"weights must not be negative, got {weights}")
        self.rate, self.masks, self.fixed_targets = rate, masks, fixed_targets
        self.inputs = Inputs(schema)
        self.text_names = schema.language
        self.drop = nn.Dropout(dropout)
        self.convolutions = nn.ModuleDict()
        for n, m in self.inputs.modalities.items():
            self.convolutions[n] = nn.Conv1d(m.width, width, kernels[n], padding="same", bias=False)
        stack = partial(CrossModalStack, layers=layers, causal=False, layer_dropout=dropout, embed_dropout=dropout)
        self.intra = nn.ModuleDict({n: stack(width, heads, attention_dropout=dropouts[n]) for n in names})
        self.crossings = nn.ModuleDict(
            {f"{s}_to_{t}": stack(width, heads, attention_dropout=dropouts[s]) for s, t in permutations(names, 2)}
        )
        self.damaged = [n for n, m in self.inputs.modalities.items() if m.kind == "sequence" and rate]
        rebuilt = [self.inputs.modalities[n] for n in self.damaged if self.weights[n]]
        lengths = per_modality("steps", steps, tuple(m.name for m in rebuilt), positive) if steps else {}
        self.generators = nn.ModuleDict()
        for m in rebuilt:
            size = lengths.get(m.name)
            shape = (mixed, heads) if size is None else (size, next(h for h in range(25, 0, -1) if size % h == 0))
            network = stack(*shape, positions=False, attention_dropout=dropouts[m.name])
            self.generators[m.name] = _Generator(network, mixed, m.width, size)
        self.pools = nn.ModuleDict({n: GatedPool(mixed, sizes[n]) for n in names})
        self.norm = PresentNorm(sum(sizes.values()))
        self.mix = nn.Sequential(nn.Linear(sum(sizes.values()), hidden), nn.LeakyReLU())
        self.heads = Heads(schema, hidden)

    def forward(self, batch: Batch) -> Output:
        """Return predictions and representations; in training, of a damaged batch."""
        streams = {n: as_sequence(s) for n, s in self.read(batch).items()}
        found: dict[str, Tensor] = {}
        if self.training:
            found |= {f"complete_{n}": streams[n].tensor for n in self.generators}
            streams, dropped = self.damage(batch, streams)
            found |= {f"dropped_{n}": rows for n, rows in dropped.items()}
        encoded = self.encode(streams)
        if self.training:
            found |= {f"rebuilt_{n}": g(encoded[n]) for n, g in self.generators.items()}
        vectors = {n: self.drop(self.pools[n](h)) for n, h in encoded.items()}
        fused = self.mix(self.norm(torch.cat(list(vectors.values()), dim=1), batch.present.any(1)))
        return Output(self.heads(fused), {"fused": fused, **vectors, **found})

    def read(self, batch: Batch) -> dict[str, Stream]:
        """Return the complete streams. What a transformer reads a second time, damaged, is here only a target: unless
        that is to move, it has no graph."""
        twice = [n for n in self.damaged if self.training and self.inputs.transformer(n)]
        streams = self.inputs(batch, raw=twice)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.fixed_targets):
            return streams | {n: self.inputs.encoders[n](batch[n]) for n in twice}

    def damage(self, batch: Batch, streams: dict[str, Stream]) -> tuple[dict[str, Stream], dict[str, Tensor]]:
        """Return the streams with steps dropped, and which: modality -> ``(batch, time)`` bool."""
        damaged, dropped = dict(streams), {}
        for name in self.damaged:
            stream, encoder = streams[name], self.inputs.transformer(name)
            rows = self.draw(batch.ids, name, stream)
            if encoder is not None:
                rows = _inner(rows, stream)
                damaged[name] = encode_with_unknowns(encoder, batch[name], rows)
            else:
                damaged[name] = replace(stream, values=stream.tensor.masked_fill(rows.unsqueeze(-1), 0.0))
            dropped[name] = rows
        return damaged, dropped

    def draw(self, ids: Sequence[str], name: str, stream: Stream) -> Tensor:
        """Return the true steps that are dropped: ``(batch, time)`` bool."""
        assert stream.lengths is not None
        luck = torch.rand(stream.mask.shape)
        if self.masks == "static":
            # A generator per sample: what it loses depends on neither its batch nor its epoch.
            for row, (sample, length) in enumerate(zip(ids, stream.lengths.tolist(), strict=True)):
                own = torch.Generator().manual_seed(derive_seed("tfr-net", name, sample))
                luck[row, :length] = torch.rand(length, generator=own)
        return (luck < self.rate).to(stream.mask.device) & stream.mask

    def encode(self, streams: dict[str, Stream]) -> dict[str, Stream]:
        """Return modality -> ``(batch, time, modalities * width)``, zero at padding."""
        low = {}
        for name, s in streams.items():
            x = self.drop(s.tensor) if name in self.text_names else s.tensor
            x = self.convolutions[name](x.transpose(1, 2)).transpose(1, 2)
            low[name] = Stream(x * s.mask.unsqueeze(-1), s.lengths, s.present)
        encoded = {}
        for name, s in low.items():
            parts = [self.intra[name](s)]
            parts += [self.crossings[f"{source}_to_{name}"](s, low[source]) for source in low if source != name]
            encoded[name] = Stream(torch.cat(parts, dim=2), s.lengths, s.present)
        return encoded

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms and, in training, ``rebuild/<modality>``, weighted."""
        losses = task_losses(self.schema, batch, output)
        found = output.representations
        for name, generator in self.generators.items() if self.training else ():
            complete, dropped = found[f"complete_{name}"], found[f"dropped_{name}"].clone()
            if generator.steps is not None:
                dropped[:, generator.steps :] = False
            target = complete.detach() if self.fixed_targets else complete
            losses[f"rebuild/{name}"] = self.weights[name] * rebuilding_loss(found[f"rebuilt_{name}"], target, dropped)
        return losses


class _Generator(nn.Module):
    """``(batch, time, mixed)`` -> rebuilt features ``(batch, time, width)``, by attention over time or channels.

    ``steps`` is the width of a network over channels and how far it reaches: later steps come out as zeros.
    """

    def __init__(self, network: CrossModalStack, mixed: int, width: int, steps: int | None) -> None:
        super().__init__()
        self.network, self.linear, self.steps = network, nn.Linear(mixed, width), steps

    def forward(self, stream: Stream) -> Tensor:
        if self.steps is None:
            return self.linear(self.network(stream))
        time, mixed = stream.tensor.shape[1:]
        x = F.pad(stream.tensor, (0, 0, 0, self.steps - time)).transpose(1, 2)  # a negative pad cuts
        rows = torch.full_like(stream.present, mixed, dtype=torch.long)
        x = self.linear(self.network(Stream(x, rows, stream.present)).transpose(1, 2))
        return F.pad(x, (0, 0, 0, time - self.steps))


class GatedPool(nn.Module):
    """C-GATE: a bidirectional GRU, gated per step by a convolution, merged with its input, maximum over true steps.

    ``(batch, time, width_in)`` -> ``(batch, width)``, zero where absent.
    """

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.rnn = BiRecurrent("gru", width_in, width, layers=3, dropout=0.0)
        self.gate = nn.Conv1d(2 * width, 1, 3, padding=1)
        self.merge = nn.Linear(width_in + 2 * width, width)

    def forward(self, stream: Stream) -> Tensor:
        """Return one vector per sample."""
        assert stream.lengths is not None
        states = self.rnn(stream.tensor, stream.lengths)[0]
        gated = torch.tanh(states) * torch.sigmoid(self.gate(states.transpose(1, 2))).transpose(1, 2)
        x = torch.tanh(self.merge(torch.cat([stream.tensor, gated], dim=2)))
        return masked_max(x, stream.mask)


def encode_with_unknowns(encoder: TextEncoder, texts: Stream, dropped: Tensor) -> Stream:
    """Return token states with the ``dropped`` (batch, tokens) tokens replaced by the unknown one before encoding."""
    unknown = encoder.tokenizer.unk_token_id
    if unknown is None:
        raise OptionError("this text encoder has no token for unknown words, which stands for dropped ones; use BERT's")
    tokens = encoder.tokenizer(
        texts.texts, padding=True, truncation=True, max_length=encoder.max_tokens, return_tensors="pt"
    ).to(dropped.device)
    tokens["input_ids"] = tokens["input_ids"].masked_fill(dropped, unknown)
    states = encoder.model(**tokens).last_hidden_state
    mask = tokens["attention_mask"] * texts.present.to(dropped.device).unsqueeze(1)
    return Stream(states * mask.unsqueeze(-1), mask.sum(1), texts.present)


def _inner(dropped: Tensor, stream: Stream) -> Tensor:
    """Return ``dropped`` without the first and the last true token, [CLS] and [SEP]."""
    assert stream.lengths is not None
    step = torch.arange(dropped.shape[1], device=dropped.device)
    return dropped & (step > 0) & (step < stream.lengths[:, None] - 1)


def rebuilding_loss(rebuilt: Tensor, complete: Tensor, dropped: Tensor) -> Tensor:
    """Return the error at ``dropped`` positions, per position and feature; 0 where nothing was dropped.

    Smooth L1 plus ``MOMENT_WEIGHT`` times the discrepancy of moments, both divided by positions times features.

    Args:
        rebuilt: ``(batch, time, width)``.
        complete: same shape.
        dropped: ``(batch, time)`` bool.
    """
    if not dropped.any():
        return 0.0 * rebuilt.float().sum()
    guess, truth = rebuilt.float()[dropped], complete.float()[dropped]  # (positions, width)
    error = F.smooth_l1_loss(guess, truth, reduction="sum")
    return (error + MOMENT_WEIGHT * moment_discrepancy(guess, truth, moments=3)) / guess.numel()
