from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from polymodal.data.tabular.splits import SHARES, divide, shared_groups

names = st.text("abcdefgh", min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(names, min_size=3).filter(lambda g: len(set(g)) >= 3), st.integers(0, 5))
def test_groups_stay_whole_and_no_split_is_empty(groups: list[str], seed: int) -> None:
    splits = divide(groups, seed)
    assert shared_groups(groups, splits) == {}
    assert set(splits) == set(SHARES)


def test_shares_are_met_when_groups_are_small() -> None:
    counts = Counter(divide([str(i) for i in range(1000)], 0))
    assert counts == {"train": 700, "valid": 100, "test": 200}


def test_the_order_of_rows_does_not_matter_and_the_seed_does() -> None:
    groups = [f"g{i % 40}" for i in range(200)]
    once = dict(zip(groups, divide(groups, 1), strict=True))
    assert once == dict(zip(groups[::-1], divide(groups[::-1], 1), strict=True))
    assert once != dict(zip(groups, divide(groups, 2), strict=True))


def test_a_group_in_two_splits_is_found() -> None:
    assert shared_groups(["a", "b", "a"], ["train", "test", "test"]) == {"a": ["test", "train"]}
