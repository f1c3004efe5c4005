"""Images and frames: uint8 from the user's hand to the store, floats in a batch only."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from polymodal.core import DataError, Modality, Schema, Target
from polymodal.data import info
from polymodal.data.corpus import Corpus
from polymodal.data.loader import Loader
from polymodal.data.ragged import Ragged
from polymodal.data.sources import load_corpus
from polymodal.data.split import Split, build_split
from polymodal.data.statistics import channel_statistics
from polymodal.data.store import read_store, write_store

SCENE = Modality("scene", "image", shape=(3, 6, 4))
FACE = Modality("face", "frames", shape=(1, 5, 5))
AUDIO = Modality("audio", "sequence", 2)
SCORE = Target("score", "regression")
SCHEMA = Schema((SCENE, FACE, AUDIO), (SCORE,))


def _split(prefix: str = "a", rows: int = 5, seed: int = 0, **changed: Any) -> Split:
    """Image 1 is absent, clip i has i frames."""
    rng = np.random.default_rng(seed)
    columns = {
        "scene": [None if i == 1 else rng.integers(0, 256, SCENE.shape, dtype=np.uint8) for i in range(rows)],
        "face": [rng.integers(0, 256, (i, *FACE.shape), dtype=np.uint8) for i in range(rows)],
        "audio": [rng.standard_normal((3, 2)) for _ in range(rows)],
    }
    return build_split(SCHEMA, [f"{prefix}{i}" for i in range(rows)], columns | changed, {"score": np.zeros(rows)})


def _corpus(**splits: Split) -> Corpus:
    return Corpus("made", "made:pixels", SCHEMA, splits or {"train": _split(), "valid": _split("b", seed=1)})


def _column(split: Split, name: str) -> Ragged:
    column = split.columns[name]
    assert isinstance(column, Ragged)
    return column


def test_pixels_are_kept_as_they_are_in_one_byte_each() -> None:
    frames = np.arange(50, dtype=np.uint8).reshape(2, 1, 5, 5)
    split = _split(face=[frames, None, list(frames), [], frames[:0]])
    face = _column(split, "face")
    assert face[0].tolist() == face[2].tolist() == frames.tolist()
    assert split.present["face"].tolist() == [True, False, True, False, False]
    assert (split.present["scene"].tolist(), _column(split, "scene").lengths.tolist()) == (
        [True, False, True, True, True],
        [1, 0, 1, 1, 1],
    )
    assert {_column(split.select([2, 0]), n).chunks[0][0].dtype for n in ("scene", "face")} == {np.dtype(np.uint8)}
    assert _column(split.select([2, 0]), "face")[0].tolist() == frames.tolist()


def _scene(**changed: Any) -> list[Any]:
    return [None, None, changed["image"], None, None]


OK = np.zeros(SCENE.shape, np.uint8)
RIGHT = np.zeros((2, *FACE.shape), np.uint8)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scene": _scene(image=np.zeros((6, 4, 3), np.uint8))}, r"'a2': scene .*channels come first.*\(2, 0, 1\)"),
        ({"scene": _scene(image=np.zeros((6, 4, 1), np.uint8))}, r"channels come first"),
        ({"scene": _scene(image=np.zeros((3, 7, 4), np.uint8))}, r"one column share one size: resize it to 6 x 4"),
        (
            {"scene": _scene(image=np.zeros((1, 6, 4), np.uint8))},
            r"turn it into 3 channels, or declare shape=\(1, 6",
        ),
        ({"scene": _scene(image=np.zeros((6, 4), np.uint8))}, r"shape \(6, 4\), expected \(3, 6, 4\); give one image"),
        ({"scene": _scene(image=OK[None])}, r"give one image per sample, or declare frames"),
        ({"scene": _scene(image=OK / 255)}, r"'a2': scene has type float64.*\(255 \* array\).round\(\).astype"),
        ({"scene": _scene(image=OK + 200.0)}, r"give it as array.round\(\).astype\('uint8'\)"),
        ({"scene": _scene(image=OK.astype(int))}, r"type int64, expected uint8"),
        ({"scene": _scene(image=OK - 2.0)}, r"lie between -2 and -2: scale them"),
        ({"scene": _scene(image=OK * np.nan)}, r"whole numbers without NaN"),
        ({"scene": _scene(image=[[1], [1, 2]])}, r"'a2': scene is a list of arrays of several shapes"),
        ({"face": [None, None, np.zeros((2, 5, 5, 1), np.uint8), None, None]}, r"array.transpose\(0, 3, 1, 2\)"),
        ({"face": [None, None, np.zeros((2, 5, 5), np.uint8), None, None]}, r"axis of channels: array\[:, None\]"),
        ({"face": [None, [RIGHT[0], RIGHT[0, 0]], None, None, None]}, r"'a1': face, frame 1 .* array\[None\]"),
        ({"face": [None, RIGHT[0, 0, 0], None, None, None]}, r"'a1': face .*one such array per clip"),
    ],
)
def test_what_is_no_such_image_is_refused_with_a_remedy(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        _split(**changed)


@pytest.mark.parametrize("axes", [(2, 0, 1), (0, 3, 1, 2)])
def test_the_axes_that_the_message_names_mend_the_array(axes: tuple[int, ...]) -> None:
    whole = np.zeros((7, 6, 4, 3) if len(axes) == 4 else (6, 4, 3), np.uint8)
    modality = replace(SCENE, kind="frames" if len(axes) == 4 else "image")
    schema = Schema((modality,), (SCORE,))

    def build(array: Any) -> Split:
        return build_split(schema, ["x"], {"scene": [array]}, {"score": [0.0]})

    with pytest.raises(DataError) as refused:
        build(whole)
    assert f"array.transpose{axes}" in str(refused.value)
    assert build(whole.transpose(axes)).present["scene"].all()


def _png(array: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    out = BytesIO()
    Image.fromarray(array).save(out, kind, **options)
    return out.getvalue()


def test_a_picture_is_the_array_it_holds(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    (tmp_path / "one.png").write_bytes(_png(rgb))
    given = [_png(rgb), tmp_path / "one.png", str(tmp_path / "one.png"), rgb.transpose(2, 0, 1), None]
    grey = rgb[:5, 0, 0][:, None].repeat(5, 1)
    split = _split(scene=given, face=[None, [_png(grey), grey[None]], None, None, None])
    assert all(np.array_equal(_column(split, "scene")[i][0], rgb.transpose(2, 0, 1)) for i in range(4))
    assert np.array_equal(_column(split, "face")[1], np.stack([grey[None]] * 2))


def test_a_photograph_is_upright() -> None:
    lying = np.zeros((4, 6, 3), np.uint8)
    lying[:, :3] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it a quarter clockwise
    split = _split(scene=_scene(image=_png(lying, exif=exif)))
    upright = _column(split, "scene")[2][0]
    assert upright[:, :3].min() == 255
    assert upright[:, 3:].max() == 0


def _huge() -> bytes:
    """A PNG that promises 60000 x 60000 pixels in a few bytes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


