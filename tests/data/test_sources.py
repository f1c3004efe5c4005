from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymodal.core import DataError, OptionError
from polymodal.data.folds import POOLED
from polymodal.data.ragged import Ragged
from polymodal.data.sources import load_corpus
from polymodal.data.store import write_store

Make = Callable[..., dict[str, Any]]
Write = Callable[..., Path]

FUNCTION = """
from __future__ import annotations
import numpy as np
from polymodal.core import Modality, Schema, Target
from polymodal.data.corpus import Corpus
from polymodal.data.split import build_split

def made(rows: int = 4, width: int = 2, *, shift: float = 0.0, loud: bool = False, name: str = "made") -> Corpus:
    schema = Schema((Modality("audio", "vector", width), Modality("text", "text")), (Target("y", "regression"),))
    def split(prefix):
        audio = np.ones((rows, width)) * (2 if loud else 1) + shift
        ids = [f"{prefix}{i}" for i in range(rows)]
        return build_split(schema, ids, {"audio": audio, "text": ids}, {"y": np.arange(rows)})
    return Corpus(name, "?", schema, {"train": split("a"), "dev": split("b"), "test": split("c")}, ("mine",))

def guessed(rows, loud=False):
    assert loud is True
    return made(rows)

def wrong():
    return 3
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "corpora.py"
    path.write_text(FUNCTION)
    return path


def test_pickle_is_read_by_its_structure(make_mmsa: Make, make_magbert: Make, write: Write) -> None:
    mosi = write(make_mmsa(), "mosi.pkl")
    corpus = load_corpus(mosi)
    assert (corpus.name, corpus.source) == ("mosi", str(mosi))
    assert corpus.schema.modality("text").kind == "sequence"
    mag = load_corpus(str(write(make_magbert(), "mag.pickle")))
    assert mag.schema.modality("text").kind == "text"
    assert list(mag.splits) == ["train", "valid", "test"]


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_pickle_is_found_without_its_suffix(make_mmsa: Make, write: Write, protocol: int) -> None:
    assert len(load_corpus(write(make_mmsa(), "mosi.data", protocol))["train"]) == 12


def test_options_reach_the_reader_with_their_types(make_mmsa: Make, write: Write) -> None:
    path = write(make_mmsa())
    corpus = load_corpus(f"{path}?text=raw&range=-4,4")
    assert corpus.schema.modality("text").kind == "text"
    assert corpus.schema.target("sentiment").range == (-4, 4)
    assert corpus.source == f"{path}?text=raw&range=-4,4"
    assert load_corpus(f"{path}?target=classification").schema.target("sentiment").task == "classification"


def test_modalities_and_limit_work_for_every_source(make_mmsa: Make, write: Write, module: Path) -> None:
    for source in (str(write(make_mmsa())), f"{module}:made", "synthetic:pair?n=30&seed=1"):
        corpus = load_corpus(f"{source}{'&' if '?' in source else '?'}modalities=text&limit=2")
        assert corpus.schema.names == ("text",)
        assert {len(split) for split in corpus.splits.values()} == {2}
        assert set(corpus["train"].columns) == set(corpus["train"].present) == {"text"}


def test_store_keeps_content_and_a_part_of_it_has_another_hash(make_mmsa: Make, write: Write, tmp_path: Path) -> None:
    corpus = load_corpus(write(make_mmsa("sims")))
    folder = write_store(corpus, tmp_path / "store")
    again = load_corpus(folder)
    assert again.hash == corpus.hash
    assert again.source == str(folder)
    part = load_corpus(f"{folder}?modalities=text,audio&limit=3")
    assert part.hash != corpus.hash
    assert set(part.normalizer.mean) == {"audio"}
    assert [t.name for t in part.schema.targets] == ["sentiment", "sentiment_text", "sentiment_audio"]
    assert load_corpus(f"store:{folder}").hash == corpus.hash


def test_function_in_a_file_gets_options_by_its_signature(module: Path) -> None:
    corpus = load_corpus(f"{module}:made?rows=5&width=3&shift=1&loud=true&name=7")
    assert len(corpus["valid"]) == 5
    column = corpus["train"].columns["audio"]
    assert isinstance(column, Ragged)
    assert column[0].tolist() == [[3, 3, 3]]
    assert (corpus.name, corpus.notes) == ("7", ("mine",))
    assert len(load_corpus(f"{module}:guessed?rows=3&loud=yes")["train"]) == 3


def test_a_file_may_import_the_files_beside_it(tmp_path: Path, module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "helpers_beside.py").write_text(module.read_text())
    (tmp_path / "data.py").write_text("from helpers_beside import made\n")
    before = list(sys.path)
    monkeypatch.chdir(tmp_path)
    assert len(load_corpus("data.py:made?rows=5")["train"]) == 5
    assert sys.path == before
    (tmp_path / "data.py").write_text("import no_such_helper\n")
    with pytest.raises(DataError, match="cannot be imported"):
        load_corpus("data.py:made")
    assert sys.path == before


def test_a_file_may_hold_a_dataclass(tmp_path: Path, module: Path) -> None:
    own = "from dataclasses import dataclass, KW_ONLY\n\n@dataclass\nclass Part:\n    _: KW_ONLY\n    name: str = 'a'\n"
    module.write_text(f"{FUNCTION}\n{own}")
    assert len(load_corpus(f"{module}:made")["train"]) == 4
    module.write_text(f"{FUNCTION}\nmade = None\ndef again(rows: int = 2) -> Corpus:\n    return None\n")
    with pytest.raises(DataError, match="no function 'made'"):  # the file as it is now
        load_corpus(f"{module}:made")


def test_function_in_a_module(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = module.rename(module.with_name("corpora_of_mine.py"))  # a name that no other test imports
    monkeypatch.syspath_prepend(module.parent)
    assert len(load_corpus("corpora_of_mine:made")["train"]) == 4
    with pytest.raises(DataError, match="did you mean 'made'"):
        load_corpus("corpora_of_mine:mad")
    with pytest.raises(DataError, match="returned a int"):
        load_corpus("corpora_of_mine:wrong")
    with pytest.raises(DataError, match="cannot be imported"):
        load_corpus("no_such_module:made")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("tex=raw", "no option 'tex'.*did you mean 'text'"),
        ("text=rw", "text must be one of features, raw or none, got 'rw'"),
        ("range=1", r"range must be lowest,highest \(such as -3,3\) or none, got '1'"),
        ("range=nan,nan", "range must be lowest,highest"),
        ("range=3,-3", "range must be lowest,highest"),
        ("limit=few", "limit must be a whole number above 0 or none, got 'few'"),
        ("limit=0", "limit must be a whole number above 0 or none, got '0'"),
        ("limit", "wants name=value, got 'limit'"),
        ("limit=1&limit=2", "given twice"),
    ],
)
def test_wrong_options_are_explained(make_mmsa: Make, write: Write, query: str, message: str) -> None:
    path = write(make_mmsa())
    with pytest.raises(OptionError, match=message) as caught:
        load_corpus(f"{path}?{query}")
    assert str(path) in str(caught.value)


def test_unknown_modality_names_the_nearest(make_mmsa: Make, write: Write, module: Path) -> None:
    for source in (str(write(make_mmsa())), f"{module}:made"):
        with pytest.raises(DataError, match=r"'audoi'.*did you mean 'audio'") as caught:
            load_corpus(f"{source}?modalities=audoi")
        assert source in str(caught.value)


def test_forced_reader_says_what_it_found_instead(make_mmsa: Make, write: Write) -> None:
    path = write(make_mmsa())
    assert load_corpus(f"mmsa:{path}").source == f"mmsa:{path}"
    with pytest.raises(DataError, match="does not have the layout magbert; it has the keys 'train'"):
        load_corpus(f"magbert:{path}")
    with pytest.raises(DataError, match="does not exist"):
        load_corpus("csd:none.csd")


def test_missing_file_names_the_nearest(make_mmsa: Make, write: Write) -> None:
    path = write(make_mmsa(), "unaligned_50.pkl")
    with pytest.raises(DataError, match=r"did you mean .*unaligned_50\.pkl"):
        load_corpus(path.with_name("unaligned_5.pkl"))


def test_folder_and_file_of_another_kind_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither polymodal\.json"):
        load_corpus(tmp_path)
    (tmp_path / "a.csv").write_text("a,b\n")
    with pytest.raises(DataError, match=r"neither a pickle nor a \.csd"):
        load_corpus(tmp_path / "a.csv")


def test_corpus_is_checked_and_returned(make_mmsa: Make, write: Write) -> None:
    corpus = load_corpus(write(make_mmsa()))
    assert load_corpus(corpus) is corpus


def test_modality_absent_from_train_is_noted(make_mmsa: Make, write: Write) -> None:
    data = make_mmsa()
    del data["train"]["text"]
    corpus = load_corpus(write(data))
    assert any("no training sample has text; only valid and test do" in note for note in corpus.notes)


def test_modality_without_any_value_can_be_left_out(make_mmsa: Make, write: Write) -> None:
    data = make_mmsa()
    for part in data.values():
        part["audio"][:] = np.nan
    path = write(data)
    with pytest.raises(DataError, match=r"no sample has audio.*\?modalities=text,vision"):
        load_corpus(path)
    assert load_corpus(f"{path}?modalities=text,vision").schema.names == ("text", "vision")


def test_same_file_gives_the_same_hash_in_another_process(make_mmsa: Make, write: Write) -> None:
    path = write(make_mmsa())
    code = f"from polymodal.data.sources import load_corpus; print(load_corpus({str(path)!r}).hash)"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == load_corpus(path).hash


def test_reading_frees_the_padded_arrays(make_mmsa: Make) -> None:
    from polymodal.data import mmsa

    data = pickle.loads(pickle.dumps(make_mmsa()))
    parts = list(data.values())
    mmsa.read(data, Path("x"))
    assert not data
    assert all(name not in part for part in parts for name in ("text", "audio", "vision"))


def test_held_out_is_one_fold_with_groups_whole() -> None:
    parts = [load_corpus(f"synthetic:talk?n=30&held_out={fold}/3") for fold in range(3)]
    tested = [set(part["test"].ids) for part in parts]
    assert sum(map(len, tested)) == len(set().union(*tested)) == sum(map(len, (parts[0][s] for s in POOLED)))
    for part in parts:
        assert not set(part["test"].groups) & {*part["train"].groups, *part["valid"].groups}
    assert len({part.hash for part in parts}) == 3
    assert load_corpus("synthetic:talk?n=30&held_out=1/3").hash == parts[1].hash


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("3/3", "held_out=3/3: the 3 folds are 0 to 2"),
        ("0/2", "held_out must be a whole number, 3 or more"),
        ("five", "held_out must be FOLD/FOLDS"),
    ],
)
def test_a_fold_that_is_none_is_said(asked: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        load_corpus(f"synthetic:talk?n=30&held_out={asked}")
