"""What is tried, in which order: the linear floor, what has served on small corpora, then variations without end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from polymodal.core import DataError, OptionError, Schema, numpy_rng
from polymodal.methods import build, find_method
from polymodal.train.plan import resolved
from polymodal.train.recipe import SECTIONS, Recipe, load_preset, preset_names, sort_options
from polymodal.train.space import default_space, drawn

FLOOR = "linear"
TREES = "forest"
PRESET = "cpu"
"""Settings that every candidate begins with."""

COSTS = {
    "lf-dnn": 0.6,
    "early-fusion": 0.7,
    "late-fusion": 1.0,
    "misa": 0.7,
    "mmcl": 1.2,
    "tfn": 0.6,
    "lmf": 0.6,
    "mib": 1.9,
    "cenet": 1.0,
    "mult": 5.0,
    "umq": 3.3,
}
"""Methods that are tried beside the floor: what a training costs, by the seconds that their presets say, in trainings
of late-fusion. What needs a pre-trained encoder of its own, several corpora or another method is left to those who
name it."""

STRONG = {"dropout": 0.5, "weight_decay": 0.1}
"""More regularisation than presets have, for few samples with wide features."""

FACTORS = (0.5, 1.0, 2.0)
"""Of the width of a preset."""


@dataclass(frozen=True)
class Candidate:
    """A method with settings and modalities.

    Attributes:
        method: id.
        options: of the method or of its training, over its preset.
        modalities: what it reads.
    """

    method: str
    options: dict[str, Any] = field(default_factory=dict)
    modalities: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Name of its folder."""
        return f"{self.method}-{hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:10]}"

    def __str__(self) -> str:
        settings = "".join(f" {name}={value}" for name, value in self.options.items())
        return f"{self.method}{settings} ({'+'.join(self.modalities)})"

    @property
    def cost(self) -> float:
        """What a training is thought to cost before anything like it was measured, in trainings of late-fusion."""
        return COSTS.get(self.method, 0.0)

    def settled(self, schema: Schema) -> tuple[dict[str, Any], Recipe]:
        """Return every option of the method, and how it trains.

        Args:
            schema: of the whole corpus.

        Raises:
            DataError, OptionError: it does not fit the corpus.
        """
        cls = find_method(self.method)
        chosen: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
        if PRESET in preset_names(self.method):
            chosen = load_preset(self.method, PRESET)
        own, training = sort_options(cls, self.options)
        options = resolved(cls, {**chosen["method"], **own})
        build(cls, schema.only(self.modalities), options)
        return options, Recipe().with_options({**chosen["training"], **training})


def candidates(schema: Schema, seed: int) -> Iterator[Candidate]:
    """Yield what is worth trying on a corpus with ``schema``, without end, the same for the same ``seed``.

    First what promises most per second: the floor and trees on all modalities, the floor on each, small networks, the
    same with more regularisation. Then every method that fits with settings and modalities that are drawn.
    """
    names = schema.names
    yield Candidate(FLOOR, {}, names)
    yield from (c for c in [Candidate(TREES, {}, names)] if fits(c, schema))
    fitting = [method for method in COSTS if fits(Candidate(method, {}, names), schema)]
    if len(names) > 1:
        yield from (Candidate(FLOOR, {}, (name,)) for name in names)
    yield from (Candidate(m, {}, names) for m in ("early-fusion", "late-fusion", "lf-dnn") if m in fitting)
    yield from (Candidate(m, STRONG, names) for m in ("lf-dnn", "late-fusion") if m in fitting)
    yield from (Candidate(m, {}, names) for m in ("mmcl", "misa", "mib", "cenet") if m in fitting)
    if len(names) > 1 and "late-fusion" in fitting:
        yield from (Candidate("late-fusion", {}, tuple(n for n in names if n != gone)) for gone in names)
    if fitting:
        variations = (drawn_candidate(schema, fitting, seed, number) for number in range(1_000_000))
        yield from (candidate for candidate in variations if fits(candidate, schema))


def fits(candidate: Candidate, schema: Schema) -> bool:
    """Whether the method takes such a corpus and such settings."""
    try:
        candidate.settled(schema)
    except (DataError, OptionError):
        return False
    return True


def drawn_candidate(schema: Schema, methods: list[str], seed: int, number: int) -> Candidate:
    """Return the ``number``-th variation of one of ``methods``: rate, decay, dropouts, width, modalities."""
    rng = numpy_rng("candidate", seed, number)
    method, names = methods[int(rng.integers(len(methods)))], schema.names
    kept = names
    if len(names) > 1 and rng.random() < 0.5:
        flags = rng.random(len(names)) < 0.6
        kept = tuple(n for n, keep in zip(names, flags, strict=True) if keep) or names
    settings, recipe = Candidate(method, {}, names).settled(schema)
    own = settings | asdict(recipe)
    options: dict[str, Any] = {name: drawn(span, rng) for name, span in default_space(own).items()}
    if isinstance(own.get("width"), int):
        # Even, and whole for every number of heads that presets have.
        options["width"] = max(8, 8 * round(own["width"] * FACTORS[int(rng.integers(len(FACTORS)))] / 8))
    return Candidate(method, options, kept)
