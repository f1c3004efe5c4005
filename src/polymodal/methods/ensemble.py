"""Several methods as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema, Target, nearest
from polymodal.core.options import read_value
from polymodal.methods import build, find_method
from polymodal.methods.base import Group, Method, Now, Phase, View

TINY = 1e-7
"""Probabilities are kept this far from 0 and 1, so that their logarithms are finite."""

KEYS = ("method", "options", "modalities")
"""What may be said of a member."""


@dataclass(frozen=True)
class Mixed(Output):
    """What an ensemble says, with what each of its members said."""

    parts: tuple[Output, ...] = field(default=(), repr=False)


class Ensemble(Method):
    """Baseline: the weighted mean of several methods, each on modalities of its own (Caruana et al., ICML 2004).

    Mixed are numbers, and probabilities of classes. A member all of whose modalities are absent from a sample has no
    say in it, unless all others are as blind. The weights are not learned by gradient: equal at first, set by
    ``polymodal fit best``, which trains every member by itself and chooses weights on samples that none of them saw;
    it may also add a ``bias`` to the logits of each class, so that rare classes are named too.
    Trained as a method of its own, all members learn side by side, each by its own losses; their mean chooses the
    epoch.

    Args:
        schema: what the batches hold.
        members: of each ``method`` and, where they are not its defaults and all modalities, ``options`` and
            ``modalities``.
    """

    family = "baseline"
    paper = "baseline; Caruana et al., Ensemble Selection from Libraries of Models, ICML 2004"

    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        schema: Schema,
        *,
        members: list[dict[str, Any]] = [{"method": "linear"}, {"method": "late-fusion"}],  # noqa: B006 (never changed)
    ) -> None:
        super().__init__(schema)
        if not members:
            raise OptionError("an ensemble needs members, such as members=[{method: linear}]")
        self.reads: list[tuple[str, ...]] = []
        self.members = nn.ModuleList()
        for number, member in enumerate(members):
            kept = _modalities(schema, member, number)
            self.reads.append(kept)
            options = read_value(f"members[{number}]: options", member.get("options", {}), dict[str, Any])
            self.members.append(build(find_method(member["method"]), schema.only(kept), options))
        self.handles_absence = all(m.handles_absence for m in self._all())  # type: ignore[misc]  # of these members
        self.drops = any(m.drops for m in self._all())  # type: ignore[misc]
        self.register_buffer("weight", torch.full((len(members),), 1 / len(members)))
        self.decided = [t for t in schema.joint_targets if t.spec.answer == "class"]
        self.register_buffer("bias", torch.zeros(sum(len(t.classes) for t in self.decided)))
        self.heard = list(range(len(members)))
        self.register_load_state_dict_pre_hook(_without_bias)
        self.register_load_state_dict_post_hook(lambda module, keys: module._hear())
        self.now = Now()

    def _all(self) -> list[Method]:
        return list(self.members)  # type: ignore[arg-type]  # a list of modules

    def _hear(self) -> None:
        """Note who has a weight: the others need not be asked."""
        self.heard = [i for i, weight in enumerate(self.weight.tolist()) if weight > 0]

    @property
    def now(self) -> Now:
        """Where training stands; the members are told as well."""
        return self._now

    @now.setter
    def now(self, now: Now) -> None:
        self._now = now
        for member in self._all() if "members" in self._modules else ():
            member.now = now

    def forward(self, batch: Batch) -> Mixed:
        """Return the weighted mean, and as ``fused`` the members' own side by side."""
        own = [batch.only(self.reads[i]) for i in self.heard]
        parts = tuple(self._all()[i](part) for i, part in zip(self.heard, own, strict=True))
        shares = said_shares(self.weight[self.heard], torch.stack([part.present.any(dim=1) for part in own]))
        predictions = {
            t.name: mixed(t, torch.stack([averaged(t, part.predictions[t.name]) for part in parts]), shares)
            for t in self.schema.joint_targets
        }
        biases = self.bias.split([len(t.classes) for t in self.decided])
        predictions |= {t.name: predictions[t.name] + b for t, b in zip(self.decided, biases, strict=True)}
        fused = torch.cat([part.representations["fused"].flatten(1) for part in parts], dim=1)
        return Mixed(predictions, {"fused": fused}, parts)

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return every loss of the members by name, each weighted as the member is; in evaluation those of the mean."""
        if not self.training or not isinstance(output, Mixed):
            return super().losses(batch, output)
        total: dict[str, Tensor] = {}
        for i, part in zip(self.heard, output.parts, strict=True):
            for name, loss in self._all()[i].losses(batch.only(self.reads[i]), part).items():
                total[name] = total.get(name, loss.new_zeros(())) + self.weight[i] * loss
        return total

    def prepare(self, view: View) -> None:
        """Prepare every member with its own modalities."""
        for member, kept in zip(self._all(), self.reads, strict=True):
            member.prepare(_narrow(view, kept))

    def begin(self, view: View) -> None:
        """Tell every member that an epoch begins."""
        for member, kept in zip(self._all(), self.reads, strict=True):
            member.begin(_narrow(view, kept))

    def stepped(self) -> None:
        """Tell every member that a step is done."""
        for member in self._all():
            member.stepped()

    def phases(self) -> list[Phase]:
        """Return one phase; OptionError for members that need several, or a phase of their own."""
        for member in self._all():
            if member.phases() not in ([], [Phase()]):
                raise OptionError(
                    f"{type(member).__name__} trains in phases of its own, which members of an ensemble cannot have "
                    "side by side; polymodal fit best trains each by itself"
                )
        return [Phase()] if any(member.phases() for member in self._all()) else []

    def parameter_groups(self) -> list[Group]:
        """Return the groups of the members."""
        return [
            replace(group, parameters=tuple(f"members.{number}.{name}" for name in group.parameters))
            for number, member in enumerate(self._all())
            for group in member.parameter_groups()
        ]


def _modalities(schema: Schema, member: dict[str, Any], number: int) -> tuple[str, ...]:
    """Return the modalities of a member in the order of ``schema``; OptionError where the member is none."""
    for key in member:
        if key not in KEYS:
            raise OptionError(f"members[{number}]: there is no option {key!r}{nearest(str(key), KEYS)}")
    if not isinstance(member.get("method"), str):
        raise OptionError(f"members[{number}] needs method: the id of one, see polymodal methods")
    asked = read_value(f"members[{number}]: modalities", member.get("modalities", schema.names), tuple[str, ...])
    for name in asked:
        schema.modality(name)
    return tuple(n for n in schema.names if n in asked) or schema.names


def _without_bias(module: nn.Module, tensors: dict[str, Any], prefix: str, *args: Any) -> None:
    """Give weights of older versions, which have no biases, those of an untrained ensemble."""
    tensors.setdefault(f"{prefix}bias", module.bias)


def _narrow(view: View, names: tuple[str, ...]) -> View:
    def only(passes: Callable[[], Iterable[Batch]]) -> Callable[[], Iterable[Batch]]:
        return lambda: (batch.only(names) for batch in passes())

    return View(only(view.train), only(view.valid))


def averaged(target: Target, prediction: Tensor) -> Tensor:
    """Return what several models may average, ``(batch, ...)`` float32: numbers as they are, classes' probabilities."""
    if target.spec.averaged != "probability":
        return prediction.float()
    return target.spec.columns(prediction.float())["probability"]


def mixed(target: Target, said: Tensor, shares: Tensor) -> Tensor:
    """Return the prediction that stands for a weighted mean.

    Args:
        target: what is predicted.
        said: ``(members, batch, ...)`` of ``averaged``.
        shares: ``(members, batch)``, summing to 1 over the members.

    Returns:
        As a method predicts: a number, or logits whose probabilities are the mean.
    """
    mean = (said * shares.view(*shares.shape, *[1] * (said.dim() - 2))).sum(0)
    if target.spec.averaged != "probability":
        return mean
    mean = mean.clamp(TINY, 1 - TINY)
    return mean.log() if target.spec.answer == "class" else mean.logit()


def said_shares(weights: Tensor, sees: Tensor) -> Tensor:
    """Return the share of each member in each sample, ``(members, batch)``: of those that see something of it.

    Args:
        weights: ``(members,)``, not negative, one above 0.
        sees: ``(members, batch)`` bool; where no member with a weight sees anything, all have their say.
    """
    shares = weights[:, None] * sees
    shares = torch.where(shares.sum(0) > 0, shares, weights[:, None].expand_as(shares))
    return shares / shares.sum(0)
