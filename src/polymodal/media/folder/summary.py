"""What came of an extraction, in figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from polymodal.data.corpus import Corpus
from polymodal.media.folder.assemble import Made


@dataclass(frozen=True)
class Summary:
    """What came of an extraction.

    Attributes:
        store: the folder written.
        clips, done, before, failed: in the manifest; extracted, of these before this start; not extracted.
        failures: clip and reason of those that failed, in the order of the manifest.
        utterances: split -> how many.
        modalities: name -> share of the utterances that have it.
        transcriber: who transcribed; ``given`` or ``none`` where nobody did.
        face, speech: share of the frames with a face, of the time with speech; None where not looked for.
        media_seconds, seconds: length of the clips extracted in this start, and how long that took.
        stages: what the workers spent on these, stage -> seconds.
        notes: those of the corpus.
    """

    store: str
    clips: int
    done: int
    before: int
    failed: int
    failures: tuple[tuple[str, str], ...]
    utterances: dict[str, int]
    modalities: dict[str, float]
    transcriber: str
    face: float | None
    speech: float | None
    media_seconds: float
    seconds: float
    stages: dict[str, float]
    notes: tuple[str, ...]

    @property
    def speed(self) -> float:
        """Seconds of media per second."""
        return self.media_seconds / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**asdict(self), "speed": self.speed}


def summarise(
    folder: Path,
    corpus: Corpus,
    made: Sequence[Made],
    before: AbstractSet[str],
    failures: Mapping[str, str],
    transcriber: str,
    seconds: float,
) -> Summary:
    """Return the summary of a store.

    Args:
        before: clips of ``made`` that had been done before this start, which took ``seconds``.
    """
    total = sum(map(len, corpus.splits.values()))
    present = {n: sum(int(s.present[n].sum()) for s in corpus.splits.values()) for n in corpus.schema.names}
    now = [m for m in made if m.task.clip not in before]
    stages = dict.fromkeys(stage for m in now for stage in m.about["stages"])
    return Summary(
        store=str(folder),
        clips=len(made) + len(failures),
        done=len(made),
        before=len(made) - len(now),
        failed=len(failures),
        failures=tuple(failures.items()),
        utterances={name: len(split) for name, split in corpus.splits.items()},
        modalities={name: count / total for name, count in present.items()},
        transcriber=transcriber,
        face=_share(made, "face"),
        speech=_share(made, "speech"),
        media_seconds=sum(m.about["seconds"] for m in now),
        seconds=seconds,
        stages={name: sum(m.about["stages"].get(name, 0.0) for m in now) for name in stages},
        notes=corpus.notes,
    )


def _share(made: Sequence[Made], name: str) -> float | None:
    """Return the mean of a share over the clips that have it, weighted by their lengths."""
    having = [(m.about["shares"][name], m.about["seconds"]) for m in made if name in m.about["shares"]]
    total = sum(seconds for _, seconds in having)
    return sum(share * seconds for share, seconds in having) / total if total else None
