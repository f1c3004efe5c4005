"""A run on frames, from training to a prediction of rows that strangers send."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymodal import Run, evaluate, fit
from polymodal.core import DataError, Modality
from polymodal.data.ragged import Ragged
from polymodal.data.sources import load_corpus
from polymodal.data.split import build_split
from polymodal.data.store import write_store
from polymodal.predict.predictor import Predictor


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fit("linear", "synthetic:faces?n=300", out=tmp_path_factory.mktemp("runs") / "faces")


def clip(number: int) -> Any:
    column = load_corpus("synthetic:faces?n=300")["test"].columns["vision"]
    assert isinstance(column, Ragged)
    return column[number]


def said(run: Run, row: dict[str, Any]) -> float:
    value = Predictor(run).predict_features([row]).moments[0].estimates["valence"].value
    assert value is not None
    return value


def test_a_row_of_frames_is_judged_as_its_sample_is(run: Run) -> None:
    columns = run.predict(run.corpus())
    row = list(columns["id"]).index("test-00003")
    heard = run.corpus()["test"].columns["audio"][3]
    assert said(run, {"vision": clip(3), "audio": heard}) == pytest.approx(columns["valence/predicted"][row], abs=1e-4)


def test_frames_from_json_are_frames(run: Run) -> None:
    assert said(run, {"vision": clip(3).tolist()}) == said(run, {"vision": clip(3)})
    assert said(run, {"vision": []}) == said(run, {})


@pytest.mark.parametrize(
    ("vision", "message"),
    [
        ("face.png", "row 0: vision is text, the run wants frames of 3 x 16 x 16"),
        (["face.png"], "row 0: vision is no array of real numbers; give frames of 3 x 16 x 16"),
        (np.full((2, 3, 16, 16), 256), r"'row 0': vision has type float32, expected uint8"),
        (np.full((2, 3, 16, 16), 0.5), r"'row 0': vision has type float32.*255 \* array"),
        (np.zeros((2, 16, 16, 3), np.uint8), r"'row 0': vision .*channels come first"),
    ],
)
def test_what_are_no_frames_is_refused_and_no_file_is_opened(run: Run, vision: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Predictor(run).predict_features([{"vision": vision}])


def test_a_store_predicts_the_same_and_other_frames_are_refused(run: Run, tmp_path: Path) -> None:
    corpus = load_corpus("synthetic:faces?n=300")
    stored = run.corpus(str(write_store(corpus, tmp_path / "store")))
    assert np.array_equal(run.predict(stored)["valence/predicted"], run.predict(run.corpus())["valence/predicted"])
    schema = corpus.schema.with_modality(Modality("vision", "frames", shape=(3, 8, 16)))
    test = corpus["test"]
    columns = {"audio": [None] * 3, "vision": [np.zeros((1, 3, 8, 16), np.uint8)] * 3}
    part = build_split(schema, test.ids[:3], columns, {"valence": test.targets["valence"][:3]})
    with pytest.raises(DataError, match=r"vision is frames of 3 x 8 x 16, the run .* was trained on frames of 3 x 16"):
        run.corpus(replace(corpus, schema=schema, splits={"test": part}))


def test_a_run_is_tested_behind_a_rectangle(run: Run) -> None:
    scores = evaluate(run.path, subsets=False, stress=["occlude:vision,share=0/1.0"])
    whole = next(row["mean"] for row in scores["rows"] if row["metric"] == "mae")
    found = {row["value"]: row["mean"] for row in scores["rows"] if row["metric"] == "mae"}
    assert found[0.0] == whole
    assert abs(found[1.0] - whole) > 0.01
