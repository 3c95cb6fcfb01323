"""Heads whose ablation costs what is planted."""

import re

import numpy as np
import pytest
from scipy import stats

from analyse.claims.planted_study import STEPS, TOKENS_A_STEP, evidence, grown, member, merged, seeds
from induction.analyse.claims import ablated
from induction.analyse.claims.judging import NotTestableError
from induction.tables.claims import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED
from induction.tables.idealised import AFTER_ONE, AFTER_TWO, PREVIOUS_TOKEN

LAST = int(STEPS[-1])
PREVIOUS, OTHER, INDUCTION, SECOND_BEST = (0, 0), (0, 1), (1, 0), (1, 1)
HEADS = [
    {"layer": 0, "head": 0, "previous_token": 0.7},
    {"layer": 0, "head": 1, "prefix_matching": 0.9, "copying": -0.2},
    {"layer": 1, "head": 0, "prefix_matching": 0.8, "copying": 0.5},
    {"layer": 1, "head": 1, "prefix_matching": 0.4, "copying": 0.5},
]
ONE_INDUCTION = HEADS[:3]
PAPERS = {"mode": "pattern-preserving", "replacement": "zero", "norm": "recomputed"}


def at(model, step=LAST):
    return {"model": model.name, "step": step, "tokens": step * TOKENS_A_STEP}


def ablations(model, effects):
    """Heads' changes and errors, among rows of other snapshots and choices that would turn every verdict."""
    rows = [at(model) | {"mode": "intact", "replacement": "none", "norm": "recomputed"}]
    for (layer, head), (change, error) in effects.items():
        row = PAPERS | {"layer": layer, "head": head, "icl_change": change, "icl_change_se": error}
        other = {"icl_change": -3 * change, "icl_change_se": 0.0}
        rows.append(at(model) | row)
        rows.append(at(model, LAST - 100) | row | other)
        for choice in ({"mode": "full"}, {"replacement": "mean"}, {"norm": "frozen"}):
            rows.append(at(model) | row | other | choice)
    return {"ablations": rows}


def attributions(model, undone):
    rows = []
    for (layer, head), (fraction, error) in undone.items():
        row = {"layer": layer, "head": head, "fraction_undone": fraction, "fraction_undone_se": error}
        rows.append(at(model) | row | {"mode": "pattern-preserving"})
        rows.append(at(model) | row | {"mode": "full", "fraction_undone": -fraction})
        rows.append(at(model, LAST - 100) | row | {"mode": "pattern-preserving", "fraction_undone": -fraction})
    return {"attributions": rows}


def recovered(model, shares, half=0.02):
    rows = []
    for pattern, share in shares.items():
        found = (
            {} if share is None else {"recovered": share, "recovered_low": share - half, "recovered_high": share + half}
        )
        rows.append(at(model) | {"pattern": pattern} | found)
    return {"idealised": rows}


def study(tables, models, heads=HEADS):
    """Each model has its heads and what a function of it returns."""
    return evidence(models, merged(*(grown(model, heads=heads) for model in models), *(map(tables, models))))


def attention_only(effects, heads=ONE_INDUCTION, n_seeds=1):
    return study(lambda model: ablations(model, effects), seeds("attn", n_seeds), heads)


@pytest.mark.parametrize(
    ("effects", "share", "verdict"),
    [
        ({INDUCTION: (0.5, 0.01), PREVIOUS: (0.02, 0.01), OTHER: (-0.4, 0.01)}, 0.5 / 0.52, SUPPORTED),
        ({INDUCTION: (0.1, 0.01), PREVIOUS: (0.5, 0.01), OTHER: (-0.4, 0.01)}, 0.1 / 0.6, NOT_SUPPORTED),
        ({INDUCTION: (0.5, 0.01), PREVIOUS: (0.25, 0.01), OTHER: (0.0, 0.01)}, 0.5 / 0.75, INCONCLUSIVE),
        ({INDUCTION: (0.17, 0.08), PREVIOUS: (0.0425, 0.08), OTHER: (-0.4, 0.01)}, 0.8, INCONCLUSIVE),
    ],
)
def test_share_of_induction_heads_in_what_ablations_cost(effects, share, verdict):
    (judged,) = ablated.from_induction_heads(attention_only(effects))
    assert judged.estimate.value == pytest.approx(share)
    assert judged.estimate.low < share < judged.estimate.high <= 1
    assert judged.verdict == verdict
    assert judged.reason.endswith("; one seed")


