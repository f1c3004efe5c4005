"""SemanticMAC: gates at their limits, labels by hand, losses in closed form, and what planted conflicts do to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from polymodal import evaluate, fit
from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.media.extraction import Extraction
from polymodal.media.folder.extract import extract
from polymodal.media.folder.manifest import read_manifest
from polymodal.methods.base import Now, View
from polymodal.methods.semanticmac import SemanticMAC, intra_contrast
from polymodal.nn.contrast import cosines
from polymodal.nn.own_classes import OwnClasses
from polymodal.nn.own_labels import OwnLabels
from polymodal.nn.patches import PictureEncoder
from polymodal.nn.windows import Windows
from polymodal.predict.predictor import Predictor

MakeBatch = Callable[..., Batch]

SCORE = Target("sentiment", "regression", (-3.0, 3.0))
MOOD = Target("mood", "classification", classes=("low", "high"))
THREE = Schema(tuple(Modality(n, "vector", 6) for n in ("text", "audio", "vision")), (SCORE,))
CLIP = Schema(
    (Modality("text", "text"), Modality("audio", "sequence", 5), Modality("vision", "frames", shape=(3, 16, 16))),
    (SCORE,),
)
SMALL = {"width": 16, "tokens": 2, "heads": 2, "layers": 1}


def made(schema: Schema = THREE, **options: object) -> SemanticMAC:
    return SemanticMAC(schema, **{**SMALL, **options})  # type: ignore[arg-type]


def told(method: SemanticMAC, batches: Sequence[Batch]) -> SemanticMAC:
    method.prepare(View(train=lambda: batches, valid=lambda: batches))
    return method.train()


def test_all_shared_and_specific_vectors_alike_cost_the_logarithm_of_four() -> None:
    same, here = torch.ones(5, 3, 4), torch.ones(5, 3, dtype=torch.bool)
    assert intra_contrast(same, same, here, 0.1).item() == pytest.approx(math.log(4), abs=1e-5)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_shared_vectors_alike_and_across_all_specific_ones(temperature: float) -> None:
    s, p = torch.zeros(5, 3, 4), torch.zeros(5, 3, 4)
    s[..., 0], p[..., 1] = 2.0, 3.0
    loss = intra_contrast(s, p, torch.ones(5, 3, dtype=torch.bool), temperature)
    assert loss.item() == pytest.approx(math.log(1 + 3 * math.exp(-1 / temperature)), abs=1e-5)


def test_what_is_absent_is_in_no_contrast_of_a_sample() -> None:
    s, p, here = torch.randn(4, 3, 8), torch.randn(4, 3, 8), torch.ones(4, 3, dtype=torch.bool)
    here[:, 2] = False
    two = intra_contrast(s[:, :2], p[:, :2], here[:, :2], 0.1)
    torch.testing.assert_close(intra_contrast(s, p, here, 0.1), two)
    here[:, 1] = False
    assert intra_contrast(s, p, here, 0.1).item() == pytest.approx(0, abs=1e-6)


def test_one_hot_classes_make_the_contrast_across_samples_the_supervised_one(make_batch: MakeBatch) -> None:
    from polymodal.nn.contrast import supervised_contrastive

    schema = Schema(THREE.modalities, (MOOD,))
    batch, method = make_batch(schema), made(schema)
    told(method, [batch])
    whole, p = torch.randn(8, 6), torch.randn(8, 3, 6)
    sets = [whole, *p.unbind(1)]
    terms = [supervised_contrastive(x, batch.targets["mood"], 0.1) for x in sets]
    wanted = terms[0] + torch.stack(terms[1:]).mean()
    torch.testing.assert_close(method.inter_contrast(batch, whole, p), wanted, rtol=1e-5, atol=1e-5)


def test_at_the_first_epoch_every_label_is_that_of_the_whole_and_no_gradient_goes_through_them(
    make_batch: MakeBatch,
) -> None:
    batch, method = make_batch(THREE), made()
    told(method, [batch])
    first = method.losses(batch, method(batch))
    memory = method.memories[0]
    assert isinstance(memory, OwnLabels)
    whole = batch.targets["sentiment"][:, None].expand(-1, 4)
    torch.testing.assert_close(memory.own(batch)[1][..., 0], whole)
    assert first["specific"].item() == pytest.approx(0, abs=1e-6)
    losses = method.losses(batch, method(batch))
    assert losses["specific"].item() == pytest.approx(0, abs=1e-6)  # the labels move after the loss has used them
    moved = memory.own(batch)[1][..., 0]
    assert (moved[:, 1:] - whole[:, 1:]).abs().max() > 1e-3
    assert moved.abs().max() <= 3
    assert not any(b.requires_grad for _, b in memory.named_buffers())
    assert method.losses(batch, method(batch))["specific"] > 0


def test_with_a_weight_of_0_labels_stay_and_parts_are_left_out(make_batch: MakeBatch) -> None:
    batch, method = make_batch(THREE), made(specific=0.0, intra=0.0, inter=0.0)
    told(method, [batch])
    for _ in range(3):
        assert set(method.losses(batch, method(batch))) == {"task", "shared"}
    assert not [n for n, _ in method.named_parameters() if n.startswith(("own.", "project."))]
    assert set(method.eval().losses(batch, method(batch))) == {"task"}


def test_numbers_and_classes_have_a_memory_each(make_batch: MakeBatch) -> None:
    schema = Schema(THREE.modalities, (MOOD, SCORE))
    batch, method = make_batch(schema), made(schema)
    told(method, [batch])
    assert [type(m) for m in method.memories] == [OwnLabels, OwnClasses]
    for share in (0.0, 0.5, 1.0):
        method.now = Now(share=share)
        losses = method.losses(batch, method(batch))
    assert set(losses) == {"task/mood", "task/sentiment", "shared/mood", "shared/sentiment"} | {
        "specific",
        "intra",
        "inter",
    }
    assert all(x.isfinite() for x in losses.values())


def test_the_result_does_not_depend_on_what_is_held_and_neither_do_gradients(make_batch: MakeBatch) -> None:
    batch = make_batch(CLIP, 6)
    torch.manual_seed(1)
    kept = made(CLIP, part=0, window={"audio": 4}, dropout=0.0)
    again = made(CLIP, part=2, window={"audio": 4}, dropout=0.0)
    again.load_state_dict(kept.state_dict())
    parts = [m.part for m in again.modules() if isinstance(m, PictureEncoder | Windows)]
    assert parts == [2, 2]
    found = []
    for method in (kept, again):
        told(method, [batch])
        sum(method.losses(batch, method(batch)).values(), torch.zeros(())).backward()
        found.append([*method.parameters()])
    for left, right in zip(*found, strict=True):
        assert left.grad is not None
        assert right.grad is not None
        torch.testing.assert_close(left.grad, right.grad, rtol=1e-4, atol=1e-6)


@contextmanager
def held() -> Iterator[list[int]]:
    """Bytes that are kept for gradients: a list of one number."""
    total = [0]

    def pack(tensor: Tensor) -> Tensor:
        total[0] += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield total


def test_little_is_held_for_the_gradient_of_many_frames(make_batch: MakeBatch) -> None:
    batch, sizes = make_batch(CLIP, 4, longest=30), {}
    for part in (0, 2):
        method = told(made(CLIP, part=part, window={"audio": 4}), [batch])
        with held() as total:
            method(batch)
        sizes[part] = total[0]
    assert sizes[2] < 0.25 * sizes[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "heads must divide width, got heads=3 and width=16"),
        ({"intra": -0.1}, "must not be negative"),
        ({"window": {"audio": 1}}, "window of audio must be 2 steps or more, or 0 for none, got 1"),
        ({"tokens": 0}, "tokens must be above 0"),
    ],
)
def test_what_cannot_be_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        made(CLIP, **options)


def test_pretrained_networks_read_frames_and_text_and_train_at_their_own_rate(
    bert: str, vit: Path, make_batch: MakeBatch
) -> None:
    schema = CLIP.with_encoders({"text": bert, "vision": str(vit)})
    batch, method = make_batch(schema, 4), made(schema, part=3)
    told(method, [batch])
    groups = {g.name: g for g in method.parameter_groups()}
    assert any(n.startswith("inputs.encoders.vision.") for n in groups["pretrained"].parameters)
    sum(method.losses(batch, method(batch)).values(), torch.zeros(())).backward()
    for name in ("text", "vision"):
        slopes = [p.grad for p in method.inputs.encoders[name].parameters() if p.grad is not None]
        assert torch.stack([s.abs().max() for s in slopes]).max() > 0


def conflicting(seed: int, rows: int = 120, share: float = 0.3) -> tuple[Batch, Tensor]:
    """Three vectors that show the label, but audio shows its opposite in a ``share`` of the samples; and what audio
    shows."""
    drawn = torch.Generator().manual_seed(seed)
    label = (2 * torch.randn(rows, generator=drawn)).clamp(-3, 3)
    shown = torch.where(torch.arange(rows) < share * rows, -label, label)
    streams, direction = {}, torch.randn(6, generator=drawn)
    for name in THREE.names:
        values = (shown if name == "audio" else label)[:, None] * direction
        noisy = values + 0.5 * torch.randn(rows, 6, generator=drawn)
        streams[name] = Stream(noisy, None, torch.ones(rows, dtype=torch.bool))
    return Batch(streams, {"sentiment": label}, [f"{seed}-{i}" for i in range(rows)]), shown


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_label_of_a_modality_in_conflict_moves_to_what_it_shows(seed: int) -> None:
    data, shown = conflicting(seed)
    memory = told(made(), [data]).memories[0]
    assert isinstance(memory, OwnLabels)
    # Vectors that show as much as the data do, in the place of trained ones.
    vectors = {n: torch.nn.functional.pad(s.tensor, (0, 10)) for n, s in data.streams.items()}
    found = vectors | {"fused": vectors["text"]} | {f"y_{n}": torch.zeros(len(data), 1) for n in THREE.names}
    for _ in range(10):
        memory.losses(data, found)
    whole = data.targets["sentiment"]
    text, audio, vision = memory.own(data)[1][:, 1:, 0].unbind(1)
    assert correlation(audio, shown) > correlation(whole, shown) + 0.2
    assert correlation(audio, whole) < 0.5
    for other in (text, vision):
        assert correlation(other, whole) > 0.85


def test_a_modality_halfway_between_the_sides_moves_a_label_of_1_to_0_at_the_second_visit() -> None:
    here, rows = torch.ones(3, dtype=torch.bool), {"text": [2.0, -2.0, 4.0], "audio": [1.0, -1.0, 4.0]}
    labels = torch.tensor([1.0, 1.0, -1.0])
    places = {n: torch.eye(16)[0] * torch.tensor(rows.get(n, rows["audio"]))[:, None] for n in ("fused", *THREE.names)}
    streams = {n: Stream(places[n][:, :6], None, here) for n in THREE.names}
    data = Batch(streams, {"sentiment": labels}, ["a", "b", "c"])
    memory = told(made(), [data]).memories[0]
    assert isinstance(memory, OwnLabels)
    found = places | {f"y_{n}": torch.zeros(3, 1) for n in THREE.names}
    for expected in (1.0, 0.0):
        # Centres lie at 0 and 4: s and audio of sample a are 1 and 3 away from them, text is 2 from both.
        memory.losses(data, found)
        whole, text, audio, _ = memory.own(data)[1][0, :, 0].tolist()
        assert text == pytest.approx(expected, abs=1e-5)
        assert (whole, audio) == pytest.approx((1.0, 1.0), abs=1e-5)


def trained(data: Batch, **options: float) -> SemanticMAC:
    torch.manual_seed(1)
    batches = [data.select(rows) for rows in torch.randperm(len(data)).split(32)]
    method = told(made(part=0, **options), batches)
    optimizer = torch.optim.AdamW(method.parameters(), 3e-3)
    for epoch in range(15):
        for batch in batches:
            method.now = Now(share=epoch / 15)
            optimizer.zero_grad()
            torch.stack([*method.losses(batch, method(batch)).values()]).sum().backward()
            optimizer.step()
    return method.eval()


@pytest.mark.slow
def test_after_training_shared_vectors_are_nearer_to_each_other_than_to_specific_ones() -> None:
    gaps, (data, _), (test, _) = {}, conflicting(1), conflicting(101)
    for weight in (0.1, 0.0):
        method = trained(data, intra=weight)
        with torch.no_grad():
            found = method(test).representations
            s, p = (method.project(torch.stack([found[f"{k}_{n}"] for n in THREE.names], dim=1)) for k in "sp")
            apart = ~torch.eye(3, dtype=torch.bool)
            gaps[weight] = (cosines(s, s)[:, apart].mean() - cosines(s, p).mean()).item()
    assert gaps[0.1] > gaps[0.0] + 0.2
    assert gaps[0.1] > 0.4


@pytest.mark.slow
def test_raw_clips_are_extracted_learned_evaluated_and_predicted(
    bert: str, vit: Path, shared: Path, tmp_path: Path
) -> None:
    pytest.importorskip("mediapipe")
    home, models = shared / "data" / "grid_av_speech", shared / "models"
    clips = {"clips_s1/bbaf2n": "train", "clips_other_speakers/lbbc2a": "valid", "clips_other_speakers/lwbsza": "test"}
    lines = ["clip,start,end,text,talking,speaker,split"]
    for place, split in clips.items():
        clip = home / f"{place}.mpg"
        for start, talking in ((0.0, "no"), (1.2, "yes")):
            lines.append(f"{clip},{start},{start + 0.4},bin blue,{talking},{clip.stem},{split}")
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    how = Extraction(audio="logmel", vision="crops", text="given", fps=10)
    extract(
        read_manifest(tmp_path / "clips.csv", targets=["talking"]), tmp_path / "store", extraction=how, assets=models
    )
    run = fit(
        "semanticmac",
        str(tmp_path / "store"),
        options={**SMALL, "window": {"audio": 20}, "part": 4, "drop_last": False},
        encoder={"text": bert, "vision": str(vit)},
        epochs=2,
        out=tmp_path / "run",
    )
    assert run.schema.encoders == {"text": bert, "vision": str(vit)}
    figures = evaluate(run.path)
    assert figures
    found = Predictor.load(run.path, assets=models).predict(home / "clips_other_speakers/lwbsza.mpg")
    assert found.moments
