"""Early fusion: one time axis per sample, whatever the streams' own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.early_fusion import EarlyFusion
from polymodal.methods.late_fusion import LateFusion
from polymodal.nn.axis import flagged, resample

MakeBatch = Callable[..., Batch]


def stream(*rows: list[float]) -> Stream:
    """A sequence stream of width 1."""
    lengths = torch.tensor([len(r) for r in rows])
    values = torch.zeros(len(rows), max(1, int(lengths.max())), 1)
    for i, row in enumerate(rows):
        values[i, : len(row), 0] = torch.tensor(row)
    return Stream(values, lengths, lengths > 0)


@pytest.mark.parametrize(
    ("source", "steps", "wanted"),
    [
        ([1.0, 2.0, 3.0, 4.0], 2, [1.5, 3.5]),
        ([1.0, 2.0], 4, [1.0, 1.0, 2.0, 2.0]),
        ([1.0, 2.0, 3.0], 3, [1.0, 2.0, 3.0]),
        ([3.0, 6.0, 9.0], 2, [4.0, 8.0]),
        ([5.0], 3, [5.0, 5.0, 5.0]),
        ([], 3, [0.0, 0.0, 0.0]),
        ([7.0, 8.0], 0, []),
    ],
)
def test_resampling_averages_by_overlap(source: list[float], steps: int, wanted: list[float]) -> None:
    got = resample(stream(source, [1.0] * 6), torch.tensor([steps, 6]), 6)
    torch.testing.assert_close(got[0, :, 0], torch.tensor(wanted + [0.0] * (6 - steps)))
    assert torch.equal(got[1, :, 0], torch.ones(6))


def test_the_longest_stream_of_each_sample_sets_its_axis() -> None:
    one, two = stream([1.0, 2.0, 3.0], [4.0]), stream([5.0], [6.0, 7.0])
    fused = flagged([one, two], 50)
    assert fused.lengths.tolist() == [3, 2]
    assert fused.tensor[0].tolist() == [[1, 1, 5, 1], [2, 1, 5, 1], [3, 1, 5, 1]]
    assert fused.tensor[1].tolist() == [[4, 1, 6, 1], [4, 1, 7, 1], [0, 0, 0, 0]]


def test_the_axis_has_at_most_max_steps_and_flags_absence() -> None:
    one, two = stream([1.0, 3.0, 5.0, 7.0], []), stream([], [])
    fused = flagged([one, two], 2)
    assert fused.lengths.tolist() == [2, 0]
    assert fused.present.tolist() == [True, False]
    assert fused.tensor[0].tolist() == [[2, 1, 0, 0], [6, 1, 0, 0]]
    assert not fused.tensor[1].any()


def test_a_product_over_time_is_learned_where_late_fusion_fails(make_batch: MakeBatch) -> None:
    schema = Schema((Modality("a", "sequence", 1), Modality("b", "sequence", 1)), (Target("y", "regression"),))

    def labelled(seed: int) -> Batch:
        batch = make_batch(schema, 128, seed=seed, longest=1)
        random = torch.Generator().manual_seed(seed)
        signs = torch.randint(2, (2, 128, 6, 1), generator=random) * 2.0 - 1
        full = torch.full((128,), 6)
        streams = {n: Stream(s, full, torch.ones(128, dtype=torch.bool)) for n, s in zip("ab", signs, strict=True)}
        return replace(batch, streams=streams, targets={"y": (signs[0] * signs[1]).mean((1, 2))})

    def error(method: EarlyFusion | LateFusion) -> float:
        optimizer = torch.optim.Adam(method.parameters(), 1e-2)
        for step in range(60):
            batch = labelled(step)
            optimizer.zero_grad()
            method.losses(batch, method(batch))["task"].backward()
            optimizer.step()
        test = labelled(1000)
        return method.eval().losses(test, method(test))["task"].item()

    early = error(EarlyFusion(schema, width=32, context="none", pool="mean", dropout=0))
    late = error(LateFusion(schema, width=32, context="none", pool="mean", dropout=0))
    assert early < 0.5 * late


def test_swapping_modalities_with_their_input_weights_changes_nothing(make_batch: MakeBatch) -> None:
    a, b = Modality("a", "sequence", 3), Modality("b", "sequence", 2)
    target = (Target("y", "regression"),)
    one, two = EarlyFusion(Schema((a, b), target)).eval(), EarlyFusion(Schema((b, a), target)).eval()
    state = one.state_dict()
    weight: Tensor = state["encoder.input.weight"]
    state["encoder.input.weight"] = torch.cat([weight[:, 4:], weight[:, :4]], dim=1)
    two.load_state_dict(state)
    batch = make_batch(Schema((a, b), target))
    swapped = replace(batch, streams={n: batch[n] for n in ("b", "a")})
    torch.testing.assert_close(one(batch).predictions["y"], two(swapped).predictions["y"])


def test_wrong_options_are_named() -> None:
    schema = Schema((Modality("a", "sequence", 3),), (Target("y", "regression"),))
    with pytest.raises(OptionError, match="max_steps must be above 0, got 0"):
        EarlyFusion(schema, max_steps=0)
    with pytest.raises(OptionError, match="width must be even"):
        EarlyFusion(schema, width=7)
