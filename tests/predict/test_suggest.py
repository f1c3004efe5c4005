"""What to label next, of clips and of corpora, and the files that people get."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymodal import Corpus, Run
from polymodal.cli.suggest import suggest as command
from polymodal.core import DataError, OptionError
from polymodal.media.folder.manifest import read_manifest
from polymodal.predict.asked import Asker
from polymodal.predict.predictor import Predictor
from polymodal.predict.suggest import suggest

MakeRun = Callable[..., Run]
MakeClip = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("at_hand")


@pytest.fixture
def folder(make_clip: MakeClip, pipeline: Any, tmp_path: Path) -> Path:
    """Six clips: the words of two are unlike all others."""
    said = ("great good great", "bad awful", "so so", "great so", "bad so bad", "fine fine")
    for i, text in enumerate(said):
        make_clip((), name=f"{i}.mp4", whole={"text": text, "audio": 4, "vision": 5})
    return tmp_path


@pytest.mark.parametrize("targets", ["sentiment", "emotion", "tags", "sentiment,emotion"])
@pytest.mark.parametrize("by", ["uncertainty", "conflict", "distance", "diverse", "mixed"])
def test_clips_are_suggested_with_a_reason(make_run: MakeRun, folder: Path, by: str, targets: str) -> None:
    found = suggest(Predictor(make_run(targets=targets, extraction={})), folder, 3, by=by)
    assert found.candidates == 6
    assert len({c.name for c in found.chosen}) == 3
    assert set(found.scores) == {"uncertainty", "conflict", "distance"}
    assert all(len(reason) > 5 for reason in found.reasons)
    assert all(set(said) == set(targets.split(",")) for said in found.said)
    if by in found.scores:
        assert list(found.scores[by]) == sorted(found.scores[by], reverse=True)


def test_conflict_is_what_single_modalities_say(make_run: MakeRun, folder: Path) -> None:
    run = make_run(targets="emotion", extraction={})
    found = suggest(Predictor(run), folder, 6, by="conflict")
    assert "text alone says" in found.reasons[0]
    assert "audio alone says" in found.reasons[0]
    assert found.scores["conflict"][0] > found.scores["conflict"][-1] >= 0


def test_a_clip_that_is_no_clip_is_left_out(make_run: MakeRun, folder: Path) -> None:
    (folder / "bad.mp4").write_text("text")
    found = suggest(Predictor(make_run(extraction={})), folder, 9)
    assert found.candidates == 6
    assert any("left out: bad.mp4 is no clip" in note for note in found.notes)


def test_stretches_of_speech_are_suggested_with_their_times(
    make_run: MakeRun, make_clip: MakeClip, pipeline: Any, tmp_path: Path
) -> None:
    make_clip()
    found = suggest(Predictor(make_run(extraction={})), tmp_path, 2, utterances="speech")
    assert found.candidates == 3
    assert all(c.start is not None and c.end is not None and c.start < c.end for c in found.chosen)


@pytest.mark.usefixtures("pipeline")
def test_the_table_filled_in_goes_to_extract_and_tasks_to_label_studio(
    make_run: MakeRun, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "next"
    run = make_run(targets="emotion", extraction={})
    assert command(str(run.path), str(folder), n=4, out=str(out)) == 0
    shown = capsys.readouterr().out
    assert "4 of 6" in shown
    rows = list(csv.DictReader((out / "suggested.csv").open()))
    assert len(rows) == 4
    assert all(row["emotion"] == "" and row["reason"] and row["emotion/predicted"] for row in rows)
    with pytest.raises(OptionError, match=r"suggested.csv exists already and may hold labels; choose another --out"):
        command(str(run.path), str(folder), n=4, out=str(out))
    with pytest.raises(DataError, match="has no emotion"):
        read_manifest(out / "suggested.csv")
    for i, row in enumerate(rows):
        row["emotion"] = ("joy", "anger")[i % 2]
    with (out / "suggested.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    manifest = read_manifest(out / "suggested.csv")
    assert [r.path.resolve() for r in manifest.rows] == [(folder / Path(r["clip"]).name).resolve() for r in rows]
    assert manifest.targets[0].name == "emotion"
    tasks = json.loads((out / "tasks.json").read_text())
    assert [t["data"]["file"] for t in tasks] == [Path(r["clip"]).name for r in rows]
    assert [t["data"]["reason"] for t in tasks] == [r["reason"] for r in rows]
    assert "<Video" in (out / "interface.xml").read_text()


def unlabelled(corpus: Corpus, share: int) -> Corpus:
    """Return a corpus in which every ``share``-th sample of train has no label."""
    train = corpus["train"]
    labels = {n: values.copy() for n, values in train.targets.items()}
    for values in labels.values():
        values[::share] = np.nan if values.dtype.kind == "f" else -1
    return replace(corpus, splits={**corpus.splits, "train": replace(train, targets=labels)})


def test_of_a_corpus_samples_without_a_label_are_suggested(make_run: MakeRun) -> None:
    run = make_run(targets="sentiment")
    predictor = Predictor(run)
    own = run.corpus()
    found = suggest(predictor, unlabelled(own, 10), 4)
    assert found.candidates == 6
    assert {c.name for c in found.chosen} <= {own["train"].ids[i] for i in range(0, 60, 10)}
    assert not found.clips
    whole = suggest(predictor, own, 4)
    assert whole.candidates == 140
    assert any("has a label: all of them are candidates" in note for note in whole.notes)


def test_one_seed_of_a_regression_says_that_it_cannot_tell(make_run: MakeRun, folder: Path) -> None:
    one = suggest(Predictor(make_run(targets="sentiment", extraction={})), folder, 2)
    assert any("the run has one seed" in note for note in one.notes)
    run = make_run(targets="sentiment", extraction={}, method="early-fusion", seeds=(1, 2))
    several = suggest(Predictor(run), folder, 6, by="uncertainty")
    assert not any("one seed" in note for note in several.notes)
    assert several.scores["uncertainty"][0] > several.scores["uncertainty"][-1]


def test_training_elsewhere_leaves_distance_out(
    make_run: MakeRun, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(make_run(extraction={}))

    def gone(self: Run, data: Any = None) -> Any:
        raise DataError("made is not here")

    monkeypatch.setattr(Run, "corpus", gone)
    found = suggest(predictor, folder, 2)
    assert set(found.scores) == {"uncertainty", "conflict"}
    assert any("distance from training cannot be told: made is not here" in note for note in found.notes)
    with pytest.raises(OptionError, match="--by distance cannot be told here"):
        suggest(predictor, folder, 2, by="distance")


def test_far_words_are_far_from_training(make_run: MakeRun) -> None:
    asker = Asker(make_run(targets="sentiment"))
    corpus = asker.run.corpus()
    known = asker.learn(asker.run.loader(corpus, "train").epoch())
    assert known.shape[0] == 60
    asked = asker.ask(next(iter(asker.run.loader(corpus, "test").epoch())))
    assert asked.features.shape[1] == known.shape[1]
    assert np.abs(known.mean(0)).max() < 0.01  # not 0: far-off values are cut


@pytest.mark.usefixtures("pipeline")
def test_an_empty_folder_and_an_unknown_way_are_one_sentence(make_run: MakeRun, folder: Path, tmp_path: Path) -> None:
    predictor = Predictor(make_run(extraction={}))
    with pytest.raises(OptionError, match="did you mean 'conflict'"):
        suggest(predictor, folder, 2, by="conflicts")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError):
        suggest(predictor, tmp_path / "nothing", 2)
