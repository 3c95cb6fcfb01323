"""The definitions of docs/definitions.md, computed a second time from that page alone, by plain loops."""

import math
import statistics

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import MILLION, STEPS, TOKENS, TWELVE, sigmoid_fall, write_heads, write_jump

from induction.analyse.attributions import before_after
from induction.analyse.pca import shared_components, turning_angles, turns
from induction.analyse.phases import phases
from induction.analyse.repetitions import mean_by_class
from induction.analyse.signals import signals_and_shape
from induction.analyse.windows import Window, bump_window, falling_window
from induction.corpus.token_classes import classes_of
from induction.resampling import interval, resample_weights, standard_error
from induction.study.analysis import Bootstrap, Phases
from induction.tables.losses import LOSSES
from induction.tables.phases import PHASES
from induction.tables.repetitions import CLASSES

RULE = Phases()


# --- 9. windows -------------------------------------------------------------------------------------------------


def rates_of(t, c, s):
    reach, n = int(4 * s + 0.5), len(t) - 1
    rates = []
    for k in range(n):
        falls = widths = 0.0
        for j in range(n):
            if abs(k - j) <= reach:
                weight = math.exp(-((k - j) ** 2) / (2 * s**2))
                falls += weight * (c[j] - c[j + 1])
                widths += weight * (t[j + 1] - t[j])
        rates.append(falls / widths)
    return rates


def linear(x, xs, ys):
    """Linear interpolation; x is within xs."""
    for k in range(len(xs) - 1):
        if xs[k] <= x <= xs[k + 1]:
            return ys[k] + (ys[k + 1] - ys[k]) * (x - xs[k]) / (xs[k + 1] - xs[k])
    raise AssertionError(x)


def crossing(level, outside, inside, at_outside, at_inside):
    if level <= outside:
        return at_outside
    if level >= inside:
        return at_inside
    return at_outside + (at_inside - at_outside) * (level - outside) / (inside - outside)


def window_of(t, c, least_fall, rule=RULE):
    """Section 9: start, midpoint and end, or None."""
    n = len(t) - 1
    if n + 1 < 4:
        return None
    rate = rates_of(t, c, rule.smoothing_snapshots)
    middle = [(t[k] + t[k + 1]) / 2 for k in range(n)]
    found = []
    for peak in range(n):
        beside = [rate[k] for k in (peak - 1, peak + 1) if 0 <= k < n]
        if rate[peak] <= 0 or any(rate[peak] < other for other in beside):
            continue
        first = last = peak
        while True:
            span = range(first, last + 1)
            mean = sum(rate[k] * (t[k + 1] - t[k]) for k in span) / (t[last + 1] - t[first])
            level = rule.rate_fraction * mean
            above = [0.0]
            for k in range(n):
                above.append(above[-1] + (rate[k] - level) * (t[k + 1] - t[k]))
            lowest = min(range(peak + 1), key=lambda m: (above[m], m))
            highest = max(range(peak + 1, n + 1), key=lambda m: (above[m], -m))
            wider = min(first, lowest), max(last, highest - 1)
            if wider == (first, last):
                break
            first, last = wider
        if max(rate[first : last + 1]) > rate[peak]:
            continue
        start = t[0] if first == 0 else crossing(level, rate[first - 1], rate[first], middle[first - 1], middle[first])
        end = t[n] if last == n - 1 else crossing(level, rate[last + 1], rate[last], middle[last + 1], middle[last])
        fall, duration = linear(start, t, c) - linear(end, t, c), end - start
        if fall < least_fall or start == t[0] or duration > rule.max_duration * (start - t[0]):
            continue
        earlier = max(t[0], start - duration)
        before = max(0.0, (linear(earlier, t, c) - linear(start, t, c)) / (start - earlier))
        if fall / duration >= rule.min_abruptness * before:
            found.append((fall, start, middle[peak], end))
    return max(found)[1:] if found else None


