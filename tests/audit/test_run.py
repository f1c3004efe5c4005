"""Audits of a run: what is written, read again and shown, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest
from markupsafe import escape

import polymodal
from planted_people import people
from polymodal import fit
from polymodal.audit import audit_names
from polymodal.audit._worded import worded
from polymodal.audit.panels import judge_of, panel_of
from polymodal.audit.run import audit_run, read_audits
from polymodal.cli.main import main
from polymodal.core import DataError, OptionError, RunError
from polymodal.data.encode import Encoder
from polymodal.data.sources import load_corpus
from polymodal.data.store import write_store
from polymodal.report import write_report
from polymodal.train.answers import Answers, ensemble

NEEDY = ("bias", "fairness", "insertion")
"""They ask for classes, for columns about samples, for text."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audits") / "run"
    polymodal.fit("late-fusion", "synthetic:vectors?n=40", epochs=1, seeds=[1], options={"width": 8}, out=folder)
    return folder


def test_every_audit_is_written_read_again_and_part_of_the_report(run: Path) -> None:
    found = audit_run(run, [name for name in audit_names() if name not in NEEDY])
    stored = read_audits(run)
    assert [about["evidence"] for about in stored] == [found[name].evidence for name in sorted(found)]
    page = write_report(run).read_text()
    for name, findings in found.items():
        if findings.refused:
            assert f"Not asked: {escape(findings.refused)}" in page
            continue
        assert findings.title in page
        assert all(str(escape(sentence)) in page for sentence in (findings.asked, *findings.found, *findings.limits))
        table = pq.read_table(run / "audit" / f"{name}.parquet")
        assert table.column("id").to_pylist() == findings.samples["id"]


def test_the_command_prints_json_without_the_samples(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(run), "--with", "importance", "--split", "valid", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(printed) == ["importance"]
    assert "samples" not in printed["importance"]
    (stored,) = (about for about in read_audits(run) if about["title"] == "Importance of modalities")
    assert stored["place"].endswith("split valid")


def test_mistakes_are_one_sentence(run: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no audit 'shaply'; did you mean 'shapley'"):
        audit_run(run, ["shaply"])
    with pytest.raises(OptionError, match="at least one audit"):
        audit_run(run, [])
    with pytest.raises(OptionError, match="only fairness compares by columns"):
        audit_run(run, ["shapley"], by=["sex"])
    with pytest.raises(RunError, match="not a run"):
        audit_run(tmp_path, ["shapley"])
    with pytest.raises(DataError, match="no split 'tets'; did you mean 'test'"):
        audit_run(run, ["shapley"], split="tets")


def test_fairness_compares_by_columns_of_the_corpus_or_of_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = write_store(people(rows=60), tmp_path / "store")
    folder = tmp_path / "run"
    fit("linear", f"{store}", seeds=(1, 2), out=folder)
    assert main(["audit", str(folder), "--with", "fairness", "--by", "sex,coin", "--json"]) == 0
    parts = {line["part"] for line in json.loads(capsys.readouterr().out)["fairness"]["evidence"]}
    assert {"sex: error", "coin: told by a probe"} <= parts
    kept = pq.read_table(folder / "audit" / "fairness.parquet")
    assert set(kept.column("sex").to_pylist()) == {"f", "m"}
    with pytest.raises(OptionError, match=r"--by COLUMN \(available: coin, sex\)"):
        audit_run(folder, ["fairness"])
    table = tmp_path / "sites.csv"
    table.write_text("id,site\n" + "".join(f"test-{i},{'ab'[i % 2]}\n" for i in range(30)))
    found = audit_run(folder, ["fairness"], f"{store}?about={table}", by=["site"])["fairness"]
    assert "site a: error" in [line.what for line in found.evidence]


def letters() -> Encoder:
    """An encoder of text: one step per word, how long it is and whether it ends in s."""

    def encode(rows: list[str]) -> list[np.ndarray]:
        return [np.array([[len(w), w.endswith("s")] for w in row.split()], np.float32) for row in rows]

    return Encoder("letters", 2, encode)


def test_a_run_that_reads_states_of_a_frozen_encoder_is_asked_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("encoder_of_letters")
    module.letters = letters  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "encoder_of_letters", module)
    run = fit("linear", "synthetic:talk?n=40", encode={"text": "encoder_of_letters:letters"}, out=tmp_path / "run")
    corpus = run.corpus()
    loader = run.loader(corpus, "test")
    judge, batches = worded(
        panel_of(run), loader.epoch, load_corpus("synthetic:talk?n=40"), run.config["data"]["encode"]
    )
    for plain, asked in zip(loader.epoch(), batches(), strict=True):
        wanted = panel_of(run)(plain)["sentiment"].tolist()
        assert judge(asked)["sentiment"].tolist() == pytest.approx(wanted, abs=1e-5)
        assert judge(asked.without("text"))["sentiment"].tolist() == pytest.approx(
            panel_of(run)(plain.without("text"))["sentiment"].tolist(), abs=1e-5
        )
    assert {line.what for line in audit_run(run, ["insertion"])["insertion"].evidence} >= {"drop, shown words"}


def test_a_damaged_audit_says_how_to_repeat_it(tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "shapley.json").write_text("{}")
    with pytest.raises(RunError, match=r"is damaged .*polymodal audit"):
        read_audits(tmp_path)


def test_a_run_of_folds_is_asked_about_each_sample_by_who_never_saw_its_group(tmp_path: Path) -> None:
    run = fit("linear", "synthetic:talk?n=40", folds=3, seeds=(1, 2), out=tmp_path / "run")
    corpus = run.corpus()
    judge, whole = judge_of(run, corpus, "test")
    columns = [Answers(run, corpus).of(seed, "test") for seed in (1, 2)]
    wanted = ensemble(run.schema.joint_targets, columns)
    said: dict[str, float] = {}
    for batch in run.loader(whole, "test").epoch():  # samples of several folds in each
        said |= dict(zip(batch.ids, judge(batch)["sentiment"].tolist(), strict=True))
    assert said == pytest.approx(dict(zip(wanted["id"].tolist(), wanted["sentiment/predicted"], strict=True)), abs=1e-5)
    found = audit_run(run, ["importance", "shapley"])
    assert {line.count for line in found["shapley"].evidence} == {80}
    assert {line.groups for line in found["shapley"].evidence} == {16}
    other = audit_run(run, ["shapley"], split="test_ood")["shapley"]
    assert {line.count for line in other.evidence} == {20}
