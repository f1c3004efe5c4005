"""One part of a corpus: columns of features and labels, and how plain arrays become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from polymodal.core import DataError, Modality, Schema, nearest
from polymodal.data import ratings as rated
from polymodal.data.columns import About, as_array, checked_about, name_of, text_of
from polymodal.data.pixels import at_rest, pixel_row
from polymodal.data.ragged import Array, Ragged


class Texts(Protocol):
    """A column of strings: a list, or an Arrow column read on demand."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> str: ...


Column = Ragged | Texts


@dataclass(frozen=True)
class Split:
    """One part of a corpus (train, valid, test, ...), all columns of equal length.

    Attributes:
        ids: name of each sample, unique within the corpus.
        columns: modality name -> strings (text) or Ragged (the other kinds; pixels are uint8, an image is one step).
        present: modality name -> (rows,) bool; an absent row has length 0 (an empty string).
        targets: target name -> labels as described in ``core.Batch``.
        groups: what must not be shared between splits (video, speaker, case), one per sample; empty if unknown.
        domains: number of each sample's domain in ``Schema.domains``; None where the schema has none.
        ratings: target -> rater -> what this rater said, ``(rows,)`` float32 (numbers, or class numbers), NaN where
            nothing; empty where single raters are not known.
        about: what is known of samples beside (sex, age, site), by column, "" where nothing. No model reads it, and it
            is no part of the corpus's hash.
    """

    ids: Sequence[str]
    columns: dict[str, Column]
    present: dict[str, Array]
    targets: dict[str, Array]
    groups: Sequence[str] = ()
    domains: Array | None = None
    ratings: rated.Ratings = field(default_factory=dict)
    about: About = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def with_groups(self, columns: dict[str, Array]) -> dict[str, Array]:
        """Return prediction columns, which name samples of this split in ``id``, with the column ``group`` if known."""
        if not len(self.groups):
            return columns
        known = dict(zip(self.ids, self.groups, strict=True))
        return columns | {"group": np.array([known[str(i)] for i in columns["id"]], dtype=str)}

    def select(self, rows: Sequence[int] | Array) -> Split:
        """Return a copy that holds only ``rows``, in that order."""
        return self._chosen(rows, Ragged.select)

    def view(self, rows: Sequence[int] | Array) -> Split:
        """Return only ``rows``, in that order; features are shared, not copied."""
        return self._chosen(rows, Ragged.view)

    def _chosen(self, rows: Sequence[int] | Array, take: Callable[[Ragged, list[int]], Ragged]) -> Split:
        chosen = [int(r) for r in rows]
        return Split(
            [self.ids[r] for r in chosen],
            {n: take(c, chosen) if isinstance(c, Ragged) else [c[r] for r in chosen] for n, c in self.columns.items()},
            {n: p[chosen] for n, p in self.present.items()},
            {n: t[chosen] for n, t in self.targets.items()},
            [self.groups[r] for r in chosen] if len(self.groups) else (),
            None if self.domains is None else self.domains[chosen],
            rated.selected(self.ratings, chosen),
            {n: [values[r] for r in chosen] for n, values in self.about.items()},
        )

    @classmethod
    def joined(cls, parts: Sequence[Split]) -> Split:
        """Return the rows of ``parts``, one or more of one schema, one after another; features are shared."""
        columns: dict[str, Column] = {}
        for name in parts[0].columns:
            pieces = [p.columns[name] for p in parts]
            if isinstance(pieces[0], Ragged):
                columns[name] = Ragged([chunk for piece in pieces for chunk in piece.chunks])  # type: ignore[union-attr]
            else:
                columns[name] = [piece[i] for piece in pieces for i in range(len(piece))]  # type: ignore[misc]
        domains = [p.domains for p in parts if p.domains is not None]
        told = dict.fromkeys(name for p in parts for name in p.about)
        return cls(
            [i for p in parts for i in p.ids],
            columns,
            {n: np.concatenate([p.present[n] for p in parts]) for n in parts[0].present},
            {n: np.concatenate([p.targets[n] for p in parts]) for n in parts[0].targets},
            [g for p in parts for g in p.groups],
            np.concatenate(domains) if domains else None,
            rated.joined([(p.ratings, len(p)) for p in parts]),
            {n: [v for p in parts for v in p.about.get(n) or [""] * len(p)] for n in told},
        )


