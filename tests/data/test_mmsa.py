from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymodal.core import DataError
from polymodal.data import mmsa
from polymodal.data.corpus import Corpus
from polymodal.data.ragged import Ragged

Make = Callable[..., dict[str, Any]]
HERE = Path("made.pkl")


def _column(corpus: Corpus, name: str, split: str = "train") -> Ragged:
    column = corpus[split].columns[name]
    assert isinstance(column, Ragged)
    return column


@pytest.mark.parametrize(("layout", "aligned"), [("mosi", True), ("mosi", False), ("sims", False), ("sims2", False)])
def test_layout_is_recognised_and_every_row_keeps_its_true_steps(make_mmsa: Make, layout: str, aligned: bool) -> None:
    data, kept = make_mmsa(layout, aligned), make_mmsa(layout, aligned)
    assert mmsa.matches(data)
    corpus = mmsa.read(data, HERE).check()
    assert list(corpus.splits) == ["train", "valid", "test"]
    assert corpus.schema.names == ("text", "audio", "vision")
    for split, part in corpus.splits.items():
        source = kept[split]
        tokens = source["text_bert"][:, 1].sum(axis=1).astype(int)
        for name in ("text", "audio", "vision"):
            column = part.columns[name]
            assert isinstance(column, Ragged)
            wanted = tokens if name == "text" or aligned else source[f"{name}_lengths"]
            assert column.lengths.tolist() == list(wanted)
            for i in range(len(part)):
                np.testing.assert_array_equal(column[i], source[name][i, : wanted[i]])
        assert list(part.ids) == source["id"]
        assert list(part.groups) == [i.split("$_$")[0] for i in source["id"]]
        np.testing.assert_allclose(part.targets["sentiment"], source["regression_labels"], atol=1e-6)


def test_sentence_without_padding_keeps_its_whole_length(make_mmsa: Make) -> None:
    data = make_mmsa()
    data["train"]["text_bert"][0, 1] = 1  # argmin of a full mask would be 0
    assert _column(mmsa.read(data, HERE), "text").lengths[0] == 9


def test_text_features_are_not_normalised_and_raw_text_can_be_chosen(make_mmsa: Make) -> None:
    text = mmsa.read(make_mmsa(), HERE).schema.modality("text")
    assert (text.kind, text.width, text.normalize) == ("sequence", 16, False)
    corpus = mmsa.read(make_mmsa(), HERE, text="raw")
    assert corpus.schema.modality("text").kind == "text"
    assert corpus["train"].columns["text"][3] == "very good train 3"


def test_raw_text_is_used_where_there_is_nothing_else(make_mmsa: Make) -> None:
    data = make_mmsa()
    for part in data.values():
        del part["text"]
    assert mmsa.read(data, HERE).schema.modality("text").kind == "text"
    cyin = make_mmsa()
    for part in cyin.values():
        part["text"] = list(part.pop("raw_text"))
        part["regression_labels"] = {"M": part["regression_labels"]}
    corpus = mmsa.read(cyin, HERE)
    assert corpus["test"].columns["text"][0] == "very good test 0"
    assert corpus["test"].targets["sentiment"][0] == -3


def test_text_option_that_the_file_cannot_serve_is_an_error(make_mmsa: Make) -> None:
    data = make_mmsa()
    for part in data.values():
        del part["raw_text"]
    with pytest.raises(DataError, match="no text as raw"):
        mmsa.read(data, HERE, text="raw")


def test_infinite_audio_becomes_zero_and_is_counted(make_mmsa: Make) -> None:
    data = make_mmsa()
    data["train"]["audio"][2, 0, :3] = -np.inf
    corpus = mmsa.read(data, HERE)
    assert _column(corpus, "audio")[2][0, :3].tolist() == [0, 0, 0]
    assert "audio: 3 values in 1 samples were NaN or infinite and became 0" in corpus.notes


def test_without_stored_lengths_zeros_at_the_end_are_cut_and_that_is_said(make_mmsa: Make) -> None:
    data, kept = make_mmsa(), make_mmsa()
    for part in data.values():
        del part["audio_lengths"]
    data["train"]["audio"][1] = 0
    corpus = mmsa.read(data, HERE)
    wanted = [0 if i == 1 else n for i, n in enumerate(kept["train"]["audio_lengths"])]
    assert _column(corpus, "audio").lengths.tolist() == wanted
    assert not corpus["train"].present["audio"][1]
    assert _column(corpus, "vision").lengths.tolist() == kept["train"]["vision_lengths"]
    assert sum("lengths of audio are not stored" in note for note in corpus.notes) == 1


