"""Numbers in tables are the scores' own, the best stands out, and no name can break the format."""

from __future__ import annotations

import csv
import io
import json
import math
import re

import pytest

from polymodal.core import RunError, Target
from polymodal.report import write_report
from polymodal.report.metrics import is_percent, label, write_value
from polymodal.report.tables import (
    leaderboard,
    score_rows,
    score_table,
    subset_table,
    target_table,
    to_csv,
    to_latex,
    to_markdown,
)

EVIL = "a_b & 50% {x}\\y | <b> $z$ #1 ~^ *"


def _lines(markdown: str) -> list[list[str]]:
    """Cells of a Markdown table, split at pipes that are not escaped."""
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[c.strip() for c in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("mae", 0.71249, "0.712"),
        ("corr", -0.5, "-0.500"),
        ("corr", -0.0001, "0.000"),
        ("acc2_has0", 0.8333, "83.3"),
        ("f1/joy", 0.5, "50.0"),
        ("weighted_accuracy", 1.0, "100.0"),
        ("rmse", math.nan, "–"),  # noqa: RUF001
    ],
)
def test_errors_have_three_decimals_and_shares_are_percent_with_one(metric: str, value: float, text: str) -> None:
    assert write_value(metric, value) == text


def test_a_class_called_like_a_metric_does_not_make_an_error_a_percentage() -> None:
    assert not is_percent("mae/f1")
    assert is_percent("f1/mae")


@pytest.mark.parametrize(
    ("metric", "text"),
    [("mae", "MAE"), ("acc7", "Acc-7"), ("acc2_has0", "Acc-2 has0"), ("f1_macro", "F1 macro"), ("f1/joy", "F1 of joy")],
)
def test_metrics_are_named_as_in_papers(metric: str, text: str) -> None:
    assert label(metric) == text


def test_a_cell_has_mean_deviation_interval_and_the_samples_a_metric_leaves_out(make_scores) -> None:
    rows = score_rows(make_scores([Target("sentiment", "regression", (-3, 3))]))
    lines = _lines(to_markdown(score_table(rows, "sentiment")))
    assert lines[0] == ["Metric", "test (n = 90)", "test_ood (n = 90)"]
    assert lines[2][:2] == ["MAE ↓", "0.700 ± 0.013 [0.660, 0.750]"]
    assert lines[4][:2] == ["Acc-2 ↑", "90.0 ± 1.2 [86.0, 95.0], n = 80"]


def test_one_seed_has_no_deviation(make_scores) -> None:
    scores = make_scores([Target("sentiment", "regression", (-3, 3))])
    for row in scores["rows"]:
        row["seeds"] = row["seeds"][:1]
    assert "±" not in to_markdown(score_table(score_rows(scores), "sentiment"))


def test_nan_and_null_are_dashes_and_never_best(make_scores) -> None:
    scores = make_scores([Target("sentiment", "regression", (-3, 3))])
    for row, value in zip([r for r in scores["rows"] if r["metric"] == "corr"], (math.nan, None), strict=False):
        row.update(mean=value, low=value, high=value, std=value)
    cells = {line[0]: line for line in _lines(to_markdown(subset_table(score_rows(scores), "sentiment", "test")))}
    assert cells["text"][2] == cells["audio"][2] == "–"  # noqa: RUF001
    assert cells["text + audio + vision"][2].startswith("**")


def test_subsets_are_ordered_by_size_and_the_best_is_bold_in_the_right_direction(make_scores) -> None:
    rows = score_rows(make_scores([Target("sentiment", "regression", (-3, 3))]))
    lines = _lines(to_markdown(subset_table(rows[::-1], "sentiment", "test")))[2:]
    assert [line[0].count("+") for line in lines] == [0, 0, 0, 1, 1, 1, 2]
    bold = [line[0] for line in lines if line[1].startswith("**")]
    assert bold == ["text + audio + vision"]  # the lowest error


def test_several_targets_make_one_table_with_a_line_each(make_scores) -> None:
    targets = [Target(n, "regression", (1, 7)) for n in ("confident", "vivid")]
    lines = _lines(to_markdown(target_table(score_rows(make_scores(targets)), "test")))
    assert [line[0] for line in lines[2:]] == ["confident", "vivid"]


def test_single_classes_appear_only_in_the_score_table(make_scores) -> None:
    rows = score_rows(make_scores([Target("emotion", "classification", None, ("happy", "sad"))]))
    assert "F1 of happy" in to_markdown(score_table(rows, "emotion"))
    assert "F1 of happy" not in to_markdown(subset_table(rows, "emotion", "test"))


