"""The contract of a method: one subclass of Method per paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from polymodal.core import Batch, DataError, Kind, OptionError, Output, Schema, Task
from polymodal.nn.heads import task_losses


@dataclass(frozen=True)
class Phase:
    """A stage of training.

    Attributes:
        name: for logs; the phase's losses are logged under it.
        share: part of the run's epochs that this phase gets, for example 0.3; the shares of all phases sum to 1.
        parameters: chooses by name which parameters train in this phase; None for all.
    """

    name: str = "train"
    share: float = 1.0
    parameters: Callable[[str], bool] | None = None


@dataclass(frozen=True)
class Group:
    """Parameters that share optimiser settings.

    Attributes:
        name: ``pretrained`` (gets ``lr_pretrained``) or ``new`` (gets ``lr``).
        parameters: names as in ``named_parameters``.
        decay: whether weight decay applies.
    """

    name: str
    parameters: tuple[str, ...]
    decay: bool = True


@dataclass(frozen=True)
class View:
    """What a method may see of the data before training: passes over batches, never files or metrics.

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
        paper: reference with venue and arXiv number.
        kinds: modality kinds it accepts.
        tasks: tasks it can learn.
        handles_absence: whether it looks at ``stream.present``; if not, it is fed zeros and tables say so.
        modality_counts: (lowest, highest) number of modalities it works with.
    """

    paper: ClassVar[str] = ""
    kinds: ClassVar[frozenset[Kind]] = frozenset({"sequence", "vector", "text"})
    tasks: ClassVar[frozenset[Task]] = frozenset({"regression", "classification", "multilabel"})
    handles_absence: ClassVar[bool] = True
    modality_counts: ClassVar[tuple[int, int]] = (1, 99)

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.schema = schema
        self.phase: str = "train"
        """Name of the phase that trains now, set by the loop; ``losses`` may depend on it."""
        name = type(self).__name__
        for modality in schema.modalities:
            if hasattr(nn.ModuleDict, modality.name):
                raise DataError(f"a modality cannot be called {modality.name!r}, torch uses that name; rename it")
            if modality.kind not in self.kinds:
                raise DataError(
                    f"{name} cannot read {modality.kind} modality {modality.name!r}; it reads {sorted(self.kinds)}"
                )
        for target in schema.joint_targets:
            if target.task not in self.tasks:
                raise DataError(
                    f"{name} cannot learn {target.task} target {target.name!r}; it learns {sorted(self.tasks)}"
                )
        low, high = self.modality_counts
        if not low <= len(schema.modalities) <= high:
            raise DataError(
                f"{name} works with {low} to {high} modalities, the corpus has {len(schema.modalities)} "
                f"({', '.join(schema.names)}); choose some with ?modalities=..."
            )

    def forward(self, batch: Batch) -> Output:
        """Return predictions and representations for ``batch``."""
        raise NotImplementedError

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return named, already weighted scalar losses; the loop sums and logs each. Names starting with ``task``
        are what validation and early stopping look at."""
        return task_losses(self.schema, batch, output)

    def prepare(self, view: View) -> None:
        """Called once before the first phase, with access to the data: closed-form solutions, codebooks, statistics."""

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
