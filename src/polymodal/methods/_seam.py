"""Methods around a method with a seam, that act between its encoding and its fusing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from polymodal.core import Batch, OptionError, Output, Schema, Stream
from polymodal.methods._subsets import evaluating
from polymodal.methods._wrapper import Wrapper
from polymodal.methods.base import Seamed

ENCODED = "encoded/"
"""Begins the names of representations that are the vectors at the seam."""


class SeamedWrapper(Seamed, Wrapper):
    """Base of wrappers that look at the vectors of the modalities, or fuse them again.

    It has the seam of its base, so that one may stand around another. Every output holds the vectors that were fused,
    as ``encoded/<modality>``.

    Args:
        schema: what the batches hold.
        base: the method, an id or ``file.py:Class``.
        base_options: its options; what is not given has its default.

    Attributes:
        widths: features of each modality's vector.

    Raises:
        OptionError: a base without a seam, or one that is solved in closed form.
    """

    base: Seamed

    def __init__(self, schema: Schema, base: str, base_options: dict[str, Any]) -> None:
        super().__init__(schema, base, base_options)
        me = type(self).__name__
        if not isinstance(self.base, Seamed) and isinstance(self.base, Wrapper):
            raise OptionError(f"{me} cannot look into {base!r}; turn them round: {base!r} around {me}")
        if not isinstance(self.base, Seamed):
            raise OptionError(
                f"base {base!r} has no seam: it makes no vector of one modality that the others have no part in, which "
                f"is what {me} works on; choose a base such as late-fusion, mmcl or misa"
            )
        if type(self.base).forward is not Seamed.forward:
            raise OptionError(
                f"base {base!r} does more in training than to encode and to fuse, which {me} would leave out; choose a "
                "base such as late-fusion, mmcl or misa"
            )
        with torch.no_grad(), evaluating(self.base):
            self.widths = {n: v.shape[1] for n, v in self.base.encode(_blank(schema)).items()}

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return the base's vectors."""
        return self.base.encode(batch)

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return what ``fused`` returns, and the vectors."""
        output = self.fused(vectors, present)
        return Output(output.predictions, output.representations | {ENCODED + n: v for n, v in vectors.items()})

    def fused(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return what the base makes of the vectors; what a subclass changes."""
        return self.base.fuse(vectors, present)

    def vectors(self, output: Output) -> dict[str, Tensor]:
        """Return the vectors that an output was fused from."""
        return {n: output.representations[ENCODED + n] for n in self.schema.names}


def _blank(schema: Schema) -> Batch:
    """Return one sample with every modality present and a single step of zeros, or one word."""
    there, streams = torch.ones(1, dtype=torch.bool), {}
    for m in schema.modalities:
        shape = m.shape or (m.width,)
        if m.kind == "text":
            streams[m.name] = Stream(["."], None, there)
        elif m.kind in ("vector", "image"):
            streams[m.name] = Stream(torch.zeros(1, *shape), None, there)
        else:
            streams[m.name] = Stream(torch.zeros(1, 1, *shape), torch.ones(1, dtype=torch.long), there)
    return Batch(streams, {}, ["blank"])
