"""An exported run says what the run says, without torch and polymodal, or nothing is written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polymodal import Predictor, fit
from polymodal.cli.main import main
from polymodal.core import Modality, Schema, Target
from polymodal.data.corpus import Corpus
from polymodal.data.split import Split, build_split
from polymodal.export import script
from polymodal.methods import find_method
from polymodal.train.run import Run

pytest.importorskip("onnxscript", reason="needs pip install 'polymodal[export]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs pip install 'polymodal[export]'")

Rows = list[dict[str, Any]]
LONG = pytest.mark.exhaustive
SCORE = Target("score", "regression", (-3, 3))
MOOD = Target("mood", "classification", classes=("joy", "anger", "fear"))
TAGS = Target("tags", "multilabel", classes=("humour", "sarcasm"))
SEQUENCES = tuple(Modality(n, "sequence", w) for n, w in (("text", 5), ("audio", 4), ("vision", 3)))
VECTORS = (Modality("face", "vector", 3), Modality("voice", "vector", 4))


def rows_of(schema: Schema, size: int, seed: int, longest: int) -> Rows:
    """Raw features on scales of their own, about a fifth of them absent."""
    rng = np.random.default_rng(seed)

    def value(modality: Modality) -> Any:
        steps = int(rng.integers(1, longest + 1)) if modality.kind == "sequence" else 1
        found = (5 + 3 * rng.standard_normal((steps, modality.width))).astype(np.float32)
        if rng.random() < 0.2:
            return None
        return found if modality.kind == "sequence" else found[0]

    return [{m.name: value(m) for m in schema.modalities} for _ in range(size)]


def corpus(modalities: tuple[Modality, ...], *targets: Target) -> Corpus:
    schema = Schema(modalities, targets)

    def split(name: str, size: int) -> Split:
        rows, rng = rows_of(schema, size, size, 6), np.random.default_rng(size)
        labels = {
            "score": rng.uniform(-3, 3, size),
            "mood": rng.integers(0, 3, size),
            "tags": rng.integers(0, 2, (size, 2)),
        }
        columns = {m.name: [row[m.name] for row in rows] for m in modalities}
        groups = [f"g{i % 6}" for i in range(size)]
        return build_split(
            schema, [f"{name}{i}" for i in range(size)], columns, {t.name: labels[t.name] for t in targets}, groups
        )

    splits = {name: split(name, size) for name, size in (("train", 48), ("valid", 60), ("test", 12))}
    return Corpus("small", "small", schema, splits)


def trained(out: Path, method: str, data: Corpus, **more: Any) -> Run:
    return fit(method, data, epochs=1, batch_size=16, device="cpu", out=out, **more)


def answers(folder: Path, rows: Rows, place: Path) -> list[dict[str, Any]]:
    """What the script of an export prints in a process that cannot import torch or polymodal."""
    plain = [{n: None if v is None else np.asarray(v).tolist() for n, v in row.items()} for row in rows]
    (place / "rows.json").write_text(json.dumps({"rows": plain}))
    guard = (
        "import runpy, sys\n"
        "class No:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.split('.')[0] in ('torch', 'polymodal'): raise ImportError('forbidden: ' + name)\n"
        "sys.meta_path.insert(0, No())\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", guard, str(folder / "predict.py"), str(place / "rows.json"), "--level", "0.8"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def agree(run: Run, rows: Rows, found: list[dict[str, Any]]) -> None:
    """The script's answers are those of ``Predictor``, calibrated alike."""
    moments = Predictor(run, level=0.8).predict_features(rows).moments
    assert len(moments) == len(found) == len(rows)
    for moment, told in zip(moments, found, strict=True):
        assert told.keys() == moment.estimates.keys()
        for name, estimate in moment.estimates.items():
            if estimate.value is not None:
                ends = [told[name][k] for k in ("low", "high")]
                assert told[name]["value"] == pytest.approx(estimate.value, abs=1e-4)
                assert ends == pytest.approx([estimate.low, estimate.high], abs=1e-4)
            else:
                assert told[name]["probabilities"] == pytest.approx(estimate.probabilities, abs=1e-4)


@pytest.mark.slow
def test_a_run_of_folds_and_seeds_on_vectors_with_three_kinds_of_target(tmp_path: Path) -> None:
    data = corpus(VECTORS, SCORE, MOOD, TAGS)
    run = trained(tmp_path / "run", "late-fusion", data, options={"width": 8}, seeds=[1, 2], folds=3)
    assert main(["export", str(run.path), "--onnx", str(tmp_path / "model")]) == 0
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["model.json", "model.onnx", "predict.py"]
    rows = [*rows_of(data.schema, 9, 7, 1), {}]
    found = answers(tmp_path / "model", rows, tmp_path)
    agree(run, rows, found)
    assert any(told["score"]["low"] is not None for told in found)


