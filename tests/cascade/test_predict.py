"""A cascade applied to rows of features: who answers, what is said beside it, what goes wrong without a crash."""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_chat import Service, said
from pyarrow import parquet
from rich.console import Console

from polymodal import fit, load_corpus
from polymodal.cascade import evaluate_cascade, fit_cascade
from polymodal.cascade.opened import open_predictor
from polymodal.cascade.predictor import CascadePredictor
from polymodal.cli.main import main
from polymodal.core import DataError, OptionError, RunError
from polymodal.predict.page import write_page
from polymodal.predict.plot import figure
from polymodal.predict.predictor import Predictor
from polymodal.predict.table import timeline_table
from polymodal.predict.timeline import Moment, Timeline

DATA = "synthetic:talk?n=60&modalities=text,audio"
MOODS = "synthetic:emotions?n=40"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run on text, a larger one of two seeds that also hears, and a cascade of both that asks about half."""
    home = tmp_path_factory.mktemp("runs")
    words = "synthetic:talk?n=60&modalities=text"
    fit("ubm", words, options={"width": 8, "lr": 0.01}, epochs=2, batch_size=16, out=home / "small", device="cpu")
    fit("late-fusion", DATA, options={"width": 4}, epochs=1, batch_size=16, seeds=(1, 2), out=home / "large")
    fit_cascade(home / "small", f"run:{home / 'large'}", DATA, rho=0.5, out=home / "cascade")
    return home


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """The test samples of the corpus."""
    split = load_corpus(DATA)["test"]
    return [{name: column[row] for name, column in split.columns.items()} for row in range(len(split))]


def changed(home: Path, place: Path, **rule: Any) -> Path:
    """A copy of the cascade with other thresholds."""
    stored = json.loads((home / "cascade" / "cascade.json").read_text())
    stored["rule"] |= rule
    for part in ("small", "large"):
        name = "run" if part == "small" else "spec"
        stored[part][name] = ("" if part == "small" else "run:") + str(home / part)
    place.mkdir()
    (place / "cascade.json").write_text(json.dumps(stored))
    return place


def asking(home: Path, place: Path, spec: str = "http?samples=2", **rule: Any) -> Path:
    """A copy of the cascade with another large model, asked about everything unless told otherwise."""
    stored = json.loads((changed(home, place, **{"small": -1.0, "large": 0.5} | rule) / "cascade.json").read_text())
    stored["large"] = {"spec": spec, "name": "stub", "sureness": None}
    (place / "cascade.json").write_text(json.dumps(stored))
    return place


def routes(timeline: Timeline) -> list[Any]:
    return [m.estimates["sentiment"].cascade for m in timeline.moments]


def check_everything_shows(timeline: Timeline, tmp_path: Path) -> None:
    """JSON and back, a table with the same cells in each line, terminal, drawing and page."""
    data = json.loads(json.dumps(timeline.to_dict(), allow_nan=False))
    assert Timeline.from_dict(data) == timeline
    lines = list(csv.DictReader(io.StringIO(timeline.to_csv())))
    assert [line["sentiment/stage"] for line in lines] == [r.stage for r in routes(timeline)]
    out = Console(file=io.StringIO(), width=200)
    out.print(timeline_table(timeline))
    shown = out.file.getvalue()  # type: ignore[attr-defined]
    assert "stage" in shown
    assert all(len(timeline.moments) == 0 or r.stage in shown for r in routes(timeline))
    assert figure(timeline).axes
    assert '"stage": ' in write_page(timeline, None, tmp_path / "page.html").read_text()


def test_answers_are_those_of_the_evaluation(home: Path, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    evaluate_cascade(home / "cascade")
    table = parquet.read_table(home / "cascade" / "evaluation" / "predictions.parquet").to_pydict()
    test = [i for i, split in enumerate(table["split"]) if split == "test"]
    timeline = CascadePredictor(home / "cascade").predict_features(rows)
    found = routes(timeline)
    assert [r.stage for r in found] == [table["stage"][i] for i in test]
    assert {r.stage for r in found} > {"1"}
    values = [m.estimates["sentiment"].value for m in timeline.moments]
    assert values == pytest.approx([table["score"][i] for i in test], abs=1e-4)
    assert [r.small.uncertainty for r in found] == pytest.approx([table["u_small"][i] for i in test], abs=1e-4)
    assert [r.calls for r in found] == [table["calls"][i] for i in test]
    asked = [(r, i) for r, i in zip(found, test, strict=True) if r.calls]
    assert [r.large.uncertainty for r, _ in asked] == pytest.approx([table["u_large"][i] for _, i in asked], abs=1e-4)
    assert all(r.large is None for r in found if r.stage == "1")
    assert (timeline.run, timeline.method, timeline.modalities) == ("cascade", "u-acs", ("text", "audio"))
    assert f"sentiment: {len(asked)} of {len(found)} utterances went to the large model, run large" in str(
        timeline.notes
    )
    check_everything_shows(timeline, tmp_path)


def test_contributions_are_those_of_who_answered(home: Path, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    alone = {name: Predictor.load(home / name) for name in ("small", "large")}
    own = alone["small"].predict_features([{"text": row["text"]} for row in rows]).moments
    other = alone["large"].predict_features(rows).moments
    seen = set()
    for name, rule in {"fitted": {}, "never sure": {"small": -1.0, "large": -1.0}, "large": {"large": 1.0}}.items():
        timeline = CascadePredictor(changed(home, tmp_path / name, **rule)).predict_features(rows)
        for m, a, b in zip(timeline.moments, own, other, strict=True):
            e, x, y = (one.estimates["sentiment"] for one in (m, a, b))
            assert e.cascade is not None
            seen.add((e.cascade.stage, e.cascade.by))
            assert sum(e.contributions.values()) == pytest.approx(e.value - e.baseline, abs=1e-5)  # type: ignore[operator]
            wanted = {"small": x, "large": y, "both": None}[e.cascade.by]
            if wanted is not None:
                assert e.value == pytest.approx(wanted.value, abs=1e-5)
                assert e.contributions == pytest.approx(wanted.contributions, abs=1e-5)
                assert (e.low is None) == (wanted.low is None)
            else:
                assert min(x.value, y.value) - 1e-6 <= e.value <= max(x.value, y.value) + 1e-6  # type: ignore[operator,type-var]
                assert (e.low, set(e.contributions)) == (None, {"text", "audio"})
            asked = e.cascade.calls > 0
            assert m.present == (("text", "audio") if asked else ("text",))
            assert m.absent == ({} if asked else {"audio": "not looked at: the large run was not asked"})
    assert {("1", "small"), ("2a", "large"), ("2b", "both")} <= seen


def test_only_what_the_small_run_is_unsure_of_goes_to_the_large_one(
    home: Path, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cascade = CascadePredictor(home / "cascade")
    assert cascade.large is not None
    asked: list[Any] = []
    real = cascade.large.predict_features

    def counted(rows: Any, **options: Any) -> Timeline:
        asked.append(options["numbers"])
        return real(rows, **options)

    monkeypatch.setattr(cascade.large, "predict_features", counted)
    found = routes(cascade.predict_features(rows))
    assert asked == [[i for i, r in enumerate(found) if r.stage != "1"]]
    assert 0 < len(asked[0]) < len(rows)
    sure = [row for row, r in zip(rows, found, strict=True) if r.stage == "1"]
    asked.clear()
    cascade.predict_features(sure)
    assert asked == []


def test_a_large_run_that_finds_nothing_leaves_the_answer_to_the_small_one(
    home: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    words = "synthetic:talk?n=60&modalities=audio"
    fit("late-fusion", words, options={"width": 4}, epochs=1, batch_size=16, seeds=(1, 2), out=tmp_path / "ear")
    fit_cascade(home / "small", f"run:{tmp_path / 'ear'}", DATA, rho=1.0, out=tmp_path / "cascade")
    cascade = CascadePredictor(tmp_path / "cascade")
    wrong = {"text": rows[0]["text"], "audio": np.zeros((4, 99))}
    for given, told in (
        ([{"text": rows[0]["text"]}], "found nothing to read in 1 of 1 utterances"),
        ([rows[1], wrong], "was left out: sample 'row 1': audio has shape"),
    ):
        timeline = cascade.predict_features(given)
        assert {r.stage for r in routes(timeline)} == {"failed"}
        assert {r.by for r in routes(timeline)} == {"small"}
        assert told in " ".join(timeline.notes)
    with pytest.raises(DataError, match="row 1: no modality 'vision'"):
        cascade.predict_features([rows[0], {"vision": rows[0]["audio"]}])


def test_a_service_answers_in_words_and_says_what_it_took(
    home: Path, rows: list[dict[str, Any]], tmp_path: Path, service: Service
) -> None:
    cascade = CascadePredictor(asking(home, tmp_path / "cascade"))
    service.reply = said("1.5", "1.5")
    timeline = cascade.predict_features([{"text": f"{row['text']} {i}"} for i, row in enumerate(rows[:3])])
    assert [(r.stage, r.by, r.large.answer, r.large.uncertainty) for r in routes(timeline)] == [
        ("2a", "large", 1.5, pytest.approx(0, abs=1e-6))
    ] * 3
    assert [r.usage for r in routes(timeline)] == [
        {"requests": 2, "cached": 0, "prompt_tokens": 14, "completion_tokens": 4}
    ] * 3
    assert "the large model took 6 requests, 42 prompt_tokens, 12 completion_tokens" in timeline.notes
    for m in timeline.moments:
        e = m.estimates["sentiment"]
        assert (e.value, e.low, e.baseline, e.contributions) == (1.5, None, None, {})
    assert not timeline.calibrated
    assert any("thresholds were fitted with stub" in note for note in timeline.notes)
    check_everything_shows(timeline, tmp_path)
    again = cascade.predict_features([{"text": f"{rows[0]['text']} 0"}])
    assert routes(again)[0].usage["cached"] == 2
    assert len(service.bodies) == 6


def test_a_second_question_has_both_answers_and_an_average_no_contributions(
    home: Path, rows: list[dict[str, Any]], tmp_path: Path, service: Service
) -> None:
    cascade = CascadePredictor(asking(home, tmp_path / "cascade", large=-1.0))
    service.reply = lambda body, number: said("0.5" if "contradict" in body["messages"][1]["content"] else "3")(body, 0)
    words = [row["text"] for row in rows[:12]]
    positive = cascade.predict_features([{"text": text} for text in words])
    service.reply = lambda body, number: said("0.5" if "contradict" in body["messages"][1]["content"] else "-3")(
        body, 0
    )
    negative = cascade.predict_features([{"text": f"{text} so"} for text in words])
    moments = [*positive.moments, *negative.moments]
    by_stage: dict[str, list[Moment]] = {}
    for m in moments:
        by_stage.setdefault(m.estimates["sentiment"].cascade.stage, []).append(m)  # type: ignore[union-attr]
    assert set(by_stage) == {"2b", "3"}
    for m in by_stage["3"]:
        e = m.estimates["sentiment"]
        assert e.cascade is not None
        assert (e.value, e.cascade.calls, e.cascade.second.answer) == (0.5, 2, 0.5)  # type: ignore[union-attr]
    for m in by_stage["2b"]:
        e = m.estimates["sentiment"]
        assert e.cascade is not None
        assert (e.cascade.by, e.baseline, e.contributions, e.low) == ("both", None, {}, None)
        ends = sorted([float(e.cascade.small.answer), float(e.cascade.large.answer)])  # type: ignore[union-attr]
        assert ends[0] <= e.value <= ends[1]  # type: ignore[operator]


REPLIES: dict[str, Callable[[dict[str, Any], int], tuple[int, bytes]]] = {
    "no json": lambda body, number: (200, b"<html>"),
    "broken": lambda body, number: (500, b"oops"),
    "refused": lambda body, number: (401, b""),
    "no rating": said("As a model I would rather not."),
}


@pytest.mark.parametrize("kind", ["dead", "slow", *REPLIES])
def test_whatever_is_wrong_with_a_service_the_small_run_answers_in_time_with_a_note(
    home: Path,
    rows: list[dict[str, Any]],
    tmp_path: Path,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    # One question is enough to see that a service is dead, four to leave it alone.
    words = [{"text": row["text"]} for row in rows[: 1 if kind == "dead" else 4]]
    wanted = Predictor.load(home / "small").predict_features(words)
    if kind == "dead":
        monkeypatch.setenv("POLYMODAL_LLM_URL", "http://127.0.0.1:9/v1")
    elif kind == "slow":
        service.drip = 0.1  # every byte in time, the whole not
    else:
        service.reply = REPLIES[kind]
    cascade = CascadePredictor(asking(home, tmp_path / "cascade", "http?samples=2&retries=0"), within=1.0)
    began = time.monotonic()
    timeline = cascade.predict_features(words)
    assert time.monotonic() - began < 8
    assert {(r.stage, r.by, r.large) for r in routes(timeline)} == {("failed", "small", None)}
    for m, own in zip(timeline.moments, wanted.moments, strict=True):
        e, x = m.estimates["sentiment"], own.estimates["sentiment"]
        assert (e.value, e.low, e.contributions) == (x.value, x.low, x.contributions)
    told = "have no rating" if kind == "no rating" else "unanswered"
    assert told in " ".join(timeline.notes)
    if kind == "dead":
        check_everything_shows(timeline, tmp_path)
    if kind == "no rating":
        return
    asked = len(service.bodies)
    again = cascade.predict_features([{"text": "something else"}])
    assert len(service.bodies) == asked
    assert "left alone for a while" in " ".join(again.notes)


def test_rows_without_words_are_not_sent(home: Path, tmp_path: Path, service: Service) -> None:
    cascade = CascadePredictor(asking(home, tmp_path / "cascade"))
    timeline = cascade.predict_features([{"text": "fine"}, {"text": None}])
    assert [(r.stage, r.calls) for r in routes(timeline)] == [("2a", 1), ("failed", 0)]
    assert len(service.bodies) == 2
    assert any("1 of 2 utterances have no words" in note for note in timeline.notes)


@pytest.fixture(scope="module")
def moods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cascade of two runs of classes, which is never sure."""
    home = tmp_path_factory.mktemp("moods")
    for name, width in (("small", 4), ("large", 8)):
        fit("ubm", MOODS, options={"width": width}, epochs=1, batch_size=16, out=home / name, device="cpu")
    fit_cascade(home / "small", f"run:{home / 'large'}", MOODS, rho=1.0, out=home / "cascade")
    return home


