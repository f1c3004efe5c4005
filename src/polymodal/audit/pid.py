"""Partial information decomposition: what two modalities say about the label together, alone, and only jointly."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from polymodal.audit._choices import classes_of, middle
from polymodal.audit._pooled import pooled
from polymodal.audit.base import Evidence, Findings, Judge, check_subsets, interval
from polymodal.core import Batch, DataError, Target, numpy_rng
from polymodal.data.ragged import Array
from polymodal.score.decomposition import Bounds, bounds, parts
from polymodal.score.information import entropy, joint, shared
from polymodal.score.intervals import Blocks
from polymodal.score.statistics import Statistic

CODES = 6
"""What a modality says about the label is told apart in so many kinds."""

TREES, LEAF, TRIED, FOLDS = 40, 5, 0.3, 5
FEWEST = 100
"""Samples below which so many kinds cannot be counted."""

COARSE, EXACT = 1e5, 0.001
"""Weight of the objective against the barrier for intervals, and its error in bits, the same in all of them."""

MARGIN = 0.02
"""Bits below which information is next to nothing: what shuffled labels of a few hundred samples may give."""

NAMES = ("redundant", "only {0}", "only {1}", "synergy")


@dataclass(frozen=True)
class Codes:
    """What two sources say about a label, in a few kinds each.

    Attributes:
        first, second, both: ``(samples,)`` from 0 to ``CODES`` - 1, by source 1, by source 2, by both.
        labels: ``(samples,)`` from 0 to ``classes`` - 1.
        classes: how many.
    """

    first: Array
    second: Array
    both: Array
    labels: Array
    classes: int

    def table(self, codes: Array, labels: Array, weights: Array | None = None) -> Array:
        """Return the shares of samples ``(CODES, classes)``."""
        return joint((codes, labels), (CODES, self.classes), weights)

    def parts(self, weights: Array | None = None, labels: Array | None = None, steepest: float = 1e9) -> Array:
        """Return redundant, first, second and synergy, in bits; ``labels`` may be others than the samples' own."""
        y = self.labels if labels is None else labels
        one, two, both = (self.table(codes, y, weights) for codes in (self.first, self.second, self.both))
        found = parts(one, two, shared(both), steepest)
        return np.array([found.redundant, found.first, found.second, found.synergy])

    def bounds(self) -> Bounds:
        """Return what is known without samples that have both sources and a label."""
        sources = joint((self.first, self.second), (CODES, CODES))
        return bounds(sources, self.table(self.first, self.labels), self.table(self.second, self.labels))


