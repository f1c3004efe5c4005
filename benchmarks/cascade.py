"""A cheap and a costlier model of CMU-MOSI's words behind each other; run it from the repository root.

    POLYMODAL_SHARED=../shared python benchmarks/cascade.py      # minutes on one core

Three small runs before one large run, all on text alone: error against the share of samples that goes to the large
run, the least certain first, against the same share at random, with intervals over videos. Runs stay in ``--out`` and
finished ones are reused. Writes ``results/cascade.json``, ``cascade.md`` and ``cascade.png``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polymodal
from measure import RESULTS, machine, save
from polymodal.cascade import evaluate_cascade, fit_cascade

SOURCE = "benchmarks/corpora.py:cmu_mosi?modalities=text"
MINILM = {"text": "minilm?layers=3"}
TRAINING = {"batch_size": 32, "lr": 1e-3, "patience": 6, "dropout": 0.3}
BAG = {**TRAINING, "context": "none", "pool": "mean"}
KEPT = ("samples", "escalated", "calls", "stages", "spearman", "spearman_mended", "gain", "curve")
"""What is reported of a split, as ``scores.json`` has it."""


@dataclass(frozen=True)
class Trained:
    """One run, as ``fit`` makes it."""

    method: str
    words: str
    options: dict[str, Any]
    encode: dict[str, str] = field(default_factory=dict)
    seeds: tuple[int, ...] = (1111,)


SMALL = {
    "ubm, hashed words": Trained("ubm", "mean of trained word vectors, one seed; entropy of bins", BAG),
    "ubm, mean MiniLM": Trained("ubm", "mean of frozen MiniLM states, one seed; entropy of bins", BAG, MINILM),
    "late-fusion, hashed words": Trained(
        "late-fusion", "mean of trained word vectors; spread over five seeds", BAG, seeds=(1111, 1112, 1113, 1114, 1115)
    ),
}
LARGE = Trained(
    "ubm", "GRU over frozen MiniLM states, three seeds", {**TRAINING, "context": "gru", "width": 128}, MINILM,
    (1111, 1112, 1113),
)  # fmt: skip


def trained(what: Trained, folder: Path) -> Path:
    """Return the folder of a run, trained where it is not yet."""
    if not (folder / "calibration.json").is_file():
        polymodal.fit(
            what.method, SOURCE, options=what.options, encode=what.encode or {"text": "none"}, seeds=what.seeds,
            epochs=25, device="cpu", out=folder, resume=folder.exists(),
        )  # fmt: skip
    return folder


def figures(name: str, small: Path, large: Path, out: Path) -> dict[str, Any]:
    """Fit and evaluate one cascade and return what is reported of it."""
    place = out / f"cascade-{small.name}"
    fitted = fit_cascade(small, f"run:{large}", SOURCE, rho=0.3, out=place)
    found = evaluate_cascade(place)
    split = found["splits"]["test"]
    rows = {f"{r['who']} {r['metric']}": [r["mean"], r["low"], r["high"]] for r in found["rows"]}
    return {
        "small": name,
        "words": SMALL[name].words,
        "rule": found["rule"],
        "validation_error": fitted["fitted"]["error"],
        **{
            key: split[key]
            for key in ("samples", "escalated", "calls", "stages", "spearman", "spearman_mended", "gain", "curve")
        },
        "figures": {key: row for key, row in rows.items() if key.split()[1] in ("mae", "corr", "acc2", "acc7")},
    }


def page(found: list[dict[str, Any]]) -> str:
    """Return the tables."""
    about = machine()
    groups = found[0]["gain"]["groups"]
    lines = [
        "# A small and a large run of CMU-MOSI's words",
        "",
        f"`python benchmarks/cascade.py`, {about['date']}, {about['cores']} shared cores ({about['processor']}), "
        f"Python {about['python']}, torch {about['torch']}. Test split, {found[0]['samples']} utterances of {groups} "
        "videos; 95 % intervals leave out whole videos. Thresholds by validation, for a budget of 0.3; on test the "
        "share is what it turns out to be.",
        "",
        f"Large: `ubm`, {LARGE.words}. It stands in for a large language model; none was asked. One training of each "
        "run; intervals do not know how other seeds would differ.",
        "",
        "| small run | MAE small | MAE large | MAE cascade | share sent | rank correlation of uncertainty and error | "
        "of uncertainty and what is mended | against chance, mean over all shares |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for one in found:
        mae = [f"{m:.3f} [{low:.3f}, {high:.3f}]" for m, low, high in (
            one["figures"][f"{who} mae"] for who in ("small", "large", "cascade"))]  # fmt: skip
        gain = one["gain"]
        lines.append(
            f"| {one['small']} ({one['words']}) | {' | '.join(mae)} | {one['escalated']:.2f} | {one['spearman']:.3f} | "
            f"{one['spearman_mended']:.3f} | "
            f"{gain['value']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}] |"
        )
    lines += ["", "![MAE against the share sent to the large run](cascade.png)", ""]
    for one in found:
        lines += [f"## {one['small']}", "", f"Stages at the fitted thresholds: {stages(one['stages'])}.", ""]
        lines += ["| share sent | MAE | at random | difference | calls |", "| --: | --: | --: | --: | --: |"]
        for point in one["curve"][::2]:
            error, gap = point["error"], point["difference"]
            between = f"{gap['value']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}]"
            lines.append(
                f"| {point['share']:.2f} | {error['value']:.3f} [{error['low']:.3f}, {error['high']:.3f}] | "
                f"{point['random']:.3f} | {between} | {point['calls']} |"
            )
        lines.append("")
    return "\n".join(lines)


def stages(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count)


def draw(found: list[dict[str, Any]], file: Path) -> None:
    from polymodal.report.plots import INK, PALETTE, new_figure

    figure, (ax,) = new_figure(3.6)
    for one, color in zip(found, PALETTE, strict=False):
        x = [p["share"] for p in one["curve"]]
        ax.plot(x, [p["error"]["value"] for p in one["curve"]], color=color, label=one["small"])
        ax.plot(x, [p["random"] for p in one["curve"]], color=color, linestyle="--", linewidth=0.9)
    ax.set_xlabel("share of samples sent to the large run (dashed: at random)")
    ax.set_ylabel("MAE ↓")
    ax.legend(frameon=False, labelcolor=INK, fontsize=9)
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/cascade-benchmark"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    large = trained(LARGE, out / "large")
    found = [figures(name, trained(SMALL[name], out / f"small-{i}"), large, out) for i, name in enumerate(SMALL)]
    save("cascade", found)
    (RESULTS / "cascade.md").write_text(page(found))
    draw(found, RESULTS / "cascade.png")


if __name__ == "__main__":
    main()
