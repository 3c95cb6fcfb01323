"""Claims 6 to 9: change points planted inside the window, outside it, and nowhere."""

from itertools import permutations

import numpy as np
import polars as pl
import pytest

from analyse.claims.planted_study import (
    MILLION,
    STEPS,
    TOKENS,
    Change,
    evidence,
    fall,
    grown,
    member,
    merged,
    power_law,
    seeds,
    turns,
)
from induction.analyse.claims import together
from induction.analyse.claims.judging import NotTestableError
from induction.analyse.claims.together import Beside, permuted
from induction.tables.claims import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED

ICL = (2 * MILLION, 3 * MILLION)
LATER = (4 * MILLION, 5 * MILLION)
TRAINING = TOKENS[-1]


def one_of(judgements):
    (only,) = judgements
    return only


def study(*changes, tables=lambda model: {}, **fields):
    """Return a study of one architecture, of which each seed changes as told."""
    models = seeds("attn-2l", len(changes), **fields)
    pairs = zip(models, changes, strict=True)
    return evidence(models, merged(*(merged(grown(model, change), tables(model)) for model, change in pairs)))


@pytest.mark.parametrize(
    ("changes", "verdict", "said"),
    [
        (
            [{"icl": ICL, "prefix_matching": (2.2 * MILLION, 3.2 * MILLION)}],
            INCONCLUSIVE,
            "they overlap",
        ),  # chance 0.34
        ([{"icl": ICL, "prefix_matching": (2.2 * MILLION, 3.2 * MILLION)}] * 3, SUPPORTED, "3 of 3 models agree"),
        ([{"icl": ICL, "prefix_matching": LATER}], NOT_SUPPORTED, "they are disjoint"),
        ([{"icl": ICL}], NOT_SUPPORTED, "prefix matching has no change point: changes by 0.010"),
        ([{"prefix_matching": ICL}], INCONCLUSIVE, "In-context learning has no window: changes by 0.010"),
        ([{"icl": ICL, "prefix_matching": ICL}] * 3, SUPPORTED, "they overlap in 3 of 3 seeds"),
        ([{"icl": ICL, "prefix_matching": LATER}] * 3, NOT_SUPPORTED, "they overlap in 0 of 3 seeds"),
        ([{"icl": ICL, "prefix_matching": one} for one in (ICL, LATER)], INCONCLUSIVE, "in 1 of 2 seeds"),
    ],
)
def test_6_holds_prefix_matching_against_the_window(changes, verdict, said):
    judgement = one_of(together.prefix_matching(study(*changes)))
    assert judgement.verdict == verdict
    assert said in judgement.reason


def test_6_tells_the_distance_and_how_often_chance_would_do_as_well():
    changes = {"icl": ICL, "prefix_matching": (2.2 * MILLION, 3.2 * MILLION)}
    said = one_of(together.prefix_matching(study(changes)))
    assert said.estimate[:3] == pytest.approx((0.2 * MILLION, 0, 0.4 * MILLION))
    width = 1.2 * MILLION  # both windows with their intervals
    chance = 2 * width / (TRAINING - width)
    assert said.chance == pytest.approx(chance)
    assert (said.chance_adjusted, said.window_support) == (said.chance, 1)
    assert one_of(together.prefix_matching(study(*[changes] * 3))).chance == pytest.approx(chance**3)
    assert said.reason.startswith("Window 2.00 to 3.00M tokens, prefix matching 2.20 to 3.20M: they overlap")
    assert said.reason.endswith(
        f"1 of 1 model agree, at random times as many would with probability {chance:.2g}, which is not below 0.05: "
        "no support; one seed"
    )


def test_the_chance_of_one_of_several_architectures_is_adjusted_for_their_number():
    narrow = {"icl": Change(2e6, 2.2e6, 1e4), "prefix_matching": Change(2e6, 2.2e6, 1e4)}
    models = [member(f"attn-{d_model}", d_model=d_model) for d_model in (64, 128, 256)]
    alone, *_ = together.prefix_matching(evidence(models[:1], grown(models[0], narrow)))
    width = 0.22e6
    assert alone.chance == pytest.approx(2 * width / (TRAINING - width))
    # an architecture whose change points agree at any chance takes the place of the greatest of three
    wide = {"icl": Change(2e6, 2.6e6, 1e4), "prefix_matching": Change(2e6, 2.6e6, 1e4)}
    tables = merged(*(grown(model, wide if at else narrow) for at, model in enumerate(models)))
    three = together.prefix_matching(evidence(models, tables))
    greater = 2 * 0.62e6 / (TRAINING - 0.62e6)
    assert [one.chance for one in three] == pytest.approx([alone.chance, greater, greater])
    assert [one.chance_adjusted for one in three] == pytest.approx([3 * alone.chance, 2 * greater, 2 * greater])


