"""The page is whole, safe, says what the numbers say, and does without what is missing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymodal.core import RunError
from polymodal.report import write_report
from polymodal.report.rows import score_rows
from polymodal.report.verdict import against_floor, over_targets, verdict
from polymodal.train.compare import PairedTest

VOID = {"meta", "img", "br", "link", "hr", "input"}
MakeRun = Callable[..., Path]


class Page(HTMLParser):
    """Text, images and headings of a page; fails on a tag that is not closed."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.headings: list[str] = []
        self.tags: list[str] = []
        self.source = file.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert not self.open
        body = re.sub(r"<style.*?</style>", "", self.source, flags=re.S)
        self.text = " ".join(re.sub(r"<[^>]*>", " ", body).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


@pytest.fixture(scope="module", params=["regression", "classification", "multilabel", "several"])
def reported(request: pytest.FixtureRequest, make_run: MakeRun) -> tuple[str, Path]:
    run = make_run(request.param)
    write_report(run)
    return request.param, run


@pytest.fixture(scope="module")
def regression(make_run: MakeRun) -> tuple[Path, str]:
    """A reported run and the text of its page."""
    run = make_run()
    return run, Page(write_report(run)).text


def test_every_task_gets_a_whole_self_contained_page(reported: tuple[str, Path]) -> None:
    kind, run = reported
    page = Page(run / "report.html")
    assert not re.search(r"https?://", page.source)
    assert not {"script", "link", "iframe"} & set(page.tags)
    wanted = ["What each modality is worth", "Scores", "Training", "Predictions", "Fused representation"]
    wanted[2:2] = ["Targets"] if kind == "several" else []
    assert page.headings[1:] == [*wanted, "Configuration", "How to reproduce", "What these figures mean"]
    assert page.tags.count("caption") == page.tags.count("table")
    assert len(page.images) == (5 if kind == "several" else 4)
    for image in page.images:
        assert len(image["alt"] or "") > 40
        assert (image["src"] or "").startswith("data:image/svg+xml;base64,")


def test_figures_are_also_files_and_not_blank(reported: tuple[str, Path]) -> None:
    from matplotlib.image import imread

    kind, run = reported
    names = {"subsets", "losses", "predictions", "projection"} | ({"targets"} if kind == "several" else set())
    assert {f.stem for f in (run / "figures").iterdir()} == names
    for file in (run / "figures").iterdir():
        pixels = imread(file)
        assert pixels[..., 3].std() > 0.05
        assert pixels[..., 3].min() == 0  # transparent background


def test_tables_are_also_files(reported: tuple[str, Path]) -> None:
    kind, run = reported
    assert {f.name for f in (run / "tables").iterdir()} == {"scores.md", "scores.tex", "scores.csv"}
    rows = json.loads((run / "evaluation" / "scores.json").read_text())["rows"]
    assert len((run / "tables" / "scores.csv").read_text().splitlines()) == len(rows) + 1
    tables = 3 if kind == "several" else 2
    assert (run / "tables" / "scores.tex").read_text().count(r"\begin{tabular}") == tables


def test_no_half_written_file_is_left(reported: tuple[str, Path]) -> None:
    assert not [f for f in reported[1].rglob(".*") if f.is_file()]


def test_the_same_run_gives_the_same_bytes(regression: tuple[Path, str]) -> None:
    run = regression[0]
    first = (run / "report.html").read_bytes()
    assert write_report(run).read_bytes() == first


def test_names_cannot_inject_markup(make_run: MakeRun) -> None:
    run = make_run("classification", name="<b>&")
    page = Page(write_report(run))
    assert "Run <code>&lt;b&gt;&amp;</code>" in page.source
    assert "polymodal evaluate &#39;&lt;b&gt;&amp;&#39;" in page.source
    assert "b" not in page.tags
    assert "low" not in page.tags  # from the class "sad & <low>"
    assert "synthetic:talk?a=1&amp;b=&lt;2&gt;" in page.source


def _rows(run: Path, edit: Callable[[dict[str, Any]], None] = lambda row: None) -> list[Any]:
    scores = json.loads((run / "evaluation" / "scores.json").read_text())
    for row in scores["rows"]:
        edit(row)
    return [r for r in score_rows(scores) if r.main]


def test_the_verdict_says_what_the_scores_say(regression: tuple[Path, str]) -> None:
    run, text = regression
    rows = {(r.split, r.subset): r for r in _rows(run)}
    whole, blind = rows["test", "text + audio + vision"], rows["test", "audio + vision"]
    alone, away = rows["test", "text"], rows["test_ood", "text + audio + vision"]
    assert (
        f"mmcl predicts sentiment on talk with mean absolute error {whole.mean:.3f} (95% interval {whole.low:.3f} to "
        f"{whole.high:.3f}, {whole.count} test samples, mean of 2 seeds; lower is better)."
    ) in text
    assert (
        f"Without text, the modality it needs most, the mean absolute error rises by {blind.mean - whole.mean:.3f}"
        in text
    )
    worse = f"the mean absolute error rises by {alone.mean - whole.mean:.3f} to {alone.mean:.3f}"
    assert f"The best single modality is text: with it alone, {worse}." in text
    assert (
        f"On the out-of-domain split test_ood (90 samples) the mean absolute error rises by "
        f"{away.mean - whole.mean:.3f} to {away.mean:.3f}."
    ) in text


def test_the_verdict_turns_around_for_scores_where_higher_is_better(make_run: MakeRun) -> None:
    text = " ".join(verdict(_rows(make_run("classification")), "test", "talk"))
    assert "with F1 90.0% (95% interval 86.0% to 95.0%, 90 test samples" in text
    assert "Without text, the modality it needs most, the F1 falls by 17.5 points to 72.5%." in text


def test_the_verdict_admits_overlap_and_useless_modalities(make_run: MakeRun) -> None:
    run = make_run()
    wide = " ".join(verdict(_rows(run, lambda row: row.update(low=0.0, high=2.0)), "test", "talk"))
    assert "rises by 0.350 to 1.050 (the intervals overlap)." in wide
    flat = " ".join(verdict(_rows(run, lambda row: row.update(mean=0.7)), "test", "talk"))
    assert "No single modality is needed" in flat
    assert "alone it is no worse: 0.700" in flat
    assert "it is no worse than on test: 0.700" in flat


def test_the_verdict_survives_nan(make_run: MakeRun) -> None:
    rows = _rows(make_run(), lambda row: row.update(mean=None))
    assert verdict(rows, "test", "talk") == ["The mean absolute error of mmcl on test could not be computed."]
    assert over_targets(rows) == []


def test_the_verdict_ranks_several_targets(make_run: MakeRun) -> None:
    page = Page(write_report(make_run("several")))
    assert "Of 4 targets, confident is predicted best (0.700) and 100% calm worst (0.820)." in page.text


@pytest.mark.slow
def test_a_seed_that_was_still_improving_is_said_to_want_more_epochs(make_run: MakeRun) -> None:
    run = make_run()
    assert "still improving" not in Page(write_report(run)).text  # epoch 12 of 20 was the best
    (run / "seed-1112" / "result.json").write_text('{"best_epoch": 19, "epochs": 20}')
    assert "Seed 1112: still improving when the epochs ran out: try --epochs 40." in Page(write_report(run)).text
    (run / "seed-1112" / "result.json").unlink()  # training goes on
    assert "still improving" not in Page(write_report(run)).text


TEST = PairedTest("runs/demo/mmcl", "runs/demo/linear", "mae", False, -0.261, -0.326, -0.198, 0.0001, 40, 0.0001)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {},
            "On talk, mmcl is better than the floor linear, by more than luck: mean absolute error -0.261 "
            "(95% interval -0.326 to -0.198, p < 0.001; lower is better).",
        ),
        (
            {"low": -0.53, "high": 0.02, "p_holm": 0.07},
            "On talk, mmcl cannot be told from the floor linear: mean absolute error -0.261 (95% interval -0.530 to "
            "+0.020, p = 0.070; lower is better).",
        ),
        (
            {"difference": 0.25, "low": 0.01, "high": 0.5, "p_holm": 0.04},
            "On talk, mmcl is worse than the floor linear, by more than luck: mean absolute error +0.250 (95% interval "
            "+0.010 to +0.500, p = 0.040; lower is better).",
        ),
        (
            {"metric": "accuracy", "higher_is_better": True, "difference": 0.1, "low": 0.05, "high": 0.16},
            "On talk, mmcl is better than the floor linear, by more than luck: accuracy +10.0 points (95% interval "
            "+5.0 to +16.0, p < 0.001; higher is better).",
        ),
        ({"low": -0.53, "high": 0.02, "p_holm": 0.04}, "mmcl cannot be told from the floor linear"),
        ({"low": -0.53, "high": -0.02, "p_holm": 0.06}, "mmcl cannot be told from the floor linear"),
        ({"difference": float("nan")}, "On talk, mmcl could not be compared with the floor linear."),
    ],
)
def test_a_page_begins_with_the_difference_from_the_floor_and_whether_it_may_be_luck(
    make_run: MakeRun, changes: dict[str, Any], sentence: str
) -> None:
    run = make_run()
    test = replace(TEST, **changes)
    assert sentence in against_floor(test, "talk")
    page = write_report(run, floor=test).read_text(encoding="utf-8")
    assert f'<p class="verdict">{against_floor(test, "talk")} mmcl predicts' in page.replace("&lt;", "<")


