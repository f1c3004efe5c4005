"""MFN: one LSTM per modality, attention over what changed in their cells, a gated memory."""

from __future__ import annotations

from torch import nn

from polymodal.core import Batch, Output, Schema
from polymodal.methods.base import Method, fraction, per_modality, positive
from polymodal.nn.heads import Heads
from polymodal.nn.inputs import Inputs
from polymodal.nn.memory import MemoryFusion, aligned, per_part

PARTS = (*MemoryFusion.PARTS, "head")
"""The perceptrons, as named in ``units`` and ``dropout``."""


class MFN(Method):
    """Memory Fusion Network (Zadeh et al., AAAI 2018, arXiv 1802.00927).

    LSTMs of the modalities run side by side. At every step attention weighs their cells of this and the previous step
    together (what changed, and where), and the result writes into a gated memory. The last hidden states and the last
    memory are read by a perceptron. The memory does not feed back into the LSTMs.

    Gates see the attended cells and the memory, as in the released code; the paper's equations show the cells only.

    Departures: streams of different rates are brought to one axis by overlap-weighted averages (MMSA's configuration
    averages audio and vision over time instead, so that their LSTMs read a constant); states are read after the last
    true step; a vector modality is a constant input. An absent modality has zero states and takes no attention.

    Args:
        schema: what the batches hold.
        hidden: units of the LSTMs, for all modalities or by name.
        memory: features of the memory.
        units: hidden units of the perceptrons: one number, or all of ``attention``, ``proposal``, ``retain``,
            ``update`` (the gates) and ``head``.
        dropout: inside the same.
        window: steps of cells that attention sees; 2 is the published delta memory, 1 takes the delta away.
        max_steps: longest common axis.
    """

    family = "fusion"
    paper = "Zadeh et al., Memory Fusion Network for Multi-view Sequential Learning, AAAI 2018, arXiv:1802.00927"

    def __init__(
        self,
        schema: Schema,
        *,
        hidden: int | dict[str, int] = 64,
        memory: int = 128,
        units: int | dict[str, int] = 64,
        dropout: float | dict[str, float] = 0.2,
        window: int = 2,
        max_steps: int = 50,
    ) -> None:
        super().__init__(schema)
        positive(memory=memory, window=window, max_steps=max_steps)
        widths = per_modality("hidden", hidden, schema.names, positive)
        sizes = per_part("units", units, PARTS, positive)
        drops = per_part("dropout", dropout, PARTS, fraction)
        self.max_steps = max_steps
        self.inputs = Inputs(schema)
        self.fusion = MemoryFusion(
            self.inputs.modalities, hidden=widths, memory=memory, units=sizes, dropout=drops, window=window
        )
        self.mix = nn.Sequential(nn.Linear(self.fusion.width, sizes["head"]), nn.ReLU(), nn.Dropout(drops["head"]))
        self.heads = Heads(schema, sizes["head"])

    def forward(self, batch: Batch) -> Output:
        """Return predictions and the last states, the memory behind the LSTMs'."""
        fused = self.fusion(aligned(self.inputs(batch), self.max_steps))
        return Output(self.heads(self.mix(fused)), {"fused": fused})
