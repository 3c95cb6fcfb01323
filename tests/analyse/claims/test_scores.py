"""Heads whose scores are planted."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from analyse.claims.planted_study import STEPS, TOKENS_A_STEP, evidence, grown, member, merged, seeds
from induction.analyse.claims import scores
from induction.analyse.claims.judging import NotTestableError
from induction.tables.claims import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED

LAST = int(STEPS[-1])
INDUCTION = {"prefix_matching": 0.8, "copying": 0.5}


def heads_of(*models_and_heads):
    """Each model's heads, among those of the snapshot before, which are all alike."""
    models = [model for model, _ in models_and_heads]
    tables = [grown(model, heads=heads) for model, heads in models_and_heads]
    earlier = [
        {"model": model.name, "step": LAST - 100, "tokens": (LAST - 100) * TOKENS_A_STEP, "layer": 0, "head": head}
        | {"prefix_matching": 0.9, "copying": -0.9, "ov_copying": 0.9, "qk_trace": -9.0}
        for model in models
        for head in range(2)
    ]
    return evidence(models, merged(*tables, {"heads": earlier}))


# --- the abstract task ------------------------------------------------------------------------------------------

LAYERS = [
    {"layer": 0, "head": 0},
    {"layer": 1, "head": 0, **INDUCTION},
    {"layer": 1, "head": 1},
    {"layer": 1, "head": 2},
    {"layer": 1, "head": 3},
]


def task(model, same_and_on_labels, error=0.01):
    return {
        "pattern_tasks": [
            {"model": model.name, "step": LAST, "layer": head["layer"], "head": head["head"], "chance": 0.24}
            | {"same_label": same, "same_label_se": error, "on_labels": on_labels}
            for head, (same, on_labels) in zip(LAYERS, same_and_on_labels, strict=True)
        ]
    }


def abstract(same_and_on_labels, error=0.01, heads=LAYERS):
    model = member("attn")
    tables = merged(grown(model, heads=heads), task(model, same_and_on_labels, error))
    return scores.abstract_task(evidence([model], tables))


@pytest.mark.parametrize(
    ("same", "error", "verdict"), [(0.45, 0.01, SUPPORTED), (0.26, 0.01, NOT_SUPPORTED), (0.33, 0.03, INCONCLUSIVE)]
)
def test_induction_heads_against_heads_that_look_at_labels_as_much(same, error, verdict):
    (judged,) = abstract([(0.9, 0.9), (same, 0.5), (0.3, 0.5), (0.2, 0.6), (0.9, 0.4)], error)
    assert judged.estimate.value == pytest.approx(same - (0.3 + 0.2) / 2, abs=1e-6)
    assert judged.verdict == verdict
    assert f"induction heads have {same:.1%}" in judged.reason
    assert "compared with 25.0%, and even attention 24.0%; one seed" in judged.reason


def test_where_no_head_looks_at_labels_as_much_all_others_of_the_layer_count():
    (judged,) = abstract([(0.9, 0.9), (0.5, 0.5), (0.3, 0.4), (0.2, 0.1), (0.1, 0.2)])
    assert judged.estimate.value == pytest.approx(0.5 - 0.2)


def test_the_error_is_that_of_a_difference_of_means():
    (judged,) = abstract([(0.9, 0.9), (0.5, 0.5), (0.3, 0.5), (0.2, 0.6), (0.9, 0.4)], error=0.1)
    expected = 2 * 1.96 * 0.1 * (1 + 1 / 2) ** 0.5
    assert judged.estimate.high - judged.estimate.low == pytest.approx(expected, rel=0.3)  # of 40 resamples


def test_a_study_that_does_not_measure_the_task_is_told_how_to():
    model = member("attn")
    with pytest.raises(NotTestableError, match=r"needs table pattern_tasks.*add case_studies to the study's figures"):
        scores.abstract_task(evidence([model], grown(model, heads=LAYERS)))