def test_leaderboard_marks_the_best_and_says_how_absence_was_treated(make_scores) -> None:
    target = [Target("sentiment", "regression", (-3, 3))]
    table = leaderboard([make_scores(target, shift=0.1, method="lmf"), make_scores(target, method="mmcl")])
    lines = _lines(to_markdown(table))
    assert lines[0] == ["Method", "MAE ↓", "Corr ↑", "Acc-2 ↑", "n", "Seeds", "Absent modalities"]
    assert lines[2] == [
        "lmf",
        "0.800 ± 0.013 [0.760, 0.850]",
        "0.850 ± 0.013 [0.810, 0.900]",
        "85.0 ± 1.2 [81.0, 90.0], n = 80",
        *("90", "2", "Zeros."),
    ]
    assert [c.startswith("**") for c in lines[3][1:4]] == [True] * 3
    assert "Careful" not in table.caption


def test_equal_results_are_both_best(make_scores) -> None:
    target = [Target("sentiment", "regression", (-3, 3))]
    table = leaderboard([make_scores(target), make_scores(target, shift=0.0001)], labels=["one", "two"])
    assert [line[1].best for line in table.lines] == [True, True]


def test_leaderboard_warns_when_the_data_differ(make_scores) -> None:
    target = [Target("sentiment", "regression", (-3, 3))]
    table = leaderboard([make_scores(target), make_scores(target, hash="ffff")], labels=["a", "b"])
    assert "Careful: the runs differ in their data (hash)." in table.caption


def test_leaderboard_refuses_what_it_cannot_tell_apart_or_find(make_scores) -> None:
    scores = make_scores([Target("sentiment", "regression", (-3, 3))])
    with pytest.raises(RunError, match="two runs are called 'mmcl'"):
        leaderboard([scores, scores])
    with pytest.raises(RunError, match="1 labels for 2 runs"):
        leaderboard([scores, scores], labels=["a"])
    with pytest.raises(RunError, match="no scores on split 'tset'; did you mean 'test'"):
        leaderboard([scores], split="tset")


def test_incomplete_scores_are_an_error_that_names_the_run(make_scores) -> None:
    scores = make_scores([Target("sentiment", "regression", (-3, 3))])
    del scores["rows"][3]["mean"]
    with pytest.raises(
        RunError,
        match=r"scores of run are .* of an earlier version \(KeyError\('mean'\)\); run polymodal evaluate on it again",
    ):
        score_rows(scores)


def test_scores_of_an_earlier_version_ask_for_a_new_evaluation(make_run, make_scores) -> None:
    scores = make_scores([Target("sentiment", "regression", (-3, 3))])
    for row in scores["rows"]:
        row["complete"] = row.pop("condition") == "complete"
    folder = make_run()
    (folder / "evaluation/scores.json").write_text(json.dumps(scores))
    with pytest.raises(RunError, match=r"earlier version .*'condition'.*; run polymodal evaluate on it again"):
        write_report(folder)


def test_markdown_survives_any_name(make_scores) -> None:
    table = leaderboard([make_scores([Target("s", "regression", (-3, 3))])], labels=[EVIL + "\nnext"])
    lines = _lines(to_markdown(table))
    assert {len(line) for line in lines} == {7}
    assert "<b>" not in lines[2][0]


def test_latex_escapes_every_special_character(make_scores) -> None:
    text = to_latex(leaderboard([make_scores([Target("s", "regression", (-3, 3))])], labels=[EVIL]))
    assert (
        r"a\_b \& 50\% \{x\}\textbackslash{}y \textbar{} \textless{}b\textgreater{} \$z\$ \#1 \~{}\^{} * & 0.700"
        in text
    )
    assert re.search(r"[^\x00-\x7f]", text) is None
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    assert len(re.findall(r"(?<!\\)&", body)) == 6
    assert r"\toprule" in text


def test_latex_makes_the_best_bold(make_scores) -> None:
    target = [Target("s", "regression", (-3, 3))]
    text = to_latex(leaderboard([make_scores(target), make_scores(target, shift=0.1)], labels=["good", "poor"]))
    assert r"good & \textbf{0.700 $\pm$ 0.013} {[0.660, 0.750]}" in text
    assert text.count(r"\textbf") == 3


def test_csv_gives_back_the_unrounded_numbers(make_scores) -> None:
    scores = make_scores([Target("sentiment", "regression", (-3, 3))], method='x,"y')
    scores["rows"][0]["std"] = None
    read = list(csv.DictReader(io.StringIO(to_csv(score_rows(scores)))))
    assert len(read) == len(scores["rows"])
    for line, row in zip(read, scores["rows"], strict=True):
        assert line["method"] == 'x,"y'
        assert float(line["mean"]) == row["mean"]
        assert line["condition"] == row["condition"]
        assert [float(v) for v in line["seeds"].split(";")] == row["seeds"]
    assert read[0]["std"] == ""
