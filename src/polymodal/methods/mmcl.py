"""MMCL: first a robust representation of each modality, then prediction of each modality from the others."""

from __future__ import annotations

from itertools import permutations
from typing import Literal

import torch
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Output, Schema, Stream
from polymodal.core.tasks import ClassRule
from polymodal.methods.base import Seamed, fraction, positive
from polymodal.nn.augment import augment, check_augmentations
from polymodal.nn.contrast import info_nce, supervised_contrastive
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.inputs import Inputs, Projected, utterance_encoder
from polymodal.nn.sequence import Context, Pooling, SequenceEncoder

ANCHOR = "text"
"""The modality that arrives well represented: its features are never augmented, its pairs always predicted."""

HORIZON = 3
"""Steps that predictive coding looks ahead."""

Mode = Literal["contrast", "cpc"]
Coding = Literal["lstm", "gru", "transformer"]
Pairs = Literal["all", "text"]


class MMCL(Seamed):
    """Multimodal Contrastive Learning via Uni-Modal Coding and Cross-Modal Prediction (Lin & Hu, EMNLP Findings 2022).

    1. Uni-modal coding: each modality but text is contrasted with cheap augmentations of its features.
    2. Cross-modal prediction: a pseudo-siamese network predicts the representation of one modality from another; the
       prediction must match its own sample (instance task) and be close to samples of its class (sentiment task).
    3. A perceptron fuses the representations and, per modality, the mean of its predictions.

    Loss: task + ``alpha`` * coding (summed over modalities) + ``beta`` * instance (mean over pairs) + ``gamma`` *
    sentiment. The paper's equations and sizes could not be read; what its abstract leaves open is an option here.

    Text is read by attention over its tokens: a transformer's states already carry context and its first state is the
    case of all weight on one token, while hashed words become a weighted bag.

    Departures: any number of modalities; without one called ``text`` all pairs are predicted, and a single modality has
    none. A missing modality has a zero representation, is filled in the fusion by its predictions from those present,
    and takes no part in the contrasts. Vectors have no future: in mode ``cpc`` they are contrasted as well. Jitter is
    scaled by the batch, not by the training split.

    Args:
        schema: what the batches hold.
        width: features of every representation; even for recurrent contexts.
        temperature: of all contrastive terms.
        alpha: weight of uni-modal coding; 0 leaves it out.
        beta: weight of the instance task; 0 leaves it out.
        gamma: weight of the sentiment task; 0 leaves it out.
        augmentations: keys of ``nn.augment.AUGMENTATIONS``. Each modality of each batch draws two of them, each sample
            its own spans and channels.
        mode: ``contrast`` two views of a sample, or ``cpc``: from an augmented past predict the clean future.
        context: context network of sequences: bidirectional ``lstm`` or ``gru``, or a two-layer ``transformer``.
        pool: how the steps of a sequence become one vector: ``attention``, ``mean``, or ``last`` (the final states of
            both directions, an event in the middle of a clip is easily lost on the way).
        pairs: predict ``all`` ordered pairs of modalities, or only those with ``text``.
        stop_gradient: the instance task trains the prediction only, not its target.
        classes: of a regression in the sentiment task: ``round`` on [-3, 3] (7 classes) or ``sign`` around the middle.
        dropout: of the features that enter the encoders, and before the prediction heads.

    Output: ``fused``; per modality n its representation ``z_<n>`` and target projection ``u_<n>``; per pair the
    prediction of n from m ``zhat_<n>_<m>``. All are (batch, width); zero where the modality they come from is absent.
    """

    family = "contrast"
    paper = "Lin & Hu, MMCL, Findings of EMNLP 2022, arXiv:2210.14556"

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 128,
        temperature: float = 0.1,
        alpha: float = 0.1,
        beta: float = 0.1,
        gamma: float = 0.1,
        augmentations: tuple[str, ...] = ("temporal_cutoff", "feature_cutoff", "temporal_cutmix", "jitter"),
        mode: Mode = "contrast",
        context: Coding = "lstm",
        pool: Pooling = "attention",
        pairs: Pairs = "all",
        stop_gradient: bool = True,
        classes: ClassRule = "round",
        dropout: float = 0.1,
    ) -> None:
        super().__init__(schema)
        positive(width=width, temperature=temperature)
        fraction(dropout=dropout)
        texts = schema.language
        if min(alpha, beta, gamma) < 0:
            raise OptionError(f"alpha, beta and gamma must not be negative, got {alpha}, {beta} and {gamma}")
        if mode == "cpc" and context == "transformer":
            raise OptionError("mode 'cpc' needs a context that has not seen the future; use context 'lstm' or 'gru'")

        self.temperature, self.alpha, self.beta, self.gamma = temperature, alpha, beta, gamma
        self.augmentations, self.stop_gradient, self.classes = tuple(augmentations), stop_gradient, classes
        self.inputs = Inputs(schema)
        coded = [m for m in self.inputs.modalities.values() if alpha and m.name not in texts]
        check_augmentations(augmentations, coded)
        names = schema.names
        self.encoders = nn.ModuleDict(
            {
                n: _encoder(m, width, "none" if n in texts else context, "attention" if n in texts else pool, dropout)
                for n, m in self.inputs.modalities.items()
            }
        )
        self.coders = nn.ModuleDict(
            {m.name: _Future(width) if mode == "cpc" and m.kind == "sequence" else _Views(width) for m in coded}
        )
        only = ANCHOR if pairs == "text" and ANCHOR in names else None
        self.pairs = [pair for pair in permutations(names, 2) if only is None or only in pair]
        # Same topology, own weights on either side of a pair: the "pseudo" of the siamese network.
        self.projectors = nn.ModuleDict({n: _projector(width) for n in names})
        self.predictors = nn.ModuleDict({f"{m}_to_{n}": _predictor(width) for m, n in self.pairs})
        parts = len(names) * (2 if self.pairs else 1)
        self.fusion = nn.Sequential(nn.Linear(parts * width, width), nn.ReLU(), nn.Dropout(dropout))
        self.heads = Heads(schema, width)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return z per modality."""
        return {n: self.encoders[n](s) for n, s in self.inputs(batch).items()}

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return predictions and every representation named above."""
        z, here = vectors, dict(zip(vectors, present.unsqueeze(2).unbind(1), strict=True))
        u = {n: self.projectors[n](z[n]) * here[n] for n in z}
        zhat = {(m, n): self.predictors[f"{m}_to_{n}"](u[m]) * here[m] for m, n in self.pairs}
        parts = list(z.values())
        for name in z if self.pairs else ():
            sources = [m for m, n in self.pairs if n == name]
            count = torch.stack([here[m] for m in sources]).sum(0).clamp(min=1)  # (batch, 1)
            parts.append(torch.stack([zhat[m, name] for m in sources]).sum(0) / count)
        fused = self.fusion(torch.cat(parts, dim=1))
        named = {f"z_{n}": x for n, x in z.items()} | {f"u_{n}": x for n, x in u.items()}
        named |= {f"zhat_{n}_{m}": x for (m, n), x in zhat.items()}
        return Output(self.heads(fused), {"fused": fused, **named})

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms and, in training, ``uni``, ``inst`` and ``senti``, weighted."""
        losses = task_losses(self.schema, batch, output)
        if not self.training:
            return losses
        if self.coders:
            losses["uni"] = self.alpha * self.coding_loss(batch, output)
        if self.beta and self.pairs:
            terms = [self.instance_loss(batch, output, m, n) for m, n in self.pairs]
            losses["inst"] = self.beta * torch.stack(terms).mean()
        if self.gamma:
            losses["senti"] = self.gamma * self.sentiment_loss(batch, output)
        return losses

    def coding_loss(self, batch: Batch, output: Output) -> Tensor:
        """Return the sum over coded modalities of the loss between a stream and its augmented view."""
        loss = output.representations["fused"].new_zeros(())
        streams = self.inputs(batch, raw=batch.streams.keys() - self.coders.keys())
        for name, coder in self.coders.items():
            view = augment(streams[name], self.augmentations)
            z = output.representations[f"z_{name}"]
            loss = loss + coder(self.encoders[name], streams[name], view, z, self.temperature)
        return loss

    def instance_loss(self, batch: Batch, output: Output, source: str, target: str) -> Tensor:
        """Return InfoNCE of the prediction of ``target`` from ``source`` over samples that have both."""
        keys = output.representations[f"u_{target}"]
        keys = keys.detach() if self.stop_gradient else keys
        both = batch[source].present & batch[target].present
        return info_nce(output.representations[f"zhat_{target}_{source}"], keys, self.temperature, both)

    def sentiment_loss(self, batch: Batch, output: Output) -> Tensor:
        """Return the supervised contrast over all projections and predictions of the batch, averaged over targets."""
        found = output.representations
        vectors = [found[f"u_{n}"] for n in batch.streams]
        masks = [s.present for s in batch.streams.values()]
        vectors += [found[f"zhat_{n}_{m}"] for m, n in self.pairs]
        masks += [batch[m].present & batch[n].present for m, n in self.pairs]
        pooled, mask, terms = torch.cat(vectors), torch.cat(masks), []
        for target in self.schema.joint_targets:
            classes = target.spec.kinds(batch.targets[target.name], self.classes).repeat(len(vectors))
            rows = mask & batch.labelled(target.name).repeat(len(vectors))
            terms.append(supervised_contrastive(pooled, classes, self.temperature, rows))
        return torch.stack(terms).mean()


def _projector(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width))


def _predictor(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, width))


def _encoder(modality: Modality, width: int, context: Context, pool: Pooling, dropout: float) -> Projected:
    """Return the encoder of a modality: a tensor stream -> z."""
    layers, kernel = 2 if context == "transformer" else 1, 1 if context == "none" else 3
    utterance = utterance_encoder(modality, width, context=context, layers=layers, pool=pool, kernel=kernel)
    return Projected(utterance, nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width)), dropout)


class _Views(nn.Module):
    """Contrast of a sample with its augmented view, in both directions, behind a projection of half the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width // 2))

    def forward(self, encoder: Projected, stream: Stream, view: Stream, z: Tensor, temperature: float) -> Tensor:
        a, b = self.project(z), self.project(encoder(view))
        forth = info_nce(a, b, temperature, stream.present)
        return (forth + info_nce(b, a, temperature, stream.present)) / 2


class _Future(nn.Module):
    """Contrastive predictive coding (van den Oord et al., 2018): from the past of the view, the next clean latents.

    The past is the forward half of the bidirectional states; negatives are the other samples' latents of the same step.
    States and latents see as far ahead as the input convolution does, and latents as far back: the first one that is
    predicted begins where the past ends.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(nn.Linear(width // 2, width) for _ in range(HORIZON))

    def forward(self, encoder: Projected, stream: Stream, view: Stream, z: Tensor, temperature: float) -> Tensor:
        assert isinstance(encoder.utterance, SequenceEncoder)
        latents, seen = encoder.utterance.latents(stream), encoder.utterance.input.kernel_size[0]
        past = encoder.utterance.states(view)[0][..., : latents.shape[-1] // 2]
        terms = []
        for ahead, predict in enumerate(self.steps, start=seen):
            predicted = predict(past[:, :-ahead]).transpose(0, 1)  # (time - ahead, batch, width)
            true = latents[:, ahead:].transpose(0, 1)
            terms.append(info_nce(predicted, true, temperature, stream.mask[:, ahead:].T))
        return torch.stack(terms).mean()
