"""How fast the encoder of each modality learns: the size of its gradient, and how even these sizes are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from polymodal.methods.base import Method


def encoders_of(method: Method) -> dict[str, list[nn.Parameter]]:
    """Return modality -> parameters of the modules called like it.

    Empty where a modality has none: there is nothing to compare then.
    """
    named = [(set(name.split(".")), parameter) for name, parameter in method.named_parameters()]
    found = {n: [p for parts, p in named if n in parts] for n in method.schema.names}
    return found if len(found) > 1 and all(found.values()) else {}


def gradient_sizes(encoders: Mapping[str, Sequence[nn.Parameter]], device: torch.device) -> dict[str, Tensor]:
    """Return modality -> norm of its encoder's gradient by the root of the number of parameters, frozen ones too."""
    sizes = {}
    for name, parameters in encoders.items():
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients) if gradients else torch.zeros((), device=device)
        sizes[name] = norm / math.sqrt(sum(p.numel() for p in parameters))
    return sizes


def learning_index(sizes: Mapping[str, float]) -> float:
    """Return the Modality Learning Index of mean gradient sizes (MissBench, 2026; our reading of it).

    1 - (most - least) / (most + least): 1 where all encoders learn alike, 0 where one does not learn; NaN where none
    does, or there are fewer than two.
    """
    if len(sizes) < 2 or not max(sizes.values()) > 0:
        return math.nan
    most, least = max(sizes.values()), min(sizes.values())
    return 1 - (most - least) / (most + least)
