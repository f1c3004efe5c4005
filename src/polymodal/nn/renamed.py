"""Weights of earlier versions, whose modules had other names."""

from __future__ import annotations

from typing import Any

from torch import nn


def load_renamed(module: nn.Module, old: str, new: str) -> None:
    """Let ``module`` load weights whose names within it begin with ``old`` as those that begin with ``new``."""

    def rename(_: nn.Module, weights: dict[str, Any], prefix: str, *__: Any) -> None:
        for name in [n for n in weights if n.startswith(prefix + old)]:
            weights[prefix + new + name.removeprefix(prefix + old)] = weights.pop(name)

    module.register_load_state_dict_pre_hook(rename)
