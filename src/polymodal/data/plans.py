"""What each planted corpus contains."""

from __future__ import annotations

from dataclasses import replace

from polymodal.core import Target
from polymodal.data.plan import Component, Plan, Sensor

_TEXT = Sensor("text", "text", noise=0.3)
_AUDIO = Sensor("audio", width=12, pace=(2.5, 3.5), noise=0.5, jitter=5.0)
_VISION = Sensor("vision", width=16, pace=(1.3, 1.8), noise=0.6, jitter=4.0)
_ALL = ("text", "audio", "vision")
_SENTIMENT = Target("sentiment", "regression", (-3.0, 3.0))
_SIZES = {"train": 1000, "valid": 200, "test": 300}
_OOD = {**_SIZES, "test_ood": 300}

PLANS: dict[str, Plan] = {
    "talk": Plan(
        "sentiment of a speaker from text, audio and vision, with a shortcut in vision",
        (_TEXT, _AUDIO, _VISION),
        {
            "sentiment": (
                Component("shared", 0.3, _ALL),
                Component("text_only", 0.3, ("text",)),
                Component("audio_only", 0.12, ("audio",)),
                Component("vision_only", 0.08, ("vision",)),
                Component("tone", 0.15, ("text", "audio"), synergy=True),
            )
        },
        _SENTIMENT,
        _OOD,
        shortcut=("vision", 0.4),
    ),
    "sarcasm": Plan(
        "sentiment of a speaker whose voice may turn the words around: what is meant is words times tone",
        (_TEXT, replace(_AUDIO, noise=0.3, jitter=1.5), replace(_VISION, jitter=2.0)),
        {
            "sentiment": (
                Component("shared", 0.15, _ALL),
                Component("words", 0.15, ("text",)),
                Component("tone", 0.1, ("audio",), sign=True),
                Component("irony", 0.5, product=("words", "tone")),
            )
        },
        _SENTIMENT,
        {"train": 1500, "valid": 200, "test": 400},
    ),
    "biased": Plan(
        "mood from short text, audio and vision; a shortcut in vision turns round in test_ood (its strength: shortcut)",
        (
            Sensor("text", width=8, pace=(1.0, 1.0), noise=0.5, jitter=0.5),
            Sensor("audio", width=8, pace=(1.0, 1.5), noise=0.5, jitter=0.5),
            Sensor("vision", width=8, pace=(0.8, 1.2), noise=0.6, jitter=0.5),
        ),
        {
            "mood": (
                Component("shared", 0.5, _ALL),
                Component("text_only", 0.2, ("text",)),
                Component("audio_only", 0.2, ("audio",)),
            )
        },
        Target("mood", "classification", classes=("low", "high")),
        {"train": 600, "valid": 200, "test": 500, "test_ood": 500},
        words=(3, 6),
        shortcut=("vision", 0.6),
    ),
    "emotions": Plan(
        "six emotions of unequal frequency: sectors of the valence-arousal plane",
        (_TEXT, replace(_AUDIO, jitter=1.5), replace(_VISION, jitter=1.0)),
        {
            "valence": (
                Component("shared", 0.4, _ALL),
                Component("text_only", 0.35, ("text",)),
                Component("vision_only", 0.15, ("vision",)),
            ),
            "arousal": (
                Component("energy", 0.45, ("audio", "vision")),
                Component("audio_only", 0.3, ("audio",)),
                Component("tone", 0.15, ("text", "vision"), synergy=True),
            ),
        },
        Target("emotion", "classification", classes=("happy", "surprised", "angry", "afraid", "sad", "calm")),
        _OOD,
        shortcut=("vision", 0.4),
        imbalance=5.0,
    ),
    "labels": Plan(
        "four labels at once, each carried differently; 'ironic' is pure synergy of text and audio",
        (_TEXT, replace(_AUDIO, jitter=1.5), replace(_VISION, jitter=1.0)),
        {
            "ironic": (Component("irony", 0.9, ("text", "audio"), synergy=True),),
            "happy": (Component("shared", 0.5, _ALL), Component("text_only", 0.4, ("text",))),
            "excited": (Component("energy", 0.6, ("audio", "vision")), Component("audio_only", 0.3, ("audio",))),
            "surprised": (Component("vision_only", 0.9, ("vision",)),),
        },
        Target("labels", "multilabel", classes=("ironic", "happy", "excited", "surprised")),
        _SIZES,
        imbalance=3.0,
    ),
    "xor": Plan(
        "do audio and vision agree? pure synergy: each alone is at chance",
        (Sensor("audio", width=6, pace=(1.5, 2.0), noise=0.3), Sensor("vision", width=8, pace=(0.8, 1.2), noise=0.3)),
        {"agreement": (Component("sign", 1.0, ("audio", "vision"), synergy=True),)},
        Target("agreement", "classification", classes=("clash", "match")),
        {"train": 800, "valid": 200, "test": 400},
    ),
    "redundant": Plan(
        "two factors in every modality, clear in text, under strong independent noise in audio and vision",
        (
            Sensor("text", width=16, pace=(1.0, 1.0), noise=0.2, jitter=0.5),
            Sensor("audio", width=12, pace=(2.5, 3.5), noise=0.3, jitter=8.0),
            Sensor("vision", width=16, pace=(1.3, 1.8), noise=0.3, jitter=6.0),
        ),
        {"sentiment": (Component("shared", 0.6, _ALL), Component("shared_second", 0.3, _ALL))},
        _SENTIMENT,
        _SIZES,
    ),
    "vectors": Plan(
        "five modalities, three of them vectors",
        (
            Sensor("posture", "vector", 8, jitter=0.4),
            Sensor("voice", "vector", 10, jitter=0.4),
            Sensor("gaze", width=6, pace=(1.0, 2.0)),
            Sensor("skin", width=5, pace=(0.5, 1.0)),
            Sensor("scene", "vector", 20, jitter=0.4),
        ),
        {
            "arousal": (
                Component("shared", 0.3, ("posture", "voice", "gaze", "skin", "scene")),
                Component("voice_gaze", 0.15, ("voice", "gaze")),
                Component("posture_only", 0.15, ("posture",)),
                Component("skin_only", 0.1, ("skin",)),
                Component("scene_only", 0.1, ("scene",)),
                Component("context", 0.1, ("posture", "gaze"), synergy=True),
            )
        },
        Target("arousal", "regression", (-1.0, 1.0)),
        _SIZES,
    ),
    "unimodal": Plan(
        "one sequence modality",
        (_AUDIO,),
        {"sentiment": (Component("audio_only", 0.9, ("audio",)),)},
        _SENTIMENT,
        _SIZES,
    ),
    "pair": Plan(
        "sentiment from text and audio only",
        (_TEXT, _AUDIO),
        {
            "sentiment": (
                Component("shared", 0.35, ("text", "audio")),
                Component("text_only", 0.3, ("text",)),
                Component("audio_only", 0.15, ("audio",)),
                Component("tone", 0.1, ("text", "audio"), synergy=True),
            )
        },
        _SENTIMENT,
        _SIZES,
    ),
    "mosi-shaped": Plan(
        "sizes, widths and lengths of the unaligned CMU-MOSI features, for benchmarks",
        (
            Sensor("text", width=768, pace=(1.0, 1.0), noise=0.4),
            Sensor("audio", width=5, pace=(6.0, 7.5), noise=0.8, jitter=3.0),
            Sensor("vision", width=20, pace=(8.0, 10.0), noise=1.0, jitter=3.0),
        ),
        {
            "sentiment": (
                Component("shared", 0.4, _ALL),
                Component("text_only", 0.3, ("text",)),
                Component("audio_only", 0.1, ("audio",)),
                Component("vision_only", 0.1, ("vision",)),
            )
        },
        _SENTIMENT,
        {"train": 1284, "valid": 229, "test": 686},
        words=(6, 49),
    ),
}
