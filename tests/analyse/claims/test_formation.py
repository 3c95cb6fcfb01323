"""Claims 1 to 5 and 12: each verdict is planted, and the figures are those that were planted."""

import numpy as np
import pytest

from analyse.claims.planted_study import (
    INDEX,
    MILLION,
    STEPS,
    TOKENS,
    Change,
    evidence,
    fall,
    grown,
    member,
    merged,
    seeds,
)
from induction.analyse.claims import formation
from induction.analyse.claims.judging import NotTestableError
from induction.tables.claims import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED

WINDOW = {"icl": (2 * MILLION, 3 * MILLION)}
INSIDE = 0.9  # of a planted fall
TILT = np.polyfit(np.log(INDEX[49:]), INDEX[49:] / 450, 1)[0]
INDUCTION = [{"layer": 0, "head": 0, "prefix_matching": 0.6, "copying": 0.3}]


def two_layers(judge, windows=WINDOW, n_seeds=1, **curves):
    models = seeds("attn-2l", n_seeds)
    return judge(evidence(models, merged(*(grown(model, windows, **curves) for model in models))))


def one_of(judgements):
    (only,) = judgements
    return only


def test_a_line_is_cut_in_the_middle_of_training_whatever_the_spacing():
    tokens = np.concatenate([np.linspace(0, 0.1, 201), np.linspace(0.1, 1, 46)[1:]])
    fits = formation.step_and_ramp(tokens, np.column_stack([3 * tokens, -tokens]))
    assert fits.place_N == pytest.approx([0.5, 0.5], abs=0.02)
    np.testing.assert_allclose([fits.before_N, fits.after_N], [[0.75, -0.25], [2.25, -0.75]], atol=0.05)
    assert (fits.ratio_N < 1e-8).all()


def test_what_a_ramp_leaves_of_a_step_in_the_middle_is_a_quarter():
    tokens = np.linspace(0, 1, 2001)
    noise = 0.1 * np.where(np.arange(2001) % 2, 1, -1)
    fits = formation.step_and_ramp(tokens, ((tokens > 0.5) + noise)[:, None])
    # a step of 1 in the middle has the variance 1/4, of which its best line explains 3/16
    assert fits.ratio_N[0] == pytest.approx((1 / 16 + 0.01) / 0.01, rel=0.01)


def test_1_holds_for_a_step():
    said = one_of(two_layers(formation.abrupt, icl=lambda t: -0.05 + fall(2.54 * MILLION, 2.58 * MILLION, 0.35)(t)))
    assert said.agreement.verdict == SUPPORTED
    assert said.verdict == INCONCLUSIVE  # one seed, at the chance below
    assert said.estimate.low > 1
    assert "from -0.05 to -0.40 nats" in said.reason
    assert "overlaps the window 2.00 to 3.00M" in said.reason
    assert said.reason.endswith("; one seed")
    spacing = TOKENS[1]
    starts = (3.1 * MILLION) - (1.9 * MILLION) + spacing  # the step lies between two snapshots in every resample
    assert said.chance == pytest.approx(starts / (TOKENS[-1] - spacing))


def test_1_fails_for_a_ramp():
    assert one_of(two_layers(formation.abrupt, icl=lambda t: -0.4 * t / TOKENS[-1])).verdict == NOT_SUPPORTED


def test_1_cannot_be_told_of_a_step_from_a_score_that_is_not_small():
    said = one_of(two_layers(formation.abrupt, icl=lambda t: -0.3 + fall(2.54 * MILLION, 2.58 * MILLION, 0.35)(t)))
    assert said.estimate.low > 1
    assert said.verdict == INCONCLUSIVE


def test_1_without_a_window_says_so():
    said = one_of(two_layers(formation.abrupt, {}, icl=lambda t: -0.4 * t / TOKENS[-1]))
    assert (said.verdict, said.chance) == (NOT_SUPPORTED, None)
    assert "no window" in said.reason


