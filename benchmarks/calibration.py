"""Whether intervals hold what they promise: coverage of the 0.9 interval and calibration error on held-out data.

python benchmarks/calibration.py

Fits methods on planted and public corpora and reads what ``evaluate`` reports about test splits that chose nothing.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import polymodal
from measure import save

MOSI = f"{Path(__file__).with_name('corpora.py')}:cmu_mosi"
RAVDESS = f"{Path(__file__).with_name('corpora.py')}:ravdess_av"
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("linear", "synthetic:talk?n=2000", {}),
    ("late-fusion", "synthetic:talk?n=2000", {"epochs": 6}),
    ("linear", MOSI, {"encode": {"text": "minilm"}}),
    ("late-fusion", MOSI, {"encode": {"text": "minilm"}, "epochs": 8, "seeds": (1, 2)}),
    ("linear", RAVDESS, {}),
]


def main() -> None:
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        for number, (method, source, options) in enumerate(CASES):
            run = polymodal.fit(method, source, out=Path(place) / str(number), **options)
            scores = polymodal.evaluate(run, subsets=False)
            about = {"method": method, "data": scores["data"]["name"], "hash": scores["data"]["hash"]}
            figures += [{**about, "seeds": scores["seeds"], **row} for row in scores["calibration"]]
            print(figures[-len(scores["calibration"]) :], flush=True)
    save("calibration", figures)


if __name__ == "__main__":
    main()
