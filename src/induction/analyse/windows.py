"""The rules that find a phase change in one curve of a model's training, or say why there is none.

A curve is a value per snapshot; its rate is a value per interval between snapshots. Rates are per token, because the
paper's curves are drawn and called abrupt, or not convex, over tokens.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.stats import median_abs_deviation

from induction.study.evaluation import Phases

Floats = NDArray[np.float64]

MIN_SNAPSHOTS = 4
BUMP_OVER_SCATTER = 2.0
"""Of 100 convex losses with independent noise on each snapshot, at most a few reach this height."""


@dataclass(frozen=True)
class Window:
    """A phase change: where it starts, is fastest and ends, in training tokens, and the rule that found it."""

    start: float
    midpoint: float
    end: float
    reason: str


@dataclass(frozen=True)
class NoWindow:
    """No phase change, and why."""

    reason: str


def smoothed_rate(tokens: Floats, curve: Floats, smoothing_snapshots: float) -> Floats:
    """Return the rate of change in each interval between snapshots: smoothed change over smoothed tokens.

    So, whatever the spacing of the snapshots, a straight line keeps its one rate, and a rate that only falls (a convex
    curve) still only falls.
    """
    change, width = (
        gaussian_filter1d(np.diff(values), smoothing_snapshots, mode="constant") for values in (curve, tokens)
    )
    return np.asarray(change / width)


def falling_window(tokens: Floats, curve: Floats, min_fall: float, rule: Phases) -> Window | NoWindow:
    """Find where a curve falls abruptly: around a peak of its rate, where the rate is at least a share of that peak.

    Of several such regions the one with the greatest fall counts. It must begin after training does (an exponential
    decay is fastest at its first snapshot, and is no phase change), fall by `min_fall`, and be abrupt.

    Args:
        tokens: training tokens of the snapshots, ascending, [snapshot].
        curve: the signal, [snapshot].
        min_fall: least fall inside a window, in the signal's unit.
        rule: smoothing, share of the peak, abruptness.
    """
    if len(tokens) < MIN_SNAPSHOTS:
        return NoWindow(f"{len(tokens)} snapshots; at least {MIN_SNAPSHOTS} are needed")
    rate = -smoothed_rate(tokens, curve, rule.smoothing_snapshots)
    found = [
        _judged(region, tokens, curve, min_fall, rule)
        for peak in _peaks(rate)
        if (region := _region(peak, tokens, rate, rule.rate_fraction)) is not None
    ]
    if not found:
        return NoWindow("the signal never changes in this direction")
    return max(found, key=lambda judged: (isinstance(judged[1], Window), judged[0]))[1]


def bump_window(tokens: Floats, curve: Floats, rule: Phases) -> Window | NoWindow:
    """Find where a falling curve is not convex: the descent slows down and then speeds up again.

    Ordinary learning is convex in tokens, so the smoothed curve lies on its own lower convex hull. Over a bump an edge
    of the hull bridges it: the curve lies above the edge, by the bump's height. The window is where the curve falls
    faster than that edge: from the greatest height to where it meets the hull again. An edge from the first snapshot
    is the start of learning (a warm-up), no bump. Neither is a height that the scatter of the snapshots explains.

    Args:
        tokens: training tokens of the snapshots, ascending, [snapshot].
        curve: mean loss, nats, [snapshot].
        rule: smoothing and least height.
    """
    if len(tokens) < MIN_SNAPSHOTS:
        return NoWindow(f"{len(tokens)} snapshots; at least {MIN_SNAPSHOTS} are needed")
    rate = smoothed_rate(tokens, curve, rule.smoothing_snapshots)
    change = rate * np.diff(tokens)
    scatter = median_abs_deviation(np.diff(curve) - change, scale="normal")
    needed = max(rule.min_bump_nats, BUMP_OVER_SCATTER * float(scatter))
    smooth = np.concatenate([[0.0], np.cumsum(change)])
    hull = _lower_hull(tokens, smooth)
    height = smooth - np.interp(tokens, tokens[hull], smooth[hull])
    height[: hull[1]] = 0.0
    top = int(height.argmax())
    if height[top] < needed:
        return NoWindow(f"convex but for {height[top]:.3f} nats; a bump of {needed:.3f} is needed")
    end = int(hull[np.searchsorted(hull, top)])
    steepest = top + int(rate[top:end].argmin())
    midpoint = (tokens[steepest] + tokens[steepest + 1]) / 2
    return Window(float(tokens[top]), float(midpoint), float(tokens[end]), f"a bump of {height[top]:.3f} nats")


def _peaks(rate: Floats) -> list[int]:
    """Return the intervals whose rate is positive and not below its neighbours'."""
    padded = np.pad(rate, 1, constant_values=-np.inf)
    return np.flatnonzero((rate > 0) & (rate >= padded[:-2]) & (rate >= padded[2:])).tolist()


def _region(peak: int, tokens: Floats, rate: Floats, rate_fraction: float) -> Window | None:
    """Return where the rate is at least a share of its peak, ends interpolated; none if a higher peak is inside."""
    level = rate_fraction * rate[peak]
    below = np.flatnonzero(rate < level)
    cut = int(np.searchsorted(below, peak))
    first = int(below[cut - 1]) + 1 if cut else 0
    last = int(below[cut]) - 1 if cut < len(below) else len(rate) - 1
    if rate[first : last + 1].max() > rate[peak]:
        return None
    middle = (tokens[:-1] + tokens[1:]) / 2
    start, end = float(tokens[0]), float(tokens[-1])
    if first > 0:
        start = float(np.interp(level, rate[first - 1 : first + 1], middle[first - 1 : first + 1]))
    if last < len(rate) - 1:
        end = float(np.interp(level, rate[[last + 1, last]], middle[[last + 1, last]]))
    return Window(start, float(middle[peak]), end, "")


def _judged(
    region: Window, tokens: Floats, curve: Floats, min_fall: float, rule: Phases
) -> tuple[float, Window | NoWindow]:
    """Return the fall inside a region, and the region as a window or why it is none."""
    before, after = np.interp([region.start, region.end], tokens, curve)
    fall = float(before - after)
    rate = fall / (region.end - region.start)
    abruptness = rate / (max(fall, curve[0] - curve[-1]) / (tokens[-1] - tokens[0])) if fall > 0 else 0.0
    said = f"changes by {fall:.3f} where it is fastest"
    if fall < min_fall:
        return fall, NoWindow(f"{said}; {min_fall:g} is needed")
    if region.start == tokens[0]:
        return fall, NoWindow(f"{said}, but it is under way at the first snapshot: no beginning is seen")
    if abruptness < rule.min_abruptness:
        return fall, NoWindow(
            f"{said} at {abruptness:.1f} times the mean rate of training; {rule.min_abruptness:g} is needed"
        )
    unfinished = ", still under way at the last snapshot" if region.end == tokens[-1] else ""
    reason = f"{said}, at {abruptness:.1f} times the mean rate of training{unfinished}"
    return fall, Window(region.start, region.midpoint, region.end, reason)


def _lower_hull(tokens: Floats, curve: Floats) -> NDArray[np.int64]:
    """Return the snapshots on the lower convex hull of a curve, ascending (Andrew's monotone chain)."""
    hull: list[int] = []
    for point in range(len(tokens)):
        while len(hull) > 1 and not _turns_left(tokens, curve, hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return np.array(hull)


def _turns_left(x: Floats, y: Floats, a: int, b: int, c: int) -> bool:
    return bool((x[b] - x[a]) * (y[c] - y[a]) > (y[b] - y[a]) * (x[c] - x[a]))
