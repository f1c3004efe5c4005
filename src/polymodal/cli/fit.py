"""``polymodal fit``."""

from __future__ import annotations

import os
from typing import Literal

from polymodal.cli.lists import Pairs, Settings
from polymodal.cli.text import print_json, typed
from polymodal.core.options import Count, FoldScheme, NotNegative, Positive, Seeds, pairs

EXAMPLES = {
    "fit": """\
  polymodal fit mmcl --data synthetic:talk --epochs 5
  polymodal fit mmcl --data mosi_unaligned.pkl --seeds 1111,1112,1113 --out runs/mosi
  polymodal fit mmcl --data 'mosi.pkl?text=raw' --encode text=minilm --set width=64 beta=0.5
  polymodal fit mmcl --data 'mosi.pkl?text=raw' --encoder 'text=minilm?tuning=lora'
  polymodal fit mmcl --data mosi.pkl --folds 5    cross-validation by groups (videos, speakers)
  polymodal fit mmcl --data stores/interviews --folds leave-one-group-out
  polymodal fit mmcl --data mosi.pkl --train-stress missing:rate=0.3
  polymodal fit linear --data mosi.pkl            the floor that every method must beat
  polymodal fit best --data mosi.pkl              what suits this corpus: polymodal fit best --help
  polymodal fit my_method.py:Mine --data mosi.pkl
  polymodal fit mmcl --data mosi.pkl --out runs/mosi --resume
  torchrun --nproc-per-node 2 -m polymodal fit mmcl --data mosi.pkl --out runs/mosi"""
}


def fit(
    method: str,
    *,
    data: str,
    preset: str | None = None,
    set: Settings = [],  # noqa: B006 (the option is called --set; never changed)
    encoder: Pairs = [],  # noqa: B006
    encode: Pairs = [],  # noqa: B006
    epochs: Count | None = None,
    batch_size: Count | None = None,
    lr: Positive | None = None,
    seeds: Seeds = (1111,),
    folds: FoldScheme | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    precision: Literal["32", "bf16-mixed"] | None = None,
    train_stress: str | None = None,
    out: str | None = None,
    resume: bool = False,
    checkpoint_seconds: NotNegative = 60.0,
    json: bool = False,
) -> int:
    """Train a method on a corpus, once per seed (and fold), into a run folder.

    Args:
        method: id (see 'polymodal methods'), package.module:Class or file.py:Class
        data: pickle, .csd folder, store, synthetic:NAME or package.module:function, with ?option=value
        preset: name of a shipped preset, or a YAML file
        set: options of the method or of training (see 'polymodal methods ID')
        encoder: encoder that trains with the method, at the rate lr_pretrained: text=minilm, text=minilm?tuning=lora
            (small adapters only), text=FOLDER, text=HUB_NAME; vision=FOLDER for pixels; none for the kind's own (hashed
            words, patches)
        encode: frozen encoder, which reads the corpus once, before training, and is cheaper by far: text=minilm,
            text=minilm?layers=3; none to leave out the preset's
        epochs: passes over the training split at most
        batch_size: samples per step
        lr: learning rate of new parameters
        seeds: whole numbers, one training each
        folds: cross-validation by groups: how many folds train, valid and test are dealt to, whole groups each, or
            leave-one-group-out; one training per fold and seed
        device: where to compute
        precision: arithmetic
        train_stress: absence or noise on the training data, for example missing:rate=0.3 or noise:audio,snr=5
        out: run folder; default runs/METHOD-CORPUS, numbered where taken
        resume: continue the run where it stopped
        checkpoint_seconds: longest time between checkpoints within an epoch
        json: print the run as JSON
    """
    from polymodal.data.progress import console
    from polymodal.train.fit import fit as train

    run = train(
        method,
        data,
        preset=preset,
        options=typed("--set", set),
        encoder=pairs("--encoder", encoder),
        encode=pairs("--encode", encode),
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        precision=precision,
        train_stress=train_stress,
        seeds=seeds,
        folds=folds,
        device=device,
        out=out,
        resume=resume,
        checkpoint_seconds=checkpoint_seconds,
    )
    if int(os.environ.get("RANK", "0")):  # under torchrun one process speaks for all
        return 0
    if json:
        results = {f: run.results(f) for f in run.folds} if run.crossed else run.results()
        print_json({"path": str(run.path), **run.config, "results": results})
    else:
        console.print(f"trained; next: polymodal evaluate {run.path}", soft_wrap=True)
    return 0
