"""Cascades and recorded answers under audit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from polymodal import fit, load_corpus
from polymodal.audit.subject import audit_subject
from polymodal.cascade import evaluate_cascade, fit_cascade
from polymodal.cascade.judge import subject_of_answers, subject_of_cascade
from polymodal.cli.main import main
from polymodal.core import OptionError

DATA = "synthetic:talk?n=60&modalities=text,audio"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run on text and audio, and a larger one on audio alone, of two seeds."""
    home = tmp_path_factory.mktemp("runs")
    fit("ubm", DATA, options={"width": 8, "lr": 0.01}, epochs=2, batch_size=16, out=home / "small", device="cpu")
    audio = "synthetic:talk?n=60&modalities=audio"
    fit("late-fusion", audio, options={"width": 4}, epochs=1, batch_size=16, seeds=(1, 2), out=home / "large")
    return home


def _recorded(file: Path, answer: Callable[[str, float], dict[str, Any]], skip: int = 0) -> Path:
    corpus = load_corpus(DATA)
    target = corpus.schema.joint_targets[0].name
    rows = [(i, y) for s in ("valid", "test") for i, y in zip(corpus[s].ids, corpus[s].targets[target], strict=True)]
    file.write_text("\n".join(json.dumps({"id": i, **answer(i, float(y))}) for i, y in rows[: len(rows) - skip]))
    return file


def test_a_cascade_of_two_runs_answers_as_it_was_evaluated_and_is_audited(home: Path, tmp_path: Path) -> None:
    place = tmp_path / "cascade"
    fit_cascade(home / "small", f"run:{home / 'large'}", DATA, rho=0.5, out=place)
    evaluate_cascade(place)
    table = parquet.read_table(place / "evaluation" / "predictions.parquet").to_pydict()
    wanted = {i: y for i, y, s in zip(table["id"], table["score"], table["split"], strict=True) if s == "test"}
    assert {stage for stage, s in zip(table["stage"], table["split"], strict=True) if s == "test"} > {"1"}
    subject = subject_of_cascade(place)
    said: dict[str, float] = {}
    for batch in subject.batches():
        said |= dict(zip(batch.ids, subject.judge(batch)["sentiment"].tolist(), strict=True))
    assert said == pytest.approx(wanted, abs=1e-4)
    found = audit_subject(subject, ["shapley", "interference"])
    assert len(found["shapley"].samples["id"]) == len(wanted)
    assert any(line.value > 1e-4 for line in found["shapley"].evidence)
    assert main(["audit", str(place), "--with", "interference", "--html", str(tmp_path / "page.html")]) == 0
    assert json.loads((place / "audit" / "interference.json").read_text())["judge"] == "cascade"
    assert "Audits of cascade" in (tmp_path / "page.html").read_text()


def test_recorded_answers_are_audited_as_they_are_and_not_changed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polymodal.audit.pid.FEWEST", 10)
    file = _recorded(tmp_path / "answers.jsonl", lambda i, y: {"score": y, "uncertainty": 0.0}, skip=1)
    found = audit_subject(subject_of_answers(file, DATA), ["pid", "importance", "interference"])
    assert "no answer to 1 samples" in found["pid"].notes[-1]
    for name in ("importance", "interference"):
        assert "answers.jsonl holds answers to the samples as they were" in found[name].refused
    place = tmp_path / "cascade"
    fit_cascade(
        home / "small",
        f"file:{_recorded(tmp_path / 'all.jsonl', lambda i, y: {'score': y, 'uncertainty': 0.0})}",
        DATA,
        out=place,
    )
    found = audit_subject(subject_of_cascade(place), ["pid", "shapley"])
    assert found["pid"].evidence
    assert "as they were" in found["shapley"].refused


def test_a_file_needs_data_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "file:answers.jsonl"]) != 0
    assert "needs --data" in capsys.readouterr().err


def test_a_service_is_not_sent_every_change(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "cascade"
    file = _recorded(tmp_path / "answers.jsonl", lambda i, y: {"score": y, "uncertainty": 0.0})
    fit_cascade(home / "small", f"file:{file}", DATA, out=place)
    monkeypatch.setattr("polymodal.cascade.recorded.Recorded.costly", True)
    with pytest.raises(OptionError, match="asks a service"):
        subject_of_cascade(place)
