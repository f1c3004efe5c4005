"""Protocols of absence and noise: closed forms, reproducibility, and what must stay untouched."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polymodal.core import Batch, DataError, OptionError, Stream
from polymodal.stress import PROTOCOLS, curve_places, missing_shares, parse_stress, sweep, sweeps

EXAMPLES = {
    "subset": "subset:text,audio",
    "missing": "missing:rate=0.3",
    "missing-batch": "missing-batch:rate=0.4,size=4",
    "missing-one": "missing-one",
    "missing-share": "missing-share:rate=0.4",
    "missing-rates": "missing-rates:most=0.9",
    "imbalanced": "imbalanced:text,vision,audio",
    "instance": "instance:p=0.5",
    "drop": "drop:rate=0.4",
    "drop-random": "drop-random",
    "noise": "noise:audio,vision,snr=0,color=pink",
    "channels": "channels:rate=0.5",
    "clip": "clip:audio,at=0.5",
    "shift": "shift:vision,by=0.3",
    "rate": "rate:vision,keep=0.5",
    "words": "words:rate=0.4",
    "swap": "swap:vision,p=0.6",
    "interference": "interference:p=0.6",
}


def make(rows: int = 24, first: int = 0) -> Batch:
    """Samples whose content follows from their number, so that any cut of the split can be made."""
    ids = [f"s{first + i}" for i in range(rows)]
    lengths = torch.tensor([3 + (first + i) % 5 for i in range(rows)])
    steps = int(lengths.max())
    audio = torch.zeros(rows, steps, 4)
    for row, length in enumerate(lengths.tolist()):
        rng = np.random.default_rng(first + row)
        audio[row, :length] = torch.from_numpy(rng.standard_normal((length, 4)).astype(np.float32))
    vision = torch.stack([torch.full((6,), float(first + i)) for i in range(rows)])
    texts = [f"w{first + i} a b c d e f g" for i in range(rows)]
    here = torch.ones(rows, dtype=torch.bool)
    streams = {
        "text": Stream(texts, None, here),
        "audio": Stream(audio, lengths, here),
        "vision": Stream(vision, None, here),
    }
    return Batch(streams, {"y": torch.arange(rows).float()}, ids)


def donors(ids: list[str]) -> Batch:
    parts = [make(1, int(i[1:])) for i in ids]
    lengths = torch.cat([p["audio"].lengths for p in parts])
    audio = torch.zeros(len(ids), int(lengths.max()), 4)
    for row, part in enumerate(parts):
        audio[row, : part["audio"].tensor.shape[1]] = part["audio"].tensor[0]
    here = torch.ones(len(ids), dtype=torch.bool)
    streams = {
        "text": Stream([p["text"].texts[0] for p in parts], None, here),
        "audio": Stream(audio, lengths, here),
        "vision": Stream(torch.cat([p["vision"].tensor for p in parts]), None, here),
    }
    return Batch(streams, {"y": torch.zeros(len(ids))}, ids)


def content(batch: Batch) -> dict[str, tuple]:
    """Everything about each sample that a method can see, without padding."""
    seen = {}
    for row, sample in enumerate(batch.ids):
        audio = batch["audio"]
        seen[sample] = (
            batch["text"].texts[row],
            audio.tensor[row, : int(audio.lengths[row])].numpy().tobytes(),
            batch["vision"].tensor[row].numpy().tobytes(),
            tuple(batch.present[row].tolist()),
        )
    return seen


def test_every_protocol_has_an_example_here():
    assert set(EXAMPLES) | {"occlude", "blur"} == set(PROTOCOLS)  # these two are in test_pictures.py


@pytest.mark.parametrize("text", EXAMPLES.values())
def test_a_samples_fate_does_not_depend_on_its_batch(text):
    stress, population = parse_stress(text), [f"s{i}" for i in range(24)]
    whole = content(stress(make(24), seed=3, population=population, donors=donors))
    parts: dict[str, tuple] = {}
    for first in range(0, 24, 5):
        part = make(min(5, 24 - first), first)
        parts |= content(stress(part, seed=3, population=population, donors=donors))
    assert whole == parts


@pytest.mark.parametrize("text", [t for n, t in EXAMPLES.items() if n not in ("subset", "clip", "shift", "rate")])
def test_masks_are_static_for_a_seed_and_fresh_for_an_epoch(text):
    stress, batch = parse_stress(text), make(24)

    def seen(**options):
        return content(stress(batch, population=batch.ids, **options))

    assert seen(seed=1) == seen(seed=1)
    assert seen(seed=1) != seen(seed=2)
    assert seen(seed=1, epoch=0) == seen(seed=1, epoch=0)
    assert seen(seed=1, epoch=0) != seen(seed=1, epoch=1)


@pytest.mark.parametrize("text", EXAMPLES.values())
def test_the_batch_given_and_its_targets_stay_as_they_were(text):
    batch = make(12)
    before, targets = content(batch), batch.targets["y"].clone()
    out = parse_stress(text)(batch, population=batch.ids)
    assert content(batch) == before
    assert torch.equal(out.targets["y"], targets)
    assert out.ids == batch.ids


@pytest.mark.parametrize("text", EXAMPLES.values())
def test_padding_and_absent_cells_stay_zero(text):
    batch = make(12)
    rows = torch.zeros(12, dtype=torch.bool)
    rows[2] = True
    batch = batch.without("audio", rows=rows).without("text", rows=rows)
    out = parse_stress(text)(batch, population=batch.ids)
    audio = out["audio"]
    assert not audio.tensor[~audio.mask].any()
    if not text.startswith("swap"):
        assert not out["audio"].present[2]
        assert out["text"].texts[2] == ""
        assert int(audio.lengths[2]) == 0


def crowd(rows: int, count: int = 3) -> Batch:
    here = torch.ones(rows, dtype=torch.bool)
    streams = {f"m{i}": Stream(torch.ones(rows, 2), None, here) for i in range(count)}
    return Batch(streams, {}, [f"s{i}" for i in range(rows)])


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.6])
def test_missing_has_the_published_distribution(rate):
    rows = 4659
    kept = parse_stress(f"missing:rate={rate}")(crowd(rows)).present
    p = 1 - 1.5 * rate
    expected = [(1 - p) ** 2, 2 * p * (1 - p), p * p]
    assert missing_shares(rate) == pytest.approx(expected)
    for count, share in enumerate(expected, start=1):
        assert (kept.sum(1) == count).float().mean().item() == pytest.approx(share, abs=4 * (0.25 / rows) ** 0.5)
    assert 1 - kept.float().mean().item() == pytest.approx(rate, abs=0.015)
    assert kept.float().mean(0).numpy() == pytest.approx(np.full(3, 1 - rate), abs=0.03)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_highest_missing_rate_keeps_exactly_one(count):
    kept = parse_stress("missing:rate=1.0")(crowd(300, count)).present
    assert (kept.sum(1) == 1).all()
    assert kept.float().mean(0).numpy() == pytest.approx(np.full(count, 1 / count), abs=0.12)


def test_missing_never_brings_back_what_is_absent_and_never_takes_the_last():
    batch = crowd(400).without("m0").without("m1", rows=torch.arange(400) % 2 == 0)
    kept = parse_stress("missing:rate=0.7")(batch).present
    assert not kept[:, 0].any()
    assert kept.any(1).all()
    assert not kept[::2, 1].any()


@pytest.mark.parametrize("rate", [0.1, 0.4, 0.7])
def test_missing_batch_has_the_published_rate_and_whole_batches_share_a_pattern(rate):
    batch = crowd(3200)
    gone = ~parse_stress(f"missing-batch:rate={rate}")(batch).present
    effective = {0.1: 0.1, 0.4: 0.4, 0.7: 2 / 3}[rate]
    assert gone.float().mean().item() == pytest.approx(effective, abs=0.01)
    patterns = {tuple(r) for r in gone.tolist()}
    assert all(sum(p) < 3 for p in patterns)


def test_instance_loses_half_of_p_on_average():
    gone = ~parse_stress("instance:p=0.7")(crowd(6000)).present
    assert gone.float().mean().item() == pytest.approx(0.35, abs=0.02)
    assert gone.any(1).float().mean().item() == pytest.approx(0.7, abs=0.02)


def test_drop_replaces_words_and_zeroes_steps_at_its_rate():
    batch = make(400)
    out = parse_stress("drop:rate=0.3")(batch)
    words = " ".join(out["text"].texts).split()
    assert words.count("[UNK]") / len(words) == pytest.approx(0.3, abs=0.03)
    audio = out["audio"]
    assert torch.equal(audio.lengths, batch["audio"].lengths)
    zeroed = (audio.tensor == 0).all(-1)[audio.mask]
    assert zeroed.float().mean().item() == pytest.approx(0.3, abs=0.04)
    untouched = ~(audio.tensor == 0).all(-1) & audio.mask
    assert torch.equal(audio.tensor[untouched], batch["audio"].tensor[untouched])
    everything = parse_stress("drop:rate=1")(batch)
    assert not everything["audio"].tensor.any()
    assert everything["audio"].present.all()


@pytest.mark.parametrize("color", ["white", "pink", "brown"])
@pytest.mark.parametrize("snr", [-6.0, 0.0, 20.0])
def test_noise_has_the_stated_power(color, snr):
    values = torch.randn(8, 400, 3) * 5
    stream = Stream(values, torch.full((8,), 400), torch.ones(8, dtype=torch.bool))
    batch = Batch({"audio": stream}, {}, [f"s{i}" for i in range(8)])
    out = parse_stress(f"noise:audio,snr={snr},color={color}")(batch)["audio"].tensor - values
    measured = 10 * torch.log10(values.square().mean((1, 2)) / out.square().mean((1, 2)))
    assert measured.numpy() == pytest.approx(np.full(8, snr), abs=0.8)


def test_brown_noise_is_slow_and_white_noise_is_not():
    stream = Stream(torch.ones(1, 1000, 1), torch.tensor([1000]), torch.ones(1, dtype=torch.bool))
    batch = Batch({"audio": stream}, {}, ["s"])

    def roughness(color):
        added = parse_stress(f"noise:audio,snr=0,color={color}")(batch)["audio"].tensor[0, :, 0] - 1
        return (added.diff().square().mean() / added.square().mean()).item()

    assert roughness("white") == pytest.approx(2.0, abs=0.3)
    assert roughness("brown") < 0.1 < roughness("pink") < 1.5


def test_shift_moves_by_the_stated_share_and_fills_with_zeros():
    stream = Stream(torch.arange(1.0, 11)[None, :, None], torch.tensor([10]), torch.ones(1, dtype=torch.bool))
    batch = Batch({"audio": stream}, {}, ["s"])
    late = parse_stress("shift:audio,by=0.2")(batch)["audio"].tensor[0, :, 0]
    early = parse_stress("shift:audio,by=-0.2")(batch)["audio"].tensor[0, :, 0]
    assert late.tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert early.tolist() == [3, 4, 5, 6, 7, 8, 9, 10, 0, 0]


def test_a_lower_frame_rate_keeps_evenly_spaced_steps():
    stream = Stream(torch.arange(10.0)[None, :, None], torch.tensor([10]), torch.ones(1, dtype=torch.bool))
    out = parse_stress("rate:audio,keep=0.5")(Batch({"audio": stream}, {}, ["s"]))["audio"]
    assert out.tensor[0, :, 0].tolist() == [0, 2, 4, 6, 8]
    assert out.lengths.tolist() == [5]


def test_word_errors_come_at_their_rate_and_in_three_kinds():
    texts = [" ".join(f"w{i}" for i in range(1000))]
    batch = Batch({"text": Stream(texts, None, torch.ones(1, dtype=torch.bool))}, {}, ["s"])
    heard = parse_stress("words:rate=0.4")(batch)["text"].texts[0].split()
    assert len(heard) == pytest.approx(1000 * (1 + 0.4 * (0.15 - 0.25)), abs=40)
    assert set(heard) <= set(texts[0].split())
    assert parse_stress("words:rate=0")(batch)["text"].texts == texts


def test_channels_lose_whole_columns_of_a_sample():
    batch = make(200)
    out = parse_stress("channels:audio,rate=0.5")(batch)["audio"]
    per_sample = [(out.tensor[i, : int(n)] == 0).float().mean(0) for i, n in enumerate(out.lengths)]
    assert all(set(c.tolist()) <= {0.0, 1.0} for c in per_sample)
    assert torch.stack(per_sample).mean().item() == pytest.approx(0.5, abs=0.08)


def test_clip_saturates():
    assert parse_stress("clip:audio,at=0.5")(make(20))["audio"].tensor.abs().max().item() == 0.5


def test_swap_takes_another_samples_modality_whole_and_leaves_the_others():
    batch = make(24)
    out = parse_stress("swap:vision,p=1")(batch, population=batch.ids, donors=donors)
    sources = {float(v[0]) for v in out["vision"].tensor}
    assert sources <= set(map(float, range(24)))
    assert (out["vision"].tensor[:, 0] != batch["vision"].tensor[:, 0]).float().mean() > 0.8
    assert out["text"].texts == batch["text"].texts
    assert torch.equal(out["audio"].tensor, batch["audio"].tensor)


def test_protocols_compose_from_left_to_right():
    both = parse_stress("subset:text,audio+drop:audio,rate=1")(make(6))
    assert not both["vision"].present.any()
    assert not both["audio"].tensor.any()
    assert both["audio"].present.all()


@pytest.mark.parametrize(
    ("text", "needle"),
    [
        ("mising:rate=0.3", "did you mean 'missing'"),
        ("missing", "needs rate: a share from 0 to 1"),
        ("missing:rat=0.3", "did you mean 'rate'"),
        ("missing:rate=high", "rate must be a share from 0 to 1, got 'high'"),
        ("missing:audio,rate=0.3", "acts on all modalities"),
        ("", "no stress ''"),
    ],
)
def test_a_wrong_text_form_is_explained(text, needle):
    with pytest.raises(OptionError, match=needle):
        parse_stress(text)


@pytest.mark.parametrize(
    ("text", "needle"),
    [
        ("missing:rate=1.3", "rate must be a share from 0 to 1, got '1.3'"),
        ("missing:rate=nan", "rate must be a share from 0 to 1"),
        ("instance:p=-0.1", "p must be a share"),
        ("drop:rate=2", "rate must be a share"),
        ("channels:rate=2", "rate must be a share"),
        ("words:rate=2", "rate must be a share"),
        ("swap:p=2", "p must be a share"),
        ("missing:rate=0.1,rate=0.2", "rate is given twice"),
        ("subset", "needs modalities: names of the modalities that are kept, as in subset:text,audio"),
        ("missing-batch:rate=0.25", "rate must be one of 0.1, 0.2"),
        ("missing-batch:rate=0.2,size=0", "size must be a whole number above 0"),
        ("noise:audio,snr=inf", "snr must be a number"),
        ("noise:audio,snr=0,color=blue", "color must be one of white, pink, brown"),
        ("shift:audio,by=2", "from -1 to 1"),
        ("rate:audio,keep=0", "above 0"),
        ("clip:audio,at=0", "above 0"),
    ],
)
def test_impossible_values_are_found_when_the_text_is_read(text, needle):
    with pytest.raises(OptionError, match=needle):
        parse_stress(text)


@pytest.mark.parametrize(
    ("text", "error", "needle"),
    [("subset:txt", DataError, "did you mean 'text'"), ("noise:text,snr=0", OptionError, "text in words")],
)
def test_what_the_batch_does_not_have_is_explained(text, error, needle):
    with pytest.raises(error, match=needle):
        parse_stress(text)(make(6))


def test_missing_batch_wants_three_modalities():
    with pytest.raises(DataError, match="three modalities"):
        parse_stress("missing-batch:rate=0.1")(crowd(5, 2))


def test_a_sweep_has_a_point_per_strength_in_rising_order():
    points = sweep("missing:rate=0.5/0.1/0.3")
    assert [p.text for p in points] == ["missing:rate=0.1", "missing:rate=0.3", "missing:rate=0.5"]
    assert [p.value for p in points] == [0.1, 0.3, 0.5]
    assert {p.series for p in points} == {"missing:rate"}
    assert [p.text for p in sweep("noise:audio,snr=10/-5,color=pink+clip:at=2")] == [
        "noise:audio,snr=-5,color=pink+clip:at=2",
        "noise:audio,snr=10,color=pink+clip:at=2",
    ]
    (plain,) = sweep("noise:snr=0")
    assert (plain.text, plain.series) == ("noise:snr=0", "")
    assert np.isnan(plain.value)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["missing:rate=0.1/x"], "'x' is no number"),
        (["missing:rate=0.1/0.10"], "names a value of rate twice"),
        (["missing-batch:rate=0.1/0.2,size=4/8"], "sweeps rate and size"),
        (["missing:rat=0.1/0.2"], "no option 'rat'"),
        (["noise:snr=0/5", "noise:snr=5"], "'noise:snr=5' is asked for twice"),
    ],
)
def test_a_wrong_sweep_is_named(texts, message):
    with pytest.raises(OptionError, match=message):
        sweeps(texts)


def test_a_curve_begins_with_complete_input_and_ends_where_one_modality_is_left():
    assert curve_places("missing:rate", [0.1, 0.4, 0.6, 0.7], 2) == [0.0, 0.1, 0.4, 0.5, 0.5]
    assert curve_places("missing:rate", [0.0, 0.3], 3) == [0.0, 0.3]
    assert curve_places("drop:text,rate", [0.5, 1.0], 2) == [0.0, 0.5, 1.0]
    assert curve_places("swap:p", [0.2], 3) == [0.0, 0.2]
    for series in ("", "noise:snr", "rate:keep", "missing:rate+clip:at=2"):
        assert curve_places(series, [0.1, 0.2], 3) is None


@pytest.mark.slow
def test_masks_are_the_same_in_another_process(tmp_path):
    from subprocess import run
    from sys import executable

    script = tmp_path / "masks.py"
    script.write_text(
        "import torch\n"
        "from polymodal.core import Batch, Stream\n"
        "from polymodal.stress import parse_stress\n"
        "here = torch.ones(9, dtype=torch.bool)\n"
        "batch = Batch({n: Stream(torch.ones(9, 2), None, here) for n in 'abc'}, {}, [f's{i}' for i in range(9)])\n"
        "print(parse_stress('missing:rate=0.4')(batch, seed=5).present.int().tolist())\n"
    )
    printed = {
        run([executable, script], check=True, capture_output=True, env={"PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2")
    }
    here = torch.ones(9, dtype=torch.bool)
    batch = Batch({n: Stream(torch.ones(9, 2), None, here) for n in "abc"}, {}, [f"s{i}" for i in range(9)])
    own = parse_stress("missing:rate=0.4")(batch, seed=5).present.int().tolist()
    assert printed == {f"{own}\n".encode()}
    assert 0 < np.sum(own) < 27
