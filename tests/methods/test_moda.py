"""MODA: the Gram matrix, aligned keys, the modular mask, and the base model where both are switched off."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from polymodal.core import Batch, Modality, OptionError, Schema, Target
from polymodal.methods.moda import MODA
from polymodal.nn.duplex import DuplexAligner, coordinates, modular_weights
from polymodal.nn.open_attention import attention_share, plain_weights

MakeBatch = Callable[..., Batch]

SCHEMA = Schema(
    (Modality("text", "sequence", 6), Modality("audio", "sequence", 5), Modality("face", "vector", 4)),
    (Target("sentiment", "regression", (-3.0, 3.0)),),
)
SMALL: dict[str, Any] = {"width": 16, "heads": 2, "layers": 2, "dropout": 0.0}
OWNER = torch.tensor([0, 0, 0, 1, 1, 1, 1, 2])
"""Three tokens of one modality, four of another, one that answers."""


def small(schema: Schema = SCHEMA, **options: Any) -> MODA:
    return MODA(schema, **{**SMALL, **options}).eval()


def keys(seed: int = 0) -> Tensor:
    return torch.randn(2, 2, 8, 4, generator=torch.Generator().manual_seed(seed))


def known(*hidden: int) -> Tensor:
    """All tokens of both samples, but those ``hidden`` in the first one."""
    found = torch.ones(2, 8, dtype=torch.bool)
    found[0, list(hidden)] = False
    return found


def aligner() -> DuplexAligner:
    found = DuplexAligner(2, 4)
    with torch.no_grad():
        found.ratio.fill_(0.7)
    return found


def test_switched_off_it_is_the_base_model(make_batch: MakeBatch) -> None:
    """ratio 0, F the identity, gamma without end: ordinary causal attention over the same keys."""
    query, key = keys(1), keys(2)
    torch.testing.assert_close(DuplexAligner(2, 4)(key, OWNER, known()), key)
    causal = torch.ones(8, 8, dtype=torch.bool).tril().expand(2, 8, 8)
    plain = plain_weights(query, key, causal)
    for decay in (torch.tensor(math.inf), torch.full((8, 8), 1e4)):
        torch.testing.assert_close(modular_weights(query, key, known(), decay), plain)
    whole, base = small(gamma=1e6), small(align=False)
    base.load_state_dict({n: w for n, w in whole.state_dict().items() if not n.startswith("aligners")})
    batch = make_batch(SCHEMA)
    torch.testing.assert_close(whole(batch).predictions, base(batch).predictions)
    with torch.no_grad():
        for one in whole.aligners:
            one.ratio.fill_(1.0)  # type: ignore[union-attr, operator]
    apart = whole(batch).predictions["sentiment"] - base(batch).predictions["sentiment"]
    assert apart.abs().max() > 1e-4


def test_gram_matrices_are_symmetric_of_low_rank_and_their_rows_have_length_one() -> None:
    few = keys()[..., :2, :]
    gram = few.transpose(-1, -2) @ few
    torch.testing.assert_close(gram, gram.transpose(-1, -2))
    found = coordinates(few)
    torch.testing.assert_close(found * gram.norm(dim=-1, keepdim=True), gram)
    assert (torch.linalg.matrix_rank(found, rtol=1e-4) == 2).all()
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(2, 2, 4))


def test_order_of_the_other_does_not_matter_and_own_keys_follow_their_own() -> None:
    one, key = aligner(), keys()
    whole = one(key, OWNER, known())
    assert (whole - key)[:, :, :7].abs().max() > 0.05
    torch.testing.assert_close(whole[:, :, 7], key[:, :, 7])  # what belongs to no modality
    turned = torch.tensor([0, 1, 2, 5, 6, 3, 4, 7])
    found = one(key[:, :, turned], OWNER, known())
    torch.testing.assert_close(found[:, :, :3], whole[:, :, :3])
    torch.testing.assert_close(found[:, :, 3:7], whole[:, :, [5, 6, 3, 4]])


def test_keys_keep_themselves_where_all_others_are_absent() -> None:
    one = aligner()
    with torch.no_grad():
        one.fuse.mul_(2.0)
    key = keys()
    found = one(key, OWNER, known(3, 4, 5, 6))
    assert found.isfinite().all()
    torch.testing.assert_close(found[0, :, :3], key[0, :, :3])
    assert (found[1, :, :3] - key[1, :, :3]).abs().max() > 0.1


def test_a_key_depends_on_later_tokens_of_the_others_unless_they_are_left_out() -> None:
    """All of a prompt is known at once; what is generated must not be part of the space."""
    one, key = aligner(), keys()
    changed = key.clone()
    changed[:, :, 6] += 3.0
    seen, blind = known(), known()
    blind[:, 6] = False
    assert (one(changed, OWNER, seen) - one(key, OWNER, seen))[:, :, :3].abs().max() > 1e-3
    torch.testing.assert_close(one(changed, OWNER, blind)[:, :, :3], one(key, OWNER, blind)[:, :, :3])


def test_surplus_attention_goes_to_what_is_yet_to_come() -> None:
    query, key = keys(1), keys(2)
    sums = [modular_weights(query, key, known(), torch.full((8, 8), g)).sum(-1) for g in (50.0, 1.0, 0.1, 1e-3)]
    for found in sums:
        assert (found > 0).all()
        assert (found < 1 + 1e-6).all()
        torch.testing.assert_close(found[..., -1], torch.ones(2, 2))  # nothing is yet to come
    torch.testing.assert_close(sums[0], torch.ones(2, 2, 8))
    for more, less in pairwise(sums):
        assert (less[..., :-1] < more[..., :-1]).all()
    weights = modular_weights(query, key, known(), torch.full((8, 8), 1.0))
    assert weights.triu(1).abs().max() == pytest.approx(0, abs=1e-9)


def test_padding_takes_no_place_in_the_order() -> None:
    query, key = keys(1), keys(2)
    left = torch.tensor([0, 1, 3, 4, 5, 6, 7])
    padded = modular_weights(query, key, known(2), torch.full((8, 8), 0.5))[:1, :, left][..., left]
    cut = modular_weights(query[:1, :, left], key[:1, :, left], torch.ones(1, 7, dtype=torch.bool), torch.tensor(0.5))
    torch.testing.assert_close(padded, cut)


def test_shares_are_of_all_attention(make_batch: MakeBatch) -> None:
    weights = torch.full((1, 1, 2, 8), 0.125)
    torch.testing.assert_close(attention_share(weights, OWNER, 2), torch.tensor([0.375, 0.5]).expand(1, 1, 2, 2))
    method, batch = small(), make_batch(SCHEMA)
    assert method.row.names == ("audio", "face", "text")
    shares = method(batch).representations["shares"]
    assert shares.shape == (8, 2, 3)
    assert (shares.sum(-1) <= 1 + 1e-6).all()
    quiet = method(batch.without("audio")).representations["shares"].detach()
    assert float(quiet[..., 0].abs().max()) == pytest.approx(0, abs=1e-9)


def test_options_that_cannot_be() -> None:
    with pytest.raises(OptionError, match="heads must divide width"):
        small(width=15)
    with pytest.raises(OptionError, match="gamma must be above 0"):
        small(gamma=0.0)
