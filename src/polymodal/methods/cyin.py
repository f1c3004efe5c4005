"""CyIN: one informative latent space, in which what is missing is translated from what is there."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, product
from typing import Literal

import torch
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema, Stream, nearest
from polymodal.methods.base import Method, Phase, divides, fraction, positive
from polymodal.nn.axis import resample
from polymodal.nn.bottleneck import GaussianBottleneck, kl_to_standard_normal
from polymodal.nn.crossmodal import CrossModalFusion
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.inputs import Inputs, as_sequence
from polymodal.nn.masking import masked_error, mean_where
from polymodal.nn.traced import traced
from polymodal.nn.translate import CascadedTranslator
from polymodal.nn.unimodal import UnimodalHeads

KERNEL = 3
"""Steps seen by the convolution in front of the fusion transformers."""

FIELD = ("text", "audio", "vision")

Mode = Literal["mean", "sample"]
Quirk = Literal["strided", "sigmoid", "moving"]


class CyIN(Method):
    """Cyclic INformative latent space (Lin et al., NeurIPS 2025, arXiv 2602.04920): one model, whatever is missing.

    1. Every modality is brought to ``steps`` frames and encoded, frame by frame, to a Gaussian code. Token level: from
       the code of each modality every modality must be decoded, its own included (nine pairs of three). Label level:
       each code alone must predict the label.
    2. Translators between codes, one per pair of modalities and used in both directions, learn to predict a code from
       another one, and from the sum of the translations of all others, and to find the way back.
    3. Cross-modal transformers fuse the codes. In the second phase each code is, batch by batch, the real one or one of
       its translations; in evaluation a missing code is the sum of the translations from those present.

    Loss: ``task`` + ``unimodal/<n>`` + ``information`` (mean over pairs of KL / ``eta`` + squared error) +
    ``translation_weight`` * (``forward`` + ``back``). The first phase (``space``) has no translations and real codes
    only, the second (``bridge``) everything.

    Departures: padding is never read: a sample's own true frames are brought to ``steps``. Every pair draws its own
    sample of the code; with ``eval_mode`` ``mean`` half of the training batches read means in all other places. Any
    number of modalities; a single one has no translators and one phase. Where a modality is absent in training, terms
    that need it leave the sample out, its code is zero in the first phase and translated in the second. Classes are not
    weighted. The loop selects by validation and clips by norm, where the paper keeps the last epoch and clips by value.
    Defaults are the paper's for MELD, with half its layers.

    Args:
        schema: what the batches hold.
        steps: frames of every modality; at least 3.
        bottleneck: features of the hidden layer around each bottleneck, and of the code.
        eta: weight of the reconstruction against the KL; the KL's weight is 1 / eta.
        channels: of the translators' convolutions.
        blocks: residual autoencoders in a translator.
        translation_weight: of the translation losses.
        stage: share of the epochs that the first phase gets.
        width: features per step in the fusion transformers.
        heads: attention heads; must divide ``width``.
        layers: of each cross-modal transformer; memory transformers have max(layers, 3).
        dropouts: attention dropout by the name of the target modality, and ``memory``, ``embed`` and ``output``; 0
            where not named.
        quirks: what to keep of the released code: ``strided`` (frame i is the mean of frames i, i + steps, ...; without
            it, of equal stretches of time), ``sigmoid`` (ends every decoder, though targets are unbounded), ``moving``
            (what is to be decoded, and the codes that are to be translated to, train too).
        eval_mode: predict from the ``mean`` of each code, which every second training batch reads too, or from a
            ``sample`` in training and evaluation, as the released code does.

    Output: ``fused`` (batch, width'); per modality n its code ``z_<n>``, ``mean_<n>`` and ``log_variance_<n>``
    (batch, steps, code), zero where absent, and the frames ``x_<n>`` (batch, steps, its width).
    """

    family = "information bottleneck"
    paper = (
        "Lin et al., CyIN: Cyclic Informative Latent Space for Bridging Complete and Incomplete Multimodal Learning, "
        "NeurIPS 2025, arXiv:2602.04920"
    )
    drops = True

    def __init__(
        self,
        schema: Schema,
        *,
        steps: int = 50,
        bottleneck: tuple[int, int] = (64, 32),
        eta: float = 4.0,
        channels: tuple[int, ...] = (128, 64, 32),
        blocks: int = 2,
        translation_weight: float = 5.0,
        stage: float = 0.2,
        width: int = 32,
        heads: int = 8,
        layers: int = 2,
        dropouts: dict[str, float] = {  # noqa: B006 (never changed)
            "text": 0.1,
            "audio": 0.2,
            "vision": 0.4,
            "memory": 0.3,
            "output": 0.2,
        },
        quirks: tuple[Quirk, ...] = ("strided", "sigmoid", "moving"),
        eval_mode: Mode = "mean",
    ) -> None:
        super().__init__(schema)
        hidden, code = bottleneck
        positive(hidden=hidden, code=code, eta=eta, blocks=blocks, width=width, heads=heads, layers=layers)
        positive(translation_weight=translation_weight, stage=stage, channels=min(channels, default=0))
        fraction(stage=stage)
        divides(width, heads=heads)
        if steps < KERNEL:
            raise OptionError(f"steps must be at least {KERNEL}, the kernel of the fusion's convolution, got {steps}")
        self.steps, self.eta, self.stage, self.weight = steps, eta, stage, translation_weight
        self.quirks, self.eval_mode = frozenset(quirks), eval_mode
        self.inputs = Inputs(schema)
        names = schema.names
        self.encoders, self.decoders = nn.ModuleDict(), nn.ModuleDict()
        for n, m in self.inputs.modalities.items():
            self.encoders[n] = _Encoder(m.width, hidden, code)
            end = nn.Sigmoid() if "sigmoid" in quirks else nn.Identity()
            self.decoders[n] = nn.Sequential(nn.Linear(code, hidden), nn.ReLU(), nn.Linear(hidden, m.width), end)
        self.judges = UnimodalHeads(schema, names, code)
        self.pairs = list(combinations(names, 2))
        self.translators = nn.ModuleDict(
            {f"{m}+{n}": CascadedTranslator(code, channels, blocks, KERNEL) for m, n in self.pairs}
        )
        rates = _dropouts(dropouts, names)
        self.fusion = CrossModalFusion(
            names, code, width=width, heads=heads, layers=layers, kernel=KERNEL, dropouts=rates
        )
        self.heads = Heads(schema, self.fusion.width)

    def phases(self) -> list[Phase]:
        """First the space alone, then the bridges in it."""
        if not self.pairs:
            return [Phase()]
        space = Phase("space", self.stage, lambda name: not name.startswith("translators."))
        return [space, Phase("bridge", 1 - self.stage)]

    def forward(self, batch: Batch) -> Output:
        """Return predictions and the representations named above."""
        streams = self.inputs(batch)
        present = torch.stack([s.present for s in streams.values()], dim=1)
        # What is predicted from means must be trained on them: the heads err where they have only seen samples.
        sample = self.eval_mode == "sample" or (self.training and bool(torch.rand(()) < 0.5))
        found: dict[str, Tensor] = {}
        for n, stream in streams.items():
            x = self.align(stream)
            z, mean, log_variance = self.encoders[n](x, stream.present, sample)
            found |= {f"x_{n}": x, f"z_{n}": z, f"mean_{n}": mean, f"log_variance_{n}": log_variance}
        codes = {n: found[f"z_{n}"] for n in streams}
        if self.bridged and (self.training or traced() or not bool(present.all())):
            translations = self.translate(codes)
            codes = self.complete(codes, translations, present)
            found |= translations if self.training else {}
        fused = self.fusion(codes)
        return Output(self.heads(fused), {"fused": fused, **found})

    @property
    def bridged(self) -> bool:
        """Whether translations are in use: there is something to translate from, and the first phase is over."""
        return bool(self.pairs) and self.now.phase != "space"

    def align(self, stream: Stream) -> Tensor:
        """Return the frames of a modality ``(batch, steps, width)`` made from its true steps; zeros where absent.

        Strided, a sequence repeats its last step up to a multiple of ``steps``, then frame i is the mean of its steps
        i, i + ``steps``, and so on.
        """
        stream = as_sequence(stream)
        assert stream.lengths is not None
        x, lengths = stream.tensor, stream.lengths
        if "strided" not in self.quirks:
            return resample(stream, torch.full_like(lengths, self.steps), self.steps)
        rounds = (-(-lengths // self.steps)).clamp(min=1)
        if traced():
            return _shares(lengths, rounds, x.shape[1], self.steps) @ x
        most = -(-x.shape[1] // self.steps)
        index = torch.arange(most * self.steps, device=x.device).minimum((lengths - 1).clamp(min=0)[:, None])
        laps = x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[2])).unflatten(1, (most, self.steps))
        real = torch.arange(most, device=x.device) < rounds[:, None]
        return (laps * real[:, :, None, None]).sum(1) / rounds[:, None, None]

    def translate(self, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``"m->n"`` -> the code of n as translated from m's, both ways for each pair; zeros from zeros."""
        found = {}
        for m, n in self.pairs:
            both = self.translators[f"{m}+{n}"](torch.cat([codes[m], codes[n]])).unflatten(0, (2, -1))
            found[f"{m}->{n}"], found[f"{n}->{m}"] = both.unbind(0)
        return found

    def complete(
        self, codes: Mapping[str, Tensor], translations: Mapping[str, Tensor], present: Tensor
    ) -> dict[str, Tensor]:
        """Return the codes that the fusion sees: what is missing is the sum of its translations, zero if there is none.

        In training each code is drawn, once per batch, from the real one, its translations, and their sum.
        """
        here = {n: p.view(-1, 1, 1) for n, p in zip(codes, present.unbind(1), strict=True)}
        completed = {}
        for n, code in codes.items():
            single = {m: translations[f"{m}->{n}"] for m in codes if m != n}
            # Absent sources are translated to zeros, so this is the sum over those that are there.
            total = torch.stack(list(single.values())).sum(0)
            choices = [torch.where(here[n], code, total)]
            choices += [torch.where(here[m], x, total) for m, x in single.items()]
            choices += [total] if len(single) > 1 else []
            completed[n] = choices[int(torch.randint(len(choices), ()))] if self.training else choices[0]
        return completed

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms and, in training, the weighted terms named in the class's description."""
        losses = task_losses(self.schema, batch, output)
        if not self.training:
            return losses
        found = output.representations
        here = {n: s.present for n, s in batch.streams.items()}
        for n in here:
            losses[f"unimodal/{n}"] = self.judges.loss(batch, n, found[f"z_{n}"].mean(1))
        losses["information"] = self.information_loss(found, here)
        if self.bridged:
            losses["forward"], losses["back"] = (self.weight * x for x in self.translation_losses(found, here))
        return losses

    def information_loss(self, found: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> Tensor:
        """Return the mean of ``pair_loss`` over all ordered pairs."""
        return torch.stack([self.pair_loss(found, here, i, o) for i, o in product(here, repeat=2)]).mean()

    def pair_loss(self, found: Mapping[str, Tensor], here: Mapping[str, Tensor], source: str, target: str) -> Tensor:
        """Return KL / eta of the source's code + the error of the target's frames decoded from a sample of it."""
        mean, log_variance = found[f"mean_{source}"].float(), found[f"log_variance_{source}"].float()
        kl = kl_to_standard_normal(mean, log_variance).mean(1) / mean.shape[2]
        z = mean + torch.randn_like(mean) * torch.exp(log_variance / 2)
        x = found[f"x_{target}"] if "moving" in self.quirks else found[f"x_{target}"].detach()
        error = _error(self.decoders[target](z), x, here[source] & here[target])
        return mean_where(kl, here[source]) / self.eta + error

    def translation_losses(self, found: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the errors of the translations of codes, and of those translations translated back; means over
        sources, their sum, and targets."""
        back: dict[str, dict[str, Tensor]] = {n: {} for n in here}
        for m, n in self.pairs:
            both = self.translators[f"{m}+{n}"](torch.cat([found[f"{m}->{n}"], found[f"{n}->{m}"]]))
            back[m][n], back[n][m] = both.chunk(2)
        forth_terms, back_terms = [], []
        for o, returned in back.items():
            code = found[f"z_{o}"] if "moving" in self.quirks else found[f"z_{o}"].detach()
            single = {m: found[f"{m}->{o}"] for m in returned}
            forth_terms += [_error(x, code, here[m] & here[o]) for m, x in single.items()]
            back_terms += [_error(x, code, here[o]) for x in returned.values()]
            if len(single) > 1:
                everyone = torch.stack(list(here.values())).all(0)
                forth_terms.append(_error(torch.stack(list(single.values())).sum(0), code, everyone))
                back_terms.append(_error(torch.stack(list(returned.values())).sum(0), code, here[o]))
        return torch.stack(forth_terms).mean(), torch.stack(back_terms).mean()


def _shares(lengths: Tensor, rounds: Tensor, count: int, steps: int) -> Tensor:
    """Return the share of each of ``count`` steps in each frame, ``(batch, steps, count)``, as ``align`` strides them:
    by sizes alone, as a graph wants it."""
    step, frame = torch.arange(count, device=lengths.device), torch.arange(steps, device=lengths.device)[:, None]
    length = lengths[:, None, None]
    own = (step % steps == frame) & (step < length)
    repeated = (step == length - 1) & (frame >= length - (rounds[:, None, None] - 1) * steps)
    return (own.float() + repeated.float()) / rounds[:, None, None]


def _error(x: Tensor, target: Tensor, rows: Tensor) -> Tensor:
    """Mean squared error of ``x`` (batch, steps, width), in which every step counts, over samples ``rows`` (batch,)."""
    return mean_where(masked_error(x, target, rows[:, None].expand(x.shape[:2])), rows)


def _dropouts(dropouts: Mapping[str, float], names: tuple[str, ...]) -> dict[str, float]:
    """Return the rate at each place; the field's modalities may be named where they are not: a preset also serves a
    subset."""
    places = (*names, "memory", "embed", "output")
    for place in dropouts:
        if place not in (*places, *FIELD):
            raise OptionError(f"dropouts has no place {place!r}{nearest(place, places)}")
    rates = {place: dropouts.get(place, 0.0) for place in places}
    fraction(**{f"dropout of {place}": rate for place, rate in rates.items()})
    return rates


class _Encoder(nn.Module):
    """Frames ``(batch, steps, width_in)`` -> code, mean, log-variance ``(batch, steps, code)``, zero where absent."""

    def __init__(self, width_in: int, hidden: int, code: int) -> None:
        super().__init__()
        self.hidden, self.bottleneck = nn.Linear(width_in, hidden), GaussianBottleneck(hidden, code)

    def forward(self, x: Tensor, present: Tensor, sample: bool) -> list[Tensor]:
        found = self.bottleneck(torch.relu(self.hidden(x)), sample=sample)
        return [part * present.view(-1, 1, 1) for part in found]