def test_aligned_modalities_stay_aligned_where_one_has_no_face(make_mmsa: Make) -> None:
    data = make_mmsa("mosi", True)
    last = int(data["train"]["text_bert"][0, 1].sum()) - 1
    data["train"]["vision"][0, last] = 0
    corpus = mmsa.read(data, HERE)
    assert _column(corpus, "vision").lengths[0] == _column(corpus, "audio").lengths[0] == last + 1


def test_attention_mask_decides_even_if_audio_goes_on(make_mmsa: Make) -> None:
    data = make_mmsa("mosi", True)
    data["train"]["text_bert"][0, 1] = [1, 1, 1, 0, 0, 0, 0, 0, 0]
    data["train"]["audio"][0] = 1
    corpus = mmsa.read(data, HERE)
    assert _column(corpus, "text").lengths[0] == 3
    assert _column(corpus, "audio").lengths[0] == 9


def test_length_zero_means_absent(make_mmsa: Make) -> None:
    data = make_mmsa()
    data["valid"]["vision_lengths"][1] = 0
    corpus = mmsa.read(data, HERE)
    assert corpus["valid"].present["vision"].tolist() == [True, False, True, True]


@pytest.mark.parametrize("length", [17, -1, 2.5, float("nan")])
def test_impossible_length_names_sample_and_modality(make_mmsa: Make, length: float) -> None:
    data = make_mmsa()
    data["test"]["audio_lengths"][3] = length
    with pytest.raises(DataError, match=r"'testv1\$_\$3': the length of audio"):
        mmsa.read(data, HERE)


def test_sims_has_its_scale_and_its_unimodal_labels(make_mmsa: Make) -> None:
    corpus = mmsa.read(make_mmsa("sims"), HERE)
    targets = {t.name: (t.modality, t.range) for t in corpus.schema.targets}
    assert targets == {
        "sentiment": (None, (-1, 1)),
        "sentiment_text": ("text", (-1, 1)),
        "sentiment_audio": ("audio", (-1, 1)),
        "sentiment_vision": ("vision", (-1, 1)),
    }
    assert any("scored as CH-SIMS" in note for note in corpus.notes)


def test_unimodal_labels_leave_with_their_modality(make_mmsa: Make) -> None:
    corpus = mmsa.read(make_mmsa("sims"), HERE, modalities=("text", "audio"))
    assert [t.name for t in corpus.schema.targets] == ["sentiment", "sentiment_text", "sentiment_audio"]
    assert corpus.schema.names == ("text", "audio")
    assert set(corpus["train"].targets) == {"sentiment", "sentiment_text", "sentiment_audio"}


def test_incomplete_unimodal_labels_are_left_out(make_mmsa: Make) -> None:
    data = make_mmsa("sims")
    data["valid"]["regression_labels_A"][0] = np.nan
    corpus = mmsa.read(data, HERE)
    assert "sentiment_audio" not in [t.name for t in corpus.schema.targets]
    assert any(note.startswith("sentiment_audio was left out") for note in corpus.notes)


def test_unlabelled_split_of_sims2_is_left_out(make_mmsa: Make) -> None:
    corpus = mmsa.read(make_mmsa("sims2"), HERE).check()
    assert "train_mix" not in corpus.splits
    assert any("'train_mix' was left out" in note for note in corpus.notes)


def test_small_labels_alone_do_not_make_a_corpus_sims(make_mmsa: Make) -> None:
    def small() -> dict[str, Any]:
        data = make_mmsa()
        for part in data.values():
            part["regression_labels"] = part["regression_labels"] / 3
        return data

    corpus = mmsa.read(small(), HERE)
    assert corpus.schema.target("sentiment").range == (-3, 3)
    assert any("range=-1,1" in note for note in corpus.notes)
    assert mmsa.read(small(), HERE, range=(-1, 1)).schema.target("sentiment").range == (-1, 1)
    chinese = small()
    chinese["train"]["raw_text"][0] = "很好"
    assert mmsa.read(chinese, HERE).schema.target("sentiment").range == (-1, 1)


def test_labels_beyond_the_scale_ask_for_a_range(make_mmsa: Make) -> None:
    data = make_mmsa()
    data["train"]["regression_labels"][4] = 5
    with pytest.raises(DataError, match=r"'trainv2\$_\$4' is 5, outside -3 to 3.*range=-3,5"):
        mmsa.read(data, HERE)


def test_classes_are_used_on_request_or_where_there_is_nothing_else(make_mmsa: Make) -> None:
    corpus = mmsa.read(make_mmsa(), HERE, target="classification").check()
    assert corpus.schema.target("sentiment").classes == ("negative", "neutral", "positive")
    assert corpus["test"].targets["sentiment"].tolist() == [0, 0, 1, 2, 2]
    data = make_mmsa()
    for part in data.values():
        del part["regression_labels"]
    assert mmsa.read(data, HERE).schema.target("sentiment").task == "classification"


