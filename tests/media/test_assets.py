from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from polymodal.core import DataError
from polymodal.media import assets
from polymodal.media.assets import FACE_MODEL, Asset, find_asset, find_face_model

CONTENT = b"weights" * 30_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Answers with ``content``, whatever it declares."""

    content = CONTENT
    declared = len(CONTENT)
    delay = 0.0
    asked = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        time.sleep(self.server.delay)
        if self.path != "/model.task":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(self.server.declared))
        self.end_headers()
        with suppress(ConnectionError):  # the client may have heard enough
            self.wfile.write(self.server.content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(assets, "_failed", {})
    monkeypatch.delenv("POLYMODAL_ASSETS", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "assets"


def asset(url: str = "file:///nowhere/model.task", digest: str = DIGEST) -> Asset:
    return Asset("model.task", "the test model", url, len(CONTENT), digest)


def served(server: Server, path: str = "model.task") -> Asset:
    return asset(f"http://127.0.0.1:{server.server_port}/{path}")


def test_a_given_file_or_folder_comes_before_the_environment_and_that_before_the_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path / "a", tmp_path / "b", cache):
        folder.mkdir(parents=True)
        (folder / "model.task").write_bytes(CONTENT)
    assert find_asset(asset()) == cache / "model.task"
    monkeypatch.setenv("POLYMODAL_ASSETS", str(tmp_path / "b"))
    assert find_asset(asset()) == tmp_path / "b" / "model.task"
    assert find_asset(asset(), tmp_path / "a") == tmp_path / "a" / "model.task"
    assert find_asset(asset(), str(tmp_path / "a" / "model.task")) == tmp_path / "a" / "model.task"


def test_a_folder_that_holds_other_models_is_no_obstacle(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "whisper").mkdir()
    cache.mkdir(parents=True)
    (cache / "model.task").write_bytes(CONTENT)
    assert find_asset(asset(), tmp_path / "whisper") == cache / "model.task"


def test_a_given_file_with_other_content_is_refused_with_both_hashes(tmp_path: Path) -> None:
    file = tmp_path / "model.task"
    file.write_bytes(b"something else")
    with pytest.raises(DataError) as caught:
        find_asset(asset(), tmp_path)
    message = str(caught.value)
    for part in (str(file), hashlib.sha256(b"something else").hexdigest()[:12], DIGEST[:12], "get it from"):
        assert part in message


def test_a_given_place_that_does_not_exist_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"--assets names .*gone, which does not exist"):
        find_asset(asset(), tmp_path / "gone")
    monkeypatch.setenv("POLYMODAL_ASSETS", str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"POLYMODAL_ASSETS names .*gone, which does not exist"):
        find_asset(asset())


def test_it_is_downloaded_once_and_kept(server: Server, cache: Path) -> None:
    found = find_asset(served(server))
    assert found == cache / "model.task"
    assert found.read_bytes() == CONTENT
    assert find_asset(served(server)) == found
    assert server.asked == 1
    assert [f.name for f in cache.iterdir()] == ["model.task"]


def test_a_damaged_copy_in_the_cache_is_replaced(server: Server, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "model.task").write_bytes(CONTENT[:1000])
    assert find_asset(served(server)).read_bytes() == CONTENT


def test_a_file_url_will_do(tmp_path: Path) -> None:
    (tmp_path / "origin.task").write_bytes(CONTENT)
    assert find_asset(asset((tmp_path / "origin.task").as_uri())).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "declared"),
    [
        (CONTENT[:-1000], len(CONTENT)),
        (CONTENT[:-1000], len(CONTENT) - 1000),
        (b"please log in", 13),
        (CONTENT + bytes(10_000_000), len(CONTENT) + 10_000_000),
        (b"", 0),
    ],
    ids=["truncated", "short", "another page", "endless", "empty"],
)
def test_a_download_that_is_not_the_file_is_refused_and_leaves_nothing(
    server: Server, cache: Path, content: bytes, declared: int
) -> None:
    server.content, server.declared = content, declared
    with pytest.raises(DataError, match=r"cannot be downloaded \(\d+ bytes came .*--assets FOLDER or POLYMODAL_ASSETS"):
        find_asset(served(server))
    assert list(cache.iterdir()) == []


def test_a_missing_page_is_told(server: Server) -> None:
    with pytest.raises(DataError, match=r"cannot be downloaded \(Not Found\)"):
        find_asset(served(server, "gone"))


def test_a_silent_server_is_given_up_and_never_asked_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "PATIENCE", 0.2)
    server.delay = 1.0
    wanted = served(server)
    for _ in range(100):
        with pytest.raises(DataError, match=r"cannot be downloaded \(timed out\)"):
            find_asset(wanted)
    assert server.asked == 1


def test_an_unreachable_host_is_one_sentence_with_the_remedy() -> None:
    with pytest.raises(DataError) as caught:
        find_asset(asset("http://127.0.0.1:9/model.task"))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("the test model model.task is not on this machine and cannot be downloaded")
    assert message.endswith("name its folder with --assets FOLDER or POLYMODAL_ASSETS")


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="cannot be downloaded"):
        find_asset(asset())


def test_the_face_model_is_the_one_whose_hash_is_known(shared: Path) -> None:
    file = shared / "models" / "face_landmarker.task"
    assert find_face_model(file) == find_face_model(shared / "models") == file
    assert file.stat().st_size == FACE_MODEL.size
