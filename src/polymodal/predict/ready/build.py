"""A ready run built from its recipe and the user's corpus."""

from __future__ import annotations

import csv
import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.core import DataError
from polymodal.predict.hub import export
from polymodal.predict.ready.place import MARK, USE, built_folder, measured
from polymodal.predict.ready.recipes import Recipe
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
    source = _extracted(recipe, Path(data), work, workers) if recipe.extract else data
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


def _extracted(recipe: Recipe, data: Path, work: Path, workers: int) -> str:
    """Return the store of the clips in ``data``, made where it is not there yet."""
    from polymodal.media.extraction import Extraction
    from polymodal.media.folder.extract import extract
    from polymodal.media.folder.manifest import read_manifest

    # The corpus is called as its table is.
    table, store = work / f"{recipe.corpus.partition(',')[0]}.csv", work / "store"
    before = table.read_bytes() if table.is_file() else b""
    _write_table(recipe, data, table)
    if before != table.read_bytes():
        shutil.rmtree(store, ignore_errors=True)
    if not store.exists():
        manifest = read_manifest(table, targets=[recipe.target])
        extract(manifest, store, extraction=Extraction(**recipe.extract), workers=workers)
    return str(store)


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
    """Return what is told of a run: its metric, by group, by kind of group, and what guessing blindly gives."""
    (row,) = (
        r
        for r in scores["rows"]
        if (r["target"], r["metric"], r["condition"]) == (recipe.target, recipe.metric, "complete")
    )
    truth, said, groups = _predictions(run, recipe.target)
    classes = run.schema.target(recipe.target).classes
    if classes:
        good = (truth == said).astype(float)
        share = np.bincount(truth.astype(int)).max() / len(truth)
        blind = f"always naming the commonest of its {len(classes)} classes gives {share:.3f}"
    else:
        good = np.abs(truth - said)
        blind = f"always naming the middle gives {np.abs(truth - np.median(truth)).mean():.3f}"
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
        "blind": blind,
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