class Pid:
    """How the information about the label is shared between modalities (Liang et al., NeurIPS 2023, arXiv 2302.12247),
    and what can be said of synergy where no labelled sample has both (Liang et al., ICLR 2024, arXiv 2306.04539).

    For each pair of modalities: redundant (either says it), unique (one says it), synergy (only both together do), of
    the labels and of what the judge answers. The mathematics is in ``score.decomposition``. R, U1 and U2 follow from
    p(x1,y) and p(x2,y), and these from how the label is distributed given x1, and given x2; so each source may be
    replaced by its classifier's probabilities. A classifier of each source and one of both (40 randomised trees on up
    to 32 principal components of time means) predict every sample from folds that lack its group; probabilities are
    told apart in 6 kinds by k-means; tables of kinds and labels go into the exact program.

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
                codes = coded(data.features[a], data.features[b], y, data.groups)
                evidence += _lines(codes, a, b, what, data.groups)
                samples |= {f"{what}/{n}": getattr(codes, k).tolist() for n, k in ((a, "first"), (b, "second"))}
                samples[f"{what}/{a}+{b}"] = codes.both.tolist()
                if what == "labels":
                    found += _words(codes, a, b)
        orders = (", in the labels", ", in the answers of the model", "")
        evidence.sort(key=lambda line: [o in line.part for o in orders].index(True))  # pairs are compared
        uncertain = entropy(np.bincount(labels) / len(labels))
        notes = [
            f"To know {target.name} for certain takes {uncertain:.3f} bit a sample; parts of a pair are parts of it."
        ]
        if (classes := len(np.unique(labels))) > CODES:
            notes.append(
                f"What modalities say is told apart in {CODES} kinds, fewer than the {classes} classes: what both say "
                "together is cut most, so that synergy comes out too small and may fall below 0."
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


def coded(first: Array, second: Array, labels: Array, groups: Array | None = None) -> Codes:
    """Return what classifiers read from two sources, each sample by those that never saw its group.

    Args:
        first, second: ``(samples, width)`` features.
        labels: ``(samples,)`` whole numbers.
        groups: ``(samples,)``; None where every sample is on its own.
    """
    known, y = np.unique(labels, return_inverse=True)
    member = Blocks.of(len(y), groups).member % FOLDS
    both = np.concatenate([first, second], axis=1)
    one, two, together = (_kinds(_probabilities(x, y, member)) for x in (first, second, both))
    return Codes(one, two, together, y, len(known))


def _probabilities(features: Array, labels: Array, member: Array) -> Array:
    """Return ``(samples, classes)`` from classifiers of the other folds."""
    from sklearn.ensemble import ExtraTreesClassifier

    found = np.zeros((len(labels), labels.max() + 1))
    width = features.shape[1]
    tried = max(round(width**0.5), round(TRIED * width))
    for fold in np.unique(member):
        out = member == fold
        if out.all():  # one group: nobody else to learn from
            continue
        trees = ExtraTreesClassifier(TREES, min_samples_leaf=LEAF, max_features=tried, random_state=0)
        trees.fit(features[~out], labels[~out])
        found[np.ix_(out, trees.classes_)] = trees.predict_proba(features[out])
    return found


def _kinds(probabilities: Array) -> Array:
    from sklearn.cluster import KMeans

    count = min(CODES, len(np.unique(probabilities, axis=0)))
    return np.asarray(KMeans(count, n_init=1, random_state=0).fit_predict(probabilities), np.int64)


def _lines(codes: Codes, a: str, b: str, what: str, groups: Array) -> list[Evidence]:
    """Return what was found about one pair, of the labels or of the answers."""
    part = f"{a} and {b}, in the {'labels' if what == 'labels' else 'answers of the model'}"
    blocks, values = Blocks.of(len(codes.labels), groups), codes.parts()
    known: dict[bytes, Array] = {}

    def of_part(place: int) -> Statistic:
        def value(times: Array) -> Array:
            for row in times:
                if row.tobytes() not in known:
                    known[row.tobytes()] = codes.parts(row, steepest=COARSE)
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
        least, most = _synergy(codes)
        part = f"{a} and {b}, synergy if no labelled sample had both"
        lines += [line("at least", least, part), line("at most", most, part)]
    return lines


def _synergy(codes: Codes) -> tuple[float, float]:
    """Return the bounds of the synergy that need no sample with both sources and a label."""
    known = codes.bounds()
    most = entropy(np.bincount(codes.labels) / len(codes.labels)) - known.redundant - known.first - known.second
    return known.low, max(most, known.low)


def _words(codes: Codes, a: str, b: str) -> list[str]:
    """Return what was found about one pair of modalities in the labels, in words; what is below 0 counts as 0."""
    names = (f"both {a} and {b}", f"{a} alone", f"{b} alone", "the two only together")
    values = dict(zip(names, np.clip(codes.parts(), 0, None).tolist(), strict=True))
    whole, uncertain = sum(values.values()), entropy(np.bincount(codes.labels) / len(codes.labels))
    if whole < MARGIN:
        return [f"{a} and {b} say next to nothing about the label: {whole:.2f} of {uncertain:.2f} bit."]
    largest = max(values, key=lambda name: values[name])
    least, most = _synergy(codes)
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
