"""CENet: what tokens find, where it enters the transformer, and what trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.cenet import CENet, Enhancement, enhanced, layers_of
from polymodal.methods.mag_bert import embedding_layer

MakeBatch = Callable[..., Batch]
SCORE = Target("sentiment", "regression", (-3.0, 3.0))
AUDIO, VISION = Modality("audio", "sequence", 5), Modality("vision", "sequence", 4)
SMALL = Schema((Modality("text", "sequence", 6), AUDIO, VISION), (SCORE,))
SPOKEN = Schema((Modality("text", "text"), AUDIO, VISION), (SCORE,))
BERT_BASE = 109_482_240  # with its pooler, 590,592 parameters that nothing reads in MMSA and that are not built here


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture
def bert(make_bert: Callable[[int], str]) -> str:
    """Folder of a random BERT with three layers."""
    return make_bert(3)


def spoken(*texts: str, seed: int = 0) -> Batch:
    """Texts, and more steps of audio and vision than they have words."""
    random, here = torch.Generator().manual_seed(seed), torch.tensor([bool(t) for t in texts])
    streams = {}
    for m, steps in ((AUDIO, 30), (VISION, 20)):
        lengths = torch.randint(1, steps, (len(texts),), generator=random)
        values = torch.randn(len(texts), steps, m.width, generator=random)
        stream = Stream(values, lengths, torch.ones_like(here))
        streams[m.name] = replace(stream, values=values * stream.mask.unsqueeze(-1))
    labels = {"sentiment": torch.randn(len(texts), generator=random)}
    return Batch({"text": Stream(list(texts), None, here), **streams}, labels, [str(i) for i in range(len(texts))])


def test_parameters_are_the_published_ones() -> None:
    with torch.device("meta"):
        enhancement = Enhancement(768, {"audio": 5, "vision": 20})
        head = nn.ModuleList([nn.Linear(768, 768), nn.Linear(768, 1)])
        method = CENet(SMALL, width=768, heads=8, layers=2)
        assert {n: size(m) for n, m in enhancement.transforms.items()} == {"audio": 595_200, "vision": 606_720}
    assert size(enhancement) == 5_925_888
    unused = 10_752  # MMSA's embeddings of word classes, which nothing reads
    assert BERT_BASE + size(enhancement) + size(head) == 116_010_241 - unused
    assert size(method.pooler) + size(method.heads) == size(head)


def tokens_and_steps() -> tuple[Enhancement, Tensor, dict[str, Stream]]:
    torch.manual_seed(0)
    module, here = Enhancement(8, {"audio": 5, "vision": 4}), torch.ones(3, dtype=torch.bool)
    others = {}
    for name, width in (("audio", 5), ("vision", 4)):
        stream = Stream(torch.randn(3, 9, width), torch.tensor([9, 4, 1]), here)
        others[name] = replace(stream, values=stream.tensor * stream.mask.unsqueeze(2))
    return module, torch.randn(3, 6, 8), others


def test_weights_sum_to_one_over_true_steps_and_are_zero_at_padding() -> None:
    module, tokens, others = tokens_and_steps()
    for name, stream in others.items():
        weights = module.attend(tokens, name, stream)[1]
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, 6))
        assert not weights.masked_select(~stream.mask.unsqueeze(1)).any()
        assert (weights.masked_select(stream.mask.unsqueeze(1)) > 0).all()


def test_scores_are_divided_by_the_root_of_the_width() -> None:
    module, tokens, others = tokens_and_steps()
    x = module.transforms["audio"](others["audio"].tensor[:1])
    scores = module.queries["audio"](tokens[:1]) @ module.keys["audio"](x).transpose(1, 2) / 8**0.5
    wanted = torch.softmax(scores, -1) @ module.values["audio"](x)
    torch.testing.assert_close(module.attend(tokens, "audio", others["audio"])[0][:1], wanted)


def test_the_order_of_steps_does_not_matter() -> None:
    module, tokens, others = tokens_and_steps()
    turned = {n: replace(s, values=s.tensor[:, torch.randperm(9)]) for n, s in others.items()}
    whole = {n: replace(s, lengths=torch.tensor([9, 9, 9])) for n, s in others.items()}
    turned_whole = {n: replace(s, lengths=torch.tensor([9, 9, 9])) for n, s in turned.items()}
    torch.testing.assert_close(module(tokens, turned_whole), module(tokens, whole))


def test_what_is_absent_adds_nothing_even_with_biases() -> None:
    module, tokens, others = tokens_and_steps()
    gone = torch.tensor([True, False, False])
    silent = {n: s.absent(gone) for n, s in others.items()}
    found = module(tokens, silent)
    assert torch.equal(found[0], tokens[0])
    torch.testing.assert_close(found[1:], module(tokens, others)[1:])
    one = {**others, "audio": others["audio"].absent(gone)}
    vision = module.attend(tokens, "vision", others["vision"])[0]
    wanted = tokens + module.out(torch.cat([torch.zeros_like(vision), vision], dim=-1))
    torch.testing.assert_close(module(tokens, one)[0], wanted[0])


def test_with_its_output_projection_zeroed_the_transformer_is_the_plain_one(bert: str) -> None:
    method, batch = CENet(SPOKEN.with_encoders({"text": bert})).eval(), spoken("a very good film", "not bad")
    plain = method.transformer(batch["text"]).tensor[:, 0]
    others = {n: batch[n] for n in ("audio", "vision")}
    assert not torch.allclose(method.read(batch["text"], others), plain, atol=1e-3)
    nn.init.zeros_(method.enhancement.out.weight)
    nn.init.zeros_(method.enhancement.out.bias)
    assert torch.equal(method.read(batch["text"], others), plain)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_tokens_are_enhanced_in_front_of_the_chosen_layer_alone(place: int, bert: str) -> None:
    encoder, batch = (
        CENet(SPOKEN.with_encoders({"text": bert})).eval().transformer,
        spoken("a very good film", "not bad"),
    )
    seen: list[Tensor] = []
    layers = layers_of(encoder)
    for layer in layers:
        layer.attention.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    plain = encoder(batch["text"]).tensor
    with enhanced(layers[place], lambda z: z + torch.arange(16.0)):
        shifted = encoder(batch["text"]).tensor
    back = encoder(batch["text"]).tensor
    before, within = seen[:3], seen[3:6]
    assert all(torch.equal(x, y) for x, y in zip(before[:place], within[:place], strict=True))
    torch.testing.assert_close(within[place], before[place] + torch.arange(16.0))
    assert not torch.allclose(shifted, plain)
    assert torch.equal(back, plain), "the enhancement stayed in the transformer"


def test_enhancement_and_layers_train_and_embeddings_do_not(bert: str) -> None:
    method, batch = CENet(SPOKEN.with_encoders({"text": bert})).train(), spoken("a very good film", "not bad")
    method.losses(batch, method(batch))["task"].backward()
    still = {n for n, p in method.named_parameters() if p.grad is None}
    assert still == {n for n, _ in method.named_parameters() if ".embeddings." in n}
    assert still
    assert all(
        p.grad.any() for n, p in method.named_parameters() if "encoder.layer" in n and n.endswith("value.weight")
    )
    assert {g.name for g in method.parameter_groups()} == {"new", "pretrained"}


def test_adapters_train_beside_the_enhancement(bert: str) -> None:
    pytest.importorskip("peft")
    method = CENet(SPOKEN.with_encoders({"text": f"{bert}?tuning=lora"})).train()
    batch = spoken("a very good film", "not bad")
    assert embedding_layer(method.transformer) is not None
    method.losses(batch, method(batch))["task"].backward()
    trained = {n for n, p in method.named_parameters() if p.grad is not None}
    assert trained == {n for n, p in method.named_parameters() if p.requires_grad}
    assert any("lora_" in n for n in trained)
    assert any(n.startswith("enhancement.") for n in trained)


def test_samples_do_not_see_their_batch_with_a_transformer(bert: str) -> None:
    texts = ("a bad film .", "not", "", "very very good film")
    method, batch = CENet(SPOKEN.with_encoders({"text": bert})).eval(), spoken(*texts)
    together = method(batch).predictions["sentiment"]
    for row, text in enumerate(texts):
        streams = {"text": Stream([text], None, torch.tensor([bool(text)]))}
        for name in ("audio", "vision"):
            s, end = batch[name], int(batch[name].lengths[row])
            streams[name] = Stream(s.tensor[row : row + 1, :end], s.lengths[row : row + 1], s.present[row : row + 1])
        alone = method(Batch(streams, {}, ["x"])).predictions["sentiment"]
        torch.testing.assert_close(alone, together[row : row + 1], atol=1e-5, rtol=1e-5)


def far(rows: int, seed: int) -> Batch:
    """Text is noise; one of 40 steps of audio, marked by its first feature, shows the label."""
    random = torch.Generator().manual_seed(seed)
    label = torch.randint(2, (rows,), generator=random) * 2.0 - 1
    audio, where = torch.randn(rows, 40, 5, generator=random), torch.randint(20, 40, (rows,), generator=random)
    audio[torch.arange(rows), where, 0] = 5.0
    audio[torch.arange(rows), where, 1] = 3 * label
    here = torch.ones(rows, dtype=torch.bool)
    streams = {
        "text": Stream(torch.randn(rows, 2, 6, generator=random), torch.full((rows,), 2), here),
        "audio": Stream(audio, torch.full((rows,), 40), here),
    }
    return Batch(streams, {"sentiment": label}, [str(i) for i in range(rows)])


def test_one_step_far_from_every_word_is_found() -> None:
    torch.manual_seed(0)
    method = CENet(Schema((Modality("text", "sequence", 6), AUDIO), (SCORE,)), width=16, heads=2, dropout=0.0)
    optimizer = torch.optim.Adam(method.parameters(), 5e-3)
    for seed in range(150):
        batch = far(64, seed)
        optimizer.zero_grad()
        method.losses(batch, method(batch))["task"].backward()
        optimizer.step()
    fresh = far(256, 1000)
    with torch.no_grad():
        method.eval()
        errors = [method.losses(b, method(b))["task"].item() for b in (fresh, fresh.without("audio"))]
    assert errors[0] < 0.25
    assert errors[1] > 0.8


def test_text_alone_is_not_enhanced(bert: str) -> None:
    method, batch = (
        CENet(Schema(SPOKEN.modalities[:1], (SCORE,)).with_encoders({"text": bert})).eval(),
        spoken("a good film"),
    )
    assert method.enhancement is None
    assert torch.equal(method.read(batch["text"], {}), method.transformer(batch["text"]).tensor[:, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"place": 2}, "place must be a layer of the transformer, 0 to 1, got 2"),
        ({"place": -1}, "place must be a layer of the transformer, 0 to 1, got -1"),
        ({"width": 10, "heads": 4}, "heads must divide width, got heads=4 and width=10"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        CENet(SMALL, **options)


def test_a_transformer_without_a_list_of_layers_is_refused(bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = CENet(SPOKEN.with_encoders({"text": bert})).transformer
    monkeypatch.setattr("polymodal.nn.text.load_transformer", lambda name: (encoder.tokenizer, encoder.model))
    encoder.model.config.num_hidden_layers = 7
    with pytest.raises(OptionError, match="has no place for the enhancement; use one built like BERT"):
        CENet(SPOKEN.with_encoders({"text": bert}))
