"""Verdicts, intervals and chances against what algebra says they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from induction.analyse.claims.judging import (
    Agreement,
    Estimate,
    Judgement,
    above,
    agreed,
    below,
    chance_of_as_many,
    chance_of_overlap,
    ending,
    holm,
    in_millions,
    mean_share,
    most_marginal,
    most_of,
    overlap,
    seeds_or_examples,
    seeds_or_own,
    share_of,
    size_below,
    summed_up,
    together,
    weighed,
)
from induction.tables.claims import ALL, INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED

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
    swapped = {SUPPORTED: NOT_SUPPORTED, NOT_SUPPORTED: SUPPORTED, INCONCLUSIVE: INCONCLUSIVE}
    assert below(estimate, bound) == swapped[above(estimate, bound)]
    assert (above(estimate, bound) == INCONCLUSIVE) == (interval[0] <= bound <= interval[1])


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(-0.4, 0.4, SUPPORTED), (0.6, 0.7, NOT_SUPPORTED), (-0.7, -0.6, NOT_SUPPORTED), (-0.6, 0.4, INCONCLUSIVE)],
)
def test_size_below_half(low, high, said):
    assert size_below(between(low, high), 0.5) == said


@pytest.mark.parametrize(
    ("value", "low", "high", "said"),
    [
        (0.80, 0.55, 0.9, SUPPORTED),
        (0.80, 0.45, 0.9, INCONCLUSIVE),
        (0.60, 0.55, 0.7, INCONCLUSIVE),
        (0.40, 0.30, 0.7, NOT_SUPPORTED),
        (0.40, 0.30, 0.8, INCONCLUSIVE),
    ],
)
def test_most_of_asks_for_the_value_on_one_side_and_the_interval_off_the_other(value, low, high, said):
    assert most_of(Estimate(value, low, high, "seeds"), most=0.75, half=0.5) == said


def test_several_conditions_and_several_seeds():
    assert together([SUPPORTED, SUPPORTED]) == SUPPORTED
    assert together([SUPPORTED, INCONCLUSIVE, NOT_SUPPORTED]) == NOT_SUPPORTED
    assert together([SUPPORTED, INCONCLUSIVE]) == together([]) == INCONCLUSIVE
    assert agreed([NOT_SUPPORTED, NOT_SUPPORTED]) == NOT_SUPPORTED
    assert agreed([SUPPORTED, NOT_SUPPORTED]) == INCONCLUSIVE


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
    assert share_of(3, 3, 0.95, "heads")[:3] == pytest.approx((1, 3 / (3 + z2), 1))


def test_a_mean_share_has_wilsons_interval_for_as_many_trials_as_models():
    z2 = stats.norm.ppf(0.975) ** 2
    assert mean_share([1.0, 1.0, 1.0], 0.95)[:3] == pytest.approx((1, 3 / (3 + z2), 1))
    assert mean_share([0.0, 1.0, 1.0, 0.0], 0.95)[:3] == pytest.approx(share_of(2, 4, 0.95, "")[:3])
    assert mean_share([0.25, 0.75], 0.95) == mean_share([0.5, 0.5], 0.95)
    assert mean_share([0.5], 0.95).over == "models"


def test_a_mean_share_covers_at_least_as_often_as_it_says_though_heads_of_a_model_depend_on_each_other():
    random, covered = np.random.default_rng(0), []
    for _ in range(2000):
        of_models = random.beta(0.6, 0.4, size=6)  # the mean share is 0.6
        shares = random.binomial(8, of_models) / 8
        estimate = mean_share(shares.tolist(), 0.95)
        covered.append(estimate.low <= 0.6 <= estimate.high)
    assert np.mean(covered) >= 0.95


def test_holms_adjustment():
    assert holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_rejects_what_its_step_down_procedure_rejects(chances):
    bound, left = 0.05, len(chances)
    rejected = set()
    for place in sorted(range(len(chances)), key=chances.__getitem__):
        if not chances[place] * left < bound:
            break
        rejected.add(place)
        left -= 1
    assert {place for place, adjusted in enumerate(holm(chances)) if adjusted < bound} == rejected


def co_occurring(verdict, chances, n_agreed, subject="one"):
    return Judgement(subject, "", None, verdict, "", agreement=Agreement(verdict, chances, n_agreed, "why; one seed"))


@pytest.mark.parametrize(
    ("verdict", "chance", "left"),
    [
        (SUPPORTED, 0.04, SUPPORTED),
        (SUPPORTED, 0.05, INCONCLUSIVE),
        (SUPPORTED, 0.56, INCONCLUSIVE),
        (NOT_SUPPORTED, 0.01, NOT_SUPPORTED),
        (NOT_SUPPORTED, 1.0, NOT_SUPPORTED),
        (INCONCLUSIVE, 0.01, INCONCLUSIVE),
    ],
)
def test_only_an_agreement_that_chance_does_not_explain_is_support(verdict, chance, left):
    (said,) = weighed([co_occurring(verdict, (chance,), 1)], 0.05, "subjects")
    assert (said.verdict, said.chance, said.chance_adjusted) == (left, chance, chance)
    assert said.reason.startswith("why; 1 of 1 model agree")
    assert said.reason.endswith("; one seed")


def test_change_points_at_random_times_are_support_in_fewer_than_one_study_in_twenty():
    """Several claims of each study, each over several models with windows and change points of several widths."""
    random, n_studies, n_false = np.random.default_rng(0), 3000, 0
    training, window, widths = (0.0, 10.0), (3.0, 4.0), (0.2, 0.8, 2.0)
    chances = tuple(chance_of_overlap(window, width, training) for width in widths)
    for _ in range(n_studies):
        starts = random.uniform(0, 10.0 - np.array(widths), size=(4, len(widths)))
        n_agreed = [sum(overlap(window, (s, s + w)) for s, w in zip(row, widths, strict=True)) for row in starts]
        claims = [co_occurring(SUPPORTED, chances, n) for n in n_agreed]
        n_false += any(said.verdict == SUPPORTED for said in weighed(claims, 0.05, "claims"))
    assert 0 < n_false / n_studies < 0.05


def test_an_agreement_without_a_chance_is_no_support():
    (said,) = weighed([co_occurring(SUPPORTED, (), 0)], 0.05, "subjects")
    assert (said.verdict, said.chance) == (INCONCLUSIVE, None)


def test_judgements_of_no_agreement_stay_and_count_for_no_adjustment():
    plain = Judgement("plain", "", None, SUPPORTED, "why")
    one, other = weighed([plain, co_occurring(SUPPORTED, (0.04,), 1)], 0.05, "claims")
    assert one == plain
    assert (other.verdict, other.chance_adjusted) == (SUPPORTED, 0.04)


def test_as_a_whole_all_models_count_together_and_subjects_as_they_agree():
    subjects = weighed([co_occurring(SUPPORTED, (0.3,), 1, name) for name in "abc"], 0.05, "subjects")
    assert {one.verdict for one in subjects} == {INCONCLUSIVE}
    (whole,) = weighed([summed_up(subjects, 0.5)], 0.05, "claims")
    assert (whole.verdict, whole.chance) == (SUPPORTED, pytest.approx(0.3**3))
    apart = [*subjects, co_occurring(NOT_SUPPORTED, (0.3,), 0, "d")]
    (whole,) = weighed([summed_up(apart, 0.5)], 0.05, "claims")
    assert whole.verdict == NOT_SUPPORTED
    assert whole.chance == pytest.approx(4 * 0.3**3 * 0.7 + 0.3**4)  # three of four or more
    few = [*subjects[:2], *[co_occurring(INCONCLUSIVE, (), 0, name) for name in "ef"]]
    (whole,) = weighed([summed_up(few, 0.5)], 0.1, "claims")
    assert (whole.verdict, whole.chance) == (INCONCLUSIVE, pytest.approx(0.09))  # no more than half of the subjects


def test_the_support_that_stands_for_several_is_the_one_nearest_to_the_bound():
    assert most_marginal([1.0, 0.54, None], 0.5) == 0.54
    assert most_marginal([0.9, 0.2], 0.5) == 0.2
    assert most_marginal([None], 0.5) is None
    whole = summed_up([Judgement("a", "", None, SUPPORTED, "", window_support=s) for s in (1.0, 0.54)], 0.5)
    assert whole.window_support == 0.54


def test_a_claim_fails_with_one_subject_and_holds_with_most_and_no_failure():
    said = {
        word: Judgement(word, "", None, word, f"why {word}", n_seeds=n)
        for n, word in enumerate((SUPPORTED, NOT_SUPPORTED), 1)
    }
    unknown = Judgement("unknown", "", None, INCONCLUSIVE, "", n_seeds=3)
    assert summed_up([said[SUPPORTED], said[SUPPORTED], unknown], 0.5).verdict == SUPPORTED
    assert summed_up([said[SUPPORTED], unknown], 0.5).verdict == INCONCLUSIVE
    assert summed_up([said[SUPPORTED], said[NOT_SUPPORTED], unknown], 0.5).verdict == NOT_SUPPORTED
    assert summed_up([unknown, unknown], 0.5).verdict == INCONCLUSIVE
    whole = summed_up([said[SUPPORTED], said[NOT_SUPPORTED]], 0.5)
    assert (whole.subject, whole.n_seeds, whole.reason) == (
        ALL,
        1,
        "supported: supported; not supported: not supported",
    )
    assert summed_up([said[NOT_SUPPORTED]], 0.5).reason == "why not supported"


def test_words():
    assert in_millions(1_920_000, 2_700_000) == "1.92 to 2.70M"
    assert (ending(1), ending(3)) == ("; one seed", "; 3 seeds")