def test_the_dominant_class_is_named_with_its_share():
    (judged,) = ablated.from_induction_heads(
        attention_only({INDUCTION: (0.1, 0.01), PREVIOUS: (0.3, 0.01), OTHER: (0.1, 0.01)})
    )
    for words in (
        "0.50 nats",
        "20% are of induction",
        "60% of previous-token",
        "20% of other",
        "Previous-token heads dominate",
    ):
        assert words in judged.reason


def test_heads_that_may_cost_something_lower_the_interval():
    others = {(0, head): (-0.001, 0.05) for head in range(20)}
    heads = [HEADS[2], *({"layer": 0, "head": head} for head in range(20))]
    (judged,) = ablated.from_induction_heads(attention_only({INDUCTION: (0.5, 0.01), **others}, heads))
    assert judged.estimate.value == judged.estimate.high == 1
    noise = (
        20 * 0.05 / (2 * np.pi) ** 0.5
    )  # the mean of a normal variable's positive part is its deviation / sqrt(2 pi)
    assert judged.estimate.low < 0.5 / (0.5 + noise) < 0.75


def test_where_no_head_costs_anything_there_is_no_share():
    (judged,) = ablated.from_induction_heads(attention_only({INDUCTION: (-0.1, 0.01), OTHER: (0.0, 0.01)}))
    assert judged.estimate is None
    assert judged.verdict == INCONCLUSIVE


def test_of_noise_alone_there_is_no_share():
    effects = {(0, head): (0.01 * (-1) ** head, 0.002) for head in range(8)}
    heads = [{"layer": 0, "head": head} for head in range(8)]
    (judged,) = ablated.from_induction_heads(attention_only(effects, heads))
    assert judged.estimate is None
    assert judged.verdict == INCONCLUSIVE


def test_three_seeds_give_an_interval_over_seeds():
    models = seeds("attn", 3)
    costs = dict(zip((model.name for model in models), (0.2, 0.1, 0.3), strict=True))
    found = study(
        lambda model: ablations(model, {INDUCTION: (1 - costs[model.name], 0.3), PREVIOUS: (costs[model.name], 0.3)}),
        models,
        ONE_INDUCTION,
    )
    (judged,) = ablated.from_induction_heads(found)
    half = 4.302653 * 0.1 / 3**0.5  # Student's t of two degrees of freedom, the shares' deviation 0.1
    assert judged.estimate.over == "seeds"
    assert judged.estimate[:3] == pytest.approx((0.8, 0.8 - half, 0.8 + half), abs=1e-6)
    assert judged.verdict == SUPPORTED
    assert judged.reason.endswith("; 3 seeds")


def test_a_single_layer_is_a_subject_only_with_induction_heads_and_mlps_never():
    plain, smeared, mlp = (
        member("plain", n_layers=1),
        member("smeared", "s", n_layers=1, smeared_keys=True),
        member("mlp", d_mlp=512),
    )
    tables = [
        grown(plain, heads=HEADS[:2]),
        grown(smeared, heads=[HEADS[2] | {"layer": 0}]),
        grown(mlp, heads=HEADS),
        *(ablations(model, {(0, 0): (0.3, 0.01)}) for model in (plain, smeared, mlp)),
    ]
    (judged,) = ablated.from_induction_heads(evidence([plain, smeared, mlp], merged(*tables)))
    assert judged.subject == "s, 1 layer"


def test_without_attention_only_models_of_two_layers_the_message_says_what_to_add():
    with pytest.raises(NotTestableError, match=re.escape("add a family with d_mlp: 0 and n_layers: [2]")):
        ablated.from_induction_heads(
            study(lambda model: ablations(model, {(0, 0): (0.3, 0.01)}), [member("one", n_layers=1)], HEADS[:2])
        )


