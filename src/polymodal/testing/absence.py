"""Checks that a sample's result depends on its own present values and on nothing else."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import torch
from torch import Tensor

from polymodal.core import Batch, Stream
from polymodal.methods import build
from polymodal.methods.base import Seamed
from polymodal.stress import parse_stress
from polymodal.testing.subject import (
    NotApplicable,
    Subject,
    expect,
    finite,
    rows_of,
    run,
    same,
    same_tensors,
    step,
)

STRESSES = ("missing:rate=0.4", "instance:p=1.0")


def a_sample_alone_in_a_batch_and_padded_is_the_same(subject: Subject) -> None:
    """Neither neighbours nor padding matter."""
    method, batch = subject.method(), subject.batch()
    together = run(method, batch)
    same(run(method, _padded(batch, 100)), together, "100 more padded steps")
    for row in range(0, 8, 3):
        same(run(method, batch.select(torch.tensor([row]))), rows_of(together, [row]), f"sample {row} alone")


def _padded(batch: Batch, steps: int) -> Batch:
    """Return the same samples with ``steps`` more zero steps in every sequence."""
    streams = {
        n: s if s.lengths is None else replace(s, values=_longer(s.tensor, steps)) for n, s in batch.streams.items()
    }
    return replace(batch, streams=streams)


def _longer(values: Tensor, steps: int) -> Tensor:
    return torch.cat([values, values.new_zeros(len(values), steps, *values.shape[2:])], dim=1)


def the_order_of_samples_does_not_matter(subject: Subject) -> None:
    """A permuted batch gives permuted results."""
    method, batch, order = subject.method(), subject.batch(), [5, 2, 7, 0, 1, 6, 3, 4]
    same(run(method, batch.select(torch.tensor(order))), rows_of(run(method, batch), order), "permuted batch")


def any_subset_of_modalities_gives_a_finite_output(subject: Subject) -> None:
    """All subsets, also none."""
    method = subject.method()
    for absent in (_every_absence(subject), subject.batch().without(*subject.schema.names)):
        output = run(method, absent)
        finite(output.predictions, "prediction")
        finite(output.representations, "representation")


def training_survives_absence(subject: Subject) -> None:
    """Losses and gradients are finite whatever is absent, in single samples and in a whole batch."""
    method, batch = subject.method().train(), subject.batch()
    for absent in (_every_absence(subject), *(batch.without(gone) for gone in subject.schema.names)):
        step(method, absent, f"samples with each modality {absent.present.sum(0).tolist()}")


def _every_absence(subject: Subject) -> Batch:
    """Return one sample per subset of modalities, the empty one included; what is not in it is absent."""
    size = 2 ** len(subject.schema.names)
    batch = subject.batch(size, seed=6)
    for bit, name in enumerate(subject.schema.names):
        batch = batch.without(name, rows=(torch.arange(size) >> bit) % 2 == 0)
    return batch


def nothing_of_an_absent_modality_leaks(subject: Subject) -> None:
    """Other values, and other lengths, of what is absent change nothing."""
    method, batch, other = subject.method(), subject.batch(), subject.batch(seed=9, longest=20)
    for gone in subject.schema.names:
        disturbed = replace(batch, streams={**batch.streams, gone: other[gone]})
        same(run(method, disturbed.without(gone)), run(method, batch.without(gone)), f"values of absent {gone}")


def nothing_leaks_of_what_a_stress_removes(subject: Subject) -> None:
    """The same for what a stress takes from single samples."""
    method, batch = subject.method(), subject.batch()
    for text in STRESSES:
        stress = parse_stress(text)
        removed = batch.present & ~stress(batch).present
        streams = {n: _garbled(s, removed[:, i]) for i, (n, s) in enumerate(batch.streams.items())}
        same(run(method, stress(replace(batch, streams=streams))), run(method, stress(batch)), f"what {text} removed")


def _garbled(stream: Stream, rows: Tensor) -> Stream:
    """Return the stream with other content in ``rows``, of the same lengths."""
    if isinstance(stream.values, list):
        texts = ["other words" if r else t for t, r in zip(stream.texts, rows.tolist(), strict=True)]
        return Stream(texts, None, stream.present)
    shape = (-1,) + (1,) * (stream.values.dim() - 1)
    return Stream(torch.where(rows.view(shape), 7 * stream.values, stream.values), stream.lengths, stream.present)


def absence_of_some_rows_is_absence_in_those_rows(subject: Subject) -> None:
    """Absence is a sample's own."""
    method, batch = subject.method(), subject.batch()
    rows = torch.tensor([True, False, False, True, True, False, True, False])
    full = run(method, batch)
    for gone in subject.schema.names:
        some = run(method, batch.without(gone, rows=rows))
        same(rows_of(some, rows), rows_of(run(method, batch.without(gone)), rows), f"rows without {gone}")
        same(rows_of(some, ~rows), rows_of(full, ~rows), f"rows with {gone}")


