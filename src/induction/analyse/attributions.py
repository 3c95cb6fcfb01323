"""What each head's ablation undoes of the phase change: the paper's before-and-after vector.

Suffix letters: N ablated head of a snapshot, E example, R resample.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from induction.analyse.signals import random_index_losses, read_random_index
from induction.artefacts.origins import provenance_of
from induction.errors import InductionError
from induction.resampling import resample_weights, standard_error
from induction.study.analysis import Bootstrap
from induction.tables.ablations import ABLATIONS, INTACT, RECOMPUTED, ZERO
from induction.tables.attributions import ATTRIBUTIONS
from induction.tables.phases import PHASES

Floats = NDArray[np.float64]

_HEAD = ("step", "tokens", "mode", "layer", "head")


def attributions(
    ablations: Sequence[Path],
    losses: Sequence[Path],
    phases: Path,
    evaluation: Path,
    bootstrap: Bootstrap,
    out: Path,
) -> None:
    """Write the attributions of one model; without a window in its in-context learning, a table with no rows."""
    with ATTRIBUTIONS.writer(out, **provenance_of([*ablations, *losses, phases])) as table:
        windows = PHASES.read(phases).filter(pl.col("signal") == "icl", pl.col("found"))
        if windows.is_empty():
            return
        heads, change_NE = ablation_changes(ABLATIONS.read(ablations))
        measured = random_index_losses(losses, read_random_index(evaluation))
        start, end = (_row_of(windows[name].item(), measured.steps_S) for name in ("start_step", "end_step"))
        loss_SE = measured.by_example_SE["loss"]
        n_examples = change_NE.shape[1]
        if n_examples > loss_SE.shape[1]:
            raise InductionError(f"{out}: heads were ablated on {n_examples} examples, losses have {loss_SE.shape[1]}")
        window_E = (loss_SE[end] - loss_SE[start])[:n_examples]

        undone, fraction = before_after(change_NE, window_E, np.full((1, n_examples), 1 / n_examples))
        undone_RN, fraction_RN = before_after(change_NE, window_E, resample_weights(n_examples, bootstrap))
        table.append(
            heads.to_dict(as_series=False)
            | {"before_after": undone[0], "before_after_se": standard_error(undone_RN)}
            | {"fraction_undone": fraction[0], "fraction_undone_se": standard_error(fraction_RN)}
        )


def ablation_changes(ablations: pl.DataFrame) -> tuple[pl.DataFrame, Floats]:
    """Return the ablated heads, sorted, and each one's change of the losses at random indices, [N, E], nats.

    Those whose results are set to zero, LayerNorms recomputed, as the paper's.

    Raises:
        InductionError: a snapshot has no row for the intact model.
    """
    intact = ablations.filter(pl.col("mode") == INTACT).select("step", intact="random_index_loss")
    ablated = ablations.filter(pl.col("mode") != INTACT, replacement=ZERO, norm=RECOMPUTED)
    ablated = ablated.sort("step", "mode", "layer", "head")
    if lacking := sorted(set(ablated["step"]) - set(intact["step"])):
        raise InductionError(f"table ablations: no row for the intact model at steps {lacking}. Give all its parts.")
    paired = ablated.join(intact, on="step", how="left", maintain_order="left")
    change_NE = paired["random_index_loss"].to_numpy().astype(np.float64) - paired["intact"].to_numpy()
    return ablated.select(_HEAD), change_NE


def before_after(change_NE: Floats, window_E: Floats, weights_RE: Floats) -> tuple[Floats, Floats]:
    """Project what ablations change on what the phase change changed, in each resample of the examples.

    Args:
        change_NE: losses without the head minus losses of the intact model, nats.
        window_E: losses at the window's end minus losses at its start, nats.
        weights_RE: share of each example in each resample; 1/E everywhere for the sample itself.

    Returns:
        <change, u> with u the unit vector along `window_E`, nats (negative: the change is undone), and the share of the
        window's change that is undone, -<change, u> / |window|; both [R, N].

    Source: Olsson et al. 2022, before-and-after vector; the share is ours: it does not grow with the examples.
    """
    n_examples = len(window_E)
    length_R1 = np.sqrt(n_examples * weights_RE @ window_E**2)[:, None]
    projected_RN = n_examples * weights_RE @ (change_NE * window_E).T / length_R1
    return projected_RN, -projected_RN / length_R1


def _row_of(step: int, steps_S: NDArray[np.int64]) -> int:
    rows = np.flatnonzero(steps_S == step)
    if not len(rows):
        raise InductionError(
            f"table losses: no snapshot at step {step}, where the window of table phases begins or ends"
        )
    return int(rows[0])
