"""The README is executable: its Python and its commands run, its links lead somewhere, its table is true."""

from __future__ import annotations

import pickle
import re
import runpy
import shlex
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from polymodal.cli.main import main
from polymodal.methods import describe_method, method_ids

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


def small_mosi(rows: int, rng: np.random.Generator) -> dict[str, object]:
    """A split in the layout of MMSA, of the same widths as CMU-MOSI."""
    return {
        "id": [f"video{i}$_${rng.integers(1 << 30)}" for i in range(rows)],
        "raw_text": ["a fine film" if i % 2 else "a dull film" for i in range(rows)],
        "text": rng.standard_normal((rows, 6, 768)).astype(np.float32),
        "audio": rng.standard_normal((rows, 9, 5)).astype(np.float32),
        "vision": rng.standard_normal((rows, 7, 20)).astype(np.float32),
        "audio_lengths": [9] * rows,
        "vision_lengths": [7] * rows,
        "regression_labels": rng.uniform(-3, 3, rows).astype(np.float32),
    }


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files that the README speaks of."""
    rng = np.random.default_rng(0)
    splits = {name: small_mosi(rows, rng) for name, rows in (("train", 24), ("valid", 12), ("test", 12))}
    (tmp_path / "mosi.pkl").write_bytes(pickle.dumps(splits))
    shutil.copy(ROOT / "examples" / "own_method.py", tmp_path / "my_method.py")
    write_clip = runpy.run_path(str(ROOT / "tests/media/clips.py"))["write_clip"]
    rows = [f"{i}.wav,{('joy', 'anger')[i % 2]},{('train', 'train', 'valid', 'test')[i // 2]}" for i in range(8)]
    for i in range(8):
        write_clip(tmp_path / f"{i}.wav", tone=200 + 100 * (i % 2))
    (tmp_path / "clips.csv").write_text("\n".join(["clip,emotion,split", *rows]))
    write_clip(tmp_path / "clip.mp4")
    write_clip(tmp_path / "clip.wav", tone=200)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_commands_run_in_the_order_of_the_text(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[object] = []
    server = import_module("polymodal.serve.server")
    monkeypatch.setattr(server, "serve", lambda *words, **options: served.append(words))
    lines = [line for block in blocks("console") for line in block.splitlines() if line.startswith("polymodal ")]
    assert len(lines) >= 8
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        assert main(words) == 0, (line, capsys.readouterr().err)
    assert (desk / "runs/mmcl-mosi/report.html").is_file()
    assert (desk / "clip.html").is_file()
    assert len(served) == 1
    assert "against" in capsys.readouterr().out


def test_python_runs(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert {"id", "sentiment/true", "sentiment/predicted"} <= set(names["columns"])  # type: ignore[call-overload]
    assert "complete mae" in capsys.readouterr().out


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"\bmake (\w+)", "\n".join(blocks("console"))))
    assert {"demo", "test"} <= named <= targets


def test_links_to_files_lead_somewhere() -> None:
    links = [x for x in re.findall(r"\]\(([^)#]+)", TEXT) if "://" not in x]
    assert len(links) > 10
    assert [x for x in links if not (ROOT / x).exists()] == []


def test_the_table_of_methods_names_methods_and_their_papers() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (.+?) \| all \|$", TEXT, flags=re.MULTILINE)
    assert len(rows) >= 5
    for name, paper in rows:
        assert name in method_ids()
        info = describe_method(name)
        assert info.tasks == {"regression", "classification", "multilabel"}
        for number in re.findall(r"\d{4}\.\d{5}", paper):
            assert number in info.paper, name
