"""MFM: one joint code that predicts the label, one private code per modality, and decoders that need both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema, Stream
from polymodal.methods.base import Method, fraction, per_modality, positive
from polymodal.nn.discrepancy import mmd
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.inputs import Inputs
from polymodal.nn.masking import masked_error, mean_where
from polymodal.nn.memory import MemoryFusion, Perceptron, aligned, per_part, unroll
from polymodal.nn.subnet import FinalState

UNITS = (*MemoryFusion.PARTS, "head")
"""The perceptrons with a size of their own."""
DROPS = (*MemoryFusion.PARTS, "factors", "head")
"""The perceptrons with dropout."""

Kernel = Literal["corrected", "released"]


def mmd_to_normal(z: Tensor, mask: Tensor, kernel: Kernel = "corrected") -> Tensor:
    """Squared maximum mean discrepancy between codes and as many fresh samples of N(0, I) (MFM, eq. 5).

    The Gaussian kernel is ``exp(-|x - y|^2 / width)``, and pairs of a sample with itself are left out: the estimate is
    unbiased, 0 on average where the codes are normal. ``released`` is the released code: ``width ** 2`` in the place of
    ``width`` and all pairs, which a collapsed code satisfies better than a normal one.

    Args:
        z: ``(batch, width)``.
        mask: ``(batch,)`` bool, the rows that count.
        kernel: which of the two.

    Returns:
        Scalar; 0 where fewer than two rows count.
    """
    corrected = kernel == "corrected"
    scale = z.shape[1] if corrected else z.shape[1] ** 2
    return mmd(torch.randn_like(z, dtype=torch.float32), z, mask, mask, scale, unbiased=corrected)


class Decoder(nn.Module):
    """An LSTM that gets a vector at its first step and its own state afterwards, and a linear map of every state.

    Its input from the second step on is its state, so ``unroll`` can step it with the sum of both matrices.
    """

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTMCell(hidden, hidden)
        self.output = nn.Linear(hidden, width)

    def projected(self, x: Tensor, steps: int) -> Tensor:
        """Return the gates' input for ``x`` (batch, hidden): ``(steps, batch, 4 * hidden)``."""
        bias = self.lstm.bias_ih + self.lstm.bias_hh
        first = (x @ self.lstm.weight_ih.t()).unsqueeze(0)
        return nn.functional.pad(first, (0, 0, 0, 0, 0, steps - 1)) + bias

    def recurrent(self) -> Tensor:
        """Return ``(4 * hidden, hidden)``."""
        return self.lstm.weight_ih + self.lstm.weight_hh


