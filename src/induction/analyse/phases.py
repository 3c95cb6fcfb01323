"""When a model changes: the windows of its in-context learning, its heads and its loss, each found from it alone.

Suffix letters: R resample, S snapshot, E example.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from induction.analyse.signals import read_heads, read_random_index, signals
from induction.analyse.windows import NoWindow, Window, bump_window, falling_window
from induction.artefacts.origins import provenance_of
from induction.resampling import interval, resample_weights
from induction.study.analysis import Bootstrap, Phases
from induction.study.evaluation import InContext
from induction.tables.phases import ONSETS, PHASES

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Signal:
    """A curve of a model's training, its resamples, and the rule that finds its window."""

    name: str
    curve_S: Floats
    resampled_RS: Floats
    find: Callable[[Floats], Window | NoWindow]


@dataclass(frozen=True)
class Search:
    """What was found of a signal.

    Attributes:
        signal: the signal.
        point: its window, or why there is none.
        resamples: the windows of its resamples, by number of the resample; those that have none are absent.
    """

    signal: Signal
    point: Window | NoWindow
    resamples: dict[int, Window]

    @property
    def support(self) -> float:
        """The share of the resamples that have a window."""
        return len(self.resamples) / len(self.signal.resampled_RS)

    def window(self, min_support: float) -> Window | None:
        """Return the signal's window, if it has one and at least the share `min_support` of the resamples have one."""
        return self.point if isinstance(self.point, Window) and self.support >= min_support else None


def search(signal: Signal) -> Search:
    """Look for a signal's window in its curve and in every resample."""
    found = {
        number: window
        for number, curve_S in enumerate(signal.resampled_RS)
        if isinstance(window := signal.find(curve_S), Window)
    }
    return Search(signal, signal.find(signal.curve_S), found)


def phases(
    losses: Sequence[Path],
    heads: Sequence[Path],
    evaluation: Path,
    in_context: InContext,
    bootstrap: Bootstrap,
    phases: Phases,
    out: Path,
    onsets_out: Path,
) -> None:
    """Write the windows of one model, a row a signal, and those of each resample, a row a signal and resample.

    Args:
        losses: the model's parts of table losses.
        heads: its parts of table heads.
        evaluation: the evaluation set.
        in_context: early and late token indices.
        bootstrap: resamples of the examples, and of the heads' scores.
        phases: the rules that find a window.
        out: its part of table phases.
        onsets_out: its part of table onsets; without rows if no resample has a window.
    """
    provenance = provenance_of([*losses, *heads])
    random_index = read_random_index(evaluation)
    measured = signals(losses, random_index, in_context)
    scores = read_heads(heads, measured.steps_S)
    weights_RE = resample_weights(len(random_index), bootstrap)
    tokens_S = measured.tokens_S.astype(np.float64)

    def falls(curve_S: Floats) -> Window | NoWindow:
        return falling_window(tokens_S, curve_S, phases.min_icl_drop_nats, phases)

    def rises(curve_S: Floats) -> Window | NoWindow:
        return falling_window(tokens_S, -curve_S, phases.min_score_rise, phases)

    def has_bump(curve_S: Floats) -> Window | NoWindow:
        return bump_window(tokens_S, curve_S, phases)

    icl_SE, loss_SE = measured.by_example_SE["icl_windowed"], measured.by_example_SE["mean_loss"]
    curves = [
        Signal("icl", icl_SE.mean(axis=1), weights_RE @ icl_SE.T, falls),
        Signal("prefix_matching", *resampled_head(scores, "prefix_matching", bootstrap), rises),
        Signal("best_prefix_matching", *resampled_best(scores, "prefix_matching", bootstrap), rises),
        Signal("previous_token", *resampled_head(scores, "previous_token", bootstrap), rises),
        Signal("loss", loss_SE.mean(axis=1), weights_RE @ loss_SE.T, has_bump),
    ]
    searches = [search(signal) for signal in curves]
    rows = pl.DataFrame(
        [window_row(one, measured.steps_S, tokens_S, bootstrap.confidence, phases.min_support) for one in searches],
        infer_schema_length=None,
    )
    onsets = pl.DataFrame([row for one in searches for row in onset_rows(one, tokens_S)])
    with PHASES.writer(out, **provenance) as table, ONSETS.writer(onsets_out, **provenance) as resampled:
        table.append(rows.to_dict(as_series=False))
        if len(onsets):
            resampled.append(onsets.to_dict(as_series=False))