def test_without_an_induction_head_on_the_task_the_message_says_so():
    with pytest.raises(NotTestableError, match="needs a model with an induction head, and other heads in its layer"):
        abstract([(0.25, 0.5)] * 5, heads=LAYERS[:1])


# --- what weights say -------------------------------------------------------------------------------------------


def related(n_heads, of_copying, of_prefix_matching, seed=0):
    """Heads in half of which the scores follow the weights as closely as is said: correlations of normal variables."""
    random = np.random.default_rng(seed)
    rows = [{"layer": 1, "head": head} for head in range(n_heads)]
    for (score, weight), correlation in (
        (("copying", "ov_copying"), of_copying),
        (("prefix_matching", "qk_trace"), of_prefix_matching),
    ):
        x, noise = random.standard_normal((2, n_heads))
        y = correlation * x + (1 - correlation**2) ** 0.5 * noise
        for row, a, b in zip(rows, stats.norm.cdf(x), stats.norm.cdf(y), strict=True):
            row |= {score: float(a), weight: float(b)}
    return rows


def among_models(rows, n_models, **fields):
    """Heads dealt out among models of several widths."""
    each = len(rows) // n_models
    return heads_of(
        *(
            (member(f"model-{number}", d_model=64 * (number + 1), **fields), rows[number * each : (number + 1) * each])
            for number in range(n_models)
        )
    )


@pytest.mark.parametrize(
    ("correlations", "n_heads", "n_models", "verdict"),
    [
        ((0.9, 0.7), 100, 5, SUPPORTED),
        ((0.9, 0.0), 400, 5, NOT_SUPPORTED),
        ((0.0, 0.9), 400, 5, NOT_SUPPORTED),
        ((0.9, 0.5), 16, 4, INCONCLUSIVE),
        ((0.9, 0.7), 100, 2, INCONCLUSIVE),  # judged over three models or more
    ],
)
def test_rank_correlations_with_the_weights(correlations, n_heads, n_models, verdict):
    rows = related(n_heads, *correlations)
    (judged,) = scores.weights(among_models(rows, n_models))
    smaller = min(
        stats.spearmanr([row[x] for row in rows], [row[y] for row in rows]).statistic
        for x, y in (("copying", "ov_copying"), ("prefix_matching", "qk_trace"))
    )
    assert judged.estimate.value == pytest.approx(smaller)
    assert judged.verdict == verdict
    assert judged.reason.endswith("; one seed")


def test_a_correlation_that_models_do_not_share_is_not_sure():
    """Heads of a model that lie together are one observation: of four clusters the order may be chance."""
    random = np.random.default_rng(0)
    centres = [(0.2, 0.3), (0.5, 0.2), (0.6, 0.8), (0.9, 0.6)]
    rows = [
        {"layer": 1, "head": head, "copying": x + noise, "ov_copying": y + random.normal(0, 0.01)}
        | {"prefix_matching": head / 100, "qk_trace": head / 100}
        for x, y in centres
        for head, noise in enumerate(random.normal(0, 0.01, 25))
    ]
    (judged,) = scores.weights(among_models(rows, 4))
    over_heads = scores.rank_correlation(
        pl.Series([row["copying"] for row in rows]), pl.Series([row["ov_copying"] for row in rows]), 0.95
    )
    assert over_heads.low > 0.3
    assert judged.estimate.low < over_heads.low
    assert (judged.estimate.over, judged.verdict) == ("models", INCONCLUSIVE)


def test_models_without_traces_leave_the_claim_open_but_can_fail_it():
    for of_copying, verdict in ((0.9, INCONCLUSIVE), (0.0, NOT_SUPPORTED)):
        rows = [row | {"qk_trace": None} for row in related(400, of_copying, 0.9)]
        (judged,) = scores.weights(among_models(rows, 4, d_mlp=512))
        assert judged.verdict == verdict
        assert "prefix matching and the trace of the QK circuit not known, over 0 heads" in judged.reason


def test_three_heads_have_no_interval():
    with pytest.raises(NotTestableError, match="needs 4 or more heads that differ in their scores: 3 heads"):
        scores.weights(heads_of((member("attn"), related(3, 0.9, 0.9))))


