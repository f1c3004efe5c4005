"""The linear baseline equals scikit-learn on the features it says it makes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from polymodal.core import Batch, Kind, Modality, Schema, Stream, Target
from polymodal.methods._pooled import bag, small
from polymodal.methods.base import View
from polymodal.methods.linear import RIDGE, Linear, logistic

MakeBatch = Callable[..., Batch]
AUDIO, FACE, TEXT = Modality("audio", "sequence", 3), Modality("face", "vector", 2), Modality("text", "text")
SCORE = Target("score", "regression", (-3, 3))


def fitted(schema: Schema, train: list[Batch], valid: list[Batch]) -> Linear:
    method = Linear(schema, buckets=64)
    method.prepare(View(train=lambda: iter(train), valid=lambda: iter(valid)))
    return method.eval()


def test_features_are_mean_and_deviation_over_true_steps(make_batch: MakeBatch) -> None:
    batch = make_batch(Schema((AUDIO, FACE), (SCORE,)))
    x, present = Linear(Schema((AUDIO, FACE), (SCORE,))).pool(batch)
    row = batch["audio"].tensor[2, : batch["audio"].lengths[2]]
    torch.testing.assert_close(x[2, :3], row.mean(0))
    torch.testing.assert_close(x[2, 3:6], row.std(0, unbiased=False))
    assert torch.equal(x[:, 6:], batch["face"].tensor)
    assert present.all()


def test_ridge_is_scikit_learns_with_the_penalty_that_validates_best(make_batch: MakeBatch) -> None:
    schema = Schema((AUDIO, FACE), (SCORE,))
    train, valid = [make_batch(schema, 20, seed=s) for s in (1, 2)], [make_batch(schema, 15, seed=3)]
    method = fitted(schema, train, valid)

    raw = torch.cat([method.pool(b)[0] for b in train]).numpy()
    mean, std = raw.mean(0), raw.std(0)
    held = (method.pool(valid[0])[0].numpy() - mean) / std
    label = np.concatenate([b.targets["score"].numpy() for b in train])
    models = [Ridge(alpha=a).fit((raw - mean) / std, label) for a in RIDGE]
    errors = [np.abs(m.predict(held) - valid[0].targets["score"].numpy()).mean() for m in models]
    wanted = models[int(np.argmin(errors))].predict(held)

    got = method(valid[0])
    np.testing.assert_allclose(got.predictions["score"].numpy(), wanted, atol=1e-4)
    np.testing.assert_allclose(got.representations["fused"].numpy(), held, atol=1e-4)


def test_rows_without_a_label_are_part_of_the_statistics_alone(make_batch: MakeBatch) -> None:
    schema = Schema((AUDIO, FACE), (SCORE, Target("kind", "classification", classes=("a", "b"))))
    train, valid = make_batch(schema, 60, seed=1), make_batch(schema, 15, seed=2)
    known = torch.arange(60) % 3 > 0
    score = train.targets["score"].where(known, torch.nan)
    method = fitted(schema, [replace(train, targets={"score": score, "kind": train.targets["kind"]})], [valid])
    x = ((method.pool(train)[0] - method.mean) / method.std).numpy()
    weights = [Ridge(alpha=a).fit(x[known], score[known].numpy()).coef_ for a in RIDGE]
    assert min(np.abs(w - method.weight[0].numpy()).max() for w in weights) < 1e-5
    assert torch.isfinite(method.weight).all()


def test_a_planted_linear_rule_is_recovered(make_batch: MakeBatch) -> None:
    schema = Schema(
        (AUDIO, FACE),
        (
            SCORE,
            Target("sign", "classification", classes=("a", "b", "c")),
            Target("tags", "multilabel", classes=("u", "v")),
        ),
    )

    def labelled(seed: int) -> Batch:
        batch = make_batch(schema, 200, seed=seed)
        face = batch["face"].tensor
        targets = {
            "score": 2 * face[:, 0] - face[:, 1] + 1,
            "sign": torch.stack([face[:, 0], face[:, 1], -face.sum(1)], dim=1).argmax(1),
            "tags": (face > 0.2).float(),
        }
        return replace(batch, targets=targets)

    output = fitted(schema, [labelled(1)], [labelled(2)])(labelled(3))
    truth = labelled(3).targets
    torch.testing.assert_close(output.predictions["score"], truth["score"], atol=0.02, rtol=0)
    assert (output.predictions["sign"].argmax(1) == truth["sign"]).float().mean() > 0.95
    assert ((output.predictions["tags"] > 0).float() == truth["tags"]).float().mean() > 0.95


def test_a_word_decides(make_batch: MakeBatch) -> None:
    schema = Schema((TEXT,), (SCORE,))

    def labelled(seed: int) -> Batch:
        batch = make_batch(schema, 100, seed=seed)
        return replace(
            batch, targets={"score": torch.tensor(["happy" in t.split() for t in batch["text"].texts]).float()}
        )

    score = fitted(schema, [labelled(1)], [labelled(2)])(labelled(3)).predictions["score"]
    truth = labelled(3).targets["score"] > 0
    assert score[truth].mean() > score[~truth].mean() + 0.3


def test_words_share_one_scale_and_other_features_have_their_own(make_batch: MakeBatch) -> None:
    schema = Schema((AUDIO, TEXT), (SCORE,))
    train = [make_batch(schema, 40, seed=1)]
    method = fitted(schema, train, train)
    raw = method.pool(train[0])[0]
    torch.testing.assert_close(method.std[:6], raw[:, :6].std(0, unbiased=False))
    torch.testing.assert_close(method.std[6:], raw[:, 6:].var(0, unbiased=False).mean().sqrt().expand(128))


def test_an_absent_modality_is_its_training_mean(make_batch: MakeBatch) -> None:
    schema = Schema((AUDIO, FACE), (SCORE,))
    train = [make_batch(schema, 20, seed=1).without("face", rows=torch.arange(20) < 5)]
    method = fitted(schema, train, train)
    x, present = method.pool(train[0])
    torch.testing.assert_close(method.mean[6:], x[5:, 6:].mean(0), msg="absent rows count in the mean")
    assert not present[:5, 6:].any()
    assert torch.equal(method(train[0]).representations["fused"][:5, 6:], torch.zeros(5, 2))


def test_a_bag_of_words_has_length_one_and_forgets_order_but_for_pairs() -> None:
    one, two = bag("not good at all", 512), bag("all at good not", 512)
    torch.testing.assert_close(one.norm(), torch.tensor(1.0))
    assert torch.equal(one[:512], two[:512])
    assert not torch.equal(one[512:], two[512:])
    assert not bag("", 512).any()


def test_a_class_without_samples_is_never_predicted() -> None:
    x = np.random.default_rng(0).normal(size=(30, 4))
    label = np.where(x[:, 0] > 0, 2, 0)
    weight, bias = logistic(x, label, 4, 1.0)
    assert set((x @ weight.T + bias).argmax(1)) == {0, 2}
    weight, bias = logistic(x, np.full(30, 1), 3, 1.0)
    assert set((x @ weight.T + bias).argmax(1)) == {1}
    assert np.isfinite(weight).all()
    assert np.isfinite(bias).all()


def test_fitting_says_nothing(make_batch: MakeBatch) -> None:
    schema = Schema((AUDIO, TEXT), (Target("sign", "classification", classes=("a", "b", "c")),))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(schema, [make_batch(schema, 30, seed=1)], [make_batch(schema, 30, seed=2)])


@pytest.fixture(autouse=True)
def _no_gradient() -> Iterator[None]:
    with torch.no_grad():
        yield


def test_a_picture_is_scaled_down_by_area() -> None:
    quarters = torch.arange(16.0).reshape(4, 4).repeat_interleave(2, 0).repeat_interleave(3, 1)  # 8 x 12 pixels
    pictures = torch.stack([quarters, -quarters])[None].expand(5, 2, 8, 12)
    assert torch.equal(small(pictures)[3], torch.cat([torch.arange(16.0), -torch.arange(16.0)]))
    assert small(pictures[:, None].expand(5, 7, 2, 8, 12)).shape == (5, 7, 32)


@pytest.mark.parametrize("kind", ["image", "frames"])
def test_brightness_of_a_corner_is_read_from_pixels(kind: Kind) -> None:
    schema = Schema((Modality("scene", kind, shape=(1, 8, 8)),), (Target("light", "regression"),))

    def split(seed: int) -> Batch:
        random = torch.Generator().manual_seed(seed)
        light, pictures = torch.randn(200, generator=random), torch.randn(200, 1, 8, 8, generator=random)
        pictures[:, 0, 6:, 6:] += light[:, None, None]
        here = torch.ones(200, dtype=torch.bool)
        clips = Stream(pictures[:, None].repeat(1, 3, 1, 1, 1), torch.full((200,), 3), here)
        return Batch(
            {"scene": Stream(pictures, None, here) if kind == "image" else clips}, {"light": light}, ["x"] * 200
        )

    method = Linear(schema)
    method.prepare(View(train=lambda: [split(1)], valid=lambda: [split(2)]))
    test = split(3)
    # The corner is the mean of 4 pixels: noise of variance 1/4 on light of variance 1.
    assert torch.corrcoef(torch.stack([method(test).predictions["light"], test.targets["light"]]))[0, 1] > 0.8
