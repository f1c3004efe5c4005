"""Label Studio: what is written for it, and what comes back as a table that extract reads."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polymodal.core import DataError, Target
from polymodal.media.folder.label_studio import interface, read_export, task
from polymodal.media.folder.manifest import read_manifest

EMOTION = Target("emotion", "classification", classes=("joy", "anger & rage"))
SENTIMENT = Target("sentiment", "regression", (-3.0, 3.0))
TAGS = Target("tags", "multilabel", classes=("humour", "sarcasm"))


def annotated(given: dict[str, Any], *said: tuple[object, dict[str, Any]], cancelled: bool = False) -> dict[str, Any]:
    """Return an exported task: annotator and label -> value for each annotation."""
    annotations = [
        {
            "completed_by": by,
            "was_cancelled": cancelled,
            "result": [{"from_name": n, "to_name": "clip", "type": "x", "value": v} for n, v in labels.items()],
        }
        for by, labels in said
    ]
    return {"id": 1, **given, "annotations": annotations}


def test_the_interface_offers_each_target_its_own_control() -> None:
    root = ET.fromstring(interface((EMOTION, SENTIMENT, TAGS), "Video"))
    assert [c.get("value") for c in root.findall("Choices[@name='emotion']/Choice")] == ["joy", "anger & rage"]
    number = root.find("Number")
    assert number is not None
    assert (number.get("name"), number.get("min"), number.get("max")) == ("sentiment", "-3", "3")
    assert [c.get("choice") for c in root.findall("Choices")] == [None, "multiple"]
    assert {e.get("toName") for e in root if e.get("toName")} == {"clip"}


def test_a_task_has_the_clip_the_reason_and_the_prediction() -> None:
    said = {"emotion": "joy", "sentiment": 1.25, "tags": ["humour"]}
    found = task("a b/1.mp4", {"text": "so", "reason": "unsure"}, said, (EMOTION, SENTIMENT, TAGS), "runs/a")
    assert found["data"]["clip"] == "/data/local-files/?d=a%20b/1.mp4"
    assert (found["data"]["file"], found["data"]["reason"]) == ("a b/1.mp4", "unsure")
    results = {r["from_name"]: r["value"] for r in found["predictions"][0]["result"]}
    assert results == {
        "emotion": {"choices": ["joy"]},
        "sentiment": {"number": 1.25},
        "tags": {"choices": ["humour"]},
    }
    assert found["predictions"][0]["model_version"] == "runs/a"


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., Path]:
    """``export(tasks)`` writes an export beside four clips."""
    (tmp_path / "sub").mkdir()
    for i in range(4):
        (tmp_path / "sub" / f"{i}.wav").write_bytes(b"RIFF")

    def write(tasks: object) -> Path:
        path = tmp_path / "export.json"
        path.write_text(json.dumps(tasks))
        return path

    return write


def given(i: int, **about: Any) -> dict[str, Any]:
    return {"data": task(f"sub/{i}.wav", about, {"emotion": "joy"}, (EMOTION,), "r")["data"]}


def test_labels_come_back_through_extract(export: Callable[..., Path]) -> None:
    mood = [{"emotion": {"choices": [c]}} for c in ("joy", "anger", "joy")]
    tasks = [annotated(given(i, text=f"said {i}"), (7, mood[i])) for i in range(3)]
    tasks += [given(3), annotated(given(3), (7, mood[0]), cancelled=True)]
    manifest = read_manifest(export(tasks))
    assert [r.clip for r in manifest.rows] == ["sub/0.wav", "sub/1.wav", "sub/2.wav"]
    assert [r.text for r in manifest.rows] == ["said 0", "said 1", "said 2"]
    assert manifest.targets[0].classes == ("anger", "joy")
    assert [r.labels[0] for r in manifest.rows] == [1, 0, 1]


def test_several_annotators_are_raters_and_stretches_keep_their_times(export: Callable[..., Path]) -> None:
    one, two = {"email": "anna@example.org"}, {"email": "ben@example.org"}
    tasks = [
        annotated(
            given(i, start=1.0 + i, end=2.5 + i),
            (one, {"sentiment": {"number": float(i)}}),
            (two, {"sentiment": {"number": i + 0.5}}),
        )
        for i in range(3)
    ]
    manifest = read_manifest(export(tasks))
    assert [(r.start, r.end) for r in manifest.rows] == [(1.0, 2.5), (2.0, 3.5), (3.0, 4.5)]
    assert [r.labels[0] for r in manifest.rows] == pytest.approx([0.25, 1.25, 2.25])
    assert manifest.rows[1].ratings == {"sentiment": {"anna": 1.0, "ben": 1.5}}


def test_a_clip_is_found_by_its_address_where_the_task_was_made_by_hand(export: Callable[..., Path]) -> None:
    label = {"emotion": {"choices": ["joy"]}}
    tasks = [
        annotated({"data": {"video": "/data/local-files/?d=sub/0.wav"}}, (1, label)),
        annotated({"data": {"audio": "http://host/data/upload/1.wav"}}, (1, {"emotion": {"choices": ["anger"]}})),
    ]
    assert [row["clip"] for row in read_export(export(tasks)).rows] == ["sub/0.wav", "data/upload/1.wav"]


@pytest.mark.parametrize(
    ("tasks", "named"),
    [
        ({"a": 1}, "no export of Label Studio"),
        ([{"data": {}}], "has no annotation"),
        ([1], "no export of Label Studio"),
    ],
)
def test_what_is_no_export_is_one_sentence(export: Callable[..., Path], tasks: object, named: str) -> None:
    with pytest.raises(DataError, match=named):
        read_export(export(tasks))


def test_damaged_json_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_manifest(tmp_path / "a.json")
