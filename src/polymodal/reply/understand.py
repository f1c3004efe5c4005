"""What the speaker feels: by the words, by a run, by a large model, or as told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from polymodal.core import DataError, OptionError, nearest
from polymodal.reply.dialogue import Conversation, Turn
from polymodal.reply.labels import LABELS, label_of, parsed
from polymodal.reply.lexicon import named_emotion
from polymodal.reply.prompt import Example, chosen_examples, feel_messages
from polymodal.reply.stages import digest_of

if TYPE_CHECKING:
    from polymodal.cascade.chat import Chat
    from polymodal.predict.timeline import Estimate
    from polymodal.reply.bank import Nearest

ALIKE = 0.5
"""Cosine from which the emotion of the nearest exchange is believed where no word names one; of MiniLM only. With less,
more hits were lost than won on the validation utterances of MELD."""


@dataclass(frozen=True)
class Feeling:
    """What somebody feels.

    Attributes:
        label: one of ``labels.LABELS``.
        why: a sentence on what it rests on.
    """

    label: str
    why: str


class Understanding(Protocol):
    """Who names the speaker's emotion.

    Attributes:
        name: what results call it.
        version: changes with what it answers.
    """

    name: str
    version: str

    def feel(self, conversation: Conversation, turn: Turn) -> Feeling:
        """Return what the speaker feels at the end of ``turn``."""
        ...


class ByWords:
    """A list of words that name feelings; where none occurs, the exchange of the bank that is very near.

    Args:
        nearest: finds exchanges; MiniLM's similarity is trusted from ``ALIKE`` on, that of TF-IDF not at all.
    """

    def __init__(self, nearest: Nearest) -> None:
        self._nearest = nearest
        self.name = "words that name feelings" + (", then the nearest exchange" if nearest.by == "minilm" else "")
        self.version = self.name

    def feel(self, conversation: Conversation, turn: Turn) -> Feeling:
        """See ``Understanding``."""
        if turn.doubtful or not turn.said:
            return Feeling("neutral", "the words are too doubtful to name a feeling")
        named = named_emotion(turn.said)
        if named.words:
            return Feeling(named.label, f"the words say so: {', '.join(named.words)}")
        if self._nearest.by == "minilm":
            found = self._nearest.find(turn.said)
            if found.exchange and found.similarity >= ALIKE:
                why = f"no word names a feeling; what was said is near to {found.exchange.said!r}"
                return Feeling(found.exchange.emotion, f"{why} (cosine {found.similarity:.2f})")
        return Feeling("neutral", "no word names a feeling")


class ByRun:
    """A run, or a cascade, that tells classes of emotion, applied to the clip.

    Args:
        run: as ``cascade.opened.open_predictor``.
        options: of it.

    Raises:
        OptionError: it has no target whose classes are emotions.
        RunError, DataError, OptionError: as ``open_predictor``.
    """

    def __init__(self, run: str, **options: Any) -> None:
        from polymodal.cascade.opened import open_predictor
        from polymodal.predict.predictor import Predictor

        self._predictor = found = open_predictor(run, **options)
        if isinstance(found, Predictor):
            self.name, record = f"run {found.name}", found.run.path / "run.json"
        else:
            self.name, record = f"cascade {found.name}", Path(run) / "cascade.json"
        self.version = f"{self.name} {digest_of(record)} {options.get('recogniser')}"
        for target in self._predictor.targets:
            if target.task == "classification" and sum(label_of(c) is not None for c in target.classes) >= 2:
                self._target = target
                return
        raise OptionError(f"{run} tells no emotions; name a run whose target has classes such as joy, anger, sadness")

    def feel(self, conversation: Conversation, turn: Turn) -> Feeling:
        """See ``Understanding``; the classes' mean probabilities over the utterances, by their length.

        Raises:
            DataError: the turn has no clip, or none in which the run finds anything.
        """
        if turn.clip is None:
            raise DataError(
                f"turn {turn.id} of conversation {conversation.id} has no clip for {self.name} to judge; give one, or "
                "leave out --run"
            )
        shares: dict[str, float] = defaultdict(float)
        timeline = self._predictor.predict(turn.clip)
        total = sum(max(m.end - m.start, 1e-3) for m in timeline.moments)
        for moment in timeline.moments:
            for name, share in _shares(moment.estimates[self._target.name]).items():
                if (label := label_of(name)) is not None:
                    shares[label] += share * max(moment.end - moment.start, 1e-3) / total
        if not shares:
            return Feeling("neutral", f"{self.name} names none of the emotions that a reply knows")
        best = max(shares, key=lambda name: shares[name])
        return Feeling(best, f"{self.name} gives it {shares[best]:.2f}")


def _shares(estimate: Estimate) -> dict[str, float]:
    """Return the classes' probabilities; all of it to the one that a large model names without any."""
    return estimate.probabilities or ({estimate.label: 1.0} if estimate.label else {})


class ByChat:
    """A large model, asked for one word.

    Args:
        chat: the model.
        examples: dialogues with their emotions, of which ``shots`` are shown.
    """

    def __init__(self, chat: Chat, examples: Sequence[Example], shots: int) -> None:
        self._chat, self._examples, self._shots = chat, examples, shots
        self.name = f"large model {chat.name}"
        self.version = f"large model {chat.version}, {shots} examples"

    def feel(self, conversation: Conversation, turn: Turn) -> Feeling:
        """See ``Understanding``."""
        shown = chosen_examples(self._examples, conversation, turn, self._shots)
        answer = self._chat.ask(question(conversation, turn), "emotion", feel_messages(turn, shown))
        return Feeling(parsed(answer), f"it answered {' '.join(answer.split())[:80]!r}")


class AsTold:
    """An emotion that somebody says.

    Raises:
        OptionError: there is no such label.
    """

    name = "as told"

    def __init__(self, label: str) -> None:
        found = label_of(label)
        if found is None:
            raise OptionError(f"there is no emotion {label!r}{nearest(label, LABELS)}; see docs/reply.md for all")
        self._label = found
        self.version = f"as told {found}"

    def feel(self, conversation: Conversation, turn: Turn) -> Feeling:
        """See ``Understanding``."""
        return Feeling(self._label, "as told")


def question(conversation: Conversation, turn: Turn) -> str:
    """Return the id of questions about a turn, as in recorded answers."""
    return f"{conversation.id}/{turn.id}"
