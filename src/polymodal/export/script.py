"""What a trained model says about features: python predict.py FILE... [--level 0.9], beside model.onnx and model.json.

FILE.npz holds one sample: one array per modality, (time, width), or (width,) for a vector; one left out is absent.
FILE.json holds {"rows": [{"text": [[...], ...], "audio": null}, ...]}. Needs numpy and onnxruntime, nothing else.
"""

import argparse
import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np


def read(file: str) -> list[dict[str, Any]]:
    """Return the samples of a file: modality -> array, list or None; SystemExit where it holds none."""
    try:
        if file.endswith(".json"):
            rows: list[dict[str, Any]] = json.loads(Path(file).read_text(encoding="utf-8"))["rows"]
        else:
            with np.load(file) as sample:
                rows = [dict(sample)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise SystemExit(f"error: {file} cannot be read ({reason}); give FILE.npz or FILE.json, see --help") from None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise SystemExit(f'error: {file} holds no rows; write {{"rows": [{{"MODALITY": values, ...}}, ...]}}')
    return rows


def steps(value: Any, modality: dict[str, Any]) -> Any:
    """Return a sample's features as float32 (time, width), finite, no step where absent; SystemExit if they are not."""
    name, kind, width = modality["name"], modality["kind"], modality["width"]
    try:
        found = np.zeros((0, width)) if value is None else np.atleast_2d(np.asarray(value, np.float32))
    except (TypeError, ValueError):
        raise SystemExit(f"error: {name} is no array of numbers, it must be a {kind} of width {width}") from None
    if not np.isfinite(found).any():
        return np.zeros((0, width), np.float32)
    if found.ndim != 2 or found.shape[1] != width or (len(found) > 1 and kind == "vector"):
        raise SystemExit(f"error: {name} has shape {found.shape}, it must be a {kind} of width {width}")
    return np.nan_to_num(found, nan=0, posinf=0, neginf=0)


def inputs(about: dict[str, Any], rows: list[Any]) -> dict[str, Any]:
    """Return what the graph takes for ``rows``, padded to the longest and ``least_steps``; SystemExit if it cannot."""
    feed, known = {}, [m["name"] for m in about["modalities"]]
    if unknown := {name for row in rows for name in row} - set(known):
        raise SystemExit(f"error: no modality {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    for modality in about["modalities"]:
        name, found = modality["name"], [steps(row.get(modality["name"]), modality) for row in rows]
        lengths = np.array([len(x) for x in found])
        least = about["least_steps"] if modality["kind"] == "sequence" else 1
        values = np.zeros((len(rows), max(least, *lengths), modality["width"]), np.float32)
        for out, x in zip(values, found, strict=True):
            out[: len(x)] = x
        feed[name], feed[f"{name}.present"] = values, lengths > 0
        if modality["kind"] == "sequence":
            feed[f"{name}.lengths"] = lengths
        else:
            feed[name] = values[:, 0]
    return feed


def answer(target: dict[str, Any], said: Any, measured: dict[str, Any], place: int) -> dict[str, Any]:
    """Return one target of one sample: ``said`` is a number or probabilities, ``measured`` its calibration."""
    if target["answer"] == "number":
        value, widths = float(said), measured.get("half_widths")
        if not widths or widths[place] is None:
            return {"value": value, "low": None, "high": None}
        low, high = target["range"] or (-np.inf, np.inf)  # the interval is cut to the scale of the labels
        return {
            "value": value,
            "low": max(value - widths[place], min(low, value)),
            "high": min(value + widths[place], max(high, value)),
        }
    several, p = target["answer"] == "classes", np.clip(said.astype(float), 1e-7, 1 - 1e-7)
    odds = np.exp((np.log(p) - np.log1p(-p) * several) / (measured.get("temperature") or 1))
    chances = odds / (1 + odds) if several else odds / odds.sum()
    named = dict(zip(target["classes"], map(float, chances), strict=True))
    chosen = (
        {"labels": [c for c in named if named[c] > 0.5]} if several else {"label": max(named, key=lambda c: named[c])}
    )
    return chosen | {"probabilities": named}


def predict(about: dict[str, Any], session: Any, rows: list[Any], level: float = 0.9) -> list[dict[str, Any]]:
    """Return for each of ``rows`` target -> answer, calibrated by the modalities that it has."""
    feed = inputs(about, rows)
    said = dict(zip([t["name"] for t in about["targets"]], session.run(None, feed), strict=True))
    known = {frozenset(c["present"]): c["targets"] for c in about["calibration"]}
    found, place = [], about["levels"].index(level)
    for i in range(len(rows)):
        there = frozenset(m["name"] for m in about["modalities"] if feed[f"{m['name']}.present"][i])
        measured = known.get(there, {})
        found.append(
            {t["name"]: answer(t, said[t["name"]][i], measured.get(t["name"], {}), place) for t in about["targets"]}
        )
    return found


def main() -> None:
    """Print what the model beside this file says."""
    import onnxruntime

    folder = Path(__file__).resolve().parent
    about = json.loads((folder / "model.json").read_text())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--level", type=float, default=0.9, choices=about["levels"], help="of intervals")
    options = parser.parse_args()
    rows = [row for file in options.files for row in read(file)]
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    print(json.dumps(predict(about, session, rows, options.level), indent=1))


if __name__ == "__main__":
    main()
