"""Replies: emotions that are met on MELD's dialogues, words that are understood again, lips and sound in step, seconds.

    python benchmarks/reply.py           some minutes on 2 cores
    python benchmarks/reply.py --quick

MELD (280 test dialogues of a sitcom, text): the person who speaks last is the speaker, all others are the listener; the
emotion of the last utterance is to be named. This is not AvaMERG, whose figures are not comparable: other dialogues,
seven emotions, nearly half of them neutral. From when on a near exchange names the emotion was set on the validation
split. Voices and faces need the extra ``reply`` and the real data ($POLYMODAL_SHARED or ../shared).
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from measure import RESULTS, save
from polymodal.reply.bank import Nearest, bank, general
from polymodal.reply.dialogue import Conversation, Line, Profile, Turn
from polymodal.reply.labels import COARSE, SCORED, label_of
from polymodal.reply.manner import MANNERS
from polymodal.reply.metrics import figures, word_error_rate
from reply_sound import at_16k, height, step

SHARED = Path(os.environ.get("POLYMODAL_SHARED", Path(__file__).resolve().parents[2] / "shared"))
DRAWS = 2000
CLIPS = ("grid_av_speech/clips_s1/bbaf2n.mpg", "grid_av_speech/clips_other_speakers/lbax4n.mpg", "emodb/audio")
SAID = (
    "I am so sorry. He was part of your family. Would you like to tell me about him?",
    "Congratulations! I can hear you beam. What will your first day be like?",
    "Before an exam almost everybody feels empty. You have prepared more than you notice.",
)


def dialogues(split: str) -> list[Conversation]:
    """Return the dialogues of a split of MELD, each with the emotion of its last utterance."""
    with (SHARED / "data/meld_text" / f"{split}_sent_emo.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    by: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by.setdefault(row["Dialogue_ID"], []).append(row)
    found = []
    for name, said in by.items():
        who = said[-1]["Speaker"]
        lines = tuple(Line("speaker" if r["Speaker"] == who else "listener", r["Utterance"]) for r in said)
        turn = Turn(0, "", lines, label_of(said[-1]["Emotion"]) or "")
        found.append(Conversation(name, Profile("speaker"), Profile("listener"), (turn,)))
    return found


def interval(hits: np.ndarray) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a share over dialogues."""
    drawn = np.random.default_rng(0).integers(0, len(hits), (DRAWS, len(hits)))
    low, high = np.quantile(hits[drawn].mean(1), (0.025, 0.975))
    return float(low), float(high)


def words(split: str, most: int | None) -> dict[str, Any]:
    """Return hits and Dist-n of what needs no large model, and of always saying neutral."""
    from polymodal.reply.understand import ByWords
    from polymodal.reply.write import ByBank

    told = dialogues(split)[:most]
    true = [SCORED[c.turns[0].emotion] for c in told]
    found: dict[str, Any] = {"dialogues": len(told), "shares": {n: true.count(n) / len(true) for n in COARSE}}
    rows: dict[str, Any] = {"always neutral": _hits(["neutral"] * len(told), true)}
    for by in ("minilm", "tfidf"):
        nearest = Nearest(by)
        understanding, writer = ByWords(nearest), ByBank(nearest)
        began = time.perf_counter()
        felt = [understanding.feel(c, c.turns[0]).label for c in told]
        replies = [writer.write(c, c.turns[0], label).text for c, label in zip(told, felt, strict=True)]
        seconds = (time.perf_counter() - began) / len(told)
        common = {text for name in COARSE for text in general(name)}
        rows[understanding.name] = _hits([SCORED[x] for x in felt], true) | {"seconds": seconds} | figures(replies)
        rows[understanding.name] |= {
            "different": len(set(replies)),
            "general": sum(text in common for text in replies) / len(replies),
        }
    return found | {"rows": rows, "bank": {**figures([e.reply for e in bank()]), "exchanges": len(bank())}}


def _hits(predicted: list[str], true: list[str]) -> dict[str, Any]:
    hits = np.array([p == t for p, t in zip(predicted, true, strict=True)], float)
    by = {n: float(hits[[t == n for t in true]].mean()) for n in COARSE if n in true}
    return {"hit": float(hits.mean()), "interval": interval(hits), "by_class": by}


