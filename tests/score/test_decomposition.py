"""Tables whose decomposition is known, and what must hold of all tables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from polymodal.score.decomposition import Least, bounds, decompose, disagreement, least_information
from polymodal.score.information import coupled_at_least, denoised, entropy, joint, noise, shared, shared_given

EXACT = 1e-6


def _gate(says: Callable[[int, int], int], classes: int = 2) -> np.ndarray:
    table = np.zeros((2, 2, classes))
    for a in range(2):
        for b in range(2):
            table[a, b, says(a, b)] = 0.25
    return table


def _equal() -> np.ndarray:
    table = np.zeros((2, 2, 2))
    table[0, 0, 0] = table[1, 1, 1] = 0.5
    return table


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        (_gate(lambda a, b: a ^ b), (0, 0, 0, 1)),
        (_gate(lambda a, b: a & b), (0.311278, 0, 0, 0.5)),
        (_equal(), (1, 0, 0, 0)),
        (_gate(lambda a, b: 2 * a + b, 4), (0, 1, 1, 0)),
        (_gate(lambda a, b: a), (0, 1, 0, 0)),
    ],
    ids=["xor", "and", "equal", "pair", "first"],
)
def test_known_tables(table: np.ndarray, wanted: tuple[float, ...]) -> None:
    found = decompose(table)
    assert (found.redundant, found.first, found.second, found.synergy) == pytest.approx(wanted, abs=EXACT)


def test_known_bounds() -> None:
    xor, both = _gate(lambda a, b: a ^ b), _gate(lambda a, b: a & b)
    found = bounds(xor.sum(2), xor.sum(1), xor.sum(0))
    assert (found.by_redundancy, found.low, found.high) == pytest.approx((0, 0, 1), abs=EXACT)
    assert disagreement(xor.sum(2), xor.sum(1), xor.sum(0)) == pytest.approx(0, abs=EXACT)
    found = bounds(both.sum(2), both.sum(1), both.sum(0))
    assert found.high == pytest.approx(0.5, abs=EXACT)
    assert found.low == pytest.approx(0.311278, abs=EXACT)
    assert disagreement(both.sum(2), both.sum(1), both.sum(0)) == pytest.approx(0.25, abs=EXACT)


def _checked(seed: int, shape: tuple[int, int, int]) -> None:
    table = np.random.default_rng(seed).exponential(size=shape)
    table /= table.sum()
    found, known = decompose(table), bounds(table.sum(2), table.sum(1), table.sum(0))
    one, two, both = shared(table.sum(1)), shared(table.sum(0)), shared(table.reshape(-1, shape[2]))
    assert found.redundant + found.first + found.second + found.synergy == pytest.approx(both, abs=EXACT)
    assert (found.redundant + found.first, found.redundant + found.second) == pytest.approx((one, two), abs=EXACT)
    assert min(found.redundant, found.first, found.second, found.synergy) >= -EXACT
    assert known.by_redundancy <= found.synergy + EXACT
    assert known.by_disagreement <= found.synergy + EXACT
    assert found.synergy <= known.high + EXACT


@pytest.mark.parametrize("seed", range(12))
def test_what_holds_of_every_table(seed: int) -> None:
    _checked(seed, ((2, 2, 2), (3, 2, 2), (2, 4, 3))[seed % 3])


@pytest.mark.slow
def test_what_holds_of_a_thousand_tables() -> None:
    for seed in range(1000):
        _checked(1000 + seed, (2, 2, 2))


@pytest.mark.parametrize("seed", range(3))
def test_the_program_finds_the_least_that_a_search_finds(seed: int) -> None:
    """Of two bits and a label, the family has two free numbers, one per class."""
    table = np.random.default_rng(seed).exponential(size=(2, 2, 2))
    table /= table.sum()
    turn = np.array([[1.0, -1.0], [-1.0, 1.0]])
    ends = [(-min(t[0, 0], t[1, 1]), min(t[0, 1], t[1, 0])) for t in (table[..., 0], table[..., 1])]
    grids = [np.linspace(low, high, 161) for low, high in ends]
    least = min(
        shared(np.stack([table[..., 0] + u * turn, table[..., 1] + v * turn], axis=2).clip(0).reshape(4, 2))
        for u in grids[0]
        for v in grids[1][::4]
    )
    found = least_information(table.sum(1), table.sum(0))
    assert found <= least + EXACT
    assert found == pytest.approx(least, abs=2e-3)


@pytest.mark.parametrize("seed", range(4))
def test_a_coupling_has_at_least_the_entropy_of_the_bound(seed: int) -> None:
    """The least entropy lies at a vertex: fill cells in every order, each as far as its row and column allow."""
    from itertools import permutations

    rng = np.random.default_rng(seed)
    rows, columns = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(2))
    least = np.inf
    for order in permutations([(i, j) for i in range(3) for j in range(2)]):
        left, right, table = rows.copy(), columns.copy(), np.zeros((3, 2))
        for i, j in order:
            table[i, j] = min(left[i], right[j])
            left[i] -= table[i, j]
            right[j] -= table[i, j]
        least = min(least, entropy(table))
    bound = coupled_at_least(rows, columns)
    assert max(entropy(rows), entropy(columns)) - EXACT <= bound <= least + EXACT


def test_information_of_samples() -> None:
    a, b = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    table = joint((a, b, a ^ b), (2, 2, 2))
    assert shared(table.sum(2)) == pytest.approx(0, abs=1e-9)
    assert shared_given(table) == pytest.approx(1)
    assert joint((a, b), (2, 2), np.array([1.0, 0, 0, 1])) == pytest.approx(np.eye(2) / 2)


def test_what_chance_shows_is_taken_off() -> None:
    rng, shown = np.random.default_rng(0), []
    for _ in range(200):
        table = joint(tuple(rng.integers(8, size=(2, 400))), (8, 8))
        shown.append((shared(table), shared(denoised(table, 400)), shared(table) - noise(table, 400)))
    plain, less, unclipped = np.mean(shown, axis=0)
    assert plain > 0.08
    assert less < 0.02
    assert abs(unclipped) < 0.01


def test_noise_is_taken_off_and_sums_stay() -> None:
    table = np.random.default_rng(1).dirichlet(np.ones(30)).reshape(5, 6)
    found = denoised(table, 200)
    np.testing.assert_allclose([found.sum(0)], [table.sum(0)])
    np.testing.assert_allclose(found.sum(1), table.sum(1))
    assert shared(found) == pytest.approx(shared(table) - noise(table, 200), abs=1e-4)
    np.testing.assert_allclose(denoised(np.eye(3) / 3, 100), np.eye(3) / 3, atol=1e-5)


def test_the_program_moves_with_its_tables_as_its_multipliers_say() -> None:
    rng = np.random.default_rng(2)
    tables = [t / t.sum() for t in rng.exponential(size=(2, 3, 3, 3))]
    near = tables[0] + 1e-3 * (tables[1] - tables[0])
    least = Least.of(tables[0].sum(1), tables[0].sum(0))
    exact = least_information(near.sum(1), near.sum(0))
    assert least.information(near.sum(1), near.sum(0)) == pytest.approx(exact, abs=1e-5)
    assert abs(least_information(tables[0].sum(1), tables[0].sum(0)) - exact) > 1e-5
