"""The table of behaviours.py: each rule in words, whether it held, and why not."""

from __future__ import annotations

from typing import Any

from measure import machine

RULES = {
    "translation beats zeros": "CyIN, at every missing rate: below the same weights with zeros, and below a model "
    "without translators",
    "the gain on zeros grows with the rate": "CyIN, from each rate to the next",
    "the gain on a model without translators grows with the rate": "CyIN, from each rate to the next",
    "one model serves all subsets": "CyIN, in each of seven subsets: at least 90 % of the gain over a guess of a model "
    "trained for the subset alone (for all modalities: one without translators)",
    "a modality of noise is forgotten": "MIB, under 0.05 nats per dimension and a tenth of the other's; over 1 "
    "without a price",
    "noise channels are forgotten": "MIB, they move the code by under 0.5 of its standard deviations; over 1 without "
    "a price",
    "the signal is kept": "MIB, the error is at most 5 % above that without a price",
    "quality orders noisy vectors": "UMQ, over 90 % of held-out vectors have clean > 0.3 > 0.7 > noise",
    "quality orders noise in raw features": "UMQ, Spearman's correlation with the level above 0.5, mean over samples",
    "quality orders noise of kinds it never saw": "UMQ, the same for uniform, Laplace and impulse noise",
}

CAUSES = {
    "quality orders noise in raw features": "the encoder, trained for the task, puts much of the noise of raw features "
    "into the directions of the signal (last figures), where it looks like another sample.",
    "quality orders noise of kinds it never saw": "white noise of other shapes is ordered as Gaussian noise "
    "is, impulses fall short: see the figures by kind.",
}


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return the results as Markdown."""
    about = machine()
    lines = [
        "# Behaviours on planted data",
        "",
        f"`python benchmarks/behaviours.py`, {about['date']}, one of {about['cores']} cores ({about['processor']}), "
        f"torch {about['torch']}. Mean +- standard deviation over seeds; data and training are drawn anew for each. A "
        "rule passes if it holds in every seed.",
        "",
        "| | behaviour | seeds | rule |",
        "|---|---|---|---|",
    ]
    for result in results.values():
        count = len(result["seeds"])
        for name, held in result["held"].items():
            verdict = "PASS" if held == count else "FAILS"
            lines.append(f"| {verdict} | {name} | {held} of {count} | {RULES[name]} |")
    failed = [n for r in results.values() for n, held in r["held"].items() if held < len(r["seeds"]) and n in CAUSES]
    lines += [line for name in failed for line in ("", f'Why "{name}" fails: {CAUSES[name]}')]
    for claim, result in results.items():
        lines += [
            "",
            f"## {claim} (processor time {result['processor_seconds']} s)",
            "",
            "| figure | mean +- sd |",
            "|---|---|",
        ]
        lines += [f"| {name} | {mean:.3f} +- {sd:.3f} |" for name, (mean, sd) in result["figures"].items()]
    return "\n".join(lines) + "\n"
