"""The leaderboard shows what the board holds, marks the best in the right direction, and hides nothing."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from polymodal.bench.board import Board
from polymodal.bench.figures import area_key, main_figures, mean_figure, order, points
from polymodal.bench.output import COSTS, board_csv, print_tables, to_terminal
from polymodal.bench.ranks import rank_entries, rankings
from polymodal.bench.tables import WIDEST, board_tables, corpus_tables, overall_tables, write_seconds
from polymodal.bench.verdict import board_verdict, contrast_sentence
from polymodal.bench.word_tables import entry_table
from polymodal.report.tables import Table, to_latex, to_markdown


def _column(table: Table, head: str) -> dict[str, str]:
    place = table.head.index(head)
    return {line[0].text: line[place].text for line in table.lines}


def _rename(board: Board, old: str, new: str) -> Board:
    def swap(rows: tuple, key: str = "entry") -> tuple:  # type: ignore[type-arg]
        return tuple(replace(r, **{key: new}) if getattr(r, key) == old else r for r in rows)

    return replace(
        board,
        entries=swap(board.entries, "name"),
        figures=swap(board.figures),
        costs=swap(board.costs),
        left=swap(board.left),
    )


def test_a_corpus_is_ordered_by_the_area_of_its_first_curve(board: Board) -> None:
    for corpus in board.corpora:
        area = main_figures(board, corpus.name)[area_key("missing:rate")]
        means = [area[name].mean for name in order(board, corpus.name)]
        assert means == sorted(means, reverse=corpus.higher_is_better)
        assert [line[0].text for line in corpus_tables(board, corpus.name)[0].lines] == order(board, corpus.name)


def test_without_curves_it_is_ordered_by_complete_input(board: Board) -> None:
    flat = replace(board, figures=tuple(f for f in board.figures if not f.series))
    complete = main_figures(flat, "cmu_mosi")["complete"]
    means = [complete[name].mean for name in order(flat, "cmu_mosi")]
    assert means == sorted(means)


def test_every_cell_is_the_figure_as_written(board: Board) -> None:
    table = corpus_tables(board, "cmu_mosi")[0]
    assert table.head[:4] == ("Entry", "complete", "mean of subsets", "area of missing:rate")
    for name, text in _column(table, "complete").items():
        figure = main_figures(board, "cmu_mosi")["complete"][name]
        assert text == f"{figure.mean:.3f} ± {figure.std:.3f}"


def test_shares_are_percent_and_the_best_is_bold_in_the_right_direction(board: Board) -> None:
    for corpus, pick in (("cmu_mosi", min), ("ravdess", max)):
        table = corpus_tables(board, corpus)[0]
        complete = main_figures(board, corpus)["complete"]
        best = pick(complete.values(), key=lambda f: f.mean).entry
        assert [line[0].text for line in table.lines if line[1].best] == [best]
    assert _column(table, "complete")[best].startswith(f"{complete[best].mean * 100:.1f}")


def test_floor_and_aware_entries_are_marked(board: Board) -> None:
    marks = {line[0].text: line[0].detail for line in corpus_tables(board, "cmu_mosi")[0].lines}
    assert marks["linear"] == "(floor)"
    assert {n for n, mark in marks.items() if mark in ("(own)", "(told)")} == {e.name for e in board.entries if e.aware}


def test_the_mean_of_subsets_is_taken_seed_by_seed(board: Board) -> None:
    main = main_figures(board, "ravdess")
    audio, vision = main["subset:audio"]["linear"], main["subset:vision"]["linear"]
    found = mean_figure([audio, vision])
    assert found is not None
    assert found.mean == pytest.approx((audio.mean + vision.mean) / 2)
    assert found.seeds == pytest.approx([(a + v) / 2 for a, v in zip(audio.seeds, vision.seeds, strict=True)])
    assert math.isnan(found.low)
    assert mean_figure([audio, replace(vision, mean=math.nan)]) is None


def test_an_entry_that_lacks_a_subset_has_no_mean_of_them(board: Board) -> None:
    less = tuple(f for f in board.figures if (f.entry, f.condition) != ("cyin", "subset:text"))
    means = _column(corpus_tables(replace(board, figures=less), "cmu_mosi")[0], "mean of subsets")
    assert means["cyin"] == "–"  # noqa: RUF001
    assert means["mult"] != "–"  # noqa: RUF001


def test_no_table_of_figures_is_too_wide_and_none_loses_a_condition(crowd: Board) -> None:
    tables = corpus_tables(crowd, "cmu_mosi")
    assert all(len(t.head) - 1 <= WIDEST for t in tables)
    heads = [h for t in tables for h in t.head]
    assert {"text", "audio + vision", "rate=0.1", "rate=0.7", "snr=-10", "swap:p=0.5", "Corr ↑"} <= set(heads)
    for table in tables:
        assert len(table.lines) == len(crowd.entries)


def test_columns_beyond_the_widest_go_to_a_table_of_their_own(board: Board) -> None:
    points_ = [f for f in board.figures if f.series == "noise:snr"]
    more = [replace(f, condition=f"{f.condition}9", value=f.value + k) for k in (0.1, 0.2) for f in points_]
    tables = corpus_tables(replace(board, figures=(*board.figures, *more)), "cmu_mosi")
    parts = [t for t in tables if "along noise:snr" in t.caption]
    assert ["(1 of 2)" in parts[0].caption, "(2 of 2)" in parts[1].caption] == [True, True]


def test_damage_grows_along_a_curve(board: Board) -> None:
    main = main_figures(board, "cmu_mosi")
    assert [main[k]["linear"].value for k in points(main, "missing:rate")] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert [main[k]["linear"].value for k in points(main, "noise:snr")] == [20, 10, 0, -10]


def test_the_overall_table_has_every_entry_and_ranks_where_there_are_any(board: Board) -> None:
    ranking = rank_entries(board)
    table = overall_tables(board, [ranking])[0]
    ranks = _column(table, "Mean rank ↓")
    assert set(ranks) == {e.name for e in board.entries}
    assert {n for n, text in ranks.items() if text == "–"} == set(ranking.unranked)  # noqa: RUF001
    assert [line[1].best for line in table.lines].index(True) == 0
    assert "one rank each" in table.caption


def test_what_failed_and_what_does_not_fit_is_listed_with_its_reason(board: Board) -> None:
    lines = {line[0].text: [c.text for c in line[1:]] for line in board_tables(board)[-1].lines}
    assert lines["mult"] == ["ravdess", "not compatible", "needs text, which ravdess does not have"]
    assert lines["mib"][1] == "failed"


def test_the_entries_say_what_was_changed_and_how_absence_is_fed(board: Board) -> None:
    cells = {line[0].text: [c.text for c in line] for line in entry_table(board).lines}
    assert cells["cyin"][3:] == ["preset cpu; width=32", "own", "handled"]
    assert cells["linear"][3:] == ["defaults", "floor", "fed as zeros"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "400 ms"), (12.34, "12.3 s"), (300, "5.0 min"), (9000, "2.5 h"), (math.nan, "–")],  # noqa: RUF001
)
def test_durations_have_the_unit_that_suits_them(seconds: float, text: str) -> None:
    assert write_seconds(seconds) == text


def test_a_contrast_says_plainly_what_can_be_told(board: Board) -> None:
    mosi, _, ravdess, _, trial, _ = (contrast_sentence(board, c) for c in board.contrasts)
    assert mosi == (
        "On cmu_mosi cyin is better than mult: area of missing:rate -0.051 [-0.090, -0.012], p = 0.004 (Holm 0.012) "
        "over 31 groups; lower is better."
    )
    assert "On ravdess cyin cannot be told from mult: area of missing:rate +0.4 [-2.0, +3.0], p = 0.610" in ravdess
    assert "is not compared with mult, for the floor is no better than a blind guess there" in trial
    first = board.contrasts[0]
    assert "is WORSE than" in contrast_sentence(board, replace(first, difference=0.051, low=0.012, high=0.09))
    assert "cannot be told from" in contrast_sentence(board, replace(first, p_holm=0.07))
    few = replace(first, low=math.nan, high=math.nan, p=math.nan, p_holm=math.nan, groups=3)
    assert "cannot be told from mult, for 3 groups are too few: area" in contrast_sentence(board, few)
    unknown = replace(first, difference=math.nan)
    assert contrast_sentence(board, unknown).endswith("could not be compared with mult.")


def test_the_verdict_names_who_can_be_told_from_the_floor(board: Board) -> None:
    sentences = board_verdict(board)
    assert "Against the floor linear on cmu_mosi (area of missing:rate): better: cyin." in sentences
    told = "Against the floor linear on ravdess (area of missing:rate): 1 of 1 entries cannot be told from it."
    assert told in sentences
    assert "On trial_50% the floor linear is no better than a blind guess: nothing is concluded there." in sentences


def test_every_contrast_is_in_a_table(board: Board) -> None:
    (table,) = (t for t in board_tables(board) if t.caption.startswith("Declared comparisons"))
    lines = [[c.text for c in line] for line in table.lines]
    assert lines[0] == [
        "cmu_mosi",
        "cyin",
        "mult",
        "area of missing:rate",
        "-0.051",
        "0.004",
        "0.012",
        "31",
        "told apart",
    ]
    assert [line[-1] for line in lines[1::2]] == ["told apart", "not told apart", "floor at chance"]


def test_a_board_without_figures_still_has_tables_and_words(board: Board) -> None:
    empty = replace(board, figures=(), costs=(), contrasts=())
    assert board_verdict(empty)[0] == "On cmu_mosi no entry has a figure."
    assert all(to_markdown(t) and to_latex(t) for t in board_tables(empty))


def test_csv_gives_back_every_figure_and_cost_unrounded(board: Board) -> None:
    rows = list(csv.DictReader(io.StringIO(board_csv(board))))
    scores, costs = [r for r in rows if r["condition"] != "cost"], [r for r in rows if r["condition"] == "cost"]
    assert len(scores) == len(board.figures)
    for row, figure in zip(scores, board.figures, strict=True):
        assert (row["entry"], row["corpus"], row["condition"]) == (figure.entry, figure.corpus, figure.condition)
        assert row["mean"] == ("" if math.isnan(figure.mean) else str(figure.mean))
        assert tuple(map(float, row["seeds"].split(";"))) == figure.seeds
    assert len(costs) == len(COSTS) * len(board.costs)
    assert float(costs[1]["mean"]) == board.costs[0].train_seconds


def test_markdown_and_latex_survive_any_name(board: Board, evil: str) -> None:
    for table in board_tables(_rename(board, "cyin", evil)):
        rows = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
        assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {len(table.head) + 2}
        assert "<b>" not in to_markdown(table)
        body = to_latex(table).partition(r"\midrule")[2].partition(r"\bottomrule")[0]
        for line in body.strip().splitlines():
            assert len(re.findall(r"(?<!\\)&", line)) == len(table.head) - 1


def test_latex_is_plain_ascii_with_rules_of_booktabs(board: Board) -> None:
    for table in board_tables(board):
        text = to_latex(table)
        assert text.isascii()
        assert r"\toprule" in text


@pytest.mark.parametrize("width", [60, 80, 150])
def test_the_terminal_shows_whole_figures_and_intervals_however_narrow_it_is(board: Board, width: int) -> None:
    file = io.StringIO()
    console = Console(file=file, width=width)
    table = corpus_tables(board, "cmu_mosi")[0]
    pieces = to_terminal(table, width)
    console.print(*pieces)
    shown = file.getvalue()
    assert all(cell.text in shown and cell.detail in shown for line in table.lines for cell in line)
    assert max(map(len, shown.splitlines())) <= width
    assert (len(pieces) == 1) == (width == 150)
    for table in board_tables(board):
        for piece in to_terminal(table, width):
            assert table.words or console.measure(piece).minimum <= width


@pytest.mark.parametrize(
    ("form", "sign"),
    [("terminal", "linear (floor)"), ("markdown", "| --- |"), ("latex", r"\begin{tabular}"), ("csv", "corpus,e")],
)
def test_a_board_is_printed_in_any_form(board: Board, capsys: pytest.CaptureFixture[str], form: str, sign: str) -> None:
    print_tables(board, form)  # type: ignore[arg-type]
    assert sign in capsys.readouterr().out


def test_one_seed_has_no_deviation(make_board: Callable[..., Board]) -> None:
    tables = corpus_tables(make_board(5, (1,)), "cmu_mosi")
    assert "±" not in "".join(map(to_markdown, tables))
    assert "One seed" in tables[0].caption


def test_under_a_protocol_those_who_were_told_are_ranked_apart(board: Board) -> None:
    found = {r.prior: r for r in rankings(replace(board, protocol="missmac"))}
    assert set(found) == {e.prior for e in board.entries} > {"none"}
    for prior, ranking in found.items():
        assert {e.prior for e in board.entries if e.name in (*ranking.names, *ranking.unranked)} == {prior}
    (table, *_) = overall_tables(board, list(found.values()))
    details = {line[0].text: line[1].detail for line in table.lines}
    assert details["linear"] == f"of {len(found['none'].names)} none"
    assert "ranked apart" in table.caption


def test_of_many_corpora_what_can_be_told_over_all_comes_first(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    more = [replace(c, name=f"{c.name} again") for c in board.corpora]
    again = [replace(c, corpus=f"{c.corpus} again") for c in board.contrasts]
    many = replace(board, corpora=(*board.corpora, *more), contrasts=(*board.contrasts, *again))
    first, *rest = board_verdict(many)
    counted = [c for c in many.contrasts if c.second == "linear" and c.above_chance]
    assert first.startswith(f"{len(counted)} comparisons with the floor linear")
    assert f"in {sum(not c.told for c in counted)} the two cannot be told apart" in first
    assert any("Nothing is concluded on trial_50%, trial_50% again" in sentence for sentence in rest)
    assert any(" against " in sentence for sentence in rest)
    assert "on cmu_mosi (cyin), cmu_mosi again (cyin)" in first
    monkeypatch.setattr("polymodal.bench.verdict.NAMED", 0)
    entries = sum(c.corpus == "cmu_mosi" for c in counted)
    assert f"on cmu_mosi (1 of {entries} entries), cmu_mosi again (1 of" in board_verdict(many)[0]
