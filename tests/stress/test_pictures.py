"""Stress on images and frames: reproducible, blind to the batch, and what it says it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from polymodal.core import Batch, OptionError, Stream
from polymodal.stress import curve_places, parse_stress, sweep

EXAMPLES = {
    "subset": "subset:scene,face",
    "missing": "missing:rate=0.4",
    "missing-batch": "missing-batch:rate=0.4,size=4",
    "instance": "instance:p=0.5",
    "drop": "drop:rate=0.4",
    "drop-random": "drop-random",
    "noise": "noise:snr=0,color=pink",
    "channels": "channels:rate=0.5",
    "clip": "clip:at=0.5",
    "shift": "shift:by=0.3",
    "rate": "rate:keep=0.5",
    "swap": "swap:p=0.6",
    "occlude": "occlude:share=0.3",
    "blur": "blur:sigma=1.5",
}


def film(rows: int = 15, first: int = 0) -> Batch:
    """Samples whose content follows from their number: a voice, an image, a clip of 3 to 7 frames."""
    lengths = torch.tensor([3 + (first + i) % 5 for i in range(rows)])
    voice, scene = torch.zeros(rows, 4, 2), torch.zeros(rows, 3, 8, 6)
    face = torch.zeros(rows, int(lengths.max()), 1, 10, 10)
    for row, length in enumerate(lengths.tolist()):
        rng = np.random.default_rng(first + row)
        for out in (voice[row], scene[row], face[row, :length]):
            out.copy_(torch.from_numpy(rng.standard_normal(out.shape)))
    here = torch.ones(rows, dtype=torch.bool)
    streams = {
        "voice": Stream(voice, torch.full((rows,), 4), here),
        "scene": Stream(scene, None, here),
        "face": Stream(face, lengths, here),
    }
    return Batch(streams, {}, [f"s{first + i}" for i in range(rows)])


def donors(ids: list[str]) -> Batch:
    whole = film(15)
    return whole.select(torch.tensor([whole.ids.index(i) for i in ids]))


def content(batch: Batch) -> dict[str, tuple[object, ...]]:
    """Everything about each sample that a method can see, without padding."""
    seen = {}
    for row, sample in enumerate(batch.ids):
        parts = [batch["scene"].tensor[row]]
        parts += [batch[n].tensor[row][batch[n].mask[row]] for n in ("voice", "face")]
        seen[sample] = (*(p.numpy().tobytes() for p in parts), tuple(batch.present[row].tolist()))
    return seen


@pytest.mark.parametrize("text", EXAMPLES.values())
def test_a_samples_fate_does_not_depend_on_its_batch(text: str) -> None:
    stress, population = parse_stress(text), film().ids
    whole = content(stress(film(), seed=3, population=population, donors=donors))
    parts: dict[str, tuple[object, ...]] = {}
    for first in range(0, 15, 4):
        part = film(min(4, 15 - first), first)
        parts |= content(stress(part, seed=3, population=population, donors=donors))
    assert whole == parts
    assert whole != content(film())


@pytest.mark.parametrize("text", EXAMPLES.values())
def test_padding_and_absent_cells_stay_zero_and_the_batch_as_it_was(text: str) -> None:
    batch = film()
    gone = torch.arange(15) == 2
    batch = batch.without("scene", "face", rows=gone)
    before = content(batch)
    out = parse_stress(text)(batch, population=batch.ids)
    assert content(batch) == before
    assert not out["face"].tensor[~out["face"].mask].any()
    assert not out["scene"].tensor[~out["scene"].present].any()
    if not text.startswith("swap"):
        assert not out["scene"].present[2]
        assert not out["face"].present[2]


def test_masks_are_static_for_a_seed_and_fresh_for_an_epoch() -> None:
    stress, batch = parse_stress("occlude:share=0.3"), film()
    assert content(stress(batch, seed=1)) == content(stress(batch, seed=1))
    assert content(stress(batch, seed=1)) != content(stress(batch, seed=2))
    assert content(stress(batch, seed=1, epoch=0)) != content(stress(batch, seed=1, epoch=1))


@pytest.mark.parametrize(("share", "sides"), [(0.25, (5, 5)), (0.1, (3, 3)), (0.0, (0, 0)), (1.0, (10, 10))])
def test_occlusion_hides_one_rectangle_of_its_share_in_all_frames_alike(share: float, sides: tuple[int, int]) -> None:
    batch = film(300)
    out = parse_stress(f"occlude:face,share={share}")(batch)
    assert torch.equal(out["scene"].tensor, batch["scene"].tensor)
    hidden = np.zeros((10, 10))
    for row, length in enumerate(batch["face"].lengths.tolist()):  # type: ignore[union-attr]
        clip = out["face"].tensor[row, :length, 0].numpy()
        grey = (clip == 0).all(0)
        rows, columns = np.flatnonzero(grey.any(1)), np.flatnonzero(grey.any(0))
        assert (len(rows), len(columns), grey.sum()) == (*sides, sides[0] * sides[1])
        assert np.array_equal((clip == 0).any(0), grey)
        assert np.array_equal(clip[:, ~grey], batch["face"].tensor[row, :length, 0].numpy()[:, ~grey])
        hidden += grey
    if share == 0.25:  # every place within the picture is equally likely, so its middle is hidden most
        assert hidden.min() > 0
        assert hidden[4:6, 4:6].mean() / 300 == pytest.approx((5 / 6) ** 2, abs=0.08)


def test_an_image_is_hidden_in_its_own_proportions() -> None:
    out = parse_stress("occlude:scene,share=0.25")(film())
    assert ((out["scene"].tensor == 0).all(1).sum((1, 2)) == 4 * 3).all()


def test_blur_is_a_gaussian_over_each_picture_alone() -> None:
    batch = film()
    out = parse_stress("blur:sigma=1.5")(batch)
    for row in (0, 7):
        scene = np.stack([gaussian_filter(plane, 1.5, mode="nearest") for plane in batch["scene"].tensor[row].numpy()])
        np.testing.assert_allclose(out["scene"].tensor[row], scene, atol=1e-5)
        frame = gaussian_filter(batch["face"].tensor[row, 1, 0].numpy(), 1.5, mode="nearest")
        np.testing.assert_allclose(out["face"].tensor[row, 1, 0], frame, atol=1e-5)
    assert torch.equal(out["voice"].tensor, batch["voice"].tensor)
    assert torch.equal(parse_stress("blur:sigma=0")(batch)["face"].tensor, batch["face"].tensor)


def test_a_flat_picture_stays_flat_when_it_is_blurred() -> None:
    flat = Stream(torch.full((1, 3, 8, 8), 2.5), None, torch.tensor([True]))
    out = parse_stress("blur:sigma=3")(Batch({"scene": flat}, {}, ["s"]))
    torch.testing.assert_close(out["scene"].tensor, flat.tensor)


def test_frames_are_lost_whole_and_their_rate_falls() -> None:
    batch = film(200)
    lost = parse_stress("drop:face,rate=0.4")(batch)["face"]
    gone = (lost.tensor == 0).flatten(2).all(2)[lost.mask]
    assert gone.float().mean() == pytest.approx(0.4, abs=0.05)
    same = (lost.tensor == batch["face"].tensor).flatten(2).all(2)[lost.mask]
    assert bool((same | gone).all())
    thin = parse_stress("rate:face,keep=0.5")(batch)["face"]
    assert thin.lengths is not None
    assert thin.lengths.tolist()[:5] == [2, 2, 2, 3, 4]
    assert torch.equal(thin.tensor[4, :4], batch["face"].tensor[4, [0, 1, 3, 5]])


def test_noise_has_the_power_asked_for_and_colours_are_lost_whole() -> None:
    batch = film(100)
    for color in ("white", "brown"):
        noisy = parse_stress(f"noise:face,snr=0,color={color}")(batch)["face"].tensor
        added = (noisy - batch["face"].tensor)[batch["face"].mask]
        assert float(added.square().mean() / batch["face"].tensor[batch["face"].mask].square().mean()) == pytest.approx(
            1, abs=0.1
        )
    planes = (parse_stress("channels:scene,rate=0.5")(batch)["scene"].tensor == 0).flatten(2)
    assert torch.equal(planes.all(2), planes.any(2))
    assert planes.all(2).float().mean() == pytest.approx(0.5, abs=0.1)


def test_a_clip_is_exchanged_for_a_longer_one() -> None:
    batch = film(2)  # 3 and 4 frames
    given = film(1, 4)  # 7 frames
    out = parse_stress("swap:face,p=1")(
        batch, population=["s4"], donors=lambda ids: given.select(torch.zeros(len(ids)).long())
    )
    assert out["face"].tensor.shape == (2, 7, 1, 10, 10)
    assert torch.equal(out["face"].tensor[1], given["face"].tensor[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("occlude:share=1.2", "share must be a share from 0 to 1, got '1.2'"),
        ("blur:sigma=-1", "sigma must be a number, 0 or more, got '-1'"),
        ("blur:sigma=nan", "sigma must be a number, 0 or more"),
        ("occlude:voice,share=0.1", "occlude acts on images and frames, which voice is not"),
    ],
)
def test_what_cannot_be_done_is_refused(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_stress(text)(film())


def test_a_corpus_without_pictures_is_told_so() -> None:
    batch = film()
    voice = Batch({"voice": batch["voice"]}, {}, batch.ids)
    with pytest.raises(OptionError, match="blur acts on images and frames"):
        parse_stress("blur:sigma=1")(voice)


def test_a_curve_over_the_hidden_share_begins_with_the_whole_picture() -> None:
    points = sweep("occlude:share=0.1/0.4")
    assert curve_places(points[0].series, [p.value for p in points], 3) == [0.0, 0.1, 0.4]
    assert curve_places("blur:sigma", [1.0, 2.0], 3) is None
