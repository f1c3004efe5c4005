"""A run of folds: what its folder holds, that nobody is judged by a model that saw his group, resuming, calibration."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from polymodal import Corpus, Run, evaluate, fit, load_corpus
from polymodal.cli.main import main
from polymodal.core import DataError, Modality, OptionError, RunError, Schema, Target
from polymodal.data.loader import Loader
from polymodal.data.split import build_split
from polymodal.report import write_report
from polymodal.score.calibration import residual_quantile
from polymodal.train.answers import Answers, averaged
from polymodal.train.calibrate import reliability
from polymodal.train.calibration import FILE, LEVELS
from polymodal.train.infer import infer
from polymodal.train.members import Member
from polymodal.train.predictions import read_table

DATA = "synthetic:talk?n=50"
FAST: dict[str, Any] = {"options": {"width": 4}, "epochs": 2, "batch_size": 16}


@pytest.fixture(scope="module")
def _run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folds") / "run"
    run = fit("late-fusion", DATA, folds=3, seeds=(1, 2), out=folder, **FAST)
    evaluate(run, stress=["missing:rate=0.5"])
    return folder


@pytest.fixture
def run(_run: Path, tmp_path: Path) -> Run:
    """An evaluated run of three folds and two seeds on ``synthetic:talk``; the test's own copy."""
    return Run.load(shutil.copytree(_run, tmp_path / "run"))


def _table(run: Run, split: str = "test", condition: str = "complete") -> dict[str, list[Any]]:
    table = read_table(run.path / "evaluation/predictions.parquet", split=split, condition=condition)
    return dict(table.to_pydict())


def test_a_run_of_folds_has_a_place_and_statistics_for_each(run: Run) -> None:
    assert run.members == [Member(s, f) for s in (1, 2) for f in range(3)]
    found = {p.relative_to(run.path).as_posix() for p in run.path.rglob("*.*") if "evaluation" not in p.parts}
    for fold in range(3):
        for seed in (1, 2):
            place = f"fold-{fold}/seed-{seed}"
            assert {f"{place}/{n}" for n in ("best.safetensors", "result.json", "metrics.jsonl")} <= found
        assert {f"fold-{fold}/normalizer.json", f"fold-{fold}/{FILE}"} <= found
    assert "normalizer.json" not in found
    assert not any(name.startswith("seed-") for name in found)
    dealt = run.dealt(run.corpus())
    for fold in range(3):
        assert run.normalizer_of(fold).to_dict() == dealt.corpus(fold).normalizer.to_dict()
    assert len({json.dumps(run.normalizer_of(fold).to_dict()) for fold in range(3)}) == 3
    with pytest.raises(RunError, match=r"normalizer.json cannot be read"):
        _ = run.normalizer


def test_the_run_records_who_was_in_which_fold(run: Run) -> None:
    about = run.config["folds"]
    assert (about["scheme"], about["count"], about["by"]) == (3, 3, "group")
    corpus = load_corpus(DATA)
    groups = {g for n in ("train", "valid", "test") for g in corpus[n].groups}
    assert sorted(name for names in about["groups"] for name in names) == sorted(groups)
    assert about["notes"] == ["test_ood stays as it is, tested by the models of all folds"]
    assert run.config["command"].endswith("--seeds 1,2 --folds 3")
    assert set(run.results(2)) == {1, 2}


def test_every_sample_is_predicted_once_per_seed_by_the_fold_that_held_it_out(run: Run) -> None:
    corpus = run.corpus()
    dealt, table = run.dealt(corpus), _table(run)
    everyone = sorted(i for n in ("train", "valid", "test") for i in corpus[n].ids)
    home = dict(zip(dealt.pooled.ids, dealt.numbers.tolist(), strict=True))
    for seed in (1, 2):
        rows = [i for i, s in enumerate(table["seed"]) if s == seed]
        assert sorted(table["id"][i] for i in rows) == everyone
        assert all(table["fold"][i] == home[table["id"][i]] for i in rows)
        said = {table["id"][i]: table["sentiment/predicted"][i] for i in rows}
        for fold in range(3):
            own = dealt.corpus(fold)
            loader = Loader(own["test"], corpus.schema, 7, normalizer=own.normalizer)
            columns = infer(run.method(seed, fold), loader.epoch())[0]
            wanted = dict(zip(columns["id"].tolist(), columns["sentiment/predicted"].tolist(), strict=True))
            assert {name: said[name] for name in wanted} == pytest.approx(wanted, abs=1e-5)
    columns = run.predict(corpus, "test", seed=2)
    assert columns["sentiment/predicted"].tolist() == [
        p for p, s in zip(table["sentiment/predicted"], table["seed"], strict=True) if s == 2
    ]