def others(*of_models):
    """Models beside whose induction head some heads raise by five errors, some lower by five, and some do neither."""
    models = [member(f"attn-{number}", d_model=64 * (number + 1)) for number in range(len(of_models))]
    tables = []
    for model, (n_raising, n_lowering, n_neither) in zip(models, of_models, strict=True):
        changes = [(-0.05, 0.01)] * n_raising + [(0.05, 0.01)] * n_lowering + [(-0.015, 0.01)] * n_neither
        heads = [*({"layer": 0, "head": head} for head in range(len(changes))), HEADS[2]]
        effects = {(0, head): change for head, change in enumerate(changes)} | {INDUCTION: (0.5, 0.01)}
        tables.append(merged(grown(model, heads=heads), ablations(model, effects)))
    return evidence(models, merged(*tables))


@pytest.mark.parametrize(
    ("of_models", "verdict"),
    [
        ([(12, 0, 0)] * 6, SUPPORTED),
        ([(1, 11, 0)] * 6, NOT_SUPPORTED),
        ([(7, 5, 0)] * 6, INCONCLUSIVE),
        ([(12, 0, 0)], INCONCLUSIVE),  # heads of one model are one observation
        ([(13, 0, 14)] * 6, INCONCLUSIVE),  # less than half surely raise, though all changes have that sign
        ([(12, 0, 0)] * 3 + [(0, 12, 0)] * 3, INCONCLUSIVE),
    ],
)
def test_other_heads_are_judged_by_model_with_their_errors(of_models, verdict):
    (judged,) = ablated.others_raise(others(*of_models))
    raised = np.mean([n_raising / sum(counts) for counts in of_models for n_raising in counts[:1]])
    n, z2 = len(of_models), stats.norm.ppf(0.975) ** 2
    half = (z2 * (raised * (1 - raised) / n + z2 / (4 * n * n))) ** 0.5  # Wilson's interval of n trials
    ends = [(raised + z2 / (2 * n) + sign * half) / (1 + z2 / n) for sign in (-1, 1)]
    assert judged.estimate[:3] == pytest.approx((raised, *ends))
    assert judged.estimate.over == "models"
    assert judged.verdict == verdict


def test_the_reason_gives_each_models_counts_and_a_sign_test_over_models():
    (judged,) = ablated.others_raise(others((3, 1, 0), (4, 0, 3), (2, 0, 2), (0, 1, 0), (1, 1, 0)))
    assert "rises without 10 of 18 other heads and falls without 3 (by model, of 1 or 2 or 4 or 7: " in judged.reason
    assert "attn-0 3 up and 1 down, attn-1 4 up and 0 down" in judged.reason
    # of four models in which they differ three have more: (4 + 1) / 2^4
    assert "in 3 of the models, fewer in 1 (one-sided sign test over models: 0.31); one seed" in judged.reason


def test_heads_of_all_attention_only_models_with_induction_heads_count():
    models = [member("a"), member("b", d_model=256), member("none", d_model=64), member("mlp", d_mlp=512)]
    heads = {"none": HEADS[:2]}
    found = evidence(
        models,
        merged(
            *(grown(model, heads=heads.get(model.name, ONE_INDUCTION)) for model in models),
            *(ablations(model, {PREVIOUS: (-0.1, 0.01), OTHER: (0.1, 0.01)}) for model in models),
        ),
    )
    (judged,) = ablated.others_raise(found)
    assert "without 2 of 4 other heads" in judged.reason
    assert "Mean share over 2 models: 50%" in judged.reason


def test_without_induction_heads_nothing_is_told_of_the_others():
    with pytest.raises(
        NotTestableError, match=r"attention-only model with an induction head \(prefix matching of 0.3 or more"
    ):
        ablated.others_raise(attention_only({PREVIOUS: (-0.1, 0.01)}, HEADS[:2]))


@pytest.mark.parametrize(
    ("of_others", "error", "verdict"), [(0.1, 0.02, SUPPORTED), (0.9, 0.02, NOT_SUPPORTED), (0.55, 0.2, INCONCLUSIVE)]
)
def test_the_foremost_induction_head_against_the_foremost_other(of_others, error, verdict):
    undone = {INDUCTION: (0.6, error), SECOND_BEST: (0.2, error), PREVIOUS: (of_others, error), OTHER: (-0.3, error)}
    (judged,) = ablated.extreme(study(lambda model: attributions(model, undone), [member("attn")]))
    assert judged.estimate.value == pytest.approx(0.6 - of_others)
    assert judged.verdict == verdict
    assert (
        f"60% of the window's change of the losses is undone, without the foremost other head {of_others:.0%}"
        in judged.reason
    )


