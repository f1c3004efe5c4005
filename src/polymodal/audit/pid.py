"""Partial information decomposition: what two modalities say about the label together, alone, and only jointly."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import combinations

import numpy as np

from polymodal.audit._choices import classes_of, middle
from polymodal.audit._codes import Codes, Readers, kinds_of
from polymodal.audit._pooled import pooled
from polymodal.audit.base import Evidence, Findings, Judge, check_subsets, interval
from polymodal.core import Batch, DataError, Target, numpy_rng
from polymodal.data.ragged import Array
from polymodal.score.information import entropy
from polymodal.score.intervals import Blocks
from polymodal.score.statistics import Statistic

FEWEST = 100
"""Samples below which so many kinds cannot be counted."""

EXACT = 0.001
"""Bits that an interval is wide at least."""

MARGIN = 0.02
"""Bits below which information is next to nothing: what shuffled labels of a few hundred samples may give."""

NAMES = ("redundant", "only {0}", "only {1}", "synergy")


class Pid:
    """How the information about the label is shared between modalities (Liang et al., NeurIPS 2023, arXiv 2302.12247),
    and what can be said of synergy where no labelled sample has both (Liang et al., ICLR 2024, arXiv 2306.04539).

    For each pair of modalities: redundant (either says it), unique (one says it), synergy (only both together do), of
    the labels and of what the judge answers. The mathematics is in ``score.decomposition``. R, U1 and U2 follow from
    p(x1,y) and p(x2,y), and these from how the label is distributed given x1, and given x2; so each source may be
    replaced by its classifier's probabilities. A classifier of each source and one of both (linear or a kernel ridge,
    whichever is better, on up to 32 principal components of time means) predict every sample from folds that lack its
    group; what they say is told apart in kinds by k-means; tables of kinds and labels go into the exact program. There
    are 6 kinds, with more classes as many as classes, but one for each 40 samples at most beyond 6. What tables of so
    many cells show where there is nothing (Miller, 1955) is taken off, by drawing them towards independence. Intervals
    take the program to first order, by its multipliers, instead of solving it without each block of groups.

    Departures: the papers cluster the features themselves, 20 kinds a modality, which for a thousand samples finds
    synergy in noise; or train an alignment network. Bounds: the lower ones hold for the kinds and so for what they are
    made from; the upper one is H(Y) - R - U1 - U2, as that of the papers is for features of which no two are alike. A
    number becomes low or high (sentiment: above the middle of the scale).
    """

    def run(self, judge: Judge, batches: Callable[[], Iterable[Batch]]) -> Findings:
        """Ask; DataError for one modality, too few samples, labels that are all one."""
        check_subsets(judge.schema)
        target = judge.schema.joint_targets[0]
        if len(judge.schema.names) < 2:
            raise DataError(f"there is only {judge.schema.names[0]}: two modalities are needed to share information")
        data = pooled(batches, target)
        centre = middle(target, data.true) if len(data.true) else 0.0
        labels = classes_of(target, data.true, centre)
        _check(target, labels)
        readers = Readers(data.features, data.groups)
        kinds = {"labels": labels, "answers": classes_of(target, _answers(judge, target, batches, data.ids), centre)}
        evidence: list[Evidence] = []
        found: list[str] = []
        samples: dict[str, list[object]] = {"id": list(data.ids)}
        for a, b in combinations(judge.schema.names, 2):
            for what, y in kinds.items():
                if len(np.unique(y)) < 2:
                    found.append(
                        f"The model gives one and the same answer to all samples; {a} and {b} say nothing of it."
                    )
                    continue
                codes = readers.codes(a, b, y)
                lines = _lines(codes, a, b, what, data.groups)
                evidence += lines
                samples |= {f"{what}/{n}": getattr(codes, k).tolist() for n, k in ((a, "first"), (b, "second"))}
                samples[f"{what}/{a}+{b}"] = codes.both.tolist()
                if what == "labels":
                    found += _words(codes, a, b, [line.value for line in lines])
        orders = (", in the labels", ", in the answers of the model", "")
        evidence.sort(key=lambda line: [o in line.part for o in orders].index(True))  # pairs are compared
        uncertain = entropy(np.bincount(labels) / len(labels))
        notes = [
            f"To know {target.name} for certain takes {uncertain:.3f} bit a sample; parts of a pair are parts of it."
        ]
        classes = len(np.unique(labels))
        if classes > (count := kinds_of(classes, len(labels))):
            notes.append(
                f"{len(labels)} samples carry {count} kinds, fewer than the {classes} classes, of what modalities say: "
                "what both say together is cut most, so that synergy comes out too small and may fall below 0."
            )
        return Findings(
            "Shared, unique and joint information",
            "Partial information decomposition of each pair of modalities, in bits (Liang et al., 2023, 2024).",
            evidence,
            samples,
            notes,
            asked=f"Do modalities say the same about {target.name}, each something else, or something only together?",
            found=found,
            limits=[
                "It shows what simple classifiers can read from averages over time: what lies in the order of events "
                "or in rare words may be missed, so that synergy may be larger.",
                "Information in the data is not information that the model uses; compare labels with answers.",
                "Below what shuffled labels give, a figure is noise; one below 0 is to be taken for 0: the classifier "
                "of both read less than those of each.",
                "A part that is 0 whichever group is left out has no interval: it may be more in other groups.",
            ],
        )


def _check(target: Target, labels: Array) -> None:
    if len(labels) < FEWEST:
        raise DataError(
            f"{len(labels)} labelled samples are too few to count information; it takes {FEWEST}, ask about "
            "a larger split (--split train) or another corpus (--data)"
        )
    counts = np.bincount(labels)
    if (counts > 0).sum() < 2:
        raise DataError(f"all samples have the same {target.name}: there is nothing to know; choose another split")


def _answers(judge: Judge, target: Target, batches: Callable[[], Iterable[Batch]], ids: list[str]) -> Array:
    """Return what ``judge`` says of the samples ``ids``."""
    said: dict[str, Array] = {}
    for batch in batches():
        said |= dict(zip(batch.ids, judge(batch)[target.name].double().cpu().numpy(), strict=True))
    return np.stack([said[i] for i in ids])


def _lines(codes: Codes, a: str, b: str, what: str, groups: Array) -> list[Evidence]:
    """Return what was found about one pair, of the labels or of the answers."""
    part = f"{a} and {b}, in the {'labels' if what == 'labels' else 'answers of the model'}"
    blocks, least = Blocks.of(len(codes.labels), groups), codes.least()
    values = codes.parts(least=least)
    known: dict[bytes, Array] = {}

    def of_part(place: int) -> Statistic:
        def value(times: Array) -> Array:
            for row in times:
                if row.tobytes() not in known:
                    known[row.tobytes()] = codes.parts(row, least=least)
            return np.array([known[row.tobytes()][place] for row in times])

        return value

    def line(name: str, value: float, where: str, place: int | None = None) -> Evidence:
        plain = Evidence(name, float(value), len(codes.labels), blocks.groups, part=where, unit="bit")
        if place is None:
            return plain
        low, high = interval(of_part(place), float(value), blocks, EXACT)
        return replace(plain, low=low, high=high)

    lines = [line(n.format(a, b), v, part, i) for i, (n, v) in enumerate(zip(NAMES, values, strict=True))]
    if what == "labels":
        shuffled = codes.parts(labels=numpy_rng("shuffled", a, b).permutation(codes.labels))
        lines.append(line("synergy, labels shuffled", shuffled[3], part))
        low, high = _synergy(codes, values)
        part = f"{a} and {b}, synergy if no labelled sample had both"
        lines += [line("at least", low, part), line("at most", high, part)]
    return lines


def _synergy(codes: Codes, values: Array) -> tuple[float, float]:
    """Return the bounds of the synergy that need no sample with both sources and a label, from ``codes.parts()``."""
    known = codes.bounds().low
    most = entropy(np.bincount(codes.labels) / len(codes.labels)) - float(values[:3].sum())
    return known, max(most, known)


def _words(codes: Codes, a: str, b: str, said: list[float]) -> list[str]:
    """Return what was found about one pair of modalities in the labels, in words; what is below 0 counts as 0.

    Args:
        codes: of the pair.
        a, b: its names.
        said: values of its lines.
    """
    names = (f"both {a} and {b}", f"{a} alone", f"{b} alone", "the two only together")
    values = dict(zip(names, np.clip(said[:4], 0, None).tolist(), strict=True))
    whole, uncertain = sum(values.values()), entropy(np.bincount(codes.labels) / len(codes.labels))
    if whole < MARGIN:
        return [f"{a} and {b} say next to nothing about the label: {whole:.2f} of {uncertain:.2f} bit."]
    largest = max(values, key=lambda name: values[name])
    least, most = said[-2:]
    worth = "only labelled pairs can tell whether to label them"
    if least > MARGIN:
        worth = "labelling them is worth its while"
    elif most < MARGIN:
        worth = "labelling them would bring little"
    return [
        f"Of {uncertain:.2f} bit, {a} and {b} say {whole:.2f}; most is said by {largest} ({values[largest]:.2f}). "
        f"Without labelled pairs, synergy would be known to lie between {least:.2f} and {most:.2f}: {worth}."
    ]


AUDIT = Pid