def test_a_fixed_test_split_is_predicted_by_the_mean_over_folds(run: Run) -> None:
    corpus, table = run.corpus(), _table(run, "test_ood")
    assert set(table["fold"]) == {None}
    parts = [infer(run.method(1, f), run.loader(corpus, "test_ood", f).epoch())[0] for f in range(3)]
    mean = np.mean([p["sentiment/predicted"] for p in parts], axis=0)
    said = [p for p, s in zip(table["sentiment/predicted"], table["seed"], strict=True) if s == 1]
    assert said == pytest.approx(mean.tolist(), abs=1e-5)


def test_scores_pool_the_folds_and_say_so(run: Run) -> None:
    scores = json.loads((run.path / "evaluation/scores.json").read_text())
    counts = {(r["split"], r["condition"]): r["count"] for r in scores["rows"] if r["main"]}
    assert counts["test", "complete"] == counts["test", "missing:rate=0.5"] == 50 + 20 + 20
    assert counts["test_ood", "complete"] == 20
    assert "fold that held its group out" in scores["protocol"]["folds"]
    assert scores["data"]["warnings"] == []
    table, main = _table(run), next(r for r in scores["rows"] if r["main"] and r["condition"] == "complete")
    error = np.abs(np.array(table["sentiment/predicted"]) - np.array(table["sentiment/true"]))
    assert main["mean"] == pytest.approx(error.mean(), abs=1e-5)
    stressed = _table(run, condition="missing:rate=0.5")
    assert sorted(set(stressed["fold"])) == [0, 1, 2]


def test_another_corpus_is_predicted_by_all_and_shared_groups_are_told(run: Run) -> None:
    other = load_corpus("synthetic:talk?n=20&seed=5")
    scores = evaluate(run, other, subsets=False)
    assert {r["split"]: r["count"] for r in scores["rows"] if r["main"]} == {"test": 20, "test_ood": 20}
    folder = next(p for p in run.path.glob("evaluation-*"))
    assert set(parquet.read_table(folder / "predictions.parquet")["fold"].to_pylist()) == {None}
    known = load_corpus(DATA)["train"].groups[0]
    leak = other.with_split("test", replace(other["test"], groups=[known] * 20))
    told = evaluate(run, leak, subsets=False)["data"]["warnings"]
    assert any(w.startswith("20 of 20 samples of test have a group that is in the folds") for w in told)


def test_classes_follow_from_mean_probabilities() -> None:
    kind = Target("kind", "classification", classes=("a", "b", "c"))
    tags = Target("tags", "multilabel", classes=("x", "y"))
    parts = [
        {
            "kind/probability": np.array([p], np.float32),
            "kind/predicted": np.array([int(np.argmax(p))]),
            "tags/probability": np.array([q], np.float32),
            "tags/predicted": (np.array([q]) > 0.5).astype(np.float32),
        }
        for p, q in (([0.5, 0.4, 0.1], [0.9, 0.3]), ([0.1, 0.4, 0.5], [0.2, 0.6]))
    ]
    found = averaged((kind, tags), parts)
    assert found["kind/predicted"].tolist() == [1]
    assert found["tags/predicted"].tolist() == [[1.0, 0.0]]
    assert {n: v.dtype for n, v in found.items()} == {n: v.dtype for n, v in parts[0].items()}


def _signed(groups: int = 20, each: int = 6, grouped: bool = True) -> Corpus:
    """Samples that show who they are of, exactly, and labels that a coin decided for everybody: to know the group is to
    know the label, and nothing else tells it."""
    schema = Schema(
        (Modality("face", "vector", groups, normalize=False),),
        (Target("mood", "classification", classes=("sad", "glad")),),
    )
    coin = np.random.default_rng(3).permutation(np.arange(groups) % 2)
    rng, splits = np.random.default_rng(4), {}
    who = rng.permutation(np.repeat(np.arange(groups), each))
    for name, part in zip(("train", "valid", "test"), np.array_split(who, 3), strict=True):
        splits[name] = build_split(
            schema,
            [f"{name}{i}" for i in range(len(part))],
            {"face": [np.eye(groups, dtype=np.float32)[g] for g in part]},
            {"mood": coin[part]},
            [f"g{g}" for g in part] if grouped else [],
        )
    return Corpus("signed", "made", schema, splits)


def test_who_remembers_groups_scores_chance_out_of_fold(tmp_path: Path) -> None:
    """The same method, the same samples: with the groups unknown it seems to know everything."""
    reached = {}
    for grouped in (True, False):
        corpus = _signed(grouped=grouped)
        run = fit("linear", corpus, folds=5, out=tmp_path / f"{grouped}")
        scores = evaluate(run, corpus, subsets=False)
        reached[grouped] = next(r["mean"] for r in scores["rows"] if r["metric"] == "accuracy")
        dealt = run.dealt(corpus)
        seen = infer(run.method(fold=0), run.loader(dealt.corpus(0), "train", 0).epoch())[0]
        assert (seen["mood/predicted"] == seen["mood/true"]).mean() > 0.95  # it does remember
    assert reached[True] <= 0.5
    assert reached[False] > 0.95


