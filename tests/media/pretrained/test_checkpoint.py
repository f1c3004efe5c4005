"""Names of networks: folders with a digest, the hub with a commit, and what is said where neither is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from polymodal.core import OptionError
from polymodal.media.extraction import Extraction
from polymodal.media.pretrained import checkpoint
from polymodal.media.pretrained.checkpoint import Named, find_checkpoint
from polymodal.media.pretrained.named import local_networks, pinned

Networks = Callable[[str], Path]
COMMIT = "a" * 40


@pytest.fixture
def copy(networks: Networks, tmp_path: Path) -> Path:
    """A folder that a test may spoil."""
    return Path(shutil.copytree(networks("wav2vec2"), tmp_path / "copy"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A hub with one repository, ``org/net``, whose branch ``main`` is at COMMIT; ``kept`` is in the cache."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    state = SimpleNamespace(kept=False, reached=True, asked=[], patterns=None)
    response: Any = SimpleNamespace(headers={}, request=None, status_code=404)

    class Api:
        def model_info(self, place: str, revision: str | None = None) -> Any:
            state.asked.append(place)
            if place != "org/net":
                raise RepositoryNotFoundError("no such thing", response=response)
            if revision not in (None, "main", COMMIT):
                raise RevisionNotFoundError("no such revision", response=response)
            names = ["model.safetensors", "pytorch_model.bin", "config.json"]
            return SimpleNamespace(sha=COMMIT, siblings=[SimpleNamespace(rfilename=n) for n in names])

    def download(place: str, *, revision: str, local_files_only: bool = False, allow_patterns: Any = None) -> str:
        if local_files_only and not state.kept:
            raise LocalEntryNotFoundError("not here")
        state.patterns = allow_patterns
        folder = tmp_path / COMMIT
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text("{}")
        (folder / "README.md").write_text("---\ndatasets:\n- speech-a\n- speech-b\n---\n# A card\n")
        return str(folder)

    def reach(endpoint: str) -> None:
        if not state.reached:
            raise OSError("timed out")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(checkpoint, "reach", reach)
    checkpoint._from_hub.cache_clear()
    yield state
    checkpoint._from_hub.cache_clear()


def test_a_name_has_place_revision_and_options() -> None:
    named = Named.read("hf:org/net@v1?layers=4&rate=20")
    assert named == Named("org/net", "v1", {"layers": "4", "rate": "20"})
    assert named.at("abc") == "hf:org/net@abc?layers=4&rate=20"
    assert Named.read("hf:org/net") == Named("org/net", "", {})


def test_a_branch_is_pinned_to_its_commit_with_what_it_was_trained_on(hub: SimpleNamespace) -> None:
    found = find_checkpoint(Named.read("hf:org/net@main"))
    assert (found.revision, found.datasets) == (COMMIT, ("speech-a", "speech-b"))
    assert "*.safetensors" in hub.patterns
    assert "*.bin" not in hub.patterns
    recipe = pinned(Extraction(audio="egemaps,hf:org/net?rate=5", reader="hf:org/net"))
    assert recipe.audio == f"egemaps,hf:org/net@{COMMIT}?rate=5"
    assert recipe.reader == f"hf:org/net@{COMMIT}"
    assert pinned(recipe) == recipe


def test_a_commit_in_the_cache_needs_no_hub(hub: SimpleNamespace) -> None:
    hub.kept = True
    find_checkpoint(Named.read(f"hf:org/net@{COMMIT}"))
    assert hub.asked == []


def test_without_the_hub_the_cache_serves(hub: SimpleNamespace) -> None:
    hub.kept, hub.reached = True, False
    assert find_checkpoint(Named.read("hf:org/net")).revision == COMMIT


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("hf:org/other", "the hub has no network org/other"),
        ("hf:org/net@v9", "org/net has no revision 'v9'"),
        ("hf:/no/such/folder", "there is no folder /no/such/folder"),
        ("hf:lonely", "there is no folder lonely"),
    ],
)
def test_what_is_not_there_is_one_sentence(hub: SimpleNamespace, name: str, told: str) -> None:
    with pytest.raises(OptionError, match=told) as caught:
        find_checkpoint(Named.read(name))
    assert "\n" not in str(caught.value)


def test_no_network_and_nothing_in_the_cache(hub: SimpleNamespace) -> None:
    hub.reached = False
    with pytest.raises(OptionError, match=r"org/net@main is not in the hub's cache .* \(timed out\); connect once"):
        find_checkpoint(Named.read("hf:org/net@main"))


def test_a_folder_is_pinned_by_what_is_in_it(copy: Path) -> None:
    revision = find_checkpoint(Named.read(f"hf:{copy}")).revision
    assert find_checkpoint(Named.read(f"hf:{copy}@{revision}")).folder == copy
    (copy / "README.md").write_text("---\ndatasets: one\n---\n")
    assert find_checkpoint(Named.read(f"hf:{copy}@{revision}")).datasets == ("one",)
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    with pytest.raises(OptionError, match="are not those that were used before"):
        find_checkpoint(Named.read(f"hf:{copy}@{revision}"))


def test_a_card_that_is_damaged_or_says_nothing_names_no_data(copy: Path) -> None:
    for text in ("---\n- [", "# no front matter", "---\nlicense: mit\n---\n"):
        (copy / "README.md").write_text(text)
        assert checkpoint.datasets_of(copy) == ()


def test_a_folder_without_a_network(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"has no config\.json"):
        find_checkpoint(Named.read(f"hf:{tmp_path}"))


def test_networks_of_this_machine_are_told_from_those_of_a_hub(copy: Path) -> None:
    recipe = pinned(Extraction(audio=f"egemaps,hf:{copy}?rate=5", vision="crops"))
    assert local_networks(recipe.to_dict()) == [str(copy)]
    assert local_networks({"audio": f"hf:org/net@{COMMIT}", "vision": "face", "reader": ""}) == []
    assert local_networks({}) == []