def places(window):
    return (window.start, window.midpoint, window.end) if isinstance(window, Window) else None


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 40), st.sampled_from([0.5, 1.0, 2.5]), st.floats(0.02, 0.6))
def test_windows(seed, n_snapshots, smoothing, noise):
    """A fall somewhere in a decay, with noise and uneven snapshots: often a window, often none."""
    random = np.random.default_rng(seed)
    t = np.cumsum(random.uniform(0.2, 3, n_snapshots))
    at, width = random.uniform(0, t[-1]), random.uniform(0.2, 3)
    curve = (
        -1 / (1 + np.exp(-(t - at) / width))
        + random.uniform(0, 2) * np.exp(-t)
        + noise * random.normal(size=n_snapshots).cumsum() / n_snapshots**0.5
    )
    rule = RULE.model_copy(update={"smoothing_snapshots": smoothing})
    expected = window_of(t.tolist(), curve.tolist(), 0.12, rule)
    assert places(falling_window(t, curve, 0.12, rule)) == (expected and pytest.approx(expected, rel=1e-9))


def test_planted_windows_are_found_by_both():
    """So that the comparison above is not of nothing with nothing."""
    found = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        curve = sigmoid_fall(TOKENS, 4 * MILLION, 6 * MILLION, 0.5) + 0.02 * random.normal(size=len(TOKENS))
        expected = window_of(TOKENS.tolist(), curve.tolist(), 0.12)
        assert places(falling_window(TOKENS, curve, 0.12, RULE)) == (expected and pytest.approx(expected, rel=1e-9))
        found += expected is not None
    assert found > 50


def hull_below(t, s):
    """Points that no line between two others passes below."""
    kept = []
    for m in range(len(t)):
        below = any(
            s[a] + (s[b] - s[a]) * (t[m] - t[a]) / (t[b] - t[a]) <= s[m] for a in range(m) for b in range(m + 1, len(t))
        )
        if not below:
            kept.append(m)
    return kept


def bump_of(t, c, rule=RULE):
    n = len(t) - 1
    fall = rates_of(t, c, rule.smoothing_snapshots)
    change = [-fall[k] * (t[k + 1] - t[k]) for k in range(n)]
    smooth = [0.0]
    for one in change:
        smooth.append(smooth[-1] + one)
    hull = hull_below(t, smooth)
    heights = [
        0.0 if m < hull[1] else smooth[m] - linear(t[m], [t[h] for h in hull], [smooth[h] for h in hull])
        for m in range(n + 1)
    ]
    top = heights.index(max(heights))
    end = next(h for h in hull if h >= top)
    off = [(c[k + 1] - c[k]) - change[k] for k in range(n)][: max(end, 4)]
    middle = statistics.median(off)
    scatter = 1.4826 * statistics.median(abs(one - middle) for one in off)
    if heights[top] < max(rule.min_bump_nats, rule.min_bump_over_scatter * scatter):
        return None
    steepest = max(range(top, end), key=lambda k: (fall[k], -k))
    return t[top], (t[steepest] + t[steepest + 1]) / 2, t[end]


def test_bumps():
    found = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        t = np.cumsum(random.uniform(0.5, 1.5, 30))
        size = random.choice([0.0, 0.4])
        loss = 3 * np.exp(-t / 12) - size / (1 + np.exp(-(t - 16) / 0.8)) + 0.003 * random.normal(size=30)
        expected = bump_of(t.tolist(), loss.tolist())
        assert places(bump_window(t, loss, RULE)) == (expected and pytest.approx(expected, rel=1e-9))
        found += expected is not None
    assert 20 < found < 55