def build_split(
    schema: Schema,
    ids: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    targets: Mapping[str, Any],
    groups: Sequence[str] = (),
    present: Mapping[str, Any] | None = None,
    domains: Sequence[str] | None = None,
    ratings: Mapping[str, Mapping[str, Any]] | None = None,
    about: Mapping[str, Sequence[Any]] | None = None,
) -> Split:
    """Make a split from plain arrays: what readers and users call.

    Args:
        columns: per modality, one ``(time, width)`` array per sample (sequence), one ``(width,)`` array per sample
            (vector), one string per sample (text), one uint8 array ``(channels, height, width)`` (image) or ``(time,
            channels, height, width)`` (frames). An image, also one of several frames, may be a PNG or JPEG instead: its
            bytes or path. None, a sequence without steps and an empty string mean absent; so does a float as text,
            which is how tables write a missing one.
        targets: per target, labels as described in ``core.Batch``; NaN, None or -1 where one is not known. A target
            that is not there has the label that its raters give it.
        present: per modality, optional bool per sample that overrides the rule above.
        domains: per sample one of ``schema.domains``; needed where the schema has any.
        ratings: target -> rater -> one label per sample, NaN or None where this rater said nothing. Together they say
            their mean, or the class that most of them name; where two are named as often, the label is not known.
        about: column -> what is known of each sample beside (sex, age), text or numbers, None or "" where nothing.

    Non-finite features become 0 (the field's rule for the -inf of COVAREP); a row with no finite value at all becomes
    absent.

    Raises:
        DataError: lengths that disagree, a wrong width, shape or type, a broken image, a label that cannot be; names
            the sample and the modality or target.
    """
    out: dict[str, Column] = {}
    there: dict[str, Array] = {}
    forced = present or {}
    for name in forced:
        schema.modality(name)
    for modality in schema.modalities:
        if modality.name not in columns:
            raise DataError(
                f"there is no column {modality.name!r}, a modality of the schema{nearest(modality.name, columns)}"
            )
        rows = columns[modality.name]
        chosen = np.atleast_1d(np.asarray(forced.get(modality.name, np.ones(len(ids), bool)), dtype=bool))
        for what, size in ((modality.name, len(rows)), (f"present of {modality.name}", len(chosen))):
            if size != len(ids):
                raise DataError(f"{what} has {size} rows for {len(ids)} ids; every sample needs one row")
        if modality.kind == "text":
            texts = [
                (text_of(r, f"sample {i!r}: {modality.name}") or "") if keep else ""
                for r, keep, i in zip(rows, chosen, ids, strict=True)
            ]
            out[modality.name], there[modality.name] = texts, np.array([bool(t.strip()) for t in texts], dtype=bool)
        else:
            row_of = pixel_row if modality.shape else _clean
            clean = [row_of(r if keep else None, modality, i) for r, keep, i in zip(rows, chosen, ids, strict=True)]
            column = Ragged.from_rows(clean, *at_rest(modality))
            out[modality.name], there[modality.name] = column, column.lengths > 0
    said = rated.checked(schema, ratings or {}, ids)
    given = rated.labels_of(schema, targets, said)
    labels = {t.name: t.spec.labels(given[t.name], ids) for t in schema.targets}
    names = [name_of(i, f"the id of sample {row}") for row, i in enumerate(ids)]
    if len(groups) not in (0, len(ids)):
        raise DataError(f"there are {len(groups)} groups for {len(ids)} ids; every sample needs one, or none has any")
    owners = [name_of(g, f"the group of sample {row}") for row, g in enumerate(groups)]
    return Split(
        names, out, there, labels, owners, _domains(schema, ids, domains), said, checked_about(about or {}, ids)
    )


def _domains(schema: Schema, ids: Sequence[str], domains: Sequence[str] | None) -> Array | None:
    """Return the number of each sample's domain."""
    if not schema.domains:
        return None
    if domains is None or len(domains) != len(ids):
        raise DataError(f"{len(domains or ())} domains for {len(ids)} samples; every sample needs one")
    for domain, sample in zip(domains, ids, strict=True):
        if domain not in schema.domains:
            raise DataError(f"sample {sample!r} has the unknown domain {domain!r}{nearest(domain, schema.domains)}")
    return np.array([schema.domains.index(d) for d in domains], dtype=np.int64)


def _clean(row: Any, modality: Modality, sample: str) -> Array:
    """Return ``row`` as finite float32 ``(time, width)``; no steps where nothing is finite."""
    empty = np.zeros((0, modality.width), np.float32)
    if row is None:
        return empty
    values = as_array(row, f"sample {sample!r}: {modality.name}")
    if modality.kind == "vector":
        values = values[None] if values.ndim == 1 else values
    if values.ndim != 2 or values.shape[1] != modality.width or (modality.kind == "vector" and len(values) > 1):
        wanted = f"({'1' if modality.kind == 'vector' else 'time'}, {modality.width})"
        raise DataError(f"sample {sample!r}: {modality.name} has shape {values.shape}, expected {wanted}")
    finite = np.isfinite(values)
    if finite.all():
        return values
    return np.where(finite, values, np.float32(0)) if finite.any() else empty
