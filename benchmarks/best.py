"""``polymodal fit best`` against the best single method, boosted trees and a stack; run it from the repository root.

    python benchmarks/best.py                    # half an hour of one core
    python benchmarks/best.py --only emodb       # lines of other corpora stay as they are

Corpora are those of ``corpora_small.py``. Where the split is the release's, all learn from train and valid and are
tested on test; small ones with few speakers are pooled, and every sample is predicted by what never saw its speaker, in
the folds of ``fit best``, whose weights are then those of the other folds. Against it stand: ``single``, the candidates
of ``fit best`` in the same order and time, each trained once, the one with the lowest loss on valid; ``trees``,
scikit-learn's histogram gradient boosting on means and deviations over time; ``stack``, its stacking of ridge or
logistic regression, a support vector machine and a random forest. Minutes are those of the processor, so
that other work on the machine does not count. Runs and predictions stay in ``--out``, and what is there is reused.
Writes ``results/best.json`` and ``best.md``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from corpora_small import small
from measure import RESULTS, in_fresh_process, machine, save
from polymodal.best.budget import Budget, OutOfTime
from polymodal.best.candidates import candidates
from polymodal.best.ground import Timed
from polymodal.best.search import Search
from polymodal.best.setting import settle
from polymodal.core import Target
from polymodal.core.estimate import plain
from polymodal.data.corpus import Corpus
from polymodal.data.loader import Loader
from polymodal.data.progress import console
from polymodal.data.ragged import Array
from polymodal.data.split import Split
from polymodal.methods import build, find_method
from polymodal.methods.linear import Linear
from polymodal.nn.heads import task_loss
from polymodal.report.metrics import is_percent, label, write_value
from polymodal.score import holm, paired_difference, summarise
from polymodal.train.answers import Answers
from polymodal.train.checkpoint import load_weights
from polymodal.train.fit import open_fabric, train_member
from polymodal.train.infer import infer
from polymodal.train.members import Member
from polymodal.train.plan import Plan
from polymodal.train.run import Run

ASKED = {
    "cmu_mosi": False,
    "mfeat_digits": False,
    "faircv": False,
    "meld_text": False,
    "pom": False,
    "ict_mmmo": False,
    "emodb": True,
    "real_life_trial": True,
    "mustard": True,
    "ravdess_av": True,
}
"""Corpora of the board, and whether their splits are pooled."""

VIEWS = {"mfeat_digits": ("fou", "zer", "mor"), "ict_mmmo": ("audio", "vision")}
"""Modalities of a corpus where not all are taken, as on the board: with six, nearly every numeral is told by all."""

RIVALS = {
    "single": "the best single method by validation, same time",
    "trees": "histogram gradient boosting",
    "stack": "stack of linear model, support vector machine and random forest",
}
SEED = 1111
Said = dict[str, Array]
"""``id``, ``predicted`` and, for classes, ``probability``."""


def asked(name: str) -> Corpus:
    """Return a corpus, all of it in one split where it is pooled."""
    corpus = small(name)
    corpus = corpus.asking([corpus.schema.joint_targets[0].name]).only(VIEWS.get(name, corpus.schema.names))
    source = f"benchmarks/best.py:asked?name={name}"
    if not ASKED[name]:
        return replace(corpus, source=source)
    whole = Split.joined(list(corpus.splits.values()))
    return replace(corpus, source=source, splits={"train": whole})


def parts(run: Run, corpus: Corpus) -> Iterator[tuple[Corpus, Split]]:
    """Yield the corpora to learn from (train and valid) with what each is tested on."""
    dealt = run.dealt(corpus)
    if "test" in corpus.splits:
        yield corpus, corpus["test"]
        return
    for fold in range(len(dealt.folds)):
        own = dealt.corpus(fold)
        yield own, own[dealt.folds.tested]


def searched(corpus: Corpus, minutes: float, folder: Path) -> Run:
    """Do what ``fit_best`` does, by the processor's clock."""
    budget = Budget(minutes, time.process_time)
    setting = settle(corpus, target=None, encode=None, folds=None, seed=SEED, device="cpu", out=folder, budget=budget)
    return Search(setting, budget).run()


