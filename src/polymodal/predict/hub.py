"""Runs on a hub: ``org/name`` becomes a folder, a folder becomes ``org/name``.

What crosses the hub is JSON, safetensors and a page of text, never code: a run that needs code which does not come with
polymodal is neither pushed nor opened.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from polymodal.core import RunError, Schema, nearest
from polymodal.core.tasks import refuse_foreign
from polymodal.media.pretrained.named import local_networks
from polymodal.methods import method_ids
from polymodal.predict.bare import bare, bare_config, bare_source, names_code
from polymodal.predict.card import model_card
from polymodal.predict.ready.place import find_ready, not_built
from polymodal.predict.ready.recipes import recipes
from polymodal.train.checkpoint import write_json
from polymodal.train.novelty import FILE as NOVELTY
from polymodal.train.run import Run, read_config

FILES = (
    "run.json",
    "normalizer.json",
    "calibration.json",
    NOVELTY,
    "seed-*/best.safetensors",
    "seed-*/result.json",
    "fold-*/normalizer.json",
    "fold-*/calibration.json",
    "fold-*/seed-*/best.safetensors",
    "fold-*/seed-*/result.json",
    "evaluation/scores.json",
    "README.md",
)
"""What belongs to a run on a hub."""

_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_ENCODER = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def resolve(run: str | Path) -> Path:
    """Return the folder of a run.

    Args:
        run: a folder, which stays as it is, the name of a ready run, or ``org/name`` or ``org/name@revision`` on the
            hub, which is downloaded into the hub's cache, or found there without a network.

    Raises:
        RunError: there is no such folder or run, the hub cannot be reached, or what it has is no polymodal run, or one
            that needs code or files that do not come with it.
    """
    if Path(run).exists():
        return Path(run)
    if str(run) in recipes():
        if ready := find_ready(str(run)):
            return ready
        raise not_built(str(run))
    name, _, revision = str(run).partition("@")
    if not _NAME.fullmatch(name):
        raise RunError(
            f"there is no run folder {run}{nearest(str(run), recipes())}; polymodal fit makes one, a run on a hub is "
            "named org/name, and 'polymodal ready list' names those that are there"
        )
    folder = _download(name, revision or None)
    if not (folder / "run.json").is_file():
        raise RunError(f"{run} on the hub is no polymodal run: it has no run.json")
    config = read_config(folder)
    try:
        check_portable(config, str(run))
        source = str(config["data"]["source"])
        numbers = [*config["seeds"], config.get("folds", {}).get("count", 0)]
        numbered = all(isinstance(number, int) for number in numbers)  # they name folders
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(f"run.json of {run} on the hub is damaged ({error!r}): it is not opened") from None
    if names_code(source) or not numbered:
        what = f"code as its data ({source})" if numbered else f"the seeds and folds {numbers}"
        raise RunError(f"{run} on the hub names {what}: it is not opened")
    return folder


def push(
    run: str | Path, repo: str, *, private: bool = False, token: str | None = None, message: str = "Add a polymodal run"
) -> str:
    """Upload a run with its model card and return the address of its page.

    Only FILES are uploaded, and of places on this machine only the last part. Earlier content of these files is
    replaced; what the run no longer has is removed.

    Args:
        run: its folder.
        repo: ``org/name``; made where it does not exist.
        private: whether a repository that is made is private.
        token: of the hub; default: that of ``hf auth login``.
        message: of the commit.

    Raises:
        RunError: no finished seed, a run that others could not open, or the hub refuses.
    """
    from huggingface_hub import HfApi

    if not _NAME.fullmatch(repo):
        raise RunError(f"{repo!r} is no name on a hub; give org/name")
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as place:
        export(Run.load(run), Path(place), repo)
        try:
            url = api.create_repo(repo, private=private, exist_ok=True)
            api.upload_folder(repo_id=repo, folder_path=place, commit_message=message, delete_patterns=list(FILES))
        except _problems() as error:
            raise RunError(
                f"{repo} cannot be uploaded: {_reason(error)}; log in with 'hf auth login' and check the name"
            ) from None
    return str(url)


def export(run: Run, folder: Path, repo: str) -> None:
    """Copy into ``folder`` what of a run belongs on a hub, with its model card.

    Raises:
        RunError: no finished seed, or a run that others could not open.
    """
    check_portable(run.config, str(run.path))
    for spec in _encoders(run.config):
        if Path(spec).exists():
            raise RunError(f"{run.path} encodes with {spec}, a folder of this machine: push that first, then refit")
    if local := local_networks((run.config["data"].get("extraction") or {}).get("options", {})):
        raise RunError(
            f"{run.path} hears, sees or reads with {local[0]}, a folder of this machine: push that first, then extract "
            "and fit with its name on the hub"
        )
    members, name = run.members, run.config["data"]["name"]
    for fold in run.folds:
        _ = run.normalizer_of(fold)  # a run without its statistics, or with others, is not to be handed on
    write_json(folder / "run.json", bare_config(run.config | {"seeds": run.seeds}))
    homes = dict.fromkeys((".", *(member.home for member in members)))
    measured = [f"{home}/{file}" for home in homes for file in ("normalizer.json", "calibration.json")]
    for file in (*measured, "evaluation/scores.json", *(f"{member.place}/result.json" for member in members)):
        _copy_json(run.path / file, folder / file, name)
    if (run.path / NOVELTY).is_file():
        shutil.copyfile(run.path / NOVELTY, folder / NOVELTY)
    for member in members:
        shutil.copyfile(run.path / member.place / "best.safetensors", folder / member.place / "best.safetensors")
    (folder / "README.md").write_text(model_card(Run.load(folder), repo), encoding="utf-8")


def _copy_json(file: Path, target: Path, name: str) -> None:
    """Copy a JSON file, where there is one, without places; ``name`` is that of the run's corpus."""
    if not file.is_file():
        return
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read ({error}); make it again before the run is pushed") from None
    if "data" in content:
        content["data"]["source"] = bare_source(content["data"]["source"], name)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_json(target, bare(content))


