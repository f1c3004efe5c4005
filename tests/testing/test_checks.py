"""Every check finds the mistake it is there for, in a method that is fine but for this one mistake."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from polymodal.core import Batch, Output, Schema
from polymodal.methods import build, find_method
from polymodal.methods._wrapper import Wrapper
from polymodal.methods.base import Group, Method, Now, Phase, Update, View
from polymodal.nn.heads import Heads, task_losses
from polymodal.testing import CHECKS, SCHEMAS, NotApplicable, Subject, check_method, random_batch, train_briefly

OWN = Path(__file__).resolve().parents[2] / "examples" / "own_method.py"
SCHEMA = SCHEMAS["2-sequence-vector-classification"]
NAMED = {check.__name__: check for check in CHECKS}


class Fine(Method):
    """Baseline: a linear map of the sum of each modality."""

    paper = "baseline"

    def __init__(self, schema: Schema, *, width: int = 4) -> None:
        super().__init__(schema)
        self.maps = nn.ModuleDict({m.name: nn.Linear(m.width, width) for m in schema.modalities})
        self.heads = Heads(schema, width)

    def summed(self, batch: Batch) -> Tensor:
        vectors = {n: s.tensor if s.lengths is None else s.tensor.sum(1) for n, s in batch.streams.items()}
        return torch.stack([self.maps[n](v) * batch[n].present[:, None] for n, v in vectors.items()]).sum(0)

    def forward(self, batch: Batch) -> Output:
        fused = self.summed(batch)
        return Output(self.heads(fused), {"fused": fused})


class ManyOptions(Fine):
    def __init__(self, schema: Schema, width: int = 4) -> None:
        super().__init__(schema, width=width)


class NoPaper(Fine):
    """Baseline."""

    paper = ""


class NoFused(Fine):
    def forward(self, batch: Batch) -> Output:
        return Output(super().forward(batch).predictions)


class HalfGrouped(Fine):
    def parameter_groups(self) -> list[Group]:
        return super().parameter_groups()[:1]


class HalfShared(Fine):
    def phases(self) -> list[Phase]:
        return [Phase(share=0.5)]


class Forgets(Fine):
    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.offset = torch.randn(4)

    def summed(self, batch: Batch) -> Tensor:
        return super().summed(batch) + self.offset


class Remembers(Fine):
    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.register_buffer("seen", torch.zeros(1))

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        self.seen = output.representations["fused"].detach()
        return super().losses(batch, output)


class OtherDice(Fine):
    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        nn.init.constant_(self.maps["audio"].bias, id(self) % 1009)


class CountsAlways(Fine):
    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.register_buffer("mean", torch.zeros(1))

    def summed(self, batch: Batch) -> Tensor:
        self.mean = self.mean + 1
        return super().summed(batch)


class Idle(Fine):
    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.idle = nn.Linear(2, 2)


class IdleUpdate(Fine):
    def phases(self) -> list[Phase]:
        fit, game = Update("fit", lambda name: True), Update("game", lambda name: name == "no such")
        return [Phase("play", updates=(fit, game))]


class SelectsNothing(Fine):
    def phases(self) -> list[Phase]:
        return [Phase(select=("contrast",))]


class Lonely(Fine):
    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        fused = output.representations["fused"]
        spread = (fused - fused.mean(0)).square().sum() / (len(fused) - 1)  # of one sample there is none
        return {**super().losses(batch, output), "spread": spread}


class CountsUnknown(Fine):
    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        losses = super().losses(batch, output)
        return {n: x * batch.labelled("emotion").float().mean() for n, x in losses.items()}


class NeedsLabels(Fine):
    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        squares = (output.predictions["emotion"] / batch.targets["emotion"].add(1)[:, None]).square()
        return {**super().losses(batch, output), "extra": squares.mean()}


class Neighbours(Fine):
    def summed(self, batch: Batch) -> Tensor:
        fused = super().summed(batch)
        return fused - fused.mean(0)


class Ordered(Fine):
    def summed(self, batch: Batch) -> Tensor:
        return super().summed(batch).cumsum(0)


class NoneLeft(Fine):
    def summed(self, batch: Batch) -> Tensor:
        return super().summed(batch) / batch.present.sum(1, keepdim=True)


class ByName(Fine):
    def summed(self, batch: Batch) -> Tensor:
        lengths = batch["audio"].mask.shape[1]
        return super().summed(batch) + lengths


class AllOrNothing(Fine):
    def summed(self, batch: Batch) -> Tensor:
        return super().summed(batch) * batch.present.all()


class Deaf(Fine):
    handles_absence = False


class FromStrangers(Fine):
    """The width of the batch's absences enters."""

    def summed(self, batch: Batch) -> Tensor:
        return super().summed(batch) + (~batch.present).sum()


