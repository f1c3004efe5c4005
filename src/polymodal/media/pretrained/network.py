"""Frozen networks of transformers, loaded and asked for the mean of their hidden states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polymodal.core import OptionError

CODE = 1
"""To be raised with every change in this folder that changes a feature."""

_SPARE = ("pooler", "masked_spec_embed", "mask_token", "decoder")
"""Parts of a network that no hidden state of its encoder needs: a checkpoint may lack them."""


def load_network(folder: Path, name: str, what: str, inputs: Sequence[str]) -> Any:
    """Return the encoder in ``folder``, in evaluation mode, as float32.

    Args:
        folder: what ``save_pretrained`` wrote.
        name: of the network, for messages.
        what: what it is to read, for messages.
        inputs: the names that its main input may have.

    Raises:
        OptionError: transformers is not installed, the folder is damaged or holds a network that reads something else.
    """
    import torch

    AutoModel = from_transformers("AutoModel", name)
    with without_talk():
        try:
            model, found = AutoModel.from_pretrained(
                folder,
                trust_remote_code=False,
                dtype=torch.float32,
                local_files_only=True,
                output_loading_info=True,
            )
        except Exception as error:  # noqa: BLE001 (whatever a library makes of a damaged file)
            raise damaged(name, error) from None
    lacking = [key for key in found["missing_keys"] if not any(part in key for part in _SPARE)]
    if lacking:
        raise OptionError(f"{name} has no weights for {sorted(lacking)[0]}; get its files again")
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    model = getattr(model, "vision_model", model) if "pixel_values" in inputs else model
    if model.main_input_name not in inputs:
        raise OptionError(
            f"{name} ({model.config.model_type}) does not read {what}: its input is {model.main_input_name}"
        )
    return model.eval().requires_grad_(False)


def load_processor(kind: str, folder: Path, name: str) -> Any:
    """Return what prepares the input: ``AutoFeatureExtractor`` or ``AutoImageProcessor``, by its name.

    Raises:
        OptionError: it cannot be had.
    """
    loader = from_transformers(kind, name)
    with without_talk():
        try:
            return loader.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        except Exception as error:  # noqa: BLE001 (as above)
            raise damaged(name, error) from None


def from_transformers(thing: str, name: str) -> Any:
    """Return a class of transformers; OptionError without it."""
    try:
        import transformers
    except ImportError:
        raise OptionError(f"{name} needs transformers; run: pip install 'polymodal[text]'") from None
    return getattr(transformers, thing)


def damaged(name: str, error: BaseException) -> OptionError:
    """Return the error to raise where files cannot be loaded."""
    lines = str(error).strip().splitlines()
    reason = " ".join((lines[0] if lines else type(error).__name__).split())[:200]
    return OptionError(f"{name} cannot be loaded ({reason}); it is damaged or another kind of network: get it again")


@contextmanager
def without_talk() -> Iterator[None]:
    """Keep transformers from printing bars and advice while it loads."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def mean_state(hidden: Sequence[Any], layers: int | None) -> Any:
    """Return the mean of the last ``layers`` hidden states (None: of all) that have the last one's shape."""
    import torch

    alike = [state for state in hidden if state.shape == hidden[-1].shape]
    return torch.stack(alike[-layers:] if layers else alike).mean(0)
