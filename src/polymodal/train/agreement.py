"""What an evaluation says of raters: how far they agree, what one of them reaches, predictions against their shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from polymodal.core.estimate import plain
from polymodal.data.corpus import Corpus
from polymodal.data.ratings import agreement_rows, matrix
from polymodal.score.raters import soft_scores
from polymodal.train.infer import Columns


def rater_rows(corpus: Corpus, split_name: str, by_seed: Sequence[Columns]) -> list[dict[str, Any]]:
    """Return the rows of ``data.ratings.agreement_rows`` with their ``split``, and those of soft labels; nothing where
    the split has no ratings.

    Rows of soft labels have ``what`` ``soft labels`` and are those of ``score.raters.soft_scores``, for every joint
    target that is one of several classes.

    Args:
        by_seed: predictions of the split with complete input, one table per seed.
    """
    split = corpus[split_name]
    found = agreement_rows(corpus.schema, split)
    at = {name: row for row, name in enumerate(split.ids)}
    rows = [at[str(name)] for name in by_seed[0]["id"]]
    for target in corpus.schema.joint_targets:
        if target.name not in split.ratings or target.spec.answer != "class":
            continue
        ratings = matrix(split.ratings[target.name])[rows]
        said = np.stack([columns[f"{target.name}/probability"] for columns in by_seed])
        place = {"target": target.name, "what": "soft labels", "raters": ratings.shape[1]}
        found += [
            {**place, "metric": metric, "main": False, **plain(summary)}
            for metric, summary in soft_scores(target, ratings, said, by_seed[0].get("group")).items()
        ]
    return [{"split": split_name, **row} for row in found]
