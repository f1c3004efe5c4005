"""Kernels that are faster than torch's own, each with a slow twin in plain torch, behind one switch.

``POLYMODAL_FAST=0`` in the environment runs the twins, 1 every kernel; unset, those run that gain on the processor. All
can be differentiated twice: a gradient that is itself to be differentiated is the twin's.
"""

from __future__ import annotations

from polymodal.nn.fast.attention import attention
from polymodal.nn.fast.dropout import Dropout
from polymodal.nn.fast.lstm import LSTM

__all__ = ["LSTM", "Dropout", "attention"]
