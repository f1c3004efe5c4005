"""A large model behind HTTP, asked about transcripts."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np

from polymodal.cascade.asking import NOTHING, Answer, Reference, Sample
from polymodal.cascade.endpoint import Refused, Silent, post
from polymodal.cascade.prompt import Message, messages, parsed
from polymodal.cascade.replies import TOP, completion, keep
from polymodal.core import OptionError, Target
from polymodal.core.options import Count, Natural, NotNegative, Positive
from polymodal.data.encode import cache_folder
from polymodal.data.progress import progress_bar

URL, MODEL, KEY = "POLYMODAL_LLM_URL", "POLYMODAL_LLM_MODEL", "POLYMODAL_LLM_KEY"

AT_ONCE = 4
"""Questions on their way at the same time."""

PATIENCE = 3
"""Questions in a row without a reply after which no further one is asked."""

BINS = 7
"""Of numbers, whose entropy over several replies is the uncertainty."""


class Remote:
    """Any service that speaks OpenAI's chat completions, named by the environment: ``POLYMODAL_LLM_URL`` (up to and
    with ``/v1``, or the whole address), ``POLYMODAL_LLM_MODEL``, ``POLYMODAL_LLM_KEY`` (may be empty).

    Transcripts leave the machine. Replies are kept in ``$POLYMODAL_CACHE/replies`` by the hash of address, model and
    question, and asked for once. Where the service is dead, slow or refuses, it is left alone after a few questions,
    and its answers are missing ones: the small model's stand.

    Attributes:
        until: ``time.monotonic()`` at which answers must be there; what has none by then gets none.
        shown: whether progress is shown on a terminal.

    Args:
        target: what is asked for.
        samples: replies to each question; the mean, or the class named most, is the answer.
        uncertainty: entropy of the ``samples`` replies over bins or classes, or mean entropy of the ``tokens`` of one
            reply, of services that return log-probabilities.
        temperature: of the service's sampling; default 0.7 for several replies, 0 for one.
        timeout: seconds for one reply.
        retries: attempts after a failed one.

    Raises:
        OptionError: no address or model in the environment; one reply without log-probabilities, which says nothing
            of uncertainty.
    """

    reads_references = True
    costly = True
    reads_text = True

    def __init__(
        self,
        target: Target,
        *,
        samples: Count = 5,
        uncertainty: Literal["samples", "tokens"] = "samples",
        temperature: NotNegative | None = None,
        timeout: Positive = 30.0,
        retries: Natural = 2,
    ) -> None:
        if uncertainty == "samples" and samples < 2:
            raise OptionError("http: one reply says nothing of its uncertainty; use samples=2 or more, or tokens")
        self.target, self.uncertainty = target, uncertainty
        self.url, self.model = address(), os.environ.get(MODEL, "")
        if not self.model:
            raise OptionError(f"http needs the name of a model; set {MODEL} in the environment")
        self._count = 1 if uncertainty == "tokens" else samples
        self._heat = temperature if temperature is not None else (0.0 if uncertainty == "tokens" else 0.7)
        self._timeout, self._retries = timeout, retries
        self.usage = {"requests": 0, "cached": 0, "prompt_tokens": 0, "completion_tokens": 0}
        self.notes: list[str] = []
        self.until, self.shown = math.inf, True
        # Host and port alone: an address may hold a secret, and names are written down.
        self.name = f"{self.model} at {urlsplit(self.url).netloc.rpartition('@')[2]}"
        self._failed = 0
        self._over, self._last, self._answered = "", "", False
        self._lock = Lock()

    def predict(self, samples: Sequence[Sample], references: Sequence[Reference] | None = None) -> list[Answer]:
        """Return its answers; ``NOTHING`` where none came."""
        told: Sequence[Reference | None] = references or [None] * len(samples)
        asked = [messages(self.target, s.text, r) for s, r in zip(samples, told, strict=True)]
        once = {json.dumps(conversation): conversation for conversation in asked}
        answers: dict[str, tuple[Answer, Counter[str]]] = {}
        with ThreadPoolExecutor(AT_ONCE) as pool, self._bar() as advance:
            for question, answer in zip(once, pool.map(self._ask, once.values()), strict=True):
                answers[question] = answer
                advance(len(once))
        found = [answers[json.dumps(conversation)][0] for conversation in asked]
        lost = sum(answer is NOTHING for answer in found)
        if lost:
            why = self._over or self._last
            self._note(f"the large model {self.name} left {lost} of {len(found)} questions unanswered ({why})")
        unread = sum(math.isnan(answer.score) for answer in found) - lost
        if unread:
            self._note(f"{unread} of {len(found)} replies of the large model have no rating; the small run's stand")
        # What was asked for two samples at once is the cost of the first.
        costs = [answers.pop(json.dumps(conversation), (NOTHING, Counter()))[1] for conversation in asked]
        return [replace(answer, usage=dict(cost)) for answer, cost in zip(found, costs, strict=True)]

    def leave_alone(self, why: str) -> None:
        """Ask nothing more; replies that were kept still count."""
        self._over = why

    @property
    def silent(self) -> str:
        """Why it gives no answers; empty where it gave one and is not left alone."""
        return self._over or ("" if self._answered else self._last)

    @contextmanager
    def _bar(self) -> Iterator[Callable[[int], None]]:
        """Yield what is called after each answer with the number of all."""
        if not self.shown:
            yield lambda total: None
            return
        with progress_bar() as bar:
            task = bar.add_task("asking the large model")
            yield lambda total: bar.update(task, advance=1, total=total)

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def _ask(self, conversation: list[Message]) -> tuple[Answer, Counter[str]]:
        """Return the answer to a question, and what it took."""
        replies, cost = [], Counter[str]()
        for number in range(self._count):
            reply = self._reply(conversation, number, cost)
            if reply is None:
                return NOTHING, cost
            replies.append(reply)
        texts = [reply["text"] for reply in replies]
        values = np.array([parsed(self.target, text) for text in texts])
        shown = "\n".join(texts)
        if np.isnan(values).all():
            return Answer(math.nan, 1.0, shown), cost
        if self.uncertainty == "tokens":
            return Answer(float(values[0]), replies[0]["entropy"], shown), cost
        return Answer(self._together(values), self._disagreement(values), shown), cost

    def _together(self, values: np.ndarray[Any, Any]) -> float:
        known = values[~np.isnan(values)]
        if self.target.spec.answer == "class":
            return float(np.bincount(known.astype(int)).argmax())
        return float(known.mean())

    def _disagreement(self, values: np.ndarray[Any, Any]) -> float:
        """Return the entropy of the replies over bins or classes, one that cannot be read being a class of its own,
        divided by the highest that so many replies can have."""
        if self.target.spec.answer == "class":
            kinds, most = values, len(self.target.classes)
        else:
            low, high = self.target.range or (np.nanmin(values), np.nanmax(values))
            kinds, most = np.round((values - low) / max(high - low, 1e-9) * (BINS - 1)), BINS
        _, counts = np.unique(np.nan_to_num(kinds, nan=-1), return_counts=True)
        shares = counts / counts.sum()
        return float(min(1.0, -(shares * np.log(shares)).sum() / math.log(min(len(values), most)) + 0.0))

    def _reply(self, conversation: list[Message], number: int, cost: Counter[str]) -> dict[str, Any] | None:
        """Return ``text`` and ``entropy`` of a reply, kept from before or asked for; None where there is none. What it
        takes is added to ``cost``."""
        body: dict[str, Any] = {"model": self.model, "messages": conversation, "temperature": self._heat}
        if self.uncertainty == "tokens":
            body |= {"logprobs": True, "top_logprobs": TOP}
        key = hashlib.sha256(json.dumps([self.url, body, number]).encode()).hexdigest()
        file = cache_folder() / "replies" / f"{key}.json"
        try:
            stored: dict[str, Any] = json.loads(file.read_text())
            self._count_up(cost, cached=1)
            return stored
        except (OSError, ValueError):
            pass
        if self._over:
            return None
        self._count_up(cost, requests=1)
        try:
            raw = post(
                self.url,
                os.environ.get(KEY, ""),
                body,
                timeout=self._timeout,
                retries=self._retries,
                until=self.until,
            )
            reply = completion(raw)
        except Refused as error:
            self._over = str(error)
            return None
        except Silent as error:
            self._failed, self._last = self._failed + 1, str(error)
            if self._failed >= PATIENCE or time.monotonic() >= self.until:
                self._over = str(error)
            return None
        self._failed, self._answered = 0, True
        self._count_up(cost, **reply.pop("usage"))
        keep(file, reply)
        return reply

    def _count_up(self, cost: Counter[str], **counts: int) -> None:
        cost.update(counts)
        with self._lock:
            for name, count in counts.items():
                self.usage[name] += count


def address() -> str:
    """Return where questions go; OptionError where the environment names no such place."""
    given = os.environ.get(URL, "").rstrip("/")
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise OptionError(f"http needs an address; set {URL} in the environment, such as http://localhost:8000/v1")
    return given if given.endswith("/chat/completions") else f"{given}/chat/completions"
