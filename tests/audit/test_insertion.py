"""Insertion: nothing but words is put in, each weight has its way, and models that should not care do not."""

from __future__ import annotations

from functools import cache
from zlib import crc32

import numpy as np
import pytest
import torch

from polymodal.audit._wording import Lexicon, Put, put_into, scaled, scores, with_words, without_words, words_of
from polymodal.audit.base import Evidence, Findings, Said
from polymodal.audit.insertion import Insertion
from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target

MATCH = Target("match", "classification", classes=("no", "yes"))
SCHEMA = Schema((Modality("text", "text"), Modality("picture", "vector", 23)), (MATCH,))
THINGS, COLOURS = [f"thing{i:02}" for i in range(15)], [f"colour{i:02}" for i in range(8)]


def pictures(seed: int = 0, rows: int = 300) -> list[Batch]:
    """Return pictures of coloured things, and what is said of them: the thing, in half of all texts with its colour."""
    rng = np.random.default_rng(seed)
    thing, colour = rng.integers(15, size=rows), rng.integers(8, size=rows)
    seen = np.concatenate([np.eye(15)[thing], np.eye(8)[colour]], axis=1) + rng.normal(0, 0.05, (rows, 23))
    told = rng.random(rows) < 0.5
    texts = [
        f"There is a {COLOURS[c] + ' ' if t else ''}{THINGS[o]}, I think."
        for o, c, t in zip(thing, colour, told, strict=True)
    ]
    there = torch.ones(rows, dtype=torch.bool)
    streams = {"text": Stream(texts, None, there), "picture": Stream(torch.tensor(seen).float(), None, there)}
    return [Batch(streams, {"match": torch.ones(rows, dtype=torch.long)}, [f"{seed}-{i}" for i in range(rows)])]


class Matcher:
    """Says that text and picture go together unless most of the colours in the text are others than the picture's."""

    schema = SCHEMA
    looks = True

    def __call__(self, batch: Batch) -> Said:
        said = []
        for text, seen in zip(batch["text"].texts, batch["picture"].tensor, strict=True):
            colours = [w for w in words_of(text) if w.startswith("colour")]
            good = sum(w == COLOURS[int(seen[15:].argmax())] for w in colours)
            said.append(not self.looks or not colours or good >= len(colours) / 2)
        return {"match": torch.eye(2)[torch.tensor(said).long()]}


class Blind(Matcher):
    """Does not look at the text."""

    looks = False


class Counter(Matcher):
    """Is wrong about long texts."""

    def __call__(self, batch: Batch) -> Said:
        short = [len(words_of(t)) < 8 for t in batch["text"].texts]
        return {"match": torch.eye(2)[torch.tensor(short).long()]}


@cache
def audited(judge: type[Matcher], seed: int = 0) -> Findings:
    return Insertion().run(judge(), lambda: iter(pictures(seed)))


def line(found: Findings, what: str) -> Evidence:
    (one,) = [e for e in found.evidence if e.what == what]
    return one


def lexicon() -> tuple[Lexicon, np.ndarray, list[str]]:
    (batch,) = pictures()
    seen = batch["picture"].tensor.numpy().astype(float)
    seen = (seen - seen.mean(0)) / seen.std(0)
    return Lexicon(batch["text"].texts, seen), seen, batch["text"].texts


def test_what_is_put_in_can_be_taken_out_again() -> None:
    text = "A  girl, on a chair."
    put = [Put(3, "little"), Put(14, "wooden")]
    assert with_words(text, put) == "A  little girl, on a wooden chair."
    assert without_words(with_words(text, put), put) == text
    assert with_words(text, []) == text


def test_values_that_are_all_equal_say_nothing() -> None:
    assert scaled(np.array([3.0, 3.0])).tolist() == [1, 1]
    assert scaled(np.array([0.0, 0.0])).tolist() == [1, 1]
    rng = np.random.default_rng(0)
    found = scores(*rng.random((3, 10)), (1, 5, 5))
    assert 0 <= found.min() <= found.max() <= 1
    flat = np.ones(10)
    x = rng.random(10)
    assert scores(x, flat, flat, (1, 5, 5)).argmax() == x.argmax()


def test_every_weight_has_its_way() -> None:
    known, seen, texts = lexicon()
    row = next(i for i, t in enumerate(texts) if "colour" not in t)
    own = next(w for w in words_of(texts[row]) if w.startswith("thing"))
    options = known.candidates(own, words_of(texts[row])[:3])
    chosen = {w: put_into(texts[row], seen[row], known, w, 1)[0].word for w in ((1, 0, 0), (0, 1, 0), (0, 0, 1))}
    assert chosen[1, 0, 0] == options[0] == max(options, key=lambda w: known.fluency(w, own))
    assert chosen[0, 1, 0] == max(options, key=lambda w: known.shown(w, seen[row]))
    said = words_of(texts[row])
    assert chosen[0, 0, 1] == min(options, key=lambda w: known.agreement([*said, w], seen[row]))
    assert len(set(chosen.values())) > 1


