"""TETFN: a multimodal transformer in which the other modalities meet by way of text, with labels of their own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import permutations

import torch
from torch import Tensor, nn

from polymodal.core import Batch, Output, Schema, Stream
from polymodal.methods.base import Method, View, divides, fraction, per_modality, positive
from polymodal.nn.attention import CrossModalStack
from polymodal.nn.fast import LSTM
from polymodal.nn.heads import task_losses
from polymodal.nn.inputs import Inputs, as_sequence
from polymodal.nn.masking import masked_max
from polymodal.nn.own_labels import Branch, OwnLabels
from polymodal.nn.subnet import final_state


class TETFN(Method):
    """Text Enhanced Transformer Fusion Network (Wang et al., Pattern Recognition 136, 2023).

    1. Text is projected; every other modality runs through an LSTM first. That gives steps X_m.
    2. As in MulT, every modality (target) attends to every other one (source). Where neither is text, the source first
       attends to text, and the target to what comes of that. Per target the results are concatenated, read by a
       transformer, and its last step is taken.
    3. Labels of single modalities, their heads (on the maximum of X_m over time) and the loss are Self-MM's.

    Departures from MMSA's code, which is the source of all sizes: padding is never seen (there, nearly every "last
    step" is a padded one), and causal masks are shifted by the difference of true lengths, as in MulT; one kernel, 1,
    for all projections, as the code runs. Reconstructed: ``dropout``. Any number of modalities, the first one of kind
    text, else the first one in the place of a missing ``text``. An absent source adds nothing; an absent text leaves
    the source as it is; an absent target is read as zeros. Departures of the labels are those of ``self-mm``.

    Args:
        schema: what the batches hold.
        width: features per step after the projection.
        heads: attention heads; must divide ``width``.
        layers: of each transformer; the one in which a source attends to text has a single layer.
        hidden: units of the LSTMs, for all modalities but text or by name.
        own: features of the modalities' own branches, for all or by name.
        fused: features of the fusion.
        dropout: on attention weights and residual branches of the transformers.
        head_dropout: before the fusion and before the branch of each modality.

    Output: as ``self-mm``: ``fused`` (batch, fused); per modality n the features ``n`` (batch, own) of its branch and
    its own predictions ``y_<n>`` (batch, targets), zero where it is absent.
    """

    family = "fusion"
    paper = (
        "Wang et al., TETFN: A text enhanced transformer fusion network for multimodal sentiment analysis, Pattern "
        "Recognition 136, 2023, doi:10.1016/j.patcog.2022.109259"
    )
    tasks = frozenset({"regression"})

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 50,
        heads: int = 5,
        layers: int = 2,
        hidden: int | dict[str, int] = 32,
        own: int | dict[str, int] = 32,
        fused: int = 64,
        dropout: float = 0.1,
        head_dropout: float = 0.0,
    ) -> None:
        super().__init__(schema)
        names = schema.names
        texts = schema.language
        units = per_modality("hidden", hidden, tuple(n for n in names if n not in texts), positive)
        sizes = per_modality("own", own, names, positive)
        positive(width=width, heads=heads, layers=layers, fused=fused)
        fraction(dropout=dropout, head_dropout=head_dropout)
        divides(width, heads=heads)
        self.inputs = Inputs(schema)
        self.anchor = schema.anchor
        self.steps = nn.ModuleDict({n: _Steps(m.width, units.get(n), width) for n, m in self.inputs.modalities.items()})
        stack = partial(CrossModalStack, heads=heads, attention_dropout=dropout, layer_dropout=dropout)
        self.enhancers, self.crossings = nn.ModuleDict(), nn.ModuleDict()
        for s, t in permutations(names, 2):
            if self.anchor not in (s, t):
                self.enhancers[f"{s}_to_{t}"] = stack(width, layers=1)
            self.crossings[f"{s}_to_{t}"] = stack(width, layers=layers)
        mixed = width * max(1, len(names) - 1)
        self.memories = nn.ModuleDict({t: stack(mixed, layers=layers) for t in names})
        self.branches = nn.ModuleDict({n: Branch(schema, width, size, head_dropout) for n, size in sizes.items()})
        self.fusion = Branch(schema, mixed * len(names), fused, head_dropout)
        self.memory = OwnLabels(schema, [fused, *sizes.values()])

    def forward(self, batch: Batch) -> Output:
        """Return predictions for ``batch`` and the representations named above."""
        streams = {n: self.steps[n](s) for n, s in self.inputs(batch).items()}
        fused, predictions = self.fusion(torch.cat([self.read(t, streams) for t in streams], dim=1))
        named = {"fused": fused}
        for name, stream in streams.items():
            features, own = self.branches[name](masked_max(stream.tensor, stream.mask))
            here = stream.present[:, None]
            named[name] = features * here
            named[f"y_{name}"] = torch.stack(list(own.values()), dim=1) * here
        return Output(predictions, named)

    def prepare(self, view: View) -> None:
        """Make room for every training sample."""
        self.memory.fill(view.train())

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms and, in training, ``unimodal_<n>`` for every modality; moves the memory on."""
        losses = task_losses(self.schema, batch, output)
        return losses | self.memory.losses(batch, output.representations) if self.training else losses

    def read(self, target: str, streams: Mapping[str, Stream]) -> Tensor:
        """Return the last true step ``(batch, width')`` of what a target found; zeros where it is absent."""
        own = streams[target]
        assert own.lengths is not None
        crossed = [self.cross(s, target, streams) for s in streams if s != target]
        x = torch.cat(crossed, dim=2) if crossed else own.tensor
        return final_state(self.memories[target](Stream(x, own.lengths, own.present)), own.lengths)

    def cross(self, source: str, target: str, streams: Mapping[str, Stream]) -> Tensor:
        """Return what the target found in the source, ``(batch, target time, width)``."""
        pair, found = f"{source}_to_{target}", streams[source]
        if pair in self.enhancers:
            enhanced = self.enhancers[pair](found, streams[self.anchor])
            found = Stream(enhanced, found.lengths, found.present)
        return self.crossings[pair](streams[target], found)


class _Steps(nn.Module):
    """An LSTM of ``hidden`` units, None for none, and a projection: a stream -> a sequence, zero at padding."""

    def __init__(self, width_in: int, hidden: int | None, width: int) -> None:
        super().__init__()
        self.rnn = None if hidden is None else LSTM(width_in, hidden, batch_first=True)
        self.linear = nn.Linear(hidden or width_in, width, bias=False)

    def forward(self, stream: Stream) -> Stream:
        stream = as_sequence(stream)
        x = stream.tensor if self.rnn is None else self.rnn(stream.tensor)[0]
        return Stream(self.linear(x) * stream.mask.unsqueeze(-1), stream.lengths, stream.present)
