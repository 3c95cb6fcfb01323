"""Models of several sizes whose scores, losses and changes are planted."""

import numpy as np
import polars as pl
import pytest

from analyse.claims.planted_study import INDEX, MILLION, STEPS, evidence, fall, grown, member, merged, seeds, turns
from induction.analyse.claims import scale
from induction.analyse.claims.judging import NotTestableError
from induction.tables.claims import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED

SIZES = [member(f"wide-{d_model}", "wide", d_model=d_model) for d_model in (64, 128, 256)]
DECADES = [np.log10(model.fields.n_parameters) for model in SIZES]
SPAN = DECADES[-1] - DECADES[0]
OTHERS = [
    member("one-layer", n_layers=1, d_model=1024),
    member("smeared", d_model=1024, smeared_keys=True),
    member("books", d_model=1024, corpus="books"),
]
"""Models that are no sizes, far off in everything."""


def scaled(tables, models=SIZES, others=OTHERS):
    return evidence([*models, *others], merged(*(tables(model) for model in [*models, *others])))


def decade(model):
    return np.log10(model.fields.n_parameters) - DECADES[0]


# --- the final score --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("per_decade", "own_noise", "verdict"),
    [(0.01, 0.002, SUPPORTED), (-0.2, 0.002, NOT_SUPPORTED), (0.2, 0.002, NOT_SUPPORTED), (0.02, 0.1, INCONCLUSIVE)],
)
def test_final_score_over_sizes(per_decade, own_noise, verdict):
    found = scaled(lambda model: grown(model, icl=lambda _: -0.5 + per_decade * decade(model), own_noise=own_noise))
    (judged,) = scale.final_score(found)
    assert judged.subject == "wide, 3 sizes"
    assert judged.estimate.value == pytest.approx(per_decade * SPAN)
    assert judged.verdict == verdict
    assert judged.reason.endswith("; one seed")


def test_what_examples_have_in_common_cancels():
    (judged,) = scale.final_score(scaled(lambda model: grown(model, icl=lambda _: -0.5, noise=5.0)))
    assert judged.verdict == SUPPORTED


def with_examples_of(n_tokens):
    def tables(model):
        found = grown(model)
        ones = pl.Series("loss_by_index", np.ones((len(STEPS), n_tokens), dtype=np.float32))
        return found | {"curves": found["curves"].with_columns(ones)}

    return tables


def test_other_indices_are_told_as_far_as_examples_go():
    def tilted(model):
        early_and_late = -0.5 + 0.2 * decade(model)
        return grown(
            model, icl=lambda _: early_and_late
        )  # losses are linear in the index: over 450 tokens it is the score

    (judged,) = scale.final_score(scaled(tilted))
    for early, late in ((10, 500), (50, 200), (100, 500)):
        assert f"{0.2 * SPAN * (late - early) / 450:+.2f} nats between tokens {early} and {late}" in judged.reason
    short = scaled(with_examples_of(499))
    assert "500" not in scale.final_score(short)[0].reason
    assert "tokens 50 and 200" in scale.final_score(short)[0].reason


def test_seeds_that_all_sizes_have_are_the_unit():
    models = [model for d_model in (64, 128, 256) for model in seeds(f"wide-{d_model}", 3, "wide", d_model=d_model)]
    models.append(member("wide-64-s9", "wide", d_model=64, seed=9))
    wide = {0: 0.1, 1: 0.2, 2: 0.3, 9: 9.0}
    found = scaled(lambda model: grown(model, icl=lambda _: -0.5 + wide[model.fields.seed] * decade(model)), models, [])
    (judged,) = scale.final_score(found)
    half = 4.302653 * 0.1 * SPAN / 3**0.5
    assert judged.estimate[:3] == pytest.approx((0.2 * SPAN, 0.2 * SPAN - half, 0.2 * SPAN + half), abs=1e-6)
    assert judged.estimate.over == "seeds"
    assert judged.reason.endswith("; 3 seeds")


def test_models_that_differ_in_more_than_size_are_no_sizes_of_one_series():
    models = [
        member(f"wide-{d_model}-w{warmup}", "wide", d_model=d_model, warmup_steps=warmup)
        for d_model in (64, 128)
        for warmup in (50, 600)
    ]
    with pytest.raises(NotTestableError, match="in one family: 2 in this study"):
        scale.final_score(scaled(grown, models, []))


@pytest.mark.parametrize("judge", [scale.final_score, scale.order_flips, scale.signature])
def test_two_sizes_of_a_family_are_too_few(judge):
    with pytest.raises(
        NotTestableError, match=r"needs 3 sizes of two or more layers.* 2 in this study; add values to n_layers"
    ):
        judge(scaled(grown, SIZES[:2]))


# --- the first tokens -------------------------------------------------------------------------------------------


def gap_of(at_ten, late, own_noise=0.002):
    """Losses of the largest size are less than those of the smallest by so much; between, linear over the index."""

    def tables(model):
        gap_I = np.interp(INDEX, [12, 490], [at_ten, late]) * decade(model) / SPAN
        return grown(model, loss_by_index=np.tile(5 - gap_I, (len(STEPS), 1)), own_noise=own_noise)

    return scaled(tables)


@pytest.mark.parametrize(
    ("at_ten", "own_noise", "verdict"),
    [(0.9, 0.002, SUPPORTED), (0.1, 0.002, NOT_SUPPORTED), (0.55, 0.1, INCONCLUSIVE)],
)
def test_share_of_the_gap_at_token_ten(at_ten, own_noise, verdict):
    (judged,) = scale.first_tokens(gap_of(at_ten, 1.0, own_noise))
    assert judged.estimate.value == pytest.approx(at_ten, abs=1e-5)
    assert judged.verdict == verdict
    assert f"is {at_ten:.2f} nats less than with 0.03M, late in the context 1.00 nats less; one seed" in judged.reason


