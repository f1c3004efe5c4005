"""The example of a Ray Serve deployment, on a local Ray with a fake predictor."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import fake_service
import httpx
import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "ray_serve.py"


@pytest.fixture
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of Ray Serve on a local Ray."""
    ray = pytest.importorskip("ray")
    from ray import cloudpickle, serve

    cloudpickle.register_pickle_by_value(fake_service)  # Ray's processes cannot import it by name
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    ray.init(num_cpus=4, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    yield port
    serve.shutdown()
    ray.shutdown()
    cloudpickle.unregister_pickle_by_value(fake_service)


@pytest.fixture
def example() -> Iterator[ModuleType]:
    """The example as a module."""
    from ray import cloudpickle

    specification = importlib.util.spec_from_file_location("ray_serve", EXAMPLE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["ray_serve"] = module
    specification.loader.exec_module(module)
    cloudpickle.register_pickle_by_value(module)
    yield module
    cloudpickle.unregister_pickle_by_value(module)
    del sys.modules["ray_serve"]


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("RAY_ADDRESS") is not None, reason="would use a real cluster")
def test_replicas_answer_as_the_predictor_does(port: int, example: ModuleType, wav: bytes) -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 60
    example.deploy(fake_service.FakePredictor)
    url = f"http://127.0.0.1:{port}/"

    def ask(name: str) -> Any:
        return httpx.post(url, params={"name": name}, content=wav, timeout=60)

    with ThreadPoolExecutor(4) as clients:
        responses = list(clients.map(ask, [f"{i}.wav" for i in range(8)]))
    for i, response in enumerate(responses):
        expected = fake_service.FakePredictor().predict(wav, name=f"{i}.wav").to_dict()
        assert {**response.json(), "seconds": 0} == {**expected, "seconds": 0}
    bad = httpx.post(url, params={"name": "bad.wav"}, content=b"no clip", timeout=60)
    assert bad.status_code == 422
    assert bad.json()["error"] == "bad.wav is no clip"
