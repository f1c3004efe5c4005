"""What every public corpus holds for a linear model, by modality; run it from the repository root.

    python benchmarks/floors.py                  # minutes on one core
    python benchmarks/floors.py --only emodb     # lines of other corpora stay as they are

The method ``linear`` (ridge or logistic regression; text as MiniLM states) reads each corpus of ``corpora.py`` from one
modality at a time, then from all. A modality carries something alone if the interval over groups (speakers, videos,
dialogues; samples where none are known) lies above chance; below ten groups there is none. Folds are pooled. Runs stay
in ``--out`` and finished ones are reused. Writes ``results/floors.json`` and ``floors.md``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from measure import RESULTS, machine, save
from polymodal.core import Target
from polymodal.data.corpus import Corpus
from polymodal.data.sources import load_corpus
from polymodal.score.intervals import FEW
from real_data import ONCE, Row, cell, measure, source, train

MINILM = "minilm?layers=3&max_tokens=128"
HASHED = {("meld_text", "context")}
"""Texts that are read as hashed words: MiniLM states of 12,000 contexts would take longer than all the rest."""


def folds(count: int, **options: Any) -> tuple[dict[str, Any], ...]:
    return tuple({"fold": fold, **options} for fold in range(count))


ASKED: dict[str, tuple[str, tuple[dict[str, Any], ...]]] = {
    "cmu_mosi": ("cmu_mosi", ({},)),
    "ravdess_av": ("ravdess_av", tuple({"held_out": f"{fold}/5"} for fold in range(5))),  # its own split tests 3 actors
    "ict_mmmo": ("ict_mmmo", ({"modalities": "audio,vision"},)),  # no training sample has text
    "pom": ("pom", ({},)),
    "real_life_trial": ("real_life_trial", folds(5)),
    "mfeat_digits": ("mfeat_digits", ({},)),
    "grid_words": ("grid_words", folds(3)),
    "emodb": ("emodb", folds(10)),
    "mustard": ("mustard", folds(5)),
    "mustard, official folds": ("mustard", folds(5, split="official")),
    "meld_text": ("meld_text", ({},)),
    "faircv": ("faircv", ({},)),
    "faircv, blind score": ("faircv", ({"label": "blind"},)),
}
"""Name -> function of ``corpora.py`` and its options, one set per fold."""


def inputs(corpus: Corpus) -> list[tuple[str, ...]]:
    """Return every modality alone, then all of them."""
    return [*((name,) for name in corpus.schema.names), corpus.schema.names]


def guess(target: Target, corpora: list[Corpus]) -> float:
    """Return what the commonest class, or the median, of each training split scores on the test splits, pooled."""
    scores = []
    for corpus in corpora:
        labels = corpus["train"].targets[target.name]
        constant = np.bincount(labels).argmax() if target.classes else np.median(labels)
        tested = corpus["test"].targets[target.name]
        scores.append(target.spec.sample_scores(tested, np.full_like(tested, constant)))
    return float(np.concatenate(scores).mean())


def floors(name: str, out: Path) -> Iterator[dict[str, Any]]:
    """Yield one line of the table for each input of a corpus."""
    function, options = ASKED[name]
    corpora = [load_corpus(source(function, **one)) for one in options]
    schema = corpora[0].schema
    targets = schema.joint_targets
    main, second = ("ua", "accuracy") if targets[0].classes else ("corr", "mae")
    for kept in inputs(corpora[0]):
        sources = tuple(source(function, **{**one, "modalities": ",".join(kept)}) for one in options)
        encode = {n: MINILM for n in kept if n in schema.texts and (name, n) not in HASHED}
        row = Row(name, "+".join(kept), "linear", sources, encode=encode, seeds=ONCE)
        measured, said = measure(row, train(row, out))
        found = list(measured["figures"].items())[-1]  # several targets: their mean
        yield {
            "corpus": name,
            "splits": [[len(corpus[part]) for part in ("train", "valid", "test")] for corpus in corpora],
            "test_groups": None if said["groups"] is None else len(set(said["groups"].tolist())),
            "target": found[0],
            "inputs": [f"{n} (hashed words)" if (name, n) in HASHED else n for n in kept],
            "metric": main,
            "chance": 1 / len(targets[0].classes) if targets[0].classes else 0.0,
            "figure": found[1][main],
            "second": second,
            "guess": float(np.mean([guess(target, corpora) for target in targets])),
            "second_figure": found[1][second],
            "data": [corpus.hash for corpus in corpora],
        }


def carries(row: dict[str, Any]) -> str:
    low = row["figure"]["low"]
    return "-" if low is None else "yes" if low > row["chance"] else "no"


def page(rows: list[dict[str, Any]]) -> str:
    """Return the Markdown page."""
    about = machine()
    lines = [
        "# Floors",
        "",
        f"Made by `python benchmarks/floors.py` on {about['date']}, {about['cores']} cores ({about['processor']}), no "
        "GPU. Method `linear`, text as MiniLM states unless said otherwise; one run, penalty by validation loss. "
        "Figures on test, folds pooled [95 % interval over test groups, or over samples where groups are not known; "
        f"below {FEW} groups the range over groups, in braces, from which nothing is concluded]. ua: mean recall of "
        "the classes, whose chance is 1 over their number; corr: that of a constant is taken as 0. In brackets: what "
        "the training split's commonest class, or its median, reaches.",
        "",
        "| corpus | train / valid / test | test groups | target | inputs | ua or corr | chance | above | "
        "accuracy or MAE (guess) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        splits = row["splits"]
        sizes = (
            " / ".join(map(str, splits[0])) if len(splits) == 1 else f"{len(splits)} folds, {sum(s[2] for s in splits)}"
        )
        cells = [
            row["corpus"],
            sizes,
            row["test_groups"] or "not known",
            row["target"],
            " + ".join(row["inputs"]),
            f"{row['metric']} {cell(row['figure'])}",
            f"{row['chance']:.3f}",
            carries(row),
            f"{row['second']} {row['second_figure']['mean']:.3f} ({row['guess']:.3f})",
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=ASKED, default=list(ASKED), help="corpora; default: all")
    parser.add_argument("--out", type=Path, default=Path("runs/floors"), help="folder of the runs")
    arguments = parser.parse_args()
    for name in arguments.only:
        file = RESULTS / "floors.json"
        known = json.loads(file.read_text())["figures"] if file.is_file() else []
        rows = [*(row for row in known if row["corpus"] != name), *floors(name, arguments.out)]
        rows.sort(key=lambda row: list(ASKED).index(row["corpus"]))
        save("floors", rows)
        (RESULTS / "floors.md").write_text(page(rows))


if __name__ == "__main__":
    main()
