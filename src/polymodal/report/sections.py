"""The parts of a report, each with its figure, its table and the words for readers who cannot see the figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.report import plots
from polymodal.report.agreement import mark, one_rater, rater_table
from polymodal.report.best import best_sentences, best_table, read_best
from polymodal.report.costs import cost_table, cost_words
from polymodal.report.folder import Run, read_fused, read_predictions
from polymodal.report.metrics import label, write_value
from polymodal.report.rows import Row, costs
from polymodal.report.section import Section
from polymodal.report.stress import stress_curves
from polymodal.report.tables import score_table, stress_table, subset_table, target_table
from polymodal.report.training import training_section

if TYPE_CHECKING:
    from polymodal.core import Target

    Array = np.ndarray[Any, Any]


def sections(run: Run) -> list[Section]:
    """Return every part of the report of ``run`` in reading order."""
    makers = (_subsets, _costs, _scores, _raters, _targets, _stress, training_section, _predictions, _projection)
    found = [part for maker in makers for part in [maker(run)] if part is not None]
    searched = read_best(run.path)
    if searched:
        said = " ".join(f"{sentence}." if sentence[-1] != "." else sentence for sentence in best_sentences(searched))
        found.append(Section("best", "What was tried", table=best_table(searched), words=said))
    return found


def _evaluate(run: Run) -> str:
    return f"What makes it: polymodal evaluate {run.name}"


def _scores(run: Run) -> Section:
    if not run.rows:
        return Section("scores", "Scores", missing=f"There is no evaluation yet. {_evaluate(run)}")
    return Section("scores", "Scores", table=score_table(run.rows, run.target.name))


def _raters(run: Run) -> Section | None:
    """Only where single raters are known."""
    table = rater_table(run) if run.rows else None
    return Section("raters", "Raters", table=table) if table else None


def _targets(run: Run) -> Section | None:
    """Only for several targets."""
    rows = main_of_targets(run)
    if len(rows) < 2:
        return None
    metric = label(rows[0].metric)
    return Section(
        "targets",
        "Targets",
        plots.target_bars(rows),
        f"Bars of {metric} per target: {_spell(rows)}.",
        f"{metric} per target on {run.split}, complete input, with 95% intervals.",
        target_table(run.rows, run.split),
    )


def main_of_targets(run: Run) -> list[Row]:
    """Return the main metric of every target that shares it with the main target: complete input, one split."""
    rows = [r for r in run.rows if r.complete and r.main and r.split == run.split]
    return [r for r in rows if r.metric == rows[0].metric]


def _subsets(run: Run) -> Section | None:
    rows = [r for r in run.main if r.split == run.split and r.present]
    title = "What each modality is worth"
    if not run.rows:
        return None
    if len(rows) < 2:
        return Section("subsets", title, missing=f"Only one subset of the modalities was scored. {_evaluate(run)}")
    figure, person = plots.subset_bars(rows), one_rater(run)
    return Section(
        "subsets",
        title,
        figure,
        f"Bars of {label(rows[0].metric)} per subset of modalities: {_spell(rows, subset=True)}.",
        f"{label(rows[0].metric)} of {run.target.name} on {run.split} by the modalities that were present; lines: "
        f"95% intervals. Absent modalities: {rows[0].absence.rstrip('.')}." + (mark(figure, person) if person else ""),
        subset_table(run.rows, run.target.name, run.split),
    )


def _stress(run: Run) -> Section | None:
    """Only where the run was tested under stress."""
    rows = [r for r in run.main if r.split == run.split and not r.present]
    if not rows:
        return None
    complete = next(r for r in run.main if r.complete and r.split == run.split)
    spelled = ", ".join(f"{r.stress} {r.written}" for r in rows)
    return Section(
        "stress",
        "Absence and noise",
        stress_curves(rows, complete),
        f"Lines of {label(complete.metric)} against the strength of a stress: {spelled}.",
        f"{label(complete.metric)} of {run.target.name} on {run.split} against the strength of each stress; band: 95% "
        "interval, dashed: complete input. A sample's mask follows from its id alone.",
        stress_table(run.rows, run.target.name, run.split),
    )


def _costs(run: Run) -> Section | None:
    """Only where more than complete input was tested."""
    found = costs(run.scores or {"robustness": []}).get((run.split, run.target.name)) if run.rows else None
    if found is None:
        return None
    words = cost_words(found, run.rows[0].modalities)
    return Section(
        "costs", "What is lost without it", words=f"{words[:1].upper()}{words[1:]}.", table=cost_table(found, run.split)
    )


def _spell(rows: list[Row], subset: bool = False) -> str:
    return ", ".join(f"{r.subset if subset else r.target} {write_value(r.metric, r.mean)}" for r in rows)


def _predictions(run: Run) -> Section | None:
    if not run.rows:
        return None
    title, target = "Predictions", run.target
    found = read_predictions(run)
    if found is None or not len(found["true"]):
        return Section("predictions", title, missing=f"No predictions for the complete input. {_evaluate(run)}")
    where = f"{len(found['true'])} samples of {run.split}, complete input, seed {found['seed'][0]}"
    draw = {"number": _scatter, "class": _confusion, "classes": _classes, "match": _ranks}[target.spec.answer]
    return draw(title, found["true"], found["predicted"], target, where)


def _scatter(title: str, true: Array, predicted: Array, target: Target, where: str) -> Section:
    finite = np.isfinite(true) & np.isfinite(predicted)
    true, predicted = true[finite], predicted[finite]
    if not len(true):
        return Section("predictions", title, missing="No prediction is a finite number; look at the losses above.")
    quantiles = np.quantile(predicted - true, (0.05, 0.25, 0.5, 0.75, 0.95))
    words = ", ".join(f"{q:.2f}" for q in quantiles)
    return Section(
        "predictions",
        title,
        plots.predicted_against_true(true, predicted, target.name),
        f"Scatter of predicted against true {target.name}; quantiles of predicted minus true at 5, 25, 50, 75 and 95%: "
        f"{words}.",
        f"{where}. Left: the line is a perfect prediction. Right: quantiles of predicted − true along the true "  # noqa: RUF001
        f"label; over all samples, at 5, 25, 50, 75 and 95%: {words}.",
    )


def _confusion(title: str, true: Array, predicted: Array, target: Target, where: str) -> Section:
    from sklearn.metrics import confusion_matrix

    classes = target.classes
    counts = confusion_matrix(true, predicted, labels=range(len(classes)))
    correct = "; ".join(f"{c}: {counts[i, i]} of {counts[i].sum()}" for i, c in enumerate(classes))
    return Section(
        "predictions",
        title,
        plots.confusion_matrix(counts, classes),
        f"Confusion matrix; correct per true class: {correct}.",
        f"{where}. Each row is a true class and adds up to 100%; below the share, the number of samples.",
    )


def _classes(title: str, true: Array, predicted: Array, target: Target, where: str) -> Section:
    from sklearn.metrics import f1_score

    classes = target.classes
    f1 = f1_score(true.astype(int), predicted.astype(int), average=None, zero_division=0).reshape(-1)
    words = ", ".join(f"{c} {100 * v:.1f}" for c, v in zip(classes, f1, strict=True))
    return Section(
        "predictions",
        title,
        plots.class_bars(f1, true.sum(axis=0).astype(int), classes),
        f"Bars of F1 per class: {words}.",
        f"{where}. F1 of each class on its own; n: samples that have the class.",
    )


def _ranks(title: str, true: Array, predicted: Array, target: Target, where: str) -> Section:
    middle = ", ".join(f"{m:g}" for m in np.median(predicted, axis=0))
    return Section(
        "predictions",
        title,
        plots.rank_curves(predicted),
        f"Curves of the share of samples that find a match among the first k; median rank there and back: {middle}.",
        f"{where}. Share of samples whose match is among the first k, from the anchor to the other modalities and "
        "back; dotted: chance where each sample matches itself alone.",
    )


def _projection(run: Run) -> Section | None:
    if not run.rows:
        return None
    title = "Fused representation"
    fused, found = read_fused(run), read_predictions(run)
    if fused is None or found is None:
        why = f"No fused representation was saved: the method has none, or it was not asked for. {_evaluate(run)}"
        return Section("projection", title, missing=why)
    points, rows = _matched(*fused, found)
    if len(points) < 3 or points.shape[1] < 2:
        return Section("projection", title, missing="A projection needs three finite samples and two dimensions.")
    from sklearn.decomposition import PCA

    pca = PCA(2, random_state=0).fit(points)
    labels, names, what = _colours(run.target, found["true"][rows], found["predicted"][rows])
    explained = np.nan_to_num(pca.explained_variance_ratio_)
    share = f"{explained.sum():.0%}"
    which = "fold 0, seed " if "folds" in run.info else "seed "  # spaces of several models have nothing in common
    return Section(
        "projection",
        title,
        plots.projection(pca.transform(points), labels, explained, run.target.name, names),
        f"Scatter of {len(points)} samples on two principal components that explain {share} of the variance, "
        f"coloured by {what}.",
        f"{len(points)} samples of {run.split}, complete input, {which}{found['seed'][0]}: principal components of the "
        f"{points.shape[1]}-dimensional fused representation, coloured by {what}. The two explain {share} of the "
        f"variance, so distances in the plane are only part of the picture.",
    )


def _matched(fused: Array, ids: list[str], found: dict[str, Array]) -> tuple[Array, Array]:
    """Return the finite representations whose sample has a label, and its rows in ``found``."""
    at = {str(i): row for row, i in enumerate(found["id"])}
    kept = [row for row, i in enumerate(ids) if i in at and np.isfinite(fused[row]).all()]
    return fused[kept], np.array([at[ids[row]] for row in kept], dtype=int)


def _colours(target: Target, true: Array, predicted: Array) -> tuple[Array, list[str], str]:
    """Return a number per sample, the names of the numbers, and what they are."""
    if target.spec.answer == "classes":
        common = int(true.sum(axis=0).argmax())  # samples have several labels; the commonest one splits them best
        name = target.classes[common]
        return true[:, common].astype(int), [f"not {name}", name], f"whether {name}, the commonest class, is true"
    if target.spec.answer == "match":
        return (predicted[:, 0] <= 1).astype(int), ["not first", "first"], "whether its match is found first"
    return true, list(target.classes), f"true {target.name}"