def with_bumps(support, changes, n_seeds=1):
    planted = study(*[changes] * n_seeds)
    phases = planted.tables["phases"].with_columns(support=pl.when(signal="loss").then(support).otherwise("support"))
    return evidence(planted.models, planted.tables | {"phases": phases})


@pytest.mark.parametrize(
    ("changes", "support", "verdict"),
    [
        ({"icl": ICL, "loss": ICL}, 1.0, INCONCLUSIVE),  # one seed agrees at a chance of 0.34
        ({"icl": ICL, "loss": LATER}, 1.0, NOT_SUPPORTED),
        ({"icl": ICL}, 0.04, NOT_SUPPORTED),
        ({"icl": ICL}, 0.06, INCONCLUSIVE),
        ({"loss": ICL}, 1.0, INCONCLUSIVE),
        ({}, 0.0, INCONCLUSIVE),
    ],
)
def test_7_holds_the_bump_against_the_window(changes, support, verdict):
    said = one_of(together.bump(with_bumps(support, changes)))
    assert said.verdict == verdict
    assert said.agreement is None or said.window_support == pytest.approx(min(support, 1), abs=1e-9)


def test_7_is_supported_where_chance_would_not_do_as_well():
    said = one_of(together.bump(with_bumps(0.6, {"icl": ICL, "loss": ICL}, n_seeds=3)))
    assert said.verdict == SUPPORTED
    assert said.window_support == 0.6  # that of the bump, which is more marginal than that of in-context learning


def beside_one_layer(fall_at=None, steps=STEPS, icl=ICL, noise=0.3, n_seeds=1):
    """Return a study of two layers whose loss falls below that of one layer by 0.5 nats, at a time or never."""
    singles, twos = seeds("attn-1l", n_seeds, n_layers=1), seeds("attn-2l", n_seeds)

    def loss(tokens):
        return power_law(tokens) + (fall(*fall_at, 0.5)(tokens) if fall_at else 0)

    changes = {"icl": icl} if icl else {}
    return evidence(
        [*singles, *twos],
        merged(
            *(grown(single, loss=power_law, steps=steps, noise=noise) for single in singles),
            *(grown(two, changes, loss=loss, noise=noise) for two in twos),
        ),
    )


@pytest.mark.parametrize(
    ("fall_at", "icl", "verdict"),
    [(ICL, ICL, SUPPORTED), (LATER, ICL, NOT_SUPPORTED), (None, ICL, INCONCLUSIVE), (ICL, None, INCONCLUSIVE)],
)
def test_8_holds_the_departure_against_the_window(fall_at, icl, verdict):
    assert one_of(together.departure(beside_one_layer(fall_at, icl=icl, n_seeds=3))).verdict == verdict


def test_8_is_inconclusive_from_one_pair_that_agrees_by_chance():
    said = one_of(together.departure(beside_one_layer(ICL)))
    assert said.agreement.verdict == SUPPORTED
    assert said.chance > 0.05
    assert said.verdict == INCONCLUSIVE


@pytest.mark.parametrize("steps", [STEPS, np.arange(0, 4001, 50), np.arange(0, 2001, 50)])
def test_8_finds_the_departure_where_it_is_though_examples_are_noisy_and_snapshots_differ(steps):
    said = one_of(together.departure(beside_one_layer(ICL, steps)))
    spacing = TOKENS[1]
    assert abs(said.estimate.value) < spacing
    assert said.estimate.high - said.estimate.low < 4 * spacing  # the noise of 0.3 nats is that of both models


def test_8_says_of_what_there_is_no_single_layer():
    with pytest.raises(NotTestableError, match=r"model of one layer with plain keys that is .*\(attn-2l-s0\)"):
        together.departure(study({"icl": ICL}))
    beside, wide = beside_one_layer(ICL), member("wide-2l", "wide", d_model=256)
    both = evidence([*beside.models, wide], merged(beside.tables, grown(wide, {"icl": ICL})))
    said = one_of(together.departure(both))
    assert (said.subject, said.agreement.verdict) == ("attn, 2 layers", SUPPORTED)


