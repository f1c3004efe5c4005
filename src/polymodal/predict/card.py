"""The model card of a run: what it is, how good, how to use it and what not to use it for."""

from __future__ import annotations

import math
import re

from polymodal.core import Modality, RunError
from polymodal.media.extraction import Extraction
from polymodal.predict.bare import bare_config
from polymodal.report.folder import read_run
from polymodal.report.metrics import label
from polymodal.report.rows import Row
from polymodal.report.tables import score_table, to_markdown
from polymodal.report.templates import read_template
from polymodal.train.calibration import LEVELS
from polymodal.train.run import Run

_FIELD = {"sentiment": "sentiment-analysis", "emotion": "emotion-recognition"}


def model_card(run: Run, repo: str = "org/name") -> str:
    """Return the model card of a run as Markdown with YAML front matter, which hubs read.

    Args:
        run: the run; scores are listed where it was evaluated.
        repo: where others will find it.

    Raises:
        RunError: a damaged file in the run folder.
    """
    config, read = bare_config(run.config), read_run(run.path)
    targets = run.schema.joint_targets
    scored = [t.name for t in targets if any(r.target == t.name for r in read.rows)]
    text = read_template("polymodal.predict", name="model_card.md.jinja").render(
        front=_front(run, read.rows),
        repo=repo,
        config=config,
        data=config["data"],
        targets=[(_cell(t.name), _cell(t.spec.choices)) for t in targets],
        modalities=[(m.name, m.form, _origin(run, m)) for m in run.schema.modalities],
        from_clips=config["data"].get("extraction") is not None,
        seeds=run.seeds,
        folds=len(run.folds) if run.crossed else 0,
        tables=[to_markdown(score_table(read.rows, name)) for name in scored],
        calibrated=run.calibration is not None,
        reliability=[_reliability(row) for row in (read.scores or {}).get("calibration", [])],
        levels=", ".join(f"{level:.0%}" for level in LEVELS),
    )
    return re.sub(r"\n{3,}", "\n\n", text)  # what optional parts leave behind


def _front(run: Run, rows: list[Row]) -> str:
    """Return the YAML front matter, with the figures on complete input as hubs list them."""
    try:
        from huggingface_hub import EvalResult, ModelCardData
    except ImportError:
        raise RunError("a model card needs huggingface_hub; run: pip install huggingface_hub") from None
    data, method = run.config["data"], run.config["method"]
    tasks = {t.name: t.task for t in run.schema.joint_targets}
    results = [
        EvalResult(
            task_type=tasks[row.target],
            task_name=row.target,
            dataset_type=data["name"],
            dataset_name=data["name"],
            dataset_split=row.split,
            metric_type=row.metric,
            metric_name=label(row.metric),
            metric_value=round(row.mean, 6),
        )
        for row in rows
        if row.complete and math.isfinite(row.mean)
    ]
    fields = [tag for name, tag in _FIELD.items() if name in tasks]
    tags = ["polymodal", "multimodal", "affective-computing", *fields, method, *run.schema.names]
    card = ModelCardData(
        library_name="polymodal",
        tags=list(dict.fromkeys(tags)),
        model_name=f"{method} on {data['name']}",
        eval_results=results or None,
    )
    return str(card.to_yaml()).strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _origin(run: Run, modality: Modality) -> str:
    """Return how a modality is made."""
    about = run.config["data"]
    extraction = about.get("extraction") or {}
    named, versions = extraction.get("options", {}), extraction.get("versions", {})
    features = Extraction.from_dict(named) if named else None
    streams = {**features.streams("audio"), **features.streams("vision")} if features else {}
    what = streams.get(modality.name) or named.get(modality.name, "")
    made = [str(what), str(versions.get(modality.name, ""))]
    encoder = about["encode"].get(modality.name) or modality.encoder
    said = [" ".join(filter(None, made)), f"read with {encoder}" if encoder else ""]
    trained = extraction.get("trained_on", {}).get(modality.name)
    if trained is not None:
        said.append(f"its network was trained on {', '.join(trained) or 'data that its card does not name'}")
    return _cell("; ".join(filter(None, said)) or "as the corpus has it")


def _reliability(row: dict[str, object]) -> str:
    """Return one sentence about what calibration holds on other samples."""
    where = f"{row['target']} on {row['split']} ({row['count']} samples)"
    if "coverage" in row:
        held = f"{row['level']:.0%} intervals held {row['coverage']:.1%} of the labels"
        return f"{where}: {held}; mean width {row['width']:.2f}"
    return f"{where}: expected calibration error {row['ece']:.3f} ({row['ece_uncalibrated']:.3f} before calibration)"
