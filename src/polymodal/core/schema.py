"""What a corpus contains: its modalities and its targets."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite
from typing import Any, Literal

from polymodal.core.errors import DataError, nearest

Kind = Literal["sequence", "vector", "text"]
Task = Literal["regression", "classification", "multilabel"]


@dataclass(frozen=True)
class Modality:
    """One input stream.

    Args:
        name: any identifier; the field's are ``text``, ``audio``, ``vision``.
        kind: ``sequence`` (time, width), ``vector`` (width), or ``text`` (a string, encoded later).
        width: features per step; 0 for ``text``.
        normalize: whether the loader standardises its channels with the statistics of the training split.
    """

    name: str
    kind: Kind
    width: int = 0
    normalize: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][\w-]*", self.name):
            raise DataError(
                f"modality name {self.name!r} must be a letter, then letters, digits, '_' or '-'; rename it"
            )
        if self.kind not in ("sequence", "vector", "text"):
            raise DataError(f"modality {self.name!r} has kind {self.kind!r}; use sequence, vector or text")
        if self.kind != "text" and self.width < 1:
            raise DataError(f"modality {self.name!r} has width {self.width}; drop it or give it at least one feature")


@dataclass(frozen=True)
class Target:
    """One thing to predict.

    Args:
        name: any identifier, for example ``sentiment``.
        task: ``regression`` (a float), ``classification`` (one of ``classes``), ``multilabel`` (any of ``classes``).
        range: lowest and highest label of a regression; decides the field's metrics: (-3, 3) are scored as
            CMU-MOSI, (-1, 1) as CH-SIMS, anything else with scale-free metrics.
        classes: names of the classes, in the order of the label numbers.
        modality: set when the label describes that single modality (CH-SIMS); None for the joint label.
    """

    name: str
    task: Task
    range: tuple[float, float] | None = None
    classes: tuple[str, ...] = ()
    modality: str | None = None

    def __post_init__(self) -> None:
        if self.task not in ("regression", "classification", "multilabel"):
            raise DataError(
                f"target {self.name!r} has task {self.task!r}; use regression, classification or multilabel"
            )
        if self.range is not None and not (isfinite(self.range[0]) and self.range[0] <= self.range[1] < inf):
            raise DataError(f"target {self.name!r} has range {self.range}; give the lowest and the highest label")
        if self.task == "regression" and self.classes:
            raise DataError(f"regression target {self.name!r} has classes; remove them or change the task")
        if self.task == "classification" and len(self.classes) < 2:
            raise DataError(f"classification target {self.name!r} needs at least two classes")
        if self.task == "multilabel" and not self.classes:
            raise DataError(f"multilabel target {self.name!r} needs at least one class")

    @property
    def width(self) -> int:
        """Outputs a prediction head needs: 1 for a regression, else the number of classes."""
        return 1 if self.task == "regression" else len(self.classes)


@dataclass(frozen=True)
class Schema:
    """The modalities and targets of a corpus, in a fixed order."""

    modalities: tuple[Modality, ...]
    targets: tuple[Target, ...]

    def __post_init__(self) -> None:
        for what, names in (("modality", self.names), ("target", tuple(t.name for t in self.targets))):
            twice = {n for n in names if names.count(n) > 1}
            if twice:
                raise DataError(f"the schema has {what} {sorted(twice)[0]!r} twice; names must be unique")
        if not self.modalities:
            raise DataError("the schema has no modality; a corpus needs at least one")
        if not self.joint_targets:
            raise DataError("the schema has no target for the whole sample; a corpus needs at least one")

    @property
    def names(self) -> tuple[str, ...]:
        """Modality names in order."""
        return tuple(m.name for m in self.modalities)

    @property
    def joint_targets(self) -> tuple[Target, ...]:
        """Targets that describe the whole sample, not a single modality; the first one is the main target."""
        return tuple(t for t in self.targets if t.modality is None)

    def modality(self, name: str) -> Modality:
        """Return the modality called ``name``; DataError with the nearest name otherwise."""
        for m in self.modalities:
            if m.name == name:
                return m
        raise DataError(f"no modality {name!r}{nearest(name, self.names)}")

    def target(self, name: str) -> Target:
        """Return the target called ``name``; DataError with the nearest name otherwise."""
        for t in self.targets:
            if t.name == name:
                return t
        raise DataError(f"no target {name!r}{nearest(name, [t.name for t in self.targets])}")

    def with_modality(self, modality: Modality) -> Schema:
        """Return the schema with the modality of the same name replaced."""
        self.modality(modality.name)
        return replace(self, modalities=tuple(modality if m.name == modality.name else m for m in self.modalities))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; ``from_dict`` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Schema:
        """Rebuild a schema from ``to_dict``."""
        targets = (
            {**t, "range": tuple(t["range"]) if t.get("range") else None, "classes": tuple(t.get("classes", ()))}
            for t in data["targets"]
        )
        return cls(tuple(Modality(**m) for m in data["modalities"]), tuple(Target(**t) for t in targets))
