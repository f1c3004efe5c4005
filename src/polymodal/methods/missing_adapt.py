"""Missing-modality adaptation: a frozen network, modulated by a small set of parameters per subset of modalities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from polymodal.core import Batch, OptionError, Output, Schema
from polymodal.methods._wrapper import PREFIX, Wrapper, outer
from polymodal.methods.base import Now, Phase, fraction, positive
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.traced import traced

Adapter = Literal["ssf", "lora", "bitfit", "norm"]

ADAPT = "adapt"
BASE = "base:"

_MAPS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.LayerNorm, nn.GroupNorm, _BatchNorm)


class MissingAdapt(Wrapper):
    """Robust Multimodal Learning with Missing Modalities via Parameter-Efficient Adaptation (Reza, Prater-Bennette &
    Asif, IEEE TPAMI, arXiv 2310.03986).

    Stage 1 trains a base network on all modalities. Stage 2 freezes it and learns, for every proper subset S of the
    modalities, its own parameters Delta_S inside every layer, so that ``f(x_S, 0; Theta, Delta_S)`` makes up for what
    is missing: ``min E[L_task]`` over Delta_S alone. Complete samples (and those without any modality) get the
    untouched base. Predictions and representations are the base's, any method that trains by gradient.

    - ``ssf``: ``h' = gamma * h + beta`` per channel after each linear, convolution and normalisation layer;
    - ``lora``: ``h' = W h + B A h`` at each linear and convolution layer;
    - ``bitfit``: every bias of these layers moves; ``norm``: ``ssf`` at normalisation layers only.

    All four are folded into the weights (``W' = diag(gamma) W, b' = gamma b + beta``; ``W' = W + B A``), which also
    reaches maps whose weights are read rather than called (packed attention). Recurrent weights are not adapted.

    Departures: the subsets are learned side by side; they share no parameter, so each descends on its own loss as if
    alone, but one clipping norm and one best epoch (by their mean validation loss) serve all of them. A sample that
    lacks more than the drill takes away trains the subset it has left. Reconstructed: rank, scale of A, length of the
    stages, the frozen heads. Layers that only the base's extra losses use get parameters that never train.

    Args:
        schema: what the batches hold.
        base: the network, a method id or ``file.py:Class``.
        base_options: its options; what is not given has its default.
        adapter: kind of Delta_S, see above.
        rank: of ``lora``.
        adapt_heads: modulate the prediction heads as well.
        base_share: share of the epochs for stage 1, in (0, 1).
    """

    family = "missing and noisy input"
    paper = (
        "Reza, Prater-Bennette & Asif, Robust Multimodal Learning with Missing Modalities via Parameter-Efficient "
        "Adaptation, IEEE TPAMI, arXiv:2310.03986"
    )
    drops = True

    def __init__(
        self,
        schema: Schema,
        *,
        base: str = "mult",
        base_options: dict[str, Any] = {},  # noqa: B006 (never changed)
        adapter: Adapter = "ssf",
        rank: int = 8,
        adapt_heads: bool = False,
        base_share: float = 0.5,
    ) -> None:
        super().__init__(schema, base, base_options)
        positive(rank=rank, base_share=base_share)
        fraction(base_share=base_share)
        self.base_share = base_share
        self.adapter = adapter
        self.layers = list(_layers(self.base, adapter, rank, adapt_heads))
        if not self.layers:
            raise OptionError(f"adapter {adapter!r} finds no layer in base {base!r}; choose another of the two")
        # One vector per subset: with a module per layer and subset, five modalities would mean 20,000 of them.
        self.adapters = nn.ParameterDict(
            {
                _key(kept): torch.cat([part for x in self.layers for part in _initial(adapter, x)])
                for size in range(1, len(schema.names))
                for kept in combinations(schema.names, size)
            }
        )

    def forward(self, batch: Batch) -> Output:
        """Return what the base makes of each sample with the parameters of its subset."""
        if self.now.phase == ADAPT and self.training:
            return Output({})  # the losses make passes of their own, one for each subset
        return super().forward(batch) if self.now.phase.startswith(BASE) else self.adapted(batch)

    def inner(self, now: Now) -> Now:
        """Return the base's own phase; in stage 2 it is as it was left."""
        return replace(now, phase=now.phase.removeprefix(BASE)) if now.phase.startswith(BASE) else Now()

    def adapted(self, batch: Batch) -> Output:
        """Return predictions for a batch of mixed subsets: one pass of the base for each."""
        if traced():
            return self._chosen(batch)
        patterns, member = batch.present.unique(dim=0, return_inverse=True)
        rows = [(member == i).nonzero()[:, 0] for i in range(len(patterns))]
        parts = [self._modulated(batch.select(r), p) for r, p in zip(rows, patterns.tolist(), strict=True)]
        back = torch.cat(rows).argsort()
        return Output(
            {n: torch.cat([p.predictions[n] for p in parts])[back] for n in parts[0].predictions},
            {n: torch.cat([p.representations[n] for p in parts])[back] for n in parts[0].representations},
        )

    def _chosen(self, batch: Batch) -> Output:
        """Return the same as a graph, which cannot sort samples: all of them pass with the parameters of every subset,
        and each takes what its own say."""
        names = self.schema.names
        found = self._modulated(batch, [True] * len(names))
        for key in self.adapters:
            pattern = [n in key.split("+") for n in names]
            own = (batch.present == torch.tensor(pattern, device=batch.present.device)).all(1)
            other = self._modulated(batch, pattern)
            found = Output(
                {n: _where(own, x, found.predictions[n]) for n, x in other.predictions.items()},
                {n: _where(own, x, found.representations[n]) for n, x in other.representations.items()},
            )
        return found

    def _modulated(self, batch: Batch, pattern: list[bool]) -> Output:
        key = _key(n for n, here in zip(self.schema.names, pattern, strict=True) if here)
        tensors = self.folded(key) if key in self.adapters else {}
        if self.now.phase == ADAPT:
            # The base may count something while it trains: it counts on copies, what is frozen stays as it is.
            tensors |= {n: b.clone() for n, b in self.base.named_buffers()}
        output: Output = functional_call(self.base, tensors, (batch,))
        return output

    def folded(self, subset: str) -> dict[str, Tensor]:
        """Return the base's parameters that Delta_S changes, changed; load them into the base to deploy one subset.

        Args:
            subset: names of the present modalities in schema order, joined with ``+``.
        """
        old = dict(self.base.named_parameters())
        new: dict[str, Tensor] = {}
        parts = iter(self.adapters[subset].split([size for x in self.layers for size in x.sizes]))
        for layer in self.layers:
            own = [next(parts) for _ in layer.sizes]
            weight, bias = _folded(self.adapter, own, old[layer.weight], old.get(layer.bias))
            new[layer.weight] = weight
            if bias is not None:
                new[layer.bias] = bias
        return new

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the base's losses; in stage 2 the task terms, averaged over all subsets of the batch."""
        if self.now.phase != ADAPT:
            return super().losses(batch, output)
        terms = []
        for key in self.adapters:
            reduced = batch.without(*set(self.schema.names).difference(key.split("+")))
            terms.append(task_losses(self.schema, reduced, self.adapted(reduced)))
        return {name: torch.stack([t[name] for t in terms]).mean() for name in terms[0]}

    def train(self, mode: bool = True) -> MissingAdapt:
        """Set training mode; in stage 2 batch normalisation keeps its statistics."""
        super().train(mode)
        if self.now.phase == ADAPT:
            for module in self.base.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def phases(self) -> list[Phase]:
        """The base's own phases, then ``adapt``; a single modality has nothing to adapt to."""
        share = self.base_share if self.adapters else 1.0
        everything = outer(lambda name: True, own=False)
        stages = [
            replace(p, name=BASE + p.name, share=share * p.share, parameters=_both(p.parameters, everything))
            for p in super().phases()
        ]
        if self.adapters:
            stages.append(Phase(ADAPT, 1 - share, lambda name: not name.startswith(PREFIX)))
        return stages


def _where(rows: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return torch.where(rows.view(-1, *[1] * (x.dim() - 1)), x, y)


def _both(first: Callable[[str], bool] | None, second: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda name: second(name) and (first is None or first(name))


@dataclass(frozen=True)
class _Layer:
    """A layer of the base, and where its part of Delta_S lies.

    Attributes:
        weight, bias: names of its parameters; it may lack the latter.
        shape: of the weight.
        sizes: numbers that each of its one or two parts of Delta_S holds.
    """

    weight: str
    bias: str
    shape: torch.Size
    sizes: tuple[int, ...]


def _layers(base: nn.Module, adapter: Adapter, rank: int, with_heads: bool) -> Iterator[_Layer]:
    """Yield the layers of ``base`` that ``adapter`` changes, among them prediction heads only if wanted."""
    parameters = dict(base.named_parameters())
    frozen = {id(x) for h in base.modules() if isinstance(h, Heads) and not with_heads for x in h.modules()}
    for name, module in base.named_modules():
        # Multi-head attention keeps the map to query, key and value as bare parameters.
        packed = "in_proj_" if isinstance(module, nn.MultiheadAttention) else ""
        weight, bias = (f"{name}.{packed}{part}".removeprefix(".") for part in ("weight", "bias"))
        if id(module) in frozen or weight not in parameters or not (packed or isinstance(module, (*_MAPS, *_NORMS))):
            continue
        shape, norm = parameters[weight].shape, isinstance(module, _NORMS)
        if adapter == "lora" and not norm:
            yield _Layer(weight, bias, shape, (rank * shape[1:].numel(), rank * shape[0]))
        elif adapter == "bitfit" and bias in parameters:
            yield _Layer(weight, bias, shape, (shape[0],))
        elif adapter == "ssf" or (adapter == "norm" and norm):
            yield _Layer(weight, bias, shape, (shape[0], shape[0]))


def _initial(adapter: Adapter, layer: _Layer) -> list[Tensor]:
    """Return a layer's parts of Delta_S that change nothing: gamma and beta, or A (variance 1 / inputs) and B."""
    if adapter == "lora":
        down = torch.randn(layer.sizes[0]) * layer.shape[1:].numel() ** -0.5
        return [down, torch.zeros(layer.sizes[1])]
    if adapter == "bitfit":
        return [torch.zeros(layer.sizes[0])]
    return [torch.ones(layer.sizes[0]), torch.zeros(layer.sizes[1])]


def _folded(adapter: Adapter, parts: list[Tensor], weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of a layer with its ``parts`` of Delta_S in them."""
    if adapter == "lora":
        down, up = parts[0].view(-1, weight[0].numel()), parts[1].view(len(weight), -1)
        return weight + (up @ down).view_as(weight), bias
    if adapter == "bitfit":
        return weight, parts[0] if bias is None else bias + parts[0]
    gamma, beta = parts
    scaled = weight * gamma.view(-1, *[1] * (weight.dim() - 1))
    return scaled, beta if bias is None else gamma * bias + beta


def _key(names: Iterable[str]) -> str:
    # No name holds a "+", so the key is as good as the frozen set and can be stored as a parameter's name.
    return "+".join(names)
