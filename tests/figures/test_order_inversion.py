"""The figure `order_inversion`: slopes over ln(tokens) are those planted, and so is the order of the sizes."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from drawings import bands, drawn, inputs_of, lines, notes, only
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from simulated_tables import DEMO, SEEDS, SIX, STEPS, TOKENS_A_STEP, write_tables

from induction.figures import theme
from induction.figures.order_inversion import draw, log_slope, order

TURN = 3e6
"""Tokens at which the planted order turns over."""


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("six"), SIX)


def planted(inputs, before, after):
    """Inputs whose mean loss has one slope over ln(tokens) for each model before `TURN`, and another after it."""
    curves = inputs.tables["curves"]
    x = np.log(np.maximum(curves["tokens"].to_numpy(), 1) / TURN)
    first, second = (np.array([slopes[name] for name in curves["model"]]) for slopes in (before, after))
    loss = 10 + np.where(x < 0, first, second) * x
    return replace(inputs, tables=inputs.tables | {"curves": curves.with_columns(mean_loss=pl.Series(loss))})


def of_depth(models, slope):
    return {model.name: slope(model.n_layers) for model in models}


@given(st.lists(st.floats(0.01, 3), min_size=2, max_size=40), st.floats(-3, 3), st.floats(0, 10))
def test_a_straight_line_over_ln_tokens_keeps_its_slope_however_snapshots_lie(gaps, slope, level):
    tokens = np.exp(np.cumsum([5.0, *gaps]))
    np.testing.assert_allclose(log_slope(tokens, level + slope * np.log(tokens)), slope, atol=1e-6)


def test_noise_is_smoothed_over_an_eighth_of_the_tokens_or_so():
    tokens = np.exp(np.linspace(5, 10, 1001))
    noise = np.random.default_rng(0).normal(0, 0.1, len(tokens))
    slope = log_slope(tokens, noise)[200:-200]
    # Weighted least squares: variance = noise² Σ w² x² / (Σ w x²)² of Gaussian weights of deviation s, spacing d.
    s, d = 0.15, 0.005
    assert slope.std() == pytest.approx(0.1 * np.sqrt(d / (4 * np.sqrt(np.pi) * s**3)), rel=0.3)


@given(st.lists(st.lists(st.integers(-5, 5), min_size=4, max_size=4), min_size=3, max_size=6))
def test_the_order_is_the_rank_correlation_of_size_and_fall(rows):
    fall = np.array(rows, dtype=float)
    n_layers = np.arange(1, len(fall) + 1)
    for found, column in zip(order(n_layers.tolist(), fall), fall.T, strict=True):
        expected = 0 if len(set(column)) == 1 else spearmanr(n_layers, column).statistic
        assert found == pytest.approx(expected)


def test_an_order_that_turns_over_is_seen_to(six):
    inputs = inputs_of("order_inversion", six, SIX)
    before, after = of_depth(SIX, lambda n: -0.1 * n), of_depth(SIX, lambda n: -0.7 + 0.1 * n)
    above, below = draw(planted(inputs, before, after)).axes
    tokens = STEPS[1:] * TOKENS_A_STEP
    early, late = tokens < TURN / 2, tokens > 2 * TURN
    for model in SIX:
        line = only(above, f"{model.n_layers} layer{'s' * (model.n_layers > 1)}")
        np.testing.assert_array_equal(line.get_xdata(), tokens)
        np.testing.assert_allclose(line.get_ydata()[early], before[model.name], atol=5e-3)
        np.testing.assert_allclose(line.get_ydata()[late], after[model.name], atol=5e-3)
    rank = only(below, "order").get_ydata()
    np.testing.assert_allclose(rank[early], 1)
    np.testing.assert_allclose(rank[late], -1)
    assert below.get_title() == "ρ over 6 sizes"
    assert len(bands(above)) == len(bands(below)) == 5


def test_of_two_sizes_the_difference_is_shown_and_of_one_nothing(tmp_path):
    paths = write_tables(tmp_path)
    slopes = {model.name: slope for model, slope in zip(DEMO, (-0.2, -0.5, -0.3, -0.1, -0.4), strict=True)}
    figure = draw(planted(inputs_of("order_inversion", paths), slopes, slopes))
    assert [axis.get_title() for axis in figure.axes[:3]] == ["attention-only", "smeared keys", "with MLPs"]
    attention, smeared, mlp = figure.axes[3:]
    np.testing.assert_allclose(only(attention, "difference").get_ydata(), 0.3, atol=1e-6)
    np.testing.assert_allclose(only(smeared, "difference").get_ydata(), -0.2, atol=1e-6)
    assert notes(mlp) == ["one size:\nno order"]
    assert not mlp.lines


def test_the_slopes_of_all_variants_share_an_axis(tmp_path):
    _, _, axes = drawn("order_inversion", write_tables(tmp_path))
    assert len({axis.get_ylim() for axis in axes[:3]}) == 1


def test_seeds_are_thin_beneath_their_mean(tmp_path):
    _, _, (above, below) = drawn("order_inversion", write_tables(tmp_path, SEEDS), SEEDS)
    assert [line.get_linewidth() for line in lines(above, "seed")] == [theme.THIN] * 6
    mean = np.mean([line.get_ydata() for line in lines(above, "seed")[3:]], axis=0)
    np.testing.assert_allclose(only(above, "2 layers").get_ydata(), mean)
    assert len(lines(below, "difference")) == 1


@pytest.mark.parametrize("steps", [STEPS[:0], STEPS[:1], STEPS[:3]], ids=["none", "one", "two after the first"])
def test_too_few_snapshots_for_a_slope_are_said_to_be(tmp_path, steps):
    _, _, axes = drawn("order_inversion", write_tables(tmp_path, SIX[:2], steps=steps), SIX[:2])
    assert all(notes(axis) for axis in axes)
    assert not any(axis.lines for axis in axes)


def test_a_model_without_snapshots_leaves_the_others_their_order(tmp_path):
    paths = write_tables(tmp_path, SIX)
    without = [path for path in paths if f"model={SIX[5].name}" not in path.parts]
    _, _, (above, below) = drawn("order_inversion", without, SIX)
    assert not lines(above, "6 layers")
    assert below.get_title() == "ρ over 5 sizes"
