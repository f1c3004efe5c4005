"""Free text of a large model: recorded before, or from a service that speaks OpenAI's chat completions."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from polymodal.cascade.endpoint import Refused, Silent, post
from polymodal.cascade.prompt import Message
from polymodal.cascade.recorded import read_rows
from polymodal.cascade.remote import KEY, MODEL, URL, address
from polymodal.cascade.replies import keep
from polymodal.core import DataError, OptionError, RunError
from polymodal.core.options import Natural, NotNegative, Positive, options_of, read_options, split_source
from polymodal.data.encode import cache_folder

FORMS = "file:answers.jsonl or http"


class Chat(Protocol):
    """Whoever answers in words.

    Attributes:
        name: what results call it.
        version: changes with what it answers.
    """

    name: str
    version: str

    def ask(self, id: str, what: str, messages: Sequence[Message]) -> str:
        """Return the answer to ``messages``.

        Args:
            id: what the question is about.
            what: which question it is.

        Raises:
            DataError: nothing was recorded.
            RunError: the service gave no answer.
        """
        ...


class RecordedChat:
    """A file with a JSON object a line: ``id``, and an answer (text) by the name of each question.

    Raises:
        DataError: it cannot be read; names the line.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name
        self._rows = {name: row for _, name, row in read_rows(path)}
        self.version = f"{self.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:24]}"

    def ask(self, id: str, what: str, messages: Sequence[Message]) -> str:
        """See ``Chat``."""
        answer = self._rows.get(id, {}).get(what)
        if not isinstance(answer, str):
            raise DataError(f"{self.path} has no {what} for {id!r}; record one")
        return answer


class RemoteChat:
    """A service named by the environment as for ``cascade.remote.Remote``; answers are kept and asked for once.

    The dialogue leaves the machine.

    Args:
        temperature: of the service's sampling.
        timeout: seconds for one answer.
        retries: attempts after a failed one.

    Raises:
        OptionError: no address or model in the environment.
    """

    def __init__(self, *, temperature: NotNegative = 0.2, timeout: Positive = 60.0, retries: Natural = 2) -> None:
        self.url, self.model = address(), os.environ.get(MODEL, "")
        if not self.model:
            raise OptionError(f"http needs the name of a model; set {MODEL} in the environment")
        self._heat, self._timeout, self._retries = temperature, timeout, retries
        self.name = f"{self.model} at {urlsplit(self.url).netloc.rpartition('@')[2]}"
        self.version = f"{self.name} at temperature {temperature}"

    def ask(self, id: str, what: str, messages: Sequence[Message]) -> str:
        """See ``Chat``."""
        body = {"model": self.model, "messages": list(messages), "temperature": self._heat}
        key = hashlib.sha256(json.dumps([self.url, body]).encode()).hexdigest()
        file = cache_folder() / "replies" / f"{key}.json"
        try:
            return str(json.loads(file.read_text())["text"])
        except (OSError, ValueError, KeyError):
            pass
        try:
            raw = post(self.url, os.environ.get(KEY, ""), body, timeout=self._timeout, retries=self._retries)
            text = raw["choices"][0]["message"]["content"]
        except (Refused, Silent) as error:
            raise RunError(
                f"the large model {self.name} gave no answer ({error}); see {URL}, or leave it out"
            ) from None
        except (KeyError, IndexError, TypeError):
            text = None
        if not isinstance(text, str) or not text.strip():
            raise RunError(f"the large model {self.name} sent no chat completion; see {URL}, or leave it out")
        keep(file, {"text": text})
        return text


def open_chat(spec: str) -> Chat:
    """Return who is behind ``spec``: ``file:answers.jsonl``, or ``http``, with options as in ``http?temperature=0``.

    Raises:
        OptionError: another spec, or options that it does not have.
        DataError: a file that cannot be read.
    """
    kind, _, place = spec.partition(":")
    if kind == "file" and place:
        return RecordedChat(Path(place))
    name, options = split_source(spec)
    if name == "http":
        return RemoteChat(**read_options("http", options, options_of(RemoteChat), text=True))
    raise OptionError(f"unknown large model {spec!r}; use {FORMS}")
