"""From pieces of a clip to utterances with features, in one pass and bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.core import DataError, Modality
from polymodal.data.ragged import Array
from polymodal.media.extraction import FACE, Extraction
from polymodal.media.face.crops import SHAPE
from polymodal.media.face.features import NAMES
from polymodal.media.pretrained.named import is_network, open_network, pinned
from polymodal.media.reading import Reading
from polymodal.media.types import Ear, Frame, Samples, Segment, Source, Utterance

if TYPE_CHECKING:
    from polymodal.media.pretrained.sight import Sight
    from polymodal.media.pretrained.words import Reader
    from polymodal.media.words.transcribe import Transcriber


class Pipeline:
    """Extractors, loaded once, applied to any number of clips.

    What cannot be had on this machine is absent and said so in ``notes``.

    Args:
        extraction: what to extract.
        assets: folder with models that are not installed with packages (the face model, weights of speech recognition).
        threads: with 2 or more, faces and speech recognition run beside decoding, faster-whisper in a process of its
            own; results are the same.
        asr_device: of faster-whisper: ``cpu``, ``cuda`` or ``auto``.

    Attributes:
        extraction: what is extracted in fact.
        modalities: what utterances may have, in the order text, audio, vision.
        notes: one sentence for each choice made and for each modality that cannot be had.
        versions: name of a modality -> the version of what makes it.
        trained_on: name of a modality -> the data sets that the card of its network names; only where a network is.
        ears, sights: modality -> what makes it from sound, and from faces cut out (None: no network does).
        reader: what makes features of text, None where it stays text.

    Raises:
        OptionError: an extractor that was asked for by name and cannot be had.
        DataError: nothing but faces was asked for, and there is no face model.
    """

    def __init__(
        self,
        extraction: Extraction,
        *,
        assets: str | Path | None = None,
        threads: int = 1,
        asr_device: str = "cpu",
    ) -> None:
        from polymodal.media.words.transcribe import Wanted, find_transcriber

        notes: list[str] = []
        extraction = pinned(extraction)
        self.threads = threads
        self.versions: dict[str, str] = {}
        self.trained_on: dict[str, tuple[str, ...]] = {}
        self.face_model: Path | None = None
        self.transcriber: Transcriber | None = None
        self.ears = {name: self._ear(name, features) for name, features in extraction.streams("audio").items()}
        self.sights: dict[str, Sight | None] = {}
        self.reader: Reader | None = self._network("text", extraction.reader, "text") if extraction.reader else None
        if faces := extraction.streams("vision"):
            try:
                self.face_model = self._find_faces(assets, faces)
            except DataError as error:
                if (extraction.audio, extraction.text) == ("none", "none"):
                    raise
                notes.append(f"vision is absent: {error}")
                extraction = replace(extraction, vision="none")
        if extraction.text not in ("none", "given"):
            choice, model, language = extraction.text, extraction.asr_model, extraction.language
            self.transcriber, sentence = find_transcriber(
                Wanted(choice, model, language, asr_device, assets, apart=threads > 1)
            )
            notes.append(sentence)
            said = self.transcriber
            extraction = replace(extraction, text=said.name if said else "given")
            if said:
                self.versions["text"] = "; ".join(filter(None, [said.version, self.versions.get("text")]))
        self.extraction = extraction
        self.notes = tuple(notes)
        self.modalities = self._modalities()

    def _ear(self, name: str, features: str) -> Ear:
        from polymodal.media.sound.audio import Acoustic

        if is_network(features):
            network: Ear = self._network(name, features, "audio")
            return network
        ear = Acoustic(features)
        self.versions[name] = ear.version
        return ear

    def _network(self, name: str, features: str, modality: str) -> Any:
        """Return a network; keep its version and what it was trained on as those of the modality ``name``."""
        network = open_network(features, modality)
        self.versions[name], self.trained_on[name] = network.version, network.datasets
        return network

    def _find_faces(self, assets: str | Path | None, streams: dict[str, str]) -> Path:
        from polymodal.media.assets import find_face_model
        from polymodal.media.face.tracker import version

        model = find_face_model(assets)
        for name, features in streams.items():
            sight = self._network(name, features, "vision") if is_network(features) else None
            self.sights[name] = sight
            self.versions[name] = f"{version(model)}{f'; {sight.version}' if sight else ''}"
        return model

    def _modalities(self) -> tuple[Modality, ...]:
        found = []
        if self.reader:
            found.append(Modality("text", "sequence", self.reader.width, normalize=False))
        elif self.extraction.text != "none":
            found.append(Modality("text", "text"))
        for name, ear in self.ears.items():
            found.append(Modality(name, "sequence" if self.extraction.align == "words" else ear.kind, ear.width))
        kinds = self.extraction.streams("vision")
        for name, sight in self.sights.items():
            if sight:
                found.append(Modality(name, "sequence", sight.width))
            elif kinds[name] == FACE:
                found.append(Modality(name, "sequence", len(NAMES)))
            else:
                found.append(Modality(name, "frames", shape=SHAPE))
        return tuple(found)

    def read(
        self,
        source: Source | Iterable[Frame | Samples],
        *,
        name: str | None = None,
        segments: Sequence[Segment] | None = None,
        utterances: str | None = None,
        rolling: tuple[float, float] | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Reading:
        """Return a Reading of one clip: a context manager that yields its utterances.

        Args:
            source: a file, its bytes, a seekable stream, or pieces in the order of their times.
            name: of the clip, for messages.
            segments: what to cut out, for example a transcript; the extraction's rule decides otherwise. Segments
                without text are transcribed where that is possible.
            utterances: the rule, where it is not the extraction's.
            rolling: live use: (length, step) in seconds; speech is transcribed in the background and an utterance
                never waits for it.
            progress: called with the seconds of the clip that have been read, about four times per second of it. What
                it raises ends the reading.

        Raises:
            DataError: the clip cannot be read.
        """
        cutting = utterances or self.extraction.utterances
        return Reading(
            self, source, name=name, segments=segments, utterances=cutting, rolling=rolling, progress=progress
        )


def feature_row(utterance: Utterance, modality: Modality) -> Array | str | None:
    """Return what ``data.split.build_split`` takes for one modality of an utterance; None where it is absent."""
    if modality.kind == "text":
        return utterance.segment.text or None
    track = utterance.tracks.get(modality.name)
    if track is None or not len(track):
        return None
    return track.values[0] if modality.kind == "vector" else track.values
