"""Every file in examples/ runs, is short, and prints what it promises."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from polymodal.cli.main import main

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SAYS = {
    "compare_runs.py": ["| linear", "| late-fusion", "against runs/floor: mae"],
    "own_corpus.py": ["f1, complete", "f1, subset:note"],
    "own_method.py": ["mae, complete", "mae, subset:vision"],
    "own_task.py": ["log_error, complete", "54 labels"],
}


def test_the_examples_are_those_listed_here() -> None:
    elsewhere = ["ray_serve.py"]  # needs a run and a cluster: tests/serve/test_ray.py
    assert sorted(p.name for p in EXAMPLES.glob("*.py")) == sorted([*SAYS, *elsewhere])


@pytest.mark.parametrize("name", SAYS)
def test_example_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len((EXAMPLES / name).read_text().splitlines()) < 80
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    printed = capsys.readouterr().out
    for words in SAYS[name]:
        assert words in printed


def test_the_corpus_of_the_example_is_a_source_with_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "info", f"{EXAMPLES / 'own_corpus.py'}:stress?people=8", "--json"]) == 0
    assert '"samples": 32' in capsys.readouterr().out


def test_the_gate_of_the_example_ignores_absent_modalities() -> None:
    import torch

    from polymodal.data.loader import Loader
    from polymodal.data.sources import load_corpus

    corpus = load_corpus("synthetic:talk?n=20")
    method = runpy.run_path(str(EXAMPLES / "own_method.py"))["Gated"](corpus.schema).eval()
    batch = Loader(corpus["test"], corpus.schema, 4).batch(range(4)).without("text")
    weights = method(batch).representations["weights"]
    assert not weights[:, 0].any()
    torch.testing.assert_close(weights.sum(1), torch.ones(4))
