"""A search for the best: an ordinary run, in time, resumed to the same result, and one sentence for what cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polymodal import Predictor, Run, evaluate, fit, load_corpus
from polymodal.best import fit_best, search
from polymodal.best.budget import Budget
from polymodal.best.candidates import Candidate, candidates, fits
from polymodal.best.ground import Ground
from polymodal.best.records import Record, Records
from polymodal.best.search import Search
from polymodal.best.setting import settle
from polymodal.best.student import Taught, distance
from polymodal.core import DataError, OptionError, RunError, Schema, Target
from polymodal.core.locks import locked
from polymodal.data.corpus import Corpus
from polymodal.predict import hub
from polymodal.report import write_report
from polymodal.testing import random_batch
from polymodal.train.compare import paired_tests

DATA = "synthetic:vectors?n=60&modalities=posture,voice"
SMALL = {"width": 8, "epochs": 2, "batch_size": 16}


def _few(schema: Schema, seed: int) -> Iterator[Candidate]:
    names = schema.names
    yield Candidate("linear", {}, names)
    yield from (Candidate("linear", {}, (name,)) for name in names)
    yield Candidate("forest", {"trees": 5}, names)
    yield Candidate("late-fusion", SMALL, names)
    yield Candidate("early-fusion", SMALL, names)
    yield Candidate("late-fusion", SMALL | {"lr": 0.01}, names[:1])


@pytest.fixture(autouse=True)
def _handful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few candidates, each trained in a moment."""
    monkeypatch.setattr(search, "candidates", _few)


