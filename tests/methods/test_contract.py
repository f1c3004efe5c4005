"""What every method promises: registered means tested."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from polymodal.core import Batch, Modality, Output, Schema, Stream, Target
from polymodal.methods import build, find_method, method_ids
from polymodal.methods.base import Method, Now, Seamed, View
from polymodal.stress import parse_stress

TEXT = Modality("text", "text")
WORDS = Modality("text", "sequence", 6)
AUDIO = Modality("audio", "sequence", 5)
VISION = Modality("vision", "sequence", 4)
FACE = Modality("face", "vector", 3)
SCENE = Modality("scene", "image", shape=(3, 8, 8))
FACES = Modality("faces", "frames", shape=(3, 16, 16))
PULSE = Modality("pulse", "sequence", 1)
SCORE = Target("sentiment", "regression", (-3.0, 3.0))
EMOTION = Target("emotion", "classification", classes=("joy", "anger", "fear"))
TAGS = Target("tags", "multilabel", classes=("humour", "sarcasm"))
SINGLE = tuple(Target(f"sentiment_{m}", "regression", (-1.0, 1.0), modality=m) for m in ("text", "audio", "vision"))

SCHEMAS = {
    "1-sequence-regression": Schema((AUDIO,), (SCORE,)),
    "1-text-classification": Schema((TEXT,), (EMOTION,)),
    "2-sequence-vector-classification": Schema((AUDIO, FACE), (EMOTION,)),
    "3-sequences-regression": Schema((WORDS, AUDIO, VISION), (SCORE,)),
    "3-mixed-many-targets": Schema((TEXT, AUDIO, VISION), (replace(SCORE, range=(-1.0, 1.0)), EMOTION, *SINGLE)),
    "3-pixels-regression": Schema((AUDIO, SCENE, FACES), (SCORE,)),
    "5-mixed-multilabel": Schema((TEXT, AUDIO, VISION, FACE, PULSE), (TAGS,)),
}

CLOSE = {"rtol": 1e-5, "atol": 1e-5}

MakeBatch = Callable[..., Batch]
Build = Callable[..., Method]


@pytest.fixture(params=list(SCHEMAS))
def schema(request: pytest.FixtureRequest) -> Schema:
    return SCHEMAS[request.param]


@pytest.fixture(params=method_ids())
def method_class(request: pytest.FixtureRequest) -> type[Method]:
    return find_method(request.param)


@pytest.fixture
def fresh(method_class: type[Method], schema: Schema) -> Build:
    """Builds the method with its default options, unprepared; the same one for the same ``seed``."""
    low, high = method_class.modality_counts
    kinds = {m.kind for m in schema.modalities} - method_class.kinds
    tasks = {t.task for t in schema.joint_targets} - method_class.tasks
    if kinds or tasks or not low <= len(schema.modalities) <= high:
        pytest.skip(f"declares kinds {method_class.kinds}, tasks {method_class.tasks}, modalities {low} to {high}")

    def construct(seed: int = 3) -> Method:
        torch.manual_seed(seed)
        return build(method_class, schema, {})

    return construct


@pytest.fixture
def method(
    method_class: type[Method], schema: Schema, fresh: Build, make_batch: MakeBatch, prepared: dict[object, Method]
) -> Method:
    """The method, prepared, in evaluation mode; a test may change it."""
    key = (method_class, schema)
    if key not in prepared:
        prepared[key] = fresh()
        prepared[key].prepare(view(schema, make_batch))
    return deepcopy(prepared[key]).eval()


@pytest.fixture(scope="module")
def prepared() -> dict[object, Method]:
    return {}


def view(schema: Schema, make_batch: MakeBatch) -> View:
    return View(
        train=lambda: (make_batch(schema, seed=s) for s in (1, 2, 3)), valid=lambda: iter([make_batch(schema, seed=4)])
    )


@pytest.fixture
def batch(schema: Schema, make_batch: MakeBatch) -> Batch:
    return make_batch(schema)


def run(method: Method, batch: Batch) -> Output:
    with torch.no_grad():
        return method(batch)


def padded(batch: Batch, steps: int) -> Batch:
    """The same samples with ``steps`` more zero steps in every sequence."""
    streams = {
        n: s if s.lengths is None else replace(s, values=longer(s.tensor, steps)) for n, s in batch.streams.items()
    }
    return replace(batch, streams=streams)


def longer(values: Tensor, steps: int) -> Tensor:
    return torch.cat([values, values.new_zeros(len(values), steps, *values.shape[2:])], dim=1)


def same(got: Output, wanted: Output, what: str) -> None:
    """Predictions and representations agree."""
    parts = (
        ("prediction", got.predictions, wanted.predictions),
        ("representation", got.representations, wanted.representations),
    )
    for kind, left, right in parts:
        assert left.keys() == right.keys()
        for name in left:
            torch.testing.assert_close(
                left[name], right[name], **CLOSE, msg=lambda m, k=kind, n=name: f"{what}: {k} {n}: {m}"
            )


def rows_of(output: Output, rows: list[int] | Tensor) -> Output:
    return Output(
        {n: t[rows] for n, t in output.predictions.items()}, {n: t[rows] for n, t in output.representations.items()}
    )


def finite(tensors: dict[str, Tensor], what: str) -> None:
    for name, tensor in tensors.items():
        assert torch.isfinite(tensor).all(), f"{what}: {name} is not finite: {tensor}"


def state(method: Method) -> dict[str, Tensor]:
    """Copies of all that training changes: parameters, buffers, and those buffers that are not among the weights."""
    return {n: t.detach().clone() for n, t in (*method.named_parameters(), *method.named_buffers())}


def every_absence(schema: Schema, make_batch: MakeBatch) -> Batch:
    """One sample per subset of modalities, the empty one included; the other modalities of that sample are absent."""
    size = 2 ** len(schema.names)
    batch = make_batch(schema, size, seed=6)
    for bit, name in enumerate(schema.names):
        batch = batch.without(name, rows=(torch.arange(size) >> bit) % 2 == 0)
    return batch


def step(method: Method, batch: Batch, what: str) -> None:
    """Losses and gradients of one batch are finite."""
    method.zero_grad()
    losses = method.losses(batch, method(batch))
    finite(losses, what)
    total = sum(losses.values(), torch.zeros(()))
    if total.requires_grad:
        total.backward()
    finite({n: p.grad for n, p in method.named_parameters() if p.grad is not None}, f"gradient, {what}")


@contextmanager
def warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def test_constructor_is_a_small_keyword_only_configuration(method_class: type[Method]) -> None:
    schema, *options = inspect.signature(method_class).parameters.values()
    assert schema.name == "schema"
    for option in options:
        assert option.kind is inspect.Parameter.KEYWORD_ONLY, option.name
        assert option.default is not inspect.Parameter.empty, option.name
        assert option.annotation is not inspect.Parameter.empty, option.name
    assert len(options) <= 14


def test_says_where_it_comes_from(method_class: type[Method]) -> None:
    assert method_class.paper
    assert method_class.__doc__
    head = method_class.__doc__.split("\n\n")[0]
    assert "baseline" in head.lower() or any(c.isdigit() for c in head), "names neither a paper's year nor 'baseline'"


def test_outputs_have_the_shapes_of_the_targets(method: Method, schema: Schema, batch: Batch) -> None:
    with warnings_are_errors():
        output = run(method, batch)
    assert list(output.predictions) == [t.name for t in schema.joint_targets]
    for target in schema.joint_targets:
        shape = (8,) if target.task == "regression" else (8, len(target.classes))
        assert output.predictions[target.name].shape == shape
    assert "fused" in output.representations
    assert all(len(r) == 8 for r in output.representations.values())
    finite(output.predictions, "full batch")
    finite(output.representations, "full batch")


def test_every_parameter_gets_a_finite_gradient(method: Method, batch: Batch) -> None:
    trainable = {n: p for n, p in method.named_parameters() if p.requires_grad}
    if not method.phases():
        assert not trainable, "fits in prepare() and has parameters that nothing will train"
    used: set[str] = set()
    for phase in method.phases():
        for update in phase.updates or (None,):
            chooses = update.parameters if update else phase.parameters
            method.now = Now(phase.name, update=update.name if update else "")
            method.train().zero_grad()
            losses = method.losses(batch, method(batch))
            assert all(loss.dim() == 0 for loss in losses.values())
            finite(losses, f"phase {phase.name}")
            sum(losses.values(), torch.zeros(())).backward()
            chosen = {n for n in trainable if chooses is None or chooses(n)}
            reached = {n: p.grad for n, p in trainable.items() if p.grad is not None}
            finite(reached, f"gradient in phase {phase.name}")
            assert chosen & set(reached), f"{method.now} moves nothing"
            used |= chosen & set(reached)
        method.now = Now(phase.name)
        losses = method.eval().losses(batch, method(batch))
        for name in phase.select:
            assert any(n == name or n.startswith(f"{name}/") for n in losses), f"{name} is not among {list(losses)}"
    assert set(trainable) - used == set(), "parameters without a gradient in any phase"


def test_groups_cover_every_trainable_parameter_once(method: Method) -> None:
    named = [name for group in method.parameter_groups() for name in group.parameters]
    assert sorted(named) == sorted(n for n, p in method.named_parameters() if p.requires_grad)


def test_phases_share_the_epochs(method: Method) -> None:
    phases = method.phases()
    assert sum(p.share for p in phases) == pytest.approx(1.0 if phases else 0.0)
    for phase in phases:
        assert phase.parameters is None or any(phase.parameters(n) for n, _ in method.named_parameters())


def test_a_sample_alone_in_a_batch_and_padded_is_the_same(method: Method, batch: Batch) -> None:
    together = run(method, batch)
    same(run(method, padded(batch, 100)), together, "100 more padded steps")
    for row in range(0, 8, 3):
        same(run(method, batch.select(torch.tensor([row]))), rows_of(together, [row]), f"sample {row} alone")


def test_the_order_of_samples_does_not_matter(method: Method, batch: Batch) -> None:
    order = [5, 2, 7, 0, 1, 6, 3, 4]
    same(run(method, batch.select(torch.tensor(order))), rows_of(run(method, batch), order), "permuted batch")


def test_any_subset_of_modalities_gives_a_finite_output(
    method: Method, schema: Schema, batch: Batch, make_batch: MakeBatch
) -> None:
    for absent in (every_absence(schema, make_batch), batch.without(*schema.names)):
        output = run(method, absent)
        finite(output.predictions, "predictions")
        finite(output.representations, "representations")


def test_training_survives_absence(method: Method, schema: Schema, batch: Batch, make_batch: MakeBatch) -> None:
    method.train()
    for absent in (every_absence(schema, make_batch), *(batch.without(gone) for gone in schema.names)):
        step(method, absent, f"present {absent.present.sum(0).tolist()}")


def unlabelled(batch: Batch, rows: Tensor) -> Batch:
    """The batch without the labels of ``rows``."""
    targets = {n: t.clone() for n, t in batch.targets.items()}
    for labels in targets.values():
        labels[rows] = -1 if labels.dtype == torch.long else torch.nan
    return replace(batch, targets=targets)


def test_training_survives_samples_without_a_label(method: Method, batch: Batch) -> None:
    half, all_of_them = torch.arange(8) % 2 == 0, torch.ones(8, dtype=torch.bool)
    for phase in method.phases():
        method.train().now = Now(phase.name)
        for rows in (half, all_of_them):
            step(method, unlabelled(batch, rows), f"{int(rows.sum())} of 8 labels unknown in phase {phase.name}")


def test_the_task_loss_of_a_half_labelled_batch_is_that_of_the_labelled_half(method: Method, batch: Batch) -> None:
    def task(of: Batch) -> dict[str, Tensor]:
        method.zero_grad()
        losses = {n: x for n, x in method.losses(of, method(of)).items() if n.startswith("task")}
        total = sum(losses.values(), torch.zeros(()))
        if total.requires_grad:
            total.backward()
        return losses | {n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None}

    known = torch.arange(8) % 2 == 0
    half, alone = task(unlabelled(batch, ~known)), task(batch.select(known))
    for name in alone:
        torch.testing.assert_close(half[name], alone[name], **CLOSE, msg=lambda m, n=name: f"{n}: {m}")


def test_nothing_of_an_absent_modality_leaks(
    method: Method, schema: Schema, batch: Batch, make_batch: MakeBatch
) -> None:
    other = make_batch(schema, seed=9, longest=20)
    for gone in schema.names:
        disturbed = replace(batch, streams={**batch.streams, gone: other[gone]})
        same(run(method, disturbed.without(gone)), run(method, batch.without(gone)), f"values of absent {gone}")


@pytest.mark.parametrize("text", ["missing:rate=0.4", "instance:p=1.0"])
def test_nothing_leaks_of_what_a_stress_removes(method: Method, schema: Schema, batch: Batch, text: str) -> None:
    stress = parse_stress(text)
    removed = batch.present & ~stress(batch).present
    streams = {n: garbled(s, removed[:, i]) for i, (n, s) in enumerate(batch.streams.items())}
    disturbed = replace(batch, streams=streams)
    same(run(method, stress(disturbed)), run(method, stress(batch)), f"what {text} removed")


def garbled(stream: Stream, rows: Tensor) -> Stream:
    """The stream with other content in ``rows``, of the same lengths."""
    if isinstance(stream.values, list):
        texts = ["other words" if r else t for t, r in zip(stream.texts, rows.tolist(), strict=True)]
        return Stream(texts, None, stream.present)
    shape = (-1,) + (1,) * (stream.values.dim() - 1)
    return Stream(torch.where(rows.view(shape), 7 * stream.values, stream.values), stream.lengths, stream.present)


def test_absence_of_some_rows_is_absence_in_those_rows(method: Method, schema: Schema, batch: Batch) -> None:
    rows = torch.tensor([True, False, False, True, True, False, True, False])
    full = run(method, batch)
    for gone in schema.names:
        some = run(method, batch.without(gone, rows=rows))
        same(rows_of(some, rows), rows_of(run(method, batch.without(gone)), rows), f"rows without {gone}")
        same(rows_of(some, ~rows), rows_of(full, ~rows), f"rows with {gone}")


@torch.no_grad()
def test_what_is_encoded_once_is_fused_for_every_subset(method: Method, schema: Schema, batch: Batch) -> None:
    if not isinstance(method, Seamed):
        pytest.skip("has no seam between encoding and fusing")
    vectors = method.encode(batch)
    assert {n: (len(v), v.dim()) for n, v in vectors.items()} == dict.fromkeys(schema.names, (8, 2))
    for gone in (c for size in range(len(schema.names) + 1) for c in combinations(schema.names, size)):
        reduced = batch.without(*gone)
        zeroed = {n: torch.zeros_like(v) if n in gone else v for n, v in vectors.items()}
        for name, vector in method.encode(reduced).items():
            assert not vector.any() or name not in gone, f"{name} is absent and no zero"
            torch.testing.assert_close(vector, zeroed[name], **CLOSE)
        same(method.fuse(zeroed, reduced.present), method(reduced), f"without {gone}")


def test_absence_is_seen_exactly_if_declared(method: Method, schema: Schema, batch: Batch) -> None:
    nobody = torch.zeros(8, dtype=torch.bool)
    for gone in schema.names:
        unflagged = replace(batch, streams={**batch.streams, gone: replace(batch[gone], present=nobody)})
        if not method.handles_absence:
            same(run(method, unflagged), run(method, batch), f"flag of {gone} although handles_absence is False")
        elif len(schema.names) > 1:
            without, full = run(method, batch.without(gone)), run(method, batch)
            moved = [not torch.equal(without.predictions[n], full.predictions[n]) for n in full.predictions]
            assert any(moved), f"{gone} decides nothing: the checks of its absence mean nothing"


def test_saved_and_loaded_it_predicts_the_same(method: Method, fresh: Build, batch: Batch) -> None:
    other = fresh(seed=99)
    other.load_state_dict(load(save({n: t.contiguous() for n, t in method.state_dict().items()})))
    got, wanted = run(other.eval(), batch), run(method, batch)
    for name in wanted.predictions:
        assert torch.equal(got.predictions[name], wanted.predictions[name]), name


@pytest.mark.parametrize("schema", [SCHEMAS["3-sequences-regression"]], ids=["3-sequences-regression"])
def test_weights_hold_nothing_of_single_training_samples(fresh: Build, schema: Schema, make_batch: MakeBatch) -> None:
    method, samples = fresh(), 37
    shapes = {n: t.shape for n, t in method.state_dict().items()}
    assert samples not in {size for shape in shapes.values() for size in shape}, "choose another number"
    batch = make_batch(schema, samples)
    method.prepare(View(train=lambda: [batch], valid=lambda: [batch]))
    for phase in method.phases():
        method.now = Now(phase.name)
        step(method.train(), batch, f"phase {phase.name}")
    assert {n: t.shape for n, t in method.state_dict().items()} == shapes
    # A memory may be smaller than the training split. Kept buffers are known statistics of the whole of it.
    kept = {n.rpartition(".")[2] for n, _ in method.named_buffers() if n in shapes}
    assert kept <= {"running_mean", "running_var", "num_batches_tracked", "mean", "std", "weight", "bias"}


def test_the_same_seed_gives_the_same_method(fresh: Build, schema: Schema, batch: Batch, make_batch: MakeBatch) -> None:
    results = []
    for _ in range(2):
        method = fresh()
        method.prepare(view(schema, make_batch))
        torch.manual_seed(5)
        losses = method.train().losses(batch, method(batch))
        results.append((state(method), {n: x.detach() for n, x in losses.items()}))
    for left, right in zip(*results, strict=True):
        assert left.keys() == right.keys()
        for name in left:
            assert torch.equal(left[name], right[name]), name


def test_evaluation_is_deterministic_and_changes_no_state(method: Method, batch: Batch) -> None:
    before = state(method)
    first, second = run(method, batch), run(method, batch)
    for name in first.predictions:
        assert torch.equal(first.predictions[name], second.predictions[name]), name
    assert all(torch.equal(t, before[n]) for n, t in state(method).items())


def test_one_sample_can_be_trained_on(method: Method, batch: Batch) -> None:
    method.train()
    for row in (0, 1):
        step(method, batch.select(torch.tensor([row])), f"sample {row}")
