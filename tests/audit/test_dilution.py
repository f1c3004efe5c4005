"""Text that grows: what is added, what is kept, and what it does to judges with known ears."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from polymodal.audit._dilute import Said as Texts
from polymodal.audit._dilute import longer
from polymodal.audit._pooled import pooled
from polymodal.audit.base import Said
from polymodal.audit.dilution import (
    ANY,
    CROSS,
    LOST,
    MORE,
    NEAR,
    SAME,
    WORST,
    Dilution,
    _Asked,
    additions,
    adversarial_loss,
)
from polymodal.core import Batch, DataError, Modality, Schema, Target
from polymodal.data.loader import Loader
from polymodal.data.split import build_split

COUNT = 120
TARGET = Target("y", "classification", classes=("bad", "good"))
SCHEMA = Schema((Modality("text", "text"), Modality("vision", "vector", 3, normalize=False)), (TARGET,))
SCENES = ("beach", "kitchen", "street")


def _batches(schema: Schema = SCHEMA) -> tuple[Callable[[], Iterator[Batch]], list[str]]:
    """Texts name their scene and an opinion; the scene is what vision shows."""
    rng = np.random.default_rng(3)
    scene, labels = rng.integers(3, size=COUNT), rng.integers(2, size=COUNT)
    texts = [
        f"the {SCENES[s]} number{i} was {TARGET.classes[y]}" for i, (s, y) in enumerate(zip(scene, labels, strict=True))
    ]
    columns = {"text": texts, "vision": list(np.eye(3)[scene] + 0.05 * rng.normal(size=(COUNT, 3)))}
    split = build_split(
        schema,
        [f"s{i}" for i in range(COUNT)],
        {n: columns[n] for n in schema.names},
        {"y": labels},
        [f"g{i % 12}" for i in range(COUNT)],
    )
    return Loader(split, schema, 50).epoch, texts


class Reader:
    """Looks for the last opinion; a trigger at the end of the text turns it around."""

    schema = SCHEMA

    def __init__(self, trigger: str = "") -> None:
        self.trigger = trigger
        self.heard: list[str] = []

    def __call__(self, batch: Batch) -> Said:
        self.heard += batch["text"].texts
        good = torch.tensor([self._good(text) for text in batch["text"].texts]).double()
        return {"y": torch.stack([1 - good, good], dim=1)}

    def _good(self, text: str) -> float:
        said = 0.9 if " was good" in text else 0.1
        return 1 - said if self.trigger and text.endswith(self.trigger) else said


def test_an_empty_addition_is_the_text_itself_and_no_addition_touches_it() -> None:
    assert longer("I  came, I saw!", []) == "I  came, I saw!"
    batches, texts = _batches()
    judge = Reader()
    Dilution().run(judge, batches)
    assert all(any(heard.startswith(text) for text in texts) for heard in judge.heard)
    assert set(texts) <= set(judge.heard)


def test_without_any_words_answers_are_those_to_the_text_itself_and_an_absent_text_grows_by_none() -> None:
    batches, _ = _batches()

    def deaf() -> Iterator[Batch]:
        for batch in batches():
            there = torch.arange(len(batch)) % 2 == 0
            yield replace(batch, streams={**batch.streams, "text": replace(batch["text"], present=there)})

    judge = Reader("sand")
    asked = _Asked(judge, TARGET, "text", deaf, pooled(deaf, TARGET))
    plain, texts = asked.said(None), list(judge.heard)
    np.testing.assert_allclose(asked.said([[]] * COUNT), plain)
    assert judge.heard == 2 * texts
    asked.said([["sand"]] * COUNT)
    longest = [heard.endswith(" sand") for heard in judge.heard[2 * COUNT :]]
    assert longest == [there for b in deaf() for there in b["text"].present.tolist()]


def _known() -> Texts:
    batches, texts = _batches()
    shown = np.concatenate([b["vision"].tensor.numpy() for b in batches()])
    ids = [i for b in batches() for i in b.ids]
    order = [int(i[1:]) for i in ids]
    return Texts(ids, [texts[k] for k in order], np.array([k % 12 for k in order]), shown)


def test_every_word_that_is_called_for_is_in_the_addition() -> None:
    known = _known()
    tags = {sample: ["sea", "sand"] for sample in known.ids}
    found = additions(known, tags)
    for row in range(COUNT):
        text = longer(known.texts[row], found[CROSS][row])
        for word in ("sea", "sand", *known.keywords(row, 3)):
            assert word in text.split(known.texts[row])[1]
        assert len({len(found[kind][row]) for kind in found}) == 1  # equally long
    assert set(found[SAME][0]) == set(known.keywords(0, 3))


def test_what_is_shown_is_told_by_those_that_look_alike() -> None:
    known = _known()
    near = np.mean([known.relevance(row, known.shown_words(row, 3)) for row in range(COUNT)])
    far = np.nanmean([known.relevance(row, known.any_words(row, 3)) for row in range(COUNT)])
    assert near > 0.3
    assert near > far + 0.2


def test_the_loss_of_a_hostile_addition() -> None:
    found = adversarial_loss(np.array([1.0, 0.5, 0.9]), np.array([True, True, False]))
    assert found == pytest.approx([np.log(1 + np.e), np.log(2), 0])


def test_who_reads_only_the_opinion_loses_nothing() -> None:
    found = Dilution().run(Reader(), _batches()[0])
    lost = {line.what: line.value for line in found.evidence if line.part == LOST}
    assert lost[ANY] == pytest.approx(0, abs=1e-9)
    assert lost[WORST] == pytest.approx(0, abs=1e-9)
    near = {line.what: line for line in found.evidence if line.part == NEAR}
    assert near[CROSS].value > near[ANY].value + 0.1
    assert near[CROSS].low is not None


def test_a_search_finds_the_trigger_more_often_with_the_same_words() -> None:
    """The addition ends in the trigger in some orders only; none of the words changes."""
    found = Dilution(tags=lambda batch: [["sea", "sand", "shell"]] * len(batch)).run(Reader("sand"), _batches()[0])
    lost = {line.what: line.value for line in found.evidence if line.part == LOST}
    assert lost[CROSS] == pytest.approx(0, abs=1e-9)
    assert lost[WORST] > 0.25
    words = [set(a.split(", ")) for a in found.samples[f"{CROSS}/added"]]
    assert words == [set(a.split(", ")) for a in found.samples[f"{WORST}/added"]]
    assert "of being right are lost when these words stand in the worst" in found.found[-1]
    assert found.found[0] == "Nothing is lost when any words are added."


class Impatient(Reader):
    """Is wrong about long texts."""

    def _good(self, text: str) -> float:
        return super()._good(text) if len(text.split()) < 8 else 0.9 - 0.8 * (" was good" in text)


class Misled(Reader):
    """Is wrong where it hears of sand."""

    def _good(self, text: str) -> float:
        said = super()._good(text)
        return 1 - said if "sand" in text else said


@pytest.mark.parametrize(("judge", "by_length", "by_shown"), [(Impatient(), 1, 0), (Misled(), 0, 1)])
def test_what_length_alone_costs_is_told_apart_from_what_is_shown(
    judge: Reader, by_length: float, by_shown: float
) -> None:
    found = Dilution(tags=lambda batch: [["sea", "sand", "shell"]] * len(batch)).run(judge, _batches()[0])
    lost = {line.what: line.value for line in found.evidence if line.part == LOST}
    assert lost[ANY] == pytest.approx(by_length, abs=1e-9)
    assert lost[CROSS] == pytest.approx(1, abs=1e-9)
    assert lost[MORE] == pytest.approx(by_shown, abs=1e-9)


def test_text_alone_is_asked_about_its_length() -> None:
    schema = Schema(SCHEMA.modalities[:1], SCHEMA.targets)
    judge = Reader()
    judge.schema = schema
    found = Dilution().run(judge, _batches(schema)[0])
    assert {line.what for line in found.evidence if line.part == LOST} == {ANY, SAME}
    assert "only modality" in found.notes[0]


def test_features_of_text_cannot_be_asked() -> None:
    judge = Reader()
    judge.schema = Schema((Modality("text", "sequence", 4),), (TARGET,))
    with pytest.raises(DataError, match="no raw text among text"):
        Dilution().run(judge, list)
