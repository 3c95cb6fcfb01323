"""Planted phase changes are found where they were put, and what is none gives none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import (
    EARLY_STEPS,
    INSIDE,
    MILLION,
    STEPS,
    TOKENS,
    TOKENS_A_STEP,
    example_losses,
    power_law,
    sigmoid_fall,
)

from induction.analyse.phases import Signal, search, window_row
from induction.analyse.windows import NoWindow, Window, bump_window, falling_window, smoothed_rate
from induction.resampling import resample_weights
from induction.study.analysis import Bootstrap, Phases

RULE = Phases()
BOOTSTRAP = Bootstrap(n_resamples=100)
WEIGHTS = resample_weights(1024, BOOTSTRAP)
N_WINDOW = 21 / 2  # tokens that halve the noise of a difference of two windows of 21
N_INDICES = 512

spacings = st.lists(st.floats(0.1, 10), min_size=5, max_size=40)


def icl_row(curve, steps=STEPS, seed=0):
    tokens = steps * float(TOKENS_A_STEP)
    values = example_losses(curve(tokens), 1024, N_WINDOW, seed)
    signal = Signal(
        "icl",
        values.mean(axis=1),
        WEIGHTS @ values.T,
        lambda c: falling_window(tokens, c, RULE.min_icl_drop_nats, RULE),
    )
    return window_row(search(signal), steps, tokens, 0.95, RULE.min_support)


def loss_row(curve, seed=0):
    values = example_losses(curve(TOKENS), 1024, N_INDICES, seed)
    signal = Signal("loss", values.mean(axis=1), WEIGHTS @ values.T, lambda c: bump_window(TOKENS, c, RULE))
    return window_row(search(signal), STEPS, TOKENS, 0.95, RULE.min_support)


def two_layers(tokens):
    wiggle = 0.05 * np.sin(6 * tokens / MILLION) * np.exp(-tokens / MILLION)
    return sigmoid_fall(tokens, 4 * MILLION, 6 * MILLION, 0.4) + wiggle


@given(spacings, st.floats(-5, 5), st.floats(0.3, 3))
def test_a_straight_line_keeps_its_rate_whatever_the_spacing(spacing, slope, smoothing):
    tokens = np.cumsum(spacing)
    np.testing.assert_allclose(smoothed_rate(tokens, slope * tokens, smoothing), slope, atol=1e-9)


@given(spacings, st.lists(st.floats(0, 5), min_size=40, max_size=40), st.floats(0.3, 3))
def test_a_convex_curve_stays_convex_and_has_no_bump(spacing, rates, smoothing):
    tokens = np.cumsum([1.0, *spacing])
    falling_rates = np.sort(rates)[::-1][: len(spacing)]
    curve = -np.cumsum([0.0, *falling_rates * spacing])
    smoothed = -smoothed_rate(tokens, curve, smoothing)
    assert (np.diff(smoothed) <= 1e-9).all()
    assert isinstance(bump_window(tokens, curve, Phases(smoothing_snapshots=smoothing)), NoWindow)


def test_intervals_cover_a_planted_fall():
    rows = [icl_row(two_layers, seed=seed) for seed in range(20)]
    assert all(row["found"] for row in rows)
    truth = {"start_tokens": 4 * MILLION, "midpoint_tokens": 5 * MILLION, "end_tokens": 6 * MILLION}
    for name, value in truth.items():
        covered = [row[f"{name}_low"] <= value <= row[f"{name}_high"] for row in rows]
        assert np.mean(covered) >= 0.8, name
    for row in rows:
        assert row["change"] == pytest.approx(-0.4 * INSIDE, abs=0.06)
        assert row["start_step"] * TOKENS_A_STEP <= row["start_tokens"] < row["midpoint_tokens"]
        assert row["midpoint_tokens"] < row["end_tokens"] <= row["end_step"] * TOKENS_A_STEP


def test_an_interval_is_never_narrower_than_the_snapshots_allow():
    tokens = STEPS * float(TOKENS_A_STEP)
    curve = two_layers(tokens)
    signal = Signal("icl", curve, np.tile(curve, (20, 1)), lambda c: falling_window(tokens, c, 0.12, RULE))
    row = window_row(search(signal), STEPS, tokens, 0.95, RULE.min_support)
    for place in ("start", "midpoint", "end"):
        low, high = row[f"{place}_tokens_low"], row[f"{place}_tokens_high"]
        assert {low, high} <= set(tokens.tolist())
        assert low < row[f"{place}_tokens"] < high


@pytest.mark.parametrize("steps", [STEPS, EARLY_STEPS], ids=["4-snapshots", "8-snapshots"])
def test_an_early_window_of_few_snapshots_is_found(steps):
    rows = [icl_row(lambda t: sigmoid_fall(t, 0.65 * MILLION, 1.35 * MILLION, 0.35), steps, seed) for seed in range(10)]
    assert np.mean([row["found"] for row in rows]) >= 0.8
    found = [row for row in rows if row["found"]]
    assert np.mean([row["midpoint_tokens_low"] <= MILLION <= row["midpoint_tokens_high"] for row in found]) >= 0.8
    assert all(row["end_tokens"] == pytest.approx(1.35 * MILLION, abs=0.3 * MILLION) for row in found)


def test_a_change_that_the_training_cuts_off_is_found_and_said_to_be_unfinished():
    row = icl_row(lambda t: sigmoid_fall(t, 6 * MILLION, 10 * MILLION, 0.6))
    assert row["found"]
    assert row["end_tokens"] == TOKENS[-1]
    assert "still under way at the last snapshot" in row["reason"]


@pytest.mark.parametrize(
    ("curve", "reason"),
    [
        pytest.param(lambda t: 0 * t, "is needed", id="flat"),
        pytest.param(lambda t: -0.4 * t / TOKENS[-1], "no beginning is seen", id="ramp"),
        pytest.param(lambda t: -0.17 * t / TOKENS[-1], "is needed|no beginning", id="one-layer-ramp"),
        pytest.param(lambda t: -0.17 * (1 - np.exp(-t / 3e6)), "is needed|no beginning", id="one-layer-slow"),
        pytest.param(lambda t: -0.4 * (1 - np.exp(-t / 1e6)), "no beginning is seen", id="exponential"),
        pytest.param(lambda t: 0.4 * t / TOKENS[-1], "is needed|never changes", id="rise"),
        pytest.param(lambda t: sigmoid_fall(t, 4 * MILLION, 6 * MILLION, 0.1), "0.12 is needed", id="small-fall"),
        pytest.param(
            lambda t: sigmoid_fall(t, 1 * MILLION, 7 * MILLION, 0.4), "times the training before", id="gradual"
        ),
    ],
)
def test_what_is_no_phase_change_gives_none(curve, reason):
    rows = [icl_row(curve, seed=seed) for seed in range(10)]
    assert sum(row["found"] for row in rows) <= 1  # noise may look like a window once in ten
    none = next(row for row in rows if not row["found"])
    assert none["start_tokens"] is none["end_step"] is none["change"] is None
    assert any(word in none["reason"] for word in reason.split("|"))


def test_a_slow_rise_does_not_swallow_the_jump_after_it():
    random = np.random.default_rng(0)
    tokens = np.arange(0, 5.6, 0.1) * MILLION
    slow = 0.2 * np.clip(tokens / MILLION - 0.2, 0, 1.5) / 1.5  # with the jump's beginning: 0.3 at 2M
    jump = -sigmoid_fall(tokens, 2 * MILLION, 3.4 * MILLION, 0.7)
    for _ in range(20):
        window = falling_window(tokens, 0.005 * random.standard_normal(len(tokens)) - slow - jump, 0.3, RULE)
        assert isinstance(window, Window)
        assert (window.start, window.end) == pytest.approx((2 * MILLION, 3.4 * MILLION), abs=0.3 * MILLION)


starts = st.floats(0.4, 2)
durations = st.floats(0.2, 4)
tails = st.lists(st.floats(0.02, 50), min_size=1, max_size=40)


@given(starts, durations, tails, st.integers(0, 9))
def test_a_flat_tail_of_any_length_changes_nothing(start, duration, tail, seed):
    reach = 2 * 4 + 1  # snapshots that the smoothing of both ends sees
    tokens = np.arange(0, start + 1.5 * duration + 0.1 * reach, 0.1)
    curve = sigmoid_fall(tokens, start, start + duration, 0.5)
    curve += 0.01 * np.random.default_rng(seed).standard_normal(len(tokens))
    curve[-reach:] = curve[-reach]
    longer = np.concatenate([tokens, tokens[-1] + np.cumsum(tail)])
    flat = np.concatenate([curve, np.full(len(tail), curve[-1])])
    assert falling_window(longer, flat, 0.12, RULE) == falling_window(tokens, curve, 0.12, RULE)


@given(st.floats(0.5, 2), st.floats(0.4, 1), tails, st.integers(0, 9))
def test_training_that_stops_at_the_end_of_a_change_sees_the_same_window(start, duration, tail, seed):
    tokens = np.arange(0, start + 1.5 * duration, 0.1)
    curve = sigmoid_fall(tokens, start, start + duration, 0.5)
    curve += 0.002 * np.random.default_rng(seed).standard_normal(len(tokens))
    longer = np.concatenate([tokens, tokens[-1] + np.cumsum([0.1] * 9 + tail)])
    flat = np.concatenate([curve, np.full(len(tail) + 9, curve[-1])])
    cut, whole = (falling_window(*given, 0.12, RULE) for given in ((tokens, curve), (longer, flat)))
    assert isinstance(cut, Window)
    assert isinstance(whole, Window)
    assert (cut.start, cut.end) == pytest.approx((whole.start, whole.end), abs=0.1)


def test_the_verdict_does_not_depend_on_the_unit_of_tokens():
    windows = [falling_window(TOKENS * unit, two_layers(TOKENS), 0.12, RULE) for unit in (1.0, 1000.0)]
    assert all(isinstance(window, Window) for window in windows)
    assert windows[1].end == pytest.approx(1000 * windows[0].end)


def test_few_snapshots_give_none():
    tokens = np.array([0.0, 1.0, 2.0])
    for found in (falling_window(tokens, -tokens, 0.1, RULE), bump_window(tokens, -tokens, RULE)):
        assert found == NoWindow("3 snapshots; at least 4 are needed")


def test_log_spaced_snapshots_do_not_make_an_early_wiggle_the_window():
    tokens = np.array([0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, *range(1000, 20_001, 1000)], dtype=float)
    curve = sigmoid_fall(tokens, 4000, 9000, 0.4) - 0.05 * (tokens == 4)
    window = falling_window(tokens, curve, 0.12, RULE)
    assert isinstance(window, Window)
    assert (window.start, window.end) == pytest.approx((4000, 9000), abs=1000)


def test_a_bump_planted_in_a_power_law_is_found_where_it_is():
    rows = [loss_row(lambda t: power_law(t) + sigmoid_fall(t, 4.3e6, 5.7e6, 0.25), seed=seed) for seed in range(10)]
    assert all(row["found"] for row in rows)
    for row in rows:
        assert row["midpoint_tokens_low"] <= 5 * MILLION <= row["midpoint_tokens_high"]
        assert 4 * MILLION < row["start_tokens"] < 5 * MILLION < row["end_tokens"] < 6 * MILLION


@pytest.mark.parametrize(
    "curve",
    [
        power_law,
        lambda t: 2 + 2 * np.exp(-t / 2e5) + 2.9 * (1 + t / 3e5) ** -0.3,
        lambda t: power_law(t) - 0.17 * t / TOKENS[-1],
        lambda t: power_law(t) + 0.03 * np.random.default_rng(3).standard_normal(len(t)),
        lambda t: 7 / (1 + np.exp((t - 4e5) / 8e4)) + power_law(t),
    ],
    ids=["power-law", "exponential", "one-layer", "scattered", "warm-up"],
)
def test_ordinary_learning_has_no_bump(curve):
    row = loss_row(curve)
    assert not row["found"]
    assert row["reason"].startswith("convex but for")


def test_a_window_without_support_is_none():
    curve = two_layers(TOKENS)
    resampled = np.vstack([np.tile(curve, (4, 1)), np.zeros((6, len(curve)))])
    signal = Signal("icl", curve, resampled, lambda c: falling_window(TOKENS, c, 0.12, RULE))
    row = window_row(search(signal), STEPS, TOKENS, 0.95, RULE.min_support)
    assert (row["found"], row["support"]) == (False, 0.4)
    assert "only 40% of the resamples" in row["reason"]
