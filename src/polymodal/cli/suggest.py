"""``polymodal suggest``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from polymodal.cli.text import print_json
from polymodal.core.options import Count

if TYPE_CHECKING:
    from polymodal.predict.suggest import Suggestions

EXAMPLES = {
    "suggest": """\
  polymodal suggest runs/mine new-clips
  polymodal suggest runs/mine new-clips --n 20 --by uncertainty --out next
  polymodal suggest runs/mine interviews --utterances speech
  polymodal suggest runs/mosi mine.pkl --by diverse
  polymodal extract next/suggested.csv --out stores/more         once its empty columns are filled in
  polymodal extract new-clips/export.json --out stores/more      what Label Studio exported as JSON"""
}


def suggest(
    run: str,
    source: str,
    *,
    n: Count = 50,
    by: Literal["uncertainty", "conflict", "distance", "diverse", "mixed"] = "mixed",
    out: str = "suggested",
    utterances: Literal["clip", "speech", "windows"] = "clip",
    json: bool = False,
    assets: str | None = None,
    threads: Count = 2,
) -> int:
    """Say which unlabelled clips, or samples of a corpus, to label next; write a table to fill in and tasks.

    Args:
        run: folder of a run, or org/name on a hub
        source: folder with clips, or a corpus as in 'polymodal data info'; of a corpus, samples without a label
        n: how many
        by: uncertainty (how unsure the run is), conflict (how far its modalities, one by one, disagree), distance
            (from the training samples), diverse (unlike each other) or mixed (all of them)
        out: folder that gets suggested.csv to fill in, tasks.json and interface.xml for Label Studio; it
            must not hold such a table yet
        utterances: what of a clip is labelled: the whole, its stretches of speech, or windows
        json: print the suggestions as JSON
        assets: folder with the face model and weights of speech recognition
        threads: of extraction and of the method
    """
    import torch

    from polymodal.predict.predictor import Predictor
    from polymodal.predict.suggest import suggest as choose
    from polymodal.predict.to_label import refuse_taken, tasks, write_suggestions

    refuse_taken(out)
    torch.set_num_threads(threads)
    predictor = Predictor.load(run, assets=assets, threads=threads)
    found = choose(predictor, source, n, by=by, utterances=utterances)
    place = write_suggestions(found, out)
    if json:
        print_json([{**task["data"], **said} for task, said in zip(tasks(found), found.said, strict=True)])
        return 0
    _print(found, str(place))
    return 0


def _print(found: Suggestions, place: str) -> None:
    from rich.markup import escape
    from rich.table import Table

    from polymodal.data.progress import screen

    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for column in ("", "clip" if found.clips else "sample", "predicted", "why"):
        table.add_column(column)
    for i, one in enumerate(found.chosen):
        when = "" if one.start is None else f" {one.start:.1f}-{one.end:.1f} s"
        said = ", ".join("+".join(v) if isinstance(v, list) else str(v) for v in found.said[i].values())
        table.add_row(str(i + 1), escape(one.name) + when, escape(said), escape(found.reasons[i]))
    console = screen()
    console.print(table)
    for note in found.notes:
        console.print(f"note: {escape(note)}", soft_wrap=True)
    console.print(
        f"{len(found.chosen)} of {found.candidates}; {escape(place)}: suggested.csv to fill in", soft_wrap=True
    )
