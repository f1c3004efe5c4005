"""What a corpus contains: its modalities and its targets."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, get_args

from polymodal.core.errors import DataError, OptionError, nearest
from polymodal.core.seeds import numpy_rng

if TYPE_CHECKING:
    from polymodal.core.tasks import Task

Kind = Literal["sequence", "vector", "text", "image", "frames"]
Tuning = Literal["full", "lora"]

ENCODED: dict[str, str] = {"text": "bow", "image": "patches", "frames": "patches"}
"""Kinds that an encoder turns into vectors, and the encoder they get where none is asked for."""


@dataclass(frozen=True)
class Modality:
    """One input stream.

    Args:
        name: any identifier; the field's are ``text``, ``audio``, ``vision``.
        kind: ``sequence`` (time, width), ``vector`` (width), ``text`` (a string), ``image`` (channels, height, width)
            or ``frames`` (time, channels, height, width).
        width: features per step; 0 for ``text``, ``image`` and ``frames``.
        normalize: whether the loader standardises its channels with the statistics of the training split.
        shape: (channels, height, width) of an ``image`` or of each of the ``frames``; empty for the other kinds.
        encoder: what turns a text, image or frames into vectors inside a method: a transformer by folder or hub name;
            empty for the kind's own (``bow``, ``patches``). See ``nn.inputs.Inputs``.
        tuning: how a pre-trained encoder trains: ``full`` (every weight) or ``lora``.
    """

    name: str
    kind: Kind
    width: int = 0
    normalize: bool = True
    # Not shown: what a method does with the samples is no part of what they are, and of a corpus's hash.
    shape: tuple[int, ...] = field(default=(), repr=False)
    encoder: str = field(default="", repr=False)
    tuning: Tuning = field(default="full", repr=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][\w-]*", self.name):
            raise DataError(
                f"modality name {self.name!r} must be a letter, then letters, digits, '_' or '-'; rename it"
            )
        if self.kind not in get_args(Kind):
            raise DataError(f"modality {self.name!r} has kind {self.kind!r}; use {', '.join(get_args(Kind))}")
        if self.kind in ("sequence", "vector") and self.width < 1:
            raise DataError(f"modality {self.name!r} has width {self.width}; drop it or give it at least one feature")
        if self.kind in ("image", "frames") and (len(self.shape) != 3 or min(self.shape) < 1):
            raise DataError(
                f"modality {self.name!r} has shape {self.shape}; {self.kind} need (channels, height, width)"
            )
        if self.kind not in ("image", "frames") and self.shape:
            raise DataError(f"modality {self.name!r} is {self.kind} and has shape {self.shape}; leave the shape out")
        if self.encoder and self.kind not in ENCODED:
            raise OptionError(
                f"encoder {self.encoder!r} is for raw input, but modality {self.name!r} brings features ({self.kind}); "
                f"load it raw (a pickle with text: ?text=raw), or leave the encoder out (--encoder {self.name}=none)"
            )
        if self.tuning not in get_args(Tuning):
            raise OptionError(
                f"tuning of modality {self.name!r} must be full or lora, got {self.tuning!r}; "
                "frozen encoders go to --encode"
            )

    @property
    def form(self) -> str:
        """What a sample is, in words: ``text``, ``a sequence of width 20``, ``frames of 3 x 112 x 112``."""
        if self.shape:
            return f"{'an ' if self.kind == 'image' else ''}{self.kind} of {' x '.join(map(str, self.shape))}"
        return "text" if self.kind == "text" else f"a {self.kind} of width {self.width}"


@dataclass(frozen=True)
class Target:
    """One thing to predict.

    Args:
        name: any identifier, for example ``sentiment``.
        task: name of a task (see ``core.tasks``): ``regression`` (a number), ``classification`` (one of ``classes``),
            ``multilabel`` (any of ``classes``), ``retrieval`` (which sample goes with it), or a user's own
            (``package.module:Class``, ``path/to/file.py:Class``).
        range: lowest and highest label of a regression; decides the field's metrics: (-3, 3) are scored as
            CMU-MOSI, (-1, 1) as CH-SIMS, anything else with scale-free metrics.
        classes: names of the classes, in the order of the label numbers.
        modality: set when the label describes that single modality (CH-SIMS); None for the joint label.

    Raises:
        OptionError: no such task.
        DataError: what the task needs is missing, or something that it has no use for is there.
    """

    name: str
    task: str
    range: tuple[float, float] | None = None
    classes: tuple[str, ...] = ()
    modality: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "range", self.range and tuple(self.range))
        _ = self.spec  # which checks the target

    @property
    def spec(self) -> Task:
        """The task, bound to this target: its labels, loss, columns and metrics."""
        from polymodal.core.tasks import bound_task  # only who has a target pays for NumPy

        return bound_task(self)


@dataclass(frozen=True)
class Schema:
    """The modalities and targets of a corpus, in a fixed order.

    Args:
        modalities: inputs.
        targets: what to predict.
        domains: names of the domains (corpora, cultures, recording sites) that samples come from; empty for one.
    """

    modalities: tuple[Modality, ...]
    targets: tuple[Target, ...]
    domains: tuple[str, ...] = field(default=(), repr=False)

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

    def subsets(self, most: int = 64) -> list[tuple[str, ...]]:
        """Return the sets of modalities that a model is tested and calibrated with, the complete one first.

        All of them where there are at most ``most``, which six modalities keep; else the complete set, those that lack
        one, single modalities and as many others, drawn the same way every time.
        """
        names = self.names
        if 2 ** len(names) - 1 <= most:
            return [kept for size in range(len(names), 0, -1) for kept in combinations(names, size)]
        without_one = [tuple(n for n in names if n != gone) for gone in names]
        found = dict.fromkeys([names, *without_one, *((n,) for n in names)][:most])
        rng = numpy_rng("subsets", *names)
        while len(found) < most:
            drawn = rng.random(len(names)) < 0.5
            found.setdefault(tuple(n for n, kept in zip(names, drawn, strict=True) if kept))
            found.pop((), None)
        return sorted(found, key=lambda kept: -len(kept))

    @property
    def texts(self) -> tuple[str, ...]:
        """Names of the modalities that are raw text, in order."""
        return tuple(m.name for m in self.modalities if m.kind == "text")

    @property
    def language(self) -> tuple[str, ...]:
        """Names of the modalities that hold words, in order: raw text, and the one called ``text`` also as features."""
        return tuple(m.name for m in self.modalities if m.kind == "text" or m.name == "text")

    @property
    def anchor(self) -> str:
        """The modality that methods built around language take for it: the one called ``text``, else the first one of
        kind text, else the first one."""
        if "text" in self.names:
            return "text"
        return next(iter(self.texts), self.names[0])

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

    def only(self, names: Collection[str]) -> Schema:
        """Return the schema of the modalities ``names``, in the same order, and of the targets that are left then."""
        return replace(
            self,
            modalities=tuple(m for m in self.modalities if m.name in names),
            targets=tuple(t for t in self.targets if t.modality is None or t.modality in names),
        )

    def with_modality(self, modality: Modality) -> Schema:
        """Return the schema with the modality of the same name replaced."""
        self.modality(modality.name)
        return replace(self, modalities=tuple(modality if m.name == modality.name else m for m in self.modalities))

    @property
    def encoders(self) -> dict[str, str]:
        """The encoders that were asked for, as ``with_encoders`` takes them."""
        tuned = {m.name: "" if m.tuning == "full" else f"?tuning={m.tuning}" for m in self.modalities}
        return {m.name: m.encoder + tuned[m.name] for m in self.modalities if m.encoder}

    def with_encoders(self, encoders: dict[str, str]) -> Schema:
        """Return the schema with other encoders inside methods.

        Args:
            encoders: modality -> ``NAME`` or ``NAME?tuning=lora``; ``none`` for the kind's own.

        Raises:
            DataError: no such modality.
            OptionError: a modality that needs no encoder, or an unknown tuning.
        """
        schema = self
        for name, spec in encoders.items():
            encoder, _, tuning = spec.partition("?tuning=")
            chosen = {"encoder": "" if encoder == "none" else encoder, "tuning": tuning or "full"}
            schema = schema.with_modality(replace(schema.modality(name), **chosen))  # type: ignore[arg-type]
        return schema

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
        modalities = ({**m, "shape": tuple(m.get("shape", ()))} for m in data["modalities"])
        return cls(
            tuple(Modality(**m) for m in modalities),
            tuple(Target(**t) for t in targets),
            tuple(data.get("domains", ())),
        )
