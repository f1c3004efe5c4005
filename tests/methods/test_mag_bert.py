"""MAG-BERT: how far tokens are moved, by what, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.mag_bert import MAGBERT, AdaptationGate, displaced, embedding_layer, spread, word_places

MakeBatch = Callable[..., Batch]
SCORE = Target("sentiment", "regression", (-3.0, 3.0))
AUDIO, VISION = Modality("audio", "sequence", 5), Modality("vision", "sequence", 4)
SMALL = Schema((Modality("text", "sequence", 6), AUDIO, VISION), (SCORE,))
SPOKEN = Schema((Modality("text", "text"), AUDIO, VISION), (SCORE,))


def size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def spoken(*texts: str, seed: int = 0) -> Batch:
    """Texts, with one step of audio and vision per word."""
    random, streams = torch.Generator().manual_seed(seed), {}
    lengths = torch.tensor([len(t.split()) for t in texts])
    here = lengths > 0
    for m in (AUDIO, VISION):
        values = torch.randn(len(texts), max(1, int(lengths.max())), m.width, generator=random)
        stream = Stream(values, lengths, here)
        streams[m.name] = replace(stream, values=values * stream.mask.unsqueeze(-1))
    labels = {"sentiment": torch.randn(len(texts), generator=random)}
    return Batch({"text": Stream(list(texts), None, here), **streams}, labels, [str(i) for i in range(len(texts))])


def test_parameters_are_the_published_ones() -> None:
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        whole = transformers.BertModel(transformers.BertConfig())
        gate = AdaptationGate(768, {"audio": 5, "vision": 20}, 1.0, 0.3)
    assert {n: size(m) for n, m in gate.gates.items()} == {"audio": 594_432, "vision": 605_952}
    assert {n: size(m) for n, m in gate.values.items()} == {"audio": 4_608, "vision": 16_128}
    assert size(gate) == 1_222_656
    # BERT's count has its pooler, which here is the method's own, and the head has 769.
    method = MAGBERT(SMALL, width=768, heads=8, layers=1)
    assert size(method.pooler) == size(whole.pooler)
    assert size(whole) + size(gate) + size(method.heads) == 110_705_665


def gate_and_tokens(scale: float = 1.0) -> tuple[AdaptationGate, Tensor, dict[str, Stream]]:
    torch.manual_seed(0)
    gate = AdaptationGate(8, {"audio": 5, "vision": 4}, 1.0, 0.0).eval()
    here, lengths = torch.ones(3, dtype=torch.bool), torch.full((3,), 6)
    others = {n: Stream(scale * torch.randn(3, 6, w), lengths, here) for n, w in (("audio", 5), ("vision", 4))}
    return gate, torch.randn(3, 6, 8), others


def test_the_displacement_is_never_longer_than_beta_times_the_token() -> None:
    for scale, beta in product((1e-3, 1.0, 1e2, 1e4), (0.3, 1.0)):
        gate, z, others = gate_and_tokens(scale)
        gate.beta = beta
        ratio = gate.displacement(z, others).norm(dim=-1) / z.norm(dim=-1)
        assert (ratio <= beta * (1 + 1e-5)).all()
        if scale == 1e4:
            torch.testing.assert_close(ratio.max(), torch.tensor(beta), rtol=1e-3, atol=0)


def test_nothing_moves_without_signals_at_first_and_at_beta_zero() -> None:
    gate, z, others = gate_and_tokens()
    silence = {n: replace(s, values=torch.zeros_like(s.tensor)) for n, s in others.items()}
    assert torch.equal(gate(z, silence), gate.norm(z))
    assert not torch.equal(gate(z, others), gate.norm(z))
    gate.beta = 0.0
    assert torch.equal(gate(z, others), gate.norm(z))


def test_a_small_displacement_is_added_whole_and_a_long_one_keeps_its_length() -> None:
    gate, z, others = gate_and_tokens(0.01)
    x = {n: s.tensor for n, s in others.items()}
    whole = sum(
        torch.relu(gate.gates[n](torch.cat([x[n], z], dim=-1)))
        * torch.nn.functional.linear(x[n], gate.values[n].weight)
        for n in x
    )
    torch.testing.assert_close(gate(z, others), gate.norm(z + whole))
    gate, z, others = gate_and_tokens(1e4)
    before = gate(z, others)
    for linear in gate.values.values():
        linear.weight.data *= 2
    capped = gate.displacement(z, others).norm(dim=-1) > 0.999 * z.norm(dim=-1)
    assert capped.sum() > 9
    torch.testing.assert_close(gate(z, others)[capped], before[capped], atol=1e-4, rtol=1e-4)


def test_the_gate_is_local_and_opens_by_its_relu() -> None:
    gate, z, others = gate_and_tokens()
    moved = others["audio"].tensor.clone()
    moved[1, 4] += 5
    changed = gate(z, {**others, "audio": replace(others["audio"], values=moved)}) - gate(z, others)
    where = changed.abs().sum(-1) > 0
    assert where[1, 4]
    assert where.sum() == 1
    gate.gates["audio"].bias.data.fill_(-100.0)
    gate(z, others).pow(3).sum().backward()
    assert not gate.values["audio"].weight.grad.any()
    assert gate.values["vision"].weight.grad.any()


def test_an_absent_modality_adds_nothing_even_with_biases() -> None:
    gate, z, others = gate_and_tokens()
    gate.values["audio"].bias.data.fill_(3.0)
    without = {**others, "audio": others["audio"].absent(torch.tensor([True, False, False]))}
    alone = gate.displacement(z, {"vision": others["vision"]})
    found = gate.displacement(z, without)
    torch.testing.assert_close(found[0], alone[0])
    assert not torch.allclose(found[1], alone[1])


def test_every_piece_of_a_word_gets_the_words_step_and_special_tokens_get_zeros(bert: str) -> None:
    method, batch = MAGBERT(SPOKEN.with_encoders({"text": bert})), spoken("a  badly good film.", "", "not")
    places, words = word_places(method.transformer, batch["text"])
    # [CLS] a bad ##ly good film . [SEP]: "film." is one word by spaces.
    assert places.tolist() == [[-1, 0, 1, 1, 2, 3, 3, -1], [-1] * 8, [-1, 0, *[-1] * 6]]
    assert words.tolist() == [4, 0, 1]
    tokens = spread(batch["audio"], places)
    for token, word in enumerate(places[0].tolist()):
        expected = batch["audio"].tensor[0, word] if word >= 0 else torch.zeros(5)
        assert torch.equal(tokens.tensor[0, token], expected)


def test_tokens_are_displaced_between_the_embeddings_and_the_first_layer(bert: str) -> None:
    method, batch = MAGBERT(SPOKEN.with_encoders({"text": bert})).eval(), spoken("a badly good film", "not very good")
    encoder = method.transformer
    seen: list[Tensor] = []
    layer = embedding_layer(encoder)
    assert layer is encoder.model.embeddings
    plain = encoder(batch["text"]).tensor
    first = encoder.model.encoder.layer[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with displaced(encoder, lambda z: z + 1):
        shifted = encoder(batch["text"]).tensor
    back = encoder(batch["text"]).tensor
    first.remove()
    torch.testing.assert_close(seen[0], seen[1] + 1)
    assert not torch.allclose(shifted, plain)
    assert torch.equal(back, plain), "the gate stayed in the transformer"
    full = method(batch).predictions["sentiment"]
    assert not torch.allclose(method(batch.without("audio")).predictions["sentiment"], full)


def test_samples_do_not_see_their_batch_with_a_transformer(bert: str) -> None:
    texts = ("a badly good film .", "not", "", "very very good film")
    method, batch = MAGBERT(SPOKEN.with_encoders({"text": bert})).eval(), spoken(*texts)
    together = method(batch).predictions["sentiment"]
    for row, text in enumerate(texts):
        count = max(1, len(text.split()))
        streams = {
            n: Stream(s.tensor[row : row + 1, :count], s.lengths[row : row + 1], s.present[row : row + 1])
            for n, s in batch.streams.items()
            if n != "text"
        }
        alone = Batch({"text": Stream([text], None, torch.tensor([bool(text)])), **streams}, {}, ["x"])
        torch.testing.assert_close(
            method(alone).predictions["sentiment"], together[row : row + 1], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_gate_and_transformer_train_together(tuning: str, bert: str) -> None:
    if tuning == "lora":
        pytest.importorskip("peft")
    method, batch = (
        MAGBERT(SPOKEN.with_encoders({"text": f"{bert}?tuning={tuning}"})).train(),
        spoken("a good film", "not very good"),
    )
    method.losses(batch, method(batch))["task"].backward()
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
    groups = {g.name for g in method.parameter_groups()}
    assert groups == ({"new", "pretrained"} if tuning == "full" else {"new"})


def test_text_alone_has_no_gate_and_an_absent_text_leaves_no_token_to_move(bert: str, make_batch: MakeBatch) -> None:
    assert MAGBERT(Schema(SPOKEN.modalities[:1], (SCORE,)).with_encoders({"text": bert})).gate is None
    method, batch = MAGBERT(SMALL).eval(), make_batch(SMALL).without("text")
    predictions = method(batch).predictions["sentiment"]
    torch.testing.assert_close(predictions, predictions[:1].expand(8))


def marked(rows: int, seed: int) -> Batch:
    """Text says nothing; the label is the sign that audio shows at one of three words."""
    random = torch.Generator().manual_seed(seed)
    text = torch.randn(rows, 3, 6, generator=random)
    label = torch.randint(2, (rows,), generator=random) * 2.0 - 1
    audio = 0.3 * torch.randn(rows, 3, 5, generator=random)
    audio[torch.arange(rows), torch.randint(3, (rows,), generator=random)] += 2 * label.unsqueeze(1)
    here, lengths = torch.ones(rows, dtype=torch.bool), torch.full((rows,), 3)
    streams = {"text": Stream(text, lengths, here), "audio": Stream(audio, lengths, here)}
    return Batch(streams, {"sentiment": label}, [str(i) for i in range(rows)])


def test_what_only_audio_knows_is_learned_through_the_displacement() -> None:
    torch.manual_seed(0)
    schema = Schema((Modality("text", "sequence", 6), AUDIO), (SCORE,))
    method = MAGBERT(schema, width=16, heads=2, layers=1, dropout=0.0, gate_dropout=0.0)
    optimizer = torch.optim.Adam(method.parameters(), 1e-2)
    for seed in range(80):
        batch = marked(32, seed)
        optimizer.zero_grad()
        method.losses(batch, method(batch))["task"].backward()
        optimizer.step()
    fresh = marked(256, 1000)
    with torch.no_grad():
        method.eval()
        errors = [method.losses(b, method(b))["task"].item() for b in (fresh, fresh.without("audio"))]
    assert errors[0] < 0.3
    assert errors[1] > 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": -1.0}, "beta must not be negative, got -1.0"),
        ({"width": 10, "heads": 4}, "heads must divide width, got heads=4 and width=10"),
        ({"gate_dropout": 1.0}, "gate_dropout must be at least 0 and below 1, got 1.0"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        MAGBERT(SMALL, **options)


def test_a_transformer_with_narrow_embeddings_is_refused(bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = MAGBERT(SPOKEN.with_encoders({"text": bert})).transformer
    monkeypatch.setattr("polymodal.nn.text.load_transformer", lambda name: (encoder.tokenizer, encoder.model))
    encoder.model.config.embedding_size = 4
    with pytest.raises(OptionError, match="has no place for the gate after its embeddings"):
        MAGBERT(SPOKEN.with_encoders({"text": bert}))
