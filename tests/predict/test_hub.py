"""Runs pushed to and opened from a hub: a server on this machine that speaks the part of its protocol that is used."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from polymodal import Run, evaluate, fit, load_corpus
from polymodal.core import RunError
from polymodal.data.store import write_store
from polymodal.predict.bare import bare, bare_source
from polymodal.predict.hub import push, resolve
from polymodal.predict.predictor import Predictor


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An evaluated run of two seeds on a store with a place of its own, with things in its folder that are private."""
    home = tmp_path_factory.mktemp("home-of-jane")
    write_store(load_corpus("synthetic:talk?limit=40"), home / "secret" / "talk")
    made = fit("linear", str(home / "secret" / "talk"), seeds=(1, 2), out=home / "runs" / "talk")
    evaluate(made)
    (made.path / "notes.txt").write_text("do not publish")
    shutil.copyfile(made.path / "seed-1" / "best.safetensors", made.path / "seed-1" / "last.safetensors")
    return made


class Hub(BaseHTTPRequestHandler):
    """Serves the folder ``root`` as the model ``org/talk``; knows its newest revision only, named by its content."""

    root: Path

    @property
    def sha(self) -> str:
        return hashlib.sha1(json.dumps([self._entry(p) for p in self.files]).encode()).hexdigest()

    @property
    def files(self) -> list[Path]:
        return sorted(p for p in self.root.rglob("*") if p.is_file())

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if "/org/talk" not in path:
            return self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        if "/revision/" in path and not path.endswith(("/main", self.sha)):
            return self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        if "/tree/" in path:
            return self._json([self._entry(p) for p in self.files])
        if path.startswith("/api/"):
            return self._json({"id": "org/talk", "sha": self.sha, "siblings": []})
        content = (self.root / path.partition(f"/resolve/{self.sha}/")[2]).read_bytes()
        about = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": self.sha}
        return self._answer(200, content, about)

    def _entry(self, path: Path) -> dict[str, Any]:
        content = path.read_bytes()
        name = path.relative_to(self.root).as_posix()
        return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def _json(self, data: Any) -> None:
        self._answer(200, json.dumps(data).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that the hub shows as ``org/talk``; uploads go there, downloads into an empty cache."""
    from huggingface_hub import HfApi, constants

    place = tmp_path / "hub"
    place.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Talk", (Hub,), {"root": place}))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def create(self: Any, repo: str, *, private: bool, exist_ok: bool) -> str:
        (tmp_path / "asked.json").write_text(json.dumps({"repo": repo, "private": private, "token": self.token}))
        return f"{address}/{repo}"

    def upload(self: Any, *, repo_id: str, folder_path: str, commit_message: str, delete_patterns: list[str]) -> None:
        for pattern in delete_patterns:
            for old in place.glob(pattern):
                old.unlink()
        shutil.copytree(folder_path, place, dirs_exist_ok=True)

    monkeypatch.setattr(HfApi, "create_repo", create)
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    yield place
    server.shutdown()
    server.server_close()


def test_a_pushed_run_is_opened_by_name_and_predicts_the_same(
    run: Run, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    address = push(run.path, "org/talk", private=True, token="hf_x")
    assert address.endswith("/org/talk")
    assert json.loads((tmp_path / "asked.json").read_text()) == {"repo": "org/talk", "private": True, "token": "hf_x"}
    opened = Predictor.load("org/talk")
    assert opened.run.seeds == [1, 2]
    rows = [{"text": "the film was wonderful", "audio": None, "vision": None}, {"text": "the plot was awful"}]
    mine, theirs = (p.predict_features(rows).to_dict() for p in (Predictor(run), opened))
    assert mine["utterances"] == theirs["utterances"]
    assert mine["calibrated"]
    assert theirs["calibrated"]
    assert resolve("org/talk@main") == resolve(f"org/talk@{opened.run.path.name}") == opened.run.path
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert resolve("org/talk") == opened.run.path


def test_nothing_of_the_machine_and_nothing_private_is_uploaded(run: Run, hub: Path) -> None:
    push(run.path, "org/talk")
    files = {p.relative_to(hub).as_posix() for p in hub.rglob("*") if p.is_file()}
    per_seed = {f"seed-{s}/{n}" for s in (1, 2) for n in ("best.safetensors", "result.json")}
    assert files == {
        "run.json", "normalizer.json", "calibration.json", "novelty.safetensors", "evaluation/scores.json",
        "README.md", *per_seed,
    }  # fmt: skip
    home = run.path.parents[1]
    assert str(home) in (run.path / "run.json").read_text()
    for file in files:
        content = (hub / file).read_bytes()
        for secret in (str(home), home.name, "secret"):
            assert secret.encode() not in content, file
    config = json.loads((hub / "run.json").read_text())
    assert config["data"]["source"] == "talk"
    assert "--data talk " in config["command"]


def test_a_second_push_removes_what_the_run_no_longer_has(run: Run, hub: Path, tmp_path: Path) -> None:
    push(run.path, "org/talk")
    (hub / ".gitattributes").write_text("kept")
    less = shutil.copytree(run.path, tmp_path / "less")
    (less / "calibration.json").unlink()
    (less / "seed-2" / "result.json").unlink()
    push(less, "org/talk")
    assert not (hub / "calibration.json").exists()
    assert not list(hub.glob("seed-2/*"))
    assert (hub / ".gitattributes").exists()
    assert Predictor.load("org/talk").run.seeds == [1]
    assert "not calibrated" in (hub / "README.md").read_text()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"method_source": "evil.py:Evil"}, "method evil.py:Evil, code"),
        ({"method_source": "evil:Evil"}, "method evil:Evil, code"),
        ({"encode": {"text": "evil:encoder"}}, "with evil:encoder, code"),
        ({"encode": {"text": "/home/jane/bert"}}, "a folder of the machine it was trained on"),
        ({"encode": {"text": "../bert?layers=2"}}, "a folder of the machine it was trained on"),
        ({"text_encoder": "~/bert"}, "a folder of the machine it was trained on"),
        ({"source": "evil.py:corpus?limit=3"}, "names code as its data"),
        ({"source": "evil:corpus"}, "names code as its data"),
        ({"seeds": ["1/../.."]}, "seeds must be different whole numbers"),
        ({"seeds": None}, "seeds must be different whole numbers"),
        ({"encode": None}, "data.encode must be an object"),
    ],
)
def test_a_run_from_a_hub_executes_no_code(
    change: dict[str, Any], reason: str, run: Run, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('executed')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    push(run.path, "org/talk")
    config = json.loads((hub / "run.json").read_text())
    config |= {k: v for k, v in change.items() if k in ("method_source", "seeds")}
    config["options"] |= {k: v for k, v in change.items() if k == "text_encoder"}
    config["data"] |= {k: v for k, v in change.items() if k in ("encode", "source")}
    (hub / "run.json").write_text(json.dumps(config))
    (hub / "evil.py").write_text("raise SystemExit('executed')")
    with pytest.raises(RunError, match=reason):
        Predictor.load("org/talk")
    assert "evil" not in sys.modules
    assert not list((tmp_path / "cache").rglob("evil.py"))


def test_a_run_that_hears_with_a_folder_of_this_machine_is_not_pushed(make_run: Any, hub: Path) -> None:
    heard = make_run("sound", extraction={"audio": "hf:/models/mine@0123", "vision": "none", "text": "none"})
    with pytest.raises(RunError, match="sees or reads with /models/mine, a folder of this machine"):
        push(heard.path, "org/talk")


def test_runs_that_others_could_not_open_are_not_pushed(
    run: Run, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, key, value, reason in (
        ("code", "method_source", "mine.py:Mine", "method mine.py:Mine, code"),
        ("folder", "options", {"text_encoder": "bert"}, "with bert, a folder of this machine"),
        ("seedless", "seeds", [3], "no finished seed"),
    ):
        copy = shutil.copytree(run.path, tmp_path / name)
        config = json.loads((copy / "run.json").read_text())
        (copy / "run.json").write_text(json.dumps(config | {key: value}))
        (tmp_path / "bert").mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(RunError, match=reason):
            push(copy, "org/talk")
    with pytest.raises(RunError, match="'talk' is no name on a hub"):
        push(run.path, "talk")
    assert not list(hub.iterdir())


def test_what_the_hub_does_not_have_is_one_sentence(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    for name, reason in (
        ("org/other", "neither a run folder org/other nor a run org/other on the hub"),
        ("org/talk@v9", "org/talk on the hub has no revision v9"),
        ("org/talk", "org/talk on the hub is no polymodal run: it has no run.json"),
        ("gone", "there is no run folder gone"),
        ("a/b/c", "there is no run folder a/b/c"),
    ):
        with pytest.raises(RunError, match=reason) as caught:
            resolve(name)
        assert "\n" not in str(caught.value)
    (hub / "run.json").write_text("{}")
    with pytest.raises(RunError, match="method is missing"):
        resolve("org/talk")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RunError, match="the hub cannot be reached"):
        resolve("org/never")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RunError, match="the hub cannot be reached"):
        resolve("org/never")


def test_a_refused_upload_is_one_sentence(run: Run, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("401 Unauthorized\nRequest ID: 1")

    monkeypatch.setattr(HfApi, "create_repo", refuse)
    with pytest.raises(RunError, match="org/talk cannot be uploaded: 401 Unauthorized; log in") as caught:
        push(run.path, "org/talk")
    assert "\n" not in str(caught.value)


def test_a_folder_stays_where_it_is(run: Run) -> None:
    assert resolve(run.path) == run.path


@pytest.mark.parametrize(
    ("source", "bared"),
    [
        ("/home/jane/data/mosi.pkl", "mosi.pkl"),
        ("data/mosi.pkl?text=raw&limit=3", "mosi.pkl?text=raw&limit=3"),
        (r"C:\Users\jane\mosi.pkl", "mosi.pkl"),
        ("store:/home/jane/clips", "store:clips"),
        ("csd:folder/mosi?labels=/home/jane/labels.csv", "csd:mosi?labels=labels.csv"),
        ("synthetic:talk?limit=40", "synthetic:talk?limit=40"),
        ("/home/jane/own.py:corpus?fold=2", "moods?fold=2"),
        ("package.module:corpus", "moods"),
    ],
)
def test_of_a_source_only_its_name_is_published(source: str, bared: str) -> None:
    assert bare_source(source, "moods") == bared


def test_places_anywhere_in_plain_data_lose_their_folders() -> None:
    told = {"a": ["/home/jane/x.bin", "~/y", "org/name", 1.5, None], "b": {"c": r"D:\z\w.task", "d": "egemaps 2.6"}}
    assert bare(told) == {"a": ["x.bin", "y", "org/name", 1.5, None], "b": {"c": "w.task", "d": "egemaps 2.6"}}


def test_the_model_card_tells_what_the_run_is(run: Run, hub: Path) -> None:
    import yaml

    push(run.path, "org/talk")
    card = (hub / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["library_name"] == "polymodal"
    assert {"affective-computing", "linear", "text", "audio", "vision"} <= set(about["tags"])
    scores = json.loads((run.path / "evaluation" / "scores.json").read_text())["rows"]
    figures = {(r["target"], r["split"], r["metric"]): r["mean"] for r in scores if r["condition"] == "complete"}
    listed = {
        (r["task"]["name"], r["dataset"]["split"], m["type"]): m["value"]
        for r in about["model-index"][0]["results"]
        for m in r["metrics"]
    }
    assert listed == {key: pytest.approx(value, abs=1e-6) for key, value in figures.items() if value is not None}
    for part in ("linear on talk", run.config["data"]["hash"], "1, 2", 'Predictor.load("org/talk")',
                 "Not for decisions about persons", run.config["paper"], "95% interval", "validation split",
                 "# license"):  # fmt: skip
        assert part in card if part.startswith("#") else part in body
    assert "\n\n\n" not in body


def test_the_command_pushes_or_prints_the_card(run: Run, hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from polymodal.cli.parser import build_parser
    from polymodal.cli.push import EXAMPLES
    from polymodal.cli.push import push as command

    parser = build_parser("push", command, EXAMPLES["push"])
    assert command(**vars(parser.parse_args([str(run.path), "org/talk", "--card-only"]))) == 0
    assert capsys.readouterr().out.startswith("---\nlibrary_name: polymodal")
    assert not list(hub.iterdir())
    assert command(**vars(parser.parse_args([str(run.path), "org/talk"]))) == 0
    assert "org/talk" in capsys.readouterr().err
    assert (hub / "run.json").is_file()