def absence_is_seen_exactly_if_declared(subject: Subject) -> None:
    """``handles_absence`` is true: the flag alone matters, or it does not."""
    method, batch = subject.method(), subject.batch()
    if method.handles_absence and len(subject.schema.names) == 1:
        raise NotApplicable("a single modality has nothing to stand in for it")
    nobody, full = torch.zeros(len(batch), dtype=torch.bool), run(method, batch)
    for gone in subject.schema.names:
        if not method.handles_absence:
            unflagged = replace(batch, streams={**batch.streams, gone: replace(batch[gone], present=nobody)})
            same(run(method, unflagged), full, f"flag of {gone} although handles_absence is False")
        else:
            without = run(method, batch.without(gone))
            moved = any(not torch.equal(without.predictions[n], full.predictions[n]) for n in full.predictions)
            expect(moved, f"{gone} decides nothing: the checks of its absence mean nothing")


@torch.no_grad()
def what_is_encoded_once_is_fused_for_every_subset(subject: Subject) -> None:
    """What the two sides of a seam say of a subset is what the whole method says."""
    method, batch, names = subject.method(), subject.batch(), subject.schema.names
    if not isinstance(method, Seamed):
        raise NotApplicable("it has no seam between encoding and fusing")
    vectors = method.encode(batch)
    shapes = {n: (len(v), v.dim()) for n, v in vectors.items()}
    wanted = dict.fromkeys(names, (len(batch), 2))
    expect(shapes == wanted, f"encode must return (batch, width) of each modality, got {shapes}")
    for gone in (c for size in range(len(names) + 1) for c in combinations(names, size)):
        reduced = batch.without(*gone)
        zeroed = {n: torch.zeros_like(v) if n in gone else v for n, v in vectors.items()}
        found = method.encode(reduced)
        for name in gone:
            expect(not found[name].any(), f"{name} is absent and its vector no zero")
        same_tensors(found, zeroed, f"encoded without {gone}")
        same(method.fuse(zeroed, reduced.present), method(reduced), f"fused without {gone}")


@torch.no_grad()
def what_is_left_of_a_modular_method_says_the_same(subject: Subject) -> None:
    """Built on some modalities with the weights of the same names, it is the whole without the others."""
    method, batch, names = subject.method(), subject.batch(), subject.schema.names
    if not subject.cls.modular:
        raise NotApplicable("it does not come apart by modality")
    whole = method.state_dict()
    for size in range(1, len(names)):
        for kept in combinations(names, size):
            part = build(subject.cls, subject.schema.only(kept), {}).eval()
            part.load_state_dict({n: whole[n] for n in part.state_dict()})
            left = run(method, batch.without(*(n for n in names if n not in kept)))
            same_tensors(run(part, batch.only(kept)).predictions, left.predictions, f"deployed with {kept}: prediction")
