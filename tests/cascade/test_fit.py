"""Fitting and evaluating a cascade of runs and recorded answers; what bad input is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from polymodal import fit, load_corpus
from polymodal.cascade import evaluate_cascade, fit_cascade
from polymodal.cascade.folder import is_cascade
from polymodal.cascade.speaker import Speaker, prepared, target_of
from polymodal.cli.main import main
from polymodal.core import DataError, Modality, OptionError, PolymodalError, RunError, Schema, Target
from polymodal.core.locks import locked
from polymodal.data.corpus import Corpus
from polymodal.data.split import Split, build_split
from polymodal.train.run import Run

DATA = "synthetic:talk?n=60&modalities=text,audio"
MOODS = "synthetic:emotions?n=60"
NOISY = Schema((Modality("voice", "vector", 2),), (Target("y", "regression", (-3.0, 3.0)),))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run on text and audio, and a larger one on audio alone, of three seeds."""
    home = tmp_path_factory.mktemp("runs")
    fit("ubm", DATA, options={"width": 8, "lr": 0.01}, epochs=3, batch_size=16, out=home / "small", device="cpu")
    audio = "synthetic:talk?n=60&modalities=audio"
    fit("late-fusion", audio, options={"width": 4}, epochs=1, batch_size=16, seeds=(1, 2, 3), out=home / "large")
    return home


@pytest.fixture(scope="module")
def moods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("moods") / "run"
    fit("ubm", MOODS, options={"width": 8}, epochs=1, batch_size=16, out=folder, device="cpu")
    return folder


def recorded(file: Path, answer: Callable[[str, int], dict[str, Any]], source: str = DATA) -> Path:
    """A file with an answer to every sample but those of train."""
    corpus = load_corpus(source)
    target = corpus.schema.joint_targets[0].name
    lines = []
    for name, split in corpus.splits.items():
        for row, sample in enumerate(split.ids if name != "train" else ()):
            lines.append({"id": sample, **answer(sample, split.targets[target][row])})
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def oracle(sample: str, label: float) -> dict[str, Any]:
    return {"score": float(label), "uncertainty": 0.0}


def test_two_runs_from_fit_to_evaluation(runs: Path, tmp_path: Path) -> None:
    place = tmp_path / "cascade"
    found = fit_cascade(runs / "small", f"run:{runs / 'large'}", DATA, rho=0.25, out=place)
    assert is_cascade(place)
    assert json.loads((place / "cascade.json").read_text()) == json.loads(json.dumps(found))
    fitted = found["fitted"]
    assert abs(fitted["escalated"] - 0.25) <= 1 / fitted["samples"]
    assert fitted["asked_again"] == 0  # a run cannot be told what was said before
    assert (found["small"]["sureness"]["basis"], found["large"]["sureness"]["basis"]) == ("bins", "members")

    scores = evaluate_cascade(place)
    account, home = scores["splits"]["test"], place / "evaluation"
    table = parquet.read_table(home / "predictions.parquet").to_pydict()
    test = [i for i, split in enumerate(table["split"]) if split == "test"]
    assert len(test) == account["samples"]
    assert sum(table["calls"][i] for i in test) == account["calls"] == round(account["escalated"] * len(test))
    for i in test:
        sure = table["u_small"][i] <= found["rule"]["small"]
        assert (table["stage"][i] == "1") == sure == np.isnan(table["y_large"][i])
        if sure:
            assert table["score"][i] == table["y_small"][i]
    error = np.mean([abs(table["score"][i] - table["true"][i]) for i in test])
    row = next(r for r in scores["rows"] if (r["split"], r["who"], r["metric"]) == ("test", "cascade", "mae"))
    assert row["mean"] == pytest.approx(error, abs=1e-6)
    ends = account["curve"][0]["error"]["value"], account["curve"][-1]["error"]["value"]
    by_who = {r["who"]: r["mean"] for r in scores["rows"] if (r["split"], r["metric"]) == ("test", "mae")}
    assert by_who["small"] == pytest.approx(ends[0], abs=1e-6)
    assert account["curve"][-1]["share"] == 1
    assert (home / "curve-test.png").stat().st_size > 1000
    assert "| share sent |" in (home / "curve.md").read_text()
    assert json.loads((home / "scores.json").read_text()) == json.loads(json.dumps(scores))


