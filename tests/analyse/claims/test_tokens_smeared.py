"""Claims 13 to 15: tokens that get better and worse, and what smeared keys change."""

import pytest

from analyse.claims.planted_study import MILLION, Change, evidence, grown, member, merged, repetitions, seeds
from induction.analyse.claims import smeared, tokens
from induction.analyse.claims.judging import NotTestableError
from induction.tables.claims import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED

WINDOW = Change(2 * MILLION, 3 * MILLION)


def one_of(judgements):
    (only,) = judgements
    return only


def by_class(continued, broken, n_seeds=1, window=WINDOW):
    models = seeds("attn-2l", n_seeds)
    tables = [
        merged(
            grown(model, {"icl": window} if window else {}),
            repetitions(model, window, continued=continued, broken=broken),
        )
        for model in models
    ]
    return evidence(models, merged(*tables))


@pytest.mark.parametrize(
    ("continued", "broken", "verdict"),
    [
        ((-0.5, 0.1), (0.2, 0.1), SUPPORTED),
        ((0.5, 0.1), (-0.2, 0.1), NOT_SUPPORTED),
        ((-0.5, 0.1), (-0.2, 0.1), INCONCLUSIVE),
        ((0.5, 0.1), (0.2, 0.1), INCONCLUSIVE),
        ((-0.5, 0.1), (0.2, 0.3), INCONCLUSIVE),
    ],
)
def test_13_asks_for_both_classes_of_tokens(continued, broken, verdict):
    said = one_of(tokens.repetitions(by_class(continued, broken)))
    assert said.verdict == verdict
    assert said.estimate[:3] == pytest.approx((continued[0], continued[0] - 0.1, continued[0] + 0.1))
    assert f"that of broken ones by {broken[0]:+.3f}" in said.reason


def test_13_is_over_seeds_where_there_are_some():
    said = one_of(tokens.repetitions(by_class((-0.5, 9.0), (0.2, 9.0), n_seeds=3)))
    assert (said.verdict, said.estimate.over) == (SUPPORTED, "seeds")


def test_13_without_a_window_or_without_the_table():
    said = one_of(tokens.repetitions(by_class((-0.5, 0.1), (0.2, 0.1), window=None)))
    assert (said.verdict, said.estimate) == (INCONCLUSIVE, None)
    assert said.reason.startswith("In-context learning has no window")
    with pytest.raises(NotTestableError, match="table repetitions"):
        tokens.repetitions(evidence([model := member("attn-2l")], grown(model, {"icl": WINDOW})))


def with_smeared(n_layers, *windows, smeared_icl=None, own_noise=0.002):
    """Return a study of smeared and plain keys; of each seed the windows of both, or none."""
    models, tables = [], []
    for seed, pair in enumerate(windows):
        for is_smeared, window in zip((True, False), pair, strict=True):
            family = "smeared" if is_smeared else "attn"
            models.append(
                member(f"{family}-{n_layers}l-s{seed}", family, n_layers=n_layers, smeared_keys=is_smeared, seed=seed)
            )
            icl = smeared_icl if is_smeared else None
            tables.append(grown(models[-1], {"icl": window} if window else {}, icl=icl, own_noise=own_noise))
    return evidence(models, merged(*tables))


@pytest.mark.parametrize(
    ("windows", "smeared_icl", "verdict"),
    [
        ([(WINDOW, None)], None, SUPPORTED),
        ([(WINDOW, None)] * 3, None, SUPPORTED),
        ([(None, None)], None, NOT_SUPPORTED),
        ([(None, WINDOW)], None, NOT_SUPPORTED),
        ([(WINDOW, WINDOW)], None, INCONCLUSIVE),
        ([(WINDOW, None)], lambda _: -0.10, INCONCLUSIVE),  # 0.05 nats more, no more than min_effect_nats
        ([(WINDOW, None), (None, None)], None, INCONCLUSIVE),
    ],
)
def test_14_asks_for_a_window_with_smeared_keys_and_none_without(windows, smeared_icl, verdict):
    assert one_of(smeared.one_layer(with_smeared(1, *windows, smeared_icl=smeared_icl))).verdict == verdict


def test_14_measures_how_much_more_there_is_at_the_end():
    said = one_of(smeared.one_layer(with_smeared(1, (WINDOW, None))))
    assert said.estimate.value == pytest.approx(0.35, abs=0.001)
    assert said.subject == "smeared, 1 layer against attn, 1 layer"


def earlier_by(*leads):
    return with_smeared(2, *((Change(4e6 - lead, 5e6 - lead), Change(4e6, 5e6)) for lead in leads))


@pytest.mark.parametrize(
    ("leads", "verdict"),
    [
        ((1.0e6, 1.1e6, 1.2e6), SUPPORTED),
        ((-1.0e6, -1.1e6, -1.2e6), NOT_SUPPORTED),
        ((1.0e6, 0.0, -1.0e6), INCONCLUSIVE),
        ((1.0e6, 1.1e6), INCONCLUSIVE),
    ],
)
def test_15_is_judged_over_pairs_of_seeds(leads, verdict):
    said = one_of(smeared.earlier(earlier_by(*leads)))
    assert said.verdict == verdict
    assert said.estimate.value == pytest.approx(sum(leads) / len(leads))
    assert ("needs 3 seeds" in said.reason) == (len(leads) < 3)


def test_15_leaves_out_seeds_without_both_windows():
    some = with_smeared(2, *[(Change(3e6, 4e6), Change(4e6, 5e6))] * 3, (None, WINDOW))
    said = one_of(smeared.earlier(some))
    assert (said.verdict, said.estimate.n_seeds) == (SUPPORTED, 3)
    assert "1 of 4 seeds have not both windows" in said.reason
    none = one_of(smeared.earlier(with_smeared(2, (None, WINDOW))))
    assert (none.verdict, none.estimate) == (INCONCLUSIVE, None)


@pytest.mark.parametrize(
    ("judge", "n_layers", "needed"),
    [(smeared.one_layer, 2, "two models of 1 layer that"), (smeared.earlier, 1, "two models of 2 layers that")],
)
def test_14_and_15_name_the_models_they_need(judge, n_layers, needed):
    with pytest.raises(NotTestableError, match=f"{needed} differ in smeared_keys alone.*add n_layers {3 - n_layers}"):
        judge(with_smeared(n_layers, (WINDOW, None)))
