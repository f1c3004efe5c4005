"""An evaluation of a corpus whose raters are planted: figures of people beside those of the run, and soft labels."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from polymodal import evaluate, fit
from polymodal.cli.evaluate import print_scores
from polymodal.core import Modality, Schema, Target
from polymodal.data.corpus import Corpus
from polymodal.data.split import Split, build_split
from polymodal.report.page import write_report
from polymodal.stress import COMPLETE

NOISE, RATERS = 0.6, 4
SCHEMA = Schema(
    (Modality("face", "vector", 3), Modality("voice", "vector", 3)),
    (Target("valence", "regression", (-9.0, 9.0)), Target("mood", "classification", classes=("sad", "glad"))),
)


def _split(prefix: str, rows: int, raters: int = RATERS) -> Split:
    rng = np.random.default_rng(rows)
    truth = rng.standard_normal((rows, 1))
    heard = truth + NOISE * rng.standard_normal((rows, raters))
    names = [f"rater {i}" for i in range(raters)]
    said = {"valence": dict(zip(names, heard.T, strict=True)), "mood": dict(zip(names, (heard > 0).T, strict=True))}
    columns = {n: truth * [1, 0.5, 0] + 0.3 * rng.standard_normal((rows, 3)) for n in SCHEMA.names}
    groups = [f"{prefix}{i % 20}" for i in range(rows)]
    return build_split(SCHEMA, [f"{prefix}-{i}" for i in range(rows)], columns, {}, groups, ratings=said)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    splits = {"train": _split("a", 300), "valid": _split("b", 100), "test": _split("c", 1000)}
    folder = tmp_path_factory.mktemp("rated") / "run"
    trained = fit("late-fusion", Corpus("rated", "made:here", SCHEMA, splits), epochs=2, seeds=(1, 2), out=folder)
    evaluate(trained, Corpus("rated", "made:here", SCHEMA, splits))
    return folder


def _scores(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "evaluation" / "scores.json").read_text()))


def test_one_rater_lies_where_the_closed_form_says(run: Path) -> None:
    rows = {(r["target"], r["what"], r["metric"]): r for r in _scores(run)["agreement"]}
    mae, corr = (rows["valence", "one rater", m] for m in ("mae", "corr"))
    own, others = NOISE**2, NOISE**2 / (RATERS - 1)
    assert mae["mean"] == pytest.approx(math.sqrt(2 / math.pi * (own + others)), rel=0.03)
    assert mae["low"] < math.sqrt(2 / math.pi * (own + others)) < mae["high"]
    assert corr["mean"] == pytest.approx(1 / math.sqrt((1 + own) * (1 + others)), abs=0.02)
    icc = rows["valence", "agreement", "icc_single"]
    assert icc["low"] < 1 / (1 + own) < icc["high"]
    assert (mae["split"], mae["main"], mae["raters"], mae["count"], mae["groups"]) == ("test", True, RATERS, 4000, 20)


def test_soft_labels_are_scored_with_the_predictions_that_were_saved(run: Path) -> None:
    rows = {r["metric"]: r for r in _scores(run)["agreement"] if r["what"] == "soft labels"}
    assert set(rows) == {"cross_entropy", "entropy"}
    complete = [("condition", "==", COMPLETE)]
    table = parquet.read_table(run / "evaluation" / "predictions.parquet", filters=complete).to_pandas()
    test = _split("c", 1000)
    glad = np.mean(list(test.ratings["mood"].values()), axis=0)
    shares = dict(zip(test.ids, np.stack([1 - glad, glad], axis=1), strict=True))
    for place, seed in enumerate((1, 2)):
        part = table[table["seed"] == seed]
        said = np.stack(part["mood/probability"].to_list())
        found = -sum(s @ np.log(p) for s, p in zip(map(shares.get, part["id"]), said, strict=True)) / 1000
        assert rows["cross_entropy"]["seeds"][place] == pytest.approx(found, rel=1e-5)
    assert rows["entropy"]["mean"] < rows["cross_entropy"]["mean"]


def test_one_rater_is_printed_below_the_subsets(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = _scores(run)
    print_scores(scores)
    mae = next(r for r in scores["agreement"] if r["main"] and r["target"] == "valence")
    last = next(line.split() for line in capsys.readouterr().out.splitlines() if "one rater" in line)
    assert last[:8] == ["test", "one", "rater,", "not", "the", "method", f"{mae['mean']:.3f}", f"{mae['std']:.3f}"]


def test_the_report_shows_people_beside_the_run(run: Path) -> None:
    page = write_report(run).read_text()
    assert "<h2>Raters</h2>" in page
    assert "Dashed: one rater against the others, MAE" in page
    assert "valence: ICC(2,1), one rating" in page
    assert "mood: Cross entropy" in page


def test_where_there_are_no_ratings_nothing_is_said(trained: Path) -> None:
    assert _scores(trained)["agreement"] == []
    page = write_report(trained).read_text()
    assert "Raters" not in page
    assert "one rater" not in page
