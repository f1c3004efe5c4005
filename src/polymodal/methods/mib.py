"""MIB: a Gaussian bottleneck on each modality, on the fused vector, or on both."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Output, Schema, Stream
from polymodal.methods.base import Seamed, divides, fraction, per_modality, positive
from polymodal.nn.attention import CrossModalStack
from polymodal.nn.bottleneck import QuietBottleneck, mean_kl
from polymodal.nn.fusion import (
    ConcatFusion,
    GraphFusion,
    LowRankFusion,
    ProductFusion,
    SumFusion,
    TensorFusion,
    product_of_experts,
)
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.inputs import Inputs, as_sequence
from polymodal.nn.masking import masked_mean
from polymodal.nn.subnet import final_state
from polymodal.nn.unimodal import UnimodalHeads

RANK = 5
"""Of low-rank fusion, as in the code."""

Variant = Literal["early", "late", "complete", "none"]
Operator = Literal["concat", "sum", "product", "tensor", "low-rank", "graph", "experts"]
Mode = Literal["mean", "sample"]
Pool = Literal["last", "mean"]


class MIB(Seamed):
    """Multimodal Information Bottleneck (Mai, Zeng & Hu, IEEE Transactions on Multimedia 2022, arXiv 2210.17444).

    A bottleneck turns a vector into a Gaussian code that must predict the label and pays ``beta`` for each nat it
    keeps. E-MIB (``early``) fuses the modalities' vectors and compresses the result; L-MIB (``late``) compresses each
    vector, then fuses the codes; C-MIB (``complete``) does both; ``none`` is the same network without bottlenecks.

    Loss: ``task_weight`` * task + the task loss of each modality's own head (``late``, ``complete``) + ``beta`` * KL of
    every bottleneck, averaged over its dimensions: with width 50, 1e-3 is 2e-5 per nat. One sample per example.

    Departures: padding is neither attended to nor read as the last step, and every true step has its position; vectors
    (one linear map, no transformer) and any number of modalities are read. An absent modality has no code, no loss and
    no place in the fusion. Tensor fusion has tanh in all variants (two of the three in the code mix activations), the
    product of experts has standard deviations where the paper writes one symbol for them and variances, weights start
    as torch's layers do, not as BERT's, and ``pool`` and ``dropout`` are ours.

    Args:
        schema: what the batches hold.
        variant: where the bottlenecks are: ``early``, ``late``, ``complete``, or ``none``.
        fusion: ``concat`` and one layer, ``sum``, ``product``, ``tensor`` (at most 3 modalities), ``low-rank`` (rank
            5), ``graph``, or ``experts``, the product of the modalities' Gaussians (``late`` only).
        beta: weight of the KL terms, for all bottlenecks or by modality; ``fused`` is the fused vector's.
        task_weight: of the fused prediction's loss: 1 in the paper, 2 in its code.
        eval_mode: predict from the ``mean`` of each code, or from a ``sample`` as the released code does.
        width: features of every vector and code.
        hidden: units of each bottleneck's hidden layer.
        layers: of the transformer that reads a sequence other than text.
        heads: of its attention; must divide ``width``.
        pool: what is read of a sequence: its ``last`` step, or the ``mean`` of its steps after a ReLU (hashed words
            need it; without the ReLU the mean of a convolution is a linear map).
        dropout: on the modalities' vectors, in front of the bottlenecks.
        embed_dropout: on the transformers' input.
        attention_dropout: on their attention weights.
        layer_dropout: after the ReLU and on the residual branches of their layers.

    Output: ``fused``; with bottlenecks ``mean`` and ``log_variance`` of the fused code, and ``z_<n>``, ``mean_<n>``,
    ``log_variance_<n>`` of each modality's. All are (batch, width); zero where the modality is absent.
    """

    family = "information bottleneck"
    paper = (
        "Mai, Zeng & Hu, Multimodal Information Bottleneck: Learning Minimal Sufficient Unimodal and Multimodal "
        "Representations, IEEE Transactions on Multimedia 2022, arXiv:2210.17444"
    )

    def __init__(
        self,
        schema: Schema,
        *,
        variant: Variant = "complete",
        fusion: Operator = "concat",
        beta: float | dict[str, float] = 1e-3,
        task_weight: float = 1.0,
        eval_mode: Mode = "mean",
        width: int = 50,
        hidden: int = 1024,
        layers: int = 3,
        heads: int = 5,
        pool: Pool = "last",
        dropout: float = 0.0,
        embed_dropout: float = 0.2,
        attention_dropout: float = 0.5,
        layer_dropout: float = 0.3,
    ) -> None:
        super().__init__(schema)
        positive(task_weight=task_weight, width=width, hidden=hidden, layers=layers, heads=heads)
        fraction(dropout=dropout, embed_dropout=embed_dropout)
        fraction(attention_dropout=attention_dropout, layer_dropout=layer_dropout)
        divides(width, heads=heads)
        names = schema.names
        single = names if variant in ("late", "complete") else ()
        joint = ("fused",) if variant in ("early", "complete") else ()
        self.betas = _betas(beta, (*single, *joint))
        if fusion == "experts" and variant != "late":
            raise OptionError(f"fusion 'experts' multiplies the codes of variant 'late'; it has none in {variant!r}")
        self.task_weight, self.eval_mode = task_weight, eval_mode
        self.inputs = Inputs(schema)
        texts = schema.language
        context = partial(
            CrossModalStack,
            width,
            heads,
            layers,
            causal=False,
            attention_dropout=attention_dropout,
            layer_dropout=layer_dropout,
            embed_dropout=embed_dropout,
        )
        self.encoders = nn.ModuleDict()
        for n, m in self.inputs.modalities.items():
            ordered = m.kind == "sequence" and n not in texts
            self.encoders[n] = _Encoder(m, width, context() if ordered else None, pool)
        self.drop = nn.Dropout(dropout)
        self.bottlenecks = nn.ModuleDict({n: QuietBottleneck(width, hidden) for n in single})
        self.judges = UnimodalHeads(schema, single, width)
        self.fusion = _operator(fusion, len(names), width)  # None multiplies the codes' Gaussians
        self.bottleneck = QuietBottleneck(width, hidden) if joint else None
        self.heads = Heads(schema, width)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return one vector per modality."""
        return {n: self.drop(self.encoders[n](s)) for n, s in self.inputs(batch).items()}

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return predictions, ``fused`` and the codes named above."""
        vectors, here = dict(vectors), dict(zip(vectors, present.unbind(1), strict=True))
        found: dict[str, Tensor] = {}
        sample = self.training or self.eval_mode == "sample"
        for n, bottleneck in self.bottlenecks.items():
            vectors[n], mean, log_variance = bottleneck(vectors[n], here[n], sample)
            found |= {f"z_{n}": vectors[n], f"mean_{n}": mean, f"log_variance_{n}": log_variance}
        if self.fusion is not None:
            fused = self.fusion(list(vectors.values()), present)
        else:
            variances = [found[f"log_variance_{n}"].exp() for n in here]
            mean, variance = product_of_experts([found[f"mean_{n}"] for n in here], variances, present)
            fused = mean + torch.randn_like(mean) * variance.sqrt() if sample else mean
        if self.bottleneck is not None:
            fused, found["mean"], found["log_variance"] = self.bottleneck(fused, present.any(1), sample)
        return Output(self.heads(fused), {"fused": fused, **found})

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms and, in training, ``unimodal/<n>``, ``kl/<n>`` and ``kl/fused``, weighted."""
        losses = {n: self.task_weight * x for n, x in task_losses(self.schema, batch, output).items()}
        if not self.training:
            return losses
        found = output.representations
        for n in self.bottlenecks:
            rows = batch[n].present
            losses[f"unimodal/{n}"] = self.judges.loss(batch, n, found[f"z_{n}"])
            losses[f"kl/{n}"] = self.betas[n] * mean_kl(found[f"mean_{n}"], found[f"log_variance_{n}"], rows)
        if self.bottleneck is not None:
            rows = batch.present.any(1)
            losses["kl/fused"] = self.betas["fused"] * mean_kl(found["mean"], found["log_variance"], rows)
        return losses


