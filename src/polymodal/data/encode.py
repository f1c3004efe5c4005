"""Frozen encoders: every sample passes once, the result is kept on disk and memory-mapped ever after."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.core import DataError, Modality, OptionError
from polymodal.core.options import Count, options_of, read_options, split_source
from polymodal.data.corpus import Corpus
from polymodal.data.progress import progress_bar
from polymodal.data.ragged import Array, Ragged
from polymodal.data.split import Column
from polymodal.nn.text import find_encoder, load_transformer

BATCH = 64

DAY = 24 * 60 * 60
"""Seconds without a change after which what a killed process left is removed."""


@dataclass(frozen=True)
class Encoder:
    """A frozen encoder.

    Attributes:
        key: changes whenever the result would: weights, options, code.
        width: features per step of the result.
        encode: rows (strings, float32 ``(time, width_in)``, or uint8 ``(time, channels, height, width)``; an image is
            one step) -> one float32 array ``(time, width)`` per row.
    """

    key: str
    width: int
    encode: Callable[[list[Any]], list[Array]]


def cache_folder() -> Path:
    """Return ``$POLYMODAL_CACHE``, else ``~/.cache/polymodal``."""
    return Path(os.environ.get("POLYMODAL_CACHE", Path.home() / ".cache" / "polymodal"))


def encode_corpus(corpus: Corpus, encoders: dict[str, str]) -> Corpus:
    """Return ``corpus`` with modalities replaced by the states of frozen encoders.

    Args:
        encoders: modality name -> encoder: ``minilm``, a folder or hub name of a transformers model, with options as in
            ``minilm?layers=3&max_tokens=64``, or ``package.module:function`` returning an ``Encoder`` for any modality.

    Raises:
        DataError: unknown modality, or a transformers encoder for a modality that is not text.
        OptionError: an encoder that cannot be loaded.
    """
    for name, spec in encoders.items():
        modality = corpus.schema.modality(name)
        plugin = is_plugin(spec)
        if modality.kind != "text" and not plugin:
            raise DataError(
                f"{corpus.source}: {name} is a {modality.kind}, {spec!r} reads text; drop --encode {name}={spec}"
            )
        encoder = encoder_of(spec)
        columns: dict[str, Column] = {
            split_name: _cached(encoder, split.columns[name], split.present[name], f"{name} of {split_name}")
            for split_name, split in corpus.splits.items()
        }
        corpus = corpus.with_modality(Modality(name, "sequence", encoder.width, normalize=False), columns, encoder.key)
    return corpus


def encoder_of(spec: str) -> Encoder:
    """Return the frozen encoder that ``spec`` names, as in ``encode_corpus``; OptionError if it cannot be loaded."""
    return _plugin(spec) if is_plugin(spec) else transformer_encoder(spec)


def is_plugin(spec: str) -> bool:
    """Whether ``spec`` names a function, which may encode any modality; everything else reads text."""
    return ":" in spec and not Path(spec).exists()


def _plugin(spec: str) -> Encoder:
    module_name, _, function = spec.partition(":")
    try:
        encoder = getattr(importlib.import_module(module_name), function)()
    except (ImportError, AttributeError, ValueError) as error:  # a ValueError where the module has no name
        raise OptionError(f"encoder {spec!r} cannot be imported: {error}") from None
    if not isinstance(encoder, Encoder):
        raise OptionError(f"encoder {spec!r} returned {type(encoder).__name__}, expected polymodal.data.encode.Encoder")
    return encoder


def transformer_encoder(spec: str) -> Encoder:
    """Return a frozen transformers encoder of text.

    Args:
        spec: name as in ``nn.text.load_transformer``, then options: ``layers`` (mean of the last so many hidden states,
            default 1) and ``max_tokens`` (default 64).
    """
    name, given = split_source(spec)
    return _transformer(name, **read_options(f"encoder {spec!r}", given, options_of(_transformer, 1), text=True))


def _transformer(name: str, *, layers: Count = 1, max_tokens: Count = 64) -> Encoder:
    @cache
    def load() -> tuple[Any, Any]:
        tokenizer, model = load_transformer(name)
        return tokenizer, model.eval().requires_grad_(False)

    def encode(rows: list[Any]) -> list[Array]:
        import torch

        tokenizer, model = load()
        tokens = tokenizer(rows, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(**tokens, output_hidden_states=True).hidden_states
            states = torch.stack(hidden[-layers:]).mean(0).numpy()
        counts = tokens["attention_mask"].sum(1).tolist()
        return [row[:count] for row, count in zip(states, counts, strict=True)]

    weights, width = _identify(Path(find_encoder(name)), load)
    return Encoder(_digest("transformer", weights, layers, max_tokens), width, encode)


def _identify(folder: Path, load: Callable[[], tuple[Any, Any]]) -> tuple[str, int]:
    """Return what identifies the weights, a folder's files or a hub's commit, and their width: without loading the
    encoder where its files tell, for the cache is for runs that need not."""
    if not folder.is_dir():
        config = load()[1].config
        return f"{config._name_or_path}@{getattr(config, '_commit_hash', None)}", int(config.hidden_size)
    try:
        width = json.loads((folder / "config.json").read_text()).get("hidden_size")
    except (OSError, ValueError):  # what is wrong with it, loading says
        width = None
    width = width or load()[1].config.hidden_size
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*")):
        if file.suffix in (".safetensors", ".bin", ".json", ".txt", ".model"):
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest(), int(width)


def _digest(*parts: object) -> str:
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:24]


def _cached(encoder: Encoder, column: Column, present: Array, what: str) -> Ragged:
    """Return the encoded column from the cache, encoding it first if it is not there; absent rows get no steps."""
    rows = [column[i] if there else column[i][:0] for i, there in enumerate(present)]
    digest = hashlib.sha256()
    for row in rows:
        data = row.encode() if isinstance(row, str) else np.ascontiguousarray(row, np.float32).tobytes()
        digest.update(len(data).to_bytes(8, "little") + data)
        if not isinstance(row, str):
            digest.update(str(row.shape).encode())
    folder = cache_folder() / "encoded" / _digest(encoder.key, digest.hexdigest())
    kept = _kept(folder)
    if kept is None:
        shutil.rmtree(folder, ignore_errors=True)
        _fill(folder, encoder, rows, what)
        kept = _kept(folder)
    if kept is None:
        raise DataError(f"cannot read the encoder cache {folder}; remove it, or set POLYMODAL_CACHE to another folder")
    return kept


def _kept(folder: Path) -> Ragged | None:
    """Return what is in ``folder``; None where nothing is, or a file of it is cut or gone."""
    if not (folder / "about.json").is_file():
        return None
    try:
        values, offsets = np.load(folder / "values.npy", mmap_mode="r"), np.load(folder / "offsets.npy")
    except (OSError, ValueError, EOFError):
        return None
    return Ragged([(values, offsets)]) if len(offsets) and offsets[-1] == len(values) else None


def _fill(folder: Path, encoder: Encoder, rows: list[Any], what: str) -> None:
    """Encode ``rows`` into ``folder``, which appears whole or not at all."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left in folder.parent.glob(".partial-*"):  # by processes that were killed
            if all(time.time() - file.stat().st_mtime > DAY for file in (left, *left.iterdir())):
                shutil.rmtree(left, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".partial-"))
        try:
            _write(partial, encoder, rows, what)
            (partial / "about.json").write_text(json.dumps({"encoder": encoder.key, "rows": len(rows)}))
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        if (folder / "about.json").is_file():  # another process was faster
            return
        raise DataError(
            f"cannot write the encoder cache {folder.parent}: {error.strerror or error}; "
            "set POLYMODAL_CACHE to another folder"
        ) from None


def _write(folder: Path, encoder: Encoder, rows: list[Any], what: str) -> None:
    """Write values and offsets; rows go through the encoder sorted by length, so that little is padding."""
    order = sorted((i for i in range(len(rows)) if len(rows[i])), key=lambda i: len(rows[i]))
    lengths, position = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    written = 0
    with (folder / "sorted.raw").open("wb") as raw, progress_bar() as bar:
        task = bar.add_task(f"encoding {what}", total=len(order))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            for i, states in zip(chosen, encoder.encode([rows[i] for i in chosen]), strict=True):
                lengths[i], position[i] = len(states), written
                written += len(states)
                raw.write(np.ascontiguousarray(states, np.float32).tobytes())
            bar.advance(task, len(chosen))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    np.save(folder / "offsets.npy", offsets)
    shape = (written, encoder.width)
    final = np.lib.format.open_memmap(folder / "values.npy", mode="w+", dtype=np.float32, shape=shape)
    if written:
        source = np.memmap(folder / "sorted.raw", dtype=np.float32, mode="r", shape=shape)
        for i in order:
            final[offsets[i] : offsets[i + 1]] = source[position[i] : position[i] + lengths[i]]
    final.flush()
    (folder / "sorted.raw").unlink()
