"""Drawn faces: the mouth shows what the plan says, and nothing else of them does."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV

from polymodal.core import Batch
from polymodal.data.corpus import Corpus
from polymodal.data.loader import Loader
from polymodal.data.ragged import Array, Ragged
from polymodal.data.synthetic import GROUP, load
from polymodal.data.synthetic_images import MOUTH, SIDE
from polymodal.methods.late_fusion import LateFusion

UPPER = slice(0, MOUTH.start)
LIMITS = {"vision": 0.68, "audio": 0.45, "both": 0.81}
"""The best correlations with the score, as the module states them."""


@cache
def corpus(n: int = 1600, noise: float = 1.0) -> Corpus:
    return load("faces", n=n, noise=noise)


def column(made: Corpus, split: str, name: str) -> Ragged:
    found = made[split].columns[name]
    assert isinstance(found, Ragged)
    return found


def pixels(made: Corpus, split: str, rows: slice) -> Array:
    """(samples, pixels): the mean of each clip over frames and colours."""
    clips = column(made, split, "vision")
    return np.stack([clips[i][:, :, rows].mean((0, 1)).ravel() for i in range(len(clips))])


def voice(made: Corpus, split: str) -> Array:
    heard = column(made, split, "audio")
    return np.stack([np.r_[heard[i].mean(0), heard[i].std(0)] for i in range(len(heard))])


def score(made: Corpus, split: str) -> Array:
    return np.asarray(made.truth["splits"][split]["scores"]["valence"])


def read(train: Array, known: Array, test: Array, wanted: Array) -> float:
    """Correlation of what a linear reader makes of ``test`` with what is wanted."""
    model = RidgeCV(np.logspace(0, 8, 17)).fit(train, known)
    return float(np.corrcoef(model.predict(test), wanted)[0, 1])


def test_the_stated_limits_follow_from_shares_and_errors() -> None:
    made = corpus(100)
    (shares,), carries = made.truth["shares"].values(), made.truth["carries"]
    squares = {
        "vision": shares["smile"] * carries["smile"]["vision"] ** 2,
        "audio": shares["voice"] * carries["voice"]["audio"] ** 2,
    }
    squares["both"] = sum(squares.values())
    assert {n: round(s**0.5, 2) for n, s in squares.items()} == LIMITS


def test_each_modality_is_read_up_to_its_limit_and_no_further() -> None:
    made = corpus()
    x = {s: {"vision": pixels(made, s, MOUTH), "audio": 100 * voice(made, s)} for s in ("train", "test")}
    for part in x.values():
        part["both"] = np.concatenate([part["vision"], part["audio"]], axis=1)
    for name, limit in LIMITS.items():
        found = read(x["train"][name], score(made, "train"), x["test"][name], score(made, "test"))
        assert limit - 0.1 < found < limit + 0.06, name  # 300 samples: a deviation of 0.03


def test_a_face_without_its_mouth_says_nothing() -> None:
    made = corpus()
    x = {s: pixels(made, s, UPPER) for s in ("train", "test")}
    for wanted in (score(made, "train"), made.truth["splits"]["train"]["factors"]["smile"]):
        assert (
            abs(read(x["train"][:1200], wanted[:1200], x["train"][1200:], wanted[1200:])) < 0.15
        )  # 400 samples: a deviation of 0.05


def test_without_noise_the_mouth_is_the_factor() -> None:
    made = corpus(600, 0.0)
    factors = {s: made.truth["splits"][s]["factors"]["smile"] for s in ("train", "test")}
    x = {s: pixels(made, s, MOUTH) for s in ("train", "test")}
    assert read(x["train"], factors["train"], x["test"], factors["test"]) > 0.95


def test_corners_are_up_in_a_glad_face_and_down_in_a_sad_one() -> None:
    made = corpus(600, 0.0)
    smile, mouths = made.truth["splits"]["train"]["factors"]["smile"], []
    for chosen in (smile > 1, smile < -1):
        mean = np.stack([column(made, "train", "vision")[i].mean((0, 1)) for i in np.flatnonzero(chosen)]).mean(0)
        middle, corner = (mean[9:14, columns].mean(1).argmin() for columns in (slice(7, 9), slice(5, 6)))
        mouths.append(int(corner - middle))
    assert mouths[0] < 0 < mouths[1]


def test_a_speaker_looks_the_same_in_all_clips() -> None:
    made = corpus(100)
    clips = column(made, "train", "vision")
    corner = np.stack([clips[i][:, :, :2, :2].mean((0, 2, 3)) for i in range(100)]).reshape(-1, GROUP, 3)
    assert corner.std(1).max() < 8 < corner.mean(1).std(0).min()


def test_frames_are_small_colour_pictures_of_every_length() -> None:
    made = corpus(100)
    clips = column(made, "train", "vision")
    assert made.schema.modality("vision").shape == clips.step == (3, SIDE, SIDE)
    assert clips.chunks[0][0].dtype == np.uint8
    assert len(set(clips.lengths.tolist())) > 5


@pytest.mark.slow
def test_a_method_learns_to_read_the_mouth() -> None:
    made = load("faces", n=1000, seed=1)
    method = LateFusion(made.schema, width=32)
    optimizer = torch.optim.AdamW(method.parameters(), lr=3e-3)
    train = Loader(made["train"], made.schema, 32, normalizer=made.normalizer, shuffle=True)
    for epoch in range(12):
        for batch in train.epoch(epoch):
            optimizer.zero_grad()
            sum(method.losses(batch, method(batch)).values(), torch.zeros(())).backward()
            optimizer.step()
    batch = Loader(made["test"], made.schema, 300, normalizer=made.normalizer).batch(np.arange(300))

    def skill(shown: Batch) -> float:
        with torch.no_grad():
            guess = method.eval()(shown).predictions["valence"]
        return float(torch.corrcoef(torch.stack([guess, batch.targets["valence"]]))[0, 1])

    assert skill(batch) > 0.65
    hidden = batch["vision"].tensor.clone()
    hidden[..., MOUTH, :] = 0
    blind = replace(batch["vision"], values=hidden)
    assert skill(replace(batch, streams={**batch.streams, "vision": blind})) < 0.5
    assert skill(batch.without("audio")) > 0.5