def test_the_small_answers_are_those_of_the_run_itself(runs: Path) -> None:
    run = Run.load(runs / "small")
    corpus = prepared(run, load_corpus(DATA))
    speaker = Speaker(run, target_of(run, None), corpus)
    columns = run.predict(run.corpus(), "test")
    said = speaker.answers(corpus["test"])
    where = {name: row for row, name in enumerate(columns["id"].tolist())}
    own = columns["sentiment/predicted"][[where[name] for name in corpus["test"].ids]]
    np.testing.assert_allclose(said.y, own, atol=1e-5)
    assert np.ptp(own) > 1e-3
    assert ((said.u >= 0) & (said.u <= 1)).all()
    assert np.ptp(said.u) > 0
    rows = [4, 1, 7]
    np.testing.assert_allclose(speaker.answers(corpus["test"].view(rows)).u, said.u[rows], atol=1e-5)


def test_an_oracle_before_whom_nothing_is_kept_leaves_no_error(runs: Path, tmp_path: Path) -> None:
    file = recorded(tmp_path / "answers.jsonl", oracle)
    for rho, error in ((1.0, 0.0), (0.0, None)):
        place = tmp_path / f"rho-{rho}"
        found = fit_cascade(runs / "small", f"file:{file}", DATA, rho=rho, out=place)
        scores = evaluate_cascade(place)
        mae = {r["who"]: r["mean"] for r in scores["rows"] if (r["split"], r["metric"]) == ("test", "mae")}
        assert mae["large"] == pytest.approx(0, abs=1e-6)
        assert mae["cascade"] == pytest.approx(mae["small"] if error is None else error, abs=1e-6)
        assert scores["splits"]["test"]["calls"] == (60 if rho else 0) * scores["splits"]["test"]["samples"] // 60
        assert found["fitted"]["escalated"] == rho


def test_by_error_a_useless_large_model_is_asked_nothing_and_an_oracle_all(runs: Path, tmp_path: Path) -> None:
    useless = recorded(tmp_path / "useless.jsonl", lambda s, y: {"score": -3.0 if y > 0 else 3.0, "uncertainty": 0.0})
    perfect = recorded(tmp_path / "oracle.jsonl", oracle)
    for file, share in ((useless, 0.0), (perfect, 1.0)):
        found = fit_cascade(runs / "small", f"file:{file}", DATA, by="error", out=tmp_path / file.stem)
        assert found["fitted"]["escalated"] == share


def test_second_answers_and_answers_that_could_not_be_read_are_used(runs: Path, tmp_path: Path) -> None:
    lost = load_corpus(DATA)["test"].ids[0]

    def answer(sample: str, label: float) -> dict[str, Any]:
        if sample == lost:
            return {"score": None}
        # The wrong side first, and not sure of it: the second answer is right.
        side = -1.0 if label > 0 else 1.0
        return {"score": side, "uncertainty": 0.95, "second": {"score": float(label), "uncertainty": 0.1, "text": "ah"}}

    file = recorded(tmp_path / "answers.jsonl", answer)
    place = tmp_path / "cascade"
    fit_cascade(runs / "small", f"file:{file}", DATA, rho=1.0, out=place)
    evaluate_cascade(place)
    table = parquet.read_table(place / "evaluation" / "predictions.parquet").to_pylist()
    by_stage: dict[str, list[dict[str, Any]]] = {}
    for row in table:
        by_stage.setdefault(row["stage"], []).append(row)
    assert [row["id"] for row in by_stage["failed"]] == [lost]
    assert by_stage["failed"][0]["score"] == by_stage["failed"][0]["y_small"]
    for row in by_stage["3"]:
        assert (row["calls"], row["said2"]) == (2, "ah")
        assert row["score"] == pytest.approx(row["true"])


