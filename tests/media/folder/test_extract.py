from __future__ import annotations

import csv
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from polymodal.core import DataError, OptionError
from polymodal.core.locks import locked
from polymodal.data.sources import load_corpus
from polymodal.media.extraction import Extraction
from polymodal.media.folder import extract as module
from polymodal.media.folder.extract import extract
from polymodal.media.folder.manifest import read_manifest
from polymodal.media.folder.summary import Summary

SOUND = Extraction(audio="logmel", vision="none", text="none", utterances="clip")
Run = Callable[..., Summary]


def write_clips(folder: Path, clips: dict[str, dict[str, Any]], rows: list[str] | None = None) -> None:
    """Write clips for ``FakePipeline`` and a table of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, clip) in enumerate(clips.items()):
        (folder / name).write_text(json.dumps({"number": number, "seconds": 1 + number / 10, **clip}))
    lines = ["file,label,speaker", *(f"{name},{i % 2},s{i}" for i, name in enumerate(clips))]
    (folder / "clips.csv").write_text("\n".join(rows or lines))


def plain(count: int) -> dict[str, dict[str, Any]]:
    return {f"c{i:02}.wav": {} for i in range(count)}


def reads(folder: Path) -> list[str]:
    """Return what has been read since the last call."""
    log = folder / "read.log"
    found = log.read_text().split() if log.exists() else []
    log.unlink(missing_ok=True)
    return found


def content(store: Path) -> dict[str, bytes]:
    """Return the files of a store that must be the same whoever made it."""
    names = [*store.rglob("*.arrow"), *store.glob("*.parquet"), *store.glob("*.csv"), store / "polymodal.json"]
    return {str(p.relative_to(store)): p.read_bytes() for p in sorted(names)}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``run("store", extraction, workers=2)``: extract tmp_path/clips with the fake pipeline."""
    monkeypatch.syspath_prepend(Path(__file__).parent)  # worker processes get this path too
    make = importlib.import_module("fake_pipeline").FakePipeline

    def start(out: str = "store", extraction: Extraction = SOUND, **options: Any) -> Summary:
        manifest = read_manifest(tmp_path / "clips", columns=options.pop("columns", None))
        return extract(manifest, tmp_path / out, extraction=extraction, make=make, **options)

    return start


def test_a_store_keeps_what_single_raters_said(run: Run, tmp_path: Path) -> None:
    moods = ["sad", "glad", "calm", "glad", "sad", "calm"]
    rows = [f"c{i:02}.wav,{mood},{'' if i == 2 else 'glad'},{mood}" for i, mood in enumerate(moods)]
    write_clips(tmp_path / "clips", plain(6), ["file,emotion@anna,emotion@ben,emotion@cleo", *rows])
    run()
    corpus = load_corpus(tmp_path / "store")
    target = corpus.schema.target("emotion")
    assert target.classes == ("calm", "glad", "sad")
    said = {
        name: [split.targets["emotion"][row], *(by[row] for by in split.ratings["emotion"].values())]
        for split in corpus.splits.values()
        for row, name in enumerate(split.ids)
    }
    assert all(list(split.ratings["emotion"]) == ["anna", "ben", "cleo"] for split in corpus.splits.values())
    for i, mood in enumerate(moods):
        told = target.classes.index(mood)
        np.testing.assert_array_equal(said[f"c{i:02}"], [told, told, np.nan if i == 2 else 1, told])


