"""Is labelling what `polymodal suggest` names better than labelling at random? Learning curves on public corpora.

    python benchmarks/suggest.py            some minutes of one core; writes results/suggest.json and suggest.md

A pool is labelled bit by bit: FIRST samples at random, then STEP more in each round, chosen as `suggest --by` would.
The model is a late fusion of one linear model per modality. Every repetition draws its first samples anew, the same for
every way of choosing, so that differences to random are paired.

How `mixed` and `diverse` choose was decided with other draws of first samples of RAVDESS and CMU-MOSI, but with the
same test samples; the digits were looked at afterwards only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

import corpora
from measure import RESULTS, machine
from polymodal.data.corpus import Corpus
from polymodal.data.encode import encode_corpus
from polymodal.data.loader import Loader
from polymodal.methods.linear import logistic, ridge
from polymodal.predict.asked import Pool
from polymodal.predict.choose import choose, disagreement, entropy, newness

FIRST, STEP, ROUNDS, REPETITIONS = 40, 20, 10, 10
BAGS = 5
"""Models on samples drawn with replacement, whose spread is the uncertainty of a regression."""
PENALTY, INVERSE = 100.0, 0.01
"""Of ridge and logistic regression, fixed: a few labels leave none for validation."""
WAYS = ("random", "uncertainty", "conflict", "distance", "diverse", "mixed")


def main() -> None:
    began = time.process_time()
    sources: dict[str, Callable[[], Corpus]] = {
        "ravdess_av": corpora.ravdess_av,
        "cmu_mosi": lambda: encode_corpus(corpora.cmu_mosi(), {"text": "minilm"}),
        "mfeat_digits": corpora.mfeat_digits,
    }
    results = {name: learn(prepared(source())) for name, source in sources.items()}
    about = {"machine": machine(), "processor_seconds": round(time.process_time() - began, 1)}
    about |= {"first": FIRST, "step": STEP, "rounds": ROUNDS, "repetitions": REPETITIONS}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "suggest.json").write_text(json.dumps({**about, "corpora": results}, indent=1))
    text = table(about, results)
    (RESULTS / "suggest.md").write_text(text)
    print(text)


def prepared(corpus: Corpus) -> dict[str, Any]:
    """Return features and labels of the pool (train) and of the test split, and where each modality's features are."""
    pool, schema = Pool(corpus.schema), corpus.schema
    batches = {n: list(Loader(corpus[n], schema, 64, normalizer=corpus.normalizer).epoch()) for n in ("train", "test")}
    pool.fit(batches["train"])
    target = schema.joint_targets[0]
    ends = np.cumsum(pool.widths)
    return {
        "target": target,
        "parts": [slice(end - width, end) for end, width in zip(ends, pool.widths, strict=True)],
        "present": {n: np.concatenate([b[n].present.numpy() for b in batches["train"]]) for n in schema.names},
        **{
            f"{name}_{what}": np.concatenate(values)
            for name, found in batches.items()
            for what, values in {
                "x": [pool.of(b) for b in found],
                "y": [b.targets[target.name].numpy() for b in found],
            }.items()
        },
    }


def learn(data: dict[str, Any]) -> dict[str, Any]:
    """Return the learning curve of every way and repetition, and the areas under them."""
    curves: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for repetition in range(REPETITIONS):
        first = np.random.default_rng(repetition).permutation(len(data["train_x"]))[:FIRST].tolist()
        for way in WAYS:
            curves[way].append(_curve(data, way, first, repetition))
    area = {way: np.mean(found, axis=1) for way, found in curves.items()}
    lines = {}
    for way, found in area.items():
        apart = found - area["random"]
        half = stats.t.ppf(0.975, REPETITIONS - 1) * apart.std(ddof=1) / np.sqrt(REPETITIONS)
        lines[way] = {
            "area": round(float(found.mean()), 4),
            "difference": round(float(apart.mean()), 4),
            "low": round(float(apart.mean() - half), 4),
            "high": round(float(apart.mean() + half), 4),
            "curve": np.mean(curves[way], axis=0).round(4).tolist(),
        }
    return {"score": "accuracy" if data["target"].spec.answer == "class" else "correlation", "ways": lines}


