"""``polymodal data``."""

from __future__ import annotations

from pathlib import Path

from polymodal.cli.lists import Pairs
from polymodal.cli.text import print_json
from polymodal.core.options import pairs

EXAMPLES = {
    "data info": """\
  polymodal data info mosi_unaligned.pkl
  polymodal data info synthetic:talk --json
  polymodal data info CMU_MOSI_TimestampedWords.csd""",
    "data convert": """\
  polymodal data convert mosei_unaligned.pkl stores/mosei
  polymodal data convert 'mosi.pkl?text=raw' stores/mosi-minilm --encode text=minilm
  polymodal fit mmcl --data stores/mosei""",
    "data list": """\
  polymodal data list""",
}

LAYOUTS = {
    "FILE.pkl": "MMSA, MulT or MAG-BERT pickle, recognised by what is inside; nothing in it is executed",
    "FOLDER": "store made by 'polymodal data convert', or CMU SDK .csd files with labels",
    "FILE.py:FUNCTION": "your own function that returns a polymodal.Corpus (also package.module:FUNCTION)",
}


def info(source: str, *, json: bool = False) -> int:
    """Print what is inside a corpus: schema, splits, lengths, labels, warnings.

    Args:
        source: as in 'polymodal fit --data'
        json: print JSON
    """
    from polymodal.data import csd
    from polymodal.data.info import describe, render
    from polymodal.data.progress import screen
    from polymodal.data.sources import load_corpus
    from polymodal.data.store import verify

    # A single computational sequence has no labels, hence is no corpus; it can still be looked into.
    file = Path(source)
    description = (
        csd.describe(file) if file.suffix == ".csd" and file.is_file() else describe(verify(load_corpus(source)))
    )
    if json:
        print_json(description)
    else:
        screen().print(render(description))
    return 0


def convert(source: str, destination: str, *, encode: Pairs = []) -> int:  # noqa: B006 (never changed)
    """Write a corpus as a memory-mapped Arrow store: true lengths, opened without reading it.

    Args:
        source: as in 'polymodal fit --data'
        destination: folder to create
        encode: frozen encoder for a modality, for example text=minilm; its states go into the store
    """
    from polymodal.data.encode import encode_corpus
    from polymodal.data.progress import console
    from polymodal.data.sources import load_corpus
    from polymodal.data.store import reserved, write_store

    with reserved(destination):
        corpus = encode_corpus(load_corpus(source), pairs("--encode", encode))
        folder = write_store(corpus, destination)
    sizes = ", ".join(f"{name} {len(split)}" for name, split in corpus.splits.items())
    console.print(f"{folder}: {sizes}; next: polymodal fit mmcl --data {folder}", soft_wrap=True)
    return 0


def list(*, json: bool = False) -> int:
    """List the embedded corpora and the layouts that can be read.

    Args:
        json: print JSON
    """
    from rich.table import Table

    from polymodal.data.progress import screen
    from polymodal.data.synthetic import names

    embedded = {f"synthetic:{name}": line for name, line in names().items()}
    if json:
        print_json({"embedded": embedded, "layouts": LAYOUTS})
        return 0
    out = screen()
    for title, rows in (("embedded corpora", embedded), ("what else --data reads", LAYOUTS)):
        table = Table(box=None, show_header=False, title=title, title_justify="left")
        for source, line in rows.items():
            table.add_row(source, line)
        out.print(table)
    return 0
