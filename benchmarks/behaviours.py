"""What the papers promise, on planted data: translation, one model for all subsets, noise removal, quality.

    python benchmarks/behaviours.py                  all, 5 minutes on one core
    python benchmarks/behaviours.py --only umq      one of them again

Settings were chosen on seed 1; the default seeds are others. Results are JSON and a table that says PASS or FAILS.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from measure import RESULTS, save
from planted import FILE as PLANTED
from planted import NAMES, NOISE, SIGNAL, SIZES
from polymodal.core import Batch
from polymodal.data.progress import console
from polymodal.data.sources import load_corpus
from polymodal.methods.base import Method, Phase
from polymodal.methods.cyin import CyIN
from polymodal.methods.umq import UMQ
from polymodal.nn.corruption import corrupt, gaussian_like
from polymodal.stress import parse_stress
from polymodal.train.fit import fit
from polymodal.train.infer import infer
from polymodal.train.run import Run
from polymodal.train.stressed import stressed
from verdicts import table

Row = dict[str, Any]
FILE = Path(__file__)
RATES = (0.1, 0.3, 0.5, 0.7)
LEVELS = (20, 10, 5, 0, -5, -10)

CYIN = {"steps": 4, "bottleneck": (16, 8), "channels": (16, 8), "width": 8, "heads": 4, "layers": 1, "eta": 16.0}
CYIN |= {"stage": 0.3, "quirks": ("strided",), "epochs": 20, "lr": 3e-3, "batch_size": 64, "patience": 20}
MIB = {"width": 8, "hidden": 32, "heads": 2, "epochs": 40, "lr": 5e-3, "batch_size": 64, "patience": 40}
UMQ_ = {"width": 24, "dropout": 0.0, "epochs": 40, "lr": 5e-3, "batch_size": 64, "patience": 40}


class Unbridged(CyIN):
    """CyIN without its second phase: what is missing is zeros."""

    def phases(self) -> list[Phase]:
        """Return the first phase."""
        return [Phase("space", 1.0, lambda name: not name.startswith("translators."))]


class Trained:
    """A method trained on a corpus, with what is needed to look at it on test data."""

    def __init__(self, method: str, data: str, seed: int, options: Row, folder: Path) -> None:
        self.corpus = load_corpus(data)
        with console.capture():
            self.run: Run = fit(method, self.corpus, options=options, seeds=(seed,), out=folder, device="cpu")
        self.method = self.run.method(seed)
        self.loader = self.run.loader(self.corpus, "test")

    def batches(self, stress: str = "", seed: int = 0) -> Iterable[Batch]:
        """Return the test split, under ``stress``."""
        batches = self.loader.epoch()
        return map(stressed(self.loader, parse_stress(stress), seed=seed), batches) if stress else batches

    def error(self, stress: str = "", *, draws: int = 5, method: Method | None = None) -> float:
        """Return the mean absolute error, over ``draws`` masks where ``stress`` draws them."""
        found = []
        for seed in range(draws if stress.startswith("missing") else 1):
            columns, _, _ = infer(method or self.method, self.batches(stress, seed))
            found.append(np.abs(columns["score/true"] - columns["score/predicted"]).mean())
        return float(np.mean(found))

    def kept(self, *names: str, stress: str = "", seed: int = 0) -> dict[str, Any]:
        """Return representations."""
        return infer(self.method, self.batches(stress, seed), keep=names)[2]


def silenced(method: Method) -> Method:
    """Return the same weights with translators that say zero."""
    silent = deepcopy(method)
    for parameter in silent.get_submodule("translators").parameters():
        nn.init.zeros_(parameter)
    return silent


def guess(trained: Trained) -> float:
    """Mean absolute error of always saying the training median."""
    labels = {part: trained.corpus[part].targets["score"] for part in ("train", "test")}
    return float(np.abs(labels["test"] - np.median(labels["train"])).mean())


def one_for_all(seed: int, folder: Path, n: int = SIZES["train"], changes: Row = {}) -> Row:  # noqa: B006
    """Train one CyIN, one without its second phase and one for each smaller subset; compare them on missing data."""
    data, options = f"{PLANTED}:views?seed={seed}&n={n}", CYIN | changes
    one = Trained("cyin", data, seed, options, folder / "all")
    unbridged = Trained(f"{FILE}:Unbridged", data, seed, options, folder / "unbridged")
    unbridged.method = silenced(unbridged.method)  # its translators are as they were drawn
    own: dict[tuple[str, ...], Trained] = {NAMES: unbridged}
    for chosen in (c for size in (1, 2) for c in combinations(NAMES, size)):
        source = f"{data}&modalities={','.join(chosen)}"
        own[chosen] = Trained("cyin", source, seed, options, folder / "+".join(chosen))
    return by_rate(one, unbridged) | by_subset(one, own)


def by_rate(one: Trained, unbridged: Trained) -> Row:
    """Errors by missing rate: translated, the same weights with zeros, and a model without translators."""
    silent, gains = silenced(one.method), []
    row: Row = {}
    for rate, stress in {0.0: "", **{rate: f"missing:rate={rate}" for rate in RATES}}.items():
        error, zeros, other = one.error(stress), one.error(stress, method=silent), unbridged.error(stress)
        row |= {f"rate {rate}: translated": error, f"rate {rate}: same weights, zeros": zeros}
        row[f"rate {rate}: model without translators"] = other
        gains.append((zeros - error, other - error))
    ends = [end for _, end in gains]
    row["passes: translation beats zeros"] = all(min(gain) > 0 for gain in gains[1:])
    row["passes: the gain on zeros grows with the rate"] = all(a[0] < b[0] for a, b in pairwise(gains))
    row["passes: the gain on a model without translators grows with the rate"] = all(a < b for a, b in pairwise(ends))
    return row


def by_subset(one: Trained, own: dict[tuple[str, ...], Trained]) -> Row:
    """Errors by subset of the one model and of each subset's own; the share of the gain over a guess that is kept."""
    least, kept = guess(one), []
    row: Row = {"always the median": least}
    for chosen, other in own.items():
        error, best = one.error(f"subset:{','.join(chosen)}"), other.error()
        row |= {f"{'+'.join(chosen)}: one model": error, f"{'+'.join(chosen)}: own model": best}
        kept.append((least - error) / (least - best))
    return {**row, "least share of the gain kept": min(kept), "passes: one model serves all subsets": min(kept) > 0.9}


