"""Planted people: scores that a merit deserves, a face that tells the sex, and a malus for one of the two."""

from __future__ import annotations

import numpy as np

from polymodal.core import Modality, Schema, Target
from polymodal.data.corpus import Corpus
from polymodal.data.split import build_split

SCHEMA = Schema((Modality("cv", "vector", 4), Modality("face", "vector", 4)), (Target("score", "regression", (0, 1)),))
WEIGHTS = np.array([0.4, 0.3, 0.2, 0.1])


def people(*, malus: float = 0.2, seed: int = 0, rows: int = 600, blind: bool = False, told: bool = True) -> Corpus:
    """Return a corpus whose merits are alike for both sexes.

    Args:
        malus: taken from the scores of sex f in train, valid and test.
        blind: labels without the malus.
        told: by the face, what sex is.
    """
    splits = {}
    for number, (name, count) in enumerate({"train": rows, "valid": rows // 3, "test": rows // 2}.items()):
        rng = np.random.default_rng([seed, number])
        female = rng.random(count) < 0.5
        cv, face = rng.random((count, 4)), rng.normal(0, 0.5, (count, 4))
        face[:, 0] += told * np.where(female, 1.0, -1.0)
        score = cv @ WEIGHTS + rng.normal(0, 0.02, count)
        label = score if blind else score - malus * female
        splits[name] = build_split(
            SCHEMA,
            [f"{name}-{i}" for i in range(count)],
            {"cv": list(cv), "face": list(face)},
            {"score": np.clip(label, 0, 1)},
            about={"sex": np.where(female, "f", "m").tolist(), "coin": rng.choice(["heads", "tails"], count).tolist()},
        )
    return Corpus("people", f"people?malus={malus}", SCHEMA, splits)
