"""Replies in the place of predictions: what a worker of the service needs, around ``polymodal.reply``."""

from __future__ import annotations

import base64
import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polymodal.core import DataError
from polymodal.core.limits import limit_memory
from polymodal.media.extraction import AS_RECORDED, Recogniser


@dataclass(frozen=True)
class Replied:
    """A reply, for JSON."""

    told: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return ``reply.json`` with ``duration`` and ``seconds`` of the work, and the video or sound as a data URI."""
        return self.told


class Replier:
    """Replies to clips with the drawn face, which needs nobody's consent; see ``serve.worker.Predicts``.

    Args:
        run: names the emotion of a clip; None: its words do.
        assets: folder with models that no package carries.
        recogniser: of speech.
        voice, within: as ``reply.build.Wanted``.

    Raises:
        OptionError, RunError: a part that cannot be had.
    """

    def __init__(
        self,
        run: str | None,
        assets: str | None,
        recogniser: Recogniser = AS_RECORDED,
        voice: str = "auto",
        within: float = math.inf,
    ) -> None:
        from polymodal.reply.build import Wanted, build

        self._recogniser, self._assets = recogniser, assets
        self._parts, self._notes = build(
            Wanted(run=run, assets=assets, recogniser=recogniser, voice=voice, within=within)
        )

    def predict(
        self,
        clip: str | Path,
        *,
        name: str | None = None,
        transcript: str | Path | None = None,
        utterances: str | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Replied:
        """Return the reply to ``clip``.

        Raises:
            DataError: a transcript or a way to cut, which a reply has no use for; as ``reply.heard.listen``.
        """
        from polymodal.reply.heard import listen
        from polymodal.reply.respond import respond

        if transcript is not None or utterances is not None:
            raise DataError("a reply takes the clip alone; leave out transcript and utterances")
        began = time.perf_counter()
        reached = 0.0

        def far(seconds: float = 0.0) -> None:
            nonlocal reached
            reached = max(reached, seconds)
            if progress is not None:
                progress(reached)

        heard = listen(Path(clip), self._recogniser, self._assets, name=name or "the clip", progress=far)
        conversation = replace(heard, id="1")
        with tempfile.TemporaryDirectory() as folder:
            told = respond([conversation], self._parts, Path(folder), notes=self._notes, progress=far)
            [turn] = told["turns"]
            made = turn["video"] or turn["speech"]
            content = (Path(folder) / made["file"]).read_bytes() if made else b""
        kind = "video/mp4" if turn["video"] else "audio/wav"
        media = f"data:{kind};base64,{base64.b64encode(content).decode()}" if made else None
        length = turn["speech"]["seconds"] if turn["speech"] else 0.0
        seconds = {**turn["seconds"], "total": round(time.perf_counter() - began, 3)}
        return Replied({**json.loads(json.dumps(told)), "duration": length, "seconds": seconds, "media": media})

    def predict_features(
        self, rows: Sequence[Mapping[str, Any]], *, progress: Callable[[float], None] | None = None
    ) -> Replied:
        """Raise DataError: nobody replies to features."""
        raise DataError("this service replies to clips; send one as multipart/form-data, field clip")


def load_replier(
    run: str | None, assets: str | None, recogniser: Recogniser = AS_RECORDED, memory: int = 0, within: float = math.inf
) -> Replier:
    """Return the replier of a worker.

    Args:
        memory: MiB that this process may take beyond what it holds once its models are loaded; 0 for any.
        within: as ``reply.build.Wanted``.

    Raises:
        OptionError, RunError: as ``Replier``.
    """
    import torch

    torch.set_num_threads(1)
    replier = Replier(run, assets, recogniser, within=within)
    limit_memory(memory)
    return replier