class MFM(Method):
    """Multimodal Factorization Model (Tsai et al., ICLR 2019, arXiv 1806.06176).

    An MFN makes a joint code z, an LSTM per modality a private code z_m. Perceptrons turn them into factors f and f_m;
    the label is predicted from f alone, modality m is regenerated step by step from (f, f_m). All codes are pulled to
    N(0, I) by maximum mean discrepancy. Loss: task + ``reconstruction`` per modality + ``mmd`` (summed over codes).

    Departures from the released code: kernel and estimator of the discrepancy (``kernel``), reconstruction errors are
    means over the true steps of each sample, samples without the modality left out; reconstructions and noise are
    computed in training only; the MFN has no head that nothing reads; streams are brought to one axis, on which they
    are regenerated; text and pixels are regenerated as their
    features, which get no gradient from it. The surrogate networks for
    missing modalities are not built: a missing one has the private code 0, the mean of its prior.

    Args:
        schema: what the batches hold.
        hidden: units of the MFN's LSTMs, for all modalities or by name.
        private: units of the private LSTMs and features of their codes, for all modalities or by name.
        memory: features of the MFN's memory.
        units: hidden units of the perceptrons: one number, or all of ``attention``, ``proposal``, ``retain``,
            ``update`` (of the MFN) and ``head``.
        code: features of the joint code.
        factor: features of the joint factor.
        factors: features of the private factors, for all modalities or by name.
        dropout: one number, or all of ``attention``, ``proposal``, ``retain``, ``update``, ``factors`` and ``head``.
        reconstruction: weight of the mean squared error, for all modalities or by name.
        mmd: weight of the discrepancies.
        kernel: ``corrected``, or ``released`` (see ``mmd_to_normal``).
        max_steps: longest common axis.

    Output: ``fused`` (the joint factor), ``z``; per modality n ``z_<n>`` and ``f_<n>``; in training ``error_<n>``
    (batch,), its reconstruction error.
    """

    family = "fusion"
    paper = "Tsai et al., Learning Factorized Multimodal Representations, ICLR 2019, arXiv:1806.06176"

    def __init__(
        self,
        schema: Schema,
        *,
        hidden: int | dict[str, int] = 64,
        private: int | dict[str, int] = 64,
        memory: int = 64,
        units: int | dict[str, int] = 64,
        code: int = 64,
        factor: int = 64,
        factors: int | dict[str, int] = 32,
        dropout: float | dict[str, float] = 0.2,
        reconstruction: float | dict[str, float] = 0.5,
        mmd: float = 1.0,
        kernel: Kernel = "corrected",
        max_steps: int = 50,
    ) -> None:
        super().__init__(schema)
        positive(memory=memory, code=code, factor=factor, max_steps=max_steps)
        widths, codes, parts = (
            per_modality(option, value, schema.names, positive)
            for option, value in (("hidden", hidden), ("private", private), ("factors", factors))
        )
        sizes, drops = per_part("units", units, UNITS, positive), per_part("dropout", dropout, DROPS, fraction)
        self.weights, self.mmd, self.kernel = per_modality("reconstruction", reconstruction, schema.names), mmd, kernel
        if min(mmd, *self.weights.values()) < 0:
            raise OptionError(f"mmd and reconstruction must not be negative, got {mmd} and {reconstruction}")
        self.max_steps = max_steps
        self.inputs = Inputs(schema)
        read = self.inputs.modalities
        self.joint = MemoryFusion(read, hidden=widths, memory=memory, units=sizes, dropout=drops)
        self.code = nn.Linear(self.joint.width, code)
        self.factor = Perceptron(code, factor, factor, drops["factors"])
        self.encoders = nn.ModuleDict({n: FinalState(m.width, codes[n], codes[n], 0.0) for n, m in read.items()})
        self.factors = nn.ModuleDict({n: Perceptron(codes[n], p, p, drops["factors"]) for n, p in parts.items()})
        self.decoders = nn.ModuleDict({n: Decoder(factor + parts[n], m.width) for n, m in read.items()})
        self.mix = nn.Sequential(nn.Linear(factor, sizes["head"]), nn.ReLU(), nn.Dropout(drops["head"]))
        self.heads = Heads(schema, sizes["head"])

    def forward(self, batch: Batch) -> Output:
        """Return predictions, codes and factors."""
        streams = aligned(self.inputs(batch), self.max_steps)
        z = self.code(self.joint(streams))
        fused = self.factor(z).relu()
        private = {n: self.encoders[n](s) for n, s in streams.items()}
        factors = {n: self.factors[n](code).relu() for n, code in private.items()}
        found = {"fused": fused, "z": z}
        found |= {f"z_{n}": x for n, x in private.items()} | {f"f_{n}": x for n, x in factors.items()}
        if self.training:
            found |= self.errors(streams, fused, factors)
        return Output(self.heads(self.mix(fused)), found)

    def reconstruct(self, fused: Tensor, factors: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
        """Return modality -> ``(batch, steps, width)``, generated from the joint and the private factors."""
        found = {}
        for name, decoder in self.decoders.items():
            assert isinstance(decoder, Decoder)
            projected = decoder.projected(torch.cat([fused, factors[name]], dim=1), steps)
            found[name] = decoder.output(unroll(projected, decoder.recurrent())[0].transpose(0, 1))
        return found

    def errors(self, streams: Mapping[str, Stream], fused: Tensor, factors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``error_<modality>`` (batch,): mean squared error over the sample's true steps, 0 where absent."""
        steps = next(iter(streams.values())).tensor.shape[1]
        found = {}
        for name, guess in self.reconstruct(fused, factors, steps).items():
            stream = streams[name]
            real = stream.mask & stream.present[:, None]
            found[f"error_{name}"] = masked_error(guess, stream.tensor.detach(), real)
        return found

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms and, in training, ``reconstruction/<modality>`` and ``mmd``, weighted."""
        losses = task_losses(self.schema, batch, output)
        if not self.training:
            return losses
        found = output.representations
        present = {n: s.present for n, s in batch.streams.items()}
        for name, here in present.items():
            losses[f"reconstruction/{name}"] = self.weights[name] * mean_where(found[f"error_{name}"], here)
        terms = [mmd_to_normal(found[f"z_{n}"], here, self.kernel) for n, here in present.items()]
        everything = torch.stack(list(present.values())).any(0)
        terms.append(mmd_to_normal(found["z"], everything, self.kernel))
        losses["mmd"] = self.mmd * torch.stack(terms).sum()
        return losses
