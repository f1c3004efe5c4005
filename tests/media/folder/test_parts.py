"""What is written of a clip is what is read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from polymodal.media.folder.parts import read_about, read_features, write_part


def test_features_come_back_in_single_precision_and_pixels_as_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = [
        {"audio": rng.normal(0, 1, (4, 2)), "vision": rng.integers(0, 256, (3, 3, 8, 8), dtype=np.uint8), "text": "hi"},
        {"vision": rng.integers(0, 256, (1, 3, 8, 8), dtype=np.uint8)},
    ]
    shapes = [{n: list(np.shape(v)) for n, v in row.items() if n != "text"} for row in rows]
    about = {"key": "k", "utterances": [{"shapes": s} for s in shapes]}
    part = tmp_path / "a.safetensors"
    write_part(part, about, rows)
    assert read_about(part) == about
    one, two = read_features(part, about)
    assert (one["audio"].dtype, one["vision"].dtype, two["vision"].dtype) == (np.float32, np.uint8, np.uint8)
    assert np.allclose(one["audio"], rows[0]["audio"])
    assert np.array_equal(one["vision"], rows[0]["vision"])
    assert np.array_equal(two["vision"], rows[1]["vision"])
    assert "audio" not in two
    pixels = sum(int(np.prod(s["vision"])) for s in shapes)
    assert part.stat().st_size < pixels + 4 * 8 + 1000
