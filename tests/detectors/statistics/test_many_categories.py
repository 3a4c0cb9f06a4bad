"""More categories than there are cells: what p-values are of, and a rare name that becomes frequent."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tidegauge.detectors.statistics import CategoryBins, chi_squared, psi, risen_category
from tidegauge.detectors.statistics.result import Outcome, Result
from tidegauge.detectors.statistics.risen_category import Uncounted, most_risen
from tidegauge.detectors.statistics.shared_cells import BANDS, shared_cells

ALIKE = {f"n{at}": 100 for at in range(300)}


def determined(outcome: Outcome) -> Result:
    assert isinstance(outcome, Result)
    return outcome


def drawn(rng: np.random.Generator, categories: int, rows: int, risen: float = 0.0) -> dict[str, int]:
    share = np.full(categories, (1 - risen) / categories)
    share[0] += risen
    found = rng.multinomial(rows, share)
    return {f"n{at}": int(found[at]) for at in np.flatnonzero(found)}


def p_of(outcome: Outcome) -> float:
    found = determined(outcome).p_value
    assert found is not None
    return found


def test_the_two_samples_choose_their_cells_alike(rng: np.random.Generator) -> None:
    reference, current = drawn(rng, 500, 20_000), drawn(rng, 500, 3000)
    cells = shared_cells(reference, current)
    assert (cells.reference.sum(), cells.current.sum()) == (20_000, 3000)
    assert len(cells.reference) <= 20 + BANDS
    swapped = shared_cells(current, reference)
    assert sorted(zip(*cells, strict=True)) == sorted((a, b) for b, a in zip(*swapped, strict=True))


def test_the_names_and_their_order_decide_nothing(rng: np.random.Generator) -> None:
    reference, current = drawn(rng, 500, 2000), drawn(rng, 500, 2000)
    renamed = [
        {f"m{hash(name) % 10**9}{name}": rows for name, rows in reversed(each.items())} for each in (reference, current)
    ]
    expected, found = shared_cells(reference, current), shared_cells(renamed[0], renamed[1])
    assert sorted(zip(*found, strict=True)) == sorted(zip(*expected, strict=True))


def test_few_categories_have_a_cell_each() -> None:
    cells = shared_cells({"a": 3, "b": 2}, {"b": 1, "c": 4})
    assert sorted(zip(*cells, strict=True)) == [(0, 4), (2, 1), (3, 0)]


def test_of_equally_frequent_categories_none_is_picked() -> None:
    cells = shared_cells(ALIKE, ALIKE)
    assert [each.tolist() for each in cells] == [[0, 30_000, 0, 0]] * 2


@pytest.mark.parametrize("statistic", [chi_squared, psi])
def test_what_was_frequent_in_the_reference_by_luck_is_no_drift(statistic: object, rng: np.random.Generator) -> None:
    found = []
    for _ in range(40):
        reference, current = drawn(rng, 3000, 30_000), drawn(rng, 3000, 20_000)
        bins = CategoryBins.fit(reference)
        counts = np.array(bins.reference), bins.counts(current)
        chosen = statistic(*counts)  # type: ignore[operator]
        together = statistic(*counts, tested=shared_cells(reference, current))  # type: ignore[operator]
        assert together.value == chosen.value, "what is shown stays on the frozen cells"
        assert together.effect <= chosen.effect
        found.append((p_of(chosen) <= 0.05, p_of(together) <= 0.05))
    assert sum(each for each, _ in found) == 40, "by its own cells alone every window would look changed"
    assert sum(each for _, each in found) <= stats.binom.isf(1e-5, 40, 0.05)


def test_a_rare_name_that_becomes_frequent_is_named_with_its_shares(rng: np.random.Generator) -> None:
    reference, current = drawn(rng, 10_000, 20_000) | {"n0": 4}, drawn(rng, 10_000, 500, risen=0.05)
    found = determined(risen_category(reference, current, apart=CategoryBins.fit(reference).names))
    assert found.note.startswith("risen: n0 (0.02 % to ")
    assert p_of(found) < 1e-9
    assert found.effect == pytest.approx(0.05, abs=0.03)


def test_its_p_value_is_the_binomial_one_times_the_names_that_could_be_as_unlikely() -> None:
    reference = {f"n{at}": 10 for at in range(200)} | {f"once{at}": 1 for at in range(5000)}
    current = {f"n{at}": 10 for at in range(200)} | {"once0": 30}
    n, m = 7000, 2030
    chance = stats.binomtest(30, 31, m / (n + m), alternative="greater").pvalue
    able = sum(1 for c in [20] * 200 + [31] + [1] * 4999 if (m / (n + m)) ** c <= chance)
    assert p_of(risen_category(reference, current)) == pytest.approx(chance * max(1, able), rel=1e-9)


def test_what_has_a_cell_of_its_own_is_left_to_it_and_so_is_what_fell() -> None:
    before, now = {"a": 50, "b": 50, "c": 900}, {"a": 500, "b": 20, "c": 480}
    assert most_risen(before, now, apart=["a"]) is None
    found = determined(risen_category(before, now, apart=["a"]))
    assert (found.value, found.p_value, found.effect, found.note) == (0.0, 1.0, 0.0, "")


def test_a_rise_under_the_floor_is_not_tested_but_measured() -> None:
    found = determined(risen_category({"a": 99_900, "b": 100}, {"a": 99_200, "b": 800}, apart=["a"]))
    assert (found.p_value, found.note) == (1.0, "")
    assert found.value == pytest.approx(0.007) and found.effect < found.floor


def test_names_that_were_not_counted_weaken_the_answer() -> None:
    before, now = {"a": 900, "b": 100}, {"a": 800, "b": 100, "c": 60}
    whole = {"a": 9900, "b": 100}, {"a": 1800, "b": 100, "c": 60}
    known = determined(risen_category(*whole, apart=["a"]))
    hidden = determined(risen_category(before, now, apart=["a"], uncounted=Uncounted(9000, 1000, 0.003)))
    assert p_of(hidden) > p_of(known)
    assert hidden.note == "risen: c (at most 0.3 % to 3.06 %)"
    assert (hidden.n_reference, hidden.n_current) == (10_000, 1960)
