"""Logits of every step of every modality, by one attention layer and one classifier that all modalities share."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from polymodal.core import Stream
from polymodal.nn.attention import Attention


class StepScores(nn.Module):
    """A map per modality; steps attend to those of all other modalities, or to their own where there is no other.

    Args:
        sizes: modality -> features of a step.
        width: features of a state.
        heads: attention heads; must divide ``width``.
        dropout: on attention weights and both branches.
        events: logits of each step.
    """

    def __init__(self, sizes: Mapping[str, int], width: int, heads: int, dropout: float, events: int) -> None:
        super().__init__()
        self.maps = nn.ModuleDict({n: nn.Linear(size, width) for n, size in sizes.items()})
        self.attention = Attention(width, heads, dropout)
        self.attention_norm, self.forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width)
        )
        self.drop = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, events)

    def forward(self, streams: Mapping[str, Stream]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return states ``(batch, time, width)`` and logits ``(batch, time, events)`` of each modality, zero behind its
        steps. The norm is of the query alone."""
        mapped = {n: self.maps[n](s.tensor) * s.mask[..., None] for n, s in streams.items()}
        states, logits = {}, {}
        for name, stream in streams.items():
            others = [n for n in streams if n != name] or [name]
            found = torch.cat([mapped[n] for n in others], dim=1)
            there = torch.cat([streams[n].mask for n in others], dim=1)
            x, real = mapped[name], stream.mask[..., None]
            visible = there[:, None].expand(-1, x.shape[1], -1)
            x = x + self.drop(self.attention(self.attention_norm(x), found, found, visible))
            x = x + self.drop(self.feed_forward(self.forward_norm(x)))
            states[name], logits[name] = x * real, self.classifier(x) * real
        return states, logits


def momentum(first: float, share: float) -> float:
    """Return the share of its weights that a network keeps: ``first`` at share 0 of training, 1 at its end, along a
    cosine."""
    return 1 + 0.5 * (first - 1) * (1 + math.cos(math.pi * share))


@torch.no_grad()
def mix(network: nn.Module, teacher: nn.Module, keep: float) -> None:
    """Give parameters of ``network`` that ``teacher`` has too the values keep * own + (1 - keep) * the teacher's."""
    taught = dict(teacher.named_parameters())
    for name, parameter in network.named_parameters():
        if name in taught:
            parameter.lerp_(taught[name], 1 - keep)
