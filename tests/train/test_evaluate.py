"""Evaluation: every split, subset and seed, and the figures follow from the predictions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from polymodal import evaluate, fit, load_corpus
from polymodal.core import DataError, OptionError, RunError
from polymodal.report import write_report
from polymodal.train.evaluate import evaluation_name


def test_every_subset_of_modalities_is_scored_on_every_test_split(tmp_path: Path) -> None:
    run = fit("linear", "synthetic:talk?n=20", out=tmp_path / "run")
    scores = evaluate(run)
    seen = {(row["split"], row["condition"]) for row in scores["rows"]}
    assert {split for split, _ in seen} == {"test", "test_ood"}
    assert len(seen) == 2 * (2**3 - 1)
    assert {kept for split, kept in seen if split == "test"} >= {"complete", "subset:text", "subset:audio,vision"}
    only = evaluate(run, subsets=False)
    assert {row["condition"] for row in only["rows"]} == {"complete"}


def test_scores_on_disk_are_those_returned(trained: Path) -> None:
    scores = evaluate(trained)
    assert json.loads((trained / "evaluation/scores.json").read_text()) == scores
    assert scores["seeds"] == [1, 2]
    assert scores["data"]["hash"] == load_corpus("synthetic:xor?n=24").hash
    assert "none below 10 groups" in scores["protocol"]["interval"]


def test_figures_follow_from_the_stored_predictions(trained: Path) -> None:
    table = parquet.read_table(trained / "evaluation/predictions.parquet").to_pandas()
    assert set(table["condition"]) == {"complete", "subset:audio", "subset:vision"}
    assert len(table) == 3 * 2 * 20
    scores = json.loads((trained / "evaluation/scores.json").read_text())
    for row in scores["rows"]:
        assert row["count"] == 20 or not row["main"]  # the recall of a class counts its samples only
        assert row["mean"] == pytest.approx(np.mean(row["seeds"]))
        assert row["std"] == pytest.approx(np.std(row["seeds"]))
        if row["metric"] == "accuracy":
            part = table[table["condition"] == row["condition"]]
            right = part["agreement/true"] == part["agreement/predicted"]
            assert row["seeds"] == pytest.approx([right[part["seed"] == s].mean() for s in (1, 2)])
    assert sum(row["main"] for row in scores["rows"]) == 3


def test_stored_probabilities_agree_with_the_predicted_class(trained: Path) -> None:
    table = parquet.read_table(trained / "evaluation/predictions.parquet").to_pandas()
    shares = np.stack(table["agreement/probability"].to_list())
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
    assert (shares.argmax(1) == table["agreement/predicted"]).all()


def test_representations_belong_to_ids(trained: Path) -> None:
    with np.load(trained / "evaluation/representations.npz") as stored:
        assert stored["fused"].shape == (20, 4)
        assert sorted(stored["id"].tolist()) == sorted(load_corpus("synthetic:xor?n=24")["test"].ids)


def test_stress_has_its_own_rows_predictions_and_areas(tmp_path: Path) -> None:
    run = fit("linear", "synthetic:talk?n=20", out=tmp_path / "run")
    plain = evaluate(run)
    scores = evaluate(run, stress=["missing:rate=0.3/0.6", "noise:audio,snr=0"])
    assert [r for r in scores["rows"] if r["condition"] == "complete" or "subset:" in r["condition"]] == plain["rows"]
    found = [r for r in scores["rows"] if r["metric"] == "mae" and r["split"] == "test"]
    mae, complete = found[7:], found[0]["mean"]
    names = ["missing:rate=0.3", "missing:rate=0.6", "noise:audio,snr=0", "area"]
    assert [r["condition"] for r in mae] == names
    assert [r["series"] for r in mae] == ["missing:rate", "missing:rate", "", "missing:rate"]
    assert [r["value"] for r in mae] == [0.3, 0.6, None, None]
    low, high = mae[0]["mean"], mae[1]["mean"]
    assert mae[3]["mean"] == pytest.approx(((complete + low) / 2 * 0.3 + (low + high) / 2 * 0.3) / 0.6)
    table = parquet.read_table(run.path / "evaluation/predictions.parquet").to_pandas()
    assert set(names[:3]) < set(table["condition"])
    part = table[(table["condition"] == names[1]) & (table["split"] == "test")]
    assert (part["sentiment/true"] - part["sentiment/predicted"]).abs().mean() == pytest.approx(high, abs=1e-6)
    (costs,) = (c for c in scores["robustness"] if c["split"] == "test")
    assert [d["condition"] for d in costs["drops"]][-3:] == names[:3]
    assert costs["drops"][-2]["drop"]["mean"] == pytest.approx(high - complete)
    assert evaluate(run, subsets=False)["robustness"] == []


def test_masks_at_test_do_not_depend_on_the_batch_size(tmp_path: Path) -> None:
    stress = ["missing:rate=0.5", "swap:p=0.5"]
    runs = [fit("linear", "synthetic:talk?n=20", batch_size=b, out=tmp_path / str(b)) for b in (4, 16)]
    one, two = ([r["mean"] for r in evaluate(run, stress=stress)["rows"]] for run in runs)
    assert one == pytest.approx(two, abs=1e-5)


def test_an_unknown_stress_is_an_error_before_any_work(trained: Path) -> None:
    with pytest.raises(OptionError, match="no stress 'misssing'; did you mean 'missing"):
        evaluate(trained, stress=["misssing:rate=0.3"])


def test_a_protocol_says_what_is_tested(trained: Path) -> None:
    scores = evaluate(trained, protocol="cyin")
    assert scores["protocol"]["name"] == "cyin"
    assert "CyIN" in scores["protocol"]["says"]
    assert {r["series"] for r in scores["rows"]} == {"", "missing:rate", "instance:p"}
    assert {r["condition"] for r in scores["rows"] if not r["series"]} == {"complete", "subset:audio", "subset:vision"}
    assert (scores["prior"], scores["data"]["warnings"]) == ("none", [])
    only = evaluate(trained, protocol="complete")
    assert {r["condition"] for r in only["rows"]} == {"complete"}
    assert "name" not in evaluate(trained)["protocol"]


@pytest.mark.parametrize("more", [{"stress": ["missing-one"]}, {"subsets": False}])
def test_a_protocol_leaves_no_choice(trained: Path, more: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="protocol missmac says itself which subsets"):
        evaluate(trained, protocol="missmac", **more)
    with pytest.raises(OptionError, match="no protocol 'mismac'; did you mean 'missmac'"):
        evaluate(trained, protocol="mismac", **more)


def test_who_was_told_of_absence_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = "synthetic:xor?n=24"
    told = fit("linear", source, train_stress="missing:rate=0.3", out=tmp_path / "told")
    scores = evaluate(told, protocol="missmac")
    (warning,) = scores["data"]["warnings"]
    assert scores["prior"] == "told"
    assert warning.endswith("this one was told of absence (missing:rate=0.3)")
    assert f"warning: {warning}" in capsys.readouterr().err
    assert f"<dd>M{warning[1:]}.</dd>" in write_report(told.path).read_text()
    assert evaluate(told, protocol="complete")["data"]["warnings"] == []
    assert evaluate(told, subsets=False)["data"]["warnings"] == []


def test_what_a_method_drops_is_its_own(tmp_path: Path) -> None:
    found = {}
    for base in ("late-fusion", "umq"):
        run = fit("agm", "synthetic:xor?n=24", options={"base": base}, epochs=1, batch_size=8, out=tmp_path / base)
        scores = evaluate(run, protocol="missmac")
        found[base] = (scores["prior"], scores["data"]["warnings"])
    assert found == {"late-fusion": ("none", []), "umq": ("own", [])}


def test_an_absent_modality_cannot_change_what_is_predicted(trained: Path) -> None:
    from dataclasses import replace

    from polymodal import Run
    from polymodal.data.ragged import Ragged
    from polymodal.train.infer import infer

    run = Run.load(trained)
    corpus = run.corpus()
    test = corpus["test"]
    column = test.columns["audio"]
    assert isinstance(column, Ragged)
    louder = Ragged([(values * 100, offsets) for values, offsets in column.chunks])
    changed = replace(test, columns={**test.columns, "audio": louder})
    one, two = (infer(run.method(), run.loader(corpus, s).epoch(), absent=["audio"])[0] for s in (test, changed))
    assert np.array_equal(one["agreement/probability"], two["agreement/probability"])


def test_other_data_are_evaluated_into_their_own_folder(trained: Path) -> None:
    from polymodal import Run

    before = (trained / "evaluation/scores.json").read_bytes()
    other = load_corpus("synthetic:xor?n=24&seed=9")
    scores = evaluate(trained, other)
    folder = trained / evaluation_name(Run.load(trained), other)
    assert folder.name == f"evaluation-xor-{other.hash[:8]}"
    assert json.loads((folder / "scores.json").read_text())["data"]["hash"] == other.hash == scores["data"]["hash"]
    assert (trained / "evaluation/scores.json").read_bytes() == before


def test_a_corpus_without_a_test_split_is_refused(trained: Path) -> None:
    from dataclasses import replace

    corpus = load_corpus("synthetic:xor?n=24")
    without = replace(corpus, splits={n: corpus[n] for n in ("train", "valid")})
    with pytest.raises(DataError, match="has no test split, only train, valid"):
        evaluate(trained, without)


def test_results_that_cannot_be_written_are_one_sentence(trained: Path) -> None:
    for file in (trained / "evaluation").iterdir():
        file.unlink()
    (trained / "evaluation").rmdir()
    (trained / "evaluation").write_text("in the way")
    with pytest.raises(RunError, match=r"cannot write .*evaluation"):
        evaluate(trained)


def test_groups_and_texts_that_training_saw_are_told_by_fit_and_evaluate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = load_corpus("synthetic:talk?n=30")
    leak = clean.with_split("test", replace(clean["test"], groups=[clean["train"].groups[0]] * len(clean["test"])))
    texts = [clean["train"].columns["text"][0]] * len(clean["test"])
    leak = leak.with_split("test", replace(leak["test"], columns={**leak["test"].columns, "text": texts}))
    run = fit("linear", leak, out=tmp_path / "leak")
    said = capsys.readouterr().err
    wanted = [
        "1 of 1 groups (videos, speakers) of test are also in train: scores on test may be too good",
        f"{len(texts)} of {len(texts)} samples of test have a text that is also in train",
    ]
    assert run.config["data"]["warnings"] == wanted
    assert said.count(f"warning: {'; '.join(wanted)}") == 1
    scores = evaluate(run, leak, subsets=False)
    assert scores["data"]["warnings"] == wanted
    assert f"warning: {'; '.join(wanted)}" in capsys.readouterr().err
    assert evaluate(run, clean, subsets=False)["data"]["warnings"] == []
    assert fit("linear", clean, out=tmp_path / "clean").config["data"]["warnings"] == []
    assert "warning" not in capsys.readouterr().err