BROKEN = [
    (ManyOptions, "constructor_is_a_small_keyword_only_configuration", "width"),
    (NoPaper, "says_where_it_comes_from", "paper"),
    (NoFused, "outputs_have_the_shapes_of_the_targets", "no representation 'fused'"),
    (HalfGrouped, "groups_cover_every_trainable_parameter_once", "in no group"),
    (HalfShared, "phases_share_the_epochs", "sum to 0.5"),
    (Forgets, "saved_and_loaded_it_predicts_the_same", "prediction emotion differs"),
    (Remembers, "weights_hold_nothing_of_single_training_samples", "changes the shapes"),
    (OtherDice, "the_same_seed_gives_the_same_method", "differs"),
    (CountsAlways, "evaluation_is_deterministic_and_changes_no_state", "evaluation changes mean"),
    (Idle, "every_parameter_gets_a_finite_gradient", "2 of 8 parameters never move"),
    (IdleUpdate, "every_parameter_gets_a_finite_gradient", "update='game'.* moves nothing"),
    (SelectsNothing, "every_parameter_gets_a_finite_gradient", "selects by 'contrast'"),
    (Lonely, "one_sample_can_be_trained_on", "spread is not finite"),
    (NeedsLabels, "training_survives_unknown_labels", "extra is not finite"),
    (CountsUnknown, "unknown_labels_do_not_count", "task differs"),
    (Neighbours, "a_sample_alone_in_a_batch_and_padded_is_the_same", "sample 0 alone"),
    (Ordered, "the_order_of_samples_does_not_matter", "permuted batch"),
    (NoneLeft, "any_subset_of_modalities_gives_a_finite_output", "is not finite"),
    (NoneLeft, "training_survives_absence", "is not finite"),
    (ByName, "nothing_of_an_absent_modality_leaks", "values of absent audio"),
    (AllOrNothing, "absence_of_some_rows_is_absence_in_those_rows", "rows with audio"),
    (FromStrangers, "absence_of_some_rows_is_absence_in_those_rows", "rows without audio"),
    (Deaf, "absence_is_seen_exactly_if_declared", "although handles_absence is False"),
]