def test_which_head_is_followed_and_support(tmp_path):
    folder, bootstrap = tmp_path / "model=m", Bootstrap(n_resamples=40)
    parts = write_jump(folder, 0.4)
    scores = [0.1 - sigmoid_fall(TOKENS, at * MILLION, (at + 1) * MILLION, size) for at, size in ((2, 0.5), (5, 0.8))]
    parts["heads"] = [write_heads(folder / "two.parquet", STEPS, {"prefix_matching": np.stack(scores, axis=1)})]
    out = folder / "phases.parquet"
    phases(**parts, in_context=TWELVE, bootstrap=bootstrap, phases=RULE, out=out, onsets_out=folder / "onsets.parquet")
    rows = {row["signal"]: row for row in PHASES.read(out).iter_rows(named=True)}
    curves = {
        "prefix_matching": max(scores, key=lambda score: score[-1]),
        "best_prefix_matching": [max(one) for one in zip(*scores, strict=True)],
    }
    for signal, curve in curves.items():
        fallen = [-value for value in curve]
        start, midpoint, end = window_of(TOKENS.tolist(), fallen, RULE.min_score_rise)
        row = rows[signal]
        told = [row[f"{place}_tokens"] for place in ("start", "midpoint", "end")]
        assert told == pytest.approx([start, midpoint, end], rel=1e-5)
        assert row["start_step"] == max(step for step, t in zip(STEPS, TOKENS, strict=True) if t <= start)
        assert row["end_step"] == min(step for step, t in zip(STEPS, TOKENS, strict=True) if t >= end)
        change = linear(end, TOKENS.tolist(), list(curve)) - linear(start, TOKENS.tolist(), list(curve))
        assert row["change"] == pytest.approx(change, rel=1e-5)

    # Support of icl: the resamples drawn as section 3 says, each curve judged by section 9.
    losses_SEI = pl.concat([LOSSES.read(part) for part in parts["losses"]]).sort("step", "example")
    losses_SEI = losses_SEI["loss"].to_numpy().astype(float).reshape(len(STEPS), 256, 12)
    (a, b), (d, e) = TWELVE.late_window, TWELVE.early_window
    icl_SE = losses_SEI[..., a - 1 : b].mean(-1) - losses_SEI[..., d - 1 : e].mean(-1)
    random = np.random.default_rng(bootstrap.seed)
    n_found = 0
    for _ in range(bootstrap.n_resamples):
        drawn = random.integers(256, size=256)
        n_found += window_of(TOKENS.tolist(), icl_SE[:, drawn].mean(1).tolist(), RULE.min_icl_drop_nats) is not None
    assert rows["icl"]["support"] == n_found / bootstrap.n_resamples


# --- 2, 3, 6: losses, resampling, before-and-after ---------------------------------------------------------------


def test_losses_of_an_example(tmp_path):
    random = np.random.default_rng(0)
    losses_EI = random.uniform(0, 9, (5, 14)).astype(np.float32)
    index_E = [1, 14, 3, 7, 9]
    path = tmp_path / "model=m" / "part.parquet"
    LOSSES.write(path, {"step": 0, "tokens": 0, "example": np.arange(5), "loss": losses_EI})
    found = signals_and_shape([path], np.array(index_E), TWELVE).by_example_SE
    for e, losses in enumerate(losses_EI.astype(float).tolist()):
        logs = [math.log(i) for i in range(TWELVE.early, 15)]
        tail = losses[TWELVE.early - 1 :]
        x, y = statistics.fmean(logs), statistics.fmean(tail)
        slope = sum((a - x) * (b - y) for a, b in zip(logs, tail, strict=True)) / sum((a - x) ** 2 for a in logs)
        expected = {
            "loss": losses[index_E[e] - 1],
            "mean_loss": sum(losses) / 14,
            "icl_score": losses[TWELVE.late - 1] - losses[TWELVE.early - 1],
            "icl_windowed": statistics.fmean(losses[8:12]) - statistics.fmean(losses[1:4]),
            "late_slope": slope,
            "loss_at_ten": statistics.fmean(losses[7:12]),
        }
        for name, value in expected.items():
            assert found[name][0, e] == pytest.approx(value, abs=1e-6), name


def test_resamples():
    bootstrap = Bootstrap(n_resamples=30, seed=4)
    values = np.random.default_rng(1).normal(size=17)
    random = np.random.default_rng(4)
    means = sorted(statistics.fmean(values[random.integers(17, size=17)]) for _ in range(30))
    resampled = resample_weights(17, bootstrap) @ values
    np.testing.assert_allclose(sorted(resampled), means)
    place = 0.025 * 29
    low = means[0] + (means[1] - means[0]) * place
    assert interval(resampled, 0.95)[0] == pytest.approx(low)
    assert standard_error(resampled) == pytest.approx(statistics.stdev(means))


