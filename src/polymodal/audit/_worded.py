"""A run that is asked in words: raw text in its batches, whatever its method reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch

from polymodal.audit.base import Judge, Said
from polymodal.core import Batch, Modality, Stream
from polymodal.data.corpus import Corpus
from polymodal.data.encode import Encoder, encoder_of

Batches = Callable[[], Iterable[Batch]]


class Worded:
    """A judge of features, asked in words: frozen encoders read the texts of every batch.

    Args:
        judge: takes what the encoders return.
        encoders: modality -> encoder of its text.
    """

    def __init__(self, judge: Judge, encoders: dict[str, Encoder]) -> None:
        self.judge, self.encoders, self.schema = judge, encoders, judge.schema
        for name in encoders:
            self.schema = self.schema.with_modality(Modality(name, "text"))

    def __call__(self, batch: Batch) -> Said:
        """Return what the judge says of the encoded batch."""
        streams = {n: _encoded(s, self.encoders[n]) if n in self.encoders else s for n, s in batch.streams.items()}
        return self.judge(replace(batch, streams=streams))


def _encoded(stream: Stream, encoder: Encoder) -> Stream:
    rows = np.flatnonzero(stream.present.numpy())
    states = encoder.encode([stream.texts[i] for i in rows]) if len(rows) else []
    lengths = torch.zeros(len(stream.present), dtype=torch.long)
    values = torch.zeros(len(lengths), max([1, *map(len, states)]), encoder.width)
    for i, row in zip(rows, states, strict=True):
        lengths[i] = len(row)
        values[i, : len(row)] = torch.from_numpy(np.ascontiguousarray(row, np.float32))
    return Stream(values, lengths, stream.present)


def worded(judge: Judge, batches: Batches, raw: Corpus, encode: dict[str, str]) -> tuple[Judge, Batches]:
    """Return a judge that reads words, and its batches.

    Args:
        judge: of a run.
        batches: of what it reads.
        raw: the same corpus before encoding.
        encode: modality -> frozen encoder, as the run has them; those of other modalities than text are left alone.
    """
    names = [n for n in encode if raw.schema.modality(n).kind == "text"]
    if not names:
        return judge, batches
    texts = {n: {i: s.columns[n][k] for s in raw.splits.values() for k, i in enumerate(s.ids)} for n in names}

    def in_words() -> Iterator[Batch]:
        for batch in batches():
            said = {n: Stream([str(texts[n][i]) for i in batch.ids], None, batch[n].present) for n in names}
            yield replace(batch, streams={n: said.get(n, s) for n, s in batch.streams.items()})

    return Worded(judge, {n: encoder_of(encode[n]) for n in names}), in_words
