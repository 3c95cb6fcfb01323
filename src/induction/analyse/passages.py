"""What the phase change did to each token of a few passages of real text.

Suffix letters: P passage, I token of a passage, E example, T token of an example (arrays are 0-based, columns 1-based).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from induction.analyse.repetitions import check_evaluation, check_length, icl_window
from induction.artefacts.origins import provenance_of
from induction.errors import InductionError
from induction.tables.losses import LOSSES
from induction.tables.repetitions import CLASSES, PASSAGES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def passages(
    losses: Sequence[Path],
    phases: Path,
    tokens_ET: NDArray[np.int32],
    classes_ET: NDArray[np.uint8],
    evaluation: str,
    texts: Sequence[str],
    passages_P2: Ints,
    passage_tokens: int,
    out: Path,
) -> None:
    """Write the losses of each token of the passages before and after one model's window of in-context learning.

    Args:
        losses: the model's parts of table losses.
        phases: its part of table phases.
        tokens_ET: the evaluation set, a start token before each example, [E, T + 1].
        classes_ET: place in `CLASSES` of each token's class.
        evaluation: fingerprint of the evaluation set that is classed.
        texts: text of each token of the vocabulary.
        passages_P2: example, counted from 0, and index of the first token, counted from 1, of each passage.
        passage_tokens: tokens of a passage.
        out: the part to write.

    Raises:
        InductionError: evaluation set, classes and losses are not of one study, or the snapshots are not all given.

    Source: Olsson et al. 2022, a paragraph coloured by the change of each token's loss.
    """
    provenance = provenance_of([*losses, phases])
    check_evaluation(provenance, evaluation)
    if tokens_ET.shape != (len(classes_ET), classes_ET.shape[1] + 1):
        raise InductionError(
            f"the evaluation set has {tokens_ET.shape[0]} examples of {tokens_ET.shape[1] - 1} tokens, and "
            f"{classes_ET.shape[0]} examples of {classes_ET.shape[1]} tokens are classed. Class them again: delete "
            "token_classes.safetensors beside the evaluation set and run snakemake again."
        )
    steps_of = {part: set(LOSSES.read(part, ["step"])["step"].to_list()) for part in losses}
    steps_S = np.array(sorted(set().union(*steps_of.values())), dtype=np.int64)
    if not len(steps_S):
        raise InductionError(f"{out}: table losses has no snapshots to compare")
    before, after = icl_window(phases, steps_S) or (int(steps_S[0]), int(steps_S[-1]))
    example_P, first_P = passages_P2.T
    index_PI = first_P[:, None] + np.arange(passage_tokens)
    rows: dict[str, Any] = {
        "passage": np.repeat(np.arange(len(passages_P2)), passage_tokens),
        "example": np.repeat(example_P, passage_tokens),
        "index": index_PI.ravel(),
        "text": [texts[token] for token in tokens_ET[example_P[:, None], index_PI].ravel()],
        "class": [CLASSES[place] for place in classes_ET[example_P[:, None], index_PI - 1].ravel()],
        "step_before": before,
        "step_after": after,
    }
    for name, step in (("before", before), ("after", after)):
        loss_PT = _losses_at(step, [part for part in losses if step in steps_of[part]], example_P)
        check_length(loss_PT.shape[1], classes_ET)
        rows[name] = np.take_along_axis(loss_PT, index_PI - 1, axis=1).ravel()
    PASSAGES.write(out, rows, **provenance)


def _losses_at(step: int, parts: Sequence[Path], example_P: Ints) -> Floats:
    """Return the losses of the passages' examples in one snapshot, nats, [P, T]."""
    frame = pl.concat([LOSSES.read(part).filter(pl.col("step") == step) for part in parts])
    found = {example: row for row, example in enumerate(frame["example"].to_list())}
    if lacking := sorted(set(example_P.tolist()) - set(found)):
        raise InductionError(
            f"{parts[0]}: step {step} lacks the evaluation examples {lacking}, from which passages are cut. "
            "Evaluation set and losses are not of one study: delete the stale one and run snakemake again."
        )
    return frame["loss"].to_numpy()[[found[example] for example in example_P.tolist()]].astype(np.float64)
