"""Measures as tables, as a figure and on a page; what is not known stays empty."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from polymodal.core import DataError, OptionError
from polymodal.measure.measures import MEASURES, columns
from polymodal.measure.page import write_page
from polymodal.measure.plot import figure, measures_plot
from polymodal.measure.result import Measured, to_csv, to_parquet
from polymodal.measure.rows import cut, within
from polymodal.measure.signals import Signals
from polymodal.measure.table import measures_table
from polymodal.media.types import Segment, Word


def test_what_is_not_known_is_an_empty_cell(measured: Measured) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv([measured, replace(measured, clip="other.mp4")]))))
    assert [r["clip"] for r in rows] == ["talk.mp4", "talk.mp4", "other.mp4", "other.mp4"]
    assert (rows[0]["speaker"], rows[0]["text"], float(rows[0]["start"])) == ("Ann", "so great", 0.5)
    assert float(rows[0]["smile"]) == pytest.approx(7.0)
    assert float(rows[0]["speaking_share"]) == pytest.approx(0.0)
    assert rows[1]["smile"] == ""
    assert float(rows[1]["f0_median"]) == pytest.approx(2.5)


def test_parquet_is_the_same_table_with_nulls(measured: Measured, tmp_path: Path) -> None:
    from pyarrow import parquet

    (tmp_path / "a.parquet").write_bytes(to_parquet([measured]))
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table.column_names == next(csv.reader(io.StringIO(to_csv([measured]))))
    assert table["smile"].to_pylist() == [7.0, None]
    assert str(table.schema.field("smile").type) == "double"


def test_json_has_rows_the_whole_persons_and_synchrony(measured: Measured) -> None:
    told = json.loads(json.dumps(measured.to_dict(), allow_nan=False))
    assert [m["name"] for m in told["measures"]] == [m.name for m in MEASURES]
    assert told["rows"][1]["measures"]["smile"] is None
    assert told["persons"]["Bob"]["smile"] is None
    assert told["synchrony"]["sync_smile_partner"]["chance"] == pytest.approx(0.4)


def test_the_terminal_shows_every_measure_and_a_dash_for_what_is_not_known(
    measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    Console(width=100).print(measures_table(measured))
    shown = capsys.readouterr().out
    assert all(m.name.replace("_", " ") in shown for m in MEASURES)
    smile = next(line for line in shown.splitlines() if line.startswith("smile "))
    assert smile.split()[-1] == "-"
    assert "0.50 over 3 windows, 0.40 for windows that do not belong together" in shown
    assert "note: a note" in shown


def test_the_figure_has_a_panel_per_known_measure_and_hatches_the_rest(measured: Measured, tmp_path: Path) -> None:
    measured = replace(measured, measures=tuple(m for m in MEASURES if m.name in ("pauses", "f0_median", "smile")))
    drawn = figure(measured)
    titles = [ax.get_title(loc="left") for ax in drawn.axes]
    assert [t for t in titles if t] == ["pauses", "f0 median (Hz)", "smile"]
    smile = next(ax for ax in drawn.axes if ax.get_title(loc="left") == "smile")
    hatched = [c for c in smile.collections if c.get_hatch()]
    assert [p.vertices[:, 0].max() for c in hatched for p in c.get_paths()] == [8.0]
    unknown = replace(measured, values=tuple(v | {"smile": None} for v in measured.values))
    assert "smile" not in [ax.get_title(loc="left") for ax in figure(unknown).axes]
    first = measures_plot(measured, tmp_path / "a.png").read_bytes()
    assert measures_plot(measured, tmp_path / "b.png").read_bytes() == first
    with pytest.raises(OptionError, match="name that ends in"):
        measures_plot(measured, tmp_path / "a.bmp")


def test_a_measure_is_drawn_so_that_little_looks_like_little(measured: Measured) -> None:
    pitch = next(m for m in MEASURES if m.name == "f0_median")
    values = tuple(v | {"f0_median": f} for v, f in zip(measured.values, (105.0, 105.5), strict=True))
    low, high = replace(measured, values=values).reach(pitch)
    assert low < 95
    assert high > 115
    assert measured.reach(next(m for m in MEASURES if m.name == "gaze_up")) == (-1.0, 1.0)


def test_the_page_shows_every_measure_of_the_selected_row(measured: Measured, tmp_path: Path) -> None:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    playwright = pytest.importorskip("playwright.sync_api")
    if found is None:
        pytest.skip("no chromium on this machine")
    page_file = write_page(measured, None, tmp_path / "page.html")
    complaints: list[str] = []
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1000, "height": 800})
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else complaints.append(r.url))
        page.goto(page_file.as_uri())
        assert page.title().endswith("polymodal measures")
        assert page.locator(".pm-measures tbody tr").count() == len(MEASURES)
        page.locator(".pm-tabs select").select_option(label="smile")
        assert page.locator(".pm-shown th").inner_text() == "smile"
        assert page.locator(".pm-shown td").all_inner_texts() == ["7.00", "7.00"]
        page.locator(".pm-utterance").nth(1).click()
        assert page.locator(".pm-details h2").inner_text() == "Row 2 of 2"
        assert page.locator(".pm-shown td").all_inner_texts() == ["", "7.00"]
        assert "not known" in page.locator(".pm-legend").inner_text()
        assert page.locator(".pm-absent").get_attribute("d") != ""
        page.set_viewport_size({"width": 360, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        browser.close()
    assert complaints == []


def signals(**changes: object) -> Signals:
    """Return a clip of ten seconds with two turns of speech."""
    fields: dict[str, object] = {
        "name": "talk.mp4", "duration": 10.0, "voice": None, "face": None,
        "stretches": ((0.5, 2.0), (3.0, 4.0), (7.0, 8.0)),
        "spoken": (), "silent": (), "words": (Word("yes", 3.1, 3.3),), "notes": (), "versions": {}, "seconds": {},
    }  # fmt: skip
    return Signals(**(fields | changes))  # type: ignore[arg-type]


def test_rows_are_turns_windows_segments_or_the_clip() -> None:
    def spans(by: str, segments: list[Segment] | None = None) -> list[tuple[float, float]]:
        return [(s.start, s.end) for s in cut(signals(), segments, by, window=4.0, gap=2.0)]

    assert spans("speech") == [(0.5, 4.0), (7.0, 8.0)]
    assert spans("windows") == [(0.0, 4.0), (4.0, 8.0), (8.0, 10.0)]
    assert spans("clip") == [(0.0, 10.0)]
    assert spans("transcript", [Segment(5.0, 6.0), Segment(1.0, 2.0)]) == [(1.0, 2.0), (5.0, 6.0)]
    assert cut(signals(), None, "speech", window=4.0, gap=2.0)[0].text == "yes"
    quiet = cut(signals(stretches=()), None, "speech", window=4.0, gap=2.0)
    assert [(s.start, s.end) for s in quiet] == [(0.0, 10.0)]


def test_segments_are_cut_to_the_clip_and_get_words() -> None:
    found = within([Segment(8.0, 99.0, "a b c d"), Segment(50.0, 60.0, "late")], signals())
    assert [(s.start, s.end) for s in found] == [(8.0, 10.0)]
    assert [(w.text, w.start) for w in found[0].words] == [("a", 8.0), ("b", 8.5), ("c", 9.0), ("d", 9.5)]
    with pytest.raises(DataError, match="no segment of the transcript lies within it"):
        within([Segment(50.0, 60.0, "late")], signals())


def test_an_unknown_measure_names_the_nearest() -> None:
    with pytest.raises(OptionError, match="no measure 'smiles'; did you mean 'smile'"):
        columns((), ["smiles"])