FOREST = {"trees": 4, "leaves": 4}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("linear", {}),
        ("ef-lstm", {"hidden": 6}),
        ("forest", FOREST),
        ("ensemble", {"members": [{"method": "linear"}, {"method": "forest", "options": FOREST}]}),
        ("cyin", {"steps": 7, "bottleneck": (6, 4), "channels": (6, 4), "width": 8, "heads": 2, "layers": 1}),
        ("crmt", {"base": "late-fusion", "base_options": {"width": 8}}),
        ("camib", {"width": 10, "joint": 8, "hidden": 8}),
        pytest.param("mult", {"width": 8, "heads": 2, "layers": 1}, marks=LONG),
        pytest.param("missing-adapt", {"base": "late-fusion", "base_options": {"width": 8}}, marks=LONG),
        pytest.param("moda", {"width": 8, "heads": 2, "layers": 1}, marks=LONG),
        pytest.param("mosear", {"width": 8, "heads": 2, "layers": 2, "rank": 2}, marks=LONG),
        pytest.param("multimodal-graph", {"width": 8, "layers": 1}, marks=LONG),
        pytest.param("semanticmac", {"width": 8, "heads": 2, "layers": 1, "part": 4}, marks=LONG),
    ],
)
def test_sequences_longer_than_those_it_was_traced_with(method: str, options: dict[str, Any], tmp_path: Path) -> None:
    data = corpus(SEQUENCES, SCORE if "regression" in find_method(method).tasks else MOOD)
    run = trained(tmp_path / "run", method, data, options=options)
    assert main(["export", str(run.path), "--onnx", str(tmp_path / "model")]) == 0
    rows = rows_of(data.schema, 8, 3, 70)
    agree(run, rows, answers(tmp_path / "model", rows, tmp_path))


def refused(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence of an export that fails and leaves nothing."""
    before = sorted(folder.parent.iterdir())
    capsys.readouterr()
    assert main(["export", str(run.path), "--onnx", str(folder)]) == 1
    assert sorted(folder.parent.iterdir()) == before
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    return error[0]


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("gone.npz", None, "cannot be read (No such file or directory)"),
        ("a.npz", b"text", "cannot be read (ValueError"),
        ("a.npz", b"PK\x03\x04", "cannot be read (BadZipFile"),
        ("a.json", b"{", "cannot be read (JSONDecodeError"),
        ("a.json", b"{}", "cannot be read (KeyError"),
        ("a.json", b"[]", "cannot be read (TypeError"),
        ("a.json", b'{"rows": []}', "holds no rows"),
        ("a.json", b'{"rows": [1]}', "holds no rows"),
        ("a.json", b'{"rows": {"audio": 1}}', "holds no rows"),
    ],
)
def test_the_script_says_in_a_sentence_what_is_no_file_of_samples(
    name: str, content: bytes | None, named: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        script.read(str(tmp_path / name))
    assert str(ended.value).startswith(f"error: {tmp_path / name} ")
    assert named in str(ended.value)
    assert "\n" not in str(ended.value)


def test_raw_text_is_refused_with_the_way_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fit("linear", "synthetic:talk?n=24", out=tmp_path / "run")
    assert "--encode text=" in refused(run, tmp_path / "model", capsys)


SORTING = """
from polymodal.methods.linear import Linear

class Sorting(Linear):
    def forward(self, batch):
        return super().forward(batch) if bool(batch.present.all()) else super().forward(batch.without("face"))
"""


def test_a_method_without_a_graph_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sorting.py").write_text(SORTING)
    run = trained(tmp_path / "run", f"{tmp_path / 'sorting.py'}:Sorting", corpus(VECTORS, SCORE))
    assert "cannot be exported" in refused(run, tmp_path / "model", capsys)


@pytest.mark.slow
def test_a_graph_that_says_something_else_is_not_left_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from polymodal.export import graph

    run = trained(tmp_path / "run", "late-fusion", corpus(VECTORS, SCORE), options={"width": 8})
    made = graph.Graph.forward
    monkeypatch.setattr(graph.Graph, "forward", lambda self, *x: tuple(y + 1e-3 for y in made(self, *x)))
    assert "differs from the run" in refused(run, tmp_path / "model", capsys)


def test_a_folder_that_holds_something_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(tmp_path / "run", "linear", corpus(VECTORS, SCORE))
    (tmp_path / "model").mkdir()
    (tmp_path / "model/notes").write_text("mine")
    assert "is not empty" in refused(run, tmp_path / "model", capsys)
    assert (tmp_path / "model/notes").read_text() == "mine"


def test_a_loop_over_time_is_the_same_traced_or_not() -> None:
    from polymodal.nn.memory import unroll
    from polymodal.nn.traced import tracing

    class Unrolled(torch.nn.Module):
        def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
            return unroll(x, w)[1]

    w = torch.randn(12, 3)
    with torch.no_grad(), tracing():
        steps = torch.export.Dim("steps")
        inputs = torch.randn(4, 2, 12), w
        program = torch.export.export(Unrolled(), inputs, dynamic_shapes=({0: steps}, None), strict=False)
    x = torch.randn(9, 2, 12)
    torch.testing.assert_close(program.module()(x, w), unroll(x, w)[1])