def test_before_and_after():
    random = np.random.default_rng(2)
    change, window = random.normal(size=9), random.normal(size=9)
    dot = sum(a * w for a, w in zip(change, window, strict=True))
    length = math.sqrt(sum(w * w for w in window))
    undone, fraction = before_after(change[None], window, np.full((1, 9), 1 / 9))
    assert (undone.item(), fraction.item()) == (pytest.approx(dot / length), pytest.approx(-dot / length**2))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=25), st.integers(1, 3))
def test_repetitions(tokens, prefix):
    classes, _ = classes_of(np.array([tokens]), prefix)
    for i, token in enumerate(tokens):
        before = tokens[i - prefix : i] if i >= prefix else None
        followed = [tokens[j] for j in range(prefix, i) if before and tokens[j - prefix : j] == before]
        expected = "other" if not followed else "continued" if token in followed else "broken"
        assert CLASSES[classes[0, i]] == expected


def test_the_loss_of_a_class_is_a_ratio_of_sums():
    sums, counts = np.array([[[6.0, 1.0]]]), np.array([[3, 1]])
    assert mean_by_class(sums, counts, np.ones((1, 2))).item() == 7 / 4


# --- 10. principal components and turns ---------------------------------------------------------------------------


def angle_between(a, b):
    cosine = (a[0] * b[0] + a[1] * b[1]) / math.hypot(*a) / math.hypot(*b)
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def turn_at(moves, s, smoothing):
    def half_gaussian(u):
        return math.exp((1 / 4 - u**2) / (2 * (2 * smoothing) ** 2))

    before, after = [0.0, 0.0], [0.0, 0.0]
    for j, move in enumerate(moves):
        side, distance = (before, s - j - 1 / 2) if j < s else (after, j + 1 / 2 - s)
        for axis in (0, 1):
            side[axis] += half_gaussian(distance) * move[axis]
    return angle_between(before, after)


@pytest.mark.parametrize("smoothing", [0.7, 1.0, 2.0])
def test_turning_angles(smoothing):
    moves = np.random.default_rng(3).normal(size=(20, 2))
    found = turning_angles(moves[None], smoothing)[0]
    assert np.isnan(found[[0, -1]]).all()
    expected = [turn_at(moves.tolist(), s, smoothing) for s in range(1, 20)]
    np.testing.assert_allclose(found[1:-1], expected, atol=1e-6)


def test_the_plain_angle_is_the_limit_of_no_smoothing_and_differs_much_in_noise():
    moves = np.random.default_rng(4).normal(size=(60, 2)) + 0.3
    plain = [angle_between(moves[s - 1], moves[s]) for s in range(1, 60)]
    np.testing.assert_allclose(turning_angles(moves[None], 0.01)[0, 1:-1], plain, atol=1e-6)
    assert np.abs(turning_angles(moves[None], RULE.smoothing_snapshots)[0, 1:-1] - plain).max() > 90


def test_principal_components_and_the_intervals_of_turns():
    random = np.random.default_rng(5)
    models = [random.normal(size=(n, 11)).cumsum(axis=0) for n in (7, 5)]
    shared = shared_components(models)
    stacked = np.concatenate(models)
    centred = stacked - stacked.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    for k in (0, 1):
        direction = vectors[:, -1 - k]
        ways = [(model[-1] - model[0]) @ direction for model in models]
        direction = direction if sum(ways) >= 0 else -direction
        for points, model in zip(shared.coordinates, models, strict=True):
            np.testing.assert_allclose(points[:, k], (model - stacked.mean(axis=0)) @ direction, atol=1e-9)
        assert shared.explained_K[k] == pytest.approx(values[-1 - k] / values.sum())

    bootstrap = Bootstrap(n_resamples=30)
    weights = resample_weights(11, bootstrap)
    angle, low, high = turns(models[0], shared.directions_KE, weights, 1.0, 0.9)
    for s in range(1, 6):
        resampled = []
        for weight in weights:
            moves = [
                [11 * sum(weight * one * (after - before)) / 11 for one in shared.directions_KE]
                for before, after in zip(models[0], models[0][1:], strict=False)
            ]
            resampled.append(turn_at(moves, s, 1.0))
        ends = np.quantile(resampled, [0.05, 0.95])
        assert low[s] == pytest.approx(min(ends[0], angle[s]), abs=1e-6)
        assert high[s] == pytest.approx(max(ends[1], angle[s]), abs=1e-6)
