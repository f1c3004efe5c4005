"""The JSON that plot, page and service share, and the table."""

from __future__ import annotations

import csv
import json

from rich.console import Console

from polymodal.core import Target
from polymodal.media.types import Word
from polymodal.predict.table import line, timeline_table
from polymodal.predict.timeline import Estimate, Moment, Timeline

TARGETS = (
    Target("sentiment", "regression", (-3.0, 3.0)),
    Target("emotion", "classification", classes=("anger", "joy")),
    Target("tags", "multilabel", classes=("humour", "sarcasm")),
)
SENTIMENT = Estimate(0.3, {"text": 0.5, "audio": 0.4}, value=1.2, low=0.1, high=2.2)
EMOTION = Estimate(0.2, {"text": 0.3, "audio": 0.2}, label="anger", probabilities={"anger": 0.7, "joy": 0.3})
TAGS = Estimate(
    {"humour": 0.3, "sarcasm": 0.2},
    {"text": {"humour": 0.4, "sarcasm": -0.1}, "audio": {"humour": 0.1, "sarcasm": 0.0}},
    labels=("humour",),
    probabilities={"humour": 0.8, "sarcasm": 0.1},
)
MOMENT = Moment(
    0.5,
    2.2,
    ("text", "audio"),
    {"sentiment": SENTIMENT, "emotion": EMOTION, "tags": TAGS},
    text="bin, [blue]",
    words=(Word("bin,", 0.5, 0.7), Word("[blue]", 0.8, 1.0)),
)
NOTHING = Moment(
    3.0,
    4.0,
    (),
    {
        "sentiment": Estimate(0.3, {}, value=0.3),
        "emotion": Estimate(0.8, {}, label="joy", probabilities={"anger": 0.2, "joy": 0.8}),
        "tags": Estimate({"humour": 0.3, "sarcasm": 0.2}, {}, labels=(), probabilities={"humour": 0.3, "sarcasm": 0.2}),
    },
    speaker="B",
)
TIMELINE = Timeline(
    clip="name.mp4",
    duration=12.3,
    run="runs/x",
    method="mmcl",
    modalities=("text", "audio", "vision"),
    targets=TARGETS,
    moments=(MOMENT, NOTHING),
    calibrated=True,
    notes=("vision is in no utterance",),
    seconds={"decode": 0.2, "total": 1.1},
)


def test_the_json_is_the_one_that_others_read() -> None:
    data = TIMELINE.to_dict()
    assert {k: data[k] for k in data if k != "utterances"} == {
        "clip": "name.mp4",
        "duration": 12.3,
        "run": "runs/x",
        "method": "mmcl",
        "modalities": ["text", "audio", "vision"],
        "targets": [
            {"name": "sentiment", "task": "regression", "answer": "number", "range": [-3, 3], "classes": []},
            {
                "name": "emotion",
                "task": "classification",
                "answer": "class",
                "range": None,
                "classes": ["anger", "joy"],
            },
            {
                "name": "tags",
                "task": "multilabel",
                "answer": "classes",
                "range": None,
                "classes": ["humour", "sarcasm"],
            },
        ],
        "level": 0.9,
        "calibrated": True,
        "notes": ["vision is in no utterance"],
        "seconds": {"decode": 0.2, "total": 1.1},
    }
    assert data["utterances"][0] == {
        "start": 0.5,
        "end": 2.2,
        "speaker": "",
        "text": "bin, [blue]",
        "words": [{"text": "bin,", "start": 0.5, "end": 0.7}, {"text": "[blue]", "start": 0.8, "end": 1.0}],
        "present": ["text", "audio"],
        "absent": {},
        "estimates": {
            "sentiment": {
                "value": 1.2,
                "low": 0.1,
                "high": 2.2,
                "baseline": 0.3,
                "contributions": {"text": 0.5, "audio": 0.4},
            },
            "emotion": {
                "label": "anger",
                "probabilities": {"anger": 0.7, "joy": 0.3},
                "baseline": 0.2,
                "contributions": {"text": 0.3, "audio": 0.2},
            },
            "tags": {
                "labels": ["humour"],
                "probabilities": {"humour": 0.8, "sarcasm": 0.1},
                "baseline": {"humour": 0.3, "sarcasm": 0.2},
                "contributions": {
                    "text": {"humour": 0.4, "sarcasm": -0.1},
                    "audio": {"humour": 0.1, "sarcasm": 0.0},
                },
            },
        },
    }
    nothing = data["utterances"][1]["estimates"]
    assert nothing["sentiment"] == {"value": 0.3, "low": None, "high": None, "baseline": 0.3, "contributions": {}}
    assert nothing["tags"]["labels"] == []


def test_json_and_back_is_the_same() -> None:
    assert Timeline.from_dict(json.loads(json.dumps(TIMELINE.to_dict()))) == TIMELINE


def test_the_table_has_a_line_per_utterance_and_columns_for_what_is_absent() -> None:
    rows = list(csv.DictReader(TIMELINE.to_csv().splitlines()))
    assert len(rows) == 2
    first, second = rows
    assert (first["clip"], first["text"], first["present"]) == ("name.mp4", "bin, [blue]", "text+audio")
    assert (first["sentiment"], first["sentiment/low"], first["sentiment/contribution/audio"]) == ("1.2", "0.1", "0.4")
    assert (first["emotion"], first["emotion/probability/joy"]) == ("anger", "0.3")
    assert (first["tags"], first["tags/contribution/text/sarcasm"], first["tags/baseline/humour"]) == (
        "humour",
        "-0.1",
        "0.3",
    )
    assert (
        second["sentiment/low"] == second["sentiment/contribution/vision"] == second["tags/contribution/vision/humour"]
    )
    assert second["sentiment/low"] == ""
    reverse = Timeline(**{**vars(TIMELINE), "moments": (NOTHING, MOMENT)})
    assert reverse.to_csv().splitlines()[0] == TIMELINE.to_csv().splitlines()[0]


def _printed(width: int = 100) -> str:
    console = Console(width=width, highlight=False, color_system=None)
    with console.capture() as captured:
        console.print(timeline_table(TIMELINE))
    return captured.get()


def test_a_terminal_shows_prediction_interval_contributions_and_text() -> None:
    shown = _printed()
    for part in (
        "0:00.5-0:02.2",
        "+1.20",
        "+0.10 to +2.20",
        "anger 70%",
        "humour 80%",
        "text  +0.50 ████████",
        "bin, [blue]",
    ):
        assert part in shown, shown
    assert "note: vision is in no utterance" in shown
    assert "decode 0.20" in shown


def test_a_line_of_a_live_stream_tells_the_latency() -> None:
    assert line(TIMELINE.targets, MOMENT, 0.123).startswith(
        "0:00.5-0:02.2  sentiment +1.20 +0.10 to +2.20;  emotion anger 70%"
    )
    assert "(text+audio; 123 ms)  bin, [blue]" in line(TIMELINE.targets, MOMENT, 0.123)
    assert "(nothing; 0 ms)" in line(TIMELINE.targets, NOTHING, 0.0)
