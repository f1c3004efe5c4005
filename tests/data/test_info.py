from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from polymodal.core import Modality, Schema, Target
from polymodal.data import csd, info
from polymodal.data.corpus import Corpus
from polymodal.data.ragged import Ragged
from polymodal.data.sources import load_corpus
from polymodal.data.split import Split, build_split

SCHEMA = Schema(
    (Modality("text", "text"), Modality("audio", "sequence", 4)),
    (Target("sentiment", "regression", (-3.0, 3.0)), Target("mood", "classification", classes=("sad", "glad"))),
)


def _split(prefix: str, rows: int = 40, groups: str = "") -> Split:
    audio: list[Any] = [np.full((1 + i % 5, 4), i + 1.0) * [1, 1, 1, 0] for i in range(rows)]
    audio[0] = None
    audio[1][0] = 0
    labels = {"sentiment": np.linspace(-3, 3, rows), "mood": np.arange(rows) % 2}
    texts = [f"{prefix} word {i}" for i in range(rows)]
    names = [f"{groups or prefix}{i // 4}" for i in range(rows)]
    return build_split(SCHEMA, [f"{prefix}-{i}" for i in range(rows)], {"text": texts, "audio": audio}, labels, names)


def _corpus() -> Corpus:
    splits = {"train": _split("a"), "valid": _split("b"), "test": _split("c")}
    return Corpus("made", "made:here", SCHEMA, splits, ("a note",))


