from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from polymodal.core import DataError, OptionError, Target
from polymodal.media.folder.manifest import read_manifest

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write(text, "a.wav", ...)``: a table clips.csv beside empty files with these names."""

    def make(text: str | bytes, *files: str) -> Path:
        for file in files:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).touch()
        table = tmp_path / "clips.csv"
        table.write_bytes(text if isinstance(text, bytes) else text.encode())
        return table

    return make


WAVS = tuple(f"{name}.wav" for name in "abcdef")


def lines(*labels: object, header: str = "file,label") -> str:
    return "\n".join(
        [header, *(f"{name}.wav,{label}" for name, label in zip("abcdefghijklmnop", labels, strict=False))]
    )


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_byte_order_mark_and_quoted_line_breaks_are_understood(write: Write, delimiter: str) -> None:
    rows = ["Clip,Label,Text", 'a.wav,joy,"one\ntwo"', "b.wav,anger,three", "c.wav,joy,four"]
    table = write("﻿" + "\r\n".join(rows).replace(",", delimiter), *WAVS)
    manifest = read_manifest(table)
    assert [r.text for r in manifest.rows] == ["one\ntwo", "three", "four"]
    assert manifest.targets == (Target("Label", "classification", classes=("anger", "joy")),)
    assert [r.labels for r in manifest.rows] == [(1,), (0,), (1,)]
    assert [r.id for r in manifest.rows] == ["a", "b", "c"]
    assert manifest.rows[0].path == table.parent / "a.wav"


@pytest.mark.parametrize(
    ("labels", "bounds", "expected"),
    [
        ((-2.4, 0, 1.5), None, Target("label", "regression", (-3, 2))),
        ((-2.4, 0, 1.5), (-3, 3), Target("label", "regression", (-3, 3))),
        ((0, 1, 2), None, Target("label", "classification", classes=("0", "1", "2"))),
        ((0, 1, 2), (0, 5), Target("label", "regression", (0, 5))),
        ((10, 9, "1.0"), None, Target("label", "classification", classes=("1", "9", "10"))),
        (tuple(range(11)), None, Target("label", "regression", (0, 10))),
    ],
)
def test_numbers_become_a_scale_or_classes(
    write: Write, labels: tuple[object, ...], bounds: tuple[float, float] | None, expected: Target
) -> None:
    table = write(lines(*labels), *(f"{name}.wav" for name in "abcdefghijklmnop"))
    manifest = read_manifest(table, bounds=bounds)
    assert manifest.targets == (expected,)
    values = [r.labels[0] if not expected.classes else float(expected.classes[int(r.labels[0])]) for r in manifest.rows]
    assert values == [float(str(v)) for v in labels]


def test_several_targets_in_the_order_asked_for(write: Write) -> None:
    table = write("file,Arousal,label,valence\na.wav,0.5,x,1\nb.wav,1,y,2\nc.wav,1,y,3", *WAVS)
    manifest = read_manifest(table, targets=["valence", "arousal"])
    assert [t.name for t in manifest.targets] == ["valence", "Arousal"]
    assert manifest.rows[0].labels == (0, 0.5)


def test_names_without_folder_or_suffix_are_found_where_there_is_one(write: Write) -> None:
    table = write("video,label\nx,1\nsub/y.avi,2\nz.1,1", "deep/x.mp4", "sub/y.mp4", "z.1.mkv", "z.mkv", "notes/x.txt")
    assert [r.clip for r in read_manifest(table).rows] == ["deep/x.mp4", "sub/y.mp4", "z.1.mkv"]


def test_label_csv_of_mmsa(tmp_path: Path) -> None:
    clips = [("v1", "0001"), ("v1", "0002"), ("v2", "0001"), ("v3", "0001")]
    modes = ["train", "train", "valid", "test"]
    for video, clip in clips:
        (tmp_path / "Raw" / video).mkdir(parents=True, exist_ok=True)
        (tmp_path / "Raw" / video / f"{clip}.mp4").touch()
    header = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode,label_by\n"
    rows = [f"{v},{c},words,{n / 2},0,0,0,Positive,{modes[n]},0" for n, (v, c) in enumerate(clips)]
    (tmp_path / "label.csv").write_text(header + "\n".join(rows))
    manifest = read_manifest(tmp_path, bounds=(-3, 3))
    assert [r.clip for r in manifest.rows] == [f"Raw/{v}/{c}.mp4" for v, c in clips]
    assert [r.group for r in manifest.rows] == ["v1", "v1", "v2", "v3"]
    assert [r.split for r in manifest.rows] == modes
    assert len({r.id for r in manifest.rows}) == 4
    assert manifest.targets == (Target("label", "regression", (-3, 3)),)
    assert manifest.suggested == {"utterances": "clip"}


def test_class_folders_with_and_without_splits(tmp_path: Path) -> None:
    for name in ("plain/joy/a.mp4", "plain/joy/b.mp4", "plain/anger/a.wav", "plain/anger/read.me"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    manifest = read_manifest(tmp_path / "plain")
    assert [(r.clip, r.id) for r in manifest.rows] == [(n, n) for n in ("anger/a.wav", "joy/a.mp4", "joy/b.mp4")]
    assert manifest.targets[0].classes == ("anger", "joy")
    (tmp_path / "split").mkdir()
    (tmp_path / "plain").rename(tmp_path / "split" / "Train")
    (tmp_path / "split" / "dev" / "joy").mkdir(parents=True)
    (tmp_path / "split" / "dev" / "joy" / "c.mp4").touch()
    manifest = read_manifest(tmp_path / "split")
    assert [r.split for r in manifest.rows] == ["train"] * 3 + ["valid"]


def test_a_folder_with_neither_says_what_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    for name in ("a/b/c/d.mp4", "x.csv", "y.csv"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"several tables \(x.csv, y.csv\).*labels.csv .*SPLIT/CLASS/clip.mp4"):
        read_manifest(tmp_path)
    (tmp_path / "y.csv").unlink()
    with pytest.raises(DataError, match=r"x\.csv has no rows"):
        read_manifest(tmp_path)
    with pytest.raises(DataError, match=r"does not exist; did you mean 'x\.csv'"):
        read_manifest(tmp_path / "x.cvs")


def test_several_rows_of_a_clip_are_utterances_of_one_group(write: Write) -> None:
    table = write("clip,start,end,label\na.wav,0,1.5,1\na.wav,1.5,,2\nb.wav,,2,1\nc.wav,0,1,2", *WAVS)
    manifest = read_manifest(table)
    assert [r.id for r in manifest.rows] == ["a[0]", "a[1]", "b", "c"]
    assert [(r.start, r.end) for r in manifest.rows[:3]] == [(0, 1.5), (1.5, None), (None, 2)]
    assert manifest.rows[0].split == manifest.rows[1].split
    assert manifest.rows[0].group == manifest.rows[1].group == "a.wav"
    assert list(manifest.clips) == ["a.wav", "b.wav", "c.wav"]
    assert manifest.suggested["utterances"] == "speech"


def test_files_of_features_and_transcripts_are_kept(write: Write) -> None:
    table = write(
        "clip,label,subtitles,openface\na.wav,1,a.srt,f/a.csv\nb.wav,2,,\nc.wav,1,,", *WAVS, "a.srt", "f/a.csv"
    )
    manifest = read_manifest(table)
    first, second, _ = manifest.rows
    assert first.transcript == table.parent / "a.srt"
    assert first.features == {"vision": table.parent / "f" / "a.csv"}
    assert (second.transcript, second.features) == (None, {})
    assert manifest.suggested == {"utterances": "transcript", "vision": "file"}
    plain = read_manifest(table, columns={"transcript": "none", "vision": "none"})
    assert plain.suggested == {"utterances": "clip"}


def test_columns_can_be_named(write: Write) -> None:
    table = write("what,who,how\na.wav,x,1\nb.wav,y,2\nc.wav,x,1", *WAVS)
    manifest = read_manifest(table, columns={"clip": "what", "speaker": "Who"}, targets=["how"])
    assert [r.speaker for r in manifest.rows] == ["x", "y", "x"]
    with pytest.raises(OptionError, match="no role 'spekaer' for a column; did you mean 'speaker'"):
        read_manifest(table, columns={"spekaer": "who"})
    with pytest.raises(DataError, match="no column 'wat'; did you mean 'what'"):
        read_manifest(table, columns={"clip": "wat"})
    with pytest.raises(DataError, match="no column says where the clips are"):
        read_manifest(table, targets=["how"])
    with pytest.raises(DataError, match=r"say what to predict with --target \(available: what, who, how\)"):
        read_manifest(table, columns={"clip": "what"})


def test_a_group_in_two_splits_is_noted(write: Write) -> None:
    table = write("file,label,speaker,split\na.wav,1,x,train\nb.wav,2,x,Test\nc.wav,1,y,dev", *WAVS)
    manifest = read_manifest(table)
    assert [r.split for r in manifest.rows] == ["train", "test", "valid"]
    assert any("1 of 2 speakers are in several splits ('x' is in test and in train)" in n for n in manifest.notes)
    anew = read_manifest(table, columns={"split": "none", "speaker": "none"})
    assert {r.split for r in anew.rows} == {"train", "valid", "test"}
    assert not any("several splits" in n for n in anew.notes)


def test_splits_that_training_needs_and_are_not_there_are_noted(write: Write) -> None:
    table = write("file,label,split\na.wav,1,test\nb.wav,2,test\nc.wav,1,train", *WAVS)
    assert "no row is in valid: no method can be trained on this corpus" in read_manifest(table).notes
    table = write(
        "file,label,split\na.wav,1,test\n" + "\n".join(f"{c}.wav,{i % 2},train" for i, c in enumerate("bcdef")), *WAVS
    )
    manifest = read_manifest(table)
    assert {row.split for row in manifest.rows} == {"train", "valid", "test"}, "valid is taken from train"
    assert manifest.rows[0].split == "test"
    assert any("valid is 10 % of train, by chance, seed 0" in note for note in manifest.notes)


BAD = {
    "no rows": ("clip,label\n", "clips.csv has no rows"),
    "column twice": ("clip,label,label\na.wav,1,2", "column 'label' twice"),
    "too many cells": ("clip,label\na.wav,1\nb.wav,2,3", "line 3 has 3 cells for 2 columns"),
    "open quote": ('clip,label\na.wav,"1', "line 2 cannot be read as a table"),
    "not UTF-8": ("clip,label\na.wav,für".encode("latin-1"), r"is not UTF-8 \(byte 18\)"),
    "utf-16": ("clip,label\na.wav,1".encode("utf-16"), r"is not UTF-8 \(byte 0\)"),
    "missing label": (lines(1, "", 2), r"clips.csv line 3 has no label \(''\)"),
    "label NaN": (lines(1, 2, "NaN"), r"line 4 has no label \('NaN'\)"),
    "one label": (lines("x", "x", "x"), "every label is 'x'"),
    "words among numbers": (lines(1, 2, "high"), "line 4: label is 'high' where other rows have numbers"),
    "infinite": (lines(0.5, "inf", 1), "line 3: label is 'inf' where other rows have numbers"),
    "outside": (lines(-2, 7, 1), "line 3: label is 7, outside --range -3,3"),
    "no clip": (lines(1, 2) + "\n,3", "line 4 names no clip"),
    "clip gone": ("clip,label\na.wav,1\nsub/bb.wav,2", r"1 of 2 clips .*sub/bb.wav \(did you mean 'b.wav'\?\)"),
    "ambiguous": ("clip,label\na.wav,1\ntwin,2", r"twin \(it may be one/twin.mp4 or two/twin.mp4\)"),
    "clip twice": ("clip,label\na.wav,1\nb.wav,2\na.wav,2", "line 2: a.wav is in line 4 too"),
    "clip twice, spelled otherwise": ("clip,label\na.wav,1\nb.wav,2\n./a.wav,2", "line 2: a.wav is in line 4 too"),
    "start after end": ("clip,label,start,end\na.wav,1,0,1\nb.wav,2,3,3", "line 3: start 3 is not before end 3"),
    "start negative": ("clip,label,start\na.wav,1,-1\nb.wav,2,0", "line 2: start is '-1', not a number of seconds"),
    "start a word": ("clip,label,start\na.wav,1,0\nb.wav,2,0:01", "start is '0:01'.*--columns start=none"),
    "id twice": ("id,clip,label\nx,a.wav,1\nx,b.wav,2\ny,c.wav,1", "line 3: id 'x' is in line 2 too"),
    "no id": ("id,clip,label\nx,a.wav,1\n,b.wav,2\ny,c.wav,1", "line 3: there is no id"),
    "split empty": ("clip,label,split\na.wav,1,train\nb.wav,2,", "line 3 has no split"),
    "two rows": (lines(1, 2), "has 2 rows, too few for train, valid and test"),
    "words for a transcript": (
        "clip,label,transcript\na.wav,1,I am glad.\nb.wav,2,So am I.\nc.wav,1,",
        "line 2: transcript file 'I am glad.' does not exist; .*--columns text=transcript transcript=none",
    ),
    "nobody rated": (
        "clip,label@1,label@2\na.wav,1,2\nb.wav,,?\nc.wav,1,1",
        "line 3 has no rating of label; give it one",
    ),
    "one rater twice": ("clip,label@1,Label@1\na.wav,1,2\nb.wav,1,2", "'label@1' and 'Label@1' are of one rater"),
    "rating outside": ("clip,label,label@x\na.wav,-2,1\nb.wav,0.5,7", "line 3: label@x is 7, outside --range -3,3"),
    "too many classes": (
        "\n".join(["file,label", *(f"{n}.wav,name {n}" for n in "abcdefghijklm")]),
        "label has 13 different values in 13 rows, too many for classes",
    ),
}


NAN = float("nan")


def test_columns_of_raters_make_the_label_together(write: Write) -> None:
    table = write("file,Mood@anna,mood@ben,mood@cleo\na.wav,glad,glad,sad\nb.wav,sad,,calm\nc.wav,sad,sad,", *WAVS)
    manifest = read_manifest(table, targets=["mood"])
    assert manifest.targets == (Target("Mood", "classification", classes=("calm", "glad", "sad")),)
    assert [row.labels[0] for row in manifest.rows] == pytest.approx([1, NAN, 2], nan_ok=True)
    assert [row.ratings["Mood"] for row in manifest.rows] == [
        {"anna": 1, "ben": 1, "cleo": 2},
        {"anna": 2, "ben": pytest.approx(NAN, nan_ok=True), "cleo": 0},
        {"anna": 2, "ben": 2, "cleo": pytest.approx(NAN, nan_ok=True)},
    ]
    assert manifest.notes[0].endswith("target 'Mood' (3 raters)")
    assert manifest.notes[-1] == "Mood: 1 of 3 rows have no majority of raters, so their label is not known"


def test_raters_of_a_scale_make_its_mean_and_a_label_beside_them_stays(write: Write) -> None:
    rows = "a.wav,1,3\nb.wav,-3,-2\nc.wav,0,"
    manifest = read_manifest(write(f"file,label@1,label@2\n{rows}", *WAVS), bounds=(-3, 3))
    assert manifest.targets == (Target("label", "regression", (-3, 3)),)
    assert [row.labels for row in manifest.rows] == [(2,), (-2.5,), (0,)]
    table = write("file,label@1,label,label@2\na.wav,1,2.5,3\nb.wav,-3,-2,-2\nc.wav,0,0.5,", *WAVS)
    manifest = read_manifest(table)
    assert manifest.targets == (Target("label", "regression", (-3, 3)),)  # ratings widen what was observed
    assert [row.labels for row in manifest.rows] == [(2.5,), (-2,), (0.5,)]
    assert manifest.rows[0].ratings == {"label": {"1": 1, "2": 3}}
    alone = read_manifest(table, targets=["label@1"], bounds=(-3, 3))
    assert (alone.targets[0].name, alone.rows[0].labels, alone.rows[0].ratings) == ("label@1", (1,), {})


@pytest.mark.parametrize("name", BAD)
def test_bad_tables_are_one_sentence(write: Write, name: str) -> None:
    text, message = BAD[name]
    table = write(text, *WAVS, "one/twin.mp4", "two/twin.mp4")
    bounds = (-3.0, 3.0) if "outside" in name else None
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(table, bounds=bounds)
    assert "clips.csv" in str(caught.value)
    assert "\n" not in str(caught.value)