def test_mult_layout_with_byte_ids_and_split_names(make_mmsa: Make) -> None:
    data = {}
    for split, part in make_mmsa("mosi", True).items():
        video = np.array([[i.split("$_$")[0].encode(), str(k).encode()] for k, i in enumerate(part["id"])])
        data["dev" if split == "valid" else split] = {
            "text": part["text"] * (part["text_bert"][:, 1, :, None]),
            "audio": part["audio"].astype(np.float64),
            "vision": part["vision"],
            "labels": part["regression_labels"].reshape(-1, 1, 1),
            "id": video,
        }
    assert mmsa.matches(data)
    corpus = mmsa.read(data, HERE).check()
    assert list(corpus.splits) == ["train", "valid", "test"]
    assert corpus["valid"].ids[3] == "validv1$_$3"
    assert corpus["valid"].groups[3] == "validv1"
    assert _column(corpus, "text").lengths.tolist() == _column(corpus, "audio").lengths.tolist()


def test_flat_features_are_a_vector(make_mmsa: Make) -> None:
    data = make_mmsa()
    for part in data.values():
        part["audio"] = part["audio"].mean(axis=1)
        del part["audio_lengths"]
    corpus = mmsa.read(data, HERE)
    assert (corpus.schema.modality("audio").kind, corpus.schema.modality("audio").width) == ("vector", 5)
    assert set(_column(corpus, "audio").lengths.tolist()) == {1}


def test_lists_of_arrays_of_different_length_are_read(make_mmsa: Make) -> None:
    data, kept = make_mmsa(), make_mmsa()
    for split, part in data.items():
        lengths = kept[split]["audio_lengths"]
        part["audio"] = [row[:n] for row, n in zip(part["audio"], lengths, strict=True)]
        del part["audio_lengths"]
    assert _column(mmsa.read(data, HERE), "audio").lengths.tolist() == kept["train"]["audio_lengths"]


def test_modality_that_one_split_lacks_is_absent_there(make_mmsa: Make) -> None:
    data = make_mmsa()
    del data["train"]["vision"]
    corpus = mmsa.read(data, HERE)
    assert not corpus["train"].present["vision"].any()
    assert corpus["test"].present["vision"].all()


def test_missing_ids_are_numbered_and_noted(make_mmsa: Make) -> None:
    data = make_mmsa()
    del data["test"]["id"]
    corpus = mmsa.read(data, HERE)
    assert corpus["test"].ids[0] == "test-0"
    assert any("test has no ids" in note for note in corpus.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.update(audio=p["audio"][:-1]), "audio has 11 rows for 12 ids"),
        (
            lambda p: p.update(audio_lengths=p["audio_lengths"][:-1]),
            r"lengths of audio of split 'train' have shape \(11,\) for 12 samples",
        ),
        (lambda p: p.update(regression_labels=p["regression_labels"][:-1]), "have shape"),
        (
            lambda p: p.update(regression_labels=["a"] * 12),
            "regression labels of split .train.: not an array of real numbers",
        ),
        (lambda p: p.update(text_bert=p["text_bert"][:, 0]), "text_bert has shape"),
        (lambda p: p.update(vision=[["x"]] * 12), "vision.*not an array of real numbers"),
        (lambda p: p.update(audio=3.5), "audio of split 'train' is a float"),
        (lambda p: p.update(vision_lengths="x"), "lengths of vision of split 'train': not an array"),
        (lambda p: p.update(audio=[*p["audio"][:-1], None]), "audio of sample .* has shape"),
        (lambda p: p.update(id=[[[1, 2], [3]]] * 12), "the id of sample 0 of split 'train' has parts of different"),
        (lambda p: p.update(id=p["id"][:-1]), "has 11 ids for 12 samples"),
        (lambda p: [p.pop(k) for k in ("regression_labels", "classification_labels")], "no regression labels"),
        (lambda p: [p.pop(k) for k in ("text", "audio", "vision", "raw_text")], "has no text, audio or vision"),
    ],
)
def test_arrays_that_disagree_are_named(make_mmsa: Make, change: Callable[[Any], None], message: str) -> None:
    data = make_mmsa()
    change(data["train"])
    with pytest.raises(DataError, match=message):
        mmsa.read(data, HERE)


@pytest.mark.parametrize(
    "data", [[], {}, {"train": []}, {"a": {"text": 1}}, {"train": {"text": [1]}}, {"train_mix": {}}]
)
def test_other_layouts_do_not_match(data: object) -> None:
    assert not mmsa.matches(data)
