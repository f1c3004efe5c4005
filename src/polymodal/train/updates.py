"""Which optimiser moves which parameters, and how fast."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch

from polymodal.core import OptionError
from polymodal.core.errors import nearest
from polymodal.methods.base import Group, Method, Phase, Update
from polymodal.train.recipe import Recipe


def choose(method: Method, phase: Phase) -> list[tuple[Update, list[Group]]]:
    """Return the updates of ``phase``, each with the parameters that it moves.

    Raises:
        OptionError: an update without parameters, a parameter that two updates move unasked, a wrong group or name.
    """
    groups = method.parameter_groups()
    for group in groups:
        if group.name not in ("pretrained", "new"):
            raise OptionError(f"parameter group {group.name!r} is neither 'pretrained' nor 'new'")
    chosen, moved = [], dict[str, set[str]]()
    for update in phase.updates or (Update("", lambda name: True),):
        parts = [replace(g, parameters=tuple(n for n in g.parameters if _moves(phase, update, n))) for g in groups]
        own = {name for part in parts for name in part.parameters}
        _check(phase, update, own, moved)
        moved[update.name] = own
        chosen.append((update, [part for part in parts if part.parameters]))
    return chosen


def _moves(phase: Phase, update: Update, name: str) -> bool:
    return (phase.parameters is None or phase.parameters(name)) and update.parameters(name)


def _check(phase: Phase, update: Update, own: set[str], before: dict[str, set[str]]) -> None:
    """Raise OptionError where ``update``, which moves ``own``, does not go with the updates ``before`` it."""
    place = f"update {update.name!r} of phase {phase.name!r}" if phase.updates else f"phase {phase.name!r}"
    if update.name in before:
        raise OptionError(f"phase {phase.name!r} has two updates called {update.name!r}; rename one of them")
    if update.every < 1 or not update.rate > 0:
        raise OptionError(f"{place} needs every >= 1 and rate > 0, got {update.every} and {update.rate}")
    if not own:
        raise OptionError(f"{place} moves no trainable parameter; let it choose one, or leave it out")
    for name in update.shares:
        if name not in before:
            raise OptionError(f"{place} shares parameters with {name!r}, no update before it{nearest(name, before)}")
    for other, moved in before.items():
        both = sorted(own & moved)
        if both and other not in update.shares:
            more = f" and {len(both) - 1} more" if len(both) > 1 else ""
            raise OptionError(f"{place} moves {both[0]}{more} as {other!r} does; add shares=({other!r},) if it should")


def make_optimizer(
    method: Method, update: Update, groups: Collection[Group], recipe: Recipe
) -> torch.optim.AdamW | torch.optim.SGD:
    """Return the optimiser of ``update``; each group of it knows its ``name`` and the rate it starts from."""
    parameters = dict(method.named_parameters())
    rates = {"pretrained": recipe.lr_pretrained, "new": recipe.lr}
    options = [
        {
            "params": [parameters[n] for n in group.parameters],
            "lr": rates[group.name] * group.rate * update.rate,
            "initial_lr": rates[group.name] * group.rate * update.rate,
            "weight_decay": recipe.weight_decay if group.decay else 0.0,
            "name": group.name if group.rate == 1 else f"{group.name} x {group.rate:g}",
        }
        for group in groups
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(options, momentum=recipe.momentum, fused=True)
    return torch.optim.AdamW(options, betas=(recipe.momentum, 0.999), fused=True)
