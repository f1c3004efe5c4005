"""``polymodal export``."""

from __future__ import annotations

EXAMPLES = {
    "export": """\
  polymodal export runs/mmcl-mosi --onnx model
  polymodal export org/name --onnx model
  python model/predict.py sample.npz --level 0.9      needs numpy and onnxruntime alone"""
}


def export(run: str, *, onnx: str) -> int:
    """Write a run as an ONNX graph with a script that predicts without torch and polymodal.

    Args:
        run: folder of a run, or org/name on a hub
        onnx: new folder for model.onnx, model.json and predict.py
    """
    from pathlib import Path

    from polymodal.data.progress import console
    from polymodal.export.folder import export as write
    from polymodal.predict.hub import resolve
    from polymodal.train.run import Run

    opened = Run.load(resolve(run))
    with console.status("writing the graph"):
        worst = write(opened, Path(onnx))
    console.print(f"exported: {onnx} (at most {worst:.0e} from the run)", soft_wrap=True)
    return 0
