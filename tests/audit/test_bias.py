"""Slices: masks and heat in closed form, a planted shortcut is found, named and mended, chance is not found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from polymodal import fit
from polymodal.audit._asked import Known
from polymodal.audit._grounding import grounded, heat, kept
from polymodal.audit._naming import keyword_score
from polymodal.audit._slices import Axes, Mixture, precision
from polymodal.audit.base import Findings, Panel, Said
from polymodal.audit.bias import Bias
from polymodal.audit.run import audit_run
from polymodal.core import Batch, DataError, Modality, OptionError, Output, Schema, Stream, Target
from polymodal.data.corpus import Corpus
from polymodal.data.loader import Loader
from polymodal.data.split import build_split
from polymodal.data.store import write_store
from polymodal.methods.base import Method
from polymodal.train.run import Run

KIND = Target("bird", "classification", classes=("land", "water"))
SCHEMA = Schema((Modality("body", "vector", 4), Modality("ground", "vector", 4)), (KIND,))


def birds(seed: int = 0, rows: int = 800, agree: float = 0.9) -> Corpus:
    """Return birds whose body tells the kind with some noise and whose ground clearly tells it in most of train, valid
    and test; in ``even`` it tells nothing."""
    splits = {}
    for number, (name, count) in enumerate({"train": rows, "valid": rows // 2, "test": rows, "even": rows}.items()):
        rng = np.random.default_rng([seed, number])
        y = rng.integers(2, size=count)
        same = rng.random(count) < (0.5 if name == "even" else agree)
        water = np.where(same, y, 1 - y)
        body, ground = rng.normal(0, 1, (count, 4)), rng.normal(0, 0.3, (count, 4))
        body[:, 0] += 2.4 * (y - 0.5)
        ground[:, 0] += 3 * (water - 0.5)
        splits[name] = build_split(
            SCHEMA,
            [f"{name}-{i}" for i in range(count)],
            {"body": list(body), "ground": list(ground)},
            {"bird": y},
            about={"place": np.where(water == 1, "lake", "wood").tolist()},
        )
    return Corpus("birds", f"birds?seed={seed}", SCHEMA, splits)


class Shortcut(Method):
    """Looks at the ground first."""

    def __init__(self, schema: Schema, ground: float = 4.0) -> None:
        super().__init__(schema)
        self.ground = ground

    def forward(self, batch: Batch) -> Output:
        x = batch["body"].tensor[:, 0] + self.ground * batch["ground"].tensor[:, 0]
        return Output({"bird": torch.stack([-x, x], dim=1)}, {"fused": x[:, None]})


class Dice:
    """Errs in a tenth of all cases, whatever they are."""

    schema = SCHEMA

    def __call__(self, batch: Batch) -> Said:
        y = batch.targets["bird"]
        wrong = np.array([np.random.default_rng([77, int(i.split("-")[1])]).random() < 0.1 for i in batch.ids])
        return {"bird": torch.eye(2)[torch.where(torch.from_numpy(wrong), 1 - y, y)]}


def audited(judge: Panel | Dice, corpus: Corpus) -> Findings:
    split = corpus["test"]
    known = Known({n: dict(zip(split.ids, v, strict=True)) for n, v in split.about.items()})
    return Bias(known).run(judge, Loader(split, corpus.schema, 100).epoch)


def slices(found: Findings) -> list[str]:
    return [sentence for sentence in found.found if sentence.startswith("Slice")]


def test_a_mask_keeps_its_share_and_none_keeps_all() -> None:
    values = torch.rand(6, 40, generator=torch.Generator().manual_seed(0)) + 0.1
    assert kept(values, 0.7).sum(1).tolist() == [12] * 6
    assert kept(values, 0.0).all()
    values[:, 5:] = 0
    assert not kept(values, 0.7)[:, 5:].any(), "what says nothing is not kept"


class Pooled(Method):
    """A linear map of the mean over time."""

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.map = nn.Linear(schema.modality("sound").width, 2)

    def forward(self, batch: Batch) -> Output:
        stream = batch["sound"]
        mean = (stream.tensor * stream.mask.unsqueeze(2)).sum(1) / stream.mask.sum(1, keepdim=True)
        return Output({"bird": self.map(mean)}, {"fused": mean})


def test_heat_over_a_mean_over_time_is_the_share_of_each_channel_in_the_logit() -> None:
    schema = Schema((Modality("sound", "sequence", 3),), (KIND,))
    method = Pooled(schema).eval()
    lengths = torch.tensor([5, 3])
    batch = Batch({"sound": Stream(torch.randn(2, 5, 3), lengths, torch.ones(2, dtype=torch.bool))}, {}, ["a", "b"])
    held, hot = heat(method, batch, "bird")
    for row, steps in enumerate(lengths.tolist()):
        mean = batch["sound"].tensor[row, :steps].mean(0)
        torch.testing.assert_close(held[row], mean)
        named = int(method(batch).predictions["bird"][row].argmax())
        torch.testing.assert_close(hot[row] * steps, (mean * method.map.weight[named]).relu())
    np.testing.assert_allclose(grounded(hot.numpy(), held.numpy(), 0.0), held.numpy())


def test_a_keyword_counts_the_other_way_round_where_right_and_wrong_are_exchanged() -> None:
    rng = np.random.default_rng(0)
    said, wrong = rng.random(50) < 0.3, rng.random(50) < 0.4
    assert keyword_score(said, wrong, ~wrong) == pytest.approx(-keyword_score(said, ~wrong, wrong))
    assert keyword_score(np.ones(50), wrong, ~wrong) == pytest.approx(0, abs=1e-12)


def test_precision_is_one_for_perfect_slices_and_near_the_share_for_random_ones() -> None:
    rng = np.random.default_rng(0)
    inside = rng.random(1000) < 0.2
    assert precision(np.stack([inside, ~inside], axis=1).astype(float), inside) == 1
    by_chance = {n: np.mean([precision(rng.random((1000, n)), inside) for _ in range(60)]) for n in (1, 20)}
    assert by_chance[1] == pytest.approx(inside.mean(), abs=0.06)
    assert by_chance[1] + 0.1 < by_chance[20] < 0.7, "the best of many is above the share, also by chance"


def test_masking_to_what_was_looked_at_brings_the_shortcut_out() -> None:
    schema = Schema((Modality("sound", "sequence", 8),), (KIND,))
    method = Pooled(schema).eval()
    with torch.no_grad():
        method.map.weight.zero_()[:, 0] = torch.tensor([-1.0, 1.0])
        method.map.bias.zero_()
    found: dict[float, list[float]] = {0.0: [], 0.7: []}
    for seed in (1, 2, 3, 4):
        rng = np.random.default_rng(seed)
        y = rng.integers(2, size=400)
        tone = np.where(rng.random(400) < 0.85, y, 1 - y)
        sound = rng.normal(0, 0.7, (400, 30, 8))
        sound[:, :9, 0] += 1.2 * (tone[:, None] - 0.5)  # what the method hears, in the first steps
        sound[:, 9:, 1:] += rng.normal(0, 3, (12, 1, 7))[rng.integers(12, size=400)]  # what else there is
        stream = Stream(torch.tensor(sound).float(), torch.full((400,), 30), torch.ones(400, dtype=torch.bool))
        batch = Batch({"sound": stream}, {}, [str(i) for i in range(400)])
        said = method(batch).predictions["bird"].softmax(1).detach().double().numpy()
        for share in found:
            held, hot = (x.double().numpy() for x in heat(method, batch, "bird"))
            vectors = grounded(hot[::2], held, share)
            z = Axes.of(vectors, 8)(vectors)
            shares = Mixture.fit(z, y, said, 8).shares(z, y)
            found[share].append(precision(shares, (tone != y) & (y == 0)))
    assert np.mean(found[0.7]) > np.mean(found[0.0]) + 0.3, found


def test_a_planted_shortcut_is_found_and_named() -> None:
    found = [audited(Panel([Shortcut(SCHEMA)]), birds(seed, agree=0.85)) for seed in (1, 2, 3)]
    assert all(slices(f) for f in found)
    named = [s for f in found for s in slices(f)]
    assert any("land, place lake" in s for s in named)
    assert any("water, place wood" in s for s in named)
    for f in found:
        assert set(f.samples["trait"]) in ({"place lake", "not place lake"}, {"place wood", "not place wood"})
        assert len(f.samples["slice"]) == len(f.samples["id"]) == 800


class Line(Method):
    """Names the nearest of four classes, whose means lie in a line."""

    def forward(self, batch: Batch) -> Output:
        x = batch["sound"].tensor
        return Output({"step": -((x[:, :1] - 2 * torch.arange(4)) ** 2)}, {"fused": x})


STEPS = Target("step", "classification", classes=("a", "b", "c", "d"))
LINE = Schema((Modality("sound", "vector", 8),), (STEPS,))


def line(seed: int, rows: int = 800) -> Corpus:
    """Return four classes that overlap with their neighbours along one channel; the others are in five clusters, alike
    in all classes. The nearest mean is the best that can be said, and errs in a quarter of all cases."""
    rng = np.random.default_rng([seed, 7])
    y = rng.integers(4, size=rows)
    sound = rng.normal(size=(rows, 8))
    sound[:, 0] += 2 * y
    sound[:, 1:] += rng.normal(0, 3, (5, 7))[rng.integers(5, size=rows)]
    split = build_split(LINE, [f"s-{i}" for i in range(rows)], {"sound": list(sound)}, {"step": y})
    return Corpus("line", f"line?seed={seed}", LINE, {"test": split})


def falsely(judges: Callable[[int], Panel | Dice], corpora: Callable[[int], Corpus], times: int) -> int:
    """Return in how many of ``times`` repetitions a slice is found."""
    return sum(bool(slices(audited(judges(seed), corpora(seed)))) for seed in range(times))


def test_errors_at_random_within_a_class_are_hardly_ever_a_slice() -> None:
    assert falsely(lambda _: Dice(), birds, 40) <= 5  # two are expected


def test_classes_that_overlap_are_hardly_ever_a_slice() -> None:
    assert falsely(lambda _: Panel([Line(LINE)]), line, 40) <= 5  # two are expected


def test_overlap_is_called_hard() -> None:
    found = [s for seed in range(4) for s in audited(Panel([Line(LINE)]), line(seed)).found]
    assert any(s.startswith("Hard, ") and s.endswith("but a plain classifier errs there too.") for s in found)


def test_the_mask_says_nothing_of_a_single_answer() -> None:
    rng = np.random.default_rng(0)
    held, hot = rng.normal(size=(30, 10)), np.abs(rng.normal(size=(30, 10)))
    masked = grounded(hot[:15], held, 0.7)
    assert masked.shape == (30, 3)
    np.testing.assert_array_equal(masked[7], held[7][np.sort(np.argsort(hot[:15].mean(0))[-3:])])


def worst_group(run: Run) -> float:
    """Return the lowest accuracy of birds of a kind in a place, where places tell nothing of kinds."""
    corpus = run.corpus()
    said = run.predict(corpus, "even")
    place = dict(zip(corpus["even"].ids, corpus["even"].about["place"], strict=True))
    group = np.array([f"{place[i]} {t}" for i, t in zip(said["id"].tolist(), said["bird/true"].tolist(), strict=True)])
    right = said["bird/predicted"] == said["bird/true"]
    return min(float(right[group == g].mean()) for g in set(group))


@pytest.mark.slow
def test_equally_many_with_and_without_the_trait_raise_the_worst_group(tmp_path: Path) -> None:
    store = write_store(birds(1, rows=2000, agree=0.9), tmp_path / "store")
    training = {"epochs": 12, "batch_size": 64, "lr": 3e-3, "patience": 12, "width": 16, "context": "none"}
    plain = fit("late-fusion", f"{store}", options=training, seeds=[1], out=tmp_path / "plain")
    # The training split holds the shortcut, so that a plain classifier takes it, too.
    assert any(s.startswith(("Slice", "Hard")) for s in audit_run(plain, ["bias"], split="train")["bias"].found)
    table, even = tmp_path / "plain" / "audit" / "bias.parquet", training | {"balance": "cell"}
    found = fit("late-fusion", f"{store}?about={table}&domain=trait", options=even, seeds=[1], out=tmp_path / "found")
    told = fit("late-fusion", f"{store}?domain=place", options=even, seeds=[1], out=tmp_path / "told")
    before = worst_group(plain)
    assert worst_group(found) > before + 0.1
    assert worst_group(told) > before + 0.1


def test_mistakes_are_one_sentence() -> None:
    corpus = birds(rows=80)
    with pytest.raises(DataError, match=r"80 labelled samples are too few .* at least 100"):
        audited(Panel([Shortcut(SCHEMA)]), corpus)
    test = replace(birds()["test"], groups=[f"speaker {i % 15}" for i in range(800)])
    with pytest.raises(DataError, match=r"15 groups .* at least 20, or a run of folds"):
        audited(Panel([Shortcut(SCHEMA)]), replace(birds(), splits={"test": test}))
    score = replace(SCHEMA, targets=(Target("score", "regression", (0, 1)),))
    judge = Dice()
    judge.schema = score
    with pytest.raises(OptionError, match="'score' is a regression; audit a run with one class per sample"):
        audited(judge, corpus)