def test_1_is_over_seeds_where_there_are_some():
    said = one_of(two_layers(formation.abrupt, n_seeds=3))
    assert (said.estimate.over, said.estimate.n_seeds) == ("seeds", 3)
    assert "overlaps in 3 of 3 seeds" in said.reason
    assert said.chance < 0.2**3
    assert said.verdict == SUPPORTED


@pytest.mark.parametrize("windows", [{}, {"icl": (5 * MILLION, 6 * MILLION)}])
def test_1_is_inconclusive_where_the_step_is_in_no_window(windows):
    def icl(tokens):
        return -0.05 + fall(2.54 * MILLION, 2.58 * MILLION, 0.35)(tokens)

    said = one_of(two_layers(formation.abrupt, windows, n_seeds=4, icl=icl))
    assert said.estimate.low > 1
    assert said.verdict == INCONCLUSIVE


@pytest.mark.parametrize(
    ("later", "own_noise", "verdict"),
    [(0.0, 0.002, SUPPORTED), (0.5, 0.002, NOT_SUPPORTED), (-0.3, 0.002, NOT_SUPPORTED), (0.14, 0.02, INCONCLUSIVE)],
)
def test_2_compares_the_drift_with_the_jump(later, own_noise, verdict):
    def icl(tokens):
        return -0.05 + fall(2 * MILLION, 3 * MILLION, 0.35)(tokens) + fall(5 * MILLION, 6 * MILLION, later)(tokens)

    said = one_of(two_layers(formation.constant_after, icl=icl, own_noise=own_noise))
    assert said.verdict == verdict
    assert said.estimate.value == pytest.approx((0.05 * 0.35 + later) / (INSIDE * 0.35), abs=0.05)


@pytest.mark.parametrize(("base", "verdict"), [(-0.05, SUPPORTED), (-0.2, INCONCLUSIVE), (-0.6, NOT_SUPPORTED)])
def test_3_compares_the_jump_with_the_final_score(base, verdict):
    said = one_of(two_layers(formation.inside_window, icl=lambda t: base + fall(2 * MILLION, 3 * MILLION, 0.35)(t)))
    assert said.verdict == verdict
    assert said.estimate.value == pytest.approx(INSIDE * 0.35 / (0.35 - base), abs=0.03)


@pytest.mark.parametrize("judge", [formation.constant_after, formation.inside_window, formation.slope])
def test_without_a_window_nothing_can_be_told_and_the_reason_is_that_of_phases(judge):
    said = one_of(two_layers(judge, {}, why_none="falls by 0.01; 0.12 is needed"))
    assert (said.verdict, said.estimate) == (INCONCLUSIVE, None)
    assert said.reason == "In-context learning has no window: falls by 0.01; 0.12 is needed; one seed"


def test_seeds_without_a_window_are_left_out_and_counted():
    models = seeds("attn-2l", 4)
    tables = [grown(model, WINDOW if model.fields.seed else {}) for model in models]
    said = one_of(formation.inside_window(evidence(models, merged(*tables))))
    assert (said.estimate.over, said.estimate.n_seeds) == ("seeds", 3)
    assert said.reason.endswith("1 of 4 seeds have no window and are left out; 3 seeds")


def test_a_resample_without_a_window_is_looked_at_over_the_models():
    (model,) = seeds("attn-2l", 1)
    tables = grown(model, WINDOW)
    few = evidence([model], tables | {"onsets": tables["onsets"].filter(resample=3)})
    start_N, end_N = few.window_ends(model)
    own = tables["onsets"].filter(resample=3, signal="icl")
    assert (start_N[4], end_N[4]) == (own["start_tokens"].item(), own["end_tokens"].item())
    assert set(np.delete(start_N, 4)) == {2 * MILLION}
    assert formation.inside_window(few)[0].verdict == SUPPORTED


@pytest.mark.parametrize(
    ("size", "own_noise", "verdict"),
    [(0.35, 0.002, SUPPORTED), (0.02, 0.002, NOT_SUPPORTED), (0.05 / INSIDE / TILT, 0.02, INCONCLUSIVE)],
)
def test_12_reads_the_change_of_the_slope(size, own_noise, verdict):
    icl = fall(2 * MILLION, 3 * MILLION, size)
    said = one_of(two_layers(formation.slope, icl=icl, own_noise=own_noise))
    assert said.verdict == verdict
    assert said.estimate.value == pytest.approx(-TILT * INSIDE * size, abs=0.03 * (TILT * size) + 0.01)


