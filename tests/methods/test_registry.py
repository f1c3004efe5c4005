"""Methods by name: found lazily, described without torch, built with checked options."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from polymodal.core import Modality, OptionError, Schema, Target
from polymodal.core import options as reading
from polymodal.methods import build, describe_method, described, find_method, method_id, method_ids, method_options
from polymodal.methods._describe import describe, method_classes

SCHEMA = Schema((Modality("audio", "sequence", 3),), (Target("y", "regression"),))

OWN = '''
"""A user's file."""
from polymodal.core import Batch, Output, Schema
from polymodal.methods.base import Method
from polymodal.nn.heads import Heads

class Mine(Method):
    """Baseline: the sum.

    Args:
        schema: what the batches hold.
        scale: multiplies
            the sum.
        low, high: bounds.
    """
    kinds = frozenset({"sequence"})
    modality_counts = (1, 2)

    def __init__(
        self, schema: Schema, *, scale: float = 1.0, low: int = 0, high: int | None = None,
        sizes: tuple[int, ...] = (1, 2), pair: tuple[int, str] = (1, "a"), names: list[str] = [], on: bool = False,
        kernel: int | dict[str, int] = 3,
    ) -> None:
        super().__init__(schema)
        self.scale, self.high, self.sizes, self.kernel = scale, high, sizes, kernel
        self.heads = Heads(schema, 3)

    def forward(self, batch: Batch) -> Output:
        return Output(self.heads(batch["audio"].tensor.sum(1) * self.scale))
