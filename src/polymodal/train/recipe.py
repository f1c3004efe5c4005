"""How to train: one record of hyper-parameters, filled by presets and the caller."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from polymodal.core.errors import OptionError, nearest

PRESETS = Path(__file__).parents[1] / "presets"


@dataclass(frozen=True)
class Recipe:
    """Training hyper-parameters; all of them are part of a run's identity.

    Attributes:
        epochs: passes over the training split at most.
        batch_size: samples per step over all processes (before ``accumulate``).
        lr: learning rate of new parameters (AdamW).
        lr_pretrained: learning rate of pre-trained encoders trained inside the method.
        weight_decay: on matrices; biases and norms have none.
        schedule: ``constant``, ``cosine`` (to 0 over ``epochs``), ``plateau`` (halved after ``patience`` // 2 epochs
            without improvement).
        warmup: share of all steps over which the rate rises linearly.
        clip: largest gradient norm; 0 switches clipping off.
        accumulate: batches per optimiser step; their gradients are averaged.
        patience: epochs without improvement of the validation loss before stopping.
        precision: ``32`` or ``bf16-mixed``.
        drop_last: leave out a smaller last batch in training.
        bucket: batches of similar length (see ``data.Loader``).
        train_stress: stress on training batches as augmentation, and on validation batches with static masks, so that
            the epoch is chosen that stands it best; for example ``missing:rate=0.3``. Empty for none.
        fresh_masks: new masks of ``train_stress`` in each epoch; otherwise the same ones in all.
    """

    epochs: int = 40
    batch_size: int = 32
    lr: float = 1e-3
    lr_pretrained: float = 2e-5
    weight_decay: float = 1e-3
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"
    warmup: float = 0.05
    clip: float = 1.0
    accumulate: int = 1
    patience: int = 8
    precision: Literal["32", "bf16-mixed"] = "32"
    drop_last: bool = True
    bucket: bool = True
    train_stress: str = ""
    fresh_masks: bool = True

    def __post_init__(self) -> None:
        if self.train_stress:
            from polymodal.stress import parse_stress

            parse_stress(self.train_stress)
        for name in ("epochs", "batch_size", "accumulate", "patience", "lr"):
            if not getattr(self, name) > 0:
                raise OptionError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("lr_pretrained", "weight_decay", "clip"):
            if not getattr(self, name) >= 0:
                raise OptionError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.warmup < 1:
            raise OptionError(f"warmup is a share of all steps, at least 0 and below 1, got {self.warmup}")
        for name, choices in (
            ("schedule", ("constant", "cosine", "plateau")),
            ("precision", ("32", "bf16-mixed")),
        ):
            if getattr(self, name) not in choices:
                raise OptionError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")

    def with_options(self, options: dict[str, Any]) -> Recipe:
        """Return the recipe with ``options`` changed; OptionError names an unknown one or a wrong type."""
        names = recipe_names()
        for name, value in options.items():
            if name not in names:
                raise OptionError(f"unknown training option {name!r}{nearest(name, names)}")
            wanted = type(getattr(self, name))
            fits = isinstance(value, wanted) and isinstance(value, bool) == (wanted is bool)
            if not fits and not (wanted is float and isinstance(value, int) and not isinstance(value, bool)):
                raise OptionError(f"{name} must be {wanted.__name__}, got {value!r}")
        return replace(self, **options)


def recipe_names() -> tuple[str, ...]:
    """Names of all training options."""
    return tuple(f.name for f in fields(Recipe))


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
    """Return ``{"method": options, "training": recipe fields, "encode": modality -> encoder}``.

    Args:
        method: method id.
        preset: name of a shipped preset, or path of a YAML file.

    Raises:
        OptionError: no such preset, not YAML, or sections other than these three.
    """
    import yaml

    path = PRESETS / method / f"{preset}.yaml"
    if not path.is_file():
        path = Path(preset)
    if not path.is_file():
        raise OptionError(f"method {method} has no preset {preset!r}{nearest(preset, preset_names(method))}")
    try:
        data = yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"preset {path} is not valid YAML: {str(error).splitlines()[0]}") from None
    sections = ("method", "training", "encode")
    if not isinstance(data, dict) or not all(isinstance(data.get(s) or {}, dict) for s in sections):
        raise OptionError(f"preset {path} must hold the sections {', '.join(sections)}, each with 'name: value' lines")
    for section in data:
        if section not in sections:
            raise OptionError(f"preset {path}: unknown section {section!r}{nearest(str(section), sections)}")
    return {section: data.get(section) or {} for section in sections}
