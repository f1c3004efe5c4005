"""A ready run built from its recipe and the user's corpus."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polymodal._version import __version__
from polymodal.core import DataError
from polymodal.data.store import write_store
from polymodal.predict.hub import export
from polymodal.predict.ready.place import MARK, USE, built_folder, measured
from polymodal.predict.ready.recipes import Recipe
from polymodal.predict.ready.tables import read_tables
from polymodal.score import evaluate as measured_as
from polymodal.train.checkpoint import write_json
from polymodal.train.run import Run

SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".m4a")


def build(recipe: Recipe, data: str, *, workers: int = 1) -> Path:
    """Extract, train, evaluate and register a ready run; return its folder.

    What was extracted and trained stays beside it (``NAME.work``): stopped work goes on, and the full report is there.

    Args:
        data: the corpus, as ``recipe.data`` says.
        workers: processes of the extraction.

    Raises:
        DataError, OptionError, RunError: as extracting, training and evaluating.
    """
    from polymodal.train.evaluate import evaluate
    from polymodal.train.fit import fit

    folder = built_folder(recipe.name)
    work = folder.with_name(f"{recipe.name}.work")
    work.mkdir(parents=True, exist_ok=True)
    source = _source(recipe, data, work, workers)
    shutil.rmtree(work / "run", ignore_errors=True)
    run = fit(data=source, out=work / "run", **recipe.fit)
    scores = evaluate(run)
    whole = folder.with_name(f".{recipe.name}.partial")
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir()
    export(run, whole, recipe.name)
    found = {"name": recipe.name, **_figures(recipe, run, scores)}
    write_json(whole / MARK, found)
    card = _card((whole / "README.md").read_text(encoding="utf-8"), recipe, found)
    (whole / "README.md").write_text(card, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    whole.rename(folder)
    return folder


def _source(recipe: Recipe, data: str, work: Path, workers: int) -> str:
    """Return the source to train on: a store of clips or of tables, or ``data`` itself."""
    if recipe.extract:
        return _extracted(recipe, Path(data), work, workers)
    if not recipe.tables:
        return data
    corpus = read_tables(recipe, Path(data))
    shutil.rmtree(work / "store", ignore_errors=True)
    return str(write_store(corpus, work / "store"))


def _extracted(recipe: Recipe, data: Path, work: Path, workers: int) -> str:
    """Return the store of the clips in ``data``, made where it is not there yet, or not of the same.

    Raises:
        DataError: none of the sound files is the corpus's, or one cannot be read: figures would be of another corpus.
    """
    from polymodal.media.extraction import Extraction
    from polymodal.media.folder.extract import extract
    from polymodal.media.folder.manifest import read_manifest

    # The corpus is called as its table is.
    table, store, mark = work / f"{recipe.corpus.partition(',')[0]}.csv", work / "store", work / "store.made"
    _write_table(recipe, data, table)
    manifest = read_manifest(table, targets=[recipe.target])
    made_of = _digest(recipe, table, [row.path for row in manifest.rows])
    if not (store.exists() and mark.is_file() and mark.read_text() == made_of):
        mark.unlink(missing_ok=True)
        shutil.rmtree(store, ignore_errors=True)
        summary = extract(manifest, store, extraction=Extraction(**recipe.extract), workers=workers)
        if summary.failures:
            clip, reason = summary.failures[0]
            raise DataError(
                f"{summary.failed} of {summary.clips} sound files cannot be read, the first is {clip} ({reason}); mend "
                "or remove them and build again: the others are kept"
            )
        mark.write_text(made_of)
    return str(store)


def _digest(recipe: Recipe, table: Path, files: Sequence[Path]) -> str:
    """Return what changes whenever a store made of ``files`` may."""
    stats = [(stat.st_size, stat.st_mtime_ns) for stat in (file.stat() for file in files)]
    whole = [__version__, recipe.extract, table.read_text(encoding="utf-8"), stats]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def _write_table(recipe: Recipe, data: Path, table: Path) -> None:
    """Write what the names of the files in ``data`` say; DataError where none says anything."""
    if not data.is_dir():
        raise DataError(f"{data} is no folder; give {recipe.data}")
    files = sorted(f for f in data.rglob("*") if f.suffix.lower() in SOUNDS)
    named = [(file, match) for file in files if (match := re.fullmatch(recipe.names, file.stem))]
    if not named:
        raise DataError(f"{data} holds no sound file named as those of {recipe.corpus}; give {recipe.data}")
    with table.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["clip", "speaker", recipe.target])
        for file, match in named:
            rows.writerow([file.absolute(), match["speaker"], recipe.labels[match[recipe.target]]])


def _figures(recipe: Recipe, run: Run, scores: dict[str, Any]) -> dict[str, Any]:
    """Return what is told of a run: its metrics, by group, by kind of group, and what guessing blindly gives."""
    rows = {r["metric"]: r for r in scores["rows"] if (r["target"], r["condition"]) == (recipe.target, "complete")}
    row = rows[recipe.metric]
    truth, said, groups = _predictions(run, recipe.target)
    target = run.schema.target(recipe.target)
    if target.classes:
        good = (truth == said).astype(float)
        constant, words = np.bincount(truth.astype(int)).argmax(), f"the commonest of its {len(target.classes)} classes"
    else:
        good = np.abs(truth - said)
        constant, words = np.median(truth), "the middle"
    blind = {name: value for name, (value, _) in measured_as(target, truth, np.full_like(truth, constant)).items()}
    by: dict[str, list[float]] = defaultdict(list)
    for group, value in zip(groups.tolist(), good.tolist(), strict=True):
        by[group].append(value)
    means = [float(np.mean(values)) for values in by.values()]
    kinds = {
        kind: float(np.mean([v for g in of for v in by[g]]))
        for kind, of in recipe.kinds.items()
        if all(group in by for group in of)
    }
    return {
        "metric": recipe.metric,
        "value": row["mean"],
        "low": row["low"],
        "high": row["high"],
        "samples": row["count"],
        "groups": len(by),
        "groups_between": [min(means), max(means)],
        "kinds": kinds,
        "blind": f"always naming {words} gives {blind[recipe.metric]:.3f}",
        "also": [
            {"metric": m, "value": rows[m]["mean"], "low": rows[m]["low"], "high": rows[m]["high"], "blind": blind[m]}
            for m in recipe.also
        ],
        "calibration": next((r.get("ece") for r in scores["calibration"] if r["target"] == recipe.target), None),
    }


def _predictions(run: Run, target: str) -> tuple[Any, Any, Any]:
    """Return truth, prediction and group of every sample, predicted out of fold, on complete input."""
    import pyarrow.parquet as pq

    from polymodal.train.predictions import FILE

    table = pq.read_table(run.path / "evaluation" / FILE).to_pandas()
    table = table[table["condition"] == "complete"]
    return table[f"{target}/true"].to_numpy(), table[f"{target}/predicted"].to_numpy(), table["group"].to_numpy()


def _card(card: str, recipe: Recipe, found: dict[str, Any]) -> str:
    """Return the model card with what is told of a ready run before its first section, and no line that a publisher
    would have to fill in."""
    said = [
        f"**{recipe.name}** says {recipe.about}.",
        f"- Trained on {recipe.corpus}: {recipe.spoken}.",
        f"- How good: {measured(recipe, found)}.",
        f"- Licence: {' '.join(recipe.licence.split())}",
        f"- Limits: {' '.join(recipe.limits.split())}; {USE}.",
    ]
    card = "\n".join(line for line in card.split("\n") if not line.startswith("# license: to be added"))
    head, title, rest = card.partition("\n# ")
    line, _, body = rest.partition("\n")
    return f"{head}{title}{line}\n\n{said[0]}\n\n" + "\n".join(said[1:]) + f"\n{body}"
