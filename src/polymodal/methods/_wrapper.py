"""Methods around another method."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from torch import Tensor

from polymodal.core import Batch, OptionError, Output, Schema
from polymodal.methods import build, find_method
from polymodal.methods.base import Group, Method, Now, Phase, Update, View

PREFIX = "base."


class Wrapper(Method):
    """Base of methods that train another method, their ``base``, in another way.

    All that the loop says to a method reaches the base: where training stands, data before the first phase and before
    each epoch, the end of a step. The base's phases, updates and parameter groups are the wrapper's, names prefixed
    with ``base.``; parameters of the wrapper's own train in every phase, in those with alternating updates in the last
    one: methods learn their task there. A subclass changes what it wants to be different.

    Args:
        schema: what the batches hold.
        base: the method, an id or ``file.py:Class``.
        base_options: its options; what is not given has its default.

    Raises:
        OptionError: a base that is solved in closed form.
    """

    def __init__(self, schema: Schema, base: str, base_options: dict[str, Any]) -> None:
        super().__init__(schema)
        self.base = build(find_method(base), schema, base_options)
        if not self.base.phases():
            raise OptionError(f"base {base!r} is solved in closed form; choose one that trains by gradient")
        self.handles_absence = self.base.handles_absence  # type: ignore[misc]  # the class speaks for most bases
        self.drops = type(self).drops or self.base.drops  # type: ignore[misc]

    @property
    def now(self) -> Now:
        """Where training stands; the base is told as well."""
        return self._now

    @now.setter
    def now(self, now: Now) -> None:
        self._now = now
        if "base" in self._modules:
            self.base.now = self.inner(now)

    def inner(self, now: Now) -> Now:
        """Return what the base is told; a wrapper with phases of its own speaks the base's language here."""
        return now

    def forward(self, batch: Batch) -> Output:
        """Return what the base returns."""
        output: Output = self.base(batch)
        return output

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the base's losses."""
        return self.base.losses(batch, output)

    def prepare(self, view: View) -> None:
        """Prepare the base."""
        self.base.prepare(view)

    def begin(self, view: View) -> None:
        """Tell the base that an epoch begins."""
        self.base.begin(view)

    def stepped(self) -> None:
        """Tell the base that a step is done."""
        self.base.stepped()

    def phases(self) -> list[Phase]:
        """Return the base's phases, in which the wrapper's own parameters train too."""
        return [_outer(phase) for phase in self.base.phases()]

    def parameter_groups(self) -> list[Group]:
        """Return the base's groups and those of the wrapper's own parameters."""
        base = [replace(g, parameters=tuple(PREFIX + n for n in g.parameters)) for g in self.base.parameter_groups()]
        own = [
            replace(g, parameters=tuple(n for n in g.parameters if not n.startswith(PREFIX)))
            for g in super().parameter_groups()
        ]
        return [*base, *(g for g in own if g.parameters)]


def _outer(phase: Phase) -> Phase:
    """Return a phase of the base as one of the wrapper."""
    last = len(phase.updates) - 1
    updates = tuple(_outer_update(u, own=i == last) for i, u in enumerate(phase.updates))
    return replace(phase, parameters=phase.parameters and outer(phase.parameters), updates=updates)


def _outer_update(update: Update, own: bool) -> Update:
    return replace(update, parameters=outer(update.parameters, own=own))


def outer(chooses: Callable[[str], bool], own: bool = True) -> Callable[[str], bool]:
    """Return a choice among the wrapper's parameters: those of the base by ``chooses``, its own if ``own``."""
    return lambda name: chooses(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else own


def task_names(names: Iterable[str]) -> set[str]:
    """Return those of ``names`` that are task losses, of one target or of several."""
    return {name for name in names if name == "task" or name.startswith("task/")}