def single_and_two(single, two=None, smeared=False):
    one, other = member("attn-1l", n_layers=1, smeared_keys=smeared), member("attn-2l", smeared_keys=smeared)
    single = {"heads": [{"layer": 0, "head": 0}]} | single
    return evidence([one, other], merged(grown(one, **single), grown(other, **(two or {"changes": WINDOW}))))


@pytest.mark.parametrize(
    ("single", "verdict"),
    [
        ({}, SUPPORTED),
        ({"changes": WINDOW, "heads": INDUCTION}, NOT_SUPPORTED),
        ({"icl": lambda _: -0.6}, NOT_SUPPORTED),
        ({"changes": WINDOW, "icl": lambda _: -0.05}, INCONCLUSIVE),
        ({"heads": INDUCTION}, INCONCLUSIVE),
        ({"icl": lambda _: -0.4, "own_noise": 0.01}, INCONCLUSIVE),
    ],
)
def test_4_holds_a_single_layer_against_two(single, verdict):
    said = one_of(formation.one_layer(single_and_two(single)))
    assert (said.subject, said.verdict) == ("attn, 1 layer against 2", verdict)


def test_4_measures_how_much_smaller_the_single_layers_score_is_on_the_same_examples():
    said = one_of(formation.one_layer(single_and_two({})))
    assert said.estimate.value == pytest.approx(0.35, abs=0.001)
    assert said.estimate.high - said.estimate.low < 0.02  # the noise that both share, 0.02, is gone


def test_4_needs_the_heads_scores():
    with pytest.raises(NotTestableError, match="scores of the heads of attn-1l"):
        formation.one_layer(single_and_two({"heads": []}))


@pytest.mark.parametrize("smeared", [True, False])
def test_4_names_the_models_it_needs(smeared):
    study = single_and_two({}, smeared=True) if smeared else evidence([m := member("a")], grown(m))
    with pytest.raises(NotTestableError, match=r"one layer and of two, alike in all else.*both 1 and 2"):
        formation.one_layer(study)


def at_paper_setting(window, **fields):
    fields = {"n_ctx": 8192, "batch_size": 128, "vocab_size": 2**16} | fields
    model = member("attn-2l", **fields)
    return evidence([model], grown(model, {"icl": window} if window else {}, steps=np.arange(0, 8001, 100)))


@pytest.mark.parametrize(
    ("window", "verdict"),
    [
        (Change(1.5e9, 2.5e9, 1e8), SUPPORTED),
        (Change(6.0e9, 7.0e9, 1e8), NOT_SUPPORTED),
        (Change(0.5e9, 1.5e9, 1e8), INCONCLUSIVE),
        (None, INCONCLUSIVE),
    ],
)
def test_5_holds_the_midpoint_against_the_papers(window, verdict):
    said = one_of(formation.at_paper_tokens(at_paper_setting(window)))
    assert said.verdict == verdict
    if window:
        assert said.estimate.value == (window.start + window.end) / 2


@pytest.mark.parametrize("other", [{"n_ctx": 4096}, {"batch_size": 64}, {"vocab_size": 1024}, {"smeared_keys": True}])
def test_5_is_judged_at_the_papers_own_setting_alone(other):
    with pytest.raises(NotTestableError, match=r"n_ctx 8,192.*1,048,576 tokens a step, vocab_size 65,536"):
        formation.at_paper_tokens(at_paper_setting(Change(1.5e9, 2.5e9), **other))


@pytest.mark.parametrize(
    "judge", [formation.abrupt, formation.constant_after, formation.inside_window, formation.slope]
)
def test_a_study_of_single_layers_lacks_models_of_two(judge):
    model = member("attn-1l", n_layers=1)
    with pytest.raises(NotTestableError, match=r"needs a model of two or more layers.*add 2 to n_layers"):
        judge(evidence([model], grown(model, steps=STEPS)))
