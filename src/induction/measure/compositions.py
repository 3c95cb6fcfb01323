"""How much each head reads of what each earlier one writes, from the weights of a model's last snapshot.

Axes: E head of the early layer, L head of the late layer.
"""

from pathlib import Path

import numpy as np
import torch

from induction.measure.circuits import composition
from induction.measure.last_snapshot import open_last
from induction.models.transformer import Transformer
from induction.tables.compositions import COMPOSITIONS


def compositions(manifest: Path, out: Path, *, provenance: dict[str, str], device: str) -> None:
    """Write the compositions of a block's last snapshot; of a model of one layer, a table with no rows.

    Args:
        manifest: the manifest of the model's last block.
        out: the model's part of the table `compositions`.
        provenance: goes into the footer.
        device: where to compute.

    Raises:
        InductionError: the snapshot is missing, or is not the one that the manifest names.
    """
    snapshot = open_last(manifest, device)
    with COMPOSITIONS.writer(out, **provenance) as table:
        for columns in pairs_of_layers(snapshot.model):
            table.append({"step": snapshot.step, "tokens": snapshot.tokens, **columns})


@torch.inference_mode()
def pairs_of_layers(model: Transformer) -> list[dict[str, object]]:
    """Return the columns of the table `compositions`, an entry for each pair of layers: all pairs of their heads.

    Source: Elhage et al. 2021, “composition scores”.
    """
    n_layers, n_heads = model.architecture.n_layers, model.architecture.n_heads
    pairs: list[dict[str, object]] = []
    for early in range(n_layers):
        for late in range(early + 1, n_layers):
            scores = {
                kind: scores_EL.flatten().cpu().numpy() for kind, scores_EL in composition(model, early, late).items()
            }
            heads = {
                "early_head": np.repeat(np.arange(n_heads), n_heads),
                "late_head": np.tile(np.arange(n_heads), n_heads),
            }
            pairs.append({"early_layer": early, "late_layer": late, **heads, **scores})
    return pairs
