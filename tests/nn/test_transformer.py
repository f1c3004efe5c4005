"""The small transformer that stands in for a pre-trained one."""

from __future__ import annotations

import torch

from polymodal.core import Stream
from polymodal.nn.transformer import SmallTransformer


def stream() -> Stream:
    lengths = torch.tensor([4, 2, 0])
    found = Stream(torch.randn(3, 4, 5), lengths, lengths > 0)
    return Stream(found.tensor * found.mask.unsqueeze(-1), lengths, found.present)


def test_tokens_are_changed_in_front_of_the_layer_that_is_named() -> None:
    module, given = SmallTransformer(5, 8, 2, 3, 0.0).eval(), stream()
    entered: list[torch.Tensor] = []
    for layer in module.layers:
        layer.register_forward_pre_hook(lambda _, args: entered.append(args[0]))
    plain = module(given)
    shifted = module(given, lambda x: x + 1, 1)
    torch.testing.assert_close(entered[3], entered[0])
    torch.testing.assert_close(entered[4], entered[1] + 1)
    assert not torch.allclose(shifted[:2], plain[:2])
    assert not plain[2].any()
    assert module(given).isfinite().all()


def test_weights_load_under_the_names_they_had_before() -> None:
    module, other = SmallTransformer(5, 8, 2, 2, 0.0).eval(), SmallTransformer(5, 8, 2, 2, 0.0).eval()
    other.load_state_dict({n.replace("layers.", "layers.layers.", 1): t for n, t in module.state_dict().items()})
    given = stream()
    torch.testing.assert_close(other(given), module(given))
