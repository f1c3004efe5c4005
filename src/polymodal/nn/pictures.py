"""Vision transformers that train with the method."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from polymodal.core import Modality, OptionError
from polymodal.nn.patches import PictureEncoder
from polymodal.nn.text import with_lora


class PictureTransformer(PictureEncoder):
    """A vision transformer of transformers (ViT, DINOv2, the vision tower of CLIP and their like) that trains with the
    method: pictures -> the states of its patches, the class token among them.

    Pictures are stretched to the sides that its position embeddings are made for. Their channels are standardised by
    the training split, as all pixels are, not by the mean and deviation that the network was trained with.

    Args:
        modality: of kind ``image`` or ``frames``, in colour; its ``encoder`` is a local folder or a hub name, its
            ``tuning`` ``full`` or ``lora``, as in ``nn.text.TextEncoder``.

    Raises:
        OptionError: transformers is not installed, nothing loadable is called that, or it is no vision transformer.
        OptionError: the pictures have not three channels.
    """

    def __init__(self, modality: Modality) -> None:
        super().__init__()
        self.name = modality.encoder
        if modality.shape[0] != 3:
            raise OptionError(
                f"encoder {self.name!r} reads pictures in colour, but modality {modality.name!r} has "
                f"{modality.shape[0]} channels; give three, or use patches"
            )
        model = load_vision(self.name)
        self.is_pretrained, self.side = modality.tuning == "full", model.config.image_size
        self.width = int(model.config.hidden_size)
        self.model = with_lora(model, self.name) if modality.tuning == "lora" else model

    def states(self, pictures: Tensor) -> Tensor:
        """Return ``(pictures, tokens, width)`` of ``(pictures, 3, height, width)``."""
        if not len(pictures):
            return pictures.new_zeros(0, 1, self.width)
        sides = (self.side, self.side)
        if tuple(pictures.shape[2:]) != sides:
            pictures = nn.functional.interpolate(pictures, sides, mode="bilinear", align_corners=False)
        states: Tensor = self.model(pixel_values=pictures).last_hidden_state
        return states


def load_vision(name: str) -> Any:
    """Return the vision transformer in a local folder or of the hub, in float32, without a pooler.

    Raises:
        OptionError: transformers is not installed, nothing loadable is called that, or it is no vision transformer.
    """
    try:
        from transformers import AutoModel
        from transformers.utils.logging import disable_progress_bar
    except ImportError:
        raise OptionError(f"picture encoder {name!r} needs transformers; run: pip install 'polymodal[text]'") from None
    disable_progress_bar()
    try:
        # As for text: float32 whatever the file holds, and code that comes with weights is never run.
        model = AutoModel.from_pretrained(name, trust_remote_code=False, dtype=torch.float32)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise OptionError(
            f"picture encoder {name!r} cannot be loaded ({reason}); give 'patches', a folder with a vision transformer "
            "of transformers, or a hub name while the network is up"
        ) from None
    model = getattr(model, "vision_model", model)
    config = model.config
    if model.main_input_name != "pixel_values" or not hasattr(config, "hidden_size") or not _square(config):
        raise OptionError(
            f"picture encoder {name!r} ({config.model_type}) is no vision transformer of square pictures; "
            "give a ViT, DINOv2 or CLIP, or use patches"
        )
    # As of text: a pooler is no part of the states.
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


def _square(config: Any) -> bool:
    return isinstance(getattr(config, "image_size", None), int)
