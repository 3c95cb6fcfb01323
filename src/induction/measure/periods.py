"""Prefix matching of every head at several periods: whether a head finds earlier copies that are further back.

Axes: B sequence, T position, L layer, H head.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from induction.measure.heads import error_of_mean, repeated_scores
from induction.measure.last_snapshot import open_last
from induction.models.transformer import Transformer
from induction.tables.periods import PERIODS

Tokens = NDArray[np.int32]


def periods(
    manifest: Path,
    repeated: Mapping[int, Tokens],
    classifies: int,
    out: Path,
    *,
    provenance: dict[str, str],
    device: str,
) -> None:
    """Score the heads of a block's last snapshot at each period; write the model's part of the table `periods`.

    Args:
        manifest: the manifest of the model's last block.
        repeated: a start token and random tokens repeated, [sequence, token], by their period.
        classifies: the period by which heads are classed.
        out: the model's part of the table.
        provenance: goes into the footer.
        device: where to compute.

    Raises:
        InductionError: the snapshot is missing, or is not the one that the manifest names.
    """
    snapshot = open_last(manifest, device)
    with PERIODS.writer(out, **provenance) as table:
        for period, tokens in sorted(repeated.items()):
            columns = score_period(snapshot.model, tokens, period)
            about = {"step": snapshot.step, "tokens": snapshot.tokens, "period": period}
            table.append({**about, "classifies": period == classifies, **columns})


@torch.inference_mode()
def score_period(model: Transformer, tokens: Tokens, period: int) -> dict[str, object]:
    """Return the columns of the table `periods` at one period, one entry a head, layer by layer."""
    n_layers, n_heads = model.architecture.n_layers, model.architecture.n_heads
    tokens_BT = torch.from_numpy(tokens).long().to(model.W_E.device)
    score_BLH = repeated_scores(model, model.tables(tokens_BT.numel()), tokens_BT, period)
    return {
        "n_repeats": (tokens_BT.shape[1] - 1) // period,
        "layer": np.repeat(np.arange(n_layers), n_heads),
        "head": np.tile(np.arange(n_heads), n_layers),
        "prefix_matching": score_BLH.mean(0).flatten().cpu().numpy(),
        "prefix_matching_se": error_of_mean(score_BLH).flatten().cpu().numpy(),
    }
