"""SemanticMAC: from what is heard, seen and said to the semantics that modalities share, and what each says alone."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from polymodal.core import Batch, OptionError, Output, Schema, Stream
from polymodal.methods.base import Method, View, fraction, per_modality, positive
from polymodal.nn.contrast import cosines, weighted_contrastive
from polymodal.nn.gated import GatedInteraction
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.inputs import Inputs, as_sequence
from polymodal.nn.masking import mean_where
from polymodal.nn.own_classes import OwnClasses
from polymodal.nn.own_labels import OwnLabels
from polymodal.nn.patches import PictureEncoder
from polymodal.nn.perceiver import Perceiver
from polymodal.nn.sequence import masked_softmax
from polymodal.nn.text import TextEncoder
from polymodal.nn.windows import Windows

PROJECTED = 64
"""Features in which vectors are contrasted."""


class SemanticMAC(Method):
    """End-to-end semantic-centric affective computing on video (Lin, Zeng, Mai & Hu, 2024, arXiv 2408.07694).

    1. Towers: a transformer reads frames and text (``--encoder vision=NAME text=NAME``; else small encoders from
       scratch), another one, small, windows of sound (``window``); what comes as features enters as it is.
    2. A perceiver per modality: K tokens Z_m attend to a sequence of any length.
    3. Gated interaction (``nn.gated``) divides Z_m into shared semantics S_m and specific ones P_m; a next block reads
       S_m + P_m. Means over tokens are s_m and p_m; s is the attention-weighted sum of s_m, and ``[s; p_1; p_2; ...]``
       predicts.
    4. Labels of the specific semantics, made from that of the whole: numbers as in Self-MM (s in the place of the
       fusion), classes by prototypes (``nn.own_classes``). Predictions from p_m alone learn them, the more they differ.
    5. Contrasts of projected vectors: s_m and s_n of a sample against all its p; samples by how alike their labels
       are, for s and each p_m, of p_m its own ones.

    Loss: ``task`` + ``shared`` (prediction from s) + ``specific`` + ``intra`` + ``inter``. Only the perceiver, the
    parts 3 to 5 and their purpose are certain: equations, sizes and weights are reconstructed.

    Departures: no tower of ImageBind; sound is a log-mel spectrum that a small transformer reads, or the states of a
    frozen network (``extract --audio hf:NAME``). A pre-trained network of frames or text trains with the rest, at
    ``lr_pretrained``; to freeze it, extract or ``--encode`` its states. Pixels are the whole face, standardised by the
    training split, not three crops. Text that a transformer reads gets no positions, its states have them. A visit of
    the sample takes the place of the epoch in its labels; the temperature of prototypes is the spread of a class.
    Absent modalities are in no attention, sum or loss. Training in several processes, the memory follows the samples of
    the first one. Text is the sample's own, without the dialogue before it. As the formula has it, a modality that
    tells less than s gets numbers drawn towards the other side, whatever it shows; with vectors that are learned too,
    labels of a modality in conflict moved to what it shows in two of three runs.

    Args:
        schema: what the batches hold.
        width: features of every vector.
        tokens: K, of each modality.
        heads: attention heads; must divide ``width``.
        layers: of each perceiver and of the transformer that reads windows.
        blocks: of the interaction.
        window: steps of a window of a feature sequence, modality -> number or one for all; one begins every half
            window, and perceivers read windows in the place of steps. 100 steps of ``logmel`` are a second. 0: steps.
        part: pictures, windows and texts (of a transformer) whose activations are held at once in training; those of
            others, and of perceivers, are computed again for the gradient. 0: all are held.
        specific: weight of the specific predictions; 0 leaves every label as it is.
        intra: weight of the contrast within a sample.
        inter: weight of the contrast across samples.
        temperature: of both contrasts.
        dropout: inside perceivers and heads.

    Output: ``fused``; ``shared``, s; per modality ``s_<n>`` and ``p_<n>`` (batch, width), zero where absent.
    """

    family = "raw input"
    paper = (
        "Lin, Zeng, Mai & Hu, End-to-end Semantic-centric Video-based Multimodal Affective Computing, 2024, "
        "arXiv:2408.07694"
    )

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 64,
        tokens: int = 8,
        heads: int = 4,
        layers: int = 2,
        blocks: int = 1,
        window: int | dict[str, int] = 0,
        part: int = 32,
        specific: float = 0.5,
        intra: float = 0.1,
        inter: float = 0.1,
        temperature: float = 0.1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(schema)
        positive(width=width, tokens=tokens, heads=heads, layers=layers, blocks=blocks, temperature=temperature)
        fraction(dropout=dropout)
        if width % heads:
            raise OptionError(f"heads must divide width, got heads={heads} and width={width}")
        if min(part, specific, intra, inter) < 0:
            raise OptionError("part, specific, intra and inter must not be negative")
        self.part, self.specific, self.intra, self.inter, self.temperature = part, specific, intra, inter, temperature
        self.inputs = Inputs(schema)
        names = schema.names
        windows = per_modality("window", window if isinstance(window, int) else dict.fromkeys(names, 0) | window, names)
        self.windows, self.perceivers = nn.ModuleDict(), nn.ModuleDict()
        for n, m in self.inputs.modalities.items():
            if windows[n] and schema.modality(n).kind == "sequence":
                if windows[n] < 2:
                    raise OptionError(f"window of {n} must be 2 steps or more, or 0 for none, got {windows[n]}")
                self.windows[n] = Windows(m.width, width, steps=windows[n], heads=heads, layers=layers, dropout=dropout)
            self.perceivers[n] = Perceiver(
                width if n in self.windows else m.width,
                width,
                tokens=tokens,
                heads=heads,
                layers=layers,
                dropout=dropout,
                positions=self.inputs.transformer(n) is None,
            )
        for module in self.modules():
            if isinstance(module, PictureEncoder | TextEncoder | Windows):
                module.part = part
        looking = heads if len(names) > 1 else 0
        self.blocks = nn.ModuleList(
            nn.ModuleDict({n: GatedInteraction(width, looking) for n in names}) for _ in range(blocks)
        )
        self.score = nn.Linear(width, 1)
        self.main = _head(schema, width * (1 + len(names)), width, dropout)
        self.shared = _head(schema, width, width, dropout)
        self.memories = nn.ModuleList()
        if numbers := tuple(t for t in schema.joint_targets if t.spec.answer == "number"):
            self.memories.append(OwnLabels(replace(schema, targets=numbers), [width] * (1 + len(names))))
        if others := tuple(t for t in schema.joint_targets if t.spec.answer != "number"):
            self.memories.append(OwnClasses(others, [width] * len(names)))
        if specific:
            self.own = nn.ModuleDict({n: _head(schema, width, width, dropout) for n in names})
        if intra or inter:
            self.project = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, PROJECTED))

    def prepare(self, view: View) -> None:
        """Make room for every training sample with labels."""
        for memory in self._remembered():
            memory.fill(view.train())

    def forward(self, batch: Batch) -> Output:
        """Return predictions and the representations named above."""
        present = batch.present
        z = {n: self.perceive(n, stream) for n, stream in self.inputs(batch).items()}
        shared, specific = self.interact(z, present)
        s, p = (torch.stack([x.mean(1) for x in parts.values()], dim=1) for parts in (shared, specific))
        s, p = s * present.unsqueeze(2), p * present.unsqueeze(2)
        whole = (masked_softmax(self.score(s).squeeze(2), present).unsqueeze(1) @ s).squeeze(1)
        fused = torch.cat([whole, p.flatten(1)], dim=1)
        named = {f"{k}_{n}": x for k, xs in (("s", s), ("p", p)) for n, x in zip(z, xs.unbind(1), strict=True)}
        return Output(self.main(fused), {"fused": fused, "shared": whole, **named})

    def perceive(self, name: str, stream: Stream) -> Tensor:
        """Return the tokens of a modality (batch, tokens, width), zero where absent."""
        stream = as_sequence(stream)
        if name in self.windows:
            stream = self.windows[name](stream)
        if self.part and self.training and torch.is_grad_enabled():
            tokens: Tensor = checkpoint(self.perceivers[name], stream, use_reentrant=False)
            return tokens
        return self.perceivers[name](stream)

    def interact(self, z: dict[str, Tensor], present: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return shared and specific semantics, modality -> (batch, tokens, width) each."""
        shared, specific = z, z
        for block in self.blocks:
            assert isinstance(block, nn.ModuleDict)
            found = {n: block[n](n, z, present) for n in z}
            shared, specific = ({n: pair[i] for n, pair in found.items()} for i in (0, 1))
            z = {n: shared[n] + specific[n] for n in z}
        return shared, specific

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms and, in training, the others named above; moves the memories on."""
        losses = task_losses(self.schema, batch, output)
        if not self.training:
            return losses
        found = output.representations
        shared = task_losses(self.schema, batch, Output(self.shared(found["shared"])))
        losses |= {n.replace("task", "shared"): x for n, x in shared.items()}
        if self.intra or self.inter:
            s, p = (torch.stack([found[f"{k}_{n}"] for n in self.schema.names], dim=1) for k in ("s", "p"))
            s, p, whole = self.project(s), self.project(p), self.project(found["shared"])
            losses["intra"] = self.intra * intra_contrast(s, p, batch.present, self.temperature)
            losses["inter"] = self.inter * self.inter_contrast(batch, whole, p)
        if self.specific:
            losses["specific"] = self.specific * self.specific_loss(batch, found)
        return losses

    def _remembered(self) -> list[OwnLabels | OwnClasses]:
        return [m for m in self.memories if isinstance(m, OwnLabels | OwnClasses)]

    def inter_contrast(self, batch: Batch, whole: Tensor, p: Tensor) -> Tensor:
        """Return the contrast across samples, of ``whole`` (batch, width) by the labels and of each column of ``p``
        (batch, modalities, width) by its own labels; means over columns, sums over the two."""
        terms = []
        for memory in self._remembered():
            judged, own = memory.own(batch)
            rows = batch.present[judged]
            terms.append(weighted_contrastive(whole[judged], memory.alike(own[:, 0]), self.temperature, rows.any(1)))
            single = [
                weighted_contrastive(x, memory.alike(y), self.temperature, here) / p.shape[1]
                for x, y, here in zip(p[judged].unbind(1), own[:, 1:].unbind(1), rows.unbind(1), strict=True)
            ]
            terms += single
        return torch.stack(terms).sum() / len(self.memories)

    def specific_loss(self, batch: Batch, found: dict[str, Tensor]) -> Tensor:
        """Return the loss of predictions from p_m on their own labels, summed over modalities; moves these on."""
        own = {n: self.own[n](found[f"p_{n}"]) for n in self.schema.names}
        given = {"fused": found["shared"], **{n: found[f"p_{n}"] for n in own}}
        terms: list[Tensor] = []
        for memory in self._remembered():
            for n, predictions in own.items():
                given[f"y_{n}"] = torch.cat([predictions[t.name].view(len(batch), -1) for t in memory.targets], dim=1)
            share = (self.now.share,) if isinstance(memory, OwnClasses) else ()
            terms += memory.losses(batch, given, *share).values()
        return torch.stack(terms).sum()


def intra_contrast(s: Tensor, p: Tensor, present: Tensor, temperature: float) -> Tensor:
    """Return the mean of ``-log [e(s_m, s_n) / (e(s_m, s_n) + sum_k e(s_m, p_k))]`` over samples and ordered pairs of
    modalities that they have, e the exponential of a cosine over ``temperature``; 0 without a pair.

    Args:
        s: (batch, modalities, width), shared.
        p: the same, specific.
        present: (batch, modalities) bool.
        temperature: above 0.
    """
    alike = cosines(s, s) / temperature
    against = (cosines(s, p) / temperature).masked_fill(~present.unsqueeze(1), torch.finfo(alike.dtype).min)
    losses = torch.logaddexp(alike, against.logsumexp(2, keepdim=True)) - alike
    apart = ~torch.eye(s.shape[1], dtype=torch.bool, device=s.device)
    return mean_where(losses, present.unsqueeze(1) & present.unsqueeze(2) & apart)


def _head(schema: Schema, width_in: int, width: int, dropout: float) -> nn.Module:
    return nn.Sequential(nn.Linear(width_in, width), nn.ReLU(), nn.Dropout(dropout), Heads(schema, width))
