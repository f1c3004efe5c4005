"""ARGF: modalities are translated into the target's space by an adversary, then fused over a graph."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema, Stream, nearest
from polymodal.methods.base import Method, Phase, Update, fraction, named, positive
from polymodal.nn.fusion import InteractionGraph
from polymodal.nn.heads import Heads
from polymodal.nn.inputs import Inputs
from polymodal.nn.masking import mean_where
from polymodal.nn.sequence import masked_mean
from polymodal.nn.subnet import PresentNorm

GENERATE, CLASSIFY, DISCRIMINATE, FUSE = "generate", "classify", "discriminate", "fuse"
_ENCODERS = ("inputs.", "encoders.")


class ARGF(Method):
    """Adversarial Representation Learning and Graph Fusion (Mai, Hu & Xing, AAAI 2020, arXiv 1911.07848).

    Encoders E_m turn every modality into a code e_m in (-1, 1)^h; the modality ``target`` is tau, the others are the
    sources s. Every batch is taken by four updates, each with an optimiser of its own:

    1. ``generate`` moves encoders and decoders G: ``alpha sum_s BCE(D(e_s), 1) + (1 - alpha) sum_m |G(e_m) - x_m|``;
    2. ``classify`` moves encoders and a classifier K shared by all modalities: ``sum_m |K(e_m) - y|``;
    3. ``discriminate`` moves the discriminator: ``(BCE(D(e_tau), 1) + sum_s BCE(D(e_s), 0)) / 2``;
    4. ``fuse`` moves the graph fusion network and what reads it: ``|GFN(e) - y|``.

    ``|.|`` is the L1 norm, summed over elements and samples; where there are classes, y is compared with probabilities.
    The epoch is chosen by the mean fusion loss over labels. Weights of the graph's vertices are in the representation
    ``weights``.

    Departures: a sequence is averaged over its true steps first, for the paper reads utterance vectors; inputs are
    squashed by tanh to the range that the decoders can reach; batch statistics count present samples only, and an
    absent modality is in no loss and in no vertex; numbers, and several classes at once, are learned by the same L1;
    the fresh forward pass of each update that current PyTorch needs anyway. Prediction uses running statistics: the
    released evaluation left batch statistics and dropout on.

    Args:
        schema: what the batches hold.
        width: h, features of a code.
        dropout: in the encoders.
        alpha: share of the adversary in the first update.
        target: the modality whose space the others are translated to; empty for the text (``Schema.anchor``).
        widest: most units of an encoder's first two layers, which otherwise have ten times the input's and h's.
        end_to_end: the fusion loss moves the encoders too, as an unused variant of the released code has it.
    """

    family = "fusion"
    paper = (
        "Mai, Hu & Xing, Modality to Modality Translation: An Adversarial Representation Learning and Graph Fusion "
        "Network for Multimodal Fusion, AAAI 2020, arXiv:1911.07848"
    )

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 50,
        dropout: float = 0.1,
        alpha: float = 0.01,
        target: str = "",
        widest: int = 1024,
        end_to_end: bool = False,
    ) -> None:
        super().__init__(schema)
        positive(width=width, widest=widest)
        fraction(dropout=dropout, alpha=alpha)
        if target and target not in schema.names:
            raise OptionError(f"target is {target!r}, which is no modality{nearest(target, schema.names)}")
        self.alpha, self.end_to_end = alpha, end_to_end
        self.target = target or schema.anchor
        self.inputs = Inputs(schema)
        names = self.inputs.modalities
        self.encoders = nn.ModuleDict({n: _encoder(m.width, width, dropout, widest) for n, m in names.items()})
        self.decoders = nn.ModuleDict({n: _decoder(width, m.width) for n, m in names.items()})
        self.discriminator = nn.Sequential(
            nn.Linear(width, 64), nn.LeakyReLU(0.2), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 1)
        )
        self.shared = _Chain(PresentNorm(width), nn.Dropout(0.5), nn.Linear(width, width), nn.Tanh(), nn.Dropout(0.5))
        self.shared_heads = Heads(schema, width)
        self.graph = InteractionGraph(len(names), width)
        self.readout = _Chain(
            PresentNorm(self.graph.width), nn.Linear(self.graph.width, 50), nn.Tanh(), nn.Linear(50, 50), nn.Tanh()
        )
        self.heads = Heads(schema, 50)

    def forward(self, batch: Batch) -> Output:
        """Return predictions, codes and the fused vector; while another update than ``fuse`` is computed, the codes."""
        vectors = self.vectors(batch)
        codes = {n: self.encoders[n](x, batch[n].present) for n, x in vectors.items()}
        inputs = {f"{n} vector": x for n, x in vectors.items()}
        if self.training and self.now.update not in ("", FUSE):
            return Output({}, codes | inputs)
        there = batch.present
        graph, weights = self.graph.vertices(list(codes.values()), there)
        fused = self.readout(graph, there.any(dim=1))
        return Output(self.heads(fused), {**codes, **inputs, "weights": weights, "fused": fused})

    def vectors(self, batch: Batch) -> dict[str, Tensor]:
        """Return x: each modality's mean over its true steps, squashed, ``(batch, width)``."""
        return {n: _mean(stream).tanh() for n, stream in self.inputs(batch).items()}

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the losses of the update at hand; outside of updates, the mean fusion loss over labels."""
        codes = {n: output.representations[n] for n in self.schema.names}
        there = {n: batch[n].present for n in codes}
        update = self.now.update
        if update == GENERATE:
            return self._generate(codes, there, output)
        if update == CLASSIFY:
            own = {n: self._errors(batch, self.shared_heads(self.shared(e, there[n]))) for n, e in codes.items()}
            sums = [(error * (known & there[n])).sum() for n, found in own.items() for error, known in found]
            return {"classify": torch.stack(sums).sum() / len(self.schema.joint_targets)}
        if update == DISCRIMINATE:
            frozen = {n: e.detach() for n, e in codes.items()}
            real = self._called(frozen[self.target], there[self.target], 1.0)
            fake = [self._called(frozen[n], there[n], 0.0) for n in self._sources()]
            return {"discriminate": 0.5 * torch.stack([real, *fake]).sum()}
        means = [mean_where(error, known) for error, known in self._errors(batch, output.predictions)]
        return {"task": torch.stack(means).mean()}

    def _generate(self, codes: dict[str, Tensor], there: dict[str, Tensor], output: Output) -> dict[str, Tensor]:
        rebuilt = []
        for name, code in codes.items():
            wanted = output.representations[f"{name} vector"].detach()
            error = (self.decoders[name](code, there[name]) - wanted).abs().sum(dim=1)
            rebuilt.append(torch.where(there[name], error, error.new_zeros(())).sum())
        losses = {"reconstruct": (1 - self.alpha) * torch.stack(rebuilt).sum()}
        fooled = [self._called(codes[n], there[n], 1.0) for n in self._sources()]
        if fooled:
            losses["adversary"] = self.alpha * torch.stack(fooled).sum()
        return losses

    def _sources(self) -> list[str]:
        return [n for n in self.schema.names if n != self.target]

    def _called(self, code: Tensor, there: Tensor, label: float) -> Tensor:
        """Return the mean binary cross entropy of the discriminator, over present samples, if all were ``label``."""
        logits = self.discriminator(code)[:, 0]
        error = F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label), reduction="none")
        return torch.where(there, error, error.new_zeros(())).sum() / there.sum().clamp(min=1)

    def _errors(self, batch: Batch, predictions: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Return for each target the L1 distance of every sample to its label, and which labels are known."""
        found = []
        for target in self.schema.joint_targets:
            label, spec = batch.targets[target.name], target.spec
            share = spec.columns(predictions[target.name].float())[spec.averaged]
            if spec.answer == "class":
                label = F.one_hot(label.clamp(min=0), len(target.classes)).to(share.dtype)
            error = (share - torch.nan_to_num(label)).abs()
            found.append((error.sum(dim=1) if error.dim() > 1 else error, batch.labelled(target.name)))
        return found

    def phases(self) -> list[Phase]:
        """One phase of four alternating updates."""
        fusion = ("graph.", "readout.", "heads.", *(_ENCODERS if self.end_to_end else ()))
        return [
            Phase(
                updates=(
                    Update(GENERATE, named(*_ENCODERS, "decoders.")),
                    Update(CLASSIFY, named(*_ENCODERS, "shared.", "shared_heads."), shares=(GENERATE,)),
                    Update(DISCRIMINATE, named("discriminator.")),
                    Update(FUSE, named(*fusion), shares=(GENERATE, CLASSIFY) if self.end_to_end else ()),
                )
            )
        ]


class _Chain(nn.ModuleList):
    """Layers in a row, whose batch normalisation counts present samples only; zeros where absent."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(layers)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, present) if isinstance(layer, PresentNorm) else layer(x)
        return torch.where(present.unsqueeze(1), x, x.new_zeros(()))


def _encoder(width_in: int, width: int, dropout: float, widest: int) -> _Chain:
    widths = [width_in, min(10 * width_in, widest), min(10 * width, widest), width]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.Dropout(dropout), PresentNorm(after), nn.LeakyReLU()]
    return _Chain(*layers, nn.Linear(width, width), nn.Tanh())


def _decoder(width: int, width_out: int) -> _Chain:
    return _Chain(
        nn.Linear(width, 512),
        nn.Dropout(0.5),
        nn.LeakyReLU(0.2),
        nn.Linear(512, 64),
        nn.Dropout(0.5),
        PresentNorm(64),
        nn.LeakyReLU(0.2),
        nn.Linear(64, width_out),
        nn.Tanh(),
    )


def _mean(stream: Stream) -> Tensor:
    return stream.tensor if stream.lengths is None else masked_mean(stream.tensor, stream.mask)
