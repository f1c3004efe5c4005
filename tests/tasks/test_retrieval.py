"""Ranks of matches: a slow twin, closed forms, chance, and a planted match that is learned."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from polymodal import Run, evaluate, fit
from polymodal.core import Batch, Modality, Output, Schema, Target, TrainingError
from polymodal.data.corpus import Corpus
from polymodal.data.split import build_split
from polymodal.methods.base import Method, Phase
from polymodal.nn.contrast import info_nce
from polymodal.report import write_report
from polymodal.score import evaluate as score
from polymodal.score import summarise
from polymodal.tasks.retrieval import match_ranks

MATCH = Target("match", "retrieval")


def inner(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    return queries[:, 0] @ candidates[:, 1].T


def slow_rank(scores: np.ndarray, matches: np.ndarray) -> float:
    """The mean, over all orders of what is equally similar, of the place of the first match; one match."""
    (own,) = np.flatnonzero(matches)
    above = sum(s > scores[own] for s in scores)
    tied = [i for i in range(len(scores)) if scores[i] == scores[own]]
    return above + np.mean([place for place, _ in enumerate(tied, start=1)])


@pytest.mark.parametrize("block", [1, 3, 512])
def test_ranks_are_those_of_sorting_whatever_the_size_of_blocks(block: int) -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.integers(-2, 3, (11, 2, 3)).astype(float)  # coarse: similarities tie
    scores = inner(embeddings, embeddings)
    ranks = match_ranks(embeddings, np.arange(11), inner, block)
    for i in range(11):
        own = np.arange(11) == i
        assert ranks[i].tolist() == [slow_rank(scores[i], own), slow_rank(scores[:, i], own)]


def test_a_constant_similarity_ranks_in_the_middle_and_a_perfect_one_first() -> None:
    embeddings, labels = np.zeros((9, 2, 4)), np.arange(9)
    assert match_ranks(embeddings, labels, inner).tolist() == [[5, 5]] * 9
    perfect = np.repeat(np.eye(9)[:, None], 2, axis=1)
    assert match_ranks(perfect, labels, inner).tolist() == [[1, 1]] * 9


def test_intervals_end_at_the_first_place_and_at_all_found() -> None:
    found = summarise(MATCH, np.arange(40), [np.full((40, 2), 1.0), np.full((40, 2), 30.0)])
    assert (found["median_rank"].low, found["recall_at_1"].low, found["recall_at_1"].high) == (1, 0, 1)


def test_the_best_of_several_matches_counts_and_who_has_no_label_asks_nothing() -> None:
    scores = np.array([[1.0, 5.0, 9.0], [2.0, 8.0, 7.0], [6.0, 3.0, 4.0]])
    numbered = np.arange(3.0).reshape(3, 1, 1)

    def table(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        rows, columns = (x[:, 0, 0].astype(int) for x in (queries, candidates))
        return scores[np.ix_(rows, columns)]

    ranks = match_ranks(numbered, np.array([0, 0, -1]), table)
    # Anchor 0 has candidates 1, 5, 9 of which the first two match; back, candidate 0 sees 1, 2, 6.
    np.testing.assert_array_equal(ranks, [[2, 2], [1, 1], [np.nan, np.nan]])
    found = score(MATCH, [0, 0, -1], ranks)
    assert found["recall_at_1"] == (0.5, 2)
    assert found["median_rank_back"] == (1.5, 2)


def test_a_similarity_that_is_nan_is_refused() -> None:
    with pytest.raises(TrainingError, match="similarity of the method became NaN"):
        match_ranks(np.full((3, 2, 2), np.nan), np.arange(3), inner)


def test_chance_is_k_of_n_alone_and_what_drawing_finds_with_several_matches() -> None:
    alone = MATCH.spec.chance(np.arange(40))
    assert alone["recall_at_1"] == alone["recall_at_1_back"] == pytest.approx(1 / 40)
    assert alone["recall_at_10"] == pytest.approx(10 / 40)
    assert MATCH.spec.chance(np.arange(4))["recall_at_5"] == 1
    labels, rng = np.repeat([0, 1, 2, -1], [1, 3, 4, 2]), np.random.default_rng(0)
    hits = []
    for _ in range(4000):
        order = rng.permutation(labels)
        hits += [(order[:5] == label).any() for label in labels if label >= 0]
    assert MATCH.spec.chance(labels)["recall_at_5"] == pytest.approx(np.mean(hits), abs=0.01)


def test_random_embeddings_reach_chance() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(1200)
    found = score(MATCH, labels, match_ranks(rng.standard_normal((1200, 2, 8)), labels, inner))
    assert found["recall_at_10"][0] == pytest.approx(10 / 1200, abs=0.012)
    assert found["median_rank"][0] == pytest.approx(600.5, rel=0.1)


def test_the_usual_similarity_is_the_cosine_and_the_anchor_is_compared_with_the_mean_of_the_others() -> None:
    two = Matching(Schema((Modality("audio", "vector", 2), Modality("text", "vector", 2)), (MATCH,)))
    x, y = torch.randn(3, 2, 5), torch.randn(4, 2, 5)
    torch.testing.assert_close(two.similarity(x, y), torch.cosine_similarity(x[:, None, 1], y[None, :, 0], dim=-1))
    three = Matching(Schema(tuple(Modality(n, "vector", 2) for n in ("audio", "text", "face")), (MATCH,)))
    y = torch.nn.functional.normalize(torch.randn(4, 3, 5), dim=-1)
    assert three.similarity(y, y).shape == (4, 4)
    expected = torch.cosine_similarity(y[:, None, 1], (y[:, 0] + y[:, 2])[None], dim=-1)
    torch.testing.assert_close(three.similarity(y, y), expected)
    y[:, 2] = 0  # absent: the mean of what is there
    torch.testing.assert_close(three.similarity(y, y), torch.cosine_similarity(y[:, None, 1], y[None, :, 0], dim=-1))


class Matching(Method):
    """A linear map per modality, matched by InfoNCE: the shortest method for a retrieval."""

    tasks = frozenset({"retrieval"})

    def __init__(self, schema: Schema, *, width: int = 16) -> None:
        super().__init__(schema)
        self.maps = nn.ModuleDict({m.name: nn.Linear(m.width, width) for m in schema.modalities})

    def forward(self, batch: Batch) -> Output:
        """Return embeddings, zero where a modality is absent."""
        vectors = [self.maps[n](s.tensor) * s.present[:, None] for n, s in batch.streams.items()]
        return Output({"match": torch.stack(vectors, dim=1)}, {"fused": torch.cat(vectors, dim=1)})

    def losses(self, batch: Batch, output: Output) -> dict[str, torch.Tensor]:
        """Return ``task``, InfoNCE of the first modality and the second."""
        x = output.predictions["match"]
        return {"task": info_nce(x[:, 0], x[:, 1], 0.1)}

    def phases(self) -> list[Phase]:
        """One."""
        return [Phase(select=("task",))]


def pairs() -> Corpus:
    """Two noisy views of five numbers."""
    schema = Schema((Modality("text", "vector", 8), Modality("audio", "vector", 6)), (Target("y", "regression"),))
    splits = {}
    views = [np.random.default_rng(9).standard_normal((5, m.width)) for m in schema.modalities]
    for seed, (name, rows) in enumerate({"train": 400, "valid": 100, "test": 100}.items()):
        rng = np.random.default_rng(seed)
        latent = rng.standard_normal((rows, 5))
        columns = {
            m.name: list(latent @ view + 0.3 * rng.standard_normal((rows, m.width)))
            for m, view in zip(schema.modalities, views, strict=True)
        }
        groups = [f"{name}-{i // 4}" for i in range(rows)]
        splits[name] = build_split(schema, [f"{name}{i}" for i in range(rows)], columns, {"y": latent[:, 0]}, groups)
    return Corpus("pairs", "pairs", schema, splits).check()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    corpus = pairs().for_retrieval()
    folder = tmp_path_factory.mktemp("match") / "run"
    return fit(f"{Path(__file__)}:Matching", corpus, epochs=15, batch_size=40, lr=0.01, out=folder)


def test_a_planted_match_is_found_in_both_directions_far_above_chance(run: Run) -> None:
    scores = evaluate(run, pairs().for_retrieval())
    rows = {r["metric"]: r for r in scores["rows"] if r["condition"] == "complete"}
    assert list(rows) == list(MATCH.spec.metrics)
    assert rows["recall_at_1"]["chance"] == pytest.approx(0.01)
    for way, k in product(("", "_back"), (1, 10)):
        row = rows[f"recall_at_{k}{way}"]
        assert row["mean"] > 20 * 0.01 * (1 if k == 1 else 3)
        assert row["low"] <= row["mean"] <= row["high"]
    alone = {r["metric"]: r["mean"] for r in scores["rows"] if r["condition"] == "subset:text"}
    assert alone["median_rank"] == 50.5  # there is nothing to choose by
    assert not (run.path / "calibration.json").exists()


def test_its_report_shows_ranks_and_chance(run: Run) -> None:
    evaluate(run, pairs().for_retrieval())
    folder = next(run.path.glob("evaluation*"))
    page = write_report(run.path, evaluation=folder.name).read_text()
    assert "chance 1.0" in page
    assert "among the first k" in page
