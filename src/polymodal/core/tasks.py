"""The contract of a task: what a target asks for. One file of ``polymodal.tasks``, or of a user's own, per task."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from polymodal.core.arrays import Array, real_array
from polymodal.core.errors import DataError, OptionError, nearest
from polymodal.core.plugins import import_place, load_class, locate

if TYPE_CHECKING:
    from torch import Tensor

    from polymodal.core.schema import Target

Answer = Literal["number", "class", "classes", "match"]
Calibration = Literal["interval", "temperature", ""]
ClassRule = Literal["round", "sign"]
Similarity = Callable[[Array, Array], Array]
"""Embeddings of queries ``(n, modalities, width)`` and of candidates ``(m, ...)`` -> ``(n, m)``, higher for a match."""


@dataclass(frozen=True)
class Measure:
    """One metric of one set of predictions.

    Attributes:
        value: how often each sample occurs, ``(resamples, samples)`` float -> the metric, ``(resamples,)``.
        count: samples behind it.
        range: the least and the most that it can be; intervals end there.
    """

    value: Callable[[Array], Array]
    count: int
    range: tuple[float, float] = (-math.inf, math.inf)


@dataclass(frozen=True)
class Column:
    """What a column of labels or predictions holds.

    Attributes:
        row: shape of one sample's value.
        expected: what each value must be, in words.
        fits: values -> bool of the same shape.
    """

    row: tuple[int, ...]
    expected: str
    fits: Callable[[Array], Array]

    def checked(
        self,
        what: str,
        values: Any,
        ids: Sequence[str] | Array | None = None,
        skipped: Callable[[Array], Array] | None = None,
    ) -> Array:
        """Return ``values`` as float64 ``(samples, *row)``.

        Args:
            what: what they are, for messages.
            values: numbers; None counts as NaN.
            ids: names of the samples, for messages.
            skipped: the array -> ``(samples,)`` bool, rows that are not looked at.

        Raises:
            DataError: anything but real numbers, another shape, a value that does not fit; names the first sample.
        """
        try:
            array = real_array(values, np.float64).copy()  # what is not known is marked in it
        except (TypeError, ValueError):
            raise DataError(f"{what}: each must be a real number, and all of one shape") from None
        if not array.ndim or array.shape[1:] != self.row:
            wanted = f"(samples, {', '.join(map(str, self.row))})" if self.row else "(samples,)"
            raise DataError(f"{what}: the array has shape {array.shape}, expected {wanted}")
        if ids is not None and len(array) != len(ids):
            raise DataError(f"{what}: there are {len(array)} for {len(ids)} samples; give one per sample")
        good = np.asarray(self.fits(array)).all(axis=tuple(range(1, array.ndim)))
        if skipped is not None:
            good |= skipped(array)
        if not good.all():
            first = int(np.flatnonzero(~good)[0])
            sample = f"row {first}" if ids is None else f"sample {str(ids[first])!r} (row {first})"
            raise DataError(
                f"{what} of {sample} is {array[first]}, expected {self.expected}; {int((~good).sum())} such rows: "
                f"mend or drop them"
            )
        return array


class Task:
    """One kind of question, bound to the target that asks it: ``target.spec``.

    All that is particular to a task is in its subclass, the one public class of ``tasks/<name>.py``; a user's own is
    named ``package.module:Class`` or ``path/to/file.py:Class``. Importing it costs no torch.

    Class attributes:
        answer: what is said about a sample: a ``number``, one ``class`` of several, any of several ``classes``, or the
            sample that it goes with (``match``). Who draws or explains an answer chooses by this, and a method that can
            learn one task can learn every other one with the same answer.
        dtype: of labels: np.float32, where one that is not known is NaN, or np.int64, where it is -1.
        main: the metric that ranks systems.
        sample_metric: the metric that is the mean of ``sample_scores``.
        calibration: how sure an answer is: an ``interval`` around it, a ``temperature`` of its probabilities, or not
            known.
        averaged: the column whose mean over seeds is what several seeds say together.
    """

    answer: ClassVar[Answer]
    dtype: ClassVar[type[np.generic]] = np.float32
    main: ClassVar[str]
    sample_metric: ClassVar[str]
    calibration: ClassVar[Calibration] = ""
    averaged: ClassVar[str] = "predicted"

    def __init__(self, target: Target) -> None:
        self.target = target
        self.check()

    def check(self) -> None:
        """Raise DataError where the target is not one for this task; the base looks at the range."""
        low, high = self.target.range or (0.0, 1.0)
        if not -math.inf < low < high < math.inf:
            raise DataError(
                f"target {self.target.name!r} has range {low} to {high}; give the lowest label, then the highest"
            )

    # What labels and predictions are

    @property
    def choices(self) -> str:
        """What an answer can be, in words, for example ``one of joy, fear``."""
        raise NotImplementedError

    @property
    def label(self) -> Column:
        """The column ``true``."""
        raise NotImplementedError

    @property
    def predicted(self) -> Column:
        """The column ``predicted``; by default it holds what labels are."""
        return self.label

    @property
    def probability(self) -> Column:
        """The column ``probability``, where there are classes."""
        expected = "probabilities from 0 to 1, not logits"
        return Column((len(self.target.classes),), expected, lambda p: (p >= -1e-6) & (p <= 1 + 1e-6))

    def labels(self, values: Any, ids: Sequence[str] | Array | None = None) -> Array:
        """Return ``values`` as labels ``(samples, *row)`` of ``dtype``, those not known as NaN or -1.

        Raises:
            DataError: another number than ``ids``, no numbers, or a label that cannot be; names the first sample.
        """
        about = self.label
        if self.target.range:
            low, high = self.target.range
            # In single precision, in which labels are kept: there 0.1 is not above 0.1.
            about = Column(
                about.row,
                f"a number from {low:g} to {high:g}",
                lambda y: (y.astype(np.float32) >= low) & (y.astype(np.float32) <= high),
            )
        fits, largest = about.fits, np.finfo(np.float32).max
        about = replace(
            about,
            expected=f"{about.expected}, or NaN where it is not known",
            fits=lambda y: fits(y) & ~(np.abs(y) > largest),  # which single precision would make infinite
        )
        array = about.checked(f"label {self.target.name!r}", values, ids, lambda array: ~self.known(array))
        array[~self.known(array)] = self.unlabelled
        return array.astype(self.dtype)

    def known(self, labels: Array) -> Array:
        """Return which labels ``(samples, *row)`` are known, ``(samples,)`` bool."""
        missing = np.isnan(labels) if labels.dtype.kind == "f" else np.zeros(labels.shape, bool)
        if self.unlabelled == -1:
            missing = missing | (labels == -1)
        return np.asarray(~missing.all(axis=tuple(range(1, labels.ndim))))

    @property
    def unlabelled(self) -> float:
        """What stands for a label that is not known."""
        return -1 if np.issubdtype(self.dtype, np.integer) else math.nan

    def counts(self, labels: Array) -> dict[str, int]:
        """Return how often each label, class or stretch of the scale occurs among known ``labels``."""
        raise NotImplementedError

    def write(self, value: float) -> str:
        """Return a value as a person reads it."""
        return f"{value:+.2f}"

    # Learning it

    @property
    def width(self) -> int:
        """Outputs that a head needs."""
        return len(self.target.classes)

    def prediction(self, outputs: Tensor) -> Tensor:
        """Return what a method predicts from the outputs ``(batch, width)`` of a head; by default, those."""
        return outputs

    def ideal(self, labels: Array) -> Array:
        """Return the outputs ``(samples,)`` of a head that is right, for closed forms that learn a ``number``."""
        return labels

    def loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        """Return the loss of each sample, ``(batch,)``; labels are known, predictions float32."""
        raise NotImplementedError

    def squared_loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        """Return the loss of each sample in papers that square the errors of numbers; by default, ``loss``."""
        return self.loss(prediction, label)

    @property
    def unit(self) -> float:
        """Factor that brings a loss or a distance to the scale of CMU-MOSI, -3 to 3; 1 where there is no scale."""
        return 1.0

    def distance(self, labels: Tensor) -> Tensor:
        """Return how far labels are apart, ``(batch, batch)``, in units of CMU-MOSI's scale; NaN where not known."""
        raise NotImplementedError

    def kinds(self, labels: Tensor, rule: ClassRule = "round") -> Tensor:
        """Return what a contrast of labels calls a class: ``(batch,)``, comparable within the batch.

        Args:
            labels: known and unknown ones.
            rule: a scale has seven classes (``round``), or three, its two sides and the middle (``sign``).
        """
        raise NotImplementedError

    # Predicting it, and how well

    def columns(self, prediction: Tensor) -> dict[str, Tensor]:
        """Return what the table of predictions holds: ``predicted``, and ``probability`` where there are classes."""
        raise NotImplementedError

    def finish(self, columns: dict[str, Array], similarity: Similarity) -> dict[str, Array]:
        """Return the columns of a whole split, with ``true``; by default, as the batches left them."""
        return columns

    @property
    def metrics(self) -> dict[str, bool]:
        """Metrics in table order, each with whether higher is better; ``f1/<class>`` is a figure of one class, and
        such come last. Names that have ``acc``, ``accuracy``, ``auc``, ``eer``, ``f1``, ``precision``, ``recall``,
        ``share`` or ``ua`` among their words are written in percent."""
        raise NotImplementedError

    def measures(self, true: Array, predicted: Array, probability: Array | None) -> dict[str, Measure]:
        """Return every metric; columns are checked, not empty, and hold samples with a known label only."""
        raise NotImplementedError

    def sample_scores(self, true: Array, predicted: Array) -> Array:
        """Return what each sample contributes to ``sample_metric``, ``(samples,)``."""
        raise NotImplementedError

    def chance(self, true: Array) -> dict[str, float]:
        """Return what guessing is expected to reach on these labels, for the metrics of which that is known."""
        return {}