def test_noise_of_many_other_heads_does_not_move_the_interval():
    undone = {INDUCTION: (0.5, 0.05), **{(0, head): (0.3, 0.05) for head in range(100)}}
    heads = [HEADS[2], *({"layer": 0, "head": head} for head in range(100))]
    (judged,) = ablated.extreme(study(lambda model: attributions(model, undone), [member("attn")], heads))
    middle = (judged.estimate.low + judged.estimate.high) / 2
    assert middle == pytest.approx(0.2, abs=0.05)  # the greatest of 100 noises is 2.5 errors, 0.13
    assert judged.verdict == SUPPORTED


def test_without_a_window_no_extreme_can_be_told():
    with pytest.raises(NotTestableError, match="needs a model with a window, an induction head"):
        ablated.extreme(study(lambda _: {}, [member("attn")]))


@pytest.mark.parametrize(
    ("cost", "error", "verdict"), [(0.2, 0.02, SUPPORTED), (0.0, 0.01, NOT_SUPPORTED), (0.06, 0.05, INCONCLUSIVE)]
)
def test_cost_of_the_best_induction_head_with_mlps(cost, error, verdict):
    found = study(
        lambda model: ablations(
            model,
            {INDUCTION: (cost if model.fields.d_mlp else 0.5, error), SECOND_BEST: (0.9, 0.01), OTHER: (0.9, 0.01)},
        ),
        [member("mlp", "mlp", d_mlp=512), member("attn")],
    )
    (judged,) = ablated.with_mlps(found)
    assert judged.subject == "mlp, 2 layers"
    assert judged.estimate.value == pytest.approx(cost)
    assert judged.verdict == verdict
    assert "an attention-only one otherwise like it 0.50 nats less" in judged.reason


def test_without_mlps_the_message_says_so():
    with pytest.raises(NotTestableError, match="needs a model with MLPs and an induction head"):
        ablated.with_mlps(attention_only({INDUCTION: (0.5, 0.01)}))


@pytest.mark.parametrize(
    ("shares", "gap", "verdict"),
    [
        ({PREVIOUS_TOKEN: 0.95, AFTER_ONE: 0.7, AFTER_TWO: 0.85}, 0.1, SUPPORTED),
        ({PREVIOUS_TOKEN: 0.95, AFTER_ONE: 0.3, AFTER_TWO: 0.75}, -0.35, NOT_SUPPORTED),
        ({PREVIOUS_TOKEN: 0.95, AFTER_ONE: 0.65, AFTER_TWO: 0.91}, 0.16, INCONCLUSIVE),
        ({AFTER_ONE: 0.65, AFTER_TWO: 0.76}, 0.01, INCONCLUSIVE),
        ({PREVIOUS_TOKEN: None, AFTER_ONE: 0.3, AFTER_TWO: 0.75}, -0.35, NOT_SUPPORTED),
    ],
)
def test_recovered_shares_against_the_papers(shares, gap, verdict):
    models = [member("two"), member("one", n_layers=1), member("mlp", "mlp", d_mlp=512)]
    (judged,) = ablated.idealised(study(lambda model: recovered(model, shares), models))
    assert judged.subject == "attn, 2 layers"
    assert judged.estimate[:3] == pytest.approx((gap, gap - 0.02, gap + 0.02))
    assert judged.verdict == verdict


def test_three_seeds_of_recovered_shares():
    shares = {"attn-s0": 0.6, "attn-s1": 0.65, "attn-s2": 0.7}
    tables = study(
        lambda model: recovered(
            model, {PREVIOUS_TOKEN: 0.99, AFTER_ONE: shares[model.name], AFTER_TWO: 0.75}, half=0.5
        ),
        seeds("attn", 3),
    )
    (judged,) = ablated.idealised(tables)
    assert judged.estimate.over == "seeds"
    assert judged.verdict == SUPPORTED  # 4.303 * 0.05 / sqrt(3) = 0.124


def test_without_idealised_heads_the_message_says_which_model_is_needed():
    with pytest.raises(NotTestableError, match="needs an attention-only model of two layers"):
        ablated.idealised(study(lambda _: {}, [member("attn")]))
