"""How to train: one record of hyper-parameters, filled by presets and the caller."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from polymodal.core.errors import OptionError, nearest
from polymodal.core.options import Count, NotNegative, Positive, Rule, options_of, read_options, settle
from polymodal.core.written import read_yaml

PRESETS = Path(__file__).parents[1] / "presets"
Share = Annotated[float, Rule("a share, at least 0 and below 1", lambda share: 0 <= share < 1)]

SECTIONS = ("method", "training", "encoder", "encode")
"""Of a preset."""


@dataclass(frozen=True)
class Recipe:
    """Training hyper-parameters; all of them are part of a run's identity.

    Attributes:
        epochs: passes over the training split at most.
        batch_size: samples per step over all processes (before ``accumulate``).
        lr: learning rate of new parameters.
        lr_pretrained: learning rate of pre-trained encoders trained inside the method.
        weight_decay: on matrices; biases and norms have none.
        optimizer: ``adamw``, or ``sgd``, whose weight decay is part of the gradient.
        momentum: of SGD; beta1 of AdamW (its beta2 is 0.999).
        schedule: ``constant``, ``cosine`` (to 0 over ``epochs``), ``plateau`` (halved after ``patience`` // 2 epochs
            without improvement).
        warmup: share of all steps over which the rate rises linearly.
        clip: largest gradient norm; 0 switches clipping off.
        accumulate: batches per optimiser step; their gradients are averaged.
        patience: epochs without improvement of the validation loss before stopping.
        precision: ``32`` or ``bf16-mixed``.
        drop_last: leave out a smaller last batch in training.
        bucket: batches of similar length (see ``data.Loader``).
        balance: ``domain``, ``class`` or ``cell`` (class in a domain) for as many samples of each in every training
            batch; empty for none.
        train_stress: stress on training batches as augmentation, and on validation batches with static masks, so that
            the epoch is chosen that stands it best; for example ``missing:rate=0.3``. Empty for none.
        fresh_masks: new masks of ``train_stress`` in each epoch; otherwise the same ones in all.
    """

    epochs: Count = 40
    batch_size: Count = 32
    lr: Positive = 1e-3
    lr_pretrained: NotNegative = 2e-5
    weight_decay: NotNegative = 1e-3
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: Share = 0.9
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"
    warmup: Share = 0.05
    clip: NotNegative = 1.0
    accumulate: Count = 1
    patience: Count = 8
    precision: Literal["32", "bf16-mixed"] = "32"
    drop_last: bool = True
    bucket: bool = True
    balance: Literal["", "domain", "class", "cell"] = ""
    train_stress: str = ""
    fresh_masks: bool = True

    def __post_init__(self) -> None:
        settle("training", self)
        if self.train_stress:
            from polymodal.stress import parse_stress
            from polymodal.train.consistency import split_off

            split_off(parse_stress(self.train_stress))

    def with_options(self, options: dict[str, Any]) -> Recipe:
        """Return the recipe with ``options`` changed; OptionError names an unknown one or a wrong value."""
        return replace(self, **read_options("training", options, options_of(Recipe)))


def sort_options(method_class: Any, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tell options of a method from those of training; OptionError names an unknown one or a wrong value."""
    from polymodal.methods._encoders import check_moved

    check_moved(options)
    own = options_of(method_class, skip=1)
    found = read_options(method_class.__name__, options, {**options_of(Recipe), **own}, partly=True)
    return {n: v for n, v in found.items() if n in own}, {n: v for n, v in found.items() if n not in own}


def advice(best_epoch: int, epochs: int, patience: int) -> str:
    """Return what to try where a training that is over had not converged when its epochs ran out; else nothing.

    It had not where the best epoch lies within the last ``patience`` and within the last quarter of all epochs
    (patience alone may be longer than the training).
    """
    if epochs - best_epoch >= min(patience, -(-epochs // 4)):
        return ""
    return f"still improving when the epochs ran out: try --epochs {2 * epochs}"


def preset_names(method: str) -> tuple[str, ...]:
    """Presets shipped for ``method``."""
    return tuple(sorted(p.stem for p in (PRESETS / method).glob("*.yaml")))


def load_preset(method: str, preset: str) -> dict[str, dict[str, Any]]:
    """Return the sections ``method`` (options), ``training`` (recipe fields), ``encoder`` (modality -> encoder that
    trains with the method) and ``encode`` (modality -> frozen encoder).

    Args:
        method: method id.
        preset: name of a shipped preset, or path of a YAML file.

    Raises:
        OptionError: no such preset, not YAML, or sections other than these.
    """
    path = PRESETS / method / f"{preset}.yaml"
    if not path.is_file():
        path = Path(preset)
    if not path.is_file():
        raise OptionError(f"method {method} has no preset {preset!r}{nearest(preset, preset_names(method))}")
    try:
        data = read_yaml(path.read_text()) or {}
    except (ValueError, OSError) as error:
        raise OptionError(f"preset {path} is not valid YAML: {error}; mend it") from None
    if not isinstance(data, dict) or not all(isinstance(data.get(s) or {}, dict) for s in SECTIONS):
        raise OptionError(f"preset {path} must hold the sections {', '.join(SECTIONS)}, each with 'name: value' lines")
    for section in data:
        if section not in SECTIONS:
            raise OptionError(f"preset {path}: unknown section {section!r}{nearest(str(section), SECTIONS)}")
    return {section: data.get(section) or {} for section in SECTIONS}