def noise_removed(seed: int, folder: Path, n: int = SIZES["train"], changes: Row = {}) -> Row:  # noqa: B006
    """What the codes keep of noise, in nats per dimension, and how far noise moves them, with and without a price."""
    row: Row = {}
    for label, beta in (("priced", 0.3), ("free", 0.0)):
        found = Trained(
            "mib", f"{PLANTED}:noisy?seed={seed}&n={n}", seed, MIB | {"beta": beta} | changes, folder / label
        )
        code = found.kept(*(f"{part}_{m}" for part in ("mean", "log_variance") for m in ("mixed", "noise")))
        for m in ("mixed", "noise"):
            mean, log_variance = code[f"mean_{m}"], code[f"log_variance_{m}"]
            row[f"nats of {m}, {label}"] = float(0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).mean())
        for part, channels in (("signal", SIGNAL), ("noise", NOISE)):
            row[f"movement by {part} channels, {label}"] = _movement(found, code, channels)
        row[f"error, {label}"] = found.error()
    priced, free = (row[f"nats of noise, {label}"] for label in ("priced", "free"))
    moved, moved_free = (row[f"movement by noise channels, {label}"] for label in ("priced", "free"))
    row["passes: a modality of noise is forgotten"] = (
        10 * priced < row["nats of mixed, priced"] and priced < 0.05 < 1 < free
    )
    row["passes: noise channels are forgotten"] = moved < 0.5 < 1 < moved_free
    row["passes: the signal is kept"] = row["error, priced"] < 1.05 * row["error, free"]
    return row


