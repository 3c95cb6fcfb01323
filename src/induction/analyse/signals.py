"""What the analysis keeps of the measurements: a few losses per snapshot and example, and the heads' scores.

Suffix letters: R row of a part, S snapshot, E example, I token index (arrays are 0-based, columns 1-based).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from induction.errors import InductionError
from induction.study.evaluation import InContext
from induction.tables.heads import HEADS
from induction.tables.losses import LOSSES
from induction.tables.tensors import read_tensors

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

AROUND_TEN = (8, 12)
"""Token indices whose mean is the loss at the tenth token; one token alone is noisy."""


@dataclass(frozen=True)
class ExampleLosses:
    """Losses of every snapshot of a model on every example, reduced; nats.

    Attributes:
        steps_S: training steps of the snapshots, ascending.
        tokens_S: training tokens seen by them.
        by_example_SE: the kept statistics, by name.
        by_index_SI: mean over examples of the loss at each token index.
    """

    steps_S: Ints
    tokens_S: Ints
    by_example_SE: dict[str, Floats]
    by_index_SI: Floats


def read_random_index(evaluation: Path) -> Ints:
    """Read the one random token index of each evaluation example, 1-based, [E].

    Raises:
        InductionError: the evaluation set is missing, truncated, or has changed since it was written.
    """
    tensors, _ = read_tensors(evaluation, ("tokens", "random_index"), "evaluation set")
    return np.asarray(tensors["random_index"], dtype=np.int64)


def signals(parts: Sequence[Path], random_index_E: Ints, in_context: InContext) -> ExampleLosses:
    """Reduce a model's losses to `loss` (at the random index), `mean_loss`, `icl_score` and `icl_windowed`.

    Source: Olsson et al. 2022, in-context learning score; the windowed score is ours (less noise).
    """
    return reduce_losses(
        parts,
        len(random_index_E),
        lambda losses_RI, example_R: _signals(losses_RI, random_index_E[example_R], in_context),
    )


def signals_and_shape(parts: Sequence[Path], random_index_E: Ints, in_context: InContext) -> ExampleLosses:
    """Reduce a model's losses to its `signals`, and to how the loss falls along the context.

    `late_slope` is the least-squares slope of each example's loss over ln(index), from the early index to the last one,
    nats: it is linear in the losses, so the mean of the slopes is the slope of the mean. `loss_at_ten` is the mean over
    the tokens around the tenth, `loss_late` that over the late window, nats.

    Source: Olsson et al. 2022, derivative of the loss over ln(index), and the first ten tokens; the ranges are ours.
    """

    def reduce(losses_RI: Floats, example_R: Ints) -> dict[str, Floats]:
        kept = _signals(losses_RI, random_index_E[example_R], in_context)
        if losses_RI.shape[1] < AROUND_TEN[1]:
            raise InductionError(
                f"evaluation.n_tokens: the losses have {losses_RI.shape[1]} tokens; loss_at_ten of table replicates "
                f"reads tokens {AROUND_TEN[0]} to {AROUND_TEN[1]}. At least {AROUND_TEN[1]} are needed."
            )
        return kept | {
            "late_slope": _slope_over_log_index(losses_RI, in_context.early),
            "loss_at_ten": _mean_over(losses_RI, AROUND_TEN),
            "loss_late": _mean_over(losses_RI, in_context.late_window),
        }

    return reduce_losses(parts, len(random_index_E), reduce)


def random_index_losses(parts: Sequence[Path], random_index_E: Ints) -> ExampleLosses:
    """Reduce a model's losses to `loss`, at each example's random index (the paper's vectors of per-token losses)."""
    return reduce_losses(
        parts, len(random_index_E), lambda losses_RI, example_R: {"loss": _at(losses_RI, random_index_E[example_R])}
    )


def read_heads(parts: Sequence[Path], steps_S: Ints) -> pl.DataFrame:
    """Read a model's head scores, sorted by step, layer and head.

    Raises:
        InductionError: the scores are not of the same snapshots as the losses.
    """
    heads = HEADS.read(parts).sort("step", "layer", "head")
    scored = set(heads["step"].to_list())
    if scored != set(steps_S.tolist()):
        raise InductionError(
            f"{_names(parts)}: heads and losses are not of the same snapshots; they differ in the steps "
            f"{sorted(scored.symmetric_difference(steps_S.tolist()))}. Give all parts of both tables."
        )
    return heads


def reduce_losses(
    parts: Sequence[Path], n_examples: int, reduce: Callable[[Floats, Ints], dict[str, Floats]]
) -> ExampleLosses:
    """Read a model's losses one part at a time and keep only what `reduce` makes of its rows.

    Args:
        parts: parts of table losses, in any order.
        n_examples: evaluation examples; each snapshot has a row for each.
        reduce: from losses [R, I] and the example of each row [R] to statistics by name, each [R].

    Raises:
        InductionError: rows are missing, doubled or of other examples.
    """
    kept: list[pl.DataFrame] = []
    sums_I: dict[int, Floats] = {}
    for part in parts:
        frame = LOSSES.read(part)
        losses_RI, step_R, example_R = (frame[name].to_numpy() for name in ("loss", "step", "example"))
        if example_R.max(initial=0) >= n_examples:
            raise InductionError(
                f"{part}: has example {example_R.max()}, but the evaluation set has {n_examples} examples. "
                f"They are not of one study: delete the part and run snakemake again."
            )
        kept.append(frame.select("step", "tokens", "example", **reduce(losses_RI, example_R)))
        for step in np.unique(step_R).tolist():
            sums_I[step] = sums_I.get(step, 0.0) + losses_RI[step_R == step].sum(axis=0, dtype=np.float64)
    if not kept:
        raise InductionError("table losses: no parts to read")
    rows = pl.concat(kept).sort("step", "example")
    steps_S = np.array(sorted(sums_I), dtype=np.int64)
    _check_whole(rows, steps_S, n_examples, parts)
    names = rows.columns[3:]
    return ExampleLosses(
        steps_S=steps_S,
        tokens_S=rows["tokens"].to_numpy()[::n_examples].copy(),
        by_example_SE={name: rows[name].to_numpy().reshape(len(steps_S), n_examples) for name in names},
        by_index_SI=np.stack([sums_I[step] for step in steps_S.tolist()]) / n_examples,
    )


def _check_whole(rows: pl.DataFrame, steps_S: Ints, n_examples: int, parts: Sequence[Path]) -> None:
    counts = rows.group_by("step").agg(pl.len().alias("rows"), pl.n_unique("example").alias("examples")).sort("step")
    for step, n_rows, n_distinct in counts.iter_rows():
        if (n_rows, n_distinct) != (n_examples, n_examples):
            raise InductionError(
                f"{_names(parts)}: step {step} has {n_rows} rows of {n_distinct} examples; one row for each of the "
                f"{n_examples} evaluation examples is needed. Give each part of one model once."
            )
    if rows.select("step", "tokens").n_unique() != len(steps_S):
        raise InductionError(f"{_names(parts)}: one step with two counts of training tokens")


def _signals(losses_RI: Floats, index_R: Ints, in_context: InContext) -> dict[str, Floats]:
    if losses_RI.shape[1] < in_context.last_index:
        raise InductionError(
            f"in_context: token {in_context.last_index} is asked of losses of {losses_RI.shape[1]} tokens"
        )
    early, late = (_mean_over(losses_RI, window) for window in (in_context.early_window, in_context.late_window))
    return {
        "loss": _at(losses_RI, index_R),
        "mean_loss": losses_RI.mean(axis=1, dtype=np.float64),
        "icl_score": _mean_over(losses_RI, (in_context.late,) * 2) - _mean_over(losses_RI, (in_context.early,) * 2),
        "icl_windowed": late - early,
    }


def _at(losses_RI: Floats, index_R: Ints) -> Floats:
    """Return each row's loss at its own 1-based token index, [R]."""
    if len(index_R) and not 1 <= index_R.min() <= index_R.max() <= losses_RI.shape[1]:
        raise InductionError(
            f"random_index: tokens {index_R.min()} to {index_R.max()} are asked of losses of {losses_RI.shape[1]} "
            "tokens. The evaluation set and the losses are not of one study: make the losses again."
        )
    return losses_RI[np.arange(len(losses_RI)), index_R - 1].astype(np.float64)


def _mean_over(losses_RI: Floats, window: tuple[int, int]) -> Floats:
    """Return each row's mean over a window of 1-based token indices, both ends included, [R]."""
    first, last = window
    return np.asarray(losses_RI[:, first - 1 : last].mean(axis=1, dtype=np.float64))


def _slope_over_log_index(losses_RI: Floats, first: int) -> Floats:
    """Return each row's least-squares slope over ln(1-based token index), from `first` to the last index, [R]."""
    log_index_I = np.log(np.arange(first, losses_RI.shape[1] + 1))
    centred_I = log_index_I - log_index_I.mean()
    return np.asarray(np.einsum("ri,i->r", losses_RI[:, first - 1 :], centred_I / (centred_I @ centred_I)))


def _names(parts: Sequence[Path]) -> str:
    return parts[0].as_posix() if len(parts) == 1 else f"{parts[0]} and {len(parts) - 1} more"
