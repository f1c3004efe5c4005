"""The contract of a method: one subclass of Method per paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Batch, DataError, Kind, OptionError, Output, Schema, find_task
from polymodal.nn.heads import task_losses

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Now:
    """Where training stands; set by the loop before every forward pass, read by methods that change on the way.

    Attributes:
        phase: name of the phase that trains.
        epoch: epochs of this phase that are over.
        share: part of this phase's steps that are done, in [0, 1]: what ramps read; 1 outside training.
        update: name of the update that is computed, empty where the phase has one.
    """

    phase: str = "train"
    epoch: int = 0
    share: float = 1.0
    update: str = ""


@dataclass(frozen=True)
class Update:
    """One of several optimiser steps that a phase takes on every batch, each with a forward pass and losses of its own.

    Attributes:
        name: what ``now.update`` says while it is computed; its losses are logged under it.
        parameters: chooses by name which parameters it moves; all others stand still and get no gradient.
        rate: factor on the learning rates.
        every: only each ``every``-th step takes this update.
        shares: names of earlier updates that move some of its parameters too; every other overlap is an error.
    """

    name: str
    parameters: Callable[[str], bool]
    rate: float = 1.0
    every: int = 1
    shares: tuple[str, ...] = ()


@dataclass(frozen=True)
class Phase:
    """A stage of training. It begins with the best weights of the stage before.

    Attributes:
        name: for logs; the phase's losses are logged under it.
        share: part of the run's epochs that this phase gets, for example 0.3; the shares of all phases sum to 1.
        parameters: chooses by name which parameters train in this phase; None for all.
        updates: alternating updates, in the order in which each batch takes them; empty for one update of everything
            that trains in this phase.
        select: the losses whose sum on the validation split chooses the best epoch and stops early. A name stands for
            the loss of that name and for all called ``name/...``, one per target. Validation asks for them with
            ``now.update`` empty.
    """

    name: str = "train"
    share: float = 1.0
    parameters: Callable[[str], bool] | None = None
    updates: tuple[Update, ...] = ()
    select: tuple[str, ...] = ("task",)


@dataclass(frozen=True)
class Group:
    """Parameters that share optimiser settings.

    Attributes:
        name: ``pretrained`` (gets ``lr_pretrained``) or ``new`` (gets ``lr``).
        parameters: names as in ``named_parameters``.
        decay: whether weight decay applies.
        rate: factor on the learning rate.
    """

    name: str
    parameters: tuple[str, ...]
    decay: bool = True
    rate: float = 1.0


@dataclass(frozen=True)
class View:
    """What a method may see of the data: passes over batches, never files or metrics.

    Attributes:
        train: returns an iterator over the training split, once through, in a fixed order.
        valid: the same for the validation split.
    """

    train: Callable[[], Iterable[Batch]]
    valid: Callable[[], Iterable[Batch]]


class Method(nn.Module):
    """Base of every method. The subclass's keyword-only constructor arguments are its configuration.

    Its ``state_dict`` is what is kept of a training and shared with others: all that a prediction needs, and nothing
    that grows with the number of samples. A buffer that only training needs, such as a memory of samples and their
    labels, is registered with ``persistent=False``: it goes into the checkpoint that training resumes from, no further.

    Class attributes:
        family: of methods that it is listed with, one or a few words.
        paper: reference with venue and arXiv number.
        kinds: modality kinds it accepts.
        tasks: tasks it can learn; it can then learn every task with the same answer (see ``core.Task``), a user's own
            too.
        handles_absence: whether it looks at ``stream.present``; if not, it is fed zeros and tables say so.
        drops: whether it takes modalities or steps from its training samples itself; tables of missing modalities rank
            such methods apart.
        modality_counts: (lowest, highest) number of modalities it works with.
        modular: whether what it is on fewer modalities is a part of it: built on those with the same options, it takes
            the weights of the same names, and says what the whole says where the others are absent. Such a run can be
            deployed with some of its modalities (see ``train.deploy``).
        finds_steps: whether it says of single steps what it says of samples: ``<target>/steps`` (see ``core.Output``).
        needs_domains: whether it learns from several domains and from nothing else.
    """

    family: ClassVar[str] = "other"
    paper: ClassVar[str] = ""
    kinds: ClassVar[frozenset[Kind]] = frozenset({"sequence", "vector", "text", "image", "frames"})
    tasks: ClassVar[frozenset[str]] = frozenset({"regression", "classification", "multilabel"})
    handles_absence: ClassVar[bool] = True
    drops: ClassVar[bool] = False
    modality_counts: ClassVar[tuple[int, int]] = (1, 99)
    modular: ClassVar[bool] = False
    finds_steps: ClassVar[bool] = False
    needs_domains: ClassVar[bool] = False

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.schema = schema
        self.now = Now()
        """Where training stands, set by the loop; ``forward`` and ``losses`` may depend on it."""
        name = type(self).__name__
        for modality in schema.modalities:
            if hasattr(nn.ModuleDict, modality.name):
                raise DataError(f"a modality cannot be called {modality.name!r}, torch uses that name; rename it")
            if modality.kind not in self.kinds:
                raise DataError(
                    f"{name} cannot read {modality.kind} modality {modality.name!r}; "
                    f"it reads {', '.join(sorted(self.kinds))}"
                )
        learned = {find_task(task).answer for task in self.tasks}
        for target in schema.joint_targets:
            if target.spec.answer not in learned:
                raise DataError(
                    f"{name} cannot learn {target.task} target {target.name!r}; it learns "
                    f"{', '.join(sorted(self.tasks))}; polymodal methods says what each method learns"
                )
        low, high = self.modality_counts
        if not low <= len(schema.modalities) <= high:
            raise DataError(
                f"{name} works with {low} to {high} modalities, the corpus has {len(schema.modalities)} "
                f"({', '.join(schema.names)}); choose some with ?modalities=..."
            )
        if self.needs_domains and not schema.domains:
            raise DataError(
                f"{name} learns from domains, the corpus has none; take them from a column with ?domain=COLUMN, or "
                "join several corpora with mix:"
            )

    def forward(self, batch: Batch) -> Output:
        """Return predictions and representations for ``batch``."""
        raise NotImplementedError

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return named, already weighted scalar losses of ``now.update``; the loop sums and logs each. Those that the
        phase selects by are what validation and early stopping look at."""
        return task_losses(self.schema, batch, output)

    def similarity(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """Return how well the anchor of each query goes with the other modalities of each candidate, for a retrieval.

        Here: the cosine of the anchor (``schema.anchor``) and the mean of the others, all of length 1 before.

        Args:
            queries: ``(n, modalities, width)`` as in ``Output.predictions``, in schema order, zero where absent.
            candidates: ``(m, modalities, width)``.

        Returns:
            ``(n, m)``, higher for a better match.
        """
        others = [i for i, name in enumerate(self.schema.names) if name != self.schema.anchor]
        anchors = F.normalize(queries[:, self.schema.names.index(self.schema.anchor)], dim=-1)
        return anchors @ F.normalize(F.normalize(candidates[:, others], dim=-1).sum(1), dim=-1).T

    def prepare(self, view: View) -> None:
        """Called once before the first phase, with access to the data: closed-form solutions, codebooks, statistics."""

    def begin(self, view: View) -> None:
        """Called before each epoch, with access to the data: memories, clusters, curricula. What it makes is kept in
        buffers, or a training that is resumed within the epoch goes on without it."""

    def stepped(self) -> None:
        """Called after each step over a batch, when all its updates are done: moving averages of weights."""

    def phases(self) -> list[Phase]:
        """Stages of training in order; an empty list for a method that ``prepare`` alone fits."""
        return [Phase()]

    def parameter_groups(self) -> list[Group]:
        """Cover every trainable parameter once. Default: parameters of pre-trained encoders (marked by
        ``is_pretrained``, as ``nn.text.TextEncoder`` is) and the rest, biases and norms without decay."""
        pretrained = {
            f"{prefix}.{name}" if prefix else name
            for prefix, module in self.named_modules()
            if getattr(module, "is_pretrained", False)
            for name, _ in module.named_parameters()
        }
        groups: dict[tuple[str, bool], list[str]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                key = ("pretrained" if name in pretrained else "new", parameter.dim() > 1)
                groups.setdefault(key, []).append(name)
        return [Group(name, tuple(names), decay) for (name, decay), names in groups.items()]


class Seamed(Method):
    """A method with a seam: every modality becomes one vector, then the vectors are fused.

    Whoever cuts there (Shapley values, subsets of modalities, methods that act between encoding and fusing) encodes
    once and fuses as often as needed.
    """

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return modality -> ``(batch, width)``, zeros where absent; no vector depends on another modality."""
        raise NotImplementedError

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return predictions and representations.

        Args:
            vectors: as from ``encode``; a modality to be left out is zero.
            present: ``(batch, modalities)`` bool, columns in schema order.
        """
        raise NotImplementedError

    def forward(self, batch: Batch) -> Output:
        """Return what ``fuse`` makes of what ``encode`` returns."""
        return self.fuse(self.encode(batch), batch.present)


def positive(**options: float) -> None:
    """Raise OptionError unless every option is above zero; the message names it and its value."""
    for name, value in options.items():
        if not value > 0:
            raise OptionError(f"{name} must be above 0, got {value}")


def fraction(**options: float) -> None:
    """Raise OptionError unless every option lies in [0, 1)."""
    for name, value in options.items():
        if not 0 <= value < 1:
            raise OptionError(f"{name} must be at least 0 and below 1, got {value}")


def divides(width: int, **options: int) -> None:
    """Raise OptionError unless every option divides ``width``, as attention heads must."""
    for name, value in options.items():
        if width % value:
            raise OptionError(f"{name} must divide width, got {name}={value} and width={width}")


def per_modality(
    option: str,
    value: Number | dict[str, Number],
    names: tuple[str, ...],
    check: Callable[..., None] = lambda **values: None,
) -> dict[str, Number]:
    """Return the value for each of ``names``; others in a dictionary are ignored: a preset also serves a subset.

    Args:
        option: what messages call it.
        value: one number, or one for each modality.
        names: the modalities.
        check: ``positive`` or ``fraction``, or nothing.
    """
    values = value if isinstance(value, dict) else dict.fromkeys(names, value)
    missing = [n for n in names if n not in values]
    if missing:
        raise OptionError(f"{option} has no value for {', '.join(missing)}; name every modality or give one number")
    check(**{f"{option} of {n}": values[n] for n in names})
    return {n: values[n] for n in names}


def named(*prefixes: str) -> Callable[[str], bool]:
    """Return a choice of parameters for ``Phase`` and ``Update``: those whose names start with one of ``prefixes``."""
    return lambda name: name.startswith(prefixes)