class Clock:
    """Time that passes while something is trained, and at no other moment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, costs: dict[str, float]) -> None:
        self.now, self.trained, self.stop_at = 1000.0, 0, -1
        real = Ground.train

        def train(ground: Ground, candidate: Candidate, fold: int, check: Callable[[], None]) -> None:
            if not (ground.place(candidate, fold) / "result.json").is_file():
                if self.trained == self.stop_at:
                    raise KeyboardInterrupt
                self.trained += 1
                self.now += costs[candidate.method]
            real(ground, candidate, fold, check)

        monkeypatch.setattr(Ground, "train", train)

    def __call__(self) -> float:
        return self.now


def _searched(out: Path, minutes: float, clock: Clock, data: str | Corpus = DATA) -> Run:
    budget = Budget(minutes, clock)
    setting = settle(data, target=None, encode=None, folds=3, seed=1, device="cpu", out=out, budget=budget)
    return Search(setting, budget).run()


def _best(run: Run) -> dict[str, Any]:
    return dict(json.loads((run.path / "best.json").read_text()))


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("best") / "run"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(search, "candidates", _few)
        run = fit_best(DATA, minutes=5, folds=3, seed=1, device="cpu", out=folder)
    evaluate(run)
    return folder


@pytest.fixture
def made(_made: Path) -> Run:
    """An evaluated run."""
    return Run.load(_made)


def test_the_result_is_an_ordinary_run_of_folds(made: Run) -> None:
    about = _best(made)
    assert made.config["method"] == "ensemble"
    assert made.config["command"].startswith(f"polymodal fit best --data '{DATA}' --minutes 5")
    assert made.crossed
    assert len(made.members) == about["folds"]
    assert made.calibration is not None
    options = made.config["options"]["members"]
    assert len(options) == len(about["members"])
    for fold in made.folds:
        weight = made.method(fold=fold).weight.tolist()
        assert weight == pytest.approx([m["by_fold"][fold] for m in about["members"]])
        assert sum(weight) == pytest.approx(1.0)
    assert sum(m["weight"] for m in about["members"]) == pytest.approx(1.0)


def test_it_is_never_worse_than_the_best_single_one_where_it_was_chosen(made: Run) -> None:
    about = _best(made)
    losses = [tried["loss"] for tried in about["tried"] if tried["state"] == "done"]
    assert about["single"]["loss"] == min(losses)
    assert about["ensemble"]["loss"] <= min(losses) + 1e-9
    assert len(losses) == len(about["tried"]) == 7


def test_the_test_split_is_in_no_fold_and_what_was_dealt_is_scored_as_the_report_says(made: Run) -> None:
    corpus = made.corpus()
    dealt = {name for names in made.config["folds"]["groups"] for name in names}
    assert not dealt & set(corpus["test"].groups)
    rows = {
        r["split"]: r
        for r in json.loads((made.path / "evaluation" / "scores.json").read_text())["rows"]
        if r["main"] and r["condition"] == "complete"
    }
    assert rows["test"]["count"] == len(corpus["test"])
    # Weights of a fold are chosen on the others: what evaluate finds out of fold is the nested figure.
    wanted = _best(made)["nested"]["ensemble"]
    assert rows["out_of_fold"]["mean"] == pytest.approx(wanted["mean"], abs=1e-6)
    assert (rows["out_of_fold"]["low"], rows["out_of_fold"]["high"]) == pytest.approx(
        (wanted["low"], wanted["high"]), abs=1e-5
    )


def test_it_is_compared_predicted_with_and_put_on_a_hub(made: Run, tmp_path: Path) -> None:
    floor = fit("linear", DATA, out=tmp_path / "floor")
    evaluate(floor)
    assert paired_tests([floor, made])[0].groups == len(set(made.corpus()["test"].groups))
    split = made.corpus()["test"]
    row = {name: np.asarray(split.columns[name][0])[0] for name in made.schema.names}
    said = Predictor(made).predict_features([row]).moments[0].estimates["arousal"].value
    (tmp_path / "hub").mkdir()
    for member in made.members:
        (tmp_path / "hub" / member.place).mkdir(parents=True)
    hub.export(made, tmp_path / "hub", "someone/best")
    again = Run.load(tmp_path / "hub")
    assert Predictor(again).predict_features([row]).moments[0].estimates["arousal"].value == pytest.approx(said)
    assert again.dealt(made.corpus()).hash == made.config["folds"]["hash"]
    assert not (tmp_path / "hub" / "candidates").exists()


def test_a_member_that_is_code_does_not_travel(made: Run) -> None:
    config = json.loads(json.dumps(made.config))
    config["options"]["members"][0]["method"] = "mine.py:Mine"
    with pytest.raises(RunError, match=r"mine\.py:Mine, code that does not come with polymodal"):
        hub.check_portable(config, "someone/best")


def test_the_report_lists_what_was_tried(made: Run) -> None:
    page = write_report(made.path).read_text()
    assert "What was tried" in page
    assert "linear" in page


def test_the_time_limit_is_kept_and_what_is_too_slow_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, {"linear": 1.0, "forest": 25.0, "late-fusion": 30.0, "early-fusion": 4.0})
    run = _searched(tmp_path / "run", 1.0, clock)
    about = _best(run)
    assert about["seconds"] <= 66
    states = {tried["name"]: tried["state"] for tried in about["tried"]}
    for slow in ("late-fusion", "forest"):
        assert states[next(name for name in states if name.startswith(slow))] == "slow"
    assert all(state == "done" for name, state in states.items() if name.startswith("linear"))


def test_slow_trees_do_not_keep_networks_from_being_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, {"linear": 0.1, "forest": 10.0, "late-fusion": 1.0, "early-fusion": 1.0})
    tried = _best(_searched(tmp_path / "run", 1.0, clock))["tried"]
    assert [t["state"] for t in tried if t["name"].startswith(("forest", "late", "early"))] == ["done"] * 4


@pytest.mark.slow
def test_killed_and_started_again_it_ends_in_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {"linear": 1.0, "forest": 1.0, "late-fusion": 2.0, "early-fusion": 2.0}
    whole = _searched(tmp_path / "whole", 5.0, clock := Clock(monkeypatch, costs))
    monkeypatch.undo()
    monkeypatch.setattr(search, "candidates", _few)
    again = Clock(monkeypatch, costs)
    for stop in (4, clock.trained - 2):
        again.stop_at = stop
        with pytest.raises(KeyboardInterrupt):
            _searched(tmp_path / "parts", 5.0, again)
        again.now += 500  # nobody waits for what is not running
    again.stop_at = -1
    parts = _searched(tmp_path / "parts", 5.0, again)
    assert again.trained == clock.trained
    first, second = _best(whole), _best(parts)
    assert first == second
    for fold in whole.folds:
        one, other = (run.method(fold=fold).state_dict() for run in (whole, parts))
        assert one.keys() == other.keys()
        assert all(bool((one[name] == other[name]).all()) for name in one)
    assert (whole.path / "calibration.json").read_bytes() == (parts.path / "calibration.json").read_bytes()


def test_a_student_is_one_small_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fit_best(DATA, minutes=3, folds=3, seed=1, device="cpu", out=tmp_path / "run", distill=True)
    student = Run.load(tmp_path / "run" / "student")
    assert student.config["method"] in ("late-fusion", "early-fusion")
    assert not student.crossed
    assert student.calibration is not None
    rows = [r for r in evaluate(student, subsets=False)["rows"] if r["main"]]
    assert [r["split"] for r in rows] == ["test"]
    assert run.config["method"] == "ensemble"


def test_what_is_taught_is_what_was_said_and_labels_alone_choose_the_epoch() -> None:
    batch = random_batch(load_corpus(DATA).schema, 6)
    said = {"arousal": torch.linspace(-1, 1, 6)}
    names = [*reversed(batch.ids)]
    method = Taught(load_corpus(DATA).schema, "late-fusion", {"width": 4}, names, said)
    output = method.requires_grad_(False).eval()(batch)
    assert "taught" not in method.losses(batch, output)
    losses = method.train().losses(batch, output)
    wanted = (output.predictions["arousal"] - said["arousal"].flip(0)).abs().mean()
    assert float(losses["taught"]) == pytest.approx(0.5 * float(wanted), rel=1e-5)
    hard, soft = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.2, 0.8]])
    mood = Target("mood", "classification", classes=("calm", "angry"))
    logits = torch.tensor([[0.3, -0.4]])
    shares = logits.log_softmax(1)[0]
    assert float(distance(mood, logits, hard)) == pytest.approx(-float(shares[1]))
    assert float(distance(mood, logits, soft)) == pytest.approx(-float(0.2 * shares[0] + 0.8 * shares[1]))


def test_without_a_validation_split_there_is_no_student(tmp_path: Path) -> None:
    corpus = load_corpus(DATA)
    alone = Corpus("alone", DATA, corpus.schema, {"train": corpus["train"]})
    with pytest.raises(DataError, match=r"has no valid split, needed to distill"):
        fit_best(alone, out=tmp_path / "run", distill=True)


def test_a_search_that_is_over_is_not_done_again_but_goes_on_with_more_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, {"linear": 1.0, "forest": 25.0, "late-fusion": 30.0, "early-fusion": 4.0})
    run = _searched(tmp_path / "run", 1.0, clock)
    stamp, trained = (run.path / "run.json").stat().st_mtime_ns, clock.trained
    _searched(run.path, 1.0, clock)
    assert ((run.path / "run.json").stat().st_mtime_ns, clock.trained) == (stamp, trained)
    about = _best(_searched(run.path, 20.0, clock))
    assert all(tried["state"] == "done" for tried in about["tried"])
    assert clock.trained > trained


def test_too_little_time_for_the_floor_says_how_much_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, {"linear": 60.0})
    with pytest.raises(OptionError, match=r"1 minutes are too few: the linear floor alone needs about 4\.4 "):
        _searched(tmp_path / "run", 1.0, clock)
    assert clock.trained == 2
    clock.now += 60
    with pytest.raises(OptionError, match="too few"):
        _searched(tmp_path / "run", 2.0, clock)
    assert clock.trained == 2  # what was trained is kept


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"folds": 50}, DataError, r"16 groups for 50 folds"),
        ({"target": "arousel"}, DataError, r"no target 'arousel'; did you mean 'arousal'"),
        ({"minutes": 0.0}, OptionError, r"minutes must be above 0"),
        ({"encode": {"voice": "minilm"}}, DataError, r"voice is a vector, 'minilm' reads text"),
        ({"device": "gpu"}, OptionError, r"unknown device 'gpu'"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        fit_best(DATA, **{"minutes": 1.0, "out": tmp_path / "run", **options})


def test_two_groups_are_too_few(tmp_path: Path) -> None:
    corpus = load_corpus(DATA)
    splits = {name: split.select(range(5)) for name, split in corpus.splits.items()}
    few = Corpus("few", DATA, corpus.schema, splits)
    with pytest.raises(DataError, match=r"has 2 groups for 3 folds, and a group stays whole"):
        fit_best(few, out=tmp_path / "run")


def test_labels_that_nobody_knows_are_refused(tmp_path: Path) -> None:
    corpus = load_corpus(DATA)
    for split in corpus.splits.values():
        split.targets["arousal"][:] = np.nan
    with pytest.raises(DataError, match=r"no label 'arousal' is known|has a label 'arousal'"):
        fit_best(corpus, out=tmp_path / "run")


RARE = """
import numpy as np
from polymodal import Corpus, build_split
from polymodal.core import Schema, Target
from polymodal.core.schema import Modality


