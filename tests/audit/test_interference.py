"""Judges of which it is known what they listen to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from polymodal.audit.base import Said
from polymodal.audit.interference import Interference
from polymodal.core import Batch, DataError, Modality, Schema, Target
from polymodal.data.loader import Loader
from polymodal.data.split import build_split

COUNT = 240
SCHEMA = Schema(
    (Modality("words", "vector", 1), Modality("voice", "vector", 1)),
    (Target("y", "classification", classes=("no", "yes")),),
)


def _batches(schema: Schema = SCHEMA) -> Callable[[], Iterator[Batch]]:
    rng = np.random.default_rng(4)
    labels = rng.integers(2, size=COUNT)
    shown = (2.0 * labels - 1)[:, None]
    split = build_split(
        schema,
        [f"s{i}" for i in range(COUNT)],
        {n: list(shown) for n in schema.names},
        {"y": labels},
        [f"g{i % 15}" for i in range(COUNT)],
    )
    return Loader(split, schema, 60).epoch


class Weighing:
    """Adds modalities with weights of its own; both say the same in the data."""

    schema = SCHEMA

    def __init__(self, **weights: float) -> None:
        self.weights = weights

    def __call__(self, batch: Batch) -> Said:
        score = torch.stack([w * batch[n].tensor[:, 0] for n, w in self.weights.items()]).sum(0)
        yes = torch.sigmoid(8 * score.double() + 1e-3)
        return {"y": torch.stack([1 - yes, yes], dim=1)}


def _changed(judge: Weighing, kind: str) -> float:
    found = Interference(relevant="words").run(judge, _batches())
    lines = {line.what: line.value for line in found.evidence if "answers that change" in line.part}
    return lines[kind]


def test_who_ignores_a_modality_is_not_moved_by_it() -> None:
    judge = Weighing(words=1.0, voice=0.0)
    for kind in ("an empty one", "random values", "another sample's", "a misleading one"):
        assert _changed(judge, kind) == pytest.approx(0, abs=1e-9)


def test_who_reads_only_what_is_not_needed_changes_but_by_coincidence() -> None:
    judge = Weighing(words=0.0, voice=1.0)
    assert _changed(judge, "another sample's") == pytest.approx(0.5, abs=0.1)  # 1 - chance of the same class
    assert _changed(judge, "a misleading one") > 0.9  # one of four others has the other label: 1 - 1/16


def test_between_both_a_louder_voice_interferes_more() -> None:
    quiet, loud = (_changed(Weighing(words=1.0, voice=v), "a misleading one") for v in (0.5, 2.0))
    assert quiet == pytest.approx(0, abs=1e-9)
    assert loud > 0.9


def test_what_is_needed_is_judged_by_the_model_and_there_are_intervals() -> None:
    found = Interference().run(Weighing(words=1.0, voice=2.0), _batches())
    lines = {(line.part, line.what): line for line in found.evidence}
    voice = lines["voice is not needed: answers that change with", "a misleading one"]
    words = lines["words is not needed: answers that change with", "a misleading one"]
    assert voice.value > 0.9
    assert words.value == pytest.approx(0, abs=1e-9)
    assert voice.low is not None
    assert lines["voice is not needed: how right with", "its own"].value == pytest.approx(1)
    assert lines["voice is not needed: how right with", "a misleading one"].value < 0.1
    assert lines["voice is not needed: how far answers move with", "a misleading one"].value > 0.9
    assert "voice is not needed for 240 of 240" in " ".join(found.found)
    assert len(found.samples["id"]) == COUNT


def test_one_modality_is_refused_in_a_sentence() -> None:
    schema = Schema(SCHEMA.modalities[:1], SCHEMA.targets)
    judge = Weighing(words=1.0)
    judge.schema = schema
    with pytest.raises(DataError, match="only words: nothing that is not needed"):
        Interference().run(judge, _batches(schema))
