"""Damaged and edited files of runs and stores: one sentence with file, field and remedy; never a changed figure."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polymodal.core import DataError, PolymodalError, RunError
from polymodal.core.records import sealed
from polymodal.data.sources import load_corpus
from polymodal.data.store import verify, write_store
from polymodal.predict import hub
from polymodal.predict.predictor import Predictor
from polymodal.report.folder import best_epochs, read_epochs, read_fused, read_run
from polymodal.train.checkpoint import load_checkpoint, save_checkpoint
from polymodal.train.compare import load_scores
from polymodal.train.evaluate import evaluate
from polymodal.train.fit import fit
from polymodal.train.novelty import Novelty
from polymodal.train.run import Run

Change = Callable[[Any], Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained and evaluated run."""
    place = tmp_path_factory.mktemp("runs") / "run"
    fit("late-fusion", "synthetic:xor?n=40", options={"epochs": 2}, out=place)
    evaluate(place, subsets=False)
    return place


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def use(folder: Path) -> None:
    """Do with a run all that reads its files."""
    opened = Run.load(folder)
    opened.results()
    _ = opened.normalizer, opened.calibration, opened.method()
    load_scores(opened)
    shown = read_run(folder)
    best_epochs(shown, read_epochs(shown))
    read_fused(shown)
    Predictor(opened).predict_features([{"audio": np.zeros((3, opened.schema.modality("audio").width), np.float32)}])


def edit(file: Path, change: Change) -> None:
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


def _set(*path: Any) -> Change:
    *way, last, value = path

    def change(held: Any) -> Any:
        inner = held
        for key in way:
            inner = inner[key]
        inner[last] = value
        return held

    return change


