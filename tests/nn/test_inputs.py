"""The front door: every modality leaves as a tensor stream of a known width."""

from __future__ import annotations

import torch

from polymodal.core import Batch, Modality, Schema, Stream, Target
from polymodal.nn.inputs import Inputs, Projected, VectorEncoder, as_sequence, utterance_encoder
from polymodal.nn.sequence import SequenceEncoder

TEXT, AUDIO, FACE = Modality("text", "text"), Modality("audio", "sequence", 3), Modality("face", "vector", 2)
SCHEMA = Schema((TEXT, AUDIO, FACE), (Target("y", "regression"),))
PRESENT = torch.tensor([True, False])


def batch() -> Batch:
    streams = {
        "text": Stream(["so good", ""], None, PRESENT),
        "audio": Stream(torch.randn(2, 4, 3), torch.tensor([4, 2]), torch.tensor([True, True])),
        "face": Stream(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), None, PRESENT),
    }
    return Batch(streams, {"y": torch.zeros(2)}, ["a", "b"])


def test_text_becomes_a_sequence_and_the_rest_passes_through() -> None:
    inputs, given = Inputs(SCHEMA), batch()
    out = inputs(given)
    assert list(out) == ["text", "audio", "face"]
    assert out["audio"] is given["audio"]
    assert out["face"] is given["face"]
    assert inputs.modalities["text"].kind == "sequence"
    assert out["text"].tensor.shape == (2, 2, inputs.modalities["text"].width)
    assert out["text"].lengths is not None
    assert out["text"].lengths.tolist() == [2, 0]
    assert inputs.modalities["audio"] == AUDIO


def test_a_vector_is_a_sequence_of_one_step() -> None:
    face = as_sequence(batch()["face"])
    assert face.tensor.tolist() == [[[1, 2]], [[0, 0]]]
    assert face.lengths is not None
    assert face.lengths.tolist() == [1, 0]
    audio = batch()["audio"]
    assert as_sequence(audio) is audio


def test_the_encoder_fits_the_kind_and_is_zero_where_absent() -> None:
    vector, sequence = utterance_encoder(FACE, 6), utterance_encoder(AUDIO, 6, context="lstm", pool="last", kernel=3)
    assert isinstance(vector, VectorEncoder)
    assert isinstance(sequence, SequenceEncoder)
    assert sequence.input.kernel_size == (3,)
    given = batch().without("audio", rows=torch.tensor([True, False]))
    assert sequence(given["audio"]).any(1).tolist() == [False, True]
    # A bias alone would make an absent vector look like a value.
    torch.nn.init.ones_(vector.layers[3].bias)
    assert vector(given["face"]).any(1).tolist() == [True, False]


def test_a_projected_vector_is_zero_where_absent_whatever_the_biases() -> None:
    encoder = Projected(utterance_encoder(AUDIO, 6), torch.nn.Linear(6, 4))
    given = batch().without("audio", rows=torch.tensor([True, False]))
    assert encoder(given["audio"]).any(1).tolist() == [False, True]


def test_weights_from_before_images_had_encoders_load() -> None:
    inputs, other = Inputs(SCHEMA), Inputs(SCHEMA)
    old = {n.replace("encoders.", "texts."): t for n, t in inputs.state_dict().items()}
    assert set(old) == {"texts.text.embedding.weight"}
    other.load_state_dict(old)
    assert torch.equal(other.encoders["text"].embedding.weight, inputs.encoders["text"].embedding.weight)


def test_the_schema_names_the_encoder(bert: str) -> None:
    found = Inputs(SCHEMA.with_encoders({"text": bert}))
    assert found.transformer("text").name == bert
    assert found.modalities["text"].width == 16
    assert Inputs(SCHEMA).transformer("text") is None
