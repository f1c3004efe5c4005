"""``polymodal predict``; here rather than under cli, for the runs and clips that it needs are here."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from polymodal import Run
from polymodal.cli.predict import predict
from polymodal.core import OptionError, RunError
from polymodal.predict.timeline import Timeline

MakeRun = Callable[..., Run]
MakeClip = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("pipeline")


def test_a_table_is_printed(run: Run, make_clip: MakeClip, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(str(run.path), [str(make_clip())]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("clip.mp4", "0:00.5-0:02.0", "so great", " to ", "note: ", "audio  "))


def test_json_is_a_timeline(run: Run, make_clip: MakeClip, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(str(run.path), [str(make_clip())], json=True, level=0.5) == 0
    timeline = Timeline.from_dict(json.loads(capsys.readouterr().out))
    assert (timeline.clip, timeline.level, len(timeline.moments)) == ("clip.mp4", 0.5, 3)


def test_a_bad_clip_is_reported_and_the_rest_goes_on(
    run: Run, make_clip: MakeClip, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "bad.mp4").write_text("text")
    clips = [str(make_clip()), str(tmp_path / "bad.mp4"), str(make_clip(name="other.mp4"))]
    assert predict(str(run.path), clips, json=True) == 1
    printed = capsys.readouterr()
    one, bad, two = json.loads(printed.out)
    assert (one["clip"], two["clip"], bad["clip"]) == ("clip.mp4", "other.mp4", "bad.mp4")
    assert bad["error"] == "bad.mp4 is no clip; give a video"
    assert "error: bad.mp4 is no clip; give a video\n" in printed.err
    assert predict(str(run.path), clips[1:2], json=True) == 1
    assert capsys.readouterr().out == ""


def test_several_clips_are_one_table_of_values(
    run: Run, make_clip: MakeClip, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(str(run.path), [str(make_clip()), str(make_clip(name="other.mp4"))], csv=True) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [r["clip"] for r in rows] == ["clip.mp4"] * 3 + ["other.mp4"] * 3
    assert all(float(r["sentiment"]) for r in rows)


def test_out_gets_a_json_and_a_csv_for_each_clip(
    run: Run, make_clip: MakeClip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b").mkdir()
    clips = [make_clip(), make_clip(name="b/clip.mp4")]
    assert predict(str(run.path), [str(c) for c in clips], out=str(tmp_path / "out")) == 0
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["clip-2.csv", "clip-2.json", "clip.csv", "clip.json"]
    assert len(Timeline.from_dict(json.loads((tmp_path / "out/clip.json").read_text())).moments) == 3
    assert capsys.readouterr().out


def test_plot_and_page_go_to_a_file_of_their_own_per_clip(
    run: Run, make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    plot: Any = ModuleType("polymodal.predict.plot")
    page: Any = ModuleType("polymodal.predict.page")
    plot.timeline_plot = lambda timeline, path: drawn.append((timeline.clip, path))
    page.write_page = lambda timeline, clip, path: drawn.append((Path(clip).name, path))
    monkeypatch.setitem(sys.modules, "polymodal.predict.plot", plot)
    monkeypatch.setitem(sys.modules, "polymodal.predict.page", page)
    clips, png, html = [str(make_clip()), str(make_clip(name="o.mp4"))], tmp_path / "a.png", tmp_path / "a.html"
    predict(str(run.path), clips[:1], plot=str(png), html=str(html))
    assert drawn == [("clip.mp4", png), ("clip.mp4", html)]
    drawn.clear()
    predict(str(run.path), clips, plot=str(png))
    assert drawn == [("clip.mp4", tmp_path / "a-clip.png"), ("o.mp4", tmp_path / "a-o.png")]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"clips": []}, "at least one clip; without one, add --live"),
        ({"clips": ["a", "b"], "live": True}, "--live reads one clip or the camera"),
        ({"clips": ["a"], "live": True, "out": "x"}, "leave out files and tables"),
        ({"clips": ["a", "b"], "transcript": "x"}, "--transcript belongs to one clip"),
        ({"clips": ["a"], "json": True, "csv": True}, "--json and --csv"),
        ({"clips": ["a"], "level": 0.7}, "level must be one of"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(run: Run, options: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionError, match=named):
        predict(str(run.path), **options)


def test_no_run_is_no_matter_of_a_clip(tmp_path: Path, make_clip: MakeClip) -> None:
    with pytest.raises(RunError):
        predict(str(tmp_path), [str(make_clip())])


@pytest.mark.parametrize("as_json", [True, False])
def test_live_prints_a_line_per_estimate_with_its_latency(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    told = [{"start": i / 2, "end": i / 2 + 0.5, "text": "great", "audio": 4, "time": 0.0} for i in range(3)]

    class Media:
        def __init__(self, source: Any, *, name: str | None = None) -> None:
            assert source == "clip.mp4"
            self.info = SimpleNamespace(has_audio=True, has_video=True)

        def __enter__(self) -> Media:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def pieces(self, **_: Any) -> Any:
            return (_Piece(t) for t in told)

    class _Piece(dict[str, Any]):
        time = 0.0

    monkeypatch.setattr("polymodal.media.clip.decode.Media", Media)
    monkeypatch.setattr("polymodal.predict.ready.place.told", lambda path: [f"limits: those of {path.name}"])
    assert predict(str(run.path), ["clip.mp4"], live=True, json=as_json) == 0
    said = capsys.readouterr()
    assert f"note: limits: those of {run.path.name}\n" in said.err
    lines = said.out.splitlines()
    assert len(lines) == 3
    if as_json:
        assert all("latency" in json.loads(x) for x in lines)
    else:
        assert all("great" in x and " ms)" in x for x in lines)


def test_threads_of_torch_are_those_asked_for(run: Run, make_clip: MakeClip) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        predict(str(run.path), [str(make_clip())], threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
