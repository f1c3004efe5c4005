"""Who predicts for a folder or a name: a run, or a cascade."""

from __future__ import annotations

import math
from pathlib import Path

from polymodal.cascade.folder import is_cascade
from polymodal.cascade.predictor import CascadePredictor
from polymodal.core import OptionError
from polymodal.core.limits import Limits
from polymodal.media.extraction import AS_RECORDED, Recogniser
from polymodal.predict.predictor import Predictor


def open_predictor(
    run: str,
    *,
    assets: str | Path | None = None,
    level: float = 0.9,
    threads: int = 2,
    recogniser: Recogniser = AS_RECORDED,
    abstain_at: float | None = None,
    limits: Limits = Limits(),  # noqa: B008 (never changed)
    within: float = math.inf,
) -> Predictor | CascadePredictor:
    """Return who predicts for ``run``: a folder of a run or of a cascade, a ready run, or a run on a hub.

    Args:
        within: as ``CascadePredictor``.
        assets, level, threads, recogniser, abstain_at, limits: as ``Predictor``.

    Raises:
        RunError, DataError, OptionError: as either class; a mean error that a cascade would have to keep.
    """
    if not is_cascade(run):
        return Predictor.load(
            run,
            assets=assets,
            level=level,
            threads=threads,
            recogniser=recogniser,
            abstain_at=abstain_at,
            limits=limits,
        )
    if abstain_at is not None:
        raise OptionError(
            f"{run} is a cascade, which passes on what its small run is unsure of and keeps no mean error; leave out "
            "--abstain-at"
        )
    return CascadePredictor(
        run, assets=assets, level=level, threads=threads, recogniser=recogniser, limits=limits, within=within
    )