GOOD = _png(np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as PNG or JPEG"),
        (b"no picture at all", "cannot be read as PNG or JPEG"),
        (GOOD[: len(GOOD) // 2], "cannot be read as PNG or JPEG"),
        (_huge(), "cannot be read as PNG or JPEG"),
        (_png(np.zeros((9, 4, 3), np.uint8)), "is 9 x 4; images of one column share one size: resize it to 6 x 4"),
        (_png(np.zeros((4, 6, 3), np.uint8)), r"has shape \(3, 4, 6\)"),
        (_png(np.zeros((6, 4), np.uint16)), "more than 8 bits"),
    ],
)
def test_a_picture_that_cannot_be_used_is_one_sentence(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"^sample 'a2': scene.* {message}"):
        _split(scene=_scene(image=content))


def test_a_picture_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'a2': scene \(.*gone.png\) cannot be read .*No such file"):
        _split(scene=_scene(image=tmp_path / "gone.png"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_damage_anywhere_in_a_picture_is_a_picture_or_a_data_error(kind: str) -> None:
    rng = np.random.default_rng(3)
    good = _png(rng.integers(0, 256, (6, 4, 3), dtype=np.uint8), kind)
    schema, refused = Schema((SCENE,), (SCORE,)), 0
    for _ in range(300):
        bad = bytearray(good)
        bad[int(rng.integers(len(bad)))] = int(rng.integers(256))
        bad = bad[: int(rng.integers(1, len(bad) + 1))] if rng.random() < 0.3 else bad
        try:
            build_split(schema, ["x"], {"scene": [bytes(bad)]}, {"score": [0.0]})
        except DataError:
            refused += 1
    assert refused > 50


def test_statistics_of_pixels_are_exact_per_channel_and_of_true_frames_only() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 256, (n, 3, 7, 5), dtype=np.uint8) for n in (4, 0, 9)]
    for row in rows:
        row[:, 2] = 77
    mean, std = channel_statistics(Ragged.from_rows(rows, (3, 7, 5), np.uint8))
    flat = np.concatenate(rows).astype(np.float64)
    np.testing.assert_allclose(mean, flat.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std[:2], flat.std((0, 2, 3))[:2], rtol=1e-6)
    assert std[2] == 1  # a channel that never changes is not divided by 0


def test_statistics_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    column = _column(_split(), "face")
    whole = channel_statistics(column)
    monkeypatch.setattr("polymodal.data.ragged._NUMBERS", 60)
    assert [len(b) for b in column.blocks()] == [2] * 5
    assert all(np.array_equal(a, b) for a, b in zip(whole, channel_statistics(column), strict=True))


def test_a_batch_holds_standardised_pixels_and_zeros_elsewhere() -> None:
    corpus = _corpus()
    batch = Loader(corpus["train"], SCHEMA, 5, normalizer=corpus.normalizer).batch(np.array([4, 1, 2, 0]))
    scene, face = batch["scene"], batch["face"]
    assert scene.lengths is None
    assert scene.tensor.shape == (4, 3, 6, 4)
    assert scene.present.tolist() == [True, False, True, True]
    assert not scene.tensor[1].any()
    assert face.lengths is not None
    assert (face.tensor.shape, face.lengths.tolist()) == ((4, 4, 1, 5, 5), [4, 1, 2, 0])
    for name, row, at in (("scene", 4, 0), ("face", 2, 2)):
        raw = _column(corpus["train"], name)[row].astype(np.float64)
        mean, std = corpus.normalizer.mean[name], corpus.normalizer.std[name]
        wanted = (raw - mean[:, None, None]) / std[:, None, None]
        got = batch[name].tensor[at]
        np.testing.assert_allclose(got[: len(raw)] if name == "face" else got[None], wanted, atol=1e-5)
    assert not face.tensor[2, 2:].any()
    every = np.concatenate([_column(corpus["train"], "face")[i].ravel() for i in range(5)])
    assert corpus.normalizer.mean["face"].tolist() == pytest.approx([every.mean()])


def test_pixels_that_are_not_normalised_stay_between_0_and_255() -> None:
    batch = Loader(_split(), SCHEMA, 5).batch(np.array([4]))
    assert np.array_equal(batch["face"].tensor[0].numpy(), _column(_split(), "face")[4])


def test_the_hash_follows_pixels_and_shape() -> None:
    base = _corpus()
    pixels = _column(_split(), "face").chunks[0][0].copy()
    pixels[0, 0, 0, 0] ^= 1
    flipped = replace(
        _split(), columns={**_split().columns, "face": Ragged([(pixels, _column(_split(), "face").chunks[0][1])])}
    )
    wide = Schema((replace(SCENE, shape=(3, 4, 6)), FACE, AUDIO), (SCORE,))
    assert len({base.hash, base.with_split("train", flipped).hash, replace(base, schema=wide).hash}) == 3
    assert _corpus().hash == base.hash


def test_the_hash_of_features_is_what_it_was_before_there_were_images() -> None:
    schema = Schema((Modality("text", "text"), AUDIO, Modality("pose", "vector", 2)), (SCORE,))
    columns = {"text": ["a", "b"], "audio": [np.ones((2, 2)), None], "pose": [np.ones(2), np.zeros(2)]}
    part = build_split(schema, ["x", "y"], columns, {"score": [0.5, -1]})
    assert Corpus("old", "old", schema, {"train": part}).hash == "922543abfbedad0d"


def test_pixels_are_stored_as_bytes_and_come_back(tmp_path: Path) -> None:
    corpus = _corpus()
    stored = load_corpus(write_store(corpus, tmp_path / "store"))
    assert stored.schema == corpus.schema
    for split in corpus.splits:
        for name in ("scene", "face"):
            here, there = _column(corpus[split], name), _column(stored[split], name)
            assert there.chunks[0][0].dtype == np.uint8
            assert all(np.array_equal(here[i], there[i]) for i in range(len(here)))
    recomputed = replace(stored, stored_hash=None, stored_normalizer=None)
    assert recomputed.hash == stored.hash == corpus.hash
    assert recomputed.normalizer.to_dict() == stored.normalizer.to_dict() == corpus.normalizer.to_dict()
    row = datasets.load_from_disk(str(tmp_path / "store"))["train"][2]
    assert np.array_equal(np.reshape(row["face"], (-1, 1, 5, 5)), _column(corpus["train"], "face")[2])


def test_a_store_of_frames_opens_without_reading_them(tmp_path: Path) -> None:
    stored = read_store(write_store(_corpus(), tmp_path / "store"))
    values = _column(stored["train"], "face").chunks[0][0]
    assert not values.flags.owndata
    assert not values.flags.writeable


def test_frames_that_are_mapped_from_a_file_make_a_store(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (6, *FACE.shape), dtype=np.uint8)
    frames.tofile(tmp_path / "face.raw")
    mapped = np.memmap(tmp_path / "face.raw", np.uint8, "r", shape=frames.shape)
    column = Ragged([(mapped, np.array([0, 4, 4, 6]))])
    schema = Schema((FACE,), (SCORE,))
    split = Split(["a", "b", "c"], {"face": column}, {"face": column.lengths > 0}, {"score": np.zeros(3, np.float32)})
    stored = load_corpus(write_store(Corpus("made", "made", schema, {"train": split}), tmp_path / "store"))
    assert np.array_equal(_column(stored["train"], "face")[2], frames[4:])


def test_a_mix_has_pixels_where_a_source_has_them(tmp_path: Path) -> None:
    write_store(_corpus(), tmp_path / "lab")
    write_store(_corpus(), tmp_path / "street")
    mixed = load_corpus(f"mix:lab={tmp_path}/lab,street=({tmp_path}/street?modalities=audio)?unify=true")
    assert mixed.schema.modality("face") == FACE
    assert mixed["train"].present["face"].tolist() == [False, True, True, True, True] + 5 * [False]
    batch = Loader(mixed["train"], mixed.schema, 10, normalizer=mixed.normalizer).batch(np.arange(10))
    assert batch["face"].tensor.shape == (10, 4, 1, 5, 5)
    assert not batch["scene"].tensor[5:].any()
    assert np.array_equal(_column(mixed["train"], "face")[3], _column(_split(), "face")[3])
    assert mixed.normalizer.mean["face"] == pytest.approx(_corpus().normalizer.mean["face"])


@pytest.mark.parametrize(
    "column",
    [
        Ragged([(np.zeros((5, 1, 5, 5), np.float32), np.arange(6))]),
        Ragged([(np.zeros((5, 5, 5, 1), np.uint8), np.arange(6))]),
        ["text"] * 5,
    ],
)
def test_a_column_of_other_pixels_than_the_schema_says_is_refused(column: Any) -> None:
    split = replace(_split(), columns={**_split().columns, "face": column})
    with pytest.raises(DataError, match=r"face of train is no column of frames of type uint8 and shape \(1, 5, 5\)"):
        _corpus(train=split).check()


def test_an_image_is_one_step() -> None:
    two = Ragged([(np.zeros((6, *SCENE.shape), np.uint8), np.array([0, 2, 3, 4, 5, 6]))])
    split = replace(_split(), columns={**_split().columns, "scene": two})
    with pytest.raises(DataError, match="scene of train is no column of image"):
        _corpus(train=split).check()


def test_only_pixels_have_a_shape() -> None:
    with pytest.raises(DataError, match="'audio' is sequence and has shape"):
        Modality("audio", "sequence", 2, shape=(1, 2, 3))


def test_the_description_tells_shape_size_and_pixels_that_never_change() -> None:
    still = np.random.default_rng(0).integers(0, 256, (4, *FACE.shape), dtype=np.uint8)
    still[:, 0, :2] = 9  # 10 of 25 pixels
    split = _split(face=[None, still[:1], still[:2], still, still[:0]])
    about = info.describe(_corpus(train=split, valid=_split("b", seed=1)))
    facts = about["splits"]["train"]["modalities"]["face"]
    assert (facts["bytes"], facts["constant"], facts["length"]["max"]) == (7 * 25, 0.4, 4)
    assert "40% of the pixels of face are constant in train" in about["warnings"]
    assert about["modalities"][0]["shape"] == [3, 6, 4]
    console = Console(width=160, record=True, file=StringIO())
    console.print(info.render(about))
    assert "face fra 1x5x5" in console.export_text()