def _curve(data: dict[str, Any], way: str, first: list[int], seed: int) -> list[float]:
    rng, x = np.random.default_rng([seed, 1]), data["train_x"]
    labelled, curve = list(first), []
    for _ in range(ROUNDS + 1):
        models = _fit(data, labelled, rng)
        curve.append(_score(data, _said(data, models[0], data["test_x"])[0]))
        rest = np.setdiff1d(np.arange(len(x)), labelled)
        if way == "random":
            chosen = rng.permutation(len(rest))[:STEP].tolist()
        else:
            chosen = choose(way, _scores(data, models, rest, x[labelled]), x[rest], STEP)
        labelled += rest[chosen].tolist()
    return curve


def _fit(data: dict[str, Any], rows: list[int], rng: np.random.Generator) -> list[Any]:
    """Return models, each one (weight, bias) per modality: the first of all rows, others of bags of them."""
    number = data["target"].spec.answer == "number"
    bags = [rows, *(rng.choice(rows, len(rows)).tolist() for _ in range(BAGS if number else 0))]
    return [[_solve(data, bag, part) for part in data["parts"]] for bag in bags]


def _solve(data: dict[str, Any], rows: list[int], part: slice) -> Any:
    x, y = data["train_x"][rows][:, part] * 10, data["train_y"][rows]
    if data["target"].spec.answer == "number":
        return ridge(x, y, PENALTY)
    return logistic(x, y, len(data["target"].classes), INVERSE)


def _said(data: dict[str, Any], model: Any, x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return what all modalities say together, (rows, outputs), and each one alone."""
    alone = []
    for (weight, bias), part in zip(model, data["parts"], strict=True):
        raw = 10 * x[:, part] @ weight.T + bias
        if data["target"].spec.answer == "class":
            raw = np.exp(raw - raw.max(1, keepdims=True))
            raw /= raw.sum(1, keepdims=True)
        alone.append(raw)
    return np.mean(alone, axis=0), alone


def _scores(data: dict[str, Any], models: list[Any], rest: np.ndarray, known: np.ndarray) -> dict[str, np.ndarray]:
    x = data["train_x"][rest]
    together, alone = _said(data, models[0], x)
    if data["target"].spec.answer == "class":
        unsure, scale = entropy(together), 2.0
    else:
        low, high = data["target"].range
        unsure, scale = np.std([_said(data, m, x)[0][:, 0] for m in models[1:]], axis=0), high - low
    present = {n: p[rest] for n, p in data["present"].items()}
    conflict = disagreement(dict(zip(present, alone, strict=True)), present, scale)
    return {"uncertainty": unsure, "conflict": conflict, "distance": newness(x, known)}


def _score(data: dict[str, Any], said: np.ndarray) -> float:
    if data["target"].spec.answer == "class":
        return float((said.argmax(1) == data["test_y"]).mean())
    return float(np.corrcoef(said[:, 0], data["test_y"])[0, 1]) if said.std() > 1e-9 else 0.0


def table(about: dict[str, Any], results: dict[str, dict[str, Any]]) -> str:
    """Return the results as Markdown."""
    on = about["machine"]
    lines = [
        "# Labelling by `polymodal suggest` against labelling at random",
        "",
        f"`python benchmarks/suggest.py`, {on['date']}, one of {on['cores']} cores ({on['processor']}), "
        f"{about['processor_seconds']:.0f} s of processor time. {FIRST} labels at random, then {ROUNDS} times {STEP} "
        f"more; late fusion of linear models; {REPETITIONS} repetitions. The area is the mean of the score over the "
        "curve; the difference to random is paired by repetition, with its 95 % interval (Student's t over "
        "repetitions, which share the test samples).",
    ]
    for name, found in results.items():
        lines += ["", f"## {name}, {found['score']} on test", ""]
        lines += ["| by | area | difference to random | 95 % | in the end |", "|---|---|---|---|---|"]
        for way, one in found["ways"].items():
            apart = "" if way == "random" else f"{one['difference']:+.4f}"
            within = "" if way == "random" else f"{one['low']:+.4f} to {one['high']:+.4f}"
            lines.append(f"| {way} | {one['area']:.4f} | {apart} | {within} | {one['curve'][-1]:.4f} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
