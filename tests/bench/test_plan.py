"""What a benchmark is to run: YAML and flags, checked before the first training."""

from __future__ import annotations

from pathlib import Path

import pytest

from polymodal.bench import read_plan
from polymodal.core import OptionError

YAML = """
title: Two corpora
preset: cpu
methods:
  - mib
  - {method: mib, name: wide, set: {hidden: 64}, only: [talk]}
  - {method: late-fusion, train_stress: "missing:rate=0.3"}
corpora:
  talk: synthetic:talk
  folds: ["synthetic:xor?n=20", "synthetic:xor?n=24"]
stress: ["missing:rate=0.1/0.5"]
seeds: [1, 2]
trials: 3
space: {lr: [1e-4, 1e-2], width: {choices: [16, 32]}}
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "plan.yaml"
    file.write_text(text)
    return file


def test_a_plan_says_what_is_run(tmp_path: Path) -> None:
    plan = read_plan(written(tmp_path, YAML), {})
    assert [e.name for e in plan.entries] == ["linear", "mib", "wide", "late-fusion + missing:rate=0.3"]
    assert [e.preset for e in plan.entries] == ["cpu"] * 4
    assert plan.entries[2].options == {"hidden": 64}
    assert plan.entries[2].only == ("talk",)
    assert plan.entries[3].options == {"train_stress": "missing:rate=0.3"}
    assert plan.corpora == {"talk": ("synthetic:talk",), "folds": ("synthetic:xor?n=20", "synthetic:xor?n=24")}
    assert (plan.seeds, plan.search.trials, plan.tests.subsets) == ((1, 2), 3, True)


def test_an_entry_names_the_encoders_of_modalities(tmp_path: Path) -> None:
    row = "{method: mib, encoder: {text: 'minilm?tuning=lora'}, encode: {audio: 'mine:encoder'}}"
    plan = read_plan(written(tmp_path, f"methods: [{row}]\ncorpora: [synthetic:talk]"), {})
    assert plan.entries[1].encoder == {"text": "minilm?tuning=lora"}
    assert plan.entries[1].encode == {"audio": "mine:encoder"}


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    plan = read_plan(written(tmp_path, YAML), {"methods": ["mmcl"], "seeds": [7]})
    assert [e.name for e in plan.entries] == ["linear", "mmcl"]
    assert (plan.seeds, plan.title) == ((7,), "Two corpora")


def test_corpora_on_the_command_line_are_named_after_their_source() -> None:
    plan = read_plan(None, {"methods": ["mmcl"], "corpora": ["benchmarks/corpora.py:cmu_mosi?split=a", "d/mosei.pkl"]})
    assert list(plan.corpora) == ["cmu_mosi", "mosei"]


def test_the_floor_is_always_there_and_only_once() -> None:
    for methods in (["mmcl"], ["mmcl", "linear"]):
        plan = read_plan(None, {"methods": methods, "corpora": ["synthetic:talk"]})
        assert [e.method for e in plan.entries].count("linear") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"methods": ["mcml"], "corpora": ["a"]}, "mmcl"),
        ({"methods": [], "corpora": ["a"]}, "needs methods and corpora"),
        ({"methods": ["mmcl"], "corpora": []}, "needs methods and corpora"),
        ({"methods": ["mmcl", "mmcl"], "corpora": ["a"]}, "two entries are called 'mmcl'"),
        ({"methods": [{"method": "mmcl", "epochs": 3}], "corpora": ["a"]}, "entry mmcl: there is no option 'epochs'"),
        ({"methods": [{"name": "x"}], "corpora": ["a"]}, "needs method: an id"),
        ({"methods": [{"method": "mmcl", "only": ["b"]}], "corpora": ["a"]}, "to run on corpus 'b'"),
        ({"methods": ["mmcl"], "corpora": ["a", "x/a"]}, "two corpora are called 'a'"),
        ({"methods": ["mmcl"], "corpora": ["a"], "protocol": "misssmac"}, "did you mean 'missmac'"),
        ({"methods": ["mmcl"], "corpora": ["a"], "protocol": "cyin", "stress": []}, "leave out stress and subsets"),
        ({"methods": ["mmcl"], "corpora": ["a"], "training": {"epoch": 3}}, "epochs"),
        ({"methods": ["mmcl"], "corpora": ["a"], "folds": 2}, "folds must be a whole number, 3 or more"),
        ({"methods": ["mmcl"], "corpora": ["a"], "stress": ["mising:rate=1"]}, "there is no stress 'mising'"),
        ({"methods": ["mmcl"], "corpora": ["a"], "seeds": [1, 1]}, "seeds must be different"),
        ({"methods": ["mmcl"], "corpora": ["a"], "seeds": ["x"]}, "seeds must be different whole numbers"),
        ({"methods": ["mmcl"], "corpora": ["a"], "trials": -1}, "trials must be a whole number, 0 or more, got -1"),
        (
            {"methods": ["mmcl"], "corpora": ["a"], "trials": 2, "space": {"lr": [1, 0]}},
            r"lr must be \[low, high\]",
        ),
        ({"methods": {"mmcl": 1}, "corpora": ["a"]}, "methods must be a list"),
        (
            {"methods": ["mmcl"], "corpora": ["a"], "preset": "cpuu"},
            "a preset 'cpuu'; did you mean 'cpu'",
        ),
        ({"methods": [{"method": "mmcl", "preset": "dem"}], "corpora": ["a"]}, "did you mean 'demo'"),
        ({"methods": [{"method": "mmcl", "set": {"widht": 3}}], "corpora": ["a"]}, "did you mean 'width'"),
        ({"methods": [{"method": "mmcl", "set": {"epochs": 0}}], "corpora": ["a"]}, "epochs must be a whole number"),
        ({"methods": ["mmcl"], "corpora": ["a"], "space": {"widht": [1, 2]}}, "option 'widht'; did you mean 'width'"),
        ({"methods": ["mmcl"], "corpora": ["a"], "space": {"width": [0.5, 2.5]}}, "width must be a whole number"),
        ({"methods": ["mmcl"], "corpora": ["a"], "space": {"lr": [-1, 1]}}, "lr must be a number above 0, got -1"),
        ({"methods": ["mmcl"], "corpora": ["a"], "space": {"schedule": {"choices": ["cosin"]}}}, "must be one of"),
        ({"methods": ["mmcl"], "corpora": ["a"], "subsets": "no"}, "subsets must be true or false or none, got 'no'"),
    ],
)
def test_what_is_wrong_is_named_before_any_work(flags: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read_plan(None, flags)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methds: [mmcl]", "there is no option 'methds'; did you mean 'methods'"),
        ("- a", "must hold"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read_plan(written(tmp_path, text), {})
    with pytest.raises(OptionError, match="cannot be read"):
        read_plan(tmp_path / "none.yaml", {})


def test_contrasts_are_what_differs_in_stress_alone_and_all_against_the_floor_unless_declared() -> None:
    methods = ["late-fusion", {"method": "late-fusion", "name": "trained", "train_stress": "missing:rate=0.2"}, "mult"]
    asked = {"methods": methods, "corpora": ["synthetic:xor"]}
    found = read_plan(None, asked).contrasts
    assert found == (("trained", "late-fusion"), ("late-fusion", "linear"), ("trained", "linear"), ("mult", "linear"))
    assert read_plan(None, {**asked, "contrasts": [["mult", "trained"]]}).contrasts == (("mult", "trained"),)
    assert read_plan(None, {**asked, "contrasts": []}).contrasts == ()
    wrapped = {**asked, "methods": ["late-fusion", "mcr", {"method": "agm", "set": {"base": "mult"}}]}
    assert read_plan(None, wrapped).contrasts[0] == ("mcr", "late-fusion")
    assert ("agm", "late-fusion") not in read_plan(None, wrapped).contrasts
    with pytest.raises(OptionError, match="contrasts names 'mlt', which is no entry; did you mean 'mult'"):
        read_plan(None, {**asked, "contrasts": [["mlt", "trained"]]})
    with pytest.raises(OptionError, match=r"pairs of entries, \[first, second\]"):
        read_plan(None, {**asked, "contrasts": [["mult"]]})


def test_folds_are_sources_and_corpora_have_seeds_of_their_own(tmp_path: Path) -> None:
    text = YAML + "folds: 5\ncorpus_seeds: {talk: [9]}\ntraining: {epochs: 3}\n"
    plan = read_plan(written(tmp_path, text), {})
    assert plan.dealt(lambda source: 5).corpora == {
        "talk": tuple(f"synthetic:talk?held_out={n}/5" for n in range(5)),
        "folds": ("synthetic:xor?n=20", "synthetic:xor?n=24"),  # has several sources already
    }
    assert (plan.seeds_of("talk"), plan.seeds_of("folds")) == ((9,), (1, 2))
    assert all(e.options["epochs"] == 3 for e in plan.entries)
    with pytest.raises(OptionError, match=r"corpus_seeds names 'tlk', which is no corpus.*talk"):
        read_plan(written(tmp_path, text.replace("{talk: [9]}", "{tlk: [9]}")), {})


def test_a_protocol_says_what_is_tested(tmp_path: Path) -> None:
    from polymodal import load_corpus

    plan = read_plan(None, {"methods": ["mib"], "corpora": ["synthetic:talk"], "protocol": "missmac"})
    names = [point.text for point in plan.tests.of(load_corpus("synthetic:talk?n=20").schema)]
    assert names[0] == "complete"
    assert {"subset:text,audio", "missing-share:rate=0.6", "missing-one", "missing-rates"} < set(names)
    assert "missing-share:rate=0.7" not in names
