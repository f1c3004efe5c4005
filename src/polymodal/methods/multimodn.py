"""MultiModN: modalities read one after another into a state; what is missing is skipped."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema, Target, nearest
from polymodal.methods.base import Seamed, fraction, positive
from polymodal.nn.heads import Heads, sample_losses, task_losses
from polymodal.nn.inputs import Inputs, utterance_encoder
from polymodal.nn.masking import mean_where
from polymodal.nn.sequence import Context, Pooling

CHANGE = "change"
CHANGE_UNIT = 0.01
"""Factor on the change of state, as in the released code."""


class MultiModN(Seamed):
    """MultiModN (Swamy et al., NeurIPS 2023, arXiv 2309.14118): a state of fixed size passes through one module per
    modality; decoders of all targets read it after each.

        s_0 learned,   s_m = W_m [h_m(x_m); s_(m-1)] + b_m where x_m is there, else s_(m-1),   y_(t,m) = d_t(s_m).

    A missing modality is skipped: nothing stands in for it, so that its absence tells nothing. (Its presence may: a
    module that ran mostly on one class learns how frequent that class was among what it read.) All steps are
    supervised, the initial state too, skipped ones with a loss of 0 that still counts in the mean,

        L = sum_(m,t) err_(m,t) / (D (E + 1)) + 0.01 change sum_m mean (s_m - s_(m-1))^2 / E,

    for D targets and E modalities. The prediction is what is read last. What is read at every step is handed out as
    ``<target>/readings``: ``(batch, E + 1)`` or ``(batch, E + 1, classes)`` as predictions are, the initial state
    first, then in ``order``; how far each modality moved the state as ``change`` ``(batch, E)``. ``evaluate``'s subsets
    hold the same: those of the first modalities are the steps, single ones what a module says from s_0 alone.

    Departures: skipping is per sample (released: one missing value skips the module for the whole batch); the task's
    own loss on logits (``bounded`` for theirs); Adam is blind to a factor of all losses, so that their pair of weights
    (0.7, 0.3) is ``change=0.43``. The epoch is chosen by the last reading.

    Args:
        schema: what the batches hold.
        state: size of the state.
        width: features that a module makes of its modality; even for recurrent contexts.
        context: network over the steps of a sequence: bidirectional ``lstm`` or ``gru``, ``transformer``, ``none``.
        pool: how its states become one vector: ``last``, ``mean``, ``attention``.
        dropout: inside the modules.
        hidden: widths of the decoders' hidden layers; none for linear decoders.
        change: weight of the change of state.
        order: of the modalities, for example ``[text, audio]``; those not named follow in the order of the corpus,
            those that the corpus does not have are passed over: a preset also serves a subset.
        shuffle: whether every training batch draws an order of its own.
        bounded: cross entropy of classes takes sigmoid outputs for logits, as in the released code: it then lies
            between log(1 + 1/e) and log(1 + e) for two classes.
    """

    family = "missing and noisy input"
    paper = (
        "Swamy, Satayeva, Frej, Bossy, Vogels, Jaggi, Käser & Hartley, MultiModN: Multimodal, Multi-Task, "
        "Interpretable Modular Networks, NeurIPS 2023, arXiv:2309.14118"
    )
    modular = True

    def __init__(
        self,
        schema: Schema,
        *,
        state: int = 50,
        width: int = 64,
        context: Context = "lstm",
        pool: Pooling = "attention",
        dropout: float = 0.2,
        hidden: tuple[int, ...] = (),
        change: float = 0.0,
        order: tuple[str, ...] = (),
        shuffle: bool = False,
        bounded: bool = False,
    ) -> None:
        super().__init__(schema)
        positive(state=state, width=width, **{f"hidden[{i}]": size for i, size in enumerate(hidden)})
        fraction(dropout=dropout)
        if change < 0:
            raise OptionError(f"change must not be negative, got {change}")
        self.change, self.shuffle, self.bounded = change, shuffle, bounded
        self.order = _ordered(schema, order)
        self.inputs = Inputs(schema)
        self.encoders = nn.ModuleDict(
            {
                n: utterance_encoder(m, width, context=context, pool=pool, dropout=dropout)
                for n, m in self.inputs.modalities.items()
            }
        )
        self.updates = nn.ModuleDict({n: nn.Linear(width + state, state) for n in schema.names})
        self.initial = nn.Parameter(torch.randn(state))
        self.decoders = nn.ModuleList(Decoder(schema, t, state, hidden) for t in schema.joint_targets)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return one vector per modality."""
        return {name: self.encoders[name](stream) for name, stream in self.inputs(batch).items()}

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return the last readings as predictions, all of them, the changes of state, and the last state."""
        there = dict(zip(self.schema.names, present.unbind(1), strict=True))
        order = self.order
        if self.shuffle and self.training:
            order = tuple(order[i] for i in torch.randperm(len(order)).tolist())
        state = self.initial.expand(present.shape[0], -1)
        states, changes = {"": state}, {}
        for name in order:
            moved = self.updates[name](torch.cat([vectors[name], state], dim=1))
            # torch.where, not a product: what is skipped leaves no trace, not even a rounding.
            moved = torch.where(there[name][:, None], moved, state)
            changes[name] = (moved - state).square().mean(1)
            states[name] = state = moved
        whole = torch.stack([states[name] for name in ("", *self.order)], dim=1)
        # In an order drawn anew the last module is another one.
        predictions, readings = self._read(state), self._read(whole.flatten(0, 1))
        shown = {f"{name}/readings": said.unflatten(0, whole.shape[:2]) for name, said in readings.items()}
        shown |= {CHANGE: torch.stack([changes[n] for n in self.order], dim=1), "fused": state}
        return Output(predictions, shown)

    def _read(self, states: Tensor) -> dict[str, Tensor]:
        """Return what the decoders say of ``states`` (number, state)."""
        found = {}
        for target, decoder in zip(self.schema.joint_targets, self.decoders, strict=True):
            said = decoder(states)
            found[target.name] = said.sigmoid() if self.bounded and target.spec.answer == "class" else said
        return found

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the losses of all steps and of changes of state; in evaluation also that of the prediction."""
        targets, count = self.schema.joint_targets, len(self.order) + 1
        there = torch.stack([batch[name].present for name in self.order], dim=1)
        ran = torch.cat([torch.ones_like(there[:, :1]), there], dim=1)  # (batch, steps)
        losses: dict[str, Tensor] = {}
        for target in targets:
            readings = output.representations[f"{target.name}/readings"]
            found = [sample_losses(target, said, batch.targets[target.name]) for said in readings.unbind(1)]
            errors = [mean_where(loss.where(ran[:, m], 0.0), known) for m, (loss, known) in enumerate(found)]
            losses[f"steps/{target.name}"] = torch.stack(errors).sum() / (len(targets) * count)
        if self.change:
            moved = output.representations[CHANGE].mean(0).sum() / len(self.order)
            losses[CHANGE] = CHANGE_UNIT * self.change * moved
        return losses if self.training else {**losses, **task_losses(self.schema, batch, output)}


class Decoder(nn.Module):
    """Perceptron with ReLU from the state to one target: ``(number, state)`` -> as predictions are. Tasks share the
    state, not what is read out of it."""

    def __init__(self, schema: Schema, target: Target, state: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        sizes = (state, *hidden)
        self.layers = nn.Sequential(*(nn.Sequential(nn.Linear(*pair), nn.ReLU()) for pair in pairwise(sizes)))
        self.head = Heads(replace(schema, targets=(target,)), sizes[-1])

    def forward(self, states: Tensor) -> Tensor:
        """Return the reading."""
        (said,) = self.head(self.layers(states)).values()
        return said


def _ordered(schema: Schema, asked: tuple[str, ...]) -> tuple[str, ...]:
    """Return all modalities, those ``asked`` for first; OptionError where one is named twice, or none is there."""
    for name in asked:
        if asked.count(name) > 1:
            raise OptionError(f"order names {name!r} twice; name it once")
    known = tuple(name for name in asked if name in schema.names)
    if asked and not known:
        raise OptionError(f"order names {asked[0]!r}, which is no modality{nearest(asked[0], schema.names)}")
    return (*known, *(n for n in schema.names if n not in known))
