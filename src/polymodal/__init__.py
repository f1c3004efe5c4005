"""polymodal: learning from several modalities at once.

    import polymodal
    run = polymodal.fit("mmcl", "synthetic:talk", epochs=5)
    scores = polymodal.evaluate(run)

Names are imported on first use, so that ``import polymodal`` costs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from polymodal._version import __version__ as __version__

if TYPE_CHECKING:
    from polymodal.data.corpus import Corpus
    from polymodal.data.sources import load_corpus
    from polymodal.data.split import Split, build_split
    from polymodal.methods.base import Method
    from polymodal.predict.predictor import Predictor
    from polymodal.train.evaluate import evaluate
    from polymodal.train.fit import fit
    from polymodal.train.run import Run

__all__ = ["Corpus", "Method", "Predictor", "Run", "Split", "build_split", "evaluate", "fit", "load_corpus"]

_HOME = {
    "Corpus": "data.corpus",
    "Method": "methods.base",
    "Predictor": "predict.predictor",
    "Run": "train.run",
    "Split": "data.split",
    "build_split": "data.split",
    "evaluate": "train.evaluate",
    "fit": "train.fit",
    "load_corpus": "data.sources",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