def ours(run: Run, corpus: Corpus) -> Said:
    """Return what ``fit best`` says of the test samples."""
    answers, name = Answers(run, corpus), corpus.schema.joint_targets[0].name
    columns = answers.of(SEED, "test")
    return {"id": columns["id"], **{n: columns[f"{name}/{n}"] for n in _columns(corpus.schema.joint_targets[0])}}


def _columns(target: Target) -> tuple[str, ...]:
    return ("predicted", "probability") if target.classes else ("predicted",)


def single(corpus: Corpus, tested: Split, minutes: float) -> Said:
    """Return what the candidate with the lowest validation loss says, of those that could be trained in time."""
    budget, fabric, target = (
        Budget(minutes, time.process_time),
        open_fabric("cpu", "32"),
        corpus.schema.joint_targets[0],
    )
    found: tuple[float, Said] | None = None
    for tried, candidate in enumerate(candidates(corpus.schema, SEED)):
        options, recipe = candidate.settled(corpus.schema)
        own = replace(corpus.only(candidate.modalities), stored_normalizer=corpus.normalizer)
        problem = Timed(own, recipe, SEED, budget.ends_in(budget.left) if tried else lambda: None)
        with tempfile.TemporaryDirectory() as place:
            plan = Plan({"method_source": candidate.method, "options": options}, own, recipe)
            try:
                train_member(plan, Member(SEED), Path(place), fabric, lambda line: None, 1e9, problem=problem)
            except OutOfTime:
                break
            method = build(find_method(candidate.method), own.schema, options)
            load_weights(method, Path(place) / "best.safetensors")
        said = [
            infer(method, Loader(split, own.schema, 64, normalizer=own.normalizer).epoch())[0]
            for split in (own["valid"], replace(own, splits={"test": tested}).only(candidate.modalities)["test"])
        ]
        loss = _loss(target, said[0])
        if found is None or loss < found[0]:
            names = {n: said[1][f"{target.name}/{n}"] for n in _columns(target)}
            found = loss, {"id": said[1]["id"], **names}
        if budget.left <= 0:
            break
    assert found is not None
    return found[1]


def _loss(target: Target, columns: dict[str, Array]) -> float:
    true = torch.from_numpy(columns[f"{target.name}/true"])
    if target.classes:
        said = torch.from_numpy(columns[f"{target.name}/probability"]).clamp(1e-7, 1).log()
    else:
        said = torch.from_numpy(columns[f"{target.name}/predicted"])
    return float(task_loss(target, said, true))


def features(corpus: Corpus, split: Split) -> tuple[Array, Array, Array]:
    """Return means and deviations over time, NaN where absent, with labels and ids, in the order of ``split``."""
    pool, rows = Linear(corpus.schema).pool, []
    batch = Loader(split, corpus.schema, len(split), bucket=False).batch(np.arange(len(split)))
    x, there = pool(batch)
    rows = np.where(there.numpy(), x.numpy(), np.nan)
    return rows, split.targets[corpus.schema.joint_targets[0].name], np.asarray(split.ids)


def learned(corpus: Corpus, tested: Split, make: Callable[[Target, list[Any]], Any]) -> Said:
    """Return what a model of scikit-learn says that learned from train and valid."""
    from sklearn.model_selection import GroupKFold

    known = Split.joined([corpus["train"], corpus["valid"]])
    x, y, _ = features(corpus, known)
    unseen, _, ids = features(corpus, tested)
    groups = known.groups or known.ids
    folds = list(GroupKFold(min(5, len(set(groups)))).split(x, y, groups))
    model = make(corpus.schema.joint_targets[0], folds).fit(x, y)
    if not corpus.schema.joint_targets[0].classes:
        return {"id": ids, "predicted": model.predict(unseen)}
    shares = np.zeros((len(unseen), len(corpus.schema.joint_targets[0].classes)))
    shares[:, model.classes_] = model.predict_proba(unseen)
    return {"id": ids, "predicted": shares.argmax(1), "probability": shares}


def trees(target: Target, folds: list[Any]) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    if target.classes:
        return HistGradientBoostingClassifier(random_state=SEED)
    return HistGradientBoostingRegressor(loss="absolute_error", random_state=SEED)


