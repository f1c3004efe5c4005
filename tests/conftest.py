"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # tests import planted_people by its name

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is loaded
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # several processes share the cores

import pytest
import torch

CHROMIUM = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object | None) -> None:
    """Say how a lost worker ended: a signal leaves no other trace."""
    if error is not None:
        print(f"\n{node.gateway.id} ended with status {node.gateway._io.wait()}, negative for a signal")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real data and models; its absence is a failure in CI and a skip elsewhere."""
    place = Path(os.environ.get("POLYMODAL_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not place.is_dir():
        message = f"no real data at {place}; set POLYMODAL_SHARED"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return place


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium; its absence is a failure in CI and a skip elsewhere."""
    playwright = pytest.importorskip("playwright.sync_api")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        message = "no chromium on this machine"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=found, args=list(CHROMIUM))
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests out of the user's cache; one cache for the whole run, so that encoders work once."""
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def _own_limits() -> Iterator[None]:
    """Take back the limit of memory that a command called in this process leaves to all tests after."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    yield
    resource.setrlimit(resource.RLIMIT_DATA, before)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "very", "##ly", "film", "a", "not", "."]


@pytest.fixture(scope="session")
def make_bert(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], str]:
    """Returns a function: number of layers -> folder of a random BERT of width 16 that knows ``WORDS``, no dropout."""
    transformers = pytest.importorskip("transformers")

    @cache
    def make(layers: int) -> str:
        folder = tmp_path_factory.mktemp(f"bert{layers}")
        (folder / "vocab.txt").write_text("\n".join(WORDS))
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=32,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        transformers.BertModel(config).save_pretrained(folder)
        transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
        return str(folder)

    return make


@pytest.fixture(scope="session")
def bert(make_bert: Callable[[int], str]) -> str:
    """Folder of a random BERT with two layers."""
    return make_bert(2)


@pytest.fixture(scope="session")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random vision transformer of width 16 for pictures of 3 x 16 x 16, no dropout."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=16,
        patch_size=8,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    transformers.ViTModel(config).save_pretrained(folder)
    return folder
