"""How unlike training a sample is: the rate that is promised, what is shifted, and what the file holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from polymodal import Corpus, Run, evaluate, fit, load_corpus
from polymodal.core import Batch, Modality, RunError, Schema, Target
from polymodal.data.split import build_split
from polymodal.train.density import Density
from polymodal.train.novelty import FEWEST, FILE, Novelty, alarms
from polymodal.train.unlike import ALARM, Unlike

SCHEMA = Schema(
    (Modality("voice", "vector", 6), Modality("face", "vector", 4)), (Target("mood", "regression", (-3.0, 3.0)),)
)


def corpus(seed: int = 0, *, groups: int = 40, shift: float = 0.0, faces: bool = True) -> Corpus:
    """Return groups of five samples whose features lie around a middle of their own; ``shift`` is of the voice."""
    rng, splits = np.random.default_rng(seed), {}
    for name, factor in (("train", 3), ("valid", 1), ("test", 5)):
        count = factor * groups
        own = [np.repeat(rng.normal(0, 1, (count, m.width)), 5, axis=0) for m in SCHEMA.modalities]
        voice, face = (o + rng.normal(0, 1, o.shape) for o in own)
        label = np.clip(voice[:, 0] + rng.normal(0, 0.3, 5 * count), -3, 3)
        columns = {"voice": list(voice + shift), "face": list(face) if faces else [None] * 5 * count}
        ids = [f"{name}-{i}" for i in range(5 * count)]
        splits[name] = build_split(
            SCHEMA, ids, columns, {"mood": label}, [f"{name}-{i // 5}" for i in range(5 * count)]
        )
    return Corpus("shifted", "made", SCHEMA, splits)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fit("linear", corpus(), out=tmp_path_factory.mktemp("run") / "run")


def _told(run: Run, of: Corpus, split: str = "test") -> list[Unlike | None]:
    novelty = Novelty.read(run)
    assert novelty is not None
    opened = run.corpus(of)
    return [one for batch in run.loader(opened, split).epoch() for one in novelty.told(batch)]


def test_the_alarm_is_rare_on_samples_like_those_and_sure_on_shifted_ones(run: Run) -> None:
    """One run and three draws of 1000 samples; in 200 of these rates lie about a hundredth around what the run's own
    validation makes of 5 %, so that twice that is left as room."""
    clean = [alarms(_told(run, corpus(seed)))["share"] for seed in range(3)]
    assert 0.005 < np.mean(clean) < 2 * ALARM
    told = _told(run, corpus(1, shift=4.0))
    assert alarms(told)["share"] > 0.9
    assert {one.modality for one in told if one and one.alarm} == {"voice"}


def test_over_many_runs_the_rate_is_what_is_promised() -> None:
    """The p value alone, on distances drawn afresh: the mean over runs is exact, up to chance."""
    rng, rates = np.random.default_rng(0), []
    density = Density.of(rng.normal(0, 1, (500, 6)))
    schema = Schema((Modality("voice", "vector", 6),), SCHEMA.targets)
    for _ in range(40):
        own = np.repeat(rng.normal(0, 1, (60, 1)), 5) + rng.normal(0, 0.5, 300)
        novelty = Novelty(schema, [density], own[:200, None], np.repeat(np.arange(40), 5), "")
        told = [novelty._told(np.array([far])) for far in own[200:]]
        rates.append(alarms(told)["share"])
    assert np.mean(rates) == pytest.approx(ALARM, abs=0.02)


def test_the_p_value_counts_groups_and_not_samples() -> None:
    schema = Schema((Modality("voice", "vector", 2),), SCHEMA.targets)
    groups = np.repeat(np.arange(20), [11, *[1] * 19])
    distances = np.where(groups == 0, 5.0, 0.0)[:, None]
    distances[0] = 0.0
    novelty = Novelty(schema, [Density.of(np.zeros((0, 2)))], distances, groups, "")
    told = novelty._told(np.array([1.0]))
    assert told is not None
    assert told.p == pytest.approx((1 + 10 / 11) / 21)
    far = novelty._told(np.array([9.0]))
    assert far is not None
    assert far.p == pytest.approx(1 / 21)
    assert far.alarm
    fewer = Novelty(schema, novelty.densities, distances[:-2], groups[:-2], "")
    assert len(np.unique(groups[:-2])) == FEWEST - 1
    assert fewer._told(np.array([9.0])) is None


def test_only_what_is_there_counts(run: Run) -> None:
    told = _told(run, corpus(1, shift=4.0, faces=False))
    assert alarms(told)["share"] > 0.9
    assert {one.modality for one in told if one} == {"voice"}
    novelty = Novelty.read(run)
    assert novelty is not None
    batch = next(iter(run.loader(run.corpus(corpus(1)), "test").epoch()))
    nothing: Batch = batch.without(*SCHEMA.names)
    assert novelty.told(nothing) == [None] * len(batch)


def test_few_groups_of_validation_are_joined_by_those_of_training(tmp_path: Path) -> None:
    small = fit("linear", corpus(groups=10), out=tmp_path / "small")
    novelty = Novelty.read(small)
    assert novelty is not None
    assert novelty.held_out == "parts of all that it was trained with"
    assert len(np.unique(novelty.groups)) == 40
    assert np.isfinite(novelty.distances).all()
    assert alarms(_told(small, corpus(3, groups=10)))["share"] < 2 * ALARM
    assert alarms(_told(small, corpus(3, groups=10, shift=4.0)))["share"] > 0.9


def test_a_run_of_folds_knows_too(tmp_path: Path) -> None:
    mine = corpus(groups=10)
    folded = fit("linear", mine, folds=3, out=tmp_path / "folded")
    assert evaluate(folded, mine, subsets=False)["novelty"] == []  # it was measured on all of that
    told = evaluate(folded, corpus(3, groups=10, shift=4.0), subsets=False)["novelty"]
    assert told[0]["share"] > 0.9


def test_scores_tell_the_share_of_every_test_split(run: Run) -> None:
    (row,) = evaluate(run, corpus(2), subsets=False)["novelty"]
    assert (row["split"], row["count"]) == ("test", 1000)
    assert row["share"] < 2 * ALARM


def test_an_older_run_says_nothing_and_a_damaged_file_is_one_sentence(trained: Path) -> None:
    (trained / FILE).write_bytes(b"no tensors")
    with pytest.raises(RunError, match=r"novelty.safetensors cannot be read .* fit --resume"):
        Novelty.read(Run.load(trained))
    (trained / FILE).unlink()
    assert Novelty.read(Run.load(trained)) is None
    assert evaluate(trained, subsets=False)["novelty"] == []


def test_a_density_takes_any_number_of_samples() -> None:
    rng = np.random.default_rng(0)
    made: Callable[[int, int], Density] = lambda rows, width: Density.of(rng.normal(0, 1, (rows, width)))  # noqa: E731
    for rows, width in ((0, 3), (1, 3), (5, 40), (300, 40)):
        far = made(rows, width).distance(rng.normal(0, 1, (7, width)))
        assert far.shape == (7,)
        assert np.isfinite(far).all()
    constant = Density.of(np.ones((50, 3)))
    assert np.isfinite(constant.distance(np.full((2, 3), 9.0))).all()


def test_planted_noise_is_noticed(tmp_path: Path) -> None:
    run = fit("linear", "synthetic:unimodal?n=600", out=tmp_path / "run")
    shares = [
        alarms(_told(run, load_corpus(s)))["share"]
        for s in ("synthetic:unimodal?n=600", "synthetic:unimodal?n=600&noise=3")
    ]
    assert shares[0] < 2 * ALARM
    assert shares[1] > 0.9