def resampled_head(heads: pl.DataFrame, score: str, bootstrap: Bootstrap) -> tuple[Floats, Floats]:
    """Follow the head whose score is best at the final snapshot.

    Its resamples add normal noise of the score's standard error, drawn anew for each snapshot. The snapshots share
    their probe, so noise that they have in common is counted as their own, and intervals are too wide, not too narrow.

    Returns:
        The head's score, [S], and its resamples, [R, S].
    """
    final = heads.filter(pl.col("step") == pl.col("step").max()).sort("layer", "head")
    best = final.row(int(final[score].to_numpy().argmax()), named=True)
    one = heads.filter(pl.col("layer") == best["layer"], pl.col("head") == best["head"]).sort("step")
    curve_S, error_S = (one[name].to_numpy().astype(np.float64) for name in (score, f"{score}_se"))
    random = np.random.default_rng([bootstrap.seed, *score.encode()])  # each score has noise of its own
    noise_RS = random.standard_normal((bootstrap.n_resamples, len(curve_S)))
    return curve_S, curve_S + error_S * noise_RS


def resampled_best(heads: pl.DataFrame, score: str, bootstrap: Bootstrap) -> tuple[Floats, Floats]:
    """Follow the best score of any head at each snapshot, whichever head that is.

    A resample adds noise to every head, as `resampled_head` does to one, and takes the best: so which head is the best
    is resampled, too. Where many heads are equally good, the best of their resamples is a little better than they are.

    Returns:
        The best score, [S], and its resamples, [R, S].
    """
    random = np.random.default_rng([bootstrap.seed, *f"best {score}".encode()])
    best, resampled = [], []
    for _, snapshot in heads.sort("step", "layer", "head").group_by("step", maintain_order=True):
        score_H, error_H = (snapshot[name].to_numpy().astype(np.float64) for name in (score, f"{score}_se"))
        best.append(score_H.max())
        noise_RH = random.standard_normal((bootstrap.n_resamples, len(score_H)))
        resampled.append((score_H + error_H * noise_RH).max(axis=1))
    return np.array(best), np.stack(resampled, axis=1)


def window_row(
    found: Search, steps_S: NDArray[np.int64], tokens_S: Floats, confidence: float, min_support: float
) -> dict[str, Any]:
    """Return a signal's row of table `phases`.

    It is found if the curve has it and the share `min_support` of the resamples have one. Intervals are percentiles of
    the resamples that have one, widened to the nearest snapshots on both sides: between them, nothing was seen.
    """
    places = ("start", "midpoint", "end")
    row: dict[str, Any] = {"signal": found.signal.name, "found": False, "support": found.support}
    row |= {f"{place}_tokens{suffix}": None for place in places for suffix in ("", "_low", "_high")}
    row |= {"start_step": None, "end_step": None, "change": None, "reason": found.point.reason}
    if isinstance(found.point, NoWindow):
        return row
    window = found.window(min_support)
    if window is None:
        return row | {"reason": f"{found.point.reason}, but only {found.support:.0%} of the resamples have a window"}
    for place in places:
        tokens = getattr(window, place)
        resampled = [getattr(one, place) for one in found.resamples.values()] or [tokens]  # a support of 0 may suffice
        low, high = interval(np.array(resampled), confidence)
        before, after = _neighbours(tokens, tokens_S)
        row |= {f"{place}_tokens": tokens}
        row |= {f"{place}_tokens_low": min(float(low), before), f"{place}_tokens_high": max(float(high), after)}
    start, end = np.interp([window.start, window.end], tokens_S, found.signal.curve_S)
    return row | {
        "found": True,
        "start_step": int(steps_S[np.searchsorted(tokens_S, window.start, side="right") - 1]),
        "end_step": int(steps_S[np.searchsorted(tokens_S, window.end, side="left")]),
        "change": float(end - start),
    }


def onset_rows(found: Search, tokens_S: Floats) -> list[dict[str, Any]]:
    """Return a signal's rows of table `onsets`: the window of each resample that has one.

    Between the snapshots around its start nothing was seen; at the end of training both are the last snapshot.
    """
    rows = []
    for number, window in found.resamples.items():
        after = int(np.searchsorted(tokens_S, window.start, side="right"))
        rows.append(
            {
                "signal": found.signal.name,
                "resample": number,
                "start_tokens": window.start,
                "midpoint_tokens": window.midpoint,
                "end_tokens": window.end,
                "before_tokens": float(tokens_S[after - 1]),
                "after_tokens": float(tokens_S[min(after, len(tokens_S) - 1)]),
            }
        )
    return rows


def _neighbours(tokens: float, tokens_S: Floats) -> tuple[float, float]:
    """Return the last snapshot before and the first one after, or the first or last snapshot where there is none."""
    before = max(int(np.searchsorted(tokens_S, tokens, side="left")) - 1, 0)
    after = min(int(np.searchsorted(tokens_S, tokens, side="right")), len(tokens_S) - 1)
    return float(tokens_S[before]), float(tokens_S[after])
