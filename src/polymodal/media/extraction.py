"""How features are made from clips: stored with a corpus and with every run trained on it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from polymodal.core import OptionError, nearest

PRETRAINED = "hf:"
"""Before the name of a network of transformers."""

WHISPER = "whisper"
FACE = "face"
"""Features of a face that are not made by looking at a picture of it cut out."""

ALONE = ("file", "none")
"""What is no feature that others could stand beside."""


@dataclass(frozen=True)
class Extraction:
    """What is extracted. Everything that changes a feature is here; how fast it is done is not.

    Args:
        audio: ``egemaps`` (openSMILE eGeMAPSv02, 25 low-level descriptors every 10 ms), ``egemaps-functionals`` (88 per
            utterance), ``compare`` (ComParE 2016, 65 every 10 ms), ``compare-functionals`` (6373 per utterance),
            ``logmel`` (40 log-mel bands, F0 and voicing every 10 ms, without openSMILE), ``whisper`` (the encoder of
            Whisper tiny.en), ``hf:NAME`` (a network of transformers, see ``pretrained``), ``file`` (read, not
            extracted), ``none``. Several, joined by commas, are one modality each, see ``streams``.
        vision: ``face`` (blendshapes, head pose, landmark distances, tracked flag per frame), ``crops`` (the face, see
            ``face.crops``; frames without one are left out), ``hf:NAME`` (a network that looks at it), ``file``,
            ``none``. Several as for audio.
        text: who transcribes: ``auto`` (faster-whisper where it is there), ``faster-whisper``, ``pocketsphinx``,
            ``given`` (only transcripts that the user has), ``none``.
        reader: ``hf:NAME`` of the network whose states take the place of the text; empty: the text itself is kept.
        asr_model: of faster-whisper: a name (``tiny.en``, ``small``), a folder, or ``owner/name`` on the hub; ``auto``:
            what ``words.weights.find_weights`` finds, usually tiny.en, which is installed with it.
        language: what is spoken, as a code (``en``, ``de``); ``auto``: detected, where the model knows several.
        utterances: what is judged as one: ``speech`` (stretches of speech; windows where there are faces but no
            speech), ``transcript`` (the segments of the given transcript), ``windows``, ``clip`` (the whole clip).
        window: seconds of a window.
        longest: seconds after which a stretch of speech is cut at its next pause, or at once after twice as long.
        fps: video frames looked at per second, at most; crops need fewer than features, for example 5.
        align: ``words`` averages audio and vision over each word, as in the field's aligned corpora; ``none``.
    """

    audio: str = "egemaps"
    vision: str = FACE
    text: str = "auto"
    reader: str = ""
    asr_model: str = "auto"
    language: str = "auto"
    utterances: str = "speech"
    window: float = 5.0
    longest: float = 15.0
    fps: float = 25.0
    align: str = "none"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if name in STREAMS:
                _check_streams(name, getattr(self, name), choices)
            elif getattr(self, name) not in choices:
                raise OptionError(f"there is no {name} {getattr(self, name)!r}{nearest(getattr(self, name), choices)}")
        if self.reader and (self.text == "none" or not self.reader.startswith(PRETRAINED)):
            raise OptionError(f"{self.reader!r} cannot read text; name a network as hf:NAME, and who says the words")
        for name, low, high in (("window", 0.5, 600), ("longest", 1, 600), ("fps", 1, 120)):
            if not low <= getattr(self, name) <= high:
                raise OptionError(f"{name} must be from {low} to {high}, got {getattr(self, name)}")
        if (self.audio, self.vision, self.text) == ("none", "none", "none"):
            raise OptionError("audio, vision and text are all none; extract at least one of them")
        if "crops" in self.vision.split(",") and self.align == "words":
            raise OptionError("faces cut out cannot be averaged over a word; use vision=face or align=none")

    def streams(self, modality: str) -> dict[str, str]:
        """Return the names of what is extracted as ``audio`` or ``vision``, each with the features that it holds.

        The first is called as the modality, others have their features' name behind it (``audio_whisper``); none where
        nothing is extracted.
        """
        found: dict[str, str] = {}
        for part in getattr(self, modality).split(","):
            name = f"{modality}_{_short(part)}" if found else modality
            while name in found:
                name += "_2"
            found[name] = part
        return {} if set(found.values()) & set(ALONE) else found

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; ``from_dict`` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Extraction:
        """Rebuild from ``to_dict``; OptionError for a name that does not exist."""
        names = [f.name for f in fields(cls)]
        for name in data:
            if name not in names:
                raise OptionError(f"extraction has no option {name!r}{nearest(name, names)}")
        return cls(**data)


@dataclass(frozen=True)
class Recogniser:
    """What recognises speech, where it is not as it was when a corpus was extracted.

    Args:
        model: as ``Extraction.asr_model``; None: as recorded.
        language: as ``Extraction.language``; None: as recorded.
        device: ``cpu``, ``cuda`` or ``auto``.
    """

    model: str | None = None
    language: str | None = None
    device: str = "cpu"

    def applied(self, recorded: Extraction) -> Extraction:
        """Return ``recorded`` with what is given here; another model or language belongs to faster-whisper."""
        if self.model is None and self.language is None:
            return recorded
        model = recorded.asr_model if self.model is None else self.model
        language = recorded.language if self.language is None else self.language
        return replace(recorded, text="faster-whisper", asr_model=model, language=language)


AS_RECORDED = Recogniser()

STREAMS = ("audio", "vision")
"""Of which there may be several at once."""

CHOICES = {
    "audio": ("egemaps", "egemaps-functionals", "compare", "compare-functionals", "logmel", WHISPER, *ALONE),
    "vision": (FACE, "crops", *ALONE),
    "text": ("auto", "faster-whisper", "pocketsphinx", "given", "none"),
    "utterances": ("speech", "transcript", "windows", "clip"),
    "align": ("none", "words"),
}


def _check_streams(modality: str, given: str, choices: tuple[str, ...]) -> None:
    """Raise OptionError unless ``given`` names features, separated by commas, that can stand beside each other."""
    parts = given.split(",")
    for part in parts:
        name = part.partition("?")[0]
        known = name == part or name == WHISPER  # of the features without a network, none has options
        if not (part.startswith(PRETRAINED) or (known and name in choices)):
            raise OptionError(f"there is no {modality} {part!r}{nearest(part, choices)}")
    if len(parts) > 1 and (single := {*ALONE} & {*parts}):
        raise OptionError(f"{modality} {sorted(single)[0]!r} stands alone; leave it out, or name nothing else")
    if len(parts) > len({*parts}):
        raise OptionError(f"{modality} names the same features twice: {given}")


def _short(features: str) -> str:
    """Return the name of features without options, revision and owner, as a name of a modality may be written."""
    place = features.removeprefix(PRETRAINED).partition("?")[0].rpartition("/")[2].partition("@")[0]
    return re.sub(r"\W+", "_", place).strip("_").lower()
