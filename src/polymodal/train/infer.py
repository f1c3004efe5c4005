"""A method applied to a split: predictions, losses, representations."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polymodal.core import Batch, Output, Schema
from polymodal.core.tasks import Similarity
from polymodal.methods.base import Method

Columns = dict[str, np.ndarray[Any, Any]]


@torch.no_grad()
def infer(
    method: Method,
    batches: Iterable[Batch],
    *,
    absent: Collection[str] = (),
    keep: Collection[str] = (),
) -> tuple[Columns, dict[str, float], dict[str, np.ndarray[Any, Any]]]:
    """Run ``method`` in evaluation mode.

    Args:
        batches: the samples.
        absent: modalities to remove first.
        keep: names of representations to return.

    Returns:
        prediction columns as in ``core.Scores``, mean losses over samples (of a task over those with a label), kept
        representations.
    """
    device = next((p.device for p in (*method.parameters(), *method.buffers())), torch.device("cpu"))
    was_training = method.training
    method.eval()
    parts: list[dict[tuple[str, str], Tensor]] = []
    ids: list[str] = []
    sums: dict[str, tuple[Tensor, Tensor]] = {}
    for batch in batches:
        batch = batch.to(device).without(*absent) if absent else batch.to(device)
        output = method(batch)
        losses = method.losses(batch, output)
        judged = _judged(method.schema, batch)
        for name, loss in losses.items():
            weight = judged.get(name, len(batch))
            total, count = sums.get(name, (torch.zeros((), device=device),) * 2)
            sums[name] = total + loss.detach() * weight, count + weight
        ids += batch.ids
        parts.append(_columns(method.schema, batch, output) | {("~", n): output.representations[n] for n in keep})
    merged = {key: _numpy(torch.cat([part[key] for part in parts])) for key in (parts[0] if parts else ())}
    columns = {"id": np.asarray(ids)}
    for target in method.schema.joint_targets if parts else ():
        own = {column: values for (name, column), values in merged.items() if name == target.name}
        own = target.spec.finish(own, _similarity(method, device))
        columns |= {f"{target.name}/{column}": values for column, values in own.items()}
    method.train(was_training)
    means = {n: float(total / count.clamp(min=1)) for n, (total, count) in sums.items()}
    return columns, means, {n: merged["~", n] for n in keep}


def _judged(schema: Schema, batch: Batch) -> dict[str, Tensor]:
    """Return for the loss of each task, as ``nn.heads.task_losses`` names it, how many samples it is the mean of."""
    targets = schema.joint_targets
    names = ["task"] if len(targets) == 1 else [f"task/{t.name}" for t in targets]
    return {name: batch.labelled(t.name).sum() for name, t in zip(names, targets, strict=True)}


def _columns(schema: Schema, batch: Batch, output: Output) -> dict[tuple[str, str], Tensor]:
    """Return (target, column) -> what one batch adds to it."""
    found = {}
    for target in schema.joint_targets:
        found[target.name, "true"] = batch.targets[target.name]
        for column, values in target.spec.columns(output.predictions[target.name].float()).items():
            found[target.name, column] = values
        if f"{target.name}/radius" in output.representations:
            found[target.name, "radius"] = output.representations[f"{target.name}/radius"]
    return found


def _numpy(values: Tensor) -> np.ndarray[Any, Any]:
    return (values.float() if values.is_floating_point() else values).cpu().numpy()


def _similarity(method: Method, device: torch.device) -> Similarity:
    """Return the method's similarity as a function of arrays."""

    def similarity(queries: np.ndarray[Any, Any], candidates: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return _numpy(method.similarity(*(torch.from_numpy(x).to(device) for x in (queries, candidates))))

    return similarity
