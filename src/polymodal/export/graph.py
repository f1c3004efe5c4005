"""What a run says, as one module from raw features to the mean of its members."""

from __future__ import annotations

import logging
from contextlib import redirect_stderr
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Schema, Stream
from polymodal.core.schema import ENCODED
from polymodal.data.standardise import CLIP, Normalizer
from polymodal.export.recurrent import exportable
from polymodal.nn.traced import tracing
from polymodal.train.run import Run


def input_names(schema: Schema) -> list[str]:
    """Return the inputs of the graph in order: each modality's values, lengths if it has steps, and presence.

    A modality's name holds no dot, so that ``audio.lengths`` is no other modality.
    """
    return [f"{m.name}{part}" for m in schema.modalities for part in _parts(m)]


def _parts(modality: Modality) -> tuple[str, ...]:
    return ("", ".lengths", ".present") if modality.kind == "sequence" else ("", ".present")


LEAST = 8
"""Steps that every sequence is padded to at least. Where one step were allowed, sizes after a convolution could be 1,
and torch decides by that in many places; what stands behind a sample's length changes no answer."""


class Graph(nn.Module):
    """The mean of the members of a run, to be traced.

    Args:
        run: with finished seeds.

    Raises:
        OptionError: a modality that is raw, or a target that a single sample says nothing about.
        RunError: weights or statistics that cannot be read.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.schema = run.schema
        _check(run)
        self.members = nn.ModuleList(exportable(run.method(m.seed, m.fold)) for m in run.members)
        known = {fold: _Scale(run.normalizer_of(fold)) for fold in run.folds}
        self.scales = nn.ModuleList(known[m.fold] for m in run.members)
        self.requires_grad_(False).eval()

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return for each joint target ``(batch,)`` values, or ``(batch, classes)`` probabilities.

        Args:
            tensors: as ``input_names`` has them: float32 ``(batch, time, width)`` or ``(batch, width)``, int64
                ``(batch,)``, bool ``(batch,)``. Time is at least ``LEAST``; what stands behind a sample's length does
                not matter.
        """
        given = dict(zip(input_names(self.schema), tensors, strict=True))
        streams = {}
        for name in self.schema.names:
            present, lengths = given[f"{name}.present"], given.get(f"{name}.lengths")
            if lengths is not None:
                lengths = torch.where(present, lengths, torch.zeros_like(lengths))
            streams[name] = Stream(given[name], lengths, present)
        outputs = [
            member(Batch({n: scale(n, s) for n, s in streams.items()}, {}, [])).predictions
            for member, scale in zip(self.members, self.scales, strict=True)
        ]
        return tuple(
            torch.stack([t.spec.columns(o[t.name])[t.spec.averaged] for o in outputs]).mean(0)
            for t in self.schema.joint_targets
        )

    def example(self) -> tuple[tuple[Tensor, ...], tuple[dict[int, Any], ...]]:
        """Return inputs to trace with, no two sizes alike, and which of their axes may have any size."""
        samples, inputs, axes = 3, [], []
        batch = torch.export.Dim("batch")
        for number, modality in enumerate(self.schema.modalities):
            steps = LEAST + 3 + 2 * number
            sequence = modality.kind == "sequence"
            shape = (samples, steps, modality.width) if sequence else (samples, modality.width)
            inputs.append(torch.randn(shape, generator=torch.Generator().manual_seed(number)))
            axes.append({0: batch, 1: torch.export.Dim(f"steps_{number}", min=LEAST)} if sequence else {0: batch})
            if sequence:
                inputs.append(torch.arange(steps - samples + 1, steps + 1))
                axes.append({0: batch})
            inputs.append(torch.ones(samples, dtype=torch.bool))
            axes.append({0: batch})
        return tuple(inputs), tuple(axes)


class _Scale(nn.Module):
    """``data.standardise`` as part of a graph; zeros behind each sample, also in modalities left as they are."""

    def __init__(self, normalizer: Normalizer) -> None:
        super().__init__()
        self.known = frozenset(normalizer.mean)
        for name in normalizer.mean:
            self.register_buffer(f"mean_{name}", torch.from_numpy(normalizer.mean[name]))
            self.register_buffer(f"std_{name}", torch.from_numpy(normalizer.std[name]))

    def forward(self, name: str, stream: Stream) -> Stream:
        x = stream.tensor
        if name in self.known:
            x = ((x - self.get_buffer(f"mean_{name}")) / self.get_buffer(f"std_{name}")).clamp(-CLIP, CLIP)
        real = stream.mask if stream.lengths is None else stream.mask.unsqueeze(-1)
        return Stream(torch.where(real, x, torch.zeros(())), stream.lengths, stream.present)


def _check(run: Run) -> None:
    """Raise OptionError for what no graph can take in or say."""
    for modality in run.schema.modalities:
        if modality.kind in ENCODED:
            remedy = (
                f"fit with frozen features, for example --encode {modality.name}=ENCODER, and export that run"
                if modality.kind == "text"
                else "fit on features of it, and export that run"
            )
            raise OptionError(
                f"{run.path} reads raw {modality.kind} ({modality.name!r}) with an encoder that trained with the "
                f"method, which is not exported; {remedy}"
            )
    for target in run.schema.joint_targets:
        if target.spec.answer == "match":
            raise OptionError(
                f"{run.path} finds samples for samples ({target.task} {target.name!r}), which one graph cannot"
            )


def onnx_program(graph: Graph) -> torch.onnx.ONNXProgram:
    """Return ``graph`` as an ONNX program.

    Raises:
        OptionError: torch cannot write one of its operations, or its sizes follow from values.
    """
    inputs, axes = graph.example()
    names = [t.name for t in graph.schema.joint_targets]
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # private operations of torch
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # it warns of a package that no method needs
    try:
        # Where it fails, torch prints all that it has traced; the error says it in a sentence.
        with torch.no_grad(), tracing(), redirect_stderr(StringIO()):
            traced = torch.export.export(
                graph, inputs, dynamic_shapes=(axes,), strict=False, prefer_deferred_runtime_asserts_over_guards=True
            )
            program = torch.onnx.export(
                traced,
                input_names=input_names(graph.schema),
                output_names=names,
                dynamo=True,
                verbose=False,
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        log.setLevel(level)
    assert program is not None
    return program