def _weights(folder: Path) -> dict[str, bytes]:
    kept = ("best.safetensors", "last.safetensors", "run.json", "normalizer.json", FILE)
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.name in kept}
    config = json.loads(found.pop("run.json"))
    return found | {"run.json": json.dumps({**config, "created": ""}).encode()}


def test_a_run_that_was_stopped_in_three_folds_ends_where_an_uninterrupted_one_ends(
    tmp_path: Path,
    stop_after: Callable[[Sequence[int], Callable[[bool], object]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings: dict[str, Any] = {"folds": 3, "checkpoint_seconds": 0, **FAST}
    data = "synthetic:xor?n=110"
    whole = fit("late-fusion", data, out=tmp_path / "whole", **settings)

    def start(resume: bool) -> Run:
        return fit("late-fusion", data, out=tmp_path / "stopped", resume=resume, **settings)

    stop_after((2, 16, 18), start)  # eight of a training: within an epoch, behind the last one, within the first
    with pytest.raises(RunError, match=r"has no finished seed; continue with: .*--folds 3"):
        _ = Run.load(tmp_path / "stopped").seeds
    capsys.readouterr()
    stopped = start(resume=True)
    said = capsys.readouterr().err
    assert "fold 1 seed 1111 is done already" in said
    assert "fold 2 seed 1111  epoch 2/2" in said
    assert _weights(stopped.path) == _weights(whole.path)
    times = {p: p.stat().st_mtime_ns for p in stopped.path.rglob("seed-*/*.safetensors")}
    start(resume=True)
    assert capsys.readouterr().err.count("is done already") == 3
    assert {p: p.stat().st_mtime_ns for p in stopped.path.rglob("seed-*/*.safetensors")} == times


def test_a_damaged_run_of_folds_is_one_sentence(run: Run) -> None:
    (run.path / "run.json").write_text(json.dumps(run.config | {"folds": {"scheme": 3}}))
    with pytest.raises(RunError, match=r"run.json: folds.count is missing; train the run again"):
        Run.load(run.path)


def test_a_seed_counts_when_all_its_folds_are_done(run: Run) -> None:
    (run.path / "fold-1/seed-2/result.json").unlink()
    assert run.seeds == [1]
    assert run.members == [Member(1, f) for f in range(3)]
    assert run.calibration is None  # it was measured for the mean of two seeds


@pytest.mark.parametrize("folds", [None, 4])
def test_other_folds_are_not_resumed(run: Run, folds: int | None) -> None:
    wanted = "no folds" if folds is None else "--folds 4"
    with pytest.raises(RunError, match=rf"was trained with --folds 3, not {wanted}; choose another --out"):
        fit("late-fusion", DATA, folds=folds, seeds=(1, 2), out=run.path, resume=True, **FAST)


def test_other_groups_of_the_same_samples_are_not_resumed(run: Run) -> None:
    corpus = load_corpus(DATA)
    moved = replace(corpus["test"], groups=list(reversed(corpus["test"].groups)))
    with pytest.raises(RunError, match=r"was trained with other groups in its folds"):
        fit("late-fusion", corpus.with_split("test", moved), folds=3, seeds=(1, 2), out=run.path, resume=True, **FAST)


def test_a_run_without_folds_knows_nothing_of_them(tmp_path: Path) -> None:
    run = fit("late-fusion", DATA, out=tmp_path / "run", **FAST)
    assert "folds" not in run.config
    assert "--folds" not in run.config["command"]
    files = {p.relative_to(run.path).as_posix() for p in run.path.rglob("*") if p.is_file() and "events" not in p.name}
    seed = {f"seed-1111/{n}" for n in ("best.safetensors", "last.safetensors", "metrics.jsonl", "result.json")}
    assert files == {".lock", "run.json", "normalizer.json", "novelty.safetensors", FILE} | seed
    scores = evaluate(run, subsets=False)
    assert "folds" not in scores["protocol"]
    assert "fold" not in parquet.read_table(run.path / "evaluation/predictions.parquet").column_names


def test_a_corpus_of_one_split_can_be_crossed(tmp_path: Path) -> None:
    corpus = load_corpus(DATA)
    corpus = replace(corpus, splits={"train": corpus["train"]})
    with pytest.raises(DataError, match="has no valid split"):
        fit("linear", corpus, out=tmp_path / "run")
    run = fit("linear", corpus, folds="leave-one-group-out", out=tmp_path / "run")
    assert len(run.members) == len(set(corpus["train"].groups)) == 10
    scores = evaluate(run, corpus, subsets=False)
    assert {r["count"] for r in scores["rows"] if r["main"]} == {50}


def _half_width(run: Run, fold: int | None, level: float = 0.9) -> float:
    known = run.calibration if fold is None else run.calibration_of(fold)
    assert known is not None
    width = known.half_width("sentiment", run.schema.names, level)
    assert width is not None
    return width


@pytest.mark.parametrize("scheme", [3, "leave-one-group-out"])
def test_calibration_pools_what_each_fold_says_of_its_validation_part(tmp_path: Path, scheme: Any) -> None:
    run = fit("linear", DATA, folds=scheme, out=tmp_path / "run")
    dealt, said, true = run.dealt(run.corpus()), {}, {}
    for fold in run.folds:
        assert fold is not None
        own = dealt.corpus(fold)
        columns = infer(run.method(fold=fold), run.loader(own, "valid", fold).epoch())[0]
        residuals = columns["sentiment/true"] - columns["sentiment/predicted"].astype(float)
        found = run.calibration_of(fold)
        for level in LEVELS if found else ():
            wanted = residual_quantile(residuals, level)
            assert found is not None
            assert found.half_width("sentiment", run.schema.names, level) == pytest.approx(wanted)
        rows = zip(columns["id"].tolist(), columns["sentiment/predicted"], columns["sentiment/true"], strict=True)
        for name, value, label in rows:
            said.setdefault(name, []).append(float(value))
            true[name] = label
    assert len(said) == 90
    residuals = np.array([true[n] - np.mean(said[n]) for n in said])
    for level in LEVELS:
        assert _half_width(run, None, level) == pytest.approx(residual_quantile(residuals, level))


def test_out_of_fold_a_sample_is_held_against_the_calibration_of_its_own_fold(run: Run) -> None:
    answers = Answers(run, run.corpus())
    columns = [answers.of(seed, "test") for seed in (1, 2)]
    (row,) = reliability(run, answers.corpus["test"], columns)
    widths = np.array([_half_width(run, fold) for fold in columns[0]["fold"].tolist()])
    mean = np.mean([c["sentiment/predicted"].astype(float) for c in columns], axis=0)
    assert row["count"] == 90
    assert row["width"] == pytest.approx(2 * widths.mean())
    assert row["coverage"] == pytest.approx((np.abs(columns[0]["sentiment/true"] - mean) <= widths).mean())
    fixed = [answers.of(seed, "test_ood") for seed in (1, 2)]
    (row,) = reliability(run, answers.corpus["test_ood"], fixed)
    assert row["width"] == pytest.approx(2 * _half_width(run, None))


@pytest.mark.slow
def test_intervals_hold_the_promised_share_of_labels_out_of_fold_and_of_new_ones(tmp_path: Path) -> None:
    """500 samples are looked at either way: coverage varies by 1.5 points (one standard deviation)."""
    corpus = load_corpus("synthetic:talk?n=500")
    corpus = replace(corpus, splits={"train": corpus["train"]}, stored_hash=None)
    run = fit("linear", corpus, folds=5, out=tmp_path / "run")
    (row,) = evaluate(run, corpus, subsets=False)["calibration"]
    assert row["count"] == 500
    assert row["coverage"] == pytest.approx(0.9, abs=0.05)
    new = load_corpus("synthetic:talk?n=500&seed=7")
    new = replace(new, splits={"test": new["train"]}, stored_hash=None)
    (row,) = evaluate(run, new, subsets=False)["calibration"]
    assert row["coverage"] == pytest.approx(0.9, abs=0.05)


def test_the_report_shows_a_training_per_fold_and_seed(run: Run) -> None:
    page = write_report(run.path).read_text()
    assert "6 trainings (per fold and seed)" in page
    assert "fold 2 seed 1" in page
    assert "3 by groups" in page


def test_the_commands_take_folds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(tmp_path / "run")
    assert main(["fit", "linear", "--data", DATA, "--folds", "3", "--out", place, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["results"]) == {"0", "1", "2"}
    assert told["folds"]["count"] == 3
    assert main(["evaluate", place]) == 0
    assert main(["audit", place, "--with", "importance"]) == 0
    assert "90" in capsys.readouterr().out
    assert main(["fit", "linear", "--data", DATA, "--folds", "2"]) == 2
    assert "--folds must be a whole number, 3 or more" in capsys.readouterr().err
    assert main(["fit", "linear", "--data", DATA, "--folds", "60", "--out", f"{place}-2"]) == 1
    assert "has 18 groups for 60 folds" in capsys.readouterr().err
    assert not Path(f"{place}-2").exists()


def test_folds_that_are_none_are_refused_from_python(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="folds must be a whole number, 3 or more"):
        fit("linear", DATA, folds=0, out=tmp_path / "run")
