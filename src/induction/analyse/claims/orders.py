"""In which order the signals begin to change: table `orders`.

Suffix letters: O signal of an order, R resample, D draw.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from induction.analyse.claims.evidence import Architecture, Evidence, Member
from induction.analyse.claims.judging import ending, in_millions, seeds_or_examples, share_of

Floats = NDArray[np.float64]

ORDERS = (
    ("previous_token", "prefix_matching"),
    ("prefix_matching", "icl"),
    ("previous_token", "prefix_matching", "icl"),
)
"""Signals, the first one first."""

N_DRAWS = 20
"""Of each resample: where between its two snapshots each signal begins."""


def orders(evidence: Evidence) -> list[dict[str, Any]]:
    """Return rows of table `orders`: how probable each order is, in architectures of two and more layers.

    A signal begins somewhere between the last snapshot at or before its window's start and the next one; what lies
    between was not seen, so each place there is as probable as the other. Signals are paired resample by resample.
    Of each architecture the seeds count that have windows of all signals of the order; without any it has no row.
    """
    rows = []
    for one in evidence.deep():
        for signals in ORDERS:
            found = [
                between
                for model in one.models
                if evidence.window(model) and (between := onsets(evidence, model, signals)) is not None
            ]
            if found:
                rows.append(_row(evidence, one, signals, found))
    return rows


def onsets(evidence: Evidence, model: Member, signals: Sequence[str]) -> tuple[Floats, Floats] | None:
    """Return the tokens between which each signal begins, [O, R] each, in the resamples in which all do.

    None if a signal has no window, or no resample has all.
    """
    if any(evidence.window(model, signal) is None for signal in signals):
        return None
    rows = evidence.rows("onsets", model)
    by_signal = [
        rows.filter(pl.col("signal") == signal).select(
            "resample",
            pl.col("before_tokens").alias(f"before {signal}"),
            pl.col("after_tokens").alias(f"after {signal}"),
        )
        for signal in signals
    ]
    paired = reduce(lambda one, other: one.join(other, on="resample"), by_signal).sort("resample")
    if paired.is_empty():
        return None
    before_OR, after_OR = (
        np.stack([paired[f"{end} {signal}"].to_numpy() for signal in signals]) for end in ("before", "after")
    )
    return before_OR, after_OR


def in_order(before_OR: Floats, after_OR: Floats, n_draws: int = N_DRAWS, seed: int = 0) -> Floats:
    """Return the share of draws in which each resample's signals begin one after the other, [R]."""
    places_DOR = np.random.default_rng(seed).uniform(before_OR, after_OR, size=(n_draws, *before_OR.shape))
    return (np.diff(places_DOR, axis=1) > 0).all(axis=1).mean(axis=0)


def _row(
    evidence: Evidence, one: Architecture, signals: Sequence[str], found: Sequence[tuple[Floats, Floats]]
) -> dict[str, Any]:
    """Return a row of the table.

    With few seeds the interval is Wilson's, over resamples: it tells how well the resamples determine the probability,
    which itself holds what examples and snapshots leave open.
    """
    shares = [in_order(*between) for between in found]
    means = [float(share_R.mean()) for share_R in shares]
    probability = float(np.mean(means))
    spacing = float(np.median(np.concatenate([(after_OR - before_OR).ravel() for before_OR, after_OR in found])))
    confidence, min_seeds = evidence.settings.bootstrap.confidence, evidence.settings.claims.min_seeds
    n_resamples = sum(len(share_R) for share_R in shares)
    if len(found) >= min_seeds:
        estimate = seeds_or_examples(means, (), confidence, min_seeds)
        over = "Student's interval over seeds"
    else:
        estimate = share_of(round(probability * n_resamples), n_resamples, confidence, "resamples")
        over = f"Wilson's interval over {n_resamples} resamples of examples and probe, seeds taken together"
    reason = f"{over}; snapshots {in_millions(spacing)} tokens apart where the signals begin"
    return {
        "subject": one.subject,
        "order": " < ".join(signals),
        "n_seeds": len(found),
        "probability": probability,
        "probability_low": min(max(estimate.low, 0.0), 1.0),
        "probability_high": min(max(estimate.high, 0.0), 1.0),
        "reason": reason + ending(len(found)),
    }
