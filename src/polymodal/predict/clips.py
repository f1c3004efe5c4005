"""Which of a run's modalities can be had from a clip, and the pipeline that makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.core import Modality, OptionError, RunError
from polymodal.data.encode import is_plugin
from polymodal.media.extraction import STREAMS, Extraction, Recogniser
from polymodal.media.types import Utterance
from polymodal.predict.features import Row
from polymodal.train.run import Run

if TYPE_CHECKING:
    from polymodal.media.pipeline import Pipeline

NOTHING = Extraction(audio="none", vision="none", text="auto")
"""For a run whose corpus was not extracted from clips: what was said can still be read to it."""


@dataclass(frozen=True)
class Clips:
    """Extraction for one run.

    Attributes:
        pipeline: extractors, as the run's corpus was made with.
        sources: modality of the run -> what the pipeline makes it from.
        notes: what is absent and why, what was chosen; one sentence each.
    """

    pipeline: Pipeline
    sources: dict[str, Modality]
    notes: tuple[str, ...]

    def row(self, utterance: Utterance) -> Row:
        """Return what ``Features.batch`` takes of an utterance."""
        from polymodal.media.pipeline import feature_row

        return {name: feature_row(utterance, modality) for name, modality in self.sources.items()}

    def absent(self, utterance: Utterance) -> dict[str, str]:
        """Return why modalities of the run are absent, as far as that is known."""
        return {name: utterance.absent[m.name] for name, m in self.sources.items() if m.name in utterance.absent}


def open_clips(
    run: Run, *, assets: str | Path | None, threads: int, recogniser: Recogniser, words: bool = False
) -> Clips:
    """Load the extractors that ``run`` needs.

    Args:
        words: write down what is said even if the run does not read it.

    Raises:
        RunError: nothing that the run was trained on can be made from a clip.
        OptionError: the recogniser that is asked for cannot be had.
    """
    about, names, texts = run.config["data"], run.schema.names, _texts(run)
    options = (about.get("extraction") or {}).get("options")
    recorded = Extraction.from_dict(options) if options else NOTHING
    audio, vision = (_extractor(recorded, modality, names) for modality in STREAMS)
    reader = recorded.reader if "text" in names else ""
    if not (texts or reader) and (audio, vision) == ("none", "none"):
        raise _refusal(run)
    text = recorded.text if recorded.text in ("faster-whisper", "pocketsphinx") else "auto"
    if not (texts or reader or words) and recorded.align == "none":
        text = "none"
    cut = recorded.utterances if recorded.utterances == "windows" else "speech"
    wanted = replace(recorded, audio=audio, vision=vision, text=text, reader=reader, utterances=cut)
    pipeline = _open(wanted, assets, threads, recogniser)
    told = _change(about.get("extraction") or {}, pipeline)
    if text == "none" and recogniser.applied(wanted) != wanted:
        told.append("the recogniser that was asked for is not used: the run reads no words, and none are written down")
    return _matched(run, pipeline, texts, told)


def _texts(run: Run) -> list[str]:
    """Return the modalities that are text, or were before an encoder; only ``text`` itself where there are several."""
    encode = run.config["data"]["encode"]
    found = [
        m.name
        for m in run.schema.modalities
        if m.kind == "text" or (m.name in encode and (m.name == "text" or not is_plugin(encode[m.name])))
    ]
    return found if len(found) < 2 else [n for n in found if n == "text"]


def _extractor(recorded: Extraction, modality: str, names: Sequence[str]) -> str:
    """Return what is to be extracted: all of ``modality`` where the run knows any of it, or they would change names."""
    known = set(recorded.streams(modality)) & set(names)
    return str(getattr(recorded, modality)) if known else "none"


def _open(extraction: Extraction, assets: str | Path | None, threads: int, recogniser: Recogniser) -> Pipeline:
    from polymodal.media.pipeline import Pipeline

    asked = extraction if extraction.text == "none" else recogniser.applied(extraction)
    try:
        return Pipeline(asked, assets=assets, threads=threads, asr_device=recogniser.device)
    except OptionError:
        # Words of another recogniser are better than none, unless somebody asked for this one just now.
        if asked.text in ("auto", "none") or asked != extraction:
            raise
        other = replace(extraction, text="auto", asr_model="auto")
        return Pipeline(other, assets=assets, threads=threads, asr_device=recogniser.device)


def _change(recorded: Mapping[str, Any], pipeline: Pipeline) -> list[str]:
    """Return a sentence if the corpus was transcribed by another recogniser."""
    before, now = ((about or {}).get("text") for about in (recorded.get("versions"), pipeline.versions))
    return [f"the run was trained on transcripts of {before}"] if before and now and before != now else []


def _matched(run: Run, pipeline: Pipeline, texts: Sequence[str], told: Sequence[str]) -> Clips:
    """Keep the modalities that the pipeline makes as the run knows them; ``told`` is noted as well."""
    made = {m.name: m for m in pipeline.modalities}
    sources: dict[str, Modality] = {}
    notes = [*pipeline.notes, *told]
    for wanted in run.schema.modalities:
        name = wanted.name
        found = made.get("text" if name in texts else name)
        if found is None:
            notes.append(f"{name} is absent: it cannot be made from a clip here")
        elif name in texts or name in run.config["data"]["encode"] or found.form == wanted.form:
            sources[name] = found
        else:
            notes.append(f"{name} is absent: here it is {found.form}, the run was trained on {wanted.form}")
    if not sources:
        raise _refusal(run, notes)
    return Clips(pipeline, sources, tuple(notes))


def _refusal(run: Run, notes: Sequence[str] = ()) -> RunError:
    about = ", ".join(f"{m.name} ({m.form})" for m in run.schema.modalities)
    why = f" ({'; '.join(notes)})" if notes else ""
    return RunError(
        f"{run.path} cannot be applied to a clip{why}: it was trained on {about} of {run.config['data']['source']}, "
        f"which nothing here makes from a clip; make a corpus with 'polymodal extract CLIPS --out STORE', then "
        f"'polymodal fit {run.config['method']} --data STORE'"
    )
