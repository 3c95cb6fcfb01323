"""Verdicts, intervals and chances against what algebra says they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from induction.analyse.claims.judging import (
    Estimate,
    Judgement,
    above,
    agreed,
    below,
    chance_of_as_many,
    chance_of_overlap,
    ending,
    in_millions,
    most_of,
    overlap,
    seeds_or_examples,
    seeds_or_own,
    share_of,
    size_below,
    summed_up,
    together,
)
from induction.tables.claims import ALL, CANNOT_BE_TOLD, FAILS, HOLDS

ends = st.tuples(st.floats(-9, 9), st.floats(-9, 9)).map(sorted)


def between(low, high):
    return Estimate((low + high) / 2, low, high, "examples")


def test_over_enough_seeds_the_interval_is_students():
    estimate = seeds_or_examples([1.0, 2.0, 3.0], [np.zeros(9)] * 3, 0.95, min_seeds=3)
    half = 4.302652729911275 / np.sqrt(3)  # t of 2 degrees of freedom at 0.975; the deviation is 1
    assert estimate[:2] == pytest.approx((2, 2 - half))
    assert estimate[2:] == (pytest.approx(2 + half), "seeds", 3)


def test_over_few_seeds_the_interval_is_that_of_the_mean_over_paired_resamples():
    rising, falling = np.arange(101.0), np.arange(101.0)[::-1]
    estimate = seeds_or_examples([50.0, 50.0], [rising, falling], 0.9, min_seeds=3)
    assert estimate == Estimate(50, 50, 50, "examples", 2)
    assert seeds_or_examples([50.0], [np.append(rising, np.nan)], 0.9, min_seeds=3)[1:3] == pytest.approx((5, 95))


def test_an_interval_over_examples_holds_the_value():
    estimate = seeds_or_examples([9.0], [np.zeros(9)], 0.95, min_seeds=3)
    assert estimate[:3] == (9, 0, 9)


def test_seeds_with_intervals_of_their_own():
    own = [between(0, 2), between(2, 6)]
    assert seeds_or_own(own, 0.95, min_seeds=3) == Estimate(2.5, 1, 4, "examples", 2)
    assert seeds_or_own(own, 0.95, min_seeds=2) == seeds_or_examples([1.0, 4.0], (), 0.95, 2)


@given(ends, st.floats(-9, 9))
def test_above_and_below_are_opposites(interval, bound):
    estimate = between(*interval)
    swapped = {HOLDS: FAILS, FAILS: HOLDS, CANNOT_BE_TOLD: CANNOT_BE_TOLD}
    assert below(estimate, bound) == swapped[above(estimate, bound)]
    assert (above(estimate, bound) == CANNOT_BE_TOLD) == (interval[0] <= bound <= interval[1])


@pytest.mark.parametrize(
    ("low", "high", "said"), [(-0.4, 0.4, HOLDS), (0.6, 0.7, FAILS), (-0.7, -0.6, FAILS), (-0.6, 0.4, CANNOT_BE_TOLD)]
)
def test_size_below_half(low, high, said):
    assert size_below(between(low, high), 0.5) == said


@pytest.mark.parametrize(
    ("value", "low", "high", "said"),
    [
        (0.80, 0.55, 0.9, HOLDS),
        (0.80, 0.45, 0.9, CANNOT_BE_TOLD),
        (0.60, 0.55, 0.7, CANNOT_BE_TOLD),
        (0.40, 0.30, 0.7, FAILS),
        (0.40, 0.30, 0.8, CANNOT_BE_TOLD),
    ],
)
def test_most_of_asks_for_the_value_on_one_side_and_the_interval_off_the_other(value, low, high, said):
    assert most_of(Estimate(value, low, high, "seeds"), most=0.75, half=0.5) == said


def test_several_conditions_and_several_seeds():
    assert together([HOLDS, HOLDS]) == HOLDS
    assert together([HOLDS, CANNOT_BE_TOLD, FAILS]) == FAILS
    assert together([HOLDS, CANNOT_BE_TOLD]) == together([]) == CANNOT_BE_TOLD
    assert agreed([FAILS, FAILS]) == FAILS
    assert agreed([HOLDS, FAILS]) == CANNOT_BE_TOLD


@given(ends, st.floats(0.01, 30), ends)
def test_chance_of_overlap_is_the_share_of_places_that_overlap(window, width, training):
    starts = np.linspace(training[0], max(training[0], training[1] - width), 20_001)
    seen = np.mean([overlap(window, (start, start + width)) for start in starts[::10]])
    if training[1] - width > training[0] + 0.01:
        assert chance_of_overlap(tuple(window), width, tuple(training)) == pytest.approx(seen, abs=2e-3)


def test_chance_of_overlap_in_closed_form():
    assert chance_of_overlap((4, 5), 1, (0, 10)) == pytest.approx(2 / 9)
    assert chance_of_overlap((0, 1), 1, (0, 10)) == pytest.approx(1 / 9)
    assert chance_of_overlap((4, 5), 20, (0, 10)) == 1


@given(st.floats(0, 1), st.integers(1, 12), st.data())
def test_chance_of_as_many_is_binomial_for_equal_chances(chance, n, data):
    n_agreed = data.draw(st.integers(0, n))
    assert chance_of_as_many([chance] * n, n_agreed) == pytest.approx(stats.binom.sf(n_agreed - 1, n, chance), abs=1e-9)


def test_chance_of_as_many_of_unequal_chances():
    assert chance_of_as_many([0.5, 0.1], 1) == pytest.approx(1 - 0.5 * 0.9)
    assert chance_of_as_many([0.5, 0.1], 2) == pytest.approx(0.05)


def test_a_share_has_wilsons_interval():
    z2 = stats.norm.ppf(0.975) ** 2
    assert share_of(3, 3, 0.95)[:3] == pytest.approx((1, 3 / (3 + z2), 1))


def test_a_claim_fails_with_one_subject_and_holds_with_most_and_no_failure():
    said = {word: Judgement(word, "", None, word, f"why {word}", n_seeds=n) for n, word in enumerate((HOLDS, FAILS), 1)}
    unknown = Judgement("unknown", "", None, CANNOT_BE_TOLD, "", n_seeds=3)
    assert summed_up([said[HOLDS], said[HOLDS], unknown]).verdict == HOLDS
    assert summed_up([said[HOLDS], unknown]).verdict == CANNOT_BE_TOLD
    assert summed_up([said[HOLDS], said[FAILS], unknown]).verdict == FAILS
    assert summed_up([unknown, unknown]).verdict == CANNOT_BE_TOLD
    whole = summed_up([said[HOLDS], said[FAILS]])
    assert (whole.subject, whole.n_seeds, whole.reason) == (ALL, 1, "holds: holds; fails: fails")
    assert summed_up([said[FAILS]]).reason == "why fails"


def test_words():
    assert in_millions(1_920_000, 2_700_000) == "1.92 to 2.70M"
    assert (ending(1), ending(3)) == ("; one seed", "; 3 seeds")