def test_a_store_holds_what_the_pipeline_found(run: Run, tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", {**plain(6), "late.wav": {"face": True}})
    summary = run(extraction=Extraction(audio="logmel", utterances="clip"), assets=tmp_path)
    corpus = load_corpus(tmp_path / "store")
    assert corpus.schema.names == ("audio", "vision")
    assert [(m.kind, m.width) for m in corpus.schema.modalities] == [("sequence", 2), ("vector", 1)]
    rows = {i: (s, n) for s in corpus.splits.values() for n, i in enumerate(s.ids)}
    assert len(rows) == 7
    for number in range(6):
        split, row = rows[f"c{number:02}"]
        steps = np.arange(10 + number) / 10
        np.testing.assert_array_equal(split.columns["audio"][row], np.float32([[t, number] for t in steps]))
        assert not split.present["vision"][row]
        assert split.targets["label"][row] == number % 2
        assert split.groups[row] == f"s{number}"
    split, row = rows["late"]
    assert split.columns["vision"][row].tolist() == [[6]]
    assert corpus.extraction == {
        "options": {**Extraction(audio="logmel", utterances="clip", text="given").to_dict()},
        "versions": {"audio": f"fake {tmp_path}"},
        "modalities": ["audio", "vision"],
        "trained_on": {},
    }
    assert {"nobody transcribes", "no clip has text: it is left out"} <= set(corpus.notes)
    assert (summary.clips, summary.done, summary.before, summary.failed) == (7, 7, 0, 0)
    assert summary.modalities == {"audio": 1.0, "vision": pytest.approx(1 / 7)}
    assert summary.media_seconds == pytest.approx(sum(1 + n / 10 for n in range(7)))
    assert (summary.face, summary.speech, summary.transcriber) == (0.25, None, "given")
    assert summary.stages == {"decode": 3.5}
    assert json.dumps(summary.to_dict())
    assert not (tmp_path / "store.partial").exists()


def test_crops_are_bytes_in_the_store_too(run: Run, tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", {f"c{i:02}.wav": {"face": i != 1} for i in range(6)})
    summary = run(extraction=Extraction(audio="none", vision="crops", text="given", utterances="clip", fps=5))
    assert summary.failed == 1  # c01 has nothing that is looked for
    corpus = load_corpus(tmp_path / "store")
    (vision,) = corpus.schema.modalities
    assert (vision.kind, vision.shape) == ("frames", (3, 112, 112))
    rows = {i: s.columns["vision"][n] for s in corpus.splits.values() for n, i in enumerate(s.ids)}
    assert set(rows) == {"c00", "c02", "c03", "c04", "c05"}
    for name, row in rows.items():
        assert (row.shape, row.dtype) == ((2, 3, 112, 112), np.uint8)
        assert (row == int(name[1:])).all()
    (table,) = (tmp_path / "store" / "train").glob("*.arrow")
    assert table.stat().st_size < len(corpus.splits["train"]) * 2 * 3 * 112 * 112 + 20_000


@pytest.mark.slow
def test_tables_are_the_same_bytes_for_one_and_two_workers(run: Run, tmp_path: Path) -> None:
    clips = {f"c{i:02}.wav": {"sleep": 0.05 * (i % 3), "says": f"word{i}", "notes": [f"odd {i}"]} for i in range(8)}
    write_clips(tmp_path / "clips", {**clips, "x.wav": {"bad": True}, "y.wav": {"odd": True}})
    extraction = Extraction(audio="logmel", vision="none", utterances="clip")
    one, two = run("one", extraction), run("two", extraction, workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert len(content(tmp_path / "one")) == 7
    assert one.failures == two.failures


def test_bad_clips_are_listed_and_only_they_are_read_again(run: Run, tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", {**plain(5), "bad.wav": {"bad": True}, "odd.wav": {"odd": True}})
    summary = run(workers=2)
    assert (summary.done, summary.failed) == (5, 2)
    with (tmp_path / "store" / "failed.csv").open() as file:
        listed = list(csv.reader(file))
    assert listed == [
        ["clip", "reason"],
        ["bad.wav", "bad.wav is not a clip"],
        ["odd.wav", "RuntimeError: decoder gave up"],
    ]
    assert "2 clips could not be read, see failed.csv" in load_corpus(tmp_path / "store").notes
    assert len(reads(tmp_path / "clips")) == 7
    with pytest.raises(DataError, match="exists already"):
        run()
    (tmp_path / "store").rename(tmp_path / "old")
    (tmp_path / "clips" / "bad.wav").write_text(json.dumps({"number": 5, "seconds": 1}))
    again = run()
    assert sorted(reads(tmp_path / "clips")) == ["bad.wav", "odd.wav"]
    assert (again.done, again.before, again.failed) == (6, 5, 1)
    assert (tmp_path / "store.partial").exists()


@pytest.mark.slow
def test_a_process_that_dies_costs_only_its_clip(run: Run, tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", {"d.wav": {"die": True}, **plain(4), "e.wav": {"die once": True}})
    summary = run(workers=2)
    assert [clip for clip, _ in summary.failures] == ["d.wav"]
    assert "died twice" in summary.failures[0][1]
    assert summary.done == 5
    read = reads(tmp_path / "clips")
    assert (read.count("d.wav"), read.count("e.wav")) == (2, 2)


@pytest.mark.slow
def test_a_defect_stops_the_job_and_keeps_what_is_done(run: Run, tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", {**plain(4), "z.wav": {"defect": True}})
    with pytest.raises(TypeError, match="defect"):
        run()
    assert not (tmp_path / "store").exists()
    write_clips(tmp_path / "clips", {"z.wav": {}}, (tmp_path / "clips" / "clips.csv").read_text().splitlines())
    reads(tmp_path / "clips")
    assert run().before == 4
    assert reads(tmp_path / "clips") == ["z.wav"]


@pytest.mark.slow
def test_only_what_changed_is_done_again(run: Run, tmp_path: Path) -> None:
    clips = {**plain(4), "z.wav": {"bad": True}}
    write_clips(tmp_path / "clips", clips)
    run()
    reads(tmp_path / "clips")

    def again(extraction: Extraction = SOUND, **options: Any) -> list[str]:
        (tmp_path / "store").rename(tmp_path / f"old{time.monotonic_ns()}")
        run(extraction=extraction, **options)
        return sorted(reads(tmp_path / "clips"))

    os.utime(tmp_path / "clips" / "c01.wav", ns=(1, 1))
    table = tmp_path / "clips" / "clips.csv"
    table.write_text(table.read_text().replace("c02.wav,0,", "c02.wav,1,"))  # a label is no part of the features
    part = next(p for p in (tmp_path / "store.partial" / "parts").iterdir() if part_of("c03.wav") == p.stem)
    part.write_bytes(part.read_bytes()[:20])
    assert again() == ["c01.wav", "c03.wav", "z.wav"]
    assert again(assets="elsewhere") == sorted(clips)  # other versions of extractors
    assert again(Extraction(audio="compare", vision="none", text="none", utterances="clip")) == sorted(clips)


def part_of(clip: str) -> str:
    return sha256(clip.encode()).hexdigest()[:32]


def test_nothing_usable_is_one_sentence_with_the_first_reason(run: Run, tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", {f"{n}.wav": {"bad": True} for n in "abc"})
    with pytest.raises(DataError, match=r"no clip of .* could be extracted; the first: a\.wav is not a clip"):
        run()
    assert not (tmp_path / "store").exists()


def test_rows_with_times_are_utterances_whatever_their_order(run: Run, tmp_path: Path) -> None:
    rows = ["clip,start,end,label", "a.wav,1,2,0", "a.wav,0,1.5,1", "b.wav,0,9,0", "a.wav,7,8,1", "c.wav,0.5,,1"]
    write_clips(tmp_path / "clips", {f"{n}.wav": {"seconds": 2} for n in "abc"}, rows)
    extraction = Extraction(audio="logmel", vision="none", text="none", utterances="speech")
    summary = run(extraction=extraction)
    assert summary.failed == 0
    said = pq.read_table(tmp_path / "store" / "utterances.parquet").to_pylist()
    spans = [(u["id"], u["start"], u["end"]) for u in said]
    assert spans == [("a[0]", 1, 2), ("a[1]", 0, 1.5), ("b", 0, 2), ("c", 0.5, 2)]
    assert "a.wav: a[2] starts at 7 s, after the end of the clip at 2 s" in summary.notes
    assert "b ends at 9 s, after the end of the clip at 2 s" in summary.notes
    assert not any("a[2] ends" in note for note in summary.notes), "it is left out, not cut"
    corpus = load_corpus(tmp_path / "store")
    found = {i: s.columns["audio"][n][:, 0] for s in corpus.splits.values() for n, i in enumerate(s.ids)}
    np.testing.assert_allclose(found["a[0]"], np.arange(1, 2, 0.1), rtol=1e-6)
    np.testing.assert_allclose(found["a[1]"], np.arange(0, 1.5, 0.1), rtol=1e-6)
    splits = {i: n for n, s in corpus.splits.items() for i in s.ids}
    assert splits["a[0]"] == splits["a[1]"]


def test_utterances_that_the_pipeline_finds_share_the_label_of_their_clip(run: Run, tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", {f"{n}.wav": {"seconds": 2.5, "says": n} for n in "abc"})
    summary = run(extraction=Extraction(audio="logmel", vision="none", utterances="windows", window=1))
    assert sum(summary.utterances.values()) == 9
    said = pq.read_table(tmp_path / "store" / "utterances.parquet").to_pylist()
    assert [u["id"] for u in said[:4]] == ["a[0]", "a[1]", "a[2]", "b[0]"]
    assert pq.read_table(tmp_path / "store" / "words.parquet").to_pylist()[1] == {
        "id": "a[1]",
        "word": "a",
        "start": 1.0,
        "end": 2.0,
    }
    corpus = load_corpus(tmp_path / "store")
    labels = {i: s.targets["label"][n] for s in corpus.splits.values() for n, i in enumerate(s.ids)}
    assert labels == {f"{n}[{k}]": i % 2 for i, n in enumerate("abc") for k in range(3)}
    assert all(len(set(s.groups)) * 3 == len(s) for s in corpus.splits.values())


@pytest.mark.slow
def test_features_are_read_from_files_where_the_table_names_them(run: Run, tmp_path: Path) -> None:
    rows = ["clip,label,opensmile", *(f"{n}.wav,{i % 2},{n}.csv" for i, n in enumerate("abcd")), "e.wav,1,"]
    write_clips(tmp_path / "clips", {f"{n}.wav": {"seconds": 1} for n in "abcde"}, rows)
    for i, name in enumerate("abcd"):
        steps = "\n".join(f"'x';{t / 10};{i};{t}" for t in range(12))
        (tmp_path / "clips" / f"{name}.csv").write_text(f"name;frameTime;loudness;pitch\n{steps}\n")
    files = Extraction(audio="file", vision="none", text="none", utterances="clip")
    summary = run(extraction=files)
    corpus = load_corpus(tmp_path / "store")
    found = {i: s.columns["audio"][n] for s in corpus.splits.values() for n, i in enumerate(s.ids)}
    np.testing.assert_array_equal(found["c"], [[2, t] for t in range(10)])
    assert summary.failures == (("e.wav", "nothing was found from 0 to 1 s"),)
    (tmp_path / "clips" / "b.csv").write_text("name;frameTime;loudness\n'x';0.0;1\n'x';0.1;1\n")
    with pytest.raises(DataError, match=r"audio of b\.wav has 1 features and audio of a\.wav 2"):
        run("other", extraction=files)


def test_subtitles_without_times_of_words_are_refused_where_words_are_averaged_over(run: Run, tmp_path: Path) -> None:
    rows = ["clip,label,transcript", *(f"{n}.wav,{i % 2},a.srt" for i, n in enumerate("abc"))]
    write_clips(tmp_path / "clips", {f"{n}.wav": {} for n in "abc"}, rows)
    (tmp_path / "clips/a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello there\n")
    with pytest.raises(DataError, match=r"the transcript of a.wav says which words, not when; .*transcript=none"):
        run(extraction=Extraction(audio="logmel", vision="none", utterances="transcript", align="words"))
    assert run(extraction=Extraction(audio="logmel", vision="none", utterances="transcript")).failed == 0


def test_options_that_do_not_fit_the_table_are_one_sentence(run: Run, tmp_path: Path) -> None:
    rows = ["clip,label,text", *(f"{n}.wav,{i % 2},hello" for i, n in enumerate("abc"))]
    write_clips(tmp_path / "clips", {f"{n}.wav": {} for n in "abc"}, rows)
    for extraction, message in (
        (Extraction(utterances="windows"), "use --utterances clip or transcript"),
        (Extraction(utterances="clip", align="words"), "says which words, not when"),
        (Extraction(utterances="transcript"), "names no transcripts"),
        (Extraction(utterances="clip", vision="file"), "vision is 'file', but .* --columns vision=COLUMN"),
    ):
        with pytest.raises(OptionError, match=message):
            run(extraction=extraction)
    with pytest.raises(OptionError, match="workers must be at least 1, got 0"):
        run(workers=0)
    (tmp_path / "store.partial").mkdir()
    (tmp_path / "store.partial" / "mine.txt").touch()
    with pytest.raises(DataError, match="is not an unfinished extraction"):
        run()
    assert [path.name for path in (tmp_path / "store.partial").iterdir()] == ["mine.txt"]


def test_what_a_killed_extraction_leaves_is_in_nobodys_way(run: Run, tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", {**plain(3), "bad.wav": {"bad": True}})
    partial = tmp_path / "store.partial"
    (partial / "parts").mkdir(parents=True)  # killed before it said whose this is
    run()
    (tmp_path / "store").rename(tmp_path / "whole")
    (partial / ".store.partial-77").mkdir()  # killed while it wrote the store, and a part
    (partial / "parts" / f"{'0' * 32}.safetensors.77").write_bytes(b"half")
    run()
    assert content(tmp_path / "store") == content(tmp_path / "whole")
    assert sorted(path.name for path in partial.iterdir()) == [".lock", "extract.json", "failed.csv", "parts"]
    assert {path.suffix for path in (partial / "parts").iterdir()} == {".safetensors"}


def test_what_one_killed_while_it_removed_its_parts_leaves_is_removed(run: Run, tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", plain(3))
    run()
    store, partial = tmp_path / "store", tmp_path / "store.partial"
    before, source = content(store), json.loads((store / "polymodal.json").read_text())["source"]

    def again(source: str = "", *others: str) -> bool:
        """Return whether what is left, of ``source`` and with ``others``, is still there after another start."""
        (partial / "parts").mkdir(parents=True, exist_ok=True)
        if source:
            (partial / "extract.json").write_text(json.dumps({"source": source}))
        for other in others:
            (partial / other).write_bytes(b"whole")
        with pytest.raises(DataError, match="exists already"):
            run()
        assert content(store) == before
        return partial.exists()

    assert not again()
    assert not again("", ".lock")
    assert not again(source)
    assert not again(source, f"parts/{'0' * 32}.safetensors", "failed.csv")
    assert again("another source")
    with locked(partial / ".lock"):
        assert again(source)
    (store / "failed.csv").touch()  # parts are there to read those that failed again
    before = content(store)
    assert again(source)


def test_another_that_has_just_finished_is_found_out(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clips(tmp_path / "clips", plain(3))
    opened = module.open_partial

    def and_another_is_quicker(*arguments: Any) -> Path:
        found = opened(*arguments)
        monkeypatch.setattr(module, "open_partial", opened)
        run()
        return found

    monkeypatch.setattr(module, "open_partial", and_another_is_quicker)
    with pytest.raises(DataError, match="exists already"):
        run()
    assert not (tmp_path / "store.partial").exists()


def test_text_of_the_table_is_text_of_the_utterance(run: Run, tmp_path: Path) -> None:
    rows = ["clip,label,text", *(f"{n}.wav,{i % 2},hello {n}" for i, n in enumerate("abc"))]
    write_clips(tmp_path / "clips", {f"{n}.wav": {"says": "something else"} for n in "abc"}, rows)
    run(extraction=Extraction(audio="none", vision="none", utterances="clip"))
    corpus = load_corpus(tmp_path / "store")
    assert sorted(s.columns["text"][0] for s in corpus.splits.values()) == ["hello a", "hello b", "hello c"]
    assert corpus.schema.names == ("text",)


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_parts_stay(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clips(tmp_path / "clips", plain(4))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(module, "assemble", full)
        with pytest.raises(DataError, match="No space left on device; what is done is kept: free space and start"):
            run()
    assert not (tmp_path / "store").exists()
    reads(tmp_path / "clips")
    assert run().before == 4
    assert reads(tmp_path / "clips") == []


SCRIPT = """
import sys
from pathlib import Path
from fake_pipeline import FakePipeline
from polymodal.media.folder.extract import extract
from polymodal.media.extraction import Extraction
from polymodal.media.folder.manifest import read_manifest
if __name__ == "__main__":
    sound = Extraction(audio="logmel", vision="none", text="none", utterances="clip")
    extract(read_manifest(sys.argv[1]), sys.argv[2], extraction=sound, workers=2, make=FakePipeline)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_extraction_leaves_no_process_and_goes_on(run: Run, tmp_path: Path, how: signal.Signals) -> None:
    write_clips(tmp_path / "clips", {f"c{i:02}.wav": {"sleep": 1.0} for i in range(10)})
    (tmp_path / "job.py").write_text(SCRIPT)
    words = [sys.executable, str(tmp_path / "job.py"), str(tmp_path / "clips"), str(tmp_path / "store")]
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    job = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.PIPE)
    parts = tmp_path / "store.partial" / "parts"
    deadline = time.monotonic() + 60
    while len(list(parts.glob("*.safetensors"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = children(job.pid)
    assert len(workers) >= 2
    job.send_signal(how)
    job.communicate(timeout=30)
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, workers))
    done = {p.name for p in parts.glob("*.safetensors")}
    assert 3 <= len(done) < 10
    reads(tmp_path / "clips")
    summary = run(workers=2)
    assert summary.before == len(done)
    assert len(reads(tmp_path / "clips")) == 10 - len(done)
    run("whole")
    assert content(tmp_path / "store") == content(tmp_path / "whole")


def children(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in found.read_text().split()]


def alive(process: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two processes of Ray on this machine, for several extractions."""
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_ray_cluster_makes_the_same_store_and_the_same_errors(run: Run, tmp_path: Path) -> None:
    clips = {**plain(6), "bad.wav": {"bad": True}, "die.wav": {"die": True}, "once.wav": {"die once": True}}
    write_clips(tmp_path / "clips", clips)
    summary = run("cluster", workers=2, ray="local")
    (tmp_path / "clips" / "once.died").unlink()
    run("local")
    assert content(tmp_path / "cluster") == content(tmp_path / "local")
    assert [clip for clip, _ in summary.failures] == ["bad.wav", "die.wav"]
    with pytest.raises(OptionError, match=r"^nothing can be extracted here$"):
        run("third", ray="local", assets="none")
    write_clips(tmp_path / "clips", {**plain(2), "x.wav": {"spoil": str(tmp_path / "fourth.partial/parts")}})
    with pytest.raises(DataError, match=r"^cannot write .*parts: No such file or directory; what is done is kept"):
        run("fourth", ray="local")


@pytest.mark.usefixtures("cluster")
def test_a_cluster_that_breaks_off_is_one_sentence(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def lost(_: object) -> None:
        raise ray.exceptions.LocalRayletDiedError

    write_clips(tmp_path / "clips", plain(3))
    monkeypatch.setattr(ray, "get", lost)
    with pytest.raises(
        OptionError, match=r"^the Ray cluster broke off: .*; what is done is kept, the same command goes"
    ):
        run(ray="local")


def test_a_cluster_that_is_not_there_is_one_sentence(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services = pytest.importorskip("ray._private.services")
    monkeypatch.setattr(services, "find_gcs_addresses", cache(set))  # those of other tests are not seen
    monkeypatch.setattr(services, "find_bootstrap_address", lambda _: None)
    write_clips(tmp_path / "clips", plain(3))
    with pytest.raises(OptionError, match="no Ray cluster at 'auto'"):
        run(ray="auto")
