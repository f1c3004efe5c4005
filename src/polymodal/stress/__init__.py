"""Absence and noise: what real data does to a batch, drawn reproducibly and blind to models.

A protocol is written ``name:modality,...,option=value``; several are joined by ``+`` and applied from left to right::

    missing:rate=0.3            noise:audio,snr=0            missing:rate=0.3+noise:vision,snr=10

A test over several strengths separates them by slashes: ``missing:rate=0.1/0.3/0.5``.
"""

from polymodal.stress.absence import missing_shares
from polymodal.stress.named import NAMED, Prior, Protocol, named, prior
from polymodal.stress.spec import PROTOCOLS, Stress, parse_stress
from polymodal.stress.sweep import AS_IS, COMPLETE, Point, conditions, curve_places, sweep, sweeps

__all__ = [
    "AS_IS",
    "COMPLETE",
    "NAMED",
    "PROTOCOLS",
    "Point",
    "Prior",
    "Protocol",
    "Stress",
    "conditions",
    "curve_places",
    "missing_shares",
    "named",
    "parse_stress",
    "prior",
    "sweep",
    "sweeps",
]