def task_names() -> tuple[str, ...]:
    """Return the names of the tasks that come with the package, sorted."""
    stems = sorted(path.stem for path in (Path(__file__).parents[1] / "tasks").glob("*.py"))
    return tuple(stem for stem in stems if not stem.startswith("_"))


TRUSTED = "POLYMODAL_TASKS"
"""Environment variable with tasks of one's own, separated by commas, that files may name."""


def refuse_foreign(tasks: Iterable[object], place: str) -> None:
    """Raise DataError where a file names a task that is code beside the package: finding it would run that code.

    Args:
        tasks: as the file has them.
        place: the file, for the message.
    """
    trusted = os.environ.get(TRUSTED, "").split(",")
    for task in tasks:
        if ":" in str(task) and task not in trusted:
            raise DataError(
                f"{place} has the task {task}, code that does not come with polymodal; if you trust it, set "
                f"{TRUSTED}={task} in the environment"
            )


@cache
def find_task(name: str) -> type[Task]:
    """Return the class behind ``name``.

    Args:
        name: one of ``task_names()``, or a task of the user's own as ``package.module:Class`` or
            ``path/to/file.py:Class``.

    Raises:
        OptionError: no such task, module, file or class; the message lists what there is.
    """
    if ":" in name:
        return load_class("task", name, *locate("task", name), Task)
    if name not in task_names():
        raise OptionError(f"no task {name!r}{nearest(name, task_names())}")
    module = import_place("task", name, f"polymodal.tasks.{name}")
    own = (x for x in vars(module).values() if isinstance(x, type) and x.__module__ == module.__name__)
    return next(x for x in own if issubclass(x, Task))


@cache
def bound_task(target: Target) -> Task:
    """Return the task of ``target``. It is kept here, not in the target, which travels between processes."""
    return find_task(target.task)(target)