def voices(quick: bool) -> dict[str, Any]:
    """Return what the recogniser understands of each voice in each manner."""
    from polymodal.media.words.transcribe import Wanted, find_transcriber
    from polymodal.reply.voice.find import find_voice
    from speech import plain

    transcriber, _ = find_transcriber(Wanted())
    assert transcriber is not None
    found: dict[str, Any] = {}
    for name in ("piper", "espeak"):
        voice, _ = find_voice(name)
        assert voice is not None
        for emotion in ("neutral",) if quick else MANNERS:
            wrong, spoken, spent, heights, loud = [], 0.0, 0.0, [], []
            for text in SAID:
                began = time.perf_counter()
                speech = voice.say(text, MANNERS[emotion])
                spent += time.perf_counter() - began
                spoken += speech.seconds
                heard = transcriber.transcribe(at_16k(speech), 0.0)
                wrong.append(word_error_rate(plain(text), plain(" ".join(w.text for w in heard.words))))
                heights.append(height(speech))
                loud.append(float(np.sqrt(np.mean(speech.samples**2))))
            found.setdefault(name, {})[emotion] = {
                "word_error_rate": float(np.mean(wrong)),
                "seconds_per_second": spent / spoken,
                "spoken": spoken,
                "hertz": float(np.median(heights)),
                "rms": float(np.mean(loud)),
            }
    return found


def clips(quick: bool) -> dict[str, Any]:
    """Return replies to clips with the seconds of each stage, and how far picture and sound are in step."""
    from polymodal.media.assets import find_face_model
    from polymodal.reply.build import Wanted, reply

    assets = str(SHARED / "models")
    found: dict[str, Any] = {}
    for place in CLIPS[: 1 if quick else None]:
        file = SHARED / "data" / place
        run = None
        if file.is_dir():
            file, run = sorted(file.glob("*W*.flac"))[0], "voice-emotion"
        with tempfile.TemporaryDirectory() as out:
            began = time.perf_counter()
            told = reply(file, out, Wanted(assets=assets, run=run))
            total = time.perf_counter() - began
            turn = told["turns"][0]
            files = (Path(out) / turn["video"]["file"], Path(out) / turn["speech"]["file"])
            found[file.name] = {
                "said": turn["said"],
                "emotion": turn["emotion"],
                "response": turn["response"],
                "spoken": turn["speech"]["seconds"],
                "seconds": {**turn["seconds"], "in all": round(total, 2)},
                "late": step(*files, turn["speech"]["sounds"], find_face_model(assets)),
            }
    return found


def page(found: dict[str, Any]) -> str:
    """Return the figures as text."""
    told = found["words"]
    common = ", ".join(f"{n} {s:.0%}" for n, s in told["shares"].items() if s)
    lines = [
        "# Replies",
        "",
        f"`python benchmarks/reply.py`. MELD, {told['dialogues']} test dialogues, emotion of the last utterance "
        f"({common}); not AvaMERG.",
        "",
        "| who names the emotion | HIT (95 % interval) | Dist-1 | Dist-2 | different replies | general | s per turn |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in told["rows"].items():
        hit = f"{row['hit']:.1%} ({row['interval'][0]:.1%} to {row['interval'][1]:.1%})"
        rest = "| | | |"
        if "dist1" in row:
            rest = f"{row['dist1']:.3f} | {row['dist2']:.3f} | {row['different']} | {row['general']:.0%} | "
            rest += f"{row['seconds']:.3f}"
        lines.append(f"| {name} | {hit} | {rest} |")
    lines += ["", "| voice | manner | word error rate | Hz | RMS | spoken, s | s per second |", "|" + " --- |" * 7]
    for voice, manners in found["voices"].items():
        for name, row in manners.items():
            lines.append(
                f"| {voice} | {name} | {row['word_error_rate']:.3f} | {row['hertz']:.0f} | {row['rms']:.3f} | "
                f"{row['spoken']:.1f} | {row['seconds_per_second']:.2f} |"
            )
    lines += ["", "| clip | felt | reply | sound late | lips late | lips by loudness | seconds |", "|" + " --- |" * 7]
    for name, row in found["clips"].items():
        late = " | ".join(f"{row['late'][k]:.0f} ms" for k in ("sound", "lips", "both"))
        spent = ", ".join(f"{k} {s:.1f}" for k, s in row["seconds"].items())
        lines.append(f"| {name} | {row['emotion']['label']} | {row['response']} | {late} | {spent} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    quick = "--quick" in sys.argv
    found = {"words": words("test", 20 if quick else None), "voices": voices(quick), "clips": clips(quick)}
    print(page(found))
    if not quick:
        save("reply", found)
        (RESULTS / "reply.md").write_text(page(found))


if __name__ == "__main__":
    main()