def test_agreement_of_raters_is_shown_where_they_are_known() -> None:
    corpus = _corpus()
    assert info.describe(corpus)["agreement"] == []
    assert "raters of" not in _shown(info.describe(corpus))
    said = {"anna": np.arange(40) % 2, "ben": np.arange(40) // 2 % 2, "cleo": np.full(40, np.nan)}
    train = replace(corpus["train"], ratings={"mood": {r: v.astype(np.float32) for r, v in said.items()}})
    about = info.describe(replace(corpus, splits={**corpus.splits, "train": train}))
    assert json.loads(json.dumps(about)) == about
    rows = {row["metric"]: row for row in about["agreement"]}
    assert {row["split"] for row in rows.values()} == {"train"}
    assert rows["cohen_kappa"]["mean"] == pytest.approx(0)
    assert rows["accuracy"]["mean"] == pytest.approx(0.5)
    table = _shown(about)
    assert [line.split()[:5] for line in table.splitlines() if "of one rater" in line] == [
        ["mood", "train", "3", "f1", "of"]
    ]
    assert "cohen_kappa" in table
    assert "accuracy" not in table


def _shown(description: dict[str, Any]) -> str:
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(info.render(description))
    return console.export_text()


def test_description_is_plain_data_and_counts_by_hand_agree() -> None:
    about = info.describe(_corpus())
    assert json.loads(json.dumps(about)) == about
    assert (about["name"], about["source"], about["notes"]) == ("made", "made:here", ["a note"])
    train = about["splits"]["train"]
    assert (train["samples"], train["groups"]) == (40, 10)
    audio = train["modalities"]["audio"]
    assert audio["present"] == 39 / 40
    lengths = [1 + i % 5 for i in range(1, 40)]
    assert (audio["length"]["min"], audio["length"]["median"]) == (1, np.median(lengths))
    assert audio["length"]["max"] == 5
    assert audio["constant"] == 0.25
    assert audio["zero"] == pytest.approx(1 / sum(lengths))
    assert audio["non_finite"] == 0
    assert train["modalities"]["text"]["length"]["max"] == 3
    assert train["targets"]["mood"]["counts"] == {"sad": 20, "glad": 20}
    sentiment = train["targets"]["sentiment"]
    assert list(sentiment["counts"]) == ["-3", "-2", "-1", "0", "1", "2", "3"]
    assert sum(sentiment["counts"].values()) == 40
    assert sentiment["mean"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("bounds", "labels", "counts"),
    [
        ((-1.0, 1.0), [-1, -0.6, 0, 0.2, 0.8, 1], {"-1": 1, "-0.5": 1, "0": 2, "0.5": 0, "1": 2}),
        ((1.0, 5.0), [1, 1.5, 4.4, 5], {"1": 2, "2": 0, "3": 0, "4": 1, "5": 1}),
        (None, [2.0, 2.0], {"2": 2}),
    ],
)
def test_histogram_rounds_to_bins_that_fit_the_range(bounds: Any, labels: list[float], counts: dict[str, int]) -> None:
    schema = Schema((Modality("text", "text"),), (Target("y", "regression", bounds),))
    split = build_split(schema, [str(i) for i in range(len(labels))], {"text": ["x"] * len(labels)}, {"y": labels})
    about = info.describe(Corpus("m", "m", schema, {"train": split}))
    assert about["splits"]["train"]["targets"]["y"]["counts"] == counts


def test_sound_corpus_only_warns_of_what_is_there() -> None:
    assert info.describe(_corpus())["warnings"] == [
        "audio is absent from 2.5% of train",
        "25% of the channels of audio are constant in train",
        "audio is absent from 2.5% of valid",
        "audio is absent from 2.5% of test",
    ]


def test_shared_groups_and_repeated_texts_are_found() -> None:
    corpus = _corpus()
    leak = corpus.with_split("test", _split("c", groups="a"))
    assert any(w.startswith("10 of 10 groups (videos, speakers) of test are also in train") for w in _warn(leak))
    split = corpus["test"]
    texts = [f"a word {i}" if i < 7 else f"c word {i}" for i in range(40)]
    repeated = corpus.with_split("test", replace(split, columns={**split.columns, "text": texts}))
    assert "7 of 40 samples of test have a text that is also in train" in _warn(repeated)


def test_two_absent_texts_are_not_the_same_text() -> None:
    corpus = _corpus()
    for name in ("train", "test"):
        split, none = corpus[name], np.zeros(40, bool)
        columns, present = {**split.columns, "text": [""] * 40}, {**split.present, "text": none}
        corpus = corpus.with_split(name, replace(split, columns=columns, present=present))
    warnings = _warn(corpus)
    assert "text is absent from all of train" in warnings
    assert not any("also in train" in w for w in warnings)


def test_missing_classes_equal_labels_small_splits_and_bad_values_are_found() -> None:
    corpus = _corpus()
    train = corpus["train"]
    column = train.columns["audio"]
    assert isinstance(column, Ragged)
    column.chunks[0][0][3, 1] = np.nan
    targets = {"sentiment": np.zeros(40, np.float32), "mood": np.zeros(40, np.int64)}
    corpus = corpus.with_split("train", replace(train, targets=targets)).with_split("valid", _split("b", 5))
    warnings = _warn(corpus)
    assert "mood: train has no glad; such samples cannot be learned" in warnings
    assert "sentiment: all labels of train are the same" in warnings
    assert "valid has only 5 samples: its scores say little" in warnings
    assert any("values of audio in train are NaN or infinite" in w for w in warnings)


def _warn(corpus: Corpus) -> list[str]:
    return info.describe(corpus)["warnings"]


def test_blocks_of_a_long_memory_mapped_column_agree_with_the_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = np.memmap(tmp_path / "values", np.float32, "w+", shape=(150_000, 4))
    values[:] = rng.standard_normal((150_000, 4))
    values[:, 2] = 1
    values[[5, 70_000, 149_999]] = 0
    column = Ragged([(values, np.arange(0, 150_001, 3000)), (values, np.array([10, 20]))])
    whole = np.concatenate([values, values[10:20]])
    facts = info._features(column)
    assert facts["constant"] == 0
    assert facts["zero"] == (whole == 0).all(axis=1).mean()


def test_rendering_shows_names_numbers_and_warnings_literally() -> None:
    corpus = replace(_corpus(), source="[bold]folder[/bold]", notes=("[red]note",))
    shown = _shown(info.describe(corpus))
    for part in ("[bold]folder[/bold]", "[red]note", "audio seq 4", "sentiment", "glad: 20", "98%", "25%"):
        assert part in shown


def test_corpora_of_every_layout_can_be_described_and_shown(
    make_mmsa: Callable[..., Any], make_magbert: Callable[..., Any], write: Callable[..., Path]
) -> None:
    for data in (make_mmsa(), make_mmsa("sims2"), make_magbert()):
        corpus = load_corpus(write(data))
        about = info.describe(corpus)
        json.dumps(about)
        assert str(len(corpus["train"])) in _shown(about)


def test_computational_sequences_can_be_shown(shared: Path) -> None:
    about = csd.describe(shared / "data/cmu_mosi/CMU_MOSI_ModifiedTimestampedWords.csd")
    assert "51056" in _shown(about)
