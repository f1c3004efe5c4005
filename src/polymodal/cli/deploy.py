"""``polymodal deploy``."""

from __future__ import annotations

from polymodal.cli.lists import Names

EXAMPLES = {
    "deploy": """\
  polymodal deploy runs/eo --keep audio                          runs/eo of: fit eo-colearning --out runs/eo
  polymodal deploy runs/eo --keep text audio --out runs/small
  polymodal evaluate runs/small"""
}


def deploy(run: str, *, keep: Names, out: str | None = None) -> int:
    """Make of a run one that needs only some of its modalities, and has no weights of the others.

    Args:
        run: folder of a run whose method comes apart by modality (eo-colearning, multimodn)
        keep: modalities that the new run reads
        out: new folder; default runs/RUN-MODALITIES, numbered where taken
    """
    from polymodal.data.progress import console
    from polymodal.train.deploy import deploy as write
    from polymodal.train.run import Run

    opened = Run.load(run)
    made = write(opened, keep, out)
    before, after = (f"{r.config['parameters']:,}" for r in (opened, made))
    console.print(
        f"deployed: {made.path} reads {', '.join(made.schema.names)}, {after} of {before} parameters; "
        f"next: polymodal evaluate {made.path}",
        soft_wrap=True,
    )
    return 0
