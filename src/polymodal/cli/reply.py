"""``polymodal reply``."""

from __future__ import annotations

from typing import Any, Literal

from polymodal.cli.text import print_json
from polymodal.core.options import Natural

EXAMPLES = {
    "reply": """\
  polymodal reply clip.mp4                                     text, speech, and a drawn face that says it
  polymodal reply clip.wav --run voice-emotion                 the emotion by a run
  polymodal reply clip.mp4 --portrait me.jpg --consent --out replies/mine
  polymodal reply dialogues.json --voice espeak                conversations in the layout of AvaMERG
  polymodal reply dialogues.json --judge http                  a large model, see docs/reply.md
  polymodal reply clip.mp4 --face 'python talk.py {portrait} {wav} {emotion} {out}'"""
}


def reply(
    source: str,
    *,
    portrait: str | None = None,
    voice: str = "auto",
    run: str | None = None,
    judge: str | None = None,
    emotion: str | None = None,
    shots: Natural = 3,
    tone: str | None = None,
    reference: str | None = None,
    face: str | None = None,
    consent: bool = False,
    out: str = "reply",
    json: bool = False,
    assets: str | None = None,
    asr_model: str | None = None,
    language: str | None = None,
    asr_device: Literal["cpu", "cuda", "auto"] = "cpu",
) -> int:
    """Reply to a clip or a dialogue as a listener: text, speech and a talking face, all marked as synthetic.

    Args:
        source: clip in which somebody speaks, or JSON file of dialogues
        portrait: picture whose face says the reply; needs --consent. Default: a drawn face, nobody's
        voice: piper, espeak, a voice of Piper (.onnx), none; default the first that is installed
        run: run or cascade that names the emotion of the clip, such as the ready run voice-emotion; default by the
            words
        judge: large model that names the emotion and writes the reply: file:answers.jsonl or http, named by
            POLYMODAL_LLM_URL, POLYMODAL_LLM_MODEL and POLYMODAL_LLM_KEY in the environment; default a bank of replies
        emotion: what the speaker feels, told instead of found out
        shots: examples that the large model is shown
        tone: command that gives speech the tone colour of a recording, with {wav}, {reference} and {out}; needs
            --consent
        reference: recording of the listener's voice, for --tone; default the one beside the dialogues
        face: command that makes the video instead, with {portrait}, {wav}, {out} and perhaps {emotion}
        consent: the persons whose face or voice is used have agreed to a synthetic video of them; recorded in the
            result
        out: folder of the reply
        json: print JSON
        assets: folder with the face model and weights of speech recognition
        asr_model: model of faster-whisper: a name (small), a folder, or owner/name on the hub
        language: what is spoken (en, de, ...)
        asr_device: where speech is recognised
    """
    from polymodal.media.extraction import Recogniser
    from polymodal.reply.build import Wanted
    from polymodal.reply.build import reply as made

    wanted = Wanted(
        portrait=portrait,
        voice=voice,
        run=run,
        judge=judge,
        emotion=emotion,
        shots=shots,
        tone=tone,
        reference=reference,
        face=face,
        consent=consent,
        assets=assets,
        recogniser=Recogniser(asr_model, language, asr_device),
    )
    found = made(source, out, wanted)
    if json:
        print_json(found)
    else:
        _print(found, out)
    return 0


def _print(found: dict[str, Any], out: str) -> None:
    from polymodal.data.progress import console

    for turn in found["turns"]:
        felt = turn["emotion"]
        lines = [
            f"said: {turn['said'] or '(no word was understood)'}",
            f"felt: {felt['label']} ({felt['why']})",
            f"reply: {turn['response']}",
            f"({turn['why']})",
            *(f"{out}/{turn[kind]['file']}" for kind in ("speech", "video") if turn[kind]),
            *turn["notes"],
        ]
        for line in lines:
            console.print(line, soft_wrap=True, markup=False)
    for line in (*found["notes"], f"{found['synthetic']} All of it: {out}/reply.json"):
        console.print(line, soft_wrap=True, markup=False)