def check_portable(config: dict[str, Any], run: str) -> None:
    """Raise RunError, or DataError for a task, where a run needs code or files that do not come with it.

    Args:
        config: content of ``run.json``.
        run: what messages call it.
    """
    for method in _methods(config["method_source"], config["options"]):
        if method not in method_ids():
            raise RunError(
                f"{run} uses the method {method}, code that does not come with polymodal: it cannot travel over a hub; "
                "hand over the folder together with that code"
            )
    refuse_foreign([target["task"] for target in config["data"]["schema"]["targets"]], run)
    for spec in _encoders(config):
        if ":" in spec:
            raise RunError(
                f"{run} reads a modality with {spec}, code that does not come with polymodal: it cannot travel over a "
                "hub; hand over the folder together with that code"
            )
        if not _ENCODER.fullmatch(spec):
            raise RunError(
                f"{run} encodes with {spec}, a folder of the machine it was trained on: its owner must push that "
                "encoder and fit the run with the encoder's name on the hub"
            )


def _methods(method: str, options: dict[str, Any]) -> list[str]:
    """Return the method of a run and those inside it: members of an ensemble, the base of a wrapper."""
    found = [method]
    for member in options.get("members", ()):
        found += _methods(member["method"], member.get("options", {}))
    if isinstance(options.get("base"), str):
        found += _methods(options["base"], options.get("base_options", {}))
    return found


def _encoders(config: dict[str, Any]) -> list[str]:
    """Return the names, without options, of what a run reads text or other modalities with."""
    trained = Schema.from_dict(config["data"]["schema"]).encoders
    return [str(spec).partition("?")[0] for spec in (*config["data"]["encode"].values(), *trained.values())]


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(FILES)))
    except RevisionNotFoundError:
        raise RunError(f"{name} on the hub has no revision {revision}; leave it out for the newest") from None
    except RepositoryNotFoundError:
        raise RunError(
            f"there is neither a run folder {name} nor a run {name} on the hub, or it is private: check the name, or "
            "log in with 'hf auth login'"
        ) from None
    except LocalEntryNotFoundError:
        raise RunError(
            f"there is no run folder {name}, and the hub cannot be reached to look for {name} there; nothing of it "
            "is in the hub's cache either"
        ) from None
    except _problems() as error:
        raise RunError(f"{name} cannot be had from the hub: {_reason(error)}") from None


def _problems() -> tuple[type[Exception], ...]:
    """Return what a hub raises: its own errors, and those of the HTTP library that its version is built on."""
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    return (OSError, ValueError, EntryNotFoundError, *(b for b in HfHubHTTPError.__bases__ if b is not Exception))


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0].rstrip(".")
