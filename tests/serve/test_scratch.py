from __future__ import annotations

from pathlib import Path

import pytest

from polymodal.core import OptionError
from polymodal.serve.scratch import Scratch


def test_what_a_killed_service_left_goes_when_the_next_one_starts(tmp_path: Path) -> None:
    stale = tmp_path / "root" / "stale"
    with Scratch(tmp_path / "root") as running:
        (stale / "request").mkdir(parents=True)
        (stale / "request" / "clip").write_bytes(b"half")
        (stale / "lock").touch()
        kept = running.folder()
        with Scratch(tmp_path / "root"):
            assert not stale.exists()
            assert kept.exists()  # of a service that lives
    assert [p.name for p in (tmp_path / "root").iterdir()] == ["lock"]


def test_folders_are_private(tmp_path: Path) -> None:
    with Scratch(tmp_path / "root") as scratch:
        for folder in (tmp_path / "root", scratch.path, scratch.folder()):
            assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir(mode=0o755)
    with pytest.raises(OptionError, match="not a private folder"):
        Scratch(tmp_path / "root")


def test_a_link_to_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "root").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OptionError, match="not a private folder"):
        Scratch(tmp_path / "root")
