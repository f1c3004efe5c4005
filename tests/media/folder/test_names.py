"""Clips whose names are not UTF-8, or would command a terminal or a spreadsheet."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import pytest

from polymodal.media.folder.manifest import read_manifest
from polymodal.predict.timeline import Timeline

NAMES = [b"caf\xe9.wav", b"caf\xe8.wav", b"x\x1b[31mred.wav", b"=1+1.wav"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not have such names")
def test_a_folder_of_clips(tmp_path: Path) -> None:
    for kind in ("calm", "angry"):
        (tmp_path / kind).mkdir()
        for name in NAMES:
            Path(os.fsdecode(os.fsencode(tmp_path / kind) + b"/" + name)).write_bytes(b"x")
    manifest = read_manifest(tmp_path)
    assert len({row.id for row in manifest.rows}) == len(manifest.rows) == 8
    assert all(row.path.is_file() for row in manifest.rows)
    for row in manifest.rows:
        (row.id + row.clip + row.group).encode()
        assert "\x1b" not in row.clip
    assert {row.clip for row in manifest.rows} >= {r"calm/caf\xe9.wav", r"angry/x\x1b[31mred.wav"}


def test_a_formula_in_a_table_is_text() -> None:
    timeline = Timeline.from_dict(
        {
            "clip": "=cmd|calc.wav",
            "duration": 1.0,
            "run": "a",
            "method": "b",
            "modalities": ["text"],
            "targets": [{"name": "mood", "task": "regression", "range": [-3, 3], "classes": []}],
            "level": 0.9,
            "calibrated": False,
            "notes": [],
            "seconds": {},
            "utterances": [
                {
                    "start": 0.0,
                    "end": 1.0,
                    "speaker": "@a",
                    "text": "-2+3",
                    "words": [],
                    "present": ["text"],
                    "absent": {},
                    "estimates": {
                        "mood": {
                            "value": -1.5,
                            "low": None,
                            "high": None,
                            "baseline": 0.0,
                            "contributions": {"text": -1.5},
                        }
                    },
                }
            ],
        }
    )
    (row,) = csv.DictReader(timeline.to_csv().splitlines())
    assert (row["clip"], row["speaker"], row["text"], row["mood"]) == ("'=cmd|calc.wav", "'@a", "'-2+3", "-1.5")