def _betas(beta: float | dict[str, float], names: tuple[str, ...]) -> dict[str, float]:
    """Return the weight per bottleneck."""
    betas = per_modality("beta", beta, names)
    for n in names:
        if betas[n] < 0:
            raise OptionError(f"beta of {n} must not be negative, got {betas[n]}")
    return betas


def _operator(fusion: Operator, count: int, width: int) -> nn.Module | None:
    widths = [width] * count
    if fusion == "tensor" and count > 3:
        raise OptionError(f"fusion 'tensor' has {width + 1}^{count} cells with {count} modalities; use 'low-rank'")
    match fusion:
        case "concat":
            return ConcatFusion(widths, width)
        case "sum":
            return SumFusion()
        case "product":
            return ProductFusion()
        case "tensor":
            return TensorFusion(widths, width)
        case "low-rank":
            return LowRankFusion(widths, width, RANK)
        case "graph":
            return GraphFusion(count, width)
        case "experts":
            return None


class _Encoder(nn.Module):
    """Convolution over time, context, one step or the mean of all: a tensor stream -> ``(batch, width)``."""

    def __init__(self, modality: Modality, width: int, context: CrossModalStack | None, pool: Pool) -> None:
        super().__init__()
        # A vector has no neighbours: a wider kernel would hold weights that only ever see zeros.
        kernel = 1 if modality.kind == "vector" else 3
        self.convolution = nn.Conv1d(modality.width, width, kernel, padding=kernel // 2, bias=False)
        self.context, self.pool = context, pool

    def forward(self, stream: Stream) -> Tensor:
        """Return one vector per sample, zero where absent."""
        stream = as_sequence(stream)
        assert stream.lengths is not None
        mask = stream.mask
        x = self.convolution(stream.tensor.transpose(1, 2)).transpose(1, 2) * mask.unsqueeze(-1)
        if self.context is not None:
            x = self.context(Stream(x, stream.lengths, stream.present))
        return final_state(x, stream.lengths) if self.pool == "last" else masked_mean(x.relu(), mask)
