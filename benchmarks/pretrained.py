"""What pretrained states add to acoustic functionals: EmoDB, every speaker left out once.

    python benchmarks/pretrained.py      a quarter of an hour on 2 cores, seconds where the features are kept

200 clips of EmoDB (2 s, seven acted emotions, ten speakers, German), features as ``polymodal extract`` makes them:
eGeMAPS functionals, states of Whisper tiny.en (mean and deviation over their steps, or with ``pool=mean`` the mean
alone), and both side by side. Multinomial logistic regression on standardised features, the penalty that
scikit-learn's ``C=0.1`` is, not searched. Then what becomes of Whisper's states where two clips share one window. Needs
the real data ($POLYMODAL_SHARED or ../shared).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from corpora_emodb import sound_of
from corpora_tools import data_folder, kept, read_table, rows_of
from measure import RESULTS, machine, save
from polymodal.data.ragged import Array
from polymodal.media.types import RATE

ACOUSTIC = "egemaps-functionals"
INVERSE = 0.1
PAIRS = 20


def features(files: list[Path], name: str) -> list[Array]:
    """Return the features of every file, (steps, width), kept in the cache."""
    from polymodal.media.assets import sha256_of
    from polymodal.media.pretrained.speech import Whisper
    from polymodal.media.sound.audio import Acoustic

    ear = Whisper.named(name) if name.startswith("whisper") else Acoustic(name)

    def make() -> dict[str, Array]:
        rows = [ear.describe(sound_of(file), 0.0).values for file in files]
        return {"values": np.concatenate(rows), "offsets": np.cumsum([0, *map(len, rows)])}

    stored = kept("pretrained", [name, ear.version, *map(sha256_of, files)], make)
    return rows_of(stored["values"], stored["offsets"])


def pooled(rows: list[Array]) -> Array:
    """Return mean and deviation over steps; of one step itself."""
    if all(len(row) == 1 for row in rows):
        return np.concatenate(rows)
    return np.stack([np.concatenate([row.mean(0), row.std(0)]) for row in rows])


def left_out(x: Array, labels: Array, speakers: Array) -> Array:
    """Return what is predicted for every clip by a model that never heard its speaker."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = np.zeros_like(labels)
    for speaker in np.unique(speakers):
        out = speakers == speaker
        model = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE, max_iter=2000))
        found[out] = model.fit(x[~out], labels[~out]).predict(x[out])
    return found


def shared_windows(files: list[Path]) -> dict[str, float]:
    """Return how far Whisper's states of a clip move where another follows it in the same window, in deviations."""
    from polymodal.media.pretrained.speech import Whisper

    whisper, moved = Whisper(), []
    for one, other in zip(files[:PAIRS], files[PAIRS : 2 * PAIRS], strict=True):
        first, second = sound_of(one), sound_of(other)
        alone = whisper._states(first)[0]
        beside = whisper._states(np.concatenate([first, np.zeros(RATE, np.float32), second]))[0][: len(alone)]
        moved.append(np.abs(beside - alone).mean() / alone.std())
    return {"pairs": PAIRS, "mean": float(np.mean(moved)), "lowest": float(np.min(moved))}


def main() -> None:
    folder = data_folder("emodb")
    table = read_table(folder / "clips.csv")
    files = [folder / f for f in table["file"]]
    labels, speakers = np.unique(table["emotion"], return_inverse=True)[1], np.array(table["speaker"])
    views = {name: pooled(features(files, name)) for name in (ACOUSTIC, "whisper", "whisper?pool=mean")}
    both = {f"{ACOUSTIC},{name}": np.concatenate([views[ACOUSTIC], views[name]], axis=1) for name in list(views)[1:]}
    figures: dict[str, Any] = {}
    for name, x in {**views, **both}.items():
        right = left_out(x, labels, speakers) == labels
        figures[name] = {
            "features": x.shape[1],
            "accuracy": float(right.mean()),
            "by_speaker": {s: float(right[speakers == s].mean()) for s in np.unique(speakers).tolist()},
        }
        print(name, f"{right.mean():.3f}")
    result = {"clips": len(files), "classes": 7, "features": figures, "shared_window": shared_windows(files)}
    save("pretrained", result)
    write_page(result)


def write_page(result: dict[str, Any]) -> None:
    """Write ``results/pretrained.md``."""
    about = machine()
    lines = [
        "# Pretrained features",
        "",
        f"`python benchmarks/pretrained.py`, {about['date']} (UTC), {about['cores']} cores, no GPU. EmoDB, "
        f"{result['clips']} clips of 2 s, {result['classes']} emotions, every speaker left out once; logistic "
        f"regression, C = {INVERSE}, not searched. Chance is 1 / 7 = 0.143.",
        "",
        "| `--audio` | features | accuracy | by speaker, lowest and highest |",
        "| --- | --- | --- | --- |",
    ]
    for name, found in result["features"].items():
        each = found["by_speaker"].values()
        lines.append(
            f"| `{name}` | {found['features']} | {found['accuracy']:.3f} | {min(each):.2f} to {max(each):.2f} |"
        )
    moved = result["shared_window"]
    lines += [
        "",
        f"Two clips in one window of Whisper, a second of silence between them ({moved['pairs']} pairs): the states of "
        f"the first move by {moved['mean']:.2f} of their deviation on average, by {moved['lowest']:.2f} in the best "
        "case. That is no tolerance: every clip is heard alone.",
    ]
    (RESULTS / "pretrained.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
