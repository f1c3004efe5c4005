"""Encoders belong to modalities: what is no option any more, and what is asked for in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polymodal.core.errors import OptionError

if TYPE_CHECKING:
    from polymodal.core import Schema
    from polymodal.methods.base import Method


def check_moved(options: dict[str, Any]) -> None:
    """Raise OptionError where ``options`` name the encoder of the text, which is the modality's and no option."""
    if "text_encoder" in options or "text_tuning" in options:
        tuning = options.get("text_tuning", "full")
        spec = f"{options.get('text_encoder', 'minilm')}{'' if tuning == 'full' else f'?tuning={tuning}'}"
        raise OptionError(
            "text_encoder and text_tuning are no options of a method any more, a modality has its encoder: "
            f'use --encoder text={spec}, in a preset: encoder: {{text: "{spec}"}}'
        )


def check_used(method: Method, schema: Schema) -> None:
    """Raise OptionError where the method does not use an encoder that was asked for."""
    from polymodal.nn.inputs import Inputs

    used = {name for module in method.modules() if isinstance(module, Inputs) for name in module.encoders}
    for modality in schema.modalities:
        if modality.encoder and modality.name not in used:
            raise OptionError(
                f"{type(method).__name__} reads {modality.name} in its own way: the encoder {modality.encoder!r} would "
                f"not be used; leave it out (--encoder {modality.name}=none), or freeze it with --encode"
            )
