"""``polymodal ready list``, ``ready show`` and ``ready build``."""

from __future__ import annotations

from polymodal.core.options import Count

EXAMPLES = {
    "ready list": """\
  polymodal ready list
  polymodal predict clip.wav                 the first of them""",
    "ready show": """\
  polymodal ready show voice-emotion""",
    "ready build": """\
  polymodal ready build voice-emotion --data corpora/emodb/wav
  polymodal ready build text-sentiment --data 'mosi.pkl?text=raw&modalities=text'
  polymodal ready build dialogue-emotion --data corpora/MELD
  polymodal predict text-sentiment clip.mp4""",
}


def list() -> int:
    """List the runs that are there by name, and those that can be built from a corpus that you have."""
    from rich.table import Table

    from polymodal.data.progress import screen
    from polymodal.predict.ready.place import SHIPPED, figures, find_ready
    from polymodal.predict.ready.recipes import recipes

    table = Table(box=None, header_style="bold")
    for column in ("run", "says", "unseen groups", "where"):
        table.add_column(column)
    for name, recipe in recipes().items():
        folder = find_ready(name)
        found = figures(folder) if folder else None
        where = f"build it with --data: {recipe.data}"
        if folder:
            where = "comes with polymodal" if folder.parent == SHIPPED else str(folder)
        table.add_row(name, recipe.about, f"{recipe.metric} {found['value']:.3f}" if found else "-", where)
    screen().print(table)
    return 0


def show(name: str) -> int:
    """Print the model card of a ready run: what it is, how good, for whom it is not.

    Args:
        name: of the run, see 'polymodal ready list'
    """
    from polymodal.predict.ready.place import find_ready, not_built
    from polymodal.predict.ready.recipes import find_recipe

    folder = find_ready(find_recipe(name).name)
    if folder is None:
        raise not_built(name)
    print((folder / "README.md").read_text(encoding="utf-8"), end="")
    return 0


def build(name: str, *, data: str, workers: Count = 1) -> int:
    """Build a ready run from a corpus that you have: extract, fit in folds, evaluate, write the model card.

    Args:
        name: of the run, see 'polymodal ready list'
        data: the corpus; 'polymodal ready list' says what each run wants
        workers: processes of the extraction
    """
    from polymodal.data.progress import console
    from polymodal.predict.ready.build import build as make
    from polymodal.predict.ready.place import told
    from polymodal.predict.ready.recipes import find_recipe

    folder = make(find_recipe(name), data, workers=workers)
    for sentence in told(folder):
        console.print(sentence, soft_wrap=True, markup=False)
    console.print(f"built: {folder}; next: polymodal predict {name} clip.mp4", soft_wrap=True, markup=False)
    return 0
