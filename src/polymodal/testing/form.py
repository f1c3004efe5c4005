"""Checks of what a method says about itself, and of what comes out of it."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from safetensors.torch import load, save
from torch import equal, manual_seed

from polymodal.core import Target
from polymodal.methods.base import Now, View
from polymodal.testing.subject import Subject, expect, finite, run, same_tensors, state, step

OPTIONS = 14
"""Options of a constructor at most."""


def constructor_is_a_small_keyword_only_configuration(subject: Subject) -> None:
    """Options are keyword-only, typed, have defaults, and are few."""
    schema, *options = inspect.signature(subject.cls).parameters.values()
    expect(schema.name == "schema", f"the constructor's first argument is {schema.name!r}; call it 'schema'")
    for option in options:
        expect(
            option.kind is inspect.Parameter.KEYWORD_ONLY, f"option {option.name} is not keyword-only; put it after *"
        )
        expect(option.default is not inspect.Parameter.empty, f"option {option.name} has no default")
        expect(option.annotation is not inspect.Parameter.empty, f"option {option.name} has no type")
    expect(len(options) <= OPTIONS, f"there are {len(options)} options; keep to {OPTIONS}")


def says_where_it_comes_from(subject: Subject) -> None:
    """The class names its paper; the first paragraph of its docstring too, or that it is a baseline."""
    expect(bool(subject.cls.paper), "the class attribute 'paper' is empty; give the reference")
    head = (subject.cls.__doc__ or "").split("\n\n")[0]
    named = "baseline" in head.lower() or any(c.isdigit() for c in head)
    expect(named, "the docstring's first paragraph names neither a paper's year nor 'baseline'")


def outputs_have_the_shapes_of_the_targets(subject: Subject) -> None:
    """One prediction per joint target, and ``fused`` among the representations, one row per sample, no warning."""
    batch, targets = subject.batch(), subject.schema.joint_targets
    with _warnings_are_errors():
        output = run(subject.method(), batch)
    names = [t.name for t in targets]
    expect([*output.predictions] == names, f"predictions are {[*output.predictions]}, joint targets {names}")
    for target in targets:
        shape, wanted = tuple(output.predictions[target.name].shape), (len(batch), *_answer(target, subject))
        fits = len(shape) == len(wanted) and all(w in (-1, s) for s, w in zip(shape, wanted, strict=True))
        expect(fits, f"prediction of {target.name} has shape {shape}, not {wanted}")
    expect("fused" in output.representations, f"no representation 'fused' among {[*output.representations]}")
    for name, tensor in output.representations.items():
        expect(len(tensor) == len(batch), f"representation {name} has {len(tensor)} rows for {len(batch)} samples")
    finite(output.predictions, "prediction")
    finite(output.representations, "representation")


def _answer(target: Target, subject: Subject) -> tuple[int, ...]:
    """Return the shape of the prediction for one sample, -1 for any number."""
    if target.spec.answer == "match":
        return (len(subject.schema.modalities), -1)
    return () if target.spec.answer == "number" else (len(target.classes),)


@contextmanager
def _warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def groups_cover_every_trainable_parameter_once(subject: Subject) -> None:
    """No trainable parameter is without a group, none is in two."""
    method = subject.method()
    named = sorted(name for group in method.parameter_groups() for name in group.parameters)
    wanted = sorted(n for n, p in method.named_parameters() if p.requires_grad)
    twice = {n for n in named if named.count(n) > 1}
    expect(
        named == wanted,
        f"in no group: {sorted({*wanted} - {*named})}; not trainable: {sorted({*named} - {*wanted})}; "
        f"twice: {sorted(twice)}",
    )


def phases_share_the_epochs(subject: Subject) -> None:
    """Shares sum to 1, and every phase trains something; a closed form has no phase."""
    method = subject.method()
    phases, names = method.phases(), [n for n, _ in method.named_parameters()]
    total = sum(p.share for p in phases)
    expect(math.isclose(total, 1.0 if phases else 0.0, abs_tol=1e-6), f"the shares of the phases sum to {total}, not 1")
    for phase in phases:
        chosen = phase.parameters is None or any(phase.parameters(n) for n in names)
        expect(chosen, f"phase {phase.name} chooses no parameter")


def saved_and_loaded_it_predicts_the_same(subject: Subject) -> None:
    """``state_dict`` holds all that a prediction needs."""
    method, other, batch = subject.method(), subject.fresh(seed=99), subject.batch()
    other.load_state_dict(load(save({n: t.contiguous() for n, t in method.state_dict().items()})))
    same_tensors(run(other.eval(), batch).predictions, run(method, batch).predictions, "saved and loaded: prediction")


def weights_hold_nothing_of_single_training_samples(subject: Subject) -> None:
    """No weight grows with the training split, and kept buffers are statistics of the whole of it."""
    method = subject.fresh()
    shapes = {n: t.shape for n, t in method.state_dict().items()}
    sizes = {size for shape in shapes.values() for size in shape}
    batch = subject.batch(next(n for n in range(37, 9999) if n not in sizes))
    method.prepare(View(train=lambda: [batch], valid=lambda: [batch]))
    for phase in method.phases():
        method.now = Now(phase.name)
        step(method.train(), batch, f"phase {phase.name}")
    after = {n: t.shape for n, t in method.state_dict().items()}
    changed = sorted(n for n in {*shapes, *after} if shapes.get(n) != after.get(n))
    expect(not changed, f"training changes the shapes of {changed}")
    # A memory may be smaller than the training split. Kept buffers are known statistics of the whole of it.
    kept = {n.rpartition(".")[2] for n, _ in method.named_buffers() if n in shapes}
    odd = sorted(kept - {"running_mean", "running_var", "num_batches_tracked", "mean", "std", "weight", "bias"})
    expect(not odd, f"buffers {odd} are among the weights; register what only training needs with persistent=False")


def the_same_seed_gives_the_same_method(subject: Subject) -> None:
    """Constructor, preparation and losses draw from torch's random numbers alone."""
    batch, results = subject.batch(), []
    for _ in range(2):
        method = subject.fresh()
        method.prepare(subject.view())
        manual_seed(5)
        losses = method.train().losses(batch, method(batch))
        results.append((state(method), {n: x.detach() for n, x in losses.items()}))
    for what, left, right in zip(("parameter or buffer", "loss"), *results, strict=True):
        same_tensors(left, right, f"same seed, second time: {what}")


def evaluation_is_deterministic_and_changes_no_state(subject: Subject) -> None:
    """Predicting twice gives the same and leaves parameters and buffers as they were."""
    method, batch = subject.method(), subject.batch()
    before = state(method)
    same_tensors(run(method, batch).predictions, run(method, batch).predictions, "predicted twice: prediction")
    for name, tensor in state(method).items():
        expect(equal(tensor.nan_to_num(), before[name].nan_to_num()), f"evaluation changes {name}")
