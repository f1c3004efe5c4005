"""A gate between what one modality says and what the others say."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.nn.attention import Attention


class GatedInteraction(nn.Module):
    """What a modality says Z is divided, by a gate, into what it shares with others and what is its own.

    With C what Z finds in the others by attention and ``G = sigmoid(W [Z; C])``, the shared part is
    ``LN(G C + (1 - G) Z W_s)`` and the own one ``LN((1 - G) Z W_p)``.

    Args:
        width: features of every token.
        heads: attention heads; must divide ``width``. 0: there are no others, and C is 0.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads) if heads else None
        self.gate = nn.Linear(2 * width, width)
        self.shared, self.specific = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.shared_norm, self.specific_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, name: str, z: dict[str, Tensor], present: Tensor) -> tuple[Tensor, Tensor]:
        """Return shared and specific semantics (batch, tokens, width) of the modality ``name``.

        Args:
            name: one of ``z``.
            z: modality -> (batch, tokens, width).
            present: (batch, modalities) bool; C is 0 where no other modality is.
        """
        own, tokens = z[name], z[name].shape[1]
        others = [(x, here) for (n, x), here in zip(z.items(), present.unbind(1), strict=True) if n != name]
        context = torch.zeros_like(own)
        if self.attention:
            steps = torch.cat([x for x, _ in others], dim=1)
            seen = torch.cat([here[:, None].expand(-1, tokens) for _, here in others], dim=1)
            context = self.attention(own, steps, steps, seen.unsqueeze(1).expand(-1, tokens, -1))
        gate = self.gate(torch.cat([own, context], dim=2)).sigmoid()
        shared = self.shared_norm(gate * context + (1 - gate) * self.shared(own))
        return shared, self.specific_norm((1 - gate) * self.specific(own))
