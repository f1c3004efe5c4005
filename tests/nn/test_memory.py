"""LSTMs stepped together equal torch's; the gated memory keeps its bounds; streams share one axis."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from polymodal.core import Modality, OptionError, Stream
from polymodal.methods.base import positive
from polymodal.nn.memory import CellStates, GatedMemory, MemoryFusion, aligned, per_part

SIZES = {"proposal": 8, "retain": 9, "update": 7}
STILL = dict.fromkeys(SIZES, 0.0)
PAIR = {"text": Modality("text", "sequence", 5), "audio": Modality("audio", "sequence", 3)}
HERE = torch.ones(4, dtype=torch.bool)


def streams(steps: int = 6) -> dict[str, Stream]:
    lengths = torch.full((4,), steps)
    return {n: Stream(torch.randn(4, steps, m.width), lengths, HERE) for n, m in PAIR.items()}


def stepped(cell: nn.LSTMCell, x: Tensor) -> tuple[Tensor, Tensor]:
    """The plain twin: one torch cell, one step at a time."""
    h = c = x.new_zeros(len(x), cell.hidden_size)
    states = []
    for step in x.unbind(1):
        h, c = cell(step, (h, c))
        states.append((h, c))
    hidden, cells = zip(*states, strict=True)
    return torch.stack(hidden), torch.stack(cells)


def test_lstms_stepped_together_equal_torchs_cells_with_their_gradients():
    net, given = CellStates(PAIR, {"text": 6, "audio": 2}), streams()
    hidden, cells, _ = net(given)
    (hidden.square().sum() + cells.sum()).backward()
    fast = {n: p.grad.clone() for n, p in net.named_parameters()}
    net.zero_grad()
    apart = [stepped(cell, given[n].tensor) for n, cell in net.lstms.items()]
    slow_hidden, slow_cells = (torch.cat(parts, 2) for parts in zip(*apart, strict=True))
    (slow_hidden.square().sum() + slow_cells.sum()).backward()
    assert torch.allclose(hidden, slow_hidden, atol=1e-6)
    assert torch.allclose(cells, slow_cells, atol=1e-6)
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(fast[name], parameter.grad, rtol=1e-4, atol=1e-5)


def slow_memory(net: GatedMemory, x: Tensor) -> Tensor:
    """The plain twin: every perceptron at every step."""
    u, steps = x.new_zeros(x.shape[1], net.proposal.last.out_features), []
    for step in x:
        both = torch.cat([step, u], 1)
        u = net.retain(both).sigmoid() * u + net.update(both).sigmoid() * net.proposal(step).tanh()
        steps.append(u)
    return torch.stack(steps)


def test_the_memory_equals_its_definition_step_by_step():
    net, x = GatedMemory(5, 6, units=SIZES, dropout=STILL), torch.randn(7, 4, 5)
    assert torch.allclose(net(x), slow_memory(net, x), atol=1e-6)


def forced(net: GatedMemory, retain: float, update: float) -> GatedMemory:
    """Gates that are open (1.0) or shut (0.0) whatever they see."""
    with torch.no_grad():
        for gate, wanted in ((net.retain, retain), (net.update, update)):
            gate.last.weight.zero_()
            gate.last.bias.fill_(200.0 if wanted else -200.0)  # a sigmoid of exactly 1 and 0
    return net


def test_a_memory_that_keeps_all_and_writes_nothing_stays_zero():
    assert not forced(GatedMemory(5, 6, units=SIZES, dropout=STILL), 1, 0)(torch.randn(7, 4, 5)).any()


def test_a_memory_that_forgets_all_and_writes_all_is_the_proposal():
    net, x = forced(GatedMemory(5, 6, units=SIZES, dropout=STILL), 0, 1), torch.randn(7, 4, 5)
    assert torch.equal(net(x), net.proposal(x).tanh())


def test_the_memory_grows_by_at_most_one_a_step():
    steps = torch.arange(1.0, 31.0).view(-1, 1, 1)
    net = GatedMemory(5, 6, units=SIZES, dropout=STILL)
    assert (net(100 * torch.randn(30, 4, 5)).abs() <= steps).all()
    with torch.no_grad():
        net.proposal.last.bias.fill_(50.0)
    full = forced(net, 1, 1)(torch.randn(30, 4, 5))
    assert torch.allclose(full, steps.expand_as(full))  # the bound is reached


def test_dropout_inside_the_gates_is_drawn_anew_at_every_step_and_only_in_training():
    torch.manual_seed(0)
    net = GatedMemory(5, 6, units=SIZES, dropout={**STILL, "update": 0.5})
    x = torch.randn(1, 1, 5).expand(2, 1, 5)
    with torch.no_grad():  # nothing is kept: what is written shows the update gate of its step alone
        net.retain.last.weight.zero_()
        net.retain.last.bias.fill_(-200.0)
        net.update.first.weight[:, 5:] = 0
    first, second = net(x)
    assert not torch.equal(first, second)
    first, second = net.eval()(x)
    assert torch.allclose(first, second, atol=1e-6)


def fusion(window: int = 2) -> MemoryFusion:
    parts = {"attention": 8, **SIZES}
    hidden = {"text": 6, "audio": 2}
    drops = dict.fromkeys(parts, 0.0)
    return MemoryFusion(PAIR, hidden=hidden, memory=4, units=parts, dropout=drops, window=window)


def test_attention_sums_to_one_over_both_steps_and_all_modalities():
    net = fusion()
    _, cells, here = net.cells(streams())
    attention = net.attend(cells, here)
    assert attention.shape == (6, 4, 16)
    assert torch.allclose(attention.sum(2), torch.ones(6, 4))
    with torch.no_grad():
        net.attention.last.weight.zero_()
        net.attention.last.bias.zero_()
    assert torch.equal(net.attend(cells, here), torch.full((6, 4, 16), 1 / 16))


def test_an_absent_modality_takes_no_attention_and_none_takes_it_all():
    net, given = fusion(), streams()
    given["text"] = given["text"].absent(torch.tensor([True, False, False, True]))
    given["audio"] = given["audio"].absent(torch.tensor([False, False, False, True]))
    _, cells, here = net.cells(given)
    attention = net.attend(cells, here).unflatten(2, (2, 8))
    assert not attention[:, 0, :, :6].any()
    assert torch.allclose(attention.sum((2, 3))[0], torch.tensor([1.0, 1.0, 1.0, 0.0]))


def test_the_window_holds_the_cells_of_the_steps_before():
    cells = torch.arange(1.0, 5.0).view(4, 1, 1)
    assert fusion(2).windowed(cells)[:, 0].tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]]
    assert fusion(1).windowed(cells).equal(cells)
    assert fusion(3).windowed(cells[:2])[:, 0].tolist() == [[0, 0, 1], [0, 1, 2]]


def test_streams_of_different_rates_share_an_axis_and_an_absent_one_is_zeros_of_its_length():
    words = Stream(torch.ones(2, 3, 1), torch.tensor([3, 2]), HERE[:2])
    frames = Stream(torch.arange(12.0).view(2, 6, 1), torch.tensor([6, 6]), HERE[:2])
    face = Stream(torch.tensor([[5.0], [6.0]]), None, HERE[:2])
    gone = words.absent(torch.tensor([False, True]))
    axis = aligned({"text": gone, "audio": frames, "face": face}, max_steps=3)
    assert all(s.tensor.shape == (2, 3, 1) and s.lengths.tolist() == [3, 3] for s in axis.values())
    assert axis["audio"].tensor[0, :, 0].tolist() == [0.5, 2.5, 4.5]
    assert axis["face"].tensor[1, :, 0].tolist() == [6, 6, 6]
    assert not axis["text"].tensor[1].any()
    assert axis["text"].present.tolist() == [True, False]


def test_half_precision_keeps_the_cells_in_full():
    net = fusion()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        given = streams()
        assert net.cells(given)[1].dtype == torch.float32
        low = net(given)
    assert torch.allclose(low.float(), net(given), atol=0.03)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"gate": 1}, "sizes names 'gate'"),
        ({"update": 1}, "sizes has no value for retain; name every part"),
        ({"update": 1, "retain": 0}, "sizes of retain must be above 0, got 0"),
    ],
)
def test_parts_must_be_named_all_and_right(value, message):
    with pytest.raises(OptionError, match=message):
        per_part("sizes", value, ("retain", "update"), positive)