def test_8_is_of_plain_keys_alone():
    smeared = member("smeared-1l", n_layers=1, smeared_keys=True), member("smeared-2l", smeared_keys=True)
    with pytest.raises(NotTestableError, match="one layer"):
        together.departure(evidence(smeared, merged(*(grown(model, {"icl": ICL}) for model in smeared))))


SURE, UNSURE, NONE = (40.0, 60.0, 70.0), (20.0, 40.0, 60.0), (5.0, 10.0, 20.0)


@pytest.mark.parametrize(
    ("sharp", "verdict"),
    [
        ({1200: SURE}, SUPPORTED),
        ({900: SURE}, SUPPORTED),  # the window lies between the steps 976 and 1465
        ({1500: SURE}, SUPPORTED),
        ({800: SURE}, NOT_SUPPORTED),
        ({1600: SURE, 1200: NONE}, NOT_SUPPORTED),
        ({1200: UNSURE}, INCONCLUSIVE),
        ({1500: (40.0, 50.0, 60.0), 1600: (45.0, 55.0, 65.0)}, INCONCLUSIVE),  # not more than at both neighbours
    ],
)
def test_9_looks_for_a_pivot_in_the_window_and_one_snapshot_around_it(sharp, verdict):
    said = one_of(together.pivot(study(*[{"icl": ICL}] * 2, tables=lambda model: turns(model, sharp))))
    assert said.verdict == verdict


def test_9_counts_stretches_of_training_with_a_pivot():
    said = one_of(together.pivot(study({"icl": ICL}, tables=lambda model: turns(model, {1200: SURE}))))
    # the stretch has 600 steps and so begins at one of 35 snapshots, 0 to 3400; with those at 600 to 1200 it has the pivot
    assert said.chance == pytest.approx(7 / 35)
    assert said.estimate[:3] == (60, 40, 70)
    assert "at 2.46M, a certain pivot; 1 of 1 model agree" in said.reason
    assert said.verdict == INCONCLUSIVE
    twice = one_of(together.pivot(study(*[{"icl": ICL}] * 2, tables=lambda model: turns(model, {1200: SURE}))))
    assert twice.chance == pytest.approx((7 / 35) ** 2)


def test_9_without_a_window_or_without_turns():
    assert one_of(together.pivot(study({}, tables=lambda model: turns(model, {})))).verdict == INCONCLUSIVE
    with pytest.raises(NotTestableError, match="table pca"):
        together.pivot(study({"icl": ICL}))


def test_models_that_change_at_times_of_their_own_are_told_from_shuffled_ones():
    matched = [Beside((place, place + 1.0), (place + 0.2, place + 0.8)) for place in range(0, 10, 2)]
    assert permuted(matched[:4]) == pytest.approx(1 / 24)
    assert permuted(matched * 2) < 0.01
    alike = [matched[0]] * 5
    assert permuted(alike) == 1


def test_of_shuffled_models_no_share_is_small_more_often_than_it_says():
    windows = [(place, place + 1.0) for place in range(0, 10, 2)]
    told = np.array(
        [
            permuted([Beside(window, windows[place]) for window, place in zip(windows, dealt, strict=True)])
            for dealt in permutations(range(5))
        ]
    )
    for share in np.unique(told):
        assert np.mean(told <= share) == pytest.approx(share)


def test_more_models_than_can_be_dealt_out_in_every_way():
    matched = [Beside((place, place + 1.0), (place, place + 1.0)) for place in range(0, 20, 2)]
    assert permuted(matched, n_shuffles=999) == pytest.approx(1 / 1000)


def test_reasons_tell_of_the_shuffle_where_three_models_have_both():
    places = [Change(start * MILLION, (start + 0.5) * MILLION) for start in (1, 3, 5)]
    changes = [{"icl": place, "prefix_matching": place} for place in places]
    said = one_of(together.prefix_matching(study(*changes))).reason
    assert "of all 3 models with both, 3 overlap, and as many do in 16.7% of the permutations" in said
    assert "permutations" not in one_of(together.prefix_matching(study(*changes[:2]))).reason
    pivots = study(*changes, tables=lambda model: turns(model, {(600, 1500, 2500)[model.fields.seed]: SURE}))
    assert "in 16.7% of the permutations of the sharpest pivots" in one_of(together.pivot(pivots)).reason


@pytest.mark.parametrize("judge", [together.prefix_matching, together.bump, together.departure, together.pivot])
def test_a_study_of_single_layers_lacks_models_of_two(judge):
    model = member("attn-1l", n_layers=1)
    with pytest.raises(NotTestableError, match="needs a model of two or more layers"):
        judge(evidence([model], grown(model)))
