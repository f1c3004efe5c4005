"""The table of floors: what a guess reaches, and when a modality is said to carry something."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from polymodal.data.corpus import Corpus
from polymodal.data.sources import load_corpus

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def floors(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return import_module("floors")


def test_every_public_corpus_has_a_floor(floors: ModuleType) -> None:
    assert {function for function, _ in floors.ASKED.values()} == set(import_module("corpora").__all__)


def with_labels(corpus: Corpus, train: list[float], test: list[float]) -> Corpus:
    for name, labels in (("train", train), ("test", test)):
        target, part = corpus.schema.targets[0], corpus[name].select(range(len(labels)))
        part.targets[target.name][:] = labels
        corpus = corpus.with_split(name, part)
    return corpus


def test_a_guess_is_the_commonest_class_or_the_median_of_the_training_split(floors: ModuleType) -> None:
    classes = load_corpus("synthetic:xor?n=24")
    pair = [with_labels(classes, [1, 1, 0], [1, 0, 0, 0]), with_labels(classes, [0, 0, 1], [1, 0])]
    assert floors.guess(classes.schema.targets[0], pair) == pytest.approx(2 / 6), "test samples of folds are pooled"
    numbers = load_corpus("synthetic:talk?n=24")
    one = with_labels(numbers, [-1, 0.5, 3], [0.5, 1.5])
    assert floors.guess(numbers.schema.targets[0], [one]) == pytest.approx(0.5)


@pytest.mark.parametrize(("low", "said"), [(0.26, "yes"), (0.25, "no"), (0.1, "no"), (None, "-")])
def test_a_modality_carries_something_if_its_interval_lies_above_chance(floors, low: float | None, said: str) -> None:
    figure = {"mean": 0.3, "low": low, "high": 0.4, "seeds": [0.3]}
    row = {"figure": figure, "chance": 0.25}
    assert floors.carries(row) == said


def test_the_page_has_a_line_for_each_input(floors: ModuleType) -> None:
    figure = {"mean": 0.3, "low": 0.26, "high": 0.4, "least": None, "most": None, "seeds": [0.3]}
    row = {
        "corpus": "made",
        "splits": [[8, 2, 3], [7, 3, 3]],
        "test_groups": None,
        "target": "y",
        "inputs": ["text", "audio"],
        "metric": "ua",
        "chance": 0.25,
        "figure": figure,
        "second": "accuracy",
        "second_figure": figure,
        "guess": 0.28,
    }
    line = floors.page([row]).splitlines()[-1]
    assert "| 2 folds, 6 | not known | y | text + audio | ua 0.300 [0.260, 0.400] | 0.250 | yes |" in line
    assert line.endswith("| accuracy 0.300 (0.280) |")
    few = figure | {"low": None, "high": None, "least": 0.2, "most": 0.5}
    line = floors.page([row | {"figure": few, "test_groups": 3}]).splitlines()[-1]
    assert "| 3 | y | text + audio | ua 0.300 {0.200, 0.500} | 0.250 | - |" in line, "a range concludes nothing"
