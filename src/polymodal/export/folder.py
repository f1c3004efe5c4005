"""The folder of an exported run: ``model.onnx``, ``model.json``, ``predict.py``."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polymodal import _version
from polymodal.core import OptionError, PolymodalError
from polymodal.export import script
from polymodal.predict.bare import bare
from polymodal.train.calibration import LEVELS
from polymodal.train.checkpoint import write_json
from polymodal.train.run import Run


def export(run: Run, folder: Path) -> float:
    """Write ``run`` as files that need neither torch nor polymodal, and return how far they are from it.

    Args:
        run: with finished seeds; several members become one graph that says their mean.
        folder: new or empty. It is written whole, after the graph was compared with the run, or not at all.

    Raises:
        OptionError: onnx, onnxscript or onnxruntime is missing, ``folder`` holds something, or the run is one that
            cannot be exported.
        RunError: weights or statistics that cannot be read.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 (torch needs it)
    except ImportError as error:
        raise OptionError(f"an export needs {error.name}; pip install 'polymodal[export]'") from None
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OptionError(f"{folder} is not empty; choose another --onnx")
    from polymodal.export.graph import Graph, onnx_program
    from polymodal.export.verify import verify

    graph, about = Graph(run), describe(run)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as place:
        made = Path(place) / "export"
        made.mkdir()
        with _refusals(run):
            onnx_program(graph).save(made / "model.onnx")
            session = onnxruntime.InferenceSession(made / "model.onnx", providers=["CPUExecutionProvider"])
            worst = verify(run, about, session)
        write_json(made / "model.json", about)
        shutil.copyfile(script.__file__, made / "predict.py")
        os.replace(made, folder)
    return worst


@contextmanager
def _refusals(run: Run) -> Iterator[None]:
    """Turn what torch or onnxruntime raises into an OptionError that names the method."""
    try:
        yield
    except PolymodalError:
        raise
    except Exception as error:  # each of the two has a dozen of its own, without a common base
        while error.__cause__ is not None:  # the exporter wraps what it tripped over
            error = error.__cause__  # type: ignore[assignment]
        reason = " ".join(str(error).split())[:300]
        raise OptionError(
            f"method {run.config['method']} cannot be exported with these modalities, nothing was written: "
            f"{type(error).__name__}: {reason}"
        ) from error


def describe(run: Run) -> dict[str, Any]:
    """Return what ``model.json`` holds: what goes in, what comes out, how sure it is, where it is from."""
    from polymodal.export.graph import LEAST

    about = run.config["data"]
    known = run.calibration
    calibration = [] if known is None else [{"present": sorted(k), "targets": v} for k, v in known.figures.items()]
    return {
        "polymodal": _version.__version__,
        "run": run.path.resolve().name,
        "method": run.config["method"],
        "members": [str(member) for member in run.members],
        "corpus": about["name"],
        "modalities": [
            {"name": m.name, "kind": m.kind, "width": m.width, "encoder": bare(about["encode"].get(m.name))}
            for m in run.schema.modalities
        ],
        "least_steps": LEAST,
        "targets": [
            {"name": t.name, "task": t.task, "answer": t.spec.answer, "range": t.range, "classes": t.classes}
            for t in run.schema.joint_targets
        ],
        "levels": LEVELS,
        "calibration": calibration,
    }
