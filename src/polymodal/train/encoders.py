"""Which encoders a run has: what was asked for, checked against the corpus."""

from __future__ import annotations

from typing import Any

from polymodal.core import OptionError, Schema
from polymodal.data.encode import is_plugin
from polymodal.data.progress import console


def choose_encoders(
    schema: Schema, preset: dict[str, dict[str, Any]], encoder: dict[str, str], encode: dict[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return which encoders train with the method and which are frozen: what is given beats the preset.

    Raises:
        DataError: one is given for a modality that the corpus does not have.
        OptionError: a modality with two of them, or a frozen one for features.
    """
    for name in (*encoder, *encode):
        schema.modality(name)
    for name in encoder.keys() & encode.keys():
        if "none" not in (encoder[name], encode[name]):
            raise OptionError(
                f"{name} has two encoders: --encode {name}={encode[name]} is frozen, --encoder {name}={encoder[name]} "
                "trains with the method; choose"
            )
    found = []
    for section, given, other in (("encoder", encoder, encode), ("encode", encode, encoder)):
        usual = {n: str(e) for n, e in preset[section].items() if n in given or other.get(n, "none") == "none"}
        for name in [n for n in usual if n not in schema.names]:
            console.print(f"note: the preset's encoder of {name} is left out: the corpus has no {name}", soft_wrap=True)
            del usual[name]
        found.append({n: e for n, e in {**usual, **given}.items() if e != "none"})
    trained, frozen = found
    for name, spec in frozen.items():
        kind = schema.modality(name).kind
        if kind != "text" and not is_plugin(spec):
            raise OptionError(
                f"encoder {spec!r} reads raw text, but modality {name!r} brings features ({kind}); load it raw (a "
                f"pickle with text: ?text=raw), or leave the encoder out (--encode {name}=none)"
            )
    return trained, frozen


def with_own_encoders(config: dict[str, Any]) -> dict[str, Any]:
    """Return ``run.json`` as of today: once the encoder of raw text was an option of the method, not the modality's."""
    options, old = dict(config["options"]), dict[str, Any]()
    if options.get("base_options"):  # of a method that is trained in another way
        options["base_options"] = dict(options["base_options"])
    for held in (options, options.get("base_options") or {}):
        old |= {name: held.pop(name) for name in ("text_encoder", "text_tuning") if name in held}
    if not old:
        return config
    schema = Schema.from_dict(config["data"]["schema"])
    if old.get("text_encoder", "bow") != "bow":
        spec = f"{old['text_encoder']}?tuning={old.get('text_tuning', 'full')}"
        schema = schema.with_encoders(dict.fromkeys(schema.texts, spec))
    return {**config, "options": options, "data": {**config["data"], "schema": schema.to_dict()}}