EDITS: dict[str, tuple[str, Change, str]] = {
    "no object": ("run.json", lambda held: [held], "its content must be an object, got list"),
    "a method that is a number": ("run.json", _set("method", 5), "method must be text, got 5"),
    "seeds of text": ("run.json", _set("seeds", "1111"), "seeds must be different whole numbers"),
    "data of nothing": ("run.json", _set("data", None), "data must be an object"),
    "no hash": ("run.json", lambda held: held["data"].pop("hash") and held, "data.hash is missing"),
    "a schema of text": ("run.json", _set("data", "schema", "x"), "data.schema must be an object"),
    "a schema of nothing": ("run.json", _set("data", "schema", {}), "data.schema.modalities is missing"),
    "a batch of -1": ("run.json", _set("recipe", "batch_size", -1), "recipe.batch_size must be a whole number above 0"),
    "statistics of nothing": ("normalizer.json", lambda _: {}, "is missing"),
    "statistics of text": ("normalizer.json", _set("audio", "mean", ["a"]), "audio.mean[0] must be a number"),
    "a deviation of 0": (
        "normalizer.json",
        lambda h: _set("audio", "std", 0, 0.0)(h),
        "audio.std[0] must be a number above 0",
    ),
    "too few channels": ("normalizer.json", _set("audio", "mean", [0.0]), "numbers, got 1"),
    "another modality": ("normalizer.json", _set("smell", {"mean": [], "std": []}), "smell is no modality"),
    "other statistics": ("normalizer.json", _set("audio", "mean", 0, 0.25), "its checksum is not that of result.json"),
    "a result of nothing": ("seed-1111/result.json", lambda _: {}, "best_epoch is missing"),
    "an epoch of text": ("seed-1111/result.json", _set("best_epoch", "1"), "best_epoch must be a whole number"),
    "seeds nowhere": ("calibration.json", lambda h: h.pop("seeds") and h, "seeds is missing"),
    "a count of text": ("calibration.json", _set("subsets", 0, "targets", {"a": {"count": "x"}}), "targets.a.count"),
    "another temperature": (
        "calibration.json",
        lambda h: _set("subsets", 0, "targets", "agreement", "temperature", 2.5)(h),
        "is not what was written: its checksum differs",
    ),
    "no checksum": ("calibration.json", lambda h: h.pop("checksum") and h, "is not what was written"),
    "a method of 5000 letters": ("run.json", lambda h: _set("method_source", "x" * 5000)(h), "no method 'xxx"),
    "a class that is a number": (
        "run.json",
        _set("data", "schema", "targets", 0, "classes", [1, 2]),
        "data.schema.targets[0].classes[0] must be text",
    ),
    "scores of a list": ("evaluation/scores.json", lambda _: [], "its content must be an object"),
    "rows of nothing": ("evaluation/scores.json", _set("rows", None), "rows must be a list"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_file_is_named_with_its_field(copy: Path, name: str) -> None:
    file, change, said = EDITS[name]
    edit(copy / file, change)
    with pytest.raises(PolymodalError) as caught:
        use(copy)
    assert said in str(caught.value)
    assert str(copy / file) in str(caught.value)
    assert "\n" not in str(caught.value)


FILES = ("run.json", "normalizer.json", "seed-1111/result.json", "calibration.json", "evaluation/scores.json")
BROKEN = {"empty": b"", "half": b'{"method": ', "bytes": b"\xff\xfe\x00", "deep": b"[" * 100_000, "nan": b"[NaN"}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_file_is_named(copy: Path, file: str, content: str) -> None:
    (copy / file).write_bytes(BROKEN[content])
    with pytest.raises(PolymodalError) as caught:
        use(copy)
    assert str(copy / file) in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("line", ["{", "[]", '{"epoch": "x"}', '{"epoch": -1}', "5"])
def test_a_broken_line_is_named(copy: Path, line: str) -> None:
    with (copy / "seed-1111/metrics.jsonl").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl line 3"):
        use(copy)


def test_a_broken_archive_is_named(copy: Path) -> None:
    (copy / "evaluation/representations.npz").write_bytes(b"PK\x03\x04" + bytes(40))
    with pytest.raises(RunError, match=r"representations.npz cannot be read"):
        use(copy)


def test_weights_that_are_not_those_of_training_are_refused_and_older_runs_read(copy: Path) -> None:
    weights = copy / "seed-1111/best.safetensors"
    held = bytearray(weights.read_bytes())
    held[-3] ^= 1
    weights.write_bytes(held)
    with pytest.raises(RunError, match=r"best.safetensors is not what training wrote"):
        use(copy)
    edit(copy / "seed-1111/result.json", lambda h: {n: v for n, v in h.items() if n not in ("weights", "normalizer")})
    use(copy)


def mutated(held: Any, draw: random.Random) -> Any:
    """Return ``held`` with something in it replaced, removed or repeated."""
    odd = [None, True, -1, 0, 1e308, "", "x" * 40, "\ud800", [], {}, [[]], {"a": 1}, 2**70, float("inf"), "NaN"]
    if isinstance(held, dict) and held and draw.random() < 0.85:
        key = draw.choice(sorted(held))
        if draw.random() < 0.15:
            return {name: value for name, value in held.items() if name != key}
        return held | {key: mutated(held[key], draw)}
    if isinstance(held, list) and held and draw.random() < 0.7:
        at = draw.randrange(len(held))
        return [*held[:at], mutated(held[at], draw), *held[at + 1 :]] if draw.random() < 0.8 else held * 2
    return draw.choice(odd)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(file=st.sampled_from(FILES), seed=st.integers(0, 2**32))
def test_whatever_is_changed_is_a_sentence_or_harmless(run: Path, file: str, seed: int) -> None:
    before = (run / file).read_bytes()
    try:
        (run / file).write_text(json.dumps(mutated(json.loads(before), random.Random(seed))))
        use(run)
    except PolymodalError as error:
        assert "\n" not in str(error)  # noqa: PT017 (what is not raised is as good)
    finally:
        (run / file).write_bytes(before)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(load_corpus("synthetic:xor?n=20"), tmp_path / "store")


def test_overwritten_floats_of_a_store_are_found(store: Path) -> None:
    verify(load_corpus(store))
    (file,) = (store / "test").glob("*.arrow")
    held = bytearray(file.read_bytes())
    held[len(held) // 2] ^= 64
    file.write_bytes(held)
    with pytest.raises(DataError, match=r"split 'test' of the store .* its checksum differs"):
        verify(load_corpus(store))
    with pytest.raises(DataError, match="its checksum differs"):
        fit("linear", str(store), out=store.parent / "run")


def test_offsets_of_a_store_that_lead_out_of_it_end_no_process(store: Path) -> None:
    ids = load_corpus(store)["test"].ids
    offsets = np.cumsum([0, *map(len, ids)]).astype("<i4")
    (file,) = (store / "test").glob("*.arrow")
    held = file.read_bytes()
    at = held.index(offsets.tobytes()) + 4 * (len(offsets) // 2)
    file.write_bytes(held[:at] + b"\xff\xff\xff\x7f" + held[at + 4 :])
    with pytest.raises(DataError, match=r"store .* is damaged"):
        load_corpus(store)


def test_other_statistics_classes_or_splits_of_a_store_are_found(store: Path) -> None:
    told = (store / "polymodal.json").read_text()
    for change in (
        _set("normalizer", "audio", "mean", 0, 0.25),
        _set("schema", "targets", 0, "classes", ["match", "clash"]),
        lambda held: held.pop("checksum") and held,
    ):
        edit(store / "polymodal.json", change)
        with pytest.raises(DataError, match="is not what was written: its checksum differs"):
            load_corpus(store)
        (store / "polymodal.json").write_text(told)
    edit(store / "dataset_dict.json", _set("splits", ["train", "valid"]))
    with pytest.raises(DataError, match="it has the splits train, valid, not train, valid, test"):
        load_corpus(store)


def test_a_calibration_of_another_target_is_refused(copy: Path) -> None:
    edit(copy / "run.json", _set("data", "schema", "targets", 0, "name", "mood"))
    with pytest.raises(RunError, match="is of agreement, which the run does not predict"):
        _ = Run.load(copy).calibration


def test_an_alarm_from_other_numbers_is_refused(copy: Path) -> None:
    tensors, state = load_checkpoint(copy / "novelty.safetensors")
    save_checkpoint(copy / "novelty.safetensors", {n: t + 1 for n, t in tensors.items()}, state)
    with pytest.raises(RunError, match=r"novelty.safetensors cannot be read \(its checksum differs\)"):
        Novelty.read(Run.load(copy))


def test_a_store_of_an_earlier_version_has_no_checksums_and_is_read(store: Path) -> None:
    edit(
        store / "polymodal.json",
        lambda held: {n: v for n, v in held.items() if n not in ("checksums", "checksum", "sealed")},
    )
    verify(load_corpus(store))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("normalizer", {}), "normalizer: audio is missing"),
        (_set("normalizer", "audio", "std", 0, -1.0), "normalizer.audio.std[0] must be a number above 0"),
        (_set("hash", 5), "hash must be text"),
        (_set("schema", "modalities", 7), "schema.modalities must be a list"),
        (_set("schema", "targets", 0, "name", None), "schema.targets[0].name must be text"),
        (_set("normalizer", "audio", "mean", 0, 1e300), "normalizer.audio.mean[0] must be a number that single"),
        (lambda held: list(held), "must be an object"),
    ],
)
def test_the_state_of_a_store(store: Path, change: Change, said: str) -> None:
    edit(store / "polymodal.json", lambda held: sealed(found) if isinstance(found := change(held), dict) else found)
    with pytest.raises(DataError) as caught:
        load_corpus(store)
    assert said in str(caught.value)
    assert str(store) in str(caught.value)


def test_a_split_whose_name_leads_out_of_the_store(tmp_path: Path) -> None:
    corpus = load_corpus("synthetic:xor?n=20")
    corpus.splits["../out"] = corpus.splits["test"]
    with pytest.raises(DataError, match="is to name a folder of the store"):
        write_store(corpus, tmp_path / "store")


def test_a_run_without_statistics_is_not_handed_on(copy: Path, tmp_path: Path) -> None:
    (copy / "normalizer.json").unlink()
    (tmp_path / "out").mkdir()
    with pytest.raises(RunError, match=r"normalizer\.json cannot be read"):
        hub.export(Run.load(copy), tmp_path / "out", "a/b")
