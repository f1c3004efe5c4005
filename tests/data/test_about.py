"""What is known of samples beside: it travels with them, comes from tables, and becomes domains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polymodal.core import DataError, Modality, Schema, Target
from polymodal.data.about import column_of
from polymodal.data.corpus import Corpus
from polymodal.data.loader import Loader
from polymodal.data.sources import load_corpus
from polymodal.data.split import Split, build_split
from polymodal.data.store import write_store

SCHEMA = Schema((Modality("audio", "vector", 1),), (Target("kind", "classification", classes=("no", "yes")),))


def _split(name: str, rows: int) -> Split:
    return build_split(
        SCHEMA,
        [f"{name}{i}" for i in range(rows)],
        {"audio": [[float(i)] for i in range(rows)]},
        {"kind": [int(i % 4 == 0) for i in range(rows)]},
        [f"speaker{i % 3}" for i in range(rows)],
        about={
            "sex": ["f" if i % 3 else "m" for i in range(rows)],
            "age": [None if i == 1 else i for i in range(rows)],
        },
    )


def people() -> Corpus:
    return Corpus("people", "people", SCHEMA, {n: _split(n, 12) for n in ("train", "valid", "test")})


def test_columns_stay_with_their_samples(tmp_path: Path) -> None:
    corpus = people()
    assert corpus["test"].select([5, 1, 0]).about == {"sex": ["f", "f", "m"], "age": ["5", "", "0"]}
    bare = Split(**{**vars(corpus["valid"]), "about": {}})
    assert Split.joined([corpus["test"].select([0]), bare.select([1])]).about["sex"] == ["m", ""]
    folder = write_store(corpus, tmp_path / "store")
    stored = load_corpus(folder)
    assert {n: dict(s.about) for n, s in stored.splits.items()} == {n: s.about for n, s in corpus.splits.items()}
    assert stored.hash == corpus.hash
    bare_corpus = Corpus(
        "people", "people", SCHEMA, {n: Split(**{**vars(s), "about": {}}) for n, s in corpus.splits.items()}
    )
    assert bare_corpus.hash == corpus.hash  # no model reads them


def test_a_table_names_samples_or_groups(tmp_path: Path) -> None:
    folder = write_store(people(), tmp_path / "store")
    table = tmp_path / "speakers.csv"
    table.write_text("group,site\nspeaker0,Bonn\nspeaker1,Trier\n")
    corpus = load_corpus(f"{folder}?about={table}&domain=site")
    assert column_of(corpus, "test", "site")[:3] == ["Bonn", "Trier", ""]
    assert corpus.schema.domains == ("Bonn", "Trier", "unknown")
    assert corpus["test"].domains is not None
    assert corpus["test"].domains[:3].tolist() == [0, 1, 2]
    assert corpus.hash != load_corpus(folder).hash
    by_id = tmp_path / "found.parquet"
    pq.write_table(pa.table({"id": ["test3"], "slice": ["s1"]}), by_id)
    assert column_of(load_corpus(f"{folder}?about={by_id}"), "test", "slice")[2:5] == ["", "s1", ""]


def test_a_class_in_a_domain_comes_as_often_as_any_other(tmp_path: Path) -> None:
    folder = write_store(people(), tmp_path / "store")
    corpus = load_corpus(f"{folder}?domain=sex")
    for batch in Loader(corpus["train"], corpus.schema, 8, shuffle=True, balance="cell").epoch():
        assert batch.domain is not None
        cells = sorted(zip(batch.domain.tolist(), batch.targets["kind"].tolist(), strict=True))
        assert cells == sorted(2 * [(0, 0), (0, 1), (1, 0), (1, 1)])


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    folder = write_store(people(), tmp_path / "store")
    with pytest.raises(DataError, match="no column 'sx' about the samples of train; did you mean 'sex'"):
        load_corpus(f"{folder}?domain=sx")
    files = {
        "keyless.csv": ("name,sex\na,f\n", "neither a column 'id' nor a column 'group'"),
        "twice.csv": ("group,sex\nspeaker0,f\nspeaker0,m\n", "has the group 'speaker0' twice"),
        "other.csv": ("id,sex\nelsewhere,f\n", "names no id of"),
        "empty.csv": ("", "neither a column"),
        "wide.csv": ("group,sex\nspeaker0,f\nspeaker1,f, m\n", "line 3 has more cells than the first line has names"),
    }
    for name, (content, said) in files.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=said):
            load_corpus(f"{folder}?about={tmp_path / name}")
    with pytest.raises(DataError, match=r"there is no table .*nothing\.csv; check the path"):
        load_corpus(f"{folder}?about={tmp_path / 'nothing.csv'}")
    (tmp_path / "same.csv").write_text("group,n\n" + "".join(f"speaker{i},7\n" for i in range(3)))
    with pytest.raises(DataError, match="is '7' throughout"):
        load_corpus(f"{folder}?about={tmp_path / 'same.csv'}&domain=n")
    with pytest.raises(DataError, match="has 1 rows for 2 samples"):
        build_split(SCHEMA, ["a", "b"], {"audio": [[1.0], [2.0]]}, {"kind": [0, 1]}, about={"sex": ["f"]})


def test_domains_and_what_goes_together_are_part_of_the_hash_of_a_store(tmp_path: Path) -> None:
    folder, table = write_store(people(), tmp_path / "store"), tmp_path / "sites.csv"
    hashes = set()
    for site in ("Bonn", "Trier"):
        table.write_text(f"group,site\nspeaker0,Bonn\nspeaker1,{site}\nspeaker2,Trier\n")
        hashes.add(load_corpus(f"{folder}?about={table}&domain=site").hash)
    assert len(hashes) == 2
    stored = load_corpus(folder)
    other = {n: replace(s, groups=["a" if i % 2 else "b" for i in range(len(s))]) for n, s in stored.splits.items()}
    assert stored.for_retrieval("group").hash != replace(stored, splits=other).for_retrieval("group").hash
