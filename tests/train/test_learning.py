"""The Modality Learning Index: closed forms, and an encoder that does not learn."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from polymodal import fit
from polymodal.core import Modality, Schema, Target
from polymodal.methods.late_fusion import LateFusion
from polymodal.report import write_report
from polymodal.train.learning import encoders_of, gradient_sizes, learning_index

SCHEMA = Schema((Modality("text", "vector", 4), Modality("audio", "vector", 3)), (Target("y", "regression"),))


def test_the_index_has_its_closed_form() -> None:
    assert learning_index({"text": 0.2, "audio": 0.2}) == pytest.approx(1)
    assert learning_index({"text": 0.3, "audio": 0.1, "vision": 0.2}) == pytest.approx(0.5)
    assert learning_index({"text": 0.3, "audio": 0.0}) == pytest.approx(0, abs=1e-12)
    assert math.isnan(learning_index({"text": 0.0, "audio": 0.0}))
    assert math.isnan(learning_index({"text": 1.0}))


def test_the_size_is_the_norm_by_the_root_of_the_number_of_parameters() -> None:
    method = LateFusion(SCHEMA, width=4)
    found = encoders_of(method)
    for parameter in method.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    sizes = gradient_sizes(found, torch.device("cpu"))
    assert {n: s.item() for n, s in sizes.items()} == pytest.approx({"text": 2.0, "audio": 2.0})
    for parameter in found["audio"]:
        parameter.grad = None
    sizes = gradient_sizes(found, torch.device("cpu"))
    assert learning_index({n: s.item() for n, s in sizes.items()}) == pytest.approx(0, abs=1e-12)


def test_a_training_notes_it_beside_the_losses_and_the_report_says_it(tmp_path: Path) -> None:
    run = fit("late-fusion", "synthetic:talk?n=80", out=tmp_path / "run", epochs=2, seeds=(1,))
    lines = [json.loads(line) for line in next(run.path.rglob("metrics.jsonl")).read_text().splitlines()]
    assert all(set(line["gradients"]) == set(run.schema.names) for line in lines)
    assert all(size > 0 for line in lines for size in line["gradients"].values())
    assert all(
        line["train"]["loss"] == pytest.approx(sum(v for n, v in line["train"].items() if n != "loss"))
        for line in lines
    )
    page = write_report(run.path).read_text()
    assert "Modality Learning Index 0." in page