@torch.no_grad()
def _movement(found: Trained, code: Row, channels: slice) -> float:
    """How many of its own standard deviations the code of ``mixed`` moves (root mean square) where each sample gets
    ``channels`` of the next one; well below 1 nothing about them can be read from a sample of the code."""
    total, start = 0.0, 0
    for batch in found.batches():
        stream, rows = batch["mixed"], slice(start, start + len(batch))
        values = stream.tensor.clone()
        values[:, channels] = values[:, channels].roll(1, 0)
        other = Batch({**batch.streams, "mixed": replace(stream, values=values)}, {}, batch.ids)
        moved = found.method(other).representations["mean_mixed"].numpy() - code["mean_mixed"][rows]
        total, start = total + float((moved**2 / np.exp(code["log_variance_mixed"][rows])).sum()), rows.stop
    return float((total / code["mean_mixed"].size) ** 0.5)


def quality(seed: int, folder: Path, n: int = SIZES["train"], changes: Row = {}) -> Row:  # noqa: B006
    """How well UMQ's quality orders versions of a held-out sample by their noise: in vectors where it was taught on
    vectors, in raw features where it was taught on those."""
    data = f"{PLANTED}:factors?seed={seed}&n={n}"
    first = Trained("umq", data, seed, UMQ_ | changes, folder / "vectors")
    found = Trained("umq", data, seed, UMQ_ | {"noise": "features"} | changes, folder / "features")
    method = first.method
    assert isinstance(method, UMQ)
    x = _vectors(first)
    noise = gaussian_like(x, torch.ones_like(x[..., 0], dtype=torch.bool), torch.Generator().manual_seed(seed))
    with torch.no_grad():
        rhos = [rho * torch.ones(x.shape[:2]) for rho in np.linspace(0, 1, 11)]
        taught = np.stack([method.estimated(corrupt(x, noise, rho)).numpy() for rho in rhos])
    raw = _by_level(found, seed)
    ordered = float((np.diff(taught[[0, 3, 7, 10]], axis=0) < 0).all(axis=0).mean())
    correlation = _ranked(np.stack(list(raw.values())))
    unseen = {kind: _ranked(_under(found, kind, seed)) for kind in ("uniform", "laplace", "impulses")}
    return {
        "vectors: share in order": ordered,
        "vectors: rank correlation": _ranked(taught),
        "raw features: rank correlation": correlation,
        "raw features, taught on vectors: rank correlation": _ranked(np.stack(list(_by_level(first, seed).values()))),
        **{f"raw features, {kind}: rank correlation": value for kind, value in unseen.items()},
        "raw features: share that falls at 0 dB": float((raw["no noise"] > raw["0 dB"]).mean()),
        **{f"quality at {level}": float(q.mean()) for level, q in raw.items()},
        "noise of vectors: share within the signal's directions": _within(noise, x),
        "noise of raw features, encoded: the same": _within(_vectors(first, "noise:snr=0", seed) - x, x),
        "passes: quality orders noisy vectors": ordered > 0.9,
        "passes: quality orders noise in raw features": correlation > 0.5,
        "passes: quality orders noise of kinds it never saw": min(unseen.values()) > 0.5,
    }


def _by_level(found: Trained, seed: int) -> Row:
    stresses = {"no noise": ""} | {f"{snr} dB": f"noise:snr={snr}" for snr in LEVELS}
    return {level: found.kept("quality", stress=s, seed=seed)["quality"] for level, s in stresses.items()}


