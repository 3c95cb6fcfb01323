"""How the losses of tokens that continue a repetition, break one, or neither, change while a model is trained.

Suffix letters: R resample, S snapshot, C class (its place in `CLASSES`), E example, T token of an example, N row of a
part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from induction.analyse.signals import reduce_losses
from induction.artefacts.origins import provenance_of
from induction.errors import InductionError
from induction.resampling import interval, resample_weights
from induction.study.analysis import Bootstrap
from induction.tables.phases import PHASES
from induction.tables.repetitions import CLASSES, REPETITIONS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def repetitions(
    losses: Sequence[Path],
    phases: Path,
    classes_ET: NDArray[np.uint8],
    evaluation: str,
    bootstrap: Bootstrap,
    out: Path,
) -> None:
    """Write the mean loss of each class of tokens, by snapshot, and its change since the window began, of one model.

    Args:
        losses: the model's parts of table losses.
        phases: its part of table phases.
        classes_ET: place in `CLASSES` of each token's class.
        evaluation: fingerprint of the evaluation set that is classed.
        bootstrap: resamples of the examples.
        out: the part to write.

    Raises:
        InductionError: the classes and the losses are not of one evaluation set, or the snapshots are not all given.

    Source: Olsson et al. 2022, the tokens whose losses the phase change alters; classed over the whole evaluation set,
    with intervals, where the paper shows a paragraph.
    """
    provenance = provenance_of([*losses, phases])
    check_evaluation(provenance, evaluation)
    measured = class_losses(losses, classes_ET)
    window = icl_window(phases, measured.steps_S)
    summed_SCE, counted_CE = measured.summed_SCE, measured.counted_CE
    counted_C = counted_CE.sum(axis=1)

    every_E = np.ones((1, len(classes_ET)))
    mean_SC = mean_by_class(summed_SCE, counted_CE, every_E)[0]
    mean_RSC = mean_by_class(summed_SCE, counted_CE, resample_weights(len(classes_ET), bootstrap))
    columns: dict[str, Any] = {
        "step": np.repeat(measured.steps_S, len(CLASSES)),
        "tokens": np.repeat(measured.tokens_S, len(CLASSES)),
        "class": CLASSES * len(measured.steps_S),
        "n_tokens": np.tile(counted_C, len(measured.steps_S)),
        **_with_interval("loss", mean_SC, mean_RSC, bootstrap.confidence),
    }
    if window is None:
        columns |= dict.fromkeys(("change", "change_low", "change_high"))
    else:
        begin = int(np.flatnonzero(measured.steps_S == window[0])[0])
        change_SC, change_RSC = mean_SC - mean_SC[begin], mean_RSC - mean_RSC[:, begin, None]
        columns |= _with_interval("change", change_SC, change_RSC, bootstrap.confidence)
    REPETITIONS.write(out, columns, **provenance)


@dataclass(frozen=True)
class ClassLosses:
    """Losses of every snapshot of a model, summed over the tokens of each class in each example; nats.

    Attributes:
        steps_S: training steps of the snapshots, ascending.
        tokens_S: training tokens seen by them.
        summed_SCE: sums of losses.
        counted_CE: tokens that enter them.
    """

    steps_S: Ints
    tokens_S: Ints
    summed_SCE: Floats
    counted_CE: Ints


def class_losses(parts: Sequence[Path], classes_ET: NDArray[np.uint8]) -> ClassLosses:
    """Sum a model's losses over the tokens of each class, reading one part at a time.

    Raises:
        InductionError: the losses are not of the examples and tokens that are classed.
    """
    member_CET = np.stack([classes_ET == place for place in range(len(CLASSES))])

    def reduce(losses_NT: Floats, example_N: Ints) -> dict[str, Floats]:
        check_length(losses_NT.shape[1], classes_ET)
        return {
            name: np.einsum("nt,nt->n", losses_NT, member_ET[example_N], dtype=np.float64)
            for name, member_ET in zip(CLASSES, member_CET, strict=True)
        }

    kept = reduce_losses(parts, len(classes_ET), reduce)
    summed_SCE = np.stack([kept.by_example_SE[name] for name in CLASSES], axis=1)
    return ClassLosses(kept.steps_S, kept.tokens_S, summed_SCE, member_CET.sum(axis=2))


def mean_by_class(summed_SCE: Floats, counted_CE: Ints, weights_RE: Floats) -> Floats:
    """Return the mean loss of the tokens of each class, in each resample of the examples.

    An example counts with all its tokens: the mean is a ratio of two sums, and long-winded examples weigh more.

    Args:
        summed_SCE: sums of losses over the tokens of a class, nats.
        counted_CE: tokens that enter them.
        weights_RE: how often, or with what share, each example is drawn; equal ones for the sample itself.

    Returns:
        Mean losses, nats; NaN where a resample has no token of the class, [R, S, C].
    """
    tokens_RC = weights_RE @ counted_CE.T
    summed_RSC = np.moveaxis(summed_SCE @ weights_RE.T, -1, 0)
    return np.divide(
        summed_RSC, tokens_RC[:, None], out=np.full(summed_RSC.shape, np.nan), where=tokens_RC[:, None] > 0
    )


def icl_window(phases: Path, steps_S: Ints) -> tuple[int, int] | None:
    """Return the first and the last step of a model's window of in-context learning, or nothing where it has none.

    Raises:
        InductionError: the window begins or ends at a step that `steps_S` lacks.
    """
    windows = PHASES.read(phases).filter(pl.col("signal") == "icl", pl.col("found"))
    if windows.is_empty():
        return None
    start, end = int(windows["start_step"].item()), int(windows["end_step"].item())
    if lacking := sorted({start, end} - set(steps_S.tolist())):
        raise InductionError(
            f"{phases}: the window begins at step {start} and ends at step {end}, and the losses have no snapshot at "
            f"{' and '.join(map(str, lacking))}. Give all parts of table losses of this model."
        )
    return start, end


def check_evaluation(provenance: dict[str, str], evaluation: str) -> None:
    """Refuse classes of another evaluation set than the losses'; parts that name none are not held against them.

    Args:
        provenance: of the losses, as `provenance_of` gives it.
        evaluation: fingerprint of the evaluation set that is classed.

    Raises:
        InductionError: the two differ.
    """
    if (measured := provenance.get("evaluation", evaluation)) != evaluation:
        raise InductionError(
            f"table losses: losses on an evaluation set {measured}, and the classes are those of {evaluation}. Only "
            "classes of the same one can sort them: delete the stale one (losses, or token_classes.safetensors beside "
            "the evaluation set) and run snakemake again."
        )


def check_length(n_tokens: int, classes_ET: NDArray[np.uint8]) -> None:
    """Refuse losses of examples of another length than the classed ones.

    Raises:
        InductionError: the lengths differ.
    """
    if n_tokens != classes_ET.shape[1]:
        raise InductionError(
            f"table losses: losses of {n_tokens} tokens an example, and {classes_ET.shape[1]} tokens an example are "
            "classed. They are not of one evaluation set: delete the stale one and run snakemake again."
        )


def _with_interval(name: str, value_SC: Floats, resampled_RSC: Floats, confidence: float) -> dict[str, Floats]:
    """Return a column and the ends of its interval, which is missing where a resample has no token of the class."""
    low_SC, high_SC = interval(resampled_RSC, confidence)
    return {name: value_SC.ravel(), f"{name}_low": low_SC.ravel(), f"{name}_high": high_SC.ravel()}