def stack(target: Target, folds: list[Any]) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor, StackingClassifier, StackingRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC, SVR

    def scaled(model: Any) -> Any:
        return make_pipeline(SimpleImputer(), StandardScaler(), model)

    if target.classes:
        models = [LogisticRegression(C=0.01, max_iter=500), SVC()]
        forest: Any = RandomForestClassifier(100, random_state=SEED)
        final, kind = LogisticRegression(max_iter=500), StackingClassifier
    else:
        models = [RidgeCV(np.logspace(0, 5, 11)), SVR()]
        forest, final, kind = (
            RandomForestRegressor(100, max_features=0.3, random_state=SEED),
            RidgeCV(),
            StackingRegressor,
        )
    named = [("linear", scaled(models[0])), ("svm", scaled(models[1])), ("forest", scaled(forest))]
    return kind(named, final, cv=folds)


def joined(answers: list[Said], ids: list[str]) -> Said:
    """Return ``answers`` about different samples as one, in the order of ``ids``."""
    whole = {name: np.concatenate([a[name] for a in answers]) for name in answers[0]}
    where = {str(name): row for row, name in enumerate(whole["id"])}
    rows = [where[name] for name in ids]
    return {name: values[rows] for name, values in whole.items()}


def measured(name: str, minutes: float, out: Path) -> dict[str, Any]:
    """Return the figures of a corpus, and every comparison, not corrected."""
    corpus, folder = asked(name), out / f"{name}-{minutes:g}"
    target = corpus.schema.joint_targets[0]
    seconds: dict[str, float] = {}

    def timed(what: str, make: Callable[[], Any]) -> Any:
        began = time.process_time()
        found = make()
        seconds[what] = round(time.process_time() - began, 1)
        console.print(f"{name} {what}: {seconds[what]} s")
        return found

    def kept(rival: str, make: Callable[[], Said]) -> Said:
        """Return what a rival says; what it said before is read."""
        file = out / f"{name}-{minutes:g}-{rival}.npz"
        if not file.is_file():
            np.savez(file, **timed(rival, make), seconds=np.array(seconds[rival]))
        with np.load(file, allow_pickle=False) as stored:
            seconds[rival] = float(stored["seconds"])
            return {n: stored[n] for n in stored.files if n != "seconds"}

    run = timed("best", lambda: searched(corpus, minutes, folder))
    known = list(parts(run, corpus))
    truth = corpus["test"] if "test" in corpus.splits else corpus["train"]
    ids, true = list(truth.ids), truth.targets[target.name]
    said = {"best": joined([ours(run, corpus)], ids)}
    each = minutes / len(known)
    said["single"] = kept("single", lambda: joined([single(c, t, each) for c, t in known], ids))
    for what, make in (("trees", trees), ("stack", stack)):
        said[what] = kept(what, lambda make=make: joined([learned(c, t, make) for c, t in known], ids))
    groups = list(truth.groups) or None

    def figures(one: Said) -> Any:
        chances = one.get("probability")
        own = None if chances is None else chances[None]
        return summarise(target, true, one["predicted"][None], own, groups=groups)

    metric = target.spec.main
    against = {}
    for rival in RIVALS:
        found = paired_difference(
            target,
            true,
            said["best"]["predicted"],
            said[rival]["predicted"],
            metric,
            probability_a=said["best"].get("probability"),
            probability_b=said[rival].get("probability"),
            groups=groups,
        )
        against[rival] = plain(found)
    about = json.loads((folder / "best.json").read_text())
    return {
        "corpus": name,
        "pooled": ASKED[name],
        "data": corpus.hash,
        "learned": sum(len(s) for n, s in corpus.splits.items() if n != "test"),
        "tested": len(true),
        "groups": len(set(groups)) if groups else None,
        "minutes": minutes,
        "measured": machine()["date"],
        "metric": metric,
        "higher_is_better": target.spec.metrics[metric],
        "figures": {who: plain(figures(one)[metric]) for who, one in said.items()},
        "against": against,
        "processor_seconds": {who: seconds[who] for who in RIVALS} | {"best": about["seconds"]},
        "tried": len(about["tried"]),
        "members": about["members"],
    }


def verdict(row: dict[str, Any], rival: str, p: float) -> str:
    found = row["against"][rival]
    if found["low"] is None or p >= 0.05:
        return "cannot be told"
    return "better" if (found["difference"] > 0) == row["higher_is_better"] else "WORSE"