@pytest.mark.parametrize(("cls", "check", "words"), BROKEN, ids=lambda x: getattr(x, "__name__", None))
def test_a_mistake_fails_its_check(cls: type[Method], check: str, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        NAMED[check](Subject(cls, SCHEMA))


def test_what_no_mistake_has_passes_all_checks() -> None:
    skipped = check_method(Fine, schemas={"one": SCHEMA})
    # Of methods with another one inside, with a seam, or with parts that go alone.
    elsewhere = ("a_method_inside", "what_is_encoded_once", "what_is_left_of_a_modular_method")
    assert sorted(skipped) == sorted(f"one: {name}" for name in NAMED if name.startswith(elsewhere))


class Trap(Method):
    """Baseline: another method inside, of which training knows nothing."""

    paper = "baseline"

    def __init__(self, schema: Schema, *, base: str = "umq") -> None:
        super().__init__(schema)
        self.base = build(find_method(base), schema, {})

    def forward(self, batch: Batch) -> Output:
        output: Output = self.base(batch)
        return output


class TaskAlone(Trap):
    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        return task_losses(self.schema, batch, output)


class BaseLosses(Trap):
    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        return self.base.losses(batch, output)


class SilentHooks(Wrapper):
    """Baseline: a wrapper that keeps the end of a step, and the data, for itself."""

    paper = "baseline"

    def __init__(self, schema: Schema, *, base: str = "umq") -> None:
        super().__init__(schema, base, {})

    def stepped(self) -> None:
        pass

    def prepare(self, view: View) -> None:
        pass


class OneGroup(SilentHooks):
    def parameter_groups(self) -> list[Group]:
        return [replace(group, rate=2.0) for group in super().parameter_groups()]


class Forwards(Wrapper):
    """Baseline: a wrapper as it should be."""

    paper = "baseline"

    def __init__(self, schema: Schema, *, base: str = "umq") -> None:
        super().__init__(schema, base, {})


@pytest.mark.parametrize(
    ("cls", "check", "words"),
    [
        (TaskAlone, "every_parameter_gets_a_finite_gradient", "parameters never move"),
        (TaskAlone, "a_method_inside_is_told_its_phases", "'clean', 'joint', 'quality'"),
        (BaseLosses, "a_method_inside_is_told_its_phases", "base was never told"),
        (TaskAlone, "a_method_inside_gets_its_hooks", "prepare, begin, stepped"),
        (SilentHooks, "a_method_inside_gets_its_hooks", r"prepare, stepped\(\)"),
        (OneGroup, "a_method_inside_keeps_its_parameter_groups", "is in group 'new'"),
    ],
)
def test_a_method_that_hides_another_from_training_fails(cls: type[Method], check: str, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        NAMED[check](Subject(cls, SCHEMA))


@pytest.mark.parametrize("check", [n for n in NAMED if n.startswith("a_method_inside")] + ["phases_share_the_epochs"])
def test_a_wrapper_that_forwards_everything_passes(check: str) -> None:
    NAMED[check](Subject(Forwards, SCHEMA))


def test_a_method_without_another_inside_says_so() -> None:
    with pytest.raises(NotApplicable, match="no other method"):
        NAMED["a_method_inside_gets_its_hooks"](Subject(Fine, SCHEMA))


def test_all_failures_are_told_at_once_with_their_schema() -> None:
    class Poor(Idle, NoPaper):
        """Nothing."""

    with pytest.raises(AssertionError) as caught:
        check_method(Poor, schemas={"one": SCHEMA})
    text = str(caught.value)
    assert "one: says_where_it_comes_from: the class attribute 'paper' is empty" in text
    assert "one: every_parameter_gets_a_finite_gradient: " in text


def test_a_method_that_fits_no_schema_is_not_said_to_be_fine() -> None:
    class Many(Fine):
        modality_counts = (9, 9)

    with pytest.raises(AssertionError, match="fits none of the schemas"):
        check_method(Many)


def test_a_script_checks_the_example_without_pytest() -> None:
    code = (
        "import sys; from polymodal.methods import find_method; from polymodal.testing import SCHEMAS, check_method\n"
        f"name = '2-sequence-vector-classification'\n"
        f"check_method(find_method({f'{OWN}:Gated'!r}), schemas={{name: SCHEMAS[name]}})\n"
        "assert 'pytest' not in sys.modules, 'pytest was imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Told(Fine):
    """Notes what training tells it."""

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.notes: list[object] = []

    def phases(self) -> list[Phase]:
        maps = Update("maps", lambda name: name.startswith("maps"))
        heads = Update("heads", lambda name: name.startswith("heads"), every=2)
        return [Phase("warm", 0.5, maps.parameters), Phase("both", 0.5, updates=(maps, heads))]

    def prepare(self, view: View) -> None:
        self.notes.append("prepare")

    def begin(self, view: View) -> None:
        self.notes.append("begin")

    def stepped(self) -> None:
        self.notes.append(self.now)


def test_brief_training_takes_the_steps_of_every_phase_and_update() -> None:
    method = Told(SCHEMA)
    taken = train_briefly(method, random_batch(SCHEMA), 2)
    assert [sorted(losses) for losses in taken] == [["task"], ["task"], ["maps/task"], ["heads/task", "maps/task"]]
    assert [n for n in method.notes if isinstance(n, str)] == ["prepare", "begin", "begin"]
    assert [n.phase for n in method.notes if isinstance(n, Now)] == ["warm", "warm", "both", "both"]
    assert all(p.requires_grad for p in method.parameters())


def test_brief_training_lowers_the_loss() -> None:
    torch.manual_seed(0)
    taken = train_briefly(Fine(SCHEMA), random_batch(SCHEMA), 40, lr=0.05)
    assert taken[-1]["task"] < 0.5 * taken[0]["task"]


def test_the_same_seed_gives_the_same_random_batch_and_leaves_torch_alone() -> None:
    before = torch.random.get_rng_state()
    first, second, other = (random_batch(SCHEMA, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first["face"].tensor, second["face"].tensor)
    assert not torch.equal(first["face"].tensor, other["face"].tensor)
