"""Batches: the same for the same seed and epoch, every sample once, little padding."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from torch import Tensor

from polymodal.core import Batch
from polymodal.data.corpus import Corpus
from polymodal.data.loader import Loader
from polymodal.data.sources import load_corpus
from polymodal.methods.late_fusion import LateFusion
from polymodal.train.infer import infer


@pytest.fixture(scope="module")
def vectors() -> Corpus:
    return load_corpus("synthetic:vectors?n=47&absent=0.3")


@pytest.fixture(scope="module")
def mosi() -> Corpus:
    return load_corpus("synthetic:mosi-shaped?n=300&modalities=audio,vision")


def _loader(corpus: Corpus, size: int = 8, split: str = "train", **options: bool | int) -> Loader:
    return Loader(corpus[split], corpus.schema, size, normalizer=corpus.normalizer, **options)  # type: ignore[arg-type]


def _equal(a: Batch, b: Batch) -> bool:
    tensors = [(a[n].tensor, b[n].tensor) for n in a.streams] + [(a.targets[n], b.targets[n]) for n in a.targets]
    return a.ids == b.ids and all(torch.equal(x, y) for x, y in tensors)


@pytest.mark.parametrize("bucket", [True, False])
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_sample_comes_exactly_once_per_epoch(vectors: Corpus, bucket: bool, shuffle: bool) -> None:
    loader = _loader(vectors, bucket=bucket, shuffle=shuffle)
    for epoch in range(3):
        seen = [i for batch in loader.epoch(epoch) for i in batch.ids]
        assert sorted(seen) == sorted(vectors["train"].ids)
    assert len(list(loader.epoch())) == len(loader) == 6


def test_dropped_samples_are_others_each_epoch(vectors: Corpus) -> None:
    loader = _loader(vectors, shuffle=True, drop_last=True)
    dropped = []
    for epoch in range(4):
        batches = list(loader.epoch(epoch))
        assert [len(b) for b in batches] == [8] * 5
        dropped.append(set(vectors["train"].ids) - {i for b in batches for i in b.ids})
    assert all(len(d) == 7 for d in dropped)
    assert len(set.union(*dropped)) > 14


def test_a_split_smaller_than_a_batch_is_never_dropped(vectors: Corpus) -> None:
    loader = _loader(vectors, size=64, shuffle=True, drop_last=True)
    assert [len(b) for b in loader.epoch()] == [47]


def test_order_is_a_function_of_seed_and_epoch(vectors: Corpus) -> None:
    def order(seed: int, epoch: int) -> list[str]:
        return [i for b in _loader(vectors, shuffle=True, seed=seed).epoch(epoch) for i in b.ids]

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(s, e)) for s in (1, 2) for e in (0, 1)}) == 4


def test_an_epoch_resumed_in_the_middle_equals_the_tail(vectors: Corpus) -> None:
    loader = _loader(vectors, shuffle=True)
    tail = list(islice(loader.epoch(3), 2, None))
    resumed = list(loader.epoch(3, start=2))
    assert len(tail) == len(resumed) == 4
    assert all(_equal(a, b) for a, b in zip(tail, resumed, strict=True))


def _padding(loader: Loader) -> float:
    """Share of the numbers in all batches that are padding."""
    total = real = 0
    for batch in loader.epoch():
        for stream in batch.streams.values():
            total += stream.tensor.numel()
            real += int(stream.mask.sum()) * stream.tensor.shape[-1]
    return 1 - real / total


def test_batches_of_similar_length_carry_little_padding(mosi: Corpus) -> None:
    bucketed = _padding(_loader(mosi, shuffle=True))
    to_the_longest_of_the_split = _padding(_loader(mosi, shuffle=True, bucket=False))
    assert to_the_longest_of_the_split > 0.4
    assert bucketed < 0.12


def test_predictions_do_not_depend_on_padding(mosi: Corpus) -> None:
    method = LateFusion(mosi.schema, width=4)
    found = {}
    for bucket in (True, False):
        columns, losses, _ = infer(method, _loader(mosi, size=16, split="test", bucket=bucket).epoch())
        order = np.argsort(columns["id"])
        found[bucket] = columns["sentiment/predicted"][order], losses["task"]
    np.testing.assert_allclose(found[True][0], found[False][0], atol=1e-5)
    assert found[True][1] == pytest.approx(found[False][1], abs=1e-6)


def test_a_batch_holds_the_rows_normalised_and_padded_with_zeros(vectors: Corpus) -> None:
    split, rows = vectors["train"], np.array([3, 17, 30, 41])
    batch = _loader(vectors).batch(rows)
    for name, stream in batch.streams.items():
        assert stream.present.tolist() == split.present[name][rows].tolist()
        mean, std = vectors.normalizer.mean[name], vectors.normalizer.std[name]
        for i, row in enumerate(rows):
            raw = split.columns[name][row]
            expected = np.clip((raw - mean) / std, -10, 10)
            values: Tensor = stream.tensor[i]
            if stream.lengths is None:
                assert np.allclose(values, expected[0] if len(expected) else 0, atol=1e-6)
                continue
            assert stream.lengths[i] == len(raw)
            assert np.allclose(values[: len(raw)], expected, atol=1e-6)
            assert not values[len(raw) :].any()
    assert batch.ids == [split.ids[r] for r in rows]


def test_a_batch_without_a_single_sample_of_a_modality_is_still_a_batch() -> None:
    corpus = load_corpus("synthetic:xor?n=20&absent=0.5")
    gone = np.flatnonzero(~corpus["train"].present["audio"])
    batch = _loader(corpus).batch(gone)
    assert batch["audio"].tensor.shape == (len(gone), 1, 6)
    assert not batch["audio"].mask.any()