def test_a_costly_model_is_asked_what_the_cascade_needs_and_the_curve_ends_there(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def post(url: str, key: str, body: dict[str, Any], **limits: float) -> dict[str, Any]:
        asked.append(body)
        return {"choices": [{"message": {"content": "1"}}]}

    monkeypatch.setattr("polymodal.cascade.remote.post", post)
    monkeypatch.setenv("POLYMODAL_LLM_URL", "http://localhost/v1")
    monkeypatch.setenv("POLYMODAL_LLM_MODEL", "stub")
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "cascade"
    found = fit_cascade(runs / "small", "http?samples=2", DATA, rho=0.3, out=place)
    escalated = round(found["fitted"]["escalated"] * found["fitted"]["samples"])
    assert len(asked) == 2 * escalated == found["fitted"]["usage"]["requests"]
    scores = evaluate_cascade(place)
    account = scores["splits"]["test"]
    assert scores["usage"]["requests"] == len(asked) - 2 * escalated
    assert account["curve_to"] == account["escalated"] < 1
    assert account["gain"] is None
    assert account["spearman_mended"] is None
    assert [point["random"] for point in account["curve"]] == [None] * 21
    assert {row["who"] for row in scores["rows"]} == {"small", "cascade"}
    assert account["curve"][-1]["error"]["value"] == pytest.approx(
        next(r["mean"] for r in scores["rows"] if (r["split"], r["who"], r["metric"]) == ("test", "cascade", "mae"))
    )
    monkeypatch.setenv("POLYMODAL_LLM_MODEL", "another")
    monkeypatch.setattr("polymodal.cascade.remote.post", lambda *a, **limits: {"choices": []})
    silent = fit_cascade(runs / "small", "http?samples=2", DATA, out=tmp_path / "silent")["fitted"]
    assert "no answer of the large model was there" in silent["notes"][-1]
    assert silent["stages"]["failed"] == round(silent["escalated"] * silent["samples"])
    assert "thresholds were fitted with stub at" in " ".join(evaluate_cascade(place)["notes"])


def test_classes_have_a_cascade_too(moods: Path, tmp_path: Path) -> None:
    names = load_corpus(MOODS).schema.joint_targets[0].classes
    file = recorded(tmp_path / "a.jsonl", lambda s, y: {"label": names[int(y)], "uncertainty": 0.2}, MOODS)
    found = fit_cascade(moods, f"file:{file}", MOODS, rho=1.0, out=tmp_path / "cascade")
    assert found["small"]["sureness"]["basis"] == "classes"
    assert found["rule"]["middle"] is None
    scores = evaluate_cascade(tmp_path / "cascade")
    row = next(r for r in scores["rows"] if (r["who"], r["metric"]) == ("cascade", "accuracy"))
    assert row["mean"] == 1


def test_a_folder_with_runs_and_cascade_can_be_moved(runs: Path, tmp_path: Path) -> None:
    home = shutil.copytree(runs, tmp_path / "here")
    fit_cascade(home / "small", f"run:{home / 'large'}", DATA, out=home / "cascade")
    moved = home.rename(tmp_path / "there")
    assert evaluate_cascade(moved / "cascade")["splits"]["test"]["samples"] > 0


def test_the_command_line_fits_evaluates_and_refuses_what_is_not_for_a_cascade(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(tmp_path / "cascade")
    words = ["fit", "u-acs", "--small", str(runs / "small"), "--large", f"run:{runs / 'large'}", "--data", DATA]
    assert main([*words, "--out", place]) == 0
    assert "go to the large model" in capsys.readouterr().err
    assert main(["evaluate", place]) == 0
    assert "against sending the same share at random" in capsys.readouterr().err
    assert main(["evaluate", place, "--stress", "missing:rate=0.3"]) == 1
    assert "leave out --stress" in capsys.readouterr().err
    assert main(["audit", place, "--with", "shapley"]) == 0
    assert (Path(place) / "audit" / "shapley.json").is_file()


BAD = {
    "unknown spec": ("gpt", DATA, "unknown large model 'gpt'; use run:FOLDER, file:answers.jsonl or http"),
    "no run": ("run:nowhere", DATA, "nowhere is not a run"),
    "no file": ("file:nowhere.jsonl", DATA, "there is no file nowhere.jsonl"),
    "unknown option": ("http?sample=3", DATA, "there is no option 'sample'"),
    "another schema": ("run:{runs}/large", "synthetic:unimodal?n=24", "has no "),
    "another target": ("run:{moods}", DATA, "does not predict 'sentiment' on the same scale"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_sentence(kind: str, runs: Path, moods: Path, tmp_path: Path) -> None:
    spec, data, words = BAD[kind]
    with pytest.raises(PolymodalError, match=words) as caught:
        fit_cascade(runs / "small", spec.format(runs=runs, moods=moods), data, out=tmp_path / "cascade")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cascade").exists()


LINES = {
    "no json": ("{", "line 1 is no JSON object with an id"),
    "no id": ('{"score": 1}', "line 1 is no JSON object with an id"),
    "no score": ('{"id": "a", "score": "high", "uncertainty": 0.5}', "score must be a finite number, got 'high'"),
    "no uncertainty": ('{"id": "a", "score": 1}', "uncertainty must be a finite number, got None"),
    "too unsure": ('{"id": "a", "score": 1, "uncertainty": 7}', "uncertainty must be a number from 0 to 1, got 7"),
    "twice": ('{"id": "a", "score": null}\n{"id": "a", "score": null}', "line 2: there is an answer for 'a' already"),
    "missing": ('{"id": "a", "score": null}', "has no answer for "),
}


@pytest.mark.parametrize("kind", LINES)
def test_recorded_answers_that_cannot_be_are_named(kind: str, runs: Path, tmp_path: Path) -> None:
    text, words = LINES[kind]
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(DataError, match=words):
        fit_cascade(runs / "small", f"file:{tmp_path / 'a.jsonl'}", DATA, out=tmp_path / "cascade")


def test_thresholds_need_a_validation_split_with_labels(runs: Path, tmp_path: Path) -> None:
    corpus = load_corpus(DATA)
    bare = replace(corpus, splits={n: s for n, s in corpus.splits.items() if n != "valid"}, stored_hash="bare")
    with pytest.raises(DataError, match="no validation samples"):
        fit_cascade(runs / "small", f"run:{runs / 'large'}", bare, out=tmp_path / "cascade")
    valid = corpus["valid"]
    unknown = replace(valid, targets={n: np.full_like(y, np.nan) for n, y in valid.targets.items()})
    blind = replace(corpus, splits={**corpus.splits, "valid": unknown}, stored_hash="blind")
    with pytest.raises(DataError, match="no sample of valid has a label"):
        fit_cascade(runs / "small", f"run:{runs / 'large'}", blind, out=tmp_path / "cascade")


def test_a_run_of_one_seed_that_is_equally_sure_of_everything_is_refused(runs: Path, tmp_path: Path) -> None:
    one = shutil.copytree(runs / "large", tmp_path / "one")
    config = json.loads((one / "run.json").read_text())
    (one / "run.json").write_text(json.dumps({**config, "seeds": [1]}))
    with pytest.raises(OptionError, match="equally sure of every validation sample"):
        fit_cascade(one, f"run:{runs / 'large'}", DATA, out=tmp_path / "cascade")


def test_a_run_of_folds_has_nothing_left_to_fit_on(tmp_path: Path) -> None:
    fit("linear", DATA, folds=3, out=tmp_path / "folds", device="cpu")
    with pytest.raises(OptionError, match="train it without --folds"):
        fit_cascade(tmp_path / "folds", "file:x", DATA, out=tmp_path / "cascade")


def test_what_has_changed_or_is_damaged_is_said(runs: Path, tmp_path: Path) -> None:
    home = shutil.copytree(runs, tmp_path / "here")
    place = home / "cascade"
    fit_cascade(home / "small", f"run:{home / 'large'}", DATA, out=place)
    with pytest.raises(OptionError, match="holds something else than a cascade"):
        fit_cascade(home / "small", f"run:{home / 'large'}", DATA, out=home / "small")
    stored = json.loads((place / "cascade.json").read_text())
    for changed, error, words in (
        ({**stored, "data": {**stored["data"], "hash": "other"}}, DataError, "has changed since"),
        ({**stored, "small": {**stored["small"], "digest": "other"}}, RunError, "has been trained anew"),
        ({"small": {}}, RunError, r"cascade.json: small.run is missing; fit the cascade again"),
        ({**stored, "rule": {**stored["rule"], "small": "x"}}, RunError, r"rule.small must be a number, got 'x'"),
    ):
        (place / "cascade.json").write_text(json.dumps(changed))
        with pytest.raises(error, match=words):
            evaluate_cascade(place)


def noisy(rows: int, seed: int) -> Split:
    """A number that is as its first feature says, but for noise wherever the second one is 1."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 2, rows)
    label = rng.uniform(-2, 2, rows)
    seen = label + noise * rng.uniform(-2, 2, rows)
    ids = [f"{seed}-{i}" for i in range(rows)]
    return build_split(NOISY, ids, {"voice": np.stack([seen, noise], 1).astype(np.float32)}, {"y": label})


def test_on_held_out_data_the_error_rises_with_the_uncertainty(tmp_path: Path) -> None:
    corpus = Corpus("noisy", "noisy", NOISY, {"train": noisy(400, 1), "valid": noisy(200, 2), "test": noisy(300, 3)})
    fit("ubm", corpus, options={"width": 16, "lr": 0.02}, epochs=12, batch_size=32, out=tmp_path / "run", device="cpu")
    labels = {i: y for n in ("valid", "test") for i, y in zip(corpus[n].ids, corpus[n].targets["y"], strict=True)}
    lines = [{"id": i, **oracle(i, y)} for i, y in labels.items()]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    fit_cascade(tmp_path / "run", f"file:{tmp_path / 'a.jsonl'}", corpus, out=tmp_path / "cascade")
    account = evaluate_cascade(tmp_path / "cascade", corpus)["splits"]["test"]
    assert account["spearman"] > 0.2
    # An oracle mends all that is wrong.
    assert account["spearman_mended"] == pytest.approx(account["spearman"], abs=1e-3)
    assert account["gain"]["high"] < 0
    errors = [point["error"]["value"] for point in account["curve"]]
    assert errors == sorted(errors, reverse=True)
    # What is left of the error is that of the samples that are kept: of fewer, it is lower.
    kept = [e / (1 - p["share"]) for e, p in zip(errors[:-1], account["curve"][:-1], strict=True)]
    assert kept[10] < 0.9 * kept[0]


def test_two_fits_do_not_write_into_one_cascade(runs: Path, tmp_path: Path) -> None:
    answers, out = recorded(tmp_path / "answers.jsonl", oracle), tmp_path / "cascade"
    out.mkdir()
    with locked(out / ".lock"), pytest.raises(RunError, match=r"another process .*, or choose another --out"):
        fit_cascade(runs / "small", f"file:{answers}", DATA, out=out)
    fit_cascade(runs / "small", f"file:{answers}", DATA, out=out)
    with locked(out / ".lock"), pytest.raises(RunError, match="another process"):
        fit_cascade(runs / "small", f"file:{answers}", DATA, out=out)
