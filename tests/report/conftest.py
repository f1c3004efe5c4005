"""Run folders made up for the tests of the report: what ``polymodal fit`` and ``polymodal evaluate`` write."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polymodal.core import Modality, Schema, Target

TARGETS = {
    "regression": [Target("sentiment", "regression", (-3, 3))],
    "classification": [Target("emotion", "classification", None, ("happy", "sad & <low>", "neutral"))],
    "multilabel": [Target("moods", "multilabel", None, ("joy", "anger", "fear"))],
    "several": [Target(n, "regression", (1, 7)) for n in ("confident", "persuasive", "vivid_", "100% calm")],
}
METRICS = {
    "regression": {"mae": False, "corr": True, "acc2": True},
    "classification": {"accuracy": True, "f1": True, "f1/happy": True},
    "multilabel": {"f1": True, "weighted_accuracy": True},
}
NAMES = ("text", "audio", "vision")
SUBSETS = [s for k in (1, 2, 3) for s in itertools.combinations(NAMES, k)]
SEEDS = [1111, 1112]


def _scores(targets: list[Target], *, method: str = "mmcl", shift: float = 0.0, hash: str = "ab12") -> dict[str, Any]:
    """Return scores that are the better the more modalities there are, text most of all; worse by ``shift``."""
    rows = []
    for split, target, subset in itertools.product(("test", "test_ood"), targets, SUBSETS):
        if split == "test_ood" and len(subset) < 3:
            continue
        lost = 0.3 * ("text" not in subset) + 0.05 * (3 - len(subset)) + 0.2 * (split == "test_ood") + shift
        lost += 0.04 * targets.index(target)
        for place, (metric, higher) in enumerate(METRICS[target.task].items()):
            mean = 0.9 - 0.5 * lost if higher else 0.7 + lost
            rows.append(
                {
                    "split": split,
                    "condition": "complete" if len(subset) == 3 else f"subset:{','.join(subset)}",
                    "series": "",
                    "value": None,
                    "target": target.name,
                    "metric": metric,
                    "higher_is_better": higher,
                    "main": metric == ("mae" if target.task == "regression" else "f1"),
                    "mean": mean,
                    "std": 0.0125,
                    "low": mean - 0.04,
                    "high": mean + 0.05,
                    "least": None,
                    "most": None,
                    "chance": None,
                    "count": 90 - 10 * (place == 2),
                    "groups": 90 - 10 * (place == 2),
                    "seeds": [mean - 0.0125, mean + 0.0125],
                }
            )
    protocol = {"selection": "Lowest validation loss.", "interval": "95% over groups.", "absence": "Zeros."}
    data = {"source": "synthetic:talk", "name": "talk", "hash": hash, "modalities": list(NAMES)}
    about = {"run": "run", "method": method, "data": data, "protocol": protocol, "seeds": SEEDS}
    return about | {"rows": rows, "robustness": []}


def _info(targets: list[Target]) -> dict[str, Any]:
    schema = Schema(tuple(Modality(n, "sequence", 4) for n in NAMES), tuple(targets))
    data = {"source": "synthetic:talk", "name": "talk", "hash": "ab12", "schema": schema.to_dict()}
    return {
        "polymodal": "0.1.0",
        "code": "c0de12",
        "method": "mmcl",
        "method_source": "mmcl",
        "paper": "Lin & Hu, Findings of EMNLP 2022",
        "options": {"width": 128, "temperature": 0.1, "encoder": None},
        "recipe": {"epochs": 20, "batch_size": 32, "lr": 0.001, "patience": 8},
        "data": data | {"encode": {"text": "minilm"}, "sizes": {"train": 1000, "valid": 200, "test": 90}},
        "seeds": SEEDS,
        "command": "polymodal fit mmcl --data 'synthetic:talk?a=1&b=<2>' --seeds 1111,1112",
        "parameters": 123456,
        "handles_absence": False,
        "versions": {"python": "3.11.9", "torch": "2.13.0"},
        "created": "2026-11-20T12:00:00",
    }


def _write_training(folder: Path, seed: int, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    lines = []
    for epoch in range(1, 21):
        task, uni = 0.6 + np.exp(-epoch / 4) + rng.normal(0, 0.02), 0.3 * np.exp(-epoch / 6)
        cross = 0.2 * np.exp(-epoch / 9)
        train = {"loss": task + uni + cross, "task": task, "uni": uni, "cross_modal": cross}
        valid = 0.8 + np.exp(-epoch / 4) + 0.004 * max(0, epoch - 12) + rng.normal(0, 0.02)
        line = {"epoch": epoch, "step": epoch * 31, "phase": "train", "train": train, "best": epoch == 12}
        lines.append(json.dumps(line | {"valid": {"loss": valid, "task": valid}, "seconds": 2.1}))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "result.json").write_text(json.dumps({"best_epoch": 12, "epochs": 20, "seconds": 41.0}))


def _labels(target: Target, count: int, rng: np.random.Generator) -> tuple[list[Any], list[Any]]:
    if target.task == "regression":
        true = np.clip(rng.normal(0, 1.4, count), -3, 3)
        return true.tolist(), (0.7 * true + rng.normal(0, 0.5, count)).tolist()
    if target.task == "classification":
        true = rng.choice(3, count, p=(0.5, 0.2, 0.3))
        return true.tolist(), np.where(rng.random(count) < 0.7, true, rng.choice(3, count)).tolist()
    flags = rng.random((count, 3)) < (0.6, 0.3, 0.1)
    return flags.astype(int).tolist(), (flags ^ (rng.random((count, 3)) < 0.2)).astype(int).tolist()


def _write_predictions(folder: Path, targets: list[Target], rng: np.random.Generator, count: int = 90) -> None:
    ids = [f"clip{i}" for i in range(count)]
    parts = []
    first: np.ndarray[Any, Any] | None = None
    for seed, subset in itertools.product(SEEDS, (NAMES, ("text",))):
        columns = {
            "seed": [seed] * count,
            "split": ["test"] * count,
            "condition": ["complete" if subset == NAMES else f"subset:{','.join(subset)}"] * count,
            "id": ids,
        }
        for target in targets:
            columns[f"{target.name}/true"], columns[f"{target.name}/predicted"] = _labels(target, count, rng)
        if first is None:
            first = np.asarray(columns[f"{targets[0].name}/true"], float).reshape(count, -1)[:, :1]
        parts.append(pa.table(columns))
    assert first is not None
    pq.write_table(pa.concat_tables(parts), folder / "predictions.parquet")
    fused = rng.normal(size=(count, 16)) + first * rng.normal(size=(1, 16))
    np.savez(folder / "representations.npz", fused=fused.astype(np.float32)[::-1], id=np.array(ids[::-1]))


@pytest.fixture
def make_scores() -> Callable[..., dict[str, Any]]:
    """Return the function that makes the content of a ``scores.json`` for some targets."""
    return _scores


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes a run folder for a kind of task; ``bare`` leaves out training and evaluation."""

    def make(kind: str = "regression", *, name: str = "run", bare: bool = False) -> Path:
        rng = np.random.default_rng(0)
        run, targets = tmp_path_factory.mktemp("runs") / name, TARGETS[kind]
        run.mkdir()
        (run / "run.json").write_text(json.dumps(_info(targets)))
        if bare:
            return run
        for seed in SEEDS:
            _write_training(run / f"seed-{seed}", seed, rng)
        (run / "evaluation").mkdir()
        (run / "evaluation" / "scores.json").write_text(json.dumps(_scores(targets)))
        _write_predictions(run / "evaluation", targets, rng)
        return run

    return make
