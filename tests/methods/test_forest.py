"""A forest predicts what scikit-learn's predicts, whatever is absent, and does not grow with its samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from polymodal.core import Modality, Schema, Target
from polymodal.methods.base import View
from polymodal.methods.forest import GROWN, TINY, Forest, Trees
from polymodal.testing import random_batch

SCORE = Target("score", "regression", (-3.0, 3.0))
MOOD = Target("mood", "classification", classes=("calm", "angry", "glad"))
TAGS = Target("tags", "multilabel", classes=("loud", "never", "always"))


def _data(target: Target) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6)).astype(np.float32)
    x[:60, 0] = np.nan
    first, second = np.nan_to_num(x[:, 0]) > 0, x[:, 1] + x[:, 2] > 0.3
    labels = {
        "score": x[:, 1] - x[:, 3],
        "mood": first.astype(int) + second,
        "tags": np.stack([second, np.zeros(300), np.ones(300)], axis=1),
    }
    return x, labels[target.name].astype(np.float32)


@pytest.mark.parametrize("target", [SCORE, MOOD, TAGS])
def test_it_predicts_what_scikit_learn_predicts(target: Target) -> None:
    x, y = _data(target)
    trees = Trees(target, 20, 32)
    trees.grow(x[:200], y[:200], 2)
    kind = RandomForestRegressor if target is SCORE else RandomForestClassifier
    wanted = kind(
        20,
        max_leaf_nodes=32,
        max_depth=GROWN,
        min_samples_leaf=2,
        max_features="sqrt",
        random_state=0,
    ).fit(x[:200], y[:200] if target is SCORE else y[:200].astype(int))
    rows = np.concatenate([x[200:], x[:40]])
    said = trees(torch.from_numpy(np.nan_to_num(rows)), torch.from_numpy(~np.isnan(rows)))
    if target is SCORE:
        np.testing.assert_allclose(said.numpy(), wanted.predict(rows), atol=1e-5)
    elif target is MOOD:
        np.testing.assert_allclose(said.softmax(1).numpy(), wanted.predict_proba(rows), atol=2 * TINY)
    else:
        shares = wanted.predict_proba(rows)
        np.testing.assert_allclose(said.sigmoid().numpy()[:, 0], shares[0][:, 1], atol=2 * TINY)
        assert float(said.sigmoid()[:, 1].max()) < 2 * TINY
        assert float(said.sigmoid()[:, 2].min()) > 1 - 2 * TINY


def test_its_size_does_not_follow_from_the_samples() -> None:
    schema = Schema((Modality("audio", "sequence", 5), Modality("face", "vector", 3)), (SCORE, MOOD))
    sizes = []
    for count in (20, 90):
        method, batch = Forest(schema, trees=5, leaves=16), random_batch(schema, count)
        method.prepare(View(train=lambda batch=batch: [batch], valid=lambda batch=batch: [batch]))
        sizes.append({name: part.shape for name, part in method.state_dict().items()})
    assert sizes[0] == sizes[1]
    assert method.phases() == []