def test_a_run_without_evaluation_still_has_a_page(make_run: MakeRun) -> None:
    run = make_run(bare=True)
    page = Page(write_report(run))
    assert "There is no evaluation yet. What makes it: polymodal evaluate run" in page.text
    assert "No epoch was logged; what trains the run: polymodal fit mmcl" in page.text
    assert not page.images
    assert not (run / "tables").exists()


def test_a_method_in_closed_form_has_no_curves(make_run: MakeRun) -> None:
    run = make_run(bare=True)
    (run / "seed-1111").mkdir()
    (run / "seed-1111" / "result.json").write_text('{"best_epoch": null}')
    assert "No epoch was logged; the method was fitted in closed form." in Page(write_report(run)).text


@pytest.mark.parametrize(
    ("gone", "sentence", "images"),
    [
        ("evaluation/representations.npz", "No fused representation was saved", 3),
        ("evaluation/predictions.parquet", "No predictions for the complete input", 2),
        ("evaluation", "There is no evaluation yet", 1),
        ("seed-1111", "Epochs kept: 12 (seed 1112)", 4),
    ],
)
def test_a_missing_piece_is_a_sentence(make_run: MakeRun, gone: str, sentence: str, images: int) -> None:
    run = make_run()
    path = run / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = Page(write_report(run))
    assert sentence in page.text
    assert len(page.images) == images


