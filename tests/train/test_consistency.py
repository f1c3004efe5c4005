"""Training against interference: what is changed and by how much, what is learned, and that it helps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import polymodal
from polymodal.audit.interference import Interference
from polymodal.audit.panels import panel_of
from polymodal.core import Modality, OptionError, Output, Schema, Stream, Target
from polymodal.data.corpus import Corpus
from polymodal.data.loader import Loader
from polymodal.data.split import build_split
from polymodal.methods import build, find_method
from polymodal.methods.base import Method
from polymodal.nn.heads import task_losses
from polymodal.train.consistency import Paired, adversarial, consistent_losses, divergence
from polymodal.train.problem import CorpusProblem
from polymodal.train.recipe import Recipe

TARGET = Target("y", "classification", classes=("no", "yes"))
SCHEMA = Schema(
    (Modality("words", "vector", 4, normalize=False), Modality("voice", "sequence", 3, normalize=False)), (TARGET,)
)


def _split(rows: int, seed: int, shortcut: float) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=rows)
    same = rng.random(rows) < shortcut
    follows = np.where(same, labels, 1 - labels)
    words = rng.normal(size=(rows, 4)) + 0.7 * (2 * labels - 1)[:, None]
    voice = [rng.normal(size=(2 + i % 3, 3)) * 0.2 + (2 * follows[i] - 1) for i in range(rows)]
    return {"columns": {"words": list(words), "voice": voice}, "labels": labels}


def _corpus(rows: int = 64) -> Corpus:
    """The voice follows the label in nine of ten training samples, and in none of the last part."""
    splits = {}
    for seed, (name, share) in enumerate({"train": 0.9, "valid": 0.9, "test": 0.9, "turned": 0.0}.items()):
        drawn = _split(rows, seed, share)
        ids = [f"{name}{i}" for i in range(rows)]
        splits[name] = build_split(SCHEMA, ids, drawn["columns"], {"y": drawn["labels"]})  # type: ignore[arg-type]
    return Corpus("shortcut", "shortcut", SCHEMA, splits)


def _method() -> Method:
    torch.manual_seed(1)
    return build(find_method("late-fusion"), SCHEMA, {"width": 8, "dropout": 0.0})


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return _corpus()


def _pair(corpus: Corpus, stress: str = "interference:voice") -> Paired:
    problem = CorpusProblem(corpus, Recipe(batch_size=32, train_stress=stress), seed=1)
    found = problem.batch(np.arange(32), 0)
    assert isinstance(found, Paired)
    return found


def test_only_what_is_named_changes(corpus: Corpus) -> None:
    pair = _pair(corpus)
    assert pair.clean["words"].tensor.tolist() == pair.changed["words"].tensor.tolist()
    assert pair.clean.targets["y"].tolist() == pair.changed.targets["y"].tolist()
    moved = [
        not torch.allclose(a[:2], b[:2])
        for a, b in zip(pair.clean["voice"].tensor, pair.changed["voice"].tensor, strict=True)
    ]
    assert np.mean(moved) > 0.9
    assert pair.modalities == ("voice",)


def test_the_adversarial_change_is_small_where_it_may_be_and_nowhere_else(corpus: Corpus) -> None:
    batch, method = _pair(corpus).clean, _method()
    hostile = adversarial(method, batch, ["voice"], 0.05)
    assert hostile["words"].tensor is batch["words"].tensor
    move = hostile["voice"].tensor - batch["voice"].tensor
    assert 0.04 < float(move.abs().max()) <= 0.05 + 1e-6
    assert float(move[~batch["voice"].mask].abs().max()) == pytest.approx(0, abs=1e-9)


def test_a_voice_that_is_absent_does_not_move(corpus: Corpus) -> None:
    batch, method = _pair(corpus).clean, _method()
    there = torch.arange(len(batch)) % 2 == 0
    voice = batch["voice"]
    batch = replace(batch, streams={**batch.streams, "voice": Stream(voice.values, voice.lengths * there, there)})
    move = adversarial(method, batch, ["voice"], 0.05)["voice"].tensor - batch["voice"].tensor
    assert float(move[~there].abs().max()) == pytest.approx(0, abs=1e-9)
    assert float(move[there].abs().max()) > 0.04


def test_it_raises_the_loss_and_leaves_the_method_alone(corpus: Corpus) -> None:
    batch, method = _pair(corpus).clean, _method()
    before = {n: p.clone() for n, p in method.named_parameters()}
    hostile = adversarial(method, batch, ["voice"], 0.3)

    def loss(part: object) -> float:
        return float(task_losses(SCHEMA, part, method(part))["task"].detach())  # type: ignore[arg-type]

    assert loss(hostile) > loss(batch) + 1e-3
    assert all(p.grad is None for p in method.parameters())
    assert all(p.tolist() == before[n].tolist() for n, p in method.named_parameters())


def _output(logits: Tensor) -> Output:
    return Output({"y": logits})


def test_equal_answers_are_consistent_and_only_the_changed_one_learns() -> None:
    first = torch.randn(6, 2, requires_grad=True)
    second = torch.randn(6, 2, requires_grad=True)
    assert float(divergence(SCHEMA, _output(first), _output(first.detach().clone()))) == pytest.approx(0, abs=1e-6)
    found = divergence(SCHEMA, _output(first), _output(second))
    found.backward()
    assert float(found.detach()) > 0.01
    assert first.grad is None
    assert second.grad is not None
    assert float(second.grad.abs().sum()) > 0


@pytest.mark.parametrize(
    "target", [Target("y", "regression", (-3, 3)), Target("y", "multilabel", classes=("a", "b"))], ids=lambda t: t.task
)
def test_numbers_and_several_classes_have_a_divergence_too(target: Target) -> None:
    schema = Schema(SCHEMA.modalities, (target,))
    width = 1 if target.task == "regression" else 2
    same, other = torch.zeros(5, width), torch.full((5, width), 3.0)
    assert float(divergence(schema, _output(same), _output(same))) == pytest.approx(0, abs=1e-6)
    assert float(divergence(schema, _output(same), _output(other))) > 0.05


def test_the_losses_are_of_both_versions(corpus: Corpus) -> None:
    pair, method = _pair(corpus), _method()
    found = consistent_losses(method, pair)
    assert list(found) == ["task", "adversarial/task", "consistency"]
    halves = [float(method.losses(b, method(b))["task"].detach()) for b in (pair.clean, pair.changed)]
    assert float(found["task"].detach()) == pytest.approx(sum(halves) / 2, rel=1e-5)
    assert list(consistent_losses(method, _pair(corpus, "interference:voice,eps=0"))) == ["task", "consistency"]


def test_consistency_alone_does_not_unlearn_the_task(corpus: Corpus) -> None:
    pair, method = _pair(corpus, "interference:voice,consistency=1"), _method()

    def learn(names: tuple[str, ...], steps: int) -> list[float]:
        optimizer, seen = torch.optim.Adam(method.parameters(), 0.01), []
        for _ in range(steps):
            found = consistent_losses(method, pair)
            optimizer.zero_grad()
            sum((found[name] for name in names), torch.zeros(())).backward()
            optimizer.step()
            seen.append(float(found["consistency"].detach()))
        return seen

    def right() -> float:
        return float((method(pair.clean).predictions["y"].argmax(1) == pair.clean.targets["y"]).float().mean())

    learn(("task",), 60)
    before = right()
    apart = learn(("consistency",), 60)
    assert before > 0.85
    assert apart[-1] < 0.5 * apart[0]
    assert right() > before - 0.1


def test_interference_stands_last() -> None:
    with pytest.raises(OptionError, match="interference stands last"):
        Recipe(train_stress="interference:voice+missing:rate=0.2")


def _trained(corpus: Corpus, out: Path, stress: str) -> tuple[float, float, float]:
    """Return the share of answers that a misleading voice changes, accuracy on test, and where the voice has turned."""
    options = {"width": 16, "dropout": 0.0}
    run = polymodal.fit(
        "late-fusion", corpus, epochs=8, seeds=[1], lr=5e-3, options=options, train_stress=stress or None, out=out
    )
    judge = panel_of(run)
    loaders = {name: Loader(corpus[name], corpus.schema, 64) for name in ("test", "turned")}
    found = Interference(relevant="words").run(judge, loaders["test"].epoch)
    changed = {line.what: line.value for line in found.evidence if "answers that change" in line.part}
    right = []
    for loader in loaders.values():
        said = [(judge(b)["y"].argmax(1) == b.targets["y"]).double() for b in loader.epoch()]
        right.append(float(torch.cat(said).mean()))
    return changed["a misleading one"], right[0], right[1]


@pytest.mark.slow
def test_trained_against_it_a_false_voice_hardly_changes_an_answer(tmp_path: Path) -> None:
    corpus = _corpus(400)
    plain, plain_right, plain_turned = _trained(corpus, tmp_path / "plain", "")
    steady, right, turned = _trained(corpus, tmp_path / "steady", "interference:voice,consistency=30")
    print(plain, plain_right, plain_turned, steady, right, turned)
    assert plain > 0.15
    assert steady < min(0.1, plain / 2)
    assert right > plain_right - 0.1  # the voice did help, where it had not turned
    assert turned > plain_turned + 0.1
