"""Services around a fake predictor: in this process, and as processes of their own."""

from __future__ import annotations

import sys
import wave
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

sys.path.insert(0, str(Path(__file__).parent))  # worker processes import fake_service by its name

MakeClient = Callable[..., TestClient]
MakeWav = Callable[..., bytes]


@pytest.fixture(scope="session")
def make_wav() -> MakeWav:
    """``make_wav(seconds, pitch)`` -> content of a sound file."""

    def make(seconds: float = 0.5, pitch: float = 440.0) -> bytes:
        wave_form = np.sin(2 * np.pi * pitch * np.arange(round(seconds * 8000)) / 8000)
        out = BytesIO()
        with wave.open(out, "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes((wave_form * 20000).astype("<i2").tobytes())
        return out.getvalue()

    return make


@pytest.fixture(scope="session")
def wav(make_wav: MakeWav) -> bytes:
    """Half a second of sound."""
    return make_wav()


@pytest.fixture(scope="module")
def scratch_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that services of this module share for uploads."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def make_client(scratch_root: Path) -> Iterator[MakeClient]:
    """``make_client(queue=2, ...)`` -> a client of a running service with these settings; the same ones share it."""
    from fake_service import FakePredictor

    from polymodal.serve.app import create_app
    from polymodal.serve.scratch import Scratch
    from polymodal.serve.settings import Settings

    made: dict[str, TestClient] = {}
    with ExitStack() as closing:

        def make(**settings: object) -> TestClient:
            key = repr(sorted(settings.items()))
            if key not in made:
                app = create_app(FakePredictor, Settings("fake", **settings), Scratch(scratch_root))  # type: ignore[arg-type]
                client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
                made[key] = closing.enter_context(client)
            return made[key]

        yield make


@pytest.fixture(scope="module")
def client(make_client: MakeClient) -> TestClient:
    """A client of a service with default settings."""
    return make_client()


@pytest.fixture
def no_leftovers(scratch_root: Path) -> Iterator[None]:
    """Check that the test leaves no upload behind."""
    from fake_service import uploads

    yield
    assert uploads(scratch_root) == []


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., object]]:
    """``start("queue=2")`` -> (process, address) of a fake service, killed at the end; its uploads are in tmp_path."""
    from fake_service import running

    with ExitStack() as closing:
        yield lambda *options: closing.enter_context(running(tmp_path, *options))
