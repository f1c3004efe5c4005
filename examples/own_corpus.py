"""A corpus from your own arrays: a pulse curve, three skin values and a note, labelled calm or tense.

python examples/own_corpus.py
polymodal data info examples/own_corpus.py:stress
polymodal fit late-fusion --data 'examples/own_corpus.py:stress?people=40'
"""

from __future__ import annotations

from typing import Any

import numpy as np

import polymodal
from polymodal import Corpus, Split, build_split
from polymodal.core import Modality, Schema, Target

SCHEMA = Schema(
    modalities=(Modality("pulse", "sequence", 1), Modality("skin", "vector", 3), Modality("note", "text")),
    targets=(Target("state", "classification", classes=("calm", "tense")),),
)


def split_of(people: int, name: str) -> Split:
    """Return made-up recordings of ``people`` persons, four each; replace this by reading your files."""
    rng = np.random.default_rng([people, len(name)])
    ids, groups, labels = [], [], []
    columns: dict[str, list[Any]] = {"pulse": [], "skin": [], "note": []}
    for i in range(4 * people):
        tense = int(rng.integers(2))
        ids.append(f"{name}-{i}")
        groups.append(f"{name}-person-{i // 4}")  # nobody may be in two splits
        labels.append(tense)
        columns["pulse"].append(70 + 15 * tense + 10 * rng.standard_normal((int(rng.integers(20, 60)), 1)))
        columns["skin"].append(None if rng.random() < 0.2 else rng.standard_normal(3) + tense)  # None: absent
        columns["note"].append(str(rng.choice(["a long day", "could not sleep" if tense else "slept well"])))
    return build_split(SCHEMA, ids, columns, {"state": labels}, groups)


def stress(people: int = 20) -> Corpus:
    """Return the corpus; options of this function can be given behind a question mark."""
    sizes = {"train": people, "valid": max(2, people // 4), "test": max(2, people // 2)}
    return Corpus("stress", "examples/own_corpus.py:stress", SCHEMA, {n: split_of(k, n) for n, k in sizes.items()})


if __name__ == "__main__":
    run = polymodal.fit("linear", stress(), out="runs/own-corpus")
    for row in polymodal.evaluate(run, stress())["rows"]:
        if row["main"]:
            print(f"{row['metric']}, {row['condition']:20} {row['mean']:.3f}")
