"""``polymodal fit best``: from labelled data to an ensemble of what suits it, within a time limit."""

from polymodal.best.search import fit_best

__all__ = ["fit_best"]