@pytest.mark.parametrize("large", ["run", "http"])
def test_classes_have_labels_and_their_chances_where_those_are_known(
    moods: Path, tmp_path: Path, service: Service, large: str
) -> None:
    corpus = load_corpus(MOODS)
    target = corpus.schema.joint_targets[0]
    service.reply = said(target.classes[1])
    place = changed(moods, tmp_path / "cascade", large=-1.0)
    if large == "http":
        place = asking(moods, tmp_path / "asking", large=-1.0)
    split = corpus["test"]
    rows = [{n: c[i] for n, c in split.columns.items()} | ({"text": f"words {i}"} if large == "http" else {}) for i in
            range(12)]  # fmt: skip
    timeline = CascadePredictor(place).predict_features(rows)
    for m in timeline.moments:
        e = m.estimates[target.name]
        assert e.cascade is not None
        assert e.cascade.small.answer in target.classes
        answered = {"small": e.cascade.small, "large": e.cascade.second or e.cascade.large}
        assert e.label == answered.get(e.cascade.by, e.cascade.small).answer  # type: ignore[union-attr]
        if large == "run" or e.cascade.by in ("small", "both"):
            assert e.probabilities is not None
            assert e.label == max(e.probabilities, key=lambda c: e.probabilities[c])  # type: ignore[index]
        else:
            assert (e.probabilities, e.contributions) == (None, {})
    data = json.loads(json.dumps(timeline.to_dict(), allow_nan=False))
    assert Timeline.from_dict(data) == timeline
    assert f"{target.name}/probability/{target.classes[0]}" in timeline.to_csv().splitlines()[0]
    assert figure(timeline).axes
    timeline_table(timeline)


