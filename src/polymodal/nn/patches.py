"""Encoders of pixels; one that is small enough for a CPU, trained from scratch with the method."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from polymodal.core import Modality, Stream
from polymodal.nn.recompute import in_parts

GRID = 7
"""Patches along the longer side of a picture: 16 x 16 pixels each where it has 112."""


class PictureEncoder(nn.Module, ABC):
    """What reads pictures: an image stream -> a sequence stream ``(batch, patches, width)``; a frames stream -> a
    sequence stream ``(batch, time, width)``, each frame the mean over its patches.

    Only pictures that are there are encoded: padding and absent samples cost nothing and are exact zeros.

    Attributes:
        width: features of the result.
        part: pictures whose activations are held at once in training, see ``in_parts``; 0 holds all.
    """

    width: int
    part: int = 0

    def forward(self, stream: Stream) -> Stream:
        """Return the encoded stream."""
        real = stream.present if stream.lengths is None else stream.mask
        frames = stream.lengths is not None
        read = (lambda pictures: self.states(pictures).mean(1)) if frames else self.states
        states = in_parts(read, stream.tensor[real], size=self.part)
        lengths = stream.present * states.shape[1] if stream.lengths is None else stream.lengths
        values = states.new_zeros(*real.shape, *states.shape[1:])
        values[real] = states
        return Stream(values, lengths, stream.present)

    @abstractmethod
    def states(self, pictures: Tensor) -> Tensor:
        """Return ``(pictures, patches, width)`` of ``(pictures, channels, height, width)``."""


class PatchEncoder(PictureEncoder):
    """One block of MLP-Mixer (Tolstikhin et al., NeurIPS 2021, eq. 1) on the patches of a picture.

    Pictures that patches do not cover evenly are filled with zeros, the mean of standardised pixels, to the right and
    below. Departure: the mean over patches is taken frame by frame, not for an image.

    Args:
        modality: of kind ``image`` or ``frames``, with its shape.
        width: features of the result.
    """

    def __init__(self, modality: Modality, width: int = 64) -> None:
        super().__init__()
        channels, *sides = modality.shape
        self.width, self.size = width, -(-max(sides) // GRID)
        self.grid = tuple(-(-side // self.size) for side in sides)
        patches = self.grid[0] * self.grid[1]
        self.embed = nn.Linear(channels * self.size**2, width)
        self.over_patches = _perceptron(patches, patches)
        self.over_features = _perceptron(width, 2 * width)
        self.before_patches, self.before_features, self.last = (nn.LayerNorm(width) for _ in range(3))

    def states(self, pictures: Tensor) -> Tensor:
        """Return ``(pictures, patches, width)`` of ``(pictures, channels, height, width)``."""
        x = self.embed(self.cut(pictures))
        x = x + self.over_patches(self.before_patches(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.over_features(self.before_features(x))
        return self.last(x)

    def cut(self, pictures: Tensor) -> Tensor:
        """Return the patches of pictures, row by row: ``(pictures, patches, channels * size * size)``."""
        (rows, columns), size = self.grid, self.size
        count, channels, height, width = pictures.shape
        whole = nn.functional.pad(pictures, (0, columns * size - width, 0, rows * size - height))
        parts = whole.view(count, channels, rows, size, columns, size).permute(0, 2, 4, 1, 3, 5)
        return parts.reshape(count, rows * columns, channels * size * size)


def _perceptron(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