def test_the_interval_covers_the_correlation_as_often_as_it_says():
    rho, n_heads, n_draws = 0.5, 20, 400
    spearman = 6 / np.pi * np.arcsin(rho / 2)  # of a bivariate normal
    covered = 0
    for seed in range(n_draws):
        rows = pl.DataFrame(related(n_heads, rho, 0.0, seed))
        estimate = scores.rank_correlation(rows["copying"], rows["ov_copying"], 0.95)
        covered += estimate.low <= spearman <= estimate.high
    assert covered / n_draws == pytest.approx(0.95, abs=0.03)


def test_a_perfect_order_of_few_heads_is_not_sure():
    estimate = scores.rank_correlation(pl.Series([1.0, 2, 3, 4]), pl.Series([1.0, 2, 3, 4]), 0.95)
    assert estimate.value == 1
    assert estimate.low < 0.3


# --- heads that match prefixes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_models", "verdict"),
    [([10] * 6, SUPPORTED), ([0] * 6, NOT_SUPPORTED), ([6] * 6, INCONCLUSIVE), ([10], INCONCLUSIVE)],
)
def test_share_of_prefix_matching_heads_that_copy(of_models, verdict):
    unsure = {"layer": 0, "head": 0, "prefix_matching": 0.2, "prefix_matching_se": 0.06, "copying": 0.5}

    def heads(n_copying):
        matching = [
            {"layer": 1, "head": head, "prefix_matching": 0.2, "prefix_matching_se": 0.01}
            | {"copying": 0.1 if head < n_copying else -0.1}
            for head in range(10)
        ]
        return [*matching, unsure]

    found = heads_of(*((member(f"m{at}", d_model=64 * (at + 1)), heads(n)) for at, n in enumerate(of_models)))
    (judged,) = scores.copies(found)
    assert judged.estimate.value == np.mean(of_models) / 10
    assert judged.estimate.over == "models"
    assert judged.verdict == verdict


def test_without_heads_that_match_prefixes_the_message_says_so():
    with pytest.raises(NotTestableError, match=r"prefix matching is above 0\.1 by two standard errors: none"):
        scores.copies(heads_of((member("attn"), [{"layer": 0, "head": 0, "prefix_matching": 0.09}])))


# --- layers -----------------------------------------------------------------------------------------------------


def sitting(n_there, n_elsewhere, there, elsewhere):
    places = [there] * n_there + [elsewhere] * n_elsewhere
    return [{"layer": layer, "head": head, **INDUCTION} for head, layer in enumerate(places)]


@pytest.mark.parametrize(
    ("shape", "there", "elsewhere", "subject"),
    [
        ({"n_layers": 3}, 2, 1, "attention-only models of three and more layers"),
        ({"n_layers": 4}, 3, 2, "attention-only models of three and more layers"),
        ({"n_layers": 5, "d_mlp": 512}, 3, 4, "models of 5 and 6 layers with MLPs"),
        ({"n_layers": 6, "d_mlp": 512}, 4, 5, "models of 5 and 6 layers with MLPs"),
        ({"n_layers": 24, "d_mlp": 512}, 11, 12, "models of 24 and 40 layers with MLPs"),
        ({"n_layers": 40, "d_mlp": 512}, 19, 20, "models of 24 and 40 layers with MLPs"),
    ],
)
def test_layers_of_induction_heads(shape, there, elsewhere, subject):
    for (n_there, n_elsewhere), verdict in {(9, 0): SUPPORTED, (0, 9): NOT_SUPPORTED, (5, 4): INCONCLUSIVE}.items():
        rows = [*sitting(n_there, n_elsewhere, there, elsewhere), {"layer": elsewhere, "head": 20}]
        models = [member(f"model-{width}", d_model=width, **shape) for width in (64, 128, 256, 512)]
        (judged,) = scores.layers(heads_of(*((model, rows) for model in models)))
        assert judged.subject == subject
        assert judged.estimate.value == n_there / 9
        assert judged.verdict == verdict