def test_without_a_fused_representation_there_is_no_projection(make_run: MakeRun) -> None:
    run = make_run()
    np.savez(run / "evaluation" / "representations.npz", id=np.array(["clip0"]))
    assert "No fused representation was saved" in Page(write_report(run)).text


def test_representations_find_their_labels_by_id(make_run: MakeRun) -> None:
    run = make_run()
    file = run / "evaluation" / "representations.npz"
    content = dict(np.load(file))
    content["fused"][0] = np.nan
    content["id"][1] = "stranger"
    np.savez(file, **content)
    assert "88 samples of test, complete input, seed 1111: principal components" in Page(write_report(run)).text


def test_only_the_first_seed_and_the_complete_input_are_drawn(regression: tuple[Path, str]) -> None:
    assert "90 samples of test, complete input, seed 1111. Left" in regression[1]


def test_scores_on_another_corpus_say_so(make_run: MakeRun) -> None:
    run = make_run()
    file = run / "evaluation" / "scores.json"
    scores = json.loads(file.read_text())
    scores["data"] |= {"source": "mosi.pkl?a=1", "name": "mosi", "hash": "0000"}
    file.write_text(json.dumps(scores))
    text = Page(write_report(run)).text
    assert "mmcl predicts sentiment on mosi with" in text
    assert "polymodal evaluate run --data &#39;mosi.pkl?a=1&#39;" in text
    assert "Scored on mosi.pkl?a=1 (0000)" in text


def test_a_loss_that_became_null_is_left_out() -> None:
    from polymodal.report.training import _curve

    lines = [
        {"epoch": 1, "train": {"a": 1.0}, "valid": None},
        {"epoch": 2, "train": {"a": None}},
        {"epoch": 3, "train": {}},
    ]
    assert _curve(lines, "train", "a") == [(1, 1.0)]
    assert _curve(lines, "valid", "a") == []


def test_an_epoch_written_again_counts_once(make_run: MakeRun) -> None:
    from polymodal.report.folder import read_epochs, read_run

    run = make_run()
    file = run / "seed-1111" / "metrics.jsonl"
    last = json.loads(file.read_text().splitlines()[-1])
    with file.open("a") as stream:
        stream.write(json.dumps(last | {"train": {"loss": 99.0}}) + "\n")
    epochs = read_epochs(read_run(run))["seed 1111"]
    assert len(epochs) == 20
    assert epochs[-1]["train"] == {"loss": 99.0}


def test_another_evaluation_of_the_same_run_can_be_reported(make_run: MakeRun) -> None:
    run = make_run()
    (run / "evaluation").rename(run / "elsewhere")
    assert "There is no evaluation yet" in Page(write_report(run)).text
    assert "mmcl predicts sentiment" in Page(write_report(run, evaluation="elsewhere")).text


def test_the_page_tells_how_to_get_the_numbers_again(regression: tuple[Path, str]) -> None:
    text = regression[1]
    for fact in (
        "1111, 1112",
        "ab12",
        "2.13.0",
        "c0de12",
        "123,456",
        "Lowest validation loss.",
        "95% over groups",
        "test: 90",
    ):
        assert fact in text
    assert "does not look at which modalities are present" in text


def test_what_is_not_a_run_is_one_sentence(tmp_path: Path, make_run: MakeRun) -> None:
    with pytest.raises(RunError, match="there is no run folder"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"it has no run\.json"):
        write_report(tmp_path)
    run = make_run()
    (run / "seed-1112" / "metrics.jsonl").write_text('{"epoch": 1, "train": {}}\n{"epo\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl line 2 is no JSON"):
        write_report(run)
    (run / "evaluation" / "predictions.parquet").write_bytes(b"PAR1")
    (run / "seed-1112" / "metrics.jsonl").unlink()
    with pytest.raises(RunError, match=r"predictions\.parquet cannot be read"):
        write_report(run)
    (run / "run.json").write_text('{"method": "mmcl"}')
    with pytest.raises(RunError, match=r"run\.json: method_source is missing"):
        write_report(run)
    (run / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json cannot be read"):
        write_report(run)
