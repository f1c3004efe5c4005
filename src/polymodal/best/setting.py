"""What a search is on: corpus, folds, folder, how raw text is read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polymodal.best.budget import Budget
from polymodal.best.candidates import FLOOR, Candidate
from polymodal.best.ground import Ground
from polymodal.best.records import Records
from polymodal.core import OptionError
from polymodal.core.options import FoldScheme, read_value
from polymodal.data.corpus import Corpus
from polymodal.data.encode import encode_corpus, transformer_encoder
from polymodal.data.folds import POOLED, Dealt, Folds, deal, pooled
from polymodal.data.progress import console
from polymodal.data.sources import load_corpus
from polymodal.train.fit import open_fabric

FOLDS, MORE = 5, 8
"""Folds where nobody says how many: more for few samples, whose trainings are short and need all that there is."""

FEW = 5000
"""Samples that are few."""

MINILM = "minilm?layers=3"
"""Frozen encoder that is tried for raw text."""

SHARE = 0.25
"""Of the time that encoding raw text may take."""

PROBE = 32
"""Texts that are encoded to see how long all of them would take."""


@dataclass(frozen=True)
class Setting:
    """What a search is on.

    Attributes:
        corpus: not encoded.
        ground: encoded, in folds.
        records: what was done before.
        command: that makes the run again.
    """

    corpus: Corpus
    ground: Ground
    records: Records
    command: Sequence[str]


def settle(
    data: str | Corpus,
    *,
    target: str | None,
    encode: dict[str, str] | None,
    folds: FoldScheme | None,
    seed: int,
    device: str,
    out: str | Path | None,
    budget: Budget,
) -> Setting:
    """Read the corpus, deal it and choose how raw text is read; arguments and errors as ``fit_best``."""
    corpus = _asked(data, target)
    fabric = open_fabric(device, "32")
    dealt = dealt_for(corpus, folds)
    folder = Path(out) if out is not None else Path("runs") / f"best-{corpus.name}"
    asked = {
        "data": corpus.hash,
        "folds": Dealt(corpus, dealt).hash,
        "seed": seed,
        "encode": encode,
    }
    records = Records.open(folder, asked)
    budget.resume(records.spent)
    if records.done:
        console.print(f"going on with {folder}: {budget} spent, candidates tried: {len(records.done)}", soft_wrap=True)
    grounds = Grounds(corpus, dealt, records, seed, fabric)
    if records.encode is None:
        records.encode = encode if encode is not None else _reading(grounds, budget)
        records.save(budget.spent)
    notes = Dealt(corpus, dealt).notes()
    sizes = f"{len(grounds.plain.pooled)} samples in {dealt}"
    console.print("; ".join([f"into {folder}: {sizes}", *notes]), soft_wrap=True)
    command = ["polymodal", "fit", "best", "--data", corpus.source, "--minutes", f"{budget.seconds / 60:g}"]
    command += ["--seed", str(seed), "--folds", str(dealt.scheme)]
    for name, spec in (encode or {}).items():
        command += ["--encode", f"{name}={spec}"]
    return Setting(corpus, grounds.of(records.encode), records, command)


def _asked(data: str | Corpus, target: str | None) -> Corpus:
    """Return the corpus, of one target where one is named."""
    if target is None:
        return load_corpus(data)
    if isinstance(data, Corpus):
        return data.asking([target])
    return load_corpus(f"{data}{'&' if '?' in data else '?'}targets={target}")


def dealt_for(corpus: Corpus, folds: FoldScheme | None) -> Folds:
    """Return the folds of a search: a split ``test`` stays out of them where there are others.

    Args:
        folds: as ``fit_best``.

    Raises:
        OptionError: a scheme that is none.
        DataError: too few groups, and as ``data.folds.deal``.
    """
    others = tuple(n for n in POOLED if n != "test")
    splits = others if "test" in corpus.splits and {*others} & {*corpus.splits} else POOLED
    if folds is not None:
        return deal(corpus, read_value("folds", folds, FoldScheme), splits=splits)
    samples = pooled(corpus, splits)
    usual = MORE if len(samples) <= FEW else FOLDS
    return deal(corpus, max(3, min(usual, len(set(samples.groups or samples.ids)))), splits=splits)


class Grounds:
    """The corpus in the same folds, read in several ways.

    Attributes:
        plain: not encoded.
    """

    def __init__(self, corpus: Corpus, folds: Folds, records: Records, seed: int, fabric: Any) -> None:
        self._corpus, self._folds, self._records, self._seed, self._fabric = corpus, folds, records, seed, fabric
        self.plain = Dealt(corpus, folds)

    def of(self, encode: dict[str, str]) -> Ground:
        """Return the corpus read with ``encode``; trainings of different encoders do not share a folder."""
        chosen = {n: spec for n, spec in encode.items() if spec != "none"}
        corpus = encode_corpus(self._corpus, chosen)
        return Ground(Dealt(corpus, self._folds), self._records.place / (corpus.hash[:8]), self._seed, self._fabric)


def _reading(grounds: Grounds, budget: Budget) -> dict[str, str]:
    """Return how raw text is read: by MiniLM where that can be had in time and the floor is better with it."""
    texts = grounds.plain.whole.schema.texts
    if not texts:
        return {}
    frozen = dict.fromkeys(texts, MINILM)
    try:
        needed = _encoding_time(grounds.plain, texts)
    except OptionError as error:
        console.print(f"note: text is read as hashed words: {error}", soft_wrap=True)
        return {}
    if needed > SHARE * budget.seconds:
        console.print(
            f"note: text is read as hashed words: MiniLM would take about {needed / 60:.1f} minutes; choose it with "
            f"--encode {texts[0]}={MINILM} and more --minutes",
            soft_wrap=True,
        )
        return {}
    losses = [(_floor_loss(grounds.of(encode)), number) for number, encode in enumerate(({}, frozen))]
    better = min(losses)[1]
    console.print(
        f"[{budget}] text as hashed words: loss of the floor {losses[0][0]:.3f}; as MiniLM states: {losses[1][0]:.3f}",
        soft_wrap=True,
        markup=False,
    )
    return frozen if better else {}


def _encoding_time(dealt: Dealt, texts: Sequence[str]) -> float:
    """Return the seconds that MiniLM would take for all texts, by a few of them; OptionError where it is not there."""
    encoder = transformer_encoder(MINILM)
    columns = [split.columns[name] for split in dealt.whole.splits.values() for name in texts]
    encoder.encode(["a"])  # which loads it
    rows = [str(column[i]) for column in columns for i in range(0, len(column), max(1, len(column) // PROBE))]
    began = time.monotonic()
    encoder.encode(rows[: 2 * PROBE])
    return (time.monotonic() - began) / len(rows[: 2 * PROBE]) * sum(map(len, columns))


def _floor_loss(ground: Ground) -> float:
    """Return the loss of the floor on what the first fold tests."""
    floor = Candidate(FLOOR, {}, ground.schema.names)
    ground.train(floor, 0, lambda: None)
    ground.ask(floor, 0)
    return ground.first_loss(floor)
