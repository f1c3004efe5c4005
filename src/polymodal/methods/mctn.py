"""MCTN: a code of one modality from which the others can be told, so that they are needed in training only."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema, Stream, nearest
from polymodal.methods.base import Method, positive
from polymodal.nn.axis import resample
from polymodal.nn.fast import LSTM
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.inputs import Inputs
from polymodal.nn.masking import masked_error, mean_where
from polymodal.nn.sequence import BiRecurrent, masked_softmax
from polymodal.nn.shortened import shortened

FIELD = ("text", "audio", "vision")


class MCTN(Method):
    """Multimodal Cyclic Translation Network (Pham et al., AAAI 2019, arXiv 1812.07809).

    An LSTM reads the source in both directions; a decoder that attends to its states tells the second modality, and the
    same two must tell the source again from what was told. A second LSTM reads the states of the first, and a decoder
    tells the third modality from it, and so on. The states of the last LSTM predict, through another one and attention
    over its steps. Only the source is read to predict, whatever else is there.

    Loss: task + ``translation`` * each error of a translation + ``cycle`` * that of the way back; squared errors, means
    over true steps, of samples that have both modalities.

    Departures: of the narrower of two modalities only its own features count, where others pad them with zeros, nearly
    all of the error then; decoders after the first have the width of what they tell. The decoder is an LSTM that keeps
    its state, as in the original. Other modalities are brought to the steps of the source by averaging. Any number of
    modalities; a single one has nothing to translate. Text is told as its features, which get no gradient from it.

    Args:
        schema: what the batches hold.
        hidden: units of every LSTM.
        translation: weight of the error of each translation.
        cycle: weight of the error of the way back.
        teacher: share of decoded steps after which the true step is fed, not the decoded one; 0 to 1.
        order: the source, then the modalities in the order in which they are translated to; ones not named come last.
            null for ``text``, else the first modality of kind text, else the first one, then the schema's order.
        max_steps: longest source; a longer one is averaged down to it.

    Output: ``fused`` (batch, hidden); in training ``error_<n>`` (batch,) for every translated modality, and for the
    source if ``cycle`` is above 0.
    """

    family = "missing and noisy input"
    paper = (
        "Pham et al., Found in Translation: Learning Robust Joint Representations by Cyclic Translations Between "
        "Modalities, AAAI 2019, arXiv:1812.07809"
    )
    kinds = frozenset({"sequence", "vector", "text"})  # what is told is features, not what an encoder learns
    handles_absence = False

    def __init__(
        self,
        schema: Schema,
        *,
        hidden: int = 32,
        translation: float = 0.1,
        cycle: float = 0.1,
        teacher: float = 0.5,
        order: tuple[str, ...] | None = None,
        max_steps: int = 50,
    ) -> None:
        super().__init__(schema)
        positive(hidden=hidden, max_steps=max_steps)
        if min(translation, cycle) < 0:
            raise OptionError(f"translation and cycle must not be negative, got {translation} and {cycle}")
        if not 0 <= teacher <= 1:
            raise OptionError(f"teacher must be 0 to 1, got {teacher}")
        self.order = ordered(schema, order)
        self.translation, self.cycle, self.teacher, self.max_steps = translation, cycle, teacher, max_steps
        self.inputs = Inputs(schema)
        widths = [self.inputs.modalities[n].width for n in self.order]
        # The first encoder and decoder work both ways, so they have the width of the wider one.
        both = max(widths[:2])
        levels = max(1, len(widths) - 1)
        self.encoders = nn.ModuleList(
            BiRecurrent("lstm", hidden if i else both, hidden, layers=1, dropout=0.0) for i in range(levels)
        )
        told = [both, *widths[2:]] if widths[1:] else []
        self.decoders = nn.ModuleDict({n: _Decoder(hidden, w) for n, w in zip(self.order[1:], told, strict=True)})
        self.both = both
        self.rnn, self.score = LSTM(hidden, hidden, batch_first=True), nn.Linear(hidden, 1)
        self.heads = Heads(schema, hidden)

    def forward(self, batch: Batch) -> Output:
        """Return predictions and the representations named above."""
        streams = {n: _as_sequence(s) for n, s in self.inputs(batch).items()}
        source = shortened(streams[self.order[0]], self.max_steps)
        assert source.lengths is not None
        codes = self.encode(source.tensor, source.lengths)
        states = self.rnn(codes[-1][0])[0]
        weights = masked_softmax(self.score(states).squeeze(-1).tanh(), source.mask)
        fused = (weights.unsqueeze(1) @ states).squeeze(1)
        found = {"fused": fused}
        if self.training and self.decoders:
            found |= self.errors(source, streams, codes)
        return Output(self.heads(fused), found)

    def encode(self, x: Tensor, lengths: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return of every encoder its states ``(batch, time, hidden)`` and the last ones ``(batch, hidden)``."""
        found, x = [], F.pad(x, (0, self.both - x.shape[2]))
        for encoder in self.encoders:
            x, last = (y.unflatten(-1, (2, -1)).sum(-2) for y in encoder(x, lengths))
            found.append((x, last))
        return found

    def translate(
        self, source: Stream, truth: Mapping[str, Tensor], codes: list[tuple[Tensor, Tensor]]
    ) -> dict[str, Tensor]:
        """Return modality -> ``(batch, time, its width)`` as told from the source; the source as told on the way back.

        Args:
            source: the source.
            truth: every modality on the time axis of the source.
            codes: of the source, as ``encode`` returns them.
        """
        assert source.lengths is not None
        found = {
            n: decoder(*code, source.mask, truth[n], self.teacher)
            for (n, decoder), code in zip(self.decoders.items(), codes, strict=True)
        }
        if self.cycle:
            name, second = self.order[:2]
            back = self.encode(found[second] * source.mask.unsqueeze(-1), source.lengths)[0]
            found[name] = self.decoders[second](*back, source.mask, truth[name], self.teacher)
        return found

    def errors(
        self, source: Stream, streams: Mapping[str, Stream], codes: list[tuple[Tensor, Tensor]]
    ) -> dict[str, Tensor]:
        """Return ``error_<n>`` (batch,): mean squared error of what was told over true steps."""
        assert source.lengths is not None
        steps, mask = source.tensor.shape[1], source.mask
        truth = {n: resample(s, source.lengths, steps).detach() for n, s in streams.items() if n != self.order[0]}
        truth[self.order[0]] = source.tensor.detach()
        return {f"error_{n}": masked_error(x, truth[n], mask) for n, x in self.translate(source, truth, codes).items()}

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms and, in training, ``translation/<n>`` and ``cycle``, weighted."""
        losses = task_losses(self.schema, batch, output)
        source, *others = self.order
        found, here = output.representations, {n: s.present for n, s in batch.streams.items()}
        for n in others:
            if f"error_{n}" in found:
                both = here[source] & here[n]
                losses[f"translation/{n}"] = self.translation * mean_where(found[f"error_{n}"], both)
        if f"error_{source}" in found:
            losses["cycle"] = self.cycle * mean_where(found[f"error_{source}"], here[source] & here[others[0]])
        return losses


class _Decoder(nn.Module):
    """An LSTM that attends to the encoder's states and tells frame after frame (Bahdanau et al., ICLR 2015)."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.start, self.ask, self.look = (nn.Linear(hidden, hidden, bias=False) for _ in range(3))
        self.score = nn.Linear(hidden, 1, bias=False)
        self.cell = nn.LSTMCell(width + hidden, hidden)
        self.output = nn.Linear(2 * hidden, width)

    def forward(self, states: Tensor, last: Tensor, mask: Tensor, truth: Tensor, teacher: float) -> Tensor:
        """Return ``(batch, time, width')`` for a ``truth`` of that shape, which is fed after a share of the steps.

        Args:
            states: of the encoder, ``(batch, steps, hidden)``.
            last: its last ones, ``(batch, hidden)``.
            mask: where ``states`` count, ``(batch, steps)`` bool.
            truth: what is to be told; narrower than this decoder, it is the first of its features.
            teacher: share of steps after which the truth is fed.
        """
        size = truth.shape[2]
        keys, h = self.look(states), self.start(last).tanh()
        c, frame = torch.zeros_like(h), truth.new_zeros(len(truth), self.width)
        frames = []
        for true in truth.unbind(1):
            scores = self.score((keys + self.ask(h).unsqueeze(1)).tanh()).squeeze(-1)
            context = (masked_softmax(scores, mask).unsqueeze(1) @ states).squeeze(1)
            h, c = self.cell(torch.cat([frame, context], dim=1), (h, c))
            told = self.output(torch.cat([h, context], dim=1))[:, :size]
            frames.append(told)
            frame = F.pad(true if torch.rand(()).item() < teacher else told, (0, self.width - size))
        return torch.stack(frames, dim=1)


def ordered(schema: Schema, order: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return all modalities, those named in ``order`` first; the field's may be named where they are not: a preset also
    serves a subset."""
    for name in order or ():
        if name not in (*schema.names, *FIELD):
            raise OptionError(f"order names {name!r}{nearest(name, schema.names)}")
    named = [n for n in order or (schema.anchor,) if n in schema.names]
    return tuple(dict.fromkeys([*named, *schema.names]))


def _as_sequence(stream: Stream) -> Stream:
    # Not nn.inputs.as_sequence: an absent vector is read as the zeros it is, as an absent source has to be.
    if stream.lengths is not None:
        return stream
    return Stream(stream.tensor.unsqueeze(1), torch.ones_like(stream.present, dtype=torch.long), stream.present)