def test_a_run_alone_says_nothing_of_a_cascade(home: Path, rows: list[dict[str, Any]]) -> None:
    timeline = open_predictor(str(home / "small")).predict_features([{"text": row["text"]} for row in rows])
    assert "cascade" not in json.dumps(timeline.to_dict())
    assert "stage" not in timeline.to_csv().splitlines()[0]


def test_what_is_missing_changed_or_damaged_is_one_sentence(home: Path, tmp_path: Path) -> None:
    def told(change: Callable[[Path], Any]) -> str:
        place = Path(shutil.copytree(home, tmp_path / "broken"))
        change(place)
        with pytest.raises((RunError, OptionError, DataError)) as caught:
            open_predictor(str(place / "cascade"))
        shutil.rmtree(place)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def edited(name: str) -> Callable[[Path], Any]:
        def edit(place: Path) -> None:
            file = place / name / "run.json"
            file.write_text(file.read_text().replace('"late-fusion"', '"early-fusion"') + " ")

        return edit

    def recorded(place: Path) -> None:
        file = place / "cascade" / "cascade.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"large": about}))

    about = {"spec": "file:answers.jsonl", "name": "answers.jsonl", "sureness": None}
    assert "needs its small run" in told(lambda place: (place / "small").rename(place / "moved"))
    assert "needs its large run" in told(lambda place: shutil.rmtree(place / "large"))
    assert "small has been trained anew" in told(edited("small"))
    assert "large has been trained anew" in told(edited("large"))
    assert "fit the cascade again" in told(lambda place: (place / "cascade" / "cascade.json").write_text("{"))
    assert "rule is missing" in told(
        lambda place: (place / "cascade" / "cascade.json").write_text('{"small": {"run": "a", "digest": "b", '
        '"sureness": {"basis": "bins", "temperature": 1, "scale": 1}}, "large": {"spec": "http", "name": "x", '
        '"sureness": null}, "target": "y"}')
    )  # fmt: skip
    assert "predict with its small run" in told(recorded)
    with pytest.raises(OptionError, match="leave out --abstain-at"):
        open_predictor(str(home / "cascade"), abstain_at=0.5)


def test_a_service_that_nothing_names_is_said_before_the_first_clip(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("POLYMODAL_LLM_URL", raising=False)
    with pytest.raises(OptionError, match="set POLYMODAL_LLM_URL"):
        open_predictor(str(asking(home, tmp_path / "cascade")))


def test_live_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(home / "cascade"), "--live"]) == 1
    assert "with --live, name its small run" in capsys.readouterr().err
