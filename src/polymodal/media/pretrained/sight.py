"""States of networks that see, of faces cut out of a picture."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np

from polymodal.core.options import Count, Positive, options_of, read_options
from polymodal.data.ragged import Array
from polymodal.media.clip.picture import Picker
from polymodal.media.pretrained.checkpoint import Checkpoint, Named
from polymodal.media.pretrained.network import CODE, load_network, load_processor, mean_state
from polymodal.media.types import Track

BATCH = 16
"""Faces looked at together."""


class Sight:
    """Hidden states of an image encoder of transformers (ViT, DINOv2, CLIP, ResNet and their like), one row a face.

    The states of all patches are averaged, the class token among them.

    Args:
        named: its name.
        found: its files.

    Options in the name: ``layers`` (mean of the last so many hidden states, all if left out; those of another shape
    than the last one's do not count) and ``fps`` (faces looked at in a second, at most; all if left out).

    Raises:
        OptionError: files that cannot be loaded, or a network that does not see.
    """

    def __init__(self, named: Named, found: Checkpoint) -> None:
        place = f"hf:{named.place}"
        self.datasets = found.datasets
        self._layers, self._fps = _sight(**read_options(place, named.options, options_of(_sight), text=True))
        self._model = load_network(found.folder, place, "pictures", ("pixel_values",))
        self._processor = load_processor("AutoImageProcessor", found.folder, place)
        self.width = self._look(np.zeros((1, 3, 112, 112), np.uint8)).shape[1]
        self.version = f"{place}@{found.revision}, transformers {version('transformers')}, polymodal pretrained {CODE}"

    def describe(self, faces: Track) -> Track:
        """Return the states of ``faces`` (steps, 3, height, width) uint8 at the times of those that are looked at."""
        picker = Picker(self._fps)
        looked = [picker.passes(time) for time in faces.times]
        times, values = faces.times[looked], faces.values[looked]
        batches = [self._look(values[i : i + BATCH]) for i in range(0, len(values), BATCH)]
        return Track(times, np.concatenate(batches))

    def _look(self, faces: Array) -> Array:
        import torch

        inputs = self._processor(images=list(faces.transpose(0, 2, 3, 1)), return_tensors="pt")
        with torch.inference_mode():
            hidden = self._model(inputs["pixel_values"], output_hidden_states=True).hidden_states
            states = mean_state(hidden, self._layers)
            # Transformers have (faces, patches, width), convolutions (faces, width, rows, columns).
            return np.asarray(states.mean((2, 3)) if states.ndim == 4 else states.mean(1), np.float32)


def _sight(*, layers: Count | None = None, fps: Positive | None = None) -> tuple[int | None, float | None]:
    return layers, fps
