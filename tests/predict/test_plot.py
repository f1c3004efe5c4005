"""The figure of a timeline: what is drawn where, the same bytes, files that cannot be written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymodal import Run
from polymodal.core import DataError, OptionError
from polymodal.predict.plot import figure, timeline_plot
from polymodal.predict.predictor import Predictor
from polymodal.predict.routed import Opinion, Routed
from polymodal.predict.timeline import Timeline


@pytest.fixture
def timeline(make_run: Callable[..., Run], make_clip: Callable[..., Path], pipeline: Any) -> Timeline:
    """Three utterances, the second without vision, the third with nothing else, and three targets."""
    return Predictor(make_run(targets="sentiment,emotion,tags", extraction={})).predict(make_clip())


def boxes(axes: Any, label: str | None = None, color: str | None = None) -> list[list[float]]:
    """Return (left, right, bottom, top) of the rectangles with a label or colour."""
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgb

    found = [c for c in axes.collections if isinstance(c, PolyCollection)]
    if label is not None:
        found = [c for c in found if c.get_label() == label]
    if color is not None:
        found = [c for c in found if len(c.get_facecolor()) and tuple(c.get_facecolor()[0][:3]) == to_rgb(color)]
    corners = [path.vertices for c in found for path in c.get_paths()]
    return [[v[:, 0].min(), v[:, 0].max(), v[:, 1].min(), v[:, 1].max()] for v in corners]


def test_a_regression_is_drawn_with_its_interval_and_contributions(timeline: Timeline) -> None:
    drawn = figure(timeline).axes
    moments = timeline.moments
    estimates = [m.estimates["sentiment"] for m in moments]
    assert boxes(drawn[1], "90% interval") == [
        pytest.approx([m.start, m.end, e.low, e.high]) for m, e in zip(moments, estimates, strict=True)
    ]
    longest = max(abs(v) for e in estimates for v in e.contributions.values())
    text = boxes(drawn[2], color="#1f83c4")  # the first of the lanes, around 2.5
    assert len(text) == 2
    for (_, _, low, high), estimate in zip(text, estimates, strict=False):
        size = 0.42 * estimate.contributions["text"] / longest
        assert [low, high] == pytest.approx(sorted([2.5, 2.5 + size]))
    assert longest == pytest.approx(float(drawn[2].get_title(loc="left").split("±")[1].split(";")[0]), abs=0.01)


def test_probabilities_are_stacked_to_one(timeline: Timeline) -> None:
    axes = figure(timeline).axes[3]
    for moment in timeline.moments:
        top = 0.0
        for name, share in moment.estimates["emotion"].probabilities.items():  # type: ignore[union-attr]
            (box,) = [b for b in boxes(axes, name) if b[0] == pytest.approx(moment.start)]
            assert box[2:] == pytest.approx([top, top + share])
            top += share
        assert top == pytest.approx(1.0)


def test_below_an_answer_stands_which_model_of_a_cascade_gave_it(timeline: Timeline) -> None:
    routes = [("1", "small"), ("2b", "both"), ("failed", "small")]
    moments = []
    for moment, (stage, by) in zip(timeline.moments, routes, strict=True):
        route = Routed(stage, by, Opinion(0.5, 0.9))
        estimates = moment.estimates | {"sentiment": replace(moment.estimates["sentiment"], cascade=route)}
        moments.append(replace(moment, estimates=estimates))
    drawn = figure(replace(timeline, moments=tuple(moments))).axes
    low, high = figure(timeline).axes[1].get_ylim()
    assert drawn[1].get_ylim() == pytest.approx((low - 0.07 * (high - low), high))
    second, third = moments[1:]
    strip = [low - 0.07 * (high - low), low - 0.03 * (high - low)]
    assert boxes(drawn[1], "both models' answers") == [pytest.approx([second.start, second.end, *strip])]
    assert boxes(drawn[1], "large model gave no answer") == [pytest.approx([third.start, third.end, *strip])]
    assert not boxes(drawn[1], "large model's answer")
    assert not boxes(drawn[3], "both models' answers")


def test_absent_modalities_are_hatched_or_named(timeline: Timeline) -> None:
    from matplotlib.collections import PolyCollection

    lanes = figure(timeline).axes[2]
    hatched = [c for c in lanes.collections if isinstance(c, PolyCollection) and c.get_hatch()]
    where = [[(p.vertices[:, 0].min(), p.vertices[:, 0].max()) for p in c.get_paths()] for c in hatched]
    assert where == [[(5.0, 7.0)], [(5.0, 7.0)], [(2.5, 4.0)]]
    mute = replace(timeline, moments=timeline.moments[2:])
    assert [t.get_text() for t in figure(mute).axes[-1].get_yticklabels()] == [
        "text (absent)",
        "audio (absent)",
        "vision",
    ]


def test_words_are_written_where_they_fit(timeline: Timeline) -> None:
    shown = [t.get_text() for t in figure(timeline).axes[0].texts]
    assert shown == ["so great", "bad awful bad", ""]
    long = replace(timeline.moments[0], text="$x$ " + "very " * 40)
    cut = figure(replace(timeline, moments=(long,))).axes[0].texts[0].get_text()
    assert cut.startswith(r"\$x\$ very")
    assert cut.endswith("…")
    assert len(cut) < 30
    wordless = tuple(replace(m, text="") for m in timeline.moments)
    assert len(figure(replace(timeline, moments=wordless)).axes) == 6


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_same_timeline_gives_the_same_bytes(suffix: str, timeline: Timeline, tmp_path: Path) -> None:
    short = replace(timeline, targets=timeline.targets[:1])
    first, second = (timeline_plot(short, tmp_path / f"{n}.{suffix}").read_bytes() for n in "ab")
    assert first == second
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert first.startswith(starts[suffix])


def test_the_figure_is_not_empty_and_its_background_is_clear(timeline: Timeline, tmp_path: Path) -> None:
    from matplotlib.image import imread

    pixels = imread(timeline_plot(timeline, tmp_path / "deep" / "a.png"))
    assert pixels.shape[1] == 1440
    opaque = float(np.mean(pixels[..., 3] > 0))
    assert 0.02 < opaque < 0.6


def test_long_clips_and_rows_without_times_are_drawn(timeline: Timeline, tmp_path: Path) -> None:
    first = timeline.moments[0]
    many = tuple(replace(first, start=6.0 * i, end=6.0 * i + 5, words=()) for i in range(300))
    drawn = figure(replace(timeline, moments=many, duration=1800.0))
    assert sum(len(a.collections) for a in drawn.axes) < 60  # not one shape per utterance
    assert len(boxes(drawn.axes[0], "90% interval")) == 300
    rows = tuple(replace(m, start=0.0, end=0.0) for m in timeline.moments)
    untimed = figure(replace(timeline, moments=rows, duration=0.0))
    assert untimed.axes[-1].get_xlabel() == "row"
    assert untimed.axes[-1].get_xlim() == (0, 3)
    assert figure(replace(timeline, moments=())).axes


def test_files_that_cannot_be_written_are_one_sentence(timeline: Timeline, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"\.png, \.svg, \.pdf"):
        timeline_plot(timeline, tmp_path / "a.jpg")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        timeline_plot(timeline, tmp_path / "file" / "a.png")