def ahead(rows: list[dict[str, Any]], rival: str) -> str:
    """Return on how many corpora ``fit best`` is ahead of ``rival``, and how often chance alone would do that."""
    from scipy.stats import binomtest

    gaps = [row["against"][rival]["difference"] * (1 if row["higher_is_better"] else -1) for row in rows]
    told = [gap for gap in gaps if gap]
    count = sum(gap > 0 for gap in told)
    return f"on {count} of {len(told)} corpora, p {binomtest(count, len(told)).pvalue:.2g}"


def page(rows: list[dict[str, Any]]) -> str:
    about = machine()
    pairs = [(row, rival) for row in rows for rival in RIVALS]
    adjusted = holm(
        [np.nan if row["against"][rival]["p"] is None else row["against"][rival]["p"] for row, rival in pairs]
    )
    words = {(row["corpus"], rival): verdict(row, rival, p) for (row, rival), p in zip(pairs, adjusted, strict=True)}
    when = " and ".join(sorted({row["measured"] for row in rows}))
    lines = [
        "# fit best",
        "",
        f"Made by `python benchmarks/best.py`, {when}, {about['cores']} cores ({about['processor']}), one used, load "
        f"{about['load_before']:.1f} by other work. Small versions of the corpora (`benchmarks/corpora_small.py`). In "
        "brackets: 95 % interval over groups of test samples; below each rival, "
        "`fit best` minus it, paired, with the same interval, and whether it can be told after Holm's correction for "
        f"all {len(pairs)} comparisons.",
        "",
        "| corpus | learned from / tested on (groups) | processor minutes | metric | `fit best` | "
        + " | ".join(RIVALS.values())
        + " |",
        "|---" * (5 + len(RIVALS)) + "|",
    ]
    for row in rows:
        metric = row["metric"]
        name = f"{label(metric)} {'↑' if row['higher_is_better'] else '↓'}"
        cells = [
            row["corpus"] + (", pooled" if row["pooled"] else ""),
            f"{row['learned']} / {row['tested']} ({row['groups'] or 'samples'})",
            f"{row['minutes']:g}",
            name + (", %" if is_percent(metric) else ""),
            _figure(metric, row["figures"]["best"]),
        ]
        for rival in RIVALS:
            found = row["against"][rival]
            gap = write_value(metric, found["difference"])
            between = f"[{write_value(metric, found['low'])}, {write_value(metric, found['high'])}]"
            between = between if found["low"] is not None else "(too few groups)"
            cells.append(
                f"{_figure(metric, row['figures'][rival])}; {gap} {between}: **{words[row['corpus'], rival]}**"
            )
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Over corpora, `fit best` is ahead, whether or not a single one can tell (two-sided sign test):", ""]
    lines += [f"- of {words}: {ahead(rows, rival)}" for rival, words in RIVALS.items()]
    lines += ["", "Members and their weights:", ""]
    for row in rows:
        members = ", ".join(f"{m['name']} {m['weight']:.0%}" for m in row["members"] if m["weight"])
        lines.append(f"- {row['corpus']} ({row['tried']} candidates tried): {members}")
    return "\n".join(lines) + "\n"


def _figure(metric: str, figure: dict[str, Any]) -> str:
    value = write_value(metric, figure["mean"])
    if figure["low"] is None:
        return value
    return f"{value} [{write_value(metric, figure['low'])}, {write_value(metric, figure['high'])}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=ASKED, default=list(ASKED), help="corpora; default: all")
    parser.add_argument("--minutes", type=float, default=1.5, help="of fit best and of the search of a single method")
    parser.add_argument("--out", type=Path, default=Path("runs/best-benchmark"), help="folder of the runs")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        torch.set_num_threads(1)
        print(json.dumps(measured(arguments.one, arguments.minutes, arguments.out)))
        return
    for name in arguments.only:
        row = in_fresh_process(
            __file__, "--one", name, "--minutes", f"{arguments.minutes:g}", "--out", str(arguments.out)
        )
        file = RESULTS / "best.json"
        known = json.loads(file.read_text())["figures"] if file.is_file() else []
        rows = [*(r for r in known if r["corpus"] != name), row]
        rows.sort(key=lambda r: list(ASKED).index(r["corpus"]))
        save("best", rows)
        (RESULTS / "best.md").write_text(page(rows))


if __name__ == "__main__":
    sys.exit(main())
