"""U-ACS (Han et al., 2025, arXiv 2509.04459): a small model answers what it is sure of, a large one the rest."""

from polymodal.cascade.evaluate import evaluate_cascade
from polymodal.cascade.fit import fit_cascade

__all__ = ["evaluate_cascade", "fit_cascade"]