@pytest.mark.parametrize("late", [0.001, -0.5])
def test_where_there_may_be_no_gap_there_is_no_share(late):
    (judged,) = scale.first_tokens(gap_of(0.5, late, own_noise=0.05))
    assert judged.estimate is None
    assert judged.verdict == INCONCLUSIVE
    assert "that may be no gap" in judged.reason


def test_one_size_has_no_gap():
    with pytest.raises(NotTestableError, match="needs 2 sizes"):
        scale.first_tokens(scaled(grown, SIZES[:1]))


# --- the order --------------------------------------------------------------------------------------------------

WINDOW = (3 * MILLION, 4 * MILLION)


def falling(before, after, own_noise=0.0005, steps=STEPS):
    """Losses fall over ln(tokens) by 1, and by so much more for each decade of size before and after the window."""

    def tables(model):
        def loss(tokens):
            x = np.log(np.maximum(tokens, 1) / WINDOW[0])
            return 8 - x - decade(model) * np.where(x < 0, before * x, after * x)

        return grown(model, {"icl": WINDOW}, loss=loss, own_noise=own_noise, steps=steps)

    return scaled(tables)


@pytest.mark.parametrize(
    ("before", "after", "change", "verdict"),
    [
        (0.1, -0.1, -2, SUPPORTED),
        (-0.1, 0.1, 2, SUPPORTED),
        (0.1, 0.1, 0, NOT_SUPPORTED),
        (-0.1, -0.1, 0, NOT_SUPPORTED),
    ],
)
def test_the_order_of_sizes_flips(before, after, change, verdict):
    (judged,) = scale.order_flips(falling(before, after))
    assert judged.estimate.value == pytest.approx(change)
    assert judged.verdict == verdict
    assert f"is {np.sign(before):.2f} before 3.00M tokens, and {np.sign(after):.2f} after 4.00M tokens" in judged.reason


def test_an_order_within_the_noise_cannot_be_told():
    (judged,) = scale.order_flips(falling(0.1, -0.0001, own_noise=0.05))
    assert judged.verdict == INCONCLUSIVE


def test_an_order_without_snapshots_cannot_be_told():
    (judged,) = scale.order_flips(falling(0.1, -0.1, steps=STEPS[STEPS * 2048 < 4.2 * MILLION]))
    assert judged.estimate is None
    assert "fewer than two snapshots" in judged.reason


def test_sizes_without_a_window_have_no_before_and_after():
    with pytest.raises(NotTestableError, match="needs a window in the in-context learning of three sizes"):
        scale.order_flips(scaled(grown))


# --- the signature ----------------------------------------------------------------------------------------------


def signed(prefix_matching_of_largest, turn_of_largest, n_seeds=1):
    """Sizes with the signature, but for the largest one's prefix matching and turn."""
    models = [model for size in SIZES for model in seeds(size.name, n_seeds, "wide", d_model=size.fields.d_model)]

    def tables(model):
        is_largest = model.fields.d_model == SIZES[-1].fields.d_model
        place = prefix_matching_of_largest if is_largest else WINDOW
        turn = turn_of_largest if is_largest else (40.0, 60.0, 80.0)
        changes = {"icl": WINDOW} | ({"prefix_matching": place} if place else {})
        return grown(model, changes, icl=lambda tokens: -0.05 + fall(*WINDOW, 0.4)(tokens)) | turns(model, {1700: turn})

    return scaled(tables, models)


@pytest.mark.parametrize(
    ("prefix_matching", "turn", "share", "verdict", "exception"),
    [
        (WINDOW, (40.0, 60.0, 80.0), 1, SUPPORTED, None),
        (
            (6 * MILLION, 7 * MILLION),
            (40.0, 60.0, 80.0),
            2 / 3,
            NOT_SUPPORTED,
            "claim 6 of wide, 2 layers (wide-256-s0) is not supported",
        ),
        (WINDOW, (20.0, 35.0, 50.0), 2 / 3, INCONCLUSIVE, "claim 9 of wide, 2 layers (wide-256-s0) is inconclusive"),
    ],
)
def test_signature_at_every_size(prefix_matching, turn, share, verdict, exception):
    (judged,) = scale.signature(signed(prefix_matching, turn))
    assert judged.estimate.value == pytest.approx(share)
    assert judged.verdict == verdict
    assert exception is None or exception in judged.reason
    assert judged.window_support == 1


def test_the_signature_of_few_models_may_be_chance():
    one, two = (scale.signature(signed(WINDOW, (40.0, 60.0, 80.0), n))[0] for n in (1, 2))
    width = 1.2 * MILLION
    overlaps = 2 * width / (STEPS[-1] * 2048.0 - width)
    assert one.chance == pytest.approx(overlaps**3)  # claim 6 has the greatest: steps and stretches are narrower
    assert two.chance == pytest.approx(overlaps**6)
    assert (one.verdict, two.verdict) == (SUPPORTED, SUPPORTED)
    assert "0.04 (claim 6)" in one.reason


def test_a_claim_that_cannot_be_tested_leaves_the_signature_open():
    found = signed(WINDOW, (40.0, 60.0, 80.0))
    without = evidence(found.models, found.tables | {"pca": []})
    (judged,) = scale.signature(without)
    assert judged.verdict == INCONCLUSIVE
    assert "claim 9 of wide, 2 layers (wide-64-s0) is inconclusive" in judged.reason
