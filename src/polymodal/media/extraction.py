"""How features are made from clips: stored with a corpus and with every run trained on it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from polymodal.core import OptionError, nearest


@dataclass(frozen=True)
class Extraction:
    """What is extracted. Everything that changes a feature is here; how fast it is done is not.

    Args:
        audio: ``egemaps`` (openSMILE eGeMAPSv02, 25 low-level descriptors every 10 ms), ``egemaps-functionals`` (88 per
            utterance), ``compare`` (ComParE 2016, 65 every 10 ms), ``compare-functionals`` (6373 per utterance),
            ``logmel`` (40 log-mel bands, F0 and voicing every 10 ms, without openSMILE), ``file`` (read, not
            extracted), ``none``.
        vision: ``face`` (blendshapes, head pose, landmark distances, tracked flag per frame), ``crops`` (the face, see
            ``face.crops``; frames without one are left out), ``file``, ``none``.
        text: who transcribes: ``auto`` (faster-whisper where it is there), ``faster-whisper``, ``pocketsphinx``,
            ``given`` (only transcripts that the user has), ``none``.
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
    vision: str = "face"
    text: str = "auto"
    asr_model: str = "auto"
    language: str = "auto"
    utterances: str = "speech"
    window: float = 5.0
    longest: float = 15.0
    fps: float = 25.0
    align: str = "none"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise OptionError(f"there is no {name} {getattr(self, name)!r}{nearest(getattr(self, name), choices)}")
        for name, low, high in (("window", 0.5, 600), ("longest", 1, 600), ("fps", 1, 120)):
            if not low <= getattr(self, name) <= high:
                raise OptionError(f"{name} must be from {low} to {high}, got {getattr(self, name)}")
        if (self.audio, self.vision, self.text) == ("none", "none", "none"):
            raise OptionError("audio, vision and text are all none; extract at least one of them")
        if (self.vision, self.align) == ("crops", "words"):
            raise OptionError("faces cut out cannot be averaged over a word; use vision=face or align=none")

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

CHOICES = {
    "audio": ("egemaps", "egemaps-functionals", "compare", "compare-functionals", "logmel", "file", "none"),
    "vision": ("face", "crops", "file", "none"),
    "text": ("auto", "faster-whisper", "pocketsphinx", "given", "none"),
    "utterances": ("speech", "transcript", "windows", "clip"),
    "align": ("none", "words"),
}