def test_shapes_of_which_the_paper_says_nothing_are_left_out():
    shapes = [{"n_layers": 1}, {"n_layers": 2}, {"n_layers": 3, "smeared_keys": True}, {"n_layers": 3, "d_mlp": 512}]
    models = [(member(f"model-{number}", **shape), sitting(3, 0, 0, 0)) for number, shape in enumerate(shapes)]
    with pytest.raises(
        NotTestableError,
        match="needs an attention-only model of three or more layers with plain keys, or one of 5, 6, 24",
    ):
        scores.layers(heads_of(*models))


# --- anti-copying -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("copying", "matching", "counts", "verdict"),
    [
        ((-0.5, 0.1), (0.8, 0.1), (1, 1, 1), SUPPORTED),
        ((-0.2, 0.1), (0.8, 0.1), (1, 0, 1), INCONCLUSIVE),
        ((-0.5, 0.1), (0.25, 0.1), (0, 0, 1), INCONCLUSIVE),
        ((0.4, 0.1), (0.8, 0.1), (0, 0, 0), NOT_SUPPORTED),
        ((-0.5, 0.1), (0.02, 0.1), (0, 0, 0), NOT_SUPPORTED),
    ],
)
def test_heads_that_match_prefixes_and_anti_copy(copying, matching, counts, verdict):
    rows = [
        {"layer": 16, "head": 0, "copying": copying[0], "copying_se": copying[1]}
        | {"prefix_matching": matching[0], "prefix_matching_se": matching[1]},
        {"layer": 16, "head": 1, **INDUCTION},
    ]
    shallow = [{"layer": 15, "head": 0, "copying": -0.9, "prefix_matching": 0.9}]
    found = heads_of((member("deep", n_layers=17), rows), (member("shallow", n_layers=16), shallow))
    (judged,) = scores.anti_copying(found)
    assert judged.estimate[:3] == counts
    assert judged.verdict == verdict


def test_sixteen_layers_are_not_enough():
    with pytest.raises(
        NotTestableError, match="needs a model of more than 16 layers: none in this study; add 17 or more"
    ):
        scores.anti_copying(heads_of((member("attn", n_layers=16), [{"layer": 0, "head": 0}])))


def test_a_share_of_heads_is_over_models():
    copying = {0: 2, 1: 4, 2: 3}  # of four heads

    def rows(seed):
        signs = [0.5] * copying[seed] + [-0.5] * (4 - copying[seed])
        return [{"layer": 1, "head": head, **INDUCTION, "copying": sign} for head, sign in enumerate(signs)]

    (judged,) = scores.copies(heads_of(*((model, rows(model.fields.seed)) for model in seeds("attn", 3))))
    z2 = stats.norm.ppf(0.975) ** 2
    half = (z2 * (0.75 * 0.25 / 3 + z2 / 36)) ** 0.5  # Wilson's interval of three trials
    ends = [(0.75 + z2 / 6 + sign * half) / (1 + z2 / 3) for sign in (-1, 1)]
    assert judged.estimate[:3] == pytest.approx((0.75, *ends))
    assert (judged.estimate.over, judged.verdict) == ("models", INCONCLUSIVE)
    assert judged.reason.endswith("; 3 seeds")


def test_a_correlation_is_over_seeds_where_there_are_enough():
    def rows(model):
        scattered = np.random.default_rng(model.fields.seed).normal(0, 0.3, 12)
        return [
            {"layer": 1, "head": head, "copying": head / 12, "ov_copying": head / 12 + scattered[head]}
            | {"prefix_matching": head / 12, "qk_trace": float(head)}
            for head in range(12)
        ]

    models = seeds("attn", 3)
    (judged,) = scores.weights(heads_of(*((model, rows(model)) for model in models)))
    each = [stats.spearmanr([r["copying"] for r in rows(m)], [r["ov_copying"] for r in rows(m)])[0] for m in models]
    assert judged.estimate.over == "seeds"
    assert judged.estimate.value == pytest.approx(np.mean(each))
