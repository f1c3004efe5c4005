"""A benchmark made up for the tests of its tables, plots and page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from polymodal.bench.board import Board, Contrast, CorpusInfo, Cost, Entry, Figure, Left
from polymodal.stress import Prior

RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
RATIOS = (20.0, 10.0, 0.0, -10.0)
PLAIN = ("mult", "tfn", "lmf", "mib", "ef-lstm", "lf-dnn", "mfn", "graph-mfn", "mfm", "misa", "self-mm", "mag-bert")
AWARE = ("cyin", "umq", "missing-adapt", "tfr-net", "ithp+missing")
PRIORS: dict[str, Prior] = dict.fromkeys(AWARE[:-1], "own") | {AWARE[-1]: "told"}
SEEDS = (1, 2, 3)


def _corpora() -> tuple[CorpusInfo, ...]:
    sizes = {"train": 900, "valid": 150, "test": 200}
    made = []
    for name, modalities, target, task, metric, higher in (
        ("cmu_mosi", ("text", "audio", "vision"), "sentiment", "regression", "mae", False),
        ("ravdess", ("audio", "vision"), "emotion", "classification", "accuracy", True),
        ("trial_50%", ("text", "audio", "vision"), "deceptive", "classification", "f1", True),
    ):
        made.append(CorpusInfo(name, (f"hf:{name}",), ("ab12",), modalities, target, task, metric, higher, sizes))
    return tuple(made)


def _conditions(corpus: CorpusInfo) -> Iterator[tuple[str, str, float, float]]:
    """Yield (condition, series, value, damage)."""
    yield "complete", "", math.nan, 0.0
    for size in range(1, len(corpus.modalities)):
        for subset in itertools.combinations(corpus.modalities, size):
            yield f"subset:{','.join(subset)}", "", math.nan, 0.5 - 0.12 * size + 0.15 * ("text" not in subset)
    for rate in RATES:
        lost = min(rate, 1 - 1 / len(corpus.modalities))
        yield f"missing:rate={rate:g}", "missing:rate", rate, 0.8 * lost
    for ratio in RATIOS:
        yield f"noise:snr={ratio:g}", "noise:snr", ratio, 0.02 * (20 - ratio) ** 0.9
    yield "swap:p=0.5", "", math.nan, 0.3
    yield "area", "missing:rate", math.nan, 0.28


def _entries(count: int) -> tuple[Entry, ...]:
    """Return the floor and ``count - 1`` methods, a third of them made for absence."""
    mixed = [n for trio in itertools.zip_longest(AWARE, PLAIN[::2], PLAIN[1::2]) for n in trio if n][: count - 1]
    floor = Entry("linear", "linear", "Ridge regression on means", "", {}, "none", True, False)
    return (
        floor,
        *(
            Entry(
                n,
                n.partition("+")[0],
                "A & B, ACL 2020",
                "cpu",
                {"width": 32},
                PRIORS.get(n, "none"),
                False,
                n in AWARE,
            )
            for n in mixed
        ),
    )


def _board(count: int = 7, seeds: tuple[int, ...] = SEEDS) -> Board:
    """Return a board on which aware entries lose less under damage; two pairs are left out, one figure is NaN."""
    rng = np.random.default_rng(0)
    corpora, entries = _corpora(), _entries(count)
    skip = {(entries[2].name, "ravdess"), (entries[-1].name, "trial_50%")}
    figures: list[Figure] = []
    costs = []
    for corpus, (place, entry) in itertools.product(corpora, enumerate(entries)):
        if (entry.name, corpus.name) in skip:
            continue
        skill = -0.12 if entry.floor else 0.1 * rng.random()
        slope = 0.45 + 0.1 * rng.random() if entry.aware else 0.7 + 0.25 * rng.random()
        for condition, series, value, damage in _conditions(corpus):
            for metric, higher in {corpus.metric: corpus.higher_is_better, "corr": True}.items():
                quality = 0.72 + skill - 0.4 * slope * damage
                centre = quality if higher else 1.75 - quality
                found = tuple(float(centre + rng.normal(0, 0.012)) for _ in seeds)
                mean = float(np.mean(found))
                if (entry.name, condition, corpus.name, metric) == (entries[1].name, "swap:p=0.5", "ravdess", "corr"):
                    mean = math.nan
                figures.append(
                    Figure(
                        entry=entry.name,
                        corpus=corpus.name,
                        condition=condition,
                        series=series,
                        value=value,
                        metric=metric,
                        higher_is_better=higher,
                        main=metric == corpus.metric,
                        mean=mean,
                        std=float(np.std(found)),
                        low=mean - 0.035,
                        high=mean + 0.04,
                        least=math.nan,
                        most=math.nan,
                        count=200,
                        groups=200,
                        seeds=found,
                    )
                )
        size = int(10 ** rng.uniform(3.2, 6.5))
        seconds = 0.4 if entry.floor else float(4 + size**0.4 + 3 * rng.random())
        costs.append(Cost(entry.name, corpus.name, size, seconds, seconds / 20, 20 + size / 4e4, 12.0 + place))
    return Board(
        "Absence, noise and shift",
        seeds,
        ("Weights and settings were selected on validation.", "Intervals: bootstrap over test samples, 95%."),
        {
            "date": "2026-11-20",
            "machine": "2 cores",
            "polymodal": "0.4.0",
            "command": "polymodal bench b.yaml --x '<1>'",
        },
        corpora,
        entries,
        tuple(figures),
        tuple(costs),
        _contrasts(corpora, entries),
        (
            Left(entries[2].name, "ravdess", "needs text, which ravdess does not have", False),
            Left(entries[-1].name, "trial_50%", "the loss was not finite at step 3", True),
        ),
    )


def _contrasts(corpora: tuple[CorpusInfo, ...], entries: tuple[Entry, ...]) -> tuple[Contrast, ...]:
    """Return contrasts that are told, that are not, and on a corpus at chance; each also against the floor."""
    aware = next(e.name for e in entries if e.aware)
    plain = next(e.name for e in entries if not e.aware and not e.floor)
    numbers = ((-0.051, -0.09, -0.012, 0.004), (0.004, -0.02, 0.03, 0.61), (0.04, 0.01, 0.07, 0.01))
    found = [
        Contrast(c.name, "area of missing:rate", aware, other, *v, min(1.0, 3 * v[3]), 31, c.name != "trial_50%")
        for c, v in zip(corpora, numbers, strict=True)
        for other in (plain, "linear")
    ]
    return tuple(found)


@pytest.fixture(scope="session")
def make_board() -> Callable[..., Board]:
    return _board


@pytest.fixture(scope="session")
def board() -> Board:
    return _board()


@pytest.fixture(scope="session")
def crowd() -> Board:
    """As many entries as there are methods."""
    return _board(18)


@pytest.fixture(scope="session")
def evil() -> str:
    """A name full of characters that mean something in Markdown, LaTeX, HTML or a formula."""
    return "a_b & 50% {x}\\y | <b> $z$ #1 ~^ *"
