"""The rules that find a phase change in one curve of a model's training, or say why there is none.

A curve is a value per snapshot; its rate is a value per interval between snapshots. Rates are per token, because the
paper's curves are drawn and called abrupt, or not convex, over tokens.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.stats import median_abs_deviation

from induction.study.analysis import Phases

Floats = NDArray[np.float64]

MIN_SNAPSHOTS = 4


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
    """Find where a curve falls abruptly: the stretch around a peak of its rate that falls faster than its surroundings.

    Of several such stretches the one with the greatest fall counts. It must begin after training does (an exponential
    decay is fastest at its first snapshot, and is no phase change), fall by `min_fall`, and be abrupt: faster than the
    stretch of the same length before it, and short beside the training before it. Nothing after it is looked at, so
    the verdict on a change that is over does not depend on how long training goes on.

    Args:
        tokens: training tokens of the snapshots, ascending, [snapshot].
        curve: the signal, [snapshot].
        min_fall: least fall inside a window, in the signal's unit.
        rule: smoothing, share of the mean rate, abruptness, duration.
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
    smooth = np.concatenate([[0.0], np.cumsum(change)])
    hull = _lower_hull(tokens, smooth)
    height = smooth - np.interp(tokens, tokens[hull], smooth[hull])
    height[: hull[1]] = 0.0
    top = int(height.argmax())
    end = int(hull[np.searchsorted(hull, top)])
    scatter = median_abs_deviation((np.diff(curve) - change)[: max(end, MIN_SNAPSHOTS)], scale="normal")
    needed = max(rule.min_bump_nats, rule.min_bump_over_scatter * float(scatter))
    if height[top] < needed:
        return NoWindow(f"convex but for {height[top]:.3f} nats; a bump of {needed:.3f} is needed")
    steepest = top + int(rate[top:end].argmin())
    midpoint = (tokens[steepest] + tokens[steepest + 1]) / 2
    return Window(float(tokens[top]), float(midpoint), float(tokens[end]), f"a bump of {height[top]:.3f} nats")


def _peaks(rate: Floats) -> list[int]:
    """Return the intervals whose rate is positive and not below its neighbours'."""
    padded = np.pad(rate, 1, constant_values=-np.inf)
    return np.flatnonzero((rate > 0) & (rate >= padded[:-2]) & (rate >= padded[2:])).tolist()


def _region(peak: int, tokens: Floats, rate: Floats, rate_fraction: float) -> Window | None:
    """Grow the stretch around a peak at whose ends the rate crosses a share of the stretch's own mean rate.

    The mean, not the peak, sets the level: one noisy snapshot raises a peak. A dip inside is bridged if what lies
    beyond it makes up for it. Ends are interpolated. None if a higher peak is inside: the stretch is that peak's.
    """
    width = np.diff(tokens)
    first, last, grows = peak, peak, True
    while grows:
        inside = slice(first, last + 1)
        level = rate_fraction * float(rate[inside] @ width[inside] / width[inside].sum())
        excess = np.concatenate([[0.0], np.cumsum((rate - level) * width)])
        wider = (
            min(first, int(excess[: peak + 1].argmin())),
            max(last, peak + int(excess[peak + 1 :].argmax())),
        )
        grows = wider != (first, last)
        first, last = wider
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
    duration = region.end - region.start
    earlier = max(float(tokens[0]), region.start - duration)
    at_earlier, at_start, at_end = np.interp([earlier, region.start, region.end], tokens, curve)
    fall = float(at_start - at_end)
    said = f"changes by {fall:.3f} where it is fastest"
    if fall < min_fall:
        return fall, NoWindow(f"{said}; {min_fall:g} is needed")
    if region.start == tokens[0]:
        return fall, NoWindow(f"{said}, but it is under way at the first snapshot: no beginning is seen")
    lasts = duration / (region.start - tokens[0])
    if lasts > rule.max_duration:
        return fall, NoWindow(
            f"{said}, but takes {lasts:.1f} times the training before it; at most {rule.max_duration:g} is permitted"
        )
    before = max(0.0, float(at_earlier - at_start) / (region.start - earlier))
    rate = fall / duration
    if rate < rule.min_abruptness * before:
        return fall, NoWindow(
            f"{said}, at {rate / before:.1f} times the rate before it; {rule.min_abruptness:g} is needed"
        )
    compared = f"at {rate / before:.1f} times the rate before it" if rate < 100 * before else "after next to none"
    unfinished = ", still under way at the last snapshot" if region.end == tokens[-1] else ""
    return fall, Window(region.start, region.midpoint, region.end, f"{said}, {compared}{unfinished}")


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