def test_no_text_gets_more_words_than_it_names_things_that_are_shown() -> None:
    known, seen, texts = lexicon()
    counts = []
    for text, row in zip(texts, seen, strict=True):
        put = put_into(text, row, known, (1, 5, 5), 5)
        assert without_words(with_words(text, put), put) == text
        counts.append((len(put), sum(known.shown(w, row) > 0 for w in words_of(text))))
    assert all(added <= shown for added, shown in counts)
    assert max(added for added, _ in counts) > 1


def test_the_colour_that_is_shown_wins_wherever_it_is_a_candidate() -> None:
    known, seen, texts = lexicon()
    (batch,) = pictures()
    tried = 0
    for text, row, own in zip(texts, seen, batch["picture"].tensor[:, 15:].argmax(1).tolist(), strict=True):
        thing = next(w for w in words_of(text) if w.startswith("thing"))
        last = words_of(text)[max(0, words_of(text).index(thing) - 3) : words_of(text).index(thing)]
        if "colour" not in text and COLOURS[own] in known.candidates(thing, last):
            tried += 1
            assert [p.word for p in put_into(text, row, known, (0, 1, 0), 1)] == [COLOURS[own]]
    assert tried > 50


def test_words_of_which_nothing_is_known_leave_a_text_as_it_is() -> None:
    known, seen, _ = lexicon()
    assert put_into("Nothing of this is anywhere.", seen[0], known, (1, 5, 5), 2) == []
    assert put_into("", seen[0], known, (1, 5, 5), 2) == []


def test_a_model_that_looks_for_colours_falls_and_the_pressure_away_makes_it_fall_further() -> None:
    found = audited(Matcher)
    assert line(found, "right before").value == pytest.approx(1)
    assert line(found, "share of texts changed").value > 0.7
    shown, faithful = line(found, "drop, shown words"), line(found, "drop, faithful words")
    assert shown.low is not None
    assert shown.low > 0.02
    assert shown.value > faithful.value + 0.02
    assert found.samples["text"][0] != found.samples["text/shown"][0]
    lengths = [[len(words_of(str(t))) for t in found.samples[f"text/{kind}"]] for kind in ("shown", "faithful")]
    assert lengths[0] == lengths[1]  # so that as much of the text is as it was


def test_a_model_that_does_not_read_does_not_care() -> None:
    found = audited(Blind)
    assert all(abs(e.value) < 1e-9 for e in found.evidence if e.what.startswith("drop"))
    assert found.found[1] == "Nothing is lost when words for what another modality shows are put into them."


def test_a_model_that_counts_words_cares_as_much_about_any_word() -> None:
    found = audited(Counter)
    assert line(found, "drop, shown words").value > 0.3
    assert line(found, "drop, shown rather than random words").value == pytest.approx(0, abs=0.1)


@pytest.mark.slow
def test_the_same_words_are_found_every_time() -> None:
    assert Insertion().run(Matcher(), lambda: iter(pictures())).samples == audited(Matcher).samples


def test_mistakes_are_one_sentence() -> None:
    judge = Matcher()
    judge.schema = Schema((Modality("text", "sequence", 4), SCHEMA.modalities[1]), (MATCH,))
    with pytest.raises(OptionError, match="needs raw text, and this run has none; load the corpus raw"):
        Insertion().run(judge, lambda: iter(()))
    judge.schema = Schema(SCHEMA.modalities[:1], (MATCH,))
    with pytest.raises(OptionError, match="another modality beside the text"):
        Insertion().run(judge, lambda: iter(()))


@pytest.mark.slow
def test_on_average_over_seeds_no_drop_is_found_where_none_is() -> None:
    wrong = 0
    for seed in range(8):

        class Coin(Matcher):
            """Is right by chance, whatever it is told."""

            def __call__(self, batch: Batch) -> Said:
                rng = np.random.default_rng(crc32("".join(batch["text"].texts).encode()))
                return {"match": torch.eye(2)[torch.tensor(rng.integers(2, size=len(batch)))]}

        drop = line(audited(Coin, seed), "drop, shown words")
        assert drop.low is not None
        assert drop.high is not None
        wrong += drop.low > 0 or drop.high < 0
    assert wrong <= 2