@torch.no_grad()
def _under(found: Trained, kind: str, seed: int) -> Any:
    """Return qualities (strengths, rows, modalities) of test samples whose features have noise of ``kind``."""
    levels = []
    for strength in np.linspace(0, 1, 6):
        g, rows = torch.Generator().manual_seed(seed), []
        for batch in found.batches():
            streams = {n: replace(s, values=_worse(s.tensor, kind, strength, g)) for n, s in batch.streams.items()}
            rows.append(found.method(Batch(streams, {}, batch.ids)).representations["quality"].numpy())
        levels.append(np.concatenate(rows))
    return np.stack(levels)


def _worse(x: torch.Tensor, kind: str, strength: float, g: torch.Generator) -> torch.Tensor:
    """Return standardised features ``x`` with noise of up to two deviations; impulses hit a share of the features."""
    uniform = torch.rand(x.shape, generator=g) - 0.5
    if kind == "uniform":
        return x + 2 * strength * 12**0.5 * uniform
    if kind == "laplace":
        return x - 2 * strength * uniform.sign() * torch.log(1 - 2 * uniform.abs()) / 2**0.5
    return torch.where(uniform + 0.5 < strength, 3 * torch.randn(x.shape, generator=g).sign(), x)


def _vectors(found: Trained, stress: str = "", seed: int = 0) -> torch.Tensor:
    names = [f"x_{m}" for m in NAMES]
    kept = found.kept(*names, stress=stress, seed=seed)
    return torch.from_numpy(np.stack([kept[name] for name in names], axis=1))


def _within(noise: torch.Tensor, x: torch.Tensor) -> float:
    """Share of the variance of ``noise`` in the two directions in which ``x`` varies most, mean over modalities."""
    shares = []
    for m in range(x.shape[1]):
        directions = torch.linalg.eigh(torch.cov(x[:, m].T)).eigenvectors[:, -2:]
        spread = torch.cov(noise[:, m].T)
        shares.append(torch.trace(directions.T @ spread @ directions) / torch.trace(spread))
    return float(torch.stack(shares).mean())


def _ranked(q: Any) -> float:
    """Mean over samples and modalities of Spearman's correlation of ``q`` (levels, ...) with falling noise."""
    ranks = q.argsort(0).argsort(0)
    falling = np.arange(len(q))[::-1].reshape(-1, *[1] * (q.ndim - 1))
    return float(1 - 6 * ((ranks - falling) ** 2).sum(0).mean() / (len(q) ** 3 - len(q)))


CLAIMS: dict[str, Callable[..., Row]] = {"cyin": one_for_all, "mib": noise_removed, "umq": quality}


def measured(claim: str, seeds: list[int]) -> Row:
    """Return mean and standard deviation over ``seeds`` of what ``claim`` measures, and in how many each rule holds."""
    started = time.process_time()
    with TemporaryDirectory() as folder:
        rows = [CLAIMS[claim](seed, Path(folder) / str(seed)) for seed in seeds]
    rules = [name for name in rows[0] if name.startswith("passes: ")]
    columns = {name: [float(row[name]) for row in rows] for name in rows[0] if name not in rules}
    return {
        "seeds": seeds,
        "held": {name.removeprefix("passes: "): sum(bool(row[name]) for row in rows) for name in rules},
        "processor_seconds": round(time.process_time() - started),
        "figures": {name: [round(float(f(v)), 4) for f in (np.mean, np.std)] for name, v in columns.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Behaviours that the papers promise, on planted data.")
    parser.add_argument("--seeds", default="11,12,13", help="whole numbers separated by commas")
    parser.add_argument("--only", choices=list(CLAIMS), help="measure this one again, keep the others as saved")
    given = parser.parse_args()
    torch.set_num_threads(1)
    seeds = [int(s) for s in given.seeds.split(",")]
    saved = json.loads((RESULTS / "behaviours.json").read_text())["figures"] if given.only else {}
    results = saved | {name: measured(name, seeds) for name in ([given.only] if given.only else CLAIMS)}
    print(table(results))
    save("behaviours", results)
    (RESULTS / "behaviours.md").write_text(table(results))


if __name__ == "__main__":
    main()