def corpus():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], [180, 42, 18])
    evidence = np.eye(3)[label] + rng.normal(0, 0.9, (240, 3))
    where, features = rng.permutation(240), {"voice": evidence.astype(np.float32)}
    mood = Target("mood", "classification", classes=("calm", "sad", "mad"))
    schema = Schema((Modality("voice", "vector", 3),), (mood,))
    ids, groups = [f"s{i}" for i in range(240)], [f"g{i // 4}" for i in range(240)]
    rows = {"voice": [features["voice"][i] for i in where]}
    train = build_split(schema, ids, rows, {"mood": label[where]}, groups=groups)
    return Corpus("rare", "rare", schema, {"train": train})
"""


def test_rare_classes_are_lifted_and_what_is_scored_is_what_the_report_says(tmp_path: Path) -> None:
    (tmp_path / "rare.py").write_text(RARE)
    run = fit_best(f"{tmp_path / 'rare.py'}:corpus", minutes=5, folds=3, seed=1, device="cpu", out=tmp_path / "run")
    about = _best(run)
    lifted = about["lifted"]["mood"]
    assert 0 == lifted["calm"] < lifted["sad"] < lifted["mad"]
    evaluate(run)
    assert "rare classes of mood are lifted" in write_report(run.path).read_text()
    rows = json.loads((run.path / "evaluation" / "scores.json").read_text())["rows"]
    (scored,) = (r for r in rows if r["main"] and r["condition"] == "complete")
    assert scored["mean"] == pytest.approx(about["nested"]["ensemble"]["mean"], abs=1e-6)
    assert any(run.method(fold=fold).bias.any() for fold in run.folds)


def test_two_searches_do_not_write_into_one_folder(made: Run) -> None:
    with (
        locked(made.path / ".lock"),
        pytest.raises(RunError, match=r"another process fits .*, or choose another --out"),
    ):
        fit_best(DATA, minutes=5, folds=3, seed=1, out=made.path)


def test_a_folder_of_something_else_is_left_alone(made: Run, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no search for the best"):
        fit_best(DATA, out=other)
    with pytest.raises(RunError, match="was begun with seed 1, not 2: go back to it, or choose another --out"):
        fit_best(DATA, seed=2, folds=3, out=made.path)
    with pytest.raises(RunError, match="was begun with other folds; give the --folds of then, or choose another --out"):
        fit_best(DATA, minutes=5, folds=4, seed=1, out=made.path)
    with pytest.raises(RunError, match="was begun with other data"):
        fit_best("synthetic:vectors?n=61", seed=1, folds=3, out=made.path)


def test_hope_is_over_when_nothing_is_gained() -> None:
    def records(*losses: float | None) -> Records:
        done = [Record(Candidate("linear"), "done", 1.0, together=loss) for loss in losses]
        return Records(Path(), {}, done=done)

    assert records(1.0, 0.9, 0.8).stale(0.01) == 0
    assert records(1.0, 0.999, None, 0.998).stale(0.01) == 3
    assert records(1.0, 0.999, 0.5, 0.499).stale(0.01) == 1


def test_candidates_fit_the_corpus_begin_with_the_floor_and_are_the_same_every_time() -> None:
    schema = load_corpus(DATA).schema
    first = [c for c, _ in zip(candidates(schema, 3), range(30), strict=False)]
    assert first[0] == Candidate("linear", {}, schema.names)
    assert all(fits(c, schema) for c in first)
    assert len({c.key for c in first}) == len(first)
    assert first == [c for c, _ in zip(candidates(schema, 3), range(30), strict=False)]
    assert {"late-fusion", "early-fusion", "lf-dnn"} <= {c.method for c in first}
