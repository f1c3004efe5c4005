"""Words right and seconds spent: recognisers on GRID's sentences, and what they make of a language they do not know.

    python benchmarks/speech.py          minutes on 2 cores
    python benchmarks/speech.py --quick

GRID (11 clips, seven speakers): word error rate, the errors of all words together, after case, punctuation and the
spelling of numbers and single letters are made the same ("F2" is "f two"). Speech activity is not part of the time;
both recognisers get the same stretches, one after the other, on one thread. EmoDB (German): the share of clips whose
words a model that knows English only calls doubtful or leaves out; the same share on GRID are false alarms. What a
shorter window costs: utterances of MELD in a synthetic voice, alone and four together, with and without noise, read in
Whisper's 30 s and in less. Needs the real data ($POLYMODAL_SHARED or ../shared).
"""

from __future__ import annotations

import csv
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from measure import save
from polymodal.media.types import RATE, Samples

DATA = Path(os.environ.get("POLYMODAL_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def plain(text: str) -> list[str]:
    """Return the words of ``text`` in one spelling: lower case, no punctuation, digits one by one as words."""
    spaced = re.sub(r"([0-9])", lambda m: f" {DIGITS[int(m[1])]} ", text.lower().replace("'", ""))
    return re.sub(r"[^a-z ]", " ", spaced).split()


def errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Return how many words must be replaced, left out or added to make one of the other."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def grid() -> Iterator[tuple[Path, str]]:
    """Yield clips and what is said in them."""
    folder = DATA / "grid_av_speech"
    for file in sorted((folder / "clips_s1").glob("*.align")):
        words = [line.split()[2] for line in file.read_text().splitlines()]
        yield file.with_suffix(".mpg"), " ".join(w for w in words if w not in ("sil", "sp"))
    with (folder / "clips_other_speakers.csv").open(newline="") as table:
        yield from ((folder / row["file"], row["text"]) for row in csv.DictReader(table))


def stretches(file: Path) -> list[Samples]:
    """Return what speech activity finds in a clip."""
    from polymodal.media.clip.decode import Media
    from polymodal.media.sound.speech import SpeechActivity

    activity = SpeechActivity()
    with Media(file) as media:
        pieces = [p for p in media.pieces(video=False) if isinstance(p, Samples)]
    found = [s for p in pieces for s in activity.push(p)] + activity.finish()
    values = np.concatenate([p.values for p in pieces])
    return [Samples(s.start, values[round(s.start * RATE) : round(s.end * RATE)]) for s in found]


def hear(
    transcriber: Any, clips: Sequence[tuple[Path, list[Samples]]]
) -> tuple[dict[str, Any], list[tuple[str, bool]]]:
    """Return figures of time, and of each clip the text and whether the recogniser has doubts."""
    from polymodal.media.words.said import Said

    found: list[tuple[str, bool]] = []
    heard, began, busy = 0.0, time.perf_counter(), time.process_time()
    for file, parts in clips:
        said, words = Said("", transcriber.only), []
        for part in parts:
            transcript = transcriber.transcribe(part.values, part.time)
            said.add(transcript)
            words += [word.text for word in transcript.words]
            heard += len(part.values) / RATE
        found.append((" ".join(words), bool(said.notes(file.name))))
    seconds, cpu = time.perf_counter() - began, time.process_time() - busy
    count = sum(len(parts) for _, parts in clips)
    told = {"clips": len(clips), "stretches": count, "speech_seconds": heard, "seconds": seconds, "cpu_seconds": cpu}
    return told | {"cpu_seconds_per_stretch": cpu / max(1, count)}, found


def measure(name: str, english: Any, german: Any) -> dict[str, Any] | str:
    """Return the figures of a recogniser, or why there are none."""
    from polymodal.core import OptionError
    from polymodal.media.words.transcribe import Wanted, find_transcriber

    try:
        transcriber, sentence = find_transcriber(Wanted(name))
    except OptionError as error:
        return str(error)
    if transcriber is None:
        return sentence
    transcriber.transcribe(english[0][2][0].values, 0.0)  # what the first call loads is not the recogniser's speed
    spent, found = hear(transcriber, [(file, parts) for file, _, parts in english])
    wrong = [errors(plain(text), plain(heard)) for (_, text, _), (heard, _) in zip(english, found, strict=True)]
    result = {
        "recogniser": transcriber.version,
        "word_error_rate": sum(wrong) / sum(len(plain(text)) for _, text, _ in english),
        "doubted": sum(doubt for _, doubt in found) / len(found),
        **spent,
        "heard": {
            file.name: {"said": text, "heard": h} for (file, text, _), (h, _) in zip(english, found, strict=True)
        },
    }
    if name == "faster-whisper":
        told, foreign = hear(transcriber, german)
        result["german"] = told | {"doubted": sum(doubt for _, doubt in foreign) / len(foreign)}
    return result


def spoken(count: int) -> list[tuple[str, np.ndarray[Any, Any]]]:
    """Return utterances of MELD's test split in a synthetic voice: ``count`` alone, every four together, all of them
    with and without noise."""
    from scipy.signal import resample_poly

    from polymodal.reply.manner import Manner
    from polymodal.reply.voice.piper import Piper

    voice, rng = Piper(), np.random.default_rng(0)
    with (DATA / "meld_text/test_sent_emo.csv").open(encoding="utf-8", errors="ignore", newline="") as table:
        texts = [row["Utterance"] for row in csv.DictReader(table)]
    fit = [text for text in texts if text.isascii() and 3 <= len(text.split()) <= 40]
    found = []
    for row in rng.permutation(len(fit))[:count]:
        said = voice.say(fit[row], Manner())
        found.append((fit[row], resample_poly(said.samples, RATE, said.rate).astype(np.float32)))
    for first in range(0, count, 4):
        some = found[first : first + 4]
        found.append((" ".join(text for text, _ in some), np.concatenate([values for _, values in some])))
    noisy = [(text, values + rng.normal(0, 0.01, len(values)).astype(np.float32)) for text, values in found]
    return found + noisy


def windows(sentences: Sequence[tuple[str, np.ndarray[Any, Any]]]) -> dict[str, dict[str, float]]:
    """Return words wrong and CPU seconds for windows of so many seconds, each read in turn."""
    from polymodal.media.words import whisper
    from polymodal.media.words.transcribe import Wanted, find_transcriber

    transcriber, _ = find_transcriber(Wanted("faster-whisper"))
    assert transcriber is not None
    kept, found = whisper.WINDOW, {}
    for seconds in (30.0, 20.0, 15.0, 10.0):
        whisper.WINDOW, wrong, words, began = seconds, 0, 0, time.process_time()
        for text, values in sentences:
            heard = " ".join(word.text for word in transcriber.transcribe(values, 0.0).words)
            wrong, words = wrong + errors(plain(text), plain(heard)), words + len(plain(text))
        spent = time.process_time() - began
        found[f"{seconds:g} s"] = {"word_error_rate": wrong / words, "words": words, "cpu_seconds": spent}
        print(f"{seconds:g} s", found[f"{seconds:g} s"], flush=True)
    whisper.WINDOW = kept
    return found


def main() -> None:
    quick = "--quick" in sys.argv
    english = [(file, text, stretches(file)) for file, text in list(grid())[: 2 if quick else None]]
    files = sorted((DATA / "emodb/audio").glob("*.flac"))[:: 100 if quick else 5]
    if not english or not files:
        raise SystemExit(f"no clips in {DATA}; set POLYMODAL_SHARED")
    german: list[tuple[Path, list[Samples]]] = [(file, stretches(file)) for file in files]
    figures = {name: measure(name, english, german) for name in ("faster-whisper", "pocketsphinx")}
    sentences = spoken(4 if quick else 60)
    for name, found in figures.items():
        print(name, found if isinstance(found, str) else {k: v for k, v in found.items() if k != "heard"})
    windowed = windows(sentences)
    if not quick:
        save("speech", figures | {"windows": windowed})


if __name__ == "__main__":
    main()