'''


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def test_an_id_is_the_name_of_the_file() -> None:
    assert {"linear", "early-fusion", "late-fusion", "mult"} <= set(method_ids())
    assert "base" not in method_ids()
    for name in method_ids():
        assert method_id(find_method(name)) == name
        assert find_method(name).__module__ == f"polymodal.methods.{name.replace('-', '_')}"


def test_listing_and_describing_import_no_torch() -> None:
    code = (
        "import sys; from polymodal.methods import method_ids, describe_method, method_options\n"
        "infos = [describe_method(n) for n in method_ids()]\n"
        "assert len(infos) >= 4 and all(i.title and i.paper and method_options(i.id) for i in infos)\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", method_ids())
def test_description_agrees_with_the_class(name: str) -> None:
    info, cls = describe_method(name), find_method(name)
    assert info.id == name
    assert info.summary == inspect.getdoc(cls)
    assert info.title == " ".join(info.summary.split("\n\n")[0].split())
    for fact in ("paper", "kinds", "tasks", "handles_absence", "modality_counts"):
        assert getattr(info, fact) == getattr(cls, fact), fact
    parameters = list(inspect.signature(cls).parameters)[1:]
    options = method_options(name)
    assert [o.name for o in options] == parameters
    for option in options:
        assert option.description, f"option {option.name} is not described in Args"
        assert option.default
        assert option.type


@pytest.mark.parametrize("name", method_ids())
def test_the_head_of_a_class_says_what_the_whole_class_says(name: str) -> None:
    path = Path(inspect.getfile(find_method(name)))
    (head,), (whole,) = (list(method_classes(path, whole=w).values()) for w in (False, True))
    assert not any(isinstance(node, ast.FunctionDef) for node in head.body), "the whole file was parsed for a list"
    assert describe(name, path, head) == describe(name, path, whole)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    Args:", "    def this_is_no_code():\n\n    Args:"),  # ends the docstring where the head ends
        ('    """Baseline: the sum.', '    low = 1\n    """Baseline: the sum.'),
        ("class Mine(Method):\n", "class Mine(\n    Method,\n):\n"),
        ("class Mine(Method):\n", "class Mine(Method):  # a user's\n"),
    ],
)
def test_a_class_of_unusual_layout_is_still_found(old: str, new: str, own: Path) -> None:
    own.write_text(OWN.replace(old, new, 1))
    assert list(method_classes(own)) == ["Mine"]
    assert list(method_classes(own, whole=True)) == ["Mine"]
    assert method_options(f"{own}:Mine")[0].name == "scale"


def test_description_spells_out_choices() -> None:
    options = {o.name: o for o in method_options("late-fusion")}
    assert options["context"].type == "Literal['lstm', 'gru', 'transformer', 'none']"
    assert options["context"].default == "'lstm'"
    assert options["width"].type == "int"


@pytest.mark.parametrize(("wrong", "right"), [("mulT", "mult"), ("late_fusion", "late-fusion"), ("lineer", "linear")])
def test_an_unknown_name_is_answered_with_the_nearest(wrong: str, right: str) -> None:
    for function in (find_method, describe_method):
        with pytest.raises(OptionError, match=f"no method '{wrong}'; did you mean '{right}'"):
            function(wrong)


def test_a_users_file_is_a_method(own: Path) -> None:
    name = f"{own}:Mine"
    cls = find_method(name)
    assert cls.__name__ == "Mine"
    assert method_id(cls) == name
    assert find_method(name) is cls
    info = describe_method(name)
    assert info.title == "Baseline: the sum."
    assert info.kinds == {"sequence"}
    assert info.tasks == {"regression", "classification", "multilabel"}
    assert info.modality_counts == (1, 2)
    described = {o.name: (o.type, o.default, o.description) for o in method_options(name)}
    assert described["scale"] == ("float", "1.0", "multiplies the sum.")
    assert described["low"] == ("int", "0", "bounds.")
    assert described["high"] == ("int | None", "None", "bounds.")


def test_a_users_file_is_found_relative_to_the_folder(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own.parent)
    assert method_id(find_method("own.py:Mine")) == f"{own}:Mine"


def test_a_users_module_is_a_method(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own.rename(own.with_name("polymodal_test_module.py"))
    monkeypatch.syspath_prepend(own.parent)
    name = "polymodal_test_module:Mine"
    assert method_options(name)[0].name == "scale"
    assert method_id(find_method(name)) == name


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (OWN, "own.py:Main", "no Method class 'Main'; did you mean 'Mine'"),
        (OWN, "own.py:Heads", "no Method class 'Heads'"),
        (OWN, "other.py:Mine", "there is no file other.py"),
        ("import nothing_of_that_name\n", "own.py:Mine", "cannot be imported: No module named 'nothing_of_that_name'"),
        ("class Mine(:\n", "own.py:Mine", "cannot be imported"),
        (OWN, "no_such_package.own:Mine", "cannot be imported: No module named 'no_such_package'"),
    ],
)
def test_a_users_mistake_is_one_sentence(
    text: str, name: str, message: str, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.write_text(text)
    monkeypatch.chdir(own.parent)
    with pytest.raises(OptionError, match=message):
        find_method(name)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (OWN, "own.py:Main", "did you mean 'Mine'"),
        ("class Mine(:\n", "own.py:Mine", "not valid Python"),
        (
            OWN.replace("(1, 2)\n", "tuple(range(2))\n", 1),
            "own.py:Mine",
            "modality_counts must be written as a literal",
        ),
        (OWN, "no_such_module:Mine", "there is no module 'no_such_module'"),
        (OWN, "no_such_package.own:Mine", "cannot be found"),
    ],
)
def test_describing_a_users_mistake_is_one_sentence(
    text: str, name: str, message: str, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.write_text(text)
    monkeypatch.chdir(own.parent)
    with pytest.raises(OptionError, match=message):
        describe_method(name)


def test_build_converts_only_what_is_safe(own: Path) -> None:
    cls = find_method(f"{own}:Mine")
    method = build(cls, SCHEMA, {"scale": 2, "sizes": [3, 4], "high": None, "kernel": {"audio": 5}})
    assert method.scale == 2.0
    assert type(method.scale) is float
    assert method.sizes == (3, 4)
    assert method.high is None
    assert method.kernel == {"audio": 5}
    assert build(cls, SCHEMA, {"high": 7, "kernel": 2, "pair": [3, "b"], "names": ["x"], "on": True}).high == 7


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("scale", "big", "a number"),
        ("scale", True, "a number"),
        ("low", 1.5, "a whole number"),
        ("low", False, "a whole number"),
        ("high", "x", "a whole number or none"),
        ("sizes", 3, "a list in brackets, each a whole number"),
        ("sizes", [1, "x"], "a list in brackets, each a whole number"),
        ("pair", [1, "a", 2], "a list of 2: a whole number, text"),
        ("names", [1], "a list in brackets, each text"),
        ("on", 1, "true or false"),
        ("kernel", {"audio": "x"}, "a whole number or a mapping, each value a whole number"),
    ],
)
def test_build_names_option_type_and_value(option: str, value: object, wanted: str, own: Path) -> None:
    with pytest.raises(OptionError) as caught:
        build(find_method(f"{own}:Mine"), SCHEMA, {option: value})
    assert f"Mine: {option} must be {wanted}, " in str(caught.value)
    assert f"got {value!r}" in str(caught.value)


def test_build_lists_choices_and_near_names() -> None:
    late = find_method("late-fusion")
    with pytest.raises(OptionError, match="context must be one of lstm, gru, transformer, none, got 'gruu'"):
        build(late, SCHEMA, {"context": "gruu"})
    with pytest.raises(OptionError, match="LateFusion: there is no option 'widht'; did you mean 'width'"):
        build(late, SCHEMA, {"widht": 3})


@pytest.mark.parametrize("name", method_ids())
def test_every_option_is_described_in_plain_words(name: str) -> None:
    for option in reading.options_of(find_method(name), skip=1).values():
        assert not re.search(r"typing|Literal|Annotated|[\[\]|]", reading.describe(option.annotation)), option


def test_build_names_a_missing_option(own: Path) -> None:
    own.write_text(OWN.replace("scale: float = 1.0", "scale: float"))
    with pytest.raises(OptionError, match="Mine needs scale: a number"):
        build(find_method(f"{own}:Mine"), SCHEMA, {})


def test_every_method_is_of_a_family_and_a_year() -> None:
    infos = described()
    assert [info.family for info in infos[:1]] == ["baseline"]
    assert {info.id for info in infos} == set(method_ids())
    assert not [info.id for info in infos if info.family == "other"]
    assert [info.id for info in infos if not info.year] in ([], ["missing-adapt"])  # of this project
    families = [info.family for info in infos]
    assert families == sorted(families, key=lambda f: (f != "baseline", f)), "a family stands together"
    years = {info.id: info.year for info in infos}
    assert (years["misa"], years["linear"], years["grcf"]) == (2020, 1970, 2026), "not the number of a preprint"
